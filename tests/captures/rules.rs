//! Every rule on captures, real or synthetic: where it fires, and where it nearly does and must not.

use std::collections::{BTreeMap, BTreeSet};

use super::synthetic;
use crate::support::{TestDir, captures, lines_of};
use serde_json::Value;

/// Severity and rule of each finding, in order.
fn findings(capture: &str) -> Vec<(String, String)> {
    let text = lines_of(&["--cookie-file", "captures/cookies.txt", "--only-findings", capture]);
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let findings = lines.filter(|line| line["event_type"] == "finding");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .map(|line| (text(&line["finding"]["severity"]), text(&line["finding"]["rule"])))
        .collect()
}

#[test]
fn each_rule_fires_on_a_real_or_synthetic_capture() {
    let folder = TestDir::new("rules");
    let synthetic =
        synthetic::ALL.iter().map(|(name, make)| make().write(&folder, &format!("{name}.pcap")));
    let fired: BTreeSet<String> = captures()
        .into_iter()
        .chain(synthetic)
        .flat_map(|capture| findings(&capture))
        .map(|(_, rule)| rule)
        .collect();
    let silent: Vec<_> = beamscope::detect::docs()
        .map(|page| page.rule)
        .filter(|rule| !fired.contains(*rule))
        .collect();
    assert!(silent.is_empty(), "no capture shows {silent:?}");
}

/// The words that send a reader to the log of a node.
const TO_A_LOG: &[&str] = &[
    "read the log",
    "read its log",
    "read the notice",
    "look at the log",
    "in the log of",
    "logs of",
    "their logs",
];

fn sends_to_a_log(text: &str) -> bool {
    let text = text.to_lowercase();
    TO_A_LOG.iter().any(|words| text.contains(words))
}

#[test]
fn no_finding_sends_people_to_a_log_that_has_no_line() {
    let folder = TestDir::new("logs");
    let made = synthetic::ALL.iter().map(|(name, make)| {
        lines_of(&["--only-findings", &make().write(&folder, &format!("{name}.pcap"))])
    });
    let expected =
        std::fs::read_dir("captures/expected").unwrap().map(|entry| entry.unwrap().path());
    let expected = expected.filter(|path| path.extension().is_some_and(|it| it == "ndjson"));
    let texts: Vec<_> =
        expected.map(|path| std::fs::read_to_string(path).unwrap()).chain(made).collect();
    let mut read = 0;
    for line in texts.iter().flat_map(|text| text.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        let finding = &line["finding"];
        if line["event_type"] != "finding" || !finding["logged_by"].as_array().unwrap().is_empty() {
            continue;
        }
        read += 1;
        let steps = finding["remedy"].as_array().unwrap();
        let texts = steps.iter().chain([&finding["explanation"]]).map(|it| it.as_str().unwrap());
        let to_a_log: Vec<_> = texts.filter(|text| sends_to_a_log(text)).collect();
        assert!(to_a_log.is_empty() || finding.get("may_log").is_some(), "{finding:#}");
    }
    assert!(read > 100, "{read} findings read");
    for doc in beamscope::detect::docs() {
        let silent = ["both nodes", "either node", "EPMD and both nodes", "either node, and EPMD"];
        let is_silent = doc.log_lines.iter().all(|line| line.text.is_empty())
            || doc
                .log_lines
                .iter()
                .any(|line| line.text.is_empty() && silent.contains(&line.writer));
        let to_a_log: Vec<_> = doc.remedy.iter().filter(|step| sends_to_a_log(step)).collect();
        assert!(!is_silent || to_a_log.is_empty(), "{}: {to_a_log:?}", doc.rule);
    }
}

/// What works: captures of nodes that came up, connected, reconnected and went.
const HEALTHY: &[&str] = &[
    "dynamic-node-name",
    "hidden-node",
    "links-tun",
    "node-restarted",
    "seed-lan-same-cookie",
    "simultaneous-connect",
    "status-alive-reconnect",
    "ticks-otp29",
    "tls-both",
];

#[test]
fn what_works_gives_no_finding_above_info() {
    for name in HEALTHY {
        let found = findings(&format!("captures/{name}.pcap"));
        // The story on each kind of link begins with a wrong cookie.
        let story = |rule: &str| name.starts_with("links-") && rule == "cookie-mismatch";
        let above: Vec<_> =
            found.iter().filter(|(severity, rule)| severity != "info" && !story(rule)).collect();
        assert!(above.is_empty(), "{name}: {above:?}");
    }
}

/// What looks almost like what a rule finds, and is not that.
#[rustfmt::skip] // a table reads best as a table
const NEAR_MISSES: &[(&str, &str)] = &[
    // One name, another creation, but one after the other at one address.
    ("duplicate-node", "node-restarted"),
    ("duplicate-node", "status-alive-reconnect"),
    // One name at two addresses, and a name that was refused, at its own address.
    ("unproven-name", "duplicate-node"),
    ("unproven-name", "cookie-mismatch-both-directions"),
    // A node that connects again, and is the same.
    ("node-restarted", "simultaneous-connect"),
    ("node-restarted", "cookie-mismatch-both-directions"),
    // EPMD is asked, and the SYN to the node's port is not answered.
    ("asked-not-dialed", "dist-port-dropped"),
    // Programs ask EPMD for names and ports, and none of them is a node.
    ("asked-not-dialed", "epmd-queries"),
    // The same packets at several places.
    ("node-restarted", "links-two-interfaces"),
];

#[test]
fn what_nearly_is_one_gives_no_finding() {
    let all: BTreeMap<String, Vec<(String, String)>> = captures()
        .into_iter()
        .map(|capture| {
            let stem = capture.trim_start_matches("captures/").split('.').next().unwrap();
            (stem.to_owned(), findings(&capture))
        })
        .collect();
    for (rule, name) in NEAR_MISSES {
        assert!(all[*name].iter().all(|(_, found)| found != rule), "{name} gives {rule}");
    }
}
