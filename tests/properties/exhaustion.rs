//! Floods at the limits of the tables: what is reported about them, and the memory for them, stay bounded. Linear time is
//! tested where work can be counted, beside the code; times are in docs/performance.md.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use beamscope::decode::{Endpoint, Segment, TcpFlags};
use beamscope::engine::{Config, Engine};
use beamscope::flow::FlowKey;
use beamscope::limits::Limits;
use beamscope::packet::FrameRef;
use beamscope::record::{Body, Event, EventSink, State};
use beamscope::time::Timestamp;

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
