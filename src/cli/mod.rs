//! The command line: the only place that knows arguments, environment, standard streams, exit
//! status.
//!
//! In: the arguments of the process. Out: a run of one command, its events on standard output or in a
//! file, everything else on standard error. Analyses nothing.
//!
//! Files import only downwards in this list, which `tests/layering.rs` checks:
//!
//! - `commands/`: one file or folder for each command;
//! - `nats/`: the process that talks to a server of NATS, and what waits for it on disk;
//! - `sources`, `sinks`, `observations`, `selection`, `evidence_dir`, `save/`, `stop`, `progress`, `tui`, `confine/`: what
//!   commands open;
//! - `settings`: the arguments as they are meant, validated once;
//! - `args`: the arguments as typed, the only file beside `commands/shell.rs` that knows clap;
//! - `place/`, `filter`, `console`, `error`, `cookies`, `spelling`, `zone`.

#[cfg(all(feature = "nats", not(unix)))]
compile_error!("the feature nats needs a Unix system");

mod args;
mod commands;
#[cfg(feature = "live")]
mod confine;
mod console;
mod cookies;
mod error;
mod evidence_dir;
#[cfg(feature = "live")]
mod filter;
mod keylog;
#[cfg(feature = "nats")]
mod nats;
mod observations;
mod place;
mod progress;
mod save;
mod selection;
mod settings;
mod sinks;
mod sources;
mod spelling;
mod stop;
#[cfg(feature = "tui")]
mod tui;
mod zone;

pub(crate) use args::Args;
pub(crate) use console::report_error;

use args::CommandArgs;
use error::{Error, RunOutcome};
#[cfg(feature = "nats")]
use settings::NatsWorkerSettings;
use settings::{
    AnalyzeSettings, AnnotateSettings, DiffSettings, ExtractSettings, FactsSettings,
    LadderSettings, MergeSettings, ReportSettings,
};
#[cfg(feature = "live")]
use settings::{LiveExtractSettings, LiveSettings};

/// Runs the command that the arguments name; without one, analyses captures or an interface.
///
/// # Errors
///
/// The arguments contradict each other, or what they name cannot be opened, written, or captured
/// from. An input that cannot be read beside others that can is no error: the [`RunOutcome`] is
/// `Incomplete`.
pub(crate) fn run(args: Args) -> Result<RunOutcome, Error> {
    forbid_core_files();
    match args.command {
        Some(CommandArgs::Diff(args)) => commands::diff::run(&DiffSettings::new(*args)?),
        Some(CommandArgs::Report(args)) => commands::report::run(ReportSettings::new(*args)?),
        Some(CommandArgs::Ladder(args)) => commands::ladder::run(LadderSettings::new(*args)?),
        Some(CommandArgs::Annotate(args)) => commands::annotate::run(AnnotateSettings::new(*args)?),
        #[cfg(feature = "live")]
        Some(CommandArgs::Extract(args)) if !args.interface.is_empty() => {
            commands::live::extract::run(LiveExtractSettings::new(*args)?)
        }
        #[cfg(not(feature = "live"))]
        Some(CommandArgs::Extract(args)) if !args.interface.is_empty() => Err(Error::NoLive),
        Some(CommandArgs::Extract(args)) => commands::extract::run(ExtractSettings::new(*args)?),
        Some(CommandArgs::Facts(args)) => commands::extract::facts(&FactsSettings::new(*args)?),
        Some(CommandArgs::Merge(args)) => commands::merge::run(MergeSettings::new(*args)?),
        #[cfg(feature = "nats")]
        Some(CommandArgs::NatsWorker(args)) => nats::worker::run(NatsWorkerSettings::new(*args)),
        Some(CommandArgs::Explain { rule, log, json }) => {
            commands::explain::run(rule.as_deref(), log.as_deref(), json)
        }
        Some(CommandArgs::Schema) => commands::schema::run(),
        Some(CommandArgs::Completions { shell }) => commands::shell::completions(shell),
        Some(CommandArgs::Man { command }) => commands::shell::man(command.as_deref()),
        #[cfg(feature = "live")]
        None if args.list_interfaces => commands::live::list_interfaces(),
        #[cfg(feature = "live")]
        None if !args.interface.is_empty() => commands::live::run(LiveSettings::new(args)?),
        #[cfg(not(feature = "live"))]
        None if args.list_interfaces || !args.interface.is_empty() => Err(Error::NoLive),
        None => commands::analyze::run(AnalyzeSettings::new(args)?),
    }
}

/// A crash leaves no file with the memory of the process, which may have cookies and keys in it. A failure is no reason to
/// end a run.
fn forbid_core_files() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    }
}
