//! An established connection that ended without a normal close.
//!
//! `tick-timeout`: one side was silent for longer than the tick time, and the other one closed.
//! `connection-lost`: a reset, or retransmissions without an acknowledgement. `partition-cascade`: healthy
//! connections are closed after one pair of nodes lost contact. In a live capture, `tick-timeout` is also
//! reported as a warning while the silence lasts. The capture cannot show what stopped the silent side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Sides, finding, seconds, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::remember;
use crate::observe::{CloseKind, Occasion, Role, RuleTrigger, Settled, TriggerMessage};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};
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
    log_lines: &[
        LogLine {
            writer: "the node that closes",
            releases: "all",
            text: "** Node b@h not responding **",
        },
        LogLine {
            writer: "the node that closes",
            releases: "all",
            text: "** Removing (timedout) connection **",
        },
    ],
    remedy: &[
        "If the silent side's kernel kept sending acknowledgements, check that node: it may be \
         suspended (a signal, a paused container or virtual machine), swapping, out of CPU, or \
         in a long garbage collection or NIF.",
        "If nothing at all came from that host, check the host, the network in between, and any \
         firewall or NAT that drops idle connections.",
        "Set the same net_ticktime (kernel application) on all nodes.",
    ],
};

/// Documentation of the rule `connection-lost`.
const LOST: RuleDoc = RuleDoc {
    rule: "connection-lost",
    severity: Severity::Medium,
    summary: "a connection was reset, or one side stopped answering",
    symptom: "connections end with a reset, or one side stops answering",
    meaning: "The connection did not end with a normal close: a reset (RST) ended it, or one \
              side retransmitted the same bytes and got no answer.",
    evidence: "An RST without a FIN before it, after frames were exchanged; or retransmissions \
               while not one segment comes from the other side.",
    lookalikes: "A node that exits or is killed with unread bytes in its socket: its kernel \
                 resets the connection at once, and this is not reported. An RST after a FIN, \
                 which only answers late segments and is no fault. A capture that has one \
                 direction only.",
    log_lines: &[],
    remedy: &[
        "If the reset came from a node's own host, look for a crash dump and for the \
         out-of-memory killer: a node that is killed with unread bytes resets its connections.",
        "If neither host sent the reset, or one side fell silent, look for firewalls, load \
         balancers and NAT with an idle limit below the tick period.",
    ],
};

/// Documentation of the rule `partition-cascade`.
const CASCADE: RuleDoc = RuleDoc {
    rule: "partition-cascade",
    severity: Severity::High,
    summary: "healthy connections closed after a pair lost contact",
    symptom: "many nodes disconnect within seconds after one pair lost contact",
    meaning: "From OTP 25 on, global prevents overlapping partitions: when one pair of nodes \
              loses contact, the nodes that still see both disconnect from one of them. So one \
              broken link ends connections that had no fault of their own.",
    evidence: "Within seconds after one pair lost contact, connections of one of the two to \
               other nodes are closed with FIN, although both sides had just sent data.",
    lookalikes: "A node that is stopped closes all its connections at once, but no pair lost \
                 contact before. If the capture holds the message by which global requests the \
                 disconnect, the finding is proven.",
    log_lines: &[LogLine {
        writer: "a node that was cut off",
        releases: "OTP 25 and newer",
        text: "'global' at node 'c@h' requested disconnect from node 'b@h' in order to prevent \
               overlapping partitions",
    }],
    remedy: &[
        "Find and repair what separated the first pair; the other disconnects follow from it.",
        "Reconnect or restart the nodes that were cut off: they do not reconnect by themselves.",
    ],
};

#[derive(Default)]
pub(super) struct ConnectionLost {
    /// The last pairs that lost contact, at most [`REMEMBERED`].
    losses: VecDeque<Loss>,
    /// The last healthy connections that were closed, at most [`REMEMBERED`].
    closes: VecDeque<Close>,
    /// The last messages by which `global` requests a disconnect: session ID, sender and evidence.
    requests: VecDeque<(Arc<str>, Role, Evidence)>,
}

/// A pair of nodes that lost contact.
struct Loss {
    nodes: [Arc<str>; 2],
    /// Start of the silence, or time of the first byte that was not acknowledged.
    began: Timestamp,
    /// When one of the two closed the connection, or the last packet of it.
    ended: Timestamp,
    shown: Evidence,
}

