//! What a package installs beside the program: completions for shells, and pages of the manual.
//!
//! In: the command line as clap knows it. Out: files' contents on standard output, made from the same
//! definitions as `--help`, so that they cannot differ from it. The only door to `clap_complete` and
//! `clap_mangen`.

use std::io;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::args::Args;
use super::run::print;
use super::{Error, Outcome};

/// Prints what a shell reads to complete arguments.
pub(super) fn completions(shell: Shell) -> Result<Outcome, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "beamscope", &mut text);
    print(text)
}

/// Prints the page of the program, or of one of its commands.
pub(super) fn man(command: Option<&str>) -> Result<Outcome, Error> {
    let mut program = Args::command();
    program.build();
    let page = match command {
        None => program,
        // Built, it has the name that man(1) is given: beamscope-diff.
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

/// As [`Man::render`], but with examples that stay lines.
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
    let Some(examples) = command.get_after_help() else { return Ok(()) };
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
