//! EPMD gave the port of a node, and the host that asked for it never dialed.
//!
//! The evidence is the absence of packets, which a capture filter explains as well. So the finding is only possible, it
//! is reported at the end of the run, and only where the host had the time to dial: it asked again, or the setup time
//! of a node went by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::finding::listed;
use super::{Detection, EndedBy, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::BoundedMap;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::Timestamp;

/// Documentation of the rule `asked-not-dialed`.
const DOC: RuleDoc = RuleDoc {
    rule: "asked-not-dialed",
    severity: Severity::Low,
    summary: "EPMD gave a port, and nobody dialed it",
    symptom: "`pong` never comes, and the other node sees no attempt at all",
    meaning: "A host asked EPMD for the port of a node and received it, and no packet to that \
              port follows. Either the capture was filtered, or the asking node gave up before \
              its first SYN. The usual reason is that its own options do not load: with \
              -proto_dist inet_tls a node starts although the client part of -ssl_dist_optfile \
              is missing or a client_ option of -ssl_dist_opt is wrong, and then never sends a \
              SYN; a server_ option that is wrong closes every connection that others open.",
    evidence: "PORT_PLEASE2_REQ and PORT2_RESP with a port; no SYN from that host to the port, \
               although it asked again later, or 7 s of the capture follow. The finding is \
               never more than possible.",
    lookalikes: "A capture with a filter for port 4369. A program that asks for ports and dials \
                 nobody, such as a health check. A SYN that a packet filter on the asking host \
                 drops before the capture point. A dial in the other direction that came first \
                 is no finding, nor is a proxy that passes on the question of another host.",
    log_lines: &[LogLine { writer: "either node", releases: "all", text: "" }],
    remedy: &[
        "On the asking node, check the options of its distribution: with -proto_dist inet_tls \
         the client part of -ssl_dist_optfile or the client_ options of -ssl_dist_opt \
         (verify_peer needs cacertfile; every file must be readable for the user of the node).",
        "Run `net_kernel:verbose(2)` in its shell and dial again: it prints why the attempt ends.",
        "Capture all of TCP, and not port 4369 alone, to see whether a SYN leaves the host.",
        "Look for a packet filter on the asking host that drops what it sends to that port.",
    ],
};

pub(super) struct AskedNotDialed {
    /// Answers that no dial followed, by client and port: one entry for each host that was asked.
    asked: BoundedMap<(IpAddr, u16), Vec<Asked>>,
    /// Pairs of hosts, in ascending order, with a connection that was established.
    connected: HashSet<[IpAddr; 2], RandomState>,
    /// Proxies that passed on look-ups of others, with the EPMD that they asked: they do not dial for themselves.
    proxies: HashSet<(IpAddr, IpAddr), RandomState>,
    /// Whether any connection to a node was seen.
    has_dials: bool,
    now: Timestamp,
}

impl Default for AskedNotDialed {
    fn default() -> Self {
        Self {
            asked: BoundedMap::new(REMEMBERED),
            connected: HashSet::default(),
            proxies: HashSet::default(),
            has_dials: false,
            now: Timestamp::default(),
        }
    }
}

/// Look-ups of one name by one client that no dial followed.
#[derive(Clone, Debug)]
struct Asked {
    epmd: IpAddr,
    name: Arc<str>,
    count: u64,
    /// Whether the client asked again although it had had the time to dial.
    asked_again: bool,
    first: AskedAndAnswered,
    last: AskedAndAnswered,
}

/// The packets of one look-up.
#[derive(Clone, Debug)]
struct AskedAndAnswered {
    request: PacketRef,
    reply: PacketRef,
    session_id: Arc<str>,
}

impl AskedAndAnswered {
    fn evidence(&self, name: &str, port: u16) -> [Evidence; 2] {
        let at = |mark: PacketRef, from, what| Evidence {
            frame: mark.frame,
            input: None,
            session_id: Some(Arc::clone(&self.session_id)),
            from: Some(from),
            what,
        };
        let asked = Shows::epmd(EpmdTag::PORT_PLEASE2_REQ, format!("\"{name}\""));
        let answered = Shows::epmd(EpmdTag::PORT2_RESP, format!("\"{name}\" is at port {port}"));
        [at(self.request, Role::Initiator, asked), at(self.reply, Role::Acceptor, answered)]
    }
}

impl Rule for AskedNotDialed {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, it: &JudgedConnection, _: &World, _: &mut Vec<Detection>) {
        self.has_dials = true;
        let [from, to] = Role::BOTH.map(|role| it.ip(role));
        let is_linked = matches!(it.outcome(), Outcome::Connected | Outcome::Tls);
        if is_linked && self.connected.len() < REMEMBERED {
            self.connected.insert(ordered(from, to));
        }
        let key = (from, it.acceptor_end().port);
        let until = it.seen.tcp.last.at.after(REORDERED);
        if let Some(asked) = self.asked.get_mut(&key) {
            asked.retain(|asked| asked.last.reply.at > until);
        }
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        world: &World,
        _: &mut Vec<Detection>,
    ) {
        let is_lookup = epmd.request == Some(EpmdTag::PORT_PLEASE2_REQ);
        if !is_lookup || epmd.outcome != EpmdOutcome::Answered {
            return;
        }
        let (Some(request), Some(reply), Some(port), Some(name)) =
            (epmd.seen.request, epmd.seen.reply, epmd.port, &epmd.name)
        else {
            return;
        };
        if request.frame.input != reply.frame.input {
            // Two places saw one direction each. Neither knew the port, so neither followed connections to it.
            return;
        }
        let ids = &settled.connection;
        if let Some(forwarded) = world.forwarded(settled)
            && self.proxies.len() < REMEMBERED
        {
            self.proxies.insert((ids.dest_ip, forwarded.epmd.ip));
        }
        let session_id = Arc::clone(&ids.session_id);
        self.on_answer(
            (ids.src_ip, port),
            ids.dest_ip,
            name,
            AskedAndAnswered { request, reply, session_id },
        );
    }

    fn on_input_end(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        let mut found: Vec<(IpAddr, u16, Asked)> = Vec::new();
        for ((client, port), asked) in self.asked.drain() {
            found.extend(asked.into_iter().map(|asked| (client, port, asked)));
        }
        // A capture of port 4369 alone has look-ups of many hosts and no dial.
        let mut ends = found.iter().map(|(client, _, asked)| (*client, asked.epmd));
        let first = ends.next();
        if !self.has_dials && ends.any(|end| Some(end) != first) {
            return;
        }
        found.retain(|(client, _, asked)| {
            let had_time = asked.asked_again || self.now.since(asked.last.reply.at) >= SETUP_TIME;
            had_time
                && !self.connected.contains(&ordered(*client, asked.epmd))
                && !self.proxies.contains(&(*client, asked.epmd))
        });
        found.sort_by_key(|(client, ..)| *client);
        out.extend(found.chunk_by(|a, b| a.0 == b.0).take(REPORTED).filter_map(detection));
    }
}

