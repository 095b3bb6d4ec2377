//! `beamscope ladder` as a program: which attempt is drawn, in which form, and the error where there is none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::{SEED, beamscope, captures, lines_of};
use serde_json::Value;

const MANY: &str = "captures/c-node-erl-call.pcap";
const REFUSED: &str = "captures/dist-port-refused.pcap";
const TIMED_OUT: &str = "captures/frozen-acceptor.pcap";

/// Standard output of a run under this locale that must end with status 0.
fn drawn(locale: &str, arguments: &[&str]) -> String {
    let output = beamscope(&["ladder"]).args(arguments).env("LC_ALL", locale).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a run that must end with status 2.
fn refused(arguments: &[&str]) -> String {
    let output = beamscope(&["ladder"]).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn scratch(name: &str) -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).to_str().unwrap().to_owned()
}

#[test]
fn the_look_up_the_dial_and_what_followed_are_one_ladder() {
    let text = drawn("C", &[REFUSED]);
    let expected = r#"
     6    0  |-- EPMD: port of "outside"? ------------------>|
     8  0.1  |<-------------------------- EPMD: port 40157 --|
    13  0.1  |-- SYN to port 40157 ------------------------->|
    14  0.1  |<--------------------------------------- RST --|  "outside" resets

More about it: beamscope explain stale-registration
"#;
    assert!(text.ends_with(expected), "{text}");
    assert!(text.starts_with("EPMD says \"outside\" is on port 40157; "), "{text}");
}

#[test]
fn the_message_that_never_came_is_drawn_before_the_close() {
    let text = drawn("C", &[SEED]);
    let (before, after) = text.split_once("never sent\n").unwrap();
    assert!(before.lines().last().unwrap().contains("challenge_ack |"), "{text}");
    assert!(after.lines().next().unwrap().contains("FIN --|  two closes"), "{text}");
}

#[test]
fn a_locale_with_utf_8_has_box_characters_and_others_ascii() {
    let text = drawn("C.UTF-8", &[REFUSED]);
    assert!(text.contains("│── SYN to port 40157 ──") && text.contains("►│"), "{text}");
    for locale in ["C", "POSIX", "de_DE.ISO-8859-1"] {
        assert!(drawn(locale, &[REFUSED]).is_ascii());
    }
}

#[test]
fn no_line_of_any_capture_is_wider_than_asked_for() {
    for capture in captures() {
        for (locale, width) in [("C", "80"), ("C.UTF-8", "60"), ("C", "160")] {
            let arguments = ["ladder", "--width", width, &capture];
            let output = beamscope(&arguments).env("LC_ALL", locale).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= width.parse().unwrap(), "{capture} {widest}: {text}");
        }
    }
}

#[test]
fn a_wide_terminal_shows_a_good_handshake_beside_it() {
    let text = drawn("C", &["--width", "150", TIMED_OUT]);
    assert!(text.contains("For comparison: warm@192.168.0.61 -> cold@192.168.0.62, connected"));
    assert!(text.contains("challenge_ack"), "{text}");
    let narrow = drawn("C", &["--width", "149", TIMED_OUT]);
    assert!(!narrow.contains("For comparison") && !narrow.contains("challenge_ack"), "{narrow}");
}

#[test]
fn colours_are_written_where_they_are_asked_for() {
    assert!(drawn("C", &["--color", "always", REFUSED]).contains("\x1b["));
    assert!(!drawn("C", &[REFUSED]).contains('\x1b'));
}

#[test]
fn a_problem_is_drawn_by_its_number_in_the_text() {
    let text = lines_of(&["--text", MANY]);
    let titles: Vec<_> = (1..=2)
        .map(|n| {
            let line = text.lines().find(|line| line.starts_with(&format!("{n}.  "))).unwrap();
            line[6..40].to_owned()
        })
        .collect();
    for (n, title) in (1..).zip(&titles) {
        let ladder = drawn("C", &["--finding", &n.to_string(), MANY]);
        assert!(ladder.starts_with(title), "{ladder}");
        assert!(ladder.contains(&format!("This is problem {n} of ")), "{ladder}");
    }
    let error = refused(&["--finding", "99", MANY]);
    assert!(error.starts_with("error: there is no problem 99: "), "{error}");
    assert!(error.contains("hint: the problems are\n  1. "), "{error}");
    refused(&["--finding", "0", MANY]);
    let error = refused(&["--finding", "1", "captures/seed-lan-same-cookie.pcap"]);
    assert!(error.starts_with("error: there is no problem 1: no problem was found"), "{error}");
}

