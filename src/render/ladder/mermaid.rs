//! A ladder as a sequence diagram of Mermaid, for a ticket or a page in Markdown.
//!
//! In: a [`Ladder`]. Out: the text of the diagram. Text from the wire is written in entity codes, so that no name can
//! end a line or begin a statement.

use std::fmt::Write;

use super::text::cut;
use crate::render::escape::escape;
use crate::render::report::{Arrow, Ladder, Row};

/// Writes the ladder as a diagram.
pub(in crate::render) fn mermaid(ladder: &Ladder) -> String {
    let mut out = "sequenceDiagram\n".to_owned();
    for (n, line) in ladder.lifelines.iter().enumerate() {
        let place = if line.place.is_empty() {
            String::new()
        } else {
            format!("<br/>{}", coded(&line.place))
        };
        let _ = writeln!(
            out,
            "    participant {} as {}{place}",
            participant(n),
            coded(&cut(&escape(&line.name), NAME, '…'))
        );
    }
    let last = ladder.lifelines.len().saturating_sub(1).max(1);
    let (first, last) = (participant(0), participant(last));
    let _ = writeln!(out, "    Note over {first},{last}: {}", coded(&ladder.title));
    for row in &ladder.rows {
        let text = coded(&text(row));
        let _ = match row.arrow {
            Arrow::Sent { from, to } => {
                writeln!(out, "    {}->>{}: {text}", participant(from), participant(to))
            }
            Arrow::Lost { from, to } => {
                writeln!(out, "    {}-x{}: {text}", participant(from), participant(to))
            }
            Arrow::Missing { from, to } => {
                writeln!(out, "    {}--x{}: {text}", participant(from), participant(to))
            }
            Arrow::Across => writeln!(out, "    Note over {first},{last}: {text}"),
        };
    }
    out
}

/// Columns of a name above a lifeline; what is longer is cut in the middle.
const NAME: usize = 60;

/// The identifier of a lifeline.
const fn participant(n: usize) -> &'static str {
    match n {
        0 => "A",
        1 => "B",
        _ => "E",
    }
}

/// Label, note and packet of a row.
fn text(row: &Row) -> String {
    let mut text = row.label.clone();
    if !row.note.is_empty() {
        let _ = write!(text, ", {}", row.note);
    }
    if let Some(frame) = &row.frame {
        let _ = write!(text, " ({frame})");
    }
    text
}

/// Text in which every character that Mermaid or HTML may take for syntax is an entity code, `#NUMBER;`.
fn coded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        let _ = match c {
            c if c.is_alphanumeric() => out.write_char(c),
            ' ' | '.' | ',' | '_' | '@' | '/' | '(' | ')' | '-' => out.write_char(c),
            c => write!(out, "#{};", u32::from(c)),
        };
    }
    // As a word of its own it would end a block.
    out.split(' ')
        .map(|word| if word.eq_ignore_ascii_case("end") { "e#110;d" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}
