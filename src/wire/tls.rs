//! TLS as far as it is in clear: records, the alerts in them, and what a ServerHello settles.
//!
//! Distribution over TLS (`-proto_dist inet_tls`) is sealed, except for its beginning and for the alerts
//! that end it there. Encrypted records show their lengths, which in TLS 1.3 identify some messages.

use nom::Parser;
use nom::bytes::complete::{tag, take};
use nom::combinator::map;
use nom::error::context;
use nom::number::complete::{be_u8, be_u16, be_u24};

use super::Parsed;

/// What a record carries. Values this crate does not know stay representable.
///
/// Spec: RFC 8446, section 5.1; RFC 5246, section 6.2.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentType(pub u8);

impl ContentType {
    /// `change_cipher_spec`: the records that its sender sends next are encrypted.
    pub const CHANGE_CIPHER_SPEC: Self = Self(20);
    /// `alert`: closes the connection, or warns.
    pub const ALERT: Self = Self(21);
    /// `handshake`: hellos and all other messages before application data.
    pub const HANDSHAKE: Self = Self(22);
    /// `application_data`: encrypted, whatever it contains.
    pub const APPLICATION_DATA: Self = Self(23);
}

/// The header of a record.
///
/// ```text
///    1        2        2
/// | type | version | length |
/// ```
///
/// Spec: RFC 8446, section 5.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordHeader {
    /// What the record carries.
    pub content_type: ContentType,
    /// Bytes behind the header.
    pub length: u16,
}

impl RecordHeader {
    /// Bytes of a header.
    pub const LEN: usize = 5;

    /// Longest record: 2^14 plain bytes, and what encryption may add in TLS 1.2.
    pub const MAX_LENGTH: u16 = (1 << 14) + 2048;
}

/// Reads the header of a record. Any version of TLS will do: its major number is 3.
pub fn record_header(i: &[u8]) -> Parsed<'_, RecordHeader> {
    let (i, content_type) = context("type", map(be_u8, ContentType)).parse(i)?;
    let (i, _) = context("version", tag(&[MAJOR][..])).parse(i)?;
    let (i, _) = context("minor version", be_u8).parse(i)?;
    let (i, length) = context("length", be_u16).parse(i)?;
    Ok((i, RecordHeader { content_type, length }))
}

/// The body of an alert record in clear.
///
/// ```text
///     1         1
/// | level | description |
/// ```
///
/// Spec: RFC 8446, section 6; the numbers are IANA's "TLS Alerts".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alert {
    /// 1 for a warning, 2 for what ends the connection.
    pub level: u8,
    /// Number of the reason.
    pub description: u8,
}

impl Alert {
    /// Bytes of an alert in clear; an encrypted one is longer.
    pub const LEN: u16 = 2;
}

/// Reads the body of an alert in clear.
pub fn alert(i: &[u8]) -> Parsed<'_, Alert> {
    let (i, level) = context("level", be_u8).parse(i)?;
    let (i, description) = context("description", be_u8).parse(i)?;
    Ok((i, Alert { level, description }))
}

/// What a ServerHello settles; a HelloRetryRequest has the same form and settles the same.
///
/// ```text
///       1        3         2        32     1    n        2             1        2    m
/// | ServerHello | len | version | random | n | id | cipher suite | compression | m | extensions |
/// ```
///
/// TLS 1.3 calls itself 1.2 in `version`, and by its name in the extension `supported_versions`.
///
/// Spec: RFC 8446, sections 4.1.3 and 4.2.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServerHello {
    /// Cipher suite of the records from here on.
    pub cipher_suite: u16,
    /// Whether `supported_versions` selects TLS 1.3.
    pub is_tls13: bool,
}

/// Reads a ServerHello at the start of a record; in older versions others may follow it there.
pub fn server_hello(i: &[u8]) -> Parsed<'_, ServerHello> {
    let (i, _) = context("type", tag(&[SERVER_HELLO][..])).parse(i)?;
    let (i, len) = context("length", be_u24).parse(i)?;
    let (_, i) = context("body", take(len)).parse(i)?;
    let (i, _) = context("version", tag(&[MAJOR][..])).parse(i)?;
    let (i, _) = context("minor version", be_u8).parse(i)?;
    let (i, _) = context("random", take(32_usize)).parse(i)?;
    let (i, id_len) = context("session id length", be_u8).parse(i)?;
    let (i, _) = context("session id", take(id_len)).parse(i)?;
    let (i, cipher_suite) = context("cipher suite", be_u16).parse(i)?;
    let (i, _) = context("compression", be_u8).parse(i)?;
    let is_tls13 = !i.is_empty() && selects_tls13(i)?.1;
    Ok((&[], ServerHello { cipher_suite, is_tls13 }))
}

/// Looks through extensions for `supported_versions`.
fn selects_tls13(i: &[u8]) -> Parsed<'_, bool> {
    let (i, len) = context("extensions length", be_u16).parse(i)?;
    let (_, mut i) = context("extensions", take(len)).parse(i)?;
    while !i.is_empty() {
        let (after, kind) = context("extension type", be_u16).parse(i)?;
        let (after, len) = context("extension length", be_u16).parse(after)?;
        let (after, value) = context("extension", take(len)).parse(after)?;
        if kind == SUPPORTED_VERSIONS {
            return Ok((after, value == TLS_1_3));
        }
        i = after;
    }
    Ok((i, false))
}

/// Lengths of the encrypted records of TLS 1.3 that carry one message without padding, as Erlang sends them.
///
/// ```text
///      n           1         8 or 16
/// | message | content type | tag |
/// ```
///
/// Spec: RFC 8446, sections 5.2, 4.4.2, 4.4.4 and 6; RFC 5116 and RFC 6655 for the tags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// Bytes of the tag.
    tag: u16,
    /// Bytes of a hash.
    hash: u16,
}

