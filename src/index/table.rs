//! One table: slots, and the migration out of them. The invariants stand in the parent module.

use std::hint;
use std::ptr;

use super::node::{ALIGNMENT, Indexed, Node, SPARE_BITS, Spare};
use crate::reclaim::{self, Guard};
use crate::sync::{
    AtomicBool, AtomicPtr, AtomicUsize, GROUP, Groups, MODEL, Ordering, Padded, mutant, ordering,
};

/// Set in a slot that is being migrated: it receives no entry any more, and its entry is to be found in the next table, too.
const FROZEN: usize = 1;
/// Set in a slot whose entry was unlinked: nobody follows the pointer, which may dangle.
const REMOVED: usize = 1 << 1;
/// The spare bits that hold a piece of the hash, so that other entries are seldom followed: the high ones, and where there are none the
/// low ones that are not marks.
const FINGERPRINT: usize = match SPARE_BITS & !LOW_BITS {
    0 => LOW_BITS & !(FROZEN | REMOVED),
    high => high,
};
const LOW_BITS: usize = ALIGNMENT - 1;
/// How many low bits of a hash its home does not depend on: those that the fingerprint is taken from.
const HOME_SHIFT: u32 = if FINGERPRINT & LOW_BITS == 0 || MODEL { 0 } else { LOW_BITS.count_ones() };

/// Eighths of a table that may be in use before it is left for a larger one. (In models half, so that they leave it soon.)
const LIMIT: usize = if MODEL { 4 } else { 7 };

/// Slots that are migrated in one go.
pub(super) const CHUNK: usize = if MODEL { 2 } else { 64 };

/// A slot's content: a pointer with marks and a fingerprint in its spare bits.
type Word<T> = *mut Node<T>;

/// A piece of the hash that its home in the table does not depend on.
#[inline]
fn fingerprint(hash: u64) -> usize {
    hash as usize & FINGERPRINT
}

#[inline]
fn node_of<T>(word: Word<T>) -> *mut Node<T> {
    word.map_addr(|address| address & !SPARE_BITS)
}

#[inline]
fn has<T>(word: Word<T>, mark: usize) -> bool {
    word.addr() & mark != 0
}

fn with<T>(word: Word<T>, marks: usize) -> Word<T> {
    word.map_addr(|address| address | marks)
}

#[derive(Debug)]
pub(super) struct Table<T> {
    groups: Groups<Node<T>>,
    next: AtomicPtr<Table<T>>,
    /// Slots that are not empty, give or take the inserts that are just happening.
    used: Padded<AtomicUsize>,
    /// The next chunk to be given out.
    cursor: Padded<AtomicUsize>,
    /// Chunks that are not yet marked done.
    pending: AtomicUsize,
    done: Box<[AtomicBool]>,
}

/// Where a path led.
pub(super) enum End<'g, T, R> {
    /// To an entry that was accepted, and what came with that.
    Found(&'g Node<T>, R),
    /// To an empty slot: there is no such entry, here or in later tables.
    Empty(Slot<'g, T>),
    /// To a frozen empty slot or nowhere: the next table, if any, knows.
    Onward,
}

/// An empty slot at the end of a path.
pub(super) struct Slot<'g, T> {
    table: &'g Table<T>,
    word: &'g AtomicPtr<Node<T>>,
}

