//! Time zones: the dates and times of day of a moment, as text for people has them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Timestamp;

/// A time zone with its rules for daylight saving.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(pub(super) TimeZone);

impl Zone {
    /// Coordinated Universal Time, the zone of JSON.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The zone of this machine: that of the variable `TZ`, or of `/etc/localtime`; UTC if neither is there.
    pub fn local() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// The date, such as `2014-05-25`.
    pub fn date(&self, at: Timestamp) -> String {
        self.civil(at).map_or_else(String::new, |civil| civil.date().to_string())
    }

    /// The time of day to the millisecond, such as `14:32:25.000`; decimals beyond are cut.
    pub fn time_of_day(&self, at: Timestamp) -> String {
        let text = |civil: DateTime| {
            let (hour, minute, second) = (civil.hour(), civil.minute(), civil.second());
            format!("{hour:02}:{minute:02}:{second:02}.{:03}", civil.millisecond())
        };
        self.civil(at).map_or_else(String::new, text)
    }

    /// What the zone is called at this moment: `UTC`, `CEST`, or `UTC+03` where it has no letters of its own.
    pub fn abbreviation(&self, at: Timestamp) -> String {
        let Ok(instant) = at.instant() else { return String::new() };
        let info = self.0.to_offset_info(instant);
        let name = info.abbreviation();
        if name.starts_with(['+', '-']) { format!("UTC{name}") } else { name.to_owned() }
    }

    /// The moment at which clocks of the zone show this date and time. Where a change of the clocks leaves it out or
    /// shows it twice, the later offset or the earlier moment is taken, as RFC 5545 does.
    pub(super) fn moment(&self, civil: DateTime) -> Option<Timestamp> {
        Timestamp::of(self.0.to_timestamp(civil).ok()?)
    }

    /// The date and time of day in this zone.
    pub(super) fn civil(&self, at: Timestamp) -> Option<DateTime> {
        at.instant().ok().map(|instant| self.0.to_datetime(instant))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("the zone of this machine"))
    }
}

/// Parses `local`, `UTC`, or a name of the IANA database such as `Europe/Berlin`, whose rules are read from the
/// machine.
impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        match name {
            "local" => Ok(Self::local()),
            name if name.eq_ignore_ascii_case("utc") || name == "Z" => Ok(Self::UTC),
            name => TimeZone::get(name).map(Self).map_err(|_| UnknownZone),
        }
    }
}

/// No zone of this machine's database has the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "expected local, UTC, or a name such as Europe/Berlin that this machine knows (package tzdata, \
     /usr/share/zoneinfo)"
)]
pub struct UnknownZone;

#[cfg(test)]
mod tests {
    use super::*;

    /// Central European Time with its rules, independent of this machine's database.
    fn berlin() -> Zone {
        Zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
    }

    #[test]
    fn a_zone_has_its_own_date_time_and_name_in_summer_and_winter() {
        let summer: Timestamp = "2014-05-25T22:32:25.0009Z".parse().unwrap();
        let shown = |zone: &Zone, at| {
            format!("{} {} {}", zone.date(at), zone.time_of_day(at), zone.abbreviation(at))
        };
        assert_eq!(shown(&berlin(), summer), "2014-05-26 00:32:25.000 CEST");
        assert_eq!(shown(&Zone::UTC, summer), "2014-05-25 22:32:25.000 UTC");
        let winter = "2014-01-25T22:32:25.999999Z".parse().unwrap();
        assert_eq!(shown(&berlin(), winter), "2014-01-25 23:32:25.999 CET");
        let nameless = Zone(TimeZone::posix("<+03>-3").unwrap());
        assert_eq!(nameless.abbreviation(winter), "UTC+03");
    }

    #[test]
    fn a_time_that_the_clocks_leave_out_or_show_twice_is_a_moment_too() {
        let moment = |text: &str| berlin().moment(text.parse().unwrap()).unwrap().to_string();
        assert_eq!(moment("2014-03-30T02:30"), "2014-03-30T01:30:00.000000000Z");
        assert_eq!(moment("2014-10-26T02:30"), "2014-10-26T00:30:00.000000000Z");
    }

    #[test]
    fn zones_are_known_by_name() {
        assert_eq!("UTC".parse(), Ok(Zone::UTC));
        assert_eq!("utc".parse(), Ok(Zone::UTC));
        assert_eq!("Middle-earth/Bree".parse::<Zone>(), Err(UnknownZone));
    }
}
