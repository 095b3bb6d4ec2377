//! The key of a connection: the unordered pair of its endpoints.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use super::Endpoint;

/// The two endpoints of a connection, in an order that does not depend on the direction of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowKey {
    low: Packed,
    high: Packed,
    ports: [u16; 2],
    is_v4: bool,
}

/// An address of either IP version as two 64-bit words: one width hashes faster than an enum.
type Packed = (u64, u64);

/// Direction of a segment between the endpoints of a [`FlowKey`].
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Direction {
    /// From the lower endpoint to the higher one.
    #[default]
    LowToHigh,
    /// From the higher endpoint to the lower one.
    HighToLow,
}

impl FlowKey {
    /// The key of a segment from `src` to `dst`, and the direction of that segment.
    #[inline]
    pub fn new(src: Endpoint, dst: Endpoint) -> (Self, Direction) {
        let (from, to) = (packed(src.ip), packed(dst.ip));
        Self::from_endpoints((from, src.port), (to, dst.port), src.ip.is_ipv4())
    }

    /// As [`Self::new`], from the fields of an IPv4 and a TCP header. Building an [`IpAddr`] first would double
    /// the time.
    #[inline(always)] // of every segment; `map` of an array is a call in a build without link-time optimisation
    #[expect(clippy::cast_possible_truncation, reason = "the port is the lower half")]
    pub(super) fn v4(
        [src, dst]: [[u8; 4]; 2],
        [src_port, dst_port]: [u16; 2],
    ) -> (Self, Direction) {
        let end = |ip, port| u64::from(u32::from_be_bytes(ip)) << 16 | u64::from(port);
        let (src, dst) = (end(src, src_port), end(dst, dst_port));
        // Compiled without a branch, because the direction of a segment cannot be predicted.
        let (low, high) = (src.min(dst), src.max(dst));
        let direction = if src <= dst { Direction::LowToHigh } else { Direction::HighToLow };
        let ports = [low as u16, high as u16];
        (Self { low: (0, low >> 16), high: (0, high >> 16), ports, is_v4: true }, direction)
    }

    /// As [`Self::new`], from the fields of an IPv6 and a TCP header.
    #[inline]
    pub(super) fn v6(
        [src, dst]: [[u8; 16]; 2],
        [src_port, dst_port]: [u16; 2],
    ) -> (Self, Direction) {
        Self::from_endpoints((packed_v6(src), src_port), (packed_v6(dst), dst_port), false)
    }

    #[inline]
    fn from_endpoints(src: (Packed, u16), dst: (Packed, u16), is_v4: bool) -> (Self, Direction) {
        let ((from, src_port), (to, dst_port)) = (src, dst);
        if src <= dst {
            (Self { low: from, high: to, ports: [src_port, dst_port], is_v4 }, Direction::LowToHigh)
        } else {
            (Self { low: to, high: from, ports: [dst_port, src_port], is_v4 }, Direction::HighToLow)
        }
    }

    /// Ports of the lower endpoint and of the higher one.
    #[inline]
    pub(crate) const fn ports(&self) -> [u16; 2] {
        self.ports
    }

    /// A hash without a seed, for a table in which a collision only replaces an entry.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
    pub(crate) fn unseeded_hash(&self) -> u64 {
        let Self { low, high, ports: [low_port, high_port], .. } = *self;
        let ports = u64::from(low_port) << 48 | u64::from(high_port) << 32;
        // The upper halves are zero in IPv4, and alike in most of IPv6.
        let low = low.0.wrapping_mul(PI[0]) ^ low.1 ^ ports;
        let high = high.0.wrapping_mul(PI[1]) ^ high.1;
        let product = u128::from(low ^ PI[2]) * u128::from(high ^ PI[3]);
        (product >> 64) as u64 ^ product as u64
    }

    /// The endpoint that sends in `direction`.
    #[inline]
    pub(crate) fn end(&self, direction: Direction) -> Endpoint {
        let [low, high] = self.ports;
        match direction {
            Direction::LowToHigh => Endpoint { ip: self.unpacked(self.low), port: low },
            Direction::HighToLow => Endpoint { ip: self.unpacked(self.high), port: high },
        }
    }

    /// Whether both endpoints have IPv4 addresses.
    pub(crate) const fn is_v4(&self) -> bool {
        self.is_v4
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "32 bits were put in")]
    fn unpacked(&self, (upper, lower): Packed) -> IpAddr {
        if self.is_v4 {
            IpAddr::V4((lower as u32).into())
        } else {
            IpAddr::V6((u128::from(upper) << 64 | u128::from(lower)).into())
        }
    }
}

/// All at once: that one key is not the other is seen at any part of it.
impl PartialEq for FlowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differ = |a: Packed, b: Packed| (a.0 ^ b.0) | (a.1 ^ b.1);
        let ports = |&Self { ports: [low, high], is_v4, .. }: &Self| {
            u64::from(low) << 17 | u64::from(high) << 1 | u64::from(is_v4)
        };
        differ(self.low, other.low) | differ(self.high, other.high) | (ports(self) ^ ports(other))
            == 0
    }
}

impl Eq for FlowKey {}

/// Hashes 64-bit words: the derived implementation would hash each half and each port separately.
impl Hash for FlowKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { low, high, ports: [low_port, high_port], is_v4 } = *self;
        let ports = u64::from(low_port) << 16 | u64::from(high_port);
        state.write_u64(ports << 1 | u64::from(is_v4));
        if is_v4 {
            state.write_u64(low.1 << 32 | high.1);
            return;
        }
        state.write_u64(low.0);
        state.write_u64(low.1);
        state.write_u64(high.0);
        state.write_u64(high.1);
    }
}

impl Direction {
    /// The opposite direction of this one.
    #[inline]
    pub const fn reverse(self) -> Self {
        match self {
            Self::LowToHigh => Self::HighToLow,
            Self::HighToLow => Self::LowToHigh,
        }
    }
}

/// The first 256 bits of the fraction of pi: constants without a structure that could favour any key.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

#[inline]
fn packed(ip: IpAddr) -> Packed {
    match ip {
        IpAddr::V4(v4) => (0, u32::from(v4).into()),
        IpAddr::V6(v6) => packed_v6(v6.octets()),
    }
}

#[inline]
fn packed_v6(bytes: [u8; 16]) -> Packed {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    let upper = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    (upper, u64::from_be_bytes([i, j, k, l, m, n, o, p]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_connection_have_one_key() {
        let a = Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port: 4369 };
        let b = Endpoint { ip: IpAddr::from([10, 0, 0, 2]), port: 50_000 };
        let (there, up) = FlowKey::new(a, b);
        let (back, down) = FlowKey::new(b, a);
        assert_eq!(there, back);
        assert_eq!(up, down.reverse());
    }

    #[test]
    fn a_key_returns_its_endpoints_for_ipv4_ipv6_and_ipv4_mapped_addresses() {
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1:2".parse().unwrap();
        for ip in [v4, mapped, v6] {
            let (src, dst) = (Endpoint { ip, port: 9 }, Endpoint { ip, port: 7 });
            let (key, direction) = FlowKey::new(src, dst);
            assert_eq!((key.end(direction), key.end(direction.reverse())), (src, dst));
            assert_eq!(key.is_v4(), ip.is_ipv4());
        }
    }
}
