//! What the rules about port mappers share: who is asked, by whom, and what is registered where.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::finding::address;
use crate::decode::Endpoint;
use crate::limits::remember;
use crate::packet::PacketRef;
use crate::record::{Body, ConnectionIds, Epmd, EpmdOutcome, Event, Finding};
use crate::time::{Timestamp, micros};

/// A request to a port mapper and what came of it.
pub(super) fn talk(event: &Event) -> Option<(&ConnectionIds, &Epmd)> {
    let (Body::Epmd { epmd }, Some(ids)) = (&event.body, &event.connection) else { return None };
    Some((ids, epmd))
}

/// The port mapper as people write it.
pub(super) fn written(ids: &ConnectionIds) -> String {
    address(ids.dest_ip, ids.dest_port)
}

/// Whether EPMD takes the asker for a process of its own host, as it does since R14: from loopback, or
/// from the very address that was connected to.
pub(super) fn is_local(ids: &ConnectionIds) -> bool {
    ids.src_ip.is_loopback() || ids.src_ip == ids.dest_ip
}

/// What is odd about the name in a request, where EPMD by its rules closes without an answer.
pub(super) fn unanswerable(epmd: &Epmd) -> Option<&'static str> {
    let name = epmd.name.as_deref()?;
    if name.is_empty() {
        return Some("is empty");
    }
    if name.contains('\0') {
        return Some("contains a byte 0");
    }
    let asks = epmd.request == Some("PORT_PLEASE2_REQ");
    if asks && epmd.name_hex.is_some() {
        Some("is no UTF-8")
    } else if asks && name.chars().count() >= 255 {
        Some("has 255 characters or more")
    } else {
        None
    }
}

/// Microseconds from the request to the first close.
pub(super) fn waited_us(epmd: &Epmd) -> Option<u64> {
    Some(micros(epmd.seen.close?.at.since(epmd.seen.request?.at)))
}

/// A port mapper, told from all others: the loopback of one input is not that of another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Mapper {
    pub(super) end: Endpoint,
    pub(super) input: Option<u16>,
}

impl Mapper {
    pub(super) fn of(event: &Event, ids: &ConnectionIds) -> Self {
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        Self { end, input: input_of(event).filter(|_| end.ip.is_loopback()) }
    }
}

/// The input that shows an event.
pub(super) fn input_of(event: &Event) -> Option<u16> {
    event.frame.map(|frame| frame.input).or(event.input)
}

/// A name that a port mapper has.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) mapper: Mapper,
    pub(super) name: Arc<str>,
    pub(super) port: u16,
    /// Address of the node that registered; `None` where only an answer tells that one did.
    pub(super) node: Option<IpAddr>,
    pub(super) creation: Option<u32>,
    /// The connection that shows it, and the packet.
    pub(super) session_id: Arc<str>,
    pub(super) shown: Option<PacketRef>,
    pub(super) at: Timestamp,
}

/// The names that port mappers have, as far as their answers tell; the last ones.
#[derive(Debug, Default)]
pub(super) struct Registrations(VecDeque<Registration>);

impl Registrations {
    /// Who has the name.
    pub(super) fn holder(&self, mapper: Mapper, name: &str) -> Option<&Registration> {
        self.0.iter().find(|known| known.mapper == mapper && known.name.as_ref() == name)
    }

    /// Takes in what a port mapper answered. Gives the registration whose connection has closed.
    pub(super) fn on_epmd(
        &mut self,
        event: &Event,
        ids: &ConnectionIds,
        epmd: &Epmd,
    ) -> Option<Registration> {
        let mapper = Mapper::of(event, ids);
        let name = epmd.name.as_ref()?;
        if epmd.outcome == EpmdOutcome::Unregistered {
            return self.take(mapper, name, &ids.session_id);
        }
        if epmd.outcome != EpmdOutcome::Answered {
            return None;
        }
        let registers = epmd.request == Some("ALIVE2_REQ");
        let new = Registration {
            mapper,
            name: Arc::clone(name),
            port: epmd.port?,
            node: registers.then_some(ids.src_ip),
            creation: epmd.creation,
            session_id: Arc::clone(&ids.session_id),
            shown: epmd.seen.reply,
            at: event.at,
        };
        let of_name = |known: &Registration| known.mapper == mapper && known.name == *name;
        if let Some(known) = self.0.iter_mut().find(|known| of_name(known)) {
            // An answer says less than the registration it is about.
            if registers || known.port != new.port {
                *known = new;
            }
            return None;
        }
        remember(&mut self.0, new, REMEMBERED);
        None
    }

