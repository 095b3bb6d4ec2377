//! The port of EPMD accepts connections, and no reply comes.
//!
//! The evidence is a complete request, and a close without a byte of reply, or a reply that is many seconds late.
//! The capture cannot show whether EPMD hangs or another program listens there. EPMD itself closes without a
//! reply if the name in the request is invalid, which is reported as such. It does so too after refused commands
//! and registrations from other hosts, which have rules of their own.

use std::time::Duration;

use super::finding::{seconds, shown};
use super::held::Held;
use super::{Detection, EndedBy, Ending, LogLine, Rule, RuleDoc, epmd_common, proxy_header};
use crate::judge::JudgedConnection;
use crate::judge::world::World;
use crate::observe::{ConnectionIds, EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Confidence, Evidence, Missing, Severity, Shows};

/// Documentation of the rule `epmd-silent`.
const DOC: RuleDoc = RuleDoc {
    rule: "epmd-silent",
    severity: Severity::Medium,
    summary: "EPMD accepts connections and does not answer",
    symptom: "port 4369 is open, and no reply comes",
    meaning: "EPMD accepted a connection and did not answer the request, or answered only after \
              a node would have given up: 7 s for a lookup before a dial, 10 s for any other \
              request. Either EPMD hangs (stopped by a signal, starved of CPU, swapped out), or \
              it has too many connections and closes new ones at once, or another program \
              listens on its port. A node that looks up another one then fails to connect, as if \
              that node were down; a node that starts does not come up.",
    evidence: "The TCP handshake, and a complete request that the other side acknowledged, with \
               both directions complete; and then one of these: the client closes first, a \
               second or more later, without a byte of reply; EPMD closes with FIN without a \
               reply; EPMD closes with RST, which means that it had not read the request; or a \
               reply that is 7 s late or more, or that came after the client had given up.",
    lookalikes: "EPMD itself closes without a reply for: lookups of a name that is empty, has \
                 255 or more characters, contains a zero byte or is not UTF-8 (reported with low \
                 severity, since the name is at fault); registrations from another host \
                 (registration-rejected); commands that it refuses (epmd-command); bytes that \
                 are no request (not-distribution); and a second request on one connection. EPMD \
                 that exits at this very moment looks the same. A load balancer without a \
                 backend accepts connections and closes them before any request: that is only \
                 possible, since the client may be a probe.",
    log_lines: &[
        LogLine {
            writer: "a node whose registration gets no answer in 10 s, and which then exits",
            releases: "seen with OTP 25; others are similar",
            text: "Protocol 'inet_tcp': register/listen error: no_reg_reply_from_epmd",
        },
        LogLine {
            writer: "a node whose registration is closed without a reply, and which then exits",
            releases: "seen with OTP 25; others are similar",
            text: "Protocol 'inet_tcp': register/listen error: epmd_close",
        },
    ],
    remedy: &[
        "On that host, see what listens on the port: `ss -ltnp 'sport = :4369'`. If it is not \
         epmd, stop it.",
        "Run `epmd -names` there. If it hangs, check the state of the process (`ps -o stat,wchan \
         -C epmd`; T means stopped by a signal), the load of the host, and the open files of \
         epmd.",
        "Restart EPMD. Nodes from OTP 23.3 on register again by themselves; older ones have to \
         be restarted.",
        "If connections are closed at once, EPMD has reached its limit of open files: see which \
         clients hold connections (`ss -tn 'sport = :4369'`), and raise LimitNOFILE or `ulimit \
         -n`.",
    ],
};

pub(super) struct EpmdSilent {
    /// Closes before a request, by the address of EPMD: a close after a request, which shows more, may follow.
    mute: Held<String>,
}

impl Default for EpmdSilent {
    fn default() -> Self {
        Self { mute: Held::new(MUTE_WAITS) }
    }
}

/// A kind of missing reply, with its parts of the finding.
struct Silence {
    /// Distinguishes the kinds; together with the address of EPMD it is the key of the incident.
    cause: String,
    /// Whether the connection was closed before a request.
    is_mute: bool,
    severity: Severity,
    confidence: Confidence,
    /// The predicate of the title, after "EPMD at X".
    what: String,
    explanation: String,
    remedy: String,
    /// Evidence by the packet that ended the wait.
    end: Option<Evidence>,
    not_excluded: Option<&'static str>,
}

