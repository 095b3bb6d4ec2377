//! The distribution handshake inside TLS, by the lengths of the encrypted records alone.
//!
//! In: the encrypted records of both sides, and the cipher suite. Out: the messages that these lengths fit, one after the
//! other, and the outcome that a plain connection with the same messages would have. Nothing inside is read, so such an
//! outcome is possible and never more. Erlang sends each message in a record of its own (`ssl:send/2` in
//! `inet_tls_dist.erl`), without padding, and behind a length of four bytes.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::tls::{TlsStep, after_handshake, is_tls13};
use super::verdict::{Outcome, is_received};
use crate::observe::{
    CloseFacts, CloseKind, MessageKind, Observation, Role, SealedRecord, TlsHello,
};
use crate::packet::PacketRef;
use crate::wire::suites::{MacHash, Protection, cipher_suite};

/// What the lengths of encrypted records look like.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InsideTls {
    /// The packets with records as long as these messages, in the order of the handshake.
    pub messages: Vec<(MessageKind, PacketRef)>,
    /// Whether further records followed the handshake.
    pub has_more: bool,
    /// The outcome of a plain connection with such messages, where it is one of a few that are unlike all others.
    pub looks_like: Option<Outcome>,
    /// Number of bytes in the name of the acceptor, if its `challenge` shows it exactly.
    pub name_bytes: Option<u16>,
}

impl InsideTls {
    /// The packet with a record as long as this message.
    pub fn packet(&self, kind: MessageKind) -> Option<PacketRef> {
        self.messages.iter().find(|(message, _)| *message == kind).map(|(_, packet)| *packet)
    }

    /// The last message that the lengths show.
    pub(super) fn step(&self) -> Option<TlsStep> {
        if self.has_more {
            return Some(TlsStep::Messages);
        }
        self.messages.last().map(|(kind, _)| match kind {
            MessageKind::SendName => TlsStep::SendName,
            MessageKind::Status => TlsStep::Status,
            MessageKind::Challenge => TlsStep::Challenge,
            MessageKind::Complement => TlsStep::Complement,
            MessageKind::ChallengeReply => TlsStep::ChallengeReply,
            MessageKind::ChallengeAck => TlsStep::ChallengeAck,
        })
    }
}

/// Reads the records that the first side to close had sent or received; without a close, all of them. `close` is the
/// first close, if the capture has all that it can have depended on; `is_at_once` whether it followed a packet without a
/// pause.
pub(super) fn inside(
    seen: &Observation,
    close: Option<(CloseFacts, Role)>,
    is_at_once: impl Fn(&CloseFacts, PacketRef) -> bool,
) -> Option<InsideTls> {
    let hello = seen.tls.initiator.hello.as_ref()?;
    if hello.is_not_by_otp || hello.protocol.is_some() {
        return None;
    }
    if close.is_none() && seen.tcp.gaps > 0 {
        return None;
    }
    let lengths = PlainLengths::of(seen.tls.acceptor.hello.as_ref()?)?;
    let sealed = seen.tls.acceptor.lengths.filter(|_| is_tls13(seen));
    if is_tls13(seen) && sealed.is_none() {
        return None;
    }
    let records = |role: Role| -> Option<Vec<Length>> {
        let is_known = |it: &&SealedRecord| {
            close.is_none_or(|(close, by)| role == by || is_received(&close, it.mark, it.end))
        };
        let inside = after_handshake(&seen.tls[role].sealed, sealed)?;
        let of = |record: &SealedRecord| {
            Some(Length { bytes: lengths.plain(record.length)?, mark: record.mark })
        };
        let of = inside.iter().filter(is_known).map(of).collect::<Option<Vec<_>>>()?;
        Some(of.into_iter().filter(|it| !(sealed.is_some() && it.is(ALERT))).collect())
    };
    let (client, server) = (records(Role::Initiator)?, records(Role::Acceptor)?);
    let mut inside = SizedRecords { client: &client, server: &server }.read()?;
    if let Some((close, by)) = close {
        inside.looks_like = looks_like(&inside, &server, &close, by, is_at_once);
    }
    Some(inside)
}

