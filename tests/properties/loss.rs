//! Random loss: whatever packets a capture lacks, no good connection is reported as failed, and a failure is reported
//! with its cause or left open.
//!
//! `scripts/random-loss` runs the whole of it, over more captures, and prints the table of `docs/loss.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use crate::support::corpus;
use crate::support::packets::{Dice, known_about};
use beamscope::capture::{Frame, Input, Inputs, Item, LinkType, Order};
use beamscope::engine::{Config, Engine};
use beamscope::packet::FrameRef;
use beamscope::record::{Body, EpmdOutcome, Event, Outcome, Severity};
use beamscope::time::Timestamp;

/// A frame that outlives its buffer.
struct Kept {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    bytes: Vec<u8>,
}

fn frames_of(path: &Path) -> Vec<Kept> {
    let mut inputs = Inputs::new(vec![Input::Path(path.into())], Order::Time).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = inputs.next_item() {
        if let Item::Frame(Frame { id, at, link, interface, wire_len, bytes, .. }) = item {
            frames.push(Kept { id, at, link, interface, wire_len, bytes: bytes.to_vec() });
        }
    }
    frames
}

/// The two ends of a connection, the lesser one first.
type Ends = [String; 2];

/// A finding, with what it is about.
#[derive(Debug)]
struct Reported {
    rule: &'static str,
    severity: Severity,
    title: String,
    ends: Option<Ends>,
    hosts: Option<Ends>,
    nodes: Vec<String>,
}

impl Reported {
    /// Whether two findings are about the same hosts or nodes.
    fn is_about_same(&self, other: &Self) -> bool {
        let share_host = match (&self.hosts, &other.hosts) {
            (Some(own), Some(others)) => own.iter().any(|host| others.contains(host)),
            _ => true,
        };
        share_host || self.nodes.iter().any(|node| other.nodes.contains(node))
    }
}

/// What a run reports of each connection.
#[derive(Debug, Default)]
struct Story {
    outcomes: BTreeMap<Ends, BTreeSet<String>>,
    failed: BTreeMap<Ends, BTreeSet<String>>,
    findings: Vec<Reported>,
}

fn story(path: &Path, frames: &[Kept], is_kept: impl FnMut(&&Kept) -> bool) -> Story {
    let (cookies, epmd_ports) = known_about(path);
    let mut engine = Engine::new(Config { cookies, epmd_ports, ..Config::default() }, Vec::new());
    for Kept { id, at, link, interface, wire_len, bytes } in frames.iter().filter(is_kept) {
        let (id, at, link, interface, wire_len) = (*id, *at, *link, *interface, *wire_len);
        engine.push_frame(&Frame { id, at, link, interface, wire_len, bytes, comments: &[] });
    }
    let mut story = Story::default();
    for Event { connection, body, .. } in engine.finish() {
        let sorted = |mut ends: Ends| {
            ends.sort();
            ends
        };
        let ends = connection.as_ref().map(|ids| {
            sorted([
                format!("{}:{}", ids.src_ip, ids.src_port),
                format!("{}:{}", ids.dest_ip, ids.dest_port),
            ])
        });
        let hosts = connection
            .as_ref()
            .map(|ids| sorted([ids.src_ip.to_string(), ids.dest_ip.to_string()]));
        let (outcome, is_failure, is_open) = match body {
            Body::Session { session } => {
                let outcome = session.outcome;
                (format!("{outcome:?}"), outcome.is_failure(), outcome == Outcome::Incomplete)
            }
            Body::Epmd { epmd } => {
                use EpmdOutcome::{Answered, Incomplete, Unregistered};
                let outcome = epmd.outcome;
                let is_open = outcome == Incomplete;
                let is_failure = !is_open && ![Answered, Unregistered].contains(&outcome);
                (format!("{outcome:?}"), is_failure, is_open)
            }
            Body::Finding { finding } => {
                story.findings.push(Reported {
                    rule: finding.rule,
                    severity: finding.severity,
                    title: finding.title,
                    ends,
                    hosts,
                    nodes: finding.nodes.iter().map(ToString::to_string).collect(),
                });
                continue;
            }
            _ => continue,
        };
        let Some(ends) = ends else { continue };
        if is_failure {
            story.failed.entry(ends.clone()).or_default().insert(outcome.clone());
        }
        if !is_open {
            story.outcomes.entry(ends).or_default().insert(outcome);
        }
    }
    story
}

/// Counts over many runs.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Connections and requests that were well.
    good: u64,
    /// Of these, how many are accused.
    accused: u64,
    /// Connections and requests that failed.
    failures: u64,
    /// Of these, how many are reported with their cause.
    caused: u64,
    /// How many have a wrong cause in a finding of medium severity or above.
    wrong: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.accused += other.accused;
        self.failures += other.failures;
        self.caused += other.caused;
        self.wrong += other.wrong;
    }

    /// Failures that are reported as `incomplete`, or not at all.
    const fn open(&self) -> u64 {
        self.failures - self.caused - self.wrong
    }
}

