//! One shard of the daemon: an OAuth client's workers, its loop, and the door to it.
//!
//! Invariant: what cannot be had whole is not left running in part.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{LOOP_STOP, StartError, history_http, settings};
use crate::config::{Config, MAIN_SHARD};
use crate::gateway::{Gateway, Input};
use crate::service::sd;
use crate::shell::desk::Readers;
use crate::shell::forward::{ForwardPool, Forwarders};
use crate::shell::main_loop::{self, Event, Hands};
use crate::shell::outside::{Outside, REST_WORKERS};
use crate::shell::overview::Overview;
use crate::shell::published::Published;
use crate::shell::reload::Client;
use crate::shell::router::Door;
use crate::shell::standing::Standing;
use crate::shell::twins::{self, Twins};
use base::rows::Recovered;
use filing::template::Renderer;
use notifications::clock::Clock;
use notifications::rest::{self, RestPool, RestWorkers};
use proto::CallId;
use proto::limits::CALLS_IN_FLIGHT_MAX;
use store::Recent;
use store::shards::Claim;
use store::thread::Ask;

/// One for each OAuth client, in their order.
///
/// # Errors
/// Roots, proxy or a signing key that cannot be used.
pub fn outsides(config: &Config, clock: &Arc<Clock>) -> Result<Vec<Outside>, StartError> {
    let clients = config.clients().into_iter();
    clients
        .map(|(name, oauth)| {
            Outside::of_client(config, oauth, clock.clone()).map_err(|e| {
                StartError::Outside(match name {
                    MAIN_SHARD => e,
                    name => format!("shard {name}: {e}"),
                })
            })
        })
        .collect()
}

/// Only where there is more than one client. Without it everything else works as well: what
/// keeps it from being done is no reason not to start.
pub(super) fn look_for_twins(
    config: &Config,
    clock: &Arc<Clock>,
    twins: &Arc<OnceLock<Twins>>,
) -> Option<Sender<()>> {
    let clients = config.clients();
    if clients.len() < 2 {
        return None;
    }
    let named = clients.into_iter().map(|(name, _)| name.to_owned());
    let clients = named.zip(outsides(config, clock).ok()?).collect();
    let (looking, stopped) = bounded(0);
    let twins = twins.clone();
    let found = move |found| {
        let _ = twins.set(found);
    };
    twins::watch(clients, stopped, found).ok()?;
    Some(looking)
}

/// What the store is told of the shards.
pub(super) fn claims(config: &Config) -> Vec<Claim> {
    let clients = config.clients().into_iter();
    clients
        .map(|(name, oauth)| Claim {
            name: name.into(),
            identity: oauth.identity(),
            places: u64::try_from(places(config)).unwrap_or(u64::MAX),
        })
        .collect()
}

/// Conversations that one client can watch at once.
pub(super) fn places(config: &Config) -> usize {
    config.channels.max_channels * config.channels.topics_per_channel
}

/// The loop of a shard.
pub(super) struct RunningLoop {
    pub(super) events: Sender<Event>,
    pub(super) thread: JoinHandle<main_loop::Ended>,
}

/// Tells loops to stop, and waits for them.
pub(super) fn end_loops(loops: Vec<RunningLoop>) -> Option<main_loop::Ended> {
    for one in &loops {
        let _ = one.events.send(Event::Stop);
    }
    let ended = loops.into_iter().map(|one| one.thread.join().ok());
    // One that ended by a defect is what has to be told.
    let ended: Option<Vec<main_loop::Ended>> = ended.collect();
    ended?.into_iter().reduce(main_loop::Ended::and)
}

/// What a shard is made of.
pub(super) struct OneShard<'a> {
    pub(super) place: usize,
    pub(super) events: Sender<Event>,
    pub(super) taken: Receiver<Event>,
    pub(super) store: Sender<Ask>,
    pub(super) recovered: &'a Recovered,
    /// The database, and what was just taken of it.
    pub(super) path: (&'a Path, Recent),
    pub(super) published: &'a Arc<Overview>,
}

