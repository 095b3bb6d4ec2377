//! Side by side with a real Erlang: what it encodes is printed so that it reads the same term back,
//! and what it takes for a term is taken for one here. And with `erltf`: what that encodes has the same
//! values here.

use std::fmt::Write as _;
use std::io::Write;

use beamscope::wire::WireError;
use beamscope::wire::term::{
    Erlang, External, NoAtoms, PrintLimits, Term, TermKind, cut_external, cut_term,
};
use erltf::types::ExternalFun;
use erltf::{Atom, BigInt, ExternalPid, ExternalPort, ExternalReference, OwnedTerm, Sign};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::support::erlang::{erlang, expanded, hex};

#[test]
fn what_is_printed_reads_back_as_the_same_term() {
    let Some(made) = erlang(&["make", "20261127", "6000"], String::new()) else { return };
    let mut lines = String::new();
    for line in made.lines() {
        let bytes = bytes(line);
        let (External::Term(term), []) = cut_external(&bytes).unwrap() else { panic!("{line}") };
        let text = Erlang::within(term, &NoAtoms, PrintLimits::ALL).to_string();
        assert!(!text.contains(is_unsafe), "{text:?}");
        writeln!(lines, "{line}|{text}").unwrap();
    }
    let reported = erlang(&["compare"], lines).unwrap();
    // The line that was given, and what is wrong with it.
    let short = |line: &str| line.chars().take(600).collect::<String>();
    let some: Vec<_> = reported.lines().take(20).map(short).collect();
    assert!(
        reported == "same: 6000, different: 0\n",
        "{}\n{}",
        some.join("\n"),
        reported.lines().last().unwrap()
    );
}

/// Terms of a distribution frame: their atoms are looked up, and then the node that sent them would print
/// the same.
#[test]
fn atoms_in_place_of_references_read_back_too() {
    let Some(made) = erlang(&["make", "3", "1500"], String::new()) else { return };
    let mut lines = String::new();
    for line in made.lines() {
        let bytes = bytes(line);
        let (mut names, mut referring) = (Vec::new(), Vec::new());
        refer(cut_term(&bytes[1..]).unwrap().0, &mut names, &mut referring);
        let names: Vec<&str> = names.iter().map(|it| &**it).collect();
        let (term, rest) = cut_term(&referring).unwrap();
        assert!(rest.is_empty());
        let text = Erlang::within(term, &names[..], PrintLimits::ALL);
        writeln!(lines, "{}|{text}", hex(&expanded(term, &names[..]).unwrap())).unwrap();
        assert_eq!(expanded(term, &NoAtoms).is_none(), !names.is_empty());
    }
    assert_eq!(erlang(&["compare"], lines).unwrap(), "same: 1500, different: 0\n");
}

/// Writes `term` with references in place of the atoms at its top, in its tuples and lists.
fn refer(term: Term<'_>, names: &mut Vec<String>, out: &mut Vec<u8>) {
    let bytes = term.bytes();
    match term.kind() {
        TermKind::Atom if names.len() < 200 => {
            out.extend([82, u8::try_from(names.len()).unwrap()]);
            names.push(term.as_atom(&NoAtoms).unwrap().text().unwrap().into_owned());
        }
        TermKind::Tuple => {
            out.extend(&bytes[..if bytes[0] == 104 { 2 } else { 5 }]);
            term.as_tuple().unwrap().for_each(|element| refer(element, names, out));
        }
        TermKind::List if bytes[0] == 108 => {
            let list = term.as_list().unwrap();
            out.extend(&bytes[..5]);
            list.elements.for_each(|element| refer(element, names, out));
            refer(list.tail().unwrap(), names, out);
        }
        TermKind::Pid => {
            let pid = term.as_pid().unwrap();
            out.push(88);
            refer(pid.node, names, out);
            for number in [pid.id, pid.serial, pid.creation] {
                out.extend(number.to_be_bytes());
            }
        }
        _ => out.extend(bytes),
    }
}

