//! One channel that somebody made and gave us the address of: no token, no REST.
//!
//! It keeps topics subscribed on it, reconnects, extends its life by subscribing again, opens
//! a second socket after a closing notice, and rolls over to the address of another channel
//! that it is given. Several channels, tokens and the budget are the [`client`](crate::client)'s.
//!
//! ```text
//!              ┌────────────── lost, retried ──────────────┐
//!              ▼                                           │
//! new ──► dialling ──Opened──► serving ──closing notice, roll-over──► serving and taking over
//!              │                  ▲                                        │
//!              │ the first fails  └──── all topics confirmed on the next ──┘
//!              ▼
//!            over ◄── closed by the caller, expired, replaced, token revoked, given up
//! ```
//!
//! Pure, like the client: [`Single::handle`] one input, drain [`Single::poll_output`] until it
//! is empty, come back with [`Input::Tick`] at [`Single::next_deadline`].
//!
//! Invariants: a topic that was told [`Item::Live`] and may have missed an event is told in an
//! [`Item::Gap`] before anything else of it; [`Output::Over`] is the last output; no deadline
//! lies in the past.

mod book;
mod sockets;
mod wishes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use self::book::Book;
use crate::session::{self, About, End, Order, SocketRef};
use crate::twins::Twins;
use base::cause::Cause;
use base::gap::GapCause;
use base::ids::Topic;
use base::rng::Rng;
use base::secret::Secret;
use base::time::{Deadline, Mono, Now, Wall};

/// What the caller decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Nothing is done about the channel's end, and nothing after a closing notice: both are told.
    pub manual: bool,
    /// How long a channel lasts after topics were last subscribed on it (protocol, section 2.6).
    pub life: Duration,
    /// So long before its end it is extended, or told to expire.
    pub extend_before: Duration,
    /// How long a lost connection is tried for.
    pub give_up_after: Duration,
    /// Topics at most (protocol, section 12).
    pub topics_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            manual: false,
            life: Duration::from_secs(24 * 3600),
            extend_before: Duration::from_secs(3600),
            give_up_after: Duration::from_secs(900),
            topics_max: 1000,
        }
    }
}

/// What the machine is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// From the thread of a socket.
    Session {
        /// Which socket.
        socket: SocketRef,
        /// What happened there.
        fact: session::Fact,
    },
    /// Subscribe these, too. Idempotent.
    Subscribe(Vec<Topic>),
    /// Give these up. Idempotent.
    Unsubscribe(Vec<Topic>),
    /// Extend the channel's life now.
    Extend,
    /// Go over to the channel at this address.
    Rollover(Secret),
    /// Ask for a sign of life.
    Ping,
    /// End it.
    Close,
    /// Time has passed.
    Tick,
}

/// What the machine wants done, and tells.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Connect a socket in a thread of its own.
    Open {
        /// Its name.
        socket: SocketRef,
        /// Where to.
        connect_uri: Secret,
    },
    /// Hand an order to a socket's session; ignored if the socket is gone.
    Session {
        /// Which socket.
        socket: SocketRef,
        /// What to do.
        order: Order,
    },
    /// For the caller.
    Item(Item),
    /// Something that was asked for did not succeed; it goes on.
    Failed(Failure),
    /// It is over: by the caller's wish, or because of this.
    Over(Option<Failure>),
}

/// What the caller hears.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// An event.
    Notification {
        /// Its topic, as it was written.
        topic: Topic,
        /// `eventBody` exactly as it came.
        body: String,
        /// What else the frame said.
        about: About,
    },
    /// The platform's heartbeat, or its answer to a ping.
    Heartbeat,
    /// The subscription of these is confirmed.
    Live(Vec<Topic>),
    /// These were live, and are not, or may have missed something.
    Gap {
        /// Which.
        topics: Vec<Topic>,
        /// The last sign of life before it.
        since: Wall,
        /// Why.
        cause: GapCause,
    },
    /// The platform refuses these; they are given up.
    Refused {
        /// Which.
        topics: Vec<Topic>,
        /// Its `result`; 0 if it was not asked, because there is no room for more.
        result: u16,
        /// Its words.
        message: String,
    },
    /// The channel ends then, if nothing is done ([`Settings::manual`]).
    Expiring(Wall),
    /// The platform will close the socket within a minute.
    Closing,
}

