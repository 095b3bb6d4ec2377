//! Times as a user writes them, which may need a zone, or the last packet of a capture, to be a moment.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use super::{InvalidTime, Timestamp, Zone, epoch};

/// A time as a user writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimePoint(Form);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// With an offset, or as seconds since 1970.
    Moment(Timestamp),
    /// A date, with or without a time of day.
    Civil(DateTime),
    /// A time of day on the day of the last packet.
    OfDay(Time, Option<Offset>),
    /// A time before the last packet.
    Ago(Duration),
}

impl TimePoint {
    /// Whether only the last packet of the capture makes it a moment.
    pub const fn needs_last(&self) -> bool {
        matches!(self.0, Form::OfDay(..) | Form::Ago(_))
    }

    /// The moment, where a time without an offset is one of `zone`, and the last packet is at `last`. `None` if it
    /// [needs](Self::needs_last) a last packet and there is none, or is before 1970.
    pub fn moment(&self, zone: &Zone, last: Option<Timestamp>) -> Option<Timestamp> {
        match self.0 {
            Form::Moment(at) => Some(at),
            Form::Civil(civil) => zone.moment(civil),
            Form::Ago(span) => Some(last?.before(span)),
            Form::OfDay(time, offset) => {
                let own = offset.map(TimeZone::fixed).map(Zone);
                let zone = own.as_ref().unwrap_or(zone);
                let day = zone.civil(last?)?.date();
                zone.moment(day.to_datetime(time))
            }
        }
    }
}

/// Parses what [`Timestamp`] parses, a time of day (`15:30`, `15:30:07.5`, `15:30+02:00`, `15:30Z`), and a time before
/// the last packet (`90s ago`, `10m ago`, `2h ago`, `1d ago`).
impl FromStr for TimePoint {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let text = text.trim();
        let form = epoch(text)
            .map(Form::Moment)
            .or_else(|| ago(text).map(Form::Ago))
            .or_else(|| of_day(text))
            .or_else(|| text.parse().ok().and_then(Timestamp::of).map(Form::Moment))
            .or_else(|| text.parse().ok().map(Form::Civil))
            .or_else(|| text.parse::<Date>().ok().map(|date| Form::Civil(date.into())));
        form.map(Self).ok_or(InvalidTime)
    }
}

/// A whole number of seconds, minutes, hours or days, as `10m ago`.
fn ago(text: &str) -> Option<Duration> {
    let span = text.strip_suffix("ago")?.trim_end();
    let digits = span.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match span.get(digits.len()..)? {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let count: u64 = digits.trim_end().parse().ok()?;
    count.checked_mul(unit).map(Duration::from_secs)
}

/// A time of day with minutes at least, and an offset if it has one.
fn of_day(text: &str) -> Option<Form> {
    let has_minutes = text.as_bytes().get(2) == Some(&b':');
    if !has_minutes {
        return None;
    }
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some(Form::OfDay(time.parse().ok()?, Some(Offset::UTC)));
    }
    let Some(at) = text.rfind(['+', '-']) else {
        return Some(Form::OfDay(text.parse().ok()?, None));
    };
    let (time, offset) = text.split_at_checked(at)?;
    Some(Form::OfDay(time.parse().ok()?, Some(offset_of(offset)?)))
}

/// An offset from UTC, as `+02:00`, `+0200` or `-05`.
fn offset_of(text: &str) -> Option<Offset> {
    let (sign, digits) = text.split_at_checked(1)?;
    let digits = digits.replace(':', "");
    if !digits.bytes().all(|c| c.is_ascii_digit()) || !matches!(digits.len(), 2 | 4) {
        return None;
    }
    let hours: i32 = digits.get(..2)?.parse().ok()?;
    let minutes: i32 =
        digits.get(2..).filter(|it| !it.is_empty()).map_or(Ok(0), str::parse).ok()?;
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str, zone: &Zone, last: Option<&str>) -> Option<String> {
        let last = last.map(|last| last.parse().unwrap());
        let point: TimePoint = text.parse().unwrap();
        point.moment(zone, last).map(|at| at.to_string()[..19].to_owned())
    }

    fn tokyo() -> Zone {
        Zone(TimeZone::posix("JST-9").unwrap())
    }

    const LAST: Option<&str> = Some("2014-05-25T20:00:00Z");

    #[test]
    fn a_time_without_an_offset_is_one_of_the_zone() {
        for (text, utc, local) in [
            ("2014-05-25T14:32:00Z", "2014-05-25T14:32:00", "2014-05-25T14:32:00"),
            ("2014-05-25 14:32", "2014-05-25T14:32:00", "2014-05-25T05:32:00"),
            ("2014-05-25", "2014-05-25T00:00:00", "2014-05-24T15:00:00"),
            ("1401028320.5", "2014-05-25T14:32:00", "2014-05-25T14:32:00"),
        ] {
            assert_eq!(moment(text, &Zone::UTC, None).as_deref(), Some(utc), "{text}");
            assert_eq!(moment(text, &tokyo(), None).as_deref(), Some(local), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_one_of_the_day_of_the_last_packet() {
        // In Tokyo, the last packet is of the 26th.
        for (text, utc, local) in [
            ("15:30", "2014-05-25T15:30:00", "2014-05-26T06:30:00"),
            ("15:30:07.25", "2014-05-25T15:30:07", "2014-05-26T06:30:07"),
            ("15:30Z", "2014-05-25T15:30:00", "2014-05-25T15:30:00"),
            ("15:30+02:00", "2014-05-25T13:30:00", "2014-05-25T13:30:00"),
            ("15:30-0330", "2014-05-25T19:00:00", "2014-05-25T19:00:00"),
        ] {
            assert_eq!(moment(text, &Zone::UTC, LAST).as_deref(), Some(utc), "{text}");
            assert_eq!(moment(text, &tokyo(), LAST).as_deref(), Some(local), "{text}");
            assert_eq!(moment(text, &tokyo(), None), None, "{text}");
        }
    }

    #[test]
    fn a_time_ago_counts_from_the_last_packet() {
        for (text, at) in [
            ("90s ago", "2014-05-25T19:58:30"),
            ("10m ago", "2014-05-25T19:50:00"),
            ("10 min ago", "2014-05-25T19:50:00"),
            ("2h ago", "2014-05-25T18:00:00"),
            ("1d ago", "2014-05-24T20:00:00"),
        ] {
            assert_eq!(moment(text, &tokyo(), LAST).as_deref(), Some(at), "{text}");
            assert_eq!(moment(text, &tokyo(), None), None, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for wrong in [
            "",
            "yesterday",
            "ago",
            "m ago",
            "1w ago",
            "-5m ago",
            "25:00",
            "15:30+2",
            "15:30+99:00",
            "1:2",
        ] {
            assert_eq!(wrong.parse::<TimePoint>(), Err(InvalidTime), "{wrong}");
        }
    }
}
