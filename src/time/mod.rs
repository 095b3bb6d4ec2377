//! Time on the capture's clock, in nanoseconds: it comes from the packets, never from a clock of this process.

mod point;
mod zone;

pub use point::TimePoint;
pub use zone::{UnknownZone, Zone};

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// A moment on the capture's clock, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

/// A span in whole microseconds, the unit of events; at most `u64::MAX`.
#[inline]
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A span in nanoseconds; at most `u64::MAX`, which is 584 years.
#[inline]
const fn nanos(span: Duration) -> u64 {
    Timestamp::new(span.as_secs(), span.subsec_nanos() as u64).0
}

impl Timestamp {
    /// The moment `seconds` and `nanos` after 1970.
    #[inline]
    pub const fn new(seconds: u64, nanos: u64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos))
    }

    /// Whole seconds since 1970, and the remaining nanoseconds.
    pub const fn parts(self) -> (u64, u64) {
        (self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND)
    }

    /// Time from `earlier` to `self`; zero when the capture's clock went backwards in between.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// Nanoseconds from `earlier` to `self`, as [`Self::since`]: a plain subtraction for comparisons at every packet.
    #[inline]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `by` later, or the last one that a timestamp can hold.
    #[inline]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// The moment so many nanoseconds later, or earlier if they are negative.
    pub(crate) const fn shifted(self, nanos: i64) -> Self {
        Self(self.0.saturating_add_signed(nanos))
    }

    /// The moment `by` earlier, or 1970.
    #[inline]
    pub const fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    fn instant(self) -> Result<jiff::Timestamp, jiff::Error> {
        let (seconds, nanos) = self.parts();
        // Both fit: 2^64 nanoseconds are 584 years, and a second has less than 2^31 of them.
        jiff::Timestamp::new(seconds.cast_signed(), i32::try_from(nanos).unwrap_or_default())
    }

    fn of(instant: jiff::Timestamp) -> Option<Self> {
        u64::try_from(instant.as_nanosecond()).ok().map(Self)
    }
}

/// Prints RFC 3339 in UTC, always with nine decimals and `Z`, so that text order is time order.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().ok_or(fmt::Error)?.as_str())
    }
}

/// A moment as [`Timestamp`] prints it, without a string of its own: each event has one or more, and jiff's printer takes
/// four times as many instructions.
pub(crate) struct TimeText([u8; 30]);

impl TimeText {
    /// The text, which is ASCII.
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Timestamp {
    /// The moment as text; `None` beyond what jiff can hold, which no moment is.
    pub(crate) fn text(self) -> Option<TimeText> {
        let civil = Offset::UTC.to_datetime(self.instant().ok()?);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        let fields = [
            (0..4, i32::from(civil.year())),
            (5..7, i32::from(civil.month())),
            (8..10, i32::from(civil.day())),
            (11..13, i32::from(civil.hour())),
            (14..16, i32::from(civil.minute())),
            (17..19, i32::from(civil.second())),
            (20..29, civil.subsec_nanosecond()),
        ];
        for (place, value) in fields {
            let mut value = value.unsigned_abs();
            for digit in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
                value /= 10;
            }
        }
        Some(TimeText(text))
    }
}

/// Parses RFC 3339, or seconds since 1970 with up to nine decimals. A text without an offset is in UTC, and may lack
/// the seconds or the time of day.
impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        if let Some(known) = printed(text).or_else(|| epoch(text)) {
            return Ok(known);
        }
        let instant = text.parse().or_else(|_| {
            text.parse::<DateTime>().and_then(|civil| TimeZone::UTC.to_timestamp(civil))
        });
        instant.ok().and_then(Self::of).ok_or(InvalidTime)
    }
}

