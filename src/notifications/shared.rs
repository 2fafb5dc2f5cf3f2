//! A value that is replaced while others use it: certificates, tokens, credentials after a reload.
//!
//! Invariant: the lock is held for a clone only, so nobody waits for another's use.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// One value for all clones of this.
pub struct Shared<T>(Arc<RwLock<T>>);

impl<T: Clone> Shared<T> {
    /// With its first value.
    #[must_use]
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(RwLock::new(value)))
    }

    /// The value as of now.
    #[must_use]
    pub fn get(&self) -> T {
        // A value is whole whatever happened to another holder.
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Another value, for whoever asks from now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T: Clone> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared::new(value)
    }
}

/// What is shared may be secret.
impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}
