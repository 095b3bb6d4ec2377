//! TLS as far as it is in clear: records, and the alerts in them.
//!
//! Distribution over TLS (`-proto_dist inet_tls`) is sealed, except for its beginning and for the alerts
//! that end it there.

use nom::Parser;
use nom::bytes::complete::tag;
use nom::combinator::map;
use nom::error::context;
use nom::number::complete::{be_u8, be_u16};

use super::Parsed;

/// What a record carries. Values this crate does not know stay representable.
///
/// Spec: RFC 8446, section 5.1; RFC 5246, section 6.2.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentType(pub u8);

impl ContentType {
    /// `change_cipher_spec`: what its sender says next is sealed.
    pub const CHANGE_CIPHER_SPEC: Self = Self(20);
    /// `alert`
    pub const ALERT: Self = Self(21);
    /// `handshake`
    pub const HANDSHAKE: Self = Self(22);
    /// `application_data`: sealed, whatever it is.
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
    /// Octets behind the header.
    pub length: u16,
}

impl RecordHeader {
    /// Octets of a header.
    pub const LEN: usize = 5;

    /// Longest record: the plain 2^14 octets, and what sealing may add in TLS 1.2.
    pub const MAX_LENGTH: u16 = (1 << 14) + 2048;
}

/// Reads the header of a record; the version is that of some TLS, which the major number 3 tells.
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
    /// What is wrong.
    pub description: u8,
}

impl Alert {
    /// Octets of an alert in clear; a sealed one is longer.
    pub const LEN: u16 = 2;
}

/// Reads the body of an alert in clear.
pub fn alert(i: &[u8]) -> Parsed<'_, Alert> {
    let (i, level) = context("level", be_u8).parse(i)?;
    let (i, description) = context("description", be_u8).parse(i)?;
    Ok((i, Alert { level, description }))
}

/// The major version of SSL 3.0 and of every TLS.
const MAJOR: u8 = 3;

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
        let said = Alert { level: 2, description: 48 };
        assert_eq!(decode(&ALERT[RecordHeader::LEN..], alert), Ok(said));
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
        assert_eq!(refused, WireError { field: "version", offset: 1 });
    }
}
