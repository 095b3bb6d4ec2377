//! One connection: its segments become plain bytes, which its protocol reads.
//!
//! In: segments, ICMP errors and time. Out: what the protocol reads from the bytes, and observations of the
//! connection when it is established, silent, over or idle, and at the end of the capture.

use std::sync::Arc;
use std::time::Duration;

use super::dist::{Distribution, close_after};
use super::early::EarlySegments;
use super::epmd::EpmdConnection;
use super::{ConnContext, ConnOutput};
use crate::decode::{Endpoint, Segment, TcpFlags, Unreachable};
use crate::flow::{Direction, PerDirection};
use crate::limits::Limits;
use crate::observe::{ConnectionIds, Orientation, Settled};
use crate::packet::{FrameRef, PacketRef};
use crate::stream::tcp::{Opened, REFUSAL_GRACE, TcpConnection};
use crate::stream::{SeqNum, TcpOffset};
use crate::time::Timestamp;
use crate::transport::tls::TlsOpener;
use crate::transport::{PlainChunk, Transport};

/// One connection to EPMD or to a node, or one whose first bytes may be of the distribution protocol.
#[derive(Debug)]
pub struct Connection {
    /// The end that sends [`Direction::LowToHigh`], and the other.
    ends: [Endpoint; 2],
    pub(super) tcp: TcpConnection,
    pub(super) transport: Transport,
    pub(super) protocol: ProtocolState,
    /// Why it is followed.
    pub(super) reason: FollowReason,
    /// Its first segments, until the handshake is over.
    pub(super) early: Option<Box<EarlySegments>>,
    /// The headers that encapsulate its packets, of the first packet that has any.
    pub(super) encap: Vec<String>,
    /// The identifiers of the connection, made with its first observation.
    pub(super) ids: Option<Arc<ConnectionIds>>,
    /// Whether an observation of its end, or of its state when idle, was reported: not that of its establishment.
    pub(super) observed: bool,
    established_reported: bool,
    /// The completion of its handshake.
    completion: Option<Completion>,
    /// The segment in which a frame is corrupt.
    corrupt: Option<Box<CorruptSegment>>,
    /// Whether its PROXY protocol header was reported.
    pub(super) proxy_reported: bool,
    /// Whether both sides have closed and nothing can change its observation.
    over: bool,
    /// Whether its current state was reported because nothing came for long.
    is_reported_idle: bool,
    /// The last packet of the side whose silence was examined last.
    warned: Option<PacketRef>,
}

/// A segment in which a frame is corrupt, with its first bytes.
#[derive(Debug)]
struct CorruptSegment {
    frame: FrameRef,
    direction: Direction,
    seq: u32,
    bytes: Box<[u8]>,
}

impl CorruptSegment {
    fn new(segment: &Segment<'_>) -> Self {
        let Segment { frame, direction, seq, payload, .. } = *segment;
        let bytes = payload.get(..MOST_OF_CORRUPT).unwrap_or(payload).into();
        Self { frame, direction, seq, bytes }
    }

    /// Whether `segment` has other bytes for the same sequence numbers.
    fn differs_from(&self, segment: &Segment<'_>) -> bool {
        let bytes = |behind: u32| usize::try_from(behind).unwrap_or(usize::MAX);
        let own = self.bytes.get(bytes(segment.seq.wrapping_sub(self.seq))..);
        let other = segment.payload.get(bytes(self.seq.wrapping_sub(segment.seq))..);
        let (own, other) = match (own, other) {
            (Some(own), None) => (own, segment.payload),
            (None, Some(other)) => (&*self.bytes, other),
            (Some(own), Some(other)) => (own, other),
            (None, None) => return false,
        };
        segment.direction == self.direction && own.iter().zip(other).any(|(a, b)| a != b)
    }
}

/// Bytes of a segment that are kept because a frame in it is corrupt: those of the longest segment on Ethernet.
const MOST_OF_CORRUPT: usize = 1500;

