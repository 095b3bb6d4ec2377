//! What each side of a connection sent after the handshake.
//!
//! In: the message totals of a session record. Out: for each side its messages by operation, receiver and
//! function, and sentences about latency, sizes and silences.

use crate::record::{Account, Calls, Messages, PacketLink, Pause, Share};
use crate::render::words::{bytes, count, duration, grouped};

/// The totals of one side.
pub(in crate::render) struct SideTotals {
    pub(in crate::render) heading: String,
    /// Titles with their rows, the most messages first.
    pub(in crate::render) tables: Vec<(&'static str, Vec<Share>)>,
    pub(in crate::render) notes: Vec<String>,
}

impl SideTotals {
    /// The totals of both sides, as far as they sent anything; `names` are the ends of the connection.
    pub(super) fn of(messages: &Messages, names: &[String; 2]) -> Vec<Self> {
        let sides = [&messages.initiator, &messages.acceptor].into_iter().zip(names);
        sides.filter_map(|(account, name)| Some(Self::of_side(account.as_ref()?, name))).collect()
    }

    fn of_side(account: &Account, name: &str) -> Self {
        let sum = |of: fn(&Share) -> u64| account.operations.iter().map(of).sum::<u64>();
        let (messages, size) = (sum(|share| share.messages), sum(|share| share.bytes));
        let mut notes = Vec::new();
        if account.fragmented > 0 {
            let mut note = format!(
                "{} in {}",
                count(account.fragmented, "message"),
                count(account.fragments, "fragment")
            );
            if account.unfinished > 0 {
                note += &format!(", {} never completed", grouped(account.unfinished));
            }
            notes.push(note);
        }
        if let Some(largest) = &account.largest {
            notes.push(format!(
                "largest message: {} ({}, {})",
                bytes(largest.bytes),
                largest.operation,
                frame(&largest.at)
            ));
        }
        notes.extend(account.calls.iter().map(calls));
        if let Some(seconds) = account.tick_time_s {
            notes.push(format!("net_ticktime {seconds} s, judging by its ticks"));
        }
        let pause = |what: &str, pause: &Pause| {
            format!("{what}: {}, from {}", duration(pause.lasted_us), frame(&pause.since))
        };
        notes.extend(account.longest_silence.as_ref().map(|it| pause("longest silence", it)));
        notes.extend(
            account.longest_stall.as_ref().map(|it| pause("longest closed receive window", it)),
        );
        Self {
            heading: format!("{name} sent {}, {}", count(messages, "message"), bytes(size)),
            tables: vec![
                ("operation", account.operations.clone()),
                ("to name", account.names.clone()),
                ("function", account.functions.clone()),
            ],
            notes,
        }
    }
}

fn calls(calls: &Calls) -> String {
    let mut text = format!(
        "{}: {} answered",
        count(calls.asked, &format!("{} call", calls.kind)),
        calls.answered
    );
    for (n, what) in [
        (calls.unanswered, "not answered"),
        (calls.given_up, "given up by the caller"),
        (calls.noproc, "to no process"),
        (calls.down, "ended with their process"),
    ] {
        if n > 0 {
            text += &format!(", {} {what}", grouped(n));
        }
    }
    if let (Some(median), Some(p99), Some(slowest)) =
        (calls.median_us, calls.p99_us, &calls.slowest)
    {
        text += &format!(
            "; median {}, p99 {}, slowest {} ({} to {})",
            duration(median),
            duration(p99),
            duration(slowest.latency_us),
            frame(&slowest.request),
            frame(&slowest.answer)
        );
    }
    text
}

fn frame(link: &PacketLink) -> String {
    match &link.input {
        Some(input) => format!("frame {} of {input}", link.frame.number),
        None => format!("frame {}", link.frame.number),
    }
}
