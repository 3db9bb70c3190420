//! Where states are put: into the record itself as long as a slot of it is free, else onto the heap.
//!
//! A slot's life, by its two bits in `busy`:
//!
//! ```text
//! empty ──► TAKEN+FILLED ──► FILLED, its cookie not over ──► FILLED, its cookie over ──► TAKEN+FILLED
//! ```
//!
//! Invariants:
//! - (slot) Who sets TAKEN, finding it clear, has the slot to itself, and may write when the cookie of what is in it is over: every reader
//!   of that is gone. If it is not, it gives the bit back.
//! - (cookie) A slot's cookie is written by the thread that retires the state in it, while TAKEN is still set. It is later than each before.
//!
//! Freeing a slot needs no job of the collector, and whoever retires a state writes two words of the record. What a retired state
//! has on the heap, more than two cells, stays until the slot is used again, or until the record goes.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

use super::{Linked, State, Versioned};
use crate::reclaim::{self, Cookie, Guard};
use crate::sync::{Ordering, mutant, ordering};

/// A place for a state within the record.
pub(super) type Slot<L> = UnsafeCell<MaybeUninit<State<L>>>;

/// How many there are: one for the present state, and one for its successor while it waits to be freed.
pub(super) const SLOTS: usize = 2;

/// Bits of `busy` that tell of slots; above them is the number of the next death.
pub(super) const SLOT_BITS: usize = 2 * SLOTS;

/// The slot holds the present state, or one that is about to be, or that is about to be freed.
pub(super) const fn taken(slot: usize) -> usize {
    1 << slot
}

/// The slot holds a state, which is to be dropped when the slot is used again.
pub(super) const fn filled(slot: usize) -> usize {
    1 << (SLOTS + slot)
}

impl<L: Linked, K> Versioned<L, K> {
    /// A slot by its number.
    #[inline]
    pub(super) fn slot(&self, number: usize) -> &Slot<L> {
        const { assert!(SLOTS == 2) };
        if number == 0 { &self.first } else { &self.second }
    }

    /// The slot that `state` is in, if it is in one.
    pub(super) fn slot_of(&self, state: *const State<L>) -> Option<usize> {
        (0..SLOTS).find(|&at| self.slot(at).get().cast_const().cast() == state)
    }
}

impl<L: Linked, K> Versioned<L, K> {
    /// Puts a state where it can be published from.
    pub(super) fn place(&self, state: State<L>, guard: &Guard) -> *mut State<L> {
        match self.claim(|slot| self.is_over(slot, guard)) {
            // SAFETY: just claimed.
            Some(slot) => unsafe { self.put(slot, state) },
            None => {
                guard.found_early();
                reclaim::alloc(state).as_ptr()
            }
        }
    }

    /// Puts a state into a slot.
    ///
    /// # Safety
    /// 1. The slot has been claimed by this thread.
    pub(super) unsafe fn put(&self, slot: usize, state: State<L>) -> *mut State<L> {
        // SAFETY: by (1) and (slot), nobody reads or writes it but this thread.
        let state: *mut State<L> = unsafe { (*self.slot(slot).get()).write(state) };
        reclaim::occupy(state);
        state
    }

    /// Takes a slot, if there is one in which nothing is, or something that `is_over`, and drops that.
    pub(super) fn claim(&self, is_over: impl Fn(usize) -> bool) -> Option<usize> {
        let busy = self.busy.load(Ordering::Relaxed);
        // A glance, which writes nothing; what counts is asked when the slot is taken.
        let free = |slot: usize| busy & taken(slot) == 0 && (busy & filled(slot) == 0 || is_over(slot));
        (0..SLOTS).find(|&slot| free(slot) && self.take(slot, &is_over))
    }

    fn take(&self, slot: usize, is_over: &impl Fn(usize) -> bool) -> bool {
        // ORDER: slot-claim
        let before = self.busy.fetch_or(taken(slot) | filled(slot), ordering!("slot-claim", Acquire));
        if before & taken(slot) != 0 {
            return false;
        }
        if before & filled(slot) == 0 {
            return true;
        }
        if !mutant!("slot-claim-unchecked") && !is_over(slot) {
            // It was used since the glance, and retired. Nothing was done, so there is nothing to publish.
            self.busy.fetch_and(!taken(slot), Ordering::Relaxed);
            return false;
        }
        // SAFETY: by (slot), and the bit says that there is a state.
        unsafe { (*self.slot(slot).get()).assume_init_drop() };
        true
    }

    /// Whether every guard is gone that was alive when the state in that slot was retired.
    pub(super) fn is_over(&self, slot: usize, guard: &Guard) -> bool {
        mutant!("slot-reused-early") || guard.is_over(self.cookie(slot))
    }

    /// When what was in the slot last is over.
    pub(super) fn cookie(&self, slot: usize) -> Cookie {
        // ORDER: slot-cookie
        Cookie::from_bits(self.cookies[slot].load(Ordering::Relaxed))
    }

    /// Frees what [`Self::place`] placed.
    ///
    /// # Safety
    /// 1. `state` is of this record, and freed once.
    /// 2. Nobody reads it any more, or ever did.
    pub(super) unsafe fn displace(&self, state: *mut State<L>) {
        let Some(slot) = self.slot_of(state) else {
            // SAFETY: (1), (2): not in a slot, so it was allocated.
            unsafe { reclaim::free(state) };
            return;
        };
        reclaim::vacate(state);
        // SAFETY: (1), (2).
        unsafe { state.drop_in_place() };
        // ORDER: slot-release
        self.busy.fetch_and(!(taken(slot) | filled(slot)), ordering!("slot-release", Release));
    }

    /// Frees `state` once every guard alive now is gone.
    ///
    /// # Safety
    /// 1. `state` is of this record, and freed once.
    /// 2. No guard created after this call can reach it.
    pub(super) unsafe fn retire(&self, state: *mut State<L>, guard: &Guard) {
        let Some(slot) = self.slot_of(state) else {
            // SAFETY: (1), (2); not in a slot, so it was allocated.
            return unsafe { guard.retire(state) };
        };
        // SAFETY: (1), (2); it is dropped when the slot is used again, which is not before the cookie is over, or with the record.
        let cookie = unsafe { guard.retire_in_place(state) }.after(self.cookie(slot));
        // ORDER: slot-cookie
        self.cookies[slot].store(cookie.to_bits(), Ordering::Relaxed);
        // ORDER: slot-release
        self.busy.fetch_and(!taken(slot), ordering!("slot-release", Release));
    }
}
