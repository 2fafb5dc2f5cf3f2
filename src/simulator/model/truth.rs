//! What really happened, for tests to hold against what the gateway believed.
//!
//! A wrap-up *shows in REST* if it left a `wrapup` object of its own; one that
//! was overwritten by a later one of the same leg shows until then
//! (`superseded`). Skipped after-call work in mode `no-event`, and a change in
//! place in mode `re-wrap=none`, are in the list with `emitted` and
//! `shows_in_rest` false: there is nothing that anyone could file for them.
//!
//! Invariant: written by the model alone and read by tests alone; no answer
//! of the platform depends on it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::channels::Channel;
use super::conversation::Conversation;
use super::rest::Call;
use super::{Platform, SocketId};
use base::ids::ConversationId;
use base::time::{Mono, Wall};

/// One wrap-up that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapUp {
    /// Conversation.
    pub conversation: ConversationId,
    /// Participant of the agent.
    pub participant: Uuid,
    /// Session (communication) of the agent.
    pub session: Uuid,
    /// Which agent leg of the conversation, counted from 0 in the order in which they began.
    pub leg: usize,
    /// Which wrap-up of this leg, counted from 0.
    pub ordinal: usize,
    /// `eventTime` of its event.
    pub event_time: Wall,
    /// `endTime` of its `wrapup` object.
    pub rest_end: Wall,
    /// Wrap-up code.
    pub code: String,
    /// Length of the after-call work in milliseconds.
    pub duration_ms: u64,
    /// Whether an event was emitted for it.
    pub emitted: bool,
    /// Whether REST shows it, or did until it was superseded.
    pub shows_in_rest: bool,
    /// When it happened.
    pub at: Mono,
    /// Event frames handed to sockets, repeats included.
    pub frames: u32,
    /// Since when REST shows a later wrap-up of the same leg instead.
    pub superseded: Option<Mono>,
}

/// Counters that only grow.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Wrap-ups in the order in which they happened.
    pub wrap_ups: Vec<WrapUp>,
    /// Wrap-ups that did not fit into the list any more.
    pub wrap_ups_beyond: u64,
    /// Most channels that existed at once.
    pub channels_most: usize,
    /// Most channels that had a socket or topics at once.
    pub held_most: usize,
    /// Most topics on one channel.
    pub topics_most: usize,
    /// Most topics on all channels together.
    pub topics_total_most: usize,
    /// Subscribe requests refused because of the topic limit.
    pub over_limit: u64,
    /// Channels evicted by the limit, and of those the ones with a socket.
    pub evicted: u64,
    /// Evicted channels that had a socket.
    pub evicted_connected: u64,
    /// Sockets opened on a channel that already had one.
    pub second_sockets: u64,
    /// Channels created.
    pub channels_created: u64,
    /// Tokens given.
    pub tokens_given: u64,
    /// REST requests by kind.
    pub calls: BTreeMap<Call, u64>,
    /// 429 given because of the rate limit (faults not counted).
    pub rate_limited: u64,
    /// WebSocket requests answered with 404.
    pub requests_on_dead_channels: u64,
    pub(super) held: usize,
    pub(super) topics_total: usize,
}

/// Read access for tests.
#[derive(Clone, Copy)]
pub struct Truth<'a>(pub(super) &'a Platform);

/// A channel that exists.
#[derive(Clone, Copy)]
pub struct ChannelView<'a> {
    /// Id.
    pub id: &'a str,
    /// Its socket, if one is open.
    pub socket: Option<SocketId>,
    /// Topics on it.
    pub topics: usize,
    /// When it expires.
    pub expires: Mono,
    /// Whether the token that made it is alive.
    pub usable: bool,
    channel: &'a Channel,
}

impl<'a> ChannelView<'a> {
    /// The topics in lower case, in order.
    pub fn topic_names(&self) -> impl Iterator<Item = &'a str> {
        self.channel.topics.keys().map(|k| &**k)
    }

    /// Whether it has this topic (in lower case, not combined).
    #[must_use]
    pub fn has_topic(&self, name: &str) -> bool {
        self.channel.topics.contains_key(name)
    }
}

impl<'a> Truth<'a> {
    /// The counters and the wrap-ups.
    #[must_use]
    pub fn ledger(&self) -> &'a Ledger {
        &self.0.ledger
    }

    /// Every wrap-up that happened, in order.
    #[must_use]
    pub fn wrap_ups(&self) -> &'a [WrapUp] {
        &self.0.ledger.wrap_ups
    }

    /// Every conversation that is remembered, by id.
    pub fn conversations(&self) -> impl Iterator<Item = &'a Conversation> {
        self.0.conversations.values()
    }

    /// One conversation.
    #[must_use]
    pub fn conversation(&self, id: ConversationId) -> Option<&'a Conversation> {
        self.0.conversations.get(&id)
    }

    /// Every channel that exists, in the order of creation.
    pub fn channels(&self) -> impl Iterator<Item = ChannelView<'a>> {
        self.0.channels.values().map(|channel| ChannelView {
            id: &channel.id,
            socket: channel.socket,
            topics: channel.topics.len(),
            expires: channel.expires.mono,
            usable: self.0.tokens.is_alive(channel.token),
            channel,
        })
    }

    /// Sockets that are open.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.0.sockets.len()
    }

    /// Tokens that are alive.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.0.tokens.alive()
    }
}
