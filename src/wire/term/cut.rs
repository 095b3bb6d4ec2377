//! Where a term ends: walks over octets head by head, and checks each.
//!
//! In: octets that begin with a term. Out: how many of them it takes, or why they are none. Terms
//! nest as deep as their sender likes; what is kept here is a count of terms still to come.
//!
//! A message may hold hundreds of thousands of terms: these loops are written by hand over slices,
//! without parser combinators, and the head of a term is all that is looked at.

use super::identifier::{Export, MAX_WORDS, Pid, Port, Reference};
use super::number;
use super::tag::*;
use super::{TermError, TermErrorKind};

/// The octets behind `count` terms at the front of `input`.
pub(super) fn skip_terms(input: &[u8], count: u64) -> Result<&[u8], TermError> {
    let mut i = Reader(input);
    skip(&mut i, count).map_err(|fault| fault.within(input))?;
    Ok(i.0)
}

/// How many terms must still come, and where the funs end that are open.
fn skip(i: &mut Reader<'_>, count: u64) -> Result<(), Fault> {
    let mut pending = count;
    let mut funs = Funs::default();
    loop {
        while pending > funs.floor {
            pending -= 1;
            match head(i)? {
                Head::Leaf => continue,
                Head::Terms(children) => pending += children,
                Head::Fun { free, end } => {
                    funs.open(pending, end);
                    pending += free;
                }
            }
            // Every term has an octet at least, so that counts cost nothing that is not there.
            if pending > i.0.len() as u64 {
                return Err(i.short("element"));
            }
        }
        if !funs.close(i)? {
            return Ok(());
        }
    }
}

/// The innermost funs whose free variables are being walked over. The size of a fun that lies
/// deeper in funs is held against the octets that there are, and not against its end.
#[derive(Default)]
struct Funs {
    open: [(u64, usize); MAX_FUNS],
    len: usize,
    /// Terms that are pending behind the innermost.
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

    /// Ends the innermost; false when there is none.
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

/// What follows the head of a term.
pub(super) enum Head {
    Leaf,
    /// So many terms.
    Terms(u64),
    /// So many terms, free variables, and behind them so many octets that are none of the fun.
    Fun {
        free: u64,
        end: usize,
    },
}

/// Reads one term up to the terms in it.
#[inline]
pub(super) fn head(i: &mut Reader<'_>) -> Result<Head, Fault> {
    let start = *i;
    match i.u8("tag")? {
        SMALL_INTEGER_EXT | ATOM_CACHE_REF => i.skip(1, "value")?,
        NIL_EXT => {}
        SMALL_TUPLE_EXT => return Ok(Head::Terms(i.u8("Arity")?.into())),
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
        LIST_EXT => return Ok(Head::Terms(u64::from(i.u32("Length")?) + 1)),
        MAP_EXT => return Ok(Head::Terms(u64::from(i.u32("Arity")?) * 2)),
        INTEGER_EXT => i.skip(4, "Int")?,
        STRING_EXT => {
            let len = i.u16("Length")?;
            i.skip(len.into(), "Characters")?;
        }
        LARGE_TUPLE_EXT => return Ok(Head::Terms(i.u32("Arity")?.into())),
        _ => {
            *i = start;
            return rare(i);
        }
    }
    Ok(Head::Leaf)
}

/// [`head`] of what is seldom in messages.
#[inline(never)]
fn rare(i: &mut Reader<'_>) -> Result<Head, Fault> {
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
            return Ok(Head::Fun { free, end });
        }
        FUN_EXT => {
            let free = num_free(i)?;
            Pid::read(i)?;
            skip_atom(i, "Module")?;
            small_integer(i, "Index")?;
            small_integer(i, "Uniq")?;
            return Ok(Head::Terms(free));
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
            return Ok(Head::Terms(fields.into()));
        }
        // Also `LOCAL_EXT` and the tags inside a node: nobody else can read them.
        _ => return Err(start.malformed("tag")),
    }
    Ok(Head::Leaf)
}

