//! Which RST and FIN segments their receiver took.
//!
//! A receiver drops an RST whose sequence number is not the next one that it expects, and goes on (RFC 9293, section
//! 3.10.7.4; RFC 5961, section 3.2). In: what such a segment has, and what both sides send behind it. Out: whether it
//! closes the connection, may close it, or closes nothing.

use std::fmt;
use std::time::Duration;

use super::close::{Fin, REFUSAL_GRACE, Rst};
use super::{TcpConnection, TcpDirection};
use crate::decode::{ChecksumState, Segment, TcpFlags};
use crate::flow::Direction;
use crate::packet::PacketRef;
use crate::stream::direction::LARGEST_HOLE;
use crate::stream::{SeqNum, TcpOffset};
use crate::time::Timestamp;

/// What the receiver of an RST does with it, as far as the segments before it show that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RstFate {
    /// It closes the connection.
    Taken,
    /// What follows shows whether it does.
    Doubtful,
    /// The receiver drops it.
    Dropped,
}

/// How far both streams had come when a side closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The end of the stream of the side that closed.
    pub(super) own: TcpOffset,
    /// The end of the stream of the other side.
    pub(super) peer: TcpOffset,
    /// What the other side had acknowledged.
    pub(super) acked: Option<TcpOffset>,
}

impl Extent {
    /// Whether the side had sent all bytes up to this offset, and none behind it.
    pub(super) fn is_end(&self, offset: TcpOffset) -> bool {
        self.own == offset
    }

    /// Whether the side had not sent all bytes up to this offset.
    pub(super) fn is_before(&self, offset: TcpOffset) -> bool {
        self.own < offset
    }
}

/// The segments that their receiver did not take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotTaken {
    /// The first of them.
    pub(crate) first: PacketRef,
    /// What it is, and why it counts for nothing.
    pub(crate) what: &'static str,
    /// Number of such segments.
    pub(crate) count: u64,
}

impl TcpConnection {
    /// What becomes of an RST that comes from `direction`, and has this time to live.
    pub(super) fn fate(&self, direction: Direction, rst: &Rst, ttl: u8) -> RstFate {
        let (own, peer) = (self.side(direction), self.side(direction.reverse()));
        if let (None, Some(syn), false) = (own.syn, peer.syn, own.stream.is_begun()) {
            // In SYN-SENT it has to acknowledge the SYN, or the bytes behind it.
            let acks_syn = |ack: SeqNum| {
                let beyond = ack.distance(syn.isn);
                beyond == 1 || beyond > 1 && peer.stream.bytes() > 0
            };
            let is_first = peer.after_syn.is_none();
            return match rst.ack {
                Some(ack) if acks_syn(ack) => RstFate::Taken,
                _ if is_first => RstFate::Dropped,
                _ => RstFate::Taken,
            };
        }
        let Some(offset) = own.stream.offset_of(rst.seq) else { return RstFate::Taken };
        if !own.stream.is_begun() || own.fin.is_some() {
            return RstFate::Taken;
        }
        let end = own.stream.highest();
        // One past the end is the next one behind a FIN that the capture lacks: what follows shows whether it does.
        let is_next = offset == end || own.stream.acked() == Some(offset);
        let is_old = own.stream.acked().is_some_and(|acked| offset < acked);
        // A host without the connection answers what does not acknowledge anything with sequence number 0.
        let is_answer = rst.seq == SeqNum(0) && rst.ack.is_some();
        if !is_answer && (is_old || offset > end.plus(LARGEST_HOLE)) {
            RstFate::Dropped
        } else if is_next && own.has_usual_ttl(ttl) {
            RstFate::Taken
        } else {
            RstFate::Doubtful
        }
    }

    /// Whether an RST of `direction` is the answer of a closed port to the SYN of the other side: sequence number 0, and an
    /// acknowledgement of the SYN (RFC 9293, section 3.10.7.1). Then no connection was open, also where a SYN-ACK came
    /// beside it that the other side never acknowledged.
    pub(super) fn refuses_syn(
        &self,
        direction: Direction,
        seq: SeqNum,
        ack: Option<SeqNum>,
    ) -> bool {
        let (own, peer) = (self.side(direction), self.side(direction.reverse()));
        (own.syn.is_none() || peer.after_syn.is_none())
            && seq == SeqNum(0)
            && own.stream.bytes() == 0
            && peer.syn.is_some_and(|syn| ack == Some(syn.isn.plus(1)))
    }

    /// The RST with which a closed port has answered the SYN.
    pub(super) fn refusal(&self) -> Option<PacketRef> {
        [Direction::LowToHigh, Direction::HighToLow].into_iter().find_map(|direction| {
            let rst = self.side(direction).rst?;
            self.refuses_syn(direction, rst.seq, rst.ack).then_some(rst.mark)
        })
    }

