//! Connections of either family, read and written under a total deadline.
//!
//! A limit on each read alone never ends a client that sends a byte a second;
//! so every read and write here is given what is left until a deadline.
//!
//! Invariant: no call in this module blocks past the deadline it was given.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::tls::TlsStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A TCP peer.
    Ip(SocketAddr),
    /// Somebody on this machine who may open the unix socket: the user, as the
    /// kernel knows it.
    Local(Option<u32>),
}

/// What connections are counted by: whoever can have many addresses for nothing
/// is one peer all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum PeerKey {
    /// This machine, which owns all of 127.0.0.0/8 and `::1`.
    Machine,
    /// An IPv4 address.
    V4(u32),
    /// The first 64 bits of an IPv6 address: one host owns that many.
    V6(u64),
    /// A user on a unix socket.
    User(Option<u32>),
}

impl Peer {
    pub(super) fn key(&self) -> PeerKey {
        match self {
            Peer::Local(user) => PeerKey::User(*user),
            Peer::Ip(a) => match a.ip().to_canonical() {
                ip if ip.is_loopback() => PeerKey::Machine,
                IpAddr::V4(v4) => PeerKey::V4(u32::from(v4)),
                IpAddr::V6(v6) => PeerKey::V6((u128::from(v6) >> 64) as u64),
            },
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Ip(a) => a.fmt(f),
            Peer::Local(None) => f.write_str("unix"),
            Peer::Local(Some(user)) => write!(f, "unix:{user}"),
        }
    }
}

/// A connection of either family.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(s) => s.as_fd(),
            Stream::Tls(s) => s.socket().as_fd(),
            Stream::Unix(s) => s.as_fd(),
        }
    }
}

pub(super) fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    // Below a millisecond the kernel may round to "no limit".
    Ok(left.max(Duration::from_millis(1)))
}

pub(super) fn is_tick(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl Stream {
    /// Whether the peer speaks plainly where TLS is spoken: then it is answered plainly.
    pub(super) fn is_plain_to_tls(&self) -> bool {
        matches!(self, Stream::Tls(s) if s.is_plain())
    }

    /// Whether something can be read although nothing comes any more.
    pub(super) fn has_read_ahead(&self) -> bool {
        matches!(self, Stream::Tls(s) if s.has_read_ahead())
    }

    /// The socket under it, where that is one of TCP.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(s) => Some(s),
            Stream::Tls(s) => Some(s.socket()),
            Stream::Unix(_) => None,
        }
    }

    /// Reads once; `TimedOut` when the deadline passes, zero at the end.
    pub(super) fn read_until(&self, deadline: Instant, buf: &mut [u8]) -> io::Result<usize> {
        if let Stream::Tls(s) = self {
            return s.read_until(deadline, buf);
        }
        self.read_raw_until(deadline, buf)
    }

    /// The same of what the socket says, whatever it means.
    fn read_raw_until(&self, deadline: Instant, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = left(deadline)?;
            let outcome = match self {
                Stream::Tcp(s) => {
                    s.set_read_timeout(Some(left))?;
                    (&mut &*s).read(buf)
                }
                Stream::Tls(s) => {
                    s.socket().set_read_timeout(Some(left))?;
                    s.socket().read(buf)
                }
                Stream::Unix(s) => {
                    s.set_read_timeout(Some(left))?;
                    (&mut &*s).read(buf)
                }
            };
            match outcome {
                Err(e) if is_tick(&e) => {}
                other => return other,
            }
        }
    }

    /// Writes everything, or fails with `TimedOut` when the deadline passes.
    pub(super) fn write_all_until(&self, deadline: Instant, bytes: &[u8]) -> io::Result<()> {
        self.write_until(deadline, bytes, |_| {})
    }

    /// The same, and says how much whenever the peer has taken some of it.
    pub(super) fn write_until(
        &self,
        deadline: Instant,
        mut bytes: &[u8],
        mut taken: impl FnMut(usize),
    ) -> io::Result<()> {
        if let Stream::Tls(s) = self
            && !s.is_plain()
        {
            return s.write_until(deadline, bytes, taken);
        }
        while !bytes.is_empty() {
            let left = left(deadline)?;
            let outcome = match self {
                Stream::Tcp(s) => {
                    s.set_write_timeout(Some(left))?;
                    (&mut &*s).write(bytes)
                }
                Stream::Tls(s) => {
                    s.socket().set_write_timeout(Some(left))?;
                    s.socket().write(bytes)
                }
                Stream::Unix(s) => {
                    s.set_write_timeout(Some(left))?;
                    (&mut &*s).write(bytes)
                }
            };
            match outcome {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or_default();
                    taken(n);
                }
                Err(e) if is_tick(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes what fits without waiting, takes what has already come, and closes.
    /// Reading first makes it likelier that the peer gets the answer and not a reset.
    pub(super) fn dismiss(&self, bytes: &[u8]) {
        let mut scratch = [0_u8; 4096];
        match self {
            Stream::Tcp(s) => {
                let _ = s.set_nonblocking(true);
                let _ = (&mut &*s).read(&mut scratch);
                let _ = (&mut &*s).write(bytes);
                let _ = s.shutdown(Shutdown::Write);
            }
            // Before its handshake there is nothing that could be said to it.
            Stream::Tls(s) => {
                let _ = s.socket().set_nonblocking(true);
                let _ = s.socket().read(&mut scratch);
                let _ = s.socket().shutdown(Shutdown::Write);
            }
            Stream::Unix(s) => {
                let _ = s.set_nonblocking(true);
                let _ = (&mut &*s).read(&mut scratch);
                let _ = (&mut &*s).write(bytes);
                let _ = s.shutdown(Shutdown::Write);
            }
        }
    }

    /// Whether there is something to read, or room to write, without waiting.
    pub(super) fn is_ready(&self, write: bool) -> bool {
        let what = if write { PollFlags::OUT } else { PollFlags::IN };
        let mut me = [PollFd::new(self, what)];
        poll(&mut me, Some(&Timespec::default())).is_ok_and(|n| n > 0)
    }

    /// Wakes the thread that waits on this connection: it reads the end, and cannot
    /// write any more if `both` ways are ended.
    pub(super) fn wake(&self, both: bool) {
        let how = if both { Shutdown::Both } else { Shutdown::Read };
        self.shut(how);
    }

    fn shut(&self, how: Shutdown) -> bool {
        match (self.tcp(), self) {
            (Some(s), _) => s.shutdown(how).is_ok(),
            (None, Stream::Unix(s)) => s.shutdown(how).is_ok(),
            (None, _) => false,
        }
    }

    /// Ends our half and waits briefly for the peer to end its own, so that the
    /// last answer is not destroyed by a reset. Reads a few blocks at most.
    pub(super) fn linger(&self, scratch: &mut [u8]) {
        const BLOCKS_MAX: usize = 16;
        const LINGER: Duration = Duration::from_millis(200);
        let deadline = Instant::now() + LINGER;
        if let Stream::Tls(s) = self {
            s.farewell(deadline);
        }
        if !self.shut(Shutdown::Write) {
            return;
        }
        for _ in 0..BLOCKS_MAX {
            match self.read_raw_until(deadline, scratch) {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        }
    }
}
