//! Peer records: tags, connections and protections, each peer's in one versioned state.
//!
//! What a peer is, is what its state holds:
//!
//! | connections | tags | protections | the peer is |
//! |---|---|---|---|
//! | some | any | any | connected |
//! | none | some | any | *temporary*: tagged before it connected; or *left*, if its links say so: its tags are kept for a time |
//! | none | none | some | only protected |
//! | none | none | none | gone: the state is dead; the record is revived if the peer returns soon, else sealed and unlinked |
//!
//! How long a peer that has left keeps its tags is asked twice, and each time decided within one edit of the record: by the sweep
//! ([`PeerTable::expire`]), which takes them when the time is over, and by the peer's return ([`PeerTable::connect`]), which
//! finds them only if it is not. Whichever edits it first makes the other look again: tags are found whole or not at all.
//! Every other operation takes a peer for what its state holds: until it is swept it is there, as a temporary one is.
//!
//! Every operation here is one loop: find the record, look at its state, decide, try to edit that; when another thread was
//! faster, once more. A failed try means that another thread succeeded: lock-free. The hot path, setting a tag that
//! exists, allocates nothing and swaps one word; connections and protections come and go by a word, too, and mostly the first two tags of a connected peer come by one.

#![forbid(unsafe_code)]

mod decaying;
mod record;
mod removal;

use std::hash::{BuildHasher, Hash};

use crate::epoch::Epoch;
use crate::index::{Held, Index, Node};
use crate::reclaim::{self, Guard};
use crate::sync::{AtomicUsize, Ordering, Padded, mutant, update_fence};
use crate::versioned::{Fresh, LinkEdit, Look, State, TagEdit, TagId, Upsert};

pub(crate) use decaying::{DecayId, Open, Stored, Tagged, tagged};
#[cfg_attr(connmgr_loom, allow(unused_imports, reason = "for the crate's interface"))]
pub(crate) use decaying::{PLAIN_IDS, may_decay};
pub(crate) use record::{Conn, ConnEntry, Hashed, Identified, Links, NewConn, Peer, Tie};
pub(crate) use removal::{Claim, ClaimTerms, ExpiryTerms};

/// A record and the state of it that an operation looked at.
type Seen<'g, K, C> = (&'g Node<Peer<K, C>>, &'g State<Tie<C>>);

/// The same of a record that is alive, with its links.
type SeenAlive<'g, K, C> = (&'g Node<Peer<K, C>>, Look<'g, Tie<C>>, Links<'g, C>);

/// What [`PeerTable::protect`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Protected {
    /// The peer had this very protection before.
    pub(crate) before: bool,
    /// One of its connections was being closed already.
    pub(crate) closing: bool,
}

/// All peers.
#[derive(Debug)]
pub(crate) struct PeerTable<K: Send + Sync + 'static, C: Send + Sync + 'static, S> {
    index: Index<Peer<K, C>>,
    epoch: Epoch,
    hasher: S,
    counts: Padded<Counts>,
}

/// Connections, counted after the fact: exact when no call is under way.
#[derive(Debug)]
struct Counts {
    connections: AtomicUsize,
    closing: AtomicUsize,
}

