//! The end of a run: what is not on disk, in numbers, and what becomes of it.
//!
//! Invariant: what is counted here as rebuilt belongs to interactions that the
//! next start goes on with, because their end is not durable either.

use std::collections::BTreeSet;
use std::fmt;

use super::caller::Answer;
use super::commit::{Entry, Taking};
use super::machine::Filing;
use super::{Order, settings};
use base::ids::{ConversationId, RecordId};
use base::rows::StoreTrouble;
use base::time::{Mono, Now};

/// What a run that ends leaves behind in memory alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Farewell {
    /// Records taken from the platform whose interactions go on: the next start rebuilds them
    /// over REST.
    pub rebuilt: usize,
    /// Records taken from the platform whose interactions have ended on disk: nobody asks about
    /// them again.
    pub gone: usize,
    /// Of both: in a transaction whose outcome is not known; they may be on disk after all.
    pub under_way: usize,
    /// Records whose state is not on disk as it is: what was filed is filed once more, under
    /// the same key.
    pub outcomes: usize,
    /// Interactions whose state is not on disk as it is: the next start finds it again.
    pub states: usize,
    /// Requests in a transaction whose outcome is not known; their callers were told so.
    pub unknown: usize,
    /// Requests that were refused at the end; nothing of them happens.
    pub refused: usize,
    /// Why nothing could be committed, if the store has said so.
    pub trouble: Option<StoreTrouble>,
}

impl Farewell {
    /// Whether everything that was taken is on disk.
    #[must_use]
    pub fn all_on_disk(&self) -> bool {
        self.rebuilt + self.gone + self.outcomes + self.states + self.unknown == 0
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all_on_disk() {
            return f.write_str("everything taken is on disk");
        }
        let why = self
            .trouble
            .map_or("it has not finished in time", StoreTrouble::sentence);
        write!(f, "not everything is on disk ({why})")?;
        let wrap_ups = |n| {
            counted(
                n,
                "record taken from the platform",
                "records taken from the platform",
            )
        };
        if self.rebuilt > 0 {
            let n = wrap_ups(self.rebuilt);
            write!(f, "; {n}: rebuilt over REST at the next start")?;
        }
        if self.gone > 0 {
            let n = wrap_ups(self.gone);
            write!(f, "; {n} after the end of the interaction: gone")?;
        }
        if self.under_way > 0 {
            write!(f, "; {} of these may be on disk after all", self.under_way)?;
        }
        if self.outcomes > 0 {
            let n = counted(self.outcomes, "record", "records");
            write!(
                f,
                "; the outcome of {n}: tried again, under the same Idempotency-Key"
            )?;
        }
        if self.states > 0 {
            let n = counted(self.states, "interaction", "interactions");
            write!(f, "; the state of {n}: found again at the next start")?;
        }
        if self.unknown > 0 {
            let n = counted(self.unknown, "request", "requests");
            write!(f, "; {n} of callers: answered 504, the outcome is unknown")?;
        }
        Ok(())
    }
}

impl Filing {
    /// The run is going to end: nothing more is let in, and what is there is tried once more
    /// without waiting for the end of a pause.
    pub(super) fn stop(&mut self, now: Now) {
        self.ledger.stopping = true;
        if let Some(trouble) = &mut self.ledger.trouble {
            trouble.retry_at = now.mono;
        }
    }

    /// The run ends now: answers whoever still waits, and tells what is not on disk.
    pub fn leave(&mut self, now: Now) -> Farewell {
        let mut left = Farewell {
            trouble: self.ledger.trouble.map(|t| t.kind),
            ..Farewell::default()
        };
        for caller in self.ledger.withdraw(Mono::NEVER) {
            left.refused += 1;
            self.busy(caller, settings::STOPPING, now);
        }
        for caller in self.ledger.outcome_overdue(Mono::NEVER) {
            left.unknown += 1;
            self.out.push_back(Order::Answer(caller, Answer::Unknown));
        }
        let queued = self.ledger.queue.iter().filter_map(|entry| match entry {
            Entry::Take(taking) => Some(taking),
            Entry::Ask(_) => None,
        });
        let sent: &[Taking] = self.ledger.batch.as_ref().map_or(&[], |b| &b.takings);
        left.under_way = sent.len();
        let mut bodies: BTreeSet<RecordId> = BTreeSet::new();
        for taking in queued.chain(sent) {
            // An end that is under way may be on disk when the next start looks.
            let ending = || {
                let batch = self.ledger.batch.as_ref();
                batch.is_some_and(|b| b.interactions.contains(&taking.conversation))
            };
            let goes_on = self
                .interactions
                .get(&taking.conversation)
                .is_some_and(|w| !(w.end_committed || w.ended() && ending()));
            if goes_on {
                left.rebuilt += 1;
            } else {
                left.gone += 1;
            }
            bodies.insert(taking.record);
        }
        let (mut interactions, mut records): (BTreeSet<ConversationId>, BTreeSet<RecordId>) = (
            self.ledger.dirty_interactions.clone(),
            self.ledger.dirty_records.clone(),
        );
        if let Some(batch) = &self.ledger.batch {
            interactions.extend(&batch.interactions);
            records.extend(&batch.records);
        }
        left.states = interactions.len();
        left.outcomes = records.difference(&bodies).count();
        left
    }
}
