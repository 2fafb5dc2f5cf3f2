//! Callers name conversations that do not exist, more than there are places, and those that do
//! must not wait for it.

use std::collections::{BTreeMap, BTreeSet};

use base::ids::ConversationId;
use filing::topic_of;
use proto::snapshot::{ChannelState, ChannelView};

use crate::agenda::SECOND;
use crate::full::{Ask, Event, Full};
use crate::plan::Kind;

/// So many are named at most: where places are very many, they are only a nuisance.
const INVENTED_MAX: usize = 240;
/// Looks in a row, two a minute, for which a conversation that exists may wait for a place while
/// one that does not has it, REST serves, and nothing else has to be asked.
const WAITING_LOOKS_MAX: u32 = 20;

/// What was invented, and who waits because of it.
#[derive(Default)]
pub(crate) struct Invented {
    ids: BTreeSet<ConversationId>,
    waits: BTreeMap<ConversationId, u32>,
}

impl Invented {
    pub(crate) fn is(&self, id: ConversationId) -> bool {
        self.ids.contains(&id)
    }
}

impl Full {
    /// One caller names as many as there are places, and some.
    pub(crate) fn invent(&mut self) {
        let places = usize::from(self.plan.max_channels) * self.plan.topics_per_channel;
        let most = (places + places / 10 + 1).min(INVENTED_MAX);
        let now = self.clock.time;
        for n in 0..most.saturating_sub(self.checks.invented.ids.len()) {
            let number = (self.checks.invented.ids.len() as u128) + 1;
            let id = ConversationId(uuid::Uuid::from_u128((0x1117 << 100) | number));
            self.checks.invented.ids.insert(id);
            let at = now + (n as u64) * SECOND / 20;
            self.agenda.plan(at, Event::Ask(Ask::Accept(id, 0), 0));
        }
    }

    /// Twice a minute: who exists and waits, while who does not exist has a place.
    pub(crate) fn look_at_places(&mut self) {
        // Where 404 is said of what exists, it proves nothing, and nobody gives way.
        if self.checks.invented.ids.is_empty() || self.plan.has(Kind::ConversationRefused) {
            return;
        }
        let Some(gateway) = &self.gateway else {
            return self.checks.invented.waits.clear();
        };
        let told = gateway.platform().snapshot(self.clock.now());
        let asks = self.net.rest_serves && told.token_held && told.rest_quiet.is_zero();
        let live: Vec<_> = gateway.filing().live_interactions().collect();
        let held = live
            .iter()
            .any(|(id, state)| state.live && self.checks.invented.is(*id));
        // What gaps hid goes first, and has no end while the line is bad.
        let gap = told.last_gap.is_some_and(|ago| ago.as_secs() < 600);
        // A channel that cannot be had is no place that somebody else has.
        let serve = |c: &ChannelView| c.state == ChannelState::Live;
        let all = told.channels.iter().filter(|c| serve(c)).count();
        let full = all == usize::from(self.plan.max_channels);
        if !asks || !held || gap || !full {
            // Nothing can be done about it, or nothing need be.
            return self.checks.invented.waits.clear();
        }
        let mut waits = BTreeMap::new();
        for (id, state) in &live {
            let known = self.net.platform.truth().conversation(*id);
            // Those that are over may have given way themselves.
            let exists = known.is_some_and(|c| !c.finished());
            if !state.live && exists && gateway.platform().waits(&topic_of(*id)) {
                let looks = self.checks.invented.waits.get(id).copied().unwrap_or(0);
                waits.insert(*id, looks + 1);
            }
        }
        // A place that is given up is free when the platform says so.
        let freed = self.plan.switches.places_freed_seconds;
        let most = WAITING_LOOKS_MAX + 2 * u32::try_from(freed / 30).unwrap_or(0);
        let late = waits.iter().find(|(_, n)| **n > most);
        let late = late.map(|(id, n)| (*id, *n));
        self.checks.invented.waits = waits;
        if let Some((id, n)) = late {
            self.fail(format!(
                "{id} has waited for a place at {n} looks, and one that does not exist has one"
            ));
        }
    }
}
