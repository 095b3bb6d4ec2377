//! The timeline: a lane for each pair, with its attempts and connections over the time of the capture.
//!
//! In: handshake messages, sessions and failed requests to EPMD as they come. Out: lanes as drawings without text, and
//! the same in words. A lane with many attempts is drawn as the number of attempts over time, and that is written.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use minijinja::Value;
use serde::Serialize;

use super::pieces::{Piece, markup};
use crate::limits::ReportLimits;
use crate::record::{Event, Outcome, PacketLink, Session, State};
use crate::render::report::{FrameLabel, lane_ends, lane_of_request};
use crate::render::words::{
    CONNECTED_INSIDE, count, duration, epmd_words, grouped, moment, outcome_words,
};
use crate::time::{Timestamp, Zone, micros};

/// The timeline, before it is drawn.
pub(super) struct PairTimeline {
    limits: ReportLimits,
    lanes: HashMap<[String; 2], Lane>,
    /// What is about pairs without a lane of their own.
    others: Lane,
    /// Time of the first handshake message of connections that are not over.
    begun: HashMap<Arc<str>, Begun>,
    first: Option<Timestamp>,
    last: Timestamp,
}

#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    established: Option<Timestamp>,
}

/// The attempts of one pair.
#[derive(Default)]
struct Lane {
    /// At most [`ReportLimits::attempts`]; empty once there are more.
    attempts: Vec<Attempt>,
    by_time: Option<Box<Counts>>,
    outcomes: BTreeMap<&'static str, u64>,
    total: u64,
    failed: u64,
    first: Timestamp,
    silence: Option<(u64, Option<Piece>)>,
    /// The longest duration of a connection that was closed.
    lasted_us: u64,
    /// Number of connections that were not closed.
    left_open: u64,
}

/// One attempt, or a connection.
#[derive(Clone, Copy)]
struct Attempt {
    begin: Timestamp,
    established: Option<Timestamp>,
    end: Timestamp,
    /// The end of the time without packets of a connection that was not closed.
    quiet_until: Option<Timestamp>,
    result: AttemptResult,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum AttemptResult {
    Connected,
    Undecided,
    Failed,
}

impl AttemptResult {
    const fn of(session: &Session) -> Self {
        match session.outcome {
            Outcome::Connected => Self::Connected,
            Outcome::Tls if session.connected_inside => Self::Connected,
            outcome if outcome.is_failure() => Self::Failed,
            _ => Self::Undecided,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Connected => "ok",
            Self::Undecided => "open",
            Self::Failed => "bad",
        }
    }
}

/// How many attempts of each result there are in each part of the time; the parts grow with the time.
struct Counts {
    from: u64,
    /// Nanoseconds of one part.
    width: u64,
    parts: [[u32; 3]; PARTS],
}

impl Counts {
    const fn new(from: Timestamp) -> Self {
        Self { from: from.0, width: 1_000_000, parts: [[0; 3]; PARTS] }
    }

    fn add(&mut self, attempt: &Attempt) {
        let since = attempt.begin.0.saturating_sub(self.from);
        while since / self.width >= PARTS as u64 {
            self.double();
        }
        let part = usize::try_from(since / self.width).unwrap_or(0);
        let counts =
            self.parts.get_mut(part).and_then(|part| part.get_mut(attempt.result as usize));
        if let Some(count) = counts {
            *count = count.saturating_add(1);
        }
    }

    fn double(&mut self) {
        let mut parts = [[0_u32; 3]; PARTS];
        for (from, to) in self.parts.chunks(2).zip(&mut parts) {
            for (n, sum) in to.iter_mut().enumerate() {
                *sum =
                    from.iter().filter_map(|it| it.get(n)).fold(0, |sum, n| sum.saturating_add(*n));
            }
        }
        (self.parts, self.width) = (parts, self.width.saturating_mul(2));
    }
}

impl Lane {
    fn add(&mut self, attempt: Attempt, words: &'static str, most: usize) {
        if self.total == 0 || attempt.begin < self.first {
            self.first = attempt.begin;
        }
        self.total += 1;
        self.failed += u64::from(attempt.result == AttemptResult::Failed);
        *self.outcomes.entry(words).or_default() += 1;
        if self.by_time.is_none() && self.attempts.len() < most {
            self.attempts.push(attempt);
            return;
        }
        let counts = self.by_time.get_or_insert_with(|| {
            let earliest = self.attempts.iter().map(|it| it.begin).min().unwrap_or(attempt.begin);
            let mut counts = Box::new(Counts::new(earliest));
            self.attempts.drain(..).for_each(|attempt| counts.add(&attempt));
            counts
        });
        counts.add(&attempt);
    }

