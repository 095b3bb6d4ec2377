//! What of the bytes of one side arrived at the other, by acknowledgements and ICMP errors.

use super::TcpDirection;
use crate::decode::Unreachable;
use crate::packet::PacketRef;
use crate::stream::{Resent, SeqNum, TcpOffset};

/// The largest segment of a direction so far, and of those that were acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LargestSegment {
    /// Bytes of the largest segment that was sent.
    pub(super) sent: u32,
    /// Offset after its last byte.
    end: TcpOffset,
    /// Bytes of the largest segment before it that was acknowledged.
    acked_before: u32,
}

impl TcpDirection {
    /// Notes a segment with bytes from `seq` on, which is larger than every one before.
    #[cold] // a few times for each connection
    pub(super) fn on_larger(&mut self, seq: SeqNum, payload: &[u8], missing: u32) {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).saturating_add(missing);
        let Some(offset) = self.stream.offset_of(seq) else { return };
        let acked_before = self.largest_acked();
        self.largest = LargestSegment { sent: len, end: offset.plus(u64::from(len)), acked_before };
    }

    /// Bytes of the largest segment that is known to have been acknowledged. Segments that offload joined count as
    /// one.
    pub(crate) fn largest_acked(&self) -> u32 {
        let is_acked = self.stream.acked().is_some_and(|acked| acked >= self.largest.end);
        if is_acked { self.largest.sent } else { self.largest.acked_before }
    }

    /// The first bytes that were sent more than once.
    pub(crate) fn resent(&self) -> Option<Resent> {
        self.stream.resent()
    }

    /// The ICMP error about its bytes that came first.
    pub(crate) fn icmp(&self) -> Option<&Unreachable> {
        self.icmp.as_deref()
    }

    /// Takes an ICMP error about one of its segments with bytes.
    pub(super) fn on_icmp(&mut self, error: &Unreachable) {
        let offset = self.stream.offset_of(SeqNum(error.seq));
        if offset.is_some_and(|offset| offset < self.stream.end()) {
            self.icmp.get_or_insert_with(|| Box::new(*error));
        }
    }
}

impl From<&Unreachable> for PacketRef {
    fn from(error: &Unreachable) -> Self {
        Self { frame: error.frame, at: error.at }
    }
}
