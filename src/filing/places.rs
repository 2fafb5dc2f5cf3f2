//! Who gives way where places on channels are short.
//!
//! Anybody with a token may name conversations that do not exist, and each takes a place. While
//! topics wait and no place is free, conversations that the platform does not know (asked for
//! twice, a minute apart, 404 both times, nothing ever heard of them) give theirs to those that
//! wait; after them, for conversations that are known to exist, those that are over and only
//! linger. Who gave way is still watched over: it is asked about over REST, goes first as soon as
//! it is known, and has a place again when there are more than enough.
//!
//! Where the platform says 404 to what is known to exist, or has shown nothing at all yet, its
//! 404 proves nothing, and nobody gives way for it.
//!
//! Invariants: none that was heard of gives way but to linger over REST; whoever gives way is
//! owed an answer from then on, and due for a check.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::answers::ANALYTICS_LAG;
use super::checks::Class;
use super::interaction::{UNWATCHED_EVERY, Watched};
use super::machine::Filing;
use super::{Order, topic_of};
use base::ids::ConversationId;
use base::notice::Level;
use base::time::{Mono, Now};
use base::words;

/// Between the two questions to which the platform has to answer that it knows nothing.
pub(super) const ASKED_TWICE: Duration = Duration::from_secs(60);
/// So long after a 404 about what exists no 404 proves anything.
const UNRELIABLE_FOR: Duration = Duration::from_secs(3600);
/// So often it is said at most that places are short.
const SAID_EVERY: Duration = Duration::from_secs(600);
/// Of those that wait so many are asked about ahead of others at a time.
const WAITING_ASKED_MAX: usize = 64;

/// What a conversation is when places are short; in the order in which they give way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Standing {
    /// It has a place, and the platform does not know it.
    Unknown,
    /// It has a place, and is over but for wrap-ups that may come late.
    Lingering,
    /// It has a place, and the platform did not know it when it was asked once.
    Suspect,
    /// It has none, and nobody has asked about it.
    Unplaced,
}

