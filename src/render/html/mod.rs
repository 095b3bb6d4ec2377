//! The report as one file: a page of HTML, or the short form in Markdown.
//!
//! In: events. Out: one file at the end of the run. The page needs no network and no script; its drawings are SVG that
//! is computed here. What is kept has the bounds of [`ReportLimits`], and what is grouped or left out is written. All
//! words come from the [report](super::report); text from the wire is escaped where the page is filled.

mod map;
mod page;
mod pieces;
mod timeline;
mod traffic;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use self::page::PageParts;
use self::pieces::KnownFrames;
use self::timeline::PairTimeline;
use self::traffic::TrafficTotals;
use super::report::{FrameLabel, LadderStore, Report, Sections};
use super::{InputNames, Renderer, input_of, markdown};
use crate::cursor::LineBuffer;
use crate::limits::ReportLimits;
use crate::record::{Body, Cluster, Event, PacketLink, State, Stats};
use crate::time::Zone;

/// The form of a report file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportForm {
    /// A page for a browser.
    Html,
    /// The short form, for a ticket.
    Markdown,
}

/// Collects what a report file has, and writes it at the end.
pub(super) struct FileReport {
    form: ReportForm,
    inputs: InputNames,
    report: Report,
    limits: ReportLimits,
    zone: Zone,
    ladders: LadderStore,
    timeline: PairTimeline,
    traffic: TrafficTotals,
    cluster: Option<Cluster>,
    /// The final statistics of all inputs together.
    stats: Option<Stats>,
    /// What statistics would have, for events that were cut before theirs.
    counted: Stats,
    /// Connections over TLS whose records show that the nodes connected.
    connected_inside: u64,
}

impl FileReport {
    pub(super) fn new(
        form: ReportForm,
        inputs: InputNames,
        hiding: Vec<&'static str>,
        zone: Zone,
    ) -> Self {
        let limits = ReportLimits::default();
        Self {
            form,
            report: Report::new(inputs.clone(), hiding, zone.clone())
                .holding_at_most(limits.problems),
            ladders: LadderStore::new(inputs.clone(), None),
            zone,
            inputs,
            limits,
            timeline: PairTimeline::new(limits),
            traffic: TrafficTotals::new(limits),
            cluster: None,
            stats: None,
            counted: Stats::default(),
            connected_inside: 0,
        }
    }

    /// The statistics of the run, or what was counted of events without any.
    fn take_stats(&mut self, sections: &Sections) -> Stats {
        if let Some(stats) = self.stats.take() {
            return stats;
        }
        let mut stats = std::mem::take(&mut self.counted);
        for problem in sections.groups.iter().flatten() {
            *stats.findings.entry(problem.finding.rule).or_default() += 1;
            let by_severity = stats.problems.of_mut(problem.state());
            *by_severity.entry(problem.severity()).or_default() += 1;
        }
        stats.is_final = true;
        stats
    }

    fn count(&mut self, event: &Event) {
        let counted = &mut self.counted;
        if event.frame.is_some() {
            counted.first = Some(counted.first.map_or(event.at, |first| first.min(event.at)));
            counted.last = counted.last.max(Some(event.at));
        }
        match &event.body {
            Body::Session { session } if session.state != State::Established => {
                self.connected_inside += u64::from(session.connected_inside);
                *counted.sessions.entry(session.outcome).or_default() += 1;
            }
            Body::Epmd { epmd } => *counted.epmd.entry(epmd.outcome).or_default() += 1,
            Body::Anomaly { anomaly } => *counted.anomalies.entry(anomaly.kind).or_default() += 1,
            _ => {}
        }
    }
}

impl Renderer for FileReport {
    fn observe(&mut self, event: &Event) {
        self.report.observe(event);
        self.count(event);
    }

    fn record(&mut self, _seq: u64, event: &Event, _out: &mut LineBuffer) -> io::Result<()> {
        self.ladders.observe(event);
        let (inputs, own) = (&self.inputs, input_of(event));
        let label = |link: &PacketLink| {
            let own = inputs.get(link.frame.input).or_else(|| inputs.get(own?));
            let input = link.input.as_ref().or(own).filter(|_| inputs.are_several());
            FrameLabel { frame: link.frame.number, input: input.cloned() }
        };
        match &event.body {
            Body::Finding { finding } => {
                let problem = self.report.problem(event, finding);
                // What is not held has its line in the list of problems, and is counted there.
                let _ = self.report.hold(problem);
            }
            Body::Incident { incident } => {
                self.report.end_incident(incident);
            }
            Body::Cluster { cluster } => match &mut self.cluster {
                Some(known) => known.join(cluster),
                None => self.cluster = Some((**cluster).clone()),
            },
            Body::Handshake { .. } => self.timeline.on_handshake(event),
            Body::Epmd { epmd } => self.timeline.on_request(event, epmd.outcome),
            Body::Session { session } => {
                self.timeline.on_session(event, session, label);
                self.traffic.on_session(event, session, label);
            }
            Body::Stats { stats } if stats.is_final => match &mut self.stats {
                Some(known) => known.join(stats),
                None => self.stats = Some((**stats).clone()),
            },
            Body::Node { .. }
            | Body::Anomaly { .. }
            | Body::Stats { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. } => {}
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut LineBuffer) -> io::Result<()> {
        let sections = self.report.take_sections();
        let stats = self.take_stats(&sections);
        let summary = self.report.summary(&stats);
        if self.form == ReportForm::Markdown {
            return markdown::write(out, &summary, &sections, self.cluster.as_ref());
        }
        let span = stats.first.zip(stats.last);
        let parts = PageParts {
            inputs: &self.inputs,
            limits: self.limits,
            summary: &summary,
            stats: &stats,
            connected_inside: self.connected_inside,
            known: known_frames(&sections, &self.inputs),
            sections: &sections,
            cluster: self.cluster.as_ref(),
            zone: &self.zone,
            ladders: &self.ladders,
            timeline: self.timeline.view(&self.zone, span),
            traffic: self.traffic.view(),
        };
        out.write_all(page::html(parts).map_err(io::Error::other)?.as_bytes())
    }
}

/// The frames that sentences about problems may name.
fn known_frames(sections: &Sections, inputs: &InputNames) -> KnownFrames {
    let problems = sections.groups.iter().flatten().chain(&sections.notes);
    let numbers: BTreeSet<u64> = problems.flat_map(|problem| problem.frame_numbers()).collect();
    let inputs: Vec<Arc<str>> = inputs.iter().cloned().collect();
    KnownFrames { numbers, inputs }
}
