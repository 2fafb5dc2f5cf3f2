//! A disk that is full or read-only: said, answered, survived, and over without a restart.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use crate::mount::{Disk, Immutable};
use crate::support::{Gateway, History, Platform, Setup, http, wait_for, wait_within};

/// Longer than the longest pause between two tries of the store.
const UNTIL_TRIED_AGAIN: Duration = Duration::from_secs(60);

fn health(gateway: &Gateway) -> http::Answer {
    http::get(&format!("{}/healthz", gateway.operators))
}

/// Hands in interactions with large members until one is refused; gives those that were not.
fn accept_until_refused(gateway: &Gateway) -> (Vec<String>, String, http::Answer) {
    let filler = "x".repeat(40_000);
    let mut accepted = Vec::new();
    let until = Instant::now() + UNTIL_TRIED_AGAIN;
    while Instant::now() < until {
        let id = Uuid::from_u128(0x4000_8000_0000_0000_0000 + accepted.len() as u128).to_string();
        let body = json!({"conversationId": id, "filler": filler}).to_string();
        let answer = http::post_json(&gateway.interactions(), &body);
        match answer.status {
            202 => accepted.push(id),
            _ => return (accepted, id, answer),
        }
    }
    panic!("nothing was refused");
}

fn errors(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.lines();
    lines
        .into_iter()
        .filter(|l| l.contains(" ERROR "))
        .collect()
}

fn healthy_again(gateway: &Gateway) {
    wait_within(UNTIL_TRIED_AGAIN, "the gateway to be healthy again", || {
        let answer = health(gateway);
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    });
}

fn all_are_there(gateway: &Gateway, accepted: &[String]) {
    for id in accepted {
        http::get(&gateway.interaction_url(id)).expect(200);
    }
}

#[test]
fn a_full_disk_refuses_callers_and_loses_nothing_and_is_over_when_there_is_space() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "info");
    let Some(disk) = Disk::mount(setup.path("disk"), "4m") else {
        return;
    };
    setup.set("store", "path = \"disk/gateway.db\"");
    let mut gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    health(&gateway).expect(200);

    disk.fill();
    let (accepted, refused, answer) = accept_until_refused(&gateway);
    assert_eq!(answer.status, 503, "{answer}");
    let pause: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&pause), "{answer:?}");
    assert!(answer.text.contains("full"), "{answer}");
    http::get(&gateway.interaction_url(&refused)).expect(404);

    let sick = wait_for("healthz to be 503", || {
        let answer = health(&gateway);
        if answer.status == 503 {
            Ok(answer)
        } else {
            Err(answer)
        }
    });
    assert!(
        sick.text
            .contains("the disk that holds the database is full"),
        "{sick}"
    );
    let status = gateway.status();
    assert_eq!(status["level"], "bad");
    assert!(
        status["reasons"].to_string().contains("free some space"),
        "{status}"
    );
    assert_eq!(gateway.metric("genesys_gateway_store_trouble"), 1.0);

    // What is announced now is taken, and neither filed nor given up before it is on disk.
    platform.act(&id, "end", json!({}));
    platform.act(&id, "wrap-up", json!({"code": "done"}));
    wait_for("the record to be taken", || {
        match gateway.metric("genesys_gateway_uncommitted_records") {
            n if n >= 1.0 => Ok(()),
            n => Err(n),
        }
    });
    assert_eq!(history.receipts().len(), 0);
    assert!(platform.has_topic(&id));
    std::thread::sleep(Duration::from_secs(4));
    let said = errors(&gateway);
    assert!((1..=5).contains(&said.len()), "{said:#?}");
    assert!(
        said[0].contains("is full; free some space on it"),
        "{said:#?}"
    );
    all_are_there(&gateway, &accepted);

    disk.free();
    healthy_again(&gateway);
    history.wait_filed(&id, 1);
    gateway.wait_record(&id, "delivered");
    gateway.accept(&refused).expect(202);
    all_are_there(&gateway, &accepted);
    assert_eq!(gateway.status()["store"]["trouble"], json!(null));

    // And on disk: what was answered 202 is there after a death without a goodbye.
    gateway.kill9();
    let gateway = setup.start();
    all_are_there(&gateway, &accepted);
    gateway.wait_record(&id, "delivered");
    assert_eq!(history.filed_of(&id).len(), 1);
}

