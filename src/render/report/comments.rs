//! What the packets of a capture show, as a comment for each.
//!
//! In: events. Out: [`Comments`]: for each packet that matters the sentences about it, the names of the addresses, and
//! a text about the whole capture. All texts are without control characters.
//!
//! ```text
//! frame 22   one@h1 proves its cookie and asks two@h2 for the same (challenge_reply)
//! frame 23   two@h2 closes the connection (FIN)
//!            Here challenge_ack from two@h2 should have come
//! frame 24   HIGH: two@h2 refused the cookie of one@h1 (rule cookie-mismatch, likely)
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::sentences;
use crate::limits::{BoundedMap, LADDER_MESSAGES, Limits};
use crate::packet::FrameRef;
use crate::record::{
    Body, CloseKind, Confidence, ConnectionIds, Epmd, EpmdOutcome, Event, EventSink, Evidence,
    Finding, Handshake, Incident, IncidentState, Node, Outcome, Role, Session, SettledBy, Severity,
    Shows, State, Step, StepKind,
};
use crate::render::escape::escape;
use crate::render::shown::{EventFilter, Shown};
use crate::render::words::{confidence, count, duration, listed, times};
use crate::time::Timestamp;

/// Collects comments from the events of a run.
pub struct CommentCollector {
    filter: Option<EventFilter>,
    comments: Vec<PlacedComment>,
    /// Findings with the packets that they rest on; a later one of the same incident replaces the earlier.
    findings: BoundedMap<Arc<str>, KnownFinding>,
    /// Recent connections; a later record of one replaces the earlier.
    sessions: BoundedMap<Arc<str>, KnownSession>,
    /// The messages of the handshakes of recent connections, with their times; at most [`LADDER_MESSAGES`] of each.
    messages: BoundedMap<Arc<str>, Vec<(Timestamp, &'static str)>>,
    /// The names of the nodes at each address.
    nodes: BoundedMap<IpAddr, Vec<NodeName>>,
    /// Bytes that may still be kept.
    left: usize,
    left_out: u64,
}

/// The comments on the packets of a capture.
#[derive(Debug, Default)]
pub struct Comments {
    /// Comments in the order of their packets, and for each packet in the order in which they are read.
    pub packets: Vec<(FrameRef, Box<str>)>,
    /// Addresses, each with the name of its node or its host.
    pub names: Vec<(IpAddr, Box<str>)>,
    /// The problems that were found, as a text of several lines.
    pub capture: String,
    /// Number of comments that were left out, because the limit was reached.
    pub left_out: u64,
}

struct PlacedComment {
    frame: FrameRef,
    place: CommentPlace,
    text: Box<str>,
}

/// The order of the comments on one packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum CommentPlace {
    Message,
    Step,
    Close,
    Missing,
    Evidence,
    Outcome,
    Finding,
    Solved,
}

/// A finding, and the comments about it.
#[derive(Default)]
struct KnownFinding {
    title: String,
    severity: &'static str,
    about: String,
    comments: Vec<(FrameRef, CommentPlace, String)>,
    solved: Option<(FrameRef, String)>,
    order: u64,
}

/// A connection, and the comments about it that are not settled.
#[derive(Default)]
struct KnownSession {
    names: [String; 2],
    comments: Vec<(FrameRef, CommentPlace, String)>,
}

struct NodeName {
    name: Arc<str>,
    /// Whether it is a node that people start, and not one for a single command.
    is_lasting: bool,
}

impl CommentCollector {
    /// A collector of comments on what `shown` selects.
    pub fn new(limits: &Limits, shown: &Shown) -> Self {
        Self {
            filter: EventFilter::new(shown),
            comments: Vec::new(),
            findings: BoundedMap::new(limits.incidents),
            sessions: BoundedMap::new(limits.lookups),
            messages: BoundedMap::new(limits.lookups),
            nodes: BoundedMap::new(limits.nodes),
            left: limits.comments,
            left_out: 0,
        }
    }

