//! Pings, heartbeats and silence.

use super::*;

#[test]
fn a_ping_goes_out_when_nothing_was_heard_and_sooner_with_a_request_in_flight() {
    let mut bench = Bench::open();
    bench.pass(Duration::from_millis(9_999));
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.sent, [frames::ping()]);
    bench.pass(secs(9));
    assert_eq!(bench.sent.len(), 1, "one at a time");
    bench.text(PONG);
    bench.sent.clear();
    bench.subscribe(1, &["a"]);
    bench.sent.clear();
    bench.pass(secs(5));
    assert_eq!(bench.sent, [frames::ping()]);
}

#[test]
fn a_ping_without_an_answer_ends_the_socket_even_if_heartbeats_come() {
    let mut bench = Bench::open();
    bench.pass(secs(10));
    bench.text(HEARTBEAT);
    bench.pass(Duration::from_millis(9_999));
    assert_eq!(bench.closes.len(), 0);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.closes, [false]);
    assert_eq!(bench.session.next_deadline(), None);
    bench.input(Input::Ended(End::Broken("reset".into())));
    assert_eq!(bench.take(), [Fact::Ended(End::NoPong)]);
}

#[test]
fn a_reply_answers_a_ping_as_well() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.pass(secs(6));
    bench.text(&reply(Some("1"), None, 200, "subscribed"));
    bench.text(HEARTBEAT);
    bench.pass(Duration::from_millis(9_500));
    assert_eq!(bench.closes.len(), 0);
}

#[test]
fn heartbeats_that_stop_are_found_although_pongs_come() {
    let mut bench = Bench::open();
    bench.text(HEARTBEAT);
    for _ in 0..39 {
        bench.pass(secs(1));
        if bench.sent.pop().is_some() {
            bench.text(PONG);
        }
    }
    assert_eq!(bench.closes.len(), 0);
    bench.pass(secs(1));
    assert_eq!(bench.closes, [false]);
    bench.input(Input::Ended(End::Ordered));
    assert_eq!(bench.take(), [Fact::Ended(End::Silent { beats: 1 })]);
}

#[test]
fn events_and_system_messages_are_signs_of_life_and_control_frames_and_rubbish_are_not() {
    for (text, life) in [
        (EVENT, true),
        (r#"{"topicName":"v2.system.x.y","eventBody":{}}"#, true),
        (HEARTBEAT, true),
        (PONG, false),
        ("rubbish", false),
    ] {
        let mut bench = Bench::open();
        for _ in 0..45 {
            bench.pass(secs(1));
            bench.text(text);
            bench.input(Input::OtherFrame);
        }
        assert_eq!(bench.closes.is_empty(), life, "{text}");
    }
}

#[test]
fn a_healthy_idle_socket_lives_for_days() {
    let mut bench = Bench::open();
    bench.pass_healthy(secs(86_400));
    assert_eq!(bench.take(), []);
    assert!(bench.closes.is_empty());
}

#[test]
fn heard_is_told_once_in_a_while() {
    let mut bench = Bench::open();
    for _ in 0..5 {
        bench.text(PONG);
        bench.text(HEARTBEAT);
    }
    assert_eq!(bench.facts, [Fact::Heard]);
    bench.pass(secs(10));
    bench.text(PONG);
    assert_eq!(bench.facts, [Fact::Heard, Fact::Heard]);
}

#[test]
fn twice_the_silence_is_allowed_where_heartbeats_come_more_seldom() {
    let mut bench = Bench::open();
    let quiet = |bench: &mut Bench, n: u64| {
        for _ in 0..n {
            bench.pass(secs(1));
            if bench.sent.pop().is_some() {
                bench.text(PONG);
            }
        }
    };
    bench.input(Input::Order(Order::Patience { doubled: true }));
    quiet(&mut bench, 60);
    bench.text(HEARTBEAT);
    quiet(&mut bench, 79);
    assert_eq!(bench.closes.len(), 0);
    // Allowed no longer, it is silent at once.
    bench.input(Input::Order(Order::Patience { doubled: false }));
    quiet(&mut bench, 1);
    assert_eq!(bench.closes, [false]);
    bench.input(Input::Ended(End::Ordered));
    assert_eq!(bench.take(), [Fact::Ended(End::Silent { beats: 1 })]);
}
