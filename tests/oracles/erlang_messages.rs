//! Side by side with a real Erlang: the messages of every capture, their terms, and the accounts of them.
//!
//! `tests/support/frames.escript` reads the bytes of each direction on its own and prints what the emulator
//! makes of them; `terms.escript` reads back what is printed of them here. Both see a direction up to the
//! first byte that the capture lacks: what is found behind that, `messages_robust.rs` judges.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use crate::support::erlang;
use crate::support::streams::{Stream, Streams};
use crate::support::{corpus, streams};
use beamscope::capture::{CaptureFile, Item};
use beamscope::decode::Endpoint;
use beamscope::engine::{Config, Engine};
use beamscope::observe::messages::{FieldKind, MessageEvent, MessageView};
use beamscope::protocol::MessageDetail;
use beamscope::record::{self, Body, Event, EventSink, Role, Session};
use beamscope::wire::control::{Field, Operation};
use beamscope::wire::term::PrintLimits;

#[test]
fn messages_are_those_that_a_node_reads() {
    let captures = Mutex::new(Vec::new());
    corpus::check_all(|path| {
        let capture = Capture::read(path);
        captures.lock().unwrap().push(capture);
        Vec::new()
    });
    let captures = captures.into_inner().unwrap();
    let mut input = String::new();
    for (number, (_, stream)) in captures.iter().flat_map(|it| &it.streams).enumerate() {
        writeln!(input, "{number} {}", erlang::hex(&stream.bytes)).unwrap();
    }
    let Some(reported) = erlang::script("frames.escript", &[], input) else { return };
    let mut theirs = Theirs::read(&reported);
    let mut proven = Proven::default();
    let mut lines = String::new();
    let mut wrong = Vec::new();
    let mut first = 0;
    for capture in &captures {
        let directions: Vec<_> = (first..first + capture.streams.len())
            .map(|number| theirs.directions.remove(&number))
            .collect();
        first += capture.streams.len();
        let found = capture.compare(&directions, &mut lines, &mut proven);
        wrong.extend(found.into_iter().map(|what| format!("{}: {what}", capture.name)));
    }
    proven.terms = lines.lines().count();
    let reported = erlang::erlang(&["compare"], lines).unwrap();
    if reported != format!("same: {}, different: 0\n", proven.terms) {
        wrong.extend(reported.lines().take(20).map(|line| line.chars().take(800).collect()));
    }
    assert!(wrong.is_empty(), "{} captures:\n{}", captures.len(), wrong.join("\n"));
    println!("{proven:?}, references to atoms: {}", theirs.atoms);
    let Proven { messages, terms, accounts } = proven;
    assert!(messages > 500 && terms > 2000 && accounts > 20 && theirs.atoms > 2000);
}

/// How much was found to be the same.
#[derive(Debug, Default)]
struct Proven {
    messages: usize,
    terms: usize,
    accounts: usize,
}

/// One direction of a connection: the ends of that, as the originator and the responder, which of their
/// connections it is, and who sends.
type Place = (Endpoint, Endpoint, usize, Role);

/// What a capture holds, as bytes, and as this crate reads them.
struct Capture {
    name: String,
    ours: Ours,
    streams: Vec<(Place, Stream)>,
}

impl Capture {
    fn read(path: &Path) -> Self {
        let ours = Ours::read(path);
        let mut streams = Vec::new();
        let mut turns: HashMap<(Endpoint, Endpoint), usize> = HashMap::new();
        for mut connection in Streams::read(path).connections {
            let has_bytes = connection.streams.values().any(|stream| !stream.bytes.is_empty());
            let ends = ours.ends.iter().find(|ends| is_between(&connection, ends));
            let Some(ends) = ends.filter(|_| has_bytes) else { continue };
            let turn = turns.entry(*ends).or_default();
            for (end, role) in [(ends.0, Role::Initiator), (ends.1, Role::Acceptor)] {
                if let Some(stream) = connection.streams.remove(&end) {
                    streams.push(((ends.0, ends.1, *turn, role), stream));
                }
            }
            *turn += 1;
        }
        Self { name: path.file_name().unwrap().to_string_lossy().into(), ours, streams }
    }

