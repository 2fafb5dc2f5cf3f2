//! The word `listen`, as an operator uses it beside the gateway.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{History, Platform, Setup, wait_for};

/// A `listen` that runs, and its lines.
struct Listening {
    child: Child,
    lines: Receiver<String>,
}

impl Listening {
    fn start(setup: &Setup, words: &[&str]) -> Listening {
        setup.save();
        let mut child = setup
            .command("gateway.toml", &[&["listen"], words].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Listening { child, lines }
    }

    #[track_caller]
    fn line(&self) -> Value {
        let line = self.lines.recv_timeout(Duration::from_secs(30)).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// SIGTERM, and what it ends with.
    fn end(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    fn wait(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut err = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut err).unwrap();
        (status.code(), err)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn topic_of(conversation: &str) -> String {
    format!("v2.detail.events.conversation.{conversation}.acw")
}

#[test]
fn listen_prints_each_notification_on_a_line_until_it_is_stopped() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let (id, other) = (platform.conversation(), platform.conversation());
    let topics = [topic_of(&id), topic_of(&other)];
    let quiet = Listening::start(&setup, &["--topic", &topics[0], &topics[1]]);
    wait_for("topics", || {
        match platform.subscribed(&id) && platform.subscribed(&other) {
            true => Ok(()),
            false => Err("not subscribed"),
        }
    });
    for id in [&id, &other] {
        platform.act(id, "finish", json!({}));
        let line = quiet.line();
        assert_eq!(line["eventBody"]["conversationId"], **id, "{line}");
        assert!(line["topicName"].as_str().unwrap().contains(id.as_str()));
        assert_eq!(line["version"], "2");
    }
    let (code, err) = quiet.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn with_all_it_also_prints_what_is_live_and_what_was_missed() {
    let (platform, history) = (Platform::start(), History::start());
    let setup = Setup::new(&platform, &history);
    let topic = topic_of(&platform.conversation());
    let all = Listening::start(&setup, &["--all", "--topic", &topic]);
    let until = |name: &str| loop {
        let line = all.line();
        if !line[name].is_null() {
            return line;
        }
    };
    assert_eq!(until("live")["live"], json!([topic]));
    platform.fault(json!({"fault": "drop-socket", "channel": "all"}));
    let gap = until("gap");
    assert_eq!(gap["gap"], json!([topic]));
    assert!(
        gap["since"].is_string() && gap["cause"].is_string(),
        "{gap}"
    );
    until("live");
    assert_eq!(all.end().0, Some(0));
}

#[test]
fn what_keeps_it_from_listening_is_said() {
    let (platform, history) = (Platform::start(), History::start());
    let mut setup = Setup::new(&platform, &history);
    let mut refused = Listening::start(&setup, &["--topic", "v2.nothing.of.the.kind"]);
    let (code, err) = refused.wait();
    assert_eq!(code, Some(69), "{err}");
    assert!(err.contains("v2.nothing.of.the.kind"), "{err}");
    let ended = setup.ends(&["listen", "--topic", "a b"]).expect(64);
    assert!(ended.log.contains("topic"), "{}", ended.log);
    setup.set("genesys", "region = 7");
    setup.ends(&["listen", "--topic", "t"]).expect(78);
}
