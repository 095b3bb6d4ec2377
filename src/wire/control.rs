//! Control messages: the signals between two nodes after the handshake.
//!
//! In: the bytes of a control term, which follow a distribution header. Out: its operation and its fields by name.
//! The message term behind it is not read here.

use super::term::tag::{SMALL_INTEGER_EXT, SMALL_TUPLE_EXT};
use super::term::{Term, cut_term, skip_term};
use super::{WireError, WireErrorKind};

/// First element of a control term. Values this crate does not know stay representable.
///
/// Spec: *Distribution Protocol*, "Protocol between Connected Nodes".
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Operation(pub u8);

/// The meaning of one element of a control term.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Field {
    /// The process, or registered name, that the signal is from.
    From,
    /// The process, name or alias that it is for.
    To,
    /// The registered name that it is for.
    ToName,
    /// The reference of a monitor, or of a request to spawn.
    Reference,
    /// The reason why a process ended.
    Reason,
    /// Trace token: `{Flags, Label, Serial, From, LastCnt}`.
    Token,
    /// Number that an unlink has from its sender.
    Id,
    /// The group leader of a process that is to be spawned.
    GroupLeader,
    /// Module, function and arity to spawn.
    Mfa,
    /// Options of a request to spawn.
    Options,
    /// Bits that depend on the operation.
    Flags,
    /// The spawned process, or why there is none.
    Result,
    /// The empty atom, which carries nothing.
    Unused,
}

/// Defines the constants and the layout of each operation from one table.
macro_rules! operations {
    ($($(#[$doc:meta])+ $code:literal $name:ident ($($field:ident)*) $($payload:ident)?;)+) => {
        impl Operation {
            $($(#[$doc])+ pub const $name: Self = Self($code);)+

            /// The specification's name, for an operation that is assigned.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)+
                    _ => None,
                }
            }

            /// Its elements behind the operation, in order.
            pub const fn fields(self) -> Option<&'static [Field]> {
                match self.0 {
                    $($code => Some(&[$(Field::$field),*]),)+
                    _ => None,
                }
            }

            /// Whether a term follows the control term.
            pub const fn has_payload(self) -> bool {
                match self.0 {
                    $($code => operations!(@ $($payload)?),)+
                    _ => false,
                }
            }
        }
    };
    (@) => { false };
    (@ payload) => { true };
}

operations! {
    /// Links two processes with each other.
    1 LINK (From To);
    /// A message to a process; before OTP 21.
    2 SEND (Unused To) payload;
    /// A linked process ended; before OTP 22.
    3 EXIT (From To Reason);
    /// Removes a link; gone in OTP 26.
    4 UNLINK (From To);
    /// A message to a registered name.
    6 REG_SEND (From Unused ToName) payload;
    /// Gives a process another group leader.
    7 GROUP_LEADER (From To);
    /// The signal of `exit/2`; before OTP 22.
    8 EXIT2 (From To Reason);
    /// A traced [`Self::SEND`] with a token.
    12 SEND_TT (Unused To Token) payload;
    /// A traced [`Self::EXIT`] with a token.
    13 EXIT_TT (From To Token Reason);
    /// A traced [`Self::REG_SEND`] with a token.
    16 REG_SEND_TT (From Unused ToName Token) payload;
    /// A traced [`Self::EXIT2`] with a token.
    18 EXIT2_TT (From To Token Reason);
    /// Monitors a process or a registered name.
    19 MONITOR_P (From To Reference);
    /// Removes the monitor of a process.
    20 DEMONITOR_P (From To Reference);
    /// A monitored process ended; before OTP 22.
    21 MONITOR_P_EXIT (From To Reference Reason);
    /// A message to a process; OTP 21 and later.
    22 SEND_SENDER (From To) payload;
    /// A traced [`Self::SEND_SENDER`] with a token.
    23 SEND_SENDER_TT (From To Token) payload;
    /// A linked process ended, with the reason behind; OTP 22 and later.
    24 PAYLOAD_EXIT (From To) payload;
    /// A traced [`Self::PAYLOAD_EXIT`] with a token.
    25 PAYLOAD_EXIT_TT (From To Token) payload;
    /// The signal of `exit/2`, with the reason behind.
    26 PAYLOAD_EXIT2 (From To) payload;
    /// A traced [`Self::PAYLOAD_EXIT2`] with a token.
    27 PAYLOAD_EXIT2_TT (From To Token) payload;
    /// A monitored process ended, with the reason behind.
    28 PAYLOAD_MONITOR_P_EXIT (From To Reference) payload;
    /// Asks for a process, with its arguments behind; OTP 23 and later.
    29 SPAWN_REQUEST (Reference From GroupLeader Mfa Options) payload;
    /// A traced [`Self::SPAWN_REQUEST`] with a token.
    30 SPAWN_REQUEST_TT (Reference From GroupLeader Mfa Options Token) payload;
    /// The result of a request to spawn; flags 1: linked, 2: monitored.
    31 SPAWN_REPLY (Reference To Flags Result);
    /// A traced [`Self::SPAWN_REPLY`] with a token.
    32 SPAWN_REPLY_TT (Reference To Flags Result Token);
    /// A message to an alias; OTP 24 to 27, and later to older peers.
    33 ALIAS_SEND (From To) payload;
    /// A traced [`Self::ALIAS_SEND`] with a token.
    34 ALIAS_SEND_TT (From To Token) payload;
    /// Removes a link; OTP 23.3 and later.
    35 UNLINK_ID (Id From To);
    /// Acknowledges the [`Self::UNLINK_ID`] of this number.
    36 UNLINK_ID_ACK (Id From To);
    /// A message or exit signal with more choices; OTP 28 and later. A trace token may follow.
    37 ALTACT_SIG_SEND (Flags From To Token) payload;
}

/// One more than the highest assigned operation.
pub const OPERATIONS: usize = Operation::ALTACT_SIG_SEND.0 as usize + 1;

/// The most fields that an operation has.
pub const MOST_FIELDS: usize = 6;

/// A control term, cut into its fields.
#[derive(Clone, Copy, Debug)]
pub struct ControlMessage<'a> {
    /// The operation, its first element.
    pub operation: Operation,
    /// The bytes of its fields, and the bytes behind them.
    bytes: &'a [u8],
    /// The end of each field in `bytes`. Every message has fields and few of them are read, so terms are made on
    /// demand.
    ends: [usize; MOST_FIELDS],
    count: usize,
}

