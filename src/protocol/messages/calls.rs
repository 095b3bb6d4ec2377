//! Requests and their answers, paired.
//!
//! In: each message that is a request or an answer, by its reference. Out: the latencies of the answers, and the
//! outcome of requests that got none. A request is identified by the reference that its caller made for it, so
//! neither names nor processes have to be followed.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::pending::{PendingRequests, RequestKey};
use crate::flow::{Direction, PerDirection};
use crate::memory::Reservation;
use crate::observe::{CallSums, SlowestCall};
use crate::packet::PacketRef;
use crate::time::{Timestamp, micros};
use crate::wire::otp::RequestKind;
use crate::wire::term::{AtomText, Term};
use crate::wire::usual::UsualCall;

/// The calls of one connection: requests that wait for an answer, and counts of the others.
///
/// Messages whose latency is not printed are only noted, and paired in batches: the tables of a busy connection
/// have a hundred kilobytes, and bringing them into the cache for one message at a time costs twice what reading
/// the message does. The counts are therefore available from [`settle`](Self::settle) alone, which pairs first.
#[derive(Debug)]
pub(in crate::protocol) struct PendingCalls {
    callers: PerDirection<Caller>,
    /// Events that are noted and not yet paired.
    noted: Vec<CallEvent>,
    /// The seed of the keys that are made of references.
    seed: RandomState,
    memory: Reservation,
}

/// The calls that one side of the connection makes.
#[derive(Debug, Default)]
struct Caller {
    pending: PendingRequests,
    /// Answers without a request. Captures reorder packets, so the request may follow.
    early: RecentByKey<CallAnswer>,
    /// Requests that were given up. Captures reorder packets, so an answer that was sent before may follow.
    given_up: RecentByKey<CallRequest>,
    counts: [CallCounts; CALL_KINDS],
}

/// A request that may be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallRequest {
    pub(super) kind: CallKind,
    pub(super) mark: PacketRef,
}

/// A message that answers a request.
#[derive(Clone, Copy, Debug)]
struct CallAnswer {
    kind: AnswerKind,
    mark: PacketRef,
}

/// The kind of an answer, and what decides its outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct AnswerKind {
    kind: RequestKind,
    has_reason: bool,
    is_noproc: bool,
}

impl AnswerKind {
    /// That of `{Tag, Reply}`.
    const REPLY: Self = Self { kind: RequestKind::GenReply, has_reason: false, is_noproc: false };
}

/// What a message means for the calls of one side.
#[derive(Clone, Copy, Debug)]
struct CallEvent {
    key: RequestKey,
    mark: PacketRef,
    /// The direction in which the caller sends.
    caller: Direction,
    step: CallStep,
}

#[derive(Clone, Copy, Debug)]
enum CallStep {
    /// A request with a whole reference.
    Request(CallKind),
    /// A request whose reference is cut off: it has no key.
    Unnamed(CallKind),
    /// An answer from the other side.
    Answer(AnswerKind),
    /// The caller no longer waits for an answer.
    GiveUp,
}

/// The last items of some kind, by reference and with their times.
#[derive(Debug)]
struct RecentByKey<T>(VecDeque<(RequestKey, Timestamp, T)>);

impl<T> Default for RecentByKey<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy> RecentByKey<T> {
    fn add(&mut self, key: RequestKey, at: Timestamp, item: T, memory: &mut Reservation) {
        let size = RECENT * size_of::<(RequestKey, Timestamp, T)>();
        if self.0.capacity() == 0 && !memory.take(size) {
            return;
        }
        if self.0.capacity() == 0 {
            self.0.reserve_exact(RECENT);
        }
        if self.0.len() >= RECENT {
            self.0.pop_front();
        }
        self.0.push_back((key, at, item));
    }

    /// Removes the item with this key, if its time is close to `at`.
    fn take(&mut self, key: RequestKey, at: Timestamp) -> Option<T> {
        // Times of a reordered capture may go either way.
        let is_recent =
            |then: Timestamp| at.nanos_since(then).max(then.nanos_since(at)) <= REORDERED;
        self.0.back().filter(|(_, then, _)| is_recent(*then))?;
        let index = self.0.iter().position(|(known, then, _)| *known == key && is_recent(*then))?;
        self.0.remove(index).map(|(.., item)| item)
    }
}

/// The kinds of calls that are counted separately.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CallKind {
    GenCall,
    Rpc,
    Spawn,
}

const CALL_KINDS: usize = 3;

impl CallKind {
    const ALL: [Self; CALL_KINDS] = [Self::GenCall, Self::Rpc, Self::Spawn];

