//! Requests and their answers, paired.
//!
//! In: each message that asks or answers, by its reference. Out: how long the answers took, and what came
//! of requests that got none. A request is known by the reference that its caller made for it, so that
//! neither names nor processes have to be followed.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::lease::Lease;
use crate::event::{self, Mark};
use crate::flow::Direction;
use crate::time::{Timestamp, micros};
use crate::wire::otp::RequestKind;
use crate::wire::term::{AtomText, Term};

/// The requests of one connection that wait for an answer, and what came of the others.
#[derive(Debug)]
pub(in crate::conn) struct Calls {
    up: Side,
    down: Side,
    lease: Lease,
}

/// The requests of one side.
#[derive(Debug, Default)]
struct Side {
    /// Those that came last.
    young: Waiting,
    /// Those before them. What is older is forgotten as a whole, once there are enough young ones.
    old: Waiting,
    /// How many both tables have taken memory for.
    room: usize,
    /// Answers that came before their requests, perhaps: captures reorder.
    early: Recent<Early>,
    /// Requests that were given up, perhaps because of an answer that comes late.
    given_up: Recent<Asked>,
    tallies: [Tally; KINDS],
}

type Waiting = HashMap<Key, Asked, RandomState>;

/// A reference: its words, and the incarnation of its node. The name of that is left out: it is the caller's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key(u64, u64, u64);

#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: Kind,
    mark: Mark,
}

/// An answer for which no request waits.
#[derive(Clone, Copy, Debug)]
struct Early {
    kind: RequestKind,
    has_reason: bool,
    is_noproc: bool,
    mark: Mark,
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
    fn add(&mut self, key: Key, at: Timestamp, item: T, lease: &mut Lease) {
        let size = RECENT * size_of::<(Key, Timestamp, T)>();
        if self.0.capacity() == 0 && !lease.take(size) {
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
        let is_recent = |then: Timestamp| at.since(then).max(then.since(at)) <= REORDERED;
        self.0.back().filter(|(_, then, _)| is_recent(*then))?;
        let place = self.0.iter().position(|(known, then, _)| *known == key && is_recent(*then))?;
        self.0.remove(place).map(|(.., item)| item)
    }
}

/// What is told apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
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
    pub(super) kind: RequestKind,
    pub(super) reference: Term<'a>,
    /// The atom that the reason of an end, or the result of a spawn, is or begins with.
    pub(super) why: Option<AtomText<'a>>,
    pub(super) mark: Mark,
}

impl Calls {
    pub(super) fn new(lease: Lease) -> Self {
        Self { up: Side::default(), down: Side::default(), lease }
    }

    /// Takes a message in. Gives the time since its request, for an answer.
    pub(super) fn on_message(&mut self, said: &Saying<'_>) -> Option<u64> {
        let kind = match said.kind {
            RequestKind::GenCall => Kind::GenCall,
            RequestKind::RpcCall | RequestKind::ErpcCall => Kind::Rpc,
            RequestKind::Spawn => Kind::Spawn,
            RequestKind::GenReply | RequestKind::Down | RequestKind::SpawnReply => {
                let Self { up, down, lease } = self;
                let side = if said.from == Direction::Up { down } else { up };
                return side.on_answer(said, lease);
            }
            RequestKind::GenCast
            | RequestKind::RpcCast
            | RequestKind::ErpcCast
            | RequestKind::IoRequest
            | RequestKind::IoReply => return None,
        };
        let Self { up, down, lease } = self;
        let side = if said.from == Direction::Up { up } else { down };
        side.on_request(kind, said, lease);
        None
    }

    /// The caller takes its monitor away: it waits no longer.
    pub(super) fn on_demonitor(&mut self, from: Direction, reference: Term<'_>, mark: Mark) {
        let Self { up, down, lease } = self;
        let side = if from == Direction::Up { up } else { down };
        if side.is_idle() {
            return;
        }
        let Some(key) = Key::of(reference) else { return };
        if let Some(asked) = side.remove(key) {
            side.settle(asked, Answer::GivenUp, mark);
            side.given_up.add(key, mark.at, asked, lease);
        }
    }

