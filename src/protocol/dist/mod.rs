//! One distribution connection: its roles, its handshake, and the frames behind it.
//!
//! In: plain bytes and gaps of both directions. Out: observations of handshake messages, the messages behind them,
//! and the facts that an observation of the connection needs.

pub(super) mod handshake;

use std::time::Duration;

use self::handshake::{Exchange, HandshakeStep};
use super::framing::{Framing, FramingItem};
use super::messages::{FrameContext, FrameScanEnd, MessageStream, PendingCalls};
use super::{ConnContext, ConnOutput, Observed};
use crate::flow::{Direction, PerDirection};
use crate::identify;
use crate::observe::{
    Anomaly, AnomalyKind, CallSums, CorruptFrame, ForeignBytes, FrameTraffic, MessageSums,
    Orientation, PauseSpan, PerRole, Role,
};
use crate::packet::{FrameRef, PacketRef};
use crate::stream::tcp::TcpConnection;
use crate::stream::{StreamEvent, TcpOffset};
use crate::time::Timestamp;
use crate::transport::PlainChunk;
use crate::wire::handshake::{self as wire, HandshakeMessage, Status};
use crate::wire::{DistFlags, WireError, decode};

/// The state of one connection to a node, or to a distribution port.
#[derive(Debug)]
pub(super) struct Distribution {
    sides: PerDirection<DirectionState>,
    pub(super) exchange: Exchange,
    /// Allocated with the first call: most connections have none.
    pub(super) calls: Option<Box<PendingCalls>>,
    /// The direction of the initiator, and how it was determined.
    initiator: Option<(Direction, Orientation)>,
    /// Whether the protocol is certain, by the port or by the data.
    pub(super) is_certain: bool,
}

/// The state of one direction of a distribution connection.
#[derive(Debug)]
pub(super) struct DirectionState {
    framing: Framing,
    /// Whether data or a gap has come.
    has_data: bool,
    pub(super) messages: MessageStream,
    /// Ticks at positions at which a frame is likely and not certain.
    maybe_frames: u64,
    /// The packet with the first data of another protocol, and what they look like.
    pub(super) foreign: Option<(PacketRef, &'static str)>,
    /// Segments in which no message or frame was found at an unknown position.
    unknown: u32,
}

impl DirectionState {
    fn new(context: &ConnContext<'_>) -> Self {
        Self {
            framing: Framing::new(
                context.limits.handshake_message,
                context.message_memory.reservation(),
            ),
            has_data: false,
            messages: MessageStream::new(context.message_memory),
            maybe_frames: 0,
            foreign: None,
            unknown: 0,
        }
    }

    /// The number of frames, without bytes that only may be a frame.
    pub(super) const fn frames(&self) -> u64 {
        self.messages.frames() + self.maybe_frames
    }
}

impl Distribution {
    pub(super) fn new(is_certain: bool, context: &ConnContext<'_>) -> Self {
        Self {
            sides: PerDirection::from_fn(|_| DirectionState::new(context)),
            exchange: Exchange::default(),
            calls: None,
            initiator: None,
            is_certain,
        }
    }

    /// The direction of the initiator and how it was determined, if it was.
    pub(super) const fn initiator(&self) -> Option<(Direction, Orientation)> {
        self.initiator
    }

    /// Sets the direction of the initiator, unless it was determined in a way at least as reliable as `by`.
    pub(super) fn orient(&mut self, initiator: Direction, by: Orientation) {
        let is_determined = self.initiator.is_some_and(|(_, known)| rank(known) <= rank(by));
        if !is_determined {
            self.initiator = Some((initiator, by));
        }
    }

    /// The state of one direction.
    #[inline(always)]
    pub(super) fn side(&self, direction: Direction) -> &DirectionState {
        &self.sides[direction]
    }

    /// Whether the data show another protocol.
    pub(super) fn is_other_protocol(&self) -> bool {
        !self.is_certain
            && self
                .sides
                .each()
                .into_iter()
                .any(|side| side.foreign.is_some() || side.unknown > MAX_UNKNOWN)
    }

    /// Whether the handshake was completed, as far as this connection shows: an acknowledgement, or a frame.
    pub(super) fn is_established(&self) -> bool {
        self.exchange.facts.ack.is_some()
            || self.sides.each().into_iter().any(|side| side.frames() > 0)
    }

