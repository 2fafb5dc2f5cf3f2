//! The status: fresh, and the same for the page, the command and scripts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Reply, Setup, all, wait_within};

#[test]
fn an_accepted_interaction_shows_within_a_moment() {
    let (platform, _history, _setup, gateway) = all();
    gateway.wait_ready();
    let total = |gateway: &Gateway| {
        let status = gateway.status();
        let states = status["interactions"].as_object().unwrap().clone();
        states.values().filter_map(Value::as_u64).sum::<u64>()
    };
    let mut took = Vec::new();
    for n in 1..=7 {
        gateway.accept(&platform.conversation()).expect(202);
        let accepted = Instant::now();
        wait_within(Duration::from_secs(5), "the count", || {
            let now = total(&gateway);
            if now >= n { Ok(()) } else { Err(now) }
        });
        took.push(accepted.elapsed());
    }
    took.sort();
    // Half of them: the machine may be busy with other tests.
    assert!(took[3] < Duration::from_millis(250), "{took:?}");
}

/// The members that do not count the passing time.
fn lasting(mut status: Value) -> Value {
    for passing in [
        "at", "nextWake", "minutes", "channels", "oldest", "token", "rest",
    ] {
        assert!(status.get(passing).is_some(), "{passing} in {status}");
        status.as_object_mut().unwrap().remove(passing);
    }
    status
}

#[test]
fn the_command_prints_the_same_json_as_the_listener_gives() {
    let (platform, _history, setup, gateway) = all();
    gateway.wait_ready();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    wait_within(Duration::from_secs(30), "nothing to be on its way", || {
        let status = gateway.status();
        if status["store"]["uncommitted"] == 0 && status["checks"]["inFlight"] == 0 {
            Ok(())
        } else {
            Err(status)
        }
    });
    let told = setup.operate(&["status", "--json"]).expect(0).json();
    assert_eq!(lasting(told), lasting(gateway.status()));
    let shown = setup.operate(&["status"]).expect(0).out;
    let verdict = gateway.status()["verdict"].as_str().unwrap().to_owned();
    assert!(shown.starts_with(&verdict), "{shown}");
}

#[test]
fn the_table_of_ages_is_the_same_with_and_without_the_daemon() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    history.always(Reply::Status(422));
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    platform.act(&id, "end", json!({}));
    platform.act(&id, "wrap-up", json!({"code": "done"}));
    gateway.wait_record(&id, "dead");
    wait_within(Duration::from_secs(5), "the table", || {
        let shape = gateway.status()["shape"].clone();
        if shape[2]["ages"][0]["n"] == 1 {
            Ok(())
        } else {
            Err(shape)
        }
    });
    let with = setup
        .operate(&["records", "shape", "--json"])
        .expect(0)
        .json();
    let table = setup.operate(&["records", "shape"]).expect(0).out;
    assert_eq!(with, gateway.status()["shape"]);
    assert_eq!(gateway.sigterm().0, 0);
    let without = setup.operate(&["records", "shape", "--json"]).expect(0);
    assert_eq!(without.json(), with, "{}", without.log);
    assert_eq!(setup.operate(&["records", "shape"]).expect(0).out, table);
    let labels: Vec<&str> = with[0]["ages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["upTo"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["1m", "10m", "1h", "6h", "1d", "older"]);
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        ["total", "<=1m", "<=10m", "<=1h", "<=6h", "<=1d", "older"]
    );
    let states: Vec<&str> = with
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["queued", "deferred", "dead", "held"]);
}
