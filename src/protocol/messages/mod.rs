//! Messages after the handshake.
//!
//! In: one direction of the stream from its first frame on. Out: sums of its messages; and the messages themselves
//! in a batch, where they are printed or where a rule looks at them. The term that a message carries is parsed only
//! as far as OTP's own conventions reach.

mod account;
mod atom_cache;
mod calls;
mod fields;
mod fragments;
mod frames;
mod pending;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::account::MessageAccount;
use self::atom_cache::{AtomCache, HeaderAtoms};
pub(in crate::protocol) use self::calls::PendingCalls;
use self::calls::{CallMessage, CallRole};
use self::fragments::{FragmentOutcome, FragmentReassembly, FragmentedMessage};
pub(in crate::protocol) use self::frames::FrameScanEnd;
use self::frames::{DistFrame, FrameCutter, FrameStep, GapOutcome, MAX_HEAD};
use crate::flow::Direction;
use crate::memory::MemoryBudget;
use crate::observe::messages::{MessageBatch, MessageMeta, RuleTrigger};
use crate::observe::{MessageSums, NativeRecords, PauseSpan};
use crate::packet::{FrameRef, PacketRef};
use crate::record::Role;
use crate::time::{Timestamp, micros};
use crate::wire::control::{ControlMessage, Field, Operation, control_message};
use crate::wire::header::{
    AtomReferences, FragmentId, FrameKind, Header, header, unversioned, usual_header,
};
use crate::wire::otp::{self, LostConnection, OtpRequest, RequestKind};
use crate::wire::term::{Term, TermKind};
use crate::wire::usual::{UsualCall, usual_message};
use crate::wire::{WireError, WireErrorKind};

/// Which messages are printed, and how much of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum MessageDetail {
    /// None. Those that a rule looks at are still passed to it.
    #[default]
    None,
    /// All messages, without the terms that they carry.
    Operations,
    /// All messages, with the terms that they carry.
    Payloads,
}

impl MessageDetail {
    /// The most bytes of a message term that are kept and parsed.
    const fn payload(self) -> usize {
        match self {
            Self::None | Self::Operations => PARSED,
            Self::Payloads => KEPT,
        }
    }
}

/// What the messages of one direction are read with: their packet, and what all directions share.
pub(in crate::protocol) struct FrameContext<'a> {
    pub(in crate::protocol) direction: Direction,
    /// The role of the sender.
    pub(in crate::protocol) from: Role,
    pub(in crate::protocol) mark: &'a PacketRef,
    pub(in crate::protocol) detail: MessageDetail,
    pub(in crate::protocol) calls: &'a mut Option<Box<PendingCalls>>,
    pub(in crate::protocol) batch: &'a mut MessageBatch,
    pub(in crate::protocol) pool: &'a MemoryBudget,
}

impl FrameContext<'_> {
    fn calls(&mut self) -> &mut PendingCalls {
        self.calls.get_or_insert_with(|| Box::new(PendingCalls::new(self.pool.reservation())))
    }
}

/// One direction of a distribution connection after the handshake.
#[derive(Debug)]
pub(in crate::protocol) struct MessageStream {
    frames: FrameCutter,
    /// Allocated with the first message: many connections have ticks alone.
    decoder: Option<Box<MessageDecoder>>,
    is_latin1: bool,
    /// Distribution messages; one in several fragments counts once.
    messages: u64,
    ticks: u64,
    /// The last tick, unless a message followed it.
    last_tick: Option<Timestamp>,
    /// The times from one tick to the next with nothing between them.
    pauses: TickPauses,
    /// The last packet that brought bytes.
    last: Option<PacketRef>,
    /// The longest time without bytes, in nanoseconds, and the packet before it.
    silence: Option<(u64, PacketRef)>,
    /// The first frame that a node would refuse.
    corrupt: Option<Corrupt>,
    /// Whether the sender makes native records, and the receiver does not know them.
    finds_records: bool,
}

