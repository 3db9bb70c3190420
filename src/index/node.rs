//! What a table points to: an entry with a count of who keeps it.

use std::fmt;
use std::mem;
use std::ops::Deref;
use std::ptr::NonNull;

use crate::reclaim::{self, Guard};
use crate::sync::{AtomicUsize, Ordering, mutant, ordering, prefetch_line_ahead};

/// The bits of an address that no node's has set, left to the tables: the low ones by alignment, and where every allocator
/// keeps to 48 bits the high ones. (Not on Android, which tags heap addresses.)
pub(super) const SPARE_BITS: usize = if cfg!(all(
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(target_os = "android"),
)) {
    (ALIGNMENT - 1) | !((1_u64 << 48) - 1) as usize
} else {
    ALIGNMENT - 1
};

/// Of a node, as the attribute below says; more would make allocators leave gaps.
pub(super) const ALIGNMENT: usize = 8;

/// What an index may hold.
pub(crate) trait Indexed: Send + Sync + 'static {
    /// The hash that it is found by, which never changes.
    fn hash(&self) -> u64;
}

/// An entry in the index.
#[derive(Debug)]
#[repr(C, align(8))]
pub(crate) struct Node<T> {
    // First, as look-ups need nothing else.
    value: T,
    /// One for the index, until it has unlinked the node and every guard of that time is gone, and one for each [`Held`].
    keepers: AtomicUsize,
}

impl<T> Node<T> {
    /// Has its first lines on their way, and its last: all of a small node's, which is read after much else.
    #[inline]
    pub(crate) fn prefetch(&self) {
        let node = std::ptr::from_ref(self);
        for line in 0..size_of::<Self>().div_ceil(64).min(4) {
            prefetch_line_ahead(node.wrapping_byte_add(line * 64));
        }
        // A node begins anywhere in a line, so that it may end in one more than its size takes.
        prefetch_line_ahead(node.wrapping_add(1).wrapping_byte_sub(1));
    }

    pub(super) fn as_ptr(&self) -> *mut Self {
        // Not `from_ref(self)`, which may not free: the provenance that `Spare::new` exposed.
        std::ptr::with_exposed_provenance_mut(std::ptr::from_ref(self).addr())
    }

    /// Keeps the node beyond the guard under which it was found.
    pub(crate) fn hold(&self) -> Held<T> {
        // ORDER: keeper-add
        self.keepers.fetch_add(usize::from(!mutant!("keeper-not-counted")), Ordering::Relaxed);
        // SAFETY: a reference's address is not null.
        Held(unsafe { NonNull::new_unchecked(self.as_ptr()) })
    }
}

impl<T: Indexed> Node<T> {
    /// Keeps the node, and runs `job` on it once every guard alive now is gone.
    pub(crate) fn later(&self, guard: &Guard, job: impl FnOnce(&Self, &Guard) + Send + 'static) {
        let held = self.hold();
        // SAFETY: `T: Send + Sync`, and the job is `Send`.
        unsafe { guard.defer(move || job(&held, &reclaim::pin())) }
    }
}

impl<T> Deref for Node<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

/// Gives up one keeper's hold, and frees the node if it was the last.
///
/// # Safety
/// 1. The caller owns one of the holds that are counted, and gives it up.
/// 2. If it is the index's: no guard that could have found the node in a table is alive.
pub(super) unsafe fn release<T>(node: *mut Node<T>) {
    reclaim::check(node);
    // SAFETY: (1): the hold kept it alive up to here.
    let keepers = unsafe { &(*node).keepers };
    // ORDER: keeper-drop
    if keepers.fetch_sub(1, ordering!("keeper-drop", AcqRel)) == 1 {
        // SAFETY: nobody is counted any more, and by (2) nobody uncounted can reach it.
        unsafe { reclaim::free(node) }
    }
}

/// Gives up the index's hold once every guard alive now is gone.
///
/// # Safety
/// 1. Called once, by whoever unlinked the node.
/// 2. No guard created after this call can find the node in a table.
pub(super) unsafe fn retire<T: Indexed>(node: *mut Node<T>, guard: &Guard) {
    if mutant!("node-released-at-once") {
        // SAFETY: none: a fault.
        return unsafe { release(node) };
    }
    // SAFETY: `T: Send + Sync`. When the job runs, (1) makes the hold ours to give up, and (2) leaves no guard.
    unsafe { guard.retire_by(node, release) }
}

/// A node kept by a count, beyond any guard.
pub(crate) struct Held<T>(NonNull<Node<T>>);

// SAFETY: a shared reference to the node (`T: Sync`), which may be the one that drops it (`T: Send`).
unsafe impl<T: Send + Sync> Send for Held<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Held<T> {}

impl<T> Deref for Held<T> {
    type Target = Node<T>;

    #[inline]
    fn deref(&self) -> &Node<T> {
        reclaim::check(self.0.as_ptr());
        // SAFETY: counted, so not freed; never borrowed mutably once published.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        // SAFETY: (1) this hold. (2) Not the index's.
        unsafe { release(self.0.as_ptr()) }
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0).finish()
    }
}

/// A node that has not been published.
#[derive(Debug)]
pub(super) struct Spare<T>(NonNull<Node<T>>);

impl<T: 'static> Spare<T> {
    pub(super) fn new(value: T) -> Self {
        let node = reclaim::alloc(Node { keepers: AtomicUsize::new(1), value });
        let address = node.as_ptr().expose_provenance();
        assert!(address & SPARE_BITS == 0, "the allocator gave an address outside 48 bits: {address:#x}");
        Self(node)
    }

    pub(super) fn value_mut(&mut self) -> &mut T {
        // SAFETY: not published: it is ours alone.
        unsafe { &mut self.0.as_mut().value }
    }
}

impl<T> Spare<T> {
    pub(super) fn as_ptr(&self) -> *mut Node<T> {
        self.0.as_ptr()
    }

    /// Hands it over to a table.
    pub(super) fn into_raw(self) -> *mut Node<T> {
        let node = self.0.as_ptr();
        mem::forget(self);
        node
    }
}

impl<T> Drop for Spare<T> {
    fn drop(&mut self) {
        // SAFETY: not published: nobody else can reach it.
        unsafe { reclaim::free(self.0.as_ptr()) }
    }
}
