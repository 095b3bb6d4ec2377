//! Two OTP releases that are too far apart.
//!
//! Symptom: status `not_allowed`, or a close right after the other side's flags. Evidence: a flag that the refusing
//! side's release requires is missing, or the hello has a version that it cannot parse. Similar cases are a list of
//! allowed nodes, and an initiator that dialed another name.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::finding::{FindingText, Sides, closed, finding, release, shown};
use super::{Detection, IfKnown, LogLine, Rule, RuleDoc, known_tool, log_lines};
use crate::judge::world::{World, alive_of};
use crate::judge::{Implementation, JudgedConnection, Outcome, Software};
use crate::observe::{DistFlags, MessageKind, Role};
use crate::packet::PacketRef;
use crate::record::{Evidence, Severity, Shows};

/// Documentation of the rule `version-mismatch`.
const DOC: RuleDoc = RuleDoc {
    rule: "version-mismatch",
    severity: Severity::High,
    summary: "OTP releases too far apart",
    symptom: "one node is much older than the other, and they do not connect",
    meaning: "One node requires something of the protocol that the other does not support, \
              because their OTP releases are too far apart: a capability flag, or a layout of \
              the first message. Releases at most two apart connect. A dialed node refuses with \
              status not_allowed, or closes; a dialing node closes after the challenge. What the \
              refusing node demands is known from its release alone: from its flags on any \
              connection, or from EPMD, with which OTP 22 and older register handshake version 5. \
              Where it is not known, the finding names both reasons for not_allowed.",
    evidence: "Status not_allowed to a node that lacks a flag which the other's release \
               requires; or a dialing node that closes at once after a challenge whose flags \
               lack one that its own release requires; or a first message in a layout that the \
               dialed release cannot read, and a close without a reply. The flags in send_name \
               and challenge also show the release of each side.",
    lookalikes: "An allow list also answers not_allowed, but to a node that lacks no flag: \
                 not-allowed. A dialing node that closes after a challenge with all flags \
                 expected another name: name-mismatch.",
    log_lines: &[
        LogLine {
            writer: "the dialed node, if it refuses",
            releases: "OTP 20 and newer",
            text: "** 'b@h': Connection attempt from node 'a@h' rejected since it cannot handle \
                   [\"V4_NC\",\"UNLINK_ID\"].**",
        },
        LogLine {
            writer: "the dialing node, if it refuses",
            releases: "OTP 20 and newer",
            text: "** 'a@h': Connection attempt to node 'b@h' aborted since it cannot handle \
                   [\"V4_NC\",\"UNLINK_ID\"].**",
        },
        LogLine {
            writer: "the node that refuses",
            releases: "OTP 19 and older",
            text: "** 'b@h': Connection attempt from node 'a@h' rejected since it cannot handle \
                   extended references, pids and ports. **",
        },
        LogLine {
            writer: "the dialed node, if it cannot read the first message",
            releases: "OTP 22 and older, and 25.0 to 25.2",
            text: "",
        },
        LogLine { writer: "the node that is refused", releases: "all", text: "" },
        log_lines::REFUSED_BY_STATUS,
        log_lines::CLOSED_WITHOUT_STATUS,
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* Remote node uses an incompatible Erlang version",
        },
        log_lines::RABBITMQ_CLOSED,
    ],
    remedy: &[
        "Compare erlang:system_info(otp_release) on both nodes, and upgrade the older one: \
         releases at most two apart connect.",
        "For a rolling upgrade over more than two releases, use one in between.",
        "OTP 25.0 to 25.2 refuses the old first message that OTP 23 and 24 send to nodes they \
         did not look up with EPMD: upgrade it to 25.3, or let them use EPMD.",
    ],
};

#[derive(Default)]
pub(super) struct VersionMismatch {
    /// The directions in which two nodes were refused, by the key of the two; at most [`MOST_PAIRS`].
    known: HashMap<String, Vec<RefusedWay>, RandomState>,
}

