//! Comments and names are plain technical English.

use std::fs;
use std::path::Path;

use super::check;

/// Words for people that talk, write or sit somewhere. A packet is sent, a field holds, an event reports, a
/// reader waits. As whole words of comments, and as parts of names.
const METAPHORS: &[&str] = &[
    "desk", "heard", "hears", "nobody", "octet", "octets", "pen", "pens", "said", "say", "says",
    "somebody", "speak", "speaks", "spoke", "stand", "stands", "stood", "tell", "tells", "told",
    "voice", "whoever",
];

#[test]
fn no_comment_and_no_name_uses_a_metaphor_of_speech() {
    let mut offences = Vec::new();
    for (file, text) in rust_files() {
        // This list would find itself.
        if file == "tests/source/prose.rs" {
            continue;
        }
        for (number, line) in without_strings(&text).replace(STD_NAME, "").lines().enumerate() {
            if let Some(word) =
                words(line).into_iter().find(|word| METAPHORS.contains(&word.as_str()))
            {
                offences.push((file.clone(), format!("line {}: `{word}`", number + 1)));
            }
        }
    }
    check(&offences);
}

/// The method of `std::net::IpAddr`.
const STD_NAME: &str = ".octets()";

/// Fewer words cannot have a subject and a reason.
const WORDS_OF_A_DOC: usize = 4;

#[test]
fn every_doc_comment_has_at_least_four_words() {
    let mut offences = Vec::new();
    for (file, text) in rust_files().into_iter().filter(|(file, _)| file.starts_with("src/")) {
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        for docs in lines.chunk_by(|a, b| is_doc(a) && is_doc(b)).filter(|docs| is_doc(docs[0])) {
            let doc: Vec<_> = docs.iter().map(|line| line.trim_start_matches(['/', '!'])).collect();
            let doc = doc.join(" ");
            if doc.split_whitespace().count() < WORDS_OF_A_DOC {
                offences.push((file.clone(), format!("`{}` is too short", doc.trim())));
            }
        }
    }
    check(&offences);
}

fn is_doc(line: &str) -> bool {
    line.starts_with("///") || line.starts_with("//!")
}

/// All files of Rust in the project, by path.
fn rust_files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["src", "tests", "benches", "examples"].map(String::from).into();
    while let Some(folder) = folders.pop() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder);
        for entry in fs::read_dir(path).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(name);
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

/// A line's words in lower case; `snake_case` and `CamelCase` are taken apart.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        if !c.is_alphabetic() || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A text without what its string literals hold: those are texts for users, or the peer's words.
fn without_strings(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(start);
        kept.push_str(before);
        let len = if from.starts_with("//") {
            let end = from.find('\n').unwrap_or(from.len());
            kept.push_str(&from[..end]);
            end
        } else if from.starts_with('"') {
            let hashes = before.len() - before.trim_end_matches('#').len();
            let is_raw = before.trim_end_matches('#').ends_with('r');
            let len = if is_raw { raw_string_len(from, hashes) } else { string_len(from) };
            kept.extend(from[..len].chars().filter(|c| *c == '\n'));
            len
        } else {
            char_len(from)
        };
        rest = &from[len..];
    }
    kept.push_str(rest);
    kept
}

/// Bytes of a raw string literal, from its first quote on.
fn raw_string_len(from: &str, hashes: usize) -> usize {
    let end = format!("\"{}", "#".repeat(hashes));
    from[1..].find(&end).map_or(from.len(), |at| 1 + at + end.len())
}

/// Bytes of a string literal, from its first quote on.
fn string_len(from: &str) -> usize {
    let mut is_escaped = false;
    let end = from.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(from.len(), |at| at + 2)
}

/// Bytes of a character literal that could be taken for the start of a string; 1 for anything else.
fn char_len(from: &str) -> usize {
    ["'\"'", "'\\\"'", "'/'", "'\\''", "b'\"'"]
        .iter()
        .find(|it| from.starts_with(**it))
        .map_or(1, |it| it.len())
}

#[test]
fn words_are_found_in_comments_and_names_and_not_in_strings() {
    let text = "let a_b = CdE(\"f \\\" g\", '\"', r#\"h\"i\"#, b'/'); // \"j\" k\n\"l\nm\"n";
    assert_eq!(
        without_strings(text).lines().map(words).collect::<Vec<_>>(),
        [vec!["let", "a", "b", "cd", "e", "r", "b", "j", "k"], vec![], vec!["n"]]
    );
}
