//! The server that the commands of this machine talk to, and the credentials they use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use gantry_client::ApiClient;
use gantry_domain::permission::Scope;

use super::{Finding, is_this_machine, parts};

/// Files that hold credentials, if they are there.
pub fn files(dir: &Path) -> Vec<Finding> {
    let names = ["credentials.json", "login.json", "signing-keys", "sealing-keys"];
    let found = names.iter().filter_map(|name| {
        let path = dir.join(name);
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        let what = path.display().to_string();
        Some(match mode & 0o077 {
            0 => Finding::good(what, "is for its owner alone"),
            _ => Finding::weak(
                what,
                format!("others can read it (mode {mode:o})"),
                "Run `chmod 600` on it, and replace what was in it.",
            ),
        })
    });
    found.collect()
}

/// How it is reached, how it runs things, and what the credential is.
pub async fn judge(client: &ApiClient) -> Vec<Finding> {
    let address = client.address();
    let mut found = Vec::new();
    if let Some((scheme, _, _, host)) = parts(&address) {
        found.push(match scheme == "https" || is_this_machine(host) {
            true => Finding::good(&address, "is reached over TLS, or on this machine"),
            false => Finding::weak(
                &address,
                "is reached over plain http: your key travels in the clear",
                "Put TLS in front of it and use https://…",
            ),
        });
    }
    match client.version().await {
        Ok(version) if version.executor.as_deref() == Some("process") => found.push(Finding::weak(
            &address,
            "carries runs out as processes of its own host",
            "Use the docker executor, unless everybody who may create runs may do everything there.",
        )),
        Ok(version) => found.push(Finding::good(&address, format!("answers, version {}", version.version))),
        Err(error) => {
            found.push(Finding::mind(
                &address,
                format!("does not answer: {error}"),
                "Start it, or name another with --url.",
            ));
            return found;
        }
    }
    if let Ok(me) = client.me().await
        && let Some(key) = me.key
    {
        let what = format!("API key {}…", key.prefix);
        let all = key.scopes.contains(&Scope::Admin);
        found.push(match (all, key.expires_at) {
            (true, None) if !is_local(&address) => Finding::mind(
                what,
                "may do all that its owner may, for ever",
                "Make one with the scopes it needs and an end: `POST /api/v1/keys`.",
            ),
            _ => Finding::good(what, "works"),
        });
    }
    found
}

fn is_local(address: &str) -> bool {
    parts(address).is_some_and(|(_, _, _, host)| is_this_machine(host))
}
