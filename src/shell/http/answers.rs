//! What the intake says: outcomes of the port as replies, and its problems in words.
//!
//! Invariant: a 2xx is made here of an outcome that is committed, and of nothing else.

use std::time::Duration;

use super::exchange::Reply;
use super::intake::INTERACTIONS;
use super::view;
use crate::shell::port::Answer;
use crate::shell::problem::Problem;
use notifications::seldom::Seldom;
use store::MEMBERS_BYTES_MAX;

const STORE_PAUSE: Duration = Duration::from_secs(5);

pub(super) fn bad_id(pointer: &str, detail: &str) -> Problem {
    Problem::new(
        400,
        "bad-conversation-id",
        "The conversation id is missing or invalid",
        format!("The member {pointer} {detail}."),
    )
    .blaming(pointer, detail)
}

/// Nobody may send events while there are no tokens.
pub(super) fn no_tokens() -> Problem {
    Problem::new(
        403,
        "event-token-required",
        "Events are taken with a token only",
        "This listener has no API tokens. Set [http] api-tokens-file, and send one of them \
         in the header Authorization: Bearer.",
    )
}

pub(super) fn unknown(detail: &str) -> Problem {
    Problem::new(404, "unknown", "Not found", detail)
}

pub(super) fn nowhere() -> Problem {
    unknown("There is nothing under this path.")
}

pub(super) fn unknown_interaction() -> Problem {
    unknown("No interaction with this conversation id is known here.")
}

/// A method that the path does not have.
pub(crate) fn wrong_method(allowed: &'static str) -> Reply {
    let problem = Problem::new(
        405,
        "method-not-allowed",
        "The method is not allowed here",
        format!("This path has the methods {allowed}."),
    );
    Reply::problem(&problem).with("Allow", allowed)
}

/// No room, or no commit in time.
pub(crate) fn busy(retry_after: Duration, detail: &str) -> Reply {
    let problem = Problem::new(503, "unavailable", "Not possible at the moment", detail);
    Reply::problem(&problem).retry_after(retry_after)
}

/// Its transaction is under way for too long.
pub(crate) fn outcome_unknown() -> Reply {
    let problem = Problem::new(
        504,
        "outcome-unknown",
        "The outcome is not known yet",
        "The request is with the store, which has not finished it in time: whether it takes \
         effect is unknown. The same request, with the same Idempotency-Key where there is one, \
         may be sent again.",
    );
    Reply::problem(&problem).retry_after(STORE_PAUSE)
}

/// The store cannot be read; the log says why.
pub(crate) fn unreadable(error: &str, complaints: &Seldom) -> Reply {
    if let Some(left_out) = complaints.now() {
        log::warn!("the store cannot be read for a caller: {error}{left_out}");
    }
    busy(STORE_PAUSE, "The store cannot be read at the moment.")
}

pub(super) fn answered(answer: Answer) -> Reply {
    match answer {
        Answer::Interaction {
            conversation,
            state,
            accepted_at,
            fresh,
        } => Reply::json(
            if fresh { 202 } else { 200 },
            view::brief(conversation, state, accepted_at, None),
        )
        .with("Location", format!("{INTERACTIONS}/{conversation}")),
        Answer::Stopping {
            conversation,
            state,
            accepted_at,
            reason,
        } => Reply::json(
            202,
            view::brief(conversation, state, accepted_at, reason.as_ref()),
        ),
        Answer::AlreadyEnded {
            conversation,
            state,
            accepted_at,
            reason,
        } => Reply::json(
            200,
            view::brief(conversation, state, accepted_at, reason.as_ref()),
        ),
        Answer::NotFound => Reply::problem(&unknown_interaction()),
        Answer::SupportResult { record, state } => Reply::json(
            202,
            format!("{{\"recordId\":\"{record}\",\"state\":\"{state}\"}}"),
        ),
        Answer::Event(outcome) => {
            Reply::json(202, format!("{{\"outcome\":\"{}\"}}", outcome.label()))
        }
        Answer::KeyConflict => Reply::problem(&Problem::new(
            422,
            "idempotency-key-reused",
            "The Idempotency-Key was used with another body",
            "Repeat a request with the same body, or send another body under a new key.",
        )),
        Answer::Outgrown => Reply::problem(&Problem::new(
            413,
            "interaction-too-large",
            "The interaction would grow too large",
            format!(
                "All members of an interaction together may have {MEMBERS_BYTES_MAX} bytes. \
                 What was sent before is kept as it is."
            ),
        )),
        Answer::Busy {
            retry_after,
            detail,
        } => busy(retry_after, &detail),
        Answer::Unknown => outcome_unknown(),
        // Answers to operators' acts; the port never gives them to a caller.
        Answer::Record { .. } | Answer::WrongState { .. } => {
            log::error!("a caller was given an operator's answer");
            Reply::problem(&Problem::new(
                500,
                "internal",
                "Internal error",
                "The answer could not be formed. This is a fault of the gateway.",
            ))
        }
    }
}
