//! The conventions of OTP's own libraries: calls, casts, replies, and functions to be run on another node.
//!
//! In: a control message and the start of the message term behind it. Out: the request that it makes or answers, and
//! the reference that pairs both. Other messages belong to the application.
//!
//! Source: OTP's `gen.erl`, `erpc.erl`, `rpc.erl`, `group.erl`, as of 22 to 29; none of it is in a guide.

use serde::{Deserialize, Serialize};

use super::control::{ControlMessage, Field, Operation};
use super::term::{Atoms, Elements, Term, TermKind};

/// A message that follows one of OTP's conventions.
#[derive(Clone, Copy, Debug)]
pub struct OtpRequest<'a> {
    /// Which of OTP's conventions it follows.
    pub kind: RequestKind,
    /// The reference that pairs it with its answer, where it has or is one.
    pub reference: Option<Term<'a>>,
    /// The request itself, the reason why a process ended, or the result of a spawn.
    pub subject: Option<Term<'a>>,
    /// The function that it asks to run.
    pub function: Option<Function<'a>>,
}

/// A function that a node is asked to run.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// The module: an atom.
    pub module: Term<'a>,
    /// The name of the function: an atom.
    pub name: Term<'a>,
    /// Number of arguments; `None` where the list of them is cut off.
    pub arity: Option<u32>,
}

/// The conventions of OTP's libraries.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RequestKind {
    /// `{'$gen_call', From, Request}`: `gen_server:call`, `gen_statem:call`, `GenServer.call`.
    GenCall,
    /// `{'$gen_cast', Request}`: a cast of the same libraries.
    GenCast,
    /// `{Tag, Reply}`, to the caller or its alias.
    GenReply,
    /// `{io_request, From, ReplyAs, Request}`.
    IoRequest,
    /// `{io_reply, ReplyAs, Reply}`: the answer to that.
    IoReply,
    /// A call through `rex`: `rpc:call` up to OTP 22, and to it.
    RpcCall,
    /// A cast through `rex`.
    RpcCast,
    /// A call by spawning `erpc:execute_call`: `erpc:call`, and `rpc:call` from OTP 23.
    ErpcCall,
    /// A cast by spawning `erpc:execute_cast`.
    ErpcCast,
    /// A request to spawn a process that runs any other function.
    Spawn,
    /// The result of a request to spawn.
    SpawnReply,
    /// The end of a process that was monitored, or the result of `erpc:execute_call`.
    Down,
}

impl RequestKind {
    /// Every kind, in order.
    pub const ALL: [Self; Self::Down as usize + 1] = [
        Self::GenCall,
        Self::GenCast,
        Self::GenReply,
        Self::IoRequest,
        Self::IoReply,
        Self::RpcCall,
        Self::RpcCast,
        Self::ErpcCall,
        Self::ErpcCast,
        Self::Spawn,
        Self::SpawnReply,
        Self::Down,
    ];

    /// Its name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GenCall => "gen_call",
            Self::GenCast => "gen_cast",
            Self::GenReply => "gen_reply",
            Self::IoRequest => "io_request",
            Self::IoReply => "io_reply",
            Self::RpcCall => "rpc_call",
            Self::RpcCast => "rpc_cast",
            Self::ErpcCall => "erpc_call",
            Self::ErpcCast => "erpc_cast",
            Self::Spawn => "spawn",
            Self::SpawnReply => "spawn_reply",
            Self::Down => "down",
        }
    }
}

