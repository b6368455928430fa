//! A started fake command: carries out its steps, and ends early when it is told to.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use gantry_domain::log::LogStream;
use std::sync::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::fake::script::{Script, Step};
use crate::pattern::Pattern;
use crate::{ExecutorError, Exit, Output, OutputStream, TarStream};

type Outcome = Result<Exit, ExecutorError>;

/// Chunks the output holds before a reader that does not read slows the command down; like a pipe.
const BUFFERED_CHUNKS: usize = 2;
static FILL: [u8; 32 * 1024] = [b'x'; 32 * 1024];

pub(super) struct Command {
    outcome: watch::Receiver<Option<Outcome>>,
    stop: CancellationToken,
    kill: CancellationToken,
    files: Files,
    waited: AtomicBool,
    /// `None` for a command without steps: it has ended already.
    _task: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone, Default)]
struct Files(Arc<Mutex<Vec<(String, Bytes)>>>);

impl Files {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Bytes)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Command {
    pub fn start(script: Script, environment: &BTreeMap<String, String>) -> (Self, OutputStream) {
        let natural = match script.lose_exit {
            Some(error) => Err(error),
            None => Ok(Exit { code: script.exit_code, oom_killed: script.oom_killed }),
        };
        let (stop, kill, files) = (CancellationToken::new(), CancellationToken::new(), Files::default());
        if script.steps.is_empty() {
            let (_, outcome) = watch::channel(Some(natural));
            let command = Self { outcome, stop, kill, files, waited: AtomicBool::new(false), _task: None };
            return (command, futures::stream::empty().boxed());
        }
        let (report, outcome) = watch::channel(None);
        let (output, mut chunks) = mpsc::channel(BUFFERED_CHUNKS);
        let steps = Steps { output, files: files.clone(), environment: environment.clone() };
        let (stopped, killed) = (stop.clone(), kill.clone());
        let task = tokio::spawn(async move {
            let ended = tokio::select! {
                biased;
                () = killed.cancelled() => Ok(Exit { code: 137, oom_killed: false }),
                () = stopped.cancelled(), if !script.ignores_stop => Ok(Exit { code: 143, oom_killed: false }),
                () = steps.run(script.steps) => natural,
            };
            report.send_replace(Some(ended));
        });
        let task = Some(AbortOnDropHandle::new(task));
        let command = Self { outcome, stop, kill, files, waited: AtomicBool::new(false), _task: task };
        let stream = futures::stream::poll_fn(move |cx| chunks.poll_recv(cx)).map(Ok).boxed();
        (command, stream)
    }

    pub async fn wait(&self) -> Outcome {
        let outcome = self.ended().await;
        self.waited.store(true, Ordering::SeqCst);
        outcome
    }

    async fn ended(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await.map(|ended| (*ended).clone());
        ended.ok().flatten().unwrap_or_else(|| Err(ExecutorError::Infrastructure("the fake died".to_owned())))
    }

    pub async fn stop(&self, grace: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(grace, self.ended()).await.is_err() {
            self.kill.cancel();
            let _ = self.ended().await;
        }
    }

    /// Ends it by force; who waits for it still learns of its end.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    pub fn waited(&self) -> bool {
        self.waited.load(Ordering::SeqCst)
    }

    pub fn collect(&self, paths: &[String]) -> Result<TarStream, ExecutorError> {
        let patterns: Vec<_> = paths.iter().filter_map(|path| Pattern::parse(path)).collect();
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in self.files.lock().iter() {
            let (absolute, name) = (path.starts_with('/'), Path::new(path.trim_start_matches('/')));
            if !patterns.iter().any(|p| p.absolute == absolute && p.matches(name)) {
                continue;
            }
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, &content[..])
                .map_err(|e| ExecutorError::Infrastructure(format!("cannot collect `{path}`: {e}")))?;
        }
        let tar = tar.into_inner().map_err(|e| ExecutorError::Infrastructure(e.to_string()))?;
        Ok(futures::stream::once(async move { Ok(Bytes::from(tar)) }).boxed())
    }
}

struct Steps {
    output: mpsc::Sender<Output>,
    files: Files,
    environment: BTreeMap<String, String>,
}

impl Steps {
    async fn run(self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Print(stream, bytes) => self.print(stream, bytes).await,
                Step::Fill(mut left) => {
                    while left > 0 {
                        let size = usize::try_from(left).map_or(FILL.len(), |left| left.min(FILL.len()));
                        self.print(LogStream::Stdout, Bytes::from_static(&FILL[..size])).await;
                        left -= size as u64;
                    }
                }
                Step::Sleep(duration) => tokio::time::sleep(duration).await,
                Step::Hold(gate) => gate.passed().await,
                Step::Write(path, content) => self.files.lock().push((path, content)),
                Step::Effect(path) => self.take_effect(&path),
                Step::PrintEnvironment => {
                    for (name, value) in &self.environment {
                        self.print(LogStream::Stdout, format!("{name}={value}\n").into()).await;
                    }
                }
            }
        }
    }

    /// One write, so that lines of processes that share the file don't mix. A file that is gone is no effect.
    fn take_effect(&self, path: &Path) {
        let word = |name| self.environment.get(name).map_or("?", String::as_str);
        let line = format!("{} {}\n", word("GANTRY_RUN_ID"), word("GANTRY_ATTEMPT"));
        if let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) {
            let _ = file.write_all(line.as_bytes());
        }
    }

    /// Nobody reading any more is as fine as for a command whose output goes nowhere.
    async fn print(&self, stream: LogStream, bytes: Bytes) {
        let _ = self.output.send(Output { stream, bytes }).await;
    }
}
