//! REST calls: whose turn it is, what waits, and what an answer decides.

use std::time::Duration;

use super::super::calls::{Calls, ChannelRef, Purpose};
use super::super::limits::REST_WINDOW;
use super::super::pacing::{Budget, Priority};
use super::super::rest::{self, Failure, Op, Outcome};
use super::super::session::{self, End, SocketRef};
use super::super::token::Keeper;
use super::super::*;
use super::bench::{Bench, login_refused, settings, topic};
use base::ids::ConversationId;
use base::rng::Rng;
use base::time::{Mono, Wall};

const SECOND: Duration = Duration::from_secs(1);

fn id(n: u32) -> ConversationId {
    format!("00000000-0000-4000-8000-{n:012}").parse().unwrap()
}

fn token(secret: &str) -> Result<rest::Answer, Failure> {
    Ok(rest::Answer::Token {
        access_token: Secret::new(secret),
        expires_in: SECOND * 86_400,
    })
}

fn asked(b: &Bench, op: &Op) -> usize {
    b.calls.iter().filter(|(_, o)| o == op).count()
}

fn adds(b: &Bench, topic: &Topic) -> bool {
    let adds = |op: &Op| matches!(op, Op::AddTopics(_, topics) if topics.contains(topic));
    b.calls.iter().any(|(_, op)| adds(op))
}

/// The last subscribe that was ordered.
fn subscribed(b: &Bench) -> (SocketRef, u64) {
    let subscribe = |(s, o): &(SocketRef, session::Order)| match o {
        session::Order::Subscribe { ticket, .. } => Some((*s, *ticket)),
        _ => None,
    };
    b.orders
        .iter()
        .rev()
        .find_map(subscribe)
        .expect("a subscribe")
}

#[test]
fn what_is_found_out_about_an_earlier_token_says_nothing_of_a_later_one() {
    let mut b = Bench::new(settings());
    b.answering = false;
    b.calls.clear();
    let call = Op::Conversation(id(1));
    b.give(Input::Fetch(Fetch::One(id(1))));
    b.answer(|op| *op == call, Err(Failure::Unauthorized));
    assert_eq!(asked(&b, &Op::KeepWarm), 1);
    // While that is found out, the token is revoked and another one comes.
    b.give(Input::Session {
        socket: b.sockets[0].0,
        fact: session::Fact::TokenRevoked,
    });
    b.answer(|op| *op == Op::Token, token("t2"));
    b.answer(
        |op| *op == Op::IdleTimeout,
        Ok(rest::Answer::IdleTimeout(None)),
    );
    b.answer(|op| *op == call, Err(Failure::Unauthorized));
    b.answer(|op| *op == Op::KeepWarm, Ok(rest::Answer::Done));
    let told = |b: &Bench| b.facts.iter().any(|f| matches!(f, Fact::Fetched { .. }));
    assert!(
        !told(&b),
        "the earlier token was good, and what of the later?"
    );
    assert_eq!(asked(&b, &Op::KeepWarm), 1, "it is asked about as well");
    b.answer(|op| *op == Op::KeepWarm, Ok(rest::Answer::Done));
    assert!(told(&b));
}

#[test]
fn the_idle_timeout_is_asked_for_with_a_token_whatever_else_waits() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.answering = false;
    b.drain();
    b.give(Input::Fetch(Fetch::One(id(1))));
    b.answer(|op| *op == Op::Token, token("t"));
    assert_eq!(asked(&b, &Op::IdleTimeout), 1);
    assert_eq!(asked(&b, &Op::Conversation(id(1))), 1);
}

#[test]
fn a_login_is_tried_again_soon_only_where_that_may_help() {
    for (soon, least, most) in [(true, 500, 2_000), (false, 10_000, 20_000)] {
        let mut b = Bench::with(settings(), &[], 86_400);
        b.answering = false;
        b.drain();
        b.answer(|op| *op == Op::Token, Err(login_refused(soon)));
        let due = b.client.next_deadline(b.now).unwrap().at;
        let wait = due.since(b.now.mono).as_millis();
        assert!((least..=most).contains(&wait), "{soon}: {wait} ms");
    }
}

#[test]
fn what_is_given_up_while_its_turn_has_not_come_is_not_added_over_rest() {
    let mut b = Bench::new(settings());
    b.answering = false;
    b.calls.clear();
    for n in 0..4 {
        b.give(Input::Fetch(Fetch::One(id(n))));
    }
    b.confirming = false;
    b.watch(1);
    let (socket, ticket) = subscribed(&b);
    b.refuse(socket, ticket, 400);
    assert!(!adds(&b, &topic(1)), "four calls are out");
    b.end(socket, End::Broken("reset".into()));
    b.give(Input::Unwatch(topic(1)));
    b.answer(
        |op| *op == Op::Conversation(id(0)),
        Ok(rest::Answer::Json("{}".into())),
    );
    b.pass(SECOND);
    assert!(!adds(&b, &topic(1)), "nobody wants it");
}

