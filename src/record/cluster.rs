//! `node` and `cluster`: the nodes at the ends of the connections, and the state of each pair.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{EpmdOutcome, Hex, Outcome};
use crate::time::Timestamp;

/// An Erlang node and its properties.
///
/// Written when a node is first seen and when something about it changes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    /// Full name of the node.
    pub node: Arc<str>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// The reason of a `node` record.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
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

/// The implementation of a node.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Implementation {
    /// The Erlang virtual machine.
    Vm,
    /// A C node (`erl_interface`).
    CNode,
    /// A Java node (`jinterface`).
    JavaNode,
    /// The implementation is not known.
    #[default]
    Unknown,
}

/// All nodes and pairs, in their last known state.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Cluster {
    /// All nodes whose names were seen.
    pub nodes: Vec<Node>,
    /// Pairs whose last attempt succeeded.
    pub connected: Vec<Pair>,
    /// Pairs whose last attempt failed.
    pub failed: Vec<FailedPair>,
    /// Pairs of visible nodes of one mesh without an attempt, although the capture would show one.
    pub never_tried: Vec<[Arc<str>; 2]>,
    /// Sets of nodes that accepted each other's cookie, the largest first.
    pub cookies: Vec<CookieGroup>,
    /// Number of entries that a limit left out.
    pub left_out: u64,
}

/// Two nodes whose last attempt succeeded.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Pair {
    /// Names of the initiator and of the acceptor.
    pub nodes: [Arc<str>; 2],
    /// Time at which the connection was established, as far as seen.
    pub since: Timestamp,
    /// True if the connection was closed later, without a fault.
    pub closed: bool,
}

/// Two nodes whose last attempt failed.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct FailedPair {
    /// The initiator, by name or address.
    pub initiator: Arc<str>,
    /// The acceptor, by its name, by the name that was looked up, or by address.
    pub acceptor: Arc<str>,
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
    #[serde(skip_serializing_if = "is_false")]
    pub crossed: bool,
    /// Number of failed attempts since the two were last connected.
    pub count: u64,
    /// Time of the last failed attempt.
    pub last: Timestamp,
    /// Identifier of the incident that explains the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<Arc<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields on by reference")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// The outcome of a failed attempt.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Failure {
    /// The session failed with this outcome.
    Session(Outcome),
    /// The EPMD look-up failed, and no session followed.
    Lookup(EpmdOutcome),
}

/// Nodes with the same cookie: each accepted a digest of another one.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
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
