//! Stage 5: what one connection says, and the verdict on it.
//!
//! In: the segments of one connection, and time. Out: events about it, and the messages on it. A
//! connection is a pure function of its own segments and of the facts it is told: no clock, no I/O, no
//! look at a neighbour, so that the order in which unrelated connections interleave changes nothing.

pub mod digest;
mod dist;
mod epmd;
mod framing;
mod messages;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

pub use messages::MessageDetail;

use self::digest::CandidateCookies;
use self::dist::Distribution;
use self::epmd::EpmdConnection;
use crate::decode::{Endpoint, Segment, TcpFlags, Unreachable};
use crate::flow::Direction;
use crate::limits::Limits;
use crate::memory::MemoryBudget;
use crate::observe::messages::{MessageBatch, MessageEvent};
use crate::observe::{
    Anomaly, ConnectionIds, EpmdObservation, Fact, HandshakeObservation, Observation, Orientation,
    Settled,
};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::stream::tcp::{Opened, TcpConnection};
use crate::time::Timestamp;
use crate::transport::{PlainChunk, Transport};

/// What a connection works with: the same for all, and nothing that remembers.
pub struct ConnContext<'a> {
    /// Bounds.
    pub limits: &'a Limits,
    /// Candidate cookies.
    pub cookies: &'a CandidateCookies,
    /// Whether challenges and digests are told.
    pub include_secrets: bool,
    /// Which messages are told.
    pub messages: MessageDetail,
    /// Whether a side that falls silent is told before the other gives up on it: for those who watch.
    pub warns: bool,
    /// Memory for segments that wait behind a hole.
    pub reassembly: &'a MemoryBudget,
    /// Memory for what is kept of messages.
    pub pool: &'a MemoryBudget,
    /// Up to when the capture is known to have lost packets: until then, what it does not show may have been there.
    pub lost_until: Option<Timestamp>,
}

/// What one input (a segment, a timer, the end of the capture) made a connection report.
#[derive(Debug, Default)]
pub struct ConnOutput {
    /// Events and ranges of messages, in the order in which the connection produced them.
    events: Vec<ConnEvent>,
    /// The messages that the ranges in `events` refer to.
    messages: MessageBatch,
    /// Number of messages that a range in `events` covers.
    placed: usize,
    /// Set when the input has been processed and there is something to report.
    source: Option<Settled>,
}

/// One entry of a connection's output.
#[derive(Debug)]
pub enum ConnEvent {
    /// Anything but a message after the handshake.
    Observed(Observed),
    /// Consecutive messages after the handshake: indices for [`ConnOutput::each_message`].
    Messages(Range<usize>),
}

/// What a connection observes, before its time and its connection are added.
#[derive(Debug)]
pub enum Observed {
    /// The connection itself, as far as it was seen.
    Connection(Box<Observation>),
    /// A request to a port mapper, and what came of it.
    Epmd(Box<EpmdObservation>),
    /// One message of a handshake.
    Handshake(Box<HandshakeObservation>),
    /// Something that the protocol does not allow.
    Anomaly(Anomaly),
}

impl Observed {
    /// The fact that this is on the connection of `settled`.
    pub fn settled(self, settled: Settled) -> Fact {
        match self {
            Self::Connection(seen) => Fact::Connection { settled, seen },
            Self::Epmd(seen) => Fact::Epmd { settled, seen },
            Self::Handshake(message) => Fact::Handshake { settled, message },
            Self::Anomaly(anomaly) => Fact::Anomaly { settled, anomaly },
        }
    }
}

