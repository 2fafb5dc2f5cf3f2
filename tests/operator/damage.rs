//! A damaged database: carried over at the start, and a reason to start anew while running.
//! A database that somebody takes away: put back, and a reason to start anew as well.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, History, Platform, Reply, Setup, http, wait_for, wait_within};

/// Overwrites the page that leads to all rows of a table.
fn spoil_root_of(database: &Path, table: &str) {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = rusqlite::Connection::open_with_flags(database, flags).unwrap();
    let root: u32 = reader
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get(0),
        )
        .unwrap();
    drop(reader);
    let file = OpenOptions::new().write(true).open(database).unwrap();
    file.write_all_at(&[0xA5; 4096], u64::from(root - 1) * 4096)
        .unwrap();
    file.sync_all().unwrap();
}

/// Spoils the description of the tables and leaves the rows.
fn spoil_schema(database: &Path) {
    let file = OpenOptions::new().write(true).open(database).unwrap();
    file.write_all_at(&[0xA5; 2000], 24).unwrap();
    file.sync_all().unwrap();
}

fn set_aside(setup: &Setup) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(setup.directory())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_string_lossy().contains(".damaged-"))
        .filter(|p| !p.to_string_lossy().ends_with("-wal"))
        .collect();
    found.sort();
    found
}

fn damaged_reason(gateway: &Gateway) -> Option<String> {
    let status = gateway.status();
    let reasons = status["reasons"].as_array().unwrap().clone();
    reasons
        .iter()
        .filter_map(|r| r.as_str())
        .find(|r| r.contains("damaged"))
        .map(str::to_owned)
}

fn all_filed_once(gateway: &Gateway, history: &History, ids: &[String]) {
    for id in ids {
        history.wait_filed(id, 1);
        gateway.wait_record(id, "delivered");
    }
    let mut keys: Vec<String> = history.receipts().iter().map(|r| r.key().into()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), ids.len(), "one key for each wrap-up");
}

#[test]
fn a_damaged_database_is_carried_over_and_said_until_the_old_file_is_taken_away() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    let (watched, dead) = (platform.conversation(), platform.conversation());
    history.script_for(&dead, [Reply::Status(422)]);
    for id in [&watched, &dead] {
        gateway.accept(id).expect(202);
        gateway.wait_state(id, "watching");
    }
    platform.act(&dead, "end", json!({}));
    platform.act(&dead, "wrap-up", json!({"code": "done"}));
    gateway.wait_record(&dead, "dead");
    assert_eq!(gateway.sigterm().0, 0);
    spoil_schema(&setup.path("gateway.db"));

    let mut gateway = setup.start();
    let kept = set_aside(&setup);
    assert_eq!(kept.len(), 1, "{kept:?}");
    let name = kept[0].file_name().unwrap().to_str().unwrap();
    let line = gateway.wait_log("set aside as");
    assert!(line.contains(" ERROR ") && line.contains(name), "{line}");
    let reason = damaged_reason(&gateway).expect("the verdict says it");
    assert!(
        reason.contains(name) && reason.contains("move or remove that file"),
        "{reason}"
    );
    assert_eq!(gateway.metric("genesys_gateway_store_damaged"), 1.0);
    http::get(&format!("{}/healthz", gateway.operators)).expect(200);
    gateway.wait_record(&dead, "dead");
    gateway.wait_state(&watched, "watching");
    platform.act(&watched, "end", json!({}));
    platform.act(&watched, "wrap-up", json!({"code": "done"}));
    history.wait_filed(&watched, 1);

    // Still said after a restart, and by the command without the daemon.
    assert_eq!(gateway.sigterm().0, 0);
    let offline = setup.operate(&["status"]).expect(69);
    assert!(offline.out.contains(name), "{offline:#?}");
    let mut gateway = setup.start();
    assert!(damaged_reason(&gateway).is_some());

    fs::rename(&kept[0], setup.path("seen-to")).unwrap();
    wait_within(
        Duration::from_secs(10),
        "the verdict to forget the damage",
        || damaged_reason(&gateway).map_or(Ok(()), Err),
    );
    assert_eq!(gateway.metric("genesys_gateway_store_damaged"), 0.0);
    // It is forgotten for good, even if the file comes back.
    assert_eq!(gateway.sigterm().0, 0);
    fs::rename(setup.path("seen-to"), &kept[0]).unwrap();
    let gateway = setup.start();
    assert_eq!(damaged_reason(&gateway), None);
}

