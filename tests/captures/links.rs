//! The same packets seen at several places, and seen in part: inside and outside a tunnel, on two
//! interfaces, behind a router, cut by a snaplen. Captures are made from the project's own.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::Arc;
use std::time::Duration;

use crate::support::link_headers::{LINK_HEADERS, as_pcap, as_snoop};
use beamscope::capture::{CaptureFile, Frame, Item, LinkType};
use beamscope::engine::{Config, Engine};
use beamscope::packet::FrameRef;
use beamscope::record::{Body, Event, Outcome};
use beamscope::time::Timestamp;

/// A frame that outlives its buffer.
#[derive(Clone, Debug)]
struct Kept {
    at: Timestamp,
    link: LinkType,
    wire_len: u32,
    bytes: Vec<u8>,
}

impl Kept {
    /// The same packet as another place sees it.
    fn seen_as(&self, link: LinkType, bytes: Vec<u8>) -> Self {
        Self { at: self.at, link, wire_len: bytes.len() as u32, bytes }
    }
}

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

fn load(name: &str) -> Vec<Kept> {
    frames_of(CaptureFile::open(&own(name), 0).unwrap())
}

fn frames_of(mut capture: CaptureFile) -> Vec<Kept> {
    let mut frames = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        let Item::Frame(Frame { at, link, wire_len, bytes, .. }) = item else { continue };
        frames.push(Kept { at, link, wire_len, bytes: bytes.to_vec() });
    }
    frames
}

fn events(frames: &[Kept]) -> Vec<Event> {
    let mut pipeline = Engine::new(Config::default(), Vec::new());
    for (number, Kept { at, link, wire_len, bytes }) in (1..).zip(frames) {
        let id = FrameRef { input: 0, number };
        let (at, link, wire_len) = (*at, *link, *wire_len);
        pipeline.push_frame(&Frame {
            id,
            at,
            link,
            interface: None,
            wire_len,
            bytes,
            comments: &[],
        });
    }
    pipeline.finish()
}

/// What a run reports about connections, but for frames and times.
#[derive(Debug, Eq, PartialEq)]
struct Story {
    /// Each record of a session, in the order reported.
    sessions: Vec<String>,
    requests: Vec<String>,
    findings: Vec<String>,
}