#[test]
fn what_a_node_takes_for_a_term_is_one_here() {
    let Some(made) = erlang(&["make", "77", "1500"], String::new()) else { return };
    let mut random = Random(0x7465_726d);
    let mut cases: Vec<Vec<u8>> =
        made.lines().map(bytes).filter(|it| it.len() < 400 && !is_of_this_node(it)).collect();
    for bytes in &mut cases {
        random.damage(bytes);
    }
    for _ in 0..30_000 {
        let mut bytes = vec![131];
        random.term(&mut bytes, 3);
        if random.below(3) == 0 {
            random.damage(&mut bytes);
        }
        cases.push(bytes);
    }
    for _ in 0..1000 {
        let mut bytes = Vec::new();
        random.term(&mut bytes, 3);
        cases.push(random.compressed(&bytes));
    }
    let lines = cases.iter().fold(String::new(), |lines, bytes| lines + &hex(bytes) + "\n");
    let reported = erlang(&["accept"], lines).unwrap();
    let (mut taken, mut excused) = (0, 0);
    let mut differences = Vec::new();
    for (bytes, verdict) in cases.iter().zip(reported.lines()) {
        let mut inflated = Vec::new();
        let ours = read(bytes, &mut inflated);
        taken += u32::from(verdict == "ok");
        match (&ours, verdict) {
            (Ok(_), "ok") | (Err(_), "badarg") => {}
            // As the documentation of `cut_term` has it.
            (Ok(term), "badarg") if has_what_a_node_refuses(*term) => excused += 1,
            (Err(("Size" | "Len" | "Arity" | "Pid", _)), "ok") => excused += 1,
            (Err((_, Some(b'I' | b'K'))), "ok") => excused += 1,
            _ => differences.push(format!("{}: {ours:?}, Erlang: {verdict}", hex(bytes))),
        }
    }
    println!("{} terms, {taken} taken by Erlang, {excused} excused", cases.len());
    assert_eq!(reported.lines().count(), cases.len());
    assert!(taken > 10_000 && excused < 1000, "{taken} taken, {excused} excused");
    let some = &differences[..differences.len().min(20)];
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), some.join("\n"));
}

#[test]
fn values_are_those_that_erltf_encoded() {
    let mut random = Random(0x0065_726c_7466);
    for _ in 0..5000 {
        let term = random.owned_term(4);
        let bytes = erltf::encode(&term).unwrap();
        let (External::Term(ours), []) = cut_external(&bytes).unwrap() else { panic!("{term:?}") };
        assert_eq!(owned(ours), term);
    }
}

/// A term as `erltf` has it, by its views.
fn owned(term: Term<'_>) -> OwnedTerm {
    let atom = |term: Term<'_>| Atom::new(term.as_atom(&NoAtoms).unwrap().text().unwrap());
    match term.kind() {
        TermKind::Atom => OwnedTerm::Atom(atom(term)),
        TermKind::Integer => match term.as_i64() {
            Some(value) => OwnedTerm::Integer(value),
            None => {
                OwnedTerm::BigInt(big_int(term.as_integer().unwrap().to_string().parse().unwrap()))
            }
        },
        TermKind::Float => OwnedTerm::Float(term.as_float().unwrap()),
        TermKind::Tuple => OwnedTerm::Tuple(term.as_tuple().unwrap().map(owned).collect()),
        TermKind::List => {
            let list = term.as_list().unwrap();
            let (elements, tail) = (list.elements.map(owned).collect(), list.tail().unwrap());
            match tail.bytes() {
                [106] => OwnedTerm::List(elements),
                _ => OwnedTerm::ImproperList { elements, tail: Box::new(owned(tail)) },
            }
        }
        TermKind::BitString => match (term.as_binary(), term.as_bits().unwrap()) {
            (Some(bytes), _) => OwnedTerm::Binary(bytes.to_vec()),
            (None, (bytes, bits)) => OwnedTerm::BitBinary { bytes: bytes.to_vec(), bits },
        },
        TermKind::Map => {
            let pairs = term.as_map().unwrap();
            OwnedTerm::Map(pairs.map(|(key, value)| (owned(key), owned(value))).collect())
        }
        TermKind::Pid => {
            let pid = term.as_pid().unwrap();
            OwnedTerm::Pid(ExternalPid::new(atom(pid.node), pid.id, pid.serial, pid.creation))
        }
        TermKind::Port => {
            let port = term.as_port().unwrap();
            OwnedTerm::Port(ExternalPort::new(atom(port.node), port.id, port.creation))
        }
        TermKind::Reference => {
            let reference = term.as_reference().unwrap();
            let (node, words) = (atom(reference.node), reference.words().to_vec());
            OwnedTerm::Reference(ExternalReference::new(node, reference.creation, words))
        }
        TermKind::Export => {
            let export = term.as_export().unwrap();
            let (module, function) = (atom(export.module), atom(export.function));
            OwnedTerm::ExternalFun(ExternalFun::new(module, function, export.arity))
        }
        TermKind::Fun | TermKind::Record | TermKind::Unknown => panic!("{term:?}"),
    }
}

