//! The close of a TCP connection: which side closed first, and what that side had received by then.
//!
//! In: the FIN and RST segments of both sides. Out: [`FirstClose`], and whether bytes are missing up to the close.

use std::time::Duration;

use super::taken::Extent;
use super::{COPIED_WITHIN, TcpConnection, TcpDirection};
use crate::flow::Direction;
use crate::limits::Limits;
use crate::packet::PacketRef;
use crate::stream::{SeqNum, TcpOffset};
use crate::time::Timestamp;

/// The FIN of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fin {
    /// Sequence number of the FIN itself.
    pub(super) seq: SeqNum,
    /// Lowest acknowledgement number of any copy: what the sender had received when it closed.
    ack: Option<SeqNum>,
    /// The earliest copy of the packet, by capture time.
    pub(super) mark: PacketRef,
    /// Whether the FIN was retransmitted, as opposed to captured twice.
    pub(super) again: bool,
    /// How far both streams had come.
    pub(super) extent: Extent,
}

/// The first RST of one side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rst {
    pub(super) seq: SeqNum,
    pub(super) ack: Option<SeqNum>,
    pub(super) mark: PacketRef,
    /// How far both streams had come.
    pub(super) extent: Extent,
    /// Whether it has the time to live of the segments of its side before it.
    pub(super) is_usual: bool,
    /// Whether its number is one past what its side has sent, as behind a FIN that the capture lacks.
    pub(super) is_past_end: bool,
}

impl Rst {
    /// What its sender had received. A host without the connection acknowledges what it did not take in, with sequence
    /// number 0 (RFC 9293, section 3.5.2, group 1).
    fn received(&self) -> Option<SeqNum> {
        self.ack.filter(|_| self.seq != SeqNum(0))
    }
}

/// The flag of the segment with which a side closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClosingFlag {
    /// The side sends no more data, and still receives.
    Fin,
    /// The side drops the connection at once.
    Rst,
}

/// The first close of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FirstClose {
    /// The side that closed; `None` if both did and the capture does not show which one was first.
    pub(crate) by: Option<Direction>,
    /// The flag of the closing segment.
    pub(crate) kind: ClosingFlag,
    /// The packet with the closing segment.
    pub(crate) mark: PacketRef,
    /// Offset up to which the closing side had received the stream of the other; `None` if its RST does not show it.
    pub(crate) received: Option<TcpOffset>,
    /// Whether it is the RST of a host that does not know the connection: such an RST answers a segment and has no
    /// acknowledgement (RFC 9293, section 3.5.2, group 3).
    pub(crate) is_answer: bool,
}

impl TcpConnection {
    /// The first close. If both sides closed, their acknowledgement numbers decide which one was first.
    #[inline]
    pub(crate) fn first_close(&self) -> Option<FirstClose> {
        // One branch, because this runs after every segment.
        if self.has_closed { self.first_of_closes() } else { None }
    }

    fn first_of_closes(&self) -> Option<FirstClose> {
        let close = |direction: Direction| self.close_of(direction);
        match (close(Direction::LowToHigh), close(Direction::HighToLow)) {
            (None, None) => None,
            (Some(only), None) => Some(self.unless_other_closed_unseen(only, Direction::LowToHigh)),
            (None, Some(only)) => Some(self.unless_other_closed_unseen(only, Direction::HighToLow)),
            (Some(up), Some(down)) => Some(self.first_of_two(up, down)),
        }
    }

    fn first_of_two(&self, up: FirstClose, down: FirstClose) -> FirstClose {
        // An acknowledgement beyond the FIN of the other side shows that its sender had received that FIN.
        let had_received_fin = |close: &FirstClose, of: Direction| {
            close.received.zip(self.fin_at(of)).is_some_and(|(received, fin)| received > fin)
        };
        let (first, second, direction) = if up.mark.frame <= down.mark.frame {
            (up, down, Direction::HighToLow)
        } else {
            (down, up, Direction::LowToHigh)
        };
        if had_received_fin(&up, Direction::HighToLow) {
            down
        } else if had_received_fin(&down, Direction::LowToHigh) {
            up
        } else if second.kind == ClosingFlag::Rst && self.fin_unseen(direction) {
            // The capture lacks the FIN before this RST, which may have come before the close of the other side.
            FirstClose { by: None, ..first }
        } else {
            first
        }
    }

