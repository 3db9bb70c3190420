//! A lock-free, concurrent connection manager.
#![forbid(unsafe_op_in_unsafe_fn)]

mod epoch;
mod index;
mod peer;
mod reclaim;
mod snapshot;
#[allow(unsafe_code)]
mod sync;
mod versioned;
pub use versioned::{MAX_WEIGHT, MIN_WEIGHT};
