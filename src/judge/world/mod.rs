//! What several connections show together.
//!
//! In: judged observations, handshake messages, answers of EPMD and of name servers. Out: the facts among them that
//! are related to one connection, and the state of the cluster. Every list and map has a bound.

mod addresses;
mod claims;
mod cookies;
mod dials;
mod guesses;
mod home;
mod hosts;
mod nodes;
mod pairs;
mod reach;
mod registry;
mod relays;
mod unresolved;

pub use self::addresses::{Addresses, NamedAddress};
pub use self::claims::{Claim, Owner, Proof, SentName};
pub use self::cookies::{AgreedCookies, CookieUse, Peer};
pub use self::dials::{Dial, Dials};
pub use self::guesses::{Burst, Guess, GuessedAttempt, Guesses, Sign};
pub use self::home::HomeNets;
pub use self::hosts::{Ground, HostClue};
pub use self::nodes::{Change, NodeChange, NodeFacts, Sighting};
pub use self::pairs::{
    ConnectedPair, FailedDials, FailedReason, Failure, OtherConnection, Undecided,
};
pub use self::reach::{Accepted, EpmdAnswer, Reach, SeenAt};
pub use self::registry::{ForwardedLookup, PriorLookup};
pub use self::relays::{Relays, SeenHeader};
pub(crate) use self::unresolved::extends;
pub use self::unresolved::{FailedName, UnresolvedNames};

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use self::claims::Claims;
use self::hosts::Hosts;
use self::nodes::Nodes;
use self::pairs::PairTable;
use self::registry::Registry;
use super::{JudgedConnection, Outcome, Software, Verdict};
use crate::decode::Endpoint;
use crate::limits::Limits;
use crate::names::{Resolved, Unresolved};
use crate::observe::{
    EpmdObservation, HandshakeObservation, Observation, ProxyHeaderFacts, Role, Settled,
};
use crate::questions::NoNeighbour;
use crate::time::Timestamp;

/// The facts that all connections so far have shown, by topic.
#[derive(Debug)]
pub struct World {
    registry: Registry,
    hosts: Hosts,
    addresses: Addresses,
    claims: Claims,
    unresolved: UnresolvedNames,
    cookies: CookieUse,
    dials: Dials,
    guesses: Guesses,
    nodes: Nodes,
    pairs: PairTable,
    reach: Reach,
    relays: Relays,
    /// Maximum length of each list of [`ClusterFacts`].
    max_rows: usize,
    home: HomeNets,
}

/// All nodes and pairs, in their last known state.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// All nodes whose names were seen.
    pub nodes: Vec<NodeFacts>,
    /// Pairs whose last attempt succeeded.
    pub connected: Vec<ConnectedPair>,
    /// Pairs whose last attempt failed.
    pub failed: Vec<FailedDials>,
    /// Pairs of visible nodes of one mesh without an attempt, although the capture would show one.
    pub never_tried: Vec<[Arc<str>; 2]>,
    /// Sets of nodes that accepted each other's cookie, the largest first.
    pub cookies: Vec<AgreedCookies>,
    /// Number of entries that [`Limits::cluster_rows`] left out.
    pub left_out: u64,
}

/// Facts from other connections that are related to one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct RelatedFacts {
    /// The EPMD look-up that led to the connection.
    pub(crate) lookup: Option<PriorLookup>,
    /// Hosts that the initiator may have dialed, the most certain first.
    pub(crate) hosts: Vec<HostClue>,
    /// The program that the acceptor is, by its hellos on other connections.
    pub(crate) acceptor: Option<Software>,
    /// Highest handshake version that EPMD gives the acceptor.
    pub(crate) acceptor_version: Option<u16>,
    /// Labels of the cookies that the acceptor's digests were made with in other connections.
    pub(crate) acceptor_cookies: Vec<Arc<str>>,
    /// Whether the initiator accepted a connection from the acceptor in place of this one, at about the same time.
    pub(crate) crossed: bool,
    /// Whether the acceptor dialed the initiator at about the same time, and the answer to that is not in the capture.
    pub(crate) may_have_crossed: bool,
    /// Whether the acceptor had dialed the initiator less than a second before this connection was closed.
    pub(crate) dialed_back: bool,
}

