//! TCP to a peer, directly or through a proxy, for WebSockets and HTTP alike: name,
//! addresses, `CONNECT`, all under one deadline.
//!
//! Names are looked up on a thread of their own, because the system library knows no
//! deadline; addresses are tried by [`Race`], several at a time, by this thread alone.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::eyeballs::{ADDRESSES_MAX, Race};
use super::proxy::Proxy;
use super::unreached::{Unreached, cause_of_name, without_number};
use base::cause::Cause;
use proto::oauth::USER_AGENT;

/// The most bytes of a proxy's answer to `CONNECT`.
const PROXY_ANSWER_MAX: usize = 16 * 1024;

/// Names that are being looked up at a time: some may hang in the system library.
const LOOKUPS_MAX: usize = 32;

/// Names of which the last good address is remembered.
const REMEMBERED_MAX: usize = 64;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// How often somebody who may be let go looks whether he was.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Until when something may take, if nobody gives it up before.
#[derive(Clone, Debug)]
pub(super) struct Until {
    at: Instant,
    given_up: Arc<AtomicBool>,
}

impl Until {
    /// Until then, or until it is said that nobody waits for it any more.
    pub(super) fn new(at: Instant, given_up: Arc<AtomicBool>) -> Until {
        Until { at, given_up }
    }

    /// How long it may take yet.
    fn left(&self) -> Duration {
        match self.given_up.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => left(self.at),
        }
    }

    /// How long to wait at a time.
    fn patience(&self) -> Duration {
        self.left().min(LOOK_EVERY)
    }
}

/// Where to.
pub(super) struct Target<'a> {
    /// Name or address, without brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// As `CONNECT` wants it, with the brackets of an IPv6 address.
    pub(super) authority: &'a str,
}

/// Opens connections and remembers which address was good.
#[derive(Debug, Default)]
pub(super) struct Reach {
    good: Mutex<BTreeMap<(String, u16), SocketAddr>>,
}

impl Reach {
    /// A connection to the target, through the proxy if there is one. No attempt at one
    /// address lasts longer than `patience`, all of it no longer than until `deadline`.
    pub(super) fn open(
        &self,
        target: &Target<'_>,
        proxy: Option<&Proxy>,
        patience: Duration,
        deadline: &Until,
    ) -> Result<TcpStream, Unreached> {
        let Some(proxy) = proxy else {
            return self.tcp(target.host, target.port, patience, deadline);
        };
        let tcp = self
            .tcp(&proxy.host, proxy.port, patience, deadline)
            .map_err(|e| {
                let cause = match e.cause {
                    Cause::NameNotFound => Cause::ProxyName,
                    Cause::NamesDown | Cause::Machine => e.cause,
                    _ => Cause::ProxyAway,
                };
                Unreached::new(cause, e.said())
            })?;
        let mut wire = Wire {
            tcp,
            deadline: Some(deadline.clone()),
        };
        tunnel(&mut wire, proxy, target)?;
        wire.tcp
            .set_read_timeout(None)
            .and_then(|()| wire.tcp.set_write_timeout(None))
            .map_err(|e| Unreached::of_machine(&e))?;
        Ok(wire.tcp)
    }

    fn tcp(
        &self,
        host: &str,
        port: u16,
        patience: Duration,
        deadline: &Until,
    ) -> Result<TcpStream, Unreached> {
        let addresses = addresses(host, port, deadline)?;
        let key = (host.to_owned(), port);
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let last_good = good.get(&key).copied();
        drop(good);
        let (tcp, address) = race(Race::new(addresses, last_good), patience, deadline)?;
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= REMEMBERED_MAX && !good.contains_key(&key) {
            good.clear();
        }
        good.insert(key, address);
        Ok(tcp)
    }
}

/// Counts a lookup for as long as it lasts.
struct Lookup;

