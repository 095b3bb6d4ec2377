//! Properties of the messages of whole captures: however the packets are cut, doubled or reordered, the
//! messages and their account are the same; where bytes are lost, an atom is unknown and never a wrong
//! one, and messages are found again from the next frame that begins a segment on; and frames as no node
//! sends them cost what their bytes cost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use crate::support::corpus;
use crate::support::packets::{Dice, Owned, Scene, doubled, load, reordered, resegmented};
use beamscope::decode::{Endpoint, TcpFlags};
use beamscope::engine::{Config, Engine};
use beamscope::limits::Limits;
use beamscope::observe::messages::{FieldKind, MessageEvent, MessagePart};
use beamscope::packet::FrameRef;
use beamscope::protocol::MessageDetail;
use beamscope::record::{AnomalyKind, Body, ConnectionIds, Event, EventSink, Role};
use beamscope::time::Timestamp;
use beamscope::wire::term::PrintLimits;
use serde_json::Value;

// --- Whole captures --------------------------------------------------------------------------------

#[test]
fn cut_doubled_or_reordered_packets_give_the_same_messages() {
    check_all(|scene, plain| {
        let mut wrong = Vec::new();
        for seed in 0..ROUNDS {
            let mut dice = Dice(seed);
            let cut = resegmented(&scene.segments, &mut dice);
            let twice = doubled(&cut, &mut dice);
            let variants = [
                ("cut", cut.clone()),
                ("doubled", doubled(&scene.segments, &mut dice)),
                ("reordered", reordered(&scene.segments, WINDOW, &mut dice)),
                ("all", reordered(&twice, WINDOW, &mut dice)),
            ];
            for (how, segments) in variants {
                let other = Observed::of(scene, &segments);
                wrong.extend(plain.difference(&other).map(|it| format!("{how} {seed}: {it}")));
            }
        }
        wrong
    });
}

/// Seeds tried for each capture.
const ROUNDS: u64 = 3;

/// Places by which a packet may come late.
const WINDOW: usize = 3;

#[test]
fn behind_a_lost_packet_no_atom_is_wrong_and_messages_are_found_again() {
    check_all(|scene, whole| {
        let mut wrong = Vec::new();
        let starts = Starts::of(&scene.segments);
        let step = 1 + scene.segments.len() / PLACES;
        for place in (0..scene.segments.len()).step_by(step) {
            let mut lesser = scene.segments.clone();
            let lost = lesser.remove(place);
            let other = Observed::of(scene, &lesser);
            let how = format!("without frame {}", lost.frame.number);
            wrong.extend(other.not_in(whole).into_iter().map(|it| format!("{how}: {it}")));
            if let Some(again) = starts.next_behind(&scene.segments, place) {
                wrong.extend(whole.missing(&other, again).map(|it| format!("{how}: {it}")));
            }
        }
        wrong
    });
}

#[test]
fn from_a_late_start_no_atom_is_wrong() {
    check_all(|scene, whole| {
        let mut wrong = Vec::new();
        let step = 1 + scene.segments.len() / PLACES;
        for place in (0..scene.segments.len()).step_by(step) {
            let other = Observed::of(scene, &scene.segments[place..]);
            let how = format!("from frame {}", scene.segments[place].frame.number);
            wrong.extend(other.not_in(whole).into_iter().map(|it| format!("{how}: {it}")));
        }
        wrong
    });
}

/// Runs `check` on every capture with messages; it also gets what the whole capture gives.
fn check_all(check: impl Fn(&Scene, &Observed) -> Vec<String> + Sync) {
    corpus::check_all(|path| {
        let scene = load(path);
        let whole = Observed::of(&scene, &scene.segments);
        if whole.messages.is_empty() { Vec::new() } else { check(&scene, &whole) }
    });
}

/// Packets about a place in which the message at that place is looked for.
const ABOUT: u64 = 64;

/// Places of a capture at which it begins, and a packet is taken out.
const PLACES: usize = 120;

/// The messages of a run.
#[derive(Default)]
struct Observed {
    messages: Vec<Reported>,
    /// The last record of each connection.
    sessions: BTreeMap<String, Value>,
    /// Connections of the same ends, in order.
    turns: HashMap<String, Vec<String>>,
    limits: u64,
}

