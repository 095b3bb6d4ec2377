//! Reassembly of one direction of a TCP connection.

use std::collections::BTreeMap;
use std::time::Duration;

use super::recent::RecentSegments;
use super::resent::{Repeat, Resent};
use super::{SeqNum, TcpOffset};
use crate::limits::Limits;
use crate::memory::{MemoryBudget, Reservation};
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// The content of a [`StreamChunk`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEvent<'a> {
    /// Bytes that the capture has.
    Data(&'a [u8]),
    /// This many bytes that the capture does not have. Readers decide what they can still trust.
    Gap(u64),
}

/// Consecutive bytes of a stream, or a hole in it. Chunks come in stream order and leave nothing out.
#[derive(Clone, Copy, Debug)]
pub struct StreamChunk<'a> {
    /// The packet that brought the bytes; for a gap, the one behind it. A reference, because moving the freshly
    /// built value would stall on store forwarding.
    pub packet: &'a PacketRef,
    /// Offset of the byte after this chunk.
    pub end: TcpOffset,
    /// The bytes, or their absence.
    pub event: StreamEvent<'a>,
}

/// The part of a segment that concerns its stream.
#[derive(Clone, Copy, Debug)]
pub struct SegmentData<'a> {
    /// Sequence number of the first byte of `payload`.
    pub seq: SeqNum,
    /// The bytes that were captured.
    pub payload: &'a [u8],
    /// Number of bytes behind them that were sent and not captured.
    pub missing: u32,
    /// The packet that carried the segment.
    pub packet: &'a PacketRef,
    /// Identification field of its IPv4 header.
    pub ip_id: Option<u16>,
}

/// One direction of a connection: takes segments in any order and gives the byte stream.
#[derive(Debug)]
pub struct StreamDirection {
    start: Start,
    /// Whether `start` is known from the SYN, or from an acknowledgement before the first byte.
    is_start_seen: bool,
    /// Sequence number at [`TcpOffset::BASE`]; without meaning while `start` is `Unseen`.
    anchor: SeqNum,
    /// Offset of the next byte to give. Never above any key of `pending`.
    next: TcpOffset,
    /// Segments behind a hole, by offset; they never overlap.
    pending: BTreeMap<TcpOffset, PendingData>,
    /// Memory that `pending` uses.
    memory: Reservation,
    /// When the oldest hole in front of `pending` was noticed.
    hole_since: Option<Timestamp>,
    acked: Option<TcpOffset>,
    /// The acknowledgements that fall short of `acked`.
    short_acks: Option<Box<ShortAcks>>,
    bytes: u64,
    missing: u64,
    gaps: u64,
    first_gap: Option<TcpOffset>,
    retransmitted: u64,
    conflicts: u64,
    /// Number of segments that were further on than any window reaches.
    far_off: u8,
    recent: RecentSegments,
    resent: Option<Box<Resent>>,
    /// Pending segments that were visited, for the test that their number stays linear.
    #[cfg(test)]
    visited: u64,
}

/// What is known of where a stream begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    /// No segment came yet.
    Unseen,
    /// The SYN was not seen; segments wait until an earlier one is unlikely.
    Open { since: Timestamp, segments: u32, lowest: TcpOffset },
    /// The first byte is known.
    Known,
}

/// The data of a segment that waits behind a hole.
#[derive(Debug)]
struct PendingData {
    bytes: Box<[u8]>,
    missing: u32,
    packet: PacketRef,
    /// Offset up to which this and the next segments leave no hole, as far as that was found out.
    joined: TcpOffset,
}

/// Acknowledgements that came behind a higher one. A receiver never takes back what it acknowledged, so they were captured
/// late, or the higher one was not of that receiver.
#[derive(Clone, Copy, Debug)]
struct ShortAcks {
    /// The higher one, which they fall short of.
    of: TcpOffset,
    /// The highest of them.
    highest: TcpOffset,
    /// When the first of them came.
    since: Timestamp,
    count: u8,
}

impl PendingData {
    fn end(&self, offset: TcpOffset) -> TcpOffset {
        offset.plus(self.bytes.len() as u64 + u64::from(self.missing))
    }

    const fn cost(&self) -> usize {
        self.bytes.len() + PENDING_OVERHEAD
    }
}

/// No window of a connection between nodes is larger, in bytes.
pub(super) const LARGEST_HOLE: u64 = 16 << 20;

