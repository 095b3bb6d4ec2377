//! The first segments of a connection, kept until its handshake is over, to read them again without those that the
//! receiver did not take.
//!
//! Two segments may have different bytes for the same sequence numbers: one of them was damaged, or was never sent by
//! that host. Which one the receiver took is shown by its acknowledgements and by the sequence number with which the
//! sender goes on. In: each segment. Out: the segment that counts for nothing, once that is known.

use super::Connection;
use super::connection::Keep;
use super::{ConnContext, ConnOutput};
use crate::decode::{ChecksumState, Segment, TcpFlags};
use crate::flow::{Direction, FlowKey};
use crate::memory::{MemoryBudget, Reservation};
use crate::packet::{FrameRef, PacketRef};
use crate::stream::SeqNum;
use crate::time::Timestamp;

/// The first segments of both directions, in the order in which they came.
#[derive(Debug)]
pub(super) struct EarlySegments {
    kept: Vec<EarlySegment>,
    memory: Reservation,
    question: Option<Contradiction>,
    /// Number of segments that came after the handshake was complete.
    behind_handshake: u8,
}

/// A segment with its bytes.
#[derive(Debug)]
struct EarlySegment {
    frame: FrameRef,
    at: Timestamp,
    flow: FlowKey,
    direction: Direction,
    seq: SeqNum,
    ack: SeqNum,
    flags: TcpFlags,
    window: u16,
    ip_id: Option<u16>,
    ttl: u8,
    missing: u32,
    ip_header_len: usize,
    header_len: usize,
    /// The IPv4 header, the TCP header and the payload.
    bytes: Box<[u8]>,
}

/// Two kept segments of one direction that contradict each other, by their index.
#[derive(Clone, Copy, Debug)]
struct Contradiction {
    first: usize,
    second: usize,
}

/// A kept segment that its receiver did not take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejected {
    /// The index of it among the kept ones.
    index: usize,
    /// The index of the segment whose bytes count, or before which all was read as it was sent.
    from: usize,
}

impl EarlySegments {
    /// No segments yet; their bytes count against `budget`.
    pub(super) fn new(budget: &MemoryBudget) -> Self {
        let memory = budget.reservation();
        Self { kept: Vec::new(), memory, question: None, behind_handshake: 0 }
    }

    /// Keeps a segment; `None` if no more are kept. Gives the segment that counts for nothing, if this one shows that.
    pub(super) fn push(
        &mut self,
        segment: &Segment<'_>,
        is_established: bool,
    ) -> Option<Option<Rejected>> {
        self.behind_handshake += u8::from(is_established);
        let early = EarlySegment::new(segment);
        let is_full = self.kept.len() >= MOST_SEGMENTS
            || self.memory.held() + early.cost() > MOST_BYTES
            || self.behind_handshake > MOST_BEHIND;
        if is_full || !self.memory.take_spare(early.cost()) {
            return None;
        }
        let index = self.kept.len();
        let decided = match self.question {
            Some(question) => self.vote(question, &early),
            None => self.contradicted_by(&early).and_then(|first| {
                let question = Contradiction { first, second: index };
                self.question = Some(question);
                self.by_acknowledgement(question).or_else(|| self.by_way(question, &early))
            }),
        };
        let decided = decided.or_else(|| {
            let first = self.sent_before_answer(&early)?;
            Some(Rejected { index: first, from: index })
        });
        if index == 0 {
            self.kept.reserve_exact(1);
        }
        self.kept.push(early);
        Some(decided)
    }

    /// Whether two of them contradict each other, and it is not known yet which one counts.
    pub(super) const fn is_contested(&self) -> bool {
        self.question.is_some()
    }

    /// The kept segment that has other bytes than `segment` for the same sequence numbers, or bytes where `segment` shows
    /// that its sender has closed.
    fn contradicted_by(&self, segment: &EarlySegment) -> Option<usize> {
        let is_contradicted = |known: &EarlySegment| {
            known.direction == segment.direction
                && !known.payload().is_empty()
                && (segment.differs_from(known) || segment.closes_within(known))
        };
        self.kept.iter().position(is_contradicted)
    }

