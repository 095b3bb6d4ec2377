//! What the nodes sent to each other after their handshakes, over all connections.
//!
//! In: the message totals of session records. Out: operations, receivers and functions by number, and the latency of
//! calls by callee.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write;

use minijinja::Value;
use serde::Serialize;

use super::pieces::{Piece, markup};
use crate::limits::ReportLimits;
use crate::record::{Account, Calls, Event, PacketLink, Session, Share, State};
use crate::render::report::{FrameLabel, connection_names};
use crate::render::words::{bytes, duration, grouped};

/// Totals over all connections.
pub(super) struct TrafficTotals {
    limits: ReportLimits,
    operations: NameTotals,
    receivers: NameTotals,
    functions: NameTotals,
    callees: HashMap<(String, String), CalleeTotals>,
    more_callees: bool,
    ticks: u64,
    bytes: u64,
    resent: u64,
}

/// Number and size of messages by name; `has_more` if names were left out.
#[derive(Default)]
struct NameTotals {
    by_name: HashMap<Box<str>, (u64, u64)>,
    has_more: bool,
}

impl NameTotals {
    fn add(&mut self, shares: &[Share], most: usize) {
        for Share { name, messages, bytes } in shares {
            if self.by_name.len() >= most && !self.by_name.contains_key(name) {
                self.has_more = true;
                continue;
            }
            let totals = self.by_name.entry(name.clone()).or_default();
            totals.0 = totals.0.saturating_add(*messages);
            totals.1 = totals.1.saturating_add(*bytes);
        }
    }

    fn table(&self, title: &'static str, note: &'static str) -> Option<NameTable> {
        let mut rows: Vec<_> = self.by_name.iter().collect();
        rows.sort_by_key(|(name, (messages, bytes))| {
            (Reverse((*messages, *bytes)), (*name).clone())
        });
        let most = rows.first().map(|(_, (messages, _))| *messages)?;
        let share = |n: u64| n as f64 / most.max(1) as f64 * 100.0;
        let more = rows.len().saturating_sub(BUSIEST) as u64;
        let rows = rows.into_iter().take(BUSIEST).map(|(name, (messages, size))| NameRow {
            name: name.to_string(),
            messages: grouped(*messages),
            bytes: bytes(*size),
            bar: markup(bar(share(*messages))),
        });
        let rows = rows.collect();
        let and_more =
            if self.has_more { "and more, which are not counted one by one" } else { "" };
        let more =
            if more > 0 { format!("and {} more", grouped(more)) } else { and_more.to_owned() };
        Some(NameTable { title, note, rows, more })
    }
}

/// Calls to one node, by kind.
#[derive(Default)]
struct CalleeTotals {
    connections: u64,
    asked: u64,
    answered: u64,
    unanswered: u64,
    other: u64,
    /// Lowest and highest median of a connection, in microseconds.
    median: Option<(u64, u64)>,
    p99: Option<u64>,
    slowest: Option<(u64, [Piece; 2])>,
}

/// The traffic as tables.
#[derive(Default, Serialize)]
pub(super) struct TrafficView {
    pub(super) names: Vec<NameTable>,
    pub(super) calls: Vec<CallRow>,
    pub(super) more_calls: String,
    pub(super) total: String,
}

#[derive(Serialize)]
pub(super) struct NameTable {
    pub(super) title: &'static str,
    pub(super) note: &'static str,
    pub(super) rows: Vec<NameRow>,
    pub(super) more: String,
}

#[derive(Serialize)]
pub(super) struct NameRow {
    pub(super) name: String,
    pub(super) messages: String,
    pub(super) bytes: String,
    pub(super) bar: Value,
}

#[derive(Serialize)]
pub(super) struct CallRow {
    pub(super) callee: String,
    pub(super) kind: String,
    pub(super) asked: String,
    pub(super) answered: String,
    pub(super) unanswered: String,
    pub(super) median: String,
    pub(super) p99: String,
    pub(super) slowest: String,
    pub(super) frames: Vec<Piece>,
    pub(super) plot: Value,
}

