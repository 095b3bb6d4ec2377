//! The `beamscope` program: arguments in, exit status out.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(&cli::Args::parse()) {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            cli::complain(&error, error.hint());
            ExitCode::from(2)
        }
    }
}
