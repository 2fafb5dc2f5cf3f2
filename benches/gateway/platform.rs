//! The platform simulator in a process of its own, so that what it costs is not
//! counted as the gateway's.
//!
//! The benchmark starts itself again with [`WORD`]; commands go in and answers come
//! out as lines of JSON. Invariant: of a volley every frame is made before the first
//! is sent, and the time told is the one in between.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base::ids::ConversationId;
use serde_json::{Value, json};
use simulator::{Control, Options, Running, Start};

use crate::clock::now_ns;

/// The first argument of the process that is the platform.
pub(crate) const WORD: &str = "--platform";

/// Runs the platform until its input ends.
pub(crate) fn serve() {
    let mut options = Options::default();
    options.settings.limits.journal = 0;
    for pair in std::env::args().skip(2) {
        let (name, value) = pair.split_once('=').unwrap();
        options.settings.switches.set(name, value).unwrap();
    }
    let running = simulator::start(options).unwrap();
    let mut out = std::io::stdout().lock();
    let hello = json!({
        "api": running.api_url, "login": running.login_url,
        "id": running.client_id, "secret": running.client_secret,
    });
    writeln!(out, "{hello}").unwrap();
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = obey(&running, &command);
        writeln!(out, "{answer}").unwrap();
        out.flush().unwrap();
    }
}

fn obey(running: &Running, command: &Value) -> Value {
    if let Some(count) = command["begin"].as_u64() {
        let mut ids = Vec::new();
        // In parts: nobody else gets the platform's lock meanwhile.
        for _ in 0..count {
            let begun = running.model().with(|p, now| {
                let start = Control::Start(Start::default());
                p.control(&start, now).unwrap()
            });
            ids.push(begun["conversation"].clone());
        }
        return json!(ids);
    }
    if let Some(ids) = command["wrapUp"].as_array() {
        let ids: Vec<ConversationId> = ids
            .iter()
            .map(|id| id.as_str().unwrap().parse().unwrap())
            .collect();
        let at = running.model().with(|p, now| {
            for conversation in ids {
                let wrap = Control::WrapUp {
                    conversation,
                    leg: None,
                    code: None,
                    notes: None,
                };
                p.control(&wrap, now).unwrap();
            }
            now_ns()
        });
        return json!(at);
    }
    running.command(&command.to_string()).unwrap()
}

/// The benchmark's end of it.
pub(crate) struct Platform {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    pub(crate) api: String,
    pub(crate) login: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Platform {
    /// Starts one, with switches such as `rest-per-minute=3000`.
    pub(crate) fn start(switches: &[&str]) -> Platform {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(WORD)
            .args(switches)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut from = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        let hello: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| hello[name].as_str().unwrap().to_owned();
        Platform {
            api: text("api"),
            login: text("login"),
            id: text("id"),
            secret: text("secret"),
            child,
            to,
            from,
        }
    }

    pub(crate) fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.to, "{command}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Conversations with one connected agent each; their ids.
    pub(crate) fn begin(&mut self, count: usize) -> Vec<String> {
        serde_json::from_value(self.ask(&json!({"begin": count}))).unwrap()
    }

    /// Announces a wrap-up of each; when the first frame went out, in ns since 1970.
    pub(crate) fn wrap_up(&mut self, ids: &[String]) -> u64 {
        self.ask(&json!({"wrapUp": ids})).as_u64().unwrap()
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
