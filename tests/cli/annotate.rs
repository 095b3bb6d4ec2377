//! `beamscope annotate`: the packets stay as they are, and the comments on them list the story.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{SEED, TestDir, beamscope, captures, skip};
use beamscope::capture::save::{Encoder, SaveFormat};
use beamscope::capture::{CaptureFile, Item};

fn run(arguments: &[&str]) -> Output {
    beamscope(&[&["annotate"], arguments].concat()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a capture contains, read with the library.
#[derive(Default)]
struct Contents {
    frames: Vec<(u64, u16, u32, Vec<u8>)>,
    comments: BTreeMap<u64, Vec<String>>,
    names: Vec<(String, String)>,
    secrets: usize,
}

fn contents(path: &str) -> Contents {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    let mut all = Contents::default();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while let Some(item) = capture.next_item().unwrap() {
        match item {
            Item::Frame(it) => {
                all.frames.push((it.at.0, it.link.0, it.wire_len, it.bytes.to_vec()));
                if !it.comments.is_empty() {
                    let comments = it.comments.iter().map(|comment| text(comment)).collect();
                    all.comments.insert(it.id.number, comments);
                }
            }
            Item::Names { names, .. } => {
                all.names.extend(names.iter().map(|(ip, name)| (ip.to_string(), text(name))))
            }
            Item::KeyLog { .. } => all.secrets += 1,
            _ => {}
        }
    }
    all
}

#[test]
fn packets_of_every_capture_stay_and_findings_are_on_their_packets() {
    let folder = TestDir::new("annotate");
    let annotated = folder.file("annotated.pcapng");
    for capture in captures() {
        run(&["--with-keys", &capture, "-o", &annotated]);
        let before = contents(&capture);
        let after = contents(&annotated);
        assert_eq!(after.frames, before.frames, "{capture}");
        assert!(after.secrets == before.secrets, "{capture}");
        let events = beamscope(&["--json", &capture]).output().unwrap();
        // The last finding of an incident counts.
        let mut findings = BTreeMap::new();
        for line in String::from_utf8(events.stdout).unwrap().lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(rule) = event["finding"]["rule"].as_str() {
                let id = event["finding"]["incident_id"].as_str().unwrap().to_owned();
                findings.insert(id, (event["frame"].as_u64(), rule.to_owned()));
            }
        }
        for (frame, rule) in findings.into_values() {
            let Some(frame) = frame else { continue };
            let verdict = format!("(rule {rule}");
            let comments = after.comments.get(&frame);
            assert!(
                comments.is_some_and(|all| all.iter().any(|it| it.contains(&verdict))),
                "{capture}: {rule} in frame {frame}: {comments:?}"
            );
        }
    }
}

#[test]
fn the_comments_are_the_story_and_addresses_have_names() {
    let folder = TestDir::new("annotate-seed");
    let out = folder.file("out.pcapng");
    let output = run(&["--cookie-file", "captures/cookies.txt", SEED, "-o", &out]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));
    let written = stderr(&output);
    assert!(written.contains("65 packets, ") && written.contains("; 2 findings"), "{written}");
    let after = contents(&out);
    assert_eq!(
        after.comments[&22],
        [
            "one@192.168.0.100 sends the proof of its cookie and asks two@192.168.0.103 for the same \
             (challenge_reply, cookie seed.one)"
        ]
    );
    let closed = &after.comments[&23];
    assert!(closed[0].starts_with("two@192.168.0.103 closes the connection"), "{closed:?}");
    assert_eq!(closed[1], "Here challenge_ack from two@192.168.0.103 should have come");
    assert!(after.comments[&24][1].starts_with("HIGH: "), "{:?}", after.comments[&24]);
    let name = |ip: &str, name: &str| (ip.to_owned(), name.to_owned());
    let names =
        [name("192.168.0.100", "one@192.168.0.100"), name("192.168.0.103", "two@192.168.0.103")];
    assert_eq!(after.names, names);

    // Once more: comments that are there are not written again.
    let again = folder.file("again.pcapng");
    run(&["--cookie-file", "captures/cookies.txt", &out, "-o", &again]);
    assert_eq!(contents(&again).comments, after.comments);

    run(&["--rule", "clear-text-distribution", SEED, "-o", &again]);
    let rest = contents(&again);
    let all: Vec<_> = rest.comments.values().flatten().collect();
    assert!(all.iter().any(|it| it.starts_with("NOTE")), "{all:?}");
    assert!(!all.iter().any(|it| it.starts_with("HIGH")), "{all:?}");
    // Filters need libpcap.
    if cfg!(feature = "live") {
        run(&["-f", "tcp port 4369", SEED, "-o", &again]);
        assert_eq!(contents(&again).frames.len(), 20);
    }
}

