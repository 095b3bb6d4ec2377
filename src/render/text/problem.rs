//! One problem as a block of lines, or as one line.

use std::collections::HashMap;
use std::io::{self, Write};

use anstyle::Style;

use super::TextOptions;
use super::writer::{Styles, TextWriter};
use crate::record::Finding;
use crate::render::ladder;
use crate::render::ladder::text::{LadderText, Line};
use crate::render::report::{Ladder, Problem};
use crate::render::words::listed;

/// A ladder that fits into a report.
pub(super) struct DrawnLadder {
    ladder: Ladder,
    lines: Vec<Line>,
}

impl DrawnLadder {
    /// The ladder, if it is short enough to be read in passing.
    pub(super) fn of(ladder: Ladder, options: &TextOptions) -> Option<Self> {
        let styles = if options.colour { Styles::COLOURED } else { Styles::default() };
        let width = options.width.min(LADDER_WIDTH);
        let how = LadderText { width, is_ascii: options.ascii, styles };
        let lines = ladder::text::lines(&ladder, how);
        let fits = lines.iter().all(|line| line.columns <= options.width);
        (fits && lines.len() <= LADDER_LINES).then_some(Self { ladder, lines })
    }

    fn write(&self, writer: &mut TextWriter, out: &mut impl Write) -> io::Result<()> {
        writer.blank_line(out)?;
        self.lines.iter().try_for_each(|line| writer.drawn(out, line.trimmed()))?;
        writer.blank_line(out)?;
        self.ladder.notes.iter().try_for_each(|note| writer.wrapped(out, INDENT, note))
    }
}

/// Writes the problems of one cause, from number `first` on, and each remedy once. If they are many and not `all` are
/// wanted, each of the later ones has a few lines.
pub(super) fn write_group(
    writer: &mut TextWriter,
    out: &mut impl Write,
    group: &[Problem],
    first: usize,
    all: bool,
    mut ladder: Option<DrawnLadder>,
) -> io::Result<()> {
    let detailed = if all || group.len() <= MANY { group.len() } else { DETAILED };
    let mut known = HashMap::new();
    for (number, problem) in (first..).zip(group) {
        if number < first + detailed {
            write_details(writer, out, problem, Some(number), ladder.take(), &mut known)?;
        } else {
            writer.blank_line(out)?;
            writer.columns(out, "", &[number_column(writer, number)], &problem.finding.title)?;
            writer.wrapped(out, INDENT, &problem.circumstances(true))?;
            let has_own = problem.finding.remedy.iter().any(|it| !known.contains_key(it.as_str()));
            if has_own {
                remedies(writer, out, problem, number, &mut known)?;
            }
        }
    }
    if detailed < group.len() {
        writer.blank_line(out)?;
        let (next, last) = (first + detailed, first + group.len() - 1);
        let options = "--verbose, or --pair, --node, --host for one of them";
        writer.wrapped(out, INDENT, &format!("The packets of {next} to {last}: {options}."))?;
    }
    let rule = group.first().map_or("", |problem| problem.finding.rule);
    write_explain(writer, out, rule, group.len())
}

/// Writes what to do about a problem, as far as an earlier one does not have it. `known` has the number of the problem
/// that had each remedy.
fn remedies<'a>(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &'a Problem,
    number: usize,
    known: &mut HashMap<&'a str, usize>,
) -> io::Result<()> {
    let (mut own, earlier) = problem.own_remedies(number, known);
    let as_earlier = format!("as for {}", listed(&earlier));
    match (own.is_empty(), earlier.is_empty()) {
        (true, false) => return writer.wrapped(out, INDENT, &format!("What to do: {as_earlier}.")),
        (false, false) => own.push(&as_earlier),
        (_, true) => {}
    }
    bullets(writer, out, "What to do:", &own)
}