impl TrafficTotals {
    pub(super) fn new(limits: ReportLimits) -> Self {
        Self {
            limits,
            operations: NameTotals::default(),
            receivers: NameTotals::default(),
            functions: NameTotals::default(),
            callees: HashMap::new(),
            more_callees: false,
            ticks: 0,
            bytes: 0,
            resent: 0,
        }
    }

    /// Takes the last record of a session; `label` names a frame of it.
    pub(super) fn on_session(
        &mut self,
        event: &Event,
        session: &Session,
        label: impl Fn(&PacketLink) -> FrameLabel,
    ) {
        if session.state == State::Established {
            return;
        }
        for sent in [&session.traffic.initiator, &session.traffic.acceptor] {
            self.ticks = self.ticks.saturating_add(sent.ticks);
            self.bytes = self.bytes.saturating_add(sent.bytes);
            self.resent = self.resent.saturating_add(sent.retransmitted_bytes);
        }
        let Some(messages) = &session.messages else { return };
        let [initiator, acceptor] = connection_names(session, event.connection.as_deref());
        let sides = [(&messages.initiator, acceptor), (&messages.acceptor, initiator)];
        for (account, peer) in sides {
            let Some(account) = account else { continue };
            self.on_account(account);
            account.calls.iter().for_each(|calls| self.on_calls(calls, &peer, &label));
        }
    }

    fn on_account(&mut self, account: &Account) {
        let most = self.limits.names;
        self.operations.add(&account.operations, most);
        self.receivers.add(&account.names, most);
        self.functions.add(&account.functions, most);
    }

    fn on_calls(
        &mut self,
        calls: &Calls,
        callee: &str,
        label: &impl Fn(&PacketLink) -> FrameLabel,
    ) {
        let key = (callee.to_owned(), calls.kind.to_string());
        if self.callees.len() >= self.limits.names && !self.callees.contains_key(&key) {
            self.more_callees = true;
            return;
        }
        let totals = self.callees.entry(key).or_default();
        totals.connections += 1;
        totals.asked = totals.asked.saturating_add(calls.asked);
        totals.answered = totals.answered.saturating_add(calls.answered);
        totals.unanswered = totals.unanswered.saturating_add(calls.unanswered);
        let other = [calls.given_up, calls.noproc, calls.down].iter().sum();
        totals.other = totals.other.saturating_add(other);
        if let Some(median) = calls.median_us {
            let (least, most) = totals.median.unwrap_or((median, median));
            totals.median = Some((least.min(median), most.max(median)));
        }
        totals.p99 = totals.p99.max(calls.p99_us);
        if let Some(slowest) = &calls.slowest
            && totals.slowest.as_ref().is_none_or(|(us, _)| *us < slowest.latency_us)
        {
            let frames = [&slowest.request, &slowest.answer].map(|link| Piece::of(&label(link)));
            totals.slowest = Some((slowest.latency_us, frames));
        }
    }

    /// The tables; none if nothing was sent after a handshake.
    pub(super) fn view(&mut self) -> TrafficView {
        let of_each = "The ten busiest of each connection are counted.";
        let names = [
            self.operations.table("Operations", ""),
            self.receivers.table("Busiest registered names", of_each),
            self.functions.table("Busiest functions", of_each),
        ];
        let mut calls: Vec<_> = std::mem::take(&mut self.callees).into_iter().collect();
        calls.sort_by(|(a, x), (b, y)| (Reverse(x.asked), a).cmp(&(Reverse(y.asked), b)));
        let longest = calls.iter().filter_map(|(_, it)| it.slowest.as_ref().map(|it| it.0)).max();
        let more = calls.len().saturating_sub(CALLEES) as u64;
        let rows = calls.into_iter().take(CALLEES);
        let rows = rows.map(|((callee, kind), totals)| totals.row(callee, kind, longest));
        let calls: Vec<_> = rows.collect();
        let more_calls = match (more, self.more_callees) {
            (0, false) => String::new(),
            (more, false) => format!("and {} more", grouped(more)),
            (more, true) => format!("and more than {} more", grouped(more)),
        };
        let resent = match self.resent {
            0 => String::new(),
            n => format!(", {} of them sent again", bytes(n)),
        };
        let total = format!(
            "{} in connections between nodes{resent}, {} ticks.",
            bytes(self.bytes),
            grouped(self.ticks)
        );
        let names: Vec<_> = names.into_iter().flatten().collect();
        let total = if self.bytes == 0 { String::new() } else { total };
        TrafficView { names, calls, more_calls, total }
    }
}