    /// Joins the attempts of another lane.
    fn join(&mut self, other: Self) {
        let is_first = self.total == 0 || other.first < self.first;
        self.first = if is_first { other.first } else { self.first };
        self.total += other.total;
        self.failed += other.failed;
        for (words, n) in other.outcomes {
            *self.outcomes.entry(words).or_default() += n;
        }
        let counts = self.by_time.get_or_insert_with(|| Box::new(Counts::new(other.first)));
        if other.first.0 < counts.from {
            // Parts begin with the earliest attempt.
            let mut earlier = Box::new(Counts::new(other.first));
            std::mem::swap(counts, &mut earlier);
            counts.merge(&earlier);
        }
        self.attempts.drain(..).chain(other.attempts).for_each(|attempt| counts.add(&attempt));
        if let Some(by_time) = other.by_time {
            counts.merge(&by_time);
        }
    }
}

impl Counts {
    fn merge(&mut self, other: &Self) {
        for (n, part) in other.parts.iter().enumerate() {
            let at = other.from.saturating_add(other.width.saturating_mul(n as u64));
            while at.saturating_sub(self.from) / self.width >= PARTS as u64 {
                self.double();
            }
            let place = usize::try_from(at.saturating_sub(self.from) / self.width).unwrap_or(0);
            for (sum, n) in self.parts.get_mut(place).into_iter().flatten().zip(part) {
                *sum = sum.saturating_add(*n);
            }
        }
    }
}

/// The timeline as it is drawn.
#[derive(Default, Serialize)]
pub(super) struct TimelineView {
    pub(super) lanes: Vec<LaneView>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) lasted: String,
    pub(super) notes: Vec<String>,
}

/// One lane: its name, its drawing, and the same in words.
#[derive(Serialize)]
pub(super) struct LaneView {
    pub(super) name: String,
    pub(super) svg: Value,
    pub(super) words: Vec<Piece>,
    pub(super) has_failed: bool,
}

impl PairTimeline {
    pub(super) fn new(limits: ReportLimits) -> Self {
        Self {
            limits,
            lanes: HashMap::new(),
            others: Lane::default(),
            begun: HashMap::new(),
            first: None,
            last: Timestamp::default(),
        }
    }

    fn saw(&mut self, at: Timestamp) {
        if at == Timestamp::default() {
            return;
        }
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(at);
    }

    /// Takes the time of a handshake message.
    pub(super) fn on_handshake(&mut self, event: &Event) {
        self.saw(event.at);
        let Some(ids) = event.connection.as_deref() else { return };
        if self.begun.len() < self.limits.open && !self.begun.contains_key(&ids.session_id) {
            let begun = Begun { at: event.at, established: None };
            self.begun.insert(Arc::clone(&ids.session_id), begun);
        }
    }

