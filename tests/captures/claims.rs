//! A name in a handshake is a claim: who dials, or answers, as a node that is elsewhere is not that node until its cookie
//! is accepted. Each scene has a stranger and the node whose name it uses, or an innocent node that looks like a stranger.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, Connection, End};
use crate::support::{TestDir, lines_of, texts};

const IMPOSTOR: [u8; 4] = [0x7b, 0, 0, 9];

/// How hosts are addressed and named in a scene.
#[derive(Clone, Copy, Debug)]
struct Net {
    is_v6: bool,
    /// Whether the hosts in node names are addresses.
    is_named_by_address: bool,
}

impl Net {
    fn ip(self, host: u8) -> String {
        if self.is_v6 { format!("fd00::{host}") } else { format!("10.0.0.{host}") }
    }

    fn end(self, host: u8, port: u16) -> String {
        if self.is_v6 { format!("[fd00::{host}]:{port}") } else { format!("10.0.0.{host}:{port}") }
    }

    fn node(self, alive: &str, host: u8) -> String {
        if self.is_named_by_address {
            format!("{alive}@{}", self.ip(host))
        } else {
            format!("{alive}@h{host}")
        }
    }

    fn one(self) -> String {
        self.node("one", 1)
    }

    fn two(self) -> String {
        self.node("two", 2)
    }

    /// All ways to address and to name.
    fn all() -> impl Iterator<Item = Self> {
        let both = [false, true];
        both.into_iter().flat_map(move |is_v6| {
            both.map(|is_named_by_address| Self { is_v6, is_named_by_address })
        })
    }
}

/// The host from which a stranger dials.
const STRANGER: u8 = 66;

/// What a stranger does after its hello as `one`.
type Attempt = fn(&mut Connection<'_>, Net);

const ATTEMPTS: &[(&str, Attempt)] = &[
    ("a refused cookie", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77);
        it.send_challenge_reply("wrong", 77, 99).close(End::Acceptor);
    }),
    ("a refused cookie, and a reset", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77);
        it.send_challenge_reply("wrong", 77, 99).reset(End::Acceptor);
    }),
    ("a name that is not allowed", |it, _| {
        it.send_status("not_allowed").close(End::Acceptor);
    }),
    ("a name that is connected", |it, _| {
        it.send_status("alive").close(End::Initiator);
    }),
    ("a name that is connected, and a wrong cookie", |it, net| {
        it.send_status("alive").send_alive_reply("true").send_challenge(&net.two(), 77);
        it.send_challenge_reply("wrong", 77, 99).close(End::Acceptor);
    }),
    ("it leaves after the challenge", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77).close(End::Initiator);
    }),
    ("it resets after the challenge", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77).acknowledge(End::Initiator);
        it.reset(End::Initiator);
    }),
    ("it is silent after the challenge", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77).acknowledge(End::Initiator);
        it.wait(Duration::from_secs(7)).close(End::Acceptor);
    }),
    ("it is closed at once", |it, _| {
        it.close(End::Acceptor);
    }),
    ("it is reset at once", |it, _| {
        it.reset(End::Acceptor);
    }),
    ("it is closed later", |it, _| {
        it.acknowledge(End::Acceptor).wait(Duration::from_secs(3)).close(End::Acceptor);
    }),
    ("it is closed after the challenge", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77).acknowledge(End::Initiator);
        it.close(End::Acceptor);
    }),
    ("it is reset after the challenge", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77).acknowledge(End::Initiator);
        it.reset(End::Acceptor);
    }),
    ("it holds an answer to the challenge back, and resets", |it, net| {
        it.send_status("ok").send_challenge(&net.two(), 77).acknowledge(End::Initiator);
        it.wait(Duration::from_secs(3)).reset(End::Initiator);
    }),
];

fn connected(capture: &mut CaptureBuilder, net: Net) {
    let mut connection = capture.connect(&net.end(1, 40001), &net.end(2, 9100));
    connection.send_name(&net.one()).send_status("ok").send_challenge(&net.two(), 5);
    connection.send_challenge_reply("right", 5, 6).send_challenge_ack("right", 6);
    connection.send_tick(End::Initiator).send_tick(End::Acceptor);
}

