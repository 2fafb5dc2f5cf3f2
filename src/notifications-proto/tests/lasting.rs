//! How long channels last: signs of life, extension, and what is left of those given up.

use std::time::Duration;

use super::super::limits::{
    CHANNELS_MAX, EMPTYING_PAUSE_MAX, EMPTYING_PRECEDES, NOTING_PATIENCE, PROBE_AFTER,
};
use super::super::rest::{self, Failure, Op, Outcome};
use super::super::session::{self, End, SocketRef};
use super::super::*;
use super::bench::{Bench, gaps, settings, topic};
use base::ids::ConversationId;

/// Lets the only channel of the bench wear out, and says which socket was its first.
pub(super) fn wear_out(b: &mut Bench) {
    for _ in 0..4 {
        let Some((socket, _)) = b.sockets.last().cloned() else {
            break;
        };
        b.end(socket, End::Silent { beats: 9 });
        b.pass(Duration::from_secs(1));
    }
}

pub(super) fn emptying(op: &Op) -> bool {
    matches!(op, Op::Empty(id) | Op::RemoveAll(id) if id.tail() == "0001")
}

fn adding(op: &Op) -> bool {
    matches!(op, Op::AddTopics(..))
}

/// Lets the life of the only channel run out to where topics are added once more over
/// REST, which is left unanswered.
fn until_extended_over_rest(b: &mut Bench) {
    b.pass(Duration::from_secs(86_400 - 3700));
    b.answering = false;
    for _ in 0..200 {
        b.pass(Duration::from_secs(1));
        if b.calls.iter().any(|(_, op)| *op == Op::ListChannels) {
            b.answer(
                |op| *op == Op::ListChannels,
                Ok(rest::Answer::Channels(Vec::new())),
            );
        }
        if b.calls.iter().any(|(_, op)| adding(op)) {
            break;
        }
    }
}

fn emptied(b: &Bench) -> usize {
    b.calls.iter().filter(|(_, op)| emptying(op)).count()
}

fn no_answer() -> Result<rest::Answer, Failure> {
    Err(Failure::NoAnswer(base::wire::NoAnswer::TimedOut))
}

fn probes(b: &Bench) -> Vec<(SocketRef, u64, Topic)> {
    let probe = |(socket, order): &(SocketRef, session::Order)| match order {
        session::Order::Subscribe { ticket, topics } => match topics.as_slice() {
            [topic] => Some((*socket, *ticket, topic.clone())),
            _ => None,
        },
        _ => None,
    };
    b.orders.iter().filter_map(probe).collect()
}

#[test]
fn a_channel_given_up_with_topics_on_it_is_emptied_until_the_platform_says_so() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(300));
    b.emptying = None;
    wear_out(&mut b);
    for _ in 0..50 {
        b.answer(emptying, no_answer());
        b.pass(EMPTYING_PAUSE_MAX * 2);
    }
    let kept = |b: &Bench| b.kept.iter().any(|row| row.id.tail() == "0001");
    assert!(kept(&b), "a restart would go on with it: {:?}", b.kept);
    assert!(b.kept.iter().any(|row| row.slot > CHANNELS_MAX));
    b.answer(emptying, Ok(rest::Answer::Topics(Vec::new())));
    assert_eq!(emptied(&b), 0);
    // What had been sent on its socket may have been obeyed after that.
    b.pass(limits::EMPTIED_FOR_GOOD);
    assert!(kept(&b) && emptied(&b) == 1);
    b.answer(emptying, Ok(rest::Answer::Topics(Vec::new())));
    b.pass(Duration::from_secs(3600));
    assert_eq!(emptied(&b), 0, "the last one was answered");
    assert!(!kept(&b));
}

#[test]
fn emptying_that_is_rate_limited_keeps_its_turn_and_is_tried_in_its_other_way() {
    let mut b = Bench::new(Settings {
        max_channels: 1,
        ..settings()
    });
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.emptying = None;
    wear_out(&mut b);
    let one_way = |op: &Op| matches!(op, Op::Empty(_));
    let wait = Some(Duration::from_secs(60));
    b.answer(one_way, Err(Failure::RateLimited(wait)));
    b.pass(Duration::from_secs(80));
    assert_eq!(b.made, 1, "its successor comes after it");
    b.answer(|op| matches!(op, Op::RemoveAll(_)), Ok(rest::Answer::Done));
    b.pass(EMPTYING_PRECEDES);
    assert_eq!((b.made, b.live()), (2, 1));
}

