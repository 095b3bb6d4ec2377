//! Terms behind a version byte, and those that are compressed.
//!
//! Nodes do not compress what they send one another; foreign peers may, where frames are passed
//! through without a distribution header, and people put compressed terms into binaries.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::scan::Reader;
use super::tag::{COMPRESSED, VERSION};
use super::{Term, cut_term};
use crate::wire::WireError;

/// Cuts what begins with a version byte (131) at the front of `input`, and the bytes behind it.
/// Where a compressed term ends shows only when it is [inflated](Compressed::inflate): nothing is
/// left behind one.
///
/// # Errors
///
/// The field that is cut short, or holds what no node sends.
pub fn cut_external(input: &[u8]) -> Result<(External<'_>, &[u8]), WireError> {
    let mut i = Reader(input);
    if i.u8("version").map_err(|fault| fault.within(input))? != VERSION {
        return Err(Reader(input).malformed("version").within(input));
    }
    if i.0.first() == Some(&COMPRESSED) {
        i.skip(1, "tag").map_err(|fault| fault.within(input))?;
        let size = i.u32("UncompressedSize").map_err(|fault| fault.within(input))?;
        return Ok((External::Compressed(Compressed { size, data: i.0 }), &[]));
    }
    match cut_term(i.0) {
        Ok((term, rest)) => Ok((External::Term(term), rest)),
        Err(e) => Err(WireError { offset: e.offset + 1, ..e }),
    }
}

/// What follows a version byte.
#[derive(Clone, Copy, Debug)]
pub enum External<'a> {
    /// A term as it is.
    Term(Term<'a>),
    /// One that must be inflated first.
    Compressed(Compressed<'a>),
}

/// A term that zlib compressed.
///
/// ```text
///    1     1           4                  ...
/// | 131 | 80 | UncompressedSize | Zlib-compressed data |
/// ```
///
/// Spec: *External Term Format*, "Introduction".
#[derive(Clone, Copy, Debug)]
pub struct Compressed<'a> {
    /// The size of the term in bytes, as declared by its sender.
    pub size: u32,
    /// The compressed bytes, and whatever lies behind them.
    pub data: &'a [u8],
}

impl Compressed<'_> {
    /// Inflates it into `into`, whose contents it replaces. Gives the term and how many bytes of
    /// `data` it took.
    ///
    /// # Limits
    ///
    /// At most `most` bytes, and at most the declared size.
    ///
    /// # Errors
    ///
    /// The term is larger than `most`, or not of the declared size.
    pub fn inflate<'b>(
        &self,
        most: usize,
        into: &'b mut Vec<u8>,
    ) -> Result<(Term<'b>, usize), InflateError> {
        let size = self.size as usize;
        if size > most {
            return Err(InflateError::TooLarge { size: self.size });
        }
        into.clear();
        let mut zlib = Decompress::new(true);
        let mut buffer = [0; 4096];
        let mut used = 0;
        loop {
            let rest = self.data.get(used..).unwrap_or_default();
            let before = (zlib.total_in(), zlib.total_out());
            let status = zlib
                .decompress(rest, &mut buffer, FlushDecompress::None)
                .map_err(|_| InflateError::Malformed)?;
            used = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
            let written = usize::try_from(zlib.total_out() - before.1).unwrap_or(usize::MAX);
            if written > size - into.len() {
                return Err(InflateError::Malformed);
            }
            into.extend_from_slice(buffer.get(..written).unwrap_or_default());
            match status {
                Status::StreamEnd => break,
                // No byte was read or written, so none will be: the data end too soon.
                _ if (zlib.total_in(), zlib.total_out()) == before => {
                    return Err(InflateError::CutShort);
                }
                _ => {}
            }
        }
        match cut_term(into) {
            // As behind a term that is not compressed, a node does not look at more.
            Ok((term, _)) if into.len() == size => Ok((term, used)),
            _ => Err(InflateError::Malformed),
        }
    }
}

