//! Scenarios of the filing half against a model of the store: any state in one
//! call, then one fact, then what must come of it. The model checks with every
//! order that nothing goes out before the change behind it is durable.

mod acts;
mod bounds;
mod chance;
mod checking;
mod crowd;
mod http_events;
mod life;
mod posting;
mod lingering;
mod patience;
mod places;
mod store_model;
mod sweep;
mod told;
mod world;