/// Why something failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No connection.
    NotConnected {
        /// Why.
        cause: Cause,
        /// What was said about it.
        detail: String,
    },
    /// The upgrade was refused with this status.
    Refused(u16),
    /// The channel is gone: expired, or its token ended.
    Expired,
    /// The user's tokens were revoked.
    TokenRevoked,
    /// Another socket on the same channel, or another channel of the client, took its place.
    Replaced,
    /// The platform closed it after its notice ([`Settings::manual`]).
    Closing,
    /// What came is no notification channel.
    Misbehaved(String),
    /// It could not be connected again for [`Settings::give_up_after`]; the last try ended so.
    ReconnectFailed(Box<Failure>),
    /// The platform refused to extend the channel's life.
    ExtensionFailed(String),
    /// The other channel could not take over; the one before goes on.
    RolloverFailed(String),
    /// Subscribes are not answered: whether these topics are subscribed is not known. They are
    /// asked for again.
    Ambiguous(Vec<Topic>),
    /// The platform does not subscribe for now: it wants fewer requests, or has trouble. It is
    /// asked again.
    Postponed {
        /// Its `result`, such as 429.
        result: u16,
        /// How many topics wait for it.
        topics: usize,
        /// Its words.
        message: String,
        /// Until then.
        wait: Duration,
    },
}

impl Failure {
    /// What the end of a socket that never served says.
    #[must_use]
    pub fn of(end: &End) -> Failure {
        match end {
            End::UpgradeRefused { status, .. } => Failure::Refused(*status),
            End::NotConnected { cause, detail } => Failure::NotConnected {
                cause: *cause,
                detail: detail.clone(),
            },
            End::Misbehaved(what) => Failure::Misbehaved(what.clone()),
            End::Silent { .. } | End::NoPong => Failure::NotConnected {
                cause: Cause::TimedOut,
                detail: end.label().to_owned(),
            },
            End::Broken(what) => Failure::NotConnected {
                cause: Cause::BrokenOff,
                detail: what.clone(),
            },
            End::Closed(code) => Failure::NotConnected {
                cause: Cause::BrokenOff,
                detail: format!("closed with {code}"),
            },
            End::Ordered => Failure::NotConnected {
                cause: Cause::BrokenOff,
                detail: String::new(),
            },
        }
    }
}

#[derive(Debug)]
struct Socket {
    name: SocketRef,
    /// Since when it is open.
    open: Option<Mono>,
    /// It has brought a sign of life.
    served: bool,
}

/// A socket that is to take over.
#[derive(Debug)]
struct Next {
    socket: Socket,
    /// Another channel's address, or the same one's.
    elsewhere: Option<Secret>,
    /// Topics that are not confirmed on it yet.
    pending: BTreeSet<Topic>,
    until: Mono,
    proof: Proof,
    /// The platform will close it as well.
    closing: bool,
    /// The caller wants to hear if it fails.
    asked: bool,
}

/// Whether the socket before was alive until everything was confirmed on the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    Open,
    /// By the answer to this.
    Asked(u64),
    Given,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asks {
    Subscribe,
    /// The same once more, for the channel's life.
    Extend,
    Unsubscribe,
}

