//! A registration that EPMD refused.
//!
//! Evidence: ALIVE2_RESP with a result other than 0. EPMD has only one error code: the name may be in use, or may be
//! invalid by its rules. The name itself shows which; the finding is proven if the owner of the name was seen.

use std::time::Duration;

use super::epmd_common::{
    self, KnownRegistration, Mapper, Registrations, names_command, registers,
};
use super::finding::{seconds, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `name-in-use`.
const DOC: RuleDoc = RuleDoc {
    rule: "name-in-use",
    severity: Severity::High,
    summary: "EPMD refused to register a node",
    symptom: "a node ends at its start: another node has its name",
    meaning: "A node asked EPMD on its host to register its name and was refused: another node \
              is registered under that name. Erlang then does not start as a distributed node; \
              an `erl` or `iex` with a name on its command line exits at once. Names are unique \
              per host, by the part before the @, and are case-sensitive.",
    evidence: "ALIVE2_REQ with the name, and ALIVE2_RESP or ALIVE2_X_RESP with a result other \
               than 0 (EPMD sends 1, and 99 for the creation). EPMD does not say why. The \
               finding is proven if the capture shows the owner of the name: an earlier \
               registration whose connection is still open, or an answer of that EPMD with a \
               port for the name.",
    lookalikes: "EPMD refuses in the same way a name of more than 255 characters or 1020 bytes, \
                 a name that is not UTF-8, and extra data of more than 1020 bytes; such a name \
                 is reported as what it is. A node that starts before EPMD noticed the end of the \
                 old one is refused once and comes up at the next try: the finding says so, with \
                 medium severity, if the capture shows that the holder closed at that moment.",
    log_lines: &[
        LogLine {
            writer: "the refused node, which then exits",
            releases: "all",
            text: "Protocol 'inet_tcp': the name b@h seems to be in use by another Erlang node",
        },
        LogLine {
            writer: "EPMD in the foreground, after `epmd:` and the date",
            releases: "seen with OTP 25",
            text: "node name already occupied b",
        },
    ],
    remedy: &[
        "On that host, run `epmd -names`: it shows the port of the node that has the name.",
        "Find its process by that port with `ss -ltnp`. If it is left over from an earlier \
         start, stop it; if it is meant to run, give the new node another name.",
        "If virtual machines or containers share one network namespace, give each node a name of \
         its own.",
    ],
};

#[derive(Default)]
pub(super) struct NameInUse {
    known: Registrations,
}

impl Rule for NameInUse {
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
        self.known.on_epmd(settled, epmd);
        if epmd.outcome != EpmdOutcome::RegistrationRefused {
            return;
        }
        let name = epmd.name.as_deref().unwrap_or("?");
        let (mapper, seen) = (epmd_common::server_address(ids), &epmd.seen);
        let owner =
            epmd.name.as_ref().and_then(|name| self.known.holder(Mapper::of(settled), name));
        if let Some(race) = owner.is_none().then(|| self.race(settled, epmd)).flatten() {
            out.push(race);
            return;
        }
        let (confidence, why, not_excluded) = match (owner, unacceptable(epmd)) {
            (Some(owner), _) => (Confidence::Proven, owner_sentence(owner, settled.at), None),
            (None, Some(why)) => (
                Confidence::Likely,
                format!("EPMD gives no reason, but it does not accept such a request: {why}."),
                Some("another node is registered under the name as well"),
            ),
            (None, None) => (
                Confidence::Likely,
                "EPMD gives no reason. The name is valid, so another node is registered under it. The \
                 capture does not show which one."
                    .to_owned(),
                Some("what listens there is not Erlang's EPMD, and has rules of its own"),
            ),
        };
        let is_taken = owner.is_some() || unacceptable(epmd).is_none();
        let evidence = [
            owner.and_then(owner_evidence),
            shown(
                seen.request,
                Some(Role::Initiator),
                Shows::epmd(EpmdTag::ALIVE2_REQ, format!("\"{name}\"")),
            ),
            shown(seen.reply, Some(Role::Acceptor), Shows::Note("registration refused".into())),
        ];
        out.push(Detection {
            confidence,
            title: if is_taken {
                format!("the name \"{name}\" is in use at {mapper}")
            } else {
                format!("EPMD at {mapper} does not accept a node named \"{name}\"")
            },
            explanation: format!(
                "A node at {} asked EPMD at {mapper} to register it as \"{name}\" and was refused, so it does \
                 not start under that name. {why}",
                ids.src_ip
            ),
            remedy: if is_taken {
                vec![
                    format!(
                        "On the host of {mapper}, run `epmd -names` and find the process that listens on \
                         the port of \"{name}\" (`ss -ltnp`)."
                    ),
                    "Stop that process if it is left over. Otherwise give one of the two nodes another name.".to_owned(),
                ]
            } else {
                vec!["Start the node with a name of at most 255 characters in UTF-8.".to_owned()]
            },
            ended_by: registers(settled, epmd),
            parties: format!("{mapper},{name}"),
            evidence: evidence.into_iter().flatten().collect(),
            not_excluded: not_excluded.map(ToOwned::to_owned).into_iter().collect(),
            logged_by: vec![Role::Initiator],
            ..Detection::new(&DOC)
        });
    }
}

