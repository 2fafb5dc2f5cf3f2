//! What people do in conversations: talk, leave, transfer, wrap up, skip,
//! change their minds.
//!
//! Invariant: a wrap-up is written to the truth before its event is emitted,
//! and REST shows it in the same instant.

use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use super::Platform;
use super::control::ControlError;
use super::conversation::{Conversation, Leg, Media, SKIPPED_CODE, Wrap};
use super::operational::{event_body, event_of_call};
use super::switches::{CallbackWrapup, Rewrap, SkippedAcw};
use super::truth::WrapUp;
use base::ids::ConversationId;
use base::time::{Now, Wall};

/// Most agent legs of one conversation.
const AGENT_LEGS_MOST: usize = 100;

/// Codes that agents choose from.
const CODES: [&str; 4] = [
    "3e9f7b20-48d6-4c1a-85b7-0a6c2e4d9f81",
    "5b1d2c3e-9a8f-4e7d-8c6b-5a4f3e2d1c0b",
    "0c9d8e7f-6a5b-4c3d-9e1f-2a3b4c5d6e7f",
    "Default Wrap-up Code",
];

/// A conversation that begins.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Start {
    /// Its id; a random one if missing.
    #[serde(deserialize_with = "super::control::maybe_an_id")]
    pub id: Option<ConversationId>,
    /// Its medium.
    pub media: Media,
    /// Whether the customer begins it.
    pub inbound: bool,
    /// Agents connected at once; 1 to 20.
    pub agents: u32,
    /// Whether after-call work is required of them.
    pub acw: bool,
}

impl Default for Start {
    fn default() -> Self {
        Start {
            id: None,
            media: Media::Voice,
            inbound: true,
            agents: 1,
            acw: true,
        }
    }
}

/// Which sort of wrap-up is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    First,
    Changed,
    Skipped,
}

impl Platform {
    pub(super) fn start(
        &mut self,
        start: &Start,
        now: Now,
    ) -> Result<ConversationId, ControlError> {
        if !(1..=20).contains(&start.agents) {
            return Err(ControlError::Invalid("agents must be 1 to 20".into()));
        }
        let id = start.id.unwrap_or_else(|| ConversationId(self.rng.uuid()));
        if self.conversations.contains_key(&id) {
            return Err(ControlError::Conflict(
                "the conversation exists already".into(),
            ));
        }
        self.make_room()?;
        let mut conversation = Conversation::begin(
            id,
            start.media,
            start.inbound,
            self.queue,
            &mut self.rng,
            now.wall,
        );
        for _ in 0..start.agents {
            let user = self.agent();
            conversation.agent_joins(user, start.acw, &mut self.rng, now.wall);
        }
        self.journal
            .add(now.wall, "conversation", None, || id.to_string());
        self.by_start.insert((now.wall, id));
        self.ages.push_back(id);
        self.conversations.insert(id, conversation);
        Ok(id)
    }

    /// One of a few hundred agents.
    fn agent(&mut self) -> Uuid {
        let n = self.rng.below(200);
        super::name_uuid(&format!("agent {n}"))
    }