impl<'a> ControlMessage<'a> {
    /// Its fields, in the sender's order.
    pub fn fields(&self) -> impl Iterator<Item = (Field, Term<'a>)> {
        let fields = self.operation.fields().unwrap_or_default();
        (0..).zip(fields).map_while(|(place, field)| Some((*field, self.term(place)?)))
    }

    /// The field of this meaning.
    pub fn field(&self, field: Field) -> Option<Term<'a>> {
        let fields = self.operation.fields().unwrap_or_default();
        self.term(fields.iter().position(|known| *known == field)?)
    }

    /// The field with this index.
    pub fn term(&self, place: usize) -> Option<Term<'a>> {
        let end = self.ends.get(place).filter(|_| place < self.count)?;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        self.bytes.get(*start..*end).map(Term::cut_off)
    }

    /// Whether the term that follows is the reason why a process ended.
    pub fn carries_reason(&self) -> bool {
        match self.operation {
            Operation::PAYLOAD_EXIT
            | Operation::PAYLOAD_EXIT_TT
            | Operation::PAYLOAD_EXIT2
            | Operation::PAYLOAD_EXIT2_TT
            | Operation::PAYLOAD_MONITOR_P_EXIT => true,
            Operation::ALTACT_SIG_SEND => {
                let flags = self.field(Field::Flags).and_then(Term::as_small_int);
                flags.is_some_and(|flags| flags & ALTACT_EXIT != 0)
            }
            _ => false,
        }
    }
}

/// Flag of `ALTACT_SIG_SEND`: the signal is an exit, not a message.
const ALTACT_EXIT: i32 = 16;

/// Reads the control term at the front of `i`, and gives the bytes behind it.
///
/// # Errors
///
/// It is no control term, or it is cut short.
#[inline(always)] // its result would be returned through memory (store forwarding)
pub fn control_message(i: &[u8]) -> Result<(ControlMessage<'_>, &[u8]), WireError> {
    let [SMALL_TUPLE_EXT, arity, SMALL_INTEGER_EXT, code, bytes @ ..] = i else {
        return Err(no_operation(i));
    };
    let operation = Operation(*code);
    let Some(fields) = operation.fields() else { return Err(malformed("operation", 3)) };
    let count = usize::from(*arity).saturating_sub(1);
    let has_optional = operation == Operation::ALTACT_SIG_SEND;
    if count != fields.len() && !(has_optional && count + 1 == fields.len()) {
        return Err(malformed("arity", 1));
    }
    let mut control = ControlMessage { operation, bytes, ends: [0; MOST_FIELDS], count };
    let mut behind = bytes;
    for end in control.ends.iter_mut().take(count) {
        behind = match skip_term(behind) {
            Some(behind) => behind,
            None => return Err(fault(&control, behind)),
        };
        *end = bytes.len() - behind.len();
    }
    Ok((control, behind))
}