    /// Takes in the next bytes of one direction, or a gap. `from_start`: the first byte is the first one
    /// of the stream, as the opening of the connection shows.
    #[inline]
    pub(super) fn on_stream(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        from_start: bool,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        match chunk.event {
            // Nearly all data are frames.
            StreamEvent::Data(mut bytes) if self.side(direction).framing.is_in_frames() => {
                self.on_frames(direction, &mut bytes, chunk.packet, context, out);
            }
            _ => self.on_gap_or_handshake(direction, chunk, from_start, context, out),
        }
    }

    /// Takes in a gap, or bytes that are not or not only frames. Never inlined: the code for frames stays small.
    #[inline(never)]
    fn on_gap_or_handshake(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        from_start: bool,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let side = &mut self.sides[direction];
        if !std::mem::replace(&mut side.has_data, true) {
            if chunk.is_opened() {
                side.framing.use_long_prefix();
            }
            if from_start {
                side.framing.begin();
            } else {
                self.exchange.facts.is_lost = PerRole { initiator: true, acceptor: true };
            }
        }
        let bytes = match chunk.event {
            StreamEvent::Data(bytes) => bytes,
            StreamEvent::Gap(bytes) => return self.on_gap(direction, bytes),
        };
        let joined = self.sides[direction].framing.take_tail().map(|mut tail| {
            tail.extend_from_slice(bytes);
            tail
        });
        let mut input = joined.as_deref().unwrap_or(bytes);
        while !input.is_empty() {
            if self.side(direction).framing.is_in_frames() {
                self.on_frames(direction, &mut input, chunk.packet, context, out);
            } else if let Some(item) = self.sides[direction].framing.next(&mut input) {
                let end = chunk.end_without(input.len());
                self.on_item(direction, item, *chunk.packet, end, context, out);
            } else if !self.side(direction).framing.is_in_frames() {
                return;
            }
        }
    }

    /// Takes in a gap of `bytes` bytes.
    fn on_gap(&mut self, direction: Direction, bytes: u64) {
        let side = &mut self.sides[direction];
        if side.framing.is_in_frames() {
            if !side.messages.gap(bytes) {
                side.framing.lose_frames();
            }
        } else if let Some(FramingItem::HandshakeLost(len)) = side.framing.gap(bytes) {
            self.on_lost(direction, len);
        }
        if let Some(role) = self.role_of(direction) {
            self.exchange.facts.is_lost[role] = true;
        }
    }

    /// Reads the frames at the front of `input`.
    fn on_frames(
        &mut self,
        direction: Direction,
        input: &mut &[u8],
        mark: &PacketRef,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let from = self.role_of(direction).unwrap_or(match direction {
            Direction::LowToHigh => Role::Initiator,
            Direction::HighToLow => Role::Acceptor,
        });
        let Self { sides, calls, .. } = self;
        let side = &mut sides[direction];
        let mut frame_context = FrameContext {
            direction,
            from,
            mark,
            detail: context.messages,
            calls,
            batch: &mut out.messages,
            pool: context.message_memory,
        };
        let end = side.messages.read(input, &mut frame_context);
        self.is_certain |= side.messages.frames() > 0;
        if let FrameScanEnd::NoFrame { len, start } = end {
            *input = &[];
            side.framing.lose_frames();
            side.messages.on_broken(*mark);
            if self.is_certain {
                let detail = format!(
                    "expected a frame, found bytes {:02x} {:02x} behind the length {len}",
                    start[0], start[1]
                );
                out.push(anomaly(AnomalyKind::Malformed, Some("frame"), None, detail));
            }
        }
    }

    /// Takes in an item that `framing` has cut.
    fn on_item(
        &mut self,
        direction: Direction,
        item: FramingItem<'_>,
        mark: PacketRef,
        end: TcpOffset,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        match item {
            FramingItem::Handshake(body) => {
                self.on_message(direction, body, mark, end, context, out)
            }
            FramingItem::HandshakeLost(len) => self.on_lost(direction, len),
            FramingItem::MaybeTick => {
                let side = &mut self.sides[direction];
                side.messages.on_maybe_tick(mark.at);
                // Four zero bytes may be part of a message. A second time makes ticks likely.
                side.maybe_frames += u64::from(side.messages.ticks() > 1);
            }
            FramingItem::Foreign(bytes) => {
                self.sides[direction].foreign = Some((mark, identify::looks_like(bytes)));
            }
            FramingItem::Unknown => self.sides[direction].unknown += 1,
        }
    }

