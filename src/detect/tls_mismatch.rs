//! TLS on one side only.
//!
//! Evidence: a TLS hello that a node without TLS never answers, or a TLS alert in answer to a `send_name` in clear. A
//! similar case is a node with TLS that hangs.

use super::finding::{Sides, closed, finding, looked_up, shown};
use super::{Detection, LogLine, Rule, RuleDoc, log_lines, proxy_header};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `tls-mismatch`.
const DOC: RuleDoc = RuleDoc {
    rule: "tls-mismatch",
    severity: Severity::High,
    summary: "TLS on one side only",
    symptom: "a TLS notice `Unexpected Message`, or nothing for 7 s",
    meaning: "One node runs its distribution over TLS, the other one without. Neither can parse \
              what the other sends.",
    evidence: "A TLS ClientHello to a node that never answers it, until the setup time of one \
               side (7 s) is over; or a send_name in clear that is answered with a TLS alert.",
    lookalikes: "A dialed node with TLS that hangs does not answer a ClientHello either; a TLS \
                 answer from it on another connection tells the two apart. If both speak TLS and \
                 an alert ends the connection, certificates or TLS versions are the cause: \
                 tls-failure.",
    log_lines: &[
        log_lines::TLS_NOTICE,
        LogLine {
            writer: "the dialed node, if it is the one without TLS",
            releases: "all",
            text: "",
        },
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        log_lines::SETUP_TIMED_OUT,
        log_lines::CLOSED_WITHOUT_STATUS,
        log_lines::RABBITMQ_TIMED_OUT,
        log_lines::RABBITMQ_CLOSED,
    ],
    remedy: &[
        "Start all nodes of the cluster, and the tools that connect to it, in the same way: with \
         -proto_dist inet_tls and the same -ssl_dist_optfile, or without both. Check vm.args, \
         ERL_FLAGS, and the arguments of the tools.",
    ],
};

#[derive(Default)]
pub(super) struct TlsMismatch;

impl Rule for TlsMismatch {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, world: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() || proxy_header::sent_for_session(session, world).is_some() {
            return;
        }
        if session.outcome() != Outcome::TlsMismatch {
            return;
        }
        let sides = Sides::of(session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let tls = session.seen.tls().map(|(role, mark)| (role, Some(mark)));
        let (tls_side, mark) = tls.unwrap_or((Role::Initiator, None));
        let (with, without) = match tls_side {
            Role::Initiator => (a, b),
            Role::Acceptor => (b, a),
        };
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{with} uses TLS for distribution, {without} does not");
        found.explanation = match tls_side {
            Role::Initiator => format!(
                "{a} began with a TLS hello, which {b} never answered. A node without TLS takes the first bytes \
                 of a hello for the length of a long message, and waits for the rest until one side gives up."
            ),
            Role::Acceptor => {
                format!(
                    "{a} sent its name without TLS; {b} answered with a TLS alert and closed the connection."
                )
            }
        };
        found.remedy = vec![
            "Start all nodes of the cluster in the same way: with -proto_dist inet_tls and the same \
             -ssl_dist_optfile, or without both."
                .to_owned(),
        ];
        found.evidence.extend(looked_up(session));
        if tls_side == Role::Acceptor {
            found.evidence.extend(shown(
                session.seen.message(MessageKind::SendName),
                Some(Role::Initiator),
                MessageKind::SendName,
            ));
        }
        let what = match tls_side {
            Role::Initiator => Shows::TlsHello("TLS ClientHello"),
            Role::Acceptor => Shows::TlsAlert("TLS alert".into()),
        };
        found.evidence.extend(shown(mark, Some(tls_side), what));
        found.evidence.extend(closed(session, "without an answer that both sides can parse"));
        found.logged_by = match tls_side {
            Role::Initiator => Vec::new(),
            Role::Acceptor => vec![Role::Acceptor],
        };
        out.push(found);
    }
}
