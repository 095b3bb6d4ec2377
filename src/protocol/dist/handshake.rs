//! The handshake: what each side has said.
//!
//! In: whole messages of both sides, each side's in order. Out: an event for each, and the [`Exchange`]
//! that a verdict is made from. The sides are kept apart: captures reorder, and what one side may say
//! next depends on what it said before alone.

use std::sync::Arc;

use crate::observe::{
    CookieTest, HandshakeFacts, HandshakeObservation, Hello, OddChallenge, PerRole, Received, Role,
    StatusText,
};
use crate::packet::PacketRef;
use crate::protocol::digest::Cookies;
use crate::record::{Charset, hex, wire_text};
use crate::stream::TcpOffset;
use crate::wire::handshake::{self, HandshakeMessage, MessageKind, Status};
use crate::wire::{DistFlags, WireError, decode};

/// Where one side is in the handshake, by what it has said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::protocol) enum Phase {
    /// Nothing yet.
    #[default]
    Silent,
    /// Initiator: `send_name`. Acceptor: a status.
    Greeted,
    /// Acceptor: its challenge.
    Challenged,
    /// Everything: frames come next.
    Done,
}

/// A message where the protocol has no place for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::protocol) struct OutOfTurn {
    pub(in crate::protocol) phase: Phase,
    pub(in crate::protocol) got: MessageKind,
}

impl Phase {
    /// What comes after this side has said `got`.
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

    /// Where a side is that has just said `got`, whatever it said before.
    const fn after(got: MessageKind) -> Self {
        match got {
            MessageKind::SendName | MessageKind::Status | MessageKind::Complement => Self::Greeted,
            MessageKind::Challenge => Self::Challenged,
            MessageKind::ChallengeReply | MessageKind::ChallengeAck => Self::Done,
        }
    }
}

/// Everything that was sent in one handshake.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Exchange {
    /// What both sides sent.
    pub(in crate::protocol) facts: HandshakeFacts,
    challenge_value: Option<u32>,
    reply_digest: Option<([u8; 16], u32)>,
    ack_digest: Option<[u8; 16]>,
    phases: PerRole<Phase>,
}

/// What came of one message.
pub(in crate::protocol) struct Heard {
    pub(in crate::protocol) event: HandshakeObservation,
    /// Whether frames follow in this direction.
    pub(in crate::protocol) done: bool,
    pub(in crate::protocol) out_of_turn: Option<OutOfTurn>,
}

impl Exchange {
    /// Takes one message of `from` in.
    pub(in crate::protocol) fn on_message(
        &mut self,
        from: Role,
        body: &[u8],
        mark: PacketRef,
        end: TcpOffset,
        cookies: &Cookies,
        secrets: bool,
    ) -> Result<Heard, WireError> {
        let message = match from {
            Role::Initiator => decode(body, handshake::from_initiator),
            Role::Acceptor => decode(body, handshake::from_acceptor),
        }?;
        let kind = message.kind();
        let mut out_of_turn = None;
        let lost = std::mem::take(&mut self.facts.is_lost[from]);
        let phase = &mut self.phases[from];
        *phase = match phase.next(from, kind) {
            Ok(next) => next,
            Err(_) if lost => Phase::after(kind),
            Err(misplaced) => {
                out_of_turn = Some(misplaced);
                *phase
            }
        };
        let event = if out_of_turn.is_none() {
            self.take_in(from, &message, mark, end);
            self.test_cookies(cookies);
            self.observed(from, &message, secrets)
        } else {
            HandshakeObservation::new(kind, from)
        };
        let done = out_of_turn.is_none()
            && matches!(kind, MessageKind::ChallengeReply | MessageKind::ChallengeAck);
        Ok(Heard { event, done, out_of_turn })
    }

    /// A message of `from` with this many bytes was lost in part. Its length tells whether it was the
    /// last one before frames.
    pub(in crate::protocol) fn on_lost(&mut self, from: Role, len: usize) -> bool {
        self.facts.is_torn = true;
        self.facts.is_lost[from] = true;
        match from {
            Role::Initiator => len == 21,
            Role::Acceptor => len == 17 && self.facts.challenge.is_some(),
        }
    }

