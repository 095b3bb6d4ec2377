//! Scripts of frames that two nodes send, and the messages that are decoded from them.

#![expect(clippy::cast_possible_truncation, reason = "test messages are short")]

use std::time::Duration;

use super::*;
use crate::observe::messages::{FieldKind, MessageView};
use crate::observe::{CallSums as CallStats, NameCount};
use crate::packet::FrameRef;
use crate::wire::term::{Erlang, NoAtoms, PrintLimits};

use Direction::{HighToLow, LowToHigh};

/// Both sides of a connection, behind the handshake.
struct TwoNodes {
    up: MessageStream,
    down: MessageStream,
    calls: Option<Box<PendingCalls>>,
    pool: MemoryBudget,
    batch: MessageBatch,
    detail: MessageDetail,
    at: Timestamp,
    frame: u64,
}

impl TwoNodes {
    fn new() -> Self {
        Self::with(1 << 20)
    }

    fn with(room: usize) -> Self {
        let pool = MemoryBudget::new(room);
        Self {
            up: MessageStream::new(&pool),
            down: MessageStream::new(&pool),
            calls: None,
            pool,
            batch: MessageBatch::default(),
            detail: MessageDetail::Payloads,
            at: Timestamp::new(100, 0),
            frame: 0,
        }
    }

    /// Decodes a packet of one side, a millisecond after the one before, and describes its messages.
    fn send(&mut self, direction: Direction, bytes: &[u8]) -> Vec<String> {
        self.at = self.at.after(Duration::from_millis(1));
        self.frame += 1;
        self.batch.clear();
        let mut context = FrameContext {
            direction,
            from: if direction == LowToHigh { Role::Initiator } else { Role::Acceptor },
            mark: &PacketRef { frame: FrameRef { input: 0, number: self.frame }, at: self.at },
            detail: self.detail,
            calls: &mut self.calls,
            batch: &mut self.batch,
            pool: &self.pool,
        };
        let stream = if direction == LowToHigh { &mut self.up } else { &mut self.down };
        assert_eq!(stream.read(&mut &bytes[..], &mut context), FrameScanEnd::AllRead);
        self.batch.iter().map(|message| short(&message)).collect()
    }

    fn calls(&mut self, direction: Direction) -> Vec<CallStats> {
        let Some(calls) = &mut self.calls else { return Vec::new() };
        std::mem::take(&mut calls.settle()[direction])
    }

    /// Asked, answered, unanswered, given up, no process, ended; the kinds are leaked to compare them with literals.
    fn counts(&mut self, direction: Direction) -> Vec<(&'static str, [u64; 6])> {
        let calls = self.calls(direction).into_iter();
        let counts = |it: &CallStats| {
            [it.asked, it.answered, it.unanswered, it.given_up, it.noproc, it.down]
        };
        calls.map(|it| (&*it.kind.to_string().leak(), counts(&it))).collect()
    }
}