impl ConnOutput {
    /// Whether the connection reported nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.messages.is_empty()
    }

    /// Moves the events out, with their common source; `None` when there are none. The messages stay,
    /// so that [`Self::each_message`] can read the ranges.
    pub fn take_events(&mut self) -> Option<(Settled, Vec<ConnEvent>)> {
        Some((self.source.take()?, std::mem::take(&mut self.events)))
    }

    /// Calls `report` for each message of a range.
    pub fn each_message(
        &self,
        source: &Settled,
        range: Range<usize>,
        mut report: impl FnMut(&MessageEvent<'_>),
    ) {
        let connection = &source.connection;
        for message in self.messages.range(range) {
            report(&MessageEvent { connection, message });
        }
    }

    /// Empties the output for the next input. `events` is the emptied list of [`Self::take_events`]: its
    /// allocation is used again, as those of the messages are.
    pub fn reuse(&mut self, mut events: Vec<ConnEvent>) {
        events.clear();
        self.events = events;
        self.messages.clear();
        self.placed = 0;
        self.source = None;
    }

    #[cfg(test)]
    fn observed(&self) -> impl DoubleEndedIterator<Item = &Observed> {
        self.events.iter().filter_map(|event| match event {
            ConnEvent::Observed(observed) => Some(observed),
            ConnEvent::Messages(_) => None,
        })
    }

    /// Whether there is an event that is no message.
    fn has_observed(&self) -> bool {
        !self.events.is_empty()
    }

    /// Appends an event behind the messages that came before it.
    fn push(&mut self, observed: Observed) {
        self.place_messages();
        self.events.push(ConnEvent::Observed(observed));
    }

    /// Appends an event in front of the messages that no range covers yet: those of the same input.
    fn push_before_messages(&mut self, observed: Observed) {
        self.events.push(ConnEvent::Observed(observed));
    }

    /// Appends the range of the messages that no range covers yet.
    #[inline]
    fn place_messages(&mut self) {
        let (begin, end) = (self.placed, self.messages.len());
        if begin < end {
            self.events.push(ConnEvent::Messages(begin..end));
            self.placed = end;
        }
    }
}

/// One connection that is, or may be, Erlang's.
#[derive(Debug)]
pub struct Connection {
    /// The end that sends [`Direction::LowToHigh`], and the other.
    ends: [Endpoint; 2],
    tcp: TcpConnection,
    transport: Transport,
    talk: Talk,
    encap: Vec<String>,
    ids: Option<Arc<ConnectionIds>>,
    /// Whether it was observed with an outcome that counts: not only while it is being established.
    observed: bool,
    established_told: bool,
    /// Nothing more can change the record.
    over: bool,
    /// Nothing came for so long that the record was told as it stands.
    rests: bool,
    /// The last word of a side whose silence was looked at.
    warned: Option<PacketRef>,
}

/// Why a connection is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ReportReason {
    /// Both sides are done.
    Over,
    /// Nothing came for long.
    Quiet,
    /// Nothing more will come.
    End,
}

/// What time brings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// The record is told as it stands.
    Tell,
    /// It is told unless it was, and the connection forgotten.
    Forget,
}

#[derive(Debug)]
enum Talk {
    Epmd(Box<EpmdConnection>),
    Distribution(Box<Distribution>),
}

impl Talk {
    /// Takes the next plain bytes of one direction; `opening`: the capture has the opening of the connection.
    #[inline(always)]
    fn on_chunk(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        opening: bool,
        setting: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        match self {
            Self::Epmd(talk) => talk.on_stream(direction, chunk, setting.limits, out),
            Self::Distribution(talk) => talk.on_stream(direction, chunk, opening, setting, out),
        }
    }
}

/// Why a connection is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FollowReason {
    /// One of its ports is a port mapper's; who asks.
    Epmd(Direction),
    /// One of its ports is known as a node's; who dials it.
    Node(Direction),
    /// Its first bytes may be Erlang's.
    Maybe,
}

/// Whether a connection is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// It may still say something, and [`Connection::deadline`] comes no earlier than before.
    AsBefore,
    /// It may still say something.
    Yes,
    /// It is none of our business, or long over.
    No,
}

/// A moment, and the packet that brought it.
#[derive(Clone, Copy)]
struct Now {
    at: Timestamp,
    frame: Option<FrameRef>,
}

