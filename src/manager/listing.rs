//! A snapshot as programs see it: every peer with its tags, connections and protections.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::SystemTime;

use ahash::RandomState;

use super::BasicConnManager;
use super::decaying::Appraiser;
use crate::connection::{ConnInfo, Connection, Direction, Entry};
use crate::peer::{Tagged, tagged};
use crate::snapshot::{Cut, PeerAt};

/// A consistent cut of a manager's peers: see [`BasicConnManager::snapshot`].
///
/// # Examples
///
/// ```
/// # use connmgr::{BasicConnManager, testing::Loopback};
/// # let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
/// manager.tag_peer(&1, "score", 3);
/// let snapshot = manager.snapshot();
/// manager.tag_peer(&1, "score", 4);
/// assert_eq!(snapshot.get(&1).unwrap().value(), 3);
/// ```
#[must_use = "a snapshot that is not read holds memory back for nothing"]
pub struct Snapshot<'m, P: Send + Sync + 'static, C: Connection> {
    manager: &'m BasicConnManager<P, C>,
    cut: Cut<'m, P, Entry<C>, RandomState>,
    appraiser: Appraiser,
}

impl<'m, P, C> Snapshot<'m, P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    pub(super) fn new(manager: &'m BasicConnManager<P, C>) -> Self {
        let cut = Cut::take(&manager.inner.table);
        Self { manager, cut, appraiser: manager.inner.appraiser() }
    }

    /// Every peer, each once, in no order; those included that are only protected.
    pub fn iter(&self) -> impl Iterator<Item = PeerView<'_, P, C>> {
        self.cut.iter().filter_map(|at| self.view(at))
    }

    /// One peer.
    #[must_use]
    pub fn get(&self, peer: &P) -> Option<PeerView<'_, P, C>> {
        self.cut.get(peer).and_then(|at| self.view(at))
    }

    /// A peer that has something left: all a temporary record had may have decayed away.
    fn view<'s>(&'s self, at: PeerAt<'s, P, Entry<C>>) -> Option<PeerView<'s, P, C>> {
        self.appraiser.finds(&at).then_some(PeerView { snapshot: self, at })
    }
}

impl<P: Send + Sync + 'static, C: Connection> fmt::Debug for Snapshot<'_, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

/// A peer in a [`Snapshot`].
pub struct PeerView<'s, P: Send + Sync + 'static, C: Connection> {
    snapshot: &'s Snapshot<'s, P, C>,
    at: PeerAt<'s, P, Entry<C>>,
}

impl<'s, P, C> PeerView<'s, P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// The peer.
    #[must_use]
    pub fn peer(&self) -> &'s P {
        self.at.node.key()
    }

    /// The sum of its tags, decaying ones included, clamped to an `i64`. Decaying values here are as of the instant of the snapshot.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.snapshot.appraiser.worth(self.at.state)
    }

    /// Its tags by name.
    pub fn tags(&self) -> impl Iterator<Item = (Arc<str>, i64)> + use<'s, P, C> {
        let names = &self.snapshot.manager.inner.names;
        self.tagged().filter_map(|(tag, value)| match tag {
            Tagged::Plain(id, _) => Some((names.name(id), value)),
            Tagged::Decaying(..) => None,
        })
    }

    /// Its decaying tags by name.
    pub fn decaying(&self) -> impl Iterator<Item = (Arc<str>, i64)> + use<'s, P, C> {
        let appraiser = &self.snapshot.appraiser;
        self.tagged().filter_map(|(tag, value)| match tag {
            Tagged::Plain(..) => None,
            Tagged::Decaying(id, _) => Some((Arc::clone(&appraiser.tag(id).name), value)),
        })
    }

    /// Its tags with what they are worth, but for those that have decayed away.
    fn tagged(&self) -> impl Iterator<Item = (Tagged, i64)> + use<'s, P, C> {
        let appraiser = &self.snapshot.appraiser;
        tagged(self.at.state.tags()).filter_map(|tag| match tag {
            Tagged::Plain(_, value) => Some((tag, value)),
            Tagged::Decaying(id, stored) => Some((tag, appraiser.value(id, &stored)?)),
        })
    }

    /// The names under which it is protected.
    pub fn protections(&self) -> impl Iterator<Item = Arc<str>> + use<'s, P, C> {
        let names = &self.snapshot.manager.inner.names;
        self.at.links.protections().iter().map(|&tag| names.name(tag))
    }

    /// Whether it is protected under any name.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.at.links.is_protected()
    }

    /// How many connections it has, those being closed included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.at.links.conns().count()
    }

    /// Who opened each of its connections.
    pub fn directions(&self) -> impl Iterator<Item = Direction> + use<'s, P, C> {
        self.at.links.conns_in_order().map(|conn| conn.direction())
    }

    /// Its connections. Asks each for its address and streams.
    pub fn conns(&self) -> impl Iterator<Item = ConnInfo> + use<'s, P, C> {
        let time = &self.snapshot.manager.inner.time;
        self.at.links.conns_in_order().map(|conn| ConnInfo::of(conn, time.time_of_day(conn.opened())))
    }

    /// When it was first seen: see [`TagInfo::first_seen`](crate::TagInfo::first_seen). Of a peer that is only protected,
    /// when it was protected, or what it was while it was more than that; of one that has left and whose tags are kept, when it left.
    #[must_use]
    pub fn first_seen(&self) -> SystemTime {
        self.snapshot.manager.inner.time.time_of_day(self.at.links.first_seen())
    }
}

impl<P: fmt::Debug + Send + Sync + 'static, C: Connection> fmt::Debug for PeerView<'_, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerView").finish_non_exhaustive()
    }
}
