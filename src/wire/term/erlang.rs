//! Terms in Erlang's syntax.
//!
//! What Erlang's own scanner can read back, it reads back as the same term: all but pids, ports,
//! references and closures, for which there is no syntax, and atoms that are not known.

use std::fmt::{self, Write};

use super::number::{self, Integer};
use super::scan::{self, Reader};
use super::tag::*;
use super::text::{self, Out};
use super::{Atoms, Export, Fun, NativeRecord, Pid, Port, Reference, Term};

/// Limits for the text of a term.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PrintLimits {
    /// The most bytes of text. Closing open brackets takes a few more.
    pub bytes: usize,
    /// The most terms, nested ones included.
    pub terms: usize,
    /// The deepest nesting of terms.
    pub depth: u16,
}

impl Default for PrintLimits {
    /// 1,024 bytes: a dozen lines of a terminal; the others bind later.
    fn default() -> Self {
        Self { bytes: 1024, terms: 1024, depth: MAX_DEPTH }
    }
}

impl PrintLimits {
    /// Everything, to the greatest depth.
    pub const ALL: Self = Self { bytes: usize::MAX, terms: usize::MAX, depth: MAX_DEPTH };
}

/// A term that [`Display`](fmt::Display) writes in Erlang's syntax.
///
/// - Atoms have quotes where Erlang needs them; `#3` is reference number 3 of the distribution
///   header, which is not known.
/// - Lists of characters are `"text"` where each can be seen, binaries `<<"text">>` or, beyond ASCII,
///   `<<"text"/utf8>>`; others are `[1,2]` and `<<1,2,5:3>>`.
/// - Integers beyond 1,024 bits are `16#ff`; floats the shortest digits that read back.
/// - `<node.id.serial>`, `#Port<node.id>`, `#Ref<node.w2.w1.w0>`, `#Fun<module.index.uniq>`, each with
///   the whole name of the node; `fun m:f/1`, `#{key => value}`, `#module:record{field = value}`.
/// - `…` replaces what is missing where the limits or the bytes ended, and terms that are nested too deep.
#[derive(Debug)]
pub struct Erlang<'a, A: ?Sized> {
    term: Term<'a>,
    atoms: &'a A,
    limits: PrintLimits,
}

impl<'a, A: Atoms + ?Sized> Erlang<'a, A> {
    /// Written up to [`PrintLimits::default`].
    pub fn new(term: Term<'a>, atoms: &'a A) -> Self {
        Self { term, atoms, limits: PrintLimits::default() }
    }

    /// Written up to `limits`.
    pub const fn within(term: Term<'a>, atoms: &'a A, limits: PrintLimits) -> Self {
        Self { term, atoms, limits }
    }

    /// Writes the term to `out`. True when all of it was written.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_to(&self, out: &mut (impl Write + ?Sized)) -> Result<bool, fmt::Error> {
        let mut printer = Printer {
            out: Out::new(out, self.limits.bytes),
            i: Reader(self.term.bytes),
            atoms: self.atoms,
            terms: self.limits.terms,
            whole: true,
        };
        printer.term(self.limits.depth.min(MAX_DEPTH))?;
        Ok(printer.whole)
    }
}

impl<A: Atoms + ?Sized> fmt::Display for Erlang<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f).map(|_| ())
    }
}

/// Reads the bytes once. Its functions give false when the term is cut: only open brackets are closed then.
struct Printer<'a, 'w, W: ?Sized, A: ?Sized> {
    out: Out<'w, W>,
    /// The bytes that were not read yet.
    i: Reader<'a>,
    atoms: &'a A,
    terms: usize,
    whole: bool,
}

type Printed = Result<bool, fmt::Error>;

/// The value that was read; where there is none, the term is cut there.
macro_rules! read {
    ($printer:ident, $read:expr) => {
        match $read {
            Ok(value) => value,
            Err(_) => return $printer.scan(),
        }
    };
}

