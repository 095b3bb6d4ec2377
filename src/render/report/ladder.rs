//! One attempt to connect as a ladder: the two sides, and what passed between them, row by row.
//!
//! In: events, one by one. Out: a [`Ladder`] of a connection or of a finding, as plain values; `render/ladder/` draws it.
//! A row shows what an event has: nothing is concluded here but which message was due next. The look-up at EPMD that led to
//! a connection is part of its ladder.

mod rows;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::sentences::{self, Ends};
use super::{FrameLabel, Tone};
use crate::limits::{BoundedMap, LADDER_MESSAGES, LADDER_NODES, LADDER_SESSIONS};
use crate::packet::FrameRef;
use crate::record::{
    Body, ConnectionIds, Epmd, Event, Evidence, Finding, Handshake, Incident, Outcome, Session,
    Shows,
};
use crate::render::InputNames;
use crate::render::words::count;
use crate::time::Timestamp;

/// The course of one attempt to connect.
#[derive(Clone, Debug)]
pub(in crate::render) struct Ladder {
    /// What it shows, in one sentence.
    pub(in crate::render) title: String,
    /// The sides: the initiator, the acceptor, and EPMD if it runs on a third host.
    pub(in crate::render) lifelines: Vec<Lifeline>,
    /// What passed between them, in order of time.
    pub(in crate::render) rows: Vec<Row>,
    /// What else there is to know, as sentences.
    pub(in crate::render) notes: Vec<String>,
    /// How often the problem that it shows occurred, if more than once.
    pub(in crate::render) times: Option<u64>,
    /// Packets of other connections that show the same, which the notes name.
    folded: Vec<FrameRef>,
}

/// One side of a ladder.
#[derive(Clone, Debug)]
pub(in crate::render) struct Lifeline {
    /// Name of the node, or its address.
    pub(in crate::render) name: String,
    /// Address and port, as far as the name does not have them; may be empty.
    pub(in crate::render) place: String,
}

/// One message, or one that is missing.
#[derive(Clone, Debug)]
pub(in crate::render) struct Row {
    /// The packet; a message that is missing has none.
    pub(in crate::render) frame: Option<FrameLabel>,
    /// Time of the packet, if the record has it.
    pub(in crate::render) at: Option<Timestamp>,
    /// Time since the packet of the row before.
    pub(in crate::render) after: Option<Duration>,
    pub(in crate::render) arrow: Arrow,
    /// What was sent, in a few words.
    pub(in crate::render) label: String,
    /// What there is to know about it; may be empty.
    pub(in crate::render) note: String,
    pub(in crate::render) tone: Tone,
    /// The packet as the record refers to it, by which rows are sorted.
    place: Option<FrameRef>,
}

/// How a row is drawn. Sides are given by their position among the lifelines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::render) enum Arrow {
    /// A packet from one side to another.
    Sent { from: usize, to: usize },
    /// A packet without an acknowledgement in the capture.
    Lost { from: usize, to: usize },
    /// A message that was due, and is not in the capture.
    Missing { from: usize, to: usize },
    /// Something that no side sent to the other, such as an ICMP error.
    Across,
}

/// Keeps of a run what ladders are drawn from.
pub(in crate::render) struct LadderStore {
    inputs: InputNames,
    stories: HashMap<Arc<str>, Story>,
    /// Identifiers of `stories` that may be dropped, the oldest first.
    droppable: VecDeque<Arc<str>>,
    /// Number of `stories` that are kept for a finding.
    kept: usize,
    /// Findings, by their incident.
    findings: HashMap<Arc<str>, FindingEvidence>,
    /// What is known of nodes, by their names.
    nodes: BoundedMap<Arc<str>, KnownNode>,
    /// The connection that is asked for, if one is.
    wanted: Option<Arc<str>>,
    /// Number of connections so far.
    seen: u64,
}

/// The releases that send the flags of a node, from the oldest to the newest, and its addresses.
#[derive(Clone, Debug, Default)]
struct KnownNode {
    at_least: Option<u16>,
    at_most: Option<u16>,
    ips: Vec<IpAddr>,
}