/// The reason to report a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ReportReason {
    /// Both sides have closed.
    Over,
    /// No packet came for long.
    Quiet,
    /// The capture ends, or the connection is dropped.
    End,
}

/// The action when no packet comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IdleAction {
    /// Report the current state.
    Report,
    /// Report the current state unless that was done, and drop the connection.
    Drop,
    /// Report that the handshake is complete.
    Confirm,
}

/// The protocol of a connection, and its state.
#[derive(Debug)]
pub(super) enum ProtocolState {
    Epmd(Box<EpmdConnection>),
    Distribution(Box<Distribution>),
}

impl ProtocolState {
    /// Takes in the next plain bytes of one direction. `from_start`: the capture has the beginning of its stream.
    #[inline(always)]
    pub(super) fn on_chunk(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        from_start: bool,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        match self {
            Self::Epmd(epmd) => epmd.on_stream(direction, chunk, context.limits, out),
            // What is inside TLS is read from its beginning, or not at all.
            Self::Distribution(distribution) => {
                let from_start = from_start || chunk.is_opened();
                distribution.on_stream(direction, chunk, from_start, context, out)
            }
        }
    }
}

/// The reason to follow a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FollowReason {
    /// One of its ports is that of EPMD. The direction is that of the requests.
    Epmd(Direction),
    /// One of its ports is a distribution port of a node. The direction is that of the initiator.
    Node(Direction),
    /// Its first bytes may be of the distribution protocol.
    Maybe,
    /// Its first bytes may be a request to EPMD; the reply confirms it. The direction is that of the requests.
    MaybeEpmd(Direction),
}

/// Whether a connection is kept after an input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// It is kept, and [`Connection::deadline`] is not earlier than before.
    AsBefore,
    /// It is kept, and its deadline may have changed.
    Yes,
    /// It is dropped: it is of another protocol, or closed long ago.
    No,
}

/// The completion of a handshake. Nothing is reported of it before a segment shows that its last message was taken: a
/// node that refuses the other side closes at that point.
#[derive(Clone, Copy, Debug)]
struct Completion {
    now: Now,
    /// How far the streams had come.
    ends: PerDirection<TcpOffset>,
}

impl Completion {
    /// When it is believed if no segment comes.
    fn due(&self, limits: &Limits) -> Timestamp {
        self.now.at.after(limits.close_grace)
    }
}

/// The time of an input, and its frame; a timer has none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Timestamp,
    frame: Option<FrameRef>,
}

impl Connection {
    /// A connection whose first segment is `segment`, which is not yet taken in.
    pub fn new(segment: &Segment<'_>, reason: FollowReason, context: &ConnContext<'_>) -> Self {
        let first = PacketRef { frame: segment.frame, at: segment.at };
        let ends = [Direction::LowToHigh, Direction::HighToLow]
            .map(|direction| segment.flow.end(direction));
        let protocol =
            match reason {
                FollowReason::Epmd(requester) => ProtocolState::Epmd(Box::new(
                    EpmdConnection::new(requester, true, context.message_memory),
                )),
                FollowReason::MaybeEpmd(requester) => ProtocolState::Epmd(Box::new(
                    EpmdConnection::new(requester, false, context.message_memory),
                )),
                FollowReason::Node(initiator) => {
                    let mut distribution = Distribution::new(true, context);
                    distribution.orient(initiator, Orientation::Epmd);
                    ProtocolState::Distribution(Box::new(distribution))
                }
                FollowReason::Maybe => {
                    ProtocolState::Distribution(Box::new(Distribution::new(false, context)))
                }
            };
        Self {
            ends,
            tcp: TcpConnection::new(first, context.reassembly),
            transport: Transport::recognizing(context.key_log, context.message_memory),
            protocol,
            reason,
            early: Some(Box::new(EarlySegments::new(context.reassembly))),
            encap: Vec::new(),
            ids: None,
            observed: false,
            established_reported: false,
            completion: None,
            corrupt: None,
            proxy_reported: false,
            over: false,
            is_reported_idle: false,
            warned: None,
        }
    }