/// The state that later messages of a direction refer to, and the sums of its messages.
#[derive(Debug)]
struct MessageDecoder {
    cache: AtomCache,
    fragments: FragmentReassembly,
    account: MessageAccount,
    /// The name of the function of the current message; a reused buffer.
    function: String,
    /// Whether native records are looked for.
    finds_records: bool,
    records: Option<NativeRecords>,
}

/// The pauses between ticks, in groups of about the same length.
#[derive(Clone, Copy, Debug, Default)]
struct TickPauses {
    groups: [PauseGroup; PAUSE_GROUPS],
}

/// Pauses between ticks of about the same length.
#[derive(Clone, Copy, Debug, Default)]
struct PauseGroup {
    /// The shortest of them; zero in a group without any.
    shortest: Duration,
    longest: Duration,
    /// The sum of all of them.
    total: Duration,
    count: u32,
    /// When the first of them ended, and the last.
    first: Timestamp,
    last: Timestamp,
}

impl PauseGroup {
    /// Whether a pause differs by no more than a quarter: ticks wait for a scheduler, and for the network.
    fn fits(&self, pause: Duration) -> bool {
        self.shortest.abs_diff(pause) * 4 <= self.shortest.max(pause)
    }
}

impl TickPauses {
    /// Adds a pause that ended at `at`.
    fn add(&mut self, pause: Duration, at: Timestamp) {
        let Self { groups } = self;
        let place = groups.iter().position(|group| group.fits(pause)).or_else(|| {
            let smallest = groups.iter().enumerate().min_by_key(|(_, group)| group.total);
            smallest.map(|(place, _)| place)
        });
        let Some(group) = place.and_then(|place| groups.get_mut(place)) else { return };
        if !group.fits(pause) {
            *group = PauseGroup { shortest: pause, first: at, ..PauseGroup::default() };
        }
        group.shortest = group.shortest.min(pause);
        group.longest = group.longest.max(pause);
        group.total += pause;
        group.count += 1;
        group.last = at;
    }

    /// Forgets the pauses that ended at `since` or later, with those of the same length.
    fn forget(&mut self, since: Timestamp) {
        for group in &mut self.groups {
            if group.last >= since {
                *group = PauseGroup::default();
            }
        }
    }

    /// The pauses without those of a length that none before `at` had.
    fn before(mut self, at: Timestamp) -> Self {
        for group in &mut self.groups {
            if group.first >= at {
                *group = PauseGroup::default();
            }
        }
        self
    }

    /// The shortest pause that is that of the sender. Pauses that are shorter in a small part of the time alone are none:
    /// ticks of another sender came between. The longest one does not count, in which the sender may have been held up.
    fn period(self) -> Option<Duration> {
        let Self { mut groups } = self;
        groups.sort_unstable_by_key(|group| group.shortest);
        let mut known = groups.into_iter().filter(|group| group.count > 0);
        let longest = known.clone().map(|group| group.longest).max().unwrap_or_default();
        let all = known.clone().map(|group| group.total).sum::<Duration>().saturating_sub(longest);
        let mut so_far = Duration::ZERO;
        let usual = known.clone().find(|group| {
            so_far += group.total;
            so_far * LEAST_PART >= all && group.count > 1
        });
        usual.map(|group| group.shortest).or_else(|| {
            let (first, next) = (known.next()?.shortest, known.next());
            let is_alone = |next: &Duration| first * 3 < *next;
            Some(next.map(|group| group.shortest).filter(is_alone).unwrap_or(first))
        })
    }
}

/// A frame that a node would refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::protocol) struct Corrupt {
    pub(in crate::protocol) mark: PacketRef,
    /// The field that could not be read, as the specification names it.
    pub(in crate::protocol) field: &'static str,
}

impl MessageStream {
    pub(in crate::protocol) fn new(pool: &MemoryBudget) -> Self {
        Self {
            frames: FrameCutter::new(pool.reservation()),
            decoder: None,
            is_latin1: false,
            messages: 0,
            ticks: 0,
            last_tick: None,
            pauses: TickPauses::default(),
            last: None,
            silence: None,
            corrupt: None,
            finds_records: false,
        }
    }

