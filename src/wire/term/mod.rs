//! Terms: the values that Erlang nodes send one another.
//!
//! In: bytes that begin with a term. Out: a [`Term`] that borrows them, and views of its parts.
//! Nothing is decoded before it is asked for, and nothing allocated.
//!
//! [`cut_term`] finds where a term ends and checks every head on the way; [`Term::cut_off`] takes
//! what there is of a longer one. [`Erlang`] writes a term in Erlang's syntax, and
//! [`TermReader`] gives its parts to other formats: both visit each byte once.

mod atom;
mod compressed;
mod erlang;
mod identifier;
mod number;
#[cfg(test)]
mod samples;
mod scan;
pub(super) mod tag;
mod text;
mod view;

use std::fmt;

pub use atom::{AtomRole, AtomText, Atoms, NoAtoms, Spelling};
pub use compressed::{Compressed, External, InflateError, cut_external};
pub use erlang::{Erlang, PrintLimits};
pub use identifier::{Export, Fun, NativeRecord, Numbered, Pid, Port, Reference, ReferenceKey};
pub use number::Integer;
pub use view::{SentBytes, TermHead, TermReader};

#[cfg(test)]
pub(super) use samples::write_everything;
#[cfg(test)]
pub(crate) use samples::{ATOMS, GEN_CALL, nested};

use scan::Reader;
use tag::*;

use super::WireError;

/// Cuts the term at the front of `input`: the term, and the bytes behind it.
///
/// Whatever a sender claims, this takes time for the bytes that there are, and no room.
///
/// Three things that a node refuses are let pass: equal keys in one map, which cannot be found without
/// remembering all, [`ATOM_CACHE_REF`](Atoms) outside of distribution frames, and `FUN_EXT`, which
/// nodes took until OTP 22.
///
/// Observed: OTP 25 lets pass, and this refuses, what no encoder writes: a fun whose `Size` is not
/// its size or whose `Pid` is none, a reference of no words, an arity as a big integer, a comma in
/// `FLOAT_EXT`, and two of a node's own tags (73, 75).
///
/// # Errors
///
/// The field that is cut short, or holds what no node sends.
#[inline]
pub fn cut_term(input: &[u8]) -> Result<(Term<'_>, &[u8]), WireError> {
    let rest = match scan::skip_common(input) {
        Some(rest) => rest,
        None => scan::skip_terms(input, 1)?,
    };
    let (bytes, rest) = input.split_at(input.len() - rest.len());
    Ok((Term { bytes }, rest))
}

/// The bytes behind the term at the front of `input`, where that is an atom, a pid, a reference or a small integer as
/// OTP 23 and later write them. `None` for every other term, and for one that is cut short.
#[inline(always)]
pub(super) fn skip_common(input: &[u8]) -> Option<&[u8]> {
    scan::skip_common(input)
}

/// The same, where that term is an atom.
#[inline(always)]
pub(super) fn skip_common_atom(input: &[u8]) -> Option<&[u8]> {
    scan::skip_common_atom(input)
}

/// Creation and words of the reference at the front of `input`, where OTP 23 or later wrote it, and the bytes behind it.
#[inline(always)]
pub(super) fn common_reference(input: &[u8]) -> Option<(&[u8], &[u8])> {
    Reference::usual_parts(input).map(|(_, id, rest)| (id, rest))
}

/// The bytes behind the term at the front of `input`; `None` where [`cut_term`] gives an error, which takes longer
/// to make.
#[inline]
pub fn skip_term(input: &[u8]) -> Option<&[u8]> {
    scan::skip_term(input)
}

/// One term, as sent.
///
/// Views of its parts are `None` where it is of another kind. Those of a term that was
/// [scan off](Self::cut_off) end where its bytes do.
///
/// Equal bytes are equal terms; equal terms may have other bytes.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Term<'a> {
    bytes: &'a [u8],
}

/// The type of a term, whichever of its tags was sent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TermKind {
    /// Also one that is only referred to.
    Atom,
    /// Whole bytes, or bits.
    BitString,
    /// A function by module, name and arity: `fun m:f/1`.
    Export,
    /// A number with a fraction.
    Float,
    /// A closure, or a function of a module.
    Fun,
    /// A whole number of any size.
    Integer,
    /// Also the empty one, and a string.
    List,
    /// Pairs of key and value.
    Map,
    /// A process identifier of a node.
    Pid,
    /// A port identifier of a node.
    Port,
    /// A record of its own kind (OTP 29), no tuple.
    Record,
    /// A reference, unique in its node.
    Reference,
    /// Elements of a fixed number.
    Tuple,
    /// What no node sends, or nothing at all.
    Unknown,
}