impl World {
    /// A world before the first fact.
    pub fn new(limits: &Limits, home: HomeNets) -> Self {
        Self {
            registry: Registry::new(limits),
            hosts: Hosts::new(limits),
            addresses: Addresses::new(limits),
            claims: Claims::new(limits),
            unresolved: UnresolvedNames::new(limits),
            cookies: CookieUse::new(limits.nodes),
            dials: Dials::default(),
            guesses: Guesses::default(),
            nodes: Nodes::new(limits),
            pairs: PairTable::new(limits),
            reach: Reach::new(limits),
            relays: Relays::default(),
            max_rows: limits.cluster_rows,
            home,
        }
    }

    /// Number of facts that were dropped because a bound was reached.
    pub fn evictions(&self) -> u64 {
        self.dropped().iter().map(|(_, dropped)| dropped).sum()
    }

    /// Number of facts that were dropped because a bound was reached, by what they were about.
    pub(crate) const fn dropped(&self) -> [(&'static str, u64); 9] {
        [
            ("look-ups", self.registry.evictions()),
            ("dials and answers of name servers", self.hosts.evictions()),
            ("names of addresses", self.addresses.evictions()),
            ("names that were looked up", self.unresolved.evictions()),
            ("claims of names", self.claims.evictions()),
            ("nodes", self.nodes.evictions()),
            ("pairs of nodes", self.pairs.evictions()),
            ("cookies of nodes", self.cookies.evictions()),
            ("ports of nodes", self.reach.evictions()),
        ]
    }

    /// The cookies that the nodes use, as far as digests show them.
    pub const fn cookies(&self) -> &CookieUse {
        &self.cookies
    }

    /// The recent dials, and the names of listening nodes.
    pub const fn dials(&self) -> &Dials {
        &self.dials
    }

    /// The addresses whose digests were refused.
    pub const fn guesses(&self) -> &Guesses {
        &self.guesses
    }

    /// The endpoints that accepted connections, and the EPMDs that answered.
    pub const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// What no host could resolve.
    pub const fn unresolved(&self) -> &UnresolvedNames {
        &self.unresolved
    }

    /// The addresses of host names.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The connections that proxies forward.
    pub const fn relays(&self) -> &Relays {
        &self.relays
    }

    /// The networks that the user named as their own (`--home-net`).
    pub const fn home(&self) -> &HomeNets {
        &self.home
    }

    /// Records an answer of a name server.
    pub fn on_resolved(&mut self, resolved: &Resolved) {
        self.hosts.on_resolved(resolved);
        self.addresses.on_resolved(resolved);
        self.unresolved.on_resolved(resolved);
    }

    /// Records a question to a name server that gave no address.
    pub fn on_unresolved(&mut self, unresolved: Unresolved) {
        self.unresolved.on_unresolved(unresolved);
    }

    /// Records a host of the same network that did not answer.
    pub fn on_no_neighbour(&mut self, neighbour: NoNeighbour) {
        self.unresolved.on_no_neighbour(neighbour);
    }

    /// Records that the capture file lists `name` for `ip`.
    pub fn on_listed_name(&mut self, ip: IpAddr, name: &Arc<str>) {
        self.hosts.on_listed(ip, Arc::clone(name));
    }

    /// Records the outcome of an EPMD request. Endpoints on which a node listens, by EPMD's answer, are added to
    /// `marked`.
    pub fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        marked: &mut Vec<Endpoint>,
    ) {
        self.registry.on_epmd(settled, epmd, marked);
        self.reach.on_epmd(settled, epmd);
    }

    /// Records a PROXY protocol header.
    pub fn on_proxy_header(&mut self, settled: &Settled, header: &ProxyHeaderFacts) {
        self.relays.on_proxy_header(settled, header);
    }

    /// Records a handshake message.
    pub fn on_handshake(&mut self, settled: &Settled, message: &HandshakeObservation) {
        if self.dials.on_handshake(settled, message) {
            let ids = &settled.connection;
            let to = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
            self.guesses.on_overlap(ids.src_ip, to, settled.at);
        }
    }

