//! The real binary at its limits: two channels, all channels and one
//! interaction more; all sockets dropped at once; a closing notice on a full
//! channel.
//!
//! As part of the test run the channels are made small (50 topics), so that 20
//! of them are full with 1,000 interactions. The platform's real size, 20,000
//! interactions on 20 channels, by hand:
//!
//! ```text
//! FULL=1 cargo test --release --test capacity -- --nocapture
//! ```
//!
//! `REST_PER_MINUTE` changes what the platform allows (300 where nothing is said).

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the crash loop uses more of it")]
#[path = "../crash/account.rs"]
mod account;
#[allow(dead_code, reason = "the crash loop uses more of it")]
#[path = "../crash/house.rs"]
mod house;
#[allow(dead_code, reason = "the crash loop uses more of it")]
#[path = "../crash/receiver.rs"]
mod receiver;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use account::{Accepted, account};
use base::ids::ConversationId;
use base::rng::Rng;
use house::{Caller, Daemon, Doors, configure, number, until};
use receiver::Receiver;
use serde_json::Value;
use simulator::model::{Control, Fault, Settings, Start};
use simulator::{Options, Running};

/// One at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full() -> bool {
    std::env::var_os("FULL").is_some()
}

/// How many callers report interactions at the same time.
const CALLERS: usize = 32;

/// Platform, history manager and gateway, ready.
struct Scene {
    platform: Running,
    receiver: Receiver,
    daemon: Daemon,
    doors: Doors,
    accepted: Accepted,
    rng: Rng,
    patience: Duration,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(seed: u64, topics_per_channel: usize, rest_per_minute: u64) -> Scene {
        let mut settings = Settings::default();
        settings.switches.rest_per_minute = number("REST_PER_MINUTE").unwrap_or(rest_per_minute);
        settings.limits.journal = 200_000;
        let platform = simulator::start(Options {
            settings,
            seed,
            ..Options::default()
        })
        .unwrap();
        let receiver = Receiver::start(seed);
        let directory = tempfile::tempdir().unwrap();
        let config = configure(
            directory.path(),
            &platform,
            &receiver.url,
            &[(
                "channels",
                &format!("topics-per-channel = {topics_per_channel}\n"),
            )],
        );
        let log = match std::env::var_os("LOG_TO") {
            Some(path) => PathBuf::from(path),
            None => directory.path().join("log"),
        };
        let mut daemon = Daemon::start(&config, &log);
        let doors = daemon.up();
        until("the gateway is ready", house::PATIENCE, || {
            (Caller::new(doors.status).get("/readyz").ok()?.0 == 200).then_some(())
        });
        Scene {
            platform,
            receiver,
            daemon,
            doors,
            accepted: Accepted::new(),
            rng: Rng::new(seed),
            patience: Duration::from_secs(if full() { 1800 } else { 60 }),
            _directory: directory,
        }
    }

    /// Conversations that have begun on the platform.
    fn begin(&mut self, n: usize) -> Vec<ConversationId> {
        let ids: Vec<_> = (0..n).map(|_| ConversationId(self.rng.uuid())).collect();
        for some in ids.chunks(500) {
            let mut model = self.platform.model();
            for id in some {
                let start = Start {
                    id: Some(*id),
                    ..Start::default()
                };
                model.with(|p, now| p.control(&Control::Start(start), now).unwrap());
            }
        }
        ids
    }

    /// Reports them from many callers; every one has to be accepted. Gives the time it took.
    fn report(&mut self, ids: &[ConversationId]) -> Duration {
        let next = AtomicUsize::new(0);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CALLERS.min(ids.len()) {
                scope.spawn(|| {
                    let mut caller = Caller::new(self.doors.http);
                    while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let body = format!(
                            "{{\"conversationId\":\"{id}\",\"customer\":\"C-{id}\",\"channel\":\"voice\"}}"
                        );
                        loop {
                            match caller.post("/customers/supportInteraction", "", &body) {
                                Ok((202, _)) => break,
                                Ok((503, _)) => std::thread::sleep(Duration::from_millis(50)),
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                });
            }
        });
        self.accepted.extend(ids.iter().map(|id| (*id, None)));
        began.elapsed()
    }

