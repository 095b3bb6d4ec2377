//! A command to a port mapper: KILL, STOP or DUMP.
//!
//! Evidence: the request, and the words of the answer, or silence. No node sends any of them: an administrator
//! does, a script, or somebody who should not. What it does not tell: which.

use super::epmd_common::{self, Pending};
use super::finding::{seconds, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::observe::{ConnectionIds, EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Severity, Shows};

/// `beamscope explain epmd-command`.
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
        let name = epmd.name.as_deref().unwrap_or("?");
        let mapper = epmd_common::written(ids);
        let asker = if epmd_common::is_local(ids) {
            "a process of its own host".to_owned()
        } else {
            ids.src_ip.to_string()
        };
        let (command, asks) = match epmd.request {
            Some(EpmdTag::KILL_REQ) => (Shows::epmd(EpmdTag::KILL_REQ, ""), "to end".to_owned()),
            Some(EpmdTag::STOP_REQ) => (
                Shows::epmd(EpmdTag::STOP_REQ, format!("\"{name}\"")),
                format!("to drop \"{name}\""),
            ),
            Some(EpmdTag::DUMP_REQ) => {
                (Shows::epmd(EpmdTag::DUMP_REQ, ""), "for all names it has and had".to_owned())
            }
            _ => return,
        };
        let Answer { kind, did, means, what } = answer(ids, epmd);
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
            title: format!("{asker} asked the port mapper at {mapper} {asks}: {did}"),
            explanation: format!("{means} No node sends this command by itself."),
            remedy: vec![
                format!("Find out who gave the command at {}.", ids.src_ip),
                if epmd_common::is_local(ids) {
                    "See with `epmd -names` that the port mapper runs and every node is listed; one that \
                     is missing and older than OTP 23.3 has to be restarted."
                        .to_owned()
                } else {
                    format!(
                        "Close port {} to {} unless it is of the cluster.",
                        ids.dest_port, ids.src_ip
                    )
                },
            ],
            parties: format!("{},{mapper},{command},{kind}", ids.src_ip),
            evidence: evidence.into_iter().flatten().collect(),
            ..Detection::new(&DOC)
        };
        self.pending.tell(ids, epmd.outcome, finding, out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        self.pending.release(out);
    }
}

/// What EPMD made of a command.
struct Answer {
    /// Tells one answer from another.
    kind: &'static str,
    /// In a word or two, for the title.
    did: &'static str,
    means: String,
    /// The packet that shows it.
    what: Shows,
}

fn answer(ids: &ConnectionIds, epmd: &EpmdObservation) -> Answer {
    let reply = epmd.reply.as_deref().unwrap_or_default();
    let words = Shows::Note(format!("\"{}\"", reply.escape_debug()).into());
    let said =
        |kind, did, means: &str| Answer { kind, did, means: means.to_owned(), what: words.clone() };
    match (epmd.outcome, epmd.request) {
        (EpmdOutcome::Answered, Some(EpmdTag::KILL_REQ)) if reply.starts_with("OK") => said(
            "done",
            "it did",
            "It answered OK and ends; with it goes every registration it had. Nodes stay connected, and \
             none can be found until a port mapper runs again.",
        ),
        (EpmdOutcome::Answered, Some(EpmdTag::STOP_REQ)) if reply.starts_with("STOPPED") => said(
            "done",
            "it did",
            "It answered STOPPED: the registration is closed. The node stays up; from OTP 23.3 on it \
             registers again by itself.",
        ),
        (EpmdOutcome::Answered, Some(EpmdTag::DUMP_REQ)) => Answer {
            kind: "done",
            did: "it gave them",
            means: format!(
                "It listed {} registered names, and those it remembers; nothing was changed.",
                epmd.names.as_ref().map_or(0, Vec::len)
            ),
            what: Shows::Note("the list".into()),
        },
        (EpmdOutcome::CommandRefused, Some(EpmdTag::KILL_REQ)) => said(
            "refused",
            "refused",
            "It answered NO: nodes are registered, and it was not started with -relaxed_command_check.",
        ),
        (EpmdOutcome::CommandRefused, _) => {
            said("unknown name", "no such name", "It answered that it knows no such name.")
        }
        (EpmdOutcome::NoReply, request) => unanswered(ids, epmd, request),
        _ => Answer {
            kind: "unseen",
            did: "the answer is not known",
            means: "The capture does not show a whole answer.".to_owned(),
            what: Shows::Note("not the whole answer".into()),
        },
    }
}

