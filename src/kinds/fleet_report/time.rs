//! Times as shell scripts write them.

use jiff::{Timestamp, civil::DateTime, tz::Offset};

/// The text is not an unambiguous time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidTime {
    #[error("it is not a date and time; write it like 2026-01-02T03:04:05+0900")]
    NotATime,
    #[error("it has no offset from UTC; write it like 2026-01-02T03:04:05+0900, or with Z for UTC")]
    NoOffset,
}

/// Reads what `date` prints with `-Iseconds`, `--rfc-3339`, `+%FT%T%z`, `+'%F %T %z'` and the like: a date, `T` or a
/// space, a time with or without a fraction, and an offset as `Z`, `+09:00`, `+0900` or `+09`.
///
/// # Errors
/// When it is none of these. A time without an offset is refused.
pub(super) fn parse(text: &str) -> Result<Timestamp, InvalidTime> {
    let text = text.trim();
    let Some((local, offset)) = split_offset(text) else {
        return Err(if civil(text).is_some() { InvalidTime::NoOffset } else { InvalidTime::NotATime });
    };
    let local = civil(local).ok_or(InvalidTime::NotATime)?;
    let offset = seconds(offset).and_then(|s| Offset::from_seconds(s).ok()).ok_or(InvalidTime::NotATime)?;
    offset.to_timestamp(local).map_err(|_| InvalidTime::NotATime)
}

/// Splits off the offset. The date contains signs too, so the search begins at the first colon of the time.
fn split_offset(text: &str) -> Option<(&str, &str)> {
    let time = text.find(':')?;
    let sign = text[time..].find(['+', '-', 'Z', 'z'])? + time;
    Some((text[..sign].trim_end(), &text[sign..]))
}

/// Parses `2026-01-02T03:04:05.678`, but none of the other formats of jiff.
fn civil(text: &str) -> Option<DateTime> {
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b':' | b'.' | b',' | b'T' | b't' | b' ');
    let shaped = text.len() >= "2026-01-02T03:04".len() && text.bytes().all(plain);
    if shaped { text.parse().ok() } else { None }
}

fn seconds(offset: &str) -> Option<i32> {
    if offset.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    let number = |text: &str| if text.len() == 2 { text.parse::<u8>().ok() } else { None };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= 23 && minutes <= 59).then(|| sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::shell_offset("2026-01-02T03:04:05+0900", "2026-01-01T18:04:05Z")]
    #[case::iso_offset("2026-01-02T03:04:05+09:00", "2026-01-01T18:04:05Z")]
    #[case::utc("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")]
    #[case::lower_case("2026-01-02t03:04:05z", "2026-01-02T03:04:05Z")]
    #[case::west("2026-01-02T03:04:05-0330", "2026-01-02T06:34:05Z")]
    #[case::hours_only("2026-01-02T03:04:05+09", "2026-01-01T18:04:05Z")]
    #[case::fraction("2026-01-02T03:04:05.25+0900", "2026-01-01T18:04:05.25Z")]
    #[case::comma_of_gnu_date("2026-01-02T03:04:05,250000000+09:00", "2026-01-01T18:04:05.25Z")]
    #[case::space("2026-01-02 03:04:05+0900", "2026-01-01T18:04:05Z")]
    #[case::rfc_3339_of_gnu_date("2026-01-02 03:04:05+09:00", "2026-01-01T18:04:05Z")]
    #[case::space_before_offset("2026-01-02 03:04:05 +0900", "2026-01-01T18:04:05Z")]
    #[case::no_seconds("2026-01-02T03:04+0900", "2026-01-01T18:04:00Z")]
    #[case::newline("2026-01-02T03:04:05Z\n", "2026-01-02T03:04:05Z")]
    #[case::leap_day("2028-02-29T00:00:00+0000", "2028-02-29T00:00:00Z")]
    fn times_in_the_formats_of_scripts_are_parsed(#[case] text: &str, #[case] expected: Timestamp) {
        assert_eq!(parse(text), Ok(expected));
    }

    #[rstest]
    #[case("", InvalidTime::NotATime)]
    #[case("yesterday", InvalidTime::NotATime)]
    #[case("1767312000", InvalidTime::NotATime)]
    #[case("2026-01-02", InvalidTime::NotATime)]
    #[case("2026-13-02T03:04:05Z", InvalidTime::NotATime)]
    #[case("2026-02-30T03:04:05Z", InvalidTime::NotATime)]
    #[case("2026-01-02T25:04:05Z", InvalidTime::NotATime)]
    #[case("2026-01-02T03:04:05", InvalidTime::NoOffset)]
    #[case("2026-01-02 03:04:05", InvalidTime::NoOffset)]
    #[case("2026-01-02T03:04:05 JST", InvalidTime::NotATime)]
    #[case("2026-01-02T03:04:05+0960", InvalidTime::NotATime)]
    #[case("2026-01-02T03:04:05+9", InvalidTime::NotATime)]
    #[case("2026-01-02T03:04:05+09:00:00", InvalidTime::NotATime)]
    #[case("2026-01-02T03:04:05+0900 and more", InvalidTime::NotATime)]
    #[case("2026-01-02T03:04:05Z[Asia/Tokyo]", InvalidTime::NotATime)]
    #[case("２０２６-01-02T03:04:05Z", InvalidTime::NotATime)]
    fn other_texts_are_rejected(#[case] text: &str, #[case] expected: InvalidTime) {
        assert_eq!(parse(text), Err(expected));
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in ".{0,48}") {
            let _ = parse(&text);
        }

        #[test]
        fn almost_valid_times_do_not_cause_a_panic(text in "[0-9TZ:+. ,é-]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn every_time_survives_the_format_of_a_shell(second in 0i64..4_000_000_000, quarters in -56i32..=56) {
            let moment = Timestamp::from_second(second).unwrap();
            let local = Offset::from_seconds(quarters * 900).unwrap().to_datetime(moment);
            let (sign, minutes) = (if quarters < 0 { '-' } else { '+' }, quarters.abs() * 15);
            let text = format!("{local}{sign}{:02}{:02}", minutes / 60, minutes % 60);
            prop_assert_eq!(parse(&text), Ok(moment));
        }
    }
}
