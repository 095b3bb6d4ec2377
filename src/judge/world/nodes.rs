//! The nodes behind the connections: names, addresses, incarnations, releases.
//!
//! In: session records. Out: a `node` event when a node is first seen and when something about it
//! changes. A name belongs to whoever gives it: nothing here judges whether it is true.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::judge::JudgedConnection;
use crate::limits::Limits;
use crate::observe::{DistFlags, Hello, Role, Settled};
use crate::packet::PacketRef;
use crate::record::{Change, Hex, Implementation, Node};
use crate::time::Timestamp;

/// Every node whose name was seen.
#[derive(Debug)]
pub(super) struct Nodes {
    known: HashMap<Arc<str>, Known, RandomState>,
    /// Names in the order of first sight.
    order: Vec<Arc<str>>,
    capacity: usize,
    evictions: u64,
}

/// A node whose entry has changed.
#[derive(Clone, Debug)]
pub struct NodeChange {
    /// When, and the connection that shows it.
    pub settled: Settled,
    /// The node as it is known now, with what has changed.
    pub node: Node,
    /// Current incarnation of the node.
    pub now: Sighting,
    /// The incarnation that the current one is told apart from.
    pub before: Option<Sighting>,
}

/// A node's hello in a handshake.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Address of the node.
    pub ip: IpAddr,
    /// Incarnation of the node.
    pub creation: Option<u32>,
    /// The packet with the hello.
    pub hello: PacketRef,
    /// Id of its connection.
    pub session_id: Arc<str>,
    /// Its side of the connection.
    pub role: Role,
}

#[derive(Debug)]
struct Known {
    node: Node,
    /// The current incarnation, and the one that it was last told apart from.
    sightings: (Sighting, Option<Sighting>),
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

    /// When each node was first seen in its current incarnation.
    pub(super) fn first_seen(&self, name: &str) -> Option<Timestamp> {
        Some(self.known.get(name)?.sightings.0.hello.at)
    }

    /// Takes in both sides of a connection; what changes goes to `changes`.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, changes: &mut Vec<NodeChange>) {
        for role in Role::BOTH {
            let Some(change) = self.on_side(it, role) else { continue };
            let name = it.name(role);
            let Some(known) = name.and_then(|name| self.known.get(name)) else { continue };
            let (now, before) = known.sightings.clone();
            let node = Node { change: Some(change), ..known.node.clone() };
            changes.push(NodeChange { settled: it.settled.clone(), node, now, before });
        }
    }

    fn on_side(&mut self, it: &JudgedConnection, role: Role) -> Option<Change> {
        let name = it.name(role)?;
        let hello = it.seen.handshake.hello(role)?;
        let sighting = Sighting {
            ip: it.ip(role),
            // Zero means none yet, in the hello of a node that asks for a name.
            creation: hello.what.creation.filter(|creation| *creation != 0),
            hello: hello.mark,
            session_id: Arc::clone(it.session_id()),
            role,
        };
        let last_bytes = it.seen.tcp.sides[role].last_bytes;
        let spoke = last_bytes.unwrap_or(hello.mark.at).max(hello.mark.at);
        let port = (role == Role::Acceptor).then(|| it.acceptor_end().port);
        let party = &hello.what;
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
        };
        let incarnations = vec![Incarnation::new(sighting.clone(), spoke)];
        Self { node, sightings: (sighting, None), incarnations }
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
        self.sightings = (sighting.clone(), Some(before.last.clone()));
        self.node = Node {
            creation: sighting.creation,
            restarts: self.node.restarts + 1,
            ips: std::mem::take(&mut self.node.ips),
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
        // Bytes that the kernel of a node that has just died still delivers are no sign of life.
        let is_alive = former.spoke > after.hello.at.after(LAST_WORDS)
            || former.last.hello.at > after.hello.at;
        let elsewhere = former.last.ip != after.ip;
        if former.is_duplicate || !is_alive || !elsewhere {
            return None;
        }
        former.is_duplicate = true;
        self.sightings = (after, Some(former.last.clone()));
        Some(Change::Duplicate)
    }

    /// Takes in what a hello shows. `true` when that is more than was known.
    fn learn(&mut self, hello: &Hello, role: Role, port: Option<u16>) -> bool {
        let node = &mut self.node;
        let mut is_new = false;
        if let Some(port) = port {
            if !node.dist_ports.contains(&port) && node.dist_ports.len() < MAX_PER_NODE {
                node.dist_ports.push(port);
                is_new = true;
            }
        }
        if !node.versions.contains(&hello.version) {
            node.versions.push(hello.version);
            node.versions.sort_unstable();
            is_new = true;
        }
        let (able, flags) = (hello.flags, Hex(hello.flags.0));
        // Nodes of OTP 23 and later send all they can in either hello. Older ones answer with what both nodes
        // have, and hide from hidden nodes.
        let is_whole = role == Role::Initiator || able.contains(DistFlags::HANDSHAKE_23);
        let is_published = able.contains(DistFlags::PUBLISHED);
        // Asking for a name is a request and no ability, and its answer echoes it.
        let asks_for_name = able.contains(DistFlags::NAME_ME);
        let is_echo = asks_for_name && role == Role::Acceptor;
        if node.flags == Some(flags) || node.flags.is_some() && (!is_whole || is_echo) {
            return is_new;
        }
        node.flags = Some(flags);
        node.dynamic |= asks_for_name && role == Role::Initiator;
        if is_published || (is_whole && !is_echo) {
            node.hidden = Some(!is_published);
        }
        node.implementation = implementation(able);
        node.otp_at_least = able.otp_at_least();
        node.otp_at_most = able.otp_at_most().filter(|_| is_whole);
        let accepted = able.accepted_up_to().filter(|_| is_whole);
        (node.accepted_up_to, node.lacks) = accepted.map_or_else(Default::default, |accepted| {
            let (release, missing) = accepted;
            (Some(release), missing.names().map(|name| name.into_owned()).collect())
        });
        true
    }
}

