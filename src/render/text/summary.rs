//! The end of a report as lines.

use std::io::{self, Write};

use super::Layout;
use super::writer::TextWriter;
use crate::render::report::Summary;

/// Writes the last lines of a run.
pub(super) fn write(
    writer: &mut TextWriter,
    out: &mut impl Write,
    summary: &Summary,
    layout: Layout,
) -> io::Result<()> {
    writer.blank_line(out)?;
    writer.heading(out, "", "Summary")?;
    if let Some(problems) = &summary.problems {
        writer.wrapped(out, LEAD, problems)?;
        // Blocks that were written as they came have often left the screen.
        if layout == Layout::Streaming || summary.total > 1 {
            titles(writer, out, summary)?;
        }
    }
    summary.outcome.iter().try_for_each(|text| writer.wrapped(out, LEAD, text))?;
    if let Some(unusual) = summary.unusual.as_ref().filter(|_| layout == Layout::Grouped) {
        writer.wrapped(out, LEAD, unusual)?;
    }
    writer.wrapped(out, LEAD, &summary.extent)?;
    if summary.is_complete {
        return writer.wrapped(out, LEAD, "The capture looks complete.");
    }
    let end = if summary.losses.is_empty() { '.' } else { ':' };
    writer.wrapped(out, LEAD, &format!("The capture is not complete{end}"))?;
    summary.losses.iter().try_for_each(|loss| writer.wrapped(out, BULLET, loss))?;
    summary.advice.as_ref().map_or(Ok(()), |advice| writer.wrapped(out, LEAD, advice))
}

fn titles(writer: &mut TextWriter, out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let plain = writer.styles.plain;
    for title in &summary.titles {
        let times =
            if title.count > 1 { format!("  ({} times)", title.count) } else { String::new() };
        let text = format!("{}{times}", title.text);
        writer.with_severity(out, BULLET, title.severity, plain, &text)?;
    }
    let shown: u64 = summary.titles.iter().map(|title| title.count).sum();
    writer.more(out, BULLET, summary.total.saturating_sub(shown))
}

const LEAD: &str = "  ";
const BULLET: &str = "    - ";
