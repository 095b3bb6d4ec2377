//! The walls between the stages: reads `src/` and fails on a `use`, or a path, that goes through
//! one. Tests at the bottom of a file, and modules that exist for tests alone, may do as they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A path, the only places where it is allowed, and why.
struct Rule {
    /// Paths that begin so, whole segments.
    path: &'static str,
    /// Files and folders below `src/`.
    only: &'static [&'static str],
    why: &'static str,
}

/// Where nothing may be named that belongs to later stages.
struct Wall {
    within: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
}

const DOOR: &str = "an outside crate has one door";
const OUTSIDE: &str = "arguments, environment, standard streams and exit status are the program's";
const THREAD: &str = "reading ahead has threads, and what waits for a reader: a packet costs less than handing it on";
const CLOCK: &str = "time comes with the packets; only a live capture and --duration ask the clock";

const TWO_DOORS: &str =
    "captures are compressed, and terms are: two formats, and one crate for both";
const INFLATES: &[&str] = &["capture/compressed.rs", "wire/term/compressed.rs"];

const RECORDS: &[&str] = &["transport/tls/keys.rs"];

const CLAP: &[&str] = &["cli/args.rs", "cli/commands/shell.rs"];
const THREADED: &[&str] = &[
    "capture/read_ahead.rs",
    "cli/commands/live/startup.rs",
    "cli/progress.rs",
    "cli/save/queue.rs",
    "cli/settings.rs",
    "cli/tui.rs",
    "render/background.rs",
];

#[rustfmt::skip] // a table reads best as a table
const RULES: &[Rule] = &[
    Rule { path: "aes",                   only: RECORDS,                             why: DOOR },
    Rule { path: "aes_gcm",               only: RECORDS,                             why: DOOR },
    Rule { path: "anstream",              only: &["cli/console.rs"],                 why: DOOR },
    Rule { path: "anstyle",               only: &["render/"],                        why: DOOR },
    Rule { path: "async_nats",            only: &["cli/nats/client.rs"],             why: DOOR },
    Rule { path: "cbc",                   only: RECORDS,                             why: DOOR },
    Rule { path: "ccm",                   only: RECORDS,                             why: DOOR },
    Rule { path: "chacha20poly1305",      only: RECORDS,                             why: DOOR },
    Rule { path: "clap",                  only: CLAP,                                why: DOOR },
    Rule { path: "clap_complete",         only: CLAP,                                why: DOOR },
    Rule { path: "clap_mangen",           only: &["cli/commands/shell.rs"],          why: DOOR },
    Rule { path: "community_id",          only: &["observe/ids.rs"],                         why: DOOR },
    Rule { path: "etherparse",            only: &["decode/"],                        why: DOOR },
    Rule { path: "flate2",                only: INFLATES,                            why: TWO_DOORS },
    Rule { path: "futures_util",          only: &["cli/nats/client.rs"],             why: DOOR },
    Rule { path: "graviola",              only: RECORDS,                             why: DOOR },
    Rule { path: "hkdf",                  only: RECORDS,                             why: DOOR },
    Rule { path: "hmac",                  only: RECORDS,                             why: DOOR },
    Rule { path: "indicatif",             only: &["cli/console.rs"],                 why: DOOR },
    Rule { path: "itoa",                  only: &["wire/term/number.rs"],            why: DOOR },
    Rule { path: "jiff",                  only: &["time/"],                          why: DOOR },
    Rule { path: "landlock",              only: &["cli/confine/sandbox.rs"],         why: DOOR },
    Rule { path: "libc",                  only: &["cli/confine/calls.rs"],           why: DOOR },
    Rule { path: "lz4_flex",              only: &["capture/compressed.rs"],          why: DOOR },
    Rule { path: "lzma_rust2",            only: &["capture/compressed.rs"],          why: DOOR },
    Rule { path: "md5",                   only: &["observe/ids.rs", "protocol/digest.rs"], why: DOOR },
    Rule { path: "minijinja",             only: &["render/html/"],                   why: DOOR },
    Rule { path: "nom",                   only: &["wire/"],                          why: DOOR },
    Rule { path: "pcap",                  only: &["capture/live/"],                  why: DOOR },
    Rule { path: "pcap_parser",           only: &["capture/"],                       why: DOOR },
    Rule { path: "ratatui",               only: &["cli/tui.rs"],                     why: DOOR },
    Rule { path: "rustls_graviola",       only: &["cli/nats/client.rs"],             why: DOOR },
    Rule { path: "rustix",                only: &["cli/"],                           why: DOOR },
    Rule { path: "schemars",              only: &["judge/", "observe/", "record/", "render/", "time/"], why: DOOR },
    Rule { path: "serde_json",            only: &["render/"],                        why: DOOR },
    Rule { path: "sha1",                  only: RECORDS,                             why: DOOR },
    Rule { path: "sha2",                  only: &["observe/ids.rs", "transport/tls/keys.rs"], why: DOOR },
    Rule { path: "simple_dns",            only: &["names.rs"],                       why: DOOR },
    Rule { path: "seccompiler",           only: &["cli/confine/"],                   why: DOOR },
    Rule { path: "signal_hook",           only: &["cli/stop.rs"],                    why: DOOR },
    Rule { path: "tokio",                 only: &["cli/nats/"],                      why: "the network is that of NATS alone" },
    Rule { path: "zeroize",               only: &["cli/keylog.rs", "cli/save/mod.rs", "transport/tls/"], why: "what holds secrets wipes them" },
    Rule { path: "x509_cert",             only: &["wire/x509.rs"],                   why: DOOR },
    Rule { path: "zstd",                  only: &["capture/compressed.rs"],          why: DOOR },
    Rule { path: "std::env",              only: &["cli/", "main.rs"],                why: OUTSIDE },
    Rule { path: "std::process",          only: &["cli/", "main.rs"],                why: OUTSIDE },
    Rule { path: "std::io::stdin",        only: &["cli/", "main.rs"],                why: OUTSIDE },
    Rule { path: "std::io::stdout",       only: &["cli/", "main.rs"],                why: OUTSIDE },
    Rule { path: "std::io::stderr",       only: &["cli/", "main.rs"],                why: OUTSIDE },
    Rule { path: "std::thread",           only: THREADED,                            why: THREAD },
    Rule { path: "std::time::Instant",    only: &["cli/progress.rs", "cli/stop.rs"], why: CLOCK },
    Rule { path: "std::time::SystemTime", only: &["capture/live/source.rs"],         why: CLOCK },
];