impl Rule for EpmdSilent {
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
        if proxy_header::sent_for_request(settled, epmd, world).is_some() {
            return;
        }
        self.mute.release(settled.at, out);
        let ids = &*settled.connection;
        let Some(silence) = silence(ids, epmd) else { return };
        let server = epmd_common::server_address(ids);
        let name = epmd.name.as_ref().map_or_else(String::new, |name| format!("\"{name}\""));
        let request = match epmd.request {
            Some(EpmdTag::ALIVE2_REQ) => Shows::epmd(EpmdTag::ALIVE2_REQ, name),
            Some(EpmdTag::PORT_PLEASE2_REQ) => Shows::epmd(EpmdTag::PORT_PLEASE2_REQ, name),
            Some(EpmdTag::NAMES_REQ) => Shows::epmd(EpmdTag::NAMES_REQ, name),
            _ => Shows::Syn,
        };
        let asked = epmd.seen.request.or(epmd.seen.syn);
        let (is_mute, closes) = (silence.is_mute, silence.cause == CLOSES);
        let found = Detection {
            severity: silence.severity,
            confidence: silence.confidence,
            title: format!("EPMD at {server} {}", silence.what),
            explanation: silence.explanation,
            remedy: vec![silence.remedy],
            ended_by: EndedBy::Any(vec![Ending::reply(settled, true)]),
            parties: format!("{server},{}", silence.cause),
            evidence: shown(asked, Some(Role::Initiator), request)
                .into_iter()
                .chain(silence.end)
                .collect(),
            not_excluded: silence.not_excluded.map(ToOwned::to_owned).into_iter().collect(),
            logged_by: (epmd.request == Some(EpmdTag::ALIVE2_REQ))
                .then_some(Role::Initiator)
                .into_iter()
                .collect(),
            ..Detection::new(&DOC)
        };
        if is_mute {
            self.mute.hold(server, settled, found);
            return;
        }
        out.push(found);
        while let Some(held) = self.mute.take(|held| closes && held.about == server) {
            out.push(held.detection);
        }
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        self.mute.release(session.at(), out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        self.mute.release_all(|_| (), out);
    }
}

