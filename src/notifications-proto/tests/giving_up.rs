//! Channels that are given up: emptied, closed, and gone.

use std::time::Duration;

use super::super::rest::{self, Failure, Op};
use super::super::session::{self, End, SocketRef};
use super::super::snapshot::ChannelState;
use super::super::*;
use super::bench::{Bench, gaps, settings, topic};
use super::handover::closing;
use super::lasting::emptying;

const SECOND: Duration = Duration::from_secs(1);

fn state(b: &Bench, slot: u8) -> Option<ChannelState> {
    let channels = b.client.snapshot(b.now).channels;
    channels.iter().find(|c| c.slot == slot).map(|c| c.state)
}

/// A channel of an earlier run, whose socket is open; what it holds is being asked.
fn reattached() -> Bench {
    let mut first = Bench::new(settings());
    first.watch(1);
    let mut b = Bench::with_kept(settings(), &first.kept);
    b.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("u"),
            expires_in: SECOND * 86_400,
        }),
    );
    b.answer(
        |op| *op == Op::IdleTimeout,
        Ok(rest::Answer::IdleTimeout(None)),
    );
    b.answer(
        |op| *op == Op::TokenIdles,
        Ok(rest::Answer::TokenIdles(None)),
    );
    b.pass(SECOND);
    assert_eq!(state(&b, 1), Some(ChannelState::Live));
    b
}

fn holds(b: &mut Bench, topics: &[Topic]) {
    let states = topics.iter().map(|t| rest::TopicState {
        topic: t.clone(),
        rejected: None,
    });
    b.answer(
        |op| matches!(op, Op::Subscriptions(_)),
        Ok(rest::Answer::Topics(states.collect())),
    );
}

#[test]
fn what_a_channel_of_an_earlier_run_holds_beyond_its_places_is_taken_off() {
    let mut b = reattached();
    for n in 2..=14 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    b.drain();
    b.orders.clear();
    let held: Vec<Topic> = (1..=14).map(topic).collect();
    holds(&mut b, &held);
    b.pass(SECOND);
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for (socket, order) in b.orders.iter().filter(|(s, _)| s.slot == 1) {
        match order {
            session::Order::Subscribe { topics, .. } => on.extend(topics.clone()),
            session::Order::Unsubscribe { topics, .. } => off.extend(topics.clone()),
            other => panic!("{socket:?}: {other:?}"),
        }
    }
    assert_eq!(on.len() + off.len(), 14, "on {on:?}, off {off:?}");
    on.extend(off);
    on.sort();
    assert_eq!(on, held, "each is in the books, or taken off");
}

#[test]
fn a_channel_that_is_gone_before_it_said_what_it_holds_is_emptied() {
    let mut b = reattached();
    b.end(b.sockets[0].0, End::refused(404));
    assert!(b.calls.iter().any(|(_, op)| emptying(op)), "{:?}", b.calls);
}

#[test]
fn a_channel_that_is_gone_while_it_holds_what_nobody_wants_is_emptied() {
    let mut b = reattached();
    b.confirming = false;
    holds(&mut b, &[topic(9)]);
    b.end(b.sockets[0].0, End::refused(404));
    assert!(b.calls.iter().any(|(_, op)| emptying(op)), "{:?}", b.calls);
}

#[test]
fn what_a_channel_of_an_earlier_run_holds_and_somebody_wants_stays_there() {
    let mut b = reattached();
    for n in 1..4 {
        b.watch(n);
    }
    holds(&mut b, &[topic(1), topic(2)]);
    assert_eq!(b.live(), 3);
    let off = |o: &session::Order| matches!(o, session::Order::Unsubscribe { .. });
    assert!(!b.orders.iter().any(|(_, o)| off(o)), "{:?}", b.orders);
}

#[test]
fn what_a_full_channel_turns_out_to_hold_goes_before_what_was_only_meant_for_it() {
    let mut b = reattached();
    // It does not say in time what it holds, so it is used as it is; four messages are
    // under way, and what follows is only meant for it.
    b.pass(SECOND * 16);
    b.confirming = false;
    for n in 20..30 {
        b.watch(n);
    }
    b.watch(1);
    assert!(b.client.waits(&topic(1)) && !b.client.waits(&topic(24)));
    holds(&mut b, &[topic(1)]);
    assert!(!b.client.waits(&topic(1)));
    assert!((24..30).any(|n| b.client.waits(&topic(n))));
    assert_eq!(b.client.held().1, 10);
}

