//! The command as scripts meet it where no server is: exit codes, and what is said on which stream.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

fn gantry(home: &Path, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_gantry"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn without_a_server_every_command_says_how_to_get_one() {
    let home = tempfile::tempdir().unwrap();
    for args in
        [&["runs"][..], &["run", "--", "true"], &["logs", "-f"], &["cancel", "1"], &["tests"], &["workers"]]
    {
        let (code, out, err) = gantry(home.path(), args, &[]);
        assert_eq!((code, out.as_str()), (Some(69), ""), "{args:?}: {err}");
        assert!(
            err.starts_with("error: ") && err.contains("gantry up") && err.contains("GANTRY_URL"),
            "{err}"
        );
        assert!(!err.contains('\x1b'), "no colour in a pipe: {err:?}");
    }
}

#[test]
fn nobody_listening_is_told_with_the_address() {
    let home = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let variables = [("GANTRY_URL", url.as_str()), ("GANTRY_API_KEY", "k")];
    let (code, _, err) = gantry(home.path(), &["run", "--", "true"], &variables);
    assert_eq!(code, Some(69));
    assert!(err.contains(&url) && err.contains("gantry up"), "{err}");
}

#[test]
fn the_credentials_of_this_machine_are_found() {
    let home = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let credentials = format!(r#"{{"url": "http://{free}", "email": "e", "api_key": "k"}}"#);
    for (dir, variable) in [
        (home.path().join(".local/share/gantry"), None),
        (home.path().join("xdg/gantry"), Some(("XDG_DATA_HOME", home.path().join("xdg")))),
        (home.path().join("own"), Some(("GANTRY_DATA_DIR", home.path().join("own")))),
    ] {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("credentials.json"), &credentials).unwrap();
        let variable = variable.as_ref().map(|(name, value)| (*name, value.to_str().unwrap()));
        let (_, _, err) = gantry(home.path(), &["runs"], variable.as_slice());
        assert!(err.contains(&free.to_string()), "{}: {err}", dir.display());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn wrong_usage_is_told_from_every_other_failure() {
    let home = tempfile::tempdir().unwrap();
    for args in [&[][..], &["nonsense"], &["show", "first"], &["run", "--timeout", "soon"]] {
        assert_eq!(gantry(home.path(), args, &[]).0, Some(2), "{args:?}");
    }
    let variables = [("GANTRY_URL", "nonsense"), ("GANTRY_API_KEY", "k")];
    assert_eq!(gantry(home.path(), &["runs"], &variables).0, Some(2));
}

#[test]
fn what_needs_no_server_works_without_one() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, _) = gantry(home.path(), &["version"], &[]);
    assert_eq!((code, out.trim()), (Some(0), concat!("gantry ", env!("CARGO_PKG_VERSION"))));
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = gantry(home.path(), &["completion", shell], &[]);
        assert!(code == Some(0) && out.contains("rerun"), "{shell}");
    }
    let (code, out, err) = gantry(home.path(), &["config", "check"], &[("GANTRY_SLOTS", "many")]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("GANTRY_SLOTS"), "{err}");
    let (code, out, _) = gantry(home.path(), &["config", "check"], &[]);
    assert!(code == Some(0) && out.contains("slots"), "{out}");
}
