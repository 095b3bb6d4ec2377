//! Which nodes use the same cookie. Nodes are known by the labels of their identities. The cookie itself need not be known: an accepted digest shows that two nodes
//! agree, a refused one that they do not.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::judge::{Confidence, JudgedConnection, Outcome};
use crate::observe::MessageKind;

/// The digests of each node: the candidate cookies that they fit, and the peers that accepted or refused them.
#[derive(Debug)]
pub struct CookieUse {
    holders: HashMap<Arc<str>, Holder, RandomState>,
    /// Names in the order of first sight.
    order: Vec<Arc<str>>,
    capacity: usize,
    evictions: u64,
}

/// Nodes with the same cookie: each accepted a digest of another one.
#[derive(Clone, Debug, Default)]
pub struct AgreedCookies {
    /// Names of the nodes.
    pub nodes: Vec<Arc<str>>,
    /// Labels of the candidate cookies that their digests were made with.
    pub labels: Vec<Arc<str>>,
    /// Names of the nodes with another cookie: one of the group refused them, or was refused by them.
    pub refused: Vec<Arc<str>>,
    /// The connections that show the group, by `session_id`.
    pub sessions: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct Holder {
    /// Labels of the candidate cookies that the node's digests were made with.
    labels: Vec<Arc<str>>,
    peers: Vec<Peer>,
}

/// The result of the last digest check between a node and one of its peers.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Name of the peer.
    pub name: Arc<str>,
    /// Address of the peer. A node and the tools of its host are one witness.
    pub ip: IpAddr,
    /// Whether the two cookies were the same.
    pub agreed: bool,
    /// Label of the candidate cookie that the node used towards this peer, if known.
    pub used: Option<Arc<str>>,
    /// The `session_id` of the connection with that check.
    pub session_id: Arc<str>,
}

