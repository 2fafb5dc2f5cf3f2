//! The client on a bench: a platform that says yes, and a clock to turn.

use std::time::Duration;

use super::super::rest::{self, Failure, Op, Outcome};
use super::super::session::{self, End, SocketRef};
use super::super::*;
use base::notice::Level;
use base::time::{Mono, Wall};

pub(super) struct Bench {
    pub(super) client: Client,
    pub(super) now: Now,
    pub(super) sockets: Vec<(SocketRef, String)>,
    pub(super) facts: Vec<Fact>,
    pub(super) orders: Vec<(SocketRef, session::Order)>,
    pub(super) calls: Vec<(CallId, Op)>,
    pub(super) made: usize,
    pub(super) kept: Vec<ChannelRow>,
    /// The store keeps channels at once.
    pub(super) noting: bool,
    /// The labels of all notices.
    pub(super) labels: Vec<&'static str>,
    /// The same with how much they matter.
    pub(super) said: Vec<(&'static str, Level)>,
    /// Their texts.
    pub(super) texts: Vec<String>,
    /// Sockets confirm what they are told.
    pub(super) confirming: bool,
    /// REST answers by itself.
    pub(super) answering: bool,
    /// Sockets open at once.
    pub(super) opening: bool,
    pub(super) token_life: u64,
    /// Where new channels lead.
    pub(super) leads: &'static str,
    /// The idle timeout, whose timer nothing resets.
    pub(super) idle: Option<Duration>,
    /// When the last token was given.
    pub(super) token_given: Wall,
    /// When the platform says that a new channel ends, seen from our wall clock.
    pub(super) life_said: i64,
    /// How emptying a channel is answered; `None`: not at all.
    pub(super) emptying: Option<rest::Answer>,
}

pub(super) fn settings() -> Settings {
    Settings {
        max_channels: 4,
        topics_per_channel: 10,
        renew_before: Duration::from_secs(3600),
        streaming: crate::connect_uri::Streaming::new("https://host", "host", &[]),
    }
}

impl Bench {
    pub(super) fn new(settings: Settings) -> Bench {
        let mut bench = Bench::with(settings, &[], 86_400);
        bench.drain();
        bench
    }

    pub(super) fn with_kept(settings: Settings, kept: &[ChannelRow]) -> Bench {
        let mut bench = Bench::with(settings, kept, 86_400);
        bench.answering = false;
        bench.drain();
        bench
    }

