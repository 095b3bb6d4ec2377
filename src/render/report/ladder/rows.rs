//! The rows of a ladder, from the records of its connections.
//!
//! In: the last record of a connection with its messages and its look-up, and the evidence of a finding. Out: the
//! [`Ladder`]. Which message was due when a connection ended follows from the last message that the record has.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Arrow, FindingEvidence, LadderStore, Lifeline, Row, SeenMessage, Story, StoryEnd};
use crate::observe::DistFlags;
use crate::packet::FrameRef;
use crate::record::{
    CloseKind, Epmd, EpmdOutcome, Evidence, IncompleteBecause, MessageKind, Missing, Outcome,
    Protocol, Role, Session, Shows, Step, StepKind,
};
use crate::render::report::{FrameLabel, Ladder, Tone, sentences};
use crate::render::words::{bytes, count, duration, listed};
use crate::time::{Timestamp, micros};

/// The lifelines of the two sides of a connection.
const SIDES: [usize; 2] = [0, 1];

/// The lifeline of EPMD, if it has one of its own.
const EPMD: usize = 2;

/// A ladder that is being made.
struct Drawing<'a> {
    store: &'a LadderStore,
    lifelines: Vec<Lifeline>,
    rows: Vec<Row>,
    notes: Vec<String>,
    /// Packets of other connections that show the same once more.
    folded: Vec<FrameRef>,
    /// Copies of packets that have one row.
    resent: Vec<FrameRef>,
}

impl LadderStore {
    /// The ladder of a connection, with what the evidence of a finding adds to it.
    pub(super) fn draw(
        &self,
        story: &Story,
        title: String,
        finding: Option<&FindingEvidence>,
    ) -> Ladder {
        let evidence = finding.map_or(&[][..], |finding| &finding.evidence);
        let mut drawing = Drawing::new(self);
        let mut ids = vec![&*story.ids.session_id];
        match &story.end {
            Some(StoryEnd::Session(session)) => {
                drawing.session(story, session, finding);
                if let Some(lookup) = &session.lookup {
                    ids.push(&lookup.session_id);
                }
            }
            Some(StoryEnd::Epmd(epmd)) => drawing.request_alone(story, epmd),
            None => {}
        }
        for (n, shown) in evidence.iter().enumerate() {
            let own = finding.and_then(|finding| finding.connection.as_deref());
            let of = shown.session_id.as_deref().or(own).unwrap_or(&story.ids.session_id);
            let is_repeated = evidence.iter().take(n).any(|before| before.what == shown.what);
            drawing.evidence(shown, ids.contains(&of), is_repeated);
        }
        drawing.finish(title)
    }

    /// The ladder of evidence without a connection, such as questions to a name server.
    pub(super) fn draw_evidence(
        &self,
        title: String,
        nodes: &[Arc<str>],
        evidence: &[Evidence],
    ) -> Option<Ladder> {
        if evidence.is_empty() {
            return None;
        }
        let is_lookup = evidence.iter().any(|it| matches!(it.what, Shows::Dns(_)));
        let names = match nodes {
            [a, b, ..] if !is_lookup => [a.to_string(), b.to_string()],
            _ => ["host".to_owned(), "network".to_owned()],
        };
        let mut drawing = Drawing::new(self);
        drawing.lifelines =
            names.into_iter().map(|name| Lifeline { name, place: String::new() }).collect();
        evidence.iter().for_each(|shown| drawing.evidence(shown, true, false));
        Some(drawing.finish(title))
    }

    fn label_of(&self, frame: FrameRef) -> FrameLabel {
        let input = self.inputs.get(frame.input).filter(|_| self.inputs.are_several());
        FrameLabel { frame: frame.number, input: input.cloned() }
    }
}

impl<'a> Drawing<'a> {
    const fn new(store: &'a LadderStore) -> Self {
        Self {
            store,
            lifelines: Vec::new(),
            rows: Vec::new(),
            notes: Vec::new(),
            folded: Vec::new(),
            resent: Vec::new(),
        }
    }

