//! Versioned state: one pointer to an immutable structure with mutable cells, and its recent past.
//!
//! A [`State`] is what a record is at one time: a table of cells, each a tag's value, and *links*, everything else.
//! Which tags there are and the links never change once a state is published; a cell's value does.
//!
//! **Value update** (fast path, [`Versioned::update`]). Load the state and the cell, run the closure, stamp; if the state
//! bears that epoch, compare-and-swap the cell. No allocation.
//!
//! **Replacement** ([`Versioned::replace`]): a change of structure, or the first value update after a snapshot.
//! *Freeze* every cell, which makes late compare-and-swaps of cells fail; copy; apply the edit; stamp; compare-and-swap
//! the state pointer; retire the old state. A thread that stalls after freezing holds up nobody: whoever meets a
//! frozen cell replaces the state himself.
//!
//! **Reading at an epoch** ([`Versioned::as_of`]): follow `prev` to the newest state not stamped later.
//!
//! Invariants:
//! - (stamp) A state's epoch was loaded by its writer after the state it replaces, after the closure and after
//!   freezing. So epochs do not decrease along a record's life.
//! - (chain) `prev` is followed only from a state that is too new for the reader. Its target was retired
//!   when it was replaced, by a thread that had loaded a later epoch than the reader's; the reader pinned before it
//!   advanced the epoch, so the target outlives the reader's guard.
//! - (inherit) A state that replaces one of its own epoch takes over that one's `prev`: a chain is no longer than
//!   the number of epochs that somebody may still read, plus one.
//! - (freeze) No cell of a state changes after the first compare-and-swap of the state pointer away from it was
//!   attempted with values copied from it.
//! - (death) Nothing replaces a dead state.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use smallvec::SmallVec;

use crate::epoch::Epoch;
use crate::reclaim::{self, Guard};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, mutant, ordering};

/// A tag's name, interned.
pub(crate) type TagId = u32;

/// The lowest weight that is stored; lower ones saturate to it.
pub const MIN_WEIGHT: i64 = -(1 << 62);
/// The highest weight that is stored; higher ones saturate to it.
pub const MAX_WEIGHT: i64 = (1 << 62) - 1;

/// Set in a cell's word: the state is being replaced, and the value is final for this state.
const FROZEN: u64 = 1;

#[inline]
fn encode(value: i64) -> u64 {
    (value << 1) as u64
}

#[inline]
fn decode(word: u64) -> i64 {
    (word as i64) >> 1
}

/// A weight as it is stored.
#[inline]
pub(crate) fn saturate(value: i64) -> i64 {
    value.clamp(MIN_WEIGHT, MAX_WEIGHT)
}

