//! The daemon put together: threads, queues, listeners, and their orderly end.
//!
//! ```text
//!  http, status ──► Desk ──► events ──► loop ──► store ─┐
//!       ▲                      ▲         ├────► rest    │ facts
//!       │                      │         ├────► forward │
//!   Published ◄────────────────┼─────────┤              │
//!                              │         └────► channel-NN
//!                              └────────────────────────┘
//! ```
//!
//! Order of the start: store, workers, loop, listeners; of the stop: listeners,
//! loop (what is under way ends), workers, store. Invariant: a daemon that has
//! started owns every thread it began and has joined them all when it has stopped.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::clock::Clock;
use super::desk::Desk;
use super::forward::{ForwardPool, Forwarders, StartError as ForwardError};
use super::gate::{GateLimits, Listener};
use super::http::auth::Tokens;
use super::http::cors::Origins;
use super::http::intake::{self, IntakeSettings};
use super::http::json::Pointer;
use super::http::served::Served;
use super::main_loop::{self, EVENTS_MAX, Event, Hands, STORE_ORDERS_MAX};
use super::operators::{self, OperatorsSettings};
use super::outside::{Outside, REST_WORKERS, trust};
use super::port::Port;
use super::proxy::NotAProxy;
use super::published::{Observed, Published};
use super::rest::{self, HttpSettings, RestPool, RestWorkers};
use super::tls::{Identity, TlsError};
use crate::config::{self, Config, Listen};
use crate::filing::rows::Recovered;
use crate::filing::template::{Renderer, TemplateError};
use crate::filing::{self, Until};
use crate::gateway::{self, Gateway, Input};
use crate::platform::limits::CALLS_IN_FLIGHT_MAX;
use crate::secret::Secret;
use crate::service::{ExitCode, sd};
use crate::store::{OpenOptions, Reader, Store, StoreError};
use crate::{agent_desktop, platform, status, store};

/// How long the loop may take to end what is under way.
const LOOP_STOP: Duration = Duration::from_secs(6);

/// How long the listeners may take to answer what is under way.
const LISTENERS_STOP: Duration = Duration::from_secs(2);

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The store cannot be opened.
    Store(StoreError),
    /// An address cannot be bound.
    Listen(String, io::Error),
    /// Certificates that cannot be used together.
    Tls(TlsError),
    /// A proxy that cannot be used.
    Proxy(NotAProxy),
    /// The body template.
    Template(TemplateError),
    /// The forwarders.
    Forward(ForwardError),
    /// Roots, signing key; a sentence.
    Outside(String),
    /// Threads or descriptors.
    Environment(io::Error),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Store(e) => write!(f, "{e}"),
            StartError::Listen(at, e) => write!(f, "cannot listen on {at}: {e}"),
            StartError::Tls(e) => write!(f, "{e}"),
            StartError::Proxy(e) => write!(f, "[genesys] proxy: {e}"),
            StartError::Template(e) => write!(f, "[history] template-file: {e}"),
            StartError::Forward(e) => write!(f, "{e}"),
            StartError::Outside(e) => f.write_str(e),
            StartError::Environment(e) => write!(f, "the system gives no thread or descriptor: {e}"),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// The exit code (design, section 6).
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            StartError::Store(e) => match e.exit_code() {
                75 => ExitCode::Busy,
                77 => ExitCode::NoPermission,
                _ => ExitCode::Software,
            },
            StartError::Listen(_, e) if e.kind() == io::ErrorKind::PermissionDenied => ExitCode::NoPermission,
            StartError::Listen(..) | StartError::Environment(_) => ExitCode::Unavailable,
            StartError::Tls(_)
            | StartError::Proxy(_)
            | StartError::Template(_)
            | StartError::Forward(_)
            | StartError::Outside(_) => ExitCode::Configuration,
        }
    }
}

/// Listeners that were passed in instead of being bound.
#[derive(Default)]
pub struct Inherited {
    /// For the intake.
    pub http: Option<Listener>,
    /// For operators.
    pub status: Option<Listener>,
}

/// A running daemon.
pub struct Daemon {
    events: Sender<Event>,
    main_loop: JoinHandle<bool>,
    served: Vec<Served>,
    rest: RestPool,
    forward: ForwardPool,
    store: JoinHandle<()>,
    published: Arc<Published>,
    http_at: String,
    status_at: String,
}