fn story(frames: &[Kept]) -> Story {
    let (mut sessions, mut requests, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    for event in events(frames) {
        let id = event.connection.map(|ids| Arc::clone(&ids.session_id));
        match event.body {
            Body::Session { session: s } => {
                let flowed = [s.traffic.initiator, s.traffic.acceptor].map(|side| {
                    assert_eq!(side.retransmitted_bytes, 0, "{id:?}: a copy is no retransmission");
                    (side.bytes, side.missing_bytes, side.messages, side.ticks)
                });
                sessions.push(format!(
                    "{id:?} {:?} {:?} {:?} {:?} -> {:?} {:?} {:?} {:?} {flowed:?}",
                    s.state,
                    s.outcome,
                    s.confidence,
                    s.initiator.node,
                    s.acceptor.node,
                    s.reached,
                    s.closed_by,
                    s.close,
                ));
            }
            Body::Epmd { epmd } => {
                requests.push(format!("{id:?} {:?} {:?}", epmd.request, epmd.outcome));
            }
            Body::Finding { finding } => {
                findings.push(format!("{} {}", finding.rule, finding.title));
            }
            _ => {}
        }
    }
    Story { sessions, requests, findings }
}

/// Each packet and its copies, each copy of number `n` behind `n * late` packets more, as the
/// queues of several interfaces deliver them.
fn interleaved(frames: &[Kept], late: usize, copies: &dyn Fn(&Kept) -> Vec<Kept>) -> Vec<Kept> {
    let mut placed: Vec<(usize, usize, Kept)> = Vec::new();
    for (place, frame) in frames.iter().enumerate() {
        for (n, copy) in copies(frame).into_iter().enumerate() {
            placed.push((place + n * late, n, copy));
        }
    }
    placed.sort_by_key(|(place, n, _)| (*place, usize::MAX - n));
    let clock: Vec<_> = frames.iter().map(|frame| frame.at).collect();
    let in_order = |(place, _, copy): (usize, usize, Kept)| {
        let at = clock[place.min(clock.len() - 1)];
        Kept { at, ..copy }
    };
    placed.into_iter().map(in_order).collect()
}

/// Both sights of every packet in both orders, side by side and some packets apart.
fn is_one_story(name: &str, other: impl Fn(&Kept) -> Kept) {
    let frames = load(name);
    let plain = story(&frames);
    let count = |outcome: Outcome| {
        let word = format!(" {outcome:?} ");
        let is = |record: &&String| record.contains(&word) && !record.contains("Established");
        plain.sessions.iter().filter(is).count()
    };
    assert_eq!((count(Outcome::CookieMismatch), count(Outcome::Connected)), (1, 1), "{name}");
    for late in [0, 1, 3] {
        let near_first = interleaved(&frames, late, &|frame| vec![frame.clone(), other(frame)]);
        assert_eq!(near_first.len(), 2 * frames.len());
        assert_eq!(story(&near_first), plain, "{name}, copies {late} packets behind");
        let far_first = interleaved(&frames, late, &|frame| vec![other(frame), frame.clone()]);
        assert_eq!(story(&far_first), plain, "{name}, copies {late} packets ahead");
    }
}

/// Ethernet, IPv4, UDP and VXLAN (RFC 7348) around a frame.
const VXLAN_OUTER: usize = 14 + 20 + 8 + 8;

#[test]
fn a_connection_seen_inside_and_outside_a_tunnel_is_one() {
    is_one_story("links-vxlan.pcap", |outer| {
        let is_vxlan = outer.bytes.get(36..38) == Some(&[0x12, 0xb5]); // UDP port 4789
        let inner = if is_vxlan { &outer.bytes[VXLAN_OUTER..] } else { &outer.bytes[..] };
        outer.seen_as(LinkType::ETHERNET, inner.to_vec())
    });
}

#[test]
fn a_connection_seen_on_a_port_and_on_its_vlan_is_one() {
    is_one_story("links-vlan.pcap", |tagged| {
        let mut bytes = tagged.bytes.clone();
        if bytes.get(12..14) == Some(&[0x81, 0x00]) {
            bytes.drain(12..16);
        }
        tagged.seen_as(LinkType::ETHERNET, bytes)
    });
}

/// Linux cooked v2: protocol (2), reserved (2), interface index (4) and more.
#[test]
fn a_connection_seen_on_two_interfaces_of_any_is_one() {
    is_one_story("links-any-sll2.pcap", |frame| {
        let mut bytes = frame.bytes.clone();
        bytes[7] ^= 0x10;
        frame.seen_as(LinkType::LINUX_SLL2, bytes)
    });
}

/// IPv6 has no identification by which a copy could be known: the time between the two must do.
#[test]
fn doubled_packets_of_ipv6_are_no_retransmissions() {
    let frames = load("links-ipv6.pcap");
    for micros in [0, 5, 100] {
        let late = |frame: &Kept| {
            let at = frame.at.after(Duration::from_micros(micros));
            Kept { at, ..frame.clone() }
        };
        let mut both: Vec<_> =
            frames.iter().flat_map(|frame| [frame.clone(), late(frame)]).collect();
        both.sort_by_key(|frame| frame.at);
        assert_eq!(story(&both), story(&frames), "copies {micros} µs behind");
    }
}

#[test]
fn a_connection_seen_on_both_sides_of_a_router_is_one() {
    is_one_story("links-mtu-200.pcap", |frame| {
        let mut bytes = frame.bytes.clone();
        if bytes.get(12..14) == Some(&[0x08, 0x00]) {
            bytes[..12].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8]);
            bytes[14 + 8] -= 1; // time to live
            bytes[14 + 10] = bytes[14 + 10].wrapping_add(1); // header checksum (RFC 1624)
        }
        frame.seen_as(LinkType::ETHERNET, bytes)
    });
}

