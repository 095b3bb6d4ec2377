//! A node that answers with another name than the one that was dialed.
//!
//! Symptom: `Node.connect` returns `false`, and neither node logs anything. Evidence: the initiator closes at once after
//! the `challenge`, whose name it compares with the one it dialed. The dialed name is never on the wire: its alive part
//! is in the EPMD look-up, and its host is inferred from the way in which the address was found. A similar case is an
//! initiator that is stopped at this very moment.

use std::net::IpAddr;

use super::finding::{FindingText, Sides, closed_without, finding, looked_up, shown};
use super::{Detection, EndedBy, Ending, KnownAs, LogLine, Rule, RuleDoc};
use crate::judge::world::{Ground, HostClue, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `name-mismatch`.
const DOC: RuleDoc = RuleDoc {
    rule: "name-mismatch",
    severity: Severity::High,
    summary: "the node that answers has another name than dialed",
    symptom: "`Node.connect/1` returns `false` at once, nothing is logged, and EPMD knows the name",
    meaning: "A node is dialed by its full name, such as b@h. EPMD is asked for the part before \
              the @; the part after it is only resolved to an address. When the node there sends \
              its name, the dialing node compares the whole name with the one it dialed, letter \
              by letter, and closes if they differ. So b@alias, b@10.0.0.2, b@h and \
              b@h.example.com may all lead to one node, and only one of them connects: the one \
              that node() returns there. The other cause is a port that belongs to another node \
              than EPMD says: an outdated registration, or a port that another node has taken.",
    evidence: "The initiator closes at once after the acceptor's challenge, without \
               challenge_reply, and no flag that it requires is missing. The finding is proven \
               if EPMD was asked for another name than the acceptor's: both names are in the \
               capture. The host part that was dialed is never on the wire, so everything else \
               is likely at most. It is inferred from a DNS answer to the initiator shortly \
               before, with the address that it then dialed; with less certainty from an earlier \
               connection of the same initiator after the same lookup, or from names in the \
               capture file.",
    lookalikes: "A node of another release that misses a flag closes at the same point: then the \
                 flags show it, and it is version-mismatch. A node that is stopped at this very \
                 moment looks the same once; a wrong name fails every time. A refused cookie \
                 comes one step later, after challenge_reply, and there the acceptor closes. A \
                 node with a short name that dials a long one, or the reverse, refuses that \
                 itself and sends nothing.",
    log_lines: &[
        LogLine { writer: "either node", releases: "all", text: "" },
        LogLine {
            writer: "the dialing node, with net_kernel:verbose(1)",
            releases: "OTP 25 and older",
            text: "{net_kernel,{'EXIT',<0.87.0>,{recv_challenge_failed,no_node,\"b@h\"}}}",
        },
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* Hostname mismatch: node \"b@h\" believes its host is different. Please ensure that \
                   hostnames resolve the same way locally and on \"b@h\"",
        },
    ],
    remedy: &[
        "Dial exactly the name that node() returns on the dialed node: no alias, no address in \
         place of a host name, no short name for a long one.",
        "Or start it under the name by which it is dialed: erl -name b@HOST, iex --name b@HOST; \
         or -sname and --sname, for a host name without dots.",
        "Use one kind of names in a cluster, short or long, with hosts that every node can \
         resolve.",
        "If EPMD returns the port of another node, compare epmd -names with the listening \
         sockets of that host, and restart the node whose registration is wrong.",
    ],
};

#[derive(Default)]
pub(super) struct NameMismatch;