#[test]
fn a_channel_that_cannot_be_emptied_as_long_as_it_lives_is_given_up_with_a_word() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.emptying = None;
    wear_out(&mut b);
    let told = |b: &Bench| b.labels.contains(&"channel-not-emptied");
    b.pass(Duration::from_secs(23 * 3600));
    assert!(!told(&b));
    b.pass(Duration::from_secs(2 * 3600));
    assert!(told(&b) && b.kept.iter().all(|row| row.slot <= CHANNELS_MAX));
}

#[test]
fn a_good_answer_that_does_not_say_that_a_channel_is_empty_is_never_believed_but_looked_at() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.emptying = None;
    wear_out(&mut b);
    b.answering = false;
    let looking = |op: &Op| matches!(op, Op::Subscriptions(id) if id.tail() == "0001");
    let kept = |b: &Bench| b.kept.iter().any(|row| row.id.tail() == "0001");
    let state = rest::TopicState {
        topic: topic(1),
        rejected: None,
    };
    // A web page in front says 200 to everything; later the platform itself says what is left.
    let looks = [Err(Failure::Garbled), Ok(rest::Answer::Topics(vec![state]))];
    for n in 0..30 {
        // Whichever way does nothing, the other comes next.
        let way = |op: &Op| emptying(op) && matches!(op, Op::Empty(_)) == (n % 2 == 0);
        b.answer(way, Ok(rest::Answer::Done));
        b.pass(EMPTYING_PAUSE_MAX * 2);
        assert!(!b.calls.iter().any(|(_, op)| emptying(op)), "asked first");
        b.answer(looking, looks[n % 2].clone());
        b.pass(EMPTYING_PAUSE_MAX * 2);
        assert!(kept(&b), "{n}");
    }
    b.answer(emptying, Ok(rest::Answer::Done));
    b.pass(EMPTYING_PAUSE_MAX * 2);
    b.answer(looking, Ok(rest::Answer::Topics(Vec::new())));
    b.pass(limits::EMPTIED_FOR_GOOD);
    b.answer(emptying, Ok(rest::Answer::Done));
    b.pass(EMPTYING_PAUSE_MAX * 2);
    b.answer(looking, Ok(rest::Answer::Topics(Vec::new())));
    b.pass(Duration::from_secs(3600));
    assert!(!kept(&b) && emptied(&b) == 0);
}

#[test]
fn a_channel_of_an_earlier_run_that_was_given_up_is_emptied_and_not_used() {
    let mut first = Bench::new(settings());
    first.watch(1);
    let mut kept = first.kept.clone();
    kept[0].slot = CHANNELS_MAX + 1;
    let mut b = Bench::with(settings(), &kept, 86_400);
    b.drain();
    b.watch(1);
    b.pass(Duration::from_secs(1));
    assert_eq!((emptied(&b), b.made, b.live()), (1, 1, 1));
}

#[test]
fn a_successor_waits_for_its_predecessor_to_be_emptied_but_not_for_long() {
    let mut b = Bench::new(Settings {
        max_channels: 1,
        ..settings()
    });
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.answering = false;
    let creating = |b: &Bench| {
        let create = |(_, op): &&(CallId, Op)| *op == Op::CreateChannel;
        b.calls.iter().filter(create).count()
    };
    let before = creating(&b);
    wear_out(&mut b);
    b.pass(Duration::from_secs(600));
    assert_eq!(creating(&b), before, "the platform is not heard at all");
    b.answer(|op| *op == Op::KeepWarm, Ok(rest::Answer::Done));
    b.pass(Duration::from_secs(1));
    assert_eq!(creating(&b), before, "the old one has not been emptied");
    b.pass(EMPTYING_PRECEDES);
    assert_eq!(creating(&b), before + 1, "watching is worth more");
}

#[test]
fn what_could_not_be_emptied_while_the_platform_was_away_is_emptied_before_a_successor_is_made() {
    let mut b = Bench::new(Settings {
        max_channels: 1,
        ..settings()
    });
    b.watch(1);
    b.pass(Duration::from_secs(300));
    b.answering = false;
    wear_out(&mut b);
    for _ in 0..8 {
        b.answer(emptying, no_answer());
        b.pass(EMPTYING_PAUSE_MAX * 2);
    }
    b.answer(emptying, no_answer());
    b.answering = true;
    b.answer(|op| *op == Op::KeepWarm, Ok(rest::Answer::Done));
    assert_eq!(
        (b.made, b.live()),
        (2, 1),
        "without waiting for the next try"
    );
}