/// Segments behind a larger hole that are dropped before it is believed that the capture lacks what was sent there.
const FAR_OFF_DROPPED: u8 = 8;
/// Bytes beyond what was given that an acknowledgement may be for: some times the largest window in use.
const FARTHEST_ACK: u64 = 64 << 20;

/// Acknowledgements that fall short of a higher one before that one is taken back.
const SHORT_ACKS: u8 = 3;

/// The time in which they come at least: no segment is under way, and captured, so much later.
const SHORT_ACKS_LAST: Duration = Duration::from_secs(1);

/// What a pending segment costs beside its bytes, about.
const PENDING_OVERHEAD: usize = 96;

impl StreamDirection {
    /// A direction of which nothing was seen; its pending segments count against `budget`.
    pub fn new(budget: &MemoryBudget) -> Self {
        Self {
            start: Start::Unseen,
            is_start_seen: false,
            anchor: SeqNum(0),
            next: TcpOffset::BASE,
            pending: BTreeMap::new(),
            memory: budget.reservation(),
            hole_since: None,
            acked: None,
            short_acks: None,
            bytes: 0,
            missing: 0,
            gaps: 0,
            first_gap: None,
            retransmitted: 0,
            conflicts: 0,
            far_off: 0,
            recent: RecentSegments::default(),
            resent: None,
            #[cfg(test)]
            visited: 0,
        }
    }

    /// Number of distinct bytes seen.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of bytes known to be missing before the current end.
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Number of holes that were given up.
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Offset at which the first hole that was given up begins.
    pub const fn first_gap(&self) -> Option<TcpOffset> {
        self.first_gap
    }

    /// Number of bytes that were sent again.
    pub const fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// The first bytes that were sent more than once.
    pub fn resent(&self) -> Option<Resent> {
        self.resent.as_deref().copied()
    }

    /// Number of overlaps whose two copies differ.
    pub const fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Offset behind the last byte given.
    pub const fn end(&self) -> TcpOffset {
        self.next
    }

    /// Whether segments wait behind a hole, or for the stream to begin.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Offset up to which the other side has acknowledged this stream.
    pub const fn acked(&self) -> Option<TcpOffset> {
        self.acked
    }

    /// The offset of a sequence number of this direction; `None` before its first segment.
    #[inline]
    pub fn offset_of(&self, seq: SeqNum) -> Option<TcpOffset> {
        if self.start == Start::Unseen {
            return None;
        }
        let here = self.anchor.plus(self.next.sequence_distance());
        self.next.0.checked_add_signed(seq.distance(here)).map(TcpOffset)
    }

    /// The sequence number at [`TcpOffset::BASE`]; `None` before its first segment.
    pub fn base(&self) -> Option<u32> {
        self.is_begun().then_some(self.anchor.0)
    }

    /// Whether a segment of it, or its beginning, is known.
    pub fn is_begun(&self) -> bool {
        self.start != Start::Unseen
    }

    /// Offset behind the last byte known, those that wait behind a hole included.
    pub fn highest(&self) -> TcpOffset {
        self.pending.last_key_value().map_or(self.next, |(offset, data)| data.end(*offset))
    }

    /// When the bytes from `seq` on were sent first, if they came in one of the last segments.
    pub fn sent_at(&self, seq: SeqNum) -> Option<Timestamp> {
        self.recent.first_sent(seq).0
    }

    /// Whether the capture shows where this stream begins.
    #[inline]
    pub const fn is_start_seen(&self) -> bool {
        self.is_start_seen
    }

    /// Sets the sequence number of the first byte, as the SYN of this direction shows it.
    pub fn begins_at(&mut self, seq: SeqNum) {
        self.is_start_seen = true;
        if self.start == Start::Unseen {
            self.anchor = seq;
        } else {
            let Some(offset) = self.offset_of(seq) else { return };
            let is_untouched = self.bytes == 0 && self.missing == 0;
            if matches!(self.start, Start::Open { .. }) || is_untouched && offset < self.next {
                self.next = offset.min(self.pending.keys().next().copied().unwrap_or(offset));
            }
        }
        self.start = Start::Known;
    }

