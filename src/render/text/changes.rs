//! Stage 8: how two captures differ, in sentences.
//!
//! In: changes of pairs, and their counts. Out: a line each.

use std::io::{self, Write};

use super::sheet::TextWriter;
use crate::record::{Comparison, Outcome, PairChange, PairState, Turn};
use crate::render::words::{count, grouped, outcome_words};

/// One pair that changed.
pub(super) fn pair(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    pair_change: &PairChange,
) -> io::Result<()> {
    let PairChange { change, nodes: [a, b], before, after } = pair_change;
    let text = match (before, after) {
        (Some(before), Some(after)) => format!("{}, now {}", state(before), state(after)),
        (Some(before), None) => format!("{}, now undecided or not seen", state(before)),
        (None, Some(after)) => state(after),
        (None, None) => String::new(),
    };
    let style = match change {
        Turn::Broken => sheet.styles.bad,
        Turn::Fixed => sheet.styles.good,
        Turn::Changed | Turn::New => sheet.styles.notable,
        Turn::Gone => sheet.styles.plain,
    };
    sheet.marked(out, style, &format!("{:7}", word(*change)), &format!("{a} and {b}: {text}"))
}

/// All in one line.
pub(super) fn whole(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    comparison: &Comparison,
) -> io::Result<()> {
    let Comparison { changes, unchanged, undecided, left_out } = comparison;
    let mut text = match (changes.is_empty(), *unchanged) {
        (true, 0) => "Neither shows what comes of a connection between nodes.".to_owned(),
        (true, n) => format!("Nothing changed: {} as before.", count(n, "pair")),
        (false, 0) => "No pair stands as it stood.".to_owned(),
        (false, n) => format!("{} unchanged.", count(n, "pair")),
    };
    let others = [
        (*undecided, "that decided nothing"),
        (*left_out, "left out to stay within the memory allowed"),
    ];
    for (n, why) in others.into_iter().filter(|(n, _)| *n > 0) {
        text += &format!(" {} {why}.", count(n, "connection"));
    }
    sheet.wrapped(out, "", &text)
}

const fn word(change: Turn) -> &'static str {
    match change {
        Turn::Broken => "broken",
        Turn::Changed => "changed",
        Turn::New => "new",
        Turn::Gone => "gone",
        Turn::Fixed => "fixed",
    }
}

fn state(state: &PairState) -> String {
    let words = outcome_words(state.outcome);
    match state.failed {
        n if n > 1 && state.outcome != Outcome::Connected => {
            format!("{words} ({} failed)", grouped(n))
        }
        _ => words.to_owned(),
    }
}
