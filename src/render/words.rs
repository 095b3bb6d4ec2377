//! The words and units of reports.
//!
//! In: single values of an event. Out: the phrase, number or time span for people, and text from the wire
//! without control characters.

use std::fmt::Write;

use crate::record::{
    AnomalyKind, Confidence, EpmdOutcome, EpmdTag, IncidentState, MessageKind, Outcome, Shows,
};
use crate::render::escape::is_unsafe;
use crate::time::{Timestamp, Zone};

pub(super) const fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Connected => "connected",
        Outcome::CookieMismatch => "cookie mismatch",
        Outcome::NameMismatch => "name mismatch",
        Outcome::NotAllowed => "node not allowed",
        Outcome::VersionMismatch => "version or flags mismatch",
        Outcome::AlreadyConnected => "refused as already connected",
        Outcome::Superseded => "dropped for a simultaneous connection",
        Outcome::TlsMismatch => "TLS on one side only",
        Outcome::Tls => "encrypted with TLS, outcome not visible",
        Outcome::TimedOut => "timed out during the handshake",
        Outcome::Refused => "refused with RST or ICMP",
        Outcome::Unanswered => "no answer in this capture",
        Outcome::Aborted => "closed during the handshake",
        Outcome::NotDistribution => "not the distribution protocol",
        Outcome::Incomplete => "incomplete",
    }
}

/// The outcome of a connection over TLS whose records show that the two nodes connected.
pub(super) const CONNECTED_INSIDE: &str = "connected inside TLS";

pub(super) const fn epmd_words(outcome: EpmdOutcome) -> &'static str {
    match outcome {
        EpmdOutcome::Answered => "answered",
        EpmdOutcome::NotRegistered => "name not registered",
        EpmdOutcome::RegistrationRefused => "registration refused",
        EpmdOutcome::ConnectionRefused => "connection refused",
        EpmdOutcome::Unanswered => "no answer in this capture",
        EpmdOutcome::NoReply => "closed without a reply",
        EpmdOutcome::Malformed => "not the EPMD protocol",
        EpmdOutcome::CommandRefused => "command refused",
        EpmdOutcome::Unregistered => "registration ended",
        EpmdOutcome::Unacknowledged => "sent and not acknowledged",
        EpmdOutcome::Incomplete => "incomplete, packets are missing",
    }
}

pub(super) const fn state_word(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Open => "open",
        IncidentState::Solved => "solved",
        IncidentState::Unknown => "unknown",
        IncidentState::Withdrawn => "withdrawn",
    }
}

/// A text as one word of a shell: as it is, or in quotes.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/+:,@%=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    // A name that begins with a hyphen would be an option.
    let lead = if text.starts_with('-') { "./" } else { "" };
    if !text.contains(is_unsafe) {
        return format!("'{lead}{}'", text.replace('\'', "'\\''"));
    }
    let mut word = format!("$'{lead}");
    for c in text.chars() {
        let _ = match c {
            '\'' | '\\' => write!(word, "\\{c}"),
            c if is_unsafe(c) && c > '\u{ffff}' => write!(word, "\\U{:08x}", u32::from(c)),
            c if is_unsafe(c) => write!(word, "\\u{:04x}", u32::from(c)),
            c => word.write_char(c),
        };
    }
    word.push('\'');
    word
}

pub(super) const fn anomaly_words(kind: AnomalyKind) -> &'static str {
    match kind {
        AnomalyKind::Malformed => "A message cannot be read",
        AnomalyKind::OutOfTurn => "A message is out of sequence",
        AnomalyKind::Gap => "Bytes are missing from the capture",
        AnomalyKind::OverlapConflict => "Two copies of the same bytes differ",
        AnomalyKind::NotTaken => "A packet counts for nothing",
        AnomalyKind::Limit => "A limit was reached",
        AnomalyKind::InputTruncated => "The input ends in the middle of a record",
        AnomalyKind::InputCorrupt => "The input is damaged",
        AnomalyKind::InputUnreadable => "The input cannot be read",
        AnomalyKind::UnsupportedLink => "The input has frames of an unsupported link type",
        AnomalyKind::InterfaceDown => "The interface went down",
        AnomalyKind::InterfaceUp => "The interface is up again",
        AnomalyKind::InterfaceGone => "The interface is gone",
        AnomalyKind::KeyLog => "Inside of TLS unknown",
        AnomalyKind::KeyLabels => "Labels in the key log",
        AnomalyKind::ClocksAligned => "Another clock",
        AnomalyKind::ClocksApart => "Clocks that do not fit",
        AnomalyKind::AddressTranslated => "Other addresses at another sensor",
        AnomalyKind::SameHandshake => "The same handshake at another sensor",
        AnomalyKind::NotSaved => "Packets are not saved",
    }
}