impl Rule for NameMismatch {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() || session.claim.is_some() {
            return;
        }
        if session.outcome() != Outcome::NameMismatch {
            return;
        }
        let sides = Sides::of(session);
        let dial = MismatchedDial::of(session, &sides);
        let text = dial.text();
        let mut found = finding(&DOC, session, &sides);
        found.title = text.title;
        found.explanation = text.explanation;
        found.remedy = text.remedy;
        // The node that answered may be reached by its own name: that does not help who wants the other one.
        let initiator = KnownAs::of(session, Role::Initiator);
        let wanted = Ending::connect(initiator, KnownAs::wanted(session));
        found.ended_by = EndedBy::Any(vec![wanted]);
        let ip = session.acceptor_end().ip;
        found.evidence.extend(dial.clue.and_then(|clue| clue_evidence(clue, ip)));
        found.evidence.extend(looked_up(session));
        found.evidence.extend(shown(
            session.seen.message(MessageKind::Challenge),
            Some(Role::Acceptor),
            Shows::handshake(MessageKind::Challenge, format!("from {}", sides.acceptor)),
        ));
        found.evidence.extend(closed_without(session, MessageKind::ChallengeReply));
        debug_assert!(found.confidence != Confidence::Proven || found.not_excluded.is_empty());
        out.push(found);
    }
}

/// The two nodes of a dial, and what is known of the name that was dialed.
struct MismatchedDial<'a> {
    initiator: &'a str,
    acceptor: &'a str,
    /// Alive name that EPMD was asked for.
    alive: Option<&'a str>,
    clue: Option<&'a HostClue>,
}

impl<'a> MismatchedDial<'a> {
    fn of(session: &'a JudgedConnection, sides: &'a Sides) -> Self {
        Self {
            initiator: &sides.initiator,
            acceptor: &sides.acceptor,
            alive: session.verdict.lookup.as_ref().map(|lookup| &*lookup.asked),
            clue: session.verdict.host.as_ref(),
        }
    }

    fn text(&self) -> FindingText {
        let (own, answered) = (split(self.initiator), split(self.acceptor));
        let is_short_and_long = !own.1.is_empty() && is_short(own.1) != is_short(answered.1);
        match (self.alive, self.clue) {
            (Some(alive), _) if alive != answered.0 => self.other_alive_name(alive),
            (Some(_), Some(clue)) if &*clue.host == answered.1 => self.equal_name(clue),
            _ if is_short_and_long => self.short_and_long_name(),
            _ => self.other_host(),
        }
    }

    /// EPMD's answer led to a node with another alive name.
    fn other_alive_name(&self, alive: &str) -> FindingText {
        let Self { initiator: a, acceptor: b, .. } = self;
        let host =
            self.clue.map(|clue| format!(" {}", self.source_sentence(clue))).unwrap_or_default();
        FindingText {
            title: format!("{a} asked for \"{alive}\" and reached {b}"),
            explanation: format!(
                "EPMD gave {a} the port of \"{alive}\", but the node that answers there is {b}, so {a} closed \
                 the connection.{host}"
            ),
            remedy: vec![
                format!(
                    "On the host of {b}, compare `epmd -names` with the sockets that listen \
                     (`ss -ltnp`): the registration of \"{alive}\" is outdated, or has the wrong \
                     port."
                ),
                format!("Restart \"{alive}\" so that it registers the port it listens on."),
            ],
        }
    }

    /// By the clue to the host, the name is the one that was dialed.
    fn equal_name(&self, clue: &HostClue) -> FindingText {
        let Self { initiator: a, acceptor: b, .. } = self;
        FindingText {
            title: format!("{a} closed on {b}, though it seems to have dialed that name"),
            explanation: format!(
                "{a} closed at once after {b} had sent its name, as a node does if that is not the name it \
                 dialed. But {a} looked up that very name. {} So the name does not explain the close, unless \
                 {a} dialed one that the capture does not show. It may have been stopped at this very \
                 moment, or have dropped this dial for another connection.",
                self.source_sentence(clue)
            ),
            remedy: vec![
                "See whether it happens again: a wrong name fails at every attempt.".to_owned(),
                format!(
                    "Compare the name that {a} dials, letter by letter, with '{b}', which node() returns \
                     there."
                ),
            ],
        }
    }

