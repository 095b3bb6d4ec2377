//! Traffic to measure with: the same bytes for the same arguments, on every machine.
//!
//! In: a [`Kind`] and about how many bytes. Out: a capture in the classic format. Connections of random ends
//! come in random turns, some hundreds or thousands at a time. What is Erlang's is whole: a look-up at the port
//! mapper, a handshake, frames with and without distribution headers, long messages in fragments. The rest
//! only looks like what fills a network. Checksums are left out, as network cards see to it in real captures.

#![allow(dead_code, reason = "no user uses all of it")]
#![allow(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "not hostile")]

use std::collections::VecDeque;
use std::io::{self, Write};

mod erlang;

use erlang::{Node, Sizes};

/// What the traffic consists of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// 2 % Erlang among TLS, HTTP, and noise; IPv4 and IPv6, some tagged, TCP and UDP.
    Mixed,
    /// The same without Erlang.
    Noise,
    /// Distribution alone, messages of all sizes.
    Dist,
    /// Distribution alone, messages of about 150 bytes.
    DistSmall,
    /// Distribution alone; of the segments, 5 % overtake their neighbour and 5 % come twice.
    Disorder,
    /// One SYN a connection, and nothing else.
    Syn,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub(crate) const ALL: [Self; 6] =
        [Self::Mixed, Self::Noise, Self::Dist, Self::DistSmall, Self::Disorder, Self::Syn];

    /// Its name on command lines and in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Noise => "noise",
            Self::Dist => "dist",
            Self::DistSmall => "distsmall",
            Self::Disorder => "disorder",
            Self::Syn => "syn",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Writes about `bytes` of traffic as a capture to `out`, and prints the number of packets.
pub(crate) fn write(kind: Kind, bytes: u64, out: &mut impl Write) -> io::Result<u64> {
    write_header(out)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ kind.name().len() as u64);
    let pool: Vec<u8> = (0..POOL).map(|_| random.next() as u8).collect();
    let mut source = Source { kind, bytes, made: 0, flows: 0, erlang: 0 };
    let mut live: Vec<Flow> = Vec::new();
    let (mut packets, mut micros) = (0u64, 1_700_000_000_000_000u64);
    let active = if kind == Kind::Syn { 100 } else { 2000 };
    loop {
        while live.len() < active && !source.is_dry() {
            live.push(source.next(&mut random));
        }
        if live.is_empty() {
            return Ok(packets);
        }
        let turn = random.below(live.len());
        for _ in 0..=random.below(4) {
            let flow = &mut live[turn];
            let Some(frame) = flow.next(&mut random, &pool) else {
                live.swap_remove(turn);
                break;
            };
            micros += 100 + random.below(500) as u64;
            write_record(micros, &frame, out)?;
            source.made += 16 + frame.len() as u64;
            packets += 1;
        }
    }
}

/// Writes what the sensor on each host of a cluster sees of so many connections between its nodes, which look each other up
/// first: one capture for each of `outs`. A host has five nodes.
pub(crate) fn write_cluster(connections: u32, outs: &mut [impl Write]) -> io::Result<()> {
    outs.iter_mut().try_for_each(write_header)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pool: Vec<u8> = (0..POOL).map(|_| random.next() as u8).collect();
    let (mut live, mut made, mut micros) = (Vec::new(), 0, 1_700_000_000_000_000u64);
    loop {
        while live.len() < 100 && made < connections {
            made += 1;
            let from = random.below(outs.len());
            let hosts = [from, (from + 1 + random.below(outs.len() - 1)) % outs.len()];
            let ends = hosts.map(|host| host * NODES_OF_A_HOST + random.below(NODES_OF_A_HOST));
            let node = Node::in_cluster(made, ends, hosts);
            let flow = Flow::new(Link::to_epmd(&node, &mut random), Talk::Erlang(Box::new(node)));
            live.push((hosts, flow));
        }
        if live.is_empty() {
            return Ok(());
        }
        let turn = random.below(live.len());
        let (hosts, flow) = &mut live[turn];
        let Some(frame) = flow.next(&mut random, &pool) else {
            live.swap_remove(turn);
            continue;
        };
        micros += 100 + random.below(500) as u64;
        for host in *hosts {
            write_record(micros, &frame, &mut outs[host])?;
        }
    }
}

/// Nodes of each host of a cluster.
const NODES_OF_A_HOST: usize = 5;

fn write_header(out: &mut impl Write) -> io::Result<()> {
    let header: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 262_144, 1];
    header.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

fn write_record(micros: u64, frame: &[u8], out: &mut impl Write) -> io::Result<()> {
    let len = frame.len() as u32;
    for word in [(micros / 1_000_000) as u32, (micros % 1_000_000) as u32, len, len] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(frame)
}

