//! Deliberate breakages between core and world: each must be caught, by the
//! check that is there for it.

mod breakage;
mod occasions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::foreign;
use base::ids::{ConversationId, RecordId, Topic};
use base::notice::{Level, Notice};
use base::rows::{Change, InteractionState, Reason, RecordState, Recovered, StoreFact, StoreOrder};
use base::secret::Secret;
use filing::{
    Answer, CallerId, CallerRequest, EventOutcome, Farewell, HistoryState, PostOutcome, Settings,
};
use genesys_gateway::gateway::{Input, Output};
use proto::CallId;
use proto::connect_uri::Streaming;
use proto::rest::{self, Op, Outcome};
use proto::rollover::Replacement;
use proto::session::{self, Fact, SocketRef};

use breakage::{Breakage, REFUSALS};

use crate::agenda::Time;
use crate::history::STORM;
use crate::sabotage::Sabotage;

struct Broken {
    what: Breakage,
    waiting: BTreeMap<ConversationId, CallerId>,
    token: Option<Secret>,
    early: BTreeSet<CallerId>,
    sockets: BTreeMap<SocketRef, Secret>,
    pending: Vec<Output>,
    inject: Vec<Input>,
    calls: BTreeMap<CallId, bool>,
    keys: BTreeMap<RecordId, u8>,
    /// What was subscribed on which socket.
    subscribed: BTreeSet<(SocketRef, Topic)>,
    extra: u64,
    /// Channels that are still to be made for the last socket that was refused.
    chain: u32,
    /// One that watches no more was passed over.
    passed: bool,
    /// The first deadline there was.
    stale: Option<Time>,
}

fn sabotage(what: Breakage) -> Box<dyn Sabotage> {
    Box::new(Broken {
        what,
        waiting: BTreeMap::new(),
        token: None,
        early: BTreeSet::new(),
        sockets: BTreeMap::new(),
        pending: Vec::new(),
        inject: Vec::new(),
        calls: BTreeMap::new(),
        keys: BTreeMap::new(),
        subscribed: BTreeSet::new(),
        extra: 0,
        chain: 0,
        passed: false,
        stale: None,
    })
}

const OWN_CALLS: u64 = 1 << 60;

impl Broken {
    fn own_call(&mut self, op: Op) -> Option<Output> {
        let token = Some(self.token.clone()?);
        self.extra += 1;
        Some(Output::Call {
            call: CallId(OWN_CALLS + self.extra),
            op,
            token,
        })
    }
}

impl Sabotage for Broken {
    fn settings(&mut self, settings: &mut Settings) {
        if self.what == Breakage::NeverLingers {
            settings.linger = Duration::ZERO;
        }
    }

