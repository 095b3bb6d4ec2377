//! Plain bytes: those of TCP, or those that a transport has decrypted.

use crate::packet::PacketRef;
use crate::stream::{StreamChunk, StreamEvent, TcpOffset};

/// Consecutive plain bytes, or a hole in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainChunk<'a> {
    /// The packet that brought the bytes; for a gap, the one behind it.
    pub(crate) packet: &'a PacketRef,
    /// Offset in the TCP stream behind what carried the bytes.
    end: TcpOffset,
    /// Whether the bytes were in an encrypted record.
    is_opened: bool,
    /// The bytes, or their absence.
    pub(crate) event: StreamEvent<'a>,
}

impl<'a> PlainChunk<'a> {
    /// The content of an encrypted record that ends at `end`; or a gap before it.
    pub(crate) const fn opened(
        packet: &'a PacketRef,
        end: TcpOffset,
        event: StreamEvent<'a>,
    ) -> Self {
        Self { packet, end, is_opened: true, event }
    }

    /// Whether the bytes were in an encrypted record of TLS.
    pub(crate) const fn is_opened(&self) -> bool {
        self.is_opened
    }

    /// Offset in the TCP stream that the other side must have acknowledged to have received this chunk but for its last
    /// `rest` bytes. Nothing of a record can be read before all of it has come.
    #[inline]
    pub(crate) const fn end_without(&self, rest: usize) -> TcpOffset {
        if self.is_opened { self.end } else { self.end.minus(rest as u64) }
    }
}

/// The bytes of TCP are plain bytes.
impl<'a> From<&StreamChunk<'a>> for PlainChunk<'a> {
    #[inline(always)]
    fn from(chunk: &StreamChunk<'a>) -> Self {
        Self { packet: chunk.packet, end: chunk.end, is_opened: false, event: chunk.event }
    }
}
