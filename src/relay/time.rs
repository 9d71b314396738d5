//! Time stamps: RFC 3339 in UTC with milliseconds, so that they sort as text.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// The SQL of the same form for now.
pub(super) const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

fn in_one_form(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A time in seconds since 1970; one beyond the year 9999 is shown as its end.
#[cfg(feature = "server")]
pub(crate) fn from_seconds(seconds: i64) -> String {
    in_one_form(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX))
}

/// Reads an RFC 3339 time with any offset, or a date, which is its midnight in UTC.
pub(super) fn normalize(field: &str, text: &str) -> Result<String, String> {
    let timestamp = text.parse::<Timestamp>().or_else(|error| {
        let date = text.parse::<Date>().map_err(|_| error)?;
        date.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp())
    });
    match timestamp {
        Ok(timestamp) => Ok(in_one_form(timestamp)),
        Err(_) => {
            Err(format!("{field} is no time: {text:?}; write it like 2026-01-31T12:00:00Z or 2026-01-31"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[cfg(feature = "server")]
    #[test]
    fn seconds_are_shown_in_the_same_form() {
        assert_eq!(super::from_seconds(1_769_860_800), "2026-01-31T12:00:00.000Z");
        assert!(super::from_seconds(i64::MAX).starts_with("9999-12-"));
    }

    #[test]
    fn times_are_brought_to_one_form_that_sorts() {
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31T12:00:00.1239+02:00", "2026-01-31T10:00:00.123Z"),
            ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ] {
            assert_eq!(normalize("since", text).unwrap(), expected);
        }
        for text in ["", "yesterday", "2026-02-30", "12:00"] {
            assert!(normalize("since", text).unwrap_err().contains("since is no time"), "{text}");
        }
    }
}
