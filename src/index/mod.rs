//! A lock-free, resizable hash index of records that stay where they are for life.
//!
//! It knows no peers: an entry is found on the path of its hash by a test of the caller's, which may be asked of entries of other hashes, too;
//! and it is the entry, not the index, that knows whether it is alive. An entry is never moved; tables hold pointers to it.
//!
//! A table is a power of two of slots, in small groups, probed linearly from the beginning of the hash's group. A slot's life only goes
//! forward:
//!
//! ```text
//! empty ──────────────► entry ──► entry+REMOVED
//!   │                     │             │
//!   ▼ FROZEN              ▼ FROZEN      ▼ FROZEN
//! empty+FROZEN          entry+FROZEN ─► entry+REMOVED+FROZEN
//! ```
//!
//! Invariants:
//! - (path) The *path* of a hash in a table is its slots from the hash's home, the first slot of a group, up to the first empty one,
//!   frozen or not. Slots never become empty again, so an entry on the path stays on it, and two inserters of one hash
//!   compete for the same slot: no two live entries of one identity.
//! - (home) An entry is put nowhere but at the end of its path. So one that is seen in its home group is on its path, whatever
//!   else is there: a look-up may take it without following the path. That it is not seen there says nothing.
//! - (onward) A path that ends in a frozen empty slot, or never ends, goes on in the next table, for everybody. A frozen
//!   slot never receives an entry.
//! - (copied) Before a table is taken out of the chain, each entry frozen in it and not removed is in a later table,
//!   once. A copy is made by identity (the pointer), so that any number of threads may copy the same slot.
//! - (removed) A removed slot keeps its pointer, to be recognised by a late copier, but nobody follows it. It is never
//!   used for an insert; it goes with the next migration.
//! - (unlinked) An entry is unlinked only when every guard that was alive at its removal is gone, and freed only when
//!   every guard alive at its unlinking is gone.
//! - (address) An inserter looks whether there is a next table before it publishes, under one guard; so what it publishes cannot have the
//!   address of an entry that a later table holds as removed: that one was unlinked under the inserter's guard, or
//!   will be, and its memory is not free before that guard is gone.
//!
//! Growth: whoever fills a table beyond its limit links the next one, sized by what is live; inserts and removals then
//! each migrate a chunk of slots, a walk migrates the rest. Look-ups and updates never help. The last copier swings the root.
//! A thread that stalls within a chunk holds up nobody: when all chunks are given out, those not yet done are
//! done again by whoever needs them done.

mod node;
mod table;
#[cfg(all(test, not(any(connmgr_loom, connmgr_shuttle))))]
mod tests;

use std::sync::{Arc, Weak};

use crate::reclaim::{self, Guard};
use crate::sync::{AtomicPtr, AtomicUsize, MODEL, Ordering, Padded, mutant, ordering};

pub(crate) use node::{Held, Indexed, Node};
use table::{CHUNK, End, Table};

/// The least number of slots of a table.
pub(crate) const MIN_CAPACITY: usize = if MODEL { 2 } else { 64 };

/// The index. Cheap to clone: a clone is the same index.
#[derive(Debug)]
pub(crate) struct Index<T: Indexed>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T: Indexed> {
    /// The oldest table that is not yet fully migrated; the chain goes on by `Table::next`.
    root: AtomicPtr<Table<T>>,
    /// Entries linked and not yet unlinked.
    linked: Padded<AtomicUsize>,
}

