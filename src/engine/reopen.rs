//! SYNs between two ends whose connection goes on.
//!
//! A host answers such a SYN with an acknowledgement of what it has, and the connection goes on, unless the other side
//! then resets it (RFC 9293, section 3.10.7.4; RFC 5961, section 4.2). So a SYN alone ends nothing: it is kept until its
//! answer shows a new connection, or the next segment of its sender shows that the old one goes on.

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
}

/// What a segment is for a connection between its ends.
enum Belongs {
    /// It is a segment of that connection.
    ToIt,
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
        let is_other = is_syn && known.is_other_connection(segment);
        let Some(syn) = self.of(segment) else {
            return if !is_other {
                Belongs::ToIt
            } else if known.may_go_on() {
                self.add(segment);
                Belongs::Waits
            } else {
                Belongs::ToAnother(None)
            };
        };
        let behind_syn = syn.isn.plus(1);
        if segment.direction != syn.direction {
            if segment.flags.has(TcpFlags::ACK) && SeqNum(segment.ack) == behind_syn {
                return Belongs::ToAnother(self.take(&segment.flow));
            }
            return if is_other { Belongs::Waits } else { Belongs::ToIt };
        }
        if is_other {
            if SeqNum(segment.seq) == syn.isn {
                syn.opening.add(segment);
            } else {
                self.take(&segment.flow);
                self.add(segment);
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
        if let Some(opening) = self.take(&segment.flow) {
            known.note_syn_not_taken(opening.first());
        }
        Belongs::ToIt
    }

    fn add(&mut self, segment: &Segment<'_>) {
        if self.0.len() >= MOST_WAITING {
            self.0.remove(0);
        }
        self.0.push(WaitingSyn {
            key: segment.flow,
            direction: segment.direction,
            isn: SeqNum(segment.seq),
            opening: TcpOpening::new(segment),
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

/// SYNs that wait at a time: so many connections are rarely opened anew within a round trip.
const MOST_WAITING: usize = 64;