const WALLS: &[Wall] = &[
    Wall {
        within: &["wire/"],
        never: &[
            "crate::capture",
            "crate::protocol",
            "crate::judge::world",
            "crate::decode",
            "crate::detect",
            "crate::record",
            "crate::flow",
            "crate::identify",
            "crate::limits",
            "crate::names",
            "crate::render",
            "crate::engine",
            "crate::stream",
            "crate::time",
        ],
        why: "wire/ knows bytes and itself: no flow, direction, time or connection",
    },
    Wall {
        within: &[
            "capture/",
            "decode/",
            "flow/",
            "stream/",
            "transport/",
            "identify.rs",
            "names.rs",
            "questions.rs",
            "protocol/",
            "observe/",
            "limits.rs",
            "time/",
        ],
        never: &["crate::judge", "crate::detect", "crate::render", "crate::engine"],
        why: "a stage never imports a later one: one connection knows no other, and no verdict",
    },
    Wall {
        within: &["observe/"],
        never: &["crate::protocol", "crate::record", "crate::transport", "crate::flow"],
        why: "a fact is plain data: it knows neither how it was seen nor how it is printed",
    },
    Wall {
        within: &["judge/"],
        never: &[
            "crate::protocol",
            "crate::transport",
            "crate::flow",
            "crate::capture",
            "crate::record",
        ],
        why: "a verdict is made from facts alone, and does not know how it is printed",
    },
    Wall {
        within: &["record/"],
        never: &["crate::detect", "crate::render", "crate::engine", "crate::protocol"],
        why: "what is printed is made from facts and verdicts",
    },
    Wall {
        within: &["stream/", "transport/"],
        never: &["crate::protocol", "crate::record"],
        why: "streams and transports know packets and bytes, not the records made of them",
    },
    Wall {
        within: &["capture/", "decode/", "flow/", "stream/"],
        never: &["crate::protocol", "crate::names", "crate::wire"],
        why: "what carries the bytes does not know what they mean",
    },
    Wall {
        within: &[
            "capture/",
            "decode/",
            "flow/pending.rs",
            "flow/ports.rs",
            "flow/table.rs",
            "stream/",
        ],
        never: &["crate::identify"],
        why: "only flow/triage.rs asks what a payload looks like",
    },
    Wall {
        within: &["detect/", "judge/world/", "render/"],
        never: &["crate::stream", "crate::wire", "crate::flow", "crate::capture::Frame"],
        why: "rules and outputs see events and facts, never bytes",
    },
    Wall {
        within: &["compare.rs", "judge/world/", "detect/"],
        never: &["crate::render", "crate::engine"],
        why: "a stage never imports a later one",
    },
    Wall {
        within: &["evidence/"],
        never: &["crate::protocol", "crate::detect", "crate::render", "crate::engine", "std::fs"],
        why: "evidence/ keeps packets; what they mean is told, and files are the program's",
    },
    Wall {
        within: &["anonymize/"],
        never: &[
            "crate::protocol",
            "crate::judge",
            "crate::detect",
            "crate::record",
            "crate::render",
            "crate::engine",
            "std::fs",
        ],
        why: "anonymize/ gives packets to the analysis, and knows nothing of it",
    },
    Wall {
        within: &["extract/"],
        never: &["crate::judge", "crate::detect", "crate::render", "std::fs"],
        why: "extract/ selects frames; what they show is the engine's, and files are the program's",
    },
    Wall {
        within: &["merge/"],
        never: &[
            "crate::capture",
            "crate::protocol",
            "crate::judge",
            "crate::detect",
            "crate::record",
            "crate::render",
            "crate::engine",
            "std::fs",
        ],
        why: "merge/ joins facts; what they mean is judged behind it, and files are the program's",
    },
    Wall {
        within: &["render/"],
        never: &["crate::judge::world", "crate::detect", "crate::engine", "crate::protocol"],
        why: "output/ decides nothing",
    },
];

