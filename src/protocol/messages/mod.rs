//! What one side says after the handshake.
//!
//! In: one direction of the stream from its first frame on. Out: an account of its messages; and each of
//! them to the log, where somebody asked for that, or where it has the other node run what it is told. The
//! terms that a message carries are looked at no further than OTP's own conventions go.

mod account;
mod atom_cache;
mod calls;
mod fields;
mod fragments;
mod frames;
#[cfg(test)]
mod tests;
mod waiting;

use std::time::Duration;

use self::account::Account;
use self::atom_cache::{AtomCache, HeaderAtoms};
pub(in crate::protocol) use self::calls::Calls;
use self::calls::{Saying, What};
use self::fragments::{Continued, FragmentReassembly, FragmentedMessage};
pub(in crate::protocol) use self::frames::Walked;
use self::frames::{Frame, Frames, Hole, MAX_HEAD, Step};
use crate::flow::Direction;
use crate::memory::MemoryBudget;
use crate::observe::messages::{MessageBatch, MessageMeta, RuleTrigger};
use crate::observe::{MessageSums, PauseSpan};
use crate::packet::PacketRef;
use crate::record::Role;
use crate::time::{Timestamp, micros};
use crate::wire::control::{ControlMessage, Field, Operation, control_message};
use crate::wire::header::{Fragment, FrameKind, Header, References, header};
use crate::wire::otp::{self, Request, RequestKind};
use crate::wire::term::{Kind, Term};
use crate::wire::{WireError, WireErrorKind};

/// Which messages are told, and what of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MessageDetail {
    /// None, but for those that have a node run what it is told.
    #[default]
    None,
    /// All, without what they carry.
    Operations,
    /// All, with what they carry.
    Payloads,
}

impl MessageDetail {
    /// Bytes of a message term that are looked at, and no further ones kept.
    const fn payload(self) -> usize {
        match self {
            Self::None | Self::Operations => LOOKED_AT,
            Self::Payloads => KEPT,
        }
    }
}

/// What a direction works with while it is read.
pub(in crate::protocol) struct FrameContext<'a> {
    pub(in crate::protocol) direction: Direction,
    /// The role of its sender.
    pub(in crate::protocol) from: Role,
    pub(in crate::protocol) mark: &'a PacketRef,
    pub(in crate::protocol) detail: MessageDetail,
    pub(in crate::protocol) calls: &'a mut Option<Box<Calls>>,
    pub(in crate::protocol) log: &'a mut MessageBatch,
    pub(in crate::protocol) pool: &'a MemoryBudget,
}

impl FrameContext<'_> {
    fn calls(&mut self) -> &mut Calls {
        self.calls.get_or_insert_with(|| Box::new(Calls::new(self.pool.reservation())))
    }
}

/// One direction after the handshake.
#[derive(Debug)]
pub(in crate::protocol) struct MessageStream {
    frames: Frames,
    /// Made with the first message.
    heard: Option<Box<Heard>>,
    is_latin1: bool,
    /// Distribution messages, each fragment train counted once.
    messages: u64,
    ticks: u64,
    /// The last tick, unless a message followed it.
    last_tick: Option<Timestamp>,
    /// The shortest time from one tick to the next with nothing between them.
    tick_period: Option<Duration>,
    /// The last packet that brought bytes.
    last: Option<PacketRef>,
    /// The longest time without any, in nanoseconds, and the packet before it.
    silence: Option<(u64, PacketRef)>,
    /// The first frame that a node would refuse.
    corrupt: Option<Corrupt>,
}

/// What is remembered of its messages.
#[derive(Debug)]
struct Heard {
    cache: AtomCache,
    fragments: FragmentReassembly,
    account: Account,
    /// Room for the name of a function.
    function: String,
}

/// A frame that a node would refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::protocol) struct Corrupt {
    pub(in crate::protocol) mark: PacketRef,
    /// What could not be read, as the specification names it.
    pub(in crate::protocol) field: &'static str,
}

