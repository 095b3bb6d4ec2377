//! One distribution connection: who is the initiator, what the handshake said, what followed it.

pub(super) mod handshake;

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
use crate::packet::PacketRef;
use crate::stream::tcp::TcpConnection;
use crate::stream::{StreamEvent, TcpOffset};
use crate::time::Timestamp;
use crate::transport::PlainChunk;
use crate::wire::handshake::{self as wire, HandshakeMessage, MessageKind, Status};
use crate::wire::{DistFlags, WireError, decode};

/// What is said on one connection to a node, or to a port known as one.
#[derive(Debug)]
pub(super) struct Distribution {
    sides: PerDirection<DirectionState>,
    pub(super) exchange: Exchange,
    /// Made with the first request.
    pub(super) calls: Option<Box<PendingCalls>>,
    initiator: Option<(Direction, Orientation)>,
    /// Whether this is Erlang for sure: by its port, or by what was said.
    pub(super) is_certain: bool,
}

/// What one side says.
#[derive(Debug)]
pub(super) struct DirectionState {
    framing: Framing,
    spoke: bool,
    pub(super) speech: MessageStream,
    /// Frames that may be frames: ticks where no frame was expected for sure.
    maybe_frames: u64,
    pub(super) foreign: Option<(PacketRef, &'static str)>,
    /// Segments in which nothing was found to go on at.
    unknown: u32,
}

impl DirectionState {
    fn new(setting: &ConnContext<'_>) -> Self {
        Self {
            framing: Framing::new(setting.limits.handshake_message),
            spoke: false,
            speech: MessageStream::new(setting.pool),
            maybe_frames: 0,
            foreign: None,
            unknown: 0,
        }
    }

    /// Frames that are frames for sure.
    pub(super) const fn frames(&self) -> u64 {
        self.speech.frames() + self.maybe_frames
    }
}

impl Distribution {
    pub(super) fn new(is_certain: bool, setting: &ConnContext<'_>) -> Self {
        Self {
            sides: PerDirection::from_fn(|_| DirectionState::new(setting)),
            exchange: Exchange::default(),
            calls: None,
            initiator: None,
            is_certain,
        }
    }

    /// The roles, as far as they are known.
    pub(super) const fn initiator(&self) -> Option<(Direction, Orientation)> {
        self.initiator
    }

    /// Settles who is the initiator, by something at least as good as what settled it before.
    pub(super) fn orient(&mut self, initiator: Direction, by: Orientation) {
        let settled = self.initiator.is_some_and(|(_, known)| rank(known) <= rank(by));
        if !settled {
            self.initiator = Some((initiator, by));
        }
    }

    #[inline(always)]
    pub(super) fn voice(&self, direction: Direction) -> &DirectionState {
        &self.sides[direction]
    }

    /// Whether what was said shows that this is no business of ours.
    pub(super) fn is_not_for_us(&self) -> bool {
        !self.is_certain
            && self
                .sides
                .each()
                .into_iter()
                .any(|side| side.foreign.is_some() || side.unknown > MAX_UNKNOWN)
    }

    /// Whether the handshake ran to its end, as far as this connection alone tells.
    pub(super) fn is_established(&self) -> bool {
        self.exchange.facts.ack.is_some()
            || self.sides.each().into_iter().any(|side| side.frames() > 0)
    }

    /// The next stretch of one direction. `from_start`: the stream's first byte was its first.
    #[inline]
    pub(super) fn on_stream(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        from_start: bool,
        setting: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        match chunk.event {
            // Frames are nearly all that is ever said.
            StreamEvent::Data(mut bytes) if self.voice(direction).framing.is_in_frames() => {
                self.on_frames(direction, &mut bytes, chunk.packet, setting, out);
            }
            _ => self.on_other(direction, chunk, from_start, setting, out),
        }
    }

