//! Requests and what the platform makes of them.

use super::*;

#[test]
fn orders_given_before_the_socket_opens_are_sent_when_it_does() {
    let mut bench = Bench::connecting();
    bench.subscribe(1, &["a"]);
    assert_eq!((bench.sent.len(), bench.session.next_deadline()), (0, None));
    bench.input(Input::Opened);
    assert_eq!(bench.take(), [Fact::Opened]);
    assert_eq!(bench.sent, [frames::subscribe(&named(&["a"]), "1")]);
}

#[test]
fn replies_are_matched_by_their_id_in_any_order() {
    let mut bench = Bench::open();
    bench.subscribe(7, &["a", "b"]);
    bench.unsubscribe(8, &["a", "b"]);
    bench.text(&reply(Some("2"), Some(&["a", "b"]), 200, "unsubscribed"));
    bench.text(&reply(Some("1"), Some(&["B", "A"]), 200, "subscribed"));
    assert_eq!(
        bench.take(),
        [
            Fact::Unsubscribed { ticket: 8 },
            Fact::Subscribed { ticket: 7 }
        ]
    );
    bench.text(&reply(Some("1"), Some(&["a", "b"]), 200, "subscribed"));
    bench.text(&reply(Some("99"), None, 400, "failure"));
    assert_eq!(
        bench.take(),
        [],
        "repeated and foreign replies mean nothing"
    );
}

#[test]
fn an_order_without_topics_is_confirmed_without_asking() {
    let mut bench = Bench::open();
    bench.subscribe(1, &[]);
    assert_eq!(bench.take(), [Fact::Subscribed { ticket: 1 }]);
    assert!(bench.sent.is_empty());
}

#[test]
fn anything_but_200_is_a_refusal_of_that_request_alone() {
    for (result, status) in [
        (400, "failure"),
        (400, "error"),
        (0, "subscribed"),
        (500, ""),
    ] {
        let mut bench = Bench::open();
        bench.subscribe(1, &["a"]);
        bench.subscribe(2, &["b"]);
        bench.text(&reply(Some("1"), Some(&["a"]), result, status));
        assert_eq!(bench.take(), [refused(1, &[], result, "m")]);
        bench.text(&reply(Some("2"), None, 200, "subscribed"));
        assert_eq!(bench.take(), [Fact::Subscribed { ticket: 2 }]);
    }
}

#[test]
fn a_reply_without_an_id_is_matched_by_its_topics_if_one_request_has_them() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.subscribe(2, &["b"]);
    bench.text(&reply(None, Some(&["b"]), 200, "subscribed"));
    assert_eq!(bench.take(), [Fact::Subscribed { ticket: 2 }]);
    bench.text(&reply(None, Some(&["a"]), 400, "failure"));
    assert_eq!(bench.take(), [refused(1, &[], 400, "m")]);
}

#[test]
fn the_word_of_the_status_tells_a_subscribe_from_an_unsubscribe_of_the_same_topic() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.unsubscribe(2, &["a"]);
    bench.text(&reply(None, Some(&["a"]), 200, "unsubscribed"));
    assert_eq!(bench.take(), [Fact::Unsubscribed { ticket: 2 }]);
    bench.text(&reply(None, Some(&["a"]), 200, "unsubscribed"));
    assert_eq!(
        bench.take(),
        [refused(1, &[], 0, "a reply did not say what it answers")],
        "a late word about something else never confirms a subscribe"
    );
}

#[test]
fn a_failure_that_could_be_anybodys_fails_every_request_in_flight_and_then_one_goes_at_a_time() {
    for topics in [None, Some(&[][..]), Some(&["x"][..]), Some(&["a", "b"][..])] {
        let mut bench = Bench::open();
        for ticket in 1..=6 {
            bench.subscribe(ticket, &["a"]);
        }
        assert_eq!(bench.sent.len(), IN_FLIGHT_MAX);
        bench.text(&reply(None, topics, 400, "failure"));
        assert_eq!(
            bench.take(),
            (1..=4)
                .map(|t| refused(t, &[], 400, "m"))
                .collect::<Vec<_>>()
        );
        assert_eq!(bench.sent.len(), 5, "one in flight from now on");
        bench.text(&reply(None, None, 400, "failure"));
        assert_eq!(bench.take(), [refused(5, &[], 400, "m")]);
        assert_eq!(bench.sent.len(), 6);
        let id = id_of(&bench.sent[5]);
        bench.text(&reply(Some(&id), None, 200, "subscribed"));
        assert_eq!(bench.take(), [Fact::Subscribed { ticket: 6 }]);
    }
}

#[test]
fn a_confirmation_that_does_not_say_of_what_confirms_nothing() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.text(&reply(None, None, 200, "subscribed"));
    assert_eq!(
        bench.take(),
        [refused(1, &[], 0, "a reply did not say what it answers")]
    );
}

