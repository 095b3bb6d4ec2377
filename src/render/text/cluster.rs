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
    for (name, facts) in nodes.iter().take(ROWS) {
        writer.wrapped(out, &format!("{LEAD}{name:column$}  "), facts)?;
    }
    more(writer, out, nodes.len())?;
    for list in [failed, never_tried, cookies] {
        list.iter().take(ROWS).try_for_each(|row| writer.hanging(out, LEAD, row))?;
        more(writer, out, list.len())?;
    }
    writer.more(out, LEAD, *left_out, "")
}

/// Writes how many of so many rows are left out.
fn more(writer: &mut TextWriter, out: &mut impl Write, rows: usize) -> io::Result<()> {
    writer.more(
        out,
        LEAD,
        rows.saturating_sub(ROWS) as u64,
        "--json has all, --node and --host some",
    )
}

const LEAD: &str = "  ";

/// How many rows of each kind are written: as many as a screen has room for.
const ROWS: usize = 20;

/// Widest column of names: a longer one sticks out.
const COLUMN: usize = 40;