/// The close of a connection whose two sides had both received data just before.
struct Close {
    nodes: [Arc<str>; 2],
    closer: Role,
    at: Timestamp,
    shown: Evidence,
    /// The request of `global` to close it, with the side that sent the request.
    request: Option<(Role, Evidence)>,
}

impl Rule for ConnectionLost {
    fn docs(&self) -> &'static [RuleDoc] {
        &[TIMEOUT, LOST, CASCADE]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if let Occasion::Silent { role, last } = session.seen.occasion {
            out.push(warning(session, &Sides::of(session), (role, last), session.at()));
        }
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::Connected {
            return;
        }
        let sides = Sides::of(session);
        let unacknowledged = unacknowledged(session);
        let closed = session.seen.closed_by().zip(session.seen.closed());
        let (found, began) = match (session.seen.close_kind(), closed) {
            (Some(CloseKind::Fin), Some((closer, close))) => {
                let stall = session.seen.tcp.sides[closer].stall;
                let stalled = stall.map_or(0, |stall| stall.lasted_us);
                // Bytes that wait for a closed window to open are not lost.
                let lost_bytes =
                    unacknowledged.filter(|(role, _)| *role != closer && stalled < micros(STALL));
                match (peer_activity(session, closer, close), lost_bytes) {
                    (PeerActivity::Silent(silence), _) => {
                        let began = close.at.before(silence);
                        (tick_timeout(session, &sides, closer, silence), Some(began))
                    }
                    // The peer sent something, and the side that closed did not receive it.
                    (PeerActivity::Recent | PeerActivity::Unknown, Some((role, since))) => {
                        (no_acknowledgement(session, &sides, role, since), Some(since))
                    }
                    (PeerActivity::Recent, None) => {
                        return self.on_close(session.session_id(), &sides, closer, close, out);
                    }
                    (PeerActivity::Unknown, None) => return,
                }
            }
            (Some(CloseKind::Rst), Some((closer, close)))
                if has_flowed(session) && !is_end_of_node(session, closer, close) =>
            {
                (reset(session, &sides, closer), unacknowledged.map(|(_, since)| since))
            }
            (Some(CloseKind::InputEnd | CloseKind::Idle), None) => match unacknowledged {
                Some((role, since)) => {
                    (no_acknowledgement(session, &sides, role, since), Some(since))
                }
                None => return,
            },
            _ => return,
        };
        if let ([a, b], Some(began), Some(shown)) =
            (sides.nodes.as_slice(), began, found.evidence.last())
        {
            let shown =
                Evidence { session_id: Some(Arc::clone(session.session_id())), ..shown.clone() };
            let nodes = [Arc::clone(a), Arc::clone(b)];
            let loss = Loss { nodes, began, ended: session.at(), shown };
            let after: Vec<_> =
                self.closes.iter().filter_map(|close| cascade(&loss, close)).collect();
            remember(&mut self.losses, loss, REMEMBERED);
            out.push(found);
            out.extend(after);
        } else {
            out.push(found);
        }
    }

    fn on_message(&mut self, settled: &Settled, message: &TriggerMessage, _: &mut Vec<Detection>) {
        let (mark, session_id) = (&message.mark, &settled.connection.session_id);
        if message.trigger != RuleTrigger::Disconnect {
            return;
        }
        let from = message.from;
        let what = Shows::Message("remove_connection to global".to_owned());
        if let Some(mut shown) = shown(Some(*mark), Some(from), what) {
            shown.session_id = Some(Arc::clone(session_id));
            let request = (Arc::clone(session_id), from, shown);
            remember(&mut self.requests, request, REMEMBERED);
        }
    }
}

impl ConnectionLost {
    /// Records the close of a healthy connection, and reports it if it belongs to an earlier loss.
    fn on_close(
        &mut self,
        session_id: &Arc<str>,
        sides: &Sides,
        closer: Role,
        close: PacketRef,
        out: &mut Vec<Detection>,
    ) {
        let [a, b] = sides.nodes.as_slice() else { return };
        let Some(mut shown) = shown(Some(close), Some(closer), Shows::FIN) else { return };
        shown.session_id = Some(Arc::clone(session_id));
        let nodes = [Arc::clone(a), Arc::clone(b)];
        let request = self.requests.iter().rev().find(|(session, ..)| session == session_id);
        let request = request.map(|(_, from, shown)| (*from, shown.clone()));
        let close = Close { nodes, closer, at: close.at, shown, request };
        out.extend(self.losses.iter().rev().find_map(|loss| cascade(loss, &close)));
        remember(&mut self.closes, close, REMEMBERED);
    }
}

