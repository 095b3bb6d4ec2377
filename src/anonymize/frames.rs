//! Frames of an established connection: their structure stays, and what they carry is replaced or made zero.
//!
//! In: the body of a frame, or its front. Out: as many bytes. Terms keep their tags and lengths. Atoms are replaced like
//! names, but for those of OTP that the analysis knows. Of the control term, integers and identifiers stay; of the
//! message, all data is zero.

use super::edit::{byte, keep, number2, number4, part, put};
use super::pseudonyms::Pseudonyms;
use crate::wire::header::FrameKind;

/// Replaces the front of a frame without its length.
pub(super) fn frame(body: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = vec![0; body.len()];
    match FrameKind::of(body) {
        FrameKind::Tick => {}
        FrameKind::PassThrough => {
            keep(&mut out, body, 0, 2);
            terms(body, 2, &mut out, names);
        }
        FrameKind::Normal => {
            keep(&mut out, body, 0, 2);
            if let Some(at) = atom_cache(body, 2, &mut out, names) {
                terms(body, at, &mut out, names);
            }
        }
        FrameKind::FirstFragment => {
            keep(&mut out, body, 0, 18);
            if let Some(at) = atom_cache(body, 18, &mut out, names) {
                terms(body, at, &mut out, names);
            }
        }
        FrameKind::Continuation => keep(&mut out, body, 0, 18),
        // What makes it unreadable for a node stays.
        FrameKind::Unknown => keep(&mut out, body, 0, 2),
    }
    out
}

/// Replaces the atoms of a distribution header at `at`; gives the position behind it.
fn atom_cache(body: &[u8], at: usize, out: &mut [u8], names: &mut Pseudonyms) -> Option<usize> {
    let count = byte(body, at)?;
    keep(out, body, at, 1);
    if count == 0 {
        return Some(at + 1);
    }
    let flags_at = at + 1;
    let flags_len = usize::from(count / 2) + 1;
    keep(out, body, flags_at, flags_len);
    let nibble = |index: u8| {
        let byte = byte(body, flags_at + usize::from(index / 2))?;
        Some(if index.is_multiple_of(2) { byte & 0x0f } else { byte >> 4 })
    };
    let has_long_atoms = nibble(count)? & 1 != 0;
    let mut at = flags_at + flags_len;
    for index in 0..count {
        keep(out, body, at, 1);
        at += 1;
        if nibble(index)? & 8 == 0 {
            continue;
        }
        let (len, width) = match has_long_atoms {
            true => (usize::from(number2(body, at)?), 2),
            false => (usize::from(byte(body, at)?), 1),
        };
        keep(out, body, at, width);
        at = atom(body, at + width, len, out, names)?;
    }
    Some(at)
}

/// Replaces the text of an atom; gives the position behind it.
fn atom(
    body: &[u8],
    at: usize,
    len: usize,
    out: &mut [u8],
    names: &mut Pseudonyms,
) -> Option<usize> {
    let text = part(body, at, len)?;
    let is_known = std::str::from_utf8(text)
        .is_ok_and(|text| KNOWN_ATOMS.binary_search(&text).is_ok() || GEN_ATOMS.contains(&text));
    if is_known {
        put(out, at, text);
    } else {
        put(out, at, &names.name(text));
    }
    Some(at + len)
}

/// Replaces the terms at `at`, up to the end or to the first byte that begins none: the control term, then the
/// message. `None` only ends it.
fn terms(body: &[u8], at: usize, out: &mut [u8], names: &mut Pseudonyms) -> Option<()> {
    let mut walk = TermWalk { body, out, at, pending: 1, is_control: true };
    while walk.at < body.len() {
        if walk.pending == 0 {
            walk.is_control = false;
            walk.pending = 1;
            if byte(body, walk.at)? == VERSION {
                walk.fixed(1);
                continue;
            }
        }
        walk.pending -= 1;
        walk.term(names)?;
    }
    Some(())
}

/// A walk over terms in the order of their bytes; nothing recurses.
struct TermWalk<'a, 'o> {
    body: &'a [u8],
    out: &'o mut [u8],
    at: usize,
    /// Terms that are still to come of the one at the top.
    pending: u64,
    is_control: bool,
}

