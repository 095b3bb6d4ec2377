//! What one distribution connection, or an attempt at one, showed.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Delivery, Foreign, HandshakeFacts, MessageKind, MessageSums, OpenedTls, PauseSpan, PerRole,
    ProxyHeaderFacts, Rare, Received, Role, TlsSide, is_default,
};
use crate::decode::Endpoint;
use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::{Timestamp, micros};

/// What one distribution connection, or an attempt at one, showed so far.
///
/// Later observations of a connection replace earlier ones. None of the fields depends on another connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Observation {
    /// Time of the capture's clock up to which the connection was observed.
    pub at: Timestamp,
    /// The reason of this observation.
    pub occasion: Occasion,
    /// Whether no observation of the connection follows.
    pub is_final: bool,
    /// Time up to which the capture is known to have lost packets. Before it, a packet that is not in the capture may
    /// have been sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lost_until: Option<Timestamp>,
    /// How the roles were determined.
    pub orientation: Orientation,
    /// Address and port of each side.
    pub ends: PerRole<Endpoint>,
    /// Whether the node behind each side may have another address: the same handshake was seen there on another TCP
    /// connection, or the address is that of a translator. Known to a merge alone, by what another sensor saw.
    #[serde(default, skip_serializing_if = "is_default")]
    pub passed_on: PerRole<bool>,
    /// Facts from its TCP segments.
    pub tcp: TcpFacts,
    /// Messages of the handshake.
    #[serde(default, skip_serializing_if = "is_default")]
    pub handshake: HandshakeFacts,
    /// The PROXY protocol header in front of the initiator's bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy: Option<ProxyHeaderFacts>,
    /// TLS records of each side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: PerRole<Rare<TlsSide>>,
    /// What was opened of TLS with the secrets of a key log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub opened_tls: OpenedTls,
    /// Frames of each side after the handshake.
    #[serde(default, skip_serializing_if = "is_default")]
    pub traffic: PerRole<FrameTraffic>,
    /// The first bytes of each side, if they are not a handshake, and the protocol that they look like.
    #[serde(default, skip_serializing_if = "is_default")]
    pub foreign: PerRole<Option<ForeignBytes>>,
    /// Totals of the messages of each side after the handshake.
    #[serde(default, skip_serializing_if = "is_default")]
    pub messages: PerRole<Option<Box<MessageSums>>>,
}

/// The reason of an observation.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The handshake has just completed.
    Established,
    /// One side has stopped sending, and the other will soon close for that reason.
    Silent {
        /// The side that sends nothing.
        role: Role,
        /// Its last packet with bytes.
        last: PacketRef,
    },
    /// Both sides have closed the connection.
    Over,
    /// No packet came for a long time.
    Quiet,
    /// The input ended, or the connection was removed at a memory limit.
    End,
}

/// Facts from the TCP segments of a connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TcpFacts {
    /// The first packet of the connection.
    pub first: PacketRef,
    /// Last packet that was captured.
    pub last: PacketRef,
    /// Result of the SYN.
    pub opening: Opening,
    /// An ICMP "destination unreachable" about the SYN.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp: Option<IcmpUnreachable>,
    /// The first close by either side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub close: Option<CloseFacts>,
    /// Whether both directions were seen.
    pub both_seen: bool,
    /// Whether segments were retransmitted, so that a pause may be the time of a retransmission.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_lossy: bool,
    /// Round-trip time between the ends, if the packets of the opening show it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub round_trip: Option<Duration>,
    /// Number of gaps in the streams that were skipped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gaps: u64,
    /// Number of bytes in these gaps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gap_bytes: u64,
    /// Number of segments that differ from earlier bytes at the same offset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflicts: u64,
    /// Facts about the segments of each side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sides: PerRole<TcpSide>,
}

impl TcpFacts {
    /// Whether the dialing side went on behind the answer to its SYN, as far as the capture has both: a SYN-ACK that it did
    /// not take shows nothing of the port.
    pub fn is_answer_taken(&self) -> bool {
        let is_seen = self.sides.initiator.syn.is_some() && self.sides.acceptor.syn.is_some();
        !is_seen || self.round_trip.is_some()
    }
}

