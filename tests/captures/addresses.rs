//! Dials that reach no listener, in synthetic captures: what is reported where a packet filter, a proxy, the address
//! family or the interface may be the cause, and what is not claimed of a node that runs.

use std::time::Duration;

use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::{TestDir, lines_of};

/// A finding above `info`.
struct Found {
    rule: String,
    title: String,
    severity: String,
    confidence: String,
    text: String,
    first_remedy: String,
}

fn found(capture: &CaptureBuilder, arguments: &[&str]) -> Vec<Found> {
    let folder = TestDir::new("addresses");
    let path = capture.write(&folder, "scene.pcap");
    let lines = lines_of(&[&["--json"], arguments, &[path.as_str()]].concat());
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let findings = events.filter(|event| event["event_type"] == "finding");
    findings
        .map(|event| event["finding"].clone())
        .filter(|finding| finding["severity"] != "info")
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            Found {
                rule: text("rule"),
                title: text("title"),
                severity: text("severity"),
                confidence: text("confidence"),
                text: finding.to_string(),
                first_remedy: finding["remedy"][0].as_str().unwrap_or_default().to_owned(),
            }
        })
        .collect()
}

fn only(capture: &CaptureBuilder) -> Found {
    let mut all = found(capture, &[]);
    assert_eq!(all.len(), 1, "{:?}", all.iter().map(|it| &it.title).collect::<Vec<_>>());
    all.remove(0)
}

/// `one` connects to `two` at this endpoint.
fn connect(capture: &mut CaptureBuilder, from: &str, to: &str, nodes: [&str; 2], is_closed: bool) {
    let mut connection = capture.connect(from, to);
    connection.send_name(nodes[0]).send_status("ok").send_challenge(nodes[1], 77);
    connection.send_challenge_reply("c", 77, 99).send_challenge_ack("c", 99);
    connection.send_tick(End::Initiator).send_tick(End::Acceptor);
    if is_closed {
        connection.close(End::Initiator);
    }
}

/// A look-up of `two` at 10.0.0.2, and a dial that is answered with RST.
fn look_up_and_be_refused(capture: &mut CaptureBuilder) {
    capture.epmd_lookup("10.0.0.1:41001", "10.0.0.2:4369", "two", Some(9100));
    capture.dial("10.0.0.1:41002", "10.0.0.2:9100").reset(End::Acceptor);
}

fn is_no_restart(found: &Found) {
    assert!(!found.first_remedy.contains("restart"), "{}", found.first_remedy);
}

#[test]
fn a_port_that_accepted_before_and_refuses_now_may_be_filtered() {
    for is_closed in [true, false] {
        let mut capture = CaptureBuilder::new();
        connect(&mut capture, "10.0.0.1:40001", "10.0.0.2:9100", ["one@h1", "two@h2"], is_closed);
        capture.wait(Duration::from_secs(2));
        look_up_and_be_refused(&mut capture);
        let found = only(&capture);
        assert_eq!((&*found.rule, &*found.confidence), ("dist-port-blocked", "likely"));
        assert!(found.text.contains("packet filter"), "{}", found.text);
        assert_eq!(found.title.contains("is open"), !is_closed, "{}", found.title);
        is_no_restart(&found);
    }
}

#[test]
fn a_port_of_another_node_before_shows_nothing_of_this_one() {
    let mut capture = CaptureBuilder::new();
    connect(&mut capture, "10.0.0.1:40001", "10.0.0.2:9100", ["one@h1", "three@h2"], true);
    look_up_and_be_refused(&mut capture);
    let found = only(&capture);
    assert_eq!(found.rule, "stale-registration");
    assert!(found.text.contains("inet_dist_use_interface") && found.text.contains("IPv6"));
    is_no_restart(&found);
}

#[test]
fn icmp_and_rst_of_one_filter_are_one_finding() {
    let mut capture = CaptureBuilder::new();
    connect(&mut capture, "10.0.0.1:40001", "10.0.0.2:9100", ["one@h1", "two@h2"], false);
    look_up_and_be_refused(&mut capture);
    look_up_and_be_refused(&mut capture);
    assert_eq!(only(&capture).rule, "dist-port-blocked");
}

