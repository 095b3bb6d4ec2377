//! Finds the end of a term, and checks every head on the way.
//!
//! In: bytes that begin with a term. Out: the bytes behind it, or the field that is wrong. Terms may nest to any
//! depth, so nothing recurses: the state is the number of terms that are still to come.
//!
//! A message may hold hundreds of thousands of terms. Therefore these loops are written over slices, without parser
//! combinators, and read only the head of each term.

use super::identifier::{Export, MAX_WORDS, Pid, Port, Reference};
use super::number;
use super::tag::*;
use crate::wire::{WireError, WireErrorKind};

/// The bytes behind a term of the types that messages begin with: an atom, a pid, a reference or a small integer, as
/// OTP 23 and later write them. `None` for every other term, and for one that is cut short. It matches a few bytes at
/// once, where [`scan_head`] takes them one by one and knows which field is wrong: with it, finding the ends of the
/// terms of a message takes half the instructions.
#[inline(always)]
pub(super) fn skip_common(input: &[u8]) -> Option<&[u8]> {
    match input {
        [ATOM_CACHE_REF | SMALL_INTEGER_EXT, _, rest @ ..] => Some(rest),
        [SMALL_ATOM_UTF8_EXT, ..] => skip_common_atom(input),
        [NEW_PID_EXT, rest @ ..] => skip_common_atom(rest)?.get(12..),
        [NEWER_REFERENCE_EXT, 0, words @ 1..=5, rest @ ..] => {
            skip_common_atom(rest)?.get(4 + 4 * usize::from(*words)..)
        }
        _ => None,
    }
}

/// The bytes behind an atom that is a reference, or that is short and in ASCII.
#[inline]
pub(super) fn skip_common_atom(input: &[u8]) -> Option<&[u8]> {
    match input {
        [ATOM_CACHE_REF, _, rest @ ..] => Some(rest),
        [SMALL_ATOM_UTF8_EXT, len, text @ ..] => {
            let behind = text.get(usize::from(*len)..)?;
            begins_in_ascii(text, *len).then_some(behind)
        }
        _ => None,
    }
}

/// Whether the first `len` bytes are ASCII. Most atoms have fewer than sixteen bytes: those are tested at once,
/// because a branch on their length is mispredicted. Names of nodes have some more.
#[inline]
fn begins_in_ascii(bytes: &[u8], len: u8) -> bool {
    const UPPER: u128 = u128::from_ne_bytes([0x80; 16]);
    match (bytes.first_chunk(), len) {
        (Some(chunk), ..16) => u128::from_le_bytes(*chunk) & UPPER & ((1 << (8 * len)) - 1) == 0,
        (Some(first), 16..=32) => {
            let last = bytes.get(..usize::from(len)).and_then(<[u8]>::last_chunk);
            let is_ascii =
                |last| (u128::from_le_bytes(*first) | u128::from_le_bytes(last)) & UPPER == 0;
            last.copied().is_some_and(is_ascii)
        }
        _ => bytes.get(..usize::from(len)).is_some_and(<[u8]>::is_ascii),
    }
}

/// The bytes behind `count` terms at the front of `input`.
pub(super) fn skip_terms(input: &[u8], count: u64) -> Result<&[u8], WireError> {
    let mut i = Reader(input);
    skip(&mut i, count).map_err(|fault| fault.within(input))?;
    Ok(i.0)
}

/// The bytes behind the term at the front of `input`; `None` where no complete term is there.
#[inline]
pub(super) fn skip_term(input: &[u8]) -> Option<&[u8]> {
    skip_common(input).or_else(|| skip_any(input))
}

fn skip_any(input: &[u8]) -> Option<&[u8]> {
    let mut i = Reader(input);
    // Most terms are leaves, which end with their head.
    match scan_head(&mut i).ok()? {
        ScannedHead::Leaf => {}
        ScannedHead::Terms(children) => skip(&mut i, children).ok()?,
        ScannedHead::Fun { free, end } => skip_funs(&mut i, 0, free, end).ok()?,
    }
    Some(i.0)
}