    /// A close may be told after the next registration of the name; that one stands.
    fn take(&mut self, mapper: Mapper, name: &str, session_id: &str) -> Option<Registration> {
        let is_meant = |known: &Registration| {
            known.mapper == mapper
                && known.name.as_ref() == name
                && (known.node.is_none() || known.session_id.as_ref() == session_id)
        };
        let place = self.0.iter().position(is_meant)?;
        self.0.remove(place).filter(|known| known.node.is_some())
    }
}

/// Findings about requests whose answer may still come: told when the run ends, unless it came.
#[derive(Default)]
pub(super) struct Pending(VecDeque<(Arc<str>, Finding)>);

impl Pending {
    /// A finding about a request, told now unless the record may still change.
    pub(super) fn tell(
        &mut self,
        ids: &ConnectionIds,
        outcome: EpmdOutcome,
        finding: Finding,
        out: &mut Vec<Finding>,
    ) {
        self.0.retain(|(session_id, _)| *session_id != ids.session_id);
        if outcome == EpmdOutcome::Incomplete {
            let pending = (Arc::clone(&ids.session_id), on_its_own(ids, finding));
            remember(&mut self.0, pending, REMEMBERED);
        } else {
            out.push(finding);
        }
    }

    /// The run ends.
    pub(super) fn release(&mut self, out: &mut Vec<Finding>) {
        out.extend(self.0.drain(..).map(|(_, finding)| finding));
    }
}

/// A finding that is told elsewhere than with the connection it is about.
pub(super) fn on_its_own(ids: &ConnectionIds, mut finding: Finding) -> Finding {
    for evidence in &mut finding.evidence {
        evidence.session_id.get_or_insert_with(|| Arc::clone(&ids.session_id));
    }
    finding
}

/// Names kept: a port mapper has at most 1,024 connections.
pub(super) const REMEMBERED: usize = 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of our own")]
pub(super) mod tests {
    use super::*;
    use crate::detect::Rule;
    use crate::judge::world::{HomeNets, World};
    use crate::limits::Limits;
    use crate::packet::FrameRef;
    use crate::record::{EpmdSeen, Role};

    pub(crate) const NODE: &str = "127.0.0.1";

    pub(crate) fn seconds(at: f64) -> Timestamp {
        Timestamp((at * 1e9) as _)
    }

    pub(crate) fn mark(number: u64, at: f64) -> PacketRef {
        PacketRef { frame: FrameRef { input: 0, number }, at: seconds(at) }
    }

    /// A connection from one address to the port mapper of another.
    pub(crate) fn between(src: &str, dest: &str, session_id: &str) -> Arc<ConnectionIds> {
        Arc::new(ConnectionIds {
            session_id: session_id.into(),
            community_id: "1:".into(),
            src_ip: src.parse().unwrap(),
            src_port: 40_000,
            dest_ip: dest.parse().unwrap(),
            dest_port: 4369,
            proto: "TCP",
            encap: Vec::new(),
        })
    }

    /// What came of a request, seen whole and told at `at` by packet `frame`.
    pub(crate) fn epmd(
        (src, dest, session_id): (&str, &str, &str),
        (frame, at): (u64, f64),
        request: &'static str,
        name: &str,
        outcome: EpmdOutcome,
        change: impl FnOnce(&mut Epmd),
    ) -> Event {
        let mut epmd = Epmd {
            request: Some(request),
            name: (!matches!(request, "NAMES_REQ" | "DUMP_REQ" | "KILL_REQ")).then(|| name.into()),
            outcome,
            port: Some(9100),
            seen: EpmdSeen {
                request: Some(mark(frame - 1, at)),
                reply: Some(mark(frame, at)),
                is_whole: true,
                is_acknowledged: true,
                ..EpmdSeen::default()
            },
            ..Epmd::default()
        };
        change(&mut epmd);
        Event {
            at: seconds(at),
            frame: Some(mark(frame, at).frame),
            input: None,
            connection: Some(between(src, dest, session_id)),
            body: Body::Epmd { epmd: Box::new(epmd) },
        }
    }