    /// Looks for native records in messages, since the receiver does not know them and the sender may send them.
    pub(in crate::protocol) const fn find_records(&mut self) {
        self.finds_records = true;
    }

    /// Decodes atoms as Latin-1, since one of the nodes is older than R16.
    pub(in crate::protocol) const fn use_latin1(&mut self) {
        self.is_latin1 = true;
    }

    /// The number of messages that have begun.
    pub(in crate::protocol) const fn messages(&self) -> u64 {
        self.messages
    }

    /// The number of ticks seen.
    pub(in crate::protocol) const fn ticks(&self) -> u64 {
        self.ticks
    }

    /// The time from one tick to the next with nothing between them, for a usual part of the connection: the shortest where
    /// ticks are late at times, and not that of a few ticks which another sender put between.
    pub(in crate::protocol) fn tick_period(&self) -> Option<Duration> {
        self.pauses.period()
    }

    /// The same, where ticks since `at` may not be of the sender.
    pub(in crate::protocol) fn tick_period_before(&self, at: Timestamp) -> Option<Duration> {
        self.pauses.before(at).period()
    }

    /// The last packet that brought bytes.
    pub(in crate::protocol) const fn last(&self) -> Option<PacketRef> {
        self.last
    }

    /// The longest time without bytes before the last packet that brought some.
    pub(in crate::protocol) fn longest_pause(&self) -> Option<PauseSpan> {
        self.silence.map(|(lasted, since)| pause((Duration::from_nanos(lasted), since)))
    }

    /// The first frame that a node would refuse.
    pub(in crate::protocol) const fn corrupt(&self) -> Option<Corrupt> {
        self.corrupt
    }

    /// The messages with native records, where they are looked for.
    pub(in crate::protocol) fn records(&self) -> Option<NativeRecords> {
        self.decoder.as_ref()?.records
    }

    /// The number of frames that have begun.
    pub(in crate::protocol) const fn frames(&self) -> u64 {
        self.frames.begun()
    }

    /// The sums of all messages, calls aside, of a connection whose last packet was captured at `until`; `None`
    /// without a frame.
    pub(in crate::protocol) fn sums(&self, until: Timestamp) -> Option<MessageSums> {
        if self.frames() == 0 {
            return None;
        }
        let mut sums = match &self.decoder {
            Some(decoder) => {
                let sums = decoder.account.sums();
                let incomplete = decoder.fragments.len() as u64;
                MessageSums { unfinished: sums.unfinished + incomplete, ..sums }
            }
            None => MessageSums::default(),
        };
        let now = self.last.map(|last| (until.nanos_since(last.at), last));
        let longest = now.into_iter().chain(self.silence).max_by_key(|(lasted, _)| *lasted);
        let longest = longest.map(|(lasted, since)| (Duration::from_nanos(lasted), since));
        sums.longest_silence = longest.filter(|(lasted, _)| *lasted >= SILENCE).map(pause);
        // `net_ticktime` is a number of seconds, so the period is rounded to the nearest one.
        let seconds = |period: Duration| (period * TICKS + Duration::from_millis(500)).as_secs();
        sums.tick_time_s = self.tick_period().map(seconds);
        Some(sums)
    }

