//! The loop: the one thread that owns the core.
//!
//! It takes events from one bounded queue, hands each to the core, obeys what
//! comes out, and waits until the next event or deadline. It holds no opinion:
//! what to do is decided by [`Gateway`], what a notice looks like by
//! [`super::journal`].
//!
//! ```text
//! callers, channel threads, rest, store, forwarders ──► events (4,096) ──► loop
//! loop ──► orders of each thread (bounded by what the core leaves unanswered)
//! ```
//!
//! Invariants: the loop never blocks but in waiting for events; it never sends
//! into a queue that could be full, because the core bounds what it leaves
//! unanswered and every queue holds that much; workers may block on the loop,
//! never the other way round, so that the graph of queues has no cycle of waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use super::forward::ForwardPool;
use super::journal::Journal;
use super::published::Published;
use super::standing::Standing;
use crate::gateway::{Gateway, Input, Output};
use base::cause::Cause;
use base::rows::StoreOrder;
use base::secret::Secret;
use base::time::Mono;
use filing::{Answer, CallerId, CallerRequest, Farewell};
use notifications::clock::Clock;
use notifications::dial::Connector;
use notifications::rest::{Job, RestPool};
use notifications::socket_thread::{self, ChannelHandle, ChannelThread};
use proto::rest;
use proto::session::{self, End, SessionSettings, SocketRef};

/// Events that may wait for the loop. Full: callers are answered 503, workers wait.
pub const EVENTS_MAX: usize = 4096;

/// Orders that may wait for the store thread: one of each kind, and the core has at most those outstanding.
pub const STORE_ORDERS_MAX: usize = 4;

/// Events handled before the clock, the snapshot and the watchdog are looked at again.
const EVENTS_PER_TURN: usize = 256;

/// The loop turns at least this often, and publishes a snapshot unless that costs too much.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

/// After something happened it is published this soon.
const PUBLISH_SOON: Duration = Duration::from_millis(100);

/// But a snapshot may not take a larger part of the loop's time than one in so many.
const PUBLISH_SHARE: u32 = 20;

/// What was left out of the journal is looked after this often.
const SETTLE_EVERY: Duration = Duration::from_secs(10);

/// A request that lies in the queue is either taken by the loop or withdrawn by whoever put
/// it there, never both.
#[derive(Clone, Default)]
pub struct Claim(Arc<AtomicBool>);