/// The outcome that a plain connection with these messages has, as in [`super::verdict`].
fn looks_like(
    inside: &InsideTls,
    server: &[Length],
    close: &CloseFacts,
    by: Role,
    is_at_once: impl Fn(&CloseFacts, PacketRef) -> bool,
) -> Option<Outcome> {
    if inside.has_more {
        return None;
    }
    let status = server.iter().find(|it| Some(it.mark) == inside.packet(MessageKind::Status))?;
    let is_only = |bytes: u16| {
        status.is(bytes) && !STATUSES.into_iter().any(|it| it != bytes && status.is(it))
    };
    let goes_on =
        [STATUS_OK, STATUS_OK_SIMULTANEOUS, STATUS_ALIVE].into_iter().any(|it| status.is(it));
    let (last, mark) = inside.messages.last()?;
    match (last, by) {
        (MessageKind::ChallengeReply, Role::Acceptor) if goes_on && is_at_once(close, *mark) => {
            Some(Outcome::CookieMismatch)
        }
        // A node that rejects the acceptor's name has read the challenge and closes with FIN.
        (MessageKind::Challenge, Role::Initiator)
            if goes_on && close.kind == CloseKind::Fin && is_at_once(close, *mark) =>
        {
            Some(Outcome::NameMismatch)
        }
        (MessageKind::Status, _) if is_only(STATUS_NOT_ALLOWED) => Some(Outcome::NotAllowed),
        (MessageKind::Status, _) if is_only(STATUS_NOK) => Some(Outcome::Superseded),
        (MessageKind::Status, _) if is_only(STATUS_ALIVE) => Some(Outcome::AlreadyConnected),
        _ => None,
    }
}

/// The records of both sides behind the handshake of TLS.
struct SizedRecords<'a> {
    client: &'a [Length],
    server: &'a [Length],
}

impl SizedRecords<'_> {
    /// The messages that the records fit, in the order of the handshake. `None` if the first ones do not.
    fn read(&self) -> Option<InsideTls> {
        let mut inside =
            InsideTls { messages: Vec::new(), has_more: false, looks_like: None, name_bytes: None };
        // The session tickets of TLS 1.3 come before the first message of the server.
        let tickets =
            self.server.iter().take_while(|it| *it.bytes.start() >= SHORTEST_TICKET).count();
        let (mut client, mut server) =
            (self.client.iter().peekable(), self.server.iter().skip(tickets).peekable());
        let mut last = None;
        // Takes the next record of a side, if it fits and is not older than the one before.
        let mut take = |record: Option<&&Length>, fits: &dyn Fn(&Length) -> bool| {
            let record = record.filter(|it| fits(it) && last.is_none_or(|last| last <= it.mark.at));
            last = record.map_or(last, |it| Some(it.mark.at));
            record.map(|it| it.mark)
        };
        let any_of =
            |list: &'static [u16]| move |it: &Length| list.iter().any(|bytes| it.is(*bytes));
        let mark = take(client.peek(), &|it| it.is_within(SEND_NAMES))?;
        client.next();
        inside.messages.push((MessageKind::SendName, mark));
        let Some(status) = server.peek().copied() else {
            inside.has_more = client.peek().is_some();
            return Some(inside).filter(|it| !it.has_more);
        };
        let mark = take(Some(&status), &any_of(&STATUSES))?;
        server.next();
        inside.messages.push((MessageKind::Status, mark));
        if status.is(STATUS_ALIVE) && take(client.peek(), &any_of(&ALIVE_REPLIES)).is_some() {
            client.next();
        }
        if let Some(challenge) = server.peek().copied() {
            let mark = take(Some(&challenge), &|it| it.is_within(CHALLENGES))?;
            server.next();
            inside.messages.push((MessageKind::Challenge, mark));
            let exact =
                Some(challenge.bytes.start()).filter(|least| *least == challenge.bytes.end());
            inside.name_bytes = exact.and_then(|bytes| bytes.checked_sub(CHALLENGE_BYTES));
            let mut behind = client.clone();
            if behind.next().is_some_and(|it| it.is(COMPLEMENT))
                && behind.next().is_some_and(|it| it.is(REPLY))
                && let Some(mark) = take(client.peek(), &any_of(&[COMPLEMENT]))
            {
                client.next();
                inside.messages.push((MessageKind::Complement, mark));
            }
            if client.peek().is_some() {
                let mark = take(client.peek(), &any_of(&[REPLY]))?;
                client.next();
                inside.messages.push((MessageKind::ChallengeReply, mark));
                if server.peek().is_some() {
                    let mark = take(server.peek(), &any_of(&[ACK]))?;
                    server.next();
                    inside.messages.push((MessageKind::ChallengeAck, mark));
                }
            }
        }
        inside.has_more = client.peek().is_some() || server.peek().is_some();
        let is_whole = inside.packet(MessageKind::ChallengeAck).is_some();
        Some(inside).filter(|it| is_whole || !it.has_more)
    }
}

