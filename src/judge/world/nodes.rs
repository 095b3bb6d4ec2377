//! The nodes at the ends of the connections: names, addresses, incarnations, releases.
//!
//! In: judged connections. Out: a [`NodeChange`] when a node is first seen and when something about it changes. A node
//! has the name that it sends; whether it is the rightful owner of that name is not judged here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alive_of;
use super::claims::{self, Claims, is_proven};
use crate::judge::Implementation;
use crate::judge::{Confidence, Identity, JudgedConnection, Outcome, Software};
use crate::limits::Limits;
use crate::observe::{DistFlags, HandshakeFacts, Role, Settled};
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// All nodes whose names were seen.
#[derive(Debug)]
pub(super) struct Nodes {
    /// By the label of their [`Identity`].
    known: HashMap<Arc<str>, Known, RandomState>,
    /// Labels in the order in which they were first seen.
    order: Vec<Arc<str>>,
    /// Labels by address and alive name.
    at: HashMap<(IpAddr, Arc<str>), Arc<str>, RandomState>,
    capacity: usize,
    evictions: u64,
}

/// What the handshakes of a node have shown of it.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// The label of its [`Identity`].
    pub label: Arc<str>,
    /// Full name of the node; the label for a tool that was seen with several names.
    pub name: Arc<str>,
    /// Whether it is a tool that has a new name each time that it is started.
    pub is_tool: bool,
    /// Number of names that one kind of tool had; 1 for a node.
    pub names: u64,
    /// Addresses of the node, in the order in which they were seen.
    pub ips: Vec<IpAddr>,
    /// Distribution ports of the node.
    pub dist_ports: Vec<u16>,
    /// Creation of the node; `None` if its handshake (version 5) does not have it.
    pub creation: Option<u32>,
    /// How often the node came back with another creation.
    pub restarts: u64,
    /// Whether the node is hidden, and so not part of the mesh; `None` if its flags were not seen.
    pub hidden: Option<bool>,
    /// Whether the acceptor assigned the name (dynamic node name).
    pub is_dynamic: bool,
    /// Implementation of the node, judged by its flags.
    pub implementation: Implementation,
    /// Handshake versions that the node used, 5 or 6.
    pub versions: Vec<u8>,
    /// Distribution flags of the node; `None` if not seen.
    pub flags: Option<DistFlags>,
    /// Oldest OTP release that sends such flags.
    pub otp_at_least: Option<u16>,
    /// Newest OTP release that sends such flags; `None` also if that is the newest known release.
    pub otp_at_most: Option<u16>,
    /// Newest OTP release that accepts a node with such flags; `None` if every known release does.
    pub accepted_up_to: Option<u16>,
    /// Flags that later releases demand and this node does not send.
    pub lacks: DistFlags,
}

impl NodeFacts {
    /// The program that the node is.
    pub fn software(&self) -> Option<Software> {
        self.flags?;
        let (at_least, at_most) = (self.otp_at_least, self.otp_at_most);
        Some(Software { implementation: self.implementation, at_least, at_most })
    }
}

/// The reason of a `node` record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The node was not seen before.
    Seen,
    /// The node has another creation at the same address.
    Restarted,
    /// The node has another creation at another address, and the former address is silent.
    Moved,
    /// Two nodes of this name are active at once at different addresses.
    Duplicate,
    /// The node has one more address with the same creation: several interfaces, or address translation.
    Address,
    /// Another property of the node became known.
    Updated,
}

/// A node whose entry has changed.
#[derive(Clone, Debug)]
pub struct NodeChange {
    /// Time of the change, and the connection that shows it.
    pub settled: Settled,
    /// What has changed about the node.
    pub kind: Change,
    /// The state of the node after the change.
    pub node: NodeFacts,
    /// The hello of the current incarnation.
    pub now: Sighting,
    /// The last hello of the incarnation before it.
    pub before: Option<Sighting>,
}

