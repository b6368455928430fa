//! The binaries of this checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::ensure;

/// `gantry`; built on first use, so that no test runs an old one. `GANTRY_BIN` names another one to test instead.
pub fn gantry() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("gantry-cli", "gantry", "GANTRY_BIN"))
}

/// `gantry-producer`; `GANTRY_PRODUCER_BIN` names another one.
pub fn gantry_producer() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("gantry-producer", "gantry-producer", "GANTRY_PRODUCER_BIN"))
}

/// `gantry-worker`; `GANTRY_WORKER_BIN` names another one.
pub fn gantry_worker() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| built("gantry-worker", "gantry-worker", "GANTRY_WORKER_BIN"))
}

/// A key for a new installation, as its operator would make it.
pub fn new_api_key() -> anyhow::Result<String> {
    let output = Command::new(gantry_producer()).arg("new-key").output()?;
    ensure!(output.status.success(), "new-key: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn built(package: &str, name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .status()
        .is_ok_and(|status| status.success());
    assert!(built, "the {name} binary does not build");
    let this = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/this → target/debug/NAME
    this.ancestors().nth(2).map(|dir| dir.join(name)).unwrap_or_default()
}
