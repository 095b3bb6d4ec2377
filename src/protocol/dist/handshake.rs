//! The distribution handshake as both sides sent it.
//!
//! In: whole handshake messages, in order for each side. Out: an observation of each message, and the [`Exchange`]
//! with the facts that a verdict needs. Each side has a phase of its own, because captures reorder the packets of the
//! two sides, and the next message of a side depends on its own previous messages alone.

use std::sync::Arc;

use crate::observe::{
    CookieTest, HandshakeFacts, HandshakeObservation, Hello, NodeNames, OddChallenge, PerRole,
    Received, Role, StatusText, short_digest,
};
use crate::packet::PacketRef;
use crate::protocol::digest::CandidateCookies;
use crate::record::{Charset, hex, wire_text};
use crate::stream::TcpOffset;
use crate::wire::handshake::{self, HandshakeMessage, MessageKind, Status};
use crate::wire::{DistFlags, WireError, decode};

/// The phase of the handshake that one side has reached, by the messages it has sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::protocol) enum Phase {
    /// It has sent no message.
    #[default]
    Silent,
    /// The initiator has sent `send_name`, the acceptor a status.
    Greeted,
    /// The acceptor has sent its challenge.
    Challenged,
    /// It has sent its last handshake message; frames come next.
    Done,
}

/// A message that the protocol does not allow in its phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::protocol) struct OutOfTurn {
    pub(in crate::protocol) phase: Phase,
    pub(in crate::protocol) got: MessageKind,
}

impl Phase {
    /// The phase after the side `from` has sent `got` in this phase.
    #[rustfmt::skip] // a table reads best as a table
    fn next(self, from: Role, got: MessageKind) -> Result<Self, OutOfTurn> {
        use {MessageKind as M, Role::{Acceptor, Initiator}};
        Ok(match (from, self, got) {
            (Initiator, Self::Silent,     M::SendName)       => Self::Greeted,
            (Initiator, Self::Greeted,    M::Status)         => Self::Greeted,    // step 3B, "alive"
            (Initiator, Self::Greeted,    M::Complement)     => Self::Greeted,    // step 4B, old name
            (Initiator, Self::Greeted,    M::ChallengeReply) => Self::Done,
            (Acceptor,  Self::Silent,     M::Status)         => Self::Greeted,
            (Acceptor,  Self::Greeted,    M::Challenge)      => Self::Challenged,
            (Acceptor,  Self::Challenged, M::Status)         => Self::Challenged, // refused after "c"
            (Acceptor,  Self::Challenged, M::ChallengeAck)   => Self::Done,
            (_, phase, got) => return Err(OutOfTurn { phase, got }),
        })
    }

    /// The phase after `got`, if the messages before it are not known.
    const fn after(got: MessageKind) -> Self {
        match got {
            MessageKind::SendName | MessageKind::Status | MessageKind::Complement => Self::Greeted,
            MessageKind::Challenge => Self::Challenged,
            MessageKind::ChallengeReply | MessageKind::ChallengeAck => Self::Done,
        }
    }
}

/// The messages of one handshake so far.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Exchange {
    /// The facts for the verdict, without what is odd about a challenge.
    pub(in crate::protocol) facts: HandshakeFacts,
    /// The names of the two nodes so far; replaced as a whole, since outputs share it.
    nodes: Option<Arc<NodeNames>>,
    /// The challenge of the acceptor.
    challenge_value: Option<u32>,
    /// The digest of the initiator, and its own challenge.
    reply_digest: Option<([u8; 16], u32)>,
    /// The digest of the acceptor.
    ack_digest: Option<[u8; 16]>,
    phases: PerRole<Phase>,
}

/// The result of one handshake message.
pub(in crate::protocol) struct HandshakeStep {
    pub(in crate::protocol) observation: HandshakeObservation,
    /// Whether it is the last message of its direction, behind which frames begin.
    pub(in crate::protocol) is_last: bool,
    /// Set if the protocol does not allow the message; the exchange then ignores it.
    pub(in crate::protocol) out_of_turn: Option<OutOfTurn>,
}

