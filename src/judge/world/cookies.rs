//! Who must hold which cookie, without knowing one: from who was accepted by whom.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::judge::{Confidence, JudgedConnection, Outcome};
use crate::observe::MessageKind;
use crate::record::CookieGroup;

/// What the digests of each node have shown: which cookies it uses, and who took them.
#[derive(Debug)]
pub struct Cookies {
    holders: HashMap<Arc<str>, Holder, RandomState>,
    /// Names in the order of first sight.
    order: Vec<Arc<str>>,
    capacity: usize,
    evictions: u64,
}

#[derive(Debug, Default)]
struct Holder {
    /// Labels of the candidates that its digests were made with.
    labels: Vec<Arc<str>>,
    peers: Vec<Peer>,
}

/// How a node stands to another over the cookie, by their last handshake that came so far.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other.
    pub name: Arc<str>,
    /// Whether the cookies agreed.
    pub agreed: bool,
    /// Label of the candidate that the node used towards this one, if that is known.
    pub used: Option<Arc<str>>,
    /// The connection that shows it.
    pub session_id: Arc<str>,
}

impl Cookies {
    /// Has seen no digest, and keeps what at most so many nodes show.
    pub(super) fn new(capacity: usize) -> Self {
        Self { holders: HashMap::default(), order: Vec::new(), capacity, evictions: 0 }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Labels of the candidates that a node's digests were made with, towards whomever.
    pub fn labels(&self, node: &str) -> &[Arc<str>] {
        self.holders.get(node).map_or(&[], |holder| &holder.labels)
    }

    /// How a node stands to those that it had a handshake with.
    pub fn peers(&self, node: &str) -> &[Peer] {
        self.holders.get(node).map_or(&[], |holder| &holder.peers)
    }

    /// Label of the candidate that `node` uses towards `peer`, if that is known.
    pub fn used(&self, node: &str, peer: &str) -> Option<&Arc<str>> {
        self.peers(node).iter().find(|known| known.name.as_ref() == peer)?.used.as_ref()
    }

    /// Whether each of two nodes uses the cookie towards the other that the other uses elsewhere: the
    /// cookies that were set for a peer are crossed over.
    pub fn are_crossed(&self, a: &str, b: &str) -> bool {
        let holds_elsewhere = |node: &str, peer: &str, label: &Arc<str>| {
            self.labels(node).contains(label) && self.used(node, peer) != Some(label)
        };
        match (self.used(a, b), self.used(b, a)) {
            (Some(by_a), Some(by_b)) => {
                by_a != by_b && holds_elsewhere(b, a, by_a) && holds_elsewhere(a, b, by_b)
            }
            _ => false,
        }
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        let agreed = match it.outcome() {
            // Frames in the middle of a stream show no digest; what only looks accepted is no proof.
            Outcome::Connected => (it.seen.handshake.reached() == Some(MessageKind::ChallengeAck)
                && it.verdict.confidence >= Confidence::Likely)
                .then_some(true),
            Outcome::CookieMismatch => Some(false),
            _ => None,
        };
        for (role, cookie) in it.seen.handshake.cookies.each() {
            let Some(node) = it.name(role) else { continue };
            let cookie = cookie.label();
            if cookie.is_none() && agreed.is_none() {
                continue;
            }
            let Some(holder) = self.holder(node) else { continue };
            if let Some(label) = cookie {
                push_new(&mut holder.labels, label);
            }
            let (Some(name), Some(agreed)) = (it.name(role.peer()).cloned(), agreed) else {
                continue;
            };
            let (used, session_id) = (cookie.cloned(), Arc::clone(it.session_id()));
            if let Some(known) = holder.peers.iter_mut().find(|known| known.name == name) {
                // A refused digest shows one cookie, that of the dial the other way the second.
                let used = used.or_else(|| known.used.take());
                *known = Peer { name, agreed, used, session_id };
            } else if holder.peers.len() < MAX_LISTED {
                holder.peers.push(Peer { name, agreed, used, session_id });
            }
        }
    }

    fn holder(&mut self, node: &Arc<str>) -> Option<&mut Holder> {
        if !self.holders.contains_key(node) {
            if self.holders.len() >= self.capacity {
                self.evictions += 1;
                return None;
            }
            self.order.push(Arc::clone(node));
        }
        Some(self.holders.entry(Arc::clone(node)).or_default())
    }

    /// The nodes by cookie: who agreed with whom, who refused whom; the largest group first.
    ///
    /// A cookie can be set for one peer alone, so a group says what its connections show and not what
    /// `erlang:get_cookie()` says on each.
    pub(super) fn groups(&self) -> Vec<CookieGroup> {
        let mut groups = Groups::default();
        for (node, peer) in self.verdicts() {
            // Who was refused is in a group too, if of one.
            groups.add(node);
            if peer.agreed {
                groups.join(node, &peer.name);
            }
        }
        let groups = groups.settle();
        let mut lists: HashMap<usize, usize, RandomState> = HashMap::default();
        let mut found: Vec<CookieGroup> = Vec::new();
        for node in &self.order {
            let Some(group) = groups.group(node) else { continue };
            let at = *lists.entry(group).or_insert(found.len());
            if at == found.len() {
                found.push(CookieGroup::default());
            }
            let Some(group) = found.get_mut(at) else { continue };
            group.nodes.push(Arc::clone(node));
            for label in self.labels(node) {
                push_new(&mut group.cookies, label);
            }
            for peer in self.peers(node) {
                push_new(&mut group.sessions, &peer.session_id);
                if !peer.agreed {
                    push_new(&mut group.refused, &peer.name);
                }
            }
        }
        found.sort_by_key(|group| std::cmp::Reverse(group.nodes.len()));
        found
    }

    fn verdicts(&self) -> impl Iterator<Item = (&Arc<str>, &Peer)> {
        self.order.iter().flat_map(|node| self.peers(node).iter().map(move |peer| (node, peer)))
    }
}

/// Sets of names that grow together.
#[derive(Debug, Default)]
pub(super) struct Groups {
    places: HashMap<Arc<str>, usize, RandomState>,
    /// Of each place, an earlier one of the same group; itself for the first.
    parents: Vec<usize>,
}

/// [`Groups`] to which nothing is added any more.
pub(super) struct SettledGroups {
    places: HashMap<Arc<str>, usize, RandomState>,
    /// Of each place, the first of its group.
    firsts: Vec<usize>,
}

impl Groups {
    /// Puts the groups of two names together.
    pub(super) fn join(&mut self, a: &Arc<str>, b: &Arc<str>) {
        let (a, b) = (self.add(a), self.add(b));
        let (a, b) = (self.first(a), self.first(b));
        if let Some(parent) = self.parents.get_mut(a.max(b)) {
            *parent = a.min(b);
        }
    }