/// The first refusal of two nodes in one direction.
#[derive(Clone)]
struct RefusedWay {
    /// The alive name of the node that dialed, and its address.
    dialer: String,
    /// How its text names the two, the initiator first.
    sides: [String; 2],
    /// The side that refused.
    by: Role,
    title: String,
    explanation: String,
    remedy: Vec<String>,
    /// Whether the refusing node surely demands what the other lacks.
    is_sure: bool,
    /// The words in the log of the node that refused, if it logs the refusal.
    logs: Option<&'static str>,
    evidence: Vec<Evidence>,
}

impl Rule for VersionMismatch {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        // The rule `known-tool` reports the hello of an attack tool, which has no release.
        let is_due = session.is_settled() && session.outcome() == Outcome::VersionMismatch;
        if !is_due || session.claim.is_some() || known_tool::is_known(session) {
            return;
        }
        let sides = Sides::of(session);
        let by = session.verdict.detected_by.unwrap_or(Role::Acceptor);
        let mismatch = Mismatch::of(session, &sides, by);
        let text = mismatch.text();
        let mut found = finding(&DOC, session, &sides);
        found.title = text.title;
        found.explanation = text.explanation;
        found.remedy = text.remedy;
        if mismatch.is_no_node() {
            found.severity = Severity::Low;
        }
        let seen = &session.seen;
        found.evidence.extend(shown(
            seen.message(MessageKind::SendName),
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        match mismatch.status {
            Some(status) => {
                found.evidence.extend(shown(
                    Some(status),
                    Some(Role::Acceptor),
                    Shows::handshake(MessageKind::Status, "not_allowed"),
                ));
            }
            None => {
                found.evidence.extend(shown(
                    seen.message(MessageKind::Challenge),
                    Some(Role::Acceptor),
                    MessageKind::Challenge,
                ));
                found.evidence.extend(closed(session, "at once"));
            }
        }
        // A release that cannot parse the hello, or closes without a status, logs nothing.
        let logs = (mismatch.status.is_some() || mismatch.is_for_flags()) && mismatch.logs;
        found.logged_by = logs.then_some(by).into_iter().collect();
        let [from, to] = Role::BOTH.map(|role| key(session, role));
        found.parties = if from <= to { format!("{from},{to}") } else { format!("{to},{from}") };
        let direction = RefusedWay {
            dialer: from,
            sides: [sides.initiator.clone(), sides.acceptor.clone()],
            by,
            title: found.title.clone(),
            explanation: found.explanation.clone(),
            remedy: found.remedy.clone(),
            is_sure: mismatch.is_demanded || mismatch.status.is_none(),
            logs: logs.then_some(match by {
                Role::Initiator => "aborted since it cannot handle",
                Role::Acceptor => "rejected since it cannot handle",
            }),
            evidence: found
                .evidence
                .iter()
                .cloned()
                .map(|shown| Evidence {
                    session_id: Some(Arc::clone(session.session_id())),
                    ..shown
                })
                .collect(),
        };
        if !mismatch.is_no_node()
            && let Some(first) = self.other_direction(&found.parties, &direction)
        {
            both_ways(&mut found, &first, &direction);
        }
        out.push(found);
    }
}

impl VersionMismatch {
    /// Records a refusal. Returns that of the other direction if both are known now, and were not before.
    fn other_direction(&mut self, parties: &str, new: &RefusedWay) -> Option<RefusedWay> {
        if !self.known.contains_key(parties) && self.known.len() >= MOST_PAIRS {
            return None;
        }
        let known = self.known.entry(parties.to_owned()).or_default();
        if known.len() >= 2 || known.iter().any(|it| it.dialer == new.dialer) {
            return None;
        }
        known.push(new.clone());
        known.first().filter(|first| first.dialer != new.dialer).cloned()
    }
}

/// What identifies the node in this role, whichever of the two dials: its alive name and its address.
fn key(session: &JudgedConnection, role: Role) -> String {
    let label = session.label(role);
    let asked = session.verdict.lookup.as_ref().filter(|_| role == Role::Acceptor);
    let alive = label.as_ref().and_then(|label| alive_of(label));
    let alive = alive.or_else(|| asked.map(|lookup| &*lookup.asked)).unwrap_or_default();
    format!("{alive} {}", session.ip(role))
}

/// Makes one finding of the refusals in both directions: they are one disagreement. The refusal of `second` is that of
/// `found`.
fn both_ways(found: &mut Detection, first: &RefusedWay, second: &RefusedWay) {
    // Each node named itself when it dialed.
    let [one, other] = [&first.sides[0], &second.sides[0]];
    let named = |it: &RefusedWay, acceptor: &str, text: &str| text.replace(&it.sides[1], acceptor);
    let [first_text, second_text] =
        [named(first, other, &first.explanation), named(second, one, &second.explanation)];
    let refusing = |it: &RefusedWay, initiator, acceptor| match it.by {
        Role::Initiator => initiator,
        Role::Acceptor => acceptor,
    };
    let by_first: &String = refusing(first, one, other);
    let by_second: &String = refusing(second, other, one);
    let (sure, acceptor) =
        if first.is_sure || !second.is_sure { (first, other) } else { (second, one) };
    found.title = if by_first == by_second {
        named(sure, acceptor, &sure.title)
    } else {
        format!("{one} and {other} refuse each other: their OTP releases are too far apart")
    };
    let logs = match (first.logs, second.logs) {
        (Some(a), Some(b)) if by_first == by_second => {
            format!("The log of {by_first} has both: \"{a}\" and \"{b}\".")
        }
        (Some(a), Some(b)) => {
            format!("Both log it: {by_first} has \"{a}\", and {by_second} has \"{b}\".")
        }
        (Some(words), None) => {
            format!("Of the two refusals, only the log of {by_first} has one: \"{words}\".")
        }
        (None, Some(words)) => {
            format!("Of the two refusals, only the log of {by_second} has one: \"{words}\".")
        }
        (None, None) => "Neither of the two logs it.".to_owned(),
    };
    found.explanation =
        format!("When {one} dialed: {first_text} When {other} dialed: {second_text} {logs}");
    found.remedy = sure.remedy.iter().map(|step| named(sure, acceptor, step)).collect();
    found.nodes = [one, other].map(|name| Arc::from(name.as_str())).into();
    found.evidence = first.evidence.iter().chain(&second.evidence).cloned().collect();
    // The roles are those of the second connection.
    let logging = [(first.logs, by_first), (second.logs, by_second)];
    let is_logging = |name: &String| logging.iter().any(|(logs, by)| logs.is_some() && *by == name);
    found.logged_by = [(Role::Initiator, other), (Role::Acceptor, one)]
        .into_iter()
        .filter_map(|(role, name)| is_logging(name).then_some(role))
        .collect();
    found.if_known = IfKnown::Rewrites;
}

/// Maximum of pairs of nodes that are remembered.
const MOST_PAIRS: usize = 4096;

/// A refusal, and what the capture shows of the two releases.
struct Mismatch<'a> {
    refusing: &'a str,
    refused: &'a str,
    by: Role,
    /// Release of the refused node, as part of a sentence.
    release: String,
    /// The program that was refused.
    software: Software,
    /// Handshake version of the hello that was refused.
    version: Option<u8>,
    /// Flags that the refused node lacks.
    missing: DistFlags,
    /// Flags that its hello lacks of those that every release sends and demands.
    lacks_of_all: DistFlags,
    /// Whether the refusing node demands these flags in any release that it may be.
    is_demanded: bool,
    /// The last release that accepts the refused node, as far as its flags show it.
    accepted_up_to: Option<u16>,
    /// The packet with status `not_allowed`.
    status: Option<PacketRef>,
    /// Whether the refusing program writes a log.
    logs: bool,
}

