use std::path::Path;

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once(&"gantry").chain(words))
}

fn request(words: &[&str]) -> serde_json::Value {
    let Command::Run(run) = parse(words).unwrap().command else { panic!("not a run") };
    serde_json::to_value(run.request(Path::new("/here"))).unwrap()
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_an_example_in_its_help() {
    fn check(command: &clap::Command) {
        let help = command.clone().render_long_help().to_string();
        assert!(help.contains("gantry "), "{}", command.get_name());
        assert!(command.get_about().is_some(), "{}", command.get_name());
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("gantry "), "{} has no example", command.get_name());
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn a_run_says_only_what_was_asked() {
    assert_eq!(
        request(&["run", "--image", "busybox:1.36", "--", "sh", "-c", "echo hi; exit 3"]),
        serde_json::json!({"image": "busybox:1.36", "command": ["sh", "-c", "echo hi; exit 3"]})
    );
}

#[test]
fn every_flag_of_a_run_has_its_field() {
    let line = "run -i img -p shop -e A=1 -e B=x=y --secret TOKEN --timeout 10m --artifact a --artifact b/** --workdir sub \
        --group g -l team=checkout --environment staging --base-url http://x --folder f --pool gpu --priority high \
        --retries 2 --retry-on failed,error --retry-backoff 1m --at-most-once --memory 2g --cpus 1.5 --pids 9 -- ls -l";
    assert_eq!(
        request(&line.split_whitespace().collect::<Vec<_>>()),
        serde_json::json!({
            "image": "img", "project": "shop", "variables": {"A": "1", "B": "x=y"}, "timeout_seconds": 600,
            "artifacts": ["a", "b/**"], "workdir": "/here/sub", "group": "g", "labels": {"team": "checkout"},
            "environment": "staging", "base_url": "http://x", "folder": "f", "pool": "gpu", "priority": "high",
            "secrets": ["TOKEN"],
            "retries": {"max": 2, "on": ["failed", "error"], "backoff_seconds": 60}, "at_most_once": true,
            "resources": {"cpus": 1.5, "memory_mb": 2048, "pids": 9}, "command": ["ls", "-l"],
        })
    );
}

#[test]
fn a_variable_without_a_value_comes_from_the_environment() {
    let path = std::env::var("PATH").unwrap();
    assert_eq!(request(&["run", "-e", "PATH"])["variables"]["PATH"], path);
    let error = parse(&["run", "-e", "GANTRY_TEST_NOT_SET"]).unwrap_err();
    assert!(error.to_string().contains("is not set here"), "{error}");
}

#[test]
fn mistakes_are_usage_errors() {
    for words in [
        &["run", "--timeout", "soon"][..],
        &["run", "--memory", "much"],
        &["run", "--label", "team"],
        &["run", "ls"],
        &["logs", "--attempt", "0"],
        &["show", "first"],
        &["cancel"],
        &["runs", "--status", "broken"],
        &["login", "--key", "--email", "ann@example.com"],
    ] {
        assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
    }
    assert_eq!(parse(&["--version"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
}

#[test]
fn global_flags_stand_anywhere() {
    for words in [&["--output", "json", "runs"][..], &["runs", "--output", "json"]] {
        assert_eq!(parse(words).unwrap().global.output, Output::Json);
    }
}

#[test]
fn examples_fit_in_a_hundred_columns() {
    fn check(command: &clap::Command) {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}
