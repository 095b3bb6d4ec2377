//! `beamscope report` as a program: what a page has, hostile names, kept events, what cannot be read; and pages in a real
//! browser.

mod scenes;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::capture_builder::CaptureBuilder;
use crate::support::{SEED, TestDir, beamscope, captures, lines_of, skip};

/// The page about these inputs, from a run that must end with this status; and its standard error.
fn page(folder: &TestDir, arguments: &[&str], status: i32) -> (String, String) {
    let file = folder.file("report.html");
    let arguments = [&["report", "-o", &file], arguments].concat();
    let Output { status: ended, stdout, stderr } = beamscope(&arguments).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(ended.code(), Some(status), "{arguments:?}: {stderr}");
    assert!(stdout.is_empty(), "{arguments:?}");
    (fs::read_to_string(file).unwrap(), stderr)
}

fn page_of(capture: &CaptureBuilder) -> String {
    let folder = TestDir::new("report");
    let path = capture.write(&folder, "a.pcap");
    page(&folder, &[&path], 0).0
}

/// The drawing of the cluster.
fn map(page: &str) -> &str {
    let start = page.find("<svg class=\"map\"").unwrap();
    page[start..].split_once("</svg>").unwrap().0
}

/// All values of an attribute.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!("{attribute}=\"");
    page.split(&start).skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
}

#[test]
fn a_page_needs_no_network_and_no_script() {
    let folder = TestDir::new("report");
    let (page, _) = page(&folder, &[SEED], 0);
    // The name of the elements of SVG is no address to load from.
    let page = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(page.starts_with("<!DOCTYPE html>\n"), "{}", &page[..80]);
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for absent in ["<script", "http://", "https://", "url(", "@import", "<img", "<iframe"] {
        assert!(!page.contains(absent), "{absent}");
    }
    let is_handler = |attribute: &str| {
        attribute.split_once("=\"").is_some_and(|(name, _)| {
            name.starts_with("on") && name.bytes().all(|byte| byte.is_ascii_lowercase())
        })
    };
    let tags = page.split('<').filter_map(|it| it.split_once('>')).map(|(tag, _)| tag);
    assert!(!tags.flat_map(|tag| tag.split(' ')).any(is_handler));
}

#[test]
fn sections_come_in_the_order_in_which_they_are_read() {
    let folder = TestDir::new("report");
    let (page, _) = page(&folder, &["captures/fmt-snaplen96.pcap", SEED], 0);
    let places: Vec<_> = [
        "class=\"verdict\"",
        "What the capture cannot show",
        "At a glance",
        "<h2>Cluster",
        "<h2>Problems",
        "<h2>Timeline",
        "<h2>Traffic",
        "<h2>Nodes",
    ]
    .map(|part| page.find(part).unwrap_or_else(|| panic!("{part}")))
    .into();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn the_frames_of_a_page_are_those_of_the_events() {
    let folder = TestDir::new("report");
    for capture in captures() {
        let (page, _) = page(&folder, &[&capture], 0);
        let mut all = BTreeSet::new();
        // The last revision of a finding counts, and the last record of its incident.
        let mut evidence: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in lines_of(&["--json", &capture]).lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            frames_in(&event, &mut all);
            let body = &event[event["event_type"].as_str().unwrap()];
            let Some(incident) = body["incident_id"].as_str() else { continue };
            if body["severity"] == "info" {
                evidence.remove(incident);
            } else if event["event_type"] == "finding" {
                let mut frames = BTreeSet::new();
                frames_in(&body["evidence"], &mut frames);
                evidence.insert(incident.to_owned(), frames);
            }
        }
        let evidence: BTreeSet<String> = evidence.into_values().flatten().collect();
        let shown: BTreeSet<String> =
            values(&page, "data-frame").into_iter().map(String::from).collect();
        assert!(evidence.is_subset(&shown), "{capture}: {evidence:?} {shown:?}");
        assert!(shown.is_subset(&all), "{capture}: {shown:?} {all:?}");
        // Text that names a frame is in an element that has its number.
        let unmarked = page.replace("data-frame=\"", "\0");
        for rest in unmarked.split(">frame ").skip(1) {
            let number = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            assert!(shown.contains(number), "{capture}: frame {number}");
        }
    }
}

