//! The HTTP server behind its gate, and its workers: the one file that knows
//! `tiny_http`.
//!
//! The server listens on a unix socket in a directory that only this user may
//! enter. Should its accept loop end all the same (it does at the first error),
//! a new server takes its place under the same name.
//!
//! Invariants: a request whose deadline has passed is dropped unread, so the
//! server's queue empties itself; a request that did not come through the gate is
//! refused; every reply declares its length.

use std::io::{self, Cursor, Read};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tiny_http::{Header, Request, Response, Server, StatusCode};

use super::cors::Origins;
use super::exchange::{Exchange, Reply};
use crate::shell::gate::{
    self, Gate, GateCounts, GateLimits, GateSettings, Held, Listener, Reception, Welcome,
};
use crate::shell::private::PrivateDirectory;
use crate::shell::server_tls::ServerTls;

const BETWEEN_REBUILDS: Duration = Duration::from_millis(100);
const BACKEND_BACKLOG: i32 = 1024;

/// Gives counts of refused requests: listener, cause, how many.
pub type Refusals = Box<dyn Fn() -> Vec<(&'static str, &'static str, u64)> + Send>;

/// The causes behind the gate, by status; the last one is for every other status from 400 on.
const REFUSED: [(u16, &str); 10] = [
    (400, "malformed"),
    (401, "unauthorized"),
    (404, "not-found"),
    (405, "method"),
    (409, "conflict"),
    (415, "media-type"),
    (422, "unprocessable"),
    (503, "unavailable"),
    (504, "outcome-unknown"),
    (0, "other"),
];

/// What answers requests; called by several threads at once.
pub trait Handler: Send + Sync {
    /// What can be answered by the head alone: refusals that no body can change, and
    /// what must not depend on a worker (health). The body of the exchange is empty.
    /// Called on the connection's own thread; must not wait.
    fn at_head(&self, x: &Exchange) -> Option<Reply>;

    /// What a request has to wait for, if it has to; it goes on once that is there. Called and
    /// bound as [`at_head`](Handler::at_head), of requests that it let pass.
    fn hold(&self, _x: &Exchange) -> Option<Box<dyn Held>> {
        None
    }

    /// Answers a whole request that [`at_head`](Handler::at_head) let pass.
    fn answer(&self, x: &Exchange) -> Reply;
}

/// What a served listener needs to start.
#[derive(Debug)]
pub struct ServedSettings {
    /// The public listener, bound already.
    pub listener: Listener,
    /// TLS; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// Name of its threads and log lines.
    pub name: &'static str,
    /// Bounds of its gate.
    pub limits: GateLimits,
    /// Threads that answer. With one for each request that the gate lets in, nobody waits
    /// behind those who wait for the store.
    pub workers: usize,
    /// Where the private directory is made; the system's place for temporary
    /// files if there is none better. Short: a socket path has 107 bytes at most.
    pub private_parent: Option<PathBuf>,
    /// Origins whose pages may read what is refused before it gets to the handler.
    pub origins: Origins,
}

/// A listener at work.
pub struct Served {
    gate: Option<Gate>,
    pool: Arc<Pool>,
    workers: usize,
    /// Disconnected once every worker has ended.
    ended: Receiver<()>,
}

impl Served {
    /// Starts server, workers and gate, in this order.
    ///
    /// # Errors
    /// The environment: no directory, socket or thread.
    pub fn start(settings: ServedSettings, handler: &Arc<dyn Handler>) -> io::Result<Served> {
        let ServedSettings {
            listener,
            tls,
            name,
            limits,
            workers,
            private_parent,
            origins,
        } = settings;
        let directory = PrivateDirectory::make(
            &private_parent.unwrap_or_else(std::env::temp_dir),
            "genesys-gateway",
        )?;
        let pool = Arc::new(Pool {
            name,
            current: Mutex::new((0, build(directory.path(), 0)?)),
            directory,
            body_max: limits.body_bytes,
            workers,
            stop: AtomicBool::new(false),
            refused: Default::default(),
        });
        let (alive, ended) = crossbeam_channel::bounded(0);
        // From here on, leaving early ends what has been started.
        let mut served = Served {
            gate: None,
            pool: Arc::clone(&pool),
            workers,
            ended,
        };
        for n in 0..workers {
            let pool = Arc::clone(&pool);
            let handler = Arc::clone(handler);
            let alive: Sender<()> = alive.clone();
            Builder::new().name(format!("{name}-{n}")).spawn(move || {
                let _alive = alive;
                pool.work(&*handler);
            })?;
        }
        served.gate = Some(Gate::start(GateSettings {
            listener,
            tls,
            backend: pool.directory.path().join(SOCKET),
            name,
            limits,
            origins,
            reception: {
                let (pool, handler) = (Arc::clone(&pool), Arc::clone(handler));
                Reception(Arc::new(move |x| match handler.at_head(x) {
                    Some(reply) => {
                        pool.count(reply.status);
                        Welcome::Answered(reply)
                    }
                    None => handler.hold(x).map_or(Welcome::Passed, Welcome::Held),
                }))
            },
        })?);
        Ok(served)
    }

