//! The state of each pair of nodes: connected, tried and failed, or never tried.
//!
//! In: judged connections and EPMD requests, with the incident that each belongs to. Out: the lists of pairs of
//! [`ClusterFacts`](super::ClusterFacts). The key of a pair is what the capture shows of its two nodes at that time;
//! names that become known later are filled in when the lists are made.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alive_of;
use super::nodes::{NodeFacts, Nodes, is_at};
use crate::judge::{JudgedConnection, Outcome, Protocol};
use crate::limits::Limits;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled, State};
use crate::time::Timestamp;

/// Two nodes whose last attempt succeeded.
#[derive(Clone, Debug)]
pub struct ConnectedPair {
    /// Names of the initiator and of the acceptor.
    pub nodes: [Arc<str>; 2],
    /// Time at which the connection was established, as far as seen.
    pub since: Timestamp,
    /// Whether the connection was closed later, whatever the reason.
    pub is_closed: bool,
    /// Whether the connection is encrypted with TLS.
    pub is_tls: bool,
}

/// Why it is not known whether two nodes are connected.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecided {
    /// They use TLS, and its records do not show that the nodes inside connected.
    Tls,
    /// The capture lacks the packets that would decide.
    Incomplete,
}

/// Two nodes whose last attempt failed.
#[derive(Clone, Debug)]
pub struct FailedDials {
    /// The initiator, by name or address.
    pub initiator: Arc<str>,
    /// The acceptor, by its name, by the name that was looked up, or by address.
    pub acceptor: Arc<str>,
    /// Outcome of the last attempt.
    pub outcome: Failure,
    /// Label of the candidate cookie that the initiator used towards the acceptor.
    pub initiator_cookie: Option<Arc<str>>,
    /// Label of the candidate cookie that the acceptor used towards the initiator.
    pub acceptor_cookie: Option<Arc<str>>,
    /// Whether each of the two uses the cookie that the other uses elsewhere.
    pub are_cookies_crossed: bool,
    /// Whether some of these attempts were made by the acceptor of the last one.
    pub by_both: bool,
    /// Number of failed attempts since the two were last connected.
    pub count: u64,
    /// Time of the last failed attempt.
    pub last: Timestamp,
    /// Identifier of the incident that explains the failure.
    pub incident: Option<Arc<str>>,
    /// The different outcomes, in the order in which they were first seen.
    pub reasons: Vec<FailedReason>,
    /// The connection that the two have, or had before they failed.
    pub connection: Option<OtherConnection>,
}

/// One outcome of the failed attempts of a pair.
#[derive(Clone, Debug)]
pub struct FailedReason {
    /// The outcome of these attempts.
    pub outcome: Failure,
    /// Number of attempts with this outcome.
    pub count: u64,
    /// Time of the last of them.
    pub last: Timestamp,
    /// Identifier of the incident that explains them.
    pub incident: Option<Arc<str>>,
}

/// A connection of a pair, beside attempts that failed.
#[derive(Clone, Copy, Debug)]
pub struct OtherConnection {
    /// Time at which it was established, as far as seen.
    pub since: Timestamp,
    /// Whether it was closed.
    pub is_closed: bool,
}

/// The outcome of a failed attempt.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Failure {
    /// The session failed with this outcome.
    Session(Outcome),
    /// The EPMD look-up failed, and no session followed.
    Lookup(EpmdOutcome),
}

/// All pairs with at least one attempt.
#[derive(Debug)]
pub(super) struct PairTable {
    known: HashMap<[PairEnd; 2], PairStatus, RandomState>,
    /// Keys in the order in which they were first seen.
    order: Vec<[PairEnd; 2]>,
    /// Addresses of the two hosts of every connection, also of those without names.
    hosts: HashSet<[IpAddr; 2], RandomState>,
    /// The host name in the certificate of a TLS client; `None` if there are several.
    certified: HashMap<IpAddr, Option<Arc<str>>, RandomState>,
    capacity: usize,
    evictions: u64,
}

/// One node of a pair, as far as the capture names it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum PairEnd {
    Node(Arc<str>),
    /// An alive name at a host, from a look-up.
    LookedUp(Arc<str>, IpAddr),
    /// EPMD, or an unnamed client, at a host.
    Host(IpAddr),
}

#[derive(Debug, Default)]
struct PairStatus {
    /// Addresses of the last initiator and acceptor.
    hosts: Option<[IpAddr; 2]>,
    /// Number of open connections.
    live: u32,
    /// When the last connection was established, and the index of its initiator in the key.
    connected: Option<(Timestamp, usize)>,
    /// When the handshake of the last connection began, as long as that connection is open and the capture has the
    /// handshake; for TLS, when the connection was established.
    began: Option<Timestamp>,
    /// Whether that connection is encrypted with TLS.
    is_tls: bool,
    failed: Option<Failed>,
    /// Why the result of the last attempt is not known, if it is not.
    undecided: Option<Undecided>,
}

#[derive(Clone, Debug)]
struct Failed {
    /// In the order in which they were first seen; never empty.
    reasons: Vec<FailedReason>,
    last: Timestamp,
    /// Index of the initiator in the key, in the last attempt.
    dialer: usize,
    /// Whether each of the two was the initiator of one.
    by_both: bool,
}

impl Failed {
    /// Without the reasons that this refutes. `None` if there is no other.
    fn without(mut self, is_refuted: impl Fn(&FailedReason) -> bool) -> Option<Self> {
        self.reasons.retain(|reason| !is_refuted(reason));
        self.last = self.reasons.iter().map(|reason| reason.last).max()?;
        Some(self)
    }
}