#[test]
fn what_waits_to_be_asked_about_a_channel_goes_with_it_and_what_is_about_others_stays() {
    let mut b = Bench::new(settings());
    for n in 0..15 {
        b.watch(n);
    }
    b.give(Input::Unwatch(topic(0)));
    b.answering = false;
    b.confirming = false;
    b.calls.clear();
    b.give(Input::Fetch(Fetch::One(id(1))));
    let limited = Failure::RateLimited(Some(SECOND * 60));
    b.answer(|op| *op == Op::Conversation(id(1)), Err(limited));
    let mut refused = Vec::new();
    for n in [20, 21] {
        b.watch(n);
        let (socket, ticket) = subscribed(&b);
        b.refuse(socket, ticket, 400);
        refused.push(socket);
    }
    assert_ne!(refused[0], refused[1]);
    let waiting = |b: &Bench| b.client.snapshot(b.now).rest_waiting;
    assert_eq!(waiting(&b), 3);
    b.give(Input::Session {
        socket: refused[0],
        fact: session::Fact::ChannelGone,
    });
    assert_eq!(
        waiting(&b),
        3,
        "one is left out, and the channel is to be emptied"
    );
    b.pass(SECOND * 90);
    assert!(
        adds(&b, &topic(21)) && !adds(&b, &topic(20)),
        "{:?}",
        b.calls
    );
}

#[test]
fn a_call_that_is_held_for_itself_lets_those_behind_it_have_their_time() {
    let now = Now {
        mono: Mono(1_000),
        wall: Wall(1_767_886_512_000),
    };
    let (mut calls, mut budget, mut keeper) =
        (Calls::default(), Budget::default(), Keeper::default());
    keeper.got(Secret::new("t"), SECOND * 3600, now);
    let failure = Failure::Server {
        status: 503,
        retry_after: None,
    };
    let held = Outcome {
        retry_after: Some(SECOND * 600),
        ..Outcome::of(Err(failure))
    };
    budget.learn(&Op::CreateChannel, &held, now.mono, &mut Rng::new(1));
    while budget.take(Priority::Check, now.mono).is_ok() {}
    let channel = ChannelRef {
        slot: 1,
        incarnation: 1,
    };
    calls.queue(Op::CreateChannel, Purpose::Create(channel), now);
    let fetch = Purpose::Fetch(Fetch::One(id(1)));
    calls.queue(Op::Conversation(id(1)), fetch, now);
    let due = calls.deadline(&keeper, &budget, now).unwrap();
    assert_eq!(due.at, budget.possible_at(Priority::Check, now.mono));
    assert!(due.at <= now.mono + REST_WINDOW);
}

#[test]
fn what_was_asked_a_while_ago_does_not_count_as_asked_just_now() {
    let mut budget = Budget::default();
    let (then, now) = (Mono(1_000), Mono(21_000));
    for _ in 0..60 {
        budget.take(Priority::Upkeep, then).unwrap();
    }
    assert_eq!(budget.possible_at(Priority::Check, now), now);
    assert_eq!(budget.take(Priority::Check, now), Ok(()));
}

#[test]
fn a_call_that_is_made_again_keeps_its_turn() {
    let mut b = Bench::new(settings());
    b.answering = false;
    for n in 0..6 {
        b.give(Input::Fetch(Fetch::One(id(n))));
    }
    let limited = Failure::RateLimited(Some(SECOND * 10));
    b.answer(|op| *op == Op::Conversation(id(1)), Err(limited));
    b.pass(SECOND * 15);
    let last = b.calls.last().map(|(_, op)| op.clone());
    assert_eq!(last, Some(Op::Conversation(id(1))));
}

#[test]
fn a_channel_that_cannot_be_made_is_tried_again_ever_more_seldom() {
    let mut b = Bench::new(settings());
    for n in 0..9 {
        b.watch(n);
    }
    b.answering = false;
    b.calls.clear();
    b.watch(9);
    let failure = || Failure::Server {
        status: 503,
        retry_after: None,
    };
    let began = b.now.mono;
    let mut tried = Vec::new();
    while b.now.mono.since(began) < SECOND * 120 {
        if asked(&b, &Op::CreateChannel) > 0 {
            tried.push(b.now.mono.since(began));
            b.answer(|op| *op == Op::CreateChannel, Err(failure()));
        }
        b.pass(Duration::from_millis(100));
    }
    assert!((6..=14).contains(&tried.len()), "{tried:?}");
    let n = tried.len();
    assert!(tried[n - 1] - tried[n - 2] > SECOND * 10, "{tried:?}");
}