#[test]
fn an_empty_channel_that_is_not_needed_is_closed_in_one_step() {
    let mut b = Bench::new(settings());
    for n in 0..20 {
        b.watch(n);
    }
    for n in 0..20 {
        b.give(Input::Unwatch(topic(n)));
    }
    let before = b.client.held().0;
    // Nothing but the clock moves it.
    b.noting = false;
    b.answering = false;
    while b.client.held().0 == before {
        let due = b.client.next_deadline(b.now).expect("something is due").at;
        b.now = b.now.plus(due.since(b.now.mono));
        b.give(Input::Tick);
        for slot in 1..=4 {
            assert_ne!(
                state(&b, slot),
                Some(ChannelState::Retiring),
                "it has nothing to wait for"
            );
        }
    }
}

/// Five topics on a socket that is about to be closed.
fn told_to_close() -> (Bench, SocketRef) {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    let (first, _) = b.sockets[0].clone();
    b.facts.clear();
    closing(&mut b, first);
    (b, first)
}

/// A hand-over that is done but for the predecessor in slot 1, which does not answer.
fn left_unanswered() -> Bench {
    let (mut b, first) = told_to_close();
    b.sockets.retain(|(s, _)| *s != first);
    while state(&b, 1) != Some(ChannelState::Retiring) {
        b.pass(Duration::from_millis(100));
    }
    assert_eq!((b.live(), gaps(&b.facts)), (5, 0));
    b.calls.clear();
    b
}

#[test]
fn a_predecessor_that_does_not_say_that_it_is_empty_is_emptied_over_rest_and_then_forgotten() {
    let mut b = left_unanswered();
    b.pass(Duration::from_millis(4_800));
    assert_eq!(gaps(&b.facts), 0);
    assert!(!b.calls.iter().any(|(_, op)| emptying(op)));
    b.pass(Duration::from_millis(200));
    assert_eq!((gaps(&b.facts), b.live()), (5, 5), "they are in doubt");
    assert!(b.calls.iter().any(|(_, op)| emptying(op)));
    for _ in 0..4 {
        b.pass(SECOND);
        assert_eq!(
            state(&b, 1),
            Some(ChannelState::Retiring),
            "its socket may still be there"
        );
    }
    b.pass(SECOND);
    assert_eq!((state(&b, 1), gaps(&b.facts), b.live()), (None, 5, 5));
}

#[test]
fn what_the_successor_has_no_room_for_is_lost_with_its_predecessor_and_live_elsewhere_soon() {
    let (mut b, first) = told_to_close();
    b.confirming = false;
    b.orders.clear();
    b.pass(SECOND);
    let Some((second, session::Order::Subscribe { ticket, .. })) = b.orders.pop() else {
        panic!("{:?}", b.orders)
    };
    assert_ne!(second, first);
    b.answering = false;
    b.refuse(second, ticket, 400);
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Err(Failure::TooManyTopics),
    );
    b.answering = true;
    b.confirming = true;
    for (socket, order) in std::mem::take(&mut b.orders) {
        if let session::Order::Unsubscribe { ticket, .. } = order {
            let fact = session::Fact::Unsubscribed { ticket };
            b.give(Input::Session { socket, fact });
        }
    }
    assert_eq!((gaps(&b.facts), b.live()), (0, 5));
    b.pass(SECOND * 10);
    assert_eq!(gaps(&b.facts), 5);
    b.pass(SECOND * 60);
    assert_eq!((gaps(&b.facts), b.live()), (5, 5));
}

#[test]
fn topics_wait_until_a_channel_of_an_earlier_run_has_said_what_it_holds() {
    let mut b = reattached();
    b.watch(1);
    assert!(b.client.waits(&topic(1)), "it may be on another one");
    holds(&mut b, &[]);
    assert_eq!(b.live(), 1);
}

#[test]
fn what_an_earlier_run_left_on_a_channel_is_asked_again_once_the_channel_turns_out_to_be_full() {
    let mut b = reattached();
    b.answer(
        |op| matches!(op, Op::Subscriptions(_)),
        Err(Failure::Forbidden("not now".into())),
    );
    b.confirming = false;
    b.orders.clear();
    b.watch(1);
    let (socket, order) = b.orders.pop().unwrap();
    let session::Order::Subscribe { ticket, .. } = order else {
        panic!("{order:?}")
    };
    b.refuse(socket, ticket, 400);
    b.confirming = true;
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Err(Failure::TooManyTopics),
    );
    let held: Vec<Topic> = (2..=11).map(topic).collect();
    b.orders.clear();
    holds(&mut b, &held);
    let off = |(_, order): &(_, session::Order)| match order {
        session::Order::Unsubscribe { topics, .. } => topics.clone(),
        _ => Vec::new(),
    };
    let off: Vec<Topic> = b.orders.iter().flat_map(off).collect();
    assert_eq!(off, held, "nobody wants them");
    b.pass(SECOND * 10);
    assert_eq!(b.live(), 1);
}
