//! From an image to an ended container: create, attach, start, wait, stop.

use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, KillContainerOptionsBuilder,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::FutureExt;
use futures::stream::StreamExt;
use gantry_domain::spec::Network;
use tracing::Instrument as _;

use super::attempts::{Ended, Phase};
use super::engine::{EngineFailure, bounded};
use super::failures::{is_bad_reference, network_is_gone, start_error};
use super::output::{OutputReader, output};
use super::{DockerExecutor, create, labels};
use crate::{AttemptKey, AttemptSpec, ExecutorError, Exit, OutputStream, Progress, RegistryLogin};

/// How long the engine may take to notice a SIGKILL.
const KILL_TAKES: Duration = Duration::from_secs(10);
/// How long a kill may wait for somebody to read the output that is under way, before the output is cut.
const READER_TAKES: Duration = Duration::from_secs(2);
/// The engine learns of an out-of-memory kill on another way than of the exit, and now and then later.
const OOM_SETTLES: Duration = Duration::from_millis(100);

impl DockerExecutor {
    pub(super) async fn prepare_attempt(
        &self,
        spec: &AttemptSpec,
        progress: &dyn Progress,
    ) -> Result<(), ExecutorError> {
        let image = &*create::image_of(spec)?;
        let program = create::argv(spec)?.into_iter().next().unwrap_or_default();
        self.attempts.begin(spec.key, spec.slot, program)?;
        let network = match spec.network {
            Network::Outside => self.networks.of_slot(&self.engine, spec.slot).await?,
            Network::None => "none".to_owned(),
        };
        let body = create::container(spec, image, &network, &self.options, self.engine.cpus)?;
        let pulling = || {
            tracing::debug_span!(
                "pull",
                run.id = %spec.key.run,
                org.id = %spec.organization,
                container.image.name = image,
            )
        };
        let login = spec.registry.as_ref();
        if !self.guarded.is_open(image, login) {
            self.pull(image, login, progress).instrument(pulling()).await?;
        }
        // Creating says whether the image is there: asking first would be one more call for every run.
        let creating = || tracing::debug_span!("create", run.id = %spec.key.run, org.id = %spec.organization);
        match self.create_verified(spec.key, body.clone()).instrument(creating()).await? {
            Err(failure) if failure.is(404) => {
                self.get_image(image, login, progress).instrument(pulling()).await?;
                let creation = self.create_verified(spec.key, body).instrument(creating());
                creation.await?.map_err(EngineFailure::infrastructure)?;
            }
            Err(failure) if is_bad_reference(&failure) => {
                return Err(ExecutorError::ImageNotFound(format!(
                    "{image} is not an image reference: use registry.example/name:tag"
                )));
            }
            outcome => outcome.map_err(EngineFailure::infrastructure)?,
        }
        self.images.used(image);
        self.attempts.advance(spec.key, Phase::Preparing, Phase::Prepared, "prepare").map(drop)
    }

    /// Creates the container and meanwhile makes sure that it is an engine for runs which does so: it is not started otherwise.
    async fn create_verified(
        &self,
        key: AttemptKey,
        body: bollard::models::ContainerCreateBody,
    ) -> Result<Result<(), EngineFailure>, ExecutorError> {
        let (created, verified) = tokio::join!(self.create(key, body), self.verify_egress());
        verified.map(|()| created)
    }

    /// Creates the container in a task of its own: the engine finishes a request whose caller is gone, so somebody must
    /// know when, or `destroy` could come too early.
    async fn create(
        &self,
        key: AttemptKey,
        body: bollard::models::ContainerCreateBody,
    ) -> Result<(), EngineFailure> {
        const WHAT: &str = "create the container";
        let engine = self.engine.clone();
        let creating = async move {
            let options = CreateContainerOptionsBuilder::default().name(&labels::container_name(key)).build();
            let call = Box::pin(engine.docker.create_container(Some(options), body));
            engine.create(WHAT, call).await.map(|created| {
                for warning in created.warnings {
                    tracing::debug!(run.id = %key.run, warning, "the engine warns about a container");
                }
            })
        };
        let task = self.tasks.spawn(creating.in_current_span());
        let creation = async move {
            task.await.unwrap_or_else(|error| {
                Err(EngineFailure { what: WHAT, status: None, message: error.to_string() })
            })
        }
        .boxed()
        .shared();
        self.attempts.update(key, |attempt| attempt.creation = Some(creation.clone()));
        creation.await
    }

    async fn get_image(
        &self,
        image: &str,
        login: Option<&RegistryLogin>,
        progress: &dyn Progress,
    ) -> Result<(), ExecutorError> {
        match self.engine.lookup("look for the image", self.engine.docker.inspect_image(image)).await {
            // It came meanwhile, perhaps for somebody else.
            Ok(_) if self.guarded.is_open(image, login) => Ok(()),
            Ok(_) => self.pull(image, login, progress).await,
            Err(failure) if failure.is(404) => self.pull(image, login, progress).await,
            Err(failure) => Err(failure.infrastructure()),
        }
    }

    async fn pull(
        &self,
        image: &str,
        login: Option<&RegistryLogin>,
        progress: &dyn Progress,
    ) -> Result<(), ExecutorError> {
        if login.is_some() {
            self.guarded.close(image);
        }
        self.pulls.pull(&self.engine, image, login, self.options.pull, progress).await?;
        self.images.pulled(image);
        self.guarded.given(image, login);
        Ok(())
    }

