//! Deliberate breakages between core and world: each must be caught, by the
//! check that is there for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use genesys_gateway::filing::rows::{
    Change, InteractionState, Reason, RecordState, Recovered, StoreFact, StoreOrder,
};
use genesys_gateway::filing::{Answer, CallerId, CallerRequest, Farewell, Settings};
use genesys_gateway::gateway::{Input, Output};
use genesys_gateway::ids::{ConversationId, RecordId, Topic};
use genesys_gateway::notice::{Level, Notice};
use genesys_gateway::platform::CallId;
use genesys_gateway::platform::rest::{self, Op, Outcome};
use genesys_gateway::platform::session::{self, Fact, SocketRef};
use genesys_gateway::secret::Secret;

use crate::agenda::{HOUR, Time};
use crate::full::Full;
use crate::plan::{Kind, Plan};
use crate::sabotage::Sabotage;

/// What is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Breakage {
    AnswersBeforeTheCommit,
    RefusesWhatIsUnderWay,
    CallsEverythingDurable,
    UnsubscribesAfterTheFirstEvent,
    MissesTheEndOfSockets,
    BelievesWithoutSubscribing,
    SwallowsEvents,
    ChangesTheKeyAtARetry,
    OpensOneChannelMore,
    SubscribesMoreTopics,
    AsksWithoutBudget,
    ForgetsChannelsAtRestart,
    PostsUnderTwoKeys,
    LosesACommit,
    BelievesEmptyAnswers,
    NeverGetsAnswersOfChecks,
    NeverHearsOfCommits,
    IgnoresCallers,
    FinishesTooEarly,
    CallsItDeliveredBefore,
    GivesUpAtTheFirstFailure,
    ShowsASecret,
    OpensASecondSocket,
    PostsBeforeTheCommit,
    LeavesTopicsBehind,
    NeverAsksForASignOfLife,
    NeverLingers,
    LeavesADeadlineInThePast,
    SendsWhatNobodyWaitsFor,
    SaysItIsOpen,
}

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
        stale: None,
    })
}

const OWN_CALLS: u64 = 1 << 60;

