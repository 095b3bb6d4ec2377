//! Stage 6: what several connections show together.
//!
//! In: events. Out: facts for the connections that ask. Decides nothing about a connection by itself, and
//! keeps nothing without a bound.

mod cookies;
mod home;
mod hosts;
mod nodes;
mod pairs;
mod registry;

pub use self::cookies::{Cookies, Peer};
pub use self::home::{Cidr, HomeNets};

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::hosts::Hosts;
use self::nodes::Nodes;
use self::pairs::Pairs;
use self::registry::Registry;
use crate::conn::{FactSource, Facts, Question};
use crate::decode::Endpoint;
use crate::event::{Body, Cluster, ConnectionIds, Event, Handshake, Lookup, Node, Role, Session};
use crate::limits::Limits;
use crate::names::{self, Resolved};
use crate::time::Timestamp;

/// What all connections so far have shown.
#[derive(Debug)]
pub struct Correlator {
    registry: Registry,
    hosts: Hosts,
    cookies: Cookies,
    /// Who introduced itself in which connection, the last ones.
    hellos: VecDeque<(Arc<str>, Arc<str>)>,
    /// Connections that a node took in place of its own dial, the last ones.
    crossings: VecDeque<Crossing>,
    nodes: Nodes,
    pairs: Pairs,
    /// Entries of each list of a cluster event.
    max_rows: usize,
    home: HomeNets,
    evictions: u64,
}

/// A status `ok_simultaneous`: its sender dropped its own dial to the other side.
#[derive(Debug)]
struct Crossing {
    dropper: IpAddr,
    other: IpAddr,
    /// The name that the other side gave, where that was seen.
    other_name: Option<Arc<str>>,
    at: Timestamp,
}

impl Correlator {
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
            hellos: VecDeque::new(),
            crossings: VecDeque::new(),
            nodes: Nodes::new(limits),
            pairs: Pairs::new(limits),
            max_rows: limits.cluster_rows,
            home,
            evictions: 0,
        }
    }

    /// Facts that were forgotten because a bound was reached.
    pub const fn evictions(&self) -> u64 {
        self.evictions
            + self.registry.evictions()
            + self.hosts.evictions()
            + self.nodes.evictions()
            + self.pairs.evictions()
            + self.cookies.evictions()
    }

    /// Which cookies the nodes use, as far as digests show.
    pub const fn cookies(&self) -> &Cookies {
        &self.cookies
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
                self.on_handshake(event.at, ids, handshake);
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
        let lists = self.pairs.lists(&self.nodes);
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

    fn on_handshake(&mut self, at: Timestamp, ids: &ConnectionIds, handshake: &Handshake) {
        let id = &ids.session_id;
        if let ("send_name", Some(name)) = (handshake.message, &handshake.name) {
            remember(&mut self.hellos, (Arc::clone(id), Arc::clone(name)));
        } else if handshake.status.as_deref() == Some("ok_simultaneous") {
            let hello = self.hellos.iter().rev().find(|(session, _)| session == id);
            let other_name = hello.map(|(_, name)| Arc::clone(name));
            let (dropper, other) = (ids.dest_ip, ids.src_ip);
            remember(&mut self.crossings, Crossing { dropper, other, other_name, at });
        }
    }

    fn on_session(&mut self, ids: &ConnectionIds, session: &Session, marked: &mut Vec<Endpoint>) {
        self.cookies.on_session(&ids.session_id, session);
        if session.acceptor.node.is_some() {
            self.registry.mark(acceptor_end(ids, session), marked);
        }
    }
}

impl FactSource for Correlator {
    fn facts(&self, about: &Question<'_>) -> Facts {
        let answered = self.registry.lookup(about);
        let lookup = answered.map(|answered| answered.lookup.clone());
        let alive = lookup.as_ref().map(|lookup| &lookup.asked);
        let turned_to = answered.and_then(|answered| answered.opened).unwrap_or(about.opened);
        let held = about.acceptor_name.map(|name| self.cookies.labels(name));
        let crossed = self.crossings.iter().any(|crossing| {
            crossing.dropper == about.initiator
                && crossing.other == about.acceptor.ip
                && crossing.at >= about.opened.before(CROSSING)
                && crossing.at <= about.closed.after(CROSSING)
                && crossing.is_about(lookup.as_ref())
        });
        Facts {
            hosts: self.hosts.clues(about, alive, turned_to),
            acceptor_version: lookup.as_ref().map(|lookup| lookup.highest_version),
            lookup,
            acceptor_cookies: held.unwrap_or_default().to_vec(),
            crossed,
        }
    }

    fn is_node_port(&self, end: Endpoint) -> bool {
        self.registry.is_node_port(end)
    }
}

impl Crossing {
    /// Whether the node on the other side may be the one that `lookup` asked for.
    fn is_about(&self, lookup: Option<&Lookup>) -> bool {
        let alive = self.other_name.as_ref().and_then(|name| Some(name.split_once('@')?.0));
        alive.zip(lookup).is_none_or(|(alive, lookup)| alive == lookup.asked.as_ref())
    }
}

/// Cuts a list to `len`. Gives the number of entries left out.
fn cut<T>(list: &mut Vec<T>, len: usize) -> u64 {
    let left_out = list.len().saturating_sub(len);
    list.truncate(len);
    left_out as u64
}

fn remember<T>(queue: &mut VecDeque<T>, item: T) {
    queue.push_back(item);
    if queue.len() > REMEMBERED {
        queue.pop_front();
    }
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

/// Dials that cross do so within the set-up time of both, 7 s by default, and some.
const CROSSING: Duration = Duration::from_secs(10);

/// Far more hellos and crossings than there are within [`CROSSING`].
const REMEMBERED: usize = 1024;
