//! EPMD on a host cannot be reached.
//!
//! The evidence is RST or ICMP in answer to the SYN, or no answer in this capture. The capture cannot show
//! whether the host is down or a packet filter is on the path.

use std::time::Duration;

use super::epmd_common::{is_local, with_session_id};
use super::finding::{address, shown, syn_count};
use super::held::Held;
use super::{Detection, EndedBy, Ending, Host, KnownAs, LogLine, Rule, RuleDoc, log_lines};
use crate::judge::JudgedConnection;
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, Role, Settled};
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `epmd-unreachable`.
const DOC: RuleDoc = RuleDoc {
    rule: "epmd-unreachable",
    severity: Severity::High,
    summary: "EPMD cannot be reached",
    symptom: "nothing is logged, and port 4369 of that host refuses or does not answer",
    meaning: "EPMD (port 4369) on the host could not be reached, so the dialing node never \
              learned the port of the other node. The connection to EPMD was refused, rejected \
              on the path, or not answered.",
    evidence: "A SYN to EPMD that is answered with RST (nothing listens on that address and \
               port) or with ICMP (a firewall, or no route). SYNs without any answer make it \
               likely: the answer may have taken a path past the capture point.",
    lookalikes: "The first node of a host asks its EPMD in vain, and starts it: that is no \
                 finding if EPMD answers within 10 s. A host name that cannot be resolved: then \
                 there are only DNS queries, and no SYN. A connection that opens and gets no reply is epmd-silent.",
    log_lines: &[
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        log_lines::SETUP_TIMED_OUT,
        log_lines::NO_LISTENER,
        LogLine {
            writer: "a node that starts and finds no EPMD on its own host",
            releases: "seen with OTP 25",
            text: "Protocol 'inet_tcp': register/listen error: econnrefused",
        },
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* unable to connect to epmd (port 4369) on h: ...",
        },
    ],
    remedy: &[
        "On the dialed host, see whether EPMD runs and where it listens: `ss -ltn 'sport = \
         :4369'`, `epmd -names`. A node starts EPMD by itself; `epmd -daemon` starts it alone.",
        "If nothing answers, open TCP port 4369 between the hosts, and check on the dialing host \
         which address the part after the @ resolves to.",
        "If EPMD listens on 127.0.0.1 only, look for ERL_EPMD_ADDRESS or -address; if it listens \
         on another port, set the same ERL_EPMD_PORT on all hosts.",
    ],
};

pub(super) struct EpmdUnreachable {
    /// Refusals on the host of EPMD: a node that starts there starts EPMD as well.
    starting: Held<Host>,
}

impl Default for EpmdUnreachable {
    fn default() -> Self {
        Self { starting: Held::new(START) }
    }
}

impl Rule for EpmdUnreachable {
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
        let server_host = Host::of(ids.dest_ip, settled);
        if seen.reply.is_some() {
            self.starting.take_back(|held| held.about == server_host);
        }
        self.starting.release(settled.at, out);
        let server = address(ids.dest_ip, ids.dest_port);
        let (title, explanation, remedy) = match (epmd.outcome, seen.icmp) {
            (EpmdOutcome::ConnectionRefused, Some((kind, code, reporter))) => (
                format!("a firewall rejects connections from {} to EPMD at {server}", ids.src_ip),
                format!(
                    "{reporter} answered the SYN with ICMP {kind}/{code}, \"destination unreachable\": a \
                     packet filter rejects the connection, or there is no route."
                ),
                format!("Open TCP port {} from {} to {}.", ids.dest_port, ids.src_ip, ids.dest_ip),
            ),
            (EpmdOutcome::ConnectionRefused, None) => (
                format!("EPMD at {server} refused the connection from {}", ids.src_ip),
                format!(
                    "The SYN to {server} was answered with RST: the host is up, and EPMD does not listen on \
                     that address and port."
                ),
                format!(
                    "Start a node (or `epmd -daemon`) on {}, and compare ERL_EPMD_PORT and \
                     ERL_EPMD_ADDRESS on both sides; `ss -ltn` shows what listens.",
                    ids.dest_ip
                ),
            ),
            (EpmdOutcome::Unanswered, _) => (
                format!("no answer from EPMD at {server} (asked by {})", ids.src_ip),
                format!(
                    "{} to {server} and no answer in this capture: a packet filter drops them, the host is \
                     down, or the name resolves to the wrong address.",
                    syn_count(seen.syns.into())
                ),
                format!(
                    "Open TCP port {} on the path to {}, and check which address the part of the node name \
                     after the @ resolves to on {}.",
                    ids.dest_port, ids.dest_ip, ids.src_ip
                ),
            ),
            _ => return,
        };
        let answer = if seen.icmp.is_some() { Shows::Icmp } else { Shows::RST };
        let evidence = [
            shown(seen.syn, Some(Role::Initiator), Shows::Syn),
            shown(seen.close, Some(Role::Acceptor), answer),
        ];
        let unanswered = epmd.outcome == EpmdOutcome::Unanswered;
        let is_closed = seen.icmp.is_none() && !unanswered;
        let client = KnownAs::AnyOf(Host::of(ids.src_ip, settled));
        let found = Detection {
            ended_by: EndedBy::Any(vec![
                Ending::reply(settled, !is_closed),
                Ending::connect(client, KnownAs::AnyOf(server_host)),
            ]),
            confidence: if unanswered { Confidence::Likely } else { Confidence::Proven },
            title,
            explanation,
            remedy: vec![remedy],
            // EPMD that cannot be reached is one cause, however many clients try. ICMP and silence share one
            // key, because senders of ICMP limit its rate and a rejecting filter does not answer each SYN.
            parties: format!("{server},{}", if is_closed { "closed" } else { "blocked" }),
            evidence: evidence.into_iter().flatten().collect(),
            not_excluded: if unanswered {
                vec!["the answer took a path past the capture point".to_owned()]
            } else {
                Vec::new()
            },
            ..Detection::new(&DOC)
        };
        if is_closed && is_local(ids) {
            let found = Detection { severity_if_solved: Some(Severity::Low), ..found };
            self.starting.hold(server_host, settled, with_session_id(ids, found));
        } else {
            out.push(found);
        }
    }

    fn on_session(&mut self, it: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        self.starting.release(it.at(), out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        let may_start = |found: &mut Detection| {
            found.confidence = Confidence::Possible;
            found.not_excluded.push(
                "a node starts there, and EPMD with it: the capture ends before that could be seen"
                    .to_owned(),
            );
        };
        self.starting.release_all(may_start, out);
    }
}

