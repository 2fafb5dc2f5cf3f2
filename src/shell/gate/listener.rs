//! Listening sockets of either family, our own or inherited.
//!
//! Invariant: a listener is never shut down and its path never unlinked on the way
//! out: an inherited one belongs to the service manager, and a stale path of our
//! own is recognised at the next start.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::stream::{Peer, Stream};

/// Who may connect to a unix socket of ours: this user and its group.
const SOCKET_MODE: u32 = 0o660;

/// A socket that is already bound and listening; perhaps inherited from the service manager.
#[derive(Debug)]
pub enum Listener {
    /// TCP, version 4 or 6.
    Tcp(TcpListener),
    /// A unix stream socket.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(l: TcpListener) -> Listener {
        Listener::Tcp(l)
    }
}

impl From<UnixListener> for Listener {
    fn from(l: UnixListener) -> Listener {
        Listener::Unix(l)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(l) => l.as_fd(),
            Listener::Unix(l) => l.as_fd(),
        }
    }
}

impl Listener {
    /// Binds a TCP address; port 0 means any.
    ///
    /// # Errors
    /// The environment or the operator: the address is taken, or not ours.
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).map(Listener::Tcp)
    }

    /// Binds a unix socket, in the place of a stale one if need be.
    ///
    /// # Errors
    /// The environment or the operator: somebody listens there, something other
    /// than a socket is there, or the directory is not ours.
    pub fn bind_unix(path: &Path) -> io::Result<Listener> {
        let listener = match UnixListener::bind(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            other => other?,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(Listener::Unix(listener))
    }

    /// The next connection, blocking again whatever the listener is.
    pub(super) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Listener::Tcp(l) => {
                let (s, address) = l.accept()?;
                s.set_nonblocking(false)?;
                // An answer is written at once; waiting to fill a segment only delays it.
                let _ = s.set_nodelay(true);
                Ok((Stream::Tcp(s), Peer::Ip(address)))
            }
            Listener::Unix(l) => {
                let (s, _) = l.accept()?;
                s.set_nonblocking(false)?;
                let user = rustix::net::sockopt::socket_peercred(&s);
                let user = user.ok().map(|of| of.uid.as_raw());
                Ok((Stream::Unix(s), Peer::Local(user)))
            }
        }
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(l) => l.set_nonblocking(true),
            Listener::Unix(l) => l.set_nonblocking(true),
        }
    }

    /// Where it listens, for people.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(l) => l.local_addr().map(|a| a.to_string()),
            Listener::Unix(l) => l.local_addr().map(|a| match a.as_pathname() {
                Some(path) => format!("unix:{}", path.display()),
                None => String::from("unix:"),
            }),
        }
        .unwrap_or_else(|_| String::from("an unknown address"))
    }
}

/// A socket that nobody listens to any more.
fn is_stale(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = Listener::bind_unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        let taken = Listener::bind_unix(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = Listener::bind_unix(&path).unwrap();
        assert_eq!(second.address(), format!("unix:{}", path.display()));
        let file = directory.path().join("f");
        fs::write(&file, "precious").unwrap();
        assert!(Listener::bind_unix(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
