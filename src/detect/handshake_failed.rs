//! A handshake that failed without a more specific reason.
//!
//! `handshake-timeout`: one side did not send the message that was due, and the other gave up.
//! `handshake-aborted`: one side closed during the handshake, and nothing shows why.

use std::collections::VecDeque;
use std::sync::Arc;

use super::finding::{
    Sides, address, closed, finding, listed, looked_up, order_by_frame, seconds, shown,
};
use super::incidents::REOPENS;
use super::{Detection, IfKnown, LogLine, Rule, RuleDoc, log_lines, proxy_header};
use crate::judge::world::{ForwardedLookup, World};
use crate::judge::{JudgedConnection, Outcome, Protocol};
use crate::limits::remember;
use crate::observe::{CloseKind, EpmdTag, MessageKind, Role};
use crate::record::{Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `handshake-timeout`.
const TIMEOUT: RuleDoc = RuleDoc {
    rule: "handshake-timeout",
    severity: Severity::Medium,
    summary: "one side stopped responding during the handshake",
    symptom: "nothing for 7 s, then `false`; both nodes are reachable",
    meaning: "During the handshake one side did not send the message that was due, and the other \
              gave up when its setup time was over (7 s by default). The host is alive, since \
              its kernel accepted the connection; the node hangs, or something in between does \
              not forward the bytes.",
    evidence: "The expected message is absent, the capture has both directions without gaps, and \
               the other side closes after seconds of silence.",
    lookalikes: "A node without TLS does not answer a TLS ClientHello: that is tls-mismatch. A \
                 connection that does not speak the protocol at all is not-distribution. A close \
                 within milliseconds is a refusal and no timeout.",
    log_lines: &[
        LogLine { writer: "both nodes", releases: "all", text: "" },
        log_lines::SETUP_TIMED_OUT,
        log_lines::RABBITMQ_TIMED_OUT,
    ],
    remedy: &[
        "Check the silent node: it may be suspended, swapping or out of memory, or its \
         schedulers may be overloaded; see whether its own shell answers.",
        "After status alive, the dialed node waits for an older connection of the pair to end: \
         check that one.",
        "If the node works, look for a proxy, a load balancer or a service mesh that accepts the \
         connection and forwards nothing.",
        "On slow hosts, net_setuptime (kernel application) gives more time.",
    ],
};

/// Documentation of the rule `handshake-aborted`.
const ABORTED: RuleDoc = RuleDoc {
    rule: "handshake-aborted",
    severity: Severity::Medium,
    summary: "closed during the handshake, and nothing shows why",
    symptom: "a connection is closed during the handshake, without a known reason",
    meaning: "One side closed the connection during the handshake, and nothing in the capture \
              shows why: name, flags, cookie and timing give no reason.",
    evidence: "A close before challenge_ack that no other rule explains; or a reset right after \
               challenge_ack, before the first frame.",
    lookalikes: "A client that connects, sends nothing and leaves is more often a health check \
                 or a scanner than a node. A close where the cookie, the name or the release is \
                 checked has a rule of its own.",
    log_lines: &[
        LogLine {
            writer: "both nodes, unless the one that closed crashed or was stopped",
            releases: "all",
            text: "",
        },
        log_lines::CLOSED_WITHOUT_STATUS,
        log_lines::RABBITMQ_CLOSED,
    ],
    remedy: &[
        "Read the log of the side that closed, at that moment: a node that crashed or was \
         stopped logs it.",
        "Check the limits of the dialed host (open files, +Q ports).",
        "If a proxy or a port mapping is in between, see where it forwards the node's port: a \
         proxy without a reachable backend accepts and closes.",
        "If another implementation of the protocol is involved, check the node name that it \
         uses: a node closes on an illegal name without a reply.",
    ],
};

#[derive(Default)]
pub(super) struct HandshakeFailed {
    /// The nodes that waited in vain for each silent side, at most [`REMEMBERED`] sides.
    waiters: VecDeque<Waiters>,
}

/// The nodes that gave up a handshake with one side.
struct Waiters {
    /// The silent side, as texts name it.
    silent: String,
    /// Those that waited for it, as texts name them, in the order in which they gave up; at most [`MAX_WAITERS`].
    names: Vec<String>,
    /// Names of all nodes of these connections.
    nodes: Vec<Arc<str>>,
    /// When the last one gave up.
    last: Timestamp,
}

impl Rule for HandshakeFailed {
    fn docs(&self) -> &'static [RuleDoc] {
        &[TIMEOUT, ABORTED]
    }

    fn on_session(&mut self, session: &JudgedConnection, world: &World, out: &mut Vec<Detection>) {
        let is_refused_by_alert = session.verdict.protocol == Protocol::Tls
            && session.verdict.tls_alert.is_some_and(|alert| alert.is_refusal());
        // Bytes that did not arrive have a rule of their own.
        if !session.is_settled()
            || session.claim.as_ref().is_some_and(|claim| claim.decides(&session.verdict))
            || session.verdict.undelivered.is_some()
            || is_refused_by_alert
            || proxy_header::sent_for_session(session, world).is_some()
        {
            return;
        }
        let sides = Sides::of(session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let bytes = session.seen.tcp.sides.initiator.bytes + session.seen.tcp.sides.acceptor.bytes;
        // The moment of the close, after "closed the connection" and after "the handshake ended".
        let (closed_when, ended_when) = match reached_before_close(session) {
            Some((_, message)) => (format!("after {message}"), format!("after {message}")),
            None if bytes > 0 => (
                "before sending a complete message".to_owned(),
                "before the first complete message".to_owned(),
            ),
            None => ("before sending anything".to_owned(), "before any data was sent".to_owned()),
        };
        let by = session.verdict.detected_by.unwrap_or(Role::Initiator);
        let (who, other) = sides.side_and_peer(by);
        let mut found = match session.outcome() {
            Outcome::TimedOut => {
                let mut found = finding(&TIMEOUT, session, &sides);
                let missing = session.verdict.awaited.map_or("next message", MessageKind::name);
                let silence = seconds(micros(session.seen.silence_before_close()));
                found.title = format!("{other} stopped answering during the handshake with {who}");
                found.explanation =
                    format!("{other} sent no {missing} within {silence}; then {who} gave up.");
                // A node that hangs is one cause, however many peers wait for it.
                found.parties = other.clone();
                self.add_waiter(session, &mut found, who, other);
                found.remedy = vec![
                    format!(
                        "Check {other}: is it suspended, out of memory, swapping, or overloaded? Its kernel \
                         accepts connections even when the node itself does nothing."
                    ),
                    "If the node works, look for a proxy or a packet filter that lets the connection open \
                     and drops what follows."
                        .to_owned(),
                ];
                found
            }
            Outcome::Aborted => {
                // A client that connects, sends nothing and closes is a probe more often than a node.
                let is_probe = by == Role::Initiator && session.seen.tcp.sides.initiator.bytes == 0;
                let (from, to) = (session.ip(Role::Initiator), session.ip(Role::Acceptor));
                if is_probe && world.dials().tool_dialed(from, to, session.seen.tcp.first.at) {
                    // A tool that has just dialed this host checks whether its port can be opened.
                    return;
                }
                let severity = if is_probe { Severity::Low } else { Severity::Medium };
                let mut found = finding(&ABORTED, session, &sides);
                found.severity = severity;
                found.title = format!("{who} closed the connection with {other} {closed_when}");
                found.explanation = format!(
                    "The handshake ended {ended_when}: {who} closed the connection, and nothing in this \
                     capture shows why."
                );
                found.may_log = vec![by];
                found.remedy = vec![format!(
                    "Read the log of {who} at that moment, and the log of any proxy in between."
                )];
                if is_probe && session.verdict.lookup.is_some() {
                    found.explanation.push_str(
                        " It had asked EPMD for the port first, as a node does. A node that uses TLS \
                         (-proto_dist inet_tls) closes like this when the options with which it dials do not load: \
                         a client_ option of -ssl_dist_opt, or the client part of -ssl_dist_optfile.",
                    );
                    found.remedy.insert(
                        0,
                        format!(
                            "If the nodes use TLS, check the options on {who}: the client_ options of -ssl_dist_opt, or \
                             the client part of -ssl_dist_optfile (every file must exist, and the user of the \
                             node must be able to read it)."
                        ),
                    );
                }
                let is_unanswered = session.seen.tcp.sides.acceptor.bytes == 0;
                let lookup = session.verdict.lookup.as_ref();
                if by == Role::Acceptor
                    && is_unanswered
                    && let Some(lookup) = lookup
                    && let Some(behind) = &lookup.forwarded
                    && !world.is_passed_on(session)
                {
                    explain_proxy(session, &mut found, (a, &lookup.asked), behind, &closed_when);
                } else if session.seen.close_kind() == Some(CloseKind::Rst) {
                    explain_reset(session, &mut found, (who, other), &closed_when);
                }
                found
            }
            Outcome::Connected if is_reset_before_first_frame(session) => {
                let mut found = finding(&ABORTED, session, &sides);
                found.title = format!(
                    "the connection between {a} and {b} was reset right after the handshake"
                );
                found.explanation =
                    "The handshake was complete, and a reset came before the first frame: a node crashed \
                     at that moment, or a middlebox cut the connection."
                        .to_owned();
                found.may_log = Role::BOTH.to_vec();
                found.remedy = vec!["Read the logs of both nodes at that moment.".to_owned()];
                found
            }
            _ => return,
        };
        found.evidence.extend(last_message(session));
        found.evidence.extend(closed(session, "during the handshake"));
        if session.verdict.protocol == Protocol::Tls {
            found.evidence.extend(session.seen.tls().and_then(|(role, mark)| {
                shown(Some(mark), Some(role), Shows::TlsHello("TLS hello"))
            }));
        }
        out.push(found);
    }
}

impl HandshakeFailed {
    /// Adds a node that gave up. From the second one on that waited for the same side, the finding names them all.
    fn add_waiter(
        &mut self,
        session: &JudgedConnection,
        found: &mut Detection,
        who: &str,
        silent: &str,
    ) {
        let at = session.at();
        self.waiters.retain(|known| at.since(known.last) <= REOPENS);
        let Some(known) = self.waiters.iter_mut().find(|known| known.silent == silent) else {
            let nodes = found.nodes.clone();
            let names = vec![who.to_owned()];
            let new = Waiters { silent: silent.to_owned(), names, nodes, last: at };
            remember(&mut self.waiters, new, REMEMBERED);
            return;
        };
        known.last = known.last.max(at);
        let is_new = known.names.iter().all(|name| name != who) && known.names.len() < MAX_WAITERS;
        if is_new {
            known.names.push(who.to_owned());
            let new = found.nodes.iter().filter(|node| !known.nodes.contains(node));
            let new: Vec<_> = new.cloned().collect();
            known.nodes.extend(new);
        }
        if known.names.len() > 1 {
            let all: Vec<_> = known.names.iter().map(String::as_str).collect();
            let them = match all.as_slice() {
                [a, b] => format!("{a} and {b}"),
                all => listed(all),
            };
            found.title = format!("{silent} stopped answering during the handshakes with {them}");
            let others: Vec<_> = all.into_iter().filter(|name| *name != who).collect();
            found.explanation.push_str(&format!(" {} gave up as well.", listed(&others)));
            found.nodes.clone_from(&known.nodes);
        }
        if is_new {
            found.if_known = IfKnown::Rewrites;
        }
    }
}

/// Explains a handshake that a reset ended. The host of `who` had this connection, since it had opened it: its own reset
/// has an acknowledgement (RFC 9293, section 3.10.7). One without is made by a filter, or by a host that was restarted.
fn explain_reset(
    session: &JudgedConnection,
    found: &mut Detection,
    (who, other): (&str, &str),
    closed_when: &str,
) {
    found.title = format!("a reset ended the handshake of {who} with {other} {closed_when}");
    let is_bare = session.seen.tcp.close.is_some_and(|close| close.is_answer);
    if is_bare {
        found.explanation = format!(
            "An RST came from the address of {who} {closed_when}. It has no acknowledgement, which the kernel of \
             a host sets in a reset of a connection that it has: most likely a firewall or another filter on \
             the way sent it in the name of {who}, because of what {other} had sent."
        );
        found.not_excluded.push(format!("the host of {who} lost the connection at that moment"));
    } else {
        found.explanation = format!(
            "An RST came from the address of {who} {closed_when}. The node closed without reading what {other} \
             sent, or it crashed, or a firewall on the way sent the RST in its name."
        );
    }
    found.remedy = vec![
        format!(
            "Look for a firewall, an intrusion prevention system or a proxy between the two that inspects \
             connections and resets them. Capture on both hosts: an RST that {who} did not send comes from the \
             way."
        ),
        format!("If {who} sent it, read its log at that moment."),
    ];
}

/// Explains a connection that a proxy closed without an answer. EPMD's answer came through it from another host, and it
/// did not pass the hello on: it got no connection to the node behind it.
fn explain_proxy(
    session: &JudgedConnection,
    found: &mut Detection,
    (a, name): (&str, &str),
    behind: &ForwardedLookup,
    closed_when: &str,
) {
    let (from, end) = (session.ip(Role::Initiator), session.acceptor_end());
    let (proxy, port, node) = (end.ip, end.port, behind.epmd.ip);
    found.title = format!(
        "the proxy at {proxy} does not reach \"{name}\" at {node}: it closed the connection with {a} {closed_when}"
    );
    found.explanation = format!(
        "EPMD's answer to {from} came through a proxy, balancer or port mapping at {proxy}: the same question went \
         on to EPMD at {} (frame {}). {proxy} also accepted the connection to port {port}, and closed it \
         {closed_when} without a byte and without passing anything on. A proxy does that when it gets no \
         connection to its backend: it dials another port than {port}, or that port refuses.",
        address(node, behind.epmd.port),
        behind.reply.number,
    );
    found.remedy = vec![
        format!(
            "On {proxy}, see where port {port} is forwarded to (the backend in the configuration of the proxy, `docker \
             port`, `iptables -t nat -S`): it must be {}, the port that EPMD gave for \"{name}\".",
            address(node, port)
        ),
        format!(
            "On {node}, see whether the node listens there: `epmd -names` and `ss -ltnp 'sport = :{port}'`."
        ),
    ];
    found.not_excluded = vec![
        format!("the connection from {proxy} to the node is not in the capture"),
        format!("a program at {proxy} that asked EPMD the same question at that moment"),
    ];
    found.evidence.extend(looked_up(session));
    found.evidence.push(Evidence {
        frame: behind.reply,
        input: None,
        session_id: Some(Arc::clone(&behind.session_id)),
        from: Some(Role::Acceptor),
        what: Shows::epmd(EpmdTag::PORT2_RESP, format!("\"{name}\" is at port {port}")),
    });
    order_by_frame(&mut found.evidence);
}

/// Whether a reset followed the handshake before any frame. Bytes that the capture lacks may have been frames.
fn is_reset_before_first_frame(session: &JudgedConnection) -> bool {
    let sent_nothing = |role: Role| {
        let sent = &session.seen.traffic[role];
        sent.messages + sent.ticks + session.seen.tcp.sides[role].missing_bytes == 0
    };
    session.seen.close_kind() == Some(CloseKind::Rst)
        && session.seen.handshake.reached().is_some()
        && Role::BOTH.into_iter().all(sent_nothing)
}

/// Evidence by the last handshake message before the close.
fn last_message(session: &JudgedConnection) -> Option<Evidence> {
    let (from, kind) = reached_before_close(session)?;
    shown(session.seen.message(kind), Some(from), kind)
}

/// The last handshake message before the close, and its sender.
fn reached_before_close(session: &JudgedConnection) -> Option<(Role, MessageKind)> {
    let messages = [
        (Role::Acceptor, MessageKind::ChallengeAck),
        (Role::Initiator, MessageKind::ChallengeReply),
        (Role::Initiator, MessageKind::Complement),
        (Role::Acceptor, MessageKind::Challenge),
        (Role::Acceptor, MessageKind::Status),
        (Role::Initiator, MessageKind::SendName),
    ];
    let close = session.seen.closed();
    messages.into_iter().find(|(_, kind)| {
        let mark = session.seen.message(*kind);
        mark.is_some_and(|mark| close.is_none_or(|close| mark.at <= close.at))
    })
}

/// Maximum of silent sides kept.
const REMEMBERED: usize = 256;

/// Maximum of nodes that one finding names.
const MAX_WAITERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Endpoint;
    use crate::detect::tests::{Step, but, found, hello};
    use crate::judge::samples::{dial, lookup, mark};
    use crate::judge::world::PriorLookup;

    /// A dial to a proxy, which closes it without an answer; EPMD at `behind` answered for it.
    fn closed(
        from: &str,
        to: &str,
        behind: Option<&str>,
        change: impl FnOnce(&mut JudgedConnection),
    ) -> Step {
        let dialed = dial(100, &format!("a@h1/{from}/7"), &format!("b@h2/{to}/2"));
        but(dialed.fails(Outcome::Aborted), |session| {
            session.forget_name(Role::Acceptor);
            session.seen.handshake.status = None;
            session.seen.handshake.challenge = None;
            session.seen.handshake.reply = None;
            session.seen.tcp.sides.acceptor.bytes = 0;
            session.verdict.detected_by = Some(Role::Acceptor);
            session.close(Role::Acceptor, mark(110));
            session.verdict.lookup = Some(PriorLookup {
                forwarded: behind.map(|ip| {
                    Box::new(ForwardedLookup {
                        epmd: Endpoint { ip: ip.parse().unwrap(), port: 4369 },
                        session_id: "inner".into(),
                        reply: mark(40).frame,
                    })
                }),
                ..lookup("b", 50)
            });
            change(session);
        })
    }

    fn titles(steps: &[Step]) -> Vec<String> {
        let found = found(steps).into_iter();
        found.filter(|it| it.rule == "handshake-aborted").map(|it| it.title).collect()
    }

    #[test]
    fn a_proxy_without_a_backend_is_named_with_the_node_behind_it() {
        let title = |name: &str, node: &str, proxy: &str| {
            format!(
                "the proxy at {proxy} does not reach \"{name}\" at {node}: it closed the connection with a@h1 after \
                 send_name"
            )
        };
        let v4 = closed("10.0.0.1", "10.0.0.9", Some("10.0.0.2"), |_| ());
        assert_eq!(titles(&[v4]), [title("b", "10.0.0.2", "10.0.0.9")]);
        let reset = closed("fd00::1", "fd00::9", Some("fd00::2"), |it| {
            it.seen.tcp.close.as_mut().unwrap().kind = CloseKind::Rst;
        });
        assert_eq!(titles(&[reset]), [title("b", "fd00::2", "fd00::9")]);
    }

    #[test]
    fn all_nodes_that_wait_for_a_silent_one_are_named() {
        let waits = |ms, from| dial(ms, from, "b@h2/10.0.0.2/2").fails(Outcome::TimedOut).into();
        let (a, c) = ("a@h1/10.0.0.1/1", "c@h3/10.0.0.3/3");
        let titles: Vec<_> = [vec![(100, a), (200, a)], vec![(100, a), (200, c), (300, a)]]
            .into_iter()
            .map(|steps| {
                let steps: Vec<_> = steps.into_iter().map(|(ms, from)| waits(ms, from)).collect();
                let all = found(&steps).into_iter().rev();
                all.filter(|it| it.rule == "handshake-timeout").map(|it| it.title).next()
            })
            .collect();
        assert_eq!(
            titles,
            [
                "b@h2 stopped answering during the handshake with a@h1",
                "b@h2 stopped answering during the handshakes with a@h1 and c@h3"
            ]
            .map(|title| Some(title.to_owned()))
        );
    }

    #[test]
    fn a_dialer_that_asked_epmd_and_sends_nothing_may_lack_its_tls_options() {
        let explained = |asked: bool| {
            let step = closed("10.0.0.1", "10.0.0.2", None, |session| {
                session.seen.handshake.send_name = None;
                session.seen.tcp.sides.initiator.bytes = 0;
                session.verdict.detected_by = Some(Role::Initiator);
                session.close(Role::Initiator, mark(110));
                session.verdict.lookup = session.verdict.lookup.take().filter(|_| asked);
            });
            let found = found(&[step]).into_iter();
            found
                .filter(|it| it.rule == "handshake-aborted")
                .map(|it| it.explanation)
                .collect::<String>()
        };
        assert!(explained(true).contains("-ssl_dist_optfile"));
        let probe = explained(false);
        assert!(!probe.is_empty() && !probe.contains("TLS"), "a probe: {probe}");
    }

    #[test]
    fn a_node_that_closes_itself_or_behind_a_proxy_that_passes_on_is_not_unreached() {
        let direct = closed("10.0.0.1", "10.0.0.9", None, |_| ());
        let answered = closed("10.0.0.1", "10.0.0.9", Some("10.0.0.2"), |session| {
            session.seen.tcp.sides.acceptor.bytes = 5;
        });
        let by_initiator = closed("10.0.0.1", "10.0.0.9", Some("10.0.0.2"), |session| {
            session.verdict.detected_by = Some(Role::Initiator);
        });
        for step in [direct, answered, by_initiator] {
            let titles = titles(&[step]);
            assert!(!titles.is_empty() && !titles[0].contains("does not reach"), "{titles:?}");
        }
        let far = hello(&dial(102, "a@h1/10.0.0.9/7", "b@h2/10.0.0.2/2").into());
        let passed_on = closed("10.0.0.1", "10.0.0.9", Some("10.0.0.2"), |_| ());
        assert!(titles(&[far, passed_on]).iter().all(|title| !title.contains("does not reach")));
    }
}
