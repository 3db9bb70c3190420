//! How the values of decaying tags decay and are bumped: pure functions of what was stored and of the time, with no atomics
//! and no clock.
//!
//! The reference, go-libp2p's decayer, has a thread that visits every peer at every tick. Here nothing ticks: what is stored
//! is a value as of its last bump (`Stored`), and [`DecayFn::at`] says what ticking would have made of it by a given
//! instant. [`Schedule`] counts the decays in between, so a read
//! after a decade costs hardly more than one after a second.

#![forbid(unsafe_code)]

mod bump;
mod error;
mod function;
mod linear;
mod schedule;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::peer::Stored;

pub use bump::BumpFn;
pub use error::DecayError;
pub(crate) use error::LONGEST;
pub use function::DecayFn;
pub(crate) use schedule::Schedule;

/// What a decay or bump function is shown. Times are those of the manager's [`Clock`](crate::Clock), since its origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DecayingValue {
    /// The value so far; 0 if a bump finds none.
    pub value: i64,
    /// When the peer got the value. One that has decayed away, or was removed, begins anew with the next bump.
    pub added: Duration,
    /// When it was last bumped, the bump not counted that is being applied.
    pub bumped: Duration,
    /// The instant of the decay, which may be long past, or of the bump.
    pub now: Duration,
}

impl DecayingValue {
    /// A value with those facts, for tests of decay and bump functions.
    #[must_use]
    pub fn new(value: i64, added: Duration, bumped: Duration, now: Duration) -> Self {
        Self { value, added, bumped, now }
    }
}

/// What a function is shown of a stored value that has come to be `value`.
fn shown(stored: &Stored, value: i64, now: u64) -> DecayingValue {
    let [added, bumped, now] = [stored.added, stored.bumped, now].map(Duration::from_nanos);
    DecayingValue { value, added, bumped, now }
}
