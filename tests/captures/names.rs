//! The host that a dial wanted, inferred from how the capture shows its address to be found.
//! Near misses are made from the project's own captures.

use std::net::IpAddr;
use std::path::Path;

use beamscope::capture::{CaptureFile, Frame, Item, LinkType};
use beamscope::engine::{Config, Engine};
use beamscope::packet::FrameRef;
use beamscope::record::{Body, Confidence, Finding, Outcome, Session, Severity, State};
use beamscope::time::Timestamp;

/// A frame that outlives its buffer.
struct Kept {
    at: Timestamp,
    link: LinkType,
    bytes: Vec<u8>,
}

impl Kept {
    fn is_dns_answer(&self) -> bool {
        // Ethernet, IPv4 without options, UDP.
        self.bytes[23] == 17 && self.bytes[34..36] == [0, 53]
    }
}

fn load(name: &str) -> Vec<Kept> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name);
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        let Item::Frame(Frame { at, link, bytes, .. }) = item else { continue };
        frames.push(Kept { at, link, bytes: bytes.to_vec() });
    }
    frames
}

/// What a run reports: the last record of each dial, and the findings.
struct Story {
    sessions: Vec<Session>,
    findings: Vec<Finding>,
}

impl Story {
    /// What was wanted in the dial that failed first, as text.
    fn wanted(&self) -> String {
        let failed = self.sessions.iter().find(|it| it.outcome == Outcome::NameMismatch).unwrap();
        let Some(wanted) = &failed.wanted else { return String::new() };
        let part = |part: &Option<std::sync::Arc<str>>| part.as_deref().unwrap_or("?").to_owned();
        format!("{}@{} {}", part(&wanted.alive), part(&wanted.host), wanted.rests_on.join(" "))
    }
}

fn story(frames: &[Kept], listed: &[(&str, &str)]) -> Story {
    let mut pipeline = Engine::new(Config::default(), Vec::new());
    for (ip, name) in listed {
        pipeline.on_listed_name(ip.parse::<IpAddr>().unwrap(), name.as_bytes());
    }
    for (number, Kept { at, link, bytes }) in (1..).zip(frames) {
        let id = FrameRef { input: 0, number };
        let (at, link, wire_len) = (*at, *link, bytes.len() as u32);
        pipeline.push_frame(&Frame {
            id,
            at,
            link,
            interface: None,
            wire_len,
            bytes,
            comments: &[],
        });
    }
    let (mut sessions, mut findings) = (Vec::new(), Vec::new());
    for event in pipeline.finish() {
        match event.body {
            Body::Session { session } if session.state != State::Established => {
                sessions.push(*session);
            }
            Body::Finding { finding } if finding.severity > Severity::Info => {
                findings.push(*finding);
            }
            _ => {}
        }
    }
    Story { sessions, findings }
}

fn read(name: &str) -> Story {
    story(&load(name), &[])
}

/// Replaces `from` in every DNS answer by `to`, which is as long.
fn replace(frames: &mut [Kept], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    for frame in frames.iter_mut().filter(|frame| frame.is_dns_answer()) {
        let found: Vec<_> =
            (42..frame.bytes.len()).filter(|at| frame.bytes[*at..].starts_with(from)).collect();
        assert!(!found.is_empty());
        for at in found {
            frame.bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
}

#[test]
fn dns_shows_the_alias_that_was_dialed() {
    let output = read("names-alias.pcap");
    assert_eq!(output.wanted(), "two@db-primary.example.lan epmd dns");
    let outcomes: Vec<_> = output.sessions.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::NameMismatch, Outcome::Connected]);
    let [finding] = &output.findings[..] else { panic!("{}", output.findings.len()) };
    assert_eq!((finding.rule, finding.severity), ("name-mismatch", Severity::High));
    assert_eq!(finding.confidence, Confidence::Likely);
    assert_eq!(
        finding.title,
        "one@hosta.example.lan dialed two@db-primary.example.lan and reached two@hostb.example.lan"
    );
    assert!(finding.explanation.contains("asked DNS for db-primary.example.lan (frame 4)"));
    assert_eq!(finding.evidence[0].frame, FrameRef { input: 0, number: 4 });
    assert_eq!(
        finding.evidence[0].what.to_string(),
        "DNS answer: db-primary.example.lan is at 10.53.0.2"
    );
    assert_eq!(finding.evidence[0].session_id, None);
    assert!(finding.evidence.iter().map(|it| it.frame).is_sorted());
}