    /// What the gate has done so far.
    #[must_use]
    pub fn counts(&self) -> GateCounts {
        self.gate.as_ref().map(Gate::counts).unwrap_or_default()
    }

    /// Counts of requests that were refused, by the gate or behind it: the listener's name,
    /// the cause from a closed list, how many. For the metrics.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let counter = self.gate.as_ref().map(Gate::counter);
        let pool = Arc::clone(&self.pool);
        Box::new(move || {
            let gate = counter.as_ref().map(|c| c()).unwrap_or_default();
            let known = gate.too_large + gate.late + gate.without_length + gate.no_memory;
            // Read one after the other, they may be a request apart.
            let not_clean = gate.refused.saturating_sub(known);
            let behind = REFUSED
                .iter()
                .zip(&pool.refused)
                .map(|((_, cause), n)| (*cause, n.load(Ordering::Relaxed)));
            [
                ("no-room", gate.turned_away),
                ("not-clean", not_clean),
                ("too-large", gate.too_large),
                ("late", gate.late),
                ("no-length", gate.without_length),
                ("no-memory", gate.no_memory),
                ("made-room", gate.sent_away),
                ("no-answer", gate.unanswered),
            ]
            .into_iter()
            .chain(behind)
            .map(|(cause, n)| (pool.name, cause, n))
            .collect()
        })
    }

    /// Stops taking connections, answers what is under way, ends the workers; all
    /// within `grace`. Gives the number of connections that were still open.
    pub fn stop(mut self, grace: Duration) -> usize {
        let deadline = Instant::now() + grace;
        let left = self.gate.take().map_or(0, |gate| gate.stop(grace));
        self.pool.halt(self.workers);
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_deadline(deadline) {
            log::warn!("{}: a worker is still busy", self.pool.name);
        }
        left
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.gate.take());
        self.pool.halt(self.workers);
    }
}

/// The name that the gate connects to: a link to the socket of the present server.
const SOCKET: &str = "http.sock";

struct Pool {
    name: &'static str,
    /// The present server, and which one it is.
    current: Mutex<(u64, Arc<Server>)>,
    /// After the server, which removes its own socket when it goes.
    directory: PrivateDirectory,
    body_max: u64,
    workers: usize,
    stop: AtomicBool,
    /// Counts of [`REFUSED`].
    refused: [AtomicU64; REFUSED.len()],
}

fn build(directory: &Path, generation: u64) -> io::Result<Arc<Server>> {
    let name = format!("http-{generation}.sock");
    let listener = UnixListener::bind(directory.join(&name))?;
    rustix::net::listen(&listener, BACKEND_BACKLOG)?;
    let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
    let link = directory.join("next");
    std::os::unix::fs::symlink(&name, &link)?;
    std::fs::rename(&link, directory.join(SOCKET))?;
    Ok(Arc::new(server))
}

