//! `beamscope explain`, through the real binary.

use std::process::Output;

use crate::support::{beamscope, lines_of};
use beamscope::detect;
use serde_json::Value;

/// Status, standard output, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = beamscope(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Without line ends and indentation.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_rule_is_in_the_table_once_and_the_worst_come_first() {
    let table = lines_of(&["explain"]);
    let rows = table.lines().filter(|line| line.starts_with("  "));
    let named: Vec<_> = rows.filter_map(|line| line.split_whitespace().next()).collect();
    let mut rules: Vec<_> = detect::docs().map(|page| (page.severity, page.rule)).collect();
    rules.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    assert_eq!(named, rules.iter().map(|(_, rule)| *rule).collect::<Vec<_>>());
    for page in detect::docs() {
        assert!(flat(&table).contains(&flat(page.summary)), "{}", page.rule);
    }
}

#[test]
fn every_rule_has_a_page_with_all_sections_in_order() {
    for page in detect::docs() {
        let text = lines_of(&["explain", page.rule]);
        let flat_text = flat(&text);
        let parts = [page.rule, page.meaning, page.evidence, page.lookalikes];
        let parts = parts.into_iter().chain(page.log_lines.iter().map(|line| line.text));
        let mut rest = flat_text.as_str();
        for part in parts.chain(page.remedy.iter().copied()) {
            let at = rest.find(&flat(part));
            assert!(at.is_some(), "{}: {part}", page.rule);
            rest = &rest[at.unwrap()..];
        }
    }
}

