//! What operators allow besides public addresses: networks of their own in which receivers live.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Networks, each for all ports or one. Names are not allowed for: who answers for a name decides where it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    network: IpNet,
    port: Option<u16>,
}

/// Why a text is not a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a network: use 10.1.2.0/24, 10.1.2.3, fd00::/8, with a port 10.1.2.3:8080 or [fd00::1]:8080"
)]
pub struct BadAllowList(String);

impl AllowList {
    pub fn allows(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.0
            .iter()
            .any(|entry| entry.network.contains(&address) && entry.port.is_none_or(|only| only == port))
    }
}

impl FromStr for AllowList {
    type Err = BadAllowList;

    /// Separated by commas or white space.
    fn from_str(text: &str) -> Result<Self, BadAllowList> {
        let items = text.split([',', ' ', '\t', '\n', '\r']).filter(|item| !item.is_empty());
        items
            .map(|item| entry(item).ok_or_else(|| BadAllowList(item.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn entry(text: &str) -> Option<Entry> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0);
    if let Some(network) = network(text) {
        return Some(Entry { network, port: None });
    }
    if let Some((inside, after)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let only = match after {
            "" => None,
            after => Some(port(after.strip_prefix(':')?)?),
        };
        return Some(Entry {
            network: network(inside).filter(|net| matches!(net, IpNet::V6(_)))?,
            port: only,
        });
    }
    let (before, only) = text.rsplit_once(':')?;
    Some(Entry {
        network: network(before).filter(|net| matches!(net, IpNet::V4(_)))?,
        port: Some(port(only)?),
    })
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &str, address: &str, port: u16) -> bool {
        list.parse::<AllowList>().unwrap().allows(address.parse().unwrap(), port)
    }

    #[test]
    fn nothing_is_allowed_that_is_not_named() {
        assert!(!AllowList::default().allows("10.0.0.1".parse().unwrap(), 80));
        let list = "10.1.0.0/16, 192.168.1.5:8080\nfd00::/64 [fd01::1]:9000 [fd02::/16]";
        for (address, port, allowed) in [
            ("10.1.2.3", 80, true),
            ("10.2.0.1", 80, false),
            ("192.168.1.5", 8080, true),
            ("192.168.1.5", 80, false),
            ("192.168.1.6", 8080, false),
            ("fd00::5", 443, true),
            ("fd00:0:0:1::5", 443, false),
            ("fd01::1", 9000, true),
            ("fd01::1", 9001, false),
            ("fd02::1", 1, true),
            ("127.0.0.1", 80, false),
            ("::ffff:10.1.2.3", 80, true),
            ("::ffff:10.2.2.3", 80, false),
        ] {
            assert_eq!(allows(list, address, port), allowed, "{address} {port}");
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        for bad in [
            "localhost",
            "10.0.0.0/33",
            "10.0.0.1:0",
            "10.0.0.1:99999",
            "fd00::1:8080:x",
            "[10.0.0.1]:80",
            "[fd00::1]80",
            "*",
            "10.0.0.256",
        ] {
            assert!(bad.parse::<AllowList>().is_err(), "{bad}");
        }
        assert_eq!("".parse::<AllowList>(), Ok(AllowList::default()));
    }
}
