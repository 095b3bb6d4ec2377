//! A proxy that parts the connections of nodes after the same silence each time.
//!
//! Evidence: the address that closes is that of neither node, since both legs of the connection are in the capture; and
//! the silence before the close is the same, again and again. Where the capture has the leg of the dialing node alone,
//! the dialed address closes, and both nodes run on all the time. A node that closes a connection which it dialed
//! itself, at whatever interval, is not reported.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Sides, finding, order_by_frame, seconds, shown};
use super::{Detection, EndedBy, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::remember;
use crate::observe::{CloseKind, Role};
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::micros;

/// Documentation of the rule `idle-limit`.
const DOC: RuleDoc = RuleDoc {
    rule: "idle-limit",
    severity: Severity::Medium,
    summary: "a proxy ends silent connections before a tick comes",
    symptom: "nodes lose each other again and again after the same silence",
    meaning: "A proxy or load balancer between the nodes closes connections that were silent for a \
              fixed time (an idle limit), and that time is shorter than the time between two \
              ticks, a quarter of net_ticktime (15 s by default). Neither node closed anything.",
    evidence: "Both legs of the connection are in the capture; the proxy closes both, by FIN or RST, \
               and did so at least twice after the same silence. Or one leg is: the dialed address \
               closed at least three times after the same silence, and neither node was started \
               again in between.",
    lookalikes: "A node that is stopped closes its own connection, and has another creation when it \
                 is back. A program that disconnects a node after a fixed time looks the same on one \
                 leg; as a rule it is the dialing side that does so. A node that waited for a tick closes after 45 s or \
                 more: tick-timeout.",
    log_lines: &[],
    remedy: &[
        "Raise the idle limit of the proxy above net_ticktime (HAProxy: timeout client and timeout \
         server, or timeout tunnel; nginx: proxy_timeout).",
        "Or set a net_ticktime (kernel application) on all nodes whose quarter is shorter than the \
         idle limit.",
        "Better let nodes reach each other without a proxy.",
    ],
};

/// A leg that a side closed after a silence.
struct SilentClose {
    closer: IpAddr,
    role: Role,
    nodes: [Arc<str>; 2],
    creations: [Option<u32>; 2],
    silence: Duration,
    shown: Evidence,
}

#[derive(Default)]
pub(super) struct IdleLimit {
    /// The last closes after a silence, at most [`REMEMBERED`].
    closes: VecDeque<SilentClose>,
}

impl Rule for IdleLimit {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() || session.outcome() != Outcome::Connected {
            return;
        }
        let Some(close) = silent_close(session) else { return };
        let SilentClose { closer, silence, nodes, .. } = &close;
        let (closer, silence) = (*closer, *silence);
        let tolerance = TOLERANCE.max(silence / 50);
        let is_alike = |other: &&SilentClose| {
            other.closer == closer
                && other.nodes == *nodes
                && other.silence.abs_diff(silence) <= tolerance
        };
        let alike: Vec<&SilentClose> =
            self.closes.iter().filter(is_alike).chain([&close]).collect();
        let rounds = |role: Role| alike.iter().filter(|other| other.role == role).count();
        let both_legs = Role::BOTH.into_iter().all(|role| rounds(role) >= ROUNDS);
        // A node that closes what it dialed is a program that has done its work.
        let is_same_start = |other: &&&SilentClose| other.creations == close.creations;
        let one_leg = close.role == Role::Acceptor
            && close.creations.iter().all(Option::is_some)
            && alike.iter().filter(is_same_start).count() >= ROUNDS_OF_ONE_LEG;
        if both_legs || one_leg {
            let sides = Sides::of(session);
            let (a, b) = (&sides.initiator, &sides.acceptor);
            let lasted = seconds(micros(silence));
            let mut found = finding(&DOC, session, &sides);
            found.confidence = Confidence::Likely;
            found.title = format!(
                "{closer} closes the connections of {a} and {b} after {lasted} of silence each time"
            );
            let limit = "its idle limit, and it is shorter than the time to the next tick, a quarter of net_ticktime \
                         (15 s by default)";
            found.explanation = if both_legs {
                format!(
                    "{closer} is a proxy between the two: it closed both legs of their connection whenever nothing \
                     was sent for {lasted}. That is {limit}. Neither node closed the connection."
                )
            } else {
                format!(
                    "{closer}, which {a} dialed, closed their connection again and again, each time after {lasted} \
                     without a byte. {b} ran on all the time. Most likely {closer} is a proxy or a load balancer \
                     in front of {b}, and that time is {limit}."
                )
            };
            found.remedy = DOC.remedy.iter().map(ToString::to_string).collect();
            found.parties = closer.to_string();
            found.not_excluded = if both_legs {
                vec![format!("a person or a program closed them at {closer}")]
            } else {
                vec![format!("a program on {b} disconnects {a} after that time")]
            };
            found.ended_by = EndedBy::Nothing;
            let first = alike.len().saturating_sub(2 * ROUNDS);
            let detail = if both_legs { BY_PROXY } else { BY_ADDRESS };
            found.evidence =
                alike.iter().skip(first).map(|other| by_other(&other.shown, detail)).collect();
            order_by_frame(&mut found.evidence);
            out.push(found);
        }
        remember(&mut self.closes, close, REMEMBERED);
    }
}

