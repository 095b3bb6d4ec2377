//! An established connection that one side closed because the other was silent (`tick-timeout`).
//!
//! The capture cannot show what stopped the silent side, but it shows whether the kernel of its host was there, whether
//! the node itself closed when its peer did, and how often each side ticks. In a live capture a warning comes while the
//! silence lasts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Sides, finding, seconds, shown};
use super::link_end::{DEFAULT_PERIOD, LinkEnd, LinkSilence, PERIODS, SHORTEST_SILENCE};
use super::log_lines::TIMED_OUT_LINES;
use super::undelivered;
use super::{Detection, Rule, RuleDoc};
use crate::judge::JudgedConnection;
use crate::judge::world::World;
use crate::limits::remember;
use crate::observe::{DistFlags, Occasion, Role};
use crate::packet::PacketRef;
use crate::record::{Confidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `tick-timeout`.
const TIMEOUT: RuleDoc = RuleDoc {
    rule: "tick-timeout",
    severity: Severity::High,
    summary: "one node fell silent for longer than the tick time",
    symptom: "a connection that worked is closed after 45 to 75 s of silence",
    meaning: "A node with nothing to send sends four zero bytes (a tick) every quarter of \
              net_ticktime, 15 s by default. A node that received nothing for the whole \
              net_ticktime, 45 to 75 s with the default, considers the other node down and \
              closes the connection. Live, or with --follow, a warning of medium severity comes \
              earlier: after almost three ticks of the other side without a reply.",
    evidence: "One side sends nothing, not even ticks, for three or more tick periods of the \
               other side, which keeps ticking and then closes with FIN. If the silent side \
               still sends acknowledgements, they come from its kernel: its host and the network \
               work, and the node does not.",
    lookalikes: "A capture that has one direction only. A node whose bytes wait because the \
                 other side's TCP window is closed (congested-link): it is not silent, its peer \
                 does not read. Different values of net_ticktime on the two nodes: the one with \
                 the shorter time gives up on a healthy peer.",
    log_lines: TIMED_OUT_LINES,
    remedy: &[
        "If the silent side's kernel kept sending acknowledgements, check that node: it may be \
         suspended (a signal, a paused container or virtual machine), swapping, out of CPU, or \
         in a long garbage collection or NIF.",
        "If nothing at all came from that host, check the host, the network in between, and any \
         firewall or NAT that drops idle connections.",
        "Set the same net_ticktime (kernel application) on all nodes.",
    ],
};

#[derive(Default)]
pub(super) struct TickTimeout {
    /// The tick periods that nodes showed on other connections, at most [`REMEMBERED`].
    periods: VecDeque<(Arc<str>, Duration)>,
    /// The silences after which busy nodes closed, with both nodes, at most [`REMEMBERED`].
    cut_off: VecDeque<(String, Duration)>,
}

/// What the capture shows of the reason for a silence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    /// Nothing at all came from the host of the silent side.
    HostSilent,
    /// The kernel acknowledged, and the node did not run: it did not close when its peer did.
    NodeStopped,
    /// The node runs, and sends ticks at this period, which is longer than its peer waits.
    TicksRarely(Duration),
    /// The node runs, and does not send ticks of its own, while its peer was too busy to send any.
    OnlyAnswersTicks,
    /// The node runs, and nothing shows how often it ticks.
    Runs,
    /// The kernel acknowledged, and nothing shows whether the node ran.
    Unknown,
}

impl Rule for TickTimeout {
    fn docs(&self) -> &'static [RuleDoc] {
        &[TIMEOUT]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if let Occasion::Silent { role, last } = session.seen.occasion {
            out.push(warning(session, &Sides::of(session), (role, last), session.at()));
        }
        if !session.is_settled() {
            return;
        }
        if let Some(LinkEnd::Silent(silence)) = LinkEnd::of(session) {
            out.extend(self.timed_out(session, &silence));
        } else {
            out.extend(self.cut_off_while_busy(session));
        }
        self.learn(session);
    }
}

