//! How the nodes stand to each other: who is connected, who tried and failed, who never tried.
//!
//! In: session and `epmd` records, with the incident that each belongs to. Out: the lists of a `cluster`
//! event. Pairs are kept by what the capture gives of the two; names that became known later are put in
//! when the lists are made.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::alive_of;
use super::nodes::{Nodes, is_at};
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::Limits;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled, State};
use crate::record::{FailedPair, Failure, Node, Pair};
use crate::time::Timestamp;

/// Every pair that was seen to try.
#[derive(Debug)]
pub(super) struct Pairs {
    known: HashMap<[Side; 2], Standing, RandomState>,
    /// Keys in the order of first sight.
    order: Vec<[Side; 2]>,
    /// Hosts of all that was on the way between two nodes, named or not.
    hosts: HashSet<[IpAddr; 2], RandomState>,
    capacity: usize,
    evictions: u64,
}

/// One of a pair, as far as the capture names it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Side {
    Node(Arc<str>),
    /// An alive name at a host, from a look-up.
    Asked(Arc<str>, IpAddr),
    /// A port mapper, or whoever came from a host.
    Host(IpAddr),
}

#[derive(Debug, Default)]
struct Standing {
    /// Hosts of initiator and acceptor.
    hosts: Option<[IpAddr; 2]>,
    /// Connections that stand.
    live: u32,
    /// When the last one was made, and by which of the key's two.
    connected: Option<(Timestamp, usize)>,
    failed: Option<Failed>,
}

#[derive(Clone, Debug)]
struct Failed {
    outcome: Failure,
    count: u64,
    last: Timestamp,
    incident: Option<Arc<str>>,
    /// Which of the key's two dialed.
    dialer: usize,
}