#[test]
fn nothing_is_subscribed_on_a_channel_that_a_restart_would_not_know() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.noting = false;
    b.drain();
    b.watch(1);
    b.pass(Duration::from_millis(100));
    assert_eq!((b.made, b.orders.len()), (1, 0));
    b.give(Input::Kept(b.kept.clone()));
    assert_eq!(b.live(), 1);
}

#[test]
fn a_store_that_keeps_nothing_does_not_stop_the_watching() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.noting = false;
    b.drain();
    b.watch(1);
    let due = b.client.next_deadline(b.now).unwrap();
    assert!(due.at <= b.now.mono + NOTING_PATIENCE, "{due:?}");
    b.pass(NOTING_PATIENCE);
    assert_eq!(b.live(), 1);
}

#[test]
fn a_channel_that_has_been_quiet_is_asked_for_an_answer_each_time_about_another_topic() {
    let mut b = Bench::new(settings());
    for n in 0..3 {
        b.watch(n);
    }
    b.pass(Duration::from_secs(1));
    b.orders.clear();
    b.pass(PROBE_AFTER * 7 + Duration::from_secs(5));
    let topics: Vec<Topic> = probes(&b).into_iter().map(|(_, _, t)| t).collect();
    assert_eq!(topics.len(), 7, "{topics:?}");
    assert_eq!(topics[..3], [topic(0), topic(1), topic(2)]);
    assert_eq!((topics[3].clone(), gaps(&b.facts)), (topic(0), 0));
}

#[test]
fn a_channel_that_ended_without_a_word_is_found_out_by_the_next_probe() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.confirming = false;
    b.orders.clear();
    b.pass(PROBE_AFTER);
    let (socket, _, _) = probes(&b)[0].clone();
    b.confirming = true;
    let fact = session::Fact::ChannelGone;
    b.give(Input::Session { socket, fact });
    b.pass(Duration::from_secs(5));
    assert_eq!((gaps(&b.facts), b.made, b.live()), (1, 2, 1));
}

#[test]
fn a_probe_that_is_refused_has_been_answered() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.confirming = false;
    b.orders.clear();
    b.pass(PROBE_AFTER);
    let (socket, ticket, _) = probes(&b)[0].clone();
    b.refuse(socket, ticket, 400);
    b.pass(Duration::from_secs(30));
    assert_eq!((gaps(&b.facts), b.live(), b.made), (0, 1, 1));
    let blame = |(_, op): &(CallId, Op)| matches!(op, Op::AddTopics(..));
    assert!(!b.calls.iter().any(blame), "nobody asks who is to blame");
}

#[test]
fn a_channel_that_leaves_probes_unanswered_gets_another_socket() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.confirming = false;
    b.pass(PROBE_AFTER);
    for _ in 0..3 {
        let (socket, ticket, _) = probes(&b).last().unwrap().clone();
        b.refuse(socket, ticket, 0);
    }
    let closed = |(_, o): &(SocketRef, session::Order)| matches!(o, session::Order::Close);
    assert!(b.orders.iter().any(closed));
}

#[test]
fn what_rest_admits_while_the_socket_is_gone_is_live_only_on_the_next_socket() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(1));
    b.confirming = false;
    b.watch(2);
    let (socket, ticket, topic_2) = probes(&b).last().unwrap().clone();
    b.answering = false;
    b.refuse(socket, ticket, 400);
    b.end(socket, End::Closed(1001));
    let admitted = rest::TopicState {
        topic: topic_2,
        rejected: None,
    };
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Ok(rest::Answer::Topics(vec![admitted])),
    );
    assert_eq!(b.live(), 0);
    b.confirming = true;
    b.pass(Duration::from_secs(2));
    assert_eq!(b.live(), 2);
}

