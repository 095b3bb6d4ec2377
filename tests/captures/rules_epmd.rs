//! The rules about port mappers, on real captures: where each fires, on what frames it rests, and that it
//! keeps silent where the same is nearly so, or where the capture shows less.

use std::collections::BTreeSet;
use std::path::Path;

use beamscope::capture::{CaptureFile, Frame, Item, LinkType};
use beamscope::engine::{Config, Engine};
use beamscope::judge::world::HomeNets;
use beamscope::observe::short_id;
use beamscope::packet::FrameRef;
use beamscope::record::{Body, Finding, Severity};
use beamscope::time::Timestamp;

/// A frame that outlives its buffer.
struct Kept {
    number: u64,
    at: Timestamp,
    link: LinkType,
    wire_len: u32,
    bytes: Vec<u8>,
}

fn load(name: &str) -> Vec<Kept> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name);
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        let Item::Frame(Frame { id, at, link, wire_len, bytes, .. }) = item else { continue };
        frames.push(Kept { number: id.number, at, link, wire_len, bytes: bytes.to_vec() });
    }
    frames
}

fn findings_of<'a>(
    frames: impl IntoIterator<Item = &'a Kept>,
    home_nets: HomeNets,
) -> Vec<Reported> {
    let config = Config { home_nets, ..Config::default() };
    let mut pipeline = Engine::new(config, Vec::new());
    for Kept { number, at, link, wire_len, bytes } in frames {
        let id = FrameRef { input: 0, number: *number };
        let (at, link, wire_len) = (*at, *link, *wire_len);
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
    let events = pipeline.finish();
    let findings = events.into_iter().filter_map(|event| match event.body {
        Body::Finding { finding } if finding.severity > Severity::Info => {
            Some(Reported { at: event.at, finding: *finding })
        }
        _ => None,
    });
    findings.collect()
}

/// A finding, and when it was reported.
struct Reported {
    at: Timestamp,
    finding: Finding,
}

impl Reported {
    /// Who is concerned: the one of [`PARTIES`] that the incident id is made with.
    fn parties(&self) -> &'static str {
        let Finding { rule, incident_id, .. } = &self.finding;
        let is_meant =
            |parties: &&&str| short_id(&format!("{rule},{parties},{}", self.at)) == *incident_id;
        PARTIES.iter().find(is_meant).copied().unwrap_or("others")
    }
}

/// Who is concerned by any of the findings expected here.
const PARTIES: &[&str] = &[
    "10.9.0.1",
    "10.9.0.1,10.9.0.2:4369,KILL_REQ,refused",
    "10.9.0.2:4369,a",
    "10.9.0.2:4369,b",
    "10.9.0.2:4369,closes",
    "10.9.0.2:4369,closes unread",
    "10.9.0.2:4369,hangs",
    "127.0.0.1,127.0.0.1:4369,DUMP_REQ,done",
    "127.0.0.1,127.0.0.1:4369,KILL_REQ,done",
    "127.0.0.1,127.0.0.1:4369,STOP_REQ \"Z\",unknown name",
    "127.0.0.1,127.0.0.1:4369,STOP_REQ \"b\",done",
    "127.0.0.1:4369,b",
    "127.0.0.1:4369,closed",
    "b@10.9.0.2,127.0.0.1:4369",
];

/// Rule, parties, and the frames that show it.
fn summaries(findings: &[Reported]) -> Vec<(&str, &str, Vec<u64>)> {
    let frames =
        |reported: &Reported| reported.finding.evidence.iter().map(|e| e.frame.number).collect();
    findings.iter().map(|it| (it.finding.rule, it.parties(), frames(it))).collect()
}

fn check(name: &str, expected: &[(&str, &str, &[u64])]) {
    let findings = findings_of(&load(name), HomeNets::default());
    let expected: Vec<_> =
        expected.iter().map(|(r, p, frames)| (*r, *p, frames.to_vec())).collect();
    assert_eq!(summaries(&findings), expected, "{name}");
}

#[test]
fn name_in_use() {
    check("name-in-use.pcap", &[("name-in-use", "127.0.0.1:4369,b", &[6, 11, 13])]);
}

#[test]
fn epmd_silent() {
    check("epmd-silent.pcap", &[("epmd-silent", "10.9.0.2:4369,hangs", &[4, 6])]);
    let missing = ("node-not-registered", "10.9.0.2:4369,b", &[4, 6][..]);
    check("epmd-late.pcap", &[missing, ("epmd-silent", "10.9.0.2:4369,hangs", &[4, 6])]);
    check(
        "epmd-not-epmd.pcap",
        &[
            ("epmd-silent", "10.9.0.2:4369,closes", &[4, 6]),
            ("epmd-silent", "10.9.0.2:4369,closes unread", &[12, 14]),
        ],
    );
}

#[test]
fn registration_rejected() {
    let expected = ("registration-rejected", "10.9.0.2:4369,a", &[4, 6][..]);
    check("registration-rejected.pcap", &[expected]);
}

