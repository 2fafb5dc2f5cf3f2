//! A history manager that keeps what it is given by key, is sometimes in
//! trouble, and finds what was filed twice.
//!
//! Invariant: what it answered 2xx stays; one key has one body for ever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use base::rng::Rng;
use base::time::Wall;
use serde_json::Value;

/// One record as it was filed under its key.
#[derive(Clone, Debug)]
pub(crate) struct Filed {
    /// The body.
    pub(crate) body: Value,
    /// How often it was answered with 2xx.
    pub(crate) times: u64,
}

impl Filed {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer)?.as_str()
    }

    /// Conversation, participant, session and time of a wrap-up; `None` for a support result.
    pub(crate) fn wrap_up(&self) -> Option<(String, String, String, Wall)> {
        if self.text("/kind") != Some("after-call-work") {
            return None;
        }
        let own = |name: &str| Some(self.text(&format!("/afterCallWork/{name}"))?.to_owned());
        Some((
            self.text("/conversationId")?.to_owned(),
            own("participantId")?,
            own("sessionId")?,
            Wall::parse_rfc3339(self.text("/eventTime")?)?,
        ))
    }

    /// `notification` or `reconciliation`.
    pub(crate) fn source(&self) -> &str {
        self.text("/source").unwrap_or("")
    }
}

/// What it holds.
#[derive(Default)]
pub(crate) struct Held {
    /// By key.
    pub(crate) filed: BTreeMap<String, Filed>,
    /// What should never happen, in words.
    pub(crate) strange: Vec<String>,
}

/// See the [module](self).
pub(crate) struct Receiver {
    /// Where to file.
    pub(crate) url: String,
    server: Arc<tiny_http::Server>,
    held: Arc<Mutex<Held>>,
    trouble: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

const THREADS: usize = 6;

impl Receiver {
    /// Starts it on a free port.
    pub(crate) fn start(seed: u64) -> Receiver {
        let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
        let at = server.server_addr().to_ip().unwrap();
        let held = Arc::new(Mutex::new(Held::default()));
        let trouble = Arc::new(AtomicU64::new(0));
        let threads = (0..THREADS)
            .map(|n| {
                let (server, held, trouble) = (server.clone(), held.clone(), trouble.clone());
                let mut rng = Rng::new(seed ^ (n as u64 + 1));
                std::thread::spawn(move || {
                    while let Ok(request) = server.recv() {
                        answer(request, &held, trouble.load(Ordering::Relaxed), &mut rng);
                    }
                })
            })
            .collect();
        Receiver {
            url: format!("http://{at}/communications"),
            server,
            held,
            trouble,
            threads,
        }
    }

    /// How many requests in a hundred meet trouble from now on.
    pub(crate) fn trouble(&self, percent: u64) {
        self.trouble.store(percent, Ordering::Relaxed);
    }

    /// Looks at what it holds.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Held) -> T) -> T {
        at(&self.held.lock().unwrap())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.server.unblock();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn answer(mut request: tiny_http::Request, held: &Mutex<Held>, trouble: u64, rng: &mut Rng) {
    let mut body = Vec::new();
    if request.as_reader().read_to_end(&mut body).is_err() {
        return;
    }
    let fails = rng.chance(trouble);
    let how = rng.below(4);
    if fails && how == 0 {
        // Neither taken nor answered well.
        let _ = request.respond(tiny_http::Response::empty(503));
        return;
    }
    if fails && how == 1 {
        std::thread::sleep(rng.between(Duration::ZERO, Duration::from_millis(300)));
    }
    keep(&request, &body, held);
    if fails && how == 2 {
        // Taken, but the gateway is told nothing: the connection closes.
        drop(request.into_writer());
        return;
    }
    let _ = request.respond(tiny_http::Response::empty(201));
}

fn keep(request: &tiny_http::Request, body: &[u8], held: &Mutex<Held>) {
    let key = request
        .headers()
        .iter()
        .find(|h| h.field.equiv("Idempotency-Key"))
        .map(|h| h.value.as_str().to_owned());
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut held = held.lock().unwrap();
    let Some(key) = key else {
        held.strange.push("a record without a key".into());
        return;
    };
    if body.get("recordId").and_then(Value::as_str) != Some(&key) {
        held.strange
            .push(format!("the body under {key} is of another record: {body}"));
    }
    let there = held.filed.get(&key).map(|f| f.body == body);
    match there {
        None => {
            held.filed.insert(key, Filed { body, times: 1 });
        }
        Some(same) => {
            if !same {
                held.strange.push(format!("two bodies under the key {key}"));
            }
            if let Some(filed) = held.filed.get_mut(&key) {
                filed.times += 1;
            }
        }
    }
}