/// Operation, receiver, reason, call with latency, frames, and payload.
fn short(message: &MessageView<'_>) -> String {
    let meta = message.meta;
    let mut text = meta.operation_name().to_owned();
    for kind in [FieldKind::To, FieldKind::ToName, FieldKind::Reason] {
        message.text(kind).into_iter().for_each(|part| text += &format!(" {part}"));
    }
    if let Some(call) = meta.call {
        text += &format!(" ({}", call.name());
        let latency = message.text(FieldKind::LatencyUs);
        latency.into_iter().for_each(|latency| text += &format!(" {latency}"));
        text += ")";
    }
    if meta.fragments > 1 {
        text += &format!(" in {}", meta.fragments);
    }
    if let (Some(payload), Some(bytes)) = (message.payload, meta.payload_bytes) {
        text += &format!(" {bytes}: {}", payload.erlang(PrintLimits::ALL));
    }
    text
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// A frame without references.
fn frame(control: &[u8], payload: &[u8]) -> Vec<u8> {
    framed(&[b"\x83D\0", control, payload])
}

fn first(sequence: u64, left: u64, control: &[u8], payload: &[u8]) -> Vec<u8> {
    framed(&[b"\x83E", &sequence.to_be_bytes(), &left.to_be_bytes(), b"\0", control, payload])
}

fn next(sequence: u64, left: u64, payload: &[u8]) -> Vec<u8> {
    framed(&[b"\x83F", &sequence.to_be_bytes(), &left.to_be_bytes(), payload])
}

fn atom(name: &str) -> Vec<u8> {
    [&[119, name.len() as u8][..], name.as_bytes()].concat()
}

fn tuple(elements: &[&[u8]]) -> Vec<u8> {
    [&[104, elements.len() as u8][..], &elements.concat()].concat()
}

fn pid(id: u8) -> Vec<u8> {
    [&[88][..], &atom("a@h"), &[0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 1]].concat()
}

fn reference(id: u8) -> Vec<u8> {
    [&[90, 0, 1][..], &atom("a@h"), &[0, 0, 0, 1, 0, 0, 0, id]].concat()
}

fn send(to: u8) -> Vec<u8> {
    tuple(&[&[97, 22], &pid(1), &pid(to)])
}

fn reg_send(name: &str) -> Vec<u8> {
    tuple(&[&[97, 6], &pid(1), &atom(""), &atom(name)])
}

fn call(id: u8) -> Vec<u8> {
    let message = tuple(&[&atom("$gen_call"), &tuple(&[&pid(1), &reference(id)]), &atom("get")]);
    frame(&reg_send("store"), &message)
}

fn reply(id: u8) -> Vec<u8> {
    frame(&send(1), &tuple(&[&reference(id), &atom("ok")]))
}

fn down(id: u8, reason: &[u8]) -> Vec<u8> {
    frame(&tuple(&[&[97, 28], &pid(2), &pid(1), &reference(id)]), reason)
}

fn demonitor(id: u8) -> Vec<u8> {
    frame(&tuple(&[&[97, 20], &pid(1), &atom("store"), &reference(id)]), b"")
}

/// `BINARY_EXT` of eight bytes, in two halves.
const HALVES: [&[u8]; 2] = [b"m\0\0\0\x08abcd", b"efgh"];

#[test]
fn fragments_of_several_messages_interleave_in_any_way() {
    let of = |sequence: u64, to: u8| {
        [
            first(sequence, 3, &send(to), HALVES[0]),
            next(sequence, 2, b"ef"),
            next(sequence, 1, b"gh"),
        ]
    };
    let fragments = [of(7, 7), of(8, 8), of(9, 9)];
    let lines = |to: u8| format!("SEND_SENDER <a@h.{to}.0> in 3 13: <<\"abcdefgh\">>");
    // Which train goes on next, in each order of nine turns of three.
    let mut orders = vec![vec![]];
    for _ in 0..9 {
        orders = orders
            .iter()
            .flat_map(|order: &Vec<usize>| (0..3).map(|train| [&order[..], &[train]].concat()))
            .filter(|order| {
                (0..3).all(|train| order.iter().filter(|it| **it == train).count() <= 3)
            })
            .collect();
    }
    assert_eq!(orders.len(), 1680);
    for order in orders.iter().step_by(17) {
        let mut nodes = TwoNodes::new();
        let (mut place, mut expected, mut found) = ([0; 3], Vec::new(), Vec::new());
        for train in order {
            found.extend(nodes.send(LowToHigh, &fragments[*train][place[*train]]));
            place[*train] += 1;
            if place[*train] == 3 {
                expected.push(lines(7 + *train as u8));
            }
        }
        assert_eq!(found, expected, "{order:?}");
        let sums = nodes.up.sums(nodes.at).unwrap();
        assert_eq!((sums.fragmented, sums.fragments, sums.unfinished), (3, 9, 0));
    }
}

#[test]
fn native_records_are_found_where_they_are_looked_for() {
    let module = [&atom("m")[..], &atom("r"), &atom("f")].concat();
    let record = [b"\x43\0\0\0\x01\x01", &module[..], &[97, 7]].concat();
    let inside = tuple(&[&pid(1), HALVES.concat().as_slice(), &record]);
    // A binary with the bytes of one is none.
    let binary = [b"m\0\0\0", &[record.len() as u8][..], &record].concat();
    let messages = [atom("ok"), binary, inside, record];
    let found = |finds: bool| {
        let mut nodes = TwoNodes::new();
        if finds {
            nodes.up.find_records();
        }
        for message in &messages {
            nodes.send(LowToHigh, &frame(&send(2), message));
        }
        nodes.up.records().map(|it| [it.first, it.last].map(|mark| mark.frame.number))
    };
    assert_eq!((found(true), found(false)), (Some([3, 4]), None));
}

#[test]
fn messages_and_ticks_pass_between_fragments() {
    let mut nodes = TwoNodes::new();
    let stream = [
        first(7, 2, &send(7), HALVES[0]),
        vec![0; 4],
        frame(&send(2), &atom("ok")),
        next(7, 1, HALVES[1]),
    ];
    let expected =
        ["SEND_SENDER <a@h.2.0> 4: ok", "SEND_SENDER <a@h.7.0> in 2 13: <<\"abcdefgh\">>"];
    assert_eq!(nodes.send(LowToHigh, &stream.concat()), expected);
    assert_eq!((nodes.up.messages(), nodes.up.ticks()), (2, 1));
}

#[test]
fn a_fragment_out_of_order_ends_its_message_and_no_other() {
    let mut nodes = TwoNodes::new();
    nodes.send(
        LowToHigh,
        &[first(7, 3, &send(7), HALVES[0]), first(8, 2, &send(8), HALVES[0])].concat(),
    );
    assert!(nodes.send(LowToHigh, &next(7, 1, b"gh")).is_empty());
    assert!(
        nodes
            .send(LowToHigh, &[next(7, 2, b"ef"), next(7, 1, b"gh"), next(9, 1, b"gh")].concat())
            .is_empty()
    );
    assert_eq!(nodes.send(LowToHigh, &next(8, 1, HALVES[1])).len(), 1);
    let sums = nodes.up.sums(nodes.at).unwrap();
    assert_eq!((sums.unfinished, sums.unreadable), (1, 4));
}

#[test]
fn a_sender_that_begins_another_message_leaves_the_one_before() {
    let mut nodes = TwoNodes::new();
    nodes.send(LowToHigh, &first(7, 3, &send(7), HALVES[0]));
    nodes.send(LowToHigh, &first(7, 2, &send(8), HALVES[0]));
    let lines = nodes.send(LowToHigh, &next(7, 1, HALVES[1]));
    assert_eq!(lines, ["SEND_SENDER <a@h.8.0> in 2 13: <<\"abcdefgh\">>"]);
    assert_eq!(nodes.up.sums(nodes.at).unwrap().unfinished, 1);
}

#[test]
fn a_first_fragment_may_be_the_last() {
    let lines = TwoNodes::new().send(LowToHigh, &first(7, 1, &send(7), &HALVES.concat()));
    assert_eq!(lines, ["SEND_SENDER <a@h.7.0> 13: <<\"abcdefgh\">>"]);
}

#[test]
fn names_and_functions_have_the_bytes_of_all_fragments() {
    let mut nodes = TwoNodes::new();
    let mfa = tuple(&[&atom("m"), &atom("f"), &[97, 1]]);
    let spawn = tuple(&[&[97, 29], &reference(1), &pid(1), &pid(1), &mfa, &[106]]);
    let stream = [
        first(7, 2, &reg_send("store"), HALVES[0]),
        next(7, 1, HALVES[1]),
        first(7, 2, &spawn, HALVES[0]),
        next(7, 1, HALVES[1]),
    ];
    nodes.send(LowToHigh, &stream.concat());
    let sums = nodes.up.sums(nodes.at).unwrap();
    let bytes = |frames: &[Vec<u8>]| frames.concat().len() as u64;
    let share = |share: &NameCount| (share.name.to_string(), share.messages, share.bytes);
    assert_eq!(share(&sums.names[0]), ("store".to_owned(), 1, bytes(&stream[..2])));
    assert_eq!(share(&sums.functions[0]), ("m:f/1".to_owned(), 1, bytes(&stream[2..])));
    assert_eq!(sums.largest.unwrap().bytes, bytes(&stream[2..]));
}

#[test]
fn in_pass_through_each_term_has_a_version_byte() {
    let mut nodes = TwoNodes::new();
    let to_rex = framed(&[b"p\x83", &reg_send("rex"), b"\x83", &atom("ok")]);
    let link = framed(&[b"p\x83", &tuple(&[&[97, 1], &pid(1), &pid(2)])]);
    assert_eq!(
        nodes.send(LowToHigh, &[to_rex, link].concat()),
        ["REG_SEND rex 4: ok", "LINK <a@h.2.0>"]
    );
}

#[test]
fn atoms_that_were_not_seen_are_shown_by_their_number() {
    let control = tuple(&[&[97, 6], &pid(1), &atom(""), b"R\x01"]);
    let known = framed(&[b"\x83D\x02\x88\0\x07\x03rex\x09\x02ok", &control, b"R\0"]);
    let again = framed(&[b"\x83D\x02\0\0\x09\x07", &control, b"R\0"]);
    let mut nodes = TwoNodes::new();
    assert_eq!(nodes.send(LowToHigh, &again), ["REG_SEND #1 2: #0"], "joined late");
    assert_eq!(nodes.send(LowToHigh, &known), ["REG_SEND ok 2: rex"]);
    assert_eq!(nodes.send(LowToHigh, &again), ["REG_SEND rex 2: ok"]);
    assert_eq!(
        nodes.send(HighToLow, &again),
        ["REG_SEND #1 2: #0"],
        "the other direction has its own"
    );
    assert!(!nodes.up.gap(100));
    assert_eq!(nodes.send(LowToHigh, &again), ["REG_SEND #1 2: #0"], "bytes were lost");
    assert_eq!(nodes.send(LowToHigh, &known), ["REG_SEND ok 2: rex"]);
}

#[test]
fn fragments_refer_to_the_atoms_of_their_first_header() {
    let first = framed(&[
        &[b"\x83E", &7_u64.to_be_bytes()[..], &2_u64.to_be_bytes()].concat(),
        b"\x01\x08\x07\x03rex",
        &send(2),
        b"h\x02R\0",
    ]);
    let other = framed(&[b"\x83D\x01\x08\x07\x02no", &send(3), b"R\0"]);
    let mut nodes = TwoNodes::new();
    nodes.send(LowToHigh, &first);
    assert_eq!(nodes.send(LowToHigh, &other), ["SEND_SENDER <a@h.3.0> 2: no"]);
    assert_eq!(
        nodes.send(LowToHigh, &next(7, 1, b"R\0")),
        ["SEND_SENDER <a@h.2.0> in 2 6: {rex,rex}"]
    );
}

#[test]
fn a_hole_in_a_message_loses_its_end_and_one_across_it_all_that_is_under_way() {
    let mut nodes = TwoNodes::new();
    let long = frame(&send(2), &[b"m\0\0\x10\0", &[7; 4096][..]].concat());
    nodes.send(LowToHigh, &long[..2000]);
    assert!(nodes.up.gap(long.len() as u64 - 2000));
    assert_eq!(nodes.send(LowToHigh, &frame(&send(3), &atom("ok"))).len(), 2);
    nodes.send(LowToHigh, &first(7, 2, &send(7), HALVES[0]));
    nodes.send(LowToHigh, &long[..2000]);
    assert!(!nodes.up.gap(long.len() as u64));
    assert!(nodes.send(LowToHigh, &next(7, 1, HALVES[1])).is_empty());
    let sums = nodes.up.sums(nodes.at).unwrap();
    assert_eq!((sums.unfinished, sums.unreadable), (1, 1));
}

#[test]
fn calls_and_replies_are_paired_by_reference() {
    let mut nodes = TwoNodes::new();
    nodes.send(LowToHigh, &[call(1), call(2), call(3)].concat());
    let lines = nodes.send(HighToLow, &[reply(2), reply(9)].concat());
    assert!(lines[0].starts_with("SEND_SENDER <a@h.1.0> (gen_reply 1000)"), "{lines:?}");
    assert!(lines[1].starts_with("SEND_SENDER <a@h.1.0> (gen_reply)"), "{lines:?}");
    nodes.send(HighToLow, &down(1, &tuple(&[&atom("shutdown"), &[106]])));
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [3, 1, 1, 0, 0, 1])]);
    assert!(nodes.counts(HighToLow).is_empty());
    let calls = nodes.calls(LowToHigh);
    let slowest = calls[0].slowest.as_ref().unwrap();
    assert_eq!(slowest.latency_us, 1000);
    assert!(calls[0].oldest_unanswered.is_some());
}

