//! The rules about connections, each held against a real capture where it fires and one where it nearly
//! does. What the scripts of events in `src/detect/` cannot show: that the packets lead there.

use std::path::Path;

use beamscope::capture::{Input, Inputs, Item, Order};
use beamscope::engine::{Config, Engine};
use beamscope::judge::world::HomeNets;
use beamscope::protocol::digest::{CandidateCookies, Cookie};
use beamscope::record::{Body, Confidence, Finding, Incident, Outcome, Session, Severity, Shows};

/// What a run over one of the project's captures reports.
struct RunOutput {
    findings: Vec<Finding>,
    incidents: Vec<Incident>,
    sessions: Vec<Session>,
}

impl RunOutput {
    /// The findings of a rule.
    fn of(&self, rule: &str) -> Vec<&Finding> {
        self.findings.iter().filter(|finding| finding.rule == rule).collect()
    }

    /// The only finding of a rule.
    fn one(&self, rule: &str) -> &Finding {
        let [finding] = self.of(rule)[..] else { panic!("{rule}: {:#?}", self.findings) };
        finding
    }

    /// How often the incident of a rule happened.
    fn count(&self, rule: &str) -> Vec<u64> {
        self.incidents.iter().filter(|it| it.rule == rule).map(|it| it.count).collect()
    }

    /// Rules that fire, but for clear-text-distribution, which nearly every capture shows.
    fn rules(&self) -> Vec<&'static str> {
        let rules = self.findings.iter().map(|finding| finding.rule);
        rules.filter(|rule| *rule != "clear-text-distribution").collect()
    }

    fn outcomes(&self, outcome: Outcome) -> usize {
        self.sessions.iter().filter(|session| session.outcome == outcome).count()
    }
}

fn run(name: &str, home: &[&str], cookies: CandidateCookies) -> RunOutput {
    let path = captures().join(name);
    let mut inputs = Inputs::new(vec![Input::Path(path)], Order::Time).unwrap();
    let config = Config {
        cookies,
        home_nets: home
            .iter()
            .map(|net| net.parse::<beamscope::network::Cidr>().unwrap())
            .collect::<HomeNets>(),
        ..Config::default()
    };
    let mut pipeline = Engine::new(config, Vec::new());
    while let Some(item) = inputs.next_item() {
        if let Item::Frame(frame) = item {
            pipeline.push_frame(&frame);
        }
    }
    let mut output =
        RunOutput { findings: Vec::new(), incidents: Vec::new(), sessions: Vec::new() };
    for event in pipeline.finish() {
        match event.body {
            Body::Finding { finding } => {
                // A finding that is written anew replaces the one before it.
                let id = &finding.incident_id;
                match output.findings.iter_mut().find(|before| before.incident_id == *id) {
                    Some(before) => *before = *finding,
                    None => output.findings.push(*finding),
                }
            }
            Body::Incident { incident } => output.incidents.push(*incident),
            Body::Session { session } => output.sessions.push(*session),
            _ => {}
        }
    }
    output
}

fn output_of(name: &str) -> RunOutput {
    run(name, &[], CandidateCookies::default())
}

/// With the test cookies as candidates.
fn run_with_cookies(name: &str) -> RunOutput {
    let text = std::fs::read_to_string(captures().join("cookies.txt")).unwrap();
    let mut cookies = CandidateCookies::default();
    for (label, secret) in text.lines().filter_map(|line| line.split_once('\t')) {
        cookies.add(Cookie::new(label, secret.as_bytes()));
    }
    run(name, &[], cookies)
}

fn captures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// Frames, with a word of what each shows.
fn shown(finding: &Finding) -> Vec<(u64, &'static str)> {
    let evidence = finding.evidence.iter();
    // Leaked, so that tests compare with literals.
    let text = |shows: &Shows| &*shows.to_string().leak();
    evidence.map(|it| (it.frame.number, text(&it.what).split(':').next().unwrap())).collect()
}

fn nodes(finding: &Finding) -> Vec<&str> {
    finding.nodes.iter().map(AsRef::as_ref).collect()
}

