//! Places on channels are short: who gives way, and that nothing is lost by it.

use super::lingering::{ended, just_over, optional};
use super::world::*;
use crate::*;

fn short(w: &mut World, known: usize, others: usize) {
    w.tell(Fact::Platform(PlatformFact::Short { known, others }));
}

/// Answers the question about one conversation that is out.
fn answer(w: &mut World, n: u128, outcome: FetchOutcome) {
    let of = |(f, _): &(Fetch, _)| matches!(f, Fetch::One(id) | Fetch::Calm(id) if *id == c(n));
    let at = w.fetches.iter().position(of);
    let at = at.unwrap_or_else(|| panic!("nobody asked about {n}: {:?}", w.fetches));
    w.fetches.swap(0, at);
    w.tell_fetched(outcome);
}

/// Number 1 exists, 2 is live and was not found once, and 3 waits for a place.
fn invented() -> World {
    let mut w = World::watching(Settings::default());
    w.accept(2);
    w.live(2);
    answer(&mut w, 2, FetchOutcome::NotFound);
    w.accept(3);
    short(&mut w, 0, 1);
    w
}

#[test]
fn a_conversation_that_the_platform_does_not_know_gives_its_place_within_two_minutes() {
    let mut w = invented();
    answer(&mut w, 3, FetchOutcome::Found(going_on(3)));
    w.pass(secs(59));
    assert!(w.gave_way.is_empty(), "asked once is not enough");
    w.pass(secs(2));
    answer(&mut w, 2, FetchOutcome::NotFound);
    assert_eq!(w.gave_way, [t(2)]);
    assert_eq!(w.state(2), "watching", "it is not given up");
    assert!(w.watched.contains(&t(2)));
    assert!(w.said("places-short").is_some());
}

#[test]
fn who_waits_is_asked_about_at_once_and_the_newest_first() {
    let mut w = World::watching(Settings::default());
    for n in 10..20 {
        w.accept(n);
        short(&mut w, 0, n as usize - 9);
        w.pass(secs(1));
    }
    let mut asked = Vec::new();
    while !w.fetches.is_empty() {
        let fetch = w.tell_fetched(FetchOutcome::NotFound);
        if let Fetch::One(id) | Fetch::Calm(id) = fetch {
            asked.push(id);
        }
    }
    // Four may be out at a time; behind them the newest goes first.
    assert_eq!(asked[..4], [c(10), c(11), c(12), c(13)]);
    assert_eq!(asked[4..7], [c(19), c(18), c(17)]);
}

#[test]
fn what_was_heard_of_never_gives_way_whatever_rest_says_later() {
    let mut w = World::watching(Settings::default());
    w.accept(2);
    w.live(2);
    answer(&mut w, 2, FetchOutcome::NotFound);
    let at = w.now.wall;
    w.event(2, "a", at);
    short(&mut w, 3, 3);
    for _ in 0..6 {
        w.pass(secs(61));
        while !w.fetches.is_empty() {
            w.tell_fetched(FetchOutcome::NotFound);
        }
    }
    assert!(w.gave_way.is_empty(), "{:?}", w.gave_way);
}

#[test]
fn where_rest_knows_nothing_that_exists_its_404_proves_nothing() {
    // Nothing was ever shown.
    let mut w = World::new(Settings::default());
    w.accept(2);
    w.live(2);
    short(&mut w, 0, 5);
    for _ in 0..4 {
        w.pass(secs(61));
        while !w.fetches.is_empty() {
            w.tell_fetched(FetchOutcome::NotFound);
        }
    }
    assert!(w.gave_way.is_empty(), "{:?}", w.gave_way);
    // It is blind for what had a wrap-up.
    let mut w = invented();
    let at = w.now.wall;
    w.event(1, "a", at);
    w.pass(secs(3));
    answer(&mut w, 1, FetchOutcome::NotFound);
    w.pass(secs(60));
    answer(&mut w, 2, FetchOutcome::NotFound);
    assert!(w.gave_way.is_empty(), "{:?}", w.gave_way);
}

#[test]
fn one_that_gave_way_and_exists_after_all_goes_first_and_nothing_of_it_is_lost() {
    let mut w = invented();
    w.pass(secs(61));
    answer(&mut w, 2, FetchOutcome::NotFound);
    assert_eq!(w.gave_way, [t(2)]);
    short(&mut w, 0, 0);
    // It is wrapped up while nobody listens.
    let at = w.now.wall;
    w.pass(secs(601));
    answer(&mut w, 2, FetchOutcome::Found(over(2, &[("a", at)])));
    assert_eq!(w.store.records.len(), 1);
    w.pass(secs(60));
    if w.state(2) != "finished" {
        answer(&mut w, 2, FetchOutcome::Found(over(2, &[("a", at)])));
    }
    assert_eq!(w.state(2), "finished");
}

#[test]
fn places_are_given_only_to_as_many_as_wait() {
    let mut w = World::watching(Settings::default());
    for n in 2..8 {
        w.accept(n);
        w.live(n);
    }
    for _ in 0..2 {
        while !w.fetches.is_empty() {
            w.tell_fetched(FetchOutcome::NotFound);
        }
        w.pass(secs(400));
    }
    while !w.fetches.is_empty() {
        w.tell_fetched(FetchOutcome::NotFound);
    }
    assert!(w.gave_way.is_empty(), "nobody waits");
    // The first conversation was not found either: that is forgotten after an hour.
    w.pass(secs(3600));
    w.accept(20);
    w.accept(21);
    short(&mut w, 0, 2);
    assert_eq!(w.gave_way.len(), 2);
}

#[test]
fn what_is_known_to_exist_goes_before_others_and_that_is_said_once() {
    let mut w = World::watching(Settings::default());
    assert_eq!(w.preferred, [t(1)]);
    w.accept(2);
    w.live(2);
    assert_eq!(w.preferred, [t(1)], "nothing is known of the other");
    let at = w.now.wall;
    w.event(2, "a", at);
    w.event(1, "a", at);
    assert_eq!(w.preferred, [t(1), t(2)]);
}

#[test]
fn what_gave_way_and_exists_after_all_goes_before_others() {
    let mut w = invented();
    w.pass(secs(61));
    answer(&mut w, 2, FetchOutcome::NotFound);
    assert_eq!(
        (w.gave_way.as_slice(), w.preferred.as_slice()),
        (&[t(2)][..], &[t(1)][..])
    );
    w.pass(secs(601));
    answer(&mut w, 2, FetchOutcome::Found(going_on(2)));
    assert_eq!(w.preferred, [t(1), t(2)]);
}

#[test]
fn what_lingers_gives_its_place_to_what_exists_and_what_has_ended_has_none_to_give() {
    for over in [false, true] {
        let (mut w, at) = just_over(Settings::default());
        if over {
            w.pass(secs(300));
            w.found(ended(at, &[optional()]));
            assert_eq!(w.state(1), "finished");
        }
        short(&mut w, 1, 0);
        assert_eq!(w.gave_way.len(), usize::from(!over));
    }
}
