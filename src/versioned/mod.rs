//! Versioned state: one pointer to a structure with mutable cells, and its recent past.
//!
//! A [`State`] is what a record is at one time: a table of cells, each a tag's value, and a word that leads to its *links*, everything else.
//! A cell's value may change once a state is published, and so may the word; and in a state with a connection a tag may come.
//!
//! **Value update** (fast path, [`State::update_in_place`]). Load the state and the cell, run the closure, stamp; if the state
//! bears that epoch, compare-and-swap the cell. No allocation.
//!
//! **Change of links** ([`Versioned::edit`]), where no tag comes or goes: the same with the word. What the caller decided from is the word itself, and which
//! tags there are.
//!
//! **Addition of a tag** (`State::add_in_place`), where there is a vacant cell: claim the cell, store the value, stamp; if the state bears that epoch,
//! compare-and-swap which tag the cell is of.
//!
//! **Replacement** (`Versioned::replace`): a tag goes, or comes where no cell is vacant, or it is the first change after a snapshot.
//! *Freeze* the word and every cell, vacant ones included, which makes late compare-and-swaps of them fail; copy; apply the edit; stamp; compare-and-swap
//! the state pointer; retire the old state. A thread that stalls after freezing holds up nobody: whoever meets
//! something frozen replaces the state himself.
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
//! - (freeze) Neither the word nor a cell of a state, if it is of a tag, changes after the first compare-and-swap of the state pointer away from it was
//!   attempted with values copied from it.
//! - (vacancy) Only a state with a connection has cells that are vacant and open. Who puts a word in place by which there is none closes them first. So
//!   who finds a cell open need not look at the links; and which tags a state without connections has never changes.
//! - (death) A dead record has no tags, and may be *revived*. Each death has a number, and a
//!   job of its own that *seals* the record once every guard alive at that death is gone, if it is dead by that death still.
//!   Nothing replaces a sealed state.

mod cells;
mod edit;
mod home;
mod links;
mod slots;
mod state;
mod target;

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use crate::epoch::Epoch;
use crate::reclaim::{self, Cookie, Guard};
use crate::sync::{
    AtomicPtr, AtomicU32, AtomicUsize, LostRaces, Ordering, mutant, ordering, prefetch, prefetch_line_ahead,
};

use cells::{Cell, Cells, FROZEN, decode};
pub(crate) use cells::{MAX_TAG_ID, TagId, Tags};
pub(crate) use edit::{Refused, TagEdit};
pub(crate) use home::Owner;
use links::LinksCell;
pub(crate) use links::{Fresh, Link, LinkEdit, List, Look};
use slots::{SLOT_BITS, SLOTS, Slot, filled, taken};
#[cfg_attr(connmgr_loom, allow(unused_imports, reason = "for the crate's interface"))]
pub use state::{MAX_WEIGHT, MIN_WEIGHT};
pub(crate) use state::{State, saturate, sum};
pub(crate) use target::{Linked, NewTarget, Target};

/// Why a value was not changed in place.
#[derive(Clone, Copy, Debug)]
enum Unplaced {
    /// Another thread changed it: look again.
    Raced,
    /// It is frozen, or the state belongs to a snapshot: `to`, in place of `from`, is for a new state.
    Closed { from: i64, to: i64 },
}

/// A closure that gives a tag's new value, and what it gave last: it is run again only for another value.
///
/// So a closure whose own calls replace the peer's state does not make itself void, unless they change this very tag.
#[derive(Debug)]
pub(crate) struct Upsert<F> {
    f: F,
    last: Option<(i64, i64)>,
}

impl<F: FnMut(i64) -> i64> Upsert<F> {
    pub(crate) fn new(f: F) -> Self {
        Self { f, last: None }
    }

    /// Whether the closure was last run for another value than `now`.
    fn is_outdated(&self, now: i64) -> bool {
        self.last.is_some_and(|(seen, _)| seen != now)
    }

    /// The weight to store in place of `from`.
    #[inline]
    pub(crate) fn apply(&mut self, from: i64) -> i64 {
        match self.last {
            Some((seen, to)) if seen == from => to,
            _ => {
                let to = saturate((self.f)(from));
                self.last = Some((from, to));
                to
            }
        }
    }
}

