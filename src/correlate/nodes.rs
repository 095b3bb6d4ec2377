//! The nodes behind the connections: names, addresses, incarnations, releases.
//!
//! In: session records. Out: a `node` event when a node is first seen and when something about it
//! changes. A name belongs to whoever gives it: nothing here judges whether it is true.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{acceptor_end, ip_of};
use crate::event::{
    Body, Change, ConnectionIds, Event, Hex, Implementation, Node, NodeSeen, Party, Role, Session,
    Sighting,
};
use crate::limits::Limits;
use crate::time::Timestamp;
use crate::wire::flags::DistFlags;

/// Every node whose name was seen.
#[derive(Debug)]
pub(super) struct Nodes {
    known: HashMap<Arc<str>, Known, RandomState>,
    /// Names in the order of first sight.
    order: Vec<Arc<str>>,
    capacity: usize,
    evictions: u64,
}

#[derive(Debug)]
struct Known {
    node: Node,
    /// The last of its incarnations, the current one at the end.
    incarnations: Vec<Incarnation>,
}

/// A node from one start to its end.
#[derive(Debug)]
struct Incarnation {
    first: Sighting,
    last: Sighting,
    /// When it last said anything on any connection.
    spoke: Timestamp,
    /// Whether it was told that another one was alive at the same time.
    is_duplicate: bool,
}

impl Nodes {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { known: HashMap::default(), order: Vec::new(), capacity: limits.nodes, evictions: 0 }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Every node, in the order of first sight.
    pub(super) fn all(&self) -> impl Iterator<Item = &Node> {
        self.order.iter().filter_map(|name| Some(&self.known.get(name)?.node))
    }

    /// Takes in both sides of a session; what changes goes to `told`.
    pub(super) fn on_session(
        &mut self,
        event: &Event,
        ids: &ConnectionIds,
        session: &Session,
        told: &mut Vec<Event>,
    ) {
        for role in [Role::Initiator, Role::Acceptor] {
            let Some(change) = self.on_party(ids, session, role) else { continue };
            let name = match role {
                Role::Initiator => &session.initiator.node,
                Role::Acceptor => &session.acceptor.node,
            };
            let Some(known) = name.as_ref().and_then(|name| self.known.get(name)) else { continue };
            let node = Node { change: Some(change), ..known.node.clone() };
            told.push(Event {
                body: Body::Node { node: Box::new(node) },
                connection: event.connection.clone(),
                ..*event
            });
        }
    }

    fn on_party(&mut self, ids: &ConnectionIds, session: &Session, role: Role) -> Option<Change> {
        let (party, hello) = match role {
            Role::Initiator => (&session.initiator, session.seen.send_name),
            Role::Acceptor => (&session.acceptor, session.seen.challenge),
        };
        let (name, hello) = (party.node.as_ref()?, hello?);
        let sighting = Sighting {
            ip: ip_of(ids, session, role),
            // Zero stands for none yet, in the hello of a node that asks for a name.
            creation: party.creation.filter(|creation| *creation != 0),
            hello,
            session_id: Arc::clone(&ids.session_id),
            role,
        };
        let [initiator, acceptor] = session.seen.last_octets;
        let spoke = if role == Role::Initiator { initiator } else { acceptor };
        let spoke = spoke.unwrap_or(hello.at).max(hello.at);
        let port = (role == Role::Acceptor).then(|| acceptor_end(ids, session).port);
        if let Some(known) = self.known.get_mut(name) {
            let change = known.on_sighting(sighting, spoke);
            let learned = known.learn(party, role, port);
            return change.or_else(|| learned.then_some(Change::Updated));
        }
        if self.known.len() >= self.capacity {
            self.evictions += 1;
            return None;
        }
        let mut known = Known::new(Arc::clone(name), sighting, spoke);
        known.learn(party, role, port);
        self.order.push(Arc::clone(name));
        self.known.insert(Arc::clone(name), known);
        Some(Change::Seen)
    }
}

impl Known {
    fn new(name: Arc<str>, sighting: Sighting, spoke: Timestamp) -> Self {
        let node = Node {
            node: name,
            change: None,
            ips: vec![sighting.ip],
            dist_ports: Vec::new(),
            creation: sighting.creation,
            restarts: 0,
            hidden: None,
            dynamic: false,
            implementation: Implementation::Unknown,
            versions: Vec::new(),
            flags: None,
            otp_at_least: None,
            otp_at_most: None,
            accepted_up_to: None,
            lacks: Vec::new(),
            seen: NodeSeen { now: Some(sighting.clone()), before: None },
        };
        Self { node, incarnations: vec![Incarnation::new(sighting, spoke)] }
    }

    /// Which incarnation a hello is from, and what that means.
    fn on_sighting(&mut self, sighting: Sighting, spoke: Timestamp) -> Option<Change> {
        let (ip, creation) = (sighting.ip, sighting.creation);
        let is_new_address = !self.node.ips.contains(&ip);
        if is_new_address && self.node.ips.len() < MAX_PER_NODE {
            self.node.ips.push(ip);
        }
        // Where no creation is told, nothing tells a new incarnation.
        let same = |one: &Incarnation| {
            creation.is_none() || one.last.creation.is_none() || one.last.creation == creation
        };
        let Some(at) = self.incarnations.iter().rposition(same) else {
            return self.on_new_incarnation(sighting, spoke);
        };
        let current = self.incarnations.len() - 1;
        let known = self.incarnations.get_mut(at)?;
        known.spoke = known.spoke.max(spoke);
        if sighting.hello.at > known.last.hello.at {
            known.last = Sighting { creation: creation.or(known.last.creation), ..sighting };
        }
        if known.last.creation.is_some() && at == current {
            self.node.creation = known.last.creation;
        }
        if at < current {
            return self.on_former(at);
        }
        is_new_address.then_some(Change::Address)
    }

