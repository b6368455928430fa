//! The `gantry` binary of this checkout.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Its path; built on first use, so that no test runs an old one. `GANTRY_BIN` names another one to test instead.
pub fn gantry() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("GANTRY_BIN") {
            return path.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "gantry-cli", "--bin", "gantry"])
            .status()
            .is_ok_and(|status| status.success());
        assert!(built, "the gantry binary does not build");
        let this = std::env::current_exe().unwrap_or_default();
        // target/debug/deps/this → target/debug/gantry
        this.ancestors().nth(2).map(|dir| dir.join("gantry")).unwrap_or_default()
    })
}