    /// Reads the next bytes of the stream up to the end of `input`, or to bytes that begin no frame.
    pub(in crate::protocol) fn read(
        &mut self,
        input: &mut &[u8],
        context: &mut FrameContext<'_>,
    ) -> FrameScanEnd {
        let Self {
            frames,
            decoder,
            is_latin1,
            messages,
            ticks,
            last_tick,
            pauses,
            last,
            silence,
            corrupt,
            finds_records,
        } = self;
        if let Some(before) = last.replace(*context.mark) {
            let lasted = context.mark.at.nanos_since(before.at);
            if silence.is_none_or(|(longest, _)| lasted > longest) {
                *silence = Some((lasted, before));
            }
        }
        let kept = context.detail.payload();
        loop {
            let frame = match frames.next(input, |kind, head| wanted_len(kind, head, kept)) {
                FrameStep::Frame(frame) => frame,
                FrameStep::End(end) => return end,
            };
            if frame.kind == FrameKind::Tick {
                *ticks += 1;
                on_tick(context.mark.at, last_tick, pauses);
                continue;
            }
            *last_tick = None;
            *messages += u64::from(frame.kind != FrameKind::Continuation);
            let decoder = decoder.get_or_insert_with(|| {
                Box::new(MessageDecoder::new(context.pool, *is_latin1, *finds_records))
            });
            if let Err(field) = decoder.on_frame(&frame, context) {
                corrupt.get_or_insert(Corrupt { mark: *context.mark, field });
                decoder.forget();
            }
        }
    }

    /// Notes that the bytes at `mark`, where a frame should begin, are no frame.
    pub(in crate::protocol) fn on_broken(&mut self, mark: PacketRef) {
        self.corrupt.get_or_insert(Corrupt { mark, field: "frame" });
        self.forget();
    }

    /// Takes back a corrupt frame in the packet of `frame`, whose bytes the receiver did not take.
    pub(in crate::protocol) fn take_back(&mut self, frame: FrameRef) {
        self.corrupt = self.corrupt.filter(|corrupt| corrupt.mark.frame != frame);
    }

    /// Takes back a corrupt frame since `at`, whose bytes the sender did not send.
    pub(in crate::protocol) fn take_back_since(&mut self, at: Timestamp) {
        self.corrupt = self.corrupt.filter(|corrupt| corrupt.mark.at < at);
    }

    /// Forgets the pauses since `at`: ticks since then were not of the sender.
    pub(in crate::protocol) fn forget_pauses(&mut self, at: Timestamp) {
        self.last_tick = None;
        self.pauses.forget(at);
    }

    /// Counts four zero bytes at a place that is not certainly the start of a frame.
    pub(in crate::protocol) fn on_maybe_tick(&mut self, at: Timestamp) {
        self.ticks += 1;
        on_tick(at, &mut self.last_tick, &mut self.pauses);
    }

    /// Passes over the next `bytes`, which the capture lacks. False when the start of the next frame is unknown.
    pub(in crate::protocol) fn gap(&mut self, bytes: u64) -> bool {
        // The lacking bytes may have been sent at any time, so the pauses around them are not measured.
        self.last = None;
        self.last_tick = None;
        let is_in_frame = self.frames.gap(bytes) == GapOutcome::InFrame;
        if !is_in_frame {
            self.forget();
        }
        is_in_frame
    }

    /// Forgets the atom cache and incomplete messages, because bytes were lost.
    pub(in crate::protocol) fn forget(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            decoder.forget();
        }
    }
}

fn pause((lasted, since): (Duration, PacketRef)) -> PauseSpan {
    PauseSpan { lasted_us: micros(lasted), since }
}

fn on_tick(at: Timestamp, last: &mut Option<Timestamp>, pauses: &mut TickPauses) {
    if let Some(before) = last.replace(at) {
        let period = at.since(before);
        // Ticks that were delayed in the network arrive in a burst.
        if period >= SHORTEST_TICK {
            pauses.add(period, at);
        }
    }
}