fn silence(ids: &ConnectionIds, epmd: &EpmdObservation) -> Option<Silence> {
    let seen = &epmd.seen;
    let asker = ids.src_ip;
    // Most requests have their answer in time, and need no sentence.
    let check_epmd = || {
        format!(
            "On {}, run `epmd -names`. If it hangs, check the state and the load of the epmd process, and \
         restart it.",
            ids.dest_ip
        )
    };
    let check_listener = || {
        format!(
            "On {}, see what listens on port {} (`ss -ltnp`), and run `epmd -names`.",
            ids.dest_ip, ids.dest_port
        )
    };
    if epmd.outcome == EpmdOutcome::Incomplete {
        return closed_before_request(ids, epmd);
    }
    if !matches!(
        epmd.request,
        Some(EpmdTag::ALIVE2_REQ | EpmdTag::PORT_PLEASE2_REQ | EpmdTag::NAMES_REQ)
    ) {
        return None;
    }
    if epmd.outcome != EpmdOutcome::NoReply {
        let took_us = epmd.response_time_us?;
        // The client had waited and closed before the answer came.
        let gave_up_us = epmd_common::waited_us(epmd)
            .filter(|waited| (GAVE_UP_US..took_us).contains(waited) && seen.closed_by.is_some());
        if took_us < LATE_US && gave_up_us.is_none() {
            return None;
        }
        let took = seconds(took_us);
        let gave_up = match gave_up_us {
            Some(waited) => format!("; {asker} had given up after {}", seconds(waited)),
            None => String::new(),
        };
        return Some(Silence {
            cause: "hangs".to_owned(),
            is_mute: false,
            severity: DOC.severity,
            confidence: Confidence::Proven,
            what: format!("took {took} to answer"),
            explanation: format!(
                "The answer to {asker} came {took} after the request{gave_up}. A dialing node gives up after \
                 7 s by default and does not connect. EPMD hangs at times, or its host is overloaded."
            ),
            remedy: check_epmd(),
            end: shown(
                seen.reply,
                Some(Role::Acceptor),
                Shows::Note(format!("reply, {took} later").into()),
            ),
            not_excluded: None,
        });
    }
    if seen.is_pipelined {
        return None;
    }
    let waited_us = epmd_common::waited_us(epmd)?;
    let waited = seconds(waited_us);
    let end = |what| shown(seen.close, seen.closed_by, what);
    let no_reply = Shows::Close { is_reset: false, missing: Some(Missing::EpmdReply), detail: "" };
    if seen.closed_by? == Role::Initiator {
        return (waited_us >= GAVE_UP_US && seen.is_acknowledged).then(|| Silence {
            cause: "hangs".to_owned(),
            is_mute: false,
            severity: DOC.severity,
            confidence: Confidence::Likely,
            what: "accepts connections and does not answer".to_owned(),
            explanation: format!(
                "{asker} sent a request, the kernel of {} acknowledged it, and no answer came within \
                 {waited}; then {asker} gave up. EPMD hangs, is stopped by a signal, or gets no CPU time.",
                ids.dest_ip
            ),
            remedy: check_epmd(),
            end: end(Shows::Closed(format!("gave up after {waited}").into())),
            not_excluded: Some("what listens there is not EPMD, and it waits for more data"),
        });
    }
    // Registrations from another host have a rule of their own, however the connection is closed.
    if epmd.request == Some(EpmdTag::ALIVE2_REQ) && !epmd_common::is_local(ids) {
        return None;
    }
    if seen.is_unread {
        return Some(Silence {
            cause: "closes unread".to_owned(),
            is_mute: false,
            severity: DOC.severity,
            confidence: Confidence::Likely,
            what: "closes connections without reading the request".to_owned(),
            explanation: format!(
                "{asker} connected and sent a request, and the connection was reset or closed before the \
                 request was read: EPMD has reached its limit of connections and closes new ones at once, or \
                 a proxy or a load balancer without EPMD behind it accepted the connection."
            ),
            remedy: format!(
                "On {}, count the connections of EPMD (`ss -tn 'sport = :{}'`), see which clients hold \
                 them, and raise its limit of open files. Check what listens there (`ss -ltnp`).",
                ids.dest_ip, ids.dest_port
            ),
            end: end(Shows::Closed("closed with the request unread".into())),
            not_excluded: Some(
                "EPMD exited at that moment, or something on the path reset the connection",
            ),
        });
    }
    if let Some(why) = epmd_common::unanswerable(epmd) {
        return Some(Silence {
            cause: format!("cannot answer,{asker}"),
            is_mute: false,
            severity: Severity::Low,
            confidence: Confidence::Likely,
            what: format!("does not answer a request with a name that {why}"),
            explanation: format!(
                "{asker} sent a name that {why}. EPMD then closes the connection without a reply: the name \
                 is at fault, and EPMD works."
            ),
            remedy: format!("Correct the node name that {asker} dials or starts with."),
            end: end(no_reply),
            not_excluded: Some("what listens there is not EPMD"),
        });
    }
    let when = if waited_us < 100_000 { "at once".to_owned() } else { format!("{waited} later") };
    Some(Silence {
        cause: CLOSES.to_owned(),
        is_mute: false,
        severity: DOC.severity,
        confidence: Confidence::Likely,
        what: "closes connections without a reply".to_owned(),
        explanation: format!(
            "{asker} sent a request, and the connection was closed {when} without a byte of reply. EPMD \
             answers such a request: what listens on {} is another program, or something in front of EPMD took \
             the connection, such as the sidecar of a service mesh, a proxy, a load balancer or a published port.",
            epmd_common::server_address(ids)
        ),
        remedy: format!(
            "{} If EPMD is well there, look for what takes connections to that port in front of \
             it: a sidecar or a port redirect (`iptables -t nat -S`, `nft list ruleset`), or a load balancer.",
            check_listener()
        ),
        end: end(no_reply),
        not_excluded: Some("EPMD exited at that moment"),
    })
}

