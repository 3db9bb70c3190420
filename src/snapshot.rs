//! A consistent cut of the whole table, and a walk over it.
//!
//! Taking one costs one increment and a fence; reading it stops nobody. It holds every update that returned before it was
//! begun and none that began after; if it holds an update, it holds everything that update could have seen. An
//! update that is under way while it is taken may be on either side, and may come to be seen between two readings.
//!
//! Invariant: the guard is older than the epoch it reads at, so that every state and record of that epoch outlives it.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use crate::index::Node;
use crate::peer::{Identified, Links, Peer, PeerTable};
use crate::reclaim::{self, Guard};
use crate::sync::mutant;
use crate::versioned::State;

/// A cut of `table`.
#[derive(Debug)]
pub(crate) struct Cut<'t, K: Send + Sync + 'static, C: Send + Sync + 'static, S> {
    table: &'t PeerTable<K, C, S>,
    epoch: u64,
    /// Held until the cut is dropped.
    guard: Option<Guard>,
}

impl<K: Send + Sync + 'static, C: Send + Sync + 'static, S> Drop for Cut<'_, K, C, S> {
    fn drop(&mut self) {
        self.guard = None;
        // What this cut held back would else wait until somebody retires more.
        reclaim::settle();
    }
}

/// A peer as a cut holds it.
#[derive(Debug)]
pub(crate) struct PeerAt<'c, K, C> {
    pub(crate) node: &'c Node<Peer<K, C>>,
    pub(crate) state: &'c State<Links<C>>,
    pub(crate) links: &'c Links<C>,
}

impl<K, C> Clone for PeerAt<'_, K, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, C> Copy for PeerAt<'_, K, C> {}

impl<'t, K, C, S> Cut<'t, K, C, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    pub(crate) fn take(table: &'t PeerTable<K, C, S>) -> Self {
        if mutant!("epoch-before-pin") {
            let epoch = table.epoch().advance();
            return Self { table, epoch, guard: Some(reclaim::pin()) };
        }
        let guard = reclaim::pin();
        let epoch = table.epoch().advance();
        Self { table, epoch, guard: Some(guard) }
    }

    pub(crate) fn guard(&self) -> &Guard {
        self.guard.as_ref().expect("held until the cut is dropped")
    }

    /// Every peer of the cut, each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PeerAt<'_, K, C>> {
        self.table.index().walk(self.guard()).filter_map(|node| self.view(node))
    }

    /// One peer of the cut.
    pub(crate) fn get(&self, key: &K) -> Option<PeerAt<'_, K, C>> {
        let alive_at = |peer: &'_ Peer<K, C>| {
            let state = (peer.key() == key).then(|| peer.state.as_of(self.epoch, self.guard()))??;
            (!state.is_dead()).then_some(state)
        };
        let (node, state) = self.table.index().find(self.table.hash(key), self.guard(), alive_at)?;
        state.links().map(|links| PeerAt { node, state, links })
    }

    fn view<'c>(&'c self, node: &'c Node<Peer<K, C>>) -> Option<PeerAt<'c, K, C>> {
        let state = node.state.as_of(self.epoch, self.guard())?;
        state.links().map(|links| PeerAt { node, state, links })
    }
}