impl OneShard<'_> {
    /// Its workers and its loop; none of them is left running if one cannot be had.
    pub(super) fn begin(
        self,
        config: &Config,
        outside: Outside,
        renderer: Arc<Renderer>,
        clock: &Arc<Clock>,
    ) -> Result<(RunningLoop, Door, Client), StartError> {
        let OneShard {
            place,
            events,
            taken,
            ..
        } = self;
        let shown = self.published.shards().get(place);
        let shown = shown.ok_or_else(|| {
            StartError::Environment(io::Error::other("a shard that nobody configured"))
        })?;
        // With one shard it has no name that anybody would see.
        let several = self.published.shards().len() > 1;
        let name = if several { shown.name.as_str() } else { "" };
        let thread = |of: &str| match (place, several) {
            (0, _) | (_, false) => of.to_owned(),
            _ => format!("{of}-{name}"),
        };
        let forward = start_forward(
            config,
            renderer,
            self.path,
            name,
            &events,
            clock,
            self.published,
        )?;
        let client = Client {
            history: forward.agent(),
            reread_bearer: Box::new(forward.reread_bearer()),
            outside,
        };
        let outside = &client.outside;
        let standing = Arc::new(Standing::default());
        let hands = Hands {
            clock: clock.clone(),
            events: events.clone(),
            shard: name.to_owned(),
            place,
            standing: standing.clone(),
            store: self.store,
            rest: start_rest(outside, &events, thread("rest")).map_err(StartError::Environment)?,
            forward,
            connector: outside.connector.clone(),
            session: outside.session,
            published: shown.published.clone(),
            turned: match place {
                0 => watchdog(self.published.clone()),
                _ => Box::new(|_| {}),
            },
            stop_within: LOOP_STOP,
        };
        let gateway = Gateway::new(settings(config), self.recovered, clock.now(), seed());
        // Whoever asks before the loop's first turn is told what the store holds, not nothing.
        shown.published.update(&gateway, clock.now());
        let thread = Builder::new()
            .name(thread("loop"))
            .spawn(move || main_loop::run(gateway, taken, hands))
            .map_err(StartError::Environment)?;
        let door = Door::new(
            &shown.name,
            events.clone(),
            shown.published.clone(),
            standing,
            places(config),
        );
        Ok((RunningLoop { events, thread }, door, client))
    }
}

fn start_rest(outside: &Outside, events: &Sender<Event>, name: String) -> io::Result<RestPool> {
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
        name,
        given_up: Arc::default(),
    })
}

fn start_forward(
    config: &Config,
    renderer: Arc<Renderer>,
    (database, recent): (&Path, Recent),
    shard: &str,
    events: &Sender<Event>,
    clock: &Arc<Clock>,
    published: &Arc<Overview>,
) -> Result<ForwardPool, StartError> {
    let history = &config.history;
    let http = history_http(config)?;
    let facts = events.clone();
    let readers = Readers::new(database, published.clone());
    let others = Readers::new(database, published.clone());
    let shard = shard.to_owned();
    ForwardPool::start(Forwarders {
        workers: history.workers,
        url: history.url.clone(),
        headers: history.headers.clone(),
        bearer_token_file: history.bearer_token_file.clone(),
        agent: rest::agent(&http).into(),
        elsewhere: Box::new(move |id| {
            // With one shard there is nobody else.
            if shard.is_empty() {
                return Ok(false);
            }
            let whose = others.read(|r| r.shard_of_record(id))?;
            Ok(whose.is_some_and(|whose| whose != shard))
        }),
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

/// Feeds the service manager's watchdog and its status line, from the loop itself.
fn watchdog(overview: Arc<Overview>) -> Box<dyn FnMut(&Published) + Send> {
    let interval = sd::watchdog_interval();
    let began = Instant::now();
    let mut fed = began;
    let mut said: Arc<str> = Arc::from("");
    let mut told = began;
    Box::new(move |_| {
        // One loop that is stuck starves the watchdog, whichever it is.
        if interval.is_some_and(|every| fed.elapsed() >= every) && !overview.stuck() {
            fed = Instant::now();
            sd::alive();
        }
        // Reasons count seconds; nobody reads faster than this.
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let verdict = overview.verdict();
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
