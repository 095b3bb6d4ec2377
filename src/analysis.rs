//! Capture files in, everything that they show out: the library in one call.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::capture::{Error, Input, Inputs, Order};
use crate::clocks;
use crate::drive::{self, Control};
use crate::engine::{Config, Engine};
use crate::record::{Body, Event, EventSink, Finding, Session, Severity, Stats};

/// Everything that the analysed captures show.
#[derive(Debug)]
#[non_exhaustive]
pub struct Analysis {
    /// All events, in the order in which they were settled. The last one is the final statistics.
    pub events: Vec<Event>,
    /// Inputs that could be read in part only, by their number, and why. What was read of them is in the events.
    pub failures: Vec<(u16, Error)>,
    /// Names of the inputs, by their numbers: the paths, and for an extract of several captures those that it lists.
    pub inputs: Vec<Arc<str>>,
}

impl Analysis {
    /// The findings of at least this severity, in the order in which they were found.
    pub fn findings(&self, least: Severity) -> impl Iterator<Item = &Finding> {
        self.events.iter().filter_map(move |event| match &event.body {
            Body::Finding { finding } if finding.severity >= least => Some(&**finding),
            _ => None,
        })
    }

    /// The records of connections. A connection is recorded again when its verdict changes.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.events.iter().filter_map(|event| match &event.body {
            Body::Session { session } => Some(&**session),
            _ => None,
        })
    }

    /// The final statistics, which show whether the captures are complete.
    pub fn stats(&self) -> Option<&Stats> {
        self.events.iter().rev().find_map(|event| match &event.body {
            Body::Stats { stats } => Some(&**stats),
            _ => None,
        })
    }
}

/// Analyses capture files (pcap, pcapng or snoop, plain or compressed), merged by capture time.
///
/// ```
/// use beamscope::record::Severity;
///
/// let paths = ["captures/seed-lan-wrong-then-right-cookie.pcap"];
/// let analysis = beamscope::analyze(paths, beamscope::engine::Config::default())?;
/// let titles: Vec<_> = analysis.findings(Severity::Low).map(|finding| &*finding.title).collect();
/// assert_eq!(titles, ["two@192.168.0.103 refused the cookie of one@192.168.0.100"]);
/// # Ok::<(), beamscope::capture::Error>(())
/// ```
///
/// # Errors
///
/// A file cannot be opened, or is no capture. A file that can be read in part only is no error, but in
/// [`Analysis::failures`]; one that is truncated or damaged is an anomaly among the events.
pub fn analyze<P: Into<PathBuf>>(
    paths: impl IntoIterator<Item = P>,
    config: Config,
) -> Result<Analysis, Error> {
    let inputs = paths.into_iter().map(|path| Input::Path(path.into())).collect();
    let mut inputs = Inputs::new(inputs, Order::Time)?;
    clocks::align(&mut inputs);
    let mut engine = Engine::new(config, Vec::new());
    let mut control = Failures::default();
    drive::run(&mut inputs, &mut engine, &mut control)?;
    match control.unreadable {
        Some(error) => Err(error),
        None => Ok(Analysis {
            events: engine.finish(),
            failures: control.partial,
            inputs: inputs.names(),
        }),
    }
}

/// Keeps the errors of inputs, and ends the run at one that cannot be read at all.
#[derive(Default)]
struct Failures {
    unreadable: Option<Error>,
    partial: Vec<(u16, Error)>,
}

impl<S: EventSink> Control<S> for Failures {
    fn on_failure(&mut self, input: u16, error: Error, _: &mut Engine<S>) -> ControlFlow<()> {
        if matches!(error, Error::Read { .. }) {
            self.partial.push((input, error));
            return ControlFlow::Continue(());
        }
        self.unreadable = Some(error);
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: &str = "captures/seed-lan-wrong-then-right-cookie.pcap";

    #[test]
    fn a_missing_file_is_an_error_wherever_it_is_named() {
        for paths in [["/no/such/file", CAPTURE], [CAPTURE, "/no/such/file"]] {
            let error = analyze(paths, Config::default()).unwrap_err();
            assert!(matches!(error, Error::Open { .. }), "{error}");
        }
        let error = analyze(["Cargo.toml"], Config::default()).unwrap_err();
        assert!(matches!(error, Error::NotACapture { .. }), "{error}");
    }

    #[test]
    fn an_analysis_has_sessions_findings_and_statistics() {
        let analysis = analyze([CAPTURE], Config::default()).unwrap();
        assert!(analysis.sessions().count() >= 2 && analysis.failures.is_empty());
        let all = analysis.findings(Severity::Info).count();
        assert!(all > analysis.findings(Severity::High).count());
        assert!(analysis.stats().is_some_and(|stats| stats.is_final && stats.complete));
    }
}