impl Pool {
    fn current(&self) -> (u64, Arc<Server>) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (current.0, Arc::clone(&current.1))
    }

    fn work(&self, handler: &dyn Handler) {
        while !self.stop.load(Ordering::Acquire) {
            let (generation, server) = self.current();
            // An error is either the call to end or the end of the server.
            while let Ok(request) = server.recv() {
                self.answer(request, handler);
            }
            while !self.stop.load(Ordering::Acquire) && !self.replace(generation) {
                std::thread::sleep(BETWEEN_REBUILDS);
            }
        }
    }

    /// Puts a new server in the place of the one numbered `generation`, unless
    /// another worker has done so; false if that is not possible now.
    fn replace(&self, generation: u64) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != generation {
            return true;
        }
        match build(self.directory.path(), generation + 1) {
            Ok(server) => {
                log::error!("{}: the server had ended; a new one serves", self.name);
                let old = std::mem::replace(&mut *current, (generation + 1, server));
                // Each call wakes one worker.
                (0..self.workers).for_each(|_| old.1.unblock());
                true
            }
            Err(e) => {
                log::error!(
                    "{}: the server has ended and a new one cannot start: {e}",
                    self.name
                );
                let link = self.directory.path().join("next");
                let _ = std::fs::remove_file(link);
                let name = format!("http-{}.sock", generation + 1);
                let _ = std::fs::remove_file(self.directory.path().join(name));
                false
            }
        }
    }

    fn halt(&self, workers: usize) {
        self.stop.store(true, Ordering::Release);
        let (_, server) = self.current();
        (0..workers).for_each(|_| server.unblock());
    }

    /// Counts an answer if it refuses.
    fn count(&self, status: u16) {
        if status < 400 {
            return;
        }
        let known = REFUSED.iter().position(|(of, _)| *of == status);
        if let Some(count) = self.refused.get(known.unwrap_or(REFUSED.len() - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, mut request: Request, handler: &dyn Handler) {
        let field = |request: &Request, name: &str| {
            request
                .headers()
                .iter()
                .find(|h| h.field.as_str().as_str().eq_ignore_ascii_case(name))
                .map(|h| h.value.as_str().to_owned())
        };
        let reply = match (
            field(&request, gate::PEER_FIELD),
            field(&request, gate::DEADLINE_FIELD),
        ) {
            (Some(peer), Some(deadline)) if !gate::is_past(&deadline) => {
                match read(&mut request, &peer, self.body_max) {
                    Some(exchange) => handler.answer(&exchange),
                    None => Reply::empty(400),
                }
            }
            (Some(_), Some(_)) => Reply::empty(503),
            _ => Reply::empty(403),
        };
        self.count(reply.status);
        if let Err(e) = request.respond(response(reply)) {
            log::debug!("{}: an answer could not be handed over: {e}", self.name);
        }
    }
}

fn read(request: &mut Request, peer: &str, body_max: u64) -> Option<Exchange> {
    let declared = u64::try_from(request.body_length().unwrap_or(0)).ok()?;
    let mut body = Vec::new();
    if declared > 0 {
        request
            .as_reader()
            .take(body_max)
            .read_to_end(&mut body)
            .ok()?;
    }
    // A body that breaks off means that the gate has given up.
    if u64::try_from(body.len()).ok()? != declared {
        return None;
    }
    let url = request.url();
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let exchange = Exchange {
        method: request.method().as_str().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: request
            .headers()
            .iter()
            .map(|h| (h.field.to_string(), h.value.to_string()))
            .collect(),
        body,
        ..Exchange::default()
    };
    Some(exchange.of_peer(peer))
}

fn response(reply: Reply) -> Response<Cursor<std::borrow::Cow<'static, [u8]>>> {
    let length = reply.body.len();
    let headers = reply
        .headers
        .iter()
        // A value that is not ASCII, or that would break the head, is left out.
        .filter(|(_, v)| v.bytes().all(|b| matches!(b, b' '..=b'~')))
        .filter_map(|(n, v)| Header::from_bytes(n.as_bytes(), v.as_bytes()).ok())
        .collect();
    Response::new(
        StatusCode(reply.status),
        headers,
        Cursor::new(reply.body),
        Some(length),
        None,
    )
    .with_chunked_threshold(usize::MAX)
}

/// A directory that only this user may enter, removed when dropped.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_server_takes_the_place_of_one_that_ended() {
        let parent = tempfile::tempdir().unwrap();
        let directory = PrivateDirectory::make(parent.path(), "test").unwrap();
        let pool = Pool {
            name: "test",
            current: Mutex::new((0, build(directory.path(), 0).unwrap())),
            directory,
            body_max: 10,
            workers: 1,
            stop: AtomicBool::new(false),
            refused: Default::default(),
        };
        let (_, old) = pool.current();
        assert!(pool.replace(0));
        assert!(old.recv().is_err(), "the workers of the old one are woken");
        drop(old);
        assert!(pool.replace(0), "a second worker finds the work done");
        let (generation, server) = pool.current();
        assert_eq!(generation, 1);
        let mut s =
            std::os::unix::net::UnixStream::connect(pool.directory.path().join(SOCKET)).unwrap();
        io::Write::write_all(&mut s, b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let got = server.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(got.is_some());
    }
}
