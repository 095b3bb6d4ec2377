//! Real nodes, on hosts of a bridge, watched live while something happens to them: cookies, restarts,
//! a cut cable, a frozen node, a network that loses and reorders. `scripts/live-scenes` runs the scenes,
//! with `beamscope -i` and `jq` beside them; here is judged what came out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::{lines_of, play, texts};

/// One scene, as it was reported live and as the capture of the same run is reported off-line.
struct Scene {
    name: String,
    /// What it was, and what `live-scenes` noted beside it.
    truth: Value,
    /// The lines as they arrived, with the time.
    live: Vec<(u64, Value)>,
    /// What the program reports for the file with the same packets.
    offline: Vec<Value>,
}

const PLAY: &[&str] = &["scripts/live-scenes", "--beamscope", env!("CARGO_BIN_EXE_beamscope")];

/// All scenes, played once; `None` where that cannot be.
fn scenes() -> Option<&'static [Scene]> {
    static SCENES: OnceLock<Option<Vec<Scene>>> = OnceLock::new();
    SCENES.get_or_init(|| play("live-nodes", PLAY).map(|folder| read(&folder))).as_deref()
}

fn read(folder: &Path) -> Vec<Scene> {
    let mut notes: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    notes.sort();
    assert!(notes.len() >= 10, "{notes:?}");
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let scene = |note: &PathBuf| {
        let capture = note.with_extension("pcapng");
        let offline = lines_of(&["--json", capture.to_str().unwrap()]);
        let live = fs::read_to_string(note.with_extension("ndjson")).unwrap();
        let arrived = live.lines().map(|line| {
            let line = json(line);
            (line["arrived"].as_u64().unwrap(), line["event"].clone())
        });
        Scene {
            name: note.file_stem().unwrap().to_string_lossy().into_owned(),
            truth: json(&fs::read_to_string(note).unwrap()),
            live: arrived.collect(),
            offline: offline.lines().map(json).collect(),
        }
    };
    notes.iter().map(scene).collect()
}

#[test]
fn every_scene_is_reported_for_what_it_was() {
    for scene in scenes().unwrap_or_default() {
        let findings = scene.live.iter().filter(|(_, event)| event["event_type"] == "finding");
        let findings: Vec<_> = findings.map(|(_, event)| &event["finding"]).collect();
        let found: BTreeSet<_> = findings.iter().map(|f| f["rule"].as_str().unwrap()).collect();
        let allowed = texts(&scene.truth["allowed"]);
        let meant: Vec<BTreeSet<_>> = texts(&scene.truth["rules"])
            .into_iter()
            .map(|rules| rules.split('|').collect())
            .collect();
        let description =
            format!("{}: {}\n  found: {findings:#?}", scene.name, scene.truth["description"]);
        for rules in &meant {
            assert!(!found.is_disjoint(rules), "no {rules:?} in {description}");
        }
        let is_meant =
            |rule: &&str| allowed.contains(rule) || meant.iter().any(|m| m.contains(rule));
        assert!(found.iter().all(is_meant), "{description}");
        let (_, last) = scene.live.last().unwrap();
        assert_eq!(last["stats"]["complete"], true, "{}: {last}", scene.name);
    }
}

#[test]
fn the_seed_story_arrives_as_it_happens() {
    for scene in scenes().unwrap_or_default().iter().filter(|scene| scene.name == "seed") {
        let stopped = scene.truth["stopped"].as_u64().unwrap();
        let reported = scene.live.iter().filter(|(arrived, _)| *arrived < stopped);
        let reported: Vec<_> = reported
            .filter_map(|(_, event)| {
                let reported = [&event["session"]["outcome"], &event["finding"]["rule"]];
                reported.into_iter().find_map(Value::as_str)
            })
            .collect();
        assert_eq!(reported, ["cookie_mismatch", "cookie-mismatch", "connected"]);
    }
}