/// One of them, without times.
struct Reported {
    /// The connection, and who sends.
    place: String,
    frame: u64,
    fragments: u32,
    /// Operation and fields.
    text: String,
    payload: String,
    /// Bytes of the payload are lacking, or more than are kept.
    is_cut: bool,
    /// What is made of it.
    call: String,
}

impl Observed {
    fn of(scene: &Scene, segments: &[Owned]) -> Self {
        let config = Config {
            limits: Limits { pending_connections: 256, ..Limits::default() },
            cookies: scene.cookies.clone(),
            epmd_ports: scene.epmd_ports.clone(),
            messages: MessageDetail::Payloads,
            ..Config::default()
        };
        Self::with(config, segments)
    }

    fn with(config: Config, segments: &[Owned]) -> Self {
        let mut pipeline = Engine::new(config, Self::default());
        for segment in segments {
            pipeline.push_segment(&segment.borrowed());
        }
        pipeline.finish()
    }

    fn place(&mut self, ids: &ConnectionIds) -> String {
        let mut ends = [
            format!("{}:{}", ids.src_ip, ids.src_port),
            format!("{}:{}", ids.dest_ip, ids.dest_port),
        ];
        ends.sort();
        let ends = ends.join(" ");
        let turns = self.turns.entry(ends.clone()).or_default();
        let known = turns.iter().position(|name| **name == *ids.session_id);
        let turn = known.unwrap_or_else(|| {
            turns.push(ids.session_id.to_string());
            turns.len() - 1
        });
        format!("{ends} {turn}")
    }

    /// Connections that the capture has from the handshake on and without a hole, and their messages.
    fn stories(&self) -> BTreeMap<String, Vec<String>> {
        let mut stories: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for message in &self.messages {
            let Reported { text, payload, call, fragments, .. } = message;
            let text = format!("{text} {payload} {call} {fragments}");
            stories.entry(message.place.clone()).or_default().push(text);
        }
        for (place, session) in &self.sessions {
            let messages = without_times(session["messages"].clone());
            stories.entry(format!("{place} account")).or_default().push(messages.to_string());
        }
        let is_whole = |place: &str| {
            self.sessions.iter().any(|(known, session)| {
                let lost = |side: &str| session["traffic"][side]["missing_bytes"] != 0;
                place.starts_with(known)
                    && session["reached"] == "challenge_ack"
                    && !lost("initiator")
                    && !lost("acceptor")
            })
        };
        stories.retain(|place, _| is_whole(place));
        stories
    }

    /// The first thing that is not the same.
    fn difference(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.stories(), other.stories());
        for (place, texts) in &ours {
            let others = theirs.get(place).map_or(&[][..], |texts| texts);
            let at = texts.iter().zip(others).take_while(|(a, b)| a == b).count();
            if at < texts.len() || at < others.len() {
                let same = |a: &String, b: &String| {
                    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count().saturating_sub(60)
                };
                let from = texts.get(at).zip(others.get(at)).map_or(0, |(a, b)| same(a, b));
                let shown = |texts: &[String]| {
                    texts.get(at).map(|it| it.chars().skip(from).take(200).collect::<String>())
                };
                return Some(format!(
                    "{place}: message {at} of {} and {}\n  - {:?}\n  + {:?}",
                    texts.len(),
                    others.len(),
                    shown(texts),
                    shown(others)
                ));
            }
        }
        None
    }

    /// Messages that `whole` does not have about their place, unknown atoms aside. One whose end was lost
    /// ends with the next packet.
    fn not_in(&self, whole: &Self) -> Vec<String> {
        let is_known = |message: &&Reported| {
            let is_about = |it: &&Reported| it.frame.abs_diff(message.frame) <= ABOUT;
            !whole.messages.iter().filter(is_about).any(|it| message.may_be(it))
        };
        let shown = |message: &Reported| {
            let payload: String = message.payload.chars().take(200).collect();
            format!("frame {} {:?} {payload:?}", message.frame, message.text)
        };
        self.messages.iter().filter(is_known).map(shown).take(3).collect()
    }

    /// The first message of one frame, in a packet of this sender from `again` on, that `other` lacks.
    fn missing(&self, other: &Self, again: Again) -> Option<String> {
        let there: HashSet<u64> = other.messages.iter().map(|message| message.frame).collect();
        let is_behind = |message: &&Reported| {
            message.frame >= again.frame
                && message.fragments == 1
                && again.frames_of_sender.contains(&message.frame)
        };
        let missing =
            self.messages.iter().filter(is_behind).find(|it| !there.contains(&it.frame))?;
        Some(format!("from frame {} on, the message of frame {}", again.frame, missing.frame))
    }
}