impl<'a> Term<'a> {
    /// A term of which perhaps only `prefix` is at hand, or none: nothing is checked.
    pub const fn cut_off(prefix: &'a [u8]) -> Self {
        Self { bytes: prefix }
    }

    /// The bytes of the encoded term.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The kind of the term, by its tag.
    #[inline]
    pub fn kind(self) -> TermKind {
        let Some(tag) = self.bytes.first() else { return TermKind::Unknown };
        match *tag {
            ATOM_CACHE_REF | ATOM_EXT | SMALL_ATOM_EXT | ATOM_UTF8_EXT | SMALL_ATOM_UTF8_EXT => {
                TermKind::Atom
            }
            SMALL_INTEGER_EXT | INTEGER_EXT | SMALL_BIG_EXT | LARGE_BIG_EXT => TermKind::Integer,
            NEW_FLOAT_EXT | FLOAT_EXT => TermKind::Float,
            SMALL_TUPLE_EXT | LARGE_TUPLE_EXT => TermKind::Tuple,
            NIL_EXT | STRING_EXT | LIST_EXT => TermKind::List,
            BINARY_EXT | BIT_BINARY_EXT => TermKind::BitString,
            MAP_EXT => TermKind::Map,
            NEW_PID_EXT | PID_EXT => TermKind::Pid,
            NEW_PORT_EXT | PORT_EXT | V4_PORT_EXT => TermKind::Port,
            NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT | REFERENCE_EXT => TermKind::Reference,
            EXPORT_EXT => TermKind::Export,
            NEW_FUN_EXT | FUN_EXT => TermKind::Fun,
            RECORD_EXT => TermKind::Record,
            _ => TermKind::Unknown,
        }
    }

