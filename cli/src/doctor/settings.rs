//! The settings of producers and workers, and of `gantry up`.

use std::collections::BTreeMap;
use std::path::Path;

use gantry_producer::services::credentials;
use gantry_producer::services::credentials::key::SigningKeys;
use gantry_producer::services::credentials::password::NewPassword;
use gantry_producer::services::credentials::seal::Sealer;

use super::{Finding, is_this_machine, parts};

/// Settings by name, such as `rate_limits.organization`, and what they are set to.
#[derive(Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// `GANTRY_*` variables, and what they name by `…_FILE`.
    pub fn add_variables(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, value) in variables {
            let Some(name) = name.strip_prefix("GANTRY_") else { continue };
            match name.strip_suffix("_FILE").filter(|name| HIDDEN.contains(name)) {
                Some(name) => {
                    if let Ok(text) = std::fs::read_to_string(&value) {
                        self.0.insert(name.to_owned(), text.trim_end().to_owned());
                    }
                }
                None => {
                    self.0.insert(name.to_owned(), value);
                }
            }
        }
    }

    /// A file of `NAME=VALUE` lines, as docker compose and systemd read them.
    pub fn add_environment_file(&mut self, file: &Path) -> std::io::Result<()> {
        let text = std::fs::read_to_string(file)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.trim_start_matches("export ").split_once('='));
        let bare = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
        self.add_variables(pairs.map(|(name, value)| (name.trim().to_owned(), bare(value))));
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(&key.replace('.', "_").to_uppercase())?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str()))
    }

    /// Whether they are those of a producer beside others, rather than of `gantry up`.
    fn is_deployment(&self) -> bool {
        let server = |key: &str| {
            self.get(key).is_some_and(|value| value.contains("://") && !value.starts_with("sqlite"))
        };
        server("store") || server("queue")
    }
}

/// Settings that may come from a file of their own.
const HIDDEN: [&str; 8] = [
    "STORE",
    "QUEUE",
    "REDIS",
    "WORKER_TOKEN",
    "SIGNING_KEYS",
    "SEALING_KEYS",
    "MAIL_PASSWORD",
    "BOOTSTRAP_API_KEY",
];

/// Everything that can be said about them.
pub fn judge(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    if settings.is_deployment() {
        found.extend(signing_keys(settings));
        found.extend(sealing_keys(settings));
        found.extend(worker_token(settings));
        found.extend(["store", "queue", "redis"].iter().filter_map(|key| server(settings, key)));
        found.extend(limits(settings));
    }
    found.extend(bootstrap(settings));
    found.extend(public_url(settings));
    found.extend(hosts(settings));
    found.push(sign_up(settings));
    found.push(executor(settings));
    found.extend(egress(settings));
    found
}

fn signing_keys(settings: &Settings) -> Option<Finding> {
    const ADVICE: &str = "Take what `gantry-producer new-signing-key` prints, the same for all producers.";
    Some(match settings.get("signing_keys").map(str::parse::<SigningKeys>) {
        None => Finding::weak("signing_keys", "is not set", ADVICE),
        Some(Err(error)) => Finding::weak("signing_keys", error.to_string(), ADVICE),
        Some(Ok(_)) => Finding::good("signing_keys", "are random and long enough"),
    })
}

fn sealing_keys(settings: &Settings) -> Option<Finding> {
    const ADVICE: &str =
        "Take what `gantry-producer new-sealing-key` prints, and keep a copy: without it secrets are lost.";
    Some(match settings.get("sealing_keys").map(str::parse::<Sealer>) {
        None => Finding::mind("sealing_keys", "is not set: projects cannot have secrets", ADVICE),
        Some(Err(error)) => Finding::weak("sealing_keys", error.to_string(), ADVICE),
        Some(Ok(_)) => Finding::good("sealing_keys", "are random and long enough"),
    })
}

fn worker_token(settings: &Settings) -> Option<Finding> {
    const ADVICE: &str = "Take what `gantry-producer new-token` prints.";
    let text = settings.get("worker_token")?;
    let tokens =
        text.split([',', '\n']).map(|item| item.split_once('=').map_or(item, |(_, token)| token).trim());
    let random = |token: &str| {
        let mut bytes: Vec<u8> = token.bytes().collect();
        bytes.sort_unstable();
        bytes.dedup();
        token.len() >= 32 && bytes.len() >= 10
    };
    Some(match tokens.filter(|token| !token.is_empty()).all(random) {
        true => Finding::good("worker_token", "is long and looks random"),
        false => Finding::weak("worker_token", "can be guessed", ADVICE),
    })
}

