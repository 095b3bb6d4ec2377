//! Cuts the content of handshake records into messages.
//!
//! In: the content of one side's handshake records, in order. Out: whole messages. A message may begin in one record and
//! end in another one; one that is longer than any that is read is skipped.

use crate::wire::tls::{MESSAGE_HEADER, message_header};

/// Assembles the handshake messages of one side.
#[derive(Debug, Default)]
pub(super) struct HandshakeMessages {
    /// The front of an incomplete message, its header included.
    held: Vec<u8>,
    /// Number of bytes of a message that are still to be skipped.
    skip: usize,
}

impl HandshakeMessages {
    /// Number of bytes that wait for the rest of a message.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next bytes. `take` gets the type and the bytes of each whole message, its header included.
    pub(super) fn on_bytes(&mut self, bytes: &[u8], take: &mut dyn FnMut(u8, &[u8])) {
        let mut joined = std::mem::take(&mut self.held);
        let mut bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined
        };
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = bytes.get(skipped..).unwrap_or_default();
        while let Some((kind, len)) = message_header(bytes) {
            let whole = MESSAGE_HEADER + len;
            match bytes.split_at_checked(whole) {
                Some((message, later)) => {
                    take(kind, message);
                    bytes = later;
                }
                None if whole > MOST_HELD => {
                    self.skip = whole - bytes.len();
                    return;
                }
                None => break,
            }
        }
        self.held = bytes.to_vec();
    }
}

/// Most bytes of a message that is assembled: a chain of certificates with post-quantum signatures takes some 20 KiB.
const MOST_HELD: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_in_any_segmentation_and_long_ones_are_skipped() {
        let long = [&[11, 1, 0, 0][..], &vec![7; 1 << 16]].concat();
        let stream = [&[1, 0, 0, 2, 8, 9][..], &long, &[20, 0, 0, 0, 24, 0, 0, 1, 1]].concat();
        for size in [1, 2, 3, 5, 1000, 1 << 20] {
            let (mut messages, mut seen) = (HandshakeMessages::default(), Vec::new());
            for bytes in stream.chunks(size) {
                messages.on_bytes(bytes, &mut |kind, message| seen.push((kind, message.len())));
                assert!(messages.held.len() <= MOST_HELD);
            }
            let whole = if size > long.len() { vec![(11, long.len())] } else { Vec::new() };
            assert_eq!(seen, [vec![(1, 6)], whole, vec![(20, 4), (24, 5)]].concat(), "{size}");
        }
    }
}
