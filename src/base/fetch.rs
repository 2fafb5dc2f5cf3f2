//! Questions to the platform about conversations, and what came of them.
//!
//! Whoever asks does not know how the answer is got, and whoever gets it does not
//! know what it is for: the JSON passes as it came. Invariant: values, and nothing else.

use crate::ids::ConversationId;

/// A question to the platform about conversations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetch {
    /// `GET /api/v2/conversations/{id}` (protocol, section 11.1): prompt.
    One(ConversationId),
    /// The same in no hurry: it leaves a share of the budget to those that are.
    Calm(ConversationId),
    /// `GET /api/v2/analytics/conversations/details?id=…` (section 11.2): late, many at once.
    Many(Vec<ConversationId>),
}

/// What a question brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchOutcome {
    /// The JSON as it came: a `Conversation`, or `{"conversations":[…]}`.
    Found(String),
    /// 404.
    NotFound,
    /// 401 that a new token did not cure, or 403: REST cannot tell.
    Denied(String),
    /// Too many ids, or too large an answer: ask for fewer.
    TooMany,
    /// No answer, 5xx, garbled; ask again later.
    Trouble(String),
    /// An answer came that is not understood, however much is forgiven.
    Garbled,
}
