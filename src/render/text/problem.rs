//! One problem as a block of lines, or as one line.

use std::io::{self, Write};

use super::writer::TextWriter;
use crate::record::Finding;
use crate::render::report::Problem;

/// Writes the whole block. It has its number in the report, if no repeat of the problem can follow.
pub(super) fn write(
    writer: &mut TextWriter,
    out: &mut impl Write,
    problem: &Problem,
    number: Option<usize>,
) -> io::Result<()> {
    let Finding { rule, severity, title, explanation, remedy, not_excluded, .. } = &problem.finding;
    let bold = writer.styles.bold;
    let is_final = number.is_some();
    writer.blank_line(out)?;
    match number {
        Some(number) => {
            writer.columns(out, "", &[(bold, format!("{:4}", format!("{number}.")))], title)?
        }
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
    writer.wrapped(out, INDENT, &format!("More about it: beamscope explain {rule}"))?;
    writer.blank_line(out)
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

/// Columns of a frame with the name of its input, above which the text gets lines of its own.
const LONG_LABEL: usize = 24;

/// Indent of the lines below the title of a block.
const INDENT: &str = "      ";
