//! What hours bring about, in a moment: the platform's time is advanced, the client's is not.

use notifications::Reason;

use super::client::{builder, events, until_live};
use super::*;

const DAY: Duration = Duration::from_secs(25 * 3600);

/// Sockets end with their channel, and with its token.
const CLOSING: [(&str, &str); 2] = [("token-death", "close"), ("channel-expiry", "close")];

#[test]
fn a_channel_whose_life_has_ended_on_the_platform_is_a_gap_and_says_so() {
    let platform = platform(&CLOSING);
    let uri = platform.make_channel().unwrap();
    let channel = Channel::connect(&uri, [topic_of(&conversation(&platform))]).unwrap();
    until(&channel, &mut Vec::new(), is_live);
    platform.advance(DAY).unwrap();
    let (began, mut gaps) = (Instant::now(), 0);
    let error = loop {
        assert!(began.elapsed() < PATIENCE, "{gaps} gaps");
        match channel.recv_timeout(Duration::from_millis(200)) {
            Ok(item) => gaps += i32::from(matches!(item, Some(Item::Gap { .. }))),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error.reason(), Reason::Expired | Reason::Unauthorized),
        "{error:?}"
    );
    assert!(error.is_permanent() && gaps == 1, "{gaps}");
    assert!(channel.recv().is_none() && !channel.is_connected());
}

#[test]
fn a_client_whose_channels_and_token_have_ended_goes_on_with_others() {
    let platform = platform(&CLOSING);
    let ids: Vec<String> = (0..3).map(|_| conversation(&platform)).collect();
    let client = builder(&platform).topics_per_channel(2).connect().unwrap();
    client.subscribe(ids.iter().map(|id| topic_of(id))).unwrap();
    let mut seen = Vec::new();
    until_live(&client, 3, &mut seen);
    for (id, day) in ids.iter().zip(1..=2) {
        platform.advance(DAY).unwrap();
        // That sockets are refused until there are other channels is told, and passes.
        let (began, mut dark, mut live) = (Instant::now(), 0, 0);
        while live < 3 {
            assert!(began.elapsed() < 3 * PATIENCE, "{dark} dark, {live} live");
            match client.recv_timeout(Duration::from_millis(200)) {
                Ok(Some(Item::Gap { topics, .. })) => dark += topics.len(),
                Ok(Some(Item::Live { topics })) => live += topics.len(),
                Ok(_) => {}
                Err(error) => assert!(!error.is_permanent(), "{error:?}"),
            }
        }
        assert_eq!((dark, live), (3, 3));
        wrap_up(&platform, id);
        events(&client, day, &mut seen);
    }
}

#[test]
fn a_client_goes_on_after_the_platform_has_forgotten_everything() {
    let platform = platform(&[]);
    let client = builder(&platform).connect().unwrap();
    let mut seen = Vec::new();
    for round in 1..=2 {
        platform.reset();
        let id = conversation(&platform);
        client.subscribe([topic_of(&id)]).unwrap();
        until_live(&client, round, &mut seen);
        wrap_up(&platform, &id);
        events(&client, round, &mut seen);
    }
}
