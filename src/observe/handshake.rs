//! The messages that both sides of a handshake sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DistFlags, MessageKind, PerRole, Role, is_default};
use crate::packet::PacketRef;
use crate::stream::TcpOffset;

/// The first message of each kind in one handshake.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct HandshakeFacts {
    /// The initiator's `send_name`, with the flags and creation that a `complement` added.
    #[serde(default, skip_serializing_if = "is_default")]
    pub send_name: Option<Received<Hello>>,
    /// The first status of the acceptor, before its challenge.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: Option<Received<StatusText>>,
    /// The initiator's answer to status `alive`: whether it was `true`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alive_reply: Option<Received<bool>>,
    /// The acceptor's `challenge` with its flags and name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub challenge: Option<Received<Hello>>,
    /// The initiator's `complement` of an old `send_name`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub complement: Option<Received<()>>,
    /// A status `not_allowed` in place of `challenge_ack`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub late_refusal: Option<Received<()>>,
    /// The `challenge_reply` of the initiator.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reply: Option<Received<()>>,
    /// The `challenge_ack` of the acceptor.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ack: Option<Received<()>>,
    /// What distinguishes this handshake from any other wherever it is seen: a digest of both names and both challenges, once all of
    /// them were seen.
    ///
    /// It has 64 random bits, those of the two challenges, so that it can be compared across sensors and cannot be turned
    /// back into them by trying. One challenge alone has 32, which can be tried, and gives no fingerprint. The digests are
    /// not in it: a challenge with its digest lets a reader try cookies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fingerprint: Option<u64>,
    /// The way in which the initiator's challenge in `challenge_reply` is not random, if it is not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub odd_challenge: Option<OddChallenge>,
    /// Whether the capture lacks a part of a message of each side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_torn: PerRole<bool>,
    /// Whether the protocol state of each side was never known, or was lost at a gap.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_lost: PerRole<bool>,
    /// Result of the candidate cookies for the digest of each side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cookies: PerRole<CookieTest>,
}

/// A message of one side with the packet of its last byte and its end in the TCP stream.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Received<T> {
    /// Content of the message.
    pub what: T,
    /// The packet with its last byte.
    pub mark: PacketRef,
    /// Offset in the sender's TCP stream after its last byte.
    pub end: TcpOffset,
}

/// Name, flags and creation of a side, in `send_name` or `challenge`.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Hello {
    /// Handshake version of the message, 5 or 6.
    pub version: u8,
    /// Distribution flags of the node.
    pub flags: DistFlags,
    /// Creation of the node, which version 5 does not have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub creation: Option<u32>,
    /// Node name, or only its host in a request for a dynamic name.
    pub name: Arc<str>,
    /// Exact bytes of `name` in hex if they are not UTF-8.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name_hex: Option<String>,
    /// False for a name that a node must refuse.
    pub is_legal: bool,
}

/// Text of the acceptor's status, which decides how the handshake continues.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusText {
    /// `ok`: the handshake continues.
    Ok,
    /// `ok_simultaneous`: the acceptor drops its own dial for this one.
    OkSimultaneous,
    /// `nok`: the acceptor's own dial continues instead.
    Nok,
    /// `not_allowed`: the acceptor refuses the connection.
    NotAllowed,
    /// `alive`: the acceptor has a connection with a node of this name.
    Alive,
    /// `named:`, with the name; its exact bytes in hex, if they are not UTF-8; and the creation.
    Named(Arc<str>, Option<String>, u32),
    /// A text that the protocol does not define.
    Other(String),
}

impl StatusText {
    /// The text as sent on the wire.
    pub fn text(&self) -> &str {
        match self {
            Self::Ok => "ok",
            Self::OkSimultaneous => "ok_simultaneous",
            Self::Nok => "nok",
            Self::NotAllowed => "not_allowed",
            Self::Alive => "alive",
            Self::Named(..) => "named:",
            Self::Other(text) => text,
        }
    }
}

/// The kind of a challenge that is not a random number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OddChallenge {
    /// A constant that simple programs send each time: 0, or the bytes 1 to 4.
    Constant,
    /// A copy of the other side's challenge.
    Echo,
}

/// The candidate cookie that a digest was made with.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CookieTest {
    /// The digest or the challenge was not seen, or there are no candidates.
    #[default]
    Untested,
    /// None of the candidates fits the digest.
    NoneFits,
    /// The candidate with this label fits.
    Fits(Arc<str>),
}

impl CookieTest {
    /// Label of the candidate that fits.
    pub const fn label(&self) -> Option<&Arc<str>> {
        match self {
            Self::Fits(label) => Some(label),
            Self::Untested | Self::NoneFits => None,
        }
    }
}

impl PerRole<CookieTest> {
    /// Whether a candidate fits one of the two digests and not the other.
    pub fn contradict(&self) -> bool {
        self.are_tested() && self.initiator != self.acceptor
    }

    /// Whether one candidate fits both digests.
    pub fn agree(&self) -> bool {
        self.initiator.label().is_some() && self.initiator == self.acceptor
    }

    fn are_tested(&self) -> bool {
        self.each().all(|(_, test)| *test != CookieTest::Untested)
    }
}

