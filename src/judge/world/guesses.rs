//! The addresses that guess cookies: refused digests by source address and by the node that refused them.
//!
//! A node with a wrong cookie is refused as often as it dials, and in a tight loop it dials more than a thousand times
//! a second. The number and rate of its attempts are therefore no evidence. A node never uses many names, never tries
//! many cookies, and never dials a peer while its dial to the same peer is pending. A node that is refused, accepted, and
//! refused again at once has tried several cookies as well.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::registry::{LOOKUP_AGE, Registry};
use crate::decode::Endpoint;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::remember;
use crate::observe::{MessageKind, Role};
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Refused digests, by source address and by the node that refused them.
#[derive(Debug, Default)]
pub struct Guesses {
    known: HashMap<SourceAndTarget, RefusedDigests, RandomState>,
    /// Keys of `known`, the oldest first.
    order: VecDeque<SourceAndTarget>,
}

/// The address of a dialing node, and the endpoint of the dialed one.
type SourceAndTarget = (IpAddr, Endpoint);

/// The digests of one address that one node refused.
#[derive(Debug)]
struct RefusedDigests {
    count: u64,
    first: PacketRef,
    /// The `session_id` of the connection of `first`.
    first_session: Arc<str>,
    /// The first [`NAMES_REPORTED`] names that were refused; each of them has a finding of its own.
    names: Vec<Arc<str>>,
    /// The last attempts, the oldest first.
    recent: VecDeque<RefusedAttempt>,
    /// The last attempts that were accepted, the oldest first.
    accepted: VecDeque<AcceptedAttempt>,
    /// Whether the attempts came faster than a person makes them.
    is_burst: bool,
    /// The last times at which a dial began before the previous one had been answered.
    overlaps: VecDeque<Timestamp>,
    sign: Option<Sign>,
}

/// One attempt whose digest was refused.
#[derive(Debug)]
struct RefusedAttempt {
    at: Timestamp,
    sides: AttemptSides,
    cookie: Option<Arc<str>>,
}

/// One attempt whose digest was accepted.
#[derive(Debug)]
struct AcceptedAttempt {
    at: Timestamp,
    sides: AttemptSides,
    shown: GuessedAttempt,
}

/// The incarnations of the two nodes of an attempt: their names and creations.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct AttemptSides {
    name: Option<Arc<str>>,
    creation: Option<u32>,
    acceptor: Option<(Arc<str>, Option<u32>)>,
}

impl AttemptSides {
    fn of(it: &JudgedConnection) -> Self {
        let handshake = &it.seen.handshake;
        let acceptor = it.name(Role::Acceptor).cloned();
        Self {
            // Names that are not proven count as well: who guesses cookies may make names up.
            name: it.seen.name(Role::Initiator).cloned(),
            creation: handshake.creation(Role::Initiator),
            acceptor: acceptor.map(|name| (name, handshake.creation(Role::Acceptor))),
        }
    }
}

/// The attempt among refused ones that was accepted.
#[derive(Clone, Debug)]
pub struct GuessedAttempt {
    /// Its number among all attempts, from 1.
    pub number: u64,
    /// The packet with the `challenge_ack`.
    pub ack: PacketRef,
    /// The `session_id` of its connection.
    pub session_id: Arc<str>,
}

/// The evidence that cookies are guessed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// The number of candidate cookies that fit the attempts of one address.
    Cookies(usize),
    /// The number of names that one address used.
    Names(usize),
    /// The number of names that one address used, and its number of EPMD look-ups: at least one, but far too few.
    NamesOfFewLookups(usize, usize),
    /// The number of attempts, and of EPMD look-ups: at least one, but far too few.
    FewLookups(usize, usize),
    /// The number of dials that began while another one under the same name was pending.
    Overlaps(usize),
    /// An attempt was accepted between refused ones, within milliseconds.
    Accepted,
}

/// Many refusals of one address within a short time.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Number of attempts that were refused so far.
    pub refused: u64,
    /// The time from the first attempt to the last.
    pub lasted: Duration,
}

/// An address that guesses cookies.
#[derive(Clone, Debug)]
pub struct Guess {
    /// The evidence for it.
    pub sign: Sign,
    /// The attempt that was accepted, if one was.
    pub accepted: Option<GuessedAttempt>,
    /// Number of attempts that were refused so far.
    pub refused: u64,
    /// The `challenge_reply` of the first attempt.
    pub first: PacketRef,
    /// The `session_id` of the first attempt.
    pub first_session: Arc<str>,
    /// The time from the first attempt to the last.
    pub lasted: Duration,
}