#[test]
fn a_port_without_a_look_up_has_no_stale_registration() {
    let mut capture = CaptureBuilder::new();
    capture.dial("10.0.0.1:41002", "10.0.0.2:9100").reset(End::Acceptor);
    let all = found(&capture, &["--dist-port", "9100"]);
    let [found] = &all[..] else { panic!("{}", all.len()) };
    assert_eq!((&*found.rule, &*found.severity), ("dist-port-blocked", "medium"));
    assert!(!found.text.contains("registration"), "{}", found.text);
    assert!(found.text.contains("-erl_epmd_port") && found.title.contains("9100"));
}

#[test]
fn an_ipv6_dial_of_a_node_that_was_seen_over_ipv4_names_the_families() {
    let refused = |capture: &mut CaptureBuilder| {
        capture.epmd_lookup("[fd00::1]:41001", "[fd00::2]:4369", "two", Some(9100));
        capture.dial("[fd00::1]:41002", "[fd00::2]:9100").reset(End::Acceptor);
    };
    let mut capture = CaptureBuilder::new();
    connect(&mut capture, "10.0.0.2:40001", "10.0.0.1:9200", ["two@h2", "one@h1"], false);
    refused(&mut capture);
    let found = only(&capture);
    assert_eq!(found.rule, "stale-registration");
    assert!(found.title.contains("IPv4 only"), "{}", found.title);
    assert!(found.text.contains("inet6_tcp") && found.text.contains("two@h2"), "{}", found.text);
    is_no_restart(&found);
    // Without a sign of the node, the family is a reading among others.
    let mut capture = CaptureBuilder::new();
    refused(&mut capture);
    let found = only(&capture);
    assert!(found.text.contains("IPv4") && !found.title.contains("IPv4"), "{}", found.title);
}

#[test]
fn a_registration_over_loopback_shows_the_family_of_a_node() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_register("127.0.0.1:40001", "127.0.0.1:4369", "two", 9100);
    capture.epmd_lookup("[fd00::1]:41001", "[fd00::2]:4369", "two", Some(9100));
    capture.dial("[fd00::1]:41002", "[fd00::2]:9100").reset(End::Acceptor);
    let found = only(&capture);
    assert!(found.text.contains("registered that port over 127.0.0.1"), "{}", found.text);
    // A node that is dialed over its own family is not one of the other.
    let mut capture = CaptureBuilder::new();
    capture.epmd_register("127.0.0.1:40001", "127.0.0.1:4369", "two", 9100);
    look_up_and_be_refused(&mut capture);
    assert!(!only(&capture).title.contains("IPv"));
}

#[test]
fn a_node_that_answers_at_another_address_is_mentioned() {
    let mut capture = CaptureBuilder::new();
    connect(&mut capture, "127.0.0.1:40001", "127.0.0.1:9100", ["one@h2", "two@h2"], false);
    look_up_and_be_refused(&mut capture);
    let found = only(&capture);
    assert!(found.text.contains("same port at 127.0.0.1"), "{}", found.text);
    assert!(found.text.contains("if it is this node"), "two hosts may use the same fixed port");
}

/// A look-up at `proxy` that it passes on to `epmd`; `inner` is the client of the second half.
fn forwarded(capture: &mut CaptureBuilder, inner: &str) {
    let request = |name: &str| [b"z", name.as_bytes()].concat();
    let mut outer = capture.connect("10.0.0.1:41001", "10.0.0.9:4369");
    outer.send_framed(End::Initiator, &request("two"));
    let outer = outer.pause();
    capture.epmd_lookup(inner, "10.0.0.2:4369", "two", Some(9100));
    let mut outer = capture.resume(outer);
    outer.send(End::Acceptor, &CaptureBuilder::port_response("two", Some(9100)));
    outer.close(End::Acceptor);
}

#[test]
fn a_proxy_that_forwards_epmd_alone_is_named_with_the_host_behind_it() {
    for (inner, is_forwarded) in
        [("10.0.0.9:50001", true), ("10.0.0.1:41001", true), ("10.0.0.1:41009", false)]
    {
        let mut capture = CaptureBuilder::new();
        forwarded(&mut capture, inner);
        capture.dial("10.0.0.1:41002", "10.0.0.9:9100").reset(End::Acceptor);
        let found = only(&capture);
        assert_eq!(found.title.contains("10.0.0.2"), is_forwarded, "{inner}: {}", found.title);
        is_no_restart(&found);
    }
    // Two look-ups one after the other are two.
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.9:50001", "10.0.0.2:4369", "two", Some(9100));
    capture.epmd_lookup("10.0.0.1:41001", "10.0.0.9:4369", "two", Some(9100));
    capture.dial("10.0.0.1:41002", "10.0.0.9:9100").reset(End::Acceptor);
    assert_eq!(only(&capture).rule, "stale-registration");
}

