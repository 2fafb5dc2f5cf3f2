//! One channel against a hand-written platform: what is told, and what is done.

mod chance;
mod postponed;
mod takeover;

use super::*;
use crate::session::Fact;

const URI: &str = "wss://streaming.example/channels/streaming-0-a";

struct Bench {
    single: Single,
    now: Now,
    opened: Vec<(SocketRef, String)>,
    orders: Vec<(SocketRef, Order)>,
    items: Vec<Item>,
    failed: Vec<Failure>,
    over: Option<Option<Failure>>,
    confirming: bool,
}

fn topic(n: usize) -> Topic {
    Topic::new(&format!("v2.users.{n}.presence"))
}

fn topics(n: usize) -> Vec<Topic> {
    (0..n).map(topic).collect()
}

impl Bench {
    fn with(settings: Settings, wanted: usize) -> Bench {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_767_886_512_000),
        };
        let single = Single::new(Secret::new(URI), topics(wanted), settings, now, 7);
        let mut bench = Bench {
            single,
            now,
            opened: Vec::new(),
            orders: Vec::new(),
            items: Vec::new(),
            failed: Vec::new(),
            over: None,
            confirming: true,
        };
        bench.drain();
        bench
    }

    /// Connected, and all topics live.
    fn serving(settings: Settings, wanted: usize) -> Bench {
        let mut bench = Bench::with(settings, wanted);
        bench.fact(bench.last(), Fact::Opened);
        bench.fact(bench.last(), Fact::Heard);
        assert!(bench.single.connected());
        assert_eq!(bench.live(), wanted);
        bench.items.clear();
        bench
    }

    fn live(&self) -> usize {
        self.single.topics().filter(|(_, live)| *live).count()
    }

    fn last(&self) -> SocketRef {
        self.opened.last().unwrap().0
    }

    fn give(&mut self, input: Input) {
        self.single.handle(input, self.now);
        self.drain();
    }

    fn fact(&mut self, socket: SocketRef, fact: Fact) {
        self.give(Input::Session { socket, fact });
    }

    fn drain(&mut self) {
        let mut answers = Vec::new();
        while let Some(output) = self.single.poll_output() {
            assert!(self.over.is_none(), "{output:?} after the end");
            match output {
                Output::Open {
                    socket,
                    connect_uri,
                } => self.opened.push((socket, connect_uri.expose().to_owned())),
                Output::Session { socket, order } => {
                    match &order {
                        Order::Subscribe { ticket, .. } if self.confirming => {
                            answers.push((socket, Fact::Subscribed { ticket: *ticket }));
                        }
                        Order::Unsubscribe { ticket, .. } if self.confirming => {
                            answers.push((socket, Fact::Unsubscribed { ticket: *ticket }));
                        }
                        Order::Close => answers.push((socket, Fact::Ended(End::Ordered))),
                        _ => {}
                    }
                    self.orders.push((socket, order));
                }
                Output::Item(item) => self.items.push(item),
                Output::Failed(failure) => self.failed.push(failure),
                Output::Over(failure) => self.over = Some(failure),
            }
        }
        for (socket, fact) in answers {
            self.fact(socket, fact);
        }
    }

    fn pass(&mut self, d: Duration) {
        let end = self.now.plus(d);
        while let Some(due) = self.single.next_deadline().filter(|d| d.at <= end.mono) {
            assert!(due.at >= self.now.mono, "{due:?} is over");
            self.now = self.now.plus(due.at.since(self.now.mono));
            self.give(Input::Tick);
        }
        self.now = end;
        self.give(Input::Tick);
    }

    fn subscribes(&self) -> Vec<usize> {
        let of = |(_, order): &(SocketRef, Order)| match order {
            Order::Subscribe { topics, .. } => Some(topics.len()),
            _ => None,
        };
        self.orders.iter().filter_map(of).collect()
    }

    fn gaps(&self) -> Vec<(usize, GapCause)> {
        let of = |item: &Item| match item {
            Item::Gap { topics, cause, .. } => Some((topics.len(), *cause)),
            _ => None,
        };
        self.items.iter().filter_map(of).collect()
    }
}

fn event(n: usize, body: &str) -> Fact {
    Fact::Event {
        topic: topic(n),
        body: body.to_owned(),
        about: About::default(),
    }
}

fn closed() -> Fact {
    Fact::Ended(End::Closed(1001))
}

