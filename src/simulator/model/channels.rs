//! Notification channels: creation, eviction, topics, life (protocol, sections 3, 7 and 8).
//!
//! Invariant: `topics` of a channel and the index from topic to channels tell
//! the same story; a channel that is gone is in neither.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::switches::{ChannelExpiry, Eviction, EvictionChoice};
use super::tokens::Owner;
use super::topics::Topic;
use super::{Platform, SocketId, Timer};
use base::time::{Mono, Now};

/// A channel that exists.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) token: u64,
    pub(super) owner: Owner,
    pub(super) used: Mono,
    pub(super) expires: Now,
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    /// Removed topics that are still counted, and until when.
    pub(super) leaving: BTreeMap<Arc<str>, Mono>,
    pub(super) socket: Option<SocketId>,
    held: bool,
}

/// Why a channel ceased to exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Evicted,
    Expired,
}

/// The channels that a single topic name is live on, with how many
/// subscriptions of that channel stand for it.
pub(super) type Listeners = Vec<(u64, u32)>;

impl Platform {
    fn channel_life(&self) -> Duration {
        Duration::from_secs(self.switches.channel_life_seconds)
    }

    /// Creates a channel; the limit may cost another one its life.
    pub(super) fn create_channel(&mut self, token: u64, owner: Owner, now: Now) -> u64 {
        let most = self.switches.channels_max as usize;
        // The switch may have been lowered: more than one may have to go.
        while self.channels.values().filter(|c| c.owner == owner).count() >= most {
            let Some(victim) = self.victim(owner) else {
                break;
            };
            self.end_channel(victim, End::Evicted, now);
        }
        let id = format!("streaming-0-{}", self.random_text(26));
        let number = self.next_channel;
        self.next_channel += 1;
        let expires = now.plus(self.channel_life());
        self.timers.set(expires.mono, Timer::ChannelExpiry(number));
        self.channel_ids.insert(id.clone(), number);
        self.journal
            .add(now.wall, "channel-created", Some(&id), String::new);
        self.channels.insert(
            number,
            Channel {
                id,
                token,
                owner,
                used: now.mono,
                expires,
                topics: BTreeMap::new(),
                leaving: BTreeMap::new(),
                socket: None,
                held: false,
            },
        );
        self.ledger.channels_created += 1;
        self.ledger.channels_most = self.ledger.channels_most.max(self.channels.len());
        number
    }

    /// The channel that the limit takes: unconnected ones first (protocol, section 7).
    fn victim(&self, owner: Owner) -> Option<u64> {
        self.channels
            .iter()
            .filter(|(_, c)| c.owner == owner)
            .min_by_key(|(number, c)| {
                let age = match self.switches.eviction_choice {
                    EvictionChoice::OldestUsed => c.used.0,
                    EvictionChoice::OldestCreated => 0,
                };
                (c.socket.is_some(), age, **number)
            })
            .map(|(number, _)| *number)
    }

    /// Takes a channel out of existence; its socket fares as the switches say.
    pub(super) fn end_channel(&mut self, number: u64, end: End, now: Now) {
        let Some(channel) = self.channels.remove(&number) else {
            return;
        };
        self.channel_ids.remove(&channel.id);
        for topic in channel.topics.values() {
            self.unlisten(number, topic);
        }
        self.ledger.topics_total -= channel.topics.len();
        if channel.held {
            self.ledger.held -= 1;
        }
        let kind = match end {
            End::Evicted => "evicted",
            End::Expired => "expired",
        };
        let topics = channel.topics.len();
        self.journal.add(now.wall, kind, Some(&channel.id), || {
            format!("{topics} topics")
        });
        if end == End::Evicted {
            self.ledger.evicted += 1;
            self.ledger.evicted_connected += u64::from(channel.socket.is_some());
        }
        let Some(socket) = channel.socket else {
            return;
        };
        match end {
            End::Evicted => match self.switches.eviction {
                Eviction::Closed => self.close_socket(socket, "channel removed", now),
                Eviction::Silent => self.mute_socket(socket),
                Eviction::NoLongerSubscribed => {
                    self.system_frame(
                        socket,
                        &format!("v2.system.no_longer_subscribed.{}", channel.id),
                        &channel.id,
                        Some("no_longer_subscribed"),
                        Some("another_channel_subscribed"),
                        "Channel is no longer subscribed",
                    );
                    self.mute_socket(socket);
                }
            },
            End::Expired => match self.switches.channel_expiry {
                ChannelExpiry::SocketStays => {}
                ChannelExpiry::Close => self.close_socket(socket, "channel expired", now),
            },
        }
    }

