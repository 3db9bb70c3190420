//! What a bump makes of a value.

use std::fmt;
use std::sync::Arc;

use super::{DecayError, DecayingValue, shown};
use crate::peer::Stored;
use crate::versioned::saturate;

/// What a bump makes of a decaying tag's value: Go's `BumpFn`.
///
/// A peer that has no value, because it never had one or because it has decayed away, is taken to have 0. What comes out is
/// saturated to [`MIN_WEIGHT`](crate::MIN_WEIGHT)`..=`[`MAX_WEIGHT`](crate::MAX_WEIGHT). Parameters that make no sense are
/// reported when a tag is registered with them.
///
/// # Examples
///
/// ```
/// use connmgr::{BumpFn, DecayingValue};
/// use std::time::Duration;
///
/// let bounded = BumpFn::sum_bounded(0, 100);
/// assert_eq!(format!("{bounded:?}"), "sum_bounded(0, 100)");
///
/// /// Counts double what comes within a second of the last bump.
/// fn eager(seen: &DecayingValue, delta: i64) -> i64 {
///     let close = seen.now.saturating_sub(seen.bumped) < Duration::from_secs(1);
///     seen.value.saturating_add(if close { delta.saturating_mul(2) } else { delta })
/// }
/// let seconds = Duration::from_secs;
/// assert_eq!(eager(&DecayingValue::new(5, seconds(1), seconds(3), seconds(3)), 10), 25);
/// assert_eq!(eager(&DecayingValue::new(5, seconds(1), seconds(3), seconds(4)), 10), 15);
/// let eager = BumpFn::custom(eager);
/// ```
#[derive(Clone)]
pub struct BumpFn(Kind);

type Custom = dyn Fn(&DecayingValue, i64) -> i64 + Send + Sync;

#[derive(Clone)]
enum Kind {
    SumUnbounded,
    SumBounded(i64, i64),
    Overwrite,
    Custom(Arc<Custom>),
}

impl BumpFn {
    /// Adds the delta.
    #[doc(alias = "BumpSumUnbounded")]
    #[must_use]
    pub fn sum_unbounded() -> Self {
        Self(Kind::SumUnbounded)
    }

    /// Adds the delta and keeps the sum within `min..=max`. (Decay may take the value below `min`, until the next bump.)
    ///
    /// # Errors
    ///
    /// Registration reports [`DecayError::Bounds`] if `min` is above `max`.
    #[doc(alias = "BumpSumBounded")]
    #[must_use]
    pub fn sum_bounded(min: i64, max: i64) -> Self {
        Self(Kind::SumBounded(min, max))
    }

    /// Replaces the value by the delta.
    #[doc(alias = "BumpOverwrite")]
    #[must_use]
    pub fn overwrite() -> Self {
        Self(Kind::Overwrite)
    }

    /// Makes of the value and the delta what `bump` returns.
    ///
    /// It may be called more than once for one bump, if other threads change the peer meanwhile; the result of the last
    /// call is stored.
    ///
    /// # Panics
    ///
    /// A panic of `bump` goes to the caller that bumps, and the value stays as it was.
    #[must_use]
    pub fn custom(bump: impl Fn(&DecayingValue, i64) -> i64 + Send + Sync + 'static) -> Self {
        Self(Kind::Custom(Arc::new(bump)))
    }

    /// Whether its parameters make sense.
    pub(crate) fn check(&self) -> Result<(), DecayError> {
        match self.0 {
            Kind::SumBounded(min, max) if min > max => Err(DecayError::Bounds { min, max }),
            _ => Ok(()),
        }
    }

    /// Whether its answer may depend on when the value was last bumped.
    pub(crate) fn reads_last_bump(&self) -> bool {
        matches!(self.0, Kind::Custom(_))
    }

    /// The value after a bump by `delta` at `now`. `current` is what the value has decayed to by then, and what is stored of
    /// it, if there is one.
    pub(crate) fn apply(&self, current: Option<(i64, &Stored)>, delta: i64, now: u64) -> i64 {
        let value = current.map_or(0, |(value, _)| value);
        saturate(match &self.0 {
            Kind::SumUnbounded => value.saturating_add(delta),
            Kind::SumBounded(min, max) => value.saturating_add(delta).max(*min).min(*max),
            Kind::Overwrite => delta,
            Kind::Custom(bump) => {
                let new = Stored { value, bumped: now, added: now };
                let stored = current.map_or(&new, |(_, stored)| stored);
                bump(&shown(stored, value, now), delta)
            }
        })
    }
}

impl fmt::Debug for BumpFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::SumUnbounded => f.write_str("sum_unbounded"),
            Kind::SumBounded(min, max) => write!(f, "sum_bounded({min}, {max})"),
            Kind::Overwrite => f.write_str("overwrite"),
            Kind::Custom(_) => f.write_str("custom(..)"),
        }
    }
}
