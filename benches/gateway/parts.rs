//! The parts of the benchmark, in the order in which they run.

use std::time::{Duration, Instant};

use crate::Bench;
use crate::callers::{Caller, report_all};
use crate::daemon::{self, BINARY, Daemon};
use crate::floors;
use crate::platform::Platform;
use crate::receiver::Receiver;
use crate::report::{Table, ms, quantile};

pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// Run when nothing in particular is asked for.
    pub(crate) usual: bool,
    pub(crate) run: fn(&mut Bench),
}

const fn part(name: &'static str, usual: bool, run: fn(&mut Bench)) -> Part {
    Part { name, usual, run }
}

pub(crate) const ALL: &[Part] = &[
    part("floors", true, floors),
    part("latency", true, latency),
    part("accept", true, accept),
    part("many", true, many),
    part("slow", true, slow),
    part("gap", false, gap),
    part("binary", true, binary),
];

const PATIENCE: Duration = Duration::from_secs(120);
/// How long nothing is asked while idling is measured.
const IDLE: Duration = Duration::from_secs(20);

mod names {
    pub(super) const SYNC: &str = "floor: one write and fdatasync, p50";
    pub(super) const SYNC_99: &str = "floor: one write and fdatasync, p99";
    pub(super) const POST: &str = "floor: one POST of the client library, p50";
    pub(super) const POST_99: &str = "floor: one POST of the client library, p99";
    pub(super) const POSTS: &str = "floor: POSTs, 4 workers";
    pub(super) const SERVER: &str = "floor: tiny_http alone, 64 connections";
    pub(super) const EVENT: &str = "event to filed at 50/s, p50";
    pub(super) const EVENT_99: &str = "event to filed at 50/s, p99";
    pub(super) const BURST: &str = "20,000 events at once, filed";
    pub(super) const ONE: &str = "supportInteraction, 1 connection, p50";
    pub(super) const SIXTEEN: &str = "supportInteraction, 16 connections";
    pub(super) const MANY: &str = "supportInteraction, 64 connections";
    pub(super) const SLOW: &str = "history manager 100 ms away, 16 workers";
}

fn floors(b: &mut Bench) {
    let receiver = Receiver::start(Duration::ZERO);
    for _ in 0..b.runs {
        let place = b.place();
        let syncs = floors::syncs(place.path());
        b.table
            .note(names::SYNC, ms(quantile(&syncs, 0.5)), "ms", true);
        b.table
            .note(names::SYNC_99, ms(quantile(&syncs, 0.99)), "ms", true);
        let (rate, alone) = floors::posts(&receiver, 4);
        b.table.note(names::POSTS, rate, "/s", false);
        b.table
            .note(names::POST, ms(quantile(&alone, 0.5)), "ms", true);
        b.table
            .note(names::POST_99, ms(quantile(&alone, 0.99)), "ms", true);
        let frames = floors::frames();
        b.table
            .note("floor: frames read by tungstenite", frames, "/s", false);
        b.table.note(names::SERVER, floors::server(64), "/s", false);
    }
}

/// A gateway with its surroundings.
struct World {
    platform: Platform,
    receiver: Receiver,
    daemon: Option<Daemon>,
    place: tempfile::TempDir,
}

