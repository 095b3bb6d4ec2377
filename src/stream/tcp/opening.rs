//! How a TCP connection was opened, or was not.

use std::time::Duration;

use super::{COPIED_WITHIN, TcpConnection, TcpDirection};
use crate::decode::{Segment, TcpFlags, Unreachable};
use crate::flow::Direction;
use crate::packet::PacketRef;
use crate::stream::SeqNum;
use crate::time::Timestamp;

/// The SYN of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syn {
    /// Its initial sequence number.
    pub(crate) isn: SeqNum,
    /// The first copy seen.
    pub(crate) mark: PacketRef,
    /// Number of times that it was sent; a packet captured twice counts once.
    pub(crate) count: u32,
    /// When the last copy came.
    pub(crate) last: Timestamp,
    ip_id: Option<u16>,
}

/// How a connection was opened, or was not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opened {
    /// The responder has answered, or the capture began later.
    Yes,
    /// The responder answered the SYN with an RST.
    Reset(PacketRef),
    /// An ICMP "destination unreachable" answered the SYN.
    Unreachable(Unreachable),
    /// The capture has SYNs and no answer.
    Unanswered,
}

impl Opened {
    /// The packet that refused the connection.
    pub(crate) const fn refused(&self) -> Option<PacketRef> {
        match self {
            Self::Reset(mark) => Some(*mark),
            Self::Unreachable(icmp) => Some(PacketRef { frame: icmp.frame, at: icmp.at }),
            Self::Yes | Self::Unanswered => None,
        }
    }
}

impl TcpConnection {
    /// Whether `segment` is the SYN of another connection between the same ends.
    pub(crate) fn is_other_connection(&self, segment: &Segment<'_>) -> bool {
        if !segment.flags.has(TcpFlags::SYN)
            || segment.flags.has(TcpFlags::RST)
            || self.is_other_syn_ack(segment)
        {
            return false;
        }
        let side = self.side(segment.direction);
        match side.syn {
            Some(syn) => syn.isn != SeqNum(segment.seq),
            // If segments of a connection came before its SYN, its stream begins at the number that the SYN
            // shows.
            None => {
                let seen = side.stream.bytes() + side.stream.missing();
                side.stream.bytes() > 0
                    && side.stream.offset_of(SeqNum(segment.seq).plus(1))
                        != Some(side.stream.end().minus(seen))
            }
        }
    }

    /// Takes an ICMP message about a segment of `direction`. One about its SYN refuses the connection, unless it is
    /// about a packet that was too large.
    pub(crate) fn on_unreachable(&mut self, unreachable: &Unreachable, direction: Direction) {
        let about_syn = self.side(direction).syn.is_some_and(|s| s.isn.0 == unreachable.seq);
        if !about_syn {
            self.sides[direction].on_icmp(unreachable);
        } else if unreachable.mtu.is_none() && self.side(direction.reverse()).segments == 0 {
            self.last.frame = unreachable.frame;
            self.last.at = self.last.at.max(unreachable.at);
            self.icmp.get_or_insert(*unreachable);
        }
    }

    /// How the connection was opened.
    pub(crate) fn opened(&self) -> Opened {
        let Some(originator) = self.originator else {
            return match self.lone_reset() {
                Some((_, mark)) => Opened::Reset(mark),
                None => Opened::Yes,
            };
        };
        let (from, to) = (self.side(originator), self.side(originator.reverse()));
        if self.has_closed
            && let Some(mark) = self.refusal()
        {
            return Opened::Reset(mark);
        }
        if to.syn.is_some()
            || to.stream.bytes() > 0
            || from.after_syn.is_some()
            || from.syn.is_none()
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

    /// Whether an RST has the sequence number with which a closed port answers a SYN: 0 (RFC 9293, section 3.10.7.1). The
    /// dialing host takes it, since it acknowledges the SYN.
    pub(crate) fn is_port_closed(&self) -> bool {
        self.sides.each().into_iter().filter_map(|side| side.rst).any(|rst| rst.seq == SeqNum(0))
    }

    /// Whether the SYN of `direction` was sent again for want of an answer. Not where the capture may have lost the
    /// answer, which is up to the moment `lost`, nor where it has one SYN alone: then the answer is missing in the
    /// capture, or the dialing side gave up.
    pub(crate) fn timed_out(&self, direction: Direction, lost: Option<Timestamp>) -> bool {
        let syn = self.side(direction).syn;
        syn.is_some_and(|syn| syn.count > 1 && lost.is_none_or(|lost| lost < syn.last))
    }

    /// The sender of the RST and its packet, when the connection is nothing but the answer of a closed port:
    /// sequence number 0 and an acknowledgement (RFC 9293, section 3.5.2, group 1).
    pub(crate) fn lone_reset(&self) -> Option<(Direction, PacketRef)> {
        [Direction::LowToHigh, Direction::HighToLow].into_iter().find_map(|direction| {
            let rst = self.side(direction).rst?;
            let alone =
                self.side(direction).segments == 1 && self.side(direction.reverse()).segments == 0;
            (alone && rst.seq == SeqNum(0) && rst.ack.is_some()).then_some((direction, rst.mark))
        })
    }

    /// One round trip between the ends, as far as the opening shows it.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let side = self.side(self.originator?);
        let syn = side.syn?;
        Some(side.after_syn?.since(syn.last))
    }
}

impl TcpDirection {
    pub(super) fn on_syn(&mut self, isn: SeqNum, mark: PacketRef, ip_id: Option<u16>) {
        self.stream.opens_at(isn.plus(1));
        match &mut self.syn {
            None => self.syn = Some(Syn { isn, mark, count: 1, last: mark.at, ip_id }),
            Some(syn) => {
                let is_copy = match (syn.ip_id, ip_id) {
                    (Some(a), Some(b)) if a != 0 || b != 0 => a == b,
                    _ => mark.at.since(syn.last) < COPIED_WITHIN,
                };
                if !is_copy {
                    syn.count += 1;
                    syn.last = syn.last.max(mark.at);
                    syn.ip_id = ip_id;
                }
            }
        }
    }
}