/// The exact sum, clamped: it is the same in whatever order the values come.
pub(crate) fn sum(values: impl Iterator<Item = i64>) -> i64 {
    let exact: i128 = values.map(i128::from).sum();
    exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// One tag of one state: a 63-bit value over the frozen bit.
#[derive(Debug)]
struct Cell {
    word: AtomicU64,
    tag: TagId,
}

impl Cell {
    fn new(tag: TagId, value: i64) -> Self {
        Self { word: AtomicU64::new(encode(value)), tag }
    }

    #[inline]
    fn load(&self) -> u64 {
        // ORDER: cell-load
        self.word.load(ordering!("cell-load", Acquire))
    }

    /// Makes the value final and returns it.
    fn freeze(&self) -> i64 {
        let word = self.load();
        if word & FROZEN != 0 || mutant!("freeze-skipped") {
            return decode(word);
        }
        // ORDER: cell-freeze
        decode(self.word.fetch_or(FROZEN, ordering!("cell-freeze", AcqRel)))
    }
}

/// What a record is at one time.
#[derive(Debug)]
pub(crate) struct State<L> {
    epoch: u64,
    prev: *const State<L>,
    /// Shared by successive states that differ in tags only; null in a dead state.
    links: *mut L,
    cells: SmallVec<[Cell; 2]>,
}

// The first line of a state holds its header and its first two tags' values.
#[cfg(all(target_pointer_width = "64", not(connmgr_loom)))]
const _: () = assert!(size_of::<State<()>>() == 64);

// SAFETY: the pointers are shared references in effect, whose targets the reclaimer keeps alive; what they lead to is
// read from many threads (`L: Sync`) and dropped on any (`L: Send`).
unsafe impl<L: Send + Sync> Send for State<L> {}
// SAFETY: as above.
unsafe impl<L: Send + Sync> Sync for State<L> {}

impl<L> State<L> {
    /// Whether the record is gone: nothing is ever added to it again.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.links.is_null()
    }

    /// Everything but the tags, or `None` of a dead state.
    pub(crate) fn links(&self) -> Option<&L> {
        reclaim::check(self.links);
        // SAFETY: links are retired with the last state that has them, so they live while this state does; nobody
        // has a mutable reference to what has been published.
        unsafe { self.links.as_ref() }
    }

    #[inline]
    fn cell(&self, tag: TagId) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.tag == tag)
    }

    /// The value of `tag`, read at this instant.
    #[inline]
    pub(crate) fn value(&self, tag: TagId) -> Option<i64> {
        self.cell(tag).map(|cell| decode(cell.load()))
    }

    /// Each tag with its value, each read at its own instant.
    pub(crate) fn tags(&self) -> impl ExactSizeIterator<Item = (TagId, i64)> {
        self.cells.iter().map(|cell| (cell.tag, decode(cell.load())))
    }

    /// The sum of the values, each read at its own instant, clamped.
    pub(crate) fn total(&self) -> i64 {
        sum(self.tags().map(|(_, value)| value))
    }
}

/// What becomes of the tags in a replacement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TagEdit {
    /// They stay.
    Keep,
    /// They stay if their sum is not above this; else the replacement is refused.
    KeepUpTo(i64),
    /// This tag gets this value, whether or not it was there.
    Set(TagId, i64),
    /// This tag goes.
    Remove(TagId),
    /// All go.
    Clear,
}

/// What becomes of the links in a replacement.
#[derive(Debug)]
pub(crate) enum LinkEdit<L> {
    /// They stay.
    Keep,
    /// They become these.
    Become(L),
    /// The record dies.
    Die,
}

/// Why a replacement did not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Another thread changed the state: look again.
    Raced,
    /// The sum of the tags was above what [`TagEdit::KeepUpTo`] allows.
    Above,
}

/// What owns a record's memory and can keep it until a state inside it has been freed.
pub(crate) trait Owner {
    /// Keeps the record's memory until it is dropped.
    type Kept: Send + 'static;

    fn keep(&self) -> Self::Kept;
}

/// A place for a state within the record.
type Slot<L> = UnsafeCell<MaybeUninit<State<L>>>;

/// How many there are: one for the present state, and one for its successor while it waits to be freed.
const SLOTS: usize = 2;

/// The atomically replaced state of one record.
///
/// States are put into the record itself as long as a slot of it is free, else onto the heap. A slot is taken by a bit of
/// `busy` and given back when the state in it has been freed; the job that does so keeps the record.
#[repr(C)]
pub(crate) struct Versioned<L> {
    /// Null until the record is [settled](Self::settle).
    state: AtomicPtr<State<L>>,
    /// A bit for each slot that holds a state, or is about to.
    busy: AtomicUsize,
    slots: [Slot<L>; SLOTS],
}

// SAFETY: what it leads to is shared between threads and dropped on any (`L: Send + Sync`); a slot is written only by the
// thread that set its bit, before its state is published, and again only after every reader of that state is gone.
unsafe impl<L: Send + Sync> Send for Versioned<L> {}
// SAFETY: as above.
unsafe impl<L: Send + Sync> Sync for Versioned<L> {}

impl<L> fmt::Debug for Versioned<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned").finish_non_exhaustive()
    }
}