impl<'g, T: Indexed> Slot<'g, T> {
    /// Puts `new` here, unless the slot is no longer empty.
    pub(super) fn publish(&self, new: Spare<T>, _guard: &'g Guard) -> Result<&'g Node<T>, Spare<T>> {
        // SAFETY: not published, so it is alive; only its hash is read.
        let hash = unsafe { (*new.as_ptr()).hash() };
        let (mut slot, mut empty) = (self.word, ptr::null_mut());
        if mutant!("removed-slot-reused") {
            let removed = |slot: &&AtomicPtr<Node<T>>| read(slot).addr() & (REMOVED | FROZEN) == REMOVED;
            if let Some(reused) = self.table.slots_from(hash).find(removed) {
                (slot, empty) = (reused, read(reused));
            }
        }
        if !swap(slot, empty, with(new.as_ptr(), fingerprint(hash))) {
            return Err(new);
        }
        let node = new.into_raw();
        self.table.used.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: published under `_guard`, so not freed before that is gone.
        Ok(unsafe { &*node })
    }

    /// Closes the slot, unless it is no longer empty.
    pub(super) fn freeze(&self) {
        swap(self.word, ptr::null_mut(), with(ptr::null_mut(), FROZEN));
    }
}

/// The one way a slot changes.
fn swap<T>(slot: &AtomicPtr<Node<T>>, from: Word<T>, to: Word<T>) -> bool {
    // ORDER: slot-publish
    slot.compare_exchange(from, to, ordering!("slot-publish", AcqRel), Ordering::Relaxed).is_ok()
}

#[inline]
fn read<T>(slot: &AtomicPtr<Node<T>>) -> Word<T> {
    // ORDER: slot-load
    slot.load(ordering!("slot-load", Acquire))
}

/// A word that was compared with the fingerprint of what is looked for: if it is alike, nothing is left of it but the pointer and [`FROZEN`].
#[derive(Debug)]
struct Compared<T>(Word<T>);

impl<T> Compared<T> {
    #[inline(always)]
    fn new(word: Word<T>, fingerprint: usize) -> Self {
        Self(word.map_addr(|address| address ^ fingerprint))
    }

    /// Whether it has that fingerprint, and has not been removed. (It may be empty, and the fingerprint zero: seldom, but where that is one bit.)
    #[inline(always)]
    fn is_alike(&self) -> bool {
        self.0.addr() & (FINGERPRINT | REMOVED) == 0
    }

    /// The entry, if it is alike, and `accept` takes it.
    ///
    /// The entry's own hash is not looked at: it may be in a line that nothing else is needed of, and `accept` decides in any case.
    #[inline(always)]
    fn entry<'g, R>(self, guard: &'g Guard, accept: impl Fn(&'g T) -> Option<R>) -> Option<(&'g Node<T>, R)> {
        let node = self.0.map_addr(|address| address & !FROZEN);
        if !self.is_alike() || node.is_null() {
            return None;
        }
        // SAFETY: not removed when it was read under `guard`, so by (unlinked) it is not freed while that is alive.
        let node = unsafe { reclaim::deref(node, guard) };
        Some((node, accept(node)?))
    }
}

impl<T: Indexed> Table<T> {
    pub(super) fn new(capacity: usize) -> Self {
        // What makes `at_home` sound.
        assert!(capacity.is_power_of_two() && capacity >= GROUP, "no capacity of a table: {capacity}");
        let chunks = capacity.div_ceil(CHUNK);
        Self {
            groups: Groups::new(capacity / GROUP),
            next: AtomicPtr::new(ptr::null_mut()),
            used: Padded(AtomicUsize::new(0)),
            cursor: Padded(AtomicUsize::new(0)),
            pending: AtomicUsize::new(chunks),
            done: (0..chunks).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.groups.len() * GROUP
    }

    fn slots(&self) -> &[AtomicPtr<Node<T>>] {
        self.groups.as_flattened()
    }

    /// The group that the path of `hash` begins with.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> HOME_SHIFT) as usize & (self.groups.len() - 1)
    }

    /// Whether this table is to be left for a larger one.
    pub(super) fn is_crowded_by_one_more(&self) -> bool {
        self.used.0.load(Ordering::Relaxed) > self.capacity() * LIMIT / 8
    }

