//! The disk: executes store orders on a model of the tables, one after the
//! other, with a commit that takes time and may fail.
//!
//! What was not committed when the process ends is gone; what was, stays, also
//! if nobody heard of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::ids::{ConversationId, RecordId};
use base::rng::Rng;
use base::rows::{
    Change, ChannelRow, DestinationRow, Found, InteractionRow, InteractionState, Lookup,
    RecordKind, RecordRow, RecordState, Recovered, StoreFact, StoreOrder, StoreTrouble,
};
use base::time::Wall;

use crate::agenda::Time;

#[derive(Clone)]
pub(crate) struct StoredInteraction {
    pub(crate) row: InteractionRow,
    pub(crate) members: Option<String>,
    over_at: Option<Wall>,
}

#[derive(Clone)]
pub(crate) struct StoredRecord {
    pub(crate) row: RecordRow,
    pub(crate) body: Option<String>,
    pub(crate) members: Option<String>,
    pub(crate) key: Option<(String, [u8; 32])>,
    over_at: Option<Wall>,
}

/// What stands in the way of commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trouble {
    pub(crate) what: StoreTrouble,
    pub(crate) until: Time,
}

enum Stage {
    /// Executed then.
    Begun(Time),
    /// Durable; reported then.
    Done(Time, StoreFact),
}

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) interactions: BTreeMap<ConversationId, StoredInteraction>,
    pub(crate) records: BTreeMap<RecordId, StoredRecord>,
    pub(crate) channels: Vec<ChannelRow>,
    /// Over for longer than `retain`, by the clock on the wall.
    pub(crate) purged: BTreeSet<ConversationId>,
    /// The same of support results, by their keys.
    pub(crate) purged_keys: BTreeSet<String>,
    destination: DestinationRow,
    order: Vec<RecordId>,
    last_alive: Option<Wall>,
    queue: VecDeque<StoreOrder>,
    stage: Option<Stage>,
    /// Latency of a commit, low and high.
    pub(crate) latency: (Time, Time),
    pub(crate) trouble: Option<Trouble>,
    /// Commits fail from this one (counted from 0) on: `(n, how many)`.
    pub(crate) fail_from: Option<(u64, u64)>,
    /// A commit is reported and not made.
    pub(crate) lie: bool,
    pub(crate) commits: u64,
    pub(crate) outstanding_most: usize,
    pub(crate) violation: Option<String>,
    /// Changes that became durable since the last look.
    pub(crate) durable: Vec<Change>,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        Disk {
            latency: (1, 15),
            ..Disk::default()
        }
    }

    pub(crate) fn order(&mut self, order: StoreOrder, now: Time, rng: &mut Rng) {
        let same = |o: &StoreOrder| {
            matches!(
                (o, &order),
                (StoreOrder::Commit { .. }, StoreOrder::Commit { .. })
                    | (StoreOrder::Lookup { .. }, StoreOrder::Lookup { .. })
                    | (StoreOrder::Channels { .. }, StoreOrder::Channels { .. })
            )
        };
        if self.queue.iter().any(same) {
            self.violation = Some("two orders of one kind are outstanding at the store".into());
        }
        self.queue.push_back(order);
        self.outstanding_most = self.outstanding_most.max(self.queue.len());
        self.begin(now, rng);
    }

    fn begin(&mut self, now: Time, rng: &mut Rng) {
        if self.stage.is_none() && !self.queue.is_empty() {
            let (low, high) = self.latency;
            let takes = low + rng.below(high - low + 1);
            self.stage = Some(Stage::Begun(now + takes));
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        match &self.stage {
            Some(Stage::Begun(at) | Stage::Done(at, _)) => Some(*at),
            None => None,
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next step that is due; gives what is to be reported.
    pub(crate) fn step(&mut self, now: Time, wall: Wall, rng: &mut Rng) -> Option<StoreFact> {
        match self.stage.take() {
            Some(Stage::Begun(at)) if at <= now => {
                let fact = self.execute(now, wall);
                // Between durable and known there is room for a crash.
                self.stage = Some(Stage::Done(now + rng.below(3), fact));
                None
            }
            Some(Stage::Done(at, fact)) if at <= now => {
                self.queue.pop_front();
                self.begin(now, rng);
                Some(fact)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }

    fn failing(&self, now: Time) -> Option<StoreTrouble> {
        if let Some(t) = self.trouble
            && now < t.until
        {
            return Some(t.what);
        }
        self.fail_from
            .filter(|(from, n)| self.commits >= *from && self.commits - from < *n)
            .map(|_| StoreTrouble::Io)
    }

    fn execute(&mut self, now: Time, wall: Wall) -> StoreFact {
        let failing = self.failing(now);
        match self.queue.front().cloned() {
            Some(StoreOrder::Commit { ticket, changes }) => {
                self.commits += 1;
                if let Some(trouble) = failing {
                    return StoreFact::CommitFailed { ticket, trouble };
                }
                let mut fact = Applied::default();
                if !self.lie {
                    for (n, change) in changes.iter().enumerate() {
                        if !self.apply(change, wall, &mut fact) {
                            fact.refused.push(n);
                        }
                        self.durable.push(change.clone());
                    }
                }
                self.lie = false;
                self.last_alive = Some(wall);
                StoreFact::Committed {
                    ticket,
                    refused: fact.refused,
                    outgrown: Vec::new(),
                    erased: fact.erased,
                    purged_interactions: fact.interactions.into_iter().collect(),
                    purged_records: fact.records.into_iter().collect(),
                }
            }
            Some(StoreOrder::Lookup { ticket, what }) => {
                // Reading works on a full disk, not on a broken one.
                if let Some(trouble @ (StoreTrouble::Io | StoreTrouble::Busy)) = failing {
                    return StoreFact::LookupFailed { ticket, trouble };
                }
                let found = what.iter().map(|l| self.look(l)).collect();
                StoreFact::Looked { ticket, found }
            }
            Some(StoreOrder::Channels { ticket, rows }) => {
                if let Some(trouble) = failing {
                    return StoreFact::ChannelsFailed { ticket, trouble };
                }
                self.channels = rows;
                StoreFact::ChannelsKept { ticket }
            }
            None => StoreFact::ChannelsKept { ticket: 0 },
        }
    }

    fn look(&self, lookup: &Lookup) -> Found {
        match lookup {
            Lookup::Interaction(id) => Found::Interaction(
                self.interactions.get(id).map(|i| i.row.clone()),
                self.order
                    .iter()
                    .filter_map(|r| self.records.get(r))
                    .filter(|r| {
                        r.row.conversation == Some(*id) && r.row.kind == RecordKind::AfterCallWork
                    })
                    .map(|r| r.row.clone())
                    .collect(),
            ),
            Lookup::Key(key) => Found::Key(self.records.values().find_map(|r| {
                r.key
                    .as_ref()
                    .filter(|(k, _)| k == key)
                    .map(|(_, d)| (r.row.clone(), *d))
            })),
            Lookup::Record(id) => Found::Record(self.records.get(id).map(|r| r.row.clone())),
        }
    }

    fn apply(&mut self, change: &Change, wall: Wall, fact: &mut Applied) -> bool {
        match change {
            Change::Accept { row, members } => {
                let old = self
                    .interactions
                    .get(&row.conversation)
                    .and_then(|i| i.members.clone());
                let merged = merge(old.as_deref(), members);
                let over_at = row.state.ended().then(|| row.ended_at.unwrap_or(wall));
                self.interactions.insert(
                    row.conversation,
                    StoredInteraction {
                        row: row.clone(),
                        members: Some(merged),
                        over_at,
                    },
                );
                true
            }
            Change::Interaction(row) => {
                let Some(i) = self.interactions.get_mut(&row.conversation) else {
                    return false;
                };
                i.over_at = row
                    .state
                    .ended()
                    .then(|| row.ended_at.or(i.over_at).unwrap_or(wall));
                i.row = row.clone();
                true
            }
            Change::Take { row, body, key } => {
                if let Some(there) = self.records.get(&row.record) {
                    return there.row.leg == row.leg && there.row.received_at == row.received_at;
                }
                let members = match row.kind {
                    RecordKind::AfterCallWork => row
                        .conversation
                        .and_then(|c| self.interactions.get(&c))
                        .and_then(|i| i.members.clone()),
                    RecordKind::SupportResult => None,
                };
                let over_at = row.state.over().then(|| row.delivered_at.unwrap_or(wall));
                self.order.push(row.record);
                self.records.insert(
                    row.record,
                    StoredRecord {
                        row: row.clone(),
                        body: Some(body.clone()),
                        members,
                        key: key.clone(),
                        over_at,
                    },
                );
                true
            }
            Change::Destination(row) => {
                self.destination = row.clone();
                true
            }
            Change::Record(row) => {
                let Some(r) = self.records.get_mut(&row.record) else {
                    return false;
                };
                r.over_at = row
                    .state
                    .over()
                    .then(|| row.delivered_at.or(r.over_at).unwrap_or(wall));
                r.row = row.clone();
                true
            }
            Change::EraseBodies { before, limit } => {
                let mut left = *limit;
                for r in self.records.values_mut() {
                    if left > 0 && r.body.is_some() && r.over_at.is_some_and(|t| t < *before) {
                        (r.body, r.members) = (None, None);
                        left -= 1;
                        fact.erased += 1;
                    }
                }
                left = *limit;
                for i in self.interactions.values_mut() {
                    if left > 0 && i.members.is_some() && i.over_at.is_some_and(|t| t < *before) {
                        i.members = None;
                        left -= 1;
                        fact.erased += 1;
                    }
                }
                true
            }
            Change::Purge { before, limit } => {
                self.purge(*before, *limit as usize, fact);
                true
            }
            // Two millions are never reached here.
            Change::Shrink { .. } => true,
        }
    }

    fn purge(&mut self, before: Wall, limit: usize, fact: &mut Applied) {
        let gone: Vec<RecordId> = self
            .records
            .values()
            .filter(|r| r.over_at.is_some_and(|t| t < before))
            .filter(|r| {
                let i = r.row.conversation.and_then(|c| self.interactions.get(&c));
                i.is_none_or(|i| i.over_at.is_some_and(|t| t < before))
            })
            .map(|r| r.row.record)
            .take(limit)
            .collect();
        for id in gone {
            if let Some(r) = self.records.remove(&id) {
                self.purged_keys.extend(r.key.map(|(key, _)| key));
                *fact.records.entry(r.row.state).or_default() += 1;
                fact.erased += 1;
            }
            self.order.retain(|r| *r != id);
        }
        let gone: Vec<ConversationId> = self
            .interactions
            .values()
            .filter(|i| i.over_at.is_some_and(|t| t < before))
            .filter(|i| {
                !self
                    .records
                    .values()
                    .any(|r| r.row.conversation == Some(i.row.conversation))
            })
            .map(|i| i.row.conversation)
            .take(limit)
            .collect();
        for id in gone {
            if let Some(i) = self.interactions.remove(&id) {
                *fact.interactions.entry(i.row.state).or_default() += 1;
                fact.erased += 1;
                self.purged.insert(id);
            }
        }
    }

    /// The process ends in order: what was ordered is done first.
    pub(crate) fn finish(&mut self, now: Time, wall: Wall) {
        if matches!(self.stage, Some(Stage::Done(..))) {
            self.queue.pop_front();
        }
        while !self.queue.is_empty() {
            self.execute(now, wall);
            self.queue.pop_front();
        }
    }

    /// The process ended: what was not durable is gone.
    pub(crate) fn crash(&mut self) {
        self.queue.clear();
        self.stage = None;
    }

    pub(crate) fn recovered(&self) -> Recovered {
        let live = |c: &ConversationId| {
            self.interactions
                .get(c)
                .is_some_and(|i| i.over_at.is_none())
        };
        let mut ended: BTreeMap<InteractionState, u64> = BTreeMap::new();
        for i in self.interactions.values().filter(|i| i.over_at.is_some()) {
            *ended.entry(i.row.state).or_default() += 1;
        }
        let mut over: BTreeMap<RecordState, u64> = BTreeMap::new();
        for r in self.records.values().filter(|r| r.over_at.is_some()) {
            *over.entry(r.row.state).or_default() += 1;
        }
        Recovered {
            interactions: self
                .interactions
                .values()
                .filter(|i| i.over_at.is_none())
                .map(|i| i.row.clone())
                .collect(),
            records: self
                .order
                .iter()
                .filter_map(|r| self.records.get(r))
                .filter(|r| {
                    r.over_at.is_none()
                        || r.row.kind == RecordKind::AfterCallWork
                            && r.row.conversation.as_ref().is_some_and(live)
                })
                .map(|r| r.row.clone())
                .collect(),
            channels: self.channels.clone(),
            destination: self.destination.clone(),
            ended: ended.into_iter().collect(),
            over: over.into_iter().collect(),
            last_alive: self.last_alive,
            damaged: None,
        }
    }
}

#[derive(Default)]
struct Applied {
    refused: Vec<usize>,
    erased: u32,
    interactions: BTreeMap<InteractionState, u64>,
    records: BTreeMap<RecordState, u64>,
}

/// Newer members over older ones, at the top level.
fn merge(old: Option<&str>, new: &str) -> String {
    type Object = serde_json::Map<String, serde_json::Value>;
    let read = |text: &str| serde_json::from_str::<Object>(text).unwrap_or_default();
    let mut all = old.map(read).unwrap_or_default();
    all.extend(read(new));
    serde_json::to_string(&all).unwrap_or_default()
}
