//! Captures made by [`CaptureBuilder`], for rules that no real capture shows yet, and what is found in them.

use std::time::Duration;

use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::{TestDir, lines_of};

/// Makes a capture.
type Make = fn() -> CaptureBuilder;

/// The synthetic captures that `captures::rules` accepts in place of real ones: a name, and what makes it.
pub(super) const ALL: &[(&str, Make)] = &[
    ("cookie-refused", || dial_with_cookie("wrong")),
    ("connected", || dial_with_cookie("right")),
    ("hello-in-the-void", || hello_in_the_void(5)),
    ("large-in-the-void", || large_in_the_void(1400)),
    ("asked-not-dialed", asked_not_dialed),
    ("tls-around-epmd", tls_around_epmd),
    ("idle-limit", || parted_by_a_balancer(2)),
    ("name-not-resolved", name_not_resolved),
    ("neighbour-silent", neighbour_silent),
    ("proxy-header", || through_a_balancer(Some(PROXY_1), 7000)),
    ("unproven-name", dial_from_elsewhere),
];

/// `one` looks up `two`, and dials it with a cookie; the cookie of `two` is `right`.
fn dial_with_cookie(cookie: &str) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", Some(9100));
    let mut connection = capture.connect("10.0.0.1:40002", "10.0.0.2:9100");
    connection.send_name("one@h1").send_status("ok").send_challenge("two@h2", 77);
    connection.send_challenge_reply(cookie, 77, 99);
    if cookie == "right" {
        connection.send_challenge_ack("right", 99);
        connection.wait(Duration::from_secs(15)).send_tick(End::Initiator);
        connection.send_tick(End::Acceptor);
    }
    connection.close(End::Acceptor);
    capture
}

/// Another host dials `two` under the name of a node at 10.0.0.1, with a wrong cookie.
fn dial_from_elsewhere() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect("10.0.0.66:50001", "10.0.0.2:9100");
    connection.send_name("one@10.0.0.1").send_status("ok").send_challenge("two@10.0.0.2", 77);
    connection.send_challenge_reply("wrong", 77, 99).close(End::Acceptor);
    capture
}

/// A host asks for the name of another one, and the name server does not answer.
fn name_not_resolved() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for port in [50001, 50002] {
        capture.dns_question(&format!("10.0.0.1:{port}"), "10.0.0.53:53", "two.lan");
        capture.wait(Duration::from_secs(2));
    }
    capture
}

/// A host asks three times for another one of its network.
fn neighbour_silent() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for _ in 0..3 {
        capture.arp_request([10, 0, 0, 1], [10, 0, 0, 2]);
        capture.wait(Duration::from_secs(1));
    }
    capture
}

/// `one` looks up `two` twice, and does not dial.
fn asked_not_dialed() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for port in [40001, 40002] {
        capture.epmd_lookup(&format!("10.0.0.1:{port}"), "10.0.0.2:4369", "two", Some(9100));
        capture.wait(Duration::from_secs(1));
    }
    capture
}

/// The header that HAProxy sends for the client of [`through_a_balancer`].
const PROXY_1: &[u8] = b"PROXY TCP4 10.0.0.1 10.0.0.3 40002 9100\r\n";

/// A header that does not name its client.
const PROXY_2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// `one` dials `two` through a load balancer at 10.0.0.3, which sends this header before the hello. Both give up after so
/// many milliseconds; without a header they connect.
fn through_a_balancer(header: Option<&[u8]>, gives_up: u64) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.3:40000", "10.0.0.2:4369", "two", Some(9100));
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.3:4369", "two", Some(9100));
    let mut near = capture.connect("10.0.0.1:40002", "10.0.0.3:9100").send_name("one@h1").pause();
    let mut far = capture.connect("10.0.0.3:40003", "10.0.0.2:9100").pause();
    if let Some(header) = header {
        far = capture.resume(far).send(End::Initiator, header).send_name("one@h1").pause();
        capture.wait(Duration::from_millis(gives_up));
        capture.resume(near).close(End::Initiator);
        capture.resume(far).close(End::Initiator);
        return capture;
    }
    far = capture.resume(far).send_name("one@h1").pause();
    for leg in [&mut far, &mut near] {
        *leg = capture.resume(*leg).send_status("ok").send_challenge("two@h2", 77).pause();
    }
    for leg in [&mut near, &mut far] {
        *leg = capture.resume(*leg).send_challenge_reply("c", 77, 99).pause();
    }
    for leg in [&mut far, &mut near] {
        *leg = capture.resume(*leg).send_challenge_ack("c", 99).pause();
    }
    for leg in [near, far] {
        capture.resume(leg).send_tick(End::Initiator).send_tick(End::Acceptor);
    }
    capture
}

