//! Captures made by [`CaptureBuilder`], for rules that no real capture shows yet, and what is found in them.

use std::time::Duration;

use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::{TestDir, lines_of};

/// Makes a capture.
type Make = fn() -> CaptureBuilder;

/// The synthetic captures that `captures::rules` accepts in place of real ones: a name, and what makes it.
pub(super) const ALL: &[(&str, Make)] = &[
    ("cookie-refused", || dial_with_cookie("wrong")),
    ("connected", || dial_with_cookie("right")),
    ("asked-not-dialed", asked_not_dialed),
];

/// `one` looks up `two`, and dials it with a cookie; the cookie of `two` is `right`.
fn dial_with_cookie(cookie: &str) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", Some(9100));
    let mut connection = capture.connect("10.0.0.1:40002", "10.0.0.2:9100");
    connection.send_name("one@h1").send_status("ok").send_challenge("two@h2", 77);
    connection.send_challenge_reply(cookie, 77, 99);
    if cookie == "right" {
        connection.send_challenge_ack("right", 99);
        connection.wait(Duration::from_secs(15)).send_tick(End::Initiator);
        connection.send_tick(End::Acceptor);
    }
    connection.close(End::Acceptor);
    capture
}

/// `one` looks up `two` twice, and does not dial.
fn asked_not_dialed() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for port in [40001, 40002] {
        capture.epmd_lookup(&format!("10.0.0.1:{port}"), "10.0.0.2:4369", "two", Some(9100));
        capture.wait(Duration::from_secs(1));
    }
    capture
}

/// The rules of the findings above `info`, and the outcomes of the sessions.
fn found(capture: &CaptureBuilder, name: &str) -> (Vec<String>, Vec<String>) {
    let folder = TestDir::new("synthetic");
    let lines = lines_of(&["--json", &capture.write(&folder, name)]);
    let (mut rules, mut outcomes) = (Vec::new(), Vec::new());
    for event in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match event["event_type"].as_str().unwrap() {
            "finding" if event["finding"]["severity"] != "info" => {
                rules.push(text(&event["finding"]["rule"]));
            }
            "session" if event["session"]["close"] != Value::Null => {
                outcomes.push(text(&event["session"]["outcome"]))
            }
            "anomaly" => panic!("{name}: {event}"),
            _ => {}
        }
    }
    (rules, outcomes)
}

#[test]
fn a_refused_cookie_is_found_in_a_synthetic_capture_and_an_accepted_one_is_not() {
    let (rules, outcomes) = found(&dial_with_cookie("wrong"), "wrong.pcap");
    assert_eq!((rules, outcomes), (vec!["cookie-mismatch".into()], vec!["cookie_mismatch".into()]));
    let (rules, outcomes) = found(&dial_with_cookie("right"), "right.pcap");
    assert_eq!((rules, outcomes), (vec![], vec!["connected".into()]));
}

#[test]
fn a_node_that_epmd_does_not_know_is_found_in_a_synthetic_capture() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", None);
    assert_eq!(found(&capture, "unknown.pcap").0, ["node-not-registered"]);
    let mut capture = CaptureBuilder::new();
    capture.dial("10.0.0.1:40001", "10.0.0.2:4369").reset(End::Acceptor);
    assert_eq!(found(&capture, "refused.pcap").0, ["epmd-unreachable"]);
}

#[test]
fn tcpdump_takes_the_checksums_of_a_synthetic_capture_for_correct() {
    use std::process::Command;

    let folder = TestDir::new("checksums");
    let path = dial_with_cookie("right").write(&folder, "right.pcap");
    let Ok(run) = Command::new("tcpdump").args(["-nvvr", &path]).output() else { return };
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("(correct)"), "{text}");
    assert!(!text.contains("incorrect") && !text.contains("bad cksum"), "{text}");
}
