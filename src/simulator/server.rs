//! The model behind real sockets: listeners, the lock, the timer.
//!
//! The model sits behind a mutex, which the gateway itself would not allow:
//! this is a tool for trying the gateway, and one lock keeps it simple.
//!
//! Invariant: whoever has called the model drains it before letting go of the
//! lock; nothing is sent to a socket while the lock is held, only queued.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::connections::admit;
use super::history::History;
use super::model::{ControlError, Platform, Settings, SocketId, SocketOut};
use base::time::{Mono, Now, Wall};
use base::wire::{Request, Response};

/// Things queued for one socket; beyond it the socket is reset.
const SOCKET_QUEUE: usize = 65_536;
/// How long `stop` waits for connection threads.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How to start a simulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port of REST, OAuth and WebSocket on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Port of the control interface on 127.0.0.1; 0 takes a free one.
    pub control_port: u16,
    /// The platform; its base addresses are set to the ports.
    pub settings: Settings,
    /// How many times faster than the clock the platform's time runs; 1 at least.
    pub time_scale: u32,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            port: 0,
            control_port: 0,
            settings: Settings::default(),
            time_scale: 1,
            seed: 1,
        }
    }
}

struct Handle {
    queue: Sender<SocketOut>,
    wake: Arc<OwnedFd>,
}

/// A socket, what is queued for it, and the bell of its thread.
pub(super) type Entered = (SocketId, Receiver<SocketOut>, Arc<OwnedFd>);

pub(super) struct Core {
    pub(super) platform: Platform,
    handles: BTreeMap<SocketId, Handle>,
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) core: Mutex<Core>,
    timer: Condvar,
    /// What a reset begins with.
    settings: Settings,
    seed: u64,
    resets: AtomicU64,
    began: Instant,
    /// How far the platform's time was advanced, in milliseconds.
    ahead: AtomicU64,
    wall_began: i64,
    scale: u64,
    stopping: AtomicBool,
    stop_gate: Mutex<()>,
    stop_bell: Condvar,
    stop_wake: OwnedFd,
    pub(super) connections: AtomicUsize,
    pub(super) streams: Mutex<BTreeMap<u64, TcpStream>>,
    pub(super) next_stream: AtomicUsize,
    pub(super) history: History,
}

