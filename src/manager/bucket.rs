//! Closes per second: a token bucket on the manager's clock.

#![expect(
    clippy::disallowed_types,
    reason = "held for a few instructions, by trims and plans only; no table operation waits for it"
)]

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one token is in the bucket's unit, of which at a rate of `r` tokens a second `r` flow in each nanosecond: exact at any rate.
const TOKEN: i128 = 1_000_000_000;

/// A bucket that holds one second's worth and may go into debt. It is full at first.
#[derive(Debug)]
pub(super) struct Bucket(Mutex<Level>);

#[derive(Clone, Copy, Debug)]
struct Level {
    /// What is in it, or below zero the debt.
    held: i128,
    /// When that was so.
    at: u64,
}

impl Level {
    fn later(self, rate: NonZeroU32, now: u64) -> Self {
        // A clock that goes back gives nothing and takes nothing that it gave, and from there it goes on.
        let flown = i128::from(now.saturating_sub(self.at)) * i128::from(rate.get());
        let full = i128::from(rate.get()) * TOKEN;
        Self { held: self.held.saturating_add(flown).min(full), at: now }
    }
}

impl Bucket {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Level { held: i128::MAX, at: 0 }))
    }

    fn level(&self) -> MutexGuard<'_, Level> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tokens are in it: at most `rate`, a second's worth, and none if it is in debt.
    pub(super) fn tokens(&self, rate: NonZeroU32, now: u64) -> usize {
        let held = self.level().later(rate, now).held;
        usize::try_from((held / TOKEN).max(0)).unwrap_or(usize::MAX)
    }

    /// Fills it up to `now`. For whoever has the turn to trim: of several threads, one might have an older `now`, and fill it twice.
    pub(super) fn fill(&self, rate: NonZeroU32, now: u64) {
        let mut level = self.level();
        *level = level.later(rate, now);
    }

    /// Takes `tokens` from it, filled before, into debt if need be.
    pub(super) fn take(&self, tokens: usize) {
        self.level().held -= tokens as i128 * TOKEN;
    }
}
