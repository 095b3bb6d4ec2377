//! A node that its port mapper has lost, and that talks on.
//!
//! Evidence: the connection that is the registration closes, nothing registers the name again, and the node
//! sends bytes on a connection to another node clearly later. The registration usually came over loopback
//! and the connection did not: that both are one node's rests on name, port, host and creation.
//! What it does not tell: why EPMD let go. A node that shuts down closes everything at once and is no case.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::epmd_common::{self, Mapper, REMEMBERED, Registration, Registrations};
use super::finding::{seconds, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::JudgedConnection;
use crate::judge::world::{World, alive_of};
use crate::limits::remember;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, MessageKind, Role, Settled};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// `beamscope explain registration-lost`.
const DOC: RuleDoc = RuleDoc {
    rule: "registration-lost",
    severity: Severity::Medium,
    summary: "EPMD lost a node that is still running",
    symptom: "the node runs, and `epmd -names` no longer lists it",
    meaning: "EPMD no longer has an entry for a node that runs: the connection between EPMD and \
              the node, which is the registration, was closed, and the node did not register \
              again. Existing connections continue, but new ones cannot find the node: lookups \
              say that it is not registered. From OTP 23.3 on, a node registers again within \
              about 2 s once EPMD runs; an older node never does until it is restarted.",
    evidence: "ALIVE2_REQ with a positive answer, FIN or RST on that connection, no registration \
               of the name after it, and bytes from that node on a distribution connection more \
               than 3 s later. That it is the same node is likely: it has the registered name \
               and, where it was dialed, the registered port; and its host is known to be \
               EPMD's, or its creation is the one that EPMD assigned.",
    lookalikes: "A node that shuts down closes both within a moment. A node that was killed \
                 while much of its data was not delivered yet: its kernel keeps sending it. A \
                 node of the same name on another host, where a whole cluster uses one name and \
                 one port; if only name and port identify the node, the finding is only \
                 possible.",
    log_lines: &[],
    remedy: &[
        "On its host, run `epmd -names`. If that fails, start EPMD: nodes from OTP 23.3 on \
         register again by themselves.",
        "If EPMD runs and does not list the node, which is then an older one: restart it, or \
         call erl_epmd:register_node/2 from its shell with its name (the part before the @) and \
         its port.",
        "Find out what ended EPMD (`epmd -kill`, `epmd -stop`, a restart of the service that had \
         started it, memory pressure), and run it as a service of its own.",
    ],
};

#[derive(Default)]
pub(super) struct RegistrationLost {
    known: Registrations,
    lost: VecDeque<Lost>,
    /// By input.
    machines: VecDeque<(u16, Machine)>,
}

/// A registration whose connection has closed.
#[derive(Debug)]
struct Lost {
    was: Registration,
    close: PacketRef,
    closed_by: Option<Role>,
    /// What is found, until no connection may turn out to be the next registration.
    pending: Option<Detection>,
}

/// What is known of the host on whose loopback an input was captured.
#[derive(Debug, Default)]
struct Machine {
    /// Addresses that every connection beside loopback has at one end: the host's own is among them,
    /// unless it has several and none is left. `None` while no such connection was seen.
    ends: Option<Vec<IpAddr>>,
    /// When the input last showed anything.
    until: Timestamp,
}

/// Whether the side of a session is on the host of a port mapper.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Host {
    Same,
    /// It has the one address that every connection of the input has at one end.
    Inferred,
    Unknown,
    Other,
}

impl Rule for RegistrationLost {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_fact(&mut self, settled: &Settled) {
        if let Some(machine) = self.machine_of(settled.shown_by_input()) {
            machine.on_connection(settled);
        }
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        _: &World,
        _: &mut Vec<Detection>,
    ) {
        self.on_request(settled, epmd);
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if session.is_settled() {
            for role in Role::BOTH {
                self.on_side(session, role, out);
            }
        }
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        out.extend(self.lost.drain(..).filter_map(|lost| lost.pending));
    }
}