/// Facts about the segments of one side of a TCP connection.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TcpSide {
    /// SYN or SYN-ACK of this side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub syn: Option<SynFacts>,
    /// Sequence number of its first byte, if the SYN or an acknowledgement before the first byte shows it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub start: Option<u32>,
    /// Sequence number of the byte at [`TcpOffset::BASE`], if anything of the stream was seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub base: Option<u32>,
    /// Length of the stream as far as seen, without retransmissions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bytes: u64,
    /// Number of bytes known to have been sent and not captured.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing_bytes: u64,
    /// Number of bytes that were retransmitted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retransmitted_bytes: u64,
    /// Offset after the last byte of the stream.
    #[serde(default, skip_serializing_if = "is_default")]
    pub end: TcpOffset,
    /// When it last sent bytes before the close, retransmissions included.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_bytes: Option<Timestamp>,
    /// When it last sent a segment of any kind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_segment: Option<Timestamp>,
    /// Time since which bytes of this side are unacknowledged; `None` if all are acknowledged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unanswered: Option<Timestamp>,
    /// When it sent its FIN or RST; `None` if it did not, or the capture lacks it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub closed_at: Option<Timestamp>,
    /// Whether it sent a FIN that the capture lacks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fin_unseen: bool,
    /// The longest time for which its receive window was closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stall: Option<Stall>,
    /// What of its bytes arrived at the other side.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivery: Delivery,
}

/// The SYN of one side, with its copies.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SynFacts {
    /// Packet of the first copy.
    pub mark: PacketRef,
    /// Number of copies sent.
    pub count: u32,
    /// Time of the last copy.
    pub last: Timestamp,
}

impl SynFacts {
    /// Whether it was sent again for want of an answer; false if the answer may be among the packets that the capture
    /// lost up to `lost_until`.
    ///
    /// A host sends an unanswered SYN again after a second (RFC 6298, section 2; 3 s in older kernels), within the 7 s
    /// that a node waits. Where no second one came, the answer is missing in the capture, or the dialing side gave up.
    pub fn timed_out(&self, lost_until: Option<Timestamp>) -> bool {
        self.count > 1 && lost_until.is_none_or(|lost| lost < self.last)
    }

    /// Whether it would have been sent again by `now`, had it got no answer.
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.since(self.mark.at) >= SENT_AGAIN
    }
}

/// The result of a SYN.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// The responder answered, or the capture began after the opening.
    Answered,
    /// An RST answered the SYN.
    Reset(PacketRef),
    /// An ICMP "destination unreachable" answered the SYN.
    Unreachable(PacketRef),
    /// Only SYNs were seen, without an answer.
    Unanswered,
}

impl Opening {
    /// The RST or ICMP packet that refused the connection.
    pub const fn refused(&self) -> Option<PacketRef> {
        match self {
            Self::Reset(mark) | Self::Unreachable(mark) => Some(*mark),
            Self::Answered | Self::Unanswered => None,
        }
    }
}

/// An ICMP "destination unreachable" message.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct IcmpUnreachable {
    /// Type of the ICMP message.
    pub kind: u8,
    /// Code of the ICMP message.
    pub code: u8,
    /// Address of the sender of the ICMP message.
    pub reporter: IpAddr,
}

/// The first close of a connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CloseFacts {
    /// The side that closed; `None` if the capture does not show which of two closes came first.
    pub by: Option<Role>,
    /// Flag of the close, FIN or RST.
    pub kind: CloseKind,
    /// The packet with the FIN or RST.
    pub mark: PacketRef,
    /// Offset up to which the closing side had received the other's stream; `None` if its RST does not show it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub received: Option<TcpOffset>,
    /// Whether it is the RST of a host without this connection: it answers a segment and has no acknowledgement
    /// (RFC 9293, section 3.5.2, group 3).
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_answer: bool,
    /// Whether the capture has everything that the closing side sent, and that it had received by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_whole: bool,
}

impl CloseFacts {
    /// Whether an RST closed the connection.
    pub fn is_reset(&self) -> bool {
        self.kind == CloseKind::Rst
    }
}

/// How a connection ended, or why an open one is reported.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CloseKind {
    /// A side sent a FIN first.
    Fin,
    /// A side sent an RST.
    Rst,
    /// No packet came for a long time.
    Idle,
    /// The input ended before a close.
    InputEnd,
}

/// The state of a connection.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The handshake has just completed.
    Established,
    /// The connection was closed.
    Closed,
    /// The input ended, or the connection became idle, before a close.
    Open,
}

/// How the roles of the two sides were determined.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// By the SYN or SYN-ACK.
    Syn,
    /// By a port known as that of a node.
    Epmd,
    /// By the handshake messages.
    Handshake,
    /// By the side that sent the first data.
    Guess,
}