#[test]
fn a_missing_process_and_a_caller_that_gives_up_are_counted_separately() {
    let mut nodes = TwoNodes::new();
    nodes.send(LowToHigh, &[call(1), call(2)].concat());
    nodes.send(HighToLow, &down(1, &atom("noproc")));
    nodes.send(LowToHigh, &demonitor(1));
    nodes.send(LowToHigh, &demonitor(2));
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [2, 0, 0, 1, 1, 0])]);
    // Far too late.
    nodes.at = nodes.at.after(Duration::from_secs(5));
    nodes.send(HighToLow, &reply(2));
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [2, 0, 0, 1, 1, 0])]);
}

#[test]
fn packets_of_the_two_sides_may_be_out_of_order() {
    let mut nodes = TwoNodes::new();
    nodes.send(HighToLow, &reply(1));
    nodes.send(LowToHigh, &call(1));
    nodes.send(LowToHigh, &[call(2), demonitor(2)].concat());
    nodes.send(HighToLow, &reply(2));
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [2, 2, 0, 0, 0, 0])]);
    nodes.send(HighToLow, &reply(3));
    nodes.at = nodes.at.after(Duration::from_secs(5));
    nodes.send(LowToHigh, &call(3));
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [3, 2, 1, 0, 0, 0])]);
}

