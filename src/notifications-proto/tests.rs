//! Scenarios of the platform client: one fact in, expected orders out.
//!
//! The bench plays a platform that says yes to everything, unless a test takes
//! an order out of its hands; after every step the client's books are audited.

mod bench;
mod calls;
mod closing;
mod giving_up;
mod handover;
mod lasting;
mod places;
mod sockets;
mod turns;
mod way;
mod yielding;

use std::time::Duration;

use super::rest::{self, Failure, Op, Outcome};
use super::session::{self, End};
use super::*;
use bench::{Bench, gaps, login_refused, settings, topic};

#[test]
fn a_watched_topic_becomes_live_once_it_is_confirmed() {
    let mut b = Bench::new(settings());
    b.confirming = false;
    b.watch(1);
    assert_eq!(b.live(), 0);
    let (socket, order) = b.orders.pop().unwrap();
    let session::Order::Subscribe { ticket, topics } = order else {
        panic!("{order:?}")
    };
    assert_eq!(topics, vec![topic(1)]);
    b.give(Input::Session {
        socket,
        fact: session::Fact::Subscribed { ticket },
    });
    assert_eq!(b.live(), 1);
    assert!(matches!(b.facts.as_slice(), [Fact::Live { .. }]));
    b.watch(1);
    assert_eq!(b.facts.len(), 1, "watching twice says nothing twice");
}

#[test]
fn the_next_channel_is_opened_before_the_present_one_is_full_and_the_last_only_on_demand() {
    let mut b = Bench::new(settings());
    for n in 0..9 {
        b.watch(n);
    }
    assert_eq!(b.client.held().0, 1);
    for n in 9..29 {
        b.watch(n);
    }
    assert_eq!(b.client.held().0, 3, "three serve, one is kept free");
    b.watch(29);
    assert_eq!((b.client.held().0, b.live()), (3, 30));
    b.watch(30);
    assert_eq!((b.client.held().0, b.live()), (4, 31));
    for n in 31..45 {
        b.watch(n);
    }
    assert_eq!((b.client.held(), b.live()), ((4, 10), 40));
    assert_eq!(b.client.snapshot(b.now).topics_waiting, 5);
    b.give(Input::Unwatch(topic(3)));
    assert_eq!(b.live(), 40, "a place that becomes free is taken");
    assert_eq!(b.client.snapshot(b.now).topics_waiting, 4);
}

#[test]
fn a_lost_socket_is_a_gap_and_its_topics_become_live_again_on_the_same_channel() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    let (socket, uri) = b.sockets[0].clone();
    b.facts.clear();
    b.confirming = false;
    b.end(socket, End::Broken("reset".into()));
    assert_eq!((gaps(&b.facts), b.live()), (5, 0));
    b.confirming = true;
    b.pass(Duration::from_secs(1));
    assert_eq!(b.live(), 5);
    assert_eq!(b.sockets.iter().filter(|(_, u)| *u == uri).count(), 1);
    assert_eq!(b.made, 1, "no new channel");
}

#[test]
fn a_topic_given_up_while_its_socket_is_lost_is_taken_off_the_channel_before_its_place_is_used() {
    let mut b = Bench::new(settings());
    for n in 0..30 {
        b.watch(n);
    }
    let full = b.sockets[0].0.slot;
    b.confirming = false;
    b.end(b.sockets[0].0, End::Broken("reset".into()));
    // The platform still has it on the channel, whatever became of the socket.
    b.give(Input::Unwatch(topic(3)));
    b.orders.clear();
    b.pass(Duration::from_secs(1));
    let first = b.orders.iter().find(|(s, _)| s.slot == full);
    assert!(
        matches!(first, Some((_, session::Order::Unsubscribe { topics, .. })) if *topics == [topic(3)]),
        "{first:?}"
    );
    for n in 30..40 {
        b.watch(n);
    }
    let on_it = b.client.snapshot(b.now).channels;
    let on_it = on_it.iter().find(|c| c.slot == full).unwrap().topics;
    assert_eq!(on_it, 10, "the place is not free yet");
}

#[test]
fn a_channel_that_is_gone_is_replaced_by_a_new_one() {
    for end in [End::refused(404), End::refused(401)] {
        let mut b = Bench::new(settings());
        b.watch(1);
        b.pass(Duration::from_secs(300));
        let (socket, _) = b.sockets[0].clone();
        b.facts.clear();
        b.end(socket, end);
        b.pass(Duration::from_secs(2));
        assert_eq!((gaps(&b.facts), b.live(), b.made), (1, 1, 2));
        b.pass(limits::EMPTIED_FOR_GOOD);
        assert_eq!(b.kept.len(), 1);
    }
}