    fn status(&self) -> Value {
        let (code, status) = Caller::new(self.doors.status).get("/status").unwrap();
        assert_eq!(code, 200);
        status
    }

    fn count(&self, pointer: &str) -> u64 {
        self.status()
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    fn state(&self, id: ConversationId) -> String {
        let path = format!("/customers/supportInteraction/{id}");
        let (code, shown) = Caller::new(self.doors.http).get(&path).unwrap();
        assert_eq!(code, 200, "{shown}");
        shown["state"].as_str().unwrap().to_owned()
    }

    fn all_watched(&self, n: usize) -> Duration {
        let began = Instant::now();
        until("all are watched", self.patience, || {
            let status = self.status();
            let of = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64);
            (of("/interactions/watching") == Some(n as u64)
                && of("/topics/live") == Some(n as u64)
                && of("/store/uncommitted") == Some(0))
            .then_some(())
        });
        began.elapsed()
    }

    fn command(&self, command: &Control) {
        let mut model = self.platform.model();
        model.with(|p, now| p.control(command, now)).unwrap();
    }

    fn finish(&self, ids: &[ConversationId]) {
        for id in ids {
            self.command(&Control::Finish { conversation: *id });
        }
    }

    /// Channels with topics, and the topics on all of them.
    fn on_platform(&self) -> (usize, usize) {
        let model = self.platform.model();
        let truth = model.platform().truth();
        let used = truth.channels().filter(|c| c.topics > 0).count();
        (used, truth.channels().map(|c| c.topics).sum())
    }

    fn rest_requests(&self) -> u64 {
        let model = self.platform.model();
        model.platform().truth().ledger().calls.values().sum()
    }

    /// What holds at every moment, looked at afterwards.
    fn kept_the_limits(&self, topics_per_channel: usize) {
        let model = self.platform.model();
        let ledger = model.platform().truth().ledger();
        assert!(ledger.held_most <= 20, "{} channels held", ledger.held_most);
        assert!(ledger.channels_created <= 20 || ledger.evicted_connected == 0);
        assert!(
            ledger.topics_most <= topics_per_channel,
            "{} topics on one channel",
            ledger.topics_most
        );
        assert_eq!(ledger.over_limit, 0, "subscribes over the limit");
        assert_eq!(ledger.rate_limited, 0, "the platform had to say 429");
    }

    /// Every wrap-up filed under one key; gives how many were rebuilt.
    fn all_filed(&self) -> usize {
        let settled = |found: &account::Account| found.missing.is_empty() || !found.sound();
        // First by number, which costs nothing; then one by one.
        until("as many are filed as happened", self.patience, || {
            let happened = self.platform.model().platform().truth().wrap_ups().len();
            (self.receiver.look(|held| held.filed.len()) >= happened).then_some(())
        });
        let found = until("every wrap-up is filed", self.patience, || {
            Some(self.account()).filter(settled)
        });
        assert!(found.sound(), "{found:#?}");
        found.rebuilt
    }

    fn account(&self) -> account::Account {
        let wrap_ups = {
            let model = self.platform.model();
            model.platform().truth().wrap_ups().to_vec()
        };
        self.receiver
            .look(|held| account(&wrap_ups, &self.accepted, held))
    }
}

#[test]
fn one_more_than_fits_on_a_channel_takes_two_channels() {
    let _alone = alone();
    let mut scene = Scene::new(1, 1000, 300);
    let ids = scene.begin(1001);
    let took = scene.report(&ids);
    let waited = scene.all_watched(ids.len());
    assert_eq!(scene.on_platform(), (2, 1001));
    scene.kept_the_limits(1000);
    println!(
        "1,001 interactions on two channels: accepted in {:.2} s ({:.0}/s), all watched {:.2} s later; {}",
        took.as_secs_f64(),
        ids.len() as f64 / took.as_secs_f64(),
        waited.as_secs_f64(),
        scene.daemon.usage()
    );
}

