//! TLS on one side only.
//!
//! Evidence: a TLS hello that a node without TLS never answers, or a TLS alert in answer to a `send_name` in clear. A
//! similar case is a node with TLS that hangs.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::finding::{Sides, closed, finding, looked_up, shown};
use super::{Detection, LogLine, Rule, RuleDoc, log_lines, proxy_header};
use crate::decode::Endpoint;
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Confidence, Severity, Shows};

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
                 tls-failure. If the hello has what no node sends, or the dialed node answers \
                 in clear on loopback, the sidecar of a service mesh or a tunnel uses TLS, and no node \
                 does: the finding names it.",
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
        "If a service mesh or a tunnel wraps the distribution in TLS: take port 4369 and the \
         distribution ports out of it, or put it in front of both sides.",
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
        if is_by_proxy(session, tls_side, world) {
            by_proxy(&mut found, session, (a, b), tls_side);
        }
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

/// Whether TLS is that of something on the way: the hello has what no node sends, or the node that is dialed answers in
/// clear on the loopback address, where no proxy is in front of it.
fn is_by_proxy(session: &JudgedConnection, tls_side: Role, world: &World) -> bool {
    match tls_side {
        Role::Initiator => is_by_proxy_hello(session),
        Role::Acceptor => {
            let port = session.acceptor_end().port;
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let mut ends = loopback.into_iter().map(|ip| Endpoint { ip, port });
            ends.any(|end| world.dials().listener(end).is_some())
        }
    }
}

/// Whether the TLS hello has what no node sends.
pub(super) fn is_by_proxy_hello(session: &JudgedConnection) -> bool {
    let hello = session.seen.tls.initiator.hello.as_ref();
    hello.is_some_and(|hello| hello.is_not_by_otp)
}

/// Turns a detection into that of a sidecar or tunnel, which uses TLS where the nodes do not.
fn by_proxy(
    found: &mut Detection,
    session: &JudgedConnection,
    (a, b): (&str, &str),
    tls_side: Role,
) {
    let port = session.acceptor_end().port;
    found.confidence = found.confidence.min(Confidence::Likely);
    match tls_side {
        Role::Initiator => {
            found.title = format!(
                "something on the side of {a} wraps its dial to {b} in TLS, and nothing takes it off"
            );
            found.explanation = format!(
                "The TLS hello from {a} has extensions that no node sends: the sidecar of a service mesh (mTLS), \
                 stunnel or another proxy sent it in place of the node. {b} never answered it: it speaks the \
                 distribution without TLS, takes the first bytes of the hello for the length of a long \
                 message, and waits for the rest until one side gives up."
            );
            found
                .not_excluded
                .push("a scanner, or a program that tries TLS on this port".to_owned());
            if session.verdict.lookup.is_none() {
                // A node mostly asks EPMD first.
                found.severity = Severity::Medium;
            }
        }
        Role::Acceptor => {
            found.title =
                format!("what answers in front of {b} expects TLS, and {a} dials it in clear");
            found.explanation = format!(
                "{a} sent its name without TLS, and a TLS alert came back. The node at port {port} answers \
                 in clear on the loopback address of its host, so it does not use TLS itself: the sidecar of a service mesh in strict mode, stunnel \
                 or another proxy in front of it does."
            );
            found.not_excluded.push("the node was started anew since then, with TLS".to_owned());
        }
    }
    found.remedy = vec![
        format!(
            "Take port {port} and port 4369 out of the service mesh or tunnel on both hosts (Istio: the \
             annotations traffic.sidecar.istio.io/excludeOutboundPorts and excludeInboundPorts); fix the port \
             of the nodes for that with inet_dist_listen_min and inet_dist_listen_max (kernel application)."
        ),
        format!(
            "Or use the same mTLS mode on both sides: a sidecar or tunnel in front of {b} too, which takes the \
             TLS off, and one in front of each node that dials it."
        ),
        "If the path must be encrypted and the mesh can not do it, let all nodes use TLS themselves \
         (-proto_dist inet_tls), with these ports out of the mesh."
            .to_owned(),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found};
    use crate::judge::samples::{dial, mark};
    use crate::observe::{TlsHello, TlsSign};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/1";
    const C: &str = "c@h3/10.0.0.3/1";

    /// A dial of which this side uses TLS.
    fn one_sided(tls_side: Role, is_not_by_otp: bool) -> Step {
        but(dial(50, A, B).fails(Outcome::TlsMismatch), |it| {
            it.forget_name(Role::Acceptor);
            let sign = if tls_side == Role::Initiator { TlsSign::Hello } else { TlsSign::Alert };
            it.seen.tls[tls_side].sign = Some((sign, mark(50)));
            if tls_side == Role::Initiator {
                it.forget_names();
                let hello = TlsHello { is_not_by_otp, ..TlsHello::default() };
                it.seen.tls.initiator.hello = Some(hello);
            }
        })
    }

    fn title(steps: &[Step]) -> String {
        let mut all = found(steps);
        all.retain(|it| it.rule == DOC.rule);
        let [only] = &all[..] else { panic!("{all:?}") };
        let is_for_a_mesh = only.remedy[0].contains("service mesh");
        assert_eq!(is_for_a_mesh, !only.title.contains("uses TLS for distribution"), "{only:?}");
        only.title.clone()
    }

    #[test]
    fn a_hello_that_no_node_sends_is_that_of_a_sidecar() {
        let title_of = |is_not_by_otp| title(&[one_sided(Role::Initiator, is_not_by_otp)]);
        assert!(title_of(true).starts_with("something on the side of 10.0.0.1 wraps its dial"));
        assert!(title_of(false).ends_with("does not"), "a node that uses TLS");
    }

    #[test]
    fn a_node_that_answers_in_clear_on_loopback_does_not_expect_tls_itself() {
        let alert = || one_sided(Role::Acceptor, false);
        assert!(title(&[alert()]).contains("uses TLS for distribution, a@h1 does not"));
        let in_clear = dial(10, "c@h2/127.0.0.1/1", "b@h2/127.0.0.1/1").into();
        assert!(title(&[in_clear, alert()]).starts_with("what answers in front of"));
        let before = dial(10, C, B).into();
        assert!(title(&[before, alert()]).contains("uses TLS"), "it may have been started anew");
    }
}