fn server(settings: &Settings, key: &str) -> Option<Finding> {
    let (scheme, user, password, host) = parts(settings.get(key)?)?;
    // One name without a dot: a service beside this one, on a network of their own.
    let near = is_this_machine(host)
        || !host.contains('.')
        || host.ends_with(".svc")
        || host.ends_with(".cluster.local");
    let encrypted = ["amqps", "rediss", "mongodb+srv", "https"].contains(&scheme)
        || settings.get(key)?.contains("tls=true");
    Some(match password {
        None if is_this_machine(host) => {
            Finding::mind(key, "needs no password from this machine", SERVER_PASSWORD)
        }
        None => Finding::weak(key, format!("{host} is spoken to without a password"), SERVER_PASSWORD),
        Some(password) if is_common(password, user) => Finding::weak(
            key,
            "has a default password, or one of the first that are guessed",
            SERVER_PASSWORD,
        ),
        Some(_) if !near && !encrypted => Finding::weak(
            key,
            format!("sends its password to {host} in the clear"),
            "Use the encrypted scheme: amqps://, rediss://, mongodb+srv:// or `tls=true`.",
        ),
        Some(_) => Finding::good(key, "has a password of its own"),
    })
}

const SERVER_PASSWORD: &str =
    "Give the server a user of its own with a random password, such as `openssl rand -hex 24`.";

fn is_common(password: &str, user: Option<&str>) -> bool {
    let known = ["guest", "admin", "gantry", "root", "rabbitmq", "redis", "mongo", "changeme", "secret"];
    known.contains(&password.to_lowercase().as_str())
        || NewPassword::choose(password, user.as_slice()).is_err()
}

fn bootstrap(settings: &Settings) -> Option<Finding> {
    let key = settings.get("bootstrap.api_key").or_else(|| settings.get("api_key"))?;
    Some(match credentials::check_strength(key) {
        Ok(()) => Finding::good("bootstrap.api_key", "is random"),
        Err(_) => Finding::weak(
            "bootstrap.api_key",
            "can be guessed",
            "Take what `gantry-producer new-key` prints.",
        ),
    })
}

fn public_url(settings: &Settings) -> Option<Finding> {
    const ADVICE: &str = "Put TLS in front of the producers and set public_url to https://…";
    let Some(url) = settings.get("public_url") else {
        return settings.is_deployment().then(|| {
            Finding::mind("public_url", "is not set: browsers cannot sign in, and no mail is sent", ADVICE)
        });
    };
    let (scheme, _, _, host) = parts(url)?;
    Some(match scheme == "https" || is_this_machine(host) {
        true => Finding::good("public_url", url),
        false => Finding::weak("public_url", "is plain http: passwords and keys travel in the clear", ADVICE),
    })
}

fn hosts(settings: &Settings) -> Option<Finding> {
    let listens = settings.get("listen").and_then(|listen| listen.parse::<std::net::SocketAddr>().ok());
    if !settings.is_deployment() && listens.is_none_or(|at| at.ip().is_loopback()) {
        return None;
    }
    Some(match settings.get("http.hosts") {
        Some(hosts) => Finding::good("http.hosts", hosts),
        None => Finding::mind(
            "http.hosts",
            "is not set: requests for any name are answered",
            "Name the hosts people use, so that a page elsewhere cannot reach the API by a name of its own.",
        ),
    })
}

fn sign_up(settings: &Settings) -> Finding {
    match settings.is_on("sign_up.open") {
        true => Finding::mind(
            "sign_up.open",
            "anybody can make an account and run containers here",
            "Leave it out unless that is meant: people come by invitation then.",
        ),
        false => Finding::good("sign_up.open", "people come by invitation only"),
    }
}

fn executor(settings: &Settings) -> Finding {
    match settings.get("executor") {
        Some("process") => Finding::weak(
            "executor",
            "runs are processes of this host: they can do all that Gantry can",
            "Use `docker`, unless everybody who may create runs may do everything here.",
        ),
        Some(other) => Finding::good("executor", other),
        None => Finding::good("executor", "is the default"),
    }
}

fn egress(settings: &Settings) -> Option<Finding> {
    settings.is_on("allow_unverified_egress").then(|| {
        Finding::weak(
            "allow_unverified_egress",
            "runs may reach what the worker reaches: broker, store, metadata service",
            "Use the engine image `gantry-dind`, which filters what runs reach, and leave the setting out.",
        )
    })
}

