//! Stage 8: events as sentences for a person at a terminal.
//!
//! In: an [`Event`] and the name of its input. Out: a block for each finding, a line for each
//! finished connection and request, a summary at the end. Judges nothing: what is bad and why, the
//! events say. Text from the wire is escaped, since a node may call itself anything, terminal
//! controls included.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};

use super::words::{
    anomaly_words, confidence, count, date, deed, duration, epmd_words, escape, grouped, listed,
    octets, outcome_words, time,
};
use crate::event::{
    Anomaly, Body, CloseKind, Confidence, ConnectionIds, Epmd, EpmdOutcome, Event, Evidence,
    Finding, Handshake, Incident, Outcome, Party, Role, Session, Severity, State, Stats,
};
use crate::time::Timestamp;

/// How text is laid out.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Columns at which explanations are wrapped.
    pub width: usize,
    /// Whether ANSI colours are written.
    pub colour: bool,
    /// Whether handshake messages are told one by one.
    pub verbose: bool,
}

/// Writes events as text.
pub(super) struct Human {
    options: TextOptions,
    several_inputs: bool,
    styles: Styles,
    /// Date under which the last line stands.
    day: String,
    /// The latest connection told of, and its two ends: a finding about it names them.
    parties: Option<(Arc<str>, [String; 2])>,
    /// Titles of the worst findings written so far and how many have each, the worst first; at most
    /// [`TITLES`].
    worst: Vec<(Severity, String, u64)>,
    /// Whether the last line is an empty one, or there is none yet.
    spaced: bool,
}

impl Human {
    /// Frames are named with their input where there are several.
    pub(super) fn new(options: TextOptions, several_inputs: bool) -> Self {
        let styles = if options.colour { Styles::COLOURED } else { Styles::default() };
        let (day, worst) = (String::new(), Vec::new());
        Self { options, several_inputs, styles, day, parties: None, worst, spaced: true }
    }

    /// Takes note of an event, whether or not it is written.
    pub(super) fn note(&mut self, event: &Event) {
        if let (Body::Session { session }, Some(ids)) = (&event.body, &event.connection) {
            self.parties = Some((Arc::clone(&ids.session_id), ends(session, Some(ids))));
        }
    }

