//! Certificates, as far as they name a host and dates.
//!
//! A certificate of TLS 1.2 travels in clear. What is read of it: the names of its subject, the name of its issuer, and
//! its dates. Signatures are not verified.

use std::net::IpAddr;

/// The parts of a certificate that a person compares.
///
/// Spec: RFC 5280, sections 4.1 and 4.2.1.6.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificate<'a> {
    /// The common name of the subject.
    pub subject: Option<&'a [u8]>,
    /// The common name of the issuer.
    pub issuer: Option<&'a [u8]>,
    /// The host names for which it was issued (`subjectAltName`), at most [`MOST_NAMES`].
    pub hosts: Vec<&'a [u8]>,
    /// The addresses for which it was issued, at most [`MOST_NAMES`].
    pub addresses: Vec<IpAddr>,
    /// The first second of its validity, since 1970.
    pub not_before: Option<u64>,
    /// The last second of its validity, since 1970.
    pub not_after: Option<u64>,
}

/// Maximum number of names and of addresses that are read of one certificate.
pub const MOST_NAMES: usize = 8;

/// Reads a certificate in DER. `None` if it is not one; fields that cannot be read stay empty.
pub fn certificate(der: &[u8]) -> Option<Certificate<'_>> {
    let (outer, _) = expect(der, SEQUENCE)?;
    let (body, _) = expect(outer, SEQUENCE)?;
    // The version, which is absent for version 1.
    let body = expect(body, VERSION).map_or(body, |(_, rest)| rest);
    let (_, body) = expect(body, INTEGER)?;
    let (_, body) = expect(body, SEQUENCE)?;
    let (issuer, body) = expect(body, SEQUENCE)?;
    let (validity, body) = expect(body, SEQUENCE)?;
    let (subject, body) = expect(body, SEQUENCE)?;
    let (_, mut rest) = expect(body, SEQUENCE)?;
    let mut read = Certificate {
        subject: common_name(subject),
        issuer: common_name(issuer),
        ..Certificate::default()
    };
    if let Some((tag, text, later)) = element(validity) {
        read.not_before = seconds(tag, text);
        read.not_after = element(later).and_then(|(tag, text, _)| seconds(tag, text));
    }
    while let Some((tag, value, later)) = element(rest) {
        if tag == EXTENSIONS {
            read.add_alternative_names(value);
        }
        rest = later;
    }
    Some(read)
}

