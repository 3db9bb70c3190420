//! What can be set, when a manager is built and while it runs, and what is refused.

use std::error::Error;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use crate::decay::LONGEST;
use crate::interface::{ConnLimiter, LimitError};
use crate::policy::{ByValue, TrimPolicy};

/// Why settings were refused or a manager could not be built.
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
    /// The resolution of decaying tags is zero: no interval would be a number of them.
    ZeroResolution,
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

impl ConfigError {
    /// Refuses a period that is too long.
    pub(super) fn check_period(period: &'static str, asked: Duration) -> Result<(), Self> {
        if asked > LONGEST { Err(Self::PeriodTooLong { period, asked }) } else { Ok(()) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowAboveHigh { low, high } => {
                write!(f, "low watermark {low} is above high watermark {high}")
            }
            Self::ZeroSilence => f.write_str("silence period is zero"),
            Self::ZeroResolution => f.write_str("decay resolution is zero"),
            Self::PeriodTooLong { period, asked } => {
                write!(f, "{period} of {} s is longer than a hundred years", asked.as_secs())
            }
            Self::Thread(why) => write!(f, "no thread for background trimming: {why}"),
        }
    }
}

impl Error for ConfigError {}

/// Whose the grace period is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum GracePer {
    /// A peer's, from when it was first seen: then all its connections may be closed, also those opened just now. As in Go.
    #[default]
    Peer,
    /// Each connection's, from when it was opened: only those past their grace count as candidates, and only they are closed; where
    /// a rule speaks of whole peers, it means these connections of the peer.
    Connection,
}

/// All that can be changed while a manager runs: see [`reconfigure`](crate::BasicConnManager::reconfigure).
///
/// The fields can be read and written; a method of the same name sets one and can be chained. [`Builder`](crate::Builder) has the same methods.
/// Whether settings contradict themselves is asked once, when they are put into effect.
///
/// # Examples
///
/// ```
/// use connmgr::{ByValue, GracePer, Settings};
/// use std::num::NonZeroUsize;
///
/// let settings = Settings::default()
///     .low_water(20)
///     .high_water(40)
///     .grace_per(GracePer::Connection)
///     .steady(NonZeroUsize::new(2))
///     .policy(ByValue::exact());
/// assert_eq!(settings.low_water, 20);
/// assert!(settings.close_rate.is_none());
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The number of connections that a trim leaves. 160 by default; 0 disables trimming.
    pub low_water: usize,
    /// The number of open connections at which background trimming starts. 192 by default; 0 disables trimming.
    pub high_water: usize,
    /// How long a peer or connection is exempt from trims. A minute by default; zero is allowed, and more than a hundred years is not.
    /// Temporary records go after it, too.
    pub grace_period: Duration,
    /// How long the background thread rests between checks. 10 s by default; zero, or more than a hundred years, is not allowed.
    pub silence_period: Duration,
    /// Whose the grace period is. The peer's by default.
    pub grace_per: GracePer,
    /// How long a peer's tags are kept after its last connection ended. Zero by default, as in Go: they go with it. At most a hundred years.
    ///
    /// A peer that returns sooner finds them; one that returns when that time has passed does not. Meanwhile the peer is as a
    /// temporary one: [`tag_info`](crate::BasicConnManager::tag_info) shows its tags, no connections, and as first-seen time
    /// when it left; tags can be written, which does not prolong the time; untagging the last one ends it. What is left when the time
    /// is over goes with the next trim of any kind or, with background trimming, within a silence period: until then it is still shown,
    /// and what is written to it goes with it. Protections stay.
    pub keep_tags: Duration,
    /// Steady mode: each check of the background thread that finds more connections open than the low watermark closes at most
    /// so many, in the policy's order, rather than none until the high watermark is reached and many then. (A peer is closed whole, so the
    /// last one may exceed that by its further connections.) At the high watermark or above it trims in full. `None` by default.
    pub steady: Option<NonZeroUsize>,
    /// How many connections trims may close in a second, emergencies apart. `None`, no bound, by default.
    ///
    /// A token bucket that holds one second's worth and is full at first; each connection closed takes one. A trim goes on to the next
    /// peer while the bucket is not empty. A peer is closed whole, so the last one may put the bucket into debt by its further
    /// connections, which is paid off before anything else is closed. A trim that is cut short says
    /// [`RateLimited`](crate::TrimOutcome::RateLimited); the background thread makes up for it at its next checks, down to the low watermark. (It
    /// closes about one second's worth each silence period, then, if that is longer than a second.) [`force_trim`](crate::BasicConnManager::force_trim)
    /// neither waits for tokens nor takes any.
    pub close_rate: Option<NonZeroU32>,
    /// How victims are chosen, and how many. [`ByValue::reference`] by default, whose target is Go's; [`ByValue::exact`] goes down to the low
    /// watermark exactly.
    pub policy: Arc<dyn TrimPolicy>,
}

