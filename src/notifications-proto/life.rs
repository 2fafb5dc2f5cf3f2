//! How long a channel lives: its own life, extended by subscribing again; its
//! token's; and whether it still is (protocol, sections 2.6 and 8).
//!
//! Extension goes up in steps, each verified by reading `expires` back: what
//! ordinary subscribes did, everything subscribed again over the socket, the
//! same over REST; if nothing moves it, the channel is replaced.
//!
//! It may not replace a channel itself: it says so in `replace`, and
//! [`rollover`](super::rollover) does it.
//!
//! Invariant: a channel that serves topics has confirmed something within
//! [`PROBE_AFTER`] and the patience for one answer, or is being asked.

use std::time::Duration;

use super::books::Batch;
use super::calls::{ChannelRef, Purpose};
use super::channel::{Channel, Phase, Renew, Replace, Term};
use super::client::Client;
use super::limits::{CHANNEL_LIFE, PROBE_AFTER, TOKEN_LEAD_MAX};
use super::reasons::{Suspicion, Why};
use super::rest::{Answer, Op, Outcome};
use super::rollover::{LAST_MOMENT, mono_of};
use base::ids::Topic;
use base::time::{Mono, Now, Wall};

/// A life shorter than this, or longer than usual by this, speaks of clocks that differ.
const CLOCKS_AGREE: Duration = Duration::from_secs(300);

impl Channel {
    /// Until renewing its life is due.
    pub(super) fn renewal_in(&self, renew_before: Duration, now: Now) -> Duration {
        let lead = base::time::millis(renew_before.min(self.life / 2));
        // In whole milliseconds, as deadlines are: else less than one would be left for ever.
        self.expires
            .left(now)
            .saturating_sub(Duration::from_millis(lead))
    }

    /// It was made just now, and the platform says when it will end. Where the clocks
    /// differ so much that this makes no sense, half of the usual life is counted on.
    pub(super) fn begin_life(&mut self, said: Option<Wall>, now: Now) {
        let left = said.map_or(CHANNEL_LIFE, |at| at.since(now.wall));
        self.life = if left < CLOCKS_AGREE || left > CHANNEL_LIFE + CLOCKS_AGREE {
            CHANNEL_LIFE / 2
        } else {
            left
        };
        self.expires_said = said;
        self.expires = Term::after(self.life, now);
    }

    /// The platform says again when it will end: what counts is how far that has moved.
    fn read_life(&mut self, said: Wall, now: Now) {
        match self.expires_said.replace(said) {
            Some(before) => {
                let longer = said.since(before).min(CHANNEL_LIFE);
                let shorter = before.since(said);
                self.expires = Term {
                    mono: (self.expires.mono + longer).minus(shorter),
                    wall: self.expires.wall + longer - shorter,
                };
            }
            // Kept from an earlier run.
            None => {
                let left = said.since(now.wall);
                if left <= CHANNEL_LIFE + CLOCKS_AGREE && !left.is_zero() {
                    self.expires = Term::after(left, now);
                }
            }
        }
    }

    /// When to ask it for a sign of life; `None` while it has something to say by itself.
    pub(super) fn probe_due(&self) -> Option<Mono> {
        let idle = self.phase == Phase::Open
            && !self.suspect
            && self.next.is_none()
            && self.books.quiet()
            && self.books.live().next().is_some();
        idle.then(|| self.answered + PROBE_AFTER)
    }

    /// A message that was sent for the answer alone.
    pub(super) fn is_probe(&self, batch: &Batch) -> bool {
        batch.subscribe && matches!(batch.topics.as_slice(), [t] if self.probed.as_ref() == Some(t))
    }

    /// From when its token's end is a reason to replace it.
    fn token_lead(&self) -> Duration {
        let known = self.token_ends.wall.since(self.created_at);
        // A token that idles out is not followed by the next one much earlier than that.
        TOKEN_LEAD_MAX.min((known / 3).max(Duration::from_secs(25)))
    }
}