    /// What the two sides differ in, but for terms: those become lines for Erlang to read back.
    fn compare(
        &self,
        theirs: &[Option<TheirDirection>],
        lines: &mut String,
        proven: &mut Proven,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for ((place, stream), their) in self.streams.iter().zip(theirs) {
            let Some(their) = their else { continue };
            let our = self.ours.messages.get(place).map_or(&[][..], |messages| messages);
            if our.len() < their.messages.len()
                || is_whole(stream, their) && our.len() > their.messages.len()
            {
                wrong.push(format!(
                    "{place:?}: {} messages of {}",
                    our.len(),
                    their.messages.len()
                ));
            }
            for (number, (our, their)) in our.iter().zip(&their.messages).enumerate() {
                let differences = our.differences(their, lines);
                wrong.extend(differences.into_iter().map(|it| format!("{place:?} {number}: {it}")));
            }
            proven.messages += their.messages.len();
        }
        wrong.extend(self.compare_accounts(theirs, proven));
        wrong
    }

    /// The accounts of connections that are here as wholes.
    fn compare_accounts(
        &self,
        theirs: &[Option<TheirDirection>],
        proven: &mut Proven,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let of = |place: Place| self.streams.iter().position(|(known, _)| *known == place);
        for ((place, stream), own) in self.streams.iter().zip(theirs) {
            let (from, to, turn, role) = *place;
            let Some(session) = self.ours.sessions.get(&(from, to, turn)) else { continue };
            let Some(peer) = of((from, to, turn, role.peer())) else { continue };
            let (Some(own), Some(other)) = (own, &theirs[peer]) else { continue };
            if !is_whole(stream, own) || !is_whole(&self.streams[peer].1, other) {
                continue;
            }
            let traffic = [&session.traffic.initiator, &session.traffic.acceptor][role.index()];
            if traffic.ticks != own.ticks {
                wrong.push(format!("{place:?}: {} ticks of {}", traffic.ticks, own.ticks));
            }
            let messages = session.messages.as_ref();
            let our = match role {
                Role::Initiator => messages.and_then(|messages| messages.initiator.as_ref()),
                Role::Acceptor => messages.and_then(|messages| messages.acceptor.as_ref()),
            };
            let our = our.map_or_else(|| account_of(&record::Account::default()), account_of);
            let their = own.account(other);
            if our != their {
                wrong.push(format!("{place:?}:\n  {our}\n  {their} by Erlang"));
            }
            proven.accounts += 1;
        }
        wrong
    }
}

/// Whether the script has seen everything there is.
const fn is_whole(stream: &Stream, direction: &TheirDirection) -> bool {
    !stream.hole && !stream.cut && !direction.is_refused
}

fn is_between(connection: &streams::Connection, ends: &(Endpoint, Endpoint)) -> bool {
    connection.streams.keys().all(|end| *end == ends.0 || *end == ends.1)
}

/// An account without frame numbers and times.
fn account_of(account: &record::Account) -> String {
    let shares = |shares: &[record::Share]| {
        let shares = shares.iter().map(|it| format!("{} {} {}", it.name, it.messages, it.bytes));
        shares.collect::<Vec<_>>()
    };
    let calls: Vec<_> = account
        .calls
        .iter()
        .map(|it| {
            let counts = [it.asked, it.answered, it.unanswered, it.given_up, it.noproc, it.down];
            format!("{} {counts:?}", it.kind)
        })
        .collect();
    format!(
        "{:?} {:?} {:?} {:?} {} {} {} {} {calls:?}",
        shares(&account.operations),
        shares(&account.names),
        shares(&account.functions),
        account.largest.as_ref().map(|it| (it.bytes, &*it.operation)),
        account.fragmented,
        account.fragments,
        account.unfinished,
        account.unreadable,
    )
}

/// What this crate makes of a capture.
#[derive(Default)]
struct Ours {
    messages: HashMap<Place, Vec<OurMessage>>,
    sessions: HashMap<(Endpoint, Endpoint, usize), Box<Session>>,
    ends: Vec<(Endpoint, Endpoint)>,
    /// The connections of a pair of ends, in order.
    names: HashMap<(Endpoint, Endpoint), Vec<String>>,
}

