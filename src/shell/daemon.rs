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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::board::Board;
use super::desk::{Desk, Readers};
use super::forward::{ForwardPool, Forwarders, StartError as ForwardError};
use super::gate::{GateLimits, Listener};
use super::http::assets::{Made, Pages};
use super::http::auth::Tokens;
use super::http::cors::Origins;
use super::http::desktop::DesktopSettings;
use super::http::intake::{self, IntakeSettings};
use super::http::json::Pointer;
use super::http::page_tokens::PageTokens;
use super::http::served::Served;
use super::main_loop::{self, EVENTS_MAX, Event, Hands, STORE_ORDERS_MAX};
use super::operators::{self, OperatorsSettings};
use super::outside::{Outside, REST_WORKERS, trust};
use super::port::Port;
use super::published::Published;
use super::reload::{Applied, Reloaded};
use super::server_tls::ServerTls;
use super::stopped::{self, Stopped, ends_in_time};
use crate::config::{self, Config, Listen};
use crate::gateway::{self, Gateway, Input};
use crate::service::{ExitCode, sd};
use crate::{agent_desktop, status};
use base::rows::{Recovered, StoreOrder, StoreTrouble};
use base::secret::Secret;
use filing::template::{Renderer, TemplateError};
use filing::{Unreported, Until};
use notifications::clock::Clock;
use notifications::rest::{self, HttpSettings, RestPool, RestWorkers};
use notifications::tls::{Identity, TlsError};
use proto::CallId;
use proto::limits::CALLS_IN_FLIGHT_MAX;
use store::{OpenOptions, Recent, Store, StoreError};

/// Pages for Agent Desktop whose requests for news may wait at once; the others come again every
/// two seconds.
pub const HELD_MAX: usize = 600;

/// How long the loop may take to end what is under way.
const LOOP_STOP: Duration = Duration::from_secs(4);

/// How long the listeners may take to answer what is under way.
const LISTENERS_STOP: Duration = Duration::from_secs(2);

// Stopped within 10 s (design, section 6), with one to spare for a slow machine.
const _: () = assert!(
    LISTENERS_STOP.as_secs()
        + LOOP_STOP.as_secs()
        + main_loop::WORKERS_STOP.as_secs()
        + stopped::STORE_STOP.as_secs()
        <= 9
);

/// Why the daemon did not start.
#[derive(Debug)]
pub enum StartError {
    /// The store cannot be opened.
    Store(StoreError),
    /// An address cannot be bound.
    Listen(String, io::Error),
    /// Certificates that cannot be used together.
    Tls(TlsError),
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
            StartError::Template(e) => write!(f, "[history] template-file: {e}"),
            StartError::Forward(e) => write!(f, "{e}"),
            StartError::Outside(e) => f.write_str(e),
            StartError::Environment(e) => {
                write!(f, "the system gives no thread or descriptor: {e}")
            }
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
                78 => ExitCode::Configuration,
                _ => ExitCode::Software,
            },
            StartError::Listen(..) | StartError::Environment(_) => ExitCode::Unavailable,
            StartError::Tls(_)
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
    main_loop: JoinHandle<main_loop::Ended>,
    served: Vec<Served>,
    store: JoinHandle<()>,
    published: Arc<Published>,
    reloaded: Reloaded,
    clock: Arc<Clock>,
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
        platform: proto::Settings {
            max_channels: u8::try_from(config.channels.max_channels).unwrap_or(u8::MAX),
            topics_per_channel: config.channels.topics_per_channel,
            renew_before: config.channels.renew_before,
            streaming: super::outside::streaming(&config.genesys),
        },
        filing: filing::Settings {
            until: match config.tracking.until {
                config::Until::ConversationFinished => Until::ConversationFinished,
                config::Until::FirstEvent => Until::FirstEvent,
            },
            max_age: config.tracking.max_age,
            settle_for: config.tracking.settle_for,
            linger: config.tracking.linger,
            unreported: match config.tracking.unreported {
                config::Unreported::Ignore => Unreported::Ignore,
                config::Unreported::File => Unreported::File,
            },
            workers: config.history.workers,
            give_up_after: config.history.give_up_after,
            retain: config.store.retain,
            keep_bodies: config.store.keep_bodies,
            ..filing::Settings::default()
        },
    }
}

/// The body renderer that the configuration asks for.
///
/// # Errors
/// The template does not compile, or gives no JSON.
pub fn renderer(config: &Config) -> Result<Renderer, StartError> {
    Renderer::new(config.history.template.as_ref().map(|t| t.text.as_str()))
        .map_err(StartError::Template)
}

