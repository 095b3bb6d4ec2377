//! What is drawn of connections that no capture of the project has: each message of the handshake missing, lost or late,
//! closed by either side, and the same in health.

use std::time::Duration;

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::{TestDir, beamscope};

/// The rows of the ladder from the dial on, without frame, time and blanks at the ends: what is between the lifelines, and
/// the note.
fn rows(name: &str, capture: &CaptureBuilder, arguments: &[&str]) -> Vec<String> {
    let folder = TestDir::new("ladders");
    let path = capture.write(&folder, name);
    let mut command = beamscope(&["ladder", "--width", "140", &path]);
    let output = command.args(arguments).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.len() <= 140), "{text}");
    let rows = text.lines().filter(|line| line.contains('|'));
    let words = |row: &str| {
        let drawn = row.split_once('|').unwrap().1;
        let words = drawn.split(|c: char| c.is_whitespace() || "|-<>.".contains(c));
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let sign = |row: &str| match row.split_once('|').unwrap().1 {
        drawn if drawn.contains('X') && !drawn.contains(" X ") && drawn.contains("X-") => "lost ",
        drawn if drawn.contains("-X") => "lost ",
        drawn if drawn.contains(" .  ") => "missing ",
        _ => "",
    };
    rows.map(|row| format!("{}{}", sign(row), words(row).replacen("X", "", 0))).collect()
}

fn name_of(n: u16) -> String {
    format!("10.0.0.1:{}", 40_000 + n)
}

const ACCEPTOR: &str = "10.0.0.2:9100";