    /// Whether `segment` opens another connection between the same endpoints.
    pub fn is_other_connection(&self, segment: &Segment<'_>) -> bool {
        self.tcp.is_other_connection(segment)
    }

    /// Whether it may go on when a SYN with other sequence numbers comes: it has bytes, and no side has closed.
    pub fn may_go_on(&self) -> bool {
        !self.over && self.tcp.may_go_on()
    }

    /// Whether its SYN waits for the answer when `segment` comes.
    pub fn is_being_opened(&self, segment: &Segment<'_>) -> bool {
        self.tcp.is_being_opened(segment)
    }

    /// Whether `segment` is a SYN of the side that is dialed, which has not answered yet.
    pub fn is_crossed_by(&self, segment: &Segment<'_>) -> bool {
        self.tcp.is_crossed_by(segment)
    }

    /// Whether `segment` is the first answer to its SYN.
    pub fn is_answered_by(&self, segment: &Segment<'_>) -> bool {
        self.tcp.is_answered_by(segment)
    }

    /// Whether a segment has a sequence number near those that this connection has reached.
    pub fn has_reached(&self, segment: &Segment<'_>) -> bool {
        self.tcp.is_near(segment.direction, segment)
    }

    /// Counts a SYN that the receiver did not take.
    pub fn note_syn_not_taken(&mut self, syn: Option<PacketRef>) {
        if let Some(syn) = syn {
            self.tcp.note_not_taken(syn, "a SYN, beside which the connection went on");
        }
    }

    /// The first packet of the connection.
    pub const fn first(&self) -> PacketRef {
        self.tcp.first()
    }

    /// Whether it is a distribution connection whose end, or state when idle, was reported.
    pub const fn is_observed(&self) -> bool {
        self.observed
    }

    /// Whether both sides have closed it. It is then kept only so that late copies of its packets open no new one.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// The number of gaps in its streams, and of the bytes in them.
    pub fn gaps(&self) -> (u64, u64) {
        [Direction::LowToHigh, Direction::HighToLow].into_iter().fold(
            (0, 0),
            |(gaps, bytes), direction| {
                let missing = self.tcp.missing(direction);
                let given_up = self.tcp.side(direction).stream.gaps();
                (gaps + given_up.max(u64::from(missing > 0)), bytes + missing)
            },
        )
    }

    /// Whether the capture has one direction alone of an open connection.
    pub fn is_one_sided(&self) -> bool {
        !self.tcp.both_seen() && matches!(self.tcp.opened(), Opened::Yes)
    }

    /// Whether a segment of the handshake is kept: while the protocol is not certain, large ones are of others.
    fn may_be_kept(&mut self, segment: &Segment<'_>) -> bool {
        let may = segment.payload.len() <= MOST_HANDSHAKE_BYTES || self.is_erlang();
        if !may {
            self.early = None;
        }
        may
    }

    /// The completion of the handshake, or a refusal of EPMD, if nothing has shown yet that the last message was taken.
    #[inline]
    fn unconfirmed(&self) -> Option<Completion> {
        let is_reported = match &self.protocol {
            ProtocolState::Distribution(_) => self.established_reported,
            ProtocolState::Epmd(epmd) => !epmd.has_refusal(),
        };
        if is_reported { None } else { self.completion }
    }

    /// Whether [`Self::confirm`] is to be called before the next segment.
    #[inline]
    pub fn is_unconfirmed(&self) -> bool {
        self.unconfirmed().is_some()
    }

