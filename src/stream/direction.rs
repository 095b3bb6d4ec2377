//! One direction of a TCP connection.

use std::collections::BTreeMap;

use super::SeqNum;
use crate::limits::Limits;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// What comes out of one direction, in stream order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamEvent<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// Bytes that the capture does not have. Readers decide what they can still trust.
    Gap(u64),
}

/// A stretch of a stream, with the packet that brought it and the offset behind it.
#[derive(Clone, Copy, Debug)]
pub struct StreamChunk<'a> {
    /// The packet; for a gap, the one behind it. By reference: a copy of what was just put together waits for its
    /// stores.
    pub mark: &'a PacketRef,
    /// Offset of the byte after this stretch.
    pub end: u64,
    /// The bytes, or their absence.
    pub event: StreamEvent<'a>,
}

/// The part of a segment that concerns its stream.
#[derive(Clone, Copy, Debug)]
pub struct SegmentData<'a> {
    /// Sequence number of the first byte of `payload`.
    pub seq: SeqNum,
    /// Bytes captured.
    pub payload: &'a [u8],
    /// Bytes behind them that were sent and not captured.
    pub missing: u32,
    /// The packet.
    pub mark: &'a PacketRef,
    /// Identification of its IPv4 header.
    pub ip_id: Option<u16>,
}

/// Out-of-order bytes held by all connections together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    used: usize,
}

/// One half of a connection: takes segments in any order, gives the stream.
///
/// Offsets count from the first byte after the SYN, or the first one known of a stream whose
/// SYN was not seen.
#[derive(Debug)]
pub struct StreamDirection {
    start: Start,
    /// Sequence number at offset [`BASE`]; means nothing while `start` is `Unseen`.
    anchor: SeqNum,
    /// Offset of the next byte to hand on. Never above any key of `held`.
    next: u64,
    /// Pieces behind a hole, by offset; they never overlap.
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// When the oldest hole there is was noticed.
    hole_since: Option<Timestamp>,
    /// Offset up to which the other side has acknowledged.
    acked: Option<u64>,
    bytes: u64,
    missing: u64,
    gaps: u64,
    /// Offset at which the first hole that was given up begins.
    first_gap: Option<u64>,
    retransmitted: u64,
    conflicts: u64,
    /// The last pieces that came, to tell a packet captured twice from one sent twice.
    recent: [Option<(SeqNum, Option<u16>, Timestamp)>; 12],
    recent_next: u8,
}

/// What is known of where a stream begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    /// Nothing came yet.
    Unseen,
    /// The SYN was not seen; pieces are held until an earlier one is unlikely.
    Open { since: Timestamp, segments: u32, lowest: u64 },
    /// Settled.
    Known,
}

#[derive(Debug)]
struct Held {
    bytes: Box<[u8]>,
    missing: u32,
    mark: PacketRef,
}

impl Held {
    fn end(&self, offset: u64) -> u64 {
        offset + self.bytes.len() as u64 + u64::from(self.missing)
    }
}

/// What holding one piece costs beside its bytes, about.
const HELD_OVERHEAD: usize = 96;

/// Offset of the first byte: leaves room below for what comes before a late start.
pub(crate) const BASE: u64 = 1 << 32;

/// A copy within this time is the same packet captured twice, where the IP header cannot tell: no
/// sender repeats itself faster.
const DOUBLED_WITHIN_NS: u64 = 2_000_000;

impl Default for StreamDirection {
    fn default() -> Self {
        Self {
            start: Start::Unseen,
            anchor: SeqNum(0),
            next: BASE,
            held: BTreeMap::new(),
            held_bytes: 0,
            hole_since: None,
            acked: None,
            bytes: 0,
            missing: 0,
            gaps: 0,
            first_gap: None,
            retransmitted: 0,
            conflicts: 0,
            recent: [None; 12],
            recent_next: 0,
        }
    }
}

impl StreamDirection {
    /// Distinct bytes seen.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes known to be missing before the current end.
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Holes given up.
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Offset at which the first hole that was given up begins.
    pub const fn first_gap(&self) -> Option<u64> {
        self.first_gap
    }

    /// Bytes that were sent again.
    pub const fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// Overlaps whose two copies differ.
    pub const fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Offset behind the last byte handed on.
    pub const fn end(&self) -> u64 {
        self.next
    }

