//! What operators see: the page, from the same snapshot as everything else they are told.

pub mod page;