fn big_int(value: i128) -> BigInt {
    let sign = if value < 0 { Sign::Negative } else { Sign::Positive };
    BigInt { sign, digits: value.unsigned_abs().to_le_bytes().to_vec() }
}

/// The term in `bytes`, or the field that is wrong and the first byte of it.
fn read<'a>(
    bytes: &'a [u8],
    inflated: &'a mut Vec<u8>,
) -> Result<Term<'a>, (&'static str, Option<u8>)> {
    let wrong = |bytes: &[u8], e: WireError| (e.field, bytes.get(e.offset).copied());
    match cut_external(bytes).map_err(|e| wrong(bytes, e))?.0 {
        External::Term(term) => Ok(term),
        External::Compressed(compressed) => {
            let error = compressed.inflate(1 << 20, inflated).err();
            match cut_term(inflated) {
                Ok((term, _)) if error.is_none() => Ok(term),
                Err(e) if inflated.len() == compressed.size as usize => Err(wrong(inflated, e)),
                _ => Err(("compressed", None)),
            }
        }
    }
}

/// Whether a term names the node that decodes it: of its own pids, that knows more than their form.
fn is_of_this_node(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == b"nonode")
}

/// Equal keys in a map, and references to atoms where there is no header.
fn has_what_a_node_refuses(term: Term<'_>) -> bool {
    let mut open = vec![term];
    while let Some(term) = open.pop() {
        match term.kind() {
            TermKind::Map => {
                let pairs = term.as_map().unwrap();
                let mut keys: Vec<_> =
                    pairs.map(|(key, _)| Erlang::new(key, &NoAtoms).to_string()).collect();
                let len = keys.len();
                keys.sort();
                keys.dedup();
                if keys.len() < len {
                    return true;
                }
                open.extend(pairs.flat_map(|(key, value)| [key, value]));
            }
            TermKind::Tuple => open.extend(term.as_tuple().unwrap()),
            TermKind::List => {
                if let Some(list) = term.as_list() {
                    open.extend(list.elements);
                    open.extend(list.tail().filter(|tail| tail.bytes() != [106]));
                }
            }
            TermKind::Fun => open.extend(term.as_fun().unwrap().free),
            TermKind::Atom if !term.as_atom(&NoAtoms).unwrap().is_known() => return true,
            _ => {}
        }
    }
    false
}