    /// A connection between nodes, and the look-up before it.
    fn session(&mut self, story: &Story, session: &Session, finding: Option<&FindingEvidence>) {
        self.lifelines = lifelines(story, session);
        if let Some(finding) = finding {
            self.store.name_lifelines(&mut self.lifelines, &story.ids, session, &finding.nodes);
        }
        let lookup = session.lookup.as_ref();
        let asked = lookup.and_then(|lookup| self.store.stories.get(&lookup.session_id));
        match (asked.map(|asked| (asked, &asked.end)), lookup) {
            (Some((asked, Some(StoryEnd::Epmd(epmd)))), _) => {
                let side = self.epmd_side(asked.ids.dest_ip, asked.ids.dest_port, story, session);
                self.request(asked, epmd, [0, side]);
            }
            (_, Some(lookup)) => {
                let label = format!("EPMD: \"{}\" is at port {}", lookup.asked, lookup.port);
                self.push(Some(lookup.reply), None, sent(1, 0), label, String::new(), Tone::Plain);
            }
            (_, None) => {}
        }
        self.opening(session);
        for message in &story.messages {
            self.message(message, session);
        }
        if story.left_out > 0 {
            self.notes.push(format!(
                "{} of the handshake are left out.",
                count(story.left_out, "more message")
            ));
        }
        for step in &session.steps {
            self.step(step, session);
        }
        self.sort();
        let evidence = finding.map_or(&[][..], |finding| &finding.evidence);
        self.missing(story, session, evidence);
        self.end_of(session);
    }

    /// Where EPMD is drawn: on the line of the acceptor, if it runs on the same host.
    fn epmd_side(&mut self, ip: IpAddr, port: u16, story: &Story, session: &Session) -> usize {
        let acceptor = session.acceptor.ip.unwrap_or(story.ids.dest_ip);
        if acceptor == ip {
            return 1;
        }
        let place = std::net::SocketAddr::new(ip, port).to_string();
        self.lifelines.push(Lifeline { name: "EPMD".to_owned(), place });
        EPMD
    }

    /// A request to EPMD without a connection to the node behind it.
    fn request_alone(&mut self, story: &Story, epmd: &Epmd) {
        let ids = &story.ids;
        let place = format!("port {}", ids.dest_port);
        self.lifelines = vec![
            Lifeline { name: ids.src_ip.to_string(), place: String::new() },
            Lifeline { name: format!("EPMD at {}", ids.dest_ip), place },
        ];
        self.request(story, epmd, SIDES);
    }

    /// A request to EPMD from the first of two lines to the second, and what came of it.
    fn request(&mut self, story: &Story, epmd: &Epmd, [client, mapper]: [usize; 2]) {
        let line = |role: Role| if role == Role::Initiator { client } else { mapper };
        let find = |what: StepKind| epmd.steps.iter().find(|step| step.what == what);
        let (request, reply) = (find(StepKind::Request), find(StepKind::Reply));
        let (tone, is_usual) = match epmd.outcome {
            EpmdOutcome::Answered => (Tone::Plain, true),
            EpmdOutcome::NotRegistered
            | EpmdOutcome::RegistrationRefused
            | EpmdOutcome::CommandRefused => (Tone::Bad, true),
            _ => (Tone::Plain, false),
        };
        let in_vain = |role: Role| {
            epmd.steps
                .iter()
                .find(|step| step.what == StepKind::Unacknowledged && step.from == Some(role))
        };
        for step in &epmd.steps {
            let sent_by = |from: Role| Arrow::Sent { from: line(from), to: line(from.peer()) };
            match step.what {
                StepKind::Syn if request.is_some() && step.count.is_none() => {}
                StepKind::Syn => {
                    let label = format!("SYN to port {}", story.ids.dest_port);
                    let arrow = sent_by(Role::Initiator);
                    self.push_step(step, arrow, label, sent_times(step), Tone::Plain);
                }
                StepKind::Request => {
                    let (arrow, note) = undelivered(in_vain(Role::Initiator), client, mapper);
                    self.push_step(step, arrow, question(epmd), note, Tone::Plain);
                }
                StepKind::Reply => {
                    let (arrow, note) = undelivered(in_vain(Role::Acceptor), mapper, client);
                    self.push_step(step, arrow, answer(epmd), note, tone);
                }
                StepKind::Unacknowledged => {
                    let from = step.from.unwrap_or(Role::Initiator);
                    let is_drawn = match from {
                        Role::Initiator => request.is_some(),
                        Role::Acceptor => reply.is_some(),
                    };
                    if !is_drawn {
                        let (arrow, note) = undelivered(Some(step), line(from), line(from.peer()));
                        let label =
                            step.bytes.map_or_else(|| "data".to_owned(), |n| count(n, "byte"));
                        self.push_step(step, arrow, label, note, Tone::Bad);
                    }
                }
                StepKind::Close | StepKind::Fin | StepKind::Rst if is_usual => {}
                _ => self.other_step(step, line, |role| match role {
                    Role::Initiator => "the client".to_owned(),
                    Role::Acceptor => "EPMD".to_owned(),
                }),
            }
        }
        self.sort();
        if let Some((from, label, note)) =
            missing_of_request(epmd, request.is_some(), reply.is_some())
        {
            let arrow = Arrow::Missing { from: line(from), to: line(from.peer()) };
            self.insert_before_close(arrow, label, note);
        }
    }