    /// Takes in a whole handshake message.
    fn on_message(
        &mut self,
        direction: Direction,
        body: &[u8],
        mark: PacketRef,
        end: TcpOffset,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        if !matches!(self.initiator, Some((_, Orientation::Syn)))
            && let Some(role) = sender_of(body)
        {
            let initiator = if role == Role::Initiator { direction } else { direction.reverse() };
            if self.initiator.is_none_or(|(known, _)| known != initiator) {
                self.initiator = Some((initiator, Orientation::Handshake));
            }
        }
        let Some(role) = self.role_of(direction) else { return };
        let step = self.exchange.on_message(
            role,
            body,
            mark,
            end,
            context.cookies,
            context.include_secrets,
        );
        match step {
            Ok(HandshakeStep { observation, is_last, out_of_turn }) => {
                if let Some(error) = out_of_turn {
                    if self.is_certain {
                        let detail =
                            format!("{} from the {role} in phase {:?}", error.got, error.phase);
                        out.push(anomaly(AnomalyKind::OutOfTurn, None, None, detail));
                    }
                    self.sides[direction].framing.close();
                    return;
                }
                // Bytes of other protocols look like the other messages by chance.
                self.is_certain = self.is_certain || identify::is_hello(body);
                if self.is_certain {
                    out.push(Observed::Handshake(Box::new(observation)));
                }
                if is_last {
                    let is_latin1 = self.exchange.facts.lacks(DistFlags::UTF8_ATOMS);
                    let finds_records = self.exchange.facts.only_side_with_records() == Some(role);
                    let side = &mut self.sides[direction];
                    if self.is_certain {
                        side.framing.switch_to_frames();
                    } else {
                        // A frame must show itself as one before zeros behind these bytes count as ticks.
                        side.framing.lose_frames();
                    }
                    if is_latin1 {
                        side.messages.use_latin1();
                    }
                    if finds_records {
                        side.messages.find_records();
                    }
                }
            }
            Err(WireError { field, offset, .. }) => {
                let side = &mut self.sides[direction];
                side.framing.close();
                side.foreign = Some((mark, "a malformed handshake message"));
                if self.is_certain {
                    let detail = format!("expected a handshake message from the {role}");
                    out.push(anomaly(
                        AnomalyKind::Malformed,
                        Some(field),
                        Some(offset as u64),
                        detail,
                    ));
                }
            }
        }
    }

    /// Takes in the loss of a handshake message of `len` bytes.
    fn on_lost(&mut self, direction: Direction, len: usize) {
        if let Some(role) = self.role_of(direction)
            && self.exchange.on_lost(role, len)
            && self.is_certain
        {
            self.sides[direction].framing.switch_to_frames();
        }
    }

    /// The role of the side that sends in `direction`, if it is known.
    fn role_of(&self, direction: Direction) -> Option<Role> {
        let (initiator, _) = self.initiator?;
        Some(if initiator == direction { Role::Initiator } else { Role::Acceptor })
    }

    /// The totals of the calls of each direction.
    pub(super) fn settle_calls(&mut self) -> PerDirection<Vec<CallSums>> {
        match &mut self.calls {
            Some(calls) => calls.settle(),
            None => PerDirection::from_fn(|_| Vec::new()),
        }
    }

    /// The number of frames and ticks of one direction after the handshake, and its first corrupt frame.
    pub(super) fn traffic(&self, direction: Direction) -> FrameTraffic {
        let state = self.side(direction);
        let corrupt = state.messages.corrupt();
        FrameTraffic {
            frames: state.frames(),
            messages: state.messages.messages(),
            ticks: state.messages.ticks(),
            tick_period: state.messages.tick_period(),
            last: state.messages.last(),
            longest_pause: state.messages.longest_pause(),
            corrupt: corrupt.map(|it| CorruptFrame { mark: it.mark, field: it.field.into() }),
            native_records: state.messages.records(),
        }
    }

    /// Takes back what the bytes in the packet of `frame` showed of `direction` behind the handshake.
    pub(super) fn take_back(&mut self, direction: Direction, frame: FrameRef) {
        self.sides[direction].messages.take_back(frame);
    }

    /// Whether a frame of `direction` is corrupt in the packet of `frame`.
    pub(super) fn is_corrupt_in(&self, direction: Direction, frame: FrameRef) -> bool {
        self.sides[direction].messages.corrupt().is_some_and(|corrupt| corrupt.mark.frame == frame)
    }

    /// Forgets the pauses between the ticks of a direction since `at`: they were not of its sender.
    pub(super) fn forget_pauses(&mut self, direction: Direction, at: Timestamp) {
        self.sides[direction].messages.forget_pauses(at);
    }

