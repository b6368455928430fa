//! Where the server is and what opens it: flags, then environment, then `gantry login`, then what `gantry up` left on this
//! machine.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;

use gantry_client::{ApiClient, Transport};
use tokio_util::task::AbortOnDropHandle;

use crate::args::GlobalArgs;
use crate::data_dir::{self, Credentials};
use crate::failure::Failure;
use crate::login::{self, Login};

const NEXT: &str = "Start Gantry with `gantry up` in another terminal, or set GANTRY_URL and GANTRY_API_KEY.";

/// A client, and what keeps its credential good as long as a command lasts.
pub struct Connection {
    client: ApiClient,
    _renewal: Option<AbortOnDropHandle<()>>,
}

impl Deref for Connection {
    type Target = ApiClient;

    fn deref(&self) -> &ApiClient {
        &self.client
    }
}

/// A client for the server that is meant.
pub async fn connect(global: &GlobalArgs) -> Result<Connection, Failure> {
    let (url, credential) = Sources::gather(global)?.choose()?;
    match credential {
        Credential::Key(key) => Ok(Connection { client: client(&url, &key)?, _renewal: None }),
        Credential::Session => {
            let (client, renewal) = login::resume(&local_dir(), client(&url, "")?).await?;
            Ok(Connection { client, _renewal: Some(renewal) })
        }
    }
}

/// A client for a server, with a credential.
pub fn client(url: &str, credential: &str) -> Result<ApiClient, Failure> {
    let transport = Transport::http(url).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(ApiClient::new(transport, credential))
}

#[derive(Debug, PartialEq, Eq)]
enum Credential {
    Key(String),
    /// That of `gantry login`.
    Session,
}

#[derive(Debug, Default)]
struct Sources {
    url: Option<String>,
    key: Option<String>,
    login: Option<Login>,
    local: Option<Credentials>,
}

impl Sources {
    fn gather(global: &GlobalArgs) -> Result<Self, Failure> {
        let url = server(global)?;
        let key = match &global.api_key_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("The API key can't be read from {}: {error}", file.display()))
            })?),
            None => variable("GANTRY_API_KEY")?,
        };
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        // What is damaged here does not matter to who brings everything along.
        let complete = url.is_some() && key.is_some();
        let found = |error: anyhow::Error| {
            if complete { Ok(None) } else { Err(Failure::unavailable(format!("{error:#}"))) }
        };
        let login = Login::load(&local_dir()).or_else(found)?;
        let local = Credentials::load(&local_dir()).or_else(|error| {
            let complete = complete || login.is_some();
            if complete { Ok(None) } else { Err(Failure::unavailable(format!("{error:#}"))) }
        })?;
        Ok(Self { url, key, login, local })
    }

    /// A credential goes to the server it is for, and to no other.
    fn choose(self) -> Result<(String, Credential), Failure> {
        let kept = |login: &Login| match &login.credential {
            login::Kept::Key { key } => Credential::Key(key.clone()),
            login::Kept::Session { .. } => Credential::Session,
        };
        match (self.url, self.key) {
            (Some(url), Some(key)) => Ok((url, Credential::Key(key))),
            (Some(url), None) => {
                let login = self.login.filter(|login| same_server(&url, &login.url));
                let local = self.local.filter(|local| same_server(&url, &local.url));
                match (login, local) {
                    (Some(login), _) => Ok((url, kept(&login))),
                    (None, Some(local)) => Ok((url, Credential::Key(local.api_key))),
                    (None, None) => Err(Failure::unavailable(format!("There are no credentials for {url}."))
                        .hint("Sign in with `gantry login`, set GANTRY_API_KEY, or give --api-key-file.")),
                }
            }
            (None, key) => {
                let known = self.login.map(|login| (login.url.clone(), kept(&login)));
                let known = known.or(self.local.map(|local| (local.url, Credential::Key(local.api_key))));
                let (url, found) = known.ok_or_else(|| {
                    Failure::unavailable("There is no Gantry on this machine yet.").hint(NEXT)
                })?;
                Ok((url, key.map_or(found, Credential::Key)))
            }
        }
    }
}

/// The server that was named, if one was.
pub fn server(global: &GlobalArgs) -> Result<Option<String>, Failure> {
    Ok(global.url.clone().or(variable("GANTRY_URL")?))
}

/// What to do when nobody answers.
pub fn nobody_answers(address_and_reason: &str) -> Failure {
    Failure::unavailable(address_and_reason).hint(NEXT)
}

/// Whether two addresses lead to one server.
pub fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| Failure::usage(format!("{name} is not text")))
}

/// Where credentials are kept.
pub fn local_dir() -> PathBuf {
    std::env::var_os("GANTRY_DATA_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(data_dir::default, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Option<Credentials> {
        let (url, email, api_key) = ("http://127.0.0.1:8080".into(), "me".into(), "local-key".into());
        Some(Credentials { url, email, api_key })
    }

    fn choose(
        url: Option<&str>,
        key: Option<&str>,
        local: Option<Credentials>,
    ) -> Option<(String, Credential)> {
        Sources { url: url.map(Into::into), key: key.map(Into::into), login: None, local }.choose().ok()
    }

    fn pair(url: &str, key: &str) -> Option<(String, Credential)> {
        Some((url.into(), Credential::Key(key.into())))
    }

    #[test]
    fn what_is_said_wins_over_what_is_found() {
        assert_eq!(choose(Some("https://g"), Some("k"), local()), pair("https://g", "k"));
        assert_eq!(choose(None, Some("k"), local()), pair("http://127.0.0.1:8080", "k"));
        assert_eq!(choose(None, None, local()), pair("http://127.0.0.1:8080", "local-key"));
        assert_eq!(choose(None, None, None), None);
    }

    #[test]
    fn the_local_key_goes_to_the_local_server_only() {
        assert_eq!(choose(Some("https://g"), None, local()), None);
        let here = "http://127.0.0.1:8080/";
        assert_eq!(choose(Some(here), None, local()), pair(here, "local-key"));
    }

    #[test]
    fn who_signed_in_works_there_unless_another_server_is_named() {
        let login = Login { url: "https://g".into(), credential: login::Kept::Key { key: "theirs".into() } };
        let choose = |url: Option<&str>| {
            let sources =
                Sources { url: url.map(Into::into), key: None, login: Some(login.clone()), local: local() };
            sources.choose().ok()
        };
        assert_eq!(choose(None), pair("https://g", "theirs"));
        assert_eq!(choose(Some("https://g/")), pair("https://g/", "theirs"));
        assert_eq!(choose(Some("http://127.0.0.1:8080")), pair("http://127.0.0.1:8080", "local-key"));
        assert_eq!(choose(Some("https://evil")), None);
    }
}
