//! `--evidence`: a small capture file for each finding.
//!
//! In: findings with the packets that they rest on. Out: files in one directory, whole when they appear
//! there, up to a bound. What the finding says stands in them as comments, so that other programs show it
//! beside the packets.

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use beamscope::capture::save::{Described, Encoder, SaveFormat};
use beamscope::evidence::{Case, EvidenceSink, Packet};
use beamscope::limits::EvidenceLimits;
use beamscope::record::{Evidence, Severity};
use beamscope::render::escape;

use super::args::Args;
use super::save::{create, stamp};
use super::{Error, warn_unless};

/// The directory of the files.
pub(super) struct EvidenceDir {
    path: PathBuf,
    /// Whether it was not there before.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "nobody becomes another user"))]
    is_new: bool,
    /// Inputs as named.
    inputs: Vec<Arc<str>>,
    least: Severity,
    limits: EvidenceLimits,
    files: u64,
    bytes: u64,
    is_full: bool,
    quiet: bool,
    failed: Rc<Cell<bool>>,
}

impl EvidenceDir {
    /// The directory that the arguments name, made if need be; `None` where they name none. `failed` is
    /// set when something could not be written.
    ///
    /// # Errors
    ///
    /// It cannot be made, or is something else.
    pub(super) fn open(
        args: &Args,
        inputs: &[Arc<str>],
        limits: EvidenceLimits,
        failed: &Rc<Cell<bool>>,
    ) -> Result<Option<Self>, Error> {
        let Some(path) = &args.saving.evidence else { return Ok(None) };
        let failure = |source| Error::Output { name: path.display().to_string(), source };
        let is_new = !path.exists();
        make(path).map_err(failure)?;
        if !path.is_dir() {
            return Err(failure(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Some(Self {
            path: path.clone(),
            is_new,
            inputs: inputs.to_vec(),
            least: args.min_severity,
            limits,
            files: 0,
            bytes: 0,
            is_full: false,
            quiet: args.writing.quiet,
            failed: Rc::clone(failed),
        }))
    }

    /// Its path, where it was made for this run.
    #[cfg(feature = "live")]
    pub(super) fn made(&self) -> Option<&Path> {
        self.is_new.then_some(&self.path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // Under another name until it is whole: who watches the directory finds no half files.
        let unfinished = self.path.join(format!(".{name}.part"));
        let written = fs::remove_file(&unfinished)
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .and_then(|()| create(&unfinished))
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&unfinished, self.path.join(name)));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Tells the user, too.
    fn warned(&self, trouble: String) -> String {
        warn_unless(self.quiet, &trouble);
        trouble
    }

    /// The file of a case.
    fn encode(&self, case: &Case<'_>) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Pcapng), Vec::new());
        encoder.begin(&about(case), &mut out);
        for packet in &case.packets {
            let input = self.inputs.get(usize::from(packet.frame.id.input)).map(|name| &**name);
            let comments: Vec<_> =
                packet.shows.iter().map(|shows| comment(case, packet, shows, input)).collect();
            let describe = || Described { name: input.map(str::to_owned), snaplen: 0 };
            let comments = comments.iter().map(String::as_bytes);
            // This format takes any link type.
            let _ = encoder.frame(&packet.frame, comments, describe, &mut out);
        }
        out
    }
}

impl EvidenceSink for EvidenceDir {
    fn keep(&mut self, case: &Case<'_>) -> Result<Option<Arc<str>>, String> {
        if case.finding.severity < self.least || self.is_full && !case.is_again {
            return Ok(None);
        }
        let bytes = self.encode(case);
        // One that is written again takes little more than before.
        let (files, more) = match case.is_again {
            true => (self.files, self.bytes),
            false => (self.files + 1, self.bytes.saturating_add(bytes.len() as u64)),
        };
        if files > self.limits.files || more > self.limits.file_bytes {
            self.is_full = true;
            return Err(self.warned(format!(
                "{} files of evidence with {} bytes in all are enough: no more are written in {}",
                self.files,
                self.bytes,
                self.path.display()
            )));
        }
        let finding = case.finding;
        let name = format!("{}-{}-{}.pcapng", stamp(case.at, 6), finding.rule, finding.incident_id);
        let path = self.path.join(&name);
        if let Err(error) = self.write(&name, &bytes) {
            let is_first = !self.failed.replace(true);
            let again = "further files are tried, and not told of when they fail";
            if !is_first {
                return Ok(None);
            }
            return Err(self.warned(format!("cannot write {}: {error}; {again}", path.display())));
        }
        (self.files, self.bytes) = (files, more);
        Ok(Some(path.to_string_lossy().into()))
    }
}

/// What the section says.
fn about(case: &Case<'_>) -> String {
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
        let _ = writeln!(text, "{} packets that show it were no longer at hand", case.missing);
    }
    if case.left_out > 0 {
        let _ = writeln!(
            text,
            "{} packets between the first and the last of these connections are left out",
            case.left_out
        );
    }
    let _ = write!(text, "more about it: beamscope explain {}", finding.rule);
    text
}

/// What a packet shows.
fn comment(case: &Case<'_>, packet: &Packet<'_>, shows: &Evidence, input: Option<&str>) -> String {
    let from = shows.from.map(|role| format!(" from the {role}")).unwrap_or_default();
    let number = packet.frame.id.number;
    let of = input.map(|name| format!(" of {}", escape(name))).unwrap_or_default();
    let title = escape(&case.finding.title);
    format!("{title}: {}{from} (frame {number}{of})", escape(&shows.what.to_string()))
}

/// Makes a directory that nobody else can look into, with those above it; one that is there stays as it
/// is.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use beamscope::capture::{Input, Inputs, Item, Order};
    use beamscope::engine::{Config, Engine};
    use beamscope::record::{Body, Event};

