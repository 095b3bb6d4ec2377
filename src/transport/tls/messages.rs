//! The handshake messages of TLS 1.2 that are in clear, up to the certificate.
//!
//! In: the bodies of handshake records, in order. Out: the first certificate. A message may begin in one record and end
//! in another one; messages before the certificate are skipped without a copy.

use crate::wire::tls::{first_certificate, message_header};

/// Looks for the Certificate message of one side.
#[derive(Debug, Default)]
pub(super) struct CertificateSearch {
    /// The front of the current message, its header included.
    held: Vec<u8>,
    /// Number of bytes of the current message that are still to be skipped.
    skip: usize,
    /// Whether nothing more is looked for.
    is_over: bool,
}

impl CertificateSearch {
    /// Whether further bytes change nothing.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Gives up: bytes are missing, or the rest is encrypted.
    pub(super) fn give_up(&mut self) {
        self.is_over = true;
        self.held = Vec::new();
    }

    /// Takes the next bytes of handshake records. Gives the certificate once all of it has come.
    pub(super) fn on_bytes<T>(
        &mut self,
        mut bytes: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        while !self.is_over && !bytes.is_empty() {
            if self.skip > 0 {
                let here = self.skip.min(bytes.len());
                self.skip -= here;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            let room = if self.held.len() < HEADER { HEADER } else { MOST_HELD };
            let here = room.saturating_sub(self.held.len()).min(bytes.len());
            let (now, later) = bytes.split_at_checked(here)?;
            self.held.extend_from_slice(now);
            bytes = later;
            let Some((kind, len)) = message_header(&self.held) else { continue };
            if kind != CERTIFICATE {
                // Behind these messages no certificate follows in clear.
                if matches!(kind, SERVER_HELLO_DONE | CLIENT_KEY_EXCHANGE) {
                    self.give_up();
                }
                self.held.clear();
                self.skip = len;
                continue;
            }
            let body = self.held.get(HEADER..).unwrap_or_default();
            let body = body.get(..len).unwrap_or(body);
            if let Some(certificate) = first_certificate(body) {
                let found = read(certificate);
                self.give_up();
                return Some(found);
            }
            if body.len() == len || self.held.len() >= MOST_HELD {
                self.give_up();
            }
        }
        None
    }
}

/// Bytes of the header of a message.
const HEADER: usize = 4;

/// Most bytes of a Certificate message that are kept. The first certificate takes one or two thousand.
const MOST_HELD: usize = 16 << 10;

const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
const CLIENT_KEY_EXCHANGE: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind], &len[1..], body].concat()
    }

    fn certificates(first: &[u8]) -> Vec<u8> {
        let len = |len: usize| u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
        let one = [len(first.len()), first.to_vec()].concat();
        message(CERTIFICATE, &[len(one.len()), one].concat())
    }

    fn search(stream: &[u8], size: usize) -> Option<Vec<u8>> {
        let mut search = CertificateSearch::default();
        let found = stream.chunks(size).find_map(|bytes| search.on_bytes(bytes, <[u8]>::to_vec));
        assert!(search.held.capacity() <= MOST_HELD * 2);
        found
    }

    #[test]
    fn the_certificate_is_found_in_any_segmentation() {
        let stream =
            [message(2, &[7; 70]), certificates(&[9; 900]), message(12, &[1; 99])].concat();
        for size in [1, 2, 3, 5, 64, 1448, 9999] {
            assert_eq!(search(&stream, size), Some(vec![9; 900]), "{size}");
        }
    }

    #[test]
    fn without_a_certificate_the_search_ends() {
        let none = message(CERTIFICATE, &[0, 0, 0]);
        let done = [message(2, &[7; 70]), message(SERVER_HELLO_DONE, b"")].concat();
        for stream in
            [[none, certificates(b"late")].concat(), [done, certificates(b"late")].concat()]
        {
            assert_eq!(search(&stream, 7), None);
        }
        assert_eq!(search(&certificates(&[9; 20_000]), 1448), None, "beyond the bound");
        assert_eq!(search(&message(CERTIFICATE, &[0xff; 40_000]), 1448), None);
    }
}