    const fn name(self) -> &'static str {
        match self {
            Self::GenCall => "gen_call",
            Self::Rpc => "rpc",
            Self::Spawn => "spawn",
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CallOutcome {
    /// The request was answered.
    Reply,
    /// The process that was called does not exist.
    NoProcess,
    /// The process that was called ended, or could not be spawned.
    Down,
    /// The caller no longer waits for an answer.
    GivenUp,
}

/// A message that is a request or an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallMessage<'a> {
    pub(super) from: Direction,
    pub(super) role: CallRole<'a>,
    pub(super) reference: Term<'a>,
    pub(super) mark: &'a PacketRef,
}

/// The part that a message plays in a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum CallRole<'a> {
    /// It follows one of OTP's conventions. The atom is, or begins, the reason of an end or the result of a spawn.
    Convention(RequestKind, Option<AtomText<'a>>),
    /// The caller removes its monitor: it no longer waits.
    Demonitor,
}

impl PendingCalls {
    pub(super) fn new(memory: Reservation) -> Self {
        let callers = PerDirection::from_fn(|_| Caller::default());
        Self { callers, noted: Vec::new(), seed: RandomState::default(), memory }
    }

    /// Takes a message in and pairs it at once. Gives the time since its request, for an answer.
    pub(super) fn pair(&mut self, message: &CallMessage<'_>) -> Option<u64> {
        let event = self.event(message)?;
        self.pair_noted();
        self.pair_event(event)
    }

    /// Takes a message in whose latency is not printed.
    #[inline]
    pub(super) fn note(&mut self, message: &CallMessage<'_>) {
        if let Some(event) = self.event(message) {
            self.note_event(event);
        }
    }

    /// The same, for a message that was read in one pass.
    #[inline]
    pub(super) fn note_usual(&mut self, from: Direction, call: UsualCall<'_>, mark: &PacketRef) {
        let (caller, step, id) = match call {
            UsualCall::Request(id) => (from, CallStep::Request(CallKind::GenCall), id),
            UsualCall::Reply(id) => (from.reverse(), CallStep::Answer(AnswerKind::REPLY), id),
            UsualCall::Demonitor(id) => (from, CallStep::GiveUp, id),
        };
        self.note_event(CallEvent { key: self.key_of(id), mark: *mark, caller, step });
    }

    #[inline(always)]
    fn note_event(&mut self, event: CallEvent) {
        if self.noted.len() == self.noted.capacity() && !self.make_room() {
            self.pair_event(event);
            return;
        }
        self.noted.push(event);
    }

    /// Makes room for a further event: a larger buffer up to a bound, or the buffer of the events that are paired
    /// now.
    #[cold]
    fn make_room(&mut self) -> bool {
        let room = self.noted.capacity();
        let more = (3 * room).max(MIN_NOTED).min(MAX_NOTED.saturating_sub(room));
        if more > 0 && self.memory.take(more * size_of::<CallEvent>()) {
            self.noted.reserve_exact(more);
            return true;
        }
        self.pair_noted();
        room > 0
    }

    /// Pairs all noted messages, and gives the calls of each direction, added up.
    pub(in crate::protocol) fn settle(&mut self) -> PerDirection<Vec<CallSums>> {
        self.pair_noted();
        PerDirection::from_fn(|direction| self.callers[direction].sums())
    }

    #[inline(never)]
    fn pair_noted(&mut self) {
        let mut noted = std::mem::take(&mut self.noted);
        for event in noted.drain(..) {
            self.pair_event(event);
        }
        self.noted = noted;
    }

    #[inline(always)]
    fn event(&self, message: &CallMessage<'_>) -> Option<CallEvent> {
        let CallMessage { from, role, reference, mark } = *message;
        let key = self.key(reference);
        let asks = |kind| match key {
            Some(_) => CallStep::Request(kind),
            None => CallStep::Unnamed(kind),
        };
        let (caller, step) = match role {
            CallRole::Demonitor => (from, CallStep::GiveUp),
            CallRole::Convention(RequestKind::GenCall, _) => (from, asks(CallKind::GenCall)),
            CallRole::Convention(RequestKind::RpcCall | RequestKind::ErpcCall, _) => {
                (from, asks(CallKind::Rpc))
            }
            CallRole::Convention(RequestKind::Spawn, _) => (from, asks(CallKind::Spawn)),
            CallRole::Convention(
                kind @ (RequestKind::GenReply | RequestKind::Down | RequestKind::SpawnReply),
                reason,
            ) => {
                let is_noproc = reason.is_some_and(|reason| reason == "noproc");
                let answer = AnswerKind { kind, has_reason: reason.is_some(), is_noproc };
                (from.reverse(), CallStep::Answer(answer))
            }
            CallRole::Convention(
                RequestKind::GenCast
                | RequestKind::RpcCast
                | RequestKind::ErpcCast
                | RequestKind::IoRequest
                | RequestKind::IoReply,
                _,
            ) => return None,
        };
        let key = match step {
            CallStep::Unnamed(_) => 0,
            _ => key?,
        };
        Some(CallEvent { key, mark: *mark, caller, step })
    }