    /// The kept segment that the originator cannot have sent before this SYN-ACK, the answer to its SYN: it acknowledges
    /// something else.
    fn sent_before_answer(&self, answer: &EarlySegment) -> Option<usize> {
        if !answer.flags.has(TcpFlags::SYN) || !answer.flags.has(TcpFlags::ACK) {
            return None;
        }
        let is_impossible = |known: &EarlySegment| {
            known.direction != answer.direction
                && known.flags.has(TcpFlags::ACK)
                && !known.flags.has(TcpFlags::SYN)
                && !known.flags.has(TcpFlags::RST)
                && (known.flags.has(TcpFlags::FIN) || !known.payload().is_empty())
                && !(0..=MOST_ACKNOWLEDGED).contains(&known.ack.distance(answer.seq.plus(1)))
        };
        self.kept.iter().position(is_impossible)
    }

    /// Decides by an acknowledgement before the second segment came: its receiver had taken the first, and drops what comes
    /// again.
    fn by_acknowledgement(
        &self,
        Contradiction { first, second }: Contradiction,
    ) -> Option<Rejected> {
        let a = self.kept.get(first)?;
        let is_taken = |it: &EarlySegment| {
            it.direction != a.direction
                && it.flags.has(TcpFlags::ACK)
                && !it.flags.has(TcpFlags::RST)
                && (0..=MOST_ACKNOWLEDGED).contains(&it.ack.distance(a.end()))
        };
        let is_acknowledged = self.kept.iter().skip(first + 1).any(is_taken);
        is_acknowledged.then_some(Rejected { index: second, from: second })
    }

    /// Decides by the way that the packets took: the other packets of their direction have one time to live.
    fn by_way(
        &self,
        Contradiction { first, second }: Contradiction,
        latest: &EarlySegment,
    ) -> Option<Rejected> {
        let a = self.kept.get(first)?;
        let others =
            self.kept.iter().enumerate().filter(|(index, it)| {
                *index != first && it.direction == a.direction && it.ttl != 0
            });
        let usual = others.map(|(_, it)| it.ttl).next()?;
        let wrong =
            |it: &EarlySegment| it.ttl != usual || it.segment().checksum() == ChecksumState::Wrong;
        match (wrong(a), wrong(latest)) {
            (true, false) => Some(Rejected { index: first, from: second }),
            (false, true) => Some(Rejected { index: second, from: second }),
            _ => None,
        }
    }

    /// Decides by the next segment of either side, which shows how many bytes the receiver took, or the sender sent.
    fn vote(
        &self,
        Contradiction { first, second }: Contradiction,
        next: &EarlySegment,
    ) -> Option<Rejected> {
        let (a, b) = (self.kept.get(first)?, self.kept.get(second)?);
        if next.flags.has(TcpFlags::RST) || next.flags.has(TcpFlags::SYN) {
            return None;
        }
        let shown = if next.direction == a.direction {
            next.seq
        } else if next.flags.has(TcpFlags::ACK) {
            next.ack
        } else {
            return None;
        };
        // A segment that begins elsewhere ends there too. A copy of one of the two is none.
        let is_end_of_others = |end: SeqNum| {
            self.kept.iter().any(|it| {
                it.direction == a.direction
                    && it.end() == end
                    && it.seq != a.seq
                    && it.seq != b.seq
                    && !it.payload().is_empty()
            })
        };
        if a.end() == b.end() || is_end_of_others(shown) {
            None
        } else if shown == b.end() {
            Some(Rejected { index: first, from: second })
        } else if shown == a.end() {
            Some(Rejected { index: second, from: second })
        } else {
            None
        }
    }