    /// Writes what is to be said about one event, if anything is.
    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        input: Option<&str>,
        event: &Event,
    ) -> io::Result<()> {
        let connection = event.connection.as_deref();
        match &event.body {
            Body::Handshake { .. } if !self.options.verbose => return Ok(()),
            Body::Node { .. } | Body::Cluster { .. } => return Ok(()),
            // It tells its own dates.
            Body::Stats { stats } if stats.is_final => return self.summary(out, stats),
            _ => self.date(out, event.at)?,
        }
        let input_of_frame = if self.several_inputs { input } else { None };
        let place = Place { frame: event.frame.map(|frame| frame.number), input: input_of_frame };
        match &event.body {
            Body::Epmd { epmd } => {
                let style = match epmd.outcome {
                    EpmdOutcome::Answered | EpmdOutcome::Unregistered => self.styles.plain,
                    _ => self.styles.notable,
                };
                self.line(out, event.at, style, &request(epmd, connection), &place)
            }
            Body::Handshake { handshake } => {
                let text = self.message(handshake, connection);
                self.line(out, event.at, self.styles.dim, &text, &place)
            }
            Body::Session { session } => {
                let ends = ends(session, connection);
                let [initiator, acceptor] = &ends;
                let text = format!("{initiator} -> {acceptor}: {}", fate(session, &ends));
                self.line(out, event.at, self.styles.outcome(session.outcome), &text, &place)
            }
            Body::Finding { finding } => self.finding(out, event.at, connection, finding, &place),
            Body::Incident { incident } => {
                let style = self.styles.severity(incident.severity);
                self.line(out, event.at, style, &repeated(incident), &place)
            }
            Body::Anomaly { anomaly } => {
                let style = if anomaly.kind.is_about_input() {
                    self.styles.notable
                } else {
                    self.styles.dim
                };
                let subject = match connection {
                    Some(ids) => format!("{} -> {}", source(ids), destination(ids)),
                    None => input.unwrap_or("capture").to_owned(),
                };
                let text = format!("{subject}: {}", trouble(anomaly));
                self.line(out, event.at, style, &text, &place)
            }
            Body::Node { .. } | Body::Cluster { .. } => Ok(()),
            Body::Stats { stats } => {
                let text = format!(
                    "{} so far, {}, {}",
                    count(stats.packets, "packet"),
                    count(stats.sessions.values().sum(), "connection"),
                    count(stats.findings.values().sum(), "problem"),
                );
                self.line(out, event.at, self.styles.dim, &text, &place)
            }
        }
    }

    /// Puts a date above the first line of each day; the lines themselves have the time alone.
    fn date(&mut self, out: &mut impl Write, at: Timestamp) -> io::Result<()> {
        let day = date(at);
        if day != self.day {
            let dim = self.styles.dim;
            writeln!(out, "{dim}{day}, times in UTC{dim:#}")?;
            self.day = day;
            self.spaced = false;
        }
        Ok(())
    }

    /// Puts one empty line before a block.
    fn space(&mut self, out: &mut impl Write) -> io::Result<()> {
        if std::mem::replace(&mut self.spaced, true) { Ok(()) } else { writeln!(out) }
    }

    fn line(
        &mut self,
        out: &mut impl Write,
        at: Timestamp,
        style: Style,
        text: &str,
        place: &Place<'_>,
    ) -> io::Result<()> {
        self.spaced = false;
        let dim = self.styles.dim;
        let (time, text) = (time(at), escape(text));
        write!(out, "{dim}{time}{dim:#}  {style}{text}{style:#}")?;
        match place.frame {
            Some(_) => writeln!(out, "  {dim}({place}){dim:#}"),
            None => writeln!(out),
        }
    }

    fn finding(
        &mut self,
        out: &mut impl Write,
        at: Timestamp,
        connection: Option<&ConnectionIds>,
        finding: &Finding,
        place: &Place<'_>,
    ) -> io::Result<()> {
        self.space(out)?;
        let Styles { dim, bold, .. } = self.styles;
        let badge = self.styles.severity(finding.severity);
        let severity = finding.severity.name().to_ascii_uppercase();
        let own = connection.map(|connection| &connection.session_id);
        let side = |role: Role, session: Option<&Arc<str>>| match &self.parties {
            Some((id, ends)) if session.is_some_and(|session| session == id) => {
                ends.get(role.index()).cloned().unwrap_or_default()
            }
            _ => match (connection, role) {
                (Some(ids), Role::Initiator) if session == own => source(ids),
                (Some(ids), Role::Acceptor) if session == own => destination(ids),
                _ => format!("the {role}"),
            },
        };

        match self.worst.iter_mut().find(|(_, title, _)| *title == finding.title) {
            Some((.., n)) => *n += 1,
            None => self.worst.push((finding.severity, finding.title.clone(), 1)),
        }
        self.worst.sort_by_key(|(severity, ..)| std::cmp::Reverse(*severity));
        self.worst.truncate(TITLES);
        let title = escape(&finding.title);
        writeln!(out, "{badge}{severity}{badge:#}  {bold}{title}{bold:#}")?;
        let (rule, how_sure) = (finding.rule, confidence(finding.confidence));
        writeln!(out, "{dim}{INDENT}{}  {rule}, {how_sure}{dim:#}", time(at))?;
        self.wrapped(out, INDENT, &finding.explanation)?;
        if !finding.evidence.is_empty() {
            self.heading(out, "Seen in the capture:")?;
            for evidence in &finding.evidence {
                let Evidence { frame, input, session_id, from, what } = evidence;
                let input = input.as_deref().or(place.input);
                let place = Place { frame: Some(frame.number), input };
                let session = session_id.as_ref().or(own);
                let text = match (from, deed(what)) {
                    (Some(role), Some(deed)) => format!("{} {deed} ({what})", side(*role, session)),
                    (Some(role), None) => format!("{}: {what}", side(*role, session)),
                    (None, _) => what.clone(),
                };
                self.wrapped(out, &format!("{INDENT}  {place}  "), &text)?;
            }
        }
        self.bullets(out, "What to do:", &finding.remedy)?;
        self.bullets(out, "Other readings that the capture leaves open:", &finding.not_excluded)?;
        let logs: Vec<_> = finding.logged_by.iter().map(|role| side(*role, own)).collect();
        let logs = match logs.as_slice() {
            [] => "No node logs anything about this.".to_owned(),
            [one] => format!("Look into the log of {one}: the other side logs nothing about this."),
            _ => format!("Look into the logs of {}.", listed(&logs)),
        };
        self.wrapped(out, INDENT, &logs)?;
        writeln!(out)
    }

    fn heading(&self, out: &mut impl Write, text: &str) -> io::Result<()> {
        let bold = self.styles.bold;
        writeln!(out, "{INDENT}{bold}{text}{bold:#}")
    }

    fn bullets(&self, out: &mut impl Write, heading: &str, items: &[String]) -> io::Result<()> {
        if !items.is_empty() {
            self.heading(out, heading)?;
        }
        items.iter().try_for_each(|item| self.wrapped(out, &format!("{INDENT}  - "), item))
    }

    /// Writes `text` in lines of at most `width` columns: the first behind `lead`, the others
    /// behind as many spaces. A word that does not fit stands alone and sticks out.
    fn wrapped(&self, out: &mut impl Write, lead: &str, text: &str) -> io::Result<()> {
        let lead = escape(lead);
        let start = lead.chars().count();
        write!(out, "{lead}")?;
        let mut column = start;
        for word in escape(text).split(' ').filter(|word| !word.is_empty()) {
            let len = word.chars().count();
            if column > start && column + 1 + len > self.options.width {
                write!(out, "\n{:start$}", "")?;
                column = start;
            } else if column > start {
                write!(out, " ")?;
                column += 1;
            }
            write!(out, "{word}")?;
            column += len;
        }
        writeln!(out)
    }

    fn message(&self, handshake: &Handshake, connection: Option<&ConnectionIds>) -> String {
        let mut text = connection
            .map_or_else(String::new, |ids| format!("{} -> {}: ", source(ids), destination(ids)));
        let Handshake { message, from, name, status, cookie, .. } = handshake;
        // Writing to a `String` cannot fail, here and below.
        let _ = write!(text, "{message} from the {from}");
        for (what, value) in [("", name.as_deref()), ("", status.as_deref())] {
            let _ = value.map(|value| write!(text, "{what} \"{value}\""));
        }
        let _ = cookie.as_deref().map(|label| write!(text, ", made with the cookie {label}"));
        text
    }

    fn summary(&mut self, out: &mut impl Write, stats: &Stats) -> io::Result<()> {
        let bold = self.styles.bold;
        self.space(out)?;
        writeln!(out, "{bold}Summary{bold:#}")?;
        let bullet = "  ";
        self.wrapped(out, bullet, &extent(stats))?;
        let sessions = tally(&stats.sessions, |outcome| outcome_words(*outcome));
        if let Some(sessions) = sessions {
            let total = stats.sessions.values().sum();
            let text = format!("{} between nodes: {sessions}.", count(total, "connection"));
            self.wrapped(out, bullet, &text)?;
        }
        if let Some(requests) = tally(&stats.epmd, |outcome| epmd_words(*outcome)) {
            let total = stats.epmd.values().sum();
            let text = format!("{} to port mappers: {requests}.", count(total, "request"));
            self.wrapped(out, bullet, &text)?;
        }
        if stats.sessions.is_empty() && stats.epmd.is_empty() {
            let text = "No Erlang connection among them, and no request to a port mapper. Nodes \
                        listen on ports of their own choice, so a capture of port 4369 alone does \
                        not have them.";
            self.wrapped(out, bullet, text)?;
        }
        match tally(&stats.findings, |rule| rule) {
            Some(rules) => {
                let total = stats.findings.values().sum();
                self.wrapped(out, bullet, &format!("{} found: {rules}.", count(total, "problem")))?;
                self.worst_again(out, total)?;
            }
            None => self.wrapped(out, bullet, "No problem found in what the capture shows.")?,
        }
        let losses = losses(stats);
        if losses.is_empty() && stats.complete {
            return self.wrapped(out, bullet, "As far as can be told, the capture lacks nothing.");
        }
        self.wrapped(out, bullet, "The capture does not show everything:")?;
        losses.iter().try_for_each(|loss| self.wrapped(out, "    - ", loss))?;
        advice(stats).map_or(Ok(()), |advice| self.wrapped(out, bullet, &advice))
    }

    /// The titles of the worst findings: the blocks themselves have often left the screen.
    fn worst_again(&self, out: &mut impl Write, total: u64) -> io::Result<()> {
        for (severity, title, n) in &self.worst {
            let badge = self.styles.severity(*severity);
            let name = severity.name().to_ascii_uppercase();
            write!(out, "    - {badge}{name}{badge:#}  {}", escape(title))?;
            match n {
                1 => writeln!(out)?,
                n => writeln!(out, "  ({n} times)")?,
            }
        }
        let told: u64 = self.worst.iter().map(|(.., n)| n).sum();
        match total.saturating_sub(told) {
            0 => Ok(()),
            more => writeln!(out, "    - and {} more", grouped(more)),
        }
    }
}