    /// The text of an atom; `None` for other terms.
    #[inline]
    pub fn as_atom<'t>(self, atoms: &'t (impl Atoms + ?Sized)) -> Option<AtomText<'t>>
    where
        'a: 't,
    {
        let raw = scan::atom(&mut Reader(self.bytes), "atom").ok()?;
        Some(AtomText::resolve(raw, atoms))
    }

    /// How an atom is spelled; see [`Spelling`].
    #[inline(always)] // for what is in the cache, a few instructions
    pub fn spelling<'t>(self, atoms: &'t (impl Atoms + ?Sized)) -> Option<Spelling<'t>>
    where
        'a: 't,
    {
        match self.bytes {
            [ATOM_CACHE_REF, reference, ..] => atoms.spelling(*reference),
            [SMALL_ATOM_UTF8_EXT, len, rest @ ..] => Spelling::of(rest.get(..usize::from(*len))?),
            _ => None,
        }
    }

    /// Whether it is the atom `text`.
    #[inline]
    pub fn is_atom(self, text: &str, atoms: &(impl Atoms + ?Sized)) -> bool {
        match self.bytes {
            // Without a look at whether they are UTF-8, which takes longer.
            [SMALL_ATOM_UTF8_EXT, len, rest @ ..] => {
                rest.get(..usize::from(*len)) == Some(text.as_bytes())
            }
            _ => self.as_atom(atoms).is_some_and(|atom| atom == *text),
        }
    }

    /// An integer in one byte or four, as operations, flags and sizes are.
    #[inline]
    pub fn as_small_int(self) -> Option<i32> {
        scan::small_integer(&mut Reader(self.bytes), "Int").ok()
    }

    /// An integer that 64 bits hold.
    pub fn as_i64(self) -> Option<i64> {
        self.as_integer()?.as_i64()
    }

    /// An integer that 64 bits without a sign hold, as the ids of `UNLINK_ID` are.
    pub fn as_u64(self) -> Option<u64> {
        self.as_integer()?.as_u64()
    }

    /// The value of an integer; `None` for other terms.
    pub fn as_integer(self) -> Option<Integer<'a>> {
        Integer::read(&mut Reader(self.bytes)).ok()
    }

    /// The value of a float; `None` for other terms.
    pub fn as_float(self) -> Option<f64> {
        number::float(&mut Reader(self.bytes)).ok()
    }

    /// The bytes of a binary; `None` for a bit string that ends within a byte.
    pub fn as_binary(self) -> Option<&'a [u8]> {
        self.as_bits().and_then(|(bytes, bits)| (bits == 8).then_some(bytes))
    }

    /// The bytes of a bit string, and how many bits of the last are its own, the high ones: 1 to 8.
    /// Of one that was cut off, the bytes that there are.
    pub fn as_bits(self) -> Option<(&'a [u8], u8)> {
        let mut i = Reader(self.bytes);
        let (len, bits) = match i.u8("tag").ok()? {
            BINARY_EXT => (i.u32("Len").ok()?, 8),
            BIT_BINARY_EXT => (i.u32("Len").ok()?, i.u8("Bits").ok()?),
            _ => return None,
        };
        let bytes = i.0.get(..len as usize).unwrap_or(i.0);
        // The last byte of a cut one is none of those.
        let whole = bytes.len() == len as usize && len > 0;
        Some((bytes, if whole { bits } else { 8 }))
    }

    /// The bytes of a list of small integers that was sent as a string. Such a list may also be sent element by
    /// element.
    pub fn as_string(self) -> Option<&'a [u8]> {
        let mut i = Reader(self.bytes);
        match i.u8("tag").ok()? {
            STRING_EXT => {
                let len = i.u16("Length").ok()?;
                Some(i.0.get(..usize::from(len)).unwrap_or(i.0))
            }
            _ => None,
        }
    }

    /// The elements of a tuple.
    #[inline]
    pub fn as_tuple(self) -> Option<Elements<'a>> {
        let mut i = Reader(self.bytes);
        let left = match i.u8("tag").ok()? {
            SMALL_TUPLE_EXT => i.u8("Arity").ok()?.into(),
            LARGE_TUPLE_EXT => i.u32("Arity").ok()?,
            _ => return None,
        };
        Some(Elements { rest: i.0, left })
    }

    /// The elements of a tuple that has `N`. The last is not looked at: of a tuple that is cut off in
    /// it, it is cut off too.
    #[inline]
    pub fn as_array<const N: usize>(self) -> Option<[Self; N]> {
        let mut elements = self.as_tuple()?;
        if elements.left as usize != N {
            return None;
        }
        let mut array = [Self::cut_off(&[]); N];
        if let Some((last, others)) = array.split_last_mut() {
            for slot in others {
                *slot = elements.next()?;
            }
            *last = elements.cut_off()?;
        }
        Some(array)
    }

    /// The elements of a list: none of the empty list, and none of a [string](Self::as_string).
    pub fn as_list(self) -> Option<List<'a>> {
        let mut i = Reader(self.bytes);
        match i.u8("tag").ok()? {
            NIL_EXT => Some(List { elements: Elements { rest: self.bytes, left: 0 } }),
            LIST_EXT => {
                let left = i.u32("Length").ok()?;
                Some(List { elements: Elements { rest: i.0, left } })
            }
            _ => None,
        }
    }

    /// The keys and values of a map, in the sender's order.
    pub fn as_map(self) -> Option<MapPairs<'a>> {
        let mut i = Reader(self.bytes);
        if i.u8("tag").ok()? != MAP_EXT {
            return None;
        }
        let left = i.u32("Arity").ok()?;
        Some(MapPairs { rest: i.0, left })
    }

    /// The fields of a process identifier; `None` for other terms.
    pub fn as_pid(self) -> Option<Pid<'a>> {
        Pid::read(&mut Reader(self.bytes)).ok()
    }

    /// A pid or a reference, where it has the form that they have today.
    #[inline]
    pub fn as_numbered(self) -> Option<Numbered<'a>> {
        Numbered::read(self.bytes)
    }

    /// The fields of a port identifier; `None` for other terms.
    pub fn as_port(self) -> Option<Port<'a>> {
        Port::read(&mut Reader(self.bytes)).ok()
    }

    /// The fields of a reference; `None` for other terms.
    #[inline]
    pub fn as_reference(self) -> Option<Reference<'a>> {
        Reference::read(&mut Reader(self.bytes)).ok()
    }

    /// Shows `look` what distinguishes a reference from others of its node: creation and words, as bytes in the
    /// order in which [`NEWER_REFERENCE_EXT`](Reference) has them.
    #[inline]
    pub fn reference_id<T>(self, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        match Reference::usual_id(self.bytes) {
            Some(id) => Some(look(id)),
            None => Some(look(self.as_reference()?.id().as_ref())),
        }
    }

    /// A function by its name.
    pub fn as_export(self) -> Option<Export<'a>> {
        Export::read(&mut Reader(self.bytes)).ok()
    }

    /// The fields of a closure; `None` for other terms.
    pub fn as_fun(self) -> Option<Fun<'a>> {
        Fun::read(&mut Reader(self.bytes)).ok()
    }

    /// Whether it is a native record, or one is in it; of a term that is cut off, in what there is of it.
    pub fn has_record(self) -> bool {
        let mut reader = TermReader::new(self);
        loop {
            match reader.read() {
                Ok(TermHead::Record(_)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// A record of its own kind.
    pub fn as_record(self) -> Option<NativeRecord<'a>> {
        NativeRecord::read(&mut Reader(self.bytes)).ok()
    }
}

/// In Erlang's syntax, cut at [`PrintLimits::default`]; references to atoms are unknown.
impl fmt::Debug for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Erlang::new(*self, &NoAtoms), f)
    }
}

