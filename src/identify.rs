//! Whether a stream is Erlang's, by its first bytes or by bytes in its middle.
//!
//! In: bytes at the start of a segment. Out: a verdict. Ports are not considered: where a port is known to be a node's,
//! this question does not come up.

use crate::wire::epmd::{self, Request};
use crate::wire::handshake::{self, HandshakeMessage, Status};
use crate::wire::header::{Credible, credible_frame};
use crate::wire::proxy::{ProxyStart, proxy_header};
use crate::wire::tls::{CLIENT_HELLO, ContentType, MAJOR};
use crate::wire::{Cut, DistFlags, decode, framing};

/// How well bytes fit a protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PayloadMatch {
    /// No other protocol looks like this.
    Certain,
    /// They fit, and those of another protocol might.
    Fits,
    /// They are too few to decide; nothing rules it out.
    Unsure,
    /// They do not fit.
    No,
}

/// Whether a segment with this payload may belong to a distribution connection on an unknown port.
pub fn distribution(front: &[u8]) -> PayloadMatch {
    if is_no_beginning(front) {
        return behind_proxy_header(front);
    }
    match handshake_start(front) {
        PayloadMatch::No => match credible_frame(front) {
            Credible::Yes => PayloadMatch::Certain,
            Credible::NeedMore(_) => PayloadMatch::Unsure,
            Credible::Tick | Credible::No => PayloadMatch::No,
        },
        verdict => verdict,
    }
}

/// Whether a handshake may begin behind a PROXY protocol header at the front.
fn behind_proxy_header(front: &[u8]) -> PayloadMatch {
    match proxy_header(front) {
        ProxyStart::No => PayloadMatch::No,
        ProxyStart::CutShort => PayloadMatch::Unsure,
        ProxyStart::Header(_, used) => handshake_start(front.get(used..).unwrap_or_default()),
    }
}

/// Whether a payload may begin with a PROXY protocol header: nearly no payload passes.
#[inline]
pub fn may_be_proxy_header(front: &[u8]) -> bool {
    front.starts_with(b"PROXY ") || front.starts_with(b"\r\n\r\n\0\r\nQUIT\n")
}

/// The random bytes of the ClientHello that a TLS stream begins with, by which a key log names its secrets: they come
/// behind the header of the record, that of the message, and a version.
pub fn client_random(front: &[u8]) -> Option<&[u8; 32]> {
    const HANDSHAKE: u8 = ContentType::HANDSHAKE.0;
    match front {
        [HANDSHAKE, MAJOR, _, _, _, CLIENT_HELLO, _, _, _, MAJOR, _, random @ ..] => {
            random.first_chunk()
        }
        _ => None,
    }
}

/// The fast exit of [`distribution`] for nearly all payloads: their first four bytes exceed the length of any
/// message or frame.
#[inline]
pub fn is_no_beginning(front: &[u8]) -> bool {
    const HIGHEST: u8 = 4; // 64 MiB
    (front.len() >= 4) & (*front.first().unwrap_or(&0) > HIGHEST)
}

/// Whether a handshake message begins here.
pub fn handshake_start(front: &[u8]) -> PayloadMatch {
    let len = match front {
        [] => return PayloadMatch::Unsure,
        // No handshake message is so long.
        [high, ..] if *high > 2 => return PayloadMatch::No,
        [_] | [_, _] => return PayloadMatch::Unsure,
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
    };
    let body = front.get(2..).unwrap_or_default();
    if !fits(len, body) {
        return PayloadMatch::No;
    }
    let Cut::Message { body, .. } = framing::cut_packet2(front) else {
        return PayloadMatch::Unsure;
    };
    match body.first() {
        Some(b'N' | b'n') => {
            if is_hello(body) {
                PayloadMatch::Certain
            } else {
                PayloadMatch::No
            }
        }
        Some(b's') => match decode(body, handshake::status) {
            Ok(Status::Other(_)) | Err(_) => PayloadMatch::No,
            Ok(_) => PayloadMatch::Certain,
        },
        _ => PayloadMatch::Fits,
    }
}