    #[inline]
    pub(super) fn next<'g>(&self, guard: &'g Guard) -> Option<&'g Table<T>> {
        // ORDER: next-load
        let next = self.next.load(ordering!("next-load", Acquire));
        // SAFETY: a table of the chain after one that `guard` keeps: it is retired later than that one.
        (!next.is_null()).then(|| unsafe { reclaim::deref(next, guard) })
    }

    /// Links a table of `capacity` slots after this one, unless another thread has linked one.
    #[cold]
    pub(super) fn link_next<'g>(&self, capacity: usize, guard: &'g Guard) -> &'g Table<T> {
        let new = reclaim::alloc(Table::new(capacity)).as_ptr();
        // ORDER: next-publish
        let linked = ordering!("next-publish", AcqRel);
        if self.next.compare_exchange(ptr::null_mut(), new, linked, Ordering::Relaxed).is_err() {
            // SAFETY: never published.
            unsafe { reclaim::free(new) };
        }
        self.next(guard).expect("just linked, by this thread or another")
    }

    /// The slots of a path that never ends, in order: from home to the end of the table, then from its beginning.
    #[inline]
    fn slots_from(&self, hash: u64) -> impl Iterator<Item = &AtomicPtr<Node<T>>> {
        let (before, after) = self.slots().split_at(self.home(hash) * GROUP);
        after.iter().chain(before)
    }

    /// How many slots `hash`'s path leads over to `node`; 0 if it is not on it.
    pub(super) fn distance(&self, hash: u64, node: &Node<T>) -> usize {
        // A removed slot may have the same address, of old.
        self.path(hash).position(|word| ptr::eq(node_of(word), node) && !has(word, REMOVED)).unwrap_or(0)
    }

    /// How many removed slots `hash`'s path leads over.
    pub(super) fn removed_on_path(&self, hash: u64) -> usize {
        self.path(hash).filter(|&word| has(word, REMOVED)).count()
    }

    /// What is on the path of `hash`, at a glance: to be counted, not followed.
    fn path(&self, hash: u64) -> impl Iterator<Item = Word<T>> {
        let words = self.slots_from(hash).map(|slot| slot.load(Ordering::Relaxed));
        words.take_while(|word| word.addr() > FROZEN)
    }

    /// The entry of `hash` that `accept` takes, if it is at home, as most are: a first look, before [`Self::search`].
    #[inline(always)]
    pub(super) fn at_home<'g, R>(
        &'g self,
        hash: u64,
        guard: &'g Guard,
        accept: impl Fn(&'g T) -> Option<R>,
    ) -> Option<(&'g Node<T>, R)> {
        // SAFETY: their number is a power of two, as `new` makes sure, so that what is masked by one less is below it.
        let [first, others @ ..] = unsafe { self.groups.get_unchecked(self.home(hash)) };
        let compared = |slot| Compared::new(read(slot), fingerprint(hash));
        // Which of them it is, is no branch: that would be mispredicted too often, and hold up what follows until the group has come.
        // The last, as a peer that returned comes after those of its former records that are not unlinked yet.
        let likely = others
            .iter()
            .map(compared)
            .fold(compared(first), |likely, word| hint::select_unpredictable(word.is_alike(), word, likely));
        likely.entry(guard, accept)
    }

    /// Follows the path of `hash` to an entry that `accept` takes.
    pub(super) fn search<'g, R>(
        &'g self,
        hash: u64,
        guard: &'g Guard,
        accept: impl Fn(&'g T) -> Option<R> + Copy,
    ) -> End<'g, T, R> {
        for slot in self.slots_from(hash) {
            let word = read(slot);
            if let Some((node, accepted)) = Compared::new(word, fingerprint(hash)).entry(guard, accept) {
                return End::Found(node, accepted);
            }
            if word.is_null() {
                return End::Empty(Slot { table: self, word: slot });
            }
            if word.addr() == FROZEN {
                return End::Onward;
            }
        }
        End::Onward
    }

    /// Marks `node`'s slot removed. Returns `None` when no later table has to be seen to, else whether the node was here.
    ///
    /// With `expected`, an earlier table had the node, frozen, so it belongs here: where its path ends without it, a
    /// removed slot is put in its place, to stop the copier that is late.
    pub(super) fn mark_removed(&self, hash: u64, node: *mut Node<T>, expected: bool) -> Option<bool> {
        for slot in self.slots_from(hash) {
            loop {
                let word = read(slot);
                if node_of(word) == node && !has(word, REMOVED) {
                    if swap(slot, word, with(word, REMOVED)) {
                        let copied = has(word, FROZEN) && !mutant!("removed-in-one-table-only");
                        return copied.then_some(true);
                    }
                } else if word.is_null() {
                    debug_assert!(expected, "a linked node is in the chain");
                    if mutant!("late-copy-not-stopped") {
                        return None;
                    }
                    let removed = with(node, fingerprint(hash) | REMOVED);
                    if swap(slot, ptr::null_mut(), removed) {
                        self.used.0.fetch_add(1, Ordering::Relaxed);
                        return None;
                    }
                } else if word.addr() == FROZEN {
                    return Some(false);
                } else {
                    // Another node, or one that was removed long ago and whose address this one was given.
                    break;
                }
            }
        }
        Some(false)
    }

    /// Puts `word`'s node here if it is not here yet; returns false if its path leads on.
    fn adopt(&self, hash: u64, word: Word<T>) -> bool {
        for slot in self.slots_from(hash) {
            loop {
                let present = read(slot);
                if node_of(present) == node_of(word) && !mutant!("copied-twice") {
                    return true;
                }
                if present.is_null() {
                    if swap(slot, ptr::null_mut(), word) {
                        self.used.0.fetch_add(1, Ordering::Relaxed);
                        return true;
                    }
                } else if present.addr() == FROZEN {
                    return false;
                } else {
                    break;
                }
            }
        }
        false
    }

    /// Freezes a chunk and copies what is in it to `next`, or beyond where that is closing, too.
    fn copy_chunk<'g>(
        &self,
        chunk: usize,
        next: &'g Table<T>,
        beyond: &impl Fn(&'g Table<T>) -> &'g Table<T>,
        guard: &'g Guard,
    ) {
        let slots = self.slots();
        for slot in &slots[chunk * CHUNK..slots.len().min((chunk + 1) * CHUNK)] {
            let mut word = read(slot);
            if has(word, FROZEN) && mutant!("slot-frozen-by-another-not-copied") {
                continue;
            }
            while !has(word, FROZEN) && !mutant!("slot-not-frozen") {
                if swap(slot, word, with(word, FROZEN)) {
                    word = with(word, FROZEN);
                } else {
                    word = read(slot);
                }
            }
            if word.addr() <= FROZEN || has(word, REMOVED) {
                continue;
            }
            // SAFETY: not removed when it was read under this guard.
            let hash = unsafe { reclaim::deref(node_of(word), guard) }.hash();
            let word = word.map_addr(|address| address & !FROZEN);
            let mut target = next;
            while !target.adopt(hash, word) {
                target = beyond(target);
            }
        }
        // ORDER: chunk-done
        if !self.done[chunk].swap(true, ordering!("chunk-done", AcqRel)) {
            // ORDER: pending-count
            self.pending.fetch_sub(1, ordering!("pending-count", AcqRel));
        }
    }

    /// Copies the next chunk that is not given out and returns whether all are copied.
    pub(super) fn migrate_chunk<'g>(
        &self,
        next: &'g Table<T>,
        beyond: impl Fn(&'g Table<T>) -> &'g Table<T>,
        guard: &'g Guard,
    ) -> bool {
        let chunk = self.cursor.0.load(Ordering::Relaxed);
        if chunk < self.done.len() {
            let chunk = self.cursor.0.fetch_add(1, Ordering::Relaxed);
            if chunk < self.done.len() {
                self.copy_chunk(chunk, next, &beyond, guard);
            }
        }
        // ORDER: pending-load
        self.pending.load(ordering!("pending-load", Acquire)) == 0
    }

    /// Copies every chunk that is not known to be done, other threads' included.
    pub(super) fn migrate_all<'g>(
        &self,
        next: &'g Table<T>,
        beyond: impl Fn(&'g Table<T>) -> &'g Table<T>,
        guard: &'g Guard,
    ) {
        while self.cursor.0.load(Ordering::Relaxed) < self.done.len() {
            self.migrate_chunk(next, &beyond, guard);
        }
        for (chunk, done) in self.done.iter().enumerate() {
            while mutant!("copier-waited-for") && !done.load(Ordering::Acquire) {}
            // ORDER: chunk-seen
            if !done.load(ordering!("chunk-seen", Acquire)) {
                self.copy_chunk(chunk, next, &beyond, guard);
            }
        }
    }

    /// The entries that are in this table, in no order. Nothing of them is read: whoever is to read them may fetch some ahead.
    pub(super) fn walk<'g>(&'g self, guard: &'g Guard) -> impl Iterator<Item = &'g Node<T>> + use<'g, T> {
        self.slots().iter().filter_map(move |slot| {
            let word = read(slot);
            if word.addr() <= FROZEN || has(word, REMOVED) {
                return None;
            }
            // SAFETY: not removed, so by (unlinked) it is not freed while a guard of this time is alive.
            Some(unsafe { reclaim::deref(node_of(word), guard) })
        })
    }
}
