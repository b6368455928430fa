//! Getting an image that is not there: bounded, retried where that can help, and shared between attempts that want the
//! same one at the same time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use futures::stream::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::engine::{Engine, EngineFailure};
use super::failures::{PullProblem, pull_error, pull_problem};
use super::options::PullOptions;
use super::pull_progress::PullProgress;
use crate::{ExecutorError, Progress, RegistryLogin};

type Outcome = Result<(), ExecutorError>;
type Pull = Shared<BoxFuture<'static, Outcome>>;

/// The pulls going on. A pull is driven by the attempts that wait for it and ends with the last of them: dropping it
/// closes the request, which makes the engine stop.
#[derive(Default)]
pub(super) struct Pulls {
    running: Mutex<HashMap<Wanted, Running>>,
}

/// What is pulled, and as whom: who signs in otherwise gets an answer of his own.
type Wanted = (String, Option<RegistryLogin>);

struct Running {
    pull: WeakShared<BoxFuture<'static, Outcome>>,
    lines: watch::Receiver<String>,
}

impl Pulls {
    pub async fn pull(
        &self,
        engine: &Engine,
        image: &str,
        login: Option<&RegistryLogin>,
        options: PullOptions,
        progress: &dyn Progress,
    ) -> Outcome {
        let (pull, mut lines) = self.join(engine, (image.to_owned(), login.cloned()), options);
        let mut pull = std::pin::pin!(pull);
        progress.line(lines.borrow_and_update().clone());
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut pull => break outcome,
                Ok(()) = lines.changed() => progress.line(lines.borrow_and_update().clone()),
            }
        };
        if lines.has_changed().unwrap_or(false) || outcome.is_ok() {
            progress.line(lines.borrow_and_update().clone());
        }
        outcome
    }

    /// The pull that is going on, or a new one.
    fn join(&self, engine: &Engine, wanted: Wanted, options: PullOptions) -> (Pull, watch::Receiver<String>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, entry| entry.pull.upgrade().is_some_and(|pull| pull.peek().is_none()));
        if let Some((pull, lines)) =
            running.get(&wanted).and_then(|entry| Some((entry.pull.upgrade()?, entry.lines.clone())))
        {
            return (pull, lines);
        }
        let (sender, lines) = watch::channel(format!("pulling {}", wanted.0));
        let pull = whole_pull(engine.clone(), wanted.clone(), options, sender).boxed().shared();
        if let Some(weak) = pull.downgrade() {
            running.insert(wanted, Running { pull: weak, lines: lines.clone() });
        }
        (pull, lines)
    }
}

async fn whole_pull(
    engine: Engine,
    (image, login): Wanted,
    options: PullOptions,
    lines: watch::Sender<String>,
) -> Outcome {
    let started = Instant::now();
    let tries = options.tries.max(1);
    let all_tries = async {
        let mut pause = options.backoff;
        for attempt in 1.. {
            let failure = match one_try(&engine, &image, login.as_ref(), options, &lines).await {
                Ok(()) => break,
                Err(Stopped::Silent) => {
                    return Err(ExecutorError::RegistryUnreachable(format!(
                        "the registry of {image} sent nothing for {} s",
                        options.no_progress.as_secs_f64()
                    )));
                }
                Err(Stopped::Failed(failure)) => failure,
            };
            if attempt >= tries || pull_problem(&failure) != PullProblem::Unreachable {
                return Err(pull_error(&image, &failure));
            }
            let wait = pause.mul_f64(rand::random_range(0.5..1.5));
            lines.send_replace(format!(
                "pulling {image}: {}; trying again in {:.1} s",
                failure.message,
                wait.as_secs_f64()
            ));
            tokio::time::sleep(wait).await;
            pause = pause.saturating_mul(2);
        }
        Ok(())
    };
    match tokio::time::timeout(options.total, all_tries).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            return Err(ExecutorError::RegistryUnreachable(format!(
                "{image} was not pulled within {} s",
                options.total.as_secs_f64()
            )));
        }
    }
    lines.send_replace(format!("pulled {image} in {:.1} s", started.elapsed().as_secs_f64()));
    Ok(())
}

enum Stopped {
    Failed(EngineFailure),
    Silent,
}

async fn one_try(
    engine: &Engine,
    image: &str,
    login: Option<&RegistryLogin>,
    options: PullOptions,
    lines: &watch::Sender<String>,
) -> Result<(), Stopped> {
    let request = CreateImageOptionsBuilder::default().from_image(&complete_reference(image)).build();
    let credentials = login.map(|login| DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.clone()),
        serveraddress: Some(login.registry.clone()),
        ..DockerCredentials::default()
    });
    let mut messages = engine.docker.create_image(Some(request), None, credentials);
    let mut seen = PullProgress::default();
    let mut moved = Instant::now();
    let mut reported = Instant::now();
    loop {
        let message = match tokio::time::timeout_at(moved + options.no_progress, messages.next()).await {
            Err(_) => return Err(Stopped::Silent),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => {
                return Err(Stopped::Failed(EngineFailure::new("pull the image", error)));
            }
            Ok(Some(Ok(message))) => message,
        };
        let detail = message.progress_detail.unwrap_or_default();
        if seen.note(message.id.as_deref(), message.status.as_deref(), detail.current, detail.total) {
            moved = Instant::now();
        }
        if reported.elapsed() >= options.report_every.max(Duration::from_millis(10))
            && let Some(summary) = seen.summary()
        {
            lines.send_replace(format!("pulling {image}: {summary}"));
            reported = Instant::now();
        }
    }
}

/// With a tag, always: without one the engine would pull every tag of the repository.
pub(super) fn complete_reference(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if image.contains('@') || name.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::complete_reference;

    #[test]
    fn a_reference_always_names_one_image() {
        for (given, complete) in [
            ("busybox", "busybox:latest"),
            ("busybox:1.36", "busybox:1.36"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("a@sha256:0123", "a@sha256:0123"),
        ] {
            assert_eq!(complete_reference(given), complete);
        }
    }
}
