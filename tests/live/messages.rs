//! Ten thousand messages of two real nodes, which are known one by one: the account of them, and each of
//! them reported once; then the same with packets of the capture doubled and out of order.
//!
//! `scripts/capture-messages` plays and counts them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::packets::Dice;
use crate::support::{lines_of, play};

#[test]
fn ten_thousand_messages_are_reported_and_counted_as_they_were_sent() {
    let Some(folder) = play("messages", &["scripts/capture-messages"]) else { return };
    let truth: Value =
        serde_json::from_slice(&fs::read(folder.join("messages.json")).unwrap()).unwrap();
    let plain = folder.join("messages.pcap");
    let reported = Reported::of(&plain);
    let expected = count(&truth["up"]) + count(&truth["down"]);
    let operations = [&truth["up"], &truth["down"]].map(|it| it.as_object().unwrap().len());
    println!("{expected} messages of {operations:?} operations, {}", reported.summary());
    assert!(expected >= 10_000);
    assert_eq!(reported.wrong(&truth), Vec::<String>::new());

    let damaged = folder.join("reordered.pcap");
    fs::write(&damaged, reordered(&fs::read(&plain).unwrap())).unwrap();
    let again = Reported::of(&damaged);
    assert_eq!(again.wrong(&truth), Vec::<String>::new());
    let difference = reported.messages.iter().zip(&again.messages).find(|(a, b)| a != b);
    assert_eq!(difference, None);
    assert_eq!(reported.messages.len(), again.messages.len());
}

/// What the program reports for a capture.
struct Reported {
    /// Messages without times and places, by who sent them and in their order.
    messages: Vec<(String, Vec<Value>)>,
    /// The last record of the connection.
    session: Value,
}

impl Reported {
    fn of(capture: &Path) -> Self {
        let output = lines_of(&["--json", "--messages", "--payloads", capture.to_str().unwrap()]);
        let mut messages: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut session = Value::Null;
        for line in output.lines() {
            let mut event: Value = serde_json::from_str(line).unwrap();
            match event["event_type"].as_str().unwrap() {
                "message" => {
                    let mut message = event["message"].take();
                    if let Some(call) = message["call"].as_object_mut() {
                        call.remove("latency_us");
                    }
                    let from = message["from"].as_str().unwrap().to_owned();
                    messages.entry(from).or_default().push(message);
                }
                "session" => session = event["session"].take(),
                _ => {}
            }
        }
        Self { messages: messages.into_iter().collect(), session }
    }

    fn summary(&self) -> String {
        let account = &self.session["messages"]["initiator"];
        format!("{} in fragments, the largest of {}", account["fragmented"], account["largest"])
    }

