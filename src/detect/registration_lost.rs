//! A node that still runs after EPMD lost its registration.
//!
//! Evidence: the connection that is the registration closes, the name is not registered again, and more than 3 s later
//! the node still sends bytes on a connection to another node. The registration was usually made over loopback and the
//! other connection was not: name, port, host and creation show that both are of the same node. The evidence does not
//! show why the registration ended. A node that shuts down closes everything at once and is not reported.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::epmd_common::{self, KnownRegistration, Mapper, REMEMBERED, Registrations};
use super::finding::{seconds, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::JudgedConnection;
use crate::judge::world::{World, alive_of};
use crate::limits::remember;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, MessageKind, Role, Settled};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `registration-lost`.
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
    lost: VecDeque<LostRegistration>,
    /// The hosts on which the inputs were captured, by input.
    hosts: VecDeque<(u16, CaptureHost)>,
}

/// A registration whose connection has closed.
#[derive(Debug)]
struct LostRegistration {
    registration: KnownRegistration,
    /// The input that represents the host whose EPMD it is.
    host: Option<u16>,
    close: PacketRef,
    closed_by: Option<Role>,
    /// The detection, until no connection can turn out to be the next registration.
    pending: Option<Detection>,
}

/// The host on whose loopback interface an input was captured.
#[derive(Debug, Default)]
struct CaptureHost {
    /// Addresses that are an end of every connection outside of loopback. One of them is the host's own, or none if the
    /// host has several. `None` before the first such connection.
    ends: Option<Vec<IpAddr>>,
    /// Time of the last packet of the input that settled a fact.
    until: Timestamp,
}

/// Whether a side of a session is on the host of EPMD.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HostMatch {
    Same,
    /// The side has the only address that is an end of every connection of the input.
    Inferred,
    Unknown,
    Other,
}

impl Rule for RegistrationLost {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_fact(&mut self, settled: &Settled) {
        if let Some(host) = self.capture_host(settled.host()) {
            host.on_connection(settled);
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
        let registration = self.known.on_epmd(settled, epmd);
        if let (Some(registration), Some(close)) = (registration, epmd.seen.close) {
            let closed_by = epmd.seen.closed_by;
            let host = settled.host();
            let lost = LostRegistration { registration, host, close, closed_by, pending: None };
            remember(&mut self.lost, lost, REMEMBERED);
            return;
        }
        let mapper = Mapper::of(settled);
        let registers = epmd.request == Some(EpmdTag::ALIVE2_REQ);
        let is_back = registers && epmd.outcome != EpmdOutcome::Unregistered
            || epmd.outcome == EpmdOutcome::Answered;
        self.lost.retain(|lost| {
            let same_epmd = lost.registration.mapper == mapper;
            match &epmd.name {
                // A new registration of the name, or a successful look-up, shows that the node is registered again.
                Some(name) => {
                    let same_node = same_epmd || Some(lost.registration.port) == epmd.port;
                    !(is_back && same_node && lost.registration.name == *name)
                }
                None => !(same_epmd && may_be_registration(epmd, lost.close.at)),
            }
        });
    }

    fn on_side(&mut self, session: &JudgedConnection, role: Role, out: &mut Vec<Detection>) {
        let Some((place, finding)) = self.still_sending(session, role) else { return };
        let Some(lost) = self.lost.get_mut(place) else { return };
        if session.at() > lost.close.at.after(ALL_OBSERVED) {
            out.push(finding);
        } else {
            lost.pending
                .get_or_insert_with(|| epmd_common::with_session_id(session.ids(), finding));
        }
    }

