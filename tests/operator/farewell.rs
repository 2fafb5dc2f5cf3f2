//! A stop while the disk does not take what is in memory: within the time, and with the truth.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, History, Platform, Setup, Shim, http, wait_for};

const ALL_ON_DISK: &str = "stopped; everything taken is on disk";

/// Stops it, and gives the last line.
fn farewell(gateway: &mut Gateway) -> String {
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(10), "stopped after {took:?}");
    gateway.wait_log("stopped;")
}

/// A wrap-up that is taken and cannot be committed.
fn wrap_up(platform: &Platform, gateway: &Gateway, id: &str, n: u32) {
    platform.act(id, "end", json!({}));
    platform.act(id, "wrap-up", json!({"code": "done"}));
    wait_for("the record to be taken", || {
        match gateway.metric("genesys_gateway_uncommitted_records") {
            seen if seen >= f64::from(n) => Ok(()),
            seen => Err(seen),
        }
    });
}

#[test]
fn stopped_with_records_in_memory_alone_it_says_how_many_and_the_next_start_rebuilds_them() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let mut gateway = setup.start();
    let ids: Vec<String> = (0..2).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
        gateway.wait_state(id, "watching");
    }
    shim.broken();
    for (n, id) in (1..).zip(&ids) {
        wrap_up(&platform, &gateway, id, n);
    }
    let said = farewell(&mut gateway);
    assert!(
        said.contains(" WARN ") && !said.contains(ALL_ON_DISK),
        "{said}"
    );
    assert!(
        said.contains("2 records taken from the platform: rebuilt over REST"),
        "{said}"
    );
    assert!(said.contains("2 interactions"), "{said}");
    assert_eq!(history.receipts().len(), 0);
    shim.well();
    let mut gateway = setup.start();
    for id in &ids {
        history.wait_filed(id, 1);
        gateway.wait_record(id, "delivered");
        assert_eq!(history.filed_of(id).len(), 1);
    }
    let said = farewell(&mut gateway);
    assert!(
        said.contains(" INFO ") && said.contains(ALL_ON_DISK),
        "{said}"
    );
}

#[test]
fn a_disk_that_comes_round_in_time_at_the_stop_has_everything() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let mut gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    shim.broken();
    wrap_up(&platform, &gateway, &id, 1);
    // Into the longer pauses between two tries.
    std::thread::sleep(Duration::from_secs(4));
    let well = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        shim.well();
    });
    let said = farewell(&mut gateway);
    well.join().unwrap();
    assert!(said.contains(ALL_ON_DISK), "{said}");
    let records: i64 = setup
        .database()
        .query_row("SELECT count(*) FROM record", [], |r| r.get(0))
        .unwrap();
    assert_eq!(records, 1);
}

#[test]
fn stopped_in_the_middle_of_a_slow_sync_it_does_not_wait_and_tells_the_caller_that_nobody_knows() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let mut gateway = setup.start();
    gateway.wait_ready();
    shim.slow(25.0);
    let url = format!("{}/customers/supportResult", gateway.intake);
    let asked = std::thread::spawn(move || http::post_json(&url, "{\"n\":1}"));
    std::thread::sleep(Duration::from_secs(1));
    let said = farewell(&mut gateway);
    assert!(
        said.contains(" WARN ") && said.contains("1 request of callers"),
        "{said}"
    );
    assert_eq!(asked.join().unwrap().status, 504);
}

#[test]
fn with_nothing_to_commit_a_broken_disk_is_no_reason_to_warn() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let mut gateway = setup.start();
    gateway.wait_ready();
    std::thread::sleep(Duration::from_secs(1));
    shim.broken();
    let refused = http::post_json(&format!("{}/customers/supportResult", gateway.intake), "{}");
    assert_eq!(refused.status, 503, "{refused}");
    let said = farewell(&mut gateway);
    assert!(said.contains(ALL_ON_DISK), "{said}");
}
