//! What a packet shows, as a value that code can match on and that has a text for people.
//!
//! In: the facts that a rule has about a packet. Out: [`Shows`], whose [`Display`](fmt::Display) is the text in JSON
//! and in the comments of evidence files. Renderers match on the value and never parse the text.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

pub use crate::wire::epmd::EpmdTag;
pub use crate::wire::handshake::MessageKind;

/// What a packet is, with the detail that matters to the finding.
///
/// A detail is empty if the kind of packet suffices.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Shows {
    /// A message of the distribution handshake: `status alive`.
    Handshake {
        /// The kind of the message.
        message: MessageKind,
        /// The content or position that matters to the finding.
        detail: Cow<'static, str>,
    },
    /// A request to EPMD, or its reply: `ALIVE2_REQ "two"`.
    Epmd {
        /// The tag of the message.
        message: EpmdTag,
        /// The content that matters to the finding.
        detail: Cow<'static, str>,
    },
    /// The first packet of a TCP connection.
    Syn,
    /// A FIN or RST: `FIN without challenge_ack`.
    Close {
        /// True for RST, false for FIN.
        is_reset: bool,
        /// The message that the other side expected and did not receive.
        missing: Option<Missing>,
        /// The moment of the close in the protocol, if no message is missing.
        detail: &'static str,
    },
    /// A FIN or RST in the rule's own words, where the finding does not distinguish them.
    Closed(Cow<'static, str>),
    /// An ICMP error that answers a SYN.
    Icmp,
    /// A TCP segment whose sender has no room for more data.
    ZeroWindow,
    /// TCP data that was sent again.
    Retransmission,
    /// The last packet that a side sent.
    LastPacket,
    /// The hello that begins a TLS handshake, under the name that suits the finding.
    TlsHello(&'static str),
    /// A TLS alert: `fatal TLS alert handshake_failure`.
    TlsAlert(Cow<'static, str>),
    /// A distribution message after the handshake: `SPAWN_REQUEST of os:cmd/1`.
    Message(String),
    /// A distribution frame that cannot be decoded.
    Malformed {
        /// The field at which decoding failed.
        field: Cow<'static, str>,
    },
    /// Data of another protocol: `an HTTP request`.
    Foreign(Cow<'static, str>),
    /// An answer of DNS or mDNS.
    Dns(String),
    /// Any other observation, as text.
    Note(Cow<'static, str>),
}

/// A message that was due when its sender closed the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// A message of the distribution handshake.
    Handshake(MessageKind),
    /// The reply of EPMD.
    EpmdReply,
}

impl Shows {
    /// A handshake message with a detail.
    pub fn handshake(message: MessageKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Handshake { message, detail: detail.into() }
    }

    /// An EPMD message with a detail.
    pub fn epmd(message: EpmdTag, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Epmd { message, detail: detail.into() }
    }

    /// A FIN without a detail.
    pub const FIN: Self = Self::Close { is_reset: false, missing: None, detail: "" };

    /// An RST without a detail.
    pub const RST: Self = Self::Close { is_reset: true, missing: None, detail: "" };
}

impl From<MessageKind> for Shows {
    fn from(message: MessageKind) -> Self {
        Self::handshake(message, "")
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(message) => message.fmt(f),
            Self::EpmdReply => f.write_str("a reply"),
        }
    }
}

/// All evidence is turned into text here, so that each kind always has the same wording.
impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake { message, detail } if detail.is_empty() => message.fmt(f),
            Self::Handshake { message, detail } => write!(f, "{message} {detail}"),
            Self::Epmd { message, detail } => {
                match message.name() {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "EPMD message {}", message.0)?,
                }
                match detail.as_ref() {
                    "" => Ok(()),
                    // A reply has a result after a colon, a request an argument.
                    detail if *message == EpmdTag::PORT2_RESP => write!(f, ": {detail}"),
                    detail => write!(f, " {detail}"),
                }
            }
            Self::Syn => f.write_str("SYN"),
            Self::Close { is_reset, missing, detail } => {
                f.write_str(if *is_reset { "RST" } else { "FIN" })?;
                match (missing, *detail) {
                    (Some(missing), _) => write!(f, " without {missing}"),
                    (None, "") => Ok(()),
                    (None, detail) => write!(f, " {detail}"),
                }
            }
            Self::Icmp => f.write_str("ICMP unreachable"),
            Self::ZeroWindow => f.write_str("window of zero"),
            Self::Retransmission => f.write_str("retransmission"),
            Self::LastPacket => f.write_str("last packet"),
            Self::Malformed { field } => write!(f, "malformed {field}"),
            Self::TlsHello(text) => f.write_str(text),
            Self::Foreign(text) => f.write_str(text),
            Self::Closed(text) | Self::TlsAlert(text) | Self::Note(text) => f.write_str(text),
            Self::Message(text) | Self::Dns(text) => f.write_str(text),
        }
    }
}

impl Serialize for Shows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_evidence_has_its_text() {
        let missing = Some(Missing::Handshake(MessageKind::ChallengeAck));
        for (shows, text) in [
            (MessageKind::SendName.into(), "send_name"),
            (Shows::handshake(MessageKind::Status, "alive"), "status alive"),
            (Shows::epmd(EpmdTag::NAMES_REQ, ""), "NAMES_REQ"),
            (Shows::epmd(EpmdTag::ALIVE2_REQ, "\"two\""), "ALIVE2_REQ \"two\""),
            (Shows::epmd(EpmdTag::PORT2_RESP, "no \"two\""), "PORT2_RESP: no \"two\""),
            (Shows::RST, "RST"),
            (Shows::Close { is_reset: false, missing, detail: "" }, "FIN without challenge_ack"),
            (Shows::Malformed { field: "arity".into() }, "malformed arity"),
        ] {
            assert_eq!(shows.to_string(), text);
        }
    }
}