impl Exchange {
    /// Takes in one message of the side `from`, without its length prefix. `end` is the offset of its end in the
    /// stream, and `include_secrets` adds challenges and digests to the observation.
    ///
    /// # Errors
    ///
    /// The message is malformed, or is none that this side sends.
    pub(in crate::protocol) fn on_message(
        &mut self,
        from: Role,
        body: &[u8],
        mark: PacketRef,
        end: TcpOffset,
        cookies: &CandidateCookies,
        include_secrets: bool,
    ) -> Result<HandshakeStep, WireError> {
        let message = match from {
            Role::Initiator => decode(body, handshake::from_initiator),
            Role::Acceptor => decode(body, handshake::from_acceptor),
        }?;
        let kind = message.kind();
        let mut out_of_turn = None;
        let may_skip = std::mem::take(&mut self.facts.is_lost[from]);
        let phase = &mut self.phases[from];
        *phase = match phase.next(from, kind) {
            Ok(next) => next,
            // The capture lacks the messages before this one.
            Err(_) if may_skip => Phase::after(kind),
            Err(error) => {
                out_of_turn = Some(error);
                *phase
            }
        };
        let observation = if out_of_turn.is_none() {
            self.add_facts(from, &message, mark, end);
            let has_name = matches!(
                kind,
                MessageKind::SendName | MessageKind::Status | MessageKind::Challenge
            );
            if has_name {
                let name = |role| self.facts.name(role).map(|(name, _)| Arc::clone(name));
                self.nodes = Some(Arc::new(PerRole::from_fn(name)));
            }
            self.test_cookies(cookies);
            self.observe_message(from, &message, include_secrets)
        } else {
            HandshakeObservation::new(kind, from)
        };
        let is_last = out_of_turn.is_none()
            && matches!(kind, MessageKind::ChallengeReply | MessageKind::ChallengeAck);
        Ok(HandshakeStep { observation, is_last, out_of_turn })
    }

    /// Takes in the loss of a message of `from` with `len` bytes, of which the capture lacks a part. Returns whether
    /// it was the last message before frames, judged by its length.
    pub(in crate::protocol) fn on_lost(&mut self, from: Role, len: usize) -> bool {
        self.facts.is_torn[from] = true;
        self.facts.is_lost[from] = true;
        match from {
            // A `challenge_reply` has a tag, a challenge and a digest, a `challenge_ack` a tag and a digest.
            Role::Initiator => len == 21,
            Role::Acceptor => len == 17 && self.facts.challenge.is_some(),
        }
    }

    /// Adds the contents of a message to the facts. The first message of each kind counts.
    fn add_facts(
        &mut self,
        from: Role,
        message: &HandshakeMessage<'_>,
        mark: PacketRef,
        end: TcpOffset,
    ) {
        match *message {
            HandshakeMessage::SendName(m) => {
                let is_legal = handshake::is_node_name(m.name) || m.asks_for_name();
                let creation = m.creation.map(|creation| creation.0);
                let what = hello(m.version.number(), m.flags, creation, m.name, is_legal);
                self.facts.send_name.get_or_insert(Received { what, mark, end });
            }
            HandshakeMessage::Challenge(m) => {
                let creation = m.creation.map(|creation| creation.0);
                let what = hello(m.version.number(), m.flags, creation, m.name, true);
                self.facts.challenge.get_or_insert(Received { what, mark, end });
                self.challenge_value.get_or_insert(m.challenge);
            }
            HandshakeMessage::Status(status) => self.on_status(from, status, mark, end),
            HandshakeMessage::Complement(m) => {
                if let Some(send_name) = &mut self.facts.send_name {
                    send_name.what.flags = m.completed(send_name.what.flags);
                    send_name.what.creation = Some(m.creation.0);
                }
                self.facts.complement.get_or_insert(Received { what: (), mark, end });
            }
            HandshakeMessage::ChallengeReply(m) => {
                self.facts.reply.get_or_insert(Received { what: (), mark, end });
                self.reply_digest.get_or_insert((m.digest, m.challenge));
            }
            HandshakeMessage::ChallengeAck(m) => {
                self.facts.ack.get_or_insert(Received { what: (), mark, end });
                self.ack_digest.get_or_insert(m.digest);
            }
        }
    }

    /// Adds a status: the answer to `send_name`, or one of the two that may come later in a handshake.
    fn on_status(&mut self, from: Role, status: Status<'_>, mark: PacketRef, end: TcpOffset) {
        if from == Role::Initiator {
            let what = status == Status::True;
            self.facts.alive_reply.get_or_insert(Received { what, mark, end });
            return;
        }
        if self.facts.challenge.is_some() {
            if status == Status::NotAllowed {
                self.facts.late_refusal.get_or_insert(Received { what: (), mark, end });
            }
            return;
        }
        let what = match status {
            Status::Ok => StatusText::Ok,
            Status::OkSimultaneous => StatusText::OkSimultaneous,
            Status::Nok => StatusText::Nok,
            Status::NotAllowed => StatusText::NotAllowed,
            Status::Alive => StatusText::Alive,
            Status::Named { name, creation } => {
                let (name, name_hex) = wire_text(name, Charset::Latin1);
                StatusText::Named(name, name_hex, creation.0)
            }
            Status::True | Status::False | Status::Other(_) => StatusText::Other(text_of(status)),
        };
        self.facts.status.get_or_insert(Received { what, mark, end });
    }

