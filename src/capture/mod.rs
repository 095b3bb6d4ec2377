//! Frames from capture files and interfaces, and into capture files.
//!
//! In: bytes of a file or a pipe, or the ring buffer of libpcap. Out: the [`Item`]s of a [`Source`]: frames,
//! borrowed from the reader's buffer, and what a capture contains beside them. Nothing here decodes a frame.

mod annotations;
mod buffer;
mod compressed;
mod counted;
mod error;
mod file;
mod follow;
mod item;
mod link_type;
#[cfg(feature = "live")]
pub mod live;
mod merge;
mod originals;
mod pcap;
mod pcapng;
mod read_ahead;
#[cfg(test)]
mod samples;
pub mod save;
mod snoop;
mod source;
mod zstd;

pub use compressed::Decompressed;
pub use counted::ReadCounter;
pub use error::Error;
pub use file::CaptureFile;
pub use follow::{AtEnd, Follow};
pub use item::{Comment, Drops, Frame, Interface, Item, Notice, NoticeKind, Secrets, SecretsType};
pub use link_type::LinkType;
pub use merge::{Input, Inputs, Order};
pub use source::{Progress, Receiver, Source};

use std::ops::Range;

use crate::time::Timestamp;

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
    /// A section began: its frames may be of several inputs.
    Section,
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
