//! Who hears of trims, besides the builder's `on_trim`: those that come and go while the manager runs.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use super::BasicConnManager;
use super::trim::panics_caught;
use crate::connection::Connection;
use crate::report::TrimReport;

/// What [`BasicConnManager::observe_trims`] calls.
pub type TrimObserver<P> = dyn Fn(&TrimReport<P>) + Send + Sync;

/// The observers. Their list is replaced as a whole: a trim reads the one it finds.
pub(super) struct Observers<P>(ArcSwap<Vec<Weak<TrimObserver<P>>>>);

impl<P> Default for Observers<P> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<P> Observers<P> {
    /// Adds one, and forgets those that are gone.
    fn add(&self, observer: &Weak<TrimObserver<P>>) {
        self.0.rcu(|observers| {
            let alive = observers.iter().filter(|observer| observer.strong_count() > 0);
            alive.chain([observer]).cloned().collect::<Vec<_>>()
        });
    }

    /// Tells each. One that panics must not keep it from the others.
    pub(super) fn tell(&self, report: &TrimReport<P>) {
        for observer in self.0.load_full().iter().filter_map(Weak::upgrade) {
            if panics_caught(|| observer(report)) {
                tracing::error!(target: "connmgr", "a trim observer panicked");
            }
        }
    }
}

impl<P> fmt::Debug for Observers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.load().len()).finish()
    }
}

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// Calls `observer` after every trim that ran, as [`on_trim`](crate::Builder::on_trim) is called and before it, for as long as the caller
    /// keeps the [`Arc`]. A panic of it is caught and logged.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    /// use connmgr::{BasicConnManager, TrimObserver, testing::Loopback};
    ///
    /// let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build()?;
    /// let trims = Arc::new(AtomicUsize::new(0));
    /// let counter = Arc::clone(&trims);
    /// let observer: Arc<TrimObserver<u64>> = Arc::new(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    /// manager.observe_trims(&observer);
    ///
    /// let _ = manager.trim_open_conns();
    /// drop(observer);
    /// let _ = manager.trim_open_conns();
    /// assert_eq!(trims.load(Ordering::Relaxed), 1);
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    ///
    /// # Progress
    ///
    /// Lock-free.
    pub fn observe_trims(&self, observer: &Arc<TrimObserver<P>>) {
        self.inner.observers.add(&Arc::downgrade(observer));
    }
}