/// The first node of a host asks EPMD in vain, starts it, and registers as soon as it is up. That takes a second or two,
/// and several on a busy host.
const START: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{NODE, epmd, found, mark};
    use super::*;
    use crate::detect::tests::Step;
    use crate::observe::EpmdTag;

    fn refused(src: &str, dest: &str, at: f64) -> Step {
        let ends = (src, dest, "refused");
        let tag = EpmdTag::NAMES_REQ;
        epmd(ends, (2, at), tag, "", EpmdOutcome::ConnectionRefused, |it| {
            it.request = None;
            it.seen.syn = it.seen.request.take();
            it.seen.close = it.seen.reply.take();
        })
    }

    fn registers(host: &str, at: f64) -> Step {
        let (ends, tag) = ((host, host, "registers"), EpmdTag::ALIVE2_REQ);
        epmd(ends, (9, at), tag, "b", EpmdOutcome::Answered, |_| ())
    }

    fn asked_elsewhere(at: f64) -> Step {
        let (ends, tag) = (("10.0.0.9", "10.0.0.8", "elsewhere"), EpmdTag::PORT_PLEASE2_REQ);
        epmd(ends, (20, at), tag, "c", EpmdOutcome::Answered, |_| ())
    }

    #[test]
    fn a_node_that_starts_its_own_epmd_is_no_problem() {
        for host in [NODE, "10.0.0.1", "fd00::1"] {
            let steps = [refused(host, host, 1.0), registers(host, 3.5), asked_elsewhere(60.0)];
            assert!(found::<EpmdUnreachable>(&steps).is_empty(), "{host}");
        }
        let steps = [refused("::1", "::1", 1.0), registers(NODE, 2.0), asked_elsewhere(60.0)];
        assert!(found::<EpmdUnreachable>(&steps).is_empty(), "one host by both of its families");
    }

    #[test]
    fn an_epmd_that_does_not_come_up_is_reported_after_a_while() {
        let steps = [refused(NODE, NODE, 1.0), asked_elsewhere(12.0)];
        let found = found::<EpmdUnreachable>(&steps);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.severity, finding.confidence), (Severity::High, Confidence::Proven));
        let settled = finding.settled.as_ref().unwrap();
        assert_eq!((settled.at, settled.frame), (mark(20, 12.0).at, None));
        assert_eq!(finding.shown_at, Some(mark(2, 1.0).at));
    }

    #[test]
    fn a_capture_that_ends_at_once_leaves_it_possible() {
        let found = found::<EpmdUnreachable>(&[refused(NODE, NODE, 1.0)]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.confidence, Confidence::Possible);
        assert_eq!(finding.not_excluded.len(), 1);
    }

    #[test]
    fn a_refusal_from_another_host_is_reported_at_once() {
        let steps = [refused("10.0.0.2", "10.0.0.1", 1.0), registers("10.0.0.1", 1.5)];
        let found = found::<EpmdUnreachable>(&steps);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.severity, finding.settled.is_none()), (Severity::High, true));
    }
}