impl<K, C, S> PeerTable<K, C, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    pub(crate) fn new(capacity: usize, hasher: S) -> Self {
        Self {
            index: Index::with_capacity(capacity),
            epoch: Epoch::new(),
            hasher,
            counts: Padded(Counts { connections: AtomicUsize::new(0), closing: AtomicUsize::new(0) }),
        }
    }

    /// The keyed hash of a peer id.
    #[inline]
    pub(crate) fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(crate) fn index(&self) -> &Index<Peer<K, C>> {
        &self.index
    }

    /// Connections held, those being closed included.
    pub(crate) fn connections(&self) -> usize {
        // ORDER: connection-count
        count(&self.counts.0.connections)
    }

    /// Connections being closed.
    pub(crate) fn closing(&self) -> usize {
        count(&self.counts.0.closing)
    }

    /// Records, those on their way out included.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// To be called before a pin, which is a locked instruction: so the hash is computed while what went before ends.
    #[inline(always)]
    fn hashed<'k>(&self, key: &'k K) -> Hashed<&'k K> {
        Hashed { hash: self.hash(key), key }
    }

    /// The record of that id, if there is one; or a sealed one, whether or not there is another. Whoever finds the tag in it that he looks for need not ask, as a sealed
    /// one has none.
    #[inline(always)]
    fn likely<'g>(&'g self, id: Hashed<&K>, guard: &'g Guard) -> Option<&'g Node<Peer<K, C>>> {
        let at_home = self.index.at_home(id.hash, guard, |peer| peer.is_of(id.key).then_some(()));
        at_home.map(|(node, ())| node).or_else(|| self.elsewhere(id, guard))
    }

    /// The record of that id that is not sealed, for who has not seen it at home.
    #[inline(never)]
    fn elsewhere<'g>(&'g self, id: Hashed<&K>, guard: &'g Guard) -> Option<&'g Node<Peer<K, C>>> {
        self.index.find_from_root(id.hash, guard, |peer| peer.state_of(id.key, guard)).map(|(node, _)| node)
    }

    /// The record of that id and its state, which is not sealed but may be dead, at an instant within the call: there is one at most.
    #[inline(always)]
    fn see<'g>(&'g self, id: Hashed<&K>, guard: &'g Guard) -> Option<Seen<'g, K, C>> {
        self.index.find(id.hash, guard, |peer| peer.state_of(id.key, guard))
    }

    /// The record of that id, its state and links, if it is alive.
    fn see_alive<'g>(&'g self, id: Hashed<&K>, guard: &'g Guard) -> Option<SeenAlive<'g, K, C>> {
        let (node, state) = self.see(id, guard)?;
        let look = state.look();
        Links::of(look).map(|links| (node, look, links))
    }

    /// Reads the state of `key` by `read`, if it is alive; again if another thread's success has changed its links meanwhile, or which tags it has. So what is returned is of
    /// one structural state; each tag's value is of its own instant.
    ///
    /// That state was there at the second look at the links, or, if it was replaced before, until then: the tags were the same before and after. The links may have become others
    /// in between, and the same again, by a newer connection that went; so there is a fence on either side of that look.
    pub(crate) fn read<R>(&self, key: &K, read: impl Fn(&State<Tie<C>>, Links<'_, C>) -> R) -> Option<R> {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        loop {
            let (_, look, links) = self.see_alive(id, &guard)?;
            let tags = look.state.tags().len();
            let found = read(look.state, links);
            // ORDER: read-fence
            update_fence();
            let same_links = look.state.look() == look;
            if !mutant!("second-read-fence-dropped") {
                // ORDER: read-fence
                update_fence();
            }
            let same_tags = look.state.tags().len() == tags || mutant!("tags-not-counted-again");
            if same_links && same_tags || mutant!("torn-read") {
                return Some(found);
            }
        }
    }

    /// Reads the links of `key` by `read`, if it is alive: as they are at one instant.
    pub(crate) fn links<R>(&self, key: &K, read: impl FnOnce(Links<'_, C>) -> R) -> Option<R> {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        self.see_alive(id, &guard).map(|(_, _, links)| read(links))
    }

    /// The value of one tag. Never writes shared memory but for the pin. (Left to itself, the compiler does not inline it.)
    #[inline(always)]
    pub(crate) fn tag_value(&self, key: &K, tag: TagId) -> Option<i64> {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        let state = self.likely(id, &guard)?.state.load(&guard);
        match state.value(tag) {
            None if state.is_sealed() && !mutant!("sealed-taken-for-absent") => {
                self.see(id, &guard)?.1.value(tag)
            }
            value => value,
        }
    }

    /// Sets `tag` to `f` of its value, or of 0, creating a temporary record for an unknown peer; returns what was stored.
    ///
    /// `f` runs under the guard, and again for each other value that it is to replace. `now` is called when a first-seen
    /// time is needed.
    #[inline]
    pub(crate) fn update(
        &self,
        key: &K,
        tag: TagId,
        now: impl Fn() -> u64,
        f: impl FnMut(i64) -> i64,
    ) -> i64 {
        self.upsert(key, tag, now, Upsert::new(f))
    }

    /// [`Self::update`] by a closure that may have been tried elsewhere.
    #[inline]
    pub(crate) fn upsert(
        &self,
        key: &K,
        tag: TagId,
        now: impl Fn() -> u64,
        mut upsert: Upsert<impl FnMut(i64) -> i64>,
    ) -> i64 {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        let node = self.likely(id, &guard);
        if let Some(node) = node
            && let Some(value) = node.state.load(&guard).update_in_place(tag, &mut upsert, &self.epoch)
        {
            return value;
        }
        self.upsert_again(id, node, tag, &now, upsert, &guard)
    }

    /// [`Self::upsert`] when the value was not to be changed in place at once, of the record that was found, if one was.
    #[cold]
    #[inline(never)]
    fn upsert_again<'g, F: FnMut(i64) -> i64>(
        &'g self,
        id: Hashed<&K>,
        mut found: Option<&'g Node<Peer<K, C>>>,
        tag: TagId,
        now: &impl Fn() -> u64,
        mut upsert: Upsert<F>,
        guard: &'g Guard,
    ) -> i64 {
        loop {
            let tried = match found {
                Some(node) => self.update_node(node, tag, now, upsert, guard),
                None => self.insert_tagged(id, tag, now, upsert, guard),
            };
            match tried {
                Ok(value) => return value,
                // It is sealed, or another thread's was first: there may be another.
                Err(again) => upsert = again,
            }
            found = self.see(id, guard).map(|(node, _)| node);
        }
    }

    /// Tries once to set a tag of a record that is kept, if it is there, to `upsert` of its value, where it is. What is not done so is left to [`Self::upsert_held`].
    #[inline(always)]
    pub(crate) fn update_held_in_place(
        &self,
        node: &Held<Peer<K, C>>,
        tag: TagId,
        upsert: &mut Upsert<impl FnMut(i64) -> i64>,
    ) -> Option<i64> {
        node.state.prefetch();
        let guard = reclaim::pin();
        node.state.load(&guard).update_in_place(tag, upsert, &self.epoch)
    }

    /// [`Self::upsert`] on a record that is kept; gives the closure back if that is sealed.
    pub(crate) fn upsert_held<F: FnMut(i64) -> i64>(
        &self,
        node: &Held<Peer<K, C>>,
        tag: TagId,
        now: impl Fn() -> u64,
        upsert: Upsert<F>,
    ) -> Result<i64, Upsert<F>> {
        let guard = reclaim::pin();
        self.update_node(node, tag, &now, upsert, &guard)
    }

    /// The value of one tag of a record that is kept; `None` if it is sealed, `Some(None)` without that tag.
    #[inline]
    pub(crate) fn tag_value_held(&self, node: &Held<Peer<K, C>>, tag: TagId) -> Option<Option<i64>> {
        node.state.prefetch();
        let guard = reclaim::pin();
        let state = node.state.load(&guard);
        (!state.is_sealed()).then(|| state.value(tag))
    }

    /// Keeps the record of `key` that is not sealed, if there is one.
    pub(crate) fn hold(&self, key: &K) -> Option<Held<Peer<K, C>>> {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        self.see(id, &guard).map(|(node, _)| node.hold())
    }

    /// [`Self::upsert`] on one record, when the value was not to be changed in place at once; gives the closure back if that is sealed.
    fn update_node<'g, F: FnMut(i64) -> i64>(
        &self,
        node: &'g Node<Peer<K, C>>,
        tag: TagId,
        now: &impl Fn() -> u64,
        upsert: Upsert<F>,
        guard: &'g Guard,
    ) -> Result<i64, Upsert<F>> {
        node.state.update(tag, upsert, |look| Self::adopted(look, now), &self.epoch, node, guard)
    }

    /// What becomes of a record's links with a new tag.
    fn adopted<'g>(look: Look<'g, Tie<C>>, now: &impl Fn() -> u64) -> LinkEdit<'g, Tie<C>> {
        match Links::of(look) {
            None => LinkEdit::Become(Fresh::over(look).with(Tie::new(now()), None)),
            // Only protected up to here: its first tag makes it a temporary record.
            Some(links) if !links.is_connected() && look.state.tags().len() == 0 => {
                LinkEdit::Become(links.seen_first_at(now()))
            }
            _ => LinkEdit::Keep,
        }
    }

    fn insert_tagged<F: FnMut(i64) -> i64>(
        &self,
        id: Hashed<&K>,
        tag: TagId,
        now: &impl Fn() -> u64,
        mut upsert: Upsert<F>,
        guard: &Guard,
    ) -> Result<i64, Upsert<F>> {
        let mut stored = 0;
        let make = || {
            stored = upsert.apply(0);
            Peer::new(id, Fresh::first().with(Tie::new(now()), None), &[(tag, stored)])
        };
        if self.insert(id, make, guard).1 { Ok(stored) } else { Err(upsert) }
    }

    fn insert<'g>(
        &'g self,
        id: Hashed<&K>,
        make: impl FnOnce() -> Peer<K, C>,
        guard: &'g Guard,
    ) -> (&'g Node<Peer<K, C>>, bool) {
        self.index.find_or_insert(
            id.hash,
            guard,
            |peer| peer.state_of(id.key, guard).is_some(),
            make,
            |peer| peer.state.settle(&self.epoch),
        )
    }

    /// Removes `tag`, and with the last tag of a temporary record that record. Returns whether the tag was there.
    pub(crate) fn untag(&self, key: &K, tag: TagId) -> bool {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        loop {
            let Some((node, look, links)) = self.see_alive(id, &guard) else { return false };
            if look.state.value(tag).is_none() {
                return false;
            }
            let dies = look.state.tags().len() == 1 && !links.is_connected() && !links.is_protected();
            let edit = if dies { LinkEdit::Die(node.state.next_death()) } else { LinkEdit::Keep };
            if self.edit(node, look, TagEdit::Remove(&[tag]), edit, &guard) {
                return true;
            }
        }
    }

    /// Adds a connection, opened `now`, by the peer if it is `inbound`. Returns whether it was new.
    ///
    /// Of a peer that has left, the tags go if it left at `left_by()` or before.
    pub(crate) fn connect(
        &self,
        key: &K,
        conn: &mut NewConn<C>,
        now: u64,
        inbound: bool,
        left_by: impl Fn() -> Option<u64>,
    ) -> bool {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        loop {
            let Some((node, state)) = self.see(id, &guard) else {
                let tie = Tie::connected(now, inbound);
                let make = || Peer::new(id, Fresh::first().with_new(tie, conn), &[]);
                if self.insert(id, make, &guard).1 {
                    break;
                }
                continue;
            };
            let (look, mut tags) = (state.look(), TagEdit::Keep);
            if let Some(links) = Links::of(look) {
                if links.conn(conn.id()).is_some() {
                    return false;
                }
                if links.has_left() && left_by().is_some_and(|by| links.first_seen() <= by) {
                    tags = TagEdit::Clear;
                }
            }
            let links = LinkEdit::Become(Links::with_conn(look, conn, now, inbound));
            if self.edit(node, look, tags, links, &guard) {
                break;
            }
        }
        self.counts.0.connections.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Removes a connection; with the last one the tags, and unless it is protected the peer. Returns whether it was there.
    ///
    /// If tags are to be kept, `leave` tells the time, and a peer that has any is marked as having left then.
    pub(crate) fn disconnect(&self, key: &K, id: &C::Id, leave: impl Fn() -> Option<u64>) -> bool {
        let peer = self.hashed(key);
        let guard = reclaim::pin();
        let was_closing = loop {
            let Some((node, look, links)) = self.see_alive(peer, &guard) else { return false };
            let Some(conn) = links.conn(id) else { return false };
            let last = links.is_last();
            // (vacancy): it is to have no connection, and what becomes of it depends on whether it has tags.
            if last && !mutant!("left-unclosed") {
                look.state.close();
            }
            let left = if last && look.state.tags().len() > 0 { leave() } else { None };
            let tags = if last && left.is_none() { TagEdit::Clear } else { TagEdit::Keep };
            let edit = if let Some(now) = left {
                LinkEdit::Become(links.left_at(now))
            } else if last && !links.is_protected() {
                LinkEdit::Die(node.state.next_death())
            } else {
                LinkEdit::Become(links.without_conn(conn))
            };
            if self.edit(node, look, tags, edit, &guard) {
                break conn.is_closing();
            }
        };
        if !mutant!("connection-not-uncounted") {
            self.counts.0.connections.fetch_sub(1, Ordering::Relaxed);
        }
        if was_closing && !mutant!("closing-not-uncounted") {
            self.counts.0.closing.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// Protects `key` under `tag`, creating a record for an unknown peer.
    ///
    /// When it has returned, no later claim of this peer succeeds until it is unprotected.
    pub(crate) fn protect(&self, key: &K, tag: TagId, now: impl Fn() -> u64) -> Protected {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        loop {
            let Some((node, state)) = self.see(id, &guard) else {
                let make = || {
                    let tie = Tie::new(now()).protected(tag);
                    Peer::new(id, Fresh::first().with(tie, None), &[])
                };
                if self.insert(id, make, &guard).1 {
                    return Protected { before: false, closing: false };
                }
                continue;
            };
            let look = state.look();
            let links = Links::of(look);
            let closing = links.is_some_and(|links| links.conns().any(|conn| conn.is_closing()))
                && !mutant!("protect-blind-to-closing");
            let protected = match links {
                Some(links) if links.protections().contains(&tag) => {
                    return Protected { before: true, closing };
                }
                Some(links) => links.with_protection(tag),
                None => Fresh::over(look).with(Tie::new(now()).protected(tag), None),
            };
            if self.edit(node, look, TagEdit::Keep, LinkEdit::Become(protected), &guard) {
                return Protected { before: false, closing };
            }
        }
    }

    /// Lifts the protection under `tag`. Returns whether the peer is still protected by another.
    pub(crate) fn unprotect(&self, key: &K, tag: TagId) -> bool {
        let id = self.hashed(key);
        let guard = reclaim::pin();
        loop {
            let Some((node, look, links)) = self.see_alive(id, &guard) else { return false };
            if !links.protections().contains(&tag) {
                return links.is_protected();
            }
            let still = links.protections().len() > 1;
            let dies = !still && !links.is_connected() && look.state.tags().len() == 0;
            let edit = match dies {
                true => LinkEdit::Die(node.state.next_death()),
                false => LinkEdit::Become(links.without_protection(tag)),
            };
            if self.edit(node, look, TagEdit::Keep, edit, &guard) {
                return still;
            }
        }
    }

    /// Tries once to edit a record; whoever makes it dead sees to its removal.
    fn edit(
        &self,
        node: &Node<Peer<K, C>>,
        look: Look<'_, Tie<C>>,
        tags: TagEdit<'_>,
        links: LinkEdit<'_, Tie<C>>,
        guard: &Guard,
    ) -> bool {
        let death = if let LinkEdit::Die(number) = links { Some(number) } else { None };
        let edited = node.state.edit(look, tags, links, &self.epoch, node, guard).is_ok();
        if let (true, Some(number), false) = (edited, death, mutant!("death-without-removal")) {
            let still_dead = move |node: &Node<Peer<K, C>>, guard: &Guard| node.state.seal(number, guard);
            self.index.remove(node, guard, still_dead);
        }
        edited
    }
}

/// A count that may be read between the two halves of an operation: never below zero.
fn count(counter: &AtomicUsize) -> usize {
    usize::try_from(counter.load(Ordering::Relaxed) as isize).unwrap_or(0)
}