#[test]
fn epmd_on_another_port_is_recognised_by_its_request_and_its_reply() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:41001", "10.0.0.2:14369", "nowhere", None);
    let found = only(&capture);
    assert_eq!(found.rule, "node-not-registered");
    assert!(found.title.contains("14369") && found.first_remedy.contains("epmd -port 14369"));
    // The answer leads to the dial, as that of the usual port does.
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.1:41001", "10.0.0.2:14369", "two", Some(9100));
    capture.dial("10.0.0.1:41002", "10.0.0.2:9100").reset(End::Acceptor);
    assert_eq!(only(&capture).rule, "stale-registration");
    // From here on the port is known.
    capture.dial("10.0.0.3:41003", "10.0.0.2:14369").reset(End::Acceptor);
    let rules: Vec<_> = self::found(&capture, &[]).into_iter().map(|it| it.rule).collect();
    assert_eq!(rules, ["stale-registration", "epmd-unreachable"]);
}

#[test]
fn what_only_begins_like_a_request_to_epmd_is_of_another_protocol() {
    let reply_of_epmd = CaptureBuilder::port_response("two", None);
    let replies: [&[u8]; 5] =
        [b"w\x02", b"+OK hello", b"\0\x03zab", b"", &[&reply_of_epmd[..], b"more"].concat()];
    for reply in replies {
        for end in [End::Initiator, End::Acceptor] {
            let mut capture = CaptureBuilder::new();
            let mut connection = capture.connect("10.0.0.1:41001", "10.0.0.2:14369");
            connection.send_framed(End::Initiator, b"ztwo");
            if !reply.is_empty() {
                connection.send(End::Acceptor, reply);
            }
            connection.close(end);
            assert!(found(&capture, &[]).is_empty(), "{reply:?}");
        }
    }
    // A reply with the name of another node.
    let mut capture = CaptureBuilder::new();
    let mut connection = capture.connect("10.0.0.1:41001", "10.0.0.2:14369");
    connection.send_framed(End::Initiator, b"ztwo");
    connection.send(End::Acceptor, &CaptureBuilder::port_response("three", Some(9100)));
    connection.close(End::Acceptor);
    capture.dial("10.0.0.1:41002", "10.0.0.2:9100").reset(End::Acceptor);
    assert!(found(&capture, &[]).is_empty());
}

#[test]
fn an_epmd_that_refuses_beside_one_on_another_port_names_the_other_port() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.3:41001", "10.0.0.2:14369", "two", Some(9100));
    capture.dial("10.0.0.1:41002", "10.0.0.2:4369").reset(End::Acceptor);
    let found = only(&capture);
    assert_eq!(found.rule, "epmd-unreachable");
    assert!(found.title.contains("14369") && found.first_remedy.contains("ERL_EPMD_PORT=14369"));
    // On another host it is of no concern.
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.3:41001", "10.0.0.4:14369", "two", Some(9100));
    capture.dial("10.0.0.1:41002", "10.0.0.2:4369").reset(End::Acceptor);
    assert!(!only(&capture).title.contains("14369"));
}

#[test]
fn an_epmd_that_answered_before_and_refuses_now_may_be_filtered() {
    let mut capture = CaptureBuilder::new();
    capture.epmd_lookup("10.0.0.3:41001", "10.0.0.2:4369", "two", Some(9100));
    capture.dial("10.0.0.1:41002", "10.0.0.2:4369").reset(End::Acceptor);
    let found = only(&capture);
    assert_eq!((&*found.rule, &*found.confidence), ("epmd-unreachable", "likely"));
    assert!(found.text.contains("packet filter"), "{}", found.text);
    is_no_restart(&found);
}

const CLIENT: &str = "10.0.0.1:50001";
const SERVER: &str = "10.0.0.53:53";