    /// The key of a request. The name of the node that made the reference is left out: it is the caller's.
    #[inline]
    fn key(&self, reference: Term<'_>) -> Option<RequestKey> {
        reference.reference_id(|id| self.key_of(id))
    }

    /// The key of a request from creation and words of its reference.
    #[inline]
    fn key_of(&self, id: &[u8]) -> RequestKey {
        let mut hasher = self.seed.build_hasher();
        hasher.write(id);
        hasher.finish()
    }

    fn pair_event(&mut self, event: CallEvent) -> Option<u64> {
        let Self { callers, memory, .. } = self;
        let CallEvent { key, mark, caller, step } = event;
        let caller = &mut callers[caller];
        match step {
            CallStep::Request(kind) => caller.on_request(key, CallRequest { kind, mark }, memory),
            CallStep::Unnamed(kind) => caller.counts_of(kind).asked += 1,
            CallStep::Answer(kind) => {
                return caller.on_answer(key, CallAnswer { kind, mark }, memory);
            }
            CallStep::GiveUp => caller.on_give_up(key, mark, memory),
        }
        None
    }
}

impl Caller {
    fn on_request(&mut self, key: RequestKey, request: CallRequest, memory: &mut Reservation) {
        let CallRequest { kind, mark } = request;
        self.counts_of(kind).asked += 1;
        // A spawned call has two answers: the process, and then the result.
        while let Some(early) = self.early.take(key, mark.at) {
            if let Some(outcome) = early.outcome(kind) {
                self.settle(request, outcome, early.mark);
                return;
            }
        }
        self.pending.insert(key, request, memory);
    }

    fn on_answer(
        &mut self,
        key: RequestKey,
        answer: CallAnswer,
        memory: &mut Reservation,
    ) -> Option<u64> {
        let mark = answer.mark;
        if let Some((request, outcome)) = self.pending.end(key, |it| answer.outcome(it.kind)) {
            return self.settle(request, outcome?, mark);
        }
        if let Some(request) = self.given_up.take(key, mark.at) {
            // The caller removed its monitor because it had the answer.
            let outcome = answer.outcome(request.kind)?;
            let counts = self.counts_of(request.kind);
            counts.given_up = counts.given_up.saturating_sub(1);
            return self.settle(request, outcome, mark);
        }
        self.early.add(key, mark.at, answer, memory);
        None
    }

    fn on_give_up(&mut self, key: RequestKey, mark: PacketRef, memory: &mut Reservation) {
        if let Some(request) = self.pending.remove(key) {
            self.settle(request, CallOutcome::GivenUp, mark);
            self.given_up.add(key, mark.at, request, memory);
        }
    }

    /// Counts a call that ended at `mark`, and gives the latency of its answer.
    fn settle(
        &mut self,
        request: CallRequest,
        outcome: CallOutcome,
        mark: PacketRef,
    ) -> Option<u64> {
        let latency = micros(mark.at.since(request.mark.at));
        let counts = self.counts_of(request.kind);
        match outcome {
            CallOutcome::Reply => counts.on_reply(latency, request.mark, mark),
            CallOutcome::NoProcess => counts.noproc += 1,
            CallOutcome::Down => counts.down += 1,
            CallOutcome::GivenUp => counts.given_up += 1,
        }
        (outcome != CallOutcome::GivenUp).then_some(latency)
    }

    const fn counts_of(&mut self, kind: CallKind) -> &mut CallCounts {
        let [gen_call, rpc, spawn] = &mut self.counts;
        match kind {
            CallKind::GenCall => gen_call,
            CallKind::Rpc => rpc,
            CallKind::Spawn => spawn,
        }
    }