    fn take_in(
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
                if let Some(said) = &mut self.facts.send_name {
                    said.what.flags = m.completed(said.what.flags);
                    said.what.creation = Some(m.creation.0);
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
            Status::Named { name, .. } => {
                let (name, name_hex) = wire_text(name, Charset::Latin1);
                StatusText::Named(name, name_hex)
            }
            Status::True | Status::False | Status::Other(_) => StatusText::Other(text_of(status)),
        };
        self.facts.status.get_or_insert(Received { what, mark, end });
    }

    /// Tests the candidate cookies against each digest, once both the digest and its challenge have come.
    fn test_cookies(&mut self, candidates: &Cookies) {
        let Self { facts, challenge_value, reply_digest, ack_digest, .. } = self;
        if candidates.is_empty() {
            return;
        }
        let fitting = |digest: &[u8; 16], challenge| match candidates.that_made(digest, challenge) {
            Some(label) => CookieTest::Fits(label),
            None => CookieTest::NoneFits,
        };
        let PerRole { initiator, acceptor } = &mut facts.cookies;
        if let (CookieTest::Untested, Some((digest, _)), Some(challenge)) =
            (&initiator, &reply_digest, *challenge_value)
        {
            *initiator = fitting(digest, challenge);
        }
        if let (CookieTest::Untested, Some(digest), Some((_, challenge))) =
            (&acceptor, &ack_digest, *reply_digest)
        {
            *acceptor = fitting(digest, challenge);
        }
    }

    /// What is odd about the challenge of the initiator, which a node draws at random.
    fn odd_challenge(&self) -> Option<OddChallenge> {
        match self.reply_digest?.1 {
            0 | 0x0102_0304 => Some(OddChallenge::Constant),
            drawn if self.challenge_value == Some(drawn) => Some(OddChallenge::Echo),
            _ => None,
        }
    }

    /// What both sides sent so far.
    pub(in crate::protocol) fn observation(&self) -> HandshakeFacts {
        HandshakeFacts { odd_challenge: self.odd_challenge(), ..self.facts.clone() }
    }

    /// The message as it is reported.
    fn observed(
        &self,
        from: Role,
        message: &HandshakeMessage<'_>,
        secrets: bool,
    ) -> HandshakeObservation {
        let mut event = HandshakeObservation::new(message.kind(), from);
        match *message {
            HandshakeMessage::SendName(m) => {
                (event.name, event.name_hex) = named(m.name);
                event.version = Some(m.version.number());
                event.flags = Some(m.flags);
                event.creation = m.creation.map(|creation| creation.0);
            }
            HandshakeMessage::Challenge(m) => {
                (event.name, event.name_hex) = named(m.name);
                event.version = Some(m.version.number());
                event.flags = Some(m.flags);
                event.creation = m.creation.map(|creation| creation.0);
                event.challenge = secrets.then_some(m.challenge);
            }
            HandshakeMessage::Status(status) => {
                event.status = Some(text_of(status));
                if let Status::Named { name, creation } = status {
                    (event.assigned_name, event.assigned_name_hex) = named(name);
                    event.creation = Some(creation.0);
                }
            }
            HandshakeMessage::Complement(m) => {
                event.flags = Some(m.completed(DistFlags(0)));
                event.creation = Some(m.creation.0);
            }
            HandshakeMessage::ChallengeReply(m) => {
                event.cookie = self.facts.cookies.initiator.label().cloned();
                event.challenge = secrets.then_some(m.challenge);
                event.digest = secrets.then(|| hex(&m.digest));
            }
            HandshakeMessage::ChallengeAck(m) => {
                event.cookie = self.facts.cookies.acceptor.label().cloned();
                event.digest = secrets.then(|| hex(&m.digest));
            }
        }
        event
    }
}

fn named(name: &[u8]) -> (Option<Arc<str>>, Option<String>) {
    let (name, name_hex) = wire_text(name, Charset::Latin1);
    (Some(name), name_hex)
}

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

fn text_of(status: Status<'_>) -> String {
    String::from_utf8_lossy(status.text()).into_owned()
}