/// Adds attempts with one outcome to those that are known.
fn add_reason(known: &mut Vec<FailedReason>, new: FailedReason) {
    match known.iter_mut().find(|reason| reason.outcome == new.outcome) {
        Some(reason) => {
            reason.count += new.count;
            reason.last = reason.last.max(new.last);
            reason.incident = new.incident.or_else(|| reason.incident.take());
        }
        None => known.push(new),
    }
}

impl PairTable {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: HashMap::default(),
            order: Vec::new(),
            hosts: HashSet::default(),
            certified: HashMap::default(),
            capacity: limits.pairs,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection, incident: Option<Arc<str>>) {
        let (at, [from, to]) = (it.at(), Role::BOTH.map(|role| it.ip(role)));
        let began = it.seen.hello(Role::Initiator).map(|hello| hello.at);
        if self.hosts.len() < self.capacity {
            self.hosts.insert(ordered([from, to]).0);
        }
        let asked = it.verdict.lookup.as_ref().map(|lookup| Arc::clone(&lookup.asked));
        let initiator = it.label(Role::Initiator).map_or(PairEnd::Host(from), PairEnd::Node);
        let over_tls = it.dialed_over_tls().filter(|_| it.verdict.protocol == Protocol::Tls);
        let looked_up = asked.map(|asked| PairEnd::LookedUp(asked, to));
        let acceptor = it.label(Role::Acceptor).or(over_tls).map(PairEnd::Node);
        let acceptor = acceptor.or_else(|| looked_up.clone()).unwrap_or(PairEnd::Host(to));
        self.on_certificate(it);
        let effect = PairEffect::of(it);
        if it.is_repeated && effect != PairEffect::Ended {
            return;
        }
        // It was reported as established when its last message was sent, which did not arrive.
        let is_undone = effect == PairEffect::Failed && it.seen.handshake.ack.is_some();
        let (initiator, acceptor) = if effect == PairEffect::Ended || is_undone {
            self.as_established([initiator, PairEnd::Host(from)], acceptor, looked_up, to)
        } else {
            (initiator, acceptor)
        };
        let Some((state, dialer)) = self.state(initiator, acceptor, [from, to]) else {
            return;
        };
        state.undecided = match effect {
            PairEffect::Undecided(why) => Some(why),
            PairEffect::None => state.undecided,
            _ => None,
        };
        match effect {
            PairEffect::Established => {
                state.live += 1;
                state.connected = Some((at, dialer));
                state.began = began;
                state.is_tls = false;
                state.failed = None;
            }
            PairEffect::Ended => {
                state.live = state.live.saturating_sub(1);
                state.connected.get_or_insert((at, dialer));
                state.began = state.began.filter(|known| state.live > 0 && began < Some(*known));
            }
            PairEffect::Linked { since, is_closed } => {
                state.live += u32::from(!is_closed);
                state.connected = Some((since, dialer));
                state.began = (!is_closed).then_some(since);
                state.is_tls = true;
                // It is known once the connection is closed, and attempts may have failed since it was established.
                state.failed = state.failed.take().filter(|failed| failed.last > since);
            }
            PairEffect::Failed => {
                if is_undone {
                    state.live = state.live.saturating_sub(1);
                    // What counted as their connection was none.
                    state.connected = state.connected.filter(|_| state.live > 0);
                }
                state.on_failure(Failure::Session(it.outcome()), at, incident, dialer);
            }
            PairEffect::None | PairEffect::Undecided(_) => {}
        }
    }

    /// Records the host for which the certificate of a TLS client was issued: the client has no other name.
    fn on_certificate(&mut self, it: &JudgedConnection) {
        let Some(certificate) = it.seen.tls.initiator.certificates.first() else { return };
        let ip = it.ip(Role::Initiator);
        if !self.certified.contains_key(&ip) && self.certified.len() >= self.capacity {
            return;
        }
        let is_host = |name: &&Arc<str>| !name.contains('*') && name.parse::<IpAddr>().is_err();
        let mut hosts = certificate.names.iter().filter(is_host);
        let only = hosts.next().filter(|_| hosts.next().is_none()).cloned();
        let known = self.certified.entry(ip).or_insert_with(|| only.clone());
        if *known != only {
            *known = None;
        }
    }

    /// The ends of a connection under which it was established: a name may have become known since.
    fn as_established(
        &self,
        [initiator, from]: [PairEnd; 2],
        acceptor: PairEnd,
        looked_up: Option<PairEnd>,
        to: IpAddr,
    ) -> (PairEnd, PairEnd) {
        let is_open = |ends: &(PairEnd, PairEnd)| {
            let (key, _) = ordered([ends.0.clone(), ends.1.clone()]);
            self.known.get(&key).is_some_and(|state| state.live > 0)
        };
        let now = (initiator, acceptor);
        if is_open(&now) {
            return now;
        }
        let acceptors = [Some(now.1.clone()), looked_up, Some(PairEnd::Host(to))];
        let mut earlier = acceptors
            .into_iter()
            .flatten()
            .flat_map(|acceptor| [(now.0.clone(), acceptor.clone()), (from.clone(), acceptor)]);
        earlier.find(is_open).unwrap_or(now)
    }

    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        incident: Option<Arc<str>>,
    ) {
        use EpmdOutcome::{
            Answered, ConnectionRefused, NoReply, NotRegistered, Unacknowledged, Unanswered,
        };
        // Only a look-up is part of a dial.
        let is_dial = matches!(epmd.request, None | Some(EpmdTag::PORT_PLEASE2_REQ));
        let failed = matches!(
            epmd.outcome,
            NotRegistered | ConnectionRefused | Unanswered | NoReply | Unacknowledged
        );
        let (at, ids) = (settled.at, &settled.connection);
        let (from, to) = (ids.src_ip, ids.dest_ip);
        if epmd.outcome == Answered {
            self.on_answer(from, to, epmd.name.as_ref());
        }
        // A node that asks the EPMD of its own host for no other node is about to start.
        let is_start = epmd.name.is_none() && (from == to || to.is_loopback());
        if !is_dial || !failed || is_start {
            return;
        }
        let acceptor = match &epmd.name {
            Some(name) => PairEnd::LookedUp(Arc::clone(name), to),
            None => PairEnd::Host(to),
        };
        let state = self.state(PairEnd::Host(from), acceptor, [from, to]);
        let Some((state, dialer)) = state else { return };
        state.on_failure(Failure::Lookup(epmd.outcome), at, incident, dialer);
    }

    /// EPMD at `to` answered: what failed for want of an answer did not fail in the end.
    fn on_answer(&mut self, from: IpAddr, to: IpAddr, name: Option<&Arc<str>>) {
        let looked_up = name.map(|name| PairEnd::LookedUp(Arc::clone(name), to));
        for acceptor in looked_up.into_iter().chain([PairEnd::Host(to)]) {
            let (key, _) = ordered([PairEnd::Host(from), acceptor]);
            if let Some(state) = self.known.get_mut(&key) {
                let is_lookup = |it: &FailedReason| matches!(it.outcome, Failure::Lookup(_));
                state.failed = state.failed.take().and_then(|failed| failed.without(is_lookup));
            }
        }
    }

    fn state(
        &mut self,
        initiator: PairEnd,
        acceptor: PairEnd,
        hosts: [IpAddr; 2],
    ) -> Option<(&mut PairStatus, usize)> {
        let (key, dialer) = ordered([initiator, acceptor]);
        if !self.known.contains_key(&key) {
            if self.known.len() >= self.capacity {
                self.evictions += 1;
                return None;
            }
            self.order.push(key.clone());
        }
        let state = self.known.entry(key).or_default();
        state.hosts = Some(hosts);
        Some((state, dialer))
    }

    /// The pairs by the names that are known by now. Two entries may turn out to be the same pair; then the later one
    /// counts.
    pub(super) fn lists(&self, nodes: &Nodes) -> PairLists {
        let names = NamesByHost::of(nodes);
        let mut lists = PairLists::default();
        let mut connected: HashMap<[Arc<str>; 2], OtherConnection, RandomState> =
            HashMap::default();
        let mut places: HashMap<[Arc<str>; 2], usize, RandomState> = HashMap::default();
        let states = || self.order.iter().filter_map(|key| Some((key, self.known.get(key)?)));
        for (key, state) in states() {
            let Some((since, dialer)) = state.connected else { continue };
            let nodes = dialed(key, dialer).map(|end| names.of_end(end));
            let connection = OtherConnection { since, is_closed: state.live == 0 };
            let rank = |it: &OtherConnection| (!it.is_closed, it.since);
            let known = connected.entry(ordered(nodes.clone()).0).or_insert(connection);
            if rank(&connection) > rank(known) {
                *known = connection;
            }
            if state.failed.is_none() || state.live > 0 {
                let (is_closed, is_tls) = (state.live == 0, state.is_tls);
                let pair = ConnectedPair { nodes, since, is_closed, is_tls };
                let at =
                    *places.entry(ordered(pair.nodes.clone()).0).or_insert(lists.connected.len());
                match lists.connected.get_mut(at) {
                    // The one that is open counts, else the later one.
                    Some(known) if (!pair.is_closed, since) > (!known.is_closed, known.since) => {
                        *known = pair;
                    }
                    Some(_) => {}
                    None => lists.connected.push(pair),
                }
            }
        }
        let mut places: HashMap<[Arc<str>; 2], usize, RandomState> = HashMap::default();
        for (key, state) in states() {
            let Some(failed) = &state.failed else { continue };
            let [initiator, acceptor] = dialed(key, failed.dialer).map(|end| names.of_end(end));
            let pair = ordered([Arc::clone(&initiator), Arc::clone(&acceptor)]).0;
            let connection = connected.get(&pair).copied();
            if connection.is_some_and(|known| known.since > failed.last) {
                continue;
            }
            let at = *places.entry(pair).or_insert(lists.failed.len());
            if let Some(known) = lists.failed.get_mut(at) {
                known.add(failed, [initiator, acceptor]);
            } else {
                lists.failed.push(FailedDials::of(failed, [initiator, acceptor], connection));
            }
        }
        lists
    }

    /// Whether a node that `a` names is connected with one that `b` names. A name is that of a node, an alive name, or
    /// an address.
    pub(super) fn are_connected(&self, a: &str, b: &str, nodes: &Nodes) -> bool {
        let names = NamesByHost::of(nodes);
        let live = self.known.iter().filter(|(_, state)| state.live > 0);
        live.into_iter().any(|(key, state)| self.is_of(key, state, [a, b], &names))
    }

    /// Whether two such nodes have a connection that they made after `since`. One whose handshake the capture does not have
    /// may be older.
    pub(super) fn have_connected_since(
        &self,
        [a, b]: [&str; 2],
        since: Timestamp,
        nodes: &Nodes,
    ) -> bool {
        let names = NamesByHost::of(nodes);
        let is_new = |state: &PairStatus| state.live > 0 && state.began > Some(since);
        let new = self.known.iter().filter(|(_, state)| is_new(state));
        new.into_iter().any(|(key, state)| self.is_of(key, state, [a, b], &names))
    }

    /// Why the result of the last attempt of such a pair is not known.
    pub(super) fn undecided(&self, a: &str, b: &str, nodes: &Nodes) -> Option<Undecided> {
        let names = NamesByHost::of(nodes);
        let mut undecided = self.known.iter().filter(|(_, state)| state.undecided.is_some());
        let (_, state) = undecided.find(|(key, state)| self.is_of(key, state, [a, b], &names))?;
        state.undecided
    }

    /// Whether a pair is that of the two nodes that these texts name.
    fn is_of(
        &self,
        [one, other]: &[PairEnd; 2],
        state: &PairStatus,
        [a, b]: [&str; 2],
        names: &NamesByHost<'_>,
    ) -> bool {
        let fits = |text: &str| {
            // The hosts are in the order of the dial, which may be the other one.
            let is_host = |ip: &IpAddr| text.parse() == Ok(*ip);
            let hosts = state.hosts.as_ref();
            [one, other].map(|end| {
                let name = names.of_end(end);
                let is_named = *name == *text || alive_of(&name) == Some(text);
                is_named
                    || hosts.is_some_and(|hosts| hosts.iter().any(is_host))
                    || self.is_on_host(end, &name, text)
            })
        };
        let ([a_one, a_other], [b_one, b_other]) = (fits(a), fits(b));
        a_one && b_other || a_other && b_one
    }

    /// Whether an end without a name is on the host of the node that `text` names, by its address or its certificate.
    fn is_on_host(&self, end: &PairEnd, name: &str, text: &str) -> bool {
        let (PairEnd::Host(ip), Some((_, host))) = (end, text.split_once('@')) else {
            return false;
        };
        let certified = self.certified.get(ip).and_then(Option::as_deref);
        name.parse() == Ok(*ip) && (host.parse() == Ok(*ip) || certified == Some(host))
    }

    /// Whether a node has an established connection whose end was not seen: by its name, or by its host if it has none.
    pub(super) fn is_connected(&self, name: Option<&str>, ip: IpAddr) -> bool {
        let is_it =
            |end: &PairEnd| matches!((name, end), (Some(name), PairEnd::Node(it)) if **it == *name);
        self.known.iter().filter(|(_, state)| state.live > 0).any(|(key, state)| {
            let is_at_host = state.hosts.as_ref().is_some_and(|hosts| hosts.contains(&ip));
            key.iter().any(is_it) || name.is_none() && is_at_host
        })
    }

    /// Pairs of visible nodes of one mesh without an attempt, where the capture would show one.
    ///
    /// A capture made on one host shows the dials of that host only. If one address is an end of every connection, only
    /// pairs with a node at that address are listed. Pairs on one host are never listed, because their packets may not
    /// leave the host.
    pub(super) fn never_tried(&self, nodes: &Nodes, now: Timestamp) -> Vec<[Arc<str>; 2]> {
        let visible: Vec<&NodeFacts> =
            nodes.all().filter(|node| node.hidden == Some(false)).take(MAX_MESH).collect();
        let names: HashSet<&Arc<str>, RandomState> =
            visible.iter().map(|node| &node.name).collect();
        let mut mesh = super::cookies::NameGroups::default();
        for (key, state) in &self.known {
            let [PairEnd::Node(a), PairEnd::Node(b)] = key else { continue };
            if state.connected.is_some() && names.contains(a) && names.contains(b) {
                mesh.join(a, b);
            }
        }
        let mesh = mesh.settle();
        // Nodes without a connection are in no mesh. Looked up once for each node, not for each pair.
        let members: Vec<(&NodeFacts, usize)> =
            visible.iter().filter_map(|node| Some((*node, mesh.group(&node.name)?))).collect();
        let vantage = self.common_addresses();
        let mut pairs = Vec::new();
        for (at, (a, group)) in members.iter().enumerate() {
            for (b, other) in members.iter().skip(at + 1) {
                let is_shown = || {
                    vantage.as_ref().is_none_or(|seen_from| {
                        seen_from.iter().any(|ip| is_at(a, *ip) || is_at(b, *ip))
                    })
                };
                if group == other
                    && is_shown()
                    && !self.have_met(a, b)
                    && [a, b].iter().all(|node| is_settled(nodes.first_seen(&node.name), now))
                {
                    pairs.push([Arc::clone(&a.name), Arc::clone(&b.name)]);
                }
            }
        }
        pairs
    }

    /// Addresses that are an end of every connection; `None` if there is none.
    fn common_addresses(&self) -> Option<Vec<IpAddr>> {
        let mut hosts = self.hosts.iter();
        let mut common = hosts.next()?.to_vec();
        hosts.for_each(|pair| common.retain(|ip| pair.contains(ip)));
        (!common.is_empty()).then_some(common)
    }

    /// Whether there was a connection between the hosts of the two nodes, or they may be on one host.
    fn have_met(&self, a: &NodeFacts, b: &NodeFacts) -> bool {
        a.ips.iter().any(|from| {
            b.ips.iter().any(|to| from == to || self.hosts.contains(&ordered([*from, *to]).0))
        })
    }
}

