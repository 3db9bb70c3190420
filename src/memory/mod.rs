//! Trims when memory runs short.
//!
//! A [`MemoryWatcher`] compares the memory in use, as a [`MemorySource`] tells it, with thresholds in ascending *stages*. A stage fires once when
//! usage rises to its threshold, and then not again until usage has fallen below that by the hysteresis. Each has an action: a trim
//! by the policy, or one that closes protected peers too if it must.
//!
//! Nothing is watched unless a program asks for it: by a call of [`check`](MemoryWatcher::check) whenever it likes, or on a thread that
//! [`start`](MemoryWatcher::start) starts.
//!
//! Both actions close connections down to the low watermark and none below it, however much memory is in use. A node that cannot
//! afford that many connections has its low watermark too high. Trims of a manager whose trimming is disabled close nothing.
//!
//! Trims are heard of as all others are, by [`on_trim`](crate::Builder::on_trim), as [`Explicit`](crate::TrimTrigger::Explicit) or
//! [`Emergency`](crate::TrimTrigger::Emergency).
//!
//! # Examples
//!
//! ```
//! use connmgr::memory::{MemoryAction, MemoryWatcher, SystemMemory, Threshold};
//! use connmgr::{BasicConnManager, testing::Loopback};
//! use std::time::Duration;
//!
//! let manager = BasicConnManager::<u64, Loopback>::builder().build()?;
//! let watch = MemoryWatcher::builder(SystemMemory::new()?)
//!     .stage(Threshold::Fraction(0.75), MemoryAction::TrimOpenConns)
//!     .stage(Threshold::Fraction(0.9), MemoryAction::ForceTrim)
//!     .interval(Duration::from_secs(1))
//!     .build()?
//!     .start(&manager)?;
//! // ... the node runs ...
//! watch.stop()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod config;
mod source;
mod system;
mod watch;
mod watcher;

pub use config::{MemoryWatcherBuilder, WatchError};
pub use source::{MemorySource, MemoryUse};
pub use system::SystemMemory;
pub use watch::MemoryWatch;
pub use watcher::{FiredStage, MemoryCheck, MemoryWatcher, WatchInfo};

/// The usage at which a stage fires.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Threshold {
    /// A fraction of the limit, above 0 and at most 1. It follows a limit that changes.
    Fraction(f64),
    /// So many bytes in use, above 0 and at most the limit, if one is known.
    Bytes(u64),
}

/// What a stage does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryAction {
    /// [`trim_open_conns`](crate::BasicConnManager::trim_open_conns): by the policy, with regard to grace and protection.
    TrimOpenConns,
    /// [`force_trim`](crate::BasicConnManager::force_trim): without regard to grace, and to protection only as long as
    /// unprotected peers are enough.
    ForceTrim,
}
