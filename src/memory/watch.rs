//! A watcher on a thread of its own.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::config::WatchError;
use super::watcher::{Counts, MemoryWatcher, WatchInfo, count};
use crate::connection::Connection;
use crate::interface::CloseError;
use crate::manager::{Stop, Trimmer, Worker, panics_caught};

/// A [`MemoryWatcher`] that runs on its own thread. Dropping it stops and joins that thread, as [`stop`](Self::stop) does.
#[must_use = "dropping it stops watching"]
pub struct MemoryWatch {
    worker: Worker,
    counts: Arc<Counts>,
}

impl MemoryWatch {
    pub(super) fn start<P, C>(mut watcher: MemoryWatcher, trimmer: Trimmer<P, C>) -> Result<Self, WatchError>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        C: Connection,
    {
        let counts = Arc::clone(&watcher.counts);
        let work = move |stop: &Stop| run(&mut watcher, &trimmer, stop);
        let worker =
            Worker::spawn("connmgr-memory", work).map_err(|error| WatchError::Thread(error.to_string()))?;
        Ok(Self { worker, counts })
    }

    /// Stops the thread and waits for it, unless this is that thread, which then ends when its check does. Idempotent.
    ///
    /// May be called from a callback of any trim: the thread never waits for another's trim.
    ///
    /// # Errors
    ///
    /// [`CloseError::Panicked`] if the clock had panicked on the thread. (What panics in a check is caught, logged and counted.)
    pub fn stop(&self) -> Result<(), CloseError> {
        self.worker.stop()
    }

    /// What has been done so far.
    #[must_use]
    pub fn info(&self) -> WatchInfo {
        self.counts.info()
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        // A panic of the thread was printed when it happened, and there is nobody here to return it to.
        let _ = self.stop();
    }
}

impl fmt::Debug for MemoryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWatch").field("info", &self.info()).finish_non_exhaustive()
    }
}

fn run<P, C>(watcher: &mut MemoryWatcher, trimmer: &Trimmer<P, C>, stop: &Stop)
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    while !stop.asked() && !trimmer.manager_is_gone() {
        // What failed was counted and logged by the check, and is tried again when the next is due.
        if panics_caught(|| drop(watcher.check_by(trimmer))) {
            count(&watcher.counts.panics);
            tracing::error!(target: "connmgr", "a callback, the policy or the source of memory figures panicked");
        }
        let due = watcher.clock.now().saturating_add(watcher.interval);
        while !stop.asked() && watcher.clock.now() < due {
            watcher.clock.wait(due);
        }
    }
}
