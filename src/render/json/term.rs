//! Terms as JSON, without loss.
//!
//! In: a term of a message. Out: the JSON that is documented at [`JsonTerm`]. A term is serialized while its bytes
//! are read, each of them once; the serializer is the caller's.

use std::cell::Cell;
use std::fmt::{self, Write};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::wire::term::{
    AtomText, Atoms, Elements, Export, Fun, Integer, NativeRecord, Pid, Port, PrintLimits,
    SentBytes, Term, TermHead, TermReader,
};

/// A term that `serde` serializes. The shape of a value shows its type, and no two different terms have the
/// same JSON.
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
/// `{"cut":true}` replaces a term that is nested too deep, and the rest where the budget or the bytes
/// ended. A string, binary or integer that is cut has `"cut_from"` beside it: its full length in bytes.
#[derive(Debug)]
pub struct JsonTerm<'a, A: ?Sized> {
    term: Term<'a>,
    atoms: &'a A,
    limits: PrintLimits,
}

impl<'a, A: Atoms + ?Sized> JsonTerm<'a, A> {
    /// Written up to [`PrintLimits::default`], and no deeper than common readers of JSON go.
    pub fn new(term: Term<'a>, atoms: &'a A) -> Self {
        let limits = PrintLimits { depth: READERS_DEPTH, ..PrintLimits::default() };
        Self { term, atoms, limits }
    }

    /// All of the term, to the greatest depth.
    pub const fn whole(term: Term<'a>, atoms: &'a A) -> Self {
        Self::within(term, atoms, PrintLimits::ALL)
    }

    /// Written up to `limits`, of which the bytes are those of texts and numbers with a few for each
    /// term, punctuation not counted one by one.
    pub const fn within(term: Term<'a>, atoms: &'a A, limits: PrintLimits) -> Self {
        Self { term, atoms, limits }
    }
}

impl<A: Atoms + ?Sized> Serialize for JsonTerm<'_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = Walk {
            reader: Cell::new(TermReader::new(self.term)),
            bytes: Cell::new(self.limits.bytes),
            terms: Cell::new(self.limits.terms),
            is_cut: Cell::new(false),
            atoms: self.atoms,
        };
        let depth = self.limits.depth.min(PrintLimits::ALL.depth);
        NextTerm { walk: &walk, depth }.serialize(to)
    }
}

/// How far a term has been written. `Serialize` gets `&self`, so the progress is in cells.
struct Walk<'a, A: ?Sized> {
    reader: Cell<TermReader<'a>>,
    bytes: Cell<usize>,
    terms: Cell<usize>,
    /// The limits or the bytes have ended: from here on, only open brackets are closed.
    is_cut: Cell<bool>,
    atoms: &'a A,
}

impl<'a, A: Atoms + ?Sized> Walk<'a, A> {
    fn spend(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Ends the walk with the value that replaces what is missing.
    fn cut<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.is_cut.set(true);
        one(to, "cut", &true)
    }

    /// Notes that of `len` bytes only `shown` are written, and gives `len` where that is not all of them.
    fn cut_from(&self, shown: &[u8], len: usize) -> Option<usize> {
        self.spend(shown.len());
        let is_cut = shown.len() < len;
        self.is_cut.set(self.is_cut.get() || is_cut);
        is_cut.then_some(len)
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
struct NextTerm<'w, 'a, A: ?Sized> {
    walk: &'w Walk<'a, A>,
    depth: u16,
}

impl<A: Atoms + ?Sized> Serialize for NextTerm<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.walk;
        let Some(terms) = walk.terms.get().checked_sub(1).filter(|_| walk.bytes.get() > 0) else {
            return walk.cut(to);
        };
        walk.terms.set(terms);
        walk.spend(TERM_BYTES);
        let start = walk.reader.get();
        let mut reader = start;
        let head = match reader.read() {
            Ok(head) if self.depth > 0 || head.is_leaf() => head,
            Ok(_) => {
                reader = start;
                if reader.skip().is_err() {
                    return walk.cut(to);
                }
                walk.reader.set(reader);
                return one(to, "cut", &true);
            }
            Err(_) => return walk.cut(to),
        };
        walk.reader.set(reader);
        match head {
            TermHead::Atom(atom) => {
                walk.spend(start.left() - reader.left());
                match walk.name(atom) {
                    Name(AtomText::Unknown(reference)) => one(to, "atom_ref", &reference),
                    name => one(to, "atom", &name),
                }
            }
            TermHead::Integer(integer) => self.integer(integer, to),
            TermHead::Float(value) => one(to, "float", &value),
            TermHead::Nil => to.serialize_seq(Some(0))?.end(),
            TermHead::Characters(sent) => self.characters(sent, to),
            TermHead::Bits(sent, bits) => self.bits(sent, bits, to),
            TermHead::Tuple(arity) => one(to, "tuple", &self.row(arity, false)),
            // A list of no elements is its tail.
            TermHead::List(0) => self.deeper().serialize(to),
            TermHead::List(len) => self.row(len, true).serialize(to),
            TermHead::Map(arity) => one(to, "map", &PairsJson { next: self.deeper(), left: arity }),
            head => self.identifier(head, to),
        }
    }
}