/// Styles by what they mean. As default, all are plain.
#[derive(Clone, Copy, Default)]
struct Styles {
    plain: Style,
    bold: Style,
    dim: Style,
    good: Style,
    notable: Style,
    bad: Style,
    severe: Style,
}

impl Styles {
    const COLOURED: Self = Self {
        plain: Style::new(),
        bold: Style::new().bold(),
        dim: Style::new().dimmed(),
        good: AnsiColor::Green.on_default(),
        notable: AnsiColor::Yellow.on_default(),
        bad: AnsiColor::Red.on_default(),
        severe: AnsiColor::Red.on_default().bold(),
    };

    const fn severity(&self, severity: Severity) -> Style {
        match severity {
            Severity::Info => self.bold,
            Severity::Low | Severity::Medium => self.notable,
            Severity::High | Severity::Critical => self.severe,
        }
    }

    const fn outcome(&self, outcome: Outcome) -> Style {
        match outcome {
            Outcome::Connected => self.good,
            Outcome::AlreadyConnected
            | Outcome::Superseded
            | Outcome::Tls
            | Outcome::NotDistribution
            | Outcome::Incomplete => self.plain,
            Outcome::CookieMismatch
            | Outcome::NameMismatch
            | Outcome::NotAllowed
            | Outcome::VersionMismatch
            | Outcome::TlsMismatch
            | Outcome::TimedOut
            | Outcome::Refused
            | Outcome::Unanswered
            | Outcome::Aborted => self.bad,
        }
    }
}