impl Pairs {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: HashMap::default(),
            order: Vec::new(),
            hosts: HashSet::default(),
            capacity: limits.pairs,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection, incident: Option<Arc<str>>) {
        let (at, [from, to]) = (it.at(), Role::BOTH.map(|role| it.ip(role)));
        if self.hosts.len() < self.capacity {
            self.hosts.insert(ordered([from, to]).0);
        }
        let asked = it.verdict.lookup.as_ref().map(|lookup| Arc::clone(&lookup.asked));
        let initiator = it.name(Role::Initiator).cloned().map_or(Side::Host(from), Side::Node);
        let acceptor = match (it.name(Role::Acceptor).cloned(), asked) {
            (Some(node), _) => Side::Node(node),
            (None, Some(asked)) => Side::Asked(asked, to),
            (None, None) => Side::Host(to),
        };
        let fate = fate(it);
        if it.again && fate != Fate::Ended {
            return;
        }
        let Some((standing, dialer)) = self.standing(initiator, acceptor, [from, to]) else {
            return;
        };
        match fate {
            Fate::Established => {
                standing.live += 1;
                standing.connected = Some((at, dialer));
                standing.failed = None;
            }
            Fate::Ended => {
                standing.live = standing.live.saturating_sub(1);
                standing.connected.get_or_insert((at, dialer));
            }
            Fate::Failed => {
                standing.on_failure(Failure::Session(it.outcome()), at, incident, dialer);
            }
            Fate::Silent => {}
        }
    }

    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        incident: Option<Arc<str>>,
    ) {
        use EpmdOutcome::{ConnectionRefused, NoReply, NotRegistered, Unanswered};
        // A registration, or a list of names, is no dial.
        let is_dial = matches!(epmd.request, None | Some(EpmdTag::PORT_PLEASE2_REQ));
        let failed =
            matches!(epmd.outcome, NotRegistered | ConnectionRefused | Unanswered | NoReply);
        if !is_dial || !failed {
            return;
        }
        let (at, ids) = (settled.at, &settled.connection);
        let (from, to) = (ids.src_ip, ids.dest_ip);
        let acceptor = match &epmd.name {
            Some(name) => Side::Asked(Arc::clone(name), to),
            None => Side::Host(to),
        };
        let standing = self.standing(Side::Host(from), acceptor, [from, to]);
        let Some((standing, dialer)) = standing else { return };
        standing.on_failure(Failure::Lookup(epmd.outcome), at, incident, dialer);
    }

    fn standing(
        &mut self,
        initiator: Side,
        acceptor: Side,
        hosts: [IpAddr; 2],
    ) -> Option<(&mut Standing, usize)> {
        let (key, dialer) = ordered([initiator, acceptor]);
        if !self.known.contains_key(&key) {
            if self.known.len() >= self.capacity {
                self.evictions += 1;
                return None;
            }
            self.order.push(key.clone());
        }
        let standing = self.known.entry(key).or_default();
        standing.hosts = Some(hosts);
        Some((standing, dialer))
    }

    /// The pairs by name, as far as names are known by now; two kept apart may turn out to be one.
    pub(super) fn lists(&self, nodes: &Nodes) -> Lists {
        let named = Names::of(nodes);
        let mut lists = Lists::default();
        let mut connected: HashMap<[Arc<str>; 2], Timestamp, RandomState> = HashMap::default();
        let standings = || self.order.iter().filter_map(|key| Some((key, self.known.get(key)?)));
        for (key, standing) in standings() {
            let Some((since, dialer)) = standing.connected else { continue };
            let nodes = dialed(key, dialer).map(|side| named.of_side(side));
            connected.insert(ordered(nodes.clone()).0, since);
            if standing.failed.is_none() || standing.live > 0 {
                let closed = standing.live == 0;
                lists.connected.push(Pair { nodes, since, closed });
            }
        }
        for (key, standing) in standings() {
            let Some(failed) = standing.failed.as_ref().filter(|_| standing.live == 0) else {
                continue;
            };
            let [initiator, acceptor] = dialed(key, failed.dialer).map(|side| named.of_side(side));
            let pair = ordered([Arc::clone(&initiator), Arc::clone(&acceptor)]).0;
            if connected.get(&pair).is_some_and(|since| *since > failed.last) {
                continue;
            }
            lists.failed.push(FailedPair {
                initiator,
                acceptor,
                outcome: failed.outcome,
                initiator_cookie: None,
                acceptor_cookie: None,
                crossed: false,
                count: failed.count,
                last: failed.last,
                incident_id: failed.incident.clone(),
            });
        }
        lists
    }

    /// Pairs of visible nodes of one mesh that did not try, where the capture would show it.
    ///
    /// A capture made on one host shows the dials of that host alone. So where one address has a part in
    /// everything that was seen, only pairs with a node there are judged; and nodes on one host never,
    /// since what they say to each other may not leave it.
    pub(super) fn never_tried(&self, nodes: &Nodes, now: Timestamp) -> Vec<[Arc<str>; 2]> {
        let visible: Vec<&Node> =
            nodes.all().filter(|node| node.hidden == Some(false)).take(MAX_MESH).collect();
        let names: HashSet<&Arc<str>, RandomState> =
            visible.iter().map(|node| &node.node).collect();
        let mut mesh = super::cookies::Groups::default();
        for (key, standing) in &self.known {
            let [Side::Node(a), Side::Node(b)] = key else { continue };
            if standing.connected.is_some() && names.contains(a) && names.contains(b) {
                mesh.join(a, b);
            }
        }
        let mesh = mesh.settle();
        let vantage = self.vantage();
        let mut pairs = Vec::new();
        for (at, a) in visible.iter().enumerate() {
            for b in visible.iter().skip(at + 1) {
                let is_shown = vantage.as_ref().is_none_or(|seen_from| {
                    seen_from.iter().any(|ip| is_at(a, *ip) || is_at(b, *ip))
                });
                if mesh.are_one(&a.node, &b.node)
                    && is_shown
                    && !self.have_met(a, b)
                    && [a, b].iter().all(|node| is_settled(nodes.first_seen(&node.node), now))
                {
                    pairs.push([Arc::clone(&a.node), Arc::clone(&b.node)]);
                }
            }
        }
        pairs
    }

    /// Addresses that have a part in everything; `None` where no address has.
    fn vantage(&self) -> Option<Vec<IpAddr>> {
        let mut hosts = self.hosts.iter();
        let mut common = hosts.next()?.to_vec();
        hosts.for_each(|pair| common.retain(|ip| pair.contains(ip)));
        (!common.is_empty()).then_some(common)
    }

    /// Whether anything was on the way between the hosts of the two, or they may be on one.
    fn have_met(&self, a: &Node, b: &Node) -> bool {
        a.ips.iter().any(|from| {
            b.ips.iter().any(|to| from == to || self.hosts.contains(&ordered([*from, *to]).0))
        })
    }
}

impl Standing {
    fn on_failure(
        &mut self,
        outcome: Failure,
        at: Timestamp,
        incident: Option<Arc<str>>,
        dialer: usize,
    ) {
        let before = self.failed.take();
        let count = before.as_ref().map_or(0, |failed| failed.count) + 1;
        // An outcome without a finding leaves the pair with the incident that it had.
        let incident = incident.or_else(|| before.and_then(|failed| failed.incident));
        self.failed = Some(Failed { outcome, count, last: at, incident, dialer });
    }
}

/// What a cluster event says of pairs.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) connected: Vec<Pair>,
    pub(super) failed: Vec<FailedPair>,
}

/// Names by host, where a host has one node, or one of that alive name.
struct Names<'a> {
    by_host: HashMap<IpAddr, Vec<&'a Node>, RandomState>,
}