impl<'a> Certificate<'a> {
    fn add_alternative_names(&mut self, extensions: &'a [u8]) {
        let Some((mut list, _)) = expect(extensions, SEQUENCE) else { return };
        while let Some((_, extension, later)) = element(list) {
            list = later;
            let Some((oid, value)) = expect(extension, OBJECT_IDENTIFIER) else { continue };
            if oid != SUBJECT_ALT_NAME {
                continue;
            }
            // Whether it is critical, which is mostly absent.
            let value = expect(value, BOOLEAN).map_or(value, |(_, rest)| rest);
            let names = expect(value, BYTE_STRING).and_then(|(names, _)| expect(names, SEQUENCE));
            let Some((mut names, _)) = names else { continue };
            while let Some((tag, name, later)) = element(names) {
                names = later;
                if tag == DNS_NAME && self.hosts.len() < MOST_NAMES {
                    self.hosts.push(name);
                } else if tag == IP_ADDRESS && self.addresses.len() < MOST_NAMES {
                    self.addresses.extend(address(name));
                }
            }
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The last common name in a distinguished name.
fn common_name(mut name: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    while let Some((_, set, later)) = element(name) {
        name = later;
        let Some((attribute, _)) = expect(set, SEQUENCE) else { continue };
        let Some((oid, value)) = expect(attribute, OBJECT_IDENTIFIER) else { continue };
        if oid == COMMON_NAME {
            found = element(value).map(|(_, text, _)| text);
        }
    }
    found
}

/// Seconds since 1970 in a `UTCTime` (`YYMMDDHHMMSSZ`) or `GeneralizedTime` (`YYYYMMDDHHMMSSZ`).
fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let text = text.strip_suffix(b"Z")?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            // RFC 5280, section 4.1.2.5.1: 50 to 99 are in the last century.
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let mut parts = rest.chunks_exact(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day) = (next()?, next()?);
    let (hour, minute, second) = (next()?, next()?, next()?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let days = days_since_1970(year, month, day).filter(|_| is_time)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years begin in March here, so that the day of a leap year is the last one.
    let (year, month) =
        if month < 3 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(DAYS_TO_1970)
}

/// Days from the first of March of the year 0 to the first of January 1970.
const DAYS_TO_1970: u64 = 719_468;

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// The content of the first element, if it has this tag; and the bytes behind it.
fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

/// The tag and the content of the first element, and the bytes behind it. Lengths of up to four bytes are read.
///
/// Spec: ITU-T X.690, section 8.1.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let len = digits.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte));
            (len, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BYTE_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;

/// Context tag 0 of the body of a certificate.
const VERSION: u8 = 0xa0;

/// Context tag 3 of the body of a certificate.
const EXTENSIONS: u8 = 0xa3;

/// Context tag 2 of an alternative name.
const DNS_NAME: u8 = 0x82;

/// Context tag 7 of an alternative name.
const IP_ADDRESS: u8 = 0x87;

/// The object identifier 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// The object identifier 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(len) if len < 0x80 => out.push(len),
            Ok(len) => out.extend([0x81, len]),
            Err(_) => {
                out.push(0x82);
                out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        out.extend(content);
        out
    }

    fn name(common: &[u8]) -> Vec<u8> {
        let attribute =
            der(SEQUENCE, &[&der(OBJECT_IDENTIFIER, &[COMMON_NAME]), &der(12, &[common])]);
        der(SEQUENCE, &[&der(0x31, &[&attribute])])
    }

    fn sample(names: &[u8]) -> Vec<u8> {
        let validity = der(
            SEQUENCE,
            &[&der(UTC_TIME, &[b"261129000000Z"]), &der(GENERALIZED_TIME, &[b"20561130123456Z"])],
        );
        let names = der(BYTE_STRING, &[&der(SEQUENCE, &[names])]);
        let extension = der(
            SEQUENCE,
            &[&der(OBJECT_IDENTIFIER, &[SUBJECT_ALT_NAME]), &der(BOOLEAN, &[&[0xff]]), &names],
        );
        let other = der(
            SEQUENCE,
            &[&der(OBJECT_IDENTIFIER, &[&[0x55, 29, 15]]), &der(BYTE_STRING, &[b"x"])],
        );
        let extensions = der(EXTENSIONS, &[&der(SEQUENCE, &[&other, &extension])]);
        let body = der(
            SEQUENCE,
            &[
                &der(VERSION, &[&der(INTEGER, &[&[2]])]),
                &der(INTEGER, &[&[7; 9]]),
                &der(SEQUENCE, &[]),
                &name(b"Lab CA"),
                &validity,
                &name(b"web9"),
                &der(SEQUENCE, &[&[0; 270]]),
                &extensions,
            ],
        );
        der(SEQUENCE, &[&body, &der(SEQUENCE, &[]), &der(3, &[&[0; 64]])])
    }

    #[test]
    fn names_and_dates_of_a_certificate_are_read() {
        let names = [
            der(DNS_NAME, &[b"web9"]),
            der(DNS_NAME, &[b"web9.lab"]),
            der(IP_ADDRESS, &[&[10, 0, 0, 9]]),
        ];
        let bytes = sample(&names.concat());
        let read = certificate(&bytes).unwrap();
        assert_eq!((read.subject, read.issuer), (Some(&b"web9"[..]), Some(&b"Lab CA"[..])));
        assert_eq!(read.hosts, [&b"web9"[..], b"web9.lab"]);
        assert_eq!(read.addresses, [IpAddr::from([10, 0, 0, 9])]);
        assert_eq!(read.not_before, Some(1_795_910_400));
        assert_eq!(read.not_after, Some(2_742_813_296));
    }

    #[test]
    fn names_have_a_bound() {
        let many = der(DNS_NAME, &[b"h"]).repeat(40);
        assert_eq!(certificate(&sample(&many)).unwrap().hosts.len(), MOST_NAMES);
    }

    #[test]
    fn what_is_cut_short_or_no_certificate_is_refused_and_never_panics() {
        let bytes = sample(&der(DNS_NAME, &[b"web9"]));
        for cut in 0..bytes.len() {
            assert_eq!(certificate(&bytes[..cut]), None, "{cut}");
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            let _ = certificate(&broken);
        }
        assert_eq!(certificate(b"\x30\x80\x30\x80"), None);
    }

    #[test]
    fn dates_are_counted_in_both_centuries() {
        let date = |text: &[u8]| seconds(UTC_TIME, text);
        assert_eq!(date(b"700101000000Z"), Some(0));
        assert_eq!(date(b"240229235959Z"), Some(1_709_251_199));
        assert_eq!(date(b"491231000000Z"), Some(2_524_521_600));
        for wrong in [
            &b"261329000000Z"[..],
            b"261129250000Z",
            b"2611290000Z",
            b"+61129000000Z",
            b"500101000000Z",
        ] {
            assert_eq!(date(wrong), None, "{wrong:?}");
        }
        assert_eq!(seconds(GENERALIZED_TIME, b"19700101000001Z"), Some(1));
        assert_eq!(seconds(INTEGER, b"19700101000001Z"), None);
    }
}
