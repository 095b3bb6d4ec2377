//! `beamscope extract` and `beamscope facts` as programs: what is written, and the error where nothing can be.

use std::fs;

use serde_json::Value;

use crate::support::{SEED, TestDir, beamscope, lines_of};

const TUNNEL: &str = "captures/links-geneve.pcap";

/// The lines of a run over these captures without the names of the inputs and the statistics.
fn events(captures: &[&str]) -> Vec<Value> {
    let lines = lines_of(&[&["--json"], captures].concat());
    let events = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut events: Vec<Value> =
        events.filter(|event: &Value| event["event_type"] != "stats").collect();
    events.iter_mut().for_each(|event| drop(event.as_object_mut().unwrap().remove("input")));
    events
}

/// Exit status and standard error of a run.
fn outcome(arguments: &[&str]) -> (i32, String) {
    let output = beamscope(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_extract_is_smaller_and_its_events_have_the_frames_of_the_capture() {
    let dir = TestDir::new("extract-one");
    let file = dir.file("small.pcapng");
    let (status, notice) = outcome(&["extract", TUNNEL, "-w", &file]);
    assert_eq!((status, &*notice), (0, &*format!("{file}: 63 of 69 packets\n")));
    assert_eq!(events(&[TUNNEL]), events(&[&file]));
    // An extract of an extract is the same.
    let again = dir.file("again.pcapng");
    assert_eq!(outcome(&["extract", "-q", &file, "-w", &again]), (0, String::new()));
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn a_pipe_is_read_and_written() {
    let dir = TestDir::new("extract-pipe");
    let file = dir.file("small.pcapng");
    let extract = beamscope(&["extract", "-q", "-", "-w", "-"])
        .stdin(fs::File::open(TUNNEL).unwrap())
        .output()
        .unwrap();
    assert!(extract.status.success(), "{extract:?}");
    fs::write(&file, extract.stdout).unwrap();
    assert_eq!(events(&[TUNNEL]), events(&[&file]));
}

#[test]
fn the_summary_names_packets_damage_and_addresses() {
    let dir = TestDir::new("extract-summary");
    let (cut, small, summary) =
        (dir.file("cut.pcap"), dir.file("small.pcapng"), dir.file("summary.json"));
    fs::write(&cut, &fs::read(SEED).unwrap()[..3000]).unwrap();
    assert_eq!(outcome(&["extract", "-q", &cut, "-w", &small, "--summary", &summary]).0, 0);
    let line = fs::read_to_string(&summary).unwrap();
    let expected = r#"{"v":1,"type":"extract","packets":34,"kept":34,"damage":[{"kind":"input_truncated","detail":"expected the rest of a record; the input ends"}],"addresses":["192.168.0.100","192.168.0.103"]}"#;
    assert_eq!(line.trim_end(), expected);
    assert_eq!(outcome(&["extract", &cut, "-w", &small, "--summary", &cut]).0, 2);
    assert_eq!(outcome(&["extract", &cut, "-w", &small, "--summary", &small]).0, 2);
}

#[test]
fn facts_name_the_port_that_epmd_gave() {
    let dir = TestDir::new("extract-facts");
    let line = lines_of(&["facts", SEED]);
    let facts = r#"{"v":1,"type":"facts","ends":[{"ip":"192.168.0.103","port":33435}],"flows":[]}"#;
    assert_eq!(line.trim_end(), facts);
    let file = dir.file("facts.json");
    assert_eq!(outcome(&["facts", SEED, "-o", &file]), (0, String::new()));
    assert_eq!(fs::read_to_string(&file).unwrap(), line);
    let extract = dir.file("small.pcapng");
    assert_eq!(outcome(&["extract", "-q", "--facts", &file, SEED, "-w", &extract]).0, 0);
    assert_eq!(events(&[SEED]), events(&[&extract]));
}

#[test]
fn what_cannot_be_extracted_is_an_error() {
    let dir = TestDir::new("extract-errors");
    let (file, facts) = (dir.file("small.pcapng"), dir.file("facts.json"));
    fs::write(&facts, "[1, 2]").unwrap();
    let empty = dir.file("empty.pcap");
    fs::write(&empty, &fs::read(SEED).unwrap()[..24]).unwrap();
    let own = dir.file("own.pcapng");
    fs::copy(SEED, &own).unwrap();
    for (arguments, error) in [
        (&["extract", SEED, "-w", "x.pcap"][..], "x.pcap"),
        (
            &["extract", "--facts", &facts, SEED, "-w", &file],
            "expected what beamscope facts writes",
        ),
        (&["extract", "--facts", "/no/such/file", SEED, "-w", &file], "No such file"),
        (&["extract", "/no/such/file", "-w", &file], "cannot open"),
        (&["extract", &empty, "-w", &file], "holds no packet"),
        (&["extract", &own, "-w", &own], "is both read and written"),
        (&["facts", &own, "-o", &own], "is both read and written"),
        (&["facts", "/no/such/file"], "cannot open"),
        (&["facts", "-", "-"], "can be read once only"),
    ] {
        let (status, message) = outcome(arguments);
        assert_eq!(status, 2, "{arguments:?}: {message}");
        assert!(message.contains(error), "{arguments:?}: {message}");
    }
    assert_eq!(fs::read(&own).unwrap(), fs::read(SEED).unwrap());
}

#[test]
fn what_was_read_before_the_damage_is_written() {
    let dir = TestDir::new("extract-cut");
    let (cut, file) = (dir.file("cut.pcap"), dir.file("small.pcapng"));
    fs::write(&cut, &fs::read(SEED).unwrap()[..3000]).unwrap();
    let (status, warning) = outcome(&["extract", &cut, "-w", &file]);
    assert_eq!(status, 0);
    assert!(warning.contains("the input ends") && warning.contains("34 of 34"), "{warning}");
    let without = |events: Vec<Value>| -> Vec<Value> {
        events.into_iter().filter(|event| event["event_type"] != "anomaly").collect()
    };
    let (mut cut, mut small) = (without(events(&[&cut])), without(events(&[&file])));
    cut.iter_mut()
        .chain(&mut small)
        .for_each(|event| drop(event.as_object_mut().unwrap().remove("seq")));
    assert_eq!(cut, small);
}