/// Skips `pending` terms with all terms in them.
fn skip(i: &mut Reader<'_>, mut pending: u64) -> Result<(), Fault> {
    while pending > 0 {
        pending -= 1;
        if let Some(rest) = skip_common(i.0) {
            i.0 = rest;
            continue;
        }
        match scan_head(i)? {
            ScannedHead::Leaf => continue,
            ScannedHead::Terms(children) => pending += children,
            ScannedHead::Fun { free, end } => return skip_funs(i, pending, free, end),
        }
        // Every term has at least one byte, so a declared count cannot cost more time than there are bytes.
        if pending > i.0.len() as u64 {
            return Err(i.short("element"));
        }
    }
    Ok(())
}

/// Continues behind the head of the first fun: from here on, the sizes of funs are checked.
#[cold]
fn skip_funs(i: &mut Reader<'_>, mut pending: u64, free: u64, end: usize) -> Result<(), Fault> {
    let mut funs = Funs::default();
    funs.open(pending, end);
    pending += free;
    loop {
        while pending > funs.floor {
            pending -= 1;
            match scan_head(i)? {
                ScannedHead::Leaf => continue,
                ScannedHead::Terms(children) => pending += children,
                ScannedHead::Fun { free, end } => {
                    funs.open(pending, end);
                    pending += free;
                }
            }
            if pending > i.0.len() as u64 {
                return Err(i.short("element"));
            }
        }
        if !funs.close(i)? {
            return Ok(());
        }
    }
}

/// The funs whose free variables are being skipped, up to a depth. The size of a fun nested deeper is compared with
/// the remaining bytes, and not with its end.
#[derive(Default)]
struct Funs {
    open: [(u64, usize); MAX_FUNS],
    len: usize,
    /// The number of terms that are pending behind the innermost fun.
    floor: u64,
}

impl Funs {
    fn open(&mut self, pending: u64, end: usize) {
        if let Some(slot) = self.open.get_mut(self.len) {
            *slot = (self.floor, end);
            self.len += 1;
            self.floor = pending;
        }
    }

    /// Ends the innermost fun; false when there is none.
    fn close(&mut self, i: &Reader<'_>) -> Result<bool, Fault> {
        let Some(innermost) = self.len.checked_sub(1) else { return Ok(false) };
        let (floor, end) = self.open.get(innermost).copied().unwrap_or_default();
        if i.0.len() != end {
            return Err(i.malformed("Size"));
        }
        self.len = innermost;
        self.floor = floor;
        Ok(true)
    }
}

/// The terms that follow the head of a term.
pub(super) enum ScannedHead {
    Leaf,
    /// A number of terms inside it.
    Terms(u64),
    /// The free variables of a fun, and the number of input bytes behind the fun.
    Fun {
        free: u64,
        end: usize,
    },
}

/// Reads one term up to the terms in it. Not inlined, its result is returned through memory, and skipping many terms
/// takes three times as long (store forwarding).
#[inline(always)]
pub(super) fn scan_head(i: &mut Reader<'_>) -> Result<ScannedHead, Fault> {
    let start = *i;
    match i.u8("tag")? {
        SMALL_INTEGER_EXT | ATOM_CACHE_REF => i.skip(1, "value")?,
        NIL_EXT => {}
        SMALL_TUPLE_EXT => return Ok(ScannedHead::Terms(i.u8("Arity")?.into())),
        SMALL_ATOM_UTF8_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | ATOM_EXT => {
            *i = start;
            skip_atom(i, "atom")?;
        }
        NEW_PID_EXT => {
            skip_atom(i, "Node")?;
            i.skip(12, "ID")?;
        }
        NEWER_REFERENCE_EXT => {
            let at = *i;
            let words = i.u16("Len")?;
            if !(1..=MAX_WORDS).contains(&usize::from(words)) {
                return Err(at.malformed("Len"));
            }
            skip_atom(i, "Node")?;
            i.skip(4, "Creation")?;
            i.skip(4 * usize::from(words), "ID")?;
        }
        BINARY_EXT => {
            let len = i.u32("Len")?;
            i.skip(len as usize, "Data")?;
        }
        LIST_EXT => return Ok(ScannedHead::Terms(u64::from(i.u32("Length")?) + 1)),
        MAP_EXT => return Ok(ScannedHead::Terms(u64::from(i.u32("Arity")?) * 2)),
        INTEGER_EXT => i.skip(4, "Int")?,
        STRING_EXT => {
            let len = i.u16("Length")?;
            i.skip(len.into(), "Characters")?;
        }
        LARGE_TUPLE_EXT => return Ok(ScannedHead::Terms(i.u32("Arity")?.into())),
        _ => {
            *i = start;
            return scan_uncommon(i);
        }
    }
    Ok(ScannedHead::Leaf)
}

