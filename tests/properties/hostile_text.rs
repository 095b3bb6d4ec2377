//! Characters that a terminal obeys or that are not seen come out of no part of the program as they are: however they came
//! in, and in whichever form it writes.

use std::fs;
use std::process::Output;

use pcap_parser::pcapng::{Block, OptionCode, parse_block_le};
use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::{SEED, TestDir, beamscope};

/// Controls beyond C0, bidirectional marks, zero-width marks, and what else has no shape of its own.
const UNSEEN: &[char] = &[
    '\u{7f}',
    '\u{80}',
    '\u{85}',
    '\u{9b}',
    '\u{9f}',
    '\u{ad}',
    '\u{61c}',
    '\u{200b}',
    '\u{200c}',
    '\u{200d}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202b}',
    '\u{202c}',
    '\u{202d}',
    '\u{202e}',
    '\u{2060}',
    '\u{2066}',
    '\u{2067}',
    '\u{2068}',
    '\u{2069}',
    '\u{3164}',
    '\u{fe0f}',
    '\u{feff}',
    '\u{e0041}',
];

/// What no output contains. Lines end, and a page has no other controls.
fn is_refused(c: char) -> bool {
    (c.is_control() && c != '\n') || UNSEEN.contains(&c)
}

fn assert_clean(text: &str, what: &str) {
    if let Some(line) = text.lines().find(|line| line.contains(is_refused)) {
        let (before, behind) = line.split_at(line.find(is_refused).unwrap());
        let around = before.chars().rev().take(80).collect::<Vec<_>>().into_iter().rev();
        let around: String = around.chain(behind.chars().take(40)).collect();
        panic!("{what}: {}", around.escape_default());
    }
}

/// What is written to both streams, which must be clean; whatever the exit status is.
fn run(arguments: &[&str]) -> String {
    let Output { stdout, stderr, .. } = beamscope(arguments).output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_clean(&stdout, &format!("standard output of {arguments:?}"));
    assert_clean(&stderr, &format!("standard error of {arguments:?}"));
    stdout + &stderr
}

/// A name with some of the characters: nodes may not have one in front of the `@`, but packets may.
fn name(part: usize, rest: &str) -> String {
    let some: String =
        UNSEEN.chunks(UNSEEN.len().div_ceil(4)).nth(part % 4).unwrap().iter().collect();
    format!("n{some}x{rest}")
}

/// A capture in which every name has such characters: those of nodes, registered names, atoms, hosts.
fn capture(folder: &TestDir) -> String {
    let mut capture = CaptureBuilder::new();
    for part in 0..4 {
        let host = |n: u8, port: u16| format!("10.0.{part}.{n}:{port}");
        let (one, two) = (name(part, "@one"), name(part + 1, "@two"));
        capture.epmd_register(&host(2, 4000), &host(2, 4369), &name(part + 1, ""), 9100);
        capture.epmd_lookup(&host(1, 4001), &host(2, 4369), &name(part + 1, ""), Some(9100));
        capture.epmd_lookup(&host(1, 4002), &host(2, 4369), &name(part + 2, "absent"), None);
        let resolver = host(9, 53);
        let short: String = name(part, "").chars().take(6).collect();
        capture.dns(&host(1, 5000), &resolver, &format!("{short}.test"), 3, &[]);
        capture.dns(&host(1, 5001), &resolver, &format!("{short}.org"), 0, &[[10, 0, 1, 2]]);

        // One cookie differs.
        let mut refused = capture.connect(&host(1, 4010), &host(2, 9100));
        refused.send_name(&one).send_status("ok").send_challenge(&two, 7);
        refused.send_challenge_reply("wrong", 7, 8).close(End::Acceptor);
        // A status that no release knows, and an answer that is not of EPMD.
        let mut odd = capture.connect(&host(1, 4011), &host(2, 9100));
        odd.send_name(&one).send_status(&name(part + 3, "")).close(End::Acceptor);
        // It works, and messages have such atoms.
        let mut works = capture.connect(&host(1, 4012), &host(2, 9100));
        works.send_name(&one).send_status("ok").send_challenge(&two, 7);
        works.send_challenge_reply("right", 7, 8).send_challenge_ack("right", 8);
        works.send(End::Initiator, &reg_send(&one, &name(part + 2, "")));
        works.send_tick(End::Acceptor);
    }
    capture.write(folder, &format!("{}.pcap", name(0, "")))
}

/// REG_SEND with a header without atoms ("Distribution Header"): a pid of `node`, no cookie, the name, and a binary.
fn reg_send(node: &str, to: &str) -> Vec<u8> {
    let atom = |text: &str| [&[119, text.len() as u8][..], text.as_bytes()].concat();
    let pid = [&[88][..], &atom(node), &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1]].concat();
    let control = [&[104, 4, 97, 6][..], &pid, &atom(""), &atom(to)].concat();
    let text = name(1, "text");
    let binary = [&[109, 0, 0, 0, text.len() as u8][..], text.as_bytes()].concat();
    let payload = [&[104, 2][..], &atom(to), &binary].concat();
    let message = [&[131, 68, 0][..], &control, &payload].concat();
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

