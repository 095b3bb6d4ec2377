//! What tests share that ask a real Erlang about terms and frames: running the scripts here, and terms as
//! `terms.escript` takes them.

use std::env;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use beamscope::wire::term::{Atoms, Term, TermKind};

/// Runs `terms.escript`.
pub(crate) fn erlang(arguments: &[&str], input: String) -> Option<String> {
    script("terms.escript", arguments, input)
}

/// Runs a script, whose header describes its arguments; `None`, and a `skipped` line, where there is
/// no Erlang.
pub(crate) fn script(name: &str, arguments: &[&str], input: String) -> Option<String> {
    let child = Command::new("escript")
        .arg(format!("{}/tests/support/{name}", env!("CARGO_MANIFEST_DIR")))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            println!("skipped: erlang terms: escript: {e}");
            assert!(env::var("BEAMSCOPE_REQUIRE_ALL").as_deref() != Ok("1"), "escript: {e}");
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    let output = String::from_utf8_lossy(&output).into_owned();
    feeder.join().unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}: {output}");
    Some(output)
}

/// Bytes as the script takes them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The bytes of `term` with atoms in place of references to them, as they are encoded outside of a
/// distribution frame; `None` where one is not known.
pub(crate) fn expanded(term: Term<'_>, atoms: &(impl Atoms + ?Sized)) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    expand(term, atoms, &mut out).then_some(out)
}

fn expand(term: Term<'_>, atoms: &(impl Atoms + ?Sized), out: &mut Vec<u8>) -> bool {
    let bytes = term.bytes();
    let node = match term.kind() {
        TermKind::Atom => {
            let Some(text) = term.as_atom(atoms).unwrap().text() else { return false };
            out.push(118);
            out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            out.extend(text.as_bytes());
            return true;
        }
        TermKind::Pid => term.as_pid().unwrap().node,
        TermKind::Port => term.as_port().unwrap().node,
        TermKind::Reference => term.as_reference().unwrap().node,
        TermKind::Export => {
            let export = term.as_export().unwrap();
            out.push(113);
            let known = expand(export.module, atoms, out) && expand(export.function, atoms, out);
            out.extend([97, export.arity]);
            return known;
        }
        TermKind::Tuple => {
            let elements = term.as_tuple().unwrap();
            let head = if bytes[0] == 104 { 2 } else { 5 };
            out.extend(&bytes[..head]);
            return elements.into_iter().all(|element| expand(element, atoms, out));
        }
        TermKind::List if bytes[0] == 108 => {
            let list = term.as_list().unwrap();
            out.extend(&bytes[..5]);
            return list.elements.into_iter().all(|element| expand(element, atoms, out))
                && expand(list.tail().unwrap(), atoms, out);
        }
        TermKind::Map => {
            out.extend(&bytes[..5]);
            let mut pairs = term.as_map().unwrap();
            return pairs.all(|(key, value)| expand(key, atoms, out) && expand(value, atoms, out));
        }
        TermKind::Fun if bytes[0] == 112 => {
            let (start, fun) = (out.len(), term.as_fun().unwrap());
            out.extend(&bytes[..30]);
            let mut known = expand(fun.module, atoms, out);
            for number in [fun.index, fun.uniq] {
                out.push(98);
                out.extend(number.to_be_bytes());
            }
            out.push(88);
            known &= expand(fun.pid.node, atoms, out);
            for number in [fun.pid.id, fun.pid.serial, fun.pid.creation] {
                out.extend(number.to_be_bytes());
            }
            known &= fun.free.into_iter().all(|value| expand(value, atoms, out));
            let size = u32::try_from(out.len() - start - 1).unwrap();
            out[start + 1..start + 5].copy_from_slice(&size.to_be_bytes());
            return known;
        }
        // No release that takes a record or an old closure sends references in it.
        TermKind::BitString | TermKind::Float | TermKind::Integer | TermKind::List => {
            out.extend(bytes);
            return true;
        }
        TermKind::Fun | TermKind::Record | TermKind::Unknown => return false,
    };
    let before = node.bytes().as_ptr().addr() - bytes.as_ptr().addr();
    out.extend(&bytes[..before]);
    let known = expand(node, atoms, out);
    out.extend(&bytes[before + node.bytes().len()..]);
    known
}