    pub(super) fn with(settings: Settings, kept: &[ChannelRow], token_life: u64) -> Bench {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_767_886_512_000),
        };
        Bench {
            client: Client::new(settings, kept, now, 7),
            now,
            sockets: Vec::new(),
            facts: Vec::new(),
            orders: Vec::new(),
            calls: Vec::new(),
            made: 0,
            kept: Vec::new(),
            noting: true,
            labels: Vec::new(),
            said: Vec::new(),
            texts: Vec::new(),
            confirming: true,
            answering: true,
            opening: true,
            token_life,
            leads: "wss://host",
            idle: None,
            token_given: now.wall,
            life_said: 86_400_000,
            emptying: Some(rest::Answer::Topics(Vec::new())),
        }
    }

    pub(super) fn give(&mut self, input: Input) {
        self.client.handle(input, self.now);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            self.client.audit().unwrap();
            match output {
                Output::OpenSocket {
                    socket,
                    connect_uri,
                } => {
                    self.sockets
                        .push((socket, connect_uri.expose().to_string()));
                    if !self.opening {
                        continue;
                    }
                    self.client.handle(
                        Input::Session {
                            socket,
                            fact: session::Fact::Opened,
                        },
                        self.now,
                    );
                }
                Output::Session { socket, order } => self.obey(socket, order),
                Output::Call { call, op, .. } => self.call(call, op),
                Output::Keep(rows) => {
                    self.kept.clone_from(&rows);
                    if self.noting {
                        self.client.handle(Input::Kept(rows), self.now);
                    }
                }
                Output::Fact(fact) => self.facts.push(fact),
                Output::Notice(notice) => {
                    self.labels.push(notice.label);
                    self.said.push((notice.label, notice.level));
                    self.texts.push(notice.text);
                }
            }
        }
        self.client.audit().unwrap();
    }

    pub(super) fn obey(&mut self, socket: SocketRef, order: session::Order) {
        if !self.sockets.iter().any(|(s, _)| *s == socket) {
            return;
        }
        let fact = match &order {
            session::Order::Subscribe { ticket, .. } if self.confirming => {
                session::Fact::Subscribed { ticket: *ticket }
            }
            session::Order::Unsubscribe { ticket, .. } if self.confirming => {
                session::Fact::Unsubscribed { ticket: *ticket }
            }
            session::Order::Close => {
                self.sockets.retain(|(s, _)| *s != socket);
                session::Fact::Ended(End::Ordered)
            }
            _ => {
                self.orders.push((socket, order));
                return;
            }
        };
        self.orders.push((socket, order));
        self.client
            .handle(Input::Session { socket, fact }, self.now);
    }

    pub(super) fn call(&mut self, call: CallId, op: Op) {
        self.calls.push((call, op.clone()));
        if !self.answering {
            return;
        }
        let answer = match op {
            Op::Token => {
                self.token_given = self.now.wall;
                rest::Answer::Token {
                    access_token: Secret::new("t"),
                    expires_in: Duration::from_secs(self.token_life),
                }
            }
            Op::CreateChannel => {
                self.made += 1;
                rest::Answer::Channel(rest::Channel {
                    id: Some(Secret::new(format!("streaming-{:04}", self.made))),
                    connect_uri: Some(Secret::new(format!("{}/{}", self.leads, self.made))),
                    expires: Some(Wall(self.now.wall.0 + self.life_said)),
                })
            }
            Op::IdleTimeout => rest::Answer::IdleTimeout(self.idle),
            Op::TokenIdles => rest::Answer::TokenIdles(self.idle.map(|i| self.token_given + i)),
            Op::ListChannels => rest::Answer::Channels(Vec::new()),
            Op::Subscriptions(_) => rest::Answer::Topics(Vec::new()),
            Op::Empty(_) | Op::RemoveAll(_) => match self.emptying.clone() {
                Some(answer) => answer,
                None => return,
            },
            _ => rest::Answer::Done,
        };
        self.client.handle(
            Input::Answered {
                call,
                outcome: Outcome {
                    result: Ok(answer),
                    limits: None,
                    retry_after: None,
                },
            },
            self.now,
        );
    }

    pub(super) fn answer(
        &mut self,
        wanted: impl Fn(&Op) -> bool,
        result: Result<rest::Answer, Failure>,
    ) {
        let at = self
            .calls
            .iter()
            .rposition(|(_, op)| wanted(op))
            .expect("the call was made");
        let (call, _) = self.calls.remove(at);
        self.give(Input::Answered {
            call,
            outcome: Outcome {
                result,
                limits: None,
                retry_after: None,
            },
        });
    }

    pub(super) fn watch(&mut self, n: u32) {
        self.give(Input::Watch(topic(n)));
    }

    pub(super) fn pass(&mut self, d: Duration) {
        let end = self.now.plus(d);
        for _ in 0..100_000 {
            let due = self.client.next_deadline(self.now);
            let Some(due) = due.filter(|d| d.at <= end.mono) else {
                break;
            };
            let step = due.at.since(self.now.mono).max(Duration::from_millis(1));
            self.now = self.now.plus(step);
            self.give(Input::Tick);
            let due = self.client.next_deadline(self.now);
            assert!(due.is_none_or(|d| d.at > self.now.mono), "{due:?} is over");
        }
        if self.now.mono < end.mono {
            self.now = end;
            self.give(Input::Tick);
        }
    }

    pub(super) fn live(&self) -> usize {
        self.client.snapshot(self.now).topics_live
    }

    /// The platform refuses a message as a whole; with 0 it does not answer it.
    pub(super) fn refuse(&mut self, socket: SocketRef, ticket: u64, result: u16) {
        let fact = session::Fact::Refused {
            ticket,
            confirmed: Vec::new(),
            result,
            message: "no permission".into(),
        };
        self.give(Input::Session { socket, fact });
    }

    pub(super) fn end(&mut self, socket: SocketRef, end: End) {
        self.sockets.retain(|(s, _)| *s != socket);
        self.give(Input::Session {
            socket,
            fact: session::Fact::Ended(end),
        });
    }
}

/// A login that fails, and may well succeed soon or not.
pub(super) fn login_refused(soon: bool) -> Failure {
    Failure::Login {
        label: "assertion-empty",
        sentence: "the assertion file is empty".into(),
        soon,
        retry_after: None,
    }
}

pub(super) fn topic(n: u32) -> Topic {
    Topic::new(&format!(
        "v2.detail.events.conversation.00000000-0000-4000-8000-{n:012}.acw"
    ))
}

pub(super) fn gaps(facts: &[Fact]) -> usize {
    facts
        .iter()
        .map(|f| {
            if let Fact::Gap { topics, .. } = f {
                topics.len()
            } else {
                0
            }
        })
        .sum()
}