impl<'a, W: Write + ?Sized, A: Atoms + ?Sized> Printer<'a, '_, W, A> {
    /// Recurses as deep as `depth`.
    fn term(&mut self, depth: u16) -> Printed {
        if self.out.is_full() || self.terms == 0 {
            return self.scan();
        }
        self.terms -= 1;
        let start = self.i;
        let tag = read!(self, self.i.u8("tag"));
        match tag {
            SMALL_INTEGER_EXT => {
                let value = read!(self, self.i.u8("Int"));
                number::write_decimal(value.into(), &mut self.out)?;
                Ok(true)
            }
            ATOM_CACHE_REF | SMALL_ATOM_UTF8_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | ATOM_EXT => {
                let len = start.0.len();
                self.i = start;
                read!(self, scan::atom(&mut self.i, "atom"));
                let bytes = start.0.get(..len - self.i.0.len()).unwrap_or_default();
                self.atom(Term { bytes })
            }
            NIL_EXT => self.write("[]"),
            _ if depth == 0 && !is_leaf(tag) => {
                self.scan()?;
                let Ok(rest) = scan::skip_terms(start.0, 1) else { return Ok(false) };
                self.i = Reader(rest);
                Ok(true)
            }
            SMALL_TUPLE_EXT => {
                let arity = read!(self, self.i.u8("Arity"));
                self.between("{", arity.into(), "}", depth)
            }
            LARGE_TUPLE_EXT => {
                let arity = read!(self, self.i.u32("Arity"));
                self.between("{", arity, "}", depth)
            }
            LIST_EXT => self.list(depth),
            MAP_EXT => self.map(depth),
            STRING_EXT => self.string(),
            BINARY_EXT | BIT_BINARY_EXT => self.bits(tag),
            INTEGER_EXT | SMALL_BIG_EXT | LARGE_BIG_EXT => {
                self.i = start;
                let integer = read!(self, Integer::read(&mut self.i));
                let most = self.out.left;
                let whole = integer.write_up_to(most, &mut self.out)?;
                if whole { Ok(true) } else { self.scan() }
            }
            NEW_FLOAT_EXT | FLOAT_EXT => {
                self.i = start;
                let value = read!(self, number::float(&mut self.i));
                number::write_float(value, &mut self.out)?;
                Ok(true)
            }
            _ => {
                self.i = start;
                self.name(tag, depth)
            }
        }
    }

    /// Terms that name something, and records.
    fn name(&mut self, tag: u8, depth: u16) -> Printed {
        match tag {
            NEW_PID_EXT | PID_EXT => {
                let pid = read!(self, Pid::read(&mut self.i));
                self.write("<")?;
                let whole = self.atom(pid.node)?;
                self.number(pid.id.into())?;
                self.number(pid.serial.into())?;
                self.write(">")?;
                Ok(whole)
            }
            V4_PORT_EXT | NEW_PORT_EXT | PORT_EXT => {
                let port = read!(self, Port::read(&mut self.i));
                self.write("#Port<")?;
                let whole = self.atom(port.node)?;
                self.number(port.id)?;
                self.write(">")?;
                Ok(whole)
            }
            NEWER_REFERENCE_EXT | NEW_REFERENCE_EXT | REFERENCE_EXT => {
                let reference = read!(self, Reference::read(&mut self.i));
                self.write("#Ref<")?;
                let whole = self.atom(reference.node)?;
                for word in reference.words().iter().rev() {
                    self.number((*word).into())?;
                }
                self.write(">")?;
                Ok(whole)
            }
            EXPORT_EXT => {
                let export = read!(self, Export::read(&mut self.i));
                self.write("fun ")?;
                let module = self.atom(export.module)?;
                self.write(":")?;
                let function = self.atom(export.function)?;
                write!(self.out, "/{}", export.arity)?;
                Ok(module && function)
            }
            NEW_FUN_EXT | FUN_EXT => {
                let fun = read!(self, Fun::read(&mut self.i));
                self.write("#Fun<")?;
                let whole = self.atom(fun.module)?;
                write!(self.out, ".{}.{}>", fun.index, fun.uniq)?;
                self.i = Reader(read!(self, scan::skip_terms(self.i.0, fun.free.len().into())));
                Ok(whole)
            }
            RECORD_EXT => self.record(depth),
            _ => self.scan(),
        }
    }

    fn between(&mut self, open: &str, count: u32, close: &str, depth: u16) -> Printed {
        self.write(open)?;
        let whole = self.elements(count, depth)?;
        self.write(close)?;
        Ok(whole)
    }

    fn elements(&mut self, count: u32, depth: u16) -> Printed {
        for n in 0..count {
            if n > 0 {
                self.write(",")?;
            }
            if !self.term(depth - 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn list(&mut self, depth: u16) -> Printed {
        let count = read!(self, self.i.u32("Length"));
        if count == 0 {
            // A list of no elements is its tail.
            return self.term(depth - 1);
        }
        if let Some(printed) = self.characters(count) {
            return printed;
        }
        self.write("[")?;
        let mut whole = self.elements(count, depth)?;
        if whole {
            match self.i.0 {
                [NIL_EXT, rest @ ..] => self.i = Reader(rest),
                _ => {
                    self.write("|")?;
                    whole = self.term(depth - 1)?;
                }
            }
        }
        self.write("]")?;
        Ok(whole)
    }

    /// Writes a list of `count` terms, of which the first is next, as a string if it is one as far as
    /// it would be written.
    fn characters(&mut self, count: u32) -> Option<Printed> {
        let mut ahead = Characters { i: self.i, left: count };
        let fits = (count as usize).min(self.out.left).min(self.terms);
        if fits == 0 {
            return None;
        }
        for _ in 0..fits {
            if !ahead.next().is_some_and(text::is_printable) {
                return None;
            }
        }
        let is_whole = fits == count as usize;
        if is_whole && ahead.i.0.first() != Some(&NIL_EXT) {
            return None;
        }
        let chars = Characters { i: self.i, left: count }.take(fits);
        let written = match text::quoted(&mut self.out, chars, '"') {
            Ok(written) => written,
            Err(e) => return Some(Err(e)),
        };
        self.terms -= fits;
        self.i = Reader(ahead.i.0.get(1..).unwrap_or_default());
        Some(if is_whole && written { Ok(true) } else { self.scan() })
    }

    fn string(&mut self) -> Printed {
        let len = usize::from(read!(self, self.i.u16("Length")));
        let bytes = self.take_up_to(len);
        let shown = bytes.get(..self.out.left).unwrap_or(bytes);
        if len == 0 {
            return self.write("[]");
        }
        if shown.iter().all(|byte| text::is_printable(char::from(*byte))) {
            let chars = bytes.iter().map(|byte| char::from(*byte));
            let written = text::quoted(&mut self.out, chars, '"')?;
            return if written && bytes.len() == len { Ok(true) } else { self.scan() };
        }
        self.numbers("[", bytes, len, "]")
    }

    /// The numbers of `bytes`, and behind them `…` if there are not `len`.
    fn numbers(&mut self, open: &str, bytes: &[u8], len: usize, close: &str) -> Printed {
        self.write(open)?;
        let mut written = 0;
        for byte in bytes {
            if self.out.is_full() {
                break;
            }
            if written > 0 {
                self.write(",")?;
            }
            number::write_decimal((*byte).into(), &mut self.out)?;
            written += 1;
        }
        let whole = written == len;
        if !whole {
            self.write(",")?;
            self.scan()?;
        }
        self.write(close)?;
        Ok(whole)
    }

    fn bits(&mut self, tag: u8) -> Printed {
        let len = read!(self, self.i.u32("Len")) as usize;
        let bits = if tag == BIT_BINARY_EXT { read!(self, self.i.u8("Bits")) } else { 8 };
        let bytes = self.take_up_to(len);
        if len == 0 {
            return self.write("<<>>");
        }
        if bits == 8 {
            if let Some(text) = text_ahead(bytes, len, self.out.left) {
                return self.binary_text(text, len);
            }
            return self.numbers("<<", bytes, len, ">>");
        }
        let Some((last, full)) = bytes.split_last().filter(|_| bytes.len() == len) else {
            return self.numbers("<<", bytes, len, ">>");
        };
        let whole = self.numbers("<<", full, full.len(), "")?;
        if whole {
            let comma = if full.is_empty() { "" } else { "," };
            let value = last.checked_shr(8 - u32::from(bits.min(8))).unwrap_or_default();
            write!(self.out, "{comma}{value}:{bits}")?;
        }
        self.write(">>")?;
        Ok(whole)
    }

    fn binary_text(&mut self, text: &str, len: usize) -> Printed {
        self.write("<<")?;
        let written = text::quoted_str(&mut self.out, text, '"')?;
        if !text.is_ascii() {
            self.write("/utf8")?;
        }
        let whole = written && text.len() == len;
        if !whole {
            self.scan()?;
        }
        self.write(">>")?;
        Ok(whole)
    }

    fn map(&mut self, depth: u16) -> Printed {
        let pairs = read!(self, self.i.u32("Arity"));
        self.write("#{")?;
        let mut whole = true;
        for n in 0..pairs {
            if n > 0 {
                self.write(",")?;
            }
            whole = self.term(depth - 1)?;
            if whole {
                self.write(" => ")?;
                whole = self.term(depth - 1)?;
            }
            if !whole {
                break;
            }
        }
        self.write("}")?;
        Ok(whole)
    }

    fn record(&mut self, depth: u16) -> Printed {
        let record = read!(self, NativeRecord::read(&mut self.i));
        self.i = Reader(record.values.rest);
        self.write("#")?;
        self.atom(record.module)?;
        self.write(":")?;
        self.atom(record.name)?;
        self.write("{")?;
        let mut whole = true;
        for (n, field) in record.fields.enumerate() {
            if n > 0 {
                self.write(",")?;
            }
            self.atom(field)?;
            self.write(" = ")?;
            whole = self.term(depth - 1)?;
            if !whole {
                break;
            }
        }
        self.write("}")?;
        Ok(whole)
    }

    fn atom(&mut self, term: Term<'a>) -> Printed {
        match term.as_atom(self.atoms) {
            Some(atom) => {
                let whole = text::atom(&mut self.out, atom)?;
                if whole { Ok(true) } else { self.scan() }
            }
            None => self.scan(),
        }
    }

    /// One of the numbers behind the name of a node.
    fn number(&mut self, number: u64) -> fmt::Result {
        self.out.write_str(".")?;
        number::write_decimal(number, &mut self.out)
    }

    fn write(&mut self, text: &str) -> Printed {
        self.out.write_str(text)?;
        Ok(true)
    }

    fn scan(&mut self) -> Printed {
        self.whole = false;
        self.out.write_str("…")?;
        Ok(false)
    }

    /// What there is of the next `len` bytes.
    fn take_up_to(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.i.0.split_at_checked(len).unwrap_or((self.i.0, &[]));
        self.i = Reader(rest);
        bytes
    }
}

/// Small integers in a row that are characters.
struct Characters<'a> {
    i: Reader<'a>,
    left: u32,
}

impl Iterator for Characters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        self.left = self.left.checked_sub(1)?;
        let code = scan::small_integer(&mut self.i, "Int").ok()?;
        char::from_u32(u32::try_from(code).ok()?)
    }
}

