//! Stage 8: how text stands on the screen.
//!
//! In: sentences and places. Out: lines of a width, with styles, under their date. Every text that
//! goes through here is escaped.

use std::fmt::{self, Display};
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::TextOptions;
use crate::record::{Outcome, Severity};
use crate::render::words::{date, escape, grouped, time, wrapped};
use crate::time::Timestamp;

/// Where text is written, line by line.
pub(super) struct TextWriter {
    pub(super) styles: Styles,
    width: usize,
    /// Date under which the last line stands.
    day: String,
    /// Whether the last line is an empty one, or there is none yet.
    spaced: bool,
}

impl TextWriter {
    pub(super) fn new(options: &TextOptions) -> Self {
        let styles = if options.colour { Styles::COLOURED } else { Styles::default() };
        Self { styles, width: options.width, day: String::new(), spaced: true }
    }

    /// Puts a date above the first line of each day; the lines themselves have the time alone.
    pub(super) fn date(&mut self, out: &mut impl Write, at: Timestamp) -> io::Result<()> {
        let day = date(at);
        if day != self.day {
            let dim = self.styles.dim;
            writeln!(out, "{dim}{day}, times in UTC{dim:#}")?;
            self.day = day;
            self.spaced = false;
        }
        Ok(())
    }

    /// Puts one empty line before a block, unless there is one.
    pub(super) fn space(&mut self, out: &mut impl Write) -> io::Result<()> {
        if std::mem::replace(&mut self.spaced, true) { Ok(()) } else { writeln!(out) }
    }

    /// A line of the time line.
    pub(super) fn line(
        &mut self,
        out: &mut impl Write,
        at: Timestamp,
        style: Style,
        text: &str,
        place: &Place<'_>,
    ) -> io::Result<()> {
        self.date(out, at)?;
        self.spaced = false;
        let dim = self.styles.dim;
        let (time, text) = (time(at), escape(text));
        write!(out, "{dim}{time}{dim:#}  {style}{text}{style:#}")?;
        match place.frame {
            Some(_) => writeln!(out, "  {dim}({}){dim:#}", escape(&place.to_string())),
            None => writeln!(out),
        }
    }

    /// A line that begins with how bad something is.
    pub(super) fn judged(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        severity: Severity,
        style: Style,
        text: &str,
    ) -> io::Result<()> {
        self.spaced = false;
        let badge = self.styles.severity(severity);
        let (name, text) = (severity.name().to_ascii_uppercase(), escape(text));
        writeln!(out, "{lead}{badge}{name}{badge:#}  {style}{text}{style:#}")
    }

    /// A line that begins with a word in a style of its own.
    pub(super) fn marked(
        &mut self,
        out: &mut impl Write,
        style: Style,
        mark: &str,
        text: &str,
    ) -> io::Result<()> {
        self.spaced = false;
        writeln!(out, "{style}{mark}{style:#}  {}", escape(text))
    }

    pub(super) fn heading(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        text: &str,
    ) -> io::Result<()> {
        self.spaced = false;
        let bold = self.styles.bold;
        writeln!(out, "{lead}{bold}{}{bold:#}", escape(text))
    }

    /// Writes `text` in lines that fit, the first behind `lead`, as [`wrapped`] has it.
    pub(super) fn wrapped(
        &mut self,
        out: &mut impl Write,
        lead: &str,
        text: &str,
    ) -> io::Result<()> {
        self.spaced = false;
        out.write_all(wrapped(&escape(lead), &escape(text), self.width).as_bytes())
    }

    /// A line of a table: as it stands.
    pub(super) fn row(&mut self, out: &mut impl Write, text: &str) -> io::Result<()> {
        self.spaced = false;
        writeln!(out, "{}", escape(text))
    }

    /// Says how many rows of a list are left out, where any are.
    pub(super) fn more(&mut self, out: &mut impl Write, lead: &str, n: u64) -> io::Result<()> {
        if n == 0 { Ok(()) } else { self.wrapped(out, lead, &format!("and {} more", grouped(n))) }
    }
}

/// Styles by what they mean. As default, all are plain.
#[derive(Clone, Copy, Default)]
pub(super) struct Styles {
    pub(super) plain: Style,
    pub(super) bold: Style,
    pub(super) dim: Style,
    pub(super) good: Style,
    pub(super) notable: Style,
    pub(super) bad: Style,
    severe: Style,
}

impl Styles {
    const COLOURED: Self = Self {
        plain: Style::new(),
        bold: Style::new().bold(),
        dim: Style::new().dimmed(),
        good: AnsiColor::Green.on_default(),
        notable: AnsiColor::Yellow.on_default(),
        bad: AnsiColor::Red.on_default(),
        severe: AnsiColor::Red.on_default().bold(),
    };

    pub(super) const fn severity(&self, severity: Severity) -> Style {
        match severity {
            Severity::Info => self.bold,
            Severity::Low | Severity::Medium => self.notable,
            Severity::High | Severity::Critical => self.severe,
        }
    }

    pub(super) const fn outcome(&self, outcome: Outcome) -> Style {
        match outcome {
            Outcome::Connected => self.good,
            Outcome::AlreadyConnected
            | Outcome::Superseded
            | Outcome::Tls
            | Outcome::NotDistribution
            | Outcome::Incomplete => self.plain,
            Outcome::CookieMismatch
            | Outcome::NameMismatch
            | Outcome::NotAllowed
            | Outcome::VersionMismatch
            | Outcome::TlsMismatch
            | Outcome::TimedOut
            | Outcome::Refused
            | Outcome::Unanswered
            | Outcome::Aborted => self.bad,
        }
    }
}

/// A packet, and its input where that needs saying.
pub(super) struct Place<'a> {
    pub(super) frame: Option<u64>,
    pub(super) input: Option<&'a str>,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(frame) = self.frame {
            write!(f, "frame {frame}")?;
        }
        self.input.map_or(Ok(()), |input| write!(f, " of {input}"))
    }
}