    /// Moves the end of a channel's life away from now.
    pub(super) fn extend_channel(&mut self, number: u64, now: Now) {
        let life = self.channel_life();
        if let Some(channel) = self.channels.get_mut(&number) {
            let expires = now.plus(life);
            let sooner = expires.mono < channel.expires.mono;
            channel.expires = expires;
            // A timer is always set for the old instant, and re-arms itself then.
            if sooner {
                self.timers.set(expires.mono, Timer::ChannelExpiry(number));
            }
        }
    }

    pub(super) fn channel_expiry_due(&mut self, number: u64, now: Now) {
        let Some(channel) = self.channels.get(&number) else {
            return;
        };
        if channel.expires.mono <= now.mono {
            self.end_channel(number, End::Expired, now);
        } else {
            self.timers
                .set(channel.expires.mono, Timer::ChannelExpiry(number));
        }
    }

    /// Notes that a channel was used.
    pub(super) fn touch_channel(&mut self, number: u64, now: Now) {
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.used = now.mono;
        }
    }

    /// Adds topics; those already there are kept as they were first named.
    pub(super) fn add_topics(&mut self, number: u64, topics: Vec<Topic>) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        for topic in topics {
            if channel.topics.contains_key(&topic.key) {
                continue;
            }
            channel.leaving.remove(&topic.key);
            for name in topic.names() {
                listen(self.listeners.entry(Arc::clone(name)).or_default(), number);
            }
            channel.topics.insert(Arc::clone(&topic.key), topic);
            self.ledger.topics_total += 1;
        }
        self.account(number);
    }

    /// Removes topics by key; `linger` keeps them live for events for that long.
    pub(super) fn remove_topics<'a>(
        &mut self,
        number: u64,
        keys: impl Iterator<Item = &'a str>,
        linger: Option<Mono>,
        now: Now,
    ) {
        let counted = Duration::from_secs(self.switches.places_freed_seconds);
        for key in keys {
            let Some(channel) = self.channels.get_mut(&number) else {
                return;
            };
            let Some(topic) = channel.topics.remove(key) else {
                continue;
            };
            self.ledger.topics_total -= 1;
            if !counted.is_zero() {
                channel.leaving.retain(|_, until| *until > now.mono);
                let until = now.mono + counted;
                channel.leaving.insert(Arc::clone(&topic.key), until);
            }
            match linger {
                // The listening goes on without the subscription until the timer.
                Some(at) => self.timers.set(at, Timer::StopListening(number, topic)),
                None => self.unlisten(number, &topic),
            }
        }
        self.account(number);
    }

    pub(super) fn unlisten(&mut self, number: u64, topic: &Topic) {
        for name in topic.names() {
            let Some(list) = self.listeners.get_mut(name) else {
                continue;
            };
            if let Some(at) = list.iter().position(|(n, _)| *n == number) {
                list[at].1 -= 1;
                if list[at].1 == 0 {
                    list.remove(at);
                }
            }
            if list.is_empty() {
                self.listeners.remove(name);
            }
        }
    }

    /// Keeps the maxima after a change to a channel's topics or socket.
    pub(super) fn account(&mut self, number: u64) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let held = channel.socket.is_some() || !channel.topics.is_empty();
        match (channel.held, held) {
            (false, true) => self.ledger.held += 1,
            (true, false) => self.ledger.held -= 1,
            _ => {}
        }
        channel.held = held;
        let l = &mut self.ledger;
        l.held_most = l.held_most.max(l.held);
        l.topics_most = l.topics_most.max(channel.topics.len());
        l.topics_total_most = l.topics_total_most.max(l.topics_total);
    }
}

fn listen(list: &mut Listeners, number: u64) {
    match list.iter_mut().find(|(n, _)| *n == number) {
        Some((_, count)) => *count += 1,
        None => list.push((number, 1)),
    }
}
