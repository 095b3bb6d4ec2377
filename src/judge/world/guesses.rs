//! The addresses that guess cookies: refused digests by source address and by the node that refused them.
//!
//! A node with a wrong cookie is refused as often as it dials, and in a tight loop it dials more than a thousand times
//! a second. The number and rate of its attempts are therefore no evidence. A node never uses many names, never tries
//! many cookies, and never dials a peer while its dial to the same peer is pending.

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
    /// The first [`NAMES_REPORTED`] names that were refused; each of them has a finding of its own.
    names: Vec<Arc<str>>,
    /// The last attempts, the oldest first.
    recent: VecDeque<RefusedAttempt>,
    /// The last times at which a dial began before the previous one had been answered.
    overlaps: VecDeque<Timestamp>,
    sign: Option<Sign>,
}

/// One attempt whose digest was refused.
#[derive(Debug)]
struct RefusedAttempt {
    at: Timestamp,
    name: Option<Arc<str>>,
    cookie: Option<Arc<str>>,
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
}

/// An address that guesses cookies.
#[derive(Clone, Copy, Debug)]
pub struct Guess {
    /// The evidence for it.
    pub sign: Sign,
    /// Number of attempts that were refused so far.
    pub refused: u64,
    /// The `challenge_reply` of the first attempt.
    pub first: PacketRef,
    /// The time from the first attempt to the last.
    pub lasted: Duration,
}

impl Guesses {
    /// Records that `from` dialed `to` while another dial under the same name was pending.
    pub(super) fn on_overlap(&mut self, from: IpAddr, to: Endpoint, at: Timestamp) {
        if let Some(refused) = self.known.get_mut(&(from, to)) {
            remember(&mut refused.overlaps, at, REMEMBERED);
        }
    }

    /// Records a judged connection; only its first record with a refused digest counts.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, registry: &Registry) {
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
        let refused = self.known.entry(key).or_insert_with(|| RefusedDigests::new(mark));
        let lookups = |since: Timestamp| {
            let (from, to) = key;
            registry.lookups_since(from, to, since.before(LOOKUP_AGE))
        };
        refused.on_refusal(it, mark, lookups);
    }

    /// Whether `from` is guessing the cookie of the node at `to`.
    pub fn guess(&self, from: IpAddr, to: Endpoint) -> Option<Guess> {
        let refused = self.known.get(&(from, to))?;
        let lasted = refused.recent.back()?.at.since(refused.first.at);
        Some(Guess { sign: refused.sign?, refused: refused.count, first: refused.first, lasted })
    }

    /// Whether `from` was refused under so many names that `name` has no finding of its own.
    pub fn is_one_of_many(&self, from: IpAddr, to: Endpoint, name: &str) -> bool {
        let refused = self.known.get(&(from, to));
        refused.is_some_and(|refused| !refused.names.iter().any(|known| known.as_ref() == name))
    }
}

impl RefusedDigests {
    fn new(first: PacketRef) -> Self {
        Self {
            count: 0,
            first,
            names: Vec::new(),
            recent: VecDeque::new(),
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
        }
        self.count += 1;
        let name = it.name(Role::Initiator).cloned();
        if let Some(name) = &name
            && self.names.len() < NAMES_REPORTED
            && !self.names.contains(name)
        {
            self.names.push(Arc::clone(name));
        }
        let cookie = it.seen.handshake.cookies.initiator.label().cloned();
        self.recent.push_back(RefusedAttempt { at, name, cookie });
        while self.recent.len() > REMEMBERED
            || self.recent.front().is_some_and(|oldest| at.since(oldest.at) > WINDOW)
        {
            self.recent.pop_front();
        }
        self.sign = self.sign.or_else(|| self.find_sign(at, lookups));
    }

    /// The evidence in the recent attempts, the strongest first.
    fn find_sign(&self, now: Timestamp, lookups: impl Fn(Timestamp) -> usize) -> Option<Sign> {
        let cookies = distinct(self.recent.iter().filter_map(|attempt| attempt.cookie.as_ref()));
        let names = distinct(self.recent.iter().filter_map(|attempt| attempt.name.as_ref()));
        let overlaps = self.overlaps.iter().filter(|at| now.since(**at) <= WINDOW).count();
        let asked = || self.recent.front().map_or(0, |oldest| lookups(oldest.at));
        let (attempts, asked) = match self.recent.len() {
            attempts if names >= MIN_NAMES_OF_FEW_LOOKUPS || attempts >= MIN_OF_FEW_LOOKUPS => {
                (attempts, asked())
            }
            attempts => (attempts, 0),
        };
        if cookies >= MIN_COOKIES {
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
