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
//! started owns every thread it began and has joined them all when it has stopped;
//! but for one that only asks who a client is, where there are several.

mod one_shard;
mod start_error;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

pub use one_shard::outsides;
use one_shard::{OneShard, RunningLoop, claims, end_loops, look_for_twins};

use super::board::Board;
use super::desk::Desk;
use super::gate::{GateLimits, Listener};
use super::http::assets::{Made, Pages};
use super::http::auth::Tokens;
use super::http::cors::Origins;
use super::http::desktop::DesktopSettings;
use super::http::intake::{self, IntakeSettings};
use super::http::json::Pointer;
use super::http::page_tokens::PageTokens;
use super::http::served::Served;
use super::main_loop::{self, EVENTS_MAX, Event, STORE_ORDERS_MAX};
use super::operators::{self, OperatorsSettings};
use super::outside::{Outside, trust};
use super::overview::{Overview, Shown};
use super::port::Port;
use super::published::Published;
use super::reload::{Applied, Reloaded};
use super::router::Router;
use super::server_tls::ServerTls;
use super::shares::Shares;
use super::stopped::{self, Stopped, ends_in_time};
use super::twins::Twins;
use crate::config::{self, Config, Listen};
use crate::gateway::{self, Input};
use crate::{agent_desktop, status};
use base::rows::{Recovered, StoreTrouble};
use base::secret::Secret;
use filing::template::Renderer;
use filing::{Unreported, Until};
use notifications::clock::Clock;
use notifications::rest::HttpSettings;
use notifications::tls::Identity;
pub use start_error::StartError;
use store::thread::Ask;
use store::{OpenOptions, Recent, Store};

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
    loops: Vec<RunningLoop>,
    shares: Option<Shares>,
    /// Two shards that are one, once that is known.
    twins: Arc<OnceLock<Twins>>,
    /// Ends who looks for them.
    _looking: Option<Sender<()>>,
    served: Vec<Served>,
    store: JoinHandle<()>,
    published: Arc<Overview>,
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
    outsides(config, &Arc::new(Clock::new()))?;
    renderer(config)?;
    history_http(config)?;
    if let Some(shown) = &config.http.tls {
        ServerTls::new(shown).map_err(StartError::Tls)?;
    }
    Ok(())
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

impl Daemon {
    /// Starts everything; returns when the store is open, the listeners are bound
    /// and the loop turns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub fn start(config: &Config, inherited: Inherited) -> Result<Daemon, StartError> {
        let clock = Arc::new(Clock::new());
        let outsides = outsides(config, &clock)?;
        let renderer = renderer(config)?;
        let claims = claims(config);
        // Before the addresses: a second start of the same configuration is told that another
        // instance runs, and not that something has its address.
        let now = clock.now().wall;
        let (store, recovered) =
            Store::open_shards(&config.store.path, OpenOptions { now }, &claims)
                .map_err(StartError::Store)?;
        let intake = bind(&config.http.listen, inherited.http)?;
        let operators = bind(&config.status.listen, inherited.status)?;
        let (http_at, status_at) = (intake.address(), operators.address());
        say_recovered(&recovered);
        let path = store.path().to_path_buf();
        let recent = store.recent();
        let board: Arc<Board> = Arc::default();
        let shown = claims
            .iter()
            .zip(&recovered)
            .map(|(claim, recovered)| Shown {
                name: claim.name.clone(),
                published: Arc::new(
                    Published::new(clock.now(), recovered, &path).on(board.clone()),
                ),
            });
        let overview = Overview::new(shown.collect()).ok_or_else(|| {
            StartError::Environment(io::Error::other("there is no shard to start"))
        })?;
        let published = Arc::new(overview);
        let (events, taken): (Vec<_>, Vec<_>) = claims.iter().map(|_| bounded(EVENTS_MAX)).unzip();
        let (store_orders, store_taken) = bounded(STORE_ORDERS_MAX * claims.len() + 1);
        let (facts, watching, telling) = (events.clone(), published.clone(), published.clone());
        let answered = move |shard: usize, fact| {
            if let (Some(shown), Some(events)) = (watching.shards().get(shard), facts.get(shard)) {
                shown.published.store_answered();
                watching.board().answered(shard, &fact);
                let _ = events.send(Event::Core(Input::Store(fact)));
            }
        };
        let asides = move |aside| telling.aside(aside);
        let names = claims.iter().map(|claim| claim.name.clone()).collect();
        let store = store::thread::spawn_shards(store, names, store_taken, answered, asides)
            .map_err(StartError::Environment)?;
        let begun = Daemon::begin(
            config,
            (intake, operators),
            (outsides, renderer, &clock),
            (&events, taken, store_orders),
            (&recovered, &path, recent, &published),
        );
        let (loops, shares, served, reloaded) = match begun {
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
        let twins = Arc::new(OnceLock::new());
        let looking = look_for_twins(config, &clock, &twins);
        Ok(Daemon {
            loops,
            shares,
            twins,
            _looking: looking,
            served,
            store,
            published,
            reloaded,
            clock,
            http_at,
            status_at,
        })
    }