/// What the events had about one connection.
struct Story {
    ids: Arc<ConnectionIds>,
    /// Position among all connections.
    number: u64,
    is_kept: bool,
    messages: Vec<SeenMessage>,
    /// Number of messages that the limit left out.
    left_out: u64,
    end: Option<StoryEnd>,
}

/// A message of a handshake, with its packet.
struct SeenMessage {
    at: Timestamp,
    frame: Option<FrameRef>,
    message: Handshake,
}

/// The last record of a connection.
enum StoryEnd {
    Session(Box<Session>),
    Epmd(Box<Epmd>),
}

/// What a ladder of a finding needs of it.
struct FindingEvidence {
    rule: &'static str,
    nodes: Vec<Arc<str>>,
    title: String,
    connection: Option<Arc<str>>,
    evidence: Vec<Evidence>,
    /// How often it came, once its incident is known.
    repeats: Option<u64>,
}

impl FindingEvidence {
    /// Its connections. That of which it shows an end precedes: a finding about a connection that was lost may be settled
    /// by the one that followed.
    fn connections(&self) -> impl Iterator<Item = &Arc<str>> {
        let of = |shown: &Evidence| shown.session_id.clone().or_else(|| self.connection.clone());
        let is_end = |shown: &&Evidence| matches!(shown.what, Shows::Close { .. } | Shows::Icmp);
        let is_own = |shown: &Evidence| of(shown) == self.connection;
        let mut ends = self.evidence.iter().filter(is_end);
        let has_own_end = ends.clone().any(is_own);
        let first = ends.find_map(|shown| shown.session_id.as_ref()).filter(|_| !has_own_end);
        let others = self.evidence.iter().filter_map(|shown| shown.session_id.as_ref());
        first.into_iter().chain(&self.connection).chain(others)
    }
}

impl Ladder {
    /// Whether it has this packet, in a row or in a note.
    pub(in crate::render) fn has(&self, frame: FrameRef) -> bool {
        self.folded.contains(&frame) || self.rows.iter().any(|row| row.place == Some(frame))
    }
}

impl LadderStore {
    /// An empty store. The connection `wanted` is kept whatever comes after it.
    pub(in crate::render) fn new(inputs: InputNames, wanted: Option<Arc<str>>) -> Self {
        Self {
            inputs,
            stories: HashMap::new(),
            droppable: VecDeque::new(),
            kept: 0,
            findings: HashMap::new(),
            nodes: BoundedMap::new(LADDER_NODES),
            wanted,
            seen: 0,
        }
    }