impl<'a, A: Atoms + ?Sized> NextTerm<'_, 'a, A> {
    /// Writes a term that names something on a node, or a record.
    fn identifier<S: Serializer>(&self, head: TermHead<'a>, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.walk;
        match head {
            TermHead::Pid(pid) => one(to, "pid", &walk.pid(&pid)),
            TermHead::Port(Port { node, id, creation }) => {
                one(to, "port", &PortJson { node: walk.name(node), id: Exact(id), creation })
            }
            TermHead::Reference(reference) => {
                let (node, creation) = (walk.name(reference.node), reference.creation);
                one(to, "reference", &ReferenceJson { node, creation, words: reference.words() })
            }
            TermHead::Export(Export { module, function, arity }) => {
                let (module, function) = (walk.name(module), walk.name(function));
                one(to, "export", &ExportJson { module, function, arity })
            }
            TermHead::Fun(fun) => one(to, "fun", &self.fun(&fun)),
            TermHead::Record(NativeRecord { flags, module, name, fields, .. }) => {
                let (module, name) = (walk.name(module), walk.name(name));
                let fields = RecordFields { next: self.deeper(), names: fields };
                one(to, "record", &RecordJson { module, name, flags, fields })
            }
            _ => walk.cut(to),
        }
    }

    fn fun(&self, fun: &Fun<'a>) -> FunJson<'_, 'a, A> {
        let walk = self.walk;
        let (arity, index, uniq_hex) = match fun.new {
            Some((arity, index, md5)) => (Some(arity), Some(index), Some(Text(HexBytes(md5)))),
            None => (None, None, None),
        };
        FunJson {
            module: walk.name(fun.module),
            old_index: fun.index,
            old_uniq: fun.uniq,
            arity,
            index,
            uniq_hex,
            pid: walk.pid(&fun.pid),
            free: self.row(fun.free.len(), false),
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
                let digits = Text(IntegerDigits { integer, most: self.walk.bytes.get() });
                one_cut(to, "integer", &digits, self.walk.cut_from(shown, len))
            }
        }
    }

    fn characters<S: Serializer>(&self, sent: SentBytes<'_>, to: S) -> Result<S::Ok, S::Error> {
        let most = self.walk.bytes.get();
        let shown = sent.up_to(most);
        let cut_from = self.walk.cut_from(shown, sent.len);
        if let Some(text) = sent.characters(most) {
            return one_cut(to, "string", &Text(Latin1Text(text)), cut_from);
        }
        let mut row = to.serialize_seq(None)?;
        shown.iter().try_for_each(|byte| row.serialize_element(byte))?;
        if cut_from.is_some() {
            row.serialize_element(&One { key: "cut", value: &true })?;
        }
        row.end()
    }

    fn bits<S: Serializer>(&self, sent: SentBytes<'_>, bits: u8, to: S) -> Result<S::Ok, S::Error> {
        let (most, len) = (self.walk.bytes.get(), sent.len);
        let is_binary = bits == 8 || len == 0;
        if let Some(text) = sent.text(most).filter(|_| is_binary) {
            return one_cut(to, "binary", text, self.walk.cut_from(text.as_bytes(), len));
        }
        let shown = sent.up_to(most / 2);
        let cut_from = self.walk.cut_from(shown, len);
        if is_binary {
            return one_cut(to, "binary_hex", &Text(HexBytes(shown)), cut_from);
        }
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("bitstring_hex", &Text(HexBytes(shown)))?;
        map.serialize_entry("bits", &(8 * (len as u64 - 1) + u64::from(bits)))?;
        if let Some(len) = cut_from {
            map.serialize_entry("cut_from", &len)?;
        }
        map.end()
    }
}

/// Consecutive terms, and the tail of a list.
struct Row<'w, 'a, A: ?Sized> {
    next: NextTerm<'w, 'a, A>,
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
            let mut reader = walk.reader.get();
            if reader.skip_nil() {
                walk.reader.set(reader);
            } else {
                row.serialize_element(&One { key: "tail", value: &self.next })?;
            }
        }
        row.end()
    }
}

/// The pairs of a map, in the sender's order.
struct PairsJson<'w, 'a, A: ?Sized> {
    next: NextTerm<'w, 'a, A>,
    left: u32,
}