impl FailedDials {
    fn of(
        failed: &Failed,
        [initiator, acceptor]: [Arc<str>; 2],
        connection: Option<OtherConnection>,
    ) -> Self {
        let mut all = Self {
            initiator,
            acceptor,
            outcome: Failure::Session(Outcome::Incomplete),
            initiator_cookie: None,
            acceptor_cookie: None,
            are_cookies_crossed: false,
            by_both: failed.by_both,
            count: 0,
            last: failed.last,
            incident: None,
            reasons: failed.reasons.clone(),
            connection,
        };
        all.sum_up();
        all
    }

    /// Adds the attempts of another entry that turned out to be the same pair.
    fn add(&mut self, failed: &Failed, [initiator, acceptor]: [Arc<str>; 2]) {
        self.by_both |= failed.by_both || self.initiator != initiator;
        if failed.last > self.last {
            (self.initiator, self.acceptor, self.last) = (initiator, acceptor, failed.last);
        }
        failed.reasons.iter().for_each(|reason| add_reason(&mut self.reasons, reason.clone()));
        self.sum_up();
    }

    /// Sets what all reasons together show: the last outcome, and the number.
    fn sum_up(&mut self) {
        self.count = self.reasons.iter().map(|reason| reason.count).sum();
        let Some(last) = self.reasons.iter().max_by_key(|reason| reason.last) else { return };
        self.outcome = last.outcome;
        // A failure without a finding does not clear the incident of the pair.
        let others = self.reasons.iter().rev().find_map(|reason| reason.incident.clone());
        self.incident = last.incident.clone().or(others);
    }
}

