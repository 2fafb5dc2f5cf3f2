//! Signals as messages on a queue.
//!
//! A thread waits for them, so that nothing runs inside of a handler.
//!
//! Invariant: the queue is bounded; a signal that finds it full repeats one that is in it.

use std::io;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What somebody asked the process to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop.
    Terminate,
    /// SIGHUP: read secrets and certificates again.
    Hangup,
}

/// Takes over SIGTERM, SIGINT and SIGHUP from now on.
///
/// # Errors
/// The handlers or the thread cannot be set up.
pub fn listen() -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(4);
    thread::Builder::new()
        .name("signals".into())
        .stack_size(256 * 1024)
        .spawn(move || {
            for signal in signals.forever() {
                let message = if signal == SIGHUP {
                    Signal::Hangup
                } else {
                    Signal::Terminate
                };
                if let Err(crossbeam_channel::TrySendError::Disconnected(_)) =
                    sender.try_send(message)
                {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_signal_arrives_on_the_queue() {
        let queue = listen().unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(
            queue.recv_timeout(Duration::from_secs(10)),
            Ok(Signal::Hangup)
        );
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(
            queue.recv_timeout(Duration::from_secs(10)),
            Ok(Signal::Terminate)
        );
    }
}
