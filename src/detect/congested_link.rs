//! A connection whose receiver does not read (`congested-link`).
//!
//! The receive window of one side is closed for seconds while that side keeps sending. The capture cannot show
//! why its node does not read.

use super::finding::{Sides, finding, seconds, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::Role;
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `congested-link`.
const DOC: RuleDoc = RuleDoc {
    rule: "congested-link",
    severity: Severity::Medium,
    summary: "the receiver's TCP window was closed for seconds",
    symptom: "`busy_dist_port` events; processes that send to the other node are suspended",
    meaning: "The receiving node does not read from its socket, so its kernel's receive buffer \
              is full and it advertises a TCP window of zero. The sender's messages wait in its \
              output queue; processes that send more are suspended (busy_dist_port), and ticks \
              wait behind the messages. If that lasts as long as net_ticktime, the connection is \
              closed although both nodes are alive.",
    evidence: "Segments with a window of zero for five seconds or more, from a side that keeps \
               sending its own ticks or messages.",
    lookalikes: "A frozen node closes its window too, but sends nothing itself. That is \
                 tick-timeout or connection-lost.",
    log_lines: &[LogLine {
        writer: "the sending node, to a process that called erlang:system_monitor/2",
        releases: "all",
        text: "{monitor, Pid, busy_dist_port, Port}",
    }],
    remedy: &[
        "Check the node that does not read: schedulers at 100 %, a process with a long message \
         queue, or a NIF that blocks a scheduler.",
        "Send less at once: split large messages, and keep bulk data off the distribution \
         connection.",
        "Raise +zdbbl on the sending node for a larger queue, or net_ticktime on all nodes; both \
         help with short peaks only.",
    ],
};

#[derive(Default)]
pub(super) struct CongestedLink;

impl Rule for CongestedLink {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::Connected {
            return;
        }
        let sides = Sides::of(session);
        for role in [Role::Initiator, Role::Acceptor] {
            let stall = session.seen.tcp.sides[role].stall;
            let Some(stall) = stall.filter(|stall| stall.lasted_us >= LONG_US && stall.sent_bytes)
            else {
                continue;
            };
            let (receiver, sender) = sides.side_and_peer(role);
            let mut found = finding(&DOC, session, &sides);
            found.confidence = Confidence::Likely;
            found.parties = format!("{sender},{receiver}");
            let lasted = seconds(stall.lasted_us);
            found.title = format!(
                "{receiver} kept its TCP window closed for {lasted}, so {sender} could not send"
            );
            found.explanation = format!(
                "The receive window of {receiver} was closed for {lasted}, while {receiver} itself kept \
                 sending: its node did not read what {sender} sent. Everything that {sender} had to \
                 send, ticks included, waited."
            );
            found.remedy = DOC.remedy.iter().map(ToString::to_string).collect();
            found.evidence.extend(shown(Some(stall.since), Some(role), Shows::ZeroWindow));
            found.not_excluded = vec!["a proxy in between did not read".to_owned()];
            found.logged_by = vec![role.peer()];
            out.push(found);
        }
    }
}

/// Shortest stall that is reported: users notice it, and it is a third of the default tick period.
const LONG_US: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use crate::detect::tests::{but, found};
    use crate::judge::samples::{dial, mark};
    use crate::observe::Stall;

    fn titles(lasted_us: u64, sent_bytes: bool) -> Vec<String> {
        let dial = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").closed(20_000, [20_000; 2]);
        let since = mark(9000);
        let event = but(dial, |session| {
            session.seen.tcp.sides.acceptor.stall = Some(Stall { since, lasted_us, sent_bytes });
        });
        let found = found(&[event]).into_iter();
        found.filter(|f| f.rule == "congested-link").map(|f| f.title.clone()).collect()
    }

    #[test]
    fn a_long_stall_of_a_side_that_keeps_sending_is_a_finding() {
        let title = "b@h kept its TCP window closed for 7.3 s, so a@h could not send";
        assert_eq!(titles(7_300_000, true), [title]);
    }

    #[test]
    fn a_short_stall_and_the_stall_of_a_frozen_node_are_no_finding() {
        assert!(titles(4_900_000, true).is_empty());
        assert!(titles(60_000_000, false).is_empty());
    }
}
