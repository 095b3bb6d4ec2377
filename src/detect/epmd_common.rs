//! Parts that the rules about EPMD share: addresses, pending findings, and known registrations.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::finding::address;
use super::{Detection, EndedBy, Ending};
use crate::decode::Endpoint;
use crate::limits::remember;
use crate::observe::{ConnectionIds, EpmdObservation, EpmdOutcome, EpmdTag, Settled};
use crate::packet::PacketRef;
use crate::time::{Timestamp, micros};

/// Address and port of the EPMD that was asked.
pub(super) fn server_address(ids: &ConnectionIds) -> String {
    address(ids.dest_ip, ids.dest_port)
}

/// The command that lists the names of the EPMD on this port of the own host.
pub(super) fn names_command(port: u16) -> String {
    if port == REGISTERED_PORT {
        "epmd -names".to_owned()
    } else {
        format!("epmd -port {port} -names")
    }
}

/// The port of EPMD (IANA), unless `ERL_EPMD_PORT` is set.
const REGISTERED_PORT: u16 = 4369;

/// Whether EPMD treats the client as a process of its own host. It has done so since R14 for clients with a
/// loopback address, and for clients with the address that they connected to.
pub(super) fn is_local(ids: &ConnectionIds) -> bool {
    ids.src_ip.is_loopback() || ids.src_ip == ids.dest_ip
}

/// What is wrong with the name in a request, if EPMD closes the connection without a reply because of it.
pub(super) fn unanswerable(epmd: &EpmdObservation) -> Option<&'static str> {
    let name = epmd.name.as_deref()?;
    if name.is_empty() {
        return Some("is empty");
    }
    if name.contains('\0') {
        return Some("contains a zero byte");
    }
    let is_lookup = epmd.request == Some(EpmdTag::PORT_PLEASE2_REQ);
    if is_lookup && epmd.name_hex.is_some() {
        Some("is not UTF-8")
    } else if is_lookup && name.chars().count() >= 255 {
        Some("has 255 characters or more")
    } else {
        None
    }
}

/// A problem with a registration is over when a node registers the name.
pub(super) fn registers(settled: &Settled, epmd: &EpmdObservation) -> EndedBy {
    let name = epmd.name.iter();
    EndedBy::Any(name.map(|name| Ending::registers(settled, name)).collect())
}

/// Microseconds from the request to the first FIN or RST.
pub(super) fn waited_us(epmd: &EpmdObservation) -> Option<u64> {
    Some(micros(epmd.seen.close?.at.since(epmd.seen.request?.at)))
}

/// The identity of one EPMD. A loopback address means another host in each input, so it includes the input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mapper {
    pub(super) end: Endpoint,
    pub(super) input: Option<u16>,
}

impl Mapper {
    pub(super) fn of(settled: &Settled) -> Self {
        let ids = &settled.connection;
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        Self { end, input: settled.host().filter(|_| end.ip.is_loopback()) }
    }
}

/// A name that is registered with EPMD.
#[derive(Clone, Debug)]
pub(super) struct KnownRegistration {
    pub(super) mapper: Mapper,
    pub(super) name: Arc<str>,
    pub(super) port: u16,
    /// Address of the node that registered; `None` if the name is only known from an answer of EPMD.
    pub(super) node: Option<IpAddr>,
    pub(super) creation: Option<u32>,
    /// Session ID of the connection that shows the registration.
    pub(super) session_id: Arc<str>,
    /// Packet that shows the registration.
    pub(super) shown: Option<PacketRef>,
    pub(super) at: Timestamp,
}

/// The last names that each EPMD had, as far as its answers show; at most [`REMEMBERED`].
#[derive(Debug, Default)]
pub(super) struct Registrations(VecDeque<KnownRegistration>);

impl Registrations {
    /// The known registration of a name.
    pub(super) fn holder(&self, mapper: Mapper, name: &str) -> Option<&KnownRegistration> {
        self.0.iter().find(|known| known.mapper == mapper && known.name.as_ref() == name)
    }

    /// The registration of a name with this port over a loopback address, as `input` shows it.
    pub(super) fn on_loopback(
        &self,
        name: &str,
        port: u16,
        input: Option<u16>,
    ) -> Option<&KnownRegistration> {
        self.0.iter().find(|known| {
            known.node.is_some_and(|node| node.is_loopback())
                && (known.name.as_ref(), known.port) == (name, port)
                && known.mapper.input == input
        })
    }

