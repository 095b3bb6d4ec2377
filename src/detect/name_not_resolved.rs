//! A host could not find the address of another one, so that no packet of a dial was sent.
//!
//! `name-not-resolved`: a name server gave no address. `neighbour-silent`: a host of the same network did not answer ARP
//! or neighbour solicitations. Both are hints: the capture does not show which program asked. They are reported at the
//! end of the run, and only where the question concerns a host of a node, or the capture has nothing of Erlang at all.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::finding::order_by_frame;
use super::{Detection, EndedBy, Ending, Host, KnownAs, LogLine, Rule, RuleDoc};
use crate::judge::world::{FailedName, World, extends};
use crate::judge::{JudgedConnection, Outcome};
use crate::names::NoAddress;
use crate::observe::{EpmdObservation, Role, Settled};
use crate::packet::PacketRef;
use crate::questions::NoNeighbour;
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `name-not-resolved`.
const NAME: RuleDoc = RuleDoc {
    rule: "name-not-resolved",
    severity: Severity::Low,
    summary: "the host of a node could not be resolved",
    symptom: "a node does not connect, and no packet goes to the other host",
    meaning: "A host asked the DNS for the address of another host and got none: the name does \
              not exist there (NXDOMAIN), it has no address of the family that was asked for, \
              the name server failed, or it did not answer at all. A node that cannot resolve \
              the part after the @ sends no SYN.",
    evidence: "A DNS question, and an answer without an address or none within the time that a \
               name server needs. It is reported if the name is the host of a node of this \
               capture, if the client is the host of a node and asks for a name of the same \
               domain, or if the capture has nothing of Erlang at all.",
    lookalikes: "Another program on the same host that asks for a name. A resolver that adds \
                 search domains: the question counts only if none of its variants was answered \
                 with an address. A name in /etc/hosts gives no DNS question.",
    log_lines: &[LogLine { writer: "the dialing node", releases: "all", text: "" }],
    remedy: &[
        "On the asking host, run `getent hosts NAME` for the part of the node name after the @. \
         If it gives nothing, add the name to the DNS or to /etc/hosts.",
        "If the name server does not answer, let UDP and TCP port 53 through from that host \
         (network policies, security groups), and check /etc/resolv.conf.",
        "If the name has only an address of the other family, add one, or start both nodes with \
         the same -proto_dist: inet_tcp for IPv4, inet6_tcp for IPv6.",
    ],
};

/// Documentation of the rule `neighbour-silent`.
const NEIGHBOUR: RuleDoc = RuleDoc {
    rule: "neighbour-silent",
    severity: Severity::Low,
    summary: "a host of the same network does not answer ARP",
    symptom: "a node does not connect, and not even a SYN leaves its host",
    meaning: "A host asked for the link address of another one on its network (ARP for IPv4, \
              neighbour solicitations for IPv6), again and again, and got no answer. Its kernel \
              sends no packet to that host: it is down, has another address, or is on another \
              network segment or VLAN.",
    evidence: "At least three questions for the same address from one host in a row, and no \
               answer in this capture.",
    lookalikes: "A host that searches its network for others asks for many addresses. Where the \
                 capture does not show the answers of other hosts, only repeated questions \
                 count.",
    log_lines: &[LogLine { writer: "the dialing node", releases: "all", text: "" }],
    remedy: &[
        "See whether the host is up and has that address: `ping` it, and run `ip neigh` on the \
         host that asks.",
        "If it has another address now, correct the DNS or /etc/hosts.",
        "Check that both hosts are on the same network segment (VLAN, bridge, netmask).",
    ],
};

#[derive(Default)]
pub(super) struct NameNotResolved {
    /// Addresses at which a node, EPMD or one of their clients is.
    hosts: HashSet<IpAddr, RandomState>,
    /// Nodes by the part of their name after the `@`, in lower case.
    nodes: HashMap<Arc<str>, Arc<str>, RandomState>,
    /// Hosts that were dialed, by name or address, and the client.
    reached: HashSet<(IpAddr, Arc<str>), RandomState>,
    /// Hosts that sent something on a connection to a node or to EPMD.
    answered: HashSet<IpAddr, RandomState>,
}

impl NameNotResolved {
    fn on_host(&mut self, ip: IpAddr) {
        if self.hosts.len() < REMEMBERED {
            self.hosts.insert(ip);
        }
    }

