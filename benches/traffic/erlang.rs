//! What two nodes send: a look-up at the port mapper, then a distribution connection.
//!
//! Spec: *Distribution Protocol*; *External Term Format*.

use std::collections::VecDeque;

use super::{ACK, DATA, Link, MSS, Random};

/// How long messages are.
#[derive(Clone, Copy)]
pub(super) enum Sizes {
    Mixed,
    Small,
}

/// A node that dials another.
pub(super) struct Node {
    number: u32,
    /// The IPv4 addresses of both.
    hosts: [[u8; 4]; 2],
    /// The alive names of both.
    alive: [String; 2],
    port: u16,
    /// Bytes that it and its peer will still send.
    left: u64,
    sizes: Sizes,
    /// Whether the node that dials sends the challenge of the other one as its own.
    is_echo: bool,
    /// How many of a thousand segments overtake their neighbour, and as many come twice.
    disorder: usize,
    stage: Stage,
    /// Whether frames have a distribution header.
    has_header: bool,
    /// Whether the atoms of each direction were sent.
    reported: [bool; 2],
    sequence: u64,
}

#[derive(Clone, Copy)]
enum Stage {
    LookUp,
    Handshake,
    Messages,
    Close,
    Over,
}

impl Node {
    pub(super) fn new(number: u32, left: u64, sizes: Sizes, disorder: usize) -> Self {
        let [.., high, low] = number.to_be_bytes();
        Self {
            number,
            hosts: [[10, 9, high, low], [10, 10, high, low]],
            alive: [format!("cli{number}"), format!("srv{number}")],
            port: 40_000 + (number % 20_000) as u16,
            left,
            is_echo: true,
            sizes,
            disorder,
            stage: Stage::LookUp,
            has_header: number % 2 == 1,
            reported: [false; 2],
            sequence: 0,
        }
    }

    /// One of a cluster, which sends some messages to another one; `ends` are the numbers of both, and `hosts` those of
    /// their hosts.
    pub(super) fn in_cluster(number: u32, ends: [usize; 2], hosts: [usize; 2]) -> Self {
        let hosts = hosts.map(|host| {
            let [.., high, low] = (host as u32).to_be_bytes();
            [10, 9, high, low]
        });
        let (alive, port) = (ends.map(|end| format!("n{end}")), 40_000 + ends[1] as u16);
        Self { hosts, alive, port, is_echo: false, ..Self::new(number, 3000, Sizes::Small, 0) }
    }

    pub(super) const fn hosts(&self) -> [[u8; 4]; 2] {
        self.hosts
    }

    fn name(&self, side: usize) -> String {
        let [a, b, c, d] = self.hosts[side];
        format!("{}@{a}.{b}.{c}.{d}", self.alive[side])
    }

    /// Sends the next message; false when there is none left.
    pub(super) fn go_on(
        &mut self,
        link: &mut Link,
        ready: &mut VecDeque<Vec<u8>>,
        random: &mut Random,
        pool: &[u8],
    ) -> bool {
        self.stage = match self.stage {
            Stage::LookUp => {
                self.look_up(link, ready);
                Stage::Handshake
            }
            Stage::Handshake => {
                link.redial(self.port, random);
                self.shake_hands(link, ready, random);
                Stage::Messages
            }
            Stage::Messages => {
                self.send(link, ready, random, pool);
                if self.left == 0 { Stage::Close } else { Stage::Messages }
            }
            Stage::Close => {
                link.close(ready);
                Stage::Over
            }
            Stage::Over => return false,
        };
        true
    }

    fn look_up(&self, link: &mut Link, ready: &mut VecDeque<Vec<u8>>) {
        let alive = &self.alive[1];
        link.open(ready);
        let request = [&[0x7a], alive.as_bytes()].concat();
        ready.push_back(link.frame(0, &sized(&request), DATA));
        let mut answer = vec![0x77, 0];
        answer.extend(self.port.to_be_bytes());
        answer.extend([77, 0, 0, 6, 0, 5]);
        answer.extend(sized(alive.as_bytes()));
        answer.extend([0, 0]);
        ready.push_back(link.frame(1, &answer, DATA));
        link.close(ready);
    }

    fn shake_hands(&self, link: &mut Link, ready: &mut VecDeque<Vec<u8>>, random: &mut Random) {
        let flags: u64 = if self.has_header { 0xd_07df_7fbd | 0x2000 } else { 0xd_07df_5fbd };
        let (name, peer) = (self.name(0), self.name(1));
        let challenge = (random.next() as u32).to_be_bytes();
        let digest = [random.next().to_be_bytes(), random.next().to_be_bytes()].concat();
        let creation = 1_700_000_000_u32.to_be_bytes();
        let hello = [b"N", &flags.to_be_bytes()[..], &creation, &sized(name.as_bytes())].concat();
        let answer =
            [b"N", &flags.to_be_bytes()[..], &challenge, &creation, &sized(peer.as_bytes())];
        let own = if self.is_echo { challenge } else { challenge.map(|byte| !byte) };
        let reply = [b"r", &own[..], &digest].concat();
        let ack = [b"a", &digest[..]].concat();
        link.open(ready);
        for (from, message) in
            [(0, &hello[..]), (1, b"sok"), (1, &answer.concat()), (0, &reply), (1, &ack)]
        {
            ready.push_back(link.frame(from, &sized(message), DATA));
        }
    }