impl Claim {
    /// True for the first of the two who asks.
    #[must_use]
    pub fn first(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// One thing that happened, for the loop.
pub enum Event {
    /// A caller waits for an answer on its queue of one.
    Caller {
        /// What it asks.
        request: CallerRequest,
        /// Whether it is still to be taken.
        claim: Claim,
        /// Where it waits.
        reply: Sender<Answer>,
    },
    /// A fact for the core.
    Core(Input),
    /// Stop in an orderly way.
    Stop,
}

/// What the loop drives.
pub struct Hands {
    /// The clocks.
    pub clock: Arc<Clock>,
    /// Where channel threads put their facts.
    pub events: Sender<Event>,
    /// Which shard this is, where there is more than one; else empty.
    pub shard: String,
    /// Its place among the shards.
    pub place: usize,
    /// How its client stands with the platform.
    pub standing: Arc<Standing>,
    /// The store thread.
    pub store: Sender<store::thread::Ask>,
    /// The REST workers.
    pub rest: RestPool,
    /// The forwarders.
    pub forward: ForwardPool,
    /// How sockets are opened.
    pub connector: Arc<Connector>,
    /// How patient sessions are.
    pub session: SessionSettings,
    /// What others may see of the core.
    pub published: Arc<Published>,
    /// Called once a turn: feeds the watchdog.
    pub turned: Box<dyn FnMut(&Published) + Send>,
    /// How long a stop may take until what is under way is left to the next start.
    pub stop_within: Duration,
}

struct Loop {
    gateway: Gateway,
    hands: Hands,
    journal: Journal,
    sockets: BTreeMap<SocketRef, ChannelHandle>,
    callers: BTreeMap<CallerId, Sender<Answer>>,
    last_caller: u64,
    /// Facts that the loop found out itself, before the next event.
    found: VecDeque<Input>,
    /// Orders to the store that are not answered.
    store_outstanding: usize,
    posts_outstanding: usize,
    stopping: Option<Instant>,
    published_at: Option<Mono>,
    /// Something happened since the snapshot was published.
    news: bool,
    /// How long to wait between two snapshots while things happen.
    pause: Duration,
    settled_at: Mono,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Nothing that was under way was cut short.
    pub whole: bool,
    /// What is not on disk.
    pub farewell: Farewell,
}

impl Ended {
    /// Of both.
    #[must_use]
    pub fn and(self, other: Ended) -> Ended {
        let (a, b) = (self.farewell, other.farewell);
        Ended {
            whole: self.whole && other.whole,
            farewell: Farewell {
                rebuilt: a.rebuilt + b.rebuilt,
                gone: a.gone + b.gone,
                under_way: a.under_way + b.under_way,
                outcomes: a.outcomes + b.outcomes,
                states: a.states + b.states,
                unknown: a.unknown + b.unknown,
                refused: a.refused + b.refused,
                trouble: a.trouble.or(b.trouble),
            },
        }
    }
}

/// How long workers and channel threads are waited for at the end.
pub(super) const WORKERS_STOP: Duration = Duration::from_secs(2);

/// Runs until it is told to stop and everything under way has ended, or until the
/// stop has taken too long; then ends the workers and the channel threads.
pub fn run(gateway: Gateway, events: Receiver<Event>, hands: Hands) -> Ended {
    let mut this = Loop {
        gateway,
        journal: Journal::of(&hands.shard),
        hands,
        sockets: BTreeMap::new(),
        callers: BTreeMap::new(),
        last_caller: 0,
        found: VecDeque::new(),
        store_outstanding: 0,
        posts_outstanding: 0,
        stopping: None,
        published_at: None,
        news: false,
        pause: PUBLISH_SOON,
        settled_at: Mono(0),
    };
    this.obey();
    let whole = this.run(&events);
    let farewell = this.gateway.leave(this.hands.clock.now());
    this.obey();
    this.end(events);
    Ended { whole, farewell }
}

impl Loop {
    fn run(&mut self, events: &Receiver<Event>) -> bool {
        loop {
            self.publish();
            let now = self.hands.clock.now();
            let due = self
                .gateway
                .next_deadline(now)
                .map_or(Mono::NEVER, |d| d.at);
            let wait = self
                .hands
                .clock
                .until(due)
                .min(self.publish_in(now.mono))
                .min(PUBLISH_EVERY);
            let mut event = match events.recv_timeout(wait) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                // Nobody can tell the loop anything any more.
                Err(RecvTimeoutError::Disconnected) => return true,
            };
            let mut budget = EVENTS_PER_TURN;
            while let Some(taken) = event {
                self.take(taken);
                budget -= 1;
                event = if budget > 0 {
                    events.try_recv().ok()
                } else {
                    None
                };
            }
            let now = self.hands.clock.now();
            // What was due before the wait is due: some deadlines are named only while they
            // lie ahead.
            let next = self.gateway.next_deadline(now);
            if due <= now.mono || next.is_some_and(|d| d.at <= now.mono) {
                self.gateway.handle(Input::Tick, now);
                self.obey();
                self.news = true;
            }
            if let Some(until) = self.stopping {
                let idle = self.store_outstanding == 0
                    && self.posts_outstanding == 0
                    && self.callers.is_empty()
                    && !self.gateway.filing().uncommitted();
                if idle || Instant::now() >= until {
                    return idle;
                }
            }
        }
    }

    /// Ends the threads that the loop drives. Sockets close, channels live on: the
    /// next start re-attaches to them.
    fn end(self, events: Receiver<Event>) {
        // Whoever reports from here on finds nobody, and does not wait.
        drop(events);
        let deadline = Instant::now() + WORKERS_STOP;
        for handle in self.sockets.values() {
            let _ = handle.send(session::Order::Close);
        }
        for handle in self.sockets.into_values() {
            handle.join(deadline);
        }
        self.hands.forward.abort(deadline);
        self.hands.rest.stop(deadline);
    }

    fn take(&mut self, event: Event) {
        let now = self.hands.clock.now();
        let input = match event {
            Event::Caller {
                request,
                claim,
                reply,
            } => {
                if !claim.first() {
                    return;
                }
                self.last_caller += 1;
                let caller = CallerId(self.last_caller);
                self.callers.insert(caller, reply);
                Input::Caller { caller, request }
            }
            Event::Core(input) => {
                match &input {
                    Input::Store(_) => {
                        self.store_outstanding = self.store_outstanding.saturating_sub(1)
                    }
                    Input::Posted { .. } => {
                        self.posts_outstanding = self.posts_outstanding.saturating_sub(1)
                    }
                    Input::Session {
                        socket,
                        fact: session::Fact::Ended(_),
                    } => {
                        self.sockets.remove(socket);
                    }
                    Input::Answered { call, outcome } => {
                        self.hands.standing.answered(*call, outcome);
                    }
                    _ => {}
                }
                input
            }
            Event::Stop => {
                if self.stopping.is_none() {
                    self.stopping = Some(Instant::now() + self.hands.stop_within);
                    // Nothing more is taken from the platform: what is there goes to disk, and
                    // the next start asks about the rest.
                    for handle in self.sockets.values() {
                        let _ = handle.send(session::Order::Close);
                    }
                }
                Input::Stop
            }
        };
        let from_platform = matches!(input, Input::Session { .. } | Input::Answered { .. });
        if from_platform && self.stopping.is_some() {
            return;
        }
        self.gateway.handle(input, now);
        self.obey();
        self.news = true;
    }

    fn obey(&mut self) {
        loop {
            while let Some(output) = self.gateway.poll_output() {
                self.one(output);
            }
            let Some(input) = self.found.pop_front() else {
                return;
            };
            let now = self.hands.clock.now();
            self.gateway.handle(input, now);
        }
    }

    fn one(&mut self, output: Output) {
        match output {
            Output::Answer(caller, answer) => {
                if let Some(reply) = self.callers.remove(&caller) {
                    // A caller that has given up waiting has dropped its end.
                    let _ = reply.try_send(answer);
                }
            }
            // While stopping nothing new is tried: the next start does.
            Output::Post { .. } | Output::Call { .. } | Output::OpenSocket { .. }
                if self.stopping.is_some() => {}
            Output::OpenSocket {
                socket,
                connect_uri,
            } => self.open(socket, connect_uri),
            Output::Session { socket, order } => {
                if let Some(handle) = self.sockets.get(&socket)
                    && handle.send(order).is_err()
                {
                    // A thread that has not taken 256 orders is stuck: drop it, say so to the core.
                    self.sockets.remove(&socket);
                    let fact =
                        session::Fact::Ended(End::Broken("its thread took no orders".into()));
                    self.found.push_back(Input::Session { socket, fact });
                }
            }
            Output::Call { call, op, token } => {
                self.hands.standing.asked(call, op.kind());
                if self
                    .hands
                    .rest
                    .send(Job {
                        ticket: call.0,
                        op,
                        token,
                    })
                    .is_err()
                {
                    let result = Err(rest::Failure::NoAnswer(base::wire::NoAnswer::NotSent));
                    self.found.push_back(Input::Answered {
                        call,
                        outcome: rest::Outcome {
                            result,
                            limits: None,
                            retry_after: None,
                        },
                    });
                }
            }
            Output::Store(order) => {
                self.hands
                    .published
                    .board()
                    .ordered(self.hands.place, &order);
                match self.hands.store.try_send(self.own(order)) {
                    Ok(()) => {
                        self.store_outstanding += 1;
                        self.hands.published.store_ordered();
                    }
                    Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                        // The core has at most one order of each kind outstanding; the thread is gone or we have a bug.
                        log::error!("the store thread takes no orders; stopping");
                        self.stopping = Some(Instant::now());
                    }
                }
            }
            Output::Post { record } => {
                if self.hands.forward.send(record).is_ok() {
                    self.posts_outstanding += 1;
                } else {
                    let outcome = filing::PostOutcome::NoAnswer(base::wire::NoAnswer::NotSent);
                    self.found.push_back(Input::Posted { record, outcome });
                }
            }
            Output::Notice(notice) => self.journal.write(&notice, self.hands.clock.now().mono),
        }
    }

