//! EPMD on a host cannot be reached.
//!
//! The evidence is RST or ICMP in answer to the SYN, or no answer in this capture. The capture cannot show
//! whether the host is down or a packet filter is on the path.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::epmd_common::{is_local, with_session_id};
use super::finding::{address, order_by_frame, shown, syn_count};
use super::held::Held;
use super::{Detection, EndedBy, Ending, Host, KnownAs, LogLine, Rule, RuleDoc, log_lines};
use crate::decode::Endpoint;
use crate::judge::JudgedConnection;
use crate::judge::world::{EpmdAnswer, World};
use crate::limits::remember;
use crate::observe::{ConnectionIds, EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Confidence, Evidence, Severity, Shows};

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
               port, or a firewall rejects with RST) or with ICMP (a firewall, or no route). \
               SYNs without any answer make it likely: the answer may have taken a path past \
               the capture point. Where EPMD had answered at the same address before, a \
               firewall is as good a reason as an EPMD that ended.",
    lookalikes: "The first node of a host asks its EPMD in vain, and starts it: that is no \
                 finding if EPMD answers within 10 s. A host name that cannot be resolved: then \
                 there are only DNS queries, and no SYN. A connection that opens and gets no \
                 reply is epmd-silent.",
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
        "If EPMD listens on 127.0.0.1, on one interface or on one family only, look for \
         ERL_EPMD_ADDRESS or -address; if it listens on another port, set the same \
         ERL_EPMD_PORT on all hosts.",
        "If EPMD listens on the dialed address, look for a packet filter that rejects the port.",
    ],
};

pub(super) struct EpmdUnreachable {
    /// Refusals on the host of EPMD: a node that starts there starts EPMD as well.
    starting: Held<Starting>,
    /// The host whose EPMD refused so often that none starts there.
    down: Option<Host>,
    /// The host whose EPMD was last asked to exit.
    asked_to_exit: Option<Host>,
    /// Hosts whose EPMD answered at a loopback address, which another host has as well.
    answered: VecDeque<Host>,
}

/// The EPMD of a host that refused a client there.
struct Starting {
    host: Host,
    /// Whether that EPMD had answered before.
    has_answered: bool,
}

impl Default for EpmdUnreachable {
    fn default() -> Self {
        Self {
            starting: Held::new(START),
            down: None,
            asked_to_exit: None,
            answered: VecDeque::new(),
        }
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
        world: &World,
        out: &mut Vec<Detection>,
    ) {
        let ids = &*settled.connection;
        let seen = &epmd.seen;
        let server_host = Host::of(ids.dest_ip, settled);
        // The reply to a registration was sent long before that ends.
        if seen.reply.is_some() && epmd.outcome != EpmdOutcome::Unregistered {
            let is_new = !self.answered.contains(&server_host);
            if let Host::Loopback(_) = server_host
                && is_new
            {
                remember(&mut self.answered, server_host, REMEMBERED);
            }
            self.starting.take_back(|held| held.about.host == server_host);
            self.down = self.down.filter(|down| *down != server_host);
            self.asked_to_exit = self.asked_to_exit.filter(|asked| *asked != server_host);
        }
        // A request that the capture lacks may be one to exit.
        let is_unknown = epmd.request.is_none() && epmd.outcome == EpmdOutcome::Incomplete;
        if epmd.request == Some(EpmdTag::KILL_REQ) || is_unknown {
            self.asked_to_exit = Some(server_host);
        }
        self.starting.release(settled.at, out);
        let mut found = match (epmd.outcome, seen.icmp) {
            (EpmdOutcome::ConnectionRefused, Some(icmp)) => rejected(ids, icmp),
            (EpmdOutcome::ConnectionRefused, None) => refused(ids, world),
            (EpmdOutcome::Unanswered, _) => unanswered(ids, seen.syns, world),
            _ => return,
        };
        let answer = if seen.icmp.is_some() { Shows::Icmp } else { Shows::RST };
        found.evidence.extend(shown(seen.syn, Some(Role::Initiator), Shows::Syn));
        found.evidence.extend(shown(seen.close, Some(Role::Acceptor), answer));
        order_by_frame(&mut found.evidence);
        // EPMD that cannot be reached is one cause, however many clients try. ICMP and silence share one
        // key, because senders of ICMP limit its rate and a rejecting filter does not answer each SYN.
        let is_closed = epmd.outcome == EpmdOutcome::ConnectionRefused && seen.icmp.is_none();
        let server = address(ids.dest_ip, ids.dest_port);
        found.parties = format!("{server},{}", if is_closed { "closed" } else { "blocked" });
        let client = KnownAs::AnyOf(Host::of(ids.src_ip, settled));
        found.ended_by = EndedBy::Any(vec![
            Ending::reply(settled, !is_closed),
            Ending::connect(client, KnownAs::AnyOf(server_host)),
        ]);
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        let has_answered = match server_host {
            Host::At(_) => world.reach().epmd(end).is_some(),
            Host::Loopback(_) => self.answered.contains(&server_host),
        };
        // An EPMD that answered before, and was not asked to exit, ended by a fault.
        let has_failed = has_answered && self.asked_to_exit != Some(server_host);
        let may_start = !has_failed && self.down != Some(server_host);
        if is_closed && is_local(ids) && may_start {
            let found = Detection { severity_if_solved: Some(Severity::Low), ..found };
            let starting = Starting { host: server_host, has_answered };
            self.starting.hold(starting, settled, with_session_id(ids, found));
            if self.starting.count(|held| held.about.host == server_host) >= OFTEN {
                self.down = Some(server_host);
                while let Some(held) = self.starting.take(|held| held.about.host == server_host) {
                    out.push(held.at(settled.at));
                }
            }
        } else {
            out.push(found);
        }
    }

