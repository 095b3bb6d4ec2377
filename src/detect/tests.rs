//! Helpers that run rules over sequences of facts. Most tests run all rules, because one cause must give
//! one finding.

use super::{Detection, Detector, Rule};
use crate::judge::JudgedConnection;
use crate::judge::samples::SampleDial;
use crate::judge::world::{HomeNets, World};
use crate::limits::Limits;
use crate::observe::{
    DistFlags, EpmdObservation, HandshakeObservation, MessageKind, Role, Settled,
};
use crate::record::{Body, Event, Finding, Incident};
use crate::time::Timestamp;

/// One fact of a test sequence, as rules receive it.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Session(Box<JudgedConnection>),
    Epmd(Settled, Box<EpmdObservation>),
    Handshake(Settled, Box<HandshakeObservation>),
}

impl Step {
    pub(super) fn settled(&mut self) -> &mut Settled {
        match self {
            Self::Session(it) => &mut it.settled,
            Self::Epmd(settled, _) | Self::Handshake(settled, _) => settled,
        }
    }

    pub(super) fn at(&self) -> Timestamp {
        self.clone().settled().at
    }

    pub(super) fn session(&self) -> &JudgedConnection {
        let Self::Session(it) = self else { panic!("no session") };
        it
    }

    pub(super) fn session_mut(&mut self) -> &mut JudgedConnection {
        let Self::Session(it) = self else { panic!("no session") };
        it
    }
}

impl From<JudgedConnection> for Step {
    fn from(judged: JudgedConnection) -> Self {
        Self::Session(Box::new(judged))
    }
}

impl From<SampleDial> for Step {
    fn from(dial: SampleDial) -> Self {
        Self::Session(Box::new(dial.judged()))
    }
}

/// Passes one fact to the world and to the detector.
fn apply(step: &Step, world: &mut World, detector: &mut Detector, out: &mut Vec<Event>) {
    match step {
        Step::Session(it) => {
            let mut it = it.clone();
            it.claim = world.claim(&it.settled, &it.seen, &it.verdict);
            world.on_session(&it, &mut Vec::new(), &mut Vec::new());
            detector.on_session(&it, world, out);
        }
        Step::Epmd(settled, epmd) => {
            world.on_epmd(settled, epmd, &mut Vec::new());
            detector.on_epmd(settled, epmd, world, out);
        }
        Step::Handshake(settled, message) => {
            world.on_handshake(settled, message);
            detector.on_other(settled);
        }
    }
}

/// Events of all rules for these facts, including those at the end of the run.
pub(super) fn events(steps: &[Step]) -> Vec<Event> {
    events_at_home(steps, HomeNets::default())
}

fn events_at_home(steps: &[Step], home: HomeNets) -> Vec<Event> {
    let mut world = World::new(&Limits::default(), home);
    let mut detector = Detector::new(&Limits::default());
    let mut out = Vec::new();
    for step in steps {
        apply(step, &mut world, &mut detector, &mut out);
    }
    let end = steps.last().map(Step::at).unwrap_or_default();
    detector.finish(end, &world, &mut out);
    out
}

/// Findings of all rules for these facts, including those at the end of the run. `home` are the
/// networks of `--home-net`.
pub(super) fn found_at_home(steps: &[Step], home: HomeNets) -> Vec<Finding> {
    let findings = events_at_home(steps, home).into_iter().filter_map(|event| match event.body {
        Body::Finding { finding } => Some(*finding),
        _ => None,
    });
    // A finding that is written anew replaces the one before it.
    findings.fold(Vec::new(), |mut found: Vec<Finding>, finding| {
        match found.iter_mut().find(|before| before.incident_id == finding.incident_id) {
            Some(before) => *before = finding,
            None => found.push(finding),
        }
        found
    })
}

/// Findings of all rules without `--home-net`.
pub(super) fn found(steps: &[Step]) -> Vec<Finding> {
    found_at_home(steps, HomeNets::default())
}

/// The incidents in their state at the end.
pub(super) fn incidents(steps: &[Step]) -> Vec<Incident> {
    let events = events_at_home(steps, HomeNets::default()).into_iter();
    let all = events.filter_map(|event| match event.body {
        Body::Incident { incident } => Some(*incident),
        _ => None,
    });
    all.fold(Vec::new(), |mut last: Vec<Incident>, incident| {
        last.retain(|before| before.incident_id != incident.incident_id);
        last.push(incident);
        last
    })
}

/// Detections of one rule for these facts, without its end of run.
pub(super) fn detected(rule: &mut impl Rule, home: HomeNets, steps: &[Step]) -> Vec<Detection> {
    let mut world = World::new(&Limits::default(), home);
    let mut out = Vec::new();
    for step in steps {
        rule.on_fact(&step.clone().settled().clone());
        match step {
            Step::Session(it) => {
                world.on_session(it, &mut Vec::new(), &mut Vec::new());
                rule.on_session(it, &world, &mut out);
            }
            Step::Epmd(settled, epmd) => {
                world.on_epmd(settled, epmd, &mut Vec::new());
                rule.on_epmd(settled, epmd, &world, &mut out);
            }
            Step::Handshake(settled, message) => world.on_handshake(settled, message),
        }
    }
    out
}

/// Names of the rules of all findings, in their order and with repeats.
pub(super) fn rules(steps: &[Step]) -> Vec<&'static str> {
    found(steps).iter().map(|finding| finding.rule).collect()
}

/// A judged connection after `change`.
pub(super) fn but(dial: SampleDial, change: impl FnOnce(&mut JudgedConnection)) -> Step {
    let mut judged = dial.judged();
    change(&mut judged);
    Step::Session(Box::new(judged))
}

/// The `send_name` of a session as a fact.
pub(super) fn hello(step: &Step) -> Step {
    sent(step.session(), MessageKind::SendName)
}

/// The `challenge_reply` of a session as a fact.
pub(super) fn reply(step: &Step) -> Step {
    sent(step.session(), MessageKind::ChallengeReply)
}

/// The status `nok` in reply to the `send_name` of a session, as a fact.
pub(super) fn nok(step: &Step) -> Step {
    let mut sent = hello(step);
    if let Step::Handshake(_, message) = &mut sent {
        message.message = MessageKind::Status;
        message.from = Role::Acceptor;
        message.status = Some("nok".to_owned());
    }
    sent
}

fn sent(it: &JudgedConnection, kind: MessageKind) -> Step {
    let mark = it.seen.message(kind).unwrap();
    let is_hello = kind == MessageKind::SendName;
    let message = HandshakeObservation {
        version: Some(6),
        name: it.name(Role::Initiator).cloned().filter(|_| is_hello),
        flags: Some(DistFlags(0xd_07df_7fbd)),
        creation: it.seen.handshake.creation(Role::Initiator).filter(|_| is_hello),
        ..HandshakeObservation::new(kind, Role::Initiator)
    };
    let settled =
        Settled { at: mark.at, frame: Some(mark.frame), input: None, ..it.settled.clone() };
    Step::Handshake(settled, Box::new(message))
}
