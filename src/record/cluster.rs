//! `node` and `cluster`: the nodes at the ends of the connections, and the state of each pair.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hex, is_false};
pub use crate::judge::Implementation;
use crate::judge::world::{
    AgreedCookies, ClusterFacts, ConnectedPair, FailedDials, FailedReason, NodeFacts,
    OtherConnection,
};
pub use crate::judge::world::{Change, Failure};
use crate::time::Timestamp;

/// An Erlang node and its properties.
///
/// Written when a node is first seen and when something about it changes.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    /// Full name of the node; for a tool that has a new name each time, and was seen more than once, the pattern of
    /// its names, such as `rabbitmqcli-*-rabbit@h`.
    pub node: Arc<str>,
    /// Number of names of that pattern; absent for a single name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<u64>,
    /// The reason of this record; absent in a `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Addresses of the node, in the order in which they were seen.
    #[schemars(with = "Vec<String>")]
    pub ips: Vec<IpAddr>,
    /// Distribution ports of the node.
    pub dist_ports: Vec<u16>,
    /// Creation of the node; `null` if its handshake (version 5) does not have it.
    pub creation: Option<u32>,
    /// How often the node restarted: came back with another creation.
    pub restarts: u64,
    /// True for a hidden node, which is not part of the mesh; `null` if its flags were not seen.
    pub hidden: Option<bool>,
    /// True if the acceptor assigned the name (dynamic node name).
    pub dynamic: bool,
    /// Implementation of the node, judged by its flags.
    pub implementation: Implementation,
    /// Handshake versions that the node used, 5 or 6.
    pub versions: Vec<u8>,
    /// Distribution flags of the node; `null` if not seen.
    pub flags: Option<Hex>,
    /// Oldest OTP release that sends such flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp_at_least: Option<u16>,
    /// Newest OTP release that sends such flags; absent if that is the newest known release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp_at_most: Option<u16>,
    /// Newest OTP release that accepts a node with such flags; absent if every known release does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_up_to: Option<u16>,
    /// Flags that later releases demand and this node does not send.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lacks: Vec<String>,
}

/// All nodes and pairs, in their last known state.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Cluster {
    /// All nodes whose names were seen.
    pub nodes: Vec<Node>,
    /// Pairs whose last attempt succeeded.
    pub connected: Vec<Pair>,
    /// Pairs whose last attempt failed, also those that are connected all the same.
    pub failed: Vec<FailedPair>,
    /// Pairs of visible nodes of one mesh without an attempt, although the capture would show one.
    pub never_tried: Vec<[Arc<str>; 2]>,
    /// Sets of nodes that accepted each other's cookie, the largest first.
    pub cookies: Vec<CookieGroup>,
    /// Number of entries that a limit left out.
    pub left_out: u64,
}

/// Two nodes whose last attempt succeeded.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Pair {
    /// Names of the initiator and of the acceptor.
    pub nodes: [Arc<str>; 2],
    /// Time at which the connection was established, as far as seen.
    pub since: Timestamp,
    /// True if the connection was closed later, whatever the reason.
    pub closed: bool,
    /// True if the connection is encrypted with TLS: then the records show that the two connected, and names are known as
    /// far as EPMD's answer and the TLS hello have them.
    #[serde(skip_serializing_if = "is_false", default)]
    pub tls: bool,
}

/// Two nodes whose last attempt failed.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct FailedPair {
    /// The initiator of the last attempt, by name or address.
    pub initiator: Arc<str>,
    /// Its acceptor, by its name, by the name that was looked up, or by address.
    pub acceptor: Arc<str>,
    /// True if the acceptor made failed attempts as well.
    #[serde(skip_serializing_if = "is_false", default)]
    pub both_dialed: bool,
    /// Outcome of the last attempt: that of its session, or of the EPMD look-up before.
    pub outcome: Failure,
    /// Label of the candidate cookie that the initiator used towards the acceptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator_cookie: Option<Arc<str>>,
    /// Label of the candidate cookie that the acceptor used towards the initiator, known from an attempt of
    /// its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor_cookie: Option<Arc<str>>,
    /// True if each of the two uses the cookie that the other uses elsewhere.
    #[serde(skip_serializing_if = "is_false", default)]
    pub crossed: bool,
    /// Number of failed attempts since the two were last connected, for any reason.
    pub count: u64,
    /// The different outcomes of these attempts, each with its number, in the order in which they were first seen.
    pub reasons: Vec<FailureReason>,
    /// Time of the last failed attempt.
    pub last: Timestamp,
    /// Identifier of the incident that explains the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<Arc<str>>,
    /// In words, how the failures fit with a connection that the two have, or had; absent if they have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// One reason for which attempts of a pair failed.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct FailureReason {
    /// The outcome of these attempts.
    pub outcome: Failure,
    /// Number of these attempts.
    pub count: u64,
    /// Time of the last of them.
    pub last: Timestamp,
    /// Identifier of the incident that explains them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<Arc<str>>,
}

/// Nodes with the same cookie: each accepted a digest of another one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct CookieGroup {
    /// Names of the nodes.
    pub nodes: Vec<Arc<str>>,
    /// Labels of the candidate cookies that their digests were made with.
    pub cookies: Vec<Arc<str>>,
    /// Names of the nodes with another cookie: one of the group refused them, or was refused by them.
    pub refused: Vec<Arc<str>>,
    /// The connections that show the group, by `session_id`.
    pub sessions: Vec<Arc<str>>,
}