impl Reported {
    /// Whether this is `whole` as a capture may show it that lacks bytes.
    fn may_be(&self, whole: &Self) -> bool {
        let payload = if self.is_cut {
            // How the rest of it is written depends on what is lacking.
            let end = self.payload.find(['\u{2026}', '"', '<']).unwrap_or(self.payload.len());
            fits_front(&self.payload[..end], &whole.payload)
        } else {
            fits(&self.payload, &whole.payload)
        };
        payload && fits(&self.text, &whole.text)
    }
}

impl EventSink for Observed {
    fn event(&mut self, event: Event) {
        match event.body {
            Body::Session { session } => {
                let place = self.place(&event.connection.unwrap());
                self.sessions.insert(place, serde_json::to_value(session).unwrap());
            }
            Body::Anomaly { anomaly } if anomaly.kind == AnomalyKind::Limit => self.limits += 1,
            _ => {}
        }
    }

    fn message(&mut self, event: &MessageEvent<'_>) {
        let MessageEvent { connection, message, .. } = event;
        let meta = message.meta;
        let place = format!("{} {:?}", self.place(connection), meta.from);
        let fields = |part: MessagePart| {
            let fields = message.fields().filter(move |field| {
                // Nodes that were lost are atoms of the payload, which is compared; without them, there is no field.
                let is_of_payload = matches!(field.kind, FieldKind::LostBy | FieldKind::LostNode);
                field.kind.part() == part && field.kind != FieldKind::LatencyUs && !is_of_payload
            });
            let texts = fields.map(|field| format!("{} {}", field.kind.name(), field.text()));
            texts.collect::<Vec<_>>().join(" ")
        };
        let kept = message.payload.map_or(0, |it| it.term.bytes().len() as u64);
        self.messages.push(Reported {
            place,
            frame: meta.packet.frame.number,
            fragments: meta.fragments,
            text: format!("{} {}", meta.operation_name(), fields(MessagePart::Signal)),
            payload: message
                .payload
                .map_or_else(String::new, |it| it.erlang(PrintLimits::ALL).to_string()),
            is_cut: kept < meta.payload_bytes.unwrap_or(0),
            call: format!("{:?} {}", meta.call, fields(MessagePart::Call)),
        });
    }
}

/// What of an account is about times and packets.
const TIMES: [&str; 7] =
    ["at", "longest_silence", "median_us", "oldest_unanswered", "p99_us", "slowest", "tick_time_s"];

fn without_times(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for key in TIMES {
                fields.remove(key);
            }
            let inside =
                |(key, value): (&String, &Value)| (key.clone(), without_times(value.clone()));
            Value::Object(fields.iter().map(inside).collect())
        }
        Value::Array(values) => values.drain(..).map(without_times).collect(),
        _ => value,
    }
}

/// Whether `text` is `whole`, where `#3` replaces any atom.
fn fits(text: &str, whole: &str) -> bool {
    behind(text, whole) == Some("")
}

/// Whether it is the front of it.
fn fits_front(text: &str, whole: &str) -> bool {
    behind(text, whole).is_some()
}

/// What `whole` has behind `text`.
fn behind<'a>(text: &str, whole: &'a str) -> Option<&'a str> {
    let mut parts = text.split('#');
    let mut behind = whole.strip_prefix(parts.next()?)?;
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        // `#Ref<` and `#{`; or a `#3` that the other has too.
        let same = behind.strip_prefix('#').and_then(|it| it.strip_prefix(part));
        let is_unknown = rest.len() < part.len();
        let any = || atom_at(behind).filter(|_| is_unknown)?.strip_prefix(rest);
        behind = same.or_else(any)?;
    }
    Some(behind)
}

