//! `--evidence`: the file of a finding shows what the finding reports, to us and to other programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::capture_builder::CaptureBuilder;
use crate::support::{SEED, TestDir, beamscope, captures, skip};
use beamscope::capture::{CaptureFile, Item};
use beamscope::packet::FrameRef;
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    beamscope(&[&["--json", "--cookie-file", "captures/cookies.txt"], arguments].concat())
        .output()
        .unwrap()
}

fn findings(output: &Output) -> Vec<Value> {
    let lines = String::from_utf8_lossy(&output.stdout);
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event_type"] == "finding").collect()
}

/// What two findings have in common that are the same: what is wrong, between whom, how sure.
fn gist(finding: &Value) -> [Value; 3] {
    ["rule", "title", "confidence"].map(|field| finding["finding"][field].clone())
}

/// Findings that rest on more than the connections their evidence names: on the cookies, names or failures
/// that others have shown. Their files show what was decisive, and report less when they are all there is.
const RESTS_ON_OTHERS: &[(&str, &str)] = &[
    ("c-node-erl-call", "cookie-mismatch"),
    ("duplicate-node", "duplicate-node"),
    ("four-tuple-reuse", "cookie-mismatch"),
    ("guessing-cookies", "cookie-guessing"),
    ("guessing-cookies", "cookie-mismatch"),
    ("guessing-names", "cookie-guessing"),
    ("guessing-names", "cookie-mismatch"),
    ("half-open-handshakes", "handshake-timeout"),
    ("partition-cascade", "partition-cascade"),
    ("partition-cascade-heals", "partition-cascade"),
    ("ping-loop-old-cookie", "cookie-mismatch"),
    ("same-name", "same-name"),
    ("setcookie-per-node-argument", "cookie-mismatch"),
    // Secrets of TLS stay out of these files.
    ("tls13-keys-in-capture", "cookie-mismatch"),
];

#[test]
fn the_file_of_a_finding_alone_gives_the_same_finding() {
    let folder = TestDir::to_be_made("evidence");
    let mut weaker = Vec::new();
    for capture in captures() {
        for found in findings(&run(&["--evidence", folder.path(), &capture])) {
            let file = found["finding"]["evidence_file"].as_str().expect("a file").to_owned();
            let again = findings(&run(&[&file]));
            if !again.iter().any(|again| gist(again) == gist(&found)) {
                let stem = capture.trim_start_matches("captures/").split('.').next().unwrap();
                let rule = found["finding"]["rule"].as_str().unwrap().to_owned();
                weaker.push((stem.to_owned(), rule));
            }
        }
        fs::remove_dir_all(&folder.0).unwrap_or_default();
    }
    weaker.sort();
    weaker.dedup();
    let weaker: Vec<_> = weaker.iter().map(|(stem, rule)| (&**stem, &**rule)).collect();
    assert_eq!(weaker, RESTS_ON_OTHERS);
}

#[test]
fn more_findings_at_a_time_than_wait_for_further_packets_are_reported() {
    let anomalies = |findings: u16| {
        let mut capture = CaptureBuilder::new();
        for n in 0..findings {
            let from = format!("10.0.0.1:{}", 40_000 + n);
            capture.epmd_lookup(&from, "10.0.0.2:4369", &format!("n{n}"), None);
        }
        let folder = TestDir::new("evidence-many");
        let path = capture.write(&folder, "many.pcap");
        let output = run(&["--evidence", &format!("{}/found", folder.path()), &path]);
        let lines = String::from_utf8_lossy(&output.stdout);
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let anomalies = events.filter(|event| event["event_type"] == "anomaly");
        anomalies.map(|mut event| event["anomaly"]["kind"].take()).collect::<Vec<_>>()
    };
    assert_eq!(anomalies(64), [Value::Null; 0]);
    assert_eq!(anomalies(66), ["limit"], "once a run");
}

