use super::*;
use crate::error::Reason;

fn event(n: usize) -> Item {
    sized(n, 1)
}

fn sized(n: usize, times: usize) -> Item {
    Item::Notification {
        topic: format!("t{}", n % 3),
        body: n.to_string().repeat(times),
        correlation_id: None,
        version: None,
    }
}

fn of(items: usize) -> (Outlet, Items) {
    Outlet::new(Limits {
        items,
        bytes: BYTES,
    })
}

fn live(topics: &[&str]) -> BTreeSet<String> {
    topics.iter().map(|t| (*t).to_owned()).collect()
}

fn read(items: &Items) -> Vec<Item> {
    let told = std::iter::from_fn(|| items.within(Duration::ZERO)?.transpose());
    told.map(Result::unwrap).collect()
}

#[test]
fn a_reader_that_sleeps_costs_bounded_memory_and_hears_what_it_lost() {
    let (mut outlet, items) = of(10);
    for n in 0..100_000 {
        outlet.tell(event(n), &live(&[]));
    }
    assert!(items.len() <= 10 && outlet.lost.is_some());
    assert_eq!(read(&items), (0..10).map(event).collect::<Vec<_>>());
    outlet.tell(event(7), &live(&["t0", "t1"]));
    let rest = read(&items);
    let [
        Item::Overflow { lost: 99_990 },
        Item::Gap { topics, cause, .. },
        Item::Live { topics: again },
        last,
    ] = &rest[..]
    else {
        panic!("{rest:?}");
    };
    assert_eq!((topics.len(), *cause, again.len()), (3, "overflow", 2));
    assert_eq!(*last, event(7));
}

#[test]
fn what_waits_is_bounded_in_bytes_and_one_that_is_larger_comes_through() {
    let bytes = 100_000;
    let (mut outlet, items) = Outlet::new(Limits {
        items: usize::MAX,
        bytes,
    });
    let none = live(&[]);
    outlet.tell(sized(1, 10 * bytes), &none);
    outlet.tell(event(2), &none);
    assert_eq!(read(&items), [sized(1, 10 * bytes)]);
    outlet.catch_up(&none);
    assert_eq!(read(&items).len(), 2, "what was lost, and its gap");
    for n in 0..1000 {
        outlet.tell(sized(n % 10, 10_000), &none);
        assert!(outlet.bytes <= bytes);
    }
    assert_eq!(read(&items).len(), 9);
    // A gap of many topics is heavy, too.
    outlet.catch_up(&none);
    read(&items);
    let topics: Vec<String> = (0..5000).map(|n| format!("topic-{n}")).collect();
    for _ in 0..100 {
        let topics = topics.clone();
        outlet.tell(event(1), &none);
        outlet.tell(Item::Live { topics }, &none);
    }
    assert!(outlet.bytes <= bytes);
}

#[test]
fn a_reader_who_is_always_too_slow_hears_more_than_what_it_lost() {
    let (mut outlet, items) = of(20);
    let (mut events, mut losses) = (0, 0);
    for n in 0..10_000 {
        outlet.tell(event(n), &live(&["t0", "t1", "t2"]));
        if n % 2 == 0 {
            match items.within(Duration::ZERO).unwrap().unwrap() {
                Some(Item::Notification { .. }) => events += 1,
                _ => losses += 1,
            }
        }
    }
    assert!(events > 2 * losses, "{events} and {losses}");
}

#[test]
fn the_memory_of_what_was_lost_is_bounded_and_a_gap_of_all_then() {
    let (mut outlet, items) = of(1);
    let none = live(&[]);
    outlet.tell(event(1), &none);
    outlet.tell(sized(2, 1), &none);
    let long = "x".repeat(NAME_MAX + 1);
    let lost = outlet.lost.as_mut().unwrap();
    lost.missing(vec![long]);
    assert_eq!(lost.topics.len(), 1);
    for n in 0..130_000 {
        lost.missing(vec![format!("{n:0>100}")]);
        lost.refused(vec![format!("r{n:0>100}")], Vec::new(), "no".into());
    }
    assert!(lost.bytes <= LOST_MAX && lost.more);
    read(&items);
    outlet.catch_up(&live(&["quiet"]));
    let told = read(&items);
    let all = |topics: &Vec<String>| topics.iter().any(|t| t == "quiet");
    let gap = |i: &Item| matches!(i, Item::Gap { topics, .. } if all(topics));
    assert!(told.iter().any(gap));
}

#[test]
fn heartbeats_take_no_room_from_notifications() {
    let (mut outlet, items) = of(10);
    let none = live(&[]);
    for _ in 0..1000 {
        outlet.tell(Item::Heartbeat, &none);
    }
    for n in 0..9 {
        outlet.tell(event(n), &none);
    }
    assert_eq!((items.len(), outlet.lost.is_none()), (10, true));
    assert_eq!(items.recv().unwrap().unwrap(), Item::Heartbeat);
    outlet.tell(Item::Heartbeat, &none);
    assert_eq!(read(&items).last(), Some(&Item::Heartbeat));
}