    /// Notes how far both streams have come when a FIN or RST of `direction` comes.
    pub(super) fn extent(&self, direction: Direction) -> Extent {
        let (own, peer) = (&self.side(direction).stream, &self.side(direction.reverse()).stream);
        Extent { own: own.highest(), peer: peer.highest(), acked: own.acked() }
    }

    /// Takes back a FIN or RST if `segment`, which comes behind it, shows that its receiver did not take it.
    #[cold] // behind a close
    pub(crate) fn refute_close(&mut self, segment: &Segment<'_>) {
        if !segment.flags.has(TcpFlags::ACK) || segment.flags.has(TcpFlags::RST) {
            return;
        }
        for closer in [segment.direction, segment.direction.reverse()] {
            if self.is_rst_refuted(closer, segment) {
                let side = &mut self.sides[closer];
                let rst = side.doubtful_rst.take().or_else(|| side.rst.take());
                if let Some(rst) = rst {
                    self.note_not_taken(rst.mark, "an RST, behind which the connection went on");
                }
            }
            if closer != segment.direction
                && let Some(fin) = self.side(closer).fin
                && self.acknowledges_beyond(segment, Some(fin.seq), fin.extent.own)
            {
                self.sides[closer].fin = None;
                self.note_not_taken(fin.mark, "a FIN, behind which its sender sent more");
            }
        }
        self.update_closed();
    }

    fn update_closed(&mut self) {
        let is_closing = |side: &TcpDirection| side.has_closed() || side.doubtful_rst.is_some();
        self.has_closed = self.sides.each().into_iter().any(is_closing);
    }

    fn is_rst_refuted(&self, closer: Direction, segment: &Segment<'_>) -> bool {
        let side = self.side(closer);
        let Some(rst) = side.doubtful_rst.or(side.rst) else { return false };
        // One past the end may be the number of its sender.
        let is_doubtful = side.doubtful_rst.is_some() && !rst.is_past_end;
        let receiver = closer.reverse();
        let Extent { own, peer, acked } = rst.extent;
        if segment.direction == receiver {
            let is_same_again = |ack: TcpOffset| Some(ack) == acked && !segment.has_bytes();
            let ack = side.stream.offset_of(SeqNum(segment.ack));
            // The number of a doubtful one is not that of its sender.
            let seq = (!is_doubtful).then_some(rst.seq);
            let is_fin_behind = |fin: Fin| fin.mark.frame > rst.mark.frame && ack > Some(own);
            // A receiver acknowledges once more what it had, when it drops an RST that is not the next segment (RFC 5961,
            // section 3.2).
            self.acknowledges_beyond(segment, seq, own)
                || side.fin.is_some_and(is_fin_behind)
                || is_doubtful
                    && segment.at >= rst.mark.at
                    && SeqNum(segment.ack) != rst.seq
                    && ack.is_some_and(is_same_again)
        } else {
            let acked = self.side(receiver).stream.offset_of(SeqNum(segment.ack));
            let is_alone = self.side(receiver).segments == 0;
            let sent = side.stream.offset_of(SeqNum(segment.seq));
            // The number of a doubtful one is not that of its sender, which needs less to show that it goes on.
            let reordered = if is_doubtful { REFUSAL_GRACE } else { ROUND_TRIP };
            segment.at > rst.mark.at.after(reordered)
                && acked.is_some_and(|acked| acked > peer.plus(1))
                || is_alone && segment.has_bytes() && sent.is_some_and(|sent| sent >= own)
        }
    }

    /// Whether `segment` acknowledges bytes that the other side sent behind a FIN or RST: more than it had sent by then,
    /// and more than the sequence number of that segment.
    fn acknowledges_beyond(
        &self,
        segment: &Segment<'_>,
        seq: Option<SeqNum>,
        sent: TcpOffset,
    ) -> bool {
        let stream = &self.side(segment.direction.reverse()).stream;
        let closed = seq.and_then(|seq| stream.offset_of(seq));
        let beyond = closed.map_or(sent, |at| at.max(sent)).plus(1);
        // No more than it really sent: a number far off acknowledges nothing.
        stream
            .offset_of(SeqNum(segment.ack))
            .is_some_and(|ack| ack > beyond && ack <= stream.highest().plus(1))
    }

    /// When a doubtful RST is believed, unless a segment shows that it was not taken.
    pub(super) fn doubt_ends(&self, grace: Duration) -> Option<Timestamp> {
        let since = |side: &TcpDirection| side.doubtful_rst.map(|rst| rst.mark.at.after(grace));
        self.sides.each().into_iter().filter_map(since).min()
    }

    /// Believes the doubtful RST of `direction`: nothing came that shows otherwise.
    pub(super) fn believe_rst(&mut self, direction: Direction) {
        let side = &mut self.sides[direction];
        if let Some(rst) = side.doubtful_rst.take() {
            side.rst.get_or_insert(rst);
        }
    }