#[test]
fn what_is_given_up_while_a_channel_is_extended_over_rest_is_taken_off_again() {
    let mut b = Bench::new(settings());
    for n in 0..3 {
        b.watch(n);
    }
    until_extended_over_rest(&mut b);
    b.give(Input::Unwatch(topic(1)));
    b.orders.clear();
    b.answer(adding, Ok(rest::Answer::Topics(Vec::new())));
    let off = |o: &session::Order| matches!(o, session::Order::Unsubscribe { topics, .. } if topics.contains(&topic(1)));
    assert!(b.orders.iter().any(|(_, o)| off(o)), "{:?}", b.orders);
    assert_eq!((b.live(), gaps(&b.facts)), (2, 0));
}

#[test]
fn what_waits_to_be_added_over_rest_is_looked_at_once_more_when_its_turn_comes() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.pass(Duration::from_secs(1));
    b.confirming = false;
    b.answering = false;
    b.watch(2);
    let (socket, ticket, _) = probes(&b).last().unwrap().clone();
    b.refuse(socket, ticket, 400);
    let wait = Some(Duration::from_secs(60));
    b.answer(adding, Err(Failure::RateLimited(wait)));
    b.end(socket, End::Closed(1001));
    b.confirming = true;
    b.pass(Duration::from_secs(2));
    b.give(Input::Unwatch(topic(2)));
    b.pass(Duration::from_secs(120));
    assert!(!b.calls.iter().any(|(_, op)| adding(op)), "nobody wants it");
    assert_eq!(b.client.snapshot(b.now).channels[0].topics, 1);
}

#[test]
fn what_is_being_added_over_rest_is_taken_off_only_after_that() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.watch(2);
    until_extended_over_rest(&mut b);
    b.orders.clear();
    b.give(Input::Unwatch(topic(1)));
    let off = |b: &Bench| {
        let off = |(_, o): &(SocketRef, session::Order)| matches!(o, session::Order::Unsubscribe { topics, .. } if topics.contains(&topic(1)));
        b.orders.iter().any(off)
    };
    assert!(!off(&b), "its place is not free yet");
    b.answer(adding, no_answer());
    assert!(off(&b));
}

#[test]
fn a_channel_given_up_while_topics_are_added_to_it_over_rest_is_emptied_after_that() {
    let mut b = Bench::new(settings());
    b.watch(1);
    until_extended_over_rest(&mut b);
    b.answering = true;
    let (socket, _) = b.sockets[0].clone();
    b.end(socket, End::refused(404));
    b.pass(Duration::from_secs(5));
    let before = emptied(&b);
    b.answer(adding, no_answer());
    b.pass(Duration::from_secs(1));
    assert_eq!(emptied(&b), before + 1);
}

#[test]
fn a_401_of_which_nobody_can_say_what_it_was_about_is_no_denial() {
    let mut b = Bench::new(settings());
    b.answering = false;
    let id = ConversationId(uuid::Uuid::from_u128(7));
    b.give(Input::Fetch(Fetch::One(id)));
    b.answer(
        |op| matches!(op, Op::Conversation(_)),
        Err(Failure::Unauthorized),
    );
    b.answer(|op| *op == Op::KeepWarm, no_answer());
    let trouble = |f: &Fact| {
        matches!(
            f,
            Fact::Fetched {
                outcome: FetchOutcome::Trouble(_),
                ..
            }
        )
    };
    assert!(b.facts.iter().any(trouble));
}

#[test]
fn sockets_that_fall_silent_one_after_the_other_are_allowed_twice_the_silence() {
    let mut b = Bench::new(settings());
    b.watch(1);
    let patient = |b: &Bench, socket: SocketRef| {
        let doubled = session::Order::Patience { doubled: true };
        b.orders.contains(&(socket, doubled))
    };
    for _ in 0..3 {
        let (socket, _) = b.sockets[0].clone();
        assert!(!patient(&b, socket));
        // The platform answers, so that it is not the socket that wears out.
        let fact = session::Fact::Heard;
        b.give(Input::Session { socket, fact });
        b.end(socket, End::Silent { beats: 1 });
        b.pass(Duration::from_secs(40));
    }
    assert!(b.labels.contains(&"heartbeats-seldom"));
    assert_eq!((b.made, b.live()), (1, 1));
    assert!(patient(&b, b.sockets[0].0));
}

