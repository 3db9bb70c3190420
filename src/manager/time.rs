//! The manager's time.

use std::thread;
use std::time::{Duration, SystemTime};

use super::clock::Clock;
use crate::sync::{AtomicU64, Ordering};

/// No trim yet.
const NEVER: u64 = u64::MAX;

/// The last time there is: 292 years, as a record's times have 63 bits, and one nanosecond less, so that there is a later one.
const LAST: u64 = (1 << 63) - 2;

/// Time in nanoseconds of the manager's clock.
pub(super) struct Time {
    clock: Box<dyn Clock>,
    /// The time of day at the clock's origin.
    origin: SystemTime,
    last_trim: AtomicU64,
}

/// Nanoseconds, saturated: 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Time {
    pub(super) fn new(clock: Box<dyn Clock>) -> Self {
        let wall = clock.wall();
        let origin = wall.checked_sub(clock.now()).unwrap_or(wall);
        Self { clock, origin, last_trim: AtomicU64::new(NEVER) }
    }

    /// Now, saturated.
    pub(super) fn now(&self) -> u64 {
        nanos(self.clock.now()).min(LAST)
    }

    /// Waits as the clock does, which will never come to the last times there are.
    pub(super) fn wait(&self, until: u64) {
        if until >= LAST {
            thread::park();
        } else {
            self.clock.wait(Duration::from_nanos(until));
        }
    }

    /// The time of day of a time of the manager's clock.
    pub(super) fn time_of_day(&self, at: u64) -> SystemTime {
        self.origin.checked_add(Duration::from_nanos(at)).unwrap_or(self.origin)
    }

    pub(super) fn trimmed(&self) {
        self.last_trim.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn last_trim(&self) -> Option<SystemTime> {
        let at = self.last_trim.load(Ordering::Relaxed);
        (at != NEVER).then(|| self.time_of_day(at))
    }
}
