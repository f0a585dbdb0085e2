//! Times of the week.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use registry_core::{Error, ErrorKind, Result};

/// The longest text that can be a window.
const TEXT_MAX: usize = 128;

/// The names of the days, in the order of the week.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// 1970 began on a Thursday.
const DAY_OF_EPOCH: i64 = 3;

const MINUTES_OF_DAY: u16 = 24 * 60;

/// Certain hours on certain days, by the clock of some place.
///
/// Written as days, hours and time zone: `mon-fri 08:00-18:00 Europe/Berlin`.
///
/// * Days are optional: single ones and ranges, separated by commas
///   (`mon-wed,fri`), and a range may go over the weekend (`sat-mon`).
/// * The first minute belongs to it, the last doesn't. The end of a day is
///   `24:00`. Hours that end before they start go past midnight and belong to
///   the day they start: `fri 22:00-06:00` is until Saturday morning.
/// * The zone is UTC if absent, an offset such as `+02:00`, or, with the feature
///   `policy`, a name such as `Europe/Berlin` that the system has to know. It
///   is what clocks on the wall show there that counts: an hour that comes twice
///   when summer ends is in it twice.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use registry_auth::TimeWindow;
///
/// let working: TimeWindow = "mon-fri 08:00-18:00 +01:00".parse()?;
/// // 1970 began on a Thursday.
/// let hour = |hour: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600);
/// assert!(working.contains(hour(7)));
/// assert!(!working.contains(hour(17)));
/// assert!(!working.contains(hour(48 + 7)));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeWindow {
    days: [bool; 7],
    /// Minutes since midnight.
    start: u16,
    /// How many minutes it lasts: at most a day.
    length: u16,
    zone: Zone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Zone {
    /// Seconds ahead of UTC.
    Offset(i32),
    #[cfg(feature = "policy")]
    Named(jiff::tz::TimeZone),
}

impl TimeWindow {
    /// Whether `at` is in it.
    pub fn contains(&self, at: SystemTime) -> bool {
        let unix = unix_seconds(at);
        let local = unix.saturating_add(self.zone.offset(unix).into());
        let minutes = local.div_euclid(60).saturating_sub(self.start.into());
        // How long it has gone on, had it started on the last day that it could.
        let since = minutes.rem_euclid(MINUTES_OF_DAY.into());
        since < self.length.into() && self.is_on(minutes.div_euclid(MINUTES_OF_DAY.into()))
    }

    /// Whether it starts on the day that comes `day` days after the first of
    /// 1970.
    fn is_on(&self, day: i64) -> bool {
        usize::try_from(day.saturating_add(DAY_OF_EPOCH).rem_euclid(7))
            .ok()
            .and_then(|day| self.days.get(day))
            .is_some_and(|on| *on)
    }
}

/// Whole seconds since 1970, rounded down.
fn unix_seconds(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let started = u64::from(before.subsec_nanos() > 0);
            i64::try_from(before.as_secs().saturating_add(started))
                .map_or(i64::MIN, i64::saturating_neg)
        }
    }
}

impl Zone {
    /// How many seconds it is ahead of UTC, at that time.
    fn offset(&self, #[allow(unused_variables)] unix: i64) -> i32 {
        match self {
            Self::Offset(seconds) => *seconds,
            #[cfg(feature = "policy")]
            Self::Named(zone) => {
                // Beyond the year 9999, it stays as it was.
                let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
                let known = unix.clamp(first.as_second(), last.as_second());
                let at = jiff::Timestamp::from_second(known).unwrap_or_default();
                zone.to_offset(at).seconds()
            }
        }
    }

    fn parse(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("utc") {
            return Ok(Self::Offset(0));
        }
        let ahead = |digits| clock(digits).filter(|minutes| *minutes <= 14 * 60);
        let (sign, digits) = match text.split_at_checked(1) {
            Some(("+", digits)) => (60, digits),
            Some(("-", digits)) => (-60, digits),
            _ => return Self::named(text),
        };
        let minutes = ahead(digits).ok_or_else(|| {
            ErrorKind::RequestInvalid.error(format!(
                "the offset {text:?} is malformed; write hours and minutes, such as +02:00, at \
                 most 14:00"
            ))
        })?;
        Ok(Self::Offset(i32::from(minutes).saturating_mul(sign)))
    }

