//! A port that keeps everything in memory: the real rules of the contract in
//! little, and switches for what goes wrong behind it.

#![allow(dead_code)] // Each test program uses a part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::ids::{ConversationId, RecordId};
use base::rows::{InteractionState, RecordState};
use base::time::Wall;
use genesys_gateway::shell::port::{
    Answer, CallerRequest, EventOutcome, Health, InteractionView, Port, RecordView,
};

pub(crate) const ACCEPTED_AT: Wall = Wall(1_767_886_512_345);

#[derive(Default)]
pub(crate) struct MemoryPort {
    state: Mutex<State>,
    /// Nothing can be committed.
    pub(crate) busy: AtomicBool,
    /// Transactions take too long.
    pub(crate) slow: AtomicBool,
    /// Nothing can be read.
    pub(crate) unreadable: AtomicBool,
    /// Neither healthy nor ready.
    pub(crate) sick: AtomicBool,
}

#[derive(Default, Debug)]
struct State {
    interactions: BTreeMap<ConversationId, InteractionView>,
    records: BTreeMap<RecordId, RecordView>,
    keys: BTreeMap<String, ([u8; 32], RecordId)>,
    events: BTreeSet<(ConversationId, String)>,
    filed: usize,
    asked: Vec<CallerRequest>,
}

fn interaction(state: &str) -> InteractionState {
    InteractionState::parse(state).unwrap()
}

fn ended(state: &str) -> bool {
    interaction(state).ended()
}

pub(crate) fn record_view(record: RecordId, state: &str) -> RecordView {
    RecordView {
        record,
        kind: "after-call-work".into(),
        conversation: None,
        source: "notification".into(),
        event_time: Some(ACCEPTED_AT),
        received_at: ACCEPTED_AT,
        state: state.into(),
        attempts: 2,
        delivered_at: (state == "delivered").then_some(ACCEPTED_AT),
        last_error: (state != "delivered").then(|| "503 \"down\"".into()),
        next_try: (state == "deferred").then_some(ACCEPTED_AT),
        body: Some("{\"note\":\"personal\"}".into()),
    }
}

impl MemoryPort {
    /// Everything it holds, to see that a refused request changed nothing.
    pub(crate) fn snapshot(&self) -> String {
        let state = self.state.lock().unwrap();
        format!(
            "{:?} {:?} {:?} {}",
            state.interactions, state.records, state.keys, state.filed
        )
    }

    pub(crate) fn asked(&self) -> Vec<CallerRequest> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(crate) fn put_interaction(&self, view: InteractionView) {
        let mut state = self.state.lock().unwrap();
        state.interactions.insert(view.conversation, view);
    }

    pub(crate) fn end(&self, id: ConversationId, as_state: &str) {
        let mut state = self.state.lock().unwrap();
        state.interactions.get_mut(&id).unwrap().state = as_state.into();
    }

    pub(crate) fn put_record(&self, view: RecordView) {
        self.state.lock().unwrap().records.insert(view.record, view);
    }
}

