//! Floods at the limits of the tables: what is reported about them, and the memory for them, stay bounded. Linear time is
//! tested where work can be counted, beside the code; times are in docs/performance.md.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output};
use std::time::Duration;
use std::{env, fs};

use beamscope::decode::{Endpoint, Segment, TcpFlags};
use beamscope::engine::{Config, Engine};
use beamscope::flow::FlowKey;
use beamscope::limits::{DefragLimits, LEAST_MEMORY, Limits};
use beamscope::packet::FrameRef;
use beamscope::record::{Anomaly, AnomalyKind, Body, Event, EventSink, State};
use beamscope::time::Timestamp;

use crate::support::corpus;
use crate::support::packets::{Scene, hello, load};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A run into which segments are pushed, a microsecond apart.
struct Flood<S> {
    engine: Engine<S>,
    frames: u64,
    at: Timestamp,
}

/// One connection of a flood: its ends, initiator first, and the next sequence number of each.
#[derive(Clone, Copy)]
struct Link {
    ends: [Endpoint; 2],
    seq: [u32; 2],
}

impl<S: EventSink> Flood<S> {
    fn new(limits: Limits, sink: S) -> Self {
        let config = Config { dist_ports: vec![9100..=9100], limits, ..Config::default() };
        Self { engine: Engine::new(config, sink), frames: 0, at: Timestamp::new(1_000, 0) }
    }

    /// The handshake of TCP of connection `n`, each from an address of its own, to this port.
    fn open(&mut self, n: u32, port: u16) -> Link {
        let initiator = Endpoint {
            ip: IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + n)),
            port: 20_000 + (n % 40_000) as u16,
        };
        let acceptor = Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), port };
        let mut link = Link { ends: [initiator, acceptor], seq: [1_000 + n, 5_000 + n] };
        self.send(&mut link, 0, SYN, b"");
        self.send(&mut link, 1, SYN | ACK, b"");
        self.send(&mut link, 0, ACK, b"");
        link
    }

    /// A connection of two nodes, up to the last message of the handshake.
    fn establish(&mut self, n: u32) -> Link {
        let mut link = self.open(n, 9100);
        self.send(&mut link, 0, ACK, &hello(&format!("n{n}@h1"), None));
        self.send(&mut link, 1, ACK, b"\0\x03sok");
        self.send(&mut link, 1, ACK, &hello("server@h2", Some(7)));
        self.send(&mut link, 0, ACK, &[b"\0\x15r".as_slice(), &[1; 20]].concat());
        self.send(&mut link, 1, ACK, &[b"\0\x11a".as_slice(), &[2; 16]].concat());
        link
    }

    /// The next segment that one side sends.
    fn send(&mut self, link: &mut Link, side: usize, flags: u8, payload: &[u8]) {
        self.push(link, side, flags, 0, payload);
        link.seq[side] = link.seq[side]
            .wrapping_add(payload.len() as u32)
            .wrapping_add(u32::from(flags & SYN != 0));
    }

    /// A segment so many bytes ahead of what its side has sent.
    fn push(&mut self, link: &Link, side: usize, flags: u8, ahead: u32, payload: &[u8]) {
        self.frames += 1;
        self.at = self.at.after(Duration::from_micros(1));
        let (flow, direction) = FlowKey::new(link.ends[side], link.ends[1 - side]);
        self.engine.push_segment(&Segment {
            frame: FrameRef { input: 0, number: self.frames },
            at: self.at,
            flow,
            direction,
            seq: link.seq[side].wrapping_add(ahead),
            ack: if flags & ACK == 0 { 0 } else { link.seq[1 - side] },
            flags: TcpFlags(flags),
            window: 1000,
            ip_id: None,
            ttl: 0,
            ip_header: &[],
            header: &[],
            payload,
            missing: 0,
            layers: &[],
        });
    }

    fn wait(&mut self, time: Duration) {
        self.at = self.at.after(time);
    }
}

const TICK: &[u8] = &[0; 4];

#[test]
fn packets_that_come_after_a_reset_give_no_record_each() {
    let mut flood = Flood::new(Limits::default(), Vec::<Event>::new());
    let mut link = flood.establish(1);
    flood.send(&mut link, 0, ACK, TICK);
    flood.send(&mut link, 1, RST | ACK, b"");
    for _ in 0..100 {
        flood.wait(Duration::from_secs(20));
        flood.send(&mut link, 0, ACK, TICK);
        flood.send(&mut link, 1, ACK, TICK);
    }
    let events = flood.engine.finish();
    let closed = events.iter().filter(
        |event| matches!(&event.body, Body::Session { session } if session.state == State::Closed),
    );
    let closed = closed.count();
    assert!(closed <= 2, "{closed} records: one of the close, one of all that came until the end");
}

