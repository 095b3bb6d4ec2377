//! The TCP side of a connection: who opened it, what is missing, who closed it first and having heard
//! what.
//!
//! Everything here is told from sequence and acknowledgement numbers where they tell it, and from the
//! order of capture only where they do not: captures reorder.

use std::time::Duration;

use crate::decode::{Segment, TcpFlags, Unreachable};
use crate::flow::Direction;
use crate::limits::Limits;
use crate::observe::{CloseKind, Stall, SynFacts};
use crate::packet::PacketRef;
use crate::stream::{Budget, SegmentData, SeqNum, StreamChunk, StreamDirection};
use crate::time::{Timestamp, micros};

/// Both halves of a TCP connection, and its opening and closing.
#[derive(Debug)]
pub(super) struct Tcp {
    up: Side,
    down: Side,
    originator: Option<Direction>,
    /// Whether a side has closed.
    has_closed: bool,
    icmp: Option<Unreachable>,
    first: PacketRef,
    last: PacketRef,
}

/// What one side sent.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Its stream.
    pub(super) half: StreamDirection,
    /// Segments seen.
    pub(super) segments: u64,
    /// SYN or SYN-ACK.
    pub(super) syn: Option<Syn>,
    /// First segment that is no SYN.
    after_syn: Option<Timestamp>,
    /// Last segment of any kind.
    last: Option<Timestamp>,
    /// Since when bytes of it wait to be acknowledged.
    unanswered: Option<Timestamp>,
    /// The time in which it has been letting the other side send nothing, so far.
    closed_window: Option<Stall>,
    /// The longest such time.
    stalled: Option<Stall>,
    /// When the last segments came that carried bytes, new or again.
    carried: [Option<Timestamp>; 4],
    carried_next: u8,
    fin: Option<Fin>,
    rst: Option<Rst>,
}

/// The SYN of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syn {
    /// Initial sequence number.
    pub(super) isn: SeqNum,
    /// First copy.
    pub(super) mark: PacketRef,
    /// Copies sent, doubled packets aside.
    pub(super) count: u32,
    last: Timestamp,
    ip_id: Option<u16>,
}

impl Syn {
    /// What is observed of it.
    pub(super) const fn facts(&self) -> SynFacts {
        SynFacts { mark: self.mark, count: self.count, last: self.last }
    }
}

#[derive(Clone, Copy, Debug)]
struct Fin {
    /// Sequence number of the FIN itself.
    seq: SeqNum,
    /// Lowest acknowledgement that any copy carries: what the sender had heard when it closed.
    ack: Option<SeqNum>,
    /// The earliest copy.
    mark: PacketRef,
    /// Whether it was sent again.
    again: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rst {
    seq: SeqNum,
    ack: Option<SeqNum>,
    mark: PacketRef,
}

/// The first close of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FirstClose {
    /// Who; `None` when the capture does not tell which of two came first.
    pub(super) by: Option<Direction>,
    /// FIN or RST.
    pub(super) kind: CloseKind,
    /// The packet.
    pub(super) mark: PacketRef,
    /// Offset up to which the closing side had heard the other; `None` where its RST does not tell.
    pub(super) heard: Option<u64>,
    /// Whether it is the RST of a host that does not know the connection: it answers a segment, and
    /// has no acknowledgement (RFC 9293, section 3.5.2, group 3).
    pub(super) is_answer: bool,
}

/// How a connection was opened, or was not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opened {
    /// The responder has answered, or the capture began later.
    Yes,
    /// RST to the SYN.
    Reset(PacketRef),
    /// ICMP "destination unreachable" to the SYN.
    Unreachable(Unreachable),
    /// Nothing but SYNs.
    Unanswered,
}

impl Opened {
    /// The packet that refused the connection.
    pub(super) const fn refused(&self) -> Option<PacketRef> {
        match self {
            Self::Reset(mark) => Some(*mark),
            Self::Unreachable(icmp) => Some(PacketRef { frame: icmp.frame, at: icmp.at }),
            Self::Yes | Self::Unanswered => None,
        }
    }
}

impl Tcp {
    /// A connection whose first packet is `first`.
    pub(super) fn new(first: PacketRef) -> Self {
        Self {
            up: Side::default(),
            down: Side::default(),
            originator: None,
            has_closed: false,
            icmp: None,
            first,
            last: first,
        }
    }

    /// Who sent the SYN, when a SYN or SYN-ACK was seen.
    pub(super) const fn originator(&self) -> Option<Direction> {
        self.originator
    }

