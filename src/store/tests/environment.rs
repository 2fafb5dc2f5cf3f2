//! What the environment does to the store.