/// The request that `control` and the start of its message term make or answer. `None` for a message that follows
/// no convention of OTP's.
pub fn request<'a>(
    control: &ControlMessage<'a>,
    payload: Term<'a>,
    atoms: &(impl Atoms + ?Sized),
) -> Option<OtpRequest<'a>> {
    match control.operation {
        Operation::SPAWN_REQUEST | Operation::SPAWN_REQUEST_TT => spawn(control, payload, atoms),
        Operation::SPAWN_REPLY | Operation::SPAWN_REPLY_TT => {
            let subject = control.field(Field::Result);
            Some(OtpRequest { subject, ..answer(RequestKind::SpawnReply, control) })
        }
        Operation::MONITOR_P_EXIT | Operation::PAYLOAD_MONITOR_P_EXIT => {
            let reason = control.field(Field::Reason).unwrap_or(payload);
            Some(OtpRequest { subject: Some(reason), ..answer(RequestKind::Down, control) })
        }
        operation if operation.has_payload() && !control.carries_reason() => sent(payload, atoms),
        _ => None,
    }
}

/// A control message that answers the one with its reference.
fn answer<'a>(kind: RequestKind, control: &ControlMessage<'a>) -> OtpRequest<'a> {
    let reference = control.field(Field::Reference).and_then(tag);
    OtpRequest { kind, reference, subject: None, function: None }
}

/// A message between processes.
fn sent<'a>(message: Term<'a>, atoms: &(impl Atoms + ?Sized)) -> Option<OtpRequest<'a>> {
    let mut elements = message.as_tuple()?;
    let arity = elements.len();
    if !(2..=4).contains(&arity) {
        return None;
    }
    let first = elements.next()?;
    if first.kind() != TermKind::Atom {
        let reference = tag(first).filter(|_| arity == 2)?;
        return Some(plain(RequestKind::GenReply, Some(reference)));
    }
    let is = |name| first.is_atom(name, atoms);
    match arity {
        3 if is("$gen_call") => {
            let reference = match elements.next_array() {
                Some([_, it]) => tag(it),
                None => {
                    elements.next()?;
                    None
                }
            };
            Some(asked(RequestKind::GenCall, reference, last(elements)?, atoms))
        }
        2 if is("$gen_cast") => Some(asked(RequestKind::GenCast, None, last(elements)?, atoms)),
        4 if is("io_request") => {
            elements.next()?;
            let reference = elements.next().and_then(tag);
            Some(OtpRequest { subject: last(elements), ..plain(RequestKind::IoRequest, reference) })
        }
        3 if is("io_reply") => Some(plain(RequestKind::IoReply, elements.next().and_then(tag))),
        _ => None,
    }
}

const fn plain(kind: RequestKind, reference: Option<Term<'_>>) -> OtpRequest<'_> {
    OtpRequest { kind, reference, subject: None, function: None }
}

/// A call or cast of `request`, which may be one to `rex`.
fn asked<'a>(
    kind: RequestKind,
    reference: Option<Term<'a>>,
    request: Term<'a>,
    atoms: &(impl Atoms + ?Sized),
) -> OtpRequest<'a> {
    let asked = OtpRequest { subject: Some(request), ..plain(kind, reference) };
    let Some(mut elements) = request.as_tuple().filter(|elements| elements.len() == 5) else {
        return asked;
    };
    let Some(first) = elements.next().and_then(|first| first.as_atom(atoms)) else { return asked };
    let kind = match kind {
        RequestKind::GenCall if first == "call" || first == "block_call" => RequestKind::RpcCall,
        RequestKind::GenCast if first == "cast" => RequestKind::RpcCast,
        _ => return asked,
    };
    match function(&mut elements) {
        Some(function) => OtpRequest { kind, function: Some(function), ..asked },
        None => asked,
    }
}

