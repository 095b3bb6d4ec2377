//! Terms that name something on a node: processes, ports, references, functions; and records.
//!
//! Fields are in the wire's order, except where old and new forms of a term differ in it.

use super::scan::{self, Fault, Reader, ScannedHead};
use super::tag::*;
use super::{AtomText, Atoms, Elements, Term};

/// `NEW_PID_EXT`, or `PID_EXT` of OTP 22 and earlier: a process.
#[derive(Clone, Copy, Debug)]
pub struct Pid<'a> {
    /// The node that it is on: an atom.
    pub node: Term<'a>,
    /// Its number on that node.
    pub id: u32,
    /// Counts how often the numbers wrapped around.
    pub serial: u32,
    /// The creation (incarnation) of the node.
    pub creation: u32,
}

/// `V4_PORT_EXT` of OTP 24 and later, `NEW_PORT_EXT`, or `PORT_EXT` of OTP 22 and earlier.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// The node that it is on: an atom.
    pub node: Term<'a>,
    /// Its number on that node.
    pub id: u64,
    /// The creation (incarnation) of the node.
    pub creation: u32,
}

/// `NEWER_REFERENCE_EXT`, or `NEW_REFERENCE_EXT` and `REFERENCE_EXT` of OTP 22 and earlier.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The node that made it: an atom.
    pub node: Term<'a>,
    /// The creation (incarnation) of the node.
    pub creation: u32,
    words: [u32; MAX_WORDS],
    len: usize,
}

/// The printed parts of a pid or a reference in the form that OTP 23 and later send. The name of its node is not
/// checked.
#[derive(Clone, Copy, Debug)]
pub struct Numbered<'a> {
    /// Whether it is a reference.
    pub is_reference: bool,
    /// The node that it is on, or that made it: an atom.
    pub node: Term<'a>,
    /// Its numbers of four bytes each: ID and serial, or the words, which are printed from the last to the
    /// first.
    pub numbers: &'a [u8],
}

/// Identifies a reference, whichever side sent it. Where the node is
/// [unknown](AtomText::Unknown), within one distribution header only.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ReferenceKey<'a> {
    /// The node that made it.
    pub node: AtomText<'a>,
    /// The creation (incarnation) of the node.
    pub creation: u32,
    /// Its words, padded with zeros: no two references of a node differ only in trailing zeros.
    pub words: [u32; MAX_WORDS],
}

/// `EXPORT_EXT`: an external fun, `fun module:function/arity`.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// The module: an atom.
    pub module: Term<'a>,
    /// The name of the function: an atom.
    pub function: Term<'a>,
    /// The number of its arguments.
    pub arity: u8,
}

/// `NEW_FUN_EXT`, or `FUN_EXT` of old: a closure.
#[derive(Clone, Copy, Debug)]
pub struct Fun<'a> {
    /// The number of its arguments, the number among the module's funs, and the MD5 of the module's
    /// code: not in `FUN_EXT`.
    pub new: Option<(u8, u32, [u8; 16])>,
    /// The module that it was written in: an atom.
    pub module: Term<'a>,
    /// The old number among the module's funs.
    pub index: i32,
    /// The old check on the module's code.
    pub uniq: i32,
    /// The process that made it.
    pub pid: Pid<'a>,
    /// The values of its free variables.
    pub free: Elements<'a>,
}

/// `RECORD_EXT`: a native record, which is no tuple (OTP 29).
#[derive(Clone, Copy, Debug)]
pub struct NativeRecord<'a> {
    /// Bit 0: other modules may access its fields.
    pub flags: u8,
    /// The module that defines it: an atom.
    pub module: Term<'a>,
    /// The name of the record: an atom.
    pub name: Term<'a>,
    /// The names of its fields: atoms.
    pub fields: Elements<'a>,
    /// The values of its fields, as many as names.
    pub values: Elements<'a>,
}

impl<'a> Pid<'a> {
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let at = *i;
        let new = match i.u8("tag")? {
            NEW_PID_EXT => true,
            PID_EXT => false,
            _ => return Err(at.malformed("Pid")),
        };
        let node = atom(i, "Node")?;
        let (id, serial) = (i.u32("ID")?, i.u32("Serial")?);
        Ok(Self { node, id, serial, creation: creation(i, new)? })
    }

    /// The name of its node.
    pub fn node_name<'t>(&self, atoms: &'t (impl Atoms + ?Sized)) -> AtomText<'t>
    where
        'a: 't,
    {
        text(self.node, atoms)
    }
}