#[test]
fn all_channels_are_used_and_one_more_interaction_waits_for_a_place() {
    let _alone = alone();
    let per_channel = if full() { 1000 } else { 50 };
    let rest = if full() { 300 } else { 3000 };
    let mut scene = Scene::new(2, per_channel, rest);
    let ids = scene.begin(20 * per_channel);
    let empty = scene.daemon.usage();
    let took = scene.report(&ids);
    let accepted = scene.daemon.usage();
    let waited = scene.all_watched(ids.len());
    let watched = scene.daemon.usage();
    assert_eq!(scene.on_platform(), (20, ids.len()));
    scene.kept_the_limits(per_channel);

    let one = scene.begin(1);
    scene.report(&one);
    until("the one too many is waiting", scene.patience, || {
        (scene.count("/topics/waiting") == 1).then_some(())
    });
    assert_eq!(scene.state(one[0]), "accepted");
    let (ready, why) = Caller::new(scene.doors.status).get("/readyz").unwrap();
    assert_eq!(ready, 503, "{why}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(scene.state(one[0]), "accepted");
    assert_eq!(scene.on_platform(), (20, ids.len()));

    let freed = Instant::now();
    scene.finish(&ids[..1]);
    until("the one too many is watched", scene.patience, || {
        (scene.state(one[0]) == "watching").then_some(())
    });
    let freed = freed.elapsed();
    assert_eq!(scene.state(ids[0]), "finished");
    assert_eq!(scene.on_platform(), (20, ids.len()));
    scene.all_filed();
    scene.kept_the_limits(per_channel);
    let idle = (scene.daemon.usage(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let rest = scene.daemon.usage().processor - idle.0.processor;
    println!(
        "{} interactions on 20 channels: accepted in {:.2} s ({:.0}/s), all watched {:.2} s later\n\
         before:  {empty}\naccepted: {accepted}\nwatched: {watched}\n\
         one more: watched {:.2} s after another conversation had ended\n\
         afterwards {:.1} % of one processor",
        ids.len(),
        took.as_secs_f64(),
        ids.len() as f64 / took.as_secs_f64(),
        waited.as_secs_f64(),
        freed.as_secs_f64(),
        rest.as_secs_f64() / idle.1.elapsed().as_secs_f64() * 100.0
    );
    let (status, took) = scene.daemon.stop();
    assert_eq!(status.code(), Some(0));
    println!("stopped in {:.2} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(10));
}

#[test]
fn all_sockets_dropped_at_once_lose_nothing_of_what_is_wrapped_up_meanwhile() {
    let _alone = alone();
    let per_channel = if full() { 1000 } else { 25 };
    let rest = if full() { 300 } else { 3000 };
    let mut scene = Scene::new(3, per_channel, rest);
    let ids = scene.begin(20 * per_channel);
    scene.report(&ids);
    scene.all_watched(ids.len());
    let before = (scene.rest_requests(), scene.daemon.usage());
    let began = Instant::now();
    // Under one lock: nobody is connected while every twentieth agent wraps up.
    let wrapped: Vec<ConversationId> = ids.iter().step_by(20).copied().collect();
    {
        let mut model = scene.platform.model();
        let all = Fault::DropSocket {
            channel: "all".into(),
            code: None,
        };
        model.with(|p, now| {
            let dropped = p.control(&Control::Fault { fault: all }, now).unwrap();
            assert_eq!(dropped["touched"], 20);
            for id in &wrapped {
                p.control(&Control::Finish { conversation: *id }, now)
                    .unwrap();
            }
        });
    }
    until("the gap is noticed", scene.patience, || {
        (scene.count("/gaps/topics") >= ids.len() as u64).then_some(())
    });
    until("everything is live again", scene.patience, || {
        let live = scene.count("/topics/live");
        (live as usize >= ids.len() - wrapped.len()).then_some(())
    });
    let live = began.elapsed();
    let rebuilt = scene.all_filed();
    let filed = (began.elapsed(), scene.rest_requests() - before.0);
    assert_eq!(rebuilt, wrapped.len());
    until("every check is done", scene.patience, || {
        (scene.count("/checks/due") == 0 && scene.count("/checks/inFlight") == 0).then_some(())
    });
    let whole = began.elapsed();
    scene.kept_the_limits(per_channel);
    let after = scene.daemon.usage();
    println!(
        "{} conversations, all 20 sockets dropped, {} wrapped up in the gap:\n\
         all live again after {:.2} s, all {rebuilt} filed after {:.1} s with {} REST requests,\n\
         nothing due for a check after {:.1} s with {} REST requests\n\
         {after}; {:.2} s of processor time in this",
        ids.len(),
        wrapped.len(),
        live.as_secs_f64(),
        filed.0.as_secs_f64(),
        filed.1,
        whole.as_secs_f64(),
        scene.rest_requests() - before.0,
        (after.processor - before.1.processor).as_secs_f64(),
    );
}

#[test]
fn a_closing_notice_on_a_full_channel_loses_no_event_that_flows_meanwhile() {
    let _alone = alone();
    let mut scene = Scene::new(4, 1000, 3000);
    let ids = scene.begin(1000);
    scene.report(&ids);
    scene.all_watched(ids.len());
    let full = {
        let model = scene.platform.model();
        let truth = model.platform().truth();
        let channel = truth.channels().find(|c| c.topics == 1000);
        channel.expect("a channel with 1000 topics").id.to_owned()
    };
    let mut next = ids.iter();
    let mut wrap_up = |n: usize| {
        for id in next.by_ref().take(n) {
            scene.command(&Control::Finish { conversation: *id });
            std::thread::sleep(Duration::from_millis(4));
        }
    };
    wrap_up(100);
    let noticed = Instant::now();
    scene.command(&Control::Fault {
        fault: Fault::Closing {
            channel: full.clone(),
        },
    });
    wrap_up(700);
    let tail = &full[full.len() - 4..];
    let closed = until("the old socket is closed", Duration::from_secs(55), || {
        let model = scene.platform.model();
        model
            .platform()
            .journal_kept()
            .find(|e| e.kind == "closed" && e.channel.as_deref() == Some(tail))
            .map(|e| e.what.clone())
    });
    let dropped = noticed.elapsed();
    wrap_up(200);
    let rebuilt = scene.all_filed();
    scene.kept_the_limits(1000);
    let model = scene.platform.model();
    let ledger = model.platform().truth().ledger();
    println!(
        "closing notice with 1,000 topics live and events flowing: old socket closed ({closed}) \
         within {:.2} s of 60; {} of 1000 wrap-ups came by notification, {rebuilt} over REST; \
         {} channels made",
        dropped.as_secs_f64(),
        1000 - rebuilt,
        ledger.channels_created
    );
    assert!(dropped < Duration::from_secs(30), "{dropped:?}");
    assert_eq!(
        rebuilt, 0,
        "nothing was missed, so nothing had to be rebuilt"
    );
}

#[test]
fn everybody_wrapping_up_at_once_is_filed_without_asking_the_platform() {
    let _alone = alone();
    let per_channel = if full() { 1000 } else { 50 };
    let mut scene = Scene::new(5, per_channel, 300);
    let ids = scene.begin(20 * per_channel);
    scene.report(&ids);
    scene.all_watched(ids.len());
    let before = scene.daemon.usage();
    let began = Instant::now();
    scene.finish(&ids);
    let emitted = began.elapsed();
    let rebuilt = scene.all_filed();
    let filed = began.elapsed();
    let after = scene.daemon.usage();
    scene.kept_the_limits(per_channel);
    println!(
        "{} wrap-ups at once: emitted in {:.2} s, all filed after {:.2} s ({:.0}/s), {rebuilt} of them over REST; \
         {after}; {:.2} s of processor time in this",
        ids.len(),
        emitted.as_secs_f64(),
        filed.as_secs_f64(),
        ids.len() as f64 / filed.as_secs_f64(),
        (after.processor - before.processor).as_secs_f64()
    );
    assert_eq!(rebuilt, 0);
}
