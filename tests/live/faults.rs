//! New captures, each with one fault: `scripts/capture-faults` draws them from
//! real nodes, and the program must find that fault and no other. `scripts/capture-clusters` plays faults on
//! clusters of several kinds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{lines_of, play, script, texts};

/// What the program finds in a capture: rules and severities.
fn found(capture: &Path) -> BTreeSet<(String, String)> {
    let output = lines_of(&["--json", capture.to_str().unwrap()]);
    let events = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events
        .filter(|event| event["event_type"] == "finding")
        .map(|event| (text(&event["finding"]["rule"]), text(&event["finding"]["severity"])))
        .collect()
}

/// What is wrong with the findings of one capture, if anything is.
fn misjudged(truth: &Value, found: &BTreeSet<(String, String)>) -> Option<String> {
    let (rules, allowed) = (texts(&truth["rules"]), texts(&truth["allowed"]));
    let is_meant = |rule: &str| rules.contains(rule) || allowed.contains(rule);
    let hit = rules.is_empty() || found.iter().any(|(rule, _)| rules.contains(rule.as_str()));
    let is_false = |(rule, severity): &&(String, String)| severity != "info" && !is_meant(rule);
    let wrong: Vec<_> = found.iter().filter(is_false).collect();
    let complaint = match (hit, wrong.is_empty()) {
        (true, true) => return None,
        (false, true) => format!("not found: {rules:?}"),
        (_, false) => format!("found beside {rules:?}: {wrong:?}"),
    };
    Some(format!("{complaint}\n  description: {}\n  found: {found:?}", truth["description"]))
}

#[test]
fn every_drawn_fault_is_found_and_no_other() {
    const COUNT: usize = 50;
    let count = COUNT.to_string();
    let draw = ["scripts/capture-faults", "--seed", "1", "--count", &count];
    let Some(folder) = play("faults", &draw) else { return };
    let mut wrong = Vec::new();
    let mut judged = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let note = entry.unwrap().path();
        if note.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let capture = note.with_extension("pcap");
        let truth: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
        judged += 1;
        if let Some(complaint) = misjudged(&truth, &found(&capture)) {
            wrong.push(format!("{}: {complaint}", capture.display()));
        } else {
            fs::remove_file(note).unwrap();
            fs::remove_file(capture).unwrap();
        }
    }
    wrong.sort();
    assert_eq!(judged, COUNT);
    assert!(wrong.is_empty(), "{} of {COUNT} captures:\n{}", wrong.len(), wrong.join("\n"));
}

/// Faults on clusters of Erlang and Elixir alone. What needs RabbitMQ, ejabberd, balancers or packet filters is
/// played by hand.
const ON_CLUSTERS: [&str; 12] = [
    "elixir+allow-list",
    "elixir+killed",
    "elixir+registers-later",
    "elixir+wrong-then-right",
    "four+odd-one-out",
    "four+well",
    "hidden+epmd-restarted",
    "hidden+wrong-then-right",
    "ipv6+listens-elsewhere",
    "ipv6+two-at-once",
    "tls+plain-dials-tls",
    "tls13+well",
];

#[test]
fn faults_on_clusters_are_judged_right() {
    let count = ON_CLUSTERS.len().to_string();
    let mut draw =
        vec!["scripts/capture-clusters", "--seed", "1", "--jobs", "4", "--count", &count];
    draw.extend(ON_CLUSTERS.iter().flat_map(|combination| ["--only", combination]));
    let Some(folder) = play("clusters", &draw) else { return };
    let program = env!("CARGO_BIN_EXE_beamscope");
    let judge = ["scripts/capture-clusters", "--judge", program, folder.to_str().unwrap()];
    assert!(script("clusters", &judge));
}

#[test]
fn a_miss_and_a_false_finding_are_both_reported() {
    let truth: Value = serde_json::from_str(
        r#"{"rules": ["epmd-silent"], "allowed": ["epmd-command"], "description": "EPMD is frozen"}"#,
    )
    .unwrap();
    let finding = |rule: &str, severity: &str| (rule.to_owned(), severity.to_owned());
    let reported = |list: &[(String, String)]| misjudged(&truth, &list.iter().cloned().collect());
    let right = [finding("epmd-silent", "medium"), finding("epmd-command", "medium")];
    assert_eq!(reported(&right), None);
    assert_eq!(reported(&[right[0].clone(), finding("node-restarted", "info")]), None);
    assert!(reported(&right[1..]).unwrap().starts_with("not found"));
    let beside = [right[0].clone(), finding("handshake-aborted", "medium")];
    assert!(reported(&beside).unwrap().starts_with("found beside"));
}