impl Port for MemoryPort {
    fn ask(&self, request: CallerRequest) -> Answer {
        if self.busy.load(Ordering::Relaxed) {
            return Answer::Busy {
                retry_after: Duration::from_millis(2500),
                detail: "The disk is full.".into(),
            };
        }
        if self.slow.load(Ordering::Relaxed) {
            return Answer::Unknown;
        }
        let mut state = self.state.lock().unwrap();
        state.asked.push(request.clone());
        match request {
            CallerRequest::Accept {
                conversation,
                members,
            } => {
                let fresh = state
                    .interactions
                    .get(&conversation)
                    .is_none_or(|i| ended(&i.state));
                let view =
                    state
                        .interactions
                        .entry(conversation)
                        .or_insert_with(|| InteractionView {
                            conversation,
                            state: "accepted".into(),
                            accepted_at: ACCEPTED_AT,
                            watched_since: None,
                            finished_at: None,
                            reason: None,
                            members: None,
                            records: Vec::new(),
                        });
                if fresh {
                    view.state = "accepted".into();
                }
                view.members = Some(members);
                Answer::Interaction {
                    conversation,
                    state: interaction(&view.state),
                    accepted_at: view.accepted_at,
                    fresh,
                }
            }
            CallerRequest::Event { conversation, body } => {
                let reported = state.interactions.contains_key(&conversation);
                let known = reported && !state.events.insert((conversation, body));
                Answer::Event(match (reported, known) {
                    (false, _) => EventOutcome::Unreported,
                    (true, true) => EventOutcome::Known,
                    (true, false) => EventOutcome::Taken,
                })
            }
            CallerRequest::Stop { conversation } => {
                let Some(view) = state.interactions.get_mut(&conversation) else {
                    return Answer::NotFound;
                };
                let accepted_at = view.accepted_at;
                if ended(&view.state) {
                    return Answer::AlreadyEnded {
                        conversation,
                        state: interaction(&view.state),
                        accepted_at,
                        reason: None,
                    };
                }
                view.state = "stopped".into();
                Answer::Stopping {
                    conversation,
                    state: InteractionState::Stopped,
                    accepted_at,
                    reason: None,
                }
            }
            CallerRequest::SupportResult {
                idempotency_key,
                body_digest,
                ..
            } => {
                if let Some((digest, record)) =
                    idempotency_key.as_ref().and_then(|k| state.keys.get(k))
                {
                    return if *digest == body_digest {
                        Answer::SupportResult {
                            record: *record,
                            state: RecordState::Queued,
                        }
                    } else {
                        Answer::KeyConflict
                    };
                }
                state.filed += 1;
                let n = state.filed;
                let record: RecordId = format!("00000000-0000-4000-8000-{n:012}").parse().unwrap();
                if let Some(key) = idempotency_key {
                    state.keys.insert(key, (body_digest, record));
                }
                Answer::SupportResult {
                    record,
                    state: RecordState::Queued,
                }
            }
            CallerRequest::Act { record, act } => {
                let Some(view) = state.records.get_mut(&record) else {
                    return Answer::NotFound;
                };
                let from = RecordState::parse(&view.state).unwrap();
                let Some(to) = act.after(from) else {
                    return Answer::WrongState { state: from };
                };
                view.state = to.label().into();
                Answer::Record {
                    record,
                    state: to,
                    attempts: view.attempts,
                    last_error: view.last_error.clone(),
                }
            }
        }
    }

    fn interaction(&self, id: ConversationId) -> Result<Option<InteractionView>, String> {
        if self.unreadable.load(Ordering::Relaxed) {
            return Err("database disk image is malformed".into());
        }
        Ok(self.state.lock().unwrap().interactions.get(&id).cloned())
    }

    fn record(&self, id: RecordId) -> Result<Option<RecordView>, String> {
        if self.unreadable.load(Ordering::Relaxed) {
            return Err("database disk image is malformed".into());
        }
        Ok(self.state.lock().unwrap().records.get(&id).cloned())
    }

    fn records(&self, filter: Option<&str>, limit: usize) -> Result<Vec<RecordView>, String> {
        if self.unreadable.load(Ordering::Relaxed) {
            return Err("database disk image is malformed".into());
        }
        let state = self.state.lock().unwrap();
        let fitting = state.records.values();
        let fitting = fitting.filter(|r| filter.is_none_or(|f| r.state == f));
        Ok(fitting
            .take(limit)
            .map(|r| RecordView {
                body: None,
                ..r.clone()
            })
            .collect())
    }

    fn health(&self) -> Health {
        let sick = self.sick.load(Ordering::Relaxed);
        Health {
            ok: !sick,
            reasons: if sick {
                vec!["the store does not commit".into()]
            } else {
                Vec::new()
            },
        }
    }

    fn ready(&self) -> Health {
        self.health()
    }

    fn metrics(&self) -> String {
        "# TYPE genesys_gateway_topics gauge\ngenesys_gateway_topics 0\n".into()
    }

    fn status_json(&self) -> String {
        "{\"verdict\":\"good\"}".into()
    }
}
