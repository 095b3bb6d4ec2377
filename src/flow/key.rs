//! What names a connection: the unordered pair of its ends.

use std::net::IpAddr;

use crate::decode::Endpoint;

/// The two ends of a connection, the same whichever way a segment goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FlowKey {
    low: (u128, u16),
    high: (u128, u16),
}

/// Which way a segment goes, seen from a [`FlowKey`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Direction {
    /// From the lower end to the higher one.
    Up,
    /// From the higher end to the lower one.
    Down,
}

impl FlowKey {
    /// The key of a segment from `src` to `dst`, and which way that segment goes.
    pub fn new(src: Endpoint, dst: Endpoint) -> (Self, Direction) {
        let (from, to) = (packed(src), packed(dst));
        if from <= to {
            (Self { low: from, high: to }, Direction::Up)
        } else {
            (Self { low: to, high: from }, Direction::Down)
        }
    }

    /// Ports of the lower end and of the higher one.
    #[inline]
    pub(super) const fn ports(&self) -> [u16; 2] {
        [self.low.1, self.high.1]
    }
}

impl Direction {
    /// The other way.
    pub const fn reverse(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// IPv4 as its mapped IPv6 address: one width for both hashes faster than an enum.
fn packed(end: Endpoint) -> (u128, u16) {
    let address = match end.ip {
        IpAddr::V4(v4) => 0xffff_0000_0000 | u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    (address, end.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_a_connection_have_one_key() {
        let a = Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port: 4369 };
        let b = Endpoint { ip: IpAddr::from([10, 0, 0, 2]), port: 50_000 };
        let (there, up) = FlowKey::new(a, b);
        let (back, down) = FlowKey::new(b, a);
        assert_eq!(there, back);
        assert_eq!(up, down.reverse());
    }
}
