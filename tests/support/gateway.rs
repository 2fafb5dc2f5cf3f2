//! The real binary with a configuration of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Answer};
use super::platform::Platform;
use super::wait::wait_for;
use super::{History, wait_within};

const BINARY: &str = env!("CARGO_BIN_EXE_genesys-gateway");

/// A directory with a configuration file, a database and secrets; outlives the
/// processes that run on it.
pub(crate) struct Setup {
    directory: Arc<TempDir>,
    sections: BTreeMap<String, Vec<String>>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Client credentials, free ports, the platform and the history manager given.
    pub(crate) fn new(platform: &Platform, history: &History) -> Setup {
        let mut setup = Setup::blank();
        setup.platform(platform);
        setup.set("history", &format!("url = \"{}\"", history.url));
        setup
    }

    /// Listeners and store only.
    pub(crate) fn blank() -> Setup {
        let mut setup = Setup {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            sections: BTreeMap::new(),
            environment: vec![("RUST_LOG".into(), "debug".into())],
        };
        setup.set("http", "listen = \"127.0.0.1:0\"");
        setup.set("status", "listen = \"127.0.0.1:0\"");
        setup.set("store", "path = \"gateway.db\"");
        setup
    }

    /// Client credentials at that platform.
    pub(crate) fn platform(&mut self, platform: &Platform) {
        let p = &platform.0;
        self.write("client-secret", &format!("{}\n", p.client_secret));
        self.set("genesys", &format!("api-url = \"{}\"", p.api_url));
        self.set("genesys", &format!("login-url = \"{}\"", p.login_url));
        self.set("genesys.oauth", "grant = \"client-credentials\"");
        self.set("genesys.oauth", &format!("client-id = \"{}\"", p.client_id));
        self.set("genesys.oauth", "client-secret-file = \"./client-secret\"");
    }

    /// One line of a section; a line that sets the same key before is replaced.
    pub(crate) fn set(&mut self, section: &str, line: &str) {
        let key = |line: &str| line.split('=').next().unwrap().trim().to_owned();
        let lines = self.sections.entry(section.to_owned()).or_default();
        lines.retain(|l| key(l) != key(line));
        lines.push(line.to_owned());
    }

    /// Takes a section out again.
    pub(crate) fn clear(&mut self, section: &str) {
        self.sections.remove(section);
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn toml(&self, status: Option<&str>) -> String {
        let mut text = String::new();
        for (section, lines) in &self.sections {
            text.push_str(&format!("[{section}]\n"));
            for line in lines {
                match status {
                    Some(at) if section == "status" && line.starts_with("listen") => {
                        text.push_str(&format!("listen = \"{at}\"\n"));
                    }
                    _ => text.push_str(&format!("{line}\n")),
                }
            }
        }
        text
    }

    pub(crate) fn command(&self, config: &str, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .arg("--config")
            .arg(self.path(config))
            .args(words)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        for name in [
            "CREDENTIALS_DIRECTORY",
            "STATE_DIRECTORY",
            "RUNTIME_DIRECTORY",
            "JOURNAL_STREAM",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
        ] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(n, v)| (n, v)));
        command
    }

    /// A word that ends by itself, on the configuration as it is.
    #[track_caller]
    pub(crate) fn ends(&self, words: &[&str]) -> Ended {
        self.write("gateway.toml", &self.toml(None));
        ended(self.command("gateway.toml", words))
    }

    /// The configuration as it is now, for a gateway that runs already.
    pub(crate) fn save(&self) {
        self.write("gateway.toml", &self.toml(None));
    }

    /// `run`, expected to be up within the usual patience.
    #[track_caller]
    pub(crate) fn start(&self) -> Gateway {
        self.write("gateway.toml", &self.toml(None));
        let mut child = self
            .command("gateway.toml", &["run"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().unwrap().push(line);
            }
        });
        let mut gateway = Gateway {
            child,
            log,
            _directory: Arc::clone(&self.directory),
            intake: String::new(),
            operators: String::new(),
        };
        let (intake, operators) = wait_for("the gateway to be up", || {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{}", gateway.log());
            }
            addresses(&gateway.lines()).ok_or("no line with the addresses")
        });
        // Operators' commands find the daemon by the configuration.
        self.write("operator.toml", &self.toml(Some(&operators)));
        gateway.intake = format!("http://{intake}");
        gateway.operators = format!("http://{operators}");
        gateway
    }

    /// An operator's word against the daemon that was started last.
    #[track_caller]
    pub(crate) fn operate(&self, words: &[&str]) -> Ended {
        ended(self.command("operator.toml", words))
    }

    /// Reads the database beside the gateway.
    pub(crate) fn database(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        rusqlite::Connection::open_with_flags(self.path("gateway.db"), flags).unwrap()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn addresses(lines: &[String]) -> Option<(String, String)> {
    let line = lines.iter().find(|l| l.contains("callers on "))?;
    let (callers, operators) = line
        .split_once("callers on ")?
        .1
        .split_once(", operators on ")?;
    Some((callers.to_owned(), operators.trim().to_owned()))
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) log: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

#[track_caller]
fn ended(mut command: Command) -> Ended {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let watch = Watch::begin(id);
    let Output {
        status,
        stdout,
        stderr,
    } = {
        let out = read_all(child.stdout.take().unwrap());
        let err = read_all(child.stderr.take().unwrap());
        let status = child.wait().unwrap();
        Output {
            status,
            stdout: out.join().unwrap(),
            stderr: err.join().unwrap(),
        }
    };
    watch.over();
    Ended {
        code: code_of(status),
        out: String::from_utf8(stdout).unwrap(),
        log: String::from_utf8(stderr).unwrap(),
    }
}

fn read_all(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// Kills a process of ours that does not end by itself.
struct Watch(std::sync::mpsc::Sender<()>);

impl Watch {
    fn begin(id: u32) -> Watch {
        let (over, waits) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let late = std::sync::mpsc::RecvTimeoutError::Timeout;
            if waits.recv_timeout(Duration::from_secs(60)) == Err(late) {
                signal(id, Signal::KILL);
            }
        });
        Watch(over)
    }

    fn over(self) {
        let _ = self.0.send(());
    }
}