    /// Tests the candidate cookies against each digest as soon as both the digest and its challenge are known.
    fn test_cookies(&mut self, candidates: &CandidateCookies) {
        let Self { facts, challenge_value, reply_digest, ack_digest, .. } = self;
        if candidates.is_empty() {
            return;
        }
        let test = |digest: &[u8; 16], challenge| match candidates.matching(digest, challenge) {
            Some(label) => CookieTest::Fits(label),
            None => CookieTest::NoneFits,
        };
        let PerRole { initiator, acceptor } = &mut facts.cookies;
        if let (CookieTest::Untested, Some((digest, _)), Some(challenge)) =
            (&initiator, &reply_digest, *challenge_value)
        {
            *initiator = test(digest, challenge);
        }
        if let (CookieTest::Untested, Some(digest), Some((_, challenge))) =
            (&acceptor, &ack_digest, *reply_digest)
        {
            *acceptor = test(digest, challenge);
        }
    }

    /// A challenge of the initiator that shows a tool, since a node chooses its challenge at random.
    fn odd_challenge(&self) -> Option<OddChallenge> {
        match self.reply_digest?.1 {
            0 | 0x0102_0304 => Some(OddChallenge::Constant),
            challenge if self.challenge_value == Some(challenge) => Some(OddChallenge::Echo),
            _ => None,
        }
    }

    /// The fingerprint of a handshake with two names and two random challenges.
    fn fingerprint(&self) -> Option<u64> {
        if self.odd_challenge().is_some() {
            return None;
        }
        let HandshakeFacts { send_name, challenge, .. } = &self.facts;
        let (initiator, acceptor) = (&send_name.as_ref()?.what, &challenge.as_ref()?.what);
        let challenges = [self.challenge_value?, self.reply_digest?.1].map(u32::to_be_bytes);
        let mut bytes = challenges.concat();
        for hello in [initiator, acceptor] {
            // No name has this byte: one name ends where the other begins.
            bytes.extend(hello.name.bytes().chain([0xff]));
        }
        Some(short_digest(&bytes))
    }

    /// The facts of the handshake so far.
    pub(in crate::protocol) fn observation(&self) -> HandshakeFacts {
        HandshakeFacts {
            fingerprint: self.fingerprint(),
            odd_challenge: self.odd_challenge(),
            ..self.facts.clone()
        }
    }

    /// The names of the two nodes, as far as messages so far have shown them.
    #[inline]
    pub(in crate::protocol) const fn nodes(&self) -> Option<&Arc<NodeNames>> {
        self.nodes.as_ref()
    }

    /// The observation of one message.
    fn observe_message(
        &self,
        from: Role,
        message: &HandshakeMessage<'_>,
        include_secrets: bool,
    ) -> HandshakeObservation {
        let mut observation = HandshakeObservation::new(message.kind(), from);
        if let Some(nodes) = &self.nodes {
            observation.nodes = (**nodes).clone();
        }
        match *message {
            HandshakeMessage::SendName(m) => {
                (observation.name, observation.name_hex) = name_text(m.name);
                observation.version = Some(m.version.number());
                observation.flags = Some(m.flags);
                observation.creation = m.creation.map(|creation| creation.0);
            }
            HandshakeMessage::Challenge(m) => {
                (observation.name, observation.name_hex) = name_text(m.name);
                observation.version = Some(m.version.number());
                observation.flags = Some(m.flags);
                observation.creation = m.creation.map(|creation| creation.0);
                observation.challenge = include_secrets.then_some(m.challenge);
            }
            HandshakeMessage::Status(status) => {
                observation.status = Some(text_of(status));
                if let Status::Named { name, creation } = status {
                    (observation.assigned_name, observation.assigned_name_hex) = name_text(name);
                    observation.creation = Some(creation.0);
                }
            }
            HandshakeMessage::Complement(m) => {
                observation.flags = Some(m.completed(DistFlags(0)));
                observation.creation = Some(m.creation.0);
            }
            HandshakeMessage::ChallengeReply(m) => {
                observation.cookie = self.facts.cookies.initiator.label().cloned();
                observation.challenge = include_secrets.then_some(m.challenge);
                observation.digest = include_secrets.then(|| hex(&m.digest));
                observation.fingerprint = self.fingerprint();
            }
            HandshakeMessage::ChallengeAck(m) => {
                observation.cookie = self.facts.cookies.acceptor.label().cloned();
                observation.digest = include_secrets.then(|| hex(&m.digest));
            }
        }
        observation
    }
}

/// The text of a node name, and its hex digits if the text loses bytes.
fn name_text(name: &[u8]) -> (Option<Arc<str>>, Option<String>) {
    let (name, name_hex) = wire_text(name, Charset::Latin1);
    (Some(name), name_hex)
}

/// The facts of a `send_name` or `challenge`.
fn hello(
    version: u8,
    flags: DistFlags,
    creation: Option<u32>,
    name: &[u8],
    is_legal: bool,
) -> Hello {
    let (name, name_hex) = wire_text(name, Charset::Latin1);
    Hello { version, flags, creation, name, name_hex, is_legal }
}

/// The text of a status message; bytes that are not UTF-8 are replaced.
fn text_of(status: Status<'_>) -> String {
    String::from_utf8_lossy(status.text()).into_owned()
}