    /// The SYN of a connection, with its answer.
    fn opening(&mut self, session: &Session) {
        let find = |what: StepKind| session.steps.iter().find(|step| step.what == what);
        let (syn, syn_ack) = (find(StepKind::Syn), find(StepKind::SynAck));
        let port = self.lifelines.get(1).and_then(|line| port_of(&line.place)).unwrap_or_default();
        let sender = |step: &Step| step.from.unwrap_or(Role::Initiator).index();
        match (syn, syn_ack) {
            (Some(syn), Some(answer)) => {
                let from = sender(syn);
                let note = match sent_times(syn) {
                    note if note.is_empty() => {
                        format!("open in {}", duration(micros(answer.at.since(syn.at))))
                    }
                    note => note,
                };
                self.push_step(
                    syn,
                    sent(from, 1 - from),
                    format!("connect{port}"),
                    note,
                    Tone::Plain,
                );
            }
            (Some(syn), None) => {
                let from = sender(syn);
                let label = format!("SYN{port}");
                self.push_step(syn, sent(from, 1 - from), label, sent_times(syn), Tone::Plain);
            }
            (None, Some(answer)) => {
                let from = sender(answer);
                self.push_step(
                    answer,
                    sent(from, 1 - from),
                    "SYN-ACK".to_owned(),
                    String::new(),
                    Tone::Plain,
                );
            }
            (None, None) => {}
        }
    }

    /// A message of the handshake.
    fn message(&mut self, seen: &SeenMessage, session: &Session) {
        let SeenMessage { at, frame, message } = seen;
        let kind = message.message;
        let from = message.from.index();
        let mut notes = Vec::new();
        let mut tone = Tone::Plain;
        let mut label = kind.to_owned();
        match kind {
            "send_name" | "challenge" => {
                let party = session.party(message.from);
                if let Some(name) =
                    message.name.as_ref().filter(|name| party.node.as_ref() != Some(*name))
                {
                    // A node that asks for a name has only its host.
                    let asks = message.from == Role::Initiator && !name.contains('@');
                    notes.push(if asks {
                        "asks for a name".to_owned()
                    } else {
                        format!("\"{name}\"")
                    });
                }
                notes.extend(self.release(message.name.as_ref(), party.otp_at_least));
                if message.flag_names.is_some_and(|flags| !flags.contains(DistFlags::PUBLISHED)) {
                    notes.push("hidden".to_owned());
                }
                if message.version == Some(5) {
                    notes.push("version 5".to_owned());
                }
            }
            "status" => {
                let status = message.status.as_deref().unwrap_or_default();
                label = format!("status {status}");
                if matches!(status, "not_allowed" | "nok" | "alive")
                    && message.from == Role::Acceptor
                {
                    tone = Tone::Notable;
                }
                if let Some(name) = &message.assigned_name {
                    notes.push(format!("\"{name}\""));
                }
            }
            "challenge_ack" if session.outcome == Outcome::Connected => tone = Tone::Good,
            _ => {}
        }
        if let Some(cookie) = &message.cookie {
            notes.push(format!("cookie {cookie}"));
        }
        let of_this = session.steps.iter().find(|step| {
            let is_of_side = step.from == Some(message.from) && step.messages.contains(&kind);
            is_of_side && matches!(step.what, StepKind::Unacknowledged | StepKind::SentAgain)
        });
        let close = session.steps.iter().find(|step| is_close(step.what));
        if close.is_some_and(|close| close.at < *at && close.from != Some(message.from)) {
            notes.push("after the close".to_owned());
            tone = Tone::Notable;
        }
        let mut arrow = sent(from, 1 - from);
        match of_this.map(|step| (step, step.what)) {
            Some((step, StepKind::Unacknowledged)) => {
                let (lost, note) = undelivered(Some(step), from, 1 - from);
                (arrow, tone) = (lost, Tone::Bad);
                notes.push(note);
            }
            Some((step, _)) => notes.push(sent_times(step)),
            None => {}
        }
        let note = notes.join(", ");
        self.push(*frame, Some(*at), arrow, label, note, tone);
    }

    /// The releases of a node, as its flags show them.
    fn release(&self, name: Option<&Arc<str>>, at_least: Option<u16>) -> Option<String> {
        let known = name.and_then(|name| self.store.nodes.get(name));
        let at_most = known.filter(|known| known.at_least == at_least).and_then(|it| it.at_most);
        match (at_least, at_most) {
            (Some(least), Some(most)) if least == most => Some(format!("OTP {least}")),
            (Some(least), Some(most)) => Some(format!("OTP {least} to {most}")),
            (Some(least), None) => Some(format!("OTP {least} or later")),
            (None, Some(most)) => Some(format!("OTP {most} or older")),
            (None, None) => None,
        }
    }

