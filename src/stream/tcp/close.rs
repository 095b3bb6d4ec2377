//! How a TCP connection was closed: by whom first, and what that side had received by then.

use super::{COPIED_WITHIN, TcpConnection, TcpDirection};
use crate::flow::Direction;
use crate::packet::PacketRef;
use crate::stream::{SeqNum, TcpOffset};
use crate::time::Timestamp;

#[derive(Clone, Copy, Debug)]
pub(super) struct Fin {
    /// Sequence number of the FIN itself.
    seq: SeqNum,
    /// Lowest acknowledgement that any copy carries: what the sender had received when it closed.
    ack: Option<SeqNum>,
    /// The earliest copy of the packet.
    mark: PacketRef,
    /// Whether it was sent again.
    pub(super) again: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rst {
    pub(super) seq: SeqNum,
    pub(super) ack: Option<SeqNum>,
    pub(super) mark: PacketRef,
}

/// The flag of the segment with which a side closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ClosingFlag {
    /// The side sends nothing more.
    Fin,
    /// The side drops the connection.
    Rst,
}

/// The first close of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FirstClose {
    /// The side that closed; `None` when the capture does not show which of two came first.
    pub(crate) by: Option<Direction>,
    /// The flag of its segment.
    pub(crate) kind: ClosingFlag,
    /// The packet that closed it.
    pub(crate) mark: PacketRef,
    /// Offset up to which the closing side had received the other's stream; `None` where its RST does not show it.
    pub(crate) heard: Option<TcpOffset>,
    /// Whether it is the RST of a host that does not know the connection: it answers a segment, and
    /// has no acknowledgement (RFC 9293, section 3.5.2, group 3).
    pub(crate) is_answer: bool,
}