/// A capture in memory.
pub(crate) fn capture(kind: Kind, bytes: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write(kind, bytes, &mut out).expect("memory does not fail");
    out
}

/// Random bytes that payloads are cut from.
const POOL: usize = 1 << 20;

/// Numbers that only look random (Marsaglia's xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize * bound) >> 32
    }

    fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    fn cut<'a>(&mut self, pool: &'a [u8], len: usize) -> &'a [u8] {
        let start = self.below(pool.len() - len);
        &pool[start..start + len]
    }
}

/// Where connections come from.
struct Source {
    kind: Kind,
    bytes: u64,
    made: u64,
    flows: u64,
    /// Distribution connections so far.
    erlang: u64,
}

impl Source {
    fn is_dry(&self) -> bool {
        match self.kind {
            Kind::Syn => self.flows * SYN_RECORD >= self.bytes,
            Kind::Mixed | Kind::Noise => self.made >= self.bytes,
            Kind::Dist | Kind::DistSmall | Kind::Disorder => self.erlang >= CONNECTIONS,
        }
    }

    fn next(&mut self, random: &mut Random) -> Flow {
        self.flows += 1;
        let each = self.bytes / CONNECTIONS;
        match self.kind {
            Kind::Syn => Flow::new(Link::random(random, false), Talk::Syn),
            Kind::Dist | Kind::DistSmall | Kind::Disorder => self.erlang(each, random),
            // Of the bytes so far, as many as are meant to be Erlang's.
            Kind::Mixed if self.made / 50 > self.erlang * self.share() => {
                self.erlang(self.share(), random)
            }
            Kind::Mixed | Kind::Noise => {
                let is_udp = random.percent(15);
                let long = if random.percent(10) { 60 } else { 4 };
                let left = random.below(2 * long) as u32;
                Flow::new(Link::random(random, is_udp), Talk::Noise { left, begun: false })
            }
        }
    }

    /// Bytes of one Erlang connection among other traffic: a fortieth of the 2 %.
    fn share(&self) -> u64 {
        (self.bytes / 50 / 40).max(20_000)
    }

    fn erlang(&mut self, bytes: u64, random: &mut Random) -> Flow {
        self.erlang += 1;
        let sizes = if self.kind == Kind::DistSmall { Sizes::Small } else { Sizes::Mixed };
        let disorder = if self.kind == Kind::Disorder { 50 } else { 1 };
        let node = Node::new(self.erlang as u32, bytes, sizes, disorder);
        Flow::new(Link::to_epmd(&node, random), Talk::Erlang(Box::new(node)))
    }
}

/// Distribution connections where there is nothing else.
const CONNECTIONS: u64 = 64;

/// Bytes of a SYN with its record header.
const SYN_RECORD: u64 = 76;

/// One connection at work.
struct Flow {
    link: Link,
    talk: Talk,
    ready: VecDeque<Vec<u8>>,
    is_over: bool,
}

enum Talk {
    Syn,
    Noise { left: u32, begun: bool },
    Erlang(Box<Node>),
}

impl Flow {
    fn new(link: Link, talk: Talk) -> Self {
        Self { link, talk, ready: VecDeque::new(), is_over: false }
    }

    fn next(&mut self, random: &mut Random, pool: &[u8]) -> Option<Vec<u8>> {
        while self.ready.is_empty() && !self.is_over {
            self.go_on(random, pool);
        }
        self.ready.pop_front()
    }

    fn go_on(&mut self, random: &mut Random, pool: &[u8]) {
        let Self { link, talk, ready, is_over } = self;
        match talk {
            Talk::Syn => {
                ready.push_back(link.frame(0, &[], SYN));
                *is_over = true;
            }
            Talk::Noise { left, begun: false } => {
                link.open(ready);
                let first: &[u8] = match random.below(3) {
                    0 => b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
                    1 => b"GET / HTTP/1.1\r\nHost: x\r\n",
                    _ => b"",
                };
                let request = [first, random.cut(pool, 300)].concat();
                ready.push_back(link.frame(0, &request, DATA));
                *talk = Talk::Noise { left: *left, begun: true };
            }
            Talk::Noise { left: 0, .. } => {
                link.close(ready);
                *is_over = true;
            }
            Talk::Noise { left, .. } => {
                *left -= 1;
                let len = match random.below(100) {
                    0..62 => MSS - 20,
                    62..85 => 1 + random.below(200),
                    _ => 200 + random.below(MSS - 220),
                };
                let from = usize::from(!random.percent(10));
                ready.push_back(link.frame(from, random.cut(pool, len), DATA));
                if *left % 2 == 1 && !link.is_udp {
                    ready.push_back(link.frame(1 - from, &[], ACK));
                }
            }
            Talk::Erlang(node) => *is_over = !node.go_on(link, ready, random, pool),
        }
    }
}

