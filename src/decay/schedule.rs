//! When the values of a tag decay.

/// The instants at which the values of one tag decay: its *boundaries*, counted from 1. Nanoseconds of the manager's clock.
///
/// Go's decayer ticks once per resolution `R`. At a tick it decays each tag whose next decay is due, once, and puts the next
/// one off by the tag's interval `I`. So the `k`-th decay falls on the first tick at or after `k * I`, the `ceil(k * I / R)`-th: as
/// `I >= R`, that is a later one for each `k`, and no tick ever has two to make up for. By the `n`-th tick those decays have
/// happened for which `ceil(k * I / R) <= n`, that is `k <= n * R / I`. Time is counted from the tag's registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    registered: u64,
    resolution: u64,
    interval: u64,
}

impl Schedule {
    /// An interval below the resolution is raised to it; a resolution of zero is taken for one nanosecond.
    pub(crate) fn new(registered: u64, resolution: u64, interval: u64) -> Self {
        let resolution = resolution.max(1);
        Self { registered, resolution, interval: interval.max(resolution) }
    }

    /// The interval as it is kept to, on average.
    pub(crate) fn interval(&self) -> u64 {
        self.interval
    }

    /// How many decays have happened by `at`, the instant included.
    pub(crate) fn boundaries(&self, at: u64) -> u64 {
        let elapsed = at.saturating_sub(self.registered);
        (elapsed - elapsed % self.resolution) / self.interval
    }

    /// When the `boundary`-th decay happens, or the end of time if it is not within 584 years of the clock's origin.
    pub(crate) fn boundary(&self, boundary: u64) -> u64 {
        let due = u128::from(boundary) * u128::from(self.interval);
        // Up to 2^128 less a resolution: no overflow.
        let tick = due.div_ceil(u128::from(self.resolution)) * u128::from(self.resolution);
        u64::try_from(tick.saturating_add(u128::from(self.registered))).unwrap_or(u64::MAX)
    }
}
