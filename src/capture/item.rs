//! The parts of a capture: frames, and the information beside them, in the order of the input.

use std::fmt;
use std::net::IpAddr;

use super::{Error, LinkType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// One link-layer frame, borrowed from the reader's buffer and gone when the next one is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The input and the number of this frame.
    pub id: FrameRef,
    /// When the capturing host saw it.
    pub at: Timestamp,
    /// The protocol of the header that `bytes` begin with.
    pub link: LinkType,
    /// Index of its interface among those of its input ([`Item::Interface`]); `None` if the capture names no
    /// interfaces.
    pub interface: Option<u32>,
    /// Bytes the frame had on the wire; more than `bytes` holds if the snaplen cut it.
    pub wire_len: u32,
    /// The bytes that were captured.
    pub bytes: &'a [u8],
    /// Comments on this frame (`opt_comment` of pcapng); nearly always none.
    pub comments: &'a [Comment],
}

/// A comment on a frame, as the file has it: meant to be UTF-8, but not checked.
pub type Comment = Box<[u8]>;

/// What a source gives next.
#[derive(Debug)]
pub enum Item<'a> {
    /// A frame of one of the inputs.
    Frame(Frame<'a>),
    /// Names of addresses, as the author of the capture resolved them. An address may have several.
    ///
    /// The names are meant to be UTF-8, but not checked.
    Names {
        /// The input that contains them.
        input: u16,
        /// Address and name, up to 4096 of them.
        names: &'a [(IpAddr, Box<[u8]>)],
    },
    /// Secrets that decrypt what follows.
    KeyLog {
        /// The input that contains them.
        input: u16,
        /// The secrets, which `Debug` does not show.
        secrets: Secrets<'a>,
    },
    /// An interface was declared, or its counters have changed.
    Interface {
        /// The input that frames came from.
        input: u16,
        /// The value of [`Frame::interface`]; `None` for all interfaces of the input.
        index: Option<u32>,
        /// Its name and its counters.
        interface: &'a Interface,
    },
    /// Packets that were dropped so far, on all inputs together.
    Drops(Drops),
    /// Something that keeps frames from us. It is in the place where they would have been.
    Notice(Notice),
    /// A captured interface went down, or came up again.
    InterfaceState {
        /// The input that frames come from.
        input: u16,
        /// Name of the interface.
        device: &'a str,
        /// Whether it is up now.
        is_up: bool,
    },
    /// An input cannot be read, or no further. The others can.
    Failed {
        /// The input that ends here.
        input: u16,
        /// The reason, with a hint for the user.
        error: Error,
    },
}

/// Secrets of one decryption secrets block.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Secrets<'a> {
    /// The format of the secrets.
    pub kind: SecretsType,
    data: &'a [u8],
}

/// Secrets Type of a decryption secrets block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretsType(pub u32);

impl SecretsType {
    /// TLS key log: the lines that programs write to `SSLKEYLOGFILE`.
    pub const TLS_KEY_LOG: Self = Self(0x544c_534b);
}

impl<'a> Secrets<'a> {
    /// Secrets in a format.
    pub const fn new(kind: SecretsType, data: &'a [u8]) -> Self {
        Self { kind, data }
    }

    /// Lines of a TLS key log.
    pub const fn key_log(lines: &'a [u8]) -> Self {
        Self::new(SecretsType::TLS_KEY_LOG, lines)
    }

    /// The secret bytes, for code that decrypts and never for code that prints.
    pub const fn expose(&self) -> &'a [u8] {
        self.data
    }
}

impl fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({:#x}, {} bytes)", self.kind.0, self.data.len())
    }
}

/// An interface of a capture, with its counters where they are known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interface {
    /// Its name (`if_name`), cut to a sane length.
    pub name: Option<String>,
    /// Packets that were received (`isb_ifrecv`).
    pub received: Option<u64>,
    /// Packets that the interface dropped for lack of resources (`isb_ifdrop`).
    pub if_drop: Option<u64>,
    /// Packets that the operating system dropped (`isb_osdrop`).
    pub os_drop: Option<u64>,
}

/// Packets that were dropped before they could be captured; `None` if nothing counts them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drops {
    /// Packets that the kernel dropped because its buffer was full.
    pub kernel: Option<u64>,
    /// Packets that the interfaces or their drivers dropped.
    pub interface: Option<u64>,
    /// In a live capture, if more were dropped since the last such item: the last of them by this time.
    pub until: Option<Timestamp>,
}

impl Drops {
    /// Adds the counters of an interface.
    pub(super) fn add(&mut self, interface: &Interface) {
        let sum =
            |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).reduce(u64::saturating_add);
        self.kernel = sum(self.kernel, interface.os_drop);
        self.interface = sum(self.interface, interface.if_drop);
    }
}

/// A capture is truncated or damaged, or its clock differs from those of others. The frames before are valid, and so are those that could be read after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The last frame before; its number is 0 if there is none.
    pub after: FrameRef,
    /// Whether it is truncated or damaged.
    pub kind: NoticeKind,
    /// Byte of the (decompressed) input at which the damage begins.
    pub offset: u64,
    /// Bytes from there that gave no frame; `None` if the rest of the input was not read.
    pub skipped: Option<u64>,
    /// What was expected and what was found.
    pub detail: String,
}

/// What is wrong with a capture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoticeKind {
    /// The input ends in the middle of a record: the writer was killed, or is still writing.
    Truncated,
    /// The input contradicts its format.
    Corrupt,
    /// Its clock differs from that of the first input, and its times are corrected.
    ClocksAligned,
    /// Its clock differs from that of another input, and no correction fits.
    ClocksApart,
}

impl NoticeKind {
    /// The name of this kind in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "input_truncated",
            Self::Corrupt => "input_corrupt",
            Self::ClocksAligned => "clocks_aligned",
            Self::ClocksApart => "clocks_apart",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let secrets = Secrets::new(SecretsType::TLS_KEY_LOG, b"CLIENT_RANDOM 00 11");
        assert_eq!(secrets.expose(), b"CLIENT_RANDOM 00 11");
        let item = Item::KeyLog { input: 0, secrets };
        let printed = format!("{item:?}");
        assert!(printed.contains("Secrets(0x544c534b, 19 bytes)"), "{printed}");
        assert!(!printed.contains("CLIENT") && !printed.contains("67"), "{printed}");
    }

    #[test]
    fn drops_of_interfaces_add_up_and_unknown_ones_stay_unknown() {
        let mut drops = Drops::default();
        drops.add(&Interface::default());
        assert_eq!(drops, Drops::default());
        for os_drop in [Some(1), None, Some(2)] {
            drops.add(&Interface { os_drop, ..Interface::default() });
        }
        assert_eq!((drops.kernel, drops.interface), (Some(3), None));
    }
}
