//! The binaries of this checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::ensure;

/// `gantry`; built on first use, so that no test runs an old one. `GANTRY_BIN` names another one to test instead.
pub fn gantry() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| given_or_built("GANTRY_BIN", "gantry"))
}

/// `gantry-producer`; `GANTRY_PRODUCER_BIN` names another one.
pub fn gantry_producer() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| given_or_built("GANTRY_PRODUCER_BIN", "gantry-producer"))
}

/// `gantry-worker`; `GANTRY_WORKER_BIN` names another one.
pub fn gantry_worker() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| given_or_built("GANTRY_WORKER_BIN", "gantry-worker"))
}

/// A key for a new installation, as its operator would make it.
pub fn new_api_key() -> anyhow::Result<String> {
    printed("new-key")
}

/// A key to sign access tokens with, as the producer's binary makes them.
pub fn new_signing_key() -> anyhow::Result<String> {
    printed("new-signing-key")
}

fn printed(command: &str) -> anyhow::Result<String> {
    let output = Command::new(gantry_producer()).arg(command).output()?;
    ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn given_or_built(variable: &str, name: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| built().join(name), PathBuf::from)
}

/// Where the binaries are. Always built together: one at a time, each would compile what they share with other features.
fn built() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let packages = ["-p", "gantry-cli", "-p", "gantry-producer", "-p", "gantry-worker"];
        let built = Command::new(cargo).args(["build", "--quiet", "--bins"]).args(packages).status();
        assert!(built.is_ok_and(|status| status.success()), "the binaries do not build");
        // target/debug/deps/this → target/debug
        let this = std::env::current_exe().unwrap_or_default();
        this.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
    })
}