#[test]
fn a_tls_alert_is_reported_with_its_name_and_its_sender() {
    let hello = (16, "TLS hello");
    let close = |frame| (frame, "FIN in the TLS handshake");
    for (name, title, evidence) in [
        (
            "tls-unknown-ca.pcap",
            "two@10.9.0.2 at port 39069 refused TLS with 10.9.0.1: unknown_ca",
            vec![
                (8, "PORT2_RESP"),
                hello,
                (20, "certificate for 10.9.0.1"),
                (22, "fatal TLS alert unknown_ca"),
                close(23),
            ],
        ),
        (
            "tls-protocol-version.pcap",
            "two@10.9.0.2 at port 34233 refused TLS with 10.9.0.1: protocol_version",
            vec![(8, "PORT2_RESP"), hello, (18, "fatal TLS alert protocol_version"), close(20)],
        ),
        (
            "tls-expired-certificate.pcap",
            "10.9.0.1 refused TLS with two@10.9.0.2 at port 35673: certificate_expired, the certificate was valid \
             until 2026-11-21",
            vec![
                (8, "PORT2_RESP"),
                hello,
                (18, "certificate for 10.9.0.2"),
                (20, "fatal TLS alert certificate_expired"),
                close(22),
            ],
        ),
        (
            "tls-other-host.pcap",
            "10.9.0.1 refused TLS with two@10.9.0.2 at port 33019: handshake_failure, the certificate is for 10.9.0.77 \
             and not for 10.9.0.2",
            vec![
                (8, "PORT2_RESP"),
                hello,
                (18, "certificate for 10.9.0.77"),
                (20, "fatal TLS alert handshake_failure"),
                close(22),
            ],
        ),
        (
            "tls-other-purpose.pcap",
            "two@10.9.1.2 at port 35343 refused TLS with 10.9.1.1: unsupported_certificate, the certificate is for \
             serverAuth and not for clientAuth",
            vec![
                (6, "PORT2_RESP"),
                (14, "TLS hello"),
                (18, "certificate for 10.9.1.1, a.lab.test, a, fd09"),
                (20, "fatal TLS alert unsupported_certificate"),
                close(21),
            ],
        ),
    ] {
        let output = output_of(name);
        let finding = output.one("tls-failure");
        assert_eq!(finding.title, title);
        assert_eq!(shown(finding), evidence, "{name}");
        assert_eq!(output.findings.len(), 1, "{name}: one cause, one finding");
        assert_eq!(output.outcomes(Outcome::Aborted), 1, "{name}");
    }
}

#[test]
fn a_refusal_inside_tls_is_recognised_by_the_lengths_of_records() {
    for (name, title, messages) in [
        (
            "tls13-wrong-cookie.pcap",
            "two@10.9.1.2 at port 36465 most likely refused the cookie of 10.9.1.1, by the sizes of the TLS records",
            4,
        ),
        (
            "tls-wrong-name.pcap",
            "10.9.1.1 most likely refused the name of two@alias-b.lab.test at 10.9.1.2:37343, by the sizes of the TLS \
             records",
            3,
        ),
    ] {
        let output = output_of(name);
        let finding = output.one("refused-inside-tls");
        assert_eq!((&*finding.title, finding.confidence), (title, Confidence::Possible));
        let shown = shown(finding);
        let records = shown.iter().filter(|(_, what)| what.starts_with("TLS record as long as"));
        assert_eq!(records.count(), messages, "{shown:?}");
        assert_eq!(output.findings.len(), 1, "{name}: one cause, one finding");
        assert_eq!(output.outcomes(Outcome::Tls), 1, "{name}");
    }
}

#[test]
fn an_encrypted_refusal_is_recognised_by_its_position() {
    let hello = (16, "TLS hello");
    let alert = |frame| (frame, "encrypted TLS alert");
    let close = |frame| (frame, "FIN in the TLS handshake");
    for (name, title, evidence) in [
        (
            "tls13-other-host.pcap",
            "10.9.0.1 most likely refused TLS with two@10.9.0.2 at port 43593 because of the certificate of the \
             dialed node",
            vec![(8, "PORT2_RESP"), hello, alert(20), close(21)],
        ),
        (
            "tls13-unknown-ca.pcap",
            "two@10.9.0.2 at port 34935 most likely refused TLS with 10.9.0.1 because of the certificate of the \
             dialing node",
            vec![(8, "PORT2_RESP"), hello, alert(23), close(24)],
        ),
        (
            "tls13-no-certificate.pcap",
            "two@10.9.0.2 at port 46175 most likely refused TLS with 10.9.0.1 because no certificate was sent",
            vec![(8, "PORT2_RESP"), hello, alert(22), close(23)],
        ),
    ] {
        let output = output_of(name);
        let finding = output.one("tls-failure");
        assert_eq!(finding.title, title);
        assert_eq!(finding.confidence, Confidence::Likely);
        assert_eq!(shown(finding), evidence, "{name}");
        assert_eq!(output.findings.len(), 1, "{name}: one cause, one finding");
    }
}