/// `one` dials `two`, which is there, and its first message arrives only after it was sent `times` times in vain, or
/// never if these are many.
fn hello_in_the_void(times: u32) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", Some(9100));
    let mut connection = capture.connect("10.0.0.1:40002", "10.0.0.2:9100");
    let hello = b"\0\x15N\0\0\0\x0d\x07\xdf\x7f\xbd\0\0\0\x07\0\x06one@h1";
    connection.send_in_vain(End::Initiator, hello, times);
    if times > 3 {
        connection.wait(Duration::from_millis(800)).close(End::Acceptor);
    } else {
        connection.wait(Duration::from_millis(800)).send_again(End::Initiator, hello);
        connection.send_status("ok").send_challenge("two@h2", 77);
        connection.send_challenge_reply("C", 77, 99).send_challenge_ack("C", 99);
        connection.send_tick(End::Initiator).send_tick(End::Acceptor).close(End::Acceptor);
    }
    capture
}

/// A segment of `bytes` bytes does not arrive on an established connection, while the other side ticks every two
/// seconds and gives up after eight.
fn large_in_the_void(bytes: usize) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect("10.0.0.1:40002", "10.0.0.2:9100");
    connection.send_name("one@h1").send_status("ok").send_challenge("two@h2", 77);
    connection.send_challenge_reply("C", 77, 99).send_challenge_ack("C", 99);
    connection.send_tick(End::Initiator).send_tick(End::Acceptor).acknowledge(End::Initiator);
    let len = (bytes as u32 - 4).to_be_bytes();
    let mut frame = [&len[..], b"\x83\x44\0\x68\x04\x61\x06\x6a\x77\0\x77\x03rex\x6d"].concat();
    let binary = (bytes - frame.len() - 4) as u32;
    frame.extend(binary.to_be_bytes());
    frame.resize(bytes, 7);
    connection.send_in_vain(End::Initiator, &frame, 3);
    for seconds in [1, 2, 4] {
        connection.wait(Duration::from_secs(1)).send_tick(End::Acceptor);
        connection.acknowledge(End::Initiator);
        connection.wait(Duration::from_secs(seconds)).repeat_in_vain(End::Initiator, &frame);
    }
    connection.close(End::Acceptor);
    capture
}

/// A load balancer at 10.0.0.3 parts `one` and `two` after 4 s of silence, so many times.
fn parted_by_a_balancer(times: u16) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for port in 0..times {
        let [near, far] =
            [format!("10.0.0.1:{}", 41_000 + port), format!("10.0.0.3:{}", 42_000 + port)];
        let mut legs = Vec::new();
        for (from, to) in [(far, "10.0.0.2:9100"), (near, "10.0.0.3:9100")] {
            let mut leg = capture.connect(&from, to);
            leg.send_name("one@h1").send_status("ok").send_challenge("two@h2", 77);
            leg.send_challenge_reply("c", 77, 99).send_challenge_ack("c", 99);
            legs.push(leg.send_tick(End::Initiator).send_tick(End::Acceptor).pause());
        }
        capture.wait(Duration::from_secs(4));
        for (leg, closer) in legs.into_iter().zip([End::Initiator, End::Acceptor]) {
            capture.resume(leg).close(closer);
        }
        capture.wait(Duration::from_secs(1));
    }
    capture
}

#[test]
fn connections_that_a_balancer_parts_after_the_same_silence_are_found() {
    assert_eq!(found(&parted_by_a_balancer(3), "parted.pcap").0, ["idle-limit"]);
    assert_eq!(found(&parted_by_a_balancer(1), "once.pcap").0, Vec::<String>::new());
}

