//! The crash loop: the real binary under load, killed at random moments and
//! started again, until every conversation is accounted for.
//!
//! The platform simulator and the history manager live in this process and go
//! on while the gateway is down; callers repeat a request until it is answered.
//! Afterwards: nothing that was answered 2xx is missing, nothing that could be
//! known is lost, nothing is filed under two keys, and never were more than 20
//! channels connected or holding topics.
//!
//! ```text
//! cargo test --test crash -- --nocapture                            15 cycles
//! CYCLES=200 cargo test --release --test crash -- --nocapture       the long run
//! SEED=7 CYCLES=200 cargo test --release --test crash -- --nocapture    again
//! ```
//!
//! The seed decides what happens on the platform and when the gateway is
//! killed; the order of threads is the machine's, so a replay is the same run
//! only as far as that goes. A `kill -9` loses what the process holds, not what
//! the kernel holds: that a commit survives the loss of power rests on
//! `synchronous=FULL` and on a disk that does not lie, and is not shown here.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used)]

mod account;
#[allow(dead_code, reason = "the capacity tests use more of it")]
mod house;
mod load;
mod receiver;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use account::{Accepted, Account, account};
use base::ids::ConversationId;
use base::rng::Rng;
use base::time::Wall;
use house::{Caller, Daemon, Doors, configure, number};
use load::Load;
use receiver::Receiver;
use serde_json::Value;
use simulator::model::{Control, Fault, Settings};
use simulator::{Options, Running};

/// Small, so that a few hundred conversations need many of the 20 channels.
const TOPICS_PER_CHANNEL: usize = 20;

/// Conversations that last as long as the loop: they fill 18 of the 20 channels.
const LASTING: usize = 360;

/// Conversations that come and go in each cycle.
const PASSING: usize = 30;

/// A gateway lives at most this long.
const LIFE_MAX: Duration = Duration::from_millis(2800);

struct Scene {
    seed: u64,
    platform: Running,
    receiver: Receiver,
    load: Load,
    rng: Rng,
}

#[test]
fn a_gateway_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let seed = number("SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) % 1_000_000
    });
    let cycles = number("CYCLES").unwrap_or(15);
    println!(
        "seed {seed}, {cycles} cycles; again: SEED={seed} CYCLES={cycles} cargo test --test crash -- --nocapture"
    );
    let mut settings = Settings::default();
    // The loop is about crashes; with 300 requests a minute it would mostly wait for the budget.
    settings.switches.rest_per_minute = 30_000;
    settings.switches.analytics_latency_seconds = 1;
    let platform = simulator::start(Options {
        settings,
        seed,
        ..Options::default()
    })
    .unwrap();
    let receiver = Receiver::start(seed);
    receiver.trouble(15);
    let directory = tempfile::tempdir().unwrap();
    let config = configure(
        directory.path(),
        &platform,
        &receiver.url,
        &[
            ("history", "timeout = \"2s\"\n"),
            (
                "channels",
                &format!("topics-per-channel = {TOPICS_PER_CHANNEL}\n"),
            ),
        ],
    );
    let log = directory.path().join("log");
    let mut scene = Scene {
        seed,
        load: Load::start(seed),
        platform,
        receiver,
        rng: Rng::new(seed),
    };

    let lasting = scene.load.last(&scene.platform, LASTING);
    let began = Instant::now();
    let mut downs = 0;
    let mut before_up = 0;
    for cycle in 0..cycles {
        let mut daemon = Daemon::start(&config, &log);
        let dies = Instant::now() + scene.rng.between(Duration::from_millis(20), LIFE_MAX);
        scene.load.plan(&scene.platform, PASSING);
        let mut doors = None;
        while Instant::now() < dies {
            if let Some(status) = daemon.ended() {
                panic!(
                    "cycle {cycle}: it ended by itself with {status}:\n{}",
                    daemon.said()
                );
            }
            if doors.is_none() {
                doors = daemon.doors();
                scene.load.knock_at(doors.map(|d| d.http));
            } else if scene.rng.chance(3) {
                scene.hardship();
            }
            std::thread::sleep(Duration::from_millis(10).min(dies - Instant::now()));
        }
        before_up += u32::from(doors.is_none());
        daemon.kill();
        scene.load.knock_at(None);
        downs += 1;
        // Life goes on while nobody watches.
        std::thread::sleep(
            scene
                .rng
                .between(Duration::ZERO, Duration::from_millis(200)),
        );
        scene.sound_so_far(cycle, &log);
    }
    let looped = began.elapsed();

    // Half of the lasting ones end while nobody watches, half under the last gateway's eyes.
    scene.receiver.trouble(0);
    let (unwatched, watched) = lasting.split_at(LASTING / 2);
    scene.finish(unwatched);
    let mut daemon = Daemon::start(&config, &log);
    let doors = daemon.up();
    scene.finish(watched);
    scene.load.knock_at(Some(doors.http));
    let resting = Instant::now();
    let found = scene.come_to_rest(doors, &log);
    let rested = resting.elapsed();
    let usage = daemon.usage();
    let (status, _) = daemon.stop();
    assert_eq!(status.code(), Some(0));

    let said = std::fs::read_to_string(&log).unwrap();
    for word in ["panicked", "defect", "this should not happen"] {
        assert!(!said.contains(word), "{word}: {}", lines_with(&said, word));
    }
    let model = scene.platform.model();
    let ledger = model.platform().truth().ledger();
    println!(
        "{downs} times killed ({before_up} before it was up) in {:.1} s, at rest {:.1} s after the last start\n\
         {} interactions accepted, {} support results; {} wrap-ups due, {} filed, of those {} rebuilt over REST; 0 lost, 0 doubled\n\
         {} channels made, most held at once {}, evicted {} ({} with a socket), second sockets {}\n\
         {} REST requests, {} tokens; {usage}",
        looped.as_secs_f64(),
        rested.as_secs_f64(),
        scene.load.accepted().len(),
        scene.load.results().len(),
        found.due,
        found.filed,
        found.rebuilt,
        ledger.channels_created,
        ledger.held_most,
        ledger.evicted,
        ledger.evicted_connected,
        ledger.second_sockets,
        ledger.calls.values().sum::<u64>(),
        ledger.tokens_given,
    );
    assert!(ledger.held_most <= 20, "{} channels held", ledger.held_most);
    assert_eq!(ledger.evicted_connected, 0, "a channel in use was evicted");
    assert!(ledger.topics_most <= TOPICS_PER_CHANNEL);
    assert!(found.due > 0 && found.rebuilt > 0, "{found:?}");
}