/// Compares the story of a capture that lacks packets with that of the whole one.
fn compare<'a>(whole: &'a Story, lesser: &'a Story) -> (Tally, Vec<String>) {
    let (mut tally, mut complaints) = (Tally::default(), Vec::new());
    let is_severe = |reported: &&Reported| reported.severity >= Severity::Medium;
    // Connections that were well and have a finding, such as one that was lost later, are failures as well.
    let mut failed: BTreeSet<&Ends> = whole.failed.keys().collect();
    failed.extend(
        whole.findings.iter().filter(is_severe).filter_map(|reported| reported.ends.as_ref()),
    );
    let mut wrong: BTreeSet<&Ends> = BTreeSet::new();
    let mut accused: BTreeSet<&Ends> = BTreeSet::new();
    let mut confirmed: BTreeSet<&Ends> = BTreeSet::new();
    for reported in lesser.findings.iter().filter(is_severe) {
        let Some(ends) = &reported.ends else { continue };
        let outcomes = |story: &'a Story| story.failed.get(ends).into_iter().flatten();
        let is_known = outcomes(lesser).any(|it| outcomes(whole).any(|other| other == it))
            || whole
                .findings
                .iter()
                .any(|other| other.rule == reported.rule && other.is_about_same(reported));
        let is_of_failure = failed.contains(ends)
            || whole.findings.iter().filter(is_severe).any(|other| other.is_about_same(reported));
        if is_known {
            confirmed.insert(ends);
        } else if is_of_failure && reported.rule == "handshake-aborted" {
            // It shows where the handshake ended, and names no cause.
        } else if is_of_failure {
            wrong.insert(ends);
            complaints
                .push(format!("wrong: {} {:?} about {ends:?}", reported.rule, reported.title));
        } else {
            accused.insert(ends);
            complaints
                .push(format!("accused: {} {:?} about {ends:?}", reported.rule, reported.title));
        }
    }
    for (ends, outcomes) in &lesser.failed {
        let known = whole.failed.get(ends);
        if !failed.contains(ends) && accused.insert(ends) {
            complaints.push(format!("accused: {outcomes:?} of {ends:?}"));
        }
        if known.is_some_and(|known| !known.is_disjoint(outcomes)) {
            confirmed.insert(ends);
        }
    }
    for ends in whole.outcomes.keys().filter(|ends| !failed.contains(ends)) {
        tally.good += 1;
        tally.accused += u64::from(accused.remove(ends));
    }
    // Connections that the whole capture does not have.
    tally.accused += accused.len() as u64;
    tally.failures += failed.len() as u64;
    tally.wrong += failed.intersection(&wrong).count() as u64;
    tally.caused +=
        failed.intersection(&confirmed).filter(|ends| !wrong.contains(*ends)).count() as u64;
    (tally, complaints)
}

/// Runs one capture with `percent` of its packets dropped, by each of `seeds`.
fn with_loss(path: &Path, percents: &[usize], seeds: u64) -> Vec<(usize, u64, Tally, Vec<String>)> {
    let frames = frames_of(path);
    let whole = story(path, &frames, |_| true);
    let mut runs = Vec::new();
    for percent in percents {
        for seed in 0..seeds {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut dice = Dice(name.bytes().map(u64::from).sum::<u64>() << 16 | seed << 8);
            for _ in 0..=*percent {
                let _ = dice.roll(2);
            }
            let mut lost = String::new();
            let lesser = story(path, &frames, |frame| {
                let is_kept = dice.roll(1000) >= *percent * 10;
                if !is_kept {
                    lost += &format!(" {}", frame.id.number);
                }
                is_kept
            });
            let (tally, mut complaints) = compare(&whole, &lesser);
            // The frames as `editcap` takes them.
            complaints
                .iter_mut()
                .for_each(|complaint| *complaint += &format!(", without{lost:.300}"));
            runs.push((*percent, seed, tally, complaints));
        }
    }
    runs
}

#[test]
fn no_random_loss_makes_a_good_connection_a_bad_one() {
    corpus::check_all(|path| {
        let runs = with_loss(path, &[1, 5, 10, 20, 30], 1);
        let is_bad = |complaint: &&String| complaint.starts_with("accused");
        runs.iter()
            .flat_map(|(percent, seed, _, complaints)| {
                let bad = complaints.iter().filter(is_bad);
                bad.map(move |it| format!("{percent} % lost, seed {seed}: {it}"))
            })
            .collect()
    });
}

/// Prints the table of `docs/loss.md`, and each accusation that is wrong.
#[test]
#[ignore = "takes minutes; scripts/random-loss runs it"]
fn table_of_random_loss() {
    const PERCENTS: [usize; 5] = [1, 5, 10, 20, 30];
    let seeds =
        std::env::var("BEAMSCOPE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let sums = Mutex::new((BTreeMap::<usize, Tally>::new(), 0, 0));
    corpus::check_all(|path| {
        let runs = with_loss(path, &PERCENTS, seeds);
        let mut sums = sums.lock().unwrap();
        sums.1 += 1;
        for (percent, seed, tally, complaints) in runs {
            sums.0.entry(percent).or_default().add(tally);
            sums.2 += 1;
            for complaint in complaints {
                println!("{} {percent} % seed {seed}: {complaint}", path.display());
            }
        }
        Vec::new()
    });
    let (tallies, captures, runs) = sums.into_inner().unwrap();
    println!("\n{captures} captures, {seeds} seeds for each percentage, {runs} runs\n");
    println!(
        "| packets lost | good connections | accused | failures | with their cause | left open | wrong cause |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (percent, tally) in tallies {
        let share = |n: u64, of: u64| format!("{:.3} %", n as f64 * 100.0 / of.max(1) as f64);
        println!(
            "| {percent} % | {} | {} | {} | {} | {} | {} ({}) |",
            tally.good,
            tally.accused,
            tally.failures,
            share(tally.caused, tally.failures),
            share(tally.open(), tally.failures),
            tally.wrong,
            share(tally.wrong, tally.failures),
        );
    }
}
