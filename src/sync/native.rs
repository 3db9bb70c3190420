//! The back end of real programs: `std::sync::atomic`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence};

use memmap2::{MmapMut, MmapRaw};

/// The fence between the last thing an update could have seen and its load of the snapshot epoch.
///
/// Its partner is the fence of [`Epoch::advance`](crate::epoch::Epoch::advance). On x86 a compiler fence is enough:
/// loads are not reordered with loads there, and an update's last store is a locked instruction, which drains
/// the store buffer (Intel SDM vol. 3A, 9.2.2). Elsewhere it is a real fence.
#[inline(always)]
pub(crate) fn update_fence() {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    fence(std::sync::atomic::Ordering::SeqCst);
}

/// Pointers to a group: half a cache line of most machines, so that each is within one.
pub(crate) const GROUP: usize = 4;

/// Groups of pointers, each within a cache line, all null at first, from zeroed memory: a large table costs its pages only as they are
/// touched.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    first: NonNull<[AtomicPtr<T>; GROUP]>,
    len: usize,
    _memory: Zeroed,
}

// SAFETY: it owns atomics and their memory, and nothing of `T`.
unsafe impl<T> Send for Groups<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Groups<T> {}

impl<T> Groups<T> {
    pub(crate) fn new(len: usize) -> Self {
        let layout =
            Layout::array::<[AtomicPtr<T>; GROUP]>(len).expect("a table's size in bytes fits an isize");
        let memory = Zeroed::new(layout.size(), size_of::<[AtomicPtr<T>; GROUP]>());
        Self { first: memory.first().cast(), len, _memory: memory }
    }
}

impl<T> Deref for Groups<T> {
    type Target = [[AtomicPtr<T>; GROUP]];

    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: `new` obtained memory for `len` groups from `first` on, all-zero bytes are null pointers, and they are only lent out shared.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

/// Zeroed memory, given back when it is dropped.
#[derive(Debug)]
enum Zeroed {
    /// From the allocator.
    Allocated { memory: NonNull<u8>, layout: Layout, first: NonNull<u8> },
    /// From the system, page by page as it is touched.
    Mapped(MmapRaw),
}

/// From so many bytes on, memory is mapped, as far as there are mappings. An allocator that has memory of that size to use again clears all of it
/// at once, in the one call that makes a table grow.
const MAPPED_FROM: usize = 128 << 10;

impl Zeroed {
    fn new(size: usize, align: usize) -> Self {
        if size >= MAPPED_FROM
            && let Ok(pages) = MmapMut::map_anon(size)
        {
            return Self::Mapped(pages.into());
        }
        // Allocators pass on zeroed pages only at the alignment that they have anyway: hence a margin, within which it begins.
        let layout =
            Layout::from_size_align(size + align, 1).expect("a size that fits an isize, margin and all");
        // SAFETY: with the margin the layout's size is not zero.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: no further than the margin, which comes on top of the size.
        let first = unsafe { memory.add(memory.align_offset(align)) };
        Self::Allocated { memory, layout, first }
    }

    /// Where it begins, which stays so wherever this is moved. Pages are aligned to more than anybody asks for.
    fn first(&self) -> NonNull<u8> {
        match self {
            Self::Allocated { first, .. } => *first,
            Self::Mapped(pages) => NonNull::new(pages.as_mut_ptr()).expect("a mapping's address"),
        }
    }
}

impl Drop for Zeroed {
    fn drop(&mut self) {
        if let Self::Allocated { memory, layout, .. } = self {
            // SAFETY: `new` allocated it with this layout.
            unsafe { dealloc(memory.as_ptr(), *layout) }
        }
    }
}

/// Asks the processor for the line at `pointer`, which need not be valid: a hint, never an access.
#[inline(always)]
pub(crate) fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    hint::<{ std::arch::x86_64::_MM_HINT_T0 }, T>(pointer);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

/// The same for what is read after much else: into the second level of caches, as the first is small, and so is the number of lines that
/// may be on their way to it.
#[inline(always)]
pub(crate) fn prefetch_line_ahead<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    hint::<{ std::arch::x86_64::_MM_HINT_T1 }, T>(pointer);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn hint<const LEVEL: i32, T>(pointer: *const T) {
    // SAFETY: a prefetch does not fault, whatever the address.
    unsafe { std::arch::x86_64::_mm_prefetch::<LEVEL>(pointer.cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;

    /// Of the allocator and mapped.
    #[test]
    fn groups_are_null_and_within_lines() {
        let mapped = MAPPED_FROM / size_of::<[AtomicPtr<u8>; GROUP]>();
        for len in [1, 2, 100, mapped - 1, mapped, 3 * mapped] {
            let groups = Groups::<u8>::new(len);
            assert_eq!(groups.len(), len, "as many as were asked for");
            assert_eq!(groups.as_ptr().addr() % size_of_val(&groups[0]), 0, "{len}: none across two lines");
            let slots = groups.as_flattened();
            assert!(slots.iter().all(|slot| slot.load(Ordering::Relaxed).is_null()), "{len}: all null");
            slots.iter().for_each(|slot| slot.store(NonNull::dangling().as_ptr(), Ordering::Relaxed));
        }
    }
}
