//! A ladder as lines of text.
//!
//! In: a [`Ladder`], a width, and whether the terminal has box-drawing characters and colours. Out: lines that are no
//! wider, with one row a message. Text from the wire is escaped here.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::render::escape::escape;
use crate::render::report::{Arrow, Ladder, Lifeline, Row};
use crate::render::text::Styles;
use crate::render::words::grouped;

/// How a ladder is written as text.
#[derive(Clone, Copy)]
pub(in crate::render) struct LadderText {
    /// Columns of a line.
    pub(in crate::render) width: usize,
    /// True for a terminal without box-drawing characters.
    pub(in crate::render) is_ascii: bool,
    pub(in crate::render) styles: Styles,
}

/// One line with its width, which escape sequences of colours do not count for.
#[derive(Clone, Debug, Default)]
pub(in crate::render) struct Line {
    pub(in crate::render) text: String,
    pub(in crate::render) columns: usize,
}

/// The characters that lines are drawn with.
struct Glyphs {
    bar: char,
    dash: char,
    left: char,
    right: char,
    /// The end of a packet that did not arrive.
    lost: char,
    dot: char,
    /// In place of the middle of a name.
    cut: char,
}

const UNICODE: Glyphs =
    Glyphs {
        bar: '│', dash: '─', left: '◄', right: '►', lost: '×', dot: '·', cut: '…'
    };

const ASCII: Glyphs =
    Glyphs { bar: '|', dash: '-', left: '<', right: '>', lost: 'X', dot: '.', cut: '~' };

/// Where everything has its place in a line.
struct RowColumns {
    frame: usize,
    time: usize,
    /// Columns of the lifelines.
    lines: Vec<usize>,
    /// Column at which notes begin, and the width that they have.
    note: usize,
    note_width: usize,
}

/// Draws a ladder; the title and the notes below it are not part of it.
pub(in crate::render) fn lines(ladder: &Ladder, how: LadderText) -> Vec<Line> {
    let glyphs = if how.is_ascii { &ASCII } else { &UNICODE };
    let inputs = inputs(ladder);
    let rows: Vec<_> =
        ladder.rows.iter().map(|row| Texts::of(row, &inputs, how.is_ascii)).collect();
    let columns = RowColumns::of(ladder, &rows, how.width);
    let mut out = Vec::new();
    heads(&ladder.lifelines, &columns, how, glyphs, &mut out);
    for (row, texts) in ladder.rows.iter().zip(&rows) {
        draw(row, texts, &columns, how, glyphs, &mut out);
    }
    for (n, input) in (1..).zip(&inputs) {
        let input = plain(input, how.is_ascii);
        let which =
            if inputs.len() > 1 { format!(" {n}: {input}") } else { format!(" frames of {input}") };
        out.push(Line::plain(&which));
    }
    out
}

/// Two ladders side by side.
pub(in crate::render) fn beside(left: Vec<Line>, right: Vec<Line>, gap: usize) -> Vec<Line> {
    let column = left.iter().map(|line| line.columns).max().unwrap_or(0) + gap;
    let rows = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    (0..rows)
        .map(|_| {
            let (mut own, other) =
                (left.next().unwrap_or_default(), right.next().unwrap_or_default());
            if other.columns > 0 {
                own.pad(column);
                own.text.push_str(&other.text);
                own.columns += other.columns;
            }
            own
        })
        .collect()
}

/// The texts of a row, ready to be written.
struct Texts {
    frame: String,
    time: String,
    label: String,
    note: String,
}

impl Texts {
    fn of(row: &Row, inputs: &[Arc<str>], is_ascii: bool) -> Self {
        let input = |name: &Arc<str>| inputs.iter().position(|input| input == name);
        let frame = row.frame.as_ref().map(|label| {
            match label.input.as_ref().and_then(input).filter(|_| inputs.len() > 1) {
                Some(input) => format!("{}:{}", input + 1, label.frame),
                None => label.frame.to_string(),
            }
        });
        Self {
            frame: frame.unwrap_or_default(),
            time: row.after.map(milliseconds).unwrap_or_default(),
            label: plain(&row.label, is_ascii),
            note: plain(&row.note, is_ascii),
        }
    }
}