impl TickTimeout {
    /// Records how often the nodes of a connection tick.
    fn learn(&mut self, session: &JudgedConnection) {
        for role in Role::BOTH {
            let period = session.seen.traffic[role].tick_period;
            let (Some(name), Some(period)) = (session.name(role), period) else { continue };
            match self.periods.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = period.min(*known),
                None => remember(&mut self.periods, (Arc::clone(name), period), REMEMBERED),
            }
        }
    }

    /// How often the node in this role ticks, on this connection or on another one.
    fn period_of(&self, session: &JudgedConnection, role: Role) -> Option<Duration> {
        let elsewhere = || {
            let name = session.name(role)?;
            self.periods.iter().find(|(known, _)| known == name).map(|(_, period)| *period)
        };
        session.seen.traffic[role].tick_period.or_else(elsewhere)
    }

    fn reason(&self, session: &JudgedConnection, silence: &LinkSilence) -> Reason {
        let silent = silence.closer.peer();
        if !silence.kernel {
            return Reason::HostSilent;
        }
        let own = silence.own_period.or_else(|| self.period_of(session, silent));
        match (silence.answers_close, own) {
            (Some(false), _) => Reason::NodeStopped,
            // Less than half of the silence: it would have ticked twice.
            (_, Some(own)) if own * 2 > silence.lasted => Reason::TicksRarely(own),
            (Some(true), Some(_)) => Reason::Runs,
            (Some(true), None) if only_answers(session, silence) => Reason::OnlyAnswersTicks,
            (Some(true), None) => Reason::Runs,
            (None, _) => Reason::Unknown,
        }
    }

    fn timed_out(&self, session: &JudgedConnection, silence: &LinkSilence) -> Option<Detection> {
        let sides = Sides::of(session);
        let closer = silence.closer;
        let (x, y) = sides.side_and_peer(closer);
        let reason = self.reason(session, silence);
        let mut found = finding(&TIMEOUT, session, &sides);
        found.confidence = Confidence::Likely;
        // A node that hangs is one cause, however many peers close their connections with it.
        found.parties.clone_from(y);
        found.title = match reason {
            Reason::HostSilent | Reason::NodeStopped | Reason::Unknown => {
                format!("{y} fell silent, and {x} closed the connection")
            }
            Reason::TicksRarely(_) => format!(
                "{x} closed the connection with {y}, which ticks less often than {x} expects"
            ),
            Reason::OnlyAnswersTicks => format!(
                "{x} closed the connection with {y}, which only answers ticks, and got none"
            ),
            Reason::Runs => {
                let lasted = seconds(micros(silence.lasted));
                format!(
                    "{x} closed the connection after it had received nothing from {y} for {lasted}"
                )
            }
        };
        let own = silence.own_period.or_else(|| self.period_of(session, closer.peer()));
        found.explanation = format!(
            "{y} sent nothing for {}, not even a tick; then {x} closed the connection. {}",
            seconds(micros(silence.lasted)),
            explain(session, silence, reason, own, [x, y])
        );
        found.remedy = remedy(silence, reason, own, x, y);
        found.evidence.extend(
            session.verdict.undelivered.as_deref().map(undelivered::evidence).unwrap_or_default(),
        );
        let close = Shows::Close { is_reset: false, missing: None, detail: "after the silence" };
        found.evidence.extend(shown(session.seen.closed(), Some(closer), close));
        found.not_excluded =
            vec![format!("a person or a program made {x} disconnect at that moment")];
        // The log has the time of the close.
        found.shown_at = session.seen.closed().map(|close| close.at);
        found.logged_by = vec![closer];
        Some(found)
    }

    /// A node that is always busy sends no ticks. If its peer only ever answers ticks, nothing comes back, and the busy
    /// node closes when its tick time, which does not show, is over. A second time after the same silence excludes a
    /// person who disconnects.
    fn cut_off_while_busy(&mut self, session: &JudgedConnection) -> Option<Detection> {
        let silence = busy_silence(session)?;
        let sides = Sides::of(session);
        let pair = sides.unordered_pair();
        let same = |before: &Duration| before.abs_diff(silence.lasted) * 8 <= silence.lasted;
        let again = self.cut_off.iter().any(|(known, before)| *known == pair && same(before));
        remember(&mut self.cut_off, (pair, silence.lasted), REMEMBERED);
        let mut found = self.timed_out(session, &silence)?;
        found.severity = if again { Severity::Medium } else { Severity::Low };
        if !again {
            found.confidence = Confidence::Possible;
        }
        Some(found)
    }
}

