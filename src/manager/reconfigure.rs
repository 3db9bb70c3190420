//! Changing the settings of a manager that runs.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;

use super::{BasicConnManager, CancelToken, ConfigError, Settings};
use crate::connection::Connection;
use crate::report::{TrimOutcome, TrimReport, TrimTrigger};

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// The present settings.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, testing::Loopback};
    /// let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build()?;
    /// assert_eq!(manager.settings().low_water, 160);
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    ///
    /// # Progress
    ///
    /// Wait-free.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.inner.settings.load())
    }

    /// Puts into effect what `change` makes of the present settings, all at once, and if a watermark is lower than before, trims down to the
    /// low one at once, the high one regardless. (Trimming that was disabled counts as watermarks above any.)
    ///
    /// Returns the report of that trim, whose trigger is [`Reconfigured`](TrimTrigger::Reconfigured), or `None` if there was no
    /// reason for one. It waits for a trim that is running, which goes on with the settings it began with. From a callback of a trim on the
    /// same thread it cannot wait: the settings are changed, the report says [`Reentrant`](TrimOutcome::Reentrant), and the
    /// background thread, if there is one, trims at its next check.
    ///
    /// A new silence period holds at once, counted from when the background thread began to rest; a new grace period and a new time to keep
    /// tags also for peers that are there.
    ///
    /// `change` runs again if another thread changed the settings meanwhile. It may call the manager; if it panics, nothing is changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use connmgr::{BasicConnManager, ConfigError, TrimTrigger, testing::Loopback};
    /// use std::time::Duration;
    ///
    /// let manager = BasicConnManager::<u64, Loopback>::builder()
    ///     .low_water(20).high_water(40).grace_period(Duration::ZERO).background(false)
    ///     .build()?;
    /// (0..15).for_each(|peer| manager.connected(&peer, Loopback::inbound(peer)));
    ///
    /// let report = manager.reconfigure(|settings| settings.low_water(10).high_water(20))?;
    /// let report = report.expect("a watermark was lowered");
    /// assert_eq!((report.trigger, report.closed_connections), (TrimTrigger::Reconfigured, 5));
    ///
    /// let refused = manager.reconfigure(|settings| settings.low_water(30));
    /// assert_eq!(refused.unwrap_err(), ConfigError::LowAboveHigh { low: 30, high: 20 });
    /// assert_eq!(manager.info().low_water, 10, "nothing was changed");
    /// # Ok::<(), ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the new settings contradict themselves: then nothing is changed.
    ///
    /// # Panics
    ///
    /// If `change` does; if it trims, as [`trim_open_conns`](Self::trim_open_conns).
    ///
    /// # Progress
    ///
    /// Changing the settings is lock-free. The trim, if there is one, is blocking among trims; no other call waits for it, and it for none.
    ///
    /// # Consistency
    ///
    /// Each trim goes by one set of settings from its beginning to its end.
    pub fn reconfigure(
        &self,
        mut change: impl FnMut(Settings) -> Settings,
    ) -> Result<Option<TrimReport<P>>, ConfigError> {
        let inner = &*self.inner;
        let mut before = inner.settings.load_full();
        let after = loop {
            let after = Arc::new(change(Settings::clone(&before)).checked()?);
            let found = inner.settings.compare_and_swap(&before, Arc::clone(&after));
            if Arc::ptr_eq(&found, &before) {
                break after;
            }
            before = Guard::into_inner(found);
        };
        self.background.wake();
        if !after.lowers(&before) {
            return Ok(None);
        }
        let report = inner.trim(TrimTrigger::Reconfigured, &CancelToken::new());
        if report.outcome == TrimOutcome::Reentrant {
            inner.owed.store(true, Ordering::Relaxed);
        }
        Ok(Some(report))
    }
}
