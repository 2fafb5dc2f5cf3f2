//! The core: both halves joined.
//!
//! Filing's orders to watch, to give up and to ask go to the platform client;
//! what the client has to tell goes to filing; everything else goes out. Pure,
//! like its halves: [`Gateway::handle`] one fact, drain
//! [`Gateway::poll_output`] until it is empty, then wait until
//! [`Gateway::next_deadline`] at the latest.
//!
//! Invariants: the two halves meet nowhere else; at most one order of each
//! kind is outstanding at the store.

use std::collections::VecDeque;
use std::time::Duration;

use base::ids::RecordId;
use base::notice::Notice;
use base::rows::{ChannelRow, Recovered, StoreFact, StoreOrder};
use base::secret::Secret;
use base::time::{Alarm, Deadline, Mono, Now};
use filing::{Answer, CallerId, CallerRequest, Filing, PlatformFact, PostOutcome};
use proto::session::{self, SocketRef};
use proto::{CallId, Client, rest};

// While the disk holds everything up, each topic of all channels can announce twice.
const _: () = assert!(
    filing::settings::UNCOMMITTED_RECORDS_MAX
        >= 2 * proto::limits::CHANNELS_MAX as usize * proto::limits::TOPICS_PER_CHANNEL_MAX
);

/// What the operator decides about the core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[channels]`.
    pub platform: proto::Settings,
    /// `[tracking]`, `[history]` and `[store]`, as far as they are decisions.
    pub filing: filing::Settings,
}

/// Everything that can happen.
#[derive(Clone, PartialEq)]
pub enum Input {
    /// A caller waits for an answer.
    Caller {
        /// Who.
        caller: CallerId,
        /// What.
        request: CallerRequest,
    },
    /// From a channel's thread.
    Session {
        /// Which socket.
        socket: SocketRef,
        /// What happened there.
        fact: session::Fact,
    },
    /// A REST call has ended.
    Answered {
        /// Which.
        call: CallId,
        /// How.
        outcome: rest::Outcome,
    },
    /// From the store.
    Store(StoreFact),
    /// A try to file a record has ended.
    Posted {
        /// Which record.
        record: RecordId,
        /// How.
        outcome: PostOutcome,
    },
    /// Secrets or keys of the platform were read again.
    OtherCredentials,
    /// Time has passed.
    Tick,
    /// The run is going to end: let nothing more in, and commit what is there. The end itself
    /// is [`Gateway::leave`].
    Stop,
}

/// Everything that can be ordered.
#[derive(Clone, PartialEq)]
pub enum Output {
    /// Tell a caller.
    Answer(CallerId, Answer),
    /// Connect a socket in a thread of its own.
    OpenSocket {
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
        order: session::Order,
    },
    /// Make a REST call.
    Call {
        /// Its name.
        call: CallId,
        /// What to ask.
        op: rest::Op,
        /// The bearer token, for all but the token call.
        token: Option<Secret>,
    },
    /// For the store: at most one commit, one lookup and one set of channels outstanding.
    Store(StoreOrder),
    /// File a record; at most `workers` outstanding.
    Post {
        /// Which record.
        record: RecordId,
    },
    /// For people.
    Notice(Notice),
}

/// Channels that could not be kept are tried again after this.
const KEEP_AGAIN: Duration = Duration::from_secs(5);

/// The channels to keep for a restart, one order outstanding.
#[derive(Default)]
struct Kept {
    wanted: Option<Vec<ChannelRow>>,
    outstanding: Option<(u64, Vec<ChannelRow>)>,
    ticket: u64,
    not_before: Mono,
}

impl Kept {
    fn next(&mut self, now: Mono) -> Option<StoreOrder> {
        if self.outstanding.is_some() || self.not_before > now {
            return None;
        }
        let rows = self.wanted.take()?;
        self.ticket += 1;
        self.outstanding = Some((self.ticket, rows.clone()));
        Some(StoreOrder::Channels {
            ticket: self.ticket,
            rows,
        })
    }

    /// The store has kept them.
    fn done(&mut self, ticket: u64) -> Option<Vec<ChannelRow>> {
        let (_, rows) = self.outstanding.take_if(|(t, _)| *t == ticket)?;
        Some(rows)
    }

    fn failed(&mut self, ticket: u64, now: Mono) {
        if let Some(rows) = self.done(ticket) {
            self.not_before = now + KEEP_AGAIN;
            self.wanted.get_or_insert(rows);
        }
    }
}

/// What the platform client has to tell, in filing's words.
fn heard(fact: proto::Fact) -> PlatformFact {
    match fact {
        proto::Fact::Live { topic } => PlatformFact::Live { topic },
        proto::Fact::Gap { topics, cause } => PlatformFact::Gap { topics, cause },
        proto::Fact::Refused { topic, detail } => PlatformFact::Refused { topic, detail },
        proto::Fact::Short { known, others } => PlatformFact::Short { known, others },
        proto::Fact::Event { topic, body, .. } => PlatformFact::Event { topic, body },
        proto::Fact::Fetched {
            fetch,
            asked_at,
            outcome,
        } => PlatformFact::Fetched {
            fetch,
            asked_at,
            outcome,
        },
    }
}

/// The core. See the [module](self).
pub struct Gateway {
    platform: Client,
    filing: Filing,
    kept: Kept,
    out: VecDeque<Output>,
    alarm: Alarm,
}

