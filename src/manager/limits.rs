//! The manager's configuration and its time.

use std::thread;
use std::time::{Duration, SystemTime};

use super::clock::Clock;
use crate::interface::{ConnLimiter, LimitError};
use crate::policy::TrimPolicy;
use crate::sync::{AtomicU64, Ordering};

/// No trim yet.
const NEVER: u64 = u64::MAX;

/// What a manager was built with. Times are nanoseconds of the manager's clock.
pub(super) struct Limits {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) grace: u64,
    pub(super) silence: u64,
    pub(super) policy: Box<dyn TrimPolicy>,
    clock: Box<dyn Clock>,
    /// The time of day at the clock's origin.
    origin: SystemTime,
    last_trim: AtomicU64,
}

/// Nanoseconds, saturated: 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Limits {
    pub(super) fn new(
        (low, high): (usize, usize),
        (grace, silence): (Duration, Duration),
        policy: Box<dyn TrimPolicy>,
        clock: Box<dyn Clock>,
    ) -> Self {
        let wall = clock.wall();
        Self {
            low,
            high,
            grace: nanos(grace),
            silence: nanos(silence),
            policy,
            origin: wall.checked_sub(clock.now()).unwrap_or(wall),
            clock,
            last_trim: AtomicU64::new(NEVER),
        }
    }

    pub(super) fn now(&self) -> u64 {
        // The last nanosecond stands for "never".
        nanos(self.clock.now()).min(NEVER - 1)
    }

    /// The latest first-seen time that is past the grace period, or `None` if no time is.
    pub(super) fn past_grace(&self) -> Option<u64> {
        self.now().checked_sub(self.grace)
    }

    /// Waits as the clock does, which will never come to the last times there are.
    pub(super) fn wait(&self, until: u64) {
        if until >= NEVER - 1 {
            thread::park();
        } else {
            self.clock.wait(Duration::from_nanos(until));
        }
    }

    /// The time of day of a time of the manager's clock.
    pub(super) fn time_of_day(&self, at: u64) -> SystemTime {
        self.origin.checked_add(Duration::from_nanos(at)).unwrap_or(self.origin)
    }

    /// Low or high zero disables trimming.
    pub(super) fn enabled(&self) -> bool {
        self.low > 0 && self.high > 0
    }

    pub(super) fn trimmed(&self) {
        self.last_trim.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn last_trim(&self) -> Option<SystemTime> {
        let at = self.last_trim.load(Ordering::Relaxed);
        (at != NEVER).then(|| self.time_of_day(at))
    }

    pub(super) fn check(&self, limiter: &dyn ConnLimiter) -> Result<(), LimitError> {
        let limit = limiter.conn_limit();
        if self.high > limit { Err(LimitError { high_water: self.high, limit }) } else { Ok(()) }
    }
}

/// Watermarks, periods and counts of a manager: Go's `CMInfo`.
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