    /// The detection, with its place in `lost`, if a side of a session is a node that sent bytes clearly after its
    /// registration was lost.
    fn still_sending(&self, session: &JudgedConnection, role: Role) -> Option<(usize, Detection)> {
        let node = session.name(role)?;
        let creation = session.seen.handshake.hello(role).and_then(|hello| hello.what.creation);
        let alive = alive_of(node)?;
        let last = session.seen.tcp.sides[role].last_bytes?;
        let began = session.seen.message(MessageKind::SendName)?.at;
        let closed = session.seen.closed().filter(|_| session.seen.closed_by() == Some(role));
        let port = session.acceptor_end().port;
        let is_same_node = |lost: &LostRegistration| {
            let after = |at: Timestamp| at > lost.close.at.after(CLEARLY_LATER);
            lost.registration.name.as_ref() == alive
                && (role == Role::Initiator || lost.registration.port == port)
                && began <= lost.close.at
                && after(last)
                && closed.is_none_or(|close| after(close.at))
                && after(self.shown_until(lost, session, last))
        };
        let mut candidates = self.lost.iter().enumerate().filter(|(_, lost)| is_same_node(lost));
        candidates.find_map(|(place, lost)| {
            let host = self.host_match(lost, session, role);
            let creations = creation.zip(lost.registration.creation);
            let creations = creations.filter(|(_, assigned)| *assigned > MAX_OLD_CREATION);
            let same_creation = creations.map(|(own, assigned)| own == assigned);
            let confidence = match (host, same_creation) {
                (HostMatch::Other, _) | (HostMatch::Inferred | HostMatch::Unknown, Some(false)) => {
                    return None;
                }
                (HostMatch::Unknown, None) => Confidence::Possible,
                _ => Confidence::Likely,
            };
            Some((place, detection(lost, session, role, node, last, confidence)))
        })
    }

    /// Time up to which the input with the lost registration would have shown a new one.
    fn shown_until(
        &self,
        lost: &LostRegistration,
        session: &JudgedConnection,
        last: Timestamp,
    ) -> Timestamp {
        let host = self.hosts.iter().find(|(known, _)| Some(*known) == lost.host);
        let until = host.map_or_else(Timestamp::default, |(_, host)| host.until);
        if session.settled.host() == lost.host { until.max(last) } else { until }
    }

    fn host_match(
        &self,
        lost: &LostRegistration,
        session: &JudgedConnection,
        role: Role,
    ) -> HostMatch {
        let (ip, peer) = (session.ip(role), session.ip(role.peer()));
        let Some(input) = lost.registration.mapper.input else {
            return if lost.registration.node == Some(ip) {
                HostMatch::Same
            } else {
                HostMatch::Other
            };
        };
        if session.settled.host() != Some(input) {
            return HostMatch::Unknown;
        }
        if ip.is_loopback() || ip == peer {
            return HostMatch::Same;
        }
        let host = self.hosts.iter().find(|(known, _)| *known == input);
        match host.and_then(|(_, host)| host.ends.as_deref()) {
            Some([own]) if *own == ip => HostMatch::Inferred,
            Some([_]) => HostMatch::Other,
            _ => HostMatch::Unknown,
        }
    }

