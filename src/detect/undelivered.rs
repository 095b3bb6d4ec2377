//! Bytes that one side sends and that do not arrive at the other.
//!
//! `path-loss`: what one side sends during a handshake, to EPMD, or on a TLS connection is never acknowledged.
//! `path-mtu`: small segments arrive and large ones do not, on any connection. Which direction of the path fails, and
//! whether the receiver was there, follow from sequence and acknowledgement numbers. That an established connection
//! without TLS stalls is `connection-lost`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::finding::{Sides, closed, finding, looked_up, order_by_frame, seconds, shown};
use super::{Detection, EndedBy, Ending, LogLine, Rule, RuleDoc, epmd_common, log_lines};
use crate::decode::Endpoint;
use crate::judge::world::World;
use crate::judge::{JudgedConnection, LossScope, Outcome, PeerSigns, Protocol, Undelivered};
use crate::limits::remember;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `path-loss`.
const LOSS: RuleDoc = RuleDoc {
    rule: "path-loss",
    severity: Severity::High,
    summary: "what one side sends does not reach the other",
    symptom: "the port accepts connections, and what is sent then is lost; `false` after 7 s",
    meaning: "One side sent its message again and again, and the other never acknowledged it: the \
              message did not arrive, or nothing that acknowledges it came back. The node that \
              sent it did its part. Something on the path lets the TCP handshake through and \
              drops what follows, or drops everything from some moment on.",
    evidence: "Retransmissions of the same bytes over seconds, without an acknowledgement; or a \
               close whose acknowledgement number lies before a message that was sent seconds \
               earlier, in a capture that has both directions without gaps. If the other side's \
               own packets came meanwhile, its host was there, and only one direction is lost.",
    lookalikes: "A node that hangs: its kernel acknowledges what it does not read, which is \
                 handshake-timeout or tick-timeout. A receive window that is closed. A capture \
                 that has one direction only.",
    log_lines: &[
        LogLine { writer: "both nodes", releases: "all", text: "" },
        log_lines::SETUP_TIMED_OUT,
    ],
    remedy: &[
        "Look for what drops packets on the way in the direction that the finding names: a packet \
         filter, a security group or network policy, a firewall that inspects the content.",
        "Capture on both hosts at once (`tcpdump -ni any -w side.pcap host OTHER`): packets that \
         leave the one and are missing at the other are dropped between the two.",
        "If only large packets are lost, compare the MTU of all links (path-mtu).",
        "If nothing at all comes from the other host, check that host: suspended, stopped, or off \
         the network.",
    ],
};

/// Documentation of the rule `path-mtu`.
const MTU: RuleDoc = RuleDoc {
    rule: "path-mtu",
    severity: Severity::High,
    summary: "small packets arrive and large ones do not (MTU)",
    symptom: "nodes connect and small calls work; the first large message stalls the connection \
              until it is closed",
    meaning: "Segments up to some size arrive and are acknowledged; a larger one is sent again and \
              again and never is. A link on the path carries smaller packets than the sender \
              believes (a tunnel, a VPN, an overlay network), and the ICMP message that should say \
              so is filtered or missing. Everything behind the lost segment waits, ticks included, \
              and the other node closes the connection after net_ticktime.",
    evidence: "Retransmissions of a segment that is larger than every acknowledged one, while the \
               other side's own packets keep coming; or an ICMP message \"fragmentation needed\" \
               (IPv4) or \"packet too big\" (IPv6) about it.",
    lookalikes: "A path that is cut altogether: then nothing comes from the other side either \
                 (connection-lost). Packets in a capture can be larger than the MTU, since the \
                 network card cuts them.",
    log_lines: log_lines::TIMED_OUT_LINES,
    remedy: &[
        "From the sending host, find the size that passes: `ping -M do -s 1472 OTHER`, then less; \
         the MTU of the path is the largest size that is answered, plus 28.",
        "Let ICMP through: type 3 code 4 (IPv4) and \"packet too big\" (IPv6) tell the sender the \
         size.",
        "Set the MTU of the interfaces to what the path carries (`ip link set dev DEV mtu N`), or \
         limit the segment size on the router: `iptables -t mangle -A FORWARD -p tcp --tcp-flags \
         SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu`.",
    ],
};

