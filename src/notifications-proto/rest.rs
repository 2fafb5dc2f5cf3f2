//! REST calls as values: what the platform client wants asked, and what the
//! answers mean (protocol, sections 2, 3, 10 and 11).
//!
//! A REST worker turns an [`Op`] into a [`wire::Request`](base::wire::Request) with [`encode`], and the
//! answer into an [`Outcome`] with [`decode`]; both are pure. Invariant: no
//! answer, however garbled, panics, and no rendering of any type here shows a
//! token, a connect URI or a whole channel id.

mod decode;
mod encode;

use std::time::Duration;

use base::ids::{ConversationId, Topic};
use base::secret::Secret;
use base::time::Wall;
use base::wire::NoAnswer;

pub use decode::decode;
pub use encode::encode;

/// Where the platform is: both hosts follow from the region, or are overridden
/// (design, section 4). A final slash does not matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoints {
    /// Such as `https://api.mypurecloud.de`.
    pub api_url: String,
    /// Such as `https://login.mypurecloud.de`.
    pub login_url: String,
}

/// A call, without its token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// `POST login/oauth/token`. Its request needs credentials and is composed by
    /// [`oauth`](super::oauth); the answer is read here.
    Token,
    /// `POST …/channels`.
    CreateChannel,
    /// `GET …/channels`: the channels of this token, to read `expires` back.
    ListChannels,
    /// `GET …/channels/{id}/subscriptions`.
    Subscriptions(Secret),
    /// `POST …/channels/{id}/subscriptions?ignoreErrors=true`: adds, and says which topic is to blame.
    AddTopics(Secret, Vec<Topic>),
    /// `PUT …/channels/{id}/subscriptions` with an empty list: the answer says that it is empty.
    Empty(Secret),
    /// `DELETE …/channels/{id}/subscriptions`: the same by another way, with an answer
    /// whose body is not defined (protocol, section 3).
    RemoveAll(Secret),
    /// `HEAD /api/v2/tokens/me`: resets the idle timer.
    KeepWarm,
    /// `GET /api/v2/tokens/timeout`.
    IdleTimeout,
    /// `GET /api/v2/tokens/me?preserveIdleTTL=true`: looks at the idle timer without resetting it.
    TokenIdles,
    /// `GET /api/v2/conversations/{id}`.
    Conversation(ConversationId),
    /// `GET /api/v2/analytics/conversations/details?id=…`.
    Conversations(Vec<ConversationId>),
}

/// Kinds of calls: what the platform does to one of them says nothing about the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OpKind {
    /// Tokens, at the login host.
    Login,
    /// A new channel.
    Creation,
    /// The channels of the token.
    Listing,
    /// What a channel holds.
    Reading,
    /// Topics for a channel.
    Adding,
    /// An empty list in place of a channel's topics.
    Emptying,
    /// No topics on a channel, by the other way.
    Removing,
    /// About the token itself.
    Token,
    /// The idle timeout, and the idle timer.
    IdleTimeout,
    /// One conversation.
    Conversation,
    /// Conversations from analytics.
    Conversations,
}

impl OpKind {
    /// All of them, in order.
    pub const ALL: [OpKind; 11] = [
        OpKind::Login,
        OpKind::Creation,
        OpKind::Listing,
        OpKind::Reading,
        OpKind::Adding,
        OpKind::Emptying,
        OpKind::Removing,
        OpKind::Token,
        OpKind::IdleTimeout,
        OpKind::Conversation,
        OpKind::Conversations,
    ];

    /// What such a call is for, after "calls".
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            OpKind::Login => "for a token",
            OpKind::Creation => "that make a channel",
            OpKind::Listing => "that list the channels",
            OpKind::Reading => "that read the topics of a channel",
            OpKind::Adding => "that add topics to a channel",
            OpKind::Emptying | OpKind::Removing => "that empty a channel",
            OpKind::Token => "about the token",
            OpKind::IdleTimeout => "that read the idle timeout",
            OpKind::Conversation => "about a conversation",
            OpKind::Conversations => "about many conversations",
        }
    }
}

