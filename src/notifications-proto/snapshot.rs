//! What the status page, metrics and tests may see of the client: numbers and
//! short names, no secret.
//!
//! Invariant: taking a snapshot changes nothing.

use std::time::Duration;

use super::books::Sub;
use super::channel::Phase;
use super::client::Client;
use super::rest::OpKind;
use super::waiting::Rank;
use super::way::Trouble;
use base::cause::Cause;
use base::ids::Topic;
use base::time::Now;
use base::words;

words! {
    /// Where a channel stands, as far as it is shown.
    ChannelState {
        /// It is being made.
        Creating = "creating",
        /// Its socket is being opened.
        Connecting = "connecting",
        /// Its socket is open.
        Live = "live",
        /// It has no socket, and gets one again.
        Lost = "lost",
        /// Its socket is open, and another channel takes over from it, or it from another.
        Handover = "handover",
        /// It is being emptied and closed.
        Retiring = "retiring",
    }
}

/// One channel as it may be shown.
#[derive(Clone, PartialEq, Debug)]
pub struct ChannelView {
    /// Its slot.
    pub slot: u8,
    /// Where it stands.
    pub state: ChannelState,
    /// Topics in its books.
    pub topics: usize,
    /// Topics it may hold.
    pub capacity: usize,
    /// Since it was made.
    pub age: Duration,
    /// Since the last sign of life.
    pub heard: Option<Duration>,
    /// The last four characters of its id.
    pub tail: String,
    /// Until the platform lets it end.
    pub expires_in: Duration,
}

/// The client as it may be shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    /// Why sockets cannot be had, and since when.
    pub socket_trouble: Option<(Trouble, Duration)>,
    /// Upgrades refused, by status; 0 for statuses that are not counted for themselves.
    pub sockets_refused: Vec<(u16, u64)>,
    /// Sockets that came to nothing otherwise, by cause.
    pub sockets_unreached: Vec<(Cause, u64)>,
    /// For how long the topic has been wanted that is not live for longest.
    pub dark_for: Duration,
    /// Channels by slot.
    pub channels: Vec<ChannelView>,
    /// Topics reported live.
    pub topics_live: usize,
    /// Topics wanted and on a channel, not live.
    pub topics_pending: usize,
    /// Topics wanted and on no channel.
    pub topics_waiting: usize,
    /// Of these, the ones that gave their places to others.
    pub topics_gave_way: usize,
    /// Topics that could be taken at once.
    pub places_free: usize,
    /// A token is held.
    pub token_held: bool,
    /// Until it ends.
    pub token_expires_in: Duration,
    /// Why there is none.
    pub token_trouble: Option<String>,
    /// Why a channel that was made is not connected: its address is refused.
    pub astray: Option<String>,
    /// Keeping the token warm does not: each one is replaced before it idles out.
    pub token_cools: bool,
    /// REST calls allowed a minute.
    pub rest_allowed: u32,
    /// REST calls left in this window.
    pub rest_left: u32,
    /// The platform wants quiet for this long.
    pub rest_quiet: Duration,
    /// After server errors: calls of this kind wait for so long, all others go on.
    pub rest_held: Option<(OpKind, Duration)>,
    /// REST calls made.
    pub rest_calls_total: u64,
    /// Answers 429.
    pub rest_limited_total: u64,
    /// REST calls waiting for their turn.
    pub rest_waiting: usize,
    /// Gaps, and the topics in them.
    pub gaps_total: u64,
    /// Topics in gaps.
    pub gap_topics_total: u64,
    /// Since the last gap.
    pub last_gap: Option<Duration>,
    /// Hand-overs done.
    pub handovers_total: u64,
    /// Hand-overs given up.
    pub handovers_failed_total: u64,
    /// Channels made.
    pub channels_made_total: u64,
    /// Channels that the platform ended.
    pub channels_died_total: u64,
    /// Reconnects ordered.
    pub reconnects_total: u64,
}

