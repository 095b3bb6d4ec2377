//! Stage 2, reading: bytes that the snaplen may have cut.
//!
//! In: captured bytes and how many more there were. Out: the same, shorter by what was read, or
//! why reading cannot go on. Knows no protocol.

use crate::capture::LinkType;

/// Bytes captured, and how many behind them were sent and not captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketSlice<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) missing: u32,
}

impl<'a> PacketSlice<'a> {
    /// Takes `N` bytes from the front.
    #[inline]
    pub(super) fn split<const N: usize>(self) -> Result<(&'a [u8; N], Self), Skip> {
        let (head, bytes) = self.bytes.split_first_chunk().ok_or_else(|| self.short())?;
        Ok((head, Self { bytes, ..self }))
    }

    /// What stands behind the first `bytes`.
    #[inline]
    pub(super) fn skip(self, bytes: usize) -> Result<Self, Skip> {
        let bytes = self.bytes.get(bytes..).ok_or_else(|| self.short())?;
        Ok(Self { bytes, ..self })
    }

    /// The first `bytes` by the word of a length field: what stands behind is padding, and what
    /// does not stand there was sent and not captured.
    #[inline]
    pub(super) fn limit(self, bytes: u32) -> Self {
        match usize::try_from(bytes).ok().and_then(|len| self.bytes.get(..len)) {
            Some(bytes) => Self { bytes, missing: 0 },
            None => Self { missing: bytes.saturating_sub(bytes_in(self.bytes)), ..self },
        }
    }

    /// Bytes sent, captured or not.
    pub(super) fn sent(self) -> u32 {
        bytes_in(self.bytes).saturating_add(self.missing)
    }

    /// Why this span holds less than a header takes.
    #[inline]
    pub(super) const fn short(self) -> Skip {
        if self.missing > 0 { Skip::Cut } else { Skip::Malformed }
    }
}

/// Why a frame gives nothing to the stages behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Skip {
    /// The snaplen cut a header.
    Cut,
    /// A header contradicts itself, or the header around it.
    Malformed,
    /// No IP datagram inside.
    NotIp,
    /// More tags or tunnels than [`LINK_TAGS`](crate::limits::LINK_TAGS) and
    /// [`TUNNELS`](crate::limits::TUNNELS) allow.
    TooDeep,
    /// A link type that cannot be read.
    Unsupported(LinkType),
}

/// Length of `bytes` in the type of lengths on the wire; no frame reaches its end.
pub(super) fn bytes_in(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_trims_padding_and_tells_what_is_missing() {
        let slice = PacketSlice { bytes: b"abcdef", missing: 4 };
        let trimmed = slice.limit(2);
        assert_eq!((trimmed.bytes, trimmed.missing), (&b"ab"[..], 0));
        let longer = slice.limit(8);
        assert_eq!((longer.bytes, longer.missing), (&b"abcdef"[..], 2));
    }

    #[test]
    fn running_short_is_the_snaplens_fault_only_when_it_cut() {
        assert_eq!(PacketSlice { bytes: b"a", missing: 1 }.skip(2).err(), Some(Skip::Cut));
        assert_eq!(PacketSlice { bytes: b"a", missing: 0 }.skip(2).err(), Some(Skip::Malformed));
    }
}
