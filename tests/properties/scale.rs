//! A storm: 100,000 connections that fail, of every kind, from few nodes and from names without end.
//! What is reported about them is bounded, and so is the memory for them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use beamscope::decode::{Endpoint, Segment, TcpFlags};
use beamscope::engine::{Config, Engine};
use beamscope::flow::FlowKey;
use beamscope::limits::Limits;
use beamscope::packet::FrameRef;
use beamscope::record::{Body, Event, EventSink};
use beamscope::time::Timestamp;

use crate::support::is_alone;
use crate::support::packets::hello;

const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Counts the events it gets.
#[derive(Default)]
struct Tally {
    findings: BTreeMap<&'static str, u64>,
    /// Incidents of the findings.
    reported: HashSet<String>,
    /// Cases of the incidents that repeated, without those that are findings.
    repeats: u64,
    longest_cluster: usize,
    limits: u64,
    /// Rules that reached their limit of findings.
    floods: u64,
    finals: u64,
}

impl EventSink for Tally {
    fn event(&mut self, event: Event) {
        match event.body {
            // A finding that is written anew has been counted.
            Body::Finding { finding } if finding.revision.is_none() => {
                *self.findings.entry(finding.rule).or_default() += 1;
                self.reported.insert(finding.incident_id.to_string());
            }
            Body::Incident { incident } => {
                let is_reported = self.reported.contains(&*incident.incident_id);
                self.repeats += incident.count - u64::from(is_reported);
            }
            Body::Cluster { cluster } => {
                let rows = [cluster.nodes.len(), cluster.failed.len(), cluster.cookies.len()];
                self.longest_cluster = rows.into_iter().max().unwrap();
            }
            Body::Anomaly { anomaly } => {
                self.floods += u64::from(anomaly.detail.contains("findings of"));
            }
            Body::Stats { stats } => {
                self.finals += u64::from(stats.is_final);
                self.limits += stats.evictions;
            }
            _ => {}
        }
    }
}

/// Connections pushed one after the other, each from a port of its own.
struct Storm {
    pipeline: Engine<Tally>,
    frame: u64,
    at: Timestamp,
    dials: u32,
}

impl Storm {
    fn new() -> Self {
        let config = Config { dist_ports: vec![9100..=9100], ..Config::default() };
        let pipeline = Engine::new(config, Tally::default());
        Self { pipeline, frame: 0, at: Timestamp::new(1_000, 0), dials: 0 }
    }

    /// One connection from `host`: what each side sends, `true` for the initiator's.
    fn dial(&mut self, host: u32, port: u16, script: &[(bool, u8, &[u8])]) {
        self.dials += 1;
        let src = Endpoint {
            ip: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + host)),
            port: 20_000 + (self.dials % 40_000) as u16,
        };
        let dst = Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 255, 0, 1)), port };
        let mut seq = [self.dials.wrapping_mul(7919), self.dials.wrapping_mul(104_729)];
        for (by_initiator, flags, payload) in script {
            self.frame += 1;
            self.at = self.at.after(Duration::from_micros(100));
            let (own, peer) = (usize::from(!by_initiator), usize::from(*by_initiator));
            let (src, dst) = if *by_initiator { (src, dst) } else { (dst, src) };
            let (flow, direction) = FlowKey::new(src, dst);
            self.pipeline.push_segment(&Segment {
                frame: FrameRef { input: 0, number: self.frame },
                at: self.at,
                flow,
                direction,
                seq: seq[own],
                ack: if *flags == SYN { 0 } else { seq[peer] },
                flags: TcpFlags(*flags),
                window: 1000,
                ip_id: None,
                ttl: 0,
                ip_header: &[],
                header: &[],
                payload,
                missing: 0,
                layers: &[],
            });
            let control = u32::from(flags & (SYN | FIN) != 0);
            seq[own] = seq[own].wrapping_add(payload.len() as u32 + control);
        }
    }

    fn cookie_refused(&mut self, host: u32, name: &str) {
        let hello = hello(name, None);
        let challenge = hello_with("server@h1", 7);
        let reply = [b"\0\x15r".as_slice(), &[1; 20]].concat();
        self.dial(
            host,
            9100,
            &[
                (true, SYN, b""),
                (false, SYN | ACK, b""),
                (true, ACK, &hello),
                (false, ACK, b"\0\x03sok"),
                (false, ACK, &challenge),
                (true, ACK, &reply),
                (false, ACK | FIN, b""),
                (true, ACK | FIN, b""),
                (false, ACK, b""),
            ],
        );
    }

    fn not_registered(&mut self, host: u32, name: &str) {
        let request = [&[0, name.len() as u8 + 1, b'z'], name.as_bytes()].concat();
        self.dial(
            host,
            4369,
            &[
                (true, SYN, b""),
                (false, SYN | ACK, b""),
                (true, ACK, &request),
                (false, ACK, b"w\x01"),
                (false, ACK | FIN, b""),
                (true, ACK | FIN, b""),
                (false, ACK, b""),
            ],
        );
    }

    fn refused(&mut self, host: u32) {
        self.dial(host, 9100, &[(true, SYN, b""), (false, RST | ACK, b"")]);
    }

    fn end(self) -> Tally {
        self.pipeline.finish()
    }
}