impl Incarnation {
    fn new(sighting: Sighting, spoke: Timestamp) -> Self {
        Self { first: sighting.clone(), last: sighting, spoke, is_duplicate: false }
    }
}

/// What sends such flags.
fn implementation(flags: DistFlags) -> Implementation {
    if flags.is_vm() {
        Implementation::Vm
    } else if flags.is_c_node() {
        Implementation::CNode
    } else {
        Implementation::JavaNode
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Outcome;
    use crate::judge::samples::{Dial, dial};

    const B: &str = "b@h2/10.0.0.2/5";

    /// What is told of `a@h1`, and what is known of it in the end.
    fn told(dials: Vec<Dial>) -> (Vec<Change>, Node) {
        let mut nodes = Nodes::new(&Limits::default());
        let mut told = Vec::new();
        for dial in dials {
            nodes.on_session(&dial.judged(), &mut told);
        }
        let about_a = told.iter().map(|change| &change.node);
        let about_a = about_a.filter(|node| node.node.as_ref() == "a@h1");
        let about_a = about_a.filter_map(|node| node.change);
        (about_a.collect(), nodes.known["a@h1"].node.clone())
    }

    #[test]
    fn a_node_is_told_once_and_again_when_more_is_known() {
        let (changes, node) = told(vec![
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
        let (changes, node) = told(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.1/8", B),
            dial(9000, "a@h1/10.0.0.9/9", B),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Restarted, Change::Moved]);
        assert_eq!((node.creation, node.restarts, node.ips.len()), (Some(9), 2, 2));
    }

    #[test]
    fn one_creation_at_two_addresses_is_one_node() {
        let (changes, _) = told(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.9/7", B),
            dial(9000, "a@h1/10.0.0.1/7", B),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Address]);
    }

    #[test]
    fn who_introduces_itself_again_after_another_did_under_its_name_has_a_duplicate() {
        let (changes, node) = told(vec![
            dial(0, "a@h1/10.0.0.1/7", B),
            dial(5000, "a@h1/10.0.0.9/9", B),
            dial(6000, "a@h1/10.0.0.1/7", B),
            dial(7000, "a@h1/10.0.0.9/9", B),
        ]);
        assert_eq!(changes, [Change::Seen, Change::Moved, Change::Duplicate]);
        assert_eq!(node.creation, Some(9));
    }

    #[test]
    fn who_goes_on_talking_has_a_duplicate_and_who_falls_silent_was_moved() {
        let first = dial(0, "a@h1/10.0.0.1/7", B);
        let second = dial(5000, "a@h1/10.0.0.9/9", B);
        let after =
            |spoke| vec![first.clone(), second.clone(), first.clone().closed(60_000, spoke)];
        let (changes, _) = told(after([20_000, 60_000]));
        assert_eq!(changes, [Change::Seen, Change::Moved, Change::Duplicate]);
        let (changes, _) = told(after([9_000, 60_000]));
        assert_eq!(changes, [Change::Seen, Change::Moved], "last words, and a peer that talks on");
    }

    #[test]
    fn two_creations_at_one_address_are_never_a_duplicate() {
        let first = dial(0, "a@h1/10.0.0.1/7", B);
        let late = first.clone().closed(60_000, [60_000; 2]);
        let (changes, _) = told(vec![first, dial(5000, "a@h1/10.0.0.1/9", B), late]);
        assert_eq!(changes, [Change::Seen, Change::Restarted]);
    }

    #[test]
    fn a_connection_told_late_brings_no_incarnation_back() {
        let old = dial(0, "a@h1/10.0.0.1/3", B).fails(Outcome::TimedOut).closed(7000, [0; 2]);
        let (changes, node) = told(vec![dial(5000, "a@h1/10.0.0.1/8", B), old]);
        assert_eq!((changes, node.creation), (vec![Change::Seen], Some(8)));
    }

    #[test]
    fn what_older_releases_answer_with_is_not_taken_for_all_they_can() {
        // OTP 22 answers a hidden node of 18 with what both have.
        let both = 0xdf_7fbd & 0x3_7ffc;
        let (_, node) =
            told(vec![dial(0, "c@h3/10.0.0.3/1", "a@h1/10.0.0.1/7").flags(0x3_7ffc, both)]);
        assert_eq!((node.hidden, node.otp_at_most, node.accepted_up_to), (None, None, None));
        let (_, node) =
            told(vec![dial(0, "a@h1/10.0.0.1/7", B).flags(0x1_01df_7fbd, 0xd_07df_7fbd)]);
        assert_eq!((node.otp_at_most, node.accepted_up_to), (Some(23), Some(25)));
        assert_eq!(node.lacks, ["UNLINK_ID", "V4_NC"]);
    }

    #[test]
    fn names_without_end_are_counted_and_not_kept() {
        let mut nodes = Nodes::new(&Limits { nodes: 3, ..Limits::default() });
        for n in 0..10 {
            let judged = dial(n, &format!("x{n}@h/10.0.0.1/1"), B).judged();
            nodes.on_session(&judged, &mut Vec::new());
        }
        assert_eq!((nodes.all().count(), nodes.evictions()), (3, 8));
    }
}