    /// Records a judged connection. The endpoint of its acceptor is added to `marked`, and changes of nodes to `nodes`.
    pub fn on_session(
        &mut self,
        it: &JudgedConnection,
        marked: &mut Vec<Endpoint>,
        nodes: &mut Vec<NodeChange>,
    ) {
        self.hosts.on_session(it);
        self.nodes.on_session(it, &self.claims, nodes);
        self.claims.on_session(it);
        self.cookies.on_session(it);
        self.dials.on_session(it);
        self.guesses.on_session(it, &self.registry);
        self.reach.on_session(it);
        if it.name(Role::Acceptor).is_some() {
            marked.push(it.acceptor_end());
        }
    }

    /// The name that one side of a connection sent, if that is the name of a node elsewhere and not proven.
    pub fn claim(&self, settled: &Settled, seen: &Observation, verdict: &Verdict) -> Option<Claim> {
        self.claims.claim((settled, seen), verdict, &self.dials)
    }

    /// The names that the sides of a connection sent and have not proven, where nothing shows yet that they are of nodes
    /// elsewhere.
    pub(crate) fn unclaimed(&self, it: &JudgedConnection) -> Vec<SentName> {
        // Two nodes of one name on two hosts have a rule of their own.
        if it.claim.is_some() || it.outcome() == Outcome::Superseded {
            return Vec::new();
        }
        self.claims.unclaimed(it, &self.dials)
    }

    /// The claim that such a name is, by what is known now.
    pub(crate) fn claim_by_now(&self, sent: &SentName) -> Option<Claim> {
        self.claims.claim_by_now(sent, Outcome::Incomplete)
    }

    /// Records a connection after the rules have run on it, with the incident that it belongs to.
    pub fn on_session_incident(&mut self, it: &JudgedConnection, incident: Option<Arc<str>>) {
        self.pairs.on_session(it, incident);
    }

    /// Records an EPMD request after the rules have run on it, with the incident that it belongs to.
    pub fn on_epmd_incident(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        incident: Option<Arc<str>>,
    ) {
        self.pairs.on_epmd(settled, epmd, incident);
    }

    /// The facts from other connections that are related to the connection of `seen`.
    pub(crate) fn related(&self, seen: &Observation) -> RelatedFacts {
        let answered = self.registry.lookup(seen);
        let lookup = answered.map(|answered| answered.lookup.clone());
        let alive = lookup.as_ref().map(|lookup| &lookup.asked);
        let first_contact =
            answered.and_then(|answered| answered.opened).unwrap_or(seen.tcp.first.at);
        let labels = seen.name(Role::Acceptor).map(|name| self.cookies.labels(name));
        RelatedFacts {
            hosts: self.hosts.clues(seen, alive, first_contact),
            acceptor: self.acceptor(seen, alive).and_then(NodeFacts::software),
            acceptor_version: lookup.as_ref().map(|lookup| lookup.highest_version),
            crossed: self.dials.crossed(seen, lookup.as_ref()),
            may_have_crossed: self.dials.may_have_crossed(seen, lookup.as_ref()),
            dialed_back: self.dials.dialed_back(seen, lookup.as_ref()),
            lookup,
            acceptor_cookies: labels.unwrap_or_default().to_vec(),
        }
    }

    /// The acceptor of a connection, if it is known from others: the node that answered at its endpoint, or the one at
    /// its address that EPMD was asked for.
    fn acceptor(&self, seen: &Observation, asked: Option<&Arc<str>>) -> Option<&NodeFacts> {
        let end = seen.ends.acceptor;
        let is_asked = |name: &&str| asked.is_none_or(|asked| alive_of(name) == Some(asked));
        let listener = self.dials.listener(end).filter(is_asked);
        listener.and_then(|name| self.nodes.get(name)).or_else(|| self.nodes.at(end.ip, asked?))
    }

    /// The node with this alive name that sent a hello from an address, and its last hello.
    pub fn node_seen_at(&self, ip: IpAddr, alive: &Arc<str>) -> Option<(&NodeFacts, &Sighting)> {
        let node = self.nodes.at(ip, alive)?;
        Some((node, self.nodes.last_hello(&node.label)?))
    }