#[test]
fn a_handshake_in_bytes_with_pauses_gives_no_record_each() {
    let mut flood = Flood::new(Limits::default(), Vec::<Event>::new());
    let mut link = flood.open(1, 9100);
    for byte in hello(&"n".repeat(200), None) {
        flood.wait(Duration::from_secs(20));
        flood.send(&mut link, 0, ACK, &[byte]);
    }
    let events = flood.engine.finish();
    let sessions = events.iter().filter(|event| matches!(event.body, Body::Session { .. })).count();
    assert!(sessions <= 3, "{sessions} records");
}

/// Drops what it gets.
#[derive(Default)]
struct Nothing {
    limits: u64,
}

impl EventSink for Nothing {
    fn event(&mut self, event: Event) {
        let is_limit = |anomaly: &Anomaly| anomaly.kind == AnomalyKind::Limit;
        self.limits +=
            u64::from(matches!(&event.body, Body::Anomaly { anomaly } if is_limit(anomaly)));
    }
}

/// A flood of memory: its name, its number of connections, and what is sent on one. In a release build they need ten times
/// as much as [`LEAST_MEMORY`] without bounds.
type MemoryFlood = (&'static str, u32, fn(&mut Flood<Nothing>, u32));

const FLOODS: &[MemoryFlood] = &[
    ("replies of EPMD without an end", 1_500, |flood, n| {
        let mut link = flood.open(n, 4369);
        flood.send(&mut link, 0, ACK, b"\0\x01n");
        for _ in 0..8 {
            flood.send(&mut link, 1, ACK, &[b'x'; 30_000]);
        }
    }),
    ("handshake messages without an end", 12_000, |flood, n| {
        let mut link = flood.open(n, 9100);
        flood.send(&mut link, 0, ACK, &[b"\x0f\xf0N".as_slice(), &[b'a'; 4_000]].concat());
        flood.send(&mut link, 1, ACK, &[b"\x0f\xf0s".as_slice(), &[b'a'; 4_000]].concat());
    }),
    ("TLS hellos without an end", 6_000, |flood, n| {
        let mut link = flood.open(n, 9100);
        for side in [0, 1] {
            let hello = [22, 3, 1, 0x3f, 0xff, 1 + side as u8, 0, 0x3f, 0xf0];
            flood.send(&mut link, side, ACK, &[&hello[..], &[b'a'; 16_000]].concat());
        }
    }),
    ("PROXY headers without an end", 6_000, |flood, n| {
        let mut link = flood.open(n, 9100);
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xf0";
        flood.send(&mut link, 0, ACK, &[&header[..], &[b'a'; 20_000]].concat());
    }),
    ("segments behind a hole", 3_000, |flood, n| {
        let link = flood.open(n, 9100);
        for place in 0..50 {
            flood.push(&link, 0, ACK, 100 + place * 2, b"x");
            flood.push(&link, 1, ACK, 100 + place * 2, b"x");
        }
    }),
    ("atom caches", 400, |flood, n| {
        let mut link = flood.establish(n);
        for segment in 0..8 {
            flood.send(&mut link, 0, ACK, &atoms(segment, 3));
        }
    }),
    ("long atoms", 1_000, |flood, n| {
        let mut link = flood.establish(n);
        flood.send(&mut link, 0, ACK, &atoms(0, 250));
    }),
    ("headers of messages without an end", 5_000, |flood, n| {
        let mut link = flood.establish(n);
        let begun = [&[0, 1, 0, 0, 131, 68, 255][..], &[0xff; 128], &[b'a'; 20_000]].concat();
        flood.send(&mut link, 0, ACK, &begun);
    }),
    ("names of nodes", 12_000, |flood, n| {
        flood.establish(n);
    }),
];

/// A message with 255 new atoms in one segment of the atom cache, each so many bytes long.
fn atoms(segment: u8, len: u8) -> Vec<u8> {
    let mut message = vec![131, 68, 255];
    let new = 8 | segment;
    message.extend([new | new << 4; 127]);
    message.push(new | if len == 255 { 0x10 } else { 0 });
    for slot in 0..255 {
        message.extend([slot, len]);
        let name = format!("{segment}{slot:03}{}", "z".repeat(len.into()));
        message.extend(name.bytes().skip(usize::from(len < 4)).take(len.into()));
    }
    // {2, '', Pid}, a message to a process of the first atom.
    message.extend(b"h\x03a\x02w\x00XR\x00\0\0\0\x01\0\0\0\0\0\0\0\x07a\x01");
    [(message.len() as u32).to_be_bytes().as_slice(), &message].concat()
}

/// Resident memory in KiB without what is mapped from files; 0 where the system does not give it.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Names the flood that a process of its own runs.
const FLOOD: &str = "BEAMSCOPE_TEST_FLOOD";

#[test]
fn floods_stay_within_the_least_memory() {
    const NAME: &str = "properties::exhaustion::floods_stay_within_the_least_memory";
    if let Some(chosen) = env::var_os(FLOOD) {
        let limits = Limits::for_memory(LEAST_MEMORY);
        let before = resident();
        let mut flood = Flood::new(limits, Nothing::default());
        let (what, connections, one) = FLOODS.iter().find(|flood| chosen == flood.0).unwrap();
        (0..*connections).for_each(|n| one(&mut flood, n));
        let grown = resident().saturating_sub(before);
        let limits = flood.engine.finish().limits;
        // The program itself takes the rest.
        assert!(grown < (LEAST_MEMORY as u64 >> 10) - (10 << 10), "{what}: {grown} KiB");
        assert!(limits > 0 && limits < 20, "{what}: each bound that is reached is reported, once");
        println!("{what}: {} MiB, {limits} limits", grown >> 10);
        return;
    }
    for (what, ..) in FLOODS {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", NAME, "--test-threads=1", "--nocapture"]).env(FLOOD, what);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let [stdout, stderr] = [&stdout, &stderr].map(|text| String::from_utf8_lossy(text));
        assert!(status.success() && stdout.contains("1 passed"), "{what}: {stdout}{stderr}");
        println!("{}", stdout.lines().find(|line| line.contains("MiB")).unwrap_or_default());
    }
}

/// Each bound as small as it may be, the others as they are. Not that of incidents: a problem that was forgotten and comes
/// again is a new one.
fn tiny_limits() -> Vec<(&'static str, Limits)> {
    let full = Limits::default;
    vec![
        ("connections", Limits { connections: 2, ..full() }),
        ("pending_connections", Limits { pending_connections: 1, ..full() }),
        ("held_per_direction", Limits { held_per_direction: 1, ..full() }),
        ("held_total", Limits { held_total: 1, ..full() }),
        ("messages", Limits { messages: 1, ..full() }),
        ("lookups", Limits { lookups: 1, ..full() }),
        ("resolved", Limits { resolved: 1, ..full() }),
        ("dials", Limits { dials: 1, ..full() }),
        ("ports", Limits { ports: 1, ..full() }),
        ("nodes", Limits { nodes: 1, ..full() }),
        ("pairs", Limits { pairs: 1, ..full() }),
        (
            "fragments",
            Limits { fragments: DefragLimits { bytes: 1, ..DefragLimits::default() }, ..full() },
        ),
        (
            "all",
            Limits {
                connections: 2,
                lookups: 1,
                resolved: 1,
                dials: 1,
                ports: 1,
                nodes: 1,
                pairs: 1,
                messages: 1,
                held_total: 1,
                ..full()
            },
        ),
    ]
}

/// The findings of a scene, by rule and hosts: names may be among what is forgotten. A release or list of allowed nodes as
/// the cause of a close is known from the look-up, and without it the finding is about the close alone.
fn findings(scene: &Scene, limits: Limits) -> BTreeSet<(&'static str, Vec<IpAddr>)> {
    let config = Config {
        limits,
        cookies: scene.cookies.clone(),
        epmd_ports: scene.epmd_ports.clone(),
        ..Config::default()
    };
    let mut engine = Engine::new(config, Vec::<Event>::new());
    scene.segments.iter().for_each(|segment| engine.push_segment(&segment.borrowed()));
    let events = engine.finish();
    let findings = events.iter().filter_map(|event| {
        let Body::Finding { finding } = &event.body else { return None };
        let ids = event.connection.as_ref();
        let mut hosts: Vec<IpAddr> = ids.iter().flat_map(|ids| [ids.src_ip, ids.dest_ip]).collect();
        hosts.sort();
        let is_close = matches!(finding.rule, "version-mismatch" | "not-allowed");
        Some((if is_close { "handshake-aborted" } else { finding.rule }, hosts))
    });
    findings.collect()
}

#[test]
fn what_is_forgotten_leads_to_no_finding() {
    corpus::check_all(|path| {
        let scene = load(path);
        let whole = findings(&scene, Limits::default());
        let mut wrong = Vec::new();
        for (bound, limits) in tiny_limits() {
            let found = findings(&scene, limits);
            let is_known = |found: &(&str, Vec<IpAddr>)| {
                // Repeats are joined with the first one, of whichever hosts.
                let shares = |hosts: &Vec<IpAddr>| hosts.iter().any(|ip| found.1.contains(ip));
                let is_joined = |hosts: &Vec<IpAddr>| hosts.is_empty() || found.1.is_empty();
                whole
                    .iter()
                    .any(|(rule, hosts)| *rule == found.0 && (shares(hosts) || is_joined(hosts)))
            };
            let others = found.iter().filter(|found| !is_known(found));
            wrong.extend(others.map(|found| format!("{bound}: {found:?}")));
        }
        wrong
    });
}