    /// Reports that the handshake is complete, or that EPMD refused, if the next segment shows that this last message was
    /// taken: the other side acknowledges it, or its sender goes on behind it.
    #[cold] // once for each connection
    pub fn confirm(&mut self, next: &Segment<'_>, context: &ConnContext<'_>, out: &mut ConnOutput) {
        let Some(Completion { now, ends }) = self.unconfirmed() else { return };
        let is_contested = self.early.as_ref().is_some_and(|early| early.is_contested());
        if next.flags.has(TcpFlags::SYN) || next.flags.has(TcpFlags::RST) || is_contested {
            return;
        }
        let acceptor = match &self.protocol {
            ProtocolState::Epmd(epmd) => Some(epmd.requester().reverse()),
            ProtocolState::Distribution(_) if self.tcp.has_closed() => return,
            ProtocolState::Distribution(distribution) => {
                distribution.initiator().map(|(initiator, _)| initiator.reverse())
            }
        };
        let is_taken = |by: Direction| {
            let (stream, end) = (&self.tcp.side(by).stream, Some(ends[by]));
            if next.direction == by {
                next.has_bytes() && stream.offset_of(SeqNum(next.seq)) == end
            } else {
                next.flags.has(TcpFlags::ACK) && stream.offset_of(SeqNum(next.ack)) >= end
            }
        };
        if acceptor.is_none_or(is_taken) {
            self.report_completion(now, context, out);
        }
    }

    /// Reports that the handshake is complete, or that EPMD refused.
    fn report_completion(&mut self, now: Now, context: &ConnContext<'_>, out: &mut ConnOutput) {
        match &mut self.protocol {
            ProtocolState::Epmd(epmd) => epmd.report_refusal(out),
            ProtocolState::Distribution(_) => {
                self.established_reported = true;
                self.report_established(now, context, out);
            }
        }
        self.complete(now, out);
    }

    /// Notes that the last message of a handshake has come, or a refusal of EPMD. It is reported at once where the capture
    /// has one direction alone, and when a moment has passed.
    fn note_completion(&mut self, now: Now, context: &ConnContext<'_>, out: &mut ConnOutput) {
        let ends = PerDirection::from_fn(|direction| self.tcp.side(direction).stream.end());
        let completion = *self.completion.get_or_insert(Completion { now, ends });
        if !self.tcp.both_seen() || now.at >= completion.due(context.limits) {
            self.report_completion(completion.now, context, out);
        }
    }

    /// Takes in the next segment of the connection.
    pub fn on_segment(
        &mut self,
        segment: &Segment<'_>,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) -> Keep {
        if !segment.layers.is_empty() && self.encap.is_empty() {
            self.encap = segment.layers.iter().map(ToString::to_string).collect();
        }
        let was_steady = self.is_steady();
        // Two segments in five are pure acknowledgements, which change nothing that is reported.
        if was_steady && !segment.has_bytes() && segment.flags.is_plain() && self.early.is_none() {
            self.tcp.on_pure_ack(segment, context.limits);
            self.is_reported_idle = false;
            return Keep::AsBefore;
        }
        if (!was_steady || !segment.flags.is_plain() || self.early.is_some())
            && let Some(keep) = self.sift(segment, context, out)
        {
            return keep;
        }
        let from_start = self.tcp.has_start(segment.direction) || segment.flags.has(TcpFlags::SYN);
        let end = self.tcp.side(segment.direction).stream.end();
        let Self { tcp, transport, protocol, .. } = self;
        if let ProtocolState::Epmd(epmd) = protocol {
            epmd.on_tcp(tcp);
        }
        tcp.on_segment(segment, context.limits, &mut |chunk| {
            transport.on_chunk(segment.direction, &chunk, from_start, &mut |direction, chunk| {
                protocol.on_chunk(direction, chunk, from_start, context, out);
            });
        });
        let now = Now { at: segment.at, frame: Some(segment.frame) };
        if was_steady {
            if self.tcp.side(segment.direction).stream.end().since(end)
                != segment.payload.len() as u64
            {
                self.doubt_bytes_again(segment);
            }
            if out.has_events() {
                self.doubt_bytes(segment, end);
            } else if self.tcp.flows() && !context.warns {
                self.is_reported_idle = false;
                self.complete(now, out);
                return Keep::AsBefore;
            }
        }
        if let (Some(originator), ProtocolState::Distribution(distribution)) =
            (self.tcp.originator(), &mut self.protocol)
        {
            distribution.orient(originator, Orientation::Syn);
        }
        self.is_reported_idle = false;
        self.report_proxy_header(out);
        let keep = self.report_changes(now, context, out);
        self.complete(now, out);
        keep
    }