/// Whether the start of a body fits its announced length.
fn fits(len: u16, body: &[u8]) -> bool {
    match body {
        // Bit 38 is the highest flag in use.
        [b'N', flags @ ..] => len >= 15 && flags.iter().take(3).all(|byte| *byte == 0),
        [b'n', version @ ..] => {
            // Nodes do not check the version, and some tools send 7.
            len >= 10 && version.iter().zip([0..=0, 5..=7]).all(|(byte, may)| may.contains(byte))
        }
        [b's', text @ ..] => len <= 600 && text.iter().take(5).all(u8::is_ascii_graphic),
        [b'r', ..] => len == 21,
        [b'c', ..] => len == 9,
        [b'a', ..] => len == 17,
        _ => false,
    }
}

/// Whether the body of a handshake message is a `send_name` or a `challenge` that makes sense: it has the flags that
/// every release demands, and a name that is one.
pub fn is_hello(body: &[u8]) -> bool {
    let read = [handshake::from_initiator, handshake::from_acceptor];
    read.iter().any(|parser| decode(body, parser).is_ok_and(|message| makes_sense(&message)))
}

fn makes_sense(message: &HandshakeMessage<'_>) -> bool {
    let demanded = DistFlags::EXTENDED_REFERENCES.union(DistFlags::EXTENDED_PIDS_PORTS);
    match message {
        HandshakeMessage::SendName(m) => {
            m.flags.contains(demanded)
                && (handshake::is_node_name(m.name) || m.flags.contains(DistFlags::NAME_ME))
        }
        HandshakeMessage::Challenge(m) => {
            m.flags.contains(demanded) && handshake::is_node_name(m.name)
        }
        _ => false,
    }
}

/// Whether a whole request to EPMD begins a stream on an unknown port: a look-up or a registration whose lengths fit and
/// whose name is printable. EPMD listens on another port with `ERL_EPMD_PORT`, and only its reply confirms it.
#[inline]
pub fn is_epmd_request(front: &[u8]) -> bool {
    matches!(front, [_, _, b'z' | b'x', ..]) && is_whole_request(front)
}

#[inline(never)]
fn is_whole_request(front: &[u8]) -> bool {
    let Cut::Message { body, used } = framing::cut_packet2(front) else { return false };
    if used != front.len() {
        return false;
    }
    let is_name = |name: &[u8]| {
        let text = std::str::from_utf8(name);
        (1..=MAX_ALIVE_NAME).contains(&name.len())
            && text.is_ok_and(|text| !text.chars().any(char::is_control))
    };
    match decode(body, epmd::request) {
        Ok(Request::PortPlease2Req { name }) => is_name(name),
        Ok(Request::Alive2Req(node)) => {
            let is_known_kind = matches!(node.node_type.0, b'M' | b'H' | b'h' | b'n');
            is_name(node.name) && is_known_kind && node.protocol == 0 && node.lowest_version >= 5
        }
        _ => false,
    }
}

/// Characters of an alive name that EPMD registers have at most four bytes each, and their number is at most 255.
const MAX_ALIVE_NAME: usize = 255 * 4;

/// A description of the first bytes of a stream that is not one of Erlang.
pub fn looks_like(bytes: &[u8]) -> &'static str {
    let known = SIGNS.iter().find(|(sign, _)| bytes.starts_with(sign));
    known.map_or("bytes of no protocol known here", |(_, name)| name)
}

/// The first bytes by which [`looks_like`] knows a protocol.
pub fn sign(bytes: &[u8]) -> Option<&'static [u8]> {
    SIGNS.iter().find(|(sign, _)| bytes.starts_with(sign)).map(|(sign, _)| *sign)
}

