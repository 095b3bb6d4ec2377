//! The networks of the user, as given on the command line.

use std::net::IpAddr;

use crate::network::Cidr;

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
