//! Who may talk to the public API, and through what: names, origins, proxies.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use gantry_service_kit::config::Source;
use http::uri::{Authority, Uri};

use super::Exposure;

/// What the public API believes of what a request says about where it comes from and where it wants to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Pages that may call the API with their reader's credentials, beside the API's own.
    pub cors_origins: Vec<Origin>,
    /// Where people find this installation: by `https` only, if it says so.
    pub own: Option<Origin>,
    /// By which names it answers, beside its own.
    pub hosts: Hosts,
    /// Proxies in front of us, each of which adds what it saw to the end of `X-Forwarded-For`; 0 means that the header is
    /// a stranger's claim.
    pub trusted_proxies: usize,
}

/// More can only be a mistake.
const MAX_PROXIES: usize = 16;

impl HttpConfig {
    /// Reads `http.*`; errors are kept in `source`.
    pub fn read(source: &mut Source, exposure: Exposure, public_url: Option<&str>) -> Self {
        if exposure == Exposure::Network {
            source.alias("http.cors_origins", "CORS_ORIGIN");
        }
        let cors_origins = source.list("http.cors_origins", Vec::new());
        let names: Vec<HostName> = source.list("http.hosts", Vec::new());
        let hosts = match exposure {
            _ if !names.is_empty() => Hosts::Listed(names.into_iter().map(|name| name.0).collect()),
            Exposure::Network => Hosts::Any,
            Exposure::OwnMachine { listen } => Hosts::Machine(listen.ip()),
        };
        let trusted_proxies = source.parse("http.trusted_proxies", 0);
        if trusted_proxies > MAX_PROXIES {
            source.reject("http.trusted_proxies", format!("give 0 to {MAX_PROXIES}"));
        }
        Self { cors_origins, own: public_url.and_then(Origin::of), hosts, trusted_proxies }
    }

    /// Whether `host`, a name or an address without port, is one of ours.
    pub fn answers_to(&self, host: &str) -> bool {
        self.hosts.knows(host) || self.own.as_ref().is_some_and(|own| host.eq_ignore_ascii_case(own.host()))
    }
}

/// A page's origin as browsers write it: `https://dash.example`, with the port if it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a page.
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        format!("{}://{}", uri.scheme_str()?, uri.authority()?).parse().ok()
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Without port.
    fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "expected scheme, host and port alone, such as https://dash.example; there are no wildcards";
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| WRONG)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(WRONG) };
        let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
        if !bare || !matches!(scheme, "http" | "https") || authority.as_str().contains(['@', '*']) {
            return Err(WRONG);
        }
        let own_port = if scheme == "https" { 443 } else { 80 };
        let host = authority.host().to_ascii_lowercase();
        Ok(Self(match authority.port_u16() {
            Some(port) if port != own_port => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        }))
    }
}

/// The name or address in a `Host` header, without port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostName(String);

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected a name or address without scheme and port, such as gantry.example";
        let text = match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => text.to_ascii_lowercase(),
        };
        let authority: Authority = text.parse().map_err(|_| WRONG)?;
        if authority.host() != text || text.contains('*') {
            return Err(WRONG);
        }
        Ok(Self(text))
    }
}

/// By which names the public API may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hosts {
    #[default]
    Any,
    /// Those that no page on the web can give itself: `localhost`, and the address that is listened on.
    Machine(IpAddr),
    Listed(Vec<String>),
}

impl Hosts {
    fn knows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Listed(names) => names.contains(&host),
            Self::Machine(listen) => match as_address(&host) {
                // An address is no name that could be pointed elsewhere.
                Some(address) => listen.is_unspecified() || address == *listen || address.is_loopback(),
                None => host == "localhost" || host.ends_with(".localhost"),
            },
        }
    }
}

