//! Two captures of one traffic whose clocks are apart: the verdicts are those of one capture, and nothing more is found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use beamscope::analyze;
use beamscope::decode::Direction;
use beamscope::engine::Config;
use beamscope::record::{AnomalyKind, Body, Severity};

use crate::support::pieces::{frames_of, pcap};
use crate::support::{TestDir, captures, lines_of};

/// How often each rule found a problem, what became of the connections, and what was noted of the clocks.
type Judged = (BTreeMap<&'static str, usize>, BTreeMap<String, u64>, Vec<AnomalyKind>);

fn judged(paths: &[&str]) -> Judged {
    let analysis = analyze(paths, Config::default()).unwrap();
    let mut rules = BTreeMap::new();
    for finding in analysis.findings(Severity::Low).filter(|found| found.revision.is_none()) {
        *rules.entry(finding.rule).or_default() += 1;
    }
    let stats = analysis.stats().unwrap();
    let outcomes = stats.sessions.iter().map(|(outcome, n)| (format!("{outcome:?}"), *n));
    let clocks = analysis.events.iter().filter_map(|event| match &event.body {
        Body::Anomaly { anomaly } => Some(anomaly.kind),
        _ => None,
    });
    let is_clock =
        |kind: &AnomalyKind| matches!(kind, AnomalyKind::ClocksAligned | AnomalyKind::ClocksApart);
    (rules, outcomes.collect(), clocks.filter(is_clock).collect())
}

const MS: i64 = 1_000_000;
const SHIFTS: [i64; 10] = [
    50 * MS,
    -50 * MS,
    300 * MS,
    -300 * MS,
    1500 * MS,
    -1500 * MS,
    60_000 * MS,
    -60_000 * MS,
    3_600_000 * MS,
    -3_600_000 * MS,
];

#[test]
fn clocks_that_are_apart_accuse_no_node() {
    let folder = TestDir::new("clocks");
    let [one, other] = ["one.pcap", "other.pcap"].map(|name| folder.file(name));
    let (mut runs, mut noted, mut changed) = (0, 0, Vec::new());
    for (n, capture) in captures().into_iter().enumerate() {
        let Some((link, frames)) = frames_of(&capture) else { continue };
        let all: Vec<_> = frames.iter().collect();
        fs::write(&one, pcap(link, &all, 0)).unwrap();
        let whole = judged(&[&one]);
        let (low, high): (Vec<_>, Vec<_>) =
            frames.iter().partition(|frame| frame.direction != Some(Direction::HighToLow));
        // One direction in each file, and everything in both.
        for (k, [first, second]) in [[&low, &high], [&all, &all]].into_iter().enumerate() {
            if first.is_empty() || second.is_empty() {
                continue;
            }
            let shift = SHIFTS[(2 * n + k) % SHIFTS.len()];
            fs::write(&one, pcap(link, first, 0)).unwrap();
            fs::write(&other, pcap(link, second, shift)).unwrap();
            let apart = judged(&[&one, &other]);
            let name = format!("{capture} {k} {shift}");
            for (rule, count) in &apart.0 {
                assert!(whole.0.get(rule) >= Some(count), "{name}: {rule} is new");
            }
            runs += 1;
            noted += usize::from(!apart.2.is_empty());
            if (&apart.0, &apart.1) != (&whole.0, &whole.1) {
                changed.push(name);
            }
        }
    }
    // A SYN without an answer has no acknowledgement.
    assert!(runs > 150 && noted * 100 >= runs * 94, "{noted} of {runs} are noted");
    assert!(changed.len() * 50 <= runs, "{changed:?}");
}

#[test]
fn clocks_that_agree_are_left_as_they_are() {
    let folder = TestDir::new("clocks");
    let [one, other] = ["one.pcap", "other.pcap"].map(|name| folder.file(name));
    for capture in captures() {
        let Some((link, frames)) = frames_of(&capture) else { continue };
        let (low, high): (Vec<_>, Vec<_>) =
            frames.iter().partition(|frame| frame.direction != Some(Direction::HighToLow));
        if low.is_empty() || high.is_empty() {
            continue;
        }
        let all: Vec<_> = frames.iter().collect();
        fs::write(&one, pcap(link, &all, 0)).unwrap();
        let whole = judged(&[&one]);
        fs::write(&one, pcap(link, &low, 0)).unwrap();
        fs::write(&other, pcap(link, &high, 0)).unwrap();
        let (rules, outcomes, clocks) = judged(&[&one, &other]);
        // Packets of one microsecond may come in another order, which hides a hint and accuses no node.
        for (rule, count) in &rules {
            assert!(whole.0.get(rule) >= Some(count), "{capture}: {rule} is new");
        }
        assert_eq!(outcomes, whole.1, "{capture}");
        assert_eq!(clocks, [], "{capture}");
    }
}

#[test]
fn what_was_corrected_is_reported_once_with_both_names() {
    let folder = TestDir::new("clocks");
    let [one, other] = ["one.pcap", "other.pcap"].map(|name| folder.file(name));
    let capture = "captures/seed-lan-wrong-then-right-cookie.pcap";
    let (link, frames) = frames_of(capture).unwrap();
    let (low, high): (Vec<_>, Vec<_>) =
        frames.iter().partition(|frame| frame.direction != Some(Direction::HighToLow));
    fs::write(&one, pcap(link, &low, 0)).unwrap();
    fs::write(&other, pcap(link, &high, -1500 * MS)).unwrap();
    let text = lines_of(&["--text", &one, &other]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        text.matches("the clock of this capture is 1.500 s behind that of").count(),
        1,
        "{text}"
    );
    assert!(text.contains("other.pcap: Another clock: the clock of this capture"), "{text}");
    assert!(!text.contains("The capture is not complete"), "{text}");
    let json = lines_of(&["--json", &one, &other]);
    assert_eq!(json.matches("\"clocks_aligned\"").count(), 2, "an anomaly, and its count");
    let given = lines_of(&["--json", "--order", "given", &one, &other]);
    assert!(!given.contains("clocks_"), "only a merge by time compares clocks");
    // A clock that is set within the capture has no one difference to another.
    let (early, late) = high.split_at(high.len() / 2);
    let mut stepped = pcap(link, early, -60_000 * MS);
    stepped.extend(&pcap(link, late, 60_000 * MS)[24..]);
    fs::write(&other, stepped).unwrap();
    let (_, _, clocks) = judged(&[&one, &other]);
    assert_eq!(clocks, [AnomalyKind::ClocksApart]);
    assert!(Path::new(&one).exists());
}
