//! How a manager is configured.

use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;

use super::background::Background;
use super::clock::{Clock, SystemClock};
use super::gate::TrimGate;
use super::limits::Limits;
use super::observers::Observers;
use super::{BasicConnManager, Inner, OnTrim, Table};
use crate::connection::Connection;
use crate::names::Names;
use crate::policy::{ByValue, TrimPolicy};
use crate::report::TrimReport;
use crate::sync::AtomicU64;

/// The longest period that is taken: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Why a manager could not be built.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// The low watermark is above the high one.
    LowAboveHigh {
        /// The low watermark.
        low: usize,
        /// The high watermark.
        high: usize,
    },
    /// The silence period is zero: the background thread would not rest.
    ZeroSilence,
    /// A period is longer than a hundred years.
    PeriodTooLong {
        /// Which one.
        period: &'static str,
        /// What was asked for.
        asked: Duration,
    },
    /// The system gave no thread for background trimming.
    Thread(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowAboveHigh { low, high } => {
                write!(f, "low watermark {low} is above high watermark {high}")
            }
            Self::ZeroSilence => f.write_str("silence period is zero"),
            Self::PeriodTooLong { period, asked } => {
                write!(f, "{period} of {} s is longer than a hundred years", asked.as_secs())
            }
            Self::Thread(why) => write!(f, "no thread for background trimming: {why}"),
        }
    }
}

impl Error for ConfigError {}

/// Builds a [`BasicConnManager`].
///
/// # Examples
///
/// ```
/// use connmgr::{BasicConnManager, ConfigError, testing::Loopback};
///
/// let manager = BasicConnManager::<u64, Loopback>::builder().low_water(20).high_water(40).build()?;
/// assert_eq!(manager.info().high_water, 40);
///
/// let refused = BasicConnManager::<u64, Loopback>::builder().low_water(50).high_water(40).build();
/// assert_eq!(refused.unwrap_err(), ConfigError::LowAboveHigh { low: 50, high: 40 });
/// # Ok::<(), ConfigError>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<P, C> {
    low: usize,
    high: usize,
    grace: Duration,
    silence: Duration,
    background: bool,
    seed: Option<u64>,
    clock: Box<dyn Clock>,
    policy: Box<dyn TrimPolicy>,
    on_trim: Option<OnTrim<P>>,
    of: PhantomData<fn() -> C>,
}

impl<P, C> fmt::Debug for Builder<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("low", &self.low)
            .field("high", &self.high)
            .field("grace", &self.grace)
            .field("silence", &self.silence)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}

impl<P, C> Builder<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    pub(super) fn new() -> Self {
        Self {
            low: 160,
            high: 192,
            grace: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            background: true,
            seed: None,
            clock: Box::new(SystemClock::new()),
            policy: Box::new(ByValue::reference()),
            on_trim: None,
            of: PhantomData,
        }
    }

    /// The number of connections that a trim leaves. 160 by default; 0 disables trimming.
    pub fn low_water(self, connections: usize) -> Self {
        Self { low: connections, ..self }
    }

    /// The number of open connections at which background trimming starts. 192 by default; 0 disables trimming.
    pub fn high_water(self, connections: usize) -> Self {
        Self { high: connections, ..self }
    }

    /// How long a peer is exempt from trims after it was first seen. A minute by default; zero is allowed.
    pub fn grace_period(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How long the background thread rests between checks. 10 s by default.
    pub fn silence_period(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// Where time comes from. The system's monotonic clock by default.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// How victims are chosen. [`ByValue::reference`] by default.
    pub fn policy(self, policy: impl TrimPolicy) -> Self {
        Self { policy: Box::new(policy), ..self }
    }

    /// Whether a thread named `connmgr-trim` checks every silence period and trims at the high watermark. True by
    /// default; without it trimming is left to the caller.
    pub fn background(self, background: bool) -> Self {
        Self { background, ..self }
    }

    /// Calls `heard` after every trim that ran, on the thread that trimmed: after the last
    /// [`close`](Connection::close) of that trim and before the next trim begins, with nothing held but the turn to trim.
    pub fn on_trim(self, heard: impl Fn(&TrimReport<P>) + Send + Sync + 'static) -> Self {
        Self { on_trim: Some(Box::new(heard)), ..self }
    }

    /// Keys the hash by `seed`, so that ties in a trim fall the same way each time. For tests: by default the key is random, so
    /// that nobody can choose ids that collide, or one that is cut last.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the configuration contradicts itself or there is no thread to be had.
    pub fn build(self) -> Result<BasicConnManager<P, C>, ConfigError> {
        if self.low > self.high && self.high > 0 {
            return Err(ConfigError::LowAboveHigh { low: self.low, high: self.high });
        }
        if self.silence.is_zero() {
            return Err(ConfigError::ZeroSilence);
        }
        for (period, asked) in [("grace period", self.grace), ("silence period", self.silence)] {
            if asked > LONGEST {
                return Err(ConfigError::PeriodTooLong { period, asked });
            }
        }
        let hasher = self.seed.map_or_else(RandomState::new, |seed| RandomState::with_seeds(seed, 1, 2, 3));
        let inner = Arc::new(Inner {
            table: Table::new(0, hasher),
            names: Names::new(),
            limits: Limits::new((self.low, self.high), (self.grace, self.silence), self.policy, self.clock),
            gate: TrimGate::new(),
            on_trim: self.on_trim,
            observers: Observers::default(),
            ignored: AtomicU64::new(0),
        });
        let background =
            if self.background { Background::start(Arc::clone(&inner))? } else { Background::none() };
        Ok(BasicConnManager { inner, background })
    }
}
