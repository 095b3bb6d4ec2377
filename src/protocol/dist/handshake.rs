//! The handshake: what each side has said.
//!
//! In: whole messages of both sides, each side's in order. Out: an event for each, and the [`Exchange`]
//! that a verdict is made from. The sides are kept apart: captures reorder, and what one side may say
//! next depends on what it said before alone.

use std::sync::Arc;

use crate::packet::PacketRef;
use crate::protocol::digest::Cookies;
use crate::record::{Charset, Handshake, Hex, OddChallenge, Role, hex, wire_text};
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

/// Something that was said, by which packet, and where in its stream it ends.
#[derive(Clone, Debug)]
pub(in crate::protocol) struct Seen<T> {
    pub(in crate::protocol) what: T,
    pub(in crate::protocol) mark: PacketRef,
    pub(in crate::protocol) end: TcpOffset,
}

/// How a side presents itself, in `send_name` or `challenge`.
#[derive(Clone, Debug)]
pub(in crate::protocol) struct Hello {
    pub(in crate::protocol) version: u8,
    pub(in crate::protocol) flags: DistFlags,
    pub(in crate::protocol) creation: Option<u32>,
    pub(in crate::protocol) name: Arc<str>,
    pub(in crate::protocol) name_hex: Option<String>,
    /// False for a name that a node must refuse.
    pub(in crate::protocol) is_legal: bool,
}

/// The acceptor's word on whether to go on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::protocol) enum Answer {
    Ok,
    OkSimultaneous,
    Nok,
    NotAllowed,
    Alive,
    Named(Arc<str>, Option<String>),
    Other(String),
}

impl Answer {
    /// Its text on the wire.
    pub(in crate::protocol) fn text(&self) -> &str {
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

/// Everything that was said in one handshake.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Exchange {
    pub(in crate::protocol) send_name: Option<Seen<Hello>>,
    pub(in crate::protocol) answer: Option<Seen<Answer>>,
    /// The initiator's word on `alive`.
    pub(in crate::protocol) alive_reply: Option<Seen<bool>>,
    pub(in crate::protocol) challenge: Option<Seen<Hello>>,
    challenge_value: Option<u32>,
    pub(in crate::protocol) complement: Option<Seen<()>>,
    /// `not_allowed` in the place of `challenge_ack`.
    pub(in crate::protocol) late_refusal: Option<Seen<()>>,
    pub(in crate::protocol) reply: Option<Seen<()>>,
    reply_digest: Option<([u8; 16], u32)>,
    pub(in crate::protocol) ack: Option<Seen<()>>,
    ack_digest: Option<[u8; 16]>,
    /// Whether a message was lost in part.
    pub(in crate::protocol) is_torn: bool,
    phases: [Phase; 2],
    /// Whether a side's place in the protocol was never known, or is lost.
    pub(in crate::protocol) is_lost: [bool; 2],
}

/// What came of one message.
pub(in crate::protocol) struct Heard {
    pub(in crate::protocol) event: Handshake,
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
        if let Some(phase) = self.phases.get_mut(from.index()) {
            let lost = self.is_lost.get_mut(from.index()).is_some_and(std::mem::take);
            *phase = match phase.next(from, kind) {
                Ok(next) => next,
                Err(_) if lost => Phase::after(kind),
                Err(misplaced) => {
                    out_of_turn = Some(misplaced);
                    *phase
                }
            };
        }
        let event = if out_of_turn.is_none() {
            self.take_in(from, &message, mark, end);
            self.told(from, &message, cookies, secrets)
        } else {
            Handshake::new(kind.name(), from)
        };
        let done = out_of_turn.is_none()
            && matches!(kind, MessageKind::ChallengeReply | MessageKind::ChallengeAck);
        Ok(Heard { event, done, out_of_turn })
    }