fn rules(capture: &CaptureBuilder) -> Vec<String> {
    found(capture, &[]).into_iter().map(|it| it.rule).collect()
}

#[test]
fn the_host_of_a_node_that_does_not_resolve_is_reported_with_the_reason() {
    // NXDOMAIN, no IPv4 address, a failure of the server.
    for (code, reason) in [(3, "NXDOMAIN"), (0, "no IPv4 address"), (2, "code 2")] {
        let mut capture = CaptureBuilder::new();
        capture.dns(CLIENT, SERVER, "h2.lan", code, &[]);
        capture.dns(CLIENT, SERVER, "h2.lan.lan", code, &[]);
        connect(
            &mut capture,
            "10.0.0.2:40001",
            "10.0.0.1:9200",
            ["two@h2.lan", "one@h1.lan"],
            false,
        );
        let found = only(&capture);
        assert_eq!((&*found.rule, &*found.severity), ("name-not-resolved", "low"));
        assert!(found.title.contains("h2.lan, the host of two@h2.lan"), "{}", found.title);
        assert!(found.title.contains(reason), "{}", found.title);
    }
}

#[test]
fn a_name_that_resolves_in_another_way_is_no_finding() {
    // With a search domain, at the second try, or by /etc/hosts: then the host is dialed.
    let mut search = CaptureBuilder::new();
    search.dns(CLIENT, SERVER, "h2", 3, &[]);
    search.dns(CLIENT, SERVER, "h2.lan", 0, &[[10, 0, 0, 2]]);
    let mut again = CaptureBuilder::new();
    again.dns(CLIENT, SERVER, "h2.lan", 2, &[]);
    again.dns(CLIENT, SERVER, "h2.lan", 0, &[[10, 0, 0, 2]]);
    for capture in [&search, &again] {
        assert_eq!(rules(capture), [""; 0]);
    }
    let mut dialed = CaptureBuilder::new();
    dialed.dns(CLIENT, SERVER, "h2.lan", 3, &[]);
    connect(&mut dialed, "10.0.0.1:40001", "10.0.0.2:9200", ["one@h1.lan", "two@h2.lan"], false);
    assert_eq!(rules(&dialed), [""; 0]);
}

#[test]
fn names_that_no_node_needs_are_no_finding() {
    let mut capture = CaptureBuilder::new();
    capture.dns(CLIENT, SERVER, "updates.example.org", 3, &[]);
    capture.dns("10.0.0.77:50001", SERVER, "h3.lan", 3, &[]);
    connect(&mut capture, "10.0.0.2:40001", "10.0.0.1:9200", ["two@h2.lan", "one@h1.lan"], false);
    assert_eq!(rules(&capture), [""; 0]);
    // Without Erlang, many names that do not exist are the business of others.
    let mut capture = CaptureBuilder::new();
    for name in ["a.org", "b.org", "c.org", "d.org", "e.org"] {
        capture.dns(CLIENT, SERVER, name, 3, &[]);
    }
    assert_eq!(rules(&capture), [""; 0]);
}

#[test]
fn a_name_server_that_answers_late_or_at_the_end_of_the_capture_is_no_finding() {
    let mut late = CaptureBuilder::new();
    late.dns_question(CLIENT, SERVER, "h2.lan");
    assert_eq!(rules(&late), [""; 0]);
    late.wait(Duration::from_secs(6));
    late.dns(CLIENT, SERVER, "h2.lan", 0, &[[10, 0, 0, 2]]);
    assert_eq!(rules(&late), [""; 0]);
}

#[test]
fn a_neighbour_that_answers_or_is_only_asked_once_is_no_finding() {
    let (one, two) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let mut answers = CaptureBuilder::new();
    for _ in 0..3 {
        answers.arp_request(one, two);
        answers.wait(Duration::from_secs(1));
    }
    assert_eq!(rules(&answers), ["neighbour-silent"]);
    answers.arp_reply(two, one);
    assert_eq!(rules(&answers), [""; 0]);
    // A host that searches its network.
    let mut search = CaptureBuilder::new();
    for _ in 0..3 {
        for last in 2..200 {
            search.arp_request(one, [10, 0, 0, last]);
        }
        search.wait(Duration::from_secs(1));
    }
    assert_eq!(rules(&search), [""; 0]);
}
