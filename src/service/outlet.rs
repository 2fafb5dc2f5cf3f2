//! The way of log lines to stderr: a bounded queue, and a thread of its own that writes.
//!
//! ```text
//! any thread ──line──► queue (1,024 lines, 256 KiB) ──► thread "log" ──► stderr
//! ```
//!
//! Stderr is a pipe, a socket, a terminal or a file, and who reads it may have stopped. Making
//! it non-blocking is no way out: that is a property of the open file, which others share. So
//! nobody but the thread `log` ever waits for it; what finds no room is dropped and counted,
//! and the count is written where the gap is, as soon as something can be written again.
//!
//! Invariants: putting a line in takes no longer than a memory copy; lines keep their order;
//! nothing here logs.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Lines that wait at most.
const LINES_MAX: usize = 1024;

/// Bytes of lines that wait at most.
const BYTES_MAX: usize = 256 * 1024;

/// The longest line; the journal takes 48 KiB and splits what is longer.
const LINE_MAX: usize = 48 * 1024;

/// What stands for the rest of a line that was cut.
const CUT: &[u8] = " …\n".as_bytes();

/// How long a descriptor that somebody else made non-blocking is waited for at a time.
const LOOK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

#[derive(Debug)]
struct Waiting {
    /// Lines that were dropped just before this one.
    lost: u64,
    line: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// Dropped since the last line that was queued.
    lost: u64,
    /// Dropped since the start.
    lost_ever: u64,
    /// The thread holds a line that it has not written yet.
    writing: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outlet {
    state: Mutex<State>,
    /// Something was queued.
    queued: Condvar,
    /// Everything was written.
    empty: Condvar,
}

impl Outlet {
    pub(super) const fn new() -> Outlet {
        Outlet {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                bytes: 0,
                lost: 0,
                lost_ever: 0,
                writing: false,
            }),
            queued: Condvar::new(),
            empty: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a line with its line end, or drops and counts it.
    pub(super) fn put(&self, line: &[u8]) {
        let line = if line.len() <= LINE_MAX {
            line.to_vec()
        } else {
            let mut cut = line[..LINE_MAX].to_vec();
            // Not in the middle of a character.
            while cut.last().is_some_and(|b| !b.is_ascii()) {
                cut.pop();
            }
            cut.extend_from_slice(CUT);
            cut
        };
        let mut state = self.state();
        if state.queue.len() >= LINES_MAX || state.bytes.saturating_add(line.len()) > BYTES_MAX {
            state.lose(1);
            return;
        }
        state.bytes = state.bytes.saturating_add(line.len());
        let lost = std::mem::take(&mut state.lost);
        state.queue.push_back(Waiting { lost, line });
        drop(state);
        self.queued.notify_one();
    }

    /// Lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.state().lost_ever
    }

    /// Waits until everything is written, or for `patience`. True if it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while state.writing || !state.queue.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .empty
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Writes what is queued, for ever. `note` makes the line that stands for so many dropped ones.
    pub(super) fn drain(
        &self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
        note: impl Fn(u64) -> String,
    ) {
        let mut last = Written::default();
        loop {
            let (lost, line) = self.next(&last);
            last = Written::default();
            if lost > 0 && !whole(&mut write, note(lost).as_bytes()) {
                last.unsaid = lost;
            }
            if let Some(line) = line
                && (last.unsaid > 0 || !whole(&mut write, &line))
            {
                last.lost = 1;
            }
        }
    }

