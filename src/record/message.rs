//! `messages` of a `session`: totals of the messages of a connection.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::frame_number;
use crate::observe::{CallSums, MessageSums, NameCount, PauseSpan, PerRole};
use crate::packet::FrameRef;
use crate::packet::PacketRef;

/// Totals of the messages after the handshake, by sender.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Messages {
    /// Messages from the initiator to the acceptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Account>,
    /// Messages from the acceptor to the initiator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor: Option<Account>,
}

/// Totals of the messages that one side sent after the handshake.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Account {
    /// Messages by operation, the most frequent first.
    pub operations: Vec<Share>,
    /// Messages by the registered name they were sent to: the ten most frequent.
    pub names: Vec<Share>,
    /// Messages by the function that they call, as `module:name/arity`: the ten most frequent.
    pub functions: Vec<Share>,
    /// The largest complete message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest: Option<Largest>,
    /// Number of messages in several fragments.
    pub fragmented: u64,
    /// Number of fragments of those messages.
    pub fragments: u64,
    /// Number of those messages whose last fragment was not seen.
    pub unfinished: u64,
    /// Number of frames that cannot be decoded because the capture lacks bytes before or in them.
    pub unreadable: u64,
    /// Calls of this side to the other, by kind.
    pub calls: Vec<Calls>,
    /// `net_ticktime` in seconds, judged by the shortest time between two ticks: a node sends four ticks in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_time_s: Option<u64>,
    /// The longest time without a byte from this side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_silence: Option<Pause>,
    /// The longest time for which the receive window of this side was zero, so that the other could not send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_stall: Option<Pause>,
}

/// A time without data.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Pause {
    /// Duration of the pause.
    pub lasted_us: u64,
    /// The last packet before the pause, or the packet that began it.
    pub since: PacketLink,
}

/// Number and size of the messages of one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Share {
    /// Operation, registered name, or function.
    pub name: Box<str>,
    /// Number of messages of this kind.
    pub messages: u64,
    /// Size of those messages with all fragments, length prefixes included.
    pub bytes: u64,
}

/// The largest message of one side.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Largest {
    /// Size of the message with all fragments.
    pub bytes: u64,
    /// Operation of the message.
    pub operation: Cow<'static, str>,
    /// The packet with the end of the message.
    pub at: PacketLink,
}

/// Calls of one kind, and their outcomes.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Calls {
    /// Kind of call: `gen_call` (`gen_server`, `gen_statem`, `GenServer`), `rpc` (`rpc` and `erpc`), or `spawn`.
    pub kind: Cow<'static, str>,
    /// Number of requests of this kind.
    pub asked: u64,
    /// Number of requests with an answer.
    pub answered: u64,
    /// Number of requests still without an answer.
    pub unanswered: u64,
    /// Number of requests that the caller gave up (a demonitor before the answer).
    pub given_up: u64,
    /// Number of requests to a process that does not exist.
    pub noproc: u64,
    /// Number of requests whose process ended before the answer, or was not started.
    pub down: u64,
    /// Median of the latency; exact to within 3 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_us: Option<u64>,
    /// 99th percentile of the latency; exact to within 3 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// The request with the longest latency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest: Option<Slowest>,
    /// The oldest request still without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unanswered: Option<PacketLink>,
}

/// A request and its answer.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Slowest {
    /// Time from the request to the answer.
    pub latency_us: u64,
    /// The packet with the request.
    pub request: PacketLink,
    /// The packet with the answer.
    pub answer: PacketLink,
}

/// A link to a packet.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct PacketLink {
    /// Frame number within its input, from 1.
    #[serde(with = "frame_number")]
    #[schemars(with = "u64")]
    pub frame: FrameRef,
    /// The input of the packet, if it is not that of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
}

impl Messages {
    /// The record of the messages of both sides; `None` if neither side sent any.
    pub fn of(sums: &PerRole<Option<Box<MessageSums>>>) -> Option<Self> {
        let account = |sums: &Option<Box<MessageSums>>| sums.as_deref().map(Account::of);
        let (initiator, acceptor) = (account(&sums.initiator), account(&sums.acceptor));
        (initiator.is_some() || acceptor.is_some()).then_some(Self { initiator, acceptor })
    }
}

impl Account {
    fn of(sums: &MessageSums) -> Self {
        let shares = |counts: &[NameCount]| counts.iter().map(Share::of).collect();
        let pause = |span: Option<PauseSpan>| {
            span.map(|PauseSpan { lasted_us, since }| Pause { lasted_us, since: since.into() })
        };
        Self {
            operations: shares(&sums.operations),
            names: shares(&sums.names),
            functions: shares(&sums.functions),
            largest: sums.largest.as_ref().map(|largest| Largest {
                bytes: largest.bytes,
                operation: largest.operation.clone(),
                at: largest.at.into(),
            }),
            fragmented: sums.fragmented,
            fragments: sums.fragments,
            unfinished: sums.unfinished,
            unreadable: sums.unreadable,
            calls: sums.calls.iter().map(Calls::of).collect(),
            tick_time_s: sums.tick_time_s,
            longest_silence: pause(sums.longest_silence),
            longest_stall: pause(sums.longest_stall),
        }
    }
}

impl Share {
    fn of(count: &NameCount) -> Self {
        Self { name: count.name.clone(), messages: count.messages, bytes: count.bytes }
    }
}

impl Calls {
    fn of(sums: &CallSums) -> Self {
        Self {
            kind: sums.kind.clone(),
            asked: sums.asked,
            answered: sums.answered,
            unanswered: sums.unanswered,
            given_up: sums.given_up,
            noproc: sums.noproc,
            down: sums.down,
            median_us: sums.median_us,
            p99_us: sums.p99_us,
            slowest: sums.slowest.map(|slowest| Slowest {
                latency_us: slowest.latency_us,
                request: slowest.request.into(),
                answer: slowest.answer.into(),
            }),
            oldest_unanswered: sums.oldest_unanswered.map(Into::into),
        }
    }
}

impl From<PacketRef> for PacketLink {
    fn from(mark: PacketRef) -> Self {
        Self { frame: mark.frame, input: None }
    }
}

impl Messages {
    /// All packet links, so that a renderer can add the names of their inputs.
    pub fn packet_links(&mut self) -> impl Iterator<Item = &mut PacketLink> {
        [&mut self.initiator, &mut self.acceptor].into_iter().flatten().flat_map(|account| {
            let largest = account.largest.as_mut().map(|largest| &mut largest.at);
            let pauses = [&mut account.longest_silence, &mut account.longest_stall];
            let pauses = pauses.into_iter().flatten().map(|pause| &mut pause.since);
            let calls = account.calls.iter_mut().flat_map(Calls::packet_links);
            largest.into_iter().chain(pauses).chain(calls)
        })
    }
}

impl Calls {
    fn packet_links(&mut self) -> impl Iterator<Item = &mut PacketLink> {
        let slowest = self.slowest.as_mut();
        let slowest = slowest.map(|slowest| [&mut slowest.request, &mut slowest.answer]);
        slowest.into_iter().flatten().chain(&mut self.oldest_unanswered)
    }
}
