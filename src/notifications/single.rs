//! One channel that somebody made: a thread that runs its machine
//! ([`proto::single`]), and a handle.
//!
//! ```text
//! caller ──commands──► driver ──orders──► socket thread ──► platform
//! caller ◄──items (bounded)── driver ◄──facts── socket thread ◄──
//! ```
//!
//! It decides nothing. Invariants: the driver never waits for the caller; a dropped handle
//! ends its threads.

mod driver;

pub(crate) use self::driver::parts_of;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use ring::rand::{SecureRandom, SystemRandom};

use self::driver::Driver;
use crate::clock::Clock;
use crate::dial::Connector;
use crate::error::{Error, Reason};
use crate::item::Item;
use crate::outlet::{self, Items, Limits, Outlet};
use crate::proxy::Proxy;
use crate::tls::Trust;
use crate::together::Together;
use base::cause::Cause;
use base::ids::Topic;
use base::secret::Secret;
use base::time::Wall;
use proto::connect_uri::Address;
use proto::session::SessionSettings;
use proto::single::{self, Input, Single};

/// Commands that may wait for the driver, which takes them at once.
const COMMANDS_MAX: usize = 64;
/// Facts of sockets that may wait for the driver, each of up to a MiB; the socket's thread waits
/// then.
const FACTS_MAX: usize = 64;
/// Between these is the patience without a sign of life.
pub(crate) const HEARTBEAT: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// One notification channel, for whoever has its `connectUri` and nothing else.
///
/// A blocking iterator of items: it reconnects and subscribes again by itself, extends the
/// channel's life, and opens a second socket after a closing notice. Dropping it closes the
/// socket and ends its threads.
///
/// ```
/// use genesys_notifications::{Channel, Item};
///
/// # let platform = simulator::start(simulator::Options::default())?;
/// # let uri = platform.make_channel()?;
/// let topic = "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.acw";
/// let channel = Channel::connect(&uri, [topic])?;
/// for item in &channel {
///     match item? {
///         Item::Live { topics } => {
///             assert_eq!(topics, [topic]);
///             break;
///         }
///         other => println!("{other:?}"),
///     }
/// }
/// # platform.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Channel {
    items: Items,
    commands: Sender<Input>,
    status: Arc<Mutex<Status>>,
}

/// How a [`Channel`] is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    topics: Vec<String>,
    single: single::Settings,
    session: SessionSettings,
    limits: Limits,
    ca_file: Option<PathBuf>,
    proxy: Option<Proxy>,
    ignore_errors: bool,
    name: String,
}

#[derive(Clone, Copy, Debug)]
struct Status {
    connected: bool,
    expires: Wall,
    over: bool,
}

impl Channel {
    /// Connects with the usual settings; see [`Builder::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect<T: Into<String>>(
        connect_uri: &str,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<Channel, Error> {
        Channel::builder().topics(topics).connect(connect_uri)
    }