impl Guess {
    /// Number of attempts, the accepted one included.
    pub fn attempts(&self) -> u64 {
        self.refused + u64::from(self.accepted.is_some())
    }
}

impl Guesses {
    /// Records that `from` dialed `to` while another dial under the same name was pending.
    pub(super) fn on_overlap(&mut self, from: IpAddr, to: Endpoint, at: Timestamp) {
        if let Some(refused) = self.known.get_mut(&(from, to)) {
            remember(&mut refused.overlaps, at, REMEMBERED);
        }
    }

    /// Records a judged connection; only its first record with a checked digest counts.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, registry: &Registry) {
        self.on_accepted(it);
        let is_refusal = it.outcome() == Outcome::CookieMismatch
            && it.verdict.detected_by == Some(Role::Acceptor)
            && !it.is_repeated;
        let reply = it.seen.message(MessageKind::ChallengeReply);
        let Some(mark) = reply.filter(|_| is_refusal) else { return };
        let key = (it.ip(Role::Initiator), it.acceptor_end());
        if !self.known.contains_key(&key) {
            self.order.push_back(key);
            if self.order.len() > MAX_KEYS
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        let refused =
            self.known.entry(key).or_insert_with(|| RefusedDigests::new(mark, it.session_id()));
        let lookups = |since: Timestamp| {
            let (from, to) = key;
            registry.lookups_since(from, to, since.before(LOOKUP_AGE))
        };
        refused.on_refusal(it, mark, lookups);
    }

    /// Records a digest that was accepted from an address whose digests had been refused.
    fn on_accepted(&mut self, it: &JudgedConnection) {
        let reply = it.seen.message(MessageKind::ChallengeReply);
        let ack = it.seen.message(MessageKind::ChallengeAck);
        let (Some(reply), Some(ack), true) = (reply, ack, it.has_just_connected()) else { return };
        let key = (it.ip(Role::Initiator), it.acceptor_end());
        let Some(refused) = self.known.get_mut(&key) else { return };
        let number = refused.count + refused.accepted.len() as u64 + 1;
        let session_id = Arc::clone(it.session_id());
        let shown = GuessedAttempt { number, ack, session_id };
        let accepted = AcceptedAttempt { at: reply.at, sides: AttemptSides::of(it), shown };
        remember(&mut refused.accepted, accepted, MAX_ACCEPTED);
    }

    /// Whether `from` is guessing the cookie of the node at `to`.
    pub fn guess(&self, from: IpAddr, to: Endpoint) -> Option<Guess> {
        let refused = self.known.get(&(from, to))?;
        let lasted = refused.lasted()?;
        let accepted = refused.guessed().map(|accepted| accepted.shown.clone());
        let (sign, count, first) = (refused.sign?, refused.count, refused.first);
        let first_session = Arc::clone(&refused.first_session);
        Some(Guess { sign, accepted, refused: count, first, first_session, lasted })
    }

    /// The refusals of `from` by the node at `to`, if they came faster than a person makes them.
    pub fn burst(&self, from: IpAddr, to: Endpoint) -> Option<Burst> {
        let refused = self.known.get(&(from, to)).filter(|refused| refused.is_burst)?;
        Some(Burst { refused: refused.count, lasted: refused.lasted()? })
    }

    /// The addresses that are guessing a cookie, and the endpoints of the nodes.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, Endpoint)> {
        self.order
            .iter()
            .copied()
            .filter(|key| self.known.get(key).is_some_and(|refused| refused.sign.is_some()))
    }

    /// Whether `from` was refused under so many names that `name` has no finding of its own.
    pub fn is_one_of_many(&self, from: IpAddr, to: Endpoint, name: &str) -> bool {
        let refused = self.known.get(&(from, to));
        refused.is_some_and(|refused| !refused.names.iter().any(|known| known.as_ref() == name))
    }
}

impl RefusedDigests {
    fn new(first: PacketRef, session_id: &Arc<str>) -> Self {
        Self {
            count: 0,
            first,
            first_session: Arc::clone(session_id),
            names: Vec::new(),
            recent: VecDeque::new(),
            accepted: VecDeque::new(),
            is_burst: false,
            overlaps: VecDeque::new(),
            sign: None,
        }
    }