impl<L: Linked> State<L> {
    /// Tries once to set `tag`, if it is there, to `upsert` of its value, where it is; returns the value stored. That is nearly every update: what is not done so is left to
    /// [`Versioned::update`]. A sealed state has no tags.
    #[inline(always)]
    pub(crate) fn update_in_place(
        &self,
        tag: TagId,
        upsert: &mut Upsert<impl FnMut(i64) -> i64>,
        epoch: &Epoch,
    ) -> Option<i64> {
        self.update_cell(self.cell(tag)?, upsert, epoch).ok()
    }

    /// Tries once to set a cell's value to `upsert` of it, where it is; returns the value stored.
    #[inline(always)]
    fn update_cell(
        &self,
        cell: &Cell,
        upsert: &mut Upsert<impl FnMut(i64) -> i64>,
        epoch: &Epoch,
    ) -> Result<i64, Unplaced> {
        let word = cell.load();
        if word & FROZEN != 0 && mutant!("freezer-waited-for") {
            return Err(Unplaced::Raced);
        }
        let from = decode(word);
        let early = if mutant!("epoch-before-closure") { epoch.stamp() } else { 0 };
        let to = upsert.apply(from);
        let now = if mutant!("epoch-before-closure") { early } else { epoch.stamp() };
        let thawed = word & FROZEN == 0 || mutant!("frozen-bit-ignored");
        if !thawed || now != self.epoch && !mutant!("epoch-unchecked") {
            return Err(Unplaced::Closed { from, to });
        }
        if cell.swap(word, to) { Ok(to) } else { Err(Unplaced::Raced) }
    }

    /// Tries once to add a tag that is not there, with its value, where there is a vacant cell for it. Linearizes at the compare-and-swap that
    /// makes the cell the tag's.
    ///
    /// As cells are open in states with a connection only, no links have to be looked at.
    fn add_in_place(&self, tag: TagId, value: i64, epoch: &Epoch) -> bool {
        let of_this_epoch = || epoch.stamp() == self.epoch || mutant!("vacancy-epoch-unchecked");
        of_this_epoch()
            && self.cells.claim(tag).is_some_and(|vacancy| vacancy.fill(tag, value, of_this_epoch))
    }
}

/// The atomically replaced state of one record, and its key, which never changes.
///
/// States are put into the record itself as long as a slot of it is free, else onto the heap: see [`slots`].
///
/// A look-up by key needs the pointer, the key, and the slot that the state is in. These lie side by side, whichever slot that is, so that
/// it touches three lines in most records: with the slots side by side it would be four.
#[repr(C)]
pub(crate) struct Versioned<L: Linked, K> {
    // (First, also because the models' reclaimer knows memory by address: no slot may have that of the whole.)
    /// Bits of each slot; above them, the number of the next death.
    busy: AtomicUsize,
    /// Of each slot, when the state in it that was retired is over.
    cookies: [AtomicU32; SLOTS],
    second: Slot<L>,
    /// Null until the record is [settled](Self::settle).
    state: AtomicPtr<State<L>>,
    key: K,
    /// Where the record's first state is.
    first: Slot<L>,
}

#[cfg(all(target_pointer_width = "64", not(any(connmgr_loom, connmgr_shuttle))))]
const _: () = {
    use std::mem::offset_of;
    type Record = Versioned<(), [u64; 10]>;
    let second = offset_of!(Record, second);
    assert!(
        offset_of!(Record, state) == second + 48 && offset_of!(Record, first) == second + 48 + 8 + 80,
        "side by side"
    );
};

// SAFETY: what it leads to is shared between threads and dropped on any (`L: Send + Sync`), and so is its key (`K: Send + Sync`); a slot is
// written only by the thread that set its bit, before its state is published, and again only after every reader of that state is gone.
unsafe impl<L: Linked, K: Send + Sync> Send for Versioned<L, K> {}
// SAFETY: as above.
unsafe impl<L: Linked, K: Send + Sync> Sync for Versioned<L, K> {}

impl<L: Linked, K> fmt::Debug for Versioned<L, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned").finish_non_exhaustive()
    }
}

