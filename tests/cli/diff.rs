//! `beamscope diff` as a program: captures and events, both ways, exit status, what cannot be read.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::{SEED, beamscope, captures, lines_of};
use serde_json::Value;

const WRONG: &str = "captures/cookie-mismatch-both-directions.pcap";
const RIGHT: &str = "captures/seed-lan-same-cookie.pcap";

/// Status, standard output, standard error.
fn diff(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut command = beamscope(&["diff"]);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A file that the tests may write.
fn scratch(name: &str, bytes: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn bytes(capture: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(capture)).unwrap()
}

/// The seed capture up to the refused attempt: its first 30 packets.
fn seed_before(name: &str) -> String {
    let whole = bytes(SEED);
    let mut end = 24;
    for _ in 0..30 {
        let len = u32::from_le_bytes(whole[end + 8..end + 12].try_into().unwrap());
        end += 16 + len as usize;
    }
    scratch(name, &whole[..end])
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_cookie_put_right_is_fixed_and_the_other_way_round_broken() {
    let before = seed_before("diff-wrong.pcap");
    for (arguments, change, was, is) in [
        ([before.as_str(), SEED], "fixed", "cookie_mismatch", "connected"),
        ([before.as_str(), RIGHT], "fixed", "cookie_mismatch", "connected"),
        ([RIGHT, before.as_str()], "broken", "connected", "cookie_mismatch"),
    ] {
        let (status, lines, complaints) = diff(&arguments, b"");
        assert_eq!((status, complaints.as_str()), (Some(0), ""), "{arguments:?}");
        let events = events(&lines);
        assert_eq!(events.len(), 2, "{lines}");
        let body = &events[0]["pair_change"];
        assert_eq!(body["change"], change, "{lines}");
        assert_eq!(body["nodes"], serde_json::json!(["one@192.168.0.100", "two@192.168.0.103"]));
        assert_eq!(
            (&body["before"]["outcome"], &body["after"]["outcome"]),
            (&was.into(), &is.into())
        );
        assert_eq!(events[0]["timestamp"], body["after"]["last"]);
        assert_eq!(events[1]["comparison"]["changes"][change], 1);
    }
}

#[test]
fn pairs_of_one_capture_alone_are_new_or_gone() {
    let (_, lines, _) = diff(&[WRONG, RIGHT], b"");
    let changes: Vec<_> =
        events(&lines).iter().map(|it| it["pair_change"]["change"].clone()).collect();
    assert_eq!(changes, [Value::from("new"), "gone".into(), Value::Null]);
}

#[test]
fn events_replace_their_capture() {
    for capture in captures() {
        let kept = scratch("diff-kept.ndjson", lines_of(&[&capture]).as_bytes());
        for arguments in [[&*kept, &*capture], [&*capture, &*kept]] {
            let (status, lines, complaints) =
                diff(&["--exit-code", arguments[0], arguments[1]], b"");
            assert_eq!(status, Some(0), "{capture}: {lines}{complaints}");
            assert_eq!(lines.lines().count(), 1, "{capture}: {lines}");
        }
    }
}

#[test]
fn standard_input_is_either() {
    let lines = format!("\n \n{}", lines_of(&[SEED]));
    for input in [lines.as_bytes(), &bytes(SEED)] {
        let (status, lines, _) = diff(&["--exit-code", "-", SEED], input);
        assert_eq!((status, lines.lines().count()), (Some(0), 1), "{lines}");
    }
    for capture in ["captures/fmt-zstd.pcap.zst", "captures/links-two-interfaces.pcapng"] {
        let (status, lines, _) = diff(&["--exit-code", capture, "-"], &bytes(capture));
        assert_eq!((status, lines.lines().count()), (Some(0), 1), "{capture}: {lines}");
    }
}

#[test]
fn status_is_1_when_asked_for_and_something_changed() {
    let before = seed_before("diff-status.pcap");
    for (expected, arguments) in [
        (0, &[before.as_str(), SEED][..]),
        (1, &["--exit-code", &before, SEED]),
        (0, &["--exit-code", SEED, RIGHT]),
    ] {
        let (status, lines, _) = diff(arguments, b"");
        assert_eq!(status, Some(expected), "{arguments:?}: {lines}");
    }
}

#[test]
fn what_cannot_be_read_is_no_change() {
    let good = lines_of(&[SEED]);
    let bad = scratch("diff-bad.ndjson", format!("{good}{{\"v\":1}}\n").as_bytes());
    let line = format!("line {} is not one that beamscope writes", good.lines().count() + 1);
    let empty = scratch("diff-empty", b"");
    for (arguments, words) in [
        (&[&*bad, SEED][..], &["diff-bad.ndjson: ", &*line, "one JSON object a line"][..]),
        (&["missing.pcap", SEED], &["missing.pcap"]),
        (&[SEED, "captures"], &["captures is a directory"]),
        (&[SEED, "Cargo.toml"], &["expected pcap, pcapng or snoop"]),
        (&[SEED, &empty], &["is an empty file"]),
        (&["-", "-"], &["standard input can be read once only"]),
        (&[SEED], &["AFTER"]),
        (&[SEED, RIGHT, "--cookie-file", "missing"], &["--cookie-file number 1"]),
    ] {
        let (status, lines, complaints) = diff(arguments, b"");
        assert_eq!((status, lines.as_str()), (Some(2), ""), "{arguments:?}");
        for word in words {
            assert!(complaints.contains(word), "{arguments:?}: {word} is not in {complaints}");
        }
    }
}

#[test]
fn a_capture_that_is_cut_off_is_compared_with_a_warning() {
    let whole = bytes(SEED);
    let cut = scratch("diff-cut.pcap", &whole[..whole.len() - 5]);
    let (status, _, complaints) = diff(&[SEED, &cut], b"");
    assert_eq!(status, Some(0));
    assert!(complaints.contains("may look like a change"), "{complaints}");
    let (_, _, complaints) = diff(&["-q", SEED, &cut], b"");
    assert_eq!(complaints, "");
}

#[test]
fn text_is_a_line_for_each_change() {
    let before = seed_before("diff-text.pcap");
    let (_, text, _) = diff(&["--format", "text", &before, SEED], b"");
    let expected = "\
fixed    one@192.168.0.100 and two@192.168.0.103: cookie mismatch, now connected
No pair is unchanged.
";
    assert_eq!(text, expected);
    let (_, text, _) = diff(&["--format", "text", SEED, RIGHT], b"");
    assert_eq!(text, "Nothing changed: 1 pair as before.\n");
}

#[test]
fn lines_keep_to_the_schema_and_an_input_is_not_overwritten() {
    let schema: Value = serde_json::from_str(&lines_of(&["schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let (_, lines, _) = diff(&[WRONG, RIGHT], b"");
    for line in events(&lines) {
        assert!(validator.is_valid(&line), "{line}");
    }
    let input = scratch("diff-input.pcap", &bytes(SEED));
    let (status, _, complaints) = diff(&["-o", &input, &input, SEED], b"");
    assert_eq!(status, Some(2));
    assert!(complaints.contains("both read and written"), "{complaints}");
    assert_eq!(fs::read(&input).unwrap(), bytes(SEED));
}