    /// Workers, loops and listeners; none of them is left running if one cannot be had.
    fn begin(
        config: &Config,
        (intake, operators): (Listener, Listener),
        (outsides, renderer, clock): (Vec<Outside>, Renderer, &Arc<Clock>),
        (events, taken, store): (&[Sender<Event>], Vec<Receiver<Event>>, Sender<Ask>),
        (recovered, path, recent, published): (&[Recovered], &Path, Recent, &Arc<Overview>),
    ) -> Result<Begun, StartError> {
        let renderer = Arc::new(renderer);
        let mut reloaded = Reloaded {
            http_tls: match &config.http.tls {
                Some(shown) => Some(ServerTls::new(shown).map_err(StartError::Tls)?),
                None => None,
            },
            http: tokens(&config.http.api_tokens),
            status: tokens(&config.status.api_tokens),
            clients: Vec::new(),
        };
        let mut loops = Vec::new();
        let mut doors = Vec::new();
        let parts = outsides.into_iter().zip(events).zip(taken).zip(recovered);
        for (place, (((outside, events), taken), recovered)) in parts.enumerate() {
            let one = OneShard {
                place,
                events: events.clone(),
                taken,
                store: store.clone(),
                recovered,
                path: (path, recent.clone()),
                published,
            };
            match one.begin(config, outside, renderer.clone(), clock) {
                Ok((running, door, client)) => {
                    loops.push(running);
                    doors.push(door);
                    reloaded.clients.push(client);
                }
                Err(error) => {
                    end_loops(loops);
                    return Err(error);
                }
            }
        }
        let several = doors.len() > 1;
        let router = Arc::new(Router::new(doors, path, published.clone()));
        let shares = match several {
            true => match Shares::start(router.clone(), store) {
                Ok(shares) => Some(shares),
                Err(error) => {
                    end_loops(loops);
                    return Err(StartError::Environment(error));
                }
            },
            false => None,
        };
        let desk = |workers| -> Arc<dyn Port> {
            Arc::new(Desk::new(router.clone(), published.clone(), path, workers))
        };
        let listeners = (intake, operators);
        match serve(config, listeners, &reloaded, published.board(), desk) {
            Ok(served) => Ok((loops, shares, served, reloaded)),
            Err(error) => {
                if let Some(shares) = shares {
                    shares.stop();
                }
                end_loops(loops);
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
        for one in &self.loops {
            let told = Event::Core(Input::OtherCredentials);
            let _ = one.events.send_timeout(told, Duration::from_secs(1));
        }
        Ok(applied)
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<status::Snapshot> {
        self.published.snapshot()
    }

    /// Two shards that the platform takes for one: they must not go on side by side.
    #[must_use]
    pub fn twins(&self) -> Option<&Twins> {
        self.twins.get()
    }

    /// True once a loop has ended, asked or not.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.loops.iter().any(|one| one.thread.is_finished())
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
        if let Some(shares) = self.shares {
            shares.stop();
        }
        let ended = end_loops(self.loops);
        Stopped {
            ended,
            closed: ends_in_time(self.store, &self.published),
        }
    }
}

/// What [`Daemon::begin`] gives.
type Begun = (Vec<RunningLoop>, Option<Shares>, Vec<Served>, Reloaded);

fn say_recovered(all: &[Recovered]) {
    let sum = |of: fn(&Recovered) -> usize| all.iter().map(of).sum::<usize>();
    log::info!(
        "store: {} interactions go on, {} records to file, {} channels to re-attach",
        sum(|r| r.interactions.len()),
        sum(|r| r.records.iter().filter(|r| !r.state.over()).count()),
        sum(|r| r.channels.len())
    );
    let damaged = all.first().and_then(|main| main.damaged.as_ref());
    if let Some(path) = damaged {
        log::error!("store: {}", status::verdict::set_aside(path));
    }
}

#[cfg(test)]
mod tests;
