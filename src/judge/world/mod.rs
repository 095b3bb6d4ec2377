//! Stage 6: what several connections show together.
//!
//! In: events. Out: facts for the connections that ask. Decides nothing about a connection by itself, and
//! keeps nothing without a bound.

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

use std::net::IpAddr;
use std::sync::Arc;

use self::hosts::Hosts;
use self::nodes::Nodes;
use self::pairs::Pairs;
use self::registry::Registry;
use crate::decode::Endpoint;
use crate::limits::Limits;
use crate::names::{self, Resolved};
use crate::protocol::{FactSource, Facts, Question};
use crate::record::{Body, Cluster, ConnectionIds, Event, Failure, Node, Outcome, Role, Session};
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
    /// Up to when packets were lost to the capture.
    lost: Option<Timestamp>,
}

impl World {
    /// Knows nothing yet, except the ports that people named.
    pub fn new(
        limits: &Limits,
        dist_ports: Vec<std::ops::RangeInclusive<u16>>,
        home: HomeNets,
    ) -> Self {
        Self {
            registry: Registry::new(limits, dist_ports),
            hosts: Hosts::new(limits),
            cookies: Cookies::new(limits.nodes),
            dials: Dials::default(),
            guesses: Guesses::default(),
            nodes: Nodes::new(limits),
            pairs: Pairs::new(limits),
            max_rows: limits.cluster_rows,
            home,
            lost: None,
        }
    }

    /// The capture has lost packets, the last of them by `until` at the latest.
    pub fn on_loss(&mut self, until: Timestamp) {
        self.lost = self.lost.max(Some(until));
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

    /// The capture calls `ip` by `name`, should a host be able to have that.
    pub fn on_listed_name(&mut self, ip: IpAddr, name: &[u8]) {
        if let Some(name) = names::host(name) {
            self.hosts.on_listed(ip, name);
        }
    }

    /// Takes an event in. Ports that it marks as a node's, and that were not, go to `marked`; what it
    /// tells about nodes goes to `nodes`.
    pub fn on_event(&mut self, event: &Event, marked: &mut Vec<Endpoint>, nodes: &mut Vec<Event>) {
        let Some(ids) = &event.connection else { return };
        match &event.body {
            Body::Epmd { epmd } => self.registry.on_epmd(event, ids, epmd, marked),
            Body::Handshake { handshake } => {
                if self.dials.on_handshake(event, ids, handshake) {
                    let to = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
                    self.guesses.on_overlap(ids.src_ip, to, event.at);
                }
            }
            Body::Session { session } => {
                self.hosts.on_session(event, ids, session);
                self.nodes.on_session(event, ids, session, nodes);
                self.on_session(ids, session, marked);
            }
            Body::Finding { .. }
            | Body::Incident { .. }
            | Body::Node { .. }
            | Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. }
            | Body::Anomaly { .. }
            | Body::Stats { .. } => {}
        }
    }

    /// Takes in what the rules made of an event: the incident it belongs to, if to any.
    pub fn on_verdict(&mut self, event: &Event, incident: Option<Arc<str>>) {
        let Some(ids) = &event.connection else { return };
        match &event.body {
            Body::Session { session } => self.pairs.on_session(event.at, ids, session, incident),
            Body::Epmd { epmd } => self.pairs.on_epmd(event.at, ids, epmd, incident),
            _ => {}
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

    fn on_session(&mut self, ids: &ConnectionIds, session: &Session, marked: &mut Vec<Endpoint>) {
        self.cookies.on_session(&ids.session_id, session);
        self.dials.on_session(ids, session);
        self.guesses.on_session(ids, session, &self.registry);
        if session.acceptor.node.is_some() {
            self.registry.mark(acceptor_end(ids, session), marked);
        }
    }
}

impl FactSource for World {
    fn facts(&self, about: &Question<'_>) -> Facts {
        let answered = self.registry.lookup(about);
        let lookup = answered.map(|answered| answered.lookup.clone());
        let alive = lookup.as_ref().map(|lookup| &lookup.asked);
        let turned_to = answered.and_then(|answered| answered.opened).unwrap_or(about.opened);
        let held = about.acceptor_name.map(|name| self.cookies.labels(name));
        Facts {
            hosts: self.hosts.clues(about, alive, turned_to),
            acceptor_version: lookup.as_ref().map(|lookup| lookup.highest_version),
            crossed: self.dials.crossed(about, lookup.as_ref()),
            dialed_back: self.dials.dialed_back(about, lookup.as_ref()),
            lookup,
            acceptor_cookies: held.unwrap_or_default().to_vec(),
        }
    }

    fn is_node_port(&self, end: Endpoint) -> bool {
        self.registry.is_node_port(end)
    }

    fn lost_until(&self) -> Option<Timestamp> {
        self.lost
    }
}

/// Cuts a list to `len`. Gives the number of entries left out.
fn cut<T>(list: &mut Vec<T>, len: usize) -> u64 {
    let left_out = list.len().saturating_sub(len);
    list.truncate(len);
    left_out as u64
}

/// Where the acceptor of a session listens.
pub fn acceptor_end(ids: &ConnectionIds, session: &Session) -> Endpoint {
    Endpoint {
        ip: session.acceptor.ip.unwrap_or(ids.dest_ip),
        port: session.acceptor.port.unwrap_or(ids.dest_port),
    }
}

/// Where a side of a session is.
pub fn ip_of(ids: &ConnectionIds, session: &Session, role: Role) -> IpAddr {
    match role {
        Role::Initiator => session.initiator.ip.unwrap_or(ids.src_ip),
        Role::Acceptor => session.acceptor.ip.unwrap_or(ids.dest_ip),
    }
}

/// The part of a node name left of the `@`.
pub(crate) fn alive_of(name: &str) -> Option<&str> {
    Some(name.split_once('@')?.0)
}
