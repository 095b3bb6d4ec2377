//! `--evidence`: a small capture file for each finding.
//!
//! In: findings with the packets that they rest on. Out: files in one directory, up to a bound. A file
//! is complete when it appears there. Comments in it contain the text of the finding, so that
//! Wireshark shows it beside the packets.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use beamscope::capture::save::{Encoder, InterfaceInfo, SaveFormat};
use beamscope::evidence::{EvidenceCase, EvidencePacket, EvidenceSink};
use beamscope::limits::EvidenceLimits;
use beamscope::record::{Evidence, Severity};
use beamscope::render::escape;

use super::console::Warnings;
use super::error::Error;
use super::place::{Directory, FileIdentity, Trusted};
use super::save::rotate::file_time;
use super::settings::EvidenceSettings;

/// The directory of the files, and how much it may still take.
pub(super) struct EvidenceDir {
    path: PathBuf,
    directory: Directory,
    /// Files that are read, of which none is replaced.
    read: Vec<FileIdentity>,
    /// Names of files whose usual name was taken, by that name.
    renamed: HashMap<String, String>,
    /// Names of the inputs, as events show them.
    inputs: Vec<Arc<str>>,
    min_severity: Severity,
    limits: EvidenceLimits,
    files: u64,
    bytes: u64,
    is_full: bool,
    warnings: Warnings,
    has_failed: Arc<AtomicBool>,
}

impl EvidenceDir {
    /// Files go into `directory`, that of the settings. `inputs` are the names of the inputs, and `read` the files that are
    /// read. `has_failed` is set when a file could not be written.
    pub(super) fn new(
        settings: &EvidenceSettings,
        directory: Directory,
        (inputs, read): (&[Arc<str>], Vec<FileIdentity>),
        limits: EvidenceLimits,
        has_failed: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            path: settings.directory.clone(),
            directory,
            read,
            renamed: HashMap::new(),
            inputs: inputs.to_vec(),
            min_severity: settings.min_severity,
            limits,
            files: 0,
            bytes: 0,
            is_full: false,
            warnings: settings.warnings,
            has_failed: Arc::clone(has_failed),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Renamed when complete, so that a program that watches the directory finds whole files only.
        let unfinished = format!(".{name}.part");
        let made = self.directory.make_private(&unfinished);
        let written = made
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| self.directory.rename(&unfinished, name));
        if written.is_err() {
            self.directory.remove(&unfinished);
        }
        written
    }

    /// The name of a file, of which `stem` is the usual one without its ending: another where that is the name of a file
    /// that is read, or that of another user. `None` if there are too many of those.
    fn name(&mut self, stem: &str) -> Option<String> {
        if let Some(name) = self.renamed.get(stem) {
            return Some(name.clone());
        }
        let usual = format!("{stem}.pcapng");
        if self.directory.is_free(&usual, &self.read) {
            return Some(usual);
        }
        let mut others = (2..=MOST_OF_ONE_NAME).map(|number| format!("{stem}-{number}.pcapng"));
        let name = others.find(|name| self.directory.is_free(name, &self.read))?;
        // As many as there are files: bounded by their limit.
        self.renamed.insert(stem.to_owned(), name.clone());
        Some(name)
    }

    /// Prints `problem` as a warning and returns it for the events.
    fn warned(&self, problem: String) -> String {
        self.warnings.warn(&problem);
        problem
    }

    /// The contents of the file for a case.
    fn encode(&self, case: &EvidenceCase<'_>) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Pcapng), Vec::new());
        encoder.begin(&section_comment(case), &[], &mut out);
        for packet in &case.packets {
            let input = self.inputs.get(usize::from(packet.frame.id.input)).map(|name| &**name);
            let comments: Vec<_> = packet
                .shows
                .iter()
                .map(|shows| packet_comment(case, packet, shows, input))
                .collect();
            let describe = || InterfaceInfo { name: input.map(str::to_owned), snaplen: 0 };
            let comments = comments.iter().map(String::as_bytes);
            // Cannot fail: pcapng files may contain any link type.
            let _ = encoder.frame(&packet.frame, comments, describe, &mut out);
        }
        out
    }
}

impl EvidenceSink for EvidenceDir {
    fn keep(&mut self, case: &EvidenceCase<'_>) -> Result<Option<Arc<str>>, String> {
        if case.finding.severity < self.min_severity || self.is_full && !case.is_update {
            return Ok(None);
        }
        let bytes = self.encode(case);
        // A file that is written again replaces itself, and grows by little.
        let (files, more) = match case.is_update {
            true => (self.files, self.bytes),
            false => (self.files + 1, self.bytes.saturating_add(bytes.len() as u64)),
        };
        if files > self.limits.files || more > self.limits.file_bytes {
            self.is_full = true;
            return Err(self.warned(format!(
                "{} files of evidence with {} bytes in all reach the limit: no more are written to {}",
                self.files,
                self.bytes,
                self.path.display()
            )));
        }
        let finding = case.finding;
        let stem = format!("{}-{}-{}", file_time(case.at, 6), finding.rule, finding.incident_id);
        let name = self.name(&stem);
        let path = self.path.join(name.as_deref().unwrap_or(&stem));
        let written = match &name {
            Some(name) => self.write(name, &bytes),
            None => Err(io::ErrorKind::AlreadyExists.into()),
        };
        if let Err(error) = written {
            let is_first = !self.has_failed.swap(true, Ordering::Relaxed);
            let again = "later files are tried, without a warning if they fail too";
            if !is_first {
                return Ok(None);
            }
            return Err(self.warned(format!("cannot write {}: {error}; {again}", path.display())));
        }
        (self.files, self.bytes) = (files, more);
        Ok(Some(path.to_string_lossy().into()))
    }
}