#[derive(Debug)]
struct Ticket {
    socket: SocketRef,
    topics: Vec<Topic>,
    asks: Asks,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Single {
    settings: Settings,
    rng: Rng,
    uri: Secret,
    book: Book,
    current: Option<Socket>,
    next: Option<Next>,
    /// Sockets that were told to close; what still comes on them counts.
    leaving: BTreeSet<SocketRef>,
    /// Some of those are another channel's.
    rolled: bool,
    twins: Twins,
    /// What is to be subscribed on which socket, as soon as answers leave room for it.
    queue: BTreeMap<SocketRef, BTreeSet<Topic>>,
    /// Given up, and still to be taken off the channel.
    given_up: BTreeSet<Topic>,
    generation: u32,
    tickets: BTreeMap<u64, Ticket>,
    last_ticket: u64,
    /// Nothing is subscribed before: the platform wants it so, or has trouble.
    hold: Option<Mono>,
    /// Refusals that pass, in a row; when the caller was told of them last.
    held: (u32, Option<Mono>),
    /// Topics to subscribe again, and when.
    again: Option<(Mono, BTreeSet<Topic>)>,
    unanswered: u32,
    retry: Option<Mono>,
    /// When another socket is to take over once more, after so many that could not.
    next_retry: Option<Mono>,
    next_attempts: u32,
    attempts: u32,
    down_since: Option<Mono>,
    refusals: (u16, u32),
    short_lives: u32,
    heard: Wall,
    expires: (Mono, Wall),
    expiring_told: bool,
    extend_from: Mono,
    closing: bool,
    /// It was connected once.
    met: bool,
    over: bool,
    out: VecDeque<Output>,
}

impl Single {
    /// Begins to connect.
    #[must_use]
    pub fn new(
        connect_uri: Secret,
        topics: Vec<Topic>,
        settings: Settings,
        now: Now,
        seed: u64,
    ) -> Single {
        let mut single = Single {
            settings,
            rng: Rng::new(seed),
            uri: connect_uri,
            book: Book::default(),
            current: None,
            next: None,
            leaving: BTreeSet::new(),
            rolled: false,
            twins: Twins::default(),
            queue: BTreeMap::new(),
            given_up: BTreeSet::new(),
            generation: 0,
            tickets: BTreeMap::new(),
            last_ticket: 0,
            hold: None,
            held: (0, None),
            again: None,
            unanswered: 0,
            retry: None,
            next_retry: None,
            next_attempts: 0,
            attempts: 0,
            down_since: None,
            refusals: (0, 0),
            short_lives: 0,
            heard: now.wall,
            expires: (now.mono + settings.life, now.wall + settings.life),
            expiring_told: false,
            extend_from: Mono(0),
            closing: false,
            met: false,
            over: false,
            out: VecDeque::new(),
        };
        single.subscribe(topics, now);
        single.dial(now);
        single
    }