#[test]
fn a_404_reports_the_channel_gone_once_and_before_the_refusal() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a", "b"]);
    bench.subscribe(2, &["c"]);
    bench.text(&reply(Some("1"), Some(&["a"]), 404, "failure"));
    assert_eq!(
        bench.take(),
        [Fact::ChannelGone, refused(1, &[], 404, "m")],
        "404 speaks of the channel, whichever topics it lists"
    );
    bench.text(&reply(Some("2"), None, 404, "failure"));
    assert_eq!(bench.take(), [refused(2, &[], 404, "m")]);

    let mut bench = Bench::open();
    bench.text(&reply(Some("77"), None, 404, "error"));
    assert_eq!(
        bench.take(),
        [Fact::ChannelGone],
        "also for a reply to nothing"
    );
}

#[test]
fn topics_may_be_confirmed_and_refused_one_by_one() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a", "b", "c"]);
    bench.text(&reply(Some("1"), Some(&["a"]), 200, "subscribed"));
    bench.text(&reply(Some("1"), Some(&["b"]), 403, "failure"));
    assert_eq!(bench.take(), []);
    bench.text(&reply(Some("1"), Some(&["c", "zz"]), 200, "subscribed"));
    assert_eq!(bench.take(), [refused(1, &["a", "c"], 403, "m")]);
}

#[test]
fn a_confirmation_of_a_part_waits_for_the_rest_until_the_deadline() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a", "b", "c"]);
    bench.pass(secs(4));
    bench.text(&reply(Some("1"), Some(&["a", "b"]), 200, "subscribed"));
    bench.text(&reply(Some("1"), Some(&[]), 200, "subscribed"));
    bench.text(&reply(Some("1"), Some(&["x"]), 200, "subscribed"));
    bench.text(HEARTBEAT);
    bench.pass(Duration::from_millis(5_999));
    assert_eq!(bench.take(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(
        bench.take(),
        [refused(
            1,
            &["a", "b"],
            0,
            "no reply for 1 of 3 topics in time"
        )]
    );
    bench.text(&reply(Some("1"), Some(&["c"]), 200, "subscribed"));
    assert_eq!(bench.take(), [], "too late");

    let mut bench = Bench::open();
    bench.subscribe(1, &["a", "b"]);
    bench.text(&reply(Some("1"), Some(&["a"]), 200, "subscribed"));
    bench.text(&reply(Some("1"), Some(&["b"]), 200, "subscribed"));
    assert_eq!(bench.take(), [Fact::Subscribed { ticket: 1 }]);
}

#[test]
fn a_topic_once_refused_is_not_confirmed_by_a_later_word() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a", "b"]);
    bench.text(&reply(Some("1"), Some(&["a"]), 403, "failure"));
    bench.text(&reply(Some("1"), Some(&["a", "b"]), 200, "subscribed"));
    assert_eq!(bench.take(), [refused(1, &["b"], 403, "m")]);
}

#[test]
fn four_messages_are_in_flight_at_most_and_the_queue_behind_them_is_bounded() {
    let mut bench = Bench::open();
    let room = (IN_FLIGHT_MAX + ORDERS_WAITING_MAX) as u64;
    for ticket in 0..=room {
        bench.subscribe(ticket, &["a"]);
    }
    assert_eq!(bench.sent.len(), IN_FLIGHT_MAX);
    assert_eq!(
        bench.take(),
        [refused(
            room,
            &[],
            0,
            "too many orders are waiting on this socket"
        )]
    );
    for n in 0..room as usize {
        let id = id_of(&bench.sent[n]);
        bench.text(&reply(Some(&id), None, 200, "subscribed"));
    }
    let answered: Vec<_> = (0..room)
        .map(|ticket| Fact::Subscribed { ticket })
        .collect();
    assert_eq!(bench.take(), answered, "in the order given");
}

#[test]
fn a_missing_reply_is_a_refusal_after_its_deadline_and_asks_whether_anybody_reads() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.sent.clear();
    for _ in 0..10 {
        // Events keep coming: the link is fine in our direction.
        bench.pass(secs(1));
        bench.text(EVENT);
    }
    let facts: Vec<_> = bench
        .take()
        .into_iter()
        .filter(|f| !matches!(f, Fact::Event { .. }))
        .collect();
    assert_eq!(
        facts,
        [refused(1, &[], 0, "no reply for 1 of 1 topics in time")]
    );
    assert_eq!(bench.sent, [frames::ping()]);
    for _ in 0..10 {
        bench.pass(secs(1));
        bench.text(EVENT);
        bench.text(HEARTBEAT);
    }
    assert_eq!(bench.closes, [false]);
    bench.input(Input::Ended(End::Closed(1006)));
    assert_eq!(bench.take().last(), Some(&Fact::Ended(End::NoPong)));
}