/// The promise is [`SOON`] from a packet to the line that shows it. What this machine adds is measured
/// beside it: while a thread that only sleeps is not woken up in time, neither are the three
/// that a line passes, which are the program, jq, and who notes the time.
#[test]
fn what_happens_is_reported_within_a_quarter_of_a_second() {
    const HANDS: u64 = 3;
    for scene in scenes().unwrap_or_default() {
        let stopped = scene.truth["stopped"].as_u64().unwrap();
        let stalls: Vec<(u64, u64)> = scene.truth["stalls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stall| (stall[0].as_u64().unwrap(), stall[1].as_u64().unwrap()))
            .collect();
        // What is reported at the end of the run has the time of its end, or of the last packet.
        for (arrived, event) in scene.live.iter().filter(|(arrived, _)| *arrived < stopped) {
            let at = nanoseconds(event["timestamp"].as_str().unwrap());
            let stalled: u64 = stalls
                .iter()
                .map(|(from, to)| to.min(arrived).saturating_sub(*from.max(&at)))
                .sum();
            let took = arrived.saturating_sub(at);
            assert!(
                took <= SOON + HANDS * stalled,
                "{}: {} ms, {} of them stalled: {event}",
                scene.name,
                took / 1_000_000,
                stalled / 1_000_000,
            );
        }
    }
}

const SOON: u64 = 250_000_000;

/// A time as events have it, since 1970.
fn nanoseconds(text: &str) -> u64 {
    let time: beamscope::time::Timestamp = text.parse().unwrap();
    let since = time.since(beamscope::time::Timestamp::new(0, 0));
    u64::try_from(since.as_nanos()).unwrap()
}

#[test]
fn what_is_reported_live_is_reported_of_the_same_packets_in_a_file() {
    for scene in scenes().unwrap_or_default() {
        let live = without_warnings(scene.live.iter().map(|(_, event)| event.clone()).collect());
        let live = comparable(&live);
        let offline = comparable(&scene.offline);
        for (live, offline) in live.iter().zip(&offline) {
            assert_eq!(live, offline, "{}", scene.name);
        }
        assert_eq!(live.len(), offline.len(), "{}", scene.name);
    }
}

#[test]
fn what_is_saved_of_a_finding_shows_it() {
    for scene in scenes().unwrap_or_default() {
        let events = scene.live.iter().map(|(_, event)| event);
        let findings = events.filter(|event| event["event_type"] == "finding");
        for event in findings.filter(|event| !is_warning(event)) {
            let file = event["finding"]["evidence_file"].as_str().unwrap();
            let reported = lines_of(&["--json", file]);
            let reported =
                reported.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let found: Vec<_> = reported.filter(|event| event["event_type"] == "finding").collect();
            let is_same = |found: &&Value| {
                ["rule", "nodes"].iter().all(|key| found["finding"][key] == event["finding"][key])
            };
            assert!(found.iter().any(|found| is_same(&found)), "{file}: {found:#?}");
        }
    }
}

/// Events without what must differ between an interface and a file:
///
/// - `input`, which is the name of the one or of the other;
/// - `left_out`, which only a reader of live events can be too slow for;
/// - `evidence_file`, which was asked for live alone;
/// - the times of what is reported when the run ends: of its last packet off-line, and live of the moment
///   at which it was ended;
/// - an `incident_id` that is made from such a time: each is numbered by its first appearance.
fn comparable<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let mut events: Vec<Value> = events.into_iter().cloned().collect();
    let last = events.last().unwrap()["stats"]["last"].as_str().unwrap().to_owned();
    let mut incidents = BTreeMap::new();
    for event in &mut events {
        let body = event["event_type"].as_str().unwrap().to_owned();
        let event = event.as_object_mut().unwrap();
        event.remove("input");
        if event["timestamp"].as_str().unwrap() >= last.as_str() {
            event.insert("timestamp".to_owned(), "the end".into());
        }
        let body = event[&body].as_object_mut().unwrap();
        for only_live in ["evidence_file", "left_out"] {
            body.remove(only_live);
        }
        number(body, &mut incidents);
        for failed in body.get_mut("failed").and_then(Value::as_array_mut).into_iter().flatten() {
            number(failed.as_object_mut().unwrap(), &mut incidents);
        }
    }
    events.iter().map(Value::to_string).collect()
}

/// Whether a finding reports, while it can still be helped, that one side has fallen silent. Only a live run
/// reports that: a file holds what came of it, which the same rule shows with a higher severity.
fn is_warning(event: &Value) -> bool {
    let finding = &event["finding"];
    finding["rule"] == "tick-timeout" && finding["severity"] == "medium"
}

/// Without warnings, the record that each rests on, which is before it, and those of its incident; the rest numbered
/// and counted anew.
fn without_warnings(mut events: Vec<Value>) -> Vec<Value> {
    let less = |count: &Value, by: u64| Value::from(count.as_u64().unwrap() - by);
    while let Some(at) = events.iter().position(is_warning) {
        let record = &events[at - 1];
        assert_eq!(record["session_id"], events[at]["session_id"]);
        assert_eq!(record["session"]["state"], "established");
        let warning = events.drain(at - 1..=at).next_back().unwrap();
        let id = &warning["finding"]["incident_id"];
        let (mut removed, mut state) = (2, ("open".to_owned(), "medium".to_owned()));
        events.retain_mut(|event| {
            let is_later = event["seq"].as_u64() > warning["seq"].as_u64();
            let incident = &event["incident"];
            if incident["incident_id"] == *id {
                let text = |key: &str| incident[key].as_str().unwrap().to_owned();
                state = (text("state"), text("severity"));
                removed += 1;
                return false;
            }
            if !is_later {
                return true;
            }
            event["seq"] = less(&event["seq"], removed);
            if let Some(reported) = event.pointer_mut("/stats/findings/tick-timeout") {
                *reported = less(reported, 1);
            }
            let problems = event.pointer_mut(&format!("/stats/problems/{}", state.0));
            if let Some(problems) = problems.and_then(Value::as_object_mut) {
                problems[&state.1] = less(&problems[&state.1], 1);
                problems.retain(|_, count| *count != 0);
            }
            true
        });
    }
    events
}

fn number(holder: &mut serde_json::Map<String, Value>, known: &mut BTreeMap<String, usize>) {
    if let Some(id) = holder.get_mut("incident_id") {
        let next = known.len();
        let number = *known.entry(id.as_str().unwrap().to_owned()).or_insert(next);
        *id = number.into();
    }
}
