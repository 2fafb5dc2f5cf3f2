//! The session of one socket on one channel: heartbeat, ping and pong,
//! correlation of subscribe and unsubscribe, closing notice, close (protocol,
//! section 4).
//!
//! It runs in the channel's own thread and in the simulation. Pure: frames and
//! ticks come in with [`Session::handle`], frames to send and facts for the
//! loop come out of [`Session::poll_output`]; then [`Session::next_deadline`]
//! says when to come back with a tick.
//!
//! ```text
//! connecting ──Opened──► open ──Close ordered, silence, no pong──► ending ──Ended──► over
//!     └───────Close ordered, Ended──────┴──────────Ended────────────────────────────► over
//! ```
//!
//! Two kinds of life are told apart. A *sign of life* is a frame that the
//! platform sends of its own accord: heartbeat, event, system message. An
//! *answer to us* (pong, reply) proves only that the link and the front of the
//! platform work; the events behind it may have stopped ("event silence without
//! close: only the missing heartbeat shows it", protocol, section 12). So the
//! socket ends as [`End::Silent`] after `heartbeat_timeout` without a sign of
//! life, pongs or not (twice that where the loop has found that heartbeats come more
//! seldom, [`Order::Patience`]), and as [`End::NoPong`] when a ping stays without any
//! answer to us, heartbeats or not: then the platform does not read.
//!
//! Events are handed over as they come, also before the reply to their own
//! subscribe, after the reply to their unsubscribe, and while the socket closes.
//!
//! Invariant: every order with a ticket is answered by exactly one fact with
//! that ticket, or by [`Fact::Ended`], after which nothing more comes.

mod requests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use self::requests::{Request, Requests};
use super::frames::{self, Done, Frame, Reply, Unknown};
use base::cause::Cause;
use base::gap::GapCause;
use base::ids::Topic;
use base::time::{Deadline, Mono, Now};

pub use self::requests::{IN_FLIGHT_MAX, ORDERS_WAITING_MAX};

/// Names one socket: a late message of an earlier socket can never touch its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketRef {
    /// The channel's slot, from 1.
    pub slot: u8,
    /// Counts the sockets of the process.
    pub generation: u32,
}

/// What the loop asks of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Subscribe these topics in one message.
    Subscribe {
        /// Echoed.
        ticket: u64,
        /// As many as the sender cares to lose at once if the message is refused.
        topics: Vec<Topic>,
    },
    /// Unsubscribe these topics in one message.
    Unsubscribe {
        /// Echoed.
        ticket: u64,
        /// As many as the sender cares to lose at once if the message is refused.
        topics: Vec<Topic>,
    },
    /// Allow twice `heartbeat-timeout` without a sign of life, or no longer.
    Patience {
        /// Twice.
        doubled: bool,
    },
    /// Ask for a sign of life now.
    Ping,
    /// Close the socket; [`Fact::Ended`] follows.
    Close,
}

/// What a frame says of its event beside topic and body (protocol, section 4.5).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct About {
    /// `metadata.CorrelationId`.
    pub correlation_id: Option<String>,
    /// `version`.
    pub version: Option<String>,
}

/// What a session tells the loop.
#[derive(Clone, PartialEq)]
pub enum Fact {
    /// The upgrade was accepted.
    Opened,
    /// The first heartbeat or pong after a while; for the status page.
    Heard,
    /// The platform confirmed.
    Subscribed {
        /// Of the order.
        ticket: u64,
    },
    /// The platform confirmed.
    Unsubscribed {
        /// Of the order.
        ticket: u64,
    },
    /// The platform refused the message, or did not answer it in time.
    Refused {
        /// Of the order.
        ticket: u64,
        /// Topics of the order that the platform did confirm (per-topic answers).
        confirmed: Vec<Topic>,
        /// Its `result`; 0 where there was no answer.
        result: u16,
        /// Its text, bounded, no control characters.
        message: String,
    },
    /// `"result":"404"`: the channel has expired, was replaced, or its token ended. Once per socket.
    ChannelGone,
    /// An event.
    Event {
        /// Its topic.
        topic: Topic,
        /// `eventBody` exactly as it came.
        body: String,
        /// What else the frame said of it.
        about: About,
    },
    /// The platform will close this socket within a minute. Once per socket.
    Closing,
    /// This channel lost its subscriptions. Once per socket.
    NoLongerSubscribed,
    /// The user's tokens were revoked. Once per socket.
    TokenRevoked,
    /// The socket is over.
    Ended(End),
}

