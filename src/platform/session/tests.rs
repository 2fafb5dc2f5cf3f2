use super::*;
use crate::rng::Rng;
use std::collections::BTreeMap;

/// A session with a clock of its own and whatever it put out, sorted.
struct Bench {
    session: Session,
    now: Now,
    sent: Vec<String>,
    facts: Vec<Fact>,
    closes: Vec<bool>,
    odd: Vec<&'static str>,
}

impl Bench {
    fn connecting() -> Bench {
        let now = Now::default().plus(Duration::from_secs(1000));
        Bench {
            session: Session::new(SessionSettings::default(), now),
            now,
            sent: vec![],
            facts: vec![],
            closes: vec![],
            odd: vec![],
        }
    }

    fn open() -> Bench {
        let mut bench = Bench::connecting();
        bench.input(Input::Opened);
        assert_eq!(bench.take(), [Fact::Opened]);
        bench
    }

    fn input(&mut self, input: Input<'_>) {
        self.session.handle(input, self.now);
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(text) => self.sent.push(text),
                Output::Fact(fact) => self.facts.push(fact),
                Output::Close { polite } => self.closes.push(polite),
                Output::Odd(label) => self.odd.push(label),
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.input(Input::Text(text));
    }

    fn subscribe(&mut self, ticket: u64, topics: &[&str]) {
        let topics = named(topics);
        self.input(Input::Order(Order::Subscribe { ticket, topics }));
    }

    fn unsubscribe(&mut self, ticket: u64, topics: &[&str]) {
        let topics = named(topics);
        self.input(Input::Order(Order::Unsubscribe { ticket, topics }));
    }

    /// Lets time pass, ticking at every deadline on the way.
    fn pass(&mut self, d: Duration) {
        let until = self.now.mono + d;
        let mut ticks = 0;
        while let Some(deadline) = self.session.next_deadline().filter(|x| x.at <= until) {
            self.now = self.now.plus(deadline.at.since(self.now.mono));
            self.input(Input::Tick);
            ticks += 1;
            assert!(ticks < 1000, "a deadline that does not move: {deadline:?}");
        }
        self.now = self.now.plus(until.since(self.now.mono));
    }

    /// As `pass`, with every ping answered and a heartbeat every 30 s.
    fn pass_healthy(&mut self, d: Duration) {
        let mut left = d.as_secs();
        while left > 0 {
            self.pass(Duration::from_secs(1));
            left -= 1;
            if self.sent.iter().any(|t| *t == frames::ping()) {
                self.sent.retain(|t| *t != frames::ping());
                self.text(PONG);
            }
            if left.is_multiple_of(30) {
                self.text(HEARTBEAT);
            }
        }
    }

    /// The facts since the last call, without the mere signs of life.
    fn take(&mut self) -> Vec<Fact> {
        let mut facts = std::mem::take(&mut self.facts);
        facts.retain(|f| *f != Fact::Heard);
        facts
    }
}

const HEARTBEAT: &str =
    r#"{"topicName":"channel.metadata","eventBody":{"message":"WebSocket Heartbeat"}}"#;
const PONG: &str = r#"{"topicName":"channel.metadata","eventBody":{"message":"pong"}}"#;
const EVENT: &str = r#"{"topicName":"a","eventBody":{"eventTime":1}}"#;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn named(topics: &[&str]) -> Vec<Topic> {
    topics.iter().map(|t| Topic::new(t)).collect()
}

