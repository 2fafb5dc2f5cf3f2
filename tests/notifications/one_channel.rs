//! `Channel`: reconnect, extension, roll-over, refusals, ends.

use std::collections::BTreeSet;

use notifications::Reason;

use super::*;

#[test]
fn what_is_announced_on_a_topic_comes_exactly_as_it_was_sent() {
    let platform = platform(&[]);
    let (uri, id) = (platform.make_channel().unwrap(), conversation(&platform));
    let topic = topic_of(&id);
    let channel = Channel::connect(&uri, [topic.clone()]).unwrap();
    assert!(channel.is_connected());
    let mut seen = Vec::new();
    let live = until(&channel, &mut seen, is_live);
    assert_eq!(
        live,
        Item::Live {
            topics: vec![topic.clone()]
        }
    );
    wrap_up(&platform, &id);
    let Item::Notification {
        topic: on,
        body,
        version,
        ..
    } = until(&channel, &mut seen, is_event)
    else {
        unreachable!();
    };
    assert!(on.eq_ignore_ascii_case(&topic), "{on}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json["conversationId"], id);
    assert_eq!(version.as_deref(), Some("2"));
    channel.close();
    let began = Instant::now();
    while channel.recv().is_some() {}
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(
        channel.subscribe([topic]).unwrap_err().reason(),
        Reason::Closed
    );
}

#[test]
fn a_lost_socket_is_a_gap_and_comes_back_with_its_topics() {
    let platform = platform(&[]);
    let (uri, id) = (platform.make_channel().unwrap(), conversation(&platform));
    let channel = Channel::connect(&uri, [topic_of(&id)]).unwrap();
    let mut seen = Vec::new();
    until(&channel, &mut seen, is_live);
    for _ in 0..3 {
        fault(&platform, json!({"fault": "drop-socket", "channel": "all"}));
        let gap = until(&channel, &mut seen, |i| matches!(i, Item::Gap { .. }));
        assert!(
            matches!(gap, Item::Gap { ref topics, .. } if topics.len() == 1),
            "{gap:?}"
        );
        until(&channel, &mut seen, is_live);
    }
    wrap_up(&platform, &id);
    until(&channel, &mut seen, is_event);
}

#[test]
fn after_a_closing_notice_what_is_not_told_is_covered_by_a_gap() {
    let platform = platform(&[("closing-seconds", "2")]);
    let uri = platform.make_channel().unwrap();
    let ids: Vec<String> = (0..40).map(|_| conversation(&platform)).collect();
    let channel = Channel::connect(&uri, ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until(&channel, &mut seen, is_live);
    fault(&platform, json!({"fault": "closing", "channel": "all"}));
    until(&channel, &mut seen, |i| matches!(i, Item::Closing));
    for id in &ids {
        wrap_up(&platform, id);
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    let all = |seen: &[Item]| seen.iter().filter(|i| is_event(i)).count() == ids.len();
    let gap = |seen: &[Item]| seen.iter().any(|i| matches!(i, Item::Gap { .. }));
    // The platform drops the first socket for the second, perhaps before that is known to be open.
    while !(all(&seen) || (gap(&seen) && began.elapsed() > Duration::from_secs(3))) {
        assert!(began.elapsed() < PATIENCE, "{seen:#?}");
        let item = channel.recv_timeout(Duration::from_millis(200)).unwrap();
        seen.extend(item);
    }
    assert!(channel.is_connected());
    assert!(gap(&seen) || all(&seen));
}

#[test]
fn a_dropped_handle_ends_its_threads_within_a_second() {
    let platform = platform(&[]);
    let uri = platform.make_channel().unwrap();
    let mine = "dropped";
    let began = threads(mine);
    let channel = Channel::builder().name(mine).connect(&uri).unwrap();
    assert_eq!(threads(mine) - began, 2);
    drop(channel);
    let dropped = Instant::now();
    while threads(mine) > began {
        assert!(dropped.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_handle_that_is_dropped_while_it_dials_ends_its_threads_within_a_second() {
    let platform = platform(&[]);
    let uri = platform.make_channel().unwrap();
    // Whoever listens here says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = format!("ws://{}/channels/x", silent.local_addr().unwrap());
    let mine = "dialling";
    let channel = Channel::builder().name(mine).connect(&uri).unwrap();
    channel.rollover(&nowhere).unwrap();
    let (_held, _) = silent.accept().unwrap();
    assert_eq!(threads(mine), 3);
    drop(channel);
    let dropped = Instant::now();
    while threads(mine) > 0 {
        assert!(dropped.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_reader_that_sleeps_loses_notifications_and_hears_which() {
    let platform = platform(&[]);
    let (uri, ids) = (
        platform.make_channel().unwrap(),
        (0..30).map(|_| conversation(&platform)).collect::<Vec<_>>(),
    );
    let topics = ids.iter().map(|id| topic_of(id));
    let channel = Channel::builder()
        .topics(topics)
        .capacity(5)
        .connect(&uri)
        .unwrap();
    let mut seen = Vec::new();
    until(&channel, &mut seen, is_live);
    for id in &ids {
        wrap_up(&platform, id);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        channel.receiver().len() < 25,
        "{}",
        channel.receiver().len()
    );
    let overflow = until(&channel, &mut seen, |i| matches!(i, Item::Overflow { .. }));
    let gap = until(&channel, &mut seen, |i| matches!(i, Item::Gap { .. }));
    let told = seen.iter().filter(|i| is_event(i)).count() as u64;
    let Item::Overflow { lost } = overflow else {
        unreachable!()
    };
    let Item::Gap { topics, cause, .. } = gap else {
        unreachable!()
    };
    assert!(lost + told <= 30 && lost >= 10, "{lost} lost, {told} told");
    assert_eq!((topics.len() as u64, cause), (lost, "overflow"));
    // They are live still, and that is told anew.
    until(&channel, &mut seen, is_live);
}

#[test]
fn a_roll_over_under_flow_misses_nothing_and_tells_nothing_twice() {
    let platform = platform(&[]);
    let (uri, other) = (
        platform.make_channel().unwrap(),
        platform.make_channel().unwrap(),
    );
    let ids: Vec<String> = (0..60).map(|_| conversation(&platform)).collect();
    let channel = Channel::connect(&uri, ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until(&channel, &mut seen, is_live);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in &ids {
                wrap_up(&platform, id);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        channel.rollover(&other).unwrap();
    });
    let mut told = Vec::new();
    while told.len() < ids.len() {
        let Item::Notification { body, .. } = until(&channel, &mut seen, is_event) else {
            unreachable!();
        };
        assert!(!told.contains(&body), "{body} twice");
        told.push(body);
    }
    assert!(
        !seen.iter().any(|i| matches!(i, Item::Gap { .. })),
        "{seen:#?}"
    );
    // The first channel may go now.
    assert!(matches!(
        channel.recv_timeout(Duration::from_millis(300)),
        Ok(None)
    ));
    let nowhere = "ws://127.0.0.1:9/channels/streaming-0-x";
    channel.rollover(nowhere).unwrap();
    assert_eq!(failure(&channel).reason(), Reason::RolloverFailed);
    assert!(channel.is_connected());
}

#[test]
fn each_failure_has_its_reason() {
    let reason = |uri: &str, topic: &str| Channel::connect(uri, [topic]).unwrap_err().reason();
    assert_eq!(reason("https://x/y", "t"), Reason::BadUri);
    assert_eq!(reason("ws://127.0.0.1:9/x", "t"), Reason::Handshake);
    assert_eq!(reason("ws://127.0.0.1:9/x", "a b"), Reason::RefusedTopic);
    let platform = platform(&[]);
    let uri = platform.make_channel().unwrap();
    let unknown = format!("{}-no", uri);
    let error = Channel::connect(&unknown, ["t"]).unwrap_err();
    assert!(
        matches!(error.reason(), Reason::Status(_) | Reason::Unauthorized),
        "{error:?}"
    );
    for status in [401, 403, 503] {
        fault(
            &platform,
            json!({"fault": "fail-rest", "call": "upgrade", "times": 1,
                "failure": {"with": "status", "status": status}}),
        );
        let got = reason(&uri, "t");
        let wanted = match status {
            401 => Reason::Unauthorized,
            403 => Reason::Forbidden,
            status => Reason::Status(status),
        };
        assert_eq!(got, wanted);
    }
    for error in ["ws://127.0.0.1:9/secret-id"].map(|u| Channel::connect(u, ["t"]).unwrap_err()) {
        assert!(
            !format!("{error} {error:?}").contains("secret-id"),
            "{error:?}"
        );
    }
    // The channel is gone while it is in use.
    let channel = Channel::connect(&uri, [topic_of(&conversation(&platform))]).unwrap();
    fault(&platform, json!({"fault": "evict", "channel": "all"}));
    let error = failure(&channel);
    assert!(
        matches!(error.reason(), Reason::Replaced | Reason::Expired),
        "{error:?}"
    );
    assert!(error.is_permanent());
}

#[test]
fn by_hand_the_closing_is_told_and_then_the_end() {
    let platform = platform(&[("closing-seconds", "1")]);
    let uri = platform.make_channel().unwrap();
    let channel = Channel::builder().manual(true).connect(&uri).unwrap();
    fault(&platform, json!({"fault": "closing", "channel": "all"}));
    until(&channel, &mut Vec::new(), |i| matches!(i, Item::Closing));
    assert_eq!(failure(&channel).reason(), Reason::Closing);
}

#[test]
fn a_topic_that_the_platform_refuses_is_told_and_spoils_no_other() {
    let platform = platform(&[]);
    let (uri, id) = (platform.make_channel().unwrap(), conversation(&platform));
    let odd = "v2.nothing.of.the.kind";
    let channel = Channel::connect(&uri, [odd.to_owned(), topic_of(&id)]).unwrap();
    let mut seen = Vec::new();
    until(&channel, &mut seen, is_live);
    let refused = |i: &Item| matches!(i, Item::Refused { topics, .. } if topics == &[odd]);
    if !seen.iter().any(refused) {
        until(&channel, &mut seen, refused);
    }
    wrap_up(&platform, &id);
    until(&channel, &mut seen, is_event);
}

#[test]
fn the_permission_that_a_refused_topic_lacks_is_told_by_its_name() {
    let platform = platform(&[]);
    let (uri, id) = (platform.make_channel().unwrap(), conversation(&platform));
    fault(
        &platform,
        json!({"fault": "permissions", "missing": ["analytics:conversationDetail:view"]}),
    );
    let channel = Channel::connect(&uri, [topic_of(&id), "v2.nothing".to_owned()]).unwrap();
    let mut told = Vec::new();
    while told.len() < 2 {
        let refused = |i: &Item| matches!(i, Item::Refused { .. });
        if let Item::Refused {
            topics, missing, ..
        } = until(&channel, &mut Vec::new(), refused)
        {
            told.push((topics, missing));
        }
    }
    told.sort();
    let lacking = vec!["analytics:conversationDetail:view".to_owned()];
    let odd = (vec!["v2.nothing".to_owned()], Vec::new());
    assert_eq!(told, [(vec![topic_of(&id)], lacking), odd]);
}

#[test]
fn where_errors_are_not_ignored_a_refused_topic_takes_its_call_along() {
    let platform = platform(&[]);
    let uri = platform.make_channel().unwrap();
    let ids: Vec<String> = (0..3).map(|_| conversation(&platform)).collect();
    let builder = Channel::builder().ignore_errors(false);
    let channel = builder.topics([topic_of(&ids[0])]).connect(&uri).unwrap();
    until(&channel, &mut Vec::new(), is_live);
    let odd = "v2.nothing.of.the.kind".to_owned();
    let good = [topic_of(&ids[1]), topic_of(&ids[2])];
    let all = [odd.clone(), topic_of(&ids[0])];
    channel
        .subscribe(all.into_iter().chain(good.clone()))
        .unwrap();
    let mut refused = BTreeSet::new();
    while refused.len() < 3 {
        let item = until(&channel, &mut Vec::new(), |i| {
            matches!(i, Item::Refused { .. })
        });
        if let Item::Refused { topics, detail, .. } = item {
            assert!(topics == [odd.clone()] || detail.contains(&odd), "{detail}");
            refused.extend(topics);
        }
    }
    assert_eq!(refused, good.into_iter().chain([odd]).collect());
    // What an earlier call named stays.
    wrap_up(&platform, &ids[0]);
    until(&channel, &mut Vec::new(), is_event);
}

#[test]
fn a_ping_is_answered_by_a_heartbeat() {
    let platform = platform(&[]);
    let channel = Channel::connect(&platform.make_channel().unwrap(), ["t"; 0]).unwrap();
    channel.ping().unwrap();
    until(&channel, &mut Vec::new(), |i| matches!(i, Item::Heartbeat));
}