    /// Whether a failure concerns a node, and the name of the node if it is known.
    fn concerns(&self, failed: &FailedName, world: &World) -> Option<Option<Arc<str>>> {
        if let Some(node) = self.nodes.get(&failed.name) {
            return Some(Some(Arc::clone(node)));
        }
        let domain = |name: &str| name.split_once('.').map(|(_, domain)| domain.to_owned());
        let of_nodes = self
            .nodes
            .keys()
            .any(|host| host.parse::<IpAddr>().is_err() && domain(host) == domain(&failed.name));
        let names_of_hosts = || {
            let names = self.hosts.iter().filter_map(|ip| world.addresses().name_of(*ip));
            names.into_iter().any(|(name, _)| domain(name) == domain(&failed.name))
        };
        let is_near = self.hosts.contains(&failed.client) && (of_nodes || names_of_hosts());
        (is_near || self.hosts.is_empty()).then_some(None)
    }
}

impl Rule for NameNotResolved {
    fn docs(&self) -> &'static [RuleDoc] {
        &[NAME, NEIGHBOUR]
    }

    fn on_session(&mut self, it: &JudgedConnection, _: &World, _: &mut Vec<Detection>) {
        let [from, to] = Role::BOTH.map(|role| it.ip(role));
        self.on_host(from);
        self.on_host(to);
        if !matches!(it.outcome(), Outcome::Refused | Outcome::Unanswered | Outcome::Incomplete)
            && self.answered.len() < REMEMBERED
        {
            self.answered.extend([from, to]);
        }
        for role in Role::BOTH {
            let Some(node) = it.name(role) else { continue };
            let Some((_, host)) = node.split_once('@') else { continue };
            let host: Arc<str> = host.to_ascii_lowercase().into();
            if role == Role::Acceptor && self.reached.len() < REMEMBERED {
                self.reached.insert((from, Arc::clone(&host)));
            }
            if self.nodes.len() < REMEMBERED {
                self.nodes.entry(host).or_insert_with(|| Arc::clone(node));
            }
        }
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        _: &World,
        _: &mut Vec<Detection>,
    ) {
        let ids = &settled.connection;
        self.on_host(ids.src_ip);
        self.on_host(ids.dest_ip);
        if epmd.seen.reply.is_some() && self.answered.len() < REMEMBERED {
            self.answered.extend([ids.src_ip, ids.dest_ip]);
        }
    }

    fn on_end(&mut self, world: &World, out: &mut Vec<Detection>) {
        let names = world.unresolved();
        let failed = names.failed();
        let mut groups: Vec<(&FailedName, Vec<&FailedName>)> = Vec::new();
        for it in failed.iter().take(MAX_FAILED) {
            let of_group = |(base, _): &&mut (&FailedName, Vec<&FailedName>)| {
                base.client == it.client
                    && (extends(&it.name, &base.name) || extends(&base.name, &it.name))
            };
            if let Some((base, others)) = groups.iter_mut().find(of_group) {
                if it.name.len() < base.name.len() {
                    *base = it;
                }
                others.push(it);
            } else {
                groups.push((it, vec![it]));
            }
        }
        groups.retain(|(base, _)| {
            !names.was_resolved(base.client, &base.name)
                && !self.reached.contains(&(base.client, Arc::clone(&base.name)))
        });
        // On a host without a node, names that do not exist are no rarity.
        let is_alone = self.hosts.is_empty();
        let is_noise = is_alone && (groups.len() > FEW || names.resolved() > FEW);
        if !is_noise {
            let found = groups
                .iter()
                .filter_map(|(base, all)| Some(unresolved(base, all, self.concerns(base, world)?)));
            out.extend(found.take(REPORTED));
        }
        let silent: Vec<&NoNeighbour> = names.neighbours().collect();
        let asked_by = |asker: IpAddr| silent.iter().filter(|it| it.asker == asker).count();
        let found = silent.iter().filter(|it| {
            let is_known = self.hosts.contains(&it.asker) || self.hosts.contains(&it.wanted);
            (is_known || is_alone)
                && !self.answered.contains(&it.wanted)
                && asked_by(it.asker) <= FEW
        });
        out.extend(found.take(REPORTED).map(|it| no_neighbour(it, world)));
    }
}

