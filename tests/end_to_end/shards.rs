//! Several OAuth clients: each a shard with its own channels and budget, one intake in front,
//! one database below.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::secret::Secret;
use serde_json::{Value, json};
use simulator::model::Client;

use crate::support::{Gateway, History, Platform, Setup, http, wait_for, wait_within};

/// Ids of the clients besides the first.
const MORE: [(&str, &str); 2] = [
    ("second", "22222222-2222-4333-8444-555555555555"),
    ("third", "33333333-2222-4333-8444-555555555555"),
];

fn platform() -> Platform {
    Platform::with(|options| {
        for (name, id) in MORE {
            options.settings.more_clients.push(Client {
                id: id.into(),
                secret: Secret::new(format!("secret-of-{name}")),
            });
        }
    })
}

/// The table of a client, as an element of an array.
fn client(name: &str, id: &str, secret: &str) -> String {
    format!(
        "{{ name = \"{name}\", grant = \"client-credentials\", client-id = \"{id}\", \
         client-secret-file = \"./{secret}\" }}"
    )
}

fn clients(setup: &mut Setup, tables: &[String]) {
    setup.set(
        "genesys",
        &format!("additional-oauth = [{}]", tables.join(", ")),
    );
}

fn three(platform: &Platform, history: &History) -> Setup {
    let mut setup = Setup::new(platform, history);
    let tables = MORE.map(|(name, id)| {
        setup.write(name, &format!("secret-of-{name}\n"));
        client(name, id, name)
    });
    clients(&mut setup, &tables);
    // Small channels, so that each client needs several.
    setup.set("channels", "topics-per-channel = 2");
    setup
}

fn shard<'a>(status: &'a Value, name: &str) -> &'a Value {
    let shards = status["shards"].as_array().unwrap();
    shards.iter().find(|s| s["name"] == name).unwrap()
}

fn watching(status: &Value, name: &str) -> u64 {
    let of = &shard(status, name)["interactions"];
    of["watching"].as_u64().unwrap() + of["accepted"].as_u64().unwrap()
}

