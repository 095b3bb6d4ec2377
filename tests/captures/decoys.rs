//! Packets that no receiver took, in captures made for them: what the property over whole captures does not show.

use std::time::Duration;

use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, Connection, End};
use crate::support::{TestDir, lines_of};

const A: &str = "10.0.0.1:40000";
const B: &str = "10.0.0.2:9100";

/// The events of a capture, of one type.
fn events(capture: &CaptureBuilder, kind: &str, options: &[&str]) -> Vec<Value> {
    let folder = TestDir::new("decoys");
    let path = capture.write(&folder, "decoys.pcap");
    let output = lines_of(&[&["--json", &path][..], options].concat());
    let events = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event_type"] == kind).map(|mut it| it[kind].take()).collect()
}

/// The rules that accuse a node.
fn accusations(capture: &CaptureBuilder) -> Vec<String> {
    let findings = events(capture, "finding", &[]);
    let findings = findings.iter().filter(|finding| finding["severity"] != "info");
    findings.map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect()
}

/// The outcome of the last record of the only session.
fn outcome(capture: &CaptureBuilder) -> String {
    let sessions = events(capture, "session", &[]);
    sessions.last().unwrap()["outcome"].as_str().unwrap().to_owned()
}

fn kinds_of_anomalies(capture: &CaptureBuilder) -> Vec<String> {
    let anomalies = events(capture, "anomaly", &[]);
    anomalies.iter().map(|it| it["kind"].as_str().unwrap().to_owned()).collect()
}

/// A handshake whose cookies are the same, with a tick behind it.
fn shake_hands(connection: &mut Connection<'_>) {
    connection.send_name("a@10.0.0.1").send_status("ok").send_challenge("b@10.0.0.2", 7);
    connection.send_challenge_reply("c", 7, 9).send_challenge_ack("c", 9);
    connection.acknowledge(End::Initiator).send_tick(End::Initiator).acknowledge(End::Acceptor);
}

#[test]
fn a_syn_of_another_host_does_not_end_a_connection_that_goes_on() {
    for from in [End::Initiator, End::Acceptor] {
        let mut capture = CaptureBuilder::new();
        let mut connection = capture.connect(A, B);
        shake_hands(&mut connection);
        connection.decoy_syn(from).acknowledge(from.peer());
        connection.send_tick(from).acknowledge(from.peer());
        connection.close(End::Initiator);
        let sessions = events(&capture, "session", &[]);
        assert!(sessions.iter().all(|it| it["outcome"] == "connected"), "{sessions:#?}");
        assert_eq!(sessions.len(), 2, "its beginning and its end");
        assert_eq!(accusations(&capture), [""; 0]);
        assert_eq!(kinds_of_anomalies(&capture), ["not_taken"]);
    }
}

#[test]
fn a_host_that_lost_its_connection_opens_another_between_the_same_ports() {
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect(A, B);
    shake_hands(&mut connection);
    // The host was switched off. Its SYN is answered with an acknowledgement of the old connection, which it resets.
    connection.decoy_syn(End::Initiator).acknowledge(End::Acceptor);
    connection.reset_bare(End::Initiator);
    let mut again = capture.connect_from(A, B, 777_000);
    shake_hands(&mut again);
    let sessions = events(&capture, "session", &[]);
    let ids: std::collections::BTreeSet<_> =
        sessions.iter().map(|it| it["steps"][0]["frame"].to_string()).collect();
    assert_eq!(ids.len(), 2, "{sessions:#?}");
    assert_eq!(outcome(&capture), "connected");
}

#[test]
fn an_icmp_error_in_front_of_the_answer_accuses_no_node() {
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.dial(A, B);
    connection.unreachable();
    connection.answer_syn();
    shake_hands(&mut connection);
    assert_eq!(outcome(&capture), "connected");
    assert_eq!(accusations(&capture), [""; 0]);
}

#[test]
fn a_reply_of_epmd_that_the_requester_did_not_take_accuses_no_node() {
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect(A, "10.0.0.2:4369");
    connection.send_framed(End::Initiator, b"zb");
    connection.decoy(End::Acceptor, &CaptureBuilder::port_response("b", None));
    connection.send(End::Acceptor, &CaptureBuilder::port_response("b", Some(9100)));
    connection.acknowledge(End::Initiator).close(End::Acceptor);
    let mut connection = capture.connect("10.0.0.1:40001", B);
    shake_hands(&mut connection);
    assert_eq!(accusations(&capture), [""; 0]);
    assert_eq!(outcome(&capture), "connected");
}

#[test]
fn a_guess_that_a_decoy_accepts_is_refused() {
    let mut capture = CaptureBuilder::new();
    for guess in 0..6 {
        let from = format!("10.0.0.1:{}", 41_000 + guess);
        let mut connection = capture.connect(&from, B);
        connection.send_name("a@10.0.0.1").send_status("ok").send_challenge("b@10.0.0.2", 7);
        connection.send_challenge_reply(&format!("guess{guess}"), 7, 9);
        connection.decoy(End::Acceptor, b"\0\x11a0123456789abcdef");
        connection.close(End::Acceptor);
    }
    let sessions = events(&capture, "session", &[]);
    let outcomes: Vec<_> = sessions.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["cookie_mismatch"; 6]);
}

