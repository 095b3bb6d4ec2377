//! Parsers: EPMD, the distribution handshake, framing, and what connected nodes send: distribution headers, control
//! messages, terms; the parts of TLS that are in clear; and PROXY protocol headers.
//!
//! In: bytes, exactly one message. Out: a struct that borrows them. Knows no flow, direction, time
//! or connection. The only door to `nom`.
//!
//! Only `framing` and the front of frames deal with incomplete input. All other parsers are given one whole message, so
//! running out of bytes means that it is malformed.

pub mod control;
pub mod epmd;
pub mod flags;
pub mod framing;
pub mod handshake;
pub mod header;
pub mod otp;
pub mod proxy;
pub mod suites;
pub mod term;
pub mod tls;
pub mod usual;
pub mod x509;

use std::fmt;

use nom::IResult;
use nom::error::{ContextError, ErrorKind, ParseError};

pub use flags::DistFlags;
pub use framing::Cut;

/// Distinguishes the incarnations of one node name; a new one is drawn at each registration with EPMD.
///
/// EPMD up to OTP 22 gives 1 to 3 in turn, so that equality proves nothing there. From OTP 23 it
/// counts in 32 bits from the second of the name's first registration. 0 in `send_name` asks for a
/// name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Creation(pub u32);

/// Why bytes could not be read as what they should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WireError {
    /// Whether more bytes could help.
    pub kind: WireErrorKind,
    /// The field that could not be read, as the specification names it.
    pub field: &'static str,
    /// Number of bytes from the start of the input to that field.
    pub offset: usize,
}

/// Whether more bytes could complete what could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WireErrorKind {
    /// The bytes are the beginning of something legal that goes on behind them.
    CutShort,
    /// No bytes behind them would make them legal.
    Malformed,
}

impl WireError {
    /// An error that more bytes would not mend.
    pub const fn malformed(field: &'static str, offset: usize) -> Self {
        Self { kind: WireErrorKind::Malformed, field, offset }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            WireErrorKind::CutShort => "cut short in",
            WireErrorKind::Malformed => "malformed",
        };
        write!(f, "{what} {} at byte {}", self.field, self.offset)
    }
}

impl std::error::Error for WireError {}

/// What a parser returns: the bytes behind `T`, and `T`.
pub type Parsed<'a, T> = IResult<&'a [u8], T, FieldError<'a>>;

/// A failure inside a parser; [`decode`] makes a [`WireError`] of it.
#[derive(Clone, Copy, Debug)]
pub struct FieldError<'a> {
    /// Suffix of the message that starts where the failure is.
    at: &'a [u8],
    /// Innermost `context` around the failure.
    field: Option<&'static str>,
}

impl<'a> ParseError<&'a [u8]> for FieldError<'a> {
    fn from_error_kind(at: &'a [u8], _: ErrorKind) -> Self {
        Self { at, field: None }
    }

    fn append(_: &'a [u8], _: ErrorKind, inner: Self) -> Self {
        inner
    }
}

impl<'a> ContextError<&'a [u8]> for FieldError<'a> {
    fn add_context(at: &'a [u8], field: &'static str, inner: Self) -> Self {
        if inner.field.is_some() { inner } else { Self { at, field: Some(field) } }
    }
}

/// Reads `message`, which is exactly one message, with `parser`.
///
/// # Errors
///
/// The field that holds no legal value, or lacks bytes: both are malformed in a whole message. `extra` for bytes that
/// `parser` left over.
pub fn decode<'a, T>(
    message: &'a [u8],
    parser: impl FnOnce(&'a [u8]) -> Parsed<'a, T>,
) -> Result<T, WireError> {
    let (field, at) = match parser(message) {
        Ok(([], read)) => return Ok(read),
        Ok((extra, _)) => ("extra", extra),
        Err(nom::Err::Error(e) | nom::Err::Failure(e)) => (e.field.unwrap_or("message"), e.at),
        // Only nom's streaming parsers return this, and no parser of a whole message uses them.
        Err(nom::Err::Incomplete(_)) => ("message", message),
    };
    Err(WireError::malformed(field, message.len().saturating_sub(at.len())))
}

/// What the tests of the parsers share.
#[cfg(test)]
mod testing {
    use super::*;

