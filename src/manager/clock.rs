//! Time, injected: the manager asks a [`Clock`] and nothing else.

#![expect(
    clippy::disallowed_types,
    reason = "a manual clock keeps its sleepers; the table never waits for one"
)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

/// Where the manager's time comes from.
///
/// A `now` that goes backwards is borne: peers seen "in the future" are in their grace period until the clock has
/// caught up.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic time since an origin of the clock's own. Read when a peer or connection is added and in trims, not when a tag
    /// that exists is set.
    fn now(&self) -> Duration;

    /// The time of day, read once, when a manager is built: its later times of day are that and what `now` has added.
    fn wall(&self) -> SystemTime;

    /// Parks the calling thread until `now` has reached `until` or the thread is unparked; it may return early.
    ///
    /// The background thread waits here between trims, and is unparked to be stopped, or to look at changed settings.
    fn wait(&self, until: Duration) {
        if let Some(left) = until.checked_sub(self.now()) {
            thread::park_timeout(left);
        }
    }
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose origin is now.
    #[must_use]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock for tests, which moves when it is told to. Clones are the same clock.
///
/// # Examples
///
/// ```
/// use connmgr::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now(), Duration::from_secs(5));
/// ```
#[derive(Clone, Default, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Default, Debug)]
struct Manual {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default, Debug)]
struct State {
    now: Duration,
    sleepers: Vec<Sleeper>,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    until: Duration,
}

impl ManualClock {
    /// A clock at its origin, zero; its time of day is the Unix epoch plus that.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock on and wakes whoever waits for it.
    pub fn advance(&self, by: Duration) {
        self.change(|now| now.saturating_add(by));
    }

    /// Sets the clock, backwards if need be, and wakes whoever waits for it.
    pub fn set(&self, now: Duration) {
        self.change(|_| now);
    }

    fn change(&self, change: impl FnOnce(Duration) -> Duration) {
        let mut state = self.state();
        let now = change(state.now);
        state.now = now;
        for sleeper in state.sleepers.iter().filter(|sleeper| sleeper.until <= now) {
            sleeper.thread.unpark();
        }
    }

    /// Waits until `threads` threads wait for a time that is yet to come: what the last move of the clock set off is over then.
    ///
    /// With a manager's background trimming, `settle(1)` returns when the background thread has done what was due. (Call it once after
    /// building the manager, too: before, the thread may not have looked at the clock yet.)
    /// Returns false if that has not happened after `limit`, in real time.
    #[must_use = "false: the threads did not settle"]
    pub fn settle(&self, threads: usize, limit: Duration) -> bool {
        let waiting =
            |state: &State| state.sleepers.iter().filter(|sleeper| sleeper.until > state.now).count();
        let (state, _) = self
            .0
            .changed
            .wait_timeout_while(self.state(), limit, |state| waiting(state) < threads)
            .unwrap_or_else(PoisonError::into_inner);
        waiting(&state) >= threads
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.state().now
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(self.now()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn wait(&self, until: Duration) {
        let me = thread::current();
        {
            let mut state = self.state();
            if state.now >= until {
                return;
            }
            state.sleepers.push(Sleeper { thread: me.clone(), until });
            self.0.changed.notify_all();
        }
        thread::park();
        self.state().sleepers.retain(|sleeper| sleeper.thread.id() != me.id());
    }
}
