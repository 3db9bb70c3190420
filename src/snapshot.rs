//! A consistent cut of the whole table, and a walk over it.
//!
//! Taking one costs one increment and a fence; reading it stops nobody, and writes only that a peer's state takes no more tags. It holds every update that returned before it was
//! begun and none that began after; if it holds an update, it holds everything that update could have seen. An
//! update that is under way while it is taken may be on either side, and may come to be seen between two readings.
//!
//! Invariant: the guard is older than the epoch it reads at, so that every state and record of that epoch outlives it.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::mem;

use crate::index::Node;
use crate::peer::{Identified, Links, Peer, PeerTable, Tie};
use crate::reclaim::{self, Guard};
use crate::sync::{BATCH, MODEL, mutant, prefetch_ahead, update_fence};
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
pub(crate) struct PeerAt<'c, K, C: Send + Sync + 'static> {
    pub(crate) node: &'c Node<Peer<K, C>>,
    pub(crate) state: &'c State<Tie<C>>,
    pub(crate) links: Links<'c, C>,
}

impl<K, C: Send + Sync + 'static> Clone for PeerAt<'_, K, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, C: Send + Sync + 'static> Copy for PeerAt<'_, K, C> {}

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

    /// The same, once what may be freed by now is, which comes after it otherwise: for who is to change what is in the cut. While that is held, what a
    /// record used last stays in use, and the record's next state has no room in it.
    pub(crate) fn take_settled(table: &'t PeerTable<K, C, S>) -> Self {
        reclaim::settle();
        Self::take(table)
    }

    pub(crate) fn guard(&self) -> &Guard {
        self.guard.as_ref().expect("held until the cut is dropped")
    }

    /// Every peer of the cut, each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PeerAt<'_, K, C>> {
        self.walk(Node::prefetch)
    }

    /// The same, to those who read the peers' states and hashes, but of most not the keys: these are not fetched ahead.
    pub(crate) fn iter_states(&self) -> impl Iterator<Item = PeerAt<'_, K, C>> {
        self.walk(|node| node.state.prefetch_ahead())
    }

    fn walk<'c>(&'c self, fetch: impl Fn(&'c Node<Peer<K, C>>)) -> impl Iterator<Item = PeerAt<'c, K, C>> {
        let nodes = self.table.index().walk(self.guard()).inspect(move |node| fetch(node));
        Walk { cut: self, nodes, met: batch(), known: batch(), seen: batch(), ready: batch(), at: 0 }
    }

    /// One peer of the cut.
    pub(crate) fn get(&self, key: &K) -> Option<PeerAt<'_, K, C>> {
        let alive_at = |peer: &'_ Peer<K, C>| {
            let state = (peer.key() == key).then(|| peer.state.as_of(self.epoch, self.guard()))??;
            links_of(state).map(|links| (state, links))
        };
        let (node, (state, links)) = self.table.index().find(self.table.hash(key), self.guard(), alive_at)?;
        Some(PeerAt { node, state, links })
    }

    fn view<'c>(&'c self, node: &'c Node<Peer<K, C>>) -> Option<PeerAt<'c, K, C>> {
        let state = node.state.as_of(self.epoch, self.guard())?;
        links_of(state).map(|links| PeerAt { node, state, links })
    }
}

/// The links of a state of a cut, once it is final which tags there are: so that both are of one structural state. Whoever is late with a tag
/// adds it to a state that comes after the cut.
fn links_of<C: Send + Sync + 'static>(state: &State<Tie<C>>) -> Option<Links<'_, C>> {
    if !mutant!("cut-left-open") {
        state.close();
        // ORDER: cut-fence
        update_fence();
    }
    Links::of(state.look())
}

/// A walk over a cut's peers, some way ahead of which it fetches what they are made of.
///
/// A peer is a chain of misses: its record, which leads to its state, that to its links, and they to its first connection. So the walk proceeds by batches, each
/// of which is a stage behind the one after it: the misses of a batch come together, while others are looked at.
struct Walk<'c, I, K: Send + Sync + 'static, C: Send + Sync + 'static, S> {
    cut: &'c Cut<'c, K, C, S>,
    nodes: I,
    /// Records that are being fetched.
    met: Vec<&'c Node<Peer<K, C>>>,
    /// Records whose states are being fetched.
    known: Vec<&'c Node<Peer<K, C>>>,
    /// Peers whose links are being fetched.
    seen: Vec<PeerAt<'c, K, C>>,
    /// Peers whose first connection is being fetched, or has been: from [`Self::at`] on they are next.
    ready: Vec<PeerAt<'c, K, C>>,
    at: usize,
}

fn batch<T>() -> Vec<T> {
    Vec::with_capacity(BATCH)
}

impl<'c, I, K, C, S> Walk<'c, I, K, C, S>
where
    I: Iterator<Item = &'c Node<Peer<K, C>>>,
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    /// Takes each batch a stage further. Returns whether there are peers that are ready.
    #[inline(never)]
    fn advance(&mut self) -> bool {
        self.at = 0;
        loop {
            mem::swap(&mut self.ready, &mut self.seen);
            self.ready.iter().for_each(|at| at.links.prefetch_conn());
            self.seen.clear();
            for node in &self.known {
                if let Some(at) = self.cut.view(node) {
                    at.links.prefetch();
                    self.seen.push(at);
                }
            }
            mem::swap(&mut self.known, &mut self.met);
            // (In models nothing is read ahead.)
            if !MODEL {
                self.known.iter().for_each(|node| prefetch_ahead(node.state.load(self.cut.guard())));
            }
            self.met.clear();
            self.met.extend(self.nodes.by_ref().take(BATCH));
            let under_way = !(self.met.is_empty() && self.known.is_empty() && self.seen.is_empty());
            if !self.ready.is_empty() || !under_way {
                return !self.ready.is_empty();
            }
        }
    }
}

impl<'c, I, K, C, S> Iterator for Walk<'c, I, K, C, S>
where
    I: Iterator<Item = &'c Node<Peer<K, C>>>,
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    type Item = PeerAt<'c, K, C>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.ready.len() && !self.advance() {
            return None;
        }
        self.at += 1;
        Some(self.ready[self.at - 1])
    }
}