/// The comment of the section: the finding as text.
fn section_comment(case: &EvidenceCase<'_>) -> String {
    let finding = case.finding;
    let mut text = format!(
        "{}\nrule: {} ({} severity, {})\n{}\n",
        escape(&finding.title),
        finding.rule,
        finding.severity.name(),
        finding.confidence.name(),
        escape(&finding.explanation)
    );
    for step in &finding.remedy {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "what to do: {}", escape(step));
    }
    for other in &finding.not_excluded {
        let _ = writeln!(text, "not excluded: {}", escape(other));
    }
    if case.missing > 0 {
        let _ = writeln!(text, "{} packets that show it were no longer in memory", case.missing);
    }
    if case.left_out > 0 {
        let _ = writeln!(
            text,
            "{} packets between the first and the last of these connections are left out",
            case.left_out
        );
    }
    let _ = write!(text, "more: beamscope explain {}", finding.rule);
    text
}

/// The comment of a packet: what it shows.
fn packet_comment(
    case: &EvidenceCase<'_>,
    packet: &EvidencePacket<'_>,
    shows: &Evidence,
    input: Option<&str>,
) -> String {
    let from = shows.from.map(|role| format!(" from the {role}")).unwrap_or_default();
    let number = packet.frame.id.number;
    let of = input.map(|name| format!(" of {}", escape(name))).unwrap_or_default();
    let title = escape(&case.finding.title);
    format!("{title}: {}{from} (frame {number}{of})", escape(&shows.what.to_string()))
}

/// Opens the directory of the settings, and makes it if need be.
///
/// # Errors
///
/// The directory cannot be made, or is something else.
pub(super) fn directory(settings: &EvidenceSettings, trusted: Trusted) -> Result<Directory, Error> {
    let path = &settings.directory;
    Directory::open(path, trusted).map_err(|source| Error::output(path, source))
}

/// Names that are tried for one file.
const MOST_OF_ONE_NAME: u32 = 1000;

#[cfg(test)]
mod tests {
    use std::fs;

    use beamscope::capture::{Input, Inputs, Order};
    use beamscope::engine::{Config, Engine};
    use beamscope::record::{Body, Event};

    use super::*;

    const CAPTURE: &str = "captures/seed-lan-wrong-then-right-cookie.pcap";

    fn directory(name: &str, limits: EvidenceLimits, has_failed: &Arc<AtomicBool>) -> EvidenceDir {
        let path = std::env::temp_dir().join(format!("beamscope-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let directory = Directory::open(&path, Trusted::default()).unwrap();
        EvidenceDir {
            path,
            directory,
            read: Vec::new(),
            renamed: HashMap::new(),
            inputs: vec![CAPTURE.into()],
            min_severity: Severity::Info,
            limits,
            files: 0,
            bytes: 0,
            is_full: false,
            warnings: Warnings::new(true),
            has_failed: Arc::clone(has_failed),
        }
    }

    /// Files that the two findings of the capture name, and what could not be saved.
    fn run(directory: EvidenceDir) -> (Vec<Arc<str>>, Vec<String>) {
        let mut inputs = Inputs::new(vec![Input::Path(CAPTURE.into())], Order::Time).unwrap();
        let mut engine = Engine::new(Config::default(), Vec::<Event>::new());
        engine.keep_evidence(Box::new(directory));
        beamscope::drive::run(&mut inputs, &mut engine, &mut ()).unwrap();
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for event in engine.finish() {
            match event.body {
                Body::Finding { finding } => files.extend(finding.evidence_file),
                Body::Anomaly { anomaly } => problems.push(anomaly.detail),
                _ => {}
            }
        }
        (files, problems)
    }

    #[test]
    fn files_and_their_bytes_are_bounded_and_the_bound_is_reported_once() {
        let limits = EvidenceLimits::default();
        for limits in
            [EvidenceLimits { files: 1, ..limits }, EvidenceLimits { file_bytes: 5000, ..limits }]
        {
            let failed = Arc::default();
            let directory = directory("evidence-bound", limits, &failed);
            let path = directory.path.clone();
            let (files, problems) = run(directory);
            assert_eq!((files.len(), fs::read_dir(&path).unwrap().count()), (1, 1));
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.starts_with("1 files of evidence"), "{problem}");
            assert!(!failed.load(Ordering::Relaxed), "a bound is not a failure");
            fs::remove_dir_all(path).unwrap();
        }
    }

    #[test]
    fn a_failed_write_is_reported_once_and_no_finding_names_the_file() {
        let failed = Arc::default();
        let directory = directory("evidence-gone", EvidenceLimits::default(), &failed);
        fs::remove_dir_all(&directory.path).unwrap();
        let (files, problems) = run(directory);
        assert!(files.is_empty(), "{files:?}");
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.starts_with("cannot write "), "{problem}");
        assert!(failed.load(Ordering::Relaxed));
    }
}
