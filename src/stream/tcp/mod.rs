//! The state of a TCP connection: who opened it, what the capture lacks of it, who closed it first, and what that side
//! had received by then.
//!
//! All of this rests on sequence and acknowledgement numbers where they show it, and on the order of capture only where
//! they do not, because captures reorder.

mod close;
mod delivery;
mod opening;
mod stamps;
mod taken;
#[cfg(test)]
mod tests;
mod window;

use std::time::Duration;

pub(crate) use self::close::{ClosingFlag, FirstClose, REFUSAL_GRACE};
use self::close::{Fin, Rst};
use self::delivery::LargestSegment;
pub(crate) use self::opening::{Opened, Syn};
use self::stamps::Stamps;
pub(crate) use self::taken::NotTaken;
use self::taken::RstFate;
pub(crate) use self::window::ClosedWindow;
use super::{SegmentData, SeqNum, StreamChunk, StreamDirection};
use crate::decode::{ChecksumState, Segment, TcpFlags, Unreachable};
use crate::flow::{Direction, PerDirection};
use crate::limits::Limits;
use crate::memory::MemoryBudget;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Both directions of a TCP connection, its opening and its closing.
#[derive(Debug)]
pub(crate) struct TcpConnection {
    sides: PerDirection<TcpDirection>,
    originator: Option<Direction>,
    /// Whether a side has closed.
    has_closed: bool,
    icmp: Option<Unreachable>,
    not_taken: Option<Box<NotTaken>>,
    first: PacketRef,
    last: PacketRef,
}

/// What was sent in one direction.
#[derive(Debug)]
pub(crate) struct TcpDirection {
    /// The byte stream of this direction.
    pub(crate) stream: StreamDirection,
    /// Number of segments seen.
    pub(crate) segments: u64,
    /// Its SYN or SYN-ACK.
    pub(crate) syn: Option<Syn>,
    /// Time of the first segment that is no SYN.
    after_syn: Option<Timestamp>,
    /// Time of the last segment of any kind.
    last: Option<Timestamp>,
    /// Since when bytes of it wait to be acknowledged.
    unanswered: Option<Timestamp>,
    /// The period in which its window has been zero, if it still is.
    closed_window: Option<ClosedWindow>,
    longest_closed_window: Option<ClosedWindow>,
    /// When the last segments with bytes came, new or again: a ring.
    bytes_at: [Option<Timestamp>; 4],
    bytes_at_next: u8,
    largest: LargestSegment,
    /// An ICMP error about its bytes.
    icmp: Option<Box<Unreachable>>,
    fin: Option<Fin>,
    rst: Option<Rst>,
    /// An RST that the other side may have dropped.
    doubtful_rst: Option<Rst>,
    /// Time to live of its first segment; 0 before that.
    ttl: u8,
    /// Whether the checksum of a segment with a SYN or bytes was right: then others are not left to the network card.
    has_right_checksum: bool,
    stamps: Stamps,
    /// Whether nothing of it is expected any more.
    is_finished: bool,
}

impl TcpConnection {
    /// A connection whose first packet is `first`; segments that wait behind a hole count against `budget`.
    pub(crate) fn new(first: PacketRef, budget: &MemoryBudget) -> Self {
        Self {
            sides: PerDirection::from_fn(|_| TcpDirection::new(budget)),
            originator: None,
            has_closed: false,
            icmp: None,
            not_taken: None,
            first,
            last: first,
        }
    }

    /// The direction of the SYN, when a SYN or SYN-ACK was seen.
    pub(crate) const fn originator(&self) -> Option<Direction> {
        self.originator
    }

    /// The first packet that came.
    pub(crate) const fn first(&self) -> PacketRef {
        self.first
    }

    /// The last packet that came.
    pub(crate) const fn last(&self) -> PacketRef {
        self.last
    }

    /// What was sent in `direction`.
    #[inline(always)]
    pub(crate) fn side(&self, direction: Direction) -> &TcpDirection {
        &self.sides[direction]
    }

    /// Number of segments seen in both directions.
    pub(crate) const fn segments(&self) -> u64 {
        self.sides.low_to_high.segments + self.sides.high_to_low.segments
    }

    /// Whether both directions were seen.
    pub(crate) const fn both_seen(&self) -> bool {
        self.sides.low_to_high.segments > 0 && self.sides.high_to_low.segments > 0
    }

    /// Whether segments were sent again, so that pauses may be the network's.
    pub(crate) fn is_lossy(&self) -> bool {
        self.sides.each().into_iter().any(|side| {
            side.stream.retransmitted() > 0
                || side.syn.is_some_and(|syn| syn.count > 1)
                || side.fin.is_some_and(|fin| fin.again)
        })
    }

