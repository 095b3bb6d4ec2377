//! Packets that were captured twice.

use super::{SegmentData, SeqNum};
use crate::time::Timestamp;

/// The last segments of one direction, to distinguish a packet that was captured twice (on two interfaces, or going
/// in and out of one) from a segment that was sent twice.
#[derive(Debug, Default)]
pub(super) struct RecentSegments {
    ring: [Option<(SeqNum, Option<u16>, Timestamp)>; 12],
    next: u8,
}

impl RecentSegments {
    /// Whether `segment` is a second copy of a recent packet.
    pub(super) fn has_copy_of(&self, segment: &SegmentData<'_>) -> bool {
        self.ring.iter().flatten().any(|&(seq, ip_id, at)| {
            seq == segment.seq
                && match (ip_id, segment.ip_id) {
                    (Some(a), Some(b)) if a != 0 || b != 0 => a == b,
                    _ => segment.packet.at.since(at).as_nanos() < u128::from(COPIED_WITHIN_NS),
                }
        })
    }

    /// When the bytes from `seq` on were sent first, and when the direction had sent bytes before that, as far as the
    /// last segments show it.
    pub(super) fn first_sent(&self, seq: SeqNum) -> (Option<Timestamp>, Option<Timestamp>) {
        let sent = || self.ring.iter().flatten();
        let first = sent().filter(|(known, ..)| *known == seq).map(|(.., at)| *at).min();
        let before =
            first.and_then(|first| sent().map(|(.., at)| *at).filter(|at| *at < first).max());
        (first, before)
    }

    /// Adds a segment in the place of the oldest one.
    #[inline]
    pub(super) fn add(&mut self, segment: &SegmentData<'_>) {
        let index = usize::from(self.next) % self.ring.len();
        if let Some(entry) = self.ring.get_mut(index) {
            *entry = Some((segment.seq, segment.ip_id, segment.packet.at));
        }
        self.next = self.next.wrapping_add(1);
    }
}

/// Where the IP header does not show it, a segment that comes again within this time is the same packet: no sender
/// retransmits faster.
const COPIED_WITHIN_NS: u64 = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{FrameRef, PacketRef};

    #[test]
    fn a_segment_that_comes_again_is_a_copy_by_its_ip_identification_or_by_its_time() {
        let is_copy = |first: Option<u16>, second: Option<u16>, seq: u32, micros: u64| {
            let sent =
                |seq: u32, ip_id: Option<u16>, at: u64, test: &mut dyn FnMut(&SegmentData<'_>)| {
                    let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(at * 1000) };
                    test(&SegmentData {
                        seq: SeqNum(seq),
                        payload: b"a",
                        missing: 0,
                        packet: &packet,
                        ip_id,
                    });
                };
            let (mut recent, mut found) = (RecentSegments::default(), false);
            sent(9, first, 1_000_000, &mut |segment| recent.add(segment));
            sent(seq, second, 1_000_000 + micros, &mut |segment| {
                found = recent.has_copy_of(segment)
            });
            found
        };
        assert!(is_copy(Some(5), Some(5), 9, 300_000), "the same packet, however late");
        assert!(!is_copy(Some(5), Some(6), 9, 10), "sent twice, however soon");
        assert!(!is_copy(Some(5), Some(0), 9, 10));
        assert!(!is_copy(Some(5), Some(5), 8, 10), "another segment");
        // Many systems send zero where a packet cannot be cut, and IPv6 has no such field.
        for none in [Some(0), None] {
            assert!(is_copy(none, none, 9, 1999) && !is_copy(none, none, 9, 2000), "{none:?}");
        }
    }
}
