//! The node that answered is not the one that was asked for.
//!
//! Symptom: `Node.connect` gives `false`, and neither node logs anything. Evidence: the initiator closes at
//! once after the `challenge`, whose name it compares with the one it dialed. That one is never on the wire:
//! its alive part is what EPMD was asked for, its host what the capture shows of how the address was found.
//! May look like it: an initiator that stops at this very point.

use std::net::IpAddr;

use super::finding::{Sides, closed_without, finding, looked_up, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::{Ground, HostClue, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Confidence, Evidence, Severity, Shows};

/// `beamscope explain name-mismatch`.
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
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::NameMismatch {
            return;
        }
        let sides = Sides::of(session);
        let dial = Dial::of(session, &sides);
        let told = dial.told();
        let mut found = finding(&DOC, session, &sides);
        found.title = told.title;
        found.explanation = told.explanation;
        found.remedy = told.remedy;
        let ip = session.acceptor_end().ip;
        found.evidence.extend(dial.clue.and_then(|clue| named(clue, ip)));
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

/// A dial, and who answered it.
struct Dial<'a> {
    initiator: &'a str,
    acceptor: &'a str,
    /// Name that EPMD was asked for.
    alive: Option<&'a str>,
    clue: Option<&'a HostClue>,
}

/// What a finding says in words.
struct Told {
    title: String,
    explanation: String,
    remedy: Vec<String>,
}

impl<'a> Dial<'a> {
    fn of(session: &'a JudgedConnection, sides: &'a Sides) -> Self {
        Self {
            initiator: &sides.initiator,
            acceptor: &sides.acceptor,
            alive: session.verdict.lookup.as_ref().map(|lookup| &*lookup.asked),
            clue: session.verdict.host.as_ref(),
        }
    }

    fn told(&self) -> Told {
        let (own, answered) = (split(self.initiator), split(self.acceptor));
        let is_of_other_kind = !own.1.is_empty() && is_short(own.1) != is_short(answered.1);
        match (self.alive, self.clue) {
            (Some(alive), _) if alive != answered.0 => self.of_other_alive(alive),
            (Some(_), Some(clue)) if &*clue.host == answered.1 => self.of_equal_name(clue),
            _ if is_of_other_kind => self.of_other_kind(),
            _ => self.of_other_host(),
        }
    }

    /// EPMD's answer led to a node of another name.
    fn of_other_alive(&self, alive: &str) -> Told {
        let Self { initiator: a, acceptor: b, .. } = self;
        let host = self.clue.map(|clue| format!(" {}", self.known_by(clue))).unwrap_or_default();
        Told {
            title: format!("{a} asked for \"{alive}\" and reached {b}"),
            explanation: format!(
                "EPMD gave {a} the port of \"{alive}\", but the node that answers there is {b}; {a} \
                 closed the connection.{host}"
            ),
            remedy: vec![
                format!(
                    "On the host of {b}, compare `epmd -names` with the sockets that listen \
                     (`ss -ltnp`): the registration of \"{alive}\" is left over, or points to the wrong \
                     port."
                ),
                format!("Restart \"{alive}\" so that it registers the port it listens on."),
            ],
        }
    }

    /// As far as anything tells, the name is the one that was dialed.
    fn of_equal_name(&self, clue: &HostClue) -> Told {
        let Self { initiator: a, acceptor: b, .. } = self;
        Told {
            title: format!("{a} closed on {b}, though it seems to have dialed that name"),
            explanation: format!(
                "{a} closed at once after {b} had presented itself, as a node does that reads another name \
                 than it dialed. But it looked up that very name. {} So the name does not explain the \
                 close, unless {a} dialed one that the capture does not show; it may have been stopped, or \
                 have dropped this dial for another connection, at this very point.",
                self.known_by(clue)
            ),
            remedy: vec![
                "See whether it happens again: a wrong name fails at every try.".to_owned(),
                format!(
                    "Compare what {a} dials, letter by letter, with '{b}': the name that node() gives \
                     there."
                ),
            ],
        }
    }