/// The first close of a connection, if both sides had sent nothing for long and the capture has all of it.
fn silent_close(session: &JudgedConnection) -> Option<SilentClose> {
    let tcp = &session.seen.tcp;
    let close = tcp.close?;
    let role = close.by?;
    let sides = &tcp.sides;
    let is_whole = close.is_whole
        && tcp.both_seen
        && Role::BOTH.iter().all(|role| sides[*role].missing_bytes == 0);
    let last = sides.initiator.last_bytes?.max(sides.acceptor.last_bytes?);
    let silence = close.mark.at.since(last);
    let [a, b] = [session.name(Role::Initiator)?, session.name(Role::Acceptor)?];
    let is_reset = close.kind == CloseKind::Rst;
    let what = Shows::Close { is_reset, missing: None, detail: "after the silence" };
    let mut shown = shown(Some(close.mark), Some(role), what)?;
    shown.session_id = Some(Arc::clone(session.session_id()));
    (is_whole && silence >= SHORTEST).then(|| SilentClose {
        closer: session.ip(role),
        role,
        nodes: [Arc::clone(a), Arc::clone(b)],
        creations: Role::BOTH.map(|role| session.seen.handshake.creation(role)),
        silence,
        shown,
    })
}

/// The close as evidence that names its sender in words: the side has the name of the node behind the proxy.
fn by_other(shown: &Evidence, detail: &'static str) -> Evidence {
    let what = match &shown.what {
        Shows::Close { is_reset, .. } => {
            Shows::Close { is_reset: *is_reset, missing: None, detail }
        }
        other => other.clone(),
    };
    Evidence { from: None, what, ..shown.clone() }
}

/// Who sent a close, if both legs are in the capture.
const BY_PROXY: &str = "sent by the proxy, after the silence";

/// The same if one leg is: that the address is one of a proxy is likely.
const BY_ADDRESS: &str = "sent from the dialed address, after the silence";

/// Closes of each leg that make the silence more than a coincidence.
const ROUNDS: usize = 2;

/// The same where the capture has one leg, that of the dialing node.
const ROUNDS_OF_ONE_LEG: usize = 3;

/// An idle limit is a second at least; a shorter pause is no silence.
const SHORTEST: Duration = Duration::from_secs(1);

/// A proxy looks at its timers this often, about.
const TOLERANCE: Duration = Duration::from_millis(150);

/// Maximum number of closes that are kept.
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, detected};
    use crate::judge::samples::{dial, mark};
    use crate::judge::world::HomeNets;

    /// One connection of `a` and `b` that `closer` closes at `closed`, in milliseconds, after the last bytes at `sent`.
    fn leg(from: &str, to: &str, closer: Role, sent: u64, closed: u64) -> Step {
        leg_of((from, 1), (to, 2), closer, sent, closed)
    }

    /// The same with the creations of both nodes.
    fn leg_of(from: (&str, u32), to: (&str, u32), closer: Role, sent: u64, closed: u64) -> Step {
        let (from, to) = (format!("a@h1/{}/{}", from.0, from.1), format!("b@h2/{}/{}", to.0, to.1));
        but(dial(sent, &from, &to).closed(closed, [sent, sent]), |session| {
            session.close(closer, mark(closed));
        })
    }

    /// Both legs of a connection through a proxy at 10.0.0.3.
    fn through_proxy(sent: u64, closed: u64) -> [Step; 2] {
        [
            leg("10.0.0.3", "10.0.0.2", Role::Initiator, sent, closed),
            leg("10.0.0.1", "10.0.0.3", Role::Acceptor, sent, closed),
        ]
    }

    fn titles(steps: Vec<Step>) -> Vec<String> {
        let out = detected(&mut IdleLimit::default(), HomeNets::default(), &steps);
        out.into_iter().map(|found| found.title).collect()
    }

    #[test]
    fn the_same_silence_on_both_legs_twice_is_an_idle_limit() {
        let twice = [through_proxy(1000, 5000), through_proxy(9000, 13_010)].concat();
        let [title] = &titles(twice)[..] else { panic!() };
        assert!(title.starts_with("10.0.0.3 closes the connections of a@h1 and b@h2 after 4.0 s"));
    }

    #[test]
    fn the_same_silence_three_times_on_the_leg_of_the_dialing_node_is_an_idle_limit() {
        let closed = |creation: u32, times: &[(u64, u64)]| {
            let leg = |(sent, closed): &(u64, u64)| {
                leg_of(("10.0.0.1", 1), ("10.0.0.3", creation), Role::Acceptor, *sent, *closed)
            };
            times.iter().map(leg).collect::<Vec<_>>()
        };
        let thrice = [(1000, 5000), (9000, 13_010), (20_000, 24_020)];
        let [title] = &titles(closed(2, &thrice))[..] else { panic!() };
        assert!(title.starts_with("10.0.0.3 closes the connections of a@h1 and b@h2 after 4.0 s"));
        assert!(titles(closed(2, &thrice[..2])).is_empty(), "twice");
        let differ = [(1000, 5000), (9000, 15_000), (20_000, 28_000)];
        assert!(titles(closed(2, &differ)).is_empty(), "other silences");
        let restarts = [closed(2, &thrice[..2]), closed(3, &thrice[2..])].concat();
        assert!(titles(restarts).is_empty(), "started again in between");
    }

    #[test]
    fn once_or_different_silences_or_one_leg_are_none() {
        assert!(titles(through_proxy(1000, 5000).to_vec()).is_empty(), "once");
        let differ = [through_proxy(1000, 5000), through_proxy(9000, 15_000)].concat();
        assert!(titles(differ).is_empty(), "other silences");
        let node = |sent, closed| leg("10.0.0.1", "10.0.0.2", Role::Initiator, sent, closed);
        assert!(titles(vec![node(0, 4000), node(5000, 9000), node(10_000, 14_000)]).is_empty());
        let busy = [through_proxy(1000, 1500), through_proxy(9000, 9500)].concat();
        assert!(titles(busy).is_empty(), "no silence");
    }
}