    /// Whether a node that `a` names is connected with one that `b` names.
    pub fn are_connected(&self, a: &str, b: &str) -> bool {
        self.pairs.are_connected(a, b, &self.nodes)
    }

    /// Whether two nodes, named as for [`Self::are_connected`], have a connection that they made after `since`.
    pub(crate) fn have_connected_since(&self, nodes: [&str; 2], since: Timestamp) -> bool {
        self.pairs.have_connected_since(nodes, since, &self.nodes)
    }

    /// Whether a node has an established connection whose end was not seen: by its name, or by its host if it has none.
    pub(crate) fn is_connected(&self, name: Option<&str>, ip: IpAddr) -> bool {
        self.pairs.is_connected(name, ip)
    }

    /// The node of each address at which one was seen; `None` for an address of several. Command-line tools are left out.
    pub(crate) fn only_nodes(&self) -> HashMap<IpAddr, Option<Arc<str>>, RandomState> {
        let mut only: HashMap<IpAddr, Option<Arc<str>>, RandomState> = HashMap::default();
        for node in self.nodes.all().filter(|node| !node.is_tool) {
            for ip in &node.ips {
                let is_new = !only.contains_key(ip);
                only.insert(*ip, is_new.then(|| Arc::clone(&node.name)));
            }
        }
        only
    }

    /// Why it is not known whether a node that `a` names is connected with one that `b` names. `None` if it is known, or
    /// the two never tried.
    pub(crate) fn undecided(&self, a: &str, b: &str) -> Option<Undecided> {
        self.pairs.undecided(a, b, &self.nodes)
    }

    /// Some of the look-ups that EPMD answered with a port, the latest first.
    pub(crate) fn answered_lookups(&self) -> impl Iterator<Item = &PriorLookup> {
        self.registry.latest()
    }

    /// The second half of the look-up of `settled`, if a proxy passed it on to another EPMD.
    pub fn forwarded(&self, settled: &Settled) -> Option<&ForwardedLookup> {
        let id = &settled.connection.session_id;
        // It was answered just now, so it is the latest.
        let lookup = self.registry.latest().next().filter(|lookup| lookup.session_id == *id)?;
        lookup.forwarded.as_deref()
    }

    /// Whether the acceptor of a connection is a proxy that passed the hello of the initiator on.
    pub fn is_passed_on(&self, it: &JudgedConnection) -> bool {
        relays::far_leg(&it.settled, &it.seen, &self.dials).is_some()
    }

    /// All nodes and pairs in their state at `now`.
    pub fn cluster(&self, now: Timestamp) -> ClusterFacts {
        let mut lists = self.pairs.lists(&self.nodes);
        for pair in &mut lists.failed {
            let used = |node: &str, peer: &str| self.cookies.used(node, peer).cloned();
            if pair.outcome == Failure::Session(Outcome::CookieMismatch) {
                pair.initiator_cookie = used(&pair.initiator, &pair.acceptor);
                pair.acceptor_cookie = used(&pair.acceptor, &pair.initiator);
                pair.are_cookies_crossed =
                    self.cookies.are_crossed(&pair.initiator, &pair.acceptor);
            }
        }
        let mut cluster = ClusterFacts {
            nodes: self.nodes.all().cloned().collect(),
            connected: lists.connected,
            failed: lists.failed,
            never_tried: self.pairs.never_tried(&self.nodes, now),
            cookies: self.cookies.groups(),
            left_out: 0,
        };
        let ClusterFacts { nodes, connected, failed, never_tried, cookies, left_out } =
            &mut cluster;
        let ends = connected.iter_mut().flat_map(|pair| &mut pair.nodes);
        let tried = failed.iter_mut().flat_map(|pair| [&mut pair.initiator, &mut pair.acceptor]);
        let agreed =
            cookies.iter_mut().flat_map(|group| group.nodes.iter_mut().chain(&mut group.refused));
        for label in ends.chain(tried).chain(agreed) {
            // A tool that was seen once has a name.
            if let Some(node) = self.nodes.get(label) {
                *label = Arc::clone(&node.name);
            }
        }
        *left_out = cut(nodes, self.max_rows)
            + cut(connected, self.max_rows)
            + cut(failed, self.max_rows)
            + cut(never_tried, self.max_rows)
            + cut(cookies, self.max_rows);
        cluster
    }
}

