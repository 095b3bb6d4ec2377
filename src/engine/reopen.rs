//! SYNs between two ends whose connection goes on.
//!
//! A host answers such a SYN with an acknowledgement of what it has, and the connection goes on, unless the other side
//! then resets it (RFC 9293, section 3.10.7.4; RFC 5961, section 4.2). So a SYN alone ends nothing: it is kept until its
//! answer shows a new connection, or the next segment of its sender shows that the old one goes on. The same holds beside
//! a SYN that waits for its answer: the acknowledgement in the answer shows which of the two it is for.

use std::time::Duration;

use super::Core;
use crate::decode::{Segment, TcpFlags};
use crate::flow::{Direction, FlowId, FlowKey, TcpOpening};
use crate::protocol::Connection;
use crate::record::EventSink;
use crate::stream::SeqNum;

/// The SYNs that wait for what follows, the oldest first.
#[derive(Debug, Default)]
pub(super) struct WaitingSyns(Vec<WaitingSyn>);

/// A SYN, and its retransmissions.
#[derive(Debug)]
struct WaitingSyn {
    key: FlowKey,
    direction: Direction,
    isn: SeqNum,
    opening: TcpOpening,
    /// Whether it came from the side that is dialed, before that answered.
    is_crossing: bool,
}

/// What a segment is for a connection between its ends.
enum Belongs {
    /// It is a segment of that connection.
    ToIt,
    /// It is a segment of that connection, and so are these before it.
    ToItBehind(TcpOpening),
    /// It opens another connection, with these segments before it.
    ToAnother(Option<TcpOpening>),
    /// It is a SYN that waits for what follows.
    Waits,
}

impl WaitingSyns {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, key: &FlowKey) -> Option<TcpOpening> {
        let place = self.0.iter().position(|syn| syn.key == *key)?;
        Some(self.0.remove(place).opening)
    }

    fn of(&mut self, segment: &Segment<'_>) -> Option<&mut WaitingSyn> {
        self.0.iter_mut().find(|syn| syn.key == segment.flow)
    }

    /// What `segment` is, whose ends have the connection `known`.
    fn belongs(&mut self, segment: &Segment<'_>, known: &mut Connection) -> Belongs {
        let is_syn = segment.flags.has(TcpFlags::SYN) && !segment.flags.has(TcpFlags::RST);
        let is_crossing = is_syn && known.is_crossed_by(segment);
        let is_other = is_crossing || is_syn && known.is_other_connection(segment);
        let Some(syn) = self.of(segment) else {
            return if !is_other {
                Belongs::ToIt
            } else if known.may_go_on() || known.is_being_opened(segment) {
                self.add(segment, is_crossing);
                Belongs::Waits
            } else {
                Belongs::ToAnother(None)
            };
        };
        if known.is_answered_by(segment) {
            self.drop_syn(segment, known);
            return Belongs::ToIt;
        }
        let behind_syn = syn.isn.plus(1);
        if segment.direction != syn.direction {
            if segment.flags.has(TcpFlags::ACK) && SeqNum(segment.ack) == behind_syn {
                // Both sides dial each other at the same time (RFC 9293, section 3.5).
                let is_simultaneous = syn.is_crossing && is_syn && !is_other;
                return match self.take(&segment.flow) {
                    Some(opening) if is_simultaneous => Belongs::ToItBehind(opening),
                    opening => Belongs::ToAnother(opening),
                };
            }
            return if is_other { Belongs::Waits } else { Belongs::ToIt };
        }
        if is_other {
            let is_same = SeqNum(segment.seq) == syn.isn;
            let first = syn.opening.first().map_or(segment.at, |first| first.at);
            if is_same && !known.may_go_on() && segment.at >= first.after(SENT_AGAIN) {
                // No connection is open that would go on, and the sender still dials by this one.
                return Belongs::ToAnother(self.take(&segment.flow));
            }
            if is_same {
                syn.opening.add(segment);
            } else {
                self.take(&segment.flow);
                self.add(segment, is_crossing);
            }
            return Belongs::Waits;
        }
        if segment.flags.has(TcpFlags::RST) {
            return Belongs::ToIt;
        }
        if SeqNum(segment.seq) == behind_syn && !known.has_reached(segment) {
            return Belongs::ToAnother(self.take(&segment.flow));
        }
        // Its sender goes on where it was.
        self.drop_syn(segment, known);
        Belongs::ToIt
    }

    /// Drops the SYN that waits between the ends of `segment`, which shows that it was not taken.
    fn drop_syn(&mut self, segment: &Segment<'_>, known: &mut Connection) {
        if let Some(opening) = self.take(&segment.flow) {
            known.note_syn_not_taken(opening.first());
        }
    }

    fn add(&mut self, segment: &Segment<'_>, is_crossing: bool) {
        if self.0.len() >= MOST_WAITING {
            self.0.remove(0);
        }
        self.0.push(WaitingSyn {
            key: segment.flow,
            direction: segment.direction,
            isn: SeqNum(segment.seq),
            opening: TcpOpening::new(segment),
            is_crossing,
        });
    }
}

impl<S: EventSink> Core<S> {
    /// Takes a segment between the ends of a connection, where it is a SYN, or a SYN or the completion of a handshake
    /// waits for what follows.
    #[cold]
    #[inline(never)]
    pub(super) fn on_watched_segment(&mut self, id: FlowId, segment: &Segment<'_>) {
        self.confirm(id, segment);
        self.is_watchful = !self.unconfirmed.is_empty() || !self.waiting_syns.is_empty();
        let Some(followed) = self.flows.get_mut(id) else { return };
        match self.waiting_syns.belongs(segment, &mut followed.connection) {
            Belongs::ToIt => self.hand_to(id, segment),
            Belongs::ToItBehind(opening) => {
                for before in opening.segments() {
                    self.hand_to(id, &before);
                }
                self.hand_to(id, segment);
            }
            Belongs::Waits => self.is_watchful = true,
            Belongs::ToAnother(opening) => {
                self.replace(id, opening.as_ref());
                // The first SYN of the other connection may have opened it.
                match self.flows.find(&segment.flow) {
                    Some(id) => self.hand_to(id, segment),
                    None => self.on_first_segment(segment),
                }
            }
        }
    }

    /// Ends a connection in whose place another was opened.
    fn replace(&mut self, id: FlowId, opening: Option<&TcpOpening>) {
        if let Some(old) = self.flows.remove(id) {
            self.close(old.connection);
            self.dispatch();
        }
        for segment in opening.into_iter().flat_map(TcpOpening::segments) {
            self.on_segment(&segment);
        }
    }

    /// Takes the SYNs as those of new connections: nothing follows that shows otherwise.
    pub(super) fn end_waiting_syns(&mut self) {
        for WaitingSyn { key, opening, .. } in std::mem::take(&mut self.waiting_syns.0) {
            if let Some(id) = self.flows.find(&key) {
                self.replace(id, Some(&opening));
            }
        }
    }
}

/// A SYN that comes again after this time is sent again, and no copy: no system retransmits it faster (RFC 6298).
const SENT_AGAIN: Duration = Duration::from_millis(500);

/// SYNs that wait at a time: so many connections are rarely opened anew within a round trip.
const MOST_WAITING: usize = 64;