#[track_caller]
fn wait_all_ready(gateway: &Gateway) {
    wait_for("every client to hold a token", || {
        let status = gateway.status();
        let shards = status["shards"].as_array().unwrap();
        match shards.iter().all(|s| s["token"]["held"] == true) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
}

#[track_caller]
fn accepted(platform: &Platform, gateway: &Gateway, n: usize) -> Vec<String> {
    let ids: Vec<String> = (0..n).map(|_| platform.conversation()).collect();
    for id in &ids {
        gateway.accept(id).expect(202);
    }
    for id in &ids {
        wait_for("it to be subscribed", || match platform.subscribed(id) {
            true => Ok(()),
            false => Err("it is not"),
        });
        gateway.wait_state(id, "watching");
    }
    ids
}

/// The status, once it shows so many that are watched.
#[track_caller]
fn status_of(gateway: &Gateway, watched: u64) -> Value {
    wait_for("the status to show them all", || {
        let status = gateway.status();
        match status["interactions"]["watching"] == watched {
            true => Ok(status),
            false => Err(status["interactions"].to_string()),
        }
    })
}

/// Which conversation has which shard, as the database has it.
fn owners(setup: &Setup) -> BTreeMap<String, String> {
    let database = setup.database();
    let mut rows = database
        .prepare("SELECT conversation, shard FROM interaction")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The second client has given all away: what nobody saw is filed, and the others watch the rest.
#[track_caller]
fn wait_given_away(
    platform: &Platform,
    history: &History,
    gateway: &Gateway,
    unseen: &[String],
    later: &[String],
) {
    let within = Duration::from_secs(120);
    wait_within(within, "it to have given all away", || {
        let status = gateway.status();
        match watching(&status, "second") {
            0 => Ok(()),
            _ => Err(shard(&status, "second").to_string()),
        }
    });
    for id in later {
        wait_for("it to be subscribed elsewhere", || {
            match platform.subscribed(id) {
                true => Ok(()),
                false => Err("it is not"),
            }
        });
    }
    for id in unseen {
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
}

/// Each wraps up, and is filed once.
#[track_caller]
fn finish(platform: &Platform, history: &History, gateway: &Gateway, ids: &[String]) {
    for id in ids {
        platform.act(id, "finish", json!({}));
    }
    for id in ids {
        history.wait_filed(id, 1);
        gateway.wait_state(id, "finished");
    }
    assert!(history.filed().values().all(|n| *n == 1));
}

#[test]
fn three_clients_share_the_conversations_and_each_is_filed_once() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    let gateway = setup.start();
    wait_all_ready(&gateway);
    let ids = accepted(&platform, &gateway, 45);
    let status = status_of(&gateway, 45);
    let each: BTreeMap<&str, u64> = ["main", "second", "third"]
        .map(|name| (name, watching(&status, name)))
        .into();
    assert_eq!(each.values().sum::<u64>(), 45, "{each:?}");
    assert!(each.values().all(|n| (13..=17).contains(n)), "{each:?}");
    // 45 topics on channels of two.
    assert!(platform.channels().len() >= 23);
    assert!(platform.channels().iter().all(|c| c.topics.len() <= 2));
    assert_eq!(status["interactions"]["watching"], 45);
    let named: BTreeSet<&str> = (status["channels"].as_array().unwrap().iter())
        .map(|c| c["shard"].as_str().unwrap())
        .collect();
    assert_eq!(named, BTreeSet::from(["main", "second", "third"]));
    let metric = |series: &str| gateway.metric(&format!("genesys_gateway_{series}"));
    assert_eq!(metric("topics"), 45.0);
    assert_eq!(
        metric("shard_topics{shard=\"second\"}"),
        watching(&status, "second") as f64
    );
    // A result that belongs to nobody, and acts on records of any shard.
    let url = format!("{}/customers/supportResult", gateway.intake);
    http::post_json(&url, r#"{"outcome":"solved"}"#).expect(202);
    http::call("DELETE", &gateway.interaction_url(&ids[0]), &[], None).expect(202);
    gateway.accept(&ids[1]).expect(200);
    gateway.wait_state(&ids[0], "stopped");
    finish(&platform, &history, &gateway, &ids[1..]);
    assert_eq!(gateway.status()["level"], "ok");
}

#[test]
fn one_conversation_reported_by_many_at_once_has_one_shard() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    let gateway = setup.start();
    wait_all_ready(&gateway);
    let ids: Vec<String> = (0..30).map(|_| platform.conversation()).collect();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for id in &ids {
                    let status = gateway.accept(id).status;
                    assert!(status == 200 || status == 202, "{status}");
                }
            });
        }
    });
    wait_for("all to be watched", || {
        let status = gateway.status();
        match status["interactions"]["watching"] == 30 {
            true => Ok(()),
            false => Err(status["interactions"].to_string()),
        }
    });
    // Nobody's topic is on two channels.
    let topics: Vec<String> = platform
        .channels()
        .into_iter()
        .flat_map(|c| c.topics)
        .collect();
    let different: BTreeSet<&String> = topics.iter().collect();
    assert_eq!((topics.len(), different.len()), (30, 30));
    finish(&platform, &history, &gateway, &ids);
}

