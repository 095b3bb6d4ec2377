//! Connections: two streams in segments, through the whole engine.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use beamscope::decode::{Endpoint, Segment, TcpFlags};
use beamscope::engine::{Config, Engine};
use beamscope::flow::FlowKey;
use beamscope::observe::EpmdOutcome;
use beamscope::packet::FrameRef;
use beamscope::protocol::MessageDetail;
use beamscope::record::{Body, Event};
use beamscope::time::Timestamp;
use beamscope::wire::header::FrameKind;
use beamscope::wire::{self, decode};

/// What one side sends next. In the input: a byte whose lowest bit is the side, the length in two bytes, and the bytes.
#[derive(Clone, Debug)]
struct Turn<'a> {
    by_acceptor: bool,
    bytes: &'a [u8],
}

const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const ACK: u8 = 0x10;

/// A connection into which bytes are sent in order.
struct Link {
    engine: Engine<Vec<Event>>,
    ends: [Endpoint; 2],
    seq: [u32; 2],
    number: u64,
    at: Timestamp,
    /// Time from one segment to the next.
    pace: Duration,
}

impl Link {
    fn open(port: u16, config: Config) -> Self {
        let end = |host, port| Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port };
        let mut link = Self {
            engine: Engine::new(config, Vec::new()),
            ends: [end(1, 40_000), end(2, port)],
            seq: [u32::MAX - 5, 5_000],
            number: 0,
            at: Timestamp::new(1_000, 0),
            pace: Duration::from_micros(1),
        };
        link.send(0, SYN, &[]);
        link.send(1, SYN | ACK, &[]);
        link.send(0, ACK, &[]);
        link
    }

    fn send(&mut self, side: usize, flags: u8, payload: &[u8]) {
        self.number += 1;
        self.at = self.at.after(self.pace);
        let (flow, direction) = FlowKey::new(self.ends[side], self.ends[1 - side]);
        self.engine.push_segment(&Segment {
            frame: FrameRef { input: 0, number: self.number },
            at: self.at,
            flow,
            direction,
            seq: self.seq[side],
            ack: if flags & ACK == 0 { 0 } else { self.seq[1 - side] },
            flags: TcpFlags(flags),
            window: 64_000,
            ip_id: None,
            ttl: 64,
            ip_header: &[],
            header: &[],
            payload,
            missing: 0,
            layers: &[],
        });
        let control = u32::from(flags & (SYN | FIN) != 0);
        self.seq[side] = self.seq[side].wrapping_add(payload.len() as u32 + control);
    }

    fn take(&mut self, turns: &[Turn<'_>]) {
        for turn in turns.iter().filter(|turn| !turn.bytes.is_empty()) {
            self.send(usize::from(turn.by_acceptor), ACK, turn.bytes);
        }
    }

    fn close(mut self) -> Vec<Event> {
        self.send(0, FIN | ACK, &[]);
        self.send(1, FIN | ACK, &[]);
        self.engine.finish()
    }
}

fn config() -> Config {
    Config {
        dist_ports: vec![9100..=9100],
        messages: MessageDetail::Payloads,
        include_secrets: true,
        ..Config::default()
    }
}

fn turns(mut data: &[u8]) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    while let Some(([side, high, low], rest)) = data.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (bytes, later) = rest.split_at(len);
        turns.push(Turn { by_acceptor: side & 1 == 1, bytes });
        data = later;
    }
    turns
}

/// Requests to EPMD and its replies, as single messages and on a connection.
pub fn epmd(data: &[u8]) {
    let _ = decode(data, wire::epmd::request).map(|request| request.tag());
    let _ = decode(data, wire::epmd::alive2_resp);
    let _ = decode(data, wire::epmd::port2_resp);
    if let Ok(listing) = decode(data, wire::epmd::listing) {
        let names = listing.names().count() + listing.dump().count();
        assert!(names <= 2 * data.len() + 2);
    }
    let _ = (wire::framing::cut_alive2_resp(data), wire::framing::cut_port2_resp(data));
    let mut link = Link::open(4369, config());
    link.take(&turns(data));
    link.close();
}

/// Messages of the handshake, as single messages and on a connection.
pub fn handshake(data: &[u8]) {
    let _ = decode(data, wire::handshake::from_initiator);
    let _ = decode(data, wire::handshake::from_acceptor);
    let _ = wire::proxy::proxy_header(data);
    let mut link = Link::open(9100, config());
    link.take(&turns(data));
    link.close();
}