    fn on_session(&mut self, it: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        self.starting.release(it.at(), out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        // The first node of a host starts EPMD: a refusal right before the end of the capture shows nothing, unless EPMD was
        // there before.
        self.starting.take_back(|held| !held.about.has_answered);
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

/// The SYN was answered with ICMP "destination unreachable".
fn rejected(ids: &ConnectionIds, (kind, code, reporter): (u8, u8, IpAddr)) -> Detection {
    let server = address(ids.dest_ip, ids.dest_port);
    Detection {
        title: format!("a firewall rejects connections from {} to EPMD at {server}", ids.src_ip),
        explanation: format!(
            "{reporter} answered the SYN with ICMP {kind}/{code}, \"destination unreachable\": a packet \
             filter rejects the connection, or there is no route."
        ),
        remedy: vec![format!(
            "Open TCP port {} from {} to {}.",
            ids.dest_port, ids.src_ip, ids.dest_ip
        )],
        ..Detection::new(&DOC)
    }
}

/// The SYN was answered with RST.
fn refused(ids: &ConnectionIds, world: &World) -> Detection {
    let (ip, port) = (ids.dest_ip, ids.dest_port);
    let (server, reach) = (address(ip, port), world.reach());
    let end = Endpoint { ip, port };
    let mut found = Detection {
        title: format!("EPMD at {server} refused the connection from {}", ids.src_ip),
        explanation: format!(
            "The SYN to {server} was answered with RST: the host is up, and EPMD does not listen on that \
             address and port{}.",
            if ip.is_loopback() { "" } else { ", or a packet filter answers in its name" }
        ),
        ..Detection::new(&DOC)
    };
    let mut steps = vec![
        format!(
            "On {ip}, see whether EPMD runs, and on which addresses it listens: `ss -ltnp | grep epmd`. A \
             node starts it; `epmd -daemon` starts it alone."
        ),
        "If it listens on 127.0.0.1, on one interface or on the other address family (IPv4, IPv6) only, look \
         for ERL_EPMD_ADDRESS or -address, and dial an address on which it listens."
            .to_owned(),
        "If it listens on another port, set the same ERL_EPMD_PORT on all hosts.".to_owned(),
    ];
    if let Some(other) = reach.epmd_on_other_port(end) {
        found.title += &format!(", and an EPMD answers on port {} there", other.port);
        found.explanation += &format!(
            " An EPMD of that host answers on port {} (frame {}): {} looks for it on another port.",
            other.port, other.mark.frame.number, ids.src_ip
        );
        found.evidence.push(answer_of(other));
        steps.insert(
            0,
            format!(
                "Set ERL_EPMD_PORT={} for the programs on {}, or let all hosts use port {port}.",
                other.port, ids.src_ip
            ),
        );
    }
    if let Some(before) = reach.epmd(end) {
        found.explanation += &format!(
            " It had answered there before (frame {}), so it ended since",
            before.mark.frame.number
        );
        found.evidence.push(answer_of(before));
        if ip.is_loopback() {
            found.explanation += ".";
        } else {
            found.confidence = Confidence::Likely;
            found.explanation += ", or the filter is new.";
            found.not_excluded =
                vec!["a packet filter that rejects with RST, while EPMD listens".to_owned()];
        }
    }
    if let Some((name, other)) = world.addresses().other_family(ip) {
        let answer = reach.epmd(Endpoint { ip: other.ip, port });
        found.explanation += &format!(
            " {name} has another address in the DNS, {} (frame {}){}.",
            other.ip,
            other.frame.number,
            answer.map_or_else(String::new, |answer| format!(
                ", and an EPMD answers there (frame {})",
                answer.mark.frame.number
            ))
        );
        found.evidence.extend(answer.map(answer_of));
    }
    if !ip.is_loopback() {
        steps.push(format!(
            "If it listens at {server}, look for a packet filter between {} and {ip} that rejects the port.",
            ids.src_ip
        ));
    }
    found.remedy = steps;
    found
}

/// The SYN was not answered.
fn unanswered(ids: &ConnectionIds, syns: u32, world: &World) -> Detection {
    let server = address(ids.dest_ip, ids.dest_port);
    let resolved = world.addresses().name_of(ids.dest_ip).and_then(|(name, addresses)| {
        let frame = addresses.iter().find(|it| it.ip == ids.dest_ip)?.frame.number;
        let others: Vec<_> = addresses.iter().filter(|it| it.ip != ids.dest_ip).collect();
        let also =
            others.first().map_or_else(String::new, |other| format!(", as well as {}", other.ip));
        Some(format!(" {name} was resolved to that address (frame {frame}){also}."))
    });
    Detection {
        confidence: Confidence::Likely,
        title: format!("no answer from EPMD at {server} (asked by {})", ids.src_ip),
        explanation: format!(
            "{} to {server} and no answer in this capture: a packet filter drops them, the host is down, or \
             the name resolves to the wrong address.{}",
            syn_count(syns.into()),
            resolved.unwrap_or_default()
        ),
        remedy: vec![format!(
            "Open TCP port {} on the path to {}, and check which address the part of the node name after \
             the @ resolves to on {}.",
            ids.dest_port, ids.dest_ip, ids.src_ip
        )],
        not_excluded: vec!["the answer took a path past the capture point".to_owned()],
        ..Detection::new(&DOC)
    }
}

/// Evidence by an answer of an EPMD on another connection.
fn answer_of(answer: &EpmdAnswer) -> Evidence {
    Evidence {
        frame: answer.mark.frame,
        input: None,
        session_id: Some(Arc::clone(&answer.session_id)),
        from: None,
        what: Shows::Note(format!("EPMD answered on port {}", answer.port).into()),
    }
}

/// A node that starts asks once for each address family, and those who wait for it ask a few times more.
const OFTEN: usize = 16;

/// The first node of a host asks EPMD in vain, starts it, and registers as soon as it is up. That takes a second or two,
/// and several on a busy host.
const START: Duration = Duration::from_secs(10);

/// Hosts whose EPMD answered at a loopback address: there is one for each input.
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{NODE, epmd, found, mark};
    use super::*;
    use crate::detect::tests::Step;

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

    fn asked_to_exit(host: &str, at: f64) -> Step {
        let ends = (host, host, "asked to exit");
        epmd(ends, (9, at), EpmdTag::KILL_REQ, "", EpmdOutcome::Answered, |_| ())
    }

    #[test]
    fn an_epmd_that_was_asked_to_exit_is_possibly_missed_if_the_capture_ends_at_once() {
        let steps = [registers(NODE, 0.5), asked_to_exit(NODE, 0.7), refused(NODE, NODE, 1.0)];
        let found = found::<EpmdUnreachable>(&steps);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.confidence, finding.not_excluded.len()), (Confidence::Possible, 1));
    }

