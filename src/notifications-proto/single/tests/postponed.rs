//! Answers that speak of now alone: too many requests, trouble.

use super::*;

const LATER: &str = "Rate limit exceeded the maximum. Retry the request in [42] seconds";

fn refuse(b: &mut Bench, result: u16, message: &str) -> usize {
    let orders = std::mem::take(&mut b.orders);
    let mut refused = 0;
    for (socket, order) in orders {
        let (Order::Subscribe { ticket, .. } | Order::Unsubscribe { ticket, .. }) = order else {
            continue;
        };
        refused += 1;
        let message = message.to_owned();
        let confirmed = Vec::new();
        b.fact(
            socket,
            Fact::Refused {
                ticket,
                confirmed,
                result,
                message,
            },
        );
    }
    refused
}

#[test]
fn a_subscribe_that_the_platform_puts_off_is_told_and_asked_again_when_it_wants() {
    let mut b = Bench::with(Settings::default(), 3);
    b.confirming = false;
    b.fact(b.last(), Fact::Opened);
    assert_eq!(refuse(&mut b, 429, LATER), 1);
    let of = |f: &Failure| match f {
        Failure::Postponed {
            result,
            topics,
            wait,
            ..
        } => Some((*result, *topics, *wait)),
        _ => None,
    };
    let told: Vec<_> = b.failed.iter().filter_map(of).collect();
    assert_eq!(told, [(429, 3, Duration::from_secs(42))]);
    // What is wanted meanwhile waits as well.
    b.give(Input::Subscribe(topics(5)));
    b.pass(Duration::from_secs(41));
    assert_eq!(b.orders, [], "not before it wants");
    b.confirming = true;
    b.pass(Duration::from_secs(2));
    assert_eq!((b.live(), b.failed.len()), (5, 1));
}

#[test]
fn while_it_lasts_it_is_asked_ever_more_seldom_and_told_every_five_minutes() {
    for (result, words) in [
        (429, "Too many"),
        (503, ""),
        (408, "[x] seconds"),
        (500, "[99999] seconds"),
    ] {
        let mut b = Bench::with(Settings::default(), 3);
        b.confirming = false;
        b.fact(b.last(), Fact::Opened);
        let (mut asked, mut passed) = (0, 0);
        while passed < 1800 {
            asked += refuse(&mut b, result, words);
            b.fact(b.last(), Fact::Heard);
            b.pass(Duration::from_secs(1));
            passed += 1;
        }
        assert!((5..80).contains(&asked), "{result}: {asked}");
        assert!(
            (3..=7).contains(&b.failed.len()),
            "{result}: {}",
            b.failed.len()
        );
        assert!(b.gaps().is_empty() && b.over.is_none());
        refuse(&mut b, result, words);
        b.confirming = true;
        b.pass(Duration::from_secs(301));
        assert_eq!(b.live(), 3);
    }
}

#[test]
fn what_is_given_up_while_the_platform_puts_off_is_taken_off_later() {
    for result in [429, 503, 0] {
        let mut b = Bench::serving(Settings::default(), 3);
        b.confirming = false;
        b.orders.clear();
        b.give(Input::Unsubscribe(vec![topic(1)]));
        assert_eq!(refuse(&mut b, result, "no"), 1);
        assert_eq!(b.orders, [], "not at once");
        b.pass(Duration::from_secs(10));
        let given_up = |(_, o): &(SocketRef, Order)| matches!(o, Order::Unsubscribe { topics, .. } if topics[..] == [topic(1)]);
        assert!(b.orders.iter().any(given_up), "{result}: {:?}", b.orders);
        assert!(b.failed.is_empty());
    }
}