#[test]
fn healthy_tls_and_tls_on_one_side_are_no_tls_failure() {
    assert!(output_of("tls-both.pcap").rules().is_empty());
    let newer = output_of("tls13-both.pcap");
    assert_eq!((newer.findings.len(), newer.outcomes(Outcome::Tls)), (0, 2));
    assert_eq!(output_of("tls-initiator-only.pcap").rules(), ["tls-mismatch"]);
}

#[test]
fn alive_is_reported_and_a_healthy_return_is_not() {
    let alive = output_of("status-alive-reconnect.pcap");
    let finding = alive.one("already-connected");
    assert_eq!(nodes(finding), ["phoenix@192.168.0.91", "keeper@192.168.0.92"]);
    assert_eq!(finding.severity, Severity::Info);
    let what: Vec<_> = shown(finding).into_iter().map(|(_, what)| what).collect();
    assert_eq!(what, ["send_name", "status alive", "status true"]);
    assert!(output_of("link-cut-tick-timeout.pcap").of("already-connected").is_empty());
}

#[test]
fn dials_that_crossed_are_one_incident_for_the_pair() {
    let crossed = output_of("simultaneous-connect.pcap");
    let finding = crossed.one("simultaneous-connect");
    assert_eq!(nodes(finding), ["aaa@192.168.0.101", "zzz@192.168.0.102"]);
    let other = (30, "send_name of the dial in the other direction");
    assert_eq!(shown(finding), [other, (32, "send_name"), (34, "status nok")]);
    assert_eq!(crossed.count("simultaneous-connect"), [4]);
    assert!(crossed.findings.iter().all(|finding| finding.severity == Severity::Info));
}

#[test]
fn a_nok_without_a_dial_the_other_way_is_same_name() {
    let output = output_of("same-name.pcap");
    assert!(output.of("simultaneous-connect").is_empty());
    assert_eq!(nodes(output.one("same-name")), ["mail@release.svc.cluster.local"]);
}

#[test]
fn many_names_and_many_cookies_are_guessing() {
    let names = output_of("guessing-names.pcap");
    let finding = names.one("cookie-guessing");
    assert_eq!(nodes(finding), ["two@10.9.0.2"]);
    assert_eq!(finding.severity, Severity::Critical);
    let last = "challenge_reply of the latest attempt";
    let first = "challenge_reply of the first attempt";
    assert_eq!(shown(finding), [(22, first), (139, last), (140, "FIN without challenge_ack")]);
    assert_eq!(names.count("cookie-guessing"), [2], "the tenth and the eleventh");
    assert_eq!(names.one("cookie-mismatch").severity, Severity::Info, "a part of the guessing");

    let cookies = run_with_cookies("guessing-cookies.pcap");
    assert_eq!(cookies.rules(), ["cookie-mismatch", "cookie-guessing"]);
    let finding = cookies.one("cookie-guessing");
    assert_eq!(shown(finding), [(22, first), (62, last), (63, "FIN without challenge_ack")]);
    assert!(finding.explanation.contains("4 different candidate cookies"));
    assert_eq!(
        output_of("guessing-cookies.pcap").rules(),
        ["cookie-mismatch"],
        "nothing tells it from a node"
    );
}

#[test]
fn nodes_with_one_wrong_cookie_do_not_guess() {
    let retries = run_with_cookies("refused-in-a-loop.pcap");
    assert_eq!(
        (retries.rules(), retries.count("cookie-mismatch")),
        (vec!["cookie-mismatch"], vec![5])
    );
    let many = run_with_cookies("refused-many-nodes.pcap");
    assert_eq!(many.rules(), ["cookie-mismatch"], "one problem of six nodes");
    for name in ["ping-loop-old-cookie.pcap", "four-tuple-reuse.pcap", "c-node-erl-call.pcap"] {
        assert!(run_with_cookies(name).of("cookie-guessing").is_empty(), "{name}");
    }
}