/// A detection if a healthy connection was closed soon after one of its two nodes lost contact with a third one.
fn cascade(loss: &Loss, close: &Close) -> Option<Detection> {
    let [a, b] = &close.nodes;
    let [first, second] = &loss.nodes;
    let shared = loss.nodes.iter().filter(|node| *node == a || *node == b).count();
    let is_after = close.at > loss.began && close.at <= loss.ended.after(CASCADE_WITHIN);
    if shared != 1 || !is_after {
        return None;
    }
    let mut nodes = vec![Arc::clone(first), Arc::clone(second)];
    nodes.extend([a, b].into_iter().filter(|node| !loss.nodes.contains(node)).cloned());
    let (requested, not_excluded) = match &close.request {
        Some((from, _)) => {
            let node = if *from == Role::Initiator { a } else { b };
            (format!(" {node} requested this with a message to global on the other node."), vec![])
        }
        None => (String::new(), vec!["a person or a program closed it at that moment".to_owned()]),
    };
    let request = close.request.iter().map(|(_, shown)| shown.clone());
    Some(Detection {
        confidence: if close.request.is_some() { Confidence::Proven } else { Confidence::Likely },
        title: format!("connections were closed after {first} and {second} lost contact"),
        explanation: format!(
            "{} after {first} and {second} last received anything from each other, the connection between \
             {a} and {b} was closed, although both had sent data just before. global disconnects nodes to \
             prevent overlapping partitions.{requested}",
            seconds(micros(close.at.since(loss.began)))
        ),
        remedy: CASCADE.remedy.iter().map(ToString::to_string).collect(),
        nodes,
        parties: format!("{first},{second},{}", loss.began),
        evidence: [loss.shown.clone()]
            .into_iter()
            .chain(request)
            .chain([close.shown.clone()])
            .collect(),
        not_excluded,
        logged_by: vec![close.closer.peer()],
        ..Detection::new(&CASCADE)
    })
}

/// The side that retransmitted bytes without an acknowledgement, and the time of the first of them.
fn unacknowledged(session: &JudgedConnection) -> Option<(Role, Timestamp)> {
    [Role::Initiator, Role::Acceptor].into_iter().find_map(|role| {
        let flowed = &session.seen.tcp.sides[role];
        let since = session.seen.tcp.sides[role].unanswered?;
        let last = session.seen.tcp.sides[role].last_bytes?;
        (flowed.retransmitted_bytes > 0 && last.since(since) >= UNACKNOWLEDGED)
            .then_some((role, since))
    })
}

/// When the peer of the side that closed had last sent something.
enum PeerActivity {
    /// Within one and a half tick periods, as a healthy node without messages does.
    Recent,
    /// This long ago, which is longer than a node waits for its peer.
    Silent(Duration),
    /// In between, or the capture cannot show it.
    Unknown,
}

fn peer_activity(session: &JudgedConnection, closer: Role, close: PacketRef) -> PeerActivity {
    let sides = &session.seen.tcp.sides;
    let silent = closer.peer();
    let flowed = &session.seen.tcp.sides[silent];
    let stall = sides[closer].stall;
    let stalled = stall.map_or(0, |stall| stall.lasted_us);
    let last = sides[silent].last_bytes;
    // Bytes that the capture lacks may have been sent, and bytes that wait for a closed window to open were
    // not sent yet.
    let Some(last) = last.filter(|_| flowed.missing_bytes == 0 && micros(STALL) > stalled) else {
        return PeerActivity::Unknown;
    };
    let silence = close.at.since(last);
    let period = session.seen.traffic[closer].tick_period.unwrap_or(DEFAULT_PERIOD);
    let waits = period * PERIODS;
    // Allow 1/8 less: ticks and the peer's tick check run on independent timers.
    if silence + waits / 8 >= waits {
        PeerActivity::Silent(silence)
    } else if silence <= period + period / 2 {
        PeerActivity::Recent
    } else {
        PeerActivity::Unknown
    }
}