/// Whether the silent side is a node that sends ticks only in answer to ticks, and got none: it is no Erlang virtual
/// machine, it is visible, and its peer had messages to send all the time. To a hidden node, a busy one sends ticks all
/// the same (`erts/emulator/beam/dist.c`).
fn only_answers(session: &JudgedConnection, silence: &LinkSilence) -> bool {
    let (silent, closer) = (silence.closer.peer(), silence.closer);
    let traffic = &session.seen.traffic;
    let hello = session.seen.handshake.hello(silent);
    let is_other = hello.is_some_and(|hello| {
        let flags = hello.what.flags;
        flags.contains(DistFlags::PUBLISHED) && !flags.contains(DistFlags::DIST_HDR_ATOM_CACHE)
    });
    let (busy, other) = (&traffic[closer], &traffic[silent]);
    is_other && busy.messages > 0 && busy.ticks >= other.ticks && silence.closer_talks
}

/// The silence of such a node before a close whose tick time does not show.
fn busy_silence(session: &JudgedConnection) -> Option<LinkSilence> {
    let silence = LinkSilence::before_close(session)?;
    let runs = silence.kernel && silence.answers_close == Some(true);
    let is_long = silence.lasted >= SHORTEST_SILENCE;
    (runs && is_long && only_answers(session, &silence)).then_some(silence)
}

/// What the silence means, after the sentence with its length.
fn explain(
    session: &JudgedConnection,
    silence: &LinkSilence,
    reason: Reason,
    own: Option<Duration>,
    [x, y]: [&str; 2],
) -> String {
    let waits = seconds(micros(silence.period.unwrap_or(DEFAULT_PERIOD) * (PERIODS + 1)));
    let ticks = match silence.period {
        Some(period) => format!(
            "{x} ticks every {}, as with a net_ticktime of {waits}.",
            seconds(micros(period))
        ),
        None => format!("{x} sent no ticks, because it always had messages to send."),
    };
    match reason {
        Reason::HostSilent => match session.verdict.undelivered.as_deref() {
            Some(lost) if lost.from == silence.closer => format!(
                "{} Its host sent nothing at all in that time, not even acknowledgements: the host of {y}, \
                 or the path between the two, was down.",
                undelivered::sent(lost, x, y, "a segment")
            ),
            _ => "Its host sent nothing at all in that time, not even acknowledgements: the host or the \
                  network was down."
                .to_owned(),
        },
        Reason::NodeStopped => format!(
            "The kernel of its host kept sending acknowledgements: the host and the network worked. {y} did \
             not close its side either when {x} did, so the node did not run."
        ),
        Reason::TicksRarely(own) => format!(
            "{y} was well: it closed its side when {x} did. The two have different tick times: {ticks} {y} \
             ticks every {}, so {x} gives up before the next tick of {y} is due.",
            seconds(micros(own))
        ),
        Reason::OnlyAnswersTicks => format!(
            "{y} was well: it closed its side when {x} did. It is no Erlang virtual machine and sends ticks \
             only in answer to ticks. {x} sent none, because it always had messages to send, so it heard \
             nothing from {y} and took it for dead. The pairing is the cause."
        ),
        Reason::Runs => match own {
            Some(own) => format!(
                "{y} closed its side at once when {x} did, so it ran again by then. {ticks} {y} ticks every \
                 {}, and these ticks did not come.",
                seconds(micros(own))
            ),
            None => format!(
                "{y} closed its side at once when {x} did, so it ran by then. {ticks} How often {y} ticks \
                 does not show: if its net_ticktime is longer, no tick of it was due yet; if it is the same, \
                 {y} was held up until shortly before."
            ),
        },
        Reason::Unknown => format!(
            "The kernel of its host kept sending acknowledgements: the host and the network worked. {ticks} \
             How often {y} ticks does not show: either its net_ticktime is longer, or the node was held up."
        ),
    }
}

fn remedy(
    silence: &LinkSilence,
    reason: Reason,
    own: Option<Duration>,
    x: &str,
    y: &str,
) -> Vec<String> {
    let same_time = format!(
        "Compare net_ticktime on {x} and {y} (`net_kernel:get_net_ticktime()` on each), and set the same \
         value on all nodes."
    );
    let held_up = format!(
        "Check {y}: was it suspended, swapping, out of CPU, or busy in a NIF or garbage collection?"
    );
    match reason {
        Reason::HostSilent => vec![format!(
            "Check the host of {y}, the network between the two, and firewalls that drop idle connections."
        )],
        Reason::NodeStopped => vec![held_up],
        Reason::TicksRarely(_) => vec![same_time],
        Reason::OnlyAnswersTicks => vec![
            format!(
                "Make {y} a hidden node, or let it send a message or a tick of its own at least every {}: a \
                 busy node sends no ticks to a visible one.",
                seconds(micros(silence.lasted / 4))
            ),
            format!("A longer net_ticktime on {x} only delays it."),
        ],
        Reason::Runs if own.is_some() => vec![held_up, same_time],
        Reason::Runs | Reason::Unknown => vec![same_time, held_up],
    }
}