/// The hello of a node in a handshake.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Address from which the node sent it.
    pub ip: IpAddr,
    /// Creation in the hello, which identifies the incarnation.
    pub creation: Option<u32>,
    /// The packet with the hello.
    pub hello: PacketRef,
    /// The `session_id` of its connection.
    pub session_id: Arc<str>,
    /// Role of the node on the connection.
    pub role: Role,
}

#[derive(Debug)]
struct Known {
    node: NodeFacts,
    /// The last name, if it is a tool that has a new name each time.
    last_name: Arc<str>,
    /// The hello of the current incarnation, and of the one that it was last compared with.
    sightings: (Sighting, Option<Sighting>),
    /// The last incarnations, the current one at the end.
    incarnations: Vec<Incarnation>,
    /// Whether a peer accepted it, as far as the capture shows.
    is_accepted: bool,
}

/// A node between one start and its end, identified by its creation.
#[derive(Debug)]
struct Incarnation {
    first: Sighting,
    last: Sighting,
    /// When it last sent bytes on any connection.
    last_sent: Timestamp,
    /// Whether it was reported that another incarnation was alive at the same time.
    is_duplicate: bool,
}

impl Nodes {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: HashMap::default(),
            order: Vec::new(),
            at: HashMap::default(),
            capacity: limits.nodes,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// All nodes, in the order in which they were first seen.
    pub(super) fn all(&self) -> impl Iterator<Item = &NodeFacts> {
        self.order.iter().filter_map(|name| Some(&self.known.get(name)?.node))
    }

    /// When a node was first seen in its current incarnation.
    pub(super) fn first_seen(&self, name: &str) -> Option<Timestamp> {
        Some(self.known.get(name)?.sightings.0.hello.at)
    }

    /// The node of this name.
    pub(super) fn get(&self, name: &str) -> Option<&NodeFacts> {
        Some(&self.known.get(name)?.node)
    }

    /// The node with this alive name that was seen at an address.
    pub(super) fn at(&self, ip: IpAddr, alive: &Arc<str>) -> Option<&NodeFacts> {
        self.get(self.at.get(&(ip, Arc::clone(alive)))?)
    }

    /// The last hello that a node sent in its current incarnation.
    pub(super) fn last_hello(&self, label: &str) -> Option<&Sighting> {
        Some(&self.known.get(label)?.incarnations.last()?.last)
    }

    /// Records both sides of a connection; changes are added to `changes`.
    pub(super) fn on_session(
        &mut self,
        it: &JudgedConnection,
        claims: &Claims,
        changes: &mut Vec<NodeChange>,
    ) {
        for role in Role::BOTH {
            let Some(kind) = self.on_side(it, role, claims) else { continue };
            let label = it.label(role);
            let Some(known) = label.and_then(|label| self.known.get(&label)) else { continue };
            let (now, before) = known.sightings.clone();
            let (settled, node) = (it.settled.clone(), known.node.clone());
            changes.push(NodeChange { settled, kind, node, now, before });
        }
        changes.extend(self.on_tls(it));
    }

