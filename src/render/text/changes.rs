//! How two captures differ: a line for each pair that changed, and a line for all.

use std::io::{self, Write};

use super::writer::TextWriter;
use crate::record::{Comparison, Outcome, PairChange, PairChangeKind, PairState};
use crate::render::words::{count, grouped, outcome_words};

/// Writes one pair that changed.
pub(super) fn pair(
    writer: &mut TextWriter,
    out: &mut impl Write,
    pair_change: &PairChange,
) -> io::Result<()> {
    let PairChange { change, nodes: [a, b], before, after } = pair_change;
    let text = match (before, after) {
        (Some(before), Some(after))
            if before.outcome == after.outcome && before.findings == after.findings =>
        {
            format!(
                "{} as before ({}), now for another reason: compare the findings of the two captures",
                state(after),
                rules(after)
            )
        }
        (Some(before), Some(after)) if before.outcome == after.outcome => format!(
            "{} ({}), now for another reason ({})",
            state(before),
            rules(before),
            rules(after)
        ),
        (Some(before), Some(after)) => format!("{}, now {}", state(before), state(after)),
        (Some(before), None) => format!("{}, now undecided or not seen", state(before)),
        (None, Some(after)) => state(after),
        (None, None) => String::new(),
    };
    let style = match change {
        PairChangeKind::Broken => writer.styles.bad,
        PairChangeKind::Fixed => writer.styles.good,
        PairChangeKind::Changed | PairChangeKind::New => writer.styles.notable,
        PairChangeKind::Gone => writer.styles.plain,
    };
    writer.marked(out, style, &format!("{:7}", word(*change)), &format!("{a} and {b}: {text}"))
}

/// Writes the counts of all pairs.
pub(super) fn whole(
    writer: &mut TextWriter,
    out: &mut impl Write,
    comparison: &Comparison,
) -> io::Result<()> {
    let Comparison { changes, unchanged, undecided, left_out } = comparison;
    let mut text = match (changes.is_empty(), *unchanged) {
        (true, 0) => "Neither capture shows the outcome of a connection between nodes.".to_owned(),
        (true, n) => format!("Nothing changed: {} as before.", count(n, "pair")),
        (false, 0) => "No pair is unchanged.".to_owned(),
        (false, n) => format!("{} unchanged.", count(n, "pair")),
    };
    let others =
        [(*undecided, "undecided"), (*left_out, "left out to stay within the memory limits")];
    for (n, why) in others.into_iter().filter(|(n, _)| *n > 0) {
        text += &format!(" {} {why}.", count(n, "connection"));
    }
    writer.wrapped(out, "", &text)
}

const fn word(change: PairChangeKind) -> &'static str {
    match change {
        PairChangeKind::Broken => "broken",
        PairChangeKind::Changed => "changed",
        PairChangeKind::New => "new",
        PairChangeKind::Gone => "gone",
        PairChangeKind::Fixed => "fixed",
    }
}

/// The rules that found why it fails.
fn rules(state: &PairState) -> String {
    state.findings.iter().map(|rule| &**rule).collect::<Vec<_>>().join(", ")
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
