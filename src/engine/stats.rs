//! Counting: what the run has read, and what it lacks.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::capture::Frame;
use crate::decode::Counters;
use crate::observe::{CookieTest, PerRole, Totals};
use crate::protocol::Connection;
use crate::record::{
    Anomaly, AnomalyKind, Body, CookieTests, EpmdOutcome, Event, EventSink, Stats,
};
use crate::time::Timestamp;

impl<S: EventSink> Core<S> {
    /// Counts a frame and advances to its time.
    #[inline(always)]
    pub(super) fn count(&mut self, frame: &Frame<'_>) {
        self.stats.bytes += u64::from(frame.wire_len);
        match self.clocks.get_mut(usize::from(frame.id.input)) {
            Some(clock) => {
                let before = std::mem::replace(clock, frame.at);
                if before > frame.at {
                    self.stats.clock_steps += u64::from(before > frame.at.after(CLOCK_STEP));
                }
            }
            None => self.begin_input(frame.id.input, frame.at),
        }
        self.advance(frame.at);
        self.last = self.now;
        self.stats.packets += 1;
    }

    /// Counts the first frame of an input.
    #[cold]
    fn begin_input(&mut self, input: u16, at: Timestamp) {
        self.stats.first.get_or_insert(at);
        self.clocks.resize(usize::from(input), Timestamp::default());
        self.clocks.push(at);
    }

