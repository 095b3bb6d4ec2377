//! Lines that the program wrote, read back: facts, observations of several sensors, and kept events.

use std::io::Cursor;

use beamscope::compare::{CapturePairs, PairAttempt, PairProblem, compare as compare_pairs};
use beamscope::engine::{Config, Engine, judge_facts};
use beamscope::judge::world::HomeNets;
use beamscope::limits::{Limits, MergeLimits};
use beamscope::merge::{GoingRun, Part, merge as merge_parts};
use beamscope::observe::Recorded;
use beamscope::render::{KeptEvents, KeptObservations};

/// Judges facts, one a line.
pub fn facts(data: &[u8]) {
    let lines = data.split(|byte| *byte == b'\n');
    let facts: Vec<Recorded> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).take(1000).collect();
    // What was read is written, and read again, as it was.
    for fact in &facts {
        let written = serde_json::to_string(fact).unwrap();
        let again: Recorded = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), written);
    }
    let _ = judge_facts(facts, &Limits::default(), HomeNets::default());
}

/// Merges the observations of up to four sensors, which lines of `=` separate: their order and their number change nothing.
pub fn merge(data: &[u8]) {
    let mut parts = Vec::new();
    let mut rest = data;
    while parts.len() < 4 && !rest.is_empty() {
        let place = rest.windows(3).position(|part| part == b"\n=\n");
        let (own, others) = rest.split_at(place.map_or(rest.len(), |place| place + 1));
        parts.extend(part(own));
        rest = others.get(2..).unwrap_or_default();
    }
    let limits = MergeLimits { inputs: 8, ..MergeLimits::default() };
    let twice = parts.iter().rev().chain(&parts).cloned().collect();
    let (once, twice) = (merge_parts(parts, &limits), merge_parts(twice, &limits));
    assert_eq!(format!("{:?}", once.facts), format!("{:?}", twice.facts));
    let mut engine = Engine::new(Config::default(), Vec::new());
    once.facts.into_iter().for_each(|fact| engine.push_fact(fact));
    let _ = engine.finish();
}

fn part(lines: &[u8]) -> Option<Part> {
    let mut kept = KeptObservations::open(Cursor::new(lines.to_vec())).ok()?;
    let mut facts = Vec::new();
    for _ in 0..1000 {
        match kept.next_fact() {
            Ok(Some(fact)) => facts.push(fact),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    let (sensor, inputs) = (kept.sensor().clone(), kept.inputs().to_vec());
    let digest = kept.digest();
    let going = match digest.bytes().last().unwrap_or_default() % 3 {
        0 => None,
        1 => Some(GoingRun::UpToItsLastFact),
        _ => Some(GoingRun::UpToNow),
    };
    Some(Part { sensor, inputs, digest, facts, faults: Vec::new(), going })
}

/// Compares the kept events of two runs, which a line of `=` separates.
pub fn compare(data: &[u8]) {
    let place = data.windows(3).position(|part| part == b"\n=\n");
    let (before, after) = data.split_at(place.unwrap_or(data.len()));
    let [before, after] = [before, after.get(3..).unwrap_or_default()].map(pairs);
    let _ = compare_pairs(before, after);
}

fn pairs(lines: &[u8]) -> CapturePairs {
    let mut pairs = CapturePairs::new(&Limits { connections: 8, nodes: 8, ..Limits::default() });
    let lines = Box::new(Cursor::new(lines.to_vec()));
    let mut events = KeptEvents::new(lines, vec!["input".into()], 0);
    while let Ok(Some(event)) = events.next_event() {
        if let Some(attempt) = PairAttempt::of(&event) {
            pairs.on_attempt(attempt);
        }
        if let Some(problem) = PairProblem::of(&event) {
            pairs.on_problem(problem);
        }
    }
    pairs
}