    /// The comments on everything that came.
    pub fn finish(mut self) -> Comments {
        for session in self.sessions.drain().map(|(_, session)| session).collect::<Vec<_>>() {
            self.add_all(session.comments);
        }
        let mut findings: Vec<_> = self.findings.drain().map(|(_, known)| known).collect();
        findings.sort_by_key(|known| known.order);
        let mut capture = String::new();
        for known in findings.iter_mut().filter(|known| !known.comments.is_empty()) {
            // Writing to a `String` cannot fail.
            let _ = writeln!(capture, "{}: {}\n{}", known.severity, known.title, known.about);
            self.add_all(std::mem::take(&mut known.comments));
            if let Some((frame, text)) = known.solved.take() {
                self.add(frame, CommentPlace::Solved, &text);
            }
        }
        let Self { mut comments, mut nodes, left_out, .. } = self;
        comments.sort_by_key(|comment| (comment.frame, comment.place));
        comments.dedup_by(|later, kept| later.frame == kept.frame && later.text == kept.text);
        let packets = comments.into_iter().map(|it| (it.frame, it.text)).collect();
        let mut names: Vec<_> =
            nodes.drain().filter_map(|(ip, nodes)| Some((ip, name_of(&nodes)?))).collect();
        names.sort();
        Comments { packets, names, capture, left_out }
    }

    fn add(&mut self, frame: FrameRef, place: CommentPlace, text: &str) {
        let text = escape(text);
        let text = clipped(&text, MAX_COMMENT);
        let costs = text.len() + size_of::<PlacedComment>();
        if costs > self.left {
            self.left_out += 1;
            return;
        }
        self.left -= costs;
        self.comments.push(PlacedComment { frame, place, text: text.into() });
    }

    fn add_all(&mut self, comments: Vec<(FrameRef, CommentPlace, String)>) {
        for (frame, place, text) in comments {
            self.add(frame, place, &text);
        }
    }

    fn on_epmd(&mut self, epmd: &Epmd, event: &Event) {
        let frame = |kinds: &[StepKind]| {
            let step = epmd.steps.iter().find(|step| kinds.contains(&step.what))?;
            Some(step.frame)
        };
        let close = frame(&[StepKind::Close, StepKind::Rst, StepKind::Icmp]);
        let (request, reply) = (frame(&[StepKind::Request]), frame(&[StepKind::Reply]));
        let Some(ids) = event.connection.as_deref() else { return };
        if epmd.outcome == EpmdOutcome::Unregistered {
            let name = epmd.name.as_deref().unwrap_or("?");
            let lasted =
                epmd.lifetime_us.map_or_else(String::new, |us| format!(" after {}", duration(us)));
            let text = format!(
                "\"{name}\" is no longer registered with EPMD: the connection that keeps its \
                 registration is closed{lasted}"
            );
            if let Some(frame) = close.or(event.frame) {
                self.add(frame, CommentPlace::Message, &text);
            }
            return;
        }
        if let Some(frame) = request {
            self.add(frame, CommentPlace::Message, &epmd_request(epmd, ids));
        }
        let last = reply.or(event.frame).or(close);
        if let Some(frame) = last.or(request).or_else(|| frame(&[StepKind::Syn])) {
            self.add(frame, CommentPlace::Outcome, &epmd_answer(epmd, ids));
        }
    }

    fn on_handshake(&mut self, handshake: &Handshake, event: &Event) {
        let (Some(frame), Some(ids)) = (event.frame, event.connection.as_deref()) else { return };
        let name = |node: &Option<Arc<str>>, ip: IpAddr, port: u16| {
            node.as_ref().map_or_else(|| SocketAddr::new(ip, port).to_string(), ToString::to_string)
        };
        let sides = [
            name(&handshake.initiator, ids.src_ip, ids.src_port),
            name(&handshake.acceptor, ids.dest_ip, ids.dest_port),
        ];
        let (messages, _) = self.messages.entry(&ids.session_id);
        if messages.len() < LADDER_MESSAGES {
            messages.push((event.at, handshake.message));
        }
        self.add(frame, CommentPlace::Message, &handshake_words(handshake, &sides));
    }