#[test]
fn a_disk_that_fills_up_while_nothing_happens_is_noticed_by_the_heartbeat() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut setup = setup;
    setup.set("store", "path = \"disk/gateway.db\"");
    let Some(disk) = Disk::mount(setup.path("disk"), "4m") else {
        return;
    };
    let gateway = setup.start();
    gateway.wait_ready();
    // The log cut to nothing, the next page needs space that is not there.
    wait_for("the channel to be kept", || {
        let size = std::fs::metadata(disk.path("gateway.db-wal")).map(|m| m.len());
        match size {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    disk.fill();
    wait_within(UNTIL_TRIED_AGAIN, "healthz to be 503", || {
        let answer = health(&gateway);
        if answer.status == 503 {
            Ok(())
        } else {
            Err(answer)
        }
    });
    gateway.wait_log("free some space");
    disk.free();
    healthy_again(&gateway);
}

#[test]
fn a_database_that_turns_read_only_is_told_from_a_broken_disk_and_is_over_by_itself() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    let Some(immutable) = Immutable::make(&setup.path("gateway.db-wal")) else {
        return;
    };
    let (accepted, refused, answer) = accept_until_refused(&gateway);
    assert_eq!(answer.status, 503, "{answer}");
    assert!(answer.text.contains("read-only"), "{answer}");
    gateway.wait_log("read-only; make it writable");
    let sick = wait_for("healthz to be 503", || {
        let answer = health(&gateway);
        if answer.status == 503 {
            Ok(answer)
        } else {
            Err(answer)
        }
    });
    assert!(sick.text.contains("read-only"), "{sick}");
    platform.act(&id, "end", json!({}));
    platform.act(&id, "wrap-up", json!({"code": "done"}));
    drop(immutable);
    healthy_again(&gateway);
    history.wait_filed(&id, 1);
    gateway.accept(&refused).expect(202);
    all_are_there(&gateway, &accepted);
}

#[test]
fn a_disk_that_is_read_only_at_the_start_ends_it_with_77_and_a_sentence() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(disk) = Disk::mount(setup.path("disk"), "4m") else {
        return;
    };
    setup.set("store", "path = \"disk/gateway.db\"");
    let mut gateway = setup.start();
    gateway.sigterm();
    assert!(disk.turn("ro"));
    let ended = setup.ends(&["run"]).expect(77);
    assert!(ended.log.contains("make it writable"), "{ended:#?}");
    assert!(disk.turn("rw"));
    setup.start().wait_ready();
}

#[test]
fn a_disk_that_is_full_at_the_start_is_said_and_what_is_there_goes_on() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(disk) = Disk::mount(setup.path("disk"), "4m") else {
        return;
    };
    setup.set("store", "path = \"disk/gateway.db\"");
    let mut gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    gateway.sigterm();
    disk.fill();
    let gateway = setup.start();
    gateway.wait_log("free some space");
    // It is said, nothing is promised, and what is there can be read.
    gateway.accept(&platform.conversation()).expect(503);
    wait_for("healthz to be 503", || match health(&gateway) {
        answer if answer.status == 503 => Ok(()),
        answer => Err(answer.to_string()),
    });
    http::get(&gateway.interaction_url(&id)).expect(200);
    disk.free();
    wait_within(UNTIL_TRIED_AGAIN, "healthz to be 200", || {
        match health(&gateway) {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.to_string()),
        }
    });
    gateway.wait_state(&id, "watching");
    gateway.accept(&platform.conversation()).expect(202);
}

/// Hands in results until the log has so many bytes.
fn grow_the_log(gateway: &Gateway, setup: &Setup, bytes: u64) {
    let url = format!("{}/customers/supportResult", gateway.intake);
    let filler = json!({"filler": "x".repeat(50_000)}).to_string();
    wait_within(UNTIL_TRIED_AGAIN, "the log to grow", || {
        http::post_json(&url, &filler).expect(202);
        let size = std::fs::metadata(setup.path("gateway.db-wal")).map_or(0, |m| m.len());
        if size > bytes { Ok(()) } else { Err(size) }
    });
}

#[test]
fn a_forgotten_read_transaction_is_named_with_the_way_out_and_the_log_is_cut_when_it_is_over() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.env("RUST_LOG", "info");
    let gateway = setup.start();
    gateway.wait_ready();
    assert_eq!(gateway.metric("genesys_gateway_store_log_held"), 0.0);
    let reader = setup.database();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM record")
        .unwrap();
    grow_the_log(&gateway, &setup, 20_000_000);
    let status = wait_for("the verdict to tell of the log", || {
        let status = gateway.status();
        if status["store"]["logHeld"] == true {
            Ok(status)
        } else {
            Err(status["store"].to_string())
        }
    });
    let reasons = status["reasons"].to_string();
    assert!(
        reasons.contains("read transaction") && reasons.contains("fuser -v"),
        "{reasons}"
    );
    assert!(reasons.contains("gateway.db-shm"), "{reasons}");
    assert_eq!(status["level"], "warn", "{status}");
    assert!(gateway.metric("genesys_gateway_store_log_bytes") > 16e6);
    assert_eq!(gateway.metric("genesys_gateway_store_log_held"), 1.0);
    gateway.wait_log("store-log: the write-ahead log has");
    http::get(&format!("{}/healthz", gateway.operators)).expect(200);

    reader.execute_batch("ROLLBACK").unwrap();
    wait_for("the log to be cut", || {
        match gateway.metric("genesys_gateway_store_log_bytes") {
            n if n < 5e6 => Ok(()),
            n => Err(n),
        }
    });
    gateway.wait_log("has been cut");
    assert_eq!(gateway.status()["store"]["logHeld"], false);
}

#[test]
fn without_a_foreign_reader_the_log_stays_small_however_much_is_written() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let gateway = setup.start();
    gateway.wait_ready();
    let url = format!("{}/customers/supportResult", gateway.intake);
    let filler = json!({"filler": "x".repeat(50_000)}).to_string();
    let mut most = 0;
    for _ in 0..400 {
        http::post_json(&url, &filler).expect(202);
        let size = std::fs::metadata(setup.path("gateway.db-wal")).map_or(0, |m| m.len());
        most = most.max(size);
    }
    assert!(most < 12_000_000, "{most}");
}
