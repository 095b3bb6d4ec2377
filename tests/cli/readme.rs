//! Every example of README.md is run. In a block marked `console`, a line after `$ ` is a command,
//! lines after `> ` go on with it, and the others are what it must print, where a line `...` stands
//! for any number of lines and a `...` at the end of a line for any rest of it. In a block marked
//! `sh` stand commands that need a network or a terminal: of those, the options must exist. With
//! `BEAMSCOPE_BLESS=1` the output in README.md is written anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{SEED, lines_of};

#[test]
fn every_example_prints_what_it_says() {
    let mut text = readme();
    for block in blocks(&readme(), "console") {
        let mut blessed = String::new();
        for Example { typed, command, expected } in examples(&block) {
            let printed = if lacks_a_tool(&command) { expected.clone() } else { run(&command) };
            let fits = fits(&lines(&expected), &lines(&printed));
            assert!(fits || is_blessing(), "$ {command}expected:\n{expected}got:\n{printed}");
            // Dots stay where they fit.
            blessed += &(typed + if fits { &expected } else { &printed });
        }
        text = text.replace(&block, &blessed);
    }
    if is_blessing() {
        fs::write(root().join("README.md"), text).unwrap();
    }
}

#[test]
fn commands_that_are_not_run_have_options_that_exist() {
    let known: BTreeSet<String> = options(&lines_of(&["--help"]));
    let blocks = blocks(&readme(), "sh");
    let used = blocks.iter().flat_map(|block| block.lines()).filter_map(|line| {
        let command = line.split('#').next()?;
        command.rsplit_once("beamscope ").map(|(_, arguments)| arguments.to_owned())
    });
    let used: Vec<String> = used.collect();
    assert!(used.len() > 4, "{used:?}");
    for option in used.iter().flat_map(|arguments| options(arguments)) {
        assert!(known.contains(&option), "{option}");
    }
}

#[test]
fn every_rule_and_outcome_is_told_of() {
    let text = readme();
    let known: BTreeSet<_> = beamscope::detect::pages().map(|page| page.rule).collect();
    assert_eq!(known, BTreeSet::from(RULES), "the names of rules are stable");
    for rule in RULES {
        assert!(text.contains(&format!("`{rule}`")), "{rule}");
    }
    let schema: serde_json::Value = serde_json::from_str(&lines_of(&["schema"])).unwrap();
    let outcomes = names(&schema["$defs"]["Outcome"]);
    assert!(outcomes.len() > 10, "{outcomes:?}");
    for outcome in outcomes {
        assert!(text.contains(&format!("`{outcome}`")), "{outcome}");
    }
}

const RULES: [&str; 33] = [
    "already-connected",
    "clear-text-distribution",
    "congested-link",
    "connection-lost",
    "cookie-guessing",
    "cookie-mismatch",
    "corrupt-distribution",
    "dist-port-blocked",
    "duplicate-node",
    "epmd-command",
    "epmd-enumeration",
    "epmd-silent",
    "epmd-unreachable",
    "handshake-aborted",
    "handshake-timeout",
    "known-tool",
    "name-in-use",
    "name-mismatch",
    "node-not-registered",
    "node-restarted",
    "not-allowed",
    "not-distribution",
    "partition-cascade",
    "registration-lost",
    "registration-rejected",
    "remote-execution",
    "same-name",
    "simultaneous-connect",
    "stale-registration",
    "tick-timeout",
    "tls-failure",
    "tls-mismatch",
    "version-mismatch",
];

struct Example {
    /// As it stands there, prompts included.
    typed: String,
    command: String,
    expected: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn is_blessing() -> bool {
    std::env::var_os("BEAMSCOPE_BLESS").is_some_and(|it| it == "1")
}

/// The insides of all blocks of this kind.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let opening = format!("\n```{kind}\n");
    let blocks = text.split(&opening).skip(1);
    blocks.map(|block| block.split_once("```\n").unwrap().0.to_owned()).collect()
}

fn examples(block: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for line in block.split_inclusive('\n') {
        if let Some(command) = line.strip_prefix("$ ") {
            let (typed, command, expected) = (line.into(), command.into(), String::new());
            examples.push(Example { typed, command, expected });
        } else {
            let example = examples.last_mut().unwrap();
            if let Some(more) = line.strip_prefix('>') {
                example.typed.push_str(line);
                example.command.push_str(more);
            } else {
                example.expected.push_str(line);
            }
        }
    }
    examples
}

/// Standard output of a command. `scripts/run` is the binary with the capture that the script
/// defaults to, so that nothing is built; what goes nowhere else is text, as at a terminal.
fn run(command: &str) -> String {
    let command = command.trim_end();
    let binary = Path::new(env!("CARGO_BIN_EXE_beamscope"));
    let mut path = std::ffi::OsString::from(binary.parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let command = match command {
        "scripts/run" => format!("beamscope {SEED}"),
        other => other.to_owned(),
    };
    // The answers of `explain` are text in any case.
    let is_text = command.starts_with("beamscope ")
        && !command.starts_with("beamscope explain")
        && !command.contains(['|', '>']);
    let command = if is_text { command.replacen(' ', " --format text ", 1) } else { command };
    let output = Command::new("sh")
        .args(["-c", &command])
        .current_dir(root())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Whether the lines are those expected.
fn fits(expected: &[&str], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=printed.len()).any(|n| fits(rest, &printed[n..])),
        (Some((expected, expected_rest)), Some((printed, printed_rest))) => {
            let begins = expected.strip_suffix("...").is_some_and(|it| printed.starts_with(it));
            (begins || expected == printed) && fits(expected_rest, printed_rest)
        }
        _ => false,
    }
}

/// Whether this machine lacks a tool that the command needs, which is said.
fn lacks_a_tool(command: &str) -> bool {
    let words: BTreeSet<&str> = command.split_whitespace().collect();
    ["jq", "tshark"].into_iter().filter(|tool| words.contains(tool)).any(|tool| {
        let lacks = Command::new(tool).arg("--version").output().is_err();
        if lacks {
            println!("skipped: readme: {tool} is not installed");
            let required = std::env::var_os("BEAMSCOPE_REQUIRE_ALL").is_some_and(|it| it == "1");
            assert!(!required, "{tool} is not installed");
        }
        lacks
    })
}

/// Words that begin with a hyphen.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| word.starts_with('-') && word.len() > 1)
        .map(str::to_owned)
        .collect()
}

/// The strings that a schema of named values allows.
fn names(schema: &serde_json::Value) -> Vec<String> {
    let values = schema["oneOf"].as_array().into_iter().flatten().map(|it| &it["const"]);
    let listed = schema["enum"].as_array().into_iter().flatten();
    values.chain(listed).filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

#[test]
fn dots_stand_for_what_is_left_out() {
    assert!(fits(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(fits(&["...", "a..."], &["abc"]));
    assert!(!fits(&["a"], &["a", "b"]));
    assert!(!fits(&["a", "b"], &["a"]));
    assert!(!fits(&["b..."], &["abc"]));
}