/// What is behind the atom at the front.
fn atom_at(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let mut escaped = false;
        let end = quoted.find(|c| {
            let ends = c == '\'' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        return quoted.get(end + 1..);
    }
    // Names of functions and registered names are without quotes.
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || "_@$".contains(c))).unwrap_or(text.len());
    text.get(end..)
}

#[test]
fn unknown_atoms_fit_any_and_nothing_else_does() {
    assert!(fits("{#3,#Ref<#0.1>,#{a=>#1}}", "{'a b',#Ref<a@b.1>,#{a=>ok}}"));
    assert!(fits("#Ref<a.1>", "#Ref<a.1>"));
    for (text, whole) in
        [("{a,#1}", "{b,c}"), ("{#1,b}", "{a,c}"), ("{#1}", "{a,b}"), ("{a}", "{#1}")]
    {
        assert!(!fits(text, whole), "{text} {whole}");
    }
}

/// Where frames begin, by the lengths in the stream.
struct Starts {
    /// By sender and receiver: the sequence numbers at which one begins.
    of: HashMap<(Endpoint, Endpoint), HashSet<u32>>,
}

/// Where messages are found again.
struct Again {
    frame: u64,
    frames_of_sender: HashSet<u64>,
}

impl Starts {
    fn of(segments: &[Owned]) -> Self {
        let mut of: HashMap<(Endpoint, Endpoint), HashSet<u32>> = HashMap::new();
        for syn in segments.iter().filter(|it| it.flags.has(TcpFlags::SYN)) {
            let ends = (syn.src, syn.dst);
            // The first of two connections of the same ends is enough here.
            if of.contains_key(&ends) {
                continue;
            }
            let mut stream = BTreeMap::new();
            for segment in segments.iter().filter(|it| (it.src, it.dst) == ends) {
                let offset = segment.seq.wrapping_sub(syn.seq).wrapping_sub(1);
                if !segment.flags.has(TcpFlags::SYN) && offset < 1 << 30 {
                    for (at, byte) in (offset..).zip(&segment.payload) {
                        stream.entry(at).or_insert(*byte);
                    }
                }
            }
            // Up to the first hole.
            let bytes: Vec<u8> = (0..)
                .zip(&stream)
                .take_while(|(at, (key, _))| at == *key)
                .map(|(_, (_, it))| *it)
                .collect();
            let starts = frame_starts(&bytes).into_iter();
            of.insert(ends, starts.map(|at| syn.seq.wrapping_add(1 + at as u32)).collect());
        }
        Self { of }
    }

    /// The next packet behind the lost one, from the same sender, that begins with a frame.
    fn next_behind(&self, segments: &[Owned], lost: usize) -> Option<Again> {
        let lost_segment = &segments[lost];
        let ends = (lost_segment.src, lost_segment.dst);
        let starts = self.of.get(&ends)?;
        let first = starts.iter().min_by_key(|at| at.wrapping_sub(lost_segment.seq) as i32)?;
        let is_in_frames = (lost_segment.seq.wrapping_sub(*first) as i32) >= 0;
        if lost_segment.payload.is_empty() || !is_in_frames {
            return None;
        }
        let behind = || segments[lost + 1..].iter().filter(|it| (it.src, it.dst) == ends);
        let is_new_connection = |it: &Owned| it.flags.has(TcpFlags::SYN);
        let until =
            behind().find(|it| is_new_connection(it)).map_or(u64::MAX, |it| it.frame.number);
        // Ticks alone are no frame to go on at, and what is far behind comes in order.
        let frame = behind()
            .filter(|it| it.payload.len() > 12 && it.payload[..4] != [0; 4])
            .find(|it| starts.contains(&it.seq))?;
        let later = behind().map(|it| it.frame.number).filter(|number| *number < until);
        Some(Again { frame: frame.frame.number, frames_of_sender: later.collect() })
    }
}