impl NameInUse {
    /// The finding, if the holder of the name closed its registration at the moment of the refusal.
    fn race(&self, settled: &Settled, epmd: &EpmdObservation) -> Option<Detection> {
        let (ids, seen, name) = (&*settled.connection, &epmd.seen, epmd.name.as_deref()?);
        let (request, reply) = (seen.request?, seen.reply?);
        let (holder, close) = self.known.last_holder(Mapper::of(settled), name)?;
        if close.at < request.at.before(RACE) || close.at > reply.at.after(RACE) {
            return None;
        }
        let mapper = epmd_common::server_address(ids);
        let moment = if close.at < request.at {
            format!("{} before the request", short_time(request.at.since(close.at)))
        } else if close.at <= reply.at {
            format!("{} after the request", short_time(close.at.since(request.at)))
        } else {
            format!("{} after the refusal", short_time(close.at.since(reply.at)))
        };
        let asked = Shows::epmd(EpmdTag::ALIVE2_REQ, format!("\"{name}\""));
        let evidence = [
            owner_evidence(holder),
            shown(Some(request), Some(Role::Initiator), asked),
            shown(Some(*close), None, Shows::Note("the holder of the name closed".into()))
                .map(|shown| Evidence { session_id: Some(holder.session_id.clone()), ..shown }),
            shown(Some(reply), Some(Role::Acceptor), Shows::Note("registration refused".into())),
        ];
        let mut evidence: Vec<_> = evidence.into_iter().flatten().collect();
        evidence.sort_by_key(|shown| shown.frame);
        Some(Detection {
            severity: Severity::Medium,
            confidence: Confidence::Likely,
            title: format!(
                "the name \"{name}\" was refused at {mapper} while its holder was leaving"
            ),
            explanation: format!(
                "A node at {} asked EPMD at {mapper} to register it as \"{name}\" and was refused, so it \
                 does not start under that name. The node that held the name closed its registration at \
                 that very moment: frame {}, {moment}. EPMD had not dropped the name yet. The name is free \
                 since; no other node has it in this capture.",
                ids.src_ip, close.frame.number
            ),
            remedy: vec![
                "Try again: the name is free.".to_owned(),
                format!(
                    "If one node stops and starts again here (net_kernel:stop/0, a supervisor, a script), let \
                     it wait until `{}` no longer lists \"{name}\".",
                    names_command(ids.dest_port)
                ),
            ],
            ended_by: registers(settled, epmd),
            parties: format!("{mapper},{name}"),
            evidence,
            not_excluded: vec!["another node registered the name in between".to_owned()],
            logged_by: vec![Role::Initiator],
            ..Detection::new(&DOC)
        })
    }
}

/// A time below a second, in microseconds or milliseconds.
fn short_time(time: Duration) -> String {
    match micros(time) {
        us @ 0..10_000 => format!("{us} \u{b5}s"),
        us => format!("{} ms", us / 1000),
    }
}

/// The sentence about the node that has the name.
fn owner_sentence(owner: &KnownRegistration, now: Timestamp) -> String {
    let KnownRegistration { port, at, node, .. } = owner;
    let age = seconds(micros(now.since(*at)));
    match node {
        Some(_) => format!(
            "The node that listens on port {port} registered the name {age} before, and the capture \
             shows no close of its registration until then."
        ),
        None => format!(
            "{age} before, the same EPMD answered port {port} for that name: a node there is registered \
             under it."
        ),
    }
}

/// The packet that shows the owner of the name.
fn owner_evidence(owner: &KnownRegistration) -> Option<Evidence> {
    let KnownRegistration { node, port, name, session_id, .. } = owner;
    let what = match node {
        Some(_) => Shows::Note(format!("\"{name}\" registered, with port {port}").into()),
        None => Shows::epmd(EpmdTag::PORT2_RESP, format!("\"{name}\" is at port {port}")),
    };
    let from = Some(Role::Acceptor);
    let evidence = shown(owner.shown, from, what)?;
    Some(Evidence { session_id: Some(session_id.clone()), ..evidence })
}

/// The reason why EPMD, by its rules, does not register such a node.
fn unacceptable(epmd: &EpmdObservation) -> Option<&'static str> {
    let name = epmd.name.as_deref()?;
    let extra_bytes = epmd.extra_hex.as_ref().map_or(0, |hex| hex.len() / 2);
    if epmd.name_hex.is_some() {
        Some("the name is not UTF-8")
    } else if name.chars().count() > 255 || name.len() > MAX_BYTES {
        Some("the name has more than 255 characters")
    } else if extra_bytes > MAX_BYTES {
        Some("it has more than 1020 bytes of extra data")
    } else {
        None
    }
}

/// EPMD reads its connections one after the other, and drops a name as soon as it has read the close: a close that is
/// further away did not cause the refusal.
const RACE: Duration = Duration::from_millis(250);

