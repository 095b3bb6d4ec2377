//! Terms as JSON, without loss.
//!
//! The layout is documented at [`JsonTerm`]. Terms are written while they are walked over, each byte
//! once; who writes the JSON is the caller's matter.

use std::cell::Cell;
use std::fmt::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::erlang::{Budget, MAX_DEPTH, is_leaf, text_ahead};
use super::number::{self, Integer};
use super::scan::{self, Reader};
use super::tag::*;
use super::{AtomText, Atoms, Elements, Export, Fun, Pid, Port, Record, Reference, Term, text};

/// A term that `serde` serializes. Every value is told by its shape alone, and no two different terms
/// have the same JSON.
///
/// | Term | JSON |
/// |---|---|
/// | integer up to 2^53 | `1` |
/// | other integer | `{"integer":"9007199254740993"}`, beyond 1,024 bits `{"integer":"16#ff…"}` |
/// | float | `{"float":1.5}`, the shortest digits that read back |
/// | atom | `{"atom":"ok"}`, `{"atom_ref":3}` where reference number 3 of the header is not known |
/// | list | `[1,2]` |
/// | improper list `[1,2\|3]` | `[1,2,{"tail":3}]` |
/// | list sent as a string, where each character can be seen | `{"string":"text"}` |
/// | tuple | `{"tuple":[1,2]}` |
/// | map | `{"map":[[1,2],[3,4]]}`: pairs of key and value in the sender's order |
/// | binary of UTF-8 where each character can be seen | `{"binary":"text"}` |
/// | other binary | `{"binary_hex":"00ff"}` |
/// | bit string | `{"bitstring_hex":"a0","bits":3}`: the high bits count |
/// | pid | `{"pid":{"node":"a@host","id":93,"serial":0,"creation":1700000000}}` |
/// | port | `{"port":{"node":"a@host","id":5,"creation":1700000000}}` |
/// | reference | `{"reference":{"node":"a@host","creation":1700000000,"words":[1,2,3]}}`, as sent |
/// | `fun m:f/1` | `{"export":{"module":"m","function":"f","arity":1}}` |
/// | closure | `{"fun":{"module":…,"old_index":…,"old_uniq":…,"arity":…,"index":…,"uniq_hex":…,"pid":{…},"free":[…]}}` |
/// | record (OTP 29) | `{"record":{"module":"m","name":"r","flags":1,"fields":[["a",1]]}}` |
///
/// The name of a node, module, function, record or field is a string, and `{"atom_ref":3}` where it
/// is not known.
///
/// `{"cut":true}` stands for what lies too deep, and for all that is missing where the budget or the
/// bytes ended. A string, binary or integer that is cut has `"cut_from"` beside it: the bytes that
/// it has in all.
#[derive(Debug)]
pub struct JsonTerm<'a, A: ?Sized> {
    term: Term<'a>,
    atoms: &'a A,
    budget: Budget,
}

impl<'a, A: Atoms + ?Sized> JsonTerm<'a, A> {
    /// Written up to [`Budget::default`], and no deeper than common readers of JSON go.
    pub fn new(term: Term<'a>, atoms: &'a A) -> Self {
        let budget = Budget { depth: READERS_DEPTH, ..Budget::default() };
        Self { term, atoms, budget }
    }

    /// Written up to `budget`, of which the bytes are those of texts and numbers with a few for each
    /// term, punctuation not counted one by one.
    pub const fn within(term: Term<'a>, atoms: &'a A, budget: Budget) -> Self {
        Self { term, atoms, budget }
    }
}

impl<A: Atoms + ?Sized> Serialize for JsonTerm<'_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = Walk {
            rest: Cell::new(self.term.bytes),
            bytes: Cell::new(self.budget.bytes),
            terms: Cell::new(self.budget.terms),
            is_cut: Cell::new(false),
            atoms: self.atoms,
        };
        Next { walk: &walk, depth: self.budget.depth.min(MAX_DEPTH) }.serialize(to)
    }
}

/// How far the term has been written. `serde` gives what is serialized no way to change itself.
struct Walk<'a, A: ?Sized> {
    rest: Cell<&'a [u8]>,
    bytes: Cell<usize>,
    terms: Cell<usize>,
    /// Nothing more is to be written but what closes what is open.
    is_cut: Cell<bool>,
    atoms: &'a A,
}