    /// One of the two has a short name, the other a long one.
    fn short_and_long_name(&self) -> FindingText {
        let Self { initiator: a, acceptor: b, .. } = self;
        let (short, long) = if is_short(split(a).1) { (a, b) } else { (b, a) };
        let (short_alive, long_alive) = (split(short).0, split(long).0);
        let (long_host, is_address) = (split(long).1, is_address(split(long).1));
        let word = long_host.split('.').next().filter(|_| !is_address).unwrap_or("HOST");
        let dialed = self.clue.map(|clue| &*clue.host);
        // If the node that answered has the short name, the host that was dialed is the one of its long name.
        let full = dialed.filter(|host| short == b && !is_short(host)).unwrap_or("FULL.HOST.NAME");
        let renamed = format!("{short_alive}@{full}");
        // The name to dial after the other node has been renamed.
        let (both_short, both_long) = if short == a {
            (format!("{long_alive}@{word}"), (*b).to_owned())
        } else {
            ((*b).to_owned(), renamed.clone())
        };
        let clue =
            self.clue.map(|clue| format!(" {}", self.source_sentence(clue))).unwrap_or_default();
        FindingText {
            title: self.title(),
            explanation: format!(
                "{b} sent its name, and {a} closed the connection at once. A node does that if the name is \
                 not, letter by letter, the one it dialed.{clue} {short} has a short name (its host is one \
                 word), {long} has a long one (its host is {long_host}). Such nodes do not connect, because \
                 each can only dial names of its own kind."
            ),
            remedy: vec![
                format!(
                    "Either use short names on both: restart {long} with `erl -sname {long_alive}` or \
                     `iex --sname {long_alive}`, and dial '{both_short}'."
                ),
                format!(
                    "Or use long names on both: restart {short} with `erl -name {renamed}` or \
                     `iex --name {renamed}` (the host is what `hostname -f` prints there, or its \
                     address), and dial '{both_long}'."
                ),
                "In both cases the host after the @ must resolve on the other node: `getent hosts HOST`."
                    .to_owned(),
            ],
        }
    }

    /// The alive name is right or not known, so the host differs.
    fn other_host(&self) -> FindingText {
        let Self { initiator: a, acceptor: b, .. } = self;
        let (alive, host) = split(b);
        let reason = match self.clue {
            Some(clue) => {
                format!("{} {}", self.source_sentence(clue), difference(&clue.host, host))
            }
            None if self.alive.is_none() => {
                "The capture does not show which name that was.".to_owned()
            }
            None => {
                format!("{b} was dialed by an alias, an address or a spelling other than {host}.")
            }
        };
        let dialed = format!(
            "{}@{}",
            self.alive.map_or("NAME", |_| alive),
            self.clue.map_or("HOST", |clue| &*clue.host)
        );
        let is_short = self.clue.is_some_and(|clue| is_short(&clue.host));
        let (erl, iex) = if is_short { ("-sname", "--sname") } else { ("-name", "--name") };
        let is_whole = self.alive.is_some() && self.clue.is_some();
        let hint = if is_whole {
            String::new()
        } else {
            format!(", where {dialed} is the name that {a} dials")
        };
        FindingText {
            title: self.title(),
            explanation: format!(
                "{b} sent its name, and {a} closed the connection at once. A node does that if the name is \
                 not, letter by letter, the one it dialed. {reason}"
            ),
            remedy: vec![
                format!("Dial exactly '{b}', the name that node() returns on that node."),
                format!(
                    "Or start that node under the name by which it is dialed: \
                     `erl {erl} {dialed}` or `iex {iex} {dialed}`{hint}."
                ),
            ],
        }
    }

    fn title(&self) -> String {
        let Self { initiator: a, acceptor: b, .. } = self;
        match (self.alive, self.clue) {
            (Some(alive), Some(HostClue { host, ground: Ground::Dns { .. } })) => {
                format!("{a} dialed {alive}@{host} and reached {b}")
            }
            _ => format!("{a} dialed {b} under a different name"),
        }
    }

