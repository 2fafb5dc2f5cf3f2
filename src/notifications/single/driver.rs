//! The thread of a [`Channel`](super::Channel): what its machine orders, and what comes of it.
//!
//! It decides nothing. Invariant: it never waits for the reader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use super::{Status, closed, instant, lock};
use crate::clock::Clock;
use crate::dial::Connector;
use crate::error::Error;
use crate::item::Item;
use crate::missing::missing_in;
use crate::outlet::Outlet;
use crate::socket_thread::{self, ChannelHandle, ChannelThread};
use crate::together::{Together, given_up_with};
use base::cause::Cause;
use base::ids::Topic;
use base::secret::Secret;
use proto::session::{self, Order, SessionSettings, SocketRef};
use proto::single::{self, Input, Output, Single};

/// How long a socket is given to say goodbye once its handle is gone.
const FAREWELL: Duration = Duration::from_millis(500);

/// The thread of a channel.
pub(super) struct Driver {
    pub(super) single: Single,
    pub(super) session: SessionSettings,
    pub(super) connector: Arc<Connector>,
    pub(super) clock: Arc<Clock>,
    pub(super) commands: Receiver<Input>,
    pub(super) facts: Sender<(SocketRef, session::Fact)>,
    pub(super) heard: Receiver<(SocketRef, session::Fact)>,
    pub(super) sockets: BTreeMap<SocketRef, ChannelHandle>,
    /// Those of the sockets that are open.
    pub(super) opened: BTreeSet<SocketRef>,
    pub(super) outlet: Outlet,
    /// Topics that are live, in lower case.
    pub(super) live: BTreeSet<String>,
    pub(super) together: Together,
    pub(super) status: Arc<Mutex<Status>>,
    /// Who waits for the first connection.
    pub(super) met: Option<Sender<Result<(), Error>>>,
    pub(super) over: bool,
    /// Of the threads.
    pub(super) name: String,
}

impl Driver {
    /// Until the channel is over, or the handle gone.
    pub(super) fn run(mut self) {
        self.obey();
        while !self.over {
            let input = self.wait();
            match &input {
                Input::Subscribe(topics) => self.together.subscribe(topics),
                Input::Unsubscribe(topics) => {
                    self.together.unsubscribe(topics);
                    self.went_dark(topics);
                }
                _ => {}
            }
            self.single.handle(input, self.clock.now());
            self.obey();
        }
        self.farewell();
    }