    /// Forgets the oldest conversation that is over, if the table is full.
    fn make_room(&mut self) -> Result<(), ControlError> {
        let mut looked = 0;
        while self.conversations.len() >= self.limits.conversations {
            looked += 1;
            if looked > 1000 {
                return Err(ControlError::Full(
                    "no conversation can be forgotten".into(),
                ));
            }
            let Some(oldest) = self.ages.pop_front() else {
                return Err(ControlError::Full("no room for a conversation".into()));
            };
            if self
                .conversations
                .get(&oldest)
                .is_some_and(|c| !c.finished())
            {
                self.ages.push_back(oldest);
            } else {
                self.forget(oldest);
            }
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, id: ConversationId) {
        if let Some(c) = self.conversations.remove(&id) {
            self.by_start.remove(&(c.start, id));
        }
    }

    fn known(&mut self, id: ConversationId) -> Result<&mut Conversation, ControlError> {
        self.conversations
            .get_mut(&id)
            .ok_or_else(|| ControlError::NotFound(format!("no conversation {id}")))
    }

    /// The leg that is meant: the given one, else the first pending, else the
    /// first connected, else the last.
    fn choose(&mut self, id: ConversationId, leg: Option<usize>) -> Result<usize, ControlError> {
        let c = self.known(id)?;
        let count = c.agent_legs.len();
        let first = |wanted: &dyn Fn(&Leg) -> bool| {
            (0..count).find(|n| c.agent_leg(*n).is_some_and(|(_, l)| wanted(l)))
        };
        let chosen = match leg {
            Some(n) => (n < count).then_some(n),
            None => first(&|l| l.acw.pending())
                .or_else(|| first(&|l| l.disconnected.is_none()))
                .or_else(|| count.checked_sub(1)),
        };
        chosen.ok_or_else(|| ControlError::NotFound("no such agent leg".into()))
    }

    /// The agent finishes after-call work. A leg still connected is disconnected first.
    pub(super) fn wrap_up(
        &mut self,
        id: ConversationId,
        leg: Option<usize>,
        code: Option<&str>,
        notes: Option<&str>,
        now: Now,
    ) -> Result<usize, ControlError> {
        let leg = self.choose(id, leg)?;
        self.leave(id, leg, now)?;
        let c = self.known(id)?;
        let Some(l) = c.agent_leg_mut(leg) else {
            return Err(ControlError::NotFound("no such agent leg".into()));
        };
        if !l.acw.wraps.is_empty() || l.acw.skipped.is_some() {
            return Err(ControlError::Conflict(
                "this leg has been wrapped up".into(),
            ));
        }
        // An agent may wrap up without being asked to.
        l.acw.required = true;
        l.acw.start = l.acw.start.or(l.disconnected);
        self.record(id, leg, Sort::First, code, notes, now)?;
        Ok(leg)
    }

    pub(super) fn skip(
        &mut self,
        id: ConversationId,
        leg: Option<usize>,
        now: Now,
    ) -> Result<usize, ControlError> {
        let leg = self.choose(id, leg)?;
        self.leave(id, leg, now)?;
        let c = self.known(id)?;
        match c.agent_leg_mut(leg) {
            Some(l) if l.acw.pending() => {}
            _ => {
                return Err(ControlError::Conflict(
                    "no after-call work is pending".into(),
                ));
            }
        }
        self.record(id, leg, Sort::Skipped, None, None, now)?;
        Ok(leg)
    }

    pub(super) fn rewrap(
        &mut self,
        id: ConversationId,
        leg: Option<usize>,
        code: Option<&str>,
        notes: Option<&str>,
        now: Now,
    ) -> Result<usize, ControlError> {
        let c = self.known(id)?;
        let done = |n: usize| c.agent_leg(n).is_some_and(|(_, l)| !l.acw.wraps.is_empty());
        let leg = match leg {
            Some(n) => Some(n).filter(|n| done(*n)),
            None => (0..c.agent_legs.len()).rev().find(|n| done(*n)),
        };
        let leg =
            leg.ok_or_else(|| ControlError::Conflict("nothing has been wrapped up".into()))?;
        self.record(id, leg, Sort::Changed, code, notes, now)?;
        Ok(leg)
    }

    /// The agent saves notes without finishing.
    pub(super) fn draft(
        &mut self,
        id: ConversationId,
        leg: Option<usize>,
        notes: &str,
    ) -> Result<usize, ControlError> {
        let leg = self.choose(id, leg)?;
        if let Some(l) = self.known(id)?.agent_leg_mut(leg) {
            l.acw.draft = Some(notes.to_owned());
        }
        Ok(leg)
    }

    /// Disconnects one agent leg.
    pub(super) fn leave(
        &mut self,
        id: ConversationId,
        leg: usize,
        now: Now,
    ) -> Result<(), ControlError> {
        let c = self.known(id)?;
        if let Some((participant, communication)) = c.agent_legs.get(leg).copied() {
            c.disconnect(participant, communication, "client", now.wall);
        }
        Ok(())
    }

    /// The agent of a leg is this user, and not the one that was drawn by lot: for who plays
    /// certain people.
    ///
    /// # Errors
    /// There is no such conversation, or no such leg.
    pub fn agent_is(
        &mut self,
        id: ConversationId,
        leg: usize,
        user: Uuid,
    ) -> Result<(), ControlError> {
        let c = self.known(id)?;
        let participant = c.agent_legs.get(leg).map(|(participant, _)| *participant);
        match participant.and_then(|n| c.participants.get_mut(n)) {
            Some(participant) => {
                participant.user = Some(user);
                Ok(())
            }
            None => Err(ControlError::NotFound("no such agent leg".into())),
        }
    }

    pub(super) fn transfer(
        &mut self,
        id: ConversationId,
        leg: Option<usize>,
        acw: bool,
        now: Now,
    ) -> Result<usize, ControlError> {
        let user = self.agent();
        let c = self.known(id)?;
        let from = match leg {
            Some(n) => Some(n),
            None => (0..c.agent_legs.len()).rev().find(|n| {
                c.agent_leg(*n)
                    .is_some_and(|(_, l)| l.disconnected.is_none())
            }),
        };
        let Some((participant, communication)) = from.and_then(|n| c.agent_legs.get(n).copied())
        else {
            return Err(ControlError::Conflict("no agent is connected".into()));
        };
        if c.end.is_some() {
            return Err(ControlError::Conflict("the conversation has ended".into()));
        }
        if c.agent_legs.len() >= AGENT_LEGS_MOST {
            return Err(ControlError::Full("too many agent legs".into()));
        }
        c.disconnect(participant, communication, "transfer", now.wall);
        let mut rng = self.rng.clone();
        let leg = self.known(id)?.agent_joins(user, acw, &mut rng, now.wall);
        self.rng = rng;
        Ok(leg)
    }

    /// The customer leaves and everybody is disconnected.
    pub(super) fn end(&mut self, id: ConversationId, now: Now) -> Result<(), ControlError> {
        self.known(id)?.disconnect_all(now.wall);
        Ok(())
    }

    /// Ends, and wraps up everything that is pending.
    pub(super) fn finish(&mut self, id: ConversationId, now: Now) -> Result<usize, ControlError> {
        self.end(id, now)?;
        let c = self.known(id)?;
        let pending: Vec<usize> = (0..c.agent_legs.len())
            .filter(|n| c.agent_leg(*n).is_some_and(|(_, l)| l.acw.pending()))
            .collect();
        for leg in &pending {
            self.wrap_up(id, Some(*leg), None, None, now)?;
        }
        Ok(pending.len())
    }

    /// The conversation goes on: a new participant, or the last agent's with a new communication.
    pub(super) fn reopen(
        &mut self,
        id: ConversationId,
        same_participant: bool,
        acw: bool,
        now: Now,
    ) -> Result<usize, ControlError> {
        let user = self.agent();
        let mut rng = self.rng.clone();
        let c = self.known(id)?;
        if c.end.is_none() {
            return Err(ControlError::Conflict(
                "the conversation has not ended".into(),
            ));
        }
        if c.agent_legs.len() >= AGENT_LEGS_MOST {
            return Err(ControlError::Full("too many agent legs".into()));
        }
        c.customer_returns(&mut rng, now.wall);
        let last = c.agent_legs.len().saturating_sub(1);
        let returned = if same_participant {
            c.agent_returns(last, acw, &mut rng, now.wall)
        } else {
            None
        };
        let leg = match returned {
            Some(leg) => leg,
            None => c.agent_joins(user, acw, &mut rng, now.wall),
        };
        self.rng = rng;
        Ok(leg)
    }

    /// Writes a wrap-up into conversation and truth, and emits its event if it has one.
    fn record(
        &mut self,
        id: ConversationId,
        leg: usize,
        sort: Sort,
        code: Option<&str>,
        notes: Option<&str>,
        now: Now,
    ) -> Result<(), ControlError> {
        let silent = match sort {
            Sort::First => false,
            Sort::Changed => self.switches.rewrap == Rewrap::NoEvent,
            Sort::Skipped => self.switches.skipped_acw == SkippedAcw::NoEvent,
        };
        let code = match (sort, code) {
            (Sort::Skipped, _) => SKIPPED_CODE.to_owned(),
            (_, Some(code)) => code.to_owned(),
            (_, None) => CODES[self.rng.below(CODES.len() as u64) as usize].to_owned(),
        };
        let skew = self.rng.below(self.switches.event_time_skew_ms + 1);
        let number = self.ledger.wrap_ups.len();
        let room = number < self.limits.wrapups;
        let two_events = self.switches.callback_wrapup == CallbackWrapup::TwoEvents;
        let c = self.known(id)?;
        let Some(l) = c.agent_leg_mut(leg) else {
            return Err(ControlError::NotFound("no such agent leg".into()));
        };
        let acw = &mut l.acw;
        let began = acw.start.unwrap_or(now.wall);
        let end = (now.wall - Duration::from_millis(skew)).max(began);
        let in_place = silent && sort == Sort::Changed;
        let previous = acw.wraps.last().cloned();
        let wrap = Wrap {
            code,
            notes: notes.map_or_else(
                || {
                    previous
                        .as_ref()
                        .map_or_else(String::new, |w| w.notes.clone())
                },
                str::to_owned,
            ),
            end: match (&previous, in_place) {
                (Some(previous), true) => previous.end,
                _ => end,
            },
            duration_ms: match (&previous, sort) {
                (_, Sort::Skipped) => 0,
                // A change does not lengthen the after-call work.
                (Some(previous), Sort::Changed) => previous.duration_ms,
                _ => base::time::millis(now.wall.since(began)),
            },
        };
        acw.draft = None;
        if sort == Sort::Skipped {
            acw.skipped = Some(wrap.end);
        }
        let shows = !(silent && sort == Sort::Skipped);
        if in_place {
            acw.wraps.pop();
        }
        if shows {
            acw.wraps.push(wrap.clone());
            // Analytics look a few minutes back at most.
            if acw.wraps.len() > 16 {
                acw.wraps.remove(0);
            }
        }
        // A change in place is no wrap-up of its own: the old one still stands for the leg.
        let superseded = acw.last.filter(|_| !in_place);
        if !in_place {
            acw.last = room.then_some(number);
        }
        let ordinal = acw.count;
        acw.count += 1;
        let Some((participant, l)) = c.agent_leg(leg) else {
            return Err(ControlError::NotFound("no such agent leg".into()));
        };
        let body = event_body(c, participant, l, &wrap, now.wall);
        let twice = c.media == Media::Callback && two_events;
        let truth = WrapUp {
            conversation: id,
            participant: participant.id,
            session: l.session,
            leg,
            ordinal,
            event_time: now.wall,
            rest_end: wrap.end,
            code: wrap.code,
            duration_ms: wrap.duration_ms,
            emitted: !silent,
            shows_in_rest: shows && !in_place,
            at: now.mono,
            frames: 0,
            superseded: None,
        };
        if let Some(old) = superseded.and_then(|n| self.ledger.wrap_ups.get_mut(n)) {
            old.superseded = Some(now.mono);
        }
        if room {
            self.ledger.wrap_ups.push(truth);
        } else {
            self.ledger.wrap_ups_beyond += 1;
        }
        self.journal
            .add(now.wall, "wrap-up", None, || format!("{id} leg {leg}"));
        if !silent {
            self.emit(id, "acw", &body, room.then_some(number), now);
            if twice {
                self.emit(
                    id,
                    "acw",
                    &event_of_call(&body),
                    room.then_some(number),
                    now,
                );
            }
            if self.is_heard(id, "wrapup") {
                let mut sibling = body;
                if let Some(members) = sibling.as_object_mut() {
                    members.remove("userId");
                }
                self.emit(id, "wrapup", &sibling, None, now);
            }
        }
        Ok(())
    }

    /// Forgets the conversations that were over before an instant.
    pub(super) fn forget_finished(&mut self, before: Wall) -> usize {
        let old: Vec<ConversationId> = self
            .conversations
            .values()
            .filter(|c| c.finished() && c.end.is_some_and(|e| e < before))
            .map(|c| c.id)
            .collect();
        for id in &old {
            self.forget(*id);
        }
        self.ages.retain(|id| self.conversations.contains_key(id));
        old.len()
    }
}
