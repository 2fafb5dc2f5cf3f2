//! Which conversation is asked about next over REST, and how: one by one, or
//! many at once.
//!
//! The prompt question costs one request each; analytics answers many ids at
//! once but late, so it only helps to find those worth a prompt question when
//! very many are due (protocol, section 11.3). The two alternate then, so that
//! urgent ones never wait for the crowd.
//!
//! What a gap touched goes before what is asked in the ordinary course of
//! things, most likely wrap-ups first ([`Class::Gap`]); the ordinary course
//! leaves a share of the budget free for it ([`Fetch::Calm`]), and one turn in
//! [`TURNS`] is its own, because each end that it finds frees a place.
//!
//! Where places are short, those that may have one to give, or deserve one, have every other
//! question ([`Class::Short`], [`Class::Waits`]). Those that wait for a place are asked about in bulk as well: it
//! tells those that exist from invented ones for a fiftieth of the price. What the platform
//! does not know has little of the rest ([`Class::Unknown`]).
//!
//! Invariants: a conversation that was scheduled stays in exactly one place
//! (waiting for its time, ready, or asked) until it is cancelled or its answer
//! is in; at most [`FETCHES_OUTSTANDING_MAX`] questions are unanswered. No
//! operation walks the whole table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::FETCHES_OUTSTANDING_MAX;
use base::fetch::Fetch;
use base::ids::ConversationId;
use base::time::Mono;

/// Up to so many ready conversations are asked about one by one: a dozen seconds of the REST budget.
const ONE_BY_ONE_MAX: usize = 60;
/// Ids in one bulk question (protocol, section 14: 50 is the least maximum to expect).
const BULK_MAX: usize = 50;
/// Ids that make a bulk question worth its while; with fewer, a question about one of them does
/// more.
const BULK_WORTH: usize = 10;
/// After a bulk question was too large even for two, or refused: a pause.
const BULK_PAUSE: Duration = Duration::from_secs(600);
/// Of so many questions about what gaps touched, one goes to what comes next instead. More often,
/// and a full channel of which everybody is just wrapping up is not asked about within three
/// minutes.
const TURNS: u32 = 32;
/// Questions in no hurry that may be unanswered: the rest is for those that are.
const CALM_OUTSTANDING_MAX: usize = 2;
/// Questions about many that may be unanswered.
const BULK_OUTSTANDING_MAX: usize = 2;
/// Bulk questions that must go well before one more id is put in.
const GROW_AFTER: u32 = 2;

/// How urgent a check is; the order of service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Class {
    /// There is news: a bulk answer hinted at it, or a wrap-up was seen that nobody announced.
    Hinted,
    /// Places are short, and its second answer gives one to others, or takes it (true) out of the
    /// line of those that wait.
    Short(bool),
    /// It waits for a place; the lesser the number, the sooner.
    Waits(u64),
    /// A gap touched it. The lesser the number, the more likely it was wrapped up in it.
    Gap(u64),
    /// After an event, a late subscription, or for an end.
    Prompt,
    /// Nothing special.
    Routine,
    /// The platform does not know it.
    Unknown,
}

impl Class {
    /// Whether a bulk question may do; what has to be known now is asked one by one.
    fn in_bulk(self) -> bool {
        self >= Class::Waits(0)
    }