    /// Some messages in one direction.
    fn send(
        &mut self,
        link: &mut Link,
        ready: &mut VecDeque<Vec<u8>>,
        random: &mut Random,
        pool: &[u8],
    ) {
        let from = usize::from(random.percent(40));
        let mut bytes = Vec::new();
        for _ in 0..[1, 1, 1, 2, 4, 12][random.below(6)] {
            self.message(from, &mut bytes, random, pool);
        }
        self.left = self.left.saturating_sub(bytes.len() as u64);
        let mut held = None;
        for (n, part) in bytes.chunks(MSS).enumerate() {
            let frame = link.frame(from, part, if part.len() < MSS { DATA } else { ACK });
            let chance = random.below(1000);
            if held.is_none() && chance < self.disorder && part.len() == MSS {
                held = Some(frame);
                continue;
            }
            if chance >= 1000 - self.disorder {
                ready.push_back(frame.clone());
            }
            ready.push_back(frame);
            ready.extend(held.take());
            if n % 2 == 1 {
                ready.push_back(link.frame(1 - from, &[], ACK));
            }
        }
        ready.extend(held);
        ready.push_back(link.frame(1 - from, &[], ACK));
    }

    fn len(&self, random: &mut Random) -> usize {
        match (self.sizes, random.below(1000)) {
            (Sizes::Small, _) => 8 + random.below(112),
            (_, 0..700) => 16 + random.below(234),
            (_, 700..960) => 250 + random.below(3750),
            (_, 960..998) => 4000 + random.below(26_000),
            _ => 70_000 + random.below(130_000),
        }
    }

    fn message(&mut self, from: usize, out: &mut Vec<u8>, random: &mut Random, pool: &[u8]) {
        let kind = random.below(100);
        if kind >= 95 {
            return out.extend([0; 4]);
        }
        let len = self.len(random);
        let value = [b"m", &(len as u32).to_be_bytes()[..], random.cut(pool, len)].concat();
        let names = [self.name(from), self.name(1 - from)];
        let [me, peer, kv, call, put] =
            [&*names[0], &*names[1], "kv_store", "$gen_call", "put"].map(str::to_owned);
        let atoms = [me, kv, call, put, peer];
        let has_header = self.has_header;
        // An atom itself, or a reference to its place in the header.
        let atom = |place: usize| match has_header {
            true => vec![b'R', place as u8],
            false => text(&atoms[place]),
        };
        let number = |n: usize| (n as u32).to_be_bytes();
        let tail = [number(0), number(1_700_000_000)].concat();
        let pid = |place, n| [b"X", &atom(place)[..], &number(n), &tail].concat();
        let words = [number(1_700_000_000), number(random.below(1 << 18)), number(77), number(99)];
        let reference = [b"Z\0\x03", &atom(0)[..], &words.concat()].concat();
        let (process, other) = (80 + random.below(5000), 80 + random.below(5000));
        let (control, message) = if kind < 60 {
            let put =
                [b"h\x03", &atom(3)[..], b"b", &number(random.below(1 << 31)), &value].concat();
            let from = [b"h\x02", &pid(0, process)[..], &reference].concat();
            (
                [b"h\x04a\x06", &pid(0, process)[..], &text(""), &atom(1)].concat(),
                [b"h\x03", &atom(2)[..], &from, &put].concat(),
            )
        } else {
            (
                [b"h\x03a\x02", &text("")[..], &pid(4, other)].concat(),
                [b"h\x02", &reference[..], &value].concat(),
            )
        };
        if !has_header {
            return framed(out, &[b"p\x83", &control, b"\x83", &message]);
        }
        let header = self.header(from, &atoms);
        if message.len() <= FRAGMENT {
            return framed(out, &[b"\x83D", &header, &control, &message]);
        }
        self.sequence += 1;
        let all = [control, message].concat();
        let count = all.chunks(FRAGMENT).count() as u64;
        for (n, part) in all.chunks(FRAGMENT).enumerate() {
            let ids = [self.sequence.to_be_bytes(), (count - n as u64).to_be_bytes()].concat();
            let header: &[u8] = if n == 0 { &header } else { &[] };
            framed(out, &[if n == 0 { b"\x83E" } else { b"\x83F" }, &ids, header, part]);
        }
    }

    /// References to all `atoms`, which go along the first time.
    fn header(&mut self, from: usize, atoms: &[String; 5]) -> Vec<u8> {
        let known = std::mem::replace(&mut self.reported[from], true);
        let nibbles: &[u8] = if known { &[0, 0, 0] } else { &[0x88, 0x88, 0x08] };
        let mut header = vec![atoms.len() as u8];
        header.extend(nibbles);
        for (place, atom) in atoms.iter().enumerate() {
            header.push(place as u8);
            if !known {
                header.push(atom.len() as u8);
                header.extend(atom.as_bytes());
            }
        }
        header
    }
}

/// Where OTP cuts messages.
const FRAGMENT: usize = 65_536;

fn text(atom: &str) -> Vec<u8> {
    [&[b'w', atom.len() as u8], atom.as_bytes()].concat()
}

fn sized(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn framed(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.extend((len as u32).to_be_bytes());
    parts.iter().for_each(|part| out.extend(*part));
}