impl MessageStream {
    pub(in crate::protocol) fn new(pool: &MemoryBudget) -> Self {
        Self {
            frames: Frames::new(pool.reservation()),
            heard: None,
            is_latin1: false,
            messages: 0,
            ticks: 0,
            last_tick: None,
            tick_period: None,
            last: None,
            silence: None,
            corrupt: None,
        }
    }

    /// One of the nodes is older than R16: atoms are in Latin-1.
    pub(in crate::protocol) const fn use_latin1(&mut self) {
        self.is_latin1 = true;
    }

    /// Messages that have begun.
    pub(in crate::protocol) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Ticks.
    pub(in crate::protocol) const fn ticks(&self) -> u64 {
        self.ticks
    }

    /// The shortest time from one tick to the next with nothing between them.
    pub(in crate::protocol) const fn tick_period(&self) -> Option<Duration> {
        self.tick_period
    }

    /// The last packet that brought bytes.
    pub(in crate::protocol) const fn last(&self) -> Option<PacketRef> {
        self.last
    }

    /// The first frame that a node would refuse.
    pub(in crate::protocol) const fn corrupt(&self) -> Option<Corrupt> {
        self.corrupt
    }

    /// Frames that were begun.
    pub(in crate::protocol) const fn frames(&self) -> u64 {
        self.frames.begun()
    }

    /// What was sent, added up, when the connection was last heard of at `until`; `None` without a frame.
    pub(in crate::protocol) fn account(&self, until: Timestamp) -> Option<MessageSums> {
        if self.frames() == 0 {
            return None;
        }
        let mut told = match &self.heard {
            Some(heard) => {
                let told = heard.account.told();
                let under_way = heard.fragments.len() as u64;
                MessageSums { unfinished: told.unfinished + under_way, ..told }
            }
            None => MessageSums::default(),
        };
        let now = self.last.map(|last| (until.nanos_since(last.at), last));
        let longest = now.into_iter().chain(self.silence).max_by_key(|(lasted, _)| *lasted);
        let longest = longest.map(|(lasted, since)| (Duration::from_nanos(lasted), since));
        told.longest_silence = longest.filter(|(lasted, _)| *lasted >= SILENCE).map(pause);
        // To the nearest second.
        let seconds = |period: Duration| (period * TICKS + Duration::from_millis(500)).as_secs();
        told.tick_time_s = self.tick_period.map(seconds);
        Some(told)
    }

    /// Takes in what comes next of the stream.
    pub(in crate::protocol) fn walk(
        &mut self,
        input: &mut &[u8],
        desk: &mut FrameContext<'_>,
    ) -> Walked {
        let Self {
            frames,
            heard,
            is_latin1,
            messages,
            ticks,
            last_tick,
            tick_period,
            last,
            silence,
            corrupt,
        } = self;
        if let Some(before) = last.replace(*desk.mark) {
            let lasted = desk.mark.at.nanos_since(before.at);
            if silence.is_none_or(|(longest, _)| lasted > longest) {
                *silence = Some((lasted, before));
            }
        }
        let kept = desk.detail.payload();
        loop {
            let frame = match frames.next(input, |kind, head| wanted(kind, head, kept)) {
                Step::Frame(frame) => frame,
                Step::Ended(walked) => return walked,
            };
            if frame.kind == FrameKind::Tick {
                *ticks += 1;
                on_tick(desk.mark.at, last_tick, tick_period);
                continue;
            }
            *last_tick = None;
            *messages += u64::from(frame.kind != FrameKind::Continuation);
            let heard = heard.get_or_insert_with(|| Box::new(Heard::new(desk.pool, *is_latin1)));
            if let Err(field) = heard.on_frame(&frame, desk) {
                corrupt.get_or_insert(Corrupt { mark: *desk.mark, field });
                heard.forget();
            }
        }
    }

    /// What should be a frame at `mark` is none.
    pub(in crate::protocol) fn on_broken(&mut self, mark: PacketRef) {
        self.corrupt.get_or_insert(Corrupt { mark, field: "frame" });
        self.lose();
    }