impl Client {
    pub(super) fn roll_life(&mut self, slot: u8, now: Now) {
        let current = self.token.current(now).map(|h| h.serial);
        let renew_before = self.settings.renew_before;
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if channel.retiring() || channel.phase == Phase::Creating || channel.dead {
            return;
        }
        if channel.closing_until.is_some_and(|at| at <= now.mono) {
            // Noticed, but neither closed nor taken over: the notice was without consequence.
            channel.closing_over();
        }
        if !channel.suspect && channel.token_ends.over(now) {
            self.suspect(slot, Suspicion::TokenEnded, now);
            return;
        }
        if channel.replace.is_none() && current.is_some_and(|s| s != channel.token_serial) {
            let ends = mono_of(channel.token_ends, now);
            let lead = channel.token_lead();
            channel.replace = Some(Replace {
                why: Why::TokenEnding,
                from: ends.minus(lead),
                by: ends.minus(LAST_MOMENT),
            });
        }
        match channel.renew {
            Renew::Idle
                if channel.phase == Phase::Open
                    && channel.renewal_in(renew_before, now).is_zero()
                    && channel
                        .replace
                        .is_none_or(|r| r.why == Why::TokenEnding && r.from > now.mono) =>
            {
                channel.renew = Renew::Reading;
            }
            Renew::Resubscribing if channel.phase == Phase::Open && channel.books.settled() => {
                channel.renew = Renew::ReadingAgain;
            }
            _ => {}
        }
    }

    pub(super) fn read_expiries(&mut self, now: Now) {
        let reading = |c: &Channel| {
            matches!(
                c.renew,
                Renew::Reading | Renew::ReadingAgain | Renew::ReadingLast
            )
        };
        if self.channels.values().any(reading)
            && now.mono >= self.list_from
            && !self.calls.pending(|p| *p == Purpose::List)
        {
            self.calls.queue(Op::ListChannels, Purpose::List, now);
        }
    }

    /// `expires` was read back.
    pub(super) fn listed(&mut self, outcome: &Outcome, now: Now) {
        let Ok(Answer::Channels(listed)) = &outcome.result else {
            self.list_from = now.mono + Duration::from_secs(30);
            return;
        };
        let mut over_rest = Vec::new();
        for channel in self.channels.values_mut() {
            let found = listed
                .iter()
                .find(|l| l.id.is_some() && l.id == channel.id)
                .and_then(|l| l.expires);
            if let Some(expires) = found {
                channel.read_life(expires, now);
            }
            let extended = !channel
                .renewal_in(self.settings.renew_before, now)
                .is_zero();
            channel.renew = match (channel.renew, extended) {
                (Renew::Reading | Renew::ReadingAgain | Renew::ReadingLast, true) => Renew::Idle,
                (Renew::Reading, false) => {
                    channel.books.resubscribe();
                    Renew::Resubscribing
                }
                (Renew::ReadingAgain, false) => {
                    over_rest.push(channel.slot);
                    Renew::Posting
                }
                (Renew::ReadingLast, false) => {
                    let by = mono_of(channel.expires, now).minus(LAST_MOMENT);
                    channel.replace = Some(Replace {
                        why: Why::LifeEnding,
                        from: now.mono,
                        by,
                    });
                    Renew::Idle
                }
                (other, _) => other,
            };
        }
        for slot in over_rest {
            self.extend_over_rest(slot, now);
        }
    }

    /// Adds the live topics once more over REST. They are added, not put in place of what
    /// is there: what is being subscribed meanwhile must not be lost.
    fn extend_over_rest(&mut self, slot: u8, now: Now) {
        let Some(c) = self.channels.get_mut(&slot) else {
            return;
        };
        let topics: Vec<Topic> = c.books.live().cloned().collect();
        let Some(id) = c.id.clone().filter(|_| !topics.is_empty()) else {
            c.renew = Renew::ReadingLast;
            return;
        };
        let channel = ChannelRef {
            slot,
            incarnation: c.incarnation,
        };
        let purpose = Purpose::Extend(channel, topics.clone());
        self.calls.queue(Op::AddTopics(id, topics), purpose, now);
    }

    /// The topics were added once more, or not; `expires` tells.
    pub(super) fn extended(&mut self, channel: ChannelRef, topics: Vec<Topic>) {
        let Some(c) = channel.of_mut(&mut self.channels).filter(|c| !c.dead) else {
            return;
        };
        c.renew = Renew::ReadingLast;
        // What was given up while the call was under way may be there again.
        for topic in topics {
            if !self
                .channels
                .get(&channel.slot)
                .is_some_and(|c| c.books.has(&topic))
            {
                self.take_off(channel.slot, topic);
            }
        }
    }

    /// Asks a channel on which nothing has been confirmed for a while to confirm one of its
    /// topics, another one each time: an answer proves that the channel still is.
    pub(super) fn probe(&mut self, slot: u8, now: Now) {
        let Some(channel) = self.channels.get_mut(&slot) else {
            return;
        };
        if channel.probe_due().is_none_or(|at| at > now.mono) {
            return;
        }
        channel.probed = channel.books.probe(channel.probed.take());
    }
}