impl TermWalk<'_, '_> {
    /// Keeps `len` bytes as they are.
    fn fixed(&mut self, len: usize) {
        keep(self.out, self.body, self.at, len);
        self.at += len;
    }

    /// Keeps `len` bytes of the control term and leaves those of the message zero.
    fn data(&mut self, len: usize) {
        if self.is_control {
            keep(self.out, self.body, self.at, len);
        }
        self.at += len;
    }

    /// Leaves `len` bytes zero.
    const fn zero(&mut self, len: usize) {
        self.at = self.at.saturating_add(len);
    }

    fn length(&self, width: usize) -> Option<usize> {
        match width {
            1 => byte(self.body, self.at).map(usize::from),
            2 => number2(self.body, self.at).map(usize::from),
            _ => usize::try_from(number4(self.body, self.at)?).ok(),
        }
    }

    /// An atom with its tag, which identifiers begin with.
    fn node(&mut self, names: &mut Pseudonyms) -> Option<()> {
        let tag = byte(self.body, self.at)?;
        self.fixed(1);
        let width = match tag {
            ATOM_CACHE_REF => {
                self.fixed(1);
                return Some(());
            }
            ATOM_EXT | ATOM_UTF8_EXT => 2,
            SMALL_ATOM_EXT | SMALL_ATOM_UTF8_EXT => 1,
            _ => return None,
        };
        let len = self.length(width)?;
        self.fixed(width);
        self.at = atom(self.body, self.at, len, self.out, names)?;
        Some(())
    }

    fn term(&mut self, names: &mut Pseudonyms) -> Option<()> {
        let tag = byte(self.body, self.at)?;
        match tag {
            ATOM_CACHE_REF | ATOM_EXT | ATOM_UTF8_EXT | SMALL_ATOM_EXT | SMALL_ATOM_UTF8_EXT => {
                return self.node(names);
            }
            COMPRESSED => return self.compressed(),
            _ => self.fixed(1),
        }
        match tag {
            SMALL_INTEGER_EXT => self.data(1),
            INTEGER_EXT => self.data(4),
            NEW_FLOAT_EXT => self.zero(8),
            FLOAT_EXT => {
                put(self.out, self.at, b"0.00000000000000000000e+00\0\0\0\0\0");
                self.zero(31);
            }
            NIL_EXT => {}
            SMALL_TUPLE_EXT => {
                self.pending += self.length(1)? as u64;
                self.fixed(1);
            }
            LARGE_TUPLE_EXT => {
                self.pending += self.length(4)? as u64;
                self.fixed(4);
            }
            MAP_EXT => {
                self.pending += 2 * self.length(4)? as u64;
                self.fixed(4);
            }
            LIST_EXT => {
                self.pending += self.length(4)? as u64 + 1;
                self.fixed(4);
            }
            STRING_EXT => {
                let len = self.length(2)?;
                self.fixed(2);
                self.zero(len);
            }
            BINARY_EXT => {
                let len = self.length(4)?;
                self.fixed(4);
                self.zero(len);
            }
            BIT_BINARY_EXT => {
                let len = self.length(4)?;
                self.fixed(5);
                self.zero(len);
            }
            SMALL_BIG_EXT => {
                let len = self.length(1)?;
                self.fixed(2);
                self.big(len);
            }
            LARGE_BIG_EXT => {
                let len = self.length(4)?;
                self.fixed(5);
                self.big(len);
            }
            PID_EXT => {
                self.node(names)?;
                self.fixed(9);
            }
            NEW_PID_EXT => {
                self.node(names)?;
                self.fixed(12);
            }
            PORT_EXT => {
                self.node(names)?;
                self.fixed(5);
            }
            NEW_PORT_EXT => {
                self.node(names)?;
                self.fixed(8);
            }
            V4_PORT_EXT => {
                self.node(names)?;
                self.fixed(12);
            }
            REFERENCE_EXT => {
                self.node(names)?;
                self.fixed(5);
            }
            NEW_REFERENCE_EXT | NEWER_REFERENCE_EXT => {
                let words = self.length(2)?;
                self.fixed(2);
                self.node(names)?;
                let creation = if tag == NEWER_REFERENCE_EXT { 4 } else { 1 };
                self.fixed(creation + 4 * words.min(16));
            }
            EXPORT_EXT => self.pending += 3,
            NEW_FUN_EXT => {
                self.fixed(5); // size, arity
                self.zero(16); // of the module, by which it is known
                self.fixed(4);
                self.pending += 4 + self.length(4)? as u64;
                self.fixed(4);
            }
            FUN_EXT => {
                self.pending += 4 + self.length(4)? as u64;
                self.fixed(4);
            }
            NATIVE_RECORD_EXT => {
                // Number of fields, flags; module, name; then a key and a value for each field.
                let fields = self.length(4)? as u64;
                self.fixed(5);
                self.pending += 2 + 2 * fields;
            }
            // The rest stays zero.
            _ => return None,
        }
        Some(())
    }