    /// Not answered, and closed first by `by` after `waited` seconds.
    pub(crate) fn closed(by: Role, waited: f64) -> impl FnOnce(&mut Epmd) {
        move |epmd| {
            let request = epmd.seen.request.unwrap();
            epmd.seen.reply = None;
            epmd.seen.closed_by = Some(by);
            let at = request.at.after(std::time::Duration::from_secs_f64(waited));
            epmd.seen.close = Some(PacketRef { at, ..mark(request.frame.number + 2, 0.0) });
        }
    }

    /// What a rule finds in these events.
    pub(crate) fn found<R: Default + Rule>(events: &[Event]) -> Vec<Finding> {
        found_at(HomeNets::default(), R::default(), events)
    }

    pub(crate) fn found_at(home: HomeNets, mut rule: impl Rule, events: &[Event]) -> Vec<Finding> {
        let mut known = World::new(&Limits::default(), Vec::new(), home);
        let (mut out, mut rest) = (Vec::new(), Vec::new());
        for event in events {
            known.on_event(event, &mut Vec::new(), &mut rest);
            rule.on_event(event, &known, &mut out);
        }
        rule.on_end(&known, &mut out);
        out
    }

    /// Frames of the evidence with their texts; the texts are leaked to compare them with literals.
    pub(crate) fn evidence(finding: &Finding) -> Vec<(u64, &'static str)> {
        let text = |shows: &crate::record::Shows| &*shows.to_string().leak();
        finding.evidence.iter().map(|shown| (shown.frame.number, text(&shown.what))).collect()
    }

    fn registers(number: u64, name: &str) -> Event {
        let id = number.to_string();
        let at = (number, number as f64);
        epmd((NODE, NODE, &id), at, "ALIVE2_REQ", name, EpmdOutcome::Answered, |_| ())
    }

    fn take_in(known: &mut Registrations, event: &Event) -> Option<Registration> {
        let (ids, epmd) = talk(event).unwrap();
        known.on_epmd(event, ids, epmd)
    }

    #[test]
    fn a_close_that_is_told_late_ends_no_newer_registration() {
        let mut known = Registrations::default();
        let mapper = Mapper::of(&registers(1, "b"), &between(NODE, NODE, "1"));
        assert!(take_in(&mut known, &registers(1, "b")).is_none());
        assert!(take_in(&mut known, &registers(5, "b")).is_none());
        let gone = |id| {
            let ends = (NODE, NODE, id);
            epmd(ends, (9, 9.0), "ALIVE2_REQ", "b", EpmdOutcome::Unregistered, |_| ())
        };
        assert!(take_in(&mut known, &gone("1")).is_none());
        assert_eq!(&*known.holder(mapper, "b").unwrap().session_id, "5");
        assert!(take_in(&mut known, &gone("5")).is_some());
        assert!(known.holder(mapper, "b").is_none());
    }

    #[test]
    fn the_oldest_name_is_forgotten_first() {
        let mut known = Registrations::default();
        let mapper = Mapper::of(&registers(1, ""), &between(NODE, NODE, "1"));
        for number in 1..=REMEMBERED as u64 + 1 {
            take_in(&mut known, &registers(number, &format!("n{number}")));
        }
        assert_eq!(known.0.len(), REMEMBERED);
        assert!(known.holder(mapper, "n1").is_none() && known.holder(mapper, "n2").is_some());
    }

    #[test]
    fn the_loopback_of_another_input_is_another_port_mapper() {
        let event = registers(1, "b");
        let other = Event { frame: Some(FrameRef { input: 1, number: 1 }), ..event.clone() };
        let ids = between(NODE, NODE, "1");
        assert_ne!(Mapper::of(&event, &ids), Mapper::of(&other, &ids));
        let ids = between("10.0.0.1", "10.0.0.2", "1");
        assert_eq!(Mapper::of(&event, &ids), Mapper::of(&other, &ids));
    }
}
