//! The store as plain maps, executing batches as the contract of `rows` says.

use std::collections::BTreeMap;

use base::ids::{ConversationId, RecordId};
use base::rows::*;
use base::time::Wall;

#[derive(Clone, Default)]
pub(super) struct StoreModel {
    pub(super) interactions: BTreeMap<ConversationId, (InteractionRow, Vec<String>)>,
    pub(super) records: BTreeMap<RecordId, (RecordRow, String, Vec<String>)>,
    pub(super) destination: DestinationRow,
    keys: BTreeMap<String, (RecordId, [u8; 32])>,
}

impl StoreModel {
    pub(super) fn execute(&mut self, changes: &[Change]) -> StoreFact {
        let mut purged = Vec::new();
        for change in changes {
            match change {
                Change::Accept { row, members } => {
                    let entry = self
                        .interactions
                        .entry(row.conversation)
                        .or_insert_with(|| (row.clone(), vec![]));
                    entry.0 = row.clone();
                    entry.1.push(members.clone());
                }
                Change::Interaction(row) => {
                    let entry = self.interactions.get_mut(&row.conversation);
                    entry.expect("row of an unknown interaction").0 = row.clone();
                }
                Change::Take { row, body, key } => {
                    let members = row
                        .conversation
                        .filter(|_| row.kind == RecordKind::AfterCallWork)
                        .and_then(|c| Some(self.interactions.get(&c)?.1.clone()))
                        .unwrap_or_default();
                    let before = self
                        .records
                        .insert(row.record, (row.clone(), body.clone(), members));
                    assert!(before.is_none(), "record taken twice");
                    if let Some((key, digest)) = key {
                        let before = self.keys.insert(key.clone(), (row.record, *digest));
                        assert!(before.is_none(), "key used twice");
                    }
                }
                Change::Destination(row) => self.destination = row.clone(),
                Change::Record(row) => {
                    let entry = self.records.get_mut(&row.record);
                    entry.expect("row of an unknown record").0 = row.clone();
                }
                Change::EraseBodies { .. } | Change::Purge { .. } => {}
                Change::Shrink { rows } => purged.extend(self.shrink(*rows as usize)),
            }
        }
        StoreFact::Committed {
            ticket: 0,
            refused: vec![],
            outgrown: Vec::new(),
            erased: purged.len() as u32,
            purged_interactions: purged,
            purged_records: vec![],
        }
    }

    fn shrink(&mut self, rows: usize) -> Vec<(InteractionState, u64)> {
        let mut old: Vec<_> = self
            .interactions
            .values()
            .map(|(row, _)| row.clone())
            .filter(|row| {
                use InteractionState::{Expired, Refused, Stopped};
                matches!(row.state, Stopped | Refused | Expired)
                    && self.records_of(row.conversation).is_empty()
            })
            .collect();
        old.sort_by_key(|row| row.ended_at);
        old.truncate(rows);
        for row in &old {
            self.interactions.remove(&row.conversation);
        }
        old.iter().map(|row| (row.state, 1)).collect()
    }

    pub(super) fn records_of(&self, id: ConversationId) -> Vec<RecordRow> {
        self.records
            .values()
            .filter(|(r, ..)| r.conversation == Some(id) && r.kind == RecordKind::AfterCallWork)
            .map(|(r, ..)| r.clone())
            .collect()
    }

    pub(super) fn look(&self, what: &Lookup) -> Found {
        match what {
            Lookup::Interaction(id) => Found::Interaction(
                self.interactions.get(id).map(|(row, _)| row.clone()),
                self.records_of(*id),
            ),
            Lookup::Key(key) => Found::Key(
                self.keys
                    .get(key)
                    .map(|(id, digest)| (self.records[id].0.clone(), *digest)),
            ),
            Lookup::Record(id) => Found::Record(self.records.get(id).map(|r| r.0.clone())),
        }
    }

    pub(super) fn recovered(&self) -> Recovered {
        let mut r = Recovered {
            last_alive: Some(Wall(0)),
            destination: self.destination.clone(),
            ..Recovered::default()
        };
        let mut ended: BTreeMap<InteractionState, u64> = BTreeMap::new();
        let mut over: BTreeMap<RecordState, u64> = BTreeMap::new();
        for (row, _) in self.interactions.values() {
            if row.state.ended() {
                *ended.entry(row.state).or_default() += 1;
            } else {
                r.interactions.push(row.clone());
            }
        }
        for (row, ..) in self.records.values() {
            let live = row.kind == RecordKind::AfterCallWork
                && row.conversation.is_some_and(|c| {
                    self.interactions
                        .get(&c)
                        .is_some_and(|i| !i.0.state.ended())
                });
            if row.state.over() {
                *over.entry(row.state).or_default() += 1;
            }
            if live || !row.state.over() {
                r.records.push(row.clone());
            }
        }
        r.ended = ended.into_iter().collect();
        r.over = over.into_iter().collect();
        r
    }
}
