//! `--observations` and `beamscope merge` as programs: one answer from several files, and the error where there is none.

use std::fs;
use std::io::Write as _;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;

use beamscope::decode::Direction;
use ruzstd::encoding::CompressionLevel;
use serde_json::{Value, json};

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::pieces::{frames_of, pcap};
use crate::support::{SEED, TestDir, beamscope, lines_of};

const TUNNEL: &str = "captures/links-geneve.pcap";

/// Exit status and standard error of a run.
fn outcome(arguments: &[&str]) -> (i32, String) {
    let output = beamscope(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The observations of a capture in a file.
fn observed(dir: &TestDir, capture: &str, sensor: &str) -> String {
    let file = dir.file(&format!("{sensor}.ndjson"));
    let run = ["--json", "-o", "/dev/null", capture, "--observations", &file, "--sensor", sensor];
    assert_eq!(outcome(&run), (0, String::new()));
    file
}

/// The final statistics of a merge that ends with status 2.
fn incomplete(inputs: &[&str]) -> (Value, String) {
    let output = beamscope(&[&["merge", "--json"], inputs].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!(last["stats"]["complete"], false, "{last}");
    (last, printed)
}

#[test]
fn the_observations_of_a_run_give_its_output() {
    let dir = TestDir::new("merge-one");
    let file = dir.file("seed.ndjson");
    let run = lines_of(&["--json", SEED, "--observations", &file]);
    assert_eq!(lines_of(&["merge", "--json", &file]), run);
    let text = lines_of(&["--text", SEED]);
    assert_eq!(lines_of(&["merge", "--text", &file]), text);
    // With its capture, and twice, it is the same.
    assert_eq!(lines_of(&["merge", "--json", &file, SEED, &file]), run);
    let head = fs::read_to_string(&file).unwrap();
    let head: Value = serde_json::from_str(head.lines().next().unwrap()).unwrap();
    assert_eq!(head["sensor"], SEED.rsplit('/').next().unwrap());
    #[cfg(unix)]
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_two_sensors_of_one_direction_each_saw_is_complete() {
    let dir = TestDir::new("merge-directions");
    let (link, frames) = frames_of(SEED).unwrap();
    let files = [Direction::LowToHigh, Direction::HighToLow].map(|direction| {
        let own: Vec<_> = frames.iter().filter(|it| it.direction == Some(direction)).collect();
        let capture = dir.file(&format!("{direction:?}.pcap"));
        fs::write(&capture, pcap(link, &own, 0)).unwrap();
        observed(&dir, &capture, &format!("{direction:?}"))
    });
    // Each lacks what the other has, and its acknowledgements show that.
    let reports_gaps = |lines: &str| lines.contains(r#""kind":"gap""#);
    for file in &files {
        assert!(reports_gaps(&lines_of(&["merge", "--json", file])), "{file}");
    }
    let lines = lines_of(&["merge", "--json", &files[0], &files[1]]);
    assert!(!reports_gaps(&lines), "{lines}");
    let stats: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let stats = &stats["stats"];
    assert_eq!((&stats["gaps"], &stats["missing_bytes"]), (&json!(0), &json!(0)));
    assert_eq!((&stats["one_sided"], &stats["complete"]), (&json!(0), &json!(true)));
}

/// The sessions, the findings above info, and the anomalies of both captures of a scene, merged.
fn reported(dir: &TestDir, scene: &str) -> [Vec<Value>; 3] {
    let [dialer, acceptor] = ["dialer", "acceptor"].map(|end| {
        let capture = format!("captures/{scene}-at-{end}.pcap");
        observed(dir, &capture, &format!("{scene}-{end}"))
    });
    let lines = lines_of(&["merge", "--json", &dialer, &acceptor]);
    assert_eq!(lines_of(&["merge", "--json", &acceptor, &dialer, &acceptor]), lines, "{scene}");
    let events: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let of = |kind: &'static str| events.iter().filter(move |it| it["event_type"] == kind);
    let ends = |it: &Value| json!([it["src_ip"], it["dest_ip"]]);
    let sessions = of("session").filter(|it| it["session"]["state"] != "established");
    let sessions = sessions.map(|it| json!([ends(it), it["session"]["outcome"]]));
    let findings = of("finding").filter(|it| it["finding"]["severity"] != "info");
    let findings = findings.map(|it| json!([it["finding"]["rule"], it["finding"]["title"]]));
    let anomalies =
        of("anomaly").map(|it| json!([ends(it), it["anomaly"]["kind"], it["dest_port"]]));
    [sessions.collect(), findings.collect(), anomalies.collect()]
}

#[test]
fn a_story_on_both_sides_of_a_translation_is_reported_once() {
    let dir = TestDir::new("merge-translated");
    let ends = json!(["10.1.0.2", "10.2.0.2"]);
    for (scene, two) in [("translated-source", "two@10.2.0.2"), ("translated-both", "two@svc.test")]
    {
        let alone = lines_of(&["--json", &format!("captures/{scene}-at-acceptor.pcap")]);
        assert!(alone.contains("unproven-name"), "{scene}");
        let [sessions, findings, anomalies] = reported(&dir, scene);
        let outcomes = ["cookie_mismatch", "connected"].map(|it| json!([ends, it]));
        assert_eq!(sessions, outcomes, "{scene}");
        let refused = format!("{two} refused the cookie of one@10.1.0.2");
        assert_eq!(findings, [json!(["cookie-mismatch", refused])], "{scene}");
        let ports = [4369, 9100, 4369, 9100].map(|it| json!([ends, "address_translated", it]));
        assert_eq!(anomalies, ports, "{scene}");
    }
}

/// The lines of a merge of both captures of a scene, the clock of the second of which is so many nanoseconds ahead.
fn merged_late(dir: &TestDir, scene: &str, nanos: i64) -> String {
    let dialer = observed(dir, &format!("captures/{scene}-at-dialer.pcap"), "dialer");
    let (link, frames) = frames_of(&format!("captures/{scene}-at-acceptor.pcap")).unwrap();
    let late = dir.file("late.pcap");
    fs::write(&late, pcap(link, &frames.iter().collect::<Vec<_>>(), nanos)).unwrap();
    lines_of(&["merge", "--json", &dialer, &observed(dir, &late, "late")])
}

#[test]
fn clocks_are_compared_through_a_translation() {
    let dir = TestDir::new("merge-translated-clocks");
    let lines = merged_late(&dir, "translated-both", 1_500_000_000);
    assert!(lines.contains("the clock of late is 1.500 s ahead of that of dialer"), "{lines}");
    assert_eq!(lines.matches(r#""kind":"address_translated""#).count(), 4, "{lines}");
    assert!(!lines.contains("unproven-name"), "{lines}");
}

#[test]
fn a_handshake_that_a_proxy_passes_on_shows_no_false_name() {
    let dir = TestDir::new("merge-passed-on");
    let alone = lines_of(&["--json", "captures/passed-on-at-acceptor.pcap"]);
    assert!(alone.contains("unproven-name"));
    let [sessions, findings, anomalies] = reported(&dir, "passed-on");
    let rules: Vec<_> = findings.iter().map(|it| &it[0]).collect();
    assert!(rules.iter().all(|rule| **rule == "cookie-mismatch"), "{rules:?}");
    // A proxy has a connection on each side.
    let legs = [["10.1.0.2", "10.1.0.1"], ["10.2.0.1", "10.2.0.2"]];
    for leg in legs {
        let outcomes = ["cookie_mismatch", "connected"].map(|it| json!([leg, it]));
        assert!(outcomes.iter().all(|it| sessions.contains(it)), "{sessions:?}");
        let same = json!([leg, "same_handshake", 9100]);
        assert_eq!(anomalies.iter().filter(|it| **it == same).count(), 2, "{anomalies:?}");
    }
    assert_eq!((sessions.len(), anomalies.len()), (4, 4));
}

#[test]
fn a_handshake_that_a_proxy_passes_on_is_known_whatever_the_clocks_are() {
    let dir = TestDir::new("merge-passed-on-clocks");
    let lines = merged_late(&dir, "passed-on", 5_000_000_000);
    assert_eq!(lines.matches(r#""kind":"same_handshake""#).count(), 4, "{lines}");
    assert!(!lines.contains("unproven-name"), "{lines}");
}

#[test]
fn a_scanner_with_one_sequence_number_for_all_hosts_is_no_translation() {
    let dir = TestDir::new("merge-scanner");
    let hosts = ["10.0.0.2", "10.0.0.3"];
    let files = hosts.map(|host| {
        let mut capture = CaptureBuilder::new();
        capture.dial("10.0.0.9:40001", &format!("{host}:4369")).reset(End::Acceptor);
        observed(&dir, &capture.write(&dir, &format!("{host}.pcap")), host)
    });
    let lines = lines_of(&["merge", "--json", &files[0], &files[1]]);
    assert!(!lines.contains("address_translated"), "{lines}");
    for host in hosts {
        let refused = format!(r#""dest_ip":"{host}","dest_port":4369"#);
        assert!(lines.contains(&refused), "{host}: {lines}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn compressed_observations_are_read_as_compressed_captures_are() {
    let dir = TestDir::new("merge-compressed");
    let plain = observed(&dir, SEED, "seed");
    let expected = lines_of(&["merge", "--json", &plain]);
    let bytes = fs::read(&plain).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&bytes).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&bytes[..], CompressionLevel::Fastest);
    // The contents decide, not the name.
    for (name, packed) in [
        ("a.ndjson.gz", gzip(&bytes)),
        ("two-members", [gzip(first), gzip(second)].concat()),
        ("a.ndjson.zst", zstd),
        ("a.ndjson", lz4.finish().unwrap()),
    ] {
        let file = dir.file(name);
        fs::write(&file, packed).unwrap();
        assert_eq!(lines_of(&["merge", "--json", &file]), expected, "{name}");
        // What it holds is what the plain file holds.
        assert_eq!(lines_of(&["merge", "--json", &file, &plain]), expected, "{name} twice");
    }
    let cut = dir.file("cut.gz");
    let whole = gzip(&bytes);
    fs::write(&cut, &whole[..whole.len() * 3 / 4]).unwrap();
    assert!(incomplete(&[&cut]).1.contains("the rest of this file is not used"));
}

#[test]
fn facts_count_by_their_length_before_compression() {
    let dir = TestDir::new("merge-compressed-long");
    let seed = fs::read_to_string(observed(&dir, SEED, "long")).unwrap();
    let bytes = gzip(with_long_names(&seed).as_bytes());
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    let file = dir.file("many.ndjson.gz");
    fs::write(&file, bytes).unwrap();
    let (last, printed) = incomplete(&["--max-memory", "48M", &file]);
    assert_eq!(last["stats"]["anomalies"]["limit"], 1, "{printed}");
}

/// Observations with ten facts of 4 MiB each.
fn with_long_names(observations: &str) -> String {
    let mut lines: Vec<&str> = observations.lines().collect();
    let name = "n".repeat(4 << 20);
    let long = |number: u8| {
        let fact = json!({"listed_name": {"ip": format!("10.9.9.{number}"), "name": name}});
        json!({"version": 4, "clock": "2026-01-01T00:00:00Z", "sequence": number, "fact": fact})
            .to_string()
    };
    let all: Vec<_> = (0..10).map(long).collect();
    lines.splice(1..1, all.iter().map(String::as_str));
    lines.join("\n")
}

#[test]
fn long_facts_count_as_several() {
    let dir = TestDir::new("merge-long");
    let seed = fs::read_to_string(observed(&dir, SEED, "long")).unwrap();
    let file = dir.file("many.ndjson");
    fs::write(&file, with_long_names(&seed)).unwrap();
    let (last, printed) = incomplete(&["--max-memory", "48M", &file]);
    assert_eq!(last["stats"]["anomalies"]["limit"], 1, "{printed}");
}

#[test]
fn the_order_of_the_inputs_changes_nothing() {
    let dir = TestDir::new("merge-order");
    let (one, two) = (observed(&dir, SEED, "one"), observed(&dir, TUNNEL, "two"));
    let expected = lines_of(&["merge", "--json", &one, &two]);
    assert_eq!(lines_of(&["merge", "--json", &two, &one, &two]), expected);
    // Captures are read together, and are one more sensor.
    let mixed = lines_of(&["merge", "--json", SEED, &two]);
    assert_eq!(lines_of(&["merge", "--json", &two, SEED]), mixed);
    assert_eq!(mixed.lines().count(), expected.lines().count());
}

#[test]
fn what_cannot_be_used_is_reported_and_the_rest_is_used() {
    let dir = TestDir::new("merge-errors");
    let whole = observed(&dir, SEED, "whole");
    let text = fs::read_to_string(&whole).unwrap();
    let with = |name: &str, text: &str| {
        let file = dir.file(name);
        fs::write(&file, text).unwrap();
        file
    };
    let cut = with("cut.ndjson", &text[..text.len() - 200]);
    let (_, printed) = incomplete(&[&cut]);
    assert!(printed.contains("is not one that beamscope writes"), "{printed}");
    let lines: Vec<&str> = text.lines().collect();
    let short = with("short.ndjson", &(lines[..lines.len() - 1].join("\n") + "\n"));
    let (_, printed) = incomplete(&[&short]);
    assert!(printed.contains("the observations have no end"), "{printed}");
    // The counts of its packets are in the end that is missing.
    assert!(!printed.contains("no packet was read"), "{printed}");
    let wrong = with("wrong.ndjson", &text.replacen("\"version\":4", "\"version\":200", 1));
    assert!(
        incomplete(&[&wrong])
            .1
            .contains("line 2 is not one that beamscope writes: its version is 200")
    );
    let other = with("other.ndjson", &text.replacen("\"v\":4", "\"v\":3", 1));
    assert!(incomplete(&[&other, &whole]).1.contains("version 3 of the format is not read"));
    let (status, error) = outcome(&["merge", &other]);
    assert!(status == 2 && error.contains("hint: write it again"), "{error}");
    let events = with("events.ndjson", &lines_of(&["--json", SEED]));
    let (status, error) = outcome(&["merge", &events]);
    assert!(status == 2 && error.contains("run beamscope again with --observations"), "{error}");
    assert!(incomplete(&[&dir.file("missing.ndjson"), &whole]).1.contains("session"));
}

#[test]
fn observations_do_not_replace_what_is_read_or_written() {
    let dir = TestDir::new("merge-own");
    let copy = dir.file("copy.pcap");
    fs::copy(SEED, &copy).unwrap();
    let (status, error) = outcome(&[&copy, "--observations", &copy]);
    assert!(status == 2 && error.contains("is both read and written"), "{error}");
    let file = dir.file("x.ndjson");
    let (status, error) = outcome(&[&copy, "-o", &file, "--observations", &file]);
    assert!(status == 2 && error.contains("is both read and written"), "{error}");
}
