//! Holds what was filed against what really happened.
//!
//! A wrap-up has to be filed if it can still be known: an event was emitted or
//! REST shows it, no later wrap-up of the same leg has taken its place, and it
//! is not a change made after the interaction had ended.
//! Whatever is filed has to be one that happened, and under one key.

use std::collections::BTreeMap;
use std::time::Duration;

use base::ids::ConversationId;
use base::time::Wall;
use simulator::model::WrapUp;

use crate::receiver::Held;

/// The outcome: sentences, none if all is well.
#[derive(Default, Debug)]
pub(crate) struct Account {
    /// Wrap-ups that had to be filed.
    pub(crate) due: usize,
    /// Of those, the ones that are.
    pub(crate) filed: usize,
    /// Of those, the ones rebuilt over REST.
    pub(crate) rebuilt: usize,
    /// The ones that are not.
    pub(crate) missing: Vec<String>,
    /// Wrap-ups under two keys.
    pub(crate) doubled: Vec<String>,
    /// Records of wrap-ups that never happened, and what the receiver found strange.
    pub(crate) strange: Vec<String>,
}

impl Account {
    /// Nothing doubled, nothing strange.
    pub(crate) fn sound(&self) -> bool {
        self.doubled.is_empty() && self.strange.is_empty()
    }
}

/// Within this a notification and a rebuilt record are the same wrap-up (design, section 5).
const SAME: Duration = Duration::from_secs(5);

fn apart(a: Wall, b: Wall) -> Duration {
    a.since(b).max(b.since(a))
}

/// Conversations that were accepted, and when their interactions ended, if they have.
pub(crate) type Accepted = BTreeMap<ConversationId, Option<Wall>>;

/// A change this shortly before the end may be too late for the answer that led to it.
const RACE: Duration = Duration::from_secs(1);

/// Accounts for every wrap-up of the accepted conversations.
pub(crate) fn account(wrap_ups: &[WrapUp], accepted: &Accepted, held: &Held) -> Account {
    let mut out = Account {
        strange: held.strange.clone(),
        ..Account::default()
    };
    let mut legs: BTreeMap<(String, String, String), Vec<usize>> = BTreeMap::new();
    for (n, w) in wrap_ups.iter().enumerate() {
        let leg = (
            w.conversation.to_string(),
            w.participant.to_string(),
            w.session.to_string(),
        );
        legs.entry(leg).or_default().push(n);
    }
    let mut keys: BTreeMap<usize, Vec<(&str, &str)>> = BTreeMap::new();
    for (key, filed) in &held.filed {
        let Some((conversation, participant, session, time)) = filed.wrap_up() else {
            if filed.body.get("kind").and_then(|k| k.as_str()) != Some("support-result") {
                out.strange.push(format!("not understood: {}", filed.body));
            }
            continue;
        };
        let nearest = legs
            .get(&(conversation, participant, session))
            .into_iter()
            .flatten()
            .map(|n| {
                let w = &wrap_ups[*n];
                (apart(time, w.event_time).min(apart(time, w.rest_end)), *n)
            })
            .min();
        match nearest {
            Some((off, n)) if off <= SAME => keys.entry(n).or_default().push((key, filed.source())),
            _ => out
                .strange
                .push(format!("no such wrap-up happened: {}", filed.body)),
        }
    }
    for (n, w) in wrap_ups.iter().enumerate() {
        let found = keys.get(&n).map_or(&[][..], Vec::as_slice);
        let name = format!(
            "conversation {} participant {} session {} ordinal {} at {} (emitted {}, in REST {}, frames {}, superseded {})",
            w.conversation,
            w.participant,
            w.session,
            w.ordinal,
            w.event_time.rfc3339(),
            w.emitted,
            w.shows_in_rest,
            w.frames,
            w.superseded.is_some()
        );
        if found.len() > 1 {
            out.doubled.push(format!("{name}: {found:?}"));
        }
        let Some(ended) = accepted.get(&w.conversation) else {
            continue;
        };
        let in_time = w.ordinal == 0 || ended.is_none_or(|at| w.event_time + RACE < at);
        let due = (w.emitted || w.shows_in_rest) && w.superseded.is_none() && in_time;
        if !due {
            continue;
        }
        out.due += 1;
        match found.first() {
            Some((_, source)) => {
                out.filed += 1;
                out.rebuilt += usize::from(*source == "reconciliation");
            }
            None => out.missing.push(name),
        }
    }
    out
}