#[test]
fn what_became_live_unread_is_told_without_a_gap() {
    let (mut outlet, items) = of(1);
    outlet.tell(event(1), &live(&[]));
    let topics = vec!["A".to_owned()];
    outlet.tell(
        Item::Live {
            topics: topics.clone(),
        },
        &live(&["a"]),
    );
    read(&items);
    outlet.catch_up(&live(&["a"]));
    assert_eq!(read(&items), [Item::Live { topics }]);
}

#[test]
fn a_gap_that_finds_no_room_is_told_with_what_was_lost() {
    let (mut outlet, items) = of(4);
    let none = live(&[]);
    for n in 0..4 {
        outlet.tell(event(n), &none);
    }
    let early = SystemTime::UNIX_EPOCH;
    let gap = Item::Gap {
        topics: vec!["x".into()],
        since: early,
        cause: "broken",
    };
    outlet.tell(gap, &none);
    outlet.fail(Error::of_failure(proto::single::Failure::Expired));
    for _ in 0..4 {
        assert!(items.recv().unwrap().is_ok());
    }
    assert!(items.recv().unwrap().is_err());
    outlet.catch_up(&none);
    let told = read(&items);
    let [Item::Gap { topics, since, .. }] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((topics.as_slice(), *since), (&["x".to_owned()][..], early));
}

#[test]
fn what_is_told_once_is_told_however_full_it_was_and_so_is_the_end() {
    let (mut outlet, items) = of(2);
    let none = live(&[]);
    for n in 0..5 {
        outlet.tell(event(n), &none);
    }
    let before = SystemTime::now();
    for n in 0..20 {
        outlet.tell(Item::Heartbeat, &none);
        let refused = Item::Refused {
            topics: vec![format!("refused-{n}")],
            missing: vec![format!("a:b:{}", n / 10)],
            detail: "no".to_owned(),
        };
        outlet.tell(refused, &none);
        outlet.fail(Error::new(Reason::ExtensionFailed, "again"));
    }
    outlet.tell(Item::Expiring { at: before }, &none);
    outlet.tell(Item::Closing, &none);
    outlet.finish(&none, Some(Error::new(Reason::Expired, "over")));
    drop(outlet);
    let told: Vec<_> = std::iter::from_fn(|| items.recv()).collect();
    assert!(told.len() < 30);
    let last = told.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.reason(), Reason::Expired);
    let told: Vec<Item> = told.into_iter().filter_map(Result::ok).collect();
    let [
        _,
        _,
        Item::Overflow { lost: 3 },
        Item::Gap { since, .. },
        Item::Refused {
            topics, missing, ..
        },
        Item::Refused { topics: others, .. },
        Item::Expiring { .. },
        Item::Closing,
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert!(*since <= before && topics.len() == 10 && others.len() == 10);
    assert_eq!(missing.as_slice(), ["a:b:0"]);
}

#[test]
fn whoever_makes_room_rings_once_and_only_if_that_is_wanted() {
    let (mut outlet, items) = of(4);
    let none = live(&[]);
    outlet.tell(event(1), &none);
    items.recv();
    assert!(outlet.bell().is_empty() && outlet.look_within().is_none());
    for n in 0..6 {
        outlet.tell(event(n), &none);
    }
    assert!(outlet.look_within().is_none(), "nobody needs to look");
    read(&items);
    assert_eq!(outlet.bell().len(), 1);
    outlet.bell().recv().unwrap();
    outlet.catch_up(&none);
    assert_eq!(read(&items).len(), 2);
    assert!(outlet.bell().is_empty());
}

#[test]
fn a_queue_that_is_read_beside_the_handle_is_looked_after_ever_more_seldom() {
    let (mut outlet, items) = of(1);
    let queue = items.queue().clone();
    for n in 0..3 {
        outlet.tell(event(n), &live(&[]));
    }
    assert_eq!(outlet.look_within(), Some(LOOKS.0));
    let long_ago = Instant::now().checked_sub(Duration::from_secs(3600));
    if let (Some(lost), Some(long_ago)) = (outlet.lost.as_mut(), long_ago) {
        lost.began = long_ago;
        assert_eq!(outlet.look_within(), Some(LOOKS.1));
    }
    queue.try_iter().for_each(drop);
    outlet.catch_up(&live(&[]));
    assert!(outlet.look_within().is_none());
}

#[test]
fn whom_nobody_hears_notices() {
    let (mut outlet, items) = of(4);
    drop(items);
    outlet.tell(event(1), &live(&[]));
    assert!(outlet.is_gone());
}
