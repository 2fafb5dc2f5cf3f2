//! What all shards publish, side by side and in sum.
//!
//! With one shard this is what its loop publishes, and nothing is added. Where there are
//! several, each has its own picture; what belongs to the whole gateway (database, listeners,
//! log) is said once.
//!
//! Invariants: the first shard is [`config::MAIN_SHARD`](crate::config::MAIN_SHARD); one in
//! trouble changes nothing in the picture of another, and is named in that of the whole.

use std::sync::Arc;

use super::board::Board;
use super::http::served::Refusals;
use super::published::Published;
use crate::status::{Snapshot, sum};
use base::rows::StoreTrouble;
use store::thread::Aside;

/// One shard as it shows itself.
pub struct Shown {
    /// Its name.
    pub name: String,
    /// What its loop publishes.
    pub published: Arc<Published>,
}

/// See the [module](self).
pub struct Overview {
    main: Arc<Published>,
    shards: Vec<Shown>,
}

impl Overview {
    /// Of at least one shard; `None` otherwise.
    #[must_use]
    pub fn new(shards: Vec<Shown>) -> Option<Overview> {
        let main = shards.first()?.published.clone();
        Some(Overview { main, shards })
    }

    /// The shards, the main one first.
    #[must_use]
    pub fn shards(&self) -> &[Shown] {
        &self.shards
    }

    fn alone(&self) -> bool {
        self.shards.len() == 1
    }

    /// The latest snapshot: of the one shard, or the sum with all of them in it.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        if self.alone() {
            return self.main.snapshot();
        }
        let each = self.shards.iter();
        let each = each.map(|shard| (shard.name.clone(), shard.published.snapshot()));
        Arc::new(sum::of(each.collect()))
    }

    /// Said of one shard, where there are several.
    fn of(&self, shard: &Shown, said: Vec<String>) -> Vec<String> {
        match self.alone() {
            true => said,
            false => said
                .into_iter()
                .map(|text| format!("shard {}: {text}", shard.name))
                .collect(),
        }
    }

    /// Why the gateway is not healthy: empty while every loop turns and the store commits.
    #[must_use]
    pub fn health(&self) -> Vec<String> {
        let stuck = self.shards.iter().flat_map(|shard| {
            let said = shard.published.stuck().into_iter().collect();
            self.of(shard, said)
        });
        stuck.chain(self.main.store_health()).collect()
    }

    /// Whether a loop has not turned for long.
    #[must_use]
    pub fn stuck(&self) -> bool {
        let mut shards = self.shards.iter();
        shards.any(|shard| shard.published.stuck().is_some())
    }

    /// Why a new interaction could not be watched now: by no shard.
    #[must_use]
    pub fn readiness(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for shard in &self.shards {
            let said = shard.published.readiness();
            if said.is_empty() {
                return said;
            }
            reasons.extend(self.of(shard, said));
        }
        reasons
    }

    /// The verdict in one sentence, for the service manager.
    #[must_use]
    pub fn verdict(&self) -> Arc<str> {
        match self.alone() {
            true => self.main.verdict(),
            false => super::published::in_one_line(&self.snapshot()).into(),
        }
    }

    /// Which conversations have changed, whosever they are.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        self.main.board()
    }

    /// What the store thread found out between orders.
    pub fn aside(&self, aside: Aside) {
        for shard in &self.shards {
            shard.published.aside(aside);
        }
    }

    /// See [`Published::store_is_over`].
    pub fn store_is_over(&self, why: StoreTrouble) {
        self.main.store_is_over(why);
    }

    /// See [`Published::store_over`].
    #[must_use]
    pub fn store_over(&self) -> Option<StoreTrouble> {
        self.main.store_over()
    }

    /// See [`Published::putting_back`].
    #[must_use]
    pub fn putting_back(&self) -> bool {
        self.main.putting_back()
    }

    /// A stop was asked for.
    pub fn stop(&self) {
        for shard in &self.shards {
            shard.published.stop();
        }
    }

    /// Counts of refused requests come from here as well.
    pub fn count_refusals(&self, refusals: Refusals) {
        self.main.count_refusals(refusals);
    }
}
