//! The thread of a [`Client`](super::Client): what its machine orders, and what comes of it.
//!
//! It decides nothing. Invariant: it never waits for the reader.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use super::{Command, Event};
use crate::bearer::Bearer;
use crate::clock::Clock;
use crate::dial::Connector;
use crate::error::{Error, Reason};
use crate::item::Item;
use crate::keeper::{Keeper, KeptChannel};
use crate::missing::missing_in;
use crate::outlet::Outlet;
use crate::rest::{Job, RestPool};
use crate::single::{instant, parts_of};
use crate::socket_thread::{self, ChannelHandle, ChannelThread};
use crate::together::{Together, given_up_with};
use base::cause::Cause;
use base::ids::Topic;
use base::notice::{Level, Notice};
use base::secret::Secret;
use base::time::{Mono, Wall};
use base::wire::NoAnswer;
use proto::rest::{Answer, Failure, Op, Outcome};
use proto::session::{self, Order, SessionSettings, SocketRef};
use proto::twins::Twins;
use proto::{CallId, Fact, Input, Output};

/// How long sockets and workers are given once the handle is gone.
const FAREWELL: Duration = Duration::from_millis(500);
/// The same trouble with signing in is told again after this.
const TOLD_AGAIN: Duration = Duration::from_secs(300);

pub(super) struct Driver {
    pub(super) client: proto::Client,
    pub(super) session: SessionSettings,
    pub(super) connector: Arc<Connector>,
    pub(super) clock: Arc<Clock>,
    /// There until the end.
    pub(super) rest: Option<RestPool>,
    pub(super) commands: Receiver<Command>,
    pub(super) events: Sender<Event>,
    pub(super) heard: Receiver<Event>,
    /// What was found out while an order was obeyed.
    pub(super) found: VecDeque<Input>,
    pub(super) sockets: BTreeMap<SocketRef, ChannelHandle>,
    /// The last sign of life of each socket, those that ended just now among them.
    pub(super) signs: BTreeMap<SocketRef, Wall>,
    pub(super) outlet: Outlet,
    /// What came during a hand-over.
    pub(super) twins: Twins,
    /// Topics that are live, in lower case.
    pub(super) live: BTreeSet<String>,
    /// Those of them that are to be told.
    pub(super) went_live: Vec<String>,
    pub(super) together: Together,
    pub(super) keeper: Box<dyn Keeper>,
    /// What was said of each trouble that keeps everything from coming, and when.
    pub(super) told: BTreeMap<&'static str, (String, Mono)>,
    pub(super) name: String,
    pub(super) over: Arc<AtomicBool>,
    /// The token, for what the caller asks.
    pub(super) bearer: Arc<Bearer>,
    /// The last call for one.
    pub(super) token_call: Option<u64>,
}

impl Driver {
    /// Until the handle is gone or says so.
    pub(super) fn run(mut self) {
        self.obey();
        while let Some(inputs) = self.wait() {
            for input in inputs {
                self.client.handle(input, self.clock.now());
                self.obey();
            }
            self.outlet.catch_up(&self.live);
            if self.outlet.is_gone() {
                break;
            }
        }
        self.farewell();
    }

    /// What happens next; `None` once nobody wants anything any more.
    fn wait(&mut self) -> Option<Vec<Input>> {
        let now = self.clock.now();
        let due = self
            .client
            .next_deadline(now)
            .map(|d| self.clock.until(d.at));
        let look = self.outlet.look_within();
        let timeout = match due.into_iter().chain(look).min() {
            Some(patience) => crossbeam_channel::after(patience),
            None => crossbeam_channel::never(),
        };
        select! {
            recv(self.commands) -> command => match command {
                Ok(Command::Subscribe(topics)) => {
                    self.together.subscribe(&topics);
                    Some(topics.into_iter().map(Input::Watch).collect())
                }
                Ok(Command::Unsubscribe(topics)) => {
                    self.together.unsubscribe(&topics);
                    for part in topics.iter().flat_map(parts_of) {
                        self.live.remove(&part);
                    }
                    Some(topics.into_iter().map(Input::Unwatch).collect())
                }
                Ok(Command::Close) | Err(_) => None,
            },
            recv(self.heard) -> event => Some(event.map(|e| self.event(e)).into_iter().collect()),
            recv(self.outlet.bell()) -> _ => Some(Vec::new()),
            recv(timeout) -> _ => Some(vec![Input::Tick]),
        }
    }