fn spawn<'a>(
    control: &ControlMessage<'a>,
    arguments: Term<'a>,
    atoms: &(impl Atoms + ?Sized),
) -> Option<OtpRequest<'a>> {
    let [module, name, arity] = control.field(Field::Mfa)?.as_array()?;
    let arity = arity.as_small_int().and_then(|arity| u32::try_from(arity).ok());
    let spawned = OtpRequest {
        function: Some(Function { module, name, arity }),
        ..answer(RequestKind::Spawn, control)
    };
    if !module.is_atom("erpc", atoms) {
        return Some(spawned);
    }
    let Some(arguments) = arguments.as_list() else { return Some(spawned) };
    let mut elements = arguments.elements;
    let kind = match arity {
        // [Ref, Module, Function, Arguments]
        Some(4) if name.is_atom("execute_call", atoms) => {
            elements.next();
            RequestKind::ErpcCall
        }
        Some(3) if name.is_atom("execute_call", atoms) => RequestKind::ErpcCall,
        Some(3) if name.is_atom("execute_cast", atoms) => RequestKind::ErpcCast,
        _ => return Some(spawned),
    };
    // A fun is asked for as `execute_call(Ref, Fun)`, or `erlang:apply/2`.
    Some(match function(&mut elements) {
        Some(function) => OtpRequest { kind, function: Some(function), ..spawned },
        None => OtpRequest { kind, function: None, ..spawned },
    })
}

/// The next three elements, where they are a module, a function and a list of arguments.
fn function<'a>(elements: &mut Elements<'a>) -> Option<Function<'a>> {
    let module = elements.next().filter(|module| module.kind() == TermKind::Atom)?;
    let name = elements.next().filter(|name| name.kind() == TermKind::Atom)?;
    let arguments = last(*elements)?;
    let as_string = || arguments.as_string().and_then(|bytes| u32::try_from(bytes.len()).ok());
    let arity = arguments.as_list().map(|list| list.elements.len()).or_else(as_string);
    Some(Function { module, name, arity })
}

/// The next element. It is the last one that is used, so its end is not searched.
fn last(elements: Elements<'_>) -> Option<Term<'_>> {
    elements.cut_off()
}

/// A reference; or `[alias | Reference]`, as calls have it from OTP 24; or of `gen_server:multi_call`
/// `{Reference, Node}`, and `[[alias | Alias] | Reference]` in later releases.
fn tag(term: Term<'_>) -> Option<Term<'_>> {
    let reference = match term.kind() {
        TermKind::Reference => term,
        TermKind::Tuple => {
            let [reference, node] = term.as_array()?;
            (node.kind() == TermKind::Atom).then_some(reference)?
        }
        _ => term.as_list().filter(|list| list.elements.len() == 1)?.tail()?,
    };
    (reference.kind() == TermKind::Reference).then_some(reference)
}

impl<'a> OtpRequest<'a> {
    /// The atom that the subject is or begins with.
    pub fn label(&self) -> Option<Term<'a>> {
        let subject = self.subject?;
        match subject.kind() {
            TermKind::Atom => Some(subject),
            TermKind::Tuple => {
                subject.as_tuple()?.next().filter(|first| first.kind() == TermKind::Atom)
            }
            _ => None,
        }
    }
}

/// Whether a message asks `global` on another node to disconnect from its sender:
/// `{remove_connection, Node}`, when it prevents overlapping partitions.
pub fn asks_to_disconnect(message: Term<'_>, atoms: &(impl Atoms + ?Sized)) -> bool {
    let first = message.as_tuple().filter(|elements| elements.len() == 2);
    let first = first.and_then(|mut elements| elements.next());
    first.is_some_and(|first| first.is_atom("remove_connection", atoms))
}

/// A message by which `global` informs another node that two nodes lost contact:
/// `{lost_connection, Node, Creation, Number, OtherNode}`. A node that receives it passes it on (`handle_info` in OTP's
/// `global.erl`, since OTP 25).
#[derive(Clone, Copy, Debug)]
pub struct LostConnection<'a> {
    /// The node that lost contact with the other one, and reported it.
    pub by: Term<'a>,
    /// The node that it lost.
    pub node: Term<'a>,
}

impl<'a> LostConnection<'a> {
    /// Reads `message` if it is such a message.
    pub fn of(message: Term<'a>, atoms: &(impl Atoms + ?Sized)) -> Option<Self> {
        let mut elements = message.as_tuple().filter(|elements| elements.len() >= 5)?;
        let tag = elements.next()?;
        if !tag.is_atom("lost_connection", atoms) {
            return None;
        }
        let (by, mut rest) = (elements.next()?, elements.skip(2));
        Some(Self { by, node: rest.next()? })
    }
}

