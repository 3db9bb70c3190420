//! What a manager tells of itself.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, SystemTime};

use super::Inner;
use super::settings::GracePer;
use crate::connection::Connection;
use crate::sync::Ordering;

/// The present settings and counts of a manager: Go's `CMInfo`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ManagerInfo {
    /// The low watermark, in connections.
    pub low_water: usize,
    /// The high watermark, in connections.
    pub high_water: usize,
    /// How long a peer is exempt from trims after it was first seen.
    pub grace_period: Duration,
    /// How long the background thread rests between checks.
    pub silence_period: Duration,
    /// Whose grace that is: a peer's, or each connection's.
    pub grace_per: GracePer,
    /// How long tags are kept after a peer's last connection.
    pub keep_tags: Duration,
    /// How many connections a check closes between the watermarks, if it does.
    pub steady: Option<NonZeroUsize>,
    /// How many connections trims close in a second, if that is bounded.
    pub close_rate: Option<NonZeroU32>,
    /// Connections held: open and closing.
    pub connections: usize,
    /// Connections whose close a trim has issued and whose end has not been told yet.
    pub closing: usize,
    /// Peer records, those included that are about to be removed.
    pub peers: usize,
    /// Distinct names of tags and protections written so far; they are kept for the manager's life.
    pub tag_names: usize,
    /// When the last trim of any kind ended.
    pub last_trim: Option<SystemTime>,
    /// Events that were ignored: connected twice, or disconnected without being connected.
    pub ignored_events: u64,
}

impl<P, C> Inner<P, C>
where
    P: Eq + std::hash::Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    pub(super) fn info(&self) -> ManagerInfo {
        let settings = self.settings.load();
        ManagerInfo {
            low_water: settings.low_water,
            high_water: settings.high_water,
            grace_period: settings.grace_period,
            silence_period: settings.silence_period,
            grace_per: settings.grace_per,
            keep_tags: settings.keep_tags,
            steady: settings.steady,
            close_rate: settings.close_rate,
            connections: self.table.connections(),
            closing: self.table.closing(),
            peers: self.table.len(),
            tag_names: self.names.len(),
            last_trim: self.time.last_trim(),
            ignored_events: self.ignored.load(Ordering::Relaxed),
        }
    }
}
