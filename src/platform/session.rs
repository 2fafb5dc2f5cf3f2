//! The session of one socket on one channel: heartbeat, ping and pong,
//! correlation of subscribe and unsubscribe, closing notice, close (protocol,
//! section 4).
//!
//! It runs in the channel's own thread and in the simulation. Pure: frames and
//! ticks come in with [`Session::handle`], frames to send and facts for the
//! loop come out of [`Session::poll_output`].
//!
//! Invariant: every order with a ticket is answered by exactly one fact with
//! that ticket, or by [`Fact::Ended`], after which nothing more comes.

use crate::ids::Topic;

/// Names one socket: a late message of an earlier socket can never touch its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketRef {
    /// The channel's slot, from 1.
    pub slot: u8,
    /// Counts the sockets of the process.
    pub generation: u32,
}

/// What the loop asks of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Subscribe these topics in one message.
    Subscribe {
        /// Echoed.
        ticket: u64,
        /// At most [`super::TOPICS_PER_MESSAGE_MAX`].
        topics: Vec<Topic>,
    },
    /// Unsubscribe these topics in one message.
    Unsubscribe {
        /// Echoed.
        ticket: u64,
        /// At most [`super::TOPICS_PER_MESSAGE_MAX`].
        topics: Vec<Topic>,
    },
    /// Close the socket; [`Fact::Ended`] follows.
    Close,
}

/// What a session tells the loop.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// The upgrade was accepted.
    Opened,
    /// The first heartbeat or pong after a while; for the status page.
    Heard,
    /// The platform confirmed.
    Subscribed {
        /// Of the order.
        ticket: u64,
    },
    /// The platform confirmed.
    Unsubscribed {
        /// Of the order.
        ticket: u64,
    },
    /// The platform refused the message, or did not answer it in time.
    Refused {
        /// Of the order.
        ticket: u64,
        /// Topics of the order that the platform did confirm (per-topic answers).
        confirmed: Vec<Topic>,
        /// Its `result`; 0 where there was no answer.
        result: u16,
        /// Its text, bounded, no control characters.
        message: String,
    },
    /// `"result":"404"`: the channel has expired, was replaced, or its token ended.
    ChannelGone,
    /// An event.
    Event {
        /// Its topic.
        topic: Topic,
        /// `eventBody` exactly as it came.
        body: String,
    },
    /// The platform will close this socket within a minute.
    Closing,
    /// This channel lost its subscriptions.
    NoLongerSubscribed,
    /// The user's tokens were revoked.
    TokenRevoked,
    /// The socket is over.
    Ended(End),
}

/// Why a socket is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// We closed it.
    Ordered,
    /// The upgrade was refused with this status.
    UpgradeRefused(u16),
    /// Name, TCP, TLS or handshake failed.
    NotConnected(String),
    /// The platform closed it with this code.
    Closed(u16),
    /// The connection broke.
    Broken(String),
    /// No heartbeat within `heartbeat-timeout`.
    Silent,
    /// A ping stayed without its pong.
    NoPong,
    /// Frames beyond the limits, or not WebSocket.
    Misbehaved(String),
}

impl End {
    /// Stable label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            End::Ordered => "ordered",
            End::UpgradeRefused(_) => "upgrade-refused",
            End::NotConnected(_) => "not-connected",
            End::Closed(_) => "closed",
            End::Broken(_) => "broken",
            End::Silent => "silent",
            End::NoPong => "no-pong",
            End::Misbehaved(_) => "misbehaved",
        }
    }
}
