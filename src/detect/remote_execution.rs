//! One node has another run a command, or code that it brings.
//!
//! Told from the name of the function that is asked for, by RPC or by a request to spawn; arguments are not
//! looked at. Operators and tools do the same: it is the names that a person should see.

use std::collections::HashMap;
use std::sync::Arc;

use super::finding::{address, blank, shown};
use super::{Rule, RuleDoc};
use crate::judge::world::World;
use crate::observe::messages::{Execution, FieldKind, MessageEvent, RuleTrigger};
use crate::record::{Body, Confidence, Event, Finding, Outcome, Role, Severity, Shows, State};

/// `beamscope explain remote-execution`.
const DOC: RuleDoc = RuleDoc {
    rule: "remote-execution",
    severity: Severity::High,
    summary: "a node ran a command or code on another node",
    symptom: "a node ran a command or loaded code, and nobody knows why",
    meaning: "A node that is connected may call any function on its peer. These functions run \
              what they are given: os:cmd and erlang:open_port start programs, code:load_binary \
              and similar functions load code, and erl_eval, file:eval and Elixir's \
              Code.eval_string evaluate it. An attacker who has the cookie does this, and so \
              does an operator in a shell.",
    evidence: "A call by rpc or erpc, or a spawn request, that names such a function. Only its \
               name is reported, never its arguments.",
    lookalikes: "A deployment that loads code on all nodes (c:nl, code:load_binary by rpc), an \
                 operator or a monitoring system that queries a host with os:cmd. A fun that is \
                 sent for execution may do the same and does not show what it does: it is not \
                 reported.",
    log_lines: &[],
    remedy: &[
        "Find out who used the node that made the call, and whether it was meant.",
        "If it was not: treat the host of the called node as compromised, change the cookie, and \
         let only the cluster's own network reach port 4369 and the distribution ports.",
        "Use distribution over TLS with client certificates, which lets only known nodes connect.",
    ],
};

/// Knows the names of the nodes that are connected, since messages do not bring them.
#[derive(Default)]
pub(super) struct RemoteExecution {
    connected: HashMap<Arc<str>, [Option<Arc<str>>; 2]>,
}

impl Rule for RemoteExecution {
    fn pages(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_event(&mut self, event: &Event, _: &World, _: &mut Vec<Finding>) {
        let (Body::Session { session }, Some(ids)) = (&event.body, &event.connection) else {
            return;
        };
        if session.outcome != Outcome::Connected {
            return;
        }
        if session.state != State::Established {
            self.connected.remove(&ids.session_id);
        } else if self.connected.len() < MOST_CONNECTED {
            let names = [&session.initiator, &session.acceptor].map(|party| party.node.clone());
            self.connected.insert(Arc::clone(&ids.session_id), names);
        }
    }

    fn on_message(&mut self, event: &MessageEvent<'_>, out: &mut Vec<Finding>) {
        let MessageEvent { connection, message } = event;
        let meta = message.meta;
        let (Some(RuleTrigger::Execution(execution)), Some(kind)) = (meta.trigger, meta.call)
        else {
            return;
        };
        let module = message.text(FieldKind::Module);
        let (Some(module), Some(function)) = (module, message.text(FieldKind::Function)) else {
            return;
        };
        let names = self.connected.get(&connection.session_id);
        let name = |role: Role| names.and_then(|names| names.get(role.index())?.clone());
        let side = |role: Role| {
            let end = match role {
                Role::Initiator => (connection.src_ip, connection.src_port),
                Role::Acceptor => (connection.dest_ip, connection.dest_port),
            };
            name(role).map_or_else(|| address(end.0, end.1), |name| name.to_string())
        };
        let (from, to) = (side(meta.from), side(meta.from.peer()));
        // As Erlang writes it; Elixir's modules without what Elixir leaves away.
        let module = module.strip_prefix("Elixir.").unwrap_or(module);
        let arity =
            message.text(FieldKind::Arity).map_or_else(String::new, |arity| format!("/{arity}"));
        let what = match execution {
            Execution::Command => "which starts a program on its host",
            Execution::CodeLoading => "which loads code into it",
            Execution::Evaluation => "which evaluates what it is given",
        };
        out.push(Finding {
            confidence: Confidence::Proven,
            title: format!("{from} had {to} run {module}:{function}"),
            explanation: format!(
                "{from} asked {to} to run {module}:{function}{arity} ({}), {what}. Whether it was meant, \
                 the capture does not tell.",
                kind.name()
            ),
            remedy: DOC.remedy.iter().map(ToString::to_string).collect(),
            nodes: [name(meta.from), name(meta.from.peer())].into_iter().flatten().collect(),
            parties: format!("{from},{to},{module}:{function}"),
            evidence: shown(
                Some(meta.packet),
                Some(meta.from),
                Shows::Message(format!("{} of {module}:{function}{arity}", meta.operation_name())),
            )
            .into_iter()
            .collect(),
            ..blank(&DOC)
        });
    }
}

/// Connections whose names are known: as many as a full mesh of 180 nodes has.
const MOST_CONNECTED: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::messages::samples::{batch, meta};
    use crate::observe::messages::{MessageBatch, MessageMeta, Operation, RequestKind};
    use crate::packet::FrameRef;
    use crate::packet::PacketRef;
    use crate::record::samples::{at, dial};

    fn call(module: &str, function: &str, execution: Option<Execution>) -> MessageBatch {
        let meta = MessageMeta {
            packet: PacketRef { frame: FrameRef { input: 0, number: 31 }, at: at(100) },
            from: Role::Acceptor,
            call: Some(RequestKind::ErpcCall),
            payload_bytes: Some(9),
            trigger: execution.map(RuleTrigger::Execution),
            ..meta(Operation::SPAWN_REQUEST)
        };
        let fields =
            [(FieldKind::Module, module), (FieldKind::Function, function), (FieldKind::Arity, "1")];
        batch(meta, &fields)
    }

    fn findings(session: Option<Event>, messages: &MessageBatch) -> Vec<Finding> {
        let mut rule = RemoteExecution::default();
        let mut out = Vec::new();
        let event = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").event();
        let connection = event.connection.clone().unwrap();
        let known = World::new(&Default::default(), Vec::new(), Default::default());
        if let Some(session) = session {
            rule.on_event(&session, &known, &mut out);
        }
        for message in messages.iter() {
            rule.on_message(&MessageEvent { connection: &connection, message }, &mut out);
        }
        out
    }

    #[test]
    fn who_had_whom_run_what_is_told_by_name() {
        let dial = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2");
        let found = findings(Some(dial.event()), &call("os", "cmd", Some(Execution::Command)));
        assert_eq!(found[0].title, "b@h had a@h run os:cmd");
        assert_eq!(found[0].evidence[0].what.to_string(), "SPAWN_REQUEST of os:cmd/1");
        let code = call("Elixir.Code", "eval_string", Some(Execution::Evaluation));
        let found = findings(None, &code);
        assert_eq!(found[0].title, "10.0.0.2:9100 had 10.0.0.1:40000 run Code:eval_string");
    }

    #[test]
    fn any_other_function_is_nobodys_business() {
        assert!(findings(None, &call("lists", "seq", None)).is_empty());
    }
}
