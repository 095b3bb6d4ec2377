//! What a pcapng file says about its frames beside their bytes.
//!
//! In: names, secrets and comments as [`super::pcapng`] cuts them from blocks. Out: those of the last block, for
//! [`Item`](super::Item). Nothing here resolves a name, decrypts, or interprets a comment.

use std::net::IpAddr;
use std::ops::Range;

use super::item::{Comment, SecretsType};

/// Names, secrets and comments of the last block that has some.
///
/// # Limits
///
/// 4,096 names and comments in a block; names up to 255 bytes, comments up to 1 KiB. A block of secrets up to 1 MiB.
/// Anything beyond is left out whole. Anything malformed is skipped.
///
/// Spec: *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng, "Options", "Name
/// Resolution Block", "Decryption Secrets Block".
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// Address and a name of it.
    pub(super) names: Vec<(IpAddr, Box<[u8]>)>,
    /// Type of the secrets, and their place in the buffer.
    pub(super) secrets: Option<(SecretsType, Range<usize>)>,
    /// Comments on the last frame.
    pub(super) comments: Vec<Comment>,
}

impl Annotations {
    pub(super) fn name(&mut self, address: IpAddr, name: &[u8]) {
        if self.names.len() < MOST_OF_A_KIND && name.len() <= MAX_NAME {
            self.names.push((address, name.into()));
        }
    }

    pub(super) fn secret(&mut self, kind: SecretsType, place: Range<usize>) {
        self.secrets = (place.len() <= MAX_SECRETS).then_some((kind, place));
    }

    pub(super) fn comment(&mut self, comment: &[u8]) {
        if self.comments.len() < MOST_OF_A_KIND && comment.len() <= MAX_COMMENT {
            self.comments.push(comment.into());
        }
    }
}

/// Names of one block, comments on one frame. Comments are made by hand, and a cluster has fewer hosts.
pub(super) const MOST_OF_A_KIND: usize = 4096;

/// Bytes of a name: the longest that DNS has.
const MAX_NAME: usize = 255;

/// Bytes of a comment: more than a person writes about one frame.
const MAX_COMMENT: usize = 1024;

/// Bytes of one block of secrets: a TLS 1.3 session logs less than 1 KiB, so over a thousand sessions.
const MAX_SECRETS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn every_kind_is_bounded_in_number() {
        let mut annotations = Annotations::default();
        for _ in 0..MOST_OF_A_KIND + 2 {
            annotations.name(ADDRESS, b"n");
            annotations.comment(b"c");
        }
        let Annotations { names, comments, .. } = annotations;
        assert_eq!([names.len(), comments.len()], [MOST_OF_A_KIND; 2]);
    }

    #[test]
    fn every_kind_is_bounded_in_bytes() {
        let mut annotations = Annotations::default();
        for over in [0, 1] {
            annotations.name(ADDRESS, &vec![b'n'; MAX_NAME + over]);
            annotations.comment(&vec![b'c'; MAX_COMMENT + over]);
        }
        assert_eq!((annotations.names.len(), annotations.comments.len()), (1, 1));
        annotations.secret(SecretsType(1), 7..7 + MAX_SECRETS);
        assert!(annotations.secrets.is_some());
        annotations.secret(SecretsType(1), 7..8 + MAX_SECRETS);
        assert!(annotations.secrets.is_none());
    }
}