#[test]
fn text_fits_80_columns() {
    let all = |page: &detect::RuleDoc| lines_of(&["explain", page.rule]);
    let mut texts: Vec<_> = detect::docs().map(all).collect();
    texts.push(lines_of(&["explain"]));
    texts.push(lines_of(&["explain", "--log", ""]));
    texts.push(lines_of(&["explain", "--log", "nodedown"]));
    for line in texts.iter().flat_map(|text| text.lines()) {
        // A word that is longer cannot be broken.
        let is_wide = line.chars().count() > 80 && line.trim_start().contains(' ');
        assert!(!is_wide && line.trim_end() == line, "{line:?}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn a_rule_that_does_not_exist_is_an_error_that_names_its_neighbours() {
    for (name, words) in [
        ("cookie-missmatch", &["\"cookie-missmatch\"; did you mean cookie-mismatch?"][..]),
        ("not_allowed", &["did you mean not-allowed"]),
        ("xyzzy", &["no rule is named \"xyzzy\"\n"]),
    ] {
        let (status, text, complaints) = run(&["explain", name]);
        assert_eq!((status, text.as_str()), (Some(2), ""), "{name}");
        for word in words.iter().chain(&["hint: beamscope explain lists all", "--log"]) {
            assert!(complaints.contains(word), "{name}: {word} is not in {complaints}");
        }
    }
}

/// The rules behind `Connection attempt from disallowed node`.
const DISALLOWED: [&str; 3] = ["cookie-guessing", "cookie-mismatch", "not-allowed"];

#[test]
fn a_log_line_leads_to_its_rules_and_to_what_distinguishes_them() {
    let text = lines_of(&["explain", "--log", "Connection attempt from disallowed node"]);
    for part in [
        "** Connection attempt from disallowed node a@h **",
        "the dialed node: not-allowed",
        "the dialed node, OTP 22 and older: cookie-mismatch",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let proofs = text.split_once("What a capture shows").unwrap().1;
    for page in detect::docs() {
        let is_reported = flat(proofs).contains(&format!("{}: {}", page.rule, flat(page.evidence)));
        assert_eq!(is_reported, DISALLOWED.contains(&page.rule), "{proofs}");
    }
}

#[test]
fn the_answer_has_the_names_of_the_line_and_what_to_do() {
    for (line, parts) in [
        (
            "12:00 [error] ** Connection attempt from node 'rabbit@web2' rejected. Invalid challenge reply. **",
            &[
                "** Connection attempt from node 'rabbit@web2' rejected.",
                "rabbit@web2 is the dialing node. The dialed one is the node that has this line in its log.",
                "What to do about cookie-mismatch",
                "- Give both nodes the same cookie",
            ][..],
        ),
        (
            "** y@y: Connection attempt to node x@x aborted since it cannot handle [\"V4_NC\"].**",
            &["y@y is the dialing node, x@x the dialed one.", "What to do about version-mismatch"],
        ),
        (
            "Failed RPC connection to the node ejabberd@ej1: nodedown",
            &["Look into the log of ejabberd@ej1", "Possible causes", "cookie-mismatch: "],
        ),
        (
            "** Hostname db.example is illegal **",
            &["** Hostname db.example is illegal **", "What it means", "all with -name"],
        ),
        ("node rabbit@b down: net_tick_timeout", &["RabbitMQ: tick-timeout", "net_ticktime"]),
        ("{badrpc,nodedown}", &["Look into the log of the other node"]),
    ] {
        let text = flat(&lines_of(&["explain", "--log", line]));
        for part in parts {
            assert!(text.contains(part), "{line}: {part} is not in {text}");
        }
    }
}

#[test]
fn json_of_a_line_has_its_names_and_its_note() {
    let line = "Failed RPC connection to the node ejabberd@ej1: nodedown";
    let text = lines_of(&["explain", "--json", "--log", line]);
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["line"], line);
    assert_eq!(first["dialed_node"], "ejabberd@ej1");
    assert!(first["rule"].is_string() && first["dialing_node"].is_null());
    assert!(first["note"]["remedy"][0].as_str().unwrap().contains("ejabberd@ej1"));
    let text = lines_of(&["explain", "--json", "--log", "** Hostname db is illegal **"]);
    let only: Value = serde_json::from_str(&text).unwrap();
    assert!(only["rule"].is_null() && only["note"]["meaning"].is_string(), "{only}");
}

#[test]
fn a_line_may_begin_with_a_hyphen_and_have_line_ends() {
    let line =
        "-- Connection attempt from node 'x@y'\n   rejected.\n   Invalid challenge reply. **";
    let text = lines_of(&["explain", "--log", line]);
    assert!(text.contains("the dialed node, OTP 23 and newer: cookie-mismatch"), "{text}");
}

#[test]
fn an_unknown_log_line_ends_with_status_1_and_a_hint() {
    let (status, text, complaints) = run(&["explain", "--log", "the quick brown fox"]);
    assert_eq!((status, text.as_str()), (Some(1), ""));
    assert!(complaints.contains("beamscope explain --log ''"), "{complaints}");
}

#[test]
fn no_line_shows_all_lines() {
    let text = flat(&lines_of(&["explain", "--log", ""]));
    for logged in detect::log_lines::lines() {
        assert!(text.contains(&flat(logged.line.text)), "{}", logged.line.text);
    }
}

#[test]
fn json_has_the_same_pages_one_a_line() {
    let pages = |arguments: &[&str]| -> Vec<Value> {
        lines_of(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(pages(&["explain", "--json"]).len(), detect::docs().count());
    let one = pages(&["explain", "--json", "cookie-mismatch"]);
    let page = detect::docs().find(|page| page.rule == "cookie-mismatch").unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["severity"], "high");
    assert_eq!(one[0]["meaning"], page.meaning);
    assert_eq!(one[0]["log_lines"][0]["text"], page.log_lines[0].text);
    assert_eq!(one[0]["remedy"][0], page.remedy[0]);
    let found = pages(&["explain", "--json", "--log", "from disallowed node"]);
    let mut rules: Vec<_> = found.iter().map(|page| page["rule"].as_str().unwrap()).collect();
    rules.sort_unstable();
    assert_eq!(rules, DISALLOWED);
}

#[test]
fn explain_takes_one_question_at_a_time() {
    for arguments in [
        &["explain", "cookie-mismatch", "--log", "x"][..],
        &["explain", "a", "b"],
        &["-q", "explain"],
    ] {
        assert_eq!(run(arguments).0, Some(2), "{arguments:?}");
    }
}