    fn input(&mut self, input: Input) -> Vec<Input> {
        let mut all = std::mem::take(&mut self.inject);
        match (self.what, input) {
            (
                Breakage::AnswersBeforeTheCommit | Breakage::RefusesWhatIsUnderWay,
                Input::Caller {
                    caller,
                    request:
                        CallerRequest::Accept {
                            conversation,
                            members,
                        },
                },
            ) => {
                self.waiting.insert(conversation, caller);
                all.push(Input::Caller {
                    caller,
                    request: CallerRequest::Accept {
                        conversation,
                        members,
                    },
                });
            }
            (Breakage::UnsubscribesAfterTheFirstEvent, Input::Session { socket, fact }) => {
                if let Fact::Event { topic, .. } = &fact {
                    self.extra += 1;
                    let order = session::Order::Unsubscribe {
                        ticket: OWN_CALLS + self.extra,
                        topics: vec![topic.clone()],
                    };
                    self.pending.push(Output::Session { socket, order });
                }
                all.push(Input::Session { socket, fact });
            }
            (
                Breakage::MissesTheEndOfSockets,
                Input::Session {
                    fact: Fact::Ended(_),
                    ..
                },
            ) => {}
            (
                Breakage::SwallowsEvents,
                Input::Session {
                    fact: Fact::Event { .. },
                    ..
                },
            ) => {}
            (Breakage::AsksWithoutBudget, Input::Answered { call, .. }) if call.0 >= OWN_CALLS => {
                let own = self.own_call(Op::IdleTimeout);
                self.pending.extend(own);
                all.push(Input::Tick);
            }
            (Breakage::MakesChannelsForSockets, Input::Session { socket, fact }) => {
                if matches!(fact, Fact::Ended(session::End::UpgradeRefused { .. })) {
                    self.chain = 20;
                    let own = self.own_call(Op::CreateChannel);
                    self.pending.extend(own);
                }
                all.push(Input::Session { socket, fact });
            }
            (Breakage::MakesChannelsForSockets, Input::Answered { call, .. })
                if call.0 >= OWN_CALLS =>
            {
                self.chain = self.chain.saturating_sub(1);
                let own = (self.chain > 0)
                    .then(|| self.own_call(Op::CreateChannel))
                    .flatten();
                self.pending.extend(own);
                all.push(Input::Tick);
            }
            (
                Breakage::BlamesTheRecordsForAStorm,
                Input::Posted {
                    record,
                    outcome:
                        PostOutcome::Answered {
                            status: STORM,
                            retry_after,
                            excerpt,
                        },
                },
            ) => {
                self.extra += 1;
                let n = self.extra as usize % REFUSALS.len();
                all.push(Input::Posted {
                    record,
                    outcome: PostOutcome::Answered {
                        status: REFUSALS[n],
                        retry_after,
                        excerpt,
                    },
                });
            }
            (
                Breakage::FilesWhatComesBothWays,
                Input::Caller {
                    caller,
                    request: CallerRequest::Event { conversation, body },
                },
            ) => {
                let mut event = foreign::value(body.as_bytes()).unwrap_or_default();
                let time = event["eventTime"].as_i64().unwrap_or_default();
                event["eventTime"] = (time + 2000).into();
                let body = event.to_string();
                let request = CallerRequest::Event { conversation, body };
                all.push(Input::Caller { caller, request });
            }
            (
                Breakage::AnswersEventsBeforeTheCommit,
                Input::Caller {
                    caller,
                    request: CallerRequest::Event { .. },
                },
            ) => {
                let answer = Answer::Event(EventOutcome::Taken);
                self.pending.push(Output::Answer(caller, answer));
                all.push(Input::Tick);
            }
            (Breakage::BelievesEmptyAnswers, Input::Answered { call, mut outcome })
                if self.calls.contains_key(&call) =>
            {
                if let Ok(rest::Answer::Json(text)) = &outcome.result
                    && let Ok(mut json) = serde_json::from_str::<serde_json::Value>(text)
                {
                    json["participants"] = serde_json::json!([]);
                    json["endTime"] = json["startTime"].clone();
                    outcome.result = Ok(rest::Answer::Json(json.to_string()));
                }
                all.push(Input::Answered { call, outcome });
            }
            (Breakage::NeverGetsAnswersOfChecks, Input::Answered { call, outcome })
                if self.calls.contains_key(&call) =>
            {
                let result = Err(rest::Failure::NotFound);
                all.push(Input::Answered {
                    call,
                    outcome: Outcome {
                        result,
                        limits: outcome.limits,
                        retry_after: outcome.retry_after,
                    },
                });
            }
            (Breakage::HidesWhatIsUnknown, Input::Answered { call, mut outcome })
                if self.calls.contains_key(&call) =>
            {
                if matches!(outcome.result, Err(rest::Failure::NotFound)) {
                    outcome.result = Err(rest::Failure::Forbidden("not yours".into()));
                }
                all.push(Input::Answered { call, outcome });
            }
            (Breakage::NeverHearsOfCommits, Input::Store(StoreFact::Committed { .. })) => {}
            (Breakage::IgnoresCallers, Input::Caller { caller, .. })
                if caller.0.is_multiple_of(50) => {}
            (_, input) => all.push(input),
        }
        all
    }