    /// First packet.
    pub(super) const fn first(&self) -> PacketRef {
        self.first
    }

    /// Last packet that came.
    pub(super) const fn last(&self) -> PacketRef {
        self.last
    }

    /// What `direction` sent.
    pub(super) const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::LowToHigh => &self.up,
            Direction::HighToLow => &self.down,
        }
    }

    const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::LowToHigh => &mut self.up,
            Direction::HighToLow => &mut self.down,
        }
    }

    /// The ICMP message that refused the connection.
    pub(super) const fn icmp(&self) -> Option<&Unreachable> {
        self.icmp.as_ref()
    }

    /// Segments seen in both directions.
    pub(super) const fn segments(&self) -> u64 {
        self.up.segments + self.down.segments
    }

    /// Whether both directions were seen.
    pub(super) const fn both_seen(&self) -> bool {
        self.up.segments > 0 && self.down.segments > 0
    }

    /// Whether `segment` is the SYN of another connection between the same ends.
    pub(super) fn is_other_connection(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(TcpFlags::SYN) || segment.flags.has(TcpFlags::RST) {
            return false;
        }
        let side = self.side(segment.direction);
        match side.syn {
            Some(syn) => syn.isn != SeqNum(segment.seq),
            // The SYN of a connection whose first segments came before it begins where they do.
            None => {
                side.half.bytes() > 0
                    && side.half.offset_of(SeqNum(segment.seq).plus(1))
                        != Some(side.half.end() - side.half.bytes() - side.half.missing())
            }
        }
    }

    /// Takes a segment in and hands its stream on.
    #[inline(always)] // into the one place that it is called from, and what follows into this
    pub(super) fn on_segment(
        &mut self,
        segment: &Segment<'_>,
        limits: &Limits,
        budget: &mut Budget,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        let Some(seq) = self.note(segment) else { return };
        let side = self.side_mut(segment.direction);
        if segment.has_bytes() {
            side.on_bytes(segment.at);
            let Segment { payload, missing, ip_id, .. } = *segment;
            let mark = PacketRef { frame: segment.frame, at: segment.at };
            let piece = SegmentData { seq, payload, missing, mark: &mark, ip_id };
            side.half.push(piece, limits, budget, out);
        } else if segment.flags.has(TcpFlags::SYN) {
            side.half.settle(segment.at, limits, budget, out);
        }
        self.on_ack(segment, limits);
    }

    /// Takes a segment in that has no bytes, and neither opens nor closes.
    #[inline(always)] // likewise
    pub(super) fn on_bare(&mut self, segment: &Segment<'_>, limits: &Limits) {
        self.note(segment);
        self.on_ack(segment, limits);
    }

    /// Takes note of a segment. Gives the number of its first byte, if it may have any.
    #[inline(always)]
    fn note(&mut self, segment: &Segment<'_>) -> Option<SeqNum> {
        self.last.frame = segment.frame;
        self.last.at = self.last.at.max(segment.at);
        let side = self.side_mut(segment.direction);
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
            let opening = self.originator.is_some();
            let peer = self.side_mut(segment.direction.reverse());
            peer.half.on_ack(SeqNum(segment.ack), opening, limits);
            if peer.half.acked().is_some_and(|acked| acked >= peer.half.end()) {
                peer.unanswered = None;
            }
        }
    }

    /// Takes note of a SYN, FIN or RST.
    #[cold] // beside the segments of a connection
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
        let side = self.side_mut(direction);
        if is_syn {
            side.on_syn(seq, mark, segment.ip_id);
        } else if !segment.flags.has(TcpFlags::RST) {
            side.after_syn.get_or_insert(mark.at);
        }
        if segment.flags.has(TcpFlags::RST) {
            side.rst.get_or_insert(Rst { seq, ack, mark });
        } else if segment.flags.has(TcpFlags::FIN) {
            let sent = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
            let sent = sent.saturating_add(segment.missing).saturating_add(is_syn.into());
            side.on_fin(seq.plus(sent), ack, mark);
        }
        self.has_closed |= segment.flags.closes();
    }

    /// An ICMP message about the SYN of `direction`.
    pub(super) fn on_unreachable(&mut self, unreachable: &Unreachable, direction: Direction) {
        let about_syn = self.side(direction).syn.is_some_and(|s| s.isn.0 == unreachable.seq);
        if about_syn && self.side(direction.reverse()).segments == 0 {
            self.last.frame = unreachable.frame;
            self.last.at = self.last.at.max(unreachable.at);
            self.icmp.get_or_insert(*unreachable);
        }
    }

    /// How it was opened.
    pub(super) fn opened(&self) -> Opened {
        let Some(originator) = self.originator else {
            return match self.lone_reset() {
                Some((_, mark)) => Opened::Reset(mark),
                None => Opened::Yes,
            };
        };
        let (from, to) = (self.side(originator), self.side(originator.reverse()));
        if to.syn.is_some() || to.half.bytes() > 0 || from.after_syn.is_some() || from.syn.is_none()
        {
            return Opened::Yes;
        }
        if let Some(rst) = to.rst {
            return Opened::Reset(rst.mark);
        }
        match self.icmp {
            Some(icmp) => Opened::Unreachable(icmp),
            None if to.segments == 0 => Opened::Unanswered,
            None => Opened::Yes,
        }
    }

    /// Whether an unanswered SYN of `direction` has waited long enough to be told: it was sent again, or is
    /// so old that an answer would have come. Not where the answer may be among what the capture lost, up to
    /// the moment `lost`.
    pub(super) fn timed_out(
        &self,
        direction: Direction,
        now: Timestamp,
        lost: Option<Timestamp>,
    ) -> bool {
        let syn = self.side(direction).syn;
        syn.is_some_and(|syn| syn.facts().timed_out(now, lost))
    }

    /// Who sent the RST, when the connection is nothing but the answer of a closed port: sequence number
    /// 0 and an acknowledgement (RFC 9293, section 3.5.2, group 1).
    pub(super) fn lone_reset(&self) -> Option<(Direction, PacketRef)> {
        [Direction::LowToHigh, Direction::HighToLow].into_iter().find_map(|direction| {
            let rst = self.side(direction).rst?;
            let alone =
                self.side(direction).segments == 1 && self.side(direction.reverse()).segments == 0;
            (alone && rst.seq == SeqNum(0) && rst.ack.is_some()).then_some((direction, rst.mark))
        })
    }

    /// One round trip between the ends, as far as the opening shows it.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let side = self.side(self.originator?);
        let syn = side.syn?;
        Some(side.after_syn?.since(syn.last))
    }

    /// Whether segments were sent again, so that pauses may be the network's.
    pub(super) fn is_lossy(&self) -> bool {
        self.up.half.retransmitted() + self.down.half.retransmitted() > 0
            || [&self.up, &self.down].into_iter().any(|side| {
                side.syn.is_some_and(|syn| syn.count > 1) || side.fin.is_some_and(|fin| fin.again)
            })
    }

    /// The first close, by what each closing side had heard of the other.
    #[inline]
    pub(super) fn first_close(&self) -> Option<FirstClose> {
        // Asked after every segment.
        if self.has_closed { self.first_of_closes() } else { None }
    }

    fn first_of_closes(&self) -> Option<FirstClose> {
        let close = |direction: Direction| self.close_of(direction);
        match (close(Direction::LowToHigh), close(Direction::HighToLow)) {
            (None, None) => None,
            (Some(only), None) => Some(self.unless_other_closed_unseen(only, Direction::LowToHigh)),
            (None, Some(only)) => Some(self.unless_other_closed_unseen(only, Direction::HighToLow)),
            (Some(up), Some(down)) => Some(self.earlier(up, down)),
        }
    }

    fn earlier(&self, up: FirstClose, down: FirstClose) -> FirstClose {
        let heard_close = |close: &FirstClose, of: Direction| matches!((close.heard, self.fin_at(of)), (Some(heard), Some(fin)) if heard > fin);
        let (first, second, direction) = if up.mark.frame <= down.mark.frame {
            (up, down, Direction::HighToLow)
        } else {
            (down, up, Direction::LowToHigh)
        };
        if heard_close(&up, Direction::HighToLow) {
            down
        } else if heard_close(&down, Direction::LowToHigh) {
            up
        } else if second.kind == CloseKind::Rst && self.fin_unseen(direction) {
            // The FIN before this RST was not seen: it may have come before the other side's.
            FirstClose { by: None, ..first }
        } else {
            first
        }
    }

    /// Where the FIN of `direction` is in its stream, also where it shows only by its absence.
    fn fin_at(&self, direction: Direction) -> Option<u64> {
        let side = self.side(direction);
        match side.fin {
            Some(fin) => side.half.offset_of(fin.seq),
            None => self.fin_unseen(direction).then(|| side.half.end()),
        }
    }

    /// `close` is the only one seen; an acknowledgement one past the other side's end stands for a FIN
    /// that the capture lost, and then who came first is not known.
    fn unless_other_closed_unseen(&self, close: FirstClose, direction: Direction) -> FirstClose {
        let other = self.side(direction.reverse());
        match close.heard {
            Some(heard) if heard == other.half.end() + 1 => FirstClose { by: None, ..close },
            _ => close,
        }
    }

    fn close_of(&self, direction: Direction) -> Option<FirstClose> {
        let side = self.side(direction);
        let peer = &self.side(direction.reverse()).half;
        let heard = |ack: Option<SeqNum>| ack.and_then(|ack| peer.offset_of(ack));
        let by = Some(direction);
        if let Some(fin) = side.fin {
            let kind = CloseKind::Fin;
            let heard = heard(fin.ack);
            return Some(FirstClose { by, kind, mark: fin.mark, heard, is_answer: false });
        }
        let rst = side.rst?;
        let (kind, is_answer) = (CloseKind::Rst, rst.ack.is_none());
        Some(FirstClose { by, kind, mark: rst.mark, heard: heard(rst.ack), is_answer })
    }

    /// Whether `direction` sent a FIN that was not seen: its RST, or an acknowledgement by the other
    /// side, lies one past its end.
    pub(super) fn fin_unseen(&self, direction: Direction) -> bool {
        let side = self.side(direction);
        let past_end = Some(side.half.end() + 1);
        side.fin.is_none()
            && !side.half.is_waiting()
            && (side.half.acked() == past_end
                || side.rst.is_some_and(|rst| {
                    rst.seq != SeqNum(0) && side.half.offset_of(rst.seq) == past_end
                }))
    }

    /// Whether both sides may go on, and nothing that was sent is waited for.
    #[inline]
    pub(super) fn flows(&self) -> bool {
        !self.has_closed && !self.up.half.is_waiting() && !self.down.half.is_waiting()
    }

    /// Whether both sides are done, with nothing left to wait for.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.has_closed && self.is_settled()
    }

    fn is_settled(&self) -> bool {
        let done = |direction: Direction| {
            let side = self.side(direction);
            side.fin.is_some_and(|fin| side.half.offset_of(fin.seq) == Some(side.half.end()))
        };
        if self.is_short(Direction::LowToHigh) || self.is_short(Direction::HighToLow) {
            return false;
        }
        let reset = self.up.rst.is_some() || self.down.rst.is_some();
        done(Direction::LowToHigh) && done(Direction::HighToLow)
            || reset
                && !self.fin_unseen(Direction::LowToHigh)
                && !self.fin_unseen(Direction::HighToLow)
    }

    /// Whether bytes of `direction` are known to have been sent that were not seen, or not yet.
    pub(super) fn is_short(&self, direction: Direction) -> bool {
        let half = &self.side(direction).half;
        half.is_waiting() || self.sent_end(direction) > half.end()
    }

    /// Bytes known to be missing from `direction`, at its end included.
    pub(super) fn missing(&self, direction: Direction) -> u64 {
        let half = &self.side(direction).half;
        half.missing() + self.sent_end(direction).saturating_sub(half.end())
    }

    /// Whether everything that `direction` sent before offset `until` was seen; `None` for all of it.
    pub(super) fn is_whole(&self, direction: Direction, until: Option<u64>) -> bool {
        let half = &self.side(direction).half;
        let until = until.unwrap_or(u64::MAX).min(self.sent_end(direction).max(half.end()));
        half.first_gap().is_none_or(|gap| gap >= until) && half.end() >= until
    }

    /// Offset up to which bytes of `direction` are known to have been sent: where its FIN is, or its RST,
    /// or as far as the other side has acknowledged.
    fn sent_end(&self, direction: Direction) -> u64 {
        let side = self.side(direction);
        let end = side.half.end();
        if let Some(fin) = side.fin.and_then(|fin| side.half.offset_of(fin.seq)) {
            return fin.max(end);
        }
        let rst = side.rst.filter(|rst| rst.seq != SeqNum(0));
        let rst = rst.and_then(|rst| side.half.offset_of(rst.seq)).unwrap_or(end);
        let known = rst.max(side.half.acked().unwrap_or(end)).max(end);
        // One past the end is a FIN that was not seen, and no byte.
        if known == end + 1 { end } else { known }
    }

    /// Gives up on what has not come until `now`.
    pub(super) fn settle(
        &mut self,
        direction: Direction,
        now: Timestamp,
        limits: &Limits,
        budget: &mut Budget,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        self.side_mut(direction).half.settle(now, limits, budget, out);
    }

    /// Hands on whatever is left of `direction`, holes and all.
    pub(super) fn finish(
        &mut self,
        direction: Direction,
        budget: &mut Budget,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        self.side_mut(direction).half.finish(budget, out);
    }

    /// Drops what is held without handing it on.
    pub(super) fn discard(&mut self, budget: &mut Budget) {
        self.up.half.discard(budget);
        self.down.half.discard(budget);
    }

    /// When [`Self::settle`] wants to be called, if no segment comes before.
    #[inline]
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        match (self.up.half.deadline(limits), self.down.half.deadline(limits)) {
            (Some(up), Some(down)) => Some(up.min(down)),
            (up, down) => up.or(down),
        }
    }
}