words! {
    /// What a conversation was that gave its place to another.
    GaveWay {
        /// The platform does not know it.
        Unknown = "unknown",
        /// It is over but for wrap-ups that may come late.
        Lingering = "lingering",
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Places {
    lines: BTreeSet<(Standing, Mono, ConversationId)>,
    /// Topics for which there is no place: of conversations that exist, and others.
    short: (usize, usize),
    /// The platform has shown a conversation.
    shown: bool,
    /// When it last said 404 to one that exists.
    unreliable: Option<Mono>,
    said: Option<Mono>,
    /// Places given up since the start.
    pub(super) given: BTreeMap<GaveWay, u64>,
}

impl Places {
    fn first(&self, standing: Standing, most: usize) -> Vec<ConversationId> {
        let nil = ConversationId(uuid::Uuid::nil());
        self.lines
            .range((standing, Mono(0), nil)..)
            .take_while(|(s, ..)| *s == standing)
            .take(most)
            .map(|(.., id)| *id)
            .collect()
    }

    fn last(&self, standing: Standing, most: usize) -> Vec<ConversationId> {
        let max = ConversationId(uuid::Uuid::max());
        self.lines
            .range(..=(standing, Mono::NEVER, max))
            .rev()
            .take_while(|(s, ..)| *s == standing)
            .take(most)
            .map(|(.., id)| *id)
            .collect()
    }

    /// Whether "not found" means that there is none.
    fn believed(&self, now: Mono) -> bool {
        self.shown
            && self
                .unreliable
                .is_none_or(|at| now.since(at) >= UNRELIABLE_FOR)
    }

    fn gave(&mut self, what: GaveWay, places: usize) {
        *self.given.entry(what).or_default() += places as u64;
    }

    pub(super) fn are_short(&self) -> bool {
        self.short != (0, 0)
    }
}

fn standing(w: &Watched) -> Option<(Standing, Mono)> {
    let placed = w.live_since.is_some();
    match (placed, w.unknown_since) {
        _ if w.ended() => None,
        (true, _) if w.heard => w.lingers_until.map(|at| (Standing::Lingering, at)),
        (true, Some(since)) if w.unknown => Some((Standing::Unknown, since)),
        (true, Some(since)) if !w.hurried => Some((Standing::Suspect, since)),
        (false, None) if !w.heard && !w.hurried => Some((Standing::Unplaced, w.dark_since)),
        _ => None,
    }
}

impl Filing {
    /// Something has changed that may change when a conversation gives way.
    pub(super) fn sort(&mut self, id: ConversationId) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        let is = standing(w);
        if w.standing == is {
            return;
        }
        if let Some((standing, since)) = std::mem::replace(&mut w.standing, is) {
            self.places.lines.remove(&(standing, since, id));
        }
        if let Some((standing, since)) = is {
            self.places.lines.insert((standing, since, id));
        }
    }

    /// The conversation exists.
    pub(super) fn heard_of(&mut self, id: ConversationId) {
        if let Some(w) = self.interactions.get_mut(&id)
            && !w.ended()
        {
            let fresh = !std::mem::replace(&mut w.heard, true);
            (w.unknown, w.unknown_since) = (false, None);
            let back = w.gave_way && w.lingers_until.is_none();
            if fresh || back {
                w.gave_way = false;
                self.out.push_back(Order::Prefer(topic_of(id)));
            }
            self.sort(id);
        }
    }

    /// The platform was asked for a conversation and has shown it.
    pub(super) fn shown_by_platform(&mut self, id: ConversationId, now: Now) {
        self.places.shown = true;
        if let Some(w) = self.interactions.get_mut(&id) {
            w.hurried = false;
        }
        self.heard_of(id);
        self.give_places(now);
    }

    /// The platform was asked for a conversation and does not know it.
    pub(super) fn not_found(&mut self, id: ConversationId, asked_at: Mono, now: Now) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        w.hurried = false;
        if w.heard {
            self.places.unreliable = Some(now.mono);
            return;
        }
        let since = *w.unknown_since.get_or_insert(asked_at);
        w.unknown |= asked_at >= since + ASKED_TWICE;
        self.sort(id);
    }

    /// What follows from that where places are short, once the next question is scheduled.
    pub(super) fn not_found_again(&mut self, id: ConversationId, now: Now) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        let (Some(since), false, false) = (w.unknown_since, w.heard, w.ended()) else {
            return;
        };
        if !self.places.are_short() {
            return;
        }
        if !w.unknown {
            w.hurried = true;
            let class = Class::Short(w.live_since.is_none());
            self.sort(id);
            let at = (since + ASKED_TWICE).max(now.mono);
            self.checks.schedule(id, at, class);
        } else if w.live_since.is_none() && self.places.believed(now.mono) {
            w.gave_way = true;
            // It has none to give, and waits behind the others.
            self.out.push_back(Order::GiveWay(vec![topic_of(id)]));
        }
        self.give_places(now);
    }

    /// The platform client says for how many topics there is no place.
    pub(super) fn short_of_places(&mut self, known: usize, others: usize, now: Now) {
        self.places.short = (known, others);
        let long_ago = |at: Mono| now.mono.since(at) >= SAID_EVERY;
        if self.places.are_short() && self.places.said.is_none_or(long_ago) {
            self.places.said = Some(now.mono);
            let n = known + others;
            self.say(
                Level::Warn,
                "places-short",
                format!(
                    "no channel has a place for {n} conversations: those that the platform does \
                     not know, if there are any, give theirs up"
                ),
            );
        }
        self.give_places(now);
    }

    /// Who is to give way does, and where it is not known who, that is asked.
    pub(super) fn give_places(&mut self, now: Now) {
        let (known, others) = self.places.short;
        let mut need = known + others;
        if need == 0 {
            return;
        }
        let mut leave = Vec::new();
        if self.places.believed(now.mono) {
            leave = self.places.first(Standing::Unknown, need);
            self.places.gave(GaveWay::Unknown, leave.len());
        }
        let for_known = known.saturating_sub(leave.len());
        let lingering = self.places.first(Standing::Lingering, for_known);
        self.places.gave(GaveWay::Lingering, lingering.len());
        leave.extend(lingering);
        need -= leave.len();
        for id in self.places.first(Standing::Suspect, need) {
            self.hurry(id, Class::Short(false), now);
        }
        for id in self
            .places
            .last(Standing::Unplaced, need.min(WAITING_ASKED_MAX))
        {
            self.hurry(id, Class::Waits(u64::MAX - now.mono.0), now);
            // Of very many it is soon known which exist, and whether they are over.
            if let Some(w) = self.interactions.get(&id) {
                self.checks.no_bulk_before(id, w.dark_since + ANALYTICS_LAG);
            }
        }
        if leave.is_empty() {
            return;
        }
        self.places.short = (for_known.min(need), need - for_known.min(need));
        for id in &leave {
            self.leave_place(*id, now);
        }
        let topics = leave.into_iter().map(topic_of).collect();
        self.out.push_back(Order::GiveWay(topics));
    }

    /// Asks about it sooner than it would be.
    fn hurry(&mut self, id: ConversationId, class: Class, now: Now) {
        if let Some(w) = self.interactions.get_mut(&id) {
            w.hurried = true;
            let soonest = w.unknown_since.map_or(now.mono, |at| at + ASKED_TWICE);
            self.checks.schedule(id, soonest.max(now.mono), class);
            self.sort(id);
        }
    }

    fn leave_place(&mut self, id: ConversationId, now: Now) {
        let Some(w) = self.interactions.get_mut(&id) else {
            return;
        };
        w.gave_way = true;
        w.live_since = None;
        w.dark_since = now.mono;
        // Evidence from before ends nothing.
        w.owed = Some(now.mono);
        let text = if w.unknown {
            "the platform does not know the conversation: it gives its place to others"
        } else {
            "the conversation is over and lingers: it gives its place to others"
        };
        let at = w.lingers_until.unwrap_or(now.mono + UNWATCHED_EVERY);
        let class = w.due_class();
        self.checks
            .schedule(id, at.min(now.mono + UNWATCHED_EVERY), class);
        self.sort(id);
        self.say_about(id, Level::Debug, "place-given", text);
    }
}
