//! Terms as a sequence of heads, for formats that are not part of Erlang.
//!
//! In: a [`Term`]. Out: one [`TermHead`] after the other, in the order in which they are sent, each byte visited
//! once. A printer keeps count of the terms that a head announces; nothing here recurses or allocates.

use super::erlang::text_ahead;
use super::number::{self, Integer};
use super::scan::{self, Fault, Reader};
use super::tag::*;
use super::{Export, Fun, NativeRecord, Pid, Port, Reference, Term, text};
use crate::wire::WireError;

/// Reads the heads of terms from the front of their bytes.
#[derive(Clone, Copy, Debug)]
pub struct TermReader<'a> {
    rest: &'a [u8],
}

/// One term up to the terms in it, which follow it.
#[derive(Clone, Copy, Debug)]
pub enum TermHead<'a> {
    /// An atom, or a reference to one.
    Atom(Term<'a>),
    /// A whole number of any size.
    Integer(Integer<'a>),
    /// A number with a fraction.
    Float(f64),
    /// The empty list, sent as a term of its own.
    Nil,
    /// A list that was sent as a string: one character for each byte.
    Characters(SentBytes<'a>),
    /// A binary, or a bit string whose last byte has fewer than eight bits that count.
    Bits(SentBytes<'a>, u8),
    /// A tuple, and the number of elements that follow.
    Tuple(u32),
    /// A list, and the number of elements that follow. The tail follows them.
    List(u32),
    /// A map, and the number of pairs of key and value that follow.
    Map(u32),
    /// A process, by its node and number.
    Pid(Pid<'a>),
    /// A port, by its node and number.
    Port(Port<'a>),
    /// A reference, by its node and words.
    Reference(Reference<'a>),
    /// A function by module, name and arity.
    Export(Export<'a>),
    /// A closure. The values of its free variables follow.
    Fun(Fun<'a>),
    /// A native record (OTP 29). The values of its fields follow.
    Record(NativeRecord<'a>),
}

/// The bytes of a string or a binary, as far as they are here.
#[derive(Clone, Copy, Debug)]
pub struct SentBytes<'a> {
    /// The bytes that are here.
    pub bytes: &'a [u8],
    /// The number of bytes that were sent.
    pub len: usize,
}

impl<'a> TermReader<'a> {
    /// A reader in front of `term`.
    pub const fn new(term: Term<'a>) -> Self {
        Self { rest: term.bytes }
    }

    /// The number of bytes that were not read yet.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads the next head.
    ///
    /// # Errors
    ///
    /// The field that is cut short or malformed. The reader stays in front of the term.
    pub fn read(&mut self) -> Result<TermHead<'a>, WireError> {
        let mut i = Reader(self.rest);
        let head = head(&mut i).map_err(|fault| fault.within(self.rest))?;
        self.rest = i.0;
        Ok(head)
    }

    /// Skips the next term with all terms in it.
    ///
    /// # Errors
    ///
    /// The field that is cut short or malformed. The reader stays in front of the term.
    pub fn skip(&mut self) -> Result<(), WireError> {
        self.rest = scan::skip_terms(self.rest, 1)?;
        Ok(())
    }

    /// Skips the empty list, the tail of nearly every list. False when another term is next.
    pub fn skip_nil(&mut self) -> bool {
        match self.rest {
            [NIL_EXT, rest @ ..] => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

impl TermHead<'_> {
    /// Whether no terms follow it that belong to it.
    pub const fn is_leaf(&self) -> bool {
        !matches!(
            self,
            Self::Tuple(_) | Self::List(_) | Self::Map(_) | Self::Fun(_) | Self::Record(_)
        )
    }
}

impl<'a> SentBytes<'a> {
    /// The first `most` bytes of those that are here.
    pub fn up_to(&self, most: usize) -> &'a [u8] {
        self.bytes.get(..most).unwrap_or(self.bytes)
    }

    /// The first `most` bytes as UTF-8 text, if all of its characters are printable. A character that is cut at the
    /// end is left out.
    pub fn text(&self, most: usize) -> Option<&'a str> {
        text_ahead(self.bytes, self.len, most)
    }

    /// The first `most` bytes as Latin-1 text, if there are any and all of its characters are printable.
    pub fn characters(&self, most: usize) -> Option<&'a [u8]> {
        let bytes = self.up_to(most);
        let is_text = bytes.iter().all(|byte| text::is_printable(char::from(*byte)));
        (is_text && !bytes.is_empty()).then_some(bytes)
    }
}

fn head<'a>(i: &mut Reader<'a>) -> Result<TermHead<'a>, Fault> {
    let start = *i;
    Ok(match i.u8("tag")? {
        ATOM_CACHE_REF | SMALL_ATOM_UTF8_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | ATOM_EXT => {
            *i = start;
            scan::atom(i, "atom")?;
            let len = start.0.len() - i.0.len();
            TermHead::Atom(Term { bytes: start.0.get(..len).unwrap_or_default() })
        }
        SMALL_INTEGER_EXT | INTEGER_EXT | SMALL_BIG_EXT | LARGE_BIG_EXT => {
            *i = start;
            TermHead::Integer(Integer::read(i)?)
        }
        NEW_FLOAT_EXT | FLOAT_EXT => {
            *i = start;
            TermHead::Float(number::float(i)?)
        }
        NIL_EXT => TermHead::Nil,
        STRING_EXT => {
            let len = i.u16("Length")?.into();
            TermHead::Characters(take_up_to(i, len))
        }
        BINARY_EXT => {
            let len = i.u32("Len")? as usize;
            TermHead::Bits(take_up_to(i, len), 8)
        }
        BIT_BINARY_EXT => {
            let len = i.u32("Len")? as usize;
            let bits = i.u8("Bits")?;
            TermHead::Bits(take_up_to(i, len), bits)
        }
        SMALL_TUPLE_EXT => TermHead::Tuple(i.u8("Arity")?.into()),
        LARGE_TUPLE_EXT => TermHead::Tuple(i.u32("Arity")?),
        LIST_EXT => TermHead::List(i.u32("Length")?),
        MAP_EXT => TermHead::Map(i.u32("Arity")?),
        tag => {
            *i = start;
            identifier(tag, i)?
        }
    })
}

fn identifier<'a>(tag: u8, i: &mut Reader<'a>) -> Result<TermHead<'a>, Fault> {
    Ok(match tag {
        NEW_PID_EXT | PID_EXT => TermHead::Pid(Pid::read(i)?),
        V4_PORT_EXT | NEW_PORT_EXT | PORT_EXT => TermHead::Port(Port::read(i)?),
        NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT | REFERENCE_EXT => {
            TermHead::Reference(Reference::read(i)?)
        }
        EXPORT_EXT => TermHead::Export(Export::read(i)?),
        NEW_FUN_EXT | FUN_EXT => TermHead::Fun(Fun::read(i)?),
        RECORD_EXT => {
            let record = NativeRecord::read(i)?;
            i.0 = record.values.rest;
            TermHead::Record(record)
        }
        _ => return Err(i.malformed("tag")),
    })
}

/// The bytes of the next `len` that are here: a term may be cut off in them.
fn take_up_to<'a>(i: &mut Reader<'a>, len: usize) -> SentBytes<'a> {
    let (bytes, rest) = i.0.split_at_checked(len).unwrap_or((i.0, &[]));
    i.0 = rest;
    SentBytes { bytes, len }
}