/// The number of bytes of a frame's body to keep: the header, the control term, and as much of the message term as
/// is parsed or printed.
///
/// Called for frames that come in several segments, whose front is then parsed a second time in `on_frame`: the
/// message belongs to the packet that brings its last byte, and a parsed front would borrow from a buffer that
/// still grows.
#[inline(never)]
fn wanted_len(kind: FrameKind, head: &[u8], payload: usize) -> usize {
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
#[inline(always)] // its result would be returned through memory (store forwarding)
fn control(kind: FrameKind, bytes: &[u8]) -> Result<(ControlMessage<'_>, &[u8]), WireError> {
    control_message(unversioned(kind, bytes))
}

impl MessageDecoder {
    fn new(pool: &MemoryBudget, is_latin1: bool, finds_records: bool) -> Self {
        let mut cache = AtomCache::new(pool.reservation());
        if is_latin1 {
            cache.use_latin1();
        }
        Self {
            cache,
            fragments: FragmentReassembly::new(pool.reservation()),
            account: MessageAccount::new(|| pool.reservation()),
            function: String::new(),
            finds_records,
            records: None,
        }
    }

    /// Notes a message with a native record in it.
    #[cold]
    #[inline(never)]
    fn note_record(&mut self, payload: &[u8], mark: PacketRef) {
        if Term::cut_off(payload).has_record() {
            let first = self.records.map_or(mark, |records| records.first);
            self.records = Some(NativeRecords { first, last: mark });
        }
    }

    fn forget(&mut self) {
        self.cache.forget();
        self.account.unfinished += self.fragments.forget();
    }

    /// Decodes a frame that is no tick.
    ///
    /// # Errors
    ///
    /// The field for which a node would refuse the frame.
    fn on_frame(
        &mut self,
        frame: &DistFrame<'_>,
        context: &mut FrameContext<'_>,
    ) -> Result<(), &'static str> {
        let reads_usual = context.detail == MessageDetail::None && !self.finds_records;
        if reads_usual && !frame.is_cut && self.on_usual(frame, context) {
            return Ok(());
        }
        self.on_any(frame, context)
    }

    /// Decodes a frame whose message can be read in one pass; false for every other frame.
    #[inline(always)] // called once, for nearly every frame
    fn on_usual(&mut self, frame: &DistFrame<'_>, context: &mut FrameContext<'_>) -> bool {
        let Some((references, rest)) = usual_header(frame.kind, frame.head) else { return false };
        self.cache.apply_known();
        let atoms = self.cache.header(references);
        let Some(message) = usual_message(frame.kind, rest, PARSED, &atoms) else { return false };
        self.account.on_usual(&message, PREFIX + u64::from(frame.len), context.mark);
        let Some(call) = message.call else { return true };
        // If neither side made a call yet, a `DEMONITOR_P` is almost surely not the end of one.
        if context.calls.is_some() || !matches!(call, UsualCall::Demonitor(_)) {
            let (from, mark) = (context.direction, context.mark);
            context.calls().note_usual(from, call, mark);
        }
        true
    }

    /// Decodes a frame of any kind but a tick.
    #[inline(never)] // few frames get here where no message is printed
    fn on_any(
        &mut self,
        frame: &DistFrame<'_>,
        context: &mut FrameContext<'_>,
    ) -> Result<(), &'static str> {
        let bytes = PREFIX + u64::from(frame.len);
        let (Header { fragment, references }, rest) = match header(frame.kind, frame.head) {
            Ok(read) => read,
            // The lacking bytes may hold new entries of the atom cache.
            Err(_) if frame.is_cut => {
                self.account.unreadable += 1;
                self.forget();
                return Ok(());
            }
            Err(_) => return Err("distribution header"),
        };
        if let (FrameKind::Continuation, Some(fragment)) = (frame.kind, fragment) {
            let payload_bytes = u64::from(frame.len) - (frame.head.len() - rest.len()) as u64;
            self.on_continuation(fragment, bytes, payload_bytes, rest, context);
            return Ok(());
        }
        self.cache.apply(references);
        // Matched by reference: moving the freshly built value stalls on store forwarding.
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
        if self.finds_records && has_payload {
            self.note_record(payload, *context.mark);
        }
        // As many bytes as are kept of a frame that comes in several segments.
        let payload = payload.get(..context.detail.payload()).unwrap_or(payload);
        let start = MessageStart {
            control,
            references,
            payload: Term::cut_off(payload),
            bytes,
            payload_bytes,
            more: fragment.filter(|fragment| fragment.left > 1),
        };
        self.on_message(&start, context);
        Ok(())
    }

    #[inline(always)] // called once
    fn on_message(&mut self, start: &MessageStart<'_>, context: &mut FrameContext<'_>) {
        let MessageStart { control, payload, bytes, .. } = *start;
        let Self { cache, fragments, account, function: text, .. } = self;
        let atoms = cache.header(start.references);
        let request = otp::request(control, payload, &atoms);
        let latency_us = pair(control, request.as_ref(), &atoms, context);
        account.on_message(control.operation, bytes);
        let mut trigger = None;
        let named = name_of(control);
        let name = named.and_then(|name| name.as_atom(&atoms)?.text());
        if let Some(name) = &name {
            account.on_name(name, bytes);
        }
        let mut lost = None;
        // A name that was sent before the capture began may be that of `global`.
        if named.is_some() && name.as_deref().is_none_or(|name| name == otp::GLOBAL) {
            if otp::asks_to_disconnect(payload, &atoms) {
                trigger = Some(RuleTrigger::Disconnect);
            } else {
                lost = LostConnection::of(payload, &atoms);
                trigger = lost.map(|lost| RuleTrigger::LostConnection {
                    by_sender: is_node_of_sender(control, lost.by),
                });
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
        let is_reported = context.detail != MessageDetail::None || trigger.is_some();
        if is_reported {
            let meta = MessageMeta {
                packet: *context.mark,
                from: context.from,
                operation: control.operation,
                call: request.as_ref().map(|request| request.kind),
                fragments: 1,
                payload_bytes: start.payload_bytes(),
                trigger,
            };
            let reason = control.carries_reason().then_some(payload);
            let request = request.as_ref();
            let request = (request, latency_us);
            fields::append(context.batch, meta, control, reason, request, lost.as_ref(), &atoms);
        }
        let keeps_payload = start.keeps_payload(context.detail);
        let Some(fragment) = start.more else {
            account.on_whole(control.operation, bytes, context.mark);
            if keeps_payload {
                context.batch.set_payload(payload.bytes(), atoms.all());
            }
            return;
        };
        let mut fragmented = FragmentedMessage::new(fragment, control.operation, bytes);
        fragmented.payload_bytes = start.payload_bytes;
        fragmented.name = name.map(|name| name.as_ref().into());
        fragmented.function = function.map(|_| text.as_str().into());
        if is_reported {
            fragmented.begun = context.batch.take_last();
        }
        if keeps_payload {
            fragmented.payload = payload.bytes().to_vec();
            fragmented.atoms = atoms.all().collect();
        }
        account.fragmented += 1;
        account.fragments += 1;
        account.unfinished += fragments.begin(fragmented);
    }

    fn on_continuation(
        &mut self,
        fragment: FragmentId,
        bytes: u64,
        payload_bytes: u64,
        start: &[u8],
        context: &mut FrameContext<'_>,
    ) {
        let kept = match context.detail {
            MessageDetail::Payloads => KEPT,
            MessageDetail::None | MessageDetail::Operations => 0,
        };
        let fragmented =
            match self.fragments.add_continuation(fragment, bytes, payload_bytes, start, kept) {
                FragmentOutcome::Unknown => {
                    self.account.unreadable += 1;
                    return;
                }
                FragmentOutcome::OutOfOrder => {
                    self.account.unreadable += 1;
                    self.account.unfinished += 1;
                    return;
                }
                FragmentOutcome::Continues(fragmented) => {
                    self.account.on_fragment(fragmented, bytes);
                    return;
                }
                FragmentOutcome::Complete(fragmented) => fragmented,
            };
        self.account.on_fragment(&fragmented, bytes);
        self.account.on_whole(fragmented.operation, fragmented.bytes, context.mark);
        let Some(begun) = &fragmented.begun else { return };
        context.batch.put_back(
            begun,
            *context.mark,
            fragmented.fragments,
            fragmented.payload_bytes,
        );
        if context.detail == MessageDetail::Payloads {
            context.batch.set_payload(&fragmented.payload, fragmented.atoms.into_iter());
        }
    }
}

/// A message in one frame, or the first frame of one.
struct MessageStart<'a> {
    control: &'a ControlMessage<'a>,
    references: AtomReferences<'a>,
    /// The first bytes of its message term.
    payload: Term<'a>,
    /// Bytes of its frame, length prefix included.
    bytes: u64,
    /// Bytes of the message term in this frame.
    payload_bytes: u64,
    /// Its fragment, where more of them follow.
    more: Option<FragmentId>,
}

