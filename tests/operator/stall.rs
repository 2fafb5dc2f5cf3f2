//! A disk that takes its time: who is refused has changed nothing, who changed something is
//! told so or told that nobody knows yet, and whoever asks for something else is served.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Gateway, History, Platform, Reply, Setup, Shim, http, wait_within};

/// Until the slowest sync here is over, and what waited for it.
const UNTIL_OVER: Duration = Duration::from_secs(90);

type Asked = JoinHandle<(http::Answer, Duration)>;

fn results(gateway: &Gateway) -> String {
    format!("{}/customers/supportResult", gateway.intake)
}

/// In a thread of its own: the answer, and how long it took.
fn ask(method: &'static str, url: String, key: Option<&str>, body: Option<String>) -> Asked {
    let key = key.map(str::to_owned);
    std::thread::spawn(move || {
        let began = Instant::now();
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(key.as_deref().map(|k| ("Idempotency-Key", k)));
        let answer = http::call(method, &url, &headers, body.as_deref());
        (answer, began.elapsed())
    })
}

/// Under how many keys each result was filed, by its member `n`.
fn filed(history: &History) -> BTreeMap<i64, usize> {
    let mut keys: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for receipt in history.receipts().iter().filter(|r| r.filed()) {
        if let Some(n) = receipt.json()["result"]["n"].as_i64() {
            keys.entry(n).or_default().insert(receipt.key().to_owned());
        }
    }
    keys.into_iter().map(|(n, keys)| (n, keys.len())).collect()
}

/// Begins a sync that takes so long, and waits until it is under way.
fn stall(gateway: &Gateway, shim: &Shim, seconds: f64) -> Asked {
    shim.slow(seconds);
    let first = ask("POST", results(gateway), None, Some("{\"n\":0}".into()));
    std::thread::sleep(Duration::from_secs(1));
    first
}

fn quick(what: &str, call: impl Fn() -> http::Answer) -> http::Answer {
    let began = Instant::now();
    let answer = call();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{what}: {took:?} {answer}");
    answer
}

#[test]
fn who_is_refused_during_a_sync_of_eleven_seconds_has_changed_nothing_whatever_he_asked() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let gateway = setup.start();
    let (stopped, held) = (platform.conversation(), platform.conversation());
    for id in [&stopped, &held] {
        gateway.accept(id).expect(202);
        gateway.wait_state(id, "watching");
    }
    history.always(Reply::Status(503));
    platform.act(&held, "end", json!({}));
    platform.act(&held, "wrap-up", json!({"code": "done"}));
    let record = gateway.wait_record(&held, "deferred")["recordId"].clone();
    let fresh = platform.conversation();

    // One call of each kind in the transaction whose sync is slow, and one that comes later.
    let first = stall(&gateway, &shim, 11.0);
    let act = |word: &str| {
        format!(
            "{}/records/{}/{word}",
            gateway.operators,
            record.as_str().unwrap()
        )
    };
    let body = json!({"conversationId": fresh}).to_string();
    let waiting = [
        ask("POST", act("hold"), None, None),
        ask("DELETE", gateway.interaction_url(&stopped), None, None),
        ask("POST", gateway.interactions(), None, Some(body)),
        ask("POST", results(&gateway), None, Some("{\"n\":1}".into())),
        ask(
            "POST",
            results(&gateway),
            Some("k"),
            Some("{\"n\":2}".into()),
        ),
    ];
    // Meanwhile.
    quick("reading", || http::get(&gateway.interaction_url(&stopped))).expect(200);
    quick("health", || {
        http::get(&format!("{}/healthz", gateway.operators))
    });

    let (answer, took) = first.join().unwrap();
    assert_eq!(answer.status, 202, "after {took:?}: {answer}");
    let mut answers = Vec::new();
    for asked in waiting {
        let (answer, took) = asked.join().unwrap();
        assert!(took < Duration::from_secs(30), "{took:?} {answer}");
        answers.push(answer);
    }
    shim.well();
    // What was refused is withdrawn: it does not happen when the disk comes round.
    for (answer, done) in answers.iter().zip([
        gateway.wait_record(
            &held,
            if answers[0].status == 200 {
                "held"
            } else {
                "deferred"
            },
        )["state"]
            == "held",
        gateway.interaction(&stopped)["state"] == "stopped",
        http::get(&gateway.interaction_url(&fresh)).status == 200,
    ]) {
        let happened = answer.status < 300;
        assert!(happened || answer.status == 503, "{answer}");
        assert_eq!(happened, done, "{answer}");
    }
    // Obedient callers repeat what was refused, until it is taken.
    history.always(None);
    for (n, answer) in (1..).zip(answers.split_off(3)) {
        let key = (n == 2).then_some("k");
        let mut answer = answer;
        while answer.status == 503 {
            let body = Some(format!("{{\"n\":{n}}}"));
            answer = ask("POST", results(&gateway), key, body).join().unwrap().0;
        }
        answer.expect(202);
    }
    let once = BTreeMap::from([(0, 1), (1, 1), (2, 1)]);
    wait_within(UNTIL_OVER, "each result to be filed", || {
        let times = filed(&history);
        (times.len() == once.len())
            .then_some(())
            .ok_or(format!("{times:?}"))
    });
    assert_eq!(filed(&history), once);
}

