//! The model, area by area, and every switch in every position.

mod channels;
mod conversations;
mod faults;
mod oauth;
mod sockets;
mod store;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use base::wire::{Request, Response};

/// A platform, a clock, and a token.
pub(super) struct World {
    pub(super) p: Platform,
    pub(super) now: Now,
    pub(super) token: String,
}

pub(super) fn topic(id: &str) -> String {
    format!("v2.detail.events.conversation.{id}.acw")
}

pub(super) fn id_number(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

impl World {
    pub(super) fn with(switches: &[(&str, &str)]) -> World {
        let mut settings = Settings::default();
        for (name, value) in switches {
            settings.switches.set(name, value).unwrap();
        }
        World::of(settings)
    }

    pub(super) fn of(settings: Settings) -> World {
        let mut world = World {
            p: Platform::new(settings, 1),
            now: Now {
                mono: Mono(1000),
                wall: Wall(1_767_886_512_345),
            },
            token: String::new(),
        };
        world.token = world.new_token();
        world
    }

    pub(super) fn new_token(&mut self) -> String {
        let answer = self.oauth("grant_type=client_credentials");
        assert_eq!(answer.status, 200);
        body(&answer)["access_token"].as_str().unwrap().to_owned()
    }

    pub(super) fn oauth(&mut self, form: &str) -> Response {
        let s = self.p.settings();
        let basic = base64(&format!("{}:{}", s.client_id, s.client_secret.expose()));
        self.oauth_as(&basic, form)
    }

    pub(super) fn oauth_as(&mut self, basic: &str, form: &str) -> Response {
        let request = Request {
            method: "POST",
            url: "https://login.simulated.test/oauth/token".into(),
            headers: vec![
                ("Authorization".into(), format!("Basic {basic}")),
                (
                    "Content-Type".into(),
                    "application/x-www-form-urlencoded".into(),
                ),
            ],
            body: form.as_bytes().to_vec(),
        };
        self.p.http(&request, self.now)
    }

    pub(super) fn call(&mut self, method: &'static str, path: &str, body: Value) -> Response {
        let token = self.token.clone();
        self.call_as(&token, method, path, body)
    }

    pub(super) fn call_as(
        &mut self,
        token: &str,
        method: &'static str,
        path: &str,
        body: Value,
    ) -> Response {
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        let body = if body.is_null() {
            Vec::new()
        } else {
            headers.push(("content-type".into(), "application/json".into()));
            body.to_string().into_bytes()
        };
        let request = Request {
            method,
            url: format!("https://api.simulated.test/api/v2{path}"),
            headers,
            body,
        };
        self.p.http(&request, self.now)
    }

    pub(super) fn get(&mut self, path: &str) -> Response {
        self.call("GET", path, Value::Null)
    }

    /// A new channel: its id.
    pub(super) fn channel(&mut self) -> String {
        let answer = self.call("POST", "/notifications/channels", Value::Null);
        assert_eq!(answer.status, 200);
        body(&answer)["id"].as_str().unwrap().to_owned()
    }

    pub(super) fn open(&mut self, channel: &str) -> SocketId {
        self.p
            .upgrade(&format!("/channels/{channel}"), self.now)
            .unwrap()
    }

    /// A channel with a socket.
    pub(super) fn connected(&mut self) -> (String, SocketId) {
        let channel = self.channel();
        let socket = self.open(&channel);
        (channel, socket)
    }

    pub(super) fn upgrade_status(&mut self, channel: &str) -> u16 {
        match self.p.upgrade(&format!("/channels/{channel}"), self.now) {
            Ok(_) => 101,
            Err(answer) => answer.status,
        }
    }

    pub(super) fn send(&mut self, socket: SocketId, message: &str, topics: &[String]) {
        let text = json!({"message": message, "topics": topics, "correlationId": "c1"}).to_string();
        self.p.frame(socket, &text, self.now);
    }

    /// Sends and takes the only reply.
    pub(super) fn ask(&mut self, socket: SocketId, message: &str, topics: &[String]) -> Value {
        self.send(socket, message, topics);
        let frames = self.frames();
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert_eq!(frames[0].0, socket);
        frames[0].1.clone()
    }

    pub(super) fn outs(&mut self) -> Vec<SocketOut> {
        std::iter::from_fn(|| self.p.poll()).collect()
    }

    /// The frames that are out, which must be JSON; nothing else may be out.
    pub(super) fn frames(&mut self) -> Vec<(SocketId, Value)> {
        self.outs()
            .into_iter()
            .map(|out| match out {
                SocketOut::Frame { socket, text } => (socket, serde_json::from_str(&text).unwrap()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The event frames among what is out.
    pub(super) fn events(&mut self) -> Vec<Value> {
        self.outs()
            .into_iter()
            .filter_map(|out| match out {
                SocketOut::Frame { text, .. } => serde_json::from_str::<Value>(&text).ok(),
                _ => None,
            })
            .filter(|v| {
                v["topicName"]
                    .as_str()
                    .is_some_and(|t| t.starts_with("v2.detail."))
            })
            .collect()
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, d: Duration) {
        let end = self.now.plus(d);
        while let Some(at) = self.p.next_deadline().filter(|at| *at <= end.mono) {
            let step = at.since(self.now.mono);
            self.now = self.now.plus(step);
            self.p.tick(self.now);
        }
        self.now = end;
        self.p.tick(end);
    }

    pub(super) fn seconds(&mut self, n: u64) {
        self.pass(Duration::from_secs(n));
    }

    pub(super) fn do_it(&mut self, command: Value) -> Value {
        let command: Control = serde_json::from_value(command).unwrap();
        self.p.control(&command, self.now).unwrap()
    }

    pub(super) fn fault(&mut self, fault: Value) -> Value {
        self.do_it(json!({"command": "fault", "fault": fault}))
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.do_it(json!({"command": "switch", "name": name, "value": value}));
    }

    pub(super) fn start(&mut self, agents: u32, media: &str) -> String {
        let answer = self.do_it(json!({"command": "start", "agents": agents, "media": media}));
        answer["conversation"].as_str().unwrap().to_owned()
    }

    /// A conversation that a socket listens to.
    pub(super) fn listened(&mut self, agents: u32) -> (String, SocketId) {
        let (_, socket) = self.connected();
        let conversation = self.start(agents, "voice");
        let reply = self.ask(socket, "subscribe", &[topic(&conversation)]);
        assert_eq!(reply["result"], "200");
        (conversation, socket)
    }
}

pub(super) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(super) fn body(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn one_seed_gives_one_run() {
    let run = || {
        let mut w = World::with(&[("event-delivery", "repeat"), ("event-fault-percent", "50")]);
        let mut seen = Vec::new();
        for n in 0..30 {
            let (_, socket) = w.connected();
            let c = w.start(1, "message");
            w.send(socket, "subscribe", &[topic(&c)]);
            w.do_it(json!({"command": "life", "talkMs": 1000 * n, "acwMs": 50}));
            w.do_it(json!({"command": "finish", "conversation": c}));
            w.fault(json!({"fault": "closing", "channel": "any"}));
            w.seconds(20);
            seen.extend(w.outs());
        }
        (seen, format!("{:?}", w.p.truth().ledger()))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_day_of_twenty_full_channels_passes_quickly_and_in_order() {
    let mut w = World::with(&[("rest-per-minute", "1000")]);
    let mut sockets = Vec::new();
    for c in 0..20 {
        let (_, socket) = w.connected();
        let topics: Vec<String> = (0..1000).map(|n| topic(&id_number(c * 1000 + n))).collect();
        assert_eq!(w.ask(socket, "subscribe", &topics)["result"], "200");
        sockets.push(socket);
    }
    let truth = w.p.truth();
    assert_eq!(truth.ledger().topics_total_most, 20_000);
    assert_eq!(truth.ledger().held_most, 20);
    let mut frames = 0;
    for _ in 0..23 {
        w.seconds(3600);
        frames += w.frames().len();
    }
    assert_eq!(frames, 20 * 23 * 120);
    w.seconds(3600);
    assert_eq!(w.p.truth().channels().count(), 0);
}