    pub(super) async fn start_attempt(&self, key: AttemptKey) -> Result<OutputStream, ExecutorError> {
        let attempt = self.attempts.advance(key, Phase::Prepared, Phase::Starting, "start")?;
        let outcome = match self.attach_and_start(key).await {
            Err(failure) if network_is_gone(&failure) => {
                self.networks.forget(attempt.slot).await;
                self.networks.of_slot(&self.engine, attempt.slot).await?;
                self.attach_and_start(key).await
            }
            outcome => outcome,
        };
        let reader = outcome.map_err(|failure| start_error(&attempt.program, failure))?;
        self.attempts.advance(key, Phase::Starting, Phase::Started, "start")?;
        Ok(reader.boxed())
    }

    /// Attached first, so that not a byte is lost although the engine keeps no log.
    async fn attach_and_start(&self, key: AttemptKey) -> Result<OutputReader, EngineFailure> {
        let name = labels::container_name(key);
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let attach = Box::pin(self.engine.docker.attach_container(&name, Some(options)));
        let (reader, cut) = output(self.engine.lookup("attach to the container", attach).await?);
        self.attempts.update(key, |attempt| attempt.output = Some(cut));
        let start = Box::pin(self.engine.docker.start_container(&name, None));
        self.engine.create("start the container", start).await?;
        Ok(reader)
    }

    pub(super) async fn wait_for_end(&self, key: AttemptKey) -> Result<Ended, ExecutorError> {
        if let Some(ended) = self.attempts.started(key, "wait")?.ended {
            return Ok(ended);
        }
        let code = self.exit_code(key).await.map_err(EngineFailure::infrastructure)?;
        let mut ended = self.inspect(key, code).await?;
        if code == 137 && !ended.exit.oom_killed {
            tokio::time::sleep(OOM_SETTLES).await;
            ended = self.inspect(key, code).await?;
        }
        self.attempts.update(key, |attempt| attempt.ended = Some(ended.clone()));
        Ok(ended)
    }

    /// Waits until the container does not run. It was started, so the engine cannot answer too early; and it may have
    /// ended already, which a wait for its *next* exit would miss.
    async fn exit_code(&self, key: AttemptKey) -> Result<i64, EngineFailure> {
        const WHAT: &str = "wait for the container";
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut answers =
            Box::pin(self.engine.docker.wait_container(&labels::container_name(key), Some(options)));
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            // This is how bollard says "not zero".
            Some(Err(Error::DockerContainerWaitError { error, code })) if error.is_empty() => Ok(code),
            Some(Err(error)) => Err(EngineFailure::new(WHAT, error)),
            None => Err(EngineFailure {
                what: WHAT,
                status: None,
                message: "it closed the connection; was it stopped?".to_owned(),
            }),
        }
    }

    async fn inspect(&self, key: AttemptKey, code: i64) -> Result<Ended, ExecutorError> {
        let name = labels::container_name(key);
        let call = Box::pin(self.engine.docker.inspect_container(&name, None));
        let container =
            self.engine.lookup("inspect the container", call).await.map_err(EngineFailure::infrastructure)?;
        let oom_killed = container.state.and_then(|state| state.oom_killed).unwrap_or(false);
        let working_dir = container
            .config
            .and_then(|config| config.working_dir)
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| "/".to_owned());
        Ok(Ended { exit: Exit { code, oom_killed }, working_dir })
    }

    pub(super) async fn stop_attempt(&self, key: AttemptKey, grace: Duration) -> Result<(), ExecutorError> {
        let Some(attempt) = self.attempts.get(key) else { return Ok(()) };
        if !matches!(attempt.phase, Phase::Starting | Phase::Started) || attempt.ended.is_some() {
            return Ok(());
        }
        let name = labels::container_name(key);
        if !grace.is_zero() && self.stop_politely(&name, grace).await {
            return Ok(());
        }
        if let Ok(outcome) = tokio::time::timeout(READER_TAKES, self.kill(key)).await {
            return outcome.map_err(EngineFailure::infrastructure);
        }
        if let Some(output) = &attempt.output {
            output.cut();
        }
        match tokio::time::timeout(KILL_TAKES, self.kill(key)).await {
            Ok(outcome) => outcome.map_err(EngineFailure::infrastructure),
            Err(_) => Err(ExecutorError::Infrastructure(format!(
                "the container still runs {} s after it was killed",
                KILL_TAKES.as_secs()
            ))),
        }
    }

    /// Kills the container and waits until it does not run.
    async fn kill(&self, key: AttemptKey) -> Result<(), EngineFailure> {
        let name = labels::container_name(key);
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let kill = Box::pin(self.engine.docker.kill_container(&name, Some(options)));
        match self.engine.lookup("kill the container", kill).await {
            Ok(()) => {}
            // Gone, or not running.
            Err(failure) if failure.is(404) || failure.is(409) => {}
            Err(failure) => return Err(failure),
        }
        match self.exit_code(key).await {
            Err(failure) if !failure.is(404) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Whether the container ended within `grace`. The engine counts whole seconds; the shorter of both limits holds.
    async fn stop_politely(&self, name: &str, grace: Duration) -> bool {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX - 1).saturating_add(1);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stop = Box::pin(self.engine.docker.stop_container(name, Some(options)));
        match bounded("stop the container", grace, stop).await {
            Ok(()) => true,
            Err(failure) => failure.is(404),
        }
    }
}
