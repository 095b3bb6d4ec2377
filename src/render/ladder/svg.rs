//! A ladder as a picture in SVG.
//!
//! In: a [`Ladder`]. Out: one `svg` element that needs nothing else: sizes and colours are classes of the style sheet in
//! it, and lines take the colour of the text around it. A row that names a packet has `data-frame`. Text from the wire is
//! escaped, and cut where there is no room for it; then its whole is in a `title`.

use std::fmt::Write;

use super::text::{columns_of, cut, milliseconds};
use crate::render::escape::escape;
use crate::render::report::{Arrow, Ladder, Row, Tone};

/// Draws a ladder. Widths are those of a font of which no character is wider than 0.62 of its size, as is the case for
/// fixed-width fonts.
pub(in crate::render) fn svg(ladder: &Ladder) -> String {
    let mut body = String::new();
    let lines = places_of_lines(ladder.lifelines.len());
    let rows: Vec<RowPlace> = ladder.rows.iter().map(|row| RowPlace::of(row, &lines)).collect();
    let height = HEAD + rows.iter().map(|row| row.height).sum::<usize>() + FOOT;
    for (n, (line, x)) in ladder.lifelines.iter().zip(&lines).enumerate() {
        let anchor = if n == 0 { "start" } else { "middle" };
        let at = if n == 0 { x - 12 } else { *x };
        // So that no name runs into the next one.
        let room = match (lines.len(), n) {
            (0..=2, _) => 28,
            (_, 0) => 26,
            _ => 20,
        };
        text(&mut body, at, 18, anchor, "name", &line.name, room);
        text(&mut body, at, 34, anchor, "place", &line.place, room);
        let _ = writeln!(
            body,
            r#"<line class="life" x1="{x}" y1="{HEAD}" x2="{x}" y2="{}"/>"#,
            height - FOOT / 2
        );
    }
    text(&mut body, 58, 34, "end", "frame", "frame", 9);
    text(&mut body, 112, 34, "end", "time", "ms", 9);
    let mut y = HEAD;
    for (row, place) in ladder.rows.iter().zip(&rows) {
        draw(&mut body, row, place, y, &lines);
        y += place.height;
    }
    let title = xml(&ladder.title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ladder\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{title}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Where the lifelines are.
fn places_of_lines(n: usize) -> Vec<usize> {
    match n {
        0..=2 => vec![FIRST_LINE, 470],
        _ => vec![FIRST_LINE, 400, 560],
    }
}

/// How high a row is, and its note in lines.
struct RowPlace {
    height: usize,
    notes: Vec<String>,
    note_x: usize,
    /// The lines of a text across.
    across: Vec<String>,
}

impl RowPlace {
    fn of(row: &Row, lines: &[usize]) -> Self {
        let note_x = lines.last().copied().unwrap_or(FIRST_LINE) + 12;
        let width = (WIDTH - note_x) * 100 / NOTE_ADVANCE;
        let notes = super::text::wrapped(&escape(&row.note), width, '…');
        let first = lines.first().copied().unwrap_or(FIRST_LINE);
        let across = match row.arrow {
            Arrow::Across => {
                let width = (note_x - first).saturating_sub(44) * 100 / NOTE_ADVANCE;
                super::text::wrapped(&escape(&row.label), width, '…')
            }
            _ => Vec::new(),
        };
        let lines = notes.len().max(across.len() + 1);
        Self { height: ROW.max(lines * NOTE_LINE + 12), notes, note_x, across }
    }
}

fn draw(out: &mut String, row: &Row, place: &RowPlace, top: usize, lines: &[usize]) {
    let class = match (row.arrow, row.tone) {
        (Arrow::Missing { .. }, _) => "row missing",
        (_, Tone::Bad | Tone::Severity(_)) => "row bad",
        (_, Tone::Good) => "row good",
        (_, Tone::Notable) => "row notable",
        _ => "row",
    };
    let frame = row.frame.as_ref().map_or_else(String::new, |label| {
        let name = match &label.input {
            Some(input) => format!("{}:{}", xml(input), label.frame),
            None => label.frame.to_string(),
        };
        format!(r#" data-frame="{name}""#)
    });
    let _ = writeln!(out, r#"<g class="{class}"{frame}>"#);
    let y = top + 26;
    if let Some(label) = &row.frame {
        text(out, 58, y + 4, "end", "frame", &label.frame.to_string(), 9);
    }
    if let Some(after) = row.after {
        text(out, 112, y + 4, "end", "time", &milliseconds(after), 9);
    }
    let x = |n: usize| lines.get(n).or_else(|| lines.last()).copied().unwrap_or(FIRST_LINE);
    let (first, last) = (x(0), x(lines.len().saturating_sub(1)));
    let (from, to) = match row.arrow {
        Arrow::Sent { from, to } | Arrow::Lost { from, to } | Arrow::Missing { from, to } => {
            (x(from), x(to))
        }
        Arrow::Across => (first, last),
    };
    let (low, high) = (from.min(to), from.max(to));
    match row.arrow {
        Arrow::Across => {
            let _ = writeln!(
                out,
                r#"<rect class="across" x="{}" y="{}" width="{}" height="{}" rx="3"/>"#,
                low + 6,
                top + 10,
                high - low - 12,
                place.across.len() * NOTE_LINE + 8
            );
            for (n, text_line) in place.across.iter().enumerate() {
                let width = (high - low) * 100 / NOTE_ADVANCE;
                text(out, low + 14, top + 24 + n * NOTE_LINE, "start", "note", text_line, width);
            }
        }
        Arrow::Sent { .. } | Arrow::Missing { .. } => {
            let tip = if from < to { to - 1 } else { to + 1 };
            line(out, from, tip, y);
            head(out, tip, y, from < to);
        }
        Arrow::Lost { .. } => {
            let span = (high - low) * 3 / 4;
            let end = if from < to { low + span } else { high - span };
            line(out, from, end, y);
            let _ = writeln!(
                out,
                r#"<path class="cross" d="M{} {}l10 10m0 -10l-10 10"/>"#,
                end.saturating_sub(5),
                y - 5
            );
        }
    }
    if row.arrow != Arrow::Across {
        // The label of an arrow that passes a lifeline is in front of that.
        let until = lines.iter().copied().find(|line| *line > low).unwrap_or(high).min(high);
        let room = (until - low).saturating_sub(16) * 100 / LABEL_ADVANCE;
        text(out, low + (until - low) / 2, y - 5, "middle", "label", &row.label, room);
    }
    for (n, note) in place.notes.iter().enumerate() {
        let width = (WIDTH - place.note_x) * 100 / NOTE_ADVANCE;
        text(out, place.note_x, y + 4 + n * NOTE_LINE, "start", "note", note, width);
    }
    out.push_str("</g>\n");
}

fn line(out: &mut String, from: usize, to: usize, y: usize) {
    let _ = writeln!(out, r#"<line class="arrow" x1="{from}" y1="{y}" x2="{to}" y2="{y}"/>"#);
}

/// The head of an arrow whose tip is at `x`.
fn head(out: &mut String, x: usize, y: usize, is_right: bool) {
    let back = if is_right { x - 8 } else { x + 8 };
    let _ =
        writeln!(out, r#"<path class="head" d="M{x} {y}L{back} {}L{back} {}Z"/>"#, y - 4, y + 4);
}

/// Writes text that has room for `room` characters; what is longer is cut in the middle, and its whole is a `title`.
fn text(
    out: &mut String,
    x: usize,
    y: usize,
    anchor: &str,
    class: &str,
    content: &str,
    room: usize,
) {
    if content.is_empty() {
        return;
    }
    let safe = escape(content);
    let shown = xml(&cut(&safe, room, '…'));
    let whole = if columns_of(&safe) > room {
        format!("<title>{}</title>", xml(&safe))
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{whole}{shown}</text>"#
    );
}

/// Text as XML, also in an attribute.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML 1.0 has no such characters, not even escaped.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Sizes in units of the picture.
const WIDTH: usize = 700;
const HEAD: usize = 44;
const FOOT: usize = 12;
const ROW: usize = 34;
const NOTE_LINE: usize = 14;

/// The first lifeline, behind the columns of frames and times.
const FIRST_LINE: usize = 140;

/// Hundredths of a unit that a character of a label (12 units high) and of a note (11 units) takes.
const LABEL_ADVANCE: usize = 745;
const NOTE_ADVANCE: usize = 685;

/// Everything has the colour of the text around the picture, but for what is missing, bad or good. A page sets these
/// colours by the variables; a program that knows no variables takes the ones before them.
const STYLE: &str = "\
.ladder text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:12px;fill:currentColor}\
.ladder .name{font-weight:bold}\
.ladder .place,.ladder .frame,.ladder .time,.ladder .note{font-size:11px}\
.ladder .life{stroke:currentColor;stroke-opacity:.35}\
.ladder .arrow{stroke:currentColor;stroke-width:1.3}\
.ladder .head{fill:currentColor}\
.ladder .cross{stroke:currentColor;stroke-width:2;fill:none}\
.ladder .across{fill:currentColor;fill-opacity:.08}\
.ladder .missing .arrow{stroke-dasharray:2 6}\
.ladder .missing,.ladder .bad{color:#b3261e;color:var(--bad,#b3261e)}\
.ladder .good{color:#1a6e2e;color:var(--good,#1a6e2e)}\
.ladder .notable{color:#7a5200;color:var(--notable,#7a5200)}";
