//! What time makes of a value.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::{DecayError, DecayingValue, Schedule, linear, shown};
use crate::peer::Stored;
use crate::versioned::saturate;

/// How a decaying tag's values decay: Go's `DecayFn`.
///
/// Values decay at the *boundaries* of their tag. The `k`-th is the first tick of the manager's decay resolution at or after `k`
/// intervals, both counted from the tag's registration. Nothing runs then: whoever reads or bumps a value gets what all
/// boundaries since its last bump have made of it, as if go-libp2p's decayer had never missed a tick. However long ago the
/// bump was, that takes constant time for every preset but [`linear`](Self::linear), which states its bound, and a bounded
/// number of calls of a [`custom`](Self::custom) function.
///
/// Parameters that make no sense are reported when a tag is registered with them.
///
/// # Examples
///
/// ```
/// use connmgr::{DecayFn, DecayingValue};
/// use std::time::Duration;
///
/// let halved = DecayFn::half_life(Duration::from_secs(3600));
/// assert_eq!(format!("{halved:?}"), "half_life(3600s)");
///
/// /// Takes a tenth off, and a value that was not bumped for a minute away.
/// fn fading(seen: &DecayingValue) -> Option<i64> {
///     let idle = seen.now.saturating_sub(seen.bumped);
///     (idle < Duration::from_secs(60)).then_some(seen.value - seen.value / 10)
/// }
/// let seconds = Duration::from_secs;
/// assert_eq!(fading(&DecayingValue::new(50, seconds(0), seconds(10), seconds(20))), Some(45));
/// assert_eq!(fading(&DecayingValue::new(50, seconds(0), seconds(10), seconds(70))), None);
/// let fading = DecayFn::custom(fading);
/// ```
#[derive(Clone)]
pub struct DecayFn(Kind);

type Custom = dyn Fn(&DecayingValue) -> Option<i64> + Send + Sync;

#[derive(Clone)]
enum Kind {
    None,
    Fixed(i64),
    Linear(f64),
    HalfLife(Duration),
    ExpireWhenInactive(Duration),
    TimeToLive(Duration),
    Custom(Arc<Custom>),
}

/// How often a custom function is called in one evaluation, at most.
pub(super) const CALLS: u64 = 1024;

impl DecayFn {
    /// Values stay as they are.
    #[doc(alias = "DecayNone")]
    #[must_use]
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// Each boundary takes `step` off; what is 0 or less then is removed.
    ///
    /// # Errors
    ///
    /// Registration reports [`DecayError::NegativeStep`] if `step` is negative.
    #[doc(alias = "DecayFixed")]
    #[must_use]
    pub fn fixed(step: i64) -> Self {
        Self(Kind::Fixed(step))
    }

    /// Each boundary multiplies by `factor`, in double precision, and rounds down; what is 0 or less then is removed.
    ///
    /// As each boundary rounds, this has no closed form, but boundaries that take equally much off are evaluated together.
    /// So a read takes no more evaluations than `44 / (1 - factor) + 200`, than `value * (1 - factor) + 200`, and than there were
    /// boundaries since the last bump: never more than 7,000 for a value of a million. An evaluation is a few multiplications
    /// if it stands for a few boundaries, and at worst about 120. [`half_life`](Self::half_life) takes constant time.
    ///
    /// # Errors
    ///
    /// Registration reports [`DecayError::Factor`] unless `0 <= factor < 1`.
    #[doc(alias = "DecayLinear")]
    #[must_use]
    pub fn linear(factor: f64) -> Self {
        Self(Kind::Linear(factor))
    }

    /// Decays exponentially: halves in every `half_life`.
    ///
    /// After `n` boundaries the value is what it was right after its last bump, times `2^(-n * interval / half_life)`,
    /// rounded down, and is removed if that is 0 or less. It is rounded once, and not at each boundary as by
    /// [`linear`](Self::linear).
    ///
    /// # Errors
    ///
    /// Registration reports [`DecayError::ZeroPeriod`] or [`DecayError::PeriodTooLong`] if it is zero or longer than a
    /// hundred years.
    #[must_use]
    pub fn half_life(half_life: Duration) -> Self {
        Self(Kind::HalfLife(half_life))
    }