#[test]
fn topics_are_subscribed_once_it_is_open_and_told_live_once_confirmed() {
    let mut b = Bench::with(Settings::default(), 250);
    assert!(b.subscribes().is_empty());
    b.fact(b.last(), Fact::Opened);
    assert_eq!(b.subscribes(), [100, 100, 50]);
    assert_eq!(b.live(), 250);
    b.give(Input::Subscribe(topics(252)));
    assert_eq!(b.subscribes(), [100, 100, 50, 2], "only what is new");
    b.fact(b.last(), event(3, "{\"a\": 1}"));
    let Some(Item::Notification { body, .. }) = b.items.last() else {
        panic!("{:?}", b.items);
    };
    assert_eq!(body, "{\"a\": 1}");
}

#[test]
fn a_lost_socket_is_a_gap_and_is_opened_again_until_it_serves() {
    let mut b = Bench::serving(Settings::default(), 3);
    let since = b.now.wall;
    b.now = b.now.plus(Duration::from_secs(20));
    b.fact(b.last(), Fact::Ended(End::Broken("x".into())));
    assert_eq!(b.gaps(), [(3, GapCause::Broken)]);
    assert!(matches!(&b.items[0], Item::Gap { since: s, .. } if *s == since));
    assert!(!b.single.connected());
    for _ in 0..5 {
        b.pass(Duration::from_secs(31));
        b.fact(b.last(), Fact::Ended(End::unreached(Cause::Refused)));
    }
    assert_eq!(b.gaps().len(), 1, "nothing is lost twice");
    b.pass(Duration::from_secs(60));
    b.fact(b.last(), Fact::Opened);
    assert_eq!(b.live(), 3);
    assert!(b.over.is_none() && b.failed.is_empty());
}

#[test]
fn what_never_connects_is_over_at_once_and_what_is_not_had_again_after_the_patience() {
    let mut b = Bench::with(Settings::default(), 1);
    b.fact(b.last(), Fact::Ended(End::refused(401)));
    assert_eq!(b.over, Some(Some(Failure::Refused(401))));

    let mut b = Bench::serving(Settings::default(), 1);
    b.fact(b.last(), Fact::Ended(End::Silent { beats: 3 }));
    for _ in 0..200 {
        if b.over.is_some() {
            break;
        }
        b.pass(Duration::from_secs(40));
        b.fact(b.last(), Fact::Ended(End::unreached(Cause::Refused)));
    }
    let Some(Some(Failure::ReconnectFailed(last))) = &b.over else {
        panic!("{:?}", b.over);
    };
    assert!(matches!(
        **last,
        Failure::NotConnected {
            cause: Cause::Refused,
            ..
        }
    ));
}

#[test]
fn a_refusal_that_lasts_says_what_became_of_the_channel() {
    for (status, wanted) in [
        (404, Failure::Expired),
        (410, Failure::Expired),
        (401, Failure::Refused(401)),
        (403, Failure::Refused(403)),
    ] {
        let mut b = Bench::serving(Settings::default(), 1);
        b.fact(b.last(), closed());
        for _ in 0..3 {
            assert!(b.over.is_none());
            b.pass(Duration::from_secs(40));
            b.fact(b.last(), Fact::Ended(End::refused(status)));
        }
        assert_eq!(b.over, Some(Some(wanted)));
    }
    // One that may pass is no such.
    let mut b = Bench::serving(Settings::default(), 1);
    b.fact(b.last(), closed());
    for _ in 0..5 {
        b.pass(Duration::from_secs(40));
        b.fact(b.last(), Fact::Ended(End::refused(503)));
    }
    assert!(b.over.is_none());
}

#[test]
fn one_topic_that_is_refused_spoils_no_other() {
    let mut b = Bench::serving(Settings::default(), 0);
    b.confirming = false;
    b.give(Input::Subscribe(topics(7)));
    // The platform refuses every message with topic 5 in it.
    for _ in 0..20 {
        let Some((socket, Order::Subscribe { ticket, topics })) = b.orders.pop() else {
            continue;
        };
        let fact = match topics.contains(&topic(5)) {
            true => Fact::Refused {
                ticket,
                confirmed: Vec::new(),
                result: 403,
                message: "missing permission".into(),
            },
            false => Fact::Subscribed { ticket },
        };
        b.fact(socket, fact);
    }
    assert_eq!(b.live(), 6);
    let refused: Vec<&Item> = b
        .items
        .iter()
        .filter(|i| matches!(i, Item::Refused { .. }))
        .collect();
    let [Item::Refused { topics, result, .. }] = refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!((topics.as_slice(), *result), (&[topic(5)][..], 403));
}

