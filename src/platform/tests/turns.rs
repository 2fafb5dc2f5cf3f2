//! Whose turn it is, and when: tries, pauses, places.

use std::time::Duration;

use super::super::limits::CALLS_IN_FLIGHT_MAX;
use super::super::rest::{self, Failure, Op};
use super::super::session::{self, End};
use super::super::*;
use super::bench::{Bench, settings, topic};
use super::lasting::{emptying, wear_out};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_new_topic_goes_where_a_socket_is_open() {
    let mut b = Bench::new(settings());
    for n in 0..12 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(60));
    for n in 0..5 {
        b.give(Input::Unwatch(topic(n)));
    }
    b.opening = false;
    let first = b.sockets.iter().find(|(s, _)| s.slot == 1).unwrap().0;
    b.end(first, End::Broken("reset".into()));
    let before = b.live();
    b.watch(50);
    assert_eq!(b.live(), before + 1);
}

#[test]
fn emptying_that_fails_is_tried_ever_more_rarely_and_in_its_two_ways_in_turn() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.emptying = None;
    wear_out(&mut b);
    let mut waits = Vec::new();
    for n in 0..8 {
        let is_empty = |op: &Op| matches!(op, Op::Empty(_)) && emptying(op);
        let first_way = b.calls.iter().any(|(_, op)| is_empty(op));
        assert_eq!(first_way, n % 2 == 0, "try {n}");
        let failure = Failure::Server {
            status: 500,
            retry_after: None,
        };
        b.answer(emptying, Err(failure));
        let mut waited = 0;
        while !b.calls.iter().any(|(_, op)| emptying(op)) {
            b.pass(SECOND);
            waited += 1;
            assert!(waited < 200, "not tried again");
        }
        waits.push(waited);
    }
    assert!((3..=8).contains(&waits[0]), "{waits:?}");
    assert!(waits[3] > 2 * waits[1], "{waits:?}");
    assert!((85..=155).contains(&waits[7]), "{waits:?}");
}

#[test]
fn two_topics_that_are_refused_to_be_taken_off_together_are_taken_off_one_by_one() {
    let mut b = Bench::new(settings());
    for n in 0..3 {
        b.watch(n);
    }
    b.opening = false;
    b.end(b.sockets[0].0, End::Broken("reset".into()));
    b.give(Input::Unwatch(topic(0)));
    b.give(Input::Unwatch(topic(1)));
    b.confirming = false;
    b.opening = true;
    b.orders.clear();
    b.pass(SECOND);
    let off = |b: &mut Bench| {
        let lots: Vec<_> = std::mem::take(&mut b.orders)
            .into_iter()
            .filter_map(|(socket, order)| match order {
                session::Order::Unsubscribe { ticket, topics } => Some((socket, ticket, topics)),
                _ => None,
            })
            .collect();
        lots
    };
    let lots = off(&mut b);
    let [(socket, ticket, both)] = lots.as_slice() else {
        panic!("{lots:?}")
    };
    assert_eq!(both.len(), 2);
    b.refuse(*socket, *ticket, 400);
    let mut lots: Vec<_> = off(&mut b).into_iter().map(|(_, _, t)| t).collect();
    lots.sort();
    assert_eq!(lots, [vec![topic(0)], vec![topic(1)]]);
}

#[test]
fn four_calls_at_a_time_are_out_and_each_is_counted() {
    let mut b = Bench::new(settings());
    b.pass(SECOND);
    b.answering = false;
    b.calls.clear();
    let before = b.client.snapshot(b.now).rest_calls_total;
    for n in 0..10 {
        let id = format!("00000000-0000-4000-8000-{n:012}").parse().unwrap();
        b.give(Input::Fetch(Fetch::One(id)));
    }
    assert_eq!(b.calls.len(), CALLS_IN_FLIGHT_MAX);
    let snapshot = b.client.snapshot(b.now);
    assert_eq!(snapshot.rest_calls_total, before + 4);
    assert_eq!(snapshot.rest_waiting, 6);
    let any = |_: &Op| true;
    b.answer(any, Ok(rest::Answer::Done));
    assert_eq!(b.calls.len(), CALLS_IN_FLIGHT_MAX, "one comes, one goes");
}

#[test]
fn a_login_host_that_fails_is_named_and_left_alone_as_long_as_it_asks_for() {
    let failures = [
        (
            Failure::Server {
                status: 503,
                retry_after: Some(60 * SECOND),
            },
            60,
            "answers 503",
        ),
        (
            Failure::RateLimited(Some(90 * SECOND)),
            90,
            "limits the rate",
        ),
        (
            Failure::NoAnswer(crate::wire::NoAnswer::TimedOut),
            0,
            "login host",
        ),
        (Failure::Garbled, 0, "not understood"),
    ];
    for (failure, asked_for, said) in failures {
        let mut b = Bench::with(settings(), &[], 86_400);
        b.answering = false;
        b.drain();
        b.answer(|op| *op == Op::Token, Err(failure.clone()));
        let trouble = b.client.snapshot(b.now).token_trouble.unwrap();
        assert!(trouble.contains(said), "{trouble}");
        assert!(b.labels.contains(&"token-failed"));
        let asking = |b: &Bench| b.calls.iter().any(|(_, op)| *op == Op::Token);
        if asked_for > 0 {
            b.pass(Duration::from_secs(asked_for - 1));
            assert!(!asking(&b), "{failure:?}");
        }
        b.pass(2 * SECOND);
        assert!(asking(&b), "{failure:?}");
    }
}

#[test]
fn a_token_that_could_not_be_kept_warm_is_tried_again_five_seconds_later_and_not_before() {
    let mut b = Bench::new(settings());
    b.pass(Duration::from_secs(100));
    b.answering = false;
    b.pass(Duration::from_secs(20));
    let warm = |op: &Op| *op == Op::KeepWarm;
    b.answer(
        warm,
        Err(Failure::Server {
            status: 500,
            retry_after: None,
        }),
    );
    let due = b.client.next_deadline(b.now).unwrap();
    assert!(due.at > b.now.mono + SECOND, "{due:?} at {:?}", b.now);
    b.pass(Duration::from_millis(4_999));
    assert!(!b.calls.iter().any(|(_, op)| warm(op)));
    b.pass(Duration::from_millis(1));
    assert!(b.calls.iter().any(|(_, op)| warm(op)));
}

#[test]
fn without_a_token_a_channel_that_is_to_be_replaced_is_not_given_up() {
    let mut b = Bench::with(settings(), &[], 3600);
    b.drain();
    for n in 0..5 {
        b.watch(n);
    }
    b.answering = false;
    b.pass(Duration::from_secs(4000));
    assert!(!b.client.snapshot(b.now).token_held);
    assert!(!b.labels.contains(&"handover-gap"), "{:?}", b.labels);
    assert_eq!(b.client.held(), (1, 5));
}
