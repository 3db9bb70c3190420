//! A peer's record and what its states hold besides tags.

use std::fmt::Debug;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::index::Node;
use crate::reclaim::Guard;
use crate::sync::prefetch_whole;
use crate::versioned::{Owner, State, TagId, Tags, Versioned};

/// A connection as the table sees it: something with an identity.
pub(crate) trait Identified: Send + Sync + 'static {
    /// What tells a peer's connections apart.
    type Id: Eq + Send + Sync + 'static;

    fn id(&self) -> &Self::Id;
}

/// One peer's record. It stays where it is for life; what changes is its state.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Peer<K, C> {
    // First, so that the pointer to the present state is in the line of the record's hash.
    pub(crate) state: Versioned<Links<C>>,
    pub(super) key: K,
}

impl<K: Eq, C: Identified> Peer<K, C> {
    pub(super) fn new(key: K, links: Links<C>, tags: &Tags) -> Self {
        Self { key, state: Versioned::new(links, tags) }
    }

    /// Its state, if this is the record of `key` and not sealed.
    #[inline]
    pub(super) fn state_of<'g>(&self, key: &K, guard: &'g Guard) -> Option<&'g State<Links<C>>> {
        if self.key != *key {
            return None;
        }
        Some(self.state.load(guard)).filter(|state| !state.is_sealed())
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }
}

/// Everything of a peer's state but its tags. Immutable: each change makes a new one.
#[derive(Debug)]
pub(crate) struct Links<C> {
    /// When the peer was first seen, in the manager's time, under the bit that says it has left; of no meaning while it is
    /// only protected.
    seen: u64,
    pub(crate) conns: SmallVec<[Conn<C>; 1]>,
    pub(crate) protections: SmallVec<[TagId; 2]>,
}

/// A connection that a peer holds.
#[derive(Debug)]
pub(crate) struct Conn<C> {
    pub(crate) entry: Arc<C>,
    /// When it was opened, under two bits: one word, so that a peer with one connection has its links in one line.
    opened: u64,
}

/// Set in a connection's time: a claim took it, and its close has been, or is about to be, issued.
const CLOSING: u64 = 1 << 63;

/// Set in a connection's time: the peer opened it.
const INBOUND: u64 = 1 << 62;

/// Set in a peer's time: its last connection went then, and its tags are kept for a while.
const LEFT: u64 = 1 << 63;

impl<C> Conn<C> {
    /// `opened` saturates at 146 years of the manager's time.
    fn new(entry: &Arc<C>, opened: u64, inbound: bool) -> Self {
        let direction = if inbound { INBOUND } else { 0 };
        Self { entry: Arc::clone(entry), opened: opened.min(INBOUND - 1) | direction }
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened & !(CLOSING | INBOUND)
    }

    /// Whether the peer opened it.
    pub(crate) fn is_inbound(&self) -> bool {
        self.opened & INBOUND != 0
    }

    /// Whether a claim took it.
    pub(crate) fn is_closing(&self) -> bool {
        self.opened & CLOSING != 0
    }
}

impl<C> Clone for Conn<C> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), opened: self.opened }
    }
}

// A peer's links with one connection fit the allocator's class of 64 bytes, header included.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Links<()>>() == 56);

impl<K, C> Owner<Links<C>> for Node<Peer<K, C>>
where
    K: Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    fn later(&self, guard: &Guard, job: impl FnOnce(&Versioned<Links<C>>, &Guard) + Send + 'static) {
        self.later(guard, move |peer, guard| job(&peer.state, guard));
    }
}

impl<C> Clone for Links<C> {
    fn clone(&self) -> Self {
        self.with_conns(self.conns.len(), self.conns.iter())
    }
}

impl<C> Links<C> {
    /// `first_seen` saturates at 292 years of the manager's time.
    pub(super) fn new(first_seen: u64) -> Self {
        Self { seen: first_seen.min(LEFT - 1), conns: SmallVec::new(), protections: SmallVec::new() }
    }

    /// When the peer was first seen, or, of one that has left, when it did.
    pub(crate) fn first_seen(&self) -> u64 {
        self.seen & !LEFT
    }

    /// Whether the last connection went and the tags were kept.
    pub(crate) fn has_left(&self) -> bool {
        self.seen & LEFT != 0
    }

    /// Connections that are not being closed.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Conn<C>> {
        self.conns.iter().filter(|conn| !conn.is_closing())
    }

    /// Has the first connection on its way.
    pub(crate) fn prefetch_conn(&self) {
        if let Some(conn) = self.conns.first() {
            prefetch_whole(Arc::as_ptr(&conn.entry));
        }
    }

    /// Those of them that were opened at that time or before.
    pub(crate) fn open_since(&self, opened_by: u64) -> impl Iterator<Item = &Conn<C>> {
        self.open().filter(move |conn| conn.opened() <= opened_by)
    }

    pub(crate) fn is_protected(&self) -> bool {
        !self.protections.is_empty()
    }

    /// Whether a peer with these links, in this state, has tags and no connection: it is temporary, or has left.
    pub(crate) fn is_away(&self, state: &State<Self>) -> bool {
        self.conns.is_empty() && state.tags().len() > 0
    }

    /// With these connections and room for `count`.
    fn with_conns<'c>(&self, count: usize, kept: impl Iterator<Item = &'c Conn<C>>) -> Self
    where
        C: 'c,
    {
        // Pushed one by one: for a few, `extend` takes five times as long.
        let mut conns =
            if count > 1 { SmallVec::from_vec(Vec::with_capacity(count)) } else { SmallVec::new() };
        for conn in kept {
            conns.push(conn.clone());
        }
        Self { seen: self.seen, conns, protections: SmallVec::from_slice(&self.protections) }
    }

    pub(super) fn seen_first_at(&self, now: u64) -> Self {
        Self { protections: SmallVec::from_slice(&self.protections), ..Self::new(now) }
    }

    /// Without its last connection, its tags to be kept from `now` on.
    pub(super) fn left_at(&self, now: u64) -> Self {
        let links = self.seen_first_at(now);
        Self { seen: links.seen | LEFT, ..links }
    }

    /// With one more connection; the first one sets the first-seen time anew.
    pub(super) fn with_conn(&self, entry: &Arc<C>, now: u64, inbound: bool) -> Self {
        let mut links = self.with_conns(self.conns.len() + 1, self.conns.iter());
        links.conns.push(Conn::new(entry, now, inbound));
        if self.conns.is_empty() {
            links.seen = now.min(LEFT - 1);
        }
        links
    }

    pub(super) fn without_conn(&self, at: usize) -> Self {
        let kept = self.conns.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, conn)| conn);
        self.with_conns(self.conns.len() - 1, kept)
    }

    /// With those connections that `taken` picks marked as being closed.
    pub(super) fn with_closing(&self, taken: impl Fn(&Conn<C>) -> bool) -> Self {
        let mut links = self.clone();
        for conn in links.conns.iter_mut().filter(|conn| taken(conn)) {
            conn.opened |= CLOSING;
        }
        links
    }

    pub(super) fn with_protection(&self, tag: TagId) -> Self {
        let mut links = self.clone();
        links.protections.push(tag);
        links
    }

    pub(super) fn without_protection(&self, tag: TagId) -> Self {
        let mut links = self.clone();
        links.protections.retain(|held| *held != tag);
        links
    }
}

impl<C: Identified> Links<C> {
    pub(super) fn position(&self, id: &C::Id) -> Option<usize> {
        self.conns.iter().position(|conn| conn.entry.id() == id)
    }
}
