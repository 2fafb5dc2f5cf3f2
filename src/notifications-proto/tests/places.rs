//! Places that the platform frees later than it says: the channel is tried again, or gone.

use std::time::Duration;

use super::super::rest::{Failure, Op};
use super::super::session;
use super::super::*;
use super::bench::{Bench, settings, topic};
use base::time::Wall;

/// All topics of a full channel are given up; the next one is refused as one too many.
fn crowded() -> Bench {
    let mut b = Bench::new(Settings {
        max_channels: 1,
        ..settings()
    });
    for n in 0..10 {
        b.watch(n);
    }
    for n in 0..10 {
        b.give(Input::Unwatch(topic(n)));
    }
    assert_eq!(b.client.held(), (1, 0));
    b.confirming = false;
    b.answering = false;
    b.orders.clear();
    b.watch(10);
    refuse(&mut b);
    b
}

/// The last subscribe is refused, and REST says why.
fn refuse(b: &mut Bench) {
    let (socket, ticket) = subscribed(b).expect("a subscribe");
    b.refuse(socket, ticket, 400);
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Err(Failure::TooManyTopics),
    );
    // The topic goes elsewhere, so it is taken off here.
    b.confirming = true;
    let orders = std::mem::take(&mut b.orders);
    for (socket, order) in orders {
        if let session::Order::Unsubscribe { ticket, .. } = order {
            let fact = session::Fact::Unsubscribed { ticket };
            b.give(Input::Session { socket, fact });
        }
    }
    b.confirming = false;
}

fn subscribed(b: &mut Bench) -> Option<(session::SocketRef, u64)> {
    let at = b
        .orders
        .iter()
        .rposition(|(_, o)| matches!(o, session::Order::Subscribe { .. }))?;
    match b.orders.remove(at) {
        (socket, session::Order::Subscribe { ticket, .. }) => Some((socket, ticket)),
        _ => None,
    }
}

#[test]
fn a_full_channel_is_tried_again_with_one_topic_and_serves_when_its_places_are_free() {
    let mut b = crowded();
    for n in 11..14 {
        b.watch(n);
    }
    let began = b.now;
    let mut tries = 0;
    while b.now.mono.since(began.mono) < Duration::from_secs(120) {
        b.pass(Duration::from_secs(1));
        if b.orders.iter().any(
            |(_, o)| matches!(o, session::Order::Subscribe { topics, .. } if topics.len() == 1),
        ) {
            tries += 1;
            refuse(&mut b);
        }
        b.orders.clear();
    }
    assert!((2..=5).contains(&tries), "{tries} tries");
    b.confirming = true;
    b.answering = true;
    b.pass(Duration::from_secs(61));
    assert_eq!((b.live(), b.made), (4, 1));
}

#[test]
fn a_full_channel_that_runs_empty_leaves_nothing_that_is_due_in_the_past() {
    let mut b = crowded();
    b.give(Input::Unwatch(topic(10)));
    b.confirming = true;
    b.answering = true;
    let mut ticks = 0;
    let end = b.now.plus(Duration::from_secs(3600));
    while b.now.mono < end.mono {
        let next = b.client.next_deadline(b.now).expect("something is due").at;
        assert!(next > b.now.mono, "due in the past");
        b.now = b.now.plus(next.since(b.now.mono));
        b.give(Input::Tick);
        ticks += 1;
    }
    assert!(ticks < 400, "{ticks} ticks in an hour");
    b.watch(11);
    assert_eq!(b.live(), 1, "the channel is used again");
}

#[test]
fn a_channel_that_leads_elsewhere_is_not_connected_and_few_are_made_while_it_lasts() {
    let mut b = Bench::with(settings(), &[], 86_400);
    b.leads = "wss://evil.example";
    b.drain();
    b.watch(1);
    b.pass(Duration::from_secs(3_600));
    assert_eq!(b.sockets, []);
    assert!(b.labels.contains(&"connect-uri-refused"), "{:?}", b.labels);
    assert!((2..=12).contains(&b.made), "{} were made", b.made);
    let said = b.client.snapshot(b.now).astray.unwrap();
    assert!(said.contains("evil.example"), "{said}");
    b.leads = "wss://host";
    b.pass(Duration::from_secs(1_200));
    assert_eq!((b.sockets.len(), b.live()), (1, 1));
    assert_eq!(b.client.snapshot(b.now).astray, None);
}

