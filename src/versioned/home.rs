//! States that found no free slot, and come home to the record when there is one.
//!
//! A state on the heap costs a dependent miss on every look at it, and memory. So whoever publishes one there leaves a job that puts a copy
//! of it into a slot once every guard alive now is gone, if it is the present state still.
//!
//! The copy changes nothing that anybody can see: it has the values, which are frozen, the links, and also the epoch of the state it replaces.
//! (An update's would have to be loaded anew; but a state's epoch tells when its latest change was made, and this is none.) And it has that
//! one's past: the job may run late, and find a later state at the address that it was told, whose past a snapshot may need.
//!
//! Invariant (home): when the job runs, a slot with the cookie that it had when the job was left may be used, whether or not that is over: what
//! is in the slot was retired before, so its readers were alive then. A slot that is used and retired again has a later cookie, by (cookie), even if
//! no period has ended in between.

use std::ptr;

use super::slots::SLOTS;
use super::{LinkEdit, Linked, State, TagEdit, Versioned};
use crate::reclaim::Guard;
use crate::sync::mutant;

/// What owns a record's memory and can keep it.
pub(crate) trait Owner<V> {
    /// Keeps the record, and runs `job` on it once every guard alive now is gone.
    fn later(&self, guard: &Guard, job: impl FnOnce(&V, &Guard) + Send + 'static);
}

impl<L: Linked, K> Versioned<L, K> {
    /// Sees to it that `state`, which this thread has published, comes home if it is on the heap.
    #[inline]
    pub(super) fn come_home_later(&self, state: *const State<L>, owner: &impl Owner<Self>, guard: &Guard) {
        if self.slot_of(state).is_none() {
            let cookies = std::array::from_fn::<_, SLOTS, _>(|slot| self.cookie(slot));
            let address = state.addr();
            owner.later(guard, move |record, guard| {
                record.come_home(address, |slot| record.cookie(slot) == cookies[slot], guard);
            });
        }
    }

    /// Moves the state from `address`, if that is the present one, to a slot.
    fn come_home(&self, address: usize, readers_gone: impl Fn(usize) -> bool, guard: &Guard) {
        let state = self.load(guard);
        // (A later state may have been given the same address: then that one comes home.)
        if ptr::from_ref(state).addr() != address || state.is_sealed() {
            return;
        }
        let free = |slot| mutant!("home-too-early") || readers_gone(slot) || self.is_over(slot, guard);
        let Some(slot) = self.claim(free) else { return };
        let look = state.freeze_links();
        let open = || LinkEdit::Keep.lead_to_target(look);
        let (links, cells) = (look.into_cell(), Self::frozen_copy(state, TagEdit::Keep, open));
        let State { epoch, prev, .. } = *state;
        let cells = cells.expect("to keep all is never refused");
        // SAFETY: (1) just claimed.
        let home = unsafe { self.put(slot, State { epoch, prev, links, cells }) };
        self.publish(state, home, guard);
    }
}