#[derive(Default)]
pub(super) struct UndeliveredBytes {
    /// The last ports whose bytes arrived in both directions, at most [`REMEMBERED`].
    working: VecDeque<Working>,
}

/// A port on which two hosts exchanged bytes.
struct Working {
    hosts: [IpAddr; 2],
    port: u16,
    at: Timestamp,
}

impl Rule for UndeliveredBytes {
    fn docs(&self) -> &'static [RuleDoc] {
        &[LOSS, MTU]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        let ends = session.seen.ends;
        let Some(lost) = session.verdict.undelivered.as_deref() else {
            if session.outcome() == Outcome::Connected {
                self.works(ends.initiator.ip, ends.acceptor, session.at());
            }
            return;
        };
        if !session.is_settled() {
            return;
        }
        let is_large = lost.is_large();
        // The end of an established connection has a rule of its own, unless the size of packets is the reason.
        if session.outcome() == Outcome::Connected && !is_large {
            return;
        }
        let sides = Sides::of(session);
        let (from, to) = sides.side_and_peer(lost.from);
        let mut found = finding(if is_large { &MTU } else { &LOSS }, session, &sides);
        found.confidence =
            if lost.too_large.is_some() { Confidence::Proven } else { Confidence::Likely };
        found.parties = format!("{from} to {to}");
        let what = what(session, lost);
        found.title = title(lost, from, to, &what);
        let gave_up = session.verdict.detected_by.zip(session.seen.closed()).map(|(by, close)| {
            let (by, _) = sides.side_and_peer(by);
            let waited = close.at.since(lost.since);
            format!(
                "{by} closed the connection {} after the first attempt.",
                seconds(micros(waited))
            )
        });
        let other_port = self.other_port(ends.initiator.ip, ends.acceptor, session.at());
        found.explanation = sentences(&[
            Some(sent(lost, from, to, &what)),
            Some(arrives(lost, from)),
            Some(signs(lost, from, to)),
            gave_up,
            other_port.map(|port| {
                format!(
                    "The same two hosts exchanged data on port {port}, so the loss concerns port {}.",
                    ends.acceptor.port
                )
            }),
        ]);
        found.remedy = remedy(lost, from, to, ends[lost.from.peer()].ip, ends.acceptor.port);
        found.not_excluded = not_excluded(lost, to);
        found.evidence.extend(looked_up(session));
        found.evidence.extend(evidence(lost));
        found.evidence.extend(closed(session, "after the loss"));
        order_by_frame(&mut found.evidence);
        found.logged_by = match (session.outcome(), session.seen.closed_by()) {
            (Outcome::Connected, Some(by)) => vec![by],
            _ => Vec::new(),
        };
        if session.outcome() == Outcome::Connected && found.logged_by.is_empty() {
            found.may_log = Role::BOTH.to_vec();
        }
        out.push(found);
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        _: &World,
        out: &mut Vec<Detection>,
    ) {
        let ids = &settled.connection;
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        if epmd.seen.reply.is_some() && epmd.outcome != EpmdOutcome::Unacknowledged {
            self.works(ids.src_ip, end, settled.at);
        }
        if epmd.outcome != EpmdOutcome::Unacknowledged {
            return;
        }
        let Some(lost) = Undelivered::of_epmd(&epmd.seen) else { return };
        let (server, asker) = (epmd_common::server_address(ids), ids.src_ip.to_string());
        let server = format!("EPMD at {server}");
        let name = epmd.name.as_ref().map_or_else(String::new, |name| format!(" for \"{name}\""));
        let (from, to, what) = match lost.from {
            Role::Initiator => (&asker, &server, format!("its request{name}")),
            Role::Acceptor => (&server, &asker, "its reply".to_owned()),
        };
        let is_large = lost.is_large();
        let doc = if is_large { &MTU } else { &LOSS };
        let waited = epmd.seen.close.filter(|_| epmd.seen.closed_by == Some(Role::Initiator));
        let gave_up = waited.map(|close| {
            let waited = seconds(micros(close.at.since(lost.since)));
            format!("{asker} gave up {waited} after the first attempt.")
        });
        let request = match epmd.request {
            Some(EpmdTag::PORT_PLEASE2_REQ) => Shows::epmd(EpmdTag::PORT_PLEASE2_REQ, ""),
            Some(EpmdTag::NAMES_REQ) => Shows::epmd(EpmdTag::NAMES_REQ, ""),
            _ => Shows::Note("request".into()),
        };
        let mut first: Vec<_> =
            shown(epmd.seen.request, Some(Role::Initiator), request).into_iter().collect();
        first.extend(evidence(&lost));
        out.push(Detection {
            confidence: Confidence::Likely,
            title: title(&lost, from, to, &what),
            explanation: sentences(&[
                Some(sent(&lost, from, to, &what)),
                Some(arrives(&lost, from)),
                Some(signs(&lost, from, to)),
                gave_up,
            ]),
            remedy: remedy(
                &lost,
                from,
                to,
                if lost.from == Role::Initiator { ids.dest_ip } else { ids.src_ip },
                ids.dest_port,
            ),
            parties: format!("{from} to {to}"),
            evidence: first,
            not_excluded: not_excluded(&lost, to),
            ended_by: EndedBy::Any(vec![Ending::reply(settled, true)]),
            ..Detection::new(doc)
        });
    }
}