/// Why a socket is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// We closed it.
    Ordered,
    /// The upgrade was refused.
    UpgradeRefused {
        /// With this status.
        status: u16,
        /// `Retry-After`, if any.
        retry_after: Option<Duration>,
    },
    /// Name, TCP, proxy, TLS or handshake failed.
    NotConnected {
        /// Why.
        cause: Cause,
        /// What was said about it, bounded, no control characters; may be empty.
        detail: String,
    },
    /// The platform closed it with this code.
    Closed(u16),
    /// The connection broke.
    Broken(String),
    /// No heartbeat within `heartbeat-timeout`.
    Silent {
        /// Heartbeats that had come on this socket.
        beats: u32,
    },
    /// A ping stayed without its pong.
    NoPong,
    /// Frames beyond the limits, or not WebSocket.
    Misbehaved(String),
}

impl End {
    /// The upgrade was refused with this status, without `Retry-After`.
    #[must_use]
    pub fn refused(status: u16) -> End {
        End::UpgradeRefused {
            status,
            retry_after: None,
        }
    }

    /// No connection, for this cause.
    #[must_use]
    pub fn unreached(cause: Cause) -> End {
        End::NotConnected {
            cause,
            detail: String::new(),
        }
    }

    /// What a gap is put down to that comes of it.
    #[must_use]
    pub fn cause(&self) -> GapCause {
        match self {
            End::Ordered => GapCause::Ordered,
            End::UpgradeRefused { .. } => GapCause::UpgradeRefused,
            End::NotConnected { .. } => GapCause::NotConnected,
            End::Closed(_) => GapCause::Closed,
            End::Broken(_) => GapCause::Broken,
            End::Silent { .. } => GapCause::Silent,
            End::NoPong => GapCause::NoPong,
            End::Misbehaved(_) => GapCause::Misbehaved,
        }
    }

    /// Stable label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.cause().label()
    }
}

/// The body of an event carries personal data and is not shown.
impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Opened => f.write_str("Opened"),
            Fact::Heard => f.write_str("Heard"),
            Fact::Subscribed { ticket } => write!(f, "Subscribed({ticket})"),
            Fact::Unsubscribed { ticket } => write!(f, "Unsubscribed({ticket})"),
            Fact::Refused {
                ticket,
                confirmed,
                result,
                message,
            } => write!(
                f,
                "Refused({ticket}, {result}, {} confirmed, {message:?})",
                confirmed.len()
            ),
            Fact::ChannelGone => f.write_str("ChannelGone"),
            Fact::Event { topic, .. } => write!(f, "Event({topic})"),
            Fact::Closing => f.write_str("Closing"),
            Fact::NoLongerSubscribed => f.write_str("NoLongerSubscribed"),
            Fact::TokenRevoked => f.write_str("TokenRevoked"),
            Fact::Ended(end) => write!(f, "Ended({end:?})"),
        }
    }
}

/// How patient a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// `[channels] heartbeat-timeout`: the longest time without a sign of life.
    pub heartbeat_timeout: Duration,
    /// A ping is sent after this long without any frame.
    pub ping_interval: Duration,
    /// A ping must be answered within this time.
    pub pong_deadline: Duration,
    /// A subscribe or unsubscribe must be answered within this time; one client in use waits 7 s (protocol, section 4.3).
    pub reply_deadline: Duration,
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings {
            heartbeat_timeout: Duration::from_secs(40),
            ping_interval: Duration::from_secs(10),
            pong_deadline: Duration::from_secs(10),
            reply_deadline: Duration::from_secs(10),
        }
    }
}

/// What a session is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// The upgrade was accepted.
    Opened,
    /// A text frame arrived.
    Text(&'a str),
    /// A frame without meaning for us arrived: RFC 6455 ping or pong, binary.
    OtherFrame,
    /// The loop wants something.
    Order(Order),
    /// The socket is gone: always given, also after [`Output::Close`].
    Ended(End),
    /// Time has passed.
    Tick,
}

