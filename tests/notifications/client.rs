//! `Client`: many topics, several channels, token, gaps, refusals, restart.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use notifications::{Client, ClientBuilder, Keeper, KeptChannel, Reason};

use super::*;

pub(super) fn builder(platform: &Running) -> ClientBuilder {
    Client::builder()
        .hosts(&platform.api_url, &platform.login_url)
        .client_credentials(&platform.client_id, &platform.client_secret)
}

/// Takes items until so many topics are live.
#[track_caller]
pub(super) fn until_live(client: &Client, wanted: usize, seen: &mut Vec<Item>) {
    let began = Instant::now();
    let mut live = BTreeSet::new();
    while live.len() < wanted {
        assert!(began.elapsed() < 3 * PATIENCE, "{live:?} after {seen:#?}");
        match client.recv_timeout(Duration::from_millis(200)) {
            Ok(Some(Item::Live { topics })) => live.extend(topics),
            Ok(Some(item)) => {
                if let Item::Gap { topics, .. } = &item {
                    live.retain(|t| !topics.contains(t));
                }
                seen.push(item);
            }
            Ok(None) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The bodies of so many notifications.
#[track_caller]
pub(super) fn events(client: &Client, wanted: usize, seen: &mut Vec<Item>) -> Vec<String> {
    let began = Instant::now();
    let of = |seen: &Vec<Item>| -> Vec<String> {
        let bodies = seen.iter().filter_map(|i| match i {
            Item::Notification { body, .. } => Some(body.clone()),
            _ => None,
        });
        bodies.collect()
    };
    while of(seen).len() < wanted {
        assert!(began.elapsed() < PATIENCE, "{} events", of(seen).len());
        seen.extend(client.recv_timeout(Duration::from_millis(200)).unwrap());
    }
    of(seen)
}

fn channels_made(platform: &Running) -> usize {
    let model = platform.model();
    let entries = model.platform().journal_kept();
    entries.filter(|e| e.kind == "channel-created").count()
}

#[test]
fn a_thousand_and_one_topics_are_one_stream_from_several_channels() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..1001).map(|_| conversation(&platform)).collect();
    let client = builder(&platform).connect().unwrap();
    client.subscribe(ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until_live(&client, ids.len(), &mut seen);
    for id in &ids {
        wrap_up(&platform, id);
    }
    let told = events(&client, ids.len(), &mut seen);
    let distinct: BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), distinct.len()), (1001, 1001));
    assert!(
        !seen
            .iter()
            .any(|i| matches!(i, Item::Gap { .. } | Item::Overflow { .. }))
    );
}

#[test]
fn what_is_lost_is_a_gap_and_is_had_again() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..25).map(|_| conversation(&platform)).collect();
    let client = builder(&platform).topics_per_channel(10).connect().unwrap();
    client.subscribe(ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until_live(&client, 25, &mut seen);
    let before = std::time::SystemTime::now();
    fault(&platform, json!({"fault": "drop-socket", "channel": "all"}));
    until_live(&client, 25, &mut seen);
    let mut missed = 0;
    for item in &seen {
        if let Item::Gap { topics, since, .. } = item {
            missed += topics.len();
            assert!(*since <= before + Duration::from_secs(1));
        }
    }
    assert_eq!(missed, 25, "{seen:#?}");
    wrap_up(&platform, &ids[7]);
    events(&client, 1, &mut seen);
}

