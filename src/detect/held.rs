//! Detections that wait for what comes next: it may show that there is no problem.

use std::collections::VecDeque;
use std::time::Duration;

use super::Detection;
use crate::limits::remember;
use crate::observe::Settled;
use crate::time::Timestamp;

/// Detections of one rule that are reported after a while unless they are taken back, at most [`REMEMBERED`].
#[derive(Debug)]
pub(super) struct Held<K> {
    waiting: VecDeque<HeldDetection<K>>,
    /// How long each of them waits.
    time: Duration,
}

/// A detection that waits.
#[derive(Debug)]
pub(super) struct HeldDetection<K> {
    /// What it is about.
    pub(super) about: K,
    /// The fact that it rests on.
    pub(super) settled: Settled,
    pub(super) detection: Detection,
}

impl<K> Held<K> {
    pub(super) const fn new(time: Duration) -> Self {
        Self { waiting: VecDeque::new(), time }
    }

    /// Holds a detection that rests on a fact.
    pub(super) fn hold(&mut self, about: K, settled: &Settled, detection: Detection) {
        let held = HeldDetection { about, settled: settled.clone(), detection };
        remember(&mut self.waiting, held, REMEMBERED);
    }

    /// Takes back the detections of which this is true.
    pub(super) fn take_back(&mut self, is_over: impl Fn(&HeldDetection<K>) -> bool) {
        self.waiting.retain(|held| !is_over(held));
    }

    /// The number of detections of which this is true.
    pub(super) fn count(&self, is_wanted: impl Fn(&HeldDetection<K>) -> bool) -> usize {
        self.waiting.iter().filter(|held| is_wanted(held)).count()
    }

    /// The first detection of which this is true; it is no longer held.
    pub(super) fn take(
        &mut self,
        is_wanted: impl Fn(&HeldDetection<K>) -> bool,
    ) -> Option<HeldDetection<K>> {
        let place = self.waiting.iter().position(is_wanted)?;
        self.waiting.remove(place)
    }

    /// Reports those that have waited long enough by `now`.
    pub(super) fn release(&mut self, now: Timestamp, out: &mut Vec<Detection>) {
        let time = self.time;
        while self.waiting.front().is_some_and(|held| now.since(held.settled.at) >= time) {
            out.extend(self.waiting.pop_front().map(|held| held.at(now)));
        }
    }

    /// Reports all others at the end of the run, with what is `not_excluded` because it came so early. Other packets were
    /// reported since, so these findings are not reported as part of an earlier one.
    pub(super) fn release_all(
        &mut self,
        not_excluded: impl Fn(&mut Detection),
        out: &mut Vec<Detection>,
    ) {
        out.extend(self.waiting.drain(..).map(|held| {
            let mut found = held.at(Timestamp::default());
            not_excluded(&mut found);
            found
        }));
    }
}

impl<K> HeldDetection<K> {
    /// The detection as it is reported at `now`, when no packet settles it.
    pub(super) fn at(self, now: Timestamp) -> Detection {
        let mut found = self.reported();
        if let Some(settled) = &mut found.settled {
            settled.input = settled.shown_by_input();
            settled.frame = None;
            settled.at = now.max(settled.at);
        }
        found
    }

    /// The detection as it is reported with the packet that it rests on.
    fn reported(self) -> Detection {
        let mut found = self.detection;
        found.shown_at.get_or_insert(self.settled.at);
        found.settled = Some(self.settled);
        found
    }
}

/// Maximum of held detections of one rule: more do not begin within the time that each of them waits.
const REMEMBERED: usize = 256;