    /// Looks at a segment before its connection takes it in. Gives the result if it counts for nothing, or if the
    /// connection was read again with it.
    #[inline(never)] // not for a segment with bytes of an established connection
    fn sift(
        &mut self,
        segment: &Segment<'_>,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) -> Option<Keep> {
        if self.tcp.is_dropped(segment, self.early.is_some()) {
            return Some(Keep::AsBefore);
        }
        let is_of_handshake = !self.established_reported || segment.flags.opens_or_closes();
        if is_of_handshake
            && segment.payload.len() <= MOST_HANDSHAKE_BYTES
            && !self.tcp.is_intact(segment)
        {
            return Some(Keep::AsBefore);
        }
        if self.early.is_some()
            && self.may_be_kept(segment)
            && let Some(keep) = self.keep_early(segment, context, out)
        {
            return Some(keep);
        }
        if self.tcp.has_closed() {
            self.tcp.refute_close(segment);
        }
        if segment.flags.has(TcpFlags::FIN) {
            self.doubt_bytes_before(segment);
        }
        None
    }

    /// Takes back a corrupt frame in bytes for which a FIN leaves no place: its sender did not send them, or the side that
    /// closes had not received them. Forgets the pauses between ticks since such bytes of the side that closes.
    #[cold] // at the close
    fn doubt_bytes_before(&mut self, fin: &Segment<'_>) {
        let ProtocolState::Distribution(distribution) = &mut self.protocol else { return };
        for direction in [fin.direction, fin.direction.reverse()] {
            if let Some(at) = self.tcp.not_before(fin, direction) {
                distribution.take_back_since(direction, at.unwrap_or(fin.at));
                if direction == fin.direction {
                    distribution.forget_pauses(direction, at.unwrap_or_default());
                }
            }
        }
    }

    /// Takes back a corrupt frame in whose place other bytes come, and forgets the pauses between ticks since then: of two
    /// segments with different bytes for the same sequence numbers, one is of another sender.
    #[cold] // few segments repeat bytes
    fn doubt_bytes_again(&mut self, segment: &Segment<'_>) {
        if let ProtocolState::Distribution(distribution) = &mut self.protocol
            && let Some(corrupt) = self.corrupt.take_if(|corrupt| corrupt.differs_from(segment))
        {
            distribution.take_back(segment.direction, corrupt.frame);
        }
        if let ProtocolState::Distribution(distribution) = &mut self.protocol
            && let Some(since) = self.tcp.sent_by_another_since(segment)
        {
            distribution.forget_pauses(segment.direction, since);
        }
    }

    /// Takes back a corrupt frame that a segment showed, if the segment came another way than those before it, or with a
    /// wrong checksum: its receiver may not have taken it. Or if a part of its bytes came before, up to `end`: what came
    /// before may have been of another sender.
    #[cold] // few segments of an established connection are reported
    fn doubt_bytes(&mut self, segment: &Segment<'_>, end: TcpOffset) {
        let stream = &self.tcp.side(segment.direction).stream;
        let overlaps = stream.offset_of(SeqNum(segment.seq)).is_some_and(|offset| offset < end);
        if let ProtocolState::Distribution(distribution) = &mut self.protocol
            && (overlaps || !self.tcp.is_usual(segment))
        {
            distribution.take_back(segment.direction, segment.frame);
        } else if let ProtocolState::Distribution(distribution) = &self.protocol
            && distribution.is_corrupt_in(segment.direction, segment.frame)
        {
            self.corrupt = Some(Box::new(CorruptSegment::new(segment)));
        }
    }

    /// Whether the completion of its handshake was reported.
    pub(super) const fn is_established_reported(&self) -> bool {
        self.established_reported
    }

    /// Takes over that the completion of the handshake was reported of `before`, if it is complete here too.
    pub(super) const fn was_established(&mut self, before: &Self) {
        self.established_reported |= before.established_reported && self.completion.is_some();
    }