    /// Whether pieces wait behind a hole, or for the stream to begin.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty()
    }

    /// Offset up to which the other side has acknowledged.
    pub const fn acked(&self) -> Option<u64> {
        self.acked
    }

    /// The offset of a sequence number of this direction; `None` while nothing anchors it.
    #[inline]
    pub fn offset_of(&self, seq: SeqNum) -> Option<u64> {
        if self.start == Start::Unseen {
            return None;
        }
        let here = self.anchor.plus(low_bits(self.next.wrapping_sub(BASE)));
        self.next.checked_add_signed(seq.distance(here))
    }

    /// The SYN of this direction says where its stream begins.
    pub fn begins_at(&mut self, seq: SeqNum) {
        if self.start == Start::Unseen {
            self.anchor = seq;
        } else {
            let Some(offset) = self.offset_of(seq) else { return };
            let is_untouched = self.bytes == 0 && self.missing == 0;
            if matches!(self.start, Start::Open { .. }) || is_untouched && offset < self.next {
                self.next = offset.min(self.held.keys().next().copied().unwrap_or(offset));
            }
        }
        self.start = Start::Known;
    }

    /// The other side acknowledges everything before `seq`. With `opening`, the capture has the opening of
    /// the connection: nothing was sent before it, and the lowest such number is where the stream begins.
    #[inline]
    pub fn on_ack(&mut self, seq: SeqNum, opening: bool, limits: &Limits) {
        if self.bytes == 0 && opening {
            self.on_first_ack(seq);
        }
        let Some(offset) = self.offset_of(seq) else { return };
        // A number far beyond any window is not an acknowledgement of this stream.
        if offset <= self.next.saturating_add(limits.held_per_direction as u64 * 64) {
            self.acked = Some(self.acked.map_or(offset, |known| known.max(offset)));
        }
    }

    #[cold]
    fn on_first_ack(&mut self, seq: SeqNum) {
        if self.offset_of(seq).is_none_or(|offset| offset < self.next) {
            self.begins_at(seq);
        }
    }

    /// Takes a piece in, and hands on what is in order now.
    #[inline(always)]
    pub fn push(
        &mut self,
        piece: SegmentData<'_>,
        limits: &Limits,
        budget: &mut Budget,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if self.start == Start::Unseen {
            self.anchor = piece.seq;
            self.start = Start::Open { since: piece.mark.at, segments: 0, lowest: BASE };
        }
        let Some(offset) = self.offset_of(piece.seq) else { return };
        if self.start == Start::Known && offset == self.next && self.held.is_empty() {
            // Nothing of it came before, so nobody asks whether it is a copy.
            self.remember(&piece);
            let SegmentData { payload, missing, mark, .. } = piece;
            if missing > 0 || payload.is_empty() {
                return self.hand_on(payload, missing, mark, out);
            }
            self.bytes += payload.len() as u64;
            self.next += payload.len() as u64;
            return out(StreamChunk { mark, end: self.next, event: StreamEvent::Data(payload) });
        }
        self.push_out_of_order(offset, &piece, limits, budget, out);
    }

    /// Takes a piece in that is not what comes next, or not alone.
    #[inline(never)]
    fn push_out_of_order(
        &mut self,
        offset: u64,
        piece: &SegmentData<'_>,
        limits: &Limits,
        budget: &mut Budget,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        let doubled = self.is_doubled(piece);
        self.remember(piece);
        if let Start::Open { segments, lowest, .. } = &mut self.start {
            *segments += 1;
            *lowest = (*lowest).min(offset);
        }
        let again = self.hold(offset, piece, budget);
        if !doubled {
            self.retransmitted += again;
        }
        self.settle(piece.mark.at, limits, budget, out);
        while self.held_bytes > limits.held_per_direction || budget.used > limits.held_total {
            if !self.skip_hole(budget, out) {
                break;
            }
        }
    }

    /// When this half wants [`Self::settle`] to be called, if nothing comes before.
    #[inline]
    pub fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let (&first, _) = self.held.first_key_value()?;
        match self.start {
            Start::Open { since, .. } => Some(since.after(limits.start_grace)),
            _ if self.acked? >= first => Some(self.hole_since?.after(limits.hole_grace)),
            _ => None,
        }
    }

    /// Gives up waiting where time has run out, and hands on what is in order.
    pub fn settle(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        budget: &mut Budget,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if let Start::Open { since, segments, .. } = self.start {
            if segments < limits.start_segments && now < since.after(limits.start_grace) {
                return;
            }
            self.start_now();
        }
        self.drain(budget, out);
        if self.deadline(limits).is_some_and(|due| now >= due) {
            self.skip_hole(budget, out);
            self.hole_since = (!self.held.is_empty()).then_some(now);
        } else if self.held.is_empty() {
            self.hole_since = None;
        } else if self.hole_since.is_none() {
            self.hole_since = Some(now);
        }
    }

    /// Nothing more will come: hands on everything, holes and all.
    pub fn finish(&mut self, budget: &mut Budget, out: &mut impl FnMut(StreamChunk<'_>)) {
        if matches!(self.start, Start::Open { .. }) {
            self.start_now();
        }
        self.drain(budget, out);
        while self.skip_hole(budget, out) {}
    }

    /// Drops what is held without handing it on.
    pub fn discard(&mut self, budget: &mut Budget) {
        budget.used -= self.held_bytes;
        self.held_bytes = 0;
        self.held.clear();
    }

    fn start_now(&mut self) {
        if let Start::Open { lowest, .. } = self.start {
            self.next = lowest;
            self.start = Start::Known;
        }
    }

    #[inline(never)]
    fn hand_on(
        &mut self,
        bytes: &[u8],
        missing: u32,
        mark: &PacketRef,
        out: &mut impl FnMut(StreamChunk<'_>),
    ) {
        if !bytes.is_empty() {
            self.bytes += bytes.len() as u64;
            self.next += bytes.len() as u64;
            out(StreamChunk { mark, end: self.next, event: StreamEvent::Data(bytes) });
        }
        if missing > 0 {
            self.lose(u64::from(missing), mark, out);
        }
    }

    fn lose(&mut self, bytes: u64, mark: &PacketRef, out: &mut impl FnMut(StreamChunk<'_>)) {
        self.gaps += 1;
        self.first_gap.get_or_insert(self.next);
        self.missing += bytes;
        self.next += bytes;
        out(StreamChunk { mark, end: self.next, event: StreamEvent::Gap(bytes) });
    }

    /// Keeps what of `piece` is new; the first bytes seen of any offset win. Returns how many were not.
    fn hold(&mut self, offset: u64, piece: &SegmentData<'_>, budget: &mut Budget) -> u64 {
        let floor = if self.start == Start::Known { self.next } else { 0 };
        let captured_end = offset + piece.payload.len() as u64;
        let end = captured_end + u64::from(piece.missing);
        let mut at = offset.max(floor);
        let mut again = at.min(end) - offset;
        if let Some((&before, held)) = self.held.range(..at).next_back() {
            let covered = held.end(before).min(end);
            if covered > at {
                self.conflicts += u64::from(differ(before, &held.bytes, offset, piece.payload));
                again += covered - at;
                at = covered;
            }
        }
        while at < end {
            let (until, covered) = match self.held.range(at..end).next() {
                Some((&next, held)) => {
                    self.conflicts += u64::from(differ(next, &held.bytes, offset, piece.payload));
                    (next, held.end(next).min(end))
                }
                None => (end, end),
            };
            if at < until {
                let stop = until.min(captured_end);
                let bytes: Box<[u8]> = within(piece.payload, offset, at, stop).into();
                let missing =
                    u32::try_from(until - stop.max(at)).unwrap_or(u32::MAX).min(piece.missing);
                let cost = bytes.len() + HELD_OVERHEAD;
                self.held_bytes += cost;
                budget.used += cost;
                self.held.insert(at, Held { bytes, missing, mark: *piece.mark });
            }
            again += covered - until;
            at = covered;
        }
        again
    }

    fn drain(&mut self, budget: &mut Budget, out: &mut impl FnMut(StreamChunk<'_>)) {
        while let Some(entry) = self.held.first_entry() {
            let offset = *entry.key();
            if offset > self.next {
                return;
            }
            let held = entry.remove();
            let cost = held.bytes.len() + HELD_OVERHEAD;
            self.held_bytes -= cost;
            budget.used -= cost;
            let end = held.end(offset);
            if end <= self.next {
                continue;
            }
            let fresh = within(&held.bytes, offset, self.next, end);
            let missing = u32::try_from(end - self.next - fresh.len() as u64).unwrap_or(u32::MAX);
            self.hand_on(fresh, missing, &held.mark, out);
        }
    }

    /// Jumps over the first hole. Returns false when there is none.
    fn skip_hole(&mut self, budget: &mut Budget, out: &mut impl FnMut(StreamChunk<'_>)) -> bool {
        if matches!(self.start, Start::Open { .. }) {
            self.start_now();
        }
        let Some((&first, held)) = self.held.first_key_value() else { return false };
        let mark = held.mark;
        if first > self.next {
            self.lose(first - self.next, &mark, out);
        }
        self.drain(budget, out);
        true
    }

    /// Whether this is a packet that was captured twice, on two interfaces or going in and out.
    fn is_doubled(&self, piece: &SegmentData<'_>) -> bool {
        self.recent.iter().flatten().any(|&(seq, ip_id, at)| {
            seq == piece.seq
                && match (ip_id, piece.ip_id) {
                    (Some(a), Some(b)) if a != 0 || b != 0 => a == b,
                    _ => piece.mark.at.since(at).as_nanos() < u128::from(DOUBLED_WITHIN_NS),
                }
        })
    }

    /// Keeps in mind that `piece` came.
    #[inline]
    fn remember(&mut self, piece: &SegmentData<'_>) {
        let place = usize::from(self.recent_next) % self.recent.len();
        if let Some(place) = self.recent.get_mut(place) {
            *place = Some((piece.seq, piece.ip_id, piece.mark.at));
        }
        self.recent_next = self.recent_next.wrapping_add(1);
    }
}

/// The bytes of `bytes`, which begin at offset `start`, from offset `from` up to `to`.
fn within(bytes: &[u8], start: u64, from: u64, to: u64) -> &[u8] {
    let place = |offset: u64| {
        usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX).min(bytes.len())
    };
    bytes.get(place(from)..place(to)).unwrap_or_default()
}

/// Whether two stretches differ where both have bytes.
fn differ(a_start: u64, a: &[u8], b_start: u64, b: &[u8]) -> bool {
    let from = a_start.max(b_start);
    let to = (a_start + a.len() as u64).min(b_start + b.len() as u64);
    from < to && within(a, a_start, from, to) != within(b, b_start, from, to)
}

/// The low 32 bits: what of an offset a sequence number shows.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^32")]
const fn low_bits(offset: u64) -> u32 {
    offset as u32
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
        budget: Budget,
        limits: Limits,
        out: Vec<Out>,
    }

    impl Bench {
        fn new() -> Self {
            let limits = Limits { held_per_direction: 4096, held_total: 8192, ..Limits::default() };
            Self {
                direction: StreamDirection::default(),
                budget: Budget::default(),
                limits,
                out: Vec::new(),
            }
        }

        fn push(&mut self, ms: u64, seq: u32, payload: &[u8], missing: u32) -> &mut Self {
            let mark = PacketRef { frame: FrameRef::default(), at: Timestamp(ms * 1_000_000) };
            let piece =
                SegmentData { seq: SeqNum(seq), payload, missing, mark: &mark, ip_id: None };
            let out = &mut self.out;
            self.direction.push(piece, &self.limits, &mut self.budget, &mut |taken| {
                out.push(match taken.event {
                    StreamEvent::Data(bytes) => Out::Data(bytes.to_vec()),
                    StreamEvent::Gap(bytes) => Out::Gap(bytes),
                });
            });
            self
        }

        fn finish(&mut self) -> Vec<Out> {
            let out = &mut self.out;
            self.direction.finish(&mut self.budget, &mut |taken| {
                out.push(match taken.event {
                    StreamEvent::Data(bytes) => Out::Data(bytes.to_vec()),
                    StreamEvent::Gap(bytes) => Out::Gap(bytes),
                });
            });
            assert_eq!(self.budget.used, 0, "everything held was given back");
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
    fn a_hole_is_told_once_nothing_can_fill_it() {
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
        bench.direction.on_ack(SeqNum(4), false, &bench.limits);
        bench.push(999, 4, b"d", 0);
        assert_eq!(bench.out, []);
        bench.push(1000, 5, b"e", 0);
        assert_eq!(bench.text(), "<2>cde");
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
        bench.direction.on_ack(SeqNum(1), true, &Limits::default());
        bench.push(0, 3, b"cd", 0);
        assert_eq!(bench.text(), "<2>cd");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut bench = Bench::new();
        bench.direction.begins_at(SeqNum(1));
        for n in 0..10_000_u32 {
            bench.push(0, 10 + n * 3, b"x", 0);
            assert!(
                bench.budget.used <= 8192 && bench.direction.held_bytes <= 4096 + HELD_OVERHEAD
            );
        }
        assert!(bench.direction.gaps() > 9_000);
        bench.finish();
    }
}