impl<A: Atoms + ?Sized> Serialize for PairsJson<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pairs = to.serialize_seq(None)?;
        for _ in 0..self.left {
            pairs.serialize_element(&PairJson { key: &self.next, value: &self.next })?;
            if self.next.walk.is_cut.get() {
                break;
            }
        }
        pairs.end()
    }
}

/// A key and, unless the walk is cut in it, its value.
struct PairJson<'p, 'w, 'a, K, A: ?Sized> {
    key: &'p K,
    value: &'p NextTerm<'w, 'a, A>,
}

impl<K: Serialize, A: Atoms + ?Sized> Serialize for PairJson<'_, '_, '_, K, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pair = to.serialize_seq(None)?;
        pair.serialize_element(self.key)?;
        if !self.value.walk.is_cut.get() {
            pair.serialize_element(self.value)?;
        }
        pair.end()
    }
}

/// The fields of a record: their names were read with its head, and their values follow it.
struct RecordFields<'w, 'a, A: ?Sized> {
    next: NextTerm<'w, 'a, A>,
    names: Elements<'a>,
}

impl<A: Atoms + ?Sized> Serialize for RecordFields<'_, '_, A> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let walk = self.next.walk;
        let mut fields = to.serialize_seq(None)?;
        for name in self.names {
            fields.serialize_element(&PairJson { key: &walk.name(name), value: &self.next })?;
            if walk.is_cut.get() {
                break;
            }
        }
        fields.end()
    }
}

/// The name of a node, module or function; its reference where the atom is not known.
struct Name<'a>(AtomText<'a>);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AtomText::Utf8(text) => to.serialize_str(text),
            AtomText::Latin1(bytes) => to.collect_str(&Latin1Text(bytes)),
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
    uniq_hex: Option<Text<HexBytes<[u8; 16]>>>,
    pid: PidJson<'a>,
    free: Row<'w, 'a, A>,
}

#[derive(serde::Serialize)]
#[serde(bound = "A: Atoms")]
struct RecordJson<'w, 'a, A: ?Sized> {
    module: Name<'a>,
    name: Name<'a>,
    flags: u8,
    fields: RecordFields<'w, 'a, A>,
}

/// An unsigned integer, written like an integer term.
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
    one_cut(to, key, value, None)
}

fn one_cut<S: Serializer>(
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

/// A displayed value as a JSON string.
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

struct HexBytes<T>(T);

impl<T: AsRef<[u8]>> fmt::Display for HexBytes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Latin1Text<'a>(&'a [u8]);

impl fmt::Display for Latin1Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| f.write_char(char::from(*byte)))
    }
}

struct IntegerDigits<'a> {
    integer: Integer<'a>,
    most: usize,
}

impl fmt::Display for IntegerDigits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.integer.write_up_to(self.most, f).map(|_| ())
    }
}

/// Readers that keep numbers as IEEE doubles read integers up to 2^53 exactly.
const EXACT: u64 = 1 << 53;

/// Bytes counted for the braces and the key of each term.
const TERM_BYTES: usize = 8;

/// A term has at most four brackets of JSON, and some readers give up at 128.
const READERS_DEPTH: u16 = 30;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::wire::term::{ATOMS, GEN_CALL, cut_term, nested};

    use super::*;

    fn within(bytes: &[u8], limits: PrintLimits) -> serde_json::Value {
        let term = JsonTerm::within(Term::cut_off(bytes), &ATOMS[..], limits);
        // Through text, as a reader gets it.
        serde_json::from_str(&serde_json::to_string(&term).unwrap()).unwrap()
    }

    fn all(bytes: &[u8]) -> serde_json::Value {
        assert_eq!(cut_term(bytes).unwrap().1, b"");
        within(bytes, PrintLimits::ALL)
    }

    #[test]
    fn a_call_is_written_without_loss() {
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
    fn a_closure_keeps_its_free_variables() {
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
    fn a_cut_is_marked_once() {
        let terms = PrintLimits { terms: 3, ..PrintLimits::ALL };
        assert_eq!(
            within(b"\x68\x02\x68\x02\x61\x01\x61\x02\x61\x03", terms),
            json!({"tuple": [{"tuple": [1, {"cut": true}]}]})
        );
        let bytes = PrintLimits { bytes: 12, ..PrintLimits::ALL };
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
            within(b"\x74\0\0\0\x02\x61\x01\x6d\0\0\0\x03ab", PrintLimits::ALL),
            json!({"map": [[1, {"binary": "ab", "cut_from": 3}]]})
        );
        assert_eq!(within(b"\x68\x02\x61", PrintLimits::ALL), json!({"tuple": [{"cut": true}]}));
    }

    #[test]
    fn a_term_nested_too_deep_is_left_out_and_what_follows_is_not() {
        let depth = PrintLimits { depth: 1, ..PrintLimits::ALL };
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