/// Cuts a list to `len`, and returns the number of entries left out.
fn cut<T>(list: &mut Vec<T>, len: usize) -> u64 {
    let left_out = list.len().saturating_sub(len);
    list.truncate(len);
    left_out as u64
}

/// The alive name: the part of a node name before the `@`.
pub(crate) fn alive_of(name: &str) -> Option<&str> {
    Some(name.split_once('@')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::dial;

    #[test]
    fn what_the_lists_of_the_cluster_leave_out_is_counted() {
        let cluster = |cluster_rows| {
            let limits = Limits { cluster_rows, ..Limits::default() };
            let mut world = World::new(&limits, HomeNets::default());
            for n in 0..12_u64 {
                let [from, to] = [n, n + 1].map(|n| format!("n{n}@h/10.0.0.{n}/1"));
                let attempt = dial(n * 10, &from, &to).cookies(Some("c"), Some("c"));
                let attempt = if n % 3 == 0 { attempt.fails(Outcome::TimedOut) } else { attempt };
                let it = attempt.judged();
                world.on_session(&it, &mut Vec::new(), &mut Vec::new());
                world.on_session_incident(&it, None);
            }
            world.cluster(Timestamp::default())
        };
        let all = cluster(1000);
        assert_eq!((all.nodes.len(), all.connected.len(), all.failed.len()), (13, 8, 4));
        assert_eq!(all.left_out, 0);
        let rows = |it: &ClusterFacts| {
            let lists = [it.nodes.len(), it.connected.len(), it.failed.len()];
            lists.iter().sum::<usize>() + it.never_tried.len() + it.cookies.len()
        };
        for most in [1, 2, 5] {
            let some = cluster(most);
            assert_eq!(some.left_out, (rows(&all) - rows(&some)) as u64, "{most}");
            assert!(some.nodes.len() == most && some.failed.len() == most.min(4), "{most}");
        }
    }

    #[test]
    fn pairs_that_the_list_of_those_never_tried_leaves_out_are_counted() {
        let cluster = |cluster_rows| {
            let limits = Limits { cluster_rows, ..Limits::default() };
            let mut world = World::new(&limits, HomeNets::default());
            for n in 1..4 {
                let [from, to] = [n, n + 1].map(|n| format!("n{n}@h{n}/10.0.0.{n}/1"));
                let it = dial(0, &from, &to).judged();
                world.on_session(&it, &mut Vec::new(), &mut Vec::new());
                world.on_session_incident(&it, None);
            }
            world.cluster(Timestamp::new(3600, 0))
        };
        let (all, some) = (cluster(1000), cluster(2));
        assert_eq!((all.nodes.len(), all.connected.len(), all.never_tried.len()), (4, 3, 3));
        assert_eq!((some.never_tried.len(), some.left_out), (2, 4));
    }

    #[test]
    fn the_node_that_answered_at_an_endpoint_is_known_for_the_next_dial_to_it() {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        let first = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").judged();
        world.on_session(&first, &mut Vec::new(), &mut Vec::new());
        let acceptor = |to: &str, asked: Option<&str>| {
            let it = dial(100, "c@h3/10.0.0.3/3", to).judged();
            let asked = asked.map(Arc::from);
            world.acceptor(&it.seen, asked.as_ref()).map(|node| node.name.to_string())
        };
        assert_eq!(acceptor("x@h2/10.0.0.2/2", None).as_deref(), Some("b@h2"));
        assert_eq!(acceptor("x@h2/10.0.0.2/2", Some("b")).as_deref(), Some("b@h2"));
        assert_eq!(acceptor("x@h2/10.0.0.2/2", Some("c")), None);
        assert_eq!(acceptor("x@h2/10.0.0.9/2", None), None);
    }
}