impl PairStatus {
    fn on_failure(
        &mut self,
        outcome: Failure,
        at: Timestamp,
        incident: Option<Arc<str>>,
        dialer: usize,
    ) {
        let before = self.failed.take();
        let by_both = before.as_ref().is_some_and(|it| it.by_both || it.dialer != dialer);
        let mut reasons = before.map_or_else(Vec::new, |failed| failed.reasons);
        add_reason(&mut reasons, FailedReason { outcome, count: 1, last: at, incident });
        self.failed = Some(Failed { reasons, last: at, dialer, by_both });
    }
}

/// The pairs with at least one attempt, by the result of the last one.
#[derive(Debug, Default)]
pub(super) struct PairLists {
    pub(super) connected: Vec<ConnectedPair>,
    pub(super) failed: Vec<FailedDials>,
}

/// The nodes by address, to find the name of an unnamed end.
struct NamesByHost<'a> {
    by_host: HashMap<IpAddr, Vec<&'a NodeFacts>, RandomState>,
}

impl<'a> NamesByHost<'a> {
    fn of(nodes: &'a Nodes) -> Self {
        let mut by_host: HashMap<IpAddr, Vec<&NodeFacts>, RandomState> = HashMap::default();
        // A tool asks EPMD before it dials, so what has no name may be a tool as well as the node of that host.
        for node in nodes.all().filter(|node| !node.is_tool) {
            for ip in &node.ips {
                by_host.entry(*ip).or_default().push(node);
            }
        }
        Self { by_host }
    }

