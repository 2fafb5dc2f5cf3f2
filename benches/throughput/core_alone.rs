//! The core with a platform, a store and a history manager that say yes at once:
//! what remains is what deciding costs.

use std::time::Duration;

use base::ids::{ConversationId, Topic};
use base::rows::{Found, Lookup, Recovered, StoreFact, StoreOrder};
use base::secret::Secret;
use base::time::{Mono, Now, Wall};
use filing::{CallerId, CallerRequest, PostOutcome, Until};
use genesys_gateway::gateway::{Gateway, Input, Output, Settings};
use proto::rest::{self, Op, Outcome};
use proto::session;
use uuid::Uuid;

use crate::{line, timed};

/// Everything around the core.
struct World {
    gateway: Gateway,
    now: Now,
    sockets: Vec<session::SocketRef>,
    on: std::collections::HashMap<Topic, session::SocketRef>,
    made: usize,
    filed: usize,
    answered: usize,
    inputs: usize,
}

fn settings() -> Settings {
    let hours = |n: u64| Duration::from_secs(n * 3600);
    Settings {
        platform: proto::Settings {
            max_channels: 20,
            topics_per_channel: 1000,
            renew_before: hours(1),
            streaming: proto::connect_uri::Streaming::default(),
        },
        filing: filing::Settings {
            until: Until::ConversationFinished,
            max_age: hours(72),
            linger: std::time::Duration::from_secs(300),
            unreported: filing::Unreported::Ignore,
            settle_for: Duration::from_secs(900),
            workers: 4,
            give_up_after: hours(72),
            retain: hours(720),
            keep_bodies: hours(24),
            ..filing::Settings::default()
        },
    }
}

fn id(n: usize) -> ConversationId {
    ConversationId(Uuid::from_u128(
        0x7c1f_4b9e_5d0a_4c58_0000_0000_0000_0000 + n as u128,
    ))
}

