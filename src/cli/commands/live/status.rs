//! The line at the bottom of the terminal during a live capture, from which a wrong interface shows at once.
//!
//! In: what was captured and found so far. Out: the line, once a second. Other interfaces are looked at while nothing is
//! captured, in the counters of the kernel, which a confined process can still read.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use beamscope::capture::Drops;
use beamscope::render::{RunCounts, escape, plural};

use crate::cli::console::{self, StatusLine, Warnings};
use crate::cli::stop::Interval;

/// The line, and what it was last.
pub(super) struct LiveStatus {
    line: StatusLine,
    due: Interval,
    names: String,
    /// Packets at the last update.
    packets: u64,
    /// Updates without a packet since the start.
    idle: u32,
    /// Packets of each interface at the start.
    before: BTreeMap<String, u64>,
}

impl LiveStatus {
    /// The line for a capture from the interfaces `names`, if standard error is a terminal and not to be quiet.
    pub(super) fn new(names: &[String], warnings: Warnings) -> Option<Self> {
        (console::stderr_is_terminal() && !warnings.are_off()).then(|| Self {
            line: StatusLine::of_capture(),
            due: Interval::new(SECOND),
            names: escape(&names.join(", ")).into_owned(),
            packets: 0,
            idle: 0,
            before: counters(),
        })
    }

    /// Updates the line if a second has passed.
    pub(super) fn update(&mut self, packets: u64, counts: &RunCounts, drops: Drops) {
        if !self.due.has_ended() {
            return;
        }
        let new = packets - std::mem::replace(&mut self.packets, packets);
        if packets == 0 {
            self.idle += 1;
            self.line.set(&self.nothing());
            return;
        }
        let of = |count: u64, what: &str| format!("{count} {}", plural(count, what));
        let dropped = drops.kernel.unwrap_or(0).saturating_add(drops.interface.unwrap_or(0));
        self.line.set(&format!(
            "{}: {}/s, {}, {}, {dropped} dropped",
            self.names,
            of(new, "packet"),
            of(counts.connections.load(Ordering::Relaxed), "Erlang connection"),
            of(counts.problems.load(Ordering::Relaxed), "problem"),
        ));
    }

    /// The line while no packet has come, with the interface that has most traffic meanwhile.
    fn nothing(&self) -> String {
        let nothing = format!("no packet on {} so far", self.names);
        if self.idle < PATIENCE {
            return nothing;
        }
        let captured: Vec<_> = self.names.split(", ").collect();
        match busiest(&self.before, &counters(), &captured) {
            Some(name) => format!("{nothing}; {} has traffic", escape(name)),
            None => nothing,
        }
    }
}

/// The interface, other than those of `captured`, with most packets between two readings.
fn busiest<'a>(
    before: &BTreeMap<String, u64>,
    now: &'a BTreeMap<String, u64>,
    captured: &[&str],
) -> Option<&'a str> {
    now.iter()
        .filter(|(name, _)| !captured.contains(&name.as_str()))
        .map(|(name, packets)| {
            (packets.saturating_sub(before.get(name).copied().unwrap_or(0)), name.as_str())
        })
        .filter(|(new, _)| *new > 0)
        .max()
        .map(|(_, name)| name)
}

/// Packets that each interface has received and sent, by Linux's counters; empty on other systems.
fn counters() -> BTreeMap<String, u64> {
    let Ok(interfaces) = fs::read_dir("/sys/class/net") else { return BTreeMap::new() };
    let packets = |name: &str, way: &str| -> u64 {
        let path = format!("/sys/class/net/{name}/statistics/{way}_packets");
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    };
    let names = interfaces.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let count = |name: String| {
        let both = packets(&name, "rx").saturating_add(packets(&name, "tx"));
        (name, both)
    };
    names.map(count).collect()
}

const SECOND: Duration = Duration::from_secs(1);

/// Seconds without a packet after which other interfaces are looked at.
const PATIENCE: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_other_interface_is_the_one_with_most_new_packets() {
        let of = |counts: [(&str, u64); 3]| counts.map(|(name, n)| (name.to_owned(), n)).into();
        let before = of([("eth0", 1000), ("eth1", 5), ("lo", 0)]);
        let now = of([("eth0", 1001), ("eth1", 50), ("lo", 0)]);
        assert_eq!(busiest(&before, &now, &["lo"]), Some("eth1"));
        assert_eq!(busiest(&before, &now, &["lo", "eth1"]), Some("eth0"));
        assert_eq!(busiest(&before, &before, &["lo"]), None);
    }
}
