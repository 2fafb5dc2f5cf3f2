//! The world around the core: clock, store, watched topics, questions, posts.
//!
//! Every order is checked as it comes out; see [`World::obey`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::store_model::StoreModel;
use crate::*;
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::{Level, Notice};
use base::rows::*;
use base::time::{Mono, Now, Wall};

/// What becomes of commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Commits {
    /// Done at once.
    Succeed,
    /// Fail at once.
    Fail(StoreTrouble),
    /// Stay outstanding until [`World::finish_commit`].
    Wait,
}

pub(super) struct World {
    pub(super) filing: Filing,
    pub(super) settings: Settings,
    pub(super) now: Now,
    pub(super) store: StoreModel,
    pub(super) commits: Commits,
    pub(super) outstanding: VecDeque<(u64, Vec<Change>)>,
    pub(super) commit_count: usize,
    pub(super) watched: BTreeSet<Topic>,
    /// Topics that were preferred, in order.
    pub(super) preferred: Vec<Topic>,
    /// Topics that were asked to give way, in order.
    pub(super) gave_way: Vec<Topic>,
    pub(super) fetches: Vec<(Fetch, Now)>,
    pub(super) posts: Vec<RecordId>,
    pub(super) answers: Vec<(CallerId, Answer)>,
    pub(super) notices: Vec<Notice>,
    /// How often each record was filed.
    pub(super) filed: BTreeMap<RecordId, u32>,
    callers: u64,
    pending_callers: BTreeSet<u64>,
    /// Makes look-ups wait, to let things happen in between.
    pub(super) hold_lookups: bool,
    pub(super) lookups: VecDeque<(u64, Vec<Lookup>)>,
}

/// A conversation by number.
pub(super) fn c(n: u128) -> ConversationId {
    ConversationId(uuid::Uuid::from_u128(0xc0_0000 + n))
}

pub(super) fn t(n: u128) -> Topic {
    topic_of(c(n))
}

pub(super) const START: Wall = Wall(1_767_886_500_000);

pub(super) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(super) fn filed() -> PostOutcome {
    answered(200)
}

pub(super) fn answered(status: u16) -> PostOutcome {
    PostOutcome::Answered {
        status,
        retry_after: None,
        excerpt: String::new(),
    }
}

/// One agent leg as REST shows it.
#[derive(Clone, Debug)]
pub(super) struct RestLeg {
    pub(super) leg: &'static str,
    pub(super) state: &'static str,
    pub(super) wrap_up: Option<Wall>,
}

pub(super) fn conversation(n: u128, ended: bool, legs: &[RestLeg]) -> String {
    let legs: Vec<Value> = legs
        .iter()
        .map(|l| {
            let mut call = json!({"id": format!("s-{}", l.leg), "state": "disconnected",
                "afterCallWork": {"state": l.state}});
            if let Some(at) = l.wrap_up {
                call["wrapup"] = json!({"code": "w", "endTime": at.rfc3339()});
                call["afterCallWork"]["endTime"] = json!(at.rfc3339());
            }
            json!({"id": format!("p-{}", l.leg), "purpose": "agent", "calls": [call]})
        })
        .collect();
    let mut whole = json!({"id": c(n).to_string(), "participants": legs});
    if ended {
        whole["endTime"] = json!(START.rfc3339());
    }
    whole.to_string()
}