impl CookieUse {
    /// An empty table for at most `capacity` nodes.
    pub(super) fn new(capacity: usize) -> Self {
        Self { holders: HashMap::default(), order: Vec::new(), capacity, evictions: 0 }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Labels of the candidate cookies that a node's digests were made with, towards any peer.
    pub fn labels(&self, node: &str) -> &[Arc<str>] {
        self.holders.get(node).map_or(&[], |holder| &holder.labels)
    }

    /// The peers of a node whose digest check with it was seen.
    pub fn peers(&self, node: &str) -> &[Peer] {
        self.holders.get(node).map_or(&[], |holder| &holder.peers)
    }

    /// Label of the candidate cookie that `node` uses towards `peer`, if known.
    pub fn used(&self, node: &str, peer: &str) -> Option<&Arc<str>> {
        self.peers(node).iter().find(|known| known.name.as_ref() == peer)?.used.as_ref()
    }

    /// Whether each of two nodes uses towards the other the cookie that the other uses elsewhere: the cookies that
    /// were set for one peer (`Node.set_cookie/2`) are swapped.
    pub fn are_crossed(&self, a: &str, b: &str) -> bool {
        let is_used_elsewhere = |node: &str, peer: &str, label: &Arc<str>| {
            self.labels(node).contains(label) && self.used(node, peer) != Some(label)
        };
        match (self.used(a, b), self.used(b, a)) {
            (Some(by_a), Some(by_b)) => {
                by_a != by_b && is_used_elsewhere(b, a, by_a) && is_used_elsewhere(a, b, by_b)
            }
            _ => false,
        }
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        let agreed = match it.outcome() {
            // A capture that begins after the handshake shows no digest, and a possible acceptance is no proof.
            Outcome::Connected => (it.seen.handshake.reached() == Some(MessageKind::ChallengeAck)
                && it.verdict.confidence >= Confidence::Likely)
                .then_some(true),
            Outcome::CookieMismatch => Some(false),
            _ => None,
        };
        for (role, cookie) in it.seen.handshake.cookies.each() {
            let Some(node) = it.label(role) else { continue };
            let cookie = cookie.label();
            if cookie.is_none() && agreed.is_none() {
                continue;
            }
            let Some(holder) = self.holder(&node) else { continue };
            if let Some(label) = cookie {
                push_new(&mut holder.labels, label);
            }
            let (Some(name), Some(agreed)) = (it.label(role.peer()), agreed) else {
                continue;
            };
            let ip = it.ip(role.peer());
            let (used, session_id) = (cookie.cloned(), Arc::clone(it.session_id()));
            if let Some(known) = holder.peers.iter_mut().find(|known| known.name == name) {
                // A refused handshake shows the initiator's cookie only; the acceptor's is known from its own dial.
                let used = used.or_else(|| known.used.take());
                *known = Peer { name, ip, agreed, used, session_id };
            } else if holder.peers.len() < MAX_LISTED {
                holder.peers.push(Peer { name, ip, agreed, used, session_id });
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

    /// The nodes grouped by cookie, the largest group first.
    ///
    /// A node can have a cookie for one peer only, so a group describes connections and not the result of
    /// `erlang:get_cookie()` on each node.
    pub(super) fn groups(&self) -> Vec<AgreedCookies> {
        let mut groups = NameGroups::default();
        for (node, peer) in self.verdicts() {
            // A node that was refused by all is a group of one.
            groups.add(node);
            if peer.agreed {
                groups.join(node, &peer.name);
            }
        }
        let groups = groups.settle();
        // Index in `found` by group.
        let mut lists: HashMap<usize, usize, RandomState> = HashMap::default();
        let mut found: Vec<AgreedCookies> = Vec::new();
        for node in &self.order {
            let Some(group) = groups.group(node) else { continue };
            let at = *lists.entry(group).or_insert(found.len());
            if at == found.len() {
                found.push(AgreedCookies::default());
            }
            let Some(group) = found.get_mut(at) else { continue };
            group.nodes.push(Arc::clone(node));
            for label in self.labels(node) {
                push_new(&mut group.labels, label);
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

/// Disjoint sets of names (union-find).
#[derive(Debug, Default)]
pub(super) struct NameGroups {
    places: HashMap<Arc<str>, usize, RandomState>,
    /// For each place, an earlier one of the same group; the place itself if it is the first.
    parents: Vec<usize>,
}

/// [`NameGroups`] with every path compressed, to which no name can be added.
pub(super) struct SettledGroups {
    places: HashMap<Arc<str>, usize, RandomState>,
    /// For each place, the first of its group.
    firsts: Vec<usize>,
}

impl NameGroups {
    /// Merges the groups of two names.
    pub(super) fn join(&mut self, a: &Arc<str>, b: &Arc<str>) {
        let (a, b) = (self.add(a), self.add(b));
        let (a, b) = (self.first(a), self.first(b));
        if let Some(parent) = self.parents.get_mut(a.max(b)) {
            *parent = a.min(b);
        }
    }

    /// Adds a name as a group of its own, unless it is known, and returns its place.
    fn add(&mut self, name: &Arc<str>) -> usize {
        let next = self.parents.len();
        let place = *self.places.entry(Arc::clone(name)).or_insert(next);
        if place == next {
            self.parents.push(next);
        }
        place
    }

    /// The first place of a group; the path to it is halved on the way.
    fn first(&mut self, mut place: usize) -> usize {
        let parent = |parents: &[usize], place: usize| parents.get(place).copied().unwrap_or(place);
        loop {
            let grandparent = parent(&self.parents, parent(&self.parents, place));
            if grandparent == place {
                return place;
            }
            if let Some(parent) = self.parents.get_mut(place) {
                *parent = grandparent;
            }
            place = grandparent;
        }
    }

    /// Replaces every parent by the first place of its group.
    pub(super) fn settle(self) -> SettledGroups {
        let mut firsts: Vec<usize> = Vec::with_capacity(self.parents.len());
        for parent in self.parents {
            // A parent precedes its place, so the first of its group is known.
            firsts.push(firsts.get(parent).copied().unwrap_or(parent));
        }
        SettledGroups { places: self.places, firsts }
    }
}

impl SettledGroups {
    /// The group of a name: two names are in the same one if theirs are equal. `None` for a name that was not added.
    pub(super) fn group(&self, name: &Arc<str>) -> Option<usize> {
        self.firsts.get(*self.places.get(name)?).copied()
    }
}

fn push_new(list: &mut Vec<Arc<str>>, name: &Arc<str>) {
    if list.len() < MAX_LISTED && !list.contains(name) {
        list.push(Arc::clone(name));
    }
}

/// Maximum number of names, labels and connections for each node and each group: enough to examine it.
const MAX_LISTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::dial;

    const A: &str = "a@h1/10.0.0.1/1";

    #[test]
    fn the_peers_of_a_node_and_the_nodes_are_bounded() {
        let mut known = CookieUse::new(2);
        for n in 0..MAX_LISTED + 9 {
            known.on_session(&dial(0, A, &format!("b{n}@h2/10.0.0.2/1")).judged());
        }
        assert_eq!(known.holders.len(), 2);
        assert_eq!(known.holders["a@h1"].peers.len(), MAX_LISTED);
        assert_eq!(known.evictions, MAX_LISTED as u64 + 8, "each later peer is a node as well");
    }

    #[test]
    fn a_later_attempt_replaces_what_was_known_of_the_pair_and_keeps_the_cookie() {
        let mut known = CookieUse::new(9);
        let b = "b@h2/10.0.0.2/1";
        known.on_session(&dial(0, A, b).cookies(Some("one"), Some("one")).judged());
        known.on_session(&dial(1, A, b).fails(Outcome::CookieMismatch).judged());
        let [peer] = known.holders["a@h1"].peers.as_slice() else { panic!() };
        assert_eq!((peer.agreed, peer.used.as_deref()), (false, Some("one")));
        known.on_session(&dial(2, A, b).fails(Outcome::TimedOut).judged());
        assert_eq!(known.holders["a@h1"].peers.len(), 1);
        assert!(!known.holders["a@h1"].peers[0].agreed, "what did not come to the digests");
    }
}
