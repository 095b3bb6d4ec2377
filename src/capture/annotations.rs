//! Stage 1: what a pcapng file says about its frames beside their bytes.
//!
//! In: names, secrets and comments as [`super::pcapng`] cuts them from blocks. Out:
//! [`Annotations`], for the stages that want them. Nothing here resolves a name, decrypts, or
//! interprets a comment.

use std::fmt;
use std::net::IpAddr;

use crate::packet::FrameRef;

/// What a capture says about its frames beside their bytes, in the order of its blocks; empty
/// where the format has no such thing. Grows as the capture is read.
///
/// All bytes are as in the file: meant to be UTF-8, but from hands that nobody checked.
///
/// # Limits
///
/// 4 096 of each kind; names up to 255 bytes, comments up to 1 KiB, 1 MiB of secrets in all. What
/// is beyond is left out whole and counted in [`Annotations::dropped`]. What is malformed is passed
/// over.
///
/// Spec: *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng, "Options", "Name
/// Resolution Block", "Decryption Secrets Block".
#[derive(Debug, Default)]
pub struct Annotations {
    /// Address and a name of it, from name resolution blocks. An address may have several.
    pub names: Vec<(IpAddr, Box<[u8]>)>,
    /// Secrets, from decryption secrets blocks.
    pub secrets: Vec<Secrets>,
    /// A frame and a comment on it (`opt_comment`). A frame may have several.
    pub comments: Vec<(FrameRef, Box<[u8]>)>,
    /// Names, secrets and comments that were left out for a bound.
    pub dropped: u64,
    /// Bytes of all `secrets`.
    secret_bytes: usize,
}

/// What one decryption secrets block holds. `Debug` shows its type and length, never its bytes.
#[derive(Eq, PartialEq)]
pub struct Secrets {
    /// What format they have.
    pub kind: SecretsType,
    data: Box<[u8]>,
}

/// Secrets Type of a decryption secrets block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SecretsType(pub u32);

impl SecretsType {
    /// TLS key log: the lines that programs write to `SSLKEYLOGFILE`.
    pub const TLS_KEY_LOG: Self = Self(0x544c_534b);
}

impl Secrets {
    /// The secret bytes, to be handed to what decrypts and to nothing that prints.
    pub fn expose(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({:#x}, {} bytes)", self.kind.0, self.data.len())
    }
}

impl Annotations {
    /// For captures without any.
    pub(super) const NONE: &'static Self = &Self {
        names: Vec::new(),
        secrets: Vec::new(),
        comments: Vec::new(),
        dropped: 0,
        secret_bytes: 0,
    };

    pub(super) fn name(&mut self, address: IpAddr, name: &[u8]) {
        if self.names.len() < MAX_OF_A_KIND && name.len() <= MAX_NAME {
            self.names.push((address, name.into()));
        } else {
            self.drop_one();
        }
    }

    pub(super) fn secret(&mut self, kind: SecretsType, data: &[u8]) {
        let bytes = self.secret_bytes.saturating_add(data.len());
        if self.secrets.len() < MAX_OF_A_KIND && bytes <= MAX_SECRETS {
            self.secret_bytes = bytes;
            self.secrets.push(Secrets { kind, data: data.into() });
        } else {
            self.drop_one();
        }
    }

    pub(super) fn comment(&mut self, frame: FrameRef, comment: &[u8]) {
        if self.comments.len() < MAX_OF_A_KIND && comment.len() <= MAX_COMMENT {
            self.comments.push((frame, comment.into()));
        } else {
            self.drop_one();
        }
    }

    fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }
}

/// Names, secrets, comments each. Comments are made by hand, a cluster has fewer hosts, and a key
/// log of so many blocks has long reached its bytes.
const MAX_OF_A_KIND: usize = 4096;

/// Bytes of a name: the longest that DNS has.
const MAX_NAME: usize = 255;

/// Bytes of a comment: more than anybody writes about one frame.
const MAX_COMMENT: usize = 1024;

/// Bytes of all secrets: a TLS 1.3 session logs less than 1 KiB, so over a thousand sessions.
const MAX_SECRETS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn every_kind_is_bounded_in_number() {
        let mut annotations = Annotations::default();
        for _ in 0..MAX_OF_A_KIND + 2 {
            annotations.name(ADDRESS, b"n");
            annotations.secret(SecretsType::TLS_KEY_LOG, b"");
            annotations.comment(FrameRef::default(), b"c");
        }
        let Annotations { names, secrets, comments, dropped, .. } = annotations;
        assert_eq!([names.len(), secrets.len(), comments.len()], [MAX_OF_A_KIND; 3]);
        assert_eq!(dropped, 6);
    }

    #[test]
    fn every_kind_is_bounded_in_bytes() {
        let mut annotations = Annotations::default();
        for over in [0, 1] {
            annotations.name(ADDRESS, &vec![b'n'; MAX_NAME + over]);
            annotations.comment(FrameRef::default(), &vec![b'c'; MAX_COMMENT + over]);
            annotations.secret(SecretsType(1), &vec![b's'; MAX_SECRETS - 1 + over]);
        }
        annotations.secret(SecretsType(2), b"s");
        annotations.secret(SecretsType(3), b"s");
        assert_eq!((annotations.names.len(), annotations.comments.len()), (1, 1));
        let kinds: Vec<_> = annotations.secrets.iter().map(|secrets| secrets.kind.0).collect();
        assert_eq!((kinds.as_slice(), annotations.dropped), (&[1, 2][..], 4));
    }

    #[test]
    fn secrets_are_never_printed() {
        let mut annotations = Annotations::default();
        annotations.secret(SecretsType::TLS_KEY_LOG, b"CLIENT_RANDOM 00 11");
        assert_eq!(annotations.secrets[0].expose(), b"CLIENT_RANDOM 00 11");
        let printed = format!("{annotations:?}");
        assert!(printed.contains("[Secrets(0x544c534b, 19 bytes)]"), "{printed}");
        assert!(!printed.contains("CLIENT") && !printed.contains("67"), "{printed}");
    }
}
