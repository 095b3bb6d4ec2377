//! One problem as a block of lines, or as one line.

use std::io::{self, Write};

use anstyle::Style;

use super::writer::TextWriter;
use crate::record::Finding;
use crate::render::report::{Problem, ProblemGroup};

/// Writes the problems of one cause, from number `first` on, and what to do about them once. If they are many and not
/// `all` are wanted, a line each stands for the later ones.
pub(super) fn write_group(
    writer: &mut TextWriter,
    out: &mut impl Write,
    group: &ProblemGroup,
    first: usize,
    all: bool,
) -> io::Result<()> {
    let ProblemGroup { problems, remedy } = group;
    let detailed = if all || problems.len() <= MANY { problems.len() } else { DETAILED };
    for (number, problem) in (first..).zip(problems.iter().take(detailed)) {
        write_details(writer, out, problem, Some(number))?;
    }
    for (number, problem) in (first + detailed..).zip(problems.iter().skip(detailed)) {
        writer.blank_line(out)?;
        writer.columns(out, "", &[number_column(writer, number)], &problem.finding.title)?;
        writer.wrapped(out, INDENT, &problem.circumstances(true))?;
    }
    let rule = group.rule();
    if detailed < problems.len() {
        let last = first + problems.len() - 1;
        let text = format!(
            "More about {} to {last}: --verbose, or --pair, --node, --host for one of them.",
            first + detailed
        );
        writer.blank_line(out)?;
        writer.wrapped(out, INDENT, &text)?;
    }
    let heading = format!("What to do about {first} to {}:", first + problems.len() - 1);
    bullets(writer, out, &heading, remedy)?;
    writer.wrapped(out, INDENT, &explain(rule))?;
    writer.blank_line(out)
}

/// Writes the whole block of a problem that repeats may follow.
pub(super) fn write(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &Problem,
) -> io::Result<()> {
    write_details(writer, out, problem, None)?;
    writer.wrapped(out, INDENT, &explain(problem.finding.rule))?;
    writer.blank_line(out)
}

fn explain(rule: &str) -> String {
    format!("More about it: beamscope explain {rule}")
}

fn number_column(writer: &TextWriter, number: usize) -> (Style, String) {
    (writer.styles.bold, format!("{:4}", format!("{number}.")))
}

/// Writes what is known of one problem. It has its number in the report, if no repeat of it can follow.
fn write_details(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &Problem,
    number: Option<usize>,
) -> io::Result<()> {
    let Finding { severity, title, explanation, remedy, not_excluded, .. } = &problem.finding;
    let bold = writer.styles.bold;
    let is_final = number.is_some();
    writer.blank_line(out)?;
    match number {
        Some(number) => writer.columns(out, "", &[number_column(writer, number)], title)?,
        None => writer.with_severity(out, "", *severity, bold, title)?,
    }
    writer.wrapped(out, INDENT, &problem.circumstances(is_final))?;
    writer.wrapped(out, INDENT, explanation)?;
    for (n, (frame, text)) in problem.evidence().enumerate() {
        if n == 0 {
            writer.heading(out, INDENT, "Seen in the capture:")?;
        }
        let frame = frame.to_string();
        if frame.chars().count() <= LONG_LABEL {
            writer.wrapped(out, &format!("{INDENT}  {frame}  "), &text)?;
        } else {
            writer.wrapped(out, &format!("{INDENT}  "), &frame)?;
            writer.wrapped(out, &format!("{INDENT}    "), &text)?;
        }
    }
    bullets(writer, out, "What to do:", remedy)?;
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
    items: &[String],
) -> io::Result<()> {
    if !items.is_empty() {
        writer.heading(out, INDENT, heading)?;
    }
    items.iter().try_for_each(|item| writer.wrapped(out, &format!("{INDENT}  - "), item))
}

/// How many problems of one cause are written in full, if there are more than [`MANY`].
const DETAILED: usize = 3;
const MANY: usize = 5;

/// Columns of a frame with the name of its input, above which the text gets lines of its own.
const LONG_LABEL: usize = 24;

/// Indent of the lines below the title of a block.
const INDENT: &str = "      ";