/// A packet, and its input where that needs saying.
struct Place<'a> {
    frame: Option<u64>,
    input: Option<&'a str>,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(frame) = self.frame {
            write!(f, "frame {frame}")?;
        }
        self.input.map_or(Ok(()), |input| write!(f, " of {input}"))
    }
}

/// Who asked which port mapper for what, and what came of it.
fn request(epmd: &Epmd, connection: Option<&ConnectionIds>) -> String {
    let (asker, mapper) = connection
        .map_or_else(Default::default, |ids| (ids.src_ip.to_string(), ids.dest_ip.to_string()));
    let name = epmd.name.as_deref().unwrap_or("?");
    let asked = match epmd.request {
        Some("PORT_PLEASE2_REQ") => format!("asked the port mapper of {mapper} for \"{name}\""),
        Some("ALIVE2_REQ") => {
            let port = epmd.port.map_or_else(String::new, |port| format!(" at port {port}"));
            if epmd.outcome == EpmdOutcome::Unregistered {
                format!("had registered \"{name}\"{port} with the port mapper of {mapper}")
            } else {
                format!("asked the port mapper of {mapper} to register \"{name}\"{port}")
            }
        }
        Some("NAMES_REQ") => format!("asked the port mapper of {mapper} for all names"),
        Some(other) => format!("sent {other} to the port mapper of {mapper}"),
        None => match epmd.outcome {
            EpmdOutcome::Unanswered | EpmdOutcome::ConnectionRefused => {
                format!("tried to reach the port mapper of {mapper}")
            }
            _ => format!("connected to the port mapper of {mapper}"),
        },
    };
    format!("{asker} {asked}: {}", answer(epmd))
}