impl RegistrationLost {
    fn on_request(&mut self, settled: &Settled, epmd: &EpmdObservation) {
        let was = self.known.on_epmd(settled, epmd);
        if let (Some(was), Some(close)) = (was, epmd.seen.close) {
            let closed_by = epmd.seen.closed_by;
            let lost = Lost { was, close, closed_by, pending: None };
            remember(&mut self.lost, lost, REMEMBERED);
            return;
        }
        let mapper = Mapper::of(settled);
        let registers = epmd.request == Some(EpmdTag::ALIVE2_REQ);
        let is_back = registers && epmd.outcome != EpmdOutcome::Unregistered
            || epmd.outcome == EpmdOutcome::Answered;
        self.lost.retain(|lost| {
            let same_place = lost.was.mapper == mapper;
            match &epmd.name {
                // Whoever registers the name, or finds it registered, shows that it is back.
                Some(name) => {
                    let same_place = same_place || Some(lost.was.port) == epmd.port;
                    !(is_back && same_place && lost.was.name == *name)
                }
                None => !(same_place && may_be_registration(epmd, lost.close.at)),
            }
        });
    }

    fn on_side(&mut self, session: &JudgedConnection, role: Role, out: &mut Vec<Detection>) {
        let Some((place, finding)) = self.still_talking(session, role) else { return };
        let Some(lost) = self.lost.get_mut(place) else { return };
        if session.at() > lost.close.at.after(ALL_TOLD) {
            out.push(finding);
        } else {
            lost.pending
                .get_or_insert_with(|| epmd_common::with_session_id(session.ids(), finding));
        }
    }

    /// Whether a side of a session is a node whose registration was lost well before it last spoke.
    fn still_talking(&self, session: &JudgedConnection, role: Role) -> Option<(usize, Detection)> {
        let node = session.name(role)?;
        let creation = session.seen.handshake.hello(role).and_then(|hello| hello.what.creation);
        let alive = alive_of(node)?;
        let last = session.seen.tcp.sides[role].last_bytes?;
        let began = session.seen.message(MessageKind::SendName)?.at;
        let left = session.seen.closed().filter(|_| session.seen.closed_by() == Some(role));
        let port = session.acceptor_end().port;
        let is_meant = |lost: &Lost| {
            let after = |at: Timestamp| at > lost.close.at.after(CLEARLY_LATER);
            lost.was.name.as_ref() == alive
                && (role == Role::Initiator || lost.was.port == port)
                && began <= lost.close.at
                && after(last)
                && left.is_none_or(|close| after(close.at))
                && after(self.shown_until(lost, session, last))
        };
        let mut meant = self.lost.iter().enumerate().filter(|(_, lost)| is_meant(lost));
        meant.find_map(|(place, lost)| {
            let host = self.host(lost, session, role);
            let creations = creation.zip(lost.was.creation);
            let creations = creations.filter(|(_, given)| *given > MAX_OLD_CREATION);
            let same_creation = creations.map(|(own, given)| own == given);
            let confidence = match (host, same_creation) {
                (Host::Other, _) | (Host::Inferred | Host::Unknown, Some(false)) => return None,
                (Host::Unknown, None) => Confidence::Possible,
                _ => Confidence::Likely,
            };
            Some((place, told(lost, session, role, node, last, confidence)))
        })
    }

    /// Until when the input that showed the loss would have shown a new registration, at least.
    fn shown_until(&self, lost: &Lost, session: &JudgedConnection, last: Timestamp) -> Timestamp {
        let input = lost.close.frame.input;
        let machine = self.machines.iter().find(|(known, _)| *known == input);
        let until = machine.map_or_else(Timestamp::default, |(_, machine)| machine.until);
        if session.settled.shown_by_input() == Some(input) { until.max(last) } else { until }
    }

