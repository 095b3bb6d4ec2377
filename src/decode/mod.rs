//! Stage 2: TCP segments out of link frames.
//!
//! In: a [`Frame`](crate::capture::Frame). Out: a [`Segment`] that borrows it, or the datagram that its
//! fragments gave. Knows no connection. The only door to `etherparse`.

use std::net::IpAddr;

use crate::capture::FrameRef;
use crate::time::Timestamp;

/// What one frame held, as far as it concerns the stages behind.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// An ICMP or ICMPv6 "destination unreachable" that quotes a TCP segment.
    Unreachable(Unreachable),
    /// Nothing that concerns us: another protocol, an incomplete fragment, no IP.
    Other,
}

/// One TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The frame that held it, or the last fragment of it.
    pub frame: FrameRef,
    /// Capture time of that frame.
    pub at: Timestamp,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// Sequence number as sent.
    pub seq: u32,
    /// Acknowledgement number as sent; means nothing unless `flags` has `ACK`.
    pub ack: u32,
    /// Flag bits.
    pub flags: TcpFlags,
    /// Window as sent, unscaled.
    pub window: u16,
    /// Identification of the IPv4 header; tells a doubled packet from one sent again. `None` for IPv6.
    pub ip_id: Option<u16>,
    /// Payload octets captured.
    pub payload: &'a [u8],
    /// Payload octets behind `payload` that were sent and not captured (snaplen).
    pub missing: u32,
    /// Outer layers, outermost first.
    pub layers: &'a [Layer],
}

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}

/// TCP flag bits, as in octet 13 of the header (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement field counts.
    pub const ACK: Self = Self(0x10);

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An ICMP "destination unreachable" about a TCP segment.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable {
    /// The frame that held it.
    pub frame: FrameRef,
    /// Capture time of that frame.
    pub at: Timestamp,
    /// Who sent it: the host itself, or a router or filter on the way.
    pub reporter: IpAddr,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code: 3/3 port, 3/10 and 3/13 administratively prohibited, and so on.
    pub code: u8,
    /// Sender of the quoted segment.
    pub src: Endpoint,
    /// Receiver of the quoted segment.
    pub dst: Endpoint,
    /// Sequence number of the quoted segment.
    pub seq: u32,
}

/// One outer layer around the IP datagram that held a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layer {
    /// 802.1Q or 802.1ad tag with its VLAN identifier.
    Vlan(u16),
    /// MPLS label.
    Mpls(u32),
    /// PPPoE session.
    Pppoe(u16),
    /// IP in IP, by the outer version and the inner one.
    IpInIp,
    /// GRE, with its key when it has one (RFC 2784, 2890).
    Gre(Option<u32>),
    /// NVGRE: GRE over Ethernet with a virtual subnet (RFC 7637).
    Nvgre(u32),
    /// VXLAN network identifier (RFC 7348).
    Vxlan(u32),
    /// GENEVE network identifier (RFC 8926).
    Geneve(u32),
    /// GTP-U tunnel endpoint (3GPP TS 29.281).
    GtpU(u32),
}