/// A host that is an IP address.
pub fn as_address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], exposure: Exposure) -> Result<HttpConfig, String> {
        let mut source = Source::new(variables.iter().copied());
        let config = HttpConfig::read(&mut source, exposure, None);
        source.finish().map(|_| config).map_err(|errors| errors.to_string())
    }

    #[test]
    fn an_origin_is_exact() {
        for (given, kept) in [
            ("https://Dash.Example", "https://dash.example"),
            ("https://dash.example/", "https://dash.example"),
            ("https://dash.example:443", "https://dash.example"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:5173", "http://[::1]:5173"),
        ] {
            assert_eq!(given.parse::<Origin>().unwrap().as_str(), kept);
        }
        for wrong in [
            "*",
            "null",
            "dash.example",
            "https://*.example",
            "https://a.example/x",
            "ftp://a",
            "https://u@a",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_said_is_closed_on_ones_own_machine_and_open_on_a_server() {
        let own = Exposure::OwnMachine { listen: "127.0.0.1:8080".parse().unwrap() };
        let machine = read(&[], own).unwrap().hosts;
        for known in ["localhost", "LOCALHOST", "localhost.", "web.localhost", "127.0.0.1", "[::1]"] {
            assert!(machine.knows(known), "{known}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", ""] {
            assert!(!machine.knows(foreign), "{foreign}");
        }
        let everywhere = Exposure::OwnMachine { listen: "0.0.0.0:8080".parse().unwrap() };
        let machine = read(&[], everywhere).unwrap().hosts;
        assert!(machine.knows("192.168.1.7") && !machine.knows("evil.example"));
        assert_eq!(read(&[], Exposure::Network).unwrap(), HttpConfig::default());
    }

    #[test]
    fn a_list_replaces_the_default() {
        let list = [("GANTRY_HTTP_HOSTS", "gantry.example, ::1")];
        for exposure in
            [Exposure::Network, Exposure::OwnMachine { listen: "127.0.0.1:8080".parse().unwrap() }]
        {
            let hosts = read(&list, exposure).unwrap().hosts;
            assert!(hosts.knows("Gantry.Example") && hosts.knows("[::1]"));
            assert!(!hosts.knows("localhost") && !hosts.knows("x.gantry.example"));
        }
    }

    #[test]
    fn the_conventional_name_is_for_servers() {
        let given = [("CORS_ORIGIN", "https://dash.example")];
        assert_eq!(read(&given, Exposure::Network).unwrap().cors_origins.len(), 1);
        let own = Exposure::OwnMachine { listen: "127.0.0.1:8080".parse().unwrap() };
        assert!(read(&given, own).unwrap().cors_origins.is_empty());
    }

    #[test]
    fn the_public_url_is_ours() {
        let own = |url| {
            let listen = "127.0.0.1:8080".parse().unwrap();
            HttpConfig::read(&mut Source::default(), Exposure::OwnMachine { listen }, Some(url))
        };
        let secure = own("https://Gantry.example:8443/team");
        assert_eq!(secure.own.as_ref().map(Origin::as_str), Some("https://gantry.example:8443"));
        assert!(secure.own.as_ref().is_some_and(Origin::is_https));
        assert!(secure.answers_to("gantry.example") && secure.answers_to("localhost"));
        assert!(!secure.answers_to("evil.example"));
        let plain = own("http://[fd00::1]");
        assert!(plain.answers_to("[fd00::1]") && !plain.own.is_some_and(|own| own.is_https()));
    }

    #[test]
    fn mistakes_are_told() {
        for wrong in [
            ("GANTRY_HTTP_HOSTS", "https://gantry.example"),
            ("GANTRY_HTTP_HOSTS", "gantry.example:443"),
            ("GANTRY_HTTP_HOSTS", "*.example"),
            ("GANTRY_HTTP_CORS_ORIGINS", "*"),
            ("GANTRY_HTTP_TRUSTED_PROXIES", "17"),
            ("GANTRY_HTTP_TRUSTED_PROXIES", "-1"),
        ] {
            let errors = read(&[wrong], Exposure::Network).unwrap_err();
            assert!(errors.contains(wrong.0), "{errors}");
        }
    }
}
