//! How a manager is configured.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ahash::RandomState;
use arc_swap::ArcSwap;

use super::background::Background;
use super::bucket::Bucket;
use super::clock::{Clock, SystemClock};
use super::decaying::Registry;
use super::gate::TrimGate;
use super::observers::Observers;
use super::settings::{ConfigError, GracePer, Settings};
use super::time::Time;
use super::{BasicConnManager, Inner, OnTrim, Table};
use crate::connection::Connection;
use crate::names::Names;
use crate::policy::TrimPolicy;
use crate::report::TrimReport;
use crate::sync::AtomicU64;

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
    settings: Settings,
    resolution: Duration,
    background: bool,
    seed: Option<u64>,
    clock: Box<dyn Clock>,
    on_trim: Option<OnTrim<P>>,
    of: PhantomData<fn() -> C>,
}

impl<P, C> fmt::Debug for Builder<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("settings", &self.settings)
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
            settings: Settings::default(),
            resolution: Duration::from_secs(60),
            background: true,
            seed: None,
            clock: Box::new(SystemClock::new()),
            on_trim: None,
            of: PhantomData,
        }
    }

    /// Sets everything at once that can be changed later, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use connmgr::{BasicConnManager, Settings, testing::Loopback};
    ///
    /// let settings = Settings::default().low_water(20).high_water(40);
    /// let manager = BasicConnManager::<u64, Loopback>::builder().settings(settings).build()?;
    /// assert_eq!(manager.info().low_water, 20);
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    fn set(self, set: impl FnOnce(Settings) -> Settings) -> Self {
        Self { settings: set(self.settings), ..self }
    }

    /// The number of connections that a trim leaves. 160 by default; 0 disables trimming.
    pub fn low_water(self, connections: usize) -> Self {
        self.set(|settings| settings.low_water(connections))
    }

    /// The number of open connections at which background trimming starts. 192 by default; 0 disables trimming.
    pub fn high_water(self, connections: usize) -> Self {
        self.set(|settings| settings.high_water(connections))
    }

    /// How long a peer is exempt from trims after it was first seen. A minute by default; zero is allowed.
    pub fn grace_period(self, grace: Duration) -> Self {
        self.set(|settings| settings.grace_period(grace))
    }

    /// How long the background thread rests between checks. 10 s by default.
    pub fn silence_period(self, silence: Duration) -> Self {
        self.set(|settings| settings.silence_period(silence))
    }

    /// Whose the grace period is: the peer's, as in Go, by default, or each connection's.
    ///
    /// # Examples
    ///
    /// ```
    /// use connmgr::{BasicConnManager, ByValue, GracePer, ManualClock, testing::Loopback};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let manager = BasicConnManager::<u64, Loopback>::builder()
    ///     .low_water(1).high_water(2).background(false).clock(clock.clone())
    ///     .grace_period(Duration::from_secs(10)).grace_per(GracePer::Connection).policy(ByValue::exact())
    ///     .build()?;
    /// let (old, new) = (Loopback::inbound(1), Loopback::inbound(2));
    /// manager.connected(&7, old.clone());
    /// clock.advance(Duration::from_secs(10));
    /// manager.connected(&7, new.clone());
    /// assert_eq!(manager.trim_open_conns().closed_connections, 1);
    /// assert_eq!((old.closes(), new.closes()), (1, 0), "the new one is in its grace");
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    pub fn grace_per(self, whose: GracePer) -> Self {
        self.set(|settings| settings.grace_per(whose))
    }

    /// How long a peer's tags are kept after its last connection. Zero by default, as in Go. See
    /// [`Settings::keep_tags`](Settings#structfield.keep_tags) for what is seen meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, ManualClock, testing::Loopback};
    /// # use std::time::Duration;
    /// # let clock = ManualClock::new();
    /// let manager = BasicConnManager::<u64, Loopback>::builder()
    ///     .keep_tags(Duration::from_secs(60)).clock(clock.clone()).background(false).build()?;
    /// manager.connected(&7, Loopback::inbound(1));
    /// manager.tag_peer(&7, "score", 5);
    /// manager.disconnected(&7, &1);
    /// clock.advance(Duration::from_secs(59));
    /// manager.connected(&7, Loopback::inbound(2));
    /// assert_eq!(manager.tag_value(&7, "score"), Some(5), "it was back in time");
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    pub fn keep_tags(self, time: Duration) -> Self {
        self.set(|settings| settings.keep_tags(time))
    }

    /// Steady mode: the background thread closes at most so many at each check that finds more connections than the low watermark, instead of
    /// none up to the high watermark and many there. Off by default. See [`Settings::steady`](Settings#structfield.steady).
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, ManualClock, testing::Loopback};
    /// # use std::{num::NonZeroUsize, time::Duration};
    /// # let clock = ManualClock::new();
    /// # let limit = Duration::from_secs(30);
    /// let manager = BasicConnManager::<u64, Loopback>::builder()
    ///     .low_water(2).high_water(100).grace_period(Duration::ZERO).clock(clock.clone())
    ///     .steady(NonZeroUsize::new(3))
    ///     .build()?;
    /// # assert!(clock.settle(1, limit));
    /// (0..6).for_each(|peer| manager.connected(&peer, Loopback::inbound(peer)));
    /// clock.advance(Duration::from_secs(10)); // a silence period
    /// # assert!(clock.settle(1, limit));
    /// assert_eq!(manager.info().closing, 3);
    /// clock.advance(Duration::from_secs(10));
    /// # assert!(clock.settle(1, limit));
    /// assert_eq!(manager.info().closing, 4, "down to the low watermark");
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    pub fn steady(self, closes: impl Into<Option<NonZeroUsize>>) -> Self {
        self.set(|settings| settings.steady(closes))
    }

    /// How many connections trims may close in a second, emergencies apart. No bound by default. See
    /// [`Settings::close_rate`](Settings#structfield.close_rate) for the rule.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, ManualClock, TrimOutcome, testing::Loopback};
    /// # use std::{num::NonZeroU32, time::Duration};
    /// # let clock = ManualClock::new();
    /// let manager = BasicConnManager::<u64, Loopback>::builder()
    ///     .low_water(1).high_water(9).grace_period(Duration::ZERO).background(false).clock(clock.clone())
    ///     .close_rate(NonZeroU32::new(2))
    ///     .build()?;
    /// (0..6).for_each(|peer| manager.connected(&peer, Loopback::inbound(peer)));
    /// let report = manager.trim_open_conns();
    /// assert_eq!((report.outcome, report.target, report.closed_connections), (TrimOutcome::RateLimited, 5, 2));
    /// clock.advance(Duration::from_millis(500));
    /// assert_eq!(manager.trim_open_conns().closed_connections, 1);
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    pub fn close_rate(self, per_second: impl Into<Option<NonZeroU32>>) -> Self {
        self.set(|settings| settings.close_rate(per_second))
    }

    /// How often decaying tags decay at most: see
    /// [`register_decaying_tag`](BasicConnManager::register_decaying_tag). A minute by default.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, BumpFn, DecayFn, testing::Loopback};
    /// # use std::time::Duration;
    /// let second = Duration::from_secs(1);
    /// let manager =
    ///     BasicConnManager::<u64, Loopback>::builder().decay_resolution(second).background(false).build()?;
    /// let often = Duration::from_millis(10);
    /// let tag = manager.register_decaying_tag("fast", often, DecayFn::none(), BumpFn::overwrite())?;
    /// assert_eq!(tag.interval(), second, "raised to the resolution");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decay_resolution(self, resolution: Duration) -> Self {
        Self { resolution, ..self }
    }

    /// Where time comes from. The system's monotonic clock by default.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Box::new(clock), ..self }
    }

    /// How victims are chosen, and how many. [`ByValue::reference`](crate::ByValue::reference) by default, whose target is Go's: the candidates'
    /// connections less the low watermark. With [`ByValue::exact`](crate::ByValue::exact) it is all that are open less the low watermark.
    pub fn policy(self, policy: impl TrimPolicy) -> Self {
        self.set(|settings| settings.policy(policy))
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
        let settings = self.settings.checked()?;
        let decaying = Registry::new(self.resolution)?;
        let hasher = self.seed.map_or_else(RandomState::new, |seed| RandomState::with_seeds(seed, 1, 2, 3));
        let inner = Arc::new(Inner {
            table: Table::new(0, hasher),
            names: Names::new(),
            decaying,
            settings: ArcSwap::from_pointee(settings),
            time: Time::new(self.clock),
            bucket: Bucket::new(),
            owed: AtomicBool::new(false),
            gate: TrimGate::new(),
            on_trim: self.on_trim,
            observers: Observers::default(),
            ignored: AtomicU64::new(0),
        });
        let background =
            if self.background { Background::start(Arc::clone(&inner))? } else { Background::none() };
        Ok(BasicConnManager {
            inner,
            background,
            #[cfg(feature = "memory")]
            alive: Arc::default(),
        })
    }
}