/// [`scan_head`] for terms that are rare in messages.
#[inline(never)]
fn scan_uncommon(i: &mut Reader<'_>) -> Result<ScannedHead, Fault> {
    let start = *i;
    match i.u8("tag")? {
        NEW_FLOAT_EXT | FLOAT_EXT => {
            *i = start;
            number::float(i)?;
        }
        BIT_BINARY_EXT => {
            let len = i.u32("Len")?;
            let at = *i;
            let bits = i.u8("Bits")?;
            if bits > 8 || (bits == 0) != (len == 0) {
                return Err(at.malformed("Bits"));
            }
            i.skip(len as usize, "Data")?;
        }
        SMALL_BIG_EXT => {
            let n = i.u8("n")?;
            i.skip(1, "Sign")?;
            i.skip(n.into(), "d")?;
        }
        LARGE_BIG_EXT => {
            let n = i.u32("n")?;
            i.skip(1, "Sign")?;
            i.skip(n as usize, "d")?;
        }
        PID_EXT => {
            *i = start;
            Pid::read(i)?;
        }
        V4_PORT_EXT | NEW_PORT_EXT | PORT_EXT => {
            *i = start;
            Port::read(i)?;
        }
        NEW_REFERENCE_EXT | REFERENCE_EXT => {
            *i = start;
            Reference::read(i)?;
        }
        EXPORT_EXT => {
            *i = start;
            Export::read(i)?;
        }
        NEW_FUN_EXT => {
            let at = *i;
            let size = i.u32("Size")? as usize;
            let end = at.0.len().checked_sub(size).ok_or_else(|| at.short("Size"))?;
            i.skip(1, "Arity")?;
            i.skip(16, "Uniq")?;
            i.skip(4, "Index")?;
            let free = num_free(i)?;
            skip_atom(i, "Module")?;
            small_integer(i, "OldIndex")?;
            small_integer(i, "OldUniq")?;
            Pid::read(i)?;
            return Ok(ScannedHead::Fun { free, end });
        }
        FUN_EXT => {
            let free = num_free(i)?;
            Pid::read(i)?;
            skip_atom(i, "Module")?;
            small_integer(i, "Index")?;
            small_integer(i, "Uniq")?;
            return Ok(ScannedHead::Terms(free));
        }
        RECORD_EXT => {
            let fields = i.u32("NumFields")?;
            i.skip(1, "Flags")?;
            skip_atom(i, "Module")?;
            skip_atom(i, "Name")?;
            if u64::from(fields) > i.0.len() as u64 {
                return Err(i.short("FieldName"));
            }
            for _ in 0..fields {
                skip_atom(i, "FieldName")?;
            }
            return Ok(ScannedHead::Terms(fields.into()));
        }
        // Also `LOCAL_EXT` and tags that are internal to a node.
        _ => return Err(start.malformed("tag")),
    }
    Ok(ScannedHead::Leaf)
}

