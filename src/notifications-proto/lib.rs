//! The platform client: credentials, channels, topics, limits, budget, gaps.
//!
//! It keeps topics subscribed over the platform's notification channels and
//! asks about conversations within the request budget. Pure: it reads no
//! clock, does no I/O, draws no entropy but its seed's. It knows nothing of
//! after-call work, interactions or the history manager; whoever uses it says
//! "watch this topic" and hears "topic is live", "event", "gap in these topics".
//!
//! Reading order: [`client`] is the door, behind it what happens to topics, on
//! sockets and by answers; [`channel`] one channel, `books` what is subscribed on it;
//! [`connect_uri`] where a channel may lead; [`allocation`] which topic goes where;
//! `waiting` who waits for a place; [`life`] how long channels last; [`rhythm`] how seldom heartbeats come; [`way`]
//! whether sockets can be had at all; `reasons` why something is done about a channel; [`rollover`] hand-over, `closing` what
//! follows a closing notice, `room` what a full channel does; [`abandoned`] what is left of channels given up; [`calls`] REST
//! under the [`pacing`] budget; [`token`] the token; [`session`] the socket's
//! own state machine, run by the channel threads; [`single`] one channel without token and REST; [`rest`] the codecs.
//!
//! Invariants: never more than `max-channels` channels in the table, hand-over
//! included; never more than `topics-per-channel` topics on one; a wanted topic
//! is live, or reported lost and on its way to be subscribed.

pub mod abandoned;
pub mod allocation;
mod answers;
mod books;
pub mod calls;
pub mod channel;
pub mod client;
mod closing;
pub mod connect_uri;
mod dialling;
pub mod frames;
mod idling;
pub mod life;
pub mod limits;
pub mod oauth;
pub mod pacing;
mod reasons;
pub mod rest;
pub mod rhythm;
pub mod rollover;
mod room;
pub mod session;
pub mod single;
pub mod snapshot;
mod sockets;
pub mod token;
mod topics;
pub mod twins;
mod waiting;
pub mod way;

use std::time::Duration;

use base::fetch::{Fetch, FetchOutcome};
use base::gap::GapCause;
use base::ids::Topic;
use base::notice::Notice;
use base::rows::ChannelRow;
use base::secret::Secret;
use base::time::Now;
use session::SocketRef;

#[cfg(test)]
mod tests;

pub use answers::TOKEN_COOLS;
pub use client::Client;
pub use limits::TOPICS_PER_MESSAGE_MAX;

/// What the operator decides about the client (design, section 4, `[channels]`).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Channels held at most, 1 to 20.
    pub max_channels: u8,
    /// Topics on one channel at most, 1 to 1,000.
    pub topics_per_channel: usize,
    /// A channel's life is renewed this long before its end; at most half of the life is used.
    pub renew_before: Duration,
    /// Where channels may lead.
    pub streaming: connect_uri::Streaming,
}

/// Names a REST call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(pub u64);

/// What the client is told.
#[derive(Clone, PartialEq)]
pub enum Input {
    /// Keep this topic subscribed. Idempotent.
    Watch(Topic),
    /// Give it up. Idempotent.
    Unwatch(Topic),
    /// It is known to be worth its while: should it have to wait for a place, it goes before others.
    Prefer(Topic),
    /// These give their places to whoever waits, and wait for places that nobody else needs.
    /// They are not reported lost: whoever watches has asked for it.
    GiveWay(Vec<Topic>),
    /// Ask about conversations.
    Fetch(Fetch),
    /// From a channel's thread.
    Session {
        /// Which socket.
        socket: SocketRef,
        /// What happened there.
        fact: session::Fact,
    },
    /// A REST call has ended.
    Answered {
        /// Which.
        call: CallId,
        /// How.
        outcome: rest::Outcome,
    },
    /// These channels, as given with [`Output::Keep`], would now be known after a restart.
    Kept(Vec<ChannelRow>),
    /// Secrets or keys were read again: what the old ones were refused may be asked for.
    OtherCredentials,
    /// Time has passed.
    Tick,
}

/// What the client orders, and what it has to tell.
#[derive(Clone, PartialEq)]
pub enum Output {
    /// Connect a socket in a thread of its own.
    OpenSocket {
        /// Its name.
        socket: SocketRef,
        /// Where to.
        connect_uri: Secret,
    },
    /// Hand an order to a socket's session. A socket that is not there any more is ignored.
    Session {
        /// Which socket.
        socket: SocketRef,
        /// What to do.
        order: session::Order,
    },
    /// Make a REST call. At most [`limits::CALLS_IN_FLIGHT_MAX`] unanswered.
    Call {
        /// Its name.
        call: CallId,
        /// What to ask.
        op: rest::Op,
        /// The bearer token, for all but the token call.
        token: Option<Secret>,
    },
    /// Keep these channels, and only these, for a restart.
    Keep(Vec<ChannelRow>),
    /// For whoever watches.
    Fact(Fact),
    /// For people.
    Notice(Notice),
}

/// What the client tells whoever watches.
#[derive(Clone, PartialEq)]
pub enum Fact {
    /// The subscription of this topic is confirmed.
    Live {
        /// Which topic.
        topic: Topic,
    },
    /// These topics were live, or may have been, and were not for a while or are
    /// not now: whatever was announced since the last sign of life may be lost. Each
    /// is reported `Live` again when it is. Until then they are being subscribed.
    Gap {
        /// Which topics.
        topics: Vec<Topic>,
        /// Why, for the log and metrics.
        cause: GapCause,
    },
    /// The platform rejects the topic; it is no longer watched.
    Refused {
        /// Which topic.
        topic: Topic,
        /// Why, with the missing permission if known.
        detail: String,
    },
    /// So many topics wait, and no place is free for them or about to be: said when it changes.
    Short {
        /// Of those that were preferred.
        known: usize,
        /// Of the others, without those that gave way.
        others: usize,
    },
    /// An event on a watched topic, or on one just given up.
    Event {
        /// Which topic.
        topic: Topic,
        /// `eventBody` exactly as it came.
        body: String,
        /// What else the frame said of it.
        about: session::About,
        /// On which socket it came.
        socket: SocketRef,
        /// Another channel may have brought it, too, or may bring it yet: a hand-over.
        twice: bool,
    },
    /// A conversation, or several, as REST shows them.
    Fetched {
        /// What was asked.
        fetch: Fetch,
        /// When it was asked: the answer is evidence for no later moment.
        asked_at: Now,
        /// What came.
        outcome: FetchOutcome,
    },
}
