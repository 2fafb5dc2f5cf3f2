//! What a second socket, or another channel, takes over, and what it must not spoil.

use super::*;

#[test]
fn equal_events_after_a_take_over_are_events_of_their_own() {
    let mut b = Bench::serving(Settings::default(), 2);
    let first = b.last();
    b.fact(first, Fact::Closing);
    let second = b.last();
    b.fact(first, event(1, "on"));
    b.fact(first, event(1, "off"));
    b.fact(second, Fact::Opened);
    b.pass(Duration::from_secs(5));
    b.fact(second, event(1, "on"));
    b.fact(second, event(1, "off"));
    let told = b
        .items
        .iter()
        .filter(|i| matches!(i, Item::Notification { .. }));
    assert_eq!((told.count(), b.gaps().len()), (4, 0));
}

#[test]
fn what_is_given_up_while_disconnected_is_taken_off_the_channel_later() {
    let mut b = Bench::serving(Settings::default(), 3);
    b.fact(b.last(), Fact::Ended(End::Broken("x".into())));
    b.give(Input::Unsubscribe(vec![topic(1), topic(2)]));
    b.give(Input::Subscribe(vec![topic(2)]));
    b.orders.clear();
    b.pass(Duration::from_secs(1));
    b.fact(b.last(), Fact::Opened);
    let given_up = b.orders.iter().filter_map(|(_, o)| match o {
        Order::Unsubscribe { topics, .. } => Some(topics.clone()),
        _ => None,
    });
    assert_eq!(given_up.collect::<Vec<_>>(), [vec![topic(1)]]);
    assert_eq!(b.live(), 2);
}

#[test]
fn a_roll_over_that_fails_spoils_nothing_even_if_the_socket_is_lost_meanwhile() {
    let mut b = Bench::serving(Settings::default(), 2);
    let first = b.last();
    b.give(Input::Rollover(Secret::new("wss://streaming.example/bad")));
    let bad = b.last();
    b.fact(first, Fact::Ended(End::Broken("x".into())));
    b.fact(bad, Fact::Ended(End::refused(404)));
    assert!(matches!(b.failed[..], [Failure::RolloverFailed(_)]));
    b.pass(Duration::from_secs(1));
    assert_eq!(b.opened.last().unwrap().1, URI);
    b.fact(b.last(), Fact::Opened);
    assert_eq!((b.over.clone(), b.live(), b.gaps().len()), (None, 2, 1));
}

#[test]
fn a_predecessor_that_may_have_been_dead_is_doubted() {
    for alive in [true, false] {
        let mut b = Bench::serving(Settings::default(), 2);
        let first = b.last();
        b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
        let next = b.last();
        b.fact(next, Fact::Opened);
        // All is confirmed on the next; the first is asked.
        let asked = b.orders.iter().rev().find_map(|(s, o)| match o {
            Order::Unsubscribe { ticket, .. } if *s == first => Some(*ticket),
            _ => None,
        });
        assert!(asked.is_some());
        assert_eq!((b.gaps().len(), b.live()), (0, 2));
        if alive {
            continue;
        }
        let mut b = Bench::serving(Settings::default(), 2);
        let first = b.last();
        b.confirming = false;
        b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
        let next = b.last();
        b.fact(next, Fact::Opened);
        let ticket_of = |b: &Bench, wanted: SocketRef| {
            b.orders.iter().rev().find_map(|(s, o)| match o {
                Order::Subscribe { ticket, .. } | Order::Unsubscribe { ticket, .. }
                    if *s == wanted =>
                {
                    Some(*ticket)
                }
                _ => None,
            })
        };
        let ticket = ticket_of(&b, next).unwrap();
        b.fact(next, Fact::Subscribed { ticket });
        let ticket = ticket_of(&b, first).unwrap();
        b.fact(
            first,
            Fact::Refused {
                ticket,
                confirmed: Vec::new(),
                result: 0,
                message: String::new(),
            },
        );
        assert_eq!((b.gaps().len(), b.live()), (1, 2));
        assert!(b.single.connected());
    }
}

#[test]
fn a_closing_notice_on_the_socket_that_takes_over_is_heard() {
    let mut b = Bench::serving(Settings::default(), 2);
    b.confirming = false;
    b.fact(b.last(), Fact::Closing);
    b.items.clear();
    let next = b.last();
    b.fact(next, Fact::Opened);
    b.fact(next, Fact::Closing);
    let Some((_, Order::Subscribe { ticket, .. })) = b.orders.last().cloned() else {
        panic!("{:?}", b.orders);
    };
    b.fact(next, Fact::Subscribed { ticket });
    assert!(b.items.contains(&Item::Closing));
    assert_eq!(b.opened.len(), 3, "and a third takes over from it");
}

#[test]
fn one_topic_that_is_refused_keeps_no_channel_from_living_on() {
    let mut b = Bench::serving(Settings::default(), 8);
    b.confirming = false;
    let before = b.single.expires();
    b.pass(Duration::from_secs(23 * 3600 + 1800));
    for _ in 0..200 {
        let Some((socket, Order::Subscribe { ticket, topics })) = b.orders.pop() else {
            continue;
        };
        let fact = match topics.contains(&topic(5)) {
            true => Fact::Refused {
                ticket,
                confirmed: Vec::new(),
                result: 403,
                message: "no".into(),
            },
            false => Fact::Subscribed { ticket },
        };
        b.fact(socket, fact);
    }
    assert!(b.single.expires() > before, "{:?}", b.failed);
    assert!(b.items.iter().any(|i| matches!(i, Item::Refused { .. })));
}