    /// Records the acceptor of a connection inside TLS: EPMD's answer and the TLS hello have the parts of its name.
    fn on_tls(&mut self, it: &JudgedConnection) -> Option<NodeChange> {
        it.verdict.tls_link?;
        let name = it.dialed_over_tls()?;
        let (_, hello) = it.seen.tls.acceptor.sign?;
        let end = it.acceptor_end();
        let sighting = Sighting {
            ip: end.ip,
            creation: None,
            hello,
            session_id: Arc::clone(it.session_id()),
            role: Role::Acceptor,
        };
        let mut kind = None;
        if !self.known.contains_key(&name) {
            if self.known.len() >= self.capacity {
                self.evictions += 1;
                return None;
            }
            let identity = Identity { label: Arc::clone(&name), is_tool: false };
            let known = Known::new(&identity, &name, sighting.clone(), hello.at);
            self.order.push(Arc::clone(&name));
            self.known.insert(Arc::clone(&name), known);
            kind = Some(Change::Seen);
        }
        if let Some(alive) = alive_of(&name).filter(|_| self.at.len() < self.capacity) {
            self.at.entry((end.ip, alive.into())).or_insert_with(|| Arc::clone(&name));
        }
        let NodeFacts { ips, dist_ports, .. } = &mut self.known.get_mut(&name)?.node;
        if !ips.contains(&end.ip) && ips.len() < MAX_PER_NODE {
            ips.push(end.ip);
            kind.get_or_insert(Change::Address);
        }
        if !dist_ports.contains(&end.port) && dist_ports.len() < MAX_PER_NODE {
            dist_ports.push(end.port);
            kind.get_or_insert(Change::Updated);
        }
        let node = self.known.get(&name)?.node.clone();
        let settled = it.settled.clone();
        Some(NodeChange { settled, kind: kind?, node, now: sighting, before: None })
    }

    fn on_side(&mut self, it: &JudgedConnection, role: Role, claims: &Claims) -> Option<Change> {
        let (identity, name) = (it.identity(role)?, it.name(role)?);
        let handshake = &it.seen.handshake;
        let hello = handshake.hello(role)?;
        // A load balancer that sends a PROXY protocol header names the address of its client in it.
        let client = it.seen.proxy.filter(|_| role == Role::Initiator).and_then(|it| it.client);
        let sighting = Sighting {
            ip: client.map_or_else(|| it.ip(role), |client| client.ip),
            creation: handshake.creation(role).filter(|creation| *creation != 0),
            hello: hello.mark,
            session_id: Arc::clone(it.session_id()),
            role,
        };
        let last_bytes = it.seen.tcp.sides[role].last_bytes;
        let last_sent = last_bytes.unwrap_or(hello.mark.at).max(hello.mark.at);
        let port = (role == Role::Acceptor).then(|| it.acceptor_end().port);
        let software = it.software(role)?;
        let is_accepted =
            it.outcome() == Outcome::Connected && it.verdict.confidence >= Confidence::Likely;
        let known = self.known.get_mut(&identity.label).filter(|_| !identity.is_tool);
        if let Some(known) = known
            && !known.node.ips.contains(&sighting.ip)
        {
            let owner = || claims.owner_elsewhere(&identity, sighting.ip);
            if !is_proven(it, role)
                && owner().is_some_and(|owner| known.node.ips.contains(&owner.ip()))
            {
                return None;
            }
            // What was seen of the name until now may be of another program, which has proven nothing.
            let is_owner = is_proven(it, role) || claims::is_named_in(&identity, sighting.ip);
            if is_owner && !known.is_accepted {
                let before = std::mem::replace(
                    known,
                    Known::new(&identity, name, sighting.clone(), last_sent),
                );
                known.is_accepted = is_accepted;
                known.learn(handshake, software, role, port);
                for ip in before.node.ips {
                    self.at.remove(&(ip, alive_of(name).unwrap_or_default().into()));
                }
                self.remember_place(sighting.ip, name, &identity);
                return Some(Change::Updated);
            }
        }
        self.remember_place(sighting.ip, name, &identity);
        if let Some(known) = self.known.get_mut(&identity.label) {
            known.is_accepted |= is_accepted;
            let is_renamed = known.on_name(&identity, name);
            let change =
                known.on_sighting(sighting, last_sent, restarts(&identity, software, port));
            let learned = known.learn(handshake, software, role, port) || is_renamed;
            return change.or_else(|| learned.then_some(Change::Updated));
        }
        if self.known.len() >= self.capacity {
            self.evictions += 1;
            return None;
        }
        let mut known = Known::new(&identity, name, sighting, last_sent);
        known.is_accepted = is_accepted;
        known.learn(handshake, software, role, port);
        self.order.push(Arc::clone(&identity.label));
        self.known.insert(identity.label, known);
        Some(Change::Seen)
    }

