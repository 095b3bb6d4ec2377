//! Selects the segments that matter, and the connections that are followed.

use super::{Direction, FlowKey, FlowTable, PendingTable, PortSet, TcpOpening};
use crate::capture::Frame;
use crate::decode::{Endpoint, Segment, TcpFlags, TcpView};
use crate::identify::{self, PayloadMatch};

/// How a segment may change the state of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// It cannot change the state.
    None,
    /// It has no payload, and is part of the opening or of the end of a connection on unknown ports.
    Opening,
    /// Its payload begins nothing, but it may have overtaken the segment that does.
    Overtaking,
    /// It may belong to a connection that is, or will be, followed.
    Stream,
}

/// The parts of a segment that decide over its [`Interest`].
pub trait SegmentHead {
    /// Port of the sender, and of the receiver.
    fn ports(&self) -> (u16, u16);
    /// The TCP flag bits.
    fn flags(&self) -> TcpFlags;
    /// Captured bytes of the payload.
    fn payload(&self) -> &[u8];
}

/// The first segments of unknown connections, and the ports on which any connection is followed.
#[derive(Debug)]
pub struct Triage {
    pending: PendingTable,
    /// Ports of EPMD and of nodes, whatever their host.
    known_ports: PortSet,
}

impl Triage {
    /// Keeps up to `pending` openings of unknown connections.
    pub fn new(pending: usize) -> Self {
        Self { pending: PendingTable::new(pending), known_ports: PortSet::default() }
    }

    /// Makes `port` a known one; `false` if it was one before.
    pub fn know_port(&mut self, port: u16) -> bool {
        let is_new = !self.is_known(port, port);
        if is_new {
            self.known_ports.insert(port);
        }
        is_new
    }

    /// Whether one of the two ports is a known one.
    #[inline]
    pub fn is_known(&self, src: u16, dst: u16) -> bool {
        self.known_ports.has_one_of(src, dst)
    }

    /// What a segment may be good for. It is never [`Interest::None`] for a segment that changes something, but
    /// may be more than [`Interest::None`] for one that turns out to change nothing.
    #[inline(always)] // part of the loop over frames: a call would cost a tenth of a frame
    pub fn interest<C>(&self, head: &impl SegmentHead, flows: &FlowTable<C>) -> Interest {
        let (src, dst) = head.ports();
        if flows.may_concern(src, dst) && self.may_be_followed(flows, src, dst) {
            return Interest::Stream;
        }
        if is_of_use_to_followed_alone(head) {
            return Interest::None;
        }
        let (payload, flags) = (head.payload(), head.flags());
        let (is_bare, begins_nothing) = (payload.is_empty(), identify::is_no_beginning(payload));
        let opens = is_bare & flags.has(TcpFlags::SYN);
        if (is_bare | begins_nothing) & !opens & !self.pending.may_have(src, dst) {
            return Interest::None;
        }
        if is_bare {
            Interest::Opening
        } else if begins_nothing {
            Interest::Overtaking
        } else {
            Interest::Stream
        }
    }

    /// Whether a connection between such ports is followed, or would be.
    #[inline(never)]
    fn may_be_followed<C>(&self, flows: &FlowTable<C>, src: u16, dst: u16) -> bool {
        flows.may_have(src, dst) || self.is_known(src, dst)
    }

    /// Notes a segment without payload on unknown ports.
    #[inline(always)]
    pub fn note(&mut self, frame: &Frame<'_>, view: &TcpView<'_>) {
        self.pending.note_view(frame, view);
    }

    /// Whether a payload that [begins nothing](Interest::Overtaking) is of no use at its place in the stream. If it
    /// is the first of its side, its connection is not one of Erlang, and its opening is forgotten.
    #[inline]
    pub fn is_ruled_out(&mut self, flow: &FlowKey, seq: u32, direction: Direction) -> bool {
        self.pending.rules_out(flow, seq, direction, MAX_BEFORE_HANDSHAKE)
    }

    /// A segment of a connection that is not followed, on unknown ports: whether to follow it from here on, and
    /// with which opening. `is_opened`: it begins a TLS connection that can be opened.
    pub fn admit(&mut self, segment: &Segment<'_>, is_opened: bool) -> Admission {
        if is_opened {
            let opening = self.pending.take(&segment.flow);
            let is_first = |opening: &TcpOpening| opening.bytes_before(segment) == Some(0);
            let opening = opening.filter(is_first);
            return opening
                .map_or(Admission::Ignored, |opening| Admission::Followed(Some(opening)));
        }
        if !segment.payload.is_empty() {
            return self.admit_payload(segment);
        }
        if segment.flags.opens_or_closes() {
            self.pending.note(segment);
        }
        Admission::Ignored
    }