/// A connection that the other side accepted and closed at once, before any data.
fn closed_before_request(ids: &ConnectionIds, epmd: &EpmdObservation) -> Option<Silence> {
    let seen = &epmd.seen;
    let lasted = seen.close?.at.since(seen.syn?.at);
    let is_at_once = seen.is_mute && seen.is_whole && lasted < AT_ONCE;
    (is_at_once && seen.closed_by == Some(Role::Acceptor)).then(|| Silence {
        cause: CLOSES.to_owned(),
        is_mute: true,
        severity: Severity::Low,
        confidence: Confidence::Possible,
        what: "closes a connection before it gets a request".to_owned(),
        explanation: format!(
            "{} connected, and the other side closed the connection at once. EPMD does that when it has \
             reached its limit of connections; a load balancer without EPMD behind it does too.",
            ids.src_ip
        ),
        remedy: format!(
            "On {}, run `epmd -names` to see whether it answers, and `ss -ltnp` to see what listens.",
            ids.dest_ip
        ),
        end: shown(seen.close, seen.closed_by, Shows::Closed("closed before any data".into())),
        not_excluded: Some("the client is a probe, and EPMD exited at that moment"),
    })
}

/// The cause of connections that are closed without a reply, before or after the request.
const CLOSES: &str = "closes";

/// How long a close before any request waits for one after a request. A node tries again within seconds.
const MUTE_WAITS: Duration = Duration::from_secs(10);

/// A reply after this time is late: a dialing node gives up when its setup time (7 s by default) is over.
const LATE_US: u64 = 7_000_000;

/// Shortest wait that shows a hanging EPMD. Lookups wait up to 7 s; a client that closes earlier than this was
/// not waiting for the reply.
const GAVE_UP_US: u64 = 1_000_000;

