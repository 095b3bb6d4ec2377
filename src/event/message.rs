//! `message`: one distribution message after the handshake, and what flows in their stead in records.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{ConnectionIds, Mark, Role};
use crate::wire::otp::Execution;
use crate::wire::term::{Budget, Erlang, JsonTerm, NoAtoms, Term};

/// A message on its way to the output: borrowed, and gone with the next segment.
#[derive(Clone, Copy, Debug)]
pub struct MessageEvent<'a> {
    /// The packet that brought its last octet.
    pub mark: Mark,
    /// The TCP connection.
    pub connection: &'a Arc<ConnectionIds>,
    /// What it says.
    pub message: &'a Message<'a>,
}

/// One distribution message. Pids, references and other terms are in Erlang's syntax; `#3` in them is an
/// atom that the capture does not show, by its number in the message's header.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Message<'a> {
    /// The node that sent it.
    pub from: Role,
    /// Name of the operation in the specification.
    pub operation: &'static str,
    /// The process or name that the signal is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_pid: Option<&'a str>,
    /// The process, name or alias that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// The registered name that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_name: Option<&'a str>,
    /// Reference of a monitor, or of a request to spawn.
    #[serde(skip_serializing_if = "Option::is_none", rename = "ref")]
    pub reference: Option<&'a str>,
    /// Why a process ended: the reason by its outer shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Number that an unlink has from its sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Group leader of a process to be spawned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_leader: Option<&'a str>,
    /// Module, function and arity to be spawned: `{M,F,A}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa: Option<&'a str>,
    /// Options of a request to spawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<&'a str>,
    /// Bits that depend on the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<&'a str>,
    /// The spawned process, or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a str>,
    /// Trace token: `{Flags,Label,Serial,From,LastCnt}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// What OTP's own conventions make of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call<'a>>,
    /// Frames it came in.
    pub fragments: u32,
    /// Octets of the message term; absent where the operation has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_octets: Option<u64>,
    /// The message term; only with `--payloads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload<'a>>,
    /// What it has the other node run, where that is to run what it is told.
    #[serde(skip)]
    #[schemars(skip)]
    pub execution: Option<Execution>,
}

/// What a message asks for, or answers, by the conventions of OTP's libraries. Never its arguments.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Call<'a> {
    /// `gen_call`, `gen_cast`, `gen_reply`, `rpc_call`, `rpc_cast`, `erpc_call`, `erpc_cast`, `spawn`,
    /// `spawn_reply`, `io_request`, `io_reply` or `down`.
    pub kind: &'static str,
    /// The reference that pairs it with its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'a str>,
    /// The atom that a request, or the reason of an end, is or begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<&'a str>,
    /// Module of the function to be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<&'a str>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<&'a str>,
    /// Number of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arity: Option<u32>,
    /// Of an answer: the time since its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
}

/// A message term.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The term, or as much of it as is kept; with its atoms in place of references.
    pub term: Term<'a>,
    /// How it is written.
    pub style: PayloadStyle,
}

/// How terms are written into events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PayloadStyle {
    /// Erlang's syntax, cut at a bound.
    #[default]
    Erlang,
    /// JSON that loses nothing.
    Json,
}

impl JsonSchema for Payload<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Payload".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The message term: text in Erlang's syntax, or, with --terms json, as JSON.",
        })
    }
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.style {
            PayloadStyle::Erlang => {
                serializer.collect_str(&Erlang::within(self.term, &NoAtoms, PAYLOAD))
            }
            PayloadStyle::Json => JsonTerm::new(self.term, &NoAtoms).serialize(serializer),
        }
    }
}

/// A payload as text: enough for a term of a few screens.
pub const PAYLOAD: Budget = Budget { octets: 4096, terms: 4096, depth: 64 };