    fn admit_payload(&mut self, segment: &Segment<'_>) -> Admission {
        let before = self.pending.bytes_before(&segment.flow, segment.seq, segment.direction);
        match first_payload(segment, before) {
            FirstPayload::Begins { with_opening } => {
                let opening = self.pending.take(&segment.flow);
                Admission::Followed(opening.filter(|_| with_opening))
            }
            FirstPayload::BeginsEpmd => {
                self.pending.take(&segment.flow).map_or(Admission::Ignored, Admission::Epmd)
            }
            FirstPayload::RulesOut => {
                self.pending.take(&segment.flow);
                Admission::Ignored
            }
            FirstPayload::ShowsNothing => Admission::Ignored,
        }
    }

    /// Takes the opening of a connection that is followed from here on.
    pub fn take_opening(&mut self, flow: &FlowKey) -> Option<TcpOpening> {
        self.pending.take(flow)
    }

    /// Takes the openings of all connections to `end`, in the order of their time.
    pub fn take_openings_to(&mut self, end: Endpoint) -> Vec<TcpOpening> {
        self.pending.take_to(end)
    }
}

/// Whether a connection is followed.
#[derive(Debug)]
pub enum Admission {
    /// It is not, as far as this segment shows.
    Ignored,
    /// It is, and this is its opening where that was seen.
    Followed(Option<TcpOpening>),
    /// It is, since it begins with what looks like a request to EPMD; with its opening.
    Epmd(TcpOpening),
}

impl SegmentHead for TcpView<'_> {
    #[inline(always)]
    fn ports(&self) -> (u16, u16) {
        TcpView::ports(self)
    }

    #[inline(always)]
    fn flags(&self) -> TcpFlags {
        TcpView::flags(self)
    }

    #[inline(always)]
    fn payload(&self) -> &[u8] {
        TcpView::payload(self)
    }
}

impl SegmentHead for Segment<'_> {
    fn ports(&self) -> (u16, u16) {
        (self.src().port, self.dst().port)
    }

    fn flags(&self) -> TcpFlags {
        self.flags
    }

    fn payload(&self) -> &[u8] {
        self.payload
    }
}

/// What a payload on unknown ports shows about its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FirstPayload {
    /// The connection is followed from here on, with what is known of its opening if that shows where the payload is in
    /// the stream.
    Begins {
        /// Whether the opening shows it.
        with_opening: bool,
    },
    /// The connection is followed: it begins with what looks like a request to EPMD.
    BeginsEpmd,
    /// The connection is not one of Erlang, and its opening is of no use.
    RulesOut,
    /// Nothing: another payload may show more.
    ShowsNothing,
}

/// The first payload of a connection shows what it carries. Captures reorder, so the first to come need not be the first
/// that was sent. `before`: bytes that its sender sent before it, if the opening of the connection is known.
pub fn first_payload(segment: &Segment<'_>, before: Option<u32>) -> FirstPayload {
    let verdict = identify::distribution(segment.payload);
    let is_other = matches!(verdict, PayloadMatch::No | PayloadMatch::Unsure);
    if is_other && identify::is_epmd_request(segment.payload) {
        let is_first = before == Some(0);
        return if is_first { FirstPayload::BeginsEpmd } else { FirstPayload::RulesOut };
    }
    if verdict == PayloadMatch::No {
        match before {
            _ if is_past_handshake(segment.payload) => return FirstPayload::ShowsNothing,
            Some(0) => return FirstPayload::RulesOut,
            Some(before) if before < MAX_BEFORE_HANDSHAKE => {}
            Some(_) | None => return FirstPayload::ShowsNothing,
        }
    }
    let is_known = before.is_some();
    let before = before.or_else(|| segment.flags.has(TcpFlags::SYN).then_some(0));
    let is_admitted = match (before, verdict) {
        (_, PayloadMatch::Certain) => true,
        (Some(before), _) => before < MAX_BEFORE_HANDSHAKE,
        // In the middle of a stream, a few bytes fit by chance.
        (None, _) => segment.payload.len() >= MIN_EVIDENCE,
    };
    if is_admitted {
        FirstPayload::Begins { with_opening: is_known }
    } else {
        FirstPayload::ShowsNothing
    }
}

/// Whether a segment changes something only if its connection is followed, or would be for its ports: it neither opens or
/// ends a connection nor begins anything.
#[inline(always)] // part of the loop over frames
pub fn is_of_use_to_followed_alone(head: &impl SegmentHead) -> bool {
    let (payload, flags) = (head.payload(), head.flags());
    let (is_bare, begins_nothing) = (payload.is_empty(), identify::is_no_beginning(payload));
    // Bitwise: a branch for each condition would be mispredicted, since kinds of segments alternate.
    (is_bare & !flags.opens_or_closes()) | (begins_nothing & is_past_handshake(payload))
}

/// Whether a payload is longer than any handshake message, so that its position in the stream no longer matters.
#[inline]
const fn is_past_handshake(payload: &[u8]) -> bool {
    payload.len() >= MAX_BEFORE_HANDSHAKE as usize
}

/// A handshake message is shorter than this: bytes further behind the start of a stream are no part of the first.
const MAX_BEFORE_HANDSHAKE: u32 = 600;

/// Length and tag of a handshake message: fewer bytes fit by chance.
const MIN_EVIDENCE: usize = 3;