fn answer(epmd: &Epmd) -> String {
    let words = epmd_words(epmd.outcome).to_owned();
    match (epmd.outcome, &epmd.names, epmd.port, &epmd.reply) {
        (EpmdOutcome::Answered, Some(names), ..) => count(names.len() as u64, "name"),
        (EpmdOutcome::Answered, _, _, Some(reply)) => format!("\"{}\"", reply.trim_end()),
        (EpmdOutcome::Answered, ..) if epmd.request == Some("ALIVE2_REQ") => "registered".into(),
        (EpmdOutcome::Answered, _, Some(port), _) => format!("port {port}"),
        (EpmdOutcome::Unregistered, ..) => epmd
            .lifetime_us
            .map_or_else(|| words.clone(), |us| format!("{words} after {}", duration(us))),
        _ => words,
    }
}

/// Initiator and acceptor.
fn ends(session: &Session, connection: Option<&ConnectionIds>) -> [String; 2] {
    [Role::Initiator, Role::Acceptor].map(|role| end(session, connection, role))
}

/// One end of a connection: its node name, else its address.
fn end(session: &Session, connection: Option<&ConnectionIds>, role: Role) -> String {
    let (party, usual): (&Party, _) = match role {
        Role::Initiator => (&session.initiator, connection.map(source)),
        Role::Acceptor => (&session.acceptor, connection.map(destination)),
    };
    match (&party.node, party.ip, party.port) {
        (Some(node), ..) => node.to_string(),
        (None, Some(ip), Some(port)) => endpoint(ip, port),
        (None, ..) => usual.unwrap_or_else(|| format!("the {role}")),
    }
}

/// What became of a connection.
fn fate(session: &Session, ends: &[String; 2]) -> String {
    let words = match session.outcome {
        Outcome::Connected => stay(session, ends),
        failed => outcome_words(failed).to_owned(),
    };
    match (session.confidence, session.outcome) {
        // Without the cookies, no acknowledgement is beyond doubt; saying so each time helps
        // nobody. What is undecided has said how sure it is.
        (Confidence::Proven, _)
        | (Confidence::Likely, Outcome::Connected)
        | (_, Outcome::Incomplete) => words,
        (unsure, _) => format!("{words} ({})", confidence(unsure)),
    }
}

/// How long a connection stood, and who ended it.
fn stay(session: &Session, [initiator, acceptor]: &[String; 2]) -> String {
    let lasted = duration(session.duration_us);
    let closer = match session.closed_by {
        Some(Role::Initiator) => format!(" by {initiator}"),
        Some(Role::Acceptor) => format!(" by {acceptor}"),
        None => String::new(),
    };
    match (session.state, session.close) {
        (State::Established, _) => match session.handshake_us {
            Some(us) => format!("connected in {}", duration(us)),
            None => "connected".to_owned(),
        },
        (State::Closed, Some(CloseKind::Rst)) => format!("reset{closer} after {lasted}"),
        (State::Closed, _) => format!("closed{closer} after {lasted}"),
        (State::Open, Some(CloseKind::Idle)) => format!("connected, silent after {lasted}"),
        (State::Open, _) => format!("connected, still open after {lasted}"),
    }
}

fn repeated(incident: &Incident) -> String {
    let Incident { rule, nodes, count, first, last, .. } = incident;
    let between = match nodes.as_slice() {
        [] => String::new(),
        [one] => format!(" at {one}"),
        several => format!(" between {}", listed(several)),
    };
    let (first, last) = (time(*first), time(*last));
    format!("{rule} happened {count} times{between}, from {first} to {last}")
}

fn trouble(anomaly: &Anomaly) -> String {
    let mut text = format!("{}: {}", anomaly_words(anomaly.kind), anomaly.detail);
    let _ = anomaly.field.map(|field| write!(text, ", at {field}"));
    let _ = anomaly.offset.map(|offset| write!(text, ", octet {offset}"));
    text
}

/// How much was read, and over what time.
fn extent(stats: &Stats) -> String {
    let read = format!("{} of {}", count(stats.packets, "packet"), octets(stats.octets));
    let (Some(first), Some(last)) = (stats.first, stats.last) else { return format!("{read}.") };
    let day = date(first);
    let last_day = if date(last) == day { String::new() } else { format!("{} ", date(last)) };
    let span = u64::try_from(last.since(first).as_micros()).unwrap_or(u64::MAX);
    let (span, first, last) = (duration(span), time(first), time(last));
    format!("{read} in {span}, from {day} {first} to {last_day}{last} UTC.")
}