fn bind(listen: &Listen, inherited: Option<Listener>) -> Result<Listener, StartError> {
    if let Some(listener) = inherited {
        return Ok(listener);
    }
    let bound = match listen {
        Listen::Tcp(address) => Listener::bind_tcp(*address),
        Listen::Unix(path) => Listener::bind_unix(path),
    };
    bound.map_err(|e| StartError::Listen(listen.to_string(), e))
}

fn tokens(of: &[Secret]) -> Option<Tokens> {
    (!of.is_empty()).then(|| Tokens::new(of))
}

/// The decisions of the configuration, for the core.
#[must_use]
pub fn settings(config: &Config) -> gateway::Settings {
    gateway::Settings {
        platform: platform::Settings {
            max_channels: u8::try_from(config.channels.max_channels).unwrap_or(u8::MAX),
            topics_per_channel: config.channels.topics_per_channel,
            renew_before: config.channels.renew_before,
        },
        filing: filing::Settings {
            until: match config.tracking.until {
                config::Until::ConversationFinished => Until::ConversationFinished,
                config::Until::FirstEvent => Until::FirstEvent,
            },
            max_age: config.tracking.max_age,
            settle_for: config.tracking.settle_for,
            workers: config.history.workers,
            give_up_after: config.history.give_up_after,
            retain: config.store.retain,
            keep_bodies: config.store.keep_bodies,
        },
    }
}

/// The body renderer that the configuration asks for.
///
/// # Errors
/// The template does not compile, or gives no JSON.
pub fn renderer(config: &Config) -> Result<Renderer, TemplateError> {
    Renderer::new(config.history.template.as_ref().map(|t| t.text.as_str()))
}

impl Daemon {
    /// Starts everything; returns when the store is open, the listeners are bound
    /// and the loop turns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub fn start(config: &Config, inherited: Inherited) -> Result<Daemon, StartError> {
        let clock = Arc::new(Clock::new());
        let outside = Outside::new(config, clock.clone()).map_err(StartError::Outside)?;
        let renderer = renderer(config).map_err(StartError::Template)?;
        let intake_listener = bind(&config.http.listen, inherited.http)?;
        let operators_listener = bind(&config.status.listen, inherited.status)?;
        let (http_at, status_at) = (intake_listener.address(), operators_listener.address());
        let (store, recovered) =
            Store::open(&config.store.path, OpenOptions::default()).map_err(StartError::Store)?;
        let path = store.path().to_path_buf();

        let (events, taken) = bounded(EVENTS_MAX);
        let (store_orders, store_taken) = bounded(STORE_ORDERS_MAX);
        let observed = Arc::new(Observed::default());
        let facts = events.clone();
        let watch = observed.clone();
        let store_thread = store::thread::spawn(store, store_taken, move |fact| {
            watch.store_answered();
            let _ = facts.send(Event::Core(Input::Store(fact)));
        })
        .map_err(StartError::Environment)?;
        let rest = start_rest(&outside, &events).map_err(StartError::Environment)?;
        let forward = start_forward(config, renderer, &path, &events, &clock)?;

        let published = Arc::new(Published::new(clock.now(), &recovered, observed));
        let gateway = {
            let seed = seed();
            Gateway::new(settings(config), &recovered, clock.now(), seed)
        };
        let (rest, forward) = (Arc::new(rest), Arc::new(forward));
        let hands = Hands {
            clock,
            events: events.clone(),
            store: store_orders,
            rest: rest.clone(),
            forward: forward.clone(),
            connector: outside.connector.clone(),
            session: outside.session,
            published: published.clone(),
            turned: watchdog(),
            stop_within: LOOP_STOP,
        };
        let main_loop = start_loop(gateway, taken, hands).map_err(StartError::Environment)?;
        let desk = Arc::new(Desk::new(events.clone(), published.clone(), &path));
        let served = listen(config, intake_listener, operators_listener, desk).map_err(StartError::Environment)?;
        for one in &served {
            published.watch(one.counter());
        }
        let unwrap = |_| StartError::Environment(io::Error::other("a worker pool is still shared"));
        let _ = unwrap;
        Ok(Daemon { events, main_loop, served, rest, forward, store: store_thread, published, http_at, status_at })
    }
}
