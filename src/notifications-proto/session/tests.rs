mod replies;
mod signs_of_life;

use super::*;
use base::rng::Rng;
use std::collections::BTreeMap;

/// A session with a clock of its own and whatever it put out, sorted.
struct Bench {
    session: Session,
    now: Now,
    sent: Vec<String>,
    facts: Vec<Fact>,
    closes: Vec<bool>,
    odd: Vec<Unknown>,
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
fn events_are_handed_over_whenever_they_come() {
    let event = || Fact::Event {
        topic: Topic::new("a"),
        body: r#"{"eventTime":1}"#.into(),
        about: About::default(),
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
    bench.input(Input::Ended(End::refused(404)));
    assert_eq!(bench.take(), [Fact::Ended(End::refused(404))]);
    let mut bench = Bench::connecting();
    bench.input(Input::Order(Order::Close));
    assert_eq!(bench.closes, [true]);
}

#[test]
fn no_fact_shows_a_body_when_it_is_debugged() {
    let fact = Fact::Event {
        topic: Topic::new("a"),
        body: "private".into(),
        about: About::default(),
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

#[test]
fn an_event_is_handed_over_whatever_odd_text_is_in_its_frame() {
    let mut b = Bench::open();
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    for (odd, told) in [
        (r#""x \ud83d""#, r#""x \ufffd""#),
        ("1e999", "1e999"),
        ("NaN", "null"),
        ("\"a\u{1}\"", r#""a\u0001""#),
        (&deep, ""),
    ] {
        b.text(&format!(
            "\u{feff}{{\"who\":{odd},\"topicName\":\"a\",\"eventBody\":{{\"wrapupNotes\":{odd}}},\"metadata\":{{\"CorrelationId\":{odd}}}}}"
        ));
        let facts = b.take();
        let [Fact::Event { body, .. }] = facts.as_slice() else {
            panic!("{facts:?}");
        };
        assert!(
            body.contains(told) && serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok(),
            "{body}"
        );
    }
}
