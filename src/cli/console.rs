//! Standard error for what a user must read, standard output for answers that are no events, and what
//! the terminal can show.
//!
//! In: errors, warnings, texts. Out: lines on the two streams. Nothing here knows why a line is
//! written.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;

use super::error::{Error, RunOutcome};

/// Prints an error and its hint on standard error. A failure to write there is ignored: the exit
/// status still reports the error.
pub(crate) fn report_error(error: &dyn Display, hint: Option<String>) {
    report(&format_args!("error: {error}"), hint);
}

/// Prints a line and a hint on standard error.
pub(super) fn report(line: &dyn Display, hint: Option<String>) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{line}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
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

    /// Prints a line that begins with `warning: `.
    pub(super) fn warn(self, warning: &dyn Display) {
        self.notice(&format_args!("warning: {warning}"));
    }

    /// Prints a line as it is.
    pub(super) fn notice(self, notice: &dyn Display) {
        if !self.is_quiet {
            let _ = writeln!(io::stderr(), "{notice}");
        }
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

/// Whether standard input is a terminal.
pub(super) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
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
