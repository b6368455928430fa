//! The worker's end of a shim: what it reported so far, and the one task that talks to it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use gantry_domain::log::LogStream;
use gantry_domain::spec::Resources;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::process::ShimProgram;
use crate::process::proc_tree::{self, MARKER};
use crate::process::protocol::{Exceeded, Job, Report, Stage, encode_stop};
use crate::process::shim::SUPERVISE;
use crate::{ExecutorError, Exit, Output, OutputStream};

/// How long a shim may take to get to the command, and to be gone after the grace of a stop.
const BOUND: Duration = Duration::from_secs(15);
const CHUNK: usize = 32 * 1024;

#[derive(Debug, Clone)]
enum State {
    Starting,
    Running,
    Ended(Result<Ended, ExecutorError>),
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    code: i32,
    exceeded: Option<Exceeded>,
}

/// A command that was handed to a shim. Dropping it ends the command: the shim's socket closes.
pub(super) struct Running {
    state: watch::Receiver<State>,
    stops: mpsc::Sender<Duration>,
    _shim: AbortOnDropHandle<()>,
}

impl Running {
    /// Starts a shim for `job`; whether the command came to run is told by [`Running::started`].
    pub fn spawn(
        program: &ShimProgram,
        sandbox: PathBuf,
        job: Job,
        resources: Resources,
    ) -> Result<(Self, OutputStream), ExecutorError> {
        let failed = |e: std::io::Error| ExecutorError::Infrastructure(format!("cannot start the shim: {e}"));
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let socket = UnixStream::from_std(ours).map_err(failed)?;
        let mut shim = program.command(SUPERVISE);
        shim.env(MARKER, &sandbox).stdin(Stdio::from(OwnedFd::from(theirs)));
        let mut shim = shim.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (stdout, stderr) = (shim.stdout.take(), shim.stderr.take());
        let (stops, orders) = mpsc::channel(8);
        let (report, state) = watch::channel(State::Starting);
        let task = tokio::spawn(async move {
            let ended = accompany(socket, shim, job, orders, &report, sandbox).await;
            report.send_replace(State::Ended(ended));
        });
        let pieces = stream::select(pieces(LogStream::Stdout, stdout), pieces(LogStream::Stderr, stderr));
        let output = pieces.chain(exceeded_line(state.clone(), resources)).boxed();
        Ok((Self { state, stops, _shim: AbortOnDropHandle::new(task) }, output))
    }

    /// Whether the command runs, or why it cannot.
    pub async fn started(&self) -> Result<(), ExecutorError> {
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Starting));
        let known = tokio::time::timeout(BOUND, known).await.map(|known| known.map(|state| state.clone()));
        match known {
            Ok(Ok(State::Ended(Err(error)))) => Err(error),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(shim_died()),
            Err(_) => Err(ExecutorError::Infrastructure("the shim did not start the command".to_owned())),
        }
    }

    pub async fn wait(&self) -> Result<Exit, ExecutorError> {
        let Ended { code, exceeded } = ended(self.state.clone()).await?;
        let oom_killed = exceeded == Some(Exceeded::Memory);
        // What exceeded a limit was killed, even when the command itself managed to look well.
        let code = if exceeded.is_some() && code == 0 { 137 } else { code };
        Ok(Exit { code: code.into(), oom_killed })
    }

    pub fn has_ended(&self) -> bool {
        matches!(*self.state.borrow(), State::Ended(_))
    }

    /// Returns when nothing of the command is left.
    pub async fn stop(&self, grace: Duration) -> Result<(), ExecutorError> {
        let limit = grace.saturating_add(BOUND);
        let stopped = async {
            // Refused only when the task has ended, and the command with it.
            let _ = self.stops.send(grace).await;
            ended(self.state.clone()).await
        };
        match tokio::time::timeout(limit, stopped).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ExecutorError::Infrastructure(format!(
                "processes of the command still run {limit:?} after they were told to stop"
            ))),
        }
    }
}

async fn ended(mut state: watch::Receiver<State>) -> Result<Ended, ExecutorError> {
    let ended = state.wait_for(|state| matches!(state, State::Ended(_))).await.map(|state| state.clone());
    match ended {
        Ok(State::Ended(ended)) => ended,
        _ => Err(shim_died()),
    }
}

fn shim_died() -> ExecutorError {
    ExecutorError::Infrastructure("the process that supervises the command was killed".to_owned())
}

/// Everything between worker and shim, until the shim is reaped and nothing it was to guard is left.
async fn accompany(
    socket: UnixStream,
    mut shim: Child,
    job: Job,
    orders: mpsc::Receiver<Duration>,
    state: &watch::Sender<State>,
    sandbox: PathBuf,
) -> Result<Ended, ExecutorError> {
    let (reports, writer) = socket.into_split();
    let program = job.command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let directory = job.directory.clone();
    let outcome = tokio::select! {
        outcome = read_reports(reports, state) => outcome,
        never = write_orders(writer, job, orders) => match never {},
    };
    // The shim ends by itself after its last report, or is dead already.
    let _ = shim.wait().await;
    match outcome {
        Some(Report::Ended { code, exceeded }) => Ok(Ended { code, exceeded }),
        Some(Report::Failed { stage, errno }) => Err(explain(stage, errno, &program, &directory)),
        Some(Report::Running) | None => {
            tracing::warn!(sandbox = %sandbox.display(), "a shim was killed; ending what it supervised");
            sweep(sandbox).await;
            Err(shim_died())
        }
    }
}

