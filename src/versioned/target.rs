//! What links lead to, as a peer's do to its connections.
//!
//! Links that follow each other in time may lead to the same: one is remade when something else that it says changes. Most never are, so
//! the first that is made lies in room that its target has for it: one allocation for both. (If it loses a race and is not published, the room
//! stays empty.)
//!
//! Invariants:
//! - (room) A target's room is used once, by the [`NewTarget`] that the target began as, which is the only one.
//! - (keeps) A link counts as a reference to its target, wherever it lies. So the one in the room keeps its own memory, until it is moved
//!   out of there to be dropped.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::{self, MaybeUninit};
use std::ops::Deref;
use std::sync::Arc;

use super::Link;
use crate::reclaim;

/// What a link says, besides what it leads to.
pub(crate) trait Linked: Send + Sync + Sized + 'static {
    /// What it leads to, if to anything.
    type To: Send + Sync + 'static;
}

/// Of links that say nothing, of which only the size counts.
impl Linked for () {
    type To = ();
}

/// What links lead to.
#[repr(C)]
pub(crate) struct Target<L: Linked> {
    room: UnsafeCell<MaybeUninit<Link<L>>>,
    // Next to the room, as a walk reads both.
    to: L::To,
}

// SAFETY: the room is written once (room), before the link in it is published, and emptied when nobody can reach that any more; else it is
// only read, from many threads (`L: Sync`, `L::To: Sync`).
unsafe impl<L: Linked> Sync for Target<L> {}

impl<L: Linked> Target<L> {
    /// Where the first link is, or was, or may be put.
    #[inline]
    pub(super) fn room(&self) -> *mut Link<L> {
        self.room.get().cast()
    }
}

impl<L: Linked> Deref for Target<L> {
    type Target = L::To;

    #[inline]
    fn deref(&self) -> &L::To {
        &self.to
    }
}

impl<L: Linked> fmt::Debug for Target<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

/// A target that no link leads to yet.
#[derive(Debug)]
pub(crate) struct NewTarget<L: Linked> {
    target: Arc<Target<L>>,
    room_is_free: bool,
}

impl<L: Linked> NewTarget<L> {
    pub(crate) fn new(to: L::To) -> Self {
        let target = Arc::new(Target { room: UnsafeCell::new(MaybeUninit::uninit()), to });
        reclaim::quarantine(&target);
        Self { target, room_is_free: true }
    }

    /// A link to it: in its room the first time, even if that one is never published.
    pub(super) fn link(&mut self, value: L, older: *mut Link<L>) -> *mut Link<L> {
        let link = Link { value, target: Some(Arc::clone(&self.target)), older };
        if !mem::take(&mut self.room_is_free) {
            return reclaim::alloc(link).as_ptr();
        }
        let room = self.target.room();
        // SAFETY: by (room), there is no link in it and never was, and by `&mut self` nobody else writes one.
        unsafe { room.write(link) };
        reclaim::occupy(room);
        room
    }
}

impl<L: Linked> Deref for NewTarget<L> {
    type Target = L::To;

    fn deref(&self) -> &L::To {
        &self.target
    }
}
