//! A registration that EPMD refused.
//!
//! Evidence: ALIVE2_RESP with a result other than 0. EPMD has only one error code: the name may be in use, or may be
//! invalid by its rules. The name itself shows which; the finding is proven if the owner of the name was seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::epmd_common::{
    self, KnownRegistration, Mapper, Registrations, registers, with_session_id,
};
use super::finding::{seconds, shown};
use super::held::Held;
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::JudgedConnection;
use crate::judge::world::World;
use crate::limits::remember;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::packet::PacketRef;
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
                 is reported as what it is. A node that restarts before EPMD noticed the end of \
                 the old one is refused once and comes up at the next try.",
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

pub(super) struct NameInUse {
    known: Registrations,
    /// Registrations that ended, the last one at the end; at most [`REMEMBERED`].
    left: VecDeque<EndedRegistration>,
    /// Refusals whose name may become free in the same moment.
    held: Held<(Mapper, Arc<str>)>,
}

impl Default for NameInUse {
    fn default() -> Self {
        Self { known: Registrations::default(), left: VecDeque::new(), held: Held::new(WAIT) }
    }
}

/// A registration whose connection was closed.
struct EndedRegistration {
    registration: KnownRegistration,
    close: PacketRef,
    session_id: Arc<str>,
}

impl EndedRegistration {
    fn is_of(&self, mapper: Mapper, name: &str) -> bool {
        self.registration.mapper == mapper && *self.registration.name == *name
    }

    /// The refusal of a name that this registration had until the same moment, if `found` is one.
    fn freed(&self, found: Detection, settled: &Settled) -> Detection {
        let Self { registration: KnownRegistration { name, port, .. }, close, session_id } = self;
        let ids = &settled.connection;
        let mapper = epmd_common::server_address(ids);
        let (when, apart) = if close.at > settled.at {
            ("after", close.at.since(settled.at))
        } else {
            ("before", settled.at.since(close.at))
        };
        let evidence = shown(
            Some(*close),
            Some(Role::Initiator),
            Shows::Closed("the former registration's connection is closed".into()),
        );
        let evidence = evidence.map(|it| Evidence { session_id: Some(session_id.clone()), ..it });
        Detection {
            severity: Severity::Low,
            confidence: Confidence::Proven,
            title: format!("the name \"{name}\" was taken at {mapper} for a moment, by a node that was leaving"),
            explanation: format!(
                "A node at {} asked EPMD at {mapper} to register it as \"{name}\" and was refused, so it does \
                 not start under that name. The node with port {port} had the name, and closed its \
                 registration {} ms {when} the refusal. A node that is stopped and started at once does \
                 this: EPMD gets the new request before it has seen the close.",
                ids.src_ip,
                apart.as_micros().div_ceil(1000)
            ),
            remedy: vec![
                format!("Start the node again: \"{name}\" is free now."),
                "A script that restarts a node should wait until `epmd -names` no longer lists the old one."
                    .to_owned(),
            ],
            evidence: found.evidence.iter().cloned().chain(evidence).collect(),
            not_excluded: Vec::new(),
            ..found
        }
    }
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
        self.held.release(settled.at, out);
        if let Some(registration) = self.known.on_epmd(settled, epmd)
            && let Some(close) = epmd.seen.close
        {
            let session_id = Arc::clone(&ids.session_id);
            let ended = EndedRegistration { registration, close, session_id };
            while let Some(mut held) = self.held.take(|held| {
                ended.is_of(held.about.0, &held.about.1)
                    && close.at <= held.settled.at.after(MOMENT)
            }) {
                held.detection = ended.freed(held.detection, &held.settled);
                out.push(held.at(settled.at));
            }
            remember(&mut self.left, ended, REMEMBERED);
        }
        // A reply without a request has no name, and every host can send one on a connection that no longer exists.
        if epmd.outcome != EpmdOutcome::RegistrationRefused || epmd.seen.request.is_none() {
            return;
        }
        let name = epmd.name.as_deref().unwrap_or("?");
        let (mapper, seen) = (epmd_common::server_address(ids), &epmd.seen);
        let owner =
            epmd.name.as_ref().and_then(|name| self.known.holder(Mapper::of(settled), name));
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
        let found = Detection {
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
        };
        let of_name = epmd.name.as_ref().map(|name| (Mapper::of(settled), Arc::clone(name)));
        let Some(about) = of_name.filter(|_| is_taken) else { return out.push(found) };
        let just_left = self.left.iter().rev().find(|ended| ended.is_of(about.0, &about.1));
        let just_left = just_left.filter(|it| settled.at.since(it.close.at) < MOMENT);
        match (owner, just_left) {
            (None, Some(ended)) => out.push(ended.freed(found, settled)),
            // Its registration was seen, and so will be its end.
            (Some(owner), _) if owner.node.is_some() => {
                self.held.hold(about, settled, with_session_id(ids, found));
            }
            _ => out.push(found),
        }
    }

    fn on_session(&mut self, it: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        self.held.release(it.at(), out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        self.held.release_all(|_| (), out);
    }
}

/// A registration that ends so shortly before or after a refusal was about to end: a restart stops the old one first, and
/// the close and the request are on their way together.
const MOMENT: Duration = Duration::from_millis(10);

/// Time within which the close of a registration is reported.
const WAIT: Duration = Duration::from_secs(1);

/// Maximum of registrations that are remembered after their end.
const REMEMBERED: usize = 256;

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

    fn leaves(at: f64) -> Step {
        let outcome = EpmdOutcome::Unregistered;
        epmd((NODE, NODE, "old"), (21, at), EpmdTag::ALIVE2_REQ, "b", outcome, |epmd| {
            epmd.seen.close = Some(mark(21, at));
            epmd.seen.closed_by = Some(Role::Initiator);
        })
    }

    #[test]
    fn a_holder_that_leaves_in_the_same_moment_is_no_second_node() {
        let holds = || answered(EpmdTag::ALIVE2_REQ, "b");
        for steps in [
            [holds(), refused("b", |_| ()), leaves(9.0001)],
            [holds(), leaves(8.9999), refused("b", |_| ())],
        ] {
            let found = found::<NameInUse>(&steps);
            let [finding] = &found[..] else { panic!("{found:?}") };
            assert!(finding.title.ends_with("for a moment, by a node that was leaving"));
            assert_eq!(finding.severity, Severity::Low);
            assert!(finding.remedy[0].starts_with("Start the node again"));
            assert!(finding.evidence.iter().any(|it| it.frame.number == 21));
        }
    }

    #[test]
    fn a_holder_that_stays_or_left_long_ago_is_another_matter() {
        let holds = || answered(EpmdTag::ALIVE2_REQ, "b");
        for left in [9.1, 11.0] {
            let stays = found::<NameInUse>(&[holds(), refused("b", |_| ()), leaves(left)]);
            assert_eq!(stays.len(), 1);
            assert_eq!(stays[0].severity, Severity::High);
        }
        let long_ago = found::<NameInUse>(&[holds(), leaves(5.0), refused("b", |_| ())]);
        assert_eq!(long_ago[0].confidence, Confidence::Likely);
        let other = found::<NameInUse>(&[holds(), refused("c", |_| ()), leaves(9.0001)]);
        assert!(other[0].title.contains("\"c\" is in use"));
    }
}
