//! TLS as far as it is in clear: records, the alerts in them, the hellos, and where a certificate is.
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
pub struct ServerHello<'a> {
    /// The server's random bytes.
    pub random: [u8; RANDOM_LEN],
    /// The session that is set up or resumed; in TLS 1.3 that of the ClientHello, sent back.
    pub session_id: &'a [u8],
    /// Cipher suite of the records from here on.
    pub cipher_suite: u16,
    /// Whether `supported_versions` selects TLS 1.3.
    pub is_tls13: bool,
    /// The version in the field of that name, which is that of TLS 1.2 in TLS 1.3.
    pub version: u16,
    /// Whether records of a CBC suite are encrypted first and authenticated then (RFC 7366).
    pub encrypt_then_mac: bool,
    /// Whether the keys of TLS 1.2 are bound to the handshake (`extended_master_secret`, RFC 7627).
    pub extended_master_secret: bool,
    /// The first application protocol that it selects (ALPN); in TLS 1.3 it is encrypted, and not here.
    pub protocol: Option<&'a [u8]>,
}

impl ServerHello<'_> {
    /// Whether it is a HelloRetryRequest, which asks for another ClientHello: its random bytes are a constant.
    pub fn is_retry_request(&self) -> bool {
        self.random == RETRY_REQUEST
    }
}

/// What a ClientHello offers.
///
/// ```text
///       1        3         2        32     1    n    2    n        1    n        2    m
/// | ClientHello | len | version | random | n | id | n | suites | n | compression | m | extensions |
/// ```
///
/// Spec: RFC 8446, section 4.1.2; RFC 6066, section 3, for the name; RFC 7301, section 3.1, for the protocols.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClientHello<'a> {
    /// The client's random bytes, by which a key log names the secrets of the connection.
    pub random: [u8; RANDOM_LEN],
    /// The session that it wants to resume; in TLS 1.3 any bytes.
    pub session_id: &'a [u8],
    /// The host that the client dialed (`server_name`).
    pub server_name: Option<&'a [u8]>,
    /// The first application protocol that it offers (ALPN).
    pub protocol: Option<&'a [u8]>,
    /// The versions in `supported_versions`, two bytes each; empty without that extension.
    pub versions: &'a [u8],
    /// The version in the field of that name: the highest one, unless there is `supported_versions`.
    pub legacy_version: u16,
    /// Whether it has an extension that Erlang's `ssl` never sends: `encrypt_then_mac`, `extended_master_secret`,
    /// `session_ticket` of TLS 1.2, or ALPN, which a node does not ask for.
    pub is_not_by_otp: bool,
}

/// Reads a ServerHello at the start of a record; in older versions others may follow it there.
pub fn server_hello(i: &[u8]) -> Parsed<'_, ServerHello<'_>> {
    let (i, _) = context("type", tag(&[SERVER_HELLO][..])).parse(i)?;
    let (i, len) = context("length", be_u24).parse(i)?;
    let (_, i) = context("body", take(len)).parse(i)?;
    let (i, Front { version, random, session_id }) = front(i)?;
    let (i, cipher_suite) = context("cipher suite", be_u16).parse(i)?;
    let (i, _) = context("compression", be_u8).parse(i)?;
    let mut hello = ServerHello {
        random,
        session_id,
        cipher_suite,
        is_tls13: false,
        version,
        encrypt_then_mac: false,
        extended_master_secret: false,
        protocol: None,
    };
    if !i.is_empty() {
        each_extension(i, |kind, value| match kind {
            SUPPORTED_VERSIONS => hello.is_tls13 |= value == TLS_1_3,
            ENCRYPT_THEN_MAC => hello.encrypt_then_mac = true,
            EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
            ALPN => hello.protocol = value.get(2..).and_then(after_u8),
            _ => {}
        })?;
    }
    Ok((&[], hello))
}

