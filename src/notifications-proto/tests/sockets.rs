//! Sockets that are lost: how soon another is dialled, and what is said of it.

use std::time::Duration;

use super::super::session::{self, End};
use super::super::*;
use super::bench::{Bench, settings, topic};
use super::way::{made, refuse};

const MOMENT: Duration = Duration::from_millis(100);

/// The last socket serves, and breaks before anything is confirmed on it.
fn breaks(b: &mut Bench) {
    let (socket, _) = b.sockets.last().cloned().expect("a socket");
    let fact = session::Fact::Heard;
    b.give(Input::Session { socket, fact });
    b.end(socket, End::Broken("reset".into()));
}

/// Lets time pass until there is a socket again.
fn until_dialled(b: &mut Bench) -> Duration {
    let began = b.now.mono;
    while b.sockets.is_empty() {
        b.pass(MOMENT);
        assert!(b.now.mono.since(began) < Duration::from_secs(60));
    }
    b.now.mono.since(began)
}

#[test]
fn a_channel_whose_sockets_break_again_and_again_is_dialled_ever_more_seldom_then_replaced() {
    let mut b = Bench::new(settings());
    b.confirming = false;
    b.watch(1);
    let mut pauses = Vec::new();
    while b.made == 1 {
        assert!(pauses.len() < 10, "{pauses:?}");
        breaks(&mut b);
        pauses.push(until_dialled(&mut b));
    }
    assert_eq!(pauses.len(), 7, "{pauses:?}");
    assert!(pauses[0] <= MOMENT * 3, "{pauses:?}");
    assert!(pauses[1..6].is_sorted(), "{pauses:?}");
    assert!(pauses[5] >= Duration::from_secs(10), "{pauses:?}");
}

#[test]
fn who_waits_for_a_channel_that_is_lost_a_third_time_gets_another_one() {
    let mut b = Bench::new(settings());
    b.confirming = false;
    b.watch(1);
    for lost in 1..=3 {
        breaks(&mut b);
        b.watch(10 + lost);
        assert_eq!(b.made, if lost < 3 { 1 } else { 2 }, "lost {lost} times");
        until_dialled(&mut b);
    }
}

#[test]
fn while_sockets_are_refused_no_channel_is_made_beside_one_that_waits_for_its_first() {
    let mut b = Bench::new(settings());
    let end = End::refused(403);
    b.client.handle(
        Input::Session {
            socket: b.sockets[0].0,
            fact: session::Fact::Ended(end.clone()),
        },
        b.now,
    );
    for n in 0..30 {
        b.client.handle(Input::Watch(topic(n)), b.now);
    }
    b.calls.clear();
    let tried = refuse(&mut b, &end, Duration::from_secs(1200));
    assert!(tried >= 8, "{tried}");
    assert_eq!(made(&b), 0);
    let short = |f: &Fact| matches!(f, Fact::Short { .. });
    assert!(!b.facts.iter().any(short), "places are not what is short");
    b.pass(Duration::from_secs(400));
    assert_eq!(b.live(), 30);
}

#[test]
fn a_lost_socket_is_told_with_how_it_ended() {
    for (end, said) in [
        (End::Closed(1001), "(closed with 1001)"),
        (End::Broken("reset".into()), "(broken: reset)"),
        (End::Misbehaved("text".into()), "(misbehaved: text)"),
        (End::Silent { beats: 3 }, "(silent)"),
        (End::NoPong, "(no-pong)"),
        (End::Ordered, "(ordered)"),
        (End::refused(503), "(upgrade refused with 503)"),
    ] {
        let mut b = Bench::new(settings());
        b.watch(1);
        b.end(b.sockets[0].0, end);
        let lost = b.texts.iter().find(|t| t.starts_with("socket lost "));
        assert!(lost.is_some_and(|t| t.contains(said)), "{said}: {lost:?}");
    }
}