/// Terms in a row. Each is cut when it is asked for: to look at what lies at every depth, write the
/// whole term with [`Erlang`] or [`TermReader`] instead.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Elements<'a> {
    /// The number of elements that are left, as declared by the sender.
    #[expect(clippy::len_without_is_empty, reason = "an iterator")]
    pub const fn len(&self) -> u32 {
        self.left
    }

    /// The elements of the next one, where that is a tuple of `N`.
    #[inline]
    pub fn next_array<const N: usize>(&mut self) -> Option<[Term<'a>; N]> {
        let [SMALL_TUPLE_EXT, arity, rest @ ..] = self.rest else { return None };
        if self.left == 0 || usize::from(*arity) != N {
            return None;
        }
        let mut array = [Term { bytes: &[] }; N];
        let mut behind: &[u8] = rest;
        for slot in &mut array {
            let (bytes, rest) = behind.split_at(behind.len() - scan::skip_term(behind)?.len());
            (*slot, behind) = (Term { bytes }, rest);
        }
        self.left -= 1;
        self.rest = behind;
        Some(array)
    }

    /// What there is of the next one, where that is cut off and so no element.
    pub fn cut_off(self) -> Option<Term<'a>> {
        (self.left > 0).then_some(Term { bytes: self.rest })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Term<'a>;

    #[inline]
    fn next(&mut self) -> Option<Term<'a>> {
        if self.left == 0 {
            return None;
        }
        let rest = scan::skip_term(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(self.rest.len() - rest.len())?;
        self.left -= 1;
        self.rest = rest;
        Some(Term { bytes })
    }
}

/// The elements of a list, then its tail.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// The elements before the tail, in order.
    pub elements: Elements<'a>,
}

impl<'a> List<'a> {
    /// The tail behind the last element: the empty list, unless the list is improper. Takes as
    /// long as all elements that were not taken yet.
    pub fn tail(self) -> Option<Term<'a>> {
        let rest = scan::skip_terms(self.elements.rest, self.elements.left.into()).ok()?;
        cut_term(rest).ok().map(|(tail, _)| tail)
    }
}

/// Keys and values in a row.
#[derive(Clone, Copy, Debug)]
pub struct MapPairs<'a> {
    rest: &'a [u8],
    left: u32,
}

impl MapPairs<'_> {
    /// The number of elements that are left, as declared by the sender.
    #[expect(clippy::len_without_is_empty, reason = "an iterator")]
    pub const fn len(&self) -> u32 {
        self.left
    }
}