#[test]
fn calls_are_counted_the_same_whether_paired_one_by_one_or_in_batches() {
    let mut random = 1_u32;
    let mut next = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from((random >> 8) % below).unwrap()
    };
    for _ in 0..20 {
        let mut pairs = [MessageDetail::None, MessageDetail::Operations]
            .map(|detail| TwoNodes { detail, ..TwoNodes::new() });
        for _ in 0..400 {
            let (id, direction) = (next(40), if next(2) == 0 { LowToHigh } else { HighToLow });
            let bytes = match next(9) {
                0..4 => call(id),
                4..7 => reply(id),
                7 => down(id, &atom("noproc")),
                _ => demonitor(id),
            };
            let pause = Duration::from_millis(u64::from(next(60)));
            for nodes in &mut pairs {
                nodes.at = nodes.at.after(pause);
                nodes.send(direction, &bytes);
            }
        }
        let [together, one_by_one] = &mut pairs;
        for direction in [LowToHigh, HighToLow] {
            let (together, one_by_one) = (together.calls(direction), one_by_one.calls(direction));
            assert!(one_by_one[0].answered > 0 && one_by_one[0].given_up > 0);
            assert_eq!(format!("{together:?}"), format!("{one_by_one:?}"));
        }
    }
}

#[test]
fn a_call_by_spawning_is_answered_by_what_it_comes_to() {
    let mfa = |module: &str| tuple(&[&atom(module), &atom("execute_call"), &[97, 4]]);
    let arguments =
        [b"l\0\0\0\x04", &reference(9)[..], &atom("m"), &atom("f"), &[106, 106]].concat();
    let spawn = |id: u8, module: &str| {
        let control = tuple(&[&[97, 29], &reference(id), &pid(1), &pid(1), &mfa(module), &[106]]);
        frame(&control, &arguments)
    };
    let spawned = |id: u8, result: &[u8]| {
        frame(&tuple(&[&[97, 31], &reference(id), &pid(1), &[97, 2], result]), b"")
    };
    let mut nodes = TwoNodes::new();
    nodes.send(LowToHigh, &[spawn(1, "erpc"), spawn(2, "erpc"), spawn(3, "other")].concat());
    let result = tuple(&[&reference(9), &atom("return"), &[97, 1]]);
    nodes.send(HighToLow, &[spawned(1, &pid(5)), down(1, &result)].concat());
    nodes.send(HighToLow, &spawned(2, &atom("badarg")));
    nodes.send(HighToLow, &spawned(3, &pid(6)));
    let expected = [("rpc", [2, 1, 0, 0, 0, 1]), ("spawn", [1, 1, 0, 0, 0, 0])];
    assert_eq!(nodes.counts(LowToHigh), expected);
    // The other way round, as a capture may have it.
    nodes.send(HighToLow, &[spawned(4, &pid(5)), down(4, &result)].concat());
    nodes.send(LowToHigh, &spawn(4, "erpc"));
    assert_eq!(nodes.counts(LowToHigh)[0], ("rpc", [3, 2, 0, 0, 0, 1]));
}