    /// Sets the sequence number of the first byte, as the SYN shows it, and drops what came before the SYN with sequence
    /// numbers that no byte behind it has: no connection was open.
    pub fn opens_at(&mut self, seq: SeqNum) {
        let is_untouched = self.bytes == 0 && self.missing == 0;
        match self.offset_of(seq).filter(|_| is_untouched) {
            // The same SYN again: what waits behind it is not visited for each.
            Some(start) if self.is_start_seen && self.next == start => {}
            Some(start) => {
                self.drop_outside(start);
                self.acked = self.acked.filter(|acked| is_behind(start, *acked));
                self.next = start;
                self.start = Start::Known;
                self.is_start_seen = true;
            }
            None => self.begins_at(seq),
        }
    }

    fn drop_outside(&mut self, start: TcpOffset) {
        let memory = &mut self.memory;
        self.pending.retain(|offset, data| {
            let is_inside = is_behind(start, *offset);
            if !is_inside {
                memory.release(data.cost());
            }
            is_inside
        });
    }

    /// Forgets all that came before the stream has begun.
    pub fn forget(&mut self) {
        if self.bytes == 0 && self.missing == 0 {
            self.discard();
            self.start = Start::Unseen;
            self.hole_since = None;
        }
    }

    /// Notes that the other side acknowledges everything before `seq`. With `is_first`, it may be the first number
    /// that the other side acknowledges: no byte was sent before it, and the lowest one is where the stream begins.
    /// Returns whether it acknowledges all bytes that were given.
    #[inline]
    pub fn on_ack(
        &mut self,
        (seq, at): (SeqNum, Timestamp),
        is_first: bool,
        limits: &Limits,
    ) -> bool {
        if self.bytes == 0 && is_first {
            self.on_first_ack(seq);
        }
        let Some(offset) = self.offset_of(seq) else { return false };
        // A number far beyond any window is not an acknowledgement of this stream.
        if offset > self.next.plus(FARTHEST_ACK.max(limits.held_per_direction as u64)) {
            return false;
        }
        match self.acked {
            Some(known) if offset < known => self.on_short_ack(offset, known, at),
            _ => self.acked = Some(offset),
        }
        offset >= self.next
    }

    /// Takes an acknowledgement that falls short of the highest one, `known`. Some of them over a time in which nothing
    /// else is under way show that the highest one was not of that receiver.
    #[cold] // in captures out of order
    fn on_short_ack(&mut self, offset: TcpOffset, known: TcpOffset, at: Timestamp) {
        let new = ShortAcks { of: known, highest: offset, since: at, count: 0 };
        let short = self.short_acks.get_or_insert_with(|| Box::new(new));
        if short.of != known {
            **short = new;
        }
        short.count = short.count.saturating_add(1);
        short.highest = short.highest.max(offset);
        if short.count >= SHORT_ACKS && at.since(short.since) >= SHORT_ACKS_LAST {
            self.acked = Some(short.highest);
            self.short_acks = None;
        }
    }

    #[cold]
    fn on_first_ack(&mut self, seq: SeqNum) {
        if self.offset_of(seq).is_none_or(|offset| offset < self.next) {
            self.begins_at(seq);
        }
    }

    /// Takes a segment and gives what is in order now.
    #[inline(always)]
    pub fn push(
        &mut self,
        segment: SegmentData<'_>,
        limits: &Limits,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if self.start == Start::Unseen {
            self.anchor = segment.seq;
            let lowest = TcpOffset::BASE;
            self.start = Start::Open { since: segment.packet.at, segments: 0, lowest };
        }
        let Some(offset) = self.offset_of(segment.seq) else { return };
        if self.start == Start::Known && offset == self.next && self.pending.is_empty() {
            // None of its bytes came before, so it is no copy.
            self.recent.add(&segment);
            let SegmentData { payload, missing, packet, .. } = segment;
            if missing > 0 || payload.is_empty() {
                return self.give(payload, missing, packet, out);
            }
            self.bytes += payload.len() as u64;
            self.next = self.next.plus(payload.len() as u64);
            return out(StreamChunk { packet, end: self.next, event: StreamEvent::Data(payload) });
        }
        self.push_out_of_order(offset, &segment, limits, out);
    }

    /// Takes a segment that is not, or not only, what comes next.
    #[inline(never)]
    fn push_out_of_order(
        &mut self,
        offset: TcpOffset,
        segment: &SegmentData<'_>,
        limits: &Limits,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if self.is_far_off(offset) {
            return;
        }
        if let Start::Open { segments, lowest, .. } = &mut self.start {
            *segments += 1;
            *lowest = (*lowest).min(offset);
        }
        let again = self.store(offset, segment);
        if again > 0 {
            self.on_repeat(offset, segment, again);
        }
        self.recent.add(segment);
        self.settle(segment.packet.at, limits, out);
        while self.memory.held() > limits.held_per_direction || self.memory.is_over_budget() {
            self.memory.note_refusal();
            if !self.skip_hole(out) {
                break;
            }
        }
    }

