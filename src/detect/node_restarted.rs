//! A node name came back with another creation: the node was started again.
//!
//! Evidence: the hellos of both incarnations. They do not show why the former one ended.

use super::finding::sighted;
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::{Change, NodeChange};
use crate::record::{Confidence, Severity};

/// Documentation of the rule `node-restarted`.
const DOC: RuleDoc = RuleDoc {
    rule: "node-restarted",
    severity: Severity::Info,
    summary: "a node came back with another creation",
    symptom: "a node was gone and is back",
    meaning: "A node gets a new creation each time it starts. The same name with another \
              creation is the same node after a restart, at the same address or at another one \
              if it was moved.",
    evidence: "Two handshakes (send_name or challenge) with one name and two creations.",
    lookalikes: "Two nodes of one name at different addresses look like this until both are seen \
                 alive at once; then it is duplicate-node. Tools that connect as C nodes and \
                 leave (erl_call) have another creation at each call. Old EPMDs (OTP 22 and \
                 older) count creations from 1 to 3 and start again, so equal creations prove \
                 nothing there.",
    log_lines: &[],
    remedy: &[
        "Do nothing if the restart was meant. Otherwise look for a crash dump (erl_crash.dump), \
         the out-of-memory killer (dmesg), and the supervisor of the node (systemd, heart, \
         Kubernetes) at that time.",
    ],
};

#[derive(Default)]
pub(super) struct NodeRestarted;

impl Rule for NodeRestarted {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_node(&mut self, change: &NodeChange, out: &mut Vec<Detection>) {
        let NodeChange { kind, node, now, before, .. } = change;
        let Some(before) = before else { return };
        let name = &node.name;
        let (title, how) = match kind {
            Change::Restarted => {
                (format!("{name} was restarted"), format!("came back at {}", now.ip))
            }
            Change::Moved => (
                format!("{name} started at another address"),
                format!("started at {}, and was at {} before", now.ip, before.ip),
            ),
            _ => return,
        };
        let is_moved = *kind == Change::Moved;
        let creation = |creation: Option<u32>| creation.unwrap_or_default();
        out.push(Detection {
            confidence: if is_moved { Confidence::Likely } else { Confidence::Proven },
            title,
            explanation: format!(
                "{name} {how}: its creation was {} and is now {}.",
                creation(before.creation),
                creation(now.creation)
            ),
            remedy: vec![
                "Do nothing if the restart was intended. Otherwise look for a crash dump, the out-of-memory \
                 killer, and the node's supervisor at that time."
                    .to_owned(),
            ],
            nodes: vec![name.clone()],
            parties: name.to_string(),
            evidence: vec![sighted(before), sighted(now)],
            not_excluded: if is_moved {
                vec![format!("a second node of this name, while the one at {} still runs", before.ip)]
            } else {
                Vec::new()
            },
            ..Detection::new(&DOC)
        });
    }
}