/// What happens in a scene after the three-way handshake.
type Scene = fn(&mut crate::support::capture_builder::Connection<'_>);

#[test]
fn the_message_that_is_missing_is_the_one_that_was_due() {
    let scenes: [(&str, Scene, &str); 8] = [
        (
            "closed-before-status",
            |it| _ = it.send_name("one@h1").close(End::Acceptor),
            "missing status never sent",
        ),
        (
            "reset-before-status",
            |it| _ = it.send_name("one@h1").reset(End::Acceptor),
            "missing status never sent",
        ),
        (
            "no-status",
            |it| {
                _ = it
                    .send_name("one@h1")
                    .acknowledge(End::Acceptor)
                    .wait(Duration::from_secs(7))
                    .close(End::Initiator)
            },
            "missing status never came",
        ),
        (
            "no-challenge",
            |it| {
                _ = it
                    .send_name("one@h1")
                    .send_status("ok")
                    .wait(Duration::from_secs(7))
                    .close(End::Initiator)
            },
            "missing challenge never came",
        ),
        (
            "no-reply",
            |it| {
                it.send_name("one@h1").send_status("ok").send_challenge("two@h2", 7);
                it.close(End::Initiator);
            },
            "missing challenge_reply never sent",
        ),
        (
            "no-reply-in-time",
            |it| {
                it.send_name("one@h1").send_status("ok").send_challenge("two@h2", 7);
                it.acknowledge(End::Initiator).wait(Duration::from_secs(7)).close(End::Acceptor);
            },
            "missing challenge_reply never came",
        ),
        (
            "no-ack",
            |it| {
                it.send_name("one@h1").send_status("ok").send_challenge("two@h2", 7);
                it.send_challenge_reply("c", 7, 9).close(End::Acceptor);
            },
            "missing challenge_ack never sent",
        ),
        (
            "no-ack-but-reset",
            |it| {
                it.send_name("one@h1").send_status("ok").send_challenge("two@h2", 7);
                it.send_challenge_reply("c", 7, 9).reset(End::Acceptor);
            },
            "missing challenge_ack never sent",
        ),
    ];
    for (name, scene, expected) in scenes {
        let mut capture = CaptureBuilder::new();
        scene(&mut capture.connect(&name_of(1), ACCEPTOR));
        let rows = rows(&format!("{name}.pcap"), &capture, &[]);
        let missing: Vec<_> = rows.iter().filter(|row| row.starts_with("missing ")).collect();
        assert_eq!(missing, [expected], "{name}: {rows:?}");
        let last = rows.last().unwrap();
        assert!(last.starts_with("FIN") || last.starts_with("RST"), "{name}: {rows:?}");
    }
}

#[test]
fn nothing_is_missing_where_the_protocol_ends_so() {
    let scenes: [(&str, Scene); 5] = [
        ("connected", |it| {
            it.send_name("one@h1").send_status("ok").send_challenge("two@h2", 7);
            it.send_challenge_reply("c", 7, 9).send_challenge_ack("c", 9);
            it.send_tick(End::Initiator).send_tick(End::Acceptor).close(End::Initiator);
        }),
        ("not-allowed", |it| {
            it.send_name("one@h1").send_status("not_allowed").close(End::Acceptor);
        }),
        ("nok", |it| _ = it.send_name("one@h1").send_status("nok").close(End::Acceptor)),
        ("already-connected", |it| {
            it.send_name("one@h1").send_status("alive").send_framed(End::Initiator, b"sfalse");
            it.close(End::Initiator);
        }),
        ("open-at-the-end", |it| {
            it.send_name("one@h1").send_status("ok").send_challenge("two@h2", 7);
            it.send_challenge_reply("c", 7, 9).send_challenge_ack("c", 9);
            it.send_tick(End::Initiator).send_tick(End::Acceptor);
        }),
    ];
    for (name, scene) in scenes {
        let mut capture = CaptureBuilder::new();
        scene(&mut capture.connect(&name_of(1), ACCEPTOR));
        let rows = rows(&format!("{name}.pcap"), &capture, &[]);
        assert!(rows.iter().all(|row| !row.starts_with("missing ")), "{name}: {rows:?}");
        assert!(rows.iter().all(|row| !row.starts_with("lost ")), "{name}: {rows:?}");
    }
}

#[test]
fn bytes_in_the_void_end_on_their_way_and_nothing_is_missing_after_them() {
    let hello = b"\0\x15N\0\0\0\x0d\x07\xdf\x7f\xbd\0\0\0\x07\0\x06one@h1";
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect("[fd00::1]:40001", "[fd00::2]:9100");
    connection.send_in_vain(End::Initiator, hello, 5).wait(Duration::from_millis(800));
    connection.close(End::Acceptor);
    let drawn = rows("hello-lost.pcap", &capture, &[]);
    let lost: Vec<_> = drawn.iter().filter(|row| row.starts_with("lost ")).collect();
    assert!(lost.len() == 1 && lost[0].contains("send_name"), "{drawn:?}");
    assert!(drawn.iter().any(|row| row.contains("sent 6 times in")), "{drawn:?}");
    assert!(drawn.iter().all(|row| !row.starts_with("missing ")), "{drawn:?}");

    // The same once, and then it arrives.
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect(&name_of(1), ACCEPTOR);
    connection.send_in_vain(End::Initiator, hello, 0).wait(Duration::from_millis(200));
    connection.send_again(End::Initiator, hello);
    connection.send_status("ok").send_challenge("two@h2", 7).send_challenge_reply("c", 7, 9);
    connection.send_challenge_ack("c", 9).send_tick(End::Initiator);
    let drawn = rows("hello-late.pcap", &capture, &[]);
    assert!(drawn.iter().all(|row| !row.starts_with("lost ")), "{drawn:?}");
    assert!(drawn.iter().any(|row| row.contains("send_name") && row.contains("sent 2 times")));
}

#[test]
fn a_request_to_epmd_in_the_void_has_no_missing_reply() {
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect(&name_of(1), "10.0.0.2:4369");
    connection.send_in_vain(End::Initiator, b"\0\x04ztwo", 5).wait(Duration::from_millis(800));
    connection.close(End::Initiator);
    let drawn = rows("request-lost.pcap", &capture, &[]);
    assert!(drawn[0].starts_with("lost EPMD: port of \"two\"?"), "{drawn:?}");
    assert!(drawn.iter().all(|row| !row.starts_with("missing ")), "{drawn:?}");
}

#[test]
fn of_several_pairs_the_one_that_is_asked_for_is_drawn() {
    let mut capture = CaptureBuilder::new();
    for (n, acceptor) in [(1, "10.0.0.2:9100"), (2, "10.0.0.3:9100"), (3, "10.0.0.4:9100")] {
        let name = format!("n{n}@h{n}");
        let mut connection = capture.connect(&name_of(n), acceptor);
        connection.send_name("one@h1").send_status("ok").send_challenge(&name, 7);
        connection.send_challenge_reply("c", 7, 9);
        if n == 2 {
            connection.close(End::Acceptor);
        } else {
            connection.send_challenge_ack("c", 9).send_tick(End::Initiator);
        }
    }
    let drawn = rows("pairs.pcap", &capture, &["--pair", "one,n2"]);
    assert!(drawn.contains(&"missing challenge_ack never sent".to_owned()), "{drawn:?}");
    assert_eq!(drawn, rows("pairs.pcap", &capture, &["--pair", "n2@h2,one@h1"]));
    let drawn = rows("pairs.pcap", &capture, &["--pair", "n3,one"]);
    assert!(drawn.iter().any(|row| row.starts_with("challenge_ack")), "{drawn:?}");
}