impl World {
    fn new() -> World {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_790_000_000_000),
        };
        let mut world = World {
            gateway: Gateway::new(settings(), &Recovered::default(), now, 1),
            now,
            sockets: Vec::new(),
            on: std::collections::HashMap::new(),
            made: 0,
            filed: 0,
            answered: 0,
            inputs: 0,
        };
        world.drain();
        world
    }

    fn give(&mut self, input: Input) {
        self.inputs += 1;
        self.gateway.handle(input, self.now);
    }

    fn pass(&mut self, d: Duration) {
        self.now = self.now.plus(d);
        self.give(Input::Tick);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            match output {
                Output::Answer(..) => self.answered += 1,
                Output::Notice(_) => {}
                Output::OpenSocket { socket, .. } => {
                    self.sockets.push(socket);
                    self.give(Input::Session {
                        socket,
                        fact: session::Fact::Opened,
                    });
                }
                Output::Session { socket, order } => self.session(socket, order),
                Output::Call { call, op, .. } => {
                    let outcome = Outcome {
                        result: Ok(self.answer(op)),
                        limits: None,
                        retry_after: None,
                    };
                    self.give(Input::Answered { call, outcome });
                }
                Output::Store(order) => self.store(order),
                Output::Post { record } => {
                    self.filed += 1;
                    let outcome = PostOutcome::Answered {
                        status: 201,
                        retry_after: None,
                        excerpt: String::new(),
                    };
                    self.give(Input::Posted { record, outcome });
                }
            }
        }
    }

    fn session(&mut self, socket: session::SocketRef, order: session::Order) {
        let fact = match order {
            session::Order::Subscribe { ticket, topics } => {
                self.on.extend(topics.into_iter().map(|t| (t, socket)));
                session::Fact::Subscribed { ticket }
            }
            session::Order::Unsubscribe { ticket, .. } => session::Fact::Unsubscribed { ticket },
            session::Order::Patience { .. } | session::Order::Ping => return,
            session::Order::Close => session::Fact::Ended(session::End::Ordered),
        };
        self.give(Input::Session { socket, fact });
    }

    fn answer(&mut self, op: Op) -> rest::Answer {
        match op {
            Op::Token => rest::Answer::Token {
                access_token: Secret::new("token"),
                expires_in: Duration::from_secs(86_400),
            },
            Op::CreateChannel => {
                self.made += 1;
                rest::Answer::Channel(rest::Channel {
                    id: Some(Secret::new(format!("streaming-{:04}", self.made))),
                    connect_uri: Some(Secret::new(format!("wss://host/{}", self.made))),
                    expires: Some(self.now.wall + Duration::from_secs(86_400)),
                })
            }
            Op::IdleTimeout => rest::Answer::IdleTimeout(None),
            Op::ListChannels => rest::Answer::Channels(Vec::new()),
            // A customer and nobody else: it goes on.
            Op::Conversation(id) => rest::Answer::Json(format!(
                "{{\"id\":\"{id}\",\"participants\":[{{\"id\":\"c\",\"purpose\":\"customer\"}}]}}"
            )),
            Op::Conversations(_) => rest::Answer::Json("{\"conversations\":[]}".into()),
            _ => rest::Answer::Done,
        }
    }

    fn store(&mut self, order: StoreOrder) {
        let fact = match order {
            StoreOrder::Commit { ticket, .. } => StoreFact::Committed {
                ticket,
                refused: Vec::new(),
                outgrown: Vec::new(),
                erased: 0,
                purged_interactions: Vec::new(),
                purged_records: Vec::new(),
            },
            StoreOrder::Lookup { ticket, what } => StoreFact::Looked {
                ticket,
                found: what
                    .iter()
                    .map(|one| match one {
                        Lookup::Interaction(_) => Found::Interaction(None, Vec::new()),
                        Lookup::Key(_) => Found::Key(None),
                        Lookup::Record(_) => Found::Record(None),
                    })
                    .collect(),
            },
            StoreOrder::Channels { ticket, .. } => StoreFact::ChannelsKept { ticket },
        };
        self.give(Input::Store(fact));
    }

    fn accept(&mut self, n: usize) {
        self.give(Input::Caller {
            caller: CallerId(n as u64),
            request: CallerRequest::Accept {
                conversation: id(n),
                members: "{\"customer\":\"C-1\"}".into(),
            },
        });
        self.drain();
    }

    /// An agent wraps up: one event, to its record's delivery being committed.
    fn event(&mut self, n: usize, time: i64) {
        let topic = Topic::new(&format!("v2.detail.events.conversation.{}.acw", id(n)));
        let body = format!(
            "{{\"eventTime\":{time},\"conversationId\":\"{}\",\"participantId\":\"b9d2a3f0-61c4-4e0b-8d77-1f0c9a5e2b36\",\"sessionId\":\"e40c7d15-2b8f-4f63-a1d9-7735c0f68e21\",\"mediaType\":\"VOICE\",\"wrapupCode\":\"3e9f7b20-48d6-4c1a-85b7-0a6c2e4d9f81\",\"wrapupDurationMs\":18250}}",
            id(n)
        );
        let socket = self.on[&topic];
        self.give(Input::Session {
            socket,
            fact: session::Fact::Event {
                topic,
                body,
                about: session::About::default(),
            },
        });
        self.drain();
    }
}

pub(crate) fn run() {
    let mut rates = Vec::new();
    for watched in [1_000, 20_000] {
        let mut world = World::new();
        let (_, took) = timed(|| (0..watched).for_each(|n| world.accept(n)));
        world.pass(Duration::from_millis(10));
        assert_eq!(world.answered, watched);
        assert_eq!(
            world.gateway.platform().snapshot(world.now).topics_live,
            watched
        );
        line(
            &format!("accepted, subscribed, confirmed: {watched} interactions"),
            watched,
            "interactions",
            took,
        );
        let events = 20_000;
        let before = (world.inputs, world.filed);
        let (_, took) = timed(|| {
            for n in 0..events {
                // A re-wrap each time round; not so soon that it counts as the same.
                let time = 1_790_000_000_000 + (n / watched) as i64 * 60_000;
                world.event(n % watched, time);
            }
        });
        assert_eq!(world.filed - before.1, events);
        rates.push(line(
            &format!("events with {watched} watched: taken, committed, filed"),
            events,
            "events",
            took,
        ));
        line(
            "  of that, facts handled",
            world.inputs - before.0,
            "facts",
            took,
        );
        let looks = 50;
        let (_, took) = timed(|| {
            for _ in 0..looks {
                std::hint::black_box(world.gateway.platform().snapshot(world.now));
                std::hint::black_box(world.gateway.filing().snapshot(world.now));
            }
        });
        line(&format!("snapshots of {watched}"), looks, "snapshots", took);
    }
    println!(
        "  one event with 20,000 watched costs {:.2} times one with 1,000",
        rates[0] / rates[1]
    );
}