impl Broken {
    fn own_call(&mut self) -> Option<Output> {
        let token = Some(self.token.clone()?);
        self.extra += 1;
        Some(Output::Call {
            call: CallId(OWN_CALLS + self.extra),
            op: Op::IdleTimeout,
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
                let own = self.own_call();
                self.pending.extend(own);
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
                    let own = self.own_call();
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
                                state: row.state.as_str(),
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
        self.what == Breakage::AsksWithoutBudget
    }

    fn said(&self, said: (&'static str, bool)) -> (&'static str, bool) {
        match self.what {
            Breakage::SaysItIsOpen => ("open", false),
            _ => said,
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

/// A plan in which the breakage has its occasion.
fn occasion(what: Breakage, seed: u64) -> Plan {
    let mut plan = Plan::draw(seed, &[]);
    plan.trouble = 4 * HOUR;
    plan.conversations = 150;
    plan.pause = 10 * 60 * 1000;
    plan.talk = 10 * 60 * 1000;
    plan.max_channels = 4;
    plan.topics_per_channel = 50;
    plan.first_event = false;
    plan.workers = 4;
    plan.max_age = 6 * HOUR;
    plan.kinds = match what {
        Breakage::ChangesTheKeyAtARetry => vec![Kind::HistorySlow],
        Breakage::GivesUpAtTheFirstFailure | Breakage::SaysItIsOpen => vec![Kind::HistoryDown],
        Breakage::CallsEverythingDurable => vec![Kind::StopInTrouble],
        Breakage::ForgetsChannelsAtRestart => {
            tokens_last(&mut plan);
            vec![Kind::Kill]
        }
        Breakage::LeavesTopicsBehind => {
            tokens_last(&mut plan);
            // A channel whose socket fails is given up seldom; what it holds has to last.
            plan.max_channels = 1;
            plan.conversations = 40;
            plan.talk = 3 * HOUR;
            vec![Kind::ResetAll, Kind::UpgradeTrouble]
        }
        Breakage::NeverAsksForASignOfLife => {
            let stays = plan.switches.set("channel-expiry", "socket-stays");
            stays.expect("the switch takes this value");
            // Where much is subscribed, the answers to that tell as well.
            plan.conversations = 15;
            plan.talk = 3 * HOUR;
            vec![Kind::ExpireChannel]
        }
        Breakage::NeverLingers => {
            plan.late_acw = true;
            vec![Kind::ResetOne]
        }
        _ => vec![Kind::ResetOne],
    };
    plan
}

/// What hangs on a token stays: nobody has to empty a channel that died with its token.
fn tokens_last(plan: &mut Plan) {
    for (name, value) in [
        ("token-lifetime-seconds", "86400"),
        ("idle-token-timeout-seconds", "0"),
        ("channels-of-other-tokens", "reachable"),
    ] {
        let set = plan.switches.set(name, value);
        set.expect("the switch takes this value");
    }
}

fn caught(what: Breakage, by: &str) {
    let mut told = Vec::new();
    for seed in 1..=3 {
        let plan = occasion(what, seed);
        let mut healthy = Full::new(plan.clone(), false);
        healthy
            .run()
            .unwrap_or_else(|text| panic!("{what:?} seed {seed}, not broken: {text}"));
        let mut world = Full::new(plan, false);
        world.sabotage = Some(sabotage(what));
        match world.run() {
            Ok(()) => told.push(format!(
                "nothing; {} requests, {} in a minute",
                world.net.requests_total, world.net.most_in_a_minute
            )),
            Err(text) if text.contains(by) => return,
            Err(text) => told.push(text),
        }
    }
    panic!("{what:?} was not caught by {by:?}, but by {told:#?}");
}

macro_rules! breakages {
    ($($name:ident: $what:ident by $by:literal;)+) => {
        $(#[test] fn $name() { caught(Breakage::$what, $by); })+
    };
}

breakages! {
    late_wrap_ups_that_are_not_waited_for_are_caught: NeverLingers by "may be wrapped up late";
    an_answer_before_the_commit_is_caught: AnswersBeforeTheCommit by "before its commit";
    a_refusal_of_what_is_under_way_is_caught: RefusesWhatIsUnderWay by "was refused and is done";
    a_false_farewell_is_caught: CallsEverythingDurable by "the farewell is wrong";
    an_unsubscribe_after_the_first_event_is_caught: UnsubscribesAfterTheFirstEvent by "is unsubscribed on";
    a_gap_that_is_missed_is_caught: MissesTheEndOfSockets by "believed live";
    a_topic_believed_live_without_a_subscription_is_caught: BelievesWithoutSubscribing by "believed live";
    a_swallowed_event_is_caught: SwallowsEvents by "was never filed";
    another_key_at_a_retry_is_caught: ChangesTheKeyAtARetry by "filed twice";
    a_channel_too_many_is_caught: OpensOneChannelMore by "a socket for slot";
    a_topic_too_many_is_caught: SubscribesMoreTopics by "topics on a channel";
    a_request_beyond_the_budget_is_caught: AsksWithoutBudget by "REST requests within a minute";
    channels_leaked_at_a_restart_are_caught: ForgetsChannelsAtRestart by "channels are held";
    a_post_under_two_keys_is_caught: PostsUnderTwoKeys by "filed twice";
    a_lost_commit_is_caught: LosesACommit by "its commit";
    a_check_that_sees_nothing_is_caught: BelievesEmptyAnswers by "called finished";
    checks_that_never_see_anything_are_caught: NeverGetsAnswersOfChecks by "REST could tell";
    commits_that_nobody_hears_of_are_caught: NeverHearsOfCommits by "never answered well";
    a_caller_left_without_an_answer_is_caught: IgnoresCallers by "has waited";
    an_interaction_that_ends_too_early_is_caught: FinishesTooEarly by "called finished";
    a_record_called_delivered_before_it_was_filed_is_caught: CallsItDeliveredBefore by "the history manager has it not";
    a_record_given_up_at_the_first_failure_is_caught: GivesUpAtTheFirstFailure by "is dead without a cause";
    a_secret_in_a_notice_is_caught: ShowsASecret by "shows a secret";
    a_second_socket_without_a_notice_is_caught: OpensASecondSocket by "two sockets on one channel";
    a_post_before_the_commit_is_caught: PostsBeforeTheCommit by "before its commit";
    topics_left_on_channels_given_up_are_caught: LeavesTopicsBehind by "channels are held";
    a_channel_never_asked_for_a_sign_of_life_is_caught: NeverAsksForASignOfLife by "believed live";
    a_deadline_in_the_past_is_caught: LeavesADeadlineInThePast by "the core spins";
    a_call_that_nobody_waits_for_is_caught: SendsWhatNobodyWaitsFor by "nobody waits for";
    a_history_manager_said_to_be_open_while_it_is_not_is_caught: SaysItIsOpen by "is said to be";
}