impl Default for Settings {
    /// The reference's defaults.
    fn default() -> Self {
        Self {
            low_water: 160,
            high_water: 192,
            grace_period: Duration::from_secs(60),
            silence_period: Duration::from_secs(10),
            grace_per: GracePer::Peer,
            keep_tags: Duration::ZERO,
            steady: None,
            close_rate: None,
            policy: Arc::new(ByValue::reference()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("low_water", &self.low_water)
            .field("high_water", &self.high_water)
            .field("grace_period", &self.grace_period)
            .field("silence_period", &self.silence_period)
            .field("grace_per", &self.grace_per)
            .field("keep_tags", &self.keep_tags)
            .field("steady", &self.steady)
            .field("close_rate", &self.close_rate)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Sets [`low_water`](Self#structfield.low_water).
    #[must_use]
    pub fn low_water(self, connections: usize) -> Self {
        Self { low_water: connections, ..self }
    }

    /// Sets [`high_water`](Self#structfield.high_water).
    #[must_use]
    pub fn high_water(self, connections: usize) -> Self {
        Self { high_water: connections, ..self }
    }

    /// Sets [`grace_period`](Self#structfield.grace_period).
    #[must_use]
    pub fn grace_period(self, grace: Duration) -> Self {
        Self { grace_period: grace, ..self }
    }

    /// Sets [`silence_period`](Self#structfield.silence_period).
    #[must_use]
    pub fn silence_period(self, silence: Duration) -> Self {
        Self { silence_period: silence, ..self }
    }

    /// Sets [`grace_per`](Self#structfield.grace_per).
    #[must_use]
    pub fn grace_per(self, whose: GracePer) -> Self {
        Self { grace_per: whose, ..self }
    }

    /// Sets [`keep_tags`](Self#structfield.keep_tags).
    #[must_use]
    pub fn keep_tags(self, time: Duration) -> Self {
        Self { keep_tags: time, ..self }
    }

    /// Sets [`steady`](Self#structfield.steady); `None` turns it off.
    #[must_use]
    pub fn steady(self, closes: impl Into<Option<NonZeroUsize>>) -> Self {
        Self { steady: closes.into(), ..self }
    }

    /// Sets [`close_rate`](Self#structfield.close_rate); `None` lifts the bound.
    #[must_use]
    pub fn close_rate(self, per_second: impl Into<Option<NonZeroU32>>) -> Self {
        Self { close_rate: per_second.into(), ..self }
    }

    /// Sets [`policy`](Self#structfield.policy).
    #[must_use]
    pub fn policy(self, policy: impl TrimPolicy) -> Self {
        Self { policy: Arc::new(policy), ..self }
    }

    /// Refuses what contradicts itself.
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        if self.low_water > self.high_water && self.high_water > 0 {
            return Err(ConfigError::LowAboveHigh { low: self.low_water, high: self.high_water });
        }
        if self.silence_period.is_zero() {
            return Err(ConfigError::ZeroSilence);
        }
        ConfigError::check_period("grace period", self.grace_period)?;
        ConfigError::check_period("silence period", self.silence_period)?;
        ConfigError::check_period("time to keep tags", self.keep_tags)?;
        Ok(self)
    }

    /// Low or high zero disables trimming.
    pub(super) fn enabled(&self) -> bool {
        self.low_water > 0 && self.high_water > 0
    }

    /// Whether a watermark is lower than `before`: one that is disabled counts as higher than any.
    pub(super) fn lowers(&self, before: &Self) -> bool {
        let marks = |settings: &Self| {
            if settings.enabled() {
                (settings.low_water, settings.high_water)
            } else {
                (usize::MAX, usize::MAX)
            }
        };
        let ((low, high), (low_before, high_before)) = (marks(self), marks(before));
        low < low_before || high < high_before
    }

    pub(super) fn check(&self, limiter: &dyn ConnLimiter) -> Result<(), LimitError> {
        let limit = limiter.conn_limit();
        if self.high_water > limit { Err(LimitError { high_water: self.high_water, limit }) } else { Ok(()) }
    }
}