impl Side {
    fn on_syn(&mut self, isn: SeqNum, mark: PacketRef, ip_id: Option<u16>) {
        self.half.begins_at(isn.plus(1));
        match &mut self.syn {
            None => self.syn = Some(Syn { isn, mark, count: 1, last: mark.at, ip_id }),
            Some(syn) => {
                let doubled = match (syn.ip_id, ip_id) {
                    (Some(a), Some(b)) if a != 0 || b != 0 => a == b,
                    _ => mark.at.since(syn.last) < DOUBLED_WITHIN,
                };
                if !doubled {
                    syn.count += 1;
                    syn.last = syn.last.max(mark.at);
                    syn.ip_id = ip_id;
                }
            }
        }
    }

    /// When it sent its FIN or RST.
    pub(super) fn closed_at(&self) -> Option<Timestamp> {
        let fin = self.fin.map(|fin| fin.mark.at);
        fin.or_else(|| Some(self.rst?.mark.at))
    }

    /// When the last segment of any kind came.
    pub(super) const fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Since when bytes of it wait to be acknowledged; `None` when none do.
    pub(super) const fn unanswered(&self) -> Option<Timestamp> {
        self.unanswered
    }

    /// The longest time that it let the other side send nothing, for want of room.
    pub(super) const fn stall(&self) -> Option<Stall> {
        self.stalled
    }