/// Why a compressed term cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InflateError {
    /// The declared size is larger than the caller allows.
    TooLarge {
        /// The declared size in bytes.
        size: u32,
    },
    /// Its bytes end too soon.
    CutShort,
    /// It is not compressed by zlib, not of the declared size, or holds no term.
    Malformed,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size } => write!(f, "compressed term of {size} bytes is too large"),
            Self::CutShort => f.write_str("compressed term is cut short"),
            Self::Malformed => f.write_str("compressed term is malformed"),
        }
    }
}

impl std::error::Error for InflateError {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;
    use crate::wire::WireErrorKind;

    fn compressed(term: &[u8], size: u32) -> Vec<u8> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(term).unwrap();
        [&[VERSION, COMPRESSED][..], &size.to_be_bytes(), &zlib.finish().unwrap()].concat()
    }

    fn read(bytes: &[u8]) -> Compressed<'_> {
        match cut_external(bytes).unwrap() {
            (External::Compressed(compressed), []) => compressed,
            other => panic!("{other:?}"),
        }
    }

    /// A binary of so many zeros.
    fn zeros(len: u32) -> Vec<u8> {
        [&[109][..], &len.to_be_bytes(), &vec![0; len as usize]].concat()
    }

    #[test]
    fn a_compressed_term_is_inflated_and_what_lies_behind_it_is_not_taken() {
        let term = zeros(100_000);
        let mut bytes = compressed(&term, 100_005);
        let len = bytes.len() - 6;
        bytes.extend(b"more");
        let mut into = b"before".to_vec();
        let (inflated, used) = read(&bytes).inflate(1 << 20, &mut into).unwrap();
        assert_eq!((inflated.bytes(), used), (&term[..], len));
    }

    #[test]
    fn a_bomb_costs_no_more_than_its_stated_size() {
        // 4 MiB in 4 KiB.
        let bomb = zeros(4 << 20);
        let mut into = Vec::new();
        let honest = compressed(&bomb, (4 << 20) + 5);
        let error = read(&honest).inflate(1 << 20, &mut into).unwrap_err();
        assert_eq!(error, InflateError::TooLarge { size: (4 << 20) + 5 });
        let liar = compressed(&bomb, 1000);
        assert_eq!(read(&liar).inflate(1 << 20, &mut into).unwrap_err(), InflateError::Malformed);
        assert!(into.len() <= 1000 && into.capacity() < 8192);
        // One that promises much and holds little gets room for little.
        let poor = compressed(&zeros(10), 1 << 20);
        let mut into = Vec::new();
        assert_eq!(read(&poor).inflate(1 << 20, &mut into).unwrap_err(), InflateError::Malformed);
        assert!(into.capacity() < 1000);
    }

    #[test]
    fn every_shorter_prefix_is_cut_short() {
        let bytes = compressed(b"\x6b\0\x0bhello hello", 14);
        let mut into = Vec::new();
        assert!(read(&bytes).inflate(100, &mut into).is_ok());
        for len in 0..6 {
            let error = cut_external(&bytes[..len]).unwrap_err();
            assert_eq!(error.kind, WireErrorKind::CutShort, "{len}");
        }
        for len in 6..bytes.len() {
            let error = read(&bytes[..len]).inflate(100, &mut into).unwrap_err();
            assert_eq!(error, InflateError::CutShort, "{len}");
        }
    }

    #[test]
    fn a_compressed_term_follows_a_version_byte_only() {
        let within = [&[VERSION, 104, 1][..], &compressed(b"\x6a", 1)[1..]].concat();
        let error = cut_external(&within).unwrap_err();
        assert_eq!((error.field, error.offset), ("tag", 3));
        assert_eq!(cut_external(b"\x6a").unwrap_err().field, "version");
        assert!(matches!(cut_external(b"\x83\x6a\x01"), Ok((External::Term(_), [1]))));
    }
}
