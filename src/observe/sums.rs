//! Totals of the messages that one side sent after the handshake, and the messages that rules evaluate.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Role, RuleTrigger, exact, is_default};
use crate::packet::PacketRef;

/// Totals of the messages that one side sent after the handshake.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct MessageSums {
    /// Messages by operation, the most frequent first.
    #[serde(default, deserialize_with = "exact", skip_serializing_if = "is_default")]
    pub operations: Vec<NameCount>,
    /// Messages by registered name of the receiver: the ten most frequent.
    #[serde(default, deserialize_with = "exact", skip_serializing_if = "is_default")]
    pub names: Vec<NameCount>,
    /// Messages by the function that they call, as `module:name/arity`: the ten most frequent.
    #[serde(default, deserialize_with = "exact", skip_serializing_if = "is_default")]
    pub functions: Vec<NameCount>,
    /// The largest message that was sent completely.
    #[serde(default, skip_serializing_if = "is_default")]
    pub largest: Option<LargestMessage>,
    /// Number of messages that were sent in several frames.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fragmented: u64,
    /// Number of frames of those messages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fragments: u64,
    /// Number of those messages without their last fragment.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unfinished: u64,
    /// Number of frames of which the capture lacks the header or control term.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unreadable: u64,
    /// Requests of this side to the other, by kind.
    #[serde(default, deserialize_with = "exact", skip_serializing_if = "is_default")]
    pub calls: Vec<CallSums>,
    /// `net_ticktime` in seconds, as the shortest time from tick to tick implies: four ticks are sent in it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tick_time_s: Option<u64>,
    /// The longest time in which this side sent no byte.
    #[serde(default, skip_serializing_if = "is_default")]
    pub longest_silence: Option<PauseSpan>,
    /// The longest time in which the other side could send nothing, because this side's receive window was closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub longest_stall: Option<PauseSpan>,
}

/// Messages of one kind, and their bytes with all frames.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NameCount {
    /// Name of the operation, process or function.
    pub name: Box<str>,
    /// Number of these messages.
    pub messages: u64,
    /// Bytes of these messages with their length prefixes.
    pub bytes: u64,
}

/// The largest message of one side.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct LargestMessage {
    /// Bytes of the message in all its frames.
    pub bytes: u64,
    /// Name of the message's operation.
    pub operation: Cow<'static, str>,
    /// The packet with its last byte.
    pub at: PacketRef,
}

/// A period in which nothing was sent, with its length and start.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PauseSpan {
    /// Length of the period in microseconds.
    pub lasted_us: u64,
    /// The packet before the period, or the one that began it.
    pub since: PacketRef,
}

/// Requests of one side and of one kind, by their result.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CallSums {
    /// The kind: `gen_call`, `rpc` or `spawn`.
    pub kind: Cow<'static, str>,
    /// Number of requests sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub asked: u64,
    /// Number of requests that were answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answered: u64,
    /// Number of requests still without an answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unanswered: u64,
    /// Number of requests whose caller stopped waiting.
    #[serde(default, skip_serializing_if = "is_default")]
    pub given_up: u64,
    /// Number of requests to a process that does not exist.
    #[serde(default, skip_serializing_if = "is_default")]
    pub noproc: u64,
    /// Number of requests whose process ended, or was not created.
    #[serde(default, skip_serializing_if = "is_default")]
    pub down: u64,
    /// Median of the response times, to within 3 %.
    #[serde(default, skip_serializing_if = "is_default")]
    pub median_us: Option<u64>,
    /// 99th percentile of the response times, to within 3 %.
    #[serde(default, skip_serializing_if = "is_default")]
    pub p99_us: Option<u64>,
    /// The request with the slowest answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub slowest: Option<SlowestCall>,
    /// The oldest request still without an answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub oldest_unanswered: Option<PacketRef>,
}

/// A request with its answer and the time between them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SlowestCall {
    /// Time from the request to the answer.
    pub latency_us: u64,
    /// The packet with the request.
    pub request: PacketRef,
    /// The packet with the answer.
    pub answer: PacketRef,
}

/// A message after the handshake that a rule evaluates.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TriggerMessage {
    /// The packet that brought its last byte.
    pub mark: PacketRef,
    /// The node that sent it.
    pub from: Role,
    /// Name of the operation in the specification.
    pub operation: Cow<'static, str>,
    /// The reason why rules evaluate the message.
    pub trigger: RuleTrigger,
    /// The function that the message calls, if it calls one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub call: Option<TriggerCall>,
    /// The nodes that lost contact, as far as their names are known, if the message shows that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lost: Option<LostContact>,
}

/// Two nodes that lost contact, as `global` of one of them informed others.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct LostContact {
    /// Name of the node that noticed.
    pub by: Option<Arc<str>>,
    /// Name of the node that it lost.
    pub node: Option<Arc<str>>,
}

/// The function that a message calls on the other node.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TriggerCall {
    /// Kind of the call, such as `rpc_call`.
    pub kind: Cow<'static, str>,
    /// Module of the function.
    pub module: Option<Arc<str>>,
    /// Name of the function.
    pub function: Option<Arc<str>>,
    /// Number of its arguments.
    pub arity: Option<u32>,
}
