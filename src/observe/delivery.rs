//! What of the bytes of one side arrived at the other.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::packet::PacketRef;
use crate::stream::{Resent, TcpOffset};

/// What of the bytes of one side arrived at the other, by acknowledgements and ICMP errors.
///
/// A side retransmits what it sent until it receives an acknowledgement (RFC 6298, section 5). Its retransmissions
/// show that it received none, even where the capture lacks other packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Delivery {
    /// Offset up to which the other side has acknowledged the stream; `None` if it has acknowledged nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub acked: Option<TcpOffset>,
    /// Bytes of the largest segment that was acknowledged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub largest_acked: u32,
    /// The first bytes that were sent more than once and that the capture shows no acknowledgement of; or the last
    /// ones that were sent again although it does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resent: Option<Resent>,
    /// The first ICMP error about one of its segments.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp: Option<IcmpAboutBytes>,
}

/// An ICMP error about a segment with bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct IcmpAboutBytes {
    /// The packet with the ICMP message.
    pub mark: PacketRef,
    /// Type of the ICMP message.
    pub kind: u8,
    /// Code of the ICMP message.
    pub code: u8,
    /// Address of the sender of the ICMP message.
    pub reporter: IpAddr,
    /// The largest packet that the next link carries, if the packet was larger; 0 if the message does not have it.
    pub mtu: Option<u32>,
}

impl Delivery {
    /// The bytes that were sent more than once and never acknowledged.
    pub fn unacknowledged(&self) -> Option<Resent> {
        self.resent.filter(|resent| self.acked.is_none_or(|acked| acked <= resent.offset))
    }
}