    /// The first boundary at which the last bump is `after` or longer ago removes the value; until then it stays as it is.
    ///
    /// (Go's function of that name sets the value to 0 at the first boundary and never removes it.)
    ///
    /// # Errors
    ///
    /// Registration reports [`DecayError::ZeroPeriod`] or [`DecayError::PeriodTooLong`] if it is zero or longer than a
    /// hundred years.
    #[doc(alias = "DecayExpireWhenInactive")]
    #[must_use]
    pub fn expire_when_inactive(after: Duration) -> Self {
        Self(Kind::ExpireWhenInactive(after))
    }

    /// The first boundary at which the peer has had the value for `lifetime` or longer removes it, bumped or not; until then
    /// it stays as it is. A bump after that begins anew.
    ///
    /// # Errors
    ///
    /// Registration reports [`DecayError::ZeroPeriod`] or [`DecayError::PeriodTooLong`] if it is zero or longer than a
    /// hundred years.
    #[must_use]
    pub fn time_to_live(lifetime: Duration) -> Self {
        Self(Kind::TimeToLive(lifetime))
    }

    /// Each boundary makes of the value what `decay` returns, saturated to
    /// [`MIN_WEIGHT`](crate::MIN_WEIGHT)`..=`[`MAX_WEIGHT`](crate::MAX_WEIGHT), and removes it if that is `None`. (A value of 0
    /// or less stays, as in Go, if the function does not remove it.)
    ///
    /// Nothing is called at the boundary itself. Every read of the value (of the tag, of the peer's total, in snapshots and
    /// trims) and every bump calls `decay` for each boundary since the last bump, on the thread that reads or bumps. So it may
    /// be called any number of times for one boundary, and should compute from what it is shown alone, where `now` is the
    /// boundary's instant.
    ///
    /// One evaluation makes at most 1,024 calls: if there were more boundaries since the last bump, `decay` is called for the
    /// first 1,023 and for the latest one, and those between are taken to have changed nothing.
    ///
    /// # Panics
    ///
    /// If `decay` panics, that is caught and logged, and the value is taken to be what it was right after its last bump: not to
    /// have decayed at all. The next evaluation tries again.
    #[must_use]
    pub fn custom(decay: impl Fn(&DecayingValue) -> Option<i64> + Send + Sync + 'static) -> Self {
        Self(Kind::Custom(Arc::new(decay)))
    }

    /// Whether its parameters make sense. [`at`](Self::at) is for functions that have passed.
    pub(crate) fn check(&self) -> Result<(), DecayError> {
        match self.0 {
            Kind::Fixed(step) if step < 0 => Err(DecayError::NegativeStep(step)),
            Kind::Linear(factor) if !(0.0..1.0).contains(&factor) => Err(DecayError::Factor(factor)),
            Kind::HalfLife(period) => DecayError::check_period("half-life", period),
            Kind::ExpireWhenInactive(period) => DecayError::check_period("inactive period", period),
            Kind::TimeToLive(period) => DecayError::check_period("time to live", period),
            Kind::None | Kind::Fixed(_) | Kind::Linear(_) | Kind::Custom(_) => Ok(()),
        }
    }

