//! What the crash loop and the capacity tests share: the real binary as a child
//! process, a caller, and a way to wait with a deadline.
//!
//! Invariant: no child outlives the test that started it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use simulator::Running;

/// Long enough for any machine, short enough to fail in.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
///
/// # Panics
/// When the deadline passes.
pub(crate) fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            patience.as_secs()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number in the environment"))
}

/// The configuration of a gateway in `directory` that talks to this platform and
/// this history manager; `more` is added to it. Gives the path of the file.
pub(crate) fn configure(
    directory: &Path,
    platform: &Running,
    history_url: &str,
    more: &[(&str, &str)],
) -> PathBuf {
    let secret = directory.join("client-secret");
    std::fs::write(&secret, &platform.client_secret).unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let mut text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[status]\nlisten = \"127.0.0.1:0\"\n\
         [genesys]\nlogin-url = \"{}\"\napi-url = \"{}\"\n\
         [genesys.oauth]\ngrant = \"client-credentials\"\nclient-id = \"{}\"\n\
         client-secret-file = \"{}\"\n\
         [store]\npath = \"{}\"\n\
         [history]\nurl = \"{history_url}\"\n",
        platform.login_url,
        platform.api_url,
        platform.client_id,
        secret.display(),
        directory.join("gateway.db").display(),
    );
    for (table, lines) in more {
        if *table == "history" {
            text.push_str(lines);
        }
    }
    for (table, lines) in more {
        if *table != "history" {
            text.push_str(&format!("\n[{table}]\n{lines}"));
        }
    }
    let path = directory.join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The gateway as a child process.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    log_from: u64,
}

/// Where a daemon listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    /// For callers.
    pub(crate) http: SocketAddr,
    /// For operators.
    pub(crate) status: SocketAddr,
}

/// The binary under test: the one built with this test, or `GATEWAY_BINARY`.
fn binary() -> PathBuf {
    std::env::var_os("GATEWAY_BINARY").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_genesys-gateway")),
        PathBuf::from,
    )
}

impl Daemon {
    /// Starts it; what it says is added to `log`.
    pub(crate) fn start(config: &Path, log: &Path) -> Daemon {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let log_from = out.metadata().unwrap().len();
        let child = Command::new(binary())
            .args(["run", "--config"])
            .arg(config)
            .env(
                "RUST_LOG",
                std::env::var("GATEWAY_LOG").unwrap_or("info".into()),
            )
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap();
        Daemon {
            child,
            log: log.to_owned(),
            log_from,
        }
    }

    /// Where it listens, once it has said so.
    pub(crate) fn doors(&self) -> Option<Doors> {
        let said = self.said();
        let line = said.lines().find(|l| l.contains(" is up; callers on "))?;
        let address = |after: &str| {
            let rest = line.split_once(after)?.1;
            rest.split([',', ' ']).next()?.parse().ok()
        };
        Some(Doors {
            http: address("callers on ")?,
            status: address("operators on ")?,
        })
    }

    /// Waits until it listens.
    pub(crate) fn up(&mut self) -> Doors {
        until("the gateway is up", PATIENCE, || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the gateway ended with {status}:\n{}", self.said());
            }
            self.doors()
        })
    }

    /// What it has said since it was started.
    pub(crate) fn said(&self) -> String {
        let mut text = Vec::new();
        let mut file = File::open(&self.log).unwrap();
        io::Seek::seek(&mut file, io::SeekFrom::Start(self.log_from)).unwrap();
        file.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Set if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; how it ended, and how long that took.
    pub(crate) fn stop(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = until("the gateway has stopped", PATIENCE, || {
            self.child.try_wait().unwrap()
        });
        (status, began.elapsed())
    }

    /// Memory and processor time so far.
    pub(crate) fn usage(&self) -> Usage {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let kib = |name: &str| -> u64 {
            status
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .and_then(|l| l.split_whitespace().next())
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name in brackets may hold anything; utime and stime are the 12th and 13th after it.
        let after = stat.rsplit_once(") ").unwrap().1;
        let ticks: u64 = after
            .split(' ')
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        // Linux counts in hundredths of a second in this file, whatever the kernel's own tick is.
        let per_second = 100;
        Usage {
            resident_kib: kib("VmRSS:"),
            peak_kib: kib("VmHWM:"),
            threads: kib("Threads:"),
            processor: Duration::from_millis(ticks * 1000 / per_second),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Memory in use, in KiB.
    pub(crate) resident_kib: u64,
    /// The most it was, in KiB.
    pub(crate) peak_kib: u64,
    /// Threads.
    pub(crate) threads: u64,
    /// Processor time, user and system.
    pub(crate) processor: Duration,
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} MiB resident (most {:.1}), {} threads, {:.2} s of processor time",
            self.resident_kib as f64 / 1024.0,
            self.peak_kib as f64 / 1024.0,
            self.threads,
            self.processor.as_secs_f64()
        )
    }
}

/// A caller on one connection that is kept.
pub(crate) struct Caller {
    at: SocketAddr,
    stream: Option<TcpStream>,
    patience: Duration,
}

impl Caller {
    /// Nothing is connected yet.
    pub(crate) fn new(at: SocketAddr) -> Caller {
        Caller {
            at,
            stream: None,
            patience: Duration::from_secs(15),
        }
    }

    /// One request; after an error the next one connects anew.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.at, self.patience)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                stream
            }
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}");
        if !body.is_empty() {
            request.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        stream.write_all(&bytes)?;
        let (status, body, keep) = read_answer(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok((status, body))
    }

    /// A `POST` of JSON.
    pub(crate) fn post(
        &mut self,
        path: &str,
        headers: &str,
        body: &str,
    ) -> io::Result<(u16, Value)> {
        let (status, body) = self.ask("POST", path, headers, body.as_bytes())?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// A `GET` of JSON.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<(u16, Value)> {
        let (status, body) = self.ask("GET", path, "", b"")?;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_answer(stream: &mut TcpStream) -> io::Result<(u16, Vec<u8>, bool)> {
    let mut got = Vec::new();
    let mut buffer = [0u8; 16 * 1024];
    let head_end = loop {
        if let Some(at) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => got.extend_from_slice(&buffer[..n]),
        }
    };
    let head = String::from_utf8_lossy(&got[..head_end]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| garbled("no status"))?;
    let header = |name: &str| {
        head.lines()
            .find_map(|l| l.strip_prefix(name))
            .map(|v| v.trim_start_matches(':').trim().to_owned())
    };
    let length: usize = header("content-length")
        .and_then(|l| l.parse().ok())
        .ok_or_else(|| garbled("no length"))?;
    let mut body = got.split_off(head_end);
    while body.len() < length {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => body.extend_from_slice(&buffer[..n]),
        }
    }
    Ok((
        status,
        body,
        header("connection").as_deref() != Some("close"),
    ))
}