    /// The digits of an integer: those of the control term stay. A zero in front would be another form of it.
    fn big(&mut self, len: usize) {
        if !self.is_control && len > 0 {
            put(self.out, self.at + len - 1, &[1]);
            self.zero(len);
        } else {
            self.data(len);
        }
    }

    /// A compressed term becomes a binary of as many bytes: only the end of the frame shows where it ends.
    fn compressed(&mut self) -> Option<()> {
        let len = self.body.len().checked_sub(self.at + 5)?;
        put(self.out, self.at, &[BINARY_EXT]);
        put(self.out, self.at + 1, &u32::try_from(len).ok()?.to_be_bytes());
        self.at = self.body.len();
        Some(())
    }
}

const VERSION: u8 = 131;

// Tags of the external term format (*External Term Format* of the ERTS user's guide).
const NATIVE_RECORD_EXT: u8 = 67;
const NEW_FLOAT_EXT: u8 = 70;
const BIT_BINARY_EXT: u8 = 77;
const COMPRESSED: u8 = 80;
const ATOM_CACHE_REF: u8 = 82;
const NEW_PID_EXT: u8 = 88;
const NEW_PORT_EXT: u8 = 89;
const NEWER_REFERENCE_EXT: u8 = 90;
const SMALL_INTEGER_EXT: u8 = 97;
const INTEGER_EXT: u8 = 98;
const FLOAT_EXT: u8 = 99;
const ATOM_EXT: u8 = 100;
const REFERENCE_EXT: u8 = 101;
const PORT_EXT: u8 = 102;
const PID_EXT: u8 = 103;
const SMALL_TUPLE_EXT: u8 = 104;
const LARGE_TUPLE_EXT: u8 = 105;
const NIL_EXT: u8 = 106;
const STRING_EXT: u8 = 107;
const LIST_EXT: u8 = 108;
const BINARY_EXT: u8 = 109;
const SMALL_BIG_EXT: u8 = 110;
const LARGE_BIG_EXT: u8 = 111;
const NEW_FUN_EXT: u8 = 112;
const EXPORT_EXT: u8 = 113;
const NEW_REFERENCE_EXT: u8 = 114;
const SMALL_ATOM_EXT: u8 = 115;
const MAP_EXT: u8 = 116;
const FUN_EXT: u8 = 117;
const ATOM_UTF8_EXT: u8 = 118;
const SMALL_ATOM_UTF8_EXT: u8 = 119;
const V4_PORT_EXT: u8 = 120;

/// The tags of messages to generic servers, statem and event managers (stdlib: `gen.erl`, `gen_server.erl`,
/// `gen_event.erl`).
const GEN_ATOMS: [&str; 8] = [
    "$gen_all_state_event",
    "$gen_call",
    "$gen_cast",
    "$gen_event",
    "$gen_notify",
    "$gen_rsync_notify",
    "$gen_sync_all_state_event",
    "$gen_sync_event",
];