    fn event(&mut self, event: Event) -> Input {
        match event {
            Event::Answered(ticket, outcome) => {
                match &outcome.result {
                    Ok(Answer::Token { access_token, .. }) => {
                        self.bearer.given(access_token.clone());
                    }
                    // Of the token notices tell.
                    _ if self.token_call == Some(ticket) => {}
                    Err(Failure::RateLimited(after)) => self.put_off(429, *after),
                    Err(Failure::Server {
                        status,
                        retry_after,
                    }) => self.put_off(*status, *retry_after),
                    _ => {}
                }
                Input::Answered {
                    call: CallId(ticket),
                    outcome,
                }
            }
            Event::Session(socket, fact) => {
                match &fact {
                    session::Fact::Ended(_) => drop(self.sockets.remove(&socket)),
                    session::Fact::Heard => {
                        self.signs.insert(socket, self.clock.now().wall);
                        self.tell(Item::Heartbeat);
                    }
                    session::Fact::Opened
                    | session::Fact::Event { .. }
                    | session::Fact::Subscribed { .. } => {
                        self.signs.insert(socket, self.clock.now().wall);
                    }
                    session::Fact::Closing => self.tell(Item::Closing),
                    _ => {}
                }
                Input::Session { socket, fact }
            }
        }
    }

    /// Calls are made again as the platform wants, which may take minutes: why nothing comes is told.
    fn put_off(&mut self, status: u16, after: Option<Duration>) {
        let wait = after.map(|d| format!(", and asks to wait {} s", d.as_secs()));
        let text = format!(
            "the platform answers {status} to calls{}; they are made again",
            wait.unwrap_or_default()
        );
        let label = match status {
            429 => "rate-limited",
            _ => "trouble",
        };
        self.told_seldom(label, &text, false, Reason::Status(status));
    }

    fn obey(&mut self) {
        loop {
            while let Some(output) = self.client.poll_output() {
                self.one(output);
            }
            let Some(input) = self.found.pop_front() else {
                break;
            };
            self.client.handle(input, self.clock.now());
        }
        self.tell_live();
        self.outlet.catch_up(&self.live);
        // Gaps that their ends brought have been told.
        let sockets = &self.sockets;
        self.signs.retain(|socket, _| sockets.contains_key(socket));
    }

    fn one(&mut self, output: Output) {
        match output {
            Output::OpenSocket {
                socket,
                connect_uri,
            } => self.open(socket, connect_uri),
            Output::Session { socket, order } => self.order(socket, order),
            Output::Call { call, op, token } => {
                if op == Op::Token {
                    self.token_call = Some(call.0);
                }
                let job = Job {
                    ticket: call.0,
                    op,
                    token,
                };
                let sent = self.rest.as_ref().map(|rest| rest.send(job));
                if !matches!(sent, Some(Ok(()))) {
                    let outcome = Outcome {
                        result: Err(Failure::NoAnswer(NoAnswer::NotSent)),
                        limits: None,
                        retry_after: None,
                    };
                    self.found.push_back(Input::Answered { call, outcome });
                }
            }
            Output::Keep(rows) => {
                let kept: Vec<KeptChannel> = rows.iter().cloned().map(KeptChannel).collect();
                self.keep(&kept);
                self.found.push_back(Input::Kept(rows));
            }
            Output::Fact(fact) => self.fact(fact),
            Output::Notice(notice) => self.notice(&notice),
        }
    }

    /// What the caller's keeper does wrong costs places on the platform, and no notification.
    fn keep(&mut self, kept: &[KeptChannel]) {
        let keeper = &mut self.keeper;
        if catch_unwind(AssertUnwindSafe(|| keeper.keep(kept))).is_err() {
            let text = "the keeper panicked: a restart may not know the channels";
            self.told_seldom("keeper", text, true, Reason::Machine);
        }
    }

    fn open(&mut self, socket: SocketRef, connect_uri: Secret) {
        let events = self.events.clone();
        let thread = ChannelThread {
            socket,
            connect_uri,
            session: self.session,
            connector: Arc::clone(&self.connector),
            // Who drives may have ended.
            facts: Box::new(move |socket, fact| drop(events.send(Event::Session(socket, fact)))),
            clock: Arc::clone(&self.clock),
            name: format!("{}-{:02}", self.name, socket.slot),
            farewell: FAREWELL,
        };
        match socket_thread::spawn(thread) {
            Ok(handle) => drop(self.sockets.insert(socket, handle)),
            Err(error) => {
                let end = session::End::NotConnected {
                    cause: Cause::Machine,
                    detail: format!("no thread: {error}"),
                };
                let fact = session::Fact::Ended(end);
                self.found.push_back(Input::Session { socket, fact });
            }
        }
    }

