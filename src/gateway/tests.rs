//! The two halves joined: a platform and a disk that say yes, unless a test takes an order
//! out of their hands.

use super::*;
use base::ids::ConversationId;
use base::rows::{Found, Lookup, RecordState, StoreTrouble};
use base::time::Wall;
use proto::session::Fact;

struct Whole {
    gateway: Gateway,
    now: Now,
    /// The store keeps channels at once.
    keeping: bool,
    /// Sets of channels to keep, as they were ordered.
    channels: Vec<(u64, usize)>,
    answers: Vec<Answer>,
    posts: Vec<RecordId>,
    /// Topics confirmed, by socket.
    subscribed: Vec<(SocketRef, String)>,
    unsubscribed: usize,
    opened: usize,
    made: usize,
    asked: usize,
}

fn conversation(n: u32) -> ConversationId {
    format!("00000000-0000-4000-8000-{n:012}").parse().unwrap()
}

impl Whole {
    fn new() -> Whole {
        let settings = Settings {
            platform: proto::Settings {
                max_channels: 4,
                topics_per_channel: 10,
                renew_before: Duration::from_secs(3600),
                streaming: proto::connect_uri::Streaming::new("https://host", "host", &[]),
            },
            filing: filing::Settings::default(),
        };
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_767_886_512_000),
        };
        Whole {
            gateway: Gateway::new(settings, &Recovered::default(), now, 7),
            now,
            keeping: true,
            channels: Vec::new(),
            answers: Vec::new(),
            posts: Vec::new(),
            subscribed: Vec::new(),
            unsubscribed: 0,
            opened: 0,
            made: 0,
            asked: 0,
        }
    }

    fn give(&mut self, input: Input) {
        self.gateway.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            if let Some(input) = self.obey(output) {
                self.gateway.handle(input, self.now);
            }
        }
        self.gateway.audit().unwrap();
    }

    fn obey(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Answer(_, answer) => self.answers.push(answer),
            Output::OpenSocket { socket, .. } => {
                self.opened += 1;
                return Some(Input::Session {
                    socket,
                    fact: Fact::Opened,
                });
            }
            Output::Session { socket, order } => {
                let fact = match order {
                    session::Order::Subscribe { ticket, topics } => {
                        let names = topics.iter().map(|t| (socket, t.as_str().to_string()));
                        self.subscribed.extend(names);
                        Fact::Subscribed { ticket }
                    }
                    session::Order::Unsubscribe { ticket, .. } => {
                        self.unsubscribed += 1;
                        Fact::Unsubscribed { ticket }
                    }
                    _ => return None,
                };
                return Some(Input::Session { socket, fact });
            }
            Output::Call { call, op, .. } => {
                let result = Ok(self.answered(&op)?);
                return Some(Input::Answered {
                    call,
                    outcome: rest::Outcome {
                        result,
                        limits: None,
                        retry_after: None,
                    },
                });
            }
            Output::Store(StoreOrder::Commit { ticket, .. }) => {
                return Some(Input::Store(StoreFact::Committed {
                    ticket,
                    refused: Vec::new(),
                    outgrown: Vec::new(),
                    erased: 0,
                    purged_interactions: Vec::new(),
                    purged_records: Vec::new(),
                }));
            }
            Output::Store(StoreOrder::Lookup { ticket, what }) => {
                // Nothing is known of anything.
                let found = |what: &Lookup| match what {
                    Lookup::Interaction(_) => Found::Interaction(None, Vec::new()),
                    Lookup::Key(_) => Found::Key(None),
                    Lookup::Record(_) => Found::Record(None),
                };
                let found = what.iter().map(found).collect();
                return Some(Input::Store(StoreFact::Looked { ticket, found }));
            }
            Output::Store(StoreOrder::Channels { ticket, rows }) => {
                self.channels.push((ticket, rows.len()));
                if self.keeping {
                    return Some(Input::Store(StoreFact::ChannelsKept { ticket }));
                }
            }
            Output::Post { record } => self.posts.push(record),
            Output::Notice(_) => {}
        }
        None
    }

    fn answered(&mut self, op: &rest::Op) -> Option<rest::Answer> {
        Some(match op {
            rest::Op::Token => rest::Answer::Token {
                access_token: Secret::new("t"),
                expires_in: Duration::from_secs(86_400),
            },
            rest::Op::CreateChannel => {
                self.made += 1;
                rest::Answer::Channel(rest::Channel {
                    id: Some(Secret::new(format!("streaming-{:04}", self.made))),
                    connect_uri: Some(Secret::new(format!("wss://host/{}", self.made))),
                    expires: Some(Wall(self.now.wall.0 + 86_400_000)),
                })
            }
            rest::Op::IdleTimeout => rest::Answer::IdleTimeout(None),
            rest::Op::TokenIdles => rest::Answer::TokenIdles(None),
            rest::Op::ListChannels => rest::Answer::Channels(Vec::new()),
            rest::Op::Subscriptions(_) | rest::Op::Empty(_) | rest::Op::RemoveAll(_) => {
                rest::Answer::Topics(Vec::new())
            }
            rest::Op::Conversation(_) => {
                self.asked += 1;
                return None;
            }
            _ => rest::Answer::Done,
        })
    }

    fn accept(&mut self, n: u32) {
        self.give(Input::Caller {
            caller: CallerId(u64::from(n)),
            request: CallerRequest::Accept {
                conversation: conversation(n),
                members: "{}".into(),
            },
        });
    }

    /// Lets time pass, with a tick at every deadline.
    fn pass(&mut self, d: Duration) {
        let end = self.now.plus(d);
        let mut turns = 0;
        while let Some(due) = self.gateway.next_deadline(self.now)
            && due.at <= end.mono
        {
            turns += 1;
            assert!(turns < 1_000, "spinning for {}", due.why);
            assert!(due.at >= self.now.mono, "{} lies in the past", due.why);
            self.now = self.now.plus(due.at.since(self.now.mono));
            self.give(Input::Tick);
        }
        self.now = self.now.plus(end.mono.since(self.now.mono));
    }

    fn records(&self, state: RecordState) -> u64 {
        let counted = self.gateway.filing().snapshot(self.now).records;
        counted.get(&state).copied().unwrap_or_default()
    }

    fn channels_fail(&mut self, ticket: u64) {
        self.give(Input::Store(StoreFact::ChannelsFailed {
            ticket,
            trouble: StoreTrouble::Full,
        }));
    }
}

