//! What runs did, added up.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::Kind;

#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) virtual_ms: u64,
    pub(crate) conversations: u64,
    pub(crate) wrap_ups: u64,
    pub(crate) events: u64,
    pub(crate) gaps: u64,
    pub(crate) gap_topics: u64,
    pub(crate) checks: u64,
    pub(crate) refused: u64,
    pub(crate) filed: u64,
    pub(crate) posts: u64,
    /// Most channels made within an hour in which no socket could be had.
    pub(crate) most_made: u64,
    pub(crate) faults: BTreeMap<Kind, u64>,
}

impl Tally {
    pub(crate) fn fault(&mut self, kind: Kind) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.runs += other.runs;
        self.virtual_ms += other.virtual_ms;
        self.conversations += other.conversations;
        self.wrap_ups += other.wrap_ups;
        self.events += other.events;
        self.gaps += other.gaps;
        self.gap_topics += other.gap_topics;
        self.checks += other.checks;
        self.refused += other.refused;
        self.filed += other.filed;
        self.posts += other.posts;
        self.most_made = self.most_made.max(other.most_made);
        for (kind, n) in &other.faults {
            *self.faults.entry(*kind).or_default() += n;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs, {:.1} virtual days, {} conversations, {} wrap-ups, {} events, {} gaps of {} topics, {} checks, {} refused, {} filed in {} tries; {} channels an hour at most without sockets",
            self.runs,
            self.virtual_ms as f64 / 86_400_000.0,
            self.conversations,
            self.wrap_ups,
            self.events,
            self.gaps,
            self.gap_topics,
            self.checks,
            self.refused,
            self.filed,
            self.posts,
            self.most_made,
        )?;
        write!(f, "faults:")?;
        for (kind, n) in &self.faults {
            write!(f, " {kind:?} {n}")?;
        }
        Ok(())
    }
}