    /// Whether a value that was last bumped at `one` time is, at any later one, what it would be if it had been bumped at the `other`.
    pub(crate) fn same_from(&self, one: u64, other: u64, schedule: &Schedule) -> bool {
        let boundaries = match self.0 {
            Kind::Custom(_) => return one == other,
            // All that counts is the boundary that removes it: the first one so much later, or after that.
            Kind::ExpireWhenInactive(after) => {
                let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX).saturating_sub(1);
                [one, other].map(|at| schedule.boundaries(at.saturating_add(after)))
            }
            _ => [one, other].map(|at| schedule.boundaries(at)),
        };
        boundaries[0] == boundaries[1]
    }

    /// The value at `now`, or `None` if it has decayed away. At a time before the last bump it is what that bump made it.
    pub(crate) fn at(&self, stored: &Stored, schedule: &Schedule, now: u64) -> Option<i64> {
        let value = stored.value;
        let (from, to) = (schedule.boundaries(stored.bumped), schedule.boundaries(now));
        let passed = to.saturating_sub(from);
        if passed == 0 {
            return Some(value);
        }
        // Whether, at the latest boundary, `since` was that long ago: as of no boundary before, if not.
        let for_long = |since: u64, period: Duration| {
            u128::from(schedule.boundary(to).saturating_sub(since)) >= period.as_nanos()
        };
        match &self.0 {
            Kind::None => Some(value),
            Kind::Fixed(step) => fixed(value, *step, passed),
            Kind::Linear(factor) => linear::decayed(value, *factor, passed),
            Kind::HalfLife(half_life) => {
                exponential(value, u128::from(passed) * u128::from(schedule.interval()), half_life.as_nanos())
            }
            Kind::ExpireWhenInactive(after) => (!for_long(stored.bumped, *after)).then_some(value),
            Kind::TimeToLive(lifetime) => (!for_long(stored.added, *lifetime)).then_some(value),
            Kind::Custom(decay) => {
                let stepped = AssertUnwindSafe(|| stepped(&**decay, stored, schedule, from, to));
                catch_unwind(stepped).unwrap_or_else(|payload| {
                    // Its destructor might panic, too.
                    mem::forget(payload);
                    tracing::error!(target: "connmgr", "a decay function panicked");
                    Some(value)
                })
            }
        }
    }
}

/// `value` after that many steps (one at least), each of which removes what is not positive.
fn fixed(value: i64, step: i64, steps: u64) -> Option<i64> {
    // The least of positive values is the last one: if that is positive, so were all.
    let last = i128::from(value) - i128::from(step) * i128::from(steps);
    i64::try_from(last).ok().filter(|last| *last > 0)
}

/// `value * 2^(-elapsed / half_life)`, rounded down, if that is positive.
fn exponential(value: i64, elapsed: u128, half_life: u128) -> Option<i64> {
    // Whole halvings are exact, also of what a double cannot hold.
    let halvings = elapsed / half_life;
    let rest = (elapsed % half_life) as f64 / half_life as f64;
    // A value that becomes a greater double must not grow.
    let value = if rest > 0.0 { ((value as f64 * (-rest).exp2()) as i64).min(value) } else { value };
    (halvings < 63).then(|| value >> halvings).filter(|value| *value > 0)
}

/// What `decay` makes of a value, called for the boundaries after `from` up to `to`, or as many of them as it may be.
fn stepped(decay: &Custom, stored: &Stored, schedule: &Schedule, from: u64, to: u64) -> Option<i64> {
    let latest_of_first = from + (to - from).min(CALLS - 1);
    let mut boundaries = (from + 1..=latest_of_first).chain((latest_of_first < to).then_some(to));
    boundaries.try_fold(stored.value, |value, boundary| {
        decay(&shown(stored, value, schedule.boundary(boundary))).map(saturate)
    })
}

impl fmt::Debug for DecayFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::None => f.write_str("none"),
            Kind::Fixed(step) => write!(f, "fixed({step})"),
            Kind::Linear(factor) => write!(f, "linear({factor})"),
            Kind::HalfLife(period) => write!(f, "half_life({period:?})"),
            Kind::ExpireWhenInactive(period) => write!(f, "expire_when_inactive({period:?})"),
            Kind::TimeToLive(period) => write!(f, "time_to_live({period:?})"),
            Kind::Custom(_) => f.write_str("custom(..)"),
        }
    }
}