impl<T: Indexed> Index<T> {
    /// An empty index whose first table has at least `capacity` slots.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let table = reclaim::alloc(Table::new(capacity.max(MIN_CAPACITY).next_power_of_two()));
        Self(Arc::new(Shared { root: AtomicPtr::new(table.as_ptr()), linked: Padded(AtomicUsize::new(0)) }))
    }

    /// The number of entries linked, the dead that are not yet unlinked included.
    pub(crate) fn len(&self) -> usize {
        // ORDER: linked-count
        self.0.linked.0.load(Ordering::Relaxed)
    }

    /// The removed slots on the path of `hash` in the present table.
    #[cfg(test)]
    fn worn(&self, hash: u64, guard: &Guard) -> usize {
        self.0.root(guard).removed_on_path(hash)
    }

    /// The slots of the present table.
    #[cfg(test)]
    pub(crate) fn capacity(&self, guard: &Guard) -> usize {
        self.0.root(guard).capacity()
    }

    /// The entry of `hash` that `accept` takes, if any is on the path, and what came with that. Wait-free but for growth: one path a table.
    #[inline(always)]
    pub(crate) fn find<'g, R>(
        &'g self,
        hash: u64,
        guard: &'g Guard,
        accept: impl Fn(&'g T) -> Option<R> + Copy,
    ) -> Option<(&'g Node<T>, R)> {
        self.at_home(hash, guard, accept).or_else(|| self.find_from_root(hash, guard, accept))
    }

    /// The same, if it is in its home group, as most are.
    #[inline(always)]
    pub(crate) fn at_home<'g, R>(
        &'g self,
        hash: u64,
        guard: &'g Guard,
        accept: impl Fn(&'g T) -> Option<R>,
    ) -> Option<(&'g Node<T>, R)> {
        self.0.root(guard).at_home(hash, guard, accept)
    }

    /// The same, without a first look [there](Self::at_home).
    #[inline(never)]
    pub(crate) fn find_from_root<'g, R>(
        &'g self,
        hash: u64,
        guard: &'g Guard,
        accept: impl Fn(&'g T) -> Option<R> + Copy,
    ) -> Option<(&'g Node<T>, R)> {
        let mut table = self.0.root(guard);
        loop {
            match table.search(hash, guard, accept) {
                End::Found(node, accepted) => return Some((node, accepted)),
                End::Empty(_) => return None,
                End::Onward if mutant!("look-up-stops-at-growth") => return None,
                End::Onward => table = table.next(guard)?,
            }
        }
    }

    /// The entry of `hash` that `accept` takes, or else a new one of that hash made by `make`; and whether it is new.
    ///
    /// `make` runs at most once and `prepare` before every attempt to publish what it made. If another thread inserts such an
    /// entry first, what was made is dropped. Linearizes, for a new entry, at the compare-and-swap of its slot.
    pub(crate) fn find_or_insert<'g>(
        &'g self,
        hash: u64,
        guard: &'g Guard,
        accept: impl Fn(&'g T) -> bool + Copy,
        make: impl FnOnce() -> T,
        mut prepare: impl FnMut(&mut T),
    ) -> (&'g Node<T>, bool) {
        let mut make = Some(make);
        let mut spare: Option<node::Spare<T>> = None;
        let mut table = self.0.root(guard);
        loop {
            let slot = match table.search(hash, guard, |entry| accept(entry).then_some(())) {
                End::Found(node, ()) => return (node, false),
                End::Onward => {
                    table = self.0.next_or_new(table, guard);
                    continue;
                }
                End::Empty(slot) => slot,
            };
            if table.next(guard).is_some() {
                // This table is closing: lead everybody on from here.
                slot.freeze();
                continue;
            }
            let mut new = spare.take().unwrap_or_else(|| node::Spare::new(make.take().expect("made once")()));
            prepare(new.value_mut());
            match slot.publish(new, guard) {
                Ok(node) => {
                    self.0.linked.0.fetch_add(1, Ordering::Relaxed);
                    if table.is_crowded_by_one_more() || self.0.is_worn(table, hash, node, guard) {
                        self.0.next_or_new(table, guard);
                    }
                    // Whoever had far to walk helps in proportion, or the path would grow faster than it is left.
                    for _ in 0..=table.distance(hash, node) / CHUNK {
                        self.0.help(guard);
                    }
                    return (node, true);
                }
                Err(unused) => spare = Some(unused),
            }
        }
    }

    /// Once every guard alive now is gone: asks `confirm` whether the entry is to go, and if so unlinks it, and frees it when nobody
    /// who may still need it is left. For each entry `confirm` says so once at most.
    pub(crate) fn remove(
        &self,
        node: &Node<T>,
        guard: &Guard,
        confirm: impl FnOnce(&Node<T>, &Guard) -> bool + Send + 'static,
    ) {
        if mutant!("unlinked-at-once") {
            if confirm(node, guard) {
                self.0.unlink(node.as_ptr(), guard);
            }
            return;
        }
        let shared = Arc::downgrade(&self.0);
        // The job outlives the guard, and perhaps the index: then there is nothing left to unlink from. It may run after the
        // job of a later removal, which has unlinked the node: it keeps the node to ask.
        node.later(guard, move |node, guard| {
            // Asked first: of a peer that has returned the rest would be for nothing.
            if !mutant!("unlink-forgotten")
                && confirm(node, guard)
                && let Some(shared) = Weak::upgrade(&shared)
            {
                shared.unlink(node.as_ptr(), guard);
            }
        });
    }

    /// Every entry that was linked before the call and not unlinked, each once; some that were linked since.
    ///
    /// Finishes a migration that is under way, so that one table holds them all. Entries may be dead.
    pub(crate) fn walk<'g>(&'g self, guard: &'g Guard) -> impl Iterator<Item = &'g Node<T>> + use<'g, T> {
        let table = loop {
            let table = self.0.root(guard);
            if table.next(guard).is_none() || mutant!("walk-ignores-migration") {
                break table;
            }
            self.0.finish(table, guard);
        };
        table.walk(guard)
    }
}