impl UndeliveredBytes {
    /// Records that bytes arrived in both directions on a port.
    fn works(&mut self, from: IpAddr, to: Endpoint, at: Timestamp) {
        let working = Working { hosts: [from, to.ip], port: to.port, at };
        remember(&mut self.working, working, REMEMBERED);
    }

    /// Another port on which the two hosts exchanged bytes a short time before.
    fn other_port(&self, from: IpAddr, to: Endpoint, at: Timestamp) -> Option<u16> {
        let is_between = |hosts: &[IpAddr; 2]| hosts.contains(&from) && hosts.contains(&to.ip);
        let recent =
            self.working.iter().rev().find(|it| {
                is_between(&it.hosts) && it.port != to.port && at.since(it.at) <= SAME_TIME
            });
        recent.map(|it| it.port)
    }
}

/// What was sent, as part of a sentence.
fn what(session: &JudgedConnection, lost: &Undelivered) -> String {
    let message = lost.message(&session.seen.handshake);
    match (message, session.verdict.protocol) {
        (Some(message), _) => message.name().to_owned(),
        (None, Protocol::Tls) => match session.outcome() {
            Outcome::Tls => "data over TLS".to_owned(),
            _ => "its part of the TLS handshake".to_owned(),
        },
        (None, _) if lost.bytes > 0 => format!("{} bytes", lost.bytes),
        (None, _) => "data".to_owned(),
    }
}

fn title(lost: &Undelivered, from: &str, to: &str, what: &str) -> String {
    let is_gone = matches!(lost.peer, PeerSigns::Silent | PeerSigns::Returned(_));
    if lost.peer == PeerSigns::InVain && !lost.is_large() {
        return format!("nothing passes between {from} and {to}");
    }
    match lost.loss {
        LossScope::Large { .. } => format!("large packets from {from} do not reach {to}"),
        _ if is_gone => format!("{to} does not acknowledge what {from} sends"),
        LossScope::Payload => format!("what {from} sends does not reach {to}"),
        LossScope::FromThen if what.starts_with("its ") || what.ends_with("bytes") => {
            format!("what {from} sends no longer reaches {to}")
        }
        LossScope::FromThen => format!("{what} from {from} does not reach {to}"),
    }
}

/// What was sent, how often, and that nothing acknowledges it.
pub(super) fn sent(lost: &Undelivered, from: &str, to: &str, what: &str) -> String {
    match lost.sent {
        0 | 1 => format!("{from} sent {what}, and {to} never acknowledged it."),
        n => format!(
            "{from} sent {what} {n} times in {}, and {to} never acknowledged it.",
            seconds(micros(lost.lasted()))
        ),
    }
}