    /// Settings to change before connecting.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            topics: Vec::new(),
            single: single::Settings::default(),
            session: SessionSettings::default(),
            limits: Limits {
                items: 1024,
                bytes: outlet::BYTES,
            },
            ca_file: None,
            proxy: None,
            ignore_errors: true,
            name: "notifications".into(),
        }
    }

    /// The next item; blocks until there is one. `None` once the channel is over and everything
    /// was told: the last item before is the error that ended it, if one did.
    pub fn recv(&self) -> Option<Result<Item, Error>> {
        self.items.recv()
    }

    /// The same, for so long at most: `Ok(None)` if nothing came.
    ///
    /// # Errors
    /// What ended the channel, or [`Reason::Closed`] once everything was told.
    pub fn recv_timeout(&self, patience: Duration) -> Result<Option<Item>, Error> {
        self.items.within(patience).unwrap_or_else(|| Err(closed()))
    }

    /// The queue of items, for `crossbeam_channel::select!`. What was lost while it was full is
    /// told up to five seconds after there is room again, and at once to whoever reads by the
    /// other ways.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Result<Item, Error>> {
        self.items.queue()
    }

    /// Subscribes topics, too. Each that is not wanted yet, in any letter case, is told
    /// [`Item::Live`] or [`Item::Refused`].
    ///
    /// # Errors
    /// [`Reason::RefusedTopic`] for a topic that cannot be one, [`Reason::Closed`] once the
    /// channel is over.
    pub fn subscribe<T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.command(Input::Subscribe(read_topics(topics)?))
    }

    /// Gives topics up. What is on its way may still come.
    ///
    /// # Errors
    /// As [`Channel::subscribe`].
    pub fn unsubscribe<T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.command(Input::Unsubscribe(read_topics(topics)?))
    }

    /// Extends the channel's life by subscribing its topics again.
    ///
    /// # Errors
    /// [`Reason::Closed`]. A refusal of the platform is told as [`Reason::ExtensionFailed`] among
    /// the items.
    pub fn extend(&self) -> Result<(), Error> {
        self.command(Input::Extend)
    }

    /// Goes over to another channel, made beforehand: once all topics are confirmed there the
    /// first socket is closed. Nothing is told twice; what the first may have missed, because it
    /// was dead already, is told as a gap. Two equal bodies of one topic within ten seconds of it
    /// may count as one event.
    ///
    /// # Errors
    /// [`Reason::BadUri`], [`Reason::Closed`]. If it does not succeed, that is told as
    /// [`Reason::RolloverFailed`] among the items.
    pub fn rollover(&self, connect_uri: &str) -> Result<(), Error> {
        self.command(Input::Rollover(address(connect_uri)?))
    }

    /// Asks the platform for a sign of life: [`Item::Heartbeat`] follows, unless there was one in
    /// the ten seconds before, or a gap.
    ///
    /// # Errors
    /// [`Reason::Closed`].
    pub fn ping(&self) -> Result<(), Error> {
        self.command(Input::Ping)
    }

    /// Ends the channel. What was told before can still be read.
    pub fn close(&self) {
        // One that is over is closed.
        let _ = self.command(Input::Close);
    }

    /// Whether its socket is open.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        lock(&self.status).connected
    }

    /// When the channel ends unless it is extended, as far as can be told without REST: a day
    /// after topics were last confirmed.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        instant(lock(&self.status).expires)
    }

    fn command(&self, command: Input) -> Result<(), Error> {
        if lock(&self.status).over {
            return Err(closed());
        }
        self.commands.send(command).map_err(|_| closed())
    }
}

impl Iterator for Channel {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl Iterator for &Channel {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = *lock(&self.status);
        f.debug_struct("Channel")
            .field("connected", &status.connected)
            .field("waiting", &self.items.len())
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Topics to subscribe from the start, each as the platform names it; combined ones
    /// (`v2.users.{id}?presence&routingStatus`) too, whose events come under the names of their
    /// parts.
    #[must_use]
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Builder {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Leaves the channel's end to the caller: [`Item::Expiring`] and [`Item::Closing`] are told,
    /// and nothing is done about them.
    #[must_use]
    pub fn manual(mut self, manual: bool) -> Builder {
        self.single.manual = manual;
        self
    }

    /// Whether one topic that is refused leaves the others of its `subscribe` alone, as the
    /// platform's `ignoreErrors=true` does; yes unless said otherwise. If not, what else its call
    /// named first is given up with it and told [`Item::Refused`], too: all or nothing, as over
    /// REST without `ignoreErrors`. Until the refusal comes the others may be live for a moment.
    #[must_use]
    pub fn ignore_errors(mut self, ignore: bool) -> Builder {
        self.ignore_errors = ignore;
        self
    }

    /// So many notifications wait for the reader at most; what comes beyond is dropped and told
    /// ([`Item::Overflow`]). 1,024 unless said otherwise.
    #[must_use]
    pub fn capacity(mut self, notifications: usize) -> Builder {
        self.limits.items = notifications;
        self
    }

    /// So many bytes wait for the reader at most, in notifications and the names of topics; a
    /// notification that is larger than this comes if nothing else waits. 16 MiB unless said
    /// otherwise.
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: usize) -> Builder {
        self.limits.bytes = bytes;
        self
    }

    /// How long a lost connection is tried for; 15 minutes unless said otherwise.
    #[must_use]
    pub fn give_up_after(mut self, patience: Duration) -> Builder {
        self.single.give_up_after = patience;
        self
    }

    /// How long before its end the channel is extended, or told to expire; an hour unless said
    /// otherwise.
    #[must_use]
    pub fn extend_before(mut self, time: Duration) -> Builder {
        self.single.extend_before = time;
        self
    }

    /// The longest time without a sign of life, after which the socket is given up, a second to a
    /// day; 40 s unless said otherwise (the platform's heartbeat comes every 30 s).
    #[must_use]
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Builder {
        self.session.heartbeat_timeout = timeout.clamp(HEARTBEAT.0, HEARTBEAT.1);
        self
    }