impl<'a> Names<'a> {
    fn of(nodes: &'a Nodes) -> Self {
        let mut by_host: HashMap<IpAddr, Vec<&Node>, RandomState> = HashMap::default();
        for node in nodes.all() {
            for ip in &node.ips {
                by_host.entry(*ip).or_default().push(node);
            }
        }
        Self { by_host }
    }

    fn of_side(&self, side: &Side) -> Arc<str> {
        let at = |ip: &IpAddr| self.by_host.get(ip).map(Vec::as_slice).unwrap_or_default();
        match side {
            Side::Node(name) => Arc::clone(name),
            Side::Asked(alive, ip) => {
                let is_asked = |node: &&&Node| alive_of(&node.node) == Some(alive);
                let named = at(ip).iter().find(is_asked);
                named.map_or_else(|| format!("{alive} at {ip}").into(), |node| node.node.clone())
            }
            Side::Host(ip) => match at(ip) {
                [node] => Arc::clone(&node.node),
                _ => ip.to_string().into(),
            },
        }
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Established,
    Ended,
    Failed,
    /// It says nothing about the pair.
    Silent,
}

fn fate(it: &JudgedConnection) -> Fate {
    use Outcome::{
        Aborted, AlreadyConnected, Connected, CookieMismatch, Incomplete, NameMismatch, NotAllowed,
        NotDistribution, Refused, Superseded, TimedOut, Tls, TlsMismatch, Unanswered,
        VersionMismatch,
    };
    match (it.outcome(), it.state()) {
        (Connected, State::Established) => Fate::Established,
        (Connected, State::Closed) => Fate::Ended,
        (
            CookieMismatch | NameMismatch | NotAllowed | VersionMismatch | TlsMismatch | TimedOut
            | Refused | Unanswered | Aborted,
            _,
        ) => Fate::Failed,
        (Connected | AlreadyConnected | Superseded | Tls | NotDistribution | Incomplete, _) => {
            Fate::Silent
        }
    }
}

/// Two in an order that does not depend on who dials, and at which place the first given now is.
fn ordered<T: Ord>([a, b]: [T; 2]) -> ([T; 2], usize) {
    if a <= b { ([a, b], 0) } else { ([b, a], 1) }
}

/// The two of a key, the one that dialed first.
fn dialed([a, b]: &[Side; 2], dialer: usize) -> [&Side; 2] {
    if dialer == 0 { [a, b] } else { [b, a] }
}

/// Whether a node has had the time to join the mesh.
fn is_settled(first: Option<Timestamp>, now: Timestamp) -> bool {
    first.is_some_and(|first| now >= first.after(JOINING))
}

/// A node that joins a mesh dials all of it at once; each dial has 7 s, and the next try comes with the
/// next message.
const JOINING: Duration = Duration::from_secs(15);

/// Nodes looked at for pairs that never tried: the work grows with the square.
const MAX_MESH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{Dial, at, dial};
    use crate::judge::world::{HomeNets, World};
    use crate::record::Cluster;

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";
    const C: &str = "c@h3/10.0.0.3/3";
    const D: &str = "d@h4/10.0.0.4/4";

    fn cluster(dials: Vec<Dial>, now: u64) -> Cluster {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        for dial in dials {
            let judged = dial.judged();
            world.on_session(&judged, &mut Vec::new(), &mut Vec::new());
            world.on_session_incident(&judged, Some("incident".into()));
        }
        world.cluster(at(now))
    }

    fn never_tried(dials: Vec<Dial>, now: u64) -> Vec<String> {
        let pairs = cluster(dials, now).never_tried;
        pairs.iter().map(|[a, b]| format!("{a} {b}")).collect()
    }

    #[test]
    fn a_pair_stands_as_it_did_last_whoever_dialed() {
        let refused = |ms, from, to| dial(ms, from, to).fails(Outcome::CookieMismatch);
        let all = cluster(
            vec![
                refused(0, A, B),
                refused(100, B, A),
                dial(200, A, B),
                dial(300, A, C),
                dial(300, A, C).closed(400, [400; 2]),
                refused(500, C, A),
                refused(600, A, C),
            ],
            1000,
        );
        let connected: Vec<_> =
            all.connected.iter().map(|pair| (&*pair.nodes[1], pair.closed)).collect();
        assert_eq!(connected, [("b@h2", false)]);
        let [failed] = all.failed.as_slice() else { panic!("{:?}", all.failed) };
        assert_eq!((&*failed.initiator, &*failed.acceptor, failed.count), ("a@h1", "c@h3", 2));
        assert_eq!(failed.incident_id.as_deref(), Some("incident"));
    }

