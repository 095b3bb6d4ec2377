//! What one side sent after the handshake, added up; and the messages that rules look at.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Role, RuleTrigger};
use crate::packet::PacketRef;

/// The messages of one side after the handshake, added up.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct MessageSums {
    /// By operation, the most frequent first.
    pub operations: Vec<NameCount>,
    /// By the registered name they were for: the busiest ten.
    pub names: Vec<NameCount>,
    /// By the function they had run: the busiest ten, as `module:name/arity`.
    pub functions: Vec<NameCount>,
    /// The largest message that was sent whole.
    pub largest: Option<LargestMessage>,
    /// Messages that came in several frames.
    pub fragmented: u64,
    /// Frames of those messages.
    pub fragments: u64,
    /// Of those messages the ones that never became whole.
    pub unfinished: u64,
    /// Frames of which the capture lacks the header or control term.
    pub unreadable: u64,
    /// Requests of this side to the other.
    pub calls: Vec<CallSums>,
    /// `net_ticktime` in seconds, as the shortest time from tick to tick implies: four ticks are sent in it.
    pub tick_time_s: Option<u64>,
    /// The longest time in which this side sent no byte.
    pub longest_silence: Option<PauseSpan>,
    /// The longest time in which this side let the other send nothing: its receive window was closed.
    pub longest_stall: Option<PauseSpan>,
}

/// Messages of one kind, and their bytes with all frames.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NameCount {
    /// Operation, registered name or function.
    pub name: Box<str>,
    /// Number of these messages.
    pub messages: u64,
    /// Their bytes, length prefixes included.
    pub bytes: u64,
}

/// The largest message of one side.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LargestMessage {
    /// Its bytes with all frames.
    pub bytes: u64,
    /// Name of its operation.
    pub operation: Cow<'static, str>,
    /// The packet that brought its end.
    pub at: PacketRef,
}

/// A time in which something did not happen.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct PauseSpan {
    /// How long it lasted.
    pub lasted_us: u64,
    /// The packet before it, or with which it began.
    pub since: PacketRef,
}

/// Requests of one side of one kind, and what came of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CallSums {
    /// `gen_call`, `rpc` or `spawn`.
    pub kind: Cow<'static, str>,
    /// Number of requests sent.
    pub asked: u64,
    /// Of those, the ones that were answered.
    pub answered: u64,
    /// The ones still without an answer.
    pub unanswered: u64,
    /// The ones whose caller waited no longer.
    pub given_up: u64,
    /// The ones for a process that does not exist.
    pub noproc: u64,
    /// The ones whose process ended, or was not made.
    pub down: u64,
    /// Half of the answers took no longer; to within 3 %.
    pub median_us: Option<u64>,
    /// 99 of 100 answers took no longer; to within 3 %.
    pub p99_us: Option<u64>,
    /// The call with the slowest answer.
    pub slowest: Option<SlowestCall>,
    /// The oldest request still without an answer.
    pub oldest_unanswered: Option<PacketRef>,
}

/// A request and its answer.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct SlowestCall {
    /// Time from one to the other.
    pub latency_us: u64,
    /// The packet with the request.
    pub request: PacketRef,
    /// The packet with the answer.
    pub answer: PacketRef,
}

/// A message after the handshake that a rule looks at.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TriggerMessage {
    /// The packet that brought its last byte.
    pub mark: PacketRef,
    /// The node that sent it.
    pub from: Role,
    /// Name of the operation in the specification.
    pub operation: Cow<'static, str>,
    /// Why rules look at it.
    pub trigger: RuleTrigger,
    /// The function that it has run, where it has one run.
    pub call: Option<TriggerCall>,
}

/// The function that a message has run on the other node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TriggerCall {
    /// Name of the convention, such as `rpc_call`.
    pub kind: Cow<'static, str>,
    /// Module of the function.
    pub module: Option<Arc<str>>,
    /// Name of the function.
    pub function: Option<Arc<str>>,
    /// Number of its arguments.
    pub arity: Option<u32>,
}
