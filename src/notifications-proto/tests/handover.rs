//! One channel takes over from another, or one socket from another: nothing is dark meanwhile.

use std::time::Duration;

use super::super::rest::{Failure, Op, Outcome};
use super::super::session::{self, End, SocketRef};
use super::super::*;
use super::bench::{Bench, gaps, settings};
use base::time::Wall;

pub(super) fn closing(b: &mut Bench, socket: SocketRef) {
    b.give(Input::Session {
        socket,
        fact: session::Fact::Closing,
    });
}

/// All four channels are in use: no place is free for a successor.
pub(super) fn full_house() -> Bench {
    let mut b = Bench::new(settings());
    for n in 0..40 {
        b.watch(n);
    }
    assert_eq!((b.client.held().0, b.live()), (4, 40));
    b.facts.clear();
    b
}

#[test]
fn an_hour_of_429_lets_no_channel_creations_pile_up() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    b.answering = false;
    b.calls.clear();
    let (socket, _) = b.sockets[0].clone();
    b.confirming = false;
    // Its successor cannot be made: the first try meets the 429.
    b.give(Input::Session {
        socket,
        fact: session::Fact::TokenRevoked,
    });
    b.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("t2"),
            expires_in: Duration::from_secs(86_400),
        }),
    );
    let limited = || Err(Failure::RateLimited(Some(Duration::from_secs(3600))));
    b.answer(|op| *op == Op::IdleTimeout, limited());
    if b.calls.iter().any(|(_, op)| *op == Op::CreateChannel) {
        b.answer(|op| *op == Op::CreateChannel, limited());
    }
    b.calls.clear();
    b.pass(Duration::from_secs(3500));
    let creations = |b: &Bench| {
        let creations = b.calls.iter();
        creations.filter(|(_, op)| *op == Op::CreateChannel).count()
    };
    assert_eq!(creations(&b), 0);
    assert!(b.client.snapshot(b.now).rest_waiting <= 4);
    b.pass(Duration::from_secs(1200));
    assert!(creations(&b) <= 1, "{}", creations(&b));
}

#[test]
fn a_channel_that_is_made_when_nobody_waits_for_it_any_more_is_the_next_one() {
    let mut b = Bench::new(settings());
    for n in 0..5 {
        b.watch(n);
    }
    b.answering = false;
    b.calls.clear();
    b.give(Input::Session {
        socket: b.sockets[0].0,
        fact: session::Fact::TokenRevoked,
    });
    b.answer(
        |op| *op == Op::Token,
        Ok(rest::Answer::Token {
            access_token: Secret::new("t2"),
            expires_in: Duration::from_secs(86_400),
        }),
    );
    b.answer(
        |op| *op == Op::IdleTimeout,
        Ok(rest::Answer::IdleTimeout(None)),
    );
    let creations = |b: &Bench| {
        let creations = b.calls.iter();
        creations.filter(|(_, op)| *op == Op::CreateChannel).count()
    };
    assert_eq!(creations(&b), 1);
    let late = b.calls.iter().position(|(_, op)| *op == Op::CreateChannel);
    let (late, _) = b.calls.remove(late.unwrap());
    assert!(b.client.awaits(late, b.now));
    // The hand-over gives up; the call is still under way.
    b.pass(Duration::from_secs(46));
    assert!(!b.client.awaits(late, b.now));
    b.calls.clear();
    let outcome = Outcome::of(Ok(rest::Answer::Channel(rest::Channel {
        id: Some(Secret::new("streaming-late")),
        connect_uri: Some(Secret::new("wss://host/late")),
        expires: Some(Wall(b.now.wall.0 + 86_400_000)),
    })));
    b.give(Input::Answered {
        call: late,
        outcome,
    });
    b.pass(Duration::from_secs(30));
    assert!(b.sockets.iter().any(|(_, uri)| uri == "wss://host/late"));
    assert_eq!((creations(&b), b.live()), (0, 5));
}

#[test]
fn after_a_closing_notice_a_new_channel_takes_over_and_nothing_is_in_doubt() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    b.facts.clear();
    closing(&mut b, first);
    closing(&mut b, first);
    b.pass(Duration::from_millis(600));
    assert_eq!((b.sockets.len(), b.made), (2, 2), "both serve for a moment");
    b.pass(Duration::from_secs(3));
    assert_eq!(b.sockets.len(), 1, "the first was told to close");
    assert_ne!(b.sockets[0].1, uri);
    assert_eq!((gaps(&b.facts), b.live()), (0, 8));
}

