//! Requests and their answers, paired.
//!
//! In: each message that asks or answers, by its reference. Out: how long the answers took, and what came
//! of requests that got none. A request is known by the reference that its caller made for it, so that
//! neither names nor processes have to be followed.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::waiting::{Key, Waiting};
use crate::flow::Direction;
use crate::memory::Reservation;
use crate::observe::{CallSums, SlowestCall};
use crate::packet::PacketRef;
use crate::time::{Timestamp, micros};
use crate::wire::otp::RequestKind;
use crate::wire::term::{AtomText, Term};

/// The requests of one connection that wait for an answer, and what came of the others.
#[derive(Debug)]
pub(in crate::protocol) struct Calls {
    up: Side,
    down: Side,
    /// What was said since the sides were looked at. They take a hundred kilobytes on a busy connection: brought
    /// into the cache for one message at a time, they cost twice what reading it does.
    unpaired: Vec<ConnOutput>,
    /// Makes keys of references.
    seed: RandomState,
    memory: Reservation,
}

/// The requests of one side.
#[derive(Debug, Default)]
struct Side {
    waiting: Waiting,
    /// Answers that came before their requests, perhaps: captures reorder.
    early: Recent<Answered>,
    /// Requests that were given up, perhaps because of an answer that comes late.
    given_up: Recent<Asked>,
    tallies: [Tally; KINDS],
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) mark: PacketRef,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
struct Answered {
    kind: RequestKind,
    has_reason: bool,
    is_noproc: bool,
    mark: PacketRef,
}

/// What a message asks or answers.
#[derive(Clone, Copy, Debug)]
enum ConnOutput {
    /// A request, of the side that said so.
    Asks(Option<Key>, Asked, Direction),
    /// An answer to one of the other side.
    Answers(Key, Answered, Direction),
    /// The side that said so waits no longer.
    GivesUp(Key, PacketRef, Direction),
}

/// What came last of something, by reference and with its time.
#[derive(Debug)]
struct Recent<T>(VecDeque<(Key, Timestamp, T)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy> Recent<T> {
    fn add(&mut self, key: Key, at: Timestamp, item: T, memory: &mut Reservation) {
        let size = RECENT * size_of::<(Key, Timestamp, T)>();
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

    /// Takes what has this reference, if it came just before `at`.
    fn take(&mut self, key: Key, at: Timestamp) -> Option<T> {
        // Times of a reordered capture may go either way.
        let is_recent =
            |then: Timestamp| at.nanos_since(then).max(then.nanos_since(at)) <= REORDERED;
        self.0.back().filter(|(_, then, _)| is_recent(*then))?;
        let place = self.0.iter().position(|(known, then, _)| *known == key && is_recent(*then))?;
        self.0.remove(place).map(|(.., item)| item)
    }
}

/// What is told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    GenCall,
    Rpc,
    Spawn,
}

const KINDS: usize = 3;

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::GenCall => "gen_call",
            Self::Rpc => "rpc",
            Self::Spawn => "spawn",
        }
    }
}

/// What an answer says of its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answer {
    /// It was answered.
    Reply,
    /// There was no such process.
    NoProc,
    /// The process ended, or was not made.
    Down,
    /// The caller waits no longer.
    GivenUp,
}

/// A message, as far as it asks or answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saying<'a> {
    pub(super) from: Direction,
    pub(super) what: What<'a>,
    pub(super) reference: Term<'a>,
    pub(super) mark: &'a PacketRef,
}

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    /// It follows a convention of OTP's; with the atom that the reason of an end, or the result of a spawn, is
    /// or begins with.
    Says(RequestKind, Option<AtomText<'a>>),
    /// The caller takes its monitor away: it waits no longer.
    GivesUp,
}

impl Calls {
    pub(super) fn new(memory: Reservation) -> Self {
        let (up, down) = (Side::default(), Side::default());
        Self { up, down, unpaired: Vec::new(), seed: RandomState::default(), memory }
    }

    /// Takes a message in. Gives the time since its request, for an answer.
    pub(super) fn pair(&mut self, said: &Saying<'_>) -> Option<u64> {
        let said = self.said(said)?;
        self.catch_up();
        self.take(said)
    }

    /// Takes a message in, of which nobody wants to know at once how long it took.
    #[inline]
    pub(super) fn note(&mut self, said: &Saying<'_>) {
        let Some(said) = self.said(said) else { return };
        if self.unpaired.len() == self.unpaired.capacity() && !self.make_room() {
            self.take(said);
            return;
        }
        self.unpaired.push(said);
    }

