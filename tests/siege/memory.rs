//! After a burst of large bodies the memory goes back to the system, as the unit has it run.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::measure::Measured;
use crate::support::{History, Platform, Setup, http, wait_within};

/// What the unit sets for the process.
pub(crate) fn environment() -> Vec<(String, String)> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/genesys-gateway.service");
    let text = std::fs::read_to_string(unit).unwrap();
    let lines = text.lines().filter_map(|l| l.strip_prefix("Environment="));
    let pairs = lines.flat_map(str::split_whitespace);
    pairs
        .filter_map(|p| p.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn after_a_burst_of_bodies_of_four_megabytes_memory_goes_back_within_ten_seconds() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("http", "max-body = \"4MiB\"");
    setup.env("RUST_LOG", "info");
    for (name, value) in environment() {
        setup.env(&name, &value);
    }
    let gateway = setup.start();
    gateway.wait_ready();
    let measured = || Measured::of(gateway.pid(), setup.directory()).rss_mib;
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    let before = measured();
    let body = json!({"conversationId": id, "notes": "n".repeat(3_900_000)}).to_string();
    let mut peak = 0;
    let url = gateway.interactions();
    std::thread::scope(|scope| {
        for n in 0..60u64 {
            let (url, body) = (&url, &body);
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(n * 20));
                let _ = http::try_call(
                    "POST",
                    url,
                    &[("Content-Type", "application/json")],
                    Some(body),
                );
            });
        }
        for _ in 0..30 {
            peak = peak.max(measured());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let mut last = 0;
    let after = wait_within(Duration::from_secs(10), "memory to go back", || {
        last = measured();
        if last <= before + 24 {
            Ok(last)
        } else {
            Err(format!("{last} MiB, before {before}, most {peak}"))
        }
    });
    println!("MiB before {before}, most {peak}, after {after}");
    assert!(peak >= before + 16, "no burst: {before}, {peak}, {after}");
}
