//! What a run adds up to, as lines: the start of a report on a file, and the end of one on a live capture.

use std::collections::HashSet;
use std::io::{self, Write};

use super::Layout;
use super::writer::TextWriter;
use crate::record::IncidentState;
use crate::render::report::{ListedProblem, Summary};
use crate::render::words::state_word;

/// Writes what is read first: what the capture cannot show, and the problems with their state.
pub(super) fn write_head(
    writer: &mut TextWriter,
    out: &mut impl Write,
    summary: &Summary,
) -> io::Result<()> {
    for unseen in &summary.unseen {
        writer.wrapped(out, "Cannot tell: ", &unseen.detail)?;
        writer.wrapped(out, "             ", &unseen.remedy)?;
    }
    summary.expected.iter().try_for_each(|text| writer.wrapped(out, "", text))?;
    writer.wrapped(out, "", &summary.head)?;
    if summary.problems.is_empty() {
        return Ok(());
    }
    writer.blank_line(out)?;
    let state = summary.problems.iter().map(|it| word(it.state).len()).max().unwrap_or(0);
    let severity = summary.problems.iter().map(|it| it.severity.name().len()).max().unwrap_or(0);
    let columns = Columns { state, severity };
    let mut remedies = HashSet::new();
    for (n, problem) in summary.problems.iter().enumerate() {
        columns.write(writer, out, problem, n < DETAILED)?;
        let remedy = problem.remedy.as_ref().filter(|_| n < DETAILED);
        if let Some(remedy) = remedy {
            let is_new = remedies.insert(remedy);
            let text = if is_new { remedy } else { "as above" };
            writer.wrapped(out, &format!("{}Fix: ", columns.indent()), text)?;
        }
    }
    writer.more(out, LEAD, summary.more, "--json has all")
}

/// Writes what else a run adds up to.
pub(super) fn write_rest(
    writer: &mut TextWriter,
    out: &mut impl Write,
    summary: &Summary,
    layout: Layout,
) -> io::Result<()> {
    writer.blank_line(out)?;
    let unusual = summary.unusual.as_ref().filter(|_| layout == Layout::Grouped);
    let texts = summary.outcome.iter().chain(unusual);
    texts.into_iter().try_for_each(|text| writer.wrapped(out, "", text))?;
    if !summary.losses.is_empty() {
        writer.wrapped(out, "", "The capture is not complete:")?;
    }
    summary.losses.iter().try_for_each(|loss| writer.wrapped(out, BULLET, loss))?;
    summary.advice.as_ref().map_or(Ok(()), |advice| writer.wrapped(out, "", advice))
}

/// Widths of the first two columns of the list of problems.
#[derive(Clone, Copy)]
struct Columns {
    state: usize,
    severity: usize,
}

impl Columns {
    fn write(
        self,
        writer: &mut TextWriter,
        out: &mut impl Write,
        problem: &ListedProblem,
        is_detailed: bool,
    ) -> io::Result<()> {
        let ListedProblem { state, severity, title, when, .. } = problem;
        let styles = writer.styles;
        let state_style = match state {
            IncidentState::Solved | IncidentState::Withdrawn => styles.good,
            IncidentState::Open | IncidentState::Unknown => styles.severity(*severity),
        };
        let marks = [
            (state_style, format!("{:1$}", word(*state), self.state)),
            (styles.severity(*severity), format!("{:1$}", name(*severity), self.severity)),
        ];
        writer.columns(out, LEAD, &marks, title)?;
        if !is_detailed {
            return Ok(());
        }
        writer.wrapped(out, &self.indent(), when)
    }

    fn indent(self) -> String {
        " ".repeat(LEAD.len() + self.state + 2 + self.severity + 2)
    }
}

fn name(severity: crate::record::Severity) -> String {
    severity.name().to_ascii_uppercase()
}

fn word(state: IncidentState) -> String {
    state_word(state).to_ascii_uppercase()
}

/// Problems of the list that have their time and their remedy, so that the first of a long list fill one screen.
const DETAILED: usize = 10;

const LEAD: &str = "  ";
const BULLET: &str = "  - ";
