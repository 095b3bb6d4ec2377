//! Frames from capture files and interfaces, and into capture files.
//!
//! In: bytes of a file or a pipe, or the ring buffer of libpcap. Out: the [`Item`]s of a [`Source`]: frames,
//! borrowed from the reader's buffer, and what a capture contains beside them. Nothing here decodes a frame.

mod annotations;
mod buffer;
mod compressed;
mod error;
mod file;
mod follow;
mod item;
#[cfg(feature = "live")]
pub mod live;
mod merge;
mod pcap;
mod pcapng;
mod read_ahead;
#[cfg(test)]
mod samples;
pub mod save;
mod source;
mod zstd;

pub use error::Error;
pub use file::CaptureFile;
pub use follow::Follow;
pub use item::{Comment, Drops, Frame, Interface, Item, Notice, NoticeKind, Secrets, SecretsType};
pub use merge::{Input, Inputs, Order};
pub use source::{Progress, Receiver, Source};

use std::ops::Range;

use crate::time::Timestamp;

/// Link type of a frame, a `LINKTYPE_` value of the tcpdump.org registry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, address family in the byte order of the capturing host.
    pub const NULL: Self = Self(0);
    /// Ethernet, with or without VLAN tags.
    pub const ETHERNET: Self = Self(1);
    /// PPP, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// Raw IP, as libpcap calls it on Linux when live (`DLT_RAW`).
    pub const DLT_RAW: Self = Self(12);
    /// Raw IP, as OpenBSD numbers it.
    pub const DLT_RAW_OPENBSD: Self = Self(14);
    /// PPP in HDLC framing, or Cisco HDLC.
    pub const PPP_HDLC: Self = Self(50);
    /// Raw IP, as it is numbered in files.
    pub const RAW: Self = Self(101);
    /// HDLC as Cisco uses it.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11, without a radio header.
    pub const IEEE802_11: Self = Self(105);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// IEEE 802.11 behind a radiotap header.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// For private use; Darwin writes PKTAP under it.
    pub const USER2: Self = Self(149);
    /// Raw IP, always of version 4.
    pub const IPV4: Self = Self(228);
    /// Raw IP, always of version 6.
    pub const IPV6: Self = Self(229);
    /// Darwin's packet metadata, with another link type inside.
    pub const PKTAP: Self = Self(258);
    /// Linux cooked, version 2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// The description of a frame; its bytes are in the buffer at `place`.
#[derive(Clone, Debug)]
struct FrameRecord {
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    place: Range<usize>,
}

/// The next part of a capture. For a frame, the record that the format was given is filled in.
///
/// Formats count frames in the number that they are given, including those that they cannot return, so that the
/// numbers are those of Wireshark.
#[derive(Debug)]
enum FormatStep {
    Frame,
    /// Names of addresses, now in the annotations.
    Names,
    /// Secrets, whose place is now in the annotations.
    Secrets,
    /// The interface of this index was declared, or its counters have changed.
    Interface(u32),
    Corrupt {
        offset: u64,
        skipped: Option<u64>,
        detail: String,
    },
    /// The input ends inside `what`, which begins at `offset`.
    Truncated {
        offset: u64,
        what: &'static str,
    },
    End,
}

/// Byte order of a file or of a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Endian {
    Big,
    Little,
}

impl Endian {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Big => u64::from_be_bytes(bytes),
            Self::Little => u64::from_le_bytes(bytes),
        }
    }

    /// The first `N` 32-bit fields of `bytes`: how every header in both formats is read.
    #[inline]
    fn words<const N: usize>(self, bytes: &[u8]) -> Option<[u32; N]> {
        // One branch for all fields, not one for each.
        match self {
            Self::Big => words(bytes, u32::from_be_bytes),
            Self::Little => words(bytes, u32::from_le_bytes),
        }
    }
}

#[inline(always)]
fn words<const N: usize>(bytes: &[u8], word: impl Fn([u8; 4]) -> u32) -> Option<[u32; N]> {
    let mut rest = bytes.get(..N * 4)?;
    let mut words = [0; N];
    for slot in &mut words {
        let (bytes, behind) = rest.split_first_chunk()?;
        *slot = word(*bytes);
        rest = behind;
    }
    Some(words)
}