const fn malformed(field: &'static str, offset: usize) -> WireError {
    WireError::malformed(field, offset)
}

/// The error for the start of a control term that is wrong or cut short.
#[cold]
fn no_operation(i: &[u8]) -> WireError {
    let is_start = i.len() < 4
        && i.first().is_none_or(|tag| *tag == SMALL_TUPLE_EXT)
        && i.get(2).is_none_or(|tag| *tag == SMALL_INTEGER_EXT);
    let kind = if is_start { WireErrorKind::CutShort } else { WireErrorKind::Malformed };
    WireError { kind, field: "operation", offset: 0 }
}

/// The error for the field that begins with `rest`, of a control term that was read up to there.
#[cold]
fn fault(control: &ControlMessage<'_>, rest: &[u8]) -> WireError {
    let Err(e) = cut_term(rest) else { return malformed("operation", START) };
    let read = control.bytes.len() - rest.len();
    let place = control.ends.iter().filter(|end| (1..=read).contains(*end)).count();
    let fields = control.operation.fields().unwrap_or_default();
    let field = fields.get(place).map_or("operation", |field| field.name());
    WireError { field, offset: START + read + e.offset, ..e }
}

/// Bytes before the first field: the tuple, and the operation.
const START: usize = 4;

impl Field {
    /// Its name in errors and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::From => "from_pid",
            Self::To => "to",
            Self::ToName => "to_name",
            Self::Reference => "ref",
            Self::Reason => "reason",
            Self::Token => "token",
            Self::Id => "id",
            Self::GroupLeader => "group_leader",
            Self::Mfa => "mfa",
            Self::Options => "options",
            Self::Flags => "flags",
            Self::Result => "result",
            Self::Unused => "unused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{22, From, To}`, and behind it the message.
    #[rustfmt::skip]
    const SEND_SENDER: &[u8] = &[
        104, 3,                      // SMALL_TUPLE_EXT
        97, 22,                      // SEND_SENDER
        88, 119, 3, b'a', b'@', b'h', // NEW_PID_EXT, Node
        0, 0, 0, 93, 0, 0, 0, 0,     // ID, Serial
        0x65, 0x4b, 0x1a, 0x02,      // Creation
        88, 82, 0,                   // NEW_PID_EXT, ATOM_CACHE_REF
        0, 0, 0, 77, 0, 0, 0, 1,     // ID, Serial
        0x65, 0x4b, 0x1a, 0x03,      // Creation
        119, 2, b'o', b'k',          // the message
    ];

    /// Operations as the specification lists them: number, name, elements, and whether a term follows.
    #[rustfmt::skip]
    const OPERATIONS: &[(u8, &str, &[Field], bool)] = {
        use Field::{From, Flags, GroupLeader, Id, Mfa, Options, Reason, Reference, Result, To, ToName, Token, Unused};
        &[
            (1, "LINK", &[From, To], false),
            (2, "SEND", &[Unused, To], true),
            (3, "EXIT", &[From, To, Reason], false),
            (4, "UNLINK", &[From, To], false),
            (6, "REG_SEND", &[From, Unused, ToName], true),
            (7, "GROUP_LEADER", &[From, To], false),
            (8, "EXIT2", &[From, To, Reason], false),
            (12, "SEND_TT", &[Unused, To, Token], true),
            (13, "EXIT_TT", &[From, To, Token, Reason], false),
            (16, "REG_SEND_TT", &[From, Unused, ToName, Token], true),
            (18, "EXIT2_TT", &[From, To, Token, Reason], false),
            (19, "MONITOR_P", &[From, To, Reference], false),
            (20, "DEMONITOR_P", &[From, To, Reference], false),
            (21, "MONITOR_P_EXIT", &[From, To, Reference, Reason], false),
            (22, "SEND_SENDER", &[From, To], true),
            (23, "SEND_SENDER_TT", &[From, To, Token], true),
            (24, "PAYLOAD_EXIT", &[From, To], true),
            (25, "PAYLOAD_EXIT_TT", &[From, To, Token], true),
            (26, "PAYLOAD_EXIT2", &[From, To], true),
            (27, "PAYLOAD_EXIT2_TT", &[From, To, Token], true),
            (28, "PAYLOAD_MONITOR_P_EXIT", &[From, To, Reference], true),
            (29, "SPAWN_REQUEST", &[Reference, From, GroupLeader, Mfa, Options], true),
            (30, "SPAWN_REQUEST_TT", &[Reference, From, GroupLeader, Mfa, Options, Token], true),
            (31, "SPAWN_REPLY", &[Reference, To, Flags, Result], false),
            (32, "SPAWN_REPLY_TT", &[Reference, To, Flags, Result, Token], false),
            (33, "ALIAS_SEND", &[From, To], true),
            (34, "ALIAS_SEND_TT", &[From, To, Token], true),
            (35, "UNLINK_ID", &[Id, From, To], false),
            (36, "UNLINK_ID_ACK", &[Id, From, To], false),
            (37, "ALTACT_SIG_SEND", &[Flags, From, To], true),
            (37, "ALTACT_SIG_SEND", &[Flags, From, To, Token], true),
        ]
    };

