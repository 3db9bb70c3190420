//! A peer's record and what its states hold besides tags.

use std::fmt::Debug;
use std::iter;
use std::marker::PhantomData;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::index::{Indexed, Node};
use crate::reclaim::Guard;
use crate::sync::{mutant, prefetch_ahead};
use crate::versioned::{
    Fresh, Link, LinkEdit, Linked, List, Look, NewTarget, Owner, State, TagId, Tags, Target, Versioned,
};

/// A connection as the table sees it: something with an identity.
pub(crate) trait Identified: Send + Sync + 'static {
    /// What tells a peer's connections apart.
    type Id: Eq + Send + Sync + 'static;

    fn id(&self) -> &Self::Id;
}

/// A peer's id, or a reference to it, with its hash.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Hashed<K> {
    // First: in a record next to the state's pointer, as a trim reads both, but not the key.
    pub(crate) hash: u64,
    pub(crate) key: K,
}

/// One peer's record. It stays where it is for life; what changes is its state.
#[derive(Debug)]
pub(crate) struct Peer<K, C: Send + Sync + 'static> {
    pub(crate) state: Versioned<Tie<C>, Hashed<K>>,
}

impl<K: Send + Sync + 'static> Indexed for Hashed<K> {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash
    }
}

impl<K: Send + Sync + 'static, C: Send + Sync + 'static> Indexed for Peer<K, C> {
    #[inline]
    fn hash(&self) -> u64 {
        self.state.key().hash
    }
}

impl<K: Eq + Clone, C: Identified> Peer<K, C> {
    pub(super) fn new(id: Hashed<&K>, links: Fresh<'_, Tie<C>>, tags: &Tags) -> Self {
        Self { state: Versioned::new(Hashed { hash: id.hash, key: id.key.clone() }, links, tags) }
    }

    /// Its state, if this is the record of `key` and not sealed.
    #[inline]
    pub(super) fn state_of<'g>(&self, key: &K, guard: &'g Guard) -> Option<&'g State<Tie<C>>> {
        if !self.is_of(key) {
            return None;
        }
        Some(self.state.load(guard)).filter(|state| !state.is_sealed())
    }

    /// Whether this is the record of `key`, or was.
    #[inline(always)]
    pub(super) fn is_of(&self, key: &K) -> bool {
        // Most likely it is the one.
        self.state.prefetch();
        self.key() == key
    }

    pub(crate) fn key(&self) -> &K {
        &self.state.key().key
    }
}

/// What a link of a peer's list says: of one of its connections, to which it leads, and in the newest also what else there is to the peer but
/// its tags.
#[derive(Debug)]
pub(crate) struct Tie<C> {
    /// When the peer was first seen, in the manager's time, under the bit that says it has left; of no meaning while it is
    /// only protected.
    seen: u64,
    /// What protects it, if anything does: most peers are not protected.
    protections: Option<Arc<Protections>>,
    /// When the connection was opened, under two bits. There is one, but in a list of one link.
    opened: u64,
    leads_to: PhantomData<C>,
}

type Protections = SmallVec<[TagId; 4]>;

// By itself, of a link that was remade: as the allocator's class of 48 bytes has room for, header included.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Link<Tie<()>>>() == 40);

impl<C: Send + Sync + 'static> Linked for Tie<C> {
    type To = C;
}

/// What the table was given as a connection, kept by a count.
pub(crate) type ConnEntry<C> = Arc<Target<Tie<C>>>;

/// A connection that is not in the table yet.
pub(crate) type NewConn<C> = NewTarget<Tie<C>>;

