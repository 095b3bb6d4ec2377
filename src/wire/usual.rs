//! The messages that most connections consist of, read in one pass.
//!
//! In: the terms of a frame. Out: what is counted of the message: its operation, the registered name that it is for, and
//! the reference of the call that it makes, answers or gives up. `None` for a message that has more to it, and for one
//! that is written in another way: [`control`](super::control) and [`otp`](super::otp) read all messages, and give the
//! same for these.

use super::control::Operation;
use super::header::{FrameKind, unversioned};
use super::term::tag::*;
use super::term::{AtomRole, Atoms, common_reference, skip_common, skip_common_atom};

/// A message whose parts are written as OTP 23 and later write them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsualMessage<'a> {
    /// The operation of its control message.
    pub operation: Operation,
    /// The registered name that it is for, in UTF-8. It is not that of `global`, which has messages that a rule looks at.
    pub name: Option<&'a [u8]>,
    /// The call that it is a part of.
    pub call: Option<UsualCall<'a>>,
}

/// The part that a message plays in a call, with creation and words of the call's reference as they were sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsualCall<'a> {
    /// `{'$gen_call', {Pid, Tag}, Request}`. The request is none to `rex`.
    Request(&'a [u8]),
    /// The answer `{Tag, Reply}`.
    Reply(&'a [u8]),
    /// The caller removes its monitor.
    Demonitor(&'a [u8]),
}

/// Reads the message of a frame from `terms`: its control term, and `parsed` bytes of the message term behind it. In a
/// frame without a header, each has a version byte in front of it.
#[inline]
pub fn usual_message<'a>(
    kind: FrameKind,
    terms: &'a [u8],
    parsed: usize,
    atoms: &'a impl Atoms,
) -> Option<UsualMessage<'a>> {
    let message = |bytes| {
        let message: &'a [u8] = unversioned(kind, bytes);
        message.get(..parsed).unwrap_or(message)
    };
    let [SMALL_TUPLE_EXT, arity, SMALL_INTEGER_EXT, code, i @ ..] = unversioned(kind, terms) else {
        return None;
    };
    let operation = Operation(*code);
    match (operation, arity) {
        (Operation::SEND | Operation::SEND_SENDER | Operation::ALIAS_SEND, 3) => {
            let call = call(message(skip_common(skip_common(i)?)?), atoms)?;
            Some(UsualMessage { operation, name: None, call })
        }
        (Operation::REG_SEND, 4) => {
            let name = skip_common(skip_common(i)?)?;
            let call = call(message(skip_common(name)?), atoms)?;
            let name = text(name, atoms)?;
            Some(UsualMessage { operation, name: Some(name), call })
        }
        (Operation::MONITOR_P, 4) => {
            let to = skip_common(i)?;
            skip_common(skip_common(to)?)?;
            let name = if is_pid(to) { None } else { Some(text(to, atoms)?) };
            Some(UsualMessage { operation, name, call: None })
        }
        (Operation::DEMONITOR_P, 4) => {
            let (id, _) = common_reference(skip_common(skip_common(i)?)?)?;
            Some(UsualMessage { operation, name: None, call: Some(UsualCall::Demonitor(id)) })
        }
        _ => None,
    }
}

/// The call that a message is a part of, or that it is a part of none. `None` where that takes more to know.
#[inline(always)] // called twice, and small beside what a call costs
fn call<'a>(message: &'a [u8], atoms: &impl Atoms) -> Option<Option<UsualCall<'a>>> {
    let [tag, i @ ..] = message else { return None };
    if *tag != SMALL_TUPLE_EXT {
        return (*tag != LARGE_TUPLE_EXT).then_some(None);
    }
    let (arity, first) = i.split_first()?;
    match (arity, *first.first()?) {
        (2, NEWER_REFERENCE_EXT | LIST_EXT) => Some(Some(UsualCall::Reply(alias(first)?.0))),
        (2..=4, ATOM_CACHE_REF | SMALL_ATOM_UTF8_EXT) => {
            let (role, i) = role(first, atoms)?;
            match (role, arity) {
                (AtomRole::GenCall, 3) => {
                    let [SMALL_TUPLE_EXT, 2, from @ ..] = i else { return None };
                    let (id, request) = alias(skip_common(from)?)?;
                    is_for_process(request, atoms)?.then_some(Some(UsualCall::Request(id)))
                }
                (AtomRole::GenCast, 2) => is_for_process(i, atoms)?.then_some(None),
                _ => Some(None),
            }
        }
        (2..=4, _) => None,
        _ => Some(None),
    }
}

/// Whether the request of a call or cast is none to `rex`, which runs a function: that is a tuple of five. `None` where
/// that takes more to know.
#[inline]
fn is_for_process(request: &[u8], atoms: &impl Atoms) -> Option<bool> {
    match request {
        [SMALL_TUPLE_EXT, 5, how @ ..] => {
            role(how, atoms).map(|(role, _)| !matches!(role, AtomRole::Rex | AtomRole::Unknown))
        }
        [LARGE_TUPLE_EXT, ..] | [SMALL_TUPLE_EXT] | [] => None,
        _ => Some(true),
    }
}