#[test]
fn a_file_holds_the_connections_from_their_syn_with_the_lookup_and_reports_what_shows_it() {
    let folder = TestDir::to_be_made("evidence-seed");
    let output = run(&["--evidence", folder.path(), SEED]);
    let found = findings(&output).remove(0);
    let file = PathBuf::from(found["finding"]["evidence_file"].as_str().unwrap());
    assert_eq!(file.parent(), Some(folder.0.as_path()));
    let name = file.file_name().unwrap().to_str().unwrap();
    let id = found["finding"]["incident_id"].as_str().unwrap();
    assert!(name.ends_with(&format!("Z-cookie-mismatch-{id}.pcapng")), "{name}");

    let mut capture = CaptureFile::open(&file, 0).unwrap();
    let (mut ports, mut comments) = (Vec::new(), Vec::new());
    while let Some(item) = capture.next_item().unwrap() {
        let frame = match item {
            Item::Frame(frame) => frame,
            Item::Interface { .. } => continue,
            other => panic!("{other:?}"),
        };
        let texts = frame.comments.iter().map(|text| String::from_utf8_lossy(text).into_owned());
        comments.extend(texts.map(|text| (frame.id, text)));
        // Ethernet, IPv4 without options, TCP.
        let port = |at: usize| u16::from_be_bytes([frame.bytes[at], frame.bytes[at + 1]]);
        ports.push((port(34), port(36), frame.bytes[47] & 0x02 != 0));
    }
    let syns: Vec<_> = ports.iter().filter(|(.., is_syn)| *is_syn).collect();
    assert_eq!(syns.len(), 4, "two connections, each with both its SYNs: {ports:?}");
    assert!(ports[0].2 && ports[0].1 == 4369, "the look-up comes first");
    // All of both: the last acknowledgement comes after the finding was reported.
    assert_eq!((ports.len(), &found["frame"]), (23, &Value::from(24)));
    let shown = found["finding"]["evidence"].as_array().unwrap();
    assert_eq!(comments.len(), shown.len());
    let title = found["finding"]["title"].as_str().unwrap();
    for ((frame, comment), shown) in comments.iter().zip(shown) {
        let what = shown["what"].as_str().unwrap();
        assert!(comment.starts_with(&format!("{title}: {what}")), "{comment}");
        assert!(comment.contains(&format!("(frame {} of {SEED})", shown["frame"])), "{comment}");
        assert_ne!(*frame, FrameRef::default());
    }
}

#[test]
fn tshark_shows_the_comments_on_the_packets_that_show_it() {
    let Ok(version) = Command::new("tshark").arg("--version").output() else {
        skip("comments in tshark", "tshark is not installed");
        return;
    };
    assert!(version.status.success());
    let folder = TestDir::to_be_made("evidence-tshark");
    let found = findings(&run(&["--evidence", folder.path(), SEED])).remove(0);
    let file = found["finding"]["evidence_file"].as_str().unwrap();
    let output = Command::new("tshark")
        .args(["-r", file, "-Y", "frame.comment", "-T", "fields"])
        .args(["-e", "frame.time_epoch", "-e", "frame.comment", "-e", "tcp.flags.fin"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("challenge_reply from the initiator"), "{text}");
    assert!(lines[1].contains("FIN without challenge_ack from the acceptor"), "{text}");
    let fin = lines[1].rsplit('\t').next().unwrap();
    assert!(["1", "True"].contains(&fin), "the packet of the comment is the FIN: {text}");
    let properties = Command::new("capinfos").args(["-k", file]).output().unwrap();
    let properties = String::from_utf8_lossy(&properties.stdout).into_owned();
    assert!(properties.contains(found["finding"]["title"].as_str().unwrap()), "{properties}");
    assert!(properties.contains("rule: cookie-mismatch"), "{properties}");
}

#[cfg(unix)]
#[test]
fn no_other_user_can_read_them() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TestDir::to_be_made("evidence-mode");
    let below = folder.0.join("made/for/it");
    run(&["--evidence", below.to_str().unwrap(), SEED]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&below), 0o700);
    let files: Vec<_> = fs::read_dir(&below).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_finding_that_is_not_asked_for_leaves_no_file() {
    let folder = TestDir::to_be_made("evidence-severity");
    let found = findings(&run(&["--evidence", folder.path(), "--min-severity", "medium", SEED]));
    assert_eq!(found.len(), 1);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_second_run_writes_the_same_files() {
    let folder = TestDir::to_be_made("evidence-twice");
    let all = || {
        let entries = fs::read_dir(&folder.0).unwrap().map(|it| it.unwrap().path());
        let mut all: Vec<_> = entries.map(|it| (it.clone(), fs::read(it).unwrap())).collect();
        all.sort();
        all
    };
    run(&["--evidence", folder.path(), SEED]);
    let first = all();
    run(&["--evidence", folder.path(), SEED]);
    assert_eq!(first, all());
}

#[test]
fn a_directory_that_cannot_be_made_is_reported_before_anything_is_read() {
    let output = run(&["--evidence", &format!("{SEED}/below"), SEED]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot write"), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn events_are_the_same_with_and_without() {
    let folder = TestDir::to_be_made("evidence-same");
    for capture in captures() {
        let without = run(&[&capture]).stdout;
        let with = run(&["--evidence", folder.path(), &capture]).stdout;
        let strip = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.split(",\"evidence_file\":\"").fold(String::new(), |mut text, part| {
                let rest = if text.is_empty() { part } else { part.split_once('"').unwrap().1 };
                text.push_str(rest);
                text
            })
        };
        assert!(strip(with) == strip(without), "{capture}");
    }
}