    /// Takes over what was reported of `before`, which is the same connection.
    pub(super) fn take_over(&mut self, before: &mut Self) {
        self.encap = std::mem::take(&mut before.encap);
        self.ids = before.ids.take();
        self.observed = before.observed;
        self.proxy_reported = before.proxy_reported;
        self.tcp.take_over(&mut before.tcp);
    }

    /// Takes in an ICMP error: the SYN of `direction` was not delivered.
    pub fn on_unreachable(
        &mut self,
        unreachable: &Unreachable,
        direction: Direction,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        self.tcp.on_unreachable(unreachable, direction);
        let now = Now { at: unreachable.at, frame: Some(unreachable.frame) };
        self.report_changes(now, context, out);
        self.complete(now, out);
    }

    /// When [`Self::on_time`] is to be called if no segment comes before; `None` for never.
    #[inline]
    pub fn deadline(&self, limits: &Limits, warns: bool) -> Option<Timestamp> {
        if self.is_steady() {
            let drop = self.tcp.last().at.after(limits.established_idle);
            let silence = if warns { self.next_silence() } else { None };
            let due = silence.map(|(_, last, period)| close_after(last, period));
            return Some(due.map_or(drop, |due| drop.min(due)));
        }
        let action = self.next_idle_action(limits).map(|(due, _)| due);
        match (action, self.tcp.deadline(limits)) {
            (Some(action), Some(gap)) => Some(action.min(gap)),
            (action, gap) => action.or(gap),
        }
    }

    /// Whether its establishment was reported and its bytes come in order. A segment then changes nothing that is
    /// reported, and only silence has a deadline. This holds for nearly all segments of most connections, which skip
    /// the checks for a change of state.
    #[inline]
    fn is_steady(&self) -> bool {
        self.established_reported && !self.over && self.tcp.flows()
    }

    /// A silence of an established connection that was not examined yet: the silent direction, its last packet, and the
    /// tick period of the other side. It is to be examined at the time of [`close_after`].
    fn next_silence(&self) -> Option<(Direction, PacketRef, Duration)> {
        let ProtocolState::Distribution(distribution) = &self.protocol else { return None };
        // Ticks that are neither acknowledged nor sent again may be of another sender.
        let silence = distribution.silent(|ticking| self.tcp.side(ticking).in_doubt_since());
        silence.filter(|(_, last, _)| self.warned != Some(*last))
    }

    /// Reports a silence that is due, unless the capture may lack what the side sent.
    fn report_due_silence(&mut self, now: Now, context: &ConnContext<'_>, out: &mut ConnOutput) {
        let is_due = |last, period| close_after(last, period) <= now.at;
        let silence = self.next_silence().filter(|(_, last, period)| is_due(*last, *period));
        let Some((silent, last, period)) = silence else { return };
        self.warned = Some(last);
        let ProtocolState::Distribution(distribution) = &self.protocol else { return };
        let other = &distribution.side(silent.reverse()).messages;
        let is_other_active = other.last().is_some_and(|tick| tick.at >= last.at.after(period * 2));
        // The side may have sent bytes that the capture lacks, and it cannot send while the window of the other side
        // is closed.
        let is_whole =
            self.tcp.missing(silent) == 0 && !self.tcp.side(silent.reverse()).is_window_closed();
        if is_other_active && is_whole && self.tcp.both_seen() {
            self.report_silence(now, silent, last, context, out);
        }
    }