/// A detection while the silence of a side lasts and the other side still waits.
fn warning(
    session: &JudgedConnection,
    sides: &Sides,
    (silent, last): (Role, PacketRef),
    now: Timestamp,
) -> Detection {
    let (y, x) = sides.side_and_peer(silent);
    let segment = session.seen.tcp.sides[silent].last_segment;
    let silence = now.since(last.at);
    let kernel = segment.is_some_and(|segment| segment.since(last.at) * 2 >= silence);
    let mut found = finding(&TIMEOUT, session, sides);
    found.severity = Severity::Medium;
    found.confidence = Confidence::Likely;
    // The end of the silence is an incident of its own.
    found.parties = format!("{y} while {x} waits");
    found.title = format!("{y} has fallen silent, and {x} will close the connection");
    found.explanation = format!(
        "{y} has sent nothing for {}, not even a tick, while {x} keeps sending ticks. {x} closes the \
         connection when it has received nothing for four of its tick periods. {}",
        seconds(micros(silence)),
        if kernel {
            "The kernel of its host still sends acknowledgements: the host and the network work, but the \
             node sends nothing."
        } else {
            "Its host sends nothing at all, not even acknowledgements."
        }
    );
    found.remedy =
        vec![format!("Check {y} now: it may still be in the state that keeps it from sending.")];
    found.evidence.extend(shown(Some(last), Some(silent), Shows::LastPacket));
    found.not_excluded = vec![format!("{y} sends again before {x} closes the connection")];
    // It logs the loss if the silence lasts.
    found.may_log = vec![silent.peer()];
    found
}

