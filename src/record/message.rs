//! The summary of the messages of a connection, as a session record prints it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::frame_number;
use crate::packet::FrameRef;
use crate::packet::PacketRef;

/// What was said after the handshake, added up by who said it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Messages {
    /// From initiator to acceptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Account>,
    /// From acceptor to initiator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor: Option<Account>,
}

/// What one side sent after the handshake, added up.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Account {
    /// By operation, the most frequent first.
    pub operations: Vec<Share>,
    /// By the registered name they were for: the busiest ten.
    pub names: Vec<Share>,
    /// By the function they had run: the busiest ten, as `module:name/arity`.
    pub functions: Vec<Share>,
    /// The largest message that was sent whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<Largest>,
    /// Messages that came in several frames.
    pub fragmented: u64,
    /// Frames of those.
    pub fragments: u64,
    /// Of those messages the ones that never became whole.
    pub unfinished: u64,
    /// Frames of which the capture lacks what tells what they are.
    pub unreadable: u64,
    /// What this side asked of the other.
    pub calls: Vec<Calls>,
    /// `net_ticktime` in seconds, as the shortest time from tick to tick implies: four ticks are sent in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_time_s: Option<u64>,
    /// The longest time in which this side sent no byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_silence: Option<Pause>,
    /// The longest time in which this side let the other send nothing: its receive window was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_stall: Option<Pause>,
}

/// A time in which something did not happen.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Pause {
    /// How long.
    pub lasted_us: u64,
    /// The packet before it, or with which it began.
    pub since: PacketLink,
}

/// Messages of one kind, and their bytes with all frames.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Share {
    /// Which.
    pub name: Box<str>,
    /// How many.
    pub messages: u64,
    /// Their bytes, length prefixes included.
    pub bytes: u64,
}

/// The largest message of one side.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Largest {
    /// Its bytes with all frames.
    pub bytes: u64,
    /// Its operation.
    pub operation: &'static str,
    /// The packet that brought its end.
    pub at: PacketLink,
}

/// What one side asked of the other, and came of it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Calls {
    /// `gen_call` (`gen_server`, `gen_statem`, `GenServer`), `rpc` (`rpc` and `erpc`), or `spawn`.
    pub kind: &'static str,
    /// Requests.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_us: Option<u64>,
    /// 99 of 100 answers took no longer; to within 3 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// The slowest answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest: Option<Slowest>,
    /// The oldest request still without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unanswered: Option<PacketLink>,
}

/// A request and its answer.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Slowest {
    /// Time from one to the other.
    pub latency_us: u64,
    /// The packet with the request.
    pub request: PacketLink,
    /// The packet with the answer.
    pub answer: PacketLink,
}

/// A packet.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct PacketLink {
    /// Frame number within its input.
    #[serde(serialize_with = "frame_number")]
    #[schemars(with = "u64")]
    pub frame: FrameRef,
    /// Its input, where that is not the line's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
}

impl From<PacketRef> for PacketLink {
    fn from(mark: PacketRef) -> Self {
        Self { frame: mark.frame, input: None }
    }
}

impl Messages {
    /// Every packet that is named.
    pub fn spots(&mut self) -> impl Iterator<Item = &mut PacketLink> {
        [&mut self.initiator, &mut self.acceptor].into_iter().flatten().flat_map(|account| {
            let largest = account.largest.as_mut().map(|largest| &mut largest.at);
            let pauses = [&mut account.longest_silence, &mut account.longest_stall];
            let pauses = pauses.into_iter().flatten().map(|pause| &mut pause.since);
            let calls = account.calls.iter_mut().flat_map(Calls::spots);
            largest.into_iter().chain(pauses).chain(calls)
        })
    }
}

impl Calls {
    fn spots(&mut self) -> impl Iterator<Item = &mut PacketLink> {
        let slowest = self.slowest.as_mut();
        let slowest = slowest.map(|slowest| [&mut slowest.request, &mut slowest.answer]);
        slowest.into_iter().flatten().chain(&mut self.oldest_unanswered)
    }
}