impl Connection {
    /// A connection that begins with `segment`.
    pub fn new(segment: &Segment<'_>, known: FollowReason, setting: &ConnContext<'_>) -> Self {
        let first = PacketRef { frame: segment.frame, at: segment.at };
        let ends = [Direction::LowToHigh, Direction::HighToLow]
            .map(|direction| segment.flow.end(direction));
        let talk = match known {
            FollowReason::Epmd(requester) => Talk::Epmd(Box::new(EpmdConnection::new(requester))),
            FollowReason::Node(initiator) => {
                let mut distribution = Distribution::new(true, setting);
                distribution.orient(initiator, Orientation::Epmd);
                Talk::Distribution(Box::new(distribution))
            }
            FollowReason::Maybe => Talk::Distribution(Box::new(Distribution::new(false, setting))),
        };
        let transport = match known {
            FollowReason::Epmd(_) => Transport::plain(),
            FollowReason::Node(_) | FollowReason::Maybe => Transport::recognizing(),
        };
        Self {
            ends,
            tcp: TcpConnection::new(first, setting.reassembly),
            transport,
            talk,
            encap: Vec::new(),
            ids: None,
            observed: false,
            established_told: false,
            over: false,
            rests: false,
            warned: None,
        }
    }

    /// Whether `segment` opens another connection between the same ends.
    pub fn is_other_connection(&self, segment: &Segment<'_>) -> bool {
        self.tcp.is_other_connection(segment)
    }

    /// Its first packet.
    pub const fn first(&self) -> PacketRef {
        self.tcp.first()
    }

    /// Whether it is a distribution connection that was observed to its end, or to where it rests.
    pub const fn is_observed(&self) -> bool {
        self.observed
    }

    /// Whether both sides are done with it: it is kept for stray copies of its packets alone.
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Holes that were given up, and the bytes in them.
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

    /// Whether one direction alone was seen, of a connection that had two.
    pub fn is_one_sided(&self) -> bool {
        !self.tcp.both_seen() && matches!(self.tcp.opened(), Opened::Yes)
    }

    /// Takes a segment in.
    pub fn on_segment(
        &mut self,
        segment: &Segment<'_>,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) -> Keep {
        if !segment.layers.is_empty() && self.encap.is_empty() {
            self.encap = segment.layers.iter().map(ToString::to_string).collect();
        }
        let was_at_work = self.is_at_work();
        // Two segments in five: nothing that is told changes by them.
        if was_at_work && !segment.has_bytes() && !segment.flags.opens_or_closes() {
            self.tcp.on_pure_ack(segment, setting.limits);
            self.rests = false;
            return Keep::AsBefore;
        }
        let opening = self.tcp.originator().is_some() || segment.flags.has(TcpFlags::SYN);
        let Self { tcp, transport, talk, .. } = self;
        if let Talk::Epmd(talk) = talk {
            talk.on_close(tcp.first_close());
        }
        tcp.on_segment(segment, setting.limits, &mut |chunk| {
            transport.on_chunk(segment.direction, &chunk, opening, &mut |chunk| {
                talk.on_chunk(segment.direction, chunk, opening, setting, said);
            });
        });
        let now = Now { at: segment.at, frame: Some(segment.frame) };
        if was_at_work && tcp.flows() && !said.has_observed() && !setting.warns {
            self.rests = false;
            self.complete(now, said);
            return Keep::AsBefore;
        }
        if let (Some(originator), Talk::Distribution(talk)) =
            (self.tcp.originator(), &mut self.talk)
        {
            talk.orient(originator, Orientation::Syn);
        }
        self.rests = false;
        let keep = self.go_on(now, setting, said);
        self.complete(now, said);
        keep
    }

    /// An ICMP message says that the SYN of `direction` did not arrive.
    pub fn on_unreachable(
        &mut self,
        unreachable: &Unreachable,
        direction: Direction,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        self.tcp.on_unreachable(unreachable, direction);
        let now = Now { at: unreachable.at, frame: Some(unreachable.frame) };
        self.go_on(now, setting, said);
        self.complete(now, said);
    }