impl Client {
    /// The client as it may be shown; O(channels × topics).
    #[must_use]
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let wanted = self.topics.values().filter(|e| e.wanted).count();
        let capacity = self.settings.topics_per_channel;
        let view = |c: &super::channel::Channel| ChannelView {
            slot: c.slot,
            state: match c.phase {
                Phase::Creating => ChannelState::Creating,
                Phase::Connecting => ChannelState::Connecting,
                Phase::Open if c.successor.is_some() || c.successor_of.is_some() => {
                    ChannelState::Handover
                }
                Phase::Open => ChannelState::Live,
                Phase::Waiting(_) => ChannelState::Lost,
                Phase::Retiring(_) => ChannelState::Retiring,
            },
            topics: c.books.len(),
            capacity,
            age: now.wall.since(c.created_at),
            heard: c.heard.map(|t| now.mono.since(t)),
            tail: c
                .id
                .as_ref()
                .map(|id| id.tail().to_string())
                .unwrap_or_default(),
            expires_in: c.expires.left(now),
        };
        let free_now =
            |c: &&super::channel::Channel| c.phase == Phase::Open && c.takes_topics() && !c.suspect;
        let places_free: usize = self
            .channels
            .values()
            .filter(free_now)
            .map(|c| capacity.saturating_sub(c.books.len()))
            .sum();
        let held = self.token.current(now);
        // Nothing is known of the way while nobody wants to go it.
        let tries = |c: &super::channel::Channel| {
            !c.retiring() && (c.phase == Phase::Connecting || c.waits_for_socket())
        };
        let tried = self.waiting.len() > 0 || self.channels.values().any(tries);
        let trouble = self.way.trouble().filter(|_| tried);
        let dark = self.topics.values().filter(|e| e.wanted && !e.reported);
        let dark_since = dark.map(|e| e.dark_since).min();
        Snapshot {
            socket_trouble: trouble.map(|(why, since)| (why, now.mono.since(since))),
            sockets_refused: self.way.refused(),
            sockets_unreached: self.way.unreached(),
            dark_for: dark_since.map_or(Duration::ZERO, |t| now.mono.since(t)),
            channels: self.channels.values().map(view).collect(),
            topics_live: self.reported,
            topics_pending: wanted.saturating_sub(self.reported + self.waiting.len()),
            topics_waiting: self.waiting.len(),
            topics_gave_way: self.waiting.of(Rank::Last),
            places_free,
            token_held: held.is_some(),
            token_expires_in: held.map(|h| h.ends_at.since(now.wall)).unwrap_or_default(),
            token_trouble: self.token.trouble().map(str::to_string),
            astray: self.astray.as_ref().map(|a| a.sentence.clone()),
            token_cools: self.token.cools(),
            rest_allowed: self.budget.allowed(),
            rest_left: self.budget.left(now.mono),
            rest_quiet: self.budget.quiet_for(now.mono),
            rest_held: self.budget.longest_hold(now.mono),
            rest_calls_total: self.calls.made_total,
            rest_limited_total: self.budget.limited_total(),
            rest_waiting: self.calls.waiting(),
            gaps_total: self.totals.gaps,
            gap_topics_total: self.totals.gap_topics,
            last_gap: self.last_gap.map(|t| now.mono.since(t)),
            handovers_total: self.totals.handovers,
            handovers_failed_total: self.totals.handovers_failed,
            channels_made_total: self.totals.channels_made,
            channels_died_total: self.totals.channels_died,
            reconnects_total: self.totals.reconnects,
        }
    }

    /// True if whoever watches was told that this topic is live.
    #[must_use]
    pub fn is_live(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_some_and(|e| e.reported)
    }

    /// True if the topic is wanted: live, on its way, or waiting for a place.
    #[must_use]
    pub fn is_wanted(&self, topic: &Topic) -> bool {
        self.topics.get(topic).is_some_and(|e| e.wanted)
    }

    /// True if the topic is wanted and on no channel.
    #[must_use]
    pub fn waits(&self, topic: &Topic) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|e| e.wanted && e.slots == 0)
    }

    /// Channels in the table, and the most topics on one of them: both bounded by the settings.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let kept = self.channels.values().map(|c| c.books.kept());
        (self.channels.len(), kept.max().unwrap_or(0))
    }

    /// Checks the books against each other; a sentence for the first thing that is wrong.
    ///
    /// # Errors
    /// Never in a correct program: the sentence names the defect.
    pub fn audit(&self) -> Result<(), String> {
        self.alarm.audit()?;
        if self.channels.len() > usize::from(self.settings.max_channels) {
            return Err(format!("{} channels in the table", self.channels.len()));
        }
        if self.calls.waiting() > super::limits::CALLS_WAITING_MAX {
            return Err(format!("{} calls wait", self.calls.waiting()));
        }
        for c in self.channels.values() {
            c.books.audit()?;
            if c.books.kept() > self.settings.topics_per_channel {
                return Err(format!("{} topics on channel {}", c.books.kept(), c.slot));
            }
        }
        let mut listed = 0;
        for (topic, entry) in &self.topics {
            let (mut slots, mut live) = (entry.slots, false);
            while slots != 0 {
                let slot = slots.trailing_zeros() as u8;
                slots &= slots - 1;
                listed += 1;
                let channel = self.channels.get(&slot);
                let Some((c, sub)) = channel.and_then(|c| Some((c, c.books.get(topic)?))) else {
                    return Err(format!(
                        "{topic} is not on channel {slot}, where it should be"
                    ));
                };
                live |= c.phase == Phase::Open && sub == Sub::Live;
            }
            let on = entry.slots;
            if entry.wanted && (on == 0) != self.waiting.contains(entry.seq) {
                return Err(format!("{topic} is wanted, on {on:b}, waiting or not"));
            }
            if entry.leaving && on == 0 {
                return Err(format!("{topic} leaves, and is on no channel"));
            }
            if entry.reported && !live {
                return Err(format!("{topic} is reported live, but is on {on:b}"));
            }
        }
        // Each is where its entry says: if there are no more, it is only there.
        let held: usize = self.channels.values().map(|c| c.books.len()).sum();
        match held == listed {
            true => Ok(()),
            false => Err(format!(
                "{held} topics on channels, {listed} in their entries"
            )),
        }
    }
}