impl<'a, A: Atoms + ?Sized> Walk<'a, A> {
    fn spend(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    fn scan<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.is_cut.set(true);
        one(to, "cut", &true)
    }

    /// Notes that of `len` bytes only those of `part` are written.
    fn cut_from(&self, part: &[u8], len: usize) -> Option<usize> {
        self.spend(part.len());
        let is_cut = part.len() < len;
        self.is_cut.set(self.is_cut.get() || is_cut);
        is_cut.then_some(len)
    }

    /// What there is of the next `len` bytes.
    fn take_up_to(&self, i: Reader<'a>, len: usize) -> &'a [u8] {
        let (bytes, rest) = i.0.split_at_checked(len).unwrap_or((i.0, &[]));
        self.rest.set(rest);
        bytes
    }

    fn name(&self, atom: Term<'a>) -> Name<'a> {
        Name(atom.as_atom(self.atoms).unwrap_or(AtomText::Utf8("")))
    }

    fn pid(&self, pid: &Pid<'a>) -> PidJson<'a> {
        let Pid { node, id, serial, creation } = *pid;
        PidJson { node: self.name(node), id, serial, creation }
    }
}

/// The next term of a walk.
struct Next<'w, 'a, A: ?Sized> {
    walk: &'w Walk<'a, A>,
    depth: u16,
}

/// The value, or what is left is not there or is no term.
macro_rules! read {
    ($self:ident, $to:ident, $read:expr) => {
        match $read {
            Ok(value) => value,
            Err(_) => return $self.walk.scan($to),
        }
    };
}

impl<A: Atoms + ?Sized> Serialize for Next<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.walk;
        let Some(terms) = walk.terms.get().checked_sub(1).filter(|_| walk.bytes.get() > 0) else {
            return walk.scan(to);
        };
        walk.terms.set(terms);
        walk.spend(TERM_BYTES);
        let start = Reader(walk.rest.get());
        let mut i = start;
        let tag = read!(self, to, i.u8("tag"));
        match tag {
            ATOM_CACHE_REF | SMALL_ATOM_UTF8_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | ATOM_EXT => {
                i = start;
                let raw = read!(self, to, scan::atom(&mut i, "atom"));
                walk.rest.set(i.0);
                walk.spend(start.0.len() - i.0.len());
                match AtomText::resolve(raw, walk.atoms) {
                    AtomText::Unknown(reference) => one(to, "atom_ref", &reference),
                    text => one(to, "atom", &Name(text)),
                }
            }
            SMALL_INTEGER_EXT | INTEGER_EXT | SMALL_BIG_EXT | LARGE_BIG_EXT => {
                i = start;
                let integer = read!(self, to, Integer::read(&mut i));
                walk.rest.set(i.0);
                self.integer(integer, to)
            }
            NEW_FLOAT_EXT | FLOAT_EXT => {
                i = start;
                let value = read!(self, to, number::float(&mut i));
                walk.rest.set(i.0);
                one(to, "float", &value)
            }
            NIL_EXT => {
                walk.rest.set(i.0);
                to.serialize_seq(Some(0))?.end()
            }
            STRING_EXT => {
                let len = read!(self, to, i.u16("Length"));
                self.string(walk.take_up_to(i, len.into()), len.into(), to)
            }
            BINARY_EXT | BIT_BINARY_EXT => {
                let len = read!(self, to, i.u32("Len")) as usize;
                let bits = if tag == BINARY_EXT { 8 } else { read!(self, to, i.u8("Bits")) };
                self.bits(walk.take_up_to(i, len), len, bits, to)
            }
            _ if self.depth == 0 && !is_leaf(tag) => {
                walk.rest.set(read!(self, to, scan::skip_terms(start.0, 1)));
                one(to, "cut", &true)
            }
            SMALL_TUPLE_EXT | LARGE_TUPLE_EXT => {
                let arity = match tag {
                    SMALL_TUPLE_EXT => read!(self, to, i.u8("Arity")).into(),
                    _ => read!(self, to, i.u32("Arity")),
                };
                walk.rest.set(i.0);
                one(to, "tuple", &self.row(arity, false))
            }
            LIST_EXT => {
                let len = read!(self, to, i.u32("Length"));
                walk.rest.set(i.0);
                // What stands behind no elements is all there is.
                if len == 0 {
                    self.deeper().serialize(to)
                } else {
                    self.row(len, true).serialize(to)
                }
            }
            MAP_EXT => {
                let arity = read!(self, to, i.u32("Arity"));
                walk.rest.set(i.0);
                one(to, "map", &Pairs { next: self.deeper(), left: arity })
            }
            _ => self.name(tag, start, to),
        }
    }
}

impl<'a, A: Atoms + ?Sized> Next<'_, 'a, A> {
    /// Terms that name something, and records.
    fn name<S: Serializer>(&self, tag: u8, mut i: Reader<'a>, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.walk;
        match tag {
            NEW_PID_EXT | PID_EXT => {
                let pid = read!(self, to, Pid::read(&mut i));
                walk.rest.set(i.0);
                one(to, "pid", &walk.pid(&pid))
            }
            V4_PORT_EXT | NEW_PORT_EXT | PORT_EXT => {
                let Port { node, id, creation } = read!(self, to, Port::read(&mut i));
                walk.rest.set(i.0);
                one(to, "port", &PortJson { node: walk.name(node), id: Exact(id), creation })
            }
            NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT | REFERENCE_EXT => {
                let reference = read!(self, to, Reference::read(&mut i));
                walk.rest.set(i.0);
                let (node, creation) = (walk.name(reference.node), reference.creation);
                one(to, "reference", &ReferenceJson { node, creation, words: reference.words() })
            }
            EXPORT_EXT => {
                let Export { module, function, arity } = read!(self, to, Export::read(&mut i));
                walk.rest.set(i.0);
                let (module, function) = (walk.name(module), walk.name(function));
                one(to, "export", &ExportJson { module, function, arity })
            }
            NEW_FUN_EXT | FUN_EXT => {
                let fun = read!(self, to, Fun::read(&mut i));
                walk.rest.set(i.0);
                let (arity, index, uniq_hex) = match fun.new {
                    Some((arity, index, md5)) => (Some(arity), Some(index), Some(md5)),
                    None => (None, None, None),
                };
                let fun = FunJson {
                    module: walk.name(fun.module),
                    old_index: fun.index,
                    old_uniq: fun.uniq,
                    arity,
                    index,
                    uniq_hex: uniq_hex.as_ref().map(|md5| Text(Hex(md5))),
                    pid: walk.pid(&fun.pid),
                    free: self.row(fun.free.len(), false),
                };
                one(to, "fun", &fun)
            }
            RECORD_EXT => {
                let record = read!(self, to, Record::read(&mut i));
                walk.rest.set(record.values.rest);
                let record = RecordJson {
                    module: walk.name(record.module),
                    name: walk.name(record.name),
                    flags: record.flags,
                    fields: Fields { next: self.deeper(), names: record.fields },
                };
                one(to, "record", &record)
            }
            _ => walk.scan(to),
        }
    }

