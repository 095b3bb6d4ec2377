//! Messages of the distribution handshake.
//!
//! In: one message without its length prefix, and which side sent it. Out: a struct that borrows
//! it. The order of the messages and what a digest proves are not known here.
//!
//! Tags `N` and `n` are `send_name` from the initiator and `challenge` from the acceptor: nothing
//! in the message shows which, so there is one parser for each side.

use std::fmt;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take};
use nom::combinator::{fail, map, map_opt, rest, value};
use nom::error::context;
use nom::number::complete::{be_u16, be_u32, be_u64};
use serde::{Deserialize, Serialize};

use super::{Creation, DistFlags, Parsed};

/// One message of the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HandshakeMessage<'a> {
    /// Initiator: who I am, what I can do.
    SendName(SendName<'a>),
    /// Acceptor: whether to go on. Initiator: the answer to `alive`.
    Status(Status<'a>),
    /// Acceptor: who I am, what I can do, prove that you know the cookie.
    Challenge(Challenge<'a>),
    /// Initiator: what the old `send_name` could not hold.
    Complement(Complement),
    /// Initiator: the proof, and now prove it too.
    ChallengeReply(ChallengeReply),
    /// Acceptor: the proof. The connection is up.
    ChallengeAck(ChallengeAck),
}

impl HandshakeMessage<'_> {
    /// Which of the messages it is.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::SendName(_) => MessageKind::SendName,
            Self::Status(_) => MessageKind::Status,
            Self::Challenge(_) => MessageKind::Challenge,
            Self::Complement(_) => MessageKind::Complement,
            Self::ChallengeReply(_) => MessageKind::ChallengeReply,
            Self::ChallengeAck(_) => MessageKind::ChallengeAck,
        }
    }
}

/// The messages of the handshake, in the order in which they come.
#[expect(missing_docs, reason = "each is the message of that name")]
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    SendName,
    Status,
    Challenge,
    Complement,
    ChallengeReply,
    ChallengeAck,
}

impl MessageKind {
    /// All messages, in the order in which they come.
    pub const ALL: [Self; 6] = [
        Self::SendName,
        Self::Status,
        Self::Challenge,
        Self::Complement,
        Self::ChallengeReply,
        Self::ChallengeAck,
    ];

    /// The name as events have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendName => "send_name",
            Self::Status => "status",
            Self::Challenge => "challenge",
            Self::Complement => "complement",
            Self::ChallengeReply => "challenge_reply",
            Self::ChallengeAck => "challenge_ack",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One message that the initiator sent.
pub fn from_initiator(i: &[u8]) -> Parsed<'_, HandshakeMessage<'_>> {
    match i.first() {
        Some(b'N' | b'n') => map(send_name, HandshakeMessage::SendName).parse(i),
        Some(b's') => map(status, HandshakeMessage::Status).parse(i),
        Some(b'c') => map(complement, HandshakeMessage::Complement).parse(i),
        Some(b'r') => map(challenge_reply, HandshakeMessage::ChallengeReply).parse(i),
        _ => context("tag", fail()).parse(i),
    }
}

/// One message that the acceptor sent.
pub fn from_acceptor(i: &[u8]) -> Parsed<'_, HandshakeMessage<'_>> {
    match i.first() {
        Some(b'N' | b'n') => map(challenge, HandshakeMessage::Challenge).parse(i),
        Some(b's') => map(status, HandshakeMessage::Status).parse(i),
        Some(b'a') => map(challenge_ack, HandshakeMessage::ChallengeAck).parse(i),
        _ => context("tag", fail()).parse(i),
    }
}

/// Version of the handshake, which is the layout of `send_name` and `challenge`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Version {
    /// Tag `n`: all that OTP 22 and older know, and OTP 23 and 24 towards peers of unknown version.
    V5 = 5,
    /// Tag `N`: OTP 23 and later.
    V6 = 6,
}

impl Version {
    /// The number: 5 or 6.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

fn version(i: &[u8]) -> Parsed<'_, Version> {
    let new = value(Version::V6, tag(&b"N"[..]));
    let old = value(Version::V5, tag(&b"n"[..]));
    context("tag", alt((new, old))).parse(i)
}

