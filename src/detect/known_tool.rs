//! The handshake of a known attack tool.
//!
//! The flags of these tools are copies of those of C nodes of OTP 17 to 22 (`erl_interface`), and prove nothing alone.
//! A C node never has them together with a name that the tools use, or with a challenge that is not random. The finding
//! is only a hint: a tool can be changed, and the owner of a node may use one for a test.

use super::finding::{Sides, address, finding, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, OddChallenge, Role, State};
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `known-tool`.
const DOC: RuleDoc = RuleDoc {
    rule: "known-tool",
    severity: Severity::Medium,
    summary: "the handshake of a known scanner or attack tool",
    symptom: "a handshake that has the marks of a published attack tool",
    meaning: "The handshake has the marks of a published tool that tries a cookie and, if it is \
              accepted, runs a command on the node: exploits for CVE-2022-24706 (Apache CouchDB \
              with its default cookie), Metasploit's modules for Erlang cookies, erl-matter, \
              ERLPopper. This is a hint and never a proof: tools can be changed, and audits use \
              them too.",
    evidence: "The exact capability flags of these tools (0x3499c, 0x7499c or 0x103499c), \
               together with the name AAAAAA@AAAAAAA, with six capitals at nowhere, or with a \
               challenge that is constant or echoes the acceptor's, where a node sends a random \
               one.",
    lookalikes: "C nodes of OTP 17 to 22 (erl_call and other programs built with erl_interface) \
                 send the same flags with their own name and a random challenge: they are not \
                 reported.",
    log_lines: &[],
    remedy: &[
        "Find out what runs at the source address, and whether it was a test of your own.",
        "Check the outcome of the connection: connected means that the cookie was right and that \
         any command could be run. Then treat the node's host as compromised, and change the \
         cookie.",
        "Let only the cluster's own network reach port 4369 and the distribution ports.",
    ],
};

#[derive(Default)]
pub(super) struct KnownTool;

impl Rule for KnownTool {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        let connected = session.outcome() == Outcome::Connected;
        // A session is reported once: when it connects, or when it has ended without that.
        if connected != (session.state() == State::Established)
            || !connected && !session.is_settled()
        {
            return;
        }
        let Some((tool, mark)) = tool_and_mark(session) else { return };
        let (from, end) = (session.ip(Role::Initiator), session.acceptor_end());
        let sides = Sides::of(session);
        let mut found = finding(&DOC, session, &sides);
        found.confidence = Confidence::Likely;
        found.parties = format!("{from},{},{tool}", address(end.ip, end.port));
        found.title = format!("{from} dialed {} as {tool} does", sides.acceptor);
        found.explanation = format!(
            "The send_name has the flags of {tool}, and {mark}. {} This is a hint, not a proof.",
            if connected { "Its cookie was accepted." } else { "It did not connect." }
        );
        found.remedy = vec![
            format!("Find out what runs at {from}, and whether it was a test of your own."),
            "Let only the cluster's own network reach port 4369 and the distribution ports."
                .to_owned(),
        ];
        let seen = &session.seen;
        found.evidence.extend(shown(
            seen.message(MessageKind::SendName),
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        if seen.handshake.odd_challenge.is_some() {
            let what = Shows::handshake(
                MessageKind::ChallengeReply,
                "with a challenge that is not random",
            );
            found.evidence.extend(shown(
                seen.message(MessageKind::ChallengeReply),
                Some(Role::Initiator),
                what,
            ));
        }
        found.not_excluded =
            vec!["a test of your own, or another program that does the same".to_owned()];
        found.logged_by = Vec::new();
        out.push(found);
    }
}

/// Whether the initiator has the marks of a known tool.
pub(super) fn is_known(session: &JudgedConnection) -> bool {
    tool_and_mark(session).is_some()
}

/// The tool that a session looks like, and the mark that shows it.
fn tool_and_mark(session: &JudgedConnection) -> Option<(&'static str, &'static str)> {
    let hello = &session.seen.handshake.send_name.as_ref()?.what;
    let name = session.name(Role::Initiator).map(|name| &**name).unwrap_or_default();
    // A complement adds the upper 32 bits to the flags of version 5.
    let known_bits = if hello.version == 5 { u64::from(u32::MAX) } else { u64::MAX };
    if !FLAGS.contains(&(hello.version, hello.flags.0 & known_bits)) {
        return None;
    }
    let capitals = name.strip_suffix("@nowhere").unwrap_or_default();
    if name == "AAAAAA@AAAAAAA" {
        return Some(("an exploit for CVE-2022-24706", "the name that all of these exploits use"));
    }
    if capitals.len() == 6 && capitals.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Some(("erl-matter or ERLPopper", "a name of the kind that these tools generate"));
    }
    match session.seen.handshake.odd_challenge? {
        OddChallenge::Echo => Some((
            "Metasploit's erlang_cookie_rce or ERLPopper",
            "its challenge repeats the acceptor's",
        )),
        OddChallenge::Constant => {
            Some(("an exploit for CVE-2022-24706 or erl-matter", "its challenge is a constant"))
        }
    }
}

