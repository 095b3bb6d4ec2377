//! Metadata of a pcapng file: names of addresses, secrets and comments.
//!
//! In: names, secrets and comments as [`super::pcapng`] parses them. Out: those of the last block, for
//! [`Item`](super::Item). This file does not resolve names, decrypt traffic or interpret comments.

use std::net::IpAddr;
use std::ops::Range;

use super::item::{Comment, SecretsType};

/// Names, secrets and comments, each of the last block that contained some.
///
/// # Limits
///
/// 4,096 names and comments in a block; names up to 255 bytes, comments up to 1 KiB. A block of secrets up to 1 MiB.
/// What exceeds a limit is left out, and never truncated. What is malformed is skipped.
///
/// Spec: *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng, "Options", "Name
/// Resolution Block", "Decryption Secrets Block".
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// Addresses, each with one of its names.
    pub(super) names: Vec<(IpAddr, Box<[u8]>)>,
    /// Type of the secrets, and their range in the buffer.
    pub(super) secrets: Option<(SecretsType, Range<usize>)>,
    /// Comments on the last frame.
    pub(super) comments: Vec<Comment>,
}

impl Annotations {
    pub(super) fn name(&mut self, address: IpAddr, name: &[u8]) {
        if self.names.len() < MAX_PER_BLOCK && name.len() <= MAX_NAME {
            self.names.push((address, name.into()));
        }
    }

    pub(super) fn secret(&mut self, kind: SecretsType, place: Range<usize>) {
        self.secrets = (place.len() <= MAX_SECRETS).then_some((kind, place));
    }

    pub(super) fn comment(&mut self, comment: &[u8]) {
        if self.comments.len() < MAX_PER_BLOCK && comment.len() <= MAX_COMMENT {
            self.comments.push(comment.into());
        }
    }
}

/// Most names in one block, and most comments on one frame. People write comments by hand, and a cluster has
/// fewer hosts.
pub(super) const MAX_PER_BLOCK: usize = 4096;

/// Most bytes of a name, which is the limit of DNS.
const MAX_NAME: usize = 255;

/// Most bytes of a comment, more than people write about one frame.
const MAX_COMMENT: usize = 1024;

/// Most bytes of one block of secrets: enough for 1,000 TLS 1.3 sessions, each of which logs less than 1 KiB.
const MAX_SECRETS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_number_of_names_and_comments_is_bounded() {
        let mut annotations = Annotations::default();
        for _ in 0..MAX_PER_BLOCK + 2 {
            annotations.name(ADDRESS, b"n");
            annotations.comment(b"c");
        }
        let Annotations { names, comments, .. } = annotations;
        assert_eq!([names.len(), comments.len()], [MAX_PER_BLOCK; 2]);
    }

    #[test]
    fn the_bytes_of_names_comments_and_secrets_are_bounded() {
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
