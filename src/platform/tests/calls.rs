//! REST calls: whose turn it is, what waits, and what an answer decides.

use std::time::Duration;

use super::super::calls::{Calls, ChannelRef, Purpose};
use super::super::limits::REST_WINDOW;
use super::super::pacing::{Budget, Priority};
use super::super::rest::{self, Failure, Op, Outcome};
use super::super::session::{self, End, SocketRef};
use super::super::token::Keeper;
use super::super::*;
use super::bench::{Bench, settings, topic};
use crate::rng::Rng;
use crate::time::Mono;

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
        let refused = Failure::Login {
            label: "assertion-empty",
            sentence: "the assertion file is empty".into(),
            soon,
            retry_after: None,
        };
        b.answer(|op| *op == Op::Token, Err(refused));
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