fn limits(settings: &Settings) -> Option<Finding> {
    let off = |key: &&str| settings.get(key) == Some("0");
    let names = ["rate_limits.organization", "rate_limits.sign_ins"];
    let off: Vec<_> = names.into_iter().filter(off).collect();
    (!off.is_empty()).then(|| {
        Finding::mind(
            off.join(", "),
            "is turned off",
            "Leave it out for the default, unless something before Gantry counts.",
        )
    })
}

#[cfg(test)]
mod tests {
    use gantry_producer::services::credentials::key::SigningKey;

    use super::super::Level;
    use super::*;

    fn judged(variables: &[(&str, &str)]) -> BTreeMap<String, Level> {
        let mut settings = Settings::default();
        settings
            .add_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        judge(&settings).into_iter().map(|finding| (finding.what, finding.level)).collect()
    }

    const STORE: (&str, &str) = ("GANTRY_STORE", "mongodb://gantry:3f1c9a7be2d04456@db/gantry");

    #[test]
    fn a_strong_deployment_has_nothing_weak() {
        let key = SigningKey::random("k".parse().unwrap()).to_config();
        let found = judged(&[
            STORE,
            ("GANTRY_QUEUE", "amqps://gantry:3f1c9a7be2d04456@broker.example.com/%2f"),
            ("GANTRY_REDIS", "redis://:3f1c9a7be2d04456@redis:6379"),
            ("GANTRY_SIGNING_KEYS", &key),
            ("GANTRY_SEALING_KEYS", &key),
            ("GANTRY_WORKER_TOKEN", &credentials::new_token()),
            ("GANTRY_BOOTSTRAP_API_KEY", &credentials::new_api_key()),
            ("GANTRY_PUBLIC_URL", "https://gantry.example.com"),
            ("GANTRY_HTTP_HOSTS", "gantry.example.com"),
        ]);
        assert!(found.len() > 9 && found.values().all(|level| *level == Level::Good), "{found:?}");
    }

    #[test]
    fn what_is_weak_is_named() {
        for (variables, what) in [
            (&[STORE][..], "signing_keys"),
            (&[STORE, ("GANTRY_SIGNING_KEYS", "k:c2hvcnQ=")], "signing_keys"),
            (&[STORE, ("GANTRY_WORKER_TOKEN", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "worker_token"),
            (&[("GANTRY_STORE", "mongodb://gantry:gantry@db/gantry")], "store"),
            (&[("GANTRY_STORE", "mongodb://db/gantry")], "store"),
            (&[("GANTRY_QUEUE", "amqp://guest:guest@localhost/%2f")], "queue"),
            (&[("GANTRY_QUEUE", "amqp://gantry:3f1c9a7be2d04456@broker.example.com")], "queue"),
            (&[STORE, ("GANTRY_REDIS", "redis://:password@cache")], "redis"),
            (&[("GANTRY_BOOTSTRAP_API_KEY", "gantry_password")], "bootstrap.api_key"),
            (&[("GANTRY_PUBLIC_URL", "http://gantry.example.com")], "public_url"),
            (&[("GANTRY_EXECUTOR", "process")], "executor"),
            (&[("GANTRY_ALLOW_UNVERIFIED_EGRESS", "true")], "allow_unverified_egress"),
        ] {
            assert_eq!(judged(variables).get(what), Some(&Level::Weak), "{what}: {variables:?}");
        }
        assert_eq!(judged(&[("GANTRY_SIGN_UP_OPEN", "true")])["sign_up.open"], Level::Mind);
    }

    #[test]
    fn no_finding_shows_a_secret() {
        let mut settings = Settings::default();
        let secrets = ["hunter2hunter2", "c2hvcnQ=", "gantry_password", "tooshort"];
        settings.add_variables([
            ("GANTRY_STORE".to_owned(), format!("mongodb://gantry:{}@db.example.com/gantry", secrets[0])),
            ("GANTRY_SIGNING_KEYS".to_owned(), format!("k:{}", secrets[1])),
            ("GANTRY_BOOTSTRAP_API_KEY".to_owned(), secrets[2].to_owned()),
            ("GANTRY_WORKER_TOKEN".to_owned(), secrets[3].to_owned()),
        ]);
        let shown = format!("{:?}", judge(&settings));
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}
