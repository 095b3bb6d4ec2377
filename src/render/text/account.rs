//! Stage 8: what two connected nodes said to each other, as a table.
//!
//! In: the accounts of a session record. Out: for each side its messages by operation, whom they were for,
//! what they had run, how fast the answers came, and how long it was silent.

use std::io::{self, Write};

use super::sheet::TextWriter;
use crate::record::{Account, Calls, Messages, PacketLink, Pause, Share};
use crate::render::words::{bytes, count, duration, grouped};

/// Writes the accounts of both sides; `names` are the ends of the connection.
pub(super) fn write(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    messages: &Messages,
    names: &[String; 2],
) -> io::Result<()> {
    let sides = [&messages.initiator, &messages.acceptor].into_iter().zip(names);
    for (account, name) in sides {
        let Some(account) = account else { continue };
        side(sheet, out, account, name)?;
    }
    sheet.space(out)
}

fn side(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    account: &Account,
    name: &str,
) -> io::Result<()> {
    let sum = |of: fn(&Share) -> u64| account.operations.iter().map(of).sum::<u64>();
    let (messages, size) = (sum(|share| share.messages), sum(|share| share.bytes));
    sheet.wrapped(
        out,
        HEAD,
        &format!("{name} sent {} of {}", count(messages, "message"), bytes(size)),
    )?;
    for (title, shares) in [
        ("operation", &account.operations),
        ("for the name", &account.names),
        ("to run", &account.functions),
    ] {
        for (n, share) in shares.iter().take(ROWS).enumerate() {
            let title = if n == 0 { title } else { "" };
            let (messages, size) = (grouped(share.messages), bytes(share.bytes));
            sheet.row(out, &format!("{ROW}{title:<13}{messages:>8} {size:>10}  {}", share.name))?;
        }
    }
    let mut notes = Vec::new();
    if account.fragmented > 0 {
        notes.push(format!(
            "{} in {}, {} of them never whole",
            count(account.fragmented, "message"),
            count(account.fragments, "fragment"),
            grouped(account.unfinished)
        ));
    }
    if let Some(largest) = &account.largest {
        notes.push(format!(
            "the largest had {} ({}, {})",
            bytes(largest.bytes),
            largest.operation,
            frame(&largest.at)
        ));
    }
    notes.extend(account.calls.iter().map(calls));
    if let Some(seconds) = account.tick_time_s {
        notes.push(format!("net_ticktime {seconds} s, by its ticks"));
    }
    let pause = |what: &str, pause: &Pause| {
        format!("{what} for {}, from {} on", duration(pause.lasted_us), frame(&pause.since))
    };
    notes.extend(account.longest_silence.as_ref().map(|it| pause("silent", it)));
    notes.extend(account.longest_stall.as_ref().map(|it| pause("let the other wait", it)));
    notes.iter().try_for_each(|note| sheet.wrapped(out, ROW, note))
}

fn calls(calls: &Calls) -> String {
    let mut text = format!(
        "{}: {} answered",
        count(calls.asked, &format!("{} call", calls.kind)),
        calls.answered
    );
    for (n, what) in [
        (calls.unanswered, "without an answer"),
        (calls.given_up, "given up"),
        (calls.noproc, "to no process"),
        (calls.down, "whose process ended"),
    ] {
        if n > 0 {
            text += &format!(", {} {what}", grouped(n));
        }
    }
    if let (Some(median), Some(p99), Some(slowest)) =
        (calls.median_us, calls.p99_us, &calls.slowest)
    {
        text += &format!(
            "; half within {}, 99 of 100 within {}, the slowest in {} ({} to {})",
            duration(median),
            duration(p99),
            duration(slowest.latency_us),
            frame(&slowest.request),
            frame(&slowest.answer)
        );
    }
    text
}

fn frame(spot: &PacketLink) -> String {
    match &spot.input {
        Some(input) => format!("frame {} of {input}", spot.frame.number),
        None => format!("frame {}", spot.frame.number),
    }
}

const HEAD: &str = "              ";
const ROW: &str = "                ";

/// Rows of each part: the rest is in the JSON.
const ROWS: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::{Layout, TextOptions};
    use super::*;
    use crate::record::{Body, Outcome, State};
    use crate::render::samples;

    #[test]
    fn who_sent_what_is_a_table_and_how_fast_answers_came_a_sentence() {
        let event = samples::session(State::Closed, Outcome::Connected);
        let Body::Session { session } = &event.body else { unreachable!() };
        let options =
            TextOptions { width: 80, colour: false, verbose: true, layout: Layout::Grouped };
        let mut out = Vec::new();
        let names = ["one".to_owned(), "two".to_owned()];
        write(&mut TextWriter::new(&options), &mut out, session.messages.as_ref().unwrap(), &names)
            .unwrap();
        let expected = "
              one sent 6 messages of 420 bytes
                operation           3  210 bytes  REG_SEND
                                    3  210 bytes  MONITOR_P
                for the name        3  210 bytes  rex
                to run              3  210 bytes  lists:seq/2
                1 message in 3 fragments, 0 of them never whole
                the largest had 80 bytes (REG_SEND, frame 17)
                4 gen_call calls: 1 answered, 1 without an answer, 1 given up, 1
                to no process; half within 120 µs, 99 of 100 within 120 µs, the
                slowest in 120 µs (frame 17 to frame 17)
                net_ticktime 60 s, by its ticks
                silent for 15.0 s, from frame 17 on
                let the other wait for 2.0 s, from frame 17 on

";
        assert_eq!(format!("\n{}", String::from_utf8(out).unwrap()), expected);
    }
}
