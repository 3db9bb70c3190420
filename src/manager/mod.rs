//! The manager: the peer table behind the interface, with names, time, trims and a background thread.

#![forbid(unsafe_code)]

mod background;
mod builder;
mod clock;
mod gate;
mod handle;
mod limits;
mod listing;
mod notifee;
mod object;
mod observers;
mod trim;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;

use crate::connection::{Connection, Entry};
use crate::interface::{CloseError, ConnLimiter, LimitError, Protection, TagInfo};
use crate::names::{AsTag, Names, Tag};
use crate::peer::{Conn, Identified, PeerTable};
use crate::report::{TrimPlan, TrimReport, TrimTrigger};
use crate::sync::{AtomicU64, Ordering};
use crate::versioned::{TagId, sum};

use background::Background;
use gate::TrimGate;
use limits::Limits;
use observers::Observers;

pub use builder::{Builder, ConfigError};
pub use clock::{Clock, ManualClock, SystemClock};
pub use handle::{Handle, OwnedPeerHandle, PeerHandle};
pub use limits::ManagerInfo;
pub use listing::{PeerView, Snapshot};
pub use notifee::Notifee;
pub use observers::TrimObserver;
pub use trim::CancelToken;

/// The table of a manager.
type Table<P, C> = PeerTable<P, Entry<C>, RandomState>;

/// What a program hears of every trim.
type OnTrim<P> = Box<dyn Fn(&TrimReport<P>) + Send + Sync>;

/// The connection manager: see the [crate's documentation](crate) for its guarantees.
///
/// Shared by reference, or in an [`Arc`]; every method takes `&self` and may be called from any thread. Dropping it stops
/// its background thread.
pub struct BasicConnManager<P: Send + Sync + 'static, C: Connection> {
    inner: Arc<Inner<P, C>>,
    background: Background,
}