    /// Room for what is said next: more of it where much is said, or that of what is paired now.
    #[cold]
    fn make_room(&mut self) -> bool {
        let room = self.unpaired.capacity();
        let more = (3 * room).max(FEW).min(UNPAIRED.saturating_sub(room));
        if more > 0 && self.memory.take(more * size_of::<ConnOutput>()) {
            self.unpaired.reserve_exact(more);
            return true;
        }
        self.catch_up();
        room > 0
    }

    /// Pairs what was noted.
    #[inline(never)]
    pub(in crate::protocol) fn catch_up(&mut self) {
        let mut unpaired = std::mem::take(&mut self.unpaired);
        for said in unpaired.drain(..) {
            self.take(said);
        }
        self.unpaired = unpaired;
    }

    #[inline(always)]
    fn said(&self, saying: &Saying<'_>) -> Option<ConnOutput> {
        let Saying { from, what, reference, mark } = *saying;
        let mark = *mark;
        let kind = match what {
            What::GivesUp => return Some(ConnOutput::GivesUp(self.key(reference)?, mark, from)),
            What::Says(RequestKind::GenCall, _) => Kind::GenCall,
            What::Says(RequestKind::RpcCall | RequestKind::ErpcCall, _) => Kind::Rpc,
            What::Says(RequestKind::Spawn, _) => Kind::Spawn,
            What::Says(
                kind @ (RequestKind::GenReply | RequestKind::Down | RequestKind::SpawnReply),
                why,
            ) => {
                let (has_reason, is_noproc) =
                    (why.is_some(), why.is_some_and(|why| why == "noproc"));
                let answer = Answered { kind, has_reason, is_noproc, mark };
                return Some(ConnOutput::Answers(self.key(reference)?, answer, from));
            }
            What::Says(
                RequestKind::GenCast
                | RequestKind::RpcCast
                | RequestKind::ErpcCast
                | RequestKind::IoRequest
                | RequestKind::IoReply,
                _,
            ) => return None,
        };
        Some(ConnOutput::Asks(self.key(reference), Asked { kind, mark }, from))
    }

    /// The name of the node that made the reference is left out: it is the caller's.
    #[inline]
    fn key(&self, reference: Term<'_>) -> Option<Key> {
        reference.reference_id(|id| {
            let mut hasher = self.seed.build_hasher();
            hasher.write(id);
            hasher.finish()
        })
    }

    fn take(&mut self, said: ConnOutput) -> Option<u64> {
        let Self { up, down, memory, .. } = self;
        match said {
            ConnOutput::Asks(key, asked, from) => {
                let side = if from == Direction::LowToHigh { up } else { down };
                side.on_request(key, asked, memory);
                None
            }
            ConnOutput::Answers(key, answer, from) => {
                let side = if from == Direction::LowToHigh { down } else { up };
                side.on_answer(key, answer, memory)
            }
            ConnOutput::GivesUp(key, mark, from) => {
                let side = if from == Direction::LowToHigh { up } else { down };
                side.on_given_up(key, mark, memory);
                None
            }
        }
    }

    /// What this side asked and came of it, as far as that [was paired](Self::catch_up).
    pub(in crate::protocol) fn told(&self, caller: Direction) -> Vec<CallSums> {
        let side = match caller {
            Direction::LowToHigh => &self.up,
            Direction::HighToLow => &self.down,
        };
        // Thousands may wait: they are looked through once.
        let mut oldest = [None; KINDS];
        for asked in side.waiting.iter() {
            if let Some(oldest) = oldest.get_mut(asked.kind as usize) {
                if oldest.is_none_or(|oldest| asked.mark < oldest) {
                    *oldest = Some(asked.mark);
                }
            }
        }
        let kinds = [Kind::GenCall, Kind::Rpc, Kind::Spawn].into_iter().zip(&side.tallies);
        kinds
            .zip(oldest)
            .filter(|((_, tally), _)| tally.asked > 0)
            .map(|((kind, tally), oldest)| tally.told(kind.name(), oldest))
            .collect()
    }
}

impl Side {
    fn on_request(&mut self, key: Option<Key>, asked: Asked, memory: &mut Reservation) {
        let Asked { kind, mark } = asked;
        self.tally(kind).asked += 1;
        let Some(key) = key else { return };
        // Of a spawned call, the process and then what it came to.
        while let Some(early) = self.early.take(key, mark.at) {
            if let Some(answer) = early.answers(kind) {
                self.settle(asked, answer, early.mark);
                return;
            }
        }
        self.waiting.insert(key, asked, memory);
    }