    /// Takes a segment and gives what comes next of its stream.
    #[inline(always)] // into its only caller
    pub(crate) fn on_segment(
        &mut self,
        segment: &Segment<'_>,
        limits: &Limits,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        let Some(seq) = self.note(segment) else { return };
        let side = &mut self.sides[segment.direction];
        if segment.has_bytes() {
            side.on_bytes(segment.at);
            let Segment { payload, missing, ip_id, .. } = *segment;
            let packet = PacketRef { frame: segment.frame, at: segment.at };
            let data = SegmentData { seq, payload, missing, packet: &packet, ip_id };
            side.stream.push(data, limits, out);
            if payload.len() as u64 + u64::from(missing) > u64::from(side.largest.sent) {
                side.on_larger(seq, payload, missing);
            }
        } else if segment.flags.has(TcpFlags::SYN) {
            side.stream.settle(segment.at, limits, out);
        }
        self.on_ack(segment, limits);
    }

    /// Takes a segment that has no bytes and neither opens nor closes.
    #[inline(always)] // into its only caller
    pub(crate) fn on_pure_ack(&mut self, segment: &Segment<'_>, limits: &Limits) {
        self.note(segment);
        self.on_ack(segment, limits);
    }

    /// Counts a segment. Returns the sequence number of its first byte, if it may have any.
    #[inline(always)]
    fn note(&mut self, segment: &Segment<'_>) -> Option<SeqNum> {
        self.last.frame = segment.frame;
        self.last.at = self.last.at.max(segment.at);
        let side = &mut self.sides[segment.direction];
        side.segments += 1;
        side.last = side.last.max(Some(segment.at));
        side.on_window(segment);
        let seq = SeqNum(segment.seq);
        if !segment.flags.opens_or_closes() {
            side.after_syn.get_or_insert(segment.at);
            return Some(seq);
        }
        self.on_flags(segment);
        let is_syn = segment.flags.has(TcpFlags::SYN);
        (!segment.flags.has(TcpFlags::RST)).then(|| seq.plus(is_syn.into()))
    }

    #[inline(always)]
    fn on_ack(&mut self, segment: &Segment<'_>, limits: &Limits) {
        if segment.flags.has(TcpFlags::ACK) {
            let is_unread = self.side(segment.direction.reverse()).stream.bytes() == 0;
            let is_first = is_unread && self.may_acknowledge_syn(segment);
            let peer = &mut self.sides[segment.direction.reverse()];
            let ack = (SeqNum(segment.ack), segment.at);
            if peer.stream.on_ack(ack, is_first, limits) {
                peer.unanswered = None;
            }
        }
    }

    /// Whether a segment may be the first acknowledgement of its sender, which shows where the stream of the other side
    /// begins: it is a SYN-ACK, or has the first sequence number behind the SYN. Later ones may be for bytes that the
    /// capture lacks.
    #[cold] // before the first byte
    fn may_acknowledge_syn(&self, segment: &Segment<'_>) -> bool {
        let is_first = |syn: Syn| syn.isn.plus(1) == SeqNum(segment.seq);
        self.originator.is_some()
            && (segment.flags.has(TcpFlags::SYN)
                || self.side(segment.direction).syn.is_none_or(is_first))
    }

    /// Whether the capture has the beginning of the stream of `direction`, as the opening shows it.
    #[inline]
    pub(crate) fn has_start(&self, direction: Direction) -> bool {
        self.originator.is_some() && self.side(direction).stream.is_start_seen()
    }

    /// Takes the SYN, FIN or RST of a segment.
    #[cold] // few segments of a connection have one
    fn on_flags(&mut self, segment: &Segment<'_>) {
        let direction = segment.direction;
        let mark = PacketRef { frame: segment.frame, at: segment.at };
        let seq = SeqNum(segment.seq);
        let ack = segment.flags.has(TcpFlags::ACK).then_some(SeqNum(segment.ack));
        let is_syn = segment.flags.has(TcpFlags::SYN);
        if is_syn {
            let opens = ack.is_none();
            let originator = if opens { direction } else { direction.reverse() };
            self.originator.get_or_insert(originator);
        }
        let side = &mut self.sides[direction];
        if is_syn {
            if side.on_syn(seq, mark, segment.ip_id) {
                self.on_syn_again(direction);
            }
        } else if !segment.flags.has(TcpFlags::RST) {
            side.after_syn.get_or_insert(mark.at);
        }
        if segment.flags.has(TcpFlags::RST) {
            let is_usual = segment.ttl != 0 && self.side(direction).ttl == segment.ttl;
            if self.refuses_syn(direction, seq, ack) {
                // What came before it was never taken.
                self.sides[direction].stream.forget();
                self.sides[direction].segments = 1;
            }
            let stream = &self.side(direction).stream;
            let is_past_end = stream.offset_of(seq) == Some(stream.highest().plus(1));
            let extent = self.extent(direction);
            let rst = Rst { seq, ack, mark, extent, is_usual, is_past_end };
            let fate = self.fate(direction, &rst, segment.ttl);
            let side = &mut self.sides[direction];
            match fate {
                RstFate::Taken => _ = side.rst.get_or_insert(rst),
                RstFate::Doubtful => _ = side.doubtful_rst.get_or_insert(rst),
                RstFate::Dropped => {
                    // It is no answer of its host.
                    side.segments = side.segments.saturating_sub(1);
                    return self
                        .note_not_taken(mark, "an RST with another sequence number than the next");
                }
            }
        } else if segment.flags.has(TcpFlags::FIN) {
            let sent = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
            let sent = sent.saturating_add(segment.missing).saturating_add(is_syn.into());
            let extent = self.extent(direction);
            self.sides[direction].on_fin(seq.plus(sent), ack, mark, extent);
        }
        self.has_closed |= segment.flags.closes();
    }

