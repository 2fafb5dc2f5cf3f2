//! One channel, a platform of a few lines, and chance: whatever happens in whatever order,
//! an event of a topic that was told to be live is told once, or covered by a gap.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// An event, as the platform knows it.
struct Happened {
    topic: Topic,
    body: String,
    /// It was told to be live then.
    live: bool,
}

#[derive(Default)]
struct Platform {
    /// Channels by address: their topics.
    channels: BTreeMap<String, BTreeSet<Topic>>,
    /// Sockets that are open, with their channel.
    open: BTreeMap<SocketRef, String>,
    dialling: Vec<(SocketRef, String)>,
    /// What is on its way to the client.
    wire: VecDeque<(SocketRef, Fact)>,
}

struct World {
    rng: Rng,
    now: Now,
    single: Single,
    platform: Platform,
    happened: Vec<Happened>,
    told: BTreeMap<String, u32>,
    live: BTreeSet<Topic>,
    /// Events of topics for which a gap was told afterwards, or that were given up.
    covered: BTreeSet<String>,
    over: bool,
    trouble: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_767_886_512_000),
        };
        let wanted = topics(1 + rng.below(5) as usize);
        let single = Single::new(Secret::new(URI), wanted, Settings::default(), now, seed);
        World {
            rng,
            now,
            single,
            platform: Platform::default(),
            happened: Vec::new(),
            told: BTreeMap::new(),
            live: BTreeSet::new(),
            covered: BTreeSet::new(),
            over: false,
            trouble: true,
        }
    }

    fn cover(&mut self, topic: &Topic) {
        let of = self.happened.iter().filter(|h| h.topic == *topic);
        self.covered.extend(of.map(|h| h.body.clone()));
    }

    fn drain(&mut self) {
        while let Some(output) = self.single.poll_output() {
            assert!(!self.over, "{output:?} after the end");
            match output {
                Output::Open {
                    socket,
                    connect_uri,
                } => {
                    let uri = connect_uri.expose().to_owned();
                    self.platform.dialling.push((socket, uri));
                }
                Output::Session { socket, order } => self.obey(socket, order),
                Output::Item(Item::Notification { topic, body, .. }) => {
                    assert!(body.starts_with(topic.as_str()), "{topic} {body}");
                    *self.told.entry(body).or_default() += 1;
                }
                Output::Item(Item::Live(topics)) => {
                    for topic in topics {
                        assert!(self.live.insert(topic), "live twice");
                    }
                }
                Output::Item(Item::Gap { topics, .. }) => {
                    for topic in topics {
                        assert!(self.live.remove(&topic), "a gap of what is not live");
                        self.cover(&topic);
                    }
                }
                Output::Item(_) | Output::Failed(_) => {}
                Output::Over(_) => self.over = true,
            }
        }
    }

    fn obey(&mut self, socket: SocketRef, order: Order) {
        let Some(uri) = self.platform.open.get(&socket).cloned() else {
            return;
        };
        let channel = self.platform.channels.entry(uri).or_default();
        let fact = match order {
            Order::Subscribe { ticket, .. } | Order::Unsubscribe { ticket, .. }
                if self.trouble && self.rng.chance(5) =>
            {
                Fact::Refused {
                    ticket,
                    confirmed: Vec::new(),
                    result: 429,
                    message: "Retry the request in [3] seconds".into(),
                }
            }
            Order::Subscribe { ticket, topics } => {
                channel.extend(topics);
                Fact::Subscribed { ticket }
            }
            Order::Unsubscribe { ticket, topics } => {
                channel.retain(|t| !topics.contains(t));
                Fact::Unsubscribed { ticket }
            }
            Order::Close => {
                self.platform.open.remove(&socket);
                Fact::Ended(End::Ordered)
            }
            Order::Ping | Order::Patience { .. } => return,
        };
        self.platform.wire.push_back((socket, fact));
    }

    fn send(&mut self, socket: SocketRef, fact: Fact) {
        self.platform.wire.push_back((socket, fact));
    }

    /// Something that happens on the platform, or on the way.
    fn happen(&mut self) {
        let sockets: Vec<SocketRef> = self.platform.open.keys().copied().collect();
        let at = self.rng.below(sockets.len() as u64) as usize;
        let any = sockets.get(at).copied();
        match (self.rng.below(16), any) {
            (0..=5, _) => self.event(),
            (6, Some(socket)) if self.trouble => {
                self.platform.open.remove(&socket);
                self.send(socket, closed());
            }
            (7, Some(socket)) if self.trouble => self.send(socket, Fact::Closing),
            (8, _) => self.wish(),
            (9, _) if self.trouble && self.rng.chance(30) => {
                let uri = Secret::new(format!("{URI}-{}", self.rng.below(4)));
                self.single.handle(Input::Rollover(uri), self.now);
            }
            (10, _) => self.single.handle(Input::Extend, self.now),
            (11.., Some(socket)) => self.send(socket, Fact::Heard),
            _ => {}
        }
        self.drain();
        if self.rng.chance(60) {
            self.answer_dial();
        }
        for _ in 0..self.rng.below(6) {
            self.deliver();
        }
        // A frame is on its way for a moment only.
        let step = match self.platform.wire.is_empty() {
            true => 2_000,
            false => 50,
        };
        self.now = self.now.plus(Duration::from_millis(self.rng.below(step)));
        let due = |w: &World| w.single.next_deadline().filter(|d| d.at <= w.now.mono);
        if due(self).is_some() {
            self.single.handle(Input::Tick, self.now);
            self.drain();
            assert!(due(self).is_none(), "{:?} is over", due(self));
        }
    }

    /// The caller wants another topic, or one less.
    fn wish(&mut self) {
        let topic = topic(self.rng.below(9) as usize);
        let input = match self.rng.chance(40) {
            true => {
                self.live.remove(&topic);
                self.cover(&topic);
                Input::Unsubscribe(vec![topic])
            }
            false => Input::Subscribe(vec![topic]),
        };
        self.single.handle(input, self.now);
    }

    fn event(&mut self) {
        let topic = topic(self.rng.below(9) as usize);
        let body = format!("{topic} {}", self.happened.len());
        for (socket, uri) in &self.platform.open {
            let channel = self.platform.channels.get(uri);
            if channel.is_some_and(|c| c.contains(&topic)) {
                let fact = Fact::Event {
                    topic: topic.clone(),
                    body: body.clone(),
                    about: About::default(),
                };
                self.platform.wire.push_back((*socket, fact));
            }
        }
        self.happened.push(Happened {
            live: self.live.contains(&topic),
            topic,
            body,
        });
    }

    fn answer_dial(&mut self) {
        let Some((socket, uri)) = self.platform.dialling.pop() else {
            return;
        };
        if self.trouble && self.rng.chance(20) {
            return self.send(socket, Fact::Ended(End::unreached(Cause::Refused)));
        }
        // The second socket on a channel makes the platform drop the first (protocol, section 8).
        let same = |(_, u): &(&SocketRef, &String)| **u == uri;
        let before: Vec<SocketRef> = (self.platform.open.iter().filter(same))
            .map(|(s, _)| *s)
            .collect();
        for old in before {
            self.platform.open.remove(&old);
            self.send(old, closed());
        }
        self.platform.channels.entry(uri.clone()).or_default();
        self.platform.open.insert(socket, uri);
        self.send(socket, Fact::Opened);
    }

    /// Each socket keeps its order; two sockets keep none.
    fn deliver(&mut self) {
        let wire = &mut self.platform.wire;
        let at = self.rng.below(wire.len() as u64) as usize;
        let Some(whose) = wire.get(at).map(|(s, _)| *s) else {
            return;
        };
        let first = wire.iter().position(|(s, _)| *s == whose);
        if let Some((socket, fact)) = first.and_then(|at| wire.remove(at)) {
            self.single
                .handle(Input::Session { socket, fact }, self.now);
            self.drain();
        }
    }

    fn audit(&self, seed: u64) {
        for h in &self.happened {
            let told = self.told.get(&h.body).copied().unwrap_or_default();
            assert!(told <= 1, "seed {seed}: {} was told {told} times", h.body);
            let known = told == 1 || self.covered.contains(&h.body);
            assert!(!h.live || known, "seed {seed}: {} is lost", h.body);
        }
    }
}

#[test]
fn whatever_happens_an_event_of_a_live_topic_is_told_once_or_covered_by_a_gap() {
    let mut ended = 0;
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        world.drain();
        for _ in 0..150 {
            world.happen();
        }
        // Peace: everything that is wanted is live again.
        world.trouble = false;
        for _ in 0..400 {
            world.happen();
        }
        while !world.platform.wire.is_empty() {
            world.deliver();
        }
        if world.over {
            ended += 1;
            continue;
        }
        world.audit(seed);
        let dark = world.single.topics().filter(|(_, live)| !live).count();
        assert_eq!(dark, 0, "seed {seed}");
    }
    assert!(ended < 600, "{ended} worlds ended early");
}