/// Maximum of tick periods and silences kept: more than a large cluster has nodes.
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::link_end::tests::{A, B, C, closed, session};
    use crate::detect::tests::{Step, but, detected};
    use crate::judge::samples::{at, dial, mark};
    use crate::judge::world::HomeNets;
    use crate::observe::Observation;

    fn found(steps: &[Step]) -> Vec<Detection> {
        detected(&mut TickTimeout::default(), HomeNets::default(), steps)
    }

    /// The acceptor is silent for 4 s, four times the tick period of the initiator, which then closes.
    fn silent(change: impl FnOnce(&mut Observation)) -> Detection {
        let mut step = closed(A, B, 6000, 10_000);
        session(&mut step).at = at(12_000);
        change(session(&mut step));
        let mut found = found(&[step]);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    fn answers(seen: &mut Observation) {
        seen.tcp.sides.acceptor.closed_at = Some(at(10_001));
    }

    #[test]
    fn a_node_that_hangs_is_one_cause_for_all_its_peers() {
        let found = found(&[closed(A, B, 6000, 10_000), closed(C, B, 6000, 10_200)]);
        let parties: Vec<_> = found.iter().map(|it| (it.rule, &*it.parties)).collect();
        assert_eq!(parties, [("tick-timeout", "b@h2"), ("tick-timeout", "b@h2")]);
    }

    #[test]
    fn a_node_that_does_not_close_either_was_stopped() {
        let found = silent(|_| {});
        assert_eq!(found.title, "b@h2 fell silent, and a@h1 closed the connection");
        assert_eq!(found.shown_at, Some(at(10_000)), "when it was closed");
        assert!(found.explanation.contains("the node did not run"), "{}", found.explanation);
        assert!(found.remedy[0].starts_with("Check b@h2: was it suspended"));
    }

    #[test]
    fn a_host_without_acknowledgements_is_not_its_node() {
        let found = silent(|seen| seen.tcp.sides.acceptor.last_segment = Some(at(6000)));
        assert!(found.explanation.contains("the host or the network was down"));
        assert!(found.remedy[0].starts_with("Check the host of b@h2"));
    }

    #[test]
    fn a_node_that_closes_at_once_may_have_another_tick_time() {
        let found = silent(answers);
        assert!(found.remedy[0].starts_with("Compare net_ticktime"), "{:?}", found.remedy);
        assert!(found.explanation.contains("if its net_ticktime is longer"));
    }

    #[test]
    fn a_longer_tick_period_of_the_silent_side_is_the_cause() {
        let rarely = |seen: &mut Observation| {
            answers(seen);
            seen.traffic.acceptor.tick_period = Some(Duration::from_secs(15));
        };
        let found = silent(rarely);
        assert_eq!(
            found.title,
            "a@h1 closed the connection with b@h2, which ticks less often than a@h1 expects"
        );
        assert_eq!(found.remedy.len(), 1);
    }

    #[test]
    fn the_tick_period_on_another_connection_counts_too() {
        let mut other = closed(C, B, 19_000, 20_000);
        session(&mut other).traffic.initiator.tick_period = Some(Duration::from_secs(15));
        session(&mut other).traffic.acceptor.tick_period = Some(Duration::from_secs(15));
        let mut step = closed(A, B, 6000, 10_000);
        answers(session(&mut step));
        let found = found(&[other, step]);
        assert!(found[0].title.contains("ticks less often"), "{}", found[0].title);
    }

    #[test]
    fn the_same_tick_period_means_that_the_node_was_held_up() {
        let found = silent(|seen| {
            answers(seen);
            seen.traffic.acceptor.tick_period = Some(Duration::from_secs(1));
        });
        assert!(found.remedy[0].starts_with("Check b@h2"), "{:?}", found.remedy);
    }

    /// A busy node without ticks closes `lasted` ms after the last byte of a visible node that is no Erlang virtual
    /// machine.
    fn cut_off(at_ms: u64, lasted: u64, flags: u64) -> Step {
        let vm = 0xd_07df_7fbd;
        let end = at_ms + lasted;
        but(dial(at_ms, A, B).flags(vm, flags).closed(end, [end, at_ms]), |judged| {
            judged.close(Role::Initiator, mark(end));
            judged.seen.traffic.initiator.messages = 80;
            judged.seen.traffic.initiator.last = Some(mark(end - 50));
            judged.seen.tcp.sides.acceptor.last_segment = Some(at(end));
            judged.seen.tcp.sides.acceptor.closed_at = Some(at(end + 1));
        })
    }

    const C_NODE: u64 = 0x4_0707_4f9d;

    #[test]
    fn a_busy_node_that_cuts_off_one_which_only_answers_ticks_is_a_matter_of_the_two() {
        let found = found(&[cut_off(0, 8100, C_NODE), cut_off(20_000, 8400, C_NODE)]);
        let severities: Vec<_> = found.iter().map(|it| (it.severity, it.confidence)).collect();
        assert_eq!(
            severities,
            [(Severity::Low, Confidence::Possible), (Severity::Medium, Confidence::Likely)]
        );
        assert!(found[1].title.ends_with("which only answers ticks, and got none"));
    }

    #[test]
    fn a_hidden_node_a_virtual_machine_and_a_short_silence_are_not_cut_off() {
        assert!(found(&[cut_off(0, 8100, C_NODE & !1)]).is_empty(), "hidden");
        assert!(found(&[cut_off(0, 8100, 0xd_07df_7fbd)]).is_empty(), "a virtual machine");
        assert!(found(&[cut_off(0, 900, C_NODE)]).is_empty(), "short");
    }

    #[test]
    fn a_silence_is_reported_while_it_lasts() {
        let dial = || dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2");
        let warned = but(dial(), |session| {
            let last = PacketRef { at: at(0), ..mark(7) };
            session.seen.occasion = Occasion::Silent { role: Role::Acceptor, last };
        });
        let out = found(&[warned]);
        assert_eq!(out[0].title, "b@h has fallen silent, and a@h will close the connection");
        assert_eq!((out.len(), out[0].severity), (1, Severity::Medium));
        assert_eq!((&out[0].logged_by[..], &out[0].may_log[..]), (&[][..], &[Role::Initiator][..]));
    }

    #[test]
    fn a_warning_shows_whether_the_host_of_the_silent_node_acknowledges() {
        let text = |acknowledged: u64| {
            let step = but(dial(0, A, B), |it| {
                it.settled.at = at(10_000);
                it.seen.at = at(10_000);
                let last = mark(6000);
                it.seen.occasion = Occasion::Silent { role: Role::Acceptor, last };
                it.seen.tcp.sides.acceptor.last_segment = Some(at(acknowledged));
            });
            found(&[step]).remove(0).explanation
        };
        assert!(text(9000).contains("still sends acknowledgements"), "{}", text(9000));
        assert!(text(6500).contains("not even acknowledgements"), "{}", text(6500));
    }
}