fn hello_with(name: &str, challenge: u32) -> Vec<u8> {
    hello(name, Some(challenge))
}

/// Resident memory in KiB; 0 where the system does not give it.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn ten_thousand_retries_are_one_finding_and_its_closing_record() {
    let mut storm = Storm::new();
    (0..10_000).for_each(|_| storm.refused(1));
    let tally = storm.end();
    assert_eq!(tally.findings.values().sum::<u64>(), 1, "{:?}", tally.findings);
    assert_eq!((tally.repeats, tally.limits), (9_999, 0));
}

#[test]
fn a_storm_from_a_few_nodes_is_reported_in_a_few_findings() {
    let mut storm = Storm::new();
    for round in 0..25_000_u32 {
        let host = 1 + round % 5;
        storm.cookie_refused(host, &format!("one@n{host}"));
        storm.not_registered(host, "gone");
        storm.refused(host);
        storm.not_registered(host, "lost");
    }
    let tally = storm.end();
    assert!(tally.findings.values().sum::<u64>() <= 16, "{:?}", tally.findings);
    assert!(tally.repeats >= 99_000, "{}", tally.repeats);
    assert_eq!((tally.limits, tally.finals), (0, 1), "nothing had to be forgotten");
}

#[test]
fn a_storm_of_names_without_end_neither_fills_the_memory_nor_the_screen() {
    if !is_alone(
        "properties::scale::a_storm_of_names_without_end_neither_fills_the_memory_nor_the_screen",
    ) {
        return;
    }
    let mut storm = Storm::new();
    let mut push = |from: u32, to: u32| {
        for n in from..to {
            storm.cookie_refused(n % 65_536, &format!("x{n}@y{n}"));
            storm.not_registered(n % 65_536, &format!("z{n}"));
        }
    };
    // Tables with an entry for each host fill up to turn 65,536.
    push(0, 70_000);
    let before = resident();
    push(70_000, 100_000);
    let grown = resident().saturating_sub(before);
    let tally = storm.end();
    // Tables are at their bounds by then, and stay there.
    assert!(grown < 8 << 10, "{grown} KiB more once the tables were full");
    assert!(tally.limits > 0, "bounds that bite are told");
    let most = Limits::default().findings;
    assert!(tally.findings.values().all(|reported| *reported <= most), "{:?}", tally.findings);
    // One node refuses the cookies of all: one finding.
    assert_eq!(tally.floods, 1, "names that are not registered");
    let reported: u64 = tally.findings.values().sum();
    assert_eq!(reported + tally.repeats, 200_000, "what is not told is counted");
    let longest = Limits::default().cluster_rows;
    assert!(tally.longest_cluster <= longest, "{}", tally.longest_cluster);
}