/// `send_name`: the first handshake message, initiator to acceptor.
///
/// ```text
///    1      8         4        2     Nlen
/// | 'N' | Flags | Creation | Nlen | Name | extra ...     version 6
///
///    1       2        4     rest
/// | 'n' | Version | Flags | Name |                       version 5
/// ```
///
/// Bytes after `Name` are legal and ignored by peers, so they are kept, not rejected. The version
/// number in the old layout is always 5, and no peer checks it.
///
/// Spec: *Distribution Protocol*, "The Handshake in Detail", step 2 (version 6 since OTP 23).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SendName<'a> {
    /// Which layout it came in.
    pub version: Version,
    /// All that the initiator can do; in version 5 the low half of it.
    pub flags: DistFlags,
    /// `None` in version 5. 0 where the initiator asks for a name.
    pub creation: Option<Creation>,
    /// Full node name as sent, or only its host with `NAME_ME`; bytes, because nothing on the wire
    /// makes it UTF-8.
    pub name: &'a [u8],
    /// Empty in version 5.
    pub extra: &'a [u8],
}

impl SendName<'_> {
    /// Whether the initiator wants the acceptor to name it, and `name` is only its host.
    pub const fn asks_for_name(&self) -> bool {
        self.flags.contains(DistFlags::NAME_ME)
    }
}

/// Reads a [`SendName`] message.
pub fn send_name(i: &[u8]) -> Parsed<'_, SendName<'_>> {
    let (i, version) = version(i)?;
    if version == Version::V5 {
        let (i, _) = context("Version", be_u16).parse(i)?;
        let (i, flags) = context("Flags", be_u32).parse(i)?;
        let (i, name) = rest(i)?;
        let flags = DistFlags(flags.into());
        return Ok((i, SendName { version, flags, creation: None, name, extra: &[] }));
    }
    let (i, flags) = context("Flags", be_u64).parse(i)?;
    let (i, creation) = context("Creation", be_u32).parse(i)?;
    let (i, nlen) = context("Nlen", be_u16).parse(i)?;
    let (i, name) = context("Name", take(nlen)).parse(i)?;
    let (i, extra) = rest(i)?;
    let (flags, creation) = (DistFlags(flags), Some(Creation(creation)));
    Ok((i, SendName { version, flags, creation, name, extra }))
}

/// `status`: acceptor to initiator whether to go on; initiator to acceptor the answer to `alive`.
///
/// ```text
///    1    rest
/// | 's' | text |
///
///    1       6        2     Nlen      4
/// | 's' | "named:" | Nlen | Name | Creation | ignored ...
/// ```
///
/// Spec: *Distribution Protocol*, "The Handshake in Detail", steps 3 and 3B (`named:` since OTP
/// 23).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status<'a> {
    /// The handshake goes on.
    Ok,
    /// Go on; the acceptor gave up its own dial to the initiator.
    OkSimultaneous,
    /// Refused: the acceptor's own dial to the initiator goes on, or the initiator bears its name.
    Nok,
    /// Refused: by the list of allowed nodes, or for want of mandatory flags.
    NotAllowed,
    /// The acceptor has a connection to a node of that name: shall it be replaced?
    Alive,
    /// Go on, under this name.
    Named {
        /// The node name given to the initiator.
        name: &'a [u8],
        /// The creation given to it.
        creation: Creation,
    },
    /// Initiator to `alive`: go on.
    True,
    /// Initiator to `alive`: leave it.
    False,
    /// A text that the specification does not know.
    Other(&'a [u8]),
}

impl<'a> Status<'a> {
    /// The text as sent; `named:` without what follows it.
    pub const fn text(&self) -> &'a [u8] {
        match self {
            Self::Ok => b"ok",
            Self::OkSimultaneous => b"ok_simultaneous",
            Self::Nok => b"nok",
            Self::NotAllowed => b"not_allowed",
            Self::Alive => b"alive",
            Self::Named { .. } => NAMED,
            Self::True => b"true",
            Self::False => b"false",
            Self::Other(text) => text,
        }
    }
}

const NAMED: &[u8] = b"named:";

/// Reads a [`Status`] message.
pub fn status(i: &[u8]) -> Parsed<'_, Status<'_>> {
    let (i, _) = context("tag", tag(&b"s"[..])).parse(i)?;
    if let Some(i) = i.strip_prefix(NAMED) {
        let (i, nlen) = context("Nlen", be_u16).parse(i)?;
        let (i, name) = context("Name", take(nlen)).parse(i)?;
        let (i, creation) = context("Creation", be_u32).parse(i)?;
        let (i, _) = rest(i)?;
        return Ok((i, Status::Named { name, creation: Creation(creation) }));
    }
    let (i, text) = rest(i)?;
    const WITHOUT_FIELDS: [Status<'_>; 7] = [
        Status::Ok,
        Status::OkSimultaneous,
        Status::Nok,
        Status::NotAllowed,
        Status::Alive,
        Status::True,
        Status::False,
    ];
    let known = WITHOUT_FIELDS.into_iter().find(|status| status.text() == text);
    Ok((i, known.unwrap_or(Status::Other(text))))
}