#[test]
fn a_client_that_is_disabled_gives_its_conversations_to_the_others_and_no_record_is_lost() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    let gateway = setup.start();
    wait_all_ready(&gateway);
    let ids = accepted(&platform, &gateway, 45);
    let had = watching(&status_of(&gateway, 45), "second");
    platform.fault(json!({"fault": "disable-client", "client": MORE[0].1}));
    // Some wrap up while nobody watches them.
    let (unseen, later) = ids.split_at(20);
    for id in unseen {
        platform.act(id, "finish", json!({}));
    }
    wait_for("the verdict to name the shard", || {
        let status = gateway.status();
        let reasons = status["reasons"].to_string();
        match reasons.contains("shard second: no token is held: the OAuth client may not") {
            true => Ok(()),
            false => Err(reasons),
        }
    });
    let status = gateway.status();
    assert_eq!(shard(&status, "second")["level"], "bad");
    assert_ne!(shard(&status, "main")["level"], "bad");
    assert_ne!(shard(&status, "third")["level"], "bad");
    // The others go on as if nothing had happened, and take what is new.
    gateway.ready().expect(200);
    let fresh = accepted(&platform, &gateway, 4);
    assert!(watching(&gateway.status(), "second") <= had);
    wait_given_away(&platform, &history, &gateway, unseen, later);
    finish(&platform, &history, &gateway, later);
    finish(&platform, &history, &gateway, &fresh);
    wait_for("the sum to be right", || {
        let counts = &gateway.status()["interactions"];
        match counts["finished"] == 49 && counts["stopped"] == 0 {
            true => Ok(()),
            false => Err(counts.to_string()),
        }
    });
    // It comes back, and takes its part again.
    platform.fault(json!({"fault": "enable-client", "client": MORE[0].1}));
    wait_within(Duration::from_secs(90), "the client to be back", || {
        let status = gateway.status();
        match shard(&status, "second")["token"]["held"] == true {
            true => Ok(()),
            false => Err(shard(&status, "second").to_string()),
        }
    });
    let again = accepted(&platform, &gateway, 6);
    let owners = owners(&setup);
    let its = again.iter().filter(|id| owners[*id] == "second").count();
    assert!(its > 0, "{owners:?} {}", gateway.status()["shards"]);
    finish(&platform, &history, &gateway, &again);
}

#[test]
fn a_client_that_may_make_no_channels_any_more_gives_its_conversations_to_the_others() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    let gateway = setup.start();
    wait_all_ready(&gateway);
    let ids = accepted(&platform, &gateway, 18);
    let had = watching(&status_of(&gateway, 18), "second");
    assert!(had > 0);
    platform.fault(json!({"fault": "forbid-channels", "client": MORE[0].1}));
    // What it has goes on: nothing is taken from it.
    let watched = accepted(&platform, &gateway, 1);
    finish(&platform, &history, &gateway, &watched);
    assert!(watching(&gateway.status(), "second") >= had);
    // The others replace what is gone, and it may not.
    platform.fault(json!({"fault": "evict", "channel": "all"}));
    let (unseen, later) = ids.split_at(9);
    for id in unseen {
        platform.act(id, "finish", json!({}));
    }
    wait_given_away(&platform, &history, &gateway, unseen, later);
    finish(&platform, &history, &gateway, later);
    // A permission that comes back is found by itself.
    platform.fault(json!({"fault": "permit-channels", "client": MORE[0].1}));
    let mut more = Vec::new();
    // After refusals and evictions in a row the next try may be minutes away.
    let its = wait_within(Duration::from_secs(240), "it to take its part", || {
        let id = platform.conversation();
        gateway.accept(&id).expect(202);
        more.push(id.clone());
        match owners(&setup).get(&id).map(String::as_str) {
            Some("second") => Ok(id),
            other => {
                std::thread::sleep(Duration::from_secs(5));
                Err(format!("{other:?}: {}", shard(&gateway.status(), "second")))
            }
        }
    });
    wait_within(
        Duration::from_secs(90),
        "it to be subscribed there",
        || match platform.subscribed(&its) {
            true => Ok(()),
            false => Err("it is not"),
        },
    );
    finish(&platform, &history, &gateway, &more);
}