    fn on_session(&mut self, session: &Session, event: &Event) {
        let connection = event.connection.as_deref();
        let sentences::Ends { names, .. } = sentences::Ends::of(session, connection);
        let result = sentences::attempt(session, connection);
        if session.state == State::Established
            && let Some(frame) = event.frame
        {
            self.add(frame, CommentPlace::Outcome, &format!("So far: {result}"));
        }
        // A message may come after the close.
        let messages = connection.and_then(|ids| self.messages.get(&ids.session_id));
        let messages = messages.map(Vec::as_slice).unwrap_or_default();
        let reached = |step: &Step| {
            let mut before = messages.iter().rev().filter(|(at, _)| *at <= step.at);
            before
                .next()
                .map(|(_, message)| *message)
                .or_else(|| session.reached.filter(|_| messages.is_empty()))
        };
        let words = |step| step_words(session, step, reached(step), &names);
        let mut comments: Vec<_> = session.steps.iter().filter_map(words).collect();
        // The outcome of a connection that stays open has no packet of its own.
        if let Some(frame) = event.frame.or(session.last_frame)
            && session.state != State::Established
        {
            comments.push((frame, CommentPlace::Outcome, format!("Result: {result}")));
        }
        let Some(ids) = connection else { return };
        let (known, evicted) = self.sessions.entry(&ids.session_id);
        *known = KnownSession { names, comments };
        if let Some((_, evicted)) = evicted {
            self.add_all(evicted.comments);
        }
    }

    fn on_finding(&mut self, finding: &Finding, event: &Event) {
        let own = event.connection.as_deref();
        let side = |evidence: &Evidence| {
            let id = evidence.session_id.as_ref().or_else(|| own.map(|ids| &ids.session_id))?;
            let role = evidence.from?;
            let known = self.sessions.get(id).and_then(|it| it.names.get(role.index()));
            Some(known.cloned().unwrap_or_else(|| format!("the {role}")))
        };
        let mut comments: Vec<_> = finding
            .evidence
            .iter()
            .filter_map(|evidence| {
                let (place, text) = evidence_words(finding, evidence, side(evidence).as_deref())?;
                Some((evidence.frame, place, text))
            })
            .collect();
        let severity = severity_word(finding.severity);
        let sure = match finding.confidence {
            Confidence::Proven => String::new(),
            unsure => format!(", {}", confidence(unsure)),
        };
        let rule = finding.rule;
        let last = finding.evidence.iter().map(|evidence| evidence.frame).max();
        if let Some(frame) = event.frame.or(last) {
            // The sentence of a note is what such a packet shows.
            if finding.severity == Severity::Info {
                comments.retain(|(at, place, _)| (*at, *place) != (frame, CommentPlace::Evidence));
            }
            let text = format!(
                "{severity}: {} (rule {rule}{sure}; more: beamscope explain {rule})",
                finding.title
            );
            comments.push((frame, CommentPlace::Finding, text));
        }
        let mut about = escape(&finding.explanation).into_owned();
        for step in &finding.remedy {
            let _ = write!(about, "\nwhat to do: {}", escape(step));
        }
        let order = self.findings.evictions();
        let (known, _) = self.findings.entry(&finding.incident_id);
        if known.order == 0 {
            known.order = event.at.0.max(1).saturating_add(order);
        }
        known.title = escape(&finding.title).into_owned();
        known.severity = severity;
        known.about = about;
        known.comments = comments;
    }

