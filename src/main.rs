//! The `beamscope` program: arguments in, exit status out.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(&cli::arguments()) {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            cli::complain(&error, error.hint());
            ExitCode::from(2)
        }
    }
}