/// A period in which the other side could send nothing, because the receive window of this side was closed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Stall {
    /// The first segment with a window of zero.
    pub since: PacketRef,
    /// How long the window stayed closed, in microseconds.
    pub lasted_us: u64,
    /// Whether this side sent bytes of its own meanwhile.
    pub sent_bytes: bool,
}

/// The frames that one side sent after the handshake.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct FrameTraffic {
    /// Number of frames with ticks, as far as they are certainly frames.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frames: u64,
    /// Number of messages sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub messages: u64,
    /// Number of ticks sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ticks: u64,
    /// Shortest time from one tick to the next.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tick_period: Option<Duration>,
    /// The last packet with a frame or a part of one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last: Option<PacketRef>,
    /// The longest time without bytes of this side before that packet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub longest_pause: Option<PauseSpan>,
    /// The first frame that a node would reject.
    #[serde(default, skip_serializing_if = "is_default")]
    pub corrupt: Option<CorruptFrame>,
    /// The messages with native records, if the receiver does not know such terms.
    #[serde(default, skip_serializing_if = "is_default")]
    pub native_records: Option<NativeRecords>,
}

/// Messages with native records (tag 67, OTP 29) to a node whose hello lacks `DFLAG_NATIVE_RECORDS`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NativeRecords {
    /// The packet that completed the first of them, as far as it is parsed.
    pub first: PacketRef,
    /// That of the last of them.
    pub last: PacketRef,
}

/// A frame that a node would reject as malformed.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CorruptFrame {
    /// The packet that shows the frame.
    pub mark: PacketRef,
    /// The field of the frame that cannot be parsed.
    pub field: Cow<'static, str>,
}

/// The first bytes of another protocol.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ForeignBytes {
    /// The packet with the first of them.
    pub mark: PacketRef,
    /// The protocol that they look like, for a sentence.
    pub looks_like: Cow<'static, str>,
}

impl Observation {
    /// Name of the side in this role, as that side or its peer sent it.
    pub fn name(&self, role: Role) -> Option<&Arc<str>> {
        self.handshake.name(role).map(|(name, _)| name)
    }