const FIN: u8 = 0x11;
const SYN: u8 = 0x02;
const DATA: u8 = 0x18;
const ACK: u8 = 0x10;

/// The most bytes of a segment.
const MSS: usize = 1448;

/// The ends of a connection, and what both have sent.
struct Link {
    is_udp: bool,
    is_v6: bool,
    vlan: Option<u16>,
    addresses: [[u8; 16]; 2],
    ports: [u16; 2],
    seq: [u32; 2],
    id: u16,
}

impl Link {
    fn random(random: &mut Random, is_udp: bool) -> Self {
        let dst = match random.below(10) {
            0..4 => 443,
            4..9 => [80, 8080, 5432, 6379, 9092][random.below(5)],
            _ => 1024 + random.below(31_000) as u16,
        };
        let mut addresses = [[0; 16]; 2];
        for address in &mut addresses {
            address[..8].copy_from_slice(&random.next().to_be_bytes());
            address[8..].copy_from_slice(&random.next().to_be_bytes());
            address[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        }
        Self {
            is_udp,
            is_v6: random.percent(10),
            vlan: random.percent(3).then(|| 1 + random.below(4000) as u16),
            addresses,
            ports: [32_768 + random.below(28_000) as u16, dst],
            seq: [random.next() as u32, random.next() as u32],
            id: 0,
        }
    }

    fn to_epmd(node: &Node, random: &mut Random) -> Self {
        let mut link = Self::random(random, false);
        (link.is_v6, link.vlan) = (false, None);
        for (address, last) in link.addresses.iter_mut().zip(node.hosts()) {
            address[12..].copy_from_slice(&last);
        }
        link.ports[1] = 4369;
        link
    }

    /// The same ends, a new connection to `port`.
    fn redial(&mut self, port: u16, random: &mut Random) {
        self.ports = [32_768 + random.below(28_000) as u16, port];
        self.seq = [random.next() as u32, random.next() as u32];
    }

    fn open(&mut self, ready: &mut VecDeque<Vec<u8>>) {
        if !self.is_udp {
            ready.push_back(self.frame(0, &[], SYN));
            ready.push_back(self.frame(1, &[], SYN | ACK));
            ready.push_back(self.frame(0, &[], ACK));
        }
    }

    fn close(&mut self, ready: &mut VecDeque<Vec<u8>>) {
        if !self.is_udp {
            ready.push_back(self.frame(0, &[], FIN));
            ready.push_back(self.frame(1, &[], FIN));
            ready.push_back(self.frame(0, &[], ACK));
        }
    }

    /// A frame with `payload` from one of the two ends, whose sequence number goes on.
    fn frame(&mut self, from: usize, payload: &[u8], flags: u8) -> Vec<u8> {
        let (to, len) = (1 - from, payload.len());
        let mut frame = Vec::with_capacity(100 + len);
        frame.extend([2, 0, 0, 0, 0, 2 - from as u8, 2, 0, 0, 0, 0, 1 + from as u8]);
        if let Some(vlan) = self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(vlan.to_be_bytes());
        }
        let options: &[u8] = if flags & SYN != 0 { &[2, 4, 5, 0xb4, 1, 3, 3, 7] } else { &[] };
        let header = if self.is_udp { 8 } else { 20 + options.len() };
        let protocol = if self.is_udp { 17 } else { 6 };
        self.id = self.id.wrapping_add(1);
        let (src, dst) = (self.addresses[from], self.addresses[to]);
        if self.is_v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(((header + len) as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(src);
            frame.extend(dst);
        } else {
            frame.extend([0x08, 0, 0x45, 0]);
            frame.extend(((20 + header + len) as u16).to_be_bytes());
            frame.extend(self.id.to_be_bytes());
            frame.extend([0x40, 0, 64, protocol, 0, 0]);
            frame.extend(&src[12..]);
            frame.extend(&dst[12..]);
        }
        frame.extend(self.ports[from].to_be_bytes());
        frame.extend(self.ports[to].to_be_bytes());
        if self.is_udp {
            frame.extend(((8 + len) as u16).to_be_bytes());
            frame.extend([0, 0]);
        } else {
            let ack = if flags & ACK != 0 { self.seq[to] } else { 0 };
            frame.extend(self.seq[from].to_be_bytes());
            frame.extend(ack.to_be_bytes());
            frame.extend([(header as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
            frame.extend(options);
            let counts = u32::from(flags & (SYN | FIN & !ACK) != 0);
            self.seq[from] = self.seq[from].wrapping_add(len as u32 + counts);
        }
        frame.extend(payload);
        frame.resize(frame.len().max(60), 0);
        frame
    }
}