/// Everything of a peer's state but its tags: its newest tie, and by that the others.
///
/// If the list is marked, there is a connection, and every one is being closed, whether or not its tie says so: to claim all that a peer has
/// takes no new tie.
#[derive(Debug)]
pub(crate) struct Links<'g, C: Send + Sync + 'static>(List<'g, Tie<C>>);

// What a trim keeps of each peer: one word, as a reference would be.
const _: () = assert!(size_of::<Option<Links<'_, ()>>>() == size_of::<usize>());

/// A connection that a peer holds, by a [`ConnEntry`] or a reference to one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conn<E> {
    pub(crate) entry: E,
    opened: u64,
}

/// Set in a connection's time: a claim took it, and its close has been, or is about to be, issued. In a tie's it may be missing where the list is
/// marked, so whoever keeps such a tie keeps the mark.
const CLOSING: u64 = 1 << 63;

/// Set in a connection's time: the peer opened it.
const INBOUND: u64 = 1 << 62;

/// Set in a peer's time: its last connection went then, and its tags are kept for a while.
const LEFT: u64 = 1 << 63;

impl<E> Conn<E> {
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

    pub(crate) fn as_ref(&self) -> Conn<&E> {
        Conn { entry: &self.entry, opened: self.opened }
    }
}

impl<C: Send + Sync + 'static> Conn<&ConnEntry<C>> {
    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.entry, other.entry)
    }

    /// The same, to be kept.
    pub(crate) fn keep(self) -> Conn<ConnEntry<C>> {
        Conn { entry: Arc::clone(self.entry), opened: self.opened }
    }
}

impl<K, C> Owner<Versioned<Tie<C>, Hashed<K>>> for Node<Peer<K, C>>
where
    K: Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    fn later(&self, guard: &Guard, job: impl FnOnce(&Versioned<Tie<C>, Hashed<K>>, &Guard) + Send + 'static) {
        self.later(guard, move |peer, guard| job(&peer.state, guard));
    }
}

impl<C> Tie<C> {
    /// Of a peer without a connection. `first_seen` saturates at 292 years of the manager's time.
    pub(super) fn new(first_seen: u64) -> Self {
        Self { seen: first_seen.min(LEFT - 1), protections: None, opened: 0, leads_to: PhantomData }
    }

    /// Of a peer whose first connection is opened `now`, which saturates at 146 years.
    pub(super) fn connected(now: u64, inbound: bool) -> Self {
        let direction = if inbound { INBOUND } else { 0 };
        Self { opened: now.min(INBOUND - 1) | direction, ..Self::new(now) }
    }

    /// Of a peer that is protected.
    pub(super) fn protected(self, tag: TagId) -> Self {
        Self { protections: Some(Arc::new(SmallVec::from_slice(&[tag]))), ..self }
    }

    /// Another tie of the same peer.
    fn tied(&self, opened: u64) -> Self {
        Self { seen: self.seen, protections: self.protections.clone(), opened, leads_to: PhantomData }
    }

    /// Whether both say the same of the peer.
    fn alike(&self, other: &Self) -> bool {
        let protections = |tie: &Self| tie.protections.as_ref().map(Arc::as_ptr);
        self.seen == other.seen && protections(self) == protections(other)
    }
}

impl<C: Send + Sync + 'static> Clone for Links<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Send + Sync + 'static> Copy for Links<'_, C> {}