    fn on_refusal(
        &mut self,
        it: &JudgedConnection,
        mark: PacketRef,
        lookups: impl Fn(Timestamp) -> usize,
    ) {
        let at = mark.at;
        let paused = self.recent.back().is_some_and(|last| at.since(last.at) > PAUSE);
        if paused {
            (self.count, self.first, self.sign) = (0, mark, None);
            (self.is_burst, self.accepted) = (false, VecDeque::new());
            self.first_session = Arc::clone(it.session_id());
        }
        self.count += 1;
        if let Some(label) = it.label(Role::Initiator)
            && self.names.len() < NAMES_REPORTED
            && !self.names.contains(&label)
        {
            self.names.push(label);
        }
        let cookie = it.seen.handshake.cookies.initiator.label().cloned();
        self.recent.push_back(RefusedAttempt { at, sides: AttemptSides::of(it), cookie });
        while self.recent.len() > REMEMBERED
            || self.recent.front().is_some_and(|oldest| at.since(oldest.at) > WINDOW)
        {
            self.recent.pop_front();
        }
        let before = self.recent.len().checked_sub(BURST).and_then(|n| self.recent.get(n));
        self.is_burst |= before.is_some_and(|before| at.since(before.at) <= BURST_TIME);
        self.sign = self.sign.or_else(|| self.find_sign(at, lookups));
    }

    /// The time from the first attempt to the last.
    fn lasted(&self) -> Option<Duration> {
        Some(self.recent.back()?.at.since(self.first.at))
    }

    /// The attempt that was accepted, if this address guesses.
    fn guessed(&self) -> Option<&AcceptedAttempt> {
        let mut accepted = self.accepted.iter();
        match self.sign? {
            Sign::Accepted => accepted.find(|it| self.is_amid_refusals(it)),
            _ => {
                let until = self.recent.back()?.at.after(SOON);
                accepted.find(|it| it.at >= self.first.at && it.at <= until)
            }
        }
    }

    /// Whether an accepted attempt came between refused ones, as no node with one cookie has it: the same node at once
    /// before and after it; or a new one each time, faster than nodes are started.
    fn is_amid_refusals(&self, accepted: &AcceptedAttempt) -> bool {
        let gap = |refused: &RefusedAttempt| {
            accepted.at.since(refused.at).max(refused.at.since(accepted.at))
        };
        let surround = |refused: &[&RefusedAttempt]| {
            refused.iter().any(|it| it.at <= accepted.at)
                && refused.iter().any(|it| it.at >= accepted.at)
        };
        let is_same = |it: &&RefusedAttempt| it.sides == accepted.sides && gap(it) <= AT_ONCE;
        let same: Vec<_> = self.recent.iter().filter(is_same).collect();
        if surround(&same) {
            return true;
        }
        let is_near = |it: &&RefusedAttempt| {
            it.sides.acceptor == accepted.sides.acceptor && gap(it) <= FASTER_THAN_STARTS
        };
        let near: Vec<_> = self.recent.iter().filter(is_near).collect();
        let mut sides: Vec<_> = near.iter().map(|it| &it.sides).chain([&accepted.sides]).collect();
        sides.sort_unstable();
        sides.dedup();
        near.len() >= MIN_NEAR && sides.len() > near.len() && surround(&near)
    }

    /// The evidence in the recent attempts, the strongest first.
    fn find_sign(&self, now: Timestamp, lookups: impl Fn(Timestamp) -> usize) -> Option<Sign> {
        let cookies = distinct(self.recent.iter().filter_map(|attempt| attempt.cookie.as_ref()));
        let names = distinct(self.recent.iter().filter_map(|attempt| attempt.sides.name.as_ref()));
        let overlaps = self.overlaps.iter().filter(|at| now.since(**at) <= WINDOW).count();
        let asked = || self.recent.front().map_or(0, |oldest| lookups(oldest.at));
        let (attempts, asked) = match self.recent.len() {
            attempts if names >= MIN_NAMES_OF_FEW_LOOKUPS || attempts >= MIN_OF_FEW_LOOKUPS => {
                (attempts, asked())
            }
            attempts => (attempts, 0),
        };
        if self.accepted.iter().any(|accepted| self.is_amid_refusals(accepted)) {
            Some(Sign::Accepted)
        } else if cookies >= MIN_COOKIES {
            Some(Sign::Cookies(cookies))
        } else if names >= MIN_NAMES_OF_FEW_LOOKUPS && (1..=names / 4).contains(&asked) {
            Some(Sign::NamesOfFewLookups(names, asked))
        } else if attempts >= MIN_OF_FEW_LOOKUPS && (1..=attempts / 8).contains(&asked) {
            Some(Sign::FewLookups(attempts, asked))
        } else if names >= MIN_NAMES {
            Some(Sign::Names(names))
        } else if overlaps >= MIN_OVERLAPS {
            Some(Sign::Overlaps(overlaps))
        } else {
            None
        }
    }
}