#[test]
fn no_form_of_output_has_a_character_that_is_not_seen() {
    let folder = TestDir::new("hostile-text");
    let capture = capture(&folder);
    let label = folder.file("cookies");
    fs::write(&label, "known\tright\n").unwrap();
    let shown = ["--cookie-file", &label, "--messages", "--payloads", "-vv"];

    let json = run(&[&["--json"][..], &shown, &[&capture]].concat());
    // The values are what was sent.
    let whole: Vec<Value> =
        json.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for wanted in [name(0, "@one"), name(3, "@two"), name(0, "absent")] {
        let has =
            |value: &Value| value.to_string().contains(&serde_json::to_string(&wanted).unwrap());
        assert!(whole.iter().any(has), "{wanted:?}");
    }
    assert!(whole.iter().any(|line| line["input"] == *capture), "the name of the file");
    assert!(json.contains("\\u202e") && json.contains("\\udb40\\udc41"), "escaped as JSON does");

    for arguments in [
        &["--json", "--terms", "json"][..],
        &["--text"],
        &["--text", "--color", "always"],
        &["--brief"],
        &["--text", "--node", &name(0, "@one")],
        &["--text", "--node", &name(0, "unknown")],
        &["--text", "--pair", &format!("{},{}", name(0, "p"), name(1, "q"))],
        &["--json", "--expect", &format!("{},{}", name(0, "p"), name(1, "q"))],
    ] {
        let colours = arguments.contains(&"always");
        let all = [arguments, &shown[..], &[&*capture]].concat();
        if colours {
            let Output { stdout, .. } = beamscope(&all).output().unwrap();
            let text = String::from_utf8(stdout).unwrap();
            assert!(!text.contains(|c| c != '\x1b' && is_refused(c)), "{all:?}");
        } else {
            assert!(run(&all).len() > 100);
        }
    }
    for plain in [
        &["report", "-o", "-", "--format", "html"][..],
        &["report", "-o", "-", "--format", "markdown"],
        &["ladder"],
        &["ladder", "--width", "200"],
        &["ladder", "--format", "svg"],
        &["ladder", "--format", "mermaid"],
        &["ladder", "--node", &name(1, "@two")],
        &["ladder", "--node", &name(1, "nobody")],
        &["diff", "--text", SEED],
        &["diff", "--json", SEED],
    ] {
        assert!(run(&[plain, &[&*capture]].concat()).len() > 100, "{plain:?}");
    }

    // An extract has the name of the file in it.
    let (several, written) = (folder.file("several.pcapng"), folder.file("written.pcapng"));
    run(&["extract", &capture, SEED, "/no/such/\u{202e}", "-w", &several]);
    for arguments in [
        &["--json"][..],
        &["--text", "-vv"],
        &["report", "-o", "-", "--format", "html"],
        &["report", "-o", "-", "--format", "markdown"],
        &["ladder"],
        &["ladder", "--format", "svg"],
        &["merge", "--text"],
        &["extract", "--facts", &several, "-w", &written],
        &["annotate", "-o", &written],
    ] {
        let shown = run(&[arguments, &[&*several]].concat());
        assert!(shown.len() > 20, "{arguments:?}");
    }

    // Locales without characters beyond ASCII.
    let ascii = beamscope(&["--text", "-v", &capture]).env("LC_ALL", "C").output().unwrap();
    assert!(ascii.stdout.is_ascii() && ascii.stderr.is_ascii());
    assert_clean(&String::from_utf8(ascii.stdout).unwrap(), "text in ASCII");
}

#[test]
fn no_comment_and_no_file_of_evidence_has_a_character_that_is_not_seen() {
    let folder = TestDir::new("hostile-comments");
    let capture = capture(&folder);
    let (annotated, saved) = (folder.file("annotated.pcapng"), folder.file("saved.pcapng"));
    let evidence = folder.file(&format!("evidence{}", name(3, "")));
    run(&["annotate", &capture, "-o", &annotated]);
    run(&["--text", "-w", &saved, "--evidence", &evidence, &capture]);
    let mut comments = comments_of(&annotated);
    assert!(comments > 20, "{comments}");
    comments += comments_of(&saved);
    for entry in fs::read_dir(&evidence).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_clean(name, "a name of a file of evidence");
        comments += comments_of(path.to_str().unwrap());
    }
    assert!(comments > 40, "{comments}");
}

