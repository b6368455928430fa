//! A disk that is full, a disk that cannot be written: on small file systems of their own, mounted where only a child
//! process sees them (`unshare` makes that possible for anybody, or for root).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use gantry_domain::id::OrganizationId;
use gantry_store::contract::fixtures::*;
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_store::{Accepted, StoreError};

const DIRECTORY: &str = "GANTRY_TEST_STORE_DIRECTORY";

fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY).expect("started by a test below").into()
}

/// Runs the test named `child` where `mount` has been done.
fn in_a_mount(child: &str, directory: &Path, mount: &str) {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let output = Command::new("unshare")
        .args(if root { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] })
        .args(["sh", "-e", "-c", &format!("{mount}; exec \"$0\" --ignored --exact {child} --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory)
        .output()
        .expect("unshare is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_full_disk_fails_writes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    in_a_mount(
        "on_a_full_disk",
        directory.path(),
        &format!("mount -t tmpfs -o size=2m tmpfs \"${DIRECTORY}\""),
    );
}

#[test]
fn a_disk_full_from_the_start_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let fill = "dd if=/dev/zero of=\"$GANTRY_TEST_STORE_DIRECTORY/filler\" 2>/dev/null || true";
    let mount = format!("mount -t tmpfs -o size=1m tmpfs \"${DIRECTORY}\"; {fill}");
    in_a_mount("on_a_disk_full_from_the_start", directory.path(), &mount);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = sqlite::open(SqliteOptions::new(directory.path().join("gantry.db"))).unwrap();
    accepted(&sqlite.stores(), OrganizationId::new()).await;
    sqlite.close().await;
    let mount =
        format!("mount --bind \"${DIRECTORY}\" \"${DIRECTORY}\"; mount -o remount,bind,ro \"${DIRECTORY}\"");
    in_a_mount("in_a_directory_that_cannot_be_written", directory.path(), &mount);
}

#[tokio::test]
#[ignore = "the child of a test above"]
async fn on_a_full_disk() {
    let path = directory().join("gantry.db");
    let organization = OrganizationId::new();
    let sqlite = sqlite::open(SqliteOptions::new(&path)).unwrap();
    let stores = sqlite.stores();
    let mut runs = Vec::new();
    let padded = || {
        run_with(organization, |run| {
            run.spec.variables.insert("PAD".into(), "x".repeat(3000));
        })
    };
    let error = loop {
        match stores.runs.accept(padded()).await {
            Ok(Accepted::Created(run)) => runs.push(run),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
        assert!(runs.len() < 10_000, "it never gets full");
    };
    assert_eq!(error, StoreError::NoSpace);
    assert!(runs.len() > 20, "{}", runs.len());
    for run in &runs {
        assert_eq!(find(&stores, run.id).await, *run);
    }
    assert_eq!(stores.runs.accept(padded()).await, Err(StoreError::NoSpace));
    // There is room again, and the same store goes on.
    let mount = directory();
    let grown = Command::new("mount").args(["-o", "remount,size=16m"]).arg(&mount).status().unwrap();
    assert!(grown.success());
    stores.auth.check().await.unwrap();
    let next = accepted(&stores, organization).await;
    assert_eq!(next.number, runs.len() as u64 + 1);
    sqlite.close().await;
    let sqlite = sqlite::open(SqliteOptions::new(&path)).unwrap();
    for run in runs.iter().chain([&next]) {
        assert_eq!(find(&sqlite.stores(), run.id).await, *run);
    }
}

#[test]
#[ignore = "the child of a test above"]
fn on_a_disk_full_from_the_start() {
    let error = sqlite::open(SqliteOptions::new(directory().join("gantry.db"))).err().unwrap();
    assert_eq!(error, StoreError::NoSpace);
}

#[test]
#[ignore = "the child of a test above"]
fn in_a_directory_that_cannot_be_written() {
    for name in ["gantry.db", "new.db"] {
        let path = directory().join(name);
        let error = sqlite::open(SqliteOptions::new(&path)).err().unwrap();
        assert!(matches!(&error, StoreError::Unavailable(why) if why.contains(name)), "{error}");
    }
}
