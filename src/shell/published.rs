//! What others may see of the loop without a lock on it: the latest snapshot,
//! and when the loop last turned.
//!
//! The loop publishes at most twice a second; listeners, metrics and the
//! watchdog read. Invariant: nobody who reads can hold up the loop longer than
//! it takes to clone a pointer.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::board::Board;
use super::http::served::Refusals;
use crate::gateway::Gateway;
use crate::service::logging;
use crate::status::snapshot::Histogram;
use crate::status::{Minutes, Snapshot, verdict};
use base::rows::{InteractionState, Recovered, StoreTrouble};
use base::time::{Mono, Now, Wall};
use notifications::redaction;
use store::Log;
use store::thread::Aside;

/// A loop that has not turned for this long is stuck: it turns twice a second.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Upper bounds of the commit latency, in seconds.
const COMMIT_BOUNDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Orders to the store whose begin is remembered; at most three are outstanding.
const STORE_ORDERS_KEPT: usize = 8;

struct Inner {
    current: Arc<Snapshot>,
    minutes: Minutes,
    ordered: VecDeque<Instant>,
    commits: Histogram,
    /// The verdict on `current`, for the service manager.
    verdict: Arc<str>,
    /// Snapshots so far.
    updates: u64,
}

/// See the [module](self).
pub struct Published {
    inner: Mutex<Inner>,
    turned: Mutex<Instant>,
    turns: AtomicU64,
    stopping: AtomicBool,
    started_at: Wall,
    /// Where a damaged database was set aside that nobody has acknowledged.
    aside: Mutex<Option<String>>,
    /// What the store's own heartbeat came to, when nothing else is written.
    pulse: Mutex<Result<(), StoreTrouble>>,
    /// The database turned out to be of no more use while it was in use, and why.
    store_over: Mutex<Option<StoreTrouble>>,
    /// The write-ahead log.
    log: Mutex<Log>,
    /// Where the database is, for people.
    database: String,
    /// The content of a database that was taken away is being put back.
    putting_back: AtomicBool,
    /// Counts of the listeners' refusals, asked when a snapshot is rendered.
    refusals: Mutex<Vec<Refusals>>,
    /// Which conversations have changed: one board for all shards.
    board: Arc<Board>,
    /// Conversations that were given to other shards: the core has stopped them, nobody else has.
    given_away: AtomicU64,
}

