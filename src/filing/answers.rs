//! What REST's answers bring about: lost wrap-ups are rebuilt, and
//! interactions come to their end.
//!
//! Invariant: an answer is evidence for no moment after it was asked; a hint
//! from analytics never ends an interaction.

use std::collections::BTreeMap;
use std::time::Duration;

use super::caller::EndReason;
use super::checks::Class;
use super::events::Taken;
use super::interaction::{ANNOUNCED_WITHIN, Missing, SECOND_LOOK};
use super::machine::Filing;
use super::places::ASKED_TWICE;
use super::reconcile::{Hint, LegView, WrapUp, read_conversation, read_details};
use super::record::{Finding, SAME_WRAPUP, Sighting, close, find, same_leg, twin_marks};
use super::snapshot::{CheckKind, CheckOutcome};
use base::fetch::{Fetch, FetchOutcome};
use base::ids::ConversationId;
use base::notice::Level;
use base::rows::{Leg, Source};
use base::time::{Mono, Now};

/// Analytics lags by up to ten minutes (protocol, section 14), so only an answer asked this
/// long after the moment in question proves that nothing happened.
const ANALYTICS_PROVES_AFTER: Duration = Duration::from_secs(15 * 60);
/// Analytics usually lags by a minute: asked sooner after the moment in question it would miss
/// what happened just before, and not be asked again until it proves something.
pub(super) const ANALYTICS_LAG: Duration = Duration::from_secs(90);
/// A bulk answer that did not know an id: no bulk question about it for so long.
const BULK_AGAIN: Duration = Duration::from_secs(300);
/// Bulk questions are not for us: a pause.
const BULK_DENIED_PAUSE: Duration = Duration::from_secs(3600);
const BULK_TROUBLE_MIN: Duration = Duration::from_secs(5);
const BULK_TROUBLE_MAX: Duration = Duration::from_secs(600);
/// So many answers in a row that are not understood are no accident.
pub(super) const GARBLED_LASTS: u32 = 2;
/// A wrap-up for which there was no room: again after this.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(30);

impl Filing {
    pub(super) fn fetched(
        &mut self,
        fetch: &Fetch,
        asked_at: Now,
        outcome: FetchOutcome,
        now: Now,
    ) {
        if !self.checks.answered(fetch) {
            self.never("an answer to a question that was not asked");
            return;
        }
        match fetch {
            Fetch::One(id) | Fetch::Calm(id) => {
                self.counters
                    .check(CheckKind::One, CheckOutcome::of(&outcome));
                if self.interactions.get(id).is_some_and(|w| !w.ended()) {
                    self.fetched_one(*id, asked_at, outcome, now);
                }
            }
            Fetch::Many(ids) => {
                self.counters
                    .check(CheckKind::Many, CheckOutcome::of(&outcome));
                self.fetched_many(ids, asked_at, outcome, now);
            }
        }
    }

    fn fetched_one(&mut self, id: ConversationId, asked_at: Now, outcome: FetchOutcome, now: Now) {
        match outcome {
            FetchOutcome::Found(json) => match read_conversation(&json, id) {
                Ok(view) => {
                    self.shown(id, &view, asked_at, now);
                    self.shown_by_platform(id, now);
                }
                Err(_) => self.not_understood(id, now),
            },
            FetchOutcome::Garbled => self.not_understood(id, now),
            FetchOutcome::NotFound => {
                self.not_found(id, asked_at.mono, now);
                self.cannot_tell(id, now, "the platform does not know the conversation");
                self.not_found_again(id, now);
            }
            FetchOutcome::Denied(detail) => {
                self.say(
                    Level::Warn,
                    "check-denied",
                    format!("the platform does not let us read conversations: {detail}"),
                );
                self.cannot_tell(id, now, "the platform does not let us read it");
            }
            FetchOutcome::TooMany => {
                self.cannot_tell(id, now, "the platform's answer is too large");
            }
            FetchOutcome::Trouble(why) => self.trouble(id, now, &why),
        }
    }