#[test]
fn reasons_are_shown_by_their_shape() {
    let exit = |reason: &[u8]| {
        let lines =
            TwoNodes::new().send(LowToHigh, &frame(&tuple(&[&[97, 24], &pid(1), &pid(2)]), reason));
        lines[0].split(' ').nth(2).unwrap().to_owned()
    };
    assert_eq!(exit(&atom("killed")), "killed");
    assert_eq!(exit(&tuple(&[&atom("badmatch"), b"m\0\0\0\x06secret"])), "{badmatch,…}");
    assert_eq!(exit(&tuple(&[b"m\0\0\0\x06secret", &atom("a")])), "{…}");
    assert_eq!(exit(b"m\0\0\0\x06secret"), "…");
    assert_eq!(exit(b"k\0\x06secret"), "[…]");
}

#[test]
fn payloads_that_are_not_printed_are_not_kept() {
    let mut nodes = TwoNodes { detail: MessageDetail::Operations, ..TwoNodes::new() };
    let lines =
        nodes.send(LowToHigh, &[first(7, 2, &send(7), HALVES[0]), next(7, 1, HALVES[1])].concat());
    assert_eq!(lines, ["SEND_SENDER <a@h.7.0> in 2"]);
    let mut nodes = TwoNodes { detail: MessageDetail::None, ..TwoNodes::new() };
    assert!(nodes.send(LowToHigh, &call(1)).is_empty());
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [1, 0, 1, 0, 0, 0])]);
}

