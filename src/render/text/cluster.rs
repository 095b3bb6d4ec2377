//! The cluster as a table of lines.

use std::io::{self, Write};

use super::writer::TextWriter;
use crate::render::report::ClusterTable;

/// Writes the table of a cluster.
pub(super) fn write(
    writer: &mut TextWriter,
    out: &mut impl Write,
    cluster: &ClusterTable,
) -> io::Result<()> {
    let ClusterTable { heading, nodes, failed, never_tried, cookies, left_out } = cluster;
    writer.blank_line(out)?;
    writer.heading(out, "", heading)?;
    let names = nodes.iter().take(ROWS).map(|(name, _)| name.chars().count());
    let column = names.max().unwrap_or(0).min(COLUMN);
    let nodes: Vec<_> =
        nodes.iter().map(|(name, facts)| format!("{name:column$}  {facts}")).collect();
    for list in [&nodes, failed, never_tried, cookies] {
        rows(writer, out, list)?;
    }
    writer.more(out, LEAD, *left_out)
}

/// At most [`ROWS`] lines, and how many more there are.
fn rows(writer: &mut TextWriter, out: &mut impl Write, rows: &[String]) -> io::Result<()> {
    for row in rows.iter().take(ROWS) {
        writer.row(out, &format!("{LEAD}{row}"))?;
    }
    writer.more(out, LEAD, rows.len().saturating_sub(ROWS) as u64)
}

const LEAD: &str = "  ";

/// How many rows of each kind are written: as many as a screen has room for.
const ROWS: usize = 20;

/// Widest column of names: a longer one sticks out.
const COLUMN: usize = 40;