    fn remember_place(&mut self, ip: IpAddr, name: &Arc<str>, identity: &Identity) {
        if let Some(alive) = alive_of(name).filter(|_| !identity.is_tool)
            && self.at.len() < self.capacity
        {
            self.at.insert((ip, alive.into()), Arc::clone(&identity.label));
        }
    }
}

impl Known {
    fn new(identity: &Identity, name: &Arc<str>, sighting: Sighting, last_sent: Timestamp) -> Self {
        let last_name = Arc::clone(name);
        let node = NodeFacts {
            label: Arc::clone(&identity.label),
            name: Arc::clone(name),
            is_tool: identity.is_tool,
            names: 1,
            ips: vec![sighting.ip],
            dist_ports: Vec::new(),
            creation: sighting.creation,
            restarts: 0,
            hidden: None,
            is_dynamic: false,
            implementation: Implementation::Unknown,
            versions: Vec::new(),
            flags: None,
            otp_at_least: None,
            otp_at_most: None,
            accepted_up_to: None,
            lacks: DistFlags(0),
        };
        let incarnations = vec![Incarnation::new(sighting.clone(), last_sent)];
        Self { node, last_name, sightings: (sighting, None), incarnations, is_accepted: false }
    }

    fn identity(&self) -> Identity {
        Identity { label: Arc::clone(&self.node.label), is_tool: self.node.is_tool }
    }

    /// Records the name that a tool has this time. Returns true if the node is now known by the pattern of its names.
    fn on_name(&mut self, identity: &Identity, name: &Arc<str>) -> bool {
        if !identity.is_tool || self.last_name == *name {
            return false;
        }
        self.last_name = Arc::clone(name);
        self.node.names += 1;
        let is_new = self.node.name != identity.label;
        self.node.name = Arc::clone(&identity.label);
        is_new
    }