/// Ignores poison: a panic elsewhere must not hide behind a second one here.
pub(super) fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Both clocks of the platform.
    pub(super) fn now(&self) -> Now {
        let passed = base::time::millis(self.began.elapsed())
            .saturating_mul(self.scale)
            .saturating_add(self.ahead.load(Ordering::Acquire));
        Now {
            mono: Mono(passed),
            wall: Wall(self.wall_began.saturating_add_unsigned(passed)),
        }
    }

    /// Makes it so late; time never goes back.
    pub(super) fn leap(&self, until: Mono) {
        let by = until.0.saturating_sub(self.now().mono.0);
        self.ahead.fetch_add(by, Ordering::AcqRel);
    }

    /// The platform as it was at the start, for whoever holds the one before. Nothing that was
    /// given out there is given out again.
    pub(super) fn fresh(&self, before: &Platform) -> Platform {
        let n = self.resets.fetch_add(1, Ordering::AcqRel) + 1;
        let seed = self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Platform::new(self.settings.clone(), seed).in_place_of(before)
    }

    /// Something may be due sooner.
    pub(super) fn timer_rings(&self) {
        self.timer.notify_one();
    }

    /// Calls the model and carries out what it says.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Platform, Now) -> T) -> T {
        let mut core = hold(&self.core);
        let now = self.now();
        let result = f(&mut core.platform, now);
        core.drain();
        drop(core);
        self.timer.notify_one();
        result
    }

    /// Lets every socket look at the model again: silence may have begun or ended.
    pub(super) fn wake_sockets(&self) {
        for handle in hold(&self.core).handles.values() {
            ring(&handle.wake);
        }
    }

    pub(super) fn is_silent(&self, socket: SocketId) -> bool {
        hold(&self.core).platform.is_silent(socket)
    }

    pub(super) fn frame(&self, socket: SocketId, text: &str) {
        self.with(|p, now| p.frame(socket, text, now));
    }

    pub(super) fn ping(&self, socket: SocketId, payload: &[u8]) {
        self.with(|p, now| p.ping(socket, payload, now));
    }

    pub(super) fn closed(&self, socket: SocketId) {
        self.with(|p, now| p.closed(socket, now));
    }

    /// Opens a socket on a channel, or gives the refusal.
    pub(super) fn enter(&self, path: &str) -> Result<Entered, Response> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|_| Response::empty(503))?;
        let wake = Arc::new(wake);
        let (sender, queue) = bounded(SOCKET_QUEUE);
        let mut core = hold(&self.core);
        let now = self.now();
        let entered = core.platform.upgrade(path, now);
        if let Ok(socket) = &entered {
            let handle = Handle {
                queue: sender,
                wake: Arc::clone(&wake),
            };
            core.handles.insert(*socket, handle);
        }
        core.drain();
        drop(core);
        self.timer.notify_one();
        entered.map(|socket| (socket, queue, wake))
    }

    /// Forgets the way to a socket whose thread ends.
    pub(super) fn leave(&self, socket: SocketId) {
        hold(&self.core).handles.remove(&socket);
    }

    /// Sleeps in the platform's time; false if the simulator stops meanwhile.
    pub(super) fn sleep(&self, d: Duration) -> bool {
        let until = Instant::now() + d / u32::try_from(self.scale).unwrap_or(u32::MAX);
        let mut gate = hold(&self.stop_gate);
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            gate = self
                .stop_bell
                .wait_timeout(gate, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        false
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl Core {
    fn drain(&mut self) {
        self.drain_but(|_| false);
    }

    /// Another platform; whoever is connected is cut off.
    pub(super) fn replace(&mut self, platform: Platform) {
        self.platform = platform;
        for (socket, handle) in std::mem::take(&mut self.handles) {
            // A queue that is full ends with its sender.
            let _ = handle.queue.try_send(SocketOut::Reset { socket });
            ring(&handle.wake);
        }
    }

    /// Carries out what the model says, but for what is left out.
    pub(super) fn drain_but(&mut self, mut left_out: impl FnMut(&SocketOut) -> bool) {
        while let Some(out) = self.platform.poll() {
            if left_out(&out) {
                continue;
            }
            let (socket, last) = match &out {
                SocketOut::Frame { socket, .. } | SocketOut::Pong { socket, .. } => {
                    (*socket, false)
                }
                SocketOut::Close { socket, .. } | SocketOut::Reset { socket } => (*socket, true),
            };
            let Some(handle) = self.handles.get(&socket) else {
                continue;
            };
            if handle.queue.try_send(out).is_err() {
                // The client does not read: its thread sees the queue's end and goes.
                ring(&handle.wake);
                self.handles.remove(&socket);
                continue;
            }
            ring(&handle.wake);
            if last {
                self.handles.remove(&socket);
            }
        }
    }
}

fn ring(wake: &OwnedFd) {
    // A full counter is a ring as well.
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// A simulator that runs.
pub struct Running {
    /// Base address of REST, without a slash at the end.
    pub api_url: String,
    /// Base address of OAuth; the same port.
    pub login_url: String,
    /// Base address of the control interface.
    pub control_url: String,
    /// Id of the OAuth client.
    pub client_id: String,
    /// Secret of the OAuth client.
    pub client_secret: String,
    /// Short name of the organisation.
    pub org_name: String,
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Locked access to the model for tests in the same process.
pub struct Model<'a> {
    core: MutexGuard<'a, Core>,
    shared: &'a Shared,
}

impl Model<'_> {
    /// The platform, to look at.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.core.platform
    }

    /// Calls the platform at its present time, and carries out what it says.
    pub fn with<T>(&mut self, f: impl FnOnce(&mut Platform, Now) -> T) -> T {
        let now = self.shared.now();
        let result = f(&mut self.core.platform, now);
        self.core.drain();
        for handle in self.core.handles.values() {
            ring(&handle.wake);
        }
        self.shared.timer.notify_one();
        result
    }
}

impl Running {
    /// The model, locked until the result is dropped.
    #[must_use]
    pub fn model(&self) -> Model<'_> {
        Model {
            core: hold(&self.shared.core),
            shared: &self.shared,
        }
    }

    /// Makes a channel as a client would, and gives its `connectUri`: for whoever tries a client
    /// that has neither token nor REST.
    ///
    /// # Errors
    /// The platform refuses: switches and faults count here, too.
    pub fn make_channel(&self) -> Result<String, ControlError> {
        let ask = |url: String, authorization: String, form: bool| {
            let kind = match form {
                true => "application/x-www-form-urlencoded",
                false => "application/json",
            };
            let request = Request {
                method: "POST",
                url,
                headers: vec![
                    ("Authorization".into(), authorization),
                    ("Content-Type".into(), kind.into()),
                ],
                body: match form {
                    true => b"grant_type=client_credentials".to_vec(),
                    false => Vec::new(),
                },
            };
            let answer = self.model().with(|p, now| p.http(&request, now));
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            match answer.status {
                200 => Ok(json),
                status => Err(ControlError::Conflict(format!("{status}: {json}"))),
            }
        };
        let pair = STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
        let token = ask(
            format!("{}/oauth/token", self.login_url),
            format!("Basic {pair}"),
            true,
        )?;
        let bearer = format!(
            "Bearer {}",
            token["access_token"].as_str().unwrap_or_default()
        );
        let url = format!("{}/api/v2/notifications/channels", self.api_url);
        let channel = ask(url, bearer, false)?;
        let uri = channel["connectUri"].as_str();
        uri.map(str::to_owned)
            .ok_or_else(|| ControlError::Conflict(channel.to_string()))
    }

    /// Closes everything and waits for the threads, a few seconds at most.
    pub fn stop(mut self) {
        self.shut();
    }

    fn shut(&mut self) {
        {
            let _gate = hold(&self.shared.stop_gate);
            self.shared.stopping.store(true, Ordering::Release);
        }
        self.shared.stop_bell.notify_all();
        self.shared.timer.notify_all();
        ring(&self.shared.stop_wake);
        for stream in hold(&self.shared.streams).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let until = Instant::now() + STOP_WAIT;
        while self.shared.connections.load(Ordering::Acquire) > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Starts a simulator on loopback.
///
/// # Errors
/// A port cannot be bound, or a thread not be started.
pub fn start(options: Options) -> io::Result<Running> {
    let bind = |port: u16| -> io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, 1024)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (api, api_address) = bind(options.port)?;
    let (control, control_address) = bind(options.control_port)?;
    let mut settings = options.settings;
    settings.api_url = format!("http://{api_address}");
    settings.login_url = settings.api_url.clone();
    settings.ws_url = format!("ws://{api_address}");
    let control_url = format!("http://{control_address}");
    let shared = Arc::new(Shared {
        core: Mutex::new(Core {
            platform: Platform::new(settings.clone(), options.seed),
            handles: BTreeMap::new(),
        }),
        timer: Condvar::new(),
        settings: settings.clone(),
        seed: options.seed,
        resets: AtomicU64::new(0),
        ahead: AtomicU64::new(0),
        began: Instant::now(),
        wall_began: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|d| i64::try_from(d.as_millis()).ok())
            .unwrap_or(0),
        scale: u64::from(options.time_scale.max(1)),
        stopping: AtomicBool::new(false),
        stop_gate: Mutex::new(()),
        stop_bell: Condvar::new(),
        stop_wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        connections: AtomicUsize::new(0),
        streams: Mutex::new(BTreeMap::new()),
        next_stream: AtomicUsize::new(0),
        history: History::default(),
    });
    let mut running = Running {
        api_url: settings.api_url.clone(),
        login_url: settings.login_url.clone(),
        control_url: control_url.clone(),
        client_id: settings.client_id.clone(),
        client_secret: settings.client_secret.expose().to_owned(),
        org_name: settings.org_name.clone(),
        shared: Arc::clone(&shared),
        threads: Vec::new(),
    };
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.into()).spawn(body)
    };
    let timer = Arc::clone(&shared);
    running.threads.push(spawn(
        "simulator-timer",
        Box::new(move || run_timer(&timer)),
    )?);
    let base = settings.api_url;
    for (name, listener, base, port) in [
        ("simulator-api", api, base, Port::Api),
        ("simulator-control", control, control_url, Port::Control),
    ] {
        let shared = Arc::clone(&shared);
        let accept = move || accept(&listener, &shared, &Arc::from(base), port);
        running.threads.push(spawn(name, Box::new(accept))?);
    }
    Ok(running)
}

/// Ticks the model when something is due.
fn run_timer(shared: &Shared) {
    let mut core = hold(&shared.core);
    while !shared.is_stopping() {
        let now = shared.now();
        core.platform.tick(now);
        core.drain();
        let wait = match core.platform.next_deadline() {
            // At least a millisecond: a deadline may fall between two of them.
            Some(at) => (at.since(now.mono) / u32::try_from(shared.scale).unwrap_or(u32::MAX))
                .max(Duration::from_millis(1)),
            None => Duration::from_secs(1),
        };
        core = shared
            .timer
            .wait_timeout(core, wait.min(Duration::from_secs(1)))
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

/// Which port a connection came to.
#[derive(Clone, Copy)]
pub(super) enum Port {
    Api,
    Control,
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, base: &Arc<str>, port: Port) {
    while !shared.is_stopping() {
        let mut fds = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(&shared.stop_wake, PollFlags::IN),
        ];
        let _ = poll(&mut fds, None);
        match listener.accept() {
            Ok((stream, _)) => admit(stream, shared, base, port),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // Out of descriptors or the like: others may close meanwhile.
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