    /// Four zero bytes where no frame was expected for sure.
    pub(in crate::protocol) fn on_maybe_tick(&mut self, at: Timestamp) {
        self.ticks += 1;
        on_tick(at, &mut self.last_tick, &mut self.tick_period);
    }

    /// The capture does not have the next `bytes`; false when the place in the stream is lost.
    pub(in crate::protocol) fn gap(&mut self, bytes: u64) -> bool {
        // Nobody knows when they were sent.
        self.last = None;
        let passed = self.frames.gap(bytes) == Hole::Passed;
        if !passed {
            self.lose();
        }
        passed
    }

    /// Nothing is known any more of what was said before.
    pub(in crate::protocol) fn lose(&mut self) {
        if let Some(heard) = &mut self.heard {
            heard.forget();
        }
    }
}

fn pause((lasted, since): (Duration, PacketRef)) -> PauseSpan {
    PauseSpan { lasted_us: micros(lasted), since }
}

fn on_tick(at: Timestamp, last: &mut Option<Timestamp>, shortest: &mut Option<Duration>) {
    if let Some(before) = last.replace(at) {
        let period = at.since(before);
        // What was held up on the way comes in a bunch.
        if period >= SHORTEST_TICK {
            *shortest = Some(shortest.map_or(period, |known| known.min(period)));
        }
    }
}

/// How much of a frame's body is to be kept, by its front: the header, the control term, and what is looked
/// at of the message term.
#[inline(never)]
fn wanted(kind: FrameKind, head: &[u8], payload: usize) -> usize {
    let more = head.len().saturating_mul(2);
    let rest = match header(kind, head) {
        Ok((_, rest)) => rest,
        Err(WireErrorKind::CutShort) => return more,
        Err(WireErrorKind::Malformed) => return head.len(),
    };
    let behind = if kind == FrameKind::Continuation {
        rest
    } else {
        match control(kind, rest) {
            Ok((_, behind)) => behind,
            Err(e) if e.kind == WireErrorKind::CutShort => return more,
            Err(_) => return head.len(),
        }
    };
    (head.len() - behind.len()).saturating_add(payload)
}

/// Reads the control term, which has a version byte where there is no header.
#[inline(always)] // into the hot place and a cold one
fn control(kind: FrameKind, bytes: &[u8]) -> Result<(ControlMessage<'_>, &[u8]), WireError> {
    control_message(unversioned(kind, bytes))
}

fn unversioned(kind: FrameKind, bytes: &[u8]) -> &[u8] {
    let is_versioned = kind == FrameKind::PassThrough;
    bytes.strip_prefix(&[VERSION]).filter(|_| is_versioned).unwrap_or(bytes)
}

impl Heard {
    fn new(pool: &MemoryBudget, is_latin1: bool) -> Self {
        let mut cache = AtomCache::new(pool.reservation());
        if is_latin1 {
            cache.use_latin1();
        }
        Self {
            cache,
            fragments: FragmentReassembly::new(pool.reservation()),
            account: Account::new(|| pool.reservation()),
            function: String::new(),
        }
    }

    fn forget(&mut self) {
        self.cache.forget();
        self.account.unfinished += self.fragments.forget();
    }