    fn output(&mut self, output: Output) -> Vec<Output> {
        let mut all = std::mem::take(&mut self.pending);
        match &output {
            Output::Call { call, op, token } => {
                if token.is_some() {
                    self.token.clone_from(token);
                }
                if matches!(op, Op::Conversation(_)) {
                    self.calls.insert(*call, true);
                }
                let asks = matches!(
                    self.what,
                    Breakage::AsksWithoutBudget | Breakage::SendsWhatNobodyWaitsFor
                );
                if asks && self.extra == 0 {
                    let own = self.own_call(Op::IdleTimeout);
                    all.extend(own);
                }
            }
            Output::OpenSocket {
                socket,
                connect_uri,
            } => {
                self.sockets.insert(*socket, connect_uri.clone());
                if self.what == Breakage::OpensOneChannelMore {
                    all.push(Output::OpenSocket {
                        socket: SocketRef {
                            slot: socket.slot + 20,
                            generation: socket.generation,
                        },
                        connect_uri: connect_uri.clone(),
                    });
                }
            }
            _ => {}
        }
        match (self.what, output) {
            (
                Breakage::AnswersBeforeTheCommit | Breakage::RefusesWhatIsUnderWay,
                Output::Store(StoreOrder::Commit { ticket, changes }),
            ) => {
                for change in &changes {
                    if let Change::Accept { row, .. } = change
                        && let Some(caller) = self.waiting.remove(&row.conversation)
                        && self.early.insert(caller)
                    {
                        let answer = match self.what {
                            Breakage::RefusesWhatIsUnderWay => Answer::Busy {
                                retry_after: Duration::from_secs(1),
                                detail: "not in time".into(),
                            },
                            _ => Answer::Interaction {
                                conversation: row.conversation,
                                state: row.state,
                                accepted_at: row.accepted_at,
                                fresh: true,
                            },
                        };
                        all.push(Output::Answer(caller, answer));
                    }
                }
                all.push(Output::Store(StoreOrder::Commit { ticket, changes }));
            }
            (
                Breakage::AnswersBeforeTheCommit | Breakage::RefusesWhatIsUnderWay,
                Output::Answer(caller, _),
            ) if self.early.contains(&caller) => {}
            (
                Breakage::BelievesWithoutSubscribing,
                Output::Session {
                    socket,
                    order: session::Order::Subscribe { ticket, .. },
                },
            ) => {
                self.inject.push(Input::Session {
                    socket,
                    fact: Fact::Subscribed { ticket },
                });
            }
            (
                Breakage::SubscribesMoreTopics,
                Output::Session {
                    socket,
                    order: session::Order::Subscribe { ticket, mut topics },
                },
            ) => {
                for _ in 0..40 {
                    self.extra += 1;
                    let name = format!(
                        "v2.detail.events.conversation.00000000-0000-4000-8000-{:012x}.acw",
                        self.extra
                    );
                    topics.push(Topic::new(&name));
                }
                all.push(Output::Session {
                    socket,
                    order: session::Order::Subscribe { ticket, topics },
                });
            }
            (
                Breakage::LeavesTopicsBehind,
                Output::Call {
                    call,
                    op: Op::Empty(_) | Op::RemoveAll(_),
                    ..
                },
            ) => {
                self.inject.push(Input::Answered {
                    call,
                    outcome: Outcome {
                        result: Ok(rest::Answer::Topics(Vec::new())),
                        limits: None,
                        retry_after: None,
                    },
                });
            }
            (
                Breakage::NeverAsksForASignOfLife,
                Output::Session {
                    socket,
                    order: session::Order::Subscribe { ticket, topics },
                },
            ) => {
                let known: Vec<bool> = topics
                    .iter()
                    .map(|t| !self.subscribed.insert((socket, t.clone())))
                    .collect();
                // One topic once more, for the answer alone: it stays without one.
                if known != [true] {
                    all.push(Output::Session {
                        socket,
                        order: session::Order::Subscribe { ticket, topics },
                    });
                }
            }
            (
                Breakage::LosesOddNotes,
                Output::Store(StoreOrder::Commit {
                    ticket,
                    mut changes,
                }),
            ) => {
                for change in &mut changes {
                    if let Change::Take { body, .. } = change
                        && let Some(mut event) = foreign::value(body.as_bytes())
                        && event.get("wrapupNotes").is_some()
                    {
                        event["wrapupNotes"] = serde_json::Value::Null;
                        *body = event.to_string();
                    }
                }
                all.push(Output::Store(StoreOrder::Commit { ticket, changes }));
            }
            (Breakage::NeverDials, Output::OpenSocket { .. }) => {}
            (Breakage::PostsUnderTwoKeys, Output::Post { record }) => {
                all.push(Output::Post { record });
                all.push(Output::Post { record });
            }
            (
                Breakage::FinishesTooEarly,
                Output::Store(StoreOrder::Commit {
                    ticket,
                    mut changes,
                }),
            ) => {
                for change in &mut changes {
                    if let Change::Interaction(row) = change
                        && row.state == InteractionState::Settling
                    {
                        row.state = InteractionState::Finished;
                        row.ended_at = row.last_event_at;
                        row.reason = Some(Reason {
                            code: "conversation-finished".into(),
                            detail: "so it seems".into(),
                        });
                    }
                }
                all.push(Output::Store(StoreOrder::Commit { ticket, changes }));
            }
            (
                Breakage::CallsItDeliveredBefore | Breakage::GivesUpAtTheFirstFailure,
                Output::Store(StoreOrder::Commit {
                    ticket,
                    mut changes,
                }),
            ) => {
                let early = self.what == Breakage::CallsItDeliveredBefore;
                for change in &mut changes {
                    match change {
                        Change::Take { row, .. } if early => row.state = RecordState::Delivered,
                        Change::Record(row)
                            if !early
                                && row.last_error.is_some()
                                && matches!(
                                    row.state,
                                    RecordState::Queued | RecordState::Deferred
                                ) =>
                        {
                            row.state = RecordState::Dead;
                        }
                        _ => {}
                    }
                }
                all.push(Output::Store(StoreOrder::Commit { ticket, changes }));
            }
            (
                Breakage::PostsBeforeTheCommit,
                Output::Store(StoreOrder::Commit { ticket, changes }),
            ) => {
                let taken: Vec<RecordId> = changes
                    .iter()
                    .filter_map(|c| match c {
                        Change::Take { row, .. } => Some(row.record),
                        _ => None,
                    })
                    .collect();
                all.push(Output::Store(StoreOrder::Commit { ticket, changes }));
                all.extend(taken.into_iter().map(|record| Output::Post { record }));
            }
            (
                Breakage::ShowsASecret,
                Output::OpenSocket {
                    socket,
                    connect_uri,
                },
            ) => {
                let text = format!("connecting to {}", connect_uri.expose());
                all.push(Output::Notice(Notice::new(Level::Info, "connecting", text)));
                all.push(Output::OpenSocket {
                    socket,
                    connect_uri,
                });
            }
            (
                Breakage::OpensASecondSocket,
                Output::OpenSocket {
                    socket,
                    connect_uri,
                },
            ) => {
                all.push(Output::OpenSocket {
                    socket,
                    connect_uri: connect_uri.clone(),
                });
                let second = SocketRef {
                    generation: socket.generation + 100_000,
                    ..socket
                };
                all.push(Output::OpenSocket {
                    socket: second,
                    connect_uri,
                });
            }
            (_, output) => all.push(output),
        }
        all
    }