fn tick_timeout(
    session: &JudgedConnection,
    sides: &Sides,
    closer: Role,
    silence: Duration,
) -> Detection {
    let (x, y) = sides.side_and_peer(closer);
    let side = &session.seen.tcp.sides[closer.peer()];
    let kernel = side
        .last_segment
        .zip(side.last_bytes)
        .is_some_and(|(segment, bytes)| segment.since(bytes) * 2 >= silence);
    let mut found = finding(&TIMEOUT, session, sides);
    found.confidence = Confidence::Likely;
    // A node that hangs is one cause, however many peers close their connections with it.
    found.parties.clone_from(y);
    found.title = format!("{y} fell silent, and {x} closed the connection");
    found.explanation = format!(
        "{y} sent nothing for {}, not even a tick; then {x} closed the connection. {}",
        seconds(micros(silence)),
        if kernel {
            "The kernel of its host kept sending acknowledgements: the host and the network worked, but the \
             node sent nothing."
        } else {
            "Its host sent nothing at all in that time, not even acknowledgements: the host or the network \
             was down."
        }
    );
    found.remedy = if kernel {
        vec![format!(
            "Check {y}: was it suspended, swapping, out of CPU, or busy in a NIF or garbage collection?"
        )]
    } else {
        vec![format!(
            "Check the host of {y}, the network between the two, and firewalls that drop idle connections."
        )]
    };
    let close = Shows::Close { is_reset: false, missing: None, detail: "after the silence" };
    found.evidence.extend(shown(session.seen.closed(), Some(closer), close));
    found.not_excluded = vec![format!("a person or a program made {x} disconnect at that moment")];
    found.logged_by = vec![closer];
    found
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
    found.logged_by = Vec::new();
    found
}

fn no_acknowledgement(
    session: &JudgedConnection,
    sides: &Sides,
    role: Role,
    since: Timestamp,
) -> Detection {
    let (x, y) = sides.side_and_peer(role);
    let last = session.seen.tcp.sides[role].last_bytes.unwrap_or(since);
    let mut found = finding(&LOST, session, sides);
    found.confidence = Confidence::Likely;
    found.parties = sides.unordered_pair();
    found.title = format!("{y} no longer acknowledges what {x} sends");
    found.explanation = format!(
        "{x} retransmitted the same bytes for {}, and {y} acknowledged none of them: the path between \
         the two is cut, or the host of {y} is down. The nodes notice when net_ticktime is over.",
        seconds(micros(last.since(since)))
    );
    found.remedy =
        vec![format!("Check the host of {y}, and the network and the firewalls between the two.")];
    found.evidence.extend(shown(Some(session.seen.tcp.last), Some(role), Shows::Retransmission));
    found.not_excluded = vec!["the acknowledgements took a path past the capture point".to_owned()];
    found
}

fn reset(session: &JudgedConnection, sides: &Sides, closer: Role) -> Detection {
    let (x, y) = sides.side_and_peer(closer);
    let mut found = finding(&LOST, session, sides);
    found.confidence = Confidence::Likely;
    found.parties = sides.unordered_pair();
    found.title = format!("the connection between {x} and {y} was reset (RST from {x})");
    let lasted = seconds(micros(session.seen.duration()));
    found.explanation = if session.seen.tcp.close.is_some_and(|close| close.is_answer) {
        format!(
            "After {lasted} the host of {x} answered bytes from {y} with an RST: it no longer had this \
             connection. {x} had closed it or exited, and that close is not in the capture: the path \
             between the two was cut, or the host was restarted."
        )
    } else {
        format!(
            "After {lasted} an RST came from the address of {x}, with no FIN before it and with nothing \
             sent by {y} just before. A firewall or a load balancer ends connections like this, and so \
             does a node that exits with bytes that it has not read for long."
        )
    };
    found.remedy = vec![if session.seen.tcp.close.is_some_and(|close| close.is_answer) {
        format!("Check {x}, its host, and the network between the two at that time.")
    } else {
        format!(
            "Look for a firewall or proxy between the two that resets idle connections, and check {x} for \
             a crash dump and its host for the out-of-memory killer."
        )
    }];
    found.evidence.extend(shown(session.seen.closed(), Some(closer), Shows::RST));
    found.not_excluded = vec![format!("something on the path sent the RST in the name of {x}")];
    found
}

/// Whether a reset can come from a node that exits: the last bytes that reached it were unread, so its kernel
/// sends RST instead of FIN (RFC 2525, section 2.17).
fn is_end_of_node(session: &JudgedConnection, closer: Role, close: PacketRef) -> bool {
    let tcp = &session.seen.tcp;
    let since = |role: Role| {
        let last = tcp.sides[role].last_bytes;
        last.map_or(Duration::MAX, |last| close.at.since(last))
    };
    if tcp.sides[closer].fin_unseen {
        return true;
    }
    if tcp.close.is_some_and(|close| close.is_answer) {
        // The bytes were in flight when it closed, and the capture may lack its FIN.
        since(closer) < IN_FLIGHT
    } else {
        since(closer.peer()) <= UNREAD
    }
}