/// Maximum length of a name and of the extra data that EPMD registers, in bytes.
const MAX_BYTES: usize = 1020;

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{NODE, epmd, evidence, found, mark};
    use super::*;
    use crate::detect::tests::Step;

    fn refused(name: &str, change: impl FnOnce(&mut EpmdObservation)) -> Step {
        let outcome = EpmdOutcome::RegistrationRefused;
        epmd((NODE, NODE, "new"), (20, 9.0), EpmdTag::ALIVE2_REQ, name, outcome, change)
    }

    fn answered(request: EpmdTag, name: &str) -> Step {
        epmd((NODE, NODE, "old"), (10, 2.0), request, name, EpmdOutcome::Answered, |_| ())
    }

    #[test]
    fn an_open_registration_proves_the_owner_of_the_name() {
        let found = found::<NameInUse>(&[answered(EpmdTag::ALIVE2_REQ, "b"), refused("b", |_| ())]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.confidence, Confidence::Proven);
        assert!(finding.not_excluded.is_empty());
        assert_eq!(finding.parties, "127.0.0.1:4369,b");
        assert!(finding.explanation.contains("port 9100 registered the name 7.0 s before"));
        let shown = evidence(finding);
        assert_eq!(shown[0], (10, "\"b\" registered, with port 9100"));
        assert_eq!(shown[1..], [(19, "ALIVE2_REQ \"b\""), (20, "registration refused")]);
    }

    #[test]
    fn an_answer_with_a_port_for_the_name_proves_it_too() {
        let found =
            found::<NameInUse>(&[answered(EpmdTag::PORT_PLEASE2_REQ, "b"), refused("b", |_| ())]);
        assert_eq!(found[0].confidence, Confidence::Proven);
        assert_eq!(evidence(&found[0])[0].1, "PORT2_RESP: \"b\" is at port 9100");
    }

    #[test]
    fn without_a_known_owner_the_finding_is_likely() {
        let gone = epmd(
            (NODE, NODE, "old"),
            (15, 8.0),
            EpmdTag::ALIVE2_REQ,
            "b",
            EpmdOutcome::Unregistered,
            |_| (),
        );
        let other = [answered(EpmdTag::ALIVE2_REQ, "B"), refused("b", |_| ())];
        for events in
            [&other[..], &[answered(EpmdTag::ALIVE2_REQ, "b"), gone, refused("b", |_| ())]]
        {
            let found = found::<NameInUse>(events);
            assert_eq!(found[0].confidence, Confidence::Likely);
            assert_eq!(found[0].not_excluded.len(), 1);
            assert!(found[0].title.contains("in use"));
        }
    }

    #[test]
    fn a_holder_that_leaves_at_that_moment_is_no_other_node() {
        let leaves = |at: f64| {
            let ends = (NODE, NODE, "old");
            epmd(ends, (15, at), EpmdTag::ALIVE2_REQ, "b", EpmdOutcome::Unregistered, |epmd| {
                epmd.seen.close = Some(mark(15, at));
            })
        };
        for (at, is_race) in [(8.9, true), (9.0, true), (9.1, true), (8.0, false)] {
            let steps = [answered(EpmdTag::ALIVE2_REQ, "b"), leaves(at), refused("b", |_| ())];
            let [found] = &found::<NameInUse>(&steps)[..] else { panic!("{at}") };
            assert_eq!(found.title.contains("was leaving"), is_race, "{at}: {}", found.title);
            if is_race {
                assert_eq!(found.severity, Severity::Medium);
                assert!(found.remedy[0].contains("Try again"), "{}", found.remedy[0]);
            }
        }
        // Another node has the name since.
        let again = epmd(
            (NODE, NODE, "other"),
            (16, 8.95),
            EpmdTag::ALIVE2_REQ,
            "b",
            EpmdOutcome::Answered,
            |_| (),
        );
        let steps = [answered(EpmdTag::ALIVE2_REQ, "b"), leaves(8.9), again, refused("b", |_| ())];
        assert!(found::<NameInUse>(&steps)[0].title.contains("in use"));
    }

    #[test]
    fn an_invalid_name_is_reported_as_invalid() {
        let long = "x".repeat(256);
        let cases: [Step; 3] = [
            refused(&long, |_| ()),
            refused("\u{fffd}", |epmd| epmd.name_hex = Some("ff".to_owned())),
            refused("b", |epmd| epmd.extra_hex = Some("00".repeat(1021))),
        ];
        for event in cases {
            let found = found::<NameInUse>(&[event]);
            assert!(found[0].title.contains("does not accept a node"), "{}", found[0].title);
        }
        let found = found::<NameInUse>(&[refused(&"x".repeat(255), |_| ())]);
        assert!(found[0].title.contains("in use"));
    }

    #[test]
    fn a_successful_registration_is_no_finding() {
        let again = [answered(EpmdTag::ALIVE2_REQ, "b"), answered(EpmdTag::ALIVE2_REQ, "b")];
        assert!(found::<NameInUse>(&again).is_empty());
    }
}
