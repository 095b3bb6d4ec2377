//! What several sensors saw gives the events of one run over everything, in whatever order and how often it is given.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use beamscope::capture::CaptureFile;
use beamscope::decode::Direction;
use beamscope::drive;
use beamscope::engine::Engine;
use beamscope::limits::MergeLimits;
use beamscope::merge::{GoingRun, Part, merge};
use beamscope::observe::{Fact, Recorded, Totals, VERSION};
use beamscope::record::{AnomalyKind, Body, EpmdOutcome, Event, Severity};
use beamscope::render::{KeptObservations, observations_head, write_observation};
use beamscope::time::Timestamp;

use super::observations::{Run, config, run_engine, shuffled};
use crate::support::SEED;
use crate::support::corpus::check_all;
use crate::support::pieces::{Kept, frames_of, pcap};

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
    Part { sensor, inputs, digest: kept.digest(), facts: read, faults: Vec::new(), going: None }
}

/// The events of a merge.
pub(super) fn merged(parts: Vec<Part>, run: Run) -> Vec<Event> {
    let merged = merge(parts, &MergeLimits::default());
    let mut engine = Engine::new(config(run), Vec::new());
    merged.facts.into_iter().for_each(|fact| engine.push_fact(fact));
    engine.finish()
}

fn connection(fact: &Fact) -> Option<&str> {
    Some(&fact.settled()?.connection.session_id)
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
        // Of what no connection shows, the same again within a moment is the same packet at another sensor.
        if let Some(id) = connection(&fact.fact) {
            id.hash(&mut hasher);
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

/// The rules of findings that accuse a node.
fn accusations(events: &[Event]) -> BTreeSet<String> {
    let finding = |event: &Event| match &event.body {
        Body::Finding { finding } if finding.severity > Severity::Low => {
            Some(finding.rule.to_string())
        }
        _ => None,
    };
    events.iter().filter_map(finding).collect()
}

#[test]
fn a_run_that_was_cut_accuses_no_node_that_the_whole_one_does_not() {
    check_all(|path| {
        let (events, facts) = run_engine(path, Run::Plain);
        let whole = accusations(&events);
        let trials = (0..8).filter_map(|seed| {
            let facts = &facts[..random(path, 0, seed) as usize % facts.len()];
            let found = accusations(&merged(vec![part("a", "a.pcap", facts)], Run::Plain));
            let invented: Vec<_> = found.difference(&whole).collect();
            (!invented.is_empty()).then(|| format!("{seed}: {invented:?}"))
        });
        trials.collect()
    });
}

/// What a sensor records of a capture.
pub(super) fn part_of_frames(sensor: &str, input: &str, capture: Vec<u8>) -> Part {
    let facts = Arc::new(Mutex::new(Vec::new()));
    let mut engine = Engine::new(config(Run::Plain), Vec::new());
    let recorded = Arc::clone(&facts);
    engine.record_facts(Box::new(move |fact| recorded.lock().unwrap().push(fact.clone())));
    drive::run(&mut CaptureFile::from_bytes(capture), &mut engine, &mut ()).unwrap();
    engine.finish();
    let facts = std::mem::take(&mut *facts.lock().unwrap());
    part(sensor, input, &facts)
}

/// The frames of a capture, of which each sensor has some; a frame without a TCP segment is at all of them.
fn seen_by(
    path: &Path,
    has: impl Fn(usize, usize, &Kept) -> bool,
    sensors: usize,
    shift: i64,
) -> Option<[Vec<Part>; 2]> {
    let (link, frames) = frames_of(&path.to_string_lossy())?;
    let part_of = |sensor: usize, name: &str| {
        // One run over what any of them has.
        let any = |at: usize, frame: &Kept| (0..sensors).any(|sensor| has(sensor, at, frame));
        let is_kept =
            |at, frame: &Kept| if sensor == ALL { any(at, frame) } else { has(sensor, at, frame) };
        let own = frames.iter().enumerate().filter(|(at, frame)| is_kept(*at, frame));
        let own: Vec<&Kept> = own.map(|(_, frame)| frame).collect();
        part_of_frames(name, "x.pcap", pcap(link, &own, if sensor == 1 { shift } else { 0 }))
    };
    let parts = (0..sensors).map(|sensor| part_of(sensor, &format!("sensor {sensor}"))).collect();
    Some([parts, vec![part_of(ALL, "all")]])
}

/// In place of a sensor: all of them.
const ALL: usize = usize::MAX;

/// What a run reports of connections, by their ends, and its findings.
#[derive(Debug, Default)]
struct Story {
    last: BTreeMap<String, String>,
    all: BTreeMap<String, BTreeSet<String>>,
    failed: BTreeSet<(String, String)>,
    rules: BTreeMap<&'static str, String>,
}

fn story(events: &[Event]) -> Story {
    let mut reports = Story::default();
    for Event { connection, body, .. } in events {
        let ends = connection.as_ref().map(|it| {
            let mut ends = [(it.src_ip, it.src_port), (it.dest_ip, it.dest_port)];
            ends.sort_unstable();
            format!("{ends:?}")
        });
        let (outcome, is_failure) = match body {
            Body::Session { session } => {
                (format!("{:?}", session.outcome), session.outcome.is_failure())
            }
            Body::Epmd { epmd } if epmd.outcome != EpmdOutcome::Unregistered => {
                (format!("epmd {:?}", epmd.outcome), epmd.outcome.is_failure())
            }
            Body::Finding { finding } if finding.severity > Severity::Info => {
                reports.rules.insert(finding.rule, finding.title.clone());
                continue;
            }
            _ => continue,
        };
        let Some(ends) = ends else { continue };
        if is_failure {
            reports.failed.insert((ends.clone(), outcome.clone()));
        }
        reports.all.entry(ends.clone()).or_default().insert(outcome.clone());
        reports.last.insert(ends, outcome);
    }
    reports
}

/// What a merge reports that one run over everything does not; and how many connections end as in that run, of how many.
fn invented(path: &Path, [parts, all]: [Vec<Part>; 2]) -> (Vec<String>, usize, usize) {
    let one = story(&merged(all, Run::Plain));
    let many = story(&merged(parts, Run::Plain));
    let wrong = many.failed.iter().filter(|(ends, outcome)| {
        !one.all.get(ends).is_some_and(|outcomes| outcomes.contains(outcome))
    });
    let mut wrong: Vec<_> = wrong
        .map(|(ends, outcome)| {
            format!("{}: {ends} is {outcome}, and was {:?}", path.display(), one.all.get(ends))
        })
        .collect();
    let rules = many.rules.iter().filter(|(rule, _)| !one.rules.contains_key(*rule));
    wrong.extend(rules.map(|(rule, title)| format!("{}: {rule}: {title}", path.display())));
    let same = one.last.iter().filter(|(ends, outcome)| many.last.get(*ends) == Some(*outcome));
    (wrong, same.count(), one.last.len())
}

/// Runs a division of all captures among sensors: nothing is invented, and at least so many per cent end the same.
fn check_division(least: usize, division: impl Fn(&Path) -> Option<[Vec<Part>; 2]> + Sync) {
    let counts = Mutex::new((0, 0));
    check_all(|path| {
        let Some(parts) = division(path) else { return Vec::new() };
        let (wrong, same, all) = invented(path, parts);
        let mut counts = counts.lock().unwrap();
        *counts = (counts.0 + same, counts.1 + all);
        wrong
    });
    let (same, all) = counts.into_inner().unwrap();
    assert!(same * 100 >= all * least, "{same} of {all} connections end as in one run");
}

/// A number that looks random, the same in each run.
pub(super) fn random(path: &Path, sensor: usize, at: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path.file_name(), sensor, at).hash(&mut hasher);
    hasher.finish()
}

#[test]
fn two_sensors_of_one_direction_each_give_one_answer() {
    // What needs both directions to be recognised, or to be decided, is left open.
    for (least, clock) in [(80, 0), (80, 1_500_000_000), (80, -1_500_000_000)] {
        check_division(least, |path| {
            let has = |sensor: usize, _: usize, frame: &Kept| match frame.direction {
                Some(Direction::LowToHigh) => sensor != 1,
                Some(Direction::HighToLow) => sensor != 0,
                None => true,
            };
            seen_by(path, has, 2, clock)
        });
    }
}

#[test]
fn sensors_that_lost_different_packets_accuse_for_none_of_them() {
    check_division(85, |path| {
        let has = |sensor: usize, at: usize, _: &Kept| random(path, sensor, at) % 100 < 90;
        seen_by(path, has, 2, 0)
    });
}

#[test]
fn a_sensor_that_saw_everything_decides_whatever_the_others_lack() {
    check_division(99, |path| {
        let has = |sensor: usize, at: usize, _: &Kept| {
            sensor != 1 || random(path, sensor, at).is_multiple_of(2)
        };
        seen_by(path, has, 2, 0)
    });
    check_division(99, |path| {
        let has = |sensor: usize, at: usize, _: &Kept| sensor != 1 || at > 20;
        seen_by(path, has, 2, 0)
    });
}

#[test]
fn a_sensor_that_stopped_early_changes_no_finding() {
    check_all(|path| {
        let mut wrong = Vec::new();
        for at_most in (0..PLACES).map(|place| {
            let frames = frames_of(&path.to_string_lossy()).map_or(0, |(_, frames)| frames.len());
            1 + frames * place / PLACES
        }) {
            let has = |sensor: usize, at: usize, _: &Kept| sensor == 0 || at < at_most;
            let Some([parts, whole]) = seen_by(path, has, 2, 0) else { continue };
            let rules_of =
                |it| story(&merged(it, Run::Plain)).rules.into_keys().collect::<Vec<_>>();
            let [one, many] = [whole, parts].map(rules_of);
            if one != many {
                wrong.push(format!("{at_most} frames: {one:?} became {many:?}"));
            }
        }
        wrong
    });
}

#[test]
fn a_sensor_that_lacks_the_opening_hides_no_silence_that_another_one_shows() {
    // Until the dialing node gave up: the other one had not sent a byte.
    let (link, frames) = frames_of("captures/frozen-acceptor.pcap").unwrap();
    let [first, second] = [("a", 0), ("b", 14)].map(|(sensor, from)| {
        let seen: Vec<&Kept> = frames[from..18].iter().collect();
        part_of_frames(sensor, "x.pcap", pcap(link, &seen, 0))
    });
    let alone = accusations(&merged(vec![first.clone()], Run::Plain));
    assert_eq!(alone, BTreeSet::from(["handshake-timeout".to_owned()]));
    assert_eq!(accusations(&merged(vec![first, second], Run::Plain)), alone);
}

/// Places in a capture at which a sensor stops.
const PLACES: usize = 12;

/// Whether the clock of the second sensor was found to be 1.5 s ahead.
fn is_aligned(event: &Event) -> bool {
    match &event.body {
        Body::Anomaly { anomaly } => {
            anomaly.kind == AnomalyKind::ClocksAligned
                && anomaly
                    .detail
                    .starts_with("the clock of sensor 1 is 1.500 s ahead of that of sensor 0")
        }
        _ => false,
    }
}

#[test]
fn a_sensor_with_another_clock_is_put_on_that_of_the_first() {
    let aligned = Mutex::new(0);
    check_all(|path| {
        let Some(divided) = seen_by(path, |_, _, _| true, 2, 1_500_000_000) else {
            return Vec::new();
        };
        let (wrong, same, all) = invented(path, divided.clone());
        let [parts, _] = divided;
        *aligned.lock().unwrap() += usize::from(merged(parts, Run::Plain).iter().any(is_aligned));
        let differs =
            (same < all).then(|| format!("{same} of {all} connections end as in one run"));
        wrong.into_iter().chain(differs).collect()
    });
    let aligned = aligned.into_inner().unwrap();
    assert!(aligned > 60, "{aligned}");
}

#[test]
fn the_clock_of_a_sensor_of_one_direction_is_compared_by_what_it_has_of_each_handshake() {
    let aligned = Mutex::new(0);
    check_all(|path| {
        let has = |sensor: usize, _: usize, frame: &Kept| {
            sensor == 0 || frame.direction != Some(Direction::LowToHigh)
        };
        let Some(divided) = seen_by(path, has, 2, 1_500_000_000) else { return Vec::new() };
        let (wrong, ..) = invented(path, divided.clone());
        let [parts, _] = divided;
        let is_found = merged(parts, Run::Plain).iter().any(is_aligned);
        *aligned.lock().unwrap() += usize::from(is_found);
        wrong
    });
    let aligned = aligned.into_inner().unwrap();
    assert!(aligned > 30, "{aligned}");
}

/// An IPv4 address with which the checksums of headers stay the same.
fn translation_of([a, b, c, d]: [u8; 4]) -> [u8; 4] {
    let (high, low) =
        (u32::from(u16::from_be_bytes([a, b])), u32::from(u16::from_be_bytes([c, d])));
    let words = [(high + 0x20) % 0xffff, (low + 0xffff - 0x20) % 0xffff];
    let [[a, b], [c, d]] = words.map(|word| u16::try_from(word).unwrap().to_be_bytes());
    [a, b, c, d]
}

/// The addresses of a TCP segment in IPv4 in Ethernet.
fn addresses(bytes: &[u8]) -> Option<[[u8; 4]; 2]> {
    let is_tcp = bytes.get(12..14)? == [8, 0] && *bytes.get(23)? == 6;
    is_tcp.then(|| [26, 30].map(|at| bytes[at..at + 4].try_into().unwrap()))
}

/// The addresses of which a dial has no SYN-ACK.
fn dialed_in_vain(frames: &[Kept]) -> BTreeSet<[u8; 4]> {
    let openings = |flags: u8| {
        frames.iter().filter_map(move |frame| {
            let [from, to] = addresses(&frame.bytes)?;
            let tcp = 14 + usize::from(frame.bytes[14] & 0x0f) * 4;
            let ports: [u8; 4] = frame.bytes.get(tcp..tcp + 4)?.try_into().unwrap();
            let is_opening = frame.bytes.get(tcp + 13)? & 0x12 == flags;
            is_opening.then_some((from, to, ports))
        })
    };
    let answered: BTreeSet<_> =
        openings(0x12).map(|(from, to, [a, b, c, d])| (to, from, [c, d, a, b])).collect();
    openings(0x02).filter(|dial| !answered.contains(dial)).map(|(_, to, _)| to).collect()
}

/// A capture at the sensor of one of its hosts, at one behind a translator that gives this host another address, and as a
/// whole. The first sensor has the last of so many parts of the capture.
fn translated(path: &Path, parts: usize) -> Option<[Vec<Part>; 2]> {
    let (link, frames) = frames_of(&path.to_string_lossy())?;
    if link.0 != 1
        || frames.iter().any(|it| it.direction.is_some() && addresses(&it.bytes).is_none())
    {
        return None;
    }
    let mut counts: BTreeMap<[u8; 4], usize> = BTreeMap::new();
    frames.iter().filter_map(|it| addresses(&it.bytes)).flatten().for_each(|ip| {
        *counts.entry(ip).or_default() += 1;
    });
    // A dial that nothing accepted shows one sequence number, which does not show that two acceptors are one.
    let in_vain = dialed_in_vain(&frames);
    let (host, _) =
        counts.iter().filter(|(ip, _)| !in_vain.contains(*ip)).max_by_key(|it| *it.1)?;
    let other = translation_of(*host);
    if counts.contains_key(&other) || counts.contains_key(&[127, 0, 0, 1]) {
        return None;
    }
    let mut behind = Vec::new();
    for (at, frame) in frames.iter().enumerate() {
        let Some([from, to]) = addresses(&frame.bytes) else { continue };
        let mut bytes = frame.bytes.clone();
        for (at, ip) in [(26, from), (30, to)] {
            if ip == *host {
                bytes[at..at + 4].copy_from_slice(&other);
            }
        }
        // Nearer to the other hosts: what they send is seen earlier there, and what the host sends is seen later.
        let gap = |other: Option<usize>| {
            let other = other.and_then(|at| frames.get(at));
            other.map_or(3000, |other| other.nanos.abs_diff(frame.nanos))
        };
        let delay = gap(at.checked_sub(1)).min(gap(Some(at + 1))).min(3000) / 3;
        let nanos = if from == *host { frame.nanos + delay } else { frame.nanos - delay };
        behind.push(Kept { nanos, wire_len: frame.wire_len, bytes, direction: frame.direction });
    }
    let all: Vec<&Kept> = frames.iter().collect();
    let behind: Vec<&Kept> = behind.iter().collect();
    let late = &all[all.len() - all.len() / parts..];
    let [near, far] = [(late, "near"), (&behind[..], "far")]
        .map(|(frames, sensor)| part_of_frames(sensor, "x.pcap", pcap(link, frames, 0)));
    let whole = part_of_frames("all", "x.pcap", pcap(link, &all, 0));
    Some([vec![near, far], vec![whole]])
}

fn is_translated(event: &Event) -> bool {
    match &event.body {
        Body::Anomaly { anomaly } => anomaly.kind == AnomalyKind::AddressTranslated,
        _ => false,
    }
}

#[test]
fn an_address_that_is_known_as_a_translator_is_not_taken_for_a_host() {
    let tried = Mutex::new(0);
    check_all(|path| {
        let Some([parts, whole]) = translated(path, 2) else { return Vec::new() };
        let events = merged(parts, Run::Plain);
        if !events.iter().any(is_translated) {
            return Vec::new();
        }
        *tried.lock().unwrap() += 1;
        let (one, many) = (story(&merged(whole, Run::Plain)), story(&events));
        let about_names = ["unproven-name", "duplicate-node", "name-mismatch", "cookie-guessing"];
        let wrong = many
            .rules
            .iter()
            .filter(|(rule, _)| about_names.contains(*rule) && !one.rules.contains_key(*rule));
        wrong.map(|(rule, title)| format!("{rule}: {title}")).collect()
    });
    let tried = tried.into_inner().unwrap();
    assert!(tried > 30, "{tried}");
}

#[test]
fn a_connection_on_both_sides_of_a_translation_is_one() {
    let (tried, reported) = (Mutex::new(0), Mutex::new(0));
    check_all(|path| {
        let Some(divided) = translated(path, 1) else { return Vec::new() };
        let (mut wrong, same, all) = invented(path, divided.clone());
        if same < all {
            wrong.push(format!("{same} of {all} connections end as in one run"));
        }
        let [parts, whole] = divided;
        let events = merged(parts.clone(), Run::Plain);
        let (one, many) = (story(&merged(whole, Run::Plain)), story(&events));
        let doubles = many.last.keys().filter(|ends| !one.last.contains_key(*ends));
        wrong.extend(doubles.map(|ends| format!("{ends} is no connection of one run")));
        let again = merged(shuffled([parts.clone(), parts].concat(), 7), Run::Plain);
        wrong.extend(difference(&events, &again, |event| format!("{event:?}")));
        *tried.lock().unwrap() += 1;
        *reported.lock().unwrap() += events.iter().filter(|event| is_translated(event)).count();
        wrong
    });
    let (tried, reported) = (tried.into_inner().unwrap(), reported.into_inner().unwrap());
    assert!(tried > 60 && reported > 300, "{reported} connections of {tried} captures");
}

#[test]
fn facts_that_lie_end_no_run() {
    check_all(|path| {
        let (_, facts) = run_engine(path, Run::Everything);
        let mut file = Vec::new();
        facts.iter().for_each(|fact| write_observation(&mut file, fact));
        let lines = String::from_utf8(file).unwrap();
        let head = observations_head(&Arc::from("a"), &[Arc::from("a.pcap")]);
        let values = ["18446744073709551615", "18446744073709551000", "0", "4294967295", "65535"];
        for seed in 0..6_usize {
            let mut lied = head.clone();
            for (number, line) in lines.lines().enumerate() {
                // Some numbers of a line are others.
                let mut left = 1 + random(path, seed, number) as usize % 40;
                let mut rest = line;
                while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
                    let is_value = rest[..at].ends_with(':');
                    let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
                    left = left.saturating_sub(usize::from(is_value));
                    lied.push_str(&rest[..at]);
                    if is_value && left == 0 && !rest[..at].ends_with("\"version\":") {
                        lied.push_str(
                            values[random(path, seed, number + at) as usize % values.len()],
                        );
                        left = 5;
                    } else {
                        lied.push_str(&rest[at..at + digits]);
                    }
                    rest = &rest[at + digits..];
                }
                lied.push_str(rest);
                lied.push('\n');
            }
            let mut kept = KeptObservations::open(lied.as_bytes()).unwrap();
            let mut read = Vec::new();
            loop {
                match kept.next_fact() {
                    Ok(Some(fact)) => read.push(fact),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            let lying = Part {
                sensor: "b".into(),
                inputs: Vec::new(),
                digest: kept.digest(),
                facts: read,
                faults: Vec::new(),
                going: None,
            };
            let honest = part("a", "a.pcap", &facts);
            for parts in [vec![lying.clone()], vec![honest, lying]] {
                merged(parts, Run::Plain);
            }
        }
        Vec::new()
    });
}

#[test]
fn counts_that_lie_do_not_overflow() {
    // As many refused links, and evictions, as a number can be; a merge adds what it counts itself.
    let totals = Totals {
        packets: u64::MAX,
        evictions: u64::MAX,
        unsupported: [(1, u64::MAX), (2, u64::MAX)].into(),
        ..Totals::default()
    };
    let fact = Fact::End(Box::new(totals));
    let recorded = Recorded { version: VERSION, clock: Timestamp(1), sequence: 0, fact };
    let parts = ["a", "b"].map(|sensor| part(sensor, "x.pcap", std::slice::from_ref(&recorded)));
    let events = merged(parts.into(), Run::Plain);
    let Some(Body::Stats { stats }) = events.last().map(|event| &event.body) else { panic!() };
    assert_eq!((stats.packets, stats.evictions), (u64::MAX, u64::MAX));
}

#[test]
fn while_a_run_goes_on_nothing_is_judged_that_it_may_still_show() {
    let (_, facts) = run_engine(Path::new(SEED), Run::Plain);
    let (whole, middle) = (facts.len(), facts.len() / 2);
    let reached = facts[middle].clock;
    assert!(reached < facts[whole - 1].clock && facts[whole - 1].clock > Timestamp::default());
    let known = |going| {
        let behind = Part { going, ..part("b", "b.pcap", &facts[..=middle]) };
        merge(vec![part("a", "a.pcap", &facts), behind], &MergeLimits::default()).facts
    };
    let is_end = |it: &Recorded| matches!(it.fact, Fact::End(_));
    let so_far = known(Some(GoingRun::UpToItsLastFact));
    assert!(!so_far.is_empty() && so_far.iter().all(|it| it.clock <= reached && !is_end(it)));
    let all = known(Some(GoingRun::UpToNow));
    assert!(all.len() > so_far.len() && !all.iter().any(is_end));
    // One that was cut short is a fault, and the end is that of the others.
    let cut = known(None);
    assert!(cut.iter().any(is_end) && cut.len() > all.len());
    // Of a run without a fact nothing is known, and nothing waits for it.
    let empty = Part { going: Some(GoingRun::UpToItsLastFact), ..part("b", "b.pcap", &[]) };
    let parts = vec![part("a", "a.pcap", &facts), empty];
    assert_eq!(merge(parts, &MergeLimits::default()).facts.len(), whole - 1);
}