#[test]
fn nothing_is_dark_where_all_that_is_wanted_is_live() {
    let mut b = Bench::new(settings());
    let dark = |b: &Bench| b.client.snapshot(b.now).dark_for;
    b.watch(1);
    b.pass(Duration::from_secs(60));
    assert_eq!(dark(&b), Duration::ZERO);
    b.opening = false;
    b.end(b.sockets[0].0, End::Broken("reset".into()));
    b.pass(Duration::from_secs(60));
    assert_eq!(dark(&b), Duration::from_secs(60));
    b.watch(1);
    assert_eq!(dark(&b), Duration::from_secs(60), "asked for once more");
    // Nobody wants it any more, although it is still to be taken off.
    b.give(Input::Unwatch(topic(1)));
    assert_eq!(dark(&b), Duration::ZERO);
}

#[test]
fn trouble_with_sockets_is_told_while_a_topic_waits_and_no_channel_is_left() {
    let mut b = Bench::new(settings());
    b.opening = false;
    let mut refused = 0;
    while refused < 4 || b.client.held().0 > 0 {
        match b.sockets.last().cloned() {
            Some((socket, _)) => {
                refused += 1;
                b.end(socket, End::refused(404));
            }
            None => b.pass(MOMENT),
        }
        assert!(refused < 9);
    }
    let trouble = |b: &Bench| b.client.snapshot(b.now).socket_trouble;
    assert_eq!(trouble(&b), None, "nobody tries");
    b.watch(1);
    assert_eq!(b.client.held(), (0, 0));
    let status = trouble(&b).and_then(|(why, _)| why.status());
    assert_eq!(status, Some(404));
}

#[test]
fn why_a_host_cannot_be_reached_is_told_with_what_is_known_of_it() {
    for (detail, said) in [("", "listens there"), ("os error 111", " (os error 111);")] {
        let mut b = Bench::new(settings());
        b.opening = false;
        for _ in 0..2 {
            let (socket, _) = b.sockets.last().cloned().expect("a socket");
            let end = End::NotConnected {
                cause: base::cause::Cause::Refused,
                detail: detail.into(),
            };
            b.end(socket, end);
            until_dialled(&mut b);
        }
        let told = b.texts.iter().find(|t| t.contains("the next try is in"));
        let told = told.unwrap_or_else(|| panic!("{:?}", b.texts));
        assert!(
            !told.contains("()") && (detail.is_empty() || told.contains(said)),
            "{told}"
        );
    }
}

#[test]
fn the_first_refusal_that_may_be_about_the_channel_alone_is_not_told_as_trouble_with_sockets() {
    for (status, told) in [(403, true), (503, true), (404, false), (401, false)] {
        let mut b = Bench::new(settings());
        b.opening = false;
        b.end(b.sockets[0].0, End::refused(status));
        assert_eq!(b.labels.contains(&"socket-refused"), told, "{status}");
    }
}

#[test]
fn places_are_free_where_a_socket_is_open_and_watches() {
    let free = |b: &Bench| b.client.snapshot(b.now).places_free;
    let mut b = Bench::with(settings(), &[], 86_400);
    b.opening = false;
    b.drain();
    assert_eq!((b.client.held().0, free(&b)), (1, 0));
    let fact = session::Fact::Opened;
    b.give(Input::Session {
        socket: b.sockets[0].0,
        fact,
    });
    b.watch(1);
    assert_eq!(free(&b), 9);
    b.answering = false;
    let fact = session::Fact::TokenRevoked;
    b.give(Input::Session {
        socket: b.sockets[0].0,
        fact,
    });
    assert_eq!(free(&b), 0);
}

#[test]
fn a_competitor_is_suspected_only_where_a_young_channel_had_served() {
    for served in [false, true] {
        let mut b = Bench::with(settings(), &[], 86_400);
        b.opening = served;
        b.drain();
        b.watch(1);
        assert_eq!(b.live(), usize::from(served));
        b.opening = true;
        b.end(b.sockets[0].0, End::refused(404));
        b.pass(Duration::from_secs(10));
        assert_eq!((b.made, b.live()), (2, 1));
        assert_eq!(b.labels.contains(&"channel-evicted"), served);
    }
}
