//! What people and machines see of the gateway: one snapshot, rendered as JSON,
//! as metrics, as the verdict in words, and as the page.
//!
//! Invariants: everything is rendered from the same snapshot, so that page,
//! metrics and command agree; no secret and no personal data is in it, ids apart.

pub mod json;
pub mod metrics;
pub mod minutes;
pub mod page;
pub mod snapshot;
pub mod sum;
pub mod verdict;

pub use minutes::Minutes;
pub use snapshot::Snapshot;
pub use verdict::Level;
