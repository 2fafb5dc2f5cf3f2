//! What a caller may do wrong, or to excess.

use std::collections::BTreeSet;

use notifications::{Client, Keeper, KeptChannel, Reason};

use super::client::{builder, until_live};
use super::*;

#[track_caller]
fn wait_for_no_threads(name: &str) {
    let began = Instant::now();
    while threads(name) > 0 {
        assert!(began.elapsed() < SOON, "{} {name}", threads(name));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn settings_at_their_extremes_do_no_harm() {
    let platform = platform(&[]);
    let id = conversation(&platform);
    for (most, bytes) in [(0, 0), (1, usize::MAX), (usize::MAX, usize::MAX)] {
        let channel = Channel::builder()
            .capacity(most)
            .capacity_bytes(bytes)
            .heartbeat_timeout(Duration::MAX)
            .give_up_after(Duration::MAX)
            .extend_before(Duration::ZERO)
            .name("a name\0that is much longer than the system shows")
            .topics([topic_of(&id)])
            .connect(&platform.make_channel().unwrap())
            .unwrap();
        until(&channel, &mut Vec::new(), is_live);
        assert!(channel.recv_timeout(Duration::ZERO).is_ok());
        let client = builder(&platform)
            .capacity(most)
            .capacity_bytes(bytes)
            .heartbeat_timeout(Duration::MAX)
            .max_channels(0)
            .topics_per_channel(usize::MAX)
            .name("")
            .connect()
            .unwrap();
        client.subscribe([topic_of(&id)]).unwrap();
        until_live(&client, 1, &mut Vec::new());
        let none = client.available_topics(Duration::ZERO);
        assert!(none.is_ok() || !none.unwrap_err().is_permanent());
    }
    // A life that is over before it began is extended, and not without end.
    let channel = Channel::builder()
        .extend_before(Duration::MAX)
        .topics([topic_of(&id)])
        .connect(&platform.make_channel().unwrap())
        .unwrap();
    until(&channel, &mut Vec::new(), is_live);
    let heard = std::iter::from_fn(|| channel.recv_timeout(Duration::from_millis(300)).ok()?);
    assert!(heard.take(20).count() < 20);
}

#[test]
fn names_that_are_none_are_refused_and_lists_of_nothing_are_fine() {
    let platform = platform(&[]);
    let channel = Channel::connect(&platform.make_channel().unwrap(), ["t"; 0]).unwrap();
    let client = builder(&platform).connect().unwrap();
    let long = "x".repeat(201);
    for name in [
        "",
        "v2.ü",
        "a b",
        "a\0b",
        "a\nb",
        "\u{202e}x",
        "v2.🦀",
        &long,
    ] {
        for error in [channel.subscribe([name]), client.subscribe([name])] {
            let error = error.unwrap_err();
            assert_eq!(error.reason(), Reason::RefusedTopic, "{name:?}");
            assert!(!error.to_string().contains(['\n', '\0', '\u{202e}']));
        }
        assert!(channel.unsubscribe([name]).is_err());
    }
    channel.subscribe(["t"; 0]).unwrap();
    channel.unsubscribe(["t"; 0]).unwrap();
    client.subscribe(["t"; 0]).unwrap();
    client.unsubscribe(["never subscribed"; 0]).unwrap();
    client.unsubscribe(["never.subscribed"]).unwrap();
    // In whatever case, and however often, a topic is one.
    let id = conversation(&platform);
    let (lower, upper) = (topic_of(&id), topic_of(&id).to_ascii_uppercase());
    channel
        .subscribe([lower.clone(), upper.clone(), lower.clone()])
        .unwrap();
    let Item::Live { topics } = until(&channel, &mut Vec::new(), is_live) else {
        panic!();
    };
    assert_eq!(topics, [lower]);
    channel.unsubscribe([upper]).unwrap();
}

#[test]
fn a_topic_more_than_a_channel_holds_is_refused_and_the_others_are_live() {
    let platform = platform(&[]);
    let ids: Vec<String> = (0..1001).map(|_| conversation(&platform)).collect();
    let topics: Vec<String> = ids.iter().map(|id| topic_of(id)).collect();
    let channel = Channel::connect(&platform.make_channel().unwrap(), topics).unwrap();
    let (began, mut live, mut refused) = (Instant::now(), BTreeSet::new(), 0);
    while live.len() < 1000 || refused == 0 {
        assert!(began.elapsed() < PATIENCE, "{} {refused}", live.len());
        match channel.recv_timeout(Duration::from_millis(200)).unwrap() {
            Some(Item::Live { topics }) => live.extend(topics),
            Some(Item::Refused { topics, .. }) => refused += topics.len(),
            _ => {}
        }
    }
    assert_eq!((live.len(), refused), (1000, 1));
}

#[test]
fn a_channel_that_is_closed_answers_everything_with_that() {
    let platform = platform(&[]);
    let uri = platform.make_channel().unwrap();
    let channel = Channel::connect(&uri, [topic_of(&conversation(&platform))]).unwrap();
    until(&channel, &mut Vec::new(), is_live);
    for _ in 0..3 {
        channel.rollover(&uri).unwrap();
    }
    channel.close();
    while channel.recv().is_some() {}
    let is_closed = |result: Result<(), Error>| result.unwrap_err().reason() == Reason::Closed;
    assert!(is_closed(channel.subscribe(["t"])) && is_closed(channel.unsubscribe(["t"])));
    assert!(is_closed(channel.extend()) && is_closed(channel.ping()));
    assert!(is_closed(channel.rollover(&uri)));
    assert!(is_closed(channel.recv_timeout(Duration::MAX).map(drop)));
    channel.close();
    assert!(!channel.is_connected() && channel.receiver().recv().is_err());
    // The same channel of the platform can be had again.
    let again = Channel::connect(&uri, ["t"; 0]).unwrap();
    assert!(again.is_connected());
}

#[test]
fn whoever_waits_hears_of_the_end_in_whichever_thread_it_is_brought_about() {
    let platform = platform(&[]);
    let client = builder(&platform).name("many-hands").connect().unwrap();
    std::thread::scope(|s| {
        let waiting: Vec<_> = (0..4)
            .map(|_| s.spawn(|| while client.recv().is_some() {}))
            .collect();
        for n in 0..4 {
            let client = &client;
            s.spawn(move || {
                for m in 0..200 {
                    let topic = format!("v2.users.{n}.{m}");
                    client.subscribe([topic.clone()]).unwrap();
                    client.unsubscribe([topic]).unwrap();
                }
            });
        }
        while threads("many-hands") == 0 {}
        std::thread::sleep(Duration::from_millis(500));
        client.close();
        waiting.into_iter().for_each(|w| w.join().unwrap());
    });
    wait_for_no_threads("many-hands");
}

#[test]
fn a_panic_in_the_callers_thread_or_a_queue_that_is_kept_leaves_no_thread() {
    let platform = platform(&[]);
    let client = builder(&platform).name("panics").connect().unwrap();
    let channel = Channel::builder()
        .name("panics")
        .connect(&platform.make_channel().unwrap())
        .unwrap();
    let (kept, other) = (channel.receiver().clone(), client.receiver().clone());
    let panicked = std::thread::spawn(move || {
        let _held = (&client, &channel);
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    wait_for_no_threads("panics");
    assert!(kept.iter().count() < 10 && other.iter().count() < 10);
}

struct Panics;

impl Keeper for Panics {
    fn load(&mut self) -> Vec<KeptChannel> {
        Vec::new()
    }

    fn keep(&mut self, _: &[KeptChannel]) {
        panic!("on purpose");
    }
}

#[test]
fn a_keeper_that_panics_is_told_and_ends_nothing() {
    let platform = platform(&[]);
    let client = builder(&platform).keeper(Panics).connect().unwrap();
    let id = conversation(&platform);
    client.subscribe([topic_of(&id)]).unwrap();
    let (began, mut told, mut live) = (Instant::now(), 0, false);
    while told == 0 || !live {
        assert!(began.elapsed() < PATIENCE, "told {told}, live {live}");
        match client.recv_timeout(Duration::from_millis(200)) {
            Err(error) => {
                assert_eq!(error.reason(), Reason::Machine, "{error:?}");
                told += 1;
            }
            Ok(item) => live |= matches!(item, Some(Item::Live { .. })),
        }
    }
}

#[test]
fn addresses_that_are_none_are_told() {
    for hosts in [
        "",
        "not an address",
        "https://",
        "ftp://x",
        "http://127.0.0.1:1/",
    ] {
        let client = Client::builder()
            .hosts(hosts, hosts)
            .client_credentials("", "")
            .name("nowhere")
            .connect()
            .unwrap();
        let began = Instant::now();
        let error = loop {
            assert!(began.elapsed() < PATIENCE, "{hosts}");
            if let Err(error) = client.recv_timeout(Duration::from_millis(200)) {
                break error;
            }
        };
        assert_eq!(error.reason(), Reason::Login, "{hosts}: {error}");
        assert!(client.available_topics(PATIENCE).is_err());
    }
    wait_for_no_threads("nowhere");
}
