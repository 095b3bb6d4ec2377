//! The handshake messages of TLS 1.2 that are in clear.
//!
//! In: the bodies of handshake records of one side, in order. Out: its certificates, and the end of its flight. A message
//! may begin in one record and end in another one; all but the certificates are skipped without a copy.

use std::sync::Arc;

use crate::names;
use crate::observe::{CertificateFacts, IssuedBy};
use crate::packet::PacketRef;
use crate::time::Timestamp;
use crate::wire::tls::{CERTIFICATE, MESSAGE_HEADER, certificates, message_header};
use crate::wire::x509::{self, Certificate};

/// Follows the handshake messages of one side as far as they are in clear.
#[derive(Debug, Default)]
pub(super) struct ClearMessages {
    /// The front of the current message, its header included.
    held: Vec<u8>,
    /// Number of bytes of the current message that are still to be skipped.
    skip: usize,
    /// Number of certificates of the current message that were given.
    given: usize,
    /// Whether nothing more is looked for.
    is_over: bool,
}

/// What some bytes of handshake messages completed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Completed {
    /// The certificates of the side so far, if there is a new one among them.
    pub(super) certificates: Vec<CertificateFacts>,
    /// Whether a Certificate message without a certificate came.
    pub(super) has_none: bool,
    /// Whether the flight of the side ended: the other side is the next to send.
    pub(super) is_flight: bool,
}

impl ClearMessages {
    /// Whether further bytes change nothing.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Number of bytes that wait for the rest of a message.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }

    /// Gives up: bytes are missing, or the rest is encrypted.
    pub(super) fn give_up(&mut self) {
        self.is_over = true;
        self.held = Vec::new();
    }

    /// Takes the next bytes of handshake records, which this packet completed.
    pub(super) fn on_bytes(&mut self, mut bytes: &[u8], packet: PacketRef) -> Completed {
        let mut completed = Completed::default();
        while !self.is_over && !bytes.is_empty() {
            if self.skip > 0 {
                let here = self.skip.min(bytes.len());
                self.skip -= here;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            let whole =
                message_header(&self.held).map_or(MESSAGE_HEADER, |(_, len)| MESSAGE_HEADER + len);
            let here = whole.min(MOST_HELD).saturating_sub(self.held.len()).min(bytes.len());
            let Some((now, later)) = bytes.split_at_checked(here) else { break };
            self.held.extend_from_slice(now);
            bytes = later;
            let Some((kind, len)) = message_header(&self.held) else { continue };
            if kind == CERTIFICATE {
                self.on_certificates(len, packet, &mut completed);
            } else {
                // Behind the second of these messages, everything is encrypted; behind the first, nothing follows.
                if matches!(kind, SERVER_HELLO_DONE | CLIENT_KEY_EXCHANGE) {
                    completed.is_flight = true;
                    self.give_up();
                }
                self.held.clear();
                self.skip = len;
            }
        }
        completed
    }

    /// Reads the certificates in a message of `len` bytes as far as it is held.
    fn on_certificates(&mut self, len: usize, packet: PacketRef, completed: &mut Completed) {
        let body = self.held.get(MESSAGE_HEADER..).unwrap_or_default();
        let (is_whole, is_full) = (body.len() >= len, self.held.len() >= MOST_HELD);
        let here = certificates(body, false).take(MOST_CERTIFICATES).count();
        // The first one is what matters most, and the capture may lack the rest.
        if here > 0 && (self.given == 0 || is_whole || is_full) && here > self.given {
            self.given = here;
            completed.certificates = facts(certificates(body, false), packet);
        }
        if is_whole {
            completed.has_none |= body.iter().all(|byte| *byte == 0);
            self.held.clear();
            self.given = 0;
        } else if is_full {
            self.give_up();
        }
    }
}

/// The facts of the certificates of one side, first its own.
pub(super) fn facts<'a>(
    list: impl Iterator<Item = &'a [u8]>,
    mark: PacketRef,
) -> Vec<CertificateFacts> {
    let read = list.take(MOST_CERTIFICATES).map_while(x509::certificate);
    let read: Vec<Certificate> = read.collect();
    let of = |(at, it): (usize, &Certificate)| {
        let mut others = read.iter().enumerate().filter(|(other, _)| *other != at);
        let issued = if it.is_issued_by(it) {
            IssuedBy::Itself
        } else if others.any(|(_, other)| it.is_issued_by(other)) {
            IssuedBy::Sent
        } else {
            IssuedBy::NotSent
        };
        certificate(it, issued, mark)
    };
    read.iter().enumerate().map(of).collect()
}