    fn from<'a>(&'a self, role: &str) -> impl Iterator<Item = &'a Value> {
        let found = self.messages.iter().find(|(from, _)| from == role);
        found.into_iter().flat_map(|(_, messages)| messages)
    }

    /// What is not as it was reported.
    fn wrong(&self, truth: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut same = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
            let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
            if found != expected {
                wrong.push(format!("{what}: {found}, expected: {expected}"));
            }
        };
        let background = truth["background"].as_object().unwrap();
        let is_background = |message: &&Value| {
            let of_system = |field: &str| {
                message[field].as_str().is_some_and(|pid| background.contains_key(pid))
            };
            of_system("from_pid") || of_system("to")
        };
        for (role, side) in [("initiator", "up"), ("acceptor", "down")] {
            let mut expected = counts(&truth[side]);
            for message in self.from(role).filter(is_background) {
                *expected.entry(message["operation"].as_str().unwrap().to_owned()).or_default() +=
                    1;
            }
            let mut messages: BTreeMap<String, u64> = BTreeMap::new();
            for message in self.from(role) {
                let operation = message["operation"].as_str().unwrap().to_owned();
                *messages.entry(operation).or_default() += 1;
            }
            same(&format!("messages of the {role}"), &messages, &expected);
            let account = &self.session["messages"][role];
            same(&format!("operations of the {role}"), &shares(&account["operations"]), &expected);
            for field in ["unfinished", "unreadable"] {
                same(&format!("{field} of the {role}"), &account[field], &Value::from(0));
            }
        }
        let account = &self.session["messages"]["initiator"];
        same("names", &shares(&account["names"]), &counts(&truth["name"]));
        same("functions", &shares(&account["functions"]), &counts(&truth["function"]));
        let mut calls = BTreeMap::new();
        for call in account["calls"].as_array().unwrap() {
            for field in ["answered", "unanswered", "given_up", "noproc", "down"] {
                let key = format!("{} {field}", call["kind"].as_str().unwrap());
                calls.insert(key, call[field].as_u64().unwrap());
            }
        }
        calls.retain(|_, count| *count > 0);
        same("calls", &calls, &counts(&truth["call"]));

        // Each numbered message once, with its size: `{Number, Bytes}`.
        let mut found = Vec::new();
        for message in self.from("initiator") {
            let payload = message["payload"].as_str().unwrap_or_default();
            let number = payload.strip_prefix('{').and_then(|it| it.split(',').next());
            let is_numbered = payload.contains(",<<") && payload.matches(',').count() > 0;
            let number = number.and_then(|it| it.parse::<u64>().ok()).filter(|_| is_numbered);
            if let Some(number) = number {
                let size = message["payload_bytes"].as_u64().unwrap();
                found.push((number, size, message["operation"].as_str().unwrap()));
            }
        }
        let sent = truth["sent"].as_array().unwrap();
        let mut expected: Vec<_> = sent
            .iter()
            .map(|it| (it[0].as_u64().unwrap(), it[1].as_u64().unwrap(), it[2].as_str().unwrap()))
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        let at = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        same("the first numbered message that differs", &found.get(at), &expected.get(at));
        let long = expected.iter().filter(|(_, size, _)| *size > FRAGMENT).count();
        same("messages in fragments", &account["fragmented"], &Value::from(long));
        let largest = expected.iter().map(|(_, size, _)| *size).max().unwrap();
        let reported = account["largest"]["bytes"].as_u64().unwrap();
        // With the headers of its frames, and the control term.
        let frames = largest / FRAGMENT + 1;
        same("the largest", &(largest..largest + 40 * frames + 200).contains(&reported), &true);
        wrong
    }
}

/// Bytes at which a node cuts.
const FRAGMENT: u64 = 64 << 10;

fn counts(expected: &Value) -> BTreeMap<String, u64> {
    let counts = expected.as_object().unwrap().iter();
    counts.map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect()
}

fn count(expected: &Value) -> u64 {
    counts(expected).values().sum()
}

fn shares(reported: &Value) -> BTreeMap<String, u64> {
    let shares = reported.as_array().unwrap().iter();
    let share =
        |it: &Value| (it["name"].as_str().unwrap().into(), it["messages"].as_u64().unwrap());
    shares.map(share).collect()
}

/// A capture in which one packet of fifty comes some places later, and one of fifty comes twice. Times stay
/// in order, as a network that does so leaves them.
fn reordered(pcap: &[u8]) -> Vec<u8> {
    let (file_header, mut rest) = pcap.split_at(24);
    let (mut times, mut records) = (Vec::new(), Vec::new());
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        times.push(rest[..8].to_vec());
        records.push(rest[8..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    let mut dice = Dice(0x6265_616d);
    let mut placed: Vec<(usize, usize)> = Vec::new();
    let (mut moved, mut doubled) = (0, 0);
    for place in 0..records.len() {
        let later = |dice: &mut Dice| 4 * (place + 1 + dice.roll(8)) + 1;
        if dice.roll(50) == 0 {
            placed.push((later(&mut dice), place));
            moved += 1;
        } else {
            placed.push((4 * place, place));
        }
        if dice.roll(50) == 0 {
            placed.push((later(&mut dice) + 1, place));
            doubled += 1;
        }
    }
    println!("{} packets, {moved} late, {doubled} twice", records.len());
    placed.sort_unstable();
    let mut out = file_header.to_vec();
    for (number, (_, place)) in placed.iter().enumerate() {
        out.extend(&times[number.min(times.len() - 1)]);
        out.extend(&records[*place]);
    }
    out
}
