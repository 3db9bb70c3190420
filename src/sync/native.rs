//! The back end of real programs: `std::sync::atomic`.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ptr;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence};

/// The fence between the last thing an update could have seen and its load of the snapshot epoch.
///
/// Its partner is the fence of [`Epoch::advance`](crate::epoch::Epoch::advance). On x86 a compiler fence is enough:
/// loads are not reordered with loads there, and every store of an update is a locked instruction, which drains
/// the store buffer (Intel SDM vol. 3A, 9.2.2). Elsewhere it is a real fence.
#[inline(always)]
pub(crate) fn update_fence() {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    fence(std::sync::atomic::Ordering::SeqCst);
}

/// `len` null pointers, from zeroed memory: a large table costs its pages only as they are touched.
pub(crate) fn null_pointers<T>(len: usize) -> Box<[AtomicPtr<T>]> {
    assert!(len > 0, "a table has at least one slot");
    let layout = Layout::array::<AtomicPtr<T>>(len).expect("a table's size in bytes fits an isize");
    // SAFETY: `len` is not zero, so neither is the layout's size.
    let first = unsafe { alloc_zeroed(layout) }.cast::<AtomicPtr<T>>();
    if first.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: `first` comes from the global allocator with the layout of `[AtomicPtr<T>; len]`, and `AtomicPtr<T>`
    // has the representation of `*mut T`, of which all-zero bytes are the null pointer.
    unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(first, len)) }
}

/// Asks the processor for the line at `pointer`, which need not be valid: a hint, never an access.
#[inline(always)]
pub(crate) fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch does not fault, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}
