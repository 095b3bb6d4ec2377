//! Why a connection is `incomplete`: which of the packets that would decide the capture lacks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observe::{Observation, Occasion, Opening};

/// What the capture lacks of a connection whose outcome is `incomplete`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncompleteBecause {
    /// The capture has the packets of one direction only.
    OneDirection,
    /// Bytes of the connection are missing: their packets were lost or cut short.
    MissingBytes,
    /// The capture lost packets during the connection, and the missing one may be among them.
    LostPackets,
    /// The SYN was sent once only and has no answer: the answer is missing in the capture, or the dialing side gave up
    /// before it sent the SYN again.
    SynSentOnce,
    /// The capture begins after the connection, and its handshake is not in it.
    BeganBefore,
    /// The capture ends before the connection has an outcome.
    EndsBefore,
    /// Neither side sent anything more, and neither closed.
    WentQuiet,
    /// The capture does not show which side closed first, or after which message.
    UnclearClose,
}

impl IncompleteBecause {
    /// The reason in the observation of a connection whose outcome is `incomplete`.
    pub fn of(seen: &Observation) -> Self {
        let tcp = &seen.tcp;
        let sides = [&tcp.sides.initiator, &tcp.sides.acceptor];
        let lacks_bytes = tcp.gaps > 0 || sides.iter().any(|side| side.missing_bytes > 0);
        let is_lossy = seen.lost_until.is_some_and(|lost| lost >= tcp.first.at);
        let is_open = tcp.close.is_none();
        let is_syn_old = tcp.sides.initiator.syn.is_some_and(|syn| syn.is_old(seen.at));
        let is_unopened = sides.iter().all(|side| side.syn.is_none());
        if tcp.opening == Opening::Answered && !tcp.both_seen {
            Self::OneDirection
        } else if lacks_bytes {
            Self::MissingBytes
        } else if is_lossy {
            Self::LostPackets
        } else if tcp.opening == Opening::Unanswered && is_syn_old {
            Self::SynSentOnce
        } else if is_unopened && seen.handshake.send_name.is_none() {
            Self::BeganBefore
        } else if is_open && seen.occasion == Occasion::End {
            Self::EndsBefore
        } else if is_open {
            Self::WentQuiet
        } else {
            Self::UnclearClose
        }
    }

    /// What is missing, as a clause after `because`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OneDirection => "the capture has one direction only",
            Self::MissingBytes => "bytes of it are missing",
            Self::LostPackets => "the capture lost packets",
            Self::SynSentOnce => "its SYN was sent once only, and no answer was captured",
            Self::BeganBefore => "the capture begins after it",
            Self::EndsBefore => "the capture ends before its outcome",
            Self::WentQuiet => "neither side sent anything more",
            Self::UnclearClose => "its close is not clear",
        }
    }
}