/// What a session wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send this text frame.
    Send(String),
    /// Close the socket, then give [`Input::Ended`].
    Close {
        /// The other side is believed to listen: send a close frame and read on until it answers, for a short while.
        polite: bool,
    },
    /// Tell the loop.
    Fact(Fact),
    /// A frame arrived that means nothing to us: for the log at debug level.
    Odd(Unknown),
}

#[derive(Clone, PartialEq, Debug)]
enum Phase {
    Connecting,
    Open,
    Ending(End),
    Over,
}

/// What is told once per socket.
#[derive(Clone, Copy, Default, Debug)]
struct Told {
    channel_gone: bool,
    closing: bool,
    no_longer_subscribed: bool,
    token_revoked: bool,
    heard: Option<Mono>,
}

/// The state machine of one socket.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    /// Times `heartbeat-timeout`.
    patience: u32,
    beats: u32,
    phase: Phase,
    requests: Requests,
    outputs: VecDeque<Output>,
    /// When the platform last sent something of its own accord.
    life: Mono,
    /// When anything last arrived.
    heard: Mono,
    /// When the answer to the ping in flight is due.
    pong_due: Option<Mono>,
    told: Told,
}

impl Session {
    /// A session whose socket is being connected.
    #[must_use]
    pub fn new(settings: SessionSettings, now: Now) -> Session {
        Session {
            settings,
            patience: 1,
            beats: 0,
            phase: Phase::Connecting,
            requests: Requests::new(settings.reply_deadline),
            outputs: VecDeque::new(),
            life: now.mono,
            heard: now.mono,
            pong_due: None,
            told: Told::default(),
        }
    }