    fn own(&self, order: StoreOrder) -> store::thread::Ask {
        store::thread::Ask::Order(self.hands.place, order)
    }

    /// The system keeps 15 bytes: the number of the slot is the last of them.
    fn thread_name(&self, slot: u8) -> String {
        match self.hands.shard.as_str() {
            "" => socket_thread::name_of(slot),
            shard => format!("{shard:.12}-{slot:02}"),
        }
    }

    fn open(&mut self, socket: SocketRef, connect_uri: Secret) {
        let events = self.hands.events.clone();
        let thread = ChannelThread {
            socket,
            connect_uri,
            session: self.hands.session,
            connector: self.hands.connector.clone(),
            facts: Box::new(move |socket, fact| {
                // Blocks while the loop is busy; fails only when the loop has ended.
                let _ = events.send(Event::Core(Input::Session { socket, fact }));
            }),
            clock: self.hands.clock.clone(),
            name: self.thread_name(socket.slot),
            farewell: socket_thread::FAREWELL,
        };
        match socket_thread::spawn(thread) {
            Ok(handle) => {
                self.sockets.insert(socket, handle);
            }
            Err(error) => {
                let fact = session::Fact::Ended(End::NotConnected {
                    cause: Cause::Machine,
                    detail: format!("no thread: {error}"),
                });
                self.found.push_back(Input::Session { socket, fact });
            }
        }
    }