/// How the history manager is reached.
pub(super) fn history_http(config: &Config) -> Result<HttpSettings, StartError> {
    let history = &config.history;
    let identity = match &history.client_identity {
        Some(identity) => {
            let pem = identity.key_pem.expose().as_bytes();
            let file = Path::new("[history] client-key-file");
            Some(Identity::of(&identity.certificates.der, pem, file).map_err(StartError::Tls)?)
        }
        None => None,
    };
    Ok(HttpSettings {
        trust: trust(history.ca.as_ref()),
        identity,
        // The history manager is an internal service: it is reached directly.
        proxy: None,
        timeout: history.timeout,
        connect_timeout: history.timeout,
        threads: history.workers,
    })
}

/// Everything of the start that needs no network, no address and no database.
///
/// # Errors
/// What [`Daemon::start`] would refuse as well.
pub fn rehearse(config: &Config) -> Result<(), StartError> {
    Outside::new(config, Arc::new(Clock::new())).map_err(StartError::Outside)?;
    renderer(config)?;
    history_http(config)?;
    if let Some(shown) = &config.http.tls {
        ServerTls::new(shown).map_err(StartError::Tls)?;
    }
    Ok(())
}

fn start_rest(outside: &Outside, events: &Sender<Event>) -> io::Result<RestPool> {
    let facts = events.clone();
    RestPool::start(RestWorkers {
        workers: REST_WORKERS,
        queue: CALLS_IN_FLIGHT_MAX,
        endpoints: outside.endpoints.clone(),
        agent: outside.agent.clone(),
        token_request: outside.token_request(),
        outcomes: Box::new(move |ticket, outcome| {
            let _ = facts.send(Event::Core(Input::Answered {
                call: CallId(ticket),
                outcome,
            }));
        }),
        clock: outside.clock.clone(),
        name: "rest".into(),
        given_up: Arc::default(),
    })
}

fn start_forward(
    config: &Config,
    renderer: Renderer,
    (database, recent): (&Path, Recent),
    events: &Sender<Event>,
    clock: &Arc<Clock>,
    published: &Arc<Published>,
) -> Result<ForwardPool, StartError> {
    let history = &config.history;
    let http = history_http(config)?;
    let facts = events.clone();
    let readers = Readers::new(database, published.clone());
    ForwardPool::start(Forwarders {
        workers: history.workers,
        url: history.url.clone(),
        headers: history.headers.clone(),
        bearer_token_file: history.bearer_token_file.clone(),
        agent: rest::agent(&http).into(),
        load: Box::new(move |id| {
            let stored = match recent.take(id) {
                Some(stored) => Some(stored),
                None => readers.read(|r| r.record(id))?,
            };
            Ok(stored.map(|s| (s.row, s.body, s.members)))
        }),
        render: Box::new(move |row, body, members| {
            renderer
                .render(row, body, members)
                .map_err(|e| e.to_string())
        }),
        report: Box::new(move |record, outcome| {
            let _ = facts.send(Event::Core(Input::Posted { record, outcome }));
        }),
        clock: clock.clone(),
    })
    .map_err(StartError::Forward)
}

/// The page for Agent Desktop, if it is configured. Who may embed it, and is believed as the
/// desktop, has nothing to do with who may call the intake from a browser.
fn desktop_page(config: &Config) -> Pages {
    let Some(desktop) = &config.agent_desktop else {
        return Pages::default();
    };
    let told = agent_desktop::Settings {
        desktop_origins: desktop.desktop_origins.clone(),
        access: match desktop.access {
            config::DesktopAccess::Page => agent_desktop::Access::Page,
            config::DesktopAccess::Token => agent_desktop::Access::Token,
        },
        conversation_id_keys: desktop.conversation_id_keys.clone(),
        conversation_id_at: config.http.conversation_id_at.as_str().to_owned(),
        report_on: match &desktop.report_on {
            config::ReportOn::Seen => vec![String::from("seen")],
            config::ReportOn::Events(types) => types.iter().map(|t| (*t).to_owned()).collect(),
        },
        forward_keys: desktop.forward_keys.clone(),
        write_back_key: desktop.write_back_key.clone().unwrap_or_default(),
        toast: match desktop.toast {
            config::Toast::Never => agent_desktop::Toast::Never,
            config::Toast::Failures => agent_desktop::Toast::Failures,
            config::Toast::All => agent_desktop::Toast::All,
        },
        title_keys: desktop.title_keys.clone(),
        recording: desktop.recording,
        dial: desktop.dial,
    };
    let made = Made {
        path: agent_desktop::CONFIG_PATH,
        content_type: "application/json",
        body: told.to_json(),
    };
    let policy = agent_desktop::content_security_policy(&desktop.desktop_origins);
    Pages::new(agent_desktop::assets(), vec![made], policy)
}