impl Sealed {
    /// Lengths under a cipher suite; `None` for one that is not of TLS 1.3.
    pub const fn by(cipher_suite: u16) -> Option<Self> {
        match cipher_suite {
            // AES_128_GCM_SHA256, CHACHA20_POLY1305_SHA256, AES_128_CCM_SHA256
            0x1301 | 0x1303 | 0x1304 => Some(Self { tag: 16, hash: 32 }),
            // AES_256_GCM_SHA384
            0x1302 => Some(Self { tag: 16, hash: 48 }),
            // AES_128_CCM_8_SHA256
            0x1305 => Some(Self { tag: 8, hash: 32 }),
            _ => None,
        }
    }

    const fn record(self, message: u16) -> u16 {
        message + 1 + self.tag
    }

    /// An alert. No message of the handshake is as short.
    pub const fn alert(self) -> u16 {
        self.record(Alert::LEN)
    }

    /// Finished: a header of 4 bytes and a hash.
    pub const fn finished(self) -> u16 {
        self.record(4 + self.hash)
    }

    /// A Certificate without any: a header of 4 bytes, no context, and an empty list.
    pub const fn no_certificate(self) -> u16 {
        self.record(4 + 1 + 3)
    }
}

/// The major version of SSL 3.0 and of every TLS.
const MAJOR: u8 = 3;

const SERVER_HELLO: u8 = 2;

const SUPPORTED_VERSIONS: u16 = 43;

const TLS_1_3: [u8; 2] = [3, 4];

#[cfg(test)]
mod tests {
    use super::super::testing::assert_refuses_prefixes;
    use super::super::{WireError, decode};
    use super::*;

    /// captures/tls-unknown-ca.pcap, the acceptor's last words.
    #[rustfmt::skip]
    const ALERT: &[u8] = &[
        21,         // type: alert
        0x03, 0x03, // version: TLS 1.2
        0x00, 0x02, // length
        2,          // level: fatal
        48,         // description: unknown_ca
    ];

    #[test]
    fn an_alert_record_is_read_field_by_field() {
        let header = RecordHeader { content_type: ContentType::ALERT, length: 2 };
        assert_eq!(decode(&ALERT[..RecordHeader::LEN], record_header), Ok(header));
        let read = Alert { level: 2, description: 48 };
        assert_eq!(decode(&ALERT[RecordHeader::LEN..], alert), Ok(read));
    }

    /// captures/tls13-unknown-ca.pcap, frame 18, its session id and key share shortened.
    #[rustfmt::skip]
    const SERVER_HELLO_13: &[u8] = &[
        2,          // type: ServerHello
        0, 0, 55,   // length
        0x03, 0x03, // version: TLS 1.2
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // random
        2, 9, 9,    // session id
        0x13, 0x02, // cipher suite: AES_256_GCM_SHA384
        0,          // compression
        0, 13,      // bytes of extensions
        0, 51, 0, 3, 7, 7, 7, // key_share
        0, 43, 0, 2, 3, 4,    // supported_versions: TLS 1.3
    ];

    #[test]
    fn a_server_hello_has_version_and_suite() {
        let hello = ServerHello { cipher_suite: 0x1302, is_tls13: true };
        assert_eq!(decode(SERVER_HELLO_13, server_hello), Ok(hello));
        let older = [&[2, 0, 0, 38, 3, 3][..], &[7; 32], &[0, 0xc0, 0x30, 0]].concat();
        let hello = ServerHello { cipher_suite: 0xc030, is_tls13: false };
        assert_eq!(decode(&older, server_hello), Ok(hello));
        let mut draft = SERVER_HELLO_13.to_vec();
        *draft.last_mut().unwrap() = 3;
        assert!(decode(&draft, server_hello).is_ok_and(|hello| !hello.is_tls13));
    }

    #[test]
    fn a_broken_server_hello_is_refused_at_its_field() {
        for (at, value, field) in [(0, 1, "type"), (3, 56, "body"), (49, 200, "extension")] {
            let mut broken = SERVER_HELLO_13.to_vec();
            broken[at] = value;
            assert_eq!(decode(&broken, server_hello).unwrap_err().field, field);
        }
        assert_refuses_prefixes(
            SERVER_HELLO_13,
            server_hello,
            &[("type", 1), ("length", 3), ("body", 55)],
        );
    }

    #[test]
    fn encrypted_messages_are_as_long_as_on_the_wire() {
        let lengths =
            |suite| Sealed::by(suite).map(|it| (it.alert(), it.finished(), it.no_certificate()));
        assert_eq!(lengths(0x1302), Some((19, 69, 25)), "captures/tls13-no-certificate.pcap");
        assert_eq!(lengths(0x1301), Some((19, 53, 25)));
        assert_eq!(lengths(0x1305), Some((11, 45, 17)));
        assert_eq!(lengths(0xc030), None);
    }

    #[test]
    fn what_is_cut_short_names_the_field() {
        let layout = [("type", 1), ("version", 1), ("minor version", 1), ("length", 2)];
        assert_refuses_prefixes(&ALERT[..RecordHeader::LEN], record_header, &layout);
        assert_refuses_prefixes(&ALERT[5..], alert, &[("level", 1), ("description", 1)]);
    }

    #[test]
    fn another_major_version_is_no_tls() {
        let refused = decode(&[21, 4, 0, 0, 2], record_header).unwrap_err();
        assert_eq!(refused, WireError::malformed("version", 1));
    }
}
