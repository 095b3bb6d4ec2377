//! What both sides of a handshake sent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DistFlags, MessageKind, PerRole, Role};
use crate::packet::PacketRef;
use crate::stream::TcpOffset;

/// Everything that was sent in one handshake, the first of each message.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct HandshakeFacts {
    /// `send_name`, with the flags and creation that a `complement` has added.
    pub send_name: Option<Received<Hello>>,
    /// First status of the acceptor, before its challenge.
    pub status: Option<Received<StatusText>>,
    /// Answer of the initiator to status `alive`: whether it was `true`.
    pub alive_reply: Option<Received<bool>>,
    /// `challenge`.
    pub challenge: Option<Received<Hello>>,
    /// `complement`.
    pub complement: Option<Received<()>>,
    /// Status `not_allowed` in the place of `challenge_ack`.
    pub late_refusal: Option<Received<()>>,
    /// `challenge_reply`.
    pub reply: Option<Received<()>>,
    /// `challenge_ack`.
    pub ack: Option<Received<()>>,
    /// What is odd about the initiator's challenge in `challenge_reply`.
    pub odd_challenge: Option<OddChallenge>,
    /// Whether part of a message is missing in the capture.
    pub is_torn: bool,
    /// Whether the position of each side in the protocol was never known, or was lost.
    pub is_lost: PerRole<bool>,
    /// What the candidate cookies show of the digest of each side.
    pub cookies: PerRole<CookieTest>,
}

/// A message of one side: what it has, the packet with its last byte, and where in its stream it ends.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Received<T> {
    /// What the message has.
    pub what: T,
    /// The packet with its last byte.
    pub mark: PacketRef,
    /// Offset in the sender's TCP stream behind its last byte.
    pub end: TcpOffset,
}

/// How a side presents itself, in `send_name` or `challenge`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hello {
    /// Layout on the wire, 5 or 6.
    pub version: u8,
    /// Capability flags.
    pub flags: DistFlags,
    /// Incarnation of the node, where the layout has it.
    pub creation: Option<u32>,
    /// Node name, or only its host in a request for a dynamic name.
    pub name: Arc<str>,
    /// Exact bytes of `name` in hex where they are no UTF-8.
    pub name_hex: Option<String>,
    /// False for a name that a node must refuse.
    pub is_legal: bool,
}

/// Status of the acceptor: whether the handshake goes on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusText {
    /// `ok`.
    Ok,
    /// `ok_simultaneous`: the acceptor drops its own dial for this one.
    OkSimultaneous,
    /// `nok`: the acceptor's own dial goes on instead.
    Nok,
    /// `not_allowed`.
    NotAllowed,
    /// `alive`: the acceptor has a connection with a node of this name.
    Alive,
    /// `named:`, with the name and its exact bytes in hex where they are no UTF-8.
    Named(Arc<str>, Option<String>),
    /// Any other text.
    Other(String),
}

impl StatusText {
    /// Its text on the wire.
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

/// A challenge that is no random number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OddChallenge {
    /// One of those that simple programs send each time: 0, or the bytes 1 to 4.
    Constant,
    /// That of the other side.
    Echo,
}

/// Which candidate cookie a digest was made with.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CookieTest {
    /// Digest or challenge was not seen, or there are no candidates.
    #[default]
    Untested,
    /// None of the candidates.
    NoneFits,
    /// The candidate with this label.
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
    /// The message furthest along that was seen whole.
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

    /// The message in which the side in this role gave its name.
    pub const fn hello(&self, role: Role) -> Option<&Received<Hello>> {
        match role {
            Role::Initiator => self.send_name.as_ref(),
            Role::Acceptor => self.challenge.as_ref(),
        }
    }

    /// Name of the side in this role, and its exact bytes in hex where they are no UTF-8. An initiator goes by the
    /// name that the acceptor gave it, if it asked for one.
    pub fn name(&self, role: Role) -> Option<(&Arc<str>, Option<&String>)> {
        if let (Role::Initiator, Some(Received { what: StatusText::Named(name, name_hex), .. })) =
            (role, &self.status)
        {
            return Some((name, name_hex.as_ref()));
        }
        let hello = &self.hello(role)?.what;
        // Only a host, where a name was asked for and not given.
        let is_name = role == Role::Acceptor || hello.name.contains('@');
        is_name.then_some((&hello.name, hello.name_hex.as_ref()))
    }

    /// Whether one side has a hello without `flag`.
    pub fn lacks(&self, flag: DistFlags) -> bool {
        let hellos = [&self.send_name, &self.challenge].into_iter().flatten();
        hellos.into_iter().any(|hello| !hello.what.flags.contains(flag))
    }
}

/// One message of a handshake, as it came.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct HandshakeObservation {
    /// Which message.
    pub message: MessageKind,
    /// Who sent it.
    pub from: Role,
    /// Layout on the wire, 5 or 6, where the message has two.
    pub version: Option<u8>,
    /// Node name, or only its host in a request for a dynamic name.
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex where they are no UTF-8.
    pub name_hex: Option<String>,
    /// Capability flags; the high half alone in a `complement`, in its place.
    pub flags: Option<DistFlags>,
    /// Incarnation of the node.
    pub creation: Option<u32>,
    /// Text of a status.
    pub status: Option<String>,
    /// Dynamic name granted by a `named:` status.
    pub assigned_name: Option<Arc<str>>,
    /// Exact bytes of `assigned_name` in hex where they are no UTF-8.
    pub assigned_name_hex: Option<String>,
    /// Label of the candidate cookie that the digest was made with.
    pub cookie: Option<Arc<str>>,
    /// The challenge, where secrets were asked for.
    pub challenge: Option<u32>,
    /// The digest in hex, where secrets were asked for.
    pub digest: Option<String>,
}

impl HandshakeObservation {
    /// A message of which only the kind and the sender are known.
    pub const fn new(message: MessageKind, from: Role) -> Self {
        Self {
            message,
            from,
            version: None,
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
        }
    }
}