/// Reads a ClientHello at the start of a record.
pub fn client_hello(i: &[u8]) -> Parsed<'_, ClientHello<'_>> {
    let (i, _) = context("type", tag(&[CLIENT_HELLO][..])).parse(i)?;
    let (i, len) = context("length", be_u24).parse(i)?;
    let (_, i) = context("body", take(len)).parse(i)?;
    let (i, Front { version: legacy_version, random, session_id }) = front(i)?;
    let (i, len) = context("cipher suites length", be_u16).parse(i)?;
    let (i, _) = context("cipher suites", take(len)).parse(i)?;
    let (i, len) = context("compression length", be_u8).parse(i)?;
    let (i, _) = context("compression", take(len)).parse(i)?;
    let mut hello = ClientHello { random, session_id, legacy_version, ..ClientHello::default() };
    if !i.is_empty() {
        each_extension(i, |kind, value| match kind {
            SERVER_NAME => hello.server_name = host_name(value),
            ALPN => {
                hello.is_not_by_otp = true;
                hello.protocol = value.get(2..).and_then(after_u8);
            }
            SUPPORTED_VERSIONS => hello.versions = after_u8(value).unwrap_or_default(),
            ENCRYPT_THEN_MAC | EXTENDED_MASTER_SECRET | SESSION_TICKET => {
                hello.is_not_by_otp = true;
            }
            _ => {}
        })?;
    }
    Ok((&[], hello))
}

/// The fields that both hellos begin with.
struct Front<'a> {
    version: u16,
    random: [u8; RANDOM_LEN],
    session_id: &'a [u8],
}

/// Reads the fields that both hellos begin with, up to the session id.
fn front(i: &[u8]) -> Parsed<'_, Front<'_>> {
    let (i, _) = context("version", tag(&[MAJOR][..])).parse(i)?;
    let (i, minor) = context("minor version", be_u8).parse(i)?;
    let (i, bytes) = context("random", take(RANDOM_LEN)).parse(i)?;
    let mut random = [0; RANDOM_LEN];
    random.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let (i, id_len) = context("session id length", be_u8).parse(i)?;
    let (i, session_id) = context("session id", take(id_len)).parse(i)?;
    Ok((i, Front { version: u16::from_be_bytes([MAJOR, minor]), random, session_id }))
}

