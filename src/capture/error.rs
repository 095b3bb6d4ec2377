//! Why an input cannot be read, in words for its user.
//!
//! In: the failure, where it happened. Out: an [`Error`], and a hint what to do about it. Damage *inside* a capture
//! is no error but a [`Notice`](super::Notice).

use std::io;

/// Why an input has no frames, or why it was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system does not open the file.
    #[error("cannot open {name}: {source}")]
    Open {
        /// The input as the user named it.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The name is that of a directory.
    #[error("{name} is a directory; expected a capture file (pcap, pcapng or snoop)")]
    Directory {
        /// The input as the user named it.
        name: String,
    },
    /// The input has no bytes, or nothing but an empty compressed stream.
    #[error("{name} is an empty file; expected a capture file (pcap, pcapng or snoop)")]
    Empty {
        /// The input as the user named it.
        name: String,
    },
    /// The input begins like no format that this crate reads.
    #[error(
        "{name} is not a capture file: expected pcap, pcapng or snoop, plain or compressed (gzip, \
         zstd, lz4, xz), found bytes {found}"
    )]
    NotACapture {
        /// The input as the user named it.
        name: String,
        /// Its first bytes in hexadecimal, after decompression.
        found: String,
    },
    /// A snoop file of a version or a datalink type that is not supported.
    #[error("{name} is a snoop file {what}, which is not read")]
    Snoop {
        /// The input as the user named it.
        name: String,
        /// Its version or datalink type, in words.
        what: String,
    },
    /// The operating system failed while the input was read.
    #[error("cannot read {name} beyond byte {offset}: {source}")]
    Read {
        /// The input as the user named it.
        name: String,
        /// Bytes (after decompression) that were read before.
        offset: u64,
        /// The error of the operating system.
        source: io::Error,
    },
    /// There are more inputs than a [`FrameRef`](crate::packet::FrameRef) can number.
    #[error("{given} inputs given; expected at most {max}", max = u16::MAX)]
    TooManyInputs {
        /// Number of inputs named.
        given: usize,
    },
    /// libpcap cannot capture from the interface.
    #[error("cannot capture from {device}: {message}")]
    Device {
        /// Name of the interface.
        device: String,
        /// The message of libpcap.
        message: String,
        /// What the user can do, if that is known.
        hint: Option<String>,
    },
    /// The operating system reports an error while the program waits for packets.
    #[error("cannot wait for packets: {source}")]
    Wait {
        /// The error of the operating system.
        source: io::Error,
    },
    /// libpcap cannot compile the filter.
    #[error("cannot use filter \"{text}\": {message}")]
    Filter {
        /// The filter as the user wrote it.
        text: String,
        /// The message of libpcap.
        message: String,
    },
}

impl Error {
    /// What the user can do about it, as a clause that follows the error; `None` if that is not known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory { name } => Some(format!("name the files in it: {name}/*.pcap*")),
            Self::Empty { .. } => Some(
                "a capture has a header even when it holds no packet; check what wrote it".into(),
            ),
            Self::NotACapture { name, .. } | Self::Snoop { name, .. } => Some(format!(
                "if Wireshark reads it, convert it: editcap -F pcapng {name} converted.pcapng"
            )),
            Self::TooManyInputs { .. } => Some("join some first: mergecap -w ONE FILE...".into()),
            Self::Filter { .. } => Some("the syntax is that of pcap-filter(7)".into()),
            Self::Device { hint, .. } => hint.clone(),
            Self::Open { .. } | Self::Read { .. } | Self::Wait { .. } => None,
        }
    }
}
