//! No way to the port mapper.
//!
//! Evidence: RST or ICMP in answer to the SYN, or no answer in this capture. What it does not tell: whether
//! the host is down, or a filter is in between.

use super::finding::{address, shown};
use super::{Detection, LogLine, Rule, RuleDoc, log_lines};
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, Role, Settled};
use crate::record::{Confidence, Severity, Shows};

/// `beamscope explain epmd-unreachable`.
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
    lookalikes: "A host name that cannot be resolved: then there are only DNS queries, and no \
                 SYN. A connection that opens and gets no reply is epmd-silent.",
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

#[derive(Default)]
pub(super) struct EpmdUnreachable;

impl Rule for EpmdUnreachable {
    fn pages(&self) -> &'static [RuleDoc] {
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
        let mapper = address(ids.dest_ip, ids.dest_port);
        let (how, explanation, remedy) = match (epmd.outcome, seen.icmp) {
            (EpmdOutcome::ConnectionRefused, Some((kind, code, reporter))) => (
                "is rejected",
                format!(
                    "{reporter} answered the SYN with ICMP {kind}/{code}, \"destination unreachable\": a \
                     packet filter rejects the connection, or there is no route."
                ),
                format!("Open TCP port {} from {} to {}.", ids.dest_port, ids.src_ip, ids.dest_ip),
            ),
            (EpmdOutcome::ConnectionRefused, None) => (
                "refuses the connection",
                format!(
                    "The SYN to {mapper} was answered with RST: the host is up, and no port mapper \
                     listens on that address and port."
                ),
                format!(
                    "Start a node (or `epmd -daemon`) on {}, and compare ERL_EPMD_PORT and \
                     ERL_EPMD_ADDRESS on both sides; `ss -ltn` shows what listens.",
                    ids.dest_ip
                ),
            ),
            (EpmdOutcome::Unanswered, _) => (
                "does not answer",
                format!(
                    "{} SYN to {mapper} and no answer in this capture: a packet filter drops them, the \
                     host is down, or the name resolves to the wrong address.",
                    seen.syns
                ),
                format!(
                    "Open TCP port {} towards {}, and check which address the part of the node name \
                     right of the @ resolves to on {}.",
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
        out.push(Detection {
            confidence: if unanswered { Confidence::Likely } else { Confidence::Proven },
            title: format!("the port mapper at {mapper} {how} (asked by {})", ids.src_ip),
            explanation,
            remedy: vec![remedy],
            // One port mapper that is not there is one cause, whoever asks; and a filter that rejects
            // does not say so each time: senders of ICMP limit its rate.
            parties: format!("{mapper},{}", if is_closed { "closed" } else { "blocked" }),
            evidence: evidence.into_iter().flatten().collect(),
            not_excluded: if unanswered {
                vec!["the answer did not pass the place of capture".to_owned()]
            } else {
                Vec::new()
            },
            ..Detection::new(&DOC)
        });
    }
}