/// What of the direction arrives.
pub(super) fn arrives(lost: &Undelivered, from: &str) -> String {
    let size = lost.bytes;
    if let Some(too_large) = lost.too_large {
        let mtu = match too_large.mtu {
            0 => String::new(),
            mtu => format!(": the next link carries at most {mtu} bytes"),
        };
        return format!(
            "{} answered with an ICMP message that the packet is too large{mtu}. {from} did not send it in \
             smaller pieces.",
            too_large.reporter
        );
    }
    match lost.loss {
        LossScope::Large { arrives } => format!(
            "Segments of up to {arrives} bytes were acknowledged; those of {size} bytes were not: a link on \
             the path carries smaller packets than {from} sends (MTU)."
        ),
        LossScope::Payload if size > 0 && lost.may_be_size() => format!(
            "The connection opened, so packets without payload pass. Nothing with payload from {from} was \
             acknowledged, and the first segment has {size} bytes: either all payload is dropped, or packets \
             of that size (MTU)."
        ),
        LossScope::Payload => format!(
            "The connection opened, so packets without payload pass; nothing with payload from {from} was \
             acknowledged."
        ),
        LossScope::FromThen => match lost.pause {
            Some(pause) => format!(
                "Everything before was acknowledged, and then nothing had passed for {}: a firewall or NAT \
                 that forgets idle connections drops what follows.",
                seconds(micros(pause))
            ),
            None => "Everything before was acknowledged.".to_owned(),
        },
    }
}

/// Whether the receiving side was there.
pub(super) fn signs(lost: &Undelivered, from: &str, to: &str) -> String {
    match lost.peer {
        PeerSigns::Sends => format!(
            "{to} was there and sent bytes of its own meanwhile: the direction from {to} to {from} works."
        ),
        PeerSigns::InVain => format!(
            "What {to} sent meanwhile was not acknowledged either: nothing passes in both directions."
        ),
        PeerSigns::Answers => format!(
            "The host of {to} was there: a packet of it came later and acknowledges none of this."
        ),
        PeerSigns::Returned(at) => format!(
            "Nothing came from {to} in that time; it was back {} after the first attempt.",
            seconds(micros(at.since(lost.since)))
        ),
        PeerSigns::Silent => format!("In that time no packet came from the host of {to}."),
    }
}

fn remedy(lost: &Undelivered, from: &str, to: &str, to_ip: IpAddr, port: u16) -> Vec<String> {
    let capture = format!(
        "Capture on both hosts at once (`tcpdump -ni any -w side.pcap port {port}`): packets that leave \
         {from} and are missing at {to} are dropped between the two."
    );
    let size = format!(
        "On the host of {from}, find the size that passes: `ping -M do -s 1472 {to_ip}`, then less. The MTU \
         of the path is the largest size that is answered, plus 28."
    );
    let mtu = [
        "Let ICMP \"fragmentation needed\" (type 3 code 4) and \"packet too big\" (ICMPv6) through, so that \
         the sender learns the size."
            .to_owned(),
        "Set the MTU of the interfaces to what the path carries (`ip link set dev DEV mtu N`), or limit the \
         segment size on the router: `iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS \
         --clamp-mss-to-pmtu`."
            .to_owned(),
    ];
    if lost.is_large() {
        return [size].into_iter().chain(mtu).collect();
    }
    let filter = format!(
        "Look for what drops packets on the way from {from} to {to}: a packet filter, a security group, a \
         firewall that inspects the content."
    );
    let mut steps = match lost.peer {
        PeerSigns::Silent | PeerSigns::Returned(_) => vec![
            format!(
                "Check the host of {to} at that time (suspended, overloaded, off the network), and the path \
                 between the two (`ping {to_ip}` from the host of {from})."
            ),
            filter,
        ],
        PeerSigns::Sends | PeerSigns::Answers | PeerSigns::InVain => vec![filter],
    };
    if lost.may_be_size() {
        steps.push(size);
        steps.extend(mtu);
    }
    steps.push(capture);
    steps
}