    /// Offset of the FIN of `direction`, even if the capture lacks that FIN.
    fn fin_at(&self, direction: Direction) -> Option<TcpOffset> {
        let side = self.side(direction);
        match side.fin {
            Some(fin) => side.stream.offset_of(fin.seq),
            None => self.fin_unseen(direction).then(|| side.stream.end()),
        }
    }

    /// The only close seen, in a capture that may lack another. If `close` acknowledges one past the end of the other
    /// side, the capture lost a FIN of that side, and then it is not known which side closed first.
    fn unless_other_closed_unseen(&self, close: FirstClose, direction: Direction) -> FirstClose {
        let other = self.side(direction.reverse());
        match close.received {
            Some(received) if received == other.stream.end().plus(1) => {
                FirstClose { by: None, ..close }
            }
            _ => close,
        }
    }

    fn close_of(&self, direction: Direction) -> Option<FirstClose> {
        let side = self.side(direction);
        let peer = &self.side(direction.reverse()).stream;
        let received = |ack: Option<SeqNum>| ack.and_then(|ack| peer.offset_of(ack));
        let by = Some(direction);
        if let Some(fin) = side.fin.filter(|fin| side.is_reached(fin)) {
            let kind = ClosingFlag::Fin;
            let received = received(fin.ack);
            return Some(FirstClose { by, kind, mark: fin.mark, received, is_answer: false });
        }
        let rst = side.rst?;
        let (kind, is_answer) = (ClosingFlag::Rst, rst.ack.is_none());
        Some(FirstClose { by, kind, mark: rst.mark, received: received(rst.ack), is_answer })
    }

    /// Whether `direction` sent a FIN that the capture lacks: the sequence number of its RST, or an acknowledgement
    /// of the other side, is one past its end.
    pub(crate) fn fin_unseen(&self, direction: Direction) -> bool {
        let side = self.side(direction);
        let past_end = Some(side.stream.end().plus(1));
        side.fin.is_none()
            && !side.stream.is_waiting()
            && (side.stream.acked() == past_end
                || side.rst.is_some_and(|rst| {
                    rst.seq != SeqNum(0) && side.stream.offset_of(rst.seq) == past_end
                }))
    }

    /// Whether no side has closed and no segment waits behind a hole.
    #[inline]
    pub(crate) fn flows(&self) -> bool {
        !self.has_closed
            && !self.sides.low_to_high.stream.is_waiting()
            && !self.sides.high_to_low.stream.is_waiting()
    }

    /// Whether both sides have closed and no segment is missing that may still come. An RST is believed when nothing has
    /// come for a moment that shows otherwise.
    #[inline]
    pub(crate) fn is_over(&self, now: Timestamp, limits: &Limits) -> bool {
        self.has_closed && self.is_settled(now, limits)
    }

    fn is_settled(&self, now: Timestamp, limits: &Limits) -> bool {
        let is_believed = |mark: PacketRef| now >= mark.at.after(limits.close_grace);
        let done = |direction: Direction| {
            let side = self.side(direction);
            side.fin.is_some_and(|fin| side.stream.offset_of(fin.seq) == Some(side.stream.end()))
        };
        if self.is_short(Direction::LowToHigh) || self.is_short(Direction::HighToLow) {
            return false;
        }
        let resets = || self.sides.each().into_iter().filter_map(|side| side.rst);
        // The other side answers nothing but resets, or its packets had the usual time to live.
        let is_sure = |rst: Rst| rst.is_usual || is_believed(rst.mark);
        let reset = resets().any(is_sure) || resets().count() == 2;
        done(Direction::LowToHigh) && done(Direction::HighToLow)
            || reset
                && !self.fin_unseen(Direction::LowToHigh)
                && !self.fin_unseen(Direction::HighToLow)
    }

    /// Whether bytes that `direction` is known to have sent are missing, or have not come yet.
    pub(crate) fn is_short(&self, direction: Direction) -> bool {
        let stream = &self.side(direction).stream;
        stream.is_waiting() || self.sent_end(direction) > stream.end()
    }

    /// Number of bytes known to be missing from `direction`, including those before its close.
    pub(crate) fn missing(&self, direction: Direction) -> u64 {
        let stream = &self.side(direction).stream;
        stream.missing() + self.sent_end(direction).since(stream.end())
    }