#[test]
fn a_channel_that_closes_before_its_successor_has_everything_goes_on_by_itself_meanwhile() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    b.facts.clear();
    b.answering = false;
    closing(&mut b, first);
    b.pass(Duration::from_secs(1));
    // Making the new one takes for ever.
    b.end(first, End::Closed(1001));
    assert_eq!(gaps(&b.facts), 8);
    b.pass(Duration::from_secs(2));
    assert_eq!((b.live(), b.made), (8, 1));
    assert_eq!(b.sockets[0].1, uri);
}

#[test]
fn a_predecessor_that_is_heard_to_be_closed_after_its_successor_has_everything_leaves_a_doubt() {
    // It may have been closed before: two links are as late as they like.
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let (first, _) = b.sockets[0].clone();
    b.facts.clear();
    closing(&mut b, first);
    b.pass(Duration::from_millis(600));
    assert_eq!((b.made, gaps(&b.facts)), (2, 0));
    b.end(first, End::Closed(1001));
    assert_eq!((gaps(&b.facts), b.live()), (8, 8));
}

#[test]
fn in_a_full_house_a_second_socket_takes_over_and_what_may_have_been_missed_is_in_doubt() {
    for second_first in [true, false] {
        let mut b = full_house();
        let (first, uri) = b.sockets[0].clone();
        closing(&mut b, first);
        let until = b.now.plus(Duration::from_millis(1600));
        // The second is ordered; which end is heard of first tells nothing.
        if second_first {
            b.pass(Duration::from_millis(1600));
            b.end(first, End::Closed(1001));
        } else {
            b.opening = false;
            b.pass(Duration::from_millis(1600));
            b.end(first, End::Closed(1001));
            let (second, _) = b.sockets.last().cloned().unwrap();
            b.give(Input::Session {
                socket: second,
                fact: session::Fact::Opened,
            });
        }
        assert!(b.now.mono >= until.mono);
        b.pass(Duration::from_secs(5));
        assert_eq!(b.sockets.iter().filter(|(_, u)| *u == uri).count(), 1);
        assert_eq!((gaps(&b.facts), b.live(), b.made), (10, 40, 4));
    }
}

#[test]
fn where_the_new_channel_is_not_ready_in_time_a_second_socket_takes_over() {
    let mut b = Bench::new(settings());
    for n in 0..8 {
        b.watch(n);
    }
    let (first, uri) = b.sockets[0].clone();
    b.answering = false;
    closing(&mut b, first);
    b.pass(Duration::from_secs(39));
    assert_eq!(b.sockets.len(), 1);
    b.pass(Duration::from_secs(4));
    assert_eq!(b.sockets.len(), 1);
    assert_ne!(b.sockets[0].0, first);
    assert_eq!((&b.sockets[0].1, b.live()), (&uri, 8));
}

#[test]
fn a_refused_second_socket_leads_to_a_new_channel() {
    let mut b = full_house();
    let (first, _) = b.sockets[0].clone();
    b.opening = false;
    closing(&mut b, first);
    b.pass(Duration::from_millis(1600));
    let (second, _) = b.sockets.last().cloned().unwrap();
    assert_ne!(second, first);
    b.opening = true;
    b.end(second, End::refused(404));
    // Who knows since when the channel was gone: its first socket may have been mute.
    assert_eq!(gaps(&b.facts), 10);
    b.pass(Duration::from_secs(10));
    assert_eq!((b.live(), b.made), (40, 5));
    assert!(
        !b.sockets.iter().any(|(s, _)| *s == first),
        "the old socket is closed"
    );
}

#[test]
fn all_channels_told_to_close_at_once_are_handed_over_through_one_free_place() {
    let mut b = Bench::new(settings());
    for n in 0..28 {
        b.watch(n);
    }
    assert_eq!(b.client.held().0, 3);
    b.facts.clear();
    for (socket, _) in b.sockets.clone() {
        closing(&mut b, socket);
    }
    b.pass(Duration::from_secs(5));
    assert_eq!((gaps(&b.facts), b.live(), b.made), (0, 28, 6));
}

#[test]
fn a_channel_that_watches_no_more_is_replaced_before_those_that_have_minutes_left() {
    let mut b = Bench::with(settings(), &[], 3600);
    b.drain();
    for n in 0..40 {
        b.watch(n);
    }
    // Their token ends: all four are to be replaced, and no place is free.
    while b.client.snapshot(b.now).token_expires_in < Duration::from_secs(3600 - 10)
        || b.now.mono.0 < 3_000_000
    {
        b.pass(Duration::from_secs(1));
    }
    b.pass(Duration::from_secs(60));
    assert_eq!((b.client.held().0, b.live()), (4, 40));
    let made = b.made;
    b.facts.clear();
    // A second socket of the last one is refused: nobody knows since when it has been mute.
    let (last, _) = b
        .sockets
        .iter()
        .max_by_key(|(s, _)| s.slot)
        .cloned()
        .unwrap();
    b.opening = false;
    closing(&mut b, last);
    b.pass(Duration::from_millis(1600));
    let (second, _) = b.sockets.last().cloned().unwrap();
    b.opening = true;
    b.end(second, End::refused(404));
    assert_eq!(gaps(&b.facts), 10);
    b.pass(Duration::from_secs(3));
    assert_eq!((b.live(), b.made), (40, made + 1));
}

