//! `epmd`: one request to a port mapper and what came of it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::observe::{EpmdNodeType, EpmdObservation, EpmdTag};
pub use crate::observe::{EpmdOutcome, RegisteredName};

/// One request to a port mapper and what came of it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Epmd {
    /// The specification's name of the request; `null` when it was not seen.
    pub request: Option<&'static str>,
    /// Alive name asked for, registered or stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// What came of it.
    pub outcome: EpmdOutcome,
    /// The specification's name of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<&'static str>,
    /// Result code of the reply, 0 for success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<u8>,
    /// Distribution port registered or answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `normal`, `hidden`, or the number on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_type: Option<NodeType>,
    /// Highest handshake version the node speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_version: Option<u16>,
    /// Lowest handshake version the node says it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_version: Option<u16>,
    /// Transport, 0 for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Extra bytes of the registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_hex: Option<String>,
    /// Creation given to the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// Registered nodes, for `NAMES_REQ` and `DUMP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<RegisteredName>>,
    /// Text of the reply to `KILL_REQ` and `STOP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// From the request's last byte to the reply's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time_us: Option<u64>,
    /// How long the registration lasted, with `unregistered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_us: Option<u64>,
}

/// Node type of an EPMD registration.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum NodeType {
    /// `normal` (77) or `hidden` (72).
    Named(&'static str),
    /// Any other value.
    Number(u8),
}

impl Epmd {
    /// The printed form of what was seen.
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
        }
    }
}
