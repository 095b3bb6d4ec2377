//! What OTP's own libraries put into messages: calls, casts, replies, and the functions that one node has
//! another run.
//!
//! In: a control message and the start of the term behind it. Out: what is asked, by whom it is to be
//! answered, and under which reference. Every other message is a program's own.
//!
//! Source: OTP's `gen.erl`, `erpc.erl`, `rpc.erl`, `group.erl`, as of 22 to 29; none of it is in a guide.

use super::control::{ControlMessage, Field, Operation};
use super::term::{Atoms, Elements, Kind, Term};

/// What a message is for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which of OTP's conventions it follows.
    pub kind: RequestKind,
    /// The reference that pairs it with its answer, where it has or is one.
    pub reference: Option<Term<'a>>,
    /// What is asked for, or why a process ended, or what a spawn came to.
    pub subject: Option<Term<'a>>,
    /// The function to be run.
    pub function: Option<Function<'a>>,
}

/// A function that a node is asked to run.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// An atom.
    pub module: Term<'a>,
    /// An atom.
    pub name: Term<'a>,
    /// Number of arguments; `None` where the list of them is cut off.
    pub arity: Option<u32>,
}

/// OTP's conventions.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RequestKind {
    /// `{'$gen_call', From, Request}`: `gen_server:call`, `gen_statem:call`, `GenServer.call`.
    GenCall,
    /// `{'$gen_cast', Request}`.
    GenCast,
    /// `{Tag, Reply}`, to the caller or its alias.
    GenReply,
    /// `{io_request, From, ReplyAs, Request}`.
    IoRequest,
    /// `{io_reply, ReplyAs, Reply}`.
    IoReply,
    /// A call through `rex`: `rpc:call` up to OTP 22, and to it.
    RpcCall,
    /// A cast through `rex`.
    RpcCast,
    /// A call by spawning `erpc:execute_call`: `erpc:call`, and `rpc:call` from OTP 23.
    ErpcCall,
    /// A cast by spawning `erpc:execute_cast`.
    ErpcCast,
    /// A process to run any other function.
    Spawn,
    /// What came of a request to spawn.
    SpawnReply,
    /// The end of a process that was monitored, or what `erpc:execute_call` came to.
    Down,
}

impl RequestKind {
    /// As events name it.
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

/// What `control`, and what stands behind it or the start of that, ask for. `None` for what is no
/// convention of OTP's.
pub fn request<'a>(
    control: &ControlMessage<'a>,
    payload: Term<'a>,
    atoms: &(impl Atoms + ?Sized),
) -> Option<Request<'a>> {
    match control.operation {
        Operation::SPAWN_REQUEST | Operation::SPAWN_REQUEST_TT => spawn(control, payload, atoms),
        Operation::SPAWN_REPLY | Operation::SPAWN_REPLY_TT => {
            let subject = control.field(Field::Result);
            Some(Request { subject, ..answer(RequestKind::SpawnReply, control) })
        }
        Operation::MONITOR_P_EXIT | Operation::PAYLOAD_MONITOR_P_EXIT => {
            let reason = control.field(Field::Reason).unwrap_or(payload);
            Some(Request { subject: Some(reason), ..answer(RequestKind::Down, control) })
        }
        operation if operation.has_payload() && !control.carries_reason() => sent(payload, atoms),
        _ => None,
    }
}

/// A control message that answers the one with its reference.
fn answer<'a>(kind: RequestKind, control: &ControlMessage<'a>) -> Request<'a> {
    let reference = control.field(Field::Reference).and_then(tag);
    Request { kind, reference, subject: None, function: None }
}

/// A message between processes.
fn sent<'a>(message: Term<'a>, atoms: &(impl Atoms + ?Sized)) -> Option<Request<'a>> {
    let mut elements = message.as_tuple()?;
    let arity = elements.len();
    if !(2..=4).contains(&arity) {
        return None;
    }
    let first = elements.next()?;
    if first.kind() != Kind::Atom {
        let reference = tag(first).filter(|_| arity == 2)?;
        return Some(plain(RequestKind::GenReply, Some(reference)));
    }
    let name = first.as_atom(atoms)?;
    match arity {
        3 if name == "$gen_call" => {
            let reference = from(elements.next()?);
            Some(asked(RequestKind::GenCall, reference, last(elements)?, atoms))
        }
        2 if name == "$gen_cast" => Some(asked(RequestKind::GenCast, None, last(elements)?, atoms)),
        4 if name == "io_request" => {
            elements.next()?;
            let reference = elements.next().and_then(tag);
            Some(Request { subject: last(elements), ..plain(RequestKind::IoRequest, reference) })
        }
        3 if name == "io_reply" => Some(plain(RequestKind::IoReply, elements.next().and_then(tag))),
        _ => None,
    }
}