    /// Whether a segment is further on than a window reaches, so that its receiver dropped it. The first few of
    /// them are; if more come, the capture lacks what was sent before them.
    fn is_far_off(&mut self, offset: TcpOffset) -> bool {
        let reached = self.next.max(self.acked.unwrap_or(self.next));
        if self.start != Start::Known || offset <= reached.plus(LARGEST_HOLE) {
            return false;
        }
        self.far_off = self.far_off.saturating_add(1);
        self.far_off <= FAR_OFF_DROPPED
    }

    /// Takes in a segment of which `again` bytes came before, unless it is a packet that was captured twice.
    #[cold]
    fn on_repeat(&mut self, offset: TcpOffset, segment: &SegmentData<'_>, again: u64) {
        if self.recent.has_copy_of(segment) {
            return;
        }
        self.retransmitted += again;
        let (first, before) = self.recent.first_sent(segment.seq);
        let len = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let len = len.saturating_add(segment.missing);
        let repeat = Repeat { offset, len, packet: *segment.packet, first, before };
        let resent = Resent::after(self.resent(), repeat, self.acked);
        match (&mut self.resent, resent) {
            (Some(known), Some(resent)) => **known = resent,
            (known, resent) => *known = resent.map(Box::new),
        }
    }

    /// When [`Self::settle`] is due, if no segment comes before.
    #[inline]
    pub fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let (&first, _) = self.pending.first_key_value()?;
        match self.start {
            Start::Open { since, .. } => Some(since.after(limits.start_grace)),
            _ if self.acked? >= first => Some(self.hole_since?.after(limits.hole_grace)),
            _ => None,
        }
    }

    /// Gives what is in order, past a hole whose time has run out.
    pub fn settle(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if let Start::Open { since, segments, .. } = self.start {
            if segments < limits.start_segments && now < since.after(limits.start_grace) {
                return;
            }
            self.start_now();
        }
        self.drain(out);
        if self.deadline(limits).is_some_and(|due| now >= due) {
            self.skip_hole(out);
            self.hole_since = (!self.pending.is_empty()).then_some(now);
        } else if self.pending.is_empty() {
            self.hole_since = None;
        } else if self.hole_since.is_none() {
            self.hole_since = Some(now);
        }
    }

    /// Gives everything that is left, holes included: no segment follows.
    pub fn finish(&mut self, out: &mut impl FnMut(StreamChunk<'_>)) {
        if matches!(self.start, Start::Open { .. }) {
            self.start_now();
        }
        self.drain(out);
        while self.skip_hole(out) {}
    }

    /// Drops the pending segments.
    pub fn discard(&mut self) {
        self.memory.release_all();
        self.pending.clear();
    }

    fn start_now(&mut self) {
        if let Start::Open { lowest, .. } = self.start {
            self.next = lowest;
            self.start = Start::Known;
        }
    }

    #[inline(never)]
    fn give(
        &mut self,
        bytes: &[u8],
        missing: u32,
        packet: &PacketRef,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if !bytes.is_empty() {
            self.bytes += bytes.len() as u64;
            self.next = self.next.plus(bytes.len() as u64);
            out(StreamChunk { packet, end: self.next, event: StreamEvent::Data(bytes) });
        }
        if missing > 0 {
            self.give_gap(u64::from(missing), packet, out);
        }
    }

    fn give_gap(&mut self, bytes: u64, packet: &PacketRef, out: &mut impl FnMut(StreamChunk<'_>)) {
        self.gaps += 1;
        self.first_gap.get_or_insert(self.next);
        self.missing += bytes;
        self.next = self.next.plus(bytes);
        out(StreamChunk { packet, end: self.next, event: StreamEvent::Gap(bytes) });
    }

    /// Stores the new bytes of `segment`; of each offset the first byte seen wins. Returns how many bytes were not
    /// new.
    fn store(&mut self, offset: TcpOffset, segment: &SegmentData<'_>) -> u64 {
        let floor = if self.start == Start::Known { self.next } else { TcpOffset::MIN };
        let captured_end = offset.plus(segment.payload.len() as u64);
        let end = captured_end.plus(u64::from(segment.missing));
        let mut at = offset.max(floor);
        let mut again = at.min(end).since(offset);
        let mut steps = 0_u32;
        if let Some((&before, pending)) = self.pending.range(..at).next_back() {
            let covered = pending.end(before).min(end);
            if covered > at {
                self.conflicts +=
                    u64::from(differ(before, &pending.bytes, offset, segment.payload));
                again += covered.since(at);
                at = covered;
            }
        }
        while at < end {
            let (until, covered) = match self.pending.range(at..end).next() {
                // Behind the captured bytes there is nothing to compare.
                Some((&next, pending)) if next >= captured_end => (next, pending.joined),
                Some((&next, pending)) => {
                    self.conflicts +=
                        u64::from(differ(next, &pending.bytes, offset, segment.payload));
                    (next, pending.end(next))
                }
                None => (end, end),
            };
            steps += 1;
            if at < until {
                let stop = until.min(captured_end);
                let bytes: Box<[u8]> = within(segment.payload, offset, at, stop).into();
                let missing = u32::try_from(until.since(stop.max(at))).unwrap_or(u32::MAX);
                let missing = missing.min(segment.missing);
                let data = PendingData { bytes, missing, packet: *segment.packet, joined: until };
                self.memory.take_beyond(data.cost());
                self.pending.insert(at, data);
            }
            again += covered.min(end).since(until);
            at = covered;
        }
        #[cfg(test)]
        {
            self.visited += u64::from(steps);
        }
        if steps > 2 && segment.missing > 0 {
            self.join(captured_end, at);
        }
        again
    }

    /// Notes that the pending segments from `from` to `to` leave no hole, so that the next segment that was cut there passes
    /// over them in few steps. Without this, each packet that claims 64 KiB would visit every segment that waits.
    #[cold]
    fn join(&mut self, from: TcpOffset, to: TcpOffset) {
        let mut at = self.pending.range(..=from).next_back().map(|(&offset, _)| offset);
        while let Some(pending) = at.and_then(|offset| self.pending.get_mut(&offset)) {
            #[cfg(test)]
            {
                self.visited += 1;
            }
            let next = pending.joined;
            pending.joined = next.max(to);
            at = (next < to).then_some(next);
        }
    }

    fn drain(&mut self, out: &mut impl FnMut(StreamChunk<'_>)) {
        while let Some(entry) = self.pending.first_entry() {
            let offset = *entry.key();
            if offset > self.next {
                return;
            }
            let data = entry.remove();
            self.memory.release(data.cost());
            let end = data.end(offset);
            if end <= self.next {
                continue;
            }
            let fresh = within(&data.bytes, offset, self.next, end);
            let missing = end.since(self.next).saturating_sub(fresh.len() as u64);
            let missing = u32::try_from(missing).unwrap_or(u32::MAX);
            self.give(fresh, missing, &data.packet, out);
        }
    }

    /// Gives up the first hole. Returns false when there is none.
    fn skip_hole(&mut self, out: &mut impl FnMut(StreamChunk<'_>)) -> bool {
        if matches!(self.start, Start::Open { .. }) {
            self.start_now();
        }
        let Some((&first, data)) = self.pending.first_key_value() else { return false };
        let packet = data.packet;
        if first > self.next {
            self.give_gap(first.since(self.next), &packet, out);
        }
        self.drain(out);
        true
    }
}

/// Whether an offset is behind the start of a stream, and no further than a window reaches.
fn is_behind(start: TcpOffset, offset: TcpOffset) -> bool {
    offset >= start && offset <= start.plus(LARGEST_HOLE)
}

/// The part of `bytes`, which begin at offset `start`, from offset `from` up to `to`.
fn within(bytes: &[u8], start: TcpOffset, from: TcpOffset, to: TcpOffset) -> &[u8] {
    let index = |offset: TcpOffset| {
        usize::try_from(offset.since(start)).unwrap_or(usize::MAX).min(bytes.len())
    };
    bytes.get(index(from)..index(to)).unwrap_or_default()
}

/// Whether two pieces differ where both have bytes.
fn differ(a_start: TcpOffset, a: &[u8], b_start: TcpOffset, b: &[u8]) -> bool {
    let from = a_start.max(b_start);
    let to = a_start.plus(a.len() as u64).min(b_start.plus(b.len() as u64));
    from < to && within(a, a_start, from, to) != within(b, b_start, from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;

    #[derive(Debug, Eq, PartialEq)]
    enum Out {
        Data(Vec<u8>),
        Gap(u64),
    }

    struct Bench {
        direction: StreamDirection,
        budget: MemoryBudget,
        limits: Limits,
        out: Vec<Out>,
    }

    impl Bench {
        fn new() -> Self {
            let limits = Limits { held_per_direction: 4096, held_total: 8192, ..Limits::default() };
            let budget = MemoryBudget::new(limits.held_total);
            Self { direction: StreamDirection::new(&budget), budget, limits, out: Vec::new() }
        }

        fn push(&mut self, ms: u64, seq: u32, payload: &[u8], missing: u32) -> &mut Self {
            let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(ms * 1_000_000) };
            let piece =
                SegmentData { seq: SeqNum(seq), payload, missing, packet: &packet, ip_id: None };
            let out = &mut self.out;
            self.direction.push(piece, &self.limits, &mut |taken| {
                out.push(match taken.event {
                    StreamEvent::Data(bytes) => Out::Data(bytes.to_vec()),
                    StreamEvent::Gap(bytes) => Out::Gap(bytes),
                });
            });
            self
        }

        fn finish(&mut self) -> Vec<Out> {
            let out = &mut self.out;
            self.direction.finish(&mut |taken| {
                out.push(match taken.event {
                    StreamEvent::Data(bytes) => Out::Data(bytes.to_vec()),
                    StreamEvent::Gap(bytes) => Out::Gap(bytes),
                });
            });
            assert_eq!(self.budget.used(), 0, "everything held was given back");
            std::mem::take(&mut self.out)
        }

        fn text(&mut self) -> String {
            let bytes = self.finish().into_iter().map(|out| match out {
                Out::Data(bytes) => String::from_utf8(bytes).unwrap(),
                Out::Gap(n) => format!("<{n}>"),
            });
            bytes.collect()
        }
    }

    #[test]
    fn order_does_not_matter() {
        let pieces: [(u32, &[u8]); 4] = [(1, b"ab"), (3, b"cd"), (5, b"ef"), (7, b"gh")];
        for first in 0..24_usize {
            let (mut rest, mut bench, mut pick) = (pieces.to_vec(), Bench::new(), first);
            bench.direction.begins_at(SeqNum(1));
            while !rest.is_empty() {
                let n = rest.len();
                let (seq, payload) = rest.remove(pick % n);
                pick /= n;
                bench.push(0, seq, payload, 0);
            }
            assert_eq!(bench.text(), "abcdefgh");
        }
    }

    #[test]
    fn numbers_wrap() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(u32::MAX));
        bench.push(0, 1, b"cd", 0).push(0, u32::MAX, b"ab", 0);
        assert_eq!(bench.text(), "abcd");
    }

    #[test]
    fn first_bytes_win_and_a_conflict_is_counted() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 3, b"cd", 0).push(0, 2, b"BXXE", 0).push(0, 1, b"a", 0);
        assert_eq!(bench.direction.conflicts(), 1);
        assert_eq!(bench.text(), "aBcdE");
    }

    #[test]
    fn a_retransmission_gives_nothing_new_and_is_counted() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 1, b"abc", 0).push(300, 1, b"abc", 0).push(600, 2, b"bcd", 0);
        assert_eq!(bench.direction.retransmitted(), 5);
        assert_eq!((bench.direction.bytes(), bench.text().as_str()), (4, "abcd"));
    }

    #[test]
    fn a_packet_captured_twice_is_no_retransmission() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 1, b"abc", 0).push(1, 1, b"abc", 0);
        assert_eq!(bench.direction.retransmitted(), 0);
        assert_eq!(bench.text(), "abc");
    }

    #[test]
    fn a_syn_drops_what_was_no_byte_behind_it_and_keeps_the_rest() {
        let mut direction = StreamDirection::new(&MemoryBudget::new(1 << 20));
        let limits = Limits::default();
        for (seq, byte) in [(5, b"a"), (101, b"b"), (0x7000_0000, b"c")] {
            let packet =
                PacketRef { frame: FrameRef { input: 0, number: 1 }, at: Timestamp::new(1, 0) };
            let data = SegmentData {
                seq: SeqNum(seq),
                payload: byte,
                missing: 0,
                packet: &packet,
                ip_id: None,
            };
            direction.push(data, &limits, &mut |_| {});
        }
        for _ in 0..2 {
            direction.opens_at(SeqNum(100));
            assert_eq!(direction.pending.len(), 1);
        }
        assert!(direction.is_start_seen());
    }

    #[test]
    fn a_hole_is_reported_once_nothing_can_fill_it() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 1, b"ab", 0).push(0, 5, b"ef", 0);
        assert_eq!(bench.text(), "ab<2>ef");
        assert_eq!((bench.direction.missing(), bench.direction.gaps()), (2, 1));
    }

    #[test]
    fn an_acknowledged_hole_is_given_up_after_its_grace() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 3, b"c", 0);
        assert_eq!(bench.direction.deadline(&bench.limits), None, "it may still be sent again");
        bench.direction.on_ack((SeqNum(4), Timestamp::default()), false, &bench.limits);
        bench.push(999, 4, b"d", 0);
        assert_eq!(bench.out, []);
        bench.push(1000, 5, b"e", 0);
        assert_eq!(bench.text(), "<2>cde");
    }

    #[test]
    fn an_acknowledgement_that_later_ones_fall_short_of_is_taken_back() {
        let acked = |acks: &[(u64, u32)]| {
            let mut bench = Bench::new();
            bench.direction.begins_at(SeqNum(1));
            bench.push(0, 1, b"abcdefgh", 0);
            for (ms, seq) in acks {
                let at = Timestamp(ms * 1_000_000);
                bench.direction.on_ack((SeqNum(*seq), at), false, &bench.limits);
            }
            bench.direction.acked().map(|acked| acked.since(TcpOffset::BASE))
        };
        let forged = [(10, 3), (20, 900), (300, 3), (700, 5), (1299, 5)];
        assert_eq!(acked(&forged), Some(899), "they may have been captured late");
        assert_eq!(acked(&[&forged[..], &[(1300, 5)]].concat()), Some(4));
        assert_eq!(acked(&[&forged[..], &[(1300, 5), (1400, 9)]].concat()), Some(8));
        let late = [(10, 9), (11, 3), (12, 3), (13, 5), (14, 3)];
        assert_eq!(acked(&late), Some(8), "all within a moment");
        assert_eq!(acked(&[(10, 9), (11, 3), (5000, 5)]), Some(8), "two of them");
        let goes_on = [(0, 5), (10, 3), (900, 3), (950, 9), (1100, 3), (1900, 5), (2000, 3)];
        assert_eq!(acked(&goes_on), Some(8), "the highest one goes on");
    }

    #[test]
    fn bytes_cut_by_the_snaplen_are_a_hole() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 1, b"ab", 3).push(0, 6, b"c", 0);
        assert_eq!(bench.text(), "ab<3>c");
    }

    #[test]
    fn a_late_start_waits_for_what_came_before() {
        let mut bench = Bench::new();
        bench.push(0, 5, b"ef", 0).push(1, 3, b"cd", 0).push(2, 1, b"ab", 0);
        assert_eq!(bench.out, []);
        bench.push(250, 7, b"gh", 0);
        assert_eq!(bench.text(), "abcdefgh");
    }

    #[test]
    fn an_acknowledgement_of_the_opening_shows_where_a_stream_begins() {
        let mut bench = Bench::new();
        bench.direction.on_ack((SeqNum(1), Timestamp::default()), true, &Limits::default());
        bench.push(0, 3, b"cd", 0);
        assert_eq!(bench.text(), "<2>cd");
    }

    #[test]
    fn segments_that_were_cut_pass_over_what_waits_in_few_steps() {
        let mut bench = Bench::new();
        bench.limits.held_per_direction = 4 << 20;
        bench.budget = MemoryBudget::new(8 << 20);
        bench.direction = StreamDirection::new(&bench.budget);
        bench.direction.begins_at(SeqNum(1));
        // With and without holes between them, for the first one that was cut fills the holes.
        for n in 0..10_000_u32 {
            bench.push(0, 100 + n * 2 - n % 2, b"x", 0);
        }
        for n in 0..10_000_u32 {
            bench.push(0, 100 + n * 7 % 20_000, b"y", 40_000);
            if n % 16 == 0 {
                bench.push(0, 60_000 + n, b"z", 0);
            }
        }
        assert_eq!(bench.direction.gaps(), 0, "all of it waits");
        let visited = bench.direction.visited;
        assert!(visited < 200_000, "{visited} visits for 20,625 segments");
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "lengths of what the test makes")]
    fn any_order_of_whole_and_cut_segments_gives_what_single_bytes_would() {
        let mut random = 7_u64;
        let mut dice = |sides: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 40) as u32 % sides
        };
        for _ in 0..300 {
            let mut bench = Bench::new();
            bench.limits.held_per_direction = 1 << 20;
            bench.budget = MemoryBudget::new(1 << 20);
            bench.direction = StreamDirection::new(&bench.budget);
            bench.direction.begins_at(SeqNum(1));
            let (mut slots, mut again) = (vec![None; 400], 0);
            for _ in 0..1 + dice(60) {
                let (start, captured) = (dice(200) as usize, 1 + dice(4) as usize);
                let missing = dice(3).saturating_sub(1) as usize * dice(100) as usize;
                let payload = vec![b'a' + dice(26) as u8; captured];
                for (place, slot) in
                    slots.iter_mut().enumerate().skip(start).take(captured + missing)
                {
                    again += u64::from(slot.is_some());
                    slot.get_or_insert(payload.get(place - start).copied());
                }
                let ms = u64::from(dice(5)) * 10;
                bench.push(ms, 1 + start as u32, &payload, missing as u32);
            }
            assert!(bench.direction.retransmitted() <= again, "copies within 2 ms are not counted");
            let last = slots.iter().rposition(Option::is_some).unwrap();
            let (mut wanted, mut hole) = (Vec::new(), 0);
            for slot in &slots[..=last] {
                match slot.flatten() {
                    Some(slot) => wanted.push(slot),
                    None => {
                        hole += 1;
                        wanted.push(b'_');
                    }
                }
            }
            let mut found = Vec::new();
            for out in bench.finish() {
                match out {
                    Out::Data(bytes) => found.extend(bytes),
                    Out::Gap(bytes) => found.extend(vec![b'_'; bytes as usize]),
                }
            }
            assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(wanted).unwrap());
            assert_eq!(bench.direction.missing(), hole);
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        for n in 0..10_000_u32 {
            bench.push(0, 10 + n * 3, b"x", 0);
            assert!(
                bench.budget.used() <= 8192
                    && bench.direction.memory.held() <= 4096 + PENDING_OVERHEAD
            );
        }
        assert!(bench.direction.gaps() > 9_000);
        bench.finish();
    }

    #[test]
    fn bytes_that_differ_from_those_in_front_and_behind_are_two_conflicts() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 3, b"cd", 0).push(0, 6, b"fg", 0);
        // Over the end of the one and the start of the other, and what is the same is no conflict.
        bench.push(1, 4, b"de", 0).push(1, 4, b"def", 0);
        assert_eq!(bench.direction.conflicts(), 0);
        bench.push(2, 4, b"XeY", 0);
        assert_eq!(bench.direction.conflicts(), 2);
        bench.push(3, 1, b"ab", 0);
        assert_eq!(bench.text(), "abcdefg");
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        bench.push(0, 3, b"cd", 0).push(0, 6, b"fg", 0).push(1, 4, b"XeY", 0).push(2, 1, b"ab", 0);
        assert_eq!((bench.direction.conflicts(), &*bench.text()), (2, "abcdefg"));
    }

    #[test]
    fn a_stream_without_its_beginning_starts_after_some_segments() {
        let mut bench = Bench::new();
        let most = bench.limits.start_segments;
        for n in 0..most {
            assert!(bench.out.is_empty(), "{n}");
            bench.push(0, 10 + n, b"x", 0);
        }
        assert_eq!(bench.out.len(), most as usize);
    }

    #[test]
    fn the_beginning_that_a_syn_shows_counts_while_no_byte_was_given() {
        // The first segments came before the SYN.
        let mut bench = Bench::new();
        bench.push(0, 20, b"cd", 0).direction.begins_at(SeqNum(18));
        bench.push(1, 18, b"ab", 0);
        assert_eq!(bench.text(), "abcd");
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(20));
        bench.direction.begins_at(SeqNum(18));
        assert_eq!(bench.push(1, 18, b"abcd", 0).text(), "abcd");
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(20));
        bench.push(1, 20, b"cd", 0).direction.begins_at(SeqNum(18));
        assert_eq!(bench.push(1, 18, b"ab", 0).push(2, 22, b"ef", 0).text(), "cdef");
    }
}