    /// Trusts the certificates of this PEM file instead of the machine's.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.ca_file = Some(path.into());
        self
    }

    /// Goes through this proxy, but for what is on this machine.
    #[must_use]
    pub fn proxy(mut self, proxy: Option<Proxy>) -> Builder {
        self.proxy = proxy;
        self
    }

    /// The name of its threads, of which the system shows 15 characters; `notifications` unless
    /// said otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        // A thread's name may not hold one.
        self.name = name.into().replace('\0', "");
        self
    }

    /// Connects, and waits until the socket is open; the topics are confirmed afterwards
    /// ([`Item::Live`]). A connection that is lost later is tried again by itself.
    ///
    /// # Errors
    /// The first connection fails ([`Reason::Handshake`], [`Reason::Unauthorized`],
    /// [`Reason::Forbidden`], [`Reason::Status`]), the address is none ([`Reason::BadUri`]), a
    /// topic cannot be one ([`Reason::RefusedTopic`]), or the machine lacks what it takes
    /// ([`Reason::Machine`]).
    pub fn connect(self, connect_uri: &str) -> Result<Channel, Error> {
        let connect_uri = address(connect_uri)?;
        let topics = read_topics(self.topics)?;
        let connector = connector(&load(self.ca_file.as_deref())?, self.proxy);
        let clock = Arc::new(Clock::new());
        let now = clock.now();
        let mut together = Together::new(self.ignore_errors);
        together.subscribe(&topics);
        let single = Single::new(connect_uri, topics, self.single, now, seed());
        let (outlet, items) = Outlet::new(self.limits);
        let (commands, taken) = bounded(COMMANDS_MAX);
        let (facts, heard) = bounded(FACTS_MAX);
        let (met, first) = bounded(1);
        let status = Arc::new(Mutex::new(Status {
            connected: false,
            expires: single.expires(),
            over: false,
        }));
        let driver = Driver {
            single,
            session: self.session,
            connector,
            clock,
            commands: taken,
            facts,
            heard,
            sockets: BTreeMap::new(),
            opened: BTreeSet::new(),
            outlet,
            live: BTreeSet::new(),
            together,
            status: Arc::clone(&status),
            met: Some(met),
            over: false,
            name: self.name.clone(),
        };
        let thread = std::thread::Builder::new().name(self.name);
        thread
            .spawn(move || driver.run())
            .map_err(|e| Error::caused(Reason::Machine, "no thread can be started", e))?;
        match first.recv() {
            Ok(Ok(())) => Ok(Channel {
                items,
                commands,
                status,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(closed()),
        }
    }
}

fn lock(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::new(Reason::Closed, "the channel is closed")
}

pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Jitter that others could guess does no harm.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

pub(crate) fn instant(wall: Wall) -> SystemTime {
    let millis = Duration::from_millis(u64::try_from(wall.0).unwrap_or(0));
    UNIX_EPOCH.checked_add(millis).unwrap_or(UNIX_EPOCH)
}

fn address(connect_uri: &str) -> Result<Secret, Error> {
    match Address::parse(connect_uri) {
        Some(_) => Ok(Secret::new(connect_uri)),
        None => Err(Error::new(
            Reason::BadUri,
            "the connectUri is no wss or ws address",
        )),
    }
}

/// Names have at most 200 characters (protocol, section 12), and none that would break a message.
pub(crate) fn read_topics<T: Into<String>>(
    topics: impl IntoIterator<Item = T>,
) -> Result<Vec<Topic>, Error> {
    let read = |topic: T| {
        let name: String = topic.into();
        let fine =
            !name.is_empty() && name.len() <= 200 && name.bytes().all(|b| b.is_ascii_graphic());
        match fine {
            true => Ok(Topic::new(&name)),
            false => Err(Error::new(
                Reason::RefusedTopic,
                format!("{name:?} is no name of a topic: 1 to 200 visible ASCII characters"),
            )),
        }
    };
    topics.into_iter().map(read).collect()
}

/// The certificates of a PEM file, or the machine's.
pub(crate) fn load(ca_file: Option<&Path>) -> Result<Trust, Error> {
    Trust::load(ca_file)
        .map_err(|e| Error::caused(Reason::Machine, "the certificates cannot be used", e))
}

pub(crate) fn connector(trust: &Trust, proxy: Option<Proxy>) -> Arc<Connector> {
    // Who needs no TLS needs no roots.
    let connector = Connector::new(trust.rustls().map_err(|_| Cause::NoRoots));
    connector.proxy.set(proxy);
    Arc::new(connector)
}
