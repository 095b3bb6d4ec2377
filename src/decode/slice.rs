//! Stage 2: a cursor over bytes that the snaplen may have truncated.
//!
//! In: captured bytes, and the number of bytes that followed them on the wire. Out: the rest of both after a
//! header, or the reason why the header cannot be read. It contains no knowledge of a protocol.

use crate::capture::LinkType;

/// Captured bytes, and the number of bytes after them that were sent and not captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketSlice<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) missing: u32,
}

impl<'a> PacketSlice<'a> {
    /// Splits off the first `N` bytes.
    #[inline]
    pub(super) fn split<const N: usize>(self) -> Result<(&'a [u8; N], Self), Skip> {
        let (head, bytes) = self.bytes.split_first_chunk().ok_or_else(|| self.too_short())?;
        Ok((head, Self { bytes, ..self }))
    }

    /// The rest after the first `bytes`.
    #[inline]
    pub(super) fn skip(self, bytes: usize) -> Result<Self, Skip> {
        let bytes = self.bytes.get(bytes..).ok_or_else(|| self.too_short())?;
        Ok(Self { bytes, ..self })
    }

    /// The first `bytes`, as a length field gives them: bytes after them are padding, and bytes that are
    /// not there were sent and not captured.
    #[inline]
    pub(super) fn limit(self, bytes: u32) -> Self {
        match usize::try_from(bytes).ok().and_then(|len| self.bytes.get(..len)) {
            Some(bytes) => Self { bytes, missing: 0 },
            None => Self { missing: bytes.saturating_sub(bytes_in(self.bytes)), ..self },
        }
    }

    /// Number of bytes sent, captured or not.
    pub(super) fn sent(self) -> u32 {
        bytes_in(self.bytes).saturating_add(self.missing)
    }

    /// Why these bytes are fewer than a header needs.
    #[inline]
    pub(super) const fn too_short(self) -> Skip {
        if self.missing > 0 { Skip::Cut } else { Skip::Malformed }
    }
}

/// Why a frame gives no input to later stages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Skip {
    /// The snaplen truncated a header.
    Cut,
    /// A header contradicts itself, or the header around it.
    Malformed,
    /// The frame contains no IP datagram.
    NotIp,
    /// More tags or tunnels than [`LINK_TAGS`](crate::limits::LINK_TAGS) and
    /// [`TUNNELS`](crate::limits::TUNNELS) allow.
    TooDeep,
    /// The decoder does not read this link type.
    Unsupported(LinkType),
}

/// Length of `bytes` as a `u32`, which no frame exceeds.
pub(super) fn bytes_in(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_removes_padding_and_counts_missing_bytes() {
        let slice = PacketSlice { bytes: b"abcdef", missing: 4 };
        let trimmed = slice.limit(2);
        assert_eq!((trimmed.bytes, trimmed.missing), (&b"ab"[..], 0));
        let longer = slice.limit(8);
        assert_eq!((longer.bytes, longer.missing), (&b"abcdef"[..], 2));
    }

    #[test]
    fn too_few_bytes_mean_truncation_only_if_bytes_are_missing() {
        assert_eq!(PacketSlice { bytes: b"a", missing: 1 }.skip(2).err(), Some(Skip::Cut));
        assert_eq!(PacketSlice { bytes: b"a", missing: 0 }.skip(2).err(), Some(Skip::Malformed));
    }
}
