//! Machines that are off for days, and clocks that are set: neither is time in which we tried.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Reply, Setup, Shim, http, wait_for, wait_within};

const FOUR_DAYS: i64 = 4 * 24 * 3600;

fn hand_in(gateway: &Gateway, n: usize) -> String {
    let url = format!("{}/customers/supportResult", gateway.intake);
    let taken = http::post_json(&url, &json!({"n": n}).to_string())
        .expect(202)
        .json();
    taken["recordId"].as_str().unwrap().to_owned()
}

fn record(gateway: &Gateway, id: &str) -> Value {
    http::get(&format!("{}/records/{id}", gateway.operators))
        .expect(200)
        .json()
}

/// All of them wait, after `n` tries at least.
fn all_tried(gateway: &Gateway, ids: &[String], n: u64) {
    wait_within(Duration::from_secs(60), "tries of all records", || {
        for id in ids {
            let seen = record(gateway, id);
            assert_ne!(seen["state"], "dead", "{seen}");
            if seen["attempts"].as_u64() < Some(n) {
                return Err(seen);
            }
        }
        Ok(())
    });
}

/// Four days pass, or seem to, by each of these settings of the clock: in the off-time, then
/// while it runs.
fn no_record_is_given_up(off: i64, running: i64, killed: bool) {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "info");
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    history.always(Reply::Status(503));
    let mut gateway = setup.start();
    let ids: Vec<String> = (0..5).map(|n| hand_in(&gateway, n)).collect();
    all_tried(&gateway, &ids, 2);
    match killed {
        true => gateway.kill9(),
        false => assert_eq!(gateway.sigterm().0, 0),
    }
    shim.clock(off);
    let gateway = setup.start();
    if off < 0 {
        // Their next tries seem to be days away: within five minutes, or when somebody asks.
        for id in &ids {
            gateway.act(id, "retry").expect(200);
        }
    }
    all_tried(&gateway, &ids, 3);
    shim.clock(running);
    all_tried(&gateway, &ids, 4);
    history.always(None);
    for id in &ids {
        wait_for("it to be filed", || match record(&gateway, id) {
            seen if seen["state"] == "delivered" => Ok(()),
            seen => Err(seen),
        });
    }
    assert!(history.filed().values().all(|n| *n == 1));
    let lines = gateway.lines();
    assert!(lines.len() < 20, "{lines:#?}");
    assert!(!gateway.log().contains("record-dead"));
    let made = platform.channels_created();
    assert!(made <= 5, "{made} channels");
}

#[test]
fn a_machine_that_was_off_for_four_days_gives_no_record_up() {
    no_record_is_given_up(FOUR_DAYS, FOUR_DAYS, false);
}

#[test]
fn a_clock_that_is_set_forward_gives_no_record_up() {
    no_record_is_given_up(0, FOUR_DAYS, true);
}

#[test]
fn a_clock_that_is_set_back_holds_no_record_up() {
    no_record_is_given_up(-FOUR_DAYS, -2 * FOUR_DAYS, true);
}

#[test]
fn a_clock_that_is_put_right_after_a_boot_without_one_does_no_harm() {
    // As machines without a battery do: at first far in the past.
    no_record_is_given_up(-20 * 365 * 24 * 3600, 0, false);
}
