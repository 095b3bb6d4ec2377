//! The real binary: arguments, exit status, pipes, files, and what it never prints.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::support::corpus;
use crate::support::{SEED, TestDir, beamscope, captures, lines_of};
use serde_json::Value;

const GOOD: &str = "captures/seed-lan-same-cookie.pcap";
const REMOTE: &str = "captures/remote-execution.pcap";
const UNSOLVED: &str = "captures/refused-in-a-loop.pcap";

/// Status, standard output, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    read(beamscope(arguments).output().unwrap())
}

fn read(Output { status, stdout, stderr }: Output) -> (Option<i32>, String, String) {
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs with `input` on standard input.
fn run_on(input: &[u8], arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = beamscope(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    read(output)
}

fn bytes(capture: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(capture)).unwrap()
}

/// A file that the test may write, named for it.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn scratch_with(name: &str, bytes: &[u8]) -> String {
    let path = scratch(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_type<'a>(events: &'a [Value], event_type: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event_type"] == event_type).collect()
}

#[test]
fn help_teaches_by_example() {
    let (status, help, complaints) = run(&["--help"]);
    assert_eq!((status, complaints.as_str()), (Some(0), ""));
    for part in ["why two nodes do not connect", "Examples:", "--cookie-file", "Exit status:"] {
        assert!(help.contains(part), "{part}");
    }
    for part in ["explain", "annotate", "help", "man ", "completions"] {
        assert!(help.contains(&format!("\n  {part}")), "{part}");
    }
    let (_, short, _) = run(&["-h"]);
    assert!(short.lines().count() <= 50, "{short}");
    assert!(short.contains("--help") && short.contains("--cookie-file"), "{short}");
    let (status, version, _) = run(&["--version"]);
    assert_eq!(status, Some(0));
    assert_eq!(version, concat!("beamscope ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn habits_from_tcpdump_are_met() {
    for options in [&["-n"][..], &["-nn"], &["-nnvv"], &["-v", "-v"]] {
        let (status, _, complaints) = run(&[options, &["--text", SEED]].concat());
        assert_eq!((status, complaints.as_str()), (Some(0), ""), "{options:?}");
    }
    let (status, _, complaints) = run(&[SEED, "ladder"]);
    assert_eq!(status, Some(2));
    assert!(complaints.contains("the command ladder goes first"), "{complaints}");
    let on_interface = ["-i", "lo", "tcp", "port", "4369"];
    let behind_file = [SEED, "tcp", "port", "4369"];
    let both = [&behind_file[..], &on_interface];
    for arguments in both.into_iter().take(if cfg!(feature = "live") { 2 } else { 1 }) {
        let (status, _, complaints) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(
            complaints.ends_with("hint: give the filter with -f: -f 'tcp port 4369'\n"),
            "{complaints}"
        );
    }
}

#[test]
fn an_unknown_option_suggests_only_what_is_like_it() {
    for (typed, guess) in [
        ("--nodes", Some("'--node'")),
        ("--out", Some("'--output'")),
        ("--cookie-flie", Some("'--cookie-file'")),
        ("--proto", None),
        ("--port", None),
        ("-x", None),
    ] {
        let (status, _, complaints) = run(&[typed, SEED]);
        assert_eq!(status, Some(2));
        assert_eq!(complaints.contains("tip:"), guess.is_some(), "{complaints}");
        assert!(guess.is_none_or(|guess| complaints.contains(guess)), "{complaints}");
    }
}

#[test]
fn status_is_0_unless_a_finding_was_asked_to_fail() {
    for (expected, arguments) in [
        (0, &[SEED][..]),
        (0, &["--fail-on", "never", SEED]),
        (0, &["--fail-on", "critical", SEED]),
        (1, &["--fail-on", "high", "--fail-on-solved", SEED]),
        // The nodes connect later in the capture.
        (0, &["--fail-on", "high", SEED]),
        (1, &["--fail-on", "high", UNSOLVED]),
        (1, &["--fail-on", "info", SEED]),
        // What is not shown fails all the same.
        (1, &["--fail-on", "high", "--min-severity", "critical", UNSOLVED]),
        (0, &["--fail-on", "low", GOOD]),
    ] {
        let (status, _, complaints) = run(arguments);
        assert_eq!((status, complaints.as_str()), (Some(expected), ""), "{arguments:?}");
    }
}

#[test]
fn status_is_2_with_what_was_expected_and_found() {
    let empty = scratch_with("empty.pcap", b"");
    for (arguments, words) in [
        (&[][..], &["no capture given", "beamscope FILE"][..]),
        (&["--nonsense", SEED], &["--nonsense", "--help"]),
        (&["--fail-on", "bad", SEED], &["bad", "critical"]),
        #[cfg(feature = "live")]
        (&["-i", "lo", SEED], &["-i captures from an interface, and reads no file"]),
        (&["missing.pcap"], &["missing.pcap"]),
        (&["captures"], &["captures is a directory", "expected a capture file"]),
        (
            &["Cargo.toml"],
            &["Cargo.toml", "expected pcap, pcapng or snoop", "found bytes 5b 70 61 63"],
        ),
        (&[&empty], &["is an empty file", "expected a capture file"]),
        (&["-", "-"], &["standard input can be read once only"]),
    ] {
        let (status, _, complaints) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}");
        for word in words {
            assert!(complaints.contains(word), "{arguments:?}: {word} is not in {complaints}");
        }
    }
}

#[test]
fn an_unreadable_capture_hides_no_other() {
    for arguments in [[SEED, "missing.pcap"], ["missing.pcap", SEED]] {
        let (status, lines, complaints) = run(&arguments);
        assert_eq!(status, Some(2));
        assert_eq!(of_type(&events(&lines), "finding").len(), 2, "{arguments:?}");
        assert!(complaints.contains("missing.pcap"));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut command = beamscope(&["-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    // Nothing can have been written before the first packet is read.
    let _ = child.stdin.take().unwrap().write_all(&bytes(SEED));
    let mut complaints = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!((child.wait().unwrap().code(), complaints.as_str()), (Some(0), ""));
}

#[test]
fn standard_input_gives_the_same_bytes_but_for_its_name() {
    for capture in [SEED, "captures/fmt-zstd.pcap.zst", "captures/links-two-interfaces.pcapng"] {
        let (status, lines, complaints) = run_on(&bytes(capture), &["-"]);
        assert_eq!((status, complaints.as_str()), (Some(0), ""), "{capture}");
        let named = lines.replace(r#""input":"-""#, &format!(r#""input":"{capture}""#));
        assert_eq!(named, lines_of(&[capture]), "{capture}");
    }
}

#[test]
fn a_cut_capture_shows_all_before_the_cut() {
    let whole = bytes(SEED);
    let cut = scratch_with("cut.pcap", &whole[..whole.len() - 5]);
    let (status, lines, _) = run(&[&cut]);
    let events = events(&lines);
    assert_eq!(status, Some(0));
    assert_eq!(of_type(&events, "anomaly")[0]["anomaly"]["kind"], "input_truncated");
    assert_eq!(of_type(&events, "finding").len(), 2);
    let stats = &events.last().unwrap()["stats"];
    assert_eq!((&stats["packets"], &stats["complete"]), (&64.into(), &false.into()));
}

#[test]
fn text_is_for_terminals_and_for_those_who_ask() {
    let lines = lines_of(&[SEED]);
    assert!(lines.lines().all(|line| line.starts_with(r#"{"v":1,"#)));
    assert_eq!(lines_of(&["--json", SEED]), lines);
    let text = lines_of(&["--format", "text", SEED]);
    assert!(text.contains("HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100"));
    assert!(!text.contains('\x1b'));
    assert!(lines_of(&["--format", "text", "--color", "always", SEED]).contains('\x1b'));
}

#[test]
fn text_of_a_file_begins_with_what_is_wrong_and_that_of_a_pipe_with_what_comes_first() {
    let (wrong, first) = ("HIGH  two@192.168.0.103 refused", "asked EPMD");
    let text = lines_of(&["--format", "text", SEED]);
    assert!(text.starts_with("No problem open, 1 solved.") && !text.contains(first), "{text}");
    let (_, live, _) = run_on(&bytes(SEED), &["--format", "text", "-"]);
    let verbose = lines_of(&["--format", "text", "-v", SEED]);
    for text in [&live, &verbose] {
        assert!(text.find(first).unwrap() < text.find(wrong).unwrap(), "{text}");
    }
    let solved = "solved at 15:29:52.060, when the nodes connected (frame 46): two@192.168.0.103";
    assert!(live.contains(solved), "{live}");
    let repeated = lines_of(&["--format", "text", "captures/ping-loop-old-cookie.pcap"]);
    assert_eq!(repeated.matches("HIGH").count(), 1, "{repeated}");
    assert!(repeated.contains(" 12 times, from"), "{repeated}");
}

#[test]
fn only_findings_leaves_findings_and_the_end() {
    let events = events(&lines_of(&["--only-findings", "captures/ping-loop-old-cookie.pcap"]));
    let types: Vec<_> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["finding", "finding", "incident", "finding", "stats"]);
    assert_eq!(events[1]["finding"]["revision"], 1, "the pace is known later");
    assert_eq!(events[2]["incident"]["count"], 12);
}

#[test]
fn min_severity_leaves_out_what_is_below() {
    for (severity, findings) in [("info", 2), ("high", 1), ("critical", 0)] {
        let events = events(&lines_of(&["--min-severity", severity, SEED]));
        assert_eq!(of_type(&events, "finding").len(), findings, "{severity}");
    }
}

#[test]
fn one_pair_of_many_is_shown_and_the_rest_is_counted() {
    let several =
        ["captures/cookie-mismatch-both-directions.pcap", "captures/dist-port-refused.pcap"];
    let show = |options: &[&str]| run(&[options, &several].concat());
    let sessions = |options: &[&str]| {
        let events = events(&show(options).1);
        of_type(&events, "session").len()
    };
    let all = sessions(&[]);
    let pair = sessions(&["--pair", "beta,alpha@192.168.0.11"]);
    let address = sessions(&["--host", "192.168.0.183"]);
    assert!(pair > 0 && address > 0 && pair + address == all, "{pair} and {address} of {all}");
    assert_eq!(sessions(&["--pair", "alpha,192.168.0.184"]), 0);
    assert_eq!(sessions(&["--node", "al?ha", "--host", "192.168.0.183"]), 0, "both must fit");

    let text = show(&["--text", "--pair", "alpha,beta"]).1;
    assert!(text.contains("hidden by --pair."), "{text}");
    assert!(text.contains("have different cookies") && !text.contains("192.168.0.183"), "{text}");
    let text = show(&["--text", "--node", "nobody"]).1;
    assert!(text.starts_with("No problem among what is shown. "), "{text}");

    for wrong in [["--rule", "cookies"], ["--session", "7"], ["--pair", "a"], ["--call", "rpc"]] {
        let (status, _, error) = show(&wrong);
        assert_eq!(status, Some(2), "{wrong:?}");
        assert!(error.contains(wrong[0]), "{error}");
    }
}

#[test]
fn messages_of_one_receiver_operation_or_function_are_shown() {
    let messages = |options: &[&str]| {
        let (status, out, error) = run(&[options, &[REMOTE]].concat());
        let events = events(&out);
        let messages: Vec<_> = of_type(&events, "message").into_iter().cloned().collect();
        assert_eq!((status, error.is_empty()), (Some(0), !messages.is_empty()), "{error}");
        messages
    };
    let all = messages(&["--messages"]);
    let to = messages(&["--to", "rex"]);
    assert!(!to.is_empty() && to.len() < all.len());
    assert!(to.iter().all(|event| event["message"]["to_name"] == "rex"), "{to:?}");
    let operation = messages(&["--op", "SPAWN*"]);
    assert!(operation.len() < all.len());
    let calls = messages(&["--call", "os:*"]);
    assert!(!calls.is_empty() && calls.len() < all.len());
    assert!(calls.iter().all(|event| event["message"]["call"]["module"] == "os"), "{calls:?}");
    assert!(messages(&["--call", "os:nothing"]).is_empty());
}

#[test]
fn a_count_of_packets_ends_the_run() {
    let events = events(&lines_of(&["-c", "22", SEED]));
    assert_eq!(events.last().unwrap()["stats"]["packets"], 22);
    assert!(events.iter().all(|event| event["frame"].as_u64() <= Some(22)));
    // The answer to the challenge reply is in none of the 22: nothing is reported about the cookie.
    assert_eq!(of_type(&events, "session")[0]["session"]["outcome"], "incomplete");
    assert!(of_type(&events, "finding").is_empty());
}

#[test]
fn output_goes_to_the_file_that_was_named() {
    let file = scratch("output.ndjson");
    let (status, lines, _) = run(&["-o", file.to_str().unwrap(), SEED]);
    assert_eq!((status, lines.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(file).unwrap(), lines_of(&[SEED]));
}

#[cfg(unix)]
#[test]
fn no_file_that_is_read_is_overwritten_by_another_name() {
    let input = scratch_with("linked.pcap", &bytes(SEED));
    let link = scratch("link.pcapng");
    let _ = fs::remove_file(&link);
    fs::hard_link(&input, &link).unwrap();
    let link = link.to_str().unwrap();
    let cookies = scratch_with("linked-cookies", b"monster\n");
    for arguments in [
        &["-o", link, &input][..],
        &["--append", "-o", link, &input],
        &["-w", link, &input],
        &["annotate", &input, "-o", link],
        &["ladder", &input, "-o", link],
        &["report", &input, "-o", link],
        &["--cookie-file", &cookies, "-o", &cookies, &input],
        &["report", "--cookie-file", &cookies, "-o", &cookies, &input],
    ] {
        let (status, _, complaints) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(complaints.contains("is both read and written"), "{complaints}");
    }
    assert_eq!(fs::read(&input).unwrap(), bytes(SEED));
    assert_eq!(fs::read(&cookies).unwrap(), b"monster\n");
}

#[test]
fn a_report_that_is_there_is_not_replaced_by_one_about_nothing() {
    let report = scratch_with("kept.html", b"KEEP");
    let (status, _, _) = run(&["report", "/nonexistent.pcap", "-o", &report]);
    assert_eq!((status, fs::read(&report).unwrap()), (Some(2), b"KEEP".to_vec()));
}

#[test]
fn an_input_is_not_overwritten() {
    let input = scratch_with("input.pcap", &bytes(SEED));
    let (status, _, complaints) = run(&["-o", &input, &input]);
    assert_eq!(status, Some(2));
    assert!(complaints.contains("both read and written"));
    assert_eq!(fs::read(&input).unwrap(), bytes(SEED));
}

#[test]
fn two_known_cookies_prove_the_mismatch_and_stay_unsaid() {
    let (old, new) = ("old_secret", "new_secret");
    let (status, lines, complaints) =
        run(&["--cookie", old, "--cookie", new, "captures/ping-loop-old-cookie.pcap"]);
    assert_eq!(status, Some(0));
    let events = events(&lines);
    let connected = of_type(&events, "session").pop().unwrap();
    assert_eq!(connected["session"]["initiator"]["cookie"], "cookie:2");
    assert_eq!(of_type(&events, "handshake")[3]["handshake"]["cookie"], "cookie:1");
    assert!(complaints.contains("--cookie-file keeps it from them"));
    assert!(!format!("{lines}{complaints}").contains("_secret"));
}

#[test]
fn a_cookie_may_begin_with_a_hyphen() {
    let (status, lines, complaints) = run(&["--cookie", "-s3cr3t", "--cookie", "--json", SEED]);
    assert_eq!(status, Some(0), "{complaints}");
    assert!(!format!("{lines}{complaints}").contains("s3cr3t"));
}

#[test]
fn no_error_shows_a_cookie() {
    let wrong_way_round = scratch_with("wrong-way-round.txt", b"s3cr3t with blanks\tnode\n");
    let unprintable = scratch_with("unprintable.txt", b"good\ns3cr3t\x01\n");
    let several = scratch_with("several.txt", b"one\ts3cr3t\none\ts3cr3t2\n");
    for arguments in [
        &["--cookie", "s3cr3t"][..],
        &["--cookie", "s3cr3t", "--nonsense", SEED],
        &["--cookie", "s3cr3t", "missing.pcap"],
        &["--cookie", "s3cr3t", "--json", "--format", "text", SEED],
        &["--cookie=s3cr3t", "--fail-on", "bad", SEED],
        &["--cookie", "-s3cr3t", "-c", "0", SEED],
        &["--cookei=s3cr3t", SEED],
        &["--cookie-file", "s3cr3t", SEED],
        &["--cookie-file", &wrong_way_round, SEED],
        &["--cookie-file", &unprintable, SEED],
        &["--cookie-file", &several, SEED],
    ] {
        let (status, lines, complaints) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}");
        assert!(!format!("{lines}{complaints}").contains("s3cr3t"), "{arguments:?}: {complaints}");
    }
}

#[test]
fn no_cookie_of_any_capture_is_printed() {
    let file = String::from_utf8(bytes("captures/cookies.txt")).unwrap();
    // Short ones are words of the protocol too, and some are a part of their label.
    let cookies: Vec<_> = file
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(label, cookie)| cookie.len() > 6 && !label.contains(cookie))
        .map(|(_, cookie)| cookie)
        .collect();
    assert!(cookies.len() > 9);
    for capture in captures() {
        let arguments = ["--include-secrets", "--cookie-file", "captures/cookies.txt", &capture];
        let lines = lines_of(&arguments);
        for cookie in &cookies {
            assert!(!lines.contains(cookie), "{capture}: {cookie}");
        }
    }
}

#[test]
fn secrets_are_left_out_unless_asked_for() {
    for (arguments, expected) in [(&[SEED][..], false), (&["--include-secrets", SEED], true)] {
        let lines = lines_of(arguments);
        assert_eq!(lines.contains(r#""digest":"#), expected);
        assert_eq!(lines.contains(r#""challenge":"#), expected);
    }
}

#[test]
fn every_line_of_every_capture_keeps_to_the_schema() {
    let schema: Value = serde_json::from_str(&lines_of(&["schema"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    corpus::check_all(|capture| {
        let capture = capture.to_str().unwrap();
        let labels = &["--cookie-file", "captures/cookies.txt", capture][..];
        let secrets = &["--include-secrets", capture];
        let lines = [labels, secrets].map(lines_of).concat();
        let wrong = events(&lines).into_iter().filter_map(|line| {
            validator.validate(&line).err().map(|error| format!("line {}: {error}", line["seq"]))
        });
        wrong.collect()
    });
}

#[test]
fn two_runs_give_the_same_bytes() {
    corpus::check_all(|capture| {
        let capture = &[capture.to_str().unwrap()];
        if lines_of(capture) == lines_of(capture) { Vec::new() } else { vec!["differ".into()] }
    });
}

/// The records of a little-endian pcap file, header and contents.
fn records(file: &[u8]) -> Vec<&[u8]> {
    let (mut records, mut rest) = (Vec::new(), &file[24..]);
    while let Some(len) = rest.get(8..12) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        let (record, after) = rest.split_at(16 + len);
        records.push(record);
        rest = after;
    }
    records
}

/// Lines without what counts frames and names files.
fn placeless(text: &str) -> Vec<Value> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("frame");
                fields.remove("settled_frame");
                fields.remove("input");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut events = events(text);
    events.iter_mut().for_each(strip);
    events
}

#[test]
fn connections_go_on_across_the_seam_of_two_files() {
    let whole = bytes(SEED);
    let records = records(&whole);
    let expected = placeless(&lines_of(&[SEED]));
    // In the look-up, between challenge and reply, and in the established connection.
    for at in [7, 21, 50] {
        let part = |name: &str, records: &[&[u8]]| {
            scratch_with(&format!("{name}-{at}.pcap"), &[&whole[..24], &records.concat()].concat())
        };
        let (first, second) = (part("first", &records[..at]), part("second", &records[at..]));
        assert_eq!(placeless(&lines_of(&[&first, &second])), expected, "{at}");
        assert_eq!(placeless(&lines_of(&[&second, &first])), expected, "time is the order, {at}");
        let given = lines_of(&["--order", "given", &first, &second]);
        assert_eq!(placeless(&given), expected, "{at}");
    }
}

#[test]
fn the_manual_and_completions_know_every_option() {
    let help = lines_of(&["--help"]);
    let words = help.split(|c: char| c != '-' && !c.is_ascii_alphabetic());
    let options: Vec<_> = words.filter(|word| word.starts_with("--")).collect();
    assert!(options.len() > 30, "{options:?}");
    let manual = lines_of(&["man"]).replace('\\', "");
    for shell in ["bash", "fish", "zsh"] {
        let completions = lines_of(&["completions", shell]);
        for option in &options {
            assert!(manual.contains(option), "{option}");
            // fish has it without the dashes, behind a flag of its own.
            let wanted = if shell == "fish" { &option[2..] } else { option };
            assert!(completions.contains(wanted), "{shell}: {option}");
        }
    }
    assert!(lines_of(&["man", "diff"]).contains("beamscope-diff"));
    let (status, _, stderr) = run(&["man", "nonsense"]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("expected one of diff, "), "{stderr}");
}

#[test]
fn what_a_file_has_is_kept_when_asked_for() {
    let path = scratch_with("append.ndjson", b"before\n");
    lines_of(&["--json", "--append", "-o", &path, GOOD]);
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.starts_with("before\n{"), "{kept}");
    lines_of(&["--json", "-o", &path, GOOD]);
    assert_eq!(fs::read_to_string(&path).unwrap(), kept["before\n".len()..]);
}

#[test]
fn lines_of_messages_and_handshakes_name_both_nodes_once_they_are_known() {
    let text = lines_of(&["--json", "--messages", SEED]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names = |kind: &str, from: usize| {
        let of_kind = lines.iter().filter(|line| line["event_type"] == kind);
        let bodies: Vec<_> = of_kind.map(|line| line[kind].clone()).collect();
        assert!(bodies.len() > from, "{kind}");
        bodies
    };
    let (one, two) = ("one@192.168.0.100", "two@192.168.0.103");
    for message in names("message", 4) {
        assert_eq!((&message["initiator"], &message["acceptor"]), (&one.into(), &two.into()));
    }
    for handshake in names("handshake", 4) {
        let is_early = ["send_name", "status"].contains(&handshake["message"].as_str().unwrap());
        assert_eq!(handshake["initiator"], one, "{handshake}");
        assert_eq!(handshake["acceptor"].is_null(), is_early, "{handshake}");
    }
}

#[test]
fn candidate_cookies_that_fit_nothing_and_odd_lines_are_reported() {
    let folder = TestDir::new("cookies");
    let file = folder.file("cookies.txt");
    fs::write(&file, "right\tS3CR3T-OF-NOBODY\nwrong one\n\"quoted\"\n").unwrap();
    let output = beamscope(&["--format=text", "--cookie-file", &file, SEED]).output().unwrap();
    let (text, warnings) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(warnings.contains("line 2 of cookies.txt has no tab"), "{warnings}");
    assert!(warnings.contains("line 3 of cookies.txt has quotes"), "{warnings}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = "None of the 3 candidate cookies fits either side of any handshake.";
    assert!(flat.contains(expected), "{flat}");
    let json = lines_of(&["--json", "--cookie-file", "captures/cookies.txt", SEED]);
    let stats: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    let tests = &stats["stats"]["cookies"];
    assert_eq!(tests["tested"], true);
    assert_eq!(tests["unused_labels"].as_array().unwrap().len(), 8);
    assert!(tests["unused"].as_u64() < tests["candidates"].as_u64());
    let without = lines_of(&["--json", SEED]);
    assert!(!without.contains("\"candidates\""));
}
