//! Reads `Retry-After`, as the platform and the history manager send it.
//!
//! Pure; the caller caps the result, because the cap is a policy and differs
//! (design, section 5: one hour for the history manager).

use std::time::Duration;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::time::Wall;

/// Longer values are neither a number of seconds nor a date.
const LENGTH_MAX: usize = 64;

/// How long to wait from `now` on: a number of seconds, or one of the three
/// forms of an HTTP date (RFC 9110, sections 5.6.7 and 10.2.3). A date that has
/// passed is zero. Numbers saturate at 2^32 seconds. `None` if it is
/// neither; then the caller falls back to its own backoff.
#[must_use]
pub fn parse(header: &str, now: Wall) -> Option<Duration> {
    let header = header.trim();
    if header.is_empty() || header.len() > LENGTH_MAX {
        return None;
    }
    if header.bytes().all(|b| b.is_ascii_digit()) {
        let seconds: u64 = header.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    date(header).map(|at| at.since(now))
}

/// The preferred form, then the two that a recipient has to understand as well.
fn date(text: &str) -> Option<Wall> {
    const FORMS: [&str; 3] = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ];
    FORMS.iter().find_map(|form| {
        let at = strtime::parse(form, text).ok()?.to_datetime().ok()?;
        let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Wall(at.as_millisecond()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06T08:49:37Z, the date of the RFC's own examples.
    const RFC: Wall = Wall(784_111_777_000);

    #[test]
    fn seconds_and_all_three_forms_of_a_date_are_understood() {
        let earlier = RFC - Duration::from_secs(90);
        for (header, seconds) in [
            ("42", 42),
            (" 0 ", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 90),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 90),
            ("Sun Nov  6 08:49:37 1994", 90),
        ] {
            assert_eq!(
                parse(header, earlier),
                Some(Duration::from_secs(seconds)),
                "{header}"
            );
        }
    }

    #[test]
    fn a_date_that_has_passed_means_at_once() {
        let later = RFC + Duration::from_secs(5);
        assert_eq!(
            parse("Sun, 06 Nov 1994 08:49:37 GMT", later),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn absurd_numbers_saturate_and_anything_else_is_not_understood() {
        let huge = parse("99999999999999999999999999", RFC).unwrap();
        assert!(huge >= Duration::from_secs(86_400));
        for bad in [
            "",
            "-1",
            "+1",
            "1.5",
            "soon",
            "1e3",
            "0x10",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "９",
            &"1".repeat(65),
        ] {
            assert_eq!(parse(bad, RFC), None, "{bad}");
        }
    }
}