impl<T: Indexed> Shared<T> {
    #[inline]
    fn root<'g>(&self, guard: &'g Guard) -> &'g Table<T> {
        // ORDER: root-load
        let root = self.root.load(ordering!("root-load", Acquire));
        // SAFETY: read from the index just now; a table is retired only when the root has left it.
        unsafe { reclaim::deref(root, guard) }
    }

    /// Whether the path to `node`, which is new, leads over so many removed slots that a new table is worth its while.
    ///
    /// A peer that keeps returning has one path, which its removed slots make longer and longer, long before the table is full.
    /// The limit grows with the square root of the capacity, as a migration costs the capacity and the walk the limit.
    fn is_worn(&self, table: &Table<T>, hash: u64, node: &Node<T>, guard: &Guard) -> bool {
        let limit = table.capacity().isqrt().max(64);
        table.distance(hash, node) > limit
            && std::ptr::eq(table, self.root(guard))
            && table.removed_on_path(hash) > limit
    }

    /// The table after `table`, linking one if there is none yet.
    fn next_or_new<'g>(&self, table: &Table<T>, guard: &'g Guard) -> &'g Table<T> {
        if let Some(next) = table.next(guard) {
            return next;
        }
        // Twice the size if all were live; the same or less if most were removed. Between a quarter and half full to begin with.
        let live = self.linked.0.load(Ordering::Relaxed);
        // (In models as small as can be, so that it is left in its turn while the first migration is under way.)
        let slots = if MODEL { live + 1 } else { live * 2 };
        table.link_next(slots.next_power_of_two().max(MIN_CAPACITY), guard)
    }

    /// Migrates one chunk, if a migration is under way.
    fn help(&self, guard: &Guard) {
        let table = self.root(guard);
        if let Some(next) = table.next(guard)
            && table.migrate_chunk(next, |full| self.next_or_new(full, guard), guard)
        {
            self.promote(table, next, guard);
        }
    }

    /// Migrates the rest of `table`, whatever other threads do, and swings the root past it.
    #[cold]
    fn finish(&self, table: &Table<T>, guard: &Guard) {
        let next = self.next_or_new(table, guard);
        table.migrate_all(next, |full| self.next_or_new(full, guard), guard);
        self.promote(table, next, guard);
    }

    /// Swings the root from `table`, all of which has been copied, to `next`.
    fn promote(&self, table: &Table<T>, next: &Table<T>, guard: &Guard) {
        let old = std::ptr::from_ref(table).cast_mut();
        let new = std::ptr::from_ref(next).cast_mut();
        // ORDER: root-swing
        let swung = ordering!("root-swing", AcqRel);
        // `old` as it was stored, not as a shared reference.
        if let Ok(old) = self.root.compare_exchange(old, new, swung, Ordering::Relaxed) {
            // SAFETY: (1) tables come from `alloc`, and this thread alone won the swap. (2) The root was the only
            // way to `old`: it is the oldest table of the chain.
            unsafe { guard.retire(old) }
        }
    }

    /// Takes `node` out of every table that a new guard can reach, then retires the index's hold on it.
    fn unlink(&self, node: *mut Node<T>, guard: &Guard) {
        // SAFETY: the index owns the node until the retirement below, which happens once.
        let hash = unsafe { reclaim::deref(node, guard) }.hash();
        let mut table = self.root(guard);
        let mut expected = false;
        // A slot that was frozen before it was removed is copied to the next table, or will be: remove it there, too.
        while let Some(found) = table.mark_removed(hash, node, expected) {
            expected |= found;
            table = self.next_or_new(table, guard);
        }
        let live =
            self.linked.0.fetch_sub(usize::from(!mutant!("linked-not-decremented")), Ordering::Relaxed) - 1;
        // SAFETY: (1) once; (2) no table that a guard created from now on can reach leads to the node.
        unsafe { node::retire(node, guard) };
        let table = self.root(guard);
        if live.saturating_mul(16) < table.capacity() && table.capacity() > MIN_CAPACITY {
            self.next_or_new(table, guard);
        }
        self.help(guard);
    }
}

