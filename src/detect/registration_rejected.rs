//! A registration from another host.
//!
//! Evidence: ALIVE2_REQ from an address that is not local to EPMD, and FIN or RST without a byte of reply. EPMD decides by
//! the address only, so it does not matter whether it read the request. Something that is not EPMD may also close without a reply.

use super::finding::shown;
use super::{Detection, LogLine, Rule, RuleDoc, epmd_common};
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Confidence, Missing, Severity, Shows};

/// Documentation of the rule `registration-rejected`.
const DOC: RuleDoc = RuleDoc {
    rule: "registration-rejected",
    severity: Severity::Medium,
    summary: "a node tried to register on another host",
    symptom: "a node cannot register, and its EPMD is on another host",
    meaning: "A node asked EPMD on another host to register it. EPMD takes registrations from \
              its own host only, that is from 127.0.0.0/8, from ::1, or from the same address \
              that was connected to, and closes all others without a reply. The node does not \
              start as a distributed node.",
    evidence: "ALIVE2_REQ from an address that is neither EPMD's own nor loopback, then FIN or \
               RST from EPMD's address without a byte of reply.",
    lookalikes: "Something that is not EPMD may close without a reply too, and so does EPMD if \
                 it is stopped at that moment. NAT or a proxy in front of EPMD makes a local \
                 node look remote, to EPMD as well: the remedy is the same. EPMD before R14 took \
                 registrations from anywhere.",
    log_lines: &[
        LogLine {
            writer: "the refused node, which then exits",
            releases: "seen with OTP 25; others are similar",
            text: "Protocol 'inet_tcp': register/listen error: epmd_close",
        },
        LogLine {
            writer: "EPMD in the foreground, after `epmd:` and the date",
            releases: "seen with OTP 25",
            text: "ALIVE2_REQ from non local address",
        },
    ],
    remedy: &[
        "Run EPMD on the host of the node, in the same network namespace (container, pod): an \
         Erlang node starts one by itself unless -start_epmd false is given.",
        "If the path to 127.0.0.1:4369 is redirected, by a proxy, a port mapping or a custom \
         -epmd_module, stop that for registrations; lookups may go anywhere.",
    ],
};

#[derive(Default)]
pub(super) struct RegistrationRejected;

