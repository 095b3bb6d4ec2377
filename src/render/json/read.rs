//! Events, read back from lines of JSON.
//!
//! In: lines of [NDJSON](super::super::Format::Ndjson). Out: the events again, for a report; or the outcome of each
//! session, for a comparison. Other fields, and events of other types, are ignored, so that lines of later versions of
//! the program are read as long as the version of the contract is the same.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::compare::{PairAttempt, PairProblem};
use crate::observe::{DistFlags, TransportProtocol};
use crate::packet::FrameRef;
use crate::record::{
    self, Body, ConnectionIds, Event, Hex, Outcome, Severity, Shows, State, VERSION,
};
use crate::render::escape::escape;
use crate::time::Timestamp;

/// Why lines cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is not one of this program.
    #[error(
        "line {line} is not one that beamscope writes: {found}; expected one JSON object a line"
    )]
    KeptLine {
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        found: String,
    },
    /// A line has another version of the contract.
    #[error("line {line} is of schema version {found}; expected {VERSION}")]
    Version {
        /// Number of the line, from 1.
        line: u64,
        /// Version of the line.
        found: u64,
    },
    /// A line is longer than any event.
    #[error("line {line} is longer than any event; expected at most {LONGEST} bytes")]
    Endless {
        /// Number of the line, from 1.
        line: u64,
    },
}

