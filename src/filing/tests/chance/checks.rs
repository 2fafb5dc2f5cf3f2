//! What must hold at every step, and once peace has lasted.

use super::*;

impl Run {
    /// Guarantee 4: live, being subscribed, or due for a check.
    pub(super) fn check_always(&self) {
        for (id, state) in self.filing.live_interactions() {
            let subscribed = self.watched.contains_key(&topic_of(id));
            assert!(subscribed, "{id} is watched by nobody");
            assert!(
                state.due_at.is_some(),
                "{id} will never be checked: {state:?}"
            );
            if state.live {
                assert!(self.live.contains(&topic_of(id)));
            }
        }
    }

    pub(super) fn check_end(&self) {
        for (n, call) in self.calls.iter().enumerate() {
            let id = c(n as u128);
            assert!(self.accepted.contains(&id));
            let row = &self.store.interactions[&id].0;
            assert_eq!(row.state, InteractionState::Finished, "{id}");
            assert_eq!(row.reason.as_ref().unwrap().code, "conversation-finished");
            let records = self.store.records_of(id);
            for (l, wraps) in call.legs.iter().enumerate() {
                for (w, at) in wraps.iter().enumerate() {
                    let filed = records
                        .iter()
                        .filter(|r| r.leg.participant == format!("p{l}"))
                        .filter(|r| {
                            let t = r.event_time.unwrap();
                            t.since(wall(*at)).max(wall(*at).since(t)) < Duration::from_secs(2)
                        })
                        .count();
                    // REST shows only the last wrap-up of a leg.
                    let last = w + 1 == wraps.len();
                    assert!(
                        filed == 1 || (filed == 0 && !last),
                        "{id} leg {l} wrap-up {w} was filed {filed} times (reported at {}, wrapped up at {at})",
                        call.reported
                    );
                }
            }
            for record in &records {
                assert_eq!(record.state, RecordState::Delivered);
                assert!(self.history.contains_key(&record.record));
            }
        }
        assert_eq!(self.results.len(), 20);
        for record in self.results.values() {
            assert_eq!(self.store.records[record].0.state, RecordState::Delivered);
        }
        assert_eq!(self.history.len(), self.store.records.len());
        assert!(self.watched.is_empty());
        let s = self.filing.snapshot(self.now);
        assert_eq!(
            s.records[&RecordState::Delivered] as usize,
            self.store.records.len()
        );
        assert_eq!(
            s.interactions[&InteractionState::Finished] as usize,
            self.calls.len()
        );
        assert_eq!((s.commit_backlog, s.callers_waiting), (0, 0));
    }
}
