//! Stage 8: one incident, one block.
//!
//! In: a finding, how often it came, and the ends of its connection. Out: what is wrong, between
//! whom, how that shows, and what to do about it.

use std::io::{self, Write};
use std::sync::Arc;

use super::sentences::{Ends, destination, source};
use super::sheet::{Place, TextWriter};
use crate::record::{ConnectionIds, Evidence, Finding, Incident, Outcome, Role, Severity};
use crate::render::words::{action, confidence, grouped, listed, span, stamp, time};
use crate::time::Timestamp;

/// A finding, and what is known of it besides.
pub(super) struct Problem {
    pub(super) at: Timestamp,
    pub(super) finding: Finding,
    pub(super) connection: Option<Arc<ConnectionIds>>,
    pub(super) frame: Option<u64>,
    /// Its input, where frames are named with it.
    pub(super) input: Option<Arc<str>>,
    /// The last connection between nodes that was told of before it.
    pub(super) latest: Option<Arc<LastConnection>>,
    /// Its end, where it came more than once.
    pub(super) incident: Option<Incident>,
}

/// A connection between nodes that was told of: a finding about it names its ends.
pub(super) struct LastConnection {
    pub(super) session_id: Arc<str>,
    pub(super) ends: Ends,
    pub(super) outcome: Outcome,
}

impl Problem {
    pub(super) fn is_problem(&self) -> bool {
        self.finding.severity > Severity::Info
    }

    /// How often it came.
    pub(super) fn count(&self) -> u64 {
        self.incident.as_ref().map_or(1, |incident| incident.count)
    }

    /// Whether it is about a connection that came about.
    pub(super) fn stood(&self) -> bool {
        self.own().is_some_and(|latest| latest.outcome == Outcome::Connected)
    }

    /// The whole block; `is_whole` when nothing more will be heard of it.
    pub(super) fn write(
        &self,
        sheet: &mut TextWriter,
        out: &mut impl Write,
        is_whole: bool,
    ) -> io::Result<()> {
        let Finding { rule, severity, title, explanation, remedy, .. } = &self.finding;
        let bold = sheet.styles.bold;
        sheet.space(out)?;
        sheet.judged(out, "", *severity, bold, title)?;
        let how_sure = confidence(self.finding.confidence);
        let (who, when) = (self.between(), self.when(is_whole));
        sheet.wrapped(out, INDENT, &format!("{who}: {when} ({rule}, {how_sure})."))?;
        sheet.wrapped(out, INDENT, explanation)?;
        if !self.finding.evidence.is_empty() {
            sheet.heading(out, INDENT, "Seen in the capture:")?;
            for evidence in &self.finding.evidence {
                let (lead, text) = self.sight(evidence);
                sheet.wrapped(out, &lead, &text)?;
            }
        }
        bullets(sheet, out, "What to do:", remedy)?;
        let others = &self.finding.not_excluded;
        bullets(sheet, out, "Other readings that the capture leaves open:", others)?;
        sheet.wrapped(out, INDENT, &self.logs())?;
        if let Some(file) = &self.finding.evidence_file {
            sheet.wrapped(out, INDENT, &format!("The packets are in {file}"))?;
        }
        sheet.wrapped(out, INDENT, &format!("More about it: beamscope explain {rule}"))?;
        sheet.space(out)
    }

    /// The whole in one line.
    pub(super) fn write_short(
        &self,
        sheet: &mut TextWriter,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Finding { rule, severity, title, .. } = &self.finding;
        let place = Place { frame: self.frame, input: self.input.as_deref() };
        let place = if self.frame.is_some() { format!(", {place}") } else { String::new() };
        let often = match self.count() {
            1 => String::new(),
            n => format!(", {} times", grouped(n)),
        };
        let plain = sheet.styles.plain;
        sheet.judged(out, "", *severity, plain, &format!("{title}  ({rule}{often}{place})"))
    }

    /// Its own connection, where that is between nodes.
    fn own(&self) -> Option<&LastConnection> {
        let own = self.connection.as_ref()?;
        self.latest.as_deref().filter(|latest| latest.session_id == own.session_id)
    }

    fn between(&self) -> String {
        match (self.own(), self.finding.nodes.as_slice(), self.connection.as_deref()) {
            (Some(LastConnection { ends: Ends { located: [a, b], .. }, .. }), ..) => {
                format!("Between {a} and {b}")
            }
            (None, several @ [_, _, ..], _) => format!("Between {}", listed(several)),
            (None, _, Some(ids)) => format!("Between {} and {}", ids.src_ip, destination(ids)),
            (None, [one], None) => format!("At {one}"),
            (None, [], None) => "Seen".to_owned(),
        }
    }

    fn when(&self, is_whole: bool) -> String {
        match &self.incident {
            Some(Incident { count, first, last, .. }) => {
                format!("{} times {}", grouped(*count), span(*first, *last))
            }
            None if is_whole => format!("once at {} UTC", stamp(self.at)),
            None => format!("first at {}", time(self.at)),
        }
    }

    /// A packet, and what it shows.
    fn sight(&self, evidence: &Evidence) -> (String, String) {
        let Evidence { frame, input, session_id, from, what } = evidence;
        let input = input.as_deref().or(self.input.as_deref());
        let place = Place { frame: Some(frame.number), input };
        let own = self.connection.as_ref().map(|ids| &ids.session_id);
        let session = session_id.as_ref().or(own);
        let text = match (from, action(what)) {
            (Some(role), Some(action)) => {
                format!("{} {action} ({what})", self.side(*role, session))
            }
            (Some(role), None) => format!("{}: {what}", self.side(*role, session)),
            (None, _) => what.to_string(),
        };
        (format!("{INDENT}  {place}  "), text)
    }

    fn side(&self, role: Role, session: Option<&Arc<str>>) -> String {
        match (&self.latest, &self.connection) {
            (Some(latest), _) if session == Some(&latest.session_id) => {
                latest.ends.names.get(role.index()).cloned().unwrap_or_default()
            }
            (_, Some(ids)) if session == Some(&ids.session_id) => match role {
                Role::Initiator => source(ids),
                Role::Acceptor => destination(ids),
            },
            _ => format!("the {role}"),
        }
    }

    fn logs(&self) -> String {
        let own = self.connection.as_ref().map(|ids| &ids.session_id);
        let sides = self.finding.logged_by.iter();
        let logs: Vec<_> = sides.map(|role| self.side(*role, own)).collect();
        match logs.as_slice() {
            [] => "No node logs anything about this.".to_owned(),
            [one] => format!("Look into the log of {one}: the other side logs nothing about this."),
            _ => format!("Look into the logs of {}.", listed(&logs)),
        }
    }
}

fn bullets(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    heading: &str,
    items: &[String],
) -> io::Result<()> {
    if !items.is_empty() {
        sheet.heading(out, INDENT, heading)?;
    }
    items.iter().try_for_each(|item| sheet.wrapped(out, &format!("{INDENT}  - "), item))
}

/// Under the title of a block.
const INDENT: &str = "      ";
