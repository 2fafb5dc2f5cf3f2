//! What must hold while the world goes on: the bounds and the books after every
//! step, and twice a minute what is believed live against what the platform knows.

use std::collections::{BTreeMap, BTreeSet};

use filing::topic_of;
use proto::rollover::Replacement;
use proto::snapshot::ChannelState;
use simulator::model::switches::ForeignChannels;

use super::{ANSWER_MAX, DEAF_MAX, HELD_LOOKS_MAX, IDLE_LOOKS_MAX, MADE_MAX, PEACE_MAX};
use crate::agenda::HOUR;
use crate::full::Full;

impl Full {
    /// Invariants 3 and 8, after every step that did something.
    pub(crate) fn check_core(&mut self) {
        let Some(gateway) = &self.gateway else { return };
        let client = gateway.platform();
        if let Err(text) = client.audit() {
            return self.fail(text);
        }
        let (channels, topics) = client.held();
        if channels > usize::from(self.plan.max_channels) || topics > self.plan.topics_per_channel {
            return self.fail(format!("{channels} channels, {topics} topics on one"));
        }
        if let Err(text) = self.check_turns() {
            return self.fail(text);
        }
        if self.disk.outstanding() > 3 {
            self.fail(format!(
                "{} orders are outstanding at the store",
                self.disk.outstanding()
            ));
        }
    }

    /// A channel that watches no more is replaced before those that still do.
    fn check_turns(&mut self) -> Result<(), String> {
        let Some(gateway) = &self.gateway else {
            return Ok(());
        };
        let mut all: Vec<Replacement> = gateway
            .platform()
            .to_be_replaced(self.clock.now())
            .collect();
        if let Some(s) = &mut self.sabotage {
            s.replacements(&mut all);
        }
        let before = std::mem::take(&mut self.checks.waited);
        let waits = all.iter().filter(|r| !r.under_way);
        self.checks.waited = waits.map(|r| r.slot).collect();
        // One at a time of those that watch no more; a closing one waits for nobody.
        if all.iter().any(|r| r.suspect && r.under_way) {
            return Ok(());
        }
        let begun = all
            .iter()
            .find(|r| r.under_way && !r.suspect && before.contains(&r.slot));
        let passed = all
            .iter()
            .find(|r| r.suspect && !r.under_way && r.due && before.contains(&r.slot));
        match (begun, passed) {
            (Some(begun), Some(passed)) => Err(format!("{begun:?} goes before {passed:?}")),
            _ => Ok(()),
        }
    }

    /// While no socket can be had, or channels lead elsewhere, few channels are made: that one
    /// was made is no success of its socket.
    fn check_made(&mut self) {
        let now = self.clock.time;
        let refused = self.net.refusal.is_some_and(|r| now < r.until);
        if !refused && now >= self.net.astray_until {
            self.checks.made.clear();
            return;
        }
        let made = self.net.platform.truth().ledger().channels_created;
        let looks = &mut self.checks.made;
        looks.push_back((now, made));
        while looks.front().is_some_and(|(at, _)| now - at > HOUR) {
            looks.pop_front();
        }
        let of_late = looks.front().map_or(0, |(_, before)| made - before);
        self.tally.most_made = self.tally.most_made.max(of_late);
        if of_late > MADE_MAX {
            self.fail(format!(
                "{of_late} channels were made within an hour in which no socket could be had"
            ));
        }
    }

    /// In peace somebody watches.
    fn check_serving(&mut self) {
        let now = self.clock.time;
        let peace = self.checks.peace.is_some_and(|at| now - at > PEACE_MAX);
        let Some(gateway) = self.gateway.as_ref().filter(|_| peace) else {
            return self.checks.idle_looks = 0;
        };
        let told = gateway.platform().snapshot(self.clock.now());
        let serves = told.channels.iter().any(|c| c.state == ChannelState::Live);
        let waiting = told.topics_waiting + told.topics_pending;
        if serves || waiting == 0 {
            return self.checks.idle_looks = 0;
        }
        self.checks.idle_looks += 1;
        if self.checks.idle_looks > IDLE_LOOKS_MAX {
            self.fail(format!(
                "no channel serves {waiting} topics, long after the last trouble: {told:?}"
            ));
        }
    }