    fn capture_host(&mut self, input: Option<u16>) -> Option<&mut CaptureHost> {
        let input = input?;
        if !self.hosts.iter().any(|(known, _)| *known == input) {
            remember(&mut self.hosts, (input, CaptureHost::default()), REMEMBERED);
        }
        self.hosts.iter_mut().find(|(known, _)| *known == input).map(|(_, host)| host)
    }
}

impl CaptureHost {
    fn on_connection(&mut self, settled: &Settled) {
        let ids = &settled.connection;
        // The time of a fact without a packet is that of all inputs, not of this one.
        if settled.frame.is_some() {
            self.until = self.until.max(settled.at);
        }
        let ends = [ids.src_ip, ids.dest_ip];
        if !ends.iter().any(IpAddr::is_loopback) {
            self.ends.get_or_insert_with(|| ends.to_vec()).retain(|ip| ends.contains(ip));
        }
    }
}

fn detection(
    lost: &LostRegistration,
    session: &JudgedConnection,
    role: Role,
    node: &Arc<str>,
    last: Timestamp,
    confidence: Confidence,
) -> Detection {
    let LostRegistration { registration, close, closed_by, .. } = lost;
    let KnownRegistration { name, port, mapper, .. } = registration;
    let sent = &session.seen.tcp.sides[role];
    let mapper = super::finding::address(mapper.end.ip, mapper.end.port);
    let sent_for = seconds(micros(last.since(close.at)));
    let end = match closed_by {
        Some(Role::Acceptor) => "EPMD closed it, as it does when it is stopped or is asked to stop",
        Some(Role::Initiator) => "the node closed it",
        None => "it was closed",
    };
    let is_retransmitted = sent.retransmitted_bytes > 0;
    let confidence = if is_retransmitted { Confidence::Possible } else { confidence };
    let mut not_excluded = vec!["it registered again, and the capture does not show it".to_owned()];
    if is_retransmitted || session.seen.closed_by() == Some(role) {
        not_excluded.push(
            "the node had ended, and its kernel still sent the data that it had left".to_owned(),
        );
    }
    if confidence == Confidence::Possible && !is_retransmitted {
        not_excluded.push(format!("{node} is a node of the same name on another host"));
    }
    let peer = session.ip(role.peer());
    let of_registration = |evidence: Evidence| Evidence {
        session_id: Some(Arc::clone(&registration.session_id)),
        ..evidence
    };
    let registered = Shows::Note(format!("\"{name}\" registered").into());
    let registered = shown(registration.shown, Some(Role::Acceptor), registered);
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
        title: format!("{node} is running, but no longer registered at {mapper}"),
        explanation: format!(
            "The registration of \"{name}\" (port {port}) ended: {end}. {node} still sent data to {peer} for \
             at least {sent_for}, and this capture shows no new registration of the name. Until there is one, \
             EPMD answers every look-up of the node with \"not registered\"."
        ),
        remedy: vec![
            "On its host, run `epmd -names`. If that fails, start EPMD: nodes from OTP 23.3 on register \
             again within 2 s."
                .to_owned(),
            "A node older than that does not register again by itself: restart it, or call \
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

/// Whether a connection opened after `lost` may be a registration whose request was not seen.
fn may_be_registration(epmd: &EpmdObservation, lost: Timestamp) -> bool {
    epmd.request.is_none()
        && matches!(epmd.outcome, EpmdOutcome::Answered | EpmdOutcome::Incomplete)
        && !epmd.seen.is_mute
        && epmd.seen.syn.is_some_and(|syn| syn.at > lost)
}

/// A node that shuts down closes everything within a moment, and one from OTP 23.3 tries to register
/// again every 2 s.
const CLEARLY_LATER: Duration = Duration::from_secs(3);

/// Time after which every connection that a node opened to register again has been observed. One whose request was not
/// seen is observed after 150 s without packets ([`crate::limits::Limits::handshake_forget`]).
const ALL_OBSERVED: Duration = Duration::from_secs(180);

/// Old releases of EPMD and of nodes use the creations 1 to 3 only, so equal ones prove nothing.
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
        it.settled = Settled {
            at: seconds(last),
            frame: None,
            input: Some(0),
            host_input: None,
            connection: Arc::new(ids),
        };
        change(&mut it);
        it.into()
    }

    /// The hello of the acceptor.
    fn challenge(it: &mut JudgedConnection) -> &mut Hello {
        &mut it.seen.handshake.challenge.as_mut().unwrap().what
    }

    fn story(last: f64, change: impl FnOnce(&mut JudgedConnection)) -> Vec<Step> {
        let lost = unregisters(5.0, "1", Role::Acceptor);
        vec![registers(1.0, "1"), lost, session(last, change)]
    }

    #[test]
    fn a_node_that_still_sends_after_its_registration_ended_is_reported() {
        let found = found::<RegistrationLost>(&story(9.0, |_| ()));
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.parties, "b@h,127.0.0.1:4369");
        assert_eq!(finding.confidence, Confidence::Likely);
        assert!(finding.explanation.contains("for at least 4.0 s"), "{}", finding.explanation);
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
    fn a_node_that_shuts_down_is_not_reported() {
        assert!(found::<RegistrationLost>(&story(8.0, |_| ())).is_empty());
        // Its kernel retransmits unacknowledged data for a long time.
        let killed = story(60.0, |session| {
            session.close(Role::Acceptor, mark(60, 5.0));
        });
        assert!(found::<RegistrationLost>(&killed).is_empty());
        let resent =
            story(60.0, |session| session.seen.tcp.sides.acceptor.retransmitted_bytes = 90);
        assert_eq!(found::<RegistrationLost>(&resent)[0].confidence, Confidence::Possible);
    }

    #[test]
    fn a_node_that_is_registered_again_is_not_reported() {
        let still_sends = || session(60.0, |_| ());
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
            [registers(1.0, "1"), gone(), registers(7.0, "2"), still_sends()],
            // The close is observed late.
            [registers(1.0, "1"), registers(5.5, "2"), gone(), still_sends()],
            [registers(1.0, "1"), gone(), asked, still_sends()],
        ] {
            assert!(found::<RegistrationLost>(&events).is_empty());
        }
    }