    /// A message of `from` with this many bytes was lost in part. Its length tells whether it was the
    /// last one before frames.
    pub(in crate::protocol) fn on_lost(&mut self, from: Role, len: usize) -> bool {
        self.is_torn = true;
        if let Some(lost) = self.is_lost.get_mut(from.index()) {
            *lost = true;
        }
        match from {
            Role::Initiator => len == 21,
            Role::Acceptor => len == 17 && self.challenge.is_some(),
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
                self.send_name.get_or_insert(Seen { what, mark, end });
            }
            HandshakeMessage::Challenge(m) => {
                let creation = m.creation.map(|creation| creation.0);
                let what = hello(m.version.number(), m.flags, creation, m.name, true);
                self.challenge.get_or_insert(Seen { what, mark, end });
                self.challenge_value.get_or_insert(m.challenge);
            }
            HandshakeMessage::Status(status) => self.on_status(from, status, mark, end),
            HandshakeMessage::Complement(m) => {
                if let Some(said) = &mut self.send_name {
                    said.what.flags = m.completed(said.what.flags);
                    said.what.creation = Some(m.creation.0);
                }
                self.complement.get_or_insert(Seen { what: (), mark, end });
            }
            HandshakeMessage::ChallengeReply(m) => {
                self.reply.get_or_insert(Seen { what: (), mark, end });
                self.reply_digest.get_or_insert((m.digest, m.challenge));
            }
            HandshakeMessage::ChallengeAck(m) => {
                self.ack.get_or_insert(Seen { what: (), mark, end });
                self.ack_digest.get_or_insert(m.digest);
            }
        }
    }

    fn on_status(&mut self, from: Role, status: Status<'_>, mark: PacketRef, end: TcpOffset) {
        if from == Role::Initiator {
            let what = status == Status::True;
            self.alive_reply.get_or_insert(Seen { what, mark, end });
            return;
        }
        if self.challenge.is_some() {
            if status == Status::NotAllowed {
                self.late_refusal.get_or_insert(Seen { what: (), mark, end });
            }
            return;
        }
        let what = match status {
            Status::Ok => Answer::Ok,
            Status::OkSimultaneous => Answer::OkSimultaneous,
            Status::Nok => Answer::Nok,
            Status::NotAllowed => Answer::NotAllowed,
            Status::Alive => Answer::Alive,
            Status::Named { name, .. } => {
                let (name, name_hex) = wire_text(name, Charset::Latin1);
                Answer::Named(name, name_hex)
            }
            Status::True | Status::False | Status::Other(_) => Answer::Other(text_of(status)),
        };
        self.answer.get_or_insert(Seen { what, mark, end });
    }

    /// Label of the cookie that the initiator's digest was made with. The outer level is whether that
    /// could be tested.
    pub(in crate::protocol) fn reply_cookie(&self, cookies: &Cookies) -> Option<Option<Arc<str>>> {
        let ((digest, _), challenge) = (self.reply_digest?, self.challenge_value?);
        (!cookies.is_empty()).then(|| cookies.that_made(&digest, challenge))
    }

    /// The same for the acceptor's digest.
    pub(in crate::protocol) fn ack_cookie(&self, cookies: &Cookies) -> Option<Option<Arc<str>>> {
        let (digest, (_, challenge)) = (self.ack_digest?, self.reply_digest?);
        (!cookies.is_empty()).then(|| cookies.that_made(&digest, challenge))
    }

    /// The message furthest along that was seen whole.
    pub(in crate::protocol) fn reached(&self) -> Option<MessageKind> {
        let seen = [
            (self.ack.is_some(), MessageKind::ChallengeAck),
            (self.reply.is_some(), MessageKind::ChallengeReply),
            (self.complement.is_some(), MessageKind::Complement),
            (self.challenge.is_some(), MessageKind::Challenge),
            (self.answer.is_some() || self.alive_reply.is_some(), MessageKind::Status),
            (self.send_name.is_some(), MessageKind::SendName),
        ];
        seen.into_iter().find(|(seen, _)| *seen).map(|(_, kind)| kind)
    }

    /// What is odd about the challenge of the initiator, which a node draws at random.
    pub(in crate::protocol) fn odd_challenge(&self) -> Option<OddChallenge> {
        match self.reply_digest?.1 {
            0 | 0x0102_0304 => Some(OddChallenge::Constant),
            drawn if self.challenge_value == Some(drawn) => Some(OddChallenge::Echo),
            _ => None,
        }
    }

    /// The name that the initiator goes by: its own, or the one it was given.
    pub(in crate::protocol) fn initiator_name(&self) -> Option<(&Arc<str>, Option<&String>)> {
        if let Some(Seen { what: Answer::Named(name, name_hex), .. }) = &self.answer {
            return Some((name, name_hex.as_ref()));
        }
        let hello = &self.send_name.as_ref()?.what;
        // Only a host, where a name was asked for and not given.
        hello.name.contains('@').then_some((&hello.name, hello.name_hex.as_ref()))
    }

    /// Whether one side has said that it lacks such a flag.
    pub(in crate::protocol) fn lacks(&self, flag: DistFlags) -> bool {
        let hellos = [&self.send_name, &self.challenge].into_iter().flatten();
        hellos.into_iter().any(|said| !said.what.flags.contains(flag))
    }

    fn told(
        &self,
        from: Role,
        message: &HandshakeMessage<'_>,
        cookies: &Cookies,
        secrets: bool,
    ) -> Handshake {
        let mut event = Handshake::new(message.kind().name(), from);
        let flag_names =
            |flags: DistFlags| Some(flags.names().map(|name| name.into_owned()).collect());
        match *message {
            HandshakeMessage::SendName(m) => {
                (event.name, event.name_hex) = named(m.name);
                event.version = Some(m.version.number());
                (event.flags, event.flag_names) = (Some(Hex(m.flags.0)), flag_names(m.flags));
                event.creation = m.creation.map(|creation| creation.0);
            }
            HandshakeMessage::Challenge(m) => {
                (event.name, event.name_hex) = named(m.name);
                event.version = Some(m.version.number());
                (event.flags, event.flag_names) = (Some(Hex(m.flags.0)), flag_names(m.flags));
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
                let high = m.completed(DistFlags(0));
                (event.flags, event.flag_names) = (Some(Hex(high.0)), flag_names(high));
                event.creation = Some(m.creation.0);
            }
            HandshakeMessage::ChallengeReply(m) => {
                event.cookie = self.reply_cookie(cookies).flatten();
                event.challenge = secrets.then_some(m.challenge);
                event.digest = secrets.then(|| hex(&m.digest));
            }
            HandshakeMessage::ChallengeAck(m) => {
                event.cookie = self.ack_cookie(cookies).flatten();
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