impl<T: Indexed> Drop for Shared<T> {
    fn drop(&mut self) {
        // Nobody else is left: no operation, as those borrow the index; no deferred job, as those could not be upgraded.
        let guard = &reclaim::pin();
        loop {
            let table = self.root(guard);
            if table.next(guard).is_none() {
                break;
            }
            self.finish(table, guard);
        }
        let last = LastTable(self.root.load(Ordering::Relaxed));
        let table = self.root(guard);
        // Each is a miss, so some are fetched ahead. (In models nothing is read ahead.)
        let mut ahead = table.walk(guard).skip(16);
        let nodes = table.walk(guard).inspect(|_| {
            if !MODEL && let Some(ahead) = ahead.next() {
                ahead.prefetch();
            }
        });
        let mut rest = Rest(nodes.map(Node::as_ptr));
        while rest.release_one() {}
        drop(rest);
        drop(last);
    }
}

/// What the index is still to release of its last table's nodes. If the destructor of one panics, the others are released for all that.
struct Rest<T, I: Iterator<Item = *mut Node<T>>>(I);

impl<T, I: Iterator<Item = *mut Node<T>>> Rest<T, I> {
    fn release_one(&mut self) -> bool {
        let Some(node) = self.0.next() else { return false };
        // SAFETY: made only when the index is dropped, of the last table, which holds every linked node once.
        unsafe { node::release(node) };
        true
    }
}

impl<T, I: Iterator<Item = *mut Node<T>>> Drop for Rest<T, I> {
    fn drop(&mut self) {
        while self.release_one() {}
    }
}

/// The table that an index has at its end, freed after all that it leads to.
struct LastTable<T: Indexed>(*mut Table<T>);

impl<T: Indexed> Drop for LastTable<T> {
    fn drop(&mut self) {
        // SAFETY: made only when the index is dropped: nobody can reach the table any more.
        unsafe { reclaim::free(self.0) };
    }
}
