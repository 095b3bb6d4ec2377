//! Standard error for what a user must read, standard output for answers that are no events, and what
//! the terminal can show.
//!
//! In: errors, warnings, texts. Out: lines on the two streams. Nothing here knows why a line is
//! written.

use std::borrow::Cow;
use std::env;
use std::fmt::Display;
use std::fs::Metadata;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use anstream::AutoStream;
use beamscope::render::escape;
use indicatif::{ProgressBar, ProgressStyle};

use super::error::{Error, RunOutcome};

/// Prints an error and its hint on standard error. A failure to write there is ignored: the exit
/// status still reports the error.
pub(crate) fn report_error(error: &dyn Display, hint: Option<String>) {
    report(&format_args!("error: {error}"), hint);
}

/// Prints a line and a hint on standard error.
pub(super) fn report(line: &dyn Display, hint: Option<String>) {
    let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
    let text = safe_lines(&format!("{line}\n{hint}"));
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *held {
        Some(held) => held.push_str(&text),
        None => above_status(|| drop(io::stderr().lock().write_all(text.as_bytes()))),
    }
}

/// Lines without anything that controls a terminal: names of files, and texts of captures, may contain anything.
fn safe_lines(text: &str) -> String {
    text.lines().flat_map(|line| [escape(line), "\n".into()]).collect()
}

/// Whether lines have nothing that controls a terminal.
pub(super) fn is_safe(lines: &str) -> bool {
    lines.lines().all(|line| matches!(escape(line), Cow::Borrowed(_)))
}

/// Errors that wait until the terminal shows no screen any more.
static HELD: Mutex<Option<String>> = Mutex::new(None);

/// Holds back errors, while the whole terminal is a screen.
#[cfg(feature = "tui")]
pub(super) fn hold_errors() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_default();
}

/// Prints the errors that were held back, and holds no more.
#[cfg(feature = "tui")]
pub(super) fn release_errors() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    let _ = io::stderr().write_all(held.unwrap_or_default().as_bytes());
}

/// Where warnings and notices go: to standard error, or nowhere with `--quiet`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Warnings {
    is_quiet: bool,
}

impl Warnings {
    /// Warnings are printed unless `is_quiet`.
    pub(super) const fn new(is_quiet: bool) -> Self {
        Self { is_quiet }
    }

    /// Whether `--quiet` was given.
    pub(super) const fn are_off(self) -> bool {
        self.is_quiet
    }

    /// Prints a line that begins with `warning: `.
    pub(super) fn warn(self, warning: &dyn Display) {
        self.notice(&format_args!("warning: {warning}"));
    }

    /// Prints a line as it is.
    pub(super) fn notice(self, notice: &dyn Display) {
        if !self.is_quiet {
            self.answer(notice);
        }
    }

    /// Prints a line that was asked for, so also with `--quiet`.
    pub(super) fn answer(self, line: &dyn Display) {
        let text = safe_lines(&line.to_string());
        above_status(|| drop(io::stderr().write_all(text.as_bytes())));
    }
}

/// Prints an answer that is no event on standard output.
///
/// # Errors
///
/// Standard output cannot be written. A closed pipe is no error: its reader has seen enough.
pub(super) fn print(answer: impl AsRef<[u8]>) -> Result<RunOutcome, Error> {
    let mut out = io::stdout().lock();
    match out.write_all(answer.as_ref()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(stdout_error(e)),
        _ => Ok(RunOutcome::Done),
    }
}

/// The error of a failed write to standard output.
pub(super) fn stdout_error(source: io::Error) -> Error {
    Error::Output { name: STDOUT.to_owned(), source }
}

/// A line at the bottom of the terminal that a long run keeps up to date: on standard error, and only if that is a
/// terminal.
pub(super) struct StatusLine(ProgressBar);

/// The line that is shown. There is one, as there is one terminal.
static SHOWN: OnceLock<ProgressBar> = OnceLock::new();

impl StatusLine {
    /// A line about files of `total` bytes; `None` where an input is a pipe.
    pub(super) fn of_files(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{percent}% of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left; {msg}",
            ),
            None => {
                (ProgressBar::no_length(), "{decimal_bytes} read, {decimal_bytes_per_sec}; {msg}")
            }
        };
        Self::show(bar, template)
    }

    /// A line about a live capture, which is text alone.
    #[cfg(feature = "live")]
    pub(super) fn of_capture() -> Self {
        Self::show(ProgressBar::no_length(), "{msg}")
    }

    fn show(bar: ProgressBar, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let _ = SHOWN.set(bar.clone());
        Self(bar)
    }

    /// Shows how many bytes were read, and what was found.
    pub(super) fn update(&self, bytes: u64, found: &str) {
        self.0.set_position(bytes);
        self.0.set_message(escape(found).into_owned());
    }

    /// Shows this text as the whole line.
    #[cfg(feature = "live")]
    pub(super) fn set(&self, text: &str) {
        self.0.set_message(escape(text).into_owned());
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Writes lines to the terminal, above the status line if one is shown.
fn above_status<T>(write: impl FnOnce() -> T) -> T {
    match SHOWN.get() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Standard output, for a run that may show a [`StatusLine`].
pub(super) fn stdout() -> Box<dyn Write + Send> {
    if stdout_is_terminal() { Box::new(TerminalOutput) } else { Box::new(io::stdout()) }
}

/// Standard output at a terminal.
struct TerminalOutput;

impl Write for TerminalOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above_status(|| io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        above_status(|| io::stdout().flush())
    }
}

/// Which file it is, whatever its name: the device and the number on it.
#[cfg(unix)]
pub(super) fn identity(file: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    file.is_file().then(|| (file.dev(), file.ino()))
}

/// Not known on this system.
#[cfg(not(unix))]
pub(super) const fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// The file that standard input was redirected from, if it is one.
#[cfg(unix)]
pub(super) fn stdin_identity() -> Option<(u64, u64)> {
    use std::os::fd::AsFd;
    let file = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    identity(&file.ok()?.metadata().ok()?)
}

/// Not known on this system.
#[cfg(not(unix))]
pub(super) const fn stdin_identity() -> Option<(u64, u64)> {
    None
}

/// Whether standard input is a terminal.
pub(super) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
#[cfg(feature = "live")]
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard output takes colours, by NO_COLOR, CLICOLOR_FORCE and TERM.
pub(super) fn takes_colour() -> bool {
    AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Whether text may have characters beyond ASCII, by the first of LC_ALL, LC_CTYPE and LANG that is set, as
/// setlocale(3) decides it.
pub(super) fn takes_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(env::var_os)
        .find(|value| !value.is_empty());
    locale.is_some_and(|locale| {
        let name = locale.to_string_lossy().to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

/// Columns of text: those of the terminal within 40 to 100, or 80 where the text goes elsewhere.
pub(super) fn text_width(is_terminal: bool) -> usize {
    let width = if is_terminal { terminal_width() } else { None };
    width.unwrap_or(80).clamp(40, 100)
}

/// Columns of a drawing: those of the terminal within 40 to 500, or 80 where it goes elsewhere.
pub(super) fn drawing_width(is_terminal: bool) -> usize {
    let width = if is_terminal { terminal_width() } else { None };
    width.unwrap_or(80).clamp(40, 500)
}

#[cfg(unix)]
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    // A pseudo-terminal without a window reports 0 columns.
    (size.ws_col > 0).then(|| size.ws_col.into())
}

#[cfg(not(unix))]
fn terminal_width() -> Option<usize> {
    None
}

/// What messages call standard input.
pub(super) const STDIN: &str = "standard input";

/// What messages call standard output.
pub(super) const STDOUT: &str = "standard output";
