//! What several sensors saw gives the events of one run over everything, in whatever order and how often it is given.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use beamscope::engine::Engine;
use beamscope::limits::MergeLimits;
use beamscope::merge::{Part, merge};
use beamscope::observe::{Fact, Recorded, Totals};
use beamscope::record::{Body, Event};
use beamscope::render::{KeptObservations, observations_head, write_observation};

use super::observations::{Run, config, run_engine, shuffled};
use crate::support::corpus::check_all;

/// Facts as a sensor writes them to a file and a merge reads them.
fn part(sensor: &str, input: &str, facts: &[Recorded]) -> Part {
    let (sensor, inputs) = (Arc::from(sensor), [Arc::from(input)]);
    let mut file = observations_head(&sensor, &inputs).into_bytes();
    facts.iter().for_each(|fact| write_observation(&mut file, fact));
    let mut kept = KeptObservations::open(file.as_slice()).unwrap();
    let mut read = Vec::new();
    while let Some(fact) = kept.next_fact().unwrap() {
        read.push(fact);
    }
    let (sensor, inputs) = (Arc::clone(kept.sensor()), kept.inputs().to_vec());
    Part { sensor, inputs, digest: kept.digest(), facts: read, faults: Vec::new() }
}

/// The events of a merge.
fn merged(parts: Vec<Part>, run: Run) -> Vec<Event> {
    let merged = merge(parts, &MergeLimits::default());
    let mut engine = Engine::new(config(run), Vec::new());
    merged.facts.into_iter().for_each(|fact| engine.push_fact(fact));
    engine.finish()
}

fn connection(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Connection { settled, .. }
        | Fact::Epmd { settled, .. }
        | Fact::Handshake { settled, .. }
        | Fact::Message { settled, .. }
        | Fact::Anomaly { settled, .. }
        | Fact::ProxyHeader { settled, .. } => Some(&settled.connection.session_id),
        Fact::Resolved(_)
        | Fact::Unresolved(_)
        | Fact::NoNeighbour(_)
        | Fact::ListedName { .. }
        | Fact::Run { .. }
        | Fact::End(_) => None,
    }
}

/// The facts of a run in so many parts, each connection in one of them. What the run counted is in the first.
fn by_connection(facts: &[Recorded], parts: usize) -> Vec<Vec<Recorded>> {
    let mut split = vec![Vec::new(); parts];
    for fact in facts {
        if let Fact::End(totals) = &fact.fact {
            for (at, part) in split.iter_mut().enumerate() {
                let totals = if at == 0 { totals.clone() } else { Box::new(Totals::default()) };
                part.push(Recorded { fact: Fact::End(totals), ..fact.clone() });
            }
            continue;
        }
        let mut hasher = DefaultHasher::new();
        match connection(&fact.fact) {
            Some(id) => id.hash(&mut hasher),
            None => fact.sequence.hash(&mut hasher),
        }
        split[(hasher.finish() % parts as u64) as usize].push(fact.clone());
    }
    split
}

fn difference(
    expected: &[Event],
    found: &[Event],
    text: impl Fn(&Event) -> String,
) -> Option<String> {
    let at = |events: &[Event], at: usize| events.get(at).map(&text);
    (0..expected.len().max(found.len())).find_map(|n| {
        let (expected, found) = (at(expected, n), at(found, n));
        (expected != found)
            .then(|| format!("event {n}:\n  run:   {expected:?}\n  merge: {found:?}"))
    })
}

#[test]
fn connections_that_several_sensors_saw_give_the_events_of_one_run() {
    check_all(|path| {
        [Run::Plain, Run::Everything]
            .into_iter()
            .filter_map(|run| split_by_connection(path, run))
            .collect()
    });
}

fn split_by_connection(path: &Path, run: Run) -> Option<String> {
    let (events, facts) = run_engine(path, run);
    for (parts, seed) in [(1, 1), (2, 2), (5, 3)] {
        let split = by_connection(&facts, parts);
        let split = split.into_iter().map(|facts| part("a", "a.pcap", &shuffled(facts, seed)));
        let mut split = shuffled(split.collect(), seed);
        split.push(split[0].clone());
        let found = merged(split, run);
        if let Some(difference) = difference(&events, &found, |event| format!("{event:?}")) {
            return Some(format!("{run:?}, {parts} parts: {difference}"));
        }
    }
    None
}

#[test]
fn the_order_of_sensors_and_how_often_they_are_given_change_nothing() {
    check_all(|path| {
        let (_, facts) = run_engine(path, Run::Plain);
        let split = by_connection(&facts, 4);
        let parts: Vec<Part> = (1..)
            .zip(&split)
            .map(|(n, facts)| part(&format!("sensor {n}"), "a.pcap", facts))
            .collect();
        let expected = merged(parts.clone(), Run::Plain);
        let trials = (1..4).filter_map(|seed| {
            let again = [shuffled(parts.clone(), seed), shuffled(parts.clone(), seed + 9)].concat();
            difference(&expected, &merged(again, Run::Plain), |event| format!("{event:?}"))
        });
        trials.collect()
    });
}

#[test]
fn a_part_without_its_end_makes_the_merge_incomplete() {
    check_all(|path| {
        let (_, facts) = run_engine(path, Run::Plain);
        let Some((_, cut)) = facts.split_last() else { return Vec::new() };
        let events = merged(vec![part("a", "a.pcap", cut)], Run::Plain);
        let is_complete = events.iter().any(
            |event| matches!(&event.body, Body::Stats { stats } if stats.is_final && stats.complete),
        );
        if is_complete { vec!["complete".to_owned()] } else { Vec::new() }
    });
}