impl<L: Linked, K> Versioned<L, K> {
    /// A record of `key` that is to be moved to where it stays, then [settled](Self::settle), then published.
    pub(crate) fn new(key: K, links: Fresh<'_, L>, tags: &Tags) -> Self {
        let state = State {
            epoch: u64::MAX,
            prev: ptr::null(),
            cells: Cells::new(tags, || links.lead_to_target()),
            links: LinksCell::of(links),
        };
        Self {
            state: AtomicPtr::new(ptr::null_mut()),
            busy: AtomicUsize::new(taken(0) | filled(0)),
            cookies: [const { Cookie::LONG_OVER.to_bits() }; SLOTS].map(AtomicU32::new),
            key,
            first: UnsafeCell::new(MaybeUninit::new(state)),
            second: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Prepares an unpublished record that is where it stays, after everything its creator looked at: stamps it.
    ///
    /// To be called before each attempt to publish it.
    pub(crate) fn settle(&mut self, epoch: &Epoch) {
        let epoch = if mutant!("insert-stamped-early") { 1 } else { epoch.stamp() };
        let first: *mut State<L> = self.slot(0).get().cast();
        if self.state.load(Ordering::Relaxed).is_null() {
            reclaim::occupy(first);
        }
        // Anew each time: this `&mut self` has voided what was derived from the last one.
        self.state = AtomicPtr::new(first);
        // SAFETY: `new` put a state into the first slot, and `&mut self`: it is nobody else's yet.
        unsafe { (*first).epoch = epoch }
    }

    /// A number for the death that the caller is about to try.
    pub(crate) fn next_death(&self) -> usize {
        // ORDER: death-number
        // A record may try to die 2^60 times (2^28 on 32 bits) before a number comes again: fewer jobs can be pending.
        self.busy.fetch_add(1 << SLOT_BITS, Ordering::Relaxed) >> SLOT_BITS
    }

    /// Makes a record that is dead by its death of that number dead for good. Returns whether it was, and is.
    pub(crate) fn seal(&self, number: usize, guard: &Guard) -> bool {
        loop {
            let state = self.load(guard);
            // A first look, which freezes nothing; from what is frozen nobody revives the record in place.
            let is_this_death = |look: Look<'_, L>| look.is_death(number) || mutant!("sealed-though-revived");
            if !is_this_death(state.look())
                || !mutant!("sealed-unfrozen") && !is_this_death(state.freeze_links())
            {
                return false;
            }
            // Nobody needs an earlier state any more, so the seal has no past.
            let (links, cells) = (LinksCell::sealed(), Cells::new(&[], || false));
            let sealed = self.place(State { epoch: state.epoch, prev: ptr::null(), links, cells }, guard);
            if self.publish(state, sealed, guard) {
                return true;
            }
            if mutant!("seal-tried-once") {
                return false;
            }
        }
    }

    #[inline]
    pub(crate) fn key(&self) -> &K {
        &self.key
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

    /// Has the lines on their way that the present state may be in, before the pointer has come that tells: it most likely comes with
    /// the end of the second slot.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        prefetch(self.second.get());
        let first = self.first.get();
        prefetch(first);
        prefetch(first.wrapping_add(1).wrapping_byte_sub(1));
    }

    /// Has those lines on their way, into a farther cache, that lead to the present state, and in which it is if it is in the second slot.
    #[inline(always)]
    pub(crate) fn prefetch_ahead(&self) {
        // Up to the beginning of the key.
        prefetch_line_ahead(self.second.get());
        prefetch_line_ahead(&raw const self.state);
    }

    /// The state at `epoch`, which the caller obtained by [`Epoch::advance`] under `guard`; `None` if the record did
    /// not exist then. The state may be dead.
    pub(crate) fn as_of<'g>(&self, epoch: u64, guard: &'g Guard) -> Option<&'g State<L>> {
        let mut state = self.load(guard);
        while state.epoch > epoch + u64::from(mutant!("cut-read-too-new")) {
            if state.prev.is_null() {
                return None;
            }
            // SAFETY: by the chain invariant, as the guard is older than `epoch`'s end.
            state = unsafe { reclaim::deref(state.prev, guard) };
        }
        Some(state)
    }

