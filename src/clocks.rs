//! Clocks of several captures of one traffic, compared by TCP's own numbers.
//!
//! In: the first frames of each capture file. Out: how far the clock of each is from that of the first, for
//! [`Inputs`], which corrects the times. An acknowledgement is captured after the bytes that it acknowledges, wherever
//! the two were captured. So bytes in one file and their acknowledgement in another bound the difference of the clocks
//! from one side, and those in the other direction from the other side, as the round trips of NTP do (RFC 5905, section
//! 8). Files without a common connection are left as they are.

use std::path::Path;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::capture::{CaptureFile, Inputs, Item, NoticeKind};
use crate::decode::{Decoded, Decoder, Direction, FlowKey, Segment, TcpFlags};
use crate::limits::{CLOCK_FRAMES, CLOCK_INPUTS, DefragLimits};
use crate::time::Timestamp;

/// Compares the clocks of the files that `inputs` merges by time, before any of them is read, and corrects those that
/// differ. One file alone costs nothing.
pub fn align(inputs: &mut Inputs) {
    let files = inputs.files_by_time();
    if !(2..=CLOCK_INPUTS).contains(&files.len()) {
        return;
    }
    let frames = CLOCK_FRAMES / files.len();
    let heads: Vec<Head> = files.iter().map(|(_, path)| Head::read(path, frames)).collect();
    // Nanoseconds to add to the times of each file, as far as they are known.
    let mut placed: Vec<Option<i64>> = vec![None; files.len()];
    for own in 0..files.len() {
        let known = |other: &usize| *other == 0 || placed.get(*other).is_some_and(Option::is_some);
        let bounds = |other: usize| Some((other, heads.get(other)?.bounds(heads.get(own)?)));
        let candidates = (0..own).filter(known).filter_map(bounds);
        // The file with which it has most in common.
        let best = candidates.max_by_key(|(other, bounds)| (bounds.len(), usize::MAX - other));
        let Some((other, bounds)) = best.filter(|(_, bounds)| bounds.len() >= MIN_BOUNDS) else {
            continue;
        };
        let (Some((input, _)), Some((_, theirs))) = (files.get(own), files.get(other)) else {
            continue;
        };
        let before = placed.get(other).copied().flatten().unwrap_or(0);
        let shift = match bounds.fit() {
            Fit::Same => before,
            Fit::Shift(shift) => before.saturating_add(shift),
            Fit::None => {
                let detail = format!(
                    "no one difference fits between the clock of this capture and that of {}: where packets of both \
                     decide, their order may be wrong",
                    theirs.display()
                );
                inputs.note(*input, NoticeKind::ClocksApart, detail);
                continue;
            }
        };
        if let Some(place) = placed.get_mut(own) {
            *place = Some(shift);
        }
        if shift != 0 {
            inputs.shift(*input, shift);
            let first = files.first().map(|(_, path)| path.display().to_string());
            let side = if shift < 0 { "ahead of" } else { "behind" };
            let detail = format!(
                "the clock of this capture is {} s {side} that of {}, by {} acknowledgements: its times are corrected",
                seconds(shift.unsigned_abs()),
                first.unwrap_or_default(),
                bounds.len(),
            );
            inputs.note(*input, NoticeKind::ClocksAligned, detail);
        }
    }
}

/// The TCP numbers in the first frames of a capture.
#[derive(Debug, Default)]
struct Head {
    /// When a sequence number was first passed by what its sender had sent.
    sent: Times,
    /// When it was first acknowledged; under the direction of the bytes.
    acknowledged: Times,
}

type Times = HashMap<(FlowKey, Direction, u32), Timestamp, RandomState>;

impl Head {
    fn read(path: &Path, frames: usize) -> Self {
        let mut head = Self::default();
        let Ok(mut capture) = CaptureFile::open(path, 0) else { return head };
        let mut decoder = Decoder::new(DefragLimits::default());
        let mut left = frames;
        while let Ok(Some(item)) = capture.next_item() {
            let Item::Frame(frame) = item else { continue };
            // Without times there is nothing to compare.
            if frame.at != Timestamp::default()
                && let Decoded::Tcp(segment) = decoder.decode(&frame)
            {
                head.add(&segment);
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        head
    }

    fn add(&mut self, segment: &Segment<'_>) {
        let is = |flag: TcpFlags| segment.flags.0 & flag.0 != 0;
        let Ok(payload) = u32::try_from(segment.payload.len()) else { return };
        let controls = u32::from(is(TcpFlags::SYN)) + u32::from(is(TcpFlags::FIN));
        let len = payload.saturating_add(segment.missing).saturating_add(controls);
        let note = |times: &mut Times, direction, number| {
            let first = times.entry((segment.flow, direction, number)).or_insert(segment.at);
            *first = (*first).min(segment.at);
        };
        if len > 0 && !is(TcpFlags::RST) {
            let end = segment.seq.wrapping_add(len);
            note(&mut self.sent, segment.direction, end);
        }
        if is(TcpFlags::ACK) {
            note(&mut self.acknowledged, segment.direction.reverse(), segment.ack);
        }
    }

    /// The bounds on what must be added to the times of `other`, so that its clock is that of `self`.
    fn bounds(&self, other: &Self) -> Bounds {
        Bounds {
            least: differences(&self.sent, &other.acknowledged),
            most: differences(&self.acknowledged, &other.sent),
        }
    }
}

/// The differences between the times in `ours` and those in `theirs`, in nanoseconds.
fn differences(ours: &Times, theirs: &Times) -> Vec<i64> {
    let both = ours.iter().filter_map(|(key, at)| Some((at, theirs.get(key)?)));
    both.filter_map(|(at, other)| i64::try_from(i128::from(at.0) - i128::from(other.0)).ok())
        .collect()
}

/// What one pair of captures, or of sensors, shows of the difference between their clocks, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// It is at least each of these.
    least: Vec<i64>,
    /// It is at most each of these.
    most: Vec<i64>,
}

/// The difference between two clocks.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Fit {
    /// None, as far as their packets show.
    Same,
    /// Nanoseconds to add to the times of one.
    Shift(i64),
    /// No single one: a clock was set in between.
    None,
}