/// Whether frames were exchanged. A reset before the first one is an aborted handshake.
fn has_flowed(session: &JudgedConnection) -> bool {
    session.seen.traffic.each().any(|(_, sent)| sent.messages + sent.ticks > 0)
}

/// Tick periods that have passed when a node closes: it does so at its fourth check without received data.
const PERIODS: u32 = 3;

/// Time between two ticks with the default `net_ticktime` of 60 s.
const DEFAULT_PERIOD: Duration = Duration::from_secs(15);

/// Shortest time without an acknowledgement that is a loss. The kernel retransmits after 200 ms and then at
/// doubled intervals, so it has done that four times by then.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// Bytes in flight to a side that closes arrive well within this time.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A node that is alive reads received bytes well within this time.
const UNREAD: Duration = Duration::from_secs(5);

/// A window that is closed for this long can delay ticks.
const STALL: Duration = Duration::from_secs(1);

/// Nodes report a loss to each other at once, and disconnect as soon as they receive the report.
const CASCADE_WITHIN: Duration = Duration::from_secs(5);

/// Maximum of losses and closes kept: far more than occur within [`CASCADE_WITHIN`].
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, detected};
    use crate::judge::samples::{at, dial, mark};
    use crate::judge::world::HomeNets;
    use crate::observe::{Observation, Stall};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";
    const C: &str = "c@h3/10.0.0.3/3";

    /// The acceptor last sends at `last_sent`, and the initiator closes at `closed`, in milliseconds.
    fn closed(from: &str, to: &str, last_sent: u64, closed: u64) -> Step {
        but(dial(0, from, to).closed(closed, [closed, last_sent]), |session| {
            session.close(Role::Initiator, mark(closed));
            session.seen.traffic.initiator.ticks = 5;
            session.seen.traffic.initiator.tick_period = Some(Duration::from_secs(1));
            session.seen.tcp.sides.initiator.last_segment = Some(at(closed));
            session.seen.tcp.sides.acceptor.last_segment = Some(at(closed));
        })
    }

    fn session(step: &mut Step) -> &mut Observation {
        &mut step.session_mut().seen
    }

    fn reset(last_sent: u64, at: u64, is_answer: bool) -> Step {
        let mut event = closed(A, B, last_sent, at);
        let close = session(&mut event).tcp.close.as_mut().unwrap();
        (close.kind, close.is_answer) = (CloseKind::Rst, is_answer);
        event
    }

    /// The initiator last sends at `last_sent`, and answers bytes with a reset at `now`.
    fn reset_answering(last_sent: u64, now: u64) -> Step {
        let mut event = reset(now, now, true);
        let sides = &mut session(&mut event).tcp.sides;
        sides.initiator.last_bytes = Some(at(last_sent));
        sides.acceptor.last_bytes = Some(at(now));
        event
    }

    /// No side acknowledges anything from `since` on, and the input ends at `end`.
    fn unacknowledged(from: &str, to: &str, since: u64, end: u64) -> Step {
        let mut event = closed(from, to, end, end);
        let session = session(&mut event);
        (session.occasion, session.tcp.close) = (Occasion::End, None);
        session.tcp.last = mark(end);
        session.tcp.sides.initiator.unanswered = Some(at(since));
        session.tcp.sides.acceptor.unanswered = Some(at(since));
        session.tcp.sides.initiator.retransmitted_bytes = 4;
        event
    }

    fn found(events: Vec<Step>) -> Vec<(&'static str, String)> {
        let out = detected(&mut ConnectionLost::default(), HomeNets::default(), &events);
        out.into_iter().map(|finding| (finding.rule, finding.parties)).collect()
    }

    fn rules(events: Vec<Step>) -> Vec<&'static str> {
        found(events).into_iter().map(|(rule, _)| rule).collect()
    }

    #[test]
    fn silence_for_three_tick_periods_is_a_tick_timeout() {
        assert_eq!(rules(vec![closed(A, B, 6000, 10_000)]), ["tick-timeout"]);
        assert!(rules(vec![closed(A, B, 8000, 10_000)]).is_empty(), "a normal close");
        let mut unknown = closed(A, B, 6000, 10_000);
        session(&mut unknown).traffic.initiator.tick_period = None;
        assert!(rules(vec![unknown]).is_empty(), "the tick time may be 60 s");
    }

    #[test]
    fn a_node_that_hangs_is_one_cause_for_all_its_peers() {
        let found = found(vec![closed(A, B, 6000, 10_000), closed(C, B, 6000, 10_200)]);
        assert_eq!(
            found,
            [("tick-timeout", "b@h2".to_owned()), ("tick-timeout", "b@h2".to_owned())]
        );
    }

    #[test]
    fn missing_bytes_and_a_closed_window_are_no_silence() {
        let mut lost = closed(A, B, 6000, 10_000);
        session(&mut lost).tcp.sides.acceptor.missing_bytes = 4;
        let mut stalled = closed(A, B, 6000, 10_000);
        let stall = Stall { since: mark(7000), lasted_us: 3_000_000, sent_bytes: true };
        session(&mut stalled).tcp.sides.initiator.stall = Some(stall);
        assert!(rules(vec![lost, stalled]).is_empty());
    }

    #[test]
    fn a_reset_is_a_loss_unless_a_node_exits_with_unread_bytes() {
        assert_eq!(rules(vec![reset(1000, 60_000, false)]), ["connection-lost"]);
        assert_eq!(rules(vec![reset_answering(50_000, 60_000)]), ["connection-lost"]);
        assert!(rules(vec![reset_answering(59_900, 60_000)]).is_empty(), "bytes in flight");
        assert!(rules(vec![reset(59_000, 60_000, false)]).is_empty());
    }

    #[test]
    fn retransmissions_without_acknowledgement_are_a_loss() {
        assert_eq!(rules(vec![unacknowledged(A, B, 3000, 10_000)]), ["connection-lost"]);
        assert!(
            rules(vec![unacknowledged(A, B, 9000, 10_000)]).is_empty(),
            "the input ends too early"
        );
    }

    #[test]
    fn unacknowledged_bytes_to_the_side_that_closes_are_a_loss() {
        let closes = |last_sent: u64, since: u64| {
            let mut event = closed(A, B, last_sent, 10_000);
            let side = &mut session(&mut event).tcp.sides.acceptor;
            (side.unanswered, side.retransmitted_bytes) = (Some(at(since)), 4);
            event
        };
        assert_eq!(rules(vec![closes(8000, 4000)]), ["connection-lost"]);
        assert_eq!(rules(vec![closes(9900, 4000)]), ["connection-lost"]);
        assert!(rules(vec![closes(9900, 9000)]).is_empty(), "they are in flight");
    }

    #[test]
    fn a_close_soon_after_a_loss_of_one_of_its_nodes_is_a_cascade() {
        let cascade = ["connection-lost", "partition-cascade"];
        let healthy = |ms| closed(C, A, ms, ms);
        assert_eq!(rules(vec![healthy(6000), unacknowledged(A, B, 3000, 10_000)]), cascade);
        assert_eq!(rules(vec![unacknowledged(A, B, 3000, 10_000), healthy(12_000)]), cascade);
        assert_eq!(
            rules(vec![closed(A, B, 6000, 10_000), healthy(10_100)]),
            ["tick-timeout", "partition-cascade"]
        );
    }

    #[test]
    fn closes_without_a_loss_and_closes_of_other_nodes_are_no_cascade() {
        let healthy = |ms| closed(C, A, ms, ms);
        assert!(rules(vec![healthy(100), closed(B, A, 120, 120)]).is_empty(), "a node that stops");
        let before = vec![healthy(2000), unacknowledged(A, B, 3000, 10_000)];
        assert_eq!(rules(before), ["connection-lost"]);
        let long_after = vec![unacknowledged(A, B, 3000, 10_000), healthy(20_000)];
        assert_eq!(rules(long_after), ["connection-lost"]);
        let others =
            vec![unacknowledged(A, B, 3000, 10_000), closed(C, "d@h4/10.0.0.4/4", 6000, 6000)];
        assert_eq!(rules(others), ["connection-lost"]);
    }

    #[test]
    fn a_silence_is_reported_while_it_lasts() {
        let dial = || dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2");
        let warned = but(dial(), |session| {
            let last = PacketRef { at: at(0), ..mark(7) };
            session.seen.occasion = Occasion::Silent { role: Role::Acceptor, last };
        });
        let out = detected(&mut ConnectionLost::default(), HomeNets::default(), &[warned]);
        assert_eq!(out[0].title, "b@h has fallen silent, and a@h will close the connection");
        assert_eq!((out.len(), out[0].severity), (1, Severity::Medium));
    }
}
