//! EPMD does not know the name.
//!
//! Evidence: PORT2_RESP with a result other than 0. What it does not tell: whether the node is down, has
//! another alive name, or is registered with another port mapper.

use super::text::{address, blank, shown};
use super::{Page, Rule};
use crate::correlate::Correlator;
use crate::event::{Body, EpmdOutcome, Event, Finding, Role, Severity};

/// `beamscope explain node-not-registered`.
const PAGE: Page = Page {
    rule: "node-not-registered",
    severity: Severity::Medium,
    summary: "the port mapper does not know the name",
    means: "",
    proof: "",
    resembles: "",
    logs: &[],
    remedy: &[],
};

#[derive(Default)]
pub(super) struct NodeNotRegistered;

impl Rule for NodeNotRegistered {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, _: &Correlator, out: &mut Vec<Finding>) {
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
        out.push(Finding {
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
            // Whoever asks, one node is missing.
            parties: format!("{mapper},{name}"),
            evidence: evidence.into_iter().flatten().collect(),
            ..blank(&PAGE)
        });
    }
}