    fn on_incident(&mut self, incident: &Incident, event: &Event) {
        let Some(known) = self.findings.get_mut(&incident.incident_id) else { return };
        let how = match incident.settled_by {
            Some(SettledBy::Connected) => "the nodes connected",
            Some(SettledBy::Registered) => "the name was registered",
            Some(SettledBy::EpmdReplied) => "EPMD replied",
            Some(SettledBy::Accepted) => "the port accepted a connection",
            None => "what failed worked",
        };
        let input = event.frame.map(|frame| frame.input).or(event.input);
        known.solved = match (incident.state, input, incident.settled_frame) {
            (IncidentState::Solved, Some(input), Some(number)) => {
                let text = format!("SOLVED, because {how}: {}", known.title);
                Some((FrameRef { input, number }, text))
            }
            _ => None,
        };
    }

    fn on_node(&mut self, node: &Node, event: &Event) {
        if let (Some(frame), Some(text)) = (event.frame, sentences::node_change(node)) {
            self.add(frame, CommentPlace::Outcome, &text);
        }
        if node.names.is_some() {
            return;
        }
        let is_lasting = !node.dynamic && node.hidden != Some(true);
        for ip in &node.ips {
            let (names, _) = self.nodes.entry(ip);
            if let Some(known) = names.iter_mut().find(|known| known.name == node.node) {
                known.is_lasting = is_lasting;
            } else if names.len() < MOST_NODES {
                names.push(NodeName { name: Arc::clone(&node.node), is_lasting });
            }
        }
    }
}

impl EventSink for CommentCollector {
    fn event(&mut self, mut event: Event) {
        if self.filter.as_mut().is_some_and(|filter| !filter.admits(&mut event)) {
            return;
        }
        match &event.body {
            Body::Epmd { epmd } => self.on_epmd(epmd, &event),
            Body::Handshake { handshake } => self.on_handshake(handshake, &event),
            Body::Session { session } => self.on_session(session, &event),
            Body::Finding { finding } => self.on_finding(finding, &event),
            Body::Incident { incident } => self.on_incident(incident, &event),
            Body::Node { node } => self.on_node(node, &event),
            Body::Anomaly { anomaly } if !anomaly.kind.is_about_input() => {
                if let Some(frame) = event.frame {
                    self.add(frame, CommentPlace::Evidence, &sentences::anomaly(anomaly));
                }
            }
            Body::Anomaly { .. }
            | Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. }
            | Body::Stats { .. } => {}
        }
    }
}

/// The request to EPMD in words.
fn epmd_request(epmd: &Epmd, ids: &ConnectionIds) -> String {
    let from = ids.src_ip;
    let name = epmd.name.as_deref().unwrap_or("?");
    let port = epmd.port.map_or_else(String::new, |port| format!(" on port {port}"));
    match epmd.request {
        Some("PORT_PLEASE2_REQ") => {
            format!("{from} asks EPMD for the port of node \"{name}\" (PORT_PLEASE2_REQ)")
        }
        Some("ALIVE2_REQ") => {
            format!("{from} registers the node \"{name}\"{port} with EPMD (ALIVE2_REQ)")
        }
        Some("NAMES_REQ") => format!("{from} asks EPMD for the names of all nodes (NAMES_REQ)"),
        Some("STOP_REQ") => {
            format!("{from} asks EPMD to forget the node \"{name}\" (STOP_REQ)")
        }
        Some("KILL_REQ") => format!("{from} asks EPMD to end (KILL_REQ)"),
        Some(other) => format!("{from} sends the request {other} to EPMD"),
        None => format!("{from} sends bytes to EPMD that are no request"),
    }
}