    /// Whether it lets the other side send nothing.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed_window.is_some()
    }

    #[inline]
    fn on_window(&mut self, segment: &Segment<'_>) {
        if segment.window == 0 || self.closed_window.is_some() {
            self.on_closed_window(segment);
        }
    }

    #[cold]
    fn on_closed_window(&mut self, segment: &Segment<'_>) {
        let is_closed = segment.window == 0 && !segment.flags.opens_or_closes();
        if !is_closed && self.closed_window.is_none() {
            return;
        }
        let since = PacketRef { frame: segment.frame, at: segment.at };
        let first = Stall { since, lasted_us: 0, spoke: false };
        let mut stall = self.closed_window.unwrap_or(first);
        stall.lasted_us = micros(segment.at.since(stall.since.at));
        stall.spoke |= is_closed && !segment.payload.is_empty();
        self.closed_window = is_closed.then_some(stall);
        if self.stalled.is_none_or(|longest| stall.lasted_us >= longest.lasted_us) {
            self.stalled = Some(stall);
        }
    }

    #[inline]
    fn on_bytes(&mut self, at: Timestamp) {
        self.unanswered.get_or_insert(at);
        let place = usize::from(self.carried_next) % self.carried.len();
        if let Some(place) = self.carried.get_mut(place) {
            *place = Some(at);
        }
        self.carried_next = self.carried_next.wrapping_add(1);
    }

    /// When bytes were last sent, new or again, before `until`.
    pub(super) fn last_bytes(&self, until: Timestamp) -> Option<Timestamp> {
        self.carried.iter().flatten().copied().filter(|at| *at <= until).max()
    }

    fn on_fin(&mut self, seq: SeqNum, ack: Option<SeqNum>, mark: PacketRef) {
        match &mut self.fin {
            None => self.fin = Some(Fin { seq, ack, mark, again: false }),
            Some(fin) => {
                let (earlier, later) =
                    if mark.at < fin.mark.at { (mark, fin.mark) } else { (fin.mark, mark) };
                fin.again |= later.at.since(earlier.at) >= DOUBLED_WITHIN;
                fin.mark = earlier;
                if let (Some(known), Some(ack)) = (fin.ack, ack) {
                    if ack.distance(known) < 0 {
                        fin.ack = Some(ack);
                    }
                }
            }
        }
    }

    /// Whether it has closed.
    #[inline]
    pub(super) const fn has_closed(&self) -> bool {
        self.fin.is_some() || self.rst.is_some()
    }
}

/// No system sends a SYN or FIN again within this time; the same packet on two interfaces comes within it.
const DOUBLED_WITHIN: Duration = Duration::from_millis(50);