    /// A packet beside the messages; those that open the connection are drawn already.
    fn step(&mut self, step: &Step, session: &Session) {
        let from = step.from.map(Role::index);
        match step.what {
            StepKind::Syn | StepKind::SynAck => {}
            StepKind::Unacknowledged | StepKind::SentAgain if self.is_drawn(step) => {}
            StepKind::SentAgain
                if session.outcome == Outcome::Connected || step.count < Some(3) => {}
            StepKind::LastMessage => {
                let Some(from) = from else { return };
                let sent_by =
                    session.traffic.of(if from == 0 { Role::Initiator } else { Role::Acceptor });
                let label = match (sent_by.messages, sent_by.ticks) {
                    (0, ticks) => count(ticks, "tick"),
                    (messages, 0) => count(messages, "message"),
                    (messages, ticks) => {
                        format!("{}, {}", count(messages, "message"), count(ticks, "tick"))
                    }
                };
                let note = "the last one".to_owned();
                self.push_step(step, sent(from, 1 - from), label, note, Tone::Plain);
            }
            _ => {
                let mut names: Vec<_> =
                    self.lifelines.iter().map(|line| short(&line.name)).collect();
                if names.first() == names.get(1) {
                    names = self.lifelines.iter().map(|line| line.name.clone()).collect();
                }
                let name = |role: Role| names.get(role.index()).cloned().unwrap_or_default();
                self.other_step(step, Role::index, name);
            }
        }
    }

    /// Whether the messages in bytes that were sent again have rows of their own.
    fn is_drawn(&self, step: &Step) -> bool {
        let from = step.from.map(Role::index);
        !step.messages.is_empty()
            && self.rows.iter().any(|row| {
                let kind = row.label.split(' ').next().unwrap_or_default();
                row.arrow.from() == from && step.messages.contains(&kind)
            })
    }

    /// A packet that is drawn alike in all connections.
    fn other_step(
        &mut self,
        step: &Step,
        line: impl Fn(Role) -> usize,
        name: impl Fn(Role) -> String,
    ) {
        let detail = step.detail.as_deref().unwrap_or_default().to_owned();
        let from = step.from;
        let arrow = match from {
            Some(from) => sent(line(from), line(from.peer())),
            None => Arrow::Across,
        };
        let who = from.map(name);
        let closes =
            |verb: &str| who.as_ref().map_or_else(String::new, |who| format!("{who} {verb}"));
        let (label, note, tone) = match step.what {
            StepKind::Icmp => (format!("ICMP: {detail}"), String::new(), Tone::Bad),
            StepKind::ProxyHeader => ("PROXY header".to_owned(), detail, Tone::Notable),
            StepKind::TlsHello => {
                let hello = if from == Some(Role::Acceptor) {
                    "TLS ServerHello"
                } else {
                    "TLS ClientHello"
                };
                (hello.to_owned(), detail, Tone::Plain)
            }
            StepKind::TlsCertificate => ("TLS certificate".to_owned(), detail, Tone::Plain),
            StepKind::TlsRecords => {
                let records = count(step.count.unwrap_or(1), "encrypted record");
                (format!("TLS: {records}"), step.bytes.map_or_else(String::new, bytes), Tone::Plain)
            }
            StepKind::TlsAlert => (format!("TLS {detail}"), String::new(), Tone::Bad),
            StepKind::OtherProtocol => (detail, String::new(), Tone::Bad),
            StepKind::Unacknowledged => {
                let label = step.bytes.map_or_else(|| "data".to_owned(), |n| count(n, "byte"));
                let (lost, note) = match from {
                    Some(from) => undelivered(Some(step), line(from), line(from.peer())),
                    None => (Arrow::Across, sent_times(step)),
                };
                self.push_step(step, lost, label, note, Tone::Bad);
                return;
            }
            StepKind::SentAgain => {
                let label = step.bytes.map_or_else(|| "data".to_owned(), |n| count(n, "byte"));
                (label, sent_times(step), Tone::Notable)
            }
            StepKind::Fin => ("FIN".to_owned(), closes("closes"), Tone::Notable),
            StepKind::Rst => ("RST".to_owned(), closes("resets"), Tone::Bad),
            StepKind::Close => ("close".to_owned(), closes("closes"), Tone::Notable),
            StepKind::Syn
            | StepKind::SynAck
            | StepKind::Request
            | StepKind::Reply
            | StepKind::LastMessage => return,
        };
        self.push_step(step, arrow, label, note, tone);
    }