impl Gateway {
    /// The core as it goes on from what the store holds.
    #[must_use]
    pub fn new(settings: Settings, recovered: &Recovered, now: Now, seed: u64) -> Gateway {
        let mut gateway = Gateway {
            platform: Client::new(settings.platform, &recovered.channels, now, seed),
            filing: Filing::new(settings.filing, recovered, now, seed ^ 0x66_69_6c_69_6e_67),
            kept: Kept::default(),
            out: VecDeque::new(),
            alarm: Alarm::default(),
        };
        gateway.pump(now);
        gateway
    }

    /// Takes in one fact. Drain [`Gateway::poll_output`] before the next.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Caller { caller, request } => self
                .filing
                .handle(filing::Fact::Caller { caller, request }, now),
            Input::Posted { record, outcome } => self
                .filing
                .handle(filing::Fact::Posted { record, outcome }, now),
            Input::Session { socket, fact } => self
                .platform
                .handle(proto::Input::Session { socket, fact }, now),
            Input::Answered { call, outcome } => self
                .platform
                .handle(proto::Input::Answered { call, outcome }, now),
            Input::Store(StoreFact::ChannelsKept { ticket }) => {
                if let Some(rows) = self.kept.done(ticket) {
                    self.platform.handle(proto::Input::Kept(rows), now);
                }
            }
            Input::Store(StoreFact::ChannelsFailed { ticket, .. }) => {
                self.kept.failed(ticket, now.mono)
            }
            Input::Stop => self.filing.handle(filing::Fact::Stop, now),
            Input::Store(fact) => self.filing.handle(filing::Fact::Store(fact), now),
            Input::OtherCredentials => self.platform.handle(proto::Input::OtherCredentials, now),
            Input::Tick => {
                self.platform.handle(proto::Input::Tick, now);
                self.pump(now);
                self.filing.handle(filing::Fact::Tick, now);
                self.pump(now);
                self.alarm.obeyed(self.due(now), now.mono);
                return;
            }
        }
        self.pump(now);
    }

    /// Carries what one half says to the other until neither has anything to say.
    fn pump(&mut self, now: Now) {
        loop {
            if let Some(output) = self.platform.poll_output() {
                match output {
                    proto::Output::Fact(fact) => {
                        self.filing.handle(filing::Fact::Platform(heard(fact)), now)
                    }
                    proto::Output::Keep(rows) => self.kept.wanted = Some(rows),
                    proto::Output::OpenSocket {
                        socket,
                        connect_uri,
                    } => {
                        self.out.push_back(Output::OpenSocket {
                            socket,
                            connect_uri,
                        });
                    }
                    proto::Output::Session { socket, order } => {
                        self.out.push_back(Output::Session { socket, order })
                    }
                    proto::Output::Call { call, op, token } => {
                        self.out.push_back(Output::Call { call, op, token })
                    }
                    proto::Output::Notice(notice) => self.out.push_back(Output::Notice(notice)),
                }
            } else if let Some(order) = self.filing.poll_output() {
                match order {
                    filing::Order::Watch(topic) => {
                        self.platform.handle(proto::Input::Watch(topic), now)
                    }
                    filing::Order::Unwatch(topic) => {
                        self.platform.handle(proto::Input::Unwatch(topic), now)
                    }
                    filing::Order::Prefer(topic) => {
                        self.platform.handle(proto::Input::Prefer(topic), now)
                    }
                    filing::Order::GiveWay(topics) => {
                        self.platform.handle(proto::Input::GiveWay(topics), now)
                    }
                    filing::Order::Fetch(fetch) => {
                        self.platform.handle(proto::Input::Fetch(fetch), now)
                    }
                    filing::Order::Answer(caller, answer) => {
                        self.out.push_back(Output::Answer(caller, answer))
                    }
                    filing::Order::Store(order) => self.out.push_back(Output::Store(order)),
                    filing::Order::Post { record } => self.out.push_back(Output::Post { record }),
                    filing::Order::Notice(notice) => self.out.push_back(Output::Notice(notice)),
                }
            } else {
                break;
            }
        }
        if let Some(order) = self.kept.next(now.mono) {
            self.out.push_back(Output::Store(order));
        }
    }

    /// The next order; `None` when everything has been said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to come back at the latest with [`Input::Tick`], and why.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Option<Deadline> {
        self.alarm.kept(self.due(now))
    }

    /// Checks that no deadline of either half lies in the past.
    ///
    /// # Errors
    /// Never in a correct program: the sentence names the defect.
    pub fn audit(&self) -> Result<(), String> {
        self.alarm.audit()
    }

    fn due(&self, now: Now) -> Option<Deadline> {
        let halves = Deadline::sooner(
            self.platform.next_deadline(now),
            self.filing.next_deadline(),
        );
        let keep = self
            .kept
            .wanted
            .as_ref()
            .filter(|_| self.kept.outstanding.is_none());
        Deadline::sooner(
            halves,
            keep.map(|_| Deadline {
                at: self.kept.not_before,
                why: "channels to keep",
            }),
        )
    }

    /// The run ends now: answers whoever still waits ([`Gateway::poll_output`]), and tells what
    /// is not on disk.
    pub fn leave(&mut self, now: Now) -> filing::Farewell {
        let farewell = self.filing.leave(now);
        self.pump(now);
        farewell
    }

    /// The platform client, for snapshots and checkers.
    #[must_use]
    pub fn platform(&self) -> &Client {
        &self.platform
    }

    /// The filing half, for snapshots and checkers.
    #[must_use]
    pub fn filing(&self) -> &Filing {
        &self.filing
    }
}

#[cfg(test)]
mod tests;
