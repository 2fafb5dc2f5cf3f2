//! What callers ask of the core and what it answers (design, section 3).
//!
//! Invariant: a request that reaches the core is well-formed; refusals for
//! malformed input happen at the edge.

use std::time::Duration;

use base::ids::{ConversationId, RecordId};
use base::rows::{InteractionState, Reason, RecordState};
use base::time::Wall;
use base::words;

/// Names the caller that waits; unique within the process, and ascending in order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallerId(pub u64);

/// What a caller wants done.
#[derive(Clone, PartialEq, Eq)]
pub enum CallerRequest {
    /// `POST /customers/supportInteraction`.
    Accept {
        /// The conversation to watch.
        conversation: ConversationId,
        /// JSON object text of the other members, exactly as sent.
        members: String,
    },
    /// `DELETE /customers/supportInteraction/{id}`.
    Stop {
        /// The conversation to give up.
        conversation: ConversationId,
    },
    /// `POST /customers/supportResult`.
    SupportResult {
        /// The caller's `Idempotency-Key`.
        idempotency_key: Option<String>,
        /// SHA-256 of the body, to tell a repetition from another body under the same key.
        body_digest: [u8; 32],
        /// The conversation it belongs to, if the body names one.
        conversation: Option<ConversationId>,
        /// The JSON object exactly as sent.
        result: String,
    },
    /// `POST /events/after-call-work`.
    Event {
        /// The conversation that it is about.
        conversation: ConversationId,
        /// JSON object text of the `eventBody`.
        body: String,
    },
    /// `POST /records/{id}/…` of the operators' listener.
    Act {
        /// The record to act on.
        record: RecordId,
        /// What to do with it.
        act: Act,
    },
}

words! {
    /// An operator's act on a record (design, section 3).
    Act {
        /// Try again now.
        Retry = "retry",
        /// Keep back.
        Hold = "hold",
        /// Let go again.
        Release = "release",
        /// Give up.
        Discard = "discard",
    }
}

impl Act {
    /// The state after it, if it fits the state before (design, section 3).
    #[must_use]
    pub fn after(self, state: RecordState) -> Option<RecordState> {
        use RecordState::{Dead, Deferred, Discarded, Held, Queued};
        match (self, state) {
            (Act::Retry, Deferred | Dead | Held) | (Act::Release, Held) => Some(Queued),
            (Act::Hold, Queued | Deferred) => Some(Held),
            (Act::Discard, Queued | Deferred | Dead | Held) => Some(Discarded),
            _ => None,
        }
    }

    /// The states that it fits.
    pub fn fits(self) -> impl Iterator<Item = RecordState> {
        let all = RecordState::ALL.iter().copied();
        all.filter(move |state| self.after(*state).is_some())
    }
}

/// Shows no member and no result: they may hold personal data (design, guarantee 9).
impl std::fmt::Debug for CallerRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallerRequest::Accept { conversation, .. } => write!(f, "Accept({conversation})"),
            CallerRequest::Stop { conversation } => write!(f, "Stop({conversation})"),
            CallerRequest::SupportResult { conversation, .. } => {
                write!(f, "SupportResult({conversation:?})")
            }
            CallerRequest::Event { conversation, .. } => write!(f, "Event({conversation})"),
            CallerRequest::Act { record, act } => write!(f, "{act:?}({record})"),
        }
    }
}

words! {
    /// What becomes of an event that came over HTTP (design, section 3).
    EventOutcome {
        /// It is a new record.
        Taken = "taken",
        /// Its wrap-up is a record already, whichever way that came.
        Known = "known",
        /// Nobody reported the conversation, or a caller had it stopped: nothing was done.
        Unreported = "unreported",
    }
}

