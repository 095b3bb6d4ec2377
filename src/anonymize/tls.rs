//! Records of TLS, as far as they are in clear, and the certificates in them.
//!
//! In: the body of a record. Out: as many bytes. Lengths, versions, cipher suites, alerts and dates stay; names are
//! replaced; keys, signatures, random and encrypted bytes are zero.

use super::edit::{byte, keep, number2, number3, part, put};
use super::pseudonyms::Pseudonyms;

/// Replaces the body of a record. `is_sealed` is whether its sender encrypts.
pub(super) fn record(kind: u8, body: &[u8], is_sealed: bool, names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = vec![0; body.len()];
    match kind {
        CHANGE_CIPHER_SPEC => keep(&mut out, body, 0, 1),
        ALERT if body.len() == 2 => keep(&mut out, body, 0, 2),
        HANDSHAKE if !is_sealed => {
            let mut at = 0;
            while let (Some(message), Some(len)) = (byte(body, at), number3(body, at + 1)) {
                keep(&mut out, body, at, 4);
                let start = at + 4;
                let Some(content) = part(body, start, len) else { break };
                let mut new = vec![0; len];
                // `None` ends a message that is cut short or malformed; the rest of it is zero.
                let _ = match message {
                    CLIENT_HELLO => hello(content, true, &mut new, names),
                    SERVER_HELLO => hello(content, false, &mut new, names),
                    CERTIFICATE => certificates(content, &mut new, names),
                    CERTIFICATE_REQUEST => certificate_request(content, &mut new, names),
                    SERVER_KEY_EXCHANGE => server_key(content, &mut new),
                    CLIENT_KEY_EXCHANGE => {
                        keep(&mut new, content, 0, 1);
                        Some(())
                    }
                    CERTIFICATE_VERIFY => {
                        keep(&mut new, content, 0, 4);
                        Some(())
                    }
                    NEW_SESSION_TICKET => {
                        keep(&mut new, content, 0, 6);
                        Some(())
                    }
                    _ => None,
                };
                put(&mut out, start, &new);
                at = start + len;
            }
        }
        _ => {}
    }
    out
}

/// A ClientHello or ServerHello without its header.
fn hello(body: &[u8], is_client: bool, out: &mut [u8], names: &mut Pseudonyms) -> Option<()> {
    keep(out, body, 0, 2);
    if part(body, 2, 32)? == RETRY {
        keep(out, body, 2, 32);
    }
    let mut at = 34;
    at += 1 + usize::from(byte(body, at)?);
    keep(out, body, 34, 1);
    if is_client {
        let suites = usize::from(number2(body, at)?);
        keep(out, body, at, 2 + suites);
        at += 2 + suites;
        let methods = usize::from(byte(body, at)?);
        keep(out, body, at, 1 + methods);
        at += 1 + methods;
    } else {
        keep(out, body, at, 3);
        at += 3;
    }
    keep(out, body, at, 2);
    number2(body, at)?;
    at += 2;
    loop {
        let (kind, len) = (number2(body, at)?, usize::from(number2(body, at + 2)?));
        keep(out, body, at, 4);
        let start = at + 4;
        let value = part(body, start, len)?;
        match kind {
            SERVER_NAME => {
                keep(out, body, start, len.min(5));
                if let Some(name) = value.get(5..) {
                    put(out, start + 5, &names.host(name));
                }
            }
            KEY_SHARE => key_share(value, is_client, start, out),
            SUPPORTED_GROUPS
            | POINT_FORMATS
            | SIGNATURES
            | ALPN
            | VERSIONS
            | KEY_MODES
            | SIGNATURES_OF_CERTIFICATES
            | RENEGOTIATION
            | CERTIFICATE_STATUS => {
                keep(out, body, start, len);
            }
            _ => {}
        }
        at = start + len;
    }
}

/// Groups and lengths of the keys; the keys are zero.
fn key_share(value: &[u8], is_client: bool, start: usize, out: &mut [u8]) {
    let mut at = 0;
    if is_client {
        put(out, start, value.get(..2).unwrap_or_default());
        at = 2;
    }
    while let Some(entry) = part(value, at, 4) {
        put(out, start + at, entry);
        at += 4 + usize::from(number2(entry, 2).unwrap_or(0));
    }
    if !is_client && value.len() == 2 {
        put(out, start, value);
    }
}

/// The list of a Certificate message of TLS 1.2.
fn certificates(body: &[u8], out: &mut [u8], names: &mut Pseudonyms) -> Option<()> {
    keep(out, body, 0, 3);
    let mut at = 3;
    loop {
        let len = number3(body, at)?;
        keep(out, body, at, 3);
        at += 3;
        let end = (at + len).min(body.len());
        der(body, at, end, 0, out, names);
        at += len;
    }
}