    /// The message that was due when the connection ended.
    fn missing(&mut self, story: &Story, session: &Session, evidence: &[Evidence]) {
        // A finding names it with the close in its place.
        let shown = evidence.iter().find_map(|it| match (&it.what, it.from, &it.session_id) {
            (Shows::Close { missing: Some(Missing::Handshake(kind)), .. }, Some(from), None) => {
                Some((sender(*kind).unwrap_or(from), kind.name()))
            }
            _ => None,
        });
        let Some((from, label)) = shown.or_else(|| due(story, session)) else { return };
        let is_lost = self
            .rows
            .iter()
            .any(|row| matches!(row.arrow, Arrow::Lost { .. }) && !row.label.starts_with("EPMD"));
        if is_lost {
            // What did not arrive has no answer.
            return;
        }
        let close = session.steps.iter().find(|step| is_close(step.what));
        let is_late = |close: &Step| story.messages.iter().any(|message| message.at > close.at);
        if close.is_some_and(is_late) {
            // What was due came, too late.
            return;
        }
        let lacks_nothing = session.traffic.of(from).missing_bytes == 0;
        let note = match (session.outcome, session.incomplete_because) {
            (Outcome::Incomplete, Some(IncompleteBecause::EndsBefore)) => {
                "the capture ends before it"
            }
            (Outcome::Incomplete, _) => "not in the capture",
            (Outcome::Unanswered, _) => "no answer in the capture",
            _ if session.closed_by == Some(from) && lacks_nothing => "never sent",
            _ => "never came",
        };
        let arrow = Arrow::Missing { from: from.index(), to: from.peer().index() };
        self.insert_before_close(arrow, label.to_owned(), note.to_owned());
    }

    /// What became of a connection without a close in the capture.
    fn end_of(&mut self, session: &Session) {
        match (session.outcome, session.close) {
            (Outcome::Incomplete, _) => {
                let because = session.incomplete_because.map_or("", IncompleteBecause::words);
                self.notes.push(format!("Not known what became of it: {because}."));
            }
            (Outcome::Unanswered, _) => {}
            (_, Some(CloseKind::InputEnd)) => {
                self.notes.push("It was open when the capture ended.".to_owned());
            }
            (_, Some(CloseKind::Idle)) => {
                self.notes.push("It was not closed, and no more packets came.".to_owned());
            }
            _ => {}
        }
        for (role, line) in Role::BOTH.into_iter().zip(&self.lifelines) {
            let line_of = role.index();
            let is_there = self
                .rows
                .iter()
                .any(|row| row.arrow.from() == Some(line_of) && row.frame.is_some());
            let is_due =
                matches!(session.outcome, Outcome::Connected | Outcome::Incomplete | Outcome::Tls);
            if is_due && !is_there && session.traffic.of(role).bytes == 0 {
                self.notes.push(format!("The capture has no packet from {}.", line.name));
            }
        }
        if session.connected_inside {
            self.notes
                .push("The order of the TLS records shows that the nodes connected.".to_owned());
        }
    }

    /// What a finding shows of a packet: more about a row, or a row of its own. `is_repeated` if it shows the same of an
    /// earlier one.
    fn evidence(&mut self, shown: &Evidence, is_of_ladder: bool, is_repeated: bool) {
        let Evidence { frame, from, what, .. } = shown;
        let drawn = self.rows.iter_mut().filter(|row| row.place == Some(*frame));
        let mut is_drawn = false;
        for row in drawn {
            is_drawn = true;
            add_to(row, what);
        }
        if is_drawn {
            return;
        }
        let is_lost = |row: &Row| matches!(row.arrow, Arrow::Lost { .. });
        let is_folded = match what {
            // The row of the first copy has how often the bytes were sent.
            Shows::Retransmission => is_of_ladder && self.rows.iter().any(is_lost),
            // Another attempt looks like this one.
            Shows::Handshake { detail, .. } => !is_of_ladder && detail.is_empty(),
            Shows::Close { .. } | Shows::Syn | Shows::Icmp => !is_of_ladder,
            _ => !is_of_ladder && is_repeated,
        };
        if is_folded {
            if is_of_ladder {
                self.resent.push(*frame);
            } else {
                self.folded.push(*frame);
            }
            return;
        }
        let (arrow, tone, suffix) = match (what, from) {
            (Shows::Dns(_), _) => (Arrow::Across, Tone::Plain, ""),
            (_, Some(from)) if is_of_ladder => {
                (sent(from.index(), from.peer().index()), Tone::Notable, "")
            }
            _ if is_of_ladder => (Arrow::Across, Tone::Notable, ""),
            _ => (Arrow::Across, Tone::Notable, " (another connection)"),
        };
        let label = match what {
            // What is missing has a row of its own.
            Shows::Close { is_reset, missing: Some(_), .. } => {
                if *is_reset { "RST" } else { "FIN" }.to_owned()
            }
            _ => format!("{what}{suffix}"),
        };
        let row = Row {
            frame: Some(self.store.label_of(*frame)),
            at: None,
            after: None,
            arrow,
            label,
            note: String::new(),
            tone,
            place: Some(*frame),
        };
        // Without its time, a packet has its place by its number.
        let behind = |it: &Row| {
            it.place.is_some_and(|place| place.input == frame.input && place.number > frame.number)
        };
        let at = self.rows.iter().position(behind).unwrap_or(self.rows.len());
        // What is missing stays in front of the close that it precedes.
        let is_end = matches!(what, Shows::Close { .. } | Shows::Closed(_));
        let at = match at.checked_sub(1).and_then(|before| self.rows.get(before)) {
            Some(before) if matches!(before.arrow, Arrow::Missing { .. }) && !is_end => at - 1,
            _ => at,
        };
        self.rows.insert(at, row);
    }