/// Atoms of OTP and Elixir that stay, in order: those by which the analysis knows what a message does.
#[rustfmt::skip] // a table reads best as a table
const KNOWN_ATOMS: [&str; 126] = [
    "DOWN", "EXIT", "Elixir", "Elixir.Code", "Elixir.Kernel", "Elixir.Port", "Elixir.System",
    "alias", "application_controller", "application_master", "apply", "async", "auth", "badarg",
    "badmatch", "badrpc", "block_call", "c", "call", "cast", "cmd", "code", "compile_file",
    "compile_quoted", "compile_string", "del_lock", "demonitor", "erl_ddll", "erl_eval", "erlang",
    "erpc", "error", "eval", "eval_file", "eval_quoted", "eval_quoted_with_env", "eval_string",
    "eval_string_with_env", "exchange_ops", "execute_call", "execute_cast", "expr", "exprs",
    "false", "features", "features_request", "file", "function_clause", "gen_server", "get",
    "get_modules", "global", "global_name_server", "group_leader", "in_sync", "init_connect",
    "init_connect_ack", "init_global", "init_p", "io_reply", "io_request", "is_auth", "kernel",
    "kill", "killed", "l", "link", "lists", "load", "load_abs", "load_binary", "load_driver",
    "load_file", "load_module", "load_nif", "lock", "lost_connection", "module_info", "monitor",
    "net_adm", "net_kernel", "nil", "nl", "no", "no_link", "no_sync", "noconnection", "node",
    "nodes", "noproc", "normal", "ok", "open", "open_port", "os", "path_eval", "path_script", "pg",
    "ping", "proc_lib", "put_chars", "register_ext", "remove_connection", "reply", "require_file",
    "resolver", "rex", "rpc", "script", "set_lock", "shell", "shutdown", "spawn", "spawn_link",
    "spawn_monitor", "spawn_reply", "spawn_request", "stdlib", "stop", "sync", "timeout", "true",
    "undef", "undefined", "unicode", "yes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_atoms_are_in_order() {
        assert!(KNOWN_ATOMS.is_sorted());
    }

    #[test]
    fn terms_keep_their_structure_and_lose_their_data() {
        let mut names = Pseudonyms::new([]);
        let atom =
            |text: &str| [&[119, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        // {6, Pid, '', rex} and {secret, "abcd", <<"abc">>, os, 7}.
        let pid = [&[88][..], &atom("one@h1"), &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3]].concat();
        let control = [&[104, 4, 97, 6][..], &pid, &atom(""), &atom("rex")].concat();
        let message = [
            &[104, 5][..],
            &atom("secret"),
            &[107, 0, 4],
            b"abcd",
            &[109, 0, 0, 0, 3],
            b"abc",
            &atom("os"),
            &[97, 7],
        ]
        .concat();
        let body = [&[131, 68, 0][..], &control, &message].concat();
        let new = frame(&body, &mut names);
        assert_eq!(new.len(), body.len());
        let text = String::from_utf8_lossy(&new);
        for kept in ["rex", "os"] {
            assert!(text.contains(kept), "{text}");
        }
        for gone in ["secret", "abcd", "one@h1"] {
            assert!(!text.contains(gone), "{text}");
        }
        assert_eq!(new[..7], body[..7]);
        assert!(new.ends_with(&[119, 2, b'o', b's', 97, 0]), "{new:?}");
        // Whatever is cut or flipped, the length stays.
        for at in 0..body.len() {
            for value in [0, 80, 104, 108, 119, 131, 255] {
                let mut other = body.clone();
                other[at] = value;
                assert_eq!(frame(&other[..at], &mut names).len(), at);
                assert_eq!(frame(&other, &mut names).len(), body.len());
            }
        }
    }

    #[test]
    fn new_atoms_of_a_header_are_replaced() {
        let mut names = Pseudonyms::new([]);
        let header = [&[131, 68, 1, 8, 5, 6][..], b"secret", &[104, 2, 97, 1, 82, 0]].concat();
        let new = frame(&header, &mut names);
        assert_eq!(new[..6], header[..6]);
        assert_ne!(new[6..12], header[6..12]);
        assert_eq!(new[12..], header[12..]);
    }
}