    /// The sentence about the source of the dialed host.
    fn source_sentence(&self, clue: &HostClue) -> String {
        let Self { initiator: a, acceptor: b, .. } = self;
        let HostClue { host, ground } = clue;
        let dialed = self
            .alive
            .map_or_else(|| format!("a name at {host}"), |alive| format!("{alive}@{host}"));
        match ground {
            Ground::Dns { frame, asked } => {
                let added = if asked == host { "" } else { " (a resolver adds search domains)" };
                format!(
                    "Shortly before, {a} asked DNS for {asked} (frame {}) and received the address of {b}, so it \
                     most likely dialed {dialed}{added}.",
                    frame.number
                )
            }
            Ground::Mdns(frame) => format!(
                "Shortly before, mDNS announced that address as {host} (frame {}), so {a} may have dialed \
                 {dialed}.",
                frame.number
            ),
            Ground::OtherSession { frame, .. } => format!(
                "After the same look-up, {a} had connected to {dialed} before (frame {}), so it may have \
                 dialed that name again.",
                frame.number
            ),
            Ground::CaptureNames => format!(
                "The capture file itself lists {host} for that address, so {a} may have dialed {dialed}."
            ),
            Ground::TlsHello(frame) => format!(
                "The TLS hello of {a} names {host} (frame {}), so it dialed {dialed}.",
                frame.number
            ),
        }
    }
}

/// The packet that shows the dialed host.
fn clue_evidence(clue: &HostClue, ip: IpAddr) -> Option<Evidence> {
    let (frame, session_id, what) = match &clue.ground {
        Ground::Dns { frame, asked } => {
            (*frame, None, Shows::Dns(format!("DNS answer: {asked} is at {ip}")))
        }
        Ground::Mdns(frame) => {
            (*frame, None, Shows::Dns(format!("mDNS answer: {} is at {ip}", clue.host)))
        }
        Ground::OtherSession { session_id, frame } => {
            let detail = format!("from a node at {}", clue.host);
            let what = Shows::handshake(MessageKind::Challenge, detail);
            (*frame, Some(session_id.clone()), what)
        }
        Ground::CaptureNames => return None,
        Ground::TlsHello(frame) => (*frame, None, Shows::TlsHello("TLS ClientHello")),
    };
    Some(Evidence { frame, input: None, session_id, from: None, what })
}

/// The sentence on how the dialed host and the one that answered differ.
fn difference(dialed: &str, answered: &str) -> String {
    if dialed.eq_ignore_ascii_case(answered) {
        "The two differ in capital letters, and names are case-sensitive.".to_owned()
    } else if is_address(answered) {
        format!("But the node there has its address in its name, {answered}.")
    } else {
        format!("But the node there has the host {answered} in its name.")
    }
}

/// Both parts of a node name; the host is empty if the side has only an address.
fn split(name: &str) -> (&str, &str) {
    name.split_once('@').unwrap_or((name, ""))
}