    #[cfg(feature = "policy")]
    fn named(name: &str) -> Result<Self> {
        jiff::tz::TimeZone::get(name)
            .map(Self::Named)
            .map_err(|source| {
                ErrorKind::RequestInvalid
                    .error(format!(
                        "the time zone {name:?} isn't known to this system; write UTC, an offset \
                         such as +02:00, or a name such as Europe/Berlin"
                    ))
                    .with_source(source)
            })
    }

    #[cfg(not(feature = "policy"))]
    fn named(name: &str) -> Result<Self> {
        Err(ErrorKind::RequestInvalid.error(format!(
            "the time zone {name:?} can't be looked up without the feature `policy`; write UTC or \
             an offset such as +02:00"
        )))
    }
}

/// Minutes since midnight, from exactly `HH:MM`.
fn clock(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    let (hours, minutes) = (number(hours)?, number(minutes).filter(|some| *some < 60)?);
    hours.checked_mul(60)?.checked_add(minutes)
}

/// The days of a list such as `mon-wed,fri`.
fn days(text: &str) -> Result<[bool; 7]> {
    let index = |name: &str| {
        let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            ErrorKind::RequestInvalid.error(format!(
                "the day {name:?} is unknown; write mon, tue, wed, thu, fri, sat or sun"
            ))
        })
    };
    let mut days = [false; 7];
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (index(first)?, index(last)?);
        for (day, on) in days.iter_mut().enumerate() {
            *on |= if first <= last {
                (first..=last).contains(&day)
            } else {
                day >= first || day <= last
            };
        }
    }
    Ok(days)
}

impl FromStr for TimeWindow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let what = "write days, hours and time zone, such as mon-fri 08:00-18:00 Europe/Berlin";
        if text.len() > TEXT_MAX {
            return Err(ErrorKind::RequestInvalid.error(format!("the times are too long; {what}")));
        }
        let words: Vec<_> = text.split_whitespace().collect();
        let starts_with_hours = words
            .first()
            .is_some_and(|word| word.starts_with(|char: char| char.is_ascii_digit()));
        let (named, hours, zone) = match (starts_with_hours, words.as_slice()) {
            (true, [hours]) => (None, hours, None),
            (true, [hours, zone]) => (None, hours, Some(zone)),
            (false, [days, hours]) => (Some(days), hours, None),
            (false, [days, hours, zone]) => (Some(days), hours, Some(zone)),
            _ => {
                return Err(ErrorKind::RequestInvalid
                    .error(format!("the times {text:?} are malformed; {what}")));
            }
        };
        let days = named.map_or(Ok([true; 7]), |list| days(list))?;
        let (start, end) = hours
            .split_once('-')
            .and_then(|(start, end)| Some((clock(start)?, clock(end)?)))
            .filter(|(start, end)| *start < MINUTES_OF_DAY && *end <= MINUTES_OF_DAY)
            .ok_or_else(|| {
                ErrorKind::RequestInvalid.error(format!(
                    "the hours {hours:?} are malformed; write them such as 08:00-18:00, from \
                     00:00 to 24:00"
                ))
            })?;
        let length = match end.cmp(&start) {
            Ordering::Greater => end.saturating_sub(start),
            // On the next day.
            Ordering::Less => end.saturating_add(MINUTES_OF_DAY).saturating_sub(start),
            Ordering::Equal => {
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "the hours {hours:?} have no end; write 00:00-24:00 for the whole day"
                )));
            }
        };
        let zone = zone.map_or(Ok(Zone::Offset(0)), |name| Zone::parse(name))?;
        Ok(Self {
            days,
            start,
            length,
            zone,
        })
    }
}

impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != [true; 7] {
            let mut separator = "";
            let days: Vec<_> = DAYS.iter().zip(self.days).collect();
            for run in days.chunk_by(|(_, one), (_, next)| one == next) {
                match run {
                    [(day, true)] => write!(f, "{separator}{day}")?,
                    [(first, true), .., (last, _)] => write!(f, "{separator}{first}-{last}")?,
                    _ => continue,
                }
                separator = ",";
            }
            f.write_str(" ")?;
        }
        let end = self.start.saturating_add(self.length);
        // At midnight, it is the end of the day that it starts on.
        let end = match end.checked_sub(MINUTES_OF_DAY) {
            Some(end @ 1..) => end,
            _ => end,
        };
        write!(
            f,
            "{:02}:{:02}-{:02}:{:02} {}",
            self.start / 60,
            self.start % 60,
            end / 60,
            end % 60,
            self.zone
        )
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(0) => f.write_str("UTC"),
            Self::Offset(seconds) => {
                let sign = if seconds.is_negative() { '-' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            #[cfg(feature = "policy")]
            Self::Named(zone) => f.write_str(zone.iana_name().unwrap_or("UTC")),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking"
)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::TimeWindow;

    fn window(text: &str) -> TimeWindow {
        text.parse().unwrap()
    }

    /// Some hour and minute of that day, in UTC; day 0 is Monday the 5th of
    /// January 1970.
    fn at(day: u64, time: &str) -> SystemTime {
        let (hour, minute) = time.split_once(':').unwrap();
        let number = |text: &str| text.parse::<u64>().unwrap();
        let minutes = (4 + day) * 24 * 60 + number(hour) * 60 + number(minute);
        UNIX_EPOCH + Duration::from_secs(minutes * 60)
    }

    #[test]
    fn hours_count_from_the_first_minute_to_before_the_last() {
        for (text, yes, no) in [
            (
                "mon-fri 08:00-18:00",
                &[(0, "08:00"), (4, "17:59")][..],
                &[(0, "07:59"), (4, "18:00"), (5, "12:00"), (6, "12:00")][..],
            ),
            (
                "08:00-18:00",
                &[(5, "08:00"), (6, "17:59")],
                &[(5, "18:00")],
            ),
            (
                "sat-mon,wed 00:00-24:00",
                &[(5, "00:00"), (6, "12:00"), (0, "23:59"), (2, "00:00")],
                &[(1, "00:00"), (3, "00:00"), (4, "23:59")],
            ),
            (
                "fri 22:00-06:00",
                &[(4, "22:00"), (4, "23:59"), (5, "00:00"), (5, "05:59")],
                &[(4, "00:00"), (4, "21:59"), (5, "06:00"), (5, "22:00")],
            ),
            (
                "sun 23:00-01:00",
                &[(6, "23:00"), (0, "00:59"), (7, "00:00")],
                &[(0, "23:00"), (6, "00:59"), (0, "01:00")],
            ),
            (
                "tue 22:00-00:00",
                &[(1, "23:59")],
                &[(2, "00:00"), (1, "00:00")],
            ),
            (
                "mon 00:00-01:00 +02:00",
                &[(6, "22:00"), (6, "22:59")],
                &[(0, "00:00"), (6, "21:59"), (6, "23:00")],
            ),
            (
                "mon 20:00-24:00 -09:30",
                &[(1, "05:30"), (1, "09:29")],
                &[(1, "05:29"), (1, "09:30"), (0, "20:00")],
            ),
        ] {
            for (day, time) in yes {
                assert!(
                    window(text).contains(at(*day, time)),
                    "{text}: {day} {time}"
                );
            }
            for (day, time) in no {
                assert!(
                    !window(text).contains(at(*day, time)),
                    "{text}: {day} {time}"
                );
            }
        }
    }

    #[test]
    fn seconds_and_times_before_1970_are_in_the_minute_they_belong_to() {
        let last = window("wed 23:59-24:00");
        let before = |millis| UNIX_EPOCH - Duration::from_millis(millis);
        assert!(last.contains(before(1)) && last.contains(before(60_000)));
        assert!(!last.contains(UNIX_EPOCH) && !last.contains(before(60_001)));
        let noon = window("12:00-12:01");
        assert!(noon.contains(at(0, "12:00") + Duration::from_millis(59_999)));
        assert!(!noon.contains(at(0, "12:01")));
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (text, written) in [
            ("mon-fri 08:00-18:00", "mon-fri 08:00-18:00 UTC"),
            ("  Mon-FRI   08:00-18:00  utc ", "mon-fri 08:00-18:00 UTC"),
            ("mon-sun 08:00-18:00 +00:00", "08:00-18:00 UTC"),
            ("tue-mon 22:00-00:00 -00:00", "22:00-24:00 UTC"),
            (
                "sat-mon 22:00-06:00 -03:30",
                "mon,sat-sun 22:00-06:00 -03:30",
            ),
            (
                "sun,sat,sat,wed 00:00-24:00 +14:00",
                "wed,sat-sun 00:00-24:00 +14:00",
            ),
        ] {
            assert_eq!(window(text).to_string(), written);
            assert_eq!(window(text), window(written));
        }
    }

    #[test]
    fn malformed_times_are_an_error_that_says_what_to_write() {
        for (text, instead) in [
            ("", "write days, hours and time zone"),
            ("mon-fri", "write days, hours and time zone"),
            ("08:00-18:00 UTC more", "write days, hours and time zone"),
            ("mon fri 08:00-18:00", "write them such as 08:00-18:00"),
            ("mon-fri UTC", "write them such as 08:00-18:00"),
            ("mon- 08:00-18:00", "write mon, tue"),
            ("mon,,fri 08:00-18:00", "write mon, tue"),
            ("monday 08:00-18:00", "write mon, tue"),
            ("mon-wed-fri 08:00-18:00", "write mon, tue"),
            ("UTC 08:00-18:00", "write mon, tue"),
            ("8:00-18:00", "write them such as 08:00-18:00"),
            ("08:00", "write them such as 08:00-18:00"),
            ("08:00-18", "write them such as 08:00-18:00"),
            ("08:60-18:00", "write them such as 08:00-18:00"),
            ("08:00-24:01", "write them such as 08:00-18:00"),
            ("24:00-06:00", "write them such as 08:00-18:00"),
            ("08:00:00-18:00:00", "write them such as 08:00-18:00"),
            ("08:00-+1:00", "write them such as 08:00-18:00"),
            ("99:99-99:99", "write them such as 08:00-18:00"),
            ("08:00-08:00", "write 00:00-24:00"),
            ("00:00-00:00", "write 00:00-24:00"),
            ("08:00-18:00 +2:00", "such as +02:00"),
            ("08:00-18:00 +0200", "such as +02:00"),
            ("08:00-18:00 +14:01", "such as +02:00"),
            ("08:00-18:00 -", "such as +02:00"),
            ("08:00-18:00 Mars/Olympus", "such as +02:00"),
            ("08:00-18:00 ../../etc/passwd", "such as +02:00"),
            ("08:00-18:00 /etc/localtime", "such as +02:00"),
        ] {
            let error = text.parse::<TimeWindow>().expect_err(text).to_string();
            assert!(error.contains(instead), "{text:?}: {error}");
        }
        for length in [128, 129] {
            let padded = format!("{:length$}", "08:00-18:00");
            assert_eq!(padded.parse::<TimeWindow>().is_ok(), length == 128);
        }
        let long = "x".repeat(1 << 16);
        let error = long.parse::<TimeWindow>().unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }

    #[cfg(feature = "policy")]
    mod zones {
        use jiff::civil::{DateTime, Weekday};
        use jiff::{Timestamp, tz::TimeZone};
        use proptest::prelude::*;

        use super::*;

        fn utc(text: &str) -> SystemTime {
            text.parse::<Timestamp>().unwrap().into()
        }

        #[test]
        fn summer_time_is_what_the_clocks_there_show() {
            let morning = window("08:00-09:00 Europe/Berlin");
            assert!(morning.contains(utc("2026-01-15T07:00:00Z")));
            assert!(!morning.contains(utc("2026-01-15T06:59:59Z")));
            assert!(morning.contains(utc("2026-07-15T06:00:00Z")));
            assert!(!morning.contains(utc("2026-07-15T07:00:00Z")));
            // The hour from two to three comes twice, and in March not at all.
            let night = window("sun 02:00-03:00 Europe/Berlin");
            for (time, inside) in [
                ("2026-10-24T23:59:59Z", false),
                ("2026-10-25T00:00:00Z", true),
                ("2026-10-25T01:59:59Z", true),
                ("2026-10-25T02:00:00Z", false),
                ("2026-03-29T00:59:59Z", false),
                ("2026-03-29T01:00:00Z", false),
            ] {
                assert_eq!(night.contains(utc(time)), inside, "{time}");
            }
        }

        #[test]
        fn a_zone_is_written_as_it_is_called() {
            for (text, written) in [
                ("08:00-18:00 europe/berlin", "08:00-18:00 Europe/Berlin"),
                (
                    "08:00-18:00 America/New_York",
                    "08:00-18:00 America/New_York",
                ),
            ] {
                assert_eq!(window(text).to_string(), written);
                assert_eq!(window(text), window(written));
            }
        }

        #[test]
        fn times_that_no_calendar_has_are_answered() {
            let always = window("00:00-24:00 Europe/Berlin");
            let far = Duration::from_secs(1 << 40);
            assert!(always.contains(UNIX_EPOCH + far) && always.contains(UNIX_EPOCH - far));
        }

        /// In winter an hour ahead; and before there were zones, by the sun.
        #[test]
        fn beyond_the_calendar_the_clocks_go_on_as_they_did() {
            for (at, ahead) in [(1_i64 << 40, 3600), (-(1_i64 << 40), 53 * 60 + 28)] {
                let minute = (at + ahead).div_euclid(60).rem_euclid(24 * 60) as u16;
                let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
                let (start, end) = (clock(minute), clock((minute + 1) % (24 * 60)));
                let now = window(&format!("{start}-{end} Europe/Berlin"));
                let far = Duration::from_secs(at.unsigned_abs());
                let time = if at < 0 {
                    UNIX_EPOCH - far
                } else {
                    UNIX_EPOCH + far
                };
                assert!(now.contains(time), "{now}");
            }
        }

        /// Every minute of the week that a window has, counted one by one.
        fn minutes(days: &[usize], start: usize, end: usize) -> Vec<bool> {
            let mut week = vec![false; 7 * 1440];
            for day in days {
                let mut minute = day * 1440 + start;
                loop {
                    week[minute % (7 * 1440)] = true;
                    minute += 1;
                    if minute % 1440 == end % 1440 {
                        break;
                    }
                }
            }
            week
        }

        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(4000))]

            #[test]
            fn matching_follows_the_definition(
                days in proptest::sample::subsequence(vec![0, 1, 2, 3, 4, 5, 6], 1..=7),
                start in 0_usize..1440,
                end in 0_usize..=1440,
                near in proptest::bool::ANY,
                zone in proptest::sample::select(vec![
                    "", "UTC", "+05:30", "-09:15", "Europe/Berlin", "America/New_York",
                    "Australia/Lord_Howe", "Pacific/Apia",
                ]),
                second in -1_000_000_000_i64..4_000_000_000,
                minute in -2_i64..3,
            ) {
                prop_assume!(start != end % 1440 || (start, end) == (0, 1440));
                let names: Vec<_> = days.iter().map(|day| NAMES[*day]).collect();
                let hour = |minutes: usize| format!("{:02}:{:02}", minutes / 60, minutes % 60);
                let text = format!("{} {}-{} {zone}", names.join(","), hour(start), hour(end));
                let parsed: TimeWindow = text.parse().unwrap();

                let tz = match zone {
                    "" | "UTC" => TimeZone::UTC,
                    "+05:30" => jiff::tz::offset(5).saturating_add(jiff::Span::new().minutes(30)).to_time_zone(),
                    "-09:15" => jiff::tz::offset(-9).saturating_sub(jiff::Span::new().minutes(15)).to_time_zone(),
                    name => TimeZone::get(name).unwrap(),
                };
                let mut at = Timestamp::from_second(second).unwrap();
                if near {
                    // Around one of its ends.
                    let local = at.to_zoned(tz.clone()).datetime();
                    let edge = if minute % 2 == 0 { start } else { end } % 1440;
                    let moved = DateTime::from_parts(
                        local.date(),
                        jiff::civil::time((edge / 60) as i8, (edge % 60) as i8, 0, 0),
                    );
                    let zoned = moved.to_zoned(tz.clone()).unwrap().timestamp();
                    at = Timestamp::from_second(zoned.as_second() + minute).unwrap();
                }
                let local = at.to_zoned(tz).datetime();
                let weekday = Weekday::to_monday_zero_offset(local.weekday()) as usize;
                let index = weekday * 1440 + local.hour() as usize * 60 + local.minute() as usize;
                prop_assert_eq!(
                    parsed.contains(at.into()),
                    minutes(&days, start, end)[index],
                    "{} at {}", parsed, local
                );
                prop_assert_eq!(parsed.to_string().parse::<TimeWindow>().unwrap(), parsed);
            }

            #[test]
            fn no_text_panics(text in "([a-z,-]{0,9} )?[0-9:-]{0,12}( [A-Za-z/+:0-9-]{0,12})?") {
                if let Ok(window) = text.parse::<TimeWindow>() {
                    prop_assert_eq!(window.to_string().parse::<TimeWindow>().unwrap(), window);
                }
            }
        }
    }
}
