use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;

const GENEROUS: Duration = Duration::from_secs(30);

#[tokio::test]
async fn every_clone_and_child_sees_the_trigger_and_a_child_triggers_alone() {
    let shutdown = Shutdown::new();
    let child = shutdown.child();
    let sibling = shutdown.child();
    child.trigger();
    assert!(child.is_triggered() && !shutdown.is_triggered());
    let waiting = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { shutdown.triggered().await }
    });
    assert_eq!(shutdown.interrupts(async { 7 }).await, Some(7));
    shutdown.trigger();
    tokio::time::timeout(GENEROUS, waiting).await.unwrap().unwrap();
    assert!(sibling.is_triggered());
    assert_eq!(shutdown.interrupts(std::future::pending::<()>()).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_its_tasks_and_names_the_ones_that_do_not_end() {
    let group = TaskGroup::new();
    let finished = Arc::new(AtomicBool::new(false));
    group.spawn("quick", {
        let finished = finished.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            finished.store(true, Ordering::SeqCst);
        }
    });
    struct Released(Arc<AtomicBool>);
    impl Drop for Released {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let released = Arc::new(AtomicBool::new(false));
    let held = Released(released.clone());
    group.spawn("stuck", async move {
        let _held = held;
        std::future::pending().await
    });
    let drained = group.drain(Duration::from_secs(10)).await;
    assert_eq!(drained, Drained { unfinished: vec!["stuck".to_owned()], panicked: vec![] });
    assert!(finished.load(Ordering::SeqCst) && released.load(Ordering::SeqCst));
    assert!(group.running().is_empty());
}

#[tokio::test]
async fn a_panic_ends_one_task_and_is_reported() {
    let group = TaskGroup::new();
    group.spawn("broken", async { panic!("as intended") });
    group.spawn("sound", async {});
    let drained = group.drain(GENEROUS).await;
    assert_eq!(drained, Drained { unfinished: vec![], panicked: vec!["broken".to_owned()] });
    assert!(!drained.is_clean());
}

#[tokio::test]
async fn the_end_of_an_essential_task_shuts_down() {
    for panics in [false, true] {
        let (group, shutdown) = (TaskGroup::new(), Shutdown::new());
        group.spawn_essential("server", &shutdown, async move { assert!(!panics, "as intended") });
        tokio::time::timeout(GENEROUS, shutdown.triggered()).await.unwrap();
        assert_eq!(group.drain(GENEROUS).await.panicked.len(), usize::from(panics));
    }
}

#[tokio::test]
async fn a_task_spawned_after_the_drain_is_aborted() {
    let group = TaskGroup::new();
    assert!(group.drain(GENEROUS).await.is_clean());
    group.spawn("late", std::future::pending());
    tokio::time::timeout(GENEROUS, async {
        while !group.running().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

fn send_signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

const AS_CHILD: &str = "SERVICE_KIT_TEST_AS_CHILD";

/// Runs itself again as the process that is signalled.
#[tokio::test]
async fn the_first_signal_triggers_and_the_second_exits_at_once() {
    if std::env::var_os(AS_CHILD).is_some() {
        let shutdown = Shutdown::on_signals().unwrap();
        send_signal("-INT", std::process::id());
        shutdown.triggered().await;
        send_signal("-TERM", std::process::id());
        std::future::pending::<()>().await;
    }
    let status = tokio::task::spawn_blocking(|| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::tests::the_first_signal_triggers_and_the_second_exits_at_once"])
            .env(AS_CHILD, "1")
            .stdout(Stdio::null())
            .status()
            .unwrap()
    });
    let status = tokio::time::timeout(GENEROUS, status).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(143));
}