/// What the page may ask besides its files.
fn desktop_settings(config: &Config, board: &Arc<Board>) -> io::Result<Option<DesktopSettings>> {
    let Some(desktop) = &config.agent_desktop else {
        return Ok(None);
    };
    let tokens = match desktop.access {
        config::DesktopAccess::Page => {
            Some(PageTokens::new().map_err(|_| io::Error::other("no random bytes for a key"))?)
        }
        config::DesktopAccess::Token => None,
    };
    Ok(Some(DesktopSettings {
        tokens,
        board: Arc::clone(board),
    }))
}

fn serve(
    config: &Config,
    (intake, operators): (Listener, Listener),
    reloaded: &Reloaded,
    board: &Arc<Board>,
    desk: impl Fn(usize) -> Arc<dyn Port>,
) -> io::Result<Vec<Served>> {
    let private_parent = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    let origins = &config.http.allowed_origins;
    let settings = IntakeSettings {
        listener: intake,
        tls: reloaded.http_tls.clone(),
        tokens: reloaded.http.clone(),
        origins: Origins::new(origins.iter().cloned()),
        conversation_id_at: Pointer::parse(config.http.conversation_id_at.as_str()).ok_or_else(
            || io::Error::other("the JSON Pointer of the conversation id is not one"),
        )?,
        accepts_per_minute: u32::try_from(config.http.accepts_per_minute).unwrap_or(u32::MAX),
        pages: desktop_page(config),
        desktop: desktop_settings(config, board)?,
        limits: GateLimits {
            body_bytes: config.http.max_body as u64,
            held: match config.agent_desktop {
                Some(_) => HELD_MAX,
                None => 0,
            },
            ..GateLimits::default()
        },
        private_parent: private_parent.clone(),
    };
    let port = desk(settings.limits.in_flight);
    let intake = intake::start(settings, port)?;
    let settings = OperatorsSettings {
        listener: operators,
        tokens: reloaded.status.clone(),
        pages: Pages::new(
            status::page::assets(),
            Vec::new(),
            status::page::POLICY.into(),
        ),
        private_parent,
    };
    Ok(vec![
        intake,
        operators::start(settings, desk(operators::limits().in_flight))?,
    ])
}

/// Feeds the service manager's watchdog and its status line, from the loop itself.
fn watchdog() -> Box<dyn FnMut(&Published) + Send> {
    let interval = sd::watchdog_interval();
    let began = Instant::now();
    let mut fed = began;
    let mut said: Arc<str> = Arc::from("");
    let mut told = began;
    Box::new(move |published| {
        if interval.is_some_and(|every| fed.elapsed() >= every) {
            fed = Instant::now();
            sd::alive();
        }
        // Reasons count seconds; nobody reads faster than this.
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let verdict = published.verdict();
            if *verdict != *said {
                sd::status(&verdict);
                said = verdict;
            }
        }
    })
}

