//! What several connections show together.
//!
//! In: judged observations, handshake messages, answers of port mappers and name servers. Out: what of that bears on
//! one connection. Judges no connection by itself, and keeps nothing without a bound.

mod cookies;
mod dials;
mod guesses;
mod home;
mod hosts;
mod nodes;
mod pairs;
mod registry;

pub use self::cookies::{Cookies, Peer};
pub use self::dials::{Dial, Dials};
pub use self::guesses::{Guess, Guesses, Sign};
pub use self::home::{Cidr, HomeNets};
pub use self::hosts::{Ground, HostClue};
pub use self::nodes::{NodeChange, Sighting};
pub use self::registry::PriorLookup;

use std::net::IpAddr;
use std::sync::Arc;

use self::hosts::Hosts;
use self::nodes::Nodes;
use self::pairs::Pairs;
use self::registry::Registry;
use super::{JudgedConnection, Outcome};
use crate::decode::Endpoint;
use crate::limits::Limits;
use crate::names::Resolved;
use crate::observe::{EpmdObservation, HandshakeObservation, Observation, Role, Settled};
use crate::record::{Cluster, Failure, Node};
use crate::time::Timestamp;

/// What all connections so far have shown.
#[derive(Debug)]
pub struct World {
    registry: Registry,
    hosts: Hosts,
    cookies: Cookies,
    dials: Dials,
    guesses: Guesses,
    nodes: Nodes,
    pairs: Pairs,
    /// Entries of each list of a cluster event.
    max_rows: usize,
    home: HomeNets,
}

/// What of all this bears on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct RelatedFacts {
    /// The EPMD look-up that led to it.
    pub(crate) lookup: Option<PriorLookup>,
    /// Hosts that the initiator may have dialed, the best-founded first.
    pub(crate) hosts: Vec<HostClue>,
    /// Highest handshake version that EPMD gives the acceptor.
    pub(crate) acceptor_version: Option<u16>,
    /// Labels of the cookies that the acceptor's digests were made with in other connections.
    pub(crate) acceptor_cookies: Vec<Arc<str>>,
    /// Whether the initiator accepted, about then, a connection from the acceptor in place of this one.
    pub(crate) crossed: bool,
    /// Whether the acceptor had dialed the initiator, a moment before this one was closed.
    pub(crate) dialed_back: bool,
}

impl World {
    /// Knows nothing yet.
    pub fn new(limits: &Limits, home: HomeNets) -> Self {
        Self {
            registry: Registry::new(limits),
            hosts: Hosts::new(limits),
            cookies: Cookies::new(limits.nodes),
            dials: Dials::default(),
            guesses: Guesses::default(),
            nodes: Nodes::new(limits),
            pairs: Pairs::new(limits),
            max_rows: limits.cluster_rows,
            home,
        }
    }

    /// Facts that were forgotten because a bound was reached.
    pub const fn evictions(&self) -> u64 {
        self.registry.evictions()
            + self.hosts.evictions()
            + self.nodes.evictions()
            + self.pairs.evictions()
            + self.cookies.evictions()
    }

    /// Which cookies the nodes use, as far as digests show.
    pub const fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Who dialed whom.
    pub const fn dials(&self) -> &Dials {
        &self.dials
    }

    /// Who tries cookies.
    pub const fn guesses(&self) -> &Guesses {
        &self.guesses
    }

    /// The networks that are one's own.
    pub const fn home(&self) -> &HomeNets {
        &self.home
    }

    /// A name server has answered.
    pub fn on_resolved(&mut self, resolved: &Resolved) {
        self.hosts.on_resolved(resolved);
    }

    /// The capture file calls `ip` by `name`.
    pub fn on_listed_name(&mut self, ip: IpAddr, name: &Arc<str>) {
        self.hosts.on_listed(ip, Arc::clone(name));
    }