/// Handshake version and flags of the tools. The first two are also those of C nodes: of OTP 17 and 18, and
/// of 19 to 22.
const FLAGS: [(u8, u64); 3] = [(5, 0x3_499c), (5, 0x7_499c), (6, 0x103_499c)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{but, found};
    use crate::judge::samples::dial;

    fn title(version: u8, flags: u64, name: &str, odd: Option<OddChallenge>) -> Option<String> {
        let from = format!("{name}/10.0.0.1/1");
        let dial = dial(0, &from, "b@h2/10.0.0.2/2").flags(flags, 0xd_07df_7fbd);
        let event = but(dial.fails(Outcome::Aborted), |session| {
            session.seen.handshake.send_name.as_mut().unwrap().what.version = version;
            session.seen.handshake.odd_challenge = odd;
        });
        let mut findings =
            found(&[event]).into_iter().filter(|finding| finding.rule == "known-tool");
        findings.next().map(|finding| {
            assert_eq!(
                (finding.severity, finding.confidence),
                (Severity::Medium, Confidence::Likely)
            );
            finding.title.clone()
        })
    }

    #[test]
    fn a_tool_is_detected_by_its_flags_together_with_another_mark() {
        let exploit = "10.0.0.1 dialed b@h2 as an exploit for CVE-2022-24706 does";
        assert_eq!(title(5, 0x3_499c, "AAAAAA@AAAAAAA", None).as_deref(), Some(exploit));
        assert!(title(5, 0x3_499c, "QWERTY@nowhere", None).unwrap().contains("erl-matter"));
        assert!(title(6, 0x103_499c, "QWERTY@nowhere", None).unwrap().contains("ERLPopper"));
        let echo = title(5, 0x7_499c, "k3jD9s@Zs8Wq1", Some(OddChallenge::Echo)).unwrap();
        assert!(echo.contains("Metasploit"), "{echo}");
        assert!(title(5, 0x3_499c, "x@y", Some(OddChallenge::Constant)).is_some());
        assert!(title(5, 0x4_0003_499c, "AAAAAA@AAAAAAA", None).is_some(), "completed flags");
    }

    #[test]
    fn an_old_c_node_and_a_node_with_such_a_name_are_no_tool() {
        assert_eq!(title(5, 0x7_499c, "c17@h1", None), None);
        assert_eq!(title(5, 0x3_499c, "c17@h1", None), None);
        assert_eq!(title(6, 0xd_07df_7fbd, "AAAAAA@AAAAAAA", None), None);
        assert_eq!(title(5, 0x3_7ffd, "QWERTY@nowhere", Some(OddChallenge::Echo)), None);
        assert_eq!(title(5, 0x7_499c, "qwerty@nowhere", None), None);
    }
}