    /// Takes back what the bytes since `at` showed of `direction` behind the handshake.
    pub(super) fn take_back_since(&mut self, direction: Direction, at: Timestamp) {
        self.sides[direction].messages.take_back_since(at);
    }

    /// The first packet of one direction with data of another protocol.
    pub(super) fn foreign(&self, direction: Direction) -> Option<ForeignBytes> {
        let (mark, looks_like) = self.side(direction).foreign?;
        Some(ForeignBytes { mark, looks_like: looks_like.into() })
    }

    /// The totals of the messages of one direction after the handshake. `calls` are those of
    /// [`Self::settle_calls`].
    pub(super) fn messages(
        &self,
        direction: Direction,
        calls: Vec<CallSums>,
        tcp: &TcpConnection,
    ) -> Option<MessageSums> {
        let mut sums = self.side(direction).messages.sums(tcp.last().at)?;
        sums.calls = calls;
        let stall = tcp.side(direction).longest_closed_window();
        sums.longest_stall =
            stall.map(|stall| PauseSpan { lasted_us: stall.lasted_us, since: stall.since });
        Some(sums)
    }

    /// The silent direction, its last packet, and the tick period of the other side, of two the longer one: by all of its
    /// ticks, and by those before the time that `in_doubt_since` gives for that side. If both sides are silent, the one that
    /// the other one gives up first.
    pub(super) fn silent(
        &self,
        in_doubt_since: impl Fn(Direction) -> Option<Timestamp>,
    ) -> Option<(Direction, PacketRef, Duration)> {
        let silences =
            [Direction::LowToHigh, Direction::HighToLow].into_iter().filter_map(|silent| {
                let other = &self.side(silent.reverse()).messages;
                let mut period = other.tick_period()?;
                if let Some(since) = in_doubt_since(silent.reverse()) {
                    period = period.max(other.tick_period_before(since)?);
                }
                let last = self.side(silent).messages.last()?;
                Some((silent, last, period))
            });
        silences.min_by_key(|(_, last, period)| close_after(*last, *period))
    }
}

/// The time shortly before a node closes whose peer is silent since `last`: it closes after four of its own tick periods, one
/// less or more. The time is a quarter of a period before the earliest of them.
pub(super) fn close_after(last: PacketRef, period: Duration) -> Timestamp {
    last.at.after(period * 11 / 4)
}

/// The role of the sender of a handshake message, if the message shows it.
fn sender_of(body: &[u8]) -> Option<Role> {
    match body.first()? {
        b'r' | b'c' => Some(Role::Initiator),
        b'a' => Some(Role::Acceptor),
        b's' => match decode(body, wire::status) {
            Ok(Status::True | Status::False) => Some(Role::Initiator),
            _ => Some(Role::Acceptor),
        },
        _ => {
            // `send_name` and `challenge` have the same tag; the layout in which the name ends the message is right.
            let is_exact = |message: HandshakeMessage<'_>| match message {
                HandshakeMessage::SendName(m) => {
                    m.extra.is_empty() && (wire::is_node_name(m.name) || m.asks_for_name())
                }
                HandshakeMessage::Challenge(m) => m.extra.is_empty() && wire::is_node_name(m.name),
                _ => false,
            };
            let challenge = decode(body, wire::from_acceptor).is_ok_and(is_exact);
            let send_name = decode(body, wire::from_initiator).is_ok_and(is_exact);
            match (send_name, challenge) {
                (true, false) => Some(Role::Initiator),
                (false, true) => Some(Role::Acceptor),
                // In version 5 the challenge can be read as the first four bytes of a name.
                (true, true) => Some(if body.get(7).is_some_and(u8::is_ascii_graphic) {
                    Role::Initiator
                } else {
                    Role::Acceptor
                }),
                (false, false) => None,
            }
        }
    }
}

/// The reliability of a way to determine the initiator; the lowest is the most reliable.
const fn rank(orientation: Orientation) -> u8 {
    match orientation {
        Orientation::Syn => 0,
        Orientation::Handshake => 1,
        Orientation::Epmd => 2,
        Orientation::Guess => 3,
    }
}

/// The observation of an anomaly.
fn anomaly(
    kind: AnomalyKind,
    field: Option<&'static str>,
    offset: Option<u64>,
    detail: String,
) -> Observed {
    Observed::Anomaly(Anomaly { kind, field: field.map(Into::into), offset, detail })
}

/// Most segments without the start of a message or frame before a stream without its beginning is dropped.
const MAX_UNKNOWN: u32 = 3;
