//! What a packet shows, as a value that code can match on and that has a text for people.
//!
//! In: the facts that a rule has about a packet. Out: [`Shows`], whose [`Display`](fmt::Display) is the text in JSON
//! and in the comments of evidence files. Renderers match on the value and never parse the text.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::kept;

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
        /// The moment of the close in the protocol, or who sent it if neither node did, if no message is missing.
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

impl<'de> Deserialize<'de> for Shows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of_text(String::deserialize(deserializer)?))
    }
}

impl Shows {
    /// The value whose text this is. Texts of kinds that code does not match on become notes.
    fn of_text(text: String) -> Self {
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let own = MessageKind::ALL.into_iter().find(|kind| kind.name() == word);
        if let Some(message) = own {
            return Self::handshake(message, rest.to_owned());
        }
        let tag = (0..=u8::MAX).map(EpmdTag).find(|tag| {
            tag.name().is_some_and(|name| text.strip_prefix(name).is_some_and(is_end_of_name))
        });
        if let Some((message, name)) = tag.and_then(|tag| Some((tag, tag.name()?))) {
            let detail = text.get(name.len()..).unwrap_or_default();
            return Self::epmd(message, detail.trim_start_matches([':', ' ']).to_owned());
        }
        match (text.as_str(), word) {
            ("SYN", _) => Self::Syn,
            ("ICMP unreachable", _) => Self::Icmp,
            ("window of zero", _) => Self::ZeroWindow,
            ("retransmission", _) => Self::Retransmission,
            ("last packet", _) => Self::LastPacket,
            (_, "DNS" | "mDNS") => Self::Dns(text),
            (_, _) if text.contains("TLS alert") || text.starts_with("TLS in place of") => {
                Self::TlsAlert(text.into())
            }
            ("lost_connection to global", _) => Self::Message(text),
            (_, operation) if is_operation(operation) && rest.starts_with("of ") => {
                Self::Message(text)
            }
            (_, "malformed") => Self::Malformed { field: rest.to_owned().into() },
            (_, "FIN" | "RST") => {
                let is_reset = word == "RST";
                let missing = rest.strip_prefix("without ").and_then(Missing::of_text);
                match (missing, kept::constant(rest)) {
                    (None, None) => Self::Note(text.into()),
                    (Some(_), _) => Self::Close { is_reset, missing, detail: "" },
                    (None, Some(detail)) => Self::Close { is_reset, missing, detail },
                }
            }
            _ => Self::Note(text.into()),
        }
    }
}

fn is_end_of_name(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', ':'])
}

/// Whether a word looks like the name of an operation: `SPAWN_REQUEST`.
fn is_operation(word: &str) -> bool {
    word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

impl Missing {
    fn of_text(text: &str) -> Option<Self> {
        if text == "a reply" {
            return Some(Self::EpmdReply);
        }
        MessageKind::ALL.into_iter().find(|kind| kind.name() == text).map(Self::Handshake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_code_matches_on_is_read_back_from_its_text() {
        let missing = Some(Missing::EpmdReply);
        for shows in [
            MessageKind::ChallengeAck.into(),
            Shows::handshake(MessageKind::Status, "nok"),
            Shows::epmd(EpmdTag::PORT2_RESP, "no \"two\""),
            Shows::epmd(EpmdTag::ALIVE2_REQ, "\"two\""),
            Shows::Syn,
            Shows::FIN,
            Shows::Close { is_reset: true, missing, detail: "" },
            Shows::Close { is_reset: false, missing: None, detail: "after the silence" },
            Shows::Malformed { field: "atom".into() },
            Shows::Dns("DNS answer: a.lan is at 10.0.0.1".to_owned()),
            Shows::TlsAlert("fatal TLS alert bad_certificate".into()),
            Shows::Message("SPAWN_REQUEST of os:cmd/1".to_owned()),
            Shows::Note("SYN without an answer".into()),
            Shows::Note("FIN ".repeat(40).into()),
        ] {
            assert_eq!(Shows::of_text(shows.to_string()), shows);
        }
    }

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
            assert_eq!(Shows::of_text(text.to_owned()).to_string(), text);
        }
    }
}