    /// The action if no packet comes, and its time; `None` if the connection may stay quiet.
    fn next_idle_action(&self, limits: &Limits) -> Option<(Timestamp, IdleAction)> {
        let last = self.tcp.last().at;
        let report_then_drop = |report: Timestamp, drop: Timestamp| {
            if self.is_reported_idle {
                (drop.max(report), IdleAction::Drop)
            } else {
                (report, IdleAction::Report)
            }
        };
        let drop = last.after(limits.handshake_forget);
        if let Some(completion) = self.unconfirmed()
            && !self.tcp.has_closed()
        {
            return Some((completion.due(limits), IdleAction::Confirm));
        }
        Some(if self.over {
            report_then_drop(last.after(limits.close_grace), last.after(limits.closed_forget))
        } else if !self.is_erlang() {
            (last.after(limits.handshake_idle), IdleAction::Drop)
        } else {
            let opened = self.tcp.opened();
            if let Some(refused) = opened.refused() {
                return Some(report_then_drop(refused.at.after(REFUSAL_GRACE), drop));
            } else if self.tcp.first_close().is_some() {
                return Some(report_then_drop(last.after(limits.close_grace), drop));
            } else if matches!(opened, Opened::Unanswered) {
                let timeout = self.tcp.first().at.after(limits.syn_wait);
                return Some(report_then_drop(timeout.max(last.after(limits.close_grace)), drop));
            }
            match &self.protocol {
                ProtocolState::Epmd(epmd) if epmd.is_registration() => return None,
                ProtocolState::Distribution(distribution) if distribution.is_established() => {
                    (last.after(limits.established_idle), IdleAction::Drop)
                }
                _ => report_then_drop(last.after(limits.handshake_idle), drop),
            }
        })
    }