    /// Before all others of the class and of those behind it.
    fn first(self) -> (Class, Mono, ConversationId) {
        (self, Mono(0), ConversationId(uuid::Uuid::nil()))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In `timers`.
    Timed(Mono),
    /// In `ready`, since then; also in `bulk_ready` or `bulk_timers` unless hinted.
    Ready(Mono),
    /// In a question; perhaps wanted again from then on.
    Asked(Option<Mono>),
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    class: Class,
    place: Place,
    /// From when a bulk question is worth its while; never after an event, where only the
    /// prompt question finds an end.
    bulk_at: Mono,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Checks {
    slots: BTreeMap<ConversationId, Slot>,
    timers: BTreeSet<(Mono, ConversationId)>,
    ready: BTreeSet<(Class, Mono, ConversationId)>,
    bulk_ready: BTreeSet<(Class, Mono, ConversationId)>,
    bulk_timers: BTreeSet<(Mono, ConversationId)>,
    outstanding: Vec<Fetch>,
    /// Ids in the next bulk question; fewer than 2 means none.
    bulk_size: usize,
    bulk_good: u32,
    bulk_from: Mono,
    bulk_turn: bool,
    /// Questions about what gaps touched, so far.
    turns: u32,
}

impl Checks {
    pub(super) fn new() -> Checks {
        Checks {
            bulk_size: BULK_MAX,
            ..Checks::default()
        }
    }

    /// Wants a check at `at`, or sooner if one was wanted sooner; the more urgent class wins.
    pub(super) fn schedule(&mut self, id: ConversationId, at: Mono, class: Class) {
        let Some(slot) = self.slots.get(&id).copied() else {
            self.slots.insert(
                id,
                Slot {
                    class,
                    place: Place::Timed(at),
                    bulk_at: match class {
                        Class::Hinted | Class::Short(_) | Class::Waits(_) | Class::Prompt => {
                            Mono::NEVER
                        }
                        Class::Gap(_) | Class::Routine | Class::Unknown => Mono(0),
                    },
                },
            );
            self.timers.insert((at, id));
            return;
        };
        let class = class.min(slot.class);
        let place = match slot.place {
            Place::Timed(was) => {
                let at = at.min(was);
                self.timers.remove(&(was, id));
                self.timers.insert((at, id));
                Place::Timed(at)
            }
            Place::Ready(since) => {
                if class != slot.class {
                    self.take_from_ready(id, slot.class, since, slot.bulk_at);
                    self.put_in_ready(id, class, since, slot.bulk_at, since);
                }
                Place::Ready(since)
            }
            Place::Asked(again) => Place::Asked(Some(again.map_or(at, |a| a.min(at)))),
        };
        self.slots.insert(
            id,
            Slot {
                class,
                place,
                ..slot
            },
        );
    }

    /// Something was learned of it that makes it more urgent, or less.
    pub(super) fn reclass(&mut self, id: ConversationId, class: Class) {
        if let Some(slot) = self.slots.get_mut(&id) {
            let was = std::mem::replace(&mut slot.class, class);
            let slot = *slot;
            if let Place::Ready(since) = slot.place {
                self.take_from_ready(id, was, since, slot.bulk_at);
                self.put_in_ready(id, class, since, slot.bulk_at, since);
            }
        }
    }

    /// A bulk question about it is pointless before `at`.
    pub(super) fn no_bulk_before(&mut self, id: ConversationId, at: Mono) {
        if let Some(slot) = self.slots.get_mut(&id) {
            let was = std::mem::replace(&mut slot.bulk_at, at);
            let slot = *slot;
            if let Place::Ready(since) = slot.place {
                self.take_from_ready(id, slot.class, since, was);
                self.put_in_ready(id, slot.class, since, at, since);
            }
        }
    }

    /// Wants no check any more; an answer under way will be ignored.
    pub(super) fn cancel(&mut self, id: ConversationId) {
        if let Some(slot) = self.slots.remove(&id) {
            match slot.place {
                Place::Timed(at) => {
                    self.timers.remove(&(at, id));
                }
                Place::Ready(since) => self.take_from_ready(id, slot.class, since, slot.bulk_at),
                Place::Asked(_) => {}
            }
        }
    }

    fn put_in_ready(
        &mut self,
        id: ConversationId,
        class: Class,
        since: Mono,
        bulk_at: Mono,
        now: Mono,
    ) {
        self.ready.insert((class, since, id));
        if class.in_bulk() {
            if bulk_at <= now {
                self.bulk_ready.insert((class, since, id));
            } else if bulk_at != Mono::NEVER {
                self.bulk_timers.insert((bulk_at, id));
            }
        }
    }

    fn take_from_ready(&mut self, id: ConversationId, class: Class, since: Mono, bulk_at: Mono) {
        self.ready.remove(&(class, since, id));
        self.bulk_ready.remove(&(class, since, id));
        self.bulk_timers.remove(&(bulk_at, id));
    }

    fn promote(&mut self, now: Mono) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.place = Place::Ready(at);
                let slot = *slot;
                self.put_in_ready(id, slot.class, at, slot.bulk_at, now);
            }
        }
        while let Some(&(at, id)) = self.bulk_timers.first()
            && at <= now
        {
            self.bulk_timers.pop_first();
            if let Some(Slot {
                class,
                place: Place::Ready(since),
                ..
            }) = self.slots.get(&id)
            {
                self.bulk_ready.insert((*class, *since, id));
            }
        }
    }

    /// The first of that class, or of a less urgent one.
    fn from(&self, class: Class) -> Option<(Class, Mono, ConversationId)> {
        self.ready.range(class.first()..).next().copied()
    }

    /// The ids of the next bulk question: what gaps touched, those that wait, and the others.
    fn bulk(&self) -> Vec<ConversationId> {
        let (gap, prompt) = (Class::Gap(0).first(), Class::Prompt.first());
        let all = self.bulk_ready.range(gap..prompt);
        let all = all.chain(self.bulk_ready.range(..gap));
        let all = all.chain(self.bulk_ready.range(prompt..));
        all.take(self.bulk_size).map(|k| k.2).collect()
    }

    /// Whose turn it is to be asked about alone, and whether in no hurry.
    fn alone(&self) -> Option<(ConversationId, bool)> {
        let (mut class, _, mut id) = *self.ready.first()?;
        let about_places = matches!(class, Class::Short(_) | Class::Waits(_));
        if about_places && self.turns.is_multiple_of(2) {
            // Nobody who floods us with ids takes more than half of the questions, and what the
            // platform did not know when it was asked twice is no reason to make others wait.
            let most = match self.turns.is_multiple_of(TURNS) {
                true => self.from(Class::Gap(0)),
                false => self.from(Class::Gap(0)).filter(|o| o.0 != Class::Unknown),
            };
            if let Some(other) = most {
                if other.0 >= Class::Prompt {
                    return Some((other.2, false));
                }
                (class, id) = (other.0, other.2);
            }
        } else if about_places && self.turns % 4 == 3 {
            // Those that wait have a share of it, however many may have a place to give.
            if let Some(other) = self.from(Class::Waits(0)).filter(|o| o.0 < Class::Gap(0)) {
                return Some((other.2, false));
            }
        }
        if class >= Class::Prompt {
            let calm = |f: &&Fetch| matches!(f, Fetch::Calm(_));
            let out = self.outstanding.iter().filter(calm).count();
            return (out < CALM_OUTSTANDING_MAX).then_some((id, true));
        }
        let other = self.from(Class::Prompt);
        let other = other.filter(|o| o.0 == Class::Prompt && self.turns % TURNS == TURNS - 1);
        Some((other.map_or(id, |o| o.2), false))
    }

    /// The next question, if one may be asked now.
    pub(super) fn next(&mut self, now: Mono) -> Option<Fetch> {
        self.promote(now);
        if self.outstanding.len() >= FETCHES_OUTSTANDING_MAX || self.ready.is_empty() {
            return None;
        }
        if self.bulk_size < 2 && now >= self.bulk_from {
            self.bulk_size = 2;
        }
        let bulk_possible = self.bulk_size >= 2
            && now >= self.bulk_from
            && self.bulk_ready.len() >= self.bulk_size.min(BULK_WORTH);
        let bulk = |f: &&Fetch| matches!(f, Fetch::Many(_));
        let crowd = self.ready.len() > ONE_BY_ONE_MAX
            && bulk_possible
            && self.outstanding.iter().filter(bulk).count() < BULK_OUTSTANDING_MAX;
        self.bulk_turn = crowd && !self.bulk_turn;
        let fetch = if self.bulk_turn {
            Fetch::Many(self.bulk())
        } else {
            let (id, calm) = self.alone()?;
            if calm {
                Fetch::Calm(id)
            } else {
                self.turns = self.turns.wrapping_add(1);
                Fetch::One(id)
            }
        };
        for id in ids_of(&fetch) {
            if let Some(slot) = self.slots.get(id).copied()
                && let Place::Ready(since) = slot.place
            {
                self.take_from_ready(*id, slot.class, since, slot.bulk_at);
                self.slots.insert(
                    *id,
                    Slot {
                        place: Place::Asked(None),
                        // The next want brings its own urgency.
                        class: Class::Routine,
                        ..slot
                    },
                );
            }
        }
        self.outstanding.push(fetch.clone());
        Some(fetch)
    }

    /// The answer is in; what was wanted again meanwhile is scheduled. `false` if the question
    /// was never asked.
    pub(super) fn answered(&mut self, fetch: &Fetch) -> bool {
        let Some(n) = self.outstanding.iter().position(|f| f == fetch) else {
            return false;
        };
        self.outstanding.swap_remove(n);
        for id in ids_of(fetch) {
            // Cancelled and scheduled anew meanwhile: then it has its place already, and it
            // may even be asked about in another question.
            if let Some(slot) = self.slots.get(id).copied()
                && let Place::Asked(again) = slot.place
                && !self.outstanding.iter().any(|f| ids_of(f).contains(id))
            {
                self.slots.remove(id);
                if let Some(at) = again {
                    self.schedule(*id, at, slot.class);
                    if let Some(new) = self.slots.get_mut(id) {
                        new.bulk_at = slot.bulk_at;
                    }
                }
            }
        }
        true
    }

    /// A bulk question went well: slowly more ids at once.
    pub(super) fn bulk_went_well(&mut self) {
        self.bulk_good += 1;
        if self.bulk_good >= GROW_AFTER {
            self.bulk_good = 0;
            self.bulk_size = (self.bulk_size + 1).min(BULK_MAX);
        }
    }

    /// A bulk question of `asked` ids was too large: half as many, down to one by one.
    pub(super) fn bulk_too_many(&mut self, asked: usize, now: Mono) {
        self.bulk_good = 0;
        self.bulk_size = self.bulk_size.min(asked / 2);
        if self.bulk_size < 2 {
            self.bulk_pause(now, BULK_PAUSE);
        }
    }

    /// No bulk questions for a while.
    pub(super) fn bulk_pause(&mut self, now: Mono, pause: Duration) {
        self.bulk_from = now + pause;
    }

    /// When [`next`](Self::next) is worth calling again, apart from answers.
    pub(super) fn deadline(&self) -> Option<Mono> {
        if self.outstanding.len() >= FETCHES_OUTSTANDING_MAX {
            return None;
        }
        if let Some((_, since, _)) = self.ready.first().filter(|_| self.alone().is_some()) {
            return Some(*since);
        }
        self.timers.first().map(|t| t.0)
    }

    /// When it will be asked about: the past if it is ready, now if it is asked; `None` if no
    /// check is wanted.
    pub(super) fn due_at(&self, id: ConversationId) -> Option<Mono> {
        self.slots.get(&id).map(|slot| match slot.place {
            Place::Timed(at) | Place::Ready(at) => at,
            Place::Asked(_) => Mono(0),
        })
    }

    /// Ready and unanswered, for the status page.
    pub(super) fn counts(&self, now: Mono) -> (usize, usize) {
        // Timers that have come up but were not promoted, because all questions are out.
        let up = self.timers.iter().take_while(|(at, _)| *at <= now).count();
        (self.ready.len() + up, self.outstanding.len())
    }
}

fn ids_of(fetch: &Fetch) -> &[ConversationId] {
    match fetch {
        Fetch::One(id) | Fetch::Calm(id) => std::slice::from_ref(id),
        Fetch::Many(ids) => ids,
    }
}

#[cfg(test)]
mod tests;
