//! Which inputs show the loopback addresses of one host.
//!
//! In: the inputs of each sensor, and the loopback connections that several sensors saw. Out: one input that stands for all
//! those of one host, so that EPMD at 127.0.0.1 is one program there, and another one in any other input.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::connections::SensorView;
use crate::observe::Fact;

/// Inputs by the one that stands for their host.
#[derive(Debug, Default)]
pub(super) struct HostInputs {
    /// A lower input of the same host, by input.
    lower: HashMap<u16, u16, RandomState>,
    /// The first input of each sensor that the user named.
    runs: HashMap<Arc<str>, u16, RandomState>,
}

impl HostInputs {
    /// The input that stands for the host of this one: the lowest that is known to be of it.
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

    /// Takes in a connection of loopback addresses that several sensors saw.
    pub(super) fn add_views(&mut self, views: &[SensorView]) {
        let inputs = views.iter().filter_map(SensorView::input);
        let mut inputs = inputs.filter(|_| views.iter().all(SensorView::is_on_loopback));
        let Some(first) = inputs.next() else { return };
        let starts =
            |at: usize| views.iter().map(move |view| view.starts.get(at).copied().flatten());
        // Ports alone are no proof: each host has its own 127.0.0.1.
        let is_known =
            |at: usize| starts(at).all(|start| start.is_some() && starts(at).next() == Some(start));
        if is_known(0) || is_known(1) {
            inputs.for_each(|input| self.unite(first, input));
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