    /// The next thing to write: a line, the count of what was dropped before it, or both.
    fn next(&self, last: &Written) -> (u64, Option<Vec<u8>>) {
        let mut state = self.state();
        state.writing = false;
        state.lost = state.lost.saturating_add(last.unsaid);
        state.lose(last.lost);
        let works = last.unsaid == 0 && last.lost == 0;
        loop {
            if let Some(first) = state.queue.pop_front() {
                state.bytes = state.bytes.saturating_sub(first.line.len());
                state.writing = true;
                return (first.lost, Some(first.line));
            }
            // Where nothing can be written, the count waits for the next line.
            if works && state.lost > 0 {
                state.writing = true;
                return (std::mem::take(&mut state.lost), None);
            }
            self.empty.notify_all();
            state = self
                .queued
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// How the last turn of the thread ended.
#[derive(Debug, Default)]
struct Written {
    /// Dropped lines whose count could not be written.
    unsaid: u64,
    /// Lines that could not be written.
    lost: u64,
}

impl State {
    fn lose(&mut self, n: u64) {
        self.lost = self.lost.saturating_add(n);
        self.lost_ever = self.lost_ever.saturating_add(n);
    }
}

/// Whether all of it was written. A reader that has stopped is waited for.
fn whole(write: &mut impl FnMut(&[u8]) -> io::Result<usize>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(bytes) {
            Ok(0) => return false,
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Somebody who shares the open file made it non-blocking.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let stderr = rustix::stdio::stderr();
                let mut wanted = [PollFd::new(&stderr, PollFlags::OUT)];
                // Looked at again whatever it says.
                let _ = poll(&mut wanted, Some(&LOOK));
            }
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn note(lost: u64) -> String {
        format!("{lost} lost\n")
    }

    fn drained(
        outlet: &Arc<Outlet>,
        write: impl FnMut(&[u8]) -> io::Result<usize> + Send + 'static,
    ) {
        let outlet = Arc::clone(outlet);
        std::thread::spawn(move || outlet.drain(write, note));
    }

    fn put(outlet: &Outlet, from: usize, to: usize) {
        for n in from..to {
            outlet.put(format!("line {n} {}\n", "x".repeat(100)).as_bytes());
        }
    }

    #[test]
    fn a_reader_that_has_stopped_is_not_waited_for_and_the_gap_is_counted_where_it_is() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Arc::new(Outlet::new());
        drained(&outlet, move |bytes| (&writer).write(bytes));
        use std::io::Write;
        let began = Instant::now();
        put(&outlet, 0, 20_000);
        assert!(began.elapsed() < PATIENCE);
        let lost = outlet.dropped();
        assert!(lost > 10_000, "{lost}");
        assert!(!outlet.flush(Duration::from_millis(50)));
        // The reader comes back.
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            let mut block = [0u8; 4096];
            while !text.contains("last\n") {
                let n = reader.read(&mut block).unwrap();
                text.push_str(std::str::from_utf8(&block[..n]).unwrap());
            }
            text
        });
        assert!(outlet.flush(PATIENCE));
        outlet.put(b"last\n");
        let text = read.join().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|l| l.ends_with(" lost")).unwrap();
        for (n, line) in lines[..at].iter().enumerate() {
            assert!(line.starts_with(&format!("line {n} ")), "{line}");
        }
        let written = lines.iter().filter(|l| l.starts_with("line ")).count() as u64;
        assert_eq!(written + lost, 20_000);
        assert_eq!(lines.last(), Some(&"last"));
    }

    #[test]
    fn what_cannot_be_written_is_counted_with_the_next_line_that_can() {
        let outlet = Arc::new(Outlet::new());
        let (tell, told) = crossbeam_channel::unbounded();
        let mut turn = 0;
        drained(&outlet, move |bytes| {
            turn += 1;
            if turn <= 3 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = tell.send(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        });
        for n in 0..3 {
            put(&outlet, n, n + 1);
            assert!(outlet.flush(PATIENCE));
        }
        assert_eq!(outlet.dropped(), 3);
        put(&outlet, 3, 4);
        let next = || told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(next(), "3 lost\n");
        assert!(next().starts_with("line 3 "));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_two_characters() {
        let outlet = Outlet::new();
        outlet.put("ä".repeat(LINE_MAX).as_bytes());
        let (_, line) = outlet.next(&Written::default());
        let line = String::from_utf8(line.unwrap()).unwrap();
        assert!(line.len() <= LINE_MAX + CUT.len() && line.ends_with("…\n"));
    }
}