    fn deeper(&self) -> Self {
        Self { walk: self.walk, depth: self.depth.saturating_sub(1) }
    }

    fn row(&self, left: u32, has_tail: bool) -> Row<'_, 'a, A> {
        Row { next: self.deeper(), left, has_tail }
    }

    fn integer<S: Serializer>(&self, integer: Integer<'_>, to: S) -> Result<S::Ok, S::Error> {
        match integer.as_i64() {
            Some(value) if value.unsigned_abs() <= EXACT => to.serialize_i64(value),
            _ => {
                let (shown, len) = integer.bytes_up_to(self.walk.bytes.get());
                let digits = Text(Digits { integer, most: self.walk.bytes.get() });
                cuttable(to, "integer", &digits, self.walk.cut_from(shown, len))
            }
        }
    }

    fn string<S: Serializer>(&self, bytes: &[u8], len: usize, to: S) -> Result<S::Ok, S::Error> {
        let shown = bytes.get(..self.walk.bytes.get()).unwrap_or(bytes);
        let cut_from = self.walk.cut_from(shown, len);
        if !shown.is_empty() && shown.iter().all(|byte| text::is_printable(char::from(*byte))) {
            return cuttable(to, "string", &Text(Latin1(shown)), cut_from);
        }
        let mut row = to.serialize_seq(None)?;
        shown.iter().try_for_each(|byte| row.serialize_element(byte))?;
        if cut_from.is_some() {
            row.serialize_element(&Cut { cut: true })?;
        }
        row.end()
    }

