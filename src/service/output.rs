//! Standard output: what is written there arrives, or the exit code says that it did not.
//!
//! Not through the library's buffer: that writes its rest when the process ends and tells
//! nobody whether it could. A reader that has gone away (`head`) has seen enough and is no error.
//!
//! Invariant: after the first error nothing more is written.

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};

use super::ExitCode;

/// Why standard output takes no more; there is one of it.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Standard output of this process.
#[derive(Clone, Copy, Debug)]
pub struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed.as_ref() {
            return Err(error.kind().into());
        }
        match write_whole(rustix::stdio::stdout(), bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let kind = error.kind();
                *failed = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of it. A descriptor that somebody who shares it made non-blocking is waited for.
fn write_whole(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut wanted = [PollFd::new(&to, PollFlags::OUT)];
                // Tried again whatever it says.
                let _ = poll(&mut wanted, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A sentence on stderr for people, on one line: without known secrets, and with what controls a
/// terminal, turns text or cannot be seen escaped. A closed stderr is no error.
pub fn complain(text: &str) {
    let text = base::plain::shown(&notifications::redaction::own(text));
    let _ = writeln!(io::stderr(), "genesys-gateway: {text}");
}

/// The exit code of a word that ends with `code`: [`ExitCode::Unavailable`] where what it had to
/// say could not be written, which is told on stderr.
#[must_use]
pub fn verdict(code: ExitCode) -> ExitCode {
    let failed = FAILED.lock().unwrap_or_else(PoisonError::into_inner);
    match failed.as_ref() {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"));
            match code {
                ExitCode::Done => ExitCode::Unavailable,
                worse => worse,
            }
        }
        _ => code,
    }
}