/// How many comments a capture has, all of them clean.
fn comments_of(path: &str) -> usize {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut count) = (&bytes[..], 0);
    while !rest.is_empty() {
        let (next, block) = match parse_block_le(rest) {
            Ok(parsed) => parsed,
            Err(error) => panic!("{path}: {error:?}"),
        };
        let options = match &block {
            Block::SectionHeader(it) => &it.options,
            Block::InterfaceDescription(it) => &it.options,
            Block::EnhancedPacket(it) => &it.options,
            _ => &Vec::new(),
        };
        for option in options.iter().filter(|it| it.code == OptionCode::Comment) {
            let text = String::from_utf8(option.value[..option.len.into()].to_vec()).unwrap();
            assert_clean(&text, path);
            count += 1;
        }
        rest = next;
    }
    count
}

#[test]
fn names_and_comments_of_a_capture_are_clean_wherever_they_are_shown() {
    let folder = TestDir::new("hostile-pcapng");
    let plain = fs::read(capture(&folder)).unwrap();
    let odd = name(1, "odd\x1b[2J");
    let option = |code: u16, text: &str| {
        let mut bytes = [code.to_le_bytes(), (text.len() as u16).to_le_bytes()].concat();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let block = |kind: u32, body: &[u8]| {
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    };
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let mut pcapng =
        block(0x0a0d_0d0a, &[section, option(1, &odd), option(4, &odd), vec![0; 4]].concat());
    // An interface of Ethernet, with its name and its description.
    let interface =
        [&[1, 0, 0, 0, 0, 0, 4, 0][..], &option(2, &odd), &option(3, &odd), &[0; 4]].concat();
    pcapng.extend(block(1, &interface));
    // The name of an address.
    let mut record = [&[10, 0, 0, 2][..], odd.as_bytes(), &[0]].concat();
    let len = record.len() as u16;
    record.resize(record.len().next_multiple_of(4), 0);
    let names = [&[1, 0][..], &len.to_le_bytes(), &record, &[0; 4]].concat();
    pcapng.extend(block(4, &names));
    let mut rest = &plain[24..];
    while let Some((head, behind)) = rest.split_at_checked(16) {
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (frame, next) = behind.split_at(number(8) as usize);
        rest = next;
        let micros = u64::from(number(0)) * 1_000_000 + u64::from(number(4));
        let words = [0, (micros >> 32) as u32, micros as u32, number(8), number(12)];
        let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        packet.extend(frame);
        packet.resize(packet.len().next_multiple_of(4), 0);
        pcapng.extend(block(6, &[packet, option(1, &odd), vec![0; 4]].concat()));
    }
    // Half a block: a message about the input.
    pcapng.extend(&block(6, &[0; 32])[..20]);
    let path = folder.file("named.pcapng");
    fs::write(&path, pcapng).unwrap();
    for arguments in [
        &["--json", "--messages"][..],
        &["--text", "-vv"],
        &["report", "-o", "-"],
        &["report", "-o", "-", "--format", "markdown"],
        &["ladder"],
        &["ladder", "--format", "svg"],
    ] {
        assert!(run(&[arguments, &[&*path]].concat()).len() > 400, "{arguments:?}");
    }
}

#[test]
fn no_message_about_arguments_and_inputs_has_a_character_that_is_not_seen() {
    let folder = TestDir::new("hostile-arguments");
    let capture = capture(&folder);
    let odd = name(0, "\x1b[2J");
    let cut = folder.file(&name(1, "cut.pcap"));
    let bytes = fs::read(&capture).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 7]).unwrap();
    let no_capture = folder.file(&name(2, "none.pcap"));
    fs::write(&no_capture, name(3, "no capture")).unwrap();
    let cookies = folder.file("cookies");
    fs::write(&cookies, format!("{}\tright\n", name(2, "label"))).unwrap();
    let unwritable = folder.file(&format!("{odd}/x"));
    for arguments in [
        &[&*folder.file(&odd)][..],
        &[&no_capture],
        &[&cut],
        &[&no_capture, &capture],
        &[&capture, "-o", &unwritable],
        &[&capture, "-w", &unwritable],
        &[&capture, "--cookie-file", &unwritable],
        &[&capture, "--cookie-file", &cookies],
        &[&capture, "--keylog", &unwritable],
        &[&capture, "--rule", &odd],
        &[&capture, "--tz", &odd],
        &[&capture, "--since", &odd],
        &[&capture, "--filter", &odd],
        &[&capture, "--filter-file", &unwritable],
        &[&format!("--{odd}"), &capture],
        &["explain", &odd],
        &["explain", "--log", &odd],
        &["explain", "--log", &format!("Connection attempt from disallowed node {odd}")],
        &["ladder", "--session", &odd, &capture],
        &["report", &capture, "-o", &unwritable],
        &["diff", &capture, &no_capture],
        &["annotate", &capture, "-o", &capture],
    ] {
        assert!(!run(arguments).is_empty(), "{arguments:?}");
    }
}
