//! Where states are put: into the record itself as long as a slot of it is free, else onto the heap.
//!
//! Invariant (slot): a slot's bit in `busy` is set by the thread that is about to write a state there, and cleared when
//! every reader of that state is gone. So whoever finds it clear, and sets it, may write.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;

use super::{State, Versioned};
use crate::reclaim::{self, Guard};
use crate::sync::{Ordering, mutant, ordering};

/// What owns a record's memory and can keep it until a state inside it has been freed.
pub(crate) trait Owner {
    /// Keeps the record's memory until it is dropped.
    type Kept: Send + 'static;

    fn keep(&self) -> Self::Kept;
}

/// A place for a state within the record.
pub(super) type Slot<L> = UnsafeCell<MaybeUninit<State<L>>>;

/// How many there are: one for the present state, and one for its successor while it waits to be freed.
pub(super) const SLOTS: usize = 2;

impl<L> Versioned<L> {
    /// The slot that `state` is in, if it is in one.
    pub(super) fn slot_of(&self, state: *const State<L>) -> Option<usize> {
        self.slots.iter().position(|slot| slot.get().cast_const().cast() == state)
    }
}

impl<L: Send + Sync + 'static> Versioned<L> {
    /// Puts a state where it can be published from.
    pub(super) fn place(&self, state: State<L>) -> *mut State<L> {
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
        self.busy.fetch_and(!(1 << slot), ordering!("slot-release", Release));
    }

    /// Frees `state` once every guard alive now is gone.
    ///
    /// # Safety
    /// 1. `state` is of this record, and freed once.
    /// 2. No guard created after this call can reach it.
    /// 3. `owner` owns this record.
    pub(super) unsafe fn retire(&self, state: *mut State<L>, owner: &impl Owner, guard: &Guard) {
        if self.slot_of(state).is_none() {
            // SAFETY: (1), (2); not in a slot, so it was allocated.
            unsafe { guard.retire(state) };
            return;
        }
        let (record, kept) = (ptr::from_ref(self), owner.keep());
        if mutant!("slot-reused-early") {
            self.busy.fetch_and(!(1 << self.slot_of(state).unwrap_or(0)), Ordering::Relaxed);
        }
        let free = move || {
            // SAFETY: `kept` keeps the record up to here, by (3); the job runs once, when no reader is left: (1), (2).
            unsafe { (*record).displace(state) };
            drop(kept);
        };
        // SAFETY: (1) `L: Send + Sync`, and so is the hold.
        unsafe { guard.defer(free) }
    }
}