/// How much a shard could take, for who decides where a conversation goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// Counts the snapshots.
    pub of: u64,
    /// Topics that it wants to watch.
    pub wanted: usize,
    /// It holds a token.
    pub token_held: bool,
    /// REST calls that it has left in this minute.
    pub rest_left: u32,
    /// Topics that are live, and places on open channels: none of either without a channel.
    pub reach: usize,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Published {
    /// Before the first turn.
    #[must_use]
    pub fn new(now: Now, recovered: &Recovered, database: &Path) -> Published {
        Published {
            inner: Mutex::new(Inner {
                current: Arc::new(Snapshot {
                    started_at: now.wall,
                    at: now.wall,
                    ..Snapshot::default()
                }),
                minutes: Minutes::default(),
                ordered: VecDeque::new(),
                commits: Histogram::new(&COMMIT_BOUNDS),
                verdict: Arc::from("starting"),
                updates: 0,
            }),
            turned: Mutex::new(Instant::now()),
            turns: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            started_at: now.wall,
            aside: Mutex::new(recovered.damaged.clone()),
            pulse: Mutex::new(Ok(())),
            store_over: Mutex::new(None),
            log: Mutex::new(Log::default()),
            database: database.display().to_string(),
            putting_back: AtomicBool::new(false),
            refusals: Mutex::new(Vec::new()),
            board: Arc::default(),
            given_away: AtomicU64::new(0),
        }
    }

    /// What this shard changes goes up on that board.
    #[must_use]
    pub fn on(self, board: Arc<Board>) -> Published {
        Published { board, ..self }
    }

    /// Publishes the core as it is now.
    pub fn update(&self, gateway: &Gateway, now: Now) {
        let mut snapshot = Snapshot {
            at: now.wall,
            started_at: self.started_at,
            stopping: self.stopping.load(Ordering::Relaxed),
            platform: gateway.platform().snapshot(now),
            damaged: lock(&self.aside).clone(),
            log: *lock(&self.log),
            database: self.database.clone(),
            next_wake: gateway
                .next_deadline(now)
                .map(|d| (d.at.since(now.mono), d.why)),
            ..Snapshot::default()
        };
        let counters = snapshot.fill(&gateway.filing().snapshot(now));
        let elsewhere = self.given_away.load(Ordering::Relaxed);
        if elsewhere > 0 {
            let stopped = snapshot.interactions.iter_mut();
            for (_, n) in stopped.filter(|(state, _)| *state == InteractionState::Stopped) {
                *n = n.saturating_sub(elsewhere);
            }
        }
        // Once more at the edge: a secret may have come to be known since its echo was heard.
        for words in [
            &mut snapshot.platform.token_trouble,
            &mut snapshot.platform.astray,
            &mut snapshot.store_trouble,
        ] {
            *words = words.take().map(|said| redaction::foreign(&said));
        }
        snapshot.history_detail = redaction::foreign(&snapshot.history_detail);
        let mut inner = lock(&self.inner);
        inner.minutes.update(now.wall, counters);
        snapshot.minutes = inner.minutes.kept();
        snapshot.commit_latency = inner.commits.clone();
        inner.verdict = in_one_line(&snapshot).into();
        inner.current = Arc::new(snapshot);
        inner.updates += 1;
    }

    /// What the core was told to stop goes on with other shards.
    pub fn given_away(&self, conversations: u64) {
        self.given_away.fetch_add(conversations, Ordering::Relaxed);
    }

    /// How much could be taken, as of the latest snapshot.
    #[must_use]
    pub fn room(&self) -> Room {
        let inner = lock(&self.inner);
        let platform = &inner.current.platform;
        Room {
            of: inner.updates,
            wanted: platform.topics_live + platform.topics_pending + platform.topics_waiting,
            token_held: platform.token_held,
            rest_left: platform.rest_left,
            reach: platform.topics_live + platform.places_free,
        }
    }

    /// The loop has turned.
    pub fn turned(&self, _now: Mono) {
        *lock(&self.turned) = Instant::now();
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// An order went to the store.
    pub fn store_ordered(&self) {
        let mut inner = lock(&self.inner);
        inner.ordered.push_back(Instant::now());
        while inner.ordered.len() > STORE_ORDERS_KEPT {
            inner.ordered.pop_front();
        }
    }

    /// The oldest order to the store was answered.
    pub fn store_answered(&self) {
        let mut inner = lock(&self.inner);
        if let Some(began) = inner.ordered.pop_front() {
            inner.commits.observe(began.elapsed().as_secs_f64());
        }
    }

    /// What the store thread found out between orders.
    pub fn aside(&self, aside: Aside) {
        match aside {
            Aside::Pulse(pulse) => *lock(&self.pulse) = pulse,
            Aside::Acknowledged => *lock(&self.aside) = None,
            Aside::Log(log) => *lock(&self.log) = log,
            Aside::PuttingBack => self.putting_back.store(true, Ordering::Release),
            Aside::PutBack => self.store_is_over(StoreTrouble::Moved),
        }
        if aside == Aside::Pulse(Err(StoreTrouble::Damaged)) {
            self.store_is_over(StoreTrouble::Damaged);
        }
    }

    fn pulse(&self) -> Result<(), StoreTrouble> {
        *lock(&self.pulse)
    }

    /// The database turned out to be damaged, by writing or by reading, or to have been taken
    /// away: nothing more can be committed, and a new start is the cure.
    pub fn store_is_over(&self, why: StoreTrouble) {
        lock(&self.store_over).get_or_insert(why);
    }

    /// Whether it did, and why.
    #[must_use]
    pub fn store_over(&self) -> Option<StoreTrouble> {
        *lock(&self.store_over)
    }

    /// Whether the store, at its end, is putting back a database that was taken away.
    #[must_use]
    pub fn putting_back(&self) -> bool {
        self.putting_back.load(Ordering::Acquire)
    }

    /// A stop was asked for.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Where changes of conversations are told.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Counts of refused requests come from here as well.
    pub fn count_refusals(&self, refusals: Refusals) {
        lock(&self.refusals).push(refusals);
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let mut current = lock(&self.inner).current.clone();
        if let (None, Err(trouble)) = (&current.store_trouble, self.pulse()) {
            Arc::make_mut(&mut current).store_trouble = Some(trouble.sentence().to_string());
        }
        let refused: Vec<_> = lock(&self.refusals).iter().flat_map(|of| of()).collect();
        if !refused.is_empty() {
            Arc::make_mut(&mut current).refused = refused;
        }
        let lost = logging::lost();
        if lost > 0 {
            Arc::make_mut(&mut current).log_lines_lost = lost;
        }
        current
    }

    /// The loop has not turned for long.
    pub(super) fn stuck(&self) -> Option<String> {
        let since = lock(&self.turned).elapsed();
        (since >= STUCK_AFTER).then(|| format!("the loop has not turned for {} s", since.as_secs()))
    }

    /// Why the gateway is not healthy: empty while the loop turns and the store commits.
    #[must_use]
    pub fn health(&self) -> Vec<String> {
        self.stuck()
            .into_iter()
            .chain(self.store_health())
            .collect()
    }

    /// The part of it that is the store's.
    pub(super) fn store_health(&self) -> Option<String> {
        let current = lock(&self.inner).current.clone();
        let pulse = || self.pulse().err().map(|t| t.sentence().to_string());
        let trouble = current.store_trouble.clone().or_else(pulse);
        trouble.map(|t| format!("the store cannot commit: {t}"))
    }

    /// Why a new interaction could not be watched now.
    #[must_use]
    pub fn readiness(&self) -> Vec<String> {
        let current = lock(&self.inner).current.clone();
        let mut reasons = self.health();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("the gateway is stopping".into());
        }
        if !current.platform.token_held {
            let why = current
                .platform
                .token_trouble
                .as_deref()
                .unwrap_or("it is being asked for");
            reasons.push(format!("no token is held: {why}"));
        }
        reasons.extend(current.platform.astray.clone());
        if current.platform.places_free == 0 {
            reasons.push(match &current.platform.socket_trouble {
                Some((trouble, _)) => format!("{}: {trouble}", trouble.label()),
                None => "no channel has a free place".into(),
            });
        }
        reasons
    }

    /// The verdict in one sentence, for the service manager.
    #[must_use]
    pub fn verdict(&self) -> Arc<str> {
        lock(&self.inner).verdict.clone()
    }
}

