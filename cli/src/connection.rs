//! Where the server is and what opens it: flags, then environment, then what `gantry up` left on this machine.

use std::ffi::OsString;
use std::path::PathBuf;

use gantry_client::{ApiClient, Transport};

use crate::args::GlobalArgs;
use crate::data_dir::{self, Credentials};
use crate::failure::Failure;

const NEXT: &str = "Start Gantry with `gantry up` in another terminal, or set GANTRY_URL and GANTRY_API_KEY.";

/// A client for the server that is meant.
pub fn connect(global: &GlobalArgs) -> Result<ApiClient, Failure> {
    let (url, key) = Sources::gather(global)?.choose()?;
    let transport = Transport::http(&url).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(ApiClient::new(transport, &key))
}

#[derive(Debug, Default)]
struct Sources {
    url: Option<String>,
    key: Option<String>,
    local: Option<Credentials>,
}

impl Sources {
    fn gather(global: &GlobalArgs) -> Result<Self, Failure> {
        let url = global.url.clone().or(variable("GANTRY_URL")?);
        let key = match &global.api_key_file {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("The API key can't be read from {}: {error}", file.display()))
            })?),
            None => variable("GANTRY_API_KEY")?,
        };
        let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
        // What is damaged here does not matter to who brings everything along.
        let local = match Credentials::load(&local_dir()) {
            Err(error) if url.is_none() || key.is_none() => {
                return Err(Failure::unavailable(format!("{error:#}")));
            }
            found => found.ok().flatten(),
        };
        Ok(Self { url, key, local })
    }

    /// The key of this machine's Gantry goes to no other server.
    fn choose(self) -> Result<(String, String), Failure> {
        match (self.url, self.key, self.local) {
            (Some(url), Some(key), _) => Ok((url, key)),
            (Some(url), None, Some(local)) if same_server(&url, &local.url) => Ok((url, local.api_key)),
            (Some(url), None, _) => Err(Failure::unavailable(format!("There is no API key for {url}."))
                .hint("Set GANTRY_API_KEY, or give --api-key-file.")),
            (None, Some(key), Some(local)) => Ok((local.url, key)),
            (None, None, Some(local)) => Ok((local.url, local.api_key)),
            (None, _, None) => {
                Err(Failure::unavailable("There is no Gantry on this machine yet.").hint(NEXT))
            }
        }
    }
}

/// What to do when nobody answers.
pub fn nobody_answers(address_and_reason: &str) -> Failure {
    Failure::unavailable(address_and_reason).hint(NEXT)
}

fn same_server(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| Failure::usage(format!("{name} is not text")))
}

fn local_dir() -> PathBuf {
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

    fn choose(url: Option<&str>, key: Option<&str>, local: Option<Credentials>) -> Option<(String, String)> {
        Sources { url: url.map(Into::into), key: key.map(Into::into), local }.choose().ok()
    }

    fn pair(url: &str, key: &str) -> Option<(String, String)> {
        Some((url.into(), key.into()))
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
}