    /// Twice a minute: invariant 4, and what is believed live.
    pub(crate) fn look(&mut self) {
        let now = self.clock.time;
        if let Some(w) = self.callers.values().find(|w| now - w.since > ANSWER_MAX) {
            let text = format!("{:?} has waited {} ms for its answer", w.ask, now - w.since);
            return self.fail(text);
        }
        self.check_made();
        self.check_serving();
        let ledger = self.net.platform.truth().ledger();
        // A process that follows another serves before it could ask what its channels hold.
        let alone = self.checks.processes.len() < 2;
        // Where places are freed late the platform counts more than anybody can know.
        let late = self.plan.switches.places_freed_seconds > 0;
        let over = !late && ledger.over_limit > 0;
        if alone && (ledger.topics_most > self.plan.topics_per_channel || over) {
            return self.fail(format!(
                "{} topics on a channel, {} subscribes over the limit",
                ledger.topics_most, ledger.over_limit
            ));
        }
        let Some(gateway) = &self.gateway else { return };
        let mut heard: BTreeSet<&str> = BTreeSet::new();
        let (mut sockets, mut held) = (0, 0);
        for c in self.net.platform.truth().channels() {
            // What an earlier token made nobody can empty where REST does not reach it.
            let reachable = self.plan.switches.foreign_channels == ForeignChannels::Reachable;
            let heard_here = c.socket.is_some_and(|s| self.net.heard_by_session(s));
            let counts = c.usable && (heard_here || c.topics > 0 && reachable);
            held += usize::from(counts && !self.checks.leaked.contains(c.id));
            if heard_here {
                sockets += 1;
                heard.extend(c.topic_names());
            }
        }
        let mut trouble = None;
        if sockets > usize::from(self.plan.max_channels) {
            trouble = Some(format!("{sockets} channels have a socket"));
        }
        if held <= usize::from(self.plan.max_channels) {
            self.checks.held_looks = 0;
        } else {
            // Emptying what was given up takes a request, and a platform that serves it.
            let told = gateway.platform().snapshot(self.clock.now());
            let may = told.token_held && told.rest_quiet.is_zero();
            let serves = self.net.rest_serves && may;
            self.checks.held_looks += u32::from(serves);
            if self.checks.held_looks > HELD_LOOKS_MAX {
                let there: Vec<_> = self
                    .net
                    .platform
                    .truth()
                    .channels()
                    .map(|c| {
                        (
                            c.id.len(),
                            &c.id[c.id.len() - 4..],
                            c.socket,
                            c.topics,
                            c.usable,
                            c.expires,
                        )
                    })
                    .collect();
                let known = gateway.platform().snapshot(self.clock.now()).channels;
                trouble = Some(format!(
                    "{held} channels are held: {there:?}, known: {known:?}"
                ));
            }
        }
        let mut deaf = BTreeMap::new();
        for (id, state) in gateway.filing().live_interactions() {
            let topic = topic_of(id);
            if !gateway.platform().is_wanted(&topic) {
                trouble = Some(format!(
                    "{id} is {:?} and its topic is not wanted",
                    state.state
                ));
            }
            if state.due_at.is_none() && (!state.live || state.owed) {
                trouble = Some(format!("{id} is neither live nor due: {state:?}"));
            }
            if state.live && !gateway.platform().is_live(&topic) {
                trouble = Some(format!("{id} is live for one half and not for the other"));
            }
            if state.live && !heard.contains(topic.as_str()) {
                let since = self.checks.deaf.get(&id).copied().unwrap_or(now);
                deaf.insert(id, since);
                if now - since > DEAF_MAX {
                    trouble = Some(format!(
                        "{id} is believed live, but has not been for {} ms",
                        now - since
                    ));
                }
            }
        }
        self.checks.deaf = deaf;
        if let Some(text) = trouble {
            self.fail(text);
        }
    }
}