fn attempt(capture: &mut CaptureBuilder, net: Net, what: Attempt) {
    let mut dial = capture.connect(&net.end(STRANGER, 50001), &net.end(2, 9100));
    what(dial.send_name_of(&net.one(), IMPOSTOR), net);
}

/// The order of the attempt and of the connection of the node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Before,
    After,
    During,
    Alone,
}

fn scene(net: Net, what: Attempt, when: When) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    match when {
        When::Alone => attempt(&mut capture, net, what),
        When::Before => {
            attempt(&mut capture, net, what);
            capture.wait(Duration::from_secs(2));
            connected(&mut capture, net);
        }
        When::After => {
            connected(&mut capture, net);
            capture.wait(Duration::from_secs(2));
            attempt(&mut capture, net, what);
        }
        When::During => {
            let mut connection = capture.connect(&net.end(1, 40001), &net.end(2, 9100));
            connection.send_name(&net.one()).send_status("ok").send_challenge(&net.two(), 5);
            let paused = connection.pause();
            attempt(&mut capture, net, what);
            let mut connection = capture.resume(paused);
            connection.send_challenge_reply("right", 5, 6).send_challenge_ack("right", 6);
            connection.send_tick(End::Initiator).send_tick(End::Acceptor);
        }
    }
    capture
}

/// What is reported of a capture.
struct Reported {
    findings: Vec<Value>,
    cluster: Value,
}

impl Reported {
    fn of(capture: &CaptureBuilder, folder: &TestDir) -> Self {
        let text = lines_of(&["--json", &capture.write(folder, "scene.pcap")]);
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let (mut findings, mut cluster) = (Vec::<Value>::new(), Value::Null);
        for line in lines {
            match line["event_type"].as_str().unwrap() {
                "finding" => {
                    let id = |it: &Value| it["incident_id"].clone();
                    findings.retain(|known| id(known) != id(&line["finding"]));
                    findings.push(line["finding"].clone());
                }
                "cluster" => cluster = line["cluster"].clone(),
                _ => {}
            }
        }
        Self { findings, cluster }
    }

    fn rules(&self) -> Vec<&str> {
        let problems = self.findings.iter().filter(|it| it["severity"] != "info");
        problems.map(|it| it["rule"].as_str().unwrap()).collect()
    }

