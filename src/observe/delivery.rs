//! What of the bytes of one side arrived at the other.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::Timestamp;

/// What of the bytes of one side arrived at the other, by acknowledgements and ICMP errors.
///
/// A side retransmits what it sent until it receives an acknowledgement (RFC 6298, section 5). Its retransmissions
/// show that it received none, even where the capture lacks other packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Delivery {
    /// Offset up to which the other side has acknowledged the stream; `None` if it has acknowledged nothing.
    pub acked: Option<TcpOffset>,
    /// Bytes of the largest segment that was acknowledged.
    pub largest_acked: u32,
    /// The first bytes that were sent more than once and that the capture shows no acknowledgement of; or the last
    /// ones that were sent again although it does.
    pub resent: Option<ResentFacts>,
    /// The first ICMP error about one of its segments.
    pub icmp: Option<IcmpAboutBytes>,
}

/// Bytes of one side that were sent more than once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ResentFacts {
    /// Offset of the first of them.
    pub offset: TcpOffset,
    /// Number of bytes in the smallest segment that began with them.
    pub bytes: u32,
    /// Number of times that they were sent, the first time included.
    pub sent: u32,
    /// Number of times that they were sent although the capture has their acknowledgement.
    pub after_ack: u32,
    /// When they were sent first, as far as the capture shows.
    pub first: Timestamp,
    /// When the side had last sent bytes before that, if that is known.
    pub before: Option<Timestamp>,
    /// The first packet that brought them again.
    pub again: PacketRef,
    /// The last packet that brought them.
    pub last: PacketRef,
}

/// An ICMP error about a segment with bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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

impl ResentFacts {
    /// Whether they do not arrive, or their acknowledgement does not, and not only a packet was lost: the sender has
    /// tried for seconds.
    pub fn is_lost(&self) -> bool {
        let lasted = self.last.at.since(self.first);
        self.sent >= OFTEN && lasted >= SHORT || self.sent >= TWICE_AGAIN && lasted >= LONG
    }
}

impl Delivery {
    /// The bytes that were sent more than once and never acknowledged.
    pub fn unacknowledged(&self) -> Option<ResentFacts> {
        self.resent.filter(|resent| self.acked.is_none_or(|acked| acked <= resent.offset))
    }
}

/// Five times in [`SHORT`]: four packets in a row were lost. At a loss of one in five, that happens once in 600.
const OFTEN: u32 = 5;

/// The fourth retransmission follows 1.5 s after the first packet at the earliest (Linux: 200 ms, then doubled), less
/// what quick ones on duplicate acknowledgements save.
const SHORT: Duration = Duration::from_secs(1);

/// The first time and two retransmissions.
const TWICE_AGAIN: u32 = 3;

/// Retransmissions after so long are at least the fifth, of which the capture may lack some.
const LONG: Duration = Duration::from_secs(3);
