//! A running simulator, a REST client and a WebSocket client, all with deadlines.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use simulator::{Options, Running, start};
use tungstenite::{Message, WebSocket};

/// Whatever takes longer has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Bench {
    pub running: Running,
    pub agent: ureq::Agent,
    pub token: String,
}

pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
        .proxy(None)
        .build()
        .into()
}

impl Bench {
    pub fn new(sets: &[(&str, &str)]) -> Bench {
        Bench::scaled(1, sets)
    }

    pub fn scaled(time_scale: u32, sets: &[(&str, &str)]) -> Bench {
        let mut options = Options {
            time_scale,
            ..Options::default()
        };
        for (name, value) in sets {
            options.settings.switches.set(name, value).unwrap();
        }
        let running = start(options).unwrap();
        let mut bench = Bench {
            running,
            agent: agent(),
            token: String::new(),
        };
        let token = bench.login();
        bench.token = token.json()["access_token"].as_str().unwrap().to_owned();
        bench
    }

    pub fn login(&self) -> Answer {
        let r = &self.running;
        let basic = base64::engine::general_purpose::STANDARD
            .encode(format!("{}:{}", r.client_id, r.client_secret));
        let answer = self
            .agent
            .post(format!("{}/oauth/token", r.login_url))
            .header("Authorization", format!("Basic {basic}"))
            .content_type("application/x-www-form-urlencoded")
            .send("grant_type=client_credentials")
            .unwrap();
        taken(answer)
    }

    /// A REST call; the body is sent if it is not null.
    pub fn rest(&self, method: &str, path: &str, body: Value) -> Answer {
        self.try_rest(method, path, body).unwrap()
    }

    pub fn try_rest(&self, method: &str, path: &str, body: Value) -> Result<Answer, ureq::Error> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/api/v2{path}", self.running.api_url))
            .header("Authorization", format!("Bearer {}", self.token));
        let answer = if body.is_null() {
            self.agent.run(request.body(()).unwrap())
        } else {
            let request = request.header("Content-Type", "application/json");
            self.agent.run(request.body(body.to_string()).unwrap())
        };
        answer.map(taken)
    }

    /// A call of the control interface that must succeed.
    pub fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.try_control(method, path, &body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        answer.json()
    }

    pub fn try_control(&self, method: &str, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.running.control_url);
        let request = ureq::http::Request::builder().method(method).uri(url);
        let answer = if body.is_null() {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body.to_string()).unwrap())
        };
        taken(answer.unwrap())
    }

    pub fn channel(&self) -> (String, String) {
        let channel = self
            .rest("POST", "/notifications/channels", Value::Null)
            .json();
        let text = |name: &str| channel[name].as_str().unwrap().to_owned();
        (text("id"), text("connectUri"))
    }

    pub fn start(&self, agents: u32) -> String {
        let c = self.control("POST", "/conversations", json!({"agents": agents}));
        c["conversation"].as_str().unwrap().to_owned()
    }
}

fn taken(mut answer: ureq::http::Response<ureq::Body>) -> Answer {
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.body_mut().read_to_string().unwrap(),
    }
}

pub fn topic(conversation: &str) -> String {
    format!("v2.detail.events.conversation.{conversation}.acw")
}

/// A blocking WebSocket client whose reads end at the deadline.
pub struct Client(pub WebSocket<TcpStream>);

impl Client {
    pub fn open(uri: &str) -> Client {
        Client::try_open(uri).unwrap()
    }

    pub fn try_open(uri: &str) -> Result<Client, u16> {
        let address = uri
            .strip_prefix("ws://")
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        match tungstenite::client(uri, stream) {
            Ok((ws, _)) => Ok(Client(ws)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(r))) => {
                Err(r.status().as_u16())
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    pub fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).unwrap();
    }

    /// The next JSON frame.
    pub fn next(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Pong(_) | Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame that is no heartbeat.
    pub fn next_but_heartbeats(&mut self) -> Value {
        loop {
            let frame = self.next();
            if frame["eventBody"]["message"] != "WebSocket Heartbeat" {
                return frame;
            }
        }
    }

    pub fn subscribe(&mut self, topics: &[String]) {
        self.send(&json!({"message": "subscribe", "topics": topics, "correlationId": "s"}));
        let reply = self.next_but_heartbeats();
        assert_eq!(reply["result"], "200", "{reply}");
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}
