//! Positions in the byte stream of one direction.

use serde::{Deserialize, Serialize};

/// A position in the byte stream of one direction of a TCP connection.
///
/// Offsets count bytes from [`TcpOffset::BASE`], which is the first byte after the SYN, or the first known byte of a
/// stream whose SYN the capture lacks. They compare with acknowledgements of the other direction, whatever the bytes
/// mean; bytes that were decrypted have the offsets of the record that carried them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct TcpOffset(pub(super) u64);

impl TcpOffset {
    /// Offset of the first byte. Leaves room below it for bytes that turn up before a late start.
    pub const BASE: Self = Self(1 << 32);

    /// The lowest offset there is.
    pub(super) const MIN: Self = Self(0);

    /// The offset `bytes` later.
    #[inline]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// The offset `bytes` earlier.
    #[inline]
    pub const fn minus(self, bytes: u64) -> Self {
        Self(self.0.saturating_sub(bytes))
    }

    /// Number of bytes from `earlier` to here; 0 when `earlier` comes later.
    #[inline]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The sequence number of the byte at this offset, where that at [`Self::BASE`] has the number `base`.
    pub(crate) const fn sequence_behind(self, base: u32) -> u32 {
        base.wrapping_add(self.sequence_distance())
    }

    /// The low 32 bits of the distance from [`Self::BASE`], as sequence numbers count it.
    #[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^32")]
    pub(super) const fn sequence_distance(self) -> u32 {
        self.0.wrapping_sub(Self::BASE.0) as u32
    }
}

impl Default for TcpOffset {
    fn default() -> Self {
        Self::BASE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_never_wrap() {
        let offset = TcpOffset::BASE.plus(5);
        assert_eq!((offset.since(TcpOffset::BASE), TcpOffset::BASE.since(offset)), (5, 0));
        assert_eq!(TcpOffset::MIN.minus(1), TcpOffset::MIN);
        assert_eq!(TcpOffset(u64::MAX).plus(1), TcpOffset(u64::MAX));
    }
}
