//! README.md and the pages in docs/ are run and compared with the program. In a block marked `console`,
//! a line after `$ ` is a command, lines after `> ` continue it, and the others are its output, where a
//! line `...` replaces any number of lines and a `...` at the end of a line for the rest of the line.
//! Commands in a block marked `sh` need a network or a terminal and are not run, but their options must
//! exist. Tables between `<!-- ... -->` and `<!-- end -->` are made from the rules and from the JSON
//! Schema, and so is all of docs/rules.md. With `BEAMSCOPE_BLESS=1` outputs and tables are written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use beamscope::detect::{self, LogLine, RuleDoc};
use serde_json::Value;

use crate::support::{SEED, lines_of};

#[test]
fn every_example_prints_what_the_page_shows() {
    for (name, page) in pages() {
        let mut blessed_page = page.clone();
        for block in blocks(&page, "console") {
            let mut blessed = String::new();
            for Example { typed, command, expected } in examples(&block) {
                let printed = if lacks_a_tool(&command) { expected.clone() } else { run(&command) };
                let fits = fits(&lines(&expected), &lines(&printed));
                assert!(
                    fits || is_blessing(),
                    "{name}: $ {command}expected:\n{expected}got:\n{printed}{BLESS}"
                );
                // Dots stay if they match, and as the last line.
                blessed += &(typed + &if fits { expected } else { shortened(&printed, &expected) });
            }
            blessed_page = blessed_page.replace(&block, &blessed);
        }
        if is_blessing() && blessed_page != page {
            write(&name, &blessed_page);
        }
    }
}

#[test]
fn commands_that_are_not_run_have_options_that_exist() {
    let help =
        ["", "annotate", "diff", "explain", "extract", "facts", "merge", "report"].map(|command| {
            lines_of(
                &[command, "--help"].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>(),
            )
        });
    let known: BTreeSet<String> = help.iter().flat_map(|text| options(text)).collect();
    let mut used = 0;
    for (name, page) in pages() {
        for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
            let command = line.split(" #").next().unwrap_or_default();
            let Some((_, arguments)) = command.rsplit_once("beamscope ") else { continue };
            if cfg!(not(feature = "nats")) && line.contains("nats://") {
                continue;
            }
            used += 1;
            for option in options(arguments) {
                assert!(known.contains(&option), "{name}: {option} in {line}");
            }
        }
    }
    assert!(used > 10, "{used}");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let all: BTreeMap<String, String> = pages().into_iter().collect();
    for (name, page) in &all {
        let folder = Path::new(name).parent().unwrap();
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains(':') || target.contains(' ') {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { root().join(name) } else { root().join(folder).join(file) };
            assert!(path.exists(), "{name}: {target}");
            let text = fs::read_to_string(&path).unwrap_or_default();
            let is_heading = |line: &str| line.starts_with('#') && anchor_of(line) == anchor;
            assert!(anchor.is_empty() || text.lines().any(is_heading), "{name}: {target}");
        }
    }
}

#[test]
fn places_that_pages_name_exist() {
    const FOLDERS: [&str; 5] = ["src/", "tests/", "scripts/", "benches/", "examples/"];
    for (name, page) in pages() {
        for place in page.split('`').skip(1).step_by(2).filter(|it| !it.contains(' ')) {
            if FOLDERS.iter().any(|folder| place.starts_with(folder)) {
                assert!(root().join(place).exists(), "{name}: {place}");
            }
        }
    }
}

#[test]
fn the_front_page_stays_short() {
    assert!(page("README.md").len() <= 10 * 1024, "{} bytes", page("README.md").len());
}

#[test]
fn rule_names_are_stable() {
    let known: BTreeSet<_> = detect::docs().map(|page| page.rule).collect();
    assert_eq!(known, RULES.iter().copied().collect());
}

#[test]
fn the_rules_page_has_every_rule_as_the_program_explains_it() {
    let mut text = String::from(RULES_HEAD);
    text += &symptoms(RULES, "#");
    for rule in RULES {
        text += &section(rule_doc(rule));
    }
    compare("docs/rules.md", &text);
}

#[test]
fn the_front_page_has_the_most_frequent_symptoms() {
    let table = symptoms(&RULES[..FREQUENT], "docs/rules.md#");
    compare("README.md", &with_block(&page("README.md"), "symptoms", &table));
}

