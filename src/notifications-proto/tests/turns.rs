//! Whose turn it is, and when: tries, pauses, places.

use std::time::Duration;

use super::super::limits::CALLS_IN_FLIGHT_MAX;
use super::super::rest::{self, Failure, Op};
use super::super::session::{self, End};
use super::super::*;
use super::bench::{Bench, settings, topic};
use super::lasting::{emptying, wear_out};
use base::notice::Level;

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
            Failure::NoAnswer(base::wire::NoAnswer::TimedOut),
            0,
            &base::wire::NoAnswer::TimedOut.sentence(),
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

#[test]
fn deaths_and_reconnects_are_counted_and_only_what_nobody_ordered_is_a_warning() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    let lost = |b: &Bench| {
        b.said
            .iter()
            .rev()
            .find(|(l, _)| *l == "channel-lost")
            .map(|s| s.1)
    };
    b.end(b.sockets[0].0, End::Broken("reset".into()));
    assert_eq!(lost(&b), Some(Level::Warn));
    b.pass(SECOND);
    b.end(b.sockets[0].0, End::Ordered);
    assert_eq!(lost(&b), Some(Level::Debug));
    b.pass(SECOND);
    let counted = |b: &Bench| {
        let s = b.client.snapshot(b.now);
        (
            s.reconnects_total,
            s.channels_died_total,
            s.channels_made_total,
        )
    };
    assert_eq!(counted(&b), (2, 0, 1));
    for n in 1..=2 {
        let gone = Input::Session {
            socket: b.sockets[0].0,
            fact: session::Fact::ChannelGone,
        };
        b.give(gone);
        b.pass(Duration::from_secs(300));
        assert_eq!((counted(&b), b.live()), ((2, n, 1 + n), 1));
    }
}

#[test]
fn what_is_given_up_before_it_is_confirmed_is_taken_off_when_it_is() {
    let mut b = Bench::new(settings());
    b.confirming = false;
    b.watch(1);
    let Some((socket, session::Order::Subscribe { ticket, .. })) = b.orders.pop() else {
        panic!("nothing was subscribed")
    };
    b.give(Input::Unwatch(topic(1)));
    b.orders.clear();
    b.give(Input::Session {
        socket,
        fact: session::Fact::Subscribed { ticket },
    });
    assert!(
        matches!(&b.orders[..], [(_, session::Order::Unsubscribe { topics, .. })] if *topics == [topic(1)]),
        "{:?}",
        b.orders
    );
    assert_eq!(b.live(), 0);
}

#[test]
fn a_channel_of_an_earlier_run_that_the_platform_does_not_know_is_replaced() {
    let mut first = Bench::new(settings());
    first.watch(1);
    let mut b = Bench::with_kept(settings(), &first.kept);
    b.client.handle(Input::Watch(topic(1)), b.now);
    b.drain();
    b.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("u"),
            expires_in: Duration::from_secs(86_400),
        }),
    );
    b.answering = true;
    b.pass(SECOND);
    b.answer(
        |op| matches!(op, Op::Subscriptions(_)),
        Err(Failure::NotFound),
    );
    b.pass(Duration::from_secs(5));
    assert_eq!((b.made, b.live()), (1, 1));
}

#[test]
fn successors_that_break_before_they_have_everything_are_made_ever_more_rarely() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(300));
    b.confirming = false;
    let revoked = Input::Session {
        socket: b.sockets[0].0,
        fact: session::Fact::TokenRevoked,
    };
    b.give(revoked);
    for _ in 0..1_000 {
        b.pass(Duration::from_millis(100));
        if let Some((socket, _)) = b.sockets.iter().find(|(s, _)| s.slot != 1).cloned() {
            b.give(Input::Session {
                socket,
                fact: session::Fact::Heard,
            });
            b.end(socket, End::Broken("reset".into()));
        }
    }
    assert!((4..=12).contains(&b.made), "{} in 100 s", b.made);
    assert!(b.client.snapshot(b.now).handovers_failed_total + 1 >= b.made as u64 - 1);
}

#[test]
fn trouble_with_sockets_is_told_while_a_channel_waits_for_one() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.opening = false;
    b.end(b.sockets[0].0, End::refused(403));
    let snapshot = b.client.snapshot(b.now);
    assert_eq!(snapshot.topics_waiting, 0);
    let (trouble, _) = snapshot.socket_trouble.unwrap();
    assert_eq!(trouble.status(), Some(403));
    // Nobody tries any more: nothing is known of the way.
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.give(Input::Unwatch(topic(1)));
    b.answering = false;
    b.end(b.sockets[0].0, End::refused(404));
    assert_eq!(b.client.snapshot(b.now).socket_trouble, None);
}

#[test]
fn without_a_token_no_channel_is_begun() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.answering = false;
    b.drain();
    b.watch(1);
    b.pass(Duration::from_secs(60));
    assert_eq!(b.client.held(), (0, 0));
}

