//! Two nodes with different cookies.
//!
//! `Node.connect/1` returns `false`; the dialed node logs a rejected attempt, and the dialing node logs nothing.
//! The evidence is a close by the acceptor at once after `challenge_reply`, or digests that were made with
//! different candidate cookies. A node that stops at this moment looks the same.

use std::net::IpAddr;
use std::sync::Arc;

use super::disagreements::{
    Disagreement, Disagreements, Growth, Member, Odd, Reading, Refusal, Split,
};
use super::finding::{Sides, closed, closed_without, finding, lasted, listed, shown};
use super::{Detection, EndedBy, Ending, IfKnown, KnownAs, LogLine, Rule, RuleDoc};
use crate::judge::world::{CookieUse, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `cookie-mismatch`.
const DOC: RuleDoc = RuleDoc {
    rule: "cookie-mismatch",
    severity: Severity::High,
    summary: "the two nodes have different cookies",
    symptom: "`Node.connect/1` returns `false` at once; only the node that refuses logs something",
    meaning: "The nodes reached each other and ran the handshake, and one of them found that the \
              other has a different cookie. For each peer, a node uses the cookie set for that \
              peer, or else its own. The dialed node checks first, so it nearly always is the \
              one that refuses; the dialing node only sees a closed connection, and \
              Node.connect/1 returns false.",
    evidence: "The dialing node sends challenge_reply and the dialed node closes within \
               milliseconds, without challenge_ack. Or challenge_ack comes and the dialing node \
               closes because of it. Candidate cookies given with --cookie-file or --cookie are \
               tested against the digests themselves: they prove the mismatch, and name each \
               side's cookie by its label.",
    lookalikes: "A dialed node that is killed at that very moment: then its other connections \
                 and its EPMD registration end too. A challenge_reply that is followed by \
                 seconds of silence is handshake-timeout. A refusal because of the release or of \
                 an allow list comes earlier, as status not_allowed; but OTP 22 and older log a \
                 wrong cookie and a node that is not on the list in the same words, and only a \
                 capture tells which it is.",
    log_lines: &[
        LogLine {
            writer: "the dialed node",
            releases: "OTP 23 and newer",
            text: "** Connection attempt from node 'a@h' rejected. Invalid challenge reply. **",
        },
        LogLine {
            writer: "the dialed node",
            releases: "OTP 22 and older",
            text: "** Connection attempt from disallowed node a@h **",
        },
        LogLine {
            writer: "the dialing node, if it refuses the other",
            releases: "OTP 23 and newer",
            text: "** Connection attempt to node 'b@h' cancelled. Invalid challenge ack. **",
        },
        LogLine {
            writer: "the dialing node, if it refuses the other",
            releases: "OTP 22 and older",
            text: "** Connection attempt to disallowed node b@h **",
        },
        LogLine { writer: "the dialing node, if it is refused", releases: "all", text: "" },
        LogLine {
            writer: "the dialing node, with net_kernel:verbose(1)",
            releases: "OTP 25 and older",
            text: "{net_kernel,{'EXIT',<0.87.0>,{recv_challenge_ack_failed,{error,closed}}}}",
        },
        LogLine {
            writer: "the dialing node, with net_kernel:verbose(1), if it refuses the other",
            releases: "OTP 25 and older",
            text: "{net_kernel,{'EXIT',<0.87.0>,{recv_challenge_ack_failed,bad_cookie}}}",
        },
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* Authentication failed (rejected by the remote node), please check the Erlang \
                   cookie",
        },
        LogLine {
            writer: "rabbitmqctl on the dialing host, if its node refuses",
            releases: "all",
            text: "* Authentication failed (rejected by the local node), please check the Erlang \
                   cookie",
        },
    ],
    remedy: &[
        "Give both nodes the same cookie: the same ~/.erlang.cookie for the users that run them \
         (readable by the owner only; a command run as another user reads another file), or the \
         same -setcookie (Erlang), --cookie (Elixir) or RELEASE_COOKIE (release).",
        "See which cookie each node uses: erlang:get_cookie(), or Node.get_cookie() in Elixir.",
        "A cookie set for that node with erlang:set_cookie(Node, Cookie) or Node.set_cookie/2 \
         overrides the node's own: look for such a call.",
        "If the files look equal, compare their bytes (od -c): a space at the end of the line \
         counts.",
    ],
};