/// A message that outlives its event.
struct OurMessage {
    operation: &'static str,
    fields: Vec<(Field, String)>,
    reason: Option<String>,
    /// Kind, tag and function of a call.
    call: Option<(&'static str, Option<String>, String)>,
    fragments: u32,
    payload_bytes: Option<u64>,
    /// The payload as text, or its first bytes where it is cut.
    payload: Option<Result<String, Vec<u8>>>,
}

impl Ours {
    fn read(path: &Path) -> Self {
        let messages = MessageDetail::Payloads;
        let config = Config { messages, ..Config::default() };
        let mut pipeline = Engine::new(config, Self::default());
        let mut capture = CaptureFile::open(path, 0).unwrap();
        while let Some(item) = capture.next_item().unwrap() {
            if let Item::Frame(frame) = item {
                pipeline.push_frame(&frame);
            }
        }
        pipeline.finish()
    }

    fn place(&mut self, ids: &record::ConnectionIds) -> (Endpoint, Endpoint, usize) {
        let ends = (
            Endpoint { ip: ids.src_ip, port: ids.src_port },
            Endpoint { ip: ids.dest_ip, port: ids.dest_port },
        );
        if !self.ends.contains(&ends) {
            self.ends.push(ends);
        }
        let names = self.names.entry(ends).or_default();
        let turn = names.iter().position(|name| **name == *ids.session_id);
        let turn = turn.unwrap_or_else(|| {
            names.push(ids.session_id.to_string());
            names.len() - 1
        });
        (ends.0, ends.1, turn)
    }
}

impl EventSink for Ours {
    fn event(&mut self, event: Event) {
        let Some(ids) = &event.connection else { return };
        match event.body {
            Body::Session { session } => {
                let place = self.place(ids);
                self.sessions.insert(place, session);
            }
            Body::Handshake { .. } => {
                self.place(ids);
            }
            _ => {}
        }
    }

    fn message(&mut self, event: &MessageEvent<'_>) {
        let (from, to, turn) = self.place(event.connection);
        let message = &event.message;
        let messages = self.messages.entry((from, to, turn, message.meta.from)).or_default();
        messages.push(OurMessage::new(message));
    }
}

impl OurMessage {
    fn new(message: &MessageView<'_>) -> Self {
        let meta = message.meta;
        let all = [
            Field::From,
            Field::To,
            Field::ToName,
            Field::Reference,
            Field::Id,
            Field::GroupLeader,
            Field::Mfa,
            Field::Options,
            Field::Flags,
            Field::Result,
            Field::Token,
        ];
        let text = |field| message.text(FieldKind::of(field)?);
        let call = meta.call.map(|call| {
            let (module, name) =
                (message.text(FieldKind::Module), message.text(FieldKind::Function));
            let function = module.zip(name).map_or_else(
                || "-".to_owned(),
                |(module, name)| {
                    let arity = message.text(FieldKind::Arity).unwrap_or("?");
                    format!("{module}:{name}/{arity}")
                },
            );
            (call.name(), message.text(FieldKind::Tag).map(str::to_owned), function)
        });
        let payload = message.payload.map(|payload| {
            let bytes = payload.term.bytes();
            if Some(bytes.len() as u64) == meta.payload_bytes {
                Ok(payload.erlang(PrintLimits::ALL).to_string())
            } else {
                Err(bytes.to_vec())
            }
        });
        Self {
            operation: meta.operation_name(),
            fields: all
                .into_iter()
                .filter_map(|field| Some((field, text(field)?.into())))
                .collect(),
            reason: message.text(FieldKind::Reason).map(str::to_owned),
            call,
            fragments: meta.fragments,
            payload_bytes: meta.payload_bytes,
            payload,
        }
    }

