//! How a daemon stopped, and what is said of it: nothing is called durable that is not.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::main_loop::Ended;
use super::overview::Overview;

/// How long the store may take to close the database; a disk that hangs is not waited for.
pub(super) const STORE_STOP: Duration = Duration::from_secs(1);

/// How a daemon stopped.
#[derive(Debug)]
pub struct Stopped {
    /// How its loop ended; none if that was by a defect.
    pub ended: Option<Ended>,
    /// Whether the database was closed.
    pub closed: bool,
}

impl Stopped {
    /// Says what is on disk, and what becomes of the rest.
    pub fn say(&self) {
        match &self.ended {
            None => log::error!(
                "stopped; the loop had ended by itself, and what was in memory alone is not on \
                 disk: what the platform announced is rebuilt over REST at the next start"
            ),
            Some(ended) if !ended.farewell.all_on_disk() => {
                log::warn!("stopped; {}", ended.farewell);
            }
            Some(_) if !self.closed => log::warn!(
                "stopped; everything taken is on disk, but the database was not closed in time: \
                 the next start reads its log"
            ),
            Some(ended) if !ended.whole => log::warn!(
                "stopped; everything taken is on disk, and what was still under way is taken up \
                 at the next start"
            ),
            Some(_) => log::info!("stopped; everything taken is on disk"),
        }
    }
}

/// Waits for the store to close the database; as long as it takes if that has just been taken
/// away, because then this is the last moment at which its content can be put back.
pub(super) fn ends_in_time(store: JoinHandle<()>, published: &Overview) -> bool {
    let deadline = Instant::now() + STORE_STOP;
    while !store.is_finished() {
        if Instant::now() >= deadline && !published.putting_back() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    store.join().is_ok()
}
