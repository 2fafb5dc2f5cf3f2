//! What a reader of notifications hears.
//!
//! Invariant: topic and body of a notification are exactly as they came.

use std::time::SystemTime;

/// One thing that a [`Channel`](crate::Channel) or a [`Client`](crate::Client) tells.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Item {
    /// An event of a topic.
    Notification {
        /// Its topic, in the letter case in which it came.
        topic: String,
        /// `eventBody`, JSON text, byte for byte; `null` where there was none.
        body: String,
        /// `metadata.CorrelationId`.
        correlation_id: Option<String>,
        /// `version`.
        version: Option<String>,
    },
    /// A sign of life of the platform: its heartbeat, or its answer to a ping. Of one socket not
    /// more often than every ten seconds.
    Heartbeat,
    /// The subscription of these topics is confirmed: from here on nothing of them is missed
    /// without a [`Gap`](Item::Gap).
    Live {
        /// Which.
        topics: Vec<String>,
    },
    /// Events of these topics may have been missed. Each is told [`Live`](Item::Live) again when
    /// it is subscribed again.
    Gap {
        /// Which.
        topics: Vec<String>,
        /// The last sign of life before it: what happened since may be missing.
        since: SystemTime,
        /// A stable word for the cause, such as `broken`, `silent`, `closed`, `channel-gone`,
        /// `overflow`.
        cause: &'static str,
    },
    /// The platform refuses these topics; they are given up.
    Refused {
        /// Which.
        topics: Vec<String>,
        /// The permissions that it names as missing, such as `analytics:conversationDetail:view`;
        /// none where it names none.
        missing: Vec<String>,
        /// Its words, as it said them.
        detail: String,
    },
    /// The channel ends then, unless it is extended or another one takes over. Only where that is
    /// left to the caller.
    Expiring {
        /// When.
        at: SystemTime,
    },
    /// The platform will close the socket within a minute.
    Closing,
    /// The reader was too slow: so many notifications were dropped. A [`Gap`](Item::Gap) of their
    /// topics follows.
    Overflow {
        /// How many.
        lost: u64,
    },
}