impl<'a> Mismatch<'a> {
    fn of(session: &JudgedConnection, sides: &'a Sides, by: Role) -> Self {
        let (refusing, refused) = sides.side_and_peer(by);
        let handshake = &session.seen.handshake;
        let hello = handshake.hello(by.peer()).map(|hello| &hello.what);
        let unknown = handshake.unknown_flags(by.peer());
        let accepted = hello.and_then(|hello| hello.flags.accepted_up_to(unknown));
        let late = handshake.late_refusal.as_ref().map(|refusal| refusal.mark);
        Self {
            refusing,
            refused,
            by,
            release: release(session, by.peer()),
            software: session.software(by.peer()).unwrap_or_default(),
            version: hello.map(|hello| hello.version),
            missing: session.verdict.missing_flags,
            lacks_of_all: hello.map_or(DistFlags(0), Software::lacking_in_every_release),
            is_demanded: session.verdict.is_demanded,
            accepted_up_to: accepted.map(|(release, _)| release),
            status: session.seen.status("not_allowed").or(late),
            logs: session.verdict.refuser.is_none_or(|it| it.implementation.logs_refusals()),
        }
    }

    /// Whether no program that connects to nodes sends such a hello: it lacks flags that every release demands.
    fn is_no_node(&self) -> bool {
        self.software.implementation == Implementation::Other && !self.lacks_of_all.is_empty()
    }

