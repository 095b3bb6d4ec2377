//! The start of a live capture: everything is opened first, then every right is given up. The order of
//! these steps is what protects the host from this program, so they are in one function of one file.
//!
//! In: [`LiveSettings`]. Out: [`Started`]: interfaces and files that are open, in a process that can
//! open nothing else.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use beamscope::anonymize::Replacements;
use beamscope::capture::live::{self, Live, LiveOptions};
use beamscope::engine::Engine;
use beamscope::render::{self, Output};

use crate::cli::commands::{OpenOutputs, WHOLE, anonymous_names, replacements};
use crate::cli::confine::privileges::{self, UserAccount};
use crate::cli::confine::sandbox::{Sandbox, SandboxKind, Writable};
use crate::cli::console::Warnings;
use crate::cli::error::Error;
use crate::cli::evidence_dir::EvidenceDir;
use crate::cli::keylog::KeyLogFiles;
use crate::cli::observations::{ObservationFile, host_name};
use crate::cli::place::{Directory, Place, Target, Trusted};
use crate::cli::save::{self, SavedInputs, Saver};
use crate::cli::settings::{
    FailSettings, LiveSettings, OutputSettings, RunSettings, SaveSettings, StopSettings,
};
use crate::cli::sinks::{self, EventStream};
use crate::cli::stop::StopCondition;
#[cfg(feature = "tui")]
use crate::cli::tui::Tui;

/// A live capture that is ready, without rights.
pub(super) struct Started {
    pub(super) capture: LiveCapture,
    pub(super) engine: Engine<Output<EventStream>>,
    /// Files with secrets of TLS, which may grow.
    pub(super) key_log: KeyLogFiles,
    pub(super) saver: Option<Saver>,
    /// With what packets are anonymised before they are analysed.
    pub(super) replacements: Option<Replacements>,
    /// Whether a file of evidence could not be written.
    pub(super) evidence_failed: Arc<AtomicBool>,
    /// What the connections showed, as it is written.
    pub(super) observations: Option<ObservationFile>,
    pub(super) output: OutputSettings,
    /// Where the file of events is; `None` for standard output.
    pub(super) events_place: Option<Place>,
    pub(super) fail_on: FailSettings,
    #[cfg(feature = "tui")]
    pub(super) tui: Option<Tui>,
}

/// The interfaces that are captured from, and what ends the capture.
pub(super) struct LiveCapture {
    pub(super) interfaces: Vec<Live>,
    pub(super) names: Vec<String>,
    pub(super) stop: StopCondition,
    /// Longest time from the arrival of a frame until libpcap hands it over.
    pub(super) held_back: Duration,
    /// Packets after which the capture ends.
    pub(super) packet_limit: u64,
}

