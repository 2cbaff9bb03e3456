//! The only place that reads the clock.

use jiff::{Timestamp, Zoned};

#[expect(clippy::disallowed_methods, reason = "everything else takes the time as an argument")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `time` in the local time zone of the instance.
pub fn local(time: Timestamp) -> Zoned {
    time.to_zoned(jiff::tz::TimeZone::system())
}