    /// Gives up on what has not come in `direction` by `now`.
    pub(crate) fn settle(
        &mut self,
        direction: Direction,
        now: Timestamp,
        limits: &Limits,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if self.doubt_ends(limits.close_grace).is_some_and(|due| due <= now) {
            self.believe_rst(direction);
        }
        self.sides[direction].stream.settle(now, limits, out);
    }

    /// Gives whatever is left of `direction`, holes included: no segment follows.
    pub(crate) fn finish(&mut self, direction: Direction, out: &mut impl FnMut(StreamChunk<'_>)) {
        self.believe_rst(direction);
        self.sides[direction].is_finished = true;
        self.sides[direction].stream.finish(out);
    }

    /// Drops segments that wait behind a hole.
    pub(crate) fn discard(&mut self) {
        self.sides.low_to_high.stream.discard();
        self.sides.high_to_low.stream.discard();
    }

    /// When [`Self::settle`] is due, if no segment comes before.
    #[inline]
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let [a, b] = self.sides.each().map(|side| side.stream.deadline(limits));
        let due = match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if !self.has_closed {
            return due;
        }
        let doubt = self.doubt_ends(limits.close_grace);
        due.into_iter().chain(doubt).min()
    }

    /// Notes the time to live of the first segment of a direction, its timestamps, and whether its checksums are right.
    /// Returns false for a segment that was damaged on its way, or that is too old: its receiver drops it.
    #[cold] // before the handshake is complete, and for SYN, FIN and RST
    pub(crate) fn is_intact(&mut self, segment: &Segment<'_>) -> bool {
        let side = &mut self.sides[segment.direction];
        let is_right = match segment.checksum() {
            ChecksumState::Wrong if side.has_right_checksum => {
                let mark = PacketRef { frame: segment.frame, at: segment.at };
                self.note_not_taken(mark, "a segment with a wrong checksum");
                return false;
            }
            checksum => checksum == ChecksumState::Right,
        };
        if segment.has_bytes() && self.is_beyond_window(segment) {
            let mark = PacketRef { frame: segment.frame, at: segment.at };
            self.note_not_taken(mark, "bytes beyond the window of the receiver");
            return false;
        }
        if self.is_too_old(segment) {
            let mark = PacketRef { frame: segment.frame, at: segment.at };
            self.note_not_taken(
                mark,
                "a segment with an older timestamp than the receiver has taken",
            );
            return false;
        }
        let side = &mut self.sides[segment.direction];
        // A system computes the checksum of an RST itself where it leaves that of others to the network card.
        if segment.has_bytes() || segment.flags.has(TcpFlags::SYN) {
            side.has_right_checksum |= is_right;
            if side.ttl == 0 {
                side.ttl = segment.ttl;
            }
        }
        self.note_stamps(segment);
        true
    }
}

impl TcpDirection {
    fn new(budget: &MemoryBudget) -> Self {
        Self {
            stream: StreamDirection::new(budget),
            segments: 0,
            syn: None,
            after_syn: None,
            last: None,
            unanswered: None,
            closed_window: None,
            longest_closed_window: None,
            bytes_at: [None; 4],
            bytes_at_next: 0,
            largest: LargestSegment::default(),
            icmp: None,
            fin: None,
            rst: None,
            doubtful_rst: None,
            ttl: 0,
            has_right_checksum: false,
            stamps: Stamps::default(),
            is_finished: false,
        }
    }

    /// When the last segment of any kind came.
    pub(crate) const fn last(&self) -> Option<Timestamp> {
        self.last
    }
}

/// A SYN or FIN that comes again within this time is the same packet, captured twice: no system retransmits it faster.
const COPIED_WITHIN: Duration = Duration::from_millis(50);
