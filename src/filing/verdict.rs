//! From the outcome of a try to what becomes of the record (design, section 5).
//!
//! Invariant: a pure function, total over every status a peer may send; it
//! knows neither the record nor the destination's past.

use std::time::Duration;

use super::PostOutcome;
use base::wire::NoAnswer;
use base::words;

/// Longest `Retry-After` that is obeyed (design, section 5).
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What an outcome means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// 2xx: it is there.
    Filed,
    /// 409: it is there, unless an earlier try of the same record may be in progress.
    Conflict,
    /// Try again later.
    Later {
        /// Holds the whole destination; at most [`RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
        /// How it came about.
        how: Later,
        /// As it is counted.
        cause: PostFailure,
        /// For people.
        error: String,
    },
    /// 401, 403, 3xx: the destination is closed to us; not the record's fault.
    Closed {
        /// The status.
        status: u16,
    },
    /// Any other 4xx: needs a person.
    Refused {
        /// The status.
        status: u16,
        /// For people.
        error: String,
    },
    /// It can never be sent; needs a person.
    Unreadable {
        /// For people.
        error: String,
    },
    /// It was not sent, and may be soon: no try, and nobody's fault at the other end.
    NotSent {
        /// For people.
        error: String,
    },
}

/// Why a record has to wait, as far as it tells of the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Later {
    /// It answered.
    Answered(u16),
    /// It could not be reached or did not answer in time: counts towards "down".
    Unreachable(NoAnswer),
    /// It was there and broke off, or talked nonsense: that may be about this one record, and
    /// tells nothing of the destination.
    BrokenOff(NoAnswer),
}

words! {
    /// Why a try to file a record failed, as it is counted.
    PostFailure {
        /// The history manager asked to come back later.
        RateLimited = "rate-limited",
        /// It, or what stands before it, is in trouble.
        ServerError = "server-error",
        /// Nothing was sent.
        NotReached = "not-reached",
        /// The connection broke before the answer.
        BrokenOff = "broken-off",
        /// No answer came in time.
        TimedOut = "timed-out",
        /// The answer is not HTTP.
        Garbled = "garbled",
        /// It does not take this record.
        Refused = "refused",
        /// No body can be made of it.
        Unreadable = "unreadable",
        /// It answered 409, and an earlier try may be under way there.
        InProgress = "in-progress",
        /// It refuses us, or every record alike.
        Closed = "closed",
        /// It was the last try: `give-up-after` is used up.
        GivenUp = "given-up",
    }
}

/// Decides; the table in the tests is the specification.
#[must_use]
pub fn verdict(outcome: &PostOutcome) -> Verdict {
    match outcome {
        PostOutcome::Unreadable(reason) => Verdict::Unreadable {
            error: reason.clone(),
        },
        PostOutcome::NotRead(reason) => Verdict::NotSent {
            error: format!("the database could not be read: {reason}"),
        },
        PostOutcome::NoAnswer(why) => {
            let (how, cause) = match why {
                NoAnswer::NotSent | NoAnswer::Unreached(_) => {
                    (Later::Unreachable(*why), PostFailure::NotReached)
                }
                NoAnswer::TimedOut => (Later::Unreachable(*why), PostFailure::TimedOut),
                NoAnswer::Unknown => (Later::BrokenOff(*why), PostFailure::BrokenOff),
                NoAnswer::Garbled => (Later::BrokenOff(*why), PostFailure::Garbled),
            };
            Verdict::Later {
                retry_after: None,
                how,
                cause,
                error: format!("the history manager {}", why.sentence()),
            }
        }
        PostOutcome::Answered {
            status,
            retry_after,
            excerpt,
        } => match *status {
            200..=299 => Verdict::Filed,
            409 => Verdict::Conflict,
            300..=399 | 401 | 403 => Verdict::Closed { status: *status },
            408 | 425 | 429 => later(PostFailure::RateLimited, *status, *retry_after),
            400..=499 => Verdict::Refused {
                status: *status,
                error: refusal(*status, excerpt),
            },
            // 5xx, and what is no status of HTTP at all: a fault on the way, never the record's.
            _ => later(PostFailure::ServerError, *status, *retry_after),
        },
    }
}

fn later(cause: PostFailure, status: u16, retry_after: Option<Duration>) -> Verdict {
    Verdict::Later {
        retry_after: retry_after.map(|d| d.min(RETRY_AFTER_MAX)),
        how: Later::Answered(status),
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
            Verdict::Conflict => "conflict",
            Verdict::Later { .. } => "later",
            Verdict::Closed { .. } => "closed",
            Verdict::Refused { .. } => "refused",
            Verdict::Unreadable { .. } => "unreadable",
            Verdict::NotSent { .. } => "not sent",
        }
    }

    #[test]
    fn every_status_has_the_verdict_of_the_contract() {
        for status in 0..=999u16 {
            let expected = match status {
                200..=299 => "filed",
                409 => "conflict",
                408 | 425 | 429 => "later",
                401 | 403 | 300..=399 => "closed",
                400..=499 => "refused",
                _ => "later",
            };
            assert_eq!(kind(&answered(status)), expected, "{status}");
        }
    }

    #[test]
    fn only_what_was_not_reached_or_not_in_time_speaks_against_the_destination() {
        for (why, speaks, counted) in [
            (NoAnswer::NotSent, true, PostFailure::NotReached),
            (NoAnswer::TimedOut, true, PostFailure::TimedOut),
            (NoAnswer::Unknown, false, PostFailure::BrokenOff),
            (NoAnswer::Garbled, false, PostFailure::Garbled),
        ] {
            let Verdict::Later { how, cause, .. } = verdict(&PostOutcome::NoAnswer(why)) else {
                panic!("{why:?} means later");
            };
            assert_eq!(how == Later::Unreachable(why), speaks, "{why:?}");
            assert_eq!(how == Later::BrokenOff(why), !speaks, "{why:?}");
            assert_eq!(cause, counted, "{why:?}");
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
            matches!(v, Verdict::Later { retry_after: Some(d), how: Later::Answered(503), .. } if d == RETRY_AFTER_MAX)
        );
    }

    #[test]
    fn a_refusal_keeps_status_and_excerpt_for_the_person_who_looks() {
        let Verdict::Refused { error, status: 422 } = answered(422) else {
            panic!("422 must be refused");
        };
        assert!(
            error.contains("422") && error.contains("no such field"),
            "{error}"
        );
    }

    #[test]
    fn what_can_never_be_sent_is_told_from_what_could_not_be_read_just_now() {
        let v = verdict(&PostOutcome::Unreadable("the template failed".into()));
        assert_eq!(kind(&v), "unreadable");
        let v = verdict(&PostOutcome::NotRead("disk I/O error".into()));
        assert_eq!(kind(&v), "not sent");
    }
}