/// What became of the request.
fn epmd_answer(epmd: &Epmd, ids: &ConnectionIds) -> String {
    let host = ids.dest_ip;
    let name = epmd.name.as_deref().unwrap_or("?");
    let tag = epmd.response.map_or_else(String::new, |tag| format!(" ({tag})"));
    match (epmd.outcome, epmd.request, epmd.port) {
        (EpmdOutcome::Answered, Some("ALIVE2_REQ"), _) => {
            format!("EPMD on {host} has registered the node \"{name}\"{tag}")
        }
        (EpmdOutcome::Answered, Some("PORT_PLEASE2_REQ"), Some(port)) => {
            format!("EPMD on {host} answers: node \"{name}\" listens on port {port}{tag}")
        }
        (EpmdOutcome::Answered, ..) => match (&epmd.names, &epmd.reply) {
            (Some(names), _) => {
                let all = names.iter().take(MOST_NODES).map(|it| &*it.name).collect::<Vec<_>>();
                let all =
                    if all.is_empty() { String::new() } else { format!(": {}", listed(&all)) };
                let more = if names.len() > MOST_NODES { " and others" } else { "" };
                let names = count(names.len() as u64, "registered node");
                format!("EPMD on {host} lists {names}{all}{more}")
            }
            (None, Some(reply)) => format!("EPMD on {host} answers \"{}\"", reply.trim_end()),
            (None, None) => format!("EPMD on {host} answers{tag}"),
        },
        (EpmdOutcome::NotRegistered, ..) => {
            format!("EPMD on {host} answers: no node \"{name}\" is registered here{tag}")
        }
        (EpmdOutcome::RegistrationRefused, ..) => {
            format!("EPMD on {host} refuses to register the node \"{name}\"{tag}")
        }
        (EpmdOutcome::ConnectionRefused, ..) => {
            format!(
                "{host} refuses the connection to EPMD: nothing listens on this port, or a firewall rejects it"
            )
        }
        (EpmdOutcome::Unanswered, ..) => {
            format!("EPMD on {host} does not answer in this capture")
        }
        (EpmdOutcome::NoReply, ..) => {
            format!("The connection to EPMD on {host} is closed without an answer")
        }
        (EpmdOutcome::Malformed, ..) => {
            format!("These bytes on the port of EPMD on {host} are not its protocol")
        }
        (EpmdOutcome::CommandRefused, ..) => format!("EPMD on {host} refuses the command"),
        (EpmdOutcome::Unacknowledged, ..) => {
            format!(
                "What was sent to or by EPMD on {host} was never acknowledged: it did not arrive"
            )
        }
        (EpmdOutcome::Unregistered, ..) => format!("The registration of \"{name}\" is over"),
        (EpmdOutcome::Incomplete, ..) => {
            format!("What became of this request to EPMD on {host} is not in the capture")
        }
    }
}

/// A message of the handshake in words. `sides` are names or addresses, the initiator first.
fn handshake_words(handshake: &Handshake, sides: &[String; 2]) -> String {
    let [initiator, acceptor] = sides;
    let version = handshake.version.map_or_else(String::new, |v| format!(", version {v}"));
    let cookie =
        handshake.cookie.as_ref().map_or_else(String::new, |label| format!(", cookie {label}"));
    let name = handshake.name.as_deref().unwrap_or_default();
    match (handshake.message, handshake.from) {
        ("send_name", _) if !name.contains('@') => format!(
            "{initiator} on host \"{name}\" asks {acceptor} for a node name (send_name{version})"
        ),
        ("send_name", _) => {
            format!("{initiator} dials {acceptor} and gives its own name (send_name{version})")
        }
        ("status", Role::Initiator) => match handshake.status.as_deref() {
            Some("true") => format!(
                "{initiator} asks {acceptor} to go on and to drop the older connection (status true)"
            ),
            other => format!(
                "{initiator} gives up this connection and keeps the older one (status {})",
                other.unwrap_or("?")
            ),
        },
        ("status", Role::Acceptor) => {
            let status = handshake.status.as_deref().unwrap_or("?");
            let answer = match status {
                "ok" => "goes on with the handshake".to_owned(),
                "ok_simultaneous" => {
                    format!("goes on with this connection and drops its own one to {initiator}")
                }
                "nok" => format!(
                    "refuses this connection: it is dialing {initiator} itself, and goes on with that"
                ),
                "not_allowed" => {
                    format!("refuses {initiator}, which is not among the nodes it allows")
                }
                "alive" => format!(
                    "has a connection with {initiator} already, and asks whether that one is over"
                ),
                "named:" => format!(
                    "gives the dialing node the name {}",
                    handshake.assigned_name.as_deref().unwrap_or("?")
                ),
                _ => "answers with a status that the protocol does not have".to_owned(),
            };
            format!("{acceptor} {answer} (status {})", status.trim_end_matches(':'))
        }
        ("challenge", _) => format!(
            "{acceptor} gives its name and asks {initiator} to prove its cookie (challenge{version})"
        ),
        ("complement", _) => {
            format!(
                "{initiator} sends the flags that its first message had no room for (complement)"
            )
        }
        ("challenge_reply", _) => format!(
            "{initiator} sends the proof of its cookie and asks {acceptor} for the same \
             (challenge_reply{cookie})"
        ),
        ("challenge_ack", _) => format!(
            "{acceptor} accepts the cookie of {initiator} and proves its own, which completes the \
             handshake (challenge_ack{cookie})"
        ),
        (other, from) => format!("{from}: {other}"),
    }
}

