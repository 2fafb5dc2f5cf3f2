//! Datagrams to systemd: ready, status, reloading, stopping, watchdog.
//!
//! Without `$NOTIFY_SOCKET` nothing is sent and nothing fails. A datagram that
//! cannot be sent is logged at debug level and forgotten: the watchdog will
//! tell whether it mattered. The socket is a path, or a name without a file (`@name`).
//!
//! Invariants: a status is one line; what the loop says never waits for a service manager
//! that does not read.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use base::plain::shown;

/// How long the main thread waits for room: what it says is said once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a message may wait for room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    /// From the loop: said again soon, so never.
    Never,
    /// From the main thread.
    Shortly,
}

fn send(message: &str, wait: Wait) {
    if let Some(to) = std::env::var_os("NOTIFY_SOCKET").filter(|to| !to.is_empty())
        && let Err(e) = send_to(to.as_encoded_bytes(), message, wait)
    {
        log::debug!("no datagram to the service manager: {e}");
    }
}

fn send_to(to: &[u8], message: &str, wait: Wait) -> io::Result<()> {
    let address = match to {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => {
            use std::os::unix::ffi::OsStrExt;
            SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(to))?
        }
        _ => {
            return Err(io::Error::other(
                "$NOTIFY_SOCKET is neither a path nor @name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    match wait {
        Wait::Never => socket.set_nonblocking(true)?,
        Wait::Shortly => socket.set_write_timeout(Some(PATIENCE))?,
    }
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

/// The service is up: store open, listeners bound, loop turning. Also the end of a reload.
pub fn ready() {
    send("READY=1\n", Wait::Shortly);
}

/// Files are being read again; [`ready`] ends it.
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    let micros = seconds
        .saturating_mul(1_000_000)
        .saturating_add(nanos / 1000);
    send(
        &format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"),
        Wait::Shortly,
    );
}

/// The verdict, as `systemctl status` shows it.
pub fn status(text: &str) {
    send(&format!("STATUS={}\n", shown(text)), Wait::Never);
}

/// The service is on its way down.
pub fn stopping() {
    send("STOPPING=1\n", Wait::Shortly);
}

/// Still alive; to be sent by the loop itself after a turn, never by a helper.
pub fn alive() {
    send("WATCHDOG=1\n", Wait::Never);
}

/// How often to send [`alive`]: a third of `WatchdogSec=`, if that is set for this process.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>());
    match number("WATCHDOG_PID") {
        None => {}
        Some(Ok(pid)) if pid == u64::from(std::process::id()) => {}
        Some(_) => return None,
    }
    match number("WATCHDOG_USEC") {
        Some(Ok(micros)) if micros > 0 => Some(Duration::from_micros(micros) / 3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    const CHILD: &str = "GENESYS_GATEWAY_TEST_SENDS_DATAGRAMS";

    /// The environment of a process cannot be changed safely while tests run
    /// beside, so this test runs itself again with another one.
    #[test]
    fn systemd_is_told_ready_status_alive_and_stopping() {
        if std::env::var_os(CHILD).is_some() {
            assert_eq!(watchdog_interval(), Some(Duration::from_secs(10)));
            ready();
            status("all is well\nREADY=0");
            alive();
            reloading();
            stopping();
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        told(UnixDatagram::bind(&path).unwrap(), path.as_os_str());
        // A name without a file, as containers and session managers pass it.
        let name = format!("genesys-gateway-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        told(socket, format!("@{name}").as_ref());
    }

    fn told(socket: UnixDatagram, at: &std::ffi::OsStr) {
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "service::sd::tests::systemd_is_told_ready_status_alive_and_stopping",
            ])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", at)
            .env("WATCHDOG_USEC", "30000000")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        let next = || {
            let mut buffer = [0u8; 256];
            let n = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).trim_end().to_owned()
        };
        assert_eq!(next(), "READY=1");
        assert_eq!(next(), "STATUS=all is well\\nREADY=0");
        assert_eq!(next(), "WATCHDOG=1");
        let reloading = next();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(micros.unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(next(), "STOPPING=1");
    }

    #[test]
    fn a_service_manager_that_does_not_read_holds_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _unread = UnixDatagram::bind(&path).unwrap();
        let to = path.as_os_str().as_encoded_bytes();
        let began = Instant::now();
        while send_to(to, "WATCHDOG=1\n", Wait::Never).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        assert!(send_to(to, "STOPPING=1\n", Wait::Shortly).is_err());
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