    /// Takes a session; `label` names a frame of it.
    pub(super) fn on_session(
        &mut self,
        event: &Event,
        session: &Session,
        label: impl Fn(&PacketLink) -> FrameLabel,
    ) {
        self.saw(event.at);
        let id = event.connection.as_deref().map(|ids| &ids.session_id);
        if session.state == State::Established {
            let began = event.at.before(Duration::from_micros(session.handshake_us.unwrap_or(0)));
            let Some(id) = id else { return };
            if self.begun.len() < self.limits.open || self.begun.contains_key(id) {
                let begun = self.begun.entry(Arc::clone(id));
                let begun = begun.or_insert(Begun { at: began, established: None });
                begun.established = Some(event.at);
            }
            return;
        }
        let begun = id.and_then(|id| self.begun.remove(id));
        // The packet that opened it, else its first message; else the record shows only how long it lasted.
        let opened = session.steps.first().map(|step| step.at);
        let begun_at = opened.into_iter().chain(begun.map(|begun| begun.at)).min();
        let lasted = Duration::from_micros(session.duration_us);
        let attempt = Attempt {
            begin: begun_at.unwrap_or_else(|| event.at.before(lasted)),
            established: begun.and_then(|begun| begun.established),
            // A timer may settle it long after its last packet.
            end: begun_at.map_or(event.at, |begin| begin.after(lasted).min(event.at)),
            quiet_until: (session.state == State::Open).then_some(event.at),
            result: AttemptResult::of(session),
        };
        self.saw(attempt.begin);
        let most = self.limits.attempts;
        let lane = self.lane(lane_ends(session, event.connection.as_deref()));
        let words = if session.connected_inside {
            CONNECTED_INSIDE
        } else {
            outcome_words(session.outcome)
        };
        lane.add(attempt, words, most);
        if session.state == State::Open {
            lane.left_open += u64::from(attempt.result == AttemptResult::Connected);
        } else {
            lane.lasted_us = lane.lasted_us.max(session.duration_us);
        }
        let sides = session.messages.iter().flat_map(|it| [&it.initiator, &it.acceptor]);
        for pause in sides.flatten().filter_map(|side| side.longest_silence.as_ref()) {
            if lane.silence.as_ref().is_none_or(|(longest, _)| *longest < pause.lasted_us) {
                let from = (pause.since.frame.number > 0).then(|| Piece::of(&label(&pause.since)));
                lane.silence = Some((pause.lasted_us, from));
            }
        }
    }

    /// Takes a request to EPMD, which has a lane if it failed.
    pub(super) fn on_request(&mut self, event: &Event, outcome: crate::record::EpmdOutcome) {
        self.saw(event.at);
        if !outcome.is_failure() {
            return;
        }
        let Some(ids) = event.connection.as_deref() else { return };
        let result = AttemptResult::Failed;
        let attempt = Attempt {
            begin: event.at,
            established: None,
            end: event.at,
            quiet_until: None,
            result,
        };
        let most = self.limits.attempts;
        self.lane(lane_of_request(ids)).add(attempt, epmd_words(outcome), most);
    }

    fn lane(&mut self, mut ends: [String; 2]) -> &mut Lane {
        // Both directions of a pair have one lane.
        if !ends.iter().any(|end| end.starts_with("EPMD ")) {
            ends.sort();
        }
        if self.lanes.len() >= self.limits.lanes && !self.lanes.contains_key(&ends) {
            return &mut self.others;
        }
        self.lanes.entry(ends).or_default()
    }

    /// Draws the lanes; `span` is the time of the capture, as far as its statistics have it.
    pub(super) fn view(
        &mut self,
        zone: &Zone,
        span: Option<(Timestamp, Timestamp)>,
    ) -> TimelineView {
        let (first, last) = match (span, self.first) {
            (Some((from, to)), Some(first)) => (from.min(first), to.max(self.last)),
            (Some(span), None) => span,
            (None, Some(first)) => (first, self.last),
            (None, None) => return TimelineView::default(),
        };
        let mut lanes: Vec<_> = std::mem::take(&mut self.lanes).into_iter().collect();
        lanes.sort_by(|(a, a_lane), (b, b_lane)| {
            let key = |lane: &Lane| (Reverse(lane.failed > 0), lane.first);
            key(a_lane).cmp(&key(b_lane)).then_with(|| a.cmp(b))
        });
        let more = lanes.split_off(lanes.len().min(self.limits.drawn_lanes));
        let mut others = std::mem::take(&mut self.others);
        let has_more = !more.is_empty() || others.total > 0;
        let pairs = more.len();
        let has_uncounted = others.total > 0;
        more.into_iter().for_each(|(_, lane)| others.join(lane));
        let is_grouped = lanes.iter().any(|(_, lane)| lane.by_time.is_some()) || has_more;
        let scale = Scale::new(first, last);
        let mut views: Vec<_> = lanes
            .into_iter()
            .map(|([a, b], lane)| lane.view(format!("{a} – {b}"), &scale))
            .collect();
        let mut notes = Vec::new();
        if has_more {
            let at_least = if has_uncounted { "at least " } else { "" };
            let name = format!("{at_least}{}", count(pairs as u64, "other pair"));
            others.join(Lane::default());
            views.push(others.view(name, &scale));
            notes.push(format!(
                "Only {} have a lane of their own, those with failures first.",
                count(self.limits.drawn_lanes as u64, "pair")
            ));
        }
        if is_grouped {
            notes.push(
                "A lane of columns counts attempts: a column has the attempts that began in its \
                 time, and its height is their number on a logarithmic scale."
                    .to_owned(),
            );
        }
        TimelineView {
            lanes: views,
            from: moment(zone, first),
            to: moment(zone, last),
            lasted: duration(micros(last.since(first))),
            notes,
        }
    }
}

