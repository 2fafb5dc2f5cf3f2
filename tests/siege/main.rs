//! A siege of the real binary: attacks one after the other and then all at once, while good
//! callers on another address report conversations whose records have to be filed.
//!
//! `SIEGE_SECONDS=1800 cargo test --test siege -- --nocapture` besieges it for half an hour; without it
//! it takes some twenty seconds. The table at the end says what was sent, what happened to
//! others, and memory, threads, descriptors and temporary files before and after.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod good;
mod measure;
mod memory;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use attacks::{ATTACKS, Field};
use good::Good;
use measure::Measured;
use support::{History, Platform, Setup, http, wait_within};

/// Of a caller, and what a caller may have to wait for.
pub(crate) const TOKEN: &str = "siege-token-of-thirty-two-letters";
/// Invented ids have more of them opened: a thread and a few descriptors each.
const CHANNELS: u64 = 20;
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

fn seconds() -> u64 {
    let set = std::env::var("SIEGE_SECONDS").ok();
    set.and_then(|s| s.parse().ok()).unwrap_or(20)
}

struct Row {
    attack: String,
    sent: u64,
    good: String,
    before: Measured,
    peak: u64,
    after: Measured,
}

#[test]
fn under_siege_good_callers_are_answered_records_are_filed_and_nothing_grows() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.write("tokens", &format!("{TOKEN}\n"));
    setup.set("http", "listen = \"0.0.0.0:0\"");
    setup.set("http", "api-tokens-file = \"./tokens\"");
    setup.set("http", "max-body = \"4MiB\"");
    // So few places that a siege of minutes takes them all.
    setup.set("channels", "topics-per-channel = 10");
    setup.env("RUST_LOG", "info");
    let temporary = setup.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    for (name, value) in memory::environment() {
        setup.env(&name, &value);
    }
    setup.env("TMPDIR", temporary.to_str().unwrap());
    let gateway = setup.start();
    let pid = gateway.pid();
    let measured = || Measured::of(pid, &temporary);
    let field = Field::new(&gateway.intake, &gateway.operators);
    let good = Good::new(&platform, &field);
    field.large_interaction(&platform);

    // Warm: threads, caches and arenas have the size that ordinary work gives them.
    let calm = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| good.work(&calm));
        scope.spawn(|| attacks::ordinary(&field, &calm));
        std::thread::sleep(Duration::from_secs(3));
        calm.store(true, Ordering::Relaxed);
    });
    good.look();
    let whole = Duration::from_secs(seconds());
    besiege(ATTACKS, whole / 8, &field, &good, &measured);
    std::thread::sleep(Duration::from_secs(5));
    let start = measured();

    // Half of the time one after the other, the other half all at once.
    let each = whole / 2 / u32::try_from(ATTACKS.len()).unwrap();
    let mut rows = Vec::new();
    for attack in ATTACKS {
        rows.push(besiege(&[*attack], each, &field, &good, &measured));
    }
    rows.push(besiege(ATTACKS, whole / 2, &field, &good, &measured));
    // Silence goes with its sockets, and memory goes back.
    let end = wait_within(Duration::from_secs(30), "calm after the siege", || {
        let now = measured();
        if now.threads <= start.threads + CHANNELS && now.rss_mib <= start.rss_mib + 24 {
            Ok(now)
        } else {
            Err(format!("{now:?}, before {start:?}"))
        }
    });
    print(&rows, start, end);
    good.all_filed(&history);
    assert!(
        end.descriptors <= start.descriptors + 4 * CHANNELS as usize,
        "{start:?} {end:?}"
    );
    assert!(end.temporary <= start.temporary, "{start:?} {end:?}");
}

impl Row {
    fn print(&self) {
        let (before, after) = (self.before, self.after);
        println!(
            "| {} | {} | {} | {}, {}, {} | {}, {} | {}, {} | {}, {} |",
            self.attack,
            self.sent,
            self.good,
            before.rss_mib,
            self.peak,
            after.rss_mib,
            before.threads,
            after.threads,
            before.descriptors,
            after.descriptors,
            before.temporary,
            after.temporary,
        );
    }
}

/// Lets attacks run for a while, and good callers with them.
fn besiege(
    attacks: &[attacks::Attack],
    span: Duration,
    field: &Field,
    good: &Good,
    measured: &(impl Fn() -> Measured + Sync),
) -> Row {
    let before = measured();
    let (over, mut peak) = (AtomicBool::new(false), 0);
    let sent = std::thread::scope(|scope| {
        let running: Vec<_> = attacks
            .iter()
            .map(|a| scope.spawn(|| (a.run)(field, &over)))
            .collect();
        scope.spawn(|| good.work(&over));
        scope.spawn(|| good.watch_health(&over));
        let end = Instant::now() + span;
        while Instant::now() < end {
            peak = peak.max(measured().rss_mib);
            std::thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
        running.into_iter().map(|r| r.join().unwrap()).sum()
    });
    let name = match attacks {
        [one] => one.name.to_owned(),
        _ => String::from("all at once"),
    };
    let seen = good.look();
    let text = seen.text();
    let row = Row {
        attack: name.clone(),
        sent,
        good: text.clone(),
        before,
        peak,
        after: measured(),
    };
    row.print();
    assert!(
        seen.answers > 0 && seen.looks > 0,
        "{name}: nobody was answered"
    );
    assert_eq!(seen.refused, 0, "{name}: {text} {:?}", seen.last_refusal);
    // A machine that does something else has its hiccups.
    let late = seen.over(ANSWERED_WITHIN);
    let most = 1.max((seen.answers + seen.looks) / 50);
    assert!(late <= most, "{name}: {late} late of {text}");
    assert_eq!(seen.over(ANSWERED_WITHIN * 5), 0, "{name}: {text}");
    row
}

fn print(rows: &[Row], start: Measured, end: Measured) {
    println!(
        "| Attack | Sent | Good caller and `/healthz` meanwhile | MiB before, most, after | \
         Threads | Descriptors | Temporary files |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        row.print();
    }
    println!("warm {start:?}; after {end:?}");
}

/// What is reported, as a body.
pub(crate) fn report(id: &str) -> String {
    json!({ "conversationId": id }).to_string()
}

/// A call with the token.
pub(crate) fn call(method: &str, url: &str, body: Option<&str>) -> Result<http::Answer, String> {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    http::try_call(method, url, &headers, body)
}