    #[test]
    fn an_epmd_that_answered_and_was_not_asked_to_exit_is_reported_at_once() {
        let steps = [registers(NODE, 0.5), refused(NODE, NODE, 1.0), registers(NODE, 3.0)];
        let found = found::<EpmdUnreachable>(&steps);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.confidence, finding.settled.is_none()), (Confidence::Proven, true));
    }

    #[test]
    fn an_epmd_that_refuses_again_and_again_is_reported_at_once() {
        let often = |times| -> Vec<Step> {
            (0..times).map(|n| refused(NODE, NODE, 1.0 + f64::from(n) / 100.0)).collect()
        };
        assert!(found::<EpmdUnreachable>(&often(15)).is_empty());
        assert_eq!(found::<EpmdUnreachable>(&often(18)).len(), 18);
    }

    #[test]
    fn a_capture_that_ends_before_a_node_can_start_epmd_shows_no_problem() {
        assert!(found::<EpmdUnreachable>(&[refused(NODE, NODE, 1.0)]).is_empty());
    }

    #[test]
    fn a_refusal_from_another_host_is_reported_at_once() {
        let steps = [refused("10.0.0.2", "10.0.0.1", 1.0), registers("10.0.0.1", 1.5)];
        let found = found::<EpmdUnreachable>(&steps);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!((finding.severity, finding.settled.is_none()), (Severity::High, true));
    }

    #[test]
    fn a_refusal_and_an_icmp_message_are_two_causes_and_each_is_one_for_all_clients() {
        let parties = |outcome: EpmdOutcome, icmp: bool| {
            let ends = ("10.0.0.1", NODE, "refused");
            let step = epmd(ends, (2, 1.0), EpmdTag::NAMES_REQ, "", outcome, |it| {
                it.request = None;
                it.seen.syn = it.seen.request.take();
                it.seen.close = it.seen.reply.take();
                it.seen.icmp = icmp.then(|| (3, 3, NODE.parse().unwrap()));
            });
            found::<EpmdUnreachable>(&[step]).pop().unwrap().parties
        };
        assert!(parties(EpmdOutcome::ConnectionRefused, false).ends_with(",closed"));
        assert!(parties(EpmdOutcome::ConnectionRefused, true).ends_with(",blocked"));
        assert!(parties(EpmdOutcome::Unanswered, false).ends_with(",blocked"));
    }
}
