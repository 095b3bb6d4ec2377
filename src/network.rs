//! IP networks as a user writes them.

use std::net::IpAddr;
use std::str::FromStr;

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