    /// `message` is read whole, and each shorter prefix is refused with the field it breaks off in.
    /// `layout` gives the fields in wire order with their sizes; what follows them may be cut
    /// freely.
    pub(super) fn assert_refuses_prefixes<'a, T: fmt::Debug + PartialEq>(
        message: &'a [u8],
        parser: impl Fn(&'a [u8]) -> Parsed<'a, T>,
        layout: &[(&'static str, usize)],
    ) {
        assert!(decode(message, &parser).is_ok());
        let mut offset = 0;
        for &(field, size) in layout {
            for cut in offset..offset + size {
                let refused = decode(&message[..cut], &parser);
                assert_eq!(refused, Err(WireError::malformed(field, offset)), "cut at {cut}");
            }
            offset += size;
        }
    }

    /// Bytes that look random and are the same in every run (xorshift64).
    pub(super) struct Bytes(pub(super) u64);

    impl Bytes {
        pub(super) fn next(&mut self) -> u8 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_be_bytes()[0]
        }

        pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| self.next()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Bytes;
    use super::*;

    /// Everything in this folder that takes bytes.
    fn read_as_everything(bytes: &[u8]) {
        let _ = decode(bytes, epmd::request);
        let _ = decode(bytes, epmd::alive2_resp);
        let _ = decode(bytes, epmd::port2_resp);
        if let Ok(listing) = decode(bytes, epmd::listing) {
            let _ = (listing.names().count(), listing.dump().count());
        }
        term::write_everything(bytes);
        let _ = decode(bytes, tls::record_header);
        let _ = decode(bytes, tls::alert);
        let _ = decode(bytes, tls::server_hello);
        let _ = decode(bytes, tls::client_hello);
        let _ = tls::certificates(bytes, bytes.len().is_multiple_of(2)).count();
        let _ = x509::certificate(bytes);
        if let proxy::ProxyStart::Header(_, used) = proxy::proxy_header(bytes) {
            assert!(used <= bytes.len());
        }
        let _ = decode(bytes, handshake::from_initiator);
        let _ = decode(bytes, handshake::from_acceptor);
        let _ = handshake::is_node_name(bytes);
        let _ = header::FrameKind::of(bytes);
        let _ = header::credible_frame(bytes);
        for cut in [
            framing::cut_packet2(bytes),
            framing::cut_packet4(bytes, usize::MAX),
            framing::cut_alive2_resp(bytes),
            framing::cut_port2_resp(bytes),
        ] {
            match cut {
                Cut::Message { body, used } => assert!(body.len() <= used && used <= bytes.len()),
                Cut::Need(more) => assert!(more > 0),
                Cut::TooLong(len) => unreachable!("{len} is beyond a maximum that is none"),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Bytes(0x6265_616d_7363_6f70);
        for round in 0..20_000 {
            read_as_everything(&random.take(round % 97));
        }
    }

    #[test]
    fn random_bytes_behind_an_honest_start_never_panic() {
        let mut random = Bytes(0x6469_7374);
        let starts: [&[u8]; 20] = [
            b"x",
            b"y",
            b"v",
            b"z",
            b"w\0",
            b"N",
            b"n",
            b"s",
            b"snamed:",
            b"c",
            b"r",
            b"a",
            b"\0\x11\x11name ",
            b"\0\0\x01\0\x83\x44",
            b"\0\0\x01\0\x83\x45",
            b"\x68\x03",
            b"\x6c\0\0\0\x03",
            b"\x74\0\0\0\x02",
            b"\x43\0\0\0\x01\x01\x52\x01\x52\x02",
            b"\x83\x50\0\0\x10\0\x78\x01",
        ];
        for round in 0..20_000 {
            let mut bytes = starts[round % starts.len()].to_vec();
            bytes.extend(random.take(round % 89));
            read_as_everything(&bytes);
        }
    }

    #[test]
    fn bytes_left_over_are_malformed() {
        let one = |i| nom::number::complete::be_u8(i);
        assert_eq!(decode(b"\x01", one), Ok(1));
        assert_eq!(decode(b"\x01\x02", one), Err(WireError::malformed("extra", 1)));
    }

    #[test]
    fn errors_name_field_and_offset() {
        let error = WireError::malformed("Creation", 9);
        assert_eq!(error.to_string(), "malformed Creation at byte 9");
    }
}
