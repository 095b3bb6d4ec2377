//! EPMD does not know the name.
//!
//! Evidence: PORT2_RESP with a result other than 0. What it does not tell: whether the node is down, has
//! another alive name, or is registered with another port mapper.

use super::text::{address, shown};
use super::{Problem, Rule};
use crate::event::{Body, Confidence, EpmdOutcome, Event, Role, Severity};

#[derive(Default)]
pub(super) struct NodeNotRegistered;

impl Rule for NodeNotRegistered {
    fn ids(&self) -> &'static [&'static str] {
        &["node-not-registered"]
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Problem>) {
        let (Body::Epmd { epmd }, Some(ids)) = (&event.body, &event.connection) else { return };
        if epmd.outcome != EpmdOutcome::NotRegistered {
            return;
        }
        let name = epmd.name.as_deref().unwrap_or("?");
        let mapper = address(ids.dest_ip, ids.dest_port);
        let seen = &epmd.seen;
        let asked = format!("PORT_PLEASE2_REQ \"{name}\"");
        let answered = format!("PORT2_RESP: no \"{name}\"");
        let evidence = [
            shown(seen.request, Some(Role::Initiator), &asked),
            shown(seen.reply, Some(Role::Acceptor), &answered),
        ];
        out.push(Problem {
            rule: "node-not-registered",
            severity: Severity::Medium,
            confidence: Confidence::Proven,
            title: format!("no node \"{name}\" is registered at {mapper}"),
            explanation: format!(
                "{} asked the port mapper at {mapper} for \"{name}\", and it knows no such name. The \
                 node is not running there, has another alive name (case counts), or is registered with \
                 another port mapper.",
                ids.src_ip
            ),
            remedy: vec![
                format!("On {}, run `epmd -names` and compare the spelling.", ids.dest_ip),
                "If the node runs: it may use another port mapper (a container, ERL_EPMD_PORT), or be \
                 older than OTP 23.3 and have lost its registration when EPMD was restarted; restart it."
                    .to_owned(),
            ],
            nodes: Vec::new(),
            parties: format!("{},{mapper},{name}", ids.src_ip),
            evidence: evidence.into_iter().flatten().collect(),
            not_excluded: Vec::new(),
            logged_by: Vec::new(),
        });
    }
}