    /// Compares with Erlang's result, except for terms: those become lines for Erlang to read back.
    fn differences(&self, their: &TheirMessage, lines: &mut String) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut same = |what: &str, our: &dyn std::fmt::Debug, their: &dyn std::fmt::Debug| {
            let (our, their) = (format!("{our:?}"), format!("{their:?}"));
            if our != their {
                wrong.push(format!("{what} {our}, by Erlang {their}"));
            }
        };
        same("operation", &Some(self.operation), &their.operation.name());
        same("frames", &self.fragments, &their.fragments);
        same("payload bytes", &self.payload_bytes, &their.payload_bytes);
        same("reason", &self.reason.as_deref().unwrap_or("-"), &&*their.reason);
        let kind = self.call.as_ref().map_or("-", |(kind, ..)| kind);
        same("kind", &kind, &if their.kind == "demonitor" { "-" } else { &*their.kind });
        let function = self.call.as_ref().map_or("-", |(.., function)| function);
        same("function", &function, &&*their.function.replace('\'', ""));
        let tag = self.call.as_ref().and_then(|(_, tag, _)| tag.as_ref());
        let has_tag = their.tag != "-" && their.kind != "demonitor";
        same("tag", &tag.is_some(), &has_tag);
        if let Some(tag) = tag {
            writeln!(lines, "{}|{tag}", their.tag).unwrap();
        }
        let order = their.operation.fields().unwrap_or_default();
        let reported: Vec<_> = order
            .iter()
            .zip(&their.fields)
            .filter(|(field, _)| !matches!(field, Field::Unused | Field::Reason))
            .collect();
        same("fields", &self.fields.len(), &reported.len());
        for (field, hex) in reported {
            match self.fields.iter().find(|(known, _)| known == field) {
                Some((_, text)) => writeln!(lines, "{hex}|{text}").unwrap(),
                None => wrong.push(format!("no {field:?}")),
            }
        }
        match &self.payload {
            Some(Ok(text)) => writeln!(lines, "{}|{text}", their.payload).unwrap(),
            // Cut: as much of it as a fragment has.
            Some(Err(bytes)) if bytes.len() < 60_000 => {
                wrong.push(format!("{} bytes of the payload", bytes.len()));
            }
            Some(Err(_)) => {}
            None if their.payload_bytes.is_some() => wrong.push("no payload".into()),
            None => {}
        }
        wrong
    }
}

/// What Erlang makes of the directions.
#[derive(Default)]
struct Theirs {
    directions: HashMap<usize, TheirDirection>,
    atoms: usize,
}

#[derive(Default)]
struct TheirDirection {
    messages: Vec<TheirMessage>,
    /// Operations of messages that never became whole, and their bytes.
    unfinished: Vec<(Operation, u64)>,
    ticks: u64,
    /// A frame was none.
    is_refused: bool,
}

struct TheirMessage {
    operation: Operation,
    bytes: u64,
    fragments: u32,
    payload_bytes: Option<u64>,
    /// In hexadecimal.
    fields: Vec<String>,
    payload: String,
    name: Option<String>,
    kind: String,
    tag: String,
    function: String,
    reason: String,
}

impl Theirs {
    fn read(reported: &str) -> Self {
        let mut theirs = Self::default();
        for line in reported.lines() {
            let parts: Vec<&str> = line.split('|').collect();
            let direction = theirs.directions.entry(parts[0].parse().unwrap()).or_default();
            let operation = |text: &str| Operation(text.parse().unwrap());
            let some = |text: &str| (text != "-").then(|| text.to_owned());
            match parts[1..] {
                ["atoms", count] => theirs.atoms += count.parse::<usize>().unwrap(),
                ["unfinished", op, bytes] => {
                    direction.unfinished.push((operation(op), bytes.parse().unwrap()));
                }
                ["refused"] => direction.is_refused = true,
                ["end", ticks, _] => direction.ticks = ticks.parse().unwrap(),
                [
                    op,
                    bytes,
                    fragments,
                    payload_bytes,
                    fields,
                    payload,
                    name,
                    kind,
                    tag,
                    function,
                    reason,
                ] => {
                    direction.messages.push(TheirMessage {
                        operation: operation(op),
                        bytes: bytes.parse().unwrap(),
                        fragments: fragments.parse().unwrap(),
                        payload_bytes: payload_bytes.parse().ok(),
                        fields: fields.split(',').map(str::to_owned).collect(),
                        payload: payload.into(),
                        name: some(name),
                        kind: kind.into(),
                        tag: tag.into(),
                        function: function.into(),
                        reason: reason.into(),
                    });
                }
                _ => panic!("{line}"),
            }
        }
        theirs
    }
}

