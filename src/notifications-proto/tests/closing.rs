//! After a closing notice: second sockets, and notices without consequence.

use std::time::Duration;

use super::super::rest::{self, Op};
use super::super::session::{self, End, SocketRef};
use super::super::snapshot::ChannelState;
use super::super::*;
use super::bench::{Bench, gaps, settings, topic};
use super::handover::{closing, full_house};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_was_under_way_on_the_first_socket_is_sent_again_on_the_second() {
    let mut b = full_house();
    let (first, uri) = b.sockets[0].clone();
    b.give(Input::Unwatch(topic(0)));
    b.confirming = false;
    b.watch(40);
    b.give(Input::Unwatch(topic(1)));
    closing(&mut b, first);
    b.orders.clear();
    b.pass(Duration::from_millis(1600));
    let second = b.sockets.iter().find(|(s, u)| *u == uri && *s != first);
    let second = second.expect("a second socket").0;
    let on_it = |wanted: &dyn Fn(&session::Order) -> bool| {
        let on_it = |(s, o): &(SocketRef, session::Order)| *s == second && wanted(o);
        b.orders.iter().any(on_it)
    };
    assert!(
        on_it(
            &|o| matches!(o, session::Order::Subscribe { topics, .. } if topics.contains(&topic(40)))
        ),
        "{:?}",
        b.orders
    );
    assert!(
        on_it(
            &|o| matches!(o, session::Order::Unsubscribe { topics, .. } if *topics == [topic(1)])
        ),
        "{:?}",
        b.orders
    );
}

#[test]
fn a_channel_whose_socket_is_closed_soon_after_the_notice_goes_on_and_is_not_replaced() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    closing(&mut b, first);
    b.end(first, End::Closed(1001));
    b.pass(SECOND);
    b.watch(20);
    assert_eq!((b.live(), b.made), (6, 1), "it takes more");
    b.pass(SECOND * 60);
    assert_eq!((b.live(), b.made, gaps(&b.facts)), (6, 1, 5));
    assert_eq!(b.sockets.len(), 1);
    assert_eq!(b.sockets[0].1, uri);
}

#[test]
fn a_second_socket_that_opens_when_its_channel_is_given_up_does_not_bring_it_back() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    // The new channel is not ready in time.
    b.answering = false;
    b.opening = false;
    closing(&mut b, first);
    b.pass(SECOND * 43);
    let second = b.sockets.iter().find(|(s, u)| *u == uri && *s != first);
    let second = second.expect("a second socket").0;
    b.pass(SECOND * 12);
    // The notice had no consequence, but the first does not answer any more.
    b.sockets.retain(|(s, _)| *s != first);
    b.answering = true;
    b.opening = true;
    b.give(Input::Session {
        socket: first,
        fact: session::Fact::TokenRevoked,
    });
    b.pass(SECOND);
    let state = |b: &Bench| {
        let channels = b.client.snapshot(b.now).channels;
        channels
            .iter()
            .find(|c| c.slot == first.slot)
            .map(|c| c.state)
    };
    assert_eq!((state(&b), b.live()), (Some(ChannelState::Retiring), 5));
    b.give(Input::Session {
        socket: second,
        fact: session::Fact::Opened,
    });
    assert!(
        matches!(state(&b), None | Some(ChannelState::Retiring)),
        "{:?}",
        state(&b)
    );
    b.pass(SECOND * 15);
    assert_eq!((state(&b), b.live()), (None, 5));
}

#[test]
fn where_a_place_is_about_to_be_free_no_second_socket_is_opened() {
    let mut b = full_house();
    b.emptying = None;
    for _ in 0..3 {
        let last = b.sockets.iter().map(|(s, _)| *s).max_by_key(|s| s.slot);
        b.end(last.unwrap(), End::Silent { beats: 9 });
        b.pass(SECOND);
    }
    // Worn out: it has to be emptied before the next one is made.
    assert_eq!((b.client.held().0, b.live(), b.made), (3, 30, 4));
    let (first, uri) = b.sockets[0].clone();
    closing(&mut b, first);
    b.pass(SECOND * 3);
    let there: Vec<_> = b.sockets.iter().filter(|(_, u)| *u == uri).collect();
    assert_eq!(there, [&(first, uri.clone())]);
    b.answer(
        |op| matches!(op, Op::Empty(_)),
        Ok(rest::Answer::Topics(Vec::new())),
    );
    b.pass(SECOND * 60);
    assert_eq!(b.live(), 40);
}

#[test]
fn channels_whose_token_ends_are_handed_over_one_after_the_other() {
    let mut b = Bench::with(
        Settings {
            max_channels: 12,
            ..settings()
        },
        &[],
        3600,
    );
    b.drain();
    for n in 0..30 {
        b.watch(n);
    }
    let under_way = |b: &Bench| {
        let replaced = b.client.to_be_replaced(b.now);
        replaced.filter(|r| r.under_way).count()
    };
    b.pass(SECOND * 2_900);
    b.confirming = false;
    let mut most = 0;
    for _ in 0..600 {
        b.pass(SECOND);
        most = most.max(under_way(&b));
    }
    assert_eq!(most, 1);
}

#[test]
fn a_second_notice_does_not_put_off_what_the_first_one_said() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    b.answering = false;
    closing(&mut b, first);
    b.pass(SECOND * 30);
    closing(&mut b, first);
    b.pass(SECOND * 13);
    assert_eq!((b.sockets.len(), b.live()), (1, 5));
    assert!(b.sockets[0].0 != first && b.sockets[0].1 == uri);
}

#[test]
fn a_predecessor_stays_for_its_moment_until_another_one_needs_its_place_now() {
    let mut b = Bench::new(Settings {
        max_channels: 3,
        ..settings()
    });
    for n in 0..20 {
        b.watch(n);
    }
    let sockets: Vec<SocketRef> = b.sockets.iter().map(|(s, _)| *s).collect();
    let there = |b: &Bench| b.sockets.iter().any(|(s, _)| *s == sockets[0]);
    closing(&mut b, sockets[0]);
    b.pass(Duration::from_millis(600));
    assert_eq!((b.client.held().0, there(&b)), (3, true));
    // The next one is to be replaced within half a second.
    closing(&mut b, sockets[1]);
    assert!(there(&b));
    b.pass(Duration::from_millis(600));
    assert!(!there(&b));
    b.pass(SECOND * 5);
    assert_eq!((b.live(), gaps(&b.facts)), (20, 0));
}