/// An atom where only an atom may stand.
#[inline]
pub(super) fn atom<'a>(i: &mut Reader<'a>, field: &'static str) -> Result<RawAtom<'a>, Fault> {
    let start = *i;
    let (text, utf8) = match atom_octets(i, field)? {
        Ok(found) => found,
        Err(reference) => return Ok(RawAtom::Reference(reference)),
    };
    if !utf8 && !text.is_ascii() {
        return Ok(RawAtom::Latin1(text));
    }
    match std::str::from_utf8(text) {
        Ok(text) if is_short(text) => Ok(RawAtom::Utf8(text)),
        _ => Err(start.malformed(field)),
    }
}

/// Passes over an atom: checks it as [`atom`] does, and makes no text of it.
#[inline]
pub(super) fn skip_atom(i: &mut Reader<'_>, field: &'static str) -> Result<(), Fault> {
    let start = *i;
    match atom_octets(i, field)? {
        Ok((text, true)) if text.len() > MAX_ATOM_CHARACTERS || !text.is_ascii() => {
            match std::str::from_utf8(text) {
                Ok(text) if is_short(text) => Ok(()),
                _ => Err(start.malformed(field)),
            }
        }
        _ => Ok(()),
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= MAX_ATOM_CHARACTERS || text.chars().count() <= MAX_ATOM_CHARACTERS
}

/// The octets of an atom, and whether they are to be UTF-8; or the number of a reference.
#[inline]
fn atom_octets<'a>(
    i: &mut Reader<'a>,
    field: &'static str,
) -> Result<Result<(&'a [u8], bool), u8>, Fault> {
    let start = *i;
    let (len, utf8) = match i.u8(field)? {
        ATOM_CACHE_REF => return Ok(Err(i.u8(field)?)),
        SMALL_ATOM_UTF8_EXT => (usize::from(i.u8(field)?), true),
        ATOM_UTF8_EXT => (usize::from(i.u16(field)?), true),
        SMALL_ATOM_EXT => (usize::from(i.u8(field)?), false),
        ATOM_EXT => (usize::from(i.u16(field)?), false),
        _ => return Err(start.malformed(field)),
    };
    if len > if utf8 { MAX_ATOM_OCTETS } else { MAX_ATOM_CHARACTERS } {
        return Err(start.malformed(field));
    }
    Ok(Ok((i.take(len, field)?, utf8)))
}

/// An atom before its reference is looked up. Latin-1 that is ASCII is `Utf8`.
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

/// Octets that are taken from the front.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Fault> {
        match self.0.split_first_chunk() {
            Some((octets, rest)) => {
                self.0 = rest;
                Ok(*octets)
            }
            None => Err(self.short(field)),
        }
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Fault> {
        self.array(field).map(|[octet]| octet)
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
            Some((octets, rest)) => {
                self.0 = rest;
                Ok(octets)
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
        Fault { kind: TermErrorKind::CutShort, field, left: self.0.len() }
    }

    #[cold]
    pub(super) fn malformed(&self, field: &'static str) -> Fault {
        Fault { kind: TermErrorKind::Malformed, field, left: self.0.len() }
    }
}

/// A [`TermError`] told by the octets that were left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    kind: TermErrorKind,
    field: &'static str,
    left: usize,
}

impl Fault {
    pub(super) fn within(self, input: &[u8]) -> TermError {
        let offset = input.len().saturating_sub(self.left);
        TermError { kind: self.kind, field: self.field, offset }
    }
}

/// Nobody writes a fun of a fun of a fun by hand, and this costs 16 octets of stack each.
const MAX_FUNS: usize = 8;

/// Of an atom, since OTP 20 counted in characters and not in octets.
const MAX_ATOM_CHARACTERS: usize = 255;
const MAX_ATOM_OCTETS: usize = 4 * MAX_ATOM_CHARACTERS;

/// A node takes no fun with more (`MAX_ARG`).
const MAX_FREE: u32 = 255;

/// Octets of the text of `FLOAT_EXT`.
pub(super) const FLOAT_TEXT: usize = 31;