impl<'g, C: Send + Sync + 'static> Links<'g, C> {
    /// Those that an operation saw, if the record is alive.
    #[inline]
    pub(crate) fn of(look: Look<'g, Tie<C>>) -> Option<Self> {
        look.list().map(Self)
    }

    /// When the peer was first seen, or, of one that has left, when it did.
    pub(crate) fn first_seen(self) -> u64 {
        self.newest().seen & !LEFT
    }

    /// Whether the last connection went and the tags were kept.
    pub(crate) fn has_left(self) -> bool {
        self.newest().seen & LEFT != 0
    }

    /// What protects the peer.
    pub(crate) fn protections(self) -> &'g [TagId] {
        self.newest().protections.as_ref().map_or(&[], |held| held.as_slice())
    }

    pub(crate) fn is_protected(self) -> bool {
        self.newest().protections.is_some()
    }

    fn newest(self) -> &'g Link<Tie<C>> {
        self.0.newest()
    }

    fn ties(self) -> impl Iterator<Item = &'g Link<Tie<C>>> + use<'g, C> {
        iter::successors(Some(self.newest()), |tie| tie.older())
    }

    /// The connections, the newest first.
    pub(crate) fn conns(self) -> impl Iterator<Item = Conn<&'g ConnEntry<C>>> + use<'g, C> {
        let closing = if self.0.is_marked() { CLOSING } else { 0 };
        let conns = self.ties().filter_map(conn_of);
        conns.map(move |conn| Conn { opened: conn.opened | closing, ..conn })
    }

    /// The same, in the order they came in.
    pub(crate) fn conns_in_order(self) -> impl Iterator<Item = Conn<&'g ConnEntry<C>>> + use<'g, C> {
        self.conns().collect::<SmallVec<[_; 4]>>().into_iter().rev()
    }

    /// Whether both are the very same, and so have the same connections open.
    pub(super) fn is(self, other: Links<'_, C>) -> bool {
        self.0 == other.0
    }

    pub(crate) fn is_connected(self) -> bool {
        self.newest().target().is_some()
    }

    /// Whether it has one connection.
    pub(super) fn is_last(self) -> bool {
        self.is_connected() && self.newest().older().is_none()
    }

    /// Connections that are not being closed.
    pub(crate) fn open(self) -> impl Iterator<Item = Conn<&'g ConnEntry<C>>> + use<'g, C> {
        self.conns().filter(|conn| !conn.is_closing())
    }

    /// Has the newest tie on its way.
    pub(crate) fn prefetch(self) {
        prefetch_ahead(self.newest());
    }

    /// Has the newest connection on its way, once that tie is there.
    pub(crate) fn prefetch_conn(self) {
        if let Some(entry) = self.newest().target() {
            prefetch_ahead(Arc::as_ptr(entry));
        }
    }

    /// Whether a peer with these links, in this state, has tags and no connection: it is temporary, or has left.
    pub(crate) fn is_away(self, state: &State<Tie<C>>) -> bool {
        !self.is_connected() && state.tags().len() > 0
    }

    /// What `look` saw, with one more connection; the first one sets the first-seen time anew.
    pub(super) fn with_conn(
        look: Look<'g, Tie<C>>,
        conn: &mut NewConn<C>,
        now: u64,
        inbound: bool,
    ) -> Fresh<'g, Tie<C>> {
        let first = Tie::connected(now, inbound);
        match Self::of(look) {
            Some(links) if links.is_connected() => {
                // It is not being closed: so the others are to say themselves that they are, if some do not yet.
                let unsaid = |conn: &Conn<&ConnEntry<C>>| !conn.is_closing();
                let marked = links.0.is_marked() && !mutant!("mark-lost-on-connect");
                let others = match marked && links.ties().filter_map(conn_of).any(|conn| unsaid(&conn)) {
                    true => links.remade(unsaid, |conn| Some(conn.opened | CLOSING)),
                    false => Fresh::over(look),
                };
                others.with_new(links.newest().tied(first.opened), conn)
            }
            Some(links) => Fresh::in_place_of(links.newest()).with_new(links.as_protected(first), conn),
            None => Fresh::over(look).with_new(first, conn),
        }
    }

    pub(super) fn without_conn(self, gone: Conn<&ConnEntry<C>>) -> Fresh<'g, Tie<C>> {
        let newest = self.newest();
        let others = if !conn_of(newest).is_some_and(|conn| conn.is(&gone)) {
            self.remade(|conn| conn.is(&gone), |conn| (!conn.is(&gone)).then_some(conn.opened))
        } else {
            match newest.older() {
                None => return self.instead(newest.tied(0), None),
                Some(next) if next.alike(newest) => Fresh::in_place_of(newest),
                Some(next) => Fresh::in_place_of(next).with(newest.tied(next.opened), next.target()),
            }
        };
        others.marked(self.0.is_marked() && !mutant!("mark-lost-on-disconnect"))
    }

    /// What becomes of them when those connections that `taken` picks, one at least, are to be closed.
    pub(super) fn with_closing(self, taken: impl Fn(&Conn<&ConnEntry<C>>) -> bool) -> LinkEdit<'g, Tie<C>> {
        if self.open().all(|conn| taken(&conn)) || mutant!("marked-though-open") {
            return LinkEdit::Mark;
        }
        let mark = |conn: &Conn<&ConnEntry<C>>| if taken(conn) { CLOSING } else { 0 };
        LinkEdit::Become(self.remade(&taken, |conn| Some(conn.opened | mark(conn))))
    }

    /// With what `remade` makes of each connection's word, down to the oldest that `changes`; without those that it makes nothing of. A
    /// connection is here what its tie says of it, whether or not the list is marked.
    fn remade(
        self,
        changes: impl Fn(&Conn<&ConnEntry<C>>) -> bool,
        remade: impl Fn(&Conn<&ConnEntry<C>>) -> Option<u64>,
    ) -> Fresh<'g, Tie<C>> {
        let ties: SmallVec<[_; 4]> =
            self.ties().filter_map(|tie| conn_of(tie).map(|conn| (tie, conn))).collect();
        let oldest = ties.iter().rposition(|(_, conn)| changes(conn)).expect("something changes");
        let above = ties[..=oldest].iter().rev();
        above.fold(Fresh::in_place_of(ties[oldest].0), |fresh, (_, conn)| match remade(conn) {
            Some(opened) => fresh.with(self.newest().tied(opened), Some(conn.entry)),
            None => fresh,
        })
    }

    /// With `tie` in place of the newest.
    fn instead(self, tie: Tie<C>, conn: Option<&ConnEntry<C>>) -> Fresh<'g, Tie<C>> {
        Fresh::in_place_of(self.newest()).with(tie, conn)
    }

    /// `tie`, but under the same protections.
    fn as_protected(self, tie: Tie<C>) -> Tie<C> {
        Tie { protections: self.newest().protections.clone(), ..tie }
    }

    /// Of a peer without connections: with another first-seen time.
    pub(super) fn seen_first_at(self, now: u64) -> Fresh<'g, Tie<C>> {
        self.instead(self.as_protected(Tie::new(now)), None)
    }

    /// Without its last connection, its tags to be kept from `now` on.
    pub(super) fn left_at(self, now: u64) -> Fresh<'g, Tie<C>> {
        let gone = Tie::new(now);
        self.instead(self.as_protected(Tie { seen: gone.seen | LEFT, ..gone }), None)
    }

    pub(super) fn with_protection(self, tag: TagId) -> Fresh<'g, Tie<C>> {
        self.with_protections(self.protections().iter().copied().chain([tag]).collect())
    }

    pub(super) fn without_protection(self, tag: TagId) -> Fresh<'g, Tie<C>> {
        self.with_protections(self.protections().iter().copied().filter(|held| *held != tag).collect())
    }

    fn with_protections(self, protections: Protections) -> Fresh<'g, Tie<C>> {
        let protections = Some(protections).filter(|held| !held.is_empty()).map(Arc::new);
        let newest = self.newest();
        let links = self.instead(Tie { protections, ..newest.tied(newest.opened) }, newest.target());
        links.marked(self.0.is_marked() && !mutant!("mark-lost-on-protection"))
    }
}

impl<'g, C: Identified> Links<'g, C> {
    /// The connection of that identity.
    pub(super) fn conn(self, id: &C::Id) -> Option<Conn<&'g ConnEntry<C>>> {
        self.conns().find(|conn| conn.entry.id() == id)
    }
}

fn conn_of<C: Send + Sync + 'static>(tie: &Link<Tie<C>>) -> Option<Conn<&ConnEntry<C>>> {
    tie.target().map(|entry| Conn { entry, opened: tie.opened })
}