#[test]
fn a_channel_life_that_cannot_be_extended_leads_to_a_new_channel() {
    let mut b = Bench::with(settings(), &[], 172_800);
    b.drain();
    for n in 0..5 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(86_400 - 3700));
    assert_eq!(b.made, 1);
    b.facts.clear();
    b.pass(Duration::from_secs(1800));
    assert_eq!((b.made, gaps(&b.facts), b.live()), (2, 0, 5));
    assert!(
        b.calls
            .iter()
            .any(|(_, op)| matches!(op, Op::AddTopics(..))),
        "REST was tried as well"
    );
}

#[test]
fn a_revoked_token_is_found_out_and_every_channel_of_it_is_replaced() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    b.facts.clear();
    b.answering = false;
    let id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47".parse().unwrap();
    b.give(Input::Fetch(Fetch::One(id)));
    b.answer(
        |op| matches!(op, Op::Conversation(_)),
        Err(Failure::Unauthorized),
    );
    assert_eq!(b.live(), 5, "one 401 may be the call's own business");
    b.answer(|op| *op == Op::KeepWarm, Err(Failure::Unauthorized));
    assert_eq!((gaps(&b.facts), b.live()), (5, 0));
    b.answering = true;
    let life = Duration::from_secs(3600);
    b.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("t2"),
            expires_in: life,
        }),
    );
    b.pass(Duration::from_secs(5));
    assert_eq!((b.live(), b.made), (5, 2));
    let fetched = b.facts.iter().any(|f| matches!(f, Fact::Fetched { .. }));
    assert!(fetched, "the call was tried again with the new token");
}

#[test]
fn a_401_that_is_the_calls_own_business_leaves_the_channels_alone() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.facts.clear();
    b.answering = false;
    let id = "7c1f4b9e-5d0a-4c58-9a3e-2f6b8d1e0c47".parse().unwrap();
    b.give(Input::Fetch(Fetch::One(id)));
    b.answer(
        |op| matches!(op, Op::Conversation(_)),
        Err(Failure::Unauthorized),
    );
    b.answer(|op| *op == Op::KeepWarm, Ok(rest::Answer::Done));
    assert!(matches!(
        b.facts.as_slice(),
        [Fact::Fetched {
            outcome: FetchOutcome::Denied(_),
            ..
        }]
    ));
    assert_eq!(b.live(), 1);
}

#[test]
fn the_topic_to_blame_is_found_and_the_rest_of_its_message_is_live() {
    let mut b = Bench::new(settings());
    b.pass(Duration::from_secs(1));
    b.confirming = false;
    b.answering = false;
    b.watch(0);
    let (socket, _) = b.sockets[0].clone();
    let Some((_, session::Order::Subscribe { ticket, .. })) = b.orders.pop() else {
        panic!()
    };
    let refused = session::Fact::Refused {
        ticket,
        confirmed: vec![],
        result: 403,
        message: "no".into(),
    };
    b.give(Input::Session {
        socket,
        fact: refused,
    });
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Err(Failure::Forbidden("permission missing".into())),
    );
    assert!(matches!(b.facts.as_slice(), [Fact::Refused { .. }]));

    // Several in one message: REST says which.
    b.facts.clear();
    for n in 1..=5 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    b.drain();
    let tickets: Vec<u64> = b
        .orders
        .drain(..)
        .filter_map(|(_, o)| {
            if let session::Order::Subscribe { ticket, .. } = o {
                Some(ticket)
            } else {
                None
            }
        })
        .collect();
    for ticket in tickets {
        let refused = session::Fact::Refused {
            ticket,
            confirmed: vec![],
            result: 400,
            message: "no".into(),
        };
        b.give(Input::Session {
            socket,
            fact: refused,
        });
    }
    while let Some(at) = b
        .calls
        .iter()
        .position(|(_, op)| matches!(op, Op::AddTopics(..)))
    {
        let (call, op) = b.calls.remove(at);
        let Op::AddTopics(_, topics) = op else {
            unreachable!()
        };
        let states = topics
            .into_iter()
            .map(|t| rest::TopicState {
                rejected: (t == topic(3)).then(|| "malformed".into()),
                topic: t,
            })
            .collect();
        b.give(Input::Answered {
            call,
            outcome: Outcome {
                result: Ok(rest::Answer::Topics(states)),
                limits: None,
                retry_after: None,
            },
        });
        for (_, order) in std::mem::take(&mut b.orders) {
            if let session::Order::Subscribe { ticket, .. } = order {
                let refused = session::Fact::Refused {
                    ticket,
                    confirmed: vec![],
                    result: 400,
                    message: "no".into(),
                };
                b.give(Input::Session {
                    socket,
                    fact: refused,
                });
            }
        }
    }
    assert_eq!(b.live(), 4);
    let refused: Vec<&Fact> = b
        .facts
        .iter()
        .filter(|f| matches!(f, Fact::Refused { .. }))
        .collect();
    assert_eq!(refused.len(), 1);
}