    fn on_answer(&mut self, key: Key, answered: Answered, memory: &mut Reservation) -> Option<u64> {
        let mark = answered.mark;
        if let Some(asked) = self.waiting.get(key) {
            let answer = answered.answers(asked.kind)?;
            self.waiting.remove(key);
            return self.settle(asked, answer, mark);
        }
        if let Some(asked) = self.given_up.take(key, mark.at) {
            // It was taken away because it had been answered.
            let answer = answered.answers(asked.kind)?;
            let tally = self.tally(asked.kind);
            tally.given_up = tally.given_up.saturating_sub(1);
            return self.settle(asked, answer, mark);
        }
        self.early.add(key, mark.at, answered, memory);
        None
    }

    fn on_given_up(&mut self, key: Key, mark: PacketRef, memory: &mut Reservation) {
        if let Some(asked) = self.waiting.remove(key) {
            self.settle(asked, Answer::GivenUp, mark);
            self.given_up.add(key, mark.at, asked, memory);
        }
    }

    fn settle(&mut self, asked: Asked, answer: Answer, mark: PacketRef) -> Option<u64> {
        let latency = micros(mark.at.since(asked.mark.at));
        let tally = self.tally(asked.kind);
        match answer {
            Answer::Reply => tally.on_reply(latency, asked.mark, mark),
            Answer::NoProc => tally.noproc += 1,
            Answer::Down => tally.down += 1,
            Answer::GivenUp => tally.given_up += 1,
        }
        (answer != Answer::GivenUp).then_some(latency)
    }

    const fn tally(&mut self, kind: Kind) -> &mut Tally {
        let [gen_call, rpc, spawn] = &mut self.tallies;
        match kind {
            Kind::GenCall => gen_call,
            Kind::Rpc => rpc,
            Kind::Spawn => spawn,
        }
    }
}

impl Answered {
    /// What this says of a request of this kind; nothing, where another answer follows.
    fn answers(self, asked: Kind) -> Option<Answer> {
        Some(match self.kind {
            RequestKind::GenReply => Answer::Reply,
            RequestKind::Down if self.is_noproc => Answer::NoProc,
            // `erpc` gives its result as the reason, which begins with a reference.
            RequestKind::Down if !self.has_reason && asked == Kind::Rpc => Answer::Reply,
            RequestKind::SpawnReply if !self.has_reason && asked == Kind::Spawn => Answer::Reply,
            RequestKind::SpawnReply if !self.has_reason => return None,
            _ => Answer::Down,
        })
    }
}

/// What came of the requests of one side and kind.
#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    answered: u64,
    noproc: u64,
    down: u64,
    given_up: u64,
    latencies: Option<Box<Histogram>>,
    slowest: Option<(u64, PacketRef, PacketRef)>,
}

impl Tally {
    fn on_reply(&mut self, latency: u64, asked: PacketRef, answered: PacketRef) {
        self.answered += 1;
        self.latencies.get_or_insert_default().add(latency);
        if self.slowest.is_none_or(|(slowest, ..)| latency > slowest) {
            self.slowest = Some((latency, asked, answered));
        }
    }

    fn told(&self, kind: &'static str, oldest: Option<PacketRef>) -> CallSums {
        let settled = self.answered + self.noproc + self.down + self.given_up;
        let most = self.slowest.map_or(0, |(latency, ..)| latency);
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
            slowest: self.slowest.map(|(latency_us, asked, answered)| SlowestCall {
                latency_us,
                request: asked,
                answer: answered,
            }),
            oldest_unanswered: oldest,
        }
    }
}

/// Numbers counted by size: exactly up to 64, and to a thirty-second above.
#[derive(Debug)]
struct Histogram {
    counts: [u32; BUCKETS],
    total: u64,
}

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

    /// The number below or at which so great a share of them lies.
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

/// Where a number is counted.
fn bucket(number: u64) -> usize {
    let shift = u64::from(number.max(1).ilog2()).saturating_sub(5);
    let bucket = shift * FINE + (number >> shift);
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The highest number that is counted there.
const fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * FINE {
        return bucket;
    }
    let shift = bucket / FINE - 1;
    ((bucket - shift * FINE + 1) << shift) - 1
}

/// Messages that are paired at a time, at the most and at the least.
const UNPAIRED: usize = 128;
const FEW: usize = 8;

/// Answers and requests given up that are looked through where something does not fit.
const RECENT: usize = 32;

/// Captures reorder by milliseconds. In nanoseconds.
const REORDERED: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_exactly_or_nearly_so() {
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