    /// Records the hello of an incarnation, new or known, and returns what changes with it. `restarts`: another creation
    /// is another incarnation.
    fn on_sighting(
        &mut self,
        sighting: Sighting,
        last_sent: Timestamp,
        restarts: bool,
    ) -> Option<Change> {
        let (ip, creation) = (sighting.ip, sighting.creation);
        let is_new_address = !self.node.ips.contains(&ip);
        if is_new_address && self.node.ips.len() < MAX_PER_NODE {
            self.node.ips.push(ip);
        }
        // A hello without a creation does not show a new incarnation.
        let restarts = restarts || !self.node.dist_ports.is_empty();
        let same = |one: &Incarnation| {
            !restarts
                || creation.is_none()
                || one.last.creation.is_none()
                || one.last.creation == creation
        };
        let Some(at) = self.incarnations.iter().rposition(same) else {
            return self.on_new_incarnation(sighting, last_sent);
        };
        let current = self.incarnations.len() - 1;
        let known = self.incarnations.get_mut(at)?;
        known.last_sent = known.last_sent.max(last_sent);
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

    fn on_new_incarnation(&mut self, sighting: Sighting, last_sent: Timestamp) -> Option<Change> {
        let before = self.incarnations.last()?;
        let at = sighting.hello.at;
        // The connection was opened before the current incarnation started, and is only reported late.
        if at < before.first.hello.at {
            return None;
        }
        let change = if before.first.ip == sighting.ip || before.last.ip == sighting.ip {
            Change::Restarted
        } else {
            Change::Moved
        };
        self.sightings = (sighting.clone(), Some(before.last.clone()));
        self.node = NodeFacts {
            creation: sighting.creation,
            restarts: self.node.restarts + 1,
            ips: std::mem::take(&mut self.node.ips),
            ..Self::new(&self.identity(), &self.node.name, sighting.clone(), last_sent).node
        };
        if self.incarnations.len() >= MAX_PER_NODE {
            self.incarnations.remove(0);
        }
        self.incarnations.push(Incarnation::new(sighting, last_sent));
        Some(change)
    }

    /// Returns a duplicate if a former incarnation has sent something after its successor at another address started.
    fn on_former(&mut self, at: usize) -> Option<Change> {
        let after = self.incarnations.get(at + 1)?.first.clone();
        let former = self.incarnations.get_mut(at)?;
        // The kernel delivers what a process wrote before it ended, so bytes shortly afterwards prove nothing.
        let is_alive = former.last_sent > after.hello.at.after(KERNEL_DELIVERS)
            || former.last.hello.at > after.hello.at;
        let elsewhere = former.last.ip != after.ip;
        if former.is_duplicate || !is_alive || !elsewhere {
            return None;
        }
        former.is_duplicate = true;
        self.sightings = (after, Some(former.last.clone()));
        Some(Change::Duplicate)
    }

    /// Records the properties in a hello, and returns whether one of them is new.
    fn learn(
        &mut self,
        handshake: &HandshakeFacts,
        software: Software,
        role: Role,
        port: Option<u16>,
    ) -> bool {
        let node = &mut self.node;
        let Some(hello) = handshake.hello(role).map(|hello| &hello.what) else { return false };
        let mut is_new = false;
        if let Some(port) = port
            && !node.dist_ports.contains(&port)
            && node.dist_ports.len() < MAX_PER_NODE
        {
            node.dist_ports.push(port);
            is_new = true;
        }
        if !node.versions.contains(&hello.version) {
            node.versions.push(hello.version);
            node.versions.sort_unstable();
            is_new = true;
        }
        let flags = hello.flags;
        // Nodes of OTP 23 and later send all their flags in both hellos. Older acceptors answer with the flags that
        // both nodes have, and without PUBLISHED to a hidden node.
        let is_whole = role == Role::Initiator || flags.contains(DistFlags::HANDSHAKE_23);
        let unknown = handshake.unknown_flags(role);
        let is_published = flags.contains(DistFlags::PUBLISHED);
        // NAME_ME is a request for a name and no capability, and the acceptor's answer repeats it.
        let asks_for_name = flags.contains(DistFlags::NAME_ME);
        let is_echo = asks_for_name && role == Role::Acceptor;
        let shows_less = !is_whole || is_echo || !unknown.is_empty();
        if node.flags == Some(flags) || node.flags.is_some() && shows_less {
            return is_new;
        }
        node.flags = Some(flags);
        node.is_dynamic |= asks_for_name && role == Role::Initiator;
        if is_published || (is_whole && !is_echo) {
            node.hidden = Some(!is_published);
        }
        node.implementation = software.implementation;
        node.otp_at_least = software.at_least;
        node.otp_at_most = software.at_most.filter(|_| is_whole);
        let accepted = flags.accepted_up_to(unknown).filter(|_| is_whole);
        node.accepted_up_to = accepted.map(|(release, _)| release);
        node.lacks = accepted.map_or(DistFlags(0), |(_, missing)| missing);
        true
    }
}

impl Incarnation {
    fn new(sighting: Sighting, last_sent: Timestamp) -> Self {
        Self { first: sighting.clone(), last: sighting, last_sent, is_duplicate: false }
    }
}

/// Whether another creation shows that a node was started again. Programs that only dial, such as `erl_call` and the
/// libraries of other languages, have another creation each time.
fn restarts(identity: &Identity, software: Software, port: Option<u16>) -> bool {
    let is_vm = matches!(software.implementation, Implementation::Vm | Implementation::Unknown);
    !identity.is_tool && (is_vm || port.is_some())
}

/// Whether `ip` is an address of a node.
pub(super) fn is_at(node: &NodeFacts, ip: IpAddr) -> bool {
    node.ips.contains(&ip)
}

/// Maximum number of addresses, ports and incarnations of one node. A node has one or two; a name with more is used by
/// a test, or by many nodes.
const MAX_PER_NODE: usize = 16;

/// A kernel delivers what a process wrote before it ended, and retransmits it until it is acknowledged. A node that is
/// alive sends at least a tick every 15 s.
const KERNEL_DELIVERS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{SampleDial, dial};