/// A sidecar wraps a look-up in TLS, and EPMD has none.
fn tls_around_epmd() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
    hello.extend([0; 54]);
    let mut connection = capture.connect("10.0.0.1:40001", "10.0.0.2:4369");
    connection.send(End::Initiator, &hello).close(End::Acceptor);
    capture
}

/// The rules of the findings above `info`, and the outcomes of the sessions.
fn found(capture: &CaptureBuilder, name: &str) -> (Vec<String>, Vec<String>) {
    let folder = TestDir::new("synthetic");
    let lines = lines_of(&["--json", &capture.write(&folder, name)]);
    let (mut rules, mut outcomes) = (Vec::new(), Vec::new());
    for event in lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match event["event_type"].as_str().unwrap() {
            "finding" if event["finding"]["severity"] != "info" => {
                rules.push(text(&event["finding"]["rule"]));
            }
            "session" if event["session"]["close"] != Value::Null => {
                outcomes.push(text(&event["session"]["outcome"]))
            }
            "anomaly" => panic!("{name}: {event}"),
            _ => {}
        }
    }
    (rules, outcomes)
}

#[test]
fn a_refused_cookie_is_found_in_a_synthetic_capture_and_an_accepted_one_is_not() {
    let (rules, outcomes) = found(&dial_with_cookie("wrong"), "wrong.pcap");
    assert_eq!((rules, outcomes), (vec!["cookie-mismatch".into()], vec!["cookie_mismatch".into()]));
    let (rules, outcomes) = found(&dial_with_cookie("right"), "right.pcap");
    assert_eq!((rules, outcomes), (vec![], vec!["connected".into()]));
}

#[test]
fn a_node_that_epmd_does_not_know_is_found_in_a_synthetic_capture() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", None);
    assert_eq!(found(&capture, "unknown.pcap").0, ["node-not-registered"]);
    let mut capture = CaptureBuilder::new();
    capture.dial("10.0.0.1:40001", "10.0.0.2:4369").reset(End::Acceptor);
    assert_eq!(found(&capture, "refused.pcap").0, ["epmd-unreachable"]);
}

#[test]
fn a_proxy_header_on_one_leg_is_the_one_finding_for_both() {
    for header in [PROXY_1, PROXY_2_LOCAL] {
        let (rules, outcomes) = found(&through_a_balancer(Some(header), 7000), "header.pcap");
        assert_eq!(rules, ["proxy-header"]);
        assert_eq!(outcomes, ["timed_out", "not_distribution"]);
    }
    let quick = found(&through_a_balancer(Some(PROXY_1), 10), "quick.pcap");
    assert_eq!(quick.0, ["proxy-header"], "the balancer closes at once");
    assert_eq!(found(&through_a_balancer(None, 0), "plain.pcap").0, Vec::<String>::new());
}

#[test]
fn a_proxy_header_on_a_port_that_nothing_else_names_is_found() {
    let mut capture = CaptureBuilder::new();
    let mut far = capture.connect("10.0.0.3:40003", "10.0.0.2:9100");
    far.send(End::Initiator, PROXY_1).send_name("one@h1").wait(Duration::from_secs(7));
    far.close(End::Acceptor);
    assert_eq!(found(&capture, "unknown-port.pcap").0, ["proxy-header"]);
    let mut capture = CaptureBuilder::new();
    let mut web = capture.connect("10.0.0.3:40003", "10.0.0.2:8080");
    web.send(End::Initiator, PROXY_1).send(End::Initiator, b"GET / HTTP/1.1\r\n\r\n");
    web.close(End::Acceptor);
    assert_eq!(found(&capture, "web.pcap"), (vec![], vec![]));
}

#[test]
fn a_proxy_header_alone_is_the_check_of_a_balancer() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", Some(9100));
    capture
        .connect("10.0.0.3:40003", "10.0.0.2:9100")
        .send(End::Initiator, PROXY_2_LOCAL)
        .close(End::Initiator);
    assert_eq!(found(&capture, "check.pcap").0, ["proxy-header"]);
}