/// `challenge`: acceptor to initiator, right after the status.
///
/// ```text
///    1      8          4          4        2     Nlen
/// | 'N' | Flags | Challenge | Creation | Nlen | Name | extra ...     version 6
///
///    1       2        4         4       rest
/// | 'n' | Version | Flags | Challenge | Name |                       version 5
/// ```
///
/// Spec: *Distribution Protocol*, "The Handshake in Detail", step 4 (version 6 since OTP 23).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Challenge<'a> {
    /// Which layout it came in.
    pub version: Version,
    /// What the acceptor can do; from OTP 21 and 22, only what the initiator can do as well.
    pub flags: DistFlags,
    /// The number to make a digest of.
    pub challenge: u32,
    /// `None` in version 5.
    pub creation: Option<Creation>,
    /// Full node name as sent.
    pub name: &'a [u8],
    /// Empty in version 5.
    pub extra: &'a [u8],
}

/// Reads a [`Challenge`] message.
pub fn challenge(i: &[u8]) -> Parsed<'_, Challenge<'_>> {
    let (i, version) = version(i)?;
    if version == Version::V5 {
        let (i, _) = context("Version", be_u16).parse(i)?;
        let (i, flags) = context("Flags", be_u32).parse(i)?;
        let (i, challenge) = context("Challenge", be_u32).parse(i)?;
        let (i, name) = rest(i)?;
        let flags = DistFlags(flags.into());
        return Ok((i, Challenge { version, flags, challenge, creation: None, name, extra: &[] }));
    }
    let (i, flags) = context("Flags", be_u64).parse(i)?;
    let (i, challenge) = context("Challenge", be_u32).parse(i)?;
    let (i, creation) = context("Creation", be_u32).parse(i)?;
    let (i, nlen) = context("Nlen", be_u16).parse(i)?;
    let (i, name) = context("Name", take(nlen)).parse(i)?;
    let (i, extra) = rest(i)?;
    let (flags, creation) = (DistFlags(flags), Some(Creation(creation)));
    Ok((i, Challenge { version, flags, challenge, creation, name, extra }))
}

/// `complement`: initiator to acceptor, where an old `send_name` met a new `challenge`.
///
/// ```text
///    1        4           4
/// | 'c' | FlagsHigh | Creation |
/// ```
///
/// Spec: *Distribution Protocol*, "The Handshake in Detail", step 4B (since OTP 23).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Complement {
    /// Upper half of the initiator's flags.
    pub flags_high: u32,
    /// Creation of the initiator.
    pub creation: Creation,
}

impl Complement {
    /// All flags of the initiator, whose `send_name` gave the lower half.
    pub fn completed(&self, low: DistFlags) -> DistFlags {
        low.union(DistFlags(u64::from(self.flags_high) << 32))
    }
}

/// Reads a [`Complement`] message.
pub fn complement(i: &[u8]) -> Parsed<'_, Complement> {
    let (i, _) = context("tag", tag(&b"c"[..])).parse(i)?;
    let (i, flags_high) = context("FlagsHigh", be_u32).parse(i)?;
    let (i, creation) = context("Creation", be_u32).parse(i)?;
    Ok((i, Complement { flags_high, creation: Creation(creation) }))
}

/// `challenge_reply`: initiator to acceptor.
///
/// ```text
///    1        4        16
/// | 'r' | Challenge | Digest |
/// ```
///
/// Spec: *Distribution Protocol*, "The Handshake in Detail", step 5.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChallengeReply {
    /// The number that the acceptor is to make a digest of.
    pub challenge: u32,
    /// MD5 over the initiator's cookie and the acceptor's challenge.
    pub digest: [u8; 16],
}

/// Reads a [`ChallengeReply`] message.
pub fn challenge_reply(i: &[u8]) -> Parsed<'_, ChallengeReply> {
    let (i, _) = context("tag", tag(&b"r"[..])).parse(i)?;
    let (i, challenge) = context("Challenge", be_u32).parse(i)?;
    let (i, digest) = digest(i)?;
    Ok((i, ChallengeReply { challenge, digest }))
}