/// Reads an atom where the specification allows an atom alone.
#[inline]
pub(super) fn atom<'a>(i: &mut Reader<'a>, field: &'static str) -> Result<RawAtom<'a>, Fault> {
    if let [ATOM_CACHE_REF, reference, rest @ ..] = i.0 {
        i.0 = rest;
        return Ok(RawAtom::Reference(*reference));
    }
    any_atom(i, field)
}

fn any_atom<'a>(i: &mut Reader<'a>, field: &'static str) -> Result<RawAtom<'a>, Fault> {
    let start = *i;
    let bytes = match encoded_atom(i, field)? {
        EncodedAtom::Text { bytes, is_utf8: false } if !bytes.is_ascii() => {
            return Ok(RawAtom::Latin1(bytes));
        }
        EncodedAtom::Text { bytes, .. } => bytes,
        EncodedAtom::Reference(reference) => return Ok(RawAtom::Reference(reference)),
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if is_short(text) => Ok(RawAtom::Utf8(text)),
        _ => Err(start.malformed(field)),
    }
}

/// Skips an atom: checks it as [`atom`] does, without giving its text.
#[inline]
pub(super) fn skip_atom(i: &mut Reader<'_>, field: &'static str) -> Result<(), Fault> {
    if let Some(rest) = skip_common_atom(i.0) {
        i.0 = rest;
        return Ok(());
    }
    any_atom(i, field).map(|_| ())
}

fn is_short(text: &str) -> bool {
    text.len() <= MAX_ATOM_CHARACTERS || text.chars().count() <= MAX_ATOM_CHARACTERS
}

/// An atom as it was sent, before its text is checked.
enum EncodedAtom<'a> {
    Text { bytes: &'a [u8], is_utf8: bool },
    Reference(u8),
}

#[inline]
fn encoded_atom<'a>(i: &mut Reader<'a>, field: &'static str) -> Result<EncodedAtom<'a>, Fault> {
    let start = *i;
    let (len, is_utf8) = match i.u8(field)? {
        ATOM_CACHE_REF => return Ok(EncodedAtom::Reference(i.u8(field)?)),
        SMALL_ATOM_UTF8_EXT => (usize::from(i.u8(field)?), true),
        ATOM_UTF8_EXT => (usize::from(i.u16(field)?), true),
        SMALL_ATOM_EXT => (usize::from(i.u8(field)?), false),
        ATOM_EXT => (usize::from(i.u16(field)?), false),
        _ => return Err(start.malformed(field)),
    };
    if len > if is_utf8 { MAX_ATOM_BYTES } else { MAX_ATOM_CHARACTERS } {
        return Err(start.malformed(field));
    }
    Ok(EncodedAtom::Text { bytes: i.take(len, field)?, is_utf8 })
}

