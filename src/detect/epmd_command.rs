//! A command to EPMD: KILL, STOP or DUMP.
//!
//! The evidence is the request, and the text of the answer or a close without one. Nodes never send commands: an
//! administrator, a script or an attacker does, and the capture cannot show which.

use super::epmd_common::{self, Pending};
use super::finding::{seconds, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::observe::{ConnectionIds, EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Severity, Shows};

/// Documentation of the rule `epmd-command`.
const DOC: RuleDoc = RuleDoc {
    rule: "epmd-command",
    severity: Severity::Medium,
    summary: "EPMD was asked to exit, drop a name, or dump",
    symptom: "EPMD ends, or a name disappears from it, because of a command",
    meaning: "A program sent EPMD a command: KILL ends it, STOP removes the registration of one \
              node, DUMP lists all names that it has and had. Nodes never send these; `epmd \
              -kill`, `epmd -stop` and debugging tools do. After KILL or STOP, nodes from OTP \
              23.3 on register again within seconds once EPMD runs; older nodes cannot be found \
              until they are restarted.",
    evidence: "The request itself. The answer shows the result. KILL: `OK`, or `NO` while nodes \
               are registered. STOP: `STOPPED`, or `NOEXIST` for an unknown name. DUMP: the \
               list. Silence means refused: EPMD takes commands from its own host only, and STOP \
               only if it was started with -relaxed_command_check.",
    lookalikes: "Scripts that upgrade or shut down a host run `epmd -kill` on purpose, which is \
                 no fault. A command from another host is refused, and is hardly ever sent by \
                 mistake.",
    log_lines: &[
        LogLine {
            writer: "EPMD in the foreground, after `epmd:` and the date",
            releases: "seen with OTP 25",
            text: "KILL_REQ from non local address",
        },
        LogLine {
            writer: "EPMD in the foreground, after `epmd:` and the date",
            releases: "seen with OTP 25",
            text: "Disallowed KILL_REQ, live nodes",
        },
        LogLine {
            writer: "EPMD in the foreground, after `epmd:` and the date",
            releases: "seen with OTP 25",
            text: "Disallowed STOP_REQ, no relaxed_command_check",
        },
        LogLine {
            writer: "`epmd -kill` on the terminal, if it is refused",
            releases: "seen with OTP 25",
            text: "Killing not allowed - living nodes in database.",
        },
    ],
    remedy: &[
        "Find out who sent the command: a script of your own, or a user who should not be on \
         that host.",
        "After KILL, check that EPMD runs again and lists every node (`epmd -names`).",
        "Start EPMD without -relaxed_command_check, and without ERL_EPMD_RELAXED_COMMAND_CHECK \
         in its environment, unless you need STOP.",
        "Close port 4369 to hosts outside the cluster.",
    ],
};

#[derive(Default)]
pub(super) struct EpmdCommand {
    pending: Pending,
}

impl Rule for EpmdCommand {
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
        let (keyword, command, purpose) = match epmd.request {
            Some(tag @ EpmdTag::KILL_REQ) => ("KILL", Shows::epmd(tag, ""), "to exit".to_owned()),
            Some(tag @ EpmdTag::STOP_REQ) => {
                let name = epmd.name.as_deref().unwrap_or("?");
                ("STOP", Shows::epmd(tag, format!("\"{name}\"")), format!("to drop \"{name}\""))
            }
            Some(tag @ EpmdTag::DUMP_REQ) => {
                ("DUMP", Shows::epmd(tag, ""), "for all names that it has and had".to_owned())
            }
            _ => return,
        };
        let server = epmd_common::server_address(ids);
        let asker = if epmd_common::is_local(ids) {
            "a process on the same host".to_owned()
        } else {
            ids.src_ip.to_string()
        };
        let CommandResult { kind, summary, meaning, what } = command_result(ids, epmd);
        let seen = &epmd.seen;
        let close = seen.close.filter(|_| epmd.outcome == EpmdOutcome::NoReply);
        let evidence = [
            shown(seen.request, Some(Role::Initiator), command.clone()),
            shown(
                seen.reply.or(close),
                seen.reply.map_or(seen.closed_by, |_| Some(Role::Acceptor)),
                what,
            ),
        ];
        let finding = Detection {
            title: format!("{asker} asked EPMD at {server} {purpose}: {summary}"),
            explanation: format!("{meaning} Nodes never send the command {keyword}."),
            remedy: vec![
                format!("Find out who sent the command from {}.", ids.src_ip),
                if epmd_common::is_local(ids) {
                    "Check with `epmd -names` that EPMD runs and lists every node; restart a missing node \
                     if it is older than OTP 23.3."
                        .to_owned()
                } else {
                    format!(
                        "Close port {} to {} unless that host belongs to the cluster.",
                        ids.dest_port, ids.src_ip
                    )
                },
            ],
            parties: format!("{},{server},{command},{kind}", ids.src_ip),
            evidence: evidence.into_iter().flatten().collect(),
            ..Detection::new(&DOC)
        };
        self.pending.report(ids, epmd.outcome, finding, out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        self.pending.release(out);
    }
}

/// The result of a command to EPMD.
struct CommandResult {
    /// Distinguishes results in the key of the incident.
    kind: &'static str,
    /// The result in a few words, for the title.
    summary: &'static str,
    /// The first sentences of the explanation.
    meaning: String,
    /// Evidence text for the answer or the close.
    what: Shows,
}

fn command_result(ids: &ConnectionIds, epmd: &EpmdObservation) -> CommandResult {
    let reply = epmd.reply.as_deref().unwrap_or_default();
    let quoted = Shows::Note(format!("\"{}\"", reply.escape_debug()).into());
    let replied = |kind, summary, meaning: &str| CommandResult {
        kind,
        summary,
        meaning: meaning.to_owned(),
        what: quoted.clone(),
    };
    match (epmd.outcome, epmd.request) {
        (EpmdOutcome::Answered, Some(EpmdTag::KILL_REQ)) if reply.starts_with("OK") => replied(
            "done",
            "it did",
            "It answered OK and exits, and all its registrations are lost. Nodes stay connected, but none \
             can be found until EPMD runs again.",
        ),
        (EpmdOutcome::Answered, Some(EpmdTag::STOP_REQ)) if reply.starts_with("STOPPED") => {
            replied(
                "done",
                "it did",
                "It answered STOPPED: the registration is closed. The node keeps running; from OTP 23.3 on it \
             registers again by itself.",
            )
        }
        (EpmdOutcome::Answered, Some(EpmdTag::DUMP_REQ)) => CommandResult {
            kind: "done",
            summary: "it listed them",
            meaning: match epmd.names.as_ref().map_or(0, Vec::len) {
                1 => "It listed 1 registered name, and the names that it had before; nothing was \
                      changed."
                    .to_owned(),
                names => format!(
                    "It listed {names} registered names, and the names that it had before; nothing was \
                     changed."
                ),
            },
            what: Shows::Note("the list".into()),
        },
        (EpmdOutcome::CommandRefused, Some(EpmdTag::KILL_REQ)) => replied(
            "refused",
            "refused",
            "It answered NO: nodes are registered, and it was not started with -relaxed_command_check.",
        ),
        (EpmdOutcome::CommandRefused, _) => {
            replied("unknown name", "no such name", "It answered that it has no such name.")
        }
        (EpmdOutcome::NoReply, request) => unanswered(ids, epmd, request),
        _ => CommandResult {
            kind: "unseen",
            summary: "the answer is not known",
            meaning: "The capture does not show a complete answer.".to_owned(),
            what: Shows::Note("incomplete answer".into()),
        },
    }
}

fn unanswered(
    ids: &ConnectionIds,
    epmd: &EpmdObservation,
    request: Option<EpmdTag>,
) -> CommandResult {
    let waited = seconds(epmd_common::waited_us(epmd).unwrap_or(0));
    let (kind, summary, meaning) = if epmd.seen.closed_by != Some(Role::Acceptor) {
        (
            "no answer",
            "no answer",
            format!("It sent no reply before the connection was closed, {waited} later."),
        )
    } else if !epmd_common::is_local(ids) {
        let meaning = "It closed the connection without a reply: EPMD accepts commands from its own host only.";
        ("refused", "refused", meaning.to_owned())
    } else if request == Some(EpmdTag::STOP_REQ) {
        let meaning = "It closed the connection without a reply, as EPMD does after STOP unless it was started \
                       with -relaxed_command_check.";
        ("refused", "refused", meaning.to_owned())
    } else {
        let meaning = "It closed the connection without a reply, although EPMD answers this command from its own \
                       host.";
        ("closed", "no answer", meaning.to_owned())
    };
    let what = Shows::Closed("closed without a reply".into());
    CommandResult { kind, summary, meaning, what }
}

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{NODE, closed, epmd, evidence, found};
    use super::*;

    const FAR: (&str, &str, &str) = ("10.0.0.1", "10.0.0.2", "1");
    const HERE: (&str, &str, &str) = (NODE, NODE, "1");

    fn only(
        ends: (&str, &str, &str),
        request: EpmdTag,
        outcome: EpmdOutcome,
        reply: &str,
    ) -> Detection {
        let event = epmd(ends, (10, 2.0), request, "b", outcome, |epmd| {
            epmd.reply = Some(reply.to_owned());
        });
        let mut found = found::<EpmdCommand>(&[event]);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn the_title_has_the_result_of_the_command() {
        use EpmdOutcome::{Answered, CommandRefused};
        #[rustfmt::skip] // a table reads best as a table
        let cases = [
            (EpmdTag::KILL_REQ, Answered, "OK", "to exit: it did"),
            (EpmdTag::KILL_REQ, CommandRefused, "NO", "to exit: refused"),
            (EpmdTag::STOP_REQ, Answered, "STOPPED", "to drop \"b\": it did"),
            (EpmdTag::STOP_REQ, CommandRefused, "NOEXISTSTOPPED", "to drop \"b\": no such name"),
            (EpmdTag::STOP_REQ, Answered, "what?", "to drop \"b\": the answer is not known"),
            (EpmdTag::DUMP_REQ, Answered, "", "it has and had: it listed them"),
            (EpmdTag::KILL_REQ, EpmdOutcome::Incomplete, "", "to exit: the answer is not known"),
        ];
        for (request, outcome, reply, title) in cases {
            let finding = only(HERE, request, outcome, reply);
            assert!(finding.title.ends_with(title), "{}", finding.title);
            assert!(finding.title.starts_with("a process on the same host asked"));
            assert_eq!(finding.severity, Severity::Medium);
        }
        let finding = only(HERE, EpmdTag::KILL_REQ, Answered, "OK");
        assert_eq!(evidence(&finding), [(9, "KILL_REQ"), (10, "\"OK\"")]);
        assert_eq!(finding.parties, "127.0.0.1,127.0.0.1:4369,KILL_REQ,done");
    }

    #[test]
    fn a_close_without_a_reply_is_explained_by_its_reason() {
        let silent = |ends, request, by, waited| {
            let outcome = EpmdOutcome::NoReply;
            let event = epmd(ends, (10, 2.0), request, "b", outcome, closed(by, waited));
            found::<EpmdCommand>(&[event]).remove(0)
        };
        let far = silent(FAR, EpmdTag::DUMP_REQ, Role::Acceptor, 0.001);
        assert!(far.title.starts_with("10.0.0.1 asked") && far.title.ends_with("refused"));
        assert!(far.explanation.contains("its own host only"));
        assert_eq!(evidence(&far), [(9, "DUMP_REQ"), (11, "closed without a reply")]);
        let strict = silent(HERE, EpmdTag::STOP_REQ, Role::Acceptor, 0.001);
        assert!(strict.explanation.contains("-relaxed_command_check"));
        let odd = silent(HERE, EpmdTag::KILL_REQ, Role::Acceptor, 0.001);
        assert!(odd.title.ends_with("no answer"));
        let hung = silent(FAR, EpmdTag::KILL_REQ, Role::Initiator, 9.0);
        assert!(hung.explanation.contains("9.0 s later"));
    }

    #[test]
    fn a_refused_command_and_an_executed_one_are_two_incidents() {
        let refused = only(HERE, EpmdTag::KILL_REQ, EpmdOutcome::CommandRefused, "NO");
        let done = only(HERE, EpmdTag::KILL_REQ, EpmdOutcome::Answered, "OK");
        assert_ne!(refused.parties, done.parties);
    }

    #[test]
    fn a_command_whose_answer_comes_late_is_one_finding() {
        let asked = epmd(FAR, (10, 2.0), EpmdTag::KILL_REQ, "", EpmdOutcome::Incomplete, |_| ());
        let silent = closed(Role::Acceptor, 0.001);
        let settled = epmd(FAR, (10, 2.0), EpmdTag::KILL_REQ, "", EpmdOutcome::NoReply, silent);
        let found = found::<EpmdCommand>(&[asked, settled]);
        assert_eq!(found.len(), 1);
        assert!(found[0].title.ends_with("refused"));
    }

    #[test]
    fn requests_of_nodes_are_no_commands() {
        let events = [EpmdTag::NAMES_REQ, EpmdTag::PORT_PLEASE2_REQ, EpmdTag::ALIVE2_REQ]
            .map(|request| epmd(FAR, (10, 2.0), request, "b", EpmdOutcome::Answered, |_| ()));
        assert!(found::<EpmdCommand>(&events).is_empty());
    }
}