    /// The name of an end: that of the only matching node at its address, else the alive name or the address.
    fn of_end(&self, end: &PairEnd) -> Arc<str> {
        let at = |ip: &IpAddr| self.by_host.get(ip).map(Vec::as_slice).unwrap_or_default();
        match end {
            PairEnd::Node(label) => Arc::clone(label),
            PairEnd::LookedUp(alive, ip) => {
                let is_looked_up = |node: &&&NodeFacts| alive_of(&node.name) == Some(alive);
                let node = at(ip).iter().find(is_looked_up);
                node.map_or_else(|| format!("{alive} at {ip}").into(), |node| node.name.clone())
            }
            PairEnd::Host(ip) => match at(ip) {
                [node] => Arc::clone(&node.name),
                _ => ip.to_string().into(),
            },
        }
    }
}

/// How a connection changes the state of its pair.
#[derive(Clone, Copy, Eq, PartialEq)]
enum PairEffect {
    Established,
    Ended,
    Failed,
    /// Its TLS records show that it was established.
    Linked {
        since: Timestamp,
        is_closed: bool,
    },
    Undecided(Undecided),
    None,
}

impl PairEffect {
    fn of(it: &JudgedConnection) -> Self {
        use Outcome::{
            Aborted, AlreadyConnected, Connected, CookieMismatch, Incomplete, NameMismatch,
            NotAllowed, NotDistribution, Refused, Superseded, TimedOut, Tls, TlsMismatch,
            Unanswered, VersionMismatch,
        };
        match (it.outcome(), it.state()) {
            (Connected, State::Established) if it.has_just_connected() => Self::Established,
            (Connected, State::Closed) => Self::Ended,
            (
                CookieMismatch | NameMismatch | NotAllowed | VersionMismatch | TlsMismatch
                | TimedOut | Refused | Unanswered | Aborted,
                _,
            ) => Self::Failed,
            (Tls, state) => match it.verdict.tls_link {
                // It counts as live from the first observation on that shows it.
                Some(_) if it.is_repeated && state == State::Closed => Self::Ended,
                Some(link) => {
                    let is_closed = state == State::Closed;
                    Self::Linked { since: link.at, is_closed }
                }
                None => Self::Undecided(Undecided::Tls),
            },
            (Incomplete, State::Closed | State::Open) => Self::Undecided(Undecided::Incomplete),
            (Connected | AlreadyConnected | Superseded | NotDistribution | Incomplete, _) => {
                Self::None
            }
        }
    }
}

/// The two values in ascending order, and the index of the first given one.
fn ordered<T: Ord>([a, b]: [T; 2]) -> ([T; 2], usize) {
    if a <= b { ([a, b], 0) } else { ([b, a], 1) }
}

