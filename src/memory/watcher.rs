//! One check: read, compare, trim.

use std::fmt;
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::config::{MemoryWatcherBuilder, WatchError};
use super::source::{MemorySource, MemoryUse};
use super::watch::MemoryWatch;
use super::{MemoryAction, Threshold};
use crate::connection::Connection;
use crate::manager::{BasicConnManager, Clock, Trimmer};
use crate::report::{TrimOutcome, TrimReport, TrimTrigger};

impl Threshold {
    /// In bytes; `None` for a fraction of an unknown limit.
    pub(super) fn bytes(self, limit: Option<u64>) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Fraction(fraction) => {
                let limit = limit.filter(|&limit| limit > 0)?;
                // Rounded up, but never above the limit, which may have more digits than a float.
                Some(((limit as f64 * fraction).ceil() as u64).clamp(1, limit))
            }
        }
    }
}

/// A threshold, and whether it may fire.
pub(super) struct Stage {
    at: Threshold,
    action: MemoryAction,
    armed: bool,
}

impl Stage {
    pub(super) fn new(at: Threshold, action: MemoryAction) -> Self {
        Self { at, action, armed: true }
    }
}

/// What a check found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a trim that falls short says so in its report"]
#[non_exhaustive]
pub struct MemoryCheck<P> {
    /// The figures it went by.
    pub usage: MemoryUse,
    /// The stages that fired, lowest first.
    pub fired: Vec<FiredStage<P>>,
    /// Stages that were due while a trim was running already. They fire at the next check, if usage is still as high.
    pub deferred: usize,
}

/// A stage that fired.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FiredStage<P> {
    /// Which one, counted from 0.
    pub stage: usize,
    /// What its trim did.
    pub report: TrimReport<P>,
}

/// What a watcher has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct WatchInfo {
    /// Checks begun.
    pub checks: u64,
    /// Checks that failed because the source did, or told no limit where one is needed.
    pub failures: u64,
    /// Stages that fired.
    pub fired: u64,
    /// Stages that were put off because a trim was running already.
    pub deferred: u64,
    /// Checks on the watcher's thread in which the source, the policy or the `on_trim` callback panicked.
    pub panics: u64,
}

/// The counts behind a [`WatchInfo`], shared with the thread.
#[derive(Default)]
pub(super) struct Counts {
    checks: AtomicU64,
    failures: AtomicU64,
    fired: AtomicU64,
    deferred: AtomicU64,
    pub(super) panics: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn info(&self) -> WatchInfo {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WatchInfo {
            checks: read(&self.checks),
            failures: read(&self.failures),
            fired: read(&self.fired),
            deferred: read(&self.deferred),
            panics: read(&self.panics),
        }
    }
}

/// Watches memory and trims: see the [module's documentation](super).
pub struct MemoryWatcher {
    source: Box<dyn MemorySource>,
    stages: Vec<Stage>,
    hysteresis: f64,
    pub(super) interval: Duration,
    pub(super) clock: Box<dyn Clock>,
    pub(super) counts: Arc<Counts>,
}

impl MemoryWatcher {
    /// A builder with a hysteresis of 0.05, an interval of a second, and no stages yet.
    pub fn builder(source: impl MemorySource) -> MemoryWatcherBuilder {
        MemoryWatcherBuilder::new(source)
    }

    pub(super) fn new(
        source: Box<dyn MemorySource>,
        stages: Vec<Stage>,
        hysteresis: f64,
        interval: Duration,
        clock: Box<dyn Clock>,
    ) -> Self {
        Self { source, stages, hysteresis, interval, clock, counts: Arc::default() }
    }

