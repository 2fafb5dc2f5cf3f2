//! Channels that were given up while the platform may still hold topics on
//! them: those are taken off over REST (design, guarantee 3: with topics a
//! channel counts as held, and is not the first that the platform evicts).
//!
//! It may not decide that a channel is given up; sockets, hand-over and
//! re-attachment do.
//!
//! Invariant: such a channel is in the list, and kept for a restart, until the
//! platform says a second time that it is empty, or that it is unknown, or its life is over:
//! what was sent on its socket may be obeyed after the first time. It takes a
//! place of `max-channels`, so that a successor comes after it, while nothing
//! can be heard from the platform, and for a short while after; not for longer,
//! since watching is worth more than one channel too many.

use std::time::Duration;

use super::calls::{ChannelRef, Purpose};
use super::channel::Channel;
use super::client::Client;
use super::limits::{
    ABANDONED_MAX, CHANNEL_LIFE, CHANNELS_MAX, EMPTIED_FOR_GOOD, EMPTYING_PAUSE_MAX,
    EMPTYING_PRECEDES,
};
use super::rest::{Answer, Failure, Op, Outcome};
use base::notice::{Level, Notice};
use base::rows::ChannelRow;
use base::secret::Secret;
use base::time::{Deadline, Mono, Now};

const _: () = assert!(ABANDONED_MAX + 2 * CHANNELS_MAX as usize <= u8::MAX as usize);

/// A channel to be emptied.
#[derive(Debug)]
struct Given {
    /// What it was called while it served.
    name: String,
    /// As it is kept; its slot is beyond those of serving channels.
    row: ChannelRow,
    /// No later than its life, on the clock that nobody moves.
    until: Mono,
    next: Mono,
    tries: u32,
    /// Of these: to take something off.
    attempts: u32,
    /// The last answer was a good one that did not say whether it is empty: it is looked at.
    vague: bool,
    asked: bool,
    /// The last try brought no answer.
    unheard: bool,
    place: Place,
    /// It was empty once. What had been sent before its socket went may have come after that.
    emptied: bool,
}

/// Whether it takes a place of `max-channels`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    No,
    /// Until the platform answers anything at all: so far no successor could be made either.
    UntilHeard,
    Until(Mono),
}

/// The channels to be emptied.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    list: Vec<Given>,
}

impl Abandoned {
    /// Gives the one that had to make room, if any.
    fn add(&mut self, row: ChannelRow, precedes: bool, now: Now) -> Option<Given> {
        if let Some(given) = self.list.iter_mut().find(|g| g.row.id == row.id) {
            if std::mem::take(&mut given.emptied) {
                given.next = now.mono;
            }
            return None;
        }
        let full = self.list.len() >= ABANDONED_MAX;
        let least = self.list.iter().position(|g| g.emptied).unwrap_or(0);
        let out = full.then(|| self.list.remove(least));
        let out = out.filter(|g| !g.emptied);
        let name = format!("{}/{}", row.slot, row.id.tail());
        let taken = |slot: &u8| self.list.iter().any(|g| g.row.slot == *slot);
        let slot = (CHANNELS_MAX + 1..).find(|s| !taken(s));
        self.list.push(Given {
            name,
            row: ChannelRow {
                slot: slot.unwrap_or(u8::MAX),
                ..row
            },
            until: now.mono + CHANNEL_LIFE,
            next: now.mono,
            tries: 0,
            attempts: 0,
            vague: false,
            asked: false,
            unheard: false,
            emptied: false,
            place: match precedes {
                true => Place::UntilHeard,
                false => Place::No,
            },
        });
        out
    }

    /// Places of `max-channels` that are not free yet.
    pub(super) fn places(&self, now: Now) -> usize {
        let holds = |g: &&Given| match g.place {
            Place::No => false,
            Place::UntilHeard => true,
            Place::Until(at) => at > now.mono,
        };
        self.list.iter().filter(holds).count()
    }

    /// This channel is among them.
    pub(super) fn has(&self, id: &Secret) -> bool {
        self.list.iter().any(|g| g.row.id == *id)
    }

    /// As they are kept for a restart.
    pub(super) fn rows(&self) -> impl Iterator<Item = &ChannelRow> {
        self.list.iter().map(|g| &g.row)
    }

    /// When the next one is to be emptied, or ceases to take a place.
    pub(super) fn deadline(&self, token: bool, now: Now) -> Option<Deadline> {
        let why = "channel given up";
        let emptying = |g: &Given| (token && !g.asked).then_some(g.next);
        let place = |g: &Given| match g.place {
            Place::Until(at) => Some(at).filter(|at| *at > now.mono),
            Place::No | Place::UntilHeard => None,
        };
        let soonest = |g: &Given| [emptying(g), place(g)].into_iter().flatten().min();
        let at = self.list.iter().filter_map(soonest).min()?;
        Some(Deadline { at, why })
    }
}