#[test]
fn every_link_type_and_snoop_files_give_the_same_story() {
    for name in ["seed-lan-wrong-then-right-cookie.pcap", "names-alias.pcap"] {
        let frames = load(name);
        let plain = story(&frames);
        let as_plain = |file: Vec<u8>, what: &str| {
            let wrapped = frames_of(CaptureFile::from_bytes(file));
            assert_eq!(story(&wrapped), plain, "{name} as {what}");
        };
        for link in LINK_HEADERS {
            as_plain(as_pcap(&own(name), link), &LinkType(link.link).to_string());
        }
        as_plain(as_snoop(&own(name)), "snoop");
    }
}

#[test]
fn two_interfaces_with_links_of_their_own_are_one_timeline() {
    let frames = load("links-two-interfaces.pcapng");
    let output = story(&frames);
    let is_seen_once = |id: &str| output.sessions.iter().filter(|s| s.starts_with(id)).count() <= 2;
    assert!(output.sessions.iter().all(|s| is_seen_once(&s[..24])), "{output:#?}");
    assert_eq!(output.sessions.len(), 3, "refused; established and closed: {output:#?}");
    let links: BTreeMap<u16, usize> = frames.iter().fold(BTreeMap::new(), |mut counts, frame| {
        *counts.entry(frame.link.0).or_default() += 1;
        counts
    });
    assert_eq!(links.len(), 2, "{links:?}");
}

fn text_of(path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
    let output = command.arg("--format=text").arg(path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    // Wrapped at the width of a terminal.
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sessions by outcome, when all is over.
fn outcomes(frames: &[Kept]) -> BTreeMap<Outcome, u64> {
    let Some(Event { body: Body::Stats { stats }, .. }) = events(frames).pop() else {
        panic!("no statistics")
    };
    stats.sessions
}

#[test]
fn a_short_snaplen_leaves_open_what_it_cut_and_reports_so_once() {
    let frames = load("fmt-snaplen96.pcap");
    let expected = BTreeMap::from([(Outcome::Connected, 1), (Outcome::Incomplete, 1)]);
    assert_eq!(outcomes(&frames), expected);
    let text = text_of(&own("fmt-snaplen96.pcap"));
    assert_eq!(text.matches("-s 0").count(), 1, "{text}");
    assert!(text.contains("116 packets cut short by the capture's snapshot length, 64% of all"));
    assert!(!text_of(&own("links-mtu-200.pcap")).contains("-s 0"));
}

/// Every snaplen from the TCP header alone to the whole handshake: what fits is judged, the rest is
/// incomplete, and nothing is a failure that was none.
#[test]
fn no_snaplen_makes_a_failure_of_what_it_hides() {
    let frames = load("seed-lan-wrong-then-right-cookie.pcap");
    let whole = outcomes(&frames);
    let mut judged = 0;
    for snaplen in 54..320 {
        let mut cut = frames.clone();
        cut.iter_mut().for_each(|frame| frame.bytes.truncate(snaplen));
        let seen = outcomes(&cut);
        for (outcome, n) in &seen {
            let most = whole.get(outcome).copied().unwrap_or(0);
            assert!(*outcome == Outcome::Incomplete || *n <= most, "snaplen {snaplen}: {seen:?}");
        }
        let is_judged = seen == whole;
        assert!(
            is_judged || judged == 0,
            "snaplen {snaplen} shows less than a shorter one: {seen:?}"
        );
        judged += usize::from(is_judged);
    }
    assert!(judged > 0, "320 bytes hold every message of the handshake");
}

/// A capture cut in the file, as tcpdump -s writes it.
#[test]
fn a_handshake_that_fits_is_judged_without_a_hint() {
    let frames = load("seed-lan-wrong-then-right-cookie.pcap");
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    file.extend(1u32.to_le_bytes());
    for frame in &frames {
        let kept = &frame.bytes[..frame.bytes.len().min(256)];
        let (seconds, micros) = (frame.at.0 / 1_000_000_000, frame.at.0 / 1000 % 1_000_000);
        for field in [seconds as u32, micros as u32, kept.len() as u32, frame.wire_len] {
            file.extend(field.to_le_bytes());
        }
        file.extend(kept);
    }
    let path = env::temp_dir().join(format!("beamscope-links-{}.pcap", process::id()));
    fs::write(&path, file).unwrap();
    let text = text_of(&path);
    fs::remove_file(&path).unwrap();
    assert!(!text.contains("Undecided") && !text.contains("-s 0"), "{text}");
}