/// The registered name of `global`.
pub const GLOBAL: &str = "global_name_server";

/// How a function executes what it is given.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// Starts a program of the operating system.
    Command,
    /// Loads code into the node.
    CodeLoading,
    /// Evaluates an expression, or a file of them.
    Evaluation,
}

/// How a function executes what its arguments hold, if it does.
pub fn execution(module: &str, name: &str) -> Option<Execution> {
    Some(match (module, name) {
        ("os", "cmd")
        | ("erlang", "open_port")
        | ("Elixir.Port", "open")
        | ("Elixir.System", "cmd" | "shell") => Execution::Command,
        ("code", "load_abs" | "load_binary" | "load_file")
        | ("erlang", "load_module" | "load_nif")
        | ("erl_ddll", "load" | "load_driver")
        | ("c", "c" | "l" | "nl")
        | ("Elixir.Code", "compile_file" | "compile_quoted" | "compile_string" | "load_file")
        | ("Elixir.Code", "require_file") => Execution::CodeLoading,
        ("erl_eval", _)
        | ("file", "eval" | "path_eval" | "path_script" | "script")
        | ("Elixir.Code", "eval_file" | "eval_quoted" | "eval_quoted_with_env" | "eval_string")
        | ("Elixir.Code", "eval_string_with_env") => Execution::Evaluation,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::control_message;
    use crate::wire::term::NoAtoms;

    fn atom(name: &str) -> Vec<u8> {
        [&[119, u8::try_from(name.len()).unwrap()][..], name.as_bytes()].concat()
    }

    fn tuple(elements: &[Vec<u8>]) -> Vec<u8> {
        [&[104, u8::try_from(elements.len()).unwrap()][..], &elements.concat()].concat()
    }

    fn list(elements: &[Vec<u8>], tail: &[u8]) -> Vec<u8> {
        let len = u32::try_from(elements.len()).unwrap().to_be_bytes();
        [&[108][..], &len, &elements.concat(), tail].concat()
    }

    fn pid() -> Vec<u8> {
        [&[88][..], &atom("a@h"), &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]].concat()
    }

    fn reference() -> Vec<u8> {
        [&[90, 0, 1][..], &atom("a@h"), &[0, 0, 0, 1, 0, 0, 0, 9]].concat()
    }

    const NIL: &[u8] = &[106];

    /// Describes the request of `control` and the message term `bytes`: kind, whether it has a reference, label, and
    /// function.
    fn described(control: &[u8], bytes: &[u8]) -> Option<String> {
        let (control, _) = control_message(control).unwrap();
        let request = request(&control, Term::cut_off(bytes), &NoAtoms)?;
        let text = |term: Term<'_>| term.as_atom(&NoAtoms).unwrap().text().unwrap().into_owned();
        let reference = if request.reference.is_some() { " ref" } else { "" };
        let label = request.label().map(|label| format!(" {}", text(label))).unwrap_or_default();
        let function = request.function.map(|function| {
            let arity = function.arity.map_or_else(|| "?".to_owned(), |arity| arity.to_string());
            format!(" {}:{}/{arity}", text(function.module), text(function.name))
        });
        Some(format!("{}{reference}{label}{}", request.kind.name(), function.unwrap_or_default()))
    }

    fn sent(bytes: &[u8]) -> Option<String> {
        described(&tuple(&[vec![97, 22], pid(), pid()]), bytes)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn calls_casts_and_replies_of_gen() {
        let tags = [
            reference(),
            list(&[atom("alias")], &reference()),
            // Of `gen_server:multi_call`, up to OTP 25 and later.
            tuple(&[reference(), atom("b@h")]),
            list(&[list(&[atom("alias")], &reference())], &reference()),
        ];
        let get = tuple(&[atom("get"), vec![97, 1]]);
        for tag in tags {
            let from = tuple(&[pid(), tag.clone()]);
            let call = tuple(&[atom("$gen_call"), from.clone(), get.clone()]);
            assert_eq!(sent(&call), some("gen_call ref get"));
            assert_eq!(sent(&tuple(&[tag, atom("ok")])), some("gen_reply ref"));
            let stop = tuple(&[atom("$gen_call"), from, atom("stop")]);
            assert_eq!(sent(&stop), some("gen_call ref stop"));
        }
        assert_eq!(sent(&tuple(&[atom("$gen_cast"), get])), some("gen_cast get"));
        assert_eq!(sent(&tuple(&[atom("$gen_cast"), vec![97, 1]])), some("gen_cast"));
        let odd = tuple(&[atom("$gen_call"), vec![97, 1], vec![97, 2]]);
        assert_eq!(sent(&odd), some("gen_call"));
    }

    #[test]
    fn requests_and_replies_of_io() {
        let put = tuple(&[atom("put_chars"), atom("unicode"), vec![97, 1]]);
        let ask = tuple(&[atom("io_request"), pid(), reference(), put]);
        assert_eq!(sent(&ask), some("io_request ref put_chars"));
        let reply = tuple(&[atom("io_reply"), reference(), atom("ok")]);
        assert_eq!(sent(&reply), some("io_reply ref"));
    }

    #[test]
    fn calls_and_casts_through_rex() {
        let ask = |how: &str, arguments: &[u8]| {
            tuple(&[atom(how), atom("lists"), atom("seq"), arguments.to_vec(), pid()])
        };
        let call = |request| tuple(&[atom("$gen_call"), tuple(&[pid(), reference()]), request]);
        let two = list(&[vec![97, 1], vec![97, 2]], NIL);
        for (how, arguments, expected) in [
            ("call", &two[..], "rpc_call ref call lists:seq/2"),
            ("block_call", &two, "rpc_call ref block_call lists:seq/2"),
            // A list of small numbers.
            ("call", b"k\0\x03abc", "rpc_call ref call lists:seq/3"),
            ("call", NIL, "rpc_call ref call lists:seq/0"),
            ("other", &two, "gen_call ref other"),
        ] {
            assert_eq!(sent(&call(ask(how, arguments))), some(expected));
        }
        let cast = tuple(&[atom("$gen_cast"), ask("cast", &two)]);
        assert_eq!(sent(&cast), some("rpc_cast cast lists:seq/2"));
    }

    fn spawn(module: &str, name: &str, arity: u8) -> Vec<u8> {
        let mfa = tuple(&[atom(module), atom(name), vec![97, arity]]);
        tuple(&[vec![97, 29], reference(), pid(), pid(), mfa, NIL.to_vec()])
    }

    #[test]
    fn spawns_and_calls_by_spawning() {
        let call =
            |first: Vec<u8>| list(&[first, atom("m"), atom("f"), b"k\0\x02ab".to_vec()], NIL);
        let cast = list(&[atom("m"), atom("f"), NIL.to_vec()], NIL);
        let no_function = list(&[reference(), reference()], NIL);
        for (module, name, arity, arguments, expected) in [
            ("m", "loop", 1, &[][..], "spawn ref m:loop/1"),
            ("erpc", "execute_call", 4, &call(reference()), "erpc_call ref m:f/2"),
            ("erpc", "execute_call", 3, &cast, "erpc_call ref m:f/0"),
            ("erpc", "execute_cast", 3, &cast, "erpc_cast ref m:f/0"),
            ("erpc", "execute_call", 4, &[], "spawn ref erpc:execute_call/4"),
            ("erpc", "other", 3, &cast, "spawn ref erpc:other/3"),
            ("erpc", "execute_cast", 3, &no_function, "erpc_cast ref"),
        ] {
            assert_eq!(described(&spawn(module, name, arity), arguments), some(expected));
        }
    }

    #[test]
    fn answers_of_control_messages() {
        let reply = |result| tuple(&[vec![97, 31], reference(), pid(), vec![97, 0], result]);
        assert_eq!(described(&reply(pid()), &[]), some("spawn_reply ref"));
        assert_eq!(described(&reply(atom("badarg")), &[]), some("spawn_reply ref badarg"));
        let down = tuple(&[vec![97, 28], pid(), pid(), reference()]);
        assert_eq!(described(&down, &atom("noproc")), some("down ref noproc"));
        let result = tuple(&[reference(), atom("return"), vec![97, 1]]);
        assert_eq!(described(&down, &result), some("down ref"));
        let old = tuple(&[vec![97, 21], pid(), pid(), reference(), atom("killed")]);
        assert_eq!(described(&old, &[]), some("down ref killed"));
    }

    #[test]
    fn a_reason_is_no_request() {
        let cast = tuple(&[atom("$gen_cast"), atom("stop")]);
        for code in 24..=27 {
            let mut exit = vec![vec![97, code], pid(), pid()];
            if code % 2 == 1 {
                exit.push(NIL.to_vec());
            }
            assert_eq!(described(&tuple(&exit), &cast), None, "{code}");
        }
        let signal = |flags| tuple(&[vec![97, 37], vec![97, flags], pid(), pid()]);
        assert_eq!(described(&signal(16), &cast), None);
        assert_eq!(described(&signal(0), &cast), some("gen_cast stop"));
    }

    #[test]
    fn a_programs_own_messages_are_no_requests() {
        for message in [
            atom("$gen_call"),
            tuple(&[]),
            tuple(&[atom("$gen_call"), atom("stop")]),
            tuple(&[pid(), atom("ok")]),
            tuple(&[reference(), atom("a"), atom("b")]),
            tuple(&[tuple(&[atom("a"), atom("b")]), atom("c")]),
            list(&[atom("$gen_cast"), atom("a")], NIL),
        ] {
            assert_eq!(sent(&message), None, "{message:?}");
        }
    }

    #[test]
    fn a_cut_message_gives_a_part_of_what_the_whole_one_gives() {
        let two = list(&[vec![97, 1], vec![97, 2]], NIL);
        let asked = tuple(&[atom("call"), atom("lists"), atom("seq"), two, pid()]);
        let call = tuple(&[atom("$gen_call"), tuple(&[pid(), reference()]), asked]);
        let mut seen = Vec::new();
        for cut in 0..=call.len() {
            let found = sent(&call[..cut]);
            if seen.last() != Some(&found) {
                seen.push(found);
            }
        }
        let whole = some("rpc_call ref call lists:seq/2");
        assert_eq!(seen.first(), Some(&None));
        assert_eq!(seen.last(), Some(&whole));
        let expected = ["gen_call ref", "gen_call ref call", "rpc_call ref call lists:seq/2"];
        for found in seen.into_iter().flatten() {
            let is_known =
                expected.contains(&&*found) || found.starts_with("rpc_call ref call lists:seq/");
            assert!(is_known || found == "gen_call", "{found}");
        }
    }

    #[test]
    fn what_runs_code_is_known_by_its_name() {
        assert_eq!(execution("os", "cmd"), Some(Execution::Command));
        assert_eq!(execution("code", "load_binary"), Some(Execution::CodeLoading));
        assert_eq!(execution("erl_eval", "expr"), Some(Execution::Evaluation));
        assert_eq!(execution("Elixir.Code", "eval_string"), Some(Execution::Evaluation));
        assert_eq!(execution("lists", "seq"), None);
    }

    #[test]
    fn only_a_cast_to_rex_is_a_cast_of_rpc() {
        let cast = |first: &str| {
            let asked = tuple(&[atom(first), atom("m"), atom("f"), NIL.to_vec(), pid()]);
            sent(&tuple(&[atom("$gen_cast"), asked]))
        };
        assert_eq!(cast("cast"), some("rpc_cast cast m:f/0"));
        assert_eq!(cast("other"), some("gen_cast other"));
    }
}