#[test]
fn registration_lost() {
    check(
        "registration-lost.pcap",
        &[
            ("epmd-unreachable", "127.0.0.1:4369,closed", &[6, 41, 42]),
            ("registration-lost", "b@10.9.0.2,127.0.0.1:4369", &[6, 25, 30]),
        ],
    );
}

#[test]
fn epmd_enumeration() {
    check("epmd-enumeration.pcap", &[("epmd-enumeration", "10.9.0.1", &[4, 8])]);
    let home = |net: &str| [net.parse().unwrap()].into_iter().collect::<HomeNets>();
    let severity = |net| findings_of(&load("epmd-enumeration.pcap"), home(net))[0].finding.severity;
    assert_eq!(
        (severity("10.0.0.0/8"), severity("192.0.2.0/24")),
        (Severity::Low, Severity::Medium)
    );
}

#[test]
fn epmd_command() {
    check(
        "epmd-command.pcap",
        &[
            ("epmd-command", "127.0.0.1,127.0.0.1:4369,DUMP_REQ,done", &[4, 8]),
            ("epmd-command", "127.0.0.1,127.0.0.1:4369,STOP_REQ \"Z\",unknown name", &[16, 20]),
            ("epmd-command", "127.0.0.1,127.0.0.1:4369,STOP_REQ \"b\",done", &[28, 31]),
            ("epmd-command", "10.9.0.1,10.9.0.2:4369,KILL_REQ,refused", &[41, 43]),
            ("epmd-command", "127.0.0.1,127.0.0.1:4369,KILL_REQ,done", &[49, 51]),
        ],
    );
}

/// A restart under the same name, a shutdown, names asked on the host itself; a port mapper that takes 3 s;
/// one that is restarted, and the node registers again.
#[test]
fn what_is_nearly_so_is_silent() {
    for name in NEAR {
        check(name, &[]);
    }
    // The second registration comes from the port mapper's own host, by its address in the network.
    let frames = load("registration-rejected.pcap");
    let own = frames.iter().filter(|frame| frame.number > 9);
    assert!(summaries(&findings_of(own, HomeNets::default())).is_empty());
}

/// What rests on an absence.
const ABSENCES: [&str; 3] = ["epmd-silent", "registration-lost", "registration-rejected"];

const FIRING: [&str; 5] = [
    "epmd-late.pcap",
    "epmd-not-epmd.pcap",
    "epmd-silent.pcap",
    "registration-lost.pcap",
    "registration-rejected.pcap",
];

const NEAR: [&str; 3] = ["epmd-healthy.pcap", "epmd-slow.pcap", "registration-returns.pcap"];

fn absences(findings: &[Reported]) -> BTreeSet<(&str, &str)> {
    let of_absence = summaries(findings).into_iter().filter(|(rule, ..)| ABSENCES.contains(rule));
    of_absence.map(|(rule, parties, _)| (rule, parties)).collect()
}

#[test]
fn a_capture_that_ends_early_accuses_nothing_else() {
    for name in FIRING.into_iter().chain(NEAR) {
        let frames = load(name);
        let whole = findings_of(&frames, HomeNets::default());
        for end in 0..frames.len() {
            let part = findings_of(&frames[..end], HomeNets::default());
            let (part, whole) = (absences(&part), absences(&whole));
            assert!(part.is_subset(&whole), "{name} up to frame {end}: {part:?}");
        }
    }
}

#[test]
fn one_packet_less_accuses_nothing_else() {
    for name in FIRING.into_iter().chain(NEAR) {
        let frames = load(name);
        let whole = findings_of(&frames, HomeNets::default());
        for lost in 0..frames.len() {
            let rest = frames.iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, f)| f);
            let part = findings_of(rest, HomeNets::default());
            let part = absences(&part);
            assert!(part.is_subset(&absences(&whole)), "{name} without {lost}: {part:?}");
        }
    }
}

#[test]
fn a_command_whose_answer_is_not_in_the_capture_is_reported_in_the_end() {
    let frames = load("epmd-command.pcap");
    let asked = frames.iter().filter(|frame| is_to_mapper(frame));
    let findings = findings_of(asked, HomeNets::default());
    assert_eq!(findings.len(), 5);
    assert!(
        findings.iter().all(|reported| reported.finding.title.ends_with("the answer is not known"))
    );
    let evidence = findings.iter().flat_map(|reported| &reported.finding.evidence);
    assert!(evidence.into_iter().all(|shown| shown.session_id.is_some()));
}

#[test]
fn one_direction_alone_gives_no_accusation() {
    for name in FIRING {
        let frames = load(name);
        for to_mapper in [false, true] {
            let one = frames.iter().filter(|frame| is_to_mapper(frame) == to_mapper);
            let part = findings_of(one, HomeNets::default());
            assert!(absences(&part).is_empty(), "{name}, {to_mapper}: {:?}", summaries(&part));
        }
    }
}

/// Whether a packet on Linux cooked v2 goes to a port mapper, or comes from the one who dialed.
fn is_to_mapper(frame: &Kept) -> bool {
    let ports = &frame.bytes[20 + 20..];
    u16::from_be_bytes([ports[2], ports[3]]) == 4369
}