#[test]
fn damage_found_while_running_ends_with_70_and_the_next_start_makes_up_for_it() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    let ids: Vec<String> = (0..40).map(|_| platform.conversation()).collect();
    for id in &ids {
        // Enough of them for a tree of pages.
        let body = json!({"conversationId": id, "filler": "x".repeat(2_000)}).to_string();
        http::post_json(&gateway.interactions(), &body).expect(202);
    }
    for id in &ids {
        gateway.wait_state(id, "watching");
    }
    // A restart puts everything from the log into the file, and readers hold no page of it.
    assert_eq!(gateway.sigterm().0, 0);
    let mut gateway = setup.start();
    wait_for("all to be live again", || {
        match gateway.metric("genesys_gateway_watched_dark") {
            0.0 if gateway.metric("genesys_gateway_topics") >= 40.0 => Ok(()),
            n => Err(n),
        }
    });
    spoil_root_of(&setup.path("gateway.db"), "interaction");
    http::get(&gateway.interaction_url(&ids[0])).expect(503);
    for id in &ids {
        platform.act(id, "end", json!({}));
        platform.act(id, "wrap-up", json!({"code": "done"}));
    }
    assert_eq!(gateway.wait_end(), 70, "{}", gateway.log());
    let lines = gateway.lines();
    let errors: Vec<_> = lines.iter().filter(|l| l.contains(" ERROR ")).collect();
    let says = |l: &&&String| l.contains("the database is damaged") && l.contains("carried over");
    assert_eq!(errors.iter().filter(says).count(), 1, "{errors:#?}");
    assert!(errors.len() <= 3, "{errors:#?}");

    // The service manager's part.
    let gateway = setup.start();
    assert_eq!(set_aside(&setup).len(), 1);
    assert!(damaged_reason(&gateway).is_some());
    http::get(&format!("{}/healthz", gateway.operators)).expect(200);
    all_filed_once(&gateway, &history, &ids);
}

#[test]
fn a_database_that_is_removed_under_the_gateway_is_put_back_and_nothing_is_lost() {
    for gone in [&["gateway.db"][..], &["gateway.db", "gateway.db-wal"]] {
        let (platform, history) = (Platform::start(), History::start());
        let setup = Setup::new(&platform, &history);
        let mut gateway = setup.start();
        let ids: Vec<String> = (0..20).map(|_| platform.conversation()).collect();
        for id in &ids {
            gateway.accept(id).expect(202);
            gateway.wait_state(id, "watching");
        }
        for name in gone {
            fs::remove_file(setup.path(name)).unwrap();
        }
        // Accepted, it would be gone at the next start.
        let late = platform.conversation();
        gateway.accept(&late).expect(503);
        for id in &ids {
            platform.act(id, "end", json!({}));
            platform.act(id, "wrap-up", json!({"code": "done"}));
        }
        assert_eq!(gateway.wait_end(), 70, "{}", gateway.log());
        let log = gateway.log();
        assert!(log.contains("store-moved: "), "{log}");
        assert!(
            log.contains("was taken away, and what was in it is kept"),
            "{log}"
        );

        // The service manager's part.
        let gateway = setup.start();
        http::get(&gateway.interaction_url(&late)).expect(404);
        all_filed_once(&gateway, &history, &ids);
    }
}

#[test]
fn a_database_that_is_removed_before_an_orderly_stop_is_there_at_the_next_start() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let mut gateway = setup.start();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    fs::remove_file(setup.path("gateway.db")).unwrap();
    gateway.sigterm();
    assert!(gateway.log().contains("store-moved: "), "{}", gateway.log());
    let gateway = setup.start();
    gateway.wait_state(&id, "watching");
}