/// What a terminal would obey, or hide.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn byte(&mut self, below: usize) -> u8 {
        u8::try_from(self.below(below)).unwrap()
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.byte(256)).collect()
    }

    /// Changes, drops or adds a few bytes; the version byte stays.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(2) {
            if bytes.len() < 3 {
                return;
            }
            let at = 1 + self.below(bytes.len() - 1);
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.byte(256)),
                2 => bytes[at] = bytes[at].wrapping_add(1),
                _ => bytes[at] = self.byte(256),
            }
        }
    }

    /// A term as any release of any peer may write it, and now and then as none does.
    fn term(&mut self, out: &mut Vec<u8>, depth: usize) {
        match self.below(if depth == 0 { 21 } else { 29 }) {
            0 => out.extend([97, self.byte(256)]),
            1 => {
                out.push(98);
                out.extend(self.take(4));
            }
            2 => {
                out.push(70);
                out.extend(self.take(8));
            }
            3 => self.float_text(out),
            4..=6 => self.atom(out),
            7 => {
                let len = self.byte(4);
                out.extend([107, 0, len]);
                out.extend(self.take(len.into()));
            }
            8 => {
                let len = self.byte(4);
                out.extend([109, 0, 0, 0, len]);
                out.extend(self.take(len.into()));
            }
            9 => {
                let len = self.byte(4);
                out.extend([77, 0, 0, 0, len, self.byte(10)]);
                out.extend(self.take(len.into()));
            }
            10 => {
                let len = self.byte(12);
                out.extend([110, len, self.byte(3)]);
                out.extend(self.take(len.into()));
            }
            11 => {
                let len = self.byte(12);
                out.extend([111, 0, 0, 0, len, self.byte(3)]);
                out.extend(self.take(len.into()));
            }
            12..=13 => self.pid(out),
            14 => {
                out.push([89, 120][self.below(2)]);
                let id = if out.last() == Some(&89) { 4 } else { 8 };
                self.atom(out);
                let high = out.len();
                out.extend(self.take(id + 4));
                out[high] &= 0x0f;
            }
            15 => {
                // Old ports and references.
                out.push([101, 102][self.below(2)]);
                self.atom(out);
                let id = [0, self.byte(4), self.byte(256), self.byte(256), self.byte(4)];
                out.extend(id);
            }
            16 | 17 => {
                let is_new = self.below(2) == 0;
                let len = self.byte(7);
                out.extend([if is_new { 90 } else { 114 }, 0, len]);
                self.atom(out);
                if is_new {
                    out.extend(self.take(4));
                } else {
                    out.push(self.byte(4));
                }
                out.extend([0, 0, self.byte(256), self.byte(256)]);
                out.extend(self.take((4 * usize::from(len)).saturating_sub(4)));
            }
            18 => {
                out.push(113);
                self.atom(out);
                self.atom(out);
                match self.below(9) {
                    0 => self.term(out, 0),
                    _ => out.extend([97, self.byte(256)]),
                }
            }
            19 => out.push(106),
            // A tag of any kind, known or not, with too little behind it as a rule.
            20 => out.push(self.byte(256)),
            21..=22 => {
                let arity = self.byte(4);
                out.extend([104, arity]);
                self.terms(out, arity, depth);
            }
            23 => {
                let arity = self.byte(4);
                out.extend([105, 0, 0, 0, arity]);
                self.terms(out, arity, depth);
            }
            24..=25 => {
                let len = self.byte(4);
                out.extend([108, 0, 0, 0, len]);
                self.terms(out, len, depth);
                if self.below(3) > 0 { out.push(106) } else { self.term(out, depth - 1) }
            }
            26 => {
                let len = self.byte(3);
                out.extend([116, 0, 0, 0, len]);
                self.terms(out, 2 * len, depth);
            }
            _ => self.fun(out, depth),
        }
    }

    /// A compressed term, now and then with a wrong size, damaged, or with bytes too many.
    fn compressed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut plain = bytes.to_vec();
        if self.below(5) == 0 {
            plain.push(0);
        }
        let wrong = [0, 0, 0, 0, 0, 0, 1, usize::MAX][self.below(8)];
        let size = u32::try_from(plain.len().wrapping_add(wrong)).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&plain).unwrap();
        let mut out = [&[131, 80][..], &size.to_be_bytes(), &zlib.finish().unwrap()].concat();
        match self.below(8) {
            0 => out.extend(self.take(3)),
            1 => out.truncate(out.len() - self.below(6)),
            2 => self.damage(&mut out),
            _ => {}
        }
        out
    }

    fn terms(&mut self, out: &mut Vec<u8>, count: u8, depth: usize) {
        for _ in 0..count {
            self.term(out, depth - 1);
        }
    }

    fn atom(&mut self, out: &mut Vec<u8>) {
        let texts: [&[u8]; 7] =
            [b"", b"a", b"b@h", b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\xe9", b"\xed\xa0\x80"];
        let choice = if self.below(8) == 0 { 7 } else { 5 };
        let mut text = texts[self.below(choice)].to_vec();
        if self.below(100) == 0 {
            text = text.repeat(64 * self.below(5));
        }
        let len = u16::try_from(text.len()).unwrap().to_be_bytes();
        match self.below(4) {
            0 => out.extend([100, len[0], len[1]]),
            1 => out.extend([115, len[1]]),
            2 => out.extend([118, len[0], len[1]]),
            _ => out.extend([119, len[1]]),
        }
        out.extend(text);
        if self.below(400) == 0 {
            out.truncate(out.len() - 1);
        }
    }

    fn pid(&mut self, out: &mut Vec<u8>) {
        let is_new = self.below(2) == 0;
        out.push(if is_new { 88 } else { 103 });
        self.atom(out);
        out.extend([0, 0, self.byte(128), self.byte(256), 0, 0, self.byte(32), 0]);
        if is_new {
            out.extend(self.take(4));
        } else {
            out.push(self.byte(4));
        }
    }

    fn fun(&mut self, out: &mut Vec<u8>, depth: usize) {
        let start = out.len();
        let free = self.byte(3);
        out.extend([112, 0, 0, 0, 0, self.byte(256)]);
        out.extend(self.take(20));
        out.extend([0, 0, 0, free]);
        self.atom(out);
        out.extend([97, self.byte(256), 98]);
        out.extend([0, self.byte(256), self.byte(256), self.byte(256)]);
        self.pid(out);
        self.terms(out, free, depth);
        let size = u32::try_from(out.len() - start - 1).unwrap();
        out[start + 1..start + 5].copy_from_slice(&size.to_be_bytes());
    }

    fn owned_term(&mut self, depth: usize) -> OwnedTerm {
        let deeper = depth.saturating_sub(1);
        let atom = |random: &mut Self| Atom::new(["a", "", "B c", "é", "日本@h"][random.below(5)]);
        let word = |random: &mut Self| u32::try_from(random.below(1 << 31)).unwrap();
        let many = |random: &mut Self| -> Vec<_> {
            (0..random.below(4)).map(|_| random.owned_term(deeper)).collect()
        };
        match self.below(if depth == 0 { 10 } else { 15 }) {
            0 => OwnedTerm::Atom(atom(self)),
            1 => {
                let shift = self.below(64);
                let value = i64::from_le_bytes(self.take(8).try_into().unwrap());
                OwnedTerm::Integer(value >> shift)
            }
            2 => OwnedTerm::BigInt(big_int(
                i128::from_le_bytes(self.take(16).try_into().unwrap()) | 1 << 100,
            )),
            3 => {
                let float = f64::from_le_bytes(self.take(8).try_into().unwrap());
                OwnedTerm::Float(if float.is_finite() { float } else { 0.5 })
            }
            4 => {
                let len = self.below(300);
                OwnedTerm::Binary(self.take(len))
            }
            5 => {
                let len = 1 + self.below(4);
                OwnedTerm::BitBinary { bytes: self.take(len), bits: 1 + self.byte(7) }
            }
            6 => {
                let (node, id, serial) = (atom(self), word(self), word(self));
                OwnedTerm::Pid(ExternalPid::new(node, id, serial, word(self)))
            }
            7 => {
                let (node, id) = (atom(self), u64::from(word(self)) << self.below(32));
                OwnedTerm::Port(ExternalPort::new(node, id, word(self)))
            }
            8 => {
                let (node, creation) = (atom(self), word(self));
                let words = (0..=self.below(5)).map(|_| word(self)).collect();
                OwnedTerm::Reference(ExternalReference::new(node, creation, words))
            }
            9 => {
                let (module, function) = (atom(self), atom(self));
                OwnedTerm::ExternalFun(ExternalFun::new(module, function, self.byte(256)))
            }
            10 | 11 => OwnedTerm::Tuple(many(self)),
            12 => OwnedTerm::List(many(self)),
            13 => {
                let elements = vec![self.owned_term(deeper)];
                OwnedTerm::ImproperList { elements, tail: Box::new(OwnedTerm::Tuple(many(self))) }
            }
            _ => {
                let (keys, values) = (many(self), many(self));
                OwnedTerm::Map(keys.into_iter().zip(values).collect())
            }
        }
    }

    fn float_text(&mut self, out: &mut Vec<u8>) {
        let texts = [
            "1.50000000000000000000e+00",
            "-0.00000000000000000000e+00",
            "1.5",
            "+1.5e3",
            "1.5E-3",
            "1.e3",
            ".5",
            "1",
            "1e5",
            " 1.5",
            "1.5 ",
            "1.0e400",
            "1.0e-400",
            "inf",
            "nan",
            "0x1.8p1",
            "1.5e",
            "1.5e+",
            "",
        ];
        let mut text = texts[self.below(texts.len())].as_bytes().to_vec();
        text.resize(31, 0);
        out.push(99);
        out.extend(text);
    }
}
