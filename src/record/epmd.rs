//! `epmd`: one request to EPMD and its outcome.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Step;
use super::kept::{self, ContractName};
use crate::observe::{EpmdNodeType, EpmdObservation, EpmdTag};
pub use crate::observe::{EpmdOutcome, RegisteredName};

/// One request to EPMD and its outcome.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Epmd {
    /// Name of the request in the specification; `null` if the request was not seen.
    #[serde(deserialize_with = "kept::maybe_name")]
    pub request: Option<ContractName>,
    /// Alive name that is looked up, registered or stopped: the part of a node name before the `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Outcome of the request.
    pub outcome: EpmdOutcome,
    /// Name of the reply in the specification.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "kept::maybe_name"
    )]
    pub response: Option<ContractName>,
    /// Result code of the reply, 0 for success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<u8>,
    /// Distribution port in the registration or in the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Node type: `normal`, `hidden`, or the number on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_type: Option<NodeType>,
    /// Highest handshake version that the node supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_version: Option<u16>,
    /// Lowest handshake version that the node supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_version: Option<u16>,
    /// Transport protocol, 0 for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Extra bytes of the registration in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_hex: Option<String>,
    /// Creation that EPMD gave to the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// Registered nodes, for `NAMES_REQ` and `DUMP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<RegisteredName>>,
    /// Text of the reply to `KILL_REQ` and `STOP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Time from the last byte of the request to the last byte of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time_us: Option<u64>,
    /// Duration of the registration; only with `unregistered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_us: Option<u64>,
    /// The packets of the request and of its reply, and those that opened and closed the connection, in order of time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Step>,
}

/// The node type in an EPMD registration.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum NodeType {
    /// `normal` (77) or `hidden` (72).
    Named(#[serde(deserialize_with = "kept::name")] ContractName),
    /// Any other value on the wire.
    Number(u8),
}

impl Epmd {
    /// The record of an observed request.
    pub fn of(seen: &EpmdObservation) -> Self {
        let node_type =
            |it: EpmdNodeType| it.name().map_or(NodeType::Number(it.0), NodeType::Named);
        Self {
            request: seen.request.and_then(EpmdTag::name),
            name: seen.name.clone(),
            name_hex: seen.name_hex.clone(),
            outcome: seen.outcome,
            response: seen.response.and_then(EpmdTag::name),
            result: seen.result,
            port: seen.port,
            node_type: seen.node_type.map(node_type),
            highest_version: seen.highest_version,
            lowest_version: seen.lowest_version,
            protocol: seen.protocol,
            extra_hex: seen.extra_hex.clone(),
            creation: seen.creation,
            names: seen.names.clone(),
            reply: seen.reply.clone(),
            response_time_us: seen.response_time_us,
            lifetime_us: seen.lifetime_us,
            steps: Step::of_request(seen),
        }
    }
}
