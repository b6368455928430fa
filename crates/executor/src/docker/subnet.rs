//! Which /28 of a range is free.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Addresses one slot's network takes.
const SLOT_PREFIX: u8 = 28;

/// An IPv4 network. Invariant: `prefix` ≤ 32 and no host bits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    address: u32,
    prefix: u8,
}

impl Subnet {
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { address: address.to_bits() & mask(prefix), prefix }
    }

    pub fn overlaps(self, other: Self) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.address & shorter == other.address & shorter
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.address), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let prefix = prefix.parse().ok().filter(|&prefix: &u8| prefix <= 32).ok_or(())?;
        Ok(Self::new(address.parse().map_err(|_| ())?, prefix))
    }
}

/// Free /28s of the range, lowest first; a few only, since each is a request to the engine.
pub(super) fn candidates(range: (Ipv4Addr, u8), used: &[Subnet]) -> impl Iterator<Item = Subnet> {
    const TRIES: usize = 16;
    let range = Subnet::new(range.0, range.1.min(SLOT_PREFIX));
    let size = 1_u64 << (32 - SLOT_PREFIX);
    let count = 1_u64 << (SLOT_PREFIX - range.prefix);
    (0..count)
        .filter_map(move |i| u32::try_from(u64::from(range.address) + i * size).ok())
        .map(|address| Subnet { address, prefix: SLOT_PREFIX })
        .filter(|subnet| !used.iter().any(|taken| taken.overlaps(*subnet)))
        .take(TRIES)
}

/// The networks of a Linux routing table (`/proc/net/route`), without the default route.
pub(super) fn routes(table: &str) -> impl Iterator<Item = Subnet> {
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |i: usize| u32::from_str_radix(columns.get(i)?, 16).ok().map(u32::swap_bytes);
        let (destination, mask) = (number(1)?, number(7)?);
        (mask != 0).then(|| {
            Subnet::new(Ipv4Addr::from_bits(destination), u8::try_from(mask.count_ones()).unwrap_or(32))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn taken_subnets_are_skipped() {
        let used = [subnet("10.1.0.0/28"), subnet("10.1.0.32/27"), subnet("172.17.0.0/16")];
        let free: Vec<_> =
            candidates((Ipv4Addr::new(10, 1, 0, 0), 24), &used).map(|s| s.to_string()).take(3).collect();
        assert_eq!(free, ["10.1.0.16/28", "10.1.0.64/28", "10.1.0.80/28"]);
    }

    #[test]
    fn a_range_that_is_covered_has_none_left() {
        assert_eq!(candidates((Ipv4Addr::new(10, 1, 0, 0), 24), &[subnet("10.0.0.0/8")]).count(), 0);
        assert_eq!(candidates((Ipv4Addr::new(10, 1, 0, 0), 30), &[]).count(), 1);
        assert_eq!(candidates((Ipv4Addr::new(0, 0, 0, 0), 0), &[]).count(), 16);
    }

    #[test]
    fn the_routes_of_the_host_are_read() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(routes(table).collect::<Vec<_>>(), [subnet("10.0.0.0/24")]);
    }
}
