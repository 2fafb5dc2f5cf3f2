//! The real gateway in a process of its own, and what the kernel says of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::platform::Platform;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_genesys-gateway");

pub(crate) struct Daemon {
    child: Child,
    pub(crate) intake: String,
    status: String,
    /// When it was started.
    pub(crate) began: Instant,
}

/// Writes the configuration into the directory; `more` are whole sections or `history` lines.
pub(crate) fn configure(at: &Path, platform: &Platform, history: &str, history_lines: &str) {
    std::fs::write(at.join("secret"), &platform.secret).unwrap();
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[status]\nlisten = \"127.0.0.1:0\"\n\
         [genesys]\nlogin-url = \"{}\"\napi-url = \"{}\"\n\
         [genesys.oauth]\ngrant = \"client-credentials\"\nclient-id = \"{}\"\n\
         client-secret-file = \"secret\"\n\
         [history]\nurl = \"{history}\"\n{history_lines}\n[store]\npath = \"gateway.db\"\n",
        platform.login, platform.api, platform.id
    );
    std::fs::write(at.join("gateway.toml"), text).unwrap();
}

impl Daemon {
    pub(crate) fn start(at: &Path) -> Daemon {
        let began = Instant::now();
        let mut child = Command::new(BINARY)
            .args(["--config", "gateway.toml", "run"])
            .current_dir(at)
            .env("RUST_LOG", "info")
            .env_remove("STATE_DIRECTORY")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let (intake, status) = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("the gateway ended:\n{said}"))
                .unwrap();
            if let Some((_, rest)) = line.split_once("callers on ") {
                let mut words = rest.split_whitespace();
                let mut address = || {
                    words
                        .find(|w| w.contains(':'))
                        .map(|w| w.trim_matches(|c: char| ",.;".contains(c)).to_owned())
                };
                break (address().unwrap(), address().unwrap());
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Its log is read on, so that it never has to wait for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Daemon {
            child,
            intake,
            status,
            began,
        }
    }

    pub(crate) fn status(&self) -> Value {
        let mut answer = ureq::get(format!("http://{}/status", self.status))
            .call()
            .unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    /// Waits until as many topics are live; how long after the start that was.
    pub(crate) fn wait_live(&self, count: u64, patience: Duration) -> Duration {
        let until = Instant::now() + patience;
        loop {
            let status = self.status();
            if status["topics"]["live"].as_u64().unwrap() >= count {
                return self.began.elapsed();
            }
            assert!(Instant::now() < until, "not live: {}", status["topics"]);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in MiB: now, and the most so far.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let of = |name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap();
            let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kib / 1024.0
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// Time on a processor so far, all threads that still live.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let mut ns = 0;
        for task in tasks {
            let at = task.unwrap().path().join("schedstat");
            if let Ok(text) = std::fs::read_to_string(at) {
                ns += text
                    .split_whitespace()
                    .next()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap();
            }
        }
        Duration::from_nanos(ns)
    }

    /// The share of one processor over a while in which nothing is asked of it.
    pub(crate) fn idle_share(&self, span: Duration) -> f64 {
        let (before, began) = (self.cpu(), Instant::now());
        std::thread::sleep(span);
        (self.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64()
    }

    /// As the power failing, for this process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
