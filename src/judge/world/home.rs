//! The networks of the user, as given on the command line.

use std::net::IpAddr;
use std::str::FromStr;

/// Networks that the user named as their own.
#[derive(Clone, Debug, Default)]
pub struct HomeNets(Vec<Cidr>);

impl HomeNets {
    /// Whether `ip` is outside of all of them; `None` if no network was named.
    pub fn is_outside(&self, ip: IpAddr) -> Option<bool> {
        (!self.0.is_empty()).then(|| !self.0.iter().any(|net| net.contains(ip)))
    }
}

impl FromIterator<Cidr> for HomeNets {
    fn from_iter<I: IntoIterator<Item = Cidr>>(nets: I) -> Self {
        Self(nets.into_iter().collect())
    }
}

/// A network as an address and the number of its leading bits, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u32,
}

impl Cidr {
    /// Whether the network has this address.
    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        match (self.ip, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                (net.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                (net.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    /// Parses `ADDRESS/BITS`, or a single address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a network such as 10.0.0.0/8 or fd00::/8, or an address";
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| EXPECTED)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| EXPECTED)?;
        if bits > most { Err(EXPECTED) } else { Ok(Self { ip, bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> HomeNets {
        texts.iter().map(|text| text.parse::<Cidr>().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_outside_when_no_network_has_it() {
        let home = nets(&["10.0.0.0/8", "192.168.7.1", "fd00::/8", "0.0.0.0/32"]);
        for inside in ["10.255.0.1", "192.168.7.1", "fd12::1", "::ffff:10.1.2.3", "0.0.0.0"] {
            assert_eq!(home.is_outside(ip(inside)), Some(false), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.7.2", "fe80::1", "::1"] {
            assert_eq!(home.is_outside(ip(outside)), Some(true), "{outside}");
        }
        assert_eq!(nets(&["0.0.0.0/0"]).is_outside(ip("8.8.8.8")), Some(false));
    }

    #[test]
    fn without_a_network_nothing_is_known() {
        assert_eq!(HomeNets::default().is_outside(ip("10.0.0.1")), None);
    }

    #[test]
    fn text_that_is_no_network_is_an_error() {
        for wrong in ["", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
