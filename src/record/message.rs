//! `message`: one distribution message after the handshake; and the account of all of them in `session`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{ConnectionIds, Role, Wording, frame_number};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
pub use crate::wire::otp::Execution;
use crate::wire::term::{Atoms, Budget, Erlang, JsonTerm, Term};

/// A message on its way to the output: borrowed, and gone with the next segment.
#[derive(Clone, Copy, Debug)]
pub struct MessageEvent<'a> {
    /// The packet that brought its last byte.
    pub mark: PacketRef,
    /// The TCP connection.
    pub connection: &'a Arc<ConnectionIds>,
    /// What it says.
    pub wording: Wording<'a>,
}

impl<'a> MessageEvent<'a> {
    /// What it says, taken apart.
    pub fn message(&self) -> Message<'a> {
        self.wording.message()
    }
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
    /// Bytes of the message term; absent where the operation has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// The message term; only with `--payloads`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload<'a>>,
    /// What of it rules look at.
    #[serde(skip)]
    #[schemars(skip)]
    pub trigger: Option<RuleTrigger>,
}

impl Message<'_> {
    /// A message that says nothing but what it is.
    pub const fn new(from: Role, operation: &'static str) -> Self {
        Self {
            from,
            operation,
            from_pid: None,
            to: None,
            to_name: None,
            reference: None,
            reason: None,
            id: None,
            group_leader: None,
            mfa: None,
            options: None,
            flags: None,
            result: None,
            token: None,
            call: None,
            fragments: 1,
            payload_bytes: None,
            payload: None,
            trigger: None,
        }
    }
}

/// What a message may do that rules look at; not printed as such.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuleTrigger {
    /// Has the other node run what it is told.
    Execution(Execution),
    /// Has `global` on the other node disconnect, to prevent overlapping partitions.
    Disconnect,
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
    /// The term, or as much of it as is kept.
    pub term: Term<'a>,
    /// The atoms that it refers to by number, as far as they are known.
    pub atoms: &'a [Option<Arc<str>>],
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
            PayloadStyle::Erlang => serializer.collect_str(&self.erlang(PAYLOAD)),
            PayloadStyle::Json => {
                JsonTerm::within(self.term, self, Budget::ALL).serialize(serializer)
            }
        }
    }
}

impl Payload<'_> {
    /// It in Erlang's syntax.
    pub const fn erlang(&self, budget: Budget) -> Erlang<'_, Self> {
        Erlang::within(self.term, self, budget)
    }
}

impl Atoms for Payload<'_> {
    fn atom(&self, reference: u8) -> Option<&str> {
        self.atoms.get(usize::from(reference))?.as_deref()
    }
}

/// A payload as text: enough for a term of a few screens.
pub const PAYLOAD: Budget = Budget { bytes: 4096, terms: 4096, depth: 64 };

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
