//! The store thread: orders in, facts out, until the queue is disconnected.
//!
//! It has no opinions: what to commit, and when to try again, is the core's.
//! Invariant: every order gets exactly one fact, in the order of arrival.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::Store;
use crate::filing::rows::{StoreFact, StoreOrder};
use crate::time::Wall;

/// Without commits the heartbeat is written this often: how exactly a restart
/// knows when the gateway was last running.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// A checkpoint that a reader held up is tried again after this.
const UPKEEP_AGAIN: Duration = Duration::from_secs(2);

/// Starts the thread. It ends when every sender of `orders` is gone and the
/// queue is empty; then the log is checkpointed and the lock is free.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(
    store: Store,
    orders: Receiver<StoreOrder>,
    facts: impl Fn(StoreFact) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name("store".into())
        .spawn(move || run(store, &orders, facts))
}

fn run(mut store: Store, orders: &Receiver<StoreOrder>, facts: impl Fn(StoreFact)) {
    let mut beaten = Instant::now();
    loop {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // Housekeeping only while nobody waits, a small step at a time.
                if matches!(store.upkeep(), Ok(true)) {
                    continue;
                }
                if beaten.elapsed() >= HEARTBEAT {
                    beaten = Instant::now();
                    if let Err(trouble) = store.alive(wall_now()) {
                        log::debug!("the heartbeat was not written: {}", trouble.label());
                    }
                }
                let patience = if store.upkeep_due() {
                    UPKEEP_AGAIN
                } else {
                    HEARTBEAT
                };
                match orders.recv_timeout(patience) {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        let writes = !matches!(order, StoreOrder::Lookup { .. });
        facts(store.execute(order, wall_now()));
        if writes {
            beaten = Instant::now();
        }
    }
    if let Err(trouble) = store.close(wall_now()) {
        log::warn!(
            "the database was closed without a checkpoint ({}); the next start reads its log",
            trouble.label()
        );
    }
}

/// The store's heartbeat is the one thing here that needs a clock.
fn wall_now() -> Wall {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