impl<'a> Iterator for MapPairs<'a> {
    type Item = (Term<'a>, Term<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (key, rest) = cut_term(self.rest).ok()?;
        let (value, rest) = cut_term(rest).ok()?;
        self.left -= 1;
        self.rest = rest;
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{ATOMS, GEN_CALL};
    use super::*;

    #[test]
    fn a_call_is_taken_apart_where_it_lies() {
        let atoms = &ATOMS[..];
        let (term, rest) = cut_term(GEN_CALL).unwrap();
        assert_eq!((term.bytes(), rest, term.kind()), (GEN_CALL, &[][..], TermKind::Tuple));
        let [tag, from, request] = term.as_array().unwrap();
        assert!(tag.is_atom("$gen_call", atoms));
        let [pid, list] = from.as_array().unwrap();
        let pid = pid.as_pid().unwrap();
        assert_eq!((pid.id, pid.serial, pid.creation), (93, 7, 0x654b_1a02));
        assert_eq!(pid.node_name(atoms), "a@host");
        let list = list.as_list().unwrap();
        assert!(list.elements.clone().all(|element| element.is_atom("alias", atoms)));
        let reference = list.tail().unwrap().as_reference().unwrap();
        assert_eq!(reference.words(), [5, 6, 7]);
        assert_eq!(reference.key(atoms).node, "a@host");
        let [get, key] = request.as_array().unwrap();
        assert!(get.is_atom("get", &NoAtoms));
        assert_eq!(key.as_binary(), Some(&b"key"[..]));
    }

    #[test]
    fn a_call_is_printed_as_erlang_writes_it() {
        let (term, _) = cut_term(GEN_CALL).unwrap();
        assert_eq!(
            Erlang::new(term, &ATOMS[..]).to_string(),
            "{'$gen_call',{<a@host.93.7>,[alias|#Ref<a@host.7.6.5>]},{get,<<\"key\">>}}"
        );
        assert_eq!(format!("{term:?}"), "{#0,{<#1.93.7>,[#2|#Ref<#1.7.6.5>]},{get,<<\"key\">>}}");
    }

    #[test]
    fn every_prefix_of_a_call_is_cut_short() {
        for len in 0..GEN_CALL.len() {
            let error = cut_term(&GEN_CALL[..len]).unwrap_err();
            assert_eq!(error.kind, crate::wire::WireErrorKind::CutShort, "{len}");
        }
    }

    #[test]
    fn what_there_is_of_a_cut_off_term_can_be_read() {
        let scan = Term::cut_off(&GEN_CALL[..GEN_CALL.len() - 6]);
        let mut elements = scan.as_tuple().unwrap();
        assert!(elements.next().unwrap().is_atom("$gen_call", &ATOMS[..]));
        assert!(elements.next().is_some());
        assert!(elements.next().is_none());
        let request = elements.cut_off().unwrap();
        assert!(request.as_tuple().unwrap().next().unwrap().is_atom("get", &NoAtoms));
        assert_eq!(Erlang::new(request, &NoAtoms).to_string(), "{get,…}");
    }

    #[test]
    fn what_is_no_such_term_gives_nothing_and_what_is_cut_gives_what_there_is() {
        let bits = |bytes: &'static [u8]| Term::cut_off(bytes).as_bits();
        assert_eq!(bits(b"\x4d\0\0\0\x02\x03\xff\xe0"), Some((&b"\xff\xe0"[..], 3)));
        assert_eq!(bits(b"\x4d\0\0\0\x02\x03\xff"), Some((&b"\xff"[..], 8)), "cut off");
        assert_eq!(bits(b"\x6d\0\0\0\0"), Some((&b""[..], 8)));
        assert_eq!(bits(b"\x4d\0\0\0\0\x03"), Some((&b""[..], 8)), "a bit string of no bytes");
        let term = |bytes: &'static [u8]| cut_term(bytes).unwrap().0;
        let largest = term(b"\x6e\x08\0\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!((largest.as_u64(), largest.as_i64()), (Some(u64::MAX), None));
        assert_eq!(term(b"\x61\x09").as_u64(), Some(9));
        assert_eq!(term(b"\x62\xff\xff\xff\xff").as_u64(), None, "-1");
        let port = term(b"\x78\x77\x01a\0\0\0\0\0\0\0\x05\0\0\0\x07");
        let fields = port.as_port().map(|port| (port.id, port.creation));
        assert_eq!(fields, Some((5, 7)));
        assert!(port.as_pid().is_none() && port.as_numbered().is_none());
        let pid = term(b"\x58\x77\x01a\0\0\0\x05\0\0\0\x06\0\0\0\x07");
        let numbered = pid.as_numbered().unwrap();
        assert_eq!(
            (numbered.is_reference, numbered.numbers),
            (false, &b"\0\0\0\x05\0\0\0\x06"[..])
        );
        let reference = term(b"\x5a\0\x02\x77\x01a\0\0\0\x07\0\0\0\x01\0\0\0\x02");
        let numbered = reference.as_numbered().unwrap();
        assert_eq!((numbered.is_reference, numbered.numbers), (true, &b"\0\0\0\x01\0\0\0\x02"[..]));
    }
}