/// Whom a call is about: trouble with one of them says nothing about the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A channel.
    Channel(Secret),
    /// A conversation.
    Conversation(ConversationId),
}

impl Op {
    /// What kind of call it is.
    #[must_use]
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Token => OpKind::Login,
            Op::CreateChannel => OpKind::Creation,
            Op::ListChannels => OpKind::Listing,
            Op::Subscriptions(_) => OpKind::Reading,
            Op::AddTopics(..) => OpKind::Adding,
            Op::Empty(_) => OpKind::Emptying,
            Op::RemoveAll(_) => OpKind::Removing,
            Op::KeepWarm => OpKind::Token,
            Op::IdleTimeout | Op::TokenIdles => OpKind::IdleTimeout,
            Op::Conversation(_) => OpKind::Conversation,
            Op::Conversations(_) => OpKind::Conversations,
        }
    }

    /// Whom it is about, if that is one alone.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Op::Subscriptions(id) | Op::AddTopics(id, _) | Op::Empty(id) | Op::RemoveAll(id) => {
                Some(Subject::Channel(id.clone()))
            }
            Op::Conversation(id) => Some(Subject::Conversation(*id)),
            _ => None,
        }
    }
}

/// A channel as the platform describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Its id; a channel of another token is listed without one.
    pub id: Option<Secret>,
    /// Where to connect.
    pub connect_uri: Option<Secret>,
    /// When it ends.
    pub expires: Option<Wall>,
}

/// One topic in a subscription answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicState {
    /// Which.
    pub topic: Topic,
    /// `Rejected`, with the reason and the missing permissions in one sentence.
    pub rejected: Option<String>,
}

/// A good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A token and its life.
    Token {
        /// The bearer token.
        access_token: Secret,
        /// Its life from now.
        expires_in: Duration,
    },
    /// The channel made.
    Channel(Channel),
    /// The channels of this token.
    Channels(Vec<Channel>),
    /// The topics of a channel, or those just added.
    Topics(Vec<TopicState>),
    /// Nothing to say but yes.
    Done,
    /// The organisation's idle timeout; `None` if it is switched off.
    IdleTimeout(Option<Duration>),
    /// When this token idles out (`dateTokenIdles`), by the platform's clock; `None` if never.
    TokenIdles(Option<Wall>),
    /// A conversation or several: JSON text.
    Json(String),
}

/// A bad one, or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// 401: the token is no good.
    Unauthorized,
    /// 403, and the 401 that no new token cures (`ip.not.authorized`): code and
    /// message, with the missing permission if named.
    Forbidden(String),
    /// 404.
    NotFound,
    /// 400 `too.many.subscriptions`.
    TooManyTopics,
    /// Another 400, 405, 413, 415 …: status and code.
    BadRequest {
        /// Status code.
        status: u16,
        /// The `code` member or the start of what came.
        detail: String,
    },
    /// 429, with `Retry-After`, else the time to the reset of the budget.
    RateLimited(Option<Duration>),
    /// 5xx or 408, with `Retry-After` if any.
    Server {
        /// Status code.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No answer.
    NoAnswer(NoAnswer),
    /// 2xx with a body that is not what it should be.
    Garbled,
    /// The login host refused: label and sentence for the operator.
    Login {
        /// Stable label such as `wrong-secret`.
        label: &'static str,
        /// What to look at.
        sentence: String,
        /// It may pass by itself within minutes: a stale assertion, one that is just being
        /// replaced, a web page of something in between.
        soon: bool,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// The rate-limit headers (protocol, section 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// `inin-ratelimit-count`: requests counted in this window.
    pub count: u32,
    /// `inin-ratelimit-allowed`.
    pub allowed: u32,
    /// `inin-ratelimit-reset`: until the window ends.
    pub reset: Duration,
}

/// What became of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The answer or its lack.
    pub result: Result<Answer, Failure>,
    /// The headers, where the answer carried them.
    pub limits: Option<Limits>,
    /// `Retry-After`, where the answer carried it, whatever its status.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    /// An outcome without headers.
    #[must_use]
    pub fn of(result: Result<Answer, Failure>) -> Outcome {
        Outcome {
            result,
            limits: None,
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests;