impl Lookup {
    fn begin() -> Option<Lookup> {
        let lookup = Lookup;
        // Over the limit, the drop takes it back.
        (LOOKUPS.fetch_add(1, Ordering::Relaxed) < LOOKUPS_MAX).then_some(lookup)
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn addresses(host: &str, port: u16, deadline: &Until) -> Result<Vec<SocketAddr>, Unreached> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let lookup = Lookup::begin()
        .ok_or_else(|| Unreached::new(Cause::NamesDown, "too many names are being looked up"))?;
    let (tell, told) = bounded(1);
    let name = host.to_owned();
    let thread = std::thread::Builder::new().name("names".into());
    thread
        .spawn(move || {
            let _lookup = lookup;
            let found = (name.as_str(), port).to_socket_addrs();
            // Whoever asked may have given up.
            let _ = tell.send(found.map(|list| list.take(4 * ADDRESSES_MAX).collect::<Vec<_>>()));
        })
        .map_err(|e| Unreached::of_machine(&e))?;
    let answer = loop {
        match told.recv_timeout(deadline.patience()) {
            Err(RecvTimeoutError::Timeout) if !deadline.left().is_zero() => {}
            answer => break answer,
        }
    };
    match answer {
        Ok(Ok(list)) if list.is_empty() => Err(Unreached::new(
            Cause::NameNotFound,
            format!("the name {host} has no address"),
        )),
        Ok(Ok(list)) => Ok(list),
        Ok(Err(e)) => Err(Unreached::new(
            cause_of_name(&e),
            format!(
                "the name {host} is not found: {}",
                without_number(&e.to_string())
            ),
        )),
        Err(_) => Err(Unreached::new(
            Cause::NamesDown,
            format!("the name {host} was not found in time"),
        )),
    }
}

struct Attempt {
    address: SocketAddr,
    socket: Socket,
    until: Instant,
}

/// What was said of the addresses that failed: the most telling cause, and the last words.
#[derive(Default)]
struct Failures {
    worst: Option<Cause>,
    said: Vec<String>,
}

impl Failures {
    fn add(&mut self, address: SocketAddr, cause: Cause, said: &str) {
        let telling = |c: Cause| match c {
            Cause::Refused => 3,
            Cause::TimedOut => 2,
            Cause::Machine => 1,
            _ => 0,
        };
        if self.worst.is_none_or(|w| telling(cause) > telling(w)) {
            self.worst = Some(cause);
        }
        if self.said.len() < 4 {
            self.said.push(format!("{address}: {said}"));
        }
    }

    fn add_error(&mut self, address: SocketAddr, error: &io::Error) {
        let unreached = Unreached::of_io(error);
        self.add(address, unreached.cause, &unreached.said());
    }

    fn told(self) -> Unreached {
        let cause = self.worst.unwrap_or(Cause::TimedOut);
        Unreached::new(cause, self.said.join(", "))
    }
}

/// The first of several connections that comes about.
fn race(
    mut race: Race,
    patience: Duration,
    deadline: &Until,
) -> Result<(TcpStream, SocketAddr), Unreached> {
    let began = Instant::now();
    let mut running: Vec<Attempt> = Vec::new();
    let mut failures = Failures::default();
    loop {
        let now = Instant::now();
        if deadline.left().is_zero() {
            for a in running {
                failures.add(a.address, Cause::TimedOut, "no answer in time");
            }
            return Err(failures.told());
        }
        while let Some(address) = race.start(began.elapsed()) {
            match begin(address) {
                Ok(socket) => running.push(Attempt {
                    address,
                    socket,
                    until: now + patience,
                }),
                Err(e) => {
                    failures.add_error(address, &e);
                    race.failed();
                }
            }
        }
        if race.over() {
            return Err(failures.told());
        }
        let until = running.iter().map(|a| a.until).min();
        let look = now + deadline.patience();
        let until = until.unwrap_or(look).min(look);
        let until = match race.next_at() {
            Some(next) => until.min(began + next),
            None => until,
        };
        let ready = wait(&running, until);
        let mut rest = Vec::new();
        for (n, attempt) in running.into_iter().enumerate() {
            let outcome = match ready.get(n) {
                Some(true) => outcome(&attempt.socket),
                _ if attempt.until <= Instant::now() => Some(Err(io::ErrorKind::TimedOut.into())),
                _ => None,
            };
            match outcome {
                Some(Ok(())) => {
                    let tcp = TcpStream::from(attempt.socket);
                    tcp.set_nonblocking(false)
                        .map_err(|e| Unreached::of_machine(&e))?;
                    return Ok((tcp, attempt.address));
                }
                Some(Err(e)) => {
                    failures.add_error(attempt.address, &e);
                    race.failed();
                }
                None => rest.push(attempt),
            }
        }
        running = rest;
    }
}

fn begin(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok(socket),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Ok(socket)
        }
        Err(e) => Err(e),
    }
}

/// Whether a connection has come about; `None` while that is open.
fn outcome(socket: &Socket) -> Option<io::Result<()>> {
    match socket.take_error() {
        Ok(Some(e)) | Err(e) => Some(Err(e)),
        Ok(None) => match socket.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => None,
            Err(e) => Some(Err(e)),
        },
    }
}