impl CalleeTotals {
    fn row(self, callee: String, kind: String, longest: Option<u64>) -> CallRow {
        let several = self.connections > 1;
        let time = |us: Option<u64>| us.map_or_else(|| "–".to_owned(), duration);
        let median = match self.median {
            Some((least, most)) if least < most => {
                format!("{} to {}", duration(least), duration(most))
            }
            Some((median, _)) => duration(median),
            None => time(None),
        };
        let worst = if several { "at most " } else { "" };
        let p99 = self.p99.map_or_else(|| time(None), |us| format!("{worst}{}", duration(us)));
        let plot = match (self.median, longest) {
            (Some(median), Some(longest)) => {
                plot(median, self.p99, self.slowest.as_ref().map(|it| it.0), longest)
            }
            _ => String::new(),
        };
        let other = match self.other {
            0 => String::new(),
            n => format!(", {} otherwise", grouped(n)),
        };
        let slowest = time(self.slowest.as_ref().map(|it| it.0));
        CallRow {
            callee,
            kind,
            asked: grouped(self.asked),
            answered: grouped(self.answered),
            unanswered: format!("{}{other}", grouped(self.unanswered)),
            median,
            p99,
            slowest,
            frames: self.slowest.map(|(_, frames)| frames.into()).unwrap_or_default(),
            plot: markup(plot),
        }
    }
}

/// The share of a row, as a bar; the number is beside it.
fn bar(percent: f64) -> String {
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\" \
         focusable=\"false\"><rect width=\"{:.1}\" height=\"10\"/></svg>",
        percent.clamp(1.0, 100.0)
    )
}

/// Medians as a bar, the 99th percentile and the slowest as marks, on one logarithmic scale for all rows.
fn plot((least, most): (u64, u64), p99: Option<u64>, slowest: Option<u64>, longest: u64) -> String {
    let place = |us: u64| ((1 + us) as f64).log2() / ((2 + longest) as f64).log2() * 196.0;
    let (from, to) = (place(least), place(most));
    let mut svg = "<svg class=\"plot\" viewBox=\"0 0 200 12\" preserveAspectRatio=\"none\" \
                   aria-hidden=\"true\" focusable=\"false\"><line class=\"base\" x1=\"0\" \
                   x2=\"200\" y1=\"6\" y2=\"6\"/>"
        .to_owned();
    if let Some(p99) = p99 {
        let _ = write!(
            svg,
            "<rect class=\"range\" x=\"{from:.1}\" y=\"4\" width=\"{:.1}\" height=\"4\"/>",
            (place(p99) - from).max(1.0)
        );
    }
    let _ = write!(
        svg,
        "<rect class=\"median\" x=\"{from:.1}\" y=\"1\" width=\"{:.1}\" height=\"10\"/>",
        (to - from).max(3.0)
    );
    if let Some(slowest) = slowest {
        let _ = write!(
            svg,
            "<rect class=\"slow\" x=\"{:.1}\" y=\"3\" width=\"3\" height=\"6\"/>",
            place(slowest)
        );
    }
    svg += "</svg>";
    svg
}

/// Rows of each table of names, and of the calls.
const BUSIEST: usize = 12;
const CALLEES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_not_counted_and_that_is_written() {
        let mut totals = NameTotals::default();
        let share = |n: u64| Share { name: n.to_string().into(), messages: n, bytes: n };
        totals.add(&(0..9).map(share).collect::<Vec<_>>(), 5);
        let table = totals.table("Operations", "").unwrap();
        assert_eq!(table.rows.len(), 5);
        assert_eq!(table.rows.first().map(|row| row.name.as_str()), Some("4"));
        assert!(!table.more.is_empty());
    }

    #[test]
    fn totals_of_names_are_by_number() {
        assert!(bar(0.0).contains("width=\"1.0\"") && bar(900.0).contains("width=\"100.0\""));
    }
}