fn lines_with(text: &str, word: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| l.contains(word)).take(5).collect();
    lines.join("\n")
}

impl Scene {
    fn finish(&self, conversations: &[ConversationId]) {
        let mut model = self.platform.model();
        for id in conversations {
            let finish = Control::Finish { conversation: *id };
            model.with(|p, now| p.control(&finish, now)).unwrap();
        }
    }

    /// Something that the platform does to everybody now and then.
    fn hardship(&mut self) {
        let channel = || "any".to_owned();
        let fault = match self.rng.below(13) {
            0..2 => Fault::DropSocket {
                channel: channel(),
                code: Some(1001),
            },
            2..4 => Fault::DropSocket {
                channel: channel(),
                code: None,
            },
            4..6 => Fault::Closing { channel: channel() },
            6..8 => Fault::ExpireChannel { channel: channel() },
            8 => Fault::RevokeTokens,
            // Until the next one: frames come twice, late, or in another order.
            n @ 9..12 => Fault::Events {
                mode: ["repeat", "delay", "swap"][n as usize - 9].into(),
                percent: 30,
                delay_ms: 1500,
                times: None,
            },
            _ => Fault::DropSocket {
                channel: "all".into(),
                code: None,
            },
        };
        // Refused while there is no channel, which is as well.
        let mut model = self.platform.model();
        let _ = model.with(|p, now| p.control(&Control::Fault { fault }, now));
    }

    fn account(&self, accepted: &Accepted) -> Account {
        let wrap_ups = {
            let model = self.platform.model();
            model.platform().truth().wrap_ups().to_vec()
        };
        self.receiver
            .look(|held| account(&wrap_ups, accepted, held))
    }

    /// What may never happen, not even for a moment.
    fn sound_so_far(&self, cycle: u64, log: &std::path::Path) {
        let found = self.account(&Accepted::new());
        if !found.sound() {
            self.give_up(&format!("after cycle {cycle}: {found:#?}"), log);
        }
    }

    /// Waits until everything is accounted for.
    fn come_to_rest(&self, doors: Doors, log: &std::path::Path) -> Account {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let left = self.load.left();
            let (accepted, open) = self.accepted(doors);
            let found = self.account(&accepted);
            let results = self.results_wrong();
            if !found.sound() {
                self.give_up(&format!("{found:#?}"), log);
            }
            if left == 0 && open.is_empty() && found.missing.is_empty() && results.is_empty() {
                return found;
            }
            if Instant::now() >= deadline {
                let text = format!(
                    "{left} requests not answered, not ended: {open:#?}, results: {results:#?}, {found:#?}"
                );
                self.give_up(&text, log);
            }
        }
    }

    /// Every interaction that was answered 2xx, as the gateway shows it now; and
    /// those that have not ended, in words. None may be missing.
    fn accepted(&self, doors: Doors) -> (Accepted, Vec<String>) {
        let mut caller = Caller::new(doors.http);
        let mut open = Vec::new();
        let mut accepted = Accepted::new();
        for id in self.load.accepted() {
            let path = format!("/customers/supportInteraction/{id}");
            let (code, shown) = caller.get(&path).unwrap();
            assert_eq!(
                code, 200,
                "accepted and not there: {id} (seed {})",
                self.seed
            );
            if shown["state"] != "finished" {
                open.push(format!("{id}: {shown}"));
            }
            let ended = shown["finishedAt"].as_str().and_then(Wall::parse_rfc3339);
            accepted.insert(id, ended);
        }
        open.truncate(5);
        (accepted, open)
    }

    /// Support results that are not filed once, in words.
    fn results_wrong(&self) -> Vec<String> {
        let expected = self.load.results();
        self.receiver.look(|held| {
            let mut wrong = Vec::new();
            for (marker, record) in &expected {
                let under: Vec<&String> = held
                    .filed
                    .iter()
                    .filter(|(_, f)| {
                        f.body.pointer("/result/marker") == Some(&Value::from(*marker))
                    })
                    .map(|(key, _)| key)
                    .collect();
                if under != [record] {
                    wrong.push(format!(
                        "result {marker} was accepted as {record}, filed as {under:?}"
                    ));
                }
            }
            wrong
        })
    }

    /// Fails with everything that helps to find out why; the log is kept.
    fn give_up(&self, what: &str, log: &std::path::Path) -> ! {
        let kept = std::env::temp_dir().join(format!("crash-{}.log", self.seed));
        let _ = std::fs::copy(log, &kept);
        panic!(
            "seed {}: {what}\nthe gateway's log is kept as {}",
            self.seed,
            kept.display()
        );
    }
}
