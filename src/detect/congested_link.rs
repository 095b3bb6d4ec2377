//! A connection whose receiver does not read.
//!
//! `congested-link`: a closed receive window for seconds, on the side of a node that goes on speaking. What
//! it does not tell: why that node does not read.

use super::finding::{Sides, finding, seconds, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::Role;
use crate::record::{Confidence, Severity, Shows};

/// `beamscope explain congested-link`.
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
    fn pages(&self) -> &'static [RuleDoc] {
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
            let (receiver, sender) = sides.beginning_with(role);
            let mut found = finding(&DOC, session, &sides);
            found.confidence = Confidence::Likely;
            found.parties = format!("{sender},{receiver}");
            let lasted = seconds(stall.lasted_us);
            found.title = format!("{receiver} let {sender} send nothing for {lasted}");
            found.explanation = format!(
                "The receive window of {receiver} was closed for {lasted}, while {receiver} itself went on \
                 speaking: its node did not read what {sender} sends. What {sender} had to say, ticks \
                 included, waited."
            );
            found.remedy = DOC.remedy.iter().map(ToString::to_string).collect();
            found.evidence.extend(shown(Some(stall.since), Some(role), Shows::ZeroWindow));
            found.not_excluded = vec!["a proxy in between that does not read".to_owned()];
            found.logged_by = vec![role.peer()];
            out.push(found);
        }
    }
}

/// Long enough for a person to notice, and a third of a tick period.
const LONG_US: u64 = 5_000_000;

#[cfg(test)]
mod tests {
    use crate::detect::tests::{but, found};
    use crate::judge::samples::{dial, mark};
    use crate::observe::Stall;

    fn told(lasted_us: u64, spoke: bool) -> Vec<String> {
        let dial = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").closed(20_000, [20_000; 2]);
        let since = mark(9000);
        let event = but(dial, |session| {
            session.seen.tcp.sides.acceptor.stall =
                Some(Stall { since, lasted_us, sent_bytes: spoke });
        });
        let found = found(&[event]).into_iter();
        found.filter(|f| f.rule == "congested-link").map(|f| f.title.clone()).collect()
    }

    #[test]
    fn a_long_stall_of_a_side_that_speaks_is_told() {
        assert_eq!(told(7_300_000, true), ["b@h let a@h send nothing for 7.3 s"]);
    }

    #[test]
    fn a_short_one_and_that_of_a_frozen_node_are_not() {
        assert!(told(4_900_000, true).is_empty());
        assert!(told(60_000_000, false).is_empty());
    }
}
