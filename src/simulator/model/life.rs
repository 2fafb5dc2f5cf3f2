//! Whole lives of conversations on timers.
//!
//! Invariant: a life does nothing that a command could not do; what a
//! command has made impossible meanwhile is left out.

use std::time::Duration;

use serde::Deserialize;

use super::acts::Start;
use super::control::ControlError;
use super::conversation::Media;
use super::{Platform, Timer};
use base::ids::ConversationId;
use base::time::Now;

/// The whole life of a conversation, on timers from now: agents talk one after
/// the other, each wraps up after its own after-call work.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Life {
    /// Its id; a random one if missing.
    #[serde(deserialize_with = "super::control::maybe_an_id")]
    pub id: Option<ConversationId>,
    /// Its medium.
    pub media: Media,
    /// Whether the customer begins it.
    pub inbound: bool,
    /// Agents who talk in turn, by transfer; 1 to 20.
    pub agents: u32,
    /// Whether after-call work is required of them.
    pub acw: bool,
    /// Until it begins, in milliseconds.
    pub start_after_ms: u64,
    /// How long each agent talks, in milliseconds.
    pub talk_ms: u64,
    /// How long each agent's after-call work takes, in milliseconds.
    pub acw_ms: u64,
    /// The last agent skips instead of wrapping up.
    pub skip: bool,
    /// Where none is required, the last agent wraps up all the same, this long after the
    /// end, in milliseconds.
    pub late_ms: Option<u64>,
    /// The last agent changes the wrap-up this long after it, in milliseconds.
    pub rewrap_after_ms: Option<u64>,
    /// It is re-opened this long after its end, for one more talk, in milliseconds.
    pub reopen_after_ms: Option<u64>,
}

impl Default for Life {
    fn default() -> Self {
        Life {
            id: None,
            media: Media::Voice,
            inbound: true,
            agents: 1,
            acw: true,
            start_after_ms: 0,
            talk_ms: 180_000,
            acw_ms: 30_000,
            skip: false,
            late_ms: None,
            rewrap_after_ms: None,
            reopen_after_ms: None,
        }
    }
}

/// One act of a life, on a timer.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Begin(ConversationId, Box<Life>),
    Transfer(ConversationId, bool),
    End(ConversationId),
    WrapUp(ConversationId, usize),
    Skip(ConversationId, usize),
    Rewrap(ConversationId, usize),
    Reopen(ConversationId, bool),
}

impl Platform {
    /// Plans a life; returns the id that it will have.
    pub(super) fn plan(&mut self, life: &Life, now: Now) -> Result<ConversationId, ControlError> {
        if !(1..=20).contains(&life.agents) {
            return Err(ControlError::Invalid("agents must be 1 to 20".into()));
        }
        let id = life.id.unwrap_or_else(|| ConversationId(self.rng.uuid()));
        if life.start_after_ms == 0 {
            self.begin_life(id, life, now)?;
        } else {
            self.at(
                life.start_after_ms,
                Step::Begin(id, Box::new(life.clone())),
                now,
            );
        }
        Ok(id)
    }

    fn at(&mut self, after_ms: u64, step: Step, now: Now) {
        self.timers.set(
            now.mono + Duration::from_millis(after_ms),
            Timer::Step(step),
        );
    }

    fn begin_life(
        &mut self,
        id: ConversationId,
        life: &Life,
        now: Now,
    ) -> Result<(), ControlError> {
        let start = Start {
            id: Some(id),
            media: life.media,
            inbound: life.inbound,
            agents: 1,
            acw: life.acw,
        };
        self.start(&start, now)?;
        let mut talked = life.talk_ms;
        let agents = life.agents as usize;
        for agent in 0..agents {
            let last = agent + 1 == agents;
            let step = if last {
                Step::End(id)
            } else {
                Step::Transfer(id, life.acw)
            };
            self.at(talked, step, now);
            let done = talked.saturating_add(life.acw_ms);
            if life.acw {
                let step = if last && life.skip {
                    Step::Skip(id, agent)
                } else {
                    Step::WrapUp(id, agent)
                };
                self.at(done, step, now);
                if let (true, false, Some(after)) = (last, life.skip, life.rewrap_after_ms) {
                    self.at(done.saturating_add(after), Step::Rewrap(id, agent), now);
                }
            }
            if let (true, false, Some(after)) = (last, life.acw, life.late_ms) {
                self.at(talked.saturating_add(after), Step::WrapUp(id, agent), now);
            }
            if let (true, Some(after)) = (last, life.reopen_after_ms) {
                let again = talked.saturating_add(after);
                let ends = again.saturating_add(life.talk_ms);
                self.at(again, Step::Reopen(id, life.acw), now);
                self.at(ends, Step::End(id), now);
                if life.acw {
                    self.at(
                        ends.saturating_add(life.acw_ms),
                        Step::WrapUp(id, agents),
                        now,
                    );
                }
            }
            talked = talked.saturating_add(life.talk_ms);
        }
        Ok(())
    }

    pub(super) fn step_due(&mut self, step: Step, now: Now) {
        // A life may be disturbed by commands; what cannot be done any more is left out.
        let done = match step {
            Step::Begin(id, life) => self.begin_life(id, &life, now),
            Step::Transfer(id, acw) => self.transfer(id, None, acw, now).map(drop),
            Step::End(id) => self.end(id, now),
            Step::WrapUp(id, leg) => self.wrap_up(id, Some(leg), None, None, now).map(drop),
            Step::Skip(id, leg) => self.skip(id, Some(leg), now).map(drop),
            Step::Rewrap(id, leg) => self.rewrap(id, Some(leg), None, None, now).map(drop),
            Step::Reopen(id, acw) => self.reopen(id, false, acw, now).map(drop),
        };
        if let Err(error) = done {
            self.journal
                .add(now.wall, "step-left-out", None, || error.to_string());
        }
    }
}