fn reply(id: Option<&str>, topics: Option<&[&str]>, result: u16, status: &str) -> String {
    let mut members = vec![format!(r#""result":"{result}","status":"{status}""#)];
    members.extend(id.map(|id| format!(r#""correlationId":"{id}""#)));
    members.extend(topics.map(|t| format!(r#""topics":{t:?}"#)));
    members.push(r#""message":"m""#.into());
    format!("{{{}}}", members.join(","))
}

fn refused(ticket: u64, confirmed: &[&str], result: u16, message: &str) -> Fact {
    Fact::Refused {
        ticket,
        confirmed: named(confirmed),
        result,
        message: message.into(),
    }
}

fn id_of(message: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(message).unwrap();
    value["correlationId"].as_str().unwrap().to_owned()
}

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

#[test]
fn a_ping_goes_out_when_nothing_was_heard_and_sooner_with_a_request_in_flight() {
    let mut bench = Bench::open();
    bench.pass(Duration::from_millis(9_999));
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.sent, [frames::ping()]);
    bench.pass(secs(9));
    assert_eq!(bench.sent.len(), 1, "one at a time");
    bench.text(PONG);
    bench.sent.clear();
    bench.subscribe(1, &["a"]);
    bench.sent.clear();
    bench.pass(secs(5));
    assert_eq!(bench.sent, [frames::ping()]);
}

#[test]
fn a_ping_without_an_answer_ends_the_socket_even_if_heartbeats_come() {
    let mut bench = Bench::open();
    bench.pass(secs(10));
    bench.text(HEARTBEAT);
    bench.pass(Duration::from_millis(9_999));
    assert_eq!(bench.closes.len(), 0);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.closes, [false]);
    assert_eq!(bench.session.next_deadline(), None);
    bench.input(Input::Ended(End::Broken("reset".into())));
    assert_eq!(bench.take(), [Fact::Ended(End::NoPong)]);
}

#[test]
fn a_reply_answers_a_ping_as_well() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.pass(secs(6));
    bench.text(&reply(Some("1"), None, 200, "subscribed"));
    bench.text(HEARTBEAT);
    bench.pass(Duration::from_millis(9_500));
    assert_eq!(bench.closes.len(), 0);
}

#[test]
fn heartbeats_that_stop_are_found_although_pongs_come() {
    let mut bench = Bench::open();
    bench.text(HEARTBEAT);
    for _ in 0..39 {
        bench.pass(secs(1));
        if bench.sent.pop().is_some() {
            bench.text(PONG);
        }
    }
    assert_eq!(bench.closes.len(), 0);
    bench.pass(secs(1));
    assert_eq!(bench.closes, [false]);
    bench.input(Input::Ended(End::Ordered));
    assert_eq!(bench.take(), [Fact::Ended(End::Silent)]);
}

#[test]
fn events_and_system_messages_are_signs_of_life_and_control_frames_and_rubbish_are_not() {
    for (text, life) in [
        (EVENT, true),
        (r#"{"topicName":"v2.system.x.y","eventBody":{}}"#, true),
        (HEARTBEAT, true),
        (PONG, false),
        ("rubbish", false),
    ] {
        let mut bench = Bench::open();
        for _ in 0..45 {
            bench.pass(secs(1));
            bench.text(text);
            bench.input(Input::OtherFrame);
        }
        assert_eq!(bench.closes.is_empty(), life, "{text}");
    }
}

#[test]
fn a_healthy_idle_socket_lives_for_days() {
    let mut bench = Bench::open();
    bench.pass_healthy(secs(86_400));
    assert_eq!(bench.take(), []);
    assert!(bench.closes.is_empty());
}

#[test]
fn heard_is_told_once_in_a_while() {
    let mut bench = Bench::open();
    for _ in 0..5 {
        bench.text(PONG);
        bench.text(HEARTBEAT);
    }
    assert_eq!(bench.facts, [Fact::Heard]);
    bench.pass(secs(10));
    bench.text(PONG);
    assert_eq!(bench.facts, [Fact::Heard, Fact::Heard]);
}

#[test]
fn events_are_handed_over_whenever_they_come() {
    let event = || Fact::Event {
        topic: Topic::new("a"),
        body: r#"{"eventTime":1}"#.into(),
    };
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.text(EVENT);
    bench.text(&reply(Some("1"), None, 200, "subscribed"));
    bench.unsubscribe(2, &["a"]);
    bench.text(EVENT);
    bench.text(&reply(Some("2"), None, 200, "unsubscribed"));
    bench.text(EVENT);
    bench.input(Input::Order(Order::Close));
    bench.text(EVENT);
    bench.input(Input::Ended(End::Closed(1000)));
    bench.text(EVENT);
    assert_eq!(
        bench.take(),
        [
            event(),
            Fact::Subscribed { ticket: 1 },
            event(),
            Fact::Unsubscribed { ticket: 2 },
            event(),
            event(),
            Fact::Ended(End::Ordered)
        ],
        "and nothing after the end"
    );
}

#[test]
fn notices_are_told_once_and_end_nothing() {
    for (text, fact) in [
        (r#"{"topicName":"v2.system.socket_closing"}"#, Fact::Closing),
        (
            r#"{"topicName":"v2.system.no_longer_subscribed.s"}"#,
            Fact::NoLongerSubscribed,
        ),
        (
            r#"{"topicName":"v2.system.token_revoked.u"}"#,
            Fact::TokenRevoked,
        ),
    ] {
        let mut bench = Bench::open();
        bench.text(text);
        bench.text(text);
        assert_eq!(bench.take(), [fact]);
        bench.subscribe(1, &["a"]);
        assert_eq!(bench.sent.len(), 1);
        assert!(bench.closes.is_empty());
    }
}

#[test]
fn what_is_not_understood_is_named_and_never_fatal() {
    let mut bench = Bench::open();
    for text in ["", "[]", "{}", r#"{"topicName":"v2.system.odd"}"#, "\u{0}"] {
        bench.text(text);
    }
    assert_eq!(bench.take(), []);
    assert_eq!(bench.odd.len(), 5);
    assert!(bench.closes.is_empty());
}

#[test]
fn an_ordered_close_is_polite_and_later_orders_are_answered_by_the_end() {
    let mut bench = Bench::open();
    bench.subscribe(1, &["a"]);
    bench.input(Input::Order(Order::Close));
    bench.input(Input::Order(Order::Close));
    bench.subscribe(2, &["b"]);
    assert_eq!(bench.closes, [true]);
    assert_eq!(bench.sent.len(), 1);
    bench.pass(secs(600));
    bench.input(Input::Ended(End::Broken("x".into())));
    bench.input(Input::Ended(End::Ordered));
    assert_eq!(bench.take(), [Fact::Ended(End::Ordered)]);
}

#[test]
fn a_socket_that_never_opens_ends_with_its_own_reason() {
    let mut bench = Bench::connecting();
    bench.subscribe(1, &["a"]);
    bench.input(Input::Ended(End::UpgradeRefused(404)));
    assert_eq!(bench.take(), [Fact::Ended(End::UpgradeRefused(404))]);
    let mut bench = Bench::connecting();
    bench.input(Input::Order(Order::Close));
    assert_eq!(bench.closes, [true]);
}

#[test]
fn no_fact_shows_a_body_when_it_is_debugged() {
    let fact = Fact::Event {
        topic: Topic::new("a"),
        body: "private".into(),
    };
    assert_eq!(format!("{fact:?}"), "Event(a)");
}

/// Any mixture of orders, replies, rubbish and time: each ticket is answered
/// once, or the end answers it.
#[test]
fn every_ticket_is_answered_once_whatever_the_platform_says() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut bench = Bench::open();
        let mut given = Vec::new();
        let mut in_flight: Vec<(String, Vec<String>, &str)> = Vec::new();
        for step in 0..120u64 {
            match rng.below(10) {
                0..=3 => {
                    let topics: Vec<String> = (0..=rng.below(3))
                        .map(|_| format!("t{}", rng.below(6)))
                        .collect();
                    let refs: Vec<&str> = topics.iter().map(String::as_str).collect();
                    given.push(step);
                    if rng.chance(60) {
                        bench.subscribe(step, &refs);
                    } else {
                        bench.unsubscribe(step, &refs);
                    }
                }
                4..=7 if !in_flight.is_empty() => {
                    let n = rng.below(in_flight.len() as u64) as usize;
                    let (id, topics, status) = in_flight[n].clone();
                    let part = topics.len().min(rng.below(4) as usize);
                    let listed: Vec<&str> = topics.iter().take(part).map(String::as_str).collect();
                    let id = rng.chance(80).then_some(id.as_str());
                    let list = rng.chance(80).then_some(listed.as_slice());
                    let result = [200, 200, 200, 400, 403, 404][rng.below(6) as usize];
                    bench.text(&reply(id, list, result, status));
                }
                8 => bench.text(["{}", PONG, EVENT, "x"][rng.below(4) as usize]),
                _ => bench.pass(rng.between(Duration::ZERO, secs(5))),
            }
            bench.text(HEARTBEAT);
            bench.text(PONG);
            for text in std::mem::take(&mut bench.sent) {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                if value["message"] != "ping" {
                    let topics = value["topics"].as_array().unwrap();
                    in_flight.push((
                        id_of(&text),
                        topics
                            .iter()
                            .map(|t| t.as_str().unwrap().to_owned())
                            .collect(),
                        if value["message"] == "subscribe" {
                            "subscribed"
                        } else {
                            "unsubscribed"
                        },
                    ));
                    if in_flight.len() > 8 {
                        in_flight.remove(0);
                    }
                }
            }
        }
        let ended = rng.chance(50);
        if ended {
            bench.input(Input::Ended(End::Closed(1001)));
        } else {
            // Silence of the replies alone: everything runs into its deadline.
            bench.pass_healthy(secs(2000));
        }
        let mut answers = BTreeMap::<u64, u32>::new();
        for fact in bench.take() {
            if let Fact::Subscribed { ticket }
            | Fact::Unsubscribed { ticket }
            | Fact::Refused { ticket, .. } = fact
            {
                *answers.entry(ticket).or_default() += 1;
            }
        }
        assert!(
            answers.values().all(|n| *n == 1),
            "seed {seed}: {answers:?}"
        );
        assert!(answers.keys().all(|t| given.contains(t)), "seed {seed}");
        if !ended {
            assert!(bench.closes.is_empty(), "seed {seed}");
            assert_eq!(answers.len(), given.len(), "seed {seed}");
        }
    }
}