#[test]
fn topics_named_one_by_one_are_sent_together_as_answers_come() {
    let mut b = Bench::serving(Settings::default(), 0);
    b.confirming = false;
    for n in 0..1000 {
        b.give(Input::Subscribe(vec![topic(n)]));
    }
    assert_eq!(b.subscribes(), [1, 1, 1, 1]);
    while b.live() < 1000 {
        let Some(place) = b
            .orders
            .iter()
            .position(|(_, o)| matches!(o, Order::Subscribe { .. }))
        else {
            panic!("{} live", b.live());
        };
        let (socket, order) = b.orders.remove(place);
        let Order::Subscribe { ticket, .. } = order else {
            unreachable!()
        };
        b.fact(socket, Fact::Subscribed { ticket });
    }
}

#[test]
fn a_second_socket_that_cannot_take_over_is_followed_by_another_within_the_minute() {
    let mut b = Bench::serving(Settings::default(), 2);
    b.fact(b.last(), Fact::Closing);
    for status in [503, 429, 404] {
        let (n, next) = (b.opened.len(), b.last());
        b.fact(next, Fact::Ended(End::refused(status)));
        b.pass(Duration::from_secs(9));
        assert_eq!(b.opened.len(), n + 1, "after {status}");
    }
    b.fact(b.last(), Fact::Opened);
    assert_eq!((b.live(), b.gaps().len(), b.failed.len()), (2, 0, 0));
    let n = b.opened.len();
    b.pass(Duration::from_secs(120));
    assert_eq!(b.opened.len(), n, "and none after that");
}

#[test]
fn a_second_socket_that_is_not_ready_in_time_is_followed_by_another() {
    let mut b = Bench::serving(Settings::default(), 2);
    b.fact(b.last(), Fact::Closing);
    b.pass(Duration::from_secs(46));
    assert_eq!(b.opened.len(), 3);
    // The platform wants to be asked later.
    let end = End::UpgradeRefused {
        status: 429,
        retry_after: Some(Duration::from_secs(20)),
    };
    b.fact(b.last(), Fact::Ended(end));
    b.pass(Duration::from_secs(19));
    assert_eq!(b.opened.len(), 3);
    b.pass(Duration::from_secs(2));
    assert_eq!(b.opened.len(), 4);
}

#[test]
fn by_hand_or_without_a_notice_nothing_is_tried_again() {
    for manual in [true, false] {
        let settings = Settings {
            manual,
            ..Settings::default()
        };
        let mut b = Bench::serving(settings, 2);
        b.give(Input::Rollover(Secret::new(URI)));
        b.fact(b.last(), Fact::Ended(End::refused(503)));
        b.pass(Duration::from_secs(60));
        assert_eq!(b.opened.len(), 2);
        assert!(matches!(b.failed[..], [Failure::RolloverFailed(_)]));
    }
}

#[test]
fn after_a_notice_a_roll_over_that_fails_is_followed_by_a_socket_on_the_same_channel() {
    let mut b = Bench::serving(Settings::default(), 2);
    let first = b.last();
    b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
    b.fact(first, Fact::Closing);
    assert_eq!(b.opened.len(), 2);
    b.fact(b.last(), Fact::Ended(End::refused(404)));
    b.pass(Duration::from_secs(5));
    assert_eq!(b.opened.last().unwrap().1, URI);
    b.fact(b.last(), Fact::Opened);
    assert_eq!((b.live(), b.gaps().len(), b.failed.len()), (2, 0, 1));
}

#[test]
fn a_roll_over_that_is_asked_for_twice_is_one_and_one_back_ends_it() {
    let mut b = Bench::serving(Settings::default(), 2);
    b.confirming = false;
    let other = || Input::Rollover(Secret::new("wss://streaming.example/b"));
    b.give(other());
    b.give(other());
    assert_eq!((b.opened.len(), b.failed.len()), (2, 0));
    b.give(Input::Rollover(Secret::new(URI)));
    assert_eq!((b.opened.len(), b.failed.len()), (3, 1));
    b.give(Input::Rollover(Secret::new(URI)));
    assert_eq!((b.opened.len(), b.failed.len()), (3, 1));
    b.confirming = true;
    b.fact(b.last(), Fact::Opened);
    assert_eq!((b.live(), b.gaps().len()), (2, 0));
    // And under way or not: it serves from the channel that was named last.
    b.give(other());
    b.fact(b.last(), Fact::Opened);
    assert_eq!((b.live(), b.opened.len(), b.failed.len()), (2, 4, 1));
}

#[test]
fn what_comes_late_on_a_channel_that_was_given_up_is_told_once() {
    let mut b = Bench::serving(Settings::default(), 2);
    let first = b.last();
    b.confirming = false;
    b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
    let other = b.last();
    b.fact(other, Fact::Opened);
    // It takes no orders before what it sends is read.
    b.single.handle(Input::Rollover(Secret::new(URI)), b.now);
    while let Some(output) = b.single.poll_output() {
        assert!(!matches!(output, Output::Over(_)));
    }
    b.fact(first, event(1, "on"));
    b.fact(other, event(1, "on"));
    let told = |i: &&Item| matches!(i, Item::Notification { .. });
    assert_eq!(b.items.iter().filter(told).count(), 1);
}