    fn push_step(&mut self, step: &Step, arrow: Arrow, label: String, note: String, tone: Tone) {
        self.push(Some(step.frame), Some(step.at), arrow, label, note, tone);
    }

    fn push(
        &mut self,
        frame: Option<FrameRef>,
        at: Option<Timestamp>,
        arrow: Arrow,
        label: String,
        note: String,
        tone: Tone,
    ) {
        self.rows.push(Row {
            frame: frame.map(|frame| self.store.label_of(frame)),
            at: at.filter(|at| *at != Timestamp::default()),
            after: None,
            arrow,
            label,
            note,
            tone,
            place: frame,
        });
    }

    /// Rows in order of time. Those without a time come first: the answer of EPMD that led to the connection.
    fn sort(&mut self) {
        self.rows.sort_by_key(|row| (row.at, row.place));
    }

    fn insert_before_close(&mut self, arrow: Arrow, label: String, note: String) {
        let closes = |row: &Row| matches!(row.label.as_str(), "FIN" | "RST" | "close");
        let at = match self.rows.last() {
            Some(last) if closes(last) => self.rows.len() - 1,
            _ => self.rows.len(),
        };
        let row = Row {
            frame: None,
            at: None,
            after: None,
            arrow,
            label,
            note,
            tone: Tone::Bad,
            place: None,
        };
        self.rows.insert(at, row);
    }

    fn finish(mut self, title: String) -> Ladder {
        if self.rows.is_empty() {
            self.notes.push("The capture has none of its messages.".to_owned());
        }
        let mut before = None;
        for row in &mut self.rows {
            row.after = row.at.map(|at| before.map_or(Duration::ZERO, |before| at.since(before)));
            before = row.at.or(before);
        }
        if !self.folded.is_empty() {
            let frames = self.folded.iter().take(FOLDED).map(|frame| self.store.label_of(*frame));
            let mut frames: Vec<_> = frames.map(|frame| frame.to_string()).collect();
            match self.folded.len().saturating_sub(FOLDED) {
                0 => {}
                more => frames.push(format!("{more} more")),
            }
            self.notes.push(format!(
                "Packets of other connections that show the same: {}.",
                listed(&frames)
            ));
        }
        Ladder {
            title,
            lifelines: self.lifelines,
            rows: self.rows,
            notes: self.notes,
            times: None,
            folded: [self.folded, self.resent].concat(),
        }
    }
}

impl Ladder {
    /// Adds the SYN that did not follow an answer of EPMD.
    pub(super) fn add_never_dialed(&mut self) {
        let answer = |row: &Row| row.label.strip_prefix("EPMD: port ").map(ToOwned::to_owned);
        let port = self.rows.iter().rev().find_map(answer);
        let label = port.map_or_else(|| "SYN".to_owned(), |port| format!("SYN to port {port}"));
        self.rows.push(Row {
            frame: None,
            at: None,
            after: None,
            arrow: Arrow::Missing { from: 0, to: 1 },
            label,
            note: "never dialed".to_owned(),
            tone: Tone::Bad,
            place: None,
        });
    }
}

impl Arrow {
    /// The side that sent it, or should have.
    pub(in crate::render) const fn from(self) -> Option<usize> {
        match self {
            Self::Sent { from, .. } | Self::Lost { from, .. } | Self::Missing { from, .. } => {
                Some(from)
            }
            Self::Across => None,
        }
    }
}

const fn is_close(what: StepKind) -> bool {
    matches!(what, StepKind::Fin | StepKind::Rst | StepKind::Close)
}

const fn sent(from: usize, to: usize) -> Arrow {
    Arrow::Sent { from, to }
}

/// Frames of other connections that a note names.
const FOLDED: usize = 6;

