//! The `beamscope` program: arguments in, exit status out.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Args::from_process()) {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            cli::report_error(&error, error.hint());
            ExitCode::from(2)
        }
    }
}
