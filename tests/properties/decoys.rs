//! Packets that no receiver takes, put into whole captures: the sessions and findings are the same as without them.
//!
//! Each decoy is harmless: a packet of one of the two ends, as TCP's own rules let a receiver drop it, or one that the
//! rest of the capture contradicts.

use std::collections::BTreeSet;

use beamscope::decode::{ChecksumState, TcpFlags};

use crate::support::corpus;
use crate::support::packets::{Dice, Owned, load, renumbered};
use crate::support::story::{Story, difference, events, story};

/// A kind of decoy: made of a segment of the sender that comes next, and that the receiver takes.
struct Decoy {
    name: &'static str,
    make: fn(&Owned) -> Owned,
}

/// A segment without payload, from the sender of `next`.
fn bare(next: &Owned, flags: TcpFlags, seq: u32) -> Owned {
    let mut bare = Owned { flags, seq, payload: Vec::new(), missing: 0, ..next.clone() };
    bare.fill_header(true);
    bare
}

fn with_payload(next: &Owned, payload: &[u8]) -> Owned {
    let payload = payload.to_vec();
    let flags = TcpFlags(next.flags.0 & !TcpFlags::FIN.0);
    let mut decoy = Owned { flags, payload, missing: 0, ..next.clone() };
    decoy.fill_header(true);
    decoy
}

/// A handshake message that its receiver would believe: a status, or the last message of the acceptor.
const STATUS: &[u8] = b"\0\x04snok";
const ACK: &[u8] = b"\0\x11a0123456789abcdef";

const RST: TcpFlags = TcpFlags(0x04);
const RST_ACK: TcpFlags = TcpFlags(0x14);
const FIN_ACK: TcpFlags = TcpFlags(0x11);

const FIN: TcpFlags = TcpFlags(0x01);
const PSH: TcpFlags = TcpFlags(0x08);
const SYN_ACK: TcpFlags = TcpFlags(0x12);

/// The same segment, sent before others of its connection as its timestamp has it.
fn old(decoy: Owned, next: &Owned) -> Owned {
    let (value, repeated) = next.borrowed().timestamps().unwrap_or_default();
    decoy.stamped(value.wrapping_sub(OLDER), repeated)
}

/// Ticks of the clock of timestamps by which a decoy is older.
const OLDER: u32 = 100_000;

const DECOYS: [Decoy; 21] = [
    Decoy { name: "RST before the window", make: |next| bare(next, RST, next.seq.wrapping_sub(9)) },
    Decoy { name: "RST in the window", make: |next| bare(next, RST, next.seq.wrapping_add(9)) },
    Decoy {
        name: "RST and ACK in the window",
        make: |next| bare(next, RST_ACK, next.seq.wrapping_add(500)),
    },
    Decoy { name: "RST far off", make: |next| bare(next, RST, next.seq.wrapping_add(0x4000_0000)) },
    Decoy {
        name: "RST that does not arrive",
        make: |next| Owned { ttl: 2, ..bare(next, RST_ACK, next.seq) },
    },
    Decoy {
        name: "RST with a wrong checksum",
        make: |next| bare(next, RST_ACK, next.seq).damaged(),
    },
    Decoy {
        name: "SYN",
        make: |next| Owned { ack: 0, ..bare(next, TcpFlags::SYN, next.seq ^ 0x5a5a_5a5a) },
    },
    Decoy { name: "FIN in the window", make: |next| bare(next, FIN_ACK, next.seq.wrapping_add(7)) },
    Decoy {
        name: "FIN that does not arrive",
        make: |next| Owned { ttl: 2, ..bare(next, FIN_ACK, next.seq) },
    },
    Decoy {
        name: "status that does not arrive",
        make: |next| Owned { ttl: 2, ..with_payload(next, STATUS) },
    },
    Decoy { name: "ack with a wrong checksum", make: |next| with_payload(next, ACK).damaged() },
    Decoy {
        name: "RST with a wrong checksum of IPv4",
        make: |next| bare(next, RST_ACK, next.seq).damaged_in_ip(),
    },
    Decoy {
        name: "ack with a wrong checksum of IPv4",
        make: |next| with_payload(next, ACK).damaged_in_ip(),
    },
    Decoy {
        name: "status with an old timestamp",
        make: |next| old(with_payload(next, STATUS), next),
    },
    Decoy { name: "ack with an old timestamp", make: |next| old(with_payload(next, ACK), next) },
    Decoy {
        name: "FIN with an old timestamp",
        make: |next| old(bare(next, FIN_ACK, next.seq), next),
    },
    Decoy {
        name: "ack that does not arrive",
        make: |next| Owned { ttl: 2, ..with_payload(next, ACK) },
    },
    Decoy {
        name: "bytes beyond the window",
        make: |next| Owned { seq: next.seq.wrapping_add(0x0400_0000), ..with_payload(next, ACK) },
    },
    Decoy {
        name: "FIN without an acknowledgement",
        make: |next| Owned { ack: 0, ..bare(next, FIN, next.seq) },
    },
    Decoy {
        name: "bytes without an acknowledgement",
        make: |next| {
            let mut decoy = Owned { ack: 0, flags: PSH, ..with_payload(next, STATUS) };
            decoy.fill_header(true);
            decoy
        },
    },
    Decoy {
        name: "SYN-ACK that acknowledges another SYN",
        make: |next| {
            let ack = next.ack ^ 0x5a5a_5a5a;
            Owned { ack, ..bare(next, SYN_ACK, next.seq ^ 0x2a2a_2a2a) }
        },
    },
];