#[test]
fn a_kept_channel_that_leads_elsewhere_is_emptied_instead_of_connected() {
    let row = ChannelRow {
        slot: 1,
        id: Secret::new("streaming-kept"),
        connect_uri: Secret::new("ws://host/kept"),
        created_at: Wall(1_767_886_000_000),
        expires_at: Wall(1_767_886_000_000 + 80_000_000),
        token_ends_at: Wall(1_767_886_000_000 + 80_000_000),
    };
    let mut b = Bench::with(settings(), &[row], 86_400);
    b.drain();
    b.watch(1);
    b.pass(Duration::from_secs(60));
    assert!(b.labels.contains(&"connect-uri-refused"), "{:?}", b.labels);
    assert!(b.sockets.iter().all(|(_, uri)| uri != "ws://host/kept"));
    let emptied = |(_, op): &(CallId, Op)| *op == Op::Empty(Secret::new("streaming-kept"));
    assert!(b.calls.iter().any(emptied));
    assert_eq!(b.live(), 1);
}

#[test]
fn the_last_place_is_taken_where_the_only_other_channel_is_full_on_the_platform() {
    let mut b = Bench::new(Settings {
        max_channels: 2,
        ..settings()
    });
    for n in 0..8 {
        b.watch(n);
    }
    for n in 0..8 {
        b.give(Input::Unwatch(topic(n)));
    }
    b.pass(Duration::from_secs(1));
    b.confirming = false;
    b.answering = false;
    b.orders.clear();
    b.calls.clear();
    b.watch(10);
    refuse(&mut b);
    b.confirming = true;
    b.answering = true;
    let made = b.calls.iter().any(|(_, op)| *op == Op::CreateChannel);
    assert!(made, "{:?}", b.calls);
}

#[test]
fn books_that_do_not_agree_are_seen() {
    let tampered = |with: fn(&mut Client)| {
        let mut b = Bench::new(settings());
        for n in 0..30 {
            b.watch(n);
        }
        assert_eq!(b.client.audit(), Ok(()));
        with(&mut b.client);
        b.client.audit()
    };
    fn entry(c: &mut Client, with: fn(&mut client::Entry)) {
        c.topics.get_mut(&topic(3)).map(with);
    }
    for (how, audit) in [
        ("nowhere", tampered(|c| entry(c, |e| e.slots = 0))),
        ("on one more", tampered(|c| entry(c, |e| e.slots |= 1 << 9))),
        (
            "leaves from nowhere",
            tampered(|c| entry(c, |e| (e.slots, e.leaving) = (0, true))),
        ),
        (
            "gone",
            tampered(|c| {
                c.topics.remove(&topic(3));
            }),
        ),
        (
            "on a channel, not in the entry",
            tampered(|c| {
                let on = |c: &&mut channel::Channel| c.books.has(&topic(3));
                let state = c.channels.values().find_map(|c| c.books.get(&topic(3)));
                let other = c.channels.values_mut().find(|c| !on(c)).zip(state);
                if let Some((other, state)) = other {
                    other.books.put(&topic(3), state);
                }
            }),
        ),
        (
            "live, and not subscribed",
            tampered(|c| {
                for c in c.channels.values_mut() {
                    if c.books.has(&topic(3)) {
                        c.books.put(&topic(3), books::Sub::Want);
                    }
                }
            }),
        ),
    ] {
        assert!(audit.is_err(), "{how}");
    }
}

#[test]
fn a_topic_that_is_refused_is_taken_off_where_it_was_and_nowhere_else() {
    let mut b = Bench::new(settings());
    for n in 0..12 {
        b.watch(n);
    }
    b.confirming = false;
    b.answering = false;
    b.orders.clear();
    b.watch(20);
    let (socket, ticket) = subscribed(&mut b).expect("a subscribe");
    assert_ne!(socket.slot, 1);
    b.refuse(socket, ticket, 403);
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Err(Failure::Forbidden("no permission".into())),
    );
    let off: Vec<_> = b
        .orders
        .iter()
        .filter(|(_, o)| matches!(o, session::Order::Unsubscribe { .. }))
        .map(|(s, _)| *s)
        .collect();
    assert_eq!((off, b.live()), (vec![socket], 12));
}

#[test]
fn a_channel_that_is_full_on_the_platform_has_no_places_for_those_to_come() {
    let mut b = Bench::new(settings());
    b.confirming = false;
    b.answering = false;
    b.watch(1);
    let (socket, ticket) = subscribed(&mut b).expect("a subscribe");
    b.refuse(socket, ticket, 400);
    b.give(Input::Unwatch(topic(1)));
    let creating = |b: &Bench| {
        b.calls
            .iter()
            .filter(|(_, op)| *op == Op::CreateChannel)
            .count()
    };
    let before = creating(&b);
    b.answer(
        |op| matches!(op, Op::AddTopics(..)),
        Err(Failure::TooManyTopics),
    );
    assert_eq!(creating(&b), before + 1);
}