    /// Reads the source once, and runs the actions of the stages that usage has risen to, lowest first.
    ///
    /// All go by the one reading. A trim that another thread is running, or this one in whose callback the call is made, is not waited for: what was due is put off
    /// to the next check.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::memory::{MemoryAction, MemoryUse, MemoryWatcher, Threshold};
    /// # use connmgr::{BasicConnManager, testing::Loopback};
    /// # let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
    /// let mut readings = [10, 95, 97].into_iter();
    /// let source = move || {
    ///     let used = readings.next().ok_or_else(|| std::io::Error::other("no more readings"))?;
    ///     Ok(MemoryUse { used, limit: Some(100) })
    /// };
    /// let mut watcher = MemoryWatcher::builder(source) // which reads it once
    ///     .stage(Threshold::Fraction(0.9), MemoryAction::ForceTrim)
    ///     .build()?;
    /// assert_eq!(watcher.check(&manager)?.fired.len(), 1);
    /// assert_eq!(watcher.check(&manager)?.fired.len(), 0, "once for a rise");
    /// assert!(watcher.check(&manager).is_err(), "the source has failed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the source failed with, or that it tells no limit any more and a threshold is a fraction of it. No stage has fired or been armed
    /// then; the failure is counted and logged.
    ///
    /// # Panics
    ///
    /// If the source, the policy or the `on_trim` callback does. The stage whose trim panicked counts as fired.
    ///
    /// # Progress
    ///
    /// As a trim's, but that it waits for no other trim.
    pub fn check<P, C>(&mut self, manager: &BasicConnManager<P, C>) -> io::Result<MemoryCheck<P>>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        C: Connection,
    {
        self.check_by(&manager.trimmer())
    }

    pub(super) fn check_by<P, C>(&mut self, trimmer: &Trimmer<P, C>) -> io::Result<MemoryCheck<P>>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        C: Connection,
    {
        count(&self.counts.checks);
        let (usage, thresholds) = self.read().inspect_err(|error| {
            count(&self.counts.failures);
            tracing::warn!(target: "connmgr", %error, "memory in use is unknown");
        })?;
        let mut check = MemoryCheck { usage, fired: Vec::new(), deferred: 0 };
        for (index, (stage, at)) in self.stages.iter_mut().zip(thresholds).enumerate() {
            if usage.used < at {
                // At most the threshold itself, as the hysteresis is less than 1.
                let slack = (at as f64 * self.hysteresis) as u64;
                stage.armed |= usage.used < at.saturating_sub(slack);
                continue;
            }
            if !stage.armed {
                continue;
            }
            // Before the trim, which may panic: a trim that always does must not run at every check.
            stage.armed = false;
            let trigger = match stage.action {
                MemoryAction::TrimOpenConns => TrimTrigger::Explicit,
                MemoryAction::ForceTrim => TrimTrigger::Emergency,
            };
            let Some(report) = trimmer.trim(trigger) else { break };
            if matches!(report.outcome, TrimOutcome::Busy | TrimOutcome::Reentrant) {
                stage.armed = true;
                check.deferred += 1;
                count(&self.counts.deferred);
                continue;
            }
            count(&self.counts.fired);
            tracing::warn!(
                target: "connmgr",
                stage = index,
                used = usage.used,
                limit = usage.limit,
                closed = report.closed_connections,
                outcome = ?report.outcome,
                "trimmed as memory is short"
            );
            check.fired.push(FiredStage { stage: index, report });
        }
        Ok(check)
    }

    /// The figures, and each stage's threshold in bytes by them.
    fn read(&mut self) -> io::Result<(MemoryUse, Vec<u64>)> {
        let usage = self.source.read()?;
        let thresholds: Option<_> = self.stages.iter().map(|stage| stage.at.bytes(usage.limit)).collect();
        let thresholds = thresholds.ok_or_else(|| io::Error::other(WatchError::NoLimit))?;
        Ok((usage, thresholds))
    }

    /// Checks on a thread of its own, named `connmgr-memory`: at once, and then every interval of its clock, until the watch is stopped or
    /// dropped, or the manager is.
    ///
    /// The thread does not keep the manager alive. [`close`](BasicConnManager::close) does not stop it.
    ///
    /// # Errors
    ///
    /// [`WatchError::Thread`] if the system gives no thread.
    pub fn start<P, C>(self, manager: &BasicConnManager<P, C>) -> Result<MemoryWatch, WatchError>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        C: Connection,
    {
        MemoryWatch::start(self, manager.trimmer())
    }

    /// What it has done so far.
    #[must_use]
    pub fn info(&self) -> WatchInfo {
        self.counts.info()
    }
}

impl fmt::Debug for MemoryWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWatcher")
            .field("stages", &self.stages.iter().map(|stage| stage.at).collect::<Vec<_>>())
            .field("hysteresis", &self.hysteresis)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