/// Gives the type and the value of each extension to `take_in`.
fn each_extension<'a>(i: &'a [u8], mut take_in: impl FnMut(u16, &'a [u8])) -> Parsed<'a, ()> {
    let (i, len) = context("extensions length", be_u16).parse(i)?;
    let (_, mut i) = context("extensions", take(len)).parse(i)?;
    while !i.is_empty() {
        let (after, kind) = context("extension type", be_u16).parse(i)?;
        let (after, len) = context("extension length", be_u16).parse(after)?;
        let (after, value) = context("extension", take(len)).parse(after)?;
        take_in(kind, value);
        i = after;
    }
    Ok((i, ()))
}

/// The first host name in a `server_name` extension: a list length of two bytes, a type of 0, and the name behind its
/// length of two bytes.
fn host_name(value: &[u8]) -> Option<&[u8]> {
    let (&[_, _, 0, high, low], name) = value.split_first_chunk()? else { return None };
    name.get(..usize::from(u16::from_be_bytes([high, low])))
}

/// The bytes behind their length of one byte.
fn after_u8(value: &[u8]) -> Option<&[u8]> {
    let (len, rest) = value.split_first()?;
    rest.get(..usize::from(*len))
}

/// Bytes of the header of a handshake message.
pub const MESSAGE_HEADER: usize = 4;

/// The header of a handshake message: its type, and the number of bytes behind the header.
pub fn message_header(bytes: &[u8]) -> Option<(u8, usize)> {
    let &[kind, a, b, c] = bytes.first_chunk()?;
    Some((kind, usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?))
}

/// The certificates in the body of a Certificate message, first that of its sender, as far as the bytes so far have
/// them whole.
///
/// ```text
///     TLS 1.3 only       3         3         n              TLS 1.3 only
/// | len | context | bytes of | length | certificate | len | extensions | ...
///     1      len     the list                           2        len
/// ```
///
/// Spec: RFC 5246, section 7.4.2; RFC 8446, section 4.4.2.
pub fn certificates(body: &[u8], is_tls13: bool) -> impl Iterator<Item = &[u8]> {
    let body = if is_tls13 {
        body.split_first().and_then(|(len, rest)| rest.get(usize::from(*len)..))
    } else {
        Some(body)
    };
    let mut list = body.and_then(|body| body.get(3..)).unwrap_or_default();
    std::iter::from_fn(move || {
        let (&[a, b, c], rest) = list.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        let (certificate, mut rest) = rest.split_at_checked(len)?;
        if is_tls13 {
            let extensions = rest
                .split_first_chunk()
                .and_then(|(&[a, b], rest)| rest.get(usize::from(u16::from_be_bytes([a, b]))..));
            rest = extensions.unwrap_or_default();
        }
        list = rest;
        Some(certificate)
    })
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
pub const MAJOR: u8 = 3;

/// Number of random bytes in a hello.
pub const RANDOM_LEN: usize = 32;

/// The random bytes of a HelloRetryRequest: SHA-256 of its name (RFC 8446, section 4.1.3).
const RETRY_REQUEST: [u8; RANDOM_LEN] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Type of the message that opens a connection.
pub const CLIENT_HELLO: u8 = 1;

/// Type of the message that answers it, and of one that asks for another ClientHello.
pub const SERVER_HELLO: u8 = 2;

/// Type of the message with the certificates of its sender.
pub const CERTIFICATE: u8 = 11;

const SERVER_NAME: u16 = 0;

const ALPN: u16 = 16;

const ENCRYPT_THEN_MAC: u16 = 22;

const EXTENDED_MASTER_SECRET: u16 = 23;

const SESSION_TICKET: u16 = 35;

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

    /// The random bytes of the samples.
    const RANDOM: [u8; RANDOM_LEN] = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, //
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
    ];

    const HELLO: ServerHello<'_> = ServerHello {
        random: RANDOM,
        session_id: &[9, 9],
        cipher_suite: 0x1302,
        is_tls13: true,
        version: 0x303,
        encrypt_then_mac: false,
        extended_master_secret: false,
        protocol: None,
    };

    #[test]
    fn a_server_hello_has_version_and_suite() {
        assert_eq!(decode(SERVER_HELLO_13, server_hello), Ok(HELLO));
        let older = [&[2, 0, 0, 38, 3, 3][..], &RANDOM, &[0, 0xc0, 0x30, 0]].concat();
        let hello = ServerHello { session_id: &[], cipher_suite: 0xc030, is_tls13: false, ..HELLO };
        assert_eq!(decode(&older, server_hello), Ok(hello));
        let mut draft = SERVER_HELLO_13.to_vec();
        *draft.last_mut().unwrap() = 3;
        assert!(decode(&draft, server_hello).is_ok_and(|hello| !hello.is_tls13));
    }

    #[test]
    fn a_server_hello_of_tls_12_has_what_its_keys_need() {
        let extensions = [
            &[0, 22, 0, 0][..],                  // encrypt_then_mac
            &[0, 23, 0, 0],                      // extended_master_secret
            &[0, 16, 0, 5, 0, 3, 2, b'h', b'2'], // ALPN
        ]
        .concat();
        let front = [&[2, 0, 0, 57, 3, 3][..], &RANDOM, &[0, 0xc0, 0x23, 0, 0, 17]].concat();
        let bytes = [front, extensions].concat();
        let read = decode(&bytes, server_hello).unwrap();
        assert!(read.encrypt_then_mac && read.extended_master_secret && !read.is_tls13);
        assert_eq!((read.protocol, read.cipher_suite), (Some(&b"h2"[..]), 0xc023));
    }

    #[test]
    fn a_retry_request_has_fixed_random_bytes() {
        assert!(!HELLO.is_retry_request());
        let mut bytes = SERVER_HELLO_13.to_vec();
        bytes[6..38].copy_from_slice(&RETRY_REQUEST);
        assert!(decode(&bytes, server_hello).is_ok_and(|hello| hello.is_retry_request()));
    }

    /// The ClientHello of OTP 27 to `rab2`, its lists shortened.
    #[rustfmt::skip]
    const CLIENT_HELLO_12: &[u8] = &[
        1,          // type: ClientHello
        0, 0, 62,   // length
        0x03, 0x03, // version: TLS 1.2
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // random
        0,          // session id
        0, 2, 0xc0, 0x30, // cipher suites
        1, 0,       // compression
        0, 19,      // bytes of extensions
        0, 11, 0, 2, 1, 0, // ec_point_formats
        0, 0, 0, 9, 0, 7, 0, 0, 4, b'r', b'a', b'b', b'2', // server_name
    ];

    /// [`CLIENT_HELLO_12`] with another list of extensions.
    fn with_extensions(extensions: &[u8]) -> Vec<u8> {
        let len = u8::try_from(extensions.len()).unwrap();
        let mut hello = CLIENT_HELLO_12[..45].to_vec();
        hello[3] = 43 + len;
        hello.extend([0, len]);
        hello.extend(extensions);
        hello
    }

    #[test]
    fn a_client_hello_has_the_dialed_host_and_the_versions_offered() {
        let read = ClientHello {
            random: RANDOM,
            server_name: Some(b"rab2"),
            legacy_version: 0x303,
            ..ClientHello::default()
        };
        assert_eq!(decode(CLIENT_HELLO_12, client_hello), Ok(read));
        let newer = with_extensions(&[0, 43, 0, 5, 4, 3, 4, 3, 3, 0, 22, 0, 0]);
        let read = decode(&newer, client_hello).unwrap();
        assert_eq!((read.versions, read.is_not_by_otp), (&[3, 4, 3, 3][..], true));
        let mesh = with_extensions(&[0, 16, 0, 8, 0, 6, 5, b'i', b's', b't', b'i', b'o']);
        let read = decode(&mesh, client_hello).unwrap();
        assert_eq!((read.protocol, read.is_not_by_otp), (Some(&b"istio"[..]), true));
    }

    #[test]
    fn a_broken_client_hello_is_refused_or_gives_nothing() {
        for cut in 0..CLIENT_HELLO_12.len() {
            assert!(decode(&CLIENT_HELLO_12[..cut], client_hello).is_err(), "{cut}");
        }
        for name in
            [&[0, 0, 0, 2, 0, 0][..], &[0, 0, 0, 5, 0, 3, 0, 0, 9], &[0, 0, 0, 5, 0, 3, 1, 0, 0]]
        {
            let bytes = with_extensions(name);
            let read = decode(&bytes, client_hello);
            assert!(read.is_ok_and(|hello| hello.server_name.is_none()), "{name:?}");
        }
    }

    #[test]
    fn certificates_are_found_behind_their_lengths() {
        assert_eq!(message_header(b"\x0b\0\x01\x02more"), Some((11, 258)));
        assert_eq!(message_header(b"\x0b\0\x01"), None);
        let found = |body, is_tls13| certificates(body, is_tls13).collect::<Vec<_>>();
        assert_eq!(found(b"\0\0\x09\0\0\x02ab\0\0\x01c", false), [&b"ab"[..], b"c"]);
        assert_eq!(found(b"\0\0\x09\0\0\x02ab\0\0\x01", false), [&b"ab"[..]]);
        assert_eq!(found(b"\0\0\x08\0\0\x02a", false), [&b""[..]; 0]);
        assert_eq!(found(b"\0\0\0", false), [&b""[..]; 0]);
        let newer = b"\x01x\0\0\x0f\0\0\x02ab\0\x01e\0\0\x01c\0\0";
        assert_eq!(found(newer, true), [&b"ab"[..], b"c"]);
        assert_eq!(found(b"\x09", true), [&b""[..]; 0]);
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
