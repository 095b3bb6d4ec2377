//! `beamscope completions` and `beamscope man`: what a package installs beside the program.
//!
//! In: the command line as clap knows it. Out: scripts for shells and manual pages on standard output,
//! made from the same definitions as `--help`, so that they cannot differ from it. The only file that
//! uses `clap_mangen`.

use std::io;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::args::Args;
use crate::cli::console::print;
use crate::cli::error::{Error, RunOutcome};

/// Prints a script that completes arguments in a shell.
///
/// # Errors
///
/// Standard output cannot be written.
pub(in crate::cli) fn completions(shell: Shell) -> Result<RunOutcome, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "beamscope", &mut text);
    print(text)
}

/// Prints the manual page of the program, or of one of its commands.
///
/// # Errors
///
/// There is no such command, or standard output cannot be written.
pub(in crate::cli) fn man(command: Option<&str>) -> Result<RunOutcome, Error> {
    let mut program = Args::command();
    program.build();
    let page = match command {
        None => program,
        // `build` has given it the name of its page: beamscope-diff.
        Some(name) => {
            let found = program.find_subcommand(name).filter(|command| !command.is_hide_set());
            let found = found.ok_or_else(|| no_command(&program, name))?;
            found.clone()
        }
    };
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = render(&page, &mut text);
    print(text)
}

/// As [`Man::render`], but the examples keep their line breaks.
fn render(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    let page = Man::new(command.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        page.render_subcommands_section(out)?;
    }
    let examples = command.get_after_long_help().or_else(|| command.get_after_help());
    let Some(examples) = examples else { return Ok(()) };
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES AND EXIT STATUS"]).control("nf", []);
    roff.text([roman(examples.to_string())]).control("fi", []);
    roff.to_writer(out)
}

fn no_command(program: &Command, name: &str) -> Error {
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set());
    Error::NoCommand {
        name: name.to_owned(),
        known: shown.map(|command| command.get_name().to_owned()).collect(),
    }
}
