//! The command line against the real daemon, over TCP and unix sockets, and without it.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Gateway, History, Platform, Reply, Setup, http, wait_for};

/// A gateway whose listeners are unix sockets.
fn on_sockets(history: &History, platform: &Platform) -> (Setup, Gateway) {
    let mut setup = Setup::new(platform, history);
    let at = |name: &str| format!("listen = \"unix:{}\"", setup.path(name).display());
    let (intake, operators) = (at("intake.sock"), at("status.sock"));
    setup.set("http", &intake);
    setup.set("status", &operators);
    let gateway = setup.start();
    (setup, gateway)
}

fn status(setup: &Setup) -> Value {
    setup.operate(&["status", "--json"]).expect(0).json()
}

fn count(setup: &Setup, state: &str) -> u64 {
    status(setup)["records"][state].as_u64().unwrap()
}

fn wait_count(setup: &Setup, state: &str, n: u64) {
    wait_for(&format!("{n} records to be {state}"), || {
        let seen = count(setup, state);
        if seen == n { Ok(()) } else { Err(seen) }
    });
}

fn listed(setup: &Setup, state: &str) -> Vec<String> {
    let found = setup
        .operate(&["records", "list", "--state", state, "--json"])
        .expect(0)
        .json();
    let records = found["records"]
        .as_array()
        .unwrap_or_else(|| panic!("{found}"));
    records
        .iter()
        .map(|r| r["recordId"].as_str().unwrap().to_owned())
        .collect()
}

/// `n` records that the history manager refuses.
fn dead(gateway: &Gateway, history: &History, n: usize) -> Vec<String> {
    history.always(Reply::Status(422));
    (0..n)
        .map(|i| {
            let url = format!("{}/customers/supportResult", gateway.intake);
            let said = http::post_json(&url, &json!({"n": i}).to_string()).expect(202);
            said.json()["recordId"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn records_are_listed_shown_retried_held_released_and_discarded() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let mut ids = dead(&gateway, &history, 5);
    wait_count(&setup, "dead", 5);
    let mut found = listed(&setup, "dead");
    ids.sort();
    found.sort();
    assert_eq!(found, ids);
    let one = setup
        .operate(&["records", "show", &ids[0], "--json"])
        .expect(0)
        .json();
    assert_eq!(one["state"], "dead");
    assert!(one["lastError"].as_str().unwrap().contains("422"), "{one}");
    let text = setup.operate(&["records", "show", &ids[0]]).expect(0).out;
    assert!(text.contains("dead") && text.contains("422"), "{text}");

    history.always(Reply::Status(201));
    setup.operate(&["records", "retry", &ids[0]]).expect(0);
    wait_count(&setup, "delivered", 1);
    // Delivered: no act fits any more, and the exit code says so.
    let again = setup.operate(&["records", "retry", &ids[0]]);
    assert_ne!(again.code, 0, "{again:#?}");
    setup
        .operate(&["records", "discard", &ids[1], "--yes"])
        .expect(0);
    wait_count(&setup, "discarded", 1);
    // By state it asks, and without somebody to answer it does nothing.
    let asked = setup.operate(&["records", "retry", "--state", "dead"]);
    assert_ne!(asked.code, 0, "{asked:#?}");
    assert_eq!(count(&setup, "dead"), 3);
    setup
        .operate(&["records", "retry", "--state", "dead", "--yes"])
        .expect(0);
    wait_count(&setup, "delivered", 4);
    let unknown = "00000000-0000-8000-8000-000000000000";
    assert_ne!(setup.operate(&["records", "show", unknown]).code, 0);
    assert_eq!(setup.operate(&["records", "show", "nonsense"]).code, 64);
    assert_eq!(
        setup
            .operate(&["records", "list", "--state", "nonsense"])
            .code,
        64
    );
    drop(gateway);
}

#[test]
fn unix_sockets_serve_the_commands_and_are_for_their_user_alone() {
    let (platform, history) = (Platform::start(), History::start());
    let (setup, mut gateway) = on_sockets(&history, &platform);
    wait_for("a live channel", || {
        let seen = status(&setup);
        if seen["channels"][0]["state"] == "live" {
            Ok(())
        } else {
            Err(seen)
        }
    });
    assert_eq!(count(&setup, "dead"), 0);
    setup.operate(&["records", "shape"]).expect(0);
    assert!(listed(&setup, "dead").is_empty());
    let mode = |name: &str| {
        std::fs::metadata(setup.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o007
    };
    assert_eq!(mode("status.sock"), 0, "nobody else may operate");
    // Killed, it leaves its sockets behind, and the next start takes their place.
    gateway.kill9();
    assert!(setup.path("status.sock").exists());
    let gone = setup.operate(&["status"]).expect(69);
    assert!(gone.log.contains("does not answer"), "{gone:#?}");
    let mut gateway = setup.start();
    status(&setup);
    assert_eq!(gateway.sigterm().0, 0);
}

#[test]
fn without_the_daemon_one_may_look_and_not_act() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    let ids = dead(&gateway, &history, 2);
    wait_count(&setup, "dead", 2);
    // Not a clean end: the newest rows are in the log only.
    gateway.kill9();

    let seen = setup.operate(&["status"]).expect(69);
    assert!(
        seen.out.contains("dead 2") && seen.log.contains("does not answer"),
        "{seen:#?}"
    );
    let seen = setup.operate(&["status", "--json"]).expect(69).json();
    assert_eq!(seen["records"]["dead"], 2);
    assert_eq!(seen["level"], "bad");
    assert_eq!(listed(&setup, "dead").len(), 2);
    let one = setup
        .operate(&["records", "show", &ids[0], "--json"])
        .expect(0)
        .json();
    assert_eq!(one["state"], "dead");
    for act in ["retry", "discard"] {
        let refused = setup
            .operate(&["records", act, &ids[0], "--yes"])
            .expect(69);
        assert!(refused.log.contains("does not answer"), "{refused:#?}");
    }
    // Looking has neither locked nor changed anything.
    let gateway = setup.start();
    assert_eq!(count(&setup, "dead"), 2);
    drop(gateway);
}

#[test]
fn a_token_is_asked_for_and_used() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.write("operators", "a-token-of-an-operator-0123456789\n");
    setup.set("status", "api-tokens-file = \"./operators\"");
    let gateway = setup.start();
    http::get(&format!("{}/status", gateway.operators)).expect(401);
    status(&setup);
    setup.write("operators", "another-token-0123456789-0123456789\n");
    let refused = setup.operate(&["status"]);
    assert_ne!(refused.code, 0, "{refused:#?}");
    drop(gateway);
}