/// Offsets of the frames of a direction whose handshake is at its front.
fn frame_starts(bytes: &[u8]) -> Vec<usize> {
    let mut at = 0;
    loop {
        let Some(len) = bytes.get(at..at + 2) else { return Vec::new() };
        let tag = bytes.get(at + 2);
        let ends = matches!(tag, Some(b'r' | b'a'));
        if !ends && !matches!(tag, Some(b'N' | b'n' | b's' | b'c')) {
            return Vec::new();
        }
        at += 2 + usize::from(u16::from_be_bytes(len.try_into().unwrap()));
        if ends {
            break;
        }
    }
    let mut starts = Vec::new();
    while let Some(len) = bytes.get(at..at + 4) {
        starts.push(at);
        at += 4 + u32::from_be_bytes(len.try_into().unwrap()) as usize;
    }
    starts
}

// --- Frames as no node sends them --------------------------------------------------------------------

/// A connection between two nodes, from its handshake on.
struct Wire {
    segments: Vec<Owned>,
    ends: [Endpoint; 2],
    seq: [u32; 2],
}

impl Wire {
    fn new(port: u16) -> Self {
        let end = |host, port| Endpoint { ip: IpAddr::from([10, 0, 0, host]), port };
        let mut wire =
            Self { segments: Vec::new(), ends: [end(1, port), end(2, 9100)], seq: [0, 0] };
        wire.segment(Role::Initiator, TcpFlags::SYN.0, &[]);
        wire.segment(Role::Acceptor, TcpFlags::SYN.0 | TcpFlags::ACK.0, &[]);
        let hello = |extra: &[u8], name: &[u8]| {
            let flags = 0x0d_07df_7fbd_u64.to_be_bytes();
            let body = [&b"N"[..], &flags, extra, &[0, name.len() as u8], name].concat();
            [&[0, body.len() as u8][..], &body].concat()
        };
        wire.send(Role::Initiator, &hello(&[0, 0, 0, 1], b"a@h"));
        wire.send(Role::Acceptor, b"\0\x03sok");
        wire.send(Role::Acceptor, &hello(&[0, 0, 0, 7, 0, 0, 0, 1], b"b@h"));
        wire.send(Role::Initiator, &[&b"\0\x15r"[..], &[1; 20]].concat());
        wire.send(Role::Acceptor, &[&b"\0\x11a"[..], &[1; 16]].concat());
        wire
    }

    fn send(&mut self, from: Role, bytes: &[u8]) {
        self.segment(from, TcpFlags::ACK.0, bytes);
    }

    fn send_in_pieces(&mut self, from: Role, bytes: &[u8], size: usize) {
        bytes.chunks(size).for_each(|piece| self.send(from, piece));
    }

    fn segment(&mut self, from: Role, flags: u8, bytes: &[u8]) {
        let number = self.segments.len() as u64 + 1;
        let (own, peer) = (from.index(), from.peer().index());
        self.segments.push(Owned {
            frame: FrameRef { input: 0, number },
            at: Timestamp::new(1000, number * 1000),
            src: self.ends[own],
            dst: self.ends[peer],
            seq: self.seq[own],
            ack: self.seq[peer],
            flags: TcpFlags(flags),
            ip_id: None,
            ttl: 64,
            ip_header: Vec::new(),
            header: Vec::new(),
            payload: bytes.to_vec(),
            missing: 0,
        });
        let syn = u32::from(flags & TcpFlags::SYN.0 != 0);
        self.seq[own] = self.seq[own].wrapping_add(bytes.len() as u32 + syn);
    }

    fn observed(&self) -> Observed {
        observed(&self.segments, Limits::default())
    }
}

fn observed(segments: &[Owned], limits: Limits) -> Observed {
    let messages = MessageDetail::Payloads;
    Observed::with(Config { limits, messages, ..Config::default() }, segments)
}

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// `LINK` without references.
const LINK: &[u8] = b"\x83D\0h\x03a\x01X\x77\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x01X\x77\x03b@h\0\0\0\x02\0\0\0\0\0\0\0\x01";

