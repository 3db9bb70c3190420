//! A lock-free, concurrent connection manager.
#![deny(unsafe_code)]

mod connection;
mod epoch;
#[allow(unsafe_code)]
mod index;
mod interface;
mod manager;
mod names;
mod null;
mod peer;
mod policy;
#[allow(unsafe_code)]
mod reclaim;
mod report;
mod snapshot;
#[allow(unsafe_code)]
mod sync;
pub mod testing;
#[allow(unsafe_code)]
mod versioned;

pub use connection::{CloseReason, ConnInfo, Connection, Direction};
pub use interface::{CloseError, ConnLimiter, ConnManager, LimitError, Protection, TagInfo};
pub use manager::{
    BasicConnManager, Builder, CancelToken, Clock, ConfigError, Handle, ManagerInfo, ManualClock, Notifee,
    OwnedPeerHandle, PeerHandle, PeerView, Snapshot, SystemClock,
};
pub use names::{AsTag, Tag};
pub use null::NullConnManager;
pub use policy::{ByValue, Candidate, Census, Rank, Target, TrimPolicy};
pub use report::{
    ClosedPeer, PlannedPeer, SpareReason, SparedPeer, TrimOutcome, TrimPlan, TrimReport, TrimTrigger,
};
pub use versioned::{MAX_WEIGHT, MIN_WEIGHT};