/// What the sender of a packet did, in words for people who do not know the protocol.
pub(super) fn action(shows: &Shows) -> Option<&'static str> {
    Some(match shows {
        Shows::Epmd { message: EpmdTag::PORT_PLEASE2_REQ, .. } => "asked for a port",
        Shows::Epmd { message: EpmdTag::PORT2_RESP, .. } => "answered",
        Shows::Syn => "tried to connect",
        Shows::Handshake { message, .. } => match message {
            MessageKind::SendName => "gave its name",
            MessageKind::Status => "gave a status",
            MessageKind::Challenge => "gave its name and a challenge",
            MessageKind::Complement => return None,
            MessageKind::ChallengeReply => "answered the challenge",
            MessageKind::ChallengeAck => "acknowledged the answer",
        },
        Shows::Close { is_reset: false, .. } => "closed the connection",
        Shows::Close { is_reset: true, .. } => "reset the connection",
        _ => return None,
    })
}

pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Possible => "possible",
        Confidence::Likely => "likely",
        Confidence::Proven => "proven",
    }
}

/// Names as a list: `a`, `a and b`, or `a, b and c`.
pub(super) fn listed(names: &[impl AsRef<str>]) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Whether a packet has no time, or none was read.
fn is_unknown(at: Timestamp) -> bool {
    at == Timestamp::default()
}

/// Date and time of day.
pub(super) fn moment(zone: &Zone, at: Timestamp) -> String {
    if is_unknown(at) { UNKNOWN.to_owned() } else { stamp(zone, at) }
}

/// What text has in place of a time that a packet does not have.
const UNKNOWN: &str = "an unknown time";

/// Time of day to the millisecond.
pub(super) fn time(zone: &Zone, at: Timestamp) -> String {
    if is_unknown(at) { UNKNOWN.to_owned() } else { zone.time_of_day(at) }
}

/// Date and time of day, to the millisecond.
fn stamp(zone: &Zone, at: Timestamp) -> String {
    format!("{} {}", zone.date(at), time(zone, at))
}

/// From when to when. The second date is left out if it is the same.
pub(super) fn span(zone: &Zone, first: Timestamp, last: Timestamp) -> String {
    if is_unknown(last) {
        return format!("at {UNKNOWN}");
    }
    let is_same_day = zone.date(first) == zone.date(last);
    let end = if is_same_day { time(zone, last) } else { stamp(zone, last) };
    format!("from {} to {end}", stamp(zone, first))
}

/// A time span in its one or two largest units.
pub(super) fn duration(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let tenths = |unit: u64| format!("{}.{}", micros / unit, micros % unit * 10 / unit);
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", tenths(1_000)),
        1_000_000..60_000_000 => format!("{} s", tenths(1_000_000)),
        60_000_000..3_600_000_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A size in decimal units, with one decimal that is cut and not rounded.
pub(super) fn bytes(n: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", n / unit, n % unit / (unit / 10));
    match n {
        0..1_000 => count(n, "byte"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// A number of things, as `1 packet` or `1,234 packets`.
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{} {}", grouped(n), plural(n, what))
}

/// The word for so many things: `packet` for one, `packets` for more or none.
pub fn plural(n: u64, what: &str) -> String {
    format!("{what}{}", if n == 1 { "" } else { "s" })
}

/// A number of times, as `once` or `3 times`.
pub(super) fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { count(n, "time") }
}

/// Digits in groups of three.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `text` in lines of at most `width` columns: the first after `lead`, the others after as many
/// blanks. A word longer than a line has a line of its own and exceeds it.
pub fn wrapped(lead: &str, text: &str, width: usize) -> String {
    let start = lead.chars().count();
    let mut lines = lead.to_owned();
    let mut column = start;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let len = word.chars().count();
        if column > start && column + 1 + len > width {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', start));
            column = start;
        } else if column > start {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += len;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_and_long_words_exceed_the_width() {
        let lines = wrapped("- ", "aa bb cc dd  eeeeeeeeeeee ff", 10);
        assert_eq!(lines, "- aa bb cc\n  dd\n  eeeeeeeeeeee\n  ff\n");
    }

    #[test]
    fn a_word_of_a_shell_is_one_word_whatever_it_has() {
        for (text, word) in [
            ("a-1/b.pcap", "a-1/b.pcap"),
            ("", "''"),
            ("-r", "'./-r'"),
            ("a b;rm -rf $HOME", "'a b;rm -rf $HOME'"),
            ("it's", r"'it'\''s'"),
            ("\x1b[2J'", r"$'\u001b[2J\''"),
            ("a\u{e0041}", r"$'a\U000e0041'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[test]
    fn spans_and_sizes_have_units_that_fit() {
        let spans = [999, 1_500, 12_345_678, 185_000_000, 7_500_000_000].map(duration);
        assert_eq!(spans, ["999 µs", "1.5 ms", "12.3 s", "3 min 5 s", "2 h 5 min"]);
        let sizes = [1, 999, 1_200, 1_250_000, 9_900_000_000].map(bytes);
        assert_eq!(sizes, ["1 byte", "999 bytes", "1.2 kB", "1.2 MB", "9.9 GB"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