#[test]
fn killed_and_started_again_every_shard_goes_on_with_its_own() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    let mut gateway = setup.start();
    wait_all_ready(&gateway);
    let ids = accepted(&platform, &gateway, 30);
    let before = owners(&setup);
    let shards: BTreeSet<&String> = before.values().collect();
    assert_eq!((before.len(), shards.len()), (30, 3));
    let created = platform.channels_created();
    gateway.kill9();
    for id in &ids[..10] {
        platform.act(id, "finish", json!({}));
    }
    let mut gateway = setup.start();
    assert_eq!(owners(&setup), before);
    for id in &ids[..10] {
        history.wait_filed(id, 1);
    }
    for id in &ids[10..] {
        wait_for("it to be subscribed again", || {
            match platform.subscribed(id) {
                true => Ok(()),
                false => Err("it is not"),
            }
        });
    }
    assert_eq!(
        platform.channels_created(),
        created,
        "channels were made anew"
    );
    // Stopped in order, and started without one of them.
    let (code, took) = gateway.sigterm();
    assert_eq!(code, 0, "{}", gateway.log());
    assert!(took < Duration::from_secs(10), "{took:?}");
    let mut setup = setup;
    clients(&mut setup, &[client("third", MORE[1].1, "third")]);
    let mut gateway = setup.start();
    gateway.wait_log("shard second is configured no more");
    let after = owners(&setup);
    let of = |shard: &str| after.values().filter(|s| *s == shard).count();
    assert_eq!((of("main") + of("third"), of("second")), (30, 0));
    finish(&platform, &history, &gateway, &ids[10..20]);
    gateway.sigterm();
    // And as if there had never been others.
    setup.clear("genesys");
    setup.platform(&platform);
    let gateway = setup.start();
    let status = gateway.status();
    assert_eq!(status.get("shards"), None);
    assert!(!gateway.metrics().contains("shard"));
    finish(&platform, &history, &gateway, &ids[20..]);
    assert_eq!(history.filed().len(), 30);
}

#[test]
fn a_shard_with_another_name_is_refused_at_start_with_a_hint() {
    let (platform, history) = (platform(), History::start());
    let mut setup = three(&platform, &history);
    setup.start().sigterm();
    clients(
        &mut setup,
        &[
            client("other", MORE[0].1, "second"),
            client("third", MORE[1].1, "third"),
        ],
    );
    let ended = setup.ends(&["run"]);
    assert_eq!(ended.code, 78, "{ended:#?}");
    assert!(ended.log.contains("shard other"), "{ended:#?}");
    assert!(
        ended.log.contains("give it its old name again"),
        "{ended:#?}"
    );
}

#[test]
fn check_online_tries_every_client_and_says_which() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    let ended = setup.ends(&["check", "--online"]).expect(0);
    for name in ["main", "second", "third"] {
        let good = format!("ok       [{name}] socket: open");
        assert!(ended.out.contains(&good), "{ended:#?}");
    }
    setup.write("third", "another\n");
    let ended = setup.ends(&["check", "--online"]).expect(69);
    assert!(ended.out.contains("FAILED   [third] token:"), "{ended:#?}");
    assert!(ended.out.contains("ok       [second] token:"), "{ended:#?}");
    assert!(!ended.out.contains("FAILED   [main]"), "{ended:#?}");
}

#[test]
fn one_client_in_two_tables_is_refused_by_the_configuration() {
    let (platform, history) = (platform(), History::start());
    let mut setup = three(&platform, &history);
    let first = platform.0.client_id.clone();
    clients(&mut setup, &[client("second", &first, "client-secret")]);
    let ended = setup.ends(&["check"]).expect(78);
    assert!(
        ended.log.contains("is the same client and user as main"),
        "{ended:#?}"
    );
}

#[test]
fn a_secret_of_any_client_is_read_again() {
    let (platform, history) = (platform(), History::start());
    let setup = three(&platform, &history);
    setup.write("third", "not-yet\n");
    let gateway = setup.start();
    gateway.wait_log("[third] token-refused");
    setup.write("third", "secret-of-third\n");
    gateway.sighup();
    wait_all_ready(&gateway);
    // A table more needs a restart, and is said so.
    let mut setup = setup;
    clients(&mut setup, &[client("third", MORE[1].1, "third")]);
    setup.save();
    gateway.sighup();
    gateway.wait_log("a restart is needed for genesys.additional-oauth");
}