#[test]
fn a_hand_over_under_flow_tells_nothing_twice() {
    let platform = platform(&[("closing-seconds", "60")]);
    let ids: Vec<String> = (0..300).map(|_| conversation(&platform)).collect();
    let client = builder(&platform)
        .topics_per_channel(100)
        .connect()
        .unwrap();
    client.subscribe(ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until_live(&client, ids.len(), &mut seen);
    fault(&platform, json!({"fault": "closing", "channel": "all"}));
    for id in &ids {
        wrap_up(&platform, id);
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = events(&client, ids.len(), &mut seen);
    while let Ok(Some(item)) = client.recv_timeout(Duration::from_secs(1)) {
        assert!(
            !is_event(&item),
            "{item:?} after {} of {}",
            told.len(),
            ids.len()
        );
    }
    let distinct: BTreeSet<&String> = told.iter().collect();
    assert_eq!((told.len(), distinct.len()), (300, 300));
}

#[test]
fn a_revoked_token_is_replaced_under_flow() {
    let platform = platform(&[
        ("heartbeat-seconds", "1"),
        ("token-death", "notice-then-close"),
    ]);
    let patient = Duration::from_millis(2500);
    let client = builder(&platform)
        .heartbeat_timeout(patient)
        .connect()
        .unwrap();
    let mut seen = Vec::new();
    for round in 1..=3 {
        let id = conversation(&platform);
        client.subscribe([topic_of(&id)]).unwrap();
        until_live(&client, 1, &mut seen);
        fault(&platform, json!({"fault": "revoke-tokens"}));
        until_live(&client, round, &mut seen);
        wrap_up(&platform, &id);
        events(&client, round, &mut seen);
    }
}

#[test]
fn wrong_credentials_are_told_and_tried_again() {
    let platform = platform(&[]);
    let wrong = builder(&platform).client_credentials(&platform.client_id, "not-the-secret");
    let client = wrong.connect().unwrap();
    let began = Instant::now();
    let error = loop {
        assert!(began.elapsed() < PATIENCE);
        if let Err(error) = client.recv_timeout(Duration::from_millis(200)) {
            break error;
        }
    };
    assert_eq!(error.reason(), Reason::Login);
    assert!(!format!("{error} {error:?}").contains("not-the-secret"));
    assert!(Client::builder().connect().is_err(), "without any");
}

#[test]
fn a_topic_that_is_refused_says_which_permission_is_missing_and_spoils_no_other() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..2).map(|_| conversation(&platform)).collect();
    fault(
        &platform,
        json!({"fault": "refuse-topics", "pattern": ids[0]}),
    );
    let client = builder(&platform).connect().unwrap();
    let odd = "v2.nothing.of.the.kind".to_owned();
    let topics = ids.iter().map(|id| topic_of(id));
    client.subscribe(topics.chain([odd.clone()])).unwrap();
    let mut told = std::collections::BTreeMap::new();
    let began = Instant::now();
    while told.len() < 3 {
        assert!(began.elapsed() < PATIENCE, "{told:#?}");
        match client.recv_timeout(Duration::from_millis(200)).unwrap() {
            Some(Item::Live { topics }) => drop(told.insert(topics[0].clone(), None)),
            Some(Item::Refused {
                topics,
                missing,
                detail,
            }) => drop(told.insert(topics[0].clone(), Some((missing, detail)))),
            _ => {}
        }
    }
    assert_eq!(told[&topic_of(&ids[1])], None);
    let (missing, detail) = told[&topic_of(&ids[0])].clone().unwrap();
    assert_eq!(missing, ["analytics:conversationDetail:view"]);
    assert!(detail.contains("does not have permission"), "{detail}");
    let (missing, detail) = told[&odd].clone().unwrap();
    assert!(missing.is_empty() && !detail.is_empty());
}

#[test]
fn where_errors_are_not_ignored_a_refused_topic_takes_its_call_along_and_leaves_the_rest() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..3).map(|_| conversation(&platform)).collect();
    let client = builder(&platform).ignore_errors(false).connect().unwrap();
    client.subscribe([topic_of(&ids[0])]).unwrap();
    let mut seen = Vec::new();
    until_live(&client, 1, &mut seen);
    let odd = "v2.nothing.of.the.kind".to_owned();
    let good = [topic_of(&ids[1]), topic_of(&ids[2])];
    let call: BTreeSet<String> = good.iter().cloned().chain([odd]).collect();
    client.subscribe(call.clone()).unwrap();
    let (began, mut refused) = (Instant::now(), BTreeSet::new());
    while refused.len() < 3 {
        assert!(began.elapsed() < PATIENCE, "{refused:?}");
        let item = client.recv_timeout(Duration::from_millis(200)).unwrap();
        if let Some(Item::Refused { topics, .. }) = item {
            refused.extend(topics);
        }
    }
    assert_eq!(refused, call);
    let holds = |topic: &str| {
        let model = platform.model();
        let truth = model.platform().truth();
        truth.channels().any(|c| c.has_topic(topic))
    };
    while good.iter().any(|t| holds(t)) {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    wrap_up(&platform, &ids[0]);
    events(&client, 1, &mut seen);
}

