//! Topics that give their places to others, and who has them then.

use std::time::Duration;

use super::super::*;
use super::bench::{Bench, settings, topic};

/// One channel of ten places, all taken; one more waits.
fn full() -> Bench {
    let mut b = Bench::new(Settings {
        max_channels: 1,
        ..settings()
    });
    for n in 0..11 {
        b.watch(n);
    }
    assert_eq!((b.live(), short(&b)), (10, Some((0, 1))));
    b
}

/// What was last said of places that are short.
fn short(b: &Bench) -> Option<(usize, usize)> {
    b.facts.iter().rev().find_map(|f| match f {
        Fact::Short { known, others } => Some((*known, *others)),
        _ => None,
    })
}

fn waiting(b: &Bench) -> usize {
    b.client.snapshot(b.now).topics_waiting
}

#[test]
fn who_gives_way_is_taken_off_and_whoever_waits_has_its_place() {
    let mut b = full();
    b.facts.clear();
    b.give(Input::GiveWay(vec![topic(3)]));
    assert!(b.client.is_live(&topic(10)));
    assert!(!b.client.is_live(&topic(3)) && b.client.is_wanted(&topic(3)));
    assert_eq!((b.live(), waiting(&b), short(&b)), (10, 1, Some((0, 0))));
    assert!(!b.facts.iter().any(|f| matches!(f, Fact::Gap { .. })));
}

#[test]
fn the_preferred_go_first_and_then_who_came_first() {
    let mut b = full();
    b.watch(11);
    b.watch(12);
    b.give(Input::Prefer(topic(12)));
    assert_eq!(short(&b), Some((1, 2)));
    b.give(Input::GiveWay(vec![topic(0)]));
    assert!(b.client.is_live(&topic(12)));
    b.give(Input::GiveWay(vec![topic(1)]));
    assert!(b.client.is_live(&topic(10)) && !b.client.is_live(&topic(11)));
}

#[test]
fn who_gave_way_has_a_place_again_when_there_are_more_than_enough() {
    let mut b = full();
    b.give(Input::GiveWay(vec![topic(0)]));
    b.give(Input::Unwatch(topic(5)));
    b.pass(Duration::from_secs(5));
    assert!(!b.client.is_live(&topic(0)), "the last place stays free");
    b.give(Input::Unwatch(topic(6)));
    b.pass(Duration::from_secs(5));
    assert!(b.client.is_live(&topic(0)));
    assert_eq!((b.live(), waiting(&b)), (9, 0));
}

#[test]
fn who_is_preferred_while_it_gives_way_has_the_next_place() {
    let mut b = full();
    b.confirming = false;
    b.give(Input::GiveWay(vec![topic(0), topic(1)]));
    b.give(Input::Prefer(topic(0)));
    b.confirming = true;
    let orders = std::mem::take(&mut b.orders);
    for (socket, order) in orders {
        if let session::Order::Unsubscribe { ticket, .. } = order {
            let fact = session::Fact::Unsubscribed { ticket };
            b.give(Input::Session { socket, fact });
        }
    }
    assert!(b.client.is_live(&topic(0)) && b.client.is_live(&topic(10)));
    assert!(!b.client.is_live(&topic(1)));
}

#[test]
fn nobody_is_said_to_be_short_of_places_that_are_coming() {
    let mut b = Bench::new(settings());
    b.opening = false;
    for n in 0..40 {
        b.watch(n);
    }
    assert_eq!(short(&b), None);
    b.watch(40);
    assert_eq!(short(&b), Some((0, 1)));
}

#[test]
fn a_channel_that_is_lost_while_topics_give_way_leaves_the_books_right() {
    let mut b = full();
    b.confirming = false;
    b.give(Input::GiveWay(vec![topic(2), topic(4)]));
    let (socket, _) = b.sockets[0];
    b.confirming = true;
    b.end(socket, session::End::Broken("reset".into()));
    b.pass(Duration::from_secs(120));
    // The last place stays free for who comes next.
    assert_eq!((b.live(), waiting(&b)), (9, 2));
    assert!(b.client.is_live(&topic(10)));
}

#[test]
fn a_place_that_is_being_given_up_is_not_short() {
    let mut b = Bench::new(Settings {
        max_channels: 1,
        ..settings()
    });
    for n in 0..10 {
        b.watch(n);
    }
    b.confirming = false;
    b.give(Input::Unwatch(topic(3)));
    b.watch(10);
    assert_eq!((waiting(&b), short(&b)), (1, None));
    b.watch(11);
    assert_eq!(short(&b), Some((0, 1)));
}

#[test]
fn before_any_channel_is_made_there_are_as_many_places_as_all_of_them_will_have() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.answering = false;
    b.drain();
    for n in 0..40 {
        b.watch(n);
    }
    assert_eq!((b.client.held(), short(&b)), ((0, 0), None));
    b.watch(40);
    assert_eq!(short(&b), Some((0, 1)));
}

#[test]
fn a_topic_wanted_again_before_it_is_off_has_its_place_back() {
    let mut b = full();
    b.give(Input::Prefer(topic(10)));
    b.confirming = false;
    b.give(Input::Unwatch(topic(3)));
    b.watch(3);
    let Some((socket, session::Order::Unsubscribe { ticket, .. })) = b.orders.pop() else {
        panic!("{:?}", b.orders)
    };
    let fact = session::Fact::Unsubscribed { ticket };
    b.give(Input::Session { socket, fact });
    assert!(!b.client.waits(&topic(3)) && b.client.waits(&topic(10)));
}
