//! `node` and `cluster`: the nodes behind the connections, and how they stand to each other.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{EpmdOutcome, Hex, Outcome};
use crate::time::Timestamp;

/// An Erlang node and what is known of it.
///
/// Written when a node is first seen and when something about it changes.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Node {
    /// Full node name.
    pub node: Arc<str>,
    /// What this line is written for; absent in a `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Addresses it was seen at, in order of first sight.
    #[schemars(with = "Vec<String>")]
    pub ips: Vec<IpAddr>,
    /// Ports on which it was reached.
    pub dist_ports: Vec<u16>,
    /// Incarnation; `null` where the old handshake did not tell.
    pub creation: Option<u32>,
    /// Times it came back with another creation.
    pub restarts: u64,
    /// Whether it keeps out of `nodes()` and of the mesh; `null` when its flags were not seen.
    pub hidden: Option<bool>,
    /// Whether an acceptor gave it its name.
    pub dynamic: bool,
    /// What implements it, as far as bytes tell.
    pub implementation: Implementation,
    /// Layouts of the handshake that it used, 5 or 6.
    pub versions: Vec<u8>,
    /// Its flags; `null` when not seen.
    pub flags: Option<Hex>,
    /// Oldest OTP release that sends such flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp_at_least: Option<u16>,
    /// Newest OTP release that sends such flags; absent where that is the newest known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp_at_most: Option<u16>,
    /// Newest OTP release that takes a node with such flags; absent where every one known does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_up_to: Option<u16>,
    /// Flags that the releases after that demand, and this node lacks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// What a `node` line is written for.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Not seen before.
    Seen,
    /// Another creation at the same address.
    Restarted,
    /// Another creation at another address, and the former is not heard of any more.
    Moved,
    /// Two creations alive at once at different addresses.
    Duplicate,
    /// One more address with the same creation: several interfaces, or address translation.
    Address,
    /// Something else is known now that was not.
    Updated,
}

/// What implements a node.
#[derive(Clone, Copy, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Implementation {
    /// The Erlang virtual machine.
    Vm,
    /// A C node (`erl_interface`).
    CNode,
    /// A Java node (`jinterface`).
    JavaNode,
    /// Not known.
    #[default]
    Unknown,
}

/// The whole, as last seen.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Cluster {
    /// Every node whose name was seen.
    pub nodes: Vec<Node>,
    /// Pairs that are connected, or were when the capture last showed them.
    pub connected: Vec<Pair>,
    /// Pairs that tried last without success.
    pub failed: Vec<FailedPair>,
    /// Pairs of visible nodes of one mesh that the capture would have shown to try, and that did not.
    pub never_tried: Vec<[Arc<str>; 2]>,
    /// Sets of nodes that took each other's cookie, largest first.
    pub cookies: Vec<CookieGroup>,
    /// Entries that a bound left out.
    pub left_out: u64,
}

/// Two nodes that are connected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Pair {
    /// Who dialed, and who was dialed.
    pub nodes: [Arc<str>; 2],
    /// When the connection was seen to stand.
    pub since: Timestamp,
    /// Whether it is over; it ended without a fault then.
    pub closed: bool,
}

/// Two nodes that tried and are not connected.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct FailedPair {
    /// Who dialed, by name or address.
    pub initiator: Arc<str>,
    /// Who was dialed, by name, by the name that was asked for, or by address.
    pub acceptor: Arc<str>,
    /// What came of the last attempt: the outcome of its session, or of the look-up before.
    pub outcome: Failure,
    /// Label of the candidate cookie that the initiator used towards the acceptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator_cookie: Option<Arc<str>>,
    /// Label of the one that the acceptor used towards the initiator, known from a dial of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor_cookie: Option<Arc<str>>,
    /// Whether each of the two uses the cookie that the other uses elsewhere.
    #[serde(skip_serializing_if = "is_false")]
    pub crossed: bool,
    /// Attempts that failed since the two were last connected.
    pub count: u64,
    /// When last.
    pub last: Timestamp,
    /// The incident that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<Arc<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields on by reference")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// Why a pair is not connected.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Failure {
    /// The session failed.
    Session(Outcome),
    /// It did not come to a session.
    Lookup(EpmdOutcome),
}

/// Nodes that must hold one cookie: each took a digest of another of them.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct CookieGroup {
    /// Their names.
    pub nodes: Vec<Arc<str>>,
    /// Labels of the candidate cookies that their digests were made with.
    pub cookies: Vec<Arc<str>>,
    /// Nodes that one of the group refused, or was refused by, over the cookie.
    pub refused: Vec<Arc<str>>,
    /// The connections that show it, by `session_id`.
    pub sessions: Vec<Arc<str>>,
}