#[test]
fn clear_text_is_reported_once_a_run_and_not_of_one_host() {
    let whole = output_of("seed-lan-wrong-then-right-cookie.pcap");
    let finding = whole.one("clear-text-distribution");
    assert_eq!(nodes(finding), ["one@192.168.0.100", "two@192.168.0.103"]);
    assert_eq!((finding.severity, finding.evidence[0].frame.number), (Severity::Info, 46));
    assert_eq!(whole.findings.last().unwrap().rule, finding.rule, "at the end");
    for name in ["short-names-loopback.pcap", "tls-both.pcap", "host-alias-name-mismatch.pcap"] {
        assert!(output_of(name).of("clear-text-distribution").is_empty(), "{name}");
    }
    let at_home = |net| run("seed-lan-same-cookie.pcap", &[net], CandidateCookies::default());
    let severity = |net| at_home(net).one("clear-text-distribution").severity;
    assert_eq!(severity("192.168.0.0/16"), Severity::Info);
    assert_eq!(severity("192.168.0.100"), Severity::Medium);
}

#[test]
fn the_hello_of_a_tool_is_a_hint_and_that_of_a_c_node_is_none() {
    let tool = output_of("known-tool.pcap");
    let finding = tool.one("known-tool");
    assert!(finding.title.ends_with("as an exploit for CVE-2022-24706 does"), "{}", finding.title);
    assert_eq!((nodes(finding), shown(finding)), (vec!["AAAAAA@AAAAAAA"], vec![(16, "send_name")]));
    for name in ["c-node-erl-call.pcap", "java-node.pcap", "mixed-r16-otp25.pcap"] {
        assert!(output_of(name).of("known-tool").is_empty(), "{name}");
    }
}

#[test]
fn healthy_captures_give_nothing_above_info() {
    for name in [
        "seed-lan-same-cookie.pcap",
        "simultaneous-connect.pcap",
        "status-alive-reconnect.pcap",
        "tls-both.pcap",
        "hidden-node.pcap",
        "dynamic-node-name.pcap",
        "ticks-otp29.pcap",
    ] {
        for finding in run_with_cookies(name).findings {
            assert_eq!(finding.severity, Severity::Info, "{name}: {}", finding.title);
        }
    }
}

#[test]
fn what_a_node_has_another_run_is_reported_by_name() {
    let whole = output_of("remote-execution.pcap");
    let found = whole.of("remote-execution");
    let titles: Vec<_> = found.iter().map(|finding| finding.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "one@10.9.0.1 had two@10.9.0.2 run os:cmd",
            "one@10.9.0.1 had two@10.9.0.2 run code:load_file",
        ]
    );
    assert_eq!(nodes(found[0]), ["one@10.9.0.1", "two@10.9.0.2"]);
    for name in ["tls13-both.pcap", "seed-lan-same-cookie.pcap", "partition-cascade.pcap"] {
        assert!(output_of(name).of("remote-execution").is_empty(), "{name}");
    }
}

#[test]
fn a_malformed_frame_is_reported_with_the_close_that_answers_it() {
    let whole = output_of("corrupt-distribution.pcap");
    let finding = whole.one("corrupt-distribution");
    assert_eq!(
        finding.title,
        "two@10.9.0.2 closed the connection after a malformed frame from script@10.9.0.1"
    );
    let seen = shown(finding);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((seen[0].1, seen[1].1), ("malformed control message", "close"));
    for name in ["junk-to-epmd-and-dist.pcap", "fmt-snaplen96.pcap", "java-node.pcap"] {
        assert!(output_of(name).of("corrupt-distribution").is_empty(), "{name}");
    }
}

#[test]
fn a_receiver_that_does_not_read_and_lives_is_reported_and_a_frozen_one_is_not() {
    let whole = output_of("congested-link.pcap");
    let finding = whole.one("congested-link");
    assert!(finding.title.starts_with("script@10.9.0.1 kept its TCP window closed for 7."));
    for name in ["tick-timeout.pcap", "frozen-acceptor.pcap", "link-cut-tick-timeout.pcap"] {
        assert!(output_of(name).of("congested-link").is_empty(), "{name}");
    }
}