    fn more(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.pending)
    }

    fn recovered(&mut self, recovered: &mut Recovered) {
        if self.what == Breakage::ForgetsChannelsAtRestart {
            recovered.channels.clear();
        }
        if self.what == Breakage::CallsTimeOffPatience {
            for row in &mut recovered.records {
                row.patience_used += Duration::from_secs(4 * 86_400);
            }
        }
    }

    fn key(&mut self, record: RecordId) -> RecordId {
        let times = self.keys.entry(record).or_default();
        *times = times.saturating_add(1);
        let changes = matches!(
            self.what,
            Breakage::ChangesTheKeyAtARetry | Breakage::PostsUnderTwoKeys
        );
        if changes && *times > 1 {
            let mut bytes = *record.0.as_bytes();
            bytes[0] ^= *times;
            return RecordId(uuid::Uuid::from_bytes(bytes));
        }
        record
    }

    fn farewell(&mut self, left: &mut Farewell) {
        if self.what == Breakage::CallsEverythingDurable {
            *left = Farewell::default();
        }
    }

    fn lies(&mut self) -> bool {
        if self.what != Breakage::LosesACommit {
            return false;
        }
        self.extra += 1;
        self.extra.is_multiple_of(20)
    }

    fn calls(&self) -> bool {
        matches!(
            self.what,
            Breakage::AsksWithoutBudget | Breakage::MakesChannelsForSockets
        )
    }

    fn streaming(&self, streaming: Streaming) -> Streaming {
        if self.what != Breakage::DialsWhereverItIsLed {
            return streaming;
        }
        let hosts = ["elsewhere.test", "*.elsewhere.test", "notsimulated.test"];
        let hosts = hosts.map(str::to_owned);
        Streaming::new("https://api.simulated.test", "simulated.test", &hosts)
    }

    fn said(&self, said: (HistoryState, bool)) -> (HistoryState, bool) {
        match self.what {
            Breakage::SaysItIsOpen => (HistoryState::Open, false),
            _ => said,
        }
    }

    fn replacements(&mut self, all: &mut [Replacement]) {
        if self.what != Breakage::HandsOverByAge {
            return;
        }
        let suspect = |r: &&Replacement| r.suspect && r.due;
        let waits = all.iter().filter(suspect).any(|r| !r.under_way);
        match all.iter_mut().find(|r| !r.suspect && !r.under_way) {
            Some(other) if waits => {
                other.under_way = std::mem::replace(&mut self.passed, true);
            }
            _ => self.passed = false,
        }
    }

    fn due(&mut self, due: Option<Time>) -> Option<Time> {
        if self.what != Breakage::LeavesADeadlineInThePast {
            return due;
        }
        self.stale = self.stale.or(due);
        self.stale.min(due)
    }
}