#[derive(Default)]
pub(super) struct CookieMismatch {
    disagreements: Disagreements,
}

impl Rule for CookieMismatch {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        if !session.is_settled()
            || session.outcome() != Outcome::CookieMismatch
            || session.claim.is_some()
        {
            return;
        }
        let source = (session.ip(Role::Initiator), session.acceptor_end());
        let by = session.verdict.detected_by.unwrap_or(Role::Acceptor);
        let sides = Sides::of(session);
        let by_acceptor = by == Role::Acceptor;
        // A client that guesses belongs to the rule `cookie-guessing`.
        if by_acceptor && known.guesses().guess(source.0, source.1).is_some() {
            let part = self.disagreements.of(&sides.acceptor).filter(|it| it.is_all_from(source));
            out.extend(part.and_then(part_of_guessing));
            return;
        }
        let mut found = refusal(session, &sides, by, known);
        let is_one_of_many =
            by_acceptor && known.guesses().is_one_of_many(source.0, source.1, &sides.initiator);
        let member = |role: Role| {
            let (name, _) = sides.side_and_peer(role);
            let is_tool = session.identity(role).is_some_and(|it| it.is_tool);
            Member { name: name.as_str().into(), ip: session.ip(role), is_tool }
        };
        let place = if is_one_of_many {
            // Of an address that uses many names, the further ones are only counted.
            self.disagreements.place_of(&sides.acceptor)
        } else {
            let [initiator, acceptor] = Role::BOTH.map(member);
            let (by, of) = match by {
                Role::Initiator => (&initiator, &acceptor),
                Role::Acceptor => (&acceptor, &initiator),
            };
            let (by, of) = (by.name.clone(), of.name.clone());
            let refusal = Refusal { by, of, is_logged: !found.logged_by.is_empty() };
            self.disagreements.add([&initiator, &acceptor], refusal, source)
        };
        let Some(place) = place else {
            out.push(found);
            return;
        };
        let Some(it) = self.disagreements.get_mut(place.at) else { return };
        found.parties.clone_from(&it.parties);
        if let Some(node) = it.node_of_tool(&sides.initiator, &sides.acceptor) {
            let names = [&node.name, &sides.acceptor.as_str().into()];
            let [node, peer] = names.map(|name| KnownAs::Name(Arc::clone(name)));
            let endings = vec![Ending::connection_of(session), Ending::connect(node, peer)];
            found.ended_by = EndedBy::Any(endings);
        }
        if place.growth != Growth::Same {
            it.keep(&found.evidence, session.session_id());
        }
        it.last = Some(found.clone());
        it.sides = [sides.initiator.clone(), sides.acceptor.clone()];
        let was_burst = it.burst.is_some();
        it.burst = known.guesses().burst(source.0, source.1).filter(|_| by_acceptor).or(it.burst);
        let title = write_reading(&mut found, it, known.cookies());
        if place.growth != Growth::New && (it.title != title || was_burst != it.burst.is_some()) {
            found.if_known = IfKnown::Rewrites;
            found.evidence.clone_from(&it.evidence);
        }
        it.title = title;
        if let Some(joined) = place.joined {
            out.extend(part_of_other(joined, &it.title));
        }
        out.push(found);
    }

    fn on_end(&mut self, known: &World, out: &mut Vec<Detection>) {
        for it in self.disagreements.all() {
            let Some(mut found) = it.last.clone() else { continue };
            if let Some((from, end)) = it.source {
                it.burst = known.guesses().burst(from, end).or(it.burst);
            }
            found.parties.clone_from(&it.parties);
            let title = write_reading(&mut found, it, known.cookies());
            if !title.is_empty() && (it.title != title || it.burst.is_some()) {
                found.evidence.clone_from(&it.evidence);
                found.if_known = IfKnown::RewritesOnly;
                out.push(found);
            }
        }
    }
}

