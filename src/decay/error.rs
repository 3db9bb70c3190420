//! What can be wrong with a decaying tag.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The longest period that is taken anywhere: a hundred years.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Why a decaying tag could not be registered or bumped.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum DecayError {
    /// A decaying tag of that name is registered already.
    Duplicate(String),
    /// The decaying tag has been closed.
    Closed,
    /// There have been 2^30 - 2 decaying tags, and their numbers are not used again.
    TooMany,
    /// The factor of a linear decay is not a number from 0 up to, but not including, 1.
    Factor(f64),
    /// The step of a fixed decay is negative: the value would grow.
    NegativeStep(i64),
    /// The bounds of a bounded sum exclude each other.
    Bounds {
        /// The lower bound.
        min: i64,
        /// The upper bound, which is below it.
        max: i64,
    },
    /// A period is zero.
    ZeroPeriod {
        /// Which one.
        period: &'static str,
    },
    /// A period is longer than a hundred years.
    PeriodTooLong {
        /// Which one.
        period: &'static str,
        /// What was asked for.
        asked: Duration,
    },
}

impl DecayError {
    /// Refuses a period that is zero or too long.
    pub(crate) fn check_period(period: &'static str, asked: Duration) -> Result<(), Self> {
        if asked.is_zero() {
            Err(Self::ZeroPeriod { period })
        } else if asked > LONGEST {
            Err(Self::PeriodTooLong { period, asked })
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for DecayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(name) => write!(f, "decaying tag {name:?} is registered already"),
            Self::Closed => f.write_str("decaying tag is closed"),
            Self::TooMany => f.write_str("too many decaying tags have been registered"),
            Self::Factor(factor) => write!(f, "decay factor {factor} is not at least 0 and below 1"),
            Self::NegativeStep(step) => write!(f, "decay step {step} is negative"),
            Self::Bounds { min, max } => write!(f, "lower bound {min} of bumps is above upper bound {max}"),
            Self::ZeroPeriod { period } => write!(f, "{period} is zero"),
            Self::PeriodTooLong { period, asked } => {
                write!(f, "{period} of {} s is longer than a hundred years", asked.as_secs())
            }
        }
    }
}

impl Error for DecayError {}