    fn host(&self, lost: &Lost, session: &JudgedConnection, role: Role) -> Host {
        let (ip, peer) = (session.ip(role), session.ip(role.peer()));
        let Some(input) = lost.was.mapper.input else {
            return if lost.was.node == Some(ip) { Host::Same } else { Host::Other };
        };
        if session.settled.shown_by_input() != Some(input) {
            return Host::Unknown;
        }
        if ip.is_loopback() || ip == peer {
            return Host::Same;
        }
        let machine = self.machines.iter().find(|(known, _)| *known == input);
        match machine.and_then(|(_, machine)| machine.ends.as_deref()) {
            Some([own]) if *own == ip => Host::Inferred,
            Some([_]) => Host::Other,
            _ => Host::Unknown,
        }
    }

    fn machine_of(&mut self, input: Option<u16>) -> Option<&mut Machine> {
        let input = input?;
        if !self.machines.iter().any(|(known, _)| *known == input) {
            remember(&mut self.machines, (input, Machine::default()), REMEMBERED);
        }
        self.machines.iter_mut().find(|(known, _)| *known == input).map(|(_, machine)| machine)
    }
}

impl Machine {
    fn on_connection(&mut self, settled: &Settled) {
        let ids = &settled.connection;
        // Without a packet, the time is that of all inputs.
        if settled.frame.is_some() {
            self.until = self.until.max(settled.at);
        }
        let ends = [ids.src_ip, ids.dest_ip];
        if !ends.iter().any(IpAddr::is_loopback) {
            self.ends.get_or_insert_with(|| ends.to_vec()).retain(|ip| ends.contains(ip));
        }
    }
}

fn told(
    lost: &Lost,
    session: &JudgedConnection,
    role: Role,
    node: &Arc<str>,
    last: Timestamp,
    confidence: Confidence,
) -> Detection {
    let Lost { was, close, closed_by, .. } = lost;
    let Registration { name, port, mapper, .. } = was;
    let flowed = &session.seen.tcp.sides[role];
    let mapper = super::finding::address(mapper.end.ip, mapper.end.port);
    let talked = seconds(micros(last.since(close.at)));
    let end = match closed_by {
        Some(Role::Acceptor) => {
            "the port mapper closed it, as it does when it is ended or told to stop"
        }
        Some(Role::Initiator) => "the node closed it",
        None => "it was closed",
    };
    let is_sent_again = flowed.retransmitted_bytes > 0;
    let confidence = if is_sent_again { Confidence::Possible } else { confidence };
    let mut not_excluded = vec!["it registered again and the capture does not show it".to_owned()];
    if is_sent_again || session.seen.closed_by() == Some(role) {
        not_excluded
            .push("the node was gone, and its system still sent what it had left".to_owned());
    }
    if confidence == Confidence::Possible && !is_sent_again {
        not_excluded.push(format!("{node} is on another host, and has the name by chance"));
    }
    let peer = session.ip(role.peer());
    let of_registration =
        |evidence: Evidence| Evidence { session_id: Some(Arc::clone(&was.session_id)), ..evidence };
    let registered = Shows::Note(format!("\"{name}\" registered").into());
    let registered = shown(was.shown, Some(Role::Acceptor), registered);
    let gone = Shows::Closed("the registration's connection is closed".into());
    let gone = shown(Some(*close), *closed_by, gone);
    let hello = match role {
        Role::Initiator => {
            shown(session.seen.message(MessageKind::SendName), Some(role), MessageKind::SendName)
        }
        Role::Acceptor => {
            shown(session.seen.message(MessageKind::Challenge), Some(role), MessageKind::Challenge)
        }
    };
    Detection {
        confidence,
        title: format!("{node} is up and no longer registered at {mapper}"),
        explanation: format!(
            "The registration of \"{name}\" (port {port}) ended: {end}. {node} went on talking to {peer} for \
             {talked} at least, and nothing registered the name again in this capture. Until something does, \
             whoever looks the node up is told that there is none."
        ),
        remedy: vec![
            "On its host, run `epmd -names`; if that fails, start EPMD, and nodes from OTP 23.3 register \
             again within 2 s."
                .to_owned(),
            "A node older than that does not come back by itself: restart it, or call \
             erl_epmd:register_node/2 in its shell."
                .to_owned(),
        ],
        nodes: vec![Arc::clone(node)],
        parties: format!("{node},{mapper}"),
        evidence: [registered, gone]
            .into_iter()
            .flatten()
            .map(of_registration)
            .chain(hello)
            .collect(),
        not_excluded,
        ..Detection::new(&DOC)
    }
}