    /// Whether the reason is that flags are missing.
    fn is_for_flags(&self) -> bool {
        !self.missing.is_empty()
    }

    fn text(&self) -> FindingText {
        match (self.by, self.status) {
            _ if self.is_no_node() => self.no_node(),
            (Role::Acceptor, None) if self.version == Some(5) && self.is_new_enough() => {
                self.old_hello()
            }
            (Role::Acceptor, None) if self.version == Some(5) => self.too_old(),
            (Role::Acceptor, None) => self.new_hello(),
            (Role::Acceptor, Some(_)) if !self.is_demanded => self.release_or_list(),
            _ => self.releases_apart(),
        }
    }

    /// Whether the refused node has all flags that OTP 25 demands, as far as its hello has room for them.
    fn is_new_enough(&self) -> bool {
        self.accepted_up_to.is_none_or(|release| release >= 25)
    }

    /// The names of the missing flags.
    fn flags(&self) -> String {
        self.missing.names().collect::<Vec<_>>().join(", ")
    }

    /// The refused node is known not to be from OTP: what it has to do, instead of an upgrade of OTP.
    fn foreign_remedy(&self) -> Option<Vec<String>> {
        let Self { refused, refusing, software, .. } = self;
        software.implementation.is_foreign().then(|| {
            vec![format!(
                "Use a newer version of the program or library that {refused} is made with: its hello must \
                 have all flags that {refusing} demands."
            )]
        })
    }

    /// The refusing node demands flags that the refused one lacks, or cannot read its challenge.
    fn releases_apart(&self) -> FindingText {
        let Self { refusing, refused, release, .. } = self;
        let lacks = match (self.is_for_flags(), self.is_demanded) {
            (false, _) => String::new(),
            (true, true) => format!(" It lacks {}, which the other side requires.", self.flags()),
            (true, false) => {
                format!(
                    " It lacks {}, which the other side requires if it is new enough.",
                    self.flags()
                )
            }
        };
        let layout = self
            .version
            .map_or_else(String::new, |version| format!(" and uses handshake version {version}"));
        let title = if self.software.implementation.is_foreign() {
            format!("{refusing} refused {refused}, which lacks flags that it demands")
        } else {
            format!("{refusing} refused {refused}: their OTP releases are too far apart")
        };
        let upgrade =
            || vec!["Upgrade the older node: releases at most two apart connect.".to_owned()];
        FindingText {
            title,
            explanation: format!("{refused} is {release}{layout}; {refusing} refused it.{lacks}"),
            remedy: self.foreign_remedy().unwrap_or_else(upgrade),
        }
    }

