//! What is weak in a deployment, and what to do about it. Settings are looked at as they are written, so that those of a
//! producer can be judged where it does not run.

pub mod server;
pub mod settings;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Fine for some; to be decided.
    Mind,
    /// To be changed before anybody else can reach it.
    Weak,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// The setting, file or server.
    pub what: String,
    pub says: String,
    /// What to do; `null` for what is good.
    pub advice: Option<&'static str>,
}

impl Finding {
    pub fn good(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { level: Level::Good, what: what.into(), says: says.into(), advice: None }
    }

    pub fn mind(what: impl Into<String>, says: impl Into<String>, advice: &'static str) -> Self {
        Self { level: Level::Mind, what: what.into(), says: says.into(), advice: Some(advice) }
    }

    pub fn weak(what: impl Into<String>, says: impl Into<String>, advice: &'static str) -> Self {
        Self { level: Level::Weak, what: what.into(), says: says.into(), advice: Some(advice) }
    }
}

/// Whether an address of a server can only be this machine.
fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Scheme, user, password and host of `scheme://user:password@host:port/…`.
fn parts(address: &str) -> Option<(&str, Option<&str>, Option<&str>, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    // The last `@` first: a password with a slash in it is not to be taken for a host, and shown.
    let (login, behind) = match rest.rsplit_once('@') {
        Some((login, behind)) => (Some(login), behind),
        None => (None, rest),
    };
    let hosts = behind.split(['/', '?']).next()?;
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        Some((user, password)) => (Some(user), Some(password).filter(|password| !password.is_empty())),
        None => (None, None),
    };
    // Of several hosts the first tells as much as all.
    let first = hosts.split(',').next()?;
    let host = match first.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => first,
    };
    Some((scheme, user, password, host))
}