/// What a packet of a connection shows beside the messages of the handshake; nothing for one that has no meaning of its
/// own.
fn step_words(
    session: &Session,
    step: &Step,
    reached: Option<&str>,
    names: &[String; 2],
) -> Option<(FrameRef, CommentPlace, String)> {
    let [initiator, acceptor] = names;
    let side = |role: Role| if role == Role::Initiator { initiator } else { acceptor };
    let from = step.from.map_or("one side", |role| side(role));
    let to = step.from.map_or("the other", |role| side(role.peer()));
    let detail = step.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
    let often = step.count.map_or_else(String::new, |n| format!(", sent {}", times(n)));
    let text = match step.what {
        StepKind::Syn if session.outcome == Outcome::Connected => return None,
        StepKind::Syn => format!("{from} opens a connection to {to}{often} (SYN)"),
        StepKind::Icmp => format!("The network reports an error about this connection{detail}"),
        StepKind::ProxyHeader => {
            format!("{from} sends a PROXY protocol header before the bytes of the node{detail}")
        }
        StepKind::TlsHello if step.from == Some(Role::Acceptor) => {
            format!("{from} answers the TLS hello of {to}")
        }
        StepKind::TlsHello => format!("{from} begins the handshake of TLS with {to}{detail}"),
        StepKind::TlsCertificate => format!("{from} sends its certificate{detail}"),
        StepKind::TlsAlert => format!("{from} reports a failure of TLS{detail}"),
        StepKind::OtherProtocol => format!("{from} sends bytes of another protocol{detail}"),
        StepKind::SentAgain => {
            format!("{from} sends these bytes again, since no acknowledgement came in time{often}")
        }
        StepKind::Unacknowledged => {
            format!("{from} sends these bytes again, and they are never acknowledged{often}")
        }
        StepKind::Fin | StepKind::Rst | StepKind::Close => {
            return Some((step.frame, CommentPlace::Close, close_words(session, reached, names)));
        }
        StepKind::SynAck
        | StepKind::Request
        | StepKind::Reply
        | StepKind::TlsRecords
        | StepKind::LastMessage => return None,
    };
    Some((step.frame, CommentPlace::Step, text))
}

/// Who closed a connection, and the message of the handshake that it had reached by then.
fn close_words(
    session: &Session,
    reached: Option<&str>,
    [initiator, acceptor]: &[String; 2],
) -> String {
    let kind = if session.close == Some(CloseKind::Rst) { "RST" } else { "FIN" };
    let does = match session.outcome {
        Outcome::Refused => "refuses",
        _ if kind == "RST" => "resets",
        _ => "closes",
    };
    let who = match session.closed_by {
        Some(Role::Initiator) => format!("{initiator} {does} the connection"),
        Some(Role::Acceptor) => format!("{acceptor} {does} the connection"),
        None => "The connection is closed".to_owned(),
    };
    let when = match (session.outcome, reached) {
        (Outcome::Connected | Outcome::NotDistribution | Outcome::Tls, _) => {
            format!(" after {}", duration(session.duration_us))
        }
        (Outcome::Refused, _) => String::new(),
        (_, Some(reached)) => format!(" during the handshake, after {reached}"),
        (_, None) => " before any message of the handshake".to_owned(),
    };
    format!("{who}{when} ({kind})")
}