words! {
    /// Why an interaction ended: the code of its [`Reason`].
    EndReason {
        /// The conversation is over and every agent leg is done.
        ConversationFinished = "conversation-finished",
        /// Nothing came for `settle-for`, and REST cannot tell.
        Settled = "settled",
        /// The first record was taken, and only that was wanted.
        FirstEvent = "first-event",
        /// `max-age` was reached without knowing.
        MaxAge = "max-age",
        /// A caller asked to stop.
        Stopped = "stopped",
        /// The platform rejects the topic.
        TopicRefused = "topic-refused",
    }
}

impl EndReason {
    /// The state in which it leaves the interaction.
    #[must_use]
    pub fn state(self) -> InteractionState {
        match self {
            EndReason::ConversationFinished | EndReason::Settled | EndReason::FirstEvent => {
                InteractionState::Finished
            }
            EndReason::MaxAge => InteractionState::Expired,
            EndReason::Stopped => InteractionState::Stopped,
            EndReason::TopicRefused => InteractionState::Refused,
        }
    }

    /// With a sentence for people.
    #[must_use]
    pub fn told(self, detail: String) -> Reason {
        Reason {
            code: self.label().to_owned(),
            detail,
        }
    }
}

/// What the caller is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Accepted; `fresh` is 202 (new or started again), else 200 (was live, members merged).
    Interaction {
        /// The conversation.
        conversation: ConversationId,
        /// Its present state.
        state: InteractionState,
        /// When it was accepted.
        accepted_at: Wall,
        /// Newly accepted or started again.
        fresh: bool,
    },
    /// 202: watching ends; records already taken are still delivered.
    Stopping {
        /// The conversation.
        conversation: ConversationId,
        /// Its present state.
        state: InteractionState,
        /// When it was accepted.
        accepted_at: Wall,
        /// Why it ended.
        reason: Option<Reason>,
    },
    /// 200: it had ended before.
    AlreadyEnded {
        /// The conversation.
        conversation: ConversationId,
        /// Its present state.
        state: InteractionState,
        /// When it was accepted.
        accepted_at: Wall,
        /// Why it ended.
        reason: Option<Reason>,
    },
    /// 404.
    NotFound,
    /// 202: the result is in the outbox.
    SupportResult {
        /// The record that carries it.
        record: RecordId,
        /// The record's state.
        state: RecordState,
    },
    /// 202: what became of an event.
    Event(EventOutcome),
    /// 422: the same `Idempotency-Key` came with another body before.
    KeyConflict,
    /// 200: the act was done.
    Record {
        /// The record.
        record: RecordId,
        /// Its state after the act.
        state: RecordState,
        /// Tries so far.
        attempts: u32,
        /// Why the last try failed.
        last_error: Option<String>,
    },
    /// 409: the act does not fit the record's state.
    WrongState {
        /// The record's state.
        state: RecordState,
    },
    /// 413: merged over those that are there, the members would grow too large; nothing was
    /// changed.
    Outgrown,
    /// 503 with `Retry-After`: the store cannot commit, or a bound is reached. Nothing was
    /// changed, and nothing will be.
    Busy {
        /// When to come back.
        retry_after: Duration,
        /// Why, for people.
        detail: String,
    },
    /// 504: its transaction was under way for too long; whether it takes effect is not known.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_fit_the_states_of_the_contract_and_no_others() {
        use RecordState::{Dead, Deferred, Discarded, Held, Queued};
        let allowed = [
            (Act::Retry, Deferred, Queued),
            (Act::Retry, Dead, Queued),
            (Act::Retry, Held, Queued),
            (Act::Hold, Queued, Held),
            (Act::Hold, Deferred, Held),
            (Act::Release, Held, Queued),
            (Act::Discard, Queued, Discarded),
            (Act::Discard, Deferred, Discarded),
            (Act::Discard, Dead, Discarded),
            (Act::Discard, Held, Discarded),
        ];
        for act in Act::ALL {
            for state in RecordState::ALL {
                let expected = allowed
                    .iter()
                    .find(|(a, s, _)| a == act && s == state)
                    .map(|(_, _, to)| *to);
                assert_eq!(act.after(*state), expected, "{act:?} {state:?}");
            }
        }
    }
}