/// From times to places in a drawing.
struct Scale {
    first: Timestamp,
    nanos: f64,
}

impl Scale {
    fn new(first: Timestamp, last: Timestamp) -> Self {
        Self { first, nanos: (last.nanos_since(first) as f64).max(1.0) }
    }

    fn place(&self, at: Timestamp) -> f64 {
        at.nanos_since(self.first) as f64 / self.nanos * WIDTH
    }
}

impl Lane {
    fn view(self, name: String, scale: &Scale) -> LaneView {
        let mut svg = format!(
            "<svg class=\"lane\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\" focusable=\"false\"><line class=\"base\" x1=\"0\" x2=\"{WIDTH}\" \
             y1=\"10\" y2=\"10\"/>"
        );
        // Failures last, so that nothing covers them.
        let mut attempts = self.attempts.clone();
        attempts.sort_by_key(|attempt| attempt.result);
        attempts.iter().for_each(|attempt| attempt.draw(&mut svg, scale));
        if let Some(counts) = &self.by_time {
            counts.draw(&mut svg, scale);
        }
        svg += "</svg>";
        let has_failed = self.failed > 0;
        LaneView { name, svg: markup(svg), words: self.words(), has_failed }
    }

    fn words(self) -> Vec<Piece> {
        let mut outcomes: Vec<_> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|(words, n)| (Reverse(**n), **words));
        let parts: Vec<_> = outcomes
            .iter()
            .map(|(words, n)| match **n {
                1 if self.total == 1 => (**words).to_owned(),
                n => format!("{} {words}", grouped(n)),
            })
            .collect();
        let storm = match &self.by_time {
            Some(_) => format!("{}: ", count(self.total, "attempt")),
            None => String::new(),
        };
        let mut text = storm + &parts.join(", ");
        if self.lasted_us > 0 && self.by_time.is_none() {
            let longest = if self.total > 1 { "the longest lasted" } else { "lasted" };
            text += &format!("; {longest} {}", duration(self.lasted_us));
        }
        if self.left_open > 0 && self.by_time.is_none() {
            text += &match (self.left_open, self.total) {
                (1, 1) => "; not closed".to_owned(),
                (n, _) => format!("; {} not closed", grouped(n)),
            };
        }
        let mut pieces = Vec::new();
        let plain = |text| Piece { text, frame: None, input: None };
        if let Some((lasted, from)) = self.silence {
            text += &format!("; longest silence of a side {}", duration(lasted));
            if let Some(from) = from {
                pieces.push(plain(text + ", from "));
                pieces.push(from);
                return pieces;
            }
        }
        pieces.push(plain(text));
        pieces
    }
}

impl Attempt {
    fn draw(&self, svg: &mut String, scale: &Scale) {
        let (begin, end) = (scale.place(self.begin), scale.place(self.end));
        let width = (end - begin).max(LEAST);
        let begin = begin.min(WIDTH - LEAST);
        let class = self.result.class();
        if let Some(until) = self.quiet_until {
            let width = scale.place(until) - begin;
            let _ = write!(
                svg,
                "<rect class=\"at quiet\" x=\"{begin:.1}\" y=\"9\" width=\"{width:.1}\" height=\"2\"/>"
            );
        }
        let (y, height) = match self.result {
            AttemptResult::Failed => (1.0, 18.0),
            AttemptResult::Undecided => (5.0, 10.0),
            AttemptResult::Connected => (6.0, 8.0),
        };
        let _ = write!(
            svg,
            "<rect class=\"at {class}\" x=\"{begin:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\"/>"
        );
        // The handshake is drawn higher than the connection that follows it.
        if let Some(established) = self.established {
            let width = (scale.place(established) - begin).max(LEAST);
            let _ = write!(
                svg,
                "<rect class=\"at hand\" x=\"{begin:.1}\" y=\"2\" width=\"{width:.1}\" height=\"16\"/>"
            );
        }
    }
}