/// The lifelines of the two nodes.
fn lifelines(story: &Story, session: &Session) -> Vec<Lifeline> {
    let sentences::Ends { names, .. } = sentences::Ends::of(session, Some(&story.ids));
    let places = [
        (session.initiator.ip.unwrap_or(story.ids.src_ip), None),
        (
            session.acceptor.ip.unwrap_or(story.ids.dest_ip),
            Some(session.acceptor.port.unwrap_or(story.ids.dest_port)),
        ),
    ];
    let wanted = session.wanted.as_ref().filter(|_| session.acceptor.node.is_none());
    let wanted = wanted.and_then(|wanted| {
        let alive = wanted.alive.as_ref()?;
        Some(
            wanted
                .host
                .as_ref()
                .map_or_else(|| format!("\"{alive}\""), |host| format!("{alive}@{host}")),
        )
    });
    let nodes = [session.initiator.node.as_ref(), session.acceptor.node.as_ref()];
    let mut lines = Vec::with_capacity(3);
    for (((ip, port), name), node) in places.into_iter().zip(names).zip(nodes) {
        let is_acceptor = port.is_some();
        let address = ip.to_string();
        let name = match (node, &wanted) {
            (None, Some(wanted)) if is_acceptor => wanted.clone(),
            (None, None) | (None, Some(_)) => address.clone(),
            (Some(_), _) => name,
        };
        let place = match port {
            Some(port) if name.contains(&address) => format!("port {port}"),
            Some(port) => std::net::SocketAddr::new(ip, port).to_string(),
            None if name.contains(&address) => String::new(),
            None => address,
        };
        lines.push(Lifeline { name, place });
    }
    lines
}

/// The port at the end of a place, for a label.
fn port_of(place: &str) -> Option<String> {
    let digits = place.rsplit([' ', ':']).next()?;
    digits.parse::<u16>().ok().map(|port| format!(" to port {port}"))
}

/// The part of a node name before the `@`; an address, or a name in quotes, as it is.
fn short(name: &str) -> String {
    name.split_once('@').map_or(name, |(alive, _)| alive).to_owned()
}

/// How often something was sent, and for how long.
fn sent_times(step: &Step) -> String {
    let Some(n) = step.count else { return String::new() };
    let lasted = step.until.map(|until| duration(micros(until.since(step.at))));
    lasted.map_or_else(|| format!("sent {n} times"), |lasted| format!("sent {n} times in {lasted}"))
}

/// A packet that was sent again until its sender gave up; without such a step, one that arrived.
fn undelivered(step: Option<&Step>, from: usize, to: usize) -> (Arrow, String) {
    match step {
        None => (sent(from, to), String::new()),
        Some(step) => {
            let often = sent_times(step);
            let separator = if often.is_empty() { "" } else { ", " };
            (Arrow::Lost { from, to }, format!("{often}{separator}not acknowledged"))
        }
    }
}

/// The request to EPMD, in a few words.
fn question(epmd: &Epmd) -> String {
    let name = epmd.name.as_deref().unwrap_or("?");
    match epmd.request {
        Some("PORT_PLEASE2_REQ") => format!("EPMD: port of \"{name}\"?"),
        Some("ALIVE2_REQ") => match epmd.port {
            Some(port) => format!("EPMD: register \"{name}\", port {port}"),
            None => format!("EPMD: register \"{name}\""),
        },
        Some("NAMES_REQ") => "EPMD: which names?".to_owned(),
        Some(other) => match &epmd.name {
            Some(name) => format!("EPMD: {other} \"{name}\""),
            None => format!("EPMD: {other}"),
        },
        None => "EPMD: request".to_owned(),
    }
}

/// The reply of EPMD, in a few words.
fn answer(epmd: &Epmd) -> String {
    let name = epmd.name.as_deref().unwrap_or("?");
    match (epmd.outcome, epmd.request, epmd.port) {
        (EpmdOutcome::NotRegistered, ..) => format!("EPMD: no \"{name}\" here"),
        (EpmdOutcome::RegistrationRefused, ..) => "EPMD: refused".to_owned(),
        (EpmdOutcome::CommandRefused, ..) => "EPMD: refused".to_owned(),
        (_, Some("PORT_PLEASE2_REQ"), Some(port)) => format!("EPMD: port {port}"),
        (_, Some("ALIVE2_REQ"), _) => "EPMD: registered".to_owned(),
        _ => match &epmd.reply {
            Some(reply) => format!("EPMD: {}", reply.trim_end()),
            None => "EPMD: reply".to_owned(),
        },
    }
}