/// Kinds, algorithms, and names of authorities.
fn certificate_request(body: &[u8], out: &mut [u8], names: &mut Pseudonyms) -> Option<()> {
    let kinds = usize::from(byte(body, 0)?);
    keep(out, body, 0, 1 + kinds);
    let mut at = 1 + kinds;
    let algorithms = usize::from(number2(body, at)?);
    keep(out, body, at, 2 + algorithms + 2);
    at += 2 + algorithms + 2;
    loop {
        let len = usize::from(number2(body, at)?);
        keep(out, body, at, 2);
        at += 2;
        der(body, at, (at + len).min(body.len()), 0, out, names);
        at += len;
    }
}

/// Curve, lengths and algorithm of a ServerKeyExchange with elliptic curves; others are zero.
fn server_key(body: &[u8], out: &mut [u8]) -> Option<()> {
    const NAMED_CURVE: u8 = 3;
    if byte(body, 0)? != NAMED_CURVE {
        return None;
    }
    let len = usize::from(byte(body, 3)?);
    keep(out, body, 0, 4);
    keep(out, body, 4 + len, 4);
    Some(())
}

/// Replaces the elements of a certificate from `at` to `end`.
fn der(body: &[u8], mut at: usize, end: usize, depth: u8, out: &mut [u8], names: &mut Pseudonyms) {
    if depth > MOST_NESTED {
        return;
    }
    while let Some((tag, content, next)) = element(body, at, end) {
        keep(out, body, at, content - at);
        let value = part(body, content, next - content).unwrap_or_default();
        match tag {
            BOOLEAN | OBJECT_IDENTIFIER | UTC_TIME | GENERALIZED_TIME => {
                keep(out, body, content, value.len());
            }
            INTEGER if value.len() == 1 => keep(out, body, content, 1),
            // An integer of zeros would be another form of 0.
            INTEGER => put(out, content, &[1]),
            BIT_STRING => keep(out, body, content, 1),
            BYTE_STRING if is_whole(value) => der(body, content, next, depth + 1, out, names),
            UTF8_STRING | PRINTABLE_STRING | TELETEX_STRING | IA5_STRING | VISIBLE_STRING
            | EMAIL | DNS_NAME => {
                let new = match value.contains(&b'@') {
                    true => names.name(value),
                    false => names.host(value),
                };
                put(out, content, &new);
            }
            URI => {
                let mut new = Vec::new();
                names.words(value, &mut new);
                put(out, content, &new);
            }
            IP_ADDRESS => {
                if let Ok(v4) = <[u8; 4]>::try_from(value) {
                    put(out, content, &names.v4(v4));
                } else if let Ok(v6) = <[u8; 16]>::try_from(value) {
                    put(out, content, &names.v6(v6));
                }
            }
            _ if tag & CONSTRUCTED != 0 => der(body, content, next, depth + 1, out, names),
            _ => {}
        }
        at = next;
    }
}

/// Tag of the element at `at`, the position of its content, and that behind it.
fn element(body: &[u8], at: usize, end: usize) -> Option<(u8, usize, usize)> {
    let tag = byte(body, at)?;
    let first = byte(body, at + 1)?;
    let (len, content) = match first {
        0..=0x7f => (usize::from(first), at + 2),
        0x81..=0x84 => {
            let digits = part(body, at + 2, usize::from(first - 0x80))?;
            let len = digits.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
            (len, at + 2 + digits.len())
        }
        _ => return None,
    };
    let next = content.checked_add(len)?;
    (next <= end && next <= body.len()).then_some((tag, content, next))
}

/// Whether the bytes are one constructed element, as the value of an extension is.
fn is_whole(value: &[u8]) -> bool {
    let found = element(value, 0, value.len());
    found.is_some_and(|(tag, _, next)| tag & CONSTRUCTED != 0 && next == value.len())
}

const MOST_NESTED: u8 = 16;

// Record types and handshake messages: RFC 8446, section 5.1 and 4; RFC 5246, section 7.4.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const NEW_SESSION_TICKET: u8 = 4;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

// Extensions: IANA, "TLS ExtensionType Values".
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURES: u16 = 13;
const ALPN: u16 = 16;
const CERTIFICATE_STATUS: u16 = 5;
const VERSIONS: u16 = 43;
const KEY_MODES: u16 = 45;
const SIGNATURES_OF_CERTIFICATES: u16 = 50;
const KEY_SHARE: u16 = 51;
const RENEGOTIATION: u16 = 0xff01;

/// The random bytes by which a HelloRetryRequest is known (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

// Tags of DER (ITU-T X.690) and of general names (RFC 5280, section 4.2.1.6).
const CONSTRUCTED: u8 = 0x20;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const BYTE_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VISIBLE_STRING: u8 = 0x1a;
const EMAIL: u8 = 0x81;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;
const IP_ADDRESS: u8 = 0x87;