impl TheirDirection {
    /// As [`account_of`] writes it.
    fn account(&self, peer: &Self) -> String {
        let mut operations = BTreeMap::new();
        let (mut names, mut functions) = (BTreeMap::new(), BTreeMap::new());
        let add = |counts: &mut BTreeMap<String, (u64, u64)>, name: &str, bytes: u64| {
            let count = counts.entry(name.to_owned()).or_default();
            count.0 += 1;
            count.1 += bytes;
        };
        let mut largest: Option<(u64, &str)> = None;
        for message in &self.messages {
            let operation = message.operation.name().unwrap();
            add(&mut operations, operation, message.bytes);
            if let Some(name) = &message.name {
                add(&mut names, name, message.bytes);
            }
            if message.function != "-" {
                add(&mut functions, &message.function, message.bytes);
            }
            if largest.is_none_or(|(bytes, _)| message.bytes > bytes) {
                largest = Some((message.bytes, operation));
            }
        }
        for (operation, bytes) in &self.unfinished {
            add(&mut operations, operation.name().unwrap(), *bytes);
        }
        let fragmented: Vec<_> =
            self.messages.iter().filter(|message| message.fragments > 1).collect();
        let fragments: u32 = fragmented.iter().map(|message| message.fragments).sum();
        let busiest = |counts: BTreeMap<String, (u64, u64)>, most: usize| {
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
            counts.truncate(most);
            let texts =
                counts.iter().map(|(name, (messages, bytes))| format!("{name} {messages} {bytes}"));
            texts.collect::<Vec<_>>()
        };
        format!(
            "{:?} {:?} {:?} {largest:?} {} {fragments} {} 0 {:?}",
            busiest(operations, usize::MAX),
            busiest(names, 10),
            busiest(functions, 10),
            fragmented.len() + self.unfinished.len(),
            self.unfinished.len(),
            self.calls(peer),
        )
    }

    /// What came of requests: asked, answered, unanswered, given up, no process, ended.
    fn calls(&self, peer: &Self) -> Vec<String> {
        let kinds = [
            ("gen_call", &["gen_call"][..]),
            ("rpc", &["rpc_call", "erpc_call"]),
            ("spawn", &["spawn"]),
        ];
        let mut reported = Vec::new();
        for (kind, asking) in kinds {
            let asked: Vec<_> =
                self.messages.iter().filter(|it| asking.contains(&&*it.kind)).collect();
            let mut counts = [asked.len() as u64, 0, 0, 0, 0, 0];
            for request in &asked {
                let answer = peer.messages.iter().find(|it| {
                    it.tag == request.tag
                        && (matches!(&*it.kind, "gen_reply" | "down")
                            || it.kind == "spawn_reply"
                                && (kind == "spawn" || it.failed_to_spawn()))
                });
                let given_up =
                    self.messages.iter().any(|it| it.kind == "demonitor" && it.tag == request.tag);
                let place = match answer.map(|it| (&*it.kind, &*it.reason)) {
                    Some(("down", reason))
                        if reason.trim_start_matches('{').starts_with("noproc") =>
                    {
                        4
                    }
                    // `erpc` gives its result as the reason, which begins with a reference.
                    Some(("down", "{…}")) if kind == "rpc" => 1,
                    Some(("down", _)) => 5,
                    Some(("spawn_reply", _)) if answer.unwrap().failed_to_spawn() => 5,
                    Some(_) => 1,
                    None if given_up => 3,
                    None => 2,
                };
                counts[place] += 1;
            }
            if counts[0] > 0 {
                reported.push(format!("{kind} {counts:?}"));
            }
        }
        reported
    }
}

impl TheirMessage {
    /// The result of a spawn is an atom and no pid: `83 77` or `83 64` in hexadecimal.
    fn failed_to_spawn(&self) -> bool {
        self.fields
            .get(3)
            .is_some_and(|result| result.starts_with("8377") || result.starts_with("8364"))
    }
}