#[test]
fn a_connection_is_drawn_by_its_identifier_or_its_nodes() {
    let events = lines_of(&["--json", SEED]);
    let sessions: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event_type"] == "session")
        .collect();
    let (first, last) = (&sessions[0], sessions.last().unwrap());
    for session in [first, last] {
        let id = session["session_id"].as_str().unwrap();
        let text = drawn("C", &["--session", id, SEED]);
        let port = session["session"]["lookup"]["frame"].as_u64().unwrap();
        assert!(text.contains(&format!(" {port}  ")), "{text}");
    }
    let text = drawn("C", &["--pair", "two,one", SEED]);
    assert!(text.contains("never sent"), "{text}");
    let error = refused(&["--pair", "one,three", SEED]);
    let expected = "error: no node or address is \"three\"\nhint: the connections are\n";
    assert!(error.starts_with(expected), "{error}");
    assert!(drawn("C", &["--node", "two", SEED]).contains("never sent"));
    let error = refused(&["--node", "three", SEED]);
    assert!(error.starts_with("error: there is no connection of such a node\n"), "{error}");

    let error = refused(&["--session", "0123456789abcdef", SEED]);
    assert!(error.starts_with("error: no connection has the session_id 0123456789abcdef\n"));
    let id = first["session_id"].as_str().unwrap();
    assert!(error.contains(&format!("hint: the connections are\n  {id}  one@192.168.0.100 -> ")));
}

#[test]
fn captures_without_anything_to_draw_are_an_error() {
    let path = scratch("ladder-empty.pcap");
    let whole = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED)).unwrap();
    fs::write(&path, &whole[..24]).unwrap();
    let error = refused(&[&path]);
    assert!(error.contains("no connection between nodes and no request to EPMD"), "{error}");
    assert!(refused(&["/no/such/file"]).contains("/no/such/file"));
    assert!(refused(&["-o", &path, &path]).contains("hint: write to another file"));
    refused(&[]);
}

#[test]
fn the_ending_of_the_file_gives_the_format() {
    let (svg, mermaid) = (scratch("ladder.svg"), scratch("ladder.mmd"));
    drawn("C", &["-o", &svg, SEED]);
    drawn("C", &["-o", &mermaid, SEED]);
    let picture = fs::read_to_string(svg).unwrap();
    assert!(picture.starts_with("<svg xmlns=") && picture.ends_with("</svg>\n"), "{picture}");
    let diagram = fs::read_to_string(mermaid).unwrap();
    assert!(diagram.starts_with("sequenceDiagram\n    participant A as one@"), "{diagram}");
    assert!(diagram.contains("    B--xA: challenge_ack, never sent\n"), "{diagram}");
    for (command, file) in [("ladder", "x.png"), ("report", "x.pdf"), ("report", "x.txt")] {
        let path = scratch(file);
        let _ = fs::remove_file(&path);
        let output = beamscope(&[command, "-o", &path, SEED]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(" has the ending of another format") && error.contains("--format"));
        assert!(!Path::new(&path).exists());
    }
    // With an option, whatever the name.
    let path = scratch("ladder.html");
    drawn("C", &["--format", "svg", "-o", &path, SEED]);
    assert!(fs::read_to_string(path).unwrap().starts_with("<svg"));
}

#[test]
fn packets_are_selected_by_time_as_for_other_commands() {
    let all = drawn("C", &["--since", "2026-11-22 15:29", "--tz", "UTC", SEED]);
    assert_eq!(all, drawn("C", &[SEED]));
    let later = drawn("C", &["--since", "2026-11-22 16:29:52", "--tz", "Europe/Berlin", SEED]);
    assert!(!later.contains("never sent"), "{later}");
    let error = refused(&["--since", "2027-01-01", SEED]);
    assert!(error.starts_with("warning: no packet was selected: the capture has packets from "));
}

/// Frame numbers in lines of JSON: of the line itself, of its steps and of its evidence.
fn frames(events: &str) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let kind = event["event_type"].as_str().unwrap();
        let lists = ["steps", "evidence"].map(|list| event[kind][list].as_array());
        let inner = lists.into_iter().flatten().flatten().map(|it| &it["frame"]);
        found.extend(inner.chain([&event["frame"]]).filter_map(Value::as_u64));
    }
    found
}

#[test]
fn a_picture_names_only_frames_that_the_events_have() {
    for capture in captures() {
        let output = beamscope(&["ladder", "--format", "svg", &capture]).output().unwrap();
        let picture = String::from_utf8(output.stdout).unwrap();
        let known = frames(&lines_of(&["--json", &capture]));
        let named: Vec<u64> = picture
            .split("data-frame=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(!output.status.success() || !named.is_empty(), "{capture}");
        assert!(named.iter().all(|frame| known.contains(frame)), "{capture}: {named:?}");
    }
}

#[test]
fn frames_of_several_inputs_name_their_input() {
    let picture = drawn("C", &["--format", "svg", "--session", &of_first(REFUSED), REFUSED, SEED]);
    assert!(picture.contains("data-frame=\"captures/dist-port-refused.pcap:13\""), "{picture}");
}

/// The identifier of the first connection of a capture.
fn of_first(capture: &str) -> String {
    let events = lines_of(&["--json", capture]);
    let line = events.lines().find(|line| line.contains("\"event_type\":\"session\"")).unwrap();
    let event: Value = serde_json::from_str(line).unwrap();
    event["session_id"].as_str().unwrap().to_owned()
}