fn signal(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).unwrap();
    let _ = kill_process(id, signal);
}

/// A gateway that runs; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Its database lives as long as it does.
    _directory: Arc<TempDir>,
    /// Base URL of the callers' listener.
    pub(crate) intake: String,
    /// Base URL of the operators' listener.
    pub(crate) operators: String,
}

impl Gateway {
    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// While its lock is held, nobody reads what the gateway writes to stderr.
    pub(crate) fn reader(&self) -> Arc<Mutex<Vec<String>>> {
        Arc::clone(&self.log)
    }

    /// All that was logged so far.
    pub(crate) fn log(&self) -> String {
        self.lines().join("\n")
    }

    /// Waits until a line with this text is there.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("a log line with {text:?}"), || {
            let lines = self.lines();
            let found = lines.iter().find(|l| l.contains(text));
            found.cloned().ok_or("none of the lines has it")
        })
    }

    /// Has it read its files again, and waits until it says what became of that.
    #[track_caller]
    pub(crate) fn sighup(&self) {
        let said = || {
            self.lines()
                .iter()
                .filter(|l| l.contains("reloaded"))
                .count()
        };
        let before = said();
        signal(self.child.id(), Signal::HUP);
        wait_for("the gateway to reload", || {
            if said() > before {
                Ok(())
            } else {
                Err("it says nothing of it")
            }
        });
    }

    /// Asks it to stop; gives exit code and time taken.
    #[track_caller]
    pub(crate) fn sigterm(&mut self) -> (i32, Duration) {
        let asked = Instant::now();
        signal(self.child.id(), Signal::TERM);
        let status = wait_within(Duration::from_secs(20), "the gateway to stop", || {
            self.child.try_wait().unwrap().ok_or("it still runs")
        });
        (code_of(status), asked.elapsed())
    }

    /// Waits until it ends by itself; gives the exit code.
    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> i32 {
        code_of(wait_for("the gateway to end", || {
            self.child.try_wait().unwrap().ok_or("it still runs")
        }))
    }

    /// Processor time so far.
    pub(crate) fn processor(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name in brackets may hold anything; utime and stime are the 12th and 13th after it.
        let after = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks: u64 = after
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        // Linux counts in hundredths of a second here, whatever the kernel's own tick is.
        Duration::from_millis(ticks * 10)
    }

    /// Ends it without a chance to say goodbye.
    pub(crate) fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn interactions(&self) -> String {
        format!("{}/customers/supportInteraction", self.intake)
    }

    pub(crate) fn interaction_url(&self, conversation: &str) -> String {
        format!("{}/{conversation}", self.interactions())
    }

    /// `POST` with just the id.
    #[track_caller]
    pub(crate) fn accept(&self, conversation: &str) -> Answer {
        let body = json!({"conversationId": conversation}).to_string();
        http::post_json(&self.interactions(), &body)
    }

    /// `GET` of an interaction that is known.
    #[track_caller]
    pub(crate) fn interaction(&self, conversation: &str) -> Value {
        http::get(&self.interaction_url(conversation))
            .expect(200)
            .json()
    }

    /// Waits until an interaction is in that state.
    #[track_caller]
    pub(crate) fn wait_state(&self, conversation: &str, state: &str) -> Value {
        wait_for(&format!("{conversation} to be {state}"), || {
            let seen = self.interaction(conversation);
            if seen["state"] == state {
                Ok(seen)
            } else {
                Err(seen.to_string())
            }
        })
    }

    /// Waits until its one record is in that state.
    #[track_caller]
    pub(crate) fn wait_record(&self, conversation: &str, state: &str) -> Value {
        wait_for(
            &format!("the record of {conversation} to be {state}"),
            || {
                let seen = self.interaction(conversation);
                match &seen["records"].as_array().unwrap()[..] {
                    [record] if record["state"] == state => Ok(record.clone()),
                    _ => Err(seen.to_string()),
                }
            },
        )
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        http::get(&format!("{}/status", self.operators))
            .expect(200)
            .json()
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        http::get(&format!("{}/metrics", self.operators))
            .expect(200)
            .text
    }

    /// The value of a series, written with its labels. What has never been counted has none.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let name = series.split('{').next().unwrap();
        let name = name.trim_end_matches("_count").trim_end_matches("_sum");
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "no {name} in:\n{text}"
        );
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn ready(&self) -> Answer {
        http::get(&format!("{}/readyz", self.operators))
    }

    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        wait_for("the gateway to be ready", || {
            let answer = self.ready();
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer)
            }
        });
    }

    /// An operator's act over HTTP.
    #[track_caller]
    pub(crate) fn act(&self, record: &str, act: &str) -> Answer {
        let url = format!("{}/records/{record}/{act}", self.operators);
        http::call("POST", &url, &[], Some(""))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let lines = self.lines();
            let from = lines.len().saturating_sub(80);
            eprintln!("--- the gateway's last lines ---");
            for line in &lines[from..] {
                eprintln!("{line}");
            }
        }
    }
}