/// JSON is an output format, so terms become JSON in `render/`, from the heads that the parser reads.
const TERMS: (&str, &str) = ("render/json/term.rs", "crate::wire::term");

#[test]
fn stages_keep_to_their_side_of_the_walls() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for (file, text) in sources(&src, "") {
        let within = |places: &[&str]| {
            places.iter().any(|it| file == *it || it.ends_with('/') && file.starts_with(it))
        };
        for path in paths(code(&text)) {
            for rule in RULES {
                if is_below(&path, rule.path) && !within(rule.only) {
                    let (only, why) = (rule.only.join(", "), rule.why);
                    broken.push(format!("src/{file}: {path} belongs in {only}: {why}"));
                }
            }
            for wall in WALLS.iter().filter(|wall| within(wall.within)) {
                let is_excepted = file == TERMS.0 && is_below(&path, TERMS.1);
                if !is_excepted && wall.never.iter().any(|never| is_below(&path, never)) {
                    broken.push(format!("src/{file}: {path} does not belong here: {}", wall.why));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn nothing_prints_past_the_program() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, text) in sources(&src, "") {
        for name in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
            assert!(!code(&text).contains(name), "src/{file}: {name}: {OUTSIDE}");
        }
    }
}

#[test]
fn every_place_that_a_rule_names_is_there() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let only = RULES.iter().flat_map(|rule| rule.only);
    for place in only.chain(WALLS.iter().flat_map(|wall| wall.within)) {
        assert!(src.join(place).exists(), "src/{place}");
    }
}

/// Files that know the arguments as typed. Everything else in `cli/` works with settings.
const KNOW_ARGUMENTS: &[&str] = &["cli/mod.rs", "cli/settings.rs", "cli/commands/shell.rs"];

#[test]
fn files_of_the_command_line_import_without_a_circle() {
    let imports = imports_within("cli");
    assert!(imports.len() > 15, "{imports:?}");
    assert!(imports["cli/commands/analyze.rs"].contains("cli/save/mod.rs"), "{imports:?}");
    assert_eq!(circle(&imports), None);
    for (file, imported) in &imports {
        let knows = imported.contains("cli/args.rs");
        assert!(
            !knows || KNOW_ARGUMENTS.contains(&file.as_str()),
            "src/{file} imports cli/args.rs"
        );
    }
}

#[test]
fn a_circle_of_imports_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in edges {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        imports
    };
    assert_eq!(circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")])).unwrap();
    assert_eq!(found, ["b", "c", "d", "b"]);
}

/// For each file, the files that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Imports among the files of the folder `top`. A `mod` declaration is no import.
fn imports_within(top: &str) -> Imports {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src.join(top), &format!("{top}/"));
    let module = |file: &str| file.trim_end_matches(".rs").trim_end_matches("/mod").to_owned();
    let by_module: BTreeMap<_, _> = files.iter().map(|(file, _)| (module(file), file)).collect();
    let mut imports = Imports::new();
    for (file, text) in &files {
        let entry = imports.entry(file.clone()).or_default();
        // A visibility names a module without importing it.
        for path in paths(&code(text).replace("pub(in crate::cli)", "pub")) {
            let target = target(&module(file), &path, &by_module);
            entry.extend(target.filter(|to| to != file));
        }
    }
    imports
}

