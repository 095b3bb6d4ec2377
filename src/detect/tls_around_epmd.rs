//! TLS around EPMD's protocol, on one side only.
//!
//! Evidence: a ClientHello in place of a request to EPMD, or a TLS record in place of its reply. EPMD has no TLS, and a
//! node never uses TLS towards it, so something between the two does: the sidecar of a service mesh, or a tunnel. Where
//! both sides use TLS the tunnel is complete, and nothing is reported.

use super::finding::{address, shown};
use super::{Detection, EndedBy, Ending, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, Role, Settled, TlsSide, TlsSign};
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `tls-around-epmd`.
const DOC: RuleDoc = RuleDoc {
    rule: "tls-around-epmd",
    severity: Severity::Low,
    summary: "TLS on one side of EPMD, which has none",
    symptom: "look-ups fail once a service mesh or a TLS tunnel is in between",
    meaning: "EPMD has no TLS, and no node uses TLS towards EPMD, also where the distribution \
              runs over TLS. Something on the way wraps the connection in TLS on one side only: \
              the sidecar of a service mesh with mTLS, stunnel, or another tunnel. EPMD closes \
              such a connection without an answer, and the look-up fails.",
    evidence: "A TLS ClientHello on port 4369 that is not answered in TLS; or a TLS record in \
               answer to a request in clear.",
    lookalikes: "A scanner that tries TLS on every port looks the same in one connection; a node \
                 that wants to connect tries again. If both sides speak TLS, both have a sidecar, \
                 and nothing is wrong.",
    log_lines: &[LogLine { writer: "EPMD and both nodes", releases: "all", text: "" }],
    remedy: &[
        "Take port 4369 and the distribution ports out of the mesh (Istio: \
         traffic.sidecar.istio.io/excludeOutboundPorts and excludeInboundPorts), or put the \
         tunnel on both sides.",
        "In a mesh, set mTLS to the same mode on both sides: a plain EPMD behind no sidecar \
         cannot read TLS, and a sidecar in strict mode refuses what comes without.",
        "Use TLS of the distribution itself (-proto_dist inet_tls); EPMD stays in clear.",
    ],
};

#[derive(Default)]
pub(super) struct TlsAroundEpmd;

impl Rule for TlsAroundEpmd {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        _: &World,
        out: &mut Vec<Detection>,
    ) {
        if epmd.outcome != EpmdOutcome::Malformed || epmd.seen.proxy.is_some() {
            return;
        }
        let sign = |side: &TlsSide| side.sign.map(|(sign, _)| sign);
        let (client, server) = (&epmd.seen.tls.initiator, &epmd.seen.tls.acceptor);
        let ids = &*settled.connection;
        let mapper = address(ids.dest_ip, ids.dest_port);
        let (from, title, explanation) = match (sign(client), sign(server)) {
            (Some(TlsSign::Hello), None | Some(TlsSign::Alert)) => (
                Role::Initiator,
                format!("{} sent a TLS hello to EPMD at {mapper}, which has no TLS", ids.src_ip),
                format!(
                    "No node uses TLS towards EPMD. Something on the way wraps the request of {} in TLS: the \
                     sidecar of a service mesh, stunnel, or another proxy on that side. Nothing takes the TLS \
                     off in front of EPMD, so the look-up fails.",
                    ids.src_ip
                ),
            ),
            (None, Some(_)) => (
                Role::Acceptor,
                format!("what answers at {mapper} in place of EPMD speaks TLS to {}", ids.src_ip),
                format!(
                    "EPMD has no TLS. Something in front of it expects TLS: the sidecar of a service mesh in \
                     strict mode, stunnel, or another proxy on the side of {}. The request of {} came in \
                     clear and was refused.",
                    ids.dest_ip, ids.src_ip
                ),
            ),
            _ => return,
        };
        let shows = match from {
            Role::Initiator => Shows::TlsHello("TLS ClientHello"),
            Role::Acceptor => Shows::TlsAlert("TLS in place of a reply".into()),
        };
        let mark = epmd.seen.tls[from].sign.map(|(_, mark)| mark);
        let end = Shows::Closed("closed without an answer of EPMD".into());
        out.push(Detection {
            confidence: Confidence::Likely,
            title,
            explanation,
            remedy: vec![
                format!(
                    "Take port {} and the distribution ports out of the service mesh or tunnel on both hosts \
                     (Istio: excludeOutboundPorts and excludeInboundPorts), or put the same sidecar or \
                     tunnel in front of EPMD on {} and in front of its clients.",
                    ids.dest_port, ids.dest_ip
                ),
                format!("`ss -tnp` on {} shows which process connects to that port.", ids.src_ip),
            ],
            ended_by: EndedBy::Any(vec![Ending::reply(settled, true)]),
            parties: format!("{},{mapper}", ids.src_ip),
            evidence: shown(mark, Some(from), shows)
                .into_iter()
                .chain(shown(epmd.seen.close, epmd.seen.closed_by, end))
                .collect(),
            not_excluded: vec!["a scanner that tries TLS on every port".to_owned()],
            ..Detection::new(&DOC)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{closed, epmd, found, mark};
    use super::*;
    use crate::observe::EpmdTag;

    /// The titles for a connection to EPMD on which the two sides showed these TLS records.
    fn titles(client: Option<TlsSign>, server: Option<TlsSign>) -> Vec<String> {
        let ends = ("10.0.0.1", "10.0.0.2", "1");
        let outcome = EpmdOutcome::Malformed;
        let step = epmd(ends, (10, 2.0), EpmdTag::PORT_PLEASE2_REQ, "b", outcome, |epmd| {
            closed(Role::Acceptor, 0.001)(epmd);
            epmd.seen.tls.initiator.sign = client.map(|sign| (sign, mark(8, 2.0)));
            epmd.seen.tls.acceptor.sign = server.map(|sign| (sign, mark(9, 2.0)));
        });
        found::<TlsAroundEpmd>(&[step]).into_iter().map(|found| found.title).collect()
    }

    #[test]
    fn tls_on_one_side_of_epmd_is_found_and_on_both_sides_it_is_not() {
        let (hello, alert) = (Some(TlsSign::Hello), Some(TlsSign::Alert));
        for server in [None, alert] {
            let [title] = &titles(hello, server)[..] else { panic!() };
            assert_eq!(
                title,
                "10.0.0.1 sent a TLS hello to EPMD at 10.0.0.2:4369, which has no TLS"
            );
        }
        let [title] = &titles(None, alert)[..] else { panic!() };
        assert!(title.ends_with("in place of EPMD speaks TLS to 10.0.0.1"), "{title}");
        assert!(titles(hello, hello).is_empty(), "a sidecar on both sides");
        assert!(titles(None, None).is_empty());
    }
}