#[test]
fn what_is_not_answered_is_asked_again_and_told_if_it_lasts() {
    let mut b = Bench::serving(Settings::default(), 0);
    b.confirming = false;
    b.give(Input::Subscribe(topics(2)));
    for n in 1..=4 {
        assert_eq!(b.subscribes(), vec![2; n]);
        let Some((socket, Order::Subscribe { ticket, .. })) = b.orders.last().cloned() else {
            panic!("{:?}", b.orders);
        };
        b.fact(
            socket,
            Fact::Refused {
                ticket,
                confirmed: Vec::new(),
                result: 0,
                message: String::new(),
            },
        );
        assert_eq!(b.failed.len(), usize::from(n >= 3));
        b.pass(Duration::from_secs(3));
    }
}

#[test]
fn what_a_socket_did_not_answer_is_forgotten_with_it() {
    let mut b = Bench::serving(Settings::default(), 5);
    b.confirming = false;
    for _ in 0..50 {
        b.fact(b.last(), closed());
        b.pass(Duration::from_secs(40));
        b.fact(b.last(), Fact::Opened);
        b.fact(b.last(), Fact::Heard);
    }
    assert!(b.single.tickets.len() <= 1, "{}", b.single.tickets.len());
}

#[test]
fn there_are_never_more_topics_than_a_channel_holds() {
    let mut b = Bench::serving(Settings::default(), 1000);
    b.give(Input::Subscribe(topics(1002)));
    assert!(matches!(&b.items[..], [Item::Refused { topics, result: 0, .. }] if topics.len() == 2));
    b.give(Input::Unsubscribe(vec![topic(3)]));
    b.give(Input::Subscribe(vec![topic(2000)]));
    assert_eq!(b.live(), 1000);
}

#[test]
fn after_a_closing_notice_a_second_socket_takes_over_and_nothing_is_missed() {
    let mut b = Bench::serving(Settings::default(), 3);
    let first = b.last();
    b.fact(first, Fact::Closing);
    let second = b.last();
    assert_eq!(b.opened[1].1, URI);
    b.fact(first, event(1, "a"));
    b.fact(second, Fact::Opened);
    // Confirmed at once: the first is told to close.
    assert!(b.orders.contains(&(first, Order::Close)));
    b.fact(second, event(1, "b"));
    assert_eq!(b.gaps(), []);
    assert_eq!((b.live(), b.opened.len()), (3, 2));
    // A first socket that the platform drops before the second hears anything is a gap.
    let mut b = Bench::serving(Settings::default(), 3);
    let first = b.last();
    b.fact(first, Fact::Closing);
    b.fact(first, closed());
    assert_eq!(b.gaps(), [(3, GapCause::Closed)]);
    b.fact(b.last(), Fact::Opened);
    assert_eq!((b.live(), b.opened.len()), (3, 2));
}

