//! Waiting for something to become true, with a deadline and a word about what
//! was waited for.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Whatever takes longer has failed; generous, because many tests share few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is a result; panics with what was waited for and what was
/// seen last.
#[track_caller]
pub(crate) fn wait_within<T, E: Display>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => {
                panic!("waited {patience:?} for {what}; the last look showed: {seen}")
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// [`wait_within`] the usual patience.
#[track_caller]
pub(crate) fn wait_for<T, E: Display>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    wait_within(PATIENCE, what, look)
}

/// Looks for `span` and panics if it ever becomes true: for what must not happen.
#[track_caller]
pub(crate) fn never_within(span: Duration, what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        assert!(!look(), "{what} happened");
        std::thread::sleep(LOOK_EVERY);
    }
}
