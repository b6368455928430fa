//! What a command may use.

use std::time::Duration;

use gantry_executor::{Executor as _, Exit};

use crate::{Host, shell, soon};

#[tokio::test]
async fn a_command_that_takes_too_much_memory_is_killed_and_told_so() {
    let host = Host::new();
    let mut spec = shell("tail /dev/zero; echo survived");
    spec.resources.memory_mb = 64;
    let ran = host.run(&spec).await;
    assert_eq!(ran.exit, Some(Exit { code: 137, oom_killed: true }));
    assert!(ran.system.contains("64 MiB") && !ran.out.contains("survived"), "{ran:?}");
}

#[tokio::test]
async fn memory_that_processes_share_counts_once() {
    let host = Host::new();
    // One text of 12 MB in a shell, and in twelve copies of it that only wait.
    let mut spec = shell(
        "text=$(head -c 12000000 /dev/zero | tr '\\000' x)
         for i in 1 2 3 4 5 6 7 8 9 10 11 12; do (sleep 2; :) & done; wait; echo ${#text}",
    );
    spec.resources.memory_mb = 100;
    let ran = host.run(&spec).await;
    assert_eq!((ran.exit.unwrap().oom_killed, ran.out.trim()), (false, "12000000"), "{ran:?}");
}

#[tokio::test]
async fn a_command_that_makes_too_many_processes_is_killed_and_told_so() {
    let host = Host::new();
    let mut spec = shell("i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait; echo survived");
    spec.resources.pids = 20;
    let ran = host.run(&spec).await;
    assert_eq!(ran.exit, Some(Exit { code: 137, oom_killed: false }));
    assert!(ran.system.contains("20 processes"), "{ran:?}");
}

#[tokio::test]
async fn the_operating_system_holds_the_other_limits() {
    let host = Host::new();
    let mut spec =
        shell("ulimit -c; ulimit -n; nproc; cat /proc/self/oom_score_adj; umask; readlink /proc/self/fd/0");
    spec.resources.cpu_millis = 500;
    let ran = host.run(&spec).await;
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines[0], lines[2], lines[3], lines[4], lines[5]), ("0", "1", "500", "0077", "/dev/null"));
    assert!(lines[1].parse::<u64>().unwrap() <= 65_536);
}

#[tokio::test]
async fn a_descendant_gets_the_grace_of_a_stop_too() {
    let host = Host::new();
    let spec = shell(
        "sh -c 'trap \"sleep 0.3; echo tidied > done; exit\" TERM; echo > ready; while :; do sleep 0.05; done' & wait",
    );
    let output = host.start(&spec).await.unwrap();
    let work = host.directory_of(spec.key).join("work");
    crate::until("it is ready", || work.join("ready").exists()).await;
    soon(host.executor.stop(spec.key, Duration::from_secs(30))).await.unwrap();
    assert_eq!(std::fs::read_to_string(work.join("done")).unwrap(), "tidied\n");
    drop(output);
}

#[tokio::test]
async fn nothing_of_the_worker_is_handed_down() {
    let host = Host::new();
    let file = host.root.path().join("open in the worker");
    let open = std::fs::File::create(&file).unwrap();
    let spec = shell("for fd in /proc/$$/fd/*; do readlink $fd; done; yes | head -1");
    let ran = host.run(&spec).await;
    drop(open);
    assert!(!ran.out.contains("socket:") && !ran.out.contains("open in the worker"), "{ran:?}");
    assert!(
        ran.out.ends_with("y\n") && ran.err.is_empty(),
        "`yes` ignores SIGPIPE as its worker does: {ran:?}"
    );
}