    /// The addresses and the creation of a node.
    fn node(&self, name: &str) -> Option<(BTreeSet<&str>, u64)> {
        let nodes = self.cluster["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["node"] == name)?;
        Some((texts(&node["ips"]), node["creation"].as_u64().unwrap_or_default()))
    }

    /// The titles of all findings.
    fn titles(&self) -> Vec<&str> {
        self.findings.iter().map(|it| it["title"].as_str().unwrap()).collect()
    }

    /// Findings that name the node, or advise to give two nodes the same cookie.
    fn accusing(&self, name: &str) -> Vec<&Value> {
        let accuses = |finding: &&Value| {
            finding["severity"] != "info" && texts(&finding["nodes"]).contains(name)
                || finding["remedy"].to_string().contains("same cookie")
        };
        self.findings.iter().filter(accuses).collect()
    }
}

#[test]
fn a_stranger_with_the_name_of_a_node_is_the_finding_and_not_the_node() {
    let folder = TestDir::new("claims");
    for net in Net::all() {
        for (name, what) in ATTEMPTS {
            for when in [When::Before, When::During, When::After, When::Alone] {
                // Without an address in the name or a connection before, nothing shows where the node is.
                let is_known = net.is_named_by_address || when == When::After;
                if !is_known {
                    continue;
                }
                let it = Reported::of(&scene(net, *what, when), &folder);
                let scene = format!("{net:?} {name} {when:?}: {:#?}", it.titles());
                assert_eq!(it.rules(), ["unproven-name"], "{scene}");
                assert!(it.accusing(&net.one()).is_empty(), "{scene}");
                let about = |title: &&str| {
                    title.starts_with(&net.ip(STRANGER)) && title.contains(&net.one())
                };
                assert!(it.titles().iter().any(about), "{scene}");
                let own = (when != When::Alone).then(|| (BTreeSet::from([net.ip(1)]), 0x6a00_0001));
                let node = it.node(&net.one());
                let node = node.map(|(ips, creation)| {
                    (ips.into_iter().map(str::to_owned).collect(), creation)
                });
                assert_eq!(node, own, "{scene}");
            }
        }
    }
}

#[test]
fn a_stranger_that_waits_for_a_silent_node_is_known_by_its_address() {
    let folder = TestDir::new("claims");
    for net in Net::all() {
        let mut capture = CaptureBuilder::new();
        connected(&mut capture, net);
        let mut dial = capture.connect(&net.end(STRANGER, 50001), &net.end(2, 9100));
        dial.send_name_of(&net.one(), IMPOSTOR).acknowledge(End::Acceptor);
        dial.wait(Duration::from_secs(7)).close(End::Initiator);
        let it = Reported::of(&capture, &folder);
        assert_eq!(it.rules(), ["handshake-timeout"], "{net:?}");
        assert!(it.accusing(&net.one()).is_empty(), "{net:?}: {:?}", it.titles());
        let waits = format!("during the handshake with {}", net.ip(STRANGER));
        assert!(it.titles().iter().any(|title| title.ends_with(&waits)), "{:?}", it.titles());
    }
}

#[test]
fn a_node_at_its_own_address_that_is_closed_or_waits_keeps_its_name() {
    for names in [NAMED, HOSTED] {
        let closed = |by: End, wait: u64| {
            judged(names, |capture| {
                let mut dial = capture.connect(AT_ONE, AT_TWO);
                dial.send_name(names[0]).acknowledge(End::Acceptor);
                dial.wait(Duration::from_secs(wait)).close(by);
            })
            .0
        };
        assert_eq!(closed(End::Acceptor, 0), ["handshake-aborted"]);
        assert_eq!(closed(End::Initiator, 7), ["handshake-timeout"]);
    }
}

/// What a stranger that is dialed in place of `two` does after its challenge, which is another one than that of `two`.
const ANSWERS: &[(&str, Attempt)] = &[
    ("it closes behind its challenge", |it, _| {
        it.acknowledge(End::Initiator).close(End::Acceptor);
    }),
    ("it refuses the cookie", |it, _| {
        it.send_challenge_reply("right", 15, 16).close(End::Acceptor);
    }),
    ("it shows a wrong cookie", |it, _| {
        it.send_challenge_reply("right", 15, 16)
            .send_challenge_ack("wrong", 16)
            .close(End::Initiator);
    }),
    ("it is silent", |it, _| {
        it.send_challenge_reply("right", 15, 16).acknowledge(End::Acceptor);
        it.wait(Duration::from_secs(7)).close(End::Initiator);
    }),
    ("it resets later", |it, _| {
        it.send_challenge_reply("right", 15, 16).acknowledge(End::Acceptor);
        it.wait(Duration::from_secs(3)).reset(End::Acceptor);
    }),
];

#[test]
fn a_stranger_that_answers_with_the_name_of_a_node_is_the_finding() {
    let folder = TestDir::new("claims");
    for net in Net::all() {
        for (name, what) in ANSWERS {
            for is_after in [true, false] {
                if !net.is_named_by_address && !is_after {
                    continue;
                }
                let mut capture = CaptureBuilder::new();
                if is_after {
                    connected(&mut capture, net);
                }
                let mut dial = capture.connect(&net.end(1, 40002), &net.end(STRANGER, 9100));
                dial.send_name(&net.one()).send_status("ok").send_challenge(&net.two(), 15);
                what(&mut dial, net);
                let it = Reported::of(&capture, &folder);
                let scene = format!("{net:?} {name} {is_after}: {:#?}", it.titles());
                assert_eq!(it.rules(), ["unproven-name"], "{scene}");
                assert!(it.accusing(&net.two()).is_empty(), "{scene}");
                let own = is_after.then(|| BTreeSet::from([net.ip(2)]));
                let ips = it.node(&net.two()).map(|(ips, _)| ips);
                let ips = ips.map(|ips| ips.into_iter().map(str::to_owned).collect());
                assert_eq!(ips, own, "{scene}");
            }
        }
    }
}

#[test]
fn a_stranger_that_guesses_cookies_under_the_name_of_a_node_is_found_guessing() {
    let folder = TestDir::new("claims");
    for net in Net::all() {
        let mut capture = CaptureBuilder::new();
        connected(&mut capture, net);
        capture.epmd_lookup(&net.end(STRANGER, 50_000), &net.end(2, 4369), "two", Some(9100));
        for port in 50_001..50_041 {
            let mut dial = capture.connect(&net.end(STRANGER, port), &net.end(2, 9100));
            dial.send_name_of(&net.one(), IMPOSTOR).send_status("ok");
            dial.send_challenge(&net.two(), 77).send_challenge_reply("guess", 77, 99);
            dial.close(End::Acceptor);
        }
        let it = Reported::of(&capture, &folder);
        assert_eq!(it.rules(), ["unproven-name", "cookie-guessing"], "{net:?}: {:?}", it.titles());
        assert!(it.accusing(&net.one()).is_empty(), "{net:?}");
    }
}

/// `one` dials `two` from `from` with this cookie; the cookie of `two` is `right`.
fn dialed(capture: &mut CaptureBuilder, names: [&str; 2], from: &str, to: &str, cookie: &str) {
    let mut dial = capture.connect(from, to);
    dial.send_name(names[0]).send_status("ok").send_challenge(names[1], 77);
    dial.send_challenge_reply(cookie, 77, 99);
    if cookie == "right" {
        dial.send_challenge_ack("right", 99);
        dial.send_tick(End::Initiator).send_tick(End::Acceptor);
    } else {
        dial.close(End::Acceptor);
    }
}

/// The rules, and the addresses of `one`, of a capture of an innocent node.
fn judged(names: [&str; 2], make: impl FnOnce(&mut CaptureBuilder)) -> (Vec<String>, Vec<String>) {
    let mut capture = CaptureBuilder::new();
    make(&mut capture);
    let folder = TestDir::new("claims");
    let it = Reported::of(&capture, &folder);
    let ips = it.node(names[0]).map(|(ips, _)| ips.into_iter().map(str::to_owned).collect());
    (it.rules().into_iter().map(str::to_owned).collect(), ips.unwrap_or_default())
}

/// Rules and addresses as [`judged`] returns them.
fn expected(rules: &[&str], ips: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (owned(rules), owned(ips))
}

const NAMED: [&str; 2] = ["one@10.0.0.1", "two@10.0.0.2"];
const HOSTED: [&str; 2] = ["one@h1", "two@h2"];
const AT_ONE: &str = "10.0.0.1:40001";
const AT_TWO: &str = "10.0.0.2:9100";

#[test]
fn a_wrong_cookie_at_the_own_address_is_one_of_the_node() {
    for names in [NAMED, HOSTED] {
        let it = judged(names, |capture| {
            dialed(capture, names, AT_ONE, AT_TWO, "wrong");
        });
        assert_eq!(it, expected(&["cookie-mismatch"], &["10.0.0.1"]));
        let it = judged(names, |capture| {
            dialed(capture, names, AT_ONE, AT_TWO, "right");
            dialed(capture, names, "10.0.0.1:40002", AT_TWO, "wrong");
        });
        assert_eq!(it, expected(&["cookie-mismatch"], &["10.0.0.1"]), "the cookie was changed");
    }
}

#[test]
fn a_node_with_two_addresses_is_itself_on_both_once_its_cookie_was_accepted_there() {
    for names in [NAMED, HOSTED] {
        let it = judged(names, |capture| {
            dialed(capture, names, AT_ONE, AT_TWO, "right");
            dialed(capture, names, "10.1.0.1:40002", AT_TWO, "right");
            dialed(capture, names, "10.1.0.1:40003", AT_TWO, "wrong");
        });
        assert_eq!(it, expected(&["cookie-mismatch"], &["10.0.0.1", "10.1.0.1"]));
    }
    // Behind address translation, with an address in its name that is never seen.
    let it = judged(NAMED, |capture| dialed(capture, NAMED, "192.0.2.7:4001", AT_TWO, "right"));
    assert_eq!(it, expected(&[], &["192.0.2.7"]));
    let it = judged(NAMED, |capture| {
        dialed(capture, NAMED, "[::ffff:10.0.0.1]:40001", "[::ffff:10.0.0.2]:9100", "wrong");
    });
    assert_eq!(it.0, ["cookie-mismatch"], "an IPv4 address within IPv6");
    let it = judged(NAMED, |capture| {
        dialed(capture, NAMED, "[fd00::1]:40001", "[fd00::2]:9100", "right");
    });
    assert_eq!(it, expected(&[], &["fd00::1"]), "a name of IPv4 over IPv6");
}

#[test]
fn a_node_that_moved_is_the_node_once_its_cookie_was_accepted() {
    let it = judged(HOSTED, |capture| {
        dialed(capture, HOSTED, AT_ONE, AT_TWO, "right");
        let mut moved = capture.connect("10.0.0.9:40001", AT_TWO);
        moved.send_name_of(HOSTED[0], IMPOSTOR).send_status("ok").send_challenge(HOSTED[1], 7);
        moved.send_challenge_reply("right", 7, 9).send_challenge_ack("right", 9);
        moved.send_tick(End::Initiator).send_tick(End::Acceptor);
    });
    assert_eq!(it, expected(&[], &["10.0.0.1", "10.0.0.9"]));
}

#[test]
fn a_dial_that_a_proxy_passes_on_is_one_of_the_node() {
    for names in [NAMED, HOSTED] {
        let it = judged(names, |capture| {
            let mut near = capture.connect(AT_ONE, "10.0.0.3:9100");
            near.send_name(names[0]);
            let near = near.pause();
            let mut far = capture.connect("10.0.0.3:50001", AT_TWO);
            far.send_name(names[0]).send_status("ok").send_challenge(names[1], 77);
            let far = far.pause();
            let mut leg = capture.resume(near);
            leg.send_status("ok").send_challenge(names[1], 77);
            leg.send_challenge_reply("wrong", 77, 99);
            let near = leg.pause();
            capture.resume(far).send_challenge_reply("wrong", 77, 99).close(End::Acceptor);
            capture.resume(near).close(End::Acceptor);
        });
        assert_eq!(it.0, ["cookie-mismatch"], "{names:?}");
        assert!(it.1.contains(&"10.0.0.1".to_owned()), "{names:?}: {:?}", it.1);
    }
}

#[test]
fn a_host_that_dials_itself_and_a_name_without_an_address_are_no_strangers() {
    // A host dials its second address from that address.
    let it = judged(NAMED, |capture| {
        dialed(capture, NAMED, "10.0.0.2:40001", AT_TWO, "wrong");
    });
    assert_eq!(it.0, ["cookie-mismatch"]);
    let it = judged(NAMED, |capture| {
        dialed(capture, NAMED, "127.0.0.1:40001", "127.0.0.1:9100", "wrong");
    });
    assert_eq!(it.0, ["cookie-mismatch"]);
    for name in ["one@127.0.0.1", "one@127.0.1.1", "one@0.0.0.0", "one@localhost", "one@h1"] {
        let it = judged([name, "two@h2"], |capture| {
            dialed(capture, [name, "two@h2"], AT_ONE, AT_TWO, "wrong");
        });
        assert_eq!(it, expected(&["cookie-mismatch"], &["10.0.0.1"]), "{name}");
    }
}

#[test]
fn what_the_other_side_did_or_the_capture_lacks_is_no_matter_of_names() {
    // From another address of its host, to a node that hangs.
    let it = judged(NAMED, |capture| {
        let mut dial = capture.connect("10.1.0.1:40001", AT_TWO);
        dial.send_name(NAMED[0]).acknowledge(End::Acceptor);
        dial.wait(Duration::from_secs(7)).close(End::Initiator);
    });
    assert_eq!(it.0, ["handshake-timeout"]);
    // The capture ends in the middle of the handshake.
    let it = judged(NAMED, |capture| {
        let mut dial = capture.connect("10.1.0.1:40001", AT_TWO);
        dial.send_name(NAMED[0]).send_status("ok").send_challenge(NAMED[1], 77);
    });
    assert_eq!(it.0, [""; 0]);
    // A virtual address, which is not the one in the name of the node behind it.
    let it = judged(NAMED, |capture| {
        let mut dial = capture.connect(AT_ONE, "10.0.0.9:9100");
        dial.send_name(NAMED[0]).send_status("ok").send_challenge(NAMED[1], 77);
        dial.close(End::Initiator);
    });
    assert_eq!(it, expected(&["name-mismatch"], &["10.0.0.1"]));
    // A load balancer that names its client.
    let it = judged(NAMED, |capture| {
        let mut dial = capture.connect("10.0.0.3:40001", AT_TWO);
        dial.send(End::Initiator, b"PROXY TCP4 10.0.0.1 10.0.0.3 40002 9100\r\n");
        dial.send_name(NAMED[0]).send_status("ok").send_challenge(NAMED[1], 77);
        dial.send_challenge_reply("wrong", 77, 99).close(End::Acceptor);
    });
    assert_eq!(it, expected(&["cookie-mismatch"], &["10.0.0.1"]));
}

#[test]
fn a_stranger_before_the_node_of_a_host_name_is_the_finding_once_the_node_connects() {
    let folder = TestDir::new("claims");
    for is_v6 in [false, true] {
        let net = Net { is_v6, is_named_by_address: false };
        for when in [When::Before, When::During] {
            for (name, what) in ATTEMPTS {
                let it = Reported::of(&scene(net, *what, when), &folder);
                let scene = format!("{net:?} {name} {when:?}: {:#?}", it.titles());
                let (ips, creation) = it.node(&net.one()).unwrap();
                assert_eq!(
                    (ips, creation),
                    (BTreeSet::from([&*net.ip(1)]), 0x6a00_0001),
                    "{scene}"
                );
                assert!(it.accusing(&net.one()).is_empty(), "{scene}");
                let about = |title: &&str| title.starts_with(&net.ip(STRANGER));
                assert!(it.titles().iter().any(about), "{scene}");
            }
        }
    }
}

/// The rules that find something in the files of a scene.
fn rules_of(scene: &str, places: &[&str]) -> BTreeSet<String> {
    let mut arguments = vec!["--json".to_owned()];
    arguments.extend(places.iter().map(|place| format!("captures/{scene}-{place}.pcap")));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let lines = lines_of(&arguments);
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let findings = events.filter(|event| event["event_type"] == "finding");
    findings.map(|event| event["finding"]["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_handshake_on_both_sides_of_a_router_shows_that_its_address_is_no_stranger() {
    let has = |rules: &BTreeSet<String>, rule: &str| rules.contains(rule);
    for scene in ["translated-source", "translated-both", "passed-on"] {
        let far = rules_of(scene, &["at-acceptor"]);
        assert!(
            has(&far, "unproven-name"),
            "{scene}: the near side is not in the capture: {far:?}"
        );
        let both = rules_of(scene, &["at-dialer", "at-acceptor"]);
        assert!(!has(&both, "unproven-name"), "{scene}: {both:?}");
        assert!(has(&both, "cookie-mismatch"), "{scene}: {both:?}");
    }
}