    fn bits<S: Serializer>(
        &self,
        bytes: &[u8],
        len: usize,
        bits: u8,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let most = self.walk.bytes.get();
        let is_binary = bits == 8 || len == 0;
        if let Some(text) = text_ahead(bytes, len, most).filter(|_| is_binary) {
            return cuttable(to, "binary", text, self.walk.cut_from(text.as_bytes(), len));
        }
        let shown = bytes.get(..most / 2).unwrap_or(bytes);
        let cut_from = self.walk.cut_from(shown, len);
        if is_binary {
            return cuttable(to, "binary_hex", &Text(Hex(shown)), cut_from);
        }
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("bitstring_hex", &Text(Hex(shown)))?;
        map.serialize_entry("bits", &(8 * (len as u64 - 1) + u64::from(bits)))?;
        if let Some(len) = cut_from {
            map.serialize_entry("cut_from", &len)?;
        }
        map.end()
    }
}

/// Terms in a row, and of a list the tail.
struct Row<'w, 'a, A: ?Sized> {
    next: Next<'w, 'a, A>,
    left: u32,
    has_tail: bool,
}

impl<A: Atoms + ?Sized> Serialize for Row<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.next.walk;
        let mut row = to.serialize_seq(None)?;
        for _ in 0..self.left {
            row.serialize_element(&self.next)?;
            if walk.is_cut.get() {
                return row.end();
            }
        }
        if self.has_tail {
            match walk.rest.get() {
                [NIL_EXT, rest @ ..] => walk.rest.set(rest),
                _ => row.serialize_element(&One { key: "tail", value: &self.next })?,
            }
        }
        row.end()
    }
}

/// Keys and values in a row.
struct Pairs<'w, 'a, A: ?Sized> {
    next: Next<'w, 'a, A>,
    left: u32,
}

impl<A: Atoms + ?Sized> Serialize for Pairs<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pairs = to.serialize_seq(None)?;
        for _ in 0..self.left {
            pairs.serialize_element(&Pair { key: &self.next, value: &self.next })?;
            if self.next.walk.is_cut.get() {
                break;
            }
        }
        pairs.end()
    }
}

/// A key and, unless the walk is cut in it, its value.
struct Pair<'p, 'w, 'a, K, A: ?Sized> {
    key: &'p K,
    value: &'p Next<'w, 'a, A>,
}

impl<K: Serialize, A: Atoms + ?Sized> Serialize for Pair<'_, '_, '_, K, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pair = to.serialize_seq(None)?;
        pair.serialize_element(self.key)?;
        if !self.value.walk.is_cut.get() {
            pair.serialize_element(self.value)?;
        }
        pair.end()
    }
}

/// The fields of a record: names are given, values are walked over.
struct Fields<'w, 'a, A: ?Sized> {
    next: Next<'w, 'a, A>,
    names: Elements<'a>,
}

impl<A: Atoms + ?Sized> Serialize for Fields<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.next.walk;
        let mut fields = to.serialize_seq(None)?;
        for name in self.names {
            fields.serialize_element(&Pair { key: &walk.name(name), value: &self.next })?;
            if walk.is_cut.get() {
                break;
            }
        }
        fields.end()
    }
}

/// The name of something, or what it refers to where that is not known.
struct Name<'a>(AtomText<'a>);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AtomText::Utf8(text) => to.serialize_str(text),
            AtomText::Latin1(bytes) => to.collect_str(&Latin1(bytes)),
            AtomText::Unknown(reference) => one(to, "atom_ref", &reference),
        }
    }
}

#[derive(serde::Serialize)]
struct PidJson<'a> {
    node: Name<'a>,
    id: u32,
    serial: u32,
    creation: u32,
}

#[derive(serde::Serialize)]
struct PortJson<'a> {
    node: Name<'a>,
    id: Exact,
    creation: u32,
}

#[derive(serde::Serialize)]
struct ReferenceJson<'a> {
    node: Name<'a>,
    creation: u32,
    words: &'a [u32],
}

#[derive(serde::Serialize)]
struct ExportJson<'a> {
    module: Name<'a>,
    function: Name<'a>,
    arity: u8,
}

#[derive(serde::Serialize)]
#[serde(bound = "A: Atoms")]
struct FunJson<'w, 'a, A: ?Sized> {
    module: Name<'a>,
    old_index: i32,
    old_uniq: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    arity: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uniq_hex: Option<Text<Hex<'w>>>,
    pid: PidJson<'a>,
    free: Row<'w, 'a, A>,
}