    /// Takes over what is known of the way of the packets of `before`, which is the same connection.
    pub(crate) fn take_over(&mut self, before: &mut Self) {
        self.not_taken = before.not_taken.take();
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            self.sides[direction].has_right_checksum |= before.sides[direction].has_right_checksum;
        }
    }

    /// Whether a segment took the way of those before it, has a checksum that is not wrong where theirs were right, and is
    /// not too old.
    pub(crate) fn is_usual(&self, segment: &Segment<'_>) -> bool {
        let side = self.side(segment.direction);
        side.has_usual_ttl(segment.ttl)
            && !(side.has_right_checksum && segment.checksum() == ChecksumState::Wrong)
            && !self.is_too_old(segment)
    }

    /// Whether it may go on when a SYN with other sequence numbers comes.
    pub(crate) fn may_go_on(&self) -> bool {
        let sides = self.sides.each();
        let is_open = sides.iter().all(|side| side.syn.is_some());
        is_open || sides.into_iter().any(|side| side.stream.bytes() > 0)
    }

    /// Whether `segment` has a sequence number near those that `direction` has reached.
    pub(crate) fn is_near(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let stream = &self.side(direction).stream;
        let end = stream.highest();
        stream.offset_of(SeqNum(segment.seq)).is_some_and(|offset| {
            offset <= end.plus(LARGEST_HOLE) && offset >= end.minus(LARGEST_HOLE)
        })
    }

    /// Whether the receiver of a segment drops it, whatever its bytes are. `is_early` in the first segments of a connection,
    /// of which no side has sent much.
    pub(crate) fn is_dropped(&mut self, segment: &Segment<'_>, is_early: bool) -> bool {
        let flags = segment.flags;
        let is_neither_syn_nor_rst = !flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::RST);
        let why = if flags.is_never_taken() {
            "a segment without an acknowledgement"
        } else if is_early && self.acknowledges_other_bytes(segment) {
            "a segment that acknowledges what was not sent"
        } else if self.is_other_syn_ack(segment) {
            "a SYN-ACK that acknowledges another SYN"
        } else if self.has_closed && self.is_behind_fin(segment) {
            "a segment behind a FIN"
        } else if segment.flags.has(TcpFlags::FIN) && self.is_far_off(segment) {
            "a FIN beyond the window of the receiver"
        } else if self.has_closed && is_neither_syn_nor_rst && self.refusal().is_some() {
            "a segment of a connection that was refused"
        } else {
            return false;
        };
        self.note_not_taken(PacketRef { frame: segment.frame, at: segment.at }, why);
        true
    }

    /// Whether the acknowledgement of a segment is none of what the other side has sent, or may have sent in a handshake
    /// where the capture lacks it. A receiver drops the segment (RFC 5961, section 5.2).
    fn acknowledges_other_bytes(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.is_plain() && !segment.flags.has(TcpFlags::FIN)
            || segment.flags.has(TcpFlags::RST)
        {
            return false;
        }
        let peer = self.side(segment.direction.reverse());
        let Some(syn) = peer.syn else { return false };
        let highest = peer.stream.highest().max(peer.stream.acked().unwrap_or_default());
        let start = peer.stream.offset_of(syn.isn.plus(1));
        let ack = peer.stream.offset_of(SeqNum(segment.ack));
        ack.zip(start).is_some_and(|(ack, start)| {
            ack < start.minus(HANDSHAKE_WINDOW) || ack > highest.plus(HANDSHAKE_BYTES)
        })
    }

    /// Whether a segment is a SYN-ACK that does not acknowledge the SYN of the other side, while the connection is open: that
    /// side drops it (RFC 9293, section 3.10.7.3, first step, and section 3.10.7.4).
    pub(super) fn is_other_syn_ack(&self, segment: &Segment<'_>) -> bool {
        let is_syn_ack = segment.flags.has(TcpFlags::SYN) && segment.flags.has(TcpFlags::ACK);
        is_syn_ack
            && !self.has_closed
            && self.side(segment.direction.reverse()).syn.is_some_and(|syn| {
                let behind = SeqNum(segment.ack).distance(syn.isn.plus(1));
                // With TCP Fast Open it acknowledges bytes too (RFC 7413).
                !(0..=MOST_SYN_BYTES).contains(&behind)
            })
    }

    /// When bytes of `direction` came for which this FIN leaves no place, and which the other side has not acknowledged. In a
    /// FIN of that direction: they were not of that sender. In one of the other side: it closed without them. `Some(None)` if
    /// they came too long ago.
    #[cold] // at the close
    pub(crate) fn not_before(
        &self,
        fin: &Segment<'_>,
        direction: Direction,
    ) -> Option<Option<Timestamp>> {
        let stream = &self.side(direction).stream;
        let is_own = fin.direction == direction;
        let sent = u32::try_from(fin.payload.len()).unwrap_or(u32::MAX).saturating_add(fin.missing);
        let seq = if is_own { SeqNum(fin.seq).plus(sent) } else { SeqNum(fin.ack) };
        let offset = stream.offset_of(seq)?;
        let is_taken = stream.acked() > Some(offset.plus(is_own.into()));
        (offset < stream.end() && !is_taken).then(|| stream.sent_at(seq))
    }

    /// Since when bytes of its direction were not of its sender, if `segment`, which repeats some of them, comes when no
    /// system would: a retransmission waits for a round trip, and then for twice the time before (RFC 6298, section 5.5).
    /// Where it is not known any more when those bytes came first, all are doubted, but for the sake of a tick alone.
    #[cold] // few segments repeat bytes
    pub(crate) fn sent_by_another_since(&self, segment: &Segment<'_>) -> Option<Timestamp> {
        let resent = self.side(segment.direction).stream.resent()?;
        let times = resent.sent.saturating_sub(1).min(MOST_DOUBLINGS);
        let longest = ROUND_TRIP * ((1 << times) - 1);
        if resent.last.frame != segment.frame {
            None
        } else if resent.first == segment.at {
            segment.payload.iter().all(|byte| *byte == 0).then(Timestamp::default)
        } else {
            (segment.at > resent.first.after(longest)).then_some(resent.first)
        }
    }

    /// Whether the bytes or the FIN of a segment are behind another FIN of its sender, before which nothing is missing. If
    /// that FIN was not of the sender, its bytes would go on with the sequence number of the FIN.
    fn is_behind_fin(&self, segment: &Segment<'_>) -> bool {
        let side = self.side(segment.direction);
        let end = Some(side.stream.end());
        (segment.has_bytes() || segment.flags.has(TcpFlags::FIN))
            && side.fin.is_some_and(|fin| side.stream.offset_of(fin.seq) == end)
            && side.stream.offset_of(SeqNum(segment.seq)) > end
            && side.stream.acked() <= Some(side.stream.end().plus(1))
    }

    /// Whether a segment is further on than any window reaches.
    fn is_far_off(&self, segment: &Segment<'_>) -> bool {
        let stream = &self.side(segment.direction).stream;
        let end = stream.highest().max(stream.acked().unwrap_or_default());
        let offset = stream.offset_of(SeqNum(segment.seq));
        stream.is_start_seen() && offset.is_some_and(|offset| offset > end.plus(LARGEST_HOLE))
    }

    /// Whether the bytes of a segment are further on than any window of a handshake reaches.
    pub(super) fn is_beyond_window(&self, segment: &Segment<'_>) -> bool {
        let stream = &self.side(segment.direction).stream;
        let end = stream.highest().max(stream.acked().unwrap_or_default());
        let offset = stream.offset_of(SeqNum(segment.seq));
        offset.is_some_and(|offset| offset > end.plus(HANDSHAKE_WINDOW))
    }

    /// Whether a side has closed, or may have.
    #[inline]
    pub(crate) const fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Counts a segment that its receiver did not take.
    pub(crate) fn note_not_taken(&mut self, mark: PacketRef, what: &'static str) {
        match &mut self.not_taken {
            Some(known) => known.count += 1,
            None => self.not_taken = Some(Box::new(NotTaken { first: mark, what, count: 1 })),
        }
    }

    /// The segments that their receiver did not take, unless they were reported.
    pub(crate) fn take_not_taken(&mut self) -> Option<Box<NotTaken>> {
        self.not_taken.take()
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, what, count } = self;
        write!(f, "frame {} is left out: {what}", first.frame.number)?;
        match count {
            0 | 1 => Ok(()),
            2 => write!(f, "; and another packet of this connection"),
            more => write!(f, "; and {} more packets of this connection", more - 1),
        }
    }
}

impl TcpDirection {
    /// Whether a packet with this time to live took the way of those before it, as far as that is known.
    pub(super) const fn has_usual_ttl(&self, ttl: u8) -> bool {
        self.ttl == 0 || ttl == 0 || self.ttl == ttl
    }
}

/// Retransmissions after which the time to the next one does not grow: that of Linux is two minutes at most.
const MOST_DOUBLINGS: u32 = 7;

/// Windows do not grow before data has flowed.
const HANDSHAKE_WINDOW: u64 = 1 << 20;

/// Bytes that a SYN has at most.
const MOST_SYN_BYTES: i64 = 1 << 16;

/// No side sends more in a handshake before the other side acknowledges it.
const HANDSHAKE_BYTES: u64 = 1 << 16;

/// No segment is under way for longer.
pub(super) const ROUND_TRIP: Duration = Duration::from_secs(1);