#[test]
fn a_question_that_the_platform_does_not_want_to_hear_for_long_is_given_up_at_once() {
    let mut b = Bench::new(settings());
    b.pass(SECOND);
    b.answering = false;
    b.calls.clear();
    let fetch = |n: u32| {
        let id = format!("00000000-0000-4000-8000-{n:012}").parse().unwrap();
        Input::Fetch(Fetch::One(id))
    };
    for n in 0..2 {
        b.give(fetch(n));
        let (call, _) = b.calls.pop().unwrap();
        let failure = Failure::Server {
            status: 503,
            retry_after: None,
        };
        b.give(Input::Answered {
            call,
            outcome: rest::Outcome {
                retry_after: Some(3_600 * SECOND),
                ..rest::Outcome::of(Err(failure))
            },
        });
    }
    b.facts.clear();
    b.give(fetch(9));
    assert!(b.calls.is_empty(), "{:?}", b.calls);
    assert!(matches!(
        b.facts.as_slice(),
        [Fact::Fetched {
            outcome: FetchOutcome::Trouble(_),
            ..
        }]
    ));
}

#[test]
fn what_a_socket_says_that_was_given_up_is_not_heard() {
    let mut b = Bench::new(settings());
    b.watch(1);
    let (before, _) = b.sockets[0].clone();
    b.end(before, End::Broken("reset".into()));
    b.pass(SECOND);
    assert_eq!(b.live(), 1);
    b.facts.clear();
    for fact in [
        session::Fact::Event {
            topic: topic(1),
            body: "{}".into(),
            about: session::About::default(),
        },
        session::Fact::TokenRevoked,
        session::Fact::Ended(End::Broken("again".into())),
    ] {
        b.give(Input::Session {
            socket: before,
            fact,
        });
    }
    assert_eq!((b.facts.len(), b.live()), (0, 1));
}

#[test]
fn how_long_a_channel_lives_is_asked_again_only_once_everything_is_confirmed_on_it() {
    let mut b = Bench::with(settings(), &[], 172_800);
    b.drain();
    for n in 0..3 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(86_400 - 3_700));
    b.confirming = false;
    b.calls.clear();
    b.orders.clear();
    let asked = |b: &Bench| {
        let lists = b.calls.iter().filter(|(_, op)| *op == Op::ListChannels);
        lists.count()
    };
    while asked(&b) == 0 {
        b.pass(SECOND);
    }
    b.pass(2 * SECOND);
    assert_eq!(asked(&b), 1);
    b.confirming = true;
    for (socket, order) in std::mem::take(&mut b.orders) {
        if let session::Order::Subscribe { ticket, .. } = order {
            b.give(Input::Session {
                socket,
                fact: session::Fact::Subscribed { ticket },
            });
        }
    }
    b.pass(2 * SECOND);
    assert!(asked(&b) > 1);
}

#[test]
fn a_topic_wanted_again_before_it_is_taken_off_is_live_at_once() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    b.confirming = false;
    for n in 0..5 {
        b.give(Input::Unwatch(topic(n)));
    }
    assert_eq!(b.live(), 3);
    b.facts.clear();
    // Four messages are under way, so that the fifth waits for its turn.
    b.watch(4);
    assert_eq!(b.live(), 4);
    assert!(matches!(b.facts.as_slice(), [Fact::Live { topic: t }] if *t == topic(4)));
    b.watch(0);
    assert_eq!(
        (b.live(), b.facts.len()),
        (4, 1),
        "that one is on its way off"
    );
}

#[test]
fn a_topic_that_is_refused_when_it_is_subscribed_once_more_is_live_no_longer() {
    let mut b = Bench::with(settings(), &[], 172_800);
    b.drain();
    b.watch(1);
    b.watch(2);
    b.pass(Duration::from_secs(86_400 - 3_700));
    b.confirming = false;
    b.orders.clear();
    let subscribed = |b: &mut Bench| {
        std::mem::take(&mut b.orders)
            .into_iter()
            .find_map(|(s, o)| match o {
                session::Order::Subscribe { ticket, topics } if topics.len() == 2 => {
                    Some((s, ticket))
                }
                _ => None,
            })
    };
    let (socket, ticket) = loop {
        b.pass(SECOND);
        if let Some(found) = subscribed(&mut b) {
            break found;
        }
    };
    b.answering = false;
    b.facts.clear();
    b.refuse(socket, ticket, 403);
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Ok(rest::Answer::Topics(vec![
            rest::TopicState {
                topic: topic(1),
                rejected: Some("forbidden".into()),
            },
            rest::TopicState {
                topic: topic(2),
                rejected: None,
            },
        ])),
    );
    assert_eq!(b.live(), 1);
    assert!(
        b.facts
            .iter()
            .any(|f| matches!(f, Fact::Refused { topic: t, .. } if *t == topic(1)))
    );
    let off = |o: &session::Order| matches!(o, session::Order::Unsubscribe { topics, .. } if *topics == [topic(1)]);
    assert!(b.orders.iter().any(|(_, o)| off(o)), "{:?}", b.orders);
}

#[test]
fn a_deadline_that_a_defect_leaves_in_the_past_keeps_nobody_busy_and_is_told_of() {
    let mut b = Bench::new(settings());
    b.watch(1);
    let due = b.now.mono + SECOND;
    // Nobody looks after the notices of a channel that is gone.
    for c in b.client.channels.values_mut() {
        (c.dead, c.closing_until) = (true, Some(due));
    }
    b.now = b.now.plus(SECOND);
    for _ in 0..2 {
        b.client.handle(Input::Tick, b.now);
        let next = b.client.next_deadline(b.now).unwrap();
        assert_eq!(next.at, b.now.mono + base::time::Alarm::REST);
        b.now = b.now.plus(base::time::Alarm::REST);
    }
    let told = b.client.audit().unwrap_err();
    assert!(told.contains("closing notice"), "{told}");
}