/// What the capture lacks, a sentence each.
fn losses(stats: &Stats) -> Vec<String> {
    let drops = |by: Option<u64>, whom: &str| {
        by.map(|n| (n, format!("dropped by {whom} before they could be captured.")))
    };
    let missing = match stats.missing_octets {
        0 => "within connections between nodes.".to_owned(),
        n => format!("within connections between nodes, {} in all.", octets(n)),
    };
    let share = stats.cut_packets.saturating_mul(100) / stats.packets.max(1);
    let cut = match share {
        0 => "cut short by the capture's snapshot length.".to_owned(),
        share => format!("cut short by the capture's snapshot length, {share}% of all."),
    };
    let told = [
        drops(stats.kernel_drops, "the kernel").map(|(n, text)| (n, "packet", text)),
        drops(stats.interface_drops, "the interface").map(|(n, text)| (n, "packet", text)),
        Some((stats.cut_packets, "packet", cut)),
        Some((stats.gaps, "gap", missing)),
        Some((stats.one_sided, "connection", "of which one direction alone was captured.".into())),
        Some((stats.lost_fragments, "IP fragment", "without the rest of their datagram.".into())),
        Some((stats.clock_steps, "step", "back of the capture's clock.".into())),
        Some((stats.evictions, "fact", "forgotten to stay within the memory allowed.".into())),
    ];
    let told = told.into_iter().flatten().filter(|(n, ..)| *n > 0);
    let mut losses: Vec<_> =
        told.map(|(n, what, text)| format!("{} {text}", count(n, what))).collect();
    for (kind, n) in &stats.anomalies {
        if kind.is_about_input() {
            let words = anomaly_words(*kind);
            losses.push(match n {
                1 => format!("{words}."),
                n => format!("{words}, {n} times."),
            });
        }
    }
    losses
}

/// How to capture so that fewer verdicts stay open, where what is lost may be why they are.
fn advice(stats: &Stats) -> Option<String> {
    let sessions = stats.sessions.get(&Outcome::Incomplete).copied().unwrap_or(0);
    let requests = stats.epmd.get(&EpmdOutcome::Incomplete).copied().unwrap_or(0);
    let undecided = [(sessions, "connection"), (requests, "request")];
    let undecided: Vec<_> =
        undecided.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(n, what)).collect();
    let dropped =
        stats.kernel_drops.unwrap_or(0).saturating_add(stats.interface_drops.unwrap_or(0));
    let ways = [
        (stats.cut_packets, "with -s 0, which keeps packets whole"),
        (dropped, "with a filter or a larger buffer (-B), so that less is dropped"),
        (stats.one_sided, "where both directions pass"),
    ];
    let ways: Vec<_> =
        ways.into_iter().filter(|(n, _)| *n > 0).map(|(_, way)| way.to_owned()).collect();
    (!undecided.is_empty() && !ways.is_empty()).then(|| {
        format!("Undecided, maybe for that: {}. Capture {}.", listed(&undecided), listed(&ways))
    })
}