#[test]
fn a_restart_reattaches_and_makes_no_new_channel() {
    let mut b = Bench::new(settings());
    for n in 0..12 {
        b.watch(n);
    }
    assert_eq!(b.kept.len(), 2);
    let kept = b.kept.clone();
    let mut again = Bench::with_kept(settings(), &kept);
    for n in 0..12 {
        again.client.handle(Input::Watch(topic(n)), again.now);
    }
    again.drain();
    again.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("t2"),
            expires_in: Duration::from_secs(86_400),
        }),
    );
    again.pass(Duration::from_millis(10));
    // Each says what it holds; the second also holds a topic that nobody wants any more.
    let mut first = true;
    while let Some(at) = again
        .calls
        .iter()
        .position(|(_, op)| matches!(op, Op::Subscriptions(_)))
    {
        let (call, _) = again.calls.remove(at);
        let range = if std::mem::take(&mut first) {
            0..10
        } else {
            10..13
        };
        let states = range
            .map(|n| rest::TopicState {
                topic: topic(n),
                rejected: None,
            })
            .collect();
        let outcome = Outcome {
            result: Ok(rest::Answer::Topics(states)),
            limits: None,
            retry_after: None,
        };
        again.give(Input::Answered { call, outcome });
    }
    again.pass(Duration::from_secs(1));
    assert_eq!(again.live(), 12);
    assert!(!again.calls.iter().any(|(_, op)| *op == Op::CreateChannel));
    assert!(
        again.orders.iter().any(
            |(_, o)| matches!(o, session::Order::Unsubscribe { topics, .. } if topics.contains(&topic(12)))
        ),
        "what nobody wants is given up"
    );
}

#[test]
fn channels_that_are_empty_since_the_same_moment_are_closed_at_once() {
    let mut b = Bench::new(Settings {
        max_channels: 12,
        ..settings()
    });
    for n in 0..100 {
        b.watch(n);
    }
    for n in 0..100 {
        b.give(Input::Unwatch(topic(n)));
    }
    b.pass(Duration::from_secs(590));
    b.now = b.now.plus(Duration::from_secs(20));
    // Whatever their sockets do: in one turn.
    b.client.handle(Input::Tick, b.now);
    assert_eq!(b.client.audit(), Ok(()));
    let orders = std::iter::from_fn(|| b.client.poll_output());
    let closes = |o: &Output| {
        matches!(
            o,
            Output::Session {
                order: session::Order::Close,
                ..
            }
        )
    };
    assert!(orders.filter(closes).count() >= 9);
}

#[test]
fn an_empty_channel_is_closed_after_a_while_but_not_the_last() {
    let mut b = Bench::new(settings());
    for n in 0..20 {
        b.watch(n);
    }
    assert!(b.client.held().0 >= 2);
    for n in 0..20 {
        b.give(Input::Unwatch(topic(n)));
    }
    b.pass(Duration::from_secs(4000));
    assert_eq!(b.client.held().0, 1);
    assert_eq!(b.client.snapshot(b.now).topics_live, 0);
}

#[test]
fn silence_three_times_in_a_row_replaces_the_channel() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    for _ in 0..3 {
        let (socket, _) = b.sockets[0].clone();
        b.end(socket, End::Silent { beats: 9 });
        b.pass(Duration::from_secs(40));
    }
    assert_eq!((b.made, b.live()), (2, 1));
}

#[test]
fn a_deadline_that_passed_before_anybody_looked_is_still_named() {
    let mut b = Bench::new(settings());
    b.watch(1);
    let socket = b.sockets[0].0;
    b.end(socket, End::refused(404));
    let due = b.client.next_deadline(b.now).unwrap();
    assert_eq!(due.why, "channel creation");
    // Whoever waits for it wakes a little late, asks again whether anything is due, and
    // ticks only then.
    let late = b
        .now
        .plus(due.at.since(b.now.mono) + Duration::from_millis(3));
    let still = b.client.next_deadline(late).unwrap();
    assert!(still.at <= late.mono, "{still:?} at {late:?}");
    b.now = late;
    b.give(Input::Tick);
    assert_eq!(b.live(), 1);
}