    /// One of the two has a short name, the other a long one.
    fn of_other_kind(&self) -> Told {
        let Self { initiator: a, acceptor: b, .. } = self;
        let (short, long) = if is_short(split(a).1) { (a, b) } else { (b, a) };
        let (short_alive, long_alive) = (split(short).0, split(long).0);
        let (long_host, is_address) = (split(long).1, is_address(split(long).1));
        let word = long_host.split('.').next().filter(|_| !is_address).unwrap_or("HOST");
        let dialed = self.clue.map(|clue| &*clue.host);
        // Where the node that answered has the short name, the host that was dialed is its long one.
        let full = dialed.filter(|host| short == b && !is_short(host)).unwrap_or("FULL.HOST.NAME");
        let renamed = format!("{short_alive}@{full}");
        // What is to be dialed afterwards, when the other one has changed.
        let (both_short, both_long) = if short == a {
            (format!("{long_alive}@{word}"), (*b).to_owned())
        } else {
            ((*b).to_owned(), renamed.clone())
        };
        let clue = self.clue.map(|clue| format!(" {}", self.known_by(clue))).unwrap_or_default();
        Told {
            title: self.title(),
            explanation: format!(
                "{b} presented itself, and {a} closed the connection at once: a node does that when the \
                 name is not letter by letter the one it dialed.{clue} {short} has a short name (its host \
                 is one word), {long} a long one (host {long_host}); such nodes do not connect, since \
                 each can only dial names of its own kind."
            ),
            remedy: vec![
                format!(
                    "Either give both short names: restart {long} with `erl -sname {long_alive}` or \
                     `iex --sname {long_alive}`, and dial '{both_short}'."
                ),
                format!(
                    "Or give both long names: restart {short} with `erl -name {renamed}` or \
                     `iex --name {renamed}` (its host is what `hostname -f` gives there, or its \
                     address), and dial '{both_long}'."
                ),
                "Either way the host behind the @ must resolve on the other side: `getent hosts HOST`."
                    .to_owned(),
            ],
        }
    }