/// The length of what a record contains.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Length {
    /// Number of bytes; several where a block cipher pads them.
    bytes: RangeInclusive<u16>,
    mark: PacketRef,
}

impl Length {
    fn is(&self, bytes: u16) -> bool {
        self.bytes.contains(&bytes)
    }

    fn is_within(&self, range: RangeInclusive<u16>) -> bool {
        self.bytes.start() <= range.end() && self.bytes.end() >= range.start()
    }
}

/// How many bytes a cipher suite adds to those that a record carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PlainLengths {
    /// The nonce, the tag and the like, of so many bytes.
    Added(u16),
    /// A block of 16 bytes in front, and a MAC of so many bytes within blocks, or behind them.
    Blocks { mac: u16, mac_is_behind: bool },
}

impl PlainLengths {
    /// The lengths under what a ServerHello selects; `None` for an unknown suite, and for a version before TLS 1.2.
    fn of(hello: &TlsHello) -> Option<Self> {
        let protection = cipher_suite(hello.cipher_suite?)?.protection;
        let is_tls13 = hello.versions.contains(&0x0304);
        if !is_tls13 && !hello.versions.contains(&0x0303) {
            return None;
        }
        // Spec: RFC 8446, section 5.2; RFC 5288, section 3; RFC 6655, section 3; RFC 7905, section 2.
        let (nonce, tag) = match protection {
            Protection::AesGcm(_) => (8, 16),
            Protection::AesCcm(_, tag) => (8, u16::try_from(tag).ok()?),
            Protection::ChaCha20Poly1305 => (0, 16),
            // Spec: RFC 5246, section 6.2.3.2; RFC 7366, section 3.
            Protection::AesCbc(_, mac) => {
                let mac = match mac {
                    MacHash::Sha1 => 20,
                    MacHash::Sha256 => 32,
                    MacHash::Sha384 => 48,
                };
                return Some(Self::Blocks { mac, mac_is_behind: hello.encrypt_then_mac });
            }
        };
        // TLS 1.3 has its nonce from the number of the record, and adds the type of the content.
        Some(Self::Added(if is_tls13 { 1 + tag } else { nonce + tag }))
    }

    /// The number of bytes in a record of this length, without its header.
    fn plain(self, length: u16) -> Option<RangeInclusive<u16>> {
        let (blocks, mac) = match self {
            Self::Added(bytes) => {
                let plain = length.checked_sub(bytes)?;
                return Some(plain..=plain);
            }
            Self::Blocks { mac, mac_is_behind: true } => (length.checked_sub(mac)?, 0),
            Self::Blocks { mac, mac_is_behind: false } => (length, mac),
        };
        // One block in front, and 1 to 16 bytes of padding.
        let most = blocks.checked_sub(16 + mac + 1)?;
        Some(most.saturating_sub(15)..=most)
    }
}

/// Bytes of an alert.
const ALERT: u16 = 2;

/// Bytes of a status `ok` with its length of four bytes: `s` and the text.
const STATUS_OK: u16 = 4 + 3;
const STATUS_NOK: u16 = 4 + 4;
const STATUS_ALIVE: u16 = 4 + 6;
const STATUS_NOT_ALLOWED: u16 = 4 + 12;
const STATUS_OK_SIMULTANEOUS: u16 = 4 + 16;

const STATUSES: [u16; 5] =
    [STATUS_OK, STATUS_NOK, STATUS_ALIVE, STATUS_NOT_ALLOWED, STATUS_OK_SIMULTANEOUS];

/// Bytes of the answers `true` and `false` to status `alive`.
const ALIVE_REPLIES: [u16; 2] = [4 + 5, 4 + 6];

/// Bytes of `complement`: its tag, flags and creation.
const COMPLEMENT: u16 = 4 + 9;

/// Bytes of `challenge_reply`: its tag, challenge and digest.
const REPLY: u16 = 4 + 21;

/// Bytes of `challenge_ack`: its tag and digest.
const ACK: u16 = 4 + 17;

/// Bytes of `challenge` without the name: its length, tag, flags, challenge, creation, and length of the name.
const CHALLENGE_BYTES: u16 = 4 + 1 + 8 + 4 + 4 + 2;

/// Longest name of a node: 255 characters of up to four bytes, and a host.
const LONGEST_NAME: u16 = 4 * 255 + 1 + 255;

/// Bytes of `send_name`: an old one with the shortest name (tag, version, flags), to a new one with the longest.
const SEND_NAMES: RangeInclusive<u16> = 4 + 7 + 1..=4 + 15 + LONGEST_NAME;