#[test]
fn a_socket_refused_with_401_casts_doubt_on_the_token_and_on_no_competitor() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.answering = false;
    b.calls.clear();
    let socket = b.sockets[0].0;
    b.end(socket, End::refused(401));
    let ops: Vec<&Op> = b.calls.iter().map(|(_, op)| op).collect();
    assert_eq!(ops[..2], [&Op::KeepWarm, &Op::CreateChannel]);
    b.answer(|op| *op == Op::CreateChannel, Err(Failure::Unauthorized));
    b.answering = true;
    b.answer(|op| *op == Op::KeepWarm, Err(Failure::Unauthorized));
    assert_eq!(b.live(), 1, "with a new token and a new channel");
}

#[test]
fn while_the_token_is_being_kept_warm_nothing_is_due_in_the_past() {
    // The deadline of the call stayed where it was until the answer came, and the loop spun.
    let mut b = Bench::new(settings());
    b.pass(Duration::from_secs(119));
    b.answering = false;
    b.pass(Duration::from_secs(2));
    assert!(b.calls.iter().any(|(_, op)| *op == Op::KeepWarm));
    let due = b.client.next_deadline(b.now).unwrap();
    assert!(due.at > b.now.mono, "{due:?} at {:?}", b.now);
}

#[test]
fn a_wall_clock_far_from_the_platforms_does_not_make_channels_come_and_go() {
    // With the clock a day ahead every new channel seemed to have ended already.
    for said in [-7_200_000, 40 * 86_400_000] {
        let mut b = Bench::with(settings(), &[], 172_800);
        b.life_said = said;
        b.drain();
        b.watch(1);
        b.pass(Duration::from_secs(4 * 3600));
        assert_eq!((b.made, b.live(), gaps(&b.facts)), (1, 1, 0), "{said}");
    }
}

#[test]
fn a_refused_unsubscribe_of_many_is_tried_again_in_smaller_lots() {
    // One topic alone may be to blame, and none of them was removed.
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    b.confirming = false;
    for n in 0..8 {
        b.client.handle(Input::Unwatch(topic(n)), b.now);
    }
    b.orders.clear();
    b.drain();
    let mut off = Vec::new();
    for _ in 0..40 {
        let Some((socket, order)) = b.orders.pop() else {
            break;
        };
        let session::Order::Unsubscribe { ticket, topics } = order else {
            continue;
        };
        let fact = if topics.len() > 1 {
            session::Fact::Refused {
                ticket,
                confirmed: Vec::new(),
                result: 400,
                message: String::new(),
            }
        } else {
            off.extend(topics);
            session::Fact::Unsubscribed { ticket }
        };
        b.give(Input::Session { socket, fact });
    }
    off.sort();
    off.dedup();
    assert_eq!(off.len(), 8, "{off:?}");
}

#[test]
fn what_a_channel_of_an_earlier_run_holds_is_asked_until_it_is_answered() {
    let mut first = Bench::new(settings());
    first.watch(1);
    let kept = first.kept.clone();
    let mut b = Bench::with_kept(settings(), &kept);
    b.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("u"),
            expires_in: Duration::from_secs(86_400),
        }),
    );
    for _ in 0..5 {
        b.answer(
            |op| matches!(op, Op::Subscriptions(_)),
            Err(Failure::NoAnswer(base::wire::NoAnswer::TimedOut)),
        );
        b.pass(Duration::from_secs(31));
    }
    let state = |n| rest::TopicState {
        topic: topic(n),
        rejected: None,
    };
    b.orders.clear();
    b.answer(
        |op| matches!(op, Op::Subscriptions(_)),
        Ok(rest::Answer::Topics(vec![state(1), state(2)])),
    );
    let off = |o: &session::Order| matches!(o, session::Order::Unsubscribe { topics, .. } if topics.contains(&topic(2)));
    assert!(b.orders.iter().any(|(_, o)| off(o)), "{:?}", b.orders);
}

#[test]
fn a_login_that_may_well_succeed_soon_is_tried_again_soon() {
    for (soon, tries) in [(true, 3..=9), (false, 1..=2)] {
        let mut b = Bench::with(settings(), &[], 86_400);
        b.answering = false;
        b.drain();
        let before = b.calls.len();
        for _ in 0..120 {
            if b.calls.iter().any(|(_, op)| *op == Op::Token) {
                b.answer(|op| *op == Op::Token, Err(login_refused(soon)));
                b.made += 1;
            }
            b.pass(Duration::from_millis(100));
        }
        assert!(tries.contains(&b.made), "{soon}: {} ({before})", b.made);
    }
}
