//! Checksums of rewritten packets: right where they were right, and wrong in the same way where they were not.
//!
//! In: the bytes before and after. Out: the field. Network cards fill checksums in after a capture saw the packet: such
//! fields hold the sum of the pseudo-header, and stay so.

use std::net::IpAddr;

use super::edit::{number2, part, put};

/// How a checksum was before the packet was rewritten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Before {
    Right,
    /// None, as UDP over IPv4 may have.
    Absent,
    /// The sum of the pseudo-header, for a network card to go on with.
    Partial,
    /// Wrong by this number.
    Wrong(u16),
    /// Not known, since the packet was cut: the field is zero.
    Unknown,
}

/// A checksum that is written when the bytes under it are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksum {
    /// Position of the field.
    at: usize,
    start: usize,
    end: usize,
    /// The sum of the new pseudo-header.
    pseudo: u16,
    before: Before,
}

/// The bytes under a checksum: from `start` to `end`, with the field at `at`, and the addresses and the protocol of a
/// pseudo-header.
pub(super) struct Covered {
    pub(super) at: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) is_cut: bool,
    /// Old addresses, new addresses, and the protocol.
    pub(super) pseudo: Option<([IpAddr; 2], [IpAddr; 2], u8)>,
}

impl Checksum {
    /// Notes how a checksum was.
    pub(super) fn of(original: &[u8], covered: &Covered) -> Self {
        let Covered { at, start, end, is_cut, pseudo } = *covered;
        let len = end - start;
        let (old, new) = pseudo.map_or((0, 0), |(old, new, protocol)| {
            (pseudo_sum(old, protocol, len), pseudo_sum(new, protocol, len))
        });
        let found = number2(original, at);
        let right = !field(original, at, start, end, old);
        let before = match found {
            _ if is_cut => Before::Unknown,
            None => Before::Unknown,
            Some(0) if pseudo.is_some_and(|(.., protocol)| protocol == UDP) => Before::Absent,
            // Both are zero in ones' complement.
            Some(found) if found == right || found == 0xffff && right == 0 => Before::Right,
            Some(found) if pseudo.is_some() && found == old => Before::Partial,
            Some(found) => Before::Wrong(add(found, !right)),
        };
        Self { at, start, end, pseudo: new, before }
    }

    /// Writes the checksum; the bytes under it are in place.
    pub(super) fn write(&self, out: &mut [u8]) {
        let right = !field(out, self.at, self.start, self.end, self.pseudo);
        let new = match self.before {
            Before::Right if right == 0 => 0xffff,
            Before::Right => right,
            Before::Absent | Before::Unknown => 0,
            Before::Partial => self.pseudo,
            Before::Wrong(by) => add(right, by),
        };
        put(out, self.at, &new.to_be_bytes());
    }
}

/// The sum of the bytes without the field at `at`.
fn field(bytes: &[u8], at: usize, start: usize, end: usize, pseudo: u16) -> u16 {
    let before = part(bytes, start, at.saturating_sub(start)).unwrap_or_default();
    let behind = bytes.get(at + 2..end.min(bytes.len())).unwrap_or_default();
    // The field is at an even distance from the start, in every header.
    add(add(pseudo, sum(before)), sum(behind))
}

fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0_u64;
    let (pairs, rest) = bytes.as_chunks::<2>();
    for pair in pairs {
        total += u64::from(u16::from_be_bytes(*pair));
    }
    if let [last] = rest {
        total += u64::from(*last) << 8;
    }
    fold(total)
}

fn pseudo_sum(addresses: [IpAddr; 2], protocol: u8, len: usize) -> u16 {
    let mut total = u64::from(protocol) + len as u64;
    for address in addresses {
        total += u64::from(match address {
            IpAddr::V4(ip) => sum(&ip.octets()),
            IpAddr::V6(ip) => sum(&ip.octets()),
        });
    }
    fold(total)
}

fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(0)
}

/// The sum in ones' complement.
fn add(a: u16, b: u16) -> u16 {
    fold(u64::from(a) + u64::from(b))
}

const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(before: u16, packet: &[u8], new: &[u8]) -> u16 {
        let ips = |n: u8| [IpAddr::from([10, 0, 0, n]), IpAddr::from([10, 0, 0, 9])];
        let mut old = packet.to_vec();
        old[6..8].copy_from_slice(&before.to_be_bytes());
        let pseudo = Some((ips(1), ips(5), 6));
        let covered = Covered { at: 6, start: 0, end: packet.len(), is_cut: false, pseudo };
        let checksum = Checksum::of(&old, &covered);
        let mut out = new.to_vec();
        checksum.write(&mut out);
        u16::from_be_bytes([out[6], out[7]])
    }

    #[test]
    fn a_checksum_stays_right_partial_or_wrong_by_as_much() {
        let (old, new) = ([1, 2, 3, 4, 5, 6, 0, 0, 9], [9, 8, 7, 6, 5, 4, 0, 0, 2]);
        let ips = |n: u8| [IpAddr::from([10, 0, 0, n]), IpAddr::from([10, 0, 0, 9])];
        let right = |bytes: &[u8], n| !add(pseudo_sum(ips(n), 6, bytes.len()), sum(bytes));
        assert_eq!(rewritten(right(&old, 1), &old, &new), right(&new, 5));
        let partial = pseudo_sum(ips(1), 6, old.len());
        assert_eq!(rewritten(partial, &old, &new), pseudo_sum(ips(5), 6, new.len()));
        let wrong = add(right(&old, 1), 7);
        assert_eq!(rewritten(wrong, &old, &new), add(right(&new, 5), 7));
    }
}