    /// What this side asked and came of it.
    pub(in crate::conn) fn told(&self, caller: Direction) -> Vec<event::Calls> {
        let side = match caller {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        // Thousands may wait: they are looked through once.
        let mut oldest = [None; KINDS];
        for asked in side.old.values().chain(side.young.values()) {
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
    fn on_request(&mut self, kind: Kind, said: &Saying<'_>, lease: &mut Lease) {
        self.tally(kind).asked += 1;
        let Some(key) = Key::of(said.reference) else { return };
        let asked = Asked { kind, mark: said.mark };
        // Of a spawned call, the process and then what it came to.
        while let Some(early) = self.early.take(key, said.mark.at) {
            if let Some(answer) = early.answers(kind) {
                self.settle(asked, answer, early.mark);
                return;
            }
        }
        if self.young.len() >= GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        if self.young.len() >= self.room {
            // The table is about to double, and so will the other.
            let more = self.room.max(FIRST_WAITING);
            if !lease.take(2 * more * size_of::<(Key, Asked)>()) {
                return;
            }
            self.room += more;
        }
        self.young.insert(key, asked);
    }

    fn is_idle(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    fn remove(&mut self, key: Key) -> Option<Asked> {
        self.young.remove(&key).or_else(|| self.old.remove(&key))
    }

    fn on_answer(&mut self, said: &Saying<'_>, lease: &mut Lease) -> Option<u64> {
        let key = Key::of(said.reference)?;
        let answer = Early {
            kind: said.kind,
            has_reason: said.why.is_some(),
            is_noproc: said.why.is_some_and(|why| why == "noproc"),
            mark: said.mark,
        };
        if let Some(asked) = self.young.get(&key).or_else(|| self.old.get(&key)).copied() {
            let answer = answer.answers(asked.kind)?;
            self.remove(key);
            return self.settle(asked, answer, said.mark);
        }
        if let Some(asked) = self.given_up.take(key, said.mark.at) {
            // It was taken away because it had been answered.
            let answer = answer.answers(asked.kind)?;
            let tally = self.tally(asked.kind);
            tally.given_up = tally.given_up.saturating_sub(1);
            return self.settle(asked, answer, said.mark);
        }
        self.early.add(key, said.mark.at, answer, lease);
        None
    }

    fn settle(&mut self, asked: Asked, answer: Answer, mark: Mark) -> Option<u64> {
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

impl Early {
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

impl Key {
    fn of(reference: Term<'_>) -> Option<Self> {
        let reference = reference.as_reference()?;
        let words = reference.words();
        let word = |at: usize| u64::from(words.get(at).copied().unwrap_or(0));
        let pair = |high: u64, low: u64| high << 32 | low;
        let creation = u64::from(reference.creation);
        Some(Self(pair(word(0), word(1)), pair(word(2), word(3)), pair(word(4), creation)))
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
    slowest: Option<(u64, Mark, Mark)>,
}

impl Tally {
    fn on_reply(&mut self, latency: u64, asked: Mark, answered: Mark) {
        self.answered += 1;
        self.latencies.get_or_insert_default().add(latency);
        if self.slowest.is_none_or(|(slowest, ..)| latency > slowest) {
            self.slowest = Some((latency, asked, answered));
        }
    }

    fn told(&self, kind: &'static str, oldest: Option<Mark>) -> event::Calls {
        let settled = self.answered + self.noproc + self.down + self.given_up;
        let most = self.slowest.map_or(0, |(latency, ..)| latency);
        let at = |share| self.latencies.as_ref().map(|all| all.at(share).min(most));
        event::Calls {
            kind,
            asked: self.asked,
            answered: self.answered,
            unanswered: self.asked - settled.min(self.asked),
            given_up: self.given_up,
            noproc: self.noproc,
            down: self.down,
            median_us: at(0.5),
            p99_us: at(0.99),
            slowest: self.slowest.map(|(latency_us, asked, answered)| event::Slowest {
                latency_us,
                request: asked.into(),
                answer: answered.into(),
            }),
            oldest_unanswered: oldest.map(Into::into),
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

/// Requests of one side that wait at a time, at the least: twice as many at the most. A table that grows with
/// those that are never answered costs every other request a miss of the cache.
const GENERATION: usize = 1024;

/// Answers and requests given up that are looked through where something does not fit.
const RECENT: usize = 32;

/// Captures reorder by milliseconds.
const REORDERED: Duration = Duration::from_millis(50);

/// Those that the table has room for at first.
const FIRST_WAITING: usize = 14;

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
