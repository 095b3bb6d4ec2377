//! What the program reports about each capture, compared with `captures/expected/`. With
//! `BEAMSCOPE_BLESS=1` the files there are written anew; the diff is then reviewed like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{SEED, beamscope, captures, lines_of};

#[test]
fn each_capture_gives_the_expected_output() {
    let blessed: Vec<_> = captures()
        .iter()
        .map(|capture| {
            let keys = key_log(capture);
            let keys = keys.iter().flat_map(|path| ["--keylog", path]);
            let arguments: Vec<_> =
                ["--cookie-file", COOKIES, capture].into_iter().chain(keys).collect();
            let text = lines_of(&arguments);
            let expected = expected(&format!("{}.ndjson", stem(capture)));
            compare(&expected, &text);
            expected
        })
        .chain([seed_text(), ladders_text()])
        .collect();
    // No file stays behind a capture that is gone.
    let there: BTreeSet<PathBuf> =
        fs::read_dir(expected("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(there, blessed.into_iter().collect());
}

#[test]
fn the_seed_story_reads_as_it_read() {
    compare(&seed_text(), &lines_of(&["--format", "text", SEED]));
}

/// One connection for each outcome, and one request to EPMD for each, drawn as on a terminal without Unicode.
#[test]
fn the_ladder_of_each_outcome_reads_as_it_read() {
    let mut found: BTreeMap<(String, String), (String, String)> = BTreeMap::new();
    for capture in captures() {
        let events = fs::read_to_string(expected(&format!("{}.ndjson", stem(&capture)))).unwrap();
        for line in events.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let kind = event["event_type"].as_str().unwrap();
            if let (Some(outcome), Some(id)) =
                (event[kind]["outcome"].as_str(), event["session_id"].as_str())
            {
                let key = (kind.to_owned(), outcome.to_owned());
                found.entry(key).or_insert_with(|| (capture.clone(), id.to_owned()));
            }
        }
    }
    let mut text = String::new();
    for ((kind, outcome), (capture, id)) in &found {
        let keys = key_log(capture);
        let keys = keys.iter().flat_map(|path| ["--keylog", path]);
        let arguments = ["--session", id, "--cookie-file", COOKIES, capture];
        let drawn = ladder(&arguments.into_iter().chain(keys).collect::<Vec<_>>());
        text += &format!("## {kind} {outcome}: {capture}\n\n{drawn}\n");
    }
    assert!(text.lines().all(|line| line.len() <= 80 && line.is_ascii()), "{text}");
    assert!(found.len() > 20, "{found:?}");
    compare(&ladders_text(), &text);
}

/// A drawing as on a terminal without Unicode.
fn ladder(arguments: &[&str]) -> String {
    let output = beamscope(&["ladder"]).args(arguments).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const COOKIES: &str = "captures/cookies.txt";

fn ladders_text() -> PathBuf {
    expected("ladders.txt")
}

fn seed_text() -> PathBuf {
    expected(&format!("{}.txt", stem(SEED)))
}

/// The key log beside a capture, with which TLS in it can be opened.
fn key_log(capture: &str) -> Option<String> {
    let path = format!("captures/{}.keylog", stem(capture));
    Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).is_file().then_some(path)
}

fn expected(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/expected").join(name)
}

fn stem(capture: &str) -> &str {
    capture.trim_start_matches("captures/").split('.').next().unwrap()
}

/// Names the first line that differs: whole files are too long to read.
fn compare(path: &Path, text: &str) {
    if std::env::var_os("BEAMSCOPE_BLESS").is_some_and(|it| it == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let was = fs::read_to_string(path).unwrap_or_default();
    let differs = was.lines().zip(text.lines()).position(|(was, is)| was != is);
    let line = differs.unwrap_or_else(|| was.lines().count().min(text.lines().count()));
    assert!(
        was == text,
        "{}, line {}:\nexpected {}\n     got {}\nBEAMSCOPE_BLESS=1 writes the file anew",
        path.display(),
        line + 1,
        was.lines().nth(line).unwrap_or("nothing"),
        text.lines().nth(line).unwrap_or("nothing"),
    );
}