impl Bounds {
    pub(crate) const fn len(&self) -> usize {
        self.least.len() + self.most.len()
    }

    /// Adds bounds: differences that it is at least, and the negative of those that it is at most.
    pub(crate) fn add(&mut self, least: Vec<i64>, above: Vec<i64>) {
        self.least.extend(least);
        self.most.extend(above.into_iter().map(i64::saturating_neg));
    }

    /// The bounds on the difference of the second clock from the first.
    pub(crate) fn reversed(&self) -> Self {
        let negative = |bounds: &[i64]| bounds.iter().map(|it| it.saturating_neg()).collect();
        Self { least: negative(&self.most), most: negative(&self.least) }
    }

    pub(crate) fn fit(&self) -> Fit {
        let is_early = self.least.iter().filter(|bound| **bound > TOLERANCE).count();
        let is_late = self.most.iter().filter(|bound| **bound < -TOLERANCE).count();
        // A packet that the capture lacks, and that was sent again, gives a bound that is wrong.
        if is_early * FEW <= self.least.len() && is_late * FEW <= self.most.len() {
            return Fit::Same;
        }
        let (mut least, mut most) = (self.least.clone(), self.most.clone());
        least.sort_unstable_by(|a, b| b.cmp(a));
        most.sort_unstable();
        let among =
            |bounds: &[i64], n: usize| bounds.get(n.min(bounds.len().saturating_sub(1))).copied();
        for few in [0, 1] {
            let at = |bounds: &[i64]| among(bounds, few * (bounds.len() / TRIMMED).max(1));
            match (at(&least), at(&most)) {
                (Some(least), Some(most)) if least <= most.saturating_add(TOLERANCE) => {
                    return Fit::Shift(least / 2 + most / 2);
                }
                (Some(_), Some(_)) => {}
                (Some(least), None) => return Fit::Shift(least.saturating_add(TOLERANCE)),
                (None, Some(most)) => return Fit::Shift(most.saturating_sub(TOLERANCE)),
                (None, None) => return Fit::Same,
            }
        }
        Fit::None
    }
}

/// Nanoseconds as seconds with milliseconds.
pub(crate) fn seconds(nanos: u64) -> String {
    let time = Duration::from_nanos(nanos.saturating_add(500_000));
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

/// Fewer bounds than these, which a connection gives when it is opened, show nothing.
pub(crate) const MIN_BOUNDS: usize = 2;

/// Interfaces of one host deliver packets in another order than they came, by less than this.
const TOLERANCE: i64 = 1_000_000;

/// Of the bounds, one in so many may be wrong.
const FEW: usize = 5;
const TRIMMED: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn fit(least: &[i64], most: &[i64]) -> Fit {
        let nanos = |bounds: &[i64]| bounds.iter().map(|ms| ms * MS).collect();
        Bounds { least: nanos(least), most: nanos(most) }.fit()
    }

    #[test]
    fn bounds_around_zero_leave_the_clocks_as_they_are() {
        assert_eq!(fit(&[-1, -40], &[1, 200]), Fit::Same);
        assert_eq!(fit(&[0], &[]), Fit::Same);
        assert_eq!(fit(&[], &[]), Fit::Same);
        let lossy: Vec<i64> = [200].into_iter().chain(vec![-1; 19]).collect();
        assert_eq!(fit(&lossy, &[1; 20]), Fit::Same, "a packet that was sent again");
    }

    #[test]
    fn bounds_on_one_side_of_zero_give_the_middle_between_them() {
        assert_eq!(fit(&[48, 30], &[52, 90]), Fit::Shift(50 * MS));
        assert_eq!(fit(&[-52, -90], &[-48, -30]), Fit::Shift(-50 * MS));
        assert_eq!(fit(&[50, 40], &[]), Fit::Shift(51 * MS), "bytes in one direction only");
        assert_eq!(fit(&[], &[-50, -40]), Fit::Shift(-51 * MS));
        let lossy: Vec<i64> = [300].into_iter().chain(vec![50; 19]).collect();
        assert_eq!(fit(&lossy, &[52; 20]), Fit::Shift(51 * MS), "a packet that was sent again");
    }

    #[test]
    fn bounds_that_contradict_each_other_fit_no_difference() {
        assert_eq!(fit(&[60_000, 60_000, 5], &[-60_000, -60_000, 10]), Fit::None);
        assert_eq!(fit(&[i64::MAX / MS], &[i64::MIN / MS]), Fit::None);
    }

    #[test]
    fn a_difference_is_written_in_seconds() {
        assert_eq!(seconds(1_500_000_000), "1.500");
        assert_eq!(seconds(49_999_800), "0.050");
        assert_eq!(seconds(3_600_000_000_000), "3600.000");
    }
}
