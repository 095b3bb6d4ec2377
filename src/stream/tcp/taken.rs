//! Which RST and FIN segments their receiver took.
//!
//! A receiver drops an RST whose sequence number is not the next one that it expects, and goes on (RFC 9293, section
//! 3.10.7.4; RFC 5961, section 3.2). In: what such a segment has, and what both sides send behind it. Out: whether it
//! closes the connection, may close it, or closes nothing.

use std::fmt;
use std::time::Duration;

use super::close::{Fin, Rst};
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
    own: TcpOffset,
    /// The end of the stream of the other side.
    peer: TcpOffset,
    /// What the other side had acknowledged.
    acked: Option<TcpOffset>,
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
        let is_next = offset == end || offset == end.plus(1) || own.stream.acked() == Some(offset);
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
        let is_doubtful = side.doubtful_rst.is_some();
        let Some(rst) = side.doubtful_rst.or(side.rst) else { return false };
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
            segment.at > rst.mark.at.after(ROUND_TRIP)
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

    /// Whether a segment took the way of those before it, and has a checksum that is not wrong where theirs were right.
    pub(crate) fn is_usual(&self, segment: &Segment<'_>) -> bool {
        let side = self.side(segment.direction);
        side.has_usual_ttl(segment.ttl)
            && !(side.has_right_checksum && segment.checksum() == ChecksumState::Wrong)
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

/// Windows do not grow before data has flowed.
const HANDSHAKE_WINDOW: u64 = 1 << 20;

/// No segment is under way for longer.
const ROUND_TRIP: Duration = Duration::from_secs(1);