/// Whether a connection may be a registration after `lost`, the request of which was not seen.
fn may_be_registration(epmd: &EpmdObservation, lost: Timestamp) -> bool {
    epmd.request.is_none()
        && matches!(epmd.outcome, EpmdOutcome::Answered | EpmdOutcome::Incomplete)
        && !epmd.seen.is_mute
        && epmd.seen.syn.is_some_and(|syn| syn.at > lost)
}

/// A node that shuts down closes everything within a moment, and one from OTP 23.3 tries to register
/// again every 2 s.
const CLEARLY_LATER: Duration = Duration::from_secs(3);

/// When every connection that a node opened to register again has been told: one whose request was not
/// seen is, when it was quiet for 150 s ([`crate::limits::Limits::handshake_forget`]).
const ALL_TOLD: Duration = Duration::from_secs(180);

/// Old port mappers, and old nodes, know the creations 1 to 3: equal ones say nothing.
const MAX_OLD_CREATION: u32 = 3;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of our own")]
mod tests {
    use super::super::epmd_common::tests::{NODE, between, epmd, evidence, found, mark, seconds};
    use super::*;
    use crate::detect::tests::{Step, detected};
    use crate::judge::samples::dial;
    use crate::judge::world::HomeNets;
    use crate::observe::{Hello, Occasion};
    use crate::packet::FrameRef;

    const LAN: (&str, &str) = ("10.0.0.1", "10.0.0.2");
    const CREATION: u32 = 1_795_361_392;

    fn registers(at: f64, id: &str) -> Step {
        let frame = (at * 10.0) as u64 + 2;
        epmd(
            (NODE, NODE, id),
            (frame, at),
            EpmdTag::ALIVE2_REQ,
            "b",
            EpmdOutcome::Answered,
            |epmd| {
                epmd.creation = Some(CREATION);
            },
        )
    }

    fn unregisters(at: f64, id: &str, by: Role) -> Step {
        let frame = (at * 10.0) as u64 + 2;
        epmd(
            (NODE, NODE, id),
            (frame, at),
            EpmdTag::ALIVE2_REQ,
            "b",
            EpmdOutcome::Unregistered,
            |epmd| {
                epmd.seen.close = Some(mark(frame, at));
                epmd.seen.closed_by = Some(by);
            },
        )
    }

    /// A connection between a node at LAN.0 and b@h at LAN.1 since second 3, on which b last sent bytes at `last`;
    /// observed at `last` as still open.
    fn session(last: f64, change: impl FnOnce(&mut JudgedConnection)) -> Step {
        let to = format!("b@h/{}/{CREATION}", LAN.1);
        let mut it = dial(0, &format!("a@g/{}/{CREATION}", LAN.0), &to).judged();
        let seen = &mut it.seen;
        (seen.occasion, seen.at) = (Occasion::End, seconds(last));
        seen.handshake.send_name.as_mut().unwrap().mark = mark(31, 3.0);
        seen.handshake.challenge.as_mut().unwrap().mark = mark(32, 3.0);
        seen.tcp.sides.initiator.last_bytes = Some(seconds(last));
        seen.tcp.sides.acceptor.last_bytes = Some(seconds(last));
        let mut ids = (*between(LAN.0, LAN.1, "s")).clone();
        ids.dest_port = 9100;
        it.settled =
            Settled { at: seconds(last), frame: None, input: Some(0), connection: Arc::new(ids) };
        change(&mut it);
        Step::Session(it)
    }

    /// The acceptor's hello.
    fn challenge(it: &mut JudgedConnection) -> &mut Hello {
        &mut it.seen.handshake.challenge.as_mut().unwrap().what
    }