    /// One change; drain [`Single::poll_output`] before the next.
    pub fn handle(&mut self, input: Input, now: Now) {
        if self.over {
            return;
        }
        match input {
            Input::Session { socket, fact } => self.session(socket, fact, now),
            Input::Subscribe(topics) => self.subscribe(topics, now),
            Input::Unsubscribe(topics) => self.unsubscribe(&topics),
            Input::Extend => self.extend(now),
            Input::Rollover(uri) => self.rollover(uri, now),
            Input::Ping => self.ping(),
            Input::Close => self.end(None),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to do; `None` when there is nothing left until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When an [`Input::Tick`] is due at the latest, and why.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        if self.over {
            return None;
        }
        let due = |at: Option<Mono>, why| at.map(|at| Deadline { at, why });
        let again = self.again.as_ref().map(|(at, _)| *at);
        [
            due(self.retry, "reconnect"),
            due(self.next.as_ref().map(|n| n.until), "take-over"),
            due(again, "subscribe again"),
            due(self.hold, "subscribe later"),
            due(self.next_retry, "take over again"),
            due(self.end_at(), "channel life"),
        ]
        .into_iter()
        .fold(None, Deadline::sooner)
    }

    /// A socket is open, and has shown a sign of life.
    #[must_use]
    pub fn connected(&self) -> bool {
        !self.over && self.current.as_ref().is_some_and(|c| c.open.is_some())
    }

    /// When the channel ends if nothing extends it, as far as we can tell.
    #[must_use]
    pub fn expires(&self) -> Wall {
        self.expires.1
    }

    /// The topics that are wanted, and whether each is live.
    pub fn topics(&self) -> impl Iterator<Item = (&Topic, bool)> {
        self.book.all()
    }

    fn item(&mut self, item: Item) {
        self.out.push_back(Output::Item(item));
    }

    fn order(&mut self, socket: SocketRef, order: Order) {
        self.out.push_back(Output::Session { socket, order });
    }

    fn failed(&mut self, failure: Failure) {
        self.out.push_back(Output::Failed(failure));
    }

    /// Everything is closed, and nothing follows.
    fn end(&mut self, failure: Option<Failure>) {
        let next = self.next.take().map(|n| n.socket.name);
        for socket in self.current.take().map(|c| c.name).into_iter().chain(next) {
            self.order(socket, Order::Close);
        }
        self.out.push_back(Output::Over(failure));
        self.over = true;
    }

    fn session(&mut self, socket: SocketRef, fact: session::Fact, now: Now) {
        let (current, next) = (self.is_current(socket), self.is_next(socket));
        if !(current || next || self.leaving.contains(&socket)) {
            return;
        }
        self.sign_of_life(socket, &fact, now);
        if matches!(fact, session::Fact::Ended(_)) {
            self.forget(socket, current);
        }
        match fact {
            session::Fact::Event { topic, body, about } => {
                // A second socket on the same channel gets nothing that the first gets; another
                // channel may have had topics before we name them.
                let next = self.next.as_ref();
                let two = self.rolled || next.is_some_and(|n| n.elsewhere.is_some());
                if !self.twins.came(socket, &topic, &body, two, now.mono) {
                    self.item(Item::Notification { topic, body, about });
                }
            }
            session::Fact::Ended(end) if current => self.lost(&end, now),
            session::Fact::Ended(end) if next => self.next_lost(&end, now),
            session::Fact::Ended(_) => {
                self.leaving.remove(&socket);
                self.rolled &= !self.leaving.is_empty();
            }
            session::Fact::Unsubscribed { ticket } => self.unsubscribed(ticket, now),
            session::Fact::Opened => self.opened(socket, now),
            session::Fact::Heard if current => self.item(Item::Heartbeat),
            session::Fact::Subscribed { ticket } => self.subscribed(ticket, now),
            session::Fact::Refused {
                ticket,
                confirmed,
                result,
                message,
            } => self.refused(ticket, confirmed, result, message, now),
            session::Fact::Closing if current => self.closing(now),
            session::Fact::Closing if next => {
                if let Some(next) = &mut self.next {
                    next.closing = true;
                }
            }
            session::Fact::ChannelGone if current => self.gone(Failure::Expired, now),
            session::Fact::NoLongerSubscribed if current => self.gone(Failure::Replaced, now),
            session::Fact::TokenRevoked if current => self.gone(Failure::TokenRevoked, now),
            session::Fact::ChannelGone | session::Fact::NoLongerSubscribed if next => {
                self.give_up_next("the other channel is gone");
                self.take_over_again(None, now);
            }
            _ => {}
        }
    }

    fn ping(&mut self) {
        if let Some(current) = self.current.as_ref().filter(|c| c.open.is_some()) {
            let socket = current.name;
            self.order(socket, Order::Ping);
        }
    }

    /// What is live is not, or may have missed something.
    fn gap(&mut self, topics: Vec<Topic>, cause: GapCause) {
        if !topics.is_empty() {
            let since = self.heard;
            self.item(Item::Gap {
                topics,
                since,
                cause,
            });
        }
    }

    fn tick(&mut self, now: Now) {
        if self.retry.is_some_and(|at| at <= now.mono) {
            self.dial(now);
        }
        if self.next.as_ref().is_some_and(|n| n.until <= now.mono) {
            self.next_overdue(now);
        }
        if let Some((_, topics)) = self.again.take_if(|(at, _)| *at <= now.mono) {
            let topics: Vec<Topic> = topics.into_iter().filter(|t| self.book.has(t)).collect();
            for socket in self.open_sockets() {
                self.send(socket, topics.clone());
            }
        }
        if self.hold.take_if(|at| *at <= now.mono).is_some() {
            for socket in self.open_sockets() {
                self.flush(socket);
            }
        }
        if self.next_retry.take_if(|at| *at <= now.mono).is_some() && self.next.is_none() {
            self.begin_next(None, false, now);
        }
        if self.end_at().is_some_and(|at| at <= now.mono) {
            if self.settings.manual {
                self.expiring_told = true;
                self.item(Item::Expiring(self.expires.1));
            } else {
                self.extend(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