impl Client {
    /// The platform has answered a call, whatever it said: what was not heard is asked again.
    pub(super) fn platform_heard(&mut self, now: Now) {
        for given in &mut self.abandoned.list {
            if given.place == Place::UntilHeard {
                given.place = Place::Until(now.mono + EMPTYING_PRECEDES);
            }
            if std::mem::take(&mut given.unheard) {
                given.next = now.mono;
            }
        }
    }

    /// Has the topics taken off a channel that is given up although the platform may still
    /// know it. `precedes`: no other takes its place before that has been tried.
    pub(super) fn abandon(&mut self, slot: u8, precedes: bool, now: Now) {
        let row = self
            .channels
            .get(&slot)
            .filter(|c| c.resync || c.books.may_hold())
            .and_then(Channel::row);
        if let Some(row) = row {
            let out = self.abandoned.add(row, precedes, now);
            self.not_emptied(out);
        }
    }

    /// The same for a channel of an earlier run.
    pub(super) fn abandon_row(&mut self, row: ChannelRow, now: Now) {
        let out = self.abandoned.add(row, false, now);
        self.not_emptied(out);
    }

    /// The same for a channel of which only the id is left.
    pub(super) fn abandon_id(&mut self, id: Secret, now: Now) {
        let row = ChannelRow {
            slot: CHANNELS_MAX + 1,
            id,
            connect_uri: Secret::new(String::new()),
            created_at: now.wall,
            expires_at: now.wall + CHANNEL_LIFE,
            token_ends_at: now.wall + CHANNEL_LIFE,
        };
        self.abandon_row(row, now);
    }

    /// The channel is the one that was meant, and not being given up.
    pub(super) fn serves(&self, channel: ChannelRef) -> bool {
        channel
            .of(&self.channels)
            .is_some_and(|c| !c.retiring() && !c.dead)
    }

    fn not_emptied(&mut self, given: impl IntoIterator<Item = Given>) {
        for given in given {
            let text = "a channel given up could not be emptied: it counts on the platform until it expires";
            self.notice(Notice::new(Level::Warn, "channel-not-emptied", text).on(given.name));
        }
    }

    pub(super) fn empty_abandoned(&mut self, now: Now) {
        let over = |g: &mut Given| g.until <= now.mono;
        let over = self.abandoned.list.extract_if(.., over);
        let over: Vec<Given> = over.filter(|g| !g.emptied).collect();
        self.not_emptied(over);
        if self.token.current(now).is_none() {
            return;
        }
        for given in &mut self.abandoned.list {
            if given.next <= now.mono && !std::mem::replace(&mut given.asked, true) {
                let id = given.row.id.clone();
                // Two ways, in turn: what keeps failing may be one of them alone.
                let op = match given.attempts % 2 {
                    _ if given.vague => Op::Subscriptions(id.clone()),
                    0 => Op::Empty(id.clone()),
                    _ => Op::RemoveAll(id.clone()),
                };
                self.calls.queue(op, Purpose::Empty(id), now);
            }
        }
    }

    /// The platform was asked to empty a channel that was given up.
    pub(super) fn emptied(&mut self, id: &Secret, outcome: &Outcome, now: Now) {
        let list = &mut self.abandoned.list;
        let Some(at) = list.iter().position(|g| g.row.id == *id) else {
            return;
        };
        let Some(given) = list.get_mut(at) else {
            return;
        };
        given.asked = false;
        let looked = given.vague;
        given.attempts += u32::from(!looked);
        given.vague = !looked && matches!(outcome.result, Ok(Answer::Done));
        let again = match &outcome.result {
            Ok(Answer::Topics(left)) => !left.is_empty(),
            // A good answer without a list may be a proxy's, as often as it comes.
            Ok(_) => true,
            Err(
                Failure::Server { .. }
                | Failure::NoAnswer(_)
                | Failure::Unauthorized
                | Failure::Garbled,
            ) => true,
            _ => false,
        };
        if again {
            given.unheard = matches!(outcome.result, Err(Failure::NoAnswer(_)));
            let pause = Duration::from_secs(5 << given.tries.min(6)).min(EMPTYING_PAUSE_MAX);
            given.tries += 1;
            given.next = now.mono + self.rng.jitter(pause);
        } else if outcome.result.is_ok() && !std::mem::replace(&mut given.emptied, true) {
            given.place = Place::No;
            given.tries = 0;
            given.attempts = 0;
            given.next = now.mono + EMPTIED_FOR_GOOD;
        } else {
            list.remove(at);
        }
    }
}