    fn trouble(&mut self, id: ConversationId, now: Now, why: &str) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        let (again, lasting) = w.trouble(now.mono, &mut self.rng);
        self.say_about(
            id,
            Level::Debug,
            "check-trouble",
            format!("a check brought no answer: {why}"),
        );
        if lasting {
            self.guess(id, now, "the platform has not answered for an hour");
        }
        if let Some(w) = self.interactions.get(&id).filter(|w| !w.ended()) {
            self.checks.schedule(id, again, w.due_class());
        }
    }

    /// Whatever is forgiven is forgiven: nothing that is lost in it will be rebuilt, and that is
    /// said as soon as it was no accident.
    fn not_understood(&mut self, id: ConversationId, now: Now) {
        if let Some(w) = self.interactions.get_mut(&id) {
            w.garbled = w.garbled.saturating_add(1);
            if w.garbled >= GARBLED_LASTS {
                self.say_about(
                    id,
                    Level::Warn,
                    "check-not-understood",
                    "the platform's answer about the conversation is not understood, again and again: \
                     what was missed of it cannot be rebuilt, and it cannot be seen whether it is over",
                );
            }
        }
        self.trouble(id, now, "the platform's answer is not understood");
    }

    fn cannot_tell(&mut self, id: ConversationId, now: Now, why: &str) {
        self.guess(id, now, why);
        if let Some(w) = self.interactions.get_mut(&id)
            && !w.ended()
        {
            w.garbled = 0;
            let mut at = w.next_guess(now, &mut self.rng);
            if let Some(since) = w.unknown_since.filter(|_| !w.unknown) {
                // A second answer proves something only when it was asked for so late.
                at = at.max(since + ASKED_TWICE);
            }
            let class = Class::Routine.max(w.due_class());
            self.checks.schedule(id, at, class);
        }
    }

    /// REST cannot tell: what may be concluded without it.
    fn guess(&mut self, id: ConversationId, now: Now, why: &str) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        w.cannot_tell = true;
        let (last_chance, settled, taken) = (w.last_chance, w.settled(now.mono), w.taken);
        if w.lingered(self.settings.settle_for, now.mono) {
            let detail = format!(
                "{} taken, it was over, nothing came while it lingered or within settle-for after that, and REST cannot tell: {why}",
                counted(taken)
            );
            self.end(id, EndReason::Settled, detail, now);
        } else if last_chance {
            self.expire(id, now, why);
        } else if settled {
            let detail = format!(
                "{} taken, no further event came within settle-for, and REST cannot tell: {why}",
                counted(taken)
            );
            self.end(id, EndReason::Settled, detail, now);
        }
    }

    pub(super) fn expire(&mut self, id: ConversationId, now: Now, why: &str) {
        let taken = self.interactions.get(&id).map_or(0, |w| w.taken);
        let detail = format!("max-age was reached with {} taken; {why}", counted(taken));
        self.end(id, EndReason::MaxAge, detail, now);
    }

    /// REST shows the conversation as it was when it was asked.
    fn shown(
        &mut self,
        id: ConversationId,
        view: &super::reconcile::ConversationView,
        asked_at: Now,
        now: Now,
    ) {
        let looked = self.look_at_legs(id, &view.legs, asked_at, now);
        let linger = self.settings.linger;
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        w.told();
        w.missing = looked.missing;
        let fresh = w.owed.is_none_or(|owed| asked_at.mono >= owed);
        w.over_seen = view.ended.is_some();
        if fresh && looked.again_in.is_none() {
            w.settled_up();
        }
        if let Some(pause) = looked.again_in {
            self.checks.schedule(id, now.mono + pause, Class::Hinted);
            return;
        }
        if !fresh {
            self.checks.schedule(id, now.mono, w.due_class());
            return;
        }
        if view.finished() {
            let first_seen = *w.finish_seen.get_or_insert(asked_at.mono);
            if looked.announcement_due && asked_at.mono < first_seen + SECOND_LOOK {
                self.checks
                    .schedule(id, now.mono + SECOND_LOOK, Class::Prompt);
                return;
            }
            if looked.late && !w.last_chance {
                let until = w.lingers(view.ended, now, linger);
                if asked_at.mono < until {
                    self.checks.schedule(id, until.max(now.mono), Class::Prompt);
                    return;
                }
            }
            self.finish(id, now);
            return;
        }
        w.finish_seen = None;
        w.lingers_until = None;
        w.recovered &= view.ended.is_some();
        if w.last_chance {
            let why = if view.parked {
                "a message is parked, so the conversation is still going on"
            } else if view.ended.is_some() {
                "the conversation is over, but an agent's after-call work is still open"
            } else {
                "the conversation is still going on"
            };
            self.expire(id, now, why);
            return;
        }
        let (at, class) = w.next_check(view.ended.is_some(), now.mono, &mut self.rng);
        self.checks.schedule(id, at, class);
    }

    fn finish(&mut self, id: ConversationId, now: Now) {
        let taken = self.interactions.get(&id).map_or(0, |w| w.taken);
        let detail = format!(
            "the conversation is over and every agent leg is done; {} taken",
            counted(taken)
        );
        self.end(id, EndReason::ConversationFinished, detail, now);
    }

    fn look_at_legs(
        &mut self,
        id: ConversationId,
        legs: &[LegView],
        asked_at: Now,
        now: Now,
    ) -> Looked {
        let mut looked = Looked::default();
        if self.event_under_way(id) {
            // One of these may be the very wrap-up that is on its way into the store.
            looked.wait(Duration::from_secs(1));
            return looked;
        }
        for leg in legs {
            let Some(w) = self.interactions.get(&id) else {
                break;
            };
            let rows = self.rows_of(w);
            let Some(wrap_up) = &leg.wrap_up else {
                let known = rows.iter().any(|r| same_leg(&r.leg, &leg.leg));
                looked.late |= leg.late && !known;
                // Skipped work may be announced all the same (protocol, section 12).
                looked.announcement_due |= leg.worked
                    && w.live_since.is_some()
                    && leg
                        .done_at
                        .is_none_or(|t| asked_at.wall.since(t) < ANNOUNCED_WITHIN)
                    && !known;
                continue;
            };
            let sighting = |leg: &Leg, wrap_up: &WrapUp| Sighting {
                source: Source::Reconciliation,
                leg: leg.clone(),
                event_time: Some(wrap_up.time),
                digest: None,
                twin: wrap_up.twin.clone(),
                received_at: now.wall,
            };
            let seen = sighting(&leg.leg, wrap_up);
            let known = |seen: &Sighting| {
                !matches!(find(id, rows.iter().copied(), seen), Finding::New { .. })
            };
            // What this answer shows twice is one wrap-up, known where either of both is: the
            // code may have changed in place since, and tells them apart from the record then.
            let twin_known = || {
                legs.iter().any(|other| {
                    other.wrap_up.as_ref().is_some_and(|w| {
                        other.leg.participant == leg.leg.participant
                            && twin_marks(w.twin.as_deref(), wrap_up.twin.as_deref())
                            && close(w.time, wrap_up.time)
                            && known(&sighting(&other.leg, w))
                    })
                })
            };
            let shared_known = || {
                let mut shared = wrap_up.shared_with.iter();
                shared.any(|leg| known(&sighting(leg, wrap_up)))
            };
            if known(&seen) || twin_known() || shared_known() {
                continue;
            }
            // Live since before it happened: the notification is probably on its way.
            if w.live_since.is_some_and(|live| live.wall <= wrap_up.time) {
                let since = w
                    .missing
                    .iter()
                    .find(|m| {
                        m.leg == leg.leg
                            && m.time.since(wrap_up.time).max(wrap_up.time.since(m.time))
                                <= SAME_WRAPUP
                    })
                    .map_or(now.mono, |m| m.since);
                if asked_at.mono < since + SECOND_LOOK {
                    looked.wait(SECOND_LOOK);
                    looked.missing.push(Missing {
                        leg: leg.leg.clone(),
                        time: wrap_up.time,
                        since,
                    });
                    continue;
                }
            }
            match self.take(id, seen, wrap_up.body.clone(), now) {
                Taken::New | Taken::Known | Taken::Flooded => {}
                Taken::NoRoom => looked.wait(NO_ROOM_PAUSE),
            }
        }
        looked
    }

    fn fetched_many(
        &mut self,
        ids: &[ConversationId],
        asked_at: Now,
        outcome: FetchOutcome,
        now: Now,
    ) {
        let hints: Option<BTreeMap<ConversationId, Hint>> = match outcome {
            FetchOutcome::Found(json) => match read_details(&json) {
                Ok(hints) => {
                    self.checks.bulk_went_well();
                    self.bulk_troubles = 0;
                    Some(hints.into_iter().map(|h| (h.conversation, h)).collect())
                }
                Err(_) => {
                    self.bulk_not_understood(now);
                    None
                }
            },
            FetchOutcome::Garbled => {
                self.bulk_not_understood(now);
                None
            }
            FetchOutcome::TooMany => {
                self.checks.bulk_too_many(ids.len(), now.mono);
                None
            }
            FetchOutcome::Denied(detail) => {
                self.say(
                    Level::Warn,
                    "check-denied",
                    format!("the platform does not let us read analytics: {detail}"),
                );
                self.checks.bulk_pause(now.mono, BULK_DENIED_PAUSE);
                None
            }
            FetchOutcome::NotFound => {
                self.checks.bulk_pause(now.mono, BULK_DENIED_PAUSE);
                None
            }
            FetchOutcome::Trouble(why) => {
                self.bulk_trouble(now, &why);
                None
            }
        };
        for id in ids {
            match &hints {
                Some(hints) => self.hinted(*id, hints.get(id), asked_at, now),
                None => {
                    if let Some(w) = self.interactions.get(id).filter(|w| !w.ended()) {
                        self.checks.schedule(*id, now.mono, w.class_in_bulk());
                    }
                }
            }
        }
    }

    fn bulk_not_understood(&mut self, now: Now) {
        if self.bulk_troubles + 1 >= GARBLED_LASTS {
            self.say(
                Level::Warn,
                "bulk-not-understood",
                "the platform's answers about many conversations are not understood, again and again: \
                 they are asked about one by one, which takes longer",
            );
        }
        self.bulk_trouble(now, "the answer is not understood");
    }

    fn bulk_trouble(&mut self, now: Now, why: &str) {
        let pause = (BULK_TROUBLE_MIN * (1 << self.bulk_troubles.min(8))).min(BULK_TROUBLE_MAX);
        self.bulk_troubles = self.bulk_troubles.saturating_add(1);
        self.checks.bulk_pause(now.mono, self.rng.jitter(pause));
        self.say(
            Level::Debug,
            "check-trouble",
            format!("a check of many conversations brought no answer: {why}"),
        );
    }

    fn hinted(&mut self, id: ConversationId, hint: Option<&Hint>, asked_at: Now, now: Now) {
        let Some(w) = self.interactions.get(&id).filter(|w| !w.ended()) else {
            return;
        };
        let proves_at = w.owed.map_or(Mono(0), |owed| owed + ANALYTICS_PROVES_AFTER);
        let quiet = hint.is_some_and(|h| !h.news(self.rows_of(w).into_iter()));
        if hint.is_some() {
            self.heard_of(id);
        }
        let Some(w) = self.interactions.get(&id) else {
            return;
        };
        if w.last_chance || hint.is_some_and(|_| !quiet) {
            self.checks.schedule(id, now.mono, Class::Hinted);
        } else if quiet && asked_at.mono >= proves_at {
            if let Some(w) = self.interactions.get_mut(&id) {
                w.told();
                w.settled_up();
                let (at, class) = w.next_check(false, now.mono, &mut self.rng);
                self.checks.schedule(id, at, class);
            }
        } else {
            // It proves nothing yet: still due, and asked about in bulk no sooner than it could.
            let bulk_at = if hint.is_some() {
                proves_at
            } else {
                proves_at.max(now.mono + BULK_AGAIN)
            };
            self.checks.schedule(id, now.mono, w.class_in_bulk());
            self.checks.no_bulk_before(id, bulk_at);
        }
    }
}

fn counted(records: u32) -> String {
    match records {
        1 => "1 record".into(),
        n => format!("{n} records"),
    }
}

/// What a look at the legs found.
#[derive(Default)]
struct Looked {
    /// Not announced and not rebuilt yet.
    missing: Vec<Missing>,
    /// Something is open; look again after this.
    again_in: Option<Duration>,
    /// A leg without a record may still be announced.
    announcement_due: bool,
    /// A leg without a record may still be wrapped up.
    late: bool,
}

impl Looked {
    fn wait(&mut self, pause: Duration) {
        self.again_in = Some(self.again_in.map_or(pause, |p| p.min(pause)));
    }
}