fn unanswered(ids: &ConnectionIds, epmd: &EpmdObservation, request: Option<EpmdTag>) -> Answer {
    let waited = seconds(epmd_common::waited_us(epmd).unwrap_or(0));
    let (kind, did, means) = if epmd.seen.closed_by != Some(Role::Acceptor) {
        (
            "no answer",
            "no answer",
            format!("No answer came until the connection was closed, {waited} later."),
        )
    } else if !epmd_common::is_local(ids) {
        let means =
            "It closed the connection without a word: EPMD takes commands from its own host alone.";
        ("refused", "refused", means.to_owned())
    } else if request == Some(EpmdTag::STOP_REQ) {
        let means = "It closed the connection without a word, as EPMD does with STOP unless it was started \
                     with -relaxed_command_check.";
        ("refused", "refused", means.to_owned())
    } else {
        let means = "It closed the connection without a word, which EPMD does not do when its own host asks.";
        ("closed", "no answer", means.to_owned())
    };
    Answer { kind, did, means, what: Shows::Closed("closed without a reply".into()) }
}

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{NODE, closed, epmd, evidence, found};
    use super::*;

    const FAR: (&str, &str, &str) = ("10.0.0.1", "10.0.0.2", "1");
    const HERE: (&str, &str, &str) = (NODE, NODE, "1");

    fn told(
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
    fn each_answer_is_told_as_what_it_is() {
        use EpmdOutcome::{Answered, CommandRefused};
        #[rustfmt::skip] // a table reads best as a table
        let cases = [
            (EpmdTag::KILL_REQ, Answered, "OK", "to end: it did"),
            (EpmdTag::KILL_REQ, CommandRefused, "NO", "to end: refused"),
            (EpmdTag::STOP_REQ, Answered, "STOPPED", "to drop \"b\": it did"),
            (EpmdTag::STOP_REQ, CommandRefused, "NOEXISTSTOPPED", "to drop \"b\": no such name"),
            (EpmdTag::STOP_REQ, Answered, "what?", "to drop \"b\": the answer is not known"),
            (EpmdTag::DUMP_REQ, Answered, "", "it has and had: it gave them"),
            (EpmdTag::KILL_REQ, EpmdOutcome::Incomplete, "", "to end: the answer is not known"),
        ];
        for (request, outcome, reply, title) in cases {
            let finding = told(HERE, request, outcome, reply);
            assert!(finding.title.ends_with(title), "{}", finding.title);
            assert!(finding.title.starts_with("a process of its own host asked"));
            assert_eq!(finding.severity, Severity::Medium);
        }
        let finding = told(HERE, EpmdTag::KILL_REQ, Answered, "OK");
        assert_eq!(evidence(&finding), [(9, "KILL_REQ"), (10, "\"OK\"")]);
        assert_eq!(finding.parties, "127.0.0.1,127.0.0.1:4369,KILL_REQ,done");
    }

    #[test]
    fn silence_is_told_by_its_reason() {
        let silent = |ends, request, by, waited| {
            let outcome = EpmdOutcome::NoReply;
            let event = epmd(ends, (10, 2.0), request, "b", outcome, closed(by, waited));
            found::<EpmdCommand>(&[event]).remove(0)
        };
        let far = silent(FAR, EpmdTag::DUMP_REQ, Role::Acceptor, 0.001);
        assert!(far.title.starts_with("10.0.0.1 asked") && far.title.ends_with("refused"));
        assert!(far.explanation.contains("its own host alone"));
        assert_eq!(evidence(&far), [(9, "DUMP_REQ"), (11, "closed without a reply")]);
        let strict = silent(HERE, EpmdTag::STOP_REQ, Role::Acceptor, 0.001);
        assert!(strict.explanation.contains("-relaxed_command_check"));
        let odd = silent(HERE, EpmdTag::KILL_REQ, Role::Acceptor, 0.001);
        assert!(odd.title.ends_with("no answer"));
        let hung = silent(FAR, EpmdTag::KILL_REQ, Role::Initiator, 9.0);
        assert!(hung.explanation.contains("9.0 s later"));
    }

    #[test]
    fn a_refused_command_and_one_that_was_done_are_two_incidents() {
        let refused = told(HERE, EpmdTag::KILL_REQ, EpmdOutcome::CommandRefused, "NO");
        let done = told(HERE, EpmdTag::KILL_REQ, EpmdOutcome::Answered, "OK");
        assert_ne!(refused.parties, done.parties);
    }

    #[test]
    fn a_command_whose_answer_comes_late_is_told_once() {
        let asked = epmd(FAR, (10, 2.0), EpmdTag::KILL_REQ, "", EpmdOutcome::Incomplete, |_| ());
        let silent = closed(Role::Acceptor, 0.001);
        let settled = epmd(FAR, (10, 2.0), EpmdTag::KILL_REQ, "", EpmdOutcome::NoReply, silent);
        let found = found::<EpmdCommand>(&[asked, settled]);
        assert_eq!(found.len(), 1);
        assert!(found[0].title.ends_with("refused"));
    }

    #[test]
    fn what_nodes_ask_is_no_command() {
        let events = [EpmdTag::NAMES_REQ, EpmdTag::PORT_PLEASE2_REQ, EpmdTag::ALIVE2_REQ]
            .map(|request| epmd(FAR, (10, 2.0), request, "b", EpmdOutcome::Answered, |_| ()));
        assert!(found::<EpmdCommand>(&events).is_empty());
    }
}