#[cfg(test)]
mod tests {
    use super::super::samples::GEN_CALL;
    use super::*;

    #[test]
    fn heads_follow_in_the_order_in_which_they_are_sent() {
        let mut reader = TermReader::new(Term::cut_off(GEN_CALL));
        let mut heads = Vec::new();
        while reader.left() > 0 {
            if !reader.skip_nil() {
                heads.push(format!("{:?}", reader.read().unwrap()));
            }
        }
        let kinds: Vec<_> = heads.iter().map(|head| head.split('(').next().unwrap()).collect();
        assert_eq!(
            kinds,
            ["Tuple", "Atom", "Tuple", "Pid", "List", "Atom", "Reference", "Tuple", "Atom", "Bits"]
        );
    }

    #[test]
    fn a_reader_stays_in_front_of_a_term_that_is_cut() {
        let mut reader = TermReader::new(Term::cut_off(b"\x68\x02\x61"));
        assert!(matches!(reader.read(), Ok(TermHead::Tuple(2))));
        assert_eq!(reader.read().unwrap_err().field, "Int");
        assert!(reader.skip().is_err() && !reader.skip_nil());
        assert_eq!(reader.left(), 1);
    }

    #[test]
    fn bytes_that_are_cut_keep_the_length_that_was_sent() {
        let mut reader = TermReader::new(Term::cut_off(b"\x6d\0\0\0\x05ab\xc3"));
        let Ok(TermHead::Bits(sent, 8)) = reader.read() else { panic!() };
        assert_eq!((sent.bytes, sent.len), (&b"ab\xc3"[..], 5));
        assert_eq!((sent.text(9), sent.text(1)), (Some("ab"), Some("a")));
        assert_eq!((sent.characters(2), sent.up_to(1)), (Some(&b"ab"[..]), &b"a"[..]));
    }
}