impl<L> Versioned<L> {
    /// The slot that `state` is in, if it is in one.
    fn slot_of(&self, state: *const State<L>) -> Option<usize> {
        self.slots.iter().position(|slot| slot.get().cast_const().cast() == state)
    }
}

impl<L: Send + Sync + 'static> Versioned<L> {
    /// A record that is to be moved to where it stays, then [settled](Self::settle), then published.
    pub(crate) fn new(links: L, tag: Option<(TagId, i64)>) -> Self {
        let state = State {
            epoch: u64::MAX,
            prev: ptr::null(),
            links: reclaim::alloc(links).as_ptr(),
            cells: tag.into_iter().map(|(tag, value)| Cell::new(tag, saturate(value))).collect(),
        };
        Self {
            state: AtomicPtr::new(ptr::null_mut()),
            busy: AtomicUsize::new(1),
            slots: [UnsafeCell::new(MaybeUninit::new(state)), UnsafeCell::new(MaybeUninit::uninit())],
        }
    }

    /// Prepares an unpublished record that is where it stays, after everything its creator looked at: stamps it.
    ///
    /// To be called before each attempt to publish it.
    pub(crate) fn settle(&mut self, epoch: &Epoch) {
        let epoch = if mutant!("insert-stamped-early") { 1 } else { epoch.stamp() };
        let first: *mut State<L> = self.slots[0].get().cast();
        if self.state.load(Ordering::Relaxed).is_null() {
            reclaim::occupy(first);
            self.state = AtomicPtr::new(first);
        }
        // SAFETY: `new` put a state into the first slot, and `&mut self`: it is nobody else's yet.
        unsafe { (*first).epoch = epoch }
    }

    /// Puts a state where it can be published from.
    fn place(&self, state: State<L>) -> *mut State<L> {
        // ORDER: slot-claim
        let busy = self.busy.load(ordering!("slot-claim", Acquire));
        let free = busy.trailing_ones() as usize;
        if free < SLOTS {
            // ORDER: slot-claim
            let claimed = ordering!("slot-claim", Acquire);
            if self.busy.compare_exchange(busy, busy | 1 << free, claimed, Ordering::Relaxed).is_ok() {
                // SAFETY: the bit was clear, so nobody reads the slot any more, and this thread set it.
                let state: *mut State<L> = unsafe { (*self.slots[free].get()).write(state) };
                reclaim::occupy(state);
                return state;
            }
        }
        reclaim::alloc(state).as_ptr()
    }

    /// Frees what [`Self::place`] placed.
    ///
    /// # Safety
    /// 1. `state` is of this record, and freed once.
    /// 2. Nobody reads it any more.
    unsafe fn displace(&self, state: *mut State<L>) {
        let Some(slot) = self.slot_of(state) else {
            // SAFETY: (1), (2): not in a slot, so it was allocated.
            unsafe { reclaim::free(state) };
            return;
        };
        reclaim::vacate(state);
        // SAFETY: (1), (2).
        unsafe { state.drop_in_place() };
        // ORDER: slot-release
        self.busy.fetch_and(!(1 << slot), ordering!("slot-release", Release));
    }

    /// Frees `state` once every guard alive now is gone.
    ///
    /// # Safety
    /// 1. `state` is of this record, and freed once.
    /// 2. No guard created after this call can reach it.
    /// 3. `owner` owns this record.
    unsafe fn retire(&self, state: *mut State<L>, owner: &impl Owner, guard: &Guard) {
        if self.slot_of(state).is_none() {
            // SAFETY: (1), (2); not in a slot, so it was allocated.
            unsafe { guard.retire(state) };
            return;
        }
        let (record, kept) = (ptr::from_ref(self), owner.keep());
        let free = move || {
            // SAFETY: `kept` keeps the record up to here, by (3); the job runs once, when no reader is left: (1), (2).
            unsafe { (*record).displace(state) };
            drop(kept);
        };
        // SAFETY: (1) `L: Send + Sync`, and so is the hold.
        unsafe { guard.defer(free) }
    }

    /// The present state.
    #[inline]
    pub(crate) fn load<'g>(&self, guard: &'g Guard) -> &'g State<L> {
        // ORDER: state-load
        let state = self.state.load(ordering!("state-load", Acquire));
        // SAFETY: read from the record just now, so it was reachable since the guard was created; states are never
        // borrowed mutably once published.
        unsafe { reclaim::deref(state, guard) }
    }

    /// The state at `epoch`, which the caller obtained by [`Epoch::advance`] under `guard`; `None` if the record did
    /// not exist then. The state may be dead.
    pub(crate) fn as_of<'g>(&self, epoch: u64, guard: &'g Guard) -> Option<&'g State<L>> {
        let mut state = self.load(guard);
        while state.epoch > epoch {
            if state.prev.is_null() {
                return None;
            }
            // SAFETY: by the chain invariant, as the guard is older than `epoch`'s end.
            state = unsafe { reclaim::deref(state.prev, guard) };
        }
        Some(state)
    }

    /// Sets `tag` to `f` of its value, or of 0; returns the value stored, or `None` if the record is dead.
    ///
    /// `f` may run more than once. `adopt` says what becomes of the links if the tag is new. Linearizes at the
    /// compare-and-swap of the cell or of the state.
    #[inline]
    pub(crate) fn update(
        &self,
        tag: TagId,
        epoch: &Epoch,
        guard: &Guard,
        mut f: impl FnMut(i64) -> i64,
        adopt: impl Fn(&State<L>) -> LinkEdit<L>,
        owner: &impl Owner,
    ) -> Option<i64> {
        loop {
            let state = self.load(guard);
            if state.is_dead() {
                return None;
            }
            let Some(cell) = state.cell(tag) else {
                let to = saturate(f(0));
                if self.replace(state, TagEdit::Set(tag, to), adopt(state), epoch, owner, guard).is_ok() {
                    return Some(to);
                }
                continue;
            };
            let from = cell.load();
            let early = if mutant!("epoch-before-closure") { epoch.stamp() } else { 0 };
            let to = saturate(f(decode(from)));
            let now = if mutant!("epoch-before-closure") { early } else { epoch.stamp() };
            if from & FROZEN == 0 && (now == state.epoch || mutant!("epoch-unchecked")) {
                // ORDER: cell-update
                let published = ordering!("cell-update", AcqRel);
                if cell.word.compare_exchange(from, encode(to), published, Ordering::Relaxed).is_ok() {
                    return Some(to);
                }
            } else if self.rewrite(state, cell, from, to, epoch, owner, guard) {
                return Some(to);
            }
        }
    }

    /// The slow path of [`Self::update`]: puts the new value into a new state, unless the old value has changed.
    #[cold]
    #[inline(never)]
    #[expect(
        clippy::too_many_arguments,
        reason = "the locals of its only caller, moved out of the fast path"
    )]
    fn rewrite(
        &self,
        state: &State<L>,
        cell: &Cell,
        from: u64,
        to: i64,
        epoch: &Epoch,
        owner: &impl Owner,
        guard: &Guard,
    ) -> bool {
        if cell.freeze() != decode(from) && !mutant!("frozen-value-unchecked") {
            return false;
        }
        self.replace(state, TagEdit::Set(cell.tag, to), LinkEdit::Keep, epoch, owner, guard).is_ok()
    }

    /// Tries once to replace `state`, which [`Self::load`] gave under `guard` and is not dead.
    ///
    /// Linearizes at the compare-and-swap of the state pointer. The caller decided from `state`'s structure, which
    /// cannot have changed when that succeeds.
    pub(crate) fn replace(
        &self,
        state: &State<L>,
        tags: TagEdit,
        links: LinkEdit<L>,
        epoch: &Epoch,
        owner: &impl Owner,
        guard: &Guard,
    ) -> Result<(), Refused> {
        debug_assert!(!state.is_dead(), "nothing replaces a dead state");
        let cells = Self::frozen_copy(state, tags)?;
        let stamp = if mutant!("stamp-not-renewed") { state.epoch } else { epoch.stamp() };
        let keeps_links = matches!(links, LinkEdit::Keep);
        let successor = self.place(State {
            epoch: stamp,
            prev: match stamp == state.epoch || mutant!("prev-always-inherited") {
                _ if mutant!("prev-dropped") => ptr::null(),
                true => state.prev,
                false => ptr::from_ref(state),
            },
            links: match links {
                LinkEdit::Keep => state.links,
                LinkEdit::Become(links) => reclaim::alloc(links).as_ptr(),
                LinkEdit::Die => ptr::null_mut(),
            },
            cells,
        });
        let old = ptr::from_ref(state).cast_mut();
        // ORDER: state-publish
        let published = ordering!("state-publish", AcqRel);
        if self.state.compare_exchange(old, successor, published, Ordering::Relaxed).is_err() {
            // SAFETY: never published, so it is ours alone; so are its links unless they are the old state's.
            unsafe {
                let links = (*successor).links;
                self.displace(successor);
                if !keeps_links && !links.is_null() {
                    reclaim::free(links);
                }
            }
            return Err(Refused::Raced);
        }
        // SAFETY: the swap above made `old` unreachable, and this thread alone won it. Readers at an earlier epoch may
        // still come by `prev`: they pinned before this thread loaded the epoch (chain), so the guards alive now
        // include theirs. The links go with the last state that has them.
        unsafe {
            self.retire(old, owner, guard);
            if !keeps_links {
                guard.retire(state.links);
            }
        }
        Ok(())
    }

    /// Freezes all cells of `state` and returns them, edited.
    fn frozen_copy(state: &State<L>, edit: TagEdit) -> Result<SmallVec<[Cell; 2]>, Refused> {
        let frozen: SmallVec<[(TagId, i64); 4]> = state
            .cells
            .iter()
            .enumerate()
            .map(|(at, cell)| {
                let value =
                    if mutant!("one-cell-unfrozen") && at == 1 { decode(cell.load()) } else { cell.freeze() };
                (cell.tag, value)
            })
            .collect();
        let copy = |(tag, value): &(TagId, i64)| Cell::new(*tag, *value);
        Ok(match edit {
            TagEdit::Keep => frozen.iter().map(copy).collect(),
            TagEdit::KeepUpTo(most) => {
                let total = sum(frozen.iter().map(|&(_, value)| value));
                if total > most && !mutant!("claim-without-value-check") {
                    return Err(Refused::Above);
                }
                frozen.iter().map(copy).collect()
            }
            TagEdit::Set(tag, value) => {
                let mut cells: SmallVec<[Cell; 2]> = SmallVec::with_capacity(frozen.len() + 1);
                cells.extend(frozen.iter().map(copy));
                match cells.iter_mut().find(|cell| cell.tag == tag) {
                    Some(cell) => *cell = Cell::new(tag, value),
                    None => cells.push(Cell::new(tag, value)),
                }
                cells
            }
            TagEdit::Remove(tag) => frozen.iter().filter(|(id, _)| *id != tag).map(copy).collect(),
            TagEdit::Clear => SmallVec::new(),
        })
    }
}

impl<L> Drop for Versioned<L> {
    fn drop(&mut self) {
        let mut state = self.state.load(Ordering::Relaxed);
        let settled = !state.is_null();
        if !settled {
            state = self.slots[0].get().cast();
        }
        // SAFETY: `&mut self`: nobody else can reach the record, so the present state and its links are ours; earlier
        // ones were retired when they were replaced, and freed by now if they were in a slot, as they kept the record.
        unsafe {
            let links = (*state).links;
            if self.slot_of(state).is_none() {
                reclaim::free(state);
            } else {
                if settled {
                    reclaim::vacate(state);
                }
                state.drop_in_place();
            }
            if !links.is_null() {
                reclaim::free(links);
            }
        }
    }
}