#[test]
fn a_roll_over_under_flow_tells_each_event_once() {
    let mut b = Bench::serving(Settings::default(), 3);
    b.confirming = false;
    let first = b.last();
    b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
    let second = b.last();
    assert_eq!(b.opened[1].1, "wss://streaming.example/b");
    b.fact(second, Fact::Opened);
    b.fact(first, event(1, "a"));
    b.fact(second, event(1, "a"));
    b.fact(second, event(1, "b"));
    b.fact(first, event(1, "b"));
    b.fact(second, event(2, "c"));
    b.fact(second, event(2, "c"));
    let Some((_, Order::Subscribe { ticket, .. })) = b.orders.last().cloned() else {
        panic!("{:?}", b.orders);
    };
    b.fact(second, Fact::Subscribed { ticket });
    let Some((socket, Order::Unsubscribe { ticket, .. })) = b.orders.last().cloned() else {
        panic!("{:?}", b.orders);
    };
    assert_eq!(socket, first, "asked whether it is alive");
    b.fact(first, Fact::Unsubscribed { ticket });
    let told: Vec<&str> = b
        .items
        .iter()
        .filter_map(|i| match i {
            Item::Notification { body, .. } => Some(body.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["a", "b", "c", "c"], "two on one socket are two");
    assert_eq!((b.gaps().len(), b.live()), (0, 3));
    // The next connection goes there, too.
    b.fact(second, closed());
    b.pass(Duration::from_secs(1));
    assert_eq!(b.opened[2].1, "wss://streaming.example/b");
}

#[test]
fn a_roll_over_that_fails_leaves_the_channel_as_it_was() {
    for end in [End::refused(404), End::unreached(Cause::Refused)] {
        let mut b = Bench::serving(Settings::default(), 3);
        b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
        b.fact(b.last(), Fact::Ended(end));
        assert!(matches!(b.failed[..], [Failure::RolloverFailed(_)]));
        assert_eq!((b.gaps().len(), b.live()), (0, 3));
    }
    let mut b = Bench::serving(Settings::default(), 3);
    b.give(Input::Rollover(Secret::new("wss://streaming.example/b")));
    b.pass(Duration::from_secs(60));
    assert!(matches!(b.failed[..], [Failure::RolloverFailed(_)]));
    assert_eq!(b.live(), 3);
}

#[test]
fn a_channel_lives_on_by_subscribing_again_an_hour_before_its_end() {
    let mut b = Bench::serving(Settings::default(), 150);
    let expires = b.single.expires();
    b.orders.clear();
    b.pass(Duration::from_secs(23 * 3600 + 1));
    assert_eq!(b.subscribes(), [100, 50]);
    assert!(b.single.expires() > expires + Duration::from_secs(22 * 3600));
    assert_eq!((b.items.len(), b.failed.len()), (0, 0), "nothing to tell");
    // By hand, at any time.
    b.give(Input::Extend);
    assert_eq!(b.subscribes(), [100, 50, 100, 50]);
}

#[test]
fn an_extension_that_is_refused_is_told_and_the_channel_goes_on() {
    let mut b = Bench::serving(Settings::default(), 2);
    b.confirming = false;
    b.give(Input::Extend);
    let Some((socket, Order::Subscribe { ticket, .. })) = b.orders.last().cloned() else {
        panic!("{:?}", b.orders);
    };
    b.fact(
        socket,
        Fact::Refused {
            ticket,
            confirmed: Vec::new(),
            result: 500,
            message: "no".into(),
        },
    );
    assert_eq!(b.failed, [Failure::ExtensionFailed("no".into())]);
    assert_eq!((b.live(), b.gaps().len()), (2, 0));
    assert!(b.over.is_none());
    // Nor can what is not there be extended.
    let mut b = Bench::serving(Settings::default(), 0);
    b.give(Input::Extend);
    assert!(matches!(b.failed[..], [Failure::ExtensionFailed(_)]));
}

#[test]
fn by_hand_the_end_and_the_closing_are_told_and_nothing_is_done() {
    let manual = Settings {
        manual: true,
        ..Settings::default()
    };
    let mut b = Bench::serving(manual, 1);
    b.orders.clear();
    b.pass(Duration::from_secs(23 * 3600 + 1));
    assert_eq!(b.items, [Item::Expiring(b.single.expires())]);
    assert!(b.orders.is_empty());
    b.fact(b.last(), Fact::Closing);
    assert_eq!((b.opened.len(), b.items.last()), (1, Some(&Item::Closing)));
    b.fact(b.last(), closed());
    assert_eq!(b.over, Some(Some(Failure::Closing)));
}

#[test]
fn an_end_of_the_channel_is_a_gap_and_says_which() {
    for (fact, wanted) in [
        (Fact::ChannelGone, Failure::Expired),
        (Fact::NoLongerSubscribed, Failure::Replaced),
        (Fact::TokenRevoked, Failure::TokenRevoked),
    ] {
        let mut b = Bench::serving(Settings::default(), 2);
        b.fact(b.last(), fact);
        assert_eq!(b.gaps().len(), 1);
        assert_eq!(b.over, Some(Some(wanted)));
    }
}

#[test]
fn two_who_take_a_channel_from_each_other_are_told_so() {
    let mut b = Bench::serving(Settings::default(), 1);
    for n in 0..10 {
        if b.over.is_some() {
            assert!(n >= 5, "{n}");
            break;
        }
        b.fact(b.last(), closed());
        b.pass(Duration::from_secs(1));
        b.fact(b.last(), Fact::Opened);
    }
    assert_eq!(b.over, Some(Some(Failure::Replaced)));
}

#[test]
fn closing_it_is_the_end_and_nothing_follows() {
    let mut b = Bench::serving(Settings::default(), 2);
    let socket = b.last();
    b.give(Input::Close);
    assert_eq!(b.over, Some(None));
    assert!(b.orders.contains(&(socket, Order::Close)));
    b.fact(socket, event(1, "late"));
    assert!(b.items.is_empty() && b.single.next_deadline().is_none());
}