    #[test]
    fn a_connection_that_may_be_the_next_registration_prevents_a_finding() {
        let count = |change: fn(&mut EpmdObservation)| {
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
        assert_eq!(count(|_| ()), 0);
        assert_eq!(
            count(|epmd| epmd.outcome = EpmdOutcome::Answered),
            0,
            "only the answer was seen"
        );
        assert_eq!(count(|epmd| epmd.seen.is_mute = true), 1, "a probe");
        assert_eq!(count(|epmd| epmd.seen.syn = None), 1, "older");
        assert_eq!(count(|epmd| epmd.outcome = EpmdOutcome::ConnectionRefused), 1);
    }

    #[test]
    fn a_loss_that_no_registration_can_refute_is_reported_at_once() {
        let count = |last| {
            let mut rule = RegistrationLost::default();
            detected(&mut rule, HomeNets::default(), &story(last, |_| ())).len()
        };
        assert_eq!((count(60.0), count(600.0)), (0, 1));
    }

    #[test]
    fn another_node_is_not_reported() {
        let changes: [fn(&mut JudgedConnection); 5] = [
            |session| challenge(session).name = "c@h".into(),
            |session| session.forget_name(Role::Acceptor),
            |session| challenge(session).creation = Some(CREATION + 1),
            |session| session.seen.ends.acceptor.port = 9101,
            // The connection began after the loss: it is of a later incarnation.
            |session| {
                session.seen.handshake.send_name.as_mut().unwrap().mark = mark(70, 7.0);
            },
        ];
        for change in changes {
            assert!(found::<RegistrationLost>(&story(60.0, change)).is_empty());
        }
    }

    #[test]
    fn name_and_port_without_more_give_a_possible_finding() {
        let found = found::<RegistrationLost>(&story(9.0, |it| challenge(it).creation = None));
        assert_eq!(found[0].confidence, Confidence::Possible);
        assert!(found[0].not_excluded.iter().any(|reading| reading.contains("another host")));
    }

    #[test]
    fn the_common_address_of_all_connections_shows_the_host() {
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
    fn an_initiator_is_identified_by_its_name() {
        let dials = |session: &mut JudgedConnection| {
            challenge(session).name = "a@g".into();
            session.seen.handshake.send_name.as_mut().unwrap().what.name = "b@h".into();
        };
        let found = found::<RegistrationLost>(&story(9.0, dials));
        assert_eq!(evidence(&found[0])[2], (31, "send_name"));
    }

    #[test]
    fn a_registration_over_the_network_shows_its_host() {
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
        // The input continues, with a fact about another node.
        let outcome = EpmdOutcome::Answered;
        let ends = (NODE, NODE, "9");
        let mut later = epmd(ends, (90, 8.5), EpmdTag::ALIVE2_REQ, "x", outcome, |_| ());
        assert_eq!(later.settled().frame, Some(FrameRef { input: 0, number: 90 }));
        events.insert(2, later);
        assert_eq!(found::<RegistrationLost>(&events)[0].confidence, Confidence::Likely);
    }

    #[test]
    fn lost_registrations_have_a_bound() {
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
