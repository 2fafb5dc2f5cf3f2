//! What must hold while the world goes on: the bounds and the books after every
//! step, and twice a minute what is believed live against what the platform knows.

use std::collections::{BTreeMap, BTreeSet};

use genesys_gateway::filing::topic_of;
use genesys_gateway::simulator::model::switches::ForeignChannels;

use super::{ANSWER_MAX, DEAF_MAX, HELD_LOOKS_MAX};
use crate::full::Full;
use crate::plan::Kind;

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
        if self.disk.outstanding() > 3 {
            self.fail(format!(
                "{} orders are outstanding at the store",
                self.disk.outstanding()
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
        let ledger = self.net.platform.truth().ledger();
        // A process that follows another serves before it could ask what its channels hold.
        let alone = !(self.plan.has(Kind::Kill) || self.plan.has(Kind::Restart));
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