/// The facts of one certificate.
fn certificate(read: &Certificate, issued: IssuedBy, mark: PacketRef) -> CertificateFacts {
    let hosts = read.hosts.iter().filter_map(|host| names::host_characters(host));
    let addresses = read.addresses.iter().map(|ip| ip.to_string().into());
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in hosts.chain(addresses) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let text = |name: &Option<Vec<u8>>| name.as_deref().and_then(names::printable);
    let usage = read.key_usage.as_ref();
    let purposes = read.extended_key_usage.as_ref();
    CertificateFacts {
        mark,
        subject: text(&read.subject),
        issuer: text(&read.issuer),
        names,
        not_before: Some(Timestamp::new(read.not_before, 0)),
        not_after: Some(Timestamp::new(read.not_after, 0)),
        key_usage: usage.map(|it| it.iter().map(|name| (*name).into()).collect()),
        extended_key_usage: purposes.map(|it| it.iter().map(|name| name.as_str().into()).collect()),
        is_authority: read.is_authority,
        issued,
    }
}

/// Most bytes of a Certificate message that are kept. A certificate takes one or two thousand.
const MOST_HELD: usize = 16 << 10;

/// Most certificates of one side that are read. A chain of authorities has two or three.
const MOST_CERTIFICATES: usize = 6;

const SERVER_HELLO_DONE: u8 = 14;
const CLIENT_KEY_EXCHANGE: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;
    use crate::wire::x509::samples::{issued, name};

    const COMMON_NAME: &[u8] = &[0x55, 4, 3];

    fn len(len: usize) -> Vec<u8> {
        u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &len(body.len()), body].concat()
    }

    fn list(certificates: &[Vec<u8>]) -> Vec<u8> {
        let list: Vec<u8> =
            certificates.iter().flat_map(|it| [len(it.len()), it.clone()].concat()).collect();
        message(CERTIFICATE, &[len(list.len()), list].concat())
    }

    fn certified(subject: &str, issuer: &str) -> Vec<u8> {
        let name = |text: &str| name(COMMON_NAME, text.as_bytes());
        issued(&name(issuer), &name(subject), b"")
    }

    /// The subjects of the certificates that a stream shows in the end and who issued them, and whether its flight ended.
    fn shown(stream: &[u8], size: usize) -> (Vec<(String, IssuedBy)>, bool) {
        let mut messages = ClearMessages::default();
        let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
        let (mut found, mut is_flight) = (Vec::new(), false);
        for bytes in stream.chunks(size) {
            let completed = messages.on_bytes(bytes, packet);
            is_flight |= completed.is_flight;
            if !completed.certificates.is_empty() {
                let subject =
                    |it: &CertificateFacts| (it.subject.clone().unwrap().to_string(), it.issued);
                found = completed.certificates.iter().map(subject).collect();
            }
            assert!(messages.held.capacity() <= MOST_HELD * 2);
        }
        (found, is_flight)
    }

    const SIZES: [usize; 7] = [1, 2, 3, 5, 64, 1448, 99_999];

    #[test]
    fn the_certificates_and_the_end_of_a_flight_are_found_in_any_segmentation() {
        let chain = [certified("web9", "Mid"), certified("Mid", "Root"), certified("Root", "Root")];
        let stream = [
            message(2, &[7; 70]),
            list(&chain),
            message(12, &[1; 99]),
            message(SERVER_HELLO_DONE, b""),
        ];
        let issued = |name: &str, by| (name.to_owned(), by);
        for size in SIZES {
            let (found, is_flight) = shown(&stream.concat(), size);
            let expected = [
                issued("web9", IssuedBy::Sent),
                issued("Mid", IssuedBy::Sent),
                issued("Root", IssuedBy::Itself),
            ];
            assert_eq!((found.as_slice(), is_flight), (&expected[..], true), "{size}");
        }
        let first = shown(&stream.concat()[..74 + 10 + chain[0].len()], 64).0;
        assert_eq!(first, [issued("web9", IssuedBy::NotSent)], "the rest is not in the capture");
    }

    #[test]
    fn a_client_sends_its_certificate_before_its_key() {
        let stream =
            [list(&[certified("web9", "Root")]), message(CLIENT_KEY_EXCHANGE, &[1; 37])].concat();
        for size in SIZES {
            assert!(shown(&stream, size).1, "{size}");
        }
        assert!(!shown(&stream[..stream.len() - 41], 64).1);
    }

    #[test]
    fn a_list_without_a_certificate_is_noticed() {
        let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
        let has_none = |stream: &[u8]| ClearMessages::default().on_bytes(stream, packet).has_none;
        assert!(has_none(&list(&[])));
        assert!(!has_none(&list(&[])[..6]), "not whole");
        assert!(!has_none(&list(&[certified("web9", "Root")])));
    }

    #[test]
    fn without_a_certificate_none_is_found() {
        let certificate = list(&[certified("late", "Root")]);
        let done = [message(SERVER_HELLO_DONE, b""), certificate.clone()].concat();
        assert_eq!(shown(&done, 7), (Vec::new(), true));
        let long = [message(CERTIFICATE, &[9; 20_000]), certificate].concat();
        assert_eq!(shown(&long, 1448).0, [], "beyond the bound");
        assert_eq!(shown(&message(CERTIFICATE, &[0xff; 40_000]), 1448).0, []);
        let many = vec![certified("web9", "Root"); 40];
        assert_eq!(shown(&list(&many), 1448).0.len(), MOST_CERTIFICATES);
    }
}