impl RowColumns {
    /// Room for the longest note is taken from the arrows, as long as their labels fit.
    fn of(ladder: &Ladder, rows: &[Texts], width: usize) -> Self {
        let longest = |get: fn(&Texts) -> &String| {
            rows.iter().map(|texts| columns_of(get(texts))).max().unwrap_or(0)
        };
        let frame = longest(|it| &it.frame).max(FRAME.len());
        let time = longest(|it| &it.time).max(TIME.len());
        let start = INDENT + frame + 2 + time + 2;
        let third = if ladder.lifelines.len() > 2 { THIRD } else { 0 };
        let arrows = ladder.rows.iter().zip(rows).filter(|(row, _)| row.arrow != Arrow::Across);
        let labels = arrows.map(|(_, texts)| columns_of(&texts.label)).max().unwrap_or(0);
        let notes = longest(|it| &it.note);
        let room = width.saturating_sub(start + third);
        let (shortest, shortest_note) = if width < NARROW { (22, 12) } else { (30, 16) };
        let heads = ladder.lifelines.iter().map(|line| columns_of(&line.name)).sum::<usize>();
        let wanted = (labels + 8).max(heads).clamp(shortest, LONGEST_SPAN);
        let gap = if notes > 0 { 2 } else { 0 };
        // Notes that are too long are wrapped; arrows keep room for their labels.
        let note_width = notes
            .min((width / 3).max(shortest_note))
            .min(room.saturating_sub(wanted + 1 + gap).max(shortest_note));
        let span = room.saturating_sub(1 + gap + note_width).clamp(shortest, LONGEST_SPAN);
        let mut lines = vec![start, start + span];
        if third > 0 {
            lines.push(start + span + third);
        }
        let last = lines.last().copied().unwrap_or(start);
        Self { frame, time, lines, note: last + 1 + gap, note_width }
    }

    /// Where the texts above the lifelines begin, and what of them is shown: the first one on its line, others centred on
    /// theirs as far as there is room.
    fn heads(&self, texts: &[String], width: usize, mark: char) -> Vec<(usize, String)> {
        let [first, second, third] = [0, 1, 2].map(|n| texts.get(n).map_or("", String::as_str));
        let third = cut(third, THIRD_HEAD, mark);
        let third_at = width.saturating_sub(columns_of(&third));
        let third_at = third_at.min(self.line(2).saturating_sub(columns_of(&third) / 2));
        let end = if third.is_empty() { width } else { third_at.saturating_sub(2) };
        let start = self.line(0);
        let room = end.saturating_sub(start + 2);
        let (own, other) = (columns_of(first), columns_of(second));
        let second = cut(second, room.saturating_sub(own).max(room / 2), mark);
        let first = cut(first, room.saturating_sub(columns_of(&second)), mark);
        let (own, other) = (columns_of(&first), columns_of(&second).min(other));
        let centred = self.line(1).saturating_sub(other / 2);
        let second_at = centred.min(end.saturating_sub(other)).max(start + own + 2);
        let heads = [(start, first), (second_at, second), (third_at, third)];
        heads.into_iter().take(texts.len()).collect()
    }

    fn line(&self, n: usize) -> usize {
        self.lines.get(n).or_else(|| self.lines.last()).copied().unwrap_or_default()
    }
}

/// Names and addresses above the lifelines. A name that is cut is given whole before.
fn heads(
    lifelines: &[Lifeline],
    columns: &RowColumns,
    how: LadderText,
    glyphs: &Glyphs,
    out: &mut Vec<Line>,
) {
    let bold = how.styles.bold;
    let names: Vec<_> = lifelines.iter().map(|line| plain(&line.name, how.is_ascii)).collect();
    let places: Vec<_> = lifelines.iter().map(|line| plain(&line.place, how.is_ascii)).collect();
    let placed = columns.heads(&names, how.width, glyphs.cut);
    for (n, (name, (_, shown))) in names.iter().zip(&placed).enumerate() {
        if name != shown {
            let side = if n == 0 { "left: " } else { "right:" };
            out.push(Line::plain(&format!(" {side} {name}")));
        }
    }
    let titles =
        format!("{:INDENT$}{FRAME:>f$}  {TIME:>t$}", "", f = columns.frame, t = columns.time);
    for (texts, lead, style) in [(&names, titles.as_str(), bold), (&places, "", how.styles.dim)] {
        if texts.iter().all(String::is_empty) {
            continue;
        }
        let mut line = Line::default();
        line.push(how.styles.dim, lead);
        for (at, text) in columns.heads(texts, how.width, glyphs.cut) {
            line.pad(at);
            line.push(style, &text);
        }
        out.push(line);
    }
}