impl Rule for RegistrationRejected {
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
        let ids = &*settled.connection;
        let seen = &epmd.seen;
        let is_rejected = epmd.outcome == EpmdOutcome::NoReply
            && seen.closed_by == Some(Role::Acceptor)
            && !seen.is_pipelined;
        if epmd.request != Some(EpmdTag::ALIVE2_REQ) || epmd_common::is_local(ids) || !is_rejected {
            return;
        }
        let name = epmd.name.as_deref().unwrap_or("?");
        let mapper = epmd_common::server_address(ids);
        let (from, to) = (ids.src_ip, ids.dest_ip);
        let mut not_excluded =
            vec!["what listens there is not EPMD, or was stopped at that moment".to_owned()];
        not_excluded.extend(epmd_common::unanswerable(epmd).map(|why| {
            format!("EPMD would have closed for a client on its own host too: the name {why}")
        }));
        // EPMD registers no node of another host, whether it read this request or something reset the connection.
        let no_reply = if seen.is_unread {
            not_excluded.push(
                "EPMD is at its limit of connections, or a filter on the way reset the connection"
                    .to_owned(),
            );
            Shows::Closed("closed with the request unread".into())
        } else {
            let missing = Some(Missing::EpmdReply);
            Shows::Close { is_reset: false, missing, detail: "" }
        };
        let evidence = [
            shown(
                seen.request,
                Some(Role::Initiator),
                Shows::epmd(EpmdTag::ALIVE2_REQ, format!("\"{name}\" from {from}")),
            ),
            shown(seen.close, Some(Role::Acceptor), no_reply),
        ];
        out.push(Detection {
            confidence: Confidence::Likely,
            title: format!("EPMD at {mapper} refused to register \"{name}\", which is on another host"),
            explanation: format!(
                "A node at {from} asked EPMD at {mapper} to register it as \"{name}\", and the connection was \
                 closed without an answer. EPMD registers only nodes of its own host, so this node does not \
                 start under that name."
            ),
            remedy: vec![
                format!(
                    "Let the node register with an EPMD on its own host, in its own network namespace. Find out \
                     what redirects it from {from} to {to}: a proxy, a port mapping, or a custom \
                     -epmd_module."
                ),
            ],
            ended_by: epmd_common::registers(settled, epmd),
            parties: format!("{mapper},{name}"),
            evidence: evidence.into_iter().flatten().collect(),
            not_excluded,
            logged_by: vec![Role::Initiator],
            ..Detection::new(&DOC)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{closed, epmd, evidence, found};
    use super::*;
    use crate::detect::tests::Step;

    fn registers(src: &str, dest: &str, change: impl FnOnce(&mut EpmdObservation)) -> Step {
        let outcome = EpmdOutcome::NoReply;
        epmd((src, dest, "1"), (10, 2.0), EpmdTag::ALIVE2_REQ, "c", outcome, change)
    }

    const FAR: (&str, &str) = ("10.0.0.1", "10.0.0.2");

    #[test]
    fn a_close_without_a_reply_to_another_host_is_a_rejection() {
        let event = registers(FAR.0, FAR.1, closed(Role::Acceptor, 0.001));
        let found = found::<RegistrationRejected>(&[event]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.parties, "10.0.0.2:4369,c");
        let shown = [(9, "ALIVE2_REQ \"c\" from 10.0.0.1"), (11, "FIN without a reply")];
        assert_eq!(evidence(finding), shown);
        assert_eq!(finding.confidence, Confidence::Likely);
    }

    #[test]
    fn a_close_without_a_reply_to_its_own_host_is_no_rejection() {
        for (src, dest) in [("127.0.0.9", "127.0.0.1"), ("::1", "::1"), ("10.0.0.2", "10.0.0.2")] {
            let event = registers(src, dest, closed(Role::Acceptor, 0.001));
            assert!(found::<RegistrationRejected>(&[event]).is_empty(), "{src}");
        }
    }

    #[test]
    fn a_registration_from_another_host_is_rejected_where_a_reset_leaves_it_unread() {
        let unread = |epmd: &mut EpmdObservation| {
            closed(Role::Acceptor, 0.001)(epmd);
            epmd.seen.is_unread = true;
        };
        let all = found::<RegistrationRejected>(&[registers(FAR.0, FAR.1, unread)]);
        let [finding] = &all[..] else { panic!("{all:?}") };
        assert_eq!(evidence(finding)[1], (11, "closed with the request unread"));
        assert_eq!(finding.not_excluded.len(), 2, "the reset may be of something on the way");
        let local = registers("127.0.0.1", "127.0.0.1", unread);
        assert!(found::<RegistrationRejected>(&[local]).is_empty());
    }

    #[test]
    fn a_request_that_epmd_did_not_close_was_not_rejected() {
        let events = [
            registers(FAR.0, FAR.1, closed(Role::Initiator, 10.0)),
            registers(FAR.0, FAR.1, |epmd| epmd.outcome = EpmdOutcome::Incomplete),
            registers(FAR.0, FAR.1, |epmd| epmd.outcome = EpmdOutcome::Answered),
        ];
        assert!(found::<RegistrationRejected>(&events).is_empty());
    }

    #[test]
    fn a_name_that_epmd_never_accepts_is_listed_as_another_cause() {
        let event = registers(FAR.0, FAR.1, |epmd| {
            closed(Role::Acceptor, 0.001)(epmd);
            epmd.name = Some("".into());
        });
        let found = found::<RegistrationRejected>(&[event]);
        assert_eq!(found[0].not_excluded.len(), 2);
    }
}