/// The message of a request to EPMD that is missing, its sender, and what is known of it.
fn missing_of_request(
    epmd: &Epmd,
    has_request: bool,
    has_reply: bool,
) -> Option<(Role, String, String)> {
    let has = |what: StepKind| epmd.steps.iter().any(|step| step.what == what);
    let closed_by_epmd = epmd.steps.iter().any(|step| {
        step.from == Some(Role::Acceptor) && matches!(step.what, StepKind::Close | StepKind::Rst)
    });
    let (label, note) = match epmd.outcome {
        EpmdOutcome::Unanswered => ("SYN-ACK", "no answer in the capture"),
        EpmdOutcome::NoReply if closed_by_epmd => ("reply", "never sent"),
        EpmdOutcome::NoReply => ("reply", "never came"),
        EpmdOutcome::Incomplete if has_reply => return None,
        EpmdOutcome::Incomplete if has_request => ("reply", "not in the capture"),
        EpmdOutcome::Incomplete if has(StepKind::Syn) && !has(StepKind::Reply) => {
            ("answer", "not in the capture")
        }
        _ => return None,
    };
    Some((Role::Acceptor, label.to_owned(), note.to_owned()))
}

/// The message that was due when the connection ended, and its sender.
fn due(story: &Story, session: &Session) -> Option<(Role, &'static str)> {
    match session.outcome {
        Outcome::Connected
        | Outcome::AlreadyConnected
        | Outcome::Superseded
        | Outcome::NotAllowed
        | Outcome::Tls
        | Outcome::TlsMismatch
        | Outcome::Refused
        | Outcome::NotDistribution => return None,
        Outcome::Unanswered => return Some((Role::Acceptor, "SYN-ACK")),
        Outcome::CookieMismatch
        | Outcome::NameMismatch
        | Outcome::VersionMismatch
        | Outcome::TimedOut
        | Outcome::Aborted
        | Outcome::Incomplete => {}
    }
    let has = |what: StepKind| session.steps.iter().any(|step| step.what == what);
    let Some(last) = story.messages.last() else {
        let is_plain = session.protocol == Protocol::Distribution && !has(StepKind::OtherProtocol);
        return match session.incomplete_because {
            Some(IncompleteBecause::SynSentOnce) => Some((Role::Acceptor, "SYN-ACK")),
            Some(IncompleteBecause::BeganBefore) => None,
            _ if is_plain && has(StepKind::SynAck) => Some((Role::Initiator, "send_name")),
            _ => None,
        };
    };
    let message = &last.message;
    let status = message.status.as_deref().unwrap_or_default();
    match (message.message, message.from) {
        ("send_name", _) => Some((Role::Acceptor, "status")),
        ("status", Role::Acceptor) if status == "alive" => Some((Role::Initiator, "status")),
        ("status", Role::Acceptor) if status == "ok" || status == "ok_simultaneous" => {
            Some((Role::Acceptor, "challenge"))
        }
        ("status", Role::Acceptor) if message.assigned_name.is_some() => {
            Some((Role::Acceptor, "challenge"))
        }
        ("status", Role::Initiator) if status == "true" => Some((Role::Acceptor, "challenge")),
        ("challenge" | "complement", _) => Some((Role::Initiator, "challenge_reply")),
        ("challenge_reply", _) => Some((Role::Acceptor, "challenge_ack")),
        _ => None,
    }
}

/// The side that sends such a message; a status is sent by both.
const fn sender(kind: MessageKind) -> Option<Role> {
    match kind {
        MessageKind::SendName | MessageKind::Complement | MessageKind::ChallengeReply => {
            Some(Role::Initiator)
        }
        MessageKind::Challenge | MessageKind::ChallengeAck => Some(Role::Acceptor),
        MessageKind::Status => None,
    }
}

/// Adds to a row what a finding shows of its packet.
fn add_to(row: &mut Row, what: &Shows) {
    let mut add = |text: &str, separator: &str| {
        if text.is_empty() || row.note.contains(text) {
            return;
        }
        if !row.note.is_empty() {
            row.note.push_str(separator);
        }
        row.note.push_str(text);
    };
    match what {
        // The text of a status is its label.
        Shows::Handshake { message, detail }
            if row.label.starts_with(message.name()) && !row.label.ends_with(&**detail) =>
        {
            add(detail, ", ");
        }
        // The side has the name of a node, and something else sent it.
        Shows::Close { detail, missing: None, .. }
            if matches!(row.label.as_str(), "FIN" | "RST") && detail.starts_with("sent ") =>
        {
            row.note = (*detail).to_owned();
        }
        Shows::Close { detail, missing: None, .. }
            if matches!(row.label.as_str(), "FIN" | "RST") =>
        {
            add(detail, " ");
        }
        Shows::TlsAlert(text)
            if row.label.starts_with("TLS") && !row.label.starts_with(&**text) =>
        {
            row.label = text.to_string();
            row.tone = Tone::Bad;
        }
        Shows::LastPacket => add("its last packet", ", "),
        Shows::Malformed { .. } | Shows::Message(_) | Shows::ZeroWindow => {
            add(&what.to_string(), ", ");
            row.tone = Tone::Bad;
        }
        _ => {}
    }
}