#[test]
fn what_does_not_arrive_is_a_loss_on_the_path_and_what_arrives_late_is_none() {
    let (rules, outcomes) = found(&hello_in_the_void(5), "void.pcap");
    assert_eq!((rules, outcomes), (vec!["path-loss".into()], vec!["timed_out".into()]));
    let (rules, outcomes) = found(&hello_in_the_void(2), "late.pcap");
    assert_eq!((rules, outcomes), (vec![], vec!["connected".into()]));
}

#[test]
fn large_segments_that_do_not_arrive_are_an_mtu_and_small_ones_are_a_lost_connection() {
    let (rules, outcomes) = found(&large_in_the_void(1400), "large.pcap");
    assert_eq!((rules, outcomes), (vec!["path-mtu".into()], vec!["connected".into()]));
    assert_eq!(found(&large_in_the_void(400), "small.pcap").0, ["connection-lost"]);
}

#[test]
fn tcpdump_takes_the_checksums_of_a_synthetic_capture_for_correct() {
    use std::process::Command;

    let folder = TestDir::new("checksums");
    let path = dial_with_cookie("right").write(&folder, "right.pcap");
    let Ok(run) = Command::new("tcpdump").args(["-nvvr", &path]).output() else { return };
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("(correct)"), "{text}");
    assert!(!text.contains("incorrect") && !text.contains("bad cksum"), "{text}");
}

#[test]
fn a_refused_cookie_without_its_syn_is_one_also_where_the_capture_ends_with_the_close() {
    let folder = TestDir::new("refused");
    let hosts = [("10.0.0.1:40002", "10.0.0.2:9100"), ("[fd00::1]:40002", "[fd00::2]:9100")];
    for (from, to) in hosts {
        for is_reset in [false, true] {
            for more in [None, Some(50), Some(150)] {
                let mut capture = CaptureBuilder::new();
                let mut connection = capture.opened_before(from, to);
                connection.send_name("one@h1").send_status("ok").send_challenge("two@h2", 77);
                connection.send_challenge_reply("wrong", 77, 99);
                if is_reset {
                    connection.reset(End::Acceptor);
                } else {
                    connection.close(End::Acceptor);
                }
                if let Some(ms) = more {
                    capture.wait(Duration::from_millis(ms));
                    capture.dns_question("10.0.0.1:50001", "10.0.0.53:53", "two.lan");
                }
                let path = capture.write(&folder, "refused.pcap");
                let text = lines_of(&["--only-findings", &path]);
                let rules = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                let rules: Vec<_> = rules.filter(|line| line["event_type"] == "finding").collect();
                assert_eq!(rules.len(), 1, "{from} {is_reset} {more:?}: {text}");
                assert_eq!(rules[0]["finding"]["rule"], "cookie-mismatch");
            }
        }
    }
}

#[test]
fn a_connection_of_which_only_the_close_was_captured_is_undecided_at_most() {
    let folder = TestDir::new("refused");
    for (is_reset, is_known) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut capture = CaptureBuilder::new();
        if is_known {
            capture.epmd_lookup("10.0.0.1:40001", "10.0.0.2:4369", "two", Some(9100));
        }
        let mut connection = capture.opened_before("10.0.0.1:40000", "10.0.0.2:9100");
        if is_reset {
            connection.reset(End::Acceptor);
        } else {
            connection.close(End::Acceptor);
        }
        let text = lines_of(&["--json", &capture.write(&folder, "close.pcap")]);
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (mut outcomes, mut findings) = (Vec::new(), 0);
        for line in lines {
            findings += usize::from(line["event_type"] == "finding");
            if line["event_type"] == "session" {
                outcomes.push(line["session"]["outcome"].as_str().unwrap().to_owned());
            }
        }
        // Nothing shows what an unknown port is for.
        assert!(is_known || outcomes.is_empty(), "{text}");
        assert!(outcomes.iter().all(|outcome| outcome == "incomplete"), "{text}");
        assert_eq!(findings, 0, "{text}");
    }
}