#[test]
fn aaaa_answers_over_ipv6_give_it_too() {
    let output = read("names-alias-ipv6.pcap");
    assert_eq!(output.wanted(), "two@service.example.lan epmd dns");
    assert_eq!(
        output.findings[0].evidence[0].what.to_string(),
        "DNS answer: service.example.lan is at fd53::2"
    );
}

#[test]
fn a_short_name_dials_no_search_domain() {
    let output = read("names-short-dials-long.pcap");
    assert_eq!(output.wanted(), "two@hostb epmd dns");
    let finding = &output.findings[0];
    assert_eq!(finding.title, "one@hosta dialed two@hostb and reached two@hostb.example.lan");
    assert!(finding.explanation.contains("asked DNS for hostb.example.lan"));
    assert!(finding.explanation.contains("Such nodes do not connect"));
    assert!(finding.remedy[0].contains("-sname two") && finding.remedy[1].contains("-name one@"));
}

#[test]
fn a_long_name_dials_what_dns_was_asked_for() {
    let output = read("names-long-dials-short.pcap");
    assert_eq!(output.wanted(), "two@hostb.example.lan epmd dns");
    assert!(output.findings[0].explanation.contains("two@hostb has a short name"));
}

#[test]
fn a_name_with_a_dot_may_get_a_search_domain_too() {
    assert_eq!(read("names-search-domain.pcap").wanted(), "two@hostb.example epmd dns");
}

#[test]
fn two_names_of_one_address_are_no_host() {
    let frames = load("names-two-aliases.pcap");
    let output = story(&frames, &[]);
    assert_eq!(output.wanted(), "two@db-primary.example.lan epmd dns");
    let last = output.sessions.last().and_then(|it| it.wanted.as_ref()).unwrap();
    assert_eq!((&last.host, &last.rests_on[..]), (&None, &["epmd"][..]));
}

#[test]
fn an_earlier_connection_shows_the_name_that_was_wanted_then() {
    let frames = load("names-host-changed.pcap");
    let output = story(&frames, &[]);
    assert_eq!(output.wanted(), "two@hostb.example.lan epmd other_session");
    let finding = output.findings.iter().find(|it| it.rule == "name-mismatch").unwrap();
    assert!(
        finding.title.ends_with("dialed two@10.53.0.2 under a different name"),
        "{}",
        finding.title
    );
    assert!(finding.explanation.contains("had connected to two@hostb.example.lan before"));
    assert!(finding.evidence[0].session_id.is_some());

    // The other way round: what comes later shows nothing about the dial that failed before it.
    let mut first = frames;
    let later_at = first[0].at.after(SECOND);
    let mut turned = first.split_off(first.partition_point(|frame| frame.at < later_at));
    turned.extend(first.into_iter().map(|frame| Kept { at: frame.at.after(SECOND * 60), ..frame }));
    assert_eq!(story(&turned, &[]).wanted(), "two@? epmd");
}

#[test]
fn an_answer_with_another_address_shows_nothing() {
    let mut frames = load("names-short-dials-long.pcap");
    replace(&mut frames, &[10, 53, 0, 2], &[10, 53, 0, 9]);
    assert_eq!(story(&frames, &[]).wanted(), "two@? epmd");
}

#[test]
fn an_answer_to_another_client_shows_nothing() {
    let mut frames = load("names-alias.pcap");
    for frame in frames.iter_mut().filter(|frame| frame.is_dns_answer()) {
        assert_eq!(frame.bytes[30..34], [10, 53, 0, 1]);
        frame.bytes[33] = 7;
    }
    let output = story(&frames, &[]);
    assert_eq!(output.wanted(), "two@? epmd");
    assert_eq!(
        output.findings[0].title,
        "one@hosta.example.lan dialed two@hostb.example.lan under a different name"
    );
}

#[test]
fn an_answer_long_before_shows_nothing() {
    let mut frames = load("names-alias.pcap");
    for frame in frames.iter_mut().filter(|frame| frame.is_dns_answer()) {
        frame.at = frame.at.before(SECOND * 11);
    }
    frames.sort_by_key(|frame| frame.at);
    assert_eq!(story(&frames, &[]).wanted(), "two@? epmd");
}

