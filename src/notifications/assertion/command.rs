//! Runs a program to its end, under a deadline and a bound on what it prints.
//!
//! Invariant: when [`run`] returns, the program's whole process group has been
//! killed, whatever happened. A process that moves to a group of its own
//! escapes; its output no longer concerns us.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// This much of the standard error is kept, in bytes; the rest is read and dropped.
const COMPLAINT_MAX: usize = 4096;

/// A killed process that is stuck in the kernel is left to itself after this.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// How the program ended.
pub(super) enum Ended {
    Well,
    Badly(ExitStatus),
    NotStarted(io::ErrorKind),
    TimedOut,
    /// It printed more than the bound.
    TooMuch,
    /// The system calls to follow it failed.
    Lost(io::ErrorKind),
}

/// What a program left behind.
pub(super) struct Run {
    pub(super) ended: Ended,
    /// Its standard output, complete only if it ended well.
    pub(super) printed: Vec<u8>,
    /// The beginning of its standard error.
    pub(super) complaint: Vec<u8>,
}

/// Runs `argv` without a shell, without standard input, and with no other
/// environment than the given one.
pub(super) fn run(
    argv: &[String],
    environment: Vec<(OsString, OsString)>,
    time_limit: Duration,
    printed_max: usize,
) -> Run {
    let mut run = Run {
        ended: Ended::NotStarted(io::ErrorKind::InvalidInput),
        printed: Vec::new(),
        complaint: Vec::new(),
    };
    let Some((program, arguments)) = argv.split_first() else {
        return run;
    };
    let started = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    run.ended = match started {
        Err(e) => Ended::NotStarted(e.kind()),
        Ok(child) => {
            let deadline = Instant::now() + time_limit;
            let mut group = Group {
                child,
                reaped: false,
            };
            let followed = follow(
                &mut group.child,
                deadline,
                printed_max,
                &mut run.printed,
                &mut run.complaint,
            );
            match followed {
                Ok(None) => group.end(),
                Ok(Some(ended)) => ended,
                Err(errno) => Ended::Lost(io::Error::from(errno).kind()),
            }
        }
    };
    run
}

/// A child and its process group; killed and reaped when this goes.
struct Group {
    child: Child,
    /// From then on the number may be somebody else's, and nothing is killed by it.
    reaped: bool,
}

impl Group {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Kills what the program may have left in the background, then reaps the
    /// program, which has ended.
    fn end(&mut self) -> Ended {
        self.kill();
        let status = self.child.wait();
        self.reaped = true;
        match status {
            Ok(status) if status.success() => Ended::Well,
            Ok(status) => Ended::Badly(status),
            Err(e) => Ended::Lost(e.kind()),
        }
    }

    fn kill(&self) {
        if let Some(pid) = self.pid() {
            // Fails only if nobody is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill();
        let Some(Ok(ended)) = self.pid().map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return;
        };
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        let limit = Timespec::try_from(REAP_LIMIT).ok();
        let _ = poll(&mut fds, limit.as_ref());
        let _ = self.child.try_wait();
    }
}

/// Reads both outputs until the program has ended and nothing is left to read.
/// `None` if it got so far.
///
/// The end of the program is awaited by its pidfd and not by the end of its
/// output: something left in the background may hold the output open.
fn follow(
    child: &mut Child,
    deadline: Instant,
    printed_max: usize,
    printed: &mut Vec<u8>,
    complaint: &mut Vec<u8>,
) -> Result<Option<Ended>, Errno> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    let program = pidfd_open(pid, PidfdFlags::empty())?;
    let mut stdout = child.stdout.take();
    let mut stderr = child.stderr.take();
    let mut ended = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(Ended::TimedOut));
        }
        let wait = if ended { Duration::ZERO } else { left };
        let [out, err, end] = readable(
            [
                stdout.as_ref().map(|s| s.as_fd()),
                stderr.as_ref().map(|s| s.as_fd()),
                (!ended).then(|| program.as_fd()),
            ],
            wait,
        )?;
        if out && !read_some(&mut stdout, printed, printed_max.saturating_add(1)) {
            stdout = None;
        }
        if printed.len() > printed_max {
            return Ok(Some(Ended::TooMuch));
        }
        if err && !read_some(&mut stderr, complaint, COMPLAINT_MAX) {
            stderr = None;
        }
        if ended && !out && !err {
            return Ok(None);
        }
        ended |= end;
    }
}

/// Which of the descriptors can be read, or have ended, within `wait`.
fn readable(descriptors: [Option<BorrowedFd<'_>>; 3], wait: Duration) -> Result<[bool; 3], Errno> {
    let mut fds: Vec<PollFd<'_>> = descriptors
        .iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let wait = Timespec::try_from(wait).map_err(|_| Errno::INVAL)?;
    match poll(&mut fds, Some(&wait)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(descriptors.map(|d| d.is_some() && ready.next().unwrap_or(false)))
}

/// One read of what is there; at most `max` bytes are kept in all. False at the end.
fn read_some(from: &mut Option<impl Read>, kept: &mut Vec<u8>, max: usize) -> bool {
    let mut block = [0; 8192];
    let Some(from) = from else { return false };
    match from.read(&mut block) {
        Ok(0) => false,
        Ok(n) => {
            let room = max.saturating_sub(kept.len()).min(n);
            kept.extend_from_slice(&block[..room]);
            true
        }
        Err(e) => e.kind() == io::ErrorKind::Interrupted,
    }
}
