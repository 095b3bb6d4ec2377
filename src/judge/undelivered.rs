//! Bytes that one side sent and that do not arrive at the other.
//!
//! In: what of each direction was acknowledged, and when each side last sent a packet. Out: [`Undelivered`]: which direction
//! loses what, and whether the receiving side was there meanwhile. A side that retransmits for seconds received no
//! acknowledgement; that holds even where the capture lacks other packets.

use std::net::IpAddr;
use std::time::Duration;

use crate::observe::{
    CloseKind, Delivery, EpmdPackets, HandshakeFacts, MessageKind, Observation, PauseSpan, PerRole,
    Received, Role,
};
use crate::packet::PacketRef;
use crate::stream::{Resent, TcpOffset};
use crate::time::{Timestamp, micros};

/// Bytes of one side that do not arrive at the other, as far as acknowledgements show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Undelivered {
    /// The side that sent them.
    pub from: Role,
    /// Offset of the first of them.
    pub offset: TcpOffset,
    /// Number of bytes in the smallest segment that began with them.
    pub bytes: u32,
    /// Number of times that they were sent, as far as the capture shows.
    pub sent: u32,
    /// When they were sent first.
    pub since: Timestamp,
    /// The first packet that brought them again, if one did.
    pub again: Option<PacketRef>,
    /// The last packet that brought them, if they were sent again.
    pub last: Option<PacketRef>,
    /// What of the direction arrives, and what does not.
    pub loss: LossScope,
    /// What the capture has of the other side from then on.
    pub peer: PeerSigns,
    /// The time before them in which no byte passed in either direction.
    pub pause: Option<Duration>,
    /// The link that their packets were too large for, as an ICMP message shows it.
    pub too_large: Option<TooLarge>,
}

/// What of one direction arrives, and what does not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LossScope {
    /// No segment with bytes was ever acknowledged.
    Payload,
    /// Segments up to this number of bytes were acknowledged, and larger ones are not, while the other side is there.
    Large {
        /// Bytes of the largest segment that was acknowledged.
        arrives: u32,
    },
    /// From some moment on nothing is acknowledged.
    FromThen,
}

/// What the capture has of the side that should receive the bytes, after they were sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerSigns {
    /// Its node sent bytes.
    Sends,
    /// It sent bytes which were not acknowledged either: nothing passes in both directions.
    InVain,
    /// Its host sent segments without bytes: acknowledgements of what came before, or its close.
    Answers,
    /// Nothing came until this packet, which has bytes of its node.
    Returned(Timestamp),
    /// No packet at all came from its host.
    Silent,
}

/// An ICMP message about a packet that is larger than the next link carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLarge {
    /// The largest packet that the link carries; 0 if the message does not have it.
    pub mtu: u32,
    /// The router that sent the message.
    pub reporter: IpAddr,
    /// The packet with the message.
    pub mark: PacketRef,
}

/// What is known of one side for this purpose.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    delivery: Delivery,
    /// When it last sent a segment of any kind.
    last_segment: Option<Timestamp>,
    /// When it last sent bytes before the close.
    last_bytes: Option<Timestamp>,
    /// Its longest time without bytes.
    longest_pause: Option<PauseSpan>,
    /// Since when bytes of it wait to be acknowledged.
    unanswered: Option<Timestamp>,
    /// Whether its receive window was closed for long, so that the other side could not send.
    is_stalled: bool,
}

impl Undelivered {
    /// Of a distribution connection. `waited_until` is the time of a close that shows what was acknowledged until then,
    /// from a capture that lacks no packet that matters: then bytes which were not retransmitted count as well.
    pub fn of(seen: &Observation, waited_until: Option<Timestamp>) -> Option<Self> {
        let sides = PerRole::from_fn(|role| {
            let tcp = &seen.tcp.sides[role];
            // A reset of a host that has forgotten the connection shows no way back while bytes were lost.
            let resets = seen.closed_by() == Some(role)
                && seen.close_kind() == Some(CloseKind::Rst)
                && seen.closed().map(|close| close.at) == tcp.last_segment;
            Side {
                delivery: tcp.delivery,
                last_segment: tcp.last_segment.filter(|_| !resets),
                last_bytes: tcp.last_bytes,
                longest_pause: seen.traffic[role].longest_pause,
                unanswered: tcp.unanswered,
                is_stalled: tcp.stall.is_some_and(|stall| stall.lasted_us >= micros(STALL)),
            }
        });
        Self::among(&sides, waited_until)
    }

    /// Of a request to EPMD and its reply; the client is the initiator.
    pub fn of_epmd(seen: &EpmdPackets) -> Option<Self> {
        let sides = PerRole::from_fn(|role| {
            let delivery = seen.delivery[role];
            let sent = match role {
                Role::Initiator => seen.request,
                Role::Acceptor => seen.reply,
            };
            let is_acknowledged = delivery.acked.is_some_and(|acked| acked > TcpOffset::BASE);
            Side {
                delivery,
                last_segment: seen.last_segment[role],
                unanswered: sent.filter(|_| !is_acknowledged).map(|sent| sent.at),
                ..Side::default()
            }
        });
        let close = seen.close.filter(|_| seen.is_whole && seen.closed_by == Some(Role::Initiator));
        Self::among(&sides, close.map(|close| close.at))
    }

    /// The direction that does not arrive; where neither does, the one whose receiver is there.
    fn among(sides: &PerRole<Side>, waited_until: Option<Timestamp>) -> Option<Self> {
        let found = [Role::Initiator, Role::Acceptor]
            .into_iter()
            .filter_map(|role| Self::from_side(sides, role, waited_until));
        found.min_by_key(|it| (it.peer == PeerSigns::Silent, it.again.is_none(), it.since))
    }

