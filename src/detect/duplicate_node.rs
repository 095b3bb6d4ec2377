//! Two nodes with one name that run at different addresses at the same time.
//!
//! Peers replace the connection to one by a connection to the other, again and again, and messages reach
//! sometimes one and sometimes the other. The evidence is two creations of one name, where the earlier one still
//! sends after the later one appeared. A node that was moved looks similar, but its old instance is silent; so
//! does one node with several addresses, but it has one creation.

use super::finding::{order_by_frame, sighted};
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::{Change, NodeChange};
use crate::record::{Confidence, Severity};

/// Documentation of the rule `duplicate-node`.
const DOC: RuleDoc = RuleDoc {
    rule: "duplicate-node",
    severity: Severity::Critical,
    summary: "one node name, two nodes alive at once",
    symptom: "messages reach sometimes one node of a name and sometimes another; connections \
              drop again and again",
    meaning: "Two nodes with the same full name run at different addresses. A peer takes the \
              second one for a restart of the first and drops its connection to the first, which \
              then dials again. Everything that works by node name (registered processes, \
              Mnesia, global) is mixed up between the two.",
    evidence: "Handshakes with one name and two creations from different addresses, where the \
               earlier one sends its name again, or keeps sending, after the later one appeared.",
    lookalikes: "A node that moved to another host: the old instance sends nothing any more \
                 (node-restarted). One node with several addresses, or behind NAT: its creation \
                 is the same. Equal creations of OTP 22 and older (1 to 3) can hide a duplicate.",
    log_lines: &[],
    remedy: &[
        "Find both by their addresses, and stop one of them or give it another name (-name, \
         -sname, RELEASE_NODE, RABBITMQ_NODENAME).",
        "Look for a cloned virtual machine or container, two deployments of one configuration, \
         or a failover that started the second node while the first still ran.",
    ],
};

#[derive(Default)]
pub(super) struct DuplicateNode;

impl Rule for DuplicateNode {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_node(&mut self, change: &NodeChange, out: &mut Vec<Detection>) {
        let NodeChange { kind, node, now, before, .. } = change;
        let (Change::Duplicate, Some(before)) = (kind, before) else { return };
        let name = &node.name;
        let came_again = before.hello.at > now.hello.at;
        let after = if came_again { "sent its name again" } else { "kept sending" };
        let creation = |creation: Option<u32>| creation.unwrap_or_default();
        let mut evidence = vec![sighted(before), sighted(now)];
        order_by_frame(&mut evidence);
        out.push(Detection {
            confidence: if came_again { Confidence::Proven } else { Confidence::Likely },
            title: format!("two nodes are named {name}: at {} and at {}", before.ip, now.ip),
            explanation: format!(
                "The node at {} has creation {}, the node at {} has creation {}; the first {after} after \
                 the second had come up. Peers take each of them for a restart of the other.",
                before.ip,
                creation(before.creation),
                now.ip,
                creation(now.creation)
            ),
            remedy: vec![
                format!("Stop the node at {} or the one at {}, or give it another name.", before.ip, now.ip),
                "Look for a cloned machine or container, or a failover that started the second node \
                 while the first still ran."
                    .to_owned(),
            ],
            nodes: vec![name.clone()],
            parties: name.to_string(),
            evidence,
            not_excluded: if came_again {
                Vec::new()
            } else {
                vec!["the first node has ended, and its last bytes arrived late".to_owned()]
            },
            ..Detection::new(&DOC)
        });
    }
}
