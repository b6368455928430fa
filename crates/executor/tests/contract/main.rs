//! What every executor must do, written once. `contract!(name: start)` runs all of it against the backend `start` gives.
//!
//! A backend that lacks its engine fails: nothing is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod backends;
mod collecting;
mod endings;
mod lifecycle;
mod output;
mod stopping;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::log::LogStream;
use gantry_domain::spec::{Network, Resources};
use gantry_executor::{AttemptKey, AttemptSpec, Executor, Exit, OutputStream, Progress};

/// What a command of the suite does; each backend says how.
#[derive(Debug, Clone)]
enum Act {
    Exit(i64),
    Print {
        out: &'static [u8],
        err: &'static [u8],
    },
    /// Ends itself by this signal.
    Signal(i32),
    Missing,
    /// Prints `ready`, then runs until it is stopped.
    Run,
    /// Prints `ready`, then runs until it is killed.
    RunStubbornly,
    /// Prints that many `x`.
    Fill(usize),
    PrintEnvironment,
    /// Leaves these files, relative to its working directory, made of words without quotes.
    Write(Vec<(&'static str, &'static str)>),
}

/// A kind of executor with one installation of its own.
trait Backend: Send + Sync {
    fn executor(&self) -> &Arc<dyn Executor>;
    /// Another worker of the same installation.
    fn other_worker(&self) -> Arc<dyn Executor>;
    fn command(&self, act: &Act) -> Vec<String>;
    fn image(&self) -> Option<String> {
        None
    }
    /// Variables a command has beside its own.
    fn extra_variables(&self) -> &'static [&'static str];
    /// Prints more than any buffer between command and reader holds.
    fn more_than_buffers(&self) -> usize {
        8 * 1024 * 1024
    }
    /// Gives back what the executor itself took.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

macro_rules! contract {
    ($name:ident: $start:path) => {
        mod $name {
            crate::contract!(@tests $start;
                output::both_streams_arrive_complete_and_exact,
                output::ten_megabytes_arrive,
                output::a_slow_reader_slows_the_command_and_loses_nothing,
                output::the_environment_is_exactly_what_was_given,
                output::parallel_attempts_do_not_mix,
                endings::the_exit_code_is_the_commands,
                endings::a_signal_counts_from_128,
                endings::a_missing_command_is_a_bad_command,
                endings::waiting_again_says_the_same,
                stopping::a_running_command_stops,
                stopping::a_stubborn_command_is_killed_after_its_grace,
                stopping::a_command_that_is_not_running_stops,
                stopping::stopping_twice_at_once_is_fine,
                collecting::paths_directories_and_globs_are_collected,
                collecting::nothing_to_collect_is_an_empty_tar,
                lifecycle::destroy_is_safe_at_any_time,
                lifecycle::a_dropped_prepare_leaves_nothing_after_destroy,
                lifecycle::a_dropped_start_leaves_nothing_after_destroy,
                lifecycle::another_worker_finds_and_destroys_what_is_left,
                lifecycle::a_wrong_order_is_told,
                lifecycle::a_healthy_backend_passes_its_check,
            );
        }
    };
    (@tests $start:path; $($subject:ident::$behaviour:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let backend = $start().await;
            crate::leaving_nothing(&backend, crate::$subject::$behaviour(&backend)).await;
        }
    )*};
}
pub(crate) use contract;

contract!(fake: crate::backends::fake);
contract!(process: crate::backends::process);
contract!(docker: crate::backends::docker);

/// Tidies up after a behaviour that failed, too; one that held has nothing to tidy up.
async fn leaving_nothing(backend: &impl Backend, behaviour: impl Future<Output = ()>) {
    let outcome = AssertUnwindSafe(behaviour).catch_unwind().await;
    let left = backend.executor().leftovers().await.unwrap();
    for &key in &left {
        backend.executor().destroy(key).await.unwrap();
    }
    backend.close().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert_eq!(left, []);
}

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it never happened")
}

struct Silent;

impl Progress for Silent {
    fn line(&self, _: String) {}
}

/// An attempt nobody else has.
fn spec(backend: &impl Backend, act: &Act) -> AttemptSpec {
    AttemptSpec {
        key: AttemptKey { run: RunId::new(), attempt: 1 },
        organization: OrganizationId::new(),
        image: backend.image(),
        command: Some(backend.command(act)),
        folder: None,
        environment: BTreeMap::new(),
        resources: Resources { cpu_millis: 1000, memory_mb: 256, pids: 64 },
        slot: 0,
        network: Network::Outside,
        workdir: None,
        trace_id: None,
    }
}

async fn start(backend: &impl Backend, spec: &AttemptSpec) -> OutputStream {
    let executor = backend.executor();
    soon(executor.prepare(spec, &Silent)).await.unwrap();
    soon(executor.start(spec.key)).await.unwrap()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Printed {
    out: Vec<u8>,
    err: Vec<u8>,
}

/// Everything up to the end of both streams.
async fn read(mut output: OutputStream) -> Printed {
    let mut printed = Printed::default();
    while let Some(piece) = soon(output.next()).await {
        let piece = piece.unwrap();
        match piece.stream {
            LogStream::Stdout => printed.out.extend_from_slice(&piece.bytes),
            LogStream::Stderr => printed.err.extend_from_slice(&piece.bytes),
            LogStream::System => panic!("unexpected: {:?}", piece.bytes),
        }
    }
    printed
}

/// Waits until the command says that it runs, and gives back the rest of its output.
async fn ready(mut output: OutputStream) -> OutputStream {
    let mut line = Vec::new();
    while !line.ends_with(b"ready\n") {
        line.extend_from_slice(&soon(output.next()).await.expect("it ended").unwrap().bytes);
    }
    output
}

async fn run(backend: &impl Backend, spec: &AttemptSpec) -> (Printed, Exit) {
    let printed = read(start(backend, spec).await).await;
    let exit = soon(backend.executor().wait(spec.key)).await.unwrap();
    (printed, exit)
}

/// The end of every test: nothing stays.
async fn destroy(backend: &impl Backend, key: AttemptKey) {
    let executor = backend.executor();
    soon(executor.destroy(key)).await.unwrap();
    let left = soon(executor.leftovers()).await.unwrap();
    assert!(!left.contains(&key), "destroyed, but still listed");
}