#[test]
fn the_output_page_has_every_field_and_value_of_the_schema() {
    let schema: Value = serde_json::from_str(&lines_of(&["schema"])).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut text = page("docs/output.md");
    let mut described = BTreeSet::new();
    for marker in markers(&text, "fields: ") {
        let mut tables = String::new();
        for name in marker.trim_start_matches("fields: ").split(' ') {
            assert!(described.insert(name.to_owned()), "{name} is described twice");
            let definition = match name {
                "Event" => &schema,
                _ => definitions.get(name).unwrap_or_else(|| panic!("{name} is no longer there")),
            };
            tables += &table(name, definition);
        }
        text = with_block(&text, &marker, &tables);
    }
    compare("docs/output.md", &text);
    for (name, definition) in definitions {
        let has_parts = definition.get("properties").is_some() || !values(definition).is_empty();
        assert!(!has_parts || described.contains(name), "{name} is not described");
    }
}

/// All rules, the most frequent problems first: the order of the symptom tables.
const RULES: &[&str] = &[
    "cookie-mismatch",
    "name-mismatch",
    "node-not-registered",
    "epmd-unreachable",
    "dist-port-blocked",
    "stale-registration",
    "asked-not-dialed",
    "name-not-resolved",
    "neighbour-silent",
    "version-mismatch",
    "not-allowed",
    "tls-mismatch",
    "tls-failure",
    "refused-inside-tls",
    "handshake-timeout",
    "tick-timeout",
    "path-loss",
    "connection-lost",
    "path-mtu",
    "name-in-use",
    "partition-cascade",
    "same-name",
    "duplicate-node",
    "handshake-aborted",
    "proxy-header",
    "tls-around-epmd",
    "idle-limit",
    "registration-lost",
    "registration-rejected",
    "epmd-silent",
    "congested-link",
    "corrupt-distribution",
    "not-distribution",
    "node-restarted",
    "already-connected",
    "simultaneous-connect",
    "clear-text-distribution",
    "cookie-guessing",
    "unproven-name",
    "remote-execution",
    "known-tool",
    "epmd-enumeration",
    "epmd-command",
];

/// Number of rules in the table of README.md.
const FREQUENT: usize = 12;

const RULES_HEAD: &str = "\
# Rules

Every problem that Beamscope finds, the most frequent first. This page is made from the text of
`beamscope explain RULE`. `beamscope explain --log 'LINE'` finds the rules behind a line of a log.

A severity is the usual one; a finding may have another. One cause gives one finding: a refused cookie is not also an
aborted handshake. A cluster that starts, a simultaneous connect, a reconnect and a normal shutdown give no finding above
`info`.

";

/// Advice at the end of a failed comparison.
const BLESS: &str = "\nBEAMSCOPE_BLESS=1 writes the page anew";

fn rule_doc(rule: &str) -> &'static RuleDoc {
    detect::docs().find(|page| page.rule == rule).unwrap()
}

/// A table of log line or symptom, rule, and the first step of the remedy.
fn symptoms(rules: &[&str], link: &str) -> String {
    let mut text = String::from("| log line, or symptom | rule | first step |\n|---|---|---|\n");
    for doc in rules.iter().map(|rule| rule_doc(rule)) {
        let logged = doc.log_lines.iter().find(|line| !line.text.is_empty() && is_common(line));
        let logged = logged.map_or_else(String::new, |line| {
            let releases =
                if line.releases == "all" { String::new() } else { format!(", {}", line.releases) };
            format!("`{}` ({}{releases}); ", line.text, line.writer)
        });
        let (symptom, rule, step) = (doc.symptom, doc.rule, doc.remedy[0]);
        writeln!(
            text,
            "| {} | [`{rule}`]({link}{rule}) | {} |",
            cell(&(logged + symptom)),
            cell(step)
        )
        .unwrap();
    }
    text
}