/// Writes the whole block of a problem that repeats may follow.
pub(super) fn write(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &Problem,
) -> io::Result<()> {
    write_details(writer, out, problem, None, None, &mut HashMap::new())?;
    write_explain(writer, out, problem.finding.rule, 1)
}

fn write_explain(
    writer: &mut TextWriter,
    out: &mut impl Write,
    rule: &str,
    problems: usize,
) -> io::Result<()> {
    let it = if problems == 1 { "it" } else { "these" };
    writer.wrapped(out, INDENT, &format!("More about {it}: beamscope explain {rule}"))?;
    writer.blank_line(out)
}

fn number_column(writer: &TextWriter, number: usize) -> (Style, String) {
    (writer.styles.bold, format!("{:4}", format!("{number}.")))
}

/// Writes what is known of one problem. It has its number in the report, if no repeat of it can follow. `known` are the
/// remedies that earlier problems have.
fn write_details<'a>(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &'a Problem,
    number: Option<usize>,
    ladder: Option<DrawnLadder>,
    known: &mut HashMap<&'a str, usize>,
) -> io::Result<()> {
    let Finding { severity, title, explanation, not_excluded, .. } = &problem.finding;
    let bold = writer.styles.bold;
    let is_final = number.is_some();
    writer.blank_line(out)?;
    match number {
        Some(number) => writer.columns(out, "", &[number_column(writer, number)], title)?,
        None => writer.with_severity(out, "", *severity, bold, title)?,
    }
    writer.wrapped(out, INDENT, &problem.circumstances(is_final))?;
    writer.wrapped(out, INDENT, explanation)?;
    let mut is_headed = false;
    if let Some(drawn) = &ladder {
        drawn.write(writer, out)?;
    }
    for (shown, (frame, text)) in problem.finding.evidence.iter().zip(problem.evidence()) {
        if ladder.as_ref().is_some_and(|drawn| drawn.ladder.has(shown.frame)) {
            continue;
        }
        if !std::mem::replace(&mut is_headed, true) {
            let heading =
                if ladder.is_some() { "Also in the capture:" } else { "Seen in the capture:" };
            writer.heading(out, INDENT, heading)?;
        }
        let frame = frame.to_string();
        if frame.chars().count() <= LONG_LABEL {
            writer.wrapped(out, &format!("{INDENT}  {frame}  "), &text)?;
        } else {
            writer.wrapped(out, &format!("{INDENT}  "), &frame)?;
            writer.wrapped(out, &format!("{INDENT}    "), &text)?;
        }
    }
    remedies(writer, out, problem, number.unwrap_or(0), known)?;
    bullets(writer, out, "Not ruled out:", not_excluded)?;
    writer.wrapped(out, INDENT, &problem.logs())?;
    if let Some(file) = &problem.finding.evidence_file {
        writer.wrapped(out, INDENT, &format!("The packets are in {file}"))?;
    }
    Ok(())
}

/// Writes the problem in one line.
pub(super) fn write_short(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &Problem,
) -> io::Result<()> {
    let plain = writer.styles.plain;
    writer.with_severity(out, "", problem.severity(), plain, &problem.one_line())
}

fn bullets(
    writer: &mut TextWriter,
    out: &mut impl Write,
    heading: &str,
    items: &[impl AsRef<str>],
) -> io::Result<()> {
    if !items.is_empty() {
        writer.heading(out, INDENT, heading)?;
    }
    items.iter().try_for_each(|item| writer.wrapped(out, &format!("{INDENT}  - "), item.as_ref()))
}

/// How many problems of one cause are written with their packets, if there are more than [`MANY`].
const DETAILED: usize = 3;
const MANY: usize = 5;

/// Columns and lines of a ladder in a report.
const LADDER_WIDTH: usize = 80;
const LADDER_LINES: usize = 26;

/// Columns of a frame with the name of its input, above which the text gets lines of its own.
const LONG_LABEL: usize = 24;

/// Indent of the lines below the title of a block.
const INDENT: &str = "      ";