/// Distribution headers with an atom cache, fragments, and the messages behind them, once two nodes are connected.
pub fn header(data: &[u8]) {
    if let Ok((header, rest)) = wire::header::header(FrameKind::of(data), data) {
        assert!(rest.len() <= data.len());
        let slots = header.references.iter().map(|reference| usize::from(reference.slot));
        assert!(slots.max().unwrap_or(0) < wire::header::CACHE_SLOTS);
    }
    let _ = wire::header::credible_frame(data);
    let mut link = Link::open(9100, config());
    establish(&mut link);
    for turn in turns(data) {
        // Each turn is one frame, so that what is behind the length is what changes.
        let len = (turn.bytes.len() as u32).to_be_bytes();
        link.send(usize::from(turn.by_acceptor), ACK, &[&len[..], turn.bytes].concat());
    }
    link.close();
}

/// Records of TLS with their hellos, certificates and alerts; with secrets for the connection.
pub fn tls(data: &[u8]) {
    let _ = decode(data, wire::tls::client_hello);
    let _ = decode(data, wire::tls::server_hello);
    let _ = decode(data, wire::tls::alert);
    for is_tls13 in [false, true] {
        for certificate in wire::tls::certificates(data, is_tls13).take(8) {
            let _ = wire::x509::certificate(certificate);
        }
    }
    let _ = wire::x509::certificate(data);
    let mut link = Link::open(9100, config());
    link.engine.add_secrets(KEYS);
    link.take(&turns(data));
    link.close();
}

/// Secrets of a connection whose client sends a random of zeros.
const KEYS: &[u8] = b"CLIENT_RANDOM \
    0000000000000000000000000000000000000000000000000000000000000000 \
    00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000\n\
    SERVER_TRAFFIC_SECRET_0 \
    0000000000000000000000000000000000000000000000000000000000000000 \
    0000000000000000000000000000000000000000000000000000000000000000\n";

/// The same streams in other segments give the same sessions and handshake messages.
pub fn resegmented(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let Some((cuts, data)) = data.split_at_checked(16) else { return };
    let port = if kind & 1 == 0 { 9100 } else { 4369 };
    let turns = turns(data);
    let whole = story(port, turns.iter().map(|turn| vec![turn.clone()]));
    let mut cuts = cuts.iter().cycle();
    let parts = turns.iter().map(|turn| {
        let mut rest = turn.bytes;
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let len = usize::from(cuts.next().map_or(1, |cut| 1 + cut % 64)).min(rest.len());
            let (now, later) = rest.split_at(len);
            parts.push(Turn { by_acceptor: turn.by_acceptor, bytes: now });
            rest = later;
        }
        parts
    });
    let parts = story(port, parts.collect::<Vec<_>>().into_iter());
    if let (Some(whole), Some(parts)) = (whole, parts) {
        assert_eq!(whole, parts);
    }
}

/// The requests, handshake messages and sessions that streams in these segments show. `None` if there is something in them that
/// no node sends: behind it, messages are searched for at the beginning of each segment.
fn story<'a>(port: u16, turns: impl Iterator<Item = Vec<Turn<'a>>>) -> Option<Vec<String>> {
    let mut link = Link::open(port, config());
    link.pace = Duration::ZERO;
    for turns in turns {
        link.take(&turns);
    }
    let events = link.close();
    let mut lines = Vec::new();
    for event in &events {
        match &event.body {
            Body::Handshake { handshake } => {
                lines.push(format!("{handshake:?}"));
            }
            Body::Session { session } => {
                lines.push(format!(
                    "{:?} {:?} {:?}",
                    session.outcome, session.reached, session.close
                ));
            }
            Body::Anomaly { .. } => return None,
            // A node reads the bytes that are there: what follows a reply makes it malformed, or comes too late to count.
            Body::Epmd { epmd } if epmd.outcome == EpmdOutcome::Malformed => return None,
            Body::Epmd { epmd } => lines.push(format!("{:?} {:?}", epmd.request, epmd.outcome)),
            _ => {}
        }
    }
    Some(lines)
}

/// The handshake of two nodes of OTP 25.
fn establish(link: &mut Link) {
    link.send(0, ACK, &hello("a@h1", None));
    link.send(1, ACK, b"\0\x03sok");
    link.send(1, ACK, &hello("b@h2", Some(7)));
    link.send(0, ACK, &[b"\0\x15r".as_slice(), &[1; 20]].concat());
    link.send(1, ACK, &[b"\0\x11a".as_slice(), &[2; 16]].concat());
}

/// `send_name`, or with a number `challenge`, in the layout of OTP 23 and later.
fn hello(name: &str, challenge: Option<u32>) -> Vec<u8> {
    let mut body = vec![b'N'];
    body.extend(0xd_07df_7fbd_u64.to_be_bytes());
    body.extend(challenge.into_iter().flat_map(u32::to_be_bytes));
    body.extend(1_795_000_000_u32.to_be_bytes());
    body.extend((name.len() as u16).to_be_bytes());
    body.extend(name.as_bytes());
    [(body.len() as u16).to_be_bytes().as_slice(), &body].concat()
}