    /// Takes a frame in that is no tick.
    ///
    /// # Errors
    ///
    /// The field that a node would refuse.
    fn on_frame(
        &mut self,
        frame: &Frame<'_>,
        desk: &mut FrameContext<'_>,
    ) -> Result<(), &'static str> {
        let bytes = PREFIX + u64::from(frame.len);
        let (Header { fragment, references }, rest) = match header(frame.kind, frame.head) {
            Ok(read) => read,
            // The capture lacks it, and with it perhaps new entries of the cache.
            Err(_) if frame.is_cut => {
                self.account.unreadable += 1;
                self.forget();
                return Ok(());
            }
            Err(_) => return Err("distribution header"),
        };
        if let (FrameKind::Continuation, Some(fragment)) = (frame.kind, fragment) {
            let payload_bytes = u64::from(frame.len) - (frame.head.len() - rest.len()) as u64;
            self.on_continuation(fragment, bytes, payload_bytes, rest, desk);
            return Ok(());
        }
        self.cache.apply(references);
        // By reference: a copy of what was just put together waits for its stores.
        let read = control(frame.kind, rest);
        let (control, behind) = match &read {
            Ok((control, behind)) => (control, *behind),
            Err(_) if frame.is_cut || frame.head.len() >= MAX_HEAD => {
                self.account.unreadable += 1;
                return Ok(());
            }
            Err(_) => return Err("control message"),
        };
        let has_payload = control.operation.has_payload();
        let behind = unversioned(frame.kind, behind);
        let payload = if has_payload { behind } else { &[] };
        let before = (frame.head.len() - behind.len()) as u64;
        let payload_bytes = u64::from(frame.len) - before;
        if has_payload && payload_bytes == 0 && fragment.is_none() {
            return Err("message");
        }
        // As much of it as would be here, had the frame come in pieces.
        let payload = payload.get(..desk.detail.payload()).unwrap_or(payload);
        let passed = Passed {
            control,
            references,
            payload: Term::cut_off(payload),
            bytes,
            payload_bytes,
            more: fragment.filter(|fragment| fragment.left > 1),
        };
        self.on_message(&passed, desk);
        Ok(())
    }

    #[inline(always)] // into the one place that it is called from
    fn on_message(&mut self, passed: &Passed<'_>, desk: &mut FrameContext<'_>) {
        let Passed { control, payload, bytes, .. } = *passed;
        let Self { cache, fragments, account, function: text } = self;
        let atoms = cache.header(passed.references);
        let request = otp::request(control, payload, &atoms);
        let latency_us = pair(control, request.as_ref(), &atoms, desk);
        account.on_message(control.operation, bytes);
        let mut trigger = None;
        let name = name_of(control).and_then(|name| name.as_atom(&atoms)?.text());
        if let Some(name) = &name {
            account.on_name(name, bytes);
            if name == otp::GLOBAL && otp::asks_to_disconnect(payload, &atoms) {
                trigger = Some(RuleTrigger::Disconnect);
            }
        }
        let function = request.as_ref().and_then(|request| request.function.as_ref());
        if let Some(function) = function {
            text.clear();
            fields::write_function(text, function, &atoms);
            account.on_function(text, bytes);
            let execution = fields::execution_of(function, &atoms);
            trigger = execution.map(RuleTrigger::Execution).or(trigger);
        }
        let is_told = desk.detail != MessageDetail::None || trigger.is_some();
        if is_told {
            let meta = MessageMeta {
                packet: *desk.mark,
                from: desk.from,
                operation: control.operation,
                call: request.as_ref().map(|request| request.kind),
                fragments: 1,
                payload_bytes: passed.payload_bytes(),
                trigger,
            };
            let reason = control.carries_reason().then_some(payload);
            let request = request.as_ref();
            fields::append(desk.log, meta, control, reason, request, latency_us, &atoms);
        }
        let keeps_payload = passed.keeps_payload(desk.detail);
        let Some(fragment) = passed.more else {
            account.on_whole(control.operation, bytes, desk.mark);
            if keeps_payload {
                desk.log.set_payload(payload.bytes(), atoms.all());
            }
            return;
        };
        let mut train = FragmentedMessage::new(fragment, control.operation, bytes);
        train.payload_bytes = passed.payload_bytes;
        train.name = name.map(|name| name.as_ref().into());
        train.function = function.map(|_| text.as_str().into());
        if is_told {
            train.begun = desk.log.take_last();
        }
        if keeps_payload {
            train.payload = payload.bytes().to_vec();
            train.atoms = atoms.all().collect();
        }
        account.fragmented += 1;
        account.fragments += 1;
        account.unfinished += fragments.begin(train);
    }

    fn on_continuation(
        &mut self,
        fragment: Fragment,
        bytes: u64,
        payload_bytes: u64,
        start: &[u8],
        desk: &mut FrameContext<'_>,
    ) {
        let kept = match desk.detail {
            MessageDetail::Payloads => KEPT,
            MessageDetail::None | MessageDetail::Operations => 0,
        };
        let train = match self.fragments.go_on(fragment, bytes, payload_bytes, start, kept) {
            Continued::Unknown => {
                self.account.unreadable += 1;
                return;
            }
            Continued::OutOfOrder => {
                self.account.unreadable += 1;
                self.account.unfinished += 1;
                return;
            }
            Continued::GoesOn(train) => {
                self.account.on_fragment(train, bytes);
                return;
            }
            Continued::Whole(train) => train,
        };
        self.account.on_fragment(&train, bytes);
        self.account.on_whole(train.operation, train.bytes, desk.mark);
        let Some(begun) = &train.begun else { return };
        desk.log.put_back(begun, *desk.mark, train.fragments, train.payload_bytes);
        if desk.detail == MessageDetail::Payloads {
            desk.log.set_payload(&train.payload, train.atoms.into_iter());
        }
    }
}