    /// The next stretch, which is perhaps no frames, or not all.
    #[inline(never)]
    fn on_other(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        from_start: bool,
        setting: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let voice = &mut self.sides[direction];
        if !std::mem::replace(&mut voice.spoke, true) {
            if from_start {
                voice.framing.begin();
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
            if self.voice(direction).framing.is_in_frames() {
                self.on_frames(direction, &mut input, chunk.packet, setting, out);
            } else if let Some(item) = self.sides[direction].framing.next(&mut input) {
                let end = chunk.end_without(input.len());
                self.on_item(direction, item, *chunk.packet, end, setting, out);
            } else if !self.voice(direction).framing.is_in_frames() {
                return;
            }
        }
    }

    fn on_gap(&mut self, direction: Direction, bytes: u64) {
        let voice = &mut self.sides[direction];
        if voice.framing.is_in_frames() {
            if !voice.speech.gap(bytes) {
                voice.framing.lose_frames();
            }
        } else if let Some(FramingItem::HandshakeLost(len)) = voice.framing.gap(bytes) {
            self.on_lost(direction, len);
        }
        if let Some(role) = self.role_of(direction) {
            self.exchange.facts.is_lost[role] = true;
        }
    }

    fn on_frames(
        &mut self,
        direction: Direction,
        input: &mut &[u8],
        mark: &PacketRef,
        setting: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let from = self.role_of(direction).unwrap_or(match direction {
            Direction::LowToHigh => Role::Initiator,
            Direction::HighToLow => Role::Acceptor,
        });
        let Self { sides, calls, .. } = self;
        let voice = &mut sides[direction];
        let mut context = FrameContext {
            direction,
            from,
            mark,
            detail: setting.messages,
            calls,
            batch: &mut out.messages,
            pool: setting.pool,
        };
        let end = voice.speech.read(input, &mut context);
        if let FrameScanEnd::NoFrame { len, start } = end {
            *input = &[];
            voice.framing.lose_frames();
            voice.speech.on_broken(*mark);
            let detail = format!(
                "expected a frame, found bytes {:02x} {:02x} behind the length {len}",
                start[0], start[1]
            );
            out.push(anomaly(AnomalyKind::Malformed, Some("frame"), None, detail));
        }
        self.is_certain |= self.voice(direction).speech.frames() > 0;
    }

    fn on_item(
        &mut self,
        direction: Direction,
        item: FramingItem<'_>,
        mark: PacketRef,
        end: TcpOffset,
        setting: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        match item {
            FramingItem::Handshake(body) => {
                self.on_message(direction, body, mark, end, setting, out)
            }
            FramingItem::HandshakeLost(len) => self.on_lost(direction, len),
            FramingItem::MaybeTick => {
                let voice = &mut self.sides[direction];
                voice.speech.on_maybe_tick(mark.at);
                // One could be anything; a second one is a habit.
                voice.maybe_frames += u64::from(voice.speech.ticks() > 1);
            }
            FramingItem::Foreign(bytes) => {
                self.sides[direction].foreign = Some((mark, identify::looks_like(bytes)));
            }
            FramingItem::Unknown => self.sides[direction].unknown += 1,
        }
    }

    fn on_message(
        &mut self,
        direction: Direction,
        body: &[u8],
        mark: PacketRef,
        end: TcpOffset,
        setting: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        if !matches!(self.initiator, Some((_, Orientation::Syn))) {
            if let Some(role) = sender_of(body) {
                let initiator =
                    if role == Role::Initiator { direction } else { direction.reverse() };
                if self.initiator.is_none_or(|(known, _)| known != initiator) {
                    self.initiator = Some((initiator, Orientation::Handshake));
                }
            }
        }
        let Some(role) = self.role_of(direction) else { return };
        let heard = self.exchange.on_message(
            role,
            body,
            mark,
            end,
            setting.cookies,
            setting.include_secrets,
        );
        match heard {
            Ok(HandshakeStep { observation, is_last, out_of_turn }) => {
                if let Some(misplaced) = out_of_turn {
                    let detail =
                        format!("{} from the {role} in phase {:?}", misplaced.got, misplaced.phase);
                    out.push(anomaly(AnomalyKind::OutOfTurn, None, None, detail));
                    self.sides[direction].framing.close();
                    return;
                }
                self.is_certain |= !matches!(
                    observation.message,
                    MessageKind::ChallengeReply | MessageKind::ChallengeAck
                );
                if self.is_certain {
                    out.push(Observed::Handshake(Box::new(observation)));
                }
                if is_last {
                    let is_latin1 = self.exchange.facts.lacks(DistFlags::UTF8_ATOMS);
                    let voice = &mut self.sides[direction];
                    voice.framing.switch_to_frames();
                    if is_latin1 {
                        voice.speech.use_latin1();
                    }
                }
            }
            Err(WireError { field, offset, .. }) => {
                let voice = &mut self.sides[direction];
                voice.framing.close();
                voice.foreign = Some((mark, "a malformed handshake message"));
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

    fn on_lost(&mut self, direction: Direction, len: usize) {
        if let Some(role) = self.role_of(direction) {
            if self.exchange.on_lost(role, len) {
                self.sides[direction].framing.switch_to_frames();
            }
        }
    }

    fn role_of(&self, direction: Direction) -> Option<Role> {
        let (initiator, _) = self.initiator?;
        Some(if initiator == direction { Role::Initiator } else { Role::Acceptor })
    }

    /// The calls of each direction, added up.
    pub(super) fn settle_calls(&mut self) -> PerDirection<Vec<CallSums>> {
        match &mut self.calls {
            Some(calls) => calls.settle(),
            None => PerDirection::from_fn(|_| Vec::new()),
        }
    }

    /// What one direction sent after the handshake.
    pub(super) fn traffic(&self, direction: Direction) -> FrameTraffic {
        let state = self.voice(direction);
        let corrupt = state.speech.corrupt();
        FrameTraffic {
            frames: state.frames(),
            messages: state.speech.messages(),
            ticks: state.speech.ticks(),
            tick_period: state.speech.tick_period(),
            corrupt: corrupt.map(|it| CorruptFrame { mark: it.mark, field: it.field.into() }),
        }
    }

    /// The first bytes of one direction that are of another protocol.
    pub(super) fn foreign(&self, direction: Direction) -> Option<ForeignBytes> {
        let (mark, looks_like) = self.voice(direction).foreign?;
        Some(ForeignBytes { mark, looks_like: looks_like.into() })
    }

    /// The messages of one direction after the handshake, added up, with its [calls](Self::settle_calls).
    pub(super) fn messages(
        &self,
        direction: Direction,
        calls: Vec<CallSums>,
        tcp: &TcpConnection,
    ) -> Option<MessageSums> {
        let mut sums = self.voice(direction).speech.sums(tcp.last().at)?;
        sums.calls = calls;
        let stall = tcp.side(direction).longest_closed_window();
        sums.longest_stall =
            stall.map(|stall| PauseSpan { lasted_us: stall.lasted_us, since: stall.since });
        Some(sums)
    }

    /// The side that the other, by its own ticks, will soon give up on: its last word, and when that is so
    /// old. The one that waits longest, where both do.
    pub(super) fn silent(&self) -> Option<(Direction, PacketRef, Timestamp)> {
        let silences =
            [Direction::LowToHigh, Direction::HighToLow].into_iter().filter_map(|silent| {
                let waits = self.voice(silent.reverse()).speech.tick_period()?;
                let last = self.voice(silent).speech.last()?;
                // The other gives up after four of its ticks, one less or more: a quarter of one before that.
                Some((silent, last, last.at.after(waits * 11 / 4)))
            });
        silences.min_by_key(|(_, _, due)| *due)
    }
}

/// Who sends such a message, where the message tells.
fn sender_of(body: &[u8]) -> Option<Role> {
    match body.first()? {
        b'r' | b'c' => Some(Role::Initiator),
        b'a' => Some(Role::Acceptor),
        b's' => match decode(body, wire::status) {
            Ok(Status::True | Status::False) => Some(Role::Initiator),
            _ => Some(Role::Acceptor),
        },
        _ => {
            // Both hellos have one tag; the one whose name fills it to the end is meant.
            let fills = |message: HandshakeMessage<'_>| match message {
                HandshakeMessage::SendName(m) => {
                    m.extra.is_empty() && (wire::is_node_name(m.name) || m.asks_for_name())
                }
                HandshakeMessage::Challenge(m) => m.extra.is_empty() && wire::is_node_name(m.name),
                _ => false,
            };
            let challenge = decode(body, wire::from_acceptor).is_ok_and(fills);
            let send_name = decode(body, wire::from_initiator).is_ok_and(fills);
            match (send_name, challenge) {
                (true, false) => Some(Role::Initiator),
                (false, true) => Some(Role::Acceptor),
                // In the old layout four bytes of a challenge may pass for the start of a name.
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

const fn rank(orientation: Orientation) -> u8 {
    match orientation {
        Orientation::Syn => 0,
        Orientation::Handshake => 1,
        Orientation::Epmd => 2,
        Orientation::Guess => 3,
    }
}

fn anomaly(
    kind: AnomalyKind,
    field: Option<&'static str>,
    offset: Option<u64>,
    detail: String,
) -> Observed {
    Observed::Anomaly(Anomaly { kind, field: field.map(Into::into), offset, detail })
}

/// Segments of a stream joined in its middle in which nothing begins, before it is left alone.
const MAX_UNKNOWN: u32 = 3;