/// The front of `SEND_SENDER` without references; what it carries is behind.
const SEND: &[u8] = b"\x83D\0h\x03a\x16X\x77\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x01X\x77\x03b@h\0\0\0\x02\0\0\0\0\0\0\0\x01";

/// A header with as many new entries, each with an atom of `len` bytes that begins with its number; from
/// slot `first` on.
fn long_header(count: u8, first: usize, len: usize) -> Vec<u8> {
    let count_of = usize::from(count);
    let mut nibbles = vec![0_u8; count_of / 2 + 1];
    let mut entries = Vec::new();
    for index in 0..count_of {
        let slot = first + index;
        nibbles[index / 2] |= (8 | (slot >> 8) as u8) << (index % 2 * 4);
        entries.push(slot as u8);
        entries.extend((len as u16).to_be_bytes());
        let name = format!("s{slot}_");
        entries.extend(name.bytes().chain(std::iter::repeat(b'x')).take(len));
    }
    nibbles[count_of / 2] |= 1 << (count_of % 2 * 4);
    [&[131, 68, count][..], &nibbles, &entries].concat()
}

#[test]
fn a_header_of_255_long_atoms_is_read_byte_by_byte() {
    let mut wire = Wire::new(40_000);
    // REG_SEND from a pid to the last of them.
    let pid = b"X\x77\x03a@h\0\0\0\x01\0\0\0\0\0\0\0\x01";
    let control = [&b"h\x04a\x06"[..], pid, b"\x77\0R\xfe"].concat();
    let frame = frame(&[&long_header(255, 0, 1020), &control, b"h\x02R\0R\x07"]);
    assert!(frame.len() > 260_000);
    wire.send_in_pieces(Role::Initiator, &frame, 1);
    wire.send(Role::Initiator, &self::frame(&[LINK]));
    let observed = wire.observed();
    let texts: Vec<_> = observed.messages.iter().map(|it| it.text.as_str()).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("to_name s254_xxx"), "{}", &texts[0][..200]);
    let payload = &observed.messages[0].payload;
    assert!(payload.contains("{s0_xxx") && payload.contains("s7_xxx"));
    assert!(texts[1].contains("LINK"));
}

#[test]
fn atom_caches_are_bounded_and_the_bound_is_reported() {
    let limits = Limits { messages: 4 << 20, ..Limits::default() };
    let mut segments = Vec::new();
    for port in 0..40 {
        let mut wire = Wire::new(30_000 + port);
        for eighth in 0..8 {
            let header = long_header(255, eighth * 255, 1020);
            wire.send(Role::Initiator, &frame(&[&header, &LINK[3..]]));
        }
        segments.append(&mut wire.segments);
    }
    for (number, segment) in (1..).zip(&mut segments) {
        segment.frame.number = number;
    }
    let observed = observed(&segments, limits);
    // None of these messages needs an atom from the cache.
    assert_eq!(observed.messages.len(), 320);
    assert_eq!(observed.limits, 1, "told once");
}

#[test]
fn depth_and_counts_beyond_any_bound_are_reported_as_they_are() {
    let deep = [104_u8, 1].repeat(60_000);
    let lists = [108_u8, 0, 0, 0, 1].repeat(20_000);
    let payloads: [&[u8]; 12] = [
        &deep,
        &lists,
        b"l\xff\xff\xff\xffa\x01",
        b"i\xff\xff\xff\xffa\x01",
        b"t\xff\xff\xff\xffa\x01",
        b"m\xff\xff\xff\xff",
        b"o\xff\xff\xff\xff\0\x01",
        b"p\xff\xff\xff\xff\x01",
        b"Z\xff\xffw\x01a\0\0\0\0",
        b"k\xff\xffabc",
        b"R\xff",
        b"\x00\x01\x02",
    ];
    for payload in payloads {
        for size in [usize::MAX, 1000, 7] {
            let mut wire = Wire::new(40_000);
            wire.send_in_pieces(Role::Initiator, &frame(&[SEND, payload]), size);
            wire.send(Role::Initiator, &frame(&[LINK]));
            let observed = wire.observed();
            assert_eq!(observed.messages.len(), 2, "{:02x?}", &payload[..payload.len().min(12)]);
        }
    }
}