    /// Puts a name into a group of its own, unless it is in one.
    fn add(&mut self, name: &Arc<str>) -> usize {
        let next = self.parents.len();
        let place = *self.places.entry(Arc::clone(name)).or_insert(next);
        if place == next {
            self.parents.push(next);
        }
        place
    }

    /// The first of a group, on a way that is halved as it is gone.
    fn first(&mut self, mut place: usize) -> usize {
        let parent = |parents: &[usize], place: usize| parents.get(place).copied().unwrap_or(place);
        loop {
            let above = parent(&self.parents, parent(&self.parents, place));
            if above == place {
                return place;
            }
            if let Some(parent) = self.parents.get_mut(place) {
                *parent = above;
            }
            place = above;
        }
    }

    pub(super) fn settle(self) -> SettledGroups {
        let mut firsts: Vec<usize> = Vec::with_capacity(self.parents.len());
        for parent in self.parents {
            // What stands before is settled.
            firsts.push(firsts.get(parent).copied().unwrap_or(parent));
        }
        SettledGroups { places: self.places, firsts }
    }
}

impl SettledGroups {
    /// Whether two names are in one group.
    pub(super) fn are_one(&self, a: &Arc<str>, b: &Arc<str>) -> bool {
        self.group(a).is_some_and(|group| self.group(b) == Some(group))
    }

    fn group(&self, name: &Arc<str>) -> Option<usize> {
        self.firsts.get(*self.places.get(name)?).copied()
    }
}

fn push_new(list: &mut Vec<Arc<str>>, name: &Arc<str>) {
    if list.len() < MAX_LISTED && !list.contains(name) {
        list.push(Arc::clone(name));
    }
}

/// Names, labels and connections kept of one node, and listed of one group: enough to look into it.
const MAX_LISTED: usize = 64;