/// The first `most` bytes of `bytes` as text, if all of its characters are printable. Where `bytes` is the front of
/// `len` bytes, a character that is cut at the end is left out.
pub(super) fn text_ahead(bytes: &[u8], len: usize, most: usize) -> Option<&str> {
    let shown = bytes.get(..most).unwrap_or(bytes);
    let text = match std::str::from_utf8(shown) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() && shown.len() < len => {
            std::str::from_utf8(shown.get(..e.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    text.chars().all(text::is_printable).then_some(text)
}

/// Whether a term with this tag contains no other terms.
pub(super) fn is_leaf(tag: u8) -> bool {
    !matches!(
        tag,
        SMALL_TUPLE_EXT | LARGE_TUPLE_EXT | LIST_EXT | MAP_EXT | RECORD_EXT | NEW_FUN_EXT | FUN_EXT
    )
}

/// The deepest nesting of any limits: far deeper than terms in practice, and little stack.
pub(super) const MAX_DEPTH: u16 = 256;

#[cfg(test)]
mod tests {
    use std::iter;

    use super::super::samples::{ATOMS, GEN_CALL, nested};
    use super::super::{NoAtoms, cut_term};
    use super::*;

    fn all(bytes: &[u8]) -> String {
        assert_eq!(cut_term(bytes).unwrap().1, b"");
        let mut text = String::new();
        let term = Erlang::within(Term::cut_off(bytes), &ATOMS[..], PrintLimits::ALL);
        assert!(term.write_to(&mut text).unwrap(), "{text}");
        text
    }

    fn scan(bytes: &[u8], limits: PrintLimits) -> String {
        let mut text = String::new();
        let term = Erlang::within(Term::cut_off(bytes), &ATOMS[..], limits);
        assert!(!term.write_to(&mut text).unwrap(), "{text}");
        text
    }

    #[test]
    fn every_kind_of_term_is_written_as_erlang_writes_it() {
        let cases: &[(&[u8], &str)] = &[
            (b"\x61\x07", "7"),
            (b"\x62\xff\xff\xff\xff", "-1"),
            (b"\x6e\x09\x01\0\0\0\0\0\0\0\0\x01", "-18446744073709551616"),
            (b"\x46\x40\x09\x21\xfb\x54\x44\x2d\x18", "3.141592653589793"),
            (b"\x6a", "[]"),
            (b"\x6b\0\0", "[]"),
            (b"\x6b\0\x04a\"\n\xe9", r#""a\"\né""#),
            (b"\x6b\0\x02\x01\x02", "[1,2]"),
            (b"\x6c\0\0\0\x02\x61A\x62\0\0\x04\0\x6a", "\"AЀ\""),
            (b"\x6c\0\0\0\x02\x61A\x62\0\0\xd8\0\x6a", "[65,55296]"),
            (b"\x6c\0\0\0\x02\x61A\x61B\x61C", "[65,66|67]"),
            (b"\x6c\0\0\0\x01\x61\x01\x6b\0\x01a", "[1|\"a\"]"),
            (b"\x6c\0\0\0\0\x61\x01", "1"),
            (b"\x68\x00", "{}"),
            (b"\x69\0\0\0\x02\x52\x02\x52\x00", "{alias,'$gen_call'}"),
            (b"\x52\x03", "#3"),
            (b"\x74\0\0\0\0", "#{}"),
            (b"\x74\0\0\0\x02\x61\x01\x6a\x52\x02\x6a", "#{1 => [],alias => []}"),
            (b"\x6d\0\0\0\0", "<<>>"),
            (b"\x6d\0\0\0\x03a\"b", r#"<<"a\"b">>"#),
            (b"\x6d\0\0\0\x02\xc3\xa9", "<<\"é\"/utf8>>"),
            (b"\x6d\0\0\0\x02\x01\xff", "<<1,255>>"),
            (b"\x4d\0\0\0\x03\x03\x01\x02\xa0", "<<1,2,5:3>>"),
            (b"\x4d\0\0\0\x01\x01\x80", "<<1:1>>"),
            (b"\x4d\0\0\0\x01\x08a", "<<\"a\">>"),
            (b"\x58\x77\x05a@h.x\0\0\0\x5d\0\0\0\x07\0\0\0\x01", "<'a@h.x'.93.7>"),
            (b"\x78\x52\x01\0\0\0\0\0\0\0\x05\0\0\0\x01", "#Port<a@host.5>"),
            (b"\x66\x52\x01\0\0\0\x05\x01", "#Port<a@host.5>"),
            (b"\x5a\0\x02\x52\x01\0\0\0\x01\0\0\0\x05\0\0\0\x06", "#Ref<a@host.6.5>"),
            (b"\x71\x77\x01m\x77\x01F\x61\x02", "fun m:'F'/2"),
            (
                b"\x43\0\0\0\x02\x01\x77\x01m\x77\x01r\x77\x01a\x77\x01B\x61\x01\x61\x02",
                "#m:r{a = 1,'B' = 2}",
            ),
        ];
        for (bytes, text) in cases {
            assert_eq!(all(bytes), *text);
        }
    }

    #[test]
    fn a_term_is_cut_once_and_closed() {
        let terms = |terms| PrintLimits { terms, ..PrintLimits::ALL };
        assert_eq!(scan(GEN_CALL, terms(1)), "{…}");
        assert_eq!(scan(GEN_CALL, terms(3)), "{'$gen_call',{…}}");
        assert_eq!(scan(GEN_CALL, terms(5)), "{'$gen_call',{<a@host.93.7>,[…]}}");
        let bytes = |bytes| PrintLimits { bytes, ..PrintLimits::ALL };
        assert_eq!(scan(GEN_CALL, bytes(0)), "…");
        assert_eq!(scan(GEN_CALL, bytes(6)), "{'$gen'…}");
        assert_eq!(scan(b"\x6d\0\0\0\x06abcdef", bytes(5)), "<<\"ab\"…>>");
        assert_eq!(scan(b"\x6d\0\0\0\x03\x01\x02\x03", bytes(5)), "<<1,2,…>>");
        assert_eq!(scan(b"\x6b\0\x03\x01\x02\x03", bytes(3)), "[1,2,…]");
        assert_eq!(scan(b"\x6b\0\x06abcdef", bytes(3)), "\"ab\"…");
        assert_eq!(scan(b"\x6c\0\0\0\x03\x61a\x61b\x61c\x6a", terms(3)), "\"ab\"…");
        assert_eq!(scan(b"\x74\0\0\0\x01\x61\x01\x6a", terms(2)), "#{1 => …}");
    }

    #[test]
    fn what_is_cut_off_ends_where_its_bytes_do() {
        for len in 0..GEN_CALL.len() {
            let text = scan(&GEN_CALL[..len], PrintLimits::ALL);
            assert_eq!(text.matches('…').count(), 1, "{text}");
        }
        assert_eq!(scan(b"\x6d\0\0\0\x06abc", PrintLimits::ALL), "<<\"abc\"…>>");
        // A character that is cut off is none.
        assert_eq!(scan(b"\x6d\0\0\0\x06ab\xc3", PrintLimits::ALL), "<<\"ab\"…>>");
        assert_eq!(scan(b"\x4d\0\0\0\x06\x03\x01\x02", PrintLimits::ALL), "<<1,2,…>>");
        assert_eq!(scan(b"\x6b\0\x06abc", PrintLimits::ALL), "\"abc\"…");
    }

    #[test]
    fn what_lies_too_deep_is_left_out_and_what_follows_is_not() {
        let depth = PrintLimits { depth: 1, ..PrintLimits::ALL };
        assert_eq!(scan(b"\x68\x03\x68\x01\x61\x01\x6a\x61\x02", depth), "{…,[],2}");
        let map = b"\x74\0\0\0\x01\x68\x01\x61\x01\x61\x02";
        assert!(scan(map, depth).starts_with("#{…"), "{}", scan(map, depth));
        let text = scan(&nested(2_000_000), PrintLimits { bytes: usize::MAX, ..PrintLimits::ALL });
        let deepest = usize::from(MAX_DEPTH);
        assert_eq!(text, "{".repeat(deepest) + "…" + &"}".repeat(deepest));
        // Empty lists before their tail nest as well.
        let tails: Vec<u8> = [LIST_EXT, 0, 0, 0, 0].repeat(1_000_000);
        assert_eq!(scan(&tails, PrintLimits::ALL), "…");
    }

    /// A mebibyte of each costs what is shown of it: this ends.
    #[test]
    fn what_is_not_shown_is_not_looked_at() {
        let len = 1_u32 << 20;
        let body = vec![b'a'; len as usize];
        for head in [&[BINARY_EXT][..], &[BIT_BINARY_EXT], &[LARGE_BIG_EXT]] {
            let extra: &[u8] = if head == [BINARY_EXT] { &[] } else { &[1] };
            let one = [head, &len.to_be_bytes(), extra, &body].concat();
            let list: Vec<u8> = [LIST_EXT, 0, 0, 0, 200].into_iter().chain(one.clone()).collect();
            let many: Vec<u8> = list.into_iter().chain(iter::repeat_n(one, 3).flatten()).collect();
            let limits = PrintLimits { bytes: 100, ..PrintLimits::ALL };
            let text = scan(&many, limits);
            assert!(text.len() < 120, "{text}");
        }
        let numbers =
            [&[LIST_EXT, 0, 1, 0, 0][..], &[SMALL_INTEGER_EXT, 1].repeat(65_536)].concat();
        assert!(scan(&numbers, PrintLimits { bytes: 100, ..PrintLimits::ALL }).len() < 120);
    }

    #[test]
    fn an_atom_that_is_not_known_is_never_guessed() {
        assert_eq!(Erlang::new(Term::cut_off(b"\x52\x02"), &ATOMS[..]).to_string(), "alias");
        assert_eq!(Erlang::new(Term::cut_off(b"\x52\x02"), &NoAtoms).to_string(), "#2");
    }
}