#[test]
fn a_token_that_nothing_keeps_warm_is_replaced_with_its_channels_before_it_idles_out() {
    for idle in [300, 900, 28_800] {
        let mut b = Bench::with(settings(), &[], 86_400);
        b.idle = Some(Duration::from_secs(idle));
        b.drain();
        b.watch(1);
        let begun = b.now.mono;
        while b.now.mono.since(begun) < Duration::from_secs(3 * idle) {
            b.pass(Duration::from_secs(1));
            let age = b.now.wall.since(b.token_given);
            assert!(age < Duration::from_secs(idle), "{idle}: {age:?}");
            for channel in &b.client.snapshot(b.now).channels {
                assert!(channel.age < Duration::from_secs(idle), "{idle}");
            }
            assert_eq!(b.live(), 1);
        }
        let snapshot = b.client.snapshot(b.now);
        assert!(snapshot.token_cools);
        assert!(snapshot.handovers_total >= 3, "{idle}");
        assert_eq!((snapshot.gaps_total, snapshot.channels_died_total), (0, 0));
        let told = |l: &&&str| **l == "token-not-kept-warm";
        assert_eq!(b.labels.iter().filter(told).count(), 1);
        let tokens = b.calls.iter().filter(|(_, op)| *op == Op::Token).count();
        assert!(tokens <= 6, "{tokens} tokens in three times {idle} s");
    }
}

#[test]
fn a_look_at_the_idle_timer_that_is_never_allowed_is_not_taken_again_and_again() {
    let mut b = Bench::new(settings());
    b.watch(1);
    b.answering = false;
    let made = b.calls.len();
    let mut answered = made;
    for _ in 0..600 {
        b.pass(Duration::from_secs(1));
        while let Some((call, op)) = b.calls.get(answered).cloned() {
            answered += 1;
            let result = match op {
                Op::TokenIdles => Err(Failure::Unauthorized),
                _ => Ok(rest::Answer::Done),
            };
            let outcome = Outcome::of(result);
            b.give(Input::Answered { call, outcome });
        }
    }
    let calls = b.calls.len() - made;
    assert!((8..40).contains(&calls), "{calls} calls in ten minutes");
    assert_eq!(b.live(), 1);
}

#[test]
fn other_calls_do_not_stand_for_the_one_that_is_looked_at() {
    let mut b = Bench::new(settings());
    let id = "3f1d2c4b-0000-4000-8000-000000000001".parse().unwrap();
    let warm = |b: &Bench| b.calls.iter().filter(|(_, op)| *op == Op::KeepWarm).count();
    let before = warm(&b);
    for _ in 0..30 {
        b.pass(Duration::from_secs(20));
        b.give(Input::Fetch(Fetch::One(id)));
    }
    assert!(
        warm(&b) >= before + 4,
        "administrators choose which calls count"
    );
}

#[test]
fn where_the_clocks_differ_half_of_the_usual_life_of_a_channel_is_counted_on() {
    let half = 43_200;
    for (said, life) in [
        (86_400, 86_400),
        (86_700, 86_700),
        (86_701, half),
        (40 * 86_400, half),
        (300, 300),
        (299, half),
        (-7_200, half),
    ] {
        let mut b = Bench::with(settings(), &[], 172_800);
        b.life_said = said * 1000;
        b.drain();
        let channel = &b.client.snapshot(b.now).channels[0];
        assert_eq!(channel.expires_in, Duration::from_secs(life), "{said}");
    }
}

#[test]
fn a_channel_whose_life_the_platform_extends_is_kept_with_its_new_end_and_goes_on() {
    let mut b = Bench::with(settings(), &[], 400_000);
    b.drain();
    for n in 0..3 {
        b.watch(n);
    }
    let ends = b.kept[0].expires_at;
    b.pass(Duration::from_secs(86_400 - 3700));
    b.answering = false;
    b.calls.clear();
    let list = |op: &Op| *op == Op::ListChannels;
    while !b.calls.iter().any(|(_, op)| list(op)) {
        b.pass(Duration::from_secs(1));
    }
    let listed = |id: &str, expires| rest::Channel {
        id: Some(Secret::new(id)),
        connect_uri: None,
        expires: Some(expires),
    };
    let day = Duration::from_secs(86_400);
    let all = vec![
        listed("somebody-elses", ends - Duration::from_secs(3000)),
        listed("streaming-0001", ends + day),
    ];
    b.answer(list, Ok(rest::Answer::Channels(all)));
    b.answering = true;
    assert_eq!(b.kept[0].expires_at, ends + day);
    b.pass(Duration::from_secs(80_000));
    assert_eq!((b.made, b.live(), gaps(&b.facts)), (1, 3, 0));
}