#[test]
fn a_syn_beside_one_that_waits_for_its_answer_hides_no_problem() {
    for from in [End::Initiator, End::Acceptor] {
        let mut refused = CaptureBuilder::new();
        refused.dial(A, "10.0.0.2:4369").decoy_syn(from).reset(End::Acceptor);
        refused.wait(Duration::from_secs(1));
        assert_eq!(accusations(&refused), ["epmd-unreachable"], "{from:?}");
        let mut guessed = CaptureBuilder::new();
        guessed.epmd_lookup("10.0.0.1:39999", "10.0.0.2:4369", "b", Some(9100));
        let mut connection = guessed.dial(A, B);
        connection.decoy_syn(from).answer_syn();
        connection.send_name("a@10.0.0.1").send_status("ok").send_challenge("b@10.0.0.2", 7);
        connection.send_challenge_reply("c", 7, 9).close(End::Acceptor);
        assert_eq!(accusations(&guessed), ["cookie-mismatch"], "{from:?}");
        assert_eq!(outcome(&guessed), "cookie_mismatch", "{from:?}");
        for asks in [true, false] {
            let mut healthy = CaptureBuilder::new();
            if asks {
                healthy.epmd_lookup("10.0.0.1:39999", "10.0.0.2:4369", "b", Some(9100));
            }
            let mut connection = healthy.dial(A, B);
            connection.decoy_syn(from).answer_syn();
            shake_hands(&mut connection);
            assert_eq!(outcome(&healthy), "connected", "{from:?}");
            assert_eq!(accusations(&healthy), [""; 0], "{from:?}");
        }
    }
}

#[test]
fn a_syn_ack_that_the_dialing_host_did_not_take_hides_no_problem() {
    for (port, rule) in [(9100, "dist-port-blocked"), (4369, "epmd-unreachable")] {
        let mut capture = CaptureBuilder::new();
        if port != 4369 {
            capture.epmd_lookup("10.0.0.1:39999", "10.0.0.2:4369", "b", Some(port));
        }
        let mut connection = capture.dial(A, &format!("10.0.0.2:{port}"));
        connection.decoy_syn_ack().wait(Duration::from_secs(1)).dial_again();
        connection.wait(Duration::from_secs(2)).dial_again().wait(Duration::from_secs(30));
        capture.arp_request([10, 0, 0, 3], [10, 0, 0, 4]);
        assert_eq!(accusations(&capture), [rule]);
        assert_eq!(kinds_of_anomalies(&capture), ["not_taken"]);
    }
}

#[test]
fn ticks_of_another_sender_make_no_silence_of_a_pause() {
    for own in 1..3 {
        for later in 0..3 {
            let mut capture = CaptureBuilder::new();
            let mut connection = capture.connect(A, B);
            shake_hands(&mut connection);
            let exchange = |connection: &mut Connection<'_>| {
                connection.send_tick(End::Acceptor).acknowledge(End::Initiator);
                connection.send_tick(End::Initiator).acknowledge(End::Acceptor);
            };
            for _ in 1..own {
                connection.wait(Duration::from_secs(15));
                exchange(&mut connection);
            }
            for ticks in 1..6 {
                connection.wait(Duration::from_millis(1200));
                connection.decoy(End::Initiator, &vec![0; 4 * ticks]);
            }
            for _ in 0..later {
                connection.wait(Duration::from_secs(9));
                exchange(&mut connection);
            }
            connection.wait(Duration::from_secs(5)).close(End::Initiator);
            assert_eq!(accusations(&capture), [""; 0], "{own} {later}");
        }
    }
}

#[test]
fn a_host_that_dials_again_from_the_same_port_opens_another_connection() {
    for again in [Duration::from_millis(300), Duration::from_secs(9)] {
        let mut capture = CaptureBuilder::new();
        capture.dial(A, B);
        capture.wait(again);
        let mut connection = capture.connect_from(A, B, 777_000);
        shake_hands(&mut connection);
        assert_eq!(outcome(&capture), "connected", "{again:?}");
        assert_eq!(accusations(&capture), [""; 0], "{again:?}");
    }
}

#[test]
fn a_syn_behind_a_problem_does_not_change_its_state() {
    for from in [End::Initiator, End::Acceptor] {
        let mut capture = CaptureBuilder::new();
        capture.epmd_lookup("10.0.0.1:39999", "10.0.0.2:4369", "b", Some(9100));
        let mut connection = capture.dial(A, B);
        connection.reset(End::Acceptor).wait(Duration::from_secs(1)).decoy_syn(from);
        assert_eq!(accusations(&capture), ["stale-registration"], "{from:?}");
        let states = events(&capture, "incident", &[]);
        assert!(states.iter().all(|it| it["state"] == "open"), "{from:?}: {states:#?}");
    }
}

#[test]
fn a_reply_of_epmd_on_no_connection_accuses_no_node() {
    let missing = CaptureBuilder::port_response("b", None);
    let in_use = [b'v', 1, 0, 0, 0, 0];
    for reply in [&missing[..], &in_use] {
        let mut capture = CaptureBuilder::new();
        capture.opened_before(A, "10.0.0.2:4369").send(End::Acceptor, reply);
        assert_eq!(accusations(&capture), [""; 0], "no packet is before it");
        let mut capture = CaptureBuilder::new();
        capture.connect(A, "10.0.0.2:4369").send(End::Acceptor, reply).acknowledge(End::Initiator);
        assert_eq!(accusations(&capture), [""; 0], "no request is before it");
    }
    let mut asked = CaptureBuilder::new();
    asked.epmd_lookup(A, "10.0.0.2:4369", "b", None);
    assert_eq!(accusations(&asked), ["node-not-registered"]);
}
