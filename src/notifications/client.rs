//! Any number of topics on as many channels as they need: a thread that runs the platform
//! client ([`proto::Client`]), and a handle.
//!
//! ```text
//! caller ──commands──► driver ──orders──► socket threads ─► platform
//!                        │ ▲ ──calls───► REST workers ────►
//! caller ◄──items (bounded)──┘ ◄──facts and answers── both
//! ```
//!
//! It decides nothing. Invariants: the driver never waits for the caller; a dropped handle
//! ends its threads.

mod driver;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::driver::Driver;
use crate::available::{Asking, AvailableTopic};
use crate::bearer::Bearer;
use crate::clock::Clock;
use crate::credentials::{Credentials, Grant};
use crate::error::{Error, Reason};
use crate::item::Item;
use crate::keeper::{Forgetful, Keeper};
use crate::outlet::{self, Items, Limits, Outlet};
use crate::proxy::Proxy;
use crate::rest::{self, HttpSettings, RestPool, RestWorkers};
use crate::single::{HEARTBEAT, connector, load, read_topics, seed};
use crate::tls::Trust;
use crate::together::Together;
use base::ids::Topic;
use base::secret::Secret;
use proto::connect_uri::Streaming;
use proto::limits::{CHANNELS_MAX, TOPICS_PER_CHANNEL_MAX};
use proto::rest::{Endpoints, Outcome};
use proto::session::{self, SessionSettings, SocketRef};
use proto::twins::Twins;

/// Commands that may wait for the driver, which takes them at once.
const COMMANDS_MAX: usize = 64;
/// Facts and answers that may wait for the driver, each of up to a MiB; whoever brings them waits
/// then.
const EVENTS_MAX: usize = 64;
/// REST workers: two are enough for 300 requests a minute.
const WORKERS: usize = 2;

/// Any number of topics, up to 20,000, for whoever has credentials: token, channels, limits,
/// hand-over and gaps are seen to.
///
/// A blocking iterator of items, of all topics in one stream. Dropping it ends its threads. Its
/// channels stay on the platform until they expire, and count among the twenty: a [`Keeper`]
/// has the next run take them over.
///
/// ```
/// use genesys_notifications::{Client, Item};
///
/// # let platform = simulator::start(simulator::Options::default())?;
/// # let (api, login) = (&platform.api_url, &platform.login_url);
/// # let (id, secret) = (&platform.client_id, &platform.client_secret);
/// let client = Client::builder()
///     .hosts(api, login) // or .region("mypurecloud.de")
///     .client_credentials(id, secret)
///     .connect()?;
/// let topic = "v2.detail.events.conversation.7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47.acw";
/// client.subscribe([topic])?;
/// for item in &client {
///     match item? {
///         Item::Live { topics } => {
///             assert_eq!(topics, [topic]);
///             break;
///         }
///         other => println!("{other:?}"),
///     }
/// }
/// # drop(client);
/// # platform.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Client {
    items: Items,
    commands: Sender<Command>,
    over: Arc<AtomicBool>,
    asking: Asking,
}

enum Command {
    Subscribe(Vec<Topic>),
    Unsubscribe(Vec<Topic>),
    Close,
}

enum Event {
    Session(SocketRef, session::Fact),
    Answered(u64, Outcome),
}

/// How a [`Client`] is to be.
pub struct ClientBuilder {
    api_url: String,
    login_url: String,
    domain: String,
    streaming_hosts: Vec<String>,
    login: Option<(String, Secret, Grant)>,
    channels: u8,
    topics_per_channel: usize,
    session: SessionSettings,
    limits: Limits,
    trust: Option<Trust>,
    ca_file: Option<PathBuf>,
    proxy: Option<Proxy>,
    keeper: Box<dyn Keeper>,
    ignore_errors: bool,
    name: String,
}

