//! What the tests of terms share: terms, and looking at all that there is of one.

use super::*;
use crate::render::JsonTerm;

/// `{'$gen_call', {Pid, [alias | Ref]}, {get, <<"key">>}}`, as `gen_server:call/2` sends it.
#[rustfmt::skip]
pub(crate) const GEN_CALL: &[u8] = &[
    104, 3,                                     // SMALL_TUPLE_EXT
    82, 0,                                      // ATOM_CACHE_REF
    104, 2,                                     // SMALL_TUPLE_EXT
    88, 82, 1,                                  // NEW_PID_EXT, Node
    0, 0, 0, 93, 0, 0, 0, 7,                    // ID, Serial
    0x65, 0x4b, 0x1a, 0x02,                     // Creation
    108, 0, 0, 0, 1,                            // LIST_EXT
    82, 2,                                      // ATOM_CACHE_REF
    90, 0, 3, 82, 1, 0x65, 0x4b, 0x1a, 0x02,    // NEWER_REFERENCE_EXT, Len, Node, Creation
    0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7,         // ID
    104, 2,                                     // SMALL_TUPLE_EXT
    119, 3, b'g', b'e', b't',                   // SMALL_ATOM_UTF8_EXT
    109, 0, 0, 0, 3, b'k', b'e', b'y',          // BINARY_EXT
];

pub(crate) const ATOMS: [&str; 3] = ["$gen_call", "a@host", "alias"];

/// Tuples of one element, one in the other, and a small integer in the innermost.
pub(crate) fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = [SMALL_TUPLE_EXT, 1].repeat(depth);
    bytes.extend([SMALL_INTEGER_EXT, 7]);
    bytes
}

/// Every view of a term, and of what those give, down to `depth`.
pub(super) fn look_at_everything(term: Term<'_>, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    let atoms = &ATOMS[..];
    let _ = (term.as_atom(atoms), term.as_i64(), term.as_u64(), term.as_float());
    let _ = (term.as_binary(), term.as_bits(), term.as_string(), term.as_export());
    let _ = term.as_port().map(|port| port.node_name(atoms));
    let _ = term.as_reference().map(|reference| reference.key(atoms));
    let look = |term| look_at_everything(term, depth);
    if let Some(pid) = term.as_pid() {
        look(pid.node);
    }
    if let Some(mut elements) = term.as_tuple() {
        elements.by_ref().for_each(look);
        elements.cut_off().into_iter().for_each(look);
    }
    if let Some(list) = term.as_list() {
        list.elements.for_each(look);
        list.tail().into_iter().for_each(look);
    }
    for (key, value) in term.as_map().into_iter().flatten() {
        look(key);
        look(value);
    }
    if let Some(fun) = term.as_fun() {
        fun.free.for_each(look);
    }
    if let Some(record) = term.as_record() {
        record.fields.chain(record.values).for_each(look);
    }
}

/// What is written keeps to its budget, and JSON is JSON.
pub(in crate::wire) fn write_everything(bytes: &[u8]) {
    let _ = cut_external(bytes).map(|(external, _)| match external {
        External::Compressed(compressed) => {
            let mut into = Vec::new();
            let _ = compressed.inflate(1000, &mut into);
            assert!(into.len() <= 1000);
        }
        External::Term(term) => assert!(term.bytes().len() < bytes.len()),
    });
    let whole = cut_term(bytes).is_ok();
    let term = Term::cut_off(bytes);
    look_at_everything(term, 4);
    for budget in [PrintLimits::ALL, PrintLimits { bytes: 40, terms: 10, depth: 3 }] {
        let mut text = String::new();
        let is_all = Erlang::within(term, &NoAtoms, budget).write_to(&mut text).unwrap();
        assert!(!is_all || whole, "{text}");
        // One number more, and what closes what is open.
        let more = 310 + 4 * usize::from(budget.depth);
        assert!(budget.bytes == usize::MAX || text.len() <= budget.bytes + more, "{text}");
        let json = serde_json::to_string(&JsonTerm::within(term, &NoAtoms, budget)).unwrap();
        let depth = json.bytes().filter(|c| matches!(c, b'[' | b'{')).count();
        assert!(depth > 100 || serde_json::from_str::<serde_json::Value>(&json).is_ok());
    }
}
