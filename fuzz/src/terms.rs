//! Terms: whatever the bytes, reading and printing end, and what both read is what `erltf` reads.

use beamscope::wire::control::control_message;
use beamscope::wire::term::{
    Elements, Erlang, External, NoAtoms, PrintLimits, Term, TermKind, TermReader, cut_external,
    cut_term, skip_term,
};

/// Cuts, skips, views and prints terms and control messages.
pub fn terms(data: &[u8]) {
    let cut = cut_term(data);
    let skipped = skip_term(data);
    if let (Ok((_, rest)), Some(skipped)) = (&cut, skipped) {
        assert_eq!(*rest, skipped, "cutting and skipping end at one place");
    }
    if let Ok((term, rest)) = cut {
        assert_eq!(term.bytes().len() + rest.len(), data.len());
        view(term, 0, &mut 10_000);
        print(term);
        let mut reader = TermReader::new(term);
        while reader.left() > 0 && reader.read().is_ok() {}
    }
    print(Term::cut_off(data));
    if let Ok((message, _)) = control_message(data) {
        message.fields().for_each(|(_, term)| print(term));
    }
    if let Ok((External::Compressed(compressed), _)) = cut_external(data) {
        let mut inflated = Vec::new();
        let _ = compressed.inflate(1 << 16, &mut inflated);
        assert!(inflated.len() <= 1 << 16);
        print(Term::cut_off(&inflated));
    }
}

fn print(term: Term<'_>) {
    let limits = PrintLimits { bytes: 4096, terms: 512, depth: 64 };
    let mut text = String::new();
    let _ = Erlang::within(term, &NoAtoms, limits).write_to(&mut text);
    // An escape of one byte has at most twelve, and brackets are closed behind the limit.
    assert!(text.len() < 16_384, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn view(term: Term<'_>, depth: u32, left: &mut u32) {
    if *left == 0 || depth > 64 {
        return;
    }
    *left -= 1;
    let (atoms, _) = (&NoAtoms, term.kind());
    let _ =
        (term.as_atom(atoms).map(|atom| atom.text().map(|text| text.len())), term.spelling(atoms));
    let _ = (term.as_i64(), term.as_u64(), term.as_float(), term.as_binary(), term.as_bits());
    let _ = (term.as_string(), term.as_pid(), term.as_port(), term.as_numbered(), term.as_export());
    let _ = (term.as_reference().map(|it| it.words().len()), term.has_record());
    if let Some(integer) = term.as_integer() {
        let _ = integer.bytes_up_to(16);
    }
    let mut all = |elements: Elements<'_>| elements.for_each(|term| view(term, depth + 1, left));
    let parts = [
        term.as_tuple(),
        term.as_list().map(|list| list.elements),
        term.as_fun().map(|fun| fun.free),
    ];
    parts.into_iter().flatten().for_each(&mut all);
    if let Some(pairs) = term.as_map() {
        pairs.for_each(|(key, value)| {
            view(key, depth + 1, left);
            view(value, depth + 1, left);
        });
    }
}

/// Gives to `erltf` what is read here within a depth of 64. It may refuse more; where it reads a term, both have the same
/// kind and value.
pub fn erltf(data: &[u8]) {
    let Ok((External::Term(term), [])) = cut_external(data) else { return };
    if !is_within(term, 64) {
        return;
    }
    let Ok(theirs) = erltf::decode(data) else { return };
    use erltf::OwnedTerm;
    match theirs {
        OwnedTerm::Integer(value) => assert_eq!(term.as_i64(), Some(value)),
        OwnedTerm::Float(value) => {
            assert_eq!(term.as_float().map(f64::to_bits), Some(value.to_bits()));
        }
        OwnedTerm::Binary(bytes) => assert_eq!(term.as_binary(), Some(&bytes[..])),
        OwnedTerm::Tuple(elements) => {
            assert_eq!(term.as_tuple().map(|it| it.len() as usize), Some(elements.len()));
        }
        OwnedTerm::Atom(_) => assert_eq!(term.kind(), TermKind::Atom),
        OwnedTerm::Pid(pid) => {
            let ours = term.as_pid().map(|pid| (pid.id, pid.serial, pid.creation));
            assert_eq!(ours, Some((pid.id, pid.serial, pid.creation)));
        }
        _ => {}
    }
}

/// Whether no term is nested deeper. No recursion: the depth is that of somebody else.
fn is_within(term: Term<'_>, most: u32) -> bool {
    let mut open = vec![(term, 0)];
    while let Some((term, depth)) = open.pop() {
        if depth > most || open.len() > 100_000 {
            return false;
        }
        let mut add = |term| open.push((term, depth + 1));
        match term.kind() {
            TermKind::Tuple => term.as_tuple().into_iter().flatten().for_each(add),
            TermKind::List => {
                if let Some(list) = term.as_list() {
                    list.tail().into_iter().chain(list.elements).for_each(add);
                }
            }
            TermKind::Map => {
                for (key, value) in term.as_map().into_iter().flatten() {
                    add(key);
                    add(value);
                }
            }
            TermKind::Fun => {
                if let Some(fun) = term.as_fun() {
                    fun.free.for_each(add);
                }
            }
            TermKind::Record | TermKind::Unknown => return false,
            _ => {}
        }
    }
    true
}