#[test]
fn calls_that_the_platform_puts_off_are_told_once_while_they_are_made_again() {
    let platform = platform(&[]);
    fault(
        &platform,
        json!({"fault": "fail-rest", "call": "channel-create", "times": 2,
            "failure": {"with": "status", "status": 429, "retryAfter": "1"}}),
    );
    let client = builder(&platform).connect().unwrap();
    let id = conversation(&platform);
    client.subscribe([topic_of(&id)]).unwrap();
    let (began, mut told, mut live) = (Instant::now(), 0, false);
    while !live {
        assert!(began.elapsed() < PATIENCE, "told {told}");
        match client.recv_timeout(Duration::from_millis(200)) {
            Err(error) if error.reason() == Reason::Status(429) => {
                assert!(!error.is_permanent());
                told += 1;
            }
            Err(error) => assert!(!error.is_permanent(), "{error:?}"),
            Ok(item) => live |= matches!(item, Some(Item::Live { .. })),
        }
    }
    assert_eq!(told, 1);
}

#[test]
fn topics_that_are_given_up_say_nothing_any_more() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..2).map(|_| conversation(&platform)).collect();
    let client = builder(&platform).connect().unwrap();
    client.subscribe(ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until_live(&client, 2, &mut seen);
    client.unsubscribe([topic_of(&ids[0])]).unwrap();
    let began = Instant::now();
    let topic = topic_of(&ids[0]);
    let held = || {
        let model = platform.model();
        let truth = model.platform().truth();
        truth.channels().any(|c| c.has_topic(&topic))
    };
    while held() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    for id in &ids {
        wrap_up(&platform, id);
    }
    events(&client, 1, &mut seen);
    assert!(matches!(
        client.recv_timeout(Duration::from_millis(300)),
        Ok(None)
    ));
    client.close();
    while client.recv().is_some() {}
    assert_eq!(
        client.subscribe([topic]).unwrap_err().reason(),
        Reason::Closed
    );
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Keeper for Lines {
    fn load(&mut self) -> Vec<KeptChannel> {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .filter_map(|l| KeptChannel::from_line(l))
            .collect()
    }

    fn keep(&mut self, channels: &[KeptChannel]) {
        *self.0.lock().unwrap() = channels.iter().map(KeptChannel::to_line).collect();
    }
}

#[test]
fn a_client_that_keeps_its_channels_re_attaches_to_them() {
    let platform = platform(&[]);
    let id = conversation(&platform);
    let kept = Lines::default();
    for _ in 0..3 {
        let client = builder(&platform).keeper(kept.clone()).connect().unwrap();
        client.subscribe([topic_of(&id)]).unwrap();
        until_live(&client, 1, &mut Vec::new());
    }
    assert!(
        channels_made(&platform) <= 2,
        "{}",
        channels_made(&platform)
    );
}

#[test]
fn a_dropped_client_ends_its_threads_within_a_second() {
    let platform = platform(&[]);
    let client = builder(&platform).name("gone-client").connect().unwrap();
    client
        .subscribe([topic_of(&conversation(&platform))])
        .unwrap();
    until_live(&client, 1, &mut Vec::new());
    assert!(threads("gone-client") >= 2);
    drop(client);
    let dropped = Instant::now();
    while threads("gone-client") > 0 {
        assert!(dropped.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_client_whose_platform_does_not_answer_ends_its_threads_within_a_second() {
    // Whoever listens here says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("http://{}", silent.local_addr().unwrap());
    let client = Client::builder()
        .hosts(&nowhere, &nowhere)
        .client_credentials("id", "secret")
        .name("silent-client")
        .connect()
        .unwrap();
    let (_held, _) = silent.accept().unwrap();
    assert!(threads("silent-client") >= 3);
    drop(client);
    let dropped = Instant::now();
    while threads("silent-client") > 0 {
        assert!(dropped.elapsed() < SOON, "{}", threads("silent-client"));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn sockets_that_cannot_be_had_are_told_while_it_goes_on_trying() {
    let platform = platform(&[]);
    fault(
        &platform,
        json!({"fault": "fail-rest", "call": "upgrade", "times": 2,
            "failure": {"with": "status", "status": 503}}),
    );
    let client = builder(&platform).connect().unwrap();
    client
        .subscribe([topic_of(&conversation(&platform))])
        .unwrap();
    let began = Instant::now();
    let (mut told, mut live) = (false, false);
    while !(told && live) {
        assert!(began.elapsed() < PATIENCE, "told {told}, live {live}");
        match client.recv_timeout(Duration::from_millis(200)) {
            Err(error) => {
                assert_eq!(error.reason(), Reason::Handshake, "{error}");
                assert!(!error.is_permanent());
                told = true;
            }
            Ok(item) => live |= matches!(item, Some(Item::Live { .. })),
        }
    }
}