/// Opens everything that the settings name, then gives up all rights.
///
/// # Errors
///
/// An interface or a file cannot be opened, the user of `-Z` does not exist, privileges cannot be
/// dropped, or a thread cannot be started.
pub(super) fn start(settings: LiveSettings) -> Result<Started, Error> {
    let LiveSettings { interfaces, options, user, is_sandboxed, is_verbose, run } = settings;
    let RunSettings {
        config,
        key_log,
        output,
        save,
        evidence,
        observations,
        is_anonymized,
        stop,
        packet_limit,
        fail_on,
    } = run;
    let replacements = is_anonymized.then(|| replacements(&config));

    // 1. Look up the user, while the file of users can be read.
    let account = user.as_deref().map(UserAccount::find).transpose()?;
    let trusted = Trusted { account: account.as_ref().map(UserAccount::uid) };

    // 2. Open the interfaces, which needs rights. First, so that a capture that is not permitted
    //    leaves no file behind. Signal handlers are installed with them.
    let (devices, names) = open_interfaces(&interfaces, &options)?;
    let stop = StopCondition::new(&stop).map_err(Error::Wait)?;
    let capture = LiveCapture {
        interfaces: devices,
        names,
        stop,
        held_back: options.held_back(),
        packet_limit,
    };

    // 3. Create the files for output.
    let (saved, of_findings) = (save.as_ref(), evidence.as_ref());
    let outputs = OpenOutputs::open(&output, saved, of_findings, observations.as_ref(), trusted)?;
    // SIGHUP opens the files again if there is one of events, and ends the run otherwise.
    let writable = outputs.made_later(save.as_ref(), output.file.is_some());

    // 4. Give what was made to the user, who writes there from now on.
    if let Some(account) = &account {
        hand_over_files(account, &outputs);
        let made = outputs.evidence.iter();
        #[cfg(feature = "nats")]
        let made = {
            let published = outputs.observations.iter().filter_map(|it| it.publishing.as_ref());
            made.chain(published.map(|(spool, _)| spool.directory()))
        };
        let directories = made.flat_map(Directory::made).map(AsFd::as_fd);
        directories.for_each(|made| account.hand_over(made));
    }
    let (stream, events_place) = sinks::start(&output, outputs.events)?;
    let (queue, backlog) = render::queue(stream, config.limits.unread);
    let inputs: Vec<Arc<str>> = capture.names.iter().map(|name| name.as_str().into()).collect();
    let evidence_failed = Arc::<AtomicBool>::default();
    let saved_names = if is_anonymized { anonymous_names(inputs.len()) } else { inputs.clone() };
    let evidence = evidence.as_ref().zip(outputs.evidence).map(|(settings, directory)| {
        let limits = config.limits.evidence;
        EvidenceDir::new(settings, directory, (&saved_names, Vec::new()), limits, &evidence_failed)
    });
    let observations = observations.as_ref().zip(outputs.observations).map(|(settings, opened)| {
        let sensor = if is_anonymized { None } else { host_name() };
        ObservationFile::start(settings, opened, sensor, &saved_names)
    });
    let observations = observations.transpose()?;
    let inputs_saved = SavedInputs { names: saved_names.clone(), snaplen: options.snaplen };
    let mut saver = save.map(|save| Saver::new(save, outputs.packets, inputs_saved)).transpose()?;

    // 5. to 8. Give up all rights.
    let start_threads = || {
        let writer = thread::Builder::new().name("output".to_owned()).spawn(|| backlog.write());
        drop(writer.map_err(|source| sinks::write_error(&output, source))?);
        saver.as_mut().map_or(Ok(()), Saver::put_queue_before_stdout)?;
        #[cfg(feature = "tui")]
        let tui = Tui::wanted(&output, capture.names.join(", "))?;
        #[cfg(not(feature = "tui"))]
        let tui = ();
        Ok(tui)
    };
    let (tui, state) = confine(account.as_ref(), is_sandboxed, &writable, start_threads)?;
    #[cfg(not(feature = "tui"))]
    let () = tui;

    let sink = Output::queued(queue, inputs, output.options.clone());
    let mut engine = Engine::new(config, sink);
    if let Some(evidence) = evidence {
        engine.keep_evidence(Box::new(evidence));
    }
    if let Some(file) = &observations {
        engine.record_facts(file.recorder());
    }
    if is_verbose {
        let always = Warnings::new(false);
        always.notice(&state);
    }
    // The same words as those of tcpdump: from here on no packet is missed.
    output.warnings.notice(&format_args!("listening on {}", capture.names.join(", ")));
    Ok(Started {
        capture,
        engine,
        key_log,
        saver,
        replacements,
        evidence_failed,
        observations,
        output,
        events_place,
        fail_on,
        #[cfg(feature = "tui")]
        tui,
    })
}

/// An extract of a live capture that is ready, without rights.
pub(super) struct StartedExtract {
    pub(super) capture: LiveCapture,
    pub(super) saver: Saver,
    /// The file of the summary.
    pub(super) summary: Option<Target>,
}