#[test]
fn channels_are_handed_over_before_their_token_ends_and_no_topic_is_ever_dark() {
    let mut b = Bench::with(settings(), &[], 3600);
    b.drain();
    for n in 0..25 {
        b.watch(n);
    }
    b.facts.clear();
    for _ in 0..48 * 6 {
        b.pass(Duration::from_secs(600));
        assert_eq!(b.live(), 25);
        assert!(b.client.held().0 <= 4);
    }
    assert_eq!(gaps(&b.facts), 0);
    let s = b.client.snapshot(b.now);
    assert!(s.handovers_total >= 3 * 47, "{}", s.handovers_total);
}

#[test]
fn a_predecessor_that_turns_out_to_be_gone_leaves_its_topics_in_doubt() {
    // It may have been mute for hours while its socket was beating: the topics were live
    // on the successor, and nobody asked what had been missed before.
    let mut b = Bench::with(settings(), &[], 3600);
    b.drain();
    for n in 0..5 {
        b.watch(n);
    }
    let (first, _) = b.sockets[0].clone();
    b.facts.clear();
    b.confirming = false;
    for _ in 0..4000 {
        b.pass(Duration::from_secs(1));
        let orders = std::mem::take(&mut b.orders);
        for (socket, order) in orders {
            match order {
                session::Order::Subscribe { ticket, .. } => b.give(Input::Session {
                    socket,
                    fact: session::Fact::Subscribed { ticket },
                }),
                session::Order::Unsubscribe { .. } if socket == first => {
                    assert_eq!(gaps(&b.facts), 0);
                    b.give(Input::Session {
                        socket,
                        fact: session::Fact::ChannelGone,
                    });
                    assert_eq!((gaps(&b.facts), b.live()), (5, 5));
                    return;
                }
                _ => {}
            }
        }
    }
    panic!("no hand-over");
}

#[test]
fn a_second_socket_is_tried_three_times_and_then_its_first_serves_to_its_end() {
    let mut b = full_house();
    let (first, uri) = b.sockets[0].clone();
    b.opening = false;
    closing(&mut b, first);
    let mut tried = 0;
    for _ in 0..400 {
        b.pass(Duration::from_millis(100));
        let second = b.sockets.iter().find(|(s, u)| *u == uri && *s != first);
        if let Some((second, _)) = second.cloned() {
            tried += 1;
            b.end(second, End::refused(503));
        }
    }
    assert_eq!((tried, gaps(&b.facts), b.live()), (3, 0, 40));
}

#[test]
fn a_predecessor_goes_at_once_where_somebody_waits_for_its_place_and_else_stays_a_moment() {
    for waits in [true, false] {
        let mut b = Bench::new(Settings {
            max_channels: 2,
            ..settings()
        });
        for n in 0..10 {
            b.watch(n);
        }
        let (first, _) = b.sockets[0].clone();
        closing(&mut b, first);
        b.confirming = false;
        b.orders.clear();
        b.pass(Duration::from_millis(600));
        if waits {
            b.watch(10);
            assert_eq!(b.client.snapshot(b.now).topics_waiting, 1);
        }
        b.confirming = true;
        for (socket, order) in std::mem::take(&mut b.orders) {
            if let session::Order::Subscribe { ticket, .. } = order {
                b.give(Input::Session {
                    socket,
                    fact: session::Fact::Subscribed { ticket },
                });
            }
        }
        b.pass(Duration::from_millis(100));
        let there = b.sockets.iter().any(|(s, _)| *s == first);
        assert_eq!(there, !waits);
        b.pass(Duration::from_secs(3));
        assert!(!b.sockets.iter().any(|(s, _)| *s == first));
        assert_eq!(b.live(), 10 + usize::from(waits));
    }
}

#[test]
fn what_the_socket_before_says_of_its_channel_counts_no_longer() {
    for fact in [
        session::Fact::ChannelGone,
        session::Fact::NoLongerSubscribed,
    ] {
        let mut b = full_house();
        let (first, uri) = b.sockets[0].clone();
        closing(&mut b, first);
        b.confirming = false;
        b.pass(Duration::from_millis(1600));
        assert_eq!(b.sockets.iter().filter(|(_, u)| *u == uri).count(), 2);
        b.facts.clear();
        b.give(Input::Session {
            socket: first,
            fact,
        });
        assert_eq!((gaps(&b.facts), b.live(), b.made), (0, 40, 4));
    }
}