/// Whether a node logs the line without being asked to; tools and verbose logs are on the rules page.
fn is_common(line: &LogLine) -> bool {
    !line.writer.contains("verbose") && !line.writer.contains("rabbitmqctl")
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// One rule as a section of docs/rules.md.
fn section(doc: &RuleDoc) -> String {
    let RuleDoc {
        rule,
        severity,
        summary,
        symptom,
        meaning,
        evidence,
        lookalikes,
        log_lines,
        remedy,
    } = doc;
    let mut text = format!("\n## {rule}\n\n**{summary}** ({})\n\n", severity.name());
    let mut field = |name: &str, value: &str| writeln!(text, "*{name}:* {value}\n").unwrap();
    field("Symptom", &format!("{symptom}."));
    field("Meaning", meaning);
    field("Evidence in a capture", evidence);
    field("Easily confused with", lookalikes);
    if log_lines.is_empty() {
        text += "*Log lines:* none.\n\n";
    } else {
        text += "*Log lines:*\n\n";
        for LogLine { writer, releases, text: line } in *log_lines {
            let releases =
                if *releases == "all" { String::new() } else { format!(" ({releases})") };
            let line = if line.is_empty() { "nothing".to_owned() } else { format!("`{line}`") };
            writeln!(text, "- {writer}{releases}: {line}").unwrap();
        }
        text.push('\n');
    }
    text += "*What to do:*\n\n";
    for step in *remedy {
        writeln!(text, "- {step}").unwrap();
    }
    text
}

/// The fields of an object, or the values of an enumeration, as a table.
fn table(name: &str, definition: &Value) -> String {
    let mut text = format!("\n**{name}**");
    let properties = definition["properties"].as_object();
    text += if properties.is_some() {
        "\n\n| field | type | meaning |\n|---|---|---|\n"
    } else {
        "\n\n| value | meaning |\n|---|---|\n"
    };
    for (value, meaning) in values(definition) {
        writeln!(text, "| `{value}` | {} |", cell(&meaning)).unwrap();
    }
    for (field, property) in properties.into_iter().flatten() {
        let required = definition["required"].as_array().into_iter().flatten();
        let is_optional = !required.into_iter().any(|it| it == field);
        let optional = if is_optional { ", optional" } else { "" };
        let meaning = property["description"].as_str().unwrap_or_default();
        assert!(!meaning.is_empty(), "{name}.{field} has no description");
        let listed: Vec<_> = values(property).iter().map(|(it, _)| format!("`{it}`")).collect();
        let listed = if listed.is_empty() {
            String::new()
        } else {
            format!(" One of {}.", listed.join(", "))
        };
        let meaning = cell(meaning) + &listed;
        writeln!(text, "| `{field}` | {}{optional} | {meaning} |", kind(property)).unwrap();
    }
    text
}

/// The type of a field in words, with the names of other tables in bold.
fn kind(property: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        return match reference.rsplit('/').next().unwrap() {
            "Timestamp" => "time".to_owned(),
            "Hex" => "string".to_owned(),
            "Payload" => "string or JSON".to_owned(),
            "NodeType" => "string or integer".to_owned(),
            "Failure" => "**Outcome** or **EpmdOutcome**".to_owned(),
            other => format!("**{other}**"),
        };
    }
    if let Some(any) = property["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(only) = property.get("const") {
        return if only.is_string() { "string" } else { "integer" }.to_owned();
    }
    match &property["type"] {
        Value::Array(any) => any.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Value::String(kind) if kind == "array" => {
            format!("array of {}", self::kind(&property["items"]))
        }
        Value::String(kind) if kind == "object" => "object: counts by name".to_owned(),
        Value::String(kind) => kind.clone(),
        _ if values(property).is_empty() => "any".to_owned(),
        _ => "string".to_owned(),
    }
}

/// The values of an enumeration with their meaning.
fn values(schema: &Value) -> Vec<(String, String)> {
    let described = schema["oneOf"].as_array().into_iter().flatten().filter_map(|it| {
        let meaning = it["description"].as_str().unwrap_or_default();
        Some((it["const"].as_str()?.to_owned(), meaning.to_owned()))
    });
    let listed = schema["enum"].as_array().into_iter().flatten();
    let listed = listed.filter_map(|it| Some((it.as_str()?.to_owned(), String::new())));
    described.chain(listed).collect()
}

/// The insides of comments that begin with these words.
fn markers(text: &str, begin: &str) -> Vec<String> {
    let all = text.split("\n<!-- ").skip(1).filter_map(|rest| rest.split(" -->").next());
    all.filter(|marker| marker.starts_with(begin)).map(str::to_owned).collect()
}

