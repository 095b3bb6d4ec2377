//! How a TCP connection was opened, or was not.

use std::time::Duration;

use super::stamps::Stamps;
use super::taken::ROUND_TRIP;
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
    /// Number of times that the other side sent its SYN again behind it.
    dialed_again: u32,
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
                // The other side was refused, and this one dials now.
                let is_dial = !segment.flags.has(TcpFlags::ACK)
                    && side.rst.is_some()
                    && self.side(segment.direction.reverse()).syn.is_some();
                is_dial
                    || side.stream.bytes() > 0
                        && side.stream.offset_of(SeqNum(segment.seq).plus(1))
                            != Some(side.stream.end().minus(seen))
            }
        }
    }

    /// Its SYN and the direction of it, if nothing has answered it and its sender has sent nothing else.
    fn unanswered_syn(&self) -> Option<(Direction, Syn)> {
        let originator = self.originator?;
        let from = self.side(originator);
        let is_alone = from.after_syn.is_none() && self.side(originator.reverse()).segments == 0;
        from.syn.filter(|_| is_alone && !self.has_closed).map(|syn| (originator, syn))
    }

    /// Whether its SYN waits for the answer when `segment` comes: not for longer than until it is sent again, which is
    /// after a second at first, and then after twice the time before (RFC 6298, sections 2.1 and 5.5).
    pub(crate) fn is_being_opened(&self, segment: &Segment<'_>) -> bool {
        self.unanswered_syn().is_some_and(|(_, syn)| {
            let again = (syn.last.since(syn.mark.at) * 2).max(ROUND_TRIP);
            segment.at <= syn.last.after(again)
        })
    }

    /// Whether `segment` is a SYN of the side that is dialed, which has not answered yet.
    pub(crate) fn is_crossed_by(&self, segment: &Segment<'_>) -> bool {
        segment.flags.has(TcpFlags::SYN)
            && !segment.flags.has(TcpFlags::ACK)
            && self.is_being_opened(segment)
            && self.originator != Some(segment.direction)
    }

    /// Whether `segment` is the first answer to its SYN: it acknowledges the SYN.
    pub(crate) fn is_answered_by(&self, segment: &Segment<'_>) -> bool {
        segment.flags.has(TcpFlags::ACK)
            && self.unanswered_syn().is_some_and(|(originator, syn)| {
                segment.direction != originator && SeqNum(segment.ack) == syn.isn.plus(1)
            })
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

    /// The ICMP message that refused the connection, unless an RST did.
    ///
    /// Where both answer one SYN, the dialing host took the one that came first. It goes on after an ICMP message that only
    /// shows that the way is down at the moment (RFC 1122, section 4.2.3.9; RFC 5461, section 2): then, and where it sent
    /// the SYN again, the RST is what it took.
    pub(crate) fn icmp(&self) -> Option<&Unreachable> {
        let icmp = self.icmp.as_ref()?;
        let originator = self.originator?;
        let from = self.side(originator);
        let Some(rst) = self.side(originator.reverse()).rst else { return Some(icmp) };
        let is_first = (icmp.at, icmp.frame) < (rst.mark.at, rst.mark.frame);
        let is_again = from.syn.is_some_and(|syn| syn.last > icmp.at);
        (is_first && !is_again && ends_dial(icmp)).then_some(icmp)
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
            return self.icmp().map_or(Opened::Reset(mark), |icmp| Opened::Unreachable(*icmp));
        }
        if to.syn.is_some()
            || to.stream.bytes() > 0
            || from.after_syn.is_some()
            || from.syn.is_none()
        {
            return Opened::Yes;
        }
        match (self.icmp(), to.rst) {
            (Some(icmp), _) => Opened::Unreachable(*icmp),
            (None, Some(rst)) => Opened::Reset(rst.mark),
            (None, None) if to.segments == 0 => Opened::Unanswered,
            (None, None) => Opened::Yes,
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

    /// Takes in that `dialer` has sent its SYN again. Takes the SYN-ACK back if that shows that its host did not take it: it
    /// has sent the SYN twice behind it and acknowledged nothing, the last time when the SYN-ACK had long arrived.
    ///
    /// A SYN-ACK that was sent again is not doubted. A host that listens answers each copy of the SYN (RFC 9293, section
    /// 3.10.7.4), and repeats what is not acknowledged: then it is the way back that is broken.
    pub(super) fn on_syn_again(&mut self, dialer: Direction) {
        let (from, to) = (self.side(dialer), self.side(dialer.reverse()));
        let (Some(syn), Some(answer)) = (from.syn, to.syn) else { return };
        let is_alone = from.after_syn.is_none() && to.segments == 1 && to.stream.bytes() == 0;
        let is_late = syn.last >= answer.mark.at.after(ROUND_TRIP);
        let side = &mut self.sides[dialer.reverse()];
        if let Some(answer) = &mut side.syn {
            answer.dialed_again += 1;
        }
        if self.originator == Some(dialer) && is_alone && is_late && answer.dialed_again > 0 {
            side.syn = None;
            side.segments = 0;
            side.ttl = 0;
            side.has_right_checksum = false;
            side.stamps = Stamps::default();
            side.stream.forget();
            self.note_not_taken(answer.mark, "a SYN-ACK, behind which the SYN was sent again");
        }
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

/// Whether a host gives up a connection that is not open yet when it receives this ICMP message. It goes on where the
/// network or the host cannot be reached at the moment; the port, the protocol and a filter are no matter of the moment
/// (RFC 1122, section 4.2.3.9; RFC 5461, section 2).
const fn ends_dial(icmp: &Unreachable) -> bool {
    match icmp.kind {
        ICMPV4_UNREACHABLE => !matches!(icmp.code, 0 | 1 | 5 | 6 | 11 | 12),
        ICMPV6_UNREACHABLE => !matches!(icmp.code, 0 | 2 | 3),
        _ => false,
    }
}

/// Type of "destination unreachable" (RFC 792).
const ICMPV4_UNREACHABLE: u8 = 3;

/// Type of "destination unreachable" (RFC 4443, section 3.1).
const ICMPV6_UNREACHABLE: u8 = 1;

impl TcpDirection {
    /// Takes in a SYN or SYN-ACK. Returns whether it was sent again, as opposed to captured twice.
    pub(super) fn on_syn(&mut self, isn: SeqNum, mark: PacketRef, ip_id: Option<u16>) -> bool {
        self.stream.opens_at(isn.plus(1));
        let Some(syn) = &mut self.syn else {
            self.syn = Some(Syn { isn, mark, count: 1, last: mark.at, dialed_again: 0, ip_id });
            return false;
        };
        let is_copy = match (syn.ip_id, ip_id) {
            (Some(a), Some(b)) if a != 0 || b != 0 => a == b,
            _ => mark.at.since(syn.last) < COPIED_WITHIN,
        };
        if !is_copy {
            syn.count += 1;
            syn.last = syn.last.max(mark.at);
            syn.ip_id = ip_id;
        }
        !is_copy
    }
}