#[test]
fn where_two_topics_are_refused_together_rest_is_asked_about_each() {
    let mut b = Bench::new(settings());
    b.confirming = false;
    b.answering = false;
    for n in 1..=2 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    b.drain();
    b.end(b.sockets[0].0, End::Broken("reset".into()));
    b.orders.clear();
    b.pass(SECOND);
    let (socket, ticket) = subscribed(&b);
    b.refuse(socket, ticket, 403);
    let forbidden = Failure::Forbidden("no permission".into());
    b.answer(
        |op| matches!(op, Op::AddTopics(_, t) if t.len() == 2),
        Err(forbidden),
    );
    for n in 1..=2 {
        let alone = |op: &Op| matches!(op, Op::AddTopics(_, t) if *t == [topic(n)]);
        assert!(b.calls.iter().any(|(_, op)| alone(op)), "{:?}", b.calls);
    }
}

#[test]
fn a_token_that_is_held_again_is_told_of_and_the_first_one_is_not() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.answering = false;
    b.drain();
    b.answer(|op| *op == Op::Token, token("t"));
    assert!(!b.labels.contains(&"token-again"));
    let mut b = Bench::with(settings(), &[], 86_400);
    b.answering = false;
    b.drain();
    b.answer(|op| *op == Op::Token, Err(Failure::Garbled));
    b.pass(SECOND * 3);
    b.answer(|op| *op == Op::Token, token("t"));
    assert!(b.labels.contains(&"token-again"), "{:?}", b.labels);
}

#[test]
fn a_pause_that_is_asked_for_with_one_channel_is_kept_with_that_one_alone() {
    let now = Mono(1_000);
    let of = |n: u8| Secret::new(format!("streaming-{n}"));
    for op in [Op::Subscriptions, Op::Empty, Op::RemoveAll, |id| {
        Op::AddTopics(id, vec![topic(1)])
    }] {
        let mut budget = Budget::default();
        let failure = Failure::Server {
            status: 503,
            retry_after: None,
        };
        let outcome = Outcome {
            retry_after: Some(SECOND * 60),
            ..Outcome::of(Err(failure))
        };
        budget.learn(&op(of(1)), &outcome, now, &mut Rng::new(1));
        assert_eq!(budget.held_until(&op(of(1))), now + SECOND * 60);
        assert!(budget.held_until(&op(of(2))) <= now);
    }
}

#[test]
fn what_the_platform_counted_is_believed_only_where_it_is_more_than_we_asked() {
    let then = Mono(1_000);
    let now = then + SECOND * 40;
    for (count, free) in [(10, then + REST_WINDOW), (11, now + SECOND * 61)] {
        let mut budget = Budget::default();
        for _ in 0..10 {
            budget.take(Priority::Upkeep, then).unwrap();
        }
        let outcome = Outcome {
            limits: Some(rest::Limits {
                count,
                allowed: 10,
                reset: SECOND * 60,
            }),
            ..Outcome::of(Ok(rest::Answer::Done))
        };
        budget.learn(&Op::KeepWarm, &outcome, now, &mut Rng::new(1));
        assert_eq!(budget.possible_at(Priority::Upkeep, now), free, "{count}");
    }
}

#[test]
fn every_kind_of_call_has_a_name_for_people() {
    let names: std::collections::BTreeSet<_> = rest::OpKind::ALL
        .into_iter()
        .map(rest::OpKind::sentence)
        .collect();
    // A channel can be emptied in two ways.
    assert_eq!(names.len(), rest::OpKind::ALL.len() - 1);
    assert!(names.iter().all(|name| name.len() > 8), "{names:?}");
}

#[test]
fn why_a_channel_could_not_be_made_is_told() {
    let no_answer = base::wire::NoAnswer::TimedOut;
    let failures = [
        (
            Failure::Forbidden("no permission".into()),
            "403 no permission",
        ),
        (
            Failure::BadRequest {
                status: 400,
                detail: "too many".into(),
            },
            "400 too many",
        ),
        (
            Failure::Server {
                status: 503,
                retry_after: None,
            },
            "the platform answers 503",
        ),
        (Failure::NoAnswer(no_answer), "the platform "),
        (Failure::Unauthorized, "the token is not accepted"),
        (Failure::NotFound, "404"),
        (Failure::Garbled, "not understood"),
    ];
    for (failure, said) in failures {
        let text = super::super::answers::describe_failure(Some(&failure));
        assert!(text.contains(said), "{failure:?}: {text}");
    }
}

#[test]
fn a_token_that_is_still_taken_after_it_should_have_idled_out_keeps_its_new_channels() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.idle = Some(SECOND * 300);
    b.drain();
    b.watch(1);
    b.answering = false;
    b.calls.clear();
    for _ in 0..900 {
        b.pass(SECOND);
        for (call, op) in std::mem::take(&mut b.calls) {
            if op == Op::Token {
                // The login host is away.
                let outcome = Outcome::of(Err(Failure::Garbled));
                b.give(Input::Answered { call, outcome });
            } else {
                b.answering = true;
                b.call(call, op);
                b.answering = false;
                b.calls.pop();
                b.drain();
            }
        }
    }
    assert!(b.made <= 8, "{} channels in a quarter of an hour", b.made);
    assert_eq!(b.live(), 1);
}