/// Whether a host is one word, as those of short names are.
fn is_short(host: &str) -> bool {
    !host.contains(['.', ':'])
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;

    const FRAME: FrameRef = FrameRef { input: 0, number: 2 };

    fn dns(host: &str, asked: &str) -> HostClue {
        HostClue { host: host.into(), ground: Ground::Dns { frame: FRAME, asked: asked.into() } }
    }

    fn text(names: [&str; 2], alive: Option<&str>, clue: Option<&HostClue>) -> FindingText {
        let [initiator, acceptor] = names;
        MismatchedDial { initiator, acceptor, alive, clue }.text()
    }

    const LONG: [&str; 2] = ["one@hosta.example.lan", "two@hostb.example.lan"];

    #[test]
    fn an_alias_in_a_dns_question_is_named() {
        let clue = dns("db.example.lan", "db.example.lan");
        let text = text(LONG, Some("two"), Some(&clue));
        assert_eq!(
            text.title,
            "one@hosta.example.lan dialed two@db.example.lan and reached two@hostb.example.lan"
        );
        assert!(text.explanation.contains("asked DNS for db.example.lan (frame 2)"));
        assert!(text.remedy[0].contains("Dial exactly 'two@hostb.example.lan'"));
        assert!(text.remedy[1].contains("`erl -name two@db.example.lan`"), "{:?}", text.remedy);
    }

    #[test]
    fn a_dial_of_the_right_name_is_not_explained_with_an_alias() {
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        let text = text(LONG, Some("two"), Some(&clue));
        assert!(text.title.contains("seems to have dialed that name"), "{}", text.title);
        for part in [&text.title, &text.explanation] {
            assert!(!part.contains("alias") && !part.contains("under a different name"), "{part}");
        }
        assert!(text.explanation.contains("the name does not explain the close"));
    }

    #[test]
    fn the_remedy_for_a_short_and_a_long_name_is_one_kind_for_both() {
        let clue = dns("hostb", "hostb.example.lan");
        let to_long = text(["one@hosta", LONG[1]], Some("two"), Some(&clue));
        assert!(to_long.title.contains("dialed two@hostb and reached two@hostb.example.lan"));
        assert!(to_long.explanation.contains("one@hosta has a short name"));
        assert!(to_long.remedy[0].contains("restart two@hostb.example.lan with `erl -sname two`"));
        assert!(to_long.remedy[0].contains("dial 'two@hostb'"), "{:?}", to_long.remedy);
        assert!(
            to_long.remedy[1].contains("restart one@hosta with `erl -name one@FULL.HOST.NAME`")
        );
        assert!(to_long.remedy[1].contains("dial 'two@hostb.example.lan'"));
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        let known = text([LONG[0], "two@hostb"], Some("two"), Some(&clue));
        assert!(
            known.remedy[1].contains("`erl -name two@hostb.example.lan`"),
            "{:?}",
            known.remedy
        );
        let to_short = text([LONG[0], "two@hostb"], Some("two"), None);
        assert!(to_short.explanation.contains("two@hostb has a short name"));
        assert!(to_short.remedy[0].contains("`erl -sname one`"), "{:?}", to_short.remedy);
        assert!(to_short.remedy[0].contains("dial 'two@hostb'"));
        assert!(to_short.remedy[1].contains("`erl -name two@FULL.HOST.NAME`"));
        assert!(to_short.remedy[1].contains("dial 'two@FULL.HOST.NAME'"));
    }

    #[test]
    fn an_address_in_a_name_has_no_first_label() {
        let text = text(["one@hosta", "two@10.53.0.2"], Some("two"), None);
        assert!(text.remedy[0].contains("dial 'two@HOST'"), "{:?}", text.remedy);
    }

    #[test]
    fn another_alive_name_is_explained_by_the_registration_for_any_host() {
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        for clue in [None, Some(&clue)] {
            let text = text(LONG, Some("three"), clue);
            assert!(text.title.contains("asked for \"three\" and reached two@"), "{}", text.title);
            assert!(text.remedy[0].contains("epmd -names"));
        }
    }

    #[test]
    fn the_explanation_names_capital_letters_and_addresses() {
        let clue = dns("HostB.example.lan", "HostB.example.lan");
        assert!(text(LONG, Some("two"), Some(&clue)).explanation.contains("capital letters"));
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        let text = text([LONG[0], "two@10.53.0.2"], Some("two"), Some(&clue));
        assert!(text.explanation.contains("has its address in its name, 10.53.0.2"));
    }

    #[test]
    fn an_uncertain_clue_gives_a_hint_and_no_title() {
        let host: std::sync::Arc<str> = "db.example.lan".into();
        let session_id = "0011223344556677".into();
        for ground in [
            Ground::Mdns(FRAME),
            Ground::OtherSession { session_id, frame: FRAME },
            Ground::CaptureNames,
        ] {
            let clue = HostClue { host: host.clone(), ground };
            let text = text(LONG, Some("two"), Some(&clue));
            assert_eq!(
                text.title,
                "one@hosta.example.lan dialed two@hostb.example.lan under a different name"
            );
            assert!(text.explanation.contains("may have dialed"), "{}", text.explanation);
        }
    }

    #[test]
    fn without_any_clue_no_name_is_guessed() {
        let known = text(LONG, Some("two"), None);
        assert!(known.explanation.contains("an alias, an address or a spelling other than hostb"));
        assert!(
            known.remedy[1].contains("--name two@HOST`, where two@HOST is"),
            "{:?}",
            known.remedy
        );
        let unknown = text(LONG, None, None);
        assert!(unknown.explanation.ends_with("The capture does not show which name that was."));
        assert!(unknown.remedy[1].contains("NAME@HOST"), "{:?}", unknown.remedy);
    }
}