    /// Keeps from an event what ladders need.
    pub(in crate::render) fn observe(&mut self, event: &Event) {
        match &event.body {
            Body::Handshake { handshake } => {
                let Some(story) = self.story(event) else { return };
                if story.messages.len() >= LADDER_MESSAGES {
                    story.left_out += 1;
                    return;
                }
                let message = (**handshake).clone();
                story.messages.push(SeenMessage { at: event.at, frame: event.frame, message });
            }
            Body::Session { session } => self.on_session(event, session),
            Body::Epmd { epmd } => {
                let kept =
                    Epmd { names: epmd.names.as_ref().map(|_| Vec::new()), ..(**epmd).clone() };
                let names = epmd.names.as_ref().map(|names| names.len() as u64);
                if let Some(story) = self.story(event) {
                    // The number of names is all that a row has of a list.
                    let reply = names.map(|n| count(n, "name")).or_else(|| kept.reply.clone());
                    story.end = Some(StoryEnd::Epmd(Box::new(Epmd { reply, ..kept })));
                }
            }
            Body::Finding { finding } => self.on_finding(event, finding),
            Body::Incident { incident } => self.on_incident(incident),
            Body::Node { node } => {
                let (known, _) = self.nodes.entry(&node.node);
                *known = KnownNode {
                    at_least: node.otp_at_least,
                    at_most: node.otp_at_most,
                    ips: node.ips.iter().take(LADDER_MESSAGES).copied().collect(),
                };
            }
            Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. }
            | Body::Anomaly { .. }
            | Body::Stats { .. } => {}
        }
    }

    fn on_session(&mut self, event: &Event, session: &Session) {
        let lookup = session.lookup.as_ref().map(|lookup| Arc::clone(&lookup.session_id));
        let Some(story) = self.story(event) else { return };
        story.end = Some(StoryEnd::Session(Box::new(session.outline())));
        let is_kept = story.is_kept;
        if is_kept && let Some(lookup) = lookup {
            self.keep(&lookup);
        }
    }

    fn on_finding(&mut self, event: &Event, finding: &Finding) {
        let own = event.connection.as_ref().map(|ids| Arc::clone(&ids.session_id));
        let known = self.findings.contains_key(&finding.incident_id);
        if !known && self.findings.len() >= LADDER_SESSIONS {
            return;
        }
        let shown = finding.evidence.iter().filter_map(|it| it.session_id.clone());
        for id in own.iter().cloned().chain(shown).take(CONNECTIONS_OF_FINDING) {
            self.keep(&id);
        }
        let repeats = self.findings.get(&finding.incident_id).and_then(|finding| finding.repeats);
        let evidence = FindingEvidence {
            rule: finding.rule,
            nodes: finding.nodes.iter().take(LADDER_MESSAGES).cloned().collect(),
            title: finding.title.clone(),
            connection: own,
            evidence: finding.evidence.clone(),
            repeats,
        };
        self.findings.insert(Arc::clone(&finding.incident_id), evidence);
    }

    fn on_incident(&mut self, incident: &Incident) {
        if let Some(finding) = self.findings.get_mut(&incident.incident_id) {
            finding.repeats = Some(incident.count);
        }
    }

    /// The story of the connection of an event.
    fn story(&mut self, event: &Event) -> Option<&mut Story> {
        let ids = event.connection.as_ref()?;
        let id = &ids.session_id;
        if !self.stories.contains_key(id) {
            self.make_room();
            let story = Story {
                ids: Arc::clone(ids),
                number: self.seen,
                is_kept: false,
                messages: Vec::new(),
                left_out: 0,
                end: None,
            };
            self.seen += 1;
            self.stories.insert(Arc::clone(id), story);
            self.droppable.push_back(Arc::clone(id));
            if self.wanted.as_ref() == Some(id) {
                self.keep(&Arc::clone(id));
            }
        }
        self.stories.get_mut(id)
    }

    fn make_room(&mut self) {
        while self.droppable.len() >= LADDER_SESSIONS {
            let Some(oldest) = self.droppable.pop_front() else { return };
            if self.stories.get(&oldest).is_some_and(|story| !story.is_kept) {
                self.stories.remove(&oldest);
            }
        }
    }

    /// Keeps a connection, and the look-up that led to it, until the end of the run.
    pub(in crate::render) fn keep(&mut self, id: &Arc<str>) {
        let mut next = Some(Arc::clone(id));
        while let Some(id) = next.take() {
            let is_wanted = self.wanted.as_ref() == Some(&id);
            if self.kept >= LADDER_SESSIONS && !is_wanted {
                return;
            }
            let Some(story) = self.stories.get_mut(&id).filter(|story| !story.is_kept) else {
                return;
            };
            story.is_kept = true;
            self.kept += 1;
            if let Some(StoryEnd::Session(session)) = &story.end {
                next = session.lookup.as_ref().map(|lookup| Arc::clone(&lookup.session_id));
            }
        }
    }

    /// The ladder of the connection with this identifier, if it was kept.
    pub(in crate::render) fn of_session(&self, id: &str) -> Option<Ladder> {
        let story = self.stories.get(id)?;
        match story.end.as_ref()? {
            StoryEnd::Session(session) => {
                let title = sentences::attempt(session, Some(&story.ids));
                Some(self.draw(story, title, None))
            }
            StoryEnd::Epmd(epmd) => {
                let title = sentences::request(epmd, Some(&story.ids));
                Some(self.draw(story, title, None))
            }
        }
    }

    /// The ladder of a finding: of its connection, if that was kept, else of its evidence.
    pub(in crate::render) fn of_finding(&self, incident_id: &str) -> Option<Ladder> {
        let finding = self.findings.get(incident_id)?;
        let story = finding
            .connections()
            .find_map(|id| self.stories.get(id).filter(|story| story.end.is_some()));
        let mut ladder = match story {
            Some(story) => self.draw(story, finding.title.clone(), Some(finding)),
            None => self.draw_evidence(finding.title.clone(), &finding.nodes, &finding.evidence)?,
        };
        if finding.rule == NEVER_DIALED {
            ladder.add_never_dialed();
        }
        ladder.times = finding.repeats.filter(|n| *n > 1);
        Some(ladder)
    }

    /// Names the sides of a connection that the capture joined late, as the finding does: by the one node of the finding
    /// that was seen at the address.
    fn name_lifelines(
        &self,
        lifelines: &mut [Lifeline],
        ids: &ConnectionIds,
        session: &Session,
        nodes: &[Arc<str>],
    ) {
        let sides = [(&session.initiator, ids.src_ip), (&session.acceptor, ids.dest_ip)];
        for (n, (line, (party, ip))) in lifelines.iter_mut().zip(sides).enumerate() {
            let ip = party.ip.unwrap_or(ip);
            let is_there =
                |name: &&Arc<str>| self.nodes.get(*name).is_some_and(|node| node.ips.contains(&ip));
            let mut there = nodes.iter().filter(is_there);
            let is_unnamed = party.node.is_none() && line.name == ip.to_string();
            if let (true, Some(name), None) = (is_unnamed, there.next(), there.next()) {
                let port = party.port.unwrap_or(ids.dest_port);
                let place = match n {
                    0 => ip.to_string(),
                    _ => SocketAddr::new(ip, port).to_string(),
                };
                *line = Lifeline { name: name.to_string(), place };
            }
        }
    }

    /// The ladder of a connection that was established, to compare with: one of the same pair, else the first.
    pub(in crate::render) fn good(&self, beside: &Ladder) -> Option<Ladder> {
        let connected = self.stories.values().filter_map(|story| match story.end.as_ref()? {
            StoryEnd::Session(session)
                if session.outcome == Outcome::Connected
                    && session.reached == Some("challenge_ack")
                    && session.handshake_us.is_some() =>
            {
                Some((story, session))
            }
            _ => None,
        });
        let names: Vec<_> = beside.lifelines.iter().map(|line| &*line.name).collect();
        let is_pair = |ends: &[String; 2]| ends.iter().all(|end| names.contains(&&**end));
        let best = connected.max_by_key(|(story, session)| {
            let Ends { names, .. } = Ends::of(session, Some(&story.ids));
            (is_pair(&names), Reverse(story.number))
        });
        let (story, session) = best?;
        let Ends { names: [a, b], .. } = Ends::of(session, Some(&story.ids));
        let mut ladder = self.draw(story, format!("For comparison: {a} -> {b}, connected"), None);
        // What comes after the handshake is no part of the comparison.
        let last = ladder.rows.iter().position(|row| row.label == "challenge_ack");
        ladder.rows.truncate(last.map_or(0, |last| last + 1));
        ladder.notes.clear();
        Some(ladder)
    }

    /// The connections between nodes that were kept, the first one first: identifier, and what became of it.
    pub(in crate::render) fn sessions(&self) -> Vec<(Arc<str>, String)> {
        let mut stories: Vec<_> = self.stories.values().collect();
        stories.sort_by_key(|story| story.number);
        let text = |story: &Story| match story.end.as_ref()? {
            StoryEnd::Session(session) => {
                let text = sentences::attempt(session, Some(&story.ids));
                Some((Arc::clone(&story.ids.session_id), text))
            }
            StoryEnd::Epmd(_) => None,
        };
        stories.into_iter().filter_map(text).collect()
    }
}

/// The rule about a look-up after which nothing was dialed.
const NEVER_DIALED: &str = "asked-not-dialed";

/// Connections that are kept for one finding: its own, and those that its evidence names.
const CONNECTIONS_OF_FINDING: usize = 4;