impl Node {
    /// The record of a node; `change` is the reason of the record, and `None` in a `cluster`.
    pub fn of(node: &NodeFacts, change: Option<Change>) -> Self {
        Self {
            node: Arc::clone(&node.name),
            names: Some(node.names).filter(|names| *names > 1),
            change,
            ips: node.ips.clone(),
            dist_ports: node.dist_ports.clone(),
            creation: node.creation,
            restarts: node.restarts,
            hidden: node.hidden,
            dynamic: node.is_dynamic,
            implementation: node.implementation,
            versions: node.versions.clone(),
            flags: node.flags.map(|flags| Hex(flags.0)),
            otp_at_least: node.otp_at_least,
            otp_at_most: node.otp_at_most,
            accepted_up_to: node.accepted_up_to,
            lacks: node.lacks.names().map(Cow::into_owned).collect(),
        }
    }
}

impl From<ClusterFacts> for Cluster {
    fn from(facts: ClusterFacts) -> Self {
        let ClusterFacts { nodes, connected, failed, never_tried, cookies, left_out } = facts;
        Self {
            nodes: nodes.iter().map(|node| Node::of(node, None)).collect(),
            connected: connected.into_iter().map(Pair::from).collect(),
            failed: failed.into_iter().map(FailedPair::from).collect(),
            never_tried,
            cookies: cookies.into_iter().map(CookieGroup::from).collect(),
            left_out,
        }
    }
}

impl From<ConnectedPair> for Pair {
    fn from(ConnectedPair { nodes, since, is_closed, is_tls }: ConnectedPair) -> Self {
        Self { nodes, since, closed: is_closed, tls: is_tls }
    }
}

impl From<FailedDials> for FailedPair {
    fn from(dials: FailedDials) -> Self {
        Self {
            initiator: dials.initiator,
            acceptor: dials.acceptor,
            both_dialed: dials.by_both,
            outcome: dials.outcome,
            initiator_cookie: dials.initiator_cookie,
            acceptor_cookie: dials.acceptor_cookie,
            crossed: dials.are_cookies_crossed,
            count: dials.count,
            reasons: dials.reasons.into_iter().map(FailureReason::from).collect(),
            last: dials.last,
            incident_id: dials.incident,
            beside: dials.connection.map(beside),
        }
    }
}

impl From<FailedReason> for FailureReason {
    fn from(FailedReason { outcome, count, last, incident }: FailedReason) -> Self {
        Self { outcome, count, last, incident_id: incident }
    }
}

/// How failed attempts fit with another connection of the pair.
fn beside(connection: OtherConnection) -> String {
    let words = if connection.is_closed {
        "they were connected before; that connection was closed, and a later attempt failed"
    } else {
        BESIDE_OPEN
    };
    words.to_owned()
}

impl FailedPair {
    /// Who dialed whom: `a -> b`, or `a <-> b` if both did.
    pub fn dialed(&self) -> String {
        let arrow = if self.both_dialed { "<->" } else { "->" };
        format!("{} {arrow} {}", self.initiator, self.acceptor)
    }

    /// Whether the two are connected although attempts beside that connection failed.
    pub fn is_beside_open_connection(&self) -> bool {
        self.beside.as_deref() == Some(BESIDE_OPEN)
    }
}

impl Cluster {
    /// Joins the nodes and pairs of other inputs. Of a node or a pair that both have, the later state counts.
    pub fn join(&mut self, other: &Self) {
        let mut nodes: BTreeMap<Arc<str>, Node> = BTreeMap::new();
        for node in self.nodes.drain(..).chain(other.nodes.iter().cloned()) {
            nodes.insert(Arc::clone(&node.node), node);
        }
        self.nodes = nodes.into_values().collect();
        // The two may have dialed each other.
        let key = |a: &Arc<str>, b: &Arc<str>| {
            let mut key = [Arc::clone(a), Arc::clone(b)];
            key.sort();
            key
        };
        let mut connected: BTreeMap<[Arc<str>; 2], Pair> = BTreeMap::new();
        for pair in self.connected.drain(..).chain(other.connected.iter().cloned()) {
            let [a, b] = &pair.nodes;
            let known = connected.entry(key(a, b)).or_insert_with(|| pair.clone());
            if known.since <= pair.since {
                *known = pair;
            }
        }
        let mut failed: BTreeMap<[Arc<str>; 2], FailedPair> = BTreeMap::new();
        for pair in self.failed.drain(..).chain(other.failed.iter().cloned()) {
            let known =
                failed.entry(key(&pair.initiator, &pair.acceptor)).or_insert_with(|| pair.clone());
            let both_dialed =
                known.both_dialed || pair.both_dialed || known.initiator != pair.initiator;
            if known.last <= pair.last {
                *known = pair;
            }
            known.both_dialed = both_dialed;
        }
        failed.retain(|key, pair| connected.get(key).is_none_or(|it| it.since <= pair.last));
        connected.retain(|key, pair| failed.get(key).is_none_or(|it| it.last < pair.since));
        let has_tried = |[a, b]: &[Arc<str>; 2]| {
            let key = key(a, b);
            connected.contains_key(&key) || failed.contains_key(&key)
        };
        let never: BTreeSet<_> =
            self.never_tried.drain(..).chain(other.never_tried.iter().cloned()).collect();
        self.never_tried = never.into_iter().filter(|pair| !has_tried(pair)).collect();
        self.connected = connected.into_values().collect();
        self.failed = failed.into_values().collect();
        self.cookies.extend(other.cookies.iter().cloned());
        self.left_out = self.left_out.saturating_add(other.left_out);
    }
}

const BESIDE_OPEN: &str =
    "they are connected all the same: these attempts were made beside that connection";

impl From<AgreedCookies> for CookieGroup {
    fn from(AgreedCookies { nodes, labels, refused, sessions }: AgreedCookies) -> Self {
        Self { nodes, cookies: labels, refused, sessions }
    }
}