impl<'a> Numbered<'a> {
    /// Reads the one at the front of `i`.
    #[inline]
    pub(super) fn read(i: &'a [u8]) -> Option<Self> {
        let (is_reference, from_node, count) = match i {
            [NEW_PID_EXT, rest @ ..] => (false, rest, 2),
            [NEWER_REFERENCE_EXT, 0, count @ 1..=5, rest @ ..] => (true, rest, usize::from(*count)),
            _ => return None,
        };
        let (node, rest) = match from_node {
            [ATOM_CACHE_REF, ..] => from_node.split_at_checked(2)?,
            [SMALL_ATOM_UTF8_EXT, len, ..] => from_node.split_at_checked(2 + usize::from(*len))?,
            _ => return None,
        };
        let node = Term { bytes: node };
        // The creation is in front of the words of a reference, and behind the numbers of a pid.
        let skipped = if is_reference { 4 } else { 0 };
        let numbers = rest.get(skipped..skipped + 4 * count)?;
        if !is_reference && rest.len() < 12 {
            return None;
        }
        Some(Self { is_reference, node, numbers })
    }
}

impl<'a> Port<'a> {
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let at = *i;
        let tag = i.u8("tag")?;
        if !matches!(tag, V4_PORT_EXT | NEW_PORT_EXT | PORT_EXT) {
            return Err(at.malformed("tag"));
        }
        let node = atom(i, "Node")?;
        let id = if tag == V4_PORT_EXT { i.u64("ID")? } else { i.u32("ID")?.into() };
        Ok(Self { node, id, creation: creation(i, tag != PORT_EXT)? })
    }

    /// The name of its node.
    pub fn node_name<'t>(&self, atoms: &'t (impl Atoms + ?Sized)) -> AtomText<'t>
    where
        'a: 't,
    {
        text(self.node, atoms)
    }
}

impl<'a> Reference<'a> {
    #[inline]
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        match Self::skip_common(i.0) {
            Some((reference, rest)) => {
                i.0 = rest;
                Ok(reference)
            }
            None => Self::any(i),
        }
    }

    /// Reads a `NEWER_REFERENCE_EXT` as OTP 23 and later send it, and gives the remaining input.
    #[inline]
    fn skip_common(i: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (node, id, rest) = Self::usual_parts(i)?;
        let (creation, bytes) = id.split_first_chunk()?;
        let (mut words, len) = ([0; MAX_WORDS], bytes.len() / 4);
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_be_bytes(*bytes.first_chunk()?);
        }
        Some((Self { node, creation: u32::from_be_bytes(*creation), words, len }, rest))
    }

    /// The raw creation and words of a `NEWER_REFERENCE_EXT`, as OTP 23 and later send it.
    #[inline]
    pub(super) fn usual_id(i: &'a [u8]) -> Option<&'a [u8]> {
        Self::usual_parts(i).map(|(_, id, _)| id)
    }

    /// Fast path for `NEWER_REFERENCE_EXT` as OTP 23 and later send it: node, raw creation and words, and the
    /// remaining input.
    #[inline(always)] // each caller uses one or two of the three results
    pub(super) fn usual_parts(i: &'a [u8]) -> Option<(Term<'a>, &'a [u8], &'a [u8])> {
        let [NEWER_REFERENCE_EXT, 0, words @ 1..=5, from_node @ ..] = i else { return None };
        let behind = scan::skip_common_atom(from_node)?;
        let node = Term { bytes: from_node.get(..from_node.len() - behind.len())? };
        let (id, rest) = behind.split_at_checked(4 + 4 * usize::from(*words))?;
        Some((node, id, rest))
    }

    /// Creation and words, as a `NEWER_REFERENCE_EXT` would have them.
    pub(super) fn id(&self) -> Vec<u8> {
        let words = self.words().iter().flat_map(|word| word.to_be_bytes());
        self.creation.to_be_bytes().into_iter().chain(words).collect()
    }

    /// Reads a reference of any kind.
    pub(super) fn any(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let at = *i;
        let (mut words, mut len) = ([0; MAX_WORDS], 1);
        let tag = i.u8("tag")?;
        match tag {
            NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT => len = i.u16("Len")?.into(),
            REFERENCE_EXT => {}
            _ => return Err(at.malformed("tag")),
        }
        let node = atom(i, "Node")?;
        let mut incarnation = 0;
        if tag != REFERENCE_EXT {
            incarnation = creation(i, tag == NEWER_REFERENCE_EXT)?;
        }
        let id = *i;
        for word in words.get_mut(..len).filter(|_| len > 0).ok_or_else(|| at.malformed("Len"))? {
            *word = i.u32("ID")?;
        }
        if tag != NEWER_REFERENCE_EXT && words.first().is_some_and(|word| *word > MAX_OLD_WORD) {
            return Err(id.malformed("ID"));
        }
        if tag == REFERENCE_EXT {
            incarnation = creation(i, false)?;
        }
        Ok(Self { node, creation: incarnation, words, len })
    }

    /// Its words in the wire's order, which is the reverse of the printed order.
    pub fn words(&self) -> &[u32] {
        self.words.get(..self.len).unwrap_or_default()
    }

    /// The key that identifies it among all references.
    pub fn key<'t>(&self, atoms: &'t (impl Atoms + ?Sized)) -> ReferenceKey<'t>
    where
        'a: 't,
    {
        ReferenceKey { node: self.node_name(atoms), creation: self.creation, words: self.words }
    }

    /// The name of its node.
    pub fn node_name<'t>(&self, atoms: &'t (impl Atoms + ?Sized)) -> AtomText<'t>
    where
        'a: 't,
    {
        text(self.node, atoms)
    }
}