impl AskedNotDialed {
    fn on_answer(
        &mut self,
        key: (IpAddr, u16),
        epmd: IpAddr,
        name: &Arc<str>,
        answer: AskedAndAnswered,
    ) {
        let (known, _) = self.asked.entry(&key);
        if let Some(before) = known.iter_mut().find(|it| it.epmd == epmd && it.name == *name) {
            before.count += 1;
            before.asked_again |= answer.request.at.since(before.last.reply.at) >= TIME_TO_DIAL;
            before.last = answer;
        } else if known.len() < MAX_HOSTS {
            let (name, first, last) = (Arc::clone(name), answer.clone(), answer);
            known.push(Asked { epmd, name, count: 1, asked_again: false, first, last });
        }
    }
}

/// The finding about all look-ups of one client.
fn detection(of_client: &[(IpAddr, u16, Asked)]) -> Option<Detection> {
    let (client, port, asked) = of_client.first()?;
    let count: u64 = of_client.iter().map(|(_, _, asked)| asked.count).sum();
    let names: Vec<String> =
        of_client.iter().map(|(_, _, it)| format!("\"{}\" at {}", it.name, it.epmd)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let last = of_client.iter().map(|(.., asked)| &asked.last).max_by_key(|it| it.reply.at)?;
    let mut evidence = Vec::from(asked.first.evidence(&asked.name, *port));
    if asked.count > 1 {
        evidence.extend(asked.last.evidence(&asked.name, *port));
    }
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    let what = if of_client.len() == 1 {
        format!("the answer was port {port}, and this capture has no packet to that port")
    } else {
        "each answer had a port, and this capture has no packet to these ports".to_owned()
    };
    Some(Detection {
        confidence: Confidence::Possible,
        title: format!("{client} asked EPMD {times} for {}, and never dialed it", listed(&names)),
        explanation: format!(
            "{client} asked EPMD; {what}. If the capture was made with a filter for EPMD alone, the dials are \
             not in it. Otherwise the asking node gave up before its first SYN: options of its own \
             distribution did not load, most often the client part of -ssl_dist_optfile or a client_ option \
             of -ssl_dist_opt (-proto_dist inet_tls). The node starts with them, and cannot dial."
        ),
        remedy: vec![
            format!(
                "On {client}, check the options of the asking node: with -proto_dist inet_tls the client part \
                 of -ssl_dist_optfile, or the client_ options of -ssl_dist_opt. verify_peer needs cacertfile, \
                 and the node must be able to read every file."
            ),
            "Run `net_kernel:verbose(2)` in the shell of that node and dial again: it prints why the attempt \
             ends."
                .to_owned(),
            format!("Capture all of TCP on {client}, to see whether a SYN leaves the host."),
        ],
        parties: client.to_string(),
        evidence,
        not_excluded: vec![
            format!("a packet filter on {client} drops the SYN before the capture point"),
            "what asked is no node: a health check or a tool that only lists ports".to_owned(),
        ],
        ended_by: EndedBy::Nothing,
        shown_at: Some(last.reply.at),
        ..Detection::new(&DOC)
    })
}

fn ordered(a: IpAddr, b: IpAddr) -> [IpAddr; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

/// A node dials within milliseconds of the answer, unless its host is busy.
const TIME_TO_DIAL: Duration = Duration::from_millis(50);

/// A node gives up after its setup time, 7 s by default.
const SETUP_TIME: Duration = Duration::from_secs(7);

/// Captures reorder packets by milliseconds: the SYN may come shortly before the answer that led to it.
const REORDERED: Duration = Duration::from_millis(50);

/// Clients with their ports, and pairs of hosts, that are remembered: as many as a full mesh of 90 hosts has.
const REMEMBERED: usize = 8192;

/// Hosts of one client that give the same port: a cluster with a fixed port.
const MAX_HOSTS: usize = 64;

/// Clients that are reported: more have another reason in common.
const REPORTED: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{epmd, found, seconds};
    use super::*;
    use crate::detect::tests::Step;
    use crate::judge::samples::dial;

    /// `client` looks up `b` at 10.0.0.2, which has port 9100, at `ms` milliseconds.
    fn asks(client: &str, ms: u32) -> Step {
        let ends = (client, "10.0.0.2", "lookup");
        let at = f64::from(ms) / 1000.0;
        epmd(
            ends,
            (u64::from(ms), at),
            EpmdTag::PORT_PLEASE2_REQ,
            "b",
            EpmdOutcome::Answered,
            |_| (),
        )
    }

    fn titles(steps: &[Step]) -> Vec<String> {
        found::<AskedNotDialed>(steps).into_iter().map(|found| found.title).collect()
    }

    const A: &str = "10.0.0.1";

    #[test]
    fn a_host_that_asks_again_and_never_dials_is_reported_once() {
        let found = found::<AskedNotDialed>(&[asks(A, 1000), asks(A, 1200), asks(A, 1210)]);
        let [found] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            found.title,
            "10.0.0.1 asked EPMD 3 times for \"b\" at 10.0.0.2, and never dialed it"
        );
        assert_eq!((found.confidence, found.severity), (Confidence::Possible, Severity::Low));
        assert_eq!(found.evidence.len(), 4);
        assert_eq!(found.shown_at, Some(seconds(1.21)));
    }

    #[test]
    fn a_capture_that_ends_soon_after_the_answer_shows_nothing() {
        assert!(titles(&[asks(A, 1000)]).is_empty());
        assert!(titles(&[asks(A, 1000), asks(A, 1010)]).is_empty());
    }

    #[test]
    fn the_setup_time_without_a_dial_is_enough() {
        let mut rule = AskedNotDialed::default();
        let world = World::new(&Default::default(), Default::default());
        let step = asks(A, 1000);
        let Step::Epmd(settled, epmd) = &step else { panic!() };
        let mut out = Vec::new();
        rule.on_epmd(settled, epmd, &world, &mut out);
        rule.on_input_end(seconds(8.5));
        rule.on_end(&world, &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_dial_or_a_connection_from_the_other_side_is_no_finding() {
        let two = |last: Step| [asks(A, 1000), asks(A, 1200), last];
        let dialed = dial(1300, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2");
        for outcome in [Outcome::Connected, Outcome::Refused, Outcome::Unanswered] {
            let dialed = dialed.clone().fails(outcome);
            assert!(titles(&two(dialed.into())).is_empty(), "{outcome:?}");
        }
        assert!(titles(&two(dial(1300, "b@h/10.0.0.2/2", "a@h/10.0.0.1/1").into())).is_empty());
        // A dial between other hosts, or long before, is of no concern.
        let other = dial(1300, "a@h/10.0.0.3/1", "b@h/10.0.0.2/2");
        assert_eq!(titles(&two(other.into())).len(), 1);
        let before = dial(100, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").fails(Outcome::Refused);
        let steps = [before.into(), asks(A, 1000), asks(A, 1200)];
        assert_eq!(titles(&steps).len(), 1);
    }

    /// A look-up of `b`, from `request` to `reply` in milliseconds.
    fn lookup(client: &str, server: &str, id: &str, (request, reply): (u64, u64)) -> Step {
        let at = (request, request as f64 / 1000.0);
        let tag = EpmdTag::PORT_PLEASE2_REQ;
        epmd((client, server, id), at, tag, "b", EpmdOutcome::Answered, |it| {
            it.seen.reply = Some(crate::judge::samples::mark(reply));
            it.response = Some(EpmdTag::PORT2_RESP);
        })
    }

    #[test]
    fn a_proxy_that_passes_on_a_look_up_does_not_dial() {
        let dialed = || {
            let dialed = dial(1100, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2");
            Step::from(dialed.fails(Outcome::Refused))
        };
        let both = |id: u64| {
            let (inner, outer) = (format!("inner{id}"), format!("outer{id}"));
            let at = id * 1000;
            [
                lookup("10.0.0.2", "10.0.0.3", &inner, (at + 5, at + 6)),
                lookup(A, "10.0.0.2", &outer, (at, at + 8)),
                dialed(),
            ]
        };
        let steps = [both(1), both(2)].concat();
        assert_eq!(titles(&steps), [] as [&str; 0]);
        // Without the question of another host, it is that host that asks and does not dial.
        let alone = [steps[0].clone(), steps[2].clone(), steps[3].clone(), steps[5].clone()];
        assert_eq!(titles(&alone).len(), 1);
    }

    #[test]
    fn look_ups_of_several_hosts_without_any_dial_are_those_of_a_filtered_capture() {
        let steps = [asks(A, 1000), asks(A, 1200), asks("10.0.0.3", 1300), asks("10.0.0.3", 1500)];
        assert!(titles(&steps).is_empty());
    }
}