    /// A control term with as many elements, which are numbers from 256 on.
    fn numbered_as(code: u8, fields: &[Field]) -> Vec<u8> {
        let count = u8::try_from(fields.len()).unwrap();
        let elements = (0..count).flat_map(|element| [98, 0, 0, 1, element]);
        [104, 1 + count, 97, code].into_iter().chain(elements).collect()
    }

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let (control, behind) = control_message(SEND_SENDER).unwrap();
        assert_eq!(control.operation, Operation::SEND_SENDER);
        assert_eq!(behind, [119, 2, b'o', b'k']);
        assert_eq!(control.field(Field::From).unwrap().bytes(), &SEND_SENDER[4..22]);
        assert_eq!(control.field(Field::To).unwrap().bytes(), &SEND_SENDER[22..37]);
        assert!(control.field(Field::Token).is_none());
        assert!(control.term(1).is_some() && control.term(2).is_none());
    }

    #[test]
    fn each_operation_is_read_whole_and_no_shorter_prefix_is() {
        for (code, name, fields, has_payload) in OPERATIONS {
            let bytes = numbered_as(*code, fields);
            let longer = [&bytes[..], b"more"].concat();
            let (control, behind) = control_message(&longer).unwrap();
            assert_eq!((control.operation.name(), behind), (Some(*name), &b"more"[..]));
            assert_eq!(control.operation.has_payload(), *has_payload, "{name}");
            let found: Vec<_> = control.fields().map(|(field, _)| field).collect();
            assert_eq!(found, *fields, "{name}");
            for (place, (field, term)) in (0..).zip(control.fields()) {
                assert_eq!(term.as_small_int(), Some(256 + place), "{name} {field:?}");
            }
            for cut in 0..bytes.len() {
                let error = control_message(&bytes[..cut]).unwrap_err();
                assert_eq!(error.kind, WireErrorKind::CutShort, "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn operations_that_are_not_assigned_and_other_arities_are_refused() {
        let known: Vec<u8> = OPERATIONS.iter().map(|(code, ..)| *code).collect();
        for code in (0..=255).filter(|code| !known.contains(code)) {
            let error = control_message(&numbered_as(code, &[Field::From; 2])).unwrap_err();
            assert_eq!(
                (error.kind, error.field),
                (WireErrorKind::Malformed, "operation"),
                "{code}"
            );
        }
        for (code, name, fields, _) in OPERATIONS {
            let other = [fields.len() - 1, fields.len() + 1].map(|len| vec![Field::From; len]);
            let is_assigned = |fields: &[Field]| {
                OPERATIONS.iter().any(|it| it.0 == *code && it.2.len() == fields.len())
            };
            for fields in other.iter().filter(|fields| !is_assigned(fields)) {
                let error = control_message(&numbered_as(*code, fields)).unwrap_err();
                assert_eq!(
                    (error.kind, error.field),
                    (WireErrorKind::Malformed, "arity"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_small_tuple_with_a_small_operation_is_refused() {
        for bytes in [&b"\x69\0\0\0\x03a\x01"[..], b"\x68\x03b\0\0\0\x01", b"l", b"\x83h\x03a\x01"]
        {
            assert_eq!(control_message(bytes).unwrap_err().kind, WireErrorKind::Malformed);
        }
    }

    #[test]
    fn an_altact_signal_carries_a_reason_if_its_flags_declare_one() {
        for (flags, expected) in [(0_u8, false), (8, false), (16, true), (18, true)] {
            let bytes = [&[104, 4, 97, 37, 97, flags][..], b"a\x01a\x02"].concat();
            assert_eq!(control_message(&bytes).unwrap().0.carries_reason(), expected, "{flags}");
        }
        for (code, name, fields, has_payload) in OPERATIONS.iter().filter(|it| it.0 != 37) {
            let bytes = numbered_as(*code, fields);
            let carries = control_message(&bytes).unwrap().0.carries_reason();
            assert_eq!(carries, *has_payload && name.contains("EXIT"), "{name}");
        }
    }
}