#[test]
fn a_conversation_is_answered_for_watched_asked_about_filed_and_given_up() {
    let mut w = Whole::new();
    w.pass(Duration::from_secs(5));
    w.accept(1);
    assert!(matches!(w.answers.as_slice(), [Answer::Interaction { .. }]));
    w.pass(Duration::from_secs(60));
    let (socket, topic) = w.subscribed[0].clone();
    assert!(topic.contains("000000000001"), "{topic}");
    assert!(w.asked > 0, "what was before it was live is asked for");
    let body = format!(
        r#"{{"eventTime": {}, "conversationId": "{}", "participantId": "p", "sessionId": "s"}}"#,
        w.now.wall.0,
        conversation(1)
    );
    w.give(Input::Session {
        socket,
        fact: Fact::Event {
            topic: base::ids::Topic::new(&topic),
            body,
            about: session::About::default(),
        },
    });
    let [record] = w.posts[..] else {
        panic!("{} posts", w.posts.len())
    };
    assert_eq!(w.records(RecordState::Delivered), 0);
    w.give(Input::Posted {
        record,
        outcome: PostOutcome::Answered {
            status: 200,
            retry_after: None,
            excerpt: String::new(),
        },
    });
    assert_eq!(w.records(RecordState::Delivered), 1);
    w.give(Input::Caller {
        caller: CallerId(9),
        request: CallerRequest::Stop {
            conversation: conversation(1),
        },
    });
    w.pass(Duration::from_secs(3600));
    assert!(w.unsubscribed > 0);
}

#[test]
fn the_store_has_one_set_of_channels_to_keep_at_a_time_and_then_the_newest() {
    let mut w = Whole::new();
    w.keeping = false;
    for n in 0..25 {
        w.accept(n);
        w.pass(Duration::from_secs(1));
    }
    let [(ticket, first)] = w.channels[..] else {
        panic!("{:?}", w.channels)
    };
    w.give(Input::Store(StoreFact::ChannelsKept { ticket: ticket + 1 }));
    assert_eq!(w.channels.len(), 1, "that was not asked");
    w.keeping = true;
    w.give(Input::Store(StoreFact::ChannelsKept { ticket }));
    w.pass(Duration::from_secs(10));
    for n in 25..30 {
        w.accept(n);
        w.pass(Duration::from_secs(10));
    }
    let (last, newest) = *w.channels.last().unwrap();
    assert!(last > ticket && newest > first, "{:?}", w.channels);
}

#[test]
fn channels_that_could_not_be_kept_are_kept_five_seconds_later() {
    let mut w = Whole::new();
    w.keeping = false;
    w.pass(Duration::from_secs(5));
    w.accept(1);
    w.pass(Duration::from_secs(60));
    let [(ticket, rows)] = w.channels[..] else {
        panic!("{:?}", w.channels)
    };
    w.channels_fail(ticket + 1);
    w.pass(Duration::from_secs(60));
    assert_eq!(
        w.channels.len(),
        1,
        "another order's failure is not this one's"
    );
    let failed_at = w.now.mono;
    w.channels_fail(ticket);
    let due = w.gateway.next_deadline(w.now).unwrap();
    assert!(due.at <= failed_at + KEEP_AGAIN, "{}", due.why);
    w.pass(KEEP_AGAIN - Duration::from_millis(1));
    assert_eq!(w.channels.len(), 1, "too soon");
    w.pass(Duration::from_millis(1));
    let [_, (again, same)] = w.channels[..] else {
        panic!("{:?}", w.channels)
    };
    assert!(again > ticket && same == rows);
}

#[test]
fn whoever_waits_when_the_run_ends_is_answered() {
    let mut w = Whole::new();
    w.pass(Duration::from_secs(5));
    w.gateway.handle(
        Input::Caller {
            caller: CallerId(1),
            request: CallerRequest::Accept {
                conversation: conversation(1),
                members: "{}".into(),
            },
        },
        w.now,
    );
    let said = |w: &mut Whole| {
        std::iter::from_fn(|| w.gateway.poll_output())
            .any(|o| matches!(o, Output::Answer(CallerId(1), _)))
    };
    assert!(!said(&mut w), "nothing is on disk yet");
    w.gateway.leave(w.now);
    assert!(said(&mut w));
}

#[test]
fn after_a_stop_nobody_is_let_in() {
    let mut w = Whole::new();
    w.pass(Duration::from_secs(5));
    w.give(Input::Stop);
    w.accept(1);
    assert!(
        !matches!(w.answers.as_slice(), [Answer::Interaction { .. }] | []),
        "{:?}",
        w.answers
    );
}