#[test]
fn a_dial_of_the_very_name_that_answered_is_no_alias() {
    let mut frames = load("names-two-aliases.pcap");
    frames.truncate(26);
    // The questions and the owners of the aliases: the same name in another place of the zone.
    for frame in frames.iter_mut().filter(|frame| frame.is_dns_answer()) {
        let name: &[u8] = b"\x0adb-primary\x07example\x03lan\0";
        let very: &[u8] = b"\x05hostb\x07example\x03lan\0";
        let mut bytes = frame.bytes[..42 + 12].to_vec();
        let mut rest = &frame.bytes[42 + 12..];
        while !rest.is_empty() {
            let (part, used) =
                if rest.starts_with(name) { (very, name.len()) } else { (&rest[..1], 1) };
            bytes.extend(part);
            rest = &rest[used..];
        }
        // One record fewer in front: the alias now points to itself, and is left out.
        let alias = bytes.windows(4).position(|it| it == [0, 5, 0, 1]).unwrap();
        let (start, end) = (alias - very.len(), alias + 10 + very.len());
        bytes.drain(start..end);
        bytes[42 + 7] = 1;
        let len = (bytes.len() - 34) as u16;
        bytes[38..40].copy_from_slice(&len.to_be_bytes());
        bytes[16..18].copy_from_slice(&(len + 20).to_be_bytes());
        frame.bytes = bytes;
    }
    let output = story(&frames, &[]);
    assert_eq!(output.wanted(), "two@hostb.example.lan epmd dns");
    assert_eq!(output.sessions[0].confidence, Confidence::Possible);
    let finding = &output.findings[0];
    assert_eq!(finding.severity, Severity::Low);
    assert!(finding.title.contains("seems to have dialed that name"), "{}", finding.title);
    assert!(!finding.explanation.contains("alias"), "{}", finding.explanation);
}

#[test]
fn names_that_the_capture_brings_are_a_hint_unless_the_close_refutes_them() {
    let mut frames = load("names-alias.pcap");
    frames.retain(|frame| !frame.is_dns_answer());
    let listed = |name| story(&frames, &[("10.53.0.2", name)]);
    let output = listed("db.example.lan");
    assert_eq!(output.wanted(), "two@db.example.lan epmd capture_names");
    let finding = &output.findings[0];
    assert!(finding.title.contains("under a different name"), "{}", finding.title);
    assert!(finding.explanation.contains("may have dialed two@db.example.lan"));
    assert_eq!(listed("hostb.example.lan").wanted(), "two@? epmd");
    assert_eq!(story(&frames, &[("10.53.0.2", "no host\x1b")]).wanted(), "two@? epmd");
    let several = [("10.53.0.2", "a.example.lan"), ("10.53.0.2", "b.example.lan")];
    assert_eq!(story(&frames, &several).wanted(), "two@? epmd");
    // DNS is the better ground.
    let output = story(&load("names-alias.pcap"), &[("10.53.0.2", "a.example.lan")]);
    assert_eq!(output.wanted(), "two@db-primary.example.lan epmd dns");
}

/// A block of a pcapng file: type, length, body in whole words, length.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes(), &len, &body[..], &len].concat()
}

#[test]
fn the_program_hands_on_what_a_capture_calls_its_addresses() {
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [1, 0, 0, 0, 0, 0, 0, 0];
    let name = b"db.example.lan\0";
    let record = [&[1, 0, 4 + name.len() as u8, 0, 10, 53, 0, 2], &name[..], &[0; 5]].concat();
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface), block(4, &record)].concat();
    for Kept { at, bytes, .. } in load("names-alias.pcap") {
        let us = at.since(Timestamp::default()).as_micros() as u64;
        let (high, low) = ((us >> 32) as u32, us as u32);
        let len = bytes.len() as u32;
        let words = [0, high, low, len, len].map(u32::to_le_bytes).concat();
        let port = [0, 53];
        if bytes[34..36] != port {
            file.extend(block(6, &[&words[..], &bytes].concat()));
        }
    }
    let path = std::env::temp_dir().join(format!("beamscope-names-{}.pcapng", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let program = env!("CARGO_BIN_EXE_beamscope");
    let output = std::process::Command::new(program).arg("--json").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let wanted =
        r#""wanted":{"alive":"two","host":"db.example.lan","rests_on":["epmd","capture_names"]}"#;
    assert!(text.contains(wanted), "{text}");
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