/// `challenge_ack`: acceptor to initiator. Frames of `{packet, 4}` follow it.
///
/// ```text
///    1      16
/// | 'a' | Digest |
/// ```
///
/// Spec: *Distribution Protocol*, "The Handshake in Detail", step 6.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChallengeAck {
    /// MD5 over the acceptor's cookie and the initiator's challenge.
    pub digest: [u8; 16],
}

/// Reads a [`ChallengeAck`] message.
pub fn challenge_ack(i: &[u8]) -> Parsed<'_, ChallengeAck> {
    let (i, _) = context("tag", tag(&b"a"[..])).parse(i)?;
    let (i, digest) = digest(i)?;
    Ok((i, ChallengeAck { digest }))
}

fn digest(i: &[u8]) -> Parsed<'_, [u8; 16]> {
    context("Digest", map_opt(take(16_usize), |bytes: &[u8]| bytes.first_chunk().copied())).parse(i)
}

/// The alive and the host part of a node name: what is left and right of its only `@`.
pub fn alive_and_host(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = name.iter().position(|&byte| byte == b'@')?;
    let (alive, host) = (name.get(..at)?, name.get(at + 1..)?);
    (!alive.is_empty() && !host.is_empty() && !host.contains(&b'@')).then_some((alive, host))
}