    /// When [`Self::on_time`] wants to be called, if no segment comes before; `None` for never.
    #[inline]
    pub fn deadline(&self, limits: &Limits, warns: bool) -> Option<Timestamp> {
        if self.is_at_work() {
            let forget = self.tcp.last().at.after(limits.established_idle);
            let warning = if warns { self.silence() } else { None };
            return Some(warning.map_or(forget, |(_, _, due)| forget.min(due)));
        }
        let step = self.next_step(limits).map(|(due, _)| due);
        match (step, self.tcp.deadline(limits)) {
            (Some(step), Some(settle)) => Some(step.min(settle)),
            (step, settle) => step.or(settle),
        }
    }

    /// Whether it is established, as was told, and its bytes come in order: then nothing changes the record, and
    /// silence alone is waited for. So it is for nearly all segments of most connections, and they need none of
    /// what this spares them.
    #[inline]
    fn is_at_work(&self) -> bool {
        self.established_told && !self.over && self.tcp.flows()
    }

    /// A silence of an established connection that was not looked at yet: of whom, since when, and when it is
    /// to be told.
    fn silence(&self) -> Option<(Direction, PacketRef, Timestamp)> {
        let Talk::Distribution(talk) = &self.talk else { return None };
        talk.silent().filter(|(_, last, _)| self.warned != Some(*last))
    }

    /// Tells a silence that is due, unless there is doubt about it.
    fn warn(&mut self, now: Now, setting: &ConnContext<'_>, said: &mut ConnOutput) {
        let Some((silent, last, _)) = self.silence().filter(|(_, _, due)| *due <= now.at) else {
            return;
        };
        self.warned = Some(last);
        let Talk::Distribution(talk) = &self.talk else { return };
        let other = &talk.voice(silent.reverse()).speech;
        let waits = other.tick_period().unwrap_or_default() * 2;
        let is_waited_for = other.last().is_some_and(|tick| tick.at >= last.at.after(waits));
        // What is missing may have been said, and what waits behind a closed window is.
        let is_seen =
            self.tcp.missing(silent) == 0 && !self.tcp.side(silent.reverse()).is_window_closed();
        if is_waited_for && is_seen && self.tcp.both_seen() {
            self.tell_silence(now, silent, last, setting, said);
        }
    }

    /// What is to be done about this connection when nothing comes, and when.
    fn next_step(&self, limits: &Limits) -> Option<(Timestamp, Step)> {
        let last = self.tcp.last().at;
        let tell_then_forget = |tell: Timestamp, forget: Timestamp| {
            if self.rests { (forget.max(tell), Step::Forget) } else { (tell, Step::Tell) }
        };
        let forget = last.after(limits.handshake_forget);
        Some(if self.over {
            tell_then_forget(last.after(limits.close_grace), last.after(limits.closed_forget))
        } else if !self.is_for_us() {
            (last.after(limits.handshake_idle), Step::Forget)
        } else if self.tcp.first_close().is_some() {
            tell_then_forget(last.after(limits.close_grace), forget)
        } else if matches!(self.tcp.opened(), Opened::Unanswered) {
            let waited = self.tcp.first().at.after(limits.syn_wait);
            tell_then_forget(waited.max(last.after(limits.close_grace)), forget)
        } else {
            match &self.talk {
                Talk::Epmd(talk) if talk.is_registration() => return None,
                Talk::Distribution(talk) if talk.is_established() => {
                    (last.after(limits.established_idle), Step::Forget)
                }
                _ => tell_then_forget(last.after(limits.handshake_idle), forget),
            }
        })
    }