/// The detection of one refusal, as if it were the only one.
fn refusal(session: &JudgedConnection, sides: &Sides, by: Role, known: &World) -> Detection {
    let (a, b) = (&sides.initiator, &sides.acceptor);
    let cookies = &session.seen.handshake.cookies;
    let mut found = finding(&DOC, session, sides);
    found.parties = sides.unordered_pair();
    let reply = |found: &mut Detection| {
        found.evidence.extend(shown(
            session.seen.message(MessageKind::ChallengeReply),
            Some(Role::Initiator),
            MessageKind::ChallengeReply,
        ));
    };
    if by == Role::Acceptor {
        found.title = format!("{b} refused the cookie of {a}");
        found.explanation = format!(
            "{a} answered the challenge{}; {b} closed the connection without sending challenge_ack. \
             A node does that when the two cookies differ.",
            cookies
                .initiator
                .label()
                .map_or_else(String::new, |label| format!(" with the cookie {label}"))
        );
        reply(&mut found);
        found.evidence.extend(closed_without(session, MessageKind::ChallengeAck));
    } else {
        found.title = format!("{a} refused the cookie of {b}");
        found.explanation = format!(
            "{b} accepted the digest of {a}{} and answered with a digest made with {}: the two nodes do \
             not have the same cookie.",
            cookies
                .initiator
                .label()
                .map_or_else(String::new, |label| format!(" (cookie {label})")),
            cookies
                .acceptor
                .label()
                .map_or_else(|| "another cookie".to_owned(), |label| format!("the cookie {label}"))
        );
        reply(&mut found);
        found.evidence.extend(shown(
            session.seen.message(MessageKind::ChallengeAck),
            Some(Role::Acceptor),
            Shows::handshake(MessageKind::ChallengeAck, "made with another cookie"),
        ));
        found.evidence.extend(closed(session, "after challenge_ack"));
    }
    if session.name(Role::Initiator).is_some() && session.name(Role::Acceptor).is_some() {
        for sentence in cookies_elsewhere(known.cookies(), a, b) {
            found.explanation.push(' ');
            found.explanation.push_str(&sentence);
        }
    }
    let dialer = session.software(Role::Initiator).unwrap_or_default();
    let is_tool = session.identity(Role::Initiator).is_some_and(|it| it.is_tool);
    found.remedy = if dialer.implementation.is_foreign() {
        careful_remedy(a, session.ip(Role::Initiator))
    } else if is_tool {
        vec![
            format!(
                "Run the tool with the cookie of {b}: it reads ~/.erlang.cookie of the user that runs it, so \
                 run it as the user that runs the node, or give it the same -setcookie (Erlang), --cookie \
                 (Elixir) or --erlang-cookie (rabbitmqctl)."
            ),
            IN_USE.to_owned(),
        ]
    } else {
        vec![
            "Give both nodes the same cookie: compare ~/.erlang.cookie of the users that run them, or \
             start both with the same --cookie (Elixir) or -setcookie (Erlang)."
                .to_owned(),
            IN_USE.to_owned(),
        ]
    };
    let refuser = session.verdict.refuser.unwrap_or_default();
    let logs = refuser.implementation.logs_refusals();
    found.logged_by = session.verdict.detected_by.filter(|_| logs).into_iter().collect();
    found
}

const IN_USE: &str = "On a running node, erlang:get_cookie() (Node.get_cookie in Elixir) shows the cookie in use, and \
     Node.set_cookie/1 changes it. A cookie set for that node with Node.set_cookie/2 overrides it.";

/// The remedy for a refusal of something that may not belong to the cluster.
fn careful_remedy(dialer: &str, from: IpAddr) -> Vec<String> {
    vec![
        format!(
            "Find out what runs at {from} as {dialer}. If you do not know it, keep the cookie from it, and let only \
             the hosts of the cluster reach port 4369 and the distribution ports."
        ),
        format!("If {dialer} belongs to the cluster, start it with the cookie of the cluster."),
    ]
}