#[test]
fn without_memory_messages_are_decoded_and_atoms_are_unknown() {
    let mut nodes = TwoNodes::with(0);
    let known = framed(&[b"\x83D\x01\x08\x07\x03rex", &send(2), b"R\0"]);
    assert_eq!(nodes.send(LowToHigh, &known), ["SEND_SENDER <a@h.2.0> 2: #0"]);
    nodes.send(LowToHigh, &first(7, 2, &send(7), HALVES[0]));
    assert!(nodes.send(LowToHigh, &next(7, 1, HALVES[1])).is_empty());
    nodes.send(LowToHigh, &call(1));
    assert_eq!(nodes.counts(LowToHigh), [("gen_call", [1, 0, 1, 0, 0, 0])]);
    assert!(nodes.pool.refused() > 0);
}

#[test]
fn every_operation_has_its_fields_in_order_with_terms_as_erlang_prints_them() {
    let long = "n".repeat(200);
    let names = ["a@h", "a@10.0.0.1", "日本@h", "q\"b\\c", "new\nline", "'", "", &long];
    for name in names {
        let node = atom(name);
        let pid = [&[88], &node[..], &[0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1]].concat();
        let tag =
            [&[90, 0, 2], &node[..], &[0, 0, 0, 1], &[0, 0, 0, 9, 0x3b, 0x9a, 0xca, 0]].concat();
        for term in [&pid, &tag, &node, &tuple(&[&pid, &node]), &vec![97, 5]] {
            for operation in (0..=255).map(Operation) {
                let Some(fields) = operation.fields() else { continue };
                let mut elements = vec![vec![97, operation.0]];
                elements.extend(fields.iter().map(|_| term.clone()));
                let elements: Vec<_> = elements.iter().map(|element| &element[..]).collect();
                let payload = if operation.has_payload() { &tuple(&[&tag, &pid])[..] } else { &[] };
                // Where words and serialization differ, the script ends here.
                let lines = TwoNodes::new().send(LowToHigh, &frame(&tuple(&elements), payload));
                let printed =
                    Erlang::within(Term::cut_off(term), &NoAtoms, fields::FIELD).to_string();
                let has_to = fields.contains(&Field::To) || fields.contains(&Field::ToName);
                assert!(
                    !has_to || lines[0].contains(&format!(" {printed}")),
                    "{printed}: {lines:?}"
                );
            }
        }
    }
}