fn draw(
    row: &Row,
    texts: &Texts,
    columns: &RowColumns,
    how: LadderText,
    glyphs: &Glyphs,
    out: &mut Vec<Line>,
) {
    let styles = how.styles;
    let mut line = Line::default();
    let lead = format!(
        "{:INDENT$}{:>f$}  {:>t$}  ",
        "",
        texts.frame,
        texts.time,
        f = columns.frame,
        t = columns.time
    );
    line.push(styles.dim, &lead);
    let style = styles.tone(row.tone);
    if row.arrow == Arrow::Across {
        across(line, style, &texts.label, columns, how, glyphs, out);
        return;
    }
    let (first, last) = (columns.line(0), columns.line(columns.lines.len().saturating_sub(1)));
    let mut at = first;
    while at <= last {
        let bar = columns.lines.contains(&at);
        let (from, to) = match row.arrow {
            Arrow::Sent { from, to } | Arrow::Lost { from, to } | Arrow::Missing { from, to } => {
                (columns.line(from.min(to)), columns.line(from.max(to)))
            }
            Arrow::Across => (first, last),
        };
        if at == from + 1 && to > from + 1 {
            let inner = arrow(row.arrow, &texts.label, to - from - 1, glyphs);
            line.push(style, &inner);
            at = to;
            continue;
        }
        line.push(styles.plain, if bar { glyphs.bar } else { ' ' }.encode_utf8(&mut [0; 4]));
        at += 1;
    }
    let mut notes = wrapped(&texts.note, columns.note_width, glyphs.cut).into_iter();
    if let Some(note) = notes.next() {
        line.pad(columns.note);
        line.push(style, &note);
    }
    out.push(line);
    for note in notes {
        let mut line = Line::default();
        for at in &columns.lines {
            line.pad(*at);
            line.push(styles.plain, glyphs.bar.encode_utf8(&mut [0; 4]));
        }
        line.pad(columns.note);
        line.push(style, &note);
        out.push(line);
    }
}

/// A text from the first lifeline to the last one, in as many lines as it needs.
fn across(
    lead: Line,
    style: anstyle::Style,
    text: &str,
    columns: &RowColumns,
    how: LadderText,
    glyphs: &Glyphs,
    out: &mut Vec<Line>,
) {
    let (first, last) = (columns.line(0), columns.line(columns.lines.len().saturating_sub(1)));
    let bar = glyphs.bar.to_string();
    let mut line = lead;
    for text in wrapped(text, last.saturating_sub(first + 3), glyphs.cut) {
        line.pad(first);
        line.push(how.styles.plain, &bar);
        line.pad(first + 2);
        line.push(style, &text);
        line.pad(last);
        line.push(how.styles.plain, &bar);
        out.push(std::mem::take(&mut line));
    }
}

/// What is between two lifelines: an arrow with its label.
fn arrow(arrow: Arrow, label: &str, width: usize, glyphs: &Glyphs) -> String {
    let label = cut(label, width.saturating_sub(6), glyphs.cut);
    let rest = width.saturating_sub(columns_of(&label) + 5);
    let line = |n: usize| glyphs.dash.to_string().repeat(n);
    let (is_right, is_lost) = match arrow {
        Arrow::Sent { from, to } | Arrow::Missing { from, to } => (from < to, false),
        Arrow::Lost { from, to } => (from < to, true),
        Arrow::Across => return String::new(),
    };
    if matches!(arrow, Arrow::Missing { .. }) {
        let dots: String =
            (0..rest + 2).map(|n| if n % 3 == 1 { glyphs.dot } else { ' ' }).collect();
        return if is_right {
            format!(" {label} {dots} {}", glyphs.right)
        } else {
            let dots: String = dots.chars().rev().collect();
            format!("{} {dots} {label} ", glyphs.left)
        };
    }
    if is_lost {
        // It ends on its way.
        let reach = rest * 3 / 5;
        let blank = " ".repeat(rest - reach);
        return if is_right {
            format!("{} {label} {}{}{blank}", line(2), line(reach), glyphs.lost)
        } else {
            format!("{blank}{}{} {label} {}", glyphs.lost, line(reach), line(2))
        };
    }
    if is_right {
        format!("{} {label} {}{}", line(2), line(rest), glyphs.right)
    } else {
        format!("{}{} {label} {}", glyphs.left, line(rest), line(2))
    }
}