    /// Decides when no segment follows: bytes that were never acknowledged, and behind which the sender did not close,
    /// were not sent by it.
    pub(super) fn decide_at_end(&self) -> Option<Rejected> {
        let Contradiction { first, second } = self.question?;
        let (a, b) = (self.kept.get(first)?, self.kept.get(second)?);
        let is_acknowledged = self.kept.iter().any(|it| {
            it.direction != a.direction
                && it.flags.has(TcpFlags::ACK)
                && !it.flags.has(TcpFlags::RST)
                && it.ack.distance(a.end()) >= 0
        });
        let closes =
            b.flags.has(TcpFlags::FIN) || b.flags.has(TcpFlags::RST) && b.flags.has(TcpFlags::ACK);
        (closes && b.seq == a.seq && b.payload().is_empty() && !is_acknowledged)
            .then_some(Rejected { index: first, from: second })
    }

    fn remove(&mut self, index: usize) -> Option<EarlySegment> {
        self.question = None;
        (index < self.kept.len()).then(|| {
            let removed = self.kept.remove(index);
            self.memory.release(removed.cost());
            removed
        })
    }
}

impl EarlySegment {
    fn new(segment: &Segment<'_>) -> Self {
        Self {
            frame: segment.frame,
            at: segment.at,
            flow: segment.flow,
            direction: segment.direction,
            seq: SeqNum(segment.seq),
            ack: SeqNum(segment.ack),
            flags: segment.flags,
            window: segment.window,
            ip_id: segment.ip_id,
            ttl: segment.ttl,
            missing: segment.missing,
            ip_header_len: segment.ip_header.len(),
            header_len: segment.header.len(),
            bytes: [segment.ip_header, segment.header, segment.payload].concat().into(),
        }
    }

    fn segment(&self) -> Segment<'_> {
        let (ip_header, rest) = self.bytes.split_at_checked(self.ip_header_len).unwrap_or_default();
        let (header, payload) = rest.split_at_checked(self.header_len).unwrap_or_default();
        Segment {
            frame: self.frame,
            at: self.at,
            flow: self.flow,
            direction: self.direction,
            seq: self.seq.0,
            ack: self.ack.0,
            flags: self.flags,
            window: self.window,
            ip_id: self.ip_id,
            ttl: self.ttl,
            ip_header,
            header,
            payload,
            missing: self.missing,
            layers: &[],
        }
    }

    /// Memory that it takes, in bytes.
    const fn cost(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    fn payload(&self) -> &[u8] {
        self.bytes.get(self.ip_header_len + self.header_len..).unwrap_or_default()
    }

    /// The sequence number behind its bytes and its FIN.
    fn end(&self) -> SeqNum {
        let payload = u32::try_from(self.payload().len()).unwrap_or(u32::MAX);
        let flags =
            u32::from(self.flags.has(TcpFlags::FIN)) + u32::from(self.flags.has(TcpFlags::SYN));
        self.seq.plus(payload).plus(self.missing).plus(flags)
    }

    /// Whether both have bytes for some sequence number, and not the same.
    fn differs_from(&self, other: &Self) -> bool {
        let (earlier, later) =
            if self.seq.distance(other.seq) >= 0 { (other, self) } else { (self, other) };
        let skip = usize::try_from(later.seq.distance(earlier.seq)).unwrap_or(usize::MAX);
        let rest = earlier.payload().get(skip..).unwrap_or_default();
        rest.iter().zip(later.payload()).any(|(a, b)| a != b)
    }

    /// Whether it shows that its sender has closed, at a sequence number where `other` has bytes.
    fn closes_within(&self, other: &Self) -> bool {
        let is_close = self.flags.has(TcpFlags::FIN) || self.flags.has(TcpFlags::RST);
        let at =
            i64::try_from(self.payload().len()).unwrap_or(i64::MAX) + self.seq.distance(other.seq);
        let len = i64::try_from(other.payload().len()).unwrap_or(i64::MAX);
        is_close && (0..len).contains(&at)
    }
}

impl Connection {
    /// Keeps a segment of the handshake. Gives the state of the connection, if it had to be read again.
    #[inline(never)]
    pub(super) fn keep_early(
        &mut self,
        segment: &Segment<'_>,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) -> Option<Keep> {
        let is_established = self.is_established_reported();
        match self.early.as_mut()?.push(segment, is_established) {
            Some(None) => None,
            Some(Some(rejected)) => self.read_again(rejected, context, out),
            None => {
                self.early = None;
                None
            }
        }
    }