impl Client {
    /// Settings; at least credentials are needed.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        let builder = ClientBuilder {
            api_url: String::new(),
            login_url: String::new(),
            domain: String::new(),
            streaming_hosts: Vec::new(),
            login: None,
            channels: CHANNELS_MAX,
            topics_per_channel: TOPICS_PER_CHANNEL_MAX,
            session: SessionSettings::default(),
            limits: Limits {
                items: 4096,
                bytes: outlet::BYTES,
            },
            trust: None,
            ca_file: None,
            proxy: None,
            keeper: Box::new(Forgetful),
            ignore_errors: true,
            name: "notifications".into(),
        };
        builder.region("mypurecloud.com")
    }

    /// The next item; blocks until there is one. `None` once the client is closed and everything
    /// was told.
    pub fn recv(&self) -> Option<Result<Item, Error>> {
        self.items.recv()
    }

    /// The same, for so long at most: `Ok(None)` if nothing came.
    ///
    /// # Errors
    /// A failure that was told, or [`Reason::Closed`] once everything was told.
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
    /// [`Item::Live`] or [`Item::Refused`]; those for which there is no place wait for one.
    ///
    /// # Errors
    /// [`Reason::RefusedTopic`] for a topic that cannot be one, [`Reason::Closed`].
    pub fn subscribe<T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.command(Command::Subscribe(read_topics(topics)?))
    }

    /// Gives topics up. What is on its way may still come.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub fn unsubscribe<T: Into<String>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.command(Command::Unsubscribe(read_topics(topics)?))
    }

    /// The topics that the platform offers, with the permissions that each requires; schemas are
    /// left out. Asked anew each time, in the caller's thread, with the client's own token: waits
    /// for that, and tries again what may pass by itself (429 with its `Retry-After`, 5xx, no
    /// answer), for so long at most. It costs one of the 300 requests a minute.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let platform = simulator::start(simulator::Options::default())?;
    /// # let client = genesys_notifications::Client::builder()
    /// #     .hosts(&platform.api_url, &platform.login_url)
    /// #     .client_credentials(&platform.client_id, &platform.client_secret)
    /// #     .connect()?;
    /// for topic in client.available_topics(Duration::from_secs(30))? {
    ///     if topic.on_websocket() {
    ///         println!("{} requires {:?}", topic.name, topic.permissions);
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Reason::Login`] if no token can be had, [`Reason::Unauthorized`], [`Reason::Forbidden`],
    /// [`Reason::Status`] or [`Reason::BadMessage`] by the answer, [`Reason::Handshake`] if there
    /// is none, [`Reason::Closed`].
    pub fn available_topics(&self, patience: Duration) -> Result<Vec<AvailableTopic>, Error> {
        self.asking.available(patience)
    }

    /// Ends it. What was told before can still be read.
    pub fn close(&self) {
        // One that is over is closed.
        let _ = self.command(Command::Close);
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        if self.over.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.commands.send(command).map_err(|_| closed())
    }
}

impl Iterator for Client {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl Iterator for &Client {
    type Item = Result<Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("over", &self.over)
            .field("waiting", &self.items.len())
            .finish_non_exhaustive()
    }
}

/// Credentials are not shown.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("api_url", &self.api_url)
            .field("channels", &self.channels)
            .field("topics_per_channel", &self.topics_per_channel)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The region's domain, such as `mypurecloud.de`; `mypurecloud.com` unless said otherwise.
    #[must_use]
    pub fn region(mut self, domain: &str) -> ClientBuilder {
        self.api_url = format!("https://api.{domain}");
        self.login_url = format!("https://login.{domain}");
        self.domain = domain.to_owned();
        self
    }

    /// Other hosts for API and login than the region's, each `https://` and a host, without a
    /// slash at the end.
    #[must_use]
    pub fn hosts(mut self, api_url: &str, login_url: &str) -> ClientBuilder {
        self.api_url = api_url.to_owned();
        self.login_url = login_url.to_owned();
        self
    }

    /// Hosts where channels may lead besides the region's and the API's own; `*.` before a domain
    /// for all below it.
    #[must_use]
    pub fn streaming_hosts<T: Into<String>>(
        mut self,
        hosts: impl IntoIterator<Item = T>,
    ) -> ClientBuilder {
        self.streaming_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Signs in as an OAuth client with its secret alone.
    #[must_use]
    pub fn client_credentials(self, client_id: &str, client_secret: &str) -> ClientBuilder {
        self.grant(client_id, client_secret, Grant::ClientCredentials)
    }

    /// Signs in as an OAuth client by any of its grants.
    #[must_use]
    pub fn grant(mut self, client_id: &str, client_secret: &str, grant: Grant) -> ClientBuilder {
        self.login = Some((client_id.to_owned(), Secret::new(client_secret), grant));
        self
    }

    /// Channels at most, 1 to 20, which is also what the platform allows one client. Others of
    /// the same client count there, too.
    #[must_use]
    pub fn max_channels(mut self, channels: u8) -> ClientBuilder {
        self.channels = channels.clamp(1, CHANNELS_MAX);
        self
    }

    /// Topics on one channel at most, 1 to 1,000.
    #[must_use]
    pub fn topics_per_channel(mut self, topics: usize) -> ClientBuilder {
        self.topics_per_channel = topics.clamp(1, TOPICS_PER_CHANNEL_MAX);
        self
    }

    /// Whether one topic that is refused leaves the others of its `subscribe` alone, as the
    /// platform's `ignoreErrors=true` does; yes unless said otherwise. If not, what else its call
    /// named first is given up with it and told [`Item::Refused`], too: all or nothing, as over
    /// REST without `ignoreErrors`. Until the refusal comes the others may be live for a moment.
    #[must_use]
    pub fn ignore_errors(mut self, ignore: bool) -> ClientBuilder {
        self.ignore_errors = ignore;
        self
    }

    /// So many notifications wait for the reader at most; what comes beyond is dropped and told
    /// ([`Item::Overflow`]). 4,096 unless said otherwise.
    #[must_use]
    pub fn capacity(mut self, notifications: usize) -> ClientBuilder {
        self.limits.items = notifications;
        self
    }

    /// So many bytes wait for the reader at most, in notifications and the names of topics; a
    /// notification that is larger than this comes if nothing else waits. 16 MiB unless said
    /// otherwise.
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: usize) -> ClientBuilder {
        self.limits.bytes = bytes;
        self
    }

    /// The longest time without a sign of life, after which a socket is given up, a second to a
    /// day; 40 s unless said otherwise.
    #[must_use]
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.session.heartbeat_timeout = timeout.clamp(HEARTBEAT.0, HEARTBEAT.1);
        self
    }

    /// Trusts the certificates of this PEM file instead of the machine's.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> ClientBuilder {
        self.ca_file = Some(path.into());
        self
    }

    /// Trusts these certificates instead of the machine's.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> ClientBuilder {
        self.trust = Some(trust);
        self
    }

    /// Goes through this proxy, but for what is on this machine.
    #[must_use]
    pub fn proxy(mut self, proxy: Option<Proxy>) -> ClientBuilder {
        self.proxy = proxy;
        self
    }

    /// Keeps the channels for the next run, which re-attaches to them.
    #[must_use]
    pub fn keeper(mut self, keeper: impl Keeper + 'static) -> ClientBuilder {
        self.keeper = Box::new(keeper);
        self
    }

    /// The name of its threads, of which the system shows 15 characters; `notifications` unless
    /// said otherwise.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> ClientBuilder {
        // A thread's name may not hold one.
        self.name = name.into().replace('\0', "");
        self
    }

    /// Begins to connect, and returns at once: whether credentials and network are good is told
    /// by what comes: [`Item::Live`], or a failure with [`Reason::Login`] (signing in) or
    /// [`Reason::Handshake`] (channels and their sockets), after which it goes on trying.
    ///
    /// # Errors
    /// No credentials were given ([`Reason::Login`]), certificates cannot be used
    /// or no thread can be started ([`Reason::Machine`]).
    pub fn connect(mut self) -> Result<Client, Error> {
        let Some((client_id, secret, grant)) = self.login else {
            return Err(Error::new(Reason::Login, "no credentials were given"));
        };
        let credentials = Credentials::new(&self.login_url, client_id, secret, grant);
        let trust = match self.trust {
            Some(trust) => trust,
            None => load(self.ca_file.as_deref())?,
        };
        let connector = connector(&trust, self.proxy.clone());
        let machine = |what: &str, e: std::io::Error| Error::caused(Reason::Machine, what, e);
        let http = HttpSettings {
            trust,
            identity: None,
            proxy: self.proxy,
            timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            threads: WORKERS,
        };
        let clock = Arc::new(Clock::new());
        let (events, heard) = bounded(EVENTS_MAX);
        let answered = events.clone();
        let given_up = Arc::new(AtomicBool::new(false));
        let agent = rest::agent_until(&http, Arc::clone(&given_up));
        let bearer = Arc::new(Bearer::default());
        let asking = Asking {
            agent: agent.clone(),
            api_url: self.api_url.trim_end_matches('/').to_owned(),
            bearer: Arc::clone(&bearer),
            clock: Arc::clone(&clock),
        };
        let rest = RestPool::start(RestWorkers {
            workers: WORKERS,
            queue: proto::limits::CALLS_IN_FLIGHT_MAX,
            endpoints: Endpoints {
                api_url: self.api_url.clone(),
                login_url: self.login_url.clone(),
            },
            agent: agent.into(),
            token_request: Box::new(move |now| credentials.request(now)),
            // Who drives may have ended.
            outcomes: Box::new(move |ticket, outcome| {
                drop(answered.send(Event::Answered(ticket, outcome)));
            }),
            clock: Arc::clone(&clock),
            name: format!("{}-r", self.name),
            given_up,
        })
        .map_err(|e| machine("no thread can be started", e))?;
        let settings = proto::Settings {
            max_channels: self.channels,
            topics_per_channel: self.topics_per_channel,
            renew_before: Duration::from_secs(3600),
            streaming: Streaming::new(&self.api_url, &self.domain, &self.streaming_hosts),
        };
        let kept: Vec<_> = self.keeper.load().into_iter().map(|k| k.0).collect();
        let (outlet, items) = Outlet::new(self.limits);
        let (commands, taken) = bounded(COMMANDS_MAX);
        let over = Arc::new(AtomicBool::new(false));
        let driver = Driver {
            client: proto::Client::new(settings, &kept, clock.now(), seed()),
            session: self.session,
            connector,
            clock,
            rest: Some(rest),
            commands: taken,
            events,
            heard,
            found: VecDeque::new(),
            sockets: BTreeMap::new(),
            signs: BTreeMap::new(),
            outlet,
            twins: Twins::default(),
            live: BTreeSet::new(),
            went_live: Vec::new(),
            together: Together::new(self.ignore_errors),
            keeper: self.keeper,
            told: BTreeMap::new(),
            name: self.name.clone(),
            over: Arc::clone(&over),
            bearer,
            token_call: None,
        };
        let thread = std::thread::Builder::new().name(self.name);
        thread
            .spawn(move || driver.run())
            .map_err(|e| machine("no thread can be started", e))?;
        Ok(Client {
            items,
            commands,
            over,
            asking,
        })
    }
}

fn closed() -> Error {
    Error::new(Reason::Closed, "the client is closed")
}