    fn on_new_incarnation(&mut self, sighting: Sighting, spoke: Timestamp) -> Option<Change> {
        let before = self.incarnations.last()?;
        let at = sighting.hello.at;
        // The record of a connection that was opened before, told late: an incarnation of the past.
        if at < before.first.hello.at {
            return None;
        }
        let change = if before.first.ip == sighting.ip || before.last.ip == sighting.ip {
            Change::Restarted
        } else {
            Change::Moved
        };
        let seen = NodeSeen { now: Some(sighting.clone()), before: Some(before.last.clone()) };
        self.node = Node {
            creation: sighting.creation,
            restarts: self.node.restarts + 1,
            ips: std::mem::take(&mut self.node.ips),
            seen,
            ..Self::new(Arc::clone(&self.node.node), sighting.clone(), spoke).node
        };
        if self.incarnations.len() >= MAX_PER_NODE {
            self.incarnations.remove(0);
        }
        self.incarnations.push(Incarnation::new(sighting, spoke));
        Some(change)
    }

    /// A former incarnation is heard of again.
    fn on_former(&mut self, at: usize) -> Option<Change> {
        let after = self.incarnations.get(at + 1)?.first.clone();
        let former = self.incarnations.get_mut(at)?;
        // Octets that the kernel of a node that has just died still delivers are no sign of life.
        let is_alive = former.spoke > after.hello.at.after(LAST_WORDS)
            || former.last.hello.at > after.hello.at;
        let elsewhere = former.last.ip != after.ip;
        if former.is_duplicate || !is_alive || !elsewhere {
            return None;
        }
        former.is_duplicate = true;
        self.node.seen = NodeSeen { now: Some(after), before: Some(former.last.clone()) };
        Some(Change::Duplicate)
    }

    /// Takes in what a hello tells. `true` when that is more than was known.
    fn learn(&mut self, party: &Party, role: Role, port: Option<u16>) -> bool {
        let node = &mut self.node;
        let mut is_new = false;
        if let Some(port) = port {
            if !node.dist_ports.contains(&port) && node.dist_ports.len() < MAX_PER_NODE {
                node.dist_ports.push(port);
                is_new = true;
            }
        }
        if let Some(version) = party.version.filter(|version| !node.versions.contains(version)) {
            node.versions.push(version);
            node.versions.sort_unstable();
            is_new = true;
        }
        let Some(Hex(flags)) = party.flags else { return is_new };
        let flags = DistFlags(flags);
        // OTP 22 and older answer with what both nodes have, and hide from hidden nodes.
        let is_whole = role == Role::Initiator || flags.contains(DistFlags::HANDSHAKE_23);
        let known = DistFlags(node.flags.map_or(0, |Hex(known)| known));
        if (!is_whole && node.flags.is_some()) || (known == flags && node.flags.is_some()) {
            return is_new;
        }
        // Asking for a name is a request and no capability, and its answer echoes it.
        let named = flags.contains(DistFlags::NAME_ME);
        if named && role == Role::Acceptor && node.flags.is_some() {
            return is_new;
        }
        node.flags = Some(Hex(flags.0));
        node.dynamic |= named && role == Role::Initiator;
        let published = flags.contains(DistFlags::PUBLISHED);
        let tells = published || (is_whole && !(named && role == Role::Acceptor));
        node.hidden = if tells { Some(!published) } else { node.hidden };
        node.implementation = match () {
            () if flags.is_vm() => Implementation::Vm,
            () if flags.is_c_node() => Implementation::CNode,
            () => Implementation::JavaNode,
        };
        node.otp_at_least = flags.otp_at_least();
        node.otp_at_most = if is_whole { flags.otp_at_most() } else { None };
        let accepted = if is_whole { flags.accepted_up_to() } else { None };
        node.accepted_up_to = accepted.map(|(release, _)| release);
        node.lacks = accepted
            .map(|(_, missing)| missing.names().map(|name| name.into_owned()).collect())
            .unwrap_or_default();
        true
    }
}

impl Incarnation {
    fn new(sighting: Sighting, spoke: Timestamp) -> Self {
        Self { first: sighting.clone(), last: sighting, spoke, is_duplicate: false }
    }
}

/// Whether a node may be at `ip`.
pub(super) fn is_at(node: &Node, ip: IpAddr) -> bool {
    node.ips.contains(&ip)
}

/// Addresses, ports and incarnations kept of one node. A node has one or two; a name that has more is a
/// test bench, or nobody's.
const MAX_PER_NODE: usize = 16;

/// A kernel delivers what a process wrote before it died, again and again where it is not acknowledged.
/// A node that is alive says something every 15 s.
const LAST_WORDS: Duration = Duration::from_secs(5);