    /// Whether the capture has all that `direction` sent before offset `until`, or at all if `until` is `None`.
    pub(crate) fn is_whole(&self, direction: Direction, until: Option<TcpOffset>) -> bool {
        let stream = &self.side(direction).stream;
        let until = {
            let sent = self.sent_end(direction).max(stream.end());
            until.map_or(sent, |until| until.min(sent))
        };
        stream.first_gap().is_none_or(|gap| gap >= until) && stream.end() >= until
    }

    /// Offset up to which `direction` is known to have sent bytes: that of its FIN or RST, or the highest
    /// acknowledgement of the other side, that of its RST included.
    fn sent_end(&self, direction: Direction) -> TcpOffset {
        let side = self.side(direction);
        let end = side.stream.end();
        if let Some(fin) = side.fin.and_then(|fin| side.stream.offset_of(fin.seq)) {
            return fin.max(end);
        }
        let rst = side.rst.filter(|rst| rst.seq != SeqNum(0));
        let rst = rst.and_then(|rst| side.stream.offset_of(rst.seq)).unwrap_or(end);
        let known = rst.max(side.stream.acked().unwrap_or(end)).max(end);
        let reset = self.side(direction.reverse()).rst.and_then(|rst| rst.received());
        let received = reset.and_then(|ack| side.stream.offset_of(ack)).unwrap_or(end);
        let known = if received.since(end) <= LARGEST_WINDOW { known.max(received) } else { known };
        // One past the end is the sequence number of a FIN that the capture lacks, and no byte.
        if known == end.plus(1) { end } else { known }
    }
}

impl TcpDirection {
    /// The sequence number of its first byte, as its SYN or an acknowledgement before it shows it.
    pub(crate) fn start(&self) -> Option<u32> {
        let by_syn = self.syn.map(|syn| syn.isn.0.wrapping_add(1));
        by_syn.or_else(|| self.stream.base().filter(|_| self.stream.is_start_seen()))
    }

    /// Whether no bytes came behind a FIN, and nothing is missing before it, or the other side has acknowledged that far, or
    /// nothing follows. Else it may not be of its sender.
    fn is_reached(&self, fin: &Fin) -> bool {
        let Some(at) = self.stream.offset_of(fin.seq) else { return false };
        let (end, acked) = (self.stream.highest(), self.stream.acked());
        if at < end && fin.extent.is_before(end) {
            // Bytes came behind it. If it was acknowledged, those were not taken.
            return fin.extent.is_end(at) && acked == Some(at.plus(1));
        }
        at <= end || self.is_finished || acked >= Some(at)
    }

    /// Capture time of its FIN, or else of its RST.
    pub(crate) fn closed_at(&self) -> Option<Timestamp> {
        let fin = self.fin.filter(|fin| self.is_reached(fin)).map(|fin| fin.mark.at);
        fin.or_else(|| Some(self.rst?.mark.at))
    }

    /// Whether it has sent a FIN or RST.
    #[inline]
    pub(crate) const fn has_closed(&self) -> bool {
        self.fin.is_some() || self.rst.is_some()
    }

    /// Whether it has sent both a FIN and an RST: something came after it had closed.
    pub(crate) const fn has_reset_after_fin(&self) -> bool {
        self.fin.is_some() && self.rst.is_some()
    }

    /// Takes in a FIN, or another copy of it.
    pub(super) fn on_fin(
        &mut self,
        seq: SeqNum,
        ack: Option<SeqNum>,
        mark: PacketRef,
        extent: Extent,
    ) {
        match &mut self.fin {
            None => self.fin = Some(Fin { seq, ack, mark, again: false, extent }),
            // The other one came before bytes of its sender, or behind a hole that the sender did not leave.
            Some(fin)
                if fin.seq != seq && self.stream.offset_of(seq) >= Some(self.stream.highest()) =>
            {
                *fin = Fin { seq, ack, mark, again: false, extent };
            }
            Some(fin) => {
                let (earlier, later) =
                    if mark.at < fin.mark.at { (mark, fin.mark) } else { (fin.mark, mark) };
                fin.again |= later.at.since(earlier.at) >= COPIED_WITHIN;
                fin.mark = earlier;
                if let (Some(known), Some(ack)) = (fin.ack, ack)
                    && ack.distance(known) < 0
                {
                    fin.ack = Some(ack);
                }
            }
        }
    }
}

/// The true answer to a SYN comes within a round trip.
pub(crate) const REFUSAL_GRACE: Duration = Duration::from_millis(100);

/// No side has more bytes under way (RFC 7323, section 2.3): a number further on is no acknowledgement.
const LARGEST_WINDOW: u64 = 1 << 30;