    /// The status `not_allowed` from a node of unknown release: it may demand the missing flags, or have a list.
    fn release_or_list(&self) -> FindingText {
        let Self { refusing, refused, release, .. } = self;
        let demanding = self
            .accepted_up_to
            .map_or_else(String::new, |last| format!(", which OTP {} and newer demand", last + 1));
        FindingText {
            title: format!(
                "{refusing} refused {refused}: for its release, or by a list of allowed nodes"
            ),
            explanation: format!(
                "{refusing} answered the send_name of {refused} with not_allowed, before any cookie was \
                 checked. There are two reasons for that. {refused} is {release} and lacks {}{demanding}; \
                 the capture does not show whether {refusing} is so new. Or {refusing} has a list of nodes \
                 that may connect (net_kernel:allow/1), without {refused}.",
                self.flags()
            ),
            remedy: vec![
                format!(
                    "Read the log of {refusing}: it has \"rejected since it cannot handle\" if the releases \
                     are too far apart, and \"Connection attempt from disallowed node\" if it has a list."
                ),
                "If the releases are too far apart: releases at most two apart connect, and \
                 erlang:system_info(otp_release) shows each."
                    .to_owned(),
                format!(
                    "If {refusing} has a list: find the call of net_kernel:allow/1 there, and add '{refused}'."
                ),
            ],
        }
    }

    /// A close on the hello of handshake version 5.
    fn old_hello(&self) -> FindingText {
        let Self { refusing, refused, release, .. } = self;
        let mut remedy = vec![format!(
            "If {refusing} is OTP 25.0 to 25.2, upgrade it to OTP 25.3 or newer, which accepts the old \
             hello (handshake version 5)."
        )];
        remedy.push(if self.software.implementation.is_foreign() {
            format!(
                "Or use a version of the program or library that {refused} is made with that sends the new \
                 hello (handshake version 6)."
            )
        } else {
            format!(
                "Or let {refused} send the new hello (handshake version 6): nodes of OTP 23 and 24 do so \
                 towards nodes that they look up with EPMD, and OTP 25 and newer always."
            )
        });
        FindingText {
            title: format!("{refusing} closed on the old hello of {refused}, without a reply"),
            explanation: format!(
                "{refused} is {release} and began with the old hello (handshake version 5); {refusing} closed \
                 the connection at once. OTP 25.0 to 25.2 does that with every old hello, whatever its flags, \
                 and logs nothing."
            ),
            remedy,
        }
    }

    /// A close on the hello of handshake version 5, of a node that no later release accepts either.
    fn too_old(&self) -> FindingText {
        let Self { refusing, refused, release, .. } = self;
        let upgrade = || {
            vec![format!(
                "Upgrade {refused} to OTP 23 or newer: releases at most two apart connect."
            )]
        };
        FindingText {
            title: format!("{refusing} refused {refused}: their OTP releases are too far apart"),
            explanation: format!(
                "{refused} is {release} and began with the old hello (handshake version 5); {refusing} closed \
                 the connection at once. OTP 25.0 to 25.2 does that with every old hello, and logs nothing. \
                 Later releases refuse this one too, because it lacks flags that they demand."
            ),
            remedy: self.foreign_remedy().unwrap_or_else(upgrade),
        }
    }

    /// A close on the hello of handshake version 6, by a node that registered with version 5.
    fn new_hello(&self) -> FindingText {
        let Self { refusing, refused, release, .. } = self;
        FindingText {
            title: format!("{refusing} refused {refused}: their OTP releases are too far apart"),
            explanation: format!(
                "{refused} is {release} and began with the new hello (handshake version 6); {refusing} closed \
                 the connection at once. By EPMD, its highest handshake version is 5, as that of OTP 22 and \
                 older, which cannot read the new hello."
            ),
            remedy: vec![format!(
                "Upgrade {refusing} to OTP 23 or newer; releases at most two apart connect. If it is another \
                 implementation than OTP, use a version of it that knows handshake version 6."
            )],
        }
    }