/// Maximum time from the SYN to a close that counts as a close at once.
const AT_ONCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{closed, epmd, evidence, found, mark};
    use super::*;
    use crate::detect::tests::Step;

    const ENDS: (&str, &str, &str) = ("10.0.0.1", "10.0.0.2", "1");

    fn silent(request: EpmdTag, name: &str, change: impl FnOnce(&mut EpmdObservation)) -> Step {
        epmd(ENDS, (10, 2.0), request, name, EpmdOutcome::NoReply, change)
    }

    fn only(event: Step) -> Detection {
        let mut found = found::<EpmdSilent>(&[event]);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn is_none(event: Step) {
        let found = found::<EpmdSilent>(&[event]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_client_that_gives_up_shows_that_epmd_hangs() {
        for request in [EpmdTag::PORT_PLEASE2_REQ, EpmdTag::NAMES_REQ, EpmdTag::ALIVE2_REQ] {
            let finding = only(silent(request, "b", closed(Role::Initiator, 7.0)));
            assert_eq!(finding.parties, "10.0.0.2:4369,hangs");
            assert_eq!(evidence(&finding)[1], (11, "gave up after 7.0 s"));
            assert_eq!(finding.severity, Severity::Medium);
        }
        let finding = only(silent(EpmdTag::PORT_PLEASE2_REQ, "b", closed(Role::Initiator, 7.0)));
        assert_eq!(evidence(&finding)[0], (9, "PORT_PLEASE2_REQ \"b\""));
        assert!(finding.logged_by.is_empty());
    }

    #[test]
    fn a_client_that_closes_early_or_was_not_acknowledged_shows_nothing() {
        is_none(silent(EpmdTag::PORT_PLEASE2_REQ, "b", closed(Role::Initiator, 0.9)));
        is_none(silent(EpmdTag::PORT_PLEASE2_REQ, "b", |epmd| {
            closed(Role::Initiator, 7.0)(epmd);
            epmd.seen.is_acknowledged = false;
        }));
        is_none(silent(EpmdTag::PORT_PLEASE2_REQ, "b", |epmd| {
            closed(Role::Initiator, 7.0)(epmd);
            epmd.seen.closed_by = None;
        }));
    }

    #[test]
    fn a_request_that_is_not_complete_in_the_capture_is_no_finding() {
        let event = epmd(
            ENDS,
            (10, 2.0),
            EpmdTag::PORT_PLEASE2_REQ,
            "b",
            EpmdOutcome::Incomplete,
            |epmd| {
                closed(Role::Acceptor, 0.1)(epmd);
                epmd.seen.syn = Some(mark(1, 2.0));
            },
        );
        is_none(event);
    }

    #[test]
    fn a_close_without_a_reply_and_a_close_with_an_unread_request_are_two_causes() {
        let finding = only(silent(EpmdTag::PORT_PLEASE2_REQ, "b", closed(Role::Acceptor, 0.001)));
        assert_eq!(finding.parties, "10.0.0.2:4369,closes");
        let finding = only(silent(EpmdTag::PORT_PLEASE2_REQ, "b", |epmd| {
            closed(Role::Acceptor, 0.001)(epmd);
            epmd.seen.is_unread = true;
        }));
        assert_eq!(finding.parties, "10.0.0.2:4369,closes unread");
        assert_eq!(evidence(&finding)[1], (11, "closed with the request unread"));
    }

    #[test]
    fn requests_that_epmd_never_answers_are_no_fault_of_epmd() {
        for name in ["", "a\0b", &"x".repeat(255)] {
            let finding =
                only(silent(EpmdTag::PORT_PLEASE2_REQ, name, closed(Role::Acceptor, 0.001)));
            assert_eq!(finding.severity, Severity::Low, "{name:?}");
            assert!(finding.title.contains("a name that"));
        }
        let longest_valid = only(silent(
            EpmdTag::PORT_PLEASE2_REQ,
            &"x".repeat(254),
            closed(Role::Acceptor, 0.001),
        ));
        assert_eq!(longest_valid.severity, Severity::Medium);
        for request in [
            EpmdTag::ALIVE2_REQ,
            EpmdTag::KILL_REQ,
            EpmdTag::STOP_REQ,
            EpmdTag::DUMP_REQ,
            EpmdTag::PORT_REQ,
        ] {
            is_none(silent(request, "b", closed(Role::Acceptor, 0.001)));
        }
        is_none(silent(EpmdTag::NAMES_REQ, "", |epmd| {
            closed(Role::Acceptor, 0.001)(epmd);
            epmd.seen.is_pipelined = true;
        }));
    }

    #[test]
    fn an_answer_is_late_if_a_node_would_have_given_up() {
        let answered = |took| {
            epmd(
                ENDS,
                (10, 2.0),
                EpmdTag::PORT_PLEASE2_REQ,
                "b",
                EpmdOutcome::NotRegistered,
                |epmd| {
                    epmd.response_time_us = Some(took);
                },
            )
        };
        assert_eq!(evidence(&only(answered(7_500_000)))[1], (10, "reply, 7.5 s later"));
        is_none(answered(6_900_000));
        let too_late = |waited, took| {
            epmd(
                ENDS,
                (10, 2.0),
                EpmdTag::PORT_PLEASE2_REQ,
                "b",
                EpmdOutcome::NotRegistered,
                |epmd| {
                    closed(Role::Initiator, waited)(epmd);
                    epmd.response_time_us = Some(took);
                },
            )
        };
        assert!(only(too_late(2.0, 2_100_000)).explanation.contains("given up after 2.0 s"));
        is_none(too_late(0.5, 2_100_000));
        is_none(too_late(2.2, 2_100_000));
    }

    #[test]
    fn a_close_before_any_request_is_only_possible() {
        let mute = |by, lasted: f64| {
            let outcome = EpmdOutcome::Incomplete;
            epmd(ENDS, (10, 2.0), EpmdTag::PORT_PLEASE2_REQ, "b", outcome, |epmd| {
                closed(by, lasted)(epmd);
                (epmd.request, epmd.name, epmd.seen.request) = (None, None, None);
                epmd.seen.syn = Some(mark(1, 2.0));
                epmd.seen.is_mute = true;
            })
        };
        let closes = || silent(EpmdTag::PORT_PLEASE2_REQ, "b", closed(Role::Acceptor, 0.001));
        for events in
            [[closes(), mute(Role::Acceptor, 0.001)], [mute(Role::Acceptor, 0.001), closes()]]
        {
            let all = found::<EpmdSilent>(&events);
            assert_eq!(
                (all.len(), all[0].severity),
                (2, Severity::Medium),
                "the stronger one first"
            );
            assert_eq!(all[0].parties, all[1].parties, "one cause");
        }
        let finding = only(mute(Role::Acceptor, 0.001));
        assert_eq!((finding.confidence, finding.severity), (Confidence::Possible, Severity::Low));
        assert_eq!(evidence(&finding), [(1, "SYN"), (11, "closed before any data")]);
        is_none(mute(Role::Initiator, 0.001));
        is_none(mute(Role::Acceptor, 61.0));
    }
}
