//! What a command prints arrives: all of it, exactly, and only its own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;

use crate::{Act, Backend, destroy, read, run, soon, spec, start};

pub async fn both_streams_arrive_complete_and_exact(backend: &impl Backend) {
    let (out, err): (&[u8], &[u8]) = (b"first\r\n\xff\xfe\0 no newline at the end", b"\x1b[31mred\n\n");
    let spec = spec(backend, &Act::Print { out, err });
    let (printed, exit) = run(backend, &spec).await;
    assert_eq!((printed.out.as_slice(), printed.err.as_slice(), exit.code), (out, err, 0));
    destroy(backend, spec.key).await;
}

pub async fn ten_megabytes_arrive(backend: &impl Backend) {
    let spec = spec(backend, &Act::Fill(10_000_001));
    let (printed, exit) = run(backend, &spec).await;
    assert_eq!((printed.out.len(), exit.code), (10_000_001, 0));
    assert!(printed.out.iter().all(|&byte| byte == b'x'));
    destroy(backend, spec.key).await;
}

pub async fn a_slow_reader_slows_the_command_and_loses_nothing(backend: &impl Backend) {
    let size = backend.more_than_buffers();
    let spec = spec(backend, &Act::Fill(size));
    let mut output = start(backend, &spec).await;
    let first = soon(output.next()).await.unwrap().unwrap();
    let early = tokio::time::timeout(Duration::from_secs(1), backend.executor().wait(spec.key)).await;
    assert!(early.is_err(), "it ended although nobody read its output: {early:?}");
    let rest = read(output).await;
    assert_eq!(first.bytes.len() + rest.out.len(), size);
    assert_eq!(soon(backend.executor().wait(spec.key)).await.unwrap().code, 0);
    destroy(backend, spec.key).await;
}

pub async fn the_environment_is_exactly_what_was_given(backend: &impl Backend) {
    let given: BTreeMap<String, String> =
        [("PLAIN", "1"), ("AWKWARD", "a b=c \"'$HOME `x` ü"), ("EMPTY", ""), ("GANTRY_RUN_ID", "run_x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let mut spec = spec(backend, &Act::PrintEnvironment);
    spec.environment = given.clone();
    let (printed, _) = run(backend, &spec).await;
    let mut found: BTreeMap<String, String> = String::from_utf8(printed.out)
        .unwrap()
        .lines()
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    found.retain(|name, _| !backend.extra_variables().contains(&name.as_str()));
    assert_eq!(found, given);
    destroy(backend, spec.key).await;
}

pub async fn parallel_attempts_do_not_mix(backend: &impl Backend) {
    let attempts = (0..4_u32).map(|slot| async move {
        let mut spec = spec(backend, &Act::PrintEnvironment);
        spec.slot = slot;
        spec.environment.insert("WHO".to_owned(), format!("attempt-{slot}"));
        let (printed, exit) = run(backend, &spec).await;
        let printed = String::from_utf8(printed.out).unwrap();
        assert_eq!(exit.code, 0);
        assert_eq!(printed.matches("WHO=").count(), 1);
        assert!(printed.contains(&format!("WHO=attempt-{slot}\n")), "{printed}");
        destroy(backend, spec.key).await;
    });
    futures::future::join_all(attempts).await;
}