pub(super) fn over(n: u128, legs: &[(&'static str, Wall)]) -> String {
    let legs: Vec<_> = legs
        .iter()
        .map(|(leg, at)| RestLeg {
            leg,
            state: "complete",
            wrap_up: Some(*at),
        })
        .collect();
    conversation(n, true, &legs)
}

pub(super) fn going_on(n: u128) -> String {
    conversation(n, false, &[])
}

impl World {
    pub(super) fn new(settings: Settings) -> World {
        let now = Now {
            mono: Mono(1_000_000),
            wall: START,
        };
        World::restarted(settings, StoreModel::default(), now, 1)
    }

    pub(super) fn restarted(settings: Settings, store: StoreModel, now: Now, seed: u64) -> World {
        let filing = Filing::new(settings, &store.recovered(), now, seed);
        let mut world = World {
            filing,
            settings,
            now,
            store,
            commits: Commits::Succeed,
            outstanding: VecDeque::new(),
            commit_count: 0,
            watched: BTreeSet::new(),
            preferred: vec![],
            gave_way: vec![],
            fetches: vec![],
            posts: vec![],
            answers: vec![],
            notices: vec![],
            filed: BTreeMap::new(),
            callers: 0,
            pending_callers: BTreeSet::new(),
            hold_lookups: false,
            lookups: VecDeque::new(),
        };
        world.drain();
        world
    }

    /// The process dies and starts again; what was filed stays filed.
    pub(super) fn restart(&mut self) {
        let filed = std::mem::take(&mut self.filed);
        let commits = self.commits;
        *self = World::restarted(self.settings, self.store.clone(), self.now, 2);
        self.filed = filed;
        self.commits = commits;
    }

    pub(super) fn tell(&mut self, fact: Fact) {
        self.filing.handle(fact, self.now);
        self.drain();
    }

    /// The run ends.
    pub(super) fn leave(&mut self) -> Farewell {
        let left = self.filing.leave(self.now);
        self.drain();
        left
    }

    fn drain(&mut self) {
        loop {
            while let Some(order) = self.filing.poll_output() {
                self.obey(order);
            }
            let fact = if let Some(fact) = self.due_store_fact() {
                fact
            } else {
                break;
            };
            self.filing.handle(Fact::Store(fact), self.now);
        }
    }

    fn due_store_fact(&mut self) -> Option<StoreFact> {
        if !self.outstanding.is_empty() {
            match self.commits {
                Commits::Wait => {}
                Commits::Succeed => return Some(self.executed()),
                Commits::Fail(trouble) => {
                    let (ticket, _) = self.outstanding.pop_front()?;
                    return Some(StoreFact::CommitFailed { ticket, trouble });
                }
            }
        }
        // A look-up sees every commit before it, so it waits for one that is outstanding.
        if !self.hold_lookups && self.outstanding.is_empty() {
            let (ticket, what) = self.lookups.pop_front()?;
            let found = what.iter().map(|w| self.store.look(w)).collect();
            return Some(StoreFact::Looked { ticket, found });
        }
        None
    }

    fn executed(&mut self) -> StoreFact {
        let (at, changes) = self.outstanding.pop_front().unwrap();
        self.commit_count += 1;
        let mut fact = self.store.execute(&changes);
        if let StoreFact::Committed { ticket, .. } = &mut fact {
            *ticket = at;
        }
        fact
    }

    /// Ends the outstanding commit, and whatever follows stays outstanding again.
    pub(super) fn finish_commit(&mut self) {
        let fact = self.executed();
        self.filing.handle(Fact::Store(fact), self.now);
        self.drain();
    }

    pub(super) fn fail_commit(&mut self, trouble: StoreTrouble) {
        let (ticket, _) = self.outstanding.pop_front().unwrap();
        let fact = StoreFact::CommitFailed { ticket, trouble };
        self.filing.handle(Fact::Store(fact), self.now);
        self.drain();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Answer(caller, answer) => {
                assert!(
                    self.pending_callers.remove(&caller.0),
                    "{caller:?} answered twice"
                );
                match &answer {
                    Answer::Interaction { conversation, .. }
                    | Answer::Stopping { conversation, .. }
                    | Answer::AlreadyEnded { conversation, .. } => {
                        assert!(self.store.interactions.contains_key(conversation));
                    }
                    Answer::SupportResult { record, .. } | Answer::Record { record, .. } => {
                        assert!(self.store.records.contains_key(record));
                    }
                    _ => {}
                }
                self.answers.push((caller, answer));
            }
            Order::Watch(topic) => {
                let id = conversation_of(&topic).unwrap();
                assert!(!self.store.interactions[&id].0.state.ended());
                self.watched.insert(topic);
            }
            Order::Prefer(topic) => {
                assert!(self.watched.contains(&topic));
                self.preferred.push(topic);
            }
            Order::GiveWay(topics) => self.gave_way.extend(topics),
            Order::Unwatch(topic) => {
                let id = conversation_of(&topic).unwrap();
                if let Some((row, _)) = self.store.interactions.get(&id) {
                    assert!(row.state.ended(), "unwatched before its end was durable");
                }
                self.watched.remove(&topic);
            }
            Order::Fetch(fetch) => {
                self.fetches.push((fetch, self.now));
                assert!(self.fetches.len() <= FETCHES_OUTSTANDING_MAX);
            }
            Order::Store(StoreOrder::Commit { ticket, changes }) => {
                assert!(self.outstanding.is_empty(), "two commits outstanding");
                assert!(changes.len() <= 512);
                self.outstanding.push_back((ticket, changes));
            }
            Order::Store(StoreOrder::Lookup { ticket, what }) => {
                assert!(self.lookups.is_empty(), "two look-ups outstanding");
                self.lookups.push_back((ticket, what));
            }
            Order::Store(StoreOrder::Channels { .. }) => panic!("not filing's"),
            Order::Post { record } => {
                let (row, ..) = &self.store.records[&record];
                assert!(!row.state.over(), "posted although it is over");
                assert!(!self.posts.contains(&record), "posted twice at once");
                self.posts.push(record);
                assert!(self.posts.len() <= self.settings.workers);
            }
            Order::Notice(notice) => {
                assert!(notice.label != "defect", "{}", notice.text);
                self.notices.push(notice);
            }
        }
    }

    /// Lets time pass, with a tick at every deadline.
    pub(super) fn pass(&mut self, d: Duration) {
        let end = self.now.plus(d);
        let mut turns = 0;
        while let Some(deadline) = self.filing.next_deadline()
            && deadline.at <= end.mono
        {
            if deadline.at > self.now.mono {
                self.now = self.now.plus(deadline.at.since(self.now.mono));
                turns = 0;
            }
            turns += 1;
            assert!(turns < 50, "spinning for {}", deadline.why);
            self.tell(Fact::Tick);
        }
        self.now = end;
    }

    pub(super) fn ask(&mut self, request: CallerRequest) -> u64 {
        self.callers += 1;
        let caller = self.callers;
        self.pending_callers.insert(caller);
        self.tell(Fact::Caller {
            caller: CallerId(caller),
            request,
        });
        caller
    }

    pub(super) fn answer_to(&self, caller: u64) -> Option<&Answer> {
        self.answers
            .iter()
            .find(|(id, _)| id.0 == caller)
            .map(|(_, a)| a)
    }

    pub(super) fn accept(&mut self, n: u128) -> u64 {
        self.ask(CallerRequest::Accept {
            conversation: c(n),
            members: format!(r#"{{"n":{n}}}"#),
        })
    }

    pub(super) fn stop(&mut self, n: u128) -> u64 {
        self.ask(CallerRequest::Stop { conversation: c(n) })
    }

    pub(super) fn act(&mut self, record: RecordId, act: Act) -> Answer {
        let caller = self.ask(CallerRequest::Act { record, act });
        self.answer_to(caller).cloned().unwrap()
    }

    pub(super) fn live(&mut self, n: u128) {
        self.tell(Fact::Platform(PlatformFact::Live { topic: t(n) }));
    }

    pub(super) fn gap(&mut self, n: u128) {
        self.tell(Fact::Platform(PlatformFact::Gap {
            topics: vec![t(n)],
            cause: GapCause::Silent,
        }));
    }

    pub(super) fn event_body(n: u128, leg: &str, at: Wall) -> String {
        json!({"eventTime": at.0, "conversationId": c(n).to_string(),
            "participantId": format!("P-{leg}"), "sessionId": format!("S-{leg}")})
        .to_string()
    }

    pub(super) fn event(&mut self, n: u128, leg: &str, at: Wall) {
        self.raw_event(n, World::event_body(n, leg, at));
    }

    pub(super) fn raw_event(&mut self, n: u128, body: String) {
        self.tell(Fact::Platform(PlatformFact::Event { topic: t(n), body }));
    }

    /// Answers the oldest question.
    pub(super) fn tell_fetched(&mut self, outcome: FetchOutcome) -> Fetch {
        assert!(!self.fetches.is_empty(), "nothing was asked");
        let (fetch, asked_at) = self.fetches.remove(0);
        self.tell(Fact::Platform(PlatformFact::Fetched {
            fetch: fetch.clone(),
            asked_at,
            outcome,
        }));
        fetch
    }

    pub(super) fn found(&mut self, json: String) -> Fetch {
        self.tell_fetched(FetchOutcome::Found(json))
    }

    /// Ends the oldest try.
    pub(super) fn post_ends(&mut self, outcome: PostOutcome) -> RecordId {
        assert!(!self.posts.is_empty(), "nothing was posted");
        let record = self.posts.remove(0);
        if let PostOutcome::Answered {
            status: 200..=299 | 409,
            ..
        } = outcome
        {
            *self.filed.entry(record).or_default() += 1;
        }
        self.tell(Fact::Posted { record, outcome });
        record
    }

    pub(super) fn state(&self, n: u128) -> &'static str {
        self.store.interactions[&c(n)].0.state.label()
    }

    pub(super) fn reason(&self, n: u128) -> String {
        let row = &self.store.interactions[&c(n)].0;
        row.reason
            .as_ref()
            .map(|r| r.code.clone())
            .unwrap_or_default()
    }

    pub(super) fn record(&self, record: RecordId) -> &RecordRow {
        &self.store.records[&record].0
    }

    pub(super) fn record_state(&self, record: RecordId) -> &'static str {
        self.record(record).state.label()
    }

    /// The one record there is.
    pub(super) fn only_record(&self) -> RecordId {
        assert_eq!(self.store.records.len(), 1);
        *self.store.records.keys().next().unwrap()
    }

    pub(super) fn said(&self, label: &str) -> Option<Level> {
        self.notices
            .iter()
            .rev()
            .find(|n| n.label == label)
            .map(|n| n.level)
    }

    // Builders: any state in one call.

    /// Accepted, live, and the check after the first `Live` answered "going on".
    pub(super) fn watching(settings: Settings) -> World {
        let mut w = World::new(settings);
        w.accept(1);
        w.live(1);
        w.found(going_on(1));
        assert_eq!(w.state(1), "watching");
        w
    }

    /// The same, some time later, with one event just taken and its try to file under way.
    pub(super) fn settling(settings: Settings) -> (World, RecordId) {
        let mut w = World::watching(settings);
        w.pass(secs(100));
        let at = w.now.wall;
        w.event(1, "a", at);
        let record = w.only_record();
        assert_eq!((w.state(1), w.posts.len()), ("settling", 1));
        (w, record)
    }

    /// A record in any state, of an interaction that is settling.
    pub(super) fn with_record(state: RecordState) -> (World, RecordId) {
        let (mut w, record) = World::settling(Settings::default());
        match state {
            RecordState::Queued => {
                // Closed to us: nothing moves any more.
                w.post_ends(answered(401));
            }
            RecordState::Delivered => {
                w.post_ends(filed());
            }
            RecordState::Deferred => {
                w.post_ends(answered(500));
            }
            RecordState::Dead => {
                w.post_ends(answered(422));
            }
            RecordState::Held => {
                w.post_ends(answered(500));
                w.act(record, Act::Hold);
            }
            RecordState::Discarded => {
                w.post_ends(answered(422));
                w.act(record, Act::Discard);
            }
        }
        assert_eq!(w.record(record).state, state);
        (w, record)
    }
}