/// An atom whose text was checked and whose reference is not resolved. Latin-1 text in ASCII is `Utf8`.
#[derive(Clone, Copy)]
pub(super) enum RawAtom<'a> {
    Utf8(&'a str),
    Latin1(&'a [u8]),
    Reference(u8),
}

fn num_free(i: &mut Reader<'_>) -> Result<u64, Fault> {
    let at = *i;
    match i.u32("NumFree")? {
        free if free <= MAX_FREE => Ok(free.into()),
        _ => Err(at.malformed("NumFree")),
    }
}

pub(super) fn small_integer(i: &mut Reader<'_>, field: &'static str) -> Result<i32, Fault> {
    let at = *i;
    match i.u8(field)? {
        SMALL_INTEGER_EXT => Ok(i.u8(field)?.into()),
        INTEGER_EXT => Ok(i32::from_be_bytes(i.array(field)?)),
        _ => Err(at.malformed(field)),
    }
}

/// Takes values from the front of bytes.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Fault> {
        match self.0.split_first_chunk() {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok(*bytes)
            }
            None => Err(self.short(field)),
        }
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Fault> {
        self.array(field).map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Fault> {
        self.array(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Fault> {
        self.array(field).map(u32::from_be_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, Fault> {
        self.array(field).map(u64::from_be_bytes)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Fault> {
        match self.0.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.0 = rest;
                Ok(bytes)
            }
            None => Err(self.short(field)),
        }
    }

    #[inline]
    pub(super) fn skip(&mut self, len: usize, field: &'static str) -> Result<(), Fault> {
        self.take(len, field).map(|_| ())
    }

    #[cold]
    pub(super) fn short(&self, field: &'static str) -> Fault {
        Fault { kind: WireErrorKind::CutShort, field, left: self.0.len() }
    }

    #[cold]
    pub(super) fn malformed(&self, field: &'static str) -> Fault {
        Fault { kind: WireErrorKind::Malformed, field, left: self.0.len() }
    }
}

/// A [`WireError`] whose place is given by the number of bytes left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    kind: WireErrorKind,
    field: &'static str,
    left: usize,
}

impl Fault {
    pub(super) fn within(self, input: &[u8]) -> WireError {
        let offset = input.len().saturating_sub(self.left);
        WireError { kind: self.kind, field: self.field, offset }
    }
}

/// The depth of nested funs whose sizes are checked. Funs are rarely nested at all, and each takes 16 bytes of stack.
const MAX_FUNS: usize = 8;

/// The most characters of an atom. OTP 20 and later count characters, not bytes.
const MAX_ATOM_CHARACTERS: usize = 255;
const MAX_ATOM_BYTES: usize = 4 * MAX_ATOM_CHARACTERS;

/// The most free variables of a fun that a node accepts (`MAX_ARG`).
const MAX_FREE: u32 = 255;

/// Bytes of the text of `FLOAT_EXT`.
pub(super) const FLOAT_TEXT: usize = 31;

#[cfg(test)]
mod tests {
    use std::iter;

    use super::super::samples::nested;
    use super::super::{Term, cut_term};
    use super::*;

    /// A closure with one free variable.
    #[rustfmt::skip]
    const FUN: &[u8] = &[
        112,                                        // NEW_FUN_EXT
        0, 0, 0, 56,                                // Size
        1,                                          // Arity
        9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, // Uniq
        0, 0, 0, 2,                                 // Index
        0, 0, 0, 1,                                 // NumFree
        119, 1, b'm',                               // Module
        97, 2,                                      // OldIndex
        98, 0, 0, 1, 0,                             // OldUniq
        88, 119, 1, b'n',                           // Pid: NEW_PID_EXT, Node
        0, 0, 0, 1, 0, 0, 0, 0,                     // ID, Serial
        0, 0, 0, 3,                                 // Creation
        106,                                        // the value: NIL_EXT
    ];

    #[rustfmt::skip] // a table reads best as a table
    const SAMPLES: &[(u8, &[u8])] = &[
        (RECORD_EXT, b"\0\0\0\x02\x01\x77\x01m\x77\x01r\x77\x01a\x52\x00\x61\x01\x6a"),
        (NEW_FLOAT_EXT, b"\x3f\xf8\0\0\0\0\0\0"),
        (BIT_BINARY_EXT, b"\0\0\0\x02\x03\xff\xe0"),
        (BIT_BINARY_EXT, b"\0\0\0\0\x00"),
        (ATOM_CACHE_REF, b"\x07"),
        (NEW_PID_EXT, b"\x77\x01n\0\0\0\x01\0\0\0\x02\0\0\0\x03"),
        (NEW_PORT_EXT, b"\x52\x00\0\0\0\x01\0\0\0\x03"),
        (NEWER_REFERENCE_EXT, b"\0\x02\x77\x01n\0\0\0\x03\0\0\0\x01\0\0\0\x02"),
        (SMALL_INTEGER_EXT, b"\xff"),
        (INTEGER_EXT, b"\xff\xff\xff\xff"),
        (FLOAT_EXT, b"1.50000000000000000000e+00\0\0\0\0\0"),
        (ATOM_EXT, b"\0\x02ok"),
        (REFERENCE_EXT, b"\x64\0\x01n\0\x03\xff\xff\x03"),
        (PORT_EXT, b"\x64\0\x01n\0\0\0\x01\x03"),
        (PID_EXT, b"\x64\0\x01n\0\0\0\x01\0\0\0\x02\x03"),
        (SMALL_TUPLE_EXT, b"\x02\x6a\x61\x01"),
        (SMALL_TUPLE_EXT, b"\x00"),
        (LARGE_TUPLE_EXT, b"\0\0\0\x02\x6a\x61\x01"),
        (NIL_EXT, b""),
        (STRING_EXT, b"\0\x02ab"),
        (LIST_EXT, b"\0\0\0\x02\x61\x01\x61\x02\x6a"),
        (LIST_EXT, b"\0\0\0\x01\x61\x01\x61\x02"),
        (BINARY_EXT, b"\0\0\0\x02\0\xff"),
        (SMALL_BIG_EXT, b"\x02\x01\xff\xff"),
        (LARGE_BIG_EXT, b"\0\0\0\x02\x00\xff\xff"),
        (EXPORT_EXT, b"\x77\x01m\x77\x01f\x61\x02"),
        (NEW_REFERENCE_EXT, b"\0\x02\x64\0\x01n\x03\0\x03\xff\xff\xff\xff\xff\xff"),
        (SMALL_ATOM_EXT, b"\x01\xe9"),
        (MAP_EXT, b"\0\0\0\x01\x61\x01\x6a"),
        (
            FUN_EXT,
            b"\0\0\0\x01\x67\x64\0\x01n\0\0\0\x01\0\0\0\x02\x03\x64\0\x01m\x61\x02\x62\0\0\x01\0\x6a",
        ),
        (ATOM_UTF8_EXT, b"\0\x02\xc3\xa9"),
        (SMALL_ATOM_UTF8_EXT, b"\x02\xc3\xa9"),
        (V4_PORT_EXT, b"\x77\x01n\0\0\0\0\0\0\0\x01\0\0\0\x03"),
    ];

    #[test]
    fn common_terms_end_where_their_heads_end_and_read_as_any_other() {
        let with_cached = [
            &b"\x58\x52\x01\0\0\0\x01\0\0\0\x02\0\0\0\x03"[..],
            b"\x5a\0\x03\x52\x01\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\x05",
            b"\x5a\0\x06\x52\x01\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\x5a\0\0\x52\x01\0\0\0\x03",
        ];
        let mut usual_ones = 0;
        for sample in samples().chain(with_cached.map(<[u8]>::to_vec)) {
            let sample = [&sample[..], b"behind"].concat();
            for bytes in (0..=sample.len()).map(|len| &sample[..len]) {
                let mut i = Reader(bytes);
                let scan_head = scan_head(&mut i);
                if let Some(rest) = skip_common(bytes) {
                    usual_ones += 1;
                    assert!(matches!(scan_head, Ok(ScannedHead::Leaf)), "{bytes:x?}");
                    assert_eq!(rest, i.0, "{bytes:x?}");
                }
                let (mut any, mut either) = (Reader(bytes), Reader(bytes));
                let (any_one, one) = (Reference::any(&mut any), Reference::read(&mut either));
                assert_eq!(format!("{any_one:?}"), format!("{one:?}"));
                assert!(one.is_err() || any.0 == either.0, "{bytes:x?}");
            }
        }
        assert!(usual_ones > 40);
    }

    fn samples() -> impl Iterator<Item = Vec<u8>> {
        let tables = SAMPLES.iter().map(|(tag, body)| [&[*tag], *body].concat());
        tables.chain(iter::once(FUN.to_vec()))
    }

    #[test]
    fn every_tag_is_cut_where_its_term_ends() {
        for sample in samples() {
            let with_more = [&sample[..], b"\xff\xff\xff"].concat();
            let (term, rest) = cut_term(&with_more).unwrap();
            assert_eq!((term.bytes(), rest), (&sample[..], &b"\xff\xff\xff"[..]), "{sample:?}");
        }
    }

    #[test]
    fn every_shorter_prefix_is_cut_short() {
        for sample in samples() {
            for len in 0..sample.len() {
                let error = cut_term(&sample[..len]).unwrap_err();
                assert_eq!(error.kind, WireErrorKind::CutShort, "{sample:?} at {len}: {error}");
                assert!(error.offset <= len);
            }
        }
    }

    #[test]
    fn tags_that_are_not_of_the_wire_are_malformed() {
        let known: Vec<u8> = samples().map(|sample| sample[0]).collect();
        for tag in (0..=u8::MAX).filter(|tag| !known.contains(tag)) {
            let bytes = [&[SMALL_TUPLE_EXT, 1, tag][..], &[0; 64]].concat();
            assert_eq!(cut_term(&bytes).map(|_| ()), malformed("tag", 2), "{tag}");
        }
        assert_eq!(known.len(), samples().count());
    }

    fn malformed(field: &'static str, offset: usize) -> Result<(), WireError> {
        Err(WireError { kind: WireErrorKind::Malformed, field, offset })
    }

    fn short(field: &'static str, offset: usize) -> Result<(), WireError> {
        Err(WireError { kind: WireErrorKind::CutShort, field, offset })
    }

    fn scan(bytes: &[u8]) -> Result<(), WireError> {
        cut_term(bytes).map(|_| ())
    }

    #[test]
    fn counts_beyond_the_bytes_are_cut_short_at_once() {
        for tag in [LIST_EXT, LARGE_TUPLE_EXT, MAP_EXT] {
            let bytes = [&[tag, 255, 255, 255, 255][..], &[NIL_EXT; 100]].concat();
            assert_eq!(scan(&bytes), short("element", 5), "{tag}");
        }
        // A thousand lists, each of which declares four billion elements.
        assert_eq!(scan(&[LIST_EXT, 255, 255, 255, 255].repeat(1000)), short("element", 5));
        for (tag, field) in [(BINARY_EXT, "Data"), (LARGE_BIG_EXT, "d"), (BIT_BINARY_EXT, "Data")] {
            let bytes = [tag, 255, 255, 255, 255, 1, 1, 1];
            assert_eq!(scan(&bytes).unwrap_err().field, field);
        }
        let record = [&[RECORD_EXT, 255, 255, 255, 255, 1, 82, 0, 82, 0][..], &[82; 99]].concat();
        assert_eq!(scan(&record), short("FieldName", 10));
    }

    #[test]
    fn two_million_tuples_one_in_the_other_are_one_term() {
        let bytes = nested(2_000_000);
        assert_eq!(cut_term(&bytes).unwrap().1, b"");
        assert_eq!(scan(&bytes[..bytes.len() - 1]), short("value", bytes.len() - 1));
    }

    #[test]
    fn a_reference_has_one_to_five_words() {
        for (words, tag) in [(0, 90), (6, 90), (65_535_u16, 90), (0, 114), (6, 114)] {
            let [high, low] = words.to_be_bytes();
            let bytes = [&[tag, high, low, 82, 0][..], &[0; 64]].concat();
            assert_eq!(scan(&bytes).unwrap_err().field, "Len", "{words}");
        }
    }

    #[test]
    fn atoms_have_up_to_255_characters() {
        let atom = |tag: u8, text: &[u8]| {
            let [high, low] = u16::try_from(text.len()).unwrap().to_be_bytes();
            scan(&[&[tag, high, low][..], text].concat())
        };
        let longest = "\u{1f600}".repeat(255);
        assert_eq!(atom(ATOM_UTF8_EXT, longest.as_bytes()), Ok(()));
        assert_eq!(atom(ATOM_UTF8_EXT, "é".repeat(256).as_bytes()), malformed("atom", 0));
        assert_eq!(atom(ATOM_UTF8_EXT, (longest + "a").as_bytes()), malformed("atom", 0));
        assert_eq!(atom(ATOM_EXT, &[0xe9; 255]), Ok(()));
        assert_eq!(atom(ATOM_EXT, &[0xe9; 256]), malformed("atom", 0));
        assert_eq!(atom(ATOM_UTF8_EXT, b"\xe9"), malformed("atom", 0));
        assert_eq!(atom(ATOM_UTF8_EXT, b"\xed\xa0\x80"), malformed("atom", 0));
    }

    #[test]
    fn a_fun_has_its_declared_size() {
        for (size, error) in [(55, malformed("Size", 57)), (57, short("Size", 1))] {
            let mut fun = FUN.to_vec();
            fun[4] = size;
            assert_eq!(scan(&fun), error);
        }
        let mut too_long = [FUN, &[NIL_EXT]].concat();
        too_long[4] += 1;
        assert_eq!(scan(&too_long), malformed("Size", 57));
    }

    /// A fun whose free variable is a fun, and so on.
    fn funs(depth: usize) -> Vec<u8> {
        let (scan_head, mut inner) = (&FUN[..FUN.len() - 1], vec![NIL_EXT]);
        for _ in 0..depth {
            inner = [scan_head, &inner].concat();
            let size = u32::try_from(inner.len() - 1).unwrap();
            inner[1..5].copy_from_slice(&size.to_be_bytes());
        }
        inner
    }

    #[test]
    fn funs_in_funs_are_checked_one_by_one() {
        for depth in [1, 2, MAX_FUNS, MAX_FUNS + 1, 1000] {
            let sound = funs(depth);
            assert_eq!(scan(&sound), Ok(()), "{depth}");
            // The innermost that is checked is one byte short of its own.
            let innermost = depth.min(MAX_FUNS) - 1;
            let mut bytes = sound.clone();
            bytes[innermost * (FUN.len() - 1) + 4] -= 1;
            assert_eq!(scan(&bytes), malformed("Size", bytes.len()), "{depth}");
        }
        // Behind what is not checked, the outer ones still are.
        let mut bytes = [&[SMALL_TUPLE_EXT, 2][..], &funs(20), FUN].concat();
        assert_eq!(scan(&bytes), Ok(()));
        let last = bytes.len() - FUN.len() + 4;
        bytes[last] -= 1;
        assert_eq!(scan(&bytes), malformed("Size", bytes.len()));
    }

    #[test]
    fn values_that_no_node_takes_are_malformed() {
        let cases: [(&[u8], &str); 9] = [
            (b"\x46\x7f\xf0\0\0\0\0\0\0", "float"),
            (b"\x46\x7f\xf8\0\0\0\0\0\0", "float"),
            (b"\x63inf\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "float"),
            (b"\x4d\0\0\0\x01\x09\xff", "Bits"),
            (b"\x4d\0\0\0\x01\x00\xff", "Bits"),
            (b"\x58\x61\x01\0\0\0\x01\0\0\0\x02\0\0\0\x03", "Node"),
            (b"\x65\x64\0\x01n\0\x04\0\0\x03", "ID"),
            (b"\x67\x64\0\x01n\0\0\0\x01\0\0\0\x02\x04", "Creation"),
            (b"\x71\x77\x01m\x77\x01f\x6a\x02", "Arity"),
        ];
        for (bytes, field) in cases {
            let error = scan(bytes).unwrap_err();
            assert_eq!((error.kind, error.field), (WireErrorKind::Malformed, field), "{bytes:?}");
        }
    }

    /// What was read of a cut-off term is as the whole one has it.
    #[test]
    fn every_view_of_every_prefix_ends_where_the_bytes_do() {
        for sample in samples() {
            for len in 0..=sample.len() {
                super::super::samples::look_at_everything(Term::cut_off(&sample[..len]), 8);
            }
        }
    }

    #[test]
    fn terms_in_a_term_behind_a_fun_are_skipped_with_it() {
        let input = [FUN, b"\x68\x02\x6a\x6a", b"z"].concat();
        assert_eq!(skip_terms(&input, 2).unwrap(), b"z");
    }
}