async fn read_reports(mut from: OwnedReadHalf, state: &watch::Sender<State>) -> Option<Report> {
    loop {
        let mut frame = [0; Report::LENGTH];
        from.read_exact(&mut frame).await.ok()?;
        match Report::decode(frame)? {
            Report::Running => state.send_replace(State::Running),
            last => return Some(last),
        };
    }
}

async fn write_orders(
    mut to: OwnedWriteHalf,
    job: Job,
    mut orders: mpsc::Receiver<Duration>,
) -> std::convert::Infallible {
    // A failed write means that the shim is gone, which the reports tell.
    let _ = to.write_all(&job.encode()).await;
    while let Some(grace) = orders.recv().await {
        let _ = to.write_all(&encode_stop(grace)).await;
    }
    // Dropping the socket would be an order, too.
    std::future::pending().await
}

/// Ends what still carries the mark of this sandbox, with a bound for processes that cannot be killed.
pub(super) async fn sweep(sandbox: PathBuf) -> bool {
    let rounds = async {
        loop {
            let sandbox = sandbox.clone();
            match tokio::task::spawn_blocking(move || proc_tree::kill_marked(&sandbox)).await {
                Ok(true) => tokio::time::sleep(Duration::from_millis(10)).await,
                Ok(false) | Err(_) => return,
            }
        }
    };
    tokio::time::timeout(BOUND, rounds).await.is_ok()
}

fn explain(stage: Stage, errno: i32, program: &str, directory: &std::path::Path) -> ExecutorError {
    use rustix::io::Errno;
    let errno = Errno::from_raw_os_error(errno);
    let directory = directory.display();
    match (stage, errno) {
        (Stage::Shim, _) => ExecutorError::Infrastructure(format!("cannot start the command: {errno}")),
        (Stage::Directory, _) => ExecutorError::BadCommand(format!(
            "the working directory `{directory}` cannot be entered: {errno}"
        )),
        (Stage::Execute, Errno::NOENT | Errno::NOTDIR) => ExecutorError::BadCommand(format!(
            "`{program}` was not found: it is neither in the PATH nor a path from `{directory}`, or its interpreter is missing"
        )),
        // A directory of the PATH that cannot be searched looks the same.
        (Stage::Execute, Errno::ACCESS) if !program.contains('/') => ExecutorError::BadCommand(format!(
            "`{program}` was not found in the PATH, or is not executable by this user"
        )),
        (Stage::Execute, Errno::ACCESS | Errno::PERM) => {
            ExecutorError::BadCommand(format!("`{program}` is not executable by this user"))
        }
        (Stage::Execute, Errno::NOEXEC) => ExecutorError::BadCommand(format!(
            "`{program}` is not a program for this machine; a script needs a first line like `#!/bin/sh`"
        )),
        (Stage::Execute, Errno::TOOBIG) => ExecutorError::BadCommand(
            "the command and its environment are larger than the system takes".to_owned(),
        ),
        (Stage::Execute, Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::IO) => {
            ExecutorError::Infrastructure(format!("cannot start `{program}`: {errno}"))
        }
        (Stage::Execute, _) => ExecutorError::BadCommand(format!("`{program}` cannot be started: {errno}")),
    }
}

fn pieces<R: AsyncRead + Unpin + Send + 'static>(
    stream: LogStream,
    from: Option<R>,
) -> BoxStream<'static, Result<Output, ExecutorError>> {
    let read = move |state: Option<(R, BytesMut)>| async move {
        let (mut from, mut buffer) = state?;
        buffer.reserve(CHUNK);
        match (&mut from).take(CHUNK as u64).read_buf(&mut buffer).await {
            Ok(0) => None,
            Ok(_) => {
                let bytes = buffer.split().freeze();
                Some((Ok(Output { stream, bytes }), Some((from, buffer))))
            }
            Err(error) => {
                let error =
                    ExecutorError::Infrastructure(format!("cannot read the command's output: {error}"));
                Some((Err(error), None))
            }
        }
    };
    stream::unfold(from.map(|from| (from, BytesMut::new())), read).boxed()
}

/// The last line of a command that was killed for exceeding a limit: otherwise nobody could tell why it ended.
fn exceeded_line(
    state: watch::Receiver<State>,
    resources: Resources,
) -> impl futures::Stream<Item = Result<Output, ExecutorError>> {
    let line = async move {
        let text = match ended(state).await.ok()?.exceeded? {
            Exceeded::Memory => format!("killed: more than {} MiB of memory\n", resources.memory_mb),
            Exceeded::Pids => format!("killed: more than {} processes and threads\n", resources.pids),
        };
        Some(Ok(Output { stream: LogStream::System, bytes: Bytes::from(text) }))
    };
    stream::once(line).filter_map(futures::future::ready)
}