fn not_excluded(lost: &Undelivered, to: &str) -> Vec<String> {
    let only_acknowledgements =
        format!("only the acknowledgements of {to} are lost on the way back");
    let mut others = Vec::new();
    match lost.peer {
        PeerSigns::Silent | PeerSigns::Returned(_) => others.push(only_acknowledgements),
        PeerSigns::Sends | PeerSigns::Answers | PeerSigns::InVain => {}
    }
    if lost.is_large() && lost.too_large.is_none() {
        others.push("something on the path drops these packets for their content".to_owned());
    }
    others
}

/// Evidence by the packets that brought the bytes again, and by the ICMP message about them.
pub(super) fn evidence(lost: &Undelivered) -> Vec<Evidence> {
    let from = Some(lost.from);
    let again = shown(lost.again, from, Shows::Retransmission);
    let last = lost.last.filter(|last| Some(*last) != lost.again);
    let icmp = lost.too_large.map(|too_large| too_large.mark);
    let icmp = shown(icmp, None, Shows::Note("ICMP: the packet is too large".into()));
    let mut all: Vec<_> =
        again.into_iter().chain(icmp).chain(shown(last, from, Shows::Retransmission)).collect();
    order_by_frame(&mut all);
    all
}

fn sentences(parts: &[Option<String>]) -> String {
    parts.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Maximum of ports kept: a dial follows its look-up within a second.
const REMEMBERED: usize = 256;

/// What worked so long before still shows that the path is open.
const SAME_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::epmd_common::tests::epmd;
    use crate::detect::tests::{Step, but, detected};
    use crate::judge::LossScope;
    use crate::judge::samples::{dial, in_the_void};
    use crate::judge::world::HomeNets;

    /// A dial from 10.0.0.1 to 10.0.0.2 at 10 s, whose bytes do not arrive.
    fn lost(change: impl FnOnce(&mut Undelivered)) -> Step {
        let dial = dial(10_000, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(Outcome::TimedOut);
        but(dial, |it| {
            let mut lost = in_the_void(10_000, 12_000);
            change(&mut lost);
            it.verdict.undelivered = Some(Box::new(lost));
        })
    }

    fn last(steps: &[Step]) -> Detection {
        let found = detected(&mut UndeliveredBytes::default(), HomeNets::default(), steps);
        found.into_iter().next_back().unwrap()
    }

    #[test]
    fn data_on_another_port_of_the_two_hosts_shows_that_the_loss_concerns_one_port() {
        let text = |to: &str, at: f64, outcome: EpmdOutcome, has_reply: bool| {
            let ends = ("10.0.0.1", to, "lookup");
            let asks = epmd(ends, (9, at), EpmdTag::NAMES_REQ, "", outcome, |it| {
                it.seen.reply = it.seen.reply.filter(|_| has_reply);
            });
            last(&[asks, lost(|_| {})]).explanation
        };
        let is_noted = |text: String| text.contains("exchanged data on port 4369, so the loss");
        assert!(is_noted(text("10.0.0.2", 9.0, EpmdOutcome::Answered, true)));
        assert!(!is_noted(text("10.0.0.3", 9.0, EpmdOutcome::Answered, true)), "other hosts");
        assert!(!is_noted(text("10.0.0.2", 9.0, EpmdOutcome::NoReply, false)));
        let alone = last(&[lost(|_| {})]).explanation;
        assert!(!alone.contains("exchanged data"), "{alone}");
    }

    #[test]
    fn payload_that_never_arrives_may_be_too_large_where_it_is_large() {
        let found = |bytes: u32| {
            last(&[lost(|it| {
                it.loss = LossScope::Payload;
                it.bytes = bytes;
            })])
        };
        let large = found(1448);
        assert!(large.explanation.contains("1448 bytes: either all payload"), "{large:?}");
        assert!(!found(4).explanation.contains("either all payload"));
        assert!(large.not_excluded.iter().all(|it| !it.contains("for their content")));
        let mtu = last(&[lost(|it| it.loss = LossScope::Large { arrives: 500 })]);
        assert!(mtu.not_excluded.iter().any(|it| it.contains("for their content")), "{mtu:?}");
    }
}