    fn from_side(
        sides: &PerRole<Side>,
        from: Role,
        waited_until: Option<Timestamp>,
    ) -> Option<Self> {
        let (side, peer) = (&sides[from], &sides[from.peer()]);
        if peer.is_stalled {
            return None;
        }
        let resent = side.delivery.unacknowledged();
        let waits = side
            .unanswered
            .filter(|since| waited_until.is_some_and(|until| until.since(*since) >= WAITS));
        let resent = resent.filter(|resent| resent.is_lost() || waits.is_some());
        let (since, sent) = match (resent, waits) {
            (Some(resent), _) => (resent.first, resent.sent),
            (None, Some(since)) => (since, 1),
            (None, None) => return None,
        };
        let offset = match resent {
            Some(resent) => resent.offset,
            None => side.delivery.acked.unwrap_or(TcpOffset::BASE),
        };
        let bytes = resent.map_or(0, |resent| resent.bytes);
        let too_large = side.delivery.icmp.and_then(|icmp| {
            Some(TooLarge { mtu: icmp.mtu?, reporter: icmp.reporter, mark: icmp.mark })
        });
        let signs = PeerSigns::of(peer, since, resent);
        let is_there = matches!(signs, PeerSigns::Sends | PeerSigns::Answers);
        let arrives = side.delivery.largest_acked;
        let loss = if too_large.is_some() || is_there && arrives > 0 && exceeds(bytes, arrives) {
            LossScope::Large { arrives }
        } else if arrives == 0 && offset == TcpOffset::BASE {
            LossScope::Payload
        } else {
            LossScope::FromThen
        };
        let before = resent.and_then(|resent| resent.before);
        let last_of_peer = peer.last_segment.filter(|last| *last < since);
        let pause = before.filter(|_| peer.last_segment.is_none_or(|last| last < since));
        let pause =
            pause.map(|before| since.since(last_of_peer.map_or(before, |last| last.max(before))));
        Some(Self {
            from,
            offset,
            bytes,
            sent,
            since,
            again: resent.map(|resent| resent.again),
            last: resent.map(|resent| resent.last),
            loss,
            peer: signs,
            pause: pause.filter(|pause| *pause >= LONG_PAUSE),
            too_large,
        })
    }

    /// Whether packets may be lost for their size: the link's own word, or segments so large that a link may not carry
    /// them while no larger one arrived.
    pub fn may_be_size(&self) -> bool {
        match self.loss {
            LossScope::Large { .. } => true,
            LossScope::Payload => self.bytes >= LARGE,
            LossScope::FromThen => false,
        }
    }

    /// Whether small packets arrive and large ones do not.
    pub const fn is_large(&self) -> bool {
        matches!(self.loss, LossScope::Large { .. })
    }

    /// For how long the bytes were sent again.
    pub fn lasted(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last.at.since(self.since))
    }

    /// The handshake message that the bytes belong to.
    pub fn message(&self, handshake: &HandshakeFacts) -> Option<MessageKind> {
        fn end<T>(kind: MessageKind, it: Option<&Received<T>>) -> Option<(MessageKind, TcpOffset)> {
            it.map(|it| (kind, it.end))
        }
        let h = handshake;
        let messages = match self.from {
            Role::Initiator => [
                end(MessageKind::SendName, h.send_name.as_ref()),
                end(MessageKind::Complement, h.complement.as_ref()),
                end(MessageKind::ChallengeReply, h.reply.as_ref()),
            ],
            Role::Acceptor => [
                end(MessageKind::Status, h.status.as_ref()),
                end(MessageKind::Challenge, h.challenge.as_ref()),
                end(MessageKind::ChallengeAck, h.ack.as_ref()),
            ],
        };
        let behind = messages.into_iter().flatten().filter(|(_, end)| *end > self.offset);
        behind.min_by_key(|(_, end)| *end).map(|(kind, _)| kind)
    }
}

impl PeerSigns {
    fn of(peer: &Side, since: Timestamp, resent: Option<Resent>) -> Self {
        let from = resent.map_or_else(|| since.after(WAITS), |resent| resent.again.at);
        let is_later = |at: &Timestamp| *at > from;
        if let (Some(resent), Some(pause)) = (resent, peer.longest_pause) {
            let until = pause.since.at.after(Duration::from_micros(pause.lasted_us));
            // Its bytes paused while the others were sent again, and came back.
            if pause.since.at <= from && until >= resent.last.at && until > from {
                return Self::Returned(until);
            }
        }
        let is_lost_too =
            peer.delivery.unacknowledged().is_some_and(|it| it.sent > 2 || it.is_lost());
        if is_lost_too {
            Self::InVain
        } else if peer.last_bytes.as_ref().is_some_and(is_later) {
            Self::Sends
        } else if peer.last_segment.as_ref().is_some_and(is_later) {
            Self::Answers
        } else {
            Self::Silent
        }
    }
}

/// Whether segments of `bytes` bytes may be too large for a link that carries those of `arrives` bytes.
const fn exceeds(bytes: u32, arrives: u32) -> bool {
    bytes > arrives && bytes >= LARGE
}

/// Every link of the Internet carries packets of 576 bytes (RFC 791), and some headers are as large as 76 bytes. What is
/// smaller is not lost for its size.
const LARGE: u32 = 500;

/// A segment that is not acknowledged for this long was lost, or its acknowledgement was: hosts delay it by less than
/// half a second (RFC 9293, section 3.8.6.3).
const WAITS: Duration = Duration::from_secs(1);

/// A window that is closed for this long delays bytes.
const STALL: Duration = Duration::from_secs(1);

/// Ticks come every 15 s by default: a longer pause is unusual, and some firewalls forget a connection in it.
const LONG_PAUSE: Duration = Duration::from_secs(20);
