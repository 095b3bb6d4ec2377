//! Who tries cookies: refused digests by who sent them and who refused them.
//!
//! A node with a wrong cookie is refused as often as it dials, and in a tight loop it dials more than a
//! thousand times a second. Its number of attempts and their pace therefore say nothing. What a node never
//! does: give itself name after name, try cookie after cookie, or dial a peer that it is dialing.

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

/// Refused digests, by source and by the node that refused.
#[derive(Debug, Default)]
pub struct Guesses {
    known: HashMap<Way, Refused, RandomState>,
    /// Keys in the order in which they came.
    order: VecDeque<Way>,
}

/// From an address to a node.
type Way = (IpAddr, Endpoint);

/// What one address was refused at one node.
#[derive(Debug)]
struct Refused {
    count: u64,
    first: PacketRef,
    /// The first few names that were refused, each of which is told by itself.
    names: Vec<Arc<str>>,
    /// The last attempts, oldest first.
    recent: VecDeque<Attempt>,
    /// When a dial was begun before the last one had been answered, the last times.
    overlaps: VecDeque<Timestamp>,
    sign: Option<Sign>,
}

#[derive(Debug)]
struct Attempt {
    at: Timestamp,
    name: Option<Arc<str>>,
    cookie: Option<Arc<str>>,
}

/// What shows that cookies are guessed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// So many candidate cookies fit the attempts of one address.
    Cookies(usize),
    /// So many names were given.
    Names(usize),
    /// So many names were given, and EPMD was asked so often for that: at least once, and far too seldom.
    NamesOfFewLookups(usize, usize),
    /// So many attempts were made, and EPMD was asked so often for that, likewise.
    FewLookups(usize, usize),
    /// So many dials were begun while another under the same name was pending.
    Overlaps(usize),
}

/// An address that guesses.
#[derive(Clone, Copy, Debug)]
pub struct Guess {
    /// What shows it.
    pub sign: Sign,
    /// Attempts that were refused so far.
    pub refused: u64,
    /// The first of them.
    pub first: PacketRef,
    /// The time from that to the last.
    pub lasted: Duration,
}

impl Guesses {
    /// A dial from `from` to `to` under a name that had another dial pending there.
    pub(super) fn on_overlap(&mut self, from: IpAddr, to: Endpoint, at: Timestamp) {
        if let Some(refused) = self.known.get_mut(&(from, to)) {
            remember(&mut refused.overlaps, at, REMEMBERED);
        }
    }

    /// A session that is over, told for the first time.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, registry: &Registry) {
        let is_refusal = it.outcome() == Outcome::CookieMismatch
            && it.verdict.detected_by == Some(Role::Acceptor)
            && !it.again;
        let reply = it.seen.message(MessageKind::ChallengeReply);
        let Some(mark) = reply.filter(|_| is_refusal) else { return };
        let way = (it.ip(Role::Initiator), it.acceptor_end());
        if !self.known.contains_key(&way) {
            self.order.push_back(way);
            if self.order.len() > MAX_WAYS {
                if let Some(oldest) = self.order.pop_front() {
                    self.known.remove(&oldest);
                }
            }
        }
        let refused = self.known.entry(way).or_insert_with(|| Refused::new(mark));
        let lookups = |since: Timestamp| {
            let (from, to) = way;
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

    /// Whether `name` is one too many to be told by itself, of those that `from` was refused under.
    pub fn is_one_of_many(&self, from: IpAddr, to: Endpoint, name: &str) -> bool {
        let refused = self.known.get(&(from, to));
        refused.is_some_and(|refused| !refused.names.iter().any(|known| known.as_ref() == name))
    }
}

impl Refused {
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
        if let Some(name) = &name {
            if self.names.len() < NAMES_TOLD && !self.names.contains(name) {
                self.names.push(Arc::clone(name));
            }
        }
        let cookie = it.seen.handshake.cookies.initiator.label().cloned();
        self.recent.push_back(Attempt { at, name, cookie });
        while self.recent.len() > REMEMBERED
            || self.recent.front().is_some_and(|oldest| at.since(oldest.at) > WINDOW)
        {
            self.recent.pop_front();
        }
        self.sign = self.sign.or_else(|| self.shown(at, lookups));
    }

    fn shown(&self, now: Timestamp, lookups: impl Fn(Timestamp) -> usize) -> Option<Sign> {
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

/// Signs are looked for among attempts that are no further apart than this.
const WINDOW: Duration = Duration::from_secs(10);

/// Attempts kept of those: more than any sign needs.
const REMEMBERED: usize = 64;

/// After a pause this long, what comes next is judged anew.
const PAUSE: Duration = Duration::from_secs(60);

/// A node has one cookie for a peer at a time; a person who corrects it by hand does so once or twice
/// within [`WINDOW`].
const MIN_COOKIES: usize = 4;

/// Tools of releases (`rpc`, `eval`) and of `RabbitMQ` start a node with a new name at each call, and take a
/// second of processor time to do so: so many from one address within [`WINDOW`] are no such calls.
const MIN_NAMES: usize = 32;

/// A node asks EPMD before each dial, so names are no more than look-ups. Where EPMD was asked at all, this
/// many names with a quarter of the look-ups leave room for packets that were not captured.
const MIN_NAMES_OF_FEW_LOOKUPS: usize = 10;

/// So with attempts under one name. A node that finds its peers without EPMD asks not once.
const MIN_OF_FEW_LOOKUPS: usize = 16;

/// A node has one pending dial to a peer. Two nodes of one name behind one address may overlap by chance,
/// which this leaves room for.
const MIN_OVERLAPS: usize = 8;

/// Names that one address is refused under and that are told one by one.
const NAMES_TOLD: usize = 5;

/// Ways remembered. Arbitrary: attempts of that many addresses at once are nothing to be told one by one.
const MAX_WAYS: usize = 1024;