fn distinct<'a>(texts: impl Iterator<Item = &'a Arc<str>>) -> usize {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    texts.len()
}

/// Attempts are evaluated together if they are no further apart than this.
const WINDOW: Duration = Duration::from_secs(10);

/// Maximum number of attempts within [`WINDOW`]: more than any sign needs.
const REMEMBERED: usize = 64;

/// After a pause this long, the count and the evaluation start again.
const PAUSE: Duration = Duration::from_secs(60);

/// Number of attempts, and the time for them, from which on they are a burst: a person does not dial so often.
const BURST: usize = 8;
const BURST_TIME: Duration = Duration::from_secs(2);

/// A client uses a cookie as soon as it has found it.
const SOON: Duration = Duration::from_secs(10);

/// Maximum number of accepted attempts that are remembered: the first of them shows the intrusion.
const MAX_ACCEPTED: usize = 8;

/// A node whose cookie is changed by hand, or by a script that does something in between, takes longer.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A host does not start so many nodes in so short a time: each takes about 100 ms of processor time.
const MIN_NEAR: usize = 8;
const FASTER_THAN_STARTS: Duration = Duration::from_millis(125);

/// A node has one cookie for a peer at a time. An operator who corrects it by hand changes it once or twice within
/// [`WINDOW`].
const MIN_COOKIES: usize = 4;

/// Tools of releases (`rpc`, `eval`) and of `RabbitMQ` start a node with a new name at each call, which takes a second
/// of processor time: they cannot reach this many names within [`WINDOW`].
const MIN_NAMES: usize = 32;

/// A node asks EPMD before each dial, so there are at least as many look-ups as names. Where EPMD was asked at all, a
/// quarter of the look-ups for this many names leaves room for packets that were not captured.
const MIN_NAMES_OF_FEW_LOOKUPS: usize = 10;

/// The same for attempts under one name. A node that finds its peers without EPMD never asks it.
const MIN_OF_FEW_LOOKUPS: usize = 16;

/// A node has one pending dial to a peer. Two nodes of one name behind one address may overlap by chance; the bound
/// leaves room for that.
const MIN_OVERLAPS: usize = 8;

/// Maximum number of names of one address that have findings of their own.
const NAMES_REPORTED: usize = 5;

/// Maximum number of pairs of source and target. The value is arbitrary: with attempts from more addresses at once,
/// a finding for each would help no reader.
const MAX_KEYS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{at, mark};

    /// The sign in refused attempts under this number of names, each used this many times, after this many look-ups.
    fn sign(names: usize, times: usize, asked: usize) -> Option<Sign> {
        let mut digests = RefusedDigests::new(mark(0), &"first".into());
        for n in 0..names * times {
            let name = Some(format!("x{}@h", n % names).into());
            let sides = AttemptSides { name, creation: Some(1), acceptor: None };
            digests.recent.push_back(RefusedAttempt { at: at(n as u64), sides, cookie: None });
        }
        digests.find_sign(at(1000), |_| asked)
    }

    #[test]
    fn few_lookups_for_many_attempts_are_a_sign_and_one_for_each_is_none() {
        let names = |asked| matches!(sign(12, 1, asked), Some(Sign::NamesOfFewLookups(12, _)));
        assert_eq!([0, 1, 3, 4, 12].map(names), [false, true, true, false, false]);
        assert!(sign(9, 1, 1).is_none(), "too few names");
        let attempts = |asked| matches!(sign(1, 16, asked), Some(Sign::FewLookups(16, _)));
        assert_eq!([0, 1, 2, 3, 16].map(attempts), [false, true, true, false, false]);
        assert!(sign(1, 15, 1).is_none(), "too few attempts");
        assert!(matches!(sign(32, 1, 32), Some(Sign::Names(32))));
    }
}
