//! A node that runs a command or code on another node.
//!
//! Evidence: the name of the function in an RPC or spawn request; arguments are not read. Operators and tools do the
//! same, so the finding names the function and the reader decides.

use std::collections::HashMap;
use std::sync::Arc;

use super::finding::{address, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{Execution, PerRole, Role, RuleTrigger, Settled, State, TriggerMessage};
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `remote-execution`.
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

/// The rule, with the names of the connected nodes, which messages do not contain.
#[derive(Default)]
pub(super) struct RemoteExecution {
    connected: HashMap<Arc<str>, PerRole<Option<Arc<str>>>>,
}

impl Rule for RemoteExecution {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, _: &mut Vec<Detection>) {
        if session.outcome() != Outcome::Connected {
            return;
        }
        if session.state() != State::Established {
            self.connected.remove(session.session_id());
        } else if self.connected.len() < MOST_CONNECTED {
            let names = PerRole::from_fn(|role| session.label(role));
            self.connected.insert(Arc::clone(session.session_id()), names);
        }
    }

    fn on_message(
        &mut self,
        settled: &Settled,
        message: &TriggerMessage,
        out: &mut Vec<Detection>,
    ) {
        let connection = &settled.connection;
        let (RuleTrigger::Execution(execution), Some(call)) = (message.trigger, &message.call)
        else {
            return;
        };
        let (Some(module), Some(function)) = (&call.module, &call.function) else { return };
        let names = self.connected.get(&connection.session_id);
        let name = |role: Role| names.and_then(|names| names[role].clone());
        let side = |role: Role| {
            let end = match role {
                Role::Initiator => (connection.src_ip, connection.src_port),
                Role::Acceptor => (connection.dest_ip, connection.dest_port),
            };
            name(role).map_or_else(|| address(end.0, end.1), |name| name.to_string())
        };
        let (from, to) = (side(message.from), side(message.from.peer()));
        // Elixir prints its modules without the prefix that they have on the wire.
        let module = module.strip_prefix("Elixir.").unwrap_or(module);
        let arity = call.arity.map_or_else(String::new, |arity| format!("/{arity}"));
        let what = match execution {
            Execution::Command => "which starts a program on that host",
            Execution::CodeLoading => "which loads code into that node",
            Execution::Evaluation => "which evaluates the code that it is given",
        };
        out.push(Detection {
            confidence: Confidence::Proven,
            title: format!("{from} had {to} run {module}:{function}"),
            explanation: format!(
                "{from} asked {to} to run {module}:{function}{arity} ({}), {what}. The capture does not show \
                 whether this was intended.",
                call.kind
            ),
            remedy: DOC.remedy.iter().map(ToString::to_string).collect(),
            nodes: [name(message.from), name(message.from.peer())].into_iter().flatten().collect(),
            parties: format!("{from},{to},{module}:{function}"),
            evidence: shown(
                Some(message.mark),
                Some(message.from),
                Shows::Message(format!("{} of {module}:{function}{arity}", message.operation)),
            )
            .into_iter()
            .collect(),
            ..Detection::new(&DOC)
        });
    }
}

/// Maximum number of connections with known names: as many as a full mesh of 180 nodes has.
const MOST_CONNECTED: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{dial, mark};
    use crate::observe::TriggerCall;

    fn call(module: &str, function: &str, execution: Execution) -> TriggerMessage {
        TriggerMessage {
            mark: mark(31),
            from: Role::Acceptor,
            operation: "SPAWN_REQUEST".into(),
            trigger: RuleTrigger::Execution(execution),
            call: Some(TriggerCall {
                kind: "erpc_call".into(),
                module: Some(module.into()),
                function: Some(function.into()),
                arity: Some(1),
            }),
            lost: None,
        }
    }

    fn detections(is_named: bool, message: &TriggerMessage) -> Vec<Detection> {
        let mut rule = RemoteExecution::default();
        let mut out = Vec::new();
        let session = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").judged();
        if is_named {
            let world = World::new(&Default::default(), Default::default());
            rule.on_session(&session, &world, &mut out);
        }
        rule.on_message(&session.settled, message, &mut out);
        out
    }

    #[test]
    fn the_title_names_both_nodes_and_the_function() {
        let found = detections(true, &call("os", "cmd", Execution::Command));
        assert_eq!(found[0].title, "b@h had a@h run os:cmd");
        assert_eq!(found[0].evidence[0].what.to_string(), "SPAWN_REQUEST of os:cmd/1");
        let code = call("Elixir.Code", "eval_string", Execution::Evaluation);
        let found = detections(false, &code);
        assert_eq!(found[0].title, "10.0.0.2:9100 had 10.0.0.1:40000 run Code:eval_string");
    }

    #[test]
    fn a_message_without_a_function_detects_nothing() {
        let message = TriggerMessage { call: None, ..call("os", "cmd", Execution::Command) };
        assert!(detections(true, &message).is_empty());
        let disconnect = RuleTrigger::Disconnect;
        let message =
            TriggerMessage { trigger: disconnect, ..call("os", "cmd", Execution::Command) };
        assert!(detections(true, &message).is_empty());
    }
}