/// Writes what all refusals of a disagreement show into the detection of the last one. Returns the title without the
/// number of attempts; empty if later connections refute all of them.
fn write_reading(found: &mut Detection, it: &Disagreement, cookies: &CookieUse) -> String {
    let reading = it.reading(cookies);
    if reading.refusals.is_empty() {
        return String::new();
    }
    if !matches!(reading.split, Split::Pair(_)) {
        found.nodes.clone_from(&reading.members);
    }
    match &reading.split {
        Split::Pair([a, b]) if reading.refusals.len() > 1 => {
            found.title = format!("{a} and {b} have different cookies");
            found.explanation.push_str(" Each of the two refused the other.");
        }
        Split::Pair(_) => {}
        Split::Star { center, others, odd } => write_star(found, &reading, center, others, odd),
        Split::Groups([one, other]) => {
            let [one, other] = [one, other].map(|names| all_of(names));
            found.title = format!("{one} have another cookie than {other}");
            found.explanation = format!(
                "{} The nodes of each side agree with each other, as far as they connected.",
                refusals(&reading)
            );
        }
        Split::Many => {
            found.title = format!("{} do not all have the same cookie", all_of(&reading.members));
            found.explanation = refusals(&reading);
        }
    }
    let logging: Vec<&str> =
        distinct(reading.refusals.iter().filter(|it| it.is_logged).map(|it| &*it.by));
    if let [_, _, ..] = logging.as_slice() {
        found.explanation.push_str(&format!(" It is in the logs of {}.", listed(&logging)));
        // Of the last attempt: a tool that was refused logs nothing.
        let logs =
            |role: &Role| it.sides.get(role.index()).is_some_and(|it| logging.contains(&&**it));
        found.logged_by = Role::BOTH.into_iter().filter(logs).collect();
    }
    let title = found.title.clone();
    if let (Some(burst), Some((from, _))) = (&it.burst, it.source) {
        let often = format!("{} times in {}", burst.refused, lasted(burst.lasted));
        found.title = format!("{title} {often}");
        found.explanation.push_str(&format!(
            " That happened {often}, faster than anybody dials by hand: a program dials in a loop, or a client \
             tries cookies."
        ));
        if let [dialer, ..] = distinct(reading.refusals.iter().map(|it| &*it.of)).as_slice() {
            found.remedy = careful_remedy(dialer, from);
        }
    }
    title
}

/// Writes the texts for one node that several others do not agree with.
fn write_star(
    found: &mut Detection,
    reading: &Reading,
    center: &Arc<str>,
    others: &[Arc<str>],
    odd: &Odd,
) {
    let list = all_of(others);
    let all_by_center = reading.refusals.iter().all(|it| it.by == *center);
    let all_of_center = reading.refusals.iter().all(|it| it.of == *center);
    let (title, meaning, mend) = match odd {
        Odd::Center => (
            format!("{center} has another cookie than {list}"),
            format!(
                " These agree with each other, so {center} is the odd one out: it shares a cookie with none of them."
            ),
            Some(center.to_string()),
        ),
        Odd::Others(friends) => (
            format!("{list} have another cookie than {center}"),
            format!(" {center} is connected to {}, so it is not the odd one out.", all_of(friends)),
            Some(list.clone()),
        ),
        Odd::Unknown if all_by_center => {
            (format!("{center} refused the cookies of {list}"), String::new(), None)
        }
        Odd::Unknown if all_of_center => {
            (format!("{list} refused the cookie of {center}"), String::new(), None)
        }
        Odd::Unknown => {
            (format!("{center} does not have the same cookie as {list}"), String::new(), None)
        }
    };
    found.title = title;
    found.explanation = format!("{}{meaning}", refusals(reading));
    if let Some(mend) = mend {
        found.remedy = vec![
            format!(
                "Give {mend} the cookie of the others: compare ~/.erlang.cookie of the users that run them, or the \
                 --cookie (Elixir), -setcookie (Erlang) or RELEASE_COOKIE that they are started with."
            ),
            IN_USE.to_owned(),
        ];
    }
}

/// The refusals of a disagreement as a sentence.
fn refusals(reading: &Reading) -> String {
    let by = distinct(reading.refusals.iter().map(|it| &*it.by));
    let each: Vec<_> = by
        .iter()
        .map(|by| {
            let of = reading.refusals.iter().filter(|it| *by == &*it.by);
            format!("{by} refused {}", all_of(&of.map(|it| it.of.clone()).collect::<Vec<_>>()))
        })
        .collect();
    format!("{}.", each.join("; "))
}

