//! What each side of a connection sent, as tables.

use std::io::{self, Write};

use super::writer::TextWriter;
use crate::render::report::SideTotals;
use crate::render::words::{bytes, grouped};

/// Writes the totals of both sides.
pub(super) fn write(
    writer: &mut TextWriter,
    out: &mut impl Write,
    sides: &[SideTotals],
) -> io::Result<()> {
    if sides.is_empty() {
        return Ok(());
    }
    for side in sides {
        writer.wrapped(out, HEADING, &side.heading)?;
        for (title, rows) in &side.tables {
            for (n, share) in rows.iter().take(ROWS).enumerate() {
                let title = if n == 0 { title } else { "" };
                let (messages, size) = (grouped(share.messages), bytes(share.bytes));
                let row = format!("{ROW}{title:<10}{messages:>8} {size:>10}  {}", share.name);
                writer.row(out, &row)?;
            }
        }
        side.notes.iter().try_for_each(|note| writer.wrapped(out, ROW, note))?;
    }
    writer.blank_line(out)
}

const HEADING: &str = "              ";
const ROW: &str = "                ";

/// Rows of each table: JSON has the others.
const ROWS: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::TextOptions;
    use super::*;
    use crate::record::{Outcome, State};
    use crate::render::report::Report;
    use crate::render::samples;

    #[test]
    fn totals_are_tables_and_latencies_are_sentences() {
        let event = samples::session(State::Closed, Outcome::Connected);
        let options = TextOptions { width: 80, verbose: true, ..TextOptions::default() };
        let mut out = Vec::new();
        write(&mut TextWriter::new(&options), &mut out, &Report::totals(&event)).unwrap();
        let expected = "
              one@192.168.0.100 sent 6 messages, 420 bytes
                operation        3  210 bytes  REG_SEND
                                 3  210 bytes  MONITOR_P
                to name          3  210 bytes  rex
                function         3  210 bytes  lists:seq/2
                1 message in 3 fragments
                largest message: 80 bytes (REG_SEND, frame 17)
                4 gen_call calls: 1 answered, 1 not answered, 1 given up by the
                caller, 1 to no process; median 120 µs, p99 120 µs, slowest 120
                µs (frame 17 to frame 17)
                net_ticktime 60 s, judging by its ticks
                longest silence: 15.0 s, from frame 17
                longest closed receive window: 2.0 s, from frame 17

";
        assert_eq!(format!("\n{}", String::from_utf8(out).unwrap()), expected);
    }
}