impl Counts {
    fn draw(&self, svg: &mut String, scale: &Scale) {
        let sum = |part: &[u32; 3]| part.iter().map(|n| u64::from(*n)).sum::<u64>();
        let most = self.parts.iter().map(sum).max().unwrap_or(0).max(1);
        let height = |n: u64| ((1 + n) as f64).log2() / ((1 + most) as f64).log2() * (HEIGHT - 2.0);
        for (n, part) in self.parts.iter().enumerate().filter(|(_, part)| sum(part) > 0) {
            let from = Timestamp(self.from.saturating_add(self.width.saturating_mul(n as u64)));
            let to = Timestamp(from.0.saturating_add(self.width));
            let begin = scale.place(from).min(WIDTH - LEAST);
            let width = (scale.place(to).min(WIDTH) - begin).max(LEAST);
            let [connected, undecided, failed] = *part;
            let class = match (connected, undecided, failed) {
                (_, _, 1..) => AttemptResult::Failed.class(),
                (_, 1.., _) => AttemptResult::Undecided.class(),
                _ => AttemptResult::Connected.class(),
            };
            let tall = height(sum(part));
            let _ = write!(
                svg,
                "<rect class=\"at {class}\" x=\"{begin:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"/>",
                HEIGHT - 1.0 - tall
            );
        }
    }
}

/// Parts of the time in which attempts are counted.
const PARTS: usize = 128;

/// Measures of a lane, in its own units; a browser stretches it.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 20.0;

/// Width of the narrowest mark, so that it can be seen.
const LEAST: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Body, EpmdOutcome};
    use crate::render::samples;

    fn label(link: &PacketLink) -> FrameLabel {
        FrameLabel { frame: link.frame.number, input: None }
    }

    /// A timeline with attempts of so many pairs, so many of each.
    fn timeline(pairs: u64, attempts: u64, limits: ReportLimits) -> TimelineView {
        let mut timeline = PairTimeline::new(limits);
        for n in 0..pairs * attempts {
            let mut event = samples::session(State::Closed, Outcome::Refused);
            event.at = samples::at(n * 1_000_000);
            let Body::Session { session } = &mut event.body else { unreachable!() };
            session.initiator.node = Some(format!("n{}@h", n % pairs).into());
            let session = session.clone();
            timeline.on_session(&event, &session, label);
        }
        timeline.view(&Zone::UTC, None)
    }

    fn words(lane: &LaneView) -> String {
        lane.words.iter().map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn every_attempt_is_counted_however_they_are_grouped() {
        let limits =
            ReportLimits { lanes: 8, drawn_lanes: 4, attempts: 3, ..ReportLimits::default() };
        let few = timeline(2, 3, limits);
        assert_eq!(few.lanes.len(), 2);
        assert!(few.notes.is_empty() && words(&few.lanes[0]).starts_with("3 refused"));
        let many = timeline(20, 10, limits);
        assert_eq!(many.lanes.len(), 5);
        assert!(words(&many.lanes[0]).starts_with("10 attempts: 10 refused"));
        let others = &many.lanes[4];
        assert_eq!(others.name, "at least 4 other pairs");
        assert!(words(others).starts_with("160 attempts: 160 refused"), "{}", words(others));
        assert_eq!(many.notes.len(), 2);
    }

    #[test]
    fn counts_stay_whole_when_their_time_grows() {
        let mut counts = Counts::new(Timestamp(0));
        let result = AttemptResult::Failed;
        for n in 0..1000 {
            let begin = Timestamp(n * n * 1_000_000);
            let end = begin;
            counts.add(&Attempt { begin, established: None, end, quiet_until: None, result });
        }
        let sum = |counts: &Counts| counts.parts.iter().flatten().sum::<u32>();
        assert_eq!(sum(&counts), 1000);
        let mut other = Counts::new(Timestamp(5_000_000_000));
        other.merge(&counts);
        assert_eq!(sum(&other), 1000);
    }

    #[test]
    fn a_request_has_a_lane_if_it_failed() {
        let mut timeline = PairTimeline::new(ReportLimits::default());
        timeline.on_request(&samples::epmd(), EpmdOutcome::Answered);
        timeline.on_request(&samples::epmd(), EpmdOutcome::Unanswered);
        let view = timeline.view(&Zone::UTC, None);
        assert_eq!(view.lanes.len(), 1);
        assert_eq!(view.lanes[0].name, "192.168.0.100 – EPMD at 192.168.0.103");
    }
}
