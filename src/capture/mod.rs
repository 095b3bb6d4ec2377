//! Stage 1: frames out of capture files and interfaces.
//!
//! In: octets of a file, a pipe, or libpcap's ring. Out: one [`Frame`] after the other, borrowed from
//! the reader's buffer. Nothing here looks into a frame.

use crate::time::Timestamp;

/// Where a frame came from: the position of its input (file or interface) on the command line, and
/// its number in that input, 1-based, as Wireshark counts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FrameRef {
    /// Index of the input.
    pub input: u16,
    /// 1-based frame number within that input.
    pub number: u64,
}

/// Link type of a frame, a `LINKTYPE_` value of the tcpdump.org registry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, address family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// Raw IP, as libpcap calls it on Linux when live (`DLT_RAW`).
    pub const DLT_RAW: Self = Self(12);
    /// Raw IP, as OpenBSD numbers it.
    pub const DLT_RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC framing, or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// Raw IP in files.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// For private use; Darwin writes PKTAP under it.
    pub const USER2: Self = Self(149);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Darwin's packet metadata, with another link type inside.
    pub const PKTAP: Self = Self(258);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// One link-layer frame, borrowed from the reader's buffer and gone when the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Which frame of which input this is.
    pub id: FrameRef,
    /// When the capturing host saw it.
    pub at: Timestamp,
    /// How `bytes` begin.
    pub link: LinkType,
    /// Octets the frame had on the wire; more than `bytes` holds when the snaplen cut it.
    pub wire_len: u32,
    /// Octets captured.
    pub bytes: &'a [u8],
}
