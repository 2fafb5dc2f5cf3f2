//! Stops, kills and starts: nothing accepted is lost, nothing is filed twice,
//! and the channels are taken up again.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::rng::Rng;
use serde_json::json;

use crate::support::history::Receipt;
use crate::support::{Gateway, History, Platform, Reply, Setup, all, http, wait_for, wait_within};

/// The after-call work that was filed for a conversation.
fn work_of(history: &History, id: &str) -> Vec<Receipt> {
    let mut filed = history.filed_of(id);
    filed.retain(|r| r.json()["kind"] == "after-call-work");
    filed
}

fn finish(platform: &Platform, id: &str) {
    platform.act(id, "finish", json!({}));
}

#[test]
fn stopped_while_busy_it_ends_in_time_and_goes_on_where_it_was() {
    let (platform, history, setup, mut gateway) = all();
    history.always(Reply::Late(Duration::from_millis(150), 201));
    let ids: Vec<String> = (0..60).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    wait_for("all to be watched", || {
        let n = gateway.status()["interactions"]["watching"].clone();
        if n == 60 { Ok(()) } else { Err(n) }
    });
    for id in &ids[..40] {
        finish(&platform, id);
    }
    let created = platform.channels_created();
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0, "{}", gateway.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    wait_for("the sockets to be closed", || {
        let open = platform.channels().iter().filter(|c| c.connected).count();
        if open == 0 { Ok(()) } else { Err(open) }
    });
    // Some wrap up while nobody listens.
    for id in &ids[40..50] {
        finish(&platform, id);
    }
    let gateway = setup.start();
    for id in &ids[50..] {
        wait_for("it to be subscribed again", || {
            if platform.subscribed(id) {
                Ok(())
            } else {
                Err("it is not")
            }
        });
        finish(&platform, id);
    }
    for id in &ids {
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
    assert!(history.filed().values().all(|n| *n == 1));
    assert_eq!(
        platform.channels_created(),
        created,
        "a channel was made anew"
    );
    let sources: BTreeSet<String> = ids[40..50]
        .iter()
        .map(|id| work_of(&history, id)[0].json()["source"].to_string())
        .collect();
    assert_eq!(
        sources,
        BTreeSet::from([String::from("\"reconciliation\"")])
    );
}

#[test]
fn stopped_while_everybody_hangs_it_still_ends_in_time() {
    let (platform, history, setup, mut gateway) = all();
    history.always(Reply::Hang);
    let ids: Vec<String> = (0..8).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
        gateway.wait_state(id, "watching");
        finish(&platform, id);
    }
    history.wait_receipts(4);
    platform.fault(json!({"fault": "fail-rest", "times": 50, "failure": {"with": "hang"}}));
    platform.fault(json!({"fault": "silence", "channel": "all"}));
    // A caller that has sent half a request.
    let mut half =
        std::net::TcpStream::connect(gateway.intake.trim_start_matches("http://")).unwrap();
    std::io::Write::write_all(
        &mut half,
        b"POST /customers/supportResult HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
    )
    .unwrap();
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0, "{}", gateway.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(half);
    platform.fault(json!({"fault": "clear"}));
    history.always(None);
    let gateway = setup.start();
    for id in &ids {
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
}

#[test]
fn channels_that_are_gone_after_a_restart_are_made_anew() {
    let (platform, history, setup, mut gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    assert_eq!(gateway.sigterm().0, 0);
    platform.fault(json!({"fault": "evict", "channel": "all"}));
    let gateway = setup.start();
    wait_for("it to be subscribed again", || {
        if platform.subscribed(&id) {
            Ok(())
        } else {
            Err("it is not")
        }
    });
    finish(&platform, &id);
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
    assert_eq!(platform.channels_created(), 2);
}

#[test]
fn a_restart_without_a_stop_leaks_no_channel() {
    let (platform, history, setup, mut gateway) = all();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    for _ in 0..3 {
        gateway.kill9();
        gateway = setup.start();
        wait_for("it to be live again", || {
            let live = gateway.status()["topics"]["live"].clone();
            if live == 1 { Ok(()) } else { Err(live) }
        });
    }
    assert_eq!(platform.channels_created(), 1);
    finish(&platform, &id);
    history.wait_filed(&id, 1);
    gateway.wait_state(&id, "finished");
}

/// Callers who never rest, and a gateway that is killed again and again under them.
#[test]
fn killed_at_any_moment_nothing_that_was_accepted_is_missing() {
    let (platform, history, setup, gateway) = all();
    let (accepted, keyed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let intake = Mutex::new(gateway.intake.clone());
    let over = AtomicBool::new(false);
    let mut rng = Rng::new(u64::from(std::process::id()));
    let mut gateway = Some(gateway);
    std::thread::scope(|scope| {
        for caller in 0..3 {
            let (platform, accepted, keyed) = (&platform, &accepted, &keyed);
            let (intake, over) = (&intake, &over);
            scope.spawn(move || {
                let mut n = 0;
                while !over.load(Ordering::Relaxed) {
                    n += 1;
                    let at = intake.lock().unwrap().clone();
                    let id = platform.conversation();
                    let body = json!({"conversationId": id, "n": n}).to_string();
                    let json = ("Content-Type", "application/json");
                    let url = format!("{at}/customers/supportInteraction");
                    if http::try_call("POST", &url, &[json], Some(&body))
                        .is_ok_and(|a| a.status == 202)
                    {
                        accepted.lock().unwrap().push(id.clone());
                        // Some wrap up at once, some later.
                        if n % 2 == 0 {
                            finish(platform, &id);
                        }
                    }
                    let key = format!("{caller}-{n}");
                    let url = format!("{at}/customers/supportResult");
                    let headers = [json, ("Idempotency-Key", key.as_str())];
                    if let Ok(answer) = http::try_call("POST", &url, &headers, Some(&body))
                        && answer.status == 202
                    {
                        let record = answer.json()["recordId"].as_str().unwrap().to_owned();
                        keyed.lock().unwrap().push(record);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        // However busy the machine is: enough is accepted before each kill to tell something.
        for enough in [6, 12, 18, 24] {
            std::thread::sleep(Duration::from_millis(200 + rng.below(1200)));
            wait_for("callers to be answered", || {
                let fewest = accepted
                    .lock()
                    .unwrap()
                    .len()
                    .min(keyed.lock().unwrap().len());
                if fewest >= enough {
                    Ok(())
                } else {
                    Err(fewest)
                }
            });
            let mut killed: Gateway = gateway.take().unwrap();
            killed.kill9();
            let next = setup.start();
            intake.lock().unwrap().clone_from(&next.intake);
            gateway = Some(next);
        }
        over.store(true, Ordering::Relaxed);
    });
    let gateway = gateway.unwrap();
    let accepted = accepted.into_inner().unwrap();
    let keyed = keyed.into_inner().unwrap();
    for id in &accepted {
        gateway.interaction(id);
        if platform.wrap_ups(id).is_empty() {
            finish(&platform, id);
        }
    }
    wait_within(Duration::from_secs(60), "everything to be filed", || {
        let missing: Vec<&String> = accepted
            .iter()
            .filter(|id| work_of(&history, id).is_empty())
            .collect();
        let filed = history.filed();
        let results = keyed.iter().filter(|id| !filed.contains_key(*id)).count();
        if missing.is_empty() && results == 0 {
            Ok(())
        } else {
            Err(format!("{missing:?} and {results} results are not filed"))
        }
    });
    // A kill between the filing and its commit may send it again, under the same key.
    for id in &accepted {
        let keys: BTreeSet<String> = work_of(&history, id)
            .iter()
            .map(|r| r.key().to_owned())
            .collect();
        assert_eq!(keys.len(), 1, "{id} was filed under several keys");
    }
    let created = platform.channels_created();
    assert!(created <= 2, "{created} channels made");
}

#[test]
fn a_second_instance_on_one_database_is_refused_and_the_first_goes_on() {
    let (platform, history, mut setup, gateway) = all();
    let ended = setup.ends(&["run"]).expect(75);
    assert!(ended.log.contains("another instance"), "{}", ended.log);
    // The addresses of the first, too, as when the same unit is started twice.
    for (section, url) in [("http", &gateway.intake), ("status", &gateway.operators)] {
        let address = url.strip_prefix("http://").unwrap();
        setup.set(section, &format!("listen = \"{address}\""));
        let ended = setup.ends(&["run"]).expect(75);
        assert!(ended.log.contains("another instance"), "{}", ended.log);
    }
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    finish(&platform, &id);
    history.wait_filed(&id, 1);
}

#[test]
fn a_taken_address_is_named_and_ends_with_69() {
    let (platform, history) = (Platform::start(), History::start());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for section in ["http", "status"] {
        let mut setup = Setup::new(&platform, &history);
        setup.set(section, &format!("listen = \"{address}\""));
        let ended = setup.ends(&["run"]).expect(69);
        assert!(ended.log.contains(&address.to_string()), "{}", ended.log);
    }
}

#[test]
fn what_is_wrong_with_the_configuration_ends_with_78_and_names_the_key() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    setup.set("history", "wokers = 3");
    setup.set("channels", "max-channels = 21");
    for word in ["run", "check"] {
        let ended = setup.ends(&[word]).expect(78);
        for text in ["wokers", "workers", "max-channels", "20"] {
            assert!(ended.log.contains(text), "{word}, {text}: {}", ended.log);
        }
    }
}

#[test]
fn status_and_acts_without_the_daemon_end_with_69_and_the_database_is_looked_at() {
    let (platform, history, setup, mut gateway) = all();
    history.always(Reply::Status(400));
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    gateway.wait_state(&id, "watching");
    finish(&platform, &id);
    let record = gateway.wait_record(&id, "dead");
    let record = record["recordId"].as_str().unwrap();
    wait_for("the snapshot to show it", || {
        let seen = setup.operate(&["status", "--json"]).expect(0).json();
        if seen["records"]["dead"] == 1 {
            Ok(())
        } else {
            Err(seen)
        }
    });
    assert_eq!(gateway.sigterm().0, 0);
    let status = setup.operate(&["status", "--json"]).expect(69);
    assert_eq!(status.json()["records"]["dead"], 1);
    let listed = setup
        .operate(&["records", "list", "--json"])
        .expect(0)
        .json();
    assert_eq!(listed["records"][0]["recordId"], record);
    setup.operate(&["records", "retry", record]).expect(69);
}

#[test]
fn a_damaged_database_is_set_aside_and_what_is_readable_goes_on() {
    let (platform, history, setup, mut gateway) = all();
    let ids: Vec<String> = (0..20).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    for id in &ids {
        gateway.wait_state(id, "watching");
    }
    assert_eq!(gateway.sigterm().0, 0);
    // The first page is all that SQLite needs to refuse the whole.
    let path = setup.path("gateway.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..100].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let begun = Instant::now();
    let gateway = setup.start();
    assert!(begun.elapsed() < Duration::from_secs(20));
    gateway.wait_log("set aside");
    let status = gateway.status();
    assert!(status["store"]["damaged"].is_string(), "{status}");
    assert!(
        status["reasons"].to_string().contains("set aside"),
        "{status}"
    );
    let aside = std::fs::read_dir(setup.directory()).unwrap().flatten();
    let aside = aside.filter(|f| f.file_name().to_string_lossy().starts_with("gateway.db."));
    assert!(aside.count() >= 1);
    for id in &ids {
        gateway.interaction(id);
        finish(&platform, id);
    }
    for id in &ids {
        history.wait_filed(id, 1);
    }
}
