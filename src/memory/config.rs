//! How a watcher is configured.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::source::{MemorySource, MemoryUse};
use super::watcher::{MemoryWatcher, Stage};
use super::{MemoryAction, Threshold};
use crate::decay::LONGEST;
use crate::manager::{Clock, SystemClock};

/// Why a watcher could not be built or started. Stages are counted from 0.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// There are no stages, so nothing would ever happen.
    NoStages,
    /// A fraction is not above 0 and at most 1.
    BadFraction {
        /// Of which stage.
        stage: usize,
        /// What was asked for.
        asked: f64,
    },
    /// A threshold is zero bytes, and would be reached always.
    ZeroBytes {
        /// Of which stage.
        stage: usize,
    },
    /// A threshold is above the limit that the source tells, and would never be reached.
    AboveLimit {
        /// Of which stage.
        stage: usize,
        /// What was asked for, in bytes.
        asked: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A stage's threshold is not above that of the stage before it.
    NotAscending {
        /// Which stage.
        stage: usize,
    },
    /// The hysteresis is not at least 0 and below 1.
    BadHysteresis {
        /// What was asked for.
        asked: f64,
    },
    /// A threshold is a fraction, and the source tells no limit.
    NoLimit,
    /// The source could not be read.
    Source(String),
    /// The interval is zero: the thread would not rest.
    ZeroInterval,
    /// The interval is longer than a hundred years.
    IntervalTooLong {
        /// What was asked for.
        asked: Duration,
    },
    /// The system gave no thread.
    Thread(String),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStages => f.write_str("no stages to watch for"),
            Self::BadFraction { stage, asked } => {
                write!(f, "stage {stage}: fraction {asked} is not above 0 and at most 1")
            }
            Self::ZeroBytes { stage } => write!(f, "stage {stage}: threshold is zero bytes"),
            Self::AboveLimit { stage, asked, limit } => {
                write!(f, "stage {stage}: threshold of {asked} bytes is above the limit of {limit}")
            }
            Self::NotAscending { stage } => {
                write!(f, "stage {stage}: threshold is not above that of the stage before")
            }
            Self::BadHysteresis { asked } => {
                write!(f, "hysteresis {asked} is not at least 0 and below 1")
            }
            Self::NoLimit => f.write_str("thresholds are fractions of a limit, and none is known"),
            Self::Source(why) => write!(f, "memory in use is unknown: {why}"),
            Self::ZeroInterval => f.write_str("interval is zero"),
            Self::IntervalTooLong { asked } => {
                write!(f, "interval of {} s is longer than a hundred years", asked.as_secs())
            }
            Self::Thread(why) => write!(f, "no thread to watch memory: {why}"),
        }
    }
}

impl Error for WatchError {}

/// Builds a [`MemoryWatcher`].
#[must_use = "a builder does nothing until it is built"]
pub struct MemoryWatcherBuilder {
    source: Box<dyn MemorySource>,
    stages: Vec<(Threshold, MemoryAction)>,
    hysteresis: f64,
    interval: Duration,
    clock: Box<dyn Clock>,
}

impl fmt::Debug for MemoryWatcherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWatcherBuilder")
            .field("stages", &self.stages)
            .field("hysteresis", &self.hysteresis)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl MemoryWatcherBuilder {
    pub(super) fn new(source: impl MemorySource) -> Self {
        Self {
            source: Box::new(source),
            stages: Vec::new(),
            hysteresis: 0.05,
            interval: Duration::from_secs(1),
            clock: Box::new(SystemClock::new()),
        }
    }

    /// Adds a stage. Stages are given in ascending order of their thresholds; at least one is needed.
    pub fn stage(mut self, at: Threshold, action: MemoryAction) -> Self {
        self.stages.push((at, action));
        self
    }

    /// By how much usage must have fallen below a stage's threshold before that stage can fire again: a fraction of
    /// the threshold, at least 0 and below 1. 0.05 by default; with 0 any usage below the threshold is enough.
    pub fn hysteresis(self, fraction: f64) -> Self {
        Self { hysteresis: fraction, ..self }
    }

    /// How long the thread of [`start`](MemoryWatcher::start) rests between checks. A second by default.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// What that thread waits by. The system's monotonic clock by default.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// Builds it, and reads the source once to hold the thresholds against the limit.
    ///
    /// # Errors
    ///
    /// [`WatchError`] if the configuration contradicts itself or the limit, or the source cannot be read.
    ///
    /// # Panics
    ///
    /// If the source does.
    pub fn build(mut self) -> Result<MemoryWatcher, WatchError> {
        if self.stages.is_empty() {
            return Err(WatchError::NoStages);
        }
        // Neither range holds a NaN.
        if !(0.0..1.0).contains(&self.hysteresis) {
            return Err(WatchError::BadHysteresis { asked: self.hysteresis });
        }
        if self.interval.is_zero() {
            return Err(WatchError::ZeroInterval);
        }
        if self.interval > LONGEST {
            return Err(WatchError::IntervalTooLong { asked: self.interval });
        }
        for (stage, &(at, _)) in self.stages.iter().enumerate() {
            match at {
                Threshold::Fraction(asked) if !(asked > 0.0 && asked <= 1.0) => {
                    return Err(WatchError::BadFraction { stage, asked });
                }
                Threshold::Bytes(0) => return Err(WatchError::ZeroBytes { stage }),
                Threshold::Fraction(_) | Threshold::Bytes(_) => {}
            }
        }
        let usage = self.source.read().map_err(|error| WatchError::Source(error.to_string()))?;
        self.hold_against(usage)?;
        let stages = self.stages.into_iter().map(|(at, action)| Stage::new(at, action)).collect();
        Ok(MemoryWatcher::new(self.source, stages, self.hysteresis, self.interval, self.clock))
    }

    /// The thresholds against the limit, and against each other.
    fn hold_against(&self, usage: MemoryUse) -> Result<(), WatchError> {
        let mut before = 0;
        for (stage, &(at, _)) in self.stages.iter().enumerate() {
            let asked = at.bytes(usage.limit).ok_or(WatchError::NoLimit)?;
            match usage.limit {
                Some(limit) if limit > 0 && asked > limit => {
                    return Err(WatchError::AboveLimit { stage, asked, limit });
                }
                _ => {}
            }
            if asked <= before {
                return Err(WatchError::NotAscending { stage });
            }
            before = asked;
        }
        Ok(())
    }
}