fn frames_in(value: &Value, frames: &mut BTreeSet<String>) {
    match value {
        Value::Array(parts) => parts.iter().for_each(|part| frames_in(part, frames)),
        Value::Object(fields) => {
            for (key, part) in fields {
                match (key.as_str(), part.as_u64()) {
                    ("frame" | "settled_frame", Some(number)) => {
                        frames.insert(number.to_string());
                    }
                    _ => frames_in(part, frames),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn kept_events_give_the_report_of_their_capture() {
    let folder = TestDir::new("report");
    let kept = folder.file("kept.ndjson");
    for capture in captures() {
        let (from_capture, _) = page(&folder, &[&capture], 0);
        fs::write(&kept, lines_of(&["--json", &capture])).unwrap();
        let (from_events, _) = page(&folder, &[&kept], 0);
        assert!(
            from_events == from_capture,
            "{capture}: {}",
            difference(&from_capture, &from_events)
        );
        let short = |input: &str| lines_of(&["report", "--format", "markdown", input]);
        assert_eq!(short(&kept), short(&capture), "{capture}");
    }
}

/// The first line that differs.
fn difference(a: &str, b: &str) -> String {
    let line = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    line.map_or_else(|| "only one has more lines".to_owned(), |(a, b)| format!("\n{a}\n{b}"))
}

#[test]
fn kept_events_of_several_captures_name_their_input() {
    let folder = TestDir::new("report");
    let other = "captures/cookie-mismatch-both-directions.pcap";
    let (from_captures, _) = page(&folder, &["--order", "given", SEED, other], 0);
    let kept = folder.file("kept.ndjson");
    fs::write(&kept, lines_of(&["--json", "--order", "given", SEED, other])).unwrap();
    let (from_events, _) = page(&folder, &[&kept], 0);
    assert!(
        values(&from_events, "data-frame").iter().any(|it| it.starts_with(&format!("{other}:")))
    );
    assert!(from_events == from_captures, "{}", difference(&from_captures, &from_events));
}

#[test]
fn captures_and_kept_events_make_one_report() {
    let folder = TestDir::new("report");
    let kept = folder.file("kept.ndjson");
    let other = "captures/cookie-mismatch-both-directions.pcap";
    fs::write(&kept, lines_of(&["--json", other])).unwrap();
    let (both, _) = page(&folder, &[SEED, &kept], 0);
    for part in ["two@192.168.0.103", SEED, other] {
        assert!(both.contains(part), "{part}");
    }
    assert!(values(&both, "data-frame").iter().any(|it| it.starts_with(&format!("{other}:"))));
}

#[test]
fn hostile_names_stay_text_in_a_page() {
    let page = page_of(&scenes::hostile());
    let body = page.split_once("<body>").unwrap().1;
    assert!(!body.contains("<img") && body.contains("&lt;img src=x onerror=alert(1)&gt;@host0"));
    assert!(body.contains("\\u{202e}gnp.exe\\u{2066}@host1"));
    assert!(body.contains("\\x1b[2J\\x07\\x0d\\x0a@host3"));
    // The engine that fills the page does not take text for a template.
    assert!(body.contains("{{ 7*7 }}&amp;amp;&quot;&#39;") && !body.contains("49&amp;amp;"));
    assert!(body.contains(&"n".repeat(245)), "the table has the whole name");
    let is_unsafe = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!page.contains(is_unsafe));
    let map = map(&page);
    assert!(!map.contains(&"n".repeat(40)) && map.contains("&lt;img"), "{map}");
}

#[test]
fn hostile_names_stay_text_in_the_short_form() {
    let folder = TestDir::new("report");
    let path = scenes::hostile().write(&folder, "a.pcap");
    let text = lines_of(&["report", "--format", "markdown", &path]);
    assert!(text.contains("&lt;img src=x onerror=alert(1)&gt;@host0"), "{text}");
    assert!(
        !text.contains("<img") && !text.contains("[a](http") && text.contains("\\[a\\]"),
        "{text}"
    );
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
}

#[test]
fn the_map_is_the_same_whatever_the_order_of_the_connections() {
    let [one, other] =
        [scenes::mesh_with_a_stranger(), scenes::mesh_in_another_order()].map(|it| page_of(&it));
    assert_eq!(map(&one), map(&other));
    assert_eq!(values(map(&one), "class").iter().filter(|it| **it == "line bad").count(), 2);
    assert_eq!(values(map(&one), "class").iter().filter(|it| **it == "line ok").count(), 10);
    for host in 0..4 {
        assert!(map(&one).contains(&format!(">host{host}<")), "{}", map(&one));
    }
}

#[test]
fn a_large_cluster_is_drawn_by_host_and_that_is_written() {
    let page = page_of(&scenes::crowd(60));
    assert!(
        page.contains("60 nodes and 120 pairs are too many for one line a pair"),
        "{}",
        map(&page)
    );
    let lines = values(map(&page), "class").iter().filter(|it| it.starts_with("line ")).count();
    assert!(lines > 0 && lines <= 40, "{lines}");
    assert!(values(map(&page), "class").iter().filter(|it| **it == "node").count() <= 80);
}

#[test]
fn a_storm_of_attempts_is_one_lane_that_counts_them() {
    let page = page_of(&scenes::storm(2000));
    for lane in ["239 attempts: 239 refused", "1,761 attempts: 1,761 refused with RST or ICMP"] {
        assert!(page.contains(lane), "{lane}");
    }
    assert!(page.contains("A lane of columns counts attempts"));
    assert!(page.len() < 100_000, "{} bytes", page.len());
}

#[test]
fn a_thousand_sessions_make_less_than_two_megabytes() {
    let page = page_of(&scenes::crowd(500));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(page.contains("other pairs"));
}

#[test]
fn an_empty_capture_has_a_report_and_the_status_of_one() {
    let folder = TestDir::new("report");
    let path = CaptureBuilder::new().write(&folder, "empty.pcap");
    let (page, stderr) = page(&folder, &[&path], 2);
    assert!(page.contains("Cannot tell:"), "{page}");
    assert!(stderr.contains("holds no packet"), "{stderr}");
}

#[test]
fn what_came_before_a_bad_line_is_in_the_report() {
    let folder = TestDir::new("report");
    let kept = folder.file("kept.ndjson");
    let lines = lines_of(&["--json", SEED]);
    let all: Vec<_> = lines.lines().collect();
    let good = all[..all.len() - 3].join("\n");
    let count = all.len() - 2;
    for (bad, words) in [
        (&all[0][..60], "is not one that beamscope writes"),
        (r#"{"v":1,"event_type":"session"}"#, "is not one that beamscope writes"),
        (&*all[0].replace("\"v\":1", "\"v\":7"), "is of schema version 7; expected 1"),
        (
            r#"{"timestamp":"2026-01-01T00:00:00Z","flow_id":1,"event_type":"dns"}"#,
            "is not one that beamscope writes",
        ),
        ("<html>", "is not one that beamscope writes"),
        (
            &*all[0].replace("\"epmd\":{", "\"epmd\":{\"request\":1,\"x\":"),
            "is not one that beamscope writes",
        ),
    ] {
        fs::write(&kept, format!("{good}\n{bad}\n{}\n", all[all.len() - 1])).unwrap();
        let (page, stderr) = page(&folder, &[&kept], 2);
        let line = format!("line {count} {words}");
        assert!(stderr.contains(&line), "{bad}: {stderr}");
        assert!(
            page.contains(&line) && page.contains("what came before it is in this report"),
            "{bad}"
        );
        assert!(page.contains("refused the cookie of one@192.168.0.100"), "{bad}");
        assert!(page.contains("Packets not counted"), "{bad}");
    }
}

#[test]
fn an_input_is_never_written() {
    let folder = TestDir::new("report");
    let capture = folder.file("a.pcap");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED), &capture).unwrap();
    let link = folder.file("link.html");
    let kept = folder.file("kept.ndjson");
    fs::write(&kept, lines_of(&["--json", SEED])).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&capture, &link).unwrap();
    for (input, output) in [(&capture, &capture), (&capture, &link), (&kept, &kept)] {
        let before = fs::read(input).unwrap();
        let run = beamscope(&["report", input, "-o", output]).output().unwrap();
        let stderr = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("is both read and written"), "{stderr}");
        assert!(fs::read(input).unwrap() == before);
    }
    // Another file is replaced, as with -o elsewhere.
    let other = folder.file("report.html");
    fs::write(&other, "x".repeat(1 << 20)).unwrap();
    let (page, _) = page(&folder, &[&capture], 0);
    assert!(page.ends_with("</html>\n"));
}

#[test]
fn the_form_is_that_of_the_file_name() {
    let folder = TestDir::new("report");
    let short = folder.file("report.md");
    assert_eq!(lines_of(&["report", SEED, "-o", &short]), "");
    let text = fs::read_to_string(&short).unwrap();
    assert!(text.starts_with("**No problem open, 1 solved."), "{text}");
    assert_eq!(lines_of(&["report", SEED, "--format", "markdown"]), text);
    assert_eq!(lines_of(&["report", SEED, "--format", "markdown", "-o", "-"]), text);
    assert!(lines_of(&["report", SEED, "-o", "-"]).starts_with("<!DOCTYPE html>"));
    let run = beamscope(&["report", SEED]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(String::from_utf8(run.stderr).unwrap().contains("-o report.html"));
}

#[test]
fn filters_leave_out_what_they_leave_out_elsewhere() {
    let folder = TestDir::new("report");
    let path = scenes::mesh_with_a_stranger().write(&folder, "a.pcap");
    let (page, _) = page(&folder, &[&path, "--node", "stranger"], 0);
    assert!(page.contains("stranger@host99") && !page.contains("e@host3"), "{page}");
}

/// Pages in a browser: no message, no request, no text over another, enough contrast, nothing that a checker of
/// accessibility objects to, the frames of the events.
#[test]
fn pages_hold_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = TestDir::new("report");
    let scenes = [
        ("mesh", scenes::mesh_with_a_stranger()),
        ("storm", scenes::storm(10_000)),
        ("hostile", scenes::hostile()),
        ("crowd", scenes::crowd(200)),
        ("empty", CaptureBuilder::new()),
    ];
    let mut inputs: Vec<(&str, String)> = scenes
        .iter()
        .map(|(name, capture)| (*name, capture.write(&folder, &format!("{name}.pcap"))))
        .collect();
    inputs.push(("seed", root.join(SEED).display().to_string()));
    inputs.push(("largest", root.join("captures/tls-both.pcap").display().to_string()));
    inputs.push(("links", root.join("captures/congested-link.pcap").display().to_string()));
    let mut arguments = vec![root.join("scripts/report-check/run.mjs").display().to_string()];
    // Screenshots for a person, where they are wanted.
    if let Ok(shots) = env::var("BEAMSCOPE_SHOTS") {
        arguments.extend(["--shots".to_owned(), shots]);
    }
    for (name, input) in inputs {
        let (report, events) =
            (folder.file(&format!("{name}.html")), folder.file(&format!("{name}.ndjson")));
        beamscope(&["report", &input, "-o", &report]).output().unwrap();
        beamscope(&["--json", &input, "-o", &events]).output().unwrap();
        arguments.extend([name.to_owned(), report, events]);
    }
    let run = match Command::new("node").args(arguments).output() {
        Ok(run) => run,
        Err(e) => return skip("report in a browser", &format!("node: {e}")),
    };
    let (stdout, stderr) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    match run.status.code() {
        Some(0) => {}
        Some(2) => skip("report in a browser", stderr.trim_end()),
        _ => panic!("{stdout}{stderr}"),
    }
}
