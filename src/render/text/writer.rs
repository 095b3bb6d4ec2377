//! Lines of text with styles.
//!
//! In: sentences. Out: lines of a given width, with ANSI styles, each day under its date. Every text is
//! escaped here.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::TextOptions;
use crate::record::Severity;
use crate::render::escape::{ascii, escape};
use crate::render::report::{TimelineEntry, Tone};
use crate::render::words::{grouped, time, wrapped};
use crate::time::{Timestamp, Zone};

/// Writes text line by line.
pub(super) struct TextWriter {
    pub(super) styles: Styles,
    width: usize,
    is_ascii: bool,
    zone: Zone,
    /// The date that was written last.
    day: String,
    /// True if the last line is empty, or none is written yet.
    is_spaced: bool,
}

impl TextWriter {
    pub(super) fn new(options: &TextOptions) -> Self {
        let styles = if options.colour { Styles::COLOURED } else { Styles::default() };
        Self {
            styles,
            width: options.width,
            is_ascii: options.ascii,
            zone: options.zone.clone(),
            day: String::new(),
            is_spaced: true,
        }
    }

    /// The text without what the terminal cannot show, or must not be given.
    fn safe<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_ascii { ascii(text) } else { escape(text) }
    }

    /// Writes the date before the first line of each day; the lines have the time only.
    pub(super) fn date(&mut self, out: &mut impl Write, at: Timestamp) -> io::Result<()> {
        let day = self.zone.date(at);
        if day != self.day && at != Timestamp::default() {
            let dim = self.styles.dim;
            writeln!(out, "{dim}{day}, times in {}{dim:#}", self.zone.abbreviation(at))?;
            self.day = day;
            self.is_spaced = false;
        }
        Ok(())
    }

    /// Writes an empty line, unless the last line is one.
    pub(super) fn blank_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        if std::mem::replace(&mut self.is_spaced, true) { Ok(()) } else { writeln!(out) }
    }

    /// Writes a line of the time line.
    pub(super) fn entry(&mut self, out: &mut impl Write, entry: &TimelineEntry) -> io::Result<()> {
        self.date(out, entry.at)?;
        self.is_spaced = false;
        let (dim, style) = (self.styles.dim, self.styles.tone(entry.tone));
        let (time, text) = (time(&self.zone, entry.at), self.safe(&entry.text));
        write!(out, "{dim}{time}{dim:#}  {style}{text}{style:#}")?;
        match &entry.frame {
            Some(frame) => writeln!(out, "  {dim}({}){dim:#}", self.safe(&frame.to_string())),
            None => writeln!(out),
        }
    }

    /// Writes a line that begins with a severity.
    pub(super) fn with_severity(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        severity: Severity,
        style: Style,
        text: &str,
    ) -> io::Result<()> {
        self.is_spaced = false;
        let badge = self.styles.severity(severity);
        let name = severity.name().to_ascii_uppercase();
        let indent = " ".repeat(lead.len() + name.len() + 2);
        let lines = wrapped(&indent, &self.safe(text), self.width);
        writeln!(out, "{lead}{badge}{name}{badge:#}  {style}{}{style:#}", lines.trim())
    }

    /// Writes `text` behind columns that have styles of their own; further lines are under the first one.
    pub(super) fn columns(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        columns: &[(Style, String)],
        text: &str,
    ) -> io::Result<()> {
        self.is_spaced = false;
        write!(out, "{lead}")?;
        let mut indent = lead.len();
        for (style, column) in columns {
            write!(out, "{style}{}{style:#}  ", self.safe(column))?;
            indent += column.chars().count() + 2;
        }
        let bold = self.styles.bold;
        let lines = wrapped(&" ".repeat(indent), &self.safe(text), self.width);
        let lines = lines.trim_start().trim_end();
        writeln!(out, "{bold}{lines}{bold:#}")
    }

    /// Writes a line that begins with a word in its own style.
    pub(super) fn marked(
        &mut self,
        out: &mut impl Write,
        style: Style,
        mark: &str,
        text: &str,
    ) -> io::Result<()> {
        self.is_spaced = false;
        writeln!(out, "{style}{mark}{style:#}  {}", self.safe(text))
    }

    /// Writes a heading after `lead`.
    pub(super) fn heading(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        text: &str,
    ) -> io::Result<()> {
        self.is_spaced = false;
        let bold = self.styles.bold;
        writeln!(out, "{lead}{bold}{}{bold:#}", self.safe(text))
    }

    /// Writes `text` in lines that fit, the first after `lead`, as [`wrapped`] does.
    pub(super) fn wrapped(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        text: &str,
    ) -> io::Result<()> {
        self.is_spaced = false;
        out.write_all(wrapped(&self.safe(lead), &self.safe(text), self.width).as_bytes())
    }

    /// Writes `text` in lines that fit, the first after `lead`, the others two columns further in.
    pub(super) fn hanging(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        text: &str,
    ) -> io::Result<()> {
        self.is_spaced = false;
        let indent = " ".repeat(lead.len() + 2);
        let lines = wrapped(&indent, &self.safe(text), self.width);
        write!(out, "{lead}{}", lines.trim_start_matches(' '))
    }

    /// Writes a line that is drawn and escaped already.
    pub(super) fn drawn(&mut self, out: &mut impl Write, line: &str) -> io::Result<()> {
        self.is_spaced = false;
        writeln!(out, "{line}")
    }

    /// Writes a row of a table, which is not wrapped.
    pub(super) fn row(&mut self, out: &mut impl Write, text: &str) -> io::Result<()> {
        self.is_spaced = false;
        writeln!(out, "{}", self.safe(text))
    }

    /// Writes how many rows of a list are left out, if any are, and by which `options` they are shown.
    pub(super) fn more(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        n: u64,
        options: &str,
    ) -> io::Result<()> {
        let text = match (n, options) {
            (0, _) => return Ok(()),
            (n, "") => format!("and {} more", grouped(n)),
            (n, options) => format!("and {} more: {options}", grouped(n)),
        };
        self.wrapped(out, lead, &text)
    }
}

/// Styles by meaning. By default, all are plain.
#[derive(Clone, Copy, Default)]
pub(in crate::render) struct Styles {
    pub(in crate::render) plain: Style,
    pub(in crate::render) bold: Style,
    pub(in crate::render) dim: Style,
    pub(in crate::render) good: Style,
    pub(in crate::render) notable: Style,
    pub(in crate::render) bad: Style,
    severe: Style,
}

impl Styles {
    pub(in crate::render) const COLOURED: Self = Self {
        plain: Style::new(),
        bold: Style::new().bold(),
        dim: Style::new().dimmed(),
        good: AnsiColor::Green.on_default(),
        notable: AnsiColor::Yellow.on_default(),
        bad: AnsiColor::Red.on_default(),
        severe: AnsiColor::Red.on_default().bold(),
    };

    pub(in crate::render) const fn severity(&self, severity: Severity) -> Style {
        match severity {
            Severity::Info => self.bold,
            Severity::Low | Severity::Medium => self.notable,
            Severity::High | Severity::Critical => self.severe,
        }
    }

    pub(in crate::render) const fn tone(&self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => self.plain,
            Tone::Faint => self.dim,
            Tone::Good => self.good,
            Tone::Notable => self.notable,
            Tone::Bad => self.bad,
            Tone::Severity(severity) => self.severity(severity),
        }
    }
}
