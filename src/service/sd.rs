//! Datagrams to systemd: ready, status, stopping, watchdog.
//!
//! Without `$NOTIFY_SOCKET` nothing is sent and nothing fails. A datagram that
//! cannot be sent is logged at debug level and forgotten: the watchdog will
//! tell whether it mattered.
//!
//! Invariant: a status is one line.

use std::time::Duration;

use sd_notify::NotifyState;

use super::logging::one_line;

fn send(states: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(states) {
        log::debug!("no datagram to the service manager: {e}");
    }
}

/// The service is up: store open, listeners bound, loop turning.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The verdict, as `systemctl status` shows it.
pub fn status(text: &str) {
    send(&[NotifyState::Status(&one_line(text))]);
}

/// The service is on its way down.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Still alive; to be sent by the loop itself after a turn, never by a helper.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// How often to send [`alive`]: a third of `WatchdogSec=`, if that is set for this process.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|whole| whole / 3)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

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
            stopping();
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "service::sd::tests::systemd_is_told_ready_status_alive_and_stopping",
            ])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", &path)
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
        assert_eq!(next(), "STOPPING=1");
    }
}
