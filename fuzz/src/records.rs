//! Lines that the program wrote, read back: facts, and kept events.

use std::io::Cursor;

use beamscope::compare::{CapturePairs, PairAttempt, PairProblem, compare as compare_pairs};
use beamscope::engine::judge_facts;
use beamscope::judge::world::HomeNets;
use beamscope::limits::Limits;
use beamscope::observe::Recorded;
use beamscope::render::KeptEvents;

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
