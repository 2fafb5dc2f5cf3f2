//! From the outcome of a try to what becomes of the record (design, section 5).
//!
//! Invariant: a pure function, total over every status a peer may send; it
//! knows neither the record nor the destination's past.

use std::time::Duration;

use super::PostOutcome;
use crate::wire::NoAnswer;

/// Longest `Retry-After` that is obeyed (design, section 5).
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What an outcome means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// 2xx, and 409: it is there.
    Filed,
    /// Try again later.
    Later {
        /// Holds the whole destination; at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
        /// No connection or no answer came about: counts towards "down".
        unreachable: bool,
        /// Stable label of the cause.
        cause: &'static str,
        /// For people.
        error: String,
    },
    /// 401, 403, 3xx: the destination is closed to us; not the record's fault.
    Closed {
        /// The status.
        status: u16,
    },
    /// Needs a person.
    Dead {
        /// Stable label of the cause.
        cause: &'static str,
        /// For people.
        error: String,
    },
}

/// Labels of causes, for metrics; the last two come from the outbox.
pub const CAUSES: [&str; 11] = [
    "rate-limited",
    "server-error",
    "not-reached",
    "broken-off",
    "timed-out",
    "garbled",
    "refused",
    "unreadable",
    "not-read",
    "closed",
    "given-up",
];

/// Decides; the table in the tests is the specification.
#[must_use]
pub fn verdict(outcome: &PostOutcome) -> Verdict {
    match outcome {
        PostOutcome::Unreadable(reason) => Verdict::Dead {
            cause: "unreadable",
            error: reason.clone(),
        },
        PostOutcome::NotRead(reason) => Verdict::Later {
            retry_after: None,
            unreachable: false,
            cause: "not-read",
            error: format!("the database could not be read: {reason}"),
        },
        PostOutcome::NoAnswer(why) => Verdict::Later {
            retry_after: None,
            unreachable: true,
            cause: match why {
                NoAnswer::NotSent => "not-reached",
                NoAnswer::Unknown => "broken-off",
                NoAnswer::TimedOut => "timed-out",
                NoAnswer::Garbled => "garbled",
            },
            error: format!("the history manager {}", why.sentence()),
        },
        PostOutcome::Answered {
            status,
            retry_after,
            excerpt,
        } => match *status {
            200..=299 | 409 => Verdict::Filed,
            300..=399 | 401 | 403 => Verdict::Closed { status: *status },
            408 | 425 | 429 => later("rate-limited", *status, *retry_after),
            400..=499 => Verdict::Dead {
                cause: "refused",
                error: refusal(*status, excerpt),
            },
            // 5xx, and what is no status of HTTP at all: a fault on the way, never the record's.
            _ => later("server-error", *status, *retry_after),
        },
    }
}

fn later(cause: &'static str, status: u16, retry_after: Option<Duration>) -> Verdict {
    Verdict::Later {
        retry_after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)),
        unreachable: false,
        cause,
        error: format!("the history manager answered {status}"),
    }
}

fn refusal(status: u16, excerpt: &str) -> String {
    if excerpt.is_empty() {
        format!("the history manager refused it with {status}")
    } else {
        format!("the history manager refused it with {status}: {excerpt}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Verdict {
        verdict(&PostOutcome::Answered {
            status,
            retry_after: None,
            excerpt: "no such field".into(),
        })
    }

    fn kind(v: &Verdict) -> &'static str {
        match v {
            Verdict::Filed => "filed",
            Verdict::Later { .. } => "later",
            Verdict::Closed { .. } => "closed",
            Verdict::Dead { .. } => "dead",
        }
    }

    #[test]
    fn every_status_has_the_verdict_of_the_contract() {
        for status in 0..=999u16 {
            let expected = match status {
                200..=299 | 409 => "filed",
                408 | 425 | 429 => "later",
                401 | 403 | 300..=399 => "closed",
                400..=499 => "dead",
                _ => "later",
            };
            assert_eq!(kind(&answered(status)), expected, "{status}");
        }
    }

    #[test]
    fn no_answer_of_any_kind_means_later_and_counts_as_unreachable() {
        for why in [
            NoAnswer::NotSent,
            NoAnswer::Unknown,
            NoAnswer::TimedOut,
            NoAnswer::Garbled,
        ] {
            let v = verdict(&PostOutcome::NoAnswer(why));
            assert!(
                matches!(&v, Verdict::Later { unreachable: true, cause, .. } if CAUSES.contains(cause)),
                "{v:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_capped_at_an_hour() {
        let v = verdict(&PostOutcome::Answered {
            status: 503,
            retry_after: Some(Duration::from_secs(86_400)),
            excerpt: String::new(),
        });
        assert!(
            matches!(v, Verdict::Later { retry_after: Some(d), unreachable: false, .. } if d == RETRY_AFTER_MAX)
        );
    }

    #[test]
    fn a_refusal_keeps_status_and_excerpt_for_the_person_who_looks() {
        let Verdict::Dead { error, cause } = answered(422) else {
            panic!("422 must be dead");
        };
        assert!(
            error.contains("422") && error.contains("no such field"),
            "{error}"
        );
        assert_eq!(cause, "refused");
    }

    #[test]
    fn what_can_never_be_sent_is_dead_and_a_failing_database_is_not_the_records_fault() {
        let v = verdict(&PostOutcome::Unreadable("the template failed".into()));
        assert_eq!(kind(&v), "dead");
        let v = verdict(&PostOutcome::NotRead("disk I/O error".into()));
        assert_eq!(kind(&v), "later");
        assert!(
            matches!(v, Verdict::Later { cause, unreachable: false, .. } if CAUSES.contains(&cause))
        );
    }
}