    /// The capture's clock has reached [`Self::deadline`].
    pub fn on_time(
        &mut self,
        now: Timestamp,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) -> Keep {
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let Self { tcp, transport, talk, .. } = self;
            let opening = tcp.originator().is_some();
            tcp.settle(direction, now, setting.limits, &mut |chunk| {
                transport.on_chunk(direction, &chunk, opening, &mut |chunk| {
                    talk.on_chunk(direction, chunk, opening, setting, said);
                });
            });
        }
        let at = Now { at: now, frame: None };
        let keep = self.settle(at, setting, said);
        self.complete(at, said);
        keep
    }

    /// What [`Self::on_time`] does once the streams have handed on what they gave up waiting for.
    fn settle(&mut self, at: Now, setting: &ConnContext<'_>, said: &mut ConnOutput) -> Keep {
        if self.go_on(at, setting, said) == Keep::No {
            return Keep::No;
        }
        if setting.warns && self.is_at_work() {
            self.warn(at, setting, said);
        }
        match self.next_step(setting.limits) {
            Some((due, step)) if due <= at.at => {
                if self.is_for_us() {
                    let is_epmd = matches!(self.talk, Talk::Epmd(_));
                    let last_word = step == Step::Forget && is_epmd;
                    let why = if last_word { ReportReason::End } else { ReportReason::Quiet };
                    self.tell(at, why, step == Step::Forget, setting, said);
                } else {
                    self.tcp.discard();
                }
                self.rests = true;
                if step == Step::Forget { Keep::No } else { Keep::Yes }
            }
            _ => Keep::Yes,
        }
    }

    /// Nothing more will come: the input has ended, or the connection has to make room.
    pub fn on_end(&mut self, now: Timestamp, setting: &ConnContext<'_>, said: &mut ConnOutput) {
        let at = Now { at: now.max(self.tcp.last().at), frame: None };
        if !self.is_for_us() {
            self.tcp.discard();
            return;
        }
        self.tell(at, ReportReason::End, true, setting, said);
        self.complete(at, said);
    }

    /// Whether what was said so far may be Erlang's at all.
    fn is_for_us(&self) -> bool {
        match &self.talk {
            Talk::Epmd(_) => true,
            Talk::Distribution(talk) => talk.is_certain,
        }
    }

    /// Tells what has been settled by what just came.
    fn go_on(&mut self, now: Now, setting: &ConnContext<'_>, said: &mut ConnOutput) -> Keep {
        if self.is_at_work() {
            return Keep::Yes;
        }
        if let Talk::Distribution(talk) = &self.talk {
            let undecided = !talk.is_certain && self.tcp.segments() > MAX_UNDECIDED;
            let is_other_tls = !talk.is_certain && self.transport.has_tls();
            if undecided || is_other_tls || talk.is_not_for_us() {
                self.tcp.discard();
                return Keep::No;
            }
            if talk.is_established() && talk.is_certain && !self.established_told {
                self.established_told = true;
                self.tell_established(now, setting, said);
            }
        }
        if !self.is_for_us() {
            return Keep::Yes;
        }
        let refused = self.tcp.opened().refused().is_some();
        if !self.over && (refused || self.tcp.is_over()) {
            self.over = true;
            self.tell(now, ReportReason::Over, false, setting, said);
        } else if self.over && !refused && !self.tcp.is_over() {
            // Something came behind the end after all.
            self.over = false;
        }
        Keep::Yes
    }

    /// Ends the output of one input: the last messages get their place, and everything its source.
    #[inline]
    fn complete(&mut self, now: Now, said: &mut ConnOutput) {
        if !said.is_empty() {
            said.place_messages();
            let input = now.frame.is_none().then_some(self.tcp.last().frame.input);
            let connection = self.ids();
            said.source = Some(Settled { at: now.at, frame: now.frame, input, connection });
        }
    }

    fn end(&self, direction: Direction) -> Endpoint {
        let [up, down] = self.ends;
        match direction {
            Direction::LowToHigh => up,
            Direction::HighToLow => down,
        }
    }
}

/// Segments after which a connection that may be Erlang's should have shown it, a hello cut into single
/// bytes included.
const MAX_UNDECIDED: u64 = 512;