/// What a packet shows of a finding; nothing where a comment on the message or the close has it already.
fn evidence_words(
    finding: &Finding,
    evidence: &Evidence,
    from: Option<&str>,
) -> Option<(CommentPlace, String)> {
    let by = from.map_or_else(String::new, |from| format!(" from {from}"));
    match &evidence.what {
        Shows::Handshake { detail, .. } if detail.is_empty() => None,
        Shows::Epmd { .. } => None,
        Shows::Close { missing: Some(missing), .. } => {
            Some((CommentPlace::Missing, format!("Here {missing}{by} should have come")))
        }
        Shows::Close { detail: "", .. } => None,
        what => {
            let text = format!("Evidence of {}: {what}{by}", finding.rule);
            Some((CommentPlace::Evidence, text))
        }
    }
}

const fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "NOTE",
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

/// The name of an address: that of its node, or for several nodes their common host, or all of their names.
fn name_of(nodes: &[NodeName]) -> Option<Box<str>> {
    let lasting: Vec<_> = nodes.iter().filter(|node| node.is_lasting).collect();
    let nodes = if lasting.is_empty() { nodes.iter().collect() } else { lasting };
    let names: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
    let hosts: HashMap<_, ()> =
        names.iter().filter_map(|name| Some((name.split_once('@')?.1, ()))).collect();
    let host = hosts.keys().next().filter(|host| host.parse::<IpAddr>().is_err());
    let text = match (names.as_slice(), host) {
        ([], _) => return None,
        ([one], _) => (*one).to_owned(),
        (_, Some(host)) if hosts.len() == 1 => (*host).to_owned(),
        (several, _) => several.join(","),
    };
    Some(clipped(&escape(&text), MAX_NAME).into())
}