/// Counts with their words, the most frequent first: `3 refused, 1 connected`.
fn tally<'a, K: 'a>(
    counts: impl IntoIterator<Item = (&'a K, &'a u64)>,
    words: impl Fn(&'a K) -> &'a str,
) -> Option<String> {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, n)| **n > 0).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let parts: Vec<_> =
        counts.into_iter().map(|(key, n)| format!("{} {}", grouped(*n), words(key))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn source(ids: &ConnectionIds) -> String {
    endpoint(ids.src_ip, ids.src_port)
}

fn destination(ids: &ConnectionIds) -> String {
    endpoint(ids.dest_ip, ids.dest_port)
}

fn endpoint(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

const INDENT: &str = "      ";

/// How many titles the summary repeats: few enough to be read, and to stay on one screen.
const TITLES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;
    use crate::output::words::is_unsafe;

    fn told(events: &[Event], options: TextOptions) -> String {
        let mut human = Human::new(options, false);
        let mut out = Vec::new();
        for event in events {
            human.note(event);
            human.write(&mut out, Some("a.pcap"), event).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    fn plain(events: &[Event]) -> String {
        told(events, TextOptions { width: 80, colour: false, verbose: false })
    }

    #[test]
    fn a_refused_cookie_reads_as_a_story() {
        let expected = "\
2014-05-25, times in UTC
14:32:25.000  192.168.0.100 asked the port mapper of 192.168.0.103 for \"two\": port 33435  (frame 9)
14:32:25.000  192.168.0.100 asked the port mapper of 192.168.0.103 for all names: 1 name  (frame 11)
14:32:25.080  one@192.168.0.100 -> two@192.168.0.103: refused over the cookie (likely)  (frame 21)

HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
      14:32:25.080  cookie-mismatch, likely
      one@192.168.0.100 answered the challenge with the cookie cookies.txt:1;
      two@192.168.0.103 closed the connection without an acknowledgement.
      Seen in the capture:
        frame 19  one@192.168.0.100 answered the challenge (challenge_reply)
        frame 21  two@192.168.0.103 closed the connection (FIN without
                  challenge_ack)
      What to do:
        - Give both nodes the same cookie.
      Other readings that the capture leaves open:
        - two@192.168.0.103 closed for another reason at this very point
      Look into the log of two@192.168.0.103: the other side logs nothing about
      this.

14:32:25.090  cookie-mismatch happened 3 times between one@192.168.0.100 and two@192.168.0.103, \
from 14:32:25.080 to 14:32:25.090
14:32:25.090  a.pcap: The input ends in the middle of a record: ends inside a packet record, \
octet 4711

Summary
  1,234 packets of 56.7 kB in 90.0 ms, from 2014-05-25 14:32:25.000 to
  14:32:25.090 UTC.
  4 connections between nodes: 3 refused over the cookie, 1 connected.
  4 requests to port mappers: 4 answered.
  1 problem found: 1 cookie-mismatch.
    - HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
  The capture does not show everything:
    - 2 packets cut short by the capture's snapshot length.
    - The input ends in the middle of a record.
";
        assert_eq!(plain(&samples::all()), expected);
    }

    #[test]
    fn the_summary_repeats_the_worst_titles_and_counts_the_others() {
        let mut events = vec![samples::finding(); TITLES + 5];
        let again = |n| if n == 1 { 0 } else { n };
        for (n, event) in events.iter_mut().enumerate() {
            let Body::Finding { finding } = &mut event.body else { unreachable!() };
            finding.title = format!("title {}", again(n));
            if n == TITLES + 4 {
                finding.severity = Severity::Critical;
            }
        }
        let mut stats = samples::stats();
        let Body::Stats { stats: totals } = &mut stats.body else { unreachable!() };
        totals.findings = [("cookie-mismatch", TITLES as u64 + 5)].into();
        events.push(stats);
        let text = plain(&events);
        assert!(
            text.contains("\n    - CRITICAL  title 14\n    - HIGH  title 0  (2 times)\n"),
            "{text}"
        );
        assert!(text.contains("    - HIGH  title 9\n    - and 4 more\n"), "{text}");
    }

    #[test]
    fn a_connection_that_stood_is_told_from_hand_shake_to_close() {
        let events = [State::Established, State::Closed, State::Open]
            .map(|state| samples::session(state, Outcome::Connected));
        let text = plain(&events);
        let fates: Vec<_> =
            text.lines().skip(1).map(|line| line.split(": ").nth(1).unwrap()).collect();
        assert_eq!(
            fates,
            [
                "connected in 412 µs  (frame 21)",
                "closed by two@192.168.0.103 after 80.2 ms  (frame 21)",
                "connected, still open after 80.2 ms  (frame 21)"
            ]
        );
    }

    #[test]
    fn a_finding_about_another_connection_names_no_node_of_the_last() {
        let mut event = samples::finding();
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding.evidence[1].session_id = Some("0000000000000000".into());
        let text = plain(&[event]);
        assert!(text.contains("frame 19  192.168.0.100:37832 answered the challenge"), "{text}");
        assert!(text.contains("frame 21  the acceptor closed"), "{text}");
        assert!(text.contains("log of 192.168.0.103:33435"), "{text}");
    }

    #[test]
    fn a_node_cannot_speak_to_the_terminal() {
        let mut event = samples::finding();
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding.title = "\x1b]0;owned\x07 \u{9b}31m \u{202e}gnp.exe\r\n".into();
        finding.evidence[0].what = "\x1b[2J".into();
        finding.evidence[0].input = Some("\x1b.pcap".into());
        let text = plain(&[event]);
        assert!(text.contains(r"\x1b]0;owned\x07 \x9b31m \u{202e}gnp.exe\x0d\x0a"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text}");
    }

    #[test]
    fn colour_is_written_only_when_asked_for() {
        let options = TextOptions { width: 80, colour: true, verbose: false };
        assert!(told(&samples::all(), options).contains("\x1b[1m\x1b[31mHIGH\x1b[0m"));
        assert!(!plain(&samples::all()).contains('\x1b'));
    }

    #[test]
    fn handshake_messages_are_told_to_those_who_ask() {
        let options = TextOptions { width: 80, colour: false, verbose: true };
        let line = "send_name from the initiator \"one@192.168.0.100\"  (frame 14)";
        assert!(told(&samples::all(), options).contains(line));
        assert!(!plain(&samples::all()).contains("send_name"));
    }

    #[test]
    fn nobody_is_said_to_have_connected_who_got_no_answer() {
        let mut event = samples::epmd();
        let Body::Epmd { epmd } = &mut event.body else { unreachable!() };
        (epmd.request, epmd.outcome) = (None, EpmdOutcome::Unanswered);
        let line = "192.168.0.100 tried to reach the port mapper of 192.168.0.103: unanswered";
        assert!(plain(&[event]).contains(line));
    }

    #[test]
    fn a_registration_reads_as_asked_granted_and_ended() {
        let text =
            [EpmdOutcome::Answered, EpmdOutcome::RegistrationRefused, EpmdOutcome::Unregistered]
                .map(|outcome| {
                    let mut event = samples::epmd();
                    let Body::Epmd { epmd } = &mut event.body else { unreachable!() };
                    (epmd.request, epmd.outcome) = (Some("ALIVE2_REQ"), outcome);
                    plain(&[event])
                })
                .concat();
        assert!(text.contains("103 to register \"two\" at port 33435: registered  ("), "{text}");
        assert!(text.contains("\" at port 33435: registration refused  ("), "{text}");
        assert!(text.contains("100 had registered \"two\" at port 33435 with"), "{text}");
    }

    #[test]
    fn what_is_undecided_needs_no_doubt_beside_it() {
        let text = plain(&[samples::session(State::Closed, Outcome::Incomplete)]);
        assert!(text.contains("undecided for want of packets  (frame"), "{text}");
    }

    #[test]
    fn an_empty_capture_says_so() {
        let mut event = samples::stats();
        let stats = Stats { is_final: true, complete: true, ..Stats::default() };
        event.body = Body::Stats { stats: Box::new(stats) };
        let text = plain(&[event]);
        assert!(text.contains("  0 packets of 0 octets.\n  No Erlang connection"), "{text}");
        assert!(text.ends_with("the capture lacks nothing.\n"), "{text}");
    }

    #[test]
    fn words_are_wrapped_and_long_ones_stick_out() {
        let options = TextOptions { width: 10, colour: false, verbose: false };
        let human = Human::new(options, false);
        let mut out = Vec::new();
        human.wrapped(&mut out, "- ", "aa bb cc dd  eeeeeeeeeeee ff").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "- aa bb cc\n  dd\n  eeeeeeeeeeee\n  ff\n");
    }

    #[test]
    fn the_advice_is_for_verdicts_that_lack_what_was_lost() {
        let mut stats = Stats { packets: 181, cut_packets: 116, ..Stats::default() };
        assert_eq!(advice(&stats), None);
        stats.sessions.insert(Outcome::Incomplete, 1);
        let expected = "Undecided, maybe for that: 1 connection. \
                        Capture with -s 0, which keeps packets whole.";
        assert_eq!(advice(&stats).as_deref(), Some(expected));
        stats.cut_packets = 0;
        assert_eq!(advice(&stats), None);
    }
}