#[derive(serde::Serialize)]
#[serde(bound = "A: Atoms")]
struct RecordJson<'w, 'a, A: ?Sized> {
    module: Name<'a>,
    name: Name<'a>,
    flags: u8,
    fields: Fields<'w, 'a, A>,
}

#[derive(serde::Serialize)]
struct Cut {
    cut: bool,
}

/// An unsigned integer as any integer term would be.
struct Exact(u64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0 <= EXACT { to.serialize_u64(self.0) } else { one(to, "integer", &Text(self.0)) }
    }
}

/// An object with one member.
struct One<'v, V> {
    key: &'static str,
    value: &'v V,
}

impl<V: Serialize> Serialize for One<'_, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        one(to, self.key, self.value)
    }
}

fn one<S: Serializer>(
    to: S,
    key: &'static str,
    value: &(impl Serialize + ?Sized),
) -> Result<S::Ok, S::Error> {
    cuttable(to, key, value, None)
}

fn cuttable<S: Serializer>(
    to: S,
    key: &'static str,
    value: &(impl Serialize + ?Sized),
    cut_from: Option<usize>,
) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1 + usize::from(cut_from.is_some())))?;
    map.serialize_entry(key, value)?;
    if let Some(len) = cut_from {
        map.serialize_entry("cut_from", &len)?;
    }
    map.end()
}

/// What is displayed, as a string.
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Latin1<'a>(&'a [u8]);

impl fmt::Display for Latin1<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| f.write_char(char::from(*byte)))
    }
}

struct Digits<'a> {
    integer: Integer<'a>,
    most: usize,
}

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.integer.write_up_to(self.most, f).map(|_| ())
    }
}

/// Integers up to 2^53 survive readers that hold every number as a float.
const EXACT: u64 = 1 << 53;

/// What a term costs beside its text: braces, a key.
const TERM_BYTES: usize = 8;