/// The places before which a decoy is put: before a segment of an end that still sends, and whose peer acknowledges
/// what it sent.
fn places(segments: &[Owned], dice: &mut Dice) -> Vec<usize> {
    let is_acknowledged = |place: &usize| {
        let next = &segments[*place];
        let end = next.seq.wrapping_add(next.payload.len() as u32);
        let moves = !next.payload.is_empty() || next.flags.has(TcpFlags::FIN);
        moves && !next.flags.has(TcpFlags::RST) && !next.flags.has(TcpFlags::SYN)
            && segments[*place + 1..].iter().any(|later| {
                (later.src, later.dst) == (next.dst, next.src)
                    && later.flags.has(TcpFlags::ACK)
                    && !later.flags.has(TcpFlags::RST)
                    && later.ack.wrapping_sub(end) < 0x8000_0000
                    && later.ack != next.seq
            })
            // A segment that was sent before is a decoy for what it repeats.
            && !segments[..*place].iter().any(|before| {
                (before.src, before.dst) == (next.src, next.dst) && before.seq == next.seq && !before.payload.is_empty()
            })
    };
    let mut all: Vec<usize> = (0..segments.len()).filter(is_acknowledged).collect();
    while all.len() > PLACES {
        all.remove(dice.roll(all.len()));
    }
    all
}

#[test]
fn packets_that_no_receiver_takes_change_no_verdict() {
    corpus::check_all(|path| {
        let scene = load(path);
        let plain = story(&events(&scene, &scene.segments));
        let mut wrong = Vec::new();
        for place in places(&scene.segments, &mut Dice(1)) {
            for decoy in &DECOYS {
                if !is_shown(decoy, &scene.segments, place) {
                    continue;
                }
                let mut segments = scene.segments.clone();
                segments.insert(place, (decoy.make)(&scene.segments[place]));
                let other = story(&events(&scene, &renumbered(segments)));
                if !is_same(&plain, &other) {
                    let next = place + 1;
                    wrong.push(format!(
                        "{} before segment {next}\n{}",
                        decoy.name,
                        difference(&plain, &other)
                    ));
                }
            }
        }
        wrong
    });
}

/// SYNs and SYN-ACKs beside a SYN that waits for its answer: made of that SYN.
const BESIDE: [Decoy; 3] = [
    Decoy { name: "another SYN", make: |syn| Owned { seq: syn.seq ^ 0x5a5a_5a5a, ..syn.clone() } },
    Decoy {
        name: "a SYN-ACK of the side that dials",
        make: |syn| bare(syn, SYN_ACK, syn.seq ^ 0x2a),
    },
    Decoy {
        name: "a SYN of the side that is dialed",
        make: |syn| Owned { src: syn.dst, dst: syn.src, seq: syn.seq ^ 0x77, ..syn.clone() },
    },
];