    use super::*;

    const CAPTURE: &str = "captures/seed-lan-wrong-then-right-cookie.pcap";

    fn folder(name: &str, limits: EvidenceLimits, failed: &Rc<Cell<bool>>) -> EvidenceDir {
        let path = std::env::temp_dir().join(format!("beamscope-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        make(&path).unwrap();
        EvidenceDir {
            path,
            is_new: true,
            inputs: vec![CAPTURE.into()],
            least: Severity::Info,
            limits,
            files: 0,
            bytes: 0,
            is_full: false,
            quiet: true,
            failed: Rc::clone(failed),
        }
    }

    /// Files that the two findings of the capture tell, and what could not be saved.
    fn run(folder: EvidenceDir) -> (Vec<Arc<str>>, Vec<String>) {
        let mut inputs = Inputs::new(vec![Input::Path(CAPTURE.into())], Order::Time).unwrap();
        let mut pipeline = Engine::new(Config::default(), Vec::<Event>::new());
        pipeline.keep_evidence(Box::new(folder));
        while let Some(Item::Frame(frame)) = inputs.next_item() {
            pipeline.push_frame(&frame);
        }
        let (mut files, mut troubles) = (Vec::new(), Vec::new());
        for event in pipeline.finish() {
            match event.body {
                Body::Finding { finding } => files.extend(finding.evidence_file),
                Body::Anomaly { anomaly } => troubles.push(anomaly.detail),
                _ => {}
            }
        }
        (files, troubles)
    }

    #[test]
    fn files_and_their_bytes_are_bounded_and_the_bound_is_told_once() {
        let limits = EvidenceLimits::default();
        for limits in
            [EvidenceLimits { files: 1, ..limits }, EvidenceLimits { file_bytes: 5000, ..limits }]
        {
            let failed = Rc::default();
            let folder = folder("evidence-bound", limits, &failed);
            let path = folder.path.clone();
            let (files, troubles) = run(folder);
            assert_eq!((files.len(), fs::read_dir(&path).unwrap().count()), (1, 1));
            let [trouble] = troubles.as_slice() else { panic!("{troubles:?}") };
            assert!(trouble.starts_with("1 files of evidence"), "{trouble}");
            assert!(!failed.get(), "a bound is no failure");
            fs::remove_dir_all(path).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_once_and_named_by_no_finding() {
        let failed = Rc::default();
        let folder = folder("evidence-gone", EvidenceLimits::default(), &failed);
        fs::remove_dir_all(&folder.path).unwrap();
        let (files, troubles) = run(folder);
        assert!(files.is_empty(), "{files:?}");
        let [trouble] = troubles.as_slice() else { panic!("{troubles:?}") };
        assert!(trouble.starts_with("cannot write "), "{trouble}");
        assert!(failed.get());
    }
}
