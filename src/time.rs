//! Time as the capture has it: nanoseconds, from the packets, never from a clock of this process.

use std::fmt;
use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;

/// A moment on the capture's clock, in nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment `seconds` and `nanos` after 1970.
    pub const fn new(seconds: u64, nanos: u64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos))
    }

    /// Time from `earlier` to `self`; zero when the capture's clock went backwards in between.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `by` later, or the last one that can be told.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment `by` earlier, or 1970.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// RFC 3339 in UTC, always nine decimals and `Z`, so that text order is time order.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(9));
        let nanos = i128::from(self.0);
        let instant = jiff::Timestamp::from_nanosecond(nanos).map_err(|_| fmt::Error)?;
        PRINTER.print_timestamp(&instant, jiff::fmt::StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_nine_decimals_always() {
        assert_eq!(
            Timestamp::new(1_401_028_345, 512_000).to_string(),
            "2014-05-25T14:32:25.000512000Z"
        );
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Timestamp(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn a_clock_that_went_back_gives_no_negative_duration() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
