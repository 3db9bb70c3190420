//! The back end of real programs: `std::sync::atomic`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;
use std::slice;

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

/// Pointers to a group: half a cache line of most machines, so that each is within one.
pub(crate) const GROUP: usize = 4;

/// Groups of pointers, each within a cache line, all null at first, from zeroed memory: a large table costs its pages only as they are
/// touched.
///
/// Allocators pass on zeroed pages only at the alignment that they have anyway: hence a margin, within which the first group begins.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    first: NonNull<[AtomicPtr<T>; GROUP]>,
    len: usize,
    memory: NonNull<u8>,
}

// SAFETY: it owns atomics and their memory, and nothing of `T`.
unsafe impl<T> Send for Groups<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Groups<T> {}

impl<T> Groups<T> {
    pub(crate) fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: with the margin the layout's size is not zero.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: no further than the margin, which comes on top of the groups.
        let first = unsafe { memory.add(memory.align_offset(size_of::<[AtomicPtr<T>; GROUP]>())) }.cast();
        Self { first, len, memory }
    }

    fn layout(len: usize) -> Layout {
        // The margin is less than a group.
        Layout::array::<[AtomicPtr<T>; GROUP]>(len + 1).expect("a table's size in bytes fits an isize")
    }

    /// Whether there are pieces to [give back](Self::give_back).
    pub(crate) fn has_pieces(&self) -> bool {
        self.piece(0).is_some()
    }

    /// Gives the memory of one piece back to the system, before the allocator gets all of it: a large table would be taken back in one call, for a
    /// millisecond and more. Returns whether there was such a piece, and the system took it.
    ///
    /// # Safety
    /// 1. Nobody reads or writes the groups any more.
    pub(crate) unsafe fn give_back(&self, piece: usize) -> bool {
        let Some(piece) = self.piece(piece) else { return false };
        // SAFETY: whole pages of this allocation, as a piece begins at a multiple of its size; by (1) nobody minds that they are zero from now on.
        #[cfg(target_os = "linux")]
        return unsafe { libc::madvise(piece.as_ptr().cast(), PIECE, libc::MADV_DONTNEED) } == 0;
        #[cfg(not(target_os = "linux"))]
        unreachable!("none at {piece:p}, as there are no pieces here")
    }

    /// Where a piece begins; `None` if there are not so many. What lies before the first and after the last is less than a piece each.
    fn piece(&self, number: usize) -> Option<NonNull<u8>> {
        let first = self.first.cast::<u8>();
        let address = first.addr().get();
        let skipped = address.next_multiple_of(PIECE) - address + number * PIECE;
        let fits = GIVES_BACK && skipped + PIECE <= size_of_val::<[_]>(self);
        // SAFETY: within the groups.
        fits.then(|| unsafe { first.add(skipped) })
    }
}

/// Whether large tables are given back in pieces here. (Miri knows no such call.)
const GIVES_BACK: bool = cfg!(all(target_os = "linux", not(miri)));

/// Bytes of a table that are given back to the system in one go, aligned so: many pages of any size, and taken back within a tenth of a millisecond or so.
const PIECE: usize = 1 << 20;

impl<T> Deref for Groups<T> {
    type Target = [[AtomicPtr<T>; GROUP]];

    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: `new` allocated `len` groups from `first` on, all-zero bytes are null pointers, and they are only lent out shared.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for Groups<T> {
    fn drop(&mut self) {
        // SAFETY: `new` allocated it with this layout; the pointers need no drop.
        unsafe { dealloc(self.memory.as_ptr(), Self::layout(self.len)) }
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

    #[test]
    fn pieces_lie_within_the_groups_side_by_side_and_cover_most() {
        let group = size_of::<[AtomicPtr<u64>; GROUP]>();
        for len in [1, PIECE / group - 1, 2 * PIECE / group, 9 * PIECE / group, 9 * PIECE / group + 1] {
            let groups = Groups::<u64>::new(len);
            let pieces: Vec<_> =
                (0..).map_while(|piece| groups.piece(piece)).map(|piece| piece.addr().get()).collect();
            assert_eq!(groups.has_pieces(), !pieces.is_empty(), "of {len} groups");
            let bytes = groups.as_ptr_range();
            let (start, end) = (bytes.start.addr(), bytes.end.addr());
            assert!(pieces.iter().all(|piece| piece.is_multiple_of(PIECE)), "whole pages");
            assert!(pieces.windows(2).all(|pair| pair[0] + PIECE == pair[1]), "side by side");
            assert!(pieces.iter().all(|piece| start <= *piece && piece + PIECE <= end), "within");
            if cfg!(target_os = "linux") {
                assert!(
                    (end - start) - pieces.len() * PIECE < 2 * PIECE,
                    "less than a piece is left at each end"
                );
            }
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn what_is_given_back_is_the_piece_and_no_more() {
        let per_piece = PIECE / size_of::<[AtomicPtr<u64>; GROUP]>();
        let groups = Groups::<u64>::new(4 * per_piece);
        let mark = NonNull::<u64>::dangling().as_ptr();
        let all = || groups.as_flattened().iter();
        all().for_each(|slot| slot.store(mark, Ordering::Relaxed));
        for given in 1.. {
            // SAFETY: nobody else has the groups, and it is said below how they read from then on.
            if !unsafe { groups.give_back(given - 1) } {
                assert!((4..=5).contains(&given), "three pieces, or four: {given}");
                break;
            }
            let cleared = all().filter(|slot| slot.load(Ordering::Relaxed).is_null()).count();
            assert_eq!(cleared, given * per_piece * GROUP, "one piece more");
        }
    }
}