/// Which of the attempts have something to say; waits until then at most.
fn wait(running: &[Attempt], until: Instant) -> Vec<bool> {
    // Rounded up, so that what was waited for is due afterwards.
    let patience = left(until) + Duration::from_millis(1);
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let mut fds: Vec<PollFd<'_>> = running
        .iter()
        .map(|a| PollFd::new(&a.socket, PollFlags::OUT))
        .collect();
    // An interrupted wait is a wake-up without a cause, which does no harm.
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Asks a proxy for a way through. The answer is read byte by byte, so that
/// nothing behind it is lost.
fn tunnel(wire: &mut Wire, proxy: &Proxy, target: &Target<'_>) -> Result<(), Unreached> {
    let mut request = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nUser-Agent: {USER_AGENT}\r\n",
        target.authority
    );
    if let Some(authorization) = proxy.authorization() {
        request += &format!("Proxy-Authorization: {}\r\n", authorization.expose());
    }
    request += "\r\n";
    let broken = |e: io::Error| match is_timeout(&e) {
        true => Unreached::new(Cause::ProxyAway, "it did not answer in time"),
        false => Unreached::new(Cause::ProxyOdd, Unreached::of_io(&e).said()),
    };
    wire.write_all(request.as_bytes()).map_err(broken)?;
    let mut read = 0;
    loop {
        let mut head = Vec::new();
        while !(head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n")) {
            if read >= PROXY_ANSWER_MAX {
                return Err(Unreached::new(Cause::ProxyOdd, "its answer is too long"));
            }
            let mut byte = [0];
            wire.read_exact(&mut byte).map_err(broken)?;
            head.push(byte[0]);
            read += 1;
        }
        match status_of(&head) {
            Some(100..=199) => {}
            Some(200..=299) => return Ok(()),
            Some(407) => return Err(Cause::ProxyCredentials.into()),
            Some(code) => return Err(Cause::ProxyRefuses(code).into()),
            None => return Err(Unreached::new(Cause::ProxyOdd, "its answer is not HTTP")),
        }
    }
}

/// The status line decides, whatever the fields are like.
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|b| *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let mut words = line.split(' ').filter(|w| !w.is_empty());
    words.next().filter(|w| w.starts_with("HTTP/1."))?;
    let code = words.next().filter(|w| w.len() == 3)?;
    code.parse().ok().filter(|code| *code >= 100)
}

/// A TCP stream whose blocking reads and writes all end at one instant, however
/// the bytes trickle; without a deadline it is left as it is.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) tcp: TcpStream,
    pub(super) deadline: Option<Until>,
}

impl Wire {
    /// Tries until the deadline; what waits is looked at now and then.
    fn tried<T>(
        &mut self,
        set: impl Fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut act: impl FnMut(&mut TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(deadline) = self.deadline.clone() else {
            return act(&mut self.tcp);
        };
        loop {
            let patience = deadline.patience();
            if patience.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            set(&self.tcp, Some(patience))?;
            match act(&mut self.tcp) {
                Err(e) if is_timeout(&e) => {}
                done => return done,
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.tried(TcpStream::set_read_timeout, |tcp| tcp.read(buf))
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tried(TcpStream::set_write_timeout, |tcp| tcp.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Which of the two a timed-out socket reports differs by system.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Addresses of this machine at which nobody answers a SYN: listeners whose backlog is
    /// full. Kept until they are dropped.
    fn dead(n: usize) -> (Vec<SocketAddr>, Vec<Box<dyn std::any::Any>>) {
        let (mut addresses, mut kept): (_, Vec<Box<dyn std::any::Any>>) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            socket.bind(&any.into()).unwrap();
            socket.listen(0).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            for _ in 0..3 {
                let filler = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
                let _ = filler.connect(&address.into());
                kept.push(Box::new(filler));
            }
            kept.push(Box::new(socket));
            addresses.push(address);
        }
        (addresses, kept)
    }

    #[test]
    fn a_living_address_behind_four_dead_ones_is_reached_within_seconds() {
        let (mut addresses, _kept) = dead(4);
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        addresses.push(alive.local_addr().unwrap());
        let began = Instant::now();
        let deadline = began + Duration::from_secs(20);
        let won = race(
            Race::new(addresses, None),
            Duration::from_secs(5),
            &Until::new(deadline, Arc::default()),
        );
        assert_eq!(won.unwrap().1, alive.local_addr().unwrap());
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn addresses_that_refuse_cost_no_time_at_all() {
        let gone: Vec<SocketAddr> = (0..4)
            .map(|_| {
                TcpListener::bind("127.0.0.1:0")
                    .unwrap()
                    .local_addr()
                    .unwrap()
            })
            .collect();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses = gone.clone();
        addresses.push(alive.local_addr().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        let patience = Duration::from_secs(5);
        assert!(
            race(
                Race::new(addresses, None),
                patience,
                &Until::new(deadline, Arc::default())
            )
            .is_ok()
        );
        let refused = race(
            Race::new(gone, None),
            patience,
            &Until::new(deadline, Arc::default()),
        )
        .unwrap_err();
        assert_eq!(refused.cause, Cause::Refused);
    }

    #[test]
    fn the_deadline_is_shared_by_all_addresses() {
        let (addresses, _kept) = dead(3);
        let began = Instant::now();
        let deadline = began + Duration::from_millis(700);
        let late = race(
            Race::new(addresses, None),
            Duration::from_secs(5),
            &Until::new(deadline, Arc::default()),
        );
        assert_eq!(late.unwrap_err().cause, Cause::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn only_a_status_line_makes_an_answer() {
        for (head, status) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.0 407\r\n : odd\r\n\r\n", Some(407)),
            (b"HTTP/1.1  403  No\n\n", Some(403)),
            (b"hello\r\n\r\n", None),
            (b"HTTP/1.1 99 x\r\n\r\n", None),
            (b"\xff\xfe\r\n\r\n", None),
        ] {
            assert_eq!(status_of(head), status);
        }
    }
}