/// Bytes of `challenge`: likewise.
const CHALLENGES: RangeInclusive<u16> = 4 + 11 + 3..=CHALLENGE_BYTES + LONGEST_NAME;

/// Bytes of the shortest NewSessionTicket that Erlang sends (RFC 8446, section 4.6.1): header, lifetime, age, nonce,
/// ticket of 32 bytes, extensions.
const SHORTEST_TICKET: u16 = 4 + 4 + 4 + 1 + 2 + 32 + 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;
    use crate::stream::TcpOffset;
    use crate::time::Timestamp;

    const GCM: PlainLengths = PlainLengths::Added(17);
    const CBC: PlainLengths = PlainLengths::Blocks { mac: 20, mac_is_behind: false };

    fn mark(ms: u64) -> PacketRef {
        let at = Timestamp::new(100, 0).after(std::time::Duration::from_millis(ms));
        PacketRef { frame: FrameRef { input: 0, number: ms }, at }
    }

    /// Records that carry so many bytes, each at its time in milliseconds.
    fn records(by: PlainLengths, sent: &[(u64, u16)]) -> Vec<Length> {
        let seal = |bytes: u16| match by {
            PlainLengths::Added(added) => bytes + added,
            PlainLengths::Blocks { mac, mac_is_behind: false } => 16 + (bytes + mac) / 16 * 16 + 16,
            PlainLengths::Blocks { mac, .. } => 16 + bytes / 16 * 16 + 16 + mac,
        };
        let of = |(ms, bytes): &(u64, u16)| Length {
            bytes: by.plain(seal(*bytes)).unwrap(),
            mark: mark(*ms),
        };
        sent.iter().map(of).collect()
    }

    fn read(by: PlainLengths, client: &[(u64, u16)], server: &[(u64, u16)]) -> Option<InsideTls> {
        let (client, server) = (records(by, client), records(by, server));
        SizedRecords { client: &client, server: &server }.read()
    }

    fn close(by: Role, kind: CloseKind) -> (CloseFacts, Role) {
        let close = CloseFacts {
            by: Some(by),
            kind,
            mark: mark(90),
            received: Some(TcpOffset::BASE),
            is_answer: false,
            is_whole: true,
        };
        (close, by)
    }

    fn outcome(
        lengths: PlainLengths,
        client: &[(u64, u16)],
        server: &[(u64, u16)],
        by: Role,
        is_at_once: bool,
    ) -> Option<Outcome> {
        let (client, server) = (records(lengths, client), records(lengths, server));
        let inside = SizedRecords { client: &client, server: &server }.read()?;
        let (close, by) = close(by, CloseKind::Fin);
        looks_like(&inside, &server, &close, by, |_, _| is_at_once)
    }

    /// `send_name` and `challenge_reply` of a node whose name has 12 bytes.
    const CLIENT: [(u64, u16); 2] = [(1, 31), (4, REPLY)];
    const SERVER: [(u64, u16); 2] = [(2, STATUS_OK), (3, 35)];

    #[test]
    fn a_close_behind_challenge_reply_looks_like_a_refused_cookie() {
        for lengths in [GCM, CBC, PlainLengths::Blocks { mac: 48, mac_is_behind: true }] {
            let of = |client: &[(u64, u16)], server: &[(u64, u16)], by, at_once| {
                outcome(lengths, client, server, by, at_once)
            };
            let refused = Some(Outcome::CookieMismatch);
            assert_eq!(of(&CLIENT, &SERVER, Role::Acceptor, true), refused, "{lengths:?}");
            let tickets = [&[(0, 200), (0, 200)], &SERVER[..]].concat();
            assert_eq!(of(&CLIENT, &tickets, Role::Acceptor, true), refused, "{lengths:?}");
            assert_eq!(of(&CLIENT, &SERVER, Role::Acceptor, false), None, "it stopped later");
            assert_eq!(of(&CLIENT, &SERVER, Role::Initiator, true), None, "the other side left");
            let accepted = [&SERVER[..], &[(5, ACK)]].concat();
            for by in Role::BOTH {
                assert_eq!(of(&CLIENT, &accepted, by, true), None, "a tool that leaves");
            }
            let more = [&CLIENT[..], &[(6, 90)]].concat();
            assert_eq!(of(&more, &SERVER, Role::Acceptor, true), None, "no handshake of nodes");
        }
    }

    #[test]
    fn an_old_hello_and_a_replaced_connection_have_one_message_more() {
        let old = [(1, 23), (4, COMPLEMENT), (4, REPLY)];
        let alive = [(1, 31), (3, 9), (5, REPLY)];
        let server = [(2, STATUS_ALIVE), (4, 35)];
        for lengths in [GCM, CBC] {
            let refused = Some(Outcome::CookieMismatch);
            assert_eq!(outcome(lengths, &old, &SERVER, Role::Acceptor, true), refused);
            assert_eq!(outcome(lengths, &alive, &server, Role::Acceptor, true), refused);
        }
    }

    #[test]
    fn a_close_behind_challenge_looks_like_another_name() {
        let name = Some(Outcome::NameMismatch);
        assert_eq!(outcome(GCM, &CLIENT[..1], &SERVER, Role::Initiator, true), name);
        assert_eq!(outcome(GCM, &CLIENT[..1], &SERVER, Role::Initiator, false), None);
        assert_eq!(outcome(GCM, &CLIENT[..1], &SERVER, Role::Acceptor, true), None);
        let inside = read(GCM, &CLIENT[..1], &SERVER).unwrap();
        assert_eq!(inside.name_bytes, Some(12));
        assert_eq!(read(CBC, &CLIENT[..1], &SERVER).unwrap().name_bytes, None, "padded");
    }

    #[test]
    fn a_status_that_refuses_is_known_by_its_length_alone() {
        let of =
            |lengths, status| outcome(lengths, &CLIENT[..1], &[(2, status)], Role::Acceptor, true);
        assert_eq!(of(GCM, STATUS_NOT_ALLOWED), Some(Outcome::NotAllowed));
        assert_eq!(of(GCM, STATUS_NOK), Some(Outcome::Superseded));
        assert_eq!(of(GCM, STATUS_ALIVE), Some(Outcome::AlreadyConnected));
        assert_eq!(of(GCM, STATUS_OK), None);
        assert_eq!(of(CBC, STATUS_NOK), None, "padded to the length of ok");
        assert_eq!(of(CBC, STATUS_NOT_ALLOWED), None, "padded to that of ok_simultaneous");
    }

    #[test]
    fn other_lengths_and_another_order_are_no_handshake() {
        assert_eq!(read(GCM, &[(1, 500), (4, 300)], &[(2, 900)]), None, "HTTP");
        assert_eq!(read(GCM, &CLIENT, &[(0, STATUS_OK), (3, 35)]), None, "the server is first");
        assert_eq!(read(GCM, &[(1, 31), (4, 26)], &SERVER), None);
        assert_eq!(read(GCM, &CLIENT, &[(2, STATUS_OK), (3, 35), (5, 22)]), None);
        assert_eq!(read(GCM, &[], &SERVER), None);
        let connected = read(
            GCM,
            &[&CLIENT[..], &[(6, 60)]].concat(),
            &[&SERVER[..], &[(5, ACK), (7, 90)]].concat(),
        );
        let connected = connected.unwrap();
        assert_eq!((connected.messages.len(), connected.has_more), (5, true));
        assert_eq!(connected.step(), Some(TlsStep::Messages));
        assert_eq!(read(GCM, &CLIENT[..1], &[]).unwrap().step(), Some(TlsStep::SendName));
    }

    #[test]
    fn lengths_are_those_on_the_wire() {
        let of = |cipher_suite, version| {
            let hello = TlsHello {
                cipher_suite: Some(cipher_suite),
                versions: vec![version],
                ..TlsHello::default()
            };
            PlainLengths::of(&hello)
        };
        // Real nodes: a status ok in TLS 1.3 and 1.2.
        assert_eq!(of(0x1302, 0x0304).unwrap().plain(24), Some(7..=7));
        assert_eq!(of(0x1305, 0x0304).unwrap().plain(16), Some(7..=7));
        assert_eq!(of(0xc02c, 0x0303).unwrap().plain(31), Some(7..=7));
        assert_eq!(of(0xcca9, 0x0303).unwrap().plain(23), Some(7..=7));
        assert_eq!(of(0xc0ac, 0x0303).unwrap().plain(31), Some(7..=7));
        assert_eq!(of(0xc009, 0x0303).unwrap().plain(48), Some(0..=11));
        assert_eq!(of(0xc009, 0x0303).unwrap().plain(64), Some(12..=27));
        assert_eq!(of(0xc009, 0x0303).unwrap().plain(30), None);
        assert_eq!(of(0xc009, 0x0301), None, "TLS 1.0 has another layout");
        assert_eq!(of(0x000a, 0x0303), None, "3DES");
    }
}