/// Opens everything that the settings of an extract name, then gives up all rights: the steps of [`start`].
///
/// # Errors
///
/// An interface or a file cannot be opened, the user of `-Z` does not exist, privileges cannot be dropped, or a thread cannot
/// be started.
pub(super) fn start_extract(
    (interfaces, options): (&[String], &LiveOptions),
    user: Option<&str>,
    stop: &StopSettings,
    (is_sandboxed, save, summary): (bool, SaveSettings, Option<&Path>),
) -> Result<StartedExtract, Error> {
    let account = user.map(UserAccount::find).transpose()?;
    let trusted = Trusted { account: account.as_ref().map(UserAccount::uid) };
    let (devices, names) = open_interfaces(interfaces, options)?;
    let stop = StopCondition::new(stop).map_err(Error::Wait)?;
    let held_back = options.held_back();
    let capture =
        LiveCapture { interfaces: devices, names, stop, held_back, packet_limit: u64::MAX };
    let mut outputs = OpenOutputs::of_packets(save::open(&save, trusted)?);
    // SIGHUP opens the file of packets again; that of the summary stays open until the end.
    let writable = outputs.made_later(Some(&save), true);
    let open =
        |path| Target::open(path, trusted, WHOLE).map_err(|source| Error::output(path, source));
    outputs.events = summary.map(open).transpose()?;
    if let Some(account) = &account {
        hand_over_files(account, &outputs);
    }
    let inputs = capture.names.iter().map(|name| name.as_str().into()).collect();
    let saved = SavedInputs { names: inputs, snaplen: options.snaplen };
    let mut saver = Saver::new(save, outputs.packets, saved)?;
    let start_threads = || saver.put_queue_before_stdout();
    confine(account.as_ref(), is_sandboxed, &writable, start_threads)?;
    Ok(StartedExtract { capture, saver, summary: outputs.events })
}

/// Gives the files that were made to the user, who writes there from now on.
fn hand_over_files(account: &UserAccount, outputs: &OpenOutputs) {
    let observed = outputs.observations.as_ref().and_then(|it| it.file.as_ref());
    let files = outputs.events.iter().chain(&outputs.packets).chain(observed);
    let files = files.filter_map(|it| it.opened.as_ref()?.if_new());
    files.for_each(|made| account.hand_over(made.as_fd()));
}

/// The last steps of a start. Returns what `start_threads` does, and what is left of rights as text.
///
/// # Errors
///
/// Privileges cannot be dropped, or a thread cannot be started.
fn confine<T>(
    account: Option<&UserAccount>,
    is_sandboxed: bool,
    writable: &[Writable],
    start_threads: impl FnOnce() -> Result<T, Error>,
) -> Result<(T, String), Error> {
    // 5. Drop privileges, before the first thread: Linux keeps them for each thread.
    let privileges = privileges::drop_all(account)?;

    // 6. Restrict files, also before the first thread: Landlock binds those that start later.
    let sandbox = Sandbox::restrict_files(is_sandboxed, &READ, writable);

    // 7. Start all threads. They inherit both restrictions.
    let started = start_threads()?;

    // 8. Restrict system calls of all threads. No thread can start from here on.
    let sandbox = sandbox.restrict_calls(SandboxKind::Live);
    Ok((started, format!("privileges: {privileges}\nsandbox: {sandbox}")))
}

fn open_interfaces(
    given: &[String],
    options: &LiveOptions,
) -> Result<(Vec<Live>, Vec<String>), Error> {
    let names = given.iter().map(|given| live::named(given)).collect::<Result<Vec<_>, _>>()?;
    let devices = names.iter().zip(0..).map(|(name, input)| Live::open(name, input, options));
    Ok((devices.collect::<Result<_, _>>()?, names))
}

/// What libpcap and this program read about interfaces: their state and their drop counters.
const READ: [&str; 1] = ["/sys"];