    /// Sets `tag` to `upsert` of its value, or of 0; returns the value stored, or gives `upsert` back if the record is sealed.
    ///
    /// Mostly called when [`State::update_in_place`] has not done it. `adopt` says what becomes of the links if the tag is new; it must revive
    /// a dead record. Linearizes at the compare-and-swap of the cell, of which tag a cell is of, or of the state.
    #[inline(never)]
    pub(crate) fn update<'g, F: FnMut(i64) -> i64>(
        &self,
        tag: TagId,
        mut upsert: Upsert<F>,
        adopt: impl Fn(Look<'g, L>) -> LinkEdit<'g, L>,
        epoch: &Epoch,
        owner: &impl Owner<Self>,
        guard: &'g Guard,
    ) -> Result<i64, Upsert<F>> {
        let mut state = self.load(guard);
        let mut lost = LostRaces::default();
        // Whether a first try lost a race is told from what there is now, not by that try, which would pay for telling each time.
        if state.value(tag).is_some_and(|now| upsert.is_outdated(now)) {
            lost.another();
            state = self.load(guard);
        }
        loop {
            if let Some(cell) = state.cell(tag) {
                match state.update_cell(cell, &mut upsert, epoch) {
                    Ok(to) => return Ok(to),
                    Err(Unplaced::Raced) => lost.another(),
                    Err(Unplaced::Closed { from, to }) => {
                        if self.rewrite(state, cell, from, &[(tag, to)], epoch, owner, guard) {
                            return Ok(to);
                        }
                    }
                }
            } else if state.is_sealed() && !mutant!("sealed-record-revived") {
                return Err(upsert);
            } else {
                let to = upsert.apply(0);
                if state.add_in_place(tag, to, epoch) {
                    return Ok(to);
                }
                if state.cell(tag).is_some() {
                    continue;
                }
                let (edit, look) = (TagEdit::Add(&[(tag, to)]), state.look());
                if self.replace(look, edit, adopt(look), epoch, owner, guard).is_ok() {
                    return Ok(to);
                }
            }
            state = self.load(guard);
        }
    }

    /// Tries once to set `tags`, the first of which the caller saw at `from` in `state`, in one step: in place where that is the only
    /// one and the epoch allows it. Fails if that tag has changed, or the state.
    ///
    /// What the caller decided from must be unchanged if neither `state`'s structure nor that tag has changed.
    pub(crate) fn exchange(
        &self,
        state: &State<L>,
        from: i64,
        tags: &Tags,
        epoch: &Epoch,
        owner: &impl Owner<Self>,
        guard: &Guard,
    ) -> bool {
        let Some(cell) = state.cell(tags[0].0) else { return false };
        let word = cell.load();
        if decode(word) != from {
            return false;
        }
        if tags.len() == 1 && word & FROZEN == 0 && epoch.stamp() == state.epoch {
            return cell.swap(word, tags[0].1);
        }
        self.rewrite(state, cell, from, tags, epoch, owner, guard)
    }

    /// Puts new values into a new state, unless `cell` is not at `from` any more: what [`Self::update`] does where the cell is closed.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "the locals of its callers, moved out of the fast path")]
    fn rewrite(
        &self,
        state: &State<L>,
        cell: &Cell,
        from: i64,
        tags: &Tags,
        epoch: &Epoch,
        owner: &impl Owner<Self>,
        guard: &Guard,
    ) -> bool {
        if cell.freeze() != from && !mutant!("frozen-value-unchecked") {
            return false;
        }
        self.replace(state.look(), TagEdit::Set(tags), LinkEdit::Keep, epoch, owner, guard).is_ok()
    }
}

impl<L: Linked, K> Drop for Versioned<L, K> {
    fn drop(&mut self) {
        let mut state = self.state.load(Ordering::Relaxed);
        let settled = !state.is_null();
        let slot = if settled { self.slot_of(state) } else { Some(0) };
        if let Some(slot) = slot {
            // By `&mut self`, which has voided the pointer that was stored.
            state = self.slot(slot).get().cast();
        }
        let busy = self.busy.load(Ordering::Relaxed);
        for former in (0..SLOTS).filter(|&at| Some(at) != slot && busy & filled(at) != 0) {
            // SAFETY: `&mut self`, so its readers are gone like those of the record, and the bit says that there is a state.
            unsafe { (*self.slot(former).get()).assume_init_drop() };
        }
        // SAFETY: `&mut self`: nobody else can reach the record, so the present state and its links are ours; earlier ones on the heap
        // were retired when they were replaced.
        unsafe {
            let list = (*state).links.list();
            if slot.is_none() {
                reclaim::free(state);
            } else {
                if settled {
                    reclaim::vacate(state);
                }
                state.drop_in_place();
            }
            // Last, as it runs the program's destructors.
            links::free(list, ptr::null_mut());
        }
    }
}