/// Whether peers take `name` for a node name: exactly one `@`, and text on both sides of it.
pub fn is_node_name(name: &[u8]) -> bool {
    alive_and_host(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_refuses_prefixes;
    use super::super::{WireError, decode};
    use super::*;

    /// OTP 23.2.6, published node.
    const FLAGS: DistFlags = DistFlags(0x1_01df_7fbd);

    #[rustfmt::skip]
    const SEND_NAME: &[u8] = &[
        b'N',                                           // tag
        0x00, 0x00, 0x00, 0x01, 0x01, 0xdf, 0x7f, 0xbd, // Flags
        0x6b, 0x03, 0x09, 0x21,                         // Creation
        0x00, 0x0b,                                     // Nlen
        b'a', b'@', b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1', // Name
    ];

    #[test]
    fn send_name_is_read_whole() {
        let read = SendName {
            version: Version::V6,
            flags: FLAGS,
            creation: Some(Creation(0x6b03_0921)),
            name: b"a@127.0.0.1",
            extra: &[],
        };
        assert_eq!(decode(SEND_NAME, send_name), Ok(read));
        assert!(!read.asks_for_name());
    }

    #[test]
    fn send_name_cut_short_names_the_field() {
        let fields = [("tag", 1), ("Flags", 8), ("Creation", 4), ("Nlen", 2), ("Name", 11)];
        assert_refuses_prefixes(SEND_NAME, send_name, &fields);
    }

    #[test]
    fn bytes_behind_the_name_are_kept_apart() {
        let longer = [SEND_NAME, b"later"].concat();
        let read = decode(&longer, send_name).unwrap();
        assert_eq!((read.name, read.extra), (&b"a@127.0.0.1"[..], &b"later"[..]));
    }

    /// OTP 23.2.6 without EPMD, hidden.
    #[rustfmt::skip]
    const OLD_SEND_NAME: &[u8] = &[
        b'n',                   // tag
        0x00, 0x05,             // Version
        0x01, 0xdf, 0x7f, 0xbc, // Flags
        b'a', b'@', b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1', // Name
    ];

    #[test]
    fn old_send_name_is_read_whole() {
        let read = SendName {
            version: Version::V5,
            flags: DistFlags(0x01df_7fbc),
            creation: None,
            name: b"a@127.0.0.1",
            extra: &[],
        };
        assert_eq!(decode(OLD_SEND_NAME, send_name), Ok(read));
        assert_refuses_prefixes(
            OLD_SEND_NAME,
            send_name,
            &[("tag", 1), ("Version", 2), ("Flags", 4)],
        );
    }

    /// OTP 25, asking for a dynamic name.
    #[rustfmt::skip]
    const NAMELESS: &[u8] = &[
        b'N',                                           // tag
        0x00, 0x00, 0x00, 0x0f, 0x07, 0xdf, 0x7f, 0xbc, // Flags
        0x00, 0x00, 0x00, 0x00,                         // Creation
        0x00, 0x09,                                     // Nlen
        b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1', // Name
    ];

    #[test]
    fn a_node_without_name_sends_its_host() {
        let read = decode(NAMELESS, send_name).unwrap();
        assert!(read.asks_for_name());
        assert_eq!((read.name, read.creation), (&b"127.0.0.1"[..], Some(Creation(0))));
    }

    #[rustfmt::skip]
    const CHALLENGE: &[u8] = &[
        b'N',                                           // tag
        0x00, 0x00, 0x00, 0x01, 0x01, 0xdf, 0x7f, 0xbd, // Flags
        0xd9, 0x93, 0x56, 0x36,                         // Challenge
        0x6b, 0x03, 0x09, 0x1f,                         // Creation
        0x00, 0x0b,                                     // Nlen
        b'b', b'@', b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1', // Name
    ];

    #[test]
    fn challenge_is_read_whole() {
        let read = Challenge {
            version: Version::V6,
            flags: FLAGS,
            challenge: 3_650_311_734,
            creation: Some(Creation(0x6b03_091f)),
            name: b"b@127.0.0.1",
            extra: &[],
        };
        assert_eq!(decode(CHALLENGE, challenge), Ok(read));
    }

    #[test]
    fn challenge_cut_short_names_the_field() {
        let numbers = [("tag", 1), ("Flags", 8), ("Challenge", 4), ("Creation", 4), ("Nlen", 2)];
        let fields = [&numbers[..], &[("Name", 11)]].concat();
        assert_refuses_prefixes(CHALLENGE, challenge, &fields);
    }

    /// What OTP 22 would send in place of `CHALLENGE`.
    #[rustfmt::skip]
    const OLD_CHALLENGE: &[u8] = &[
        b'n',                   // tag
        0x00, 0x05,             // Version
        0x00, 0xdf, 0x7f, 0xbd, // Flags
        0xd9, 0x93, 0x56, 0x36, // Challenge
        b'b', b'@', b'h',       // Name
    ];

    #[test]
    fn old_challenge_is_read_whole() {
        let read = Challenge {
            version: Version::V5,
            flags: DistFlags(0x00df_7fbd),
            challenge: 3_650_311_734,
            creation: None,
            name: b"b@h",
            extra: &[],
        };
        assert_eq!(decode(OLD_CHALLENGE, challenge), Ok(read));
        let fields = [("tag", 1), ("Version", 2), ("Flags", 4), ("Challenge", 4)];
        assert_refuses_prefixes(OLD_CHALLENGE, challenge, &fields);
    }

    #[rustfmt::skip]
    const NAMED_STATUS: &[u8] = &[
        b's',                                   // tag
        b'n', b'a', b'm', b'e', b'd', b':',
        0x00, 0x03,                             // Nlen
        b'E', b'@', b'h',                       // Name
        0x1e, 0xfe, 0xcc, 0xcc,                 // Creation
    ];

    #[test]
    fn a_dynamic_name_comes_in_the_status() {
        let read = Status::Named { name: b"E@h", creation: Creation(0x1efe_cccc) };
        assert_eq!(decode(NAMED_STATUS, status), Ok(read));
        assert_eq!(decode(&[NAMED_STATUS, b"later"].concat(), status), Ok(read));
        for (len, field, offset) in [(8, "Nlen", 7), (11, "Name", 9), (15, "Creation", 12)] {
            let refused = decode(&NAMED_STATUS[..len], status);
            assert_eq!(refused, Err(WireError::malformed(field, offset)));
        }
    }

    #[test]
    fn statuses_are_distinguished_by_their_whole_text() {
        assert_eq!(decode(b"sok", status), Ok(Status::Ok));
        assert_eq!(decode(b"sok_simultaneous", status), Ok(Status::OkSimultaneous));
        assert_eq!(decode(b"snok", status), Ok(Status::Nok));
        assert_eq!(decode(b"snot_allowed", status), Ok(Status::NotAllowed));
        assert_eq!(decode(b"salive", status), Ok(Status::Alive));
        assert_eq!(decode(b"strue", status), Ok(Status::True));
        assert_eq!(decode(b"sfalse", status), Ok(Status::False));
        assert_eq!(decode(b"sok ", status), Ok(Status::Other(b"ok ")));
        assert_eq!(decode(b"s", status), Ok(Status::Other(b"")));
    }

    #[rustfmt::skip]
    const COMPLEMENT: &[u8] = &[
        b'c',                   // tag
        0x00, 0x00, 0x00, 0x01, // FlagsHigh
        0x8f, 0x69, 0xc1, 0xdd, // Creation
    ];

    #[test]
    fn complement_completes_the_flags_of_the_old_send_name() {
        let read = decode(COMPLEMENT, complement).unwrap();
        assert_eq!(read, Complement { flags_high: 1, creation: Creation(0x8f69_c1dd) });
        assert_eq!(read.completed(DistFlags(0x01df_7fbc)), DistFlags(0x1_01df_7fbc));
        assert_refuses_prefixes(
            COMPLEMENT,
            complement,
            &[("tag", 1), ("FlagsHigh", 4), ("Creation", 4)],
        );
    }

    #[rustfmt::skip]
    const CHALLENGE_REPLY: &[u8] = &[
        b'r',                   // tag
        0xec, 0xef, 0x5a, 0xda, // Challenge
        0xec, 0xf8, 0x26, 0x01, 0x29, 0x25, 0x46, 0x91, // Digest: MD5("C3650311734")
        0xd9, 0xb7, 0xa6, 0x7c, 0x62, 0x8b, 0xcf, 0x5a,
    ];

    #[rustfmt::skip]
    const CHALLENGE_ACK: &[u8] = &[
        b'a',                                           // tag
        0x2b, 0x1b, 0xa1, 0xdd, 0xfb, 0x08, 0x9d, 0x94, // Digest: MD5("C3975109338")
        0x66, 0x4b, 0xf6, 0x6d, 0xa1, 0x22, 0x78, 0x82,
    ];

    #[test]
    fn digests_are_read_whole() {
        let reply = decode(CHALLENGE_REPLY, challenge_reply).unwrap();
        assert_eq!(reply.challenge, 3_975_109_338);
        assert_eq!(reply.digest, CHALLENGE_REPLY[5..]);
        assert_eq!(decode(CHALLENGE_ACK, challenge_ack).unwrap().digest, CHALLENGE_ACK[1..]);
    }

    #[test]
    fn digests_cut_short_or_too_long_are_malformed() {
        let fields = [("tag", 1), ("Challenge", 4), ("Digest", 16)];
        assert_refuses_prefixes(CHALLENGE_REPLY, challenge_reply, &fields);
        assert_refuses_prefixes(CHALLENGE_ACK, challenge_ack, &[("tag", 1), ("Digest", 16)]);
        let longer = [CHALLENGE_ACK, b"?"].concat();
        let refused = decode(&longer, challenge_ack);
        assert_eq!(refused, Err(WireError::malformed("extra", 17)));
    }

    #[test]
    fn the_side_that_sent_it_settles_what_a_tag_means() {
        let kind =
            |read: Result<HandshakeMessage<'_>, WireError>| read.map(|message| message.kind());
        assert_eq!(kind(decode(SEND_NAME, from_initiator)), Ok(MessageKind::SendName));
        assert_eq!(kind(decode(CHALLENGE, from_acceptor)), Ok(MessageKind::Challenge));
        assert_eq!(kind(decode(b"strue", from_initiator)), Ok(MessageKind::Status));
        assert_eq!(kind(decode(b"sok", from_acceptor)), Ok(MessageKind::Status));
        assert_eq!(kind(decode(COMPLEMENT, from_initiator)), Ok(MessageKind::Complement));
        assert_eq!(kind(decode(CHALLENGE_REPLY, from_initiator)), Ok(MessageKind::ChallengeReply));
        assert_eq!(kind(decode(CHALLENGE_ACK, from_acceptor)), Ok(MessageKind::ChallengeAck));

        let no_such_tag = Err(WireError::malformed("tag", 0));
        assert_eq!(kind(decode(CHALLENGE_ACK, from_initiator)), no_such_tag);
        assert_eq!(kind(decode(CHALLENGE_REPLY, from_acceptor)), no_such_tag);
        assert_eq!(kind(decode(b"", from_acceptor)), no_such_tag);
    }

    #[test]
    fn messages_are_named_as_in_events() {
        assert_eq!(MessageKind::ChallengeReply.to_string(), "challenge_reply");
        assert!(MessageKind::SendName < MessageKind::ChallengeAck);
        assert_eq!((Version::V5.number(), Version::V6.number()), (5, 6));
    }

    #[test]
    fn a_node_name_has_one_at_and_text_on_both_sides() {
        assert_eq!(alive_and_host(b"a@h.example"), Some((&b"a"[..], &b"h.example"[..])));
        for not_one in [&b""[..], b"@", b"a", b"a@", b"@h", b"a@b@c", b"a@@c"] {
            assert!(!is_node_name(not_one));
        }
    }
}