impl World {
    fn new(b: &Bench, delay: Duration, history_lines: &str) -> World {
        let platform = Platform::start(&[]);
        let receiver = Receiver::start(delay);
        let place = b.place();
        daemon::configure(place.path(), &platform, &receiver.url, history_lines);
        let daemon = Some(Daemon::start(place.path()));
        World {
            platform,
            receiver,
            daemon,
            place,
        }
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// So many more conversations, begun, reported and watched.
    fn watch(&mut self, more: usize, watched: usize) -> Vec<String> {
        let ids = self.platform.begin(more);
        report_all(&self.daemon().intake, &ids, 16);
        self.daemon().wait_live((watched + more) as u64, PATIENCE);
        ids
    }
}

/// Events one by one, 50 a second: from the moment a frame goes out to the moment the
/// record has arrived.
fn latency(b: &mut Bench) {
    let mut world = World::new(b, Duration::ZERO, "");
    let count = 300;
    let mut watched = 0;
    for _ in 0..b.runs {
        let ids = world.watch(count, watched);
        watched += count;
        let mut took = Vec::new();
        for id in &ids {
            let next = Instant::now() + Duration::from_millis(20);
            let sent = world.platform.wrap_up(std::slice::from_ref(id));
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            took.push((id, sent));
        }
        assert!(world.receiver.book.wait_for(watched, PATIENCE));
        let mut each: Vec<f64> = took
            .iter()
            .map(|(id, sent)| {
                let came = world.receiver.book.when(id).unwrap();
                came.saturating_sub(*sent) as f64 / 1e6
            })
            .collect();
        each.sort_by(f64::total_cmp);
        b.table.note(names::EVENT, quantile(&each, 0.5), "ms", true);
        b.table
            .note(names::EVENT_99, quantile(&each, 0.99), "ms", true);
        // What was filed ends; the next run begins with places.
        watched = 0;
        world.receiver.book.forget();
        world = World::new(b, Duration::ZERO, "");
    }
}

fn accept(b: &mut Bench) {
    for _ in 0..b.runs {
        for (connections, name) in [(16, names::SIXTEEN), (64, names::MANY)] {
            let mut world = World::new(b, Duration::ZERO, "");
            let ids = world.platform.begin(15_000);
            let (took, each) = report_all(&world.daemon().intake, &ids, connections);
            let rate = ids.len() as f64 / took.as_secs_f64();
            b.table.note(name, rate, "/s", false);
            let tail = format!("{name}, p99");
            b.table.note(&tail, ms(quantile(&each, 0.99)), "ms", true);
        }
        let mut world = World::new(b, Duration::ZERO, "");
        let ids = world.platform.begin(2_000);
        let (_, each) = report_all(&world.daemon().intake, &ids, 1);
        b.table
            .note(names::ONE, ms(quantile(&each, 0.5)), "ms", true);
    }
}

/// What 1,000, 5,000 and 20,000 conversations cost, a restart with them, and all their
/// events at once.
fn many(b: &mut Bench) {
    for _ in 0..b.runs {
        let mut world = World::new(b, Duration::ZERO, "");
        let mut ids = world.watch(1, 0);
        let share = world.daemon().idle_share(IDLE);
        b.table.note(
            "idle, 1 channel, share of one core",
            share * 100.0,
            "%",
            true,
        );
        for count in [1_000, 5_000, 20_000] {
            let before = world.daemon().cpu();
            let more = count - ids.len();
            ids.extend(world.watch(more, ids.len()));
            let spent = world.daemon().cpu() - before;
            let each = spent.as_secs_f64() * 1e6 / more as f64;
            let name = format!("accept and watch, each, up to {count}");
            b.table.note(&name, each, "us", true);
            // What was needed only for a moment has gone back.
            std::thread::sleep(Duration::from_secs(12));
            let (now, _) = world.daemon().memory();
            let name = format!("resident with {count} conversations");
            b.table.note(&name, now, "MiB", true);
        }
        let share = world.daemon().idle_share(IDLE);
        b.table.note(
            "idle, 20 channels, share of one core",
            share * 100.0,
            "%",
            true,
        );
        restart(b, &mut world, &ids);
        burst(b, &mut world, &ids);
    }
}

fn restart(b: &mut Bench, world: &mut World, ids: &[String]) {
    world.daemon.take().unwrap().kill();
    world.daemon = Some(Daemon::start(world.place.path()));
    let daemon = world.daemon();
    Caller::new(&daemon.intake).report(&ids[0]);
    let answered = daemon.began.elapsed();
    b.table.note(
        "restart with 20,000: a caller is answered after",
        ms(answered),
        "ms",
        true,
    );
    let live = daemon.wait_live(ids.len() as u64, PATIENCE);
    b.table.note(
        "restart with 20,000: all live after",
        live.as_secs_f64(),
        "s",
        true,
    );
}

fn burst(b: &mut Bench, world: &mut World, ids: &[String]) {
    let before = world.daemon().cpu();
    let sent = world.platform.wrap_up(ids);
    assert!(
        world.receiver.book.wait_for(ids.len(), PATIENCE),
        "not everything was filed"
    );
    let took = (world.receiver.book.last() - sent) as f64 / 1e9;
    b.table
        .note(names::BURST, ids.len() as f64 / took, "/s", false);
    let spent = (world.daemon().cpu() - before).as_secs_f64() * 1e6;
    b.table.note(
        "one event of the burst",
        spent / ids.len() as f64,
        "us",
        true,
    );
    let (_, most) = world.daemon().memory();
    b.table
        .note("most resident until after the burst", most, "MiB", true);
    std::thread::sleep(Duration::from_secs(60));
    let (now, _) = world.daemon().memory();
    b.table
        .note("resident a minute after the burst", now, "MiB", true);
}

/// The history manager is far away, and 100,000 records wait for it: what it takes, and
/// what callers feel.
fn slow(b: &mut Bench) {
    let delay = Duration::from_millis(100);
    let world = World::new(b, delay, "workers = 16");
    let backlog = 100_000;
    let at = world.daemon().intake.clone();
    std::thread::scope(|scope| {
        for part in 0..32 {
            let at = &at;
            scope.spawn(move || {
                let mut caller = Caller::new(at);
                for n in 0..backlog / 32 {
                    caller.post(
                        "/customers/supportResult",
                        &format!("{{\"part\":{part},\"n\":{n},\"result\":\"done\"}}"),
                    );
                }
            });
        }
    });
    let mut world = world;
    for _ in 0..b.runs {
        let posts = || {
            world
                .receiver
                .book
                .posts
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        let (before, began) = (posts(), Instant::now());
        std::thread::sleep(Duration::from_secs(5));
        let rate = (posts() - before) as f64 / began.elapsed().as_secs_f64();
        b.table.note(names::SLOW, rate, "/s", false);
    }
    let ids = world.platform.begin(500);
    let (_, each) = report_all(&world.daemon().intake, &ids, 1);
    let name = "supportInteraction, 1 connection, 100,000 records waiting, p50";
    b.table.note(name, ms(quantile(&each, 0.5)), "ms", true);
}

/// All sockets drop, one in twenty wraps up meanwhile.
fn gap(b: &mut Bench) {
    let mut world = World::new(b, Duration::ZERO, "");
    let ids = world.watch(20_000, 0);
    let missed: Vec<String> = ids.iter().step_by(20).cloned().collect();
    let drop = serde_json::json!({
        "command": "fault", "fault": {"fault": "drop-socket", "channel": "all"},
    });
    world.platform.ask(&drop);
    let sent = world.platform.wrap_up(&missed);
    assert!(
        world
            .receiver
            .book
            .wait_for(missed.len(), Duration::from_secs(1200)),
        "not everything was filed"
    );
    let took = (world.receiver.book.last() - sent) as f64 / 1e9;
    b.table.note(
        "20 sockets dropped, 20,000 watched, 5 % missed: filed after",
        took,
        "s",
        true,
    );
}

fn binary(b: &mut Bench) {
    let bytes = std::fs::metadata(BINARY).unwrap().len();
    b.table.note("binary", bytes as f64 / 1e6, "MB", true);
}

/// Ratios to the floors of this run.
pub(crate) fn compare(table: &mut Table) {
    let of = |table: &Table, name: &str| table.median(name);
    if let (Some(sync), Some(post)) = (of(table, names::SYNC), of(table, names::POST)) {
        if let Some(event) = of(table, names::EVENT) {
            let ratio = event / (sync + post);
            table.against(
                names::EVENT,
                format!("{ratio:.2} x (one commit + one POST)"),
            );
        }
        if let Some(one) = of(table, names::ONE) {
            table.against(names::ONE, format!("{:.2} x one commit", one / sync));
        }
        if let Some(event) = of(table, names::EVENT_99) {
            let ratio = event / (sync + post);
            table.against(
                names::EVENT_99,
                format!("{ratio:.2} x (one commit + one POST), p50"),
            );
        }
    }
    if let (Some(posts), Some(burst)) = (of(table, names::POSTS), of(table, names::BURST)) {
        let share = 100.0 * burst / posts;
        table.against(
            names::BURST,
            format!("{share:.0} % of the client library alone"),
        );
    }
    if let (Some(server), Some(many)) = (of(table, names::SERVER), of(table, names::MANY)) {
        let share = 100.0 * many / server;
        table.against(names::MANY, format!("{share:.0} % of tiny_http alone"));
    }
    if let (Some(many), Some(sixteen)) = (of(table, names::MANY), of(table, names::SIXTEEN)) {
        table.against(
            names::SIXTEEN,
            format!("64 connections: {:.2} x", many / sixteen),
        );
    }
    if let Some(slow) = of(table, names::SLOW) {
        table.against(
            names::SLOW,
            format!("{:.0} % of 160/s", 100.0 * slow / 160.0),
        );
    }
}