/// The reference of a call: `Reference`, or `[alias | Reference]` as calls have it from OTP 24. Gives its creation and
/// words, and the bytes behind it.
#[inline]
fn alias(i: &[u8]) -> Option<(&[u8], &[u8])> {
    match i {
        [LIST_EXT, 0, 0, 0, 1, alias @ ..] => common_reference(skip_common(alias)?),
        _ => common_reference(i),
    }
}

const fn is_pid(i: &[u8]) -> bool {
    matches!(i, [NEW_PID_EXT, ..])
}

/// What the atom at the front of `i` means, and the bytes behind it.
#[inline]
fn role<'a>(i: &'a [u8], atoms: &impl Atoms) -> Option<(AtomRole, &'a [u8])> {
    match i {
        [ATOM_CACHE_REF, reference, rest @ ..] => Some((atoms.role(*reference), rest)),
        [SMALL_ATOM_UTF8_EXT, ..] => {
            let rest = skip_common_atom(i)?;
            let text = i.get(2..i.len() - rest.len())?;
            Some((AtomRole::of(text), rest))
        }
        _ => None,
    }
}

/// The text of the atom at the front of `i`, which is whole. `None` where it is not known, or is the name of `global`.
#[inline]
fn text<'a>(i: &'a [u8], atoms: &'a impl Atoms) -> Option<&'a [u8]> {
    let text = match i {
        [ATOM_CACHE_REF, reference, ..] => atoms.atom(*reference)?.as_bytes(),
        [SMALL_ATOM_UTF8_EXT, len, text @ ..] => text.get(..usize::from(*len))?,
        _ => return None,
    };
    (AtomRole::of(text) != AtomRole::Global).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::usual_header;

    /// `REG_SEND` with a call, behind a header of four references.
    #[rustfmt::skip]
    const CALL: &[u8] = &[
        131, 68, 4, 0, 0, 0,            // version, normal header, four references, none new
        10, 11, 12, 13,                 // their slots
        104, 4, 97, 6,                  // tuple of 4, REG_SEND
        88, 82, 0,                      // NEW_PID_EXT, ATOM_CACHE_REF
        0, 0, 0, 93, 0, 0, 0, 0,        // ID, Serial
        0x65, 0x4b, 0x1a, 0x02,         // Creation
        119, 0,                         // the empty atom
        82, 1,                          // ToName
        104, 3, 82, 2,                  // tuple of 3, '$gen_call'
        104, 2,                         // From: tuple of 2
        88, 82, 0,                      // NEW_PID_EXT, ATOM_CACHE_REF
        0, 0, 0, 93, 0, 0, 0, 0,        // ID, Serial
        0x65, 0x4b, 0x1a, 0x02,         // Creation
        108, 0, 0, 0, 1, 82, 3,         // [alias |
        90, 0, 2, 82, 0,                // NEWER_REFERENCE_EXT of two words, ATOM_CACHE_REF
        0x65, 0x4b, 0x1a, 0x02,         // Creation
        0, 0, 0, 1, 0, 0, 0, 2,         // ID
        104, 2,                         // the request: tuple of 2
    ];

    const ATOMS: [&str; 4] = ["a@h", "kv", "$gen_call", "alias"];

    fn read<'a>(body: &'a [u8], atoms: &'a &'a [&'a str]) -> Option<UsualMessage<'a>> {
        let (_, terms) = usual_header(FrameKind::Normal, body)?;
        usual_message(FrameKind::Normal, terms, 512, atoms)
    }

    #[test]
    fn a_call_is_read_once_its_request_has_begun() {
        let id = &CALL[CALL.len() - 14..CALL.len() - 2];
        let expected = UsualMessage {
            operation: Operation::REG_SEND,
            name: Some(b"kv"),
            call: Some(UsualCall::Request(id)),
        };
        assert_eq!(read(CALL, &&ATOMS[..]), Some(expected));
        for cut in 0..CALL.len() {
            assert_eq!(read(&CALL[..cut], &&ATOMS[..]), None, "{cut}");
        }
    }

    #[test]
    fn what_a_rule_looks_at_is_left_to_the_full_reader() {
        let with = |index: usize, text| {
            let mut atoms = ATOMS;
            atoms[index] = text;
            read(CALL, &&atoms[..]).is_some()
        };
        assert!(with(1, "global") && !with(1, "global_name_server"));
        // A request of five elements, as one to `rex` is.
        for (how, is_usual) in [("call", false), ("block_call", false), ("put", true)] {
            let call = [
                &CALL[..CALL.len() - 1],
                &[5, 119, u8::try_from(how.len()).unwrap()],
                how.as_bytes(),
            ]
            .concat();
            assert_eq!(read(&call, &&ATOMS[..]).is_some(), is_usual, "{how}");
        }
    }
}