    fn order(&mut self, socket: SocketRef, order: Order) {
        let full = self.sockets.get(&socket).map(|handle| handle.send(order));
        if matches!(full, Some(Err(_))) {
            // Its thread is stuck: it is given up, and that is a gap.
            self.sockets.remove(&socket);
            let end = session::End::Broken("its thread took no orders".into());
            let fact = session::Fact::Ended(end);
            self.found.push_back(Input::Session { socket, fact });
        }
    }

    fn fact(&mut self, fact: Fact) {
        let name = |topic: &Topic| topic.written().to_owned();
        match fact {
            Fact::Live { topic } => {
                self.together.live(&topic);
                self.live.extend(parts_of(&topic));
                self.went_live.push(name(&topic));
            }
            Fact::Gap { topics, cause } => {
                for part in topics.iter().flat_map(parts_of) {
                    self.live.remove(&part);
                }
                // Which socket each was on is not told: the earliest sign is safe for all.
                let now = self.clock.now().wall;
                let since = self.signs.values().min().copied().unwrap_or(now);
                self.tell(Item::Gap {
                    topics: topics.iter().map(name).collect(),
                    since: instant(since),
                    cause: cause.label(),
                });
            }
            Fact::Refused { topic, detail } => {
                let others = self.together.refused(&topic);
                let missing = missing_in(&detail, &[name(&topic)]);
                self.refused(std::slice::from_ref(&topic), missing, detail);
                if !others.is_empty() {
                    self.refused(&others, Vec::new(), given_up_with(&topic));
                    self.found.extend(others.into_iter().map(Input::Unwatch));
                }
            }
            Fact::Event {
                topic,
                body,
                about,
                socket,
                twice,
            } => {
                let now = self.clock.now().mono;
                if !self.twins.came(socket, &topic, &body, twice, now) {
                    self.tell(Item::Notification {
                        topic: name(&topic),
                        body,
                        correlation_id: about.correlation_id,
                        version: about.version,
                    });
                }
            }
            // Nobody here asks about conversations, and topics that wait are told when they are live.
            Fact::Short { .. } | Fact::Fetched { .. } => {}
        }
    }

    fn refused(&mut self, topics: &[Topic], missing: Vec<String>, detail: String) {
        for part in topics.iter().flat_map(parts_of) {
            self.live.remove(&part);
        }
        self.tell(Item::Refused {
            topics: topics.iter().map(|t| t.written().to_owned()).collect(),
            missing,
            detail,
        });
    }

    /// What people should know goes to the log; why nothing comes, to the reader, too.
    fn notice(&mut self, notice: &Notice) {
        let level = match notice.level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        log::log!(level, "{}: {}", notice.label, notice.text);
        if matches!(notice.label, "token-refused" | "token-failed") {
            self.bearer.refused(&notice.text);
        }
        let reason = match notice.label {
            "token-refused" | "token-failed" => Reason::Login,
            "channel-not-made" | "connect-uri-refused" | "socket-refused" | "socket-unreached" => {
                Reason::Handshake
            }
            _ => return,
        };
        self.told_seldom(notice.label, &notice.text, true, reason);
    }

    /// The same trouble once in a while; with other words at once, where they tell another story.
    fn told_seldom(&mut self, label: &'static str, text: &str, telling: bool, reason: Reason) {
        let now = self.clock.now().mono;
        let told = self.told.get(label);
        let same = |said: &str| !telling || said == text;
        if told.is_some_and(|(said, at)| same(said) && now.since(*at) < TOLD_AGAIN) {
            return;
        }
        self.told.insert(label, (text.to_owned(), now));
        self.tell_live();
        self.outlet.fail(Error::new(reason, text));
    }

    fn tell(&mut self, item: Item) {
        self.tell_live();
        self.outlet.tell(item, &self.live);
    }

    /// Topics that became live at one time are one item.
    fn tell_live(&mut self) {
        let topics = std::mem::take(&mut self.went_live);
        if !topics.is_empty() {
            self.outlet.tell(Item::Live { topics }, &self.live);
        }
    }

    /// Sockets close politely, workers end; what does not in time is let go.
    fn farewell(mut self) {
        self.over.store(true, Ordering::Release);
        self.bearer.over();
        self.tell_live();
        self.outlet.finish(&self.live, None);
        let until = Instant::now() + FAREWELL;
        for handle in self.sockets.values() {
            let _ = handle.send(Order::Close);
        }
        if let Some(rest) = self.rest.take() {
            rest.stop(until);
        }
        while !self.sockets.is_empty() {
            match self.heard.recv_deadline(until) {
                Ok(Event::Session(socket, session::Fact::Ended(_))) => {
                    self.sockets.remove(&socket);
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}
