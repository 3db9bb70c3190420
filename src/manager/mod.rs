//! The manager: the peer table behind the interface, with names, time, trims and a background thread.

#![forbid(unsafe_code)]

mod background;
mod bucket;
mod builder;
mod clock;
mod decaying;
mod gate;
mod handle;
mod info;
mod listing;
mod notifee;
mod object;
mod observers;
mod reconfigure;
mod settings;
mod time;
mod trim;
#[cfg(feature = "memory")]
mod trimmer;
#[cfg(feature = "libp2p")]
mod try_trim;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ahash::RandomState;
use arc_swap::ArcSwap;

use crate::connection::{ConnInfo, Connection, Direction, Entry};
use crate::interface::{CloseError, ConnLimiter, LimitError, Protection, TagInfo};
use crate::names::{AsTag, Names, Tag};
use crate::peer::{Conn, Identified, NewConn, PeerTable, Tagged, tagged};
use crate::report::TrimReport;
use crate::sync::{AtomicU64, Ordering};
use crate::versioned::{TagId, sum};

use background::Background;
use bucket::Bucket;
use decaying::Registry;
use gate::TrimGate;
use observers::Observers;
use time::{Time, nanos};

pub use builder::Builder;
pub use clock::{Clock, ManualClock, SystemClock};
pub use handle::{Handle, OwnedPeerHandle, PeerHandle};
pub use info::ManagerInfo;
pub use listing::{PeerView, Snapshot};
pub use notifee::Notifee;
pub use observers::TrimObserver;
pub use settings::{ConfigError, GracePer, Settings};
pub use trim::CancelToken;
#[cfg(feature = "memory")]
pub(crate) use {
    trim::panics_caught,
    trimmer::Trimmer,
    worker::{Stop, Worker},
};

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
    /// Lives as long as the manager: `inner` may outlive it, in the handles of decaying tags.
    #[cfg(feature = "memory")]
    alive: Arc<()>,
}

/// What the manager and its background thread share.
struct Inner<P: Send + Sync + 'static, C: Connection> {
    table: Table<P, C>,
    names: Names,
    decaying: Registry,
    /// Read by trims, by the background thread, and where a peer's last connection goes or it returns; not by taggers.
    settings: ArcSwap<Settings>,
    time: Time,
    gate: TrimGate<P>,
    bucket: Bucket,
    /// A trim was cut short by the close rate, or could not run where it was asked for: the next check makes up for it.
    owed: AtomicBool,
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
    /// Lock-free: a run is repeated only because another thread's call succeeded; a call that lost a race for the value pauses for a microsecond or some before it looks again. A tag that
    /// exists is set without allocating.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer; no update is lost.
    #[doc(alias = "UpsertTag")]
    #[inline]
    pub fn upsert_tag(&self, peer: &P, tag: impl AsTag, upsert: impl FnMut(i64) -> i64) -> i64 {
        let tag = self.inner.names.intern(&tag);
        self.inner.table.update(peer, tag, || self.inner.time.now(), upsert)
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
        let now = self.inner.time.now();
        let (first_seen, found, conns) = self.inner.table.read(peer, |state, links| {
            let found: Vec<(TagId, i64)> = state.tags().collect();
            let conns: Vec<_> = links.conns_in_order().map(Conn::keep).collect();
            (links.first_seen(), found, conns)
        })?;
        let appraiser = self.inner.appraiser_at(now);
        let (mut tags, mut decaying) = (BTreeMap::new(), BTreeMap::new());
        for tag in tagged(found.into_iter()) {
            match tag {
                Tagged::Plain(id, value) => {
                    tags.insert(self.inner.names.name(id).to_string(), value);
                }
                Tagged::Decaying(id, stored) => {
                    let value = appraiser.value(id, &stored);
                    decaying.extend(value.map(|value| (appraiser.tag(id).name.to_string(), value)));
                }
            }
        }
        if tags.is_empty() && decaying.is_empty() && conns.is_empty() {
            return None;
        }
        let time = &self.inner.time;
        Some(TagInfo {
            first_seen: time.time_of_day(first_seen),
            value: sum(tags.values().chain(decaying.values()).copied()),
            tags,
            decaying,
            conns: conns
                .iter()
                .map(|conn| ConnInfo::of(conn.as_ref(), time.time_of_day(conn.opened())))
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
        let found = self.inner.table.protect(peer, tag, || self.inner.time.now());
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
        let conns =
            self.inner.table.links(peer, |links| links.conns_in_order().map(Conn::keep).collect::<Vec<_>>());
        for conn in conns.into_iter().flatten() {
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
        let found = self.inner.table.links(peer, |links| match wanted {
            Some(tag) => links.protections().contains(&tag),
            None => links.is_protected(),
        });
        found.unwrap_or(false)
    }

    /// Adds a connection of `peer`. Never trims by itself.
    ///
    /// The first connection of a peer sets its first-seen time; a temporary record stops being temporary, and its tags
    /// stay, and so do those of a peer that returns while they are [kept](Settings#structfield.keep_tags). A connection that the peer holds already is ignored, counted in [`ManagerInfo::ignored_events`] and logged.
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
        let inbound = conn.direction() == Direction::Inbound;
        let mut conn = NewConn::new(Entry::new(conn));
        let (inner, now) = (&*self.inner, self.inner.time.now());
        let left_by = || now.checked_sub(nanos(inner.settings.load().keep_tags));
        if !inner.table.connect(peer, &mut conn, now, inbound, left_by) {
            self.ignore("connected twice", conn.id());
        }
    }

    /// Removes a connection of `peer`. With the last one its tags go, unless they are to be [kept](Settings#structfield.keep_tags) for a time; its
    /// protections stay.
    ///
    /// An unknown peer or connection is ignored, counted in [`ManagerInfo::ignored_events`] and logged.
    ///
    /// # Progress
    ///
    /// Lock-free. Takes time and allocates in proportion to the peer's newer connections.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "Disconnected")]
    pub fn disconnected(&self, peer: &P, conn: &C::Id) {
        let inner = &*self.inner;
        let leave = || (!inner.settings.load().keep_tags.is_zero()).then(|| inner.time.now());
        if !inner.table.disconnect(peer, conn, leave) {
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

    /// Whether the high watermark fits the system's limit.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if the high watermark is above the limit.
    #[doc(alias = "CheckLimit")]
    pub fn check_limit(&self, limiter: &dyn ConnLimiter) -> Result<(), LimitError> {
        self.inner.settings.load().check(limiter)
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

impl<P: Send + Sync + 'static, C: Connection> Drop for BasicConnManager<P, C> {
    fn drop(&mut self) {
        // A panic of the background thread was logged when it happened, and there is nobody here to return it to.
        let _ = self.background.stop();
    }
}

impl<P: Send + Sync + 'static, C: Connection> fmt::Debug for BasicConnManager<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicConnManager")
            .field("settings", &self.inner.settings.load())
            .finish_non_exhaustive()
    }
}