#[test]
fn the_tick_period_is_that_of_the_usual_pauses() {
    let period = |pauses: &[u64]| {
        let mut all = TickPauses::default();
        pauses.iter().for_each(|ms| all.add(Duration::from_millis(*ms), Timestamp(0)));
        all.period().map(|period| period.as_millis())
    };
    assert_eq!(period(&[]), None);
    assert_eq!(period(&[15_000]), Some(15_000));
    assert_eq!(period(&[15_020, 15_000, 14_990, 15_010]), Some(14_990));
    assert_eq!(period(&[15_000, 1200]), Some(15_000), "one tick of another sender");
    assert_eq!(period(&[15_000, 15_000, 1200, 1200, 1200, 13_000]), Some(13_000), "three");
    assert_eq!(period(&[1000, 1000, 8570]), Some(1000), "the sender was held up");
    assert_eq!(period(&[15_000, 30_000]), Some(15_000), "one tick is missing");
    assert_eq!(period(&[1000, 1000, 2000, 1000]), Some(1000), "one tick is missing");
    let mut all = TickPauses::default();
    let second = |seconds| Timestamp::new(seconds, 0);
    all.add(Duration::from_secs(60), second(60));
    all.forget(second(60));
    (1..4).for_each(|n| all.add(Duration::from_secs(15), second(60 + n * 15)));
    (1..3).for_each(|n| all.add(Duration::from_millis(1200), second(105 + n)));
    assert_eq!(all.period(), Some(Duration::from_secs(15)), "the longest one is forgotten");
    let many: Vec<_> = (0..40).flat_map(|n| [15_000, 200 + n * 97]).collect();
    assert!(period(&many).is_some_and(|period| period > 10_000), "of all lengths");
}

/// Random bytes, and random choices.
struct Choices(u32);

impl Choices {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % below
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// An atom as text, or as one of six references.
    fn atom(&mut self) -> Vec<u8> {
        match self.below(9) {
            0..6 => vec![82, self.below(7) as u8],
            6 => atom(self.of(&NAMES)),
            7 => atom("a@h"),
            _ => atom("a-name@of-a-node-which-is-longer"),
        }
    }

    fn pid(&mut self) -> Vec<u8> {
        [&[88][..], &self.atom(), &[0, 0, 0, self.below(9) as u8, 0, 0, 0, 0, 0, 0, 0, 1]].concat()
    }

    fn tag(&mut self) -> Vec<u8> {
        let words = 1 + self.below(3);
        let id = [0, 0, 0, self.below(9) as u8].repeat(1 + words);
        let reference = [&[90, 0, words as u8][..], &self.atom(), &id].concat();
        match self.below(5) {
            0 | 1 => reference,
            2 | 3 => [&[108, 0, 0, 0, 1][..], &self.atom(), &reference].concat(),
            _ => tuple(&[&reference, &self.atom()]),
        }
    }

    /// A term of any kind.
    fn any(&mut self) -> Vec<u8> {
        match self.below(7) {
            0 => self.atom(),
            1 => self.tag(),
            2 => b"m\0\0\0\x06secret".to_vec(),
            3 => [97, self.below(9) as u8].to_vec(),
            4 => b"l\0\0\0\x01a\x07j".to_vec(),
            5 => tuple(&[&self.atom(), &self.atom(), &self.atom(), b"j", &self.pid()]),
            _ => tuple(&[&self.atom(), &[97, 1]]),
        }
    }