/// The places of SYNs whose answer comes next.
fn answered_syns(segments: &[Owned]) -> impl Iterator<Item = usize> {
    let is_answered = |place: &usize| {
        let (syn, next) = (&segments[*place], segments.get(*place + 1));
        syn.flags == TcpFlags::SYN
            && next.is_some_and(|next| {
                (next.src, next.dst) == (syn.dst, syn.src)
                    && next.flags.has(TcpFlags::ACK)
                    && next.ack == syn.seq.wrapping_add(1)
            })
    };
    (0..segments.len()).filter(is_answered).take(PLACES)
}

#[test]
fn a_syn_beside_one_that_waits_for_its_answer_changes_no_verdict() {
    corpus::check_all(|path| {
        let scene = load(path);
        let plain = story(&events(&scene, &scene.segments));
        let mut wrong = Vec::new();
        for place in answered_syns(&scene.segments) {
            for decoy in &BESIDE {
                let mut segments = scene.segments.clone();
                segments.insert(place + 1, (decoy.make)(&scene.segments[place]));
                let other = story(&events(&scene, &renumbered(segments)));
                if !is_same(&plain, &other) {
                    let difference = difference(&plain, &other);
                    wrong.push(format!("{} behind segment {place}\n{difference}", decoy.name));
                }
            }
        }
        wrong
    });
}

/// Whether what comes before that place shows that the receiver drops the decoy.
fn is_shown(decoy: &Decoy, segments: &[Owned], place: usize) -> bool {
    let (name, header) = (decoy.name, &segments[place].ip_header);
    (!name.contains("checksum") || shows_checksums(segments, place))
        // It is left to the network card, or IPv6 has none.
        && (!name.contains("IPv4") || header.get(10..12).is_some_and(|field| field != [0, 0]))
        && (!name.contains("timestamp") || shows_timestamps(segments, place))
}

/// Whether the receiver of the segment at that place has repeated a timestamp of its sender. That of a SYN is not kept.
fn shows_timestamps(segments: &[Owned], place: usize) -> bool {
    let next = &segments[place];
    let sent = segments[..place].iter().enumerate().filter(|(_, before)| {
        (before.src, before.dst) == (next.src, next.dst) && !before.payload.is_empty()
    });
    sent.filter_map(|(at, before)| Some((at, before.borrowed().timestamps()?.0))).any(
        |(at, value)| {
            segments[at..place].iter().any(|answer| {
                (answer.src, answer.dst) == (next.dst, next.src)
                    && answer.flags.has(TcpFlags::ACK)
                    && answer.borrowed().timestamps().is_some_and(|(_, repeated)| repeated == value)
            })
        },
    )
}

/// Whether a segment before that place shows that the checksums of its direction are right where they are captured.
fn shows_checksums(segments: &[Owned], place: usize) -> bool {
    let next = &segments[place];
    segments[..place].iter().any(|before| {
        (before.src, before.dst) == (next.src, next.dst)
            && (before.flags.has(TcpFlags::SYN) || !before.payload.is_empty())
            && before.borrowed().checksum() == ChecksumState::Right
    })
}

/// The outcome of every session is the same, no rule accuses that did not, and none is silent that did.
fn is_same(plain: &Story, other: &Story) -> bool {
    let rules = |story: &Story| {
        let rules =
            story.findings.iter().map(|finding| finding.split(' ').next().unwrap().to_owned());
        // It rests on messages, which are not read again behind bytes that another segment contradicts.
        rules.filter(|rule| rule != "partition-cascade").collect::<BTreeSet<_>>()
    };
    plain.outcomes == other.outcomes && rules(plain) == rules(other)
}

/// Places tried in each capture.
const PLACES: usize = 8;
