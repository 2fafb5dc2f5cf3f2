//! Everything at once, over real sockets and threads: conversations live while
//! sockets, channels, tokens, REST, the history manager and the gateway itself
//! fail at random. At the end every wrap-up is filed under one key, and every
//! interaction has ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base::rng::Rng;
use serde_json::json;

use crate::support::{Gateway, History, Platform, Reply, Setup, wait_within};

const TROUBLED: Duration = Duration::from_secs(20);

fn trouble(rng: &mut Rng, platform: &Platform, history: &History) -> String {
    let fail = |call: &str, with: serde_json::Value| json!({"fault": "fail-rest", "call": call, "times": 2, "failure": with});
    let fault = match rng.below(16) {
        0 | 1 => json!({"fault": "drop-socket", "channel": "any"}),
        2 => json!({"fault": "drop-socket", "channel": "all", "code": 1011}),
        3 => json!({"fault": "silence", "channel": "any"}),
        4 => json!({"fault": "silence", "channel": "any", "replies": true}),
        5 => json!({"fault": "closing", "channel": "any"}),
        6 => json!({"fault": "evict", "channel": "any"}),
        7 => json!({"fault": "revoke-tokens"}),
        8 => json!({"fault": "events", "mode": "repeat", "times": 5}),
        9 => json!({"fault": "events", "mode": "swap", "times": 6}),
        10 => json!({"fault": "events", "mode": "drop", "times": 2}),
        11 => fail("upgrade", json!({"with": "status", "status": 503})),
        12 => fail("conversation", json!({"with": "status", "status": 500})),
        13 => fail(
            "channel-create",
            json!({"with": "no-answer", "applied": true}),
        ),
        14 => json!({"fault": "noise", "channel": "any", "sort": "not-json"}),
        _ => {
            let replies = [
                Reply::Status(503),
                Reply::Close,
                Reply::Late(Duration::from_millis(300), 201),
                Reply::Status(429),
                Reply::Status(409),
            ];
            history.script([replies[rng.below(5) as usize].clone()]);
            return String::from("history");
        }
    };
    let command = serde_json::from_value(json!({"command": "fault", "fault": fault})).unwrap();
    // There may be no channel to do it to.
    let _ = platform.0.model().with(|p, now| p.control(&command, now));
    fault.to_string()
}

/// Channels that are held: with a socket or topics, and of a token that lives.
fn held(platform: &Platform) -> usize {
    let model = platform.0.model();
    let truth = model.platform().truth();
    truth
        .channels()
        .filter(|c| c.usable && (c.socket.is_some() || c.topics > 0))
        .count()
}

fn begin(rng: &mut Rng, platform: &Platform) -> String {
    let life = json!({"command": "life", "agents": 1 + rng.below(3), "talkMs": 500 + rng.below(4000),
        "acwMs": 200 + rng.below(2000)});
    platform.obey(life)["conversation"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn whatever_fails_in_between_every_wrap_up_is_filed_under_one_key() {
    let seed = std::env::var("GATEWAY_TESTS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("GATEWAY_TESTS_SEED={seed}");
    let mut rng = Rng::new(seed);
    let platform = Platform::switched(&[
        ("heartbeat-seconds", "1"),
        ("closing-seconds", "2"),
        ("rest-per-minute", "6000"),
    ]);
    let history = History::start();
    let mut setup = Setup::new(&platform, &history);
    setup.set("channels", "heartbeat-timeout = \"2500ms\"");
    setup.set("channels", "topics-per-channel = 20");
    setup.set("channels", "max-channels = 6");
    let mut gateway = setup.start();
    let mut told: Vec<String> = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < TROUBLED {
        if ids.len() < 60 {
            let id = begin(&mut rng, &platform);
            // BOFE repeats what was not answered.
            wait_within(
                Duration::from_secs(20),
                "the interaction to be accepted",
                || {
                    let answer = gateway.accept(&id);
                    if [200, 202].contains(&answer.status) {
                        Ok(())
                    } else {
                        Err(answer)
                    }
                },
            );
            ids.push(id);
        }
        if rng.below(2) == 0 {
            told.push(trouble(&mut rng, &platform, &history));
        }
        if rng.below(40) == 0 {
            if rng.below(2) == 0 {
                gateway.kill9();
                told.push(String::from("kill"));
            } else {
                let (code, took) = gateway.sigterm();
                assert!(
                    code == 0 && took < Duration::from_secs(10),
                    "{code} {took:?}"
                );
                told.push(String::from("stop"));
            }
            gateway = setup.start();
        }
        std::thread::sleep(Duration::from_millis(rng.below(400)));
        let held = held(&platform);
        assert!(held <= 6, "{held} channels are held after {told:#?}");
    }
    platform.fault(json!({"fault": "clear"}));
    // An announcement that the platform never sent is found by a look, and a gap is a reason for one.
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    settle(&platform, &history, &gateway, &ids, &told);
    let model = platform.0.model();
    let ledger = model.platform().truth().ledger();
    assert!(ledger.topics_most <= 20, "{ledger:?}");
    assert_eq!(ledger.over_limit, 0);
}

fn settle(
    platform: &Platform,
    history: &History,
    gateway: &Gateway,
    ids: &[String],
    told: &[String],
) {
    let mut last = Instant::now();
    wait_within(
        Duration::from_secs(100),
        "every interaction to finish",
        || {
            let open: Vec<String> = ids
                .iter()
                .map(|id| gateway.interaction(id))
                .filter(|seen| seen["state"] != "finished")
                .map(|seen| seen.to_string())
                .collect();
            // Trouble that came late is found out late: a gap makes everybody look again.
            if last.elapsed() > Duration::from_secs(20) {
                last = Instant::now();
                platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
            }
            if open.is_empty() {
                Ok(())
            } else {
                std::thread::sleep(Duration::from_millis(300));
                Err(format!("{open:#?} after {told:#?}"))
            }
        },
    );
    for id in ids {
        let happened = platform.wrap_ups(id).len();
        let keys = wait_within(Duration::from_secs(30), "every wrap-up to be filed", || {
            let filed = history.filed_of(id);
            let keys: BTreeSet<String> = filed.iter().map(|r| r.key().to_owned()).collect();
            if keys.len() >= happened {
                Ok(keys)
            } else {
                Err(format!("{id}: {} of {happened}", keys.len()))
            }
        });
        assert_eq!(keys.len(), happened, "{id} after {told:#?}");
    }
}