/// What the manager and its background thread share.
struct Inner<P: Send + Sync + 'static, C: Connection> {
    table: Table<P, C>,
    names: Names,
    limits: Limits,
    gate: TrimGate<P>,
    on_trim: Option<OnTrim<P>>,
    observers: Observers<P>,
    /// Events of unknown connections, and of known ones that are said to be new.
    ignored: AtomicU64,
}

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// A builder with the reference's defaults.
    pub fn builder() -> Builder<P, C> {
        Builder::new()
    }

    /// Resolves a tag's name once, so that calls which take the result need not.
    #[must_use]
    pub fn tag(&self, name: &str) -> Tag {
        self.inner.names.tag(name)
    }

    /// Sets `tag` of `peer` to `value`, saturated to [`MIN_WEIGHT`](crate::MIN_WEIGHT)`..=`[`MAX_WEIGHT`](crate::MAX_WEIGHT).
    ///
    /// An unknown peer gets a *temporary* record, which goes after the grace period unless the peer connects.
    ///
    /// # Progress
    ///
    /// Lock-free. A tag that exists is set without allocating.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "TagPeer")]
    #[inline]
    pub fn tag_peer(&self, peer: &P, tag: impl AsTag, value: i64) {
        self.upsert_tag(peer, tag, |_| value);
    }

    /// Removes `tag` of `peer`. An unknown peer or tag is left alone: nothing is created. With its last tag a peer that has neither
    /// connection nor protection goes.
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "UntagPeer")]
    pub fn untag_peer(&self, peer: &P, tag: impl AsTag) {
        if let Some(tag) = self.inner.names.known(&tag) {
            self.inner.table.untag(peer, tag);
        }
    }

    /// Sets `tag` of `peer` to `upsert` of its value, or of 0 if it has none, and returns the value stored, which is
    /// saturated like that of [`tag_peer`](Self::tag_peer).
    ///
    /// `upsert` may run more than once: it is run again when another thread changed the value meanwhile. It runs with no lock, claim or
    /// unpublished state held, so it may panic, which changes nothing (but the name of the tag stays known), or call the
    /// manager. It must not change the same tag of the same peer each time it runs: every run would make itself void. It runs while memory
    /// is pinned: blocking in it delays frees, never another call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, testing::Loopback};
    /// # let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
    /// let score = manager.tag("score");
    /// assert_eq!(manager.upsert_tag(&7, &score, |value| value + 5), 5);
    /// assert_eq!(manager.upsert_tag(&7, "score", |value| value * 2), 10);
    /// ```
    ///
    /// # Panics
    ///
    /// If `upsert` does.
    ///
    /// # Progress
    ///
    /// Lock-free: a run is repeated only because another thread's call succeeded. A tag that exists is set without allocating.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer; no update is lost.
    #[doc(alias = "UpsertTag")]
    #[inline]
    pub fn upsert_tag(&self, peer: &P, tag: impl AsTag, upsert: impl FnMut(i64) -> i64) -> i64 {
        let tag = self.inner.names.intern(&tag);
        self.inner.table.update(peer, tag, || self.inner.limits.now(), upsert)
    }

    /// The value of one tag: the cheap read.
    ///
    /// # Progress
    ///
    /// Lock-free; writes no shared memory but for the reclamation pin.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[must_use]
    #[inline]
    pub fn tag_value(&self, peer: &P, tag: impl AsTag) -> Option<i64> {
        self.inner.table.tag_value(peer, self.inner.names.known(&tag)?)
    }

    /// What is known of `peer`; `None` if it is unknown or only protected.
    ///
    /// # Progress
    ///
    /// Lock-free; writes no shared memory but for the reclamation pin and reference counts of the connections it lists. Allocates.
    ///
    /// # Consistency
    ///
    /// One structural state of the peer, each tag's value read at its own instant within the call; `value` is the
    /// sum of exactly the tags returned. A connection's streams and address are what it says when asked, after that.
    #[doc(alias = "GetTagInfo")]
    #[must_use]
    pub fn tag_info(&self, peer: &P) -> Option<TagInfo> {
        let (first_seen, tags, conns) = self.inner.table.read(peer, |state, links| {
            let tags: Vec<(TagId, i64)> = state.tags().collect();
            let conns: Vec<Conn<Entry<C>>> = links.conns.to_vec();
            (links.first_seen, tags, conns)
        })?;
        if tags.is_empty() && conns.is_empty() {
            return None;
        }
        let limits = &self.inner.limits;
        Some(TagInfo {
            first_seen: limits.time_of_day(first_seen),
            value: sum(tags.iter().map(|&(_, value)| value)),
            tags: tags.iter().map(|&(tag, value)| (self.inner.names.name(tag).to_string(), value)).collect(),
            decaying: BTreeMap::new(),
            conns: conns
                .iter()
                .map(|conn| conn.entry.info(limits.time_of_day(conn.opened()), conn.is_closing()))
                .collect(),
        })
    }

    /// Protects `peer` under `tag`: once this has returned, no later decision closes any of its connections, until it is
    /// unprotected under every tag. Works for an unknown peer and outlives connections. Idempotent per tag, not counted.
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer, trims included: [`Protection::TooLate`] says that a trim had claimed a connection before.
    #[doc(alias = "Protect")]
    pub fn protect(&self, peer: &P, tag: impl AsTag) -> Protection {
        let tag = self.inner.names.intern(&tag);
        let found = self.inner.table.protect(peer, tag, || self.inner.limits.now());
        match found {
            _ if found.closing => Protection::TooLate,
            _ if found.before => Protection::AlreadyProtected,
            _ => Protection::Protected,
        }
    }

    /// Lifts the protection of `peer` under `tag`. Returns whether it is still protected under another.
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "Unprotect")]
    pub fn unprotect(&self, peer: &P, tag: impl AsTag) -> bool {
        loop {
            if let Some(tag) = self.inner.names.known(&tag) {
                let by_another = self.inner.table.unprotect(peer, tag);
                if !by_another {
                    self.tell_unprotected(peer);
                }
                return by_another;
            }
            let by_another = self.is_protected(peer, None);
            // A name that has become known may be what was found. Names are never forgotten: one look more is the last.
            if self.inner.names.known(&tag).is_none() {
                return by_another;
            }
        }
    }

    /// Tells the connections of `peer` that its last protection was lifted, with nothing held.
    fn tell_unprotected(&self, peer: &P) {
        let conns = self.inner.table.read(peer, |_, links| links.conns.to_vec()).unwrap_or_default();
        for conn in conns {
            if trim::panics_caught(|| conn.entry.conn.protection_lifted()) {
                tracing::error!(target: "connmgr", id = ?conn.entry.id(), "a protection callback panicked");
            }
        }
    }

    /// Whether `peer` is protected under `tag`, or under any.
    ///
    /// # Progress
    ///
    /// Lock-free; writes no shared memory but for the reclamation pin.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "IsProtected")]
    #[must_use]
    pub fn is_protected(&self, peer: &P, tag: Option<&str>) -> bool {
        let wanted = match tag.map(|tag| self.inner.names.known(&tag)) {
            Some(None) => return false,
            Some(known) => known,
            None => None,
        };
        let found = self.inner.table.read(peer, |_, links| match wanted {
            Some(tag) => links.protections.contains(&tag),
            None => links.is_protected(),
        });
        found.unwrap_or(false)
    }

    /// Adds a connection of `peer`. Never trims by itself.
    ///
    /// The first connection of a peer sets its first-seen time; a temporary record stops being temporary, and its tags
    /// stay. A connection that the peer holds already is ignored, counted in [`ManagerInfo::ignored_events`] and logged.
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer. The events of one connection must come in order: a `disconnected` that overtakes its `connected` is ignored.
    #[doc(alias = "Connected")]
    pub fn connected(&self, peer: &P, conn: C) {
        let entry = Arc::new(Entry::new(conn));
        if !self.inner.table.connect(peer, &entry, self.inner.limits.now()) {
            self.ignore("connected twice", entry.id());
        }
    }

    /// Removes a connection of `peer`. With the last one its tags go; its protections stay.
    ///
    /// An unknown peer or connection is ignored, counted in [`ManagerInfo::ignored_events`] and logged.
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "Disconnected")]
    pub fn disconnected(&self, peer: &P, conn: &C::Id) {
        if !self.inner.table.disconnect(peer, conn) {
            self.ignore("disconnected without being connected", conn);
        }
    }

    #[cold]
    fn ignore(&self, what: &'static str, conn: &dyn fmt::Debug) {
        self.inner.ignored.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "connmgr", ?conn, "ignored: {what}");
    }

    /// Where connections that open and close are told.
    #[doc(alias = "Notifee")]
    #[must_use]
    pub fn notifee(&self) -> Notifee<'_, P, C> {
        Notifee::new(self)
    }

    /// A handle to one peer, whose calls skip the look-up as long as the peer's record lives.
    #[must_use]
    pub fn peer(&self, peer: &P) -> PeerHandle<'_, P, C> {
        PeerHandle::new(self, peer.clone())
    }

    /// The same, for a manager in an [`Arc`], with no lifetime.
    #[must_use]
    pub fn peer_owned(self: &Arc<Self>, peer: &P) -> OwnedPeerHandle<P, C> {
        OwnedPeerHandle::new(Arc::clone(self), peer.clone())
    }

    /// A consistent cut of all peers.
    ///
    /// While it is held, memory of states that have been replaced is held back; it stops nobody.
    ///
    /// # Progress
    ///
    /// Wait-free and O(1) to take. Reading it helps to finish a table's growth, if one is under way.
    ///
    /// # Consistency
    ///
    /// It holds every update that returned before the call and none that began after it; with an update it holds
    /// everything that update could have seen. An update that is under way during the call may be on either side,
    /// and may come to be seen between two readings.
    pub fn snapshot(&self) -> Snapshot<'_, P, C> {
        Snapshot::new(self)
    }

    /// Closes connections down to the low watermark, as the policy has it, and removes temporary records past their
    /// grace. Ignores the high watermark.
    ///
    /// A call during a running trim waits for that one and returns its report, [`joined`](TrimReport::joined). A call from a
    /// callback of a trim on the same thread returns at once with [`Reentrant`](crate::TrimOutcome::Reentrant).
    ///
    /// # Panics
    ///
    /// If the policy or the `on_trim` callback does. A panic of a close callback is counted in the report.
    ///
    /// # Progress
    ///
    /// Blocking among trims; no other call waits for it, and it for none.
    ///
    /// # Consistency
    ///
    /// Decides from one snapshot; each victim is re-checked and claimed in one atomic step of its own.
    #[doc(alias = "TrimOpenConns")]
    pub fn trim_open_conns(&self) -> TrimReport<P> {
        self.trim_open_conns_with(&CancelToken::new())
    }

    /// [`trim_open_conns`](Self::trim_open_conns) that stops between two claims once `cancel` is cancelled. What it had claimed
    /// by then is closed, and reported. A call that joins a running trim does not cancel that one.
    pub fn trim_open_conns_with(&self, cancel: &CancelToken) -> TrimReport<P> {
        self.inner.trim(TrimTrigger::Explicit, cancel)
    }

    /// Closes connections down to the low watermark in an emergency: without regard to grace and silence, unprotected peers
    /// first and protected ones (those protected meanwhile included) only if that is not enough; in the order of
    /// [`ByValue`](crate::ByValue), but for more streams first.
    ///
    /// It waits for a running trim and then runs its own. Otherwise as [`trim_open_conns`](Self::trim_open_conns).
    ///
    /// # Panics
    ///
    /// If the `on_trim` callback does.
    ///
    /// # Progress
    ///
    /// Blocking among trims; no other call waits for it, and it for none.
    ///
    /// # Consistency
    ///
    /// As [`trim_open_conns`](Self::trim_open_conns). This alone may close a protected peer; the report marks each.
    #[doc(alias = "ForceTrim")]
    pub fn force_trim(&self) -> TrimReport<P> {
        self.inner.trim(TrimTrigger::Emergency, &CancelToken::new())
    }

    /// What [`trim_open_conns`](Self::trim_open_conns) would do now: the same code, without the claims.
    ///
    /// # Panics
    ///
    /// If the policy does.
    ///
    /// # Progress
    ///
    /// Waits for nobody.
    ///
    /// # Consistency
    ///
    /// Decides from one snapshot.
    pub fn plan_trim(&self) -> TrimPlan<P> {
        self.inner.plan()
    }

    /// Whether the high watermark fits the system's limit.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if the high watermark is above the limit.
    #[doc(alias = "CheckLimit")]
    pub fn check_limit(&self, limiter: &dyn ConnLimiter) -> Result<(), LimitError> {
        self.inner.limits.check(limiter)
    }

    /// Watermarks, periods and counts.
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Consistency
    ///
    /// Counts of connections are exact when no call is under way, and each is read at its own instant. Peers are counted
    /// until their records are reclaimed; [`snapshot`](Self::snapshot) counts those that are there.
    #[doc(alias("GetInfo", "CMInfo"))]
    #[must_use]
    pub fn info(&self) -> ManagerInfo {
        self.inner.info()
    }

    /// Stops the background thread and waits for it, unless this is that thread. Idempotent. Every other call goes on
    /// working, trims included.
    ///
    /// # Errors
    ///
    /// [`CloseError::Panicked`] if the background thread had panicked.
    #[doc(alias = "Close")]
    pub fn close(&self) -> Result<(), CloseError> {
        self.background.stop()
    }
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    fn info(&self) -> ManagerInfo {
        let limits = &self.limits;
        ManagerInfo {
            low_water: limits.low,
            high_water: limits.high,
            grace_period: Duration::from_nanos(limits.grace),
            silence_period: Duration::from_nanos(limits.silence),
            connections: self.table.connections(),
            closing: self.table.closing(),
            peers: self.table.len(),
            tag_names: self.names.len(),
            last_trim: limits.last_trim(),
            ignored_events: self.ignored.load(Ordering::Relaxed),
        }
    }
}

impl<P: Send + Sync + 'static, C: Connection> Drop for BasicConnManager<P, C> {
    fn drop(&mut self) {
        // A panic of the background thread was logged when it happened, and there is nobody here to return it to.
        let _ = self.background.stop();
    }
}

impl<P: Send + Sync + 'static, C: Connection> fmt::Debug for BasicConnManager<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicConnManager")
            .field("low_water", &self.inner.limits.low)
            .field("high_water", &self.inner.limits.high)
            .finish_non_exhaustive()
    }
}