    /// A port mapper has answered, or has not. Endpoints at which a node listens by its answer go to `marked`.
    pub fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        marked: &mut Vec<Endpoint>,
    ) {
        self.registry.on_epmd(settled, epmd, marked);
    }

    /// A handshake message was sent.
    pub fn on_handshake(&mut self, settled: &Settled, message: &HandshakeObservation) {
        if self.dials.on_handshake(settled, message) {
            let ids = &settled.connection;
            let to = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
            self.guesses.on_overlap(ids.src_ip, to, settled.at);
        }
    }

    /// A connection was judged. Where its acceptor listens goes to `marked`; what changes about nodes goes to `nodes`.
    pub fn on_session(
        &mut self,
        it: &JudgedConnection,
        marked: &mut Vec<Endpoint>,
        nodes: &mut Vec<NodeChange>,
    ) {
        self.hosts.on_session(it);
        self.nodes.on_session(it, nodes);
        self.cookies.on_session(it);
        self.dials.on_session(it);
        self.guesses.on_session(it, &self.registry);
        if it.name(Role::Acceptor).is_some() {
            marked.push(it.acceptor_end());
        }
    }

    /// The rules have looked at a connection: it belongs to `incident`, if to any.
    pub fn on_session_incident(&mut self, it: &JudgedConnection, incident: Option<Arc<str>>) {
        self.pairs.on_session(it, incident);
    }

    /// The rules have looked at a request to a port mapper: it belongs to `incident`, if to any.
    pub fn on_epmd_incident(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        incident: Option<Arc<str>>,
    ) {
        self.pairs.on_epmd(settled, epmd, incident);
    }

    /// What is known that bears on a connection.
    pub(crate) fn related(&self, seen: &Observation) -> RelatedFacts {
        let answered = self.registry.lookup(seen);
        let lookup = answered.map(|answered| answered.lookup.clone());
        let alive = lookup.as_ref().map(|lookup| &lookup.asked);
        let turned_to = answered.and_then(|answered| answered.opened).unwrap_or(seen.tcp.first.at);
        let held = seen.name(Role::Acceptor).map(|name| self.cookies.labels(name));
        RelatedFacts {
            hosts: self.hosts.clues(seen, alive, turned_to),
            acceptor_version: lookup.as_ref().map(|lookup| lookup.highest_version),
            crossed: self.dials.crossed(seen, lookup.as_ref()),
            dialed_back: self.dials.dialed_back(seen, lookup.as_ref()),
            lookup,
            acceptor_cookies: held.unwrap_or_default().to_vec(),
        }
    }

    /// The whole, as seen by `now`.
    pub fn cluster(&self, now: Timestamp) -> Cluster {
        let mut lists = self.pairs.lists(&self.nodes);
        for pair in &mut lists.failed {
            let used = |node: &str, peer: &str| self.cookies.used(node, peer).cloned();
            if pair.outcome == Failure::Session(Outcome::CookieMismatch) {
                pair.initiator_cookie = used(&pair.initiator, &pair.acceptor);
                pair.acceptor_cookie = used(&pair.acceptor, &pair.initiator);
                pair.crossed = self.cookies.are_crossed(&pair.initiator, &pair.acceptor);
            }
        }
        let nodes = self.nodes.all().map(|node| Node { change: None, ..node.clone() });
        let mut cluster = Cluster {
            nodes: nodes.collect(),
            connected: lists.connected,
            failed: lists.failed,
            never_tried: self.pairs.never_tried(&self.nodes, now),
            cookies: self.cookies.groups(),
            left_out: 0,
        };
        let Cluster { nodes, connected, failed, never_tried, cookies, left_out } = &mut cluster;
        *left_out = cut(nodes, self.max_rows)
            + cut(connected, self.max_rows)
            + cut(failed, self.max_rows)
            + cut(never_tried, self.max_rows)
            + cut(cookies, self.max_rows);
        cluster
    }
}

/// Cuts a list to `len`. Gives the number of entries left out.
fn cut<T>(list: &mut Vec<T>, len: usize) -> u64 {
    let left_out = list.len().saturating_sub(len);
    list.truncate(len);
    left_out as u64
}

/// The part of a node name left of the `@`.
pub(crate) fn alive_of(name: &str) -> Option<&str> {
    Some(name.split_once('@')?.0)
}