impl<'a> Export<'a> {
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let at = *i;
        if i.u8("tag")? != EXPORT_EXT {
            return Err(at.malformed("tag"));
        }
        let (module, function) = (atom(i, "Module")?, atom(i, "Function")?);
        let at = *i;
        let arity = scan::small_integer(i, "Arity")?;
        let arity = arity.try_into().map_err(|_| at.malformed("Arity"))?;
        Ok(Self { module, function, arity })
    }
}

impl<'a> Fun<'a> {
    /// Reads a fun up to its free variables, where it leaves `i`.
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let at = *i;
        match i.u8("tag")? {
            NEW_FUN_EXT => {
                i.skip(4, "Size")?;
                let arity = i.u8("Arity")?;
                let md5 = i.array("Uniq")?;
                let new_index = i.u32("Index")?;
                let left = i.u32("NumFree")?;
                let module = atom(i, "Module")?;
                let index = scan::small_integer(i, "OldIndex")?;
                let uniq = scan::small_integer(i, "OldUniq")?;
                let pid = Pid::read(i)?;
                let (new, free) = (Some((arity, new_index, md5)), Elements { rest: i.0, left });
                Ok(Self { new, module, index, uniq, pid, free })
            }
            FUN_EXT => {
                let left = i.u32("NumFree")?;
                let pid = Pid::read(i)?;
                let module = atom(i, "Module")?;
                let index = scan::small_integer(i, "Index")?;
                let uniq = scan::small_integer(i, "Uniq")?;
                let free = Elements { rest: i.0, left };
                Ok(Self { new: None, module, index, uniq, pid, free })
            }
            _ => Err(at.malformed("tag")),
        }
    }
}

impl<'a> NativeRecord<'a> {
    /// Reads a record up to its values, where it leaves `i`.
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let start = i.0;
        let ScannedHead::Terms(_) = scan::scan_head(i)? else { return Err(i.malformed("tag")) };
        let values = i.0;
        let mut i = Reader(start);
        if i.u8("tag")? != RECORD_EXT {
            return Err(i.malformed("tag"));
        }
        let left = i.u32("NumFields")?;
        let flags = i.u8("Flags")?;
        let (module, name) = (atom(&mut i, "Module")?, atom(&mut i, "Name")?);
        let fields = Elements { rest: i.0, left };
        Ok(Self { flags, module, name, fields, values: Elements { rest: values, left } })
    }

    /// Whether other modules may access its fields.
    pub const fn is_exported(&self) -> bool {
        self.flags & 1 != 0
    }
}

#[inline]
fn atom<'a>(i: &mut Reader<'a>, field: &'static str) -> Result<Term<'a>, Fault> {
    let start = i.0;
    scan::skip_atom(i, field)?;
    let bytes = start.get(..start.len() - i.0.len()).unwrap_or_default();
    Ok(Term { bytes })
}

/// Old forms have two bits in a byte.
fn creation(i: &mut Reader<'_>, new: bool) -> Result<u32, Fault> {
    let at = *i;
    match if new { i.u32("Creation")? } else { i.u8("Creation")?.into() } {
        old if !new && old > MAX_OLD_CREATION => Err(at.malformed("Creation")),
        creation => Ok(creation),
    }
}

/// The text of a term that was read as an atom.
fn text<'t>(atom: Term<'t>, atoms: &'t (impl Atoms + ?Sized)) -> AtomText<'t> {
    atom.as_atom(atoms).unwrap_or(AtomText::Utf8(""))
}

/// Words of a reference since OTP 24; three before.
pub(super) const MAX_WORDS: usize = 5;

/// The bits that a node keeps of old forms: references of 18 bits, incarnations of two.
const MAX_OLD_WORD: u32 = (1 << 18) - 1;
const MAX_OLD_CREATION: u32 = 3;