/// The file that `path` leads to from within `module`: the longest part of the path that is one.
fn target(module: &str, path: &str, files: &BTreeMap<String, &String>) -> Option<String> {
    let mut at: Vec<&str> = module.split('/').collect();
    let mut segments = path.split("::").peekable();
    match segments.peek() {
        Some(&"crate") => {
            segments.next();
            at.clear();
        }
        Some(&"self") => drop(segments.next()),
        Some(&"super") => {}
        // A module declared here, or an outside crate, which is then no file.
        _ if files.contains_key(&format!("{module}/{}", path.split("::").next()?)) => {}
        _ => return None,
    }
    while segments.next_if_eq(&"super").is_some() {
        at.pop();
    }
    let mut found = None;
    let mut name = at.join("/");
    for segment in std::iter::once("").chain(segments) {
        let separator = if name.is_empty() || segment.is_empty() { "" } else { "/" };
        name.push_str(&format!("{separator}{segment}"));
        found = files.get(&name).map(|file| (*file).clone()).or(found);
    }
    found
}

/// A circle of imports, as the files on it, the first one again at the end.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn walk(
        file: &str,
        imports: &Imports,
        done: &mut BTreeSet<String>,
        open: &mut Vec<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = open.iter().position(|it| it == file) {
            let mut found = open[start..].to_vec();
            found.push(file.to_owned());
            return Some(found);
        }
        if done.contains(file) {
            return None;
        }
        open.push(file.to_owned());
        for to in imports.get(file).into_iter().flatten() {
            if let Some(found) = walk(to, imports, done, open) {
                return Some(found);
            }
        }
        open.pop();
        done.insert(file.to_owned());
        None
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| walk(file, imports, &mut done, &mut Vec::new()))
}

/// Files below `folder` that are part of the program, with their names below `src/`.
pub(super) fn sources(folder: &Path, name: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let (path, file_name) = entry.map(|it| (it.path(), it.file_name())).unwrap();
        let name = format!("{name}{}", file_name.to_string_lossy());
        if path.is_dir() {
            found.extend(sources(&path, &format!("{name}/")));
        } else {
            found.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    let parent = found.iter().find(|(file, _)| *file == format!("{name}mod.rs"));
    let parent = parent.map(|(_, text)| text.clone()).unwrap_or_default();
    let is_test = |file: &str| {
        let module = file.trim_start_matches(name).trim_end_matches(".rs");
        parent.contains(&format!("#[cfg(test)]\nmod {module};"))
    };
    found.retain(|(file, _)| !is_test(file));
    found
}

/// The part of a file above its tests.
pub(super) fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// Every path in `text` with a `::` in it, groups of `use` taken apart, comments left out. A path
/// through an imported `io` is one of `std::io`.
fn paths(text: &str) -> Vec<String> {
    let text: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
        rest = &rest[start..];
        let (path, after) = path(rest);
        let path =
            path.strip_prefix("io::").map_or_else(|| path.into(), |it| format!("std::io::{it}"));
        if let Some(group) = after.strip_prefix('{').filter(|_| path.ends_with("::")) {
            found.extend(members(group).iter().map(|member| format!("{path}{member}")));
        } else if path.contains("::") {
            found.push(path);
        }
        rest = after;
    }
    found
}

/// Identifiers and `::` from the front of `text`, and what follows.
fn path(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let (path, after) = text.split_at(end.unwrap_or(text.len()));
    // The colon of a type belongs to no path.
    let trimmed = path.strip_suffix(':').filter(|it| !it.ends_with(':'));
    (trimmed.unwrap_or(path), after)
}

/// The members of a group as paths; `text` begins behind the brace that opens it.
fn members(text: &str) -> Vec<String> {
    let (mut found, mut prefixes, mut rest) = (Vec::new(), vec![String::new()], text);
    while let Some(prefix) = prefixes.last() {
        rest = rest.trim_start_matches([' ', '\n', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            prefixes.pop();
            rest = after;
            continue;
        }
        let (member, after) = path(rest);
        let whole = format!("{prefix}{member}");
        if let Some(group) = after.strip_prefix('{') {
            prefixes.push(whole);
            rest = group;
        } else {
            found.push(whole);
            // An alias, or a glob.
            rest = after.find([',', '}']).map_or("", |end| &after[end..]);
        }
    }
    found
}

/// Whether `path` is `start` or goes on from it.
fn is_below(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn groups_are_taken_apart() {
    let text = "use std::{env, io::{self, Write as _}};\nlet a: crate::wire::Cut = io::stdout();";
    assert_eq!(
        paths(text),
        [
            "std::env",
            "std::io::self",
            "std::io::Write",
            // The text of a group is also read as what it would be alone.
            "std::io::self",
            "std::io::Write",
            "crate::wire::Cut",
            "std::io::stdout",
        ]
    );
}
