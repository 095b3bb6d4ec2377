//! Another protocol on a connection to EPMD or to a node.
//!
//! The client is a scanner, a health check or a browser: harmless by itself, and the cause of log lines that are hard to
//! explain.

use super::finding::{Sides, address, finding, shown};
use super::{Detection, LogLine, Rule, RuleDoc, log_lines};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{EpmdObservation, EpmdOutcome, Role, Settled};
use crate::record::{Severity, Shows};

/// Documentation of the rule `not-distribution`.
const DOC: RuleDoc = RuleDoc {
    rule: "not-distribution",
    severity: Severity::Low,
    summary: "something else connected to EPMD or to a node's port",
    symptom: "a health check or a scanner connects to a node's port or to 4369",
    meaning: "A client that speaks neither Erlang distribution nor EPMD connected to a node or \
              to EPMD, or such a server answers where a node was expected: a health check, a \
              scanner, a browser, a metrics collector.",
    evidence: "The first bytes are no message of the protocol, and often those of another one \
               (HTTP, TLS, SSH).",
    lookalikes: "A node with TLS that dials one without: its ClientHello is no distribution \
                 either, but it comes from a node that looked the other one up; that is \
                 tls-mismatch.",
    log_lines: &[
        LogLine { writer: "the node or EPMD that was connected to", releases: "all", text: "" },
        log_lines::TLS_NOTICE,
    ],
    remedy: &[
        "Find out what connects there: `ss -tnp` on the source host names the process.",
        "Point health checks at another port: a connection to a distribution port occupies a \
         process of the node for 7 s.",
        "Close 4369 and the distribution ports to clients from outside.",
    ],
};

#[derive(Default)]
pub(super) struct NotDistribution;

impl Rule for NotDistribution {
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
        let (EpmdOutcome::Malformed, Some(foreign)) = (epmd.outcome, &epmd.seen.foreign) else {
            return;
        };
        // Without its opening, a connection may begin here in the middle of a request. A hello of TLS is tls-around-epmd,
        // also where another sensor lacks the opening and read the hello as bytes of no protocol.
        if epmd.seen.syn.is_none() || epmd.seen.tls.initiator.sign.is_some() {
            return;
        }
        let ids = &*settled.connection;
        let mapper = address(ids.dest_ip, ids.dest_port);
        let what = Shows::Foreign(foreign.looks_like.clone());
        out.push(Detection {
            title: format!(
                "{} sent something other than an EPMD request to EPMD at {mapper}",
                ids.src_ip
            ),
            explanation: format!(
                "What it sent looks like {}. EPMD closes such a connection without an answer.",
                foreign.looks_like
            ),
            remedy: vec![REMEDY.to_owned()],
            parties: format!("{},{mapper}", ids.src_ip),
            evidence: shown(Some(foreign.mark), Some(Role::Initiator), what).into_iter().collect(),
            ..Detection::new(&DOC)
        });
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::NotDistribution {
            return;
        }
        let sides = Sides::of(session);
        let Some(foreign) = &session.seen.foreign() else { return };
        let mut found = finding(&DOC, session, &sides);
        found.parties = format!("{},{}", session.ip(Role::Initiator), sides.acceptor);
        found.title = match foreign.from {
            Role::Initiator => {
                format!(
                    "{} sent something other than the Erlang protocol to the node at {}",
                    sides.initiator, sides.acceptor
                )
            }
            Role::Acceptor => format!("what answers at {} is not an Erlang node", sides.acceptor),
        };
        found.explanation = format!(
            "What was sent looks like {}. A node waits for the rest of such a message, and closes when its \
             setup time is over.",
            foreign.looks_like
        );
        found.remedy = vec![REMEDY.to_owned()];
        found.evidence.extend(shown(
            Some(foreign.mark),
            Some(foreign.from),
            Shows::Foreign(foreign.looks_like.clone()),
        ));
        out.push(found);
    }
}

const REMEDY: &str = "Find out what connects there. A health check belongs on another port, and clients from \
                      outside should not reach these ports at all.";

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::epmd;
    use super::*;
    use crate::detect::tests::{but, detected};
    use crate::judge::samples::{dial, mark};
    use crate::judge::world::HomeNets;
    use crate::observe::{EpmdTag, Foreign, ForeignBytes, TlsSign};

    #[test]
    fn bytes_to_epmd_are_of_another_protocol_only_where_the_opening_shows_that_they_are_the_first()
    {
        let titles = |change: fn(&mut EpmdObservation)| -> Vec<String> {
            let ends = ("10.0.0.1", "10.0.0.2", "1");
            let (tag, outcome) = (EpmdTag::PORT_PLEASE2_REQ, EpmdOutcome::Malformed);
            let step = epmd(ends, (10, 2.0), tag, "b", outcome, |epmd| {
                epmd.seen.syn = Some(mark(8));
                epmd.seen.foreign = Some(Foreign {
                    from: Role::Initiator,
                    mark: mark(9),
                    looks_like: "HTTP".into(),
                });
                change(epmd);
            });
            let found = detected(&mut NotDistribution, HomeNets::default(), &[step]);
            found.into_iter().map(|it| it.title).collect()
        };
        let [title] = &titles(|_| ())[..] else { panic!() };
        assert!(title.contains("something other than an EPMD request"), "{title}");
        assert!(titles(|epmd| epmd.seen.syn = None).is_empty());
        let hello = |epmd: &mut EpmdObservation| {
            epmd.seen.tls.initiator.sign = Some((TlsSign::Hello, mark(9)));
        };
        assert!(titles(hello).is_empty());
    }

    #[test]
    fn what_is_no_distribution_is_found_by_the_side_that_sends_it() {
        let titles = |outcome: Outcome, from: Role| -> Vec<String> {
            let step = but(dial(10, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1").fails(outcome), |it| {
                let bytes = ForeignBytes { mark: mark(11), looks_like: "HTTP".into() };
                it.seen.foreign[from] = Some(bytes);
            });
            let found = detected(&mut NotDistribution, HomeNets::default(), &[step]);
            found.into_iter().map(|it| it.title).collect()
        };
        let [sent] = &titles(Outcome::NotDistribution, Role::Initiator)[..] else { panic!() };
        assert!(sent.contains("sent something other than the Erlang protocol"), "{sent}");
        let [answer] = &titles(Outcome::NotDistribution, Role::Acceptor)[..] else { panic!() };
        assert!(answer.starts_with("what answers at"), "{answer}");
        assert!(titles(Outcome::Aborted, Role::Initiator).is_empty());
    }
}
