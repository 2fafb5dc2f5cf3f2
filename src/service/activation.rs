//! Listeners that systemd opened before us.
//!
//! To be called once, at the start of `main`, before any thread: the variables
//! are removed, so that no child takes the descriptors for its own.
//!
//! Invariant: what is handed out is a listening stream socket, closed on exec;
//! an inherited unix socket's path is never unlinked by us.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

use crate::config::Listen;

/// A listener that was open before the process began.
#[derive(Debug)]
pub enum Inherited {
    /// TCP, IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix stream socket.
    Unix(UnixListener),
}

impl Inherited {
    /// Where it is bound, in the words of the configuration, so that the rule
    /// about tokens holds for an inherited listener too.
    ///
    /// # Errors
    /// The system does not say, or the socket has no path.
    pub fn listen(&self) -> io::Result<Listen> {
        match self {
            Inherited::Tcp(tcp) => tcp.local_addr().map(Listen::Tcp),
            Inherited::Unix(unix) => unix
                .local_addr()?
                .as_pathname()
                .map(|path| Listen::Unix(path.to_owned()))
                .ok_or_else(|| io::Error::other("a unix socket without a path")),
        }
    }
}

/// Names and listeners, in the order in which they were passed.
#[derive(Debug, Default)]
pub struct Activated(Vec<(String, Inherited)>);

/// What was passed makes no sense; the operator's socket unit is to blame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActivationError {
    /// A variable is not what systemd writes.
    Variable(&'static str),
    /// A descriptor, by its number from 0, is not a listening stream socket.
    NotAListener(usize),
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActivationError::Variable(name) => {
                write!(
                    f,
                    "socket activation: ${name} is not what systemd writes there"
                )
            }
            ActivationError::NotAListener(at) => write!(
                f,
                "socket activation: socket {at} is not a listening stream socket; use ListenStream= and Accept=no"
            ),
        }
    }
}

impl std::error::Error for ActivationError {}

/// More sockets than this are not ours.
const MOST: usize = 16;

/// How many descriptors were passed to this process, and what they are called.
fn announced(
    own_pid: u32,
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
) -> Result<Vec<String>, ActivationError> {
    let (Some(pid), Some(count)) = (pid, count) else {
        return Ok(Vec::new());
    };
    let pid: u32 = pid
        .parse()
        .map_err(|_| ActivationError::Variable("LISTEN_PID"))?;
    if pid != own_pid {
        return Ok(Vec::new());
    }
    let count: usize = count
        .parse()
        .ok()
        .filter(|n| *n <= MOST)
        .ok_or(ActivationError::Variable("LISTEN_FDS"))?;
    let Some(names) = names else {
        // What systemd itself calls a descriptor without a name.
        return Ok(vec!["unknown".to_owned(); count]);
    };
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    if names.len() == count {
        Ok(names)
    } else {
        Err(ActivationError::Variable("LISTEN_FDNAMES"))
    }
}

impl Activated {
    /// Takes what was passed to this process; empty without socket activation.
    ///
    /// # Errors
    /// The variables or the descriptors are not what systemd passes.
    pub fn take() -> Result<Activated, ActivationError> {
        let variable = |name: &str| std::env::var(name).ok();
        let names = announced(
            std::process::id(),
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
        )?;
        if names.is_empty() {
            return Ok(Activated::default());
        }
        let mut passed = ListenFd::from_env();
        let mut listeners = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let listener = if let Ok(Some(tcp)) = passed.take_tcp_listener(at) {
                Inherited::Tcp(tcp)
            } else if let Ok(Some(unix)) = passed.take_unix_listener(at) {
                Inherited::Unix(unix)
            } else {
                return Err(ActivationError::NotAListener(at));
            };
            let listening = match &listener {
                Inherited::Tcp(tcp) => rustix::net::sockopt::socket_acceptconn(tcp),
                Inherited::Unix(unix) => rustix::net::sockopt::socket_acceptconn(unix),
            };
            if listening != Ok(true) {
                return Err(ActivationError::NotAListener(at));
            }
            listeners.push((name, listener));
        }
        Ok(Activated(listeners))
    }

    /// Takes the listener of a name (`FileDescriptorName=` of its socket unit),
    /// such as `http` or `status`.
    pub fn named(&mut self, name: &str) -> Option<Inherited> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// Names that nobody took: a misspelt `FileDescriptorName=`.
    #[must_use]
    pub fn left(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn descriptors_of_another_process_are_not_ours() {
        assert_eq!(announced(7, None, None, None), Ok(vec![]));
        assert_eq!(announced(7, None, Some("1"), None), Ok(vec![]));
        assert_eq!(announced(7, Some("8"), Some("1"), Some("http")), Ok(vec![]));
        assert_eq!(
            announced(7, Some("7"), Some("2"), Some("http:status")),
            Ok(vec!["http".into(), "status".into()])
        );
        assert_eq!(
            announced(7, Some("7"), Some("1"), None),
            Ok(vec!["unknown".into()])
        );
    }

    #[test]
    fn variables_that_systemd_would_not_write_are_refused() {
        for (pid, count, names, blamed) in [
            ("x", "1", None, "LISTEN_PID"),
            ("7", "-1", None, "LISTEN_FDS"),
            ("7", "4000000000", None, "LISTEN_FDS"),
            ("7", "2", Some("http"), "LISTEN_FDNAMES"),
        ] {
            assert_eq!(
                announced(7, Some(pid), Some(count), names),
                Err(ActivationError::Variable(blamed))
            );
        }
    }

    const CHILD: &str = "GENESYS_GATEWAY_TEST_TAKES_LISTENERS";

    /// Runs itself again below `systemd-socket-activate`, which passes a real
    /// listening socket; nothing to test where that tool is not installed.
    #[test]
    fn a_passed_listener_is_taken_by_its_name_and_accepts() {
        if std::env::var_os(CHILD).is_some() {
            let mut activated = Activated::take().unwrap();
            assert!(activated.named("status").is_none());
            assert_eq!(activated.left(), ["http"]);
            let Some(Inherited::Unix(listener)) = activated.named("http") else {
                panic!("no unix listener")
            };
            let listener = Inherited::Unix(listener);
            assert!(listener.listen().unwrap().is_local());
            let Inherited::Unix(listener) = listener else {
                unreachable!()
            };
            assert!(std::env::var_os("LISTEN_FDS").is_none());
            let flags = rustix::io::fcntl_getfd(&listener).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            listener.accept().unwrap().0.write_all(b"hello").unwrap();
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let Ok(mut child) = Command::new("systemd-socket-activate")
            .arg("--fdname=http")
            .arg(format!("--setenv={CHILD}=1"))
            .arg("--listen")
            .arg(&path)
            .arg(std::env::current_exe().unwrap())
            .arg("--exact")
            .arg("service::activation::tests::a_passed_listener_is_taken_by_its_name_and_accepts")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
        else {
            eprintln!("systemd-socket-activate is not installed");
            return;
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(e) => assert!(Instant::now() < deadline, "{e}"),
            }
            std::thread::yield_now();
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut greeting = [0u8; 5];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"hello");
        assert!(child.wait().unwrap().success());
    }
}