    /// The calls of each kind that occurred.
    fn sums(&self) -> Vec<CallSums> {
        // One pass for all kinds: thousands of requests may be pending.
        let mut oldest = [None; CALL_KINDS];
        for request in self.pending.iter() {
            if let Some(oldest) = oldest.get_mut(request.kind as usize)
                && oldest.is_none_or(|oldest| request.mark < oldest)
            {
                *oldest = Some(request.mark);
            }
        }
        CallKind::ALL
            .into_iter()
            .zip(&self.counts)
            .zip(oldest)
            .filter(|((_, counts), _)| counts.asked > 0)
            .map(|((kind, counts), oldest)| counts.sums(kind.name(), oldest))
            .collect()
    }
}

impl CallAnswer {
    /// The outcome of a request of this kind; `None` where another answer follows.
    fn outcome(self, request: CallKind) -> Option<CallOutcome> {
        let AnswerKind { kind, has_reason, is_noproc } = self.kind;
        Some(match kind {
            RequestKind::GenReply => CallOutcome::Reply,
            RequestKind::Down if is_noproc => CallOutcome::NoProcess,
            // `erpc` gives its result as the reason, which begins with a reference.
            RequestKind::Down if !has_reason && request == CallKind::Rpc => CallOutcome::Reply,
            RequestKind::SpawnReply if has_reason => CallOutcome::Down,
            RequestKind::SpawnReply if request == CallKind::Spawn => CallOutcome::Reply,
            RequestKind::SpawnReply => return None,
            _ => CallOutcome::Down,
        })
    }
}

/// The outcomes of the requests of one side and kind.
#[derive(Debug, Default)]
struct CallCounts {
    asked: u64,
    answered: u64,
    noproc: u64,
    down: u64,
    given_up: u64,
    latencies: Option<Box<Histogram>>,
    slowest: Option<SlowestCall>,
}

impl CallCounts {
    fn on_reply(&mut self, latency_us: u64, request: PacketRef, answer: PacketRef) {
        self.answered += 1;
        self.latencies.get_or_insert_default().add(latency_us);
        if self.slowest.is_none_or(|slowest| latency_us > slowest.latency_us) {
            self.slowest = Some(SlowestCall { latency_us, request, answer });
        }
    }

    fn sums(&self, kind: &'static str, oldest_unanswered: Option<PacketRef>) -> CallSums {
        let settled = self.answered + self.noproc + self.down + self.given_up;
        let most = self.slowest.map_or(0, |slowest| slowest.latency_us);
        let at = |share| self.latencies.as_ref().map(|all| all.at(share).min(most));
        CallSums {
            kind: kind.into(),
            asked: self.asked,
            answered: self.answered,
            unanswered: self.asked - settled.min(self.asked),
            given_up: self.given_up,
            noproc: self.noproc,
            down: self.down,
            median_us: at(0.5),
            p99_us: at(0.99),
            slowest: self.slowest,
            oldest_unanswered,
        }
    }
}

/// Numbers counted in buckets: one for each number up to 64, and of a width of 1/32 of the number above.
#[derive(Debug)]
struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
}

/// Buckets for each power of two.
const FINE: u64 = 32;
const BUCKETS: usize = 1280;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    fn add(&mut self, number: u64) {
        if let Some(count) = self.counts.get_mut(bucket(number)) {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    /// The upper end of the bucket below which this share of the numbers lies.
    fn at(&self, share: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count"
        )]
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted.max(1) {
                return highest(bucket);
            }
        }
        0
    }
}

/// The index of the bucket that counts a number.
fn bucket(number: u64) -> usize {
    let shift = u64::from(number.max(1).ilog2()).saturating_sub(5);
    let bucket = shift * FINE + (number >> shift);
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The highest number that a bucket counts.
const fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return bucket;
    }
    let shift = bucket / FINE - 1;
    ((bucket - shift * FINE + 1) << shift) - 1
}

/// The most messages that are paired at a time.
const MAX_NOTED: usize = 128;

/// The capacity of the buffer of a connection with few calls.
const MIN_NOTED: usize = 8;

/// Answers without a request, and requests given up, that are remembered for each side.
const RECENT: usize = 32;

/// The longest distance of reordered packets, in nanoseconds: captures reorder by milliseconds.
const REORDERED: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_a_thirty_second_of_its_number_wide() {
        for number in (0..100).chain([1000, 12_345, 999_999, 7_000_000, 1 << 39]) {
            let highest = highest(bucket(number));
            assert!(highest >= number && highest <= number + number / 32, "{number}: {highest}");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
        let mut all = Histogram::default();
        (1..=100).for_each(|number| all.add(number * 10));
        assert_eq!((all.at(0.5), all.at(0.99)), (highest(bucket(500)), highest(bucket(990))));
    }
}