/// What [`TimeText`] prints; `None` for any other text. Each fact has ten or more, and jiff's parser takes six times as many
/// instructions.
fn printed(text: &str) -> Option<Timestamp> {
    let text: &[u8; 30] = text.as_bytes().try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')];
    if marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) {
        return None;
    }
    let number = |place: Range<usize>| {
        text.get(place)?.iter().try_fold(0_u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
        })
    };
    let [year, month, day] = [number(0..4)?, number(5..7)?, number(8..10)?];
    let [hour, minute, second] = [number(11..13)?, number(14..16)?, number(17..19)?];
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(is_leap),
        _ => return None,
    };
    let is_valid = (1..=days_of_month).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if year < 1970 || !is_valid {
        return None;
    }
    // Years from March on, so that a leap day is the last of its year.
    let (years, months) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = years / 4 - years / 100 + years / 400;
    let days = years * 365 + leap_days + (months * 153 + 2) / 5 + day - 1 - DAYS_BEFORE_1970;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(number(20..29)?).map(Timestamp)
}

/// Days from the first of March of the year 0 to 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

/// Seconds since 1970; `None` when `text` is something else or beyond what a timestamp can hold.
fn epoch(text: &str) -> Option<Timestamp> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_number(seconds) || !is_number(decimals) || decimals.len() > 9 {
        return None;
    }
    let nanos = format!("{decimals:0<9}").parse().ok()?;
    let whole = seconds.parse::<u64>().ok()?.checked_mul(NANOS_PER_SECOND)?;
    whole.checked_add(nanos).map(Timestamp)
}

/// The text is no time, or one that captures cannot have: before 1970, or after 2554.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected a time such as 15:30, \"10m ago\", \"2014-05-25 14:32\", 2014-05-25T14:32:25Z or 1401028345.5 \
     (seconds since 1970)"
)]
pub struct InvalidTime;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_always_has_nine_decimals() {
        assert_eq!(
            Timestamp::new(1_401_028_345, 512_000).to_string(),
            "2014-05-25T14:32:25.000512000Z"
        );
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Timestamp(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn a_time_is_parsed_in_every_common_form() {
        let at = Timestamp::new(1_401_028_320, 0);
        for text in [
            "2014-05-25T14:32:00Z",
            "2014-05-25T14:32Z",
            "2014-05-25T16:32:00+02:00",
            "2014-05-25T14:32:00",
            "2014-05-25 14:32:00.0",
            "2014-05-25 14:32",
            "1401028320",
            "1401028320.000000000",
        ] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        assert_eq!("1401028320.5".parse(), Ok(Timestamp::new(1_401_028_320, 500_000_000)));
        assert_eq!("2014-05-25".parse(), Ok(Timestamp::new(1_400_976_000, 0)));
        let last = Timestamp(u64::MAX);
        assert_eq!(last.to_string().parse(), Ok(last));
        for wrong in ["", ".", "1.", ".5", "-1", "14:32", "1969-12-31T23:59:59Z", "1.0000000001"] {
            assert_eq!(wrong.parse::<Timestamp>(), Err(InvalidTime), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_is_parsed_as_jiff_parses_it() {
        let day = 86_400 * NANOS_PER_SECOND;
        for day_of in 0..u64::MAX / day {
            let at = Timestamp(day_of * day + day_of * 7_919 % day);
            assert_eq!(printed(&at.to_string()), Some(at), "{at}");
        }
        for text in [
            "2014-02-29T00:00:00.000000000Z",
            "2014-04-31T00:00:00.000000000Z",
            "2100-02-29T00:00:00.000000000Z",
            "2014-13-01T00:00:00.000000000Z",
            "2014-00-01T00:00:00.000000000Z",
            "2014-01-00T00:00:00.000000000Z",
            "2014-01-01T24:00:00.000000000Z",
            "2014-01-01T00:60:00.000000000Z",
            "2014-01-01T00:00:60.000000000Z",
            "2014-01-01T00:00:0x.000000000Z",
            "1969-12-31T23:59:59.000000000Z",
            "2554-07-21T23:34:33.709551616Z",
            "9999-12-31T23:59:59.999999999Z",
            "2014-01-01T00:00:00.00000000Z0",
        ] {
            assert_eq!(printed(text), None, "{text}");
        }
        assert_eq!("2016-02-29T00:00:00.000000000Z".parse(), Ok(Timestamp::new(1_456_704_000, 0)));
    }

    #[test]
    fn a_clock_that_went_backwards_gives_no_negative_duration() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