/// A page with the text between a comment and the next `<!-- end -->` replaced.
fn with_block(page: &str, marker: &str, block: &str) -> String {
    let marker = format!("<!-- {marker} -->\n");
    let (before, rest) = page.split_once(&marker).unwrap();
    let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
    format!("{before}{marker}{block}<!-- end -->\n{after}")
}

/// Holds a page equal to the text that it should have.
fn compare(name: &str, text: &str) {
    if is_blessing() {
        write(name, text);
    }
    let page = page(name);
    let differs = page.lines().zip(text.lines()).find(|(is, should)| is != should);
    assert!(page == text, "{name}: {differs:?}{BLESS}");
}

/// The anchor that Markdown renderers give a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Every page for users and contributors, by its name from the root of the repository.
fn pages() -> Vec<(String, String)> {
    let mut names = Vec::new();
    for folder in ["", "docs/", "findings/"] {
        let entries = fs::read_dir(root().join(folder)).into_iter().flatten();
        let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.extend(
            files.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}{name}")),
        );
    }
    names.push("captures/README.md".to_owned());
    names.sort();
    assert!(names.len() > 8, "{names:?}");
    names.into_iter().map(|name| (name.clone(), page(&name))).collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn write(name: &str, text: &str) {
    fs::write(root().join(name), text).unwrap();
}

struct Example {
    /// The command as typed in the page, prompts included.
    typed: String,
    command: String,
    expected: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_blessing() -> bool {
    std::env::var_os("BEAMSCOPE_BLESS").is_some_and(|it| it == "1")
}

/// The contents of all blocks of this kind.
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

/// Standard output of a command. `trace.pcapng` is the capture that `scripts/run` shows. Output that
/// is neither piped nor redirected is text, as at a terminal.
fn run(command: &str) -> String {
    let command = command.trim_end();
    let binary = Path::new(env!("CARGO_BIN_EXE_beamscope"));
    let mut path = std::ffi::OsString::from(binary.parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let command = command.replace("trace.pcapng", SEED);
    // `explain` and `ladder` always print text; `annotate`, `extract` and `report` write a file, and `merge` takes options behind it.
    let has_format = ["explain", "ladder", "annotate", "extract", "merge", "report"]
        .iter()
        .all(|it| !command.starts_with(&format!("beamscope {it}")));
    let is_text = command.starts_with("beamscope ") && has_format && !command.contains(['|', '>']);
    let command = if is_text { command.replacen(' ', " --format text ", 1) } else { command };
    // Where examples write, and no build did if it has another folder.
    fs::create_dir_all(root().join("target/tmp")).unwrap();
    let output = Command::new("sh")
        .args(["-c", &command])
        .current_dir(root())
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Printed lines, cut where the expected ones end with dots.
fn shortened(printed: &str, expected: &str) -> String {
    match expected.strip_suffix("...\n") {
        Some(shown) => {
            let shown = lines(shown).len();
            printed.split_inclusive('\n').take(shown).collect::<String>() + "...\n"
        }
        None => printed.to_owned(),
    }
}

/// Whether the printed lines are the expected ones.
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

/// Whether this machine lacks a tool that the command needs; prints which one.
fn lacks_a_tool(command: &str) -> bool {
    let words: BTreeSet<&str> = command.split_whitespace().collect();
    ["jq", "tshark"].into_iter().filter(|tool| words.contains(tool)).any(|tool| {
        let lacks = Command::new(tool).arg("--version").output().is_err();
        if lacks {
            println!("skipped: docs: {tool} is not installed");
            let required = std::env::var_os("BEAMSCOPE_REQUIRE_ALL").is_some_and(|it| it == "1");
            assert!(!required, "{tool} is not installed");
        }
        lacks
    })
}

/// All words that begin with a hyphen.
fn options(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| word.starts_with('-') && word.len() > 1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn dots_match_any_omitted_lines() {
    assert!(fits(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(fits(&["...", "a..."], &["abc"]));
    assert!(!fits(&["a"], &["a", "b"]));
    assert!(!fits(&["a", "b"], &["a"]));
    assert!(!fits(&["b..."], &["abc"]));
}
