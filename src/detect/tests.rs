//! Rules held against scripts of events: all of them at once, because one cause gives one finding.

use std::sync::Arc;

use super::Detector;
use crate::judge::world::{HomeNets, World};
use crate::limits::Limits;
use crate::record::samples::Dial;
use crate::record::{Body, Event, Finding, Handshake, Hex, Role, Session};

/// What all rules find in these events, told in this order, by the end of the run.
pub(super) fn found_at_home(events: &[Event], home: HomeNets) -> Vec<Finding> {
    let mut known = World::new(&Limits::default(), Vec::new(), home);
    let mut detector = Detector::new(&Limits::default());
    let mut out = Vec::new();
    for event in events {
        known.on_event(event, &mut Vec::new(), &mut Vec::new());
        detector.on_event(event, &known, &mut out);
    }
    let end = events.last().map(|event| event.at).unwrap_or_default();
    detector.finish(end, &known, &mut out);
    let findings = out.into_iter().filter_map(|event| match event.body {
        Body::Finding { finding } => Some(*finding),
        _ => None,
    });
    findings.collect()
}

/// The same where no network is known as one's own.
pub(super) fn found(events: &[Event]) -> Vec<Finding> {
    found_at_home(events, HomeNets::default())
}

/// Names of the rules that fire, the same one as often as it tells something.
pub(super) fn rules(events: &[Event]) -> Vec<&'static str> {
    found(events).iter().map(|finding| finding.rule).collect()
}

/// A session record, changed.
pub(super) fn but(dial: Dial, change: impl FnOnce(&mut Session)) -> Event {
    let mut event = dial.event();
    if let Body::Session { session } = &mut event.body {
        change(session);
    }
    event
}

/// The `send_name` of a session.
pub(super) fn hello(event: &Event) -> Event {
    let Body::Session { session } = &event.body else { panic!("no session") };
    said(event, session, "send_name")
}

/// The `challenge_reply` of a session.
pub(super) fn reply(event: &Event) -> Event {
    let Body::Session { session } = &event.body else { panic!("no session") };
    said(event, session, "challenge_reply")
}

/// The `nok` to a session.
pub(super) fn nok(event: &Event) -> Event {
    let mut told = hello(event);
    if let Body::Handshake { handshake } = &mut told.body {
        handshake.message = "status";
        handshake.from = Role::Acceptor;
        handshake.status = Some("nok".to_owned());
    }
    told
}

fn said(event: &Event, session: &Session, message: &'static str) -> Event {
    let is_hello = message == "send_name";
    let mark =
        if is_hello { session.seen.send_name } else { session.seen.challenge_reply }.unwrap();
    let handshake = Handshake {
        version: Some(6),
        name: session.initiator.node.clone().filter(|_| is_hello),
        flags: Some(Hex(0xd_07df_7fbd)),
        ..Handshake::new(message, Role::Initiator)
    };
    Event {
        at: mark.at,
        frame: Some(mark.frame),
        input: None,
        connection: event.connection.as_ref().map(Arc::clone),
        body: Body::Handshake { handshake: Box::new(handshake) },
    }
}