/// The lines of an input, one at a time.
pub(super) struct KeptLines<R> {
    lines: R,
    /// Number of the last line read.
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> KeptLines<R> {
    pub(super) const fn new(lines: R) -> Self {
        Self { lines, line: 0, buffer: Vec::new() }
    }

    /// Reads the next line that is not blank into the buffer; false when there is none left.
    pub(super) fn read(&mut self) -> Result<bool, ReadError> {
        loop {
            self.buffer.clear();
            let mut line = (&mut self.lines).take(LONGEST + 1);
            if line.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(false);
            }
            self.line += 1;
            if self.buffer.len() as u64 > LONGEST {
                return Err(ReadError::Endless { line: self.line });
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line that was read last.
    pub(super) fn line(&self) -> &[u8] {
        &self.buffer
    }

    pub(super) fn wrong(&self, found: &dyn ToString) -> ReadError {
        // The error may quote the line, which may contain control characters.
        let found = escape(&found.to_string()).into_owned();
        ReadError::KeptLine { line: self.line, found }
    }

    /// What the line in the buffer holds.
    pub(super) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ReadError> {
        // Checked once, not string by string, which takes a tenth of the time to read a line.
        let line = str::from_utf8(&self.buffer).map_err(|e| self.wrong(&e))?;
        serde_json::from_str(line).map_err(|e| self.wrong(&within_line(&e)))
    }

    fn check_version(&self, found: u64) -> Result<(), ReadError> {
        let line = self.line;
        let is_known = found == u64::from(VERSION);
        if is_known { Ok(()) } else { Err(ReadError::Version { line, found }) }
    }
}

/// What is wrong with a line. The parser is given one line at a time, so the line that it counts is always the first.
fn within_line(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let position = format!(" at line {} column {column}", error.line());
    match text.strip_suffix(&position) {
        Some(found) => format!("{found} at column {column}"),
        None => text,
    }
}

/// A line that a comparison of two captures needs.
#[derive(Debug)]
pub enum PairRecord {
    /// The record of a session.
    Attempt(PairAttempt),
    /// A finding of a connection.
    Problem(PairProblem),
}

/// The session records and findings among the lines of an input.
pub struct Records<R>(KeptLines<R>);

impl<R: BufRead> Records<R> {
    /// Reads the records of `lines`.
    pub const fn new(lines: R) -> Self {
        Self(KeptLines::new(lines))
    }

    /// The next of them; `None` when there is none left.
    ///
    /// # Errors
    ///
    /// A line that cannot be read, or is no event.
    pub fn next_record(&mut self) -> Result<Option<PairRecord>, ReadError> {
        while self.0.read()? {
            if let Some(record) = self.record()? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// What the line in the buffer is, if a comparison needs it.
    fn record(&self) -> Result<Option<PairRecord>, ReadError> {
        let wrong = |found: &dyn ToString| self.0.wrong(found);
        let line: KeptLine<'_> = self.0.parse()?;
        self.0.check_version(line.v)?;
        if line.event_type == "finding" {
            let problem = line.finding.filter(|it| it.severity > Severity::Info);
            let parts = line.session_id.zip(problem);
            let problem = parts.map(|(id, it)| PairProblem::new(id, it.rule, &it.title));
            return Ok(problem.map(PairRecord::Problem));
        }
        if line.event_type != "session" {
            return Ok(None);
        }
        let parts = (line.session, line.session_id, line.src_ip.zip(line.dest_ip));
        let (Some(session), Some(session_id), Some((src, dst))) = parts else {
            return Err(wrong(&"a session without its body, its id or its addresses"));
        };
        let at = line.timestamp.map(|text| text.parse().map_err(|e| wrong(&e))).transpose()?;
        let at = at.unwrap_or_default();
        let Record { state, outcome, initiator, acceptor, lookup } = session;
        let ips = [initiator.ip.unwrap_or(src), acceptor.ip.unwrap_or(dst)];
        let asked = lookup.map(|lookup| lookup.asked);
        let sides = PairAttempt::sides(ips, [initiator.node, acceptor.node], asked);
        Ok(Some(PairRecord::Attempt(PairAttempt { at, session_id, state, outcome, sides })))
    }
}

/// The events among the lines of an input.
pub struct KeptEvents<R> {
    lines: KeptLines<R>,
    /// Names of the inputs of the events, and of evidence.
    inputs: Vec<Arc<str>>,
    /// Index of the first of them among all inputs of the run.
    first: u16,
}

impl<R: BufRead> KeptEvents<R> {
    /// Reads the events of `lines`. `inputs` are the [names of their inputs](input_names), of which the first is the
    /// `first` of the run.
    pub const fn new(lines: R, inputs: Vec<Arc<str>>, first: u16) -> Self {
        Self { lines: KeptLines::new(lines), inputs, first }
    }

    /// The next event; `None` when there is none left. Messages after the handshake, and types of events that are not
    /// known, are left out.
    ///
    /// # Errors
    ///
    /// A line that cannot be read, or is no event.
    pub fn next_event(&mut self) -> Result<Option<Event>, ReadError> {
        while self.lines.read()? {
            if let Some(event) = self.event()? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The event of the line in the buffer, if its type is known.
    fn event(&self) -> Result<Option<Event>, ReadError> {
        let lines = &self.lines;
        let head: EventHead<'_> = lines.parse()?;
        lines.check_version(head.v)?;
        let input = head.input.as_deref().map(|name| self.index(name));
        let frame = head.frame.map(|number| FrameRef { input: input.unwrap_or(0), number });
        let Some(mut body) = self.body(&head.event_type)? else { return Ok(None) };
        self.place_frames(&mut body, input);
        if let Body::Finding { finding } = &mut body
            && head.src_ip.is_none()
        {
            // Packets of no TCP connection, and of no side of one, are those of name servers and of ARP.
            for evidence in finding.evidence.iter_mut().filter(|it| it.from.is_none()) {
                if let Shows::Note(text) = &evidence.what {
                    evidence.what = Shows::Dns(text.clone().into_owned());
                }
            }
        }
        Ok(Some(Event {
            at: head.timestamp,
            frame,
            input,
            connection: head.connection().map(Arc::new),
            body,
        }))
    }

    fn body(&self, event_type: &str) -> Result<Option<Body>, ReadError> {
        Ok(Some(match event_type {
            "epmd" => Body::Epmd { epmd: self.part(|it: EpmdPart| it.epmd)? },
            "handshake" => {
                let mut handshake = self.part(|it: HandshakePart| it.handshake)?;
                handshake.flag_names = handshake.flags.map(|Hex(flags)| DistFlags(flags));
                Body::Handshake { handshake }
            }
            "session" => Body::Session { session: self.part(|it: SessionPart| it.session)? },
            "finding" => Body::Finding { finding: self.part(|it: FindingPart| it.finding)? },
            "incident" => {
                let mut incident = self.part(|it: IncidentPart| it.incident)?;
                incident.found_severity = incident.severity;
                Body::Incident { incident }
            }
            "node" => Body::Node { node: self.part(|it: NodePart| it.node)? },
            "cluster" => Body::Cluster { cluster: self.part(|it: ClusterPart| it.cluster)? },
            "anomaly" => Body::Anomaly { anomaly: self.part(|it: AnomalyPart| it.anomaly)? },
            "stats" => Body::Stats { stats: self.part(|it: StatsPart| it.stats)? },
            _ => return Ok(None),
        }))
    }

    fn part<P: DeserializeOwned, T>(&self, take: impl Fn(P) -> T) -> Result<Box<T>, ReadError> {
        self.lines.parse().map(|part| Box::new(take(part)))
    }

    /// Gives the frames within a body their input, which they have by name if it is not that of the line.
    fn place_frames(&self, body: &mut Body, own: Option<u16>) {
        let place = |frame: &mut FrameRef, name: Option<&Arc<str>>| {
            frame.input = name.map(|name| self.index(name)).or(own).unwrap_or(NO_INPUT);
        };
        let steps = match body {
            Body::Epmd { epmd } => epmd.steps.as_mut_slice(),
            Body::Session { session } => session.steps.as_mut_slice(),
            _ => &mut [],
        };
        steps.iter_mut().for_each(|step| place(&mut step.frame, step.input.as_ref()));
        match body {
            Body::Finding { finding } => {
                for evidence in &mut finding.evidence {
                    place(&mut evidence.frame, evidence.input.as_ref());
                }
            }
            Body::Session { session } => {
                if let Some(lookup) = &mut session.lookup {
                    place(&mut lookup.reply, None);
                }
                for link in session.messages.iter_mut().flat_map(|it| it.packet_links()) {
                    place(&mut link.frame, link.input.as_ref());
                }
            }
            _ => {}
        }
    }

    fn index(&self, name: &str) -> u16 {
        let place = self.inputs.iter().position(|input| &**input == name);
        let place = place.and_then(|place| u16::try_from(place).ok());
        place.map_or(NO_INPUT, |place| self.first.saturating_add(place))
    }
}

/// The names of the inputs that the events of `lines` are about, in the order in which they occur; the first `most` of
/// them. A line that cannot be read ends them.
pub fn input_names(lines: impl BufRead, most: usize) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut lines = KeptLines::new(lines);
    while let Ok(true) = lines.read() {
        let Ok(line) = lines.parse::<InputsOfLine<'_>>() else { break };
        let evidence = line.finding.into_iter().flat_map(|finding| finding.evidence);
        let mut found: Vec<_> = evidence.filter_map(|evidence| evidence.input).collect();
        found.extend(line.input.map(Cow::into_owned));
        for name in found {
            if names.len() < most && !names.iter().any(|known| **known == name) {
                names.push(name.into());
            }
        }
    }
    names
}

/// What a line has besides its body.
#[derive(Deserialize)]
struct EventHead<'a> {
    v: u64,
    timestamp: Timestamp,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    input: Option<Cow<'a, str>>,
    frame: Option<u64>,
    session_id: Option<Arc<str>>,
    community_id: Option<Arc<str>>,
    src_ip: Option<IpAddr>,
    src_port: Option<u16>,
    dest_ip: Option<IpAddr>,
    dest_port: Option<u16>,
    #[serde(default)]
    encap: Vec<String>,
}

impl EventHead<'_> {
    fn connection(self) -> Option<ConnectionIds> {
        Some(ConnectionIds {
            session_id: self.session_id?,
            community_id: self.community_id.unwrap_or_default(),
            src_ip: self.src_ip?,
            src_port: self.src_port?,
            dest_ip: self.dest_ip?,
            dest_port: self.dest_port?,
            proto: TransportProtocol::Tcp,
            encap: self.encap,
        })
    }
}

/// A type with one field, for the body of an event.
macro_rules! part {
    ($part:ident, $field:ident: $record:ty) => {
        #[derive(Deserialize)]
        struct $part {
            $field: $record,
        }
    };
}

part!(EpmdPart, epmd: record::Epmd);
part!(HandshakePart, handshake: record::Handshake);
part!(SessionPart, session: record::Session);
part!(FindingPart, finding: record::Finding);
part!(IncidentPart, incident: record::Incident);
part!(NodePart, node: record::Node);
part!(ClusterPart, cluster: record::Cluster);
part!(AnomalyPart, anomaly: record::Anomaly);
part!(StatsPart, stats: record::Stats);

/// The names of inputs that a line has.
#[derive(Deserialize)]
struct InputsOfLine<'a> {
    #[serde(borrow)]
    input: Option<Cow<'a, str>>,
    finding: Option<InputsOfFinding>,
}

#[derive(Deserialize)]
struct InputsOfFinding {
    evidence: Vec<InputOfEvidence>,
}

#[derive(Deserialize)]
struct InputOfEvidence {
    input: Option<String>,
}

/// The index of an input that has no name.
const NO_INPUT: u16 = u16::MAX;

/// The fields of a line that are needed.
#[derive(Deserialize)]
struct KeptLine<'a> {
    v: u64,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    session_id: Option<Arc<str>>,
    src_ip: Option<IpAddr>,
    dest_ip: Option<IpAddr>,
    session: Option<Record>,
    finding: Option<KeptFinding>,
}

#[derive(Deserialize)]
struct KeptFinding {
    rule: Arc<str>,
    title: String,
    severity: Severity,
}

#[derive(Deserialize)]
struct Record {
    state: State,
    outcome: Outcome,
    initiator: KeptParty,
    acceptor: KeptParty,
    lookup: Option<KeptLookup>,
}

#[derive(Deserialize)]
struct KeptParty {
    node: Option<Arc<str>>,
    ip: Option<IpAddr>,
}

#[derive(Deserialize)]
struct KeptLookup {
    asked: Arc<str>,
}

/// Bytes of the longest line read: far above a `cluster` of a thousand nodes in full mesh.
const LONGEST: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::super::ndjson;
    use super::*;
    use crate::render::samples;

    fn line(event: &Event) -> String {
        let mut line = Vec::new();
        ndjson::write(&mut line, 1, Some("a.pcap"), event).unwrap();
        String::from_utf8(line).unwrap()
    }

    fn failure(lines: &str) -> String {
        let mut records = Records::new(lines.as_bytes());
        loop {
            match records.next_record() {
                Ok(record) => assert!(record.is_some(), "no error"),
                Err(error) => return error.to_string(),
            }
        }
    }

    #[test]
    fn what_a_comparison_needs_is_read_back_unchanged() {
        let events = samples::all();
        let lines = events.iter().map(line).collect::<Vec<_>>().join("\n");
        let mut records = Records::new(lines.as_bytes());
        let mut expected = events.iter().filter_map(|event| {
            let attempt = PairAttempt::of(event).map(PairRecord::Attempt);
            attempt.or_else(|| PairProblem::of(event).map(PairRecord::Problem))
        });
        assert!(matches!(expected.clone().next(), Some(PairRecord::Attempt(_))));
        while let Some(read) = records.next_record().unwrap() {
            assert_eq!(format!("{read:?}"), format!("{:?}", expected.next().unwrap()));
        }
        assert!(expected.next().is_none());
    }

    #[test]
    fn every_written_event_is_read_back_unchanged() {
        let events = samples::story();
        let lines = events.iter().map(line).collect::<Vec<_>>().join("\n");
        let names = input_names(lines.as_bytes(), 9);
        assert_eq!(names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a.pcap"]);
        let mut kept = KeptEvents::new(lines.as_bytes(), names, 0);
        for mut event in events {
            if let Body::Handshake { handshake } = &mut event.body {
                // A line has the flags, and the names are made from them.
                handshake.flag_names = handshake.flags.map(|Hex(flags)| DistFlags(flags));
            }
            let read = kept.next_event().unwrap().unwrap();
            assert_eq!(line(&read), line(&event));
            assert_eq!(read.frame, event.frame);
        }
        assert!(kept.next_event().unwrap().is_none());
    }

    #[test]
    fn an_error_names_its_line() {
        let good = line(&samples::epmd());
        let session = line(&samples::session(State::Closed, Outcome::Refused));
        for (line, words) in [
            (
                "{\"v\":1}",
                "line 3 is not one that beamscope writes: missing field `event_type` at column 7",
            ),
            ("{\"v\":1,\"\x1b[2J\":}", "line 3 is not one that beamscope writes"),
            ("[]", "expected one JSON object a line"),
            (&session.replace("\"v\":1", "\"v\":2"), "line 3 is of schema version 2; expected 1"),
            (&session.replace("\"refused\"", "\"\\u001b[2J\""), r"unknown variant `\x1b[2J`"),
            (&session.replace("\"dest_ip\"", "\"else\""), "a session without its body, its id"),
            (
                &session.replace("2014-05-25T", "yesterday"),
                "line 3 is not one that beamscope writes",
            ),
            (&session[..100], "line 3 is not one that beamscope writes"),
        ] {
            let error = failure(&format!("{good}\n{line}"));
            assert!(error.contains(words), "{line}: {error}");
            assert!(!error.contains('\x1b'), "{error}");
            assert!(!error.contains("line 1"), "{error}");
        }
    }
}