    /// When the next snapshot is due.
    fn publish_in(&self, now: Mono) -> Duration {
        let every = if self.news {
            self.pause
        } else {
            self.pause.max(PUBLISH_EVERY)
        };
        self.published_at
            .map_or(Duration::ZERO, |t| every.saturating_sub(now.since(t)))
    }

    fn publish(&mut self) {
        let now = self.hands.clock.now();
        if self.publish_in(now.mono).is_zero() {
            let began = Instant::now();
            self.hands.published.update(&self.gateway, now);
            self.pause = pause_after(began.elapsed());
            self.published_at = Some(now.mono);
            self.news = false;
        }
        if now.mono.since(self.settled_at) >= SETTLE_EVERY {
            self.settled_at = now.mono;
            self.journal.settle(now.mono);
        }
        self.hands.published.turned(now.mono);
        (self.hands.turned)(&self.hands.published);
    }
}

/// How long no other snapshot is taken after one that took so long.
fn pause_after(took: Duration) -> Duration {
    (took * PUBLISH_SHARE).max(PUBLISH_SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_takes_one_part_in_twenty_of_the_loop_however_long_it_takes() {
        for ms in [0, 1, 5, 24, 26, 100, 700, 5_000] {
            let took = Duration::from_millis(ms);
            let pause = pause_after(took);
            assert!(took * PUBLISH_SHARE <= pause, "{took:?}: {pause:?}");
            assert!(pause >= PUBLISH_SOON);
        }
    }
}