    fn wait(&mut self) -> Input {
        let due = self.single.next_deadline().map(|d| self.clock.until(d.at));
        let look = self.outlet.look_within();
        let patience = due.into_iter().chain(look).min();
        let timeout = match patience {
            Some(patience) => crossbeam_channel::after(patience),
            None => crossbeam_channel::never(),
        };
        select! {
            recv(self.commands) -> command => command.unwrap_or(Input::Close),
            recv(self.heard) -> heard => match heard {
                Ok((socket, fact)) => {
                    match &fact {
                        session::Fact::Opened => drop(self.opened.insert(socket)),
                        session::Fact::Ended(_) => {
                            self.opened.remove(&socket);
                            self.sockets.remove(&socket);
                        }
                        _ => {}
                    }
                    Input::Session { socket, fact }
                }
                // We hold a sender ourselves.
                Err(_) => Input::Close,
            },
            recv(self.outlet.bell()) -> _ => Input::Tick,
            recv(timeout) -> _ => Input::Tick,
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.single.poll_output() {
            match output {
                Output::Open {
                    socket,
                    connect_uri,
                } => self.open(socket, connect_uri),
                Output::Session { socket, order } => self.order(socket, order),
                Output::Item(item) => {
                    let refused = match &item {
                        single::Item::Refused { topics, .. } => topics.clone(),
                        _ => Vec::new(),
                    };
                    self.tell(item);
                    self.give_up_with(&refused);
                }
                Output::Failed(failure) => self.outlet.fail(Error::of_failure(failure)),
                Output::Over(failure) => self.end(failure.map(Error::of_failure)),
            }
        }
        self.outlet.catch_up(&self.live);
        if self.outlet.is_gone() && !self.over {
            self.single.handle(Input::Close, self.clock.now());
            return self.obey();
        }
        let connected = self.single.connected();
        let mut status = lock(&self.status);
        status.connected = connected;
        status.expires = self.single.expires();
        status.over = self.over;
        drop(status);
        if connected && let Some(met) = self.met.take() {
            // The caller waits, or has gone.
            let _ = met.send(Ok(()));
        }
    }

    fn open(&mut self, socket: SocketRef, connect_uri: Secret) {
        let facts = self.facts.clone();
        let thread = ChannelThread {
            socket,
            connect_uri,
            session: self.session,
            connector: Arc::clone(&self.connector),
            // Who drives may have ended.
            facts: Box::new(move |socket, fact| drop(facts.send((socket, fact)))),
            clock: Arc::clone(&self.clock),
            name: format!("{}-{}", self.name, socket.generation % 100),
            farewell: FAREWELL,
        };
        match socket_thread::spawn(thread) {
            Ok(handle) => {
                self.sockets.insert(socket, handle);
            }
            Err(error) => {
                let detail = error.to_string();
                let end = session::End::NotConnected {
                    cause: Cause::Machine,
                    detail,
                };
                let fact = session::Fact::Ended(end);
                self.single
                    .handle(Input::Session { socket, fact }, self.clock.now());
            }
        }
    }

    fn order(&mut self, socket: SocketRef, order: Order) {
        if order == Order::Close && !self.opened.contains(&socket) {
            // One that is being dialled is broken off, and never opens.
            self.sockets.remove(&socket);
            return;
        }
        let Some(handle) = self.sockets.get(&socket) else {
            return;
        };
        if handle.send(order).is_err() {
            // Its thread is stuck: it is given up, and that is a gap.
            self.sockets.remove(&socket);
            let fact = session::Fact::Ended(session::End::Misbehaved(
                "the socket takes no orders any more".into(),
            ));
            self.single
                .handle(Input::Session { socket, fact }, self.clock.now());
        }
    }

    fn went_dark(&mut self, topics: &[Topic]) {
        for part in topics.iter().flat_map(parts_of) {
            self.live.remove(&part);
        }
    }

    /// Where errors are not ignored, what goes with a refused topic.
    fn give_up_with(&mut self, refused: &[Topic]) {
        for topic in refused {
            let others = self.together.refused(topic);
            if others.is_empty() {
                continue;
            }
            self.went_dark(&others);
            let refused = Item::Refused {
                topics: others.iter().map(|t| t.written().to_owned()).collect(),
                missing: Vec::new(),
                detail: given_up_with(topic),
            };
            self.outlet.tell(refused, &self.live);
            self.single
                .handle(Input::Unsubscribe(others), self.clock.now());
        }
    }

    fn tell(&mut self, item: single::Item) {
        let names = |topics: Vec<Topic>| topics.iter().map(|t| t.written().to_owned()).collect();
        let item = match item {
            single::Item::Notification { topic, body, about } => Item::Notification {
                topic: topic.written().to_owned(),
                body,
                correlation_id: about.correlation_id,
                version: about.version,
            },
            single::Item::Heartbeat => Item::Heartbeat,
            single::Item::Live(topics) => {
                topics.iter().for_each(|t| self.together.live(t));
                self.live.extend(topics.iter().flat_map(parts_of));
                Item::Live {
                    topics: names(topics),
                }
            }
            single::Item::Gap {
                topics,
                since,
                cause,
            } => {
                self.went_dark(&topics);
                Item::Gap {
                    topics: names(topics),
                    since: instant(since),
                    cause: cause.label(),
                }
            }
            single::Item::Refused {
                topics,
                result,
                message,
            } => {
                let topics: Vec<String> = names(topics);
                Item::Refused {
                    missing: missing_in(&message, &topics),
                    topics,
                    detail: match result {
                        0 => message,
                        result => format!("{message} ({result})"),
                    },
                }
            }
            single::Item::Expiring(at) => Item::Expiring { at: instant(at) },
            single::Item::Closing => Item::Closing,
        };
        self.outlet.tell(item, &self.live);
    }

    fn end(&mut self, error: Option<Error>) {
        self.over = true;
        match (self.met.take(), error) {
            (Some(met), error) => drop(met.send(Err(error.unwrap_or_else(closed)))),
            (None, error) => self.outlet.finish(&self.live, error),
        }
    }

    /// Sockets were told to close; one that does not is let go.
    fn farewell(mut self) {
        let until = Instant::now() + FAREWELL;
        while !self.sockets.is_empty() {
            match self.heard.recv_deadline(until) {
                Ok((socket, session::Fact::Ended(_))) => drop(self.sockets.remove(&socket)),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

/// The names under which events of a topic come: of a combined one those of its parts, too
/// (protocol, section 5). In lower case.
pub(crate) fn parts_of(topic: &Topic) -> Vec<String> {
    let name = topic.as_str();
    let mut names = vec![name.to_owned()];
    if let Some((prefix, parts)) = name.split_once('?') {
        names.extend(parts.split('&').map(|part| format!("{prefix}.{part}")));
    }
    names
}