    /// Counts an event. `false` if it is one anomaly too many of its kind, which is counted and not reported.
    pub(super) fn count_event(&mut self, event: &Event) -> bool {
        match &event.body {
            // The end of a registration is no request.
            Body::Epmd { epmd } if epmd.outcome != EpmdOutcome::Unregistered => {
                *self.stats.epmd.entry(epmd.outcome).or_default() += 1;
            }
            Body::Finding { finding } if finding.revision.is_none() => {
                *self.stats.findings.entry(finding.rule).or_default() += 1;
            }
            Body::Anomaly { anomaly } => {
                let reported = self.stats.anomalies.entry(anomaly.kind).or_default();
                *reported += 1;
                return *reported <= self.config.limits.anomalies;
            }
            Body::Epmd { .. }
            | Body::Handshake { .. }
            | Body::Session { .. }
            | Body::Finding { .. }
            | Body::Incident { .. }
            | Body::Node { .. }
            | Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. }
            | Body::Stats { .. } => {}
        }
        true
    }

    /// Counts a connection that is over.
    pub(super) fn count_closed(&mut self, connection: &Connection) {
        if !connection.is_observed() {
            return;
        }
        let (gaps, bytes) = connection.gaps();
        self.stats.gaps += gaps;
        self.stats.missing_bytes += bytes;
        self.stats.one_sided += u64::from(connection.is_one_sided());
    }

    /// The statistics so far; `decoded` are the counters of the decoder.
    pub(super) fn stats_now(&self, decoded: &Counters) -> Stats {
        let mut stats = self.stats.clone();
        stats.last = stats.first.map(|_| self.last);
        stats.cookies = self.cookie_tests();
        stats.problems = self.reducer.problems();
        stats.cut_packets += decoded.cut;
        stats.lost_fragments += lost_fragments(decoded);
        stats.evictions += self.reducer.evictions() + self.node_ports.evictions();
        stats.evictions += (self.pool.refused() + self.reassembly.refused()) as u64;
        // These may be any numbers; the sums of a run of its own do not overflow.
        self.add_elsewhere(&mut stats);
        let about_input = |kind: &AnomalyKind| kind.lacks_input() || *kind == AnomalyKind::Limit;
        stats.complete = stats.missing_bytes == 0
            && stats.gaps == 0
            && stats.cut_packets == 0
            && stats.lost_fragments == 0
            && stats.evictions == 0
            && stats.kernel_drops.unwrap_or(0) == 0
            && stats.interface_drops.unwrap_or(0) == 0
            && stats.left_out.unwrap_or(0) == 0
            && !stats.anomalies.keys().any(about_input);
        stats
    }

    /// What this run counted so far that does not follow from its facts.
    pub(super) fn totals(&self, decoded: &Counters) -> Totals {
        let stats = &self.stats;
        let mut totals = Totals {
            inputs: u16::try_from(self.clocks.len()).unwrap_or(u16::MAX),
            packets: stats.packets,
            bytes: stats.bytes,
            first: stats.first,
            last: stats.first.map(|_| self.last),
            gaps: stats.gaps,
            missing_bytes: stats.missing_bytes,
            cut_packets: decoded.cut,
            one_sided: stats.one_sided,
            lost_fragments: lost_fragments(decoded),
            clock_steps: stats.clock_steps,
            kernel_drops: stats.kernel_drops,
            interface_drops: stats.interface_drops,
            // What the reducer and the table of ports forget, they forget of the facts.
            evictions: stats.evictions + (self.pool.refused() + self.reassembly.refused()) as u64,
            unsupported: decoded
                .unsupported
                .iter()
                .map(|(link, frames)| (link.0, *frames))
                .collect(),
            has_other_ports: self.has_other_ports,
            has_openings: self.has_openings,
        };
        totals.add(&self.elsewhere);
        totals
    }

    /// Takes in what another run counted.
    pub(super) fn add_totals(&mut self, totals: &Totals) {
        self.elsewhere.add(totals);
        let inputs = self.clocks.len().max(usize::from(totals.inputs));
        self.clocks.resize(inputs, Timestamp::default());
        self.has_other_ports |= totals.has_other_ports;
        self.has_openings |= totals.has_openings;
    }

    /// Adds what other runs counted.
    fn add_elsewhere(&self, stats: &mut Stats) {
        let other = Stats {
            packets: self.elsewhere.packets,
            bytes: self.elsewhere.bytes,
            first: self.elsewhere.first,
            last: self.elsewhere.last,
            gaps: self.elsewhere.gaps,
            missing_bytes: self.elsewhere.missing_bytes,
            cut_packets: self.elsewhere.cut_packets,
            one_sided: self.elsewhere.one_sided,
            lost_fragments: self.elsewhere.lost_fragments,
            clock_steps: self.elsewhere.clock_steps,
            kernel_drops: self.elsewhere.kernel_drops,
            interface_drops: self.elsewhere.interface_drops,
            evictions: self.elsewhere.evictions,
            ..Stats::default()
        };
        stats.join(&other);
    }

    /// Notes which candidate cookies fit the digests of a connection.
    #[cold]
    pub(super) fn count_cookies(&mut self, tests: &PerRole<CookieTest>) {
        for (_, test) in tests.each() {
            self.are_cookies_tested |= *test != CookieTest::Untested;
            if let Some(label) = test.label() {
                self.used_cookies.insert(Arc::clone(label));
            }
        }
    }

    /// What became of the candidate cookies.
    fn cookie_tests(&self) -> Option<CookieTests> {
        let candidates = &self.config.cookies;
        let unused = || candidates.labels().filter(|label| !self.used_cookies.contains(*label));
        (!candidates.is_empty()).then(|| CookieTests {
            candidates: candidates.len() as u64,
            tested: self.are_cookies_tested,
            unused: unused().count() as u64,
            unused_labels: unused().take(MOST_LABELS).cloned().collect(),
        })
    }

    pub(super) fn report_stats(&mut self, stats: Stats) {
        let body = Body::Stats { stats: Box::new(stats) };
        self.report_summary(body);
    }

    pub(super) fn report_cluster(&mut self) {
        let body = Body::Cluster { cluster: Box::new(self.reducer.cluster(self.now)) };
        self.report_summary(body);
    }

    fn report_summary(&mut self, body: Body) {
        let input = self.only_input();
        self.report(Event { at: self.now, frame: None, input, connection: None, body });
        self.run_queue();
    }

    /// One anomaly for each link type that occurred and is not supported.
    pub(super) fn report_unsupported(&mut self, decoded: &Counters) {
        for (link, frames) in decoded.unsupported.iter().take(MOST_UNSUPPORTED) {
            let detail = format!(
                "{frames} frames have link type {link}, as the LINKTYPE_ registry of tcpdump.org numbers it, which \
                 is not read: nothing in them was looked at"
            );
            let anomaly = Anomaly::new(AnomalyKind::UnsupportedLink, detail);
            self.on_anomaly(self.only_input(), anomaly);
        }
    }

    /// Reports the IP datagrams that were given up because the table of incomplete ones was full.
    pub(super) fn report_evicted_fragments(&mut self, decoded: &Counters) {
        let evicted = decoded.fragments.evicted;
        if evicted > 0 {
            let limits = self.config.limits.fragments;
            self.report_limit(format!(
                "incomplete IP datagrams need more than the {} bytes, or are more than the {}, that are kept: {evicted} \
                 were dropped",
                limits.bytes, limits.datagrams
            ));
        }
    }

    /// The input that a summary is about; `None` if there are several.
    fn only_input(&self) -> Option<u16> {
        (self.clocks.len() <= 1).then_some(0)
    }
}

/// IP fragments whose datagram is incomplete.
const fn lost_fragments(decoded: &Counters) -> u64 {
    let fragments = &decoded.fragments;
    fragments.expired + fragments.evicted + fragments.refused + fragments.incomplete as u64
}

/// Captures of several processors are out of order by less than this, which is no step of the clock.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Labels of candidate cookies that are listed.
const MOST_LABELS: usize = 8;

/// Link types that are reported; a capture with more of them is damaged.
const MOST_UNSUPPORTED: usize = 8;