    /// A control message, and a message behind it where it has one.
    fn message(&mut self) -> [Vec<u8>; 2] {
        let (from, to, id) = (self.pid(), self.pid(), self.tag());
        let process = if self.below(2) == 0 { self.pid() } else { self.atom() };
        let control = match self.below(9) {
            0 | 1 => tuple(&[&[97, 22], &from, &to]),
            2 => tuple(&[&[97, 2], &self.atom(), &to]),
            3 => tuple(&[&[97, 33], &from, &id]),
            4 | 5 => tuple(&[&[97, 6], &from, &self.atom(), &self.atom()]),
            6 => return [tuple(&[&[97, 19], &from, &process, &id]), vec![]],
            7 => return [tuple(&[&[97, 20], &from, &to, &id]), vec![]],
            _ => tuple(&[&[97, 28], &from, &to, &id]),
        };
        let call = [if self.below(2) == 0 { atom("$gen_call") } else { self.atom() }];
        let cast = [if self.below(2) == 0 { atom("$gen_cast") } else { self.atom() }];
        let message = match self.below(8) {
            0..3 => tuple(&[&call[0], &tuple(&[&from, &self.tag()]), &self.any()]),
            3 | 4 => tuple(&[&self.tag(), &self.any()]),
            5 => tuple(&[&cast[0], &self.any()]),
            6 => tuple(&[&self.atom(), &self.any(), &self.any(), &self.any()]),
            _ => self.any(),
        };
        [control, message]
    }

    /// A frame: without a header, or with one of six references, some of them new.
    fn frame(&mut self) -> Vec<u8> {
        let [control, message] = self.message();
        if self.below(3) == 0 {
            let version: &[u8] = if message.is_empty() { b"" } else { b"\x83" };
            return framed(&[b"p\x83", &control, version, &message]);
        }
        let (mut flags, mut references) = ([0_u8; 4], Vec::new());
        for index in 0..6 {
            references.push(index as u8);
            if self.below(40) == 0 {
                flags[index / 2] |= 8 << (index % 2 * 4);
                let text = self.of(&NAMES);
                references.extend([&[text.len() as u8][..], text.as_bytes()].concat());
            }
        }
        framed(&[b"\x83D\x06", &flags, &references, &control, &message])
    }
}

const NAMES: [&str; 8] =
    ["$gen_call", "$gen_cast", "call", "cast", "global_name_server", "rex", "ok", "alias"];

#[test]
fn a_message_that_is_read_in_one_pass_is_counted_as_any_other() {
    let mut choices = Choices(1);
    let mut in_one_pass = 0;
    for round in 0..400 {
        let mut both = [MessageDetail::None, MessageDetail::Operations]
            .map(|detail| TwoNodes { detail, ..TwoNodes::new() });
        for _ in 0..60 {
            let mut bytes = choices.frame();
            // Half of the connections have frames with other bytes in them, or that end earlier.
            if round % 2 == 0 && choices.below(4) == 0 {
                let at = 6 + choices.below(bytes.len() - 6);
                if choices.below(2) == 0 {
                    bytes[at] = choices.below(256) as u8;
                } else {
                    bytes.truncate(at);
                    let len = at as u32 - 4;
                    bytes[..4].copy_from_slice(&len.to_be_bytes());
                }
            }
            if let [_, _, _, _, b'p', 131, terms @ ..] = &*bytes {
                let versioned = [&[131], terms].concat();
                in_one_pass += u32::from(
                    usual_message(FrameKind::PassThrough, &versioned, PARSED, &NoAtoms).is_some(),
                );
            }
            let direction = choices.of(&[LowToHigh, HighToLow]);
            for nodes in &mut both {
                nodes.send(direction, &bytes);
            }
        }
        let [quick, full] = both.map(|mut nodes| {
            let streams = [&nodes.up, &nodes.down]
                .map(|stream| format!("{:?} {:?}", stream.sums(nodes.at), stream.corrupt()));
            let calls = [LowToHigh, HighToLow].map(|direction| nodes.calls(direction));
            format!("{streams:?} {calls:?}")
        });
        assert_eq!(quick, full, "{round}");
    }
    assert!(in_one_pass > 2000, "{in_one_pass}");
}