    fn story(last: f64, change: impl FnOnce(&mut JudgedConnection)) -> Vec<Step> {
        let lost = unregisters(5.0, "1", Role::Acceptor);
        vec![registers(1.0, "1"), lost, session(last, change)]
    }

    #[test]
    fn a_node_that_talks_on_is_lost_to_its_port_mapper() {
        let found = found::<RegistrationLost>(&story(9.0, |_| ()));
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.parties, "b@h,127.0.0.1:4369");
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!(finding.explanation.contains("for 4.0 s at least"), "{}", finding.explanation);
        let shown = evidence(finding);
        assert_eq!(shown[0], (12, "\"b\" registered"));
        assert_eq!(
            shown[1..],
            [(52, "the registration's connection is closed"), (32, "challenge")]
        );
        assert_eq!(finding.evidence[1].session_id.as_deref(), Some("1"));
        assert_eq!(finding.evidence[2].session_id.as_deref(), Some("s"));
    }

    #[test]
    fn a_node_that_shuts_down_is_not() {
        assert!(found::<RegistrationLost>(&story(8.0, |_| ())).is_empty());
        // Its system sends again what was not acknowledged, for long.
        let killed = story(60.0, |session| {
            session.close(Role::Acceptor, mark(60, 5.0));
        });
        assert!(found::<RegistrationLost>(&killed).is_empty());
        let resent =
            story(60.0, |session| session.seen.tcp.sides.acceptor.retransmitted_bytes = 90);
        assert_eq!(found::<RegistrationLost>(&resent)[0].confidence, Confidence::Possible);
    }

    #[test]
    fn a_node_that_is_back_is_not() {
        let talks = || session(60.0, |_| ());
        let gone = || unregisters(5.0, "1", Role::Acceptor);
        let asked = epmd(
            ("10.0.0.1", "10.0.0.2", "q"),
            (80, 8.0),
            EpmdTag::PORT_PLEASE2_REQ,
            "b",
            EpmdOutcome::Answered,
            |_| (),
        );
        for events in [
            [registers(1.0, "1"), gone(), registers(7.0, "2"), talks()],
            // The close is told late.
            [registers(1.0, "1"), registers(5.5, "2"), gone(), talks()],
            [registers(1.0, "1"), gone(), asked, talks()],
        ] {
            assert!(found::<RegistrationLost>(&events).is_empty());
        }
    }

    #[test]
    fn a_connection_that_may_be_its_next_registration_keeps_silent() {
        let told = |change: fn(&mut EpmdObservation)| {
            let mut events = story(60.0, |_| ());
            let outcome = EpmdOutcome::Incomplete;
            events.push(epmd(
                (NODE, NODE, "2"),
                (80, 7.0),
                EpmdTag::ALIVE2_REQ,
                "",
                outcome,
                |epmd| {
                    (epmd.request, epmd.name) = (None, None);
                    epmd.seen.syn = Some(mark(79, 7.0));
                    change(epmd);
                },
            ));
            found::<RegistrationLost>(&events).len()
        };
        assert_eq!(told(|_| ()), 0);
        assert_eq!(
            told(|epmd| epmd.outcome = EpmdOutcome::Answered),
            0,
            "only the answer was seen"
        );
        assert_eq!(told(|epmd| epmd.seen.is_mute = true), 1, "a probe");
        assert_eq!(told(|epmd| epmd.seen.syn = None), 1, "older");
        assert_eq!(told(|epmd| epmd.outcome = EpmdOutcome::ConnectionRefused), 1);
    }

    #[test]
    fn what_can_no_more_be_refuted_is_told_at_once() {
        let told = |last| {
            let mut rule = RegistrationLost::default();
            detected(&mut rule, HomeNets::default(), &story(last, |_| ())).len()
        };
        assert_eq!((told(60.0), told(600.0)), (0, 1));
    }

    #[test]
    fn another_node_is_not() {
        let changes: [fn(&mut JudgedConnection); 5] = [
            |session| challenge(session).name = "c@h".into(),
            |session| session.forget_name(Role::Acceptor),
            |session| challenge(session).creation = Some(CREATION + 1),
            |session| session.seen.ends.acceptor.port = 9101,
            // A later incarnation.
            |session| {
                session.seen.handshake.send_name.as_mut().unwrap().mark = mark(70, 7.0);
            },
        ];
        for change in changes {
            assert!(found::<RegistrationLost>(&story(60.0, change)).is_empty());
        }
    }

    #[test]
    fn name_and_port_alone_make_it_possible() {
        let found = found::<RegistrationLost>(&story(9.0, |it| challenge(it).creation = None));
        assert_eq!(found[0].confidence, Confidence::Possible);
        assert!(found[0].not_excluded.iter().any(|reading| reading.contains("another host")));
    }

    #[test]
    fn the_host_that_all_connections_share_settles_whose_it_is() {
        let lookup = |src, dest| {
            let outcome = EpmdOutcome::NotRegistered;
            epmd((src, dest, "q"), (40, 4.0), EpmdTag::PORT_PLEASE2_REQ, "x", outcome, |_| ())
        };
        let old_node = |session: &mut JudgedConnection| challenge(session).creation = None;
        let with = |other| {
            let mut events = story(9.0, old_node);
            events.insert(0, other);
            found::<RegistrationLost>(&events)
        };
        assert_eq!(with(lookup("10.0.0.7", LAN.1))[0].confidence, Confidence::Likely);
        assert!(with(lookup("10.0.0.7", LAN.0)).is_empty());
        let unknown = with(lookup("10.0.0.7", "10.0.0.8"));
        assert_eq!(unknown[0].confidence, Confidence::Possible);
    }

    #[test]
    fn an_initiator_is_known_by_its_name() {
        let dials = |session: &mut JudgedConnection| {
            challenge(session).name = "a@g".into();
            session.seen.handshake.send_name.as_mut().unwrap().what.name = "b@h".into();
        };
        let found = found::<RegistrationLost>(&story(9.0, dials));
        assert_eq!(evidence(&found[0])[2], (31, "send_name"));
    }

    #[test]
    fn a_registration_over_the_network_names_its_host() {
        let over = |ip| {
            let registers = registers(1.0, "1");
            let lost = unregisters(5.0, "1", Role::Acceptor);
            let moved = |mut step: Step| {
                step.settled().connection = between(ip, ip, "1");
                step
            };
            let old_node = |session: &mut JudgedConnection| challenge(session).creation = None;
            let events = [moved(registers), moved(lost), session(9.0, old_node)];
            found::<RegistrationLost>(&events)
        };
        assert_eq!(over(LAN.1)[0].confidence, Confidence::Likely);
        assert!(over("10.0.0.7").is_empty());
    }

    #[test]
    fn an_input_that_ends_early_shows_no_loss() {
        let mut events = story(9.0, |_| ());
        let elsewhere = |step: &mut Step| step.settled().input = Some(1);
        events.last_mut().into_iter().for_each(elsewhere);
        assert!(found::<RegistrationLost>(&events).is_empty());
        // It goes on, and shows something of another node.
        let outcome = EpmdOutcome::Answered;
        let ends = (NODE, NODE, "9");
        let mut later = epmd(ends, (90, 8.5), EpmdTag::ALIVE2_REQ, "x", outcome, |_| ());
        assert_eq!(later.settled().frame, Some(FrameRef { input: 0, number: 90 }));
        events.insert(2, later);
        assert_eq!(found::<RegistrationLost>(&events)[0].confidence, Confidence::Likely);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rule = RegistrationLost::default();
        for number in 0..REMEMBERED + 10 {
            let id = number.to_string();
            for step in [registers(1.0, &id), unregisters(2.0, &id, Role::Initiator)] {
                let Step::Epmd(settled, epmd) = step else { panic!("no request") };
                let name = Some(Arc::from(id.as_str()));
                rule.on_request(&settled, &EpmdObservation { name, ..*epmd });
            }
        }
        assert_eq!(rule.lost.len(), REMEMBERED);
    }
}