/// A list of nodes, as part of a sentence.
fn all_of(names: &[Arc<str>]) -> String {
    match names {
        [a, b] => format!("{a} and {b}"),
        [a, b, c] => format!("{a}, {b} and {c}"),
        _ => listed(&names.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// The finding of a disagreement that turned out to be the work of a client that guesses cookies.
fn part_of_guessing(it: &mut Disagreement) -> Option<Detection> {
    let (Some(found), Some((from, _))) = (it.last.clone(), it.source) else { return None };
    it.is_part = true;
    Some(Detection {
        severity: Severity::Info,
        title: format!(
            "{} (an attempt of the client at {from} that is guessing the cookie)",
            it.title
        ),
        explanation: format!(
            "{} This was one of many attempts of {from}: cookie-guessing has them all.",
            found.explanation
        ),
        remedy: vec!["See the finding of the rule cookie-guessing.".to_owned()],
        // What guesses is a client and no node.
        nodes: found.nodes.last().cloned().into_iter().collect(),
        if_known: IfKnown::RewritesOnly,
        parties: it.parties.clone(),
        evidence: it.evidence.clone(),
        ..found
    })
}

/// The finding of a disagreement that turned out to be a part of another one.
fn part_of_other(mut old: Disagreement, title: &str) -> Option<Detection> {
    let found = old.last.take()?;
    Some(Detection {
        severity: Severity::Info,
        title: format!("{} (a part of another finding)", old.title),
        explanation: format!("{} It is a part of this: {title}.", found.explanation),
        if_known: IfKnown::RewritesOnly,
        parties: old.parties,
        evidence: old.evidence,
        ..found
    })
}

/// Sentences about the cookies that two nodes use on other connections.
fn cookies_elsewhere(cookies: &CookieUse, a: &str, b: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    match (cookies.used(a, b), cookies.used(b, a)) {
        (Some(by_a), Some(by_b)) if cookies.are_crossed(a, b) => sentences.push(format!(
            "The two cookies are swapped: for {b}, {a} uses {by_a}, the cookie that {b} uses elsewhere; \
             and for {a}, {b} uses {by_b}. A cookie that is set for one peer must be the same on both \
             sides."
        )),
        (Some(by_a), Some(by_b)) if by_a != by_b => {
            sentences.push(format!("When {b} dials {a}, it uses {by_b}."));
        }
        _ => {}
    }
    for (node, peer) in [(a, b), (b, a)] {
        if let [first, second, ..] = cookies.labels(node) {
            sentences.push(format!("{node} has used more than one cookie: {first} and {second}."));
        }
        // The node that other nodes refuse too, and that none accepts, is the odd one out.
        // A node and the tools of its host are one witness.
        let mut met = cookies.peers(node).iter();
        let peer_ip = met.find(|other| other.name.as_ref() == peer).map(|other| other.ip);
        let peers_that = |agreed: bool| {
            let others = cookies.peers(node).iter().filter(move |other| {
                other.agreed == agreed && other.name.as_ref() != peer && Some(other.ip) != peer_ip
            });
            others.map(|other| other.name.as_ref()).collect::<Vec<_>>()
        };
        let is_peer_accepted =
            cookies.peers(peer).iter().any(|other| other.agreed && other.name.as_ref() != node);
        let refused = peers_that(false);
        if !refused.is_empty() && peers_that(true).is_empty() && is_peer_accepted {
            sentences.push(format!(
                "{node} is the odd one out: it does not share a cookie with {} either, while {peer} \
                 is connected to others.",
                listed(&refused)
            ));
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, incidents};
    use crate::judge::samples::{SampleDial, dial};
    use crate::record::IncidentState;

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";
    const C: &str = "c@h3/10.0.0.3/3";

    fn refused(ms: u64, from: &str, to: &str) -> SampleDial {
        dial(ms, from, to).fails(Outcome::CookieMismatch)
    }

    /// The explanation of the last refusal.
    fn explained(dials: Vec<SampleDial>) -> String {
        let events: Vec<_> = dials.into_iter().map(Step::from).collect();
        let findings = found(&events);
        let last = findings.iter().rfind(|finding| finding.rule == "cookie-mismatch");
        last.unwrap().explanation.clone()
    }

    #[test]
    fn a_node_that_is_refused_by_nodes_that_agree_is_the_odd_one_out() {
        let text = explained(vec![dial(0, A, B), refused(100, C, A), refused(200, C, B)]);
        assert!(text.contains("c@h3 is the odd one out"), "{text}");
        assert!(text.contains("a@h1 refused c@h3; b@h2 refused c@h3"), "{text}");
        let text = explained(vec![refused(100, C, A), refused(200, C, B)]);
        assert!(!text.contains("odd one out"), "no two nodes are known to agree: {text}");
        let text = explained(vec![dial(0, A, B), refused(100, C, A)]);
        assert!(!text.contains("odd one out"), "one refusal may be a cookie for one peer: {text}");
    }

    /// States and titles of all incidents at the end.
    fn states(dials: Vec<SampleDial>) -> Vec<(IncidentState, String)> {
        let events: Vec<_> = dials.into_iter().map(Step::from).collect();
        let titles = found(&events).into_iter().filter(|it| it.rule == "cookie-mismatch");
        let titles: Vec<_> = titles.map(|it| it.title).collect();
        let states = incidents(&events).into_iter().filter(|it| it.rule == "cookie-mismatch");
        states.map(|it| it.state).zip(titles).collect()
    }

    #[test]
    fn a_tool_that_was_refused_as_its_node_was_is_well_when_the_node_is() {
        let tool = |ms| {
            refused(ms, "rabbitmqcli-7-a@h1/10.0.0.1/9", B).flags(0xd_07df_7fbc, 0xd_07df_7fbd)
        };
        let both = vec![refused(100, A, B), tool(200), dial(9000, A, B)];
        let title = "b@h2 refused the cookies of a@h1 and rabbitmqcli-*-a@h1".to_owned();
        assert_eq!(states(both), [(IncidentState::Solved, title.clone())]);
        let other = vec![refused(100, A, B), tool(200), dial(9000, C, B)];
        assert_eq!(states(other)[0].0, IncidentState::Open, "another node");
        // One that stays open has no record of its own.
        let alone = vec![tool(200), dial(9000, A, B)];
        assert!(states(alone).is_empty(), "the node was never refused");
    }

    #[test]
    fn a_tool_that_is_refused_last_logs_nothing() {
        let tool = |ms| {
            refused(ms, "rabbitmqcli-7-a@h1/10.0.0.1/9", B).flags(0xd_07df_7fbc, 0xd_07df_7fbd)
        };
        let steps = [refused(100, A, B), refused(200, B, A), tool(300)]
            .map(|dial| but(dial, |judged| judged.verdict.detected_by = Some(Role::Acceptor)));
        let found = found(&steps);
        let last = found.iter().rfind(|it| it.rule == "cookie-mismatch").unwrap();
        assert!(last.explanation.contains("in the logs of "), "{}", last.explanation);
        assert_eq!(last.logged_by, [Role::Acceptor]);
    }

    #[test]
    fn swapped_cookies_are_in_the_explanation() {
        let cookies = |dial: SampleDial, from: &str, to: Option<&str>| dial.cookies(Some(from), to);
        let text = explained(vec![
            cookies(dial(0, A, C), "of-a", Some("of-a")),
            cookies(dial(0, B, "d@h4/10.0.0.4/4"), "of-b", Some("of-b")),
            cookies(refused(100, A, B), "of-b", None),
            cookies(refused(9000, B, A), "of-a", None),
        ]);
        assert!(text.contains("swapped: for a@h1, b@h2 uses of-a"), "{text}");
        let text = explained(vec![
            cookies(dial(0, A, C), "of-a", Some("of-a")),
            cookies(dial(0, B, "d@h4/10.0.0.4/4"), "of-b", Some("of-b")),
            cookies(dial(50, B, A), "of-a", Some("of-a")),
            cookies(refused(100, A, B), "of-b", None),
        ]);
        assert!(text.contains("swapped: for b@h2, a@h1 uses of-b"), "{text}");
        assert!(text.contains("has used more than one cookie"), "{text}");
    }
}