#[test]
fn an_input_that_cannot_be_read_twice_or_is_the_output_is_refused() {
    let folder = TestDir::new("annotate-refused");
    let copy = folder.file("copy.pcap");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED), &copy).unwrap();
    let before = fs::read(&copy).unwrap();
    for (arguments, problem) in [
        (vec!["-", "-o", "out.pcapng"], "standard input can be read once only"),
        (vec!["/dev/null", "-o", "out.pcapng"], "/dev/null can be read once only"),
        (vec![&copy, "-o", &copy], "is both read and written"),
        (vec![SEED, "-o", "out.pcap"], "a pcap file holds no comments"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
    assert_eq!(fs::read(&copy).unwrap(), before);
    let out = folder.file("out.pcapng");
    let output = run(&["--since", "2030-01-01T00:00:00Z", SEED, "-o", &out]);
    assert!(stderr(&output).contains("no packet that --since"), "{}", stderr(&output));
    // It was opened before the capture was: a capture is read without the right to make or remove files.
    assert!(fs::read(&out).unwrap().is_empty());
}

#[test]
fn secrets_that_a_capture_contains_are_kept_with_keys_alone() {
    let folder = TestDir::new("annotate-secrets");
    let (source, out) = (folder.file("source.pcapng"), folder.file("out.pcapng"));
    let mut bytes = Vec::new();
    Encoder::new(SaveFormat::Pcapng).begin("", &[], &mut bytes);
    let lines = b"CLIENT_RANDOM 00 11";
    for word in [10, 40, 0x544c_534b, 19] {
        bytes.extend_from_slice(&u32::to_le_bytes(word));
    }
    bytes.extend_from_slice(lines);
    bytes.push(0);
    bytes.extend_from_slice(&40_u32.to_le_bytes());
    let plain = folder.file("plain.pcapng");
    run(&[SEED, "-o", &plain]);
    // The rest of an annotated capture behind its section header.
    let rest = fs::read(&plain).unwrap();
    let header = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
    bytes.extend_from_slice(&rest[header..]);
    fs::write(&source, &bytes).unwrap();
    run(&[&source, "-o", &out]);
    assert_eq!((contents(&out).secrets, contents(&out).frames.len()), (0, 65));
    run(&["--with-keys", &source, "-o", &out]);
    assert_eq!((contents(&out).secrets, contents(&out).frames.len()), (1, 65));
    let written = fs::read(&out).unwrap();
    assert!(written.windows(lines.len()).any(|window| window == lines));
}

#[test]
fn tshark_reads_the_file_and_lists_the_same_comments() {
    let folder = TestDir::new("annotate-tshark");
    let out = folder.file("out.pcapng");
    run(&[SEED, "-o", &out]);
    let arguments = ["-Y", "frame.comment", "-T", "fields", "-E", "aggregator=|"];
    let fields = ["-e", "frame.number", "-e", "frame.comment"];
    let tshark = Command::new("tshark").arg("-r").arg(&out).args(arguments).args(fields).output();
    let output = match tshark {
        Ok(output) => output,
        Err(e) => return skip("tshark", &e.to_string()),
    };
    let mut listed = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (number, comments) = line.split_once('\t').unwrap();
        let comments = comments.split('|').map(str::to_owned).collect::<Vec<_>>();
        listed.insert(number.parse::<u64>().unwrap(), comments);
    }
    assert_eq!(listed, contents(&out).comments);
}
