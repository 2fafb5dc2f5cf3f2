//! Why notifications cannot be had, or no longer.
//!
//! Invariant: no error shows a `connectUri`, a channel's id, or a secret.

use std::error;
use std::fmt;

use base::blame::Blame;
use base::cause::Cause;
use proto::session::End;
use proto::single::Failure;

/// What kind of failure it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It was closed, by the caller or with its handle.
    Closed,
    /// No connection: name, TCP, proxy, TLS, or what answered is no WebSocket.
    Handshake,
    /// The upgrade was answered with 401, or the token was revoked.
    Unauthorized,
    /// The upgrade was answered with 403.
    Forbidden,
    /// The upgrade was answered with another status; or the platform answers so what is asked of it
    /// (429 above all), which goes on to be tried.
    Status(u16),
    /// The address is no `wss` or `ws` address.
    BadUri,
    /// What came is no notification channel, or an answer that cannot be read.
    BadMessage,
    /// The channel is gone: its life or its token has ended.
    Expired,
    /// The platform closed it after its notice, and that was left to the caller.
    Closing,
    /// Another socket on the channel, or another channel of the client, took its place.
    Replaced,
    /// A topic is refused before the platform is asked.
    RefusedTopic,
    /// A lost connection could not be had again in time.
    ReconnectFailed,
    /// The channel's life could not be extended; it goes on until it ends.
    ExtensionFailed,
    /// The other channel could not take over; the one before goes on.
    RolloverFailed,
    /// Whether topics are subscribed is not known; they are asked for again.
    Ambiguous,
    /// Sign-in failed: wrong credentials, or a login host that refuses.
    Login,
    /// The machine has no thread, file descriptor, or root certificates.
    Machine,
}

/// A failure: what kind, in words, and what is behind it.
#[derive(Debug)]
pub struct Error {
    reason: Reason,
    detail: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Error {
        Error {
            reason,
            detail: detail.into(),
            source: None,
        }
    }

    /// A failure of a caller's own, in the same words.
    #[must_use]
    pub fn with(reason: Reason, detail: impl Into<String>) -> Error {
        Error::new(reason, detail)
    }

    pub(crate) fn caused(
        reason: Reason,
        detail: impl Into<String>,
        source: impl error::Error + Send + Sync + 'static,
    ) -> Error {
        Error {
            source: Some(Box::new(source)),
            ..Error::new(reason, detail)
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Nothing comes after it: the channel is over, and the same again would fail in the same
    /// way. A failure that is not permanent is told between items, or worth another try.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(
            self.reason,
            Reason::ExtensionFailed
                | Reason::RolloverFailed
                | Reason::Ambiguous
                | Reason::ReconnectFailed
                | Reason::Handshake
                | Reason::Login
                | Reason::Machine
                | Reason::Closing
                | Reason::Status(408 | 425 | 429 | 500..)
        )
    }

    /// Who can do something about it.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self.reason {
            Reason::Closed | Reason::BadUri | Reason::RefusedTopic => Blame::Us,
            Reason::Unauthorized | Reason::Forbidden | Reason::Login => Blame::Operator,
            Reason::Handshake | Reason::ReconnectFailed | Reason::Machine => Blame::Environment,
            _ => Blame::Peer,
        }
    }

    fn unreached(cause: Cause, detail: &str) -> Error {
        let detail = match detail.is_empty() {
            true => cause.words().into_owned(),
            false => format!("{}: {detail}", cause.words()),
        };
        let reason = match cause {
            Cause::Machine | Cause::NoRoots => Reason::Machine,
            _ => Reason::Handshake,
        };
        Error::new(reason, detail)
    }

    pub(crate) fn of_failure(failure: Failure) -> Error {
        match failure {
            Failure::NotConnected { cause, detail } => Error::unreached(cause, &detail),
            Failure::Refused(401) => Error::new(
                Reason::Unauthorized,
                "the upgrade was answered with 401: the channel's token has ended",
            ),
            Failure::Refused(403) => {
                Error::new(Reason::Forbidden, "the upgrade was answered with 403")
            }
            Failure::Refused(status) => Error::new(
                Reason::Status(status),
                format!("the upgrade was answered with {status}"),
            ),
            Failure::Expired => Error::new(
                Reason::Expired,
                "the channel is gone: its life or its token has ended",
            ),
            Failure::TokenRevoked => Error::new(Reason::Unauthorized, "the tokens were revoked"),
            Failure::Replaced => Error::new(
                Reason::Replaced,
                "another socket or another channel took the channel's place",
            ),
            Failure::Closing => Error::new(
                Reason::Closing,
                "the platform closed the socket after its notice",
            ),
            Failure::Misbehaved(what) => Error::new(Reason::BadMessage, what),
            Failure::ReconnectFailed(last) => Error::caused(
                Reason::ReconnectFailed,
                "the connection was lost and could not be had again",
                Error::of_failure(*last),
            ),
            Failure::ExtensionFailed(what) => Error::new(Reason::ExtensionFailed, what),
            Failure::RolloverFailed(what) => Error::new(Reason::RolloverFailed, what),
            Failure::Postponed {
                result,
                topics,
                message,
                wait,
            } => {
                let message = match message.is_empty() {
                    true => String::new(),
                    false => format!(": {message}"),
                };
                Error::new(
                    Reason::Status(result),
                    format!(
                        "{topics} topics wait to be subscribed, for the platform answered {result}{message}; \
                         it is asked again in {} s",
                        wait.as_secs().max(1)
                    ),
                )
            }
            Failure::Ambiguous(topics) => Error::new(
                Reason::Ambiguous,
                format!("{} topics are asked for again: no answer", topics.len()),
            ),
        }
    }

    /// The end of a socket as a failure of its own.
    #[must_use]
    pub fn of_end(end: &End) -> Error {
        Error::of_failure(Failure::of(end))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn error::Error + 'static))
    }
}