    /// One change; drain [`Session::poll_output`] before the next.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        let now = now.mono;
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Opened => self.opened(now),
            Input::Text(text) => self.frame(frames::classify(&frames::told(text)), now),
            Input::OtherFrame => self.heard = now,
            Input::Order(order) => self.order(order, now),
            Input::Ended(end) => self.ended(end),
            Input::Tick => self.tick(now),
        }
        self.send_waiting(now);
    }

    /// The next thing to do; `None` when there is nothing left until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When a [`Input::Tick`] is due. While connecting and while ending the
    /// deadlines are the socket's owner's.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        if self.phase != Phase::Open {
            return None;
        }
        let silence = Deadline {
            at: self.silent_at(),
            why: "heartbeat",
        };
        let ping = match self.pong_due {
            Some(at) => Deadline { at, why: "pong" },
            None => Deadline {
                at: self.ping_due(),
                why: "ping",
            },
        };
        let reply = self.requests.deadline().map(|at| Deadline {
            at,
            why: "subscribe reply",
        });
        Deadline::sooner(Deadline::sooner(Some(silence), Some(ping)), reply)
    }

    fn fact(&mut self, fact: Fact) {
        self.outputs.push_back(Output::Fact(fact));
    }

    fn facts(&mut self, facts: Vec<Fact>) {
        self.outputs.extend(facts.into_iter().map(Output::Fact));
    }

    fn opened(&mut self, now: Mono) {
        if self.phase == Phase::Connecting {
            self.phase = Phase::Open;
            self.life = now;
            self.heard = now;
            self.fact(Fact::Opened);
        }
    }

    fn order(&mut self, order: Order, now: Mono) {
        if matches!(self.phase, Phase::Ending(_)) {
            return;
        }
        let request = match order {
            Order::Close => return self.end(End::Ordered, true),
            Order::Ping => {
                if self.phase == Phase::Open {
                    self.ping(now);
                }
                return;
            }
            Order::Patience { doubled } => {
                self.patience = 1 + u32::from(doubled);
                return;
            }
            Order::Subscribe { ticket, topics } => Request {
                ticket,
                kind: Done::Subscribed,
                topics,
            },
            Order::Unsubscribe { ticket, topics } => Request {
                ticket,
                kind: Done::Unsubscribed,
                topics,
            },
        };
        let answer = self.requests.take(request);
        self.outputs.extend(answer.map(Output::Fact));
    }

    fn frame(&mut self, frame: Frame<'_>, now: Mono) {
        self.heard = now;
        if matches!(
            frame,
            Frame::Heartbeat
                | Frame::Event { .. }
                | Frame::Closing
                | Frame::NoLongerSubscribed
                | Frame::TokenRevoked
                | Frame::Unknown(Unknown::OtherSystem)
        ) {
            self.life = now;
        }
        match frame {
            Frame::Reply(reply) => self.reply(&reply),
            Frame::Heartbeat => {
                self.beats = self.beats.saturating_add(1);
                self.tell_heard(now);
            }
            Frame::Pong => {
                self.pong_due = None;
                self.tell_heard(now);
            }
            Frame::Event {
                topic,
                body,
                correlation,
                version,
            } => self.fact(Fact::Event {
                topic,
                body: body.to_owned(),
                about: About {
                    correlation_id: correlation.map(Cow::into_owned),
                    version: version.map(Cow::into_owned),
                },
            }),
            Frame::Closing => {
                if !std::mem::replace(&mut self.told.closing, true) {
                    self.fact(Fact::Closing);
                }
            }
            Frame::NoLongerSubscribed => {
                if !std::mem::replace(&mut self.told.no_longer_subscribed, true) {
                    self.fact(Fact::NoLongerSubscribed);
                }
            }
            Frame::TokenRevoked => {
                if !std::mem::replace(&mut self.told.token_revoked, true) {
                    self.fact(Fact::TokenRevoked);
                }
            }
            Frame::Unknown(unknown) => self.outputs.push_back(Output::Odd(unknown)),
        }
    }

    fn reply(&mut self, reply: &Reply<'_>) {
        // A reply proves what a pong proves: the platform reads us.
        self.pong_due = None;
        // Said of the channel, whichever request it answers, and before the
        // refusal, so that nobody tries the same channel again.
        if reply.result == 404 && !std::mem::replace(&mut self.told.channel_gone, true) {
            self.fact(Fact::ChannelGone);
        }
        let facts = self.requests.reply(reply);
        self.facts(facts);
    }

    fn tell_heard(&mut self, now: Mono) {
        let interval = self.settings.ping_interval;
        if self.told.heard.is_none_or(|at| now.since(at) >= interval) {
            self.told.heard = Some(now);
            self.fact(Fact::Heard);
        }
    }

    fn tick(&mut self, now: Mono) {
        if self.phase != Phase::Open {
            return;
        }
        if now >= self.silent_at() {
            return self.end(End::Silent { beats: self.beats }, false);
        }
        if self.pong_due.is_some_and(|at| now >= at) {
            return self.end(End::NoPong, false);
        }
        let late = self.requests.expire(now);
        // A missing reply may mean that the platform no longer reads us: a ping tells.
        let ask = !late.is_empty() || now >= self.ping_due();
        self.facts(late);
        if ask {
            self.ping(now);
        }
    }

    /// At most one is unanswered.
    fn ping(&mut self, now: Mono) {
        if self.pong_due.is_none() {
            self.pong_due = Some(now + self.settings.pong_deadline);
            self.outputs.push_back(Output::Send(frames::ping()));
        }
    }

    fn silent_at(&self) -> Mono {
        self.life + self.settings.heartbeat_timeout * self.patience
    }

    /// With a request in flight the doubt comes sooner.
    fn ping_due(&self) -> Mono {
        let interval = self.settings.ping_interval;
        let patience = if self.requests.in_flight() > 0 {
            interval.min(self.settings.reply_deadline / 2)
        } else {
            interval
        };
        self.heard + patience
    }

    fn end(&mut self, end: End, polite: bool) {
        self.phase = Phase::Ending(end);
        self.outputs.push_back(Output::Close { polite });
    }

    fn ended(&mut self, end: End) {
        let end = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ending(ours) => ours,
            _ => end,
        };
        self.fact(Fact::Ended(end));
    }

    fn send_waiting(&mut self, now: Mono) {
        if self.phase == Phase::Open {
            while let Some(text) = self.requests.next_message(now) {
                self.outputs.push_back(Output::Send(text));
            }
        }
    }
}

#[cfg(test)]
mod tests;
