//! A capture that is divided among sensors, in ways that its packets do not show, accuses no node that one run over all of
//! it does not accuse.

use std::collections::BTreeSet;
use std::path::Path;

use beamscope::decode::Direction;
use beamscope::merge::Part;
use beamscope::record::{Body, Event, Severity};

use super::merge::{merged, part_of_frames, random};
use super::observations::Run;
use crate::support::corpus::check_all;
use crate::support::pieces::{Kept, frames_of, pcap};

/// How the frames of a capture are divided among sensors.
#[derive(Clone, Copy, Debug)]
enum Division {
    /// Two files of one sensor, the second of which begins where the first ends.
    Rotated,
    /// The same, where the second file has the name of another sensor.
    Relieved,
    /// One direction each.
    Directions,
    /// Each frame in one of two parts.
    Halves,
    /// Each frame in one of three parts.
    Thirds,
    /// Two sensors that lack a tenth of the frames each.
    Lossy,
    /// A whole sensor, and one that starts later.
    StartsLate,
    /// A whole sensor, and one that stops earlier.
    StopsEarly,
}

use Division::{Directions, Halves, Lossy, Relieved, Rotated, StartsLate, StopsEarly, Thirds};

impl Division {
    const ALL: [Self; 8] =
        [Rotated, Relieved, Directions, Halves, Thirds, Lossy, StartsLate, StopsEarly];

    const fn sensors(self) -> usize {
        if matches!(self, Thirds) { 3 } else { 2 }
    }

    /// Whether a sensor has a frame, where `cut` is a place in the capture.
    fn has(self, sensor: usize, at: usize, cut: usize, frame: &Kept, dice: u64) -> bool {
        match self {
            Rotated | Relieved => (at < cut) == (sensor == 0),
            Directions => match frame.direction {
                Some(Direction::LowToHigh) => sensor == 0,
                Some(Direction::HighToLow) => sensor == 1,
                None => true,
            },
            Halves | Thirds => dice as usize % self.sensors() == sensor,
            Lossy => dice % 100 >= 10,
            StartsLate => sensor == 0 || at >= cut,
            StopsEarly => sensor == 0 || at < cut,
        }
    }

    fn parts(self, path: &Path, seed: usize) -> Option<[Vec<Part>; 2]> {
        let (link, frames) = frames_of(&path.to_string_lossy())?;
        let cut = random(path, seed, usize::MAX) as usize % frames.len().max(1);
        let is_at = |sensor: usize, at: usize, frame: &Kept| {
            // A frame is in one part of several; which sensors lost it does not depend on each other.
            let dice = if matches!(self, Lossy) { 1 + sensor } else { 0 };
            self.has(sensor, at, cut, frame, random(path, seed << 8 | dice, at))
        };
        let part = |name: &str, sensor: usize, is_kept: &dyn Fn(usize, &Kept) -> bool| {
            let own = frames.iter().enumerate().filter(|(at, frame)| is_kept(*at, frame));
            let own: Vec<&Kept> = own.map(|(_, frame)| frame).collect();
            part_of_frames(name, &format!("{name}-{sensor}.pcap"), pcap(link, &own, 0))
        };
        let parts = (0..self.sensors()).map(|sensor| {
            let name =
                if matches!(self, Rotated) { "a".into() } else { format!("sensor {sensor}") };
            part(&name, sensor, &|at, frame| is_at(sensor, at, frame))
        });
        let all = part("all", 0, &|at, frame| (0..self.sensors()).any(|it| is_at(it, at, frame)));
        Some([parts.collect(), vec![all]])
    }
}

/// A finding of medium severity or above: its rule and the nodes that it names.
type Accusation = (&'static str, BTreeSet<String>);

fn findings(events: &[Event], least: Severity) -> BTreeSet<(Accusation, String)> {
    let of = |event: &Event| match &event.body {
        Body::Finding { finding } if finding.severity >= least => {
            let nodes = finding.nodes.iter().map(ToString::to_string).collect();
            Some(((finding.rule, nodes), finding.title.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn seeds() -> usize {
    std::env::var("BEAMSCOPE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Findings that a merge has in place of those of one run, where each frame is in one of several parts: the capture, and the
/// rule. They are about the same failure, as a sensor of one of the parts would report it.
const OTHERS: [(&str, &str); 9] = [
    // The cause is a header on the other connection of a proxy, of which each part has a piece.
    ("haproxy-send-proxy-29.pcap", "path-loss"),
    ("haproxy-send-proxy-29.pcap", "handshake-timeout"),
    ("proxy-header.pcap", "path-loss"),
    ("proxy-header.pcap", "handshake-timeout"),
    ("lb-proxy-header.pcap", "handshake-timeout"),
    ("lb-proxy-v2-epmd.pcap", "epmd-silent"),
    // The part that has every byte lacks the copies which show that they did not arrive.
    ("dpi-drop.pcap", "handshake-timeout"),
    ("rabbit310-sigstop.pcap", "path-loss"),
    // Names of one client that guesses: too few of them are known to have been refused.
    ("guessing-names.pcap", "cookie-mismatch"),
];

#[test]
fn no_division_of_a_capture_accuses_a_node_that_one_run_does_not() {
    check_all(|path| {
        let mut wrong = Vec::new();
        for division in Division::ALL {
            for seed in 0..seeds() {
                let Some([parts, all]) = division.parts(path, seed) else { continue };
                let one = findings(&merged(all, Run::Plain), Severity::Info);
                let many = findings(&merged(parts, Run::Plain), Severity::Medium);
                for ((rule, nodes), title) in many {
                    // It may name fewer nodes, where no part has a name.
                    let is_known = |((own, all), _): &(Accusation, String)| {
                        *own == rule && nodes.is_subset(all)
                    };
                    let is_random = matches!(division, Halves | Thirds);
                    let file = path.file_name().unwrap_or_default().to_string_lossy();
                    let is_other = is_random && OTHERS.contains(&(&file, rule));
                    if !is_other && !one.iter().any(is_known) {
                        wrong.push(format!("{division:?} {seed}: {rule} {nodes:?}: {title}"));
                    }
                }
            }
        }
        wrong
    });
}