/// A message, or the first fragment of one.
struct Passed<'a> {
    control: &'a ControlMessage<'a>,
    references: References<'a>,
    /// The front of what it carries.
    payload: Term<'a>,
    /// Bytes of all of its frames so far.
    bytes: u64,
    /// Bytes of what it carries, in those.
    payload_bytes: u64,
    /// The fragment, where more are to come.
    more: Option<Fragment>,
}

impl Passed<'_> {
    /// Bytes of what it carries, if that is anything.
    fn payload_bytes(&self) -> Option<u64> {
        self.control.operation.has_payload().then_some(self.payload_bytes)
    }

    /// Whether what it carries is kept.
    const fn keeps_payload(&self, detail: MessageDetail) -> bool {
        matches!(detail, MessageDetail::Payloads) && self.control.operation.has_payload()
    }
}

/// Pairs a message with its request or answer; gives the time since its request, for an answer that is told.
fn pair(
    control: &ControlMessage<'_>,
    request: Option<&Request<'_>>,
    atoms: &HeaderAtoms<'_>,
    desk: &mut FrameContext<'_>,
) -> Option<u64> {
    let (reference, what) = match request {
        Some(request) => {
            let why = match request.kind {
                RequestKind::Down | RequestKind::SpawnReply => {
                    request.label().and_then(|it| it.as_atom(atoms))
                }
                _ => None,
            };
            (request.reference?, What::Says(request.kind, why))
        }
        None if control.operation == Operation::DEMONITOR_P => {
            // Of those who have asked nothing, most monitors are no calls'.
            desk.calls.as_ref()?;
            (control.field(Field::Reference)?, What::GivesUp)
        }
        None => return None,
    };
    let said = Saying { from: desk.direction, what, reference, mark: desk.mark };
    if desk.detail == MessageDetail::None {
        desk.calls().note(&said);
        return None;
    }
    desk.calls().pair(&said)
}

/// The registered name that a message is for.
fn name_of<'a>(control: &ControlMessage<'a>) -> Option<Term<'a>> {
    match control.operation {
        Operation::REG_SEND | Operation::REG_SEND_TT => control.field(Field::ToName),
        Operation::MONITOR_P | Operation::ALTACT_SIG_SEND => {
            control.field(Field::To).filter(|to| to.kind() == Kind::Atom)
        }
        _ => None,
    }
}

/// Bytes of the length prefix.
const PREFIX: u64 = 4;

const VERSION: u8 = 131;

/// Bytes of a message term that are looked at: the head of a call, its tag, and the name of a function.
const LOOKED_AT: usize = 512;

/// Bytes of a message term that are kept where somebody asked for it: one fragment's.
const KEPT: usize = 64 << 10;

/// A shorter time without a word is none that anybody looks for.
const SILENCE: Duration = Duration::from_secs(1);

/// Ticks in `net_ticktime`, unless `net_tickintensity` says otherwise.
const TICKS: u32 = 4;

/// `net_ticktime` is a number of seconds, and at least four ticks are sent in it.
const SHORTEST_TICK: Duration = Duration::from_millis(200);