    const B: &str = "b@h2/10.0.0.2/5";

    /// The changes of `a@h1`, and its state after these dials.
    fn changes_of_a(dials: Vec<SampleDial>) -> (Vec<Change>, NodeFacts) {
        let mut nodes = Nodes::new(&Limits::default());
        let mut changes = Vec::new();
        for dial in dials {
            nodes.on_session(&dial.judged(), &Claims::new(&Limits::default()), &mut changes);
        }
        let about_a = changes.iter().filter(|change| change.node.name.as_ref() == "a@h1");
        let kinds = about_a.map(|change| change.kind);
        (kinds.collect(), nodes.known["a@h1"].node.clone())
    }

    #[test]
    fn a_node_is_reported_once_and_again_with_new_properties() {
        let (changes, node) = changes_of_a(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(0, "a@h1/10.0.0.1/7", B).closed(9000, [9000; 2]),
            dial(9500, B, "a@h1/10.0.0.1/7"),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Updated]);
        assert_eq!((node.creation, node.dist_ports, node.restarts), (Some(7), vec![9100], 0));
        assert_eq!(
            (node.otp_at_least, node.otp_at_most, node.hidden),
            (Some(25), Some(27), Some(false))
        );
    }

    #[test]
    fn another_creation_is_a_restart_and_elsewhere_a_move() {
        let (changes, node) = changes_of_a(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.1/8", B),
            dial(9000, "a@h1/10.0.0.9/9", B),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Restarted, Change::Moved]);
        assert_eq!((node.creation, node.restarts, node.ips.len()), (Some(9), 2, 2));
        let (_, node) = changes_of_a(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.1/8", B).fails(Outcome::CookieMismatch),
        ]);
        assert_eq!(node.creation, Some(8), "of the last hello");
    }

    #[test]
    fn one_creation_at_two_addresses_is_one_node() {
        let (changes, _) = changes_of_a(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.9/7", B),
            dial(9000, "a@h1/10.0.0.1/7", B),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Address]);
    }

    #[test]
    fn a_hello_after_one_of_the_same_name_elsewhere_is_a_duplicate() {
        let (changes, node) = changes_of_a(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.9/9", B),
            dial(6000, "a@h1/10.0.0.1/7", B),
            dial(7000, "a@h1/10.0.0.9/9", B),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Moved, Change::Duplicate]);
        assert_eq!(node.creation, Some(9));
    }

    #[test]
    fn a_former_incarnation_that_still_sends_is_a_duplicate_and_a_silent_one_has_moved() {
        let first = dial(0, "a@h1/10.0.0.1/7", B);
        let second = dial(5000, "a@h1/10.0.0.9/9", B);
        let after = |last_sent| {
            vec![first.clone(), second.clone(), first.clone().closed(60_000, last_sent)]
        };
        let (changes, _) = changes_of_a(after([20_000, 60_000]));
        assert_eq!(changes, [Change::Seen, Change::Moved, Change::Duplicate]);
        let (changes, _) = changes_of_a(after([9_000, 60_000]));
        assert_eq!(
            changes,
            [Change::Seen, Change::Moved],
            "delivered by the kernel, and a peer that still sends"
        );
    }

    #[test]
    fn two_creations_at_one_address_are_never_a_duplicate() {
        let first = dial(0, "a@h1/10.0.0.1/7", B);
        let late = first.clone().closed(60_000, [60_000; 2]);
        let (changes, _) = changes_of_a(vec![first, dial(5000, "a@h1/10.0.0.1/9", B), late]);
        assert_eq!(changes, [Change::Seen, Change::Restarted]);
    }

    #[test]
    fn a_connection_that_is_reported_late_shows_no_new_incarnation() {
        let old = dial(0, "a@h1/10.0.0.1/3", B).fails(Outcome::TimedOut).closed(7000, [0; 2]);
        let (changes, node) = changes_of_a(vec![dial(5000, "a@h1/10.0.0.1/8", B), old]);
        assert_eq!((changes, node.creation), (vec![Change::Seen], Some(8)));
    }

    #[test]
    fn the_answer_of_an_older_release_does_not_show_all_its_flags() {
        // OTP 22 answers a hidden node of OTP 18 with the flags that both have.
        let both = 0xdf_7fbd & 0x3_7ffc;
        let (_, node) =
            changes_of_a(vec![dial(0, "c@h3/10.0.0.3/1", "a@h1/10.0.0.1/7").flags(0x3_7ffc, both)]);
        assert_eq!((node.hidden, node.otp_at_most, node.accepted_up_to), (None, None, None));
        let (_, node) =
            changes_of_a(vec![dial(0, "a@h1/10.0.0.1/7", B).flags(0x1_01df_7fbd, 0xd_07df_7fbd)]);
        assert_eq!((node.otp_at_most, node.accepted_up_to), (Some(23), Some(25)));
        assert!(node.lacks.names().eq(["UNLINK_ID", "V4_NC"]));
    }

    #[test]
    fn names_beyond_the_bound_are_counted_and_not_stored() {
        let mut nodes = Nodes::new(&Limits { nodes: 3, ..Limits::default() });
        for n in 0..10 {
            let judged = dial(n, &format!("x{n}@h/10.0.0.1/1"), B).judged();
            nodes.on_session(&judged, &Claims::new(&Limits::default()), &mut Vec::new());
        }
        assert_eq!((nodes.all().count(), nodes.evictions()), (3, 8));
    }

    #[test]
    fn the_creation_that_is_known_stays_where_a_hello_has_none_or_is_of_a_former_node() {
        let without = |ms: u64| {
            let mut it = dial(ms, "a@h1/10.0.0.1/9", B).judged();
            if let Some(hello) = &mut it.seen.handshake.send_name {
                hello.what.creation = None;
            }
            it
        };
        let mut nodes = Nodes::new(&Limits::default());
        let claims = Claims::new(&Limits::default());
        let mut creations = Vec::new();
        for it in [
            dial(0, "a@h1/10.0.0.1/7", B).judged(),
            without(1000),
            dial(5000, "a@h1/10.0.0.1/8", B).judged(),
            without(6000),
            dial(100, "a@h1/10.0.0.1/7", B).judged(),
        ] {
            nodes.on_session(&it, &claims, &mut Vec::new());
            creations.push(nodes.known["a@h1"].node.creation);
        }
        assert_eq!(creations, [Some(7), Some(7), Some(8), Some(8), Some(8)]);
        assert_eq!(nodes.known["a@h1"].node.restarts, 1);
    }

    #[test]
    fn names_of_one_tool_are_counted_each_once_and_addresses_are_bounded() {
        const HIDDEN: u64 = 0xd_07df_7fbc;
        let mut nodes = Nodes::new(&Limits::default());
        let claims = Claims::new(&Limits::default());
        for n in [7, 8, 8, 9] {
            let tool = dial(n, &format!("rabbitmqcli-{n}-rabbit@h1/10.0.0.1/{n}"), B);
            nodes.on_session(&tool.flags(HIDDEN, HIDDEN).judged(), &claims, &mut Vec::new());
        }
        let tools: Vec<_> = nodes.all().filter(|node| node.is_tool).collect();
        assert_eq!((tools.len(), tools[0].names), (1, 3));
        for n in 0..MAX_PER_NODE + 9 {
            let a = format!("a@h1/10.1.0.{n}/7");
            nodes.on_session(&dial(n as u64, &a, B).judged(), &claims, &mut Vec::new());
        }
        assert_eq!(nodes.known["a@h1"].node.ips.len(), MAX_PER_NODE);
    }
}
