//! Schedules in the dialect of a CronJob: five fields, in a time zone.

use cronexpr::{Crontab, MakeTimestamp};
use jiff::Timestamp;

/// When something repeats.
#[derive(Clone, Debug)]
pub struct Schedule(Crontab);

const MONTHS_AND_DAYS: &str = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC SUN MON TUE WED THU FRI SAT";

impl Schedule {
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(schedule: &str, time_zone: &str) -> Result<Self, String> {
        let fields: Vec<_> = schedule.split_ascii_whitespace().collect();
        if fields.len() != 5 {
            return Err(format!(
                "{schedule:?} has {} fields; write five: minute, hour, day of the month, month and day of the week, like \
                 0 2 * * *",
                fields.len()
            ));
        }
        if let Some(bad) =
            fields.iter().flat_map(|field| field.split(['*', ',', '-', '/'])).find(|atom| !is_plain(atom))
        {
            return Err(format!(
                "{bad:?} in {schedule:?} is not part of the dialect of a CronJob; use numbers, names like MON or JAN, lists, \
                 ranges and steps"
            ));
        }
        jiff::tz::TimeZone::get(time_zone).map_err(|_| {
            format!("{time_zone:?} is not a time zone; write a name of the IANA database, like Asia/Tokyo or UTC")
        })?;
        let crontab = cronexpr::parse_crontab(&format!("{schedule} {time_zone}"));
        crontab.map(Self).map_err(|error| format!("{schedule:?} is not a schedule: {}", one_line(&error.to_string())))
    }

    /// The first time after `time`; `None` if there is none within a few years.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.0.find_next(MakeTimestamp(time)).ok().map(|next| next.timestamp())
    }
}

fn is_plain(atom: &str) -> bool {
    atom.bytes().all(|b| b.is_ascii_digit()) || MONTHS_AND_DAYS.split(' ').any(|name| name.eq_ignore_ascii_case(atom))
}

/// The last line of a parser's message, which has a picture of the input before it.
fn one_line(message: &str) -> &str {
    message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let found = Schedule::parse(schedule, zone).unwrap().next_after(after.parse().unwrap());
        found.map(|time| time.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_schedule_is_read_as_in_a_cron_job() {
        for (schedule, zone, after, expected) in [
            ("0 2 * * *", "UTC", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00Z"),
            ("0 2 * * *", "UTC", "2026-03-01T02:00:00Z", "2026-03-02T02:00:00Z"),
            ("0 2 * * *", "Asia/Tokyo", "2026-03-01T00:00:00Z", "2026-03-01T17:00:00Z"),
            ("*/15 9-17 * jan,jul mon-fri", "UTC", "2026-03-01T00:00:00Z", "2026-07-01T09:00:00Z"),
            ("0 0 1 * 0", "UTC", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"),
            // In winter it is an hour later than in summer.
            ("0 12 * * *", "Europe/Berlin", "2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z"),
            ("0 12 * * *", "Europe/Berlin", "2026-10-24T10:00:00Z", "2026-10-25T11:00:00Z"),
            // 02:30 comes twice, and the first time counts.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(next(schedule, zone, after), expected, "{schedule} {zone}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_to_write() {
        for (schedule, zone, told) in [
            ("0 2 * *", "UTC", "has 4 fields"),
            ("0 0 2 * * *", "UTC", "has 6 fields"),
            ("0 2 L * *", "UTC", "dialect of a CronJob"),
            ("0 2 15W * *", "UTC", "dialect of a CronJob"),
            ("0 2 * * 5#3", "UTC", "dialect of a CronJob"),
            ("0 25 * * *", "UTC", "is not a schedule"),
            ("0 2 * * *", "Tokyo", "is not a time zone"),
        ] {
            let error = Schedule::parse(schedule, zone).unwrap_err();
            assert!(error.contains(told) && !error.contains('\n'), "{schedule}: {error}");
        }
    }
}