/// The first bytes of protocols that people point at a port of Erlang, and their names for a sentence.
const SIGNS: [(&[u8], &str); 14] = [
    (b"GET ", "an HTTP request"),
    (b"POST ", "an HTTP request"),
    (b"HEAD ", "an HTTP request"),
    (b"OPTIONS ", "an HTTP request"),
    (b"PRI * HTTP/2", "an HTTP/2 request"),
    (b"SSH-", "an SSH banner"),
    (b"\x16\x03", "the start of TLS"),
    (b"\x80", "the start of an old SSL"),
    (b"\x03\x00", "a remote desktop request"),
    (b"PROXY ", "a PROXY protocol header"),
    (b"\r\n\r\nQUIT\n", "a PROXY protocol header"),
    (b"AMQP", "AMQP"),
    (b"*1\r\n", "a Redis command"),
    (b"\0\0", "a message of no bytes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const SEND_NAME: &[u8] = b"\0\x1aN\0\0\0\x01\x01\xdf\x7f\xbd\x6b\x03\x09\x21\0\x0ba@127.0.0.1";
    const CHALLENGE: &[u8] =
        b"\0\x1eN\0\0\0\x01\x01\xdf\x7f\xbd\xd9\x93\x56\x36\x6b\x03\x09\x1f\0\x0bb@127.0.0.1";

    #[test]
    fn a_handshake_is_known_by_its_grammar() {
        for message in [SEND_NAME, CHALLENGE, b"\0\x03sok", b"\0\x0csnot_allowed"] {
            assert_eq!(distribution(message), PayloadMatch::Certain);
        }
    }

    #[test]
    fn every_shorter_prefix_is_undecided() {
        for message in [SEND_NAME, CHALLENGE, b"\0\x03sok"] {
            for cut in 0..message.len() {
                assert_eq!(distribution(&message[..cut]), PayloadMatch::Unsure, "{cut}");
            }
        }
    }

    #[test]
    fn other_protocols_are_left_alone() {
        let others: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f", // PostgreSQL: SSL request
            b"\0\x1c\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0", // DNS over TCP
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0\x1aN\0\0\0\x01\0\0\0\0\x6b\x03\x09\x21\0\x0ba@127.0.0.1", // no flags
        ];
        for other in others {
            assert_eq!(distribution(other), PayloadMatch::No, "{other:?}");
        }
    }

    #[test]
    fn a_request_to_epmd_is_recognised_whole_and_by_its_lengths() {
        let register = b"\0\x0ex\x23\x8cM\0\0\x06\0\x05\0\x01b\0\0";
        for request in [&register[..], b"\0\x02zb", "\0\x05zbl\u{e9}".as_bytes()] {
            assert!(is_epmd_request(request), "{request:?}");
            for cut in 0..request.len() {
                assert!(!is_epmd_request(&request[..cut]), "{cut}");
            }
            let verdict = distribution(request);
            assert!(matches!(verdict, PayloadMatch::No | PayloadMatch::Unsure), "{verdict:?}");
        }
        let others: [&[u8]; 6] = [
            b"\0\x02zbb",
            b"\0\x01z",
            b"\0\x03z\x01\x02",
            b"\0\x1cz\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03www\x04test\0\0\x01\0\x01", // DNS over TCP
            b"\0\x01n",
            b"\0\x0ex\x23\x8cQ\0\0\x06\0\x05\0\x01b\0\0",
        ];
        for other in others {
            assert!(!is_epmd_request(other), "{other:?}");
        }
    }

    #[test]
    fn a_handshake_may_begin_behind_a_proxy_header() {
        let header = b"PROXY TCP4 10.0.0.1 10.0.0.3 40000 9100\r\n";
        assert_eq!(distribution(&[header, SEND_NAME].concat()), PayloadMatch::Certain);
        assert_eq!(distribution(header), PayloadMatch::Unsure);
        assert_eq!(distribution(&header[..20]), PayloadMatch::Unsure);
        assert_eq!(distribution(&[header, &b"GET / HTTP/1.1\r\n"[..]].concat()), PayloadMatch::No);
        assert!(may_be_proxy_header(header) && !may_be_proxy_header(b"POST / HTTP/1.1\r\n"));
    }

    #[test]
    fn a_reply_alone_fits_and_proves_nothing() {
        let mut reply = b"\0\x15r".to_vec();
        reply.extend([7; 20]);
        assert_eq!(distribution(&reply), PayloadMatch::Fits);
    }
}