const fn plain(kind: RequestKind, reference: Option<Term<'_>>) -> Request<'_> {
    Request { kind, reference, subject: None, function: None }
}

/// A call or cast of `request`, which may be one to `rex`.
fn asked<'a>(
    kind: RequestKind,
    reference: Option<Term<'a>>,
    request: Term<'a>,
    atoms: &(impl Atoms + ?Sized),
) -> Request<'a> {
    let asked = Request { subject: Some(request), ..plain(kind, reference) };
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
        Some(function) => Request { kind, function: Some(function), ..asked },
        None => asked,
    }
}

fn spawn<'a>(
    control: &ControlMessage<'a>,
    arguments: Term<'a>,
    atoms: &(impl Atoms + ?Sized),
) -> Option<Request<'a>> {
    let [module, name, arity] = control.field(Field::Mfa)?.as_array()?;
    let arity = arity.as_small_int().and_then(|arity| u32::try_from(arity).ok());
    let spawned = Request {
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
        Some(function) => Request { kind, function: Some(function), ..spawned },
        None => Request { kind, function: None, ..spawned },
    })
}

/// The next three elements, where they are a module, a function and a list of arguments.
fn function<'a>(elements: &mut Elements<'a>) -> Option<Function<'a>> {
    let module = elements.next().filter(|module| module.kind() == Kind::Atom)?;
    let name = elements.next().filter(|name| name.kind() == Kind::Atom)?;
    let arguments = last(*elements)?;
    let as_string = || arguments.as_string().and_then(|octets| u32::try_from(octets.len()).ok());
    let arity = arguments.as_list().map(|list| list.elements.len()).or_else(as_string);
    Some(Function { module, name, arity })
}

/// The next element, which is the last that matters: where it ends is not looked for.
fn last(elements: Elements<'_>) -> Option<Term<'_>> {
    elements.cut_off()
}

/// The reference in `{Pid, Tag}`.
fn from(from: Term<'_>) -> Option<Term<'_>> {
    let [_, it] = from.as_array()?;
    tag(it)
}

/// A reference; or `[alias | Reference]`, as calls have it from OTP 24; or of `gen_server:multi_call`
/// `{Reference, Node}`, and `[[alias | Alias] | Reference]` in later releases.
fn tag(term: Term<'_>) -> Option<Term<'_>> {
    let reference = match term.kind() {
        Kind::Reference => term,
        Kind::Tuple => {
            let [reference, node] = term.as_array()?;
            (node.kind() == Kind::Atom).then_some(reference)?
        }
        _ => term.as_list().filter(|list| list.elements.len() == 1)?.tail()?,
    };
    (reference.kind() == Kind::Reference).then_some(reference)
}

impl<'a> Request<'a> {
    /// The atom that the subject is or begins with.
    pub fn label(&self) -> Option<Term<'a>> {
        let subject = self.subject?;
        match subject.kind() {
            Kind::Atom => Some(subject),
            Kind::Tuple => subject.as_tuple()?.next().filter(|first| first.kind() == Kind::Atom),
            _ => None,
        }
    }
}

/// Whether a message tells `global` on another node to disconnect from its sender:
/// `{remove_connection, Node}`, when it prevents overlapping partitions.
pub fn asks_to_disconnect(message: Term<'_>, atoms: &(impl Atoms + ?Sized)) -> bool {
    let first = message.as_tuple().filter(|elements| elements.len() == 2);
    let first = first.and_then(|mut elements| elements.next());
    first.is_some_and(|first| first.is_atom("remove_connection", atoms))
}

/// The registered name of `global`.
pub const GLOBAL: &str = "global_name_server";

/// What a function does on the node that runs it, where that is to run what it is told.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Execution {
    /// Starts a program of the operating system.
    Command,
    /// Loads code into the node.
    CodeLoading,
    /// Evaluates an expression, or a file of them.
    Evaluation,
}

/// Whether a function runs what it is told, by its arguments.
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
