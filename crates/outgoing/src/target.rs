//! Where a request goes, as somebody wrote it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::{HeaderValue, Uri};
use url::{Host, Url};

const MAX_BYTES: usize = 2048;

/// An `http` or `https` address, read as browsers read it: odd forms of IP addresses (`127.1`, `0x7f000001`, `2130706433`) are
/// the addresses they mean.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    host: Host,
    port: u16,
}

/// Why a text is not an address that a request can go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("not an address: it looks like https://example.com/hook")]
    Malformed,
    #[error("only http:// and https:// addresses can be used")]
    Scheme,
    #[error("an address must not hold a user name or password")]
    Credentials,
    #[error("an address has at most {MAX_BYTES} characters")]
    Long,
}

impl Target {
    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address, where it is written as one.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    /// The name to resolve and to expect in a certificate, without a dot at its end.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Domain(name) => Some(name.strip_suffix('.').unwrap_or(name)),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }

    /// What the `Host` header says.
    pub(crate) fn host_header(&self) -> Option<HeaderValue> {
        let text = match self.url.port() {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        };
        HeaderValue::from_str(&text).ok()
    }

    /// Path and query; the fragment is nobody else's.
    pub(crate) fn path(&self) -> Option<Uri> {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()).parse().ok(),
            None => self.url.path().parse().ok(),
        }
    }

    /// Scheme, host and port: what may be shown. Paths of chat services are secrets.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        if text.len() > MAX_BYTES {
            return Err(BadTarget::Long);
        }
        let url = Url::parse(text).map_err(|_| BadTarget::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadTarget::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadTarget::Credentials);
        }
        let host = url.host().ok_or(BadTarget::Malformed)?.to_owned();
        let port = url.port_or_known_default().filter(|&port| port > 0).ok_or(BadTarget::Malformed)?;
        let target = Self { url, host, port };
        match target.host_header().is_some() && target.path().is_some() {
            true => Ok(target),
            false => Err(BadTarget::Malformed),
        }
    }
}

/// The origin alone.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::is_public;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_parts() {
        let hook = target("https://Hooks.Example.com./services/T0/secret?a=b#part");
        assert_eq!(hook.name(), Some("hooks.example.com"));
        assert_eq!((hook.port(), hook.is_https(), hook.literal()), (443, true, None));
        assert_eq!(hook.path().unwrap(), "/services/T0/secret?a=b");
        assert_eq!(hook.host_header().unwrap(), "hooks.example.com.");
        assert_eq!(format!("{hook:?}"), "https://hooks.example.com.", "the path is a secret");
        let six = target("http://[2606:4700::1111]:8080");
        assert_eq!(
            (six.host_header().unwrap(), six.port()),
            (HeaderValue::from_static("[2606:4700::1111]:8080"), 8080)
        );
        assert_eq!(six.path().unwrap(), "/");
    }

    #[test]
    fn every_spelling_of_this_machine_is_this_machine() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0X7F.0.0.1",
            "0177.0.0.1",
            "017700000001",
            "0x7f.0x0.0x0.0x1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:0:0:1]",
            "[::7f00:1]",
            "[64:ff9b::7f00:1]",
            "0",
            "0.0.0.0",
            "[::]",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
        ] {
            let target = target(&format!("http://{host}/latest/meta-data"));
            let address = target.literal().unwrap_or_else(|| panic!("{host} is read as a name"));
            assert!(!is_public(address), "{host} is {address}");
        }
    }

    #[test]
    fn what_is_not_a_web_address_is_refused() {
        for (text, fault) in [
            ("", BadTarget::Malformed),
            ("example.com/hook", BadTarget::Malformed),
            ("/hook", BadTarget::Malformed),
            ("https://", BadTarget::Malformed),
            ("http://256.0.0.1/", BadTarget::Malformed),
            ("http://127.0.0.1.1/", BadTarget::Malformed),
            ("http://0x7f.0.0.0x100/", BadTarget::Malformed),
            ("http://a b/", BadTarget::Malformed),
            ("http://example.com:0/", BadTarget::Malformed),
            ("http://example.com:65536/", BadTarget::Malformed),
            ("http://[fe80::1%25eth0]/", BadTarget::Malformed),
            ("file:///etc/passwd", BadTarget::Scheme),
            ("gopher://example.com/", BadTarget::Scheme),
            ("ftp://example.com/", BadTarget::Scheme),
            ("unix:/var/run/docker.sock", BadTarget::Scheme),
            ("data:text/plain,x", BadTarget::Scheme),
            ("http://user@example.com/", BadTarget::Credentials),
            ("http://:secret@example.com/", BadTarget::Credentials),
            ("http://127.0.0.1@example.com/", BadTarget::Credentials),
            (&format!("http://example.com/{}", "x".repeat(2048)), BadTarget::Long),
        ] {
            assert_eq!(text.parse::<Target>(), Err(fault), "{text}");
        }
    }

    #[test]
    fn confusing_addresses_have_one_reading() {
        for (text, name) in [
            ("http://example.com\\@127.0.0.1/", "example.com"),
            ("http://example.com#@127.0.0.1/", "example.com"),
            ("http://example.com?@127.0.0.1/", "example.com"),
            ("http:\\\\example.com", "example.com"),
            ("http:example.com", "example.com"),
            ("http://exa\nmple.com/", "example.com"),
        ] {
            assert_eq!(target(text).name(), Some(name), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_target_adds_no_line_to_a_request(text in any::<String>(), rest in "[\\x00-\\x7f]{0,40}") {
            for text in [text, format!("http://example.com/{rest}"), format!("http://{rest}.example.com/")] {
                if let Ok(target) = text.parse::<Target>() {
                    let path = target.path().unwrap().to_string();
                    prop_assert!(path.bytes().all(|byte| byte > b' ' && byte < 127), "{}", path);
                    prop_assert!(target.host_header().unwrap().to_str().unwrap().bytes().all(|byte| byte > b' '));
                    prop_assert!(target.literal().is_some() != target.name().is_some());
                }
            }
        }

        #[test]
        fn a_number_is_the_address_it_means(bits in any::<u32>()) {
            let plain = IpAddr::from(std::net::Ipv4Addr::from_bits(bits));
            for host in [format!("{bits}"), format!("{bits:#x}"), format!("0{bits:o}")] {
                prop_assert_eq!(target(&format!("http://{host}/")).literal(), Some(plain));
            }
        }
    }
}