    /// The alive name is right, or not known: then the host is another.
    fn of_other_host(&self) -> Told {
        let Self { initiator: a, acceptor: b, .. } = self;
        let (alive, host) = split(b);
        let reason = match self.clue {
            Some(clue) => format!("{} {}", self.known_by(clue), difference(&clue.host, host)),
            None if self.alive.is_none() => {
                "Which name that was, the capture does not tell.".to_owned()
            }
            None => format!(
                "The host it was dialed by is an alias, an address or a spelling other than {host}."
            ),
        };
        let dialed = format!(
            "{}@{}",
            self.alive.map_or("NAME", |_| alive),
            self.clue.map_or("HOST", |clue| &*clue.host)
        );
        let is_short = self.clue.is_some_and(|clue| is_short(&clue.host));
        let (erl, iex) = if is_short { ("-sname", "--sname") } else { ("-name", "--name") };
        let is_whole = self.alive.is_some() && self.clue.is_some();
        let hint =
            if is_whole { String::new() } else { format!(", {dialed} being what {a} dials") };
        Told {
            title: self.title(),
            explanation: format!(
                "{b} presented itself, and {a} closed the connection at once: a node does that when the \
                 name is not letter by letter the one it dialed. {reason}"
            ),
            remedy: vec![
                format!("Dial exactly '{b}': the name that node() gives on that node."),
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

    /// What tells the host that was dialed.
    fn known_by(&self, clue: &HostClue) -> String {
        let Self { initiator: a, acceptor: b, .. } = self;
        let HostClue { host, ground } = clue;
        let dialed = self
            .alive
            .map_or_else(|| format!("a name at {host}"), |alive| format!("{alive}@{host}"));
        match ground {
            Ground::Dns { frame, asked } => {
                let added = if asked == host { "" } else { " (a resolver adds search domains)" };
                format!(
                    "Shortly before, {a} asked DNS for {asked} (frame {}) and got the address of {b}: it \
                     most likely dialed {dialed}{added}.",
                    frame.number
                )
            }
            Ground::Mdns(frame) => format!(
                "Shortly before, mDNS told that address as {host} (frame {}): {a} may have dialed \
                 {dialed}.",
                frame.number
            ),
            Ground::OtherSession { frame, .. } => format!(
                "After the same look-up, {a} has connected to {dialed} before (frame {}); it may have \
                 dialed that name again.",
                frame.number
            ),
            Ground::CaptureNames => format!(
                "The capture file itself calls that address {host}: {a} may have dialed {dialed}."
            ),
        }
    }
}

/// The packet that tells the host.
fn named(clue: &HostClue, ip: IpAddr) -> Option<Evidence> {
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
    };
    Some(Evidence { frame, input: None, session_id, from: None, what })
}

/// How the dialed host and the one that answered differ.
fn difference(dialed: &str, answered: &str) -> String {
    if dialed.eq_ignore_ascii_case(answered) {
        "The two differ in capital letters, and those count.".to_owned()
    } else if is_address(answered) {
        format!("But the node there calls itself by its address, {answered}.")
    } else {
        format!("But the node there calls itself by the host {answered}.")
    }
}

/// Both parts of a node name; the host is empty where the side is no more than an address.
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

    fn told(names: [&str; 2], alive: Option<&str>, clue: Option<&HostClue>) -> Told {
        let [initiator, acceptor] = names;
        Dial { initiator, acceptor, alive, clue }.told()
    }

    const LONG: [&str; 2] = ["one@hosta.example.lan", "two@hostb.example.lan"];

    #[test]
    fn an_alias_that_dns_was_asked_for_is_named() {
        let clue = dns("db.example.lan", "db.example.lan");
        let told = told(LONG, Some("two"), Some(&clue));
        assert_eq!(
            told.title,
            "one@hosta.example.lan dialed two@db.example.lan and reached two@hostb.example.lan"
        );
        assert!(told.explanation.contains("asked DNS for db.example.lan (frame 2)"));
        assert!(told.remedy[0].contains("Dial exactly 'two@hostb.example.lan'"));
        assert!(told.remedy[1].contains("`erl -name two@db.example.lan`"), "{:?}", told.remedy);
    }

    #[test]
    fn a_name_that_was_dialed_as_it_is_gets_no_alias_for_a_reason() {
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        let told = told(LONG, Some("two"), Some(&clue));
        assert!(told.title.contains("seems to have dialed that name"), "{}", told.title);
        for text in [&told.title, &told.explanation] {
            assert!(!text.contains("alias") && !text.contains("under a different name"), "{text}");
        }
        assert!(told.explanation.contains("the name does not explain the close"));
    }

    #[test]
    fn short_against_long_says_how_to_make_both_alike() {
        let clue = dns("hostb", "hostb.example.lan");
        let to_long = told(["one@hosta", LONG[1]], Some("two"), Some(&clue));
        assert!(to_long.title.contains("dialed two@hostb and reached two@hostb.example.lan"));
        assert!(to_long.explanation.contains("one@hosta has a short name"));
        assert!(to_long.remedy[0].contains("restart two@hostb.example.lan with `erl -sname two`"));
        assert!(to_long.remedy[0].contains("dial 'two@hostb'"), "{:?}", to_long.remedy);
        assert!(
            to_long.remedy[1].contains("restart one@hosta with `erl -name one@FULL.HOST.NAME`")
        );
        assert!(to_long.remedy[1].contains("dial 'two@hostb.example.lan'"));
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        let known = told([LONG[0], "two@hostb"], Some("two"), Some(&clue));
        assert!(
            known.remedy[1].contains("`erl -name two@hostb.example.lan`"),
            "{:?}",
            known.remedy
        );
        let to_short = told([LONG[0], "two@hostb"], Some("two"), None);
        assert!(to_short.explanation.contains("two@hostb has a short name"));
        assert!(to_short.remedy[0].contains("`erl -sname one`"), "{:?}", to_short.remedy);
        assert!(to_short.remedy[0].contains("dial 'two@hostb'"));
        assert!(to_short.remedy[1].contains("`erl -name two@FULL.HOST.NAME`"));
        assert!(to_short.remedy[1].contains("dial 'two@FULL.HOST.NAME'"));
    }

    #[test]
    fn an_address_in_a_name_is_no_first_label() {
        let told = told(["one@hosta", "two@10.53.0.2"], Some("two"), None);
        assert!(told.remedy[0].contains("dial 'two@HOST'"), "{:?}", told.remedy);
    }

    #[test]
    fn another_alive_name_is_a_matter_of_the_registration_whatever_the_host() {
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        for clue in [None, Some(&clue)] {
            let told = told(LONG, Some("three"), clue);
            assert!(told.title.contains("asked for \"three\" and reached two@"), "{}", told.title);
            assert!(told.remedy[0].contains("epmd -names"));
        }
    }

    #[test]
    fn capital_letters_and_addresses_are_told_as_what_they_are() {
        let clue = dns("HostB.example.lan", "HostB.example.lan");
        assert!(told(LONG, Some("two"), Some(&clue)).explanation.contains("capital letters"));
        let clue = dns("hostb.example.lan", "hostb.example.lan");
        let told = told([LONG[0], "two@10.53.0.2"], Some("two"), Some(&clue));
        assert!(told.explanation.contains("calls itself by its address, 10.53.0.2"));
    }

    #[test]
    fn what_is_only_a_habit_gives_a_hint_and_no_title() {
        let host: std::sync::Arc<str> = "db.example.lan".into();
        let session_id = "0011223344556677".into();
        for ground in [
            Ground::Mdns(FRAME),
            Ground::OtherSession { session_id, frame: FRAME },
            Ground::CaptureNames,
        ] {
            let clue = HostClue { host: host.clone(), ground };
            let told = told(LONG, Some("two"), Some(&clue));
            assert_eq!(
                told.title,
                "one@hosta.example.lan dialed two@hostb.example.lan under a different name"
            );
            assert!(told.explanation.contains("may have dialed"), "{}", told.explanation);
        }
    }

    #[test]
    fn without_any_clue_no_name_is_guessed() {
        let known = told(LONG, Some("two"), None);
        assert!(known.explanation.contains("an alias, an address or a spelling other than hostb"));
        assert!(known.remedy[1].contains("--name two@HOST`, two@HOST being"), "{:?}", known.remedy);
        let unknown = told(LONG, None, None);
        assert!(unknown.explanation.ends_with("the capture does not tell."));
        assert!(unknown.remedy[1].contains("NAME@HOST"), "{:?}", unknown.remedy);
    }
}