    /// Records an answer of EPMD. Returns the registration that ended, if its connection closed.
    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
    ) -> Option<KnownRegistration> {
        let (mapper, ids) = (Mapper::of(settled), &settled.connection);
        let name = epmd.name.as_ref()?;
        if epmd.outcome == EpmdOutcome::Unregistered {
            return self.take(mapper, name, &ids.session_id);
        }
        if epmd.outcome != EpmdOutcome::Answered {
            return None;
        }
        let registers = epmd.request == Some(EpmdTag::ALIVE2_REQ);
        let new = KnownRegistration {
            mapper,
            name: Arc::clone(name),
            port: epmd.port?,
            node: registers.then_some(ids.src_ip),
            creation: epmd.creation,
            session_id: Arc::clone(&ids.session_id),
            shown: epmd.seen.reply,
            at: settled.at,
        };
        let of_name = |known: &KnownRegistration| known.mapper == mapper && known.name == *name;
        if let Some(known) = self.0.iter_mut().find(|known| of_name(known)) {
            // An answer to a lookup has fewer details than the registration itself.
            if registers || known.port != new.port {
                *known = new;
            }
            return None;
        }
        remember(&mut self.0, new, REMEMBERED);
        None
    }

    /// Removes the registration whose connection closed. The close can be reported after the next registration
    /// of the same name, which is then kept.
    fn take(&mut self, mapper: Mapper, name: &str, session_id: &str) -> Option<KnownRegistration> {
        let is_ended = |known: &KnownRegistration| {
            known.mapper == mapper
                && known.name.as_ref() == name
                && (known.node.is_none() || known.session_id.as_ref() == session_id)
        };
        let place = self.0.iter().position(is_ended)?;
        self.0.remove(place).filter(|known| known.node.is_some())
    }
}

/// Findings about requests whose answer may still come. They are reported at the end of the run unless it came.
#[derive(Default)]
pub(super) struct Pending(VecDeque<(Arc<str>, Detection)>);

impl Pending {
    /// Reports a finding about a request, or keeps it pending while the request has no outcome.
    pub(super) fn report(
        &mut self,
        ids: &ConnectionIds,
        outcome: EpmdOutcome,
        finding: Detection,
        out: &mut Vec<Detection>,
    ) {
        self.0.retain(|(session_id, _)| *session_id != ids.session_id);
        if outcome == EpmdOutcome::Incomplete {
            let pending = (Arc::clone(&ids.session_id), with_session_id(ids, finding));
            remember(&mut self.0, pending, REMEMBERED);
        } else {
            out.push(finding);
        }
    }

    /// Reports all pending findings at the end of the run.
    pub(super) fn release(&mut self, out: &mut Vec<Detection>) {
        out.extend(self.0.drain(..).map(|(_, finding)| finding));
    }
}

/// Adds the session ID to the evidence of a finding that is reported later than its connection.
pub(super) fn with_session_id(ids: &ConnectionIds, mut finding: Detection) -> Detection {
    for evidence in &mut finding.evidence {
        evidence.session_id.get_or_insert_with(|| Arc::clone(&ids.session_id));
    }
    finding
}

/// Maximum of names kept: EPMD has at most 1,024 connections.
pub(super) const REMEMBERED: usize = 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of our own")]
pub(super) mod tests {
    use super::*;
    use crate::detect::Rule;
    use crate::detect::tests::{Step, detected};
    use crate::judge::world::{HomeNets, World};
    use crate::limits::Limits;
    use crate::observe::{EpmdPackets, Role, TransportProtocol};
    use crate::packet::FrameRef;

    pub(crate) const NODE: &str = "127.0.0.1";

    pub(crate) fn seconds(at: f64) -> Timestamp {
        Timestamp((at * 1e9) as _)
    }

    pub(crate) fn mark(number: u64, at: f64) -> PacketRef {
        PacketRef { frame: FrameRef { input: 0, number }, at: seconds(at) }
    }

    /// A connection from one address to EPMD at another.
    pub(crate) fn between(src: &str, dest: &str, session_id: &str) -> Arc<ConnectionIds> {
        Arc::new(ConnectionIds {
            session_id: session_id.into(),
            community_id: "1:".into(),
            src_ip: src.parse().unwrap(),
            src_port: 40_000,
            dest_ip: dest.parse().unwrap(),
            dest_port: 4369,
            proto: TransportProtocol::Tcp,
            encap: Vec::new(),
        })
    }

    /// A request and its outcome, complete in the capture and settled at `at` by packet `frame`.
    pub(crate) fn epmd(
        (src, dest, session_id): (&str, &str, &str),
        (frame, at): (u64, f64),
        request: EpmdTag,
        name: &str,
        outcome: EpmdOutcome,
        change: impl FnOnce(&mut EpmdObservation),
    ) -> Step {
        let is_nameless =
            matches!(request, EpmdTag::NAMES_REQ | EpmdTag::DUMP_REQ | EpmdTag::KILL_REQ);
        let mut epmd = EpmdObservation {
            request: Some(request),
            name: (!is_nameless).then(|| name.into()),
            outcome,
            port: Some(9100),
            seen: EpmdPackets {
                request: Some(mark(frame - 1, at)),
                reply: Some(mark(frame, at)),
                is_whole: true,
                is_acknowledged: true,
                ..EpmdPackets::default()
            },
            ..EpmdObservation::default()
        };
        change(&mut epmd);
        let settled = Settled {
            at: seconds(at),
            frame: Some(mark(frame, at).frame),
            input: None,
            host_input: None,
            connection: between(src, dest, session_id),
        };
        Step::Epmd(settled, Box::new(epmd))
    }

