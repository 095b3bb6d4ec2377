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
    /// The bytes, or their absence.
    pub(crate) event: StreamEvent<'a>,
}

impl PlainChunk<'_> {
    /// Offset in the TCP stream that the other side must have acknowledged to have received this chunk but for its last
    /// `rest` bytes.
    #[inline]
    pub(crate) const fn end_without(&self, rest: usize) -> TcpOffset {
        self.end.minus(rest as u64)
    }
}

/// The bytes of TCP are plain bytes.
impl<'a> From<&StreamChunk<'a>> for PlainChunk<'a> {
    #[inline(always)]
    fn from(chunk: &StreamChunk<'a>) -> Self {
        Self { packet: chunk.packet, end: chunk.end, event: chunk.event }
    }
}