    /// The names of both sides that were seen, the initiator's first.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        Role::BOTH.into_iter().filter_map(|role| self.name(role))
    }

    /// The first packet of this kind of handshake message; of statuses, the acceptor's.
    pub fn message(&self, kind: MessageKind) -> Option<PacketRef> {
        let Self { handshake, .. } = self;
        match kind {
            MessageKind::SendName => handshake.send_name.as_ref().map(|it| it.mark),
            MessageKind::Status => handshake.status.as_ref().map(|it| it.mark),
            MessageKind::Challenge => handshake.challenge.as_ref().map(|it| it.mark),
            MessageKind::Complement => handshake.complement.as_ref().map(|it| it.mark),
            MessageKind::ChallengeReply => handshake.reply.as_ref().map(|it| it.mark),
            MessageKind::ChallengeAck => handshake.ack.as_ref().map(|it| it.mark),
        }
    }

    /// The packet with the hello of the side in this role.
    pub fn hello(&self, role: Role) -> Option<PacketRef> {
        self.handshake.hello(role).map(|hello| hello.mark)
    }

    /// The packet with the acceptor's first status, if the status has this text.
    pub fn status(&self, text: &str) -> Option<PacketRef> {
        let status = self.handshake.status.as_ref()?;
        (status.what.text() == text).then_some(status.mark)
    }

    /// State of the connection when it was observed.
    pub const fn state(&self) -> State {
        match self.occasion {
            Occasion::Established | Occasion::Silent { .. } => State::Established,
            Occasion::Over | Occasion::Quiet | Occasion::End if self.is_closed() => State::Closed,
            Occasion::Over | Occasion::Quiet | Occasion::End => State::Open,
        }
    }

    /// Whether one side has closed, or the connection was refused.
    pub const fn is_closed(&self) -> bool {
        self.tcp.close.is_some() || self.tcp.opening.refused().is_some()
    }

    /// The first side to close; `None` while open, or if the capture does not show it.
    pub fn closed_by(&self) -> Option<Role> {
        match (self.occasion, self.tcp.opening) {
            (Occasion::Established, _) | (_, Opening::Unreachable(_)) => None,
            (_, Opening::Reset(_)) => Some(Role::Acceptor),
            _ => self.tcp.close.and_then(|close| close.by),
        }
    }

    /// How the connection ended, or why an open one is reported.
    pub fn close_kind(&self) -> Option<CloseKind> {
        match (self.occasion, self.tcp.opening) {
            (Occasion::Established, _) | (_, Opening::Unreachable(_)) => None,
            (_, Opening::Reset(_)) => Some(CloseKind::Rst),
            (occasion, _) => match (self.tcp.close, occasion) {
                (Some(close), _) => Some(close.kind),
                (None, Occasion::Established | Occasion::Silent { .. }) => None,
                (None, Occasion::Quiet) => Some(CloseKind::Idle),
                (None, Occasion::Over | Occasion::End) => Some(CloseKind::InputEnd),
            },
        }
    }

    /// The packet that refused the connection, or the first FIN or RST.
    pub fn closed(&self) -> Option<PacketRef> {
        self.tcp.opening.refused().or_else(|| self.tcp.close.map(|close| close.mark))
    }

    /// Time of the first close; of the observation if there was none.
    pub fn open_until(&self) -> Timestamp {
        self.tcp.close.map_or(self.at, |close| close.mark.at)
    }

    /// Time from the first packet to the last.
    pub fn duration(&self) -> Duration {
        self.tcp.last.at.since(self.tcp.first.at)
    }

    /// Time from the last handshake message of either side, or the SYN-ACK, to the close.
    pub fn silence_before_close(&self) -> Duration {
        let Some(close) = self.closed() else { return Duration::ZERO };
        let messages = [
            MessageKind::SendName,
            MessageKind::Status,
            MessageKind::Challenge,
            MessageKind::ChallengeReply,
        ];
        let sent = messages.into_iter().filter_map(|kind| self.message(kind));
        let syn_ack = self.tcp.sides.acceptor.syn.map(|syn| syn.mark);
        let before = sent.chain(syn_ack).map(|mark| mark.at).filter(|at| *at <= close.at);
        before.max().map_or(Duration::ZERO, |last| close.at.since(last))
    }

    /// Time from `send_name` to `challenge_ack`, in microseconds.
    pub fn handshake_us(&self) -> Option<u64> {
        let Received { mark: from, .. } = self.handshake.send_name.as_ref()?;
        let Received { mark: to, .. } = self.handshake.ack.as_ref()?;
        Some(micros(to.at.since(from.at)))
    }

    /// The side that used TLS first, with its first record.
    pub fn tls(&self) -> Option<(Role, PacketRef)> {
        self.tls.each().find_map(|(role, tls)| Some((role, tls.sign?.1)))
    }

    /// What distinguishes the connection from any other wherever it is seen: by its TLS hello, which every place sees, or else by its
    /// handshake.
    pub fn fingerprint(&self) -> Option<u64> {
        let hello = self.tls.initiator.hello.as_ref();
        hello.and_then(|hello| hello.fingerprint).or(self.handshake.fingerprint)
    }

    /// Whether the bytes of the distribution protocol were encrypted, and opened with a key log.
    pub const fn is_opened_tls(&self) -> bool {
        self.opened_tls.has_data
    }

    /// The first bytes of another protocol, the initiator's before the acceptor's.
    pub fn foreign(&self) -> Option<Foreign> {
        self.foreign.each().find_map(|(from, bytes)| {
            let ForeignBytes { mark, looks_like } = bytes.clone()?;
            Some(Foreign { from, mark, looks_like })
        })
    }

    /// The first frame of either side that a node would reject.
    pub fn corrupt(&self) -> Option<(Role, &CorruptFrame)> {
        let corrupt =
            self.traffic.each().filter_map(|(from, it)| Some((from, it.corrupt.as_ref()?)));
        corrupt.min_by_key(|(_, frame)| frame.mark)
    }

    /// Whether an unanswered SYN of `role` can be reported: it was retransmitted. False if the answer may be among the
    /// packets that the capture lost.
    pub fn syn_timed_out(&self, role: Role) -> bool {
        self.tcp.sides[role].syn.is_some_and(|syn| syn.timed_out(self.lost_until))
    }

    /// Length of both streams together.
    pub const fn bytes(&self) -> u64 {
        self.tcp.sides.initiator.bytes + self.tcp.sides.acceptor.bytes
    }
}

/// By this time an unanswered SYN has been sent again: older kernels do so after 3 s (RFC 1122, section 4.2.3.1), and the
/// rest is for a busy host.
const SENT_AGAIN: Duration = Duration::from_secs(4);