/// The longest prefix of `text` with at most `bytes` bytes and only whole characters.
fn clipped(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// Bytes of one comment, which is the limit of the reader and the writer in this crate.
const MAX_COMMENT: usize = 1024;

/// Bytes of a name of an address, which is the limit of DNS.
const MAX_NAME: usize = 255;

/// Most names that are listed: of nodes at one address, or in one answer of EPMD.
const MOST_NODES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::{epmd, finding, handshake, session};

    fn comments(limits: &Limits, events: impl IntoIterator<Item = Event>) -> Comments {
        let mut collector = CommentCollector::new(limits, &Shown::default());
        events.into_iter().for_each(|event| collector.event(event));
        collector.finish()
    }

    fn on(comments: &Comments, number: u64) -> Vec<&str> {
        let own = comments.packets.iter().filter(|(frame, _)| frame.number == number);
        own.map(|(_, text)| &**text).collect()
    }

    #[test]
    fn a_close_has_what_should_have_come_and_the_packet_that_settles_it_has_the_verdict() {
        let closed = |number| {
            let mut event = session(State::Closed, Outcome::CookieMismatch);
            if let Body::Session { session } = &mut event.body {
                session.steps.push(Step {
                    frame: FrameRef { input: 0, number },
                    input: None,
                    at: Timestamp(1),
                    from: Some(Role::Acceptor),
                    what: StepKind::Fin,
                    count: None,
                    until: None,
                    bytes: None,
                    messages: Vec::new(),
                    detail: None,
                });
            }
            event
        };
        let solved = Incident {
            incident_id: "9c41000000000000".into(),
            rule: "cookie-mismatch",
            severity: Severity::Low,
            found_severity: Severity::High,
            nodes: Vec::new(),
            count: 1,
            first: Timestamp(1),
            last: Timestamp(1),
            state: IncidentState::Solved,
            settled_at: Some(Timestamp(2)),
            settled_frame: Some(30),
            settled_by: Some(SettledBy::Connected),
        };
        let mut end = finding();
        end.body = Body::Incident { incident: Box::new(solved) };
        let all = comments(&Limits::default(), [epmd(), closed(20), closed(21), finding(), end]);
        assert_eq!(
            on(&all, 21),
            [
                "two@192.168.0.103 closes the connection during the handshake, after \
                 challenge_reply (FIN)",
                "Here challenge_ack from two@192.168.0.103 should have come",
                "Result: one@192.168.0.100 -> two@192.168.0.103: cookie mismatch (likely)",
                "HIGH: two@192.168.0.103 refused the cookie of one@192.168.0.100 (rule \
                 cookie-mismatch, likely; more: beamscope explain cookie-mismatch)",
            ]
        );
        let how = "SOLVED, because the nodes connected: two@192.168.0.103 refused";
        assert!(on(&all, 30)[0].starts_with(how), "{all:?}");
        assert!(all.capture.starts_with("HIGH: two@192.168.0.103 refused"), "{all:?}");
        assert!(all.capture.ends_with("what to do: Give both nodes the same cookie.\n"), "{all:?}");
    }

    #[test]
    fn a_close_names_the_message_before_it_and_none_that_came_later() {
        let message = |at, kind| {
            let mut event = handshake();
            event.at = Timestamp(at);
            let Body::Handshake { handshake } = &mut event.body else { unreachable!() };
            handshake.message = kind;
            event
        };
        let mut closed = session(State::Closed, Outcome::TimedOut);
        let Body::Session { session } = &mut closed.body else { unreachable!() };
        session.reached = Some("status");
        session.steps = vec![Step {
            frame: FrameRef { input: 0, number: 50 },
            input: None,
            at: Timestamp(7),
            from: Some(Role::Initiator),
            what: StepKind::Fin,
            count: None,
            until: None,
            bytes: None,
            messages: Vec::new(),
            detail: None,
        }];
        let events = [message(1, "send_name"), message(9, "status"), closed];
        let all = comments(&Limits::default(), events);
        assert!(
            on(&all, 50)[0].ends_with(" during the handshake, after send_name (FIN)"),
            "{all:?}"
        );
    }

    #[test]
    fn text_of_the_wire_is_escaped_and_clipped() {
        let mut event = finding();
        if let Body::Finding { finding } = &mut event.body {
            finding.title = format!("a\n\u{202e}\x1b[31m{}", "\u{00e4}".repeat(2000));
        }
        let all = comments(&Limits::default(), [event]);
        let verdict = on(&all, 21)[1];
        assert!(verdict.starts_with("HIGH: a\\x0a\\u{202e}\\x1b[31m\u{00e4}"), "{verdict}");
        assert!((MAX_COMMENT - 1..=MAX_COMMENT).contains(&verdict.len()));
        let title = all.capture.lines().next().unwrap();
        assert!(title.starts_with("HIGH: a\\x0a"), "{title}");
    }

    #[test]
    fn comments_have_a_bound_and_what_is_left_out_is_counted() {
        let limits = Limits { comments: 300, ..Limits::default() };
        let all =
            comments(&limits, [epmd(), session(State::Closed, Outcome::Connected), finding()]);
        assert!(!all.packets.is_empty(), "{all:?}");
        assert!(all.left_out > 0, "{all:?}");
    }

    #[test]
    fn an_address_has_the_name_of_its_node_or_of_its_host() {
        let node = |name: &str, is_lasting| NodeName { name: name.into(), is_lasting };
        for (nodes, name) in [
            (vec![node("one@h1", true)], "one@h1"),
            (vec![node("one@h1", true), node("rem-1@h1", false)], "one@h1"),
            (vec![node("one@h1", true), node("two@h1", true)], "h1"),
            (
                vec![node("one@10.0.0.1", true), node("two@10.0.0.1", true)],
                "one@10.0.0.1,two@10.0.0.1",
            ),
            (vec![node("one@h1", true), node("two@h2", true)], "one@h1,two@h2"),
        ] {
            assert_eq!(name_of(&nodes).as_deref(), Some(name));
        }
        assert_eq!(name_of(&[]), None);
    }
}