    /// A hello that no node sends.
    fn no_node(&self) -> FindingText {
        let Self { refusing, refused, .. } = self;
        FindingText {
            title: format!("{refusing} refused {refused}, whose hello no node sends"),
            explanation: format!(
                "The hello of {refused} lacks {}, which every release of OTP sends and demands; {refusing} \
                 refused it. It comes from a scanner, a test, or a program that is no node.",
                self.lacks_of_all.names().collect::<Vec<_>>().join(", ")
            ),
            remedy: vec![format!(
                "Find out which program sent it as {refused}, and whether it may reach {refusing}."
            )],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found};
    use crate::judge::samples::{dial, mark};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/1";
    const C: &str = "c@h3/10.0.0.3/1";

    /// `from` dials `to`, and the side `by` refuses.
    fn refused(ms: u64, from: &str, to: &str, by: Role) -> Step {
        but(dial(ms, from, to).fails(Outcome::VersionMismatch), |it| {
            it.verdict.detected_by = Some(by);
            it.verdict.is_demanded = true;
            it.verdict.missing_flags = DistFlags::V4_NC;
            match by {
                Role::Acceptor => it.status(mark(ms), "not_allowed"),
                Role::Initiator => {}
            }
        })
    }

    #[test]
    fn the_two_directions_of_one_disagreement_are_one_finding_with_both_logs() {
        use Role::{Acceptor, Initiator};
        let steps = [refused(10, A, B, Acceptor), refused(20, B, A, Acceptor)];
        let apart = "their OTP releases are too far apart";
        let all = found(&steps);
        let [both] = &all[..] else { panic!("{all:?}") };
        assert_eq!(both.title, format!("a@h1 and b@h2 refuse each other: {apart}"));
        assert!(both.explanation.contains("Both log it: b@h2 has \"rejected"), "{both:?}");
        assert_eq!(both.logged_by, [Initiator, Acceptor]);

        let steps = [refused(10, A, B, Acceptor), refused(20, B, A, Initiator)];
        let last = found(&steps).pop().unwrap();
        assert_eq!(last.title, format!("b@h2 refused a@h1: {apart}"));
        assert!(last.explanation.contains("The log of b@h2 has both"), "{}", last.explanation);
        assert_eq!(last.logged_by, [Initiator]);
    }

    #[test]
    fn one_direction_again_and_other_pairs_stay_as_they_are() {
        let again = [refused(10, A, B, Role::Acceptor), refused(20, A, B, Role::Acceptor)];
        assert_eq!(found(&again).len(), 1);
        let others = [refused(10, A, B, Role::Acceptor), refused(20, C, A, Role::Acceptor)];
        let ids: std::collections::HashSet<_> =
            found(&others).into_iter().map(|it| it.incident_id).collect();
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn a_close_on_the_old_hello_is_judged_by_what_later_releases_demand() {
        // The flags of OTP 22, and those of OTP 24 towards a node that was not looked up.
        let titles = |flags: u64| {
            let dial = dial(10, A, B).flags(flags, 0xd_07df_7fbd).fails(Outcome::VersionMismatch);
            let step = but(dial, |it| {
                it.verdict.detected_by = Some(Role::Acceptor);
                it.seen.handshake.challenge = None;
            });
            let found = found(&[step]).pop().unwrap();
            (found.title, found.explanation)
        };
        let (title, text) = titles(0x06df_7fbd);
        assert!(title.contains("closed on the old hello of a@h1"), "{title}: {text}");
        let (title, text) = titles(0x0003_7fbd);
        assert!(title.contains("too far apart"), "{title}");
        assert!(text.contains("began with the old hello"), "{text}");
        let (title, text) = titles(0xd_07df_7fbd);
        assert!(title.contains("too far apart") && !text.contains("old hello"), "{title}: {text}");
    }
}