pub(super) fn in_one_line(snapshot: &Snapshot) -> String {
    let verdict = verdict::of(snapshot);
    match verdict.reasons.first() {
        Some(reason) => format!("{} {reason}", verdict.sentence),
        None => verdict.sentence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Settings;
    use base::ids::ConversationId;
    use base::rows::InteractionRow;
    use filing::{Settings as Filing, Unreported, Until};

    fn settings() -> Settings {
        Settings {
            platform: proto::Settings {
                max_channels: 20,
                topics_per_channel: 1000,
                renew_before: Duration::from_secs(3600),
                streaming: proto::connect_uri::Streaming::default(),
            },
            filing: Filing {
                until: Until::ConversationFinished,
                max_age: Duration::from_secs(72 * 3600),
                settle_for: Duration::from_secs(900),
                linger: Duration::from_secs(300),
                unreported: Unreported::Ignore,
                workers: 4,
                give_up_after: Duration::from_secs(72 * 3600),
                retain: Duration::from_secs(30 * 86_400),
                keep_bodies: Duration::from_secs(86_400),
                ..Filing::default()
            },
        }
    }

    fn now(ms: u64) -> Now {
        Now {
            mono: Mono(ms),
            wall: Wall(1_800_000_000_000 + ms as i64),
        }
    }

    fn full_house() -> Recovered {
        let row = |n: u32| InteractionRow {
            conversation: format!("7c1f4b9e-5d0a-4c58-9a3e-{n:012x}")
                .parse::<ConversationId>()
                .unwrap(),
            state: InteractionState::Watching,
            accepted_at: Wall(1_799_999_000_000),
            watched_since: Some(Wall(1_799_999_000_500)),
            ended_at: None,
            reason: None,
            last_event_at: None,
        };
        Recovered {
            interactions: (0..20_000).map(row).collect(),
            ..Recovered::default()
        }
    }

    #[test]
    fn a_full_house_is_counted_and_the_picture_of_it_costs_milliseconds() {
        let recovered = full_house();
        let published = Published::new(now(0), &recovered, Path::new("gateway.db"));
        let gateway = Gateway::new(settings(), &recovered, now(0), 1);
        let began = Instant::now();
        for turn in 1..=5 {
            published.update(&gateway, now(turn * 1000));
        }
        let each = began.elapsed() / 5;
        eprintln!("a snapshot of 20,000 interactions takes {each:?}");
        assert_eq!(
            published.snapshot().interaction(InteractionState::Watching),
            20_000
        );
        assert!(each < Duration::from_millis(500), "{each:?}");
    }

    #[test]
    fn what_the_store_thread_finds_out_shows_at_once_in_health_and_status() {
        let recovered = Recovered {
            damaged: Some("/x/gateway.db.damaged".into()),
            ..Recovered::default()
        };
        let published = Published::new(now(0), &recovered, Path::new("gateway.db"));
        let gateway = Gateway::new(settings(), &recovered, now(0), 1);
        published.update(&gateway, now(1));
        assert!(published.health().is_empty());
        assert!(published.verdict().contains("damaged"));
        published.aside(Aside::Pulse(Err(StoreTrouble::Full)));
        assert!(published.health()[0].contains("full"));
        assert!(published.snapshot().store_trouble.is_some());
        assert_eq!(published.store_over(), None);
        published.aside(Aside::Pulse(Ok(())));
        published.aside(Aside::Acknowledged);
        published.update(&gateway, now(2));
        assert!(published.health().is_empty());
        assert_eq!(published.snapshot().damaged, None);
        published.aside(Aside::Pulse(Err(StoreTrouble::Damaged)));
        assert_eq!(published.store_over(), Some(StoreTrouble::Damaged));
    }
}