impl MessageStart<'_> {
    /// Bytes of its message term in this frame, if the operation has one.
    fn payload_bytes(&self) -> Option<u64> {
        self.control.operation.has_payload().then_some(self.payload_bytes)
    }

    /// Whether its message term is kept.
    const fn keeps_payload(&self, detail: MessageDetail) -> bool {
        matches!(detail, MessageDetail::Payloads) && self.control.operation.has_payload()
    }
}

/// Pairs a message with its request or answer. Gives the time since its request, for an answer that is printed.
fn pair(
    control: &ControlMessage<'_>,
    request: Option<&OtpRequest<'_>>,
    atoms: &HeaderAtoms<'_>,
    context: &mut FrameContext<'_>,
) -> Option<u64> {
    let (reference, role) = match request {
        Some(request) => {
            let reason = match request.kind {
                RequestKind::Down | RequestKind::SpawnReply => {
                    request.label().and_then(|it| it.as_atom(atoms))
                }
                _ => None,
            };
            (request.reference?, CallRole::Convention(request.kind, reason))
        }
        None if control.operation == Operation::DEMONITOR_P => {
            // If neither side made a call yet, a `DEMONITOR_P` is almost surely not the end of one.
            context.calls.as_ref()?;
            (control.field(Field::Reference)?, CallRole::Demonitor)
        }
        None => return None,
    };
    let message = CallMessage { from: context.direction, role, reference, mark: context.mark };
    if context.detail == MessageDetail::None {
        context.calls().note(&message);
        return None;
    }
    context.calls().pair(&message)
}