    /// Changes a request to one without an answer, closed first by `by` after `waited` seconds.
    pub(crate) fn closed(by: Role, waited: f64) -> impl FnOnce(&mut EpmdObservation) {
        move |epmd| {
            let request = epmd.seen.request.unwrap();
            epmd.seen.reply = None;
            epmd.seen.closed_by = Some(by);
            let at = request.at.after(std::time::Duration::from_secs_f64(waited));
            epmd.seen.close = Some(PacketRef { at, ..mark(request.frame.number + 2, 0.0) });
        }
    }

    /// Detections of a rule for these events, including those at the end of the run.
    pub(crate) fn found<R: Default + Rule>(events: &[Step]) -> Vec<Detection> {
        found_at(HomeNets::default(), R::default(), events)
    }

    pub(crate) fn found_at(home: HomeNets, mut rule: impl Rule, events: &[Step]) -> Vec<Detection> {
        let mut out = detected(&mut rule, home.clone(), events);
        rule.on_end(&World::new(&Limits::default(), home), &mut out);
        out
    }

    /// Frames of the evidence with their texts; the texts are leaked to compare them with literals.
    pub(crate) fn evidence(finding: &Detection) -> Vec<(u64, &'static str)> {
        let text = |shows: &crate::record::Shows| &*shows.to_string().leak();
        finding.evidence.iter().map(|shown| (shown.frame.number, text(&shown.what))).collect()
    }

    fn registers(number: u64, name: &str) -> Step {
        let id = number.to_string();
        let at = (number, number as f64);
        epmd((NODE, NODE, &id), at, EpmdTag::ALIVE2_REQ, name, EpmdOutcome::Answered, |_| ())
    }

    fn apply(known: &mut Registrations, step: &Step) -> Option<KnownRegistration> {
        let Step::Epmd(settled, epmd) = step else { panic!("no request") };
        known.on_epmd(settled, epmd)
    }

    #[test]
    fn a_late_close_ends_no_newer_registration() {
        let mut known = Registrations::default();
        let mapper = Mapper::of(registers(1, "b").settled());
        assert!(apply(&mut known, &registers(1, "b")).is_none());
        assert!(apply(&mut known, &registers(5, "b")).is_none());
        let gone = |id| {
            let ends = (NODE, NODE, id);
            epmd(ends, (9, 9.0), EpmdTag::ALIVE2_REQ, "b", EpmdOutcome::Unregistered, |_| ())
        };
        assert!(apply(&mut known, &gone("1")).is_none());
        assert_eq!(&*known.holder(mapper, "b").unwrap().session_id, "5");
        assert!(apply(&mut known, &gone("5")).is_some());
        assert!(known.holder(mapper, "b").is_none());
    }

    #[test]
    fn the_oldest_name_is_forgotten_first() {
        let mut known = Registrations::default();
        let mapper = Mapper::of(registers(1, "").settled());
        for number in 1..=REMEMBERED as u64 + 1 {
            apply(&mut known, &registers(number, &format!("n{number}")));
        }
        assert_eq!(known.0.len(), REMEMBERED);
        assert!(known.holder(mapper, "n1").is_none() && known.holder(mapper, "n2").is_some());
    }

    #[test]
    fn the_loopback_of_another_input_is_another_epmd() {
        let mut own = registers(1, "b").settled().clone();
        let mut other = Settled { frame: Some(FrameRef { input: 1, number: 1 }), ..own.clone() };
        assert_ne!(Mapper::of(&own), Mapper::of(&other));
        let ids = between("10.0.0.1", "10.0.0.2", "1");
        (own.connection, other.connection) = (Arc::clone(&ids), ids);
        assert_eq!(Mapper::of(&own), Mapper::of(&other));
    }

    #[test]
    fn a_registration_over_the_loopback_is_known_on_its_own_input() {
        let mut known = Registrations::default();
        let mut step = registers(1, "b");
        if let Step::Epmd(settled, _) = &mut step {
            settled.connection = between("127.0.0.1", "127.0.0.1", "1");
        }
        apply(&mut known, &step);
        let input = Mapper::of(step.settled()).input;
        let found = |input| known.on_loopback("b", 9100, input).is_some();
        assert!(found(input));
        assert!(!found(input.map_or(Some(7), |it| Some(it + 1))));
    }
}
