//! Which inputs show the loopback addresses of one host.
//!
//! In: the inputs of each sensor, and the loopback connections that several sensors saw. Out: one input that represents all
//! those of one host, so that EPMD at 127.0.0.1 is one program there, and another one in any other input.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::connections::SensorView;
use crate::observe::Fact;

/// Inputs by the one that represents their host.
#[derive(Debug, Default)]
pub(super) struct HostInputs {
    /// A lower input of the same host, by input.
    lower: HashMap<u16, u16, RandomState>,
    /// The first input of each sensor that the user named.
    runs: HashMap<Arc<str>, u16, RandomState>,
}

impl HostInputs {
    /// The input that represents the host of this one: the lowest that is known to be of it.
    fn of(&self, input: u16) -> u16 {
        let mut lowest = input;
        while let Some(lower) = self.lower.get(&lowest) {
            lowest = *lower;
        }
        lowest
    }

    fn unite(&mut self, a: u16, b: u16) {
        let (a, b) = (self.of(a), self.of(b));
        if a != b {
            self.lower.insert(a.max(b), a.min(b));
        }
    }

    /// Takes in a run of one input. Runs of one sensor follow each other at one place, if the user named that; captures of
    /// several hosts may have the same file name.
    pub(super) fn add_run(&mut self, sensor: &Arc<str>, input: &str, number: u16) {
        if !is_file_name(sensor, input) {
            let known = *self.runs.entry(Arc::clone(sensor)).or_insert(number);
            self.unite(known, number);
        }
    }

    /// Takes in a connection of loopback addresses that several sensors saw: those with the same first sequence number of one
    /// side are on one host, and those that saw it begin at the same moment. Ports alone are no proof: each host has its own
    /// 127.0.0.1, and some connections last for days.
    pub(super) fn add_views(&mut self, views: &[SensorView]) {
        for (at, view) in views.iter().enumerate().filter(|(_, view)| view.is_on_loopback()) {
            let shares = |other: &&SensorView| {
                let mut starts = view.starts.iter().zip(&other.starts);
                starts.any(|(own, other)| own.is_some() && own == other) || view.begins_with(other)
            };
            for other in views.iter().take(at).filter(shares).take(MOST_COMPARED) {
                if let (Some(own), Some(other)) = (view.input(), other.input()) {
                    self.unite(own, other);
                }
            }
        }
    }

    /// Names the host of a fact, if several inputs are of it.
    pub(super) fn mark(&self, fact: &mut Fact) {
        let Some(settled) = fact.settled_mut() else { return };
        let input = settled.shown_by_input();
        settled.host_input = input.map(|it| self.of(it)).filter(|host| Some(*host) != input);
    }
}

/// Whether the name of a sensor is that of its input, as where the user gave none.
pub(super) fn is_file_name(sensor: &str, input: &str) -> bool {
    input.strip_suffix(sensor).is_some_and(|it| it.is_empty() || it.ends_with('/'))
}

/// Sensors of one connection with which another one is compared.
const MOST_COMPARED: usize = 8;