    /// Does what is due when the capture's clock has reached [`Self::deadline`].
    pub fn on_time(
        &mut self,
        now: Timestamp,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) -> Keep {
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let Self { tcp, transport, protocol, .. } = self;
            let from_start = tcp.has_start(direction);
            tcp.settle(direction, now, context.limits, &mut |chunk| {
                transport.on_chunk(direction, &chunk, from_start, &mut |direction, chunk| {
                    protocol.on_chunk(direction, chunk, from_start, context, out);
                });
            });
        }
        self.open_waiting(false, context, out);
        let at = Now { at: now, frame: None };
        let keep = self.act_when_idle(at, context, out);
        self.complete(at, out);
        keep
    }

    /// Does what is due at `at`, after the streams have passed on the bytes behind gaps that were given up.
    fn act_when_idle(&mut self, at: Now, context: &ConnContext<'_>, out: &mut ConnOutput) -> Keep {
        if self.report_changes(at, context, out) == Keep::No {
            return Keep::No;
        }
        if context.warns && self.is_steady() {
            self.report_due_silence(at, context, out);
        }
        match self.next_idle_action(context.limits) {
            Some((due, action)) if due <= at.at && action != IdleAction::Confirm => {
                if self.is_erlang() {
                    let is_epmd = matches!(self.protocol, ProtocolState::Epmd(_));
                    let is_end = action == IdleAction::Drop && is_epmd;
                    let reason = if is_end { ReportReason::End } else { ReportReason::Quiet };
                    self.report(at, reason, action == IdleAction::Drop, context, out);
                } else {
                    self.tcp.discard();
                }
                self.is_reported_idle = true;
                if action == IdleAction::Drop { Keep::No } else { Keep::Yes }
            }
            _ => Keep::Yes,
        }
    }

    /// Reports the connection at the end of the capture, or when it is dropped to free its entry.
    pub fn on_end(&mut self, now: Timestamp, context: &ConnContext<'_>, out: &mut ConnOutput) {
        let at = Now { at: now.max(self.tcp.last().at), frame: None };
        let at = if self.over { at } else { self.refused_at().unwrap_or(at) };
        if !self.is_erlang() {
            // A stream whose opening was not seen may still hold the bytes that show its protocol.
            self.give_rest(context, out);
            if self.report_changes(at, context, out) == Keep::No || !self.is_erlang() {
                self.tcp.discard();
                return;
            }
        }
        self.read_again_at_end(context, out);
        self.report(at, ReportReason::End, true, context, out);
        self.complete(at, out);
    }

    /// Whether the bytes so far show EPMD or the distribution protocol, or the port does.
    pub(super) fn is_erlang(&self) -> bool {
        match &self.protocol {
            ProtocolState::Epmd(epmd) => epmd.is_certain(),
            ProtocolState::Distribution(distribution) => distribution.is_certain,
        }
    }

    /// Reports a change of state that the last input caused.
    fn report_changes(
        &mut self,
        now: Now,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) -> Keep {
        if self.is_steady() {
            return Keep::Yes;
        }
        if let ProtocolState::Distribution(distribution) = &self.protocol {
            let is_certain = distribution.is_certain;
            let is_undecided = !is_certain && self.tcp.segments() > MAX_UNDECIDED;
            let is_hopeful = self.transport.opener().is_some_and(TlsOpener::is_hopeful);
            let is_other_tls = !is_certain && self.transport.has_tls() && !is_hopeful;
            if is_undecided || is_other_tls || distribution.is_other_protocol() {
                self.tcp.discard();
                return Keep::No;
            }
            if distribution.is_established()
                && is_certain
                && !self.established_reported
                // Then the report of its end has all.
                && !self.tcp.has_closed()
            {
                self.note_completion(now, context, out);
            }
        }
        if let ProtocolState::Epmd(epmd) = &self.protocol
            && epmd.has_refusal()
        {
            self.note_completion(now, context, out);
        }
        if !self.is_erlang() {
            let ProtocolState::Epmd(epmd) = &self.protocol else { return Keep::Yes };
            let is_refused = self.tcp.opened().refused().is_some();
            if epmd.is_other_protocol() || is_refused || self.tcp.is_over(now.at, context.limits) {
                self.tcp.discard();
                return Keep::No;
            }
            return Keep::Yes;
        }
        let is_over = match self.refused_at() {
            Some(refused) => self.is_refusal_sure(refused, now.at),
            None => self.tcp.is_over(now.at, context.limits),
        };
        if !self.over && is_over {
            self.read_again_at_end(context, out);
            self.over = true;
            let now = self.refused_at().unwrap_or(now);
            self.report(now, ReportReason::Over, false, context, out);
            self.complete(now, out);
        } else if self.over && !is_over {
            // A later segment showed that the connection had not ended.
            self.over = false;
        }
        Keep::Yes
    }

    /// Whether nothing else answers the SYN: it was answered as a closed port does, or a moment has passed.
    fn is_refusal_sure(&self, refused: Now, now: Timestamp) -> bool {
        self.tcp.is_port_closed() || now >= refused.at.after(REFUSAL_GRACE)
    }

    /// Whether the SYN was answered with a refusal.
    pub fn is_refused(&self) -> bool {
        self.refused_at().is_some()
    }

    /// The packet that refused the connection, which is reported a moment later.
    fn refused_at(&self) -> Option<Now> {
        let PacketRef { at, frame } = self.tcp.opened().refused()?;
        Some(Now { at, frame: Some(frame) })
    }

    /// Completes the output of one input with its source.
    #[inline(always)] // one comparison for nearly all segments
    fn complete(&mut self, now: Now, out: &mut ConnOutput) {
        if !out.is_empty() {
            self.add_source(now, out);
        }
    }

    /// Adds the source of an output that is not empty.
    #[inline(never)]
    fn add_source(&mut self, now: Now, out: &mut ConnOutput) {
        let input = now.frame.is_none().then_some(self.tcp.last().frame.input);
        let connection = self.ids();
        let source = Settled { at: now.at, frame: now.frame, input, host_input: None, connection };
        let nodes = match &self.protocol {
            ProtocolState::Distribution(distribution) => distribution.exchange.nodes(),
            ProtocolState::Epmd(_) => None,
        };
        out.complete(source, nodes);
    }

    /// The endpoint that sends in `direction`.
    pub(super) fn end(&self, direction: Direction) -> Endpoint {
        let [up, down] = self.ends;
        match direction {
            Direction::LowToHigh => up,
            Direction::HighToLow => down,
        }
    }
}

/// No message of a handshake is longer, but for those of TLS.
const MOST_HANDSHAKE_BYTES: usize = 512;

/// Segments after which a connection that may be of the distribution protocol is dropped if it has not shown so: more
/// than a first handshake message takes in segments of one byte.
const MAX_UNDECIDED: u64 = 512;