/// The registered name that a message is sent to.
fn name_of<'a>(control: &ControlMessage<'a>) -> Option<Term<'a>> {
    match control.operation {
        Operation::REG_SEND | Operation::REG_SEND_TT => control.field(Field::ToName),
        Operation::MONITOR_P | Operation::ALTACT_SIG_SEND => {
            control.field(Field::To).filter(|to| to.kind() == TermKind::Atom)
        }
        _ => None,
    }
}

/// Whether `node` is the node of the process that sent the message.
fn is_node_of_sender(control: &ControlMessage<'_>, node: Term<'_>) -> bool {
    let sender = control.field(Field::From).and_then(Term::as_pid);
    sender.is_some_and(|sender| sender.node == node)
}

/// Bytes of a frame's length prefix.
const PREFIX: u64 = 4;

/// Bytes of a message term that are parsed: the head of a call, its tag, and the name of a function.
const PARSED: usize = 512;

/// Bytes of a message term that are kept where payloads are printed: the size of one fragment.
const KEPT: usize = 64 << 10;

/// Shorter silences are not reported.
const SILENCE: Duration = Duration::from_secs(1);

/// Ticks in `net_ticktime`, unless `net_tickintensity` sets another number.
const TICKS: u32 = 4;

/// Groups of pauses that are kept; a sender has one tick period, and some ticks of it are late.
const PAUSE_GROUPS: usize = 3;

/// The part of all time between ticks that the pauses of a sender take at least: a tick of another sender takes a short
/// time each, and a pause in which the sender was held up is long.
const LEAST_PART: u32 = 4;

/// Shorter periods are bursts of delayed ticks: `net_ticktime` is at least one second, in which four are sent.
const SHORTEST_TICK: Duration = Duration::from_millis(200);