#[test]
fn control_terms_beyond_any_bound_are_refused_and_the_rest_is_read() {
    let deep = [104_u8, 1].repeat(60_000);
    let controls: [&[u8]; 8] = [
        &[b"\x83D\0h\x04a\x03", &deep[..]].concat(),
        b"\x83D\0h\x03a\x01i\xff\xff\xff\xff",
        b"\x83D\0i\0\0\0\x03a\x01a\x01a\x02",
        b"\x83D\0h\x03a\x05a\x01a\x01",
        b"\x83D\0h\xffa\x01",
        b"\x83D\xff",
        b"\x83D\x02\0\0",
        b"p\x83",
    ];
    for control in controls {
        let mut wire = Wire::new(40_000);
        wire.send(Role::Initiator, &frame(&[control]));
        wire.send(Role::Initiator, &frame(&[LINK]));
        let observed = wire.observed();
        assert_eq!(observed.messages.len(), 1, "{:02x?}", &control[..control.len().min(12)]);
        assert!(observed.messages[0].text.contains("LINK"));
    }
}

#[test]
fn fragments_of_many_messages_without_end_cost_what_a_few_cost() {
    let mut wire = Wire::new(40_000);
    let first = |sequence: u64, left: u64| {
        let ids = [sequence.to_be_bytes(), left.to_be_bytes()].concat();
        frame(&[b"\x83E", &ids, &SEND[2..], b"m\0\x10\0\0xxxx"])
    };
    let next = |sequence: u64, left: u64| {
        let ids = [sequence.to_be_bytes(), left.to_be_bytes()].concat();
        frame(&[b"\x83F", &ids, b"xxxxxxxx"])
    };
    for sequence in 1..=5000 {
        wire.send(Role::Initiator, &first(sequence, 1 << 20));
    }
    for sequence in 1..=5000 {
        wire.send(Role::Initiator, &next(sequence, (1 << 20) - 1));
    }
    wire.send(Role::Initiator, &[first(7, 2), first(9, 2), next(9, 1), next(7, 1)].concat());
    let observed = wire.observed();
    assert_eq!(observed.messages.len(), 2);
    let account = &observed.sessions.values().next().unwrap()["messages"]["initiator"];
    assert_eq!(account["fragmented"], 5002);
    assert_eq!(account["unfinished"], 5000);
}

#[test]
fn zeros_behind_a_lost_packet_are_no_ticks_and_the_next_message_is_found() {
    let mut wire = Wire::new(40_000);
    let zeros = [&b"m\0\0\xea\x60"[..], &[0; 60_000]].concat();
    wire.send_in_pieces(Role::Initiator, &frame(&[SEND, &zeros]).repeat(2), 1448);
    wire.send(Role::Initiator, &frame(&[LINK]));
    let whole = wire.observed();
    assert_eq!(whole.messages.len(), 3);
    // The packet with the end of the first.
    wire.segments.remove(7 + 60_050 / 1448);
    let observed = wire.observed();
    assert_eq!(
        observed.messages.last().map(|it| &it.text),
        whole.messages.last().map(|it| &it.text)
    );
    assert_eq!(observed.sessions.values().next().unwrap()["traffic"]["initiator"]["ticks"], 0);
}

#[test]
fn damaged_frames_of_whole_captures_neither_panic_nor_keep_the_run_from_its_end() {
    check_all(|scene, _| {
        let mut dice = Dice(5);
        for _ in 0..DAMAGES {
            let mut segments = scene.segments.clone();
            for segment in segments.iter_mut().filter(|it| it.payload.len() > 30) {
                for _ in 0..dice.roll(3) {
                    let at = dice.roll(segment.payload.len().min(400));
                    segment.payload[at] = match dice.roll(3) {
                        0 => 0xff,
                        1 => dice.roll(256) as u8,
                        _ => segment.payload[at].wrapping_add(1),
                    };
                }
            }
            Observed::of(scene, &segments);
        }
        Vec::new()
    });
}

/// Times that each capture is damaged.
const DAMAGES: usize = 10;