/// The finding about one name, with all its variants that were asked for.
fn unresolved(base: &FailedName, all: &[&FailedName], node: Option<Arc<str>>) -> Detection {
    let FailedName { client, server, name, reason, is_v6, .. } = base;
    let count: u64 = all.iter().map(|it| it.count).sum();
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let (short, why, step) = match reason {
        NoAddress::NoSuchName => (
            "NXDOMAIN".to_owned(),
            "the answer was NXDOMAIN: there is no such name".to_owned(),
            format!(
                "On {client}, run `getent hosts {name}`. Add the name to the DNS or to /etc/hosts there."
            ),
        ),
        NoAddress::OtherFamily => {
            let (own, other) = if *is_v6 { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
            (
                format!("it has no {own} address"),
                format!("the name exists, and has no {own} address"),
                format!(
                    "Add an {own} address for {name}, or start both nodes with -proto_dist for {other} \
                     (inet_tcp for IPv4, inet6_tcp for IPv6)."
                ),
            )
        }
        NoAddress::Failed(code) => (
            format!("the name server failed with code {code}"),
            format!("the name server failed: response code {code}"),
            format!("Check the name server {server}, and /etc/resolv.conf on {client}."),
        ),
        NoAddress::NoAnswer => (
            "the name server did not answer".to_owned(),
            "no answer came from the name server".to_owned(),
            format!(
                "Let UDP and TCP port 53 through from {client} to {server} (network policies, security \
                 groups), and check /etc/resolv.conf on {client}."
            ),
        ),
    };
    let host_of = node.as_ref().map_or_else(String::new, |node| format!(", the host of {node}"));
    let mut evidence: Vec<Evidence> = Vec::new();
    for it in all.iter().take(3) {
        evidence.push(shows(it.first, format!("{client} asks for {}", it.name)));
        evidence
            .extend(it.last.1.map(|answer| shows(answer, format!("no address of {}", it.name))));
    }
    order_by_frame(&mut evidence);
    let host = KnownAs::AnyOf(Host::At(*client));
    let ended_by =
        node.iter().map(|node| Ending::connect(host.clone(), KnownAs::Name(Arc::clone(node))));
    Detection {
        confidence: if node.is_some() { Confidence::Likely } else { Confidence::Possible },
        title: format!("{client} could not resolve {name}{host_of}: {short}"),
        explanation: format!(
            "{client} asked the DNS server {server} for the address of {name} {times}, and {why}. A node that \
             cannot resolve the host of another node sends it no SYN, and the capture has no dial from \
             {client} to that name."
        ),
        remedy: vec![
            step,
            "If the node has no name in the DNS by intention, name it by an address, or list its host in \
             /etc/hosts of every other host."
                .to_owned(),
        ],
        nodes: node.iter().cloned().collect(),
        parties: format!("{client},{name}"),
        evidence,
        not_excluded: vec!["another program on that host asked for the name".to_owned()],
        ended_by: EndedBy::Any(ended_by.collect()),
        shown_at: all.iter().map(|it| it.last.0.at).max(),
        ..Detection::new(&NAME)
    }
}

fn no_neighbour(it: &NoNeighbour, world: &World) -> Detection {
    let NoNeighbour { asker, wanted, first, last, count } = it;
    let protocol = if wanted.is_ipv4() { "ARP" } else { "neighbour solicitations" };
    let name = world.addresses().name_of(*wanted);
    let name = name.map_or_else(String::new, |(name, _)| format!(" ({name})"));
    Detection {
        confidence: Confidence::Possible,
        title: format!("{wanted}{name} does not answer {protocol} from {asker}"),
        explanation: format!(
            "{asker} asked {count} times who has {wanted}, and no answer is in this capture. Without one its \
             kernel sends no packet there, not even a SYN: the host is down, has another address, or is not \
             on that network."
        ),
        remedy: vec![
            format!("See whether {wanted} is up: `ping {wanted}`, and `ip neigh show {wanted}` on {asker}."),
            "If the host has another address now, correct the DNS or /etc/hosts; if it is on another VLAN or \
             bridge, correct the network or the netmask."
                .to_owned(),
        ],
        parties: format!("{asker},{wanted}"),
        evidence: vec![
            shows(*first, format!("{asker} asks who has {wanted}")),
            shows(*last, "asked again".to_owned()),
        ],
        not_excluded: vec![
            "the answer is not in the capture".to_owned(),
            "another program than a node sends to that host".to_owned(),
        ],
        ended_by: EndedBy::Nothing,
        shown_at: Some(last.at),
        ..Detection::new(&NEIGHBOUR)
    }
}

/// Evidence by a packet that belongs to no TCP connection.
fn shows(mark: PacketRef, what: String) -> Evidence {
    Evidence {
        frame: mark.frame,
        input: None,
        session_id: None,
        from: None,
        what: Shows::Dns(what),
    }
}

/// Hosts, nodes and pairs that are remembered.
const REMEMBERED: usize = 16_384;

/// Failures that are compared with each other.
const MAX_FAILED: usize = 256;

/// Names or neighbours that one cause explains; more are those of a host with other business.
const FEW: usize = 4;

/// Findings of each kind in one run.
const REPORTED: usize = 16;