/// The two ends of a key, the initiator first.
fn dialed([a, b]: &[PairEnd; 2], dialer: usize) -> [&PairEnd; 2] {
    if dialer == 0 { [a, b] } else { [b, a] }
}

/// Whether a node has had the time to join the mesh.
fn is_settled(first: Option<Timestamp>, now: Timestamp) -> bool {
    first.is_some_and(|first| now >= first.after(JOINING))
}

/// A node that joins a mesh dials all its nodes at once. Each dial has 7 s, and the next attempt comes with the next
/// message.
const JOINING: Duration = Duration::from_secs(15);

/// Maximum number of nodes that are searched for pairs without an attempt: the work is quadratic.
const MAX_MESH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{SampleDial, at, certificate, dial, lookup, mark};
    use crate::judge::world::{ClusterFacts, HomeNets, World};
    use crate::observe::{Occasion, TlsHello, TlsSign};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";
    const C: &str = "c@h3/10.0.0.3/3";
    const D: &str = "d@h4/10.0.0.4/4";

    fn cluster(dials: Vec<SampleDial>, now: u64) -> ClusterFacts {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        for dial in dials {
            let judged = dial.judged();
            world.on_session(&judged, &mut Vec::new(), &mut Vec::new());
            world.on_session_incident(&judged, Some("incident".into()));
        }
        world.cluster(at(now))
    }

    fn never_tried(dials: Vec<SampleDial>, now: u64) -> Vec<String> {
        let pairs = cluster(dials, now).never_tried;
        pairs.iter().map(|[a, b]| format!("{a} {b}")).collect()
    }

    #[test]
    fn a_connection_that_falls_silent_and_closes_is_not_open_any_more() {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        let (established, mut silent) = (dial(0, A, B).judged(), dial(100, A, B).judged());
        silent.seen.occasion =
            Occasion::Silent { role: Role::Acceptor, last: established.seen.tcp.last };
        for judged in [established, silent, dial(0, A, B).closed(200, [200; 2]).judged()] {
            world.on_session(&judged, &mut Vec::new(), &mut Vec::new());
            world.on_session_incident(&judged, None);
        }
        assert!(!world.are_connected("a@h1", "b@h2"));
        assert!(world.cluster(at(300)).connected[0].is_closed);
    }

    #[test]
    fn of_two_connections_of_a_pair_the_newer_counts_until_it_ends() {
        let connected_since = |begun: u64, since: u64| {
            let mut world = World::new(&Limits::default(), HomeNets::default());
            for it in [dial(0, A, B), dial(100, A, B), dial(begun, A, B).closed(200, [200; 2])] {
                let judged = it.judged();
                world.on_session(&judged, &mut Vec::new(), &mut Vec::new());
                world.on_session_incident(&judged, None);
            }
            assert!(world.are_connected("a@h1", "b@h2"));
            world.have_connected_since(["a@h1", "b@h2"], at(since))
        };
        assert!(connected_since(0, 50), "the older ends");
        assert!(!connected_since(0, 150), "it was made before");
        assert!(!connected_since(100, 50), "the newer ends");
    }

    /// A connection over TLS from the host of `from`, which looked up `to`. Its records show a connection of nodes at `link`.
    fn over_tls(
        from: &str,
        to: &str,
        link: Option<u64>,
        change: impl FnOnce(&mut JudgedConnection),
    ) -> JudgedConnection {
        let (alive, host) = alive_and_host_of(to);
        let mut it = dial(link.unwrap_or(0), from, to).fails(Outcome::Tls).judged();
        it.forget_names();
        it.verdict.protocol = Protocol::Tls;
        it.verdict.tls_link = link.map(mark);
        it.verdict.lookup = Some(lookup(alive, 1));
        let hello = TlsHello { server_name: Some(host.into()), ..TlsHello::default() };
        it.seen.tls.initiator.hello = Some(hello);
        it.seen.tls.acceptor.sign = Some((TlsSign::Hello, mark(2)));
        change(&mut it);
        it
    }

    fn alive_and_host_of(text: &str) -> (&str, &str) {
        text.split('/').next().unwrap().split_once('@').unwrap()
    }

    fn stays_open(it: &mut JudgedConnection) {
        it.seen.occasion = Occasion::End;
        it.seen.tcp.close = None;
    }

    fn world_of(connections: Vec<JudgedConnection>) -> World {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        for judged in connections {
            world.on_session(&judged, &mut Vec::new(), &mut Vec::new());
            world.on_session_incident(&judged, None);
        }
        world
    }

    #[test]
    fn nodes_that_use_tls_are_nodes_and_pairs_as_far_as_they_are_named() {
        let world = world_of(vec![over_tls(A, B, Some(20), stays_open)]);
        let all = world.cluster(at(100));
        let [node] = &all.nodes[..] else { panic!("{:?}", all.nodes) };
        assert_eq!((&*node.name, &node.dist_ports[..]), ("b@h2", &[9100][..]));
        let [pair] = &all.connected[..] else { panic!("{:?}", all.connected) };
        assert_eq!(pair.nodes.each_ref().map(|name| &**name), ["10.0.0.1", "b@h2"]);
        assert_eq!((pair.is_closed, pair.is_tls, pair.since), (false, true, at(20)));
        assert!(
            world.are_connected("10.0.0.1", "b@h2") && world.are_connected("b@h2", "a@10.0.0.1")
        );
        assert!(!world.are_connected("a@h1", "b@h2"), "nothing names its host");
        // Once the other one is dialed too, both have names, and the two are one pair.
        let world =
            world_of(vec![over_tls(A, B, Some(20), stays_open), over_tls(B, A, Some(9), |_| {})]);
        let all = world.cluster(at(100));
        assert_eq!((all.nodes.len(), all.connected.len()), (2, 1));
        assert!(!all.connected[0].is_closed && world.are_connected("a@h1", "b@h2"));
    }

    #[test]
    fn a_certificate_for_one_host_names_the_host_of_a_tls_client() {
        let certified = |names: &[&str]| {
            let certificate = certificate(names);
            world_of(vec![over_tls(A, B, Some(20), |it| {
                stays_open(it);
                it.seen.tls.initiator.certificates = vec![certificate];
            })])
        };
        assert!(certified(&["h1", "10.0.0.1"]).are_connected("a@h1", "b@h2"));
        assert!(!certified(&["h1"]).are_connected("a@h3", "b@h2"));
        assert!(!certified(&["h1", "h3"]).are_connected("a@h1", "b@h2"), "it may be that of h3");
        assert!(!certified(&["*.h1"]).are_connected("a@h1", "b@h2"));
    }

    #[test]
    fn tls_that_shows_no_connection_of_nodes_leaves_the_pair_undecided() {
        let undecided = |world: &World| world.undecided("10.0.0.1", "b@h2");
        let world = world_of(vec![over_tls(A, B, None, |_| {})]);
        assert_eq!(
            (undecided(&world), world.cluster(at(9)).nodes.len()),
            (Some(Undecided::Tls), 0)
        );
        assert!(!world.are_connected("10.0.0.1", "b@h2"));
        let parted = world_of(vec![over_tls(A, B, Some(20), |_| {})]);
        assert!(undecided(&parted).is_none() && !parted.are_connected("10.0.0.1", "b@h2"));
        let refused = over_tls(A, B, None, |it| it.verdict.outcome = Outcome::Aborted);
        let world = world_of(vec![over_tls(A, B, None, |_| {}), refused.clone()]);
        assert_eq!(undecided(&world), None, "the last attempt failed");
        assert_eq!(&*world.cluster(at(9)).failed[0].acceptor, "b@h2");
        let world = world_of(vec![refused, over_tls(A, B, Some(20), stays_open)]);
        assert!(world.cluster(at(9)).failed.is_empty(), "it works since");
    }

    #[test]
    fn a_name_that_becomes_known_while_a_pair_is_connected_makes_no_second_pair() {
        let mut world = World::new(&Limits::default(), HomeNets::default());
        let mut unnamed = dial(0, A, B).judged();
        unnamed.seen.handshake.challenge = None;
        unnamed.seen.handshake.status = None;
        assert_eq!(unnamed.name(Role::Acceptor), None);
        for judged in [unnamed, dial(0, A, B).closed(200, [200; 2]).judged()] {
            world.on_session(&judged, &mut Vec::new(), &mut Vec::new());
            world.on_session_incident(&judged, None);
        }
        assert!(!world.are_connected("a@h1", "b@h2"));
        let connected = world.cluster(at(300)).connected;
        assert_eq!(connected.iter().map(|pair| pair.is_closed).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn the_last_attempt_in_either_direction_is_the_state_of_a_pair() {
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
            all.connected.iter().map(|pair| (&*pair.nodes[1], pair.is_closed)).collect();
        assert_eq!(connected, [("b@h2", false)]);
        let [failed] = all.failed.as_slice() else { panic!("{:?}", all.failed) };
        assert_eq!((&*failed.initiator, &*failed.acceptor, failed.count), ("a@h1", "c@h3", 2));
        assert_eq!(failed.incident.as_deref(), Some("incident"));
    }

    #[test]
    fn a_pair_that_fails_for_several_reasons_has_each_with_its_number() {
        let fails = |ms, from, to, outcome| dial(ms, from, to).fails(outcome);
        let all = cluster(
            vec![
                fails(0, A, B, Outcome::TimedOut),
                fails(10, A, B, Outcome::CookieMismatch),
                fails(20, B, A, Outcome::CookieMismatch),
                fails(30, A, B, Outcome::TimedOut),
            ],
            1000,
        );
        let [pair] = &all.failed[..] else { panic!("{:?}", all.failed) };
        let reasons: Vec<_> = pair.reasons.iter().map(|it| (it.outcome, it.count)).collect();
        let expected = [(Outcome::TimedOut, 2), (Outcome::CookieMismatch, 2)];
        assert_eq!(reasons, expected.map(|(outcome, count)| (Failure::Session(outcome), count)));
        assert_eq!((pair.outcome, pair.count), (Failure::Session(Outcome::TimedOut), 4));
        assert!(pair.connection.is_none());
    }

    #[test]
    fn a_pair_that_is_connected_and_fails_is_listed_as_both() {
        let refused = |ms| dial(ms, A, B).fails(Outcome::CookieMismatch);
        let all = cluster(vec![refused(0), dial(10, A, B), refused(20)], 1000);
        assert_eq!((all.connected.len(), all.connected[0].is_closed), (1, false));
        let [pair] = &all.failed[..] else { panic!("{:?}", all.failed) };
        assert_eq!((pair.count, pair.connection.unwrap().is_closed), (1, false));
        let all =
            cluster(vec![dial(0, A, B), dial(0, A, B).closed(10, [10; 2]), refused(20)], 1000);
        assert!(all.connected.is_empty());
        assert!(all.failed[0].connection.unwrap().is_closed);
        assert!(
            cluster(vec![refused(0), dial(10, A, B)], 1000).failed.is_empty(),
            "it works since"
        );
    }

    #[test]
    fn pairs_of_one_mesh_without_an_attempt_that_the_capture_would_show_are_listed() {
        let ring = || vec![dial(0, A, B), dial(0, B, C), dial(0, C, D)];
        assert_eq!(never_tried(ring(), 60_000), ["a@h1 c@h3", "a@h1 d@h4", "b@h2 d@h4"]);
        assert!(never_tried(ring(), 5_000).is_empty(), "too early");
        let mut tried = ring();
        tried.push(dial(10, A, D).fails(Outcome::CookieMismatch));
        assert_eq!(never_tried(tried, 60_000), ["a@h1 c@h3", "b@h2 d@h4"]);
    }

    #[test]
    fn a_capture_from_one_host_does_not_show_the_connections_between_other_hosts() {
        assert!(never_tried(vec![dial(0, A, B), dial(0, A, C), dial(0, D, A)], 60_000).is_empty());
    }

    #[test]
    fn hidden_nodes_and_nodes_of_different_meshes_are_not_listed() {
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
    fn two_nodes_of_one_host_are_not_listed() {
        let neighbour = "n@h1/10.0.0.1/8";
        let dials = vec![dial(0, A, B), dial(0, neighbour, B), dial(0, B, C), dial(0, A, C)];
        assert_eq!(never_tried(dials, 60_000), Vec::<String>::new());
    }

    #[test]
    fn a_cookie_group_has_the_nodes_that_agreed_and_the_names_that_were_refused() {
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
            .map(|group| [&group.nodes, &group.labels, &group.refused].map(|list| list.join(" ")))
            .collect();
        assert_eq!(groups, [["a@h1 b@h2 c@h3", "old", "d@h4"], ["d@h4", "new", "a@h1 c@h3"]]);
        assert_eq!(all.cookies[1].sessions.len(), 2);
    }

    #[test]
    fn swapped_cookies_are_detected_when_both_nodes_have_dialed() {
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
        assert_eq!((used, pair.are_cookies_crossed), ([Some("of-a"), Some("of-b")], true));
        assert!(pair.by_both && &*pair.initiator == "b@h2", "the last one");
        let one = vec![refused(100, A, B), refused(9000, A, B)];
        assert!(!cluster(one, 10_000).failed[0].by_both);
        assert!(
            !cluster(dials(Some("of-b")), 10_000).failed[0].are_cookies_crossed,
            "of-b on both sides"
        );
        assert!(!cluster(dials(None), 10_000).failed[0].are_cookies_crossed);
    }

    #[test]
    fn a_failed_look_up_counts_until_the_two_nodes_are_connected() {
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

    #[test]
    fn of_the_failed_dials_of_a_pair_the_last_one_has_the_names() {
        let refused = |ms, from, to| dial(ms, from, to).fails(Outcome::CookieMismatch);
        let dialer = |dials| cluster(dials, 1000).failed[0].initiator.to_string();
        // Before its name is known, the attempt of a host is one of its node.
        let nameless = |ms| {
            let mut it = refused(ms, A, B).judged();
            it.forget_name(Role::Acceptor);
            it
        };
        for (first, second) in [(10, 20), (20, 10)] {
            let mut world = World::new(&Limits::default(), HomeNets::default());
            for it in [nameless(first), refused(second, B, A).judged()] {
                world.on_session(&it, &mut Vec::new(), &mut Vec::new());
                world.on_session_incident(&it, Some("incident".into()));
            }
            let failed = world.cluster(at(1000)).failed;
            let last = if first > second { "a@h1" } else { "b@h2" };
            assert_eq!(failed.iter().map(|it| &*it.initiator).collect::<Vec<_>>(), [last]);
        }
        assert_eq!(dialer(vec![refused(10, A, B), refused(20, B, A)]), "b@h2");
    }

    #[test]
    fn a_host_that_reaches_no_epmd_has_failed_to_dial_unless_it_is_its_own() {
        let failed = |from: &str, to: &str, name: Option<&str>| {
            let it = dial(10, &format!("a@h1/{from}/1"), &format!("b@h2/{to}/1")).judged();
            let epmd = EpmdObservation {
                name: name.map(Into::into),
                outcome: EpmdOutcome::ConnectionRefused,
                ..EpmdObservation::default()
            };
            let mut world = World::new(&Limits::default(), HomeNets::default());
            world.on_epmd(&it.settled, &epmd, &mut Vec::new());
            world.on_epmd_incident(&it.settled, &epmd, None);
            world.cluster(at(1000)).failed.len()
        };
        assert_eq!(failed("10.0.0.1", "10.0.0.2", None), 1);
        assert_eq!(failed("10.0.0.1", "10.0.0.2", Some("b")), 1);
        assert_eq!(failed("10.0.0.1", "10.0.0.1", Some("b")), 1);
        assert_eq!(failed("10.0.0.1", "10.0.0.1", None), 0, "it is about to start");
    }

    #[test]
    fn a_node_is_connected_while_one_of_its_connections_is_not_closed() {
        let is_connected = |dials: Vec<SampleDial>, name: Option<&str>| {
            let world = world_of(dials.into_iter().map(SampleDial::judged).collect());
            world.is_connected(name, [10, 0, 0, 1].into())
        };
        let closed = || vec![dial(0, A, B), dial(0, A, B).closed(9, [9; 2])];
        for name in [Some("a@h1"), None] {
            assert!(is_connected(vec![dial(0, A, B)], name), "{name:?}");
            assert!(!is_connected(closed(), name), "{name:?}");
        }
        assert!(!is_connected(vec![dial(0, A, B)], Some("c@h3")));
    }
}