/// How often the service manager is told of another verdict.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Only for jitter; a predictable one does no harm.
fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        Err(_) => u64::from(std::process::id()),
    }
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
        let renderer = renderer(config)?;
        // Before the addresses: a second start of the same configuration is told that another
        // instance runs, and not that something has its address.
        let (store, recovered) = Store::open(
            &config.store.path,
            OpenOptions {
                now: clock.now().wall,
            },
        )
        .map_err(StartError::Store)?;
        let intake = bind(&config.http.listen, inherited.http)?;
        let operators = bind(&config.status.listen, inherited.status)?;
        let (http_at, status_at) = (intake.address(), operators.address());
        say_recovered(&recovered);
        let path = store.path().to_path_buf();
        let recent = store.recent();
        let published = Arc::new(Published::new(clock.now(), &recovered, &path));

        let (events, taken) = bounded(EVENTS_MAX);
        let (store_orders, store_taken) = bounded(STORE_ORDERS_MAX);
        let (facts, watching, telling) = (events.clone(), published.clone(), published.clone());
        let answered = move |fact| {
            watching.store_answered();
            watching.board().answered(&fact);
            let _ = facts.send(Event::Core(Input::Store(fact)));
        };
        let asides = move |aside| telling.aside(aside);
        let store = store::thread::spawn_telling(store, store_taken, answered, asides)
            .map_err(StartError::Environment)?;
        let begun = Daemon::begin(
            config,
            (intake, operators),
            outside,
            renderer,
            (&events, taken, store_orders),
            (&recovered, &path, recent, &published),
        );
        let (main_loop, served, reloaded) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // Everything else that could give the store an order has ended.
                drop(events);
                ends_in_time(store, &published);
                return Err(error);
            }
        };
        for one in &served {
            published.count_refusals(one.refusals());
        }
        Ok(Daemon {
            events,
            main_loop,
            served,
            store,
            published,
            reloaded,
            clock,
            http_at,
            status_at,
        })
    }

    /// Workers, loop and listeners; none of them is left running if one cannot be had.
    fn begin(
        config: &Config,
        (intake, operators): (Listener, Listener),
        outside: Outside,
        renderer: Renderer,
        (events, taken, store): (&Sender<Event>, Receiver<Event>, Sender<StoreOrder>),
        (recovered, path, recent, published): (&Recovered, &Path, Recent, &Arc<Published>),
    ) -> Result<(JoinHandle<main_loop::Ended>, Vec<Served>, Reloaded), StartError> {
        let clock = outside.clock.clone();
        let forward = start_forward(config, renderer, (path, recent), events, &clock, published)?;
        let reloaded = Reloaded {
            http_tls: match &config.http.tls {
                Some(shown) => Some(ServerTls::new(shown).map_err(StartError::Tls)?),
                None => None,
            },
            http: tokens(&config.http.api_tokens),
            status: tokens(&config.status.api_tokens),
            history: forward.agent(),
            reread_bearer: Box::new(forward.reread_bearer()),
            outside,
        };
        let outside = &reloaded.outside;
        let hands = Hands {
            clock: clock.clone(),
            events: events.clone(),
            store,
            rest: start_rest(outside, events).map_err(StartError::Environment)?,
            forward,
            connector: outside.connector.clone(),
            session: outside.session,
            published: published.clone(),
            turned: watchdog(),
            stop_within: LOOP_STOP,
        };
        let gateway = Gateway::new(settings(config), recovered, clock.now(), seed());
        // Whoever asks before the loop's first turn is told what the store holds, not nothing.
        published.update(&gateway, clock.now());
        let main_loop = Builder::new()
            .name("loop".into())
            .spawn(move || main_loop::run(gateway, taken, hands))
            .map_err(StartError::Environment)?;
        let desk = |workers| -> Arc<dyn Port> {
            Arc::new(Desk::new(events.clone(), published.clone(), path, workers))
        };
        let listeners = (intake, operators);
        match serve(config, listeners, &reloaded, published.board(), desk) {
            Ok(served) => Ok((main_loop, served, reloaded)),
            Err(error) => {
                let _ = events.send(Event::Stop);
                let _ = main_loop.join();
                Err(StartError::Environment(error))
            }
        }
    }

    /// Where the intake listens: `127.0.0.1:8480`, or `unix:` and a path.
    #[must_use]
    pub fn http_at(&self) -> &str {
        &self.http_at
    }

    /// Where the operators' listener listens.
    #[must_use]
    pub fn status_at(&self) -> &str {
        &self.status_at
    }

    /// Takes over secrets, keys and certificates of `new`; `old` is what the daemon was started with.
    ///
    /// # Errors
    /// What a start would refuse; nothing was changed.
    pub fn reload(&self, old: &Config, new: &Config) -> Result<Applied, StartError> {
        let applied = self.reloaded.apply(old, new, &self.clock)?;
        // A loop that does not turn has other troubles; nobody waits for it here.
        let told = Event::Core(Input::OtherCredentials);
        let _ = self.events.send_timeout(told, Duration::from_secs(1));
        Ok(applied)
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<status::Snapshot> {
        self.published.snapshot()
    }

    /// True once the loop has ended, asked or not.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.main_loop.is_finished()
    }

    /// Once the database turned out to be damaged, or was taken away and put back: nothing
    /// more can be committed, and a new start carries over what is readable.
    #[must_use]
    pub fn store_over(&self) -> Option<StoreTrouble> {
        self.published.store_over()
    }

    /// Stops in order; within 10 s (design, section 6).
    pub fn stop(self) -> Stopped {
        self.published.stop();
        // Listeners first, each on its own thread: both have connections to drain.
        let closing: Vec<JoinHandle<usize>> = self
            .served
            .into_iter()
            .map(|served| std::thread::spawn(move || served.stop(LISTENERS_STOP)))
            .collect();
        for thread in closing {
            let _ = thread.join();
        }
        let _ = self.events.send(Event::Stop);
        let ended = self.main_loop.join().ok();
        drop(self.events);
        Stopped {
            ended,
            closed: ends_in_time(self.store, &self.published),
        }
    }
}

fn say_recovered(recovered: &Recovered) {
    let undelivered = recovered.records.iter().filter(|r| !r.state.over()).count();
    log::info!(
        "store: {} interactions go on, {undelivered} records to file, {} channels to re-attach",
        recovered.interactions.len(),
        recovered.channels.len()
    );
    if let Some(path) = &recovered.damaged {
        log::error!("store: {}", status::verdict::set_aside(path));
    }
}

#[cfg(test)]
mod tests;