impl Line {
    pub(super) fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), columns: columns_of(text) }
    }

    fn push(&mut self, style: anstyle::Style, text: &str) {
        if text.is_empty() {
            return;
        }
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "{style}{text}{style:#}");
        self.columns += columns_of(text);
    }

    fn pad(&mut self, column: usize) {
        let blanks = column.saturating_sub(self.columns);
        self.text.extend(std::iter::repeat_n(' ', blanks));
        self.columns += blanks;
    }

    /// The text without blanks at its end.
    pub(in crate::render) fn trimmed(&self) -> &str {
        self.text.trim_end()
    }
}

/// The inputs of the packets, if the run has several.
fn inputs(ladder: &Ladder) -> Vec<Arc<str>> {
    let mut inputs: Vec<Arc<str>> = Vec::new();
    for label in ladder.rows.iter().filter_map(|row| row.frame.as_ref()) {
        if let Some(input) = label.input.as_ref().filter(|input| !inputs.contains(input)) {
            inputs.push(Arc::clone(input));
        }
    }
    inputs
}

/// Milliseconds with one decimal below 100, whole ones below 100 s, and seconds above.
pub(super) fn milliseconds(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0 => "0".to_owned(),
        1..100 => "0.1".to_owned(),
        100..100_000 => format!("{}.{}", us / 1000, us / 100 % 10),
        100_000..100_000_000 => grouped(u64::try_from(us / 1000).unwrap_or(u64::MAX)),
        _ => format!("{} s", grouped(time.as_secs())),
    }
}

/// Text without control characters; without box-drawing terminals, without anything but ASCII.
pub(in crate::render) fn plain(text: &str, is_ascii: bool) -> String {
    let safe = escape(text);
    if !is_ascii || safe.is_ascii() {
        return safe.into_owned();
    }
    let mut out = String::with_capacity(safe.len());
    for c in safe.chars() {
        let _ = match c {
            'µ' => out.write_char('u'),
            c if c.is_ascii() => out.write_char(c),
            c => write!(out, "\\u{{{:04x}}}", u32::from(c)),
        };
    }
    out
}

/// `text` in at most `width` columns, without its middle if it is longer.
pub(in crate::render) fn cut(text: &str, width: usize, mark: char) -> String {
    if columns_of(text) <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(1);
    let (front, back) = (keep - keep / 2, keep / 2);
    let head = taken(text.chars(), front);
    let tail: String = taken(text.chars().rev(), back).chars().rev().collect();
    format!("{head}{mark}{tail}")
}

/// The first characters that fit into `width` columns.
fn taken(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += columns_of_char(*c);
        used <= width
    };
    chars.take_while(fits).collect()
}

/// `text` in lines of at most `width` columns; a word that is longer is cut in its middle.
pub(super) fn wrapped(text: &str, width: usize, mark: char) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if columns_of(line) + 1 + columns_of(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(cut(word, width, mark)),
        }
    }
    lines
}

/// Columns that a terminal needs for `text`.
pub(in crate::render) fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

/// Two for the wide characters of East Asian scripts and pictures, none for marks on the character before.
const fn columns_of_char(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

const FRAME: &str = "frame";
const TIME: &str = "ms";

/// Blanks before the first column.
const INDENT: usize = 1;

/// Columns from the second lifeline to a third one.
const THIRD: usize = 14;

/// Columns of a name above a third lifeline.
const THIRD_HEAD: usize = 22;

/// Columns from one lifeline to the next, above which an arrow is only longer.
const LONGEST_SPAN: usize = 56;

/// Columns below which arrows and notes get less room than is good to read.
const NARROW: usize = 72;
