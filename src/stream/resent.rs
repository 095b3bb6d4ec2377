//! Bytes that a side sends again, because it received no acknowledgement of them.
//!
//! In: segments that bring bytes for another time. Out: [`Resent`], the first bytes that the sender still waits for.
//! Senders retransmit the first unacknowledged segment at growing intervals (RFC 6298, section 5), so one record
//! suffices for each direction.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TcpOffset;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// The first bytes of a direction that were sent more than once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Resent {
    /// Offset of the first of them.
    pub offset: TcpOffset,
    /// Number of bytes in the smallest segment that began with them.
    pub bytes: u32,
    /// Number of times that they were sent, the first time included.
    pub sent: u32,
    /// When they were sent first, as far as the capture shows.
    pub first: Timestamp,
    /// When the side had last sent bytes before that.
    pub before: Option<Timestamp>,
    /// The first packet that brought them again.
    pub again: PacketRef,
    /// The last packet that brought them.
    pub last: PacketRef,
}

/// A segment that brings bytes again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    /// Offset of its first byte.
    pub(super) offset: TcpOffset,
    /// Number of its bytes.
    pub(super) len: u32,
    /// The packet that brought it.
    pub(super) packet: PacketRef,
    /// When the bytes were sent first, and when the side sent bytes before, if that is still known.
    pub(super) first: Option<Timestamp>,
    pub(super) before: Option<Timestamp>,
}

impl Resent {
    /// Whether they do not arrive, or their acknowledgement does not, and not only a packet was lost: the sender has
    /// tried for seconds.
    pub fn is_lost(&self) -> bool {
        let lasted = self.last.at.since(self.first);
        self.sent >= OFTEN && lasted >= SHORT || self.sent >= TWICE_AGAIN && lasted >= LONG
    }

    /// The record after `repeat`, where the peer has acknowledged the stream up to `acked`.
    pub(super) fn after(
        known: Option<Self>,
        repeat: Repeat,
        acked: Option<TcpOffset>,
    ) -> Option<Self> {
        let Repeat { offset, len, packet, first, before } = repeat;
        let is_acked = acked.is_some_and(|acked| acked >= offset.plus(u64::from(len)));
        // One byte before the end that is acknowledged is a keep-alive probe (RFC 9293, section 3.8.4).
        if is_acked && len <= 1 {
            return known;
        }
        match known {
            Some(known) if known.offset == offset => Some(Self {
                bytes: known.bytes.min(len),
                sent: known.sent.saturating_add(1),
                // In a capture out of order, a later packet may be an earlier one.
                again: if packet.at < known.again.at { packet } else { known.again },
                last: if packet.at < known.last.at { known.last } else { packet },
                ..known
            }),
            // Bytes before these still wait.
            Some(known)
                if known.offset < offset && acked.is_none_or(|acked| acked <= known.offset) =>
            {
                Some(known)
            }
            _ => Some(Self {
                offset,
                bytes: len,
                sent: 2,
                first: first.unwrap_or(packet.at),
                before,
                again: packet,
                last: packet,
            }),
        }
    }
}

/// Five times in [`SHORT`]: four packets in a row were lost. At a loss of one in five, that happens once in 600.
const OFTEN: u32 = 5;

/// The fourth retransmission follows 1.5 s after the first packet at the earliest (Linux: 200 ms, then doubled), less
/// what quick ones on duplicate acknowledgements save.
const SHORT: Duration = Duration::from_secs(1);

/// The first time and two retransmissions.
const TWICE_AGAIN: u32 = 3;

/// Retransmissions after so long are at least the fifth, of which the capture may lack some.
const LONG: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;

    fn offset(bytes: u64) -> TcpOffset {
        TcpOffset::BASE.plus(bytes)
    }

    fn repeat(from: u64, len: u32, ms: u64) -> Repeat {
        let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(ms * 1_000_000) };
        Repeat { offset: offset(from), len, packet, first: None, before: None }
    }

    /// Offset and count after segments that are sent again from 100 on, and then one from `then`.
    fn known(then: u64, acked: u64) -> (TcpOffset, u32) {
        let first = Resent::after(None, repeat(100, 10, 0), Some(offset(100)));
        let second = Resent::after(first, repeat(100, 10, 200), Some(offset(100)));
        let last = Resent::after(second, repeat(then, 10, 400), Some(offset(acked))).unwrap();
        (last.offset, last.sent)
    }

    #[test]
    fn the_first_bytes_that_wait_are_counted_until_they_are_acknowledged() {
        assert_eq!(known(100, 100), (offset(100), 4));
        assert_eq!(known(110, 100), (offset(100), 3), "those at 100 still wait");
        assert_eq!(known(110, 110), (offset(110), 2), "they were acknowledged");
        assert_eq!(known(90, 90), (offset(90), 2), "earlier ones wait");
    }

    #[test]
    fn a_keep_alive_probe_brings_no_bytes_again() {
        let acked = Some(offset(101));
        assert_eq!(Resent::after(None, repeat(100, 1, 0), acked), None);
        assert!(Resent::after(None, repeat(101, 1, 0), acked).is_some(), "a byte that waits");
    }

    #[test]
    fn bytes_are_lost_when_they_were_sent_often_or_for_long() {
        let is_lost = |sent: u32, ms: u64| {
            let packet =
                |ms: u64| PacketRef { frame: FrameRef::default(), at: Timestamp(ms * 1_000_000) };
            let resent = Resent {
                offset: TcpOffset::BASE,
                bytes: 4,
                sent,
                first: Timestamp(0),
                before: None,
                again: packet(200),
                last: packet(ms),
            };
            resent.is_lost()
        };
        assert!(is_lost(5, 1000) && is_lost(3, 3000));
        assert!(!is_lost(5, 999) && !is_lost(4, 2999) && !is_lost(2, 9000));
    }
}