    #[test]
    fn nodes_of_one_mesh_that_the_capture_would_show_and_that_never_tried_are_named() {
        let ring = || vec![dial(0, A, B), dial(0, B, C), dial(0, C, D)];
        assert_eq!(never_tried(ring(), 60_000), ["a@h1 c@h3", "a@h1 d@h4", "b@h2 d@h4"]);
        assert!(never_tried(ring(), 5_000).is_empty(), "too early to tell");
        let mut tried = ring();
        tried.push(dial(10, A, D).fails(Outcome::CookieMismatch));
        assert_eq!(never_tried(tried, 60_000), ["a@h1 c@h3", "b@h2 d@h4"]);
    }

    #[test]
    fn a_capture_from_one_host_does_not_show_what_the_others_say_to_each_other() {
        assert!(never_tried(vec![dial(0, A, B), dial(0, A, C), dial(0, D, A)], 60_000).is_empty());
    }

    #[test]
    fn hidden_nodes_and_nodes_of_other_meshes_need_not_try() {
        let hidden = 0xd_07df_7fbc;
        let dials = vec![
            dial(0, A, B),
            dial(0, C, D),
            dial(0, "x@h5/10.0.0.5/9", A).flags(hidden, 0xd_07df_7fbd),
            dial(0, "x@h5/10.0.0.5/9", D).flags(hidden, 0xd_07df_7fbd),
        ];
        assert!(never_tried(dials, 60_000).is_empty());
    }

    #[test]
    fn two_nodes_of_one_host_may_talk_where_nobody_listens() {
        let neighbour = "n@h1/10.0.0.1/8";
        let dials = vec![dial(0, A, B), dial(0, neighbour, B), dial(0, B, C), dial(0, A, C)];
        assert_eq!(never_tried(dials, 60_000), Vec::<String>::new());
    }

    #[test]
    fn groups_hold_who_agreed_and_name_who_refused() {
        let refused = |ms, from, to| dial(ms, from, to).fails(Outcome::CookieMismatch);
        let all = cluster(
            vec![
                dial(0, A, B).cookies(Some("old"), Some("old")),
                dial(1, B, C),
                refused(2, D, A).cookies(Some("new"), None),
                refused(3, D, C),
            ],
            1000,
        );
        let groups: Vec<_> = all
            .cookies
            .iter()
            .map(|group| [&group.nodes, &group.cookies, &group.refused].map(|list| list.join(" ")))
            .collect();
        assert_eq!(groups, [["a@h1 b@h2 c@h3", "old", "d@h4"], ["d@h4", "new", "a@h1 c@h3"]]);
        assert_eq!(all.cookies[1].sessions.len(), 2);
    }

    #[test]
    fn cookies_set_for_each_other_and_crossed_are_seen_when_both_have_dialed() {
        let refused = |ms, from, to| dial(ms, from, to).fails(Outcome::CookieMismatch);
        let dials = |last: Option<&str>| {
            vec![
                dial(0, A, C).cookies(Some("of-a"), Some("of-a")),
                dial(0, B, D).cookies(Some("of-b"), Some("of-b")),
                refused(100, A, B).cookies(Some("of-b"), None),
                refused(9000, B, A).cookies(last, None),
            ]
        };
        let [pair] = &cluster(dials(Some("of-a")), 10_000).failed[..] else { panic!("one pair") };
        let used = [&pair.initiator_cookie, &pair.acceptor_cookie].map(Option::as_deref);
        assert_eq!((used, pair.crossed), ([Some("of-a"), Some("of-b")], true));
        assert!(!cluster(dials(Some("of-b")), 10_000).failed[0].crossed, "of-b on both sides");
        assert!(!cluster(dials(None), 10_000).failed[0].crossed);
    }

    #[test]
    fn a_failed_look_up_counts_until_the_two_are_connected_by_name() {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        let dialed = dial(500, A, B).judged();
        let epmd = EpmdObservation {
            request: Some(EpmdTag::PORT_PLEASE2_REQ),
            name: Some("b".into()),
            outcome: EpmdOutcome::NotRegistered,
            ..EpmdObservation::default()
        };
        let asked = Settled { at: at(100), ..dialed.settled.clone() };
        world.on_epmd_incident(&asked, &epmd, None);
        let failed = world.cluster(at(200)).failed;
        let names = (&*failed[0].initiator, &*failed[0].acceptor);
        assert_eq!(names, ("10.0.0.1", "b at 10.0.0.2"));
        assert_eq!(failed[0].outcome, Failure::Lookup(EpmdOutcome::NotRegistered));
        world.on_session(&dialed, &mut Vec::new(), &mut Vec::new());
        world.on_session_incident(&dialed, None);
        assert!(world.cluster(at(600)).failed.is_empty());
    }
}
