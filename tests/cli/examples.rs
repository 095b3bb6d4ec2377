//! The programs of `examples/`, built into this one and run on captures of the project.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

#[path = "../../examples/analyze.rs"]
#[allow(dead_code, reason = "its main function")]
mod analyze;
#[path = "../../examples/custom_rule.rs"]
#[allow(dead_code, reason = "its main function")]
mod custom_rule;
#[path = "../../examples/live_findings.rs"]
#[allow(dead_code, reason = "its main function")]
mod live_findings;

const CAPTURE: &str = "captures/seed-lan-wrong-then-right-cookie.pcap";
const REFUSED: &str = "two@192.168.0.103 refused the cookie of one@192.168.0.100";

#[test]
fn analyze_prints_the_worst_finding_first_and_fails_for_a_missing_file() {
    let mut out = Vec::new();
    analyze::run([CAPTURE.into()], &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("high") && first.ends_with(REFUSED), "{text}");
    let error = analyze::run(["/no/such/file".into()], &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}

#[test]
fn live_findings_prints_what_a_growing_file_shows() {
    let mut out = Cursor::new(Vec::new());
    live_findings::run(Path::new(CAPTURE), Duration::ZERO, &mut out).unwrap();
    let text = String::from_utf8(out.into_inner()).unwrap();
    assert!(text.lines().any(|line| line.ends_with(&format!("high: {REFUSED}"))), "{text}");
}

#[test]
fn custom_rule_finds_each_foreign_node_once() {
    let run = |prefix: &str| {
        let mut out = Vec::new();
        custom_rule::run(prefix.to_owned(), [CAPTURE.into()], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(run("one@"), "two@192.168.0.103 is not a node of this cluster\n");
    assert_eq!(run("").lines().count(), 0);
    assert_eq!(run("prod_").lines().count(), 2);
}
