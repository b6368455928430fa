//! How a command ended is told the same way everywhere.

use futures::StreamExt as _;
use gantry_executor::{ExecutorError, Exit};

use crate::{Act, Backend, Silent, destroy, run, soon, spec};

pub async fn the_exit_code_is_the_commands(backend: &impl Backend) {
    for code in [0, 1, 3, 255] {
        let spec = spec(backend, &Act::Exit(code));
        assert_eq!(run(backend, &spec).await.1, Exit { code, oom_killed: false });
        destroy(backend, spec.key).await;
    }
}

pub async fn a_signal_counts_from_128(backend: &impl Backend) {
    for signal in [9, 15] {
        let spec = spec(backend, &Act::Signal(signal));
        assert_eq!(run(backend, &spec).await.1.code, 128 + i64::from(signal));
        destroy(backend, spec.key).await;
    }
}

pub async fn a_missing_command_is_a_bad_command(backend: &impl Backend) {
    let (executor, spec) = (backend.executor(), spec(backend, &Act::Missing));
    soon(executor.prepare(&spec, &Silent)).await.unwrap();
    // Where something else than the command is started first, that tells it as a shell would.
    match soon(executor.start(spec.key)).await {
        Err(refused) => assert!(matches!(refused, ExecutorError::BadCommand(_)), "{refused}"),
        Ok(output) => {
            soon(output.collect::<Vec<_>>()).await;
            assert_eq!(soon(executor.wait(spec.key)).await.unwrap().code, 127);
        }
    }
    destroy(backend, spec.key).await;
}

pub async fn waiting_again_says_the_same(backend: &impl Backend) {
    let spec = spec(backend, &Act::Exit(7));
    let (_, exit) = run(backend, &spec).await;
    let executor = backend.executor();
    let (second, third) =
        soon(async { tokio::join!(executor.wait(spec.key), executor.wait(spec.key)) }).await;
    assert_eq!((second, third), (Ok(exit), Ok(exit)));
    destroy(backend, spec.key).await;
}