impl TcpConnection {
    /// The first close, by what each closing side had received of the other.
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
            (Some(up), Some(down)) => Some(self.earlier(up, down)),
        }
    }

    fn earlier(&self, up: FirstClose, down: FirstClose) -> FirstClose {
        // An acknowledgement beyond the FIN of the other side shows that its sender had received that FIN.
        let saw_close = |close: &FirstClose, of: Direction| matches!((close.heard, self.fin_at(of)), (Some(heard), Some(fin)) if heard > fin);
        let (first, second, direction) = if up.mark.frame <= down.mark.frame {
            (up, down, Direction::HighToLow)
        } else {
            (down, up, Direction::LowToHigh)
        };
        if saw_close(&up, Direction::HighToLow) {
            down
        } else if saw_close(&down, Direction::LowToHigh) {
            up
        } else if second.kind == ClosingFlag::Rst && self.fin_unseen(direction) {
            // The capture lacks the FIN before this RST: it may have come before the other side's.
            FirstClose { by: None, ..first }
        } else {
            first
        }
    }

    /// Offset of the FIN of `direction`, also of one that the capture lacks.
    fn fin_at(&self, direction: Direction) -> Option<TcpOffset> {
        let side = self.side(direction);
        match side.fin {
            Some(fin) => side.stream.offset_of(fin.seq),
            None => self.fin_unseen(direction).then(|| side.stream.end()),
        }
    }

    /// `close` is the only one seen. If it acknowledges one past the other side's end, the capture lost a FIN of
    /// that side, and then it is not known who came first.
    fn unless_other_closed_unseen(&self, close: FirstClose, direction: Direction) -> FirstClose {
        let other = self.side(direction.reverse());
        match close.heard {
            Some(heard) if heard == other.stream.end().plus(1) => FirstClose { by: None, ..close },
            _ => close,
        }
    }

    fn close_of(&self, direction: Direction) -> Option<FirstClose> {
        let side = self.side(direction);
        let peer = &self.side(direction.reverse()).stream;
        let heard = |ack: Option<SeqNum>| ack.and_then(|ack| peer.offset_of(ack));
        let by = Some(direction);
        if let Some(fin) = side.fin {
            let kind = ClosingFlag::Fin;
            let heard = heard(fin.ack);
            return Some(FirstClose { by, kind, mark: fin.mark, heard, is_answer: false });
        }
        let rst = side.rst?;
        let (kind, is_answer) = (ClosingFlag::Rst, rst.ack.is_none());
        Some(FirstClose { by, kind, mark: rst.mark, heard: heard(rst.ack), is_answer })
    }

    /// Whether `direction` sent a FIN that the capture lacks: the sequence number of its RST, or an acknowledgement
    /// by the other side, is one past its end.
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

    /// Whether both sides have closed and no segment is missing that may still come.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.has_closed && self.is_settled()
    }

    fn is_settled(&self) -> bool {
        let done = |direction: Direction| {
            let side = self.side(direction);
            side.fin.is_some_and(|fin| side.stream.offset_of(fin.seq) == Some(side.stream.end()))
        };
        if self.is_short(Direction::LowToHigh) || self.is_short(Direction::HighToLow) {
            return false;
        }
        let reset = self.sides.each().iter().any(|side| side.rst.is_some());
        done(Direction::LowToHigh) && done(Direction::HighToLow)
            || reset
                && !self.fin_unseen(Direction::LowToHigh)
                && !self.fin_unseen(Direction::HighToLow)
    }

    /// Whether bytes of `direction` that are known to have been sent were not seen, or not yet.
    pub(crate) fn is_short(&self, direction: Direction) -> bool {
        let stream = &self.side(direction).stream;
        stream.is_waiting() || self.sent_end(direction) > stream.end()
    }

    /// Number of bytes known to be missing from `direction`, those at its end included.
    pub(crate) fn missing(&self, direction: Direction) -> u64 {
        let stream = &self.side(direction).stream;
        stream.missing() + self.sent_end(direction).since(stream.end())
    }

    /// Whether everything that `direction` sent before offset `until` was seen; `None` for all of it.
    pub(crate) fn is_whole(&self, direction: Direction, until: Option<TcpOffset>) -> bool {
        let stream = &self.side(direction).stream;
        let until = {
            let sent = self.sent_end(direction).max(stream.end());
            until.map_or(sent, |until| until.min(sent))
        };
        stream.first_gap().is_none_or(|gap| gap >= until) && stream.end() >= until
    }

    /// Offset up to which bytes of `direction` are known to have been sent: that of its FIN or RST, or the highest
    /// acknowledgement of the other side.
    fn sent_end(&self, direction: Direction) -> TcpOffset {
        let side = self.side(direction);
        let end = side.stream.end();
        if let Some(fin) = side.fin.and_then(|fin| side.stream.offset_of(fin.seq)) {
            return fin.max(end);
        }
        let rst = side.rst.filter(|rst| rst.seq != SeqNum(0));
        let rst = rst.and_then(|rst| side.stream.offset_of(rst.seq)).unwrap_or(end);
        let known = rst.max(side.stream.acked().unwrap_or(end)).max(end);
        // One past the end is a FIN that the capture lacks, and no byte.
        if known == end.plus(1) { end } else { known }
    }
}

impl TcpDirection {
    /// When it sent its FIN or RST.
    pub(crate) fn closed_at(&self) -> Option<Timestamp> {
        let fin = self.fin.map(|fin| fin.mark.at);
        fin.or_else(|| Some(self.rst?.mark.at))
    }

    /// Whether it has closed.
    #[inline]
    pub(crate) const fn has_closed(&self) -> bool {
        self.fin.is_some() || self.rst.is_some()
    }

    pub(super) fn on_fin(&mut self, seq: SeqNum, ack: Option<SeqNum>, mark: PacketRef) {
        match &mut self.fin {
            None => self.fin = Some(Fin { seq, ack, mark, again: false }),
            Some(fin) => {
                let (earlier, later) =
                    if mark.at < fin.mark.at { (mark, fin.mark) } else { (fin.mark, mark) };
                fin.again |= later.at.since(earlier.at) >= COPIED_WITHIN;
                fin.mark = earlier;
                if let (Some(known), Some(ack)) = (fin.ack, ack) {
                    if ack.distance(known) < 0 {
                        fin.ack = Some(ack);
                    }
                }
            }
        }
    }
}
