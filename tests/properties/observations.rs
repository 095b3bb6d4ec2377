//! The facts of a run are all that its verdicts and findings rest on: written to a file, shuffled, read back and judged
//! anew, they give the same events.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use beamscope::capture::{CaptureFile, Item};
use beamscope::engine::{Config, Engine, judge_facts};
use beamscope::judge::world::HomeNets;
use beamscope::observe::{Fact, Recorded, VERSION};
use beamscope::protocol::MessageDetail;
use beamscope::protocol::digest::{CandidateCookies, Cookie};
use beamscope::record::{Body, Event};
use beamscope::time::Timestamp;

use crate::support::corpus::check_all;

/// How a capture is run: as by default, or so that every kind of fact occurs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Run {
    Plain,
    /// With candidate cookies, key logs, messages, warnings and packets that the capture has lost.
    Everything,
}

#[test]
fn recorded_facts_give_the_events_of_the_run_in_whatever_order_they_are_stored() {
    check_all(|path| {
        [Run::Plain, Run::Everything].into_iter().filter_map(|run| difference(path, run)).collect()
    });
}

/// The first event that differs between a run and the facts of that run, judged anew.
fn difference(path: &Path, run: Run) -> Option<String> {
    let (events, facts) = run_engine(path, run);
    let expected: Vec<_> = events.iter().filter(|event| follows_from_facts(event)).collect();
    let stored = Stored::write(shuffled(facts, 0x5eed), path, run);
    let judged = judge_facts(stored.read(), &config(run).limits, HomeNets::default());
    let judged: Vec<_> = judged.iter().filter(|event| follows_from_facts(event)).collect();
    let text = |event: Option<&&Event>| event.map(|event| format!("{event:?}"));
    let longest = expected.len().max(judged.len());
    (0..longest).find_map(|at| {
        let (expected, judged) = (text(expected.get(at)), text(judged.get(at)));
        (expected != judged)
            .then(|| format!("{run:?}, event {at}:\n  run:   {expected:?}\n  facts: {judged:?}"))
    })
}

/// Whether an event is about what the capture shows, and not about the run, its inputs or its bounds.
fn follows_from_facts(event: &Event) -> bool {
    match event.body {
        Body::Stats { .. } | Body::Cluster { .. } => false,
        Body::Anomaly { .. } => event.connection.is_some(),
        _ => true,
    }
}

pub(super) fn config(run: Run) -> Config {
    match run {
        Run::Plain => Config::default(),
        Run::Everything => Config {
            cookies: candidates(),
            messages: MessageDetail::Operations,
            warns: true,
            ..Config::default()
        },
    }
}

/// The cookies of the project's captures.
fn candidates() -> CandidateCookies {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/cookies.txt");
    let mut cookies = CandidateCookies::default();
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some((label, secret)) = line.split_once('\t') {
            cookies.add(Cookie::new(label, secret.as_bytes()));
        }
    }
    assert!(!cookies.is_empty());
    cookies
}

pub(super) fn run_engine(path: &Path, run: Run) -> (Vec<Event>, Vec<Recorded>) {
    let facts = Arc::new(Mutex::new(Vec::new()));
    let mut engine = Engine::new(config(run), Vec::new());
    let recorded = Arc::clone(&facts);
    engine.record_facts(Box::new(move |fact| recorded.lock().unwrap().push(fact.clone())));
    if let (Run::Everything, Ok(lines)) = (run, fs::read(path.with_extension("keylog"))) {
        engine.add_secrets(&lines);
    }
    let mut capture = CaptureFile::open(path, 0).unwrap();
    while let Ok(Some(item)) = capture.next_item() {
        let frame = match item {
            Item::Frame(frame) => frame,
            Item::Names { names, .. } => {
                names.iter().for_each(|(ip, name)| engine.on_listed_name(*ip, name));
                continue;
            }
            _ => continue,
        };
        engine.push_frame(&frame);
        if matches!(run, Run::Everything) && frame.id.number == LOST_BEFORE {
            engine.on_loss(Timestamp(frame.at.0.saturating_sub(1)));
            engine.on_listed_name([10, 9, 0, 2].into(), b"listed.example.lan");
        }
    }
    let events = engine.finish();
    let facts = std::mem::take(&mut *facts.lock().unwrap());
    let is_in_order =
        |pair: &[Recorded]| (pair[0].clock, pair[0].sequence) < (pair[1].clock, pair[1].sequence);
    assert!(facts.windows(2).all(is_in_order), "{}", path.display());
    (events, facts)
}

/// In another order, which is the same for the same seed.
pub(super) fn shuffled<T>(mut facts: Vec<T>, seed: u64) -> Vec<T> {
    let mut state = seed;
    for last in (1..facts.len()).rev() {
        // Knuth's constants for a linear congruential generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        facts.swap(last, (state >> 33) as usize % (last + 1));
    }
    facts
}

/// Facts in a file, one line of JSON each; the file is removed in the end.
struct Stored(PathBuf);

impl Stored {
    fn write(facts: Vec<Recorded>, capture: &Path, run: Run) -> Self {
        let capture = capture.file_name().unwrap().to_string_lossy();
        let name = format!("beamscope-facts-{}-{run:?}-{capture}.ndjson", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        for fact in facts {
            writeln!(file, "{}", serde_json::to_string(&fact).unwrap()).unwrap();
        }
        file.flush().unwrap();
        Self(path)
    }

    fn read(&self) -> Vec<Recorded> {
        let lines = BufReader::new(File::open(&self.0).unwrap()).lines();
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_kind_of_fact_occurs_in_the_captures_of_the_project() {
    let kinds = Mutex::new(std::collections::BTreeSet::new());
    check_all(|path| {
        let (_, facts) = run_engine(path, Run::Everything);
        kinds.lock().unwrap().extend(facts.iter().map(|recorded| match recorded.fact {
            Fact::Connection { .. } => "connection",
            Fact::Epmd { .. } => "epmd",
            Fact::Handshake { .. } => "handshake",
            Fact::Message { .. } => "message",
            Fact::Anomaly { .. } => "anomaly",
            Fact::ProxyHeader { .. } => "proxy header",
            Fact::Resolved(_) => "resolved",
            Fact::Unresolved(_) => "unresolved",
            Fact::NoNeighbour(_) => "no_neighbour",
            Fact::ListedName { .. } => "listed name",
            Fact::Run { .. } => "run",
            Fact::End(_) => "end",
        }));
        let versions = facts.iter().filter(|recorded| recorded.version != VERSION);
        let mut wrong = String::new();
        versions.for_each(|recorded| write!(wrong, "{recorded:?}").unwrap());
        if wrong.is_empty() { Vec::new() } else { vec![wrong] }
    });
    let kinds = kinds.into_inner().unwrap();
    for kind in [
        "connection",
        "epmd",
        "handshake",
        "message",
        "proxy header",
        "resolved",
        "listed name",
        "end",
    ] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
}

/// The frame before which [`Run::Everything`] has lost packets.
const LOST_BEFORE: u64 = 10;
