//! The longest duration, and how JSON writes durations.

use std::time::Duration;

/// Nothing in the sandbox lasts longer: the calendar ends in the year 9999.
pub(crate) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Durations as whole milliseconds in JSON.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::CENTURY;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let duration = Duration::from_millis(u64::deserialize(from)?);
        if duration > CENTURY {
            return Err(D::Error::custom(format!("must be at most a century, {} ms", CENTURY.as_millis())));
        }
        Ok(duration)
    }
}