/// A term has at most four brackets of JSON, and some readers give up at 128.
const READERS_DEPTH: u16 = 30;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cut_term;
    use super::super::samples::{ATOMS, GEN_CALL, nested};
    use super::*;

    fn within(bytes: &[u8], budget: Budget) -> serde_json::Value {
        let term = JsonTerm::within(Term::cut_off(bytes), &ATOMS[..], budget);
        // Through text, as a reader gets it.
        serde_json::from_str(&serde_json::to_string(&term).unwrap()).unwrap()
    }

    fn all(bytes: &[u8]) -> serde_json::Value {
        assert_eq!(cut_term(bytes).unwrap().1, b"");
        within(bytes, Budget::ALL)
    }

    #[test]
    fn a_call_is_told_without_loss() {
        let pid = json!({"node": "a@host", "id": 93, "serial": 7, "creation": 0x654b_1a02});
        let words = json!({"node": "a@host", "creation": 0x654b_1a02, "words": [5, 6, 7]});
        assert_eq!(
            all(GEN_CALL),
            json!({"tuple": [
                {"atom": "$gen_call"},
                {"tuple": [{"pid": pid}, [{"atom": "alias"}, {"tail": {"reference": words}}]]},
                {"tuple": [{"atom": "get"}, {"binary": "key"}]}
            ]})
        );
    }

    #[test]
    fn every_kind_of_value_has_its_own_shape() {
        let cases: &[(&[u8], serde_json::Value)] = &[
            (b"\x61\xff", json!(255)),
            (b"\x62\xff\xff\xff\xff", json!(-1)),
            (b"\x6e\x07\x01\0\0\0\0\0\0\x20", json!(-9_007_199_254_740_992_i64)),
            (b"\x6e\x07\0\x01\0\0\0\0\0\x20", json!({"integer": "9007199254740993"})),
            (b"\x46\x3f\xf8\0\0\0\0\0\0", json!({"float": 1.5})),
            (b"\x52\x02", json!({"atom": "alias"})),
            (b"\x52\x03", json!({"atom_ref": 3})),
            (b"\x73\x01\xe9", json!({"atom": "é"})),
            (b"\x6a", json!([])),
            (b"\x6b\0\x02ok", json!({"string": "ok"})),
            (b"\x6b\0\x02\x01\x02", json!([1, 2])),
            (b"\x6c\0\0\0\x01\x61\x01\x61\x02", json!([1, {"tail": 2}])),
            (b"\x68\x00", json!({"tuple": []})),
            (b"\x74\0\0\0\x01\x61\x01\x6a", json!({"map": [[1, []]]})),
            (b"\x6d\0\0\0\0", json!({"binary": ""})),
            (b"\x6d\0\0\0\x02\xc3\xa9", json!({"binary": "é"})),
            (b"\x6d\0\0\0\x02\xc3\x00", json!({"binary_hex": "c300"})),
            (b"\x6d\0\0\0\x03\xe2\x80\xae", json!({"binary_hex": "e280ae"})),
            (b"\x4d\0\0\0\x02\x03\x01\xa0", json!({"bitstring_hex": "01a0", "bits": 11})),
            (
                b"\x78\x52\x05\0\x20\0\0\0\0\0\x01\0\0\0\x09",
                json!({"port": {
                    "node": {"atom_ref": 5}, "id": {"integer": "9007199254740993"}, "creation": 9
                }}),
            ),
            (
                b"\x71\x77\x01m\x77\x01f\x61\x02",
                json!({"export": {"module": "m", "function": "f", "arity": 2}}),
            ),
            (
                b"\x43\0\0\0\x01\x01\x77\x01m\x77\x01r\x77\x01a\x61\x07",
                json!({"record": {"module": "m", "name": "r", "flags": 1, "fields": [["a", 7]]}}),
            ),
        ];
        for (bytes, json) in cases {
            assert_eq!(all(bytes), *json);
        }
    }

    #[test]
    fn a_closure_keeps_what_it_took_along() {
        let mut bytes = b"\x70\0\0\0\x38\x01".to_vec();
        bytes.extend([0xab; 16]);
        bytes.extend(b"\0\0\0\x02\0\0\0\x01\x77\x01m\x61\x03\x62\0\0\x01\0");
        bytes.extend(b"\x58\x52\x01\0\0\0\x01\0\0\0\0\0\0\0\x09\x61\x2a");
        bytes[4] = u8::try_from(bytes.len() - 1).unwrap();
        let pid = json!({"node": "a@host", "id": 1, "serial": 0, "creation": 9});
        assert_eq!(
            all(&bytes),
            json!({"fun": {
                "module": "m", "old_index": 3, "old_uniq": 256, "arity": 1, "index": 2,
                "uniq_hex": "ab".repeat(16), "pid": pid, "free": [42]
            }})
        );
    }

    #[test]
    fn what_is_cut_says_so_once() {
        let terms = Budget { terms: 3, ..Budget::ALL };
        assert_eq!(
            within(b"\x68\x02\x68\x02\x61\x01\x61\x02\x61\x03", terms),
            json!({"tuple": [{"tuple": [1, {"cut": true}]}]})
        );
        let bytes = Budget { bytes: 12, ..Budget::ALL };
        assert_eq!(
            within(b"\x6d\0\0\0\x06abcdef", bytes),
            json!({"binary": "abcd", "cut_from": 6})
        );
        assert_eq!(
            within(b"\x6d\0\0\0\x04\x01\x02\xff\xff", bytes),
            json!({"binary_hex": "0102", "cut_from": 4})
        );
        assert_eq!(within(b"\x6b\0\x06abcdef", bytes), json!({"string": "abcd", "cut_from": 6}));
        // What the bytes end in.
        assert_eq!(
            within(b"\x74\0\0\0\x02\x61\x01\x6d\0\0\0\x03ab", Budget::ALL),
            json!({"map": [[1, {"binary": "ab", "cut_from": 3}]]})
        );
        assert_eq!(within(b"\x68\x02\x61", Budget::ALL), json!({"tuple": [{"cut": true}]}));
    }

    #[test]
    fn what_lies_too_deep_is_left_out_and_what_follows_is_not() {
        let depth = Budget { depth: 1, ..Budget::ALL };
        assert_eq!(
            within(b"\x68\x02\x68\x01\x68\x01\x61\x01\x61\x03", depth),
            json!({"tuple": [{"cut": true}, 3]})
        );
    }

    #[test]
    fn the_default_depth_suits_common_readers() {
        let json = serde_json::to_string(&JsonTerm::new(Term::cut_off(&nested(1000)), &ATOMS[..]));
        // serde_json refuses 128 levels.
        let value: serde_json::Value = serde_json::from_str(&json.unwrap()).unwrap();
        assert!(value.to_string().contains("cut"));
    }
}
