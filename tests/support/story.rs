//! What a run reports of a capture, without what the place of a packet changes.

use std::collections::BTreeMap;

use beamscope::engine::{Config, Engine};
use beamscope::limits::Limits;
use beamscope::record::{Body, Event, Outcome};

use super::packets::{Owned, Scene};

pub(crate) fn events(scene: &Scene, segments: &[Owned]) -> Vec<Event> {
    let config = Config {
        limits: Limits { pending_connections: 256, ..Limits::default() },
        cookies: scene.cookies.clone(),
        epmd_ports: scene.epmd_ports.clone(),
        ..Config::default()
    };
    let mut pipeline = Engine::new(config, Vec::new());
    for segment in segments {
        pipeline.push_segment(&segment.borrowed());
    }
    pipeline.finish()
}

/// What is left of a run when times and frames are put aside.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Story {
    /// The last record of each connection, by its ends and by which of their connections it is.
    pub(crate) sessions: BTreeMap<(String, usize), String>,
    pub(crate) outcomes: BTreeMap<(String, usize), Outcome>,
    pub(crate) findings: Vec<String>,
}

pub(crate) fn story(events: &[Event]) -> Story {
    let mut order: Vec<(String, String)> = Vec::new();
    let (mut last, mut findings) = (BTreeMap::new(), Vec::new());
    for event in events {
        let Some(ids) = &event.connection else { continue };
        match &event.body {
            Body::Session { session } => {
                let mut ends = [
                    format!("{}:{}", ids.src_ip, ids.src_port),
                    format!("{}:{}", ids.dest_ip, ids.dest_port),
                ];
                ends.sort();
                let key = (ends.join(" "), ids.session_id.to_string());
                if !order.contains(&key) {
                    order.push(key.clone());
                }
                last.insert(key, session.clone());
            }
            Body::Finding { finding } => {
                findings.push(format!("{} {:?}", finding.rule, finding.title));
            }
            _ => {}
        }
    }
    findings.sort();
    let mut story = Story { sessions: BTreeMap::new(), outcomes: BTreeMap::new(), findings };
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for key in order {
        let session = &last[&key];
        let turn = uses.entry(key.0.clone()).or_default();
        let place = (key.0, *turn);
        *turn += 1;
        let mut bytes = [session.traffic.initiator, session.traffic.acceptor]
            .map(|side| (side.bytes, side.missing_bytes, side.messages, side.ticks));
        // A connection joined in its middle is known from the first frame that begins a segment: which
        // one that is, the segmentation decides.
        if session.reached.is_none() && session.outcome == Outcome::Connected {
            bytes = Default::default();
        }
        // Where the stream of a side that was never seen began, only the first acknowledgement shows it.
        if bytes.iter().any(|side| side.0 == 0) {
            bytes.iter_mut().for_each(|side| side.1 = 0);
        }
        // What other connections prove depends on which of them the capture shows first.
        let confidence = (session.outcome != Outcome::CookieMismatch).then_some(session.confidence);
        let not_excluded = confidence.map(|_| &session.not_excluded);
        let text = format!(
            "{:?} {:?} {:?} {:?} {:?} by {:?} {:?} {:?} | {:?} {:?} {:?} {:?} | {:?} {:?} {:?} {:?} | {:?} {bytes:?}",
            session.protocol,
            session.state,
            session.outcome,
            confidence,
            not_excluded,
            session.detected_by,
            session.closed_by,
            session.close,
            session.initiator.node,
            session.initiator.flags,
            session.initiator.creation,
            session.initiator.cookie,
            session.acceptor.node,
            session.acceptor.flags,
            session.acceptor.creation,
            session.acceptor.cookie,
            session.lookup.as_ref().map(|lookup| &lookup.asked),
        );
        story.outcomes.insert(place.clone(), session.outcome);
        story.sessions.insert(place, text);
    }
    story
}

pub(crate) fn difference(plain: &Story, other: &Story) -> String {
    let mut out = String::new();
    for (key, text) in &plain.sessions {
        if other.sessions.get(key) != Some(text) {
            out += &format!("  {key:?}\n    - {text}\n    + {:?}\n", other.sessions.get(key));
        }
    }
    for key in other.sessions.keys().filter(|key| !plain.sessions.contains_key(key)) {
        out += &format!("  {key:?}\n    + {}\n", other.sessions[key]);
    }
    if plain.findings != other.findings {
        out += &format!("  - {:?}\n  + {:?}\n", plain.findings, other.findings);
    }
    out
}
