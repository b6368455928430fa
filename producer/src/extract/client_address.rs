//! Where a request comes from: what the outermost trusted proxy saw, or the peer itself. Everything that counts, locks or
//! records by address asks here, so that nobody escapes a limit, or puts another under one, by a header of his own.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

use crate::state::App;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of whoever made the request; this machine's own for requests that came over no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// As `proxies` trusted ones tell it: each appended the address it saw, so that only the last `proxies` entries are
    /// theirs. With fewer entries than that the request came through fewer of them, and the first entry is what the
    /// outermost saw; an entry that is no address ends what can be believed.
    pub fn of(headers: &HeaderMap, extensions: &Extensions, proxies: usize) -> Self {
        let peer = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(peer)| peer.ip());
        let lines = headers.get_all(FORWARDED_FOR).iter().collect::<Vec<_>>();
        let entries = lines.into_iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let seen = entries.take(proxies).map_while(address).last();
        Self(seen.unwrap_or(peer).to_canonical())
    }

    /// What one subscriber holds: an IPv4 address, or the whole /64 of an IPv6 one. What is counted by address is counted
    /// by this, since 2^64 addresses cost nothing.
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry: an address, with a port or without.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, &parts.extensions, app.config.http.trusted_proxies))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn seen(proxies: usize, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo::<SocketAddr>("10.0.0.1:4711".parse().unwrap()));
        ClientAddress::of(&headers, &extensions, proxies).to_string()
    }

    #[test]
    fn without_trusted_proxies_the_header_says_nothing() {
        assert_eq!(seen(0, &["1.1.1.1"]), "10.0.0.1");
        assert_eq!(seen(0, &[]), "10.0.0.1");
    }

    #[test]
    fn what_the_caller_wrote_himself_is_left_of_what_proxies_wrote() {
        let forged = "6.6.6.6, 7.7.7.7, 1.1.1.1";
        assert_eq!(seen(1, &[forged]), "1.1.1.1");
        assert_eq!(seen(2, &["6.6.6.6, 1.1.1.1, 10.0.0.9"]), "1.1.1.1");
        assert_eq!(seen(2, &["6.6.6.6", "1.1.1.1", "10.0.0.9"]), "1.1.1.1", "several lines are one list");
    }

    #[test]
    fn fewer_entries_than_proxies_came_through_fewer() {
        assert_eq!(seen(2, &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(seen(2, &[]), "10.0.0.1");
        assert_eq!(seen(2, &[""]), "10.0.0.1");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_what_is_believed() {
        assert_eq!(seen(1, &["unknown"]), "10.0.0.1");
        assert_eq!(seen(3, &["6.6.6.6, <script>, 10.0.0.9"]), "10.0.0.9");
        assert_eq!(seen(1, &["1.1.1.1, \u{fffd}"]), "10.0.0.1");
    }

    #[test]
    fn entries_are_written_in_many_ways() {
        assert_eq!(seen(1, &["1.1.1.1:443"]), "1.1.1.1");
        assert_eq!(seen(1, &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(seen(1, &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(seen(1, &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(seen(1, &["::ffff:1.1.1.1"]), "1.1.1.1", "one way to write one address");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_however_many_addresses_he_uses() {
        let network = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("2001:db8:1:2::"), network("2001:db8:1:2:ffff::1"));
        assert_eq!(network("1.1.1.1"), "1.1.1.1");
    }

    #[test]
    fn a_request_over_no_network_is_ours() {
        let seen = ClientAddress::of(&HeaderMap::new(), &Extensions::new(), 1);
        assert_eq!(seen.to_string(), "127.0.0.1");
    }
}