#[test]
fn after_a_minute_the_outcome_is_unknown_and_the_same_key_files_once() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let gateway = setup.start();
    gateway.wait_ready();
    shim.slow(68.0);
    let keyed = ask(
        "POST",
        results(&gateway),
        Some("k"),
        Some("{\"n\":7}".into()),
    );
    std::thread::sleep(Duration::from_secs(1));
    // Repeats before the outcome is there are refused or wait, but do not file a second one.
    let (second, took) = ask(
        "POST",
        results(&gateway),
        Some("k"),
        Some("{\"n\":7}".into()),
    )
    .join()
    .unwrap();
    assert_eq!(second.status, 503, "{second}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    let (answer, took) = keyed.join().unwrap();
    assert_eq!(answer.status, 504, "{answer}");
    assert!((58..64).contains(&took.as_secs()), "{took:?}");
    let problem = answer.json();
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("unknown") && detail.contains("Idempotency-Key"),
        "{detail}"
    );
    shim.well();
    let said = wait_within(UNTIL_OVER, "the store to commit again", || {
        let answer = http::post_keyed(&results(&gateway), "k", "{\"n\":7}");
        if answer.status == 202 {
            Ok(answer)
        } else {
            Err(answer)
        }
    });
    history.wait_receipts(1);
    assert_eq!(filed(&history), BTreeMap::from([(7, 1)]), "{said}");
    assert_eq!(history.receipts().len(), 1);
}

#[test]
fn a_crowd_that_waits_for_the_disk_leaves_room_for_quick_refusals_and_for_reading() {
    const CROWD: i64 = 90;
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let gateway = setup.start();
    gateway.wait_ready();
    let id = platform.conversation();
    gateway.accept(&id).expect(202);
    // Else the sync that is slow is that of another commit.
    gateway.wait_state(&id, "watching");
    let first = stall(&gateway, &shim, 20.0);
    let crowd: Vec<Asked> = (1..=CROWD)
        .map(|n| {
            ask(
                "POST",
                results(&gateway),
                None,
                Some(format!("{{\"n\":{n}}}")),
            )
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    let refused = quick("another", || {
        http::post_json(&results(&gateway), "{\"n\":1000}")
    });
    assert_eq!(refused.status, 503, "{refused}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    quick("reading", || http::get(&gateway.interaction_url(&id))).expect(200);
    let acts: Vec<Asked> = (0..12)
        .map(|_| {
            let nobody = "00000000-0000-5000-8000-000000000000";
            let url = format!("{}/records/{nobody}/retry", gateway.operators);
            ask("POST", url, None, None)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    quick("metrics", || {
        http::get(&format!("{}/metrics", gateway.operators))
    })
    .expect(200);
    for act in acts {
        let (answer, _) = act.join().unwrap();
        assert!([404, 503].contains(&answer.status), "{answer}");
    }
    assert_eq!(first.join().unwrap().0.status, 202);
    let mut promised = BTreeMap::from([(0, 1)]);
    for (n, asked) in (1..).zip(crowd) {
        let (answer, took) = asked.join().unwrap();
        match answer.status {
            202 => {
                promised.insert(n, 1);
            }
            503 => assert!(took < Duration::from_secs(15), "{n}: {took:?} {answer}"),
            _ => panic!("{n}: {answer} after {took:?}"),
        }
    }
    shim.well();
    wait_within(UNTIL_OVER, "the store to take again", || {
        let answer = http::post_json(&results(&gateway), "{\"n\":1001}");
        (answer.status == 202).then_some(()).ok_or(answer)
    });
    wait_within(UNTIL_OVER, "what was promised to be filed", || {
        let times = filed(&history);
        (times.len() > promised.len())
            .then_some(())
            .ok_or(format!("{times:?}"))
    });
    let mut times = filed(&history);
    times.remove(&1001);
    assert_eq!(times, promised);
}

#[test]
fn a_loop_that_hangs_is_seen_and_the_watchdog_of_the_service_manager_is_not_fed() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let Some(shim) = Shim::preload(&mut setup) else {
        return;
    };
    let at = setup.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&at).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    setup.env("NOTIFY_SOCKET", at.to_str().unwrap());
    setup.env("WATCHDOG_USEC", "1000000");
    let gateway = setup.start();
    let fed_within = |span: Duration| {
        let (until, mut bytes, mut fed) = (Instant::now() + span, [0; 4096], 0);
        while Instant::now() < until {
            if let Ok(n) = manager.recv(&mut bytes) {
                fed += usize::from(bytes[..n].starts_with(b"WATCHDOG=1"));
            }
        }
        fed
    };
    assert!(fed_within(Duration::from_secs(3)) >= 2);
    shim.hang();
    fed_within(Duration::from_secs(1));
    assert_eq!(fed_within(Duration::from_secs(3)), 0);
    // Nobody else hangs with it.
    quick("metrics", || {
        http::get(&format!("{}/metrics", gateway.operators))
    })
    .expect(200);
    let sick = wait_within(UNTIL_OVER, "health to tell", || {
        let answer = quick("health", || {
            http::get(&format!("{}/healthz", gateway.operators))
        });
        if answer.status == 503 {
            Ok(answer)
        } else {
            Err(answer)
        }
    });
    assert!(sick.text.contains("the loop has not turned for"), "{sick}");
    // The loop has it or not: in neither case is a request refused that may happen.
    let asked = ask("POST", results(&gateway), None, Some("{}".into()))
        .join()
        .unwrap();
    assert_eq!(asked.0.status, 503, "{}", asked.0);
}