impl HandshakeFacts {
    /// The latest message of the handshake that was completely seen.
    pub fn reached(&self) -> Option<MessageKind> {
        let seen = [
            (self.ack.is_some(), MessageKind::ChallengeAck),
            (self.reply.is_some(), MessageKind::ChallengeReply),
            (self.complement.is_some(), MessageKind::Complement),
            (self.challenge.is_some(), MessageKind::Challenge),
            (self.status.is_some() || self.alive_reply.is_some(), MessageKind::Status),
            (self.send_name.is_some(), MessageKind::SendName),
        ];
        seen.into_iter().find(|(seen, _)| *seen).map(|(_, kind)| kind)
    }

    /// The message with the name of the side in this role.
    pub const fn hello(&self, role: Role) -> Option<&Received<Hello>> {
        match role {
            Role::Initiator => self.send_name.as_ref(),
            Role::Acceptor => self.challenge.as_ref(),
        }
    }

    /// Name of the side in this role and, if they are not UTF-8, its exact bytes in hex. An initiator that asked for a
    /// dynamic name has the name that the acceptor assigned.
    pub fn name(&self, role: Role) -> Option<(&Arc<str>, Option<&String>)> {
        if let (Role::Initiator, Some(StatusText::Named(name, name_hex, _))) =
            (role, self.status.as_ref().map(|status| &status.what))
        {
            return Some((name, name_hex.as_ref()));
        }
        let hello = &self.hello(role)?.what;
        // A request for a dynamic name has only the host.
        let is_name = role == Role::Acceptor || hello.name.contains('@');
        is_name.then_some((&hello.name, hello.name_hex.as_ref()))
    }

    /// Creation of the side in this role. An initiator that asked for a dynamic name has the one that the acceptor
    /// assigned, and not the one in its hello.
    pub fn creation(&self, role: Role) -> Option<u32> {
        let hello = &self.hello(role)?.what;
        match (role, self.status.as_ref().map(|status| &status.what)) {
            (Role::Initiator, Some(StatusText::Named(.., creation))) => Some(*creation),
            // An initiator that has no name yet sends a creation that means nothing.
            (Role::Initiator, _) if hello.flags.contains(DistFlags::NAME_ME) => None,
            _ => hello.creation,
        }
    }

    /// The flags of a side that its hello has no room for: an old hello (handshake version 5) has the lower 32, and the
    /// others come in the `complement`.
    pub fn unknown_flags(&self, role: Role) -> DistFlags {
        let is_old = self.hello(role).is_some_and(|hello| hello.what.version == 5);
        let is_completed = role == Role::Initiator && self.complement.is_some();
        if is_old && !is_completed { DistFlags::BEYOND_OLD_HELLO } else { DistFlags(0) }
    }

    /// The side that knows native records, if the other one does not. A hello of version 5 has no such flag.
    pub fn only_side_with_records(&self) -> Option<Role> {
        let knows = |role: Role| {
            let hello = &self.hello(role)?.what;
            (hello.version >= 6).then(|| hello.flags.contains(DistFlags::NATIVE_RECORDS))
        };
        match Role::BOTH.map(knows) {
            [Some(true), Some(false)] => Some(Role::Initiator),
            [Some(false), Some(true)] => Some(Role::Acceptor),
            _ => None,
        }
    }

    /// Whether the capture lacks a part of a message of either side.
    pub const fn is_torn(&self) -> bool {
        self.is_torn.initiator || self.is_torn.acceptor
    }

    /// Whether the hello of a side lacks `flag`.
    pub fn lacks(&self, flag: DistFlags) -> bool {
        let hellos = [&self.send_name, &self.challenge].into_iter().flatten();
        hellos.into_iter().any(|hello| !hello.what.flags.contains(flag))
    }
}

/// The names of the two nodes of a connection, as far as its handshake shows them.
pub type NodeNames = PerRole<Option<Arc<str>>>;

/// One message of a handshake, as it was sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HandshakeObservation {
    /// Kind of the message.
    pub message: MessageKind,
    /// The side that sent it.
    pub from: Role,
    /// Handshake version of the message, 5 or 6, if it has one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: Option<u8>,
    /// Names of the two nodes, as far as this message and those before it have shown them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nodes: NodeNames,
    /// Node name, or only its host in a request for a dynamic name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex if they are not UTF-8.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name_hex: Option<String>,
    /// Distribution flags; a `complement` has the upper 32 bits only, at their position.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flags: Option<DistFlags>,
    /// Creation of the node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub creation: Option<u32>,
    /// Text of a `status` message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: Option<String>,
    /// Dynamic name granted by a `named:` status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub assigned_name: Option<Arc<str>>,
    /// Exact bytes of `assigned_name` in hex if they are not UTF-8.
    #[serde(default, skip_serializing_if = "is_default")]
    pub assigned_name_hex: Option<String>,
    /// Label of the candidate cookie that the digest was made with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cookie: Option<Arc<str>>,
    /// The number in the challenge; only with `--include-secrets`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub challenge: Option<u32>,
    /// The digest in hex; only with `--include-secrets`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub digest: Option<String>,
    /// The fingerprint of the handshake, as in [`HandshakeFacts`], if this message completes what it is made of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fingerprint: Option<u64>,
}

impl HandshakeObservation {
    /// An observation with the kind and the sender of a message.
    pub const fn new(message: MessageKind, from: Role) -> Self {
        Self {
            message,
            from,
            version: None,
            nodes: PerRole { initiator: None, acceptor: None },
            name: None,
            name_hex: None,
            flags: None,
            creation: None,
            status: None,
            assigned_name: None,
            assigned_name_hex: None,
            cookie: None,
            challenge: None,
            digest: None,
            fingerprint: None,
        }
    }
}