    /// Reads the connection again without what its receiver did not take, if its close shows that.
    pub(super) fn read_again_at_end(&mut self, context: &ConnContext<'_>, out: &mut ConnOutput) {
        let rejected = self.early.as_ref().and_then(|early| early.decide_at_end());
        if let Some(rejected) = rejected {
            self.read_again(rejected, context, out);
        }
    }

    /// Reads the kept segments again without one of them. What the segments before the contradiction showed is in the
    /// output already.
    fn read_again(
        &mut self,
        Rejected { index, from }: Rejected,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) -> Option<Keep> {
        let mut early = self.early.take()?;
        let rejected = early.remove(index)?;
        let from = from.saturating_sub(usize::from(index < from));
        let first = early.kept.first()?;
        let mut again = Self::new(&first.segment(), self.reason, context);
        again.take_over(self);
        again.early = None;
        let mut keep = Keep::Yes;
        let mut known = ConnOutput::default();
        for (place, kept) in early.kept.iter().enumerate() {
            let out = if place < from { &mut known } else { &mut *out };
            keep = again.on_segment(&kept.segment(), context, out);
        }
        let mark = PacketRef { frame: rejected.frame, at: rejected.at };
        again.tcp.note_not_taken(mark, "bytes that the rest of the connection contradicts");
        again.early = Some(early);
        again.was_established(self);
        *self = again;
        Some(if keep == Keep::AsBefore { Keep::Yes } else { keep })
    }
}

/// A handshake takes about twelve segments, and those of TLS somewhat more.
const MOST_SEGMENTS: usize = 40;

/// Bytes that a side acknowledges of a handshake at most.
const MOST_ACKNOWLEDGED: i64 = 1 << 16;

/// Memory for one connection: a handshake of nodes takes 2 KiB, one with TLS 9 KiB.
const MOST_BYTES: usize = 16 * 1024;

/// Segments kept behind the handshake: they show whether the other side took its last message.
const MOST_BEHIND: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Endpoint;

    /// A segment of the originator, or of the other side, with this time to live.
    fn segment(
        is_originator: bool,
        (seq, ack): (u32, u32),
        flags: u8,
        ttl: u8,
        payload: &[u8],
    ) -> Segment<'_> {
        let [a, b] = [1, 2].map(|n| Endpoint { ip: [10, 0, 0, n].into(), port: 9000 });
        let (src, dst) = if is_originator { (a, b) } else { (b, a) };
        Segment { seq, ack, flags: TcpFlags(flags), ttl, payload, ..Segment::between(src, dst) }
    }

    /// The index of the segment that is rejected when the last of these comes.
    fn rejected(segments: &[Segment<'_>]) -> Option<usize> {
        let mut early = EarlySegments::new(&MemoryBudget::new(1 << 20));
        let all = segments.iter().map(|segment| early.push(segment, false).unwrap());
        all.last().flatten().map(|rejected| rejected.index)
    }

    #[test]
    fn of_two_copies_the_one_that_came_another_way_is_rejected() {
        let copies = |ttls: [u8; 2]| {
            let [first, second] = ttls;
            rejected(&[
                segment(true, (1, 1), 0x18, 64, b"aa"),
                segment(true, (3, 1), 0x18, first, b"bb"),
                segment(true, (3, 1), 0x18, second, b"xx"),
            ])
        };
        assert_eq!([[64, 2], [2, 64], [64, 64]].map(copies), [Some(2), Some(1), None]);
    }

    #[test]
    fn bytes_that_acknowledge_another_syn_ack_were_not_sent_before_it() {
        let bytes = |ack: u32| {
            rejected(&[
                segment(true, (1, ack), 0x18, 64, b"aa"),
                segment(false, (5000, 1), 0x12, 64, b""),
            ])
        };
        assert_eq!([5001, 9_000_000].map(bytes), [None, Some(0)]);
    }
}
