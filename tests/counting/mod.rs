//! An allocator that counts, for the test binary that takes it in.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, counting.
struct Counting;

/// Bytes allocated or mapped, and not yet freed.
pub static BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    BYTES.fetch_add(bytes, Ordering::Relaxed);
}

// (What large tables are.)
#[path = "../../benches/memory/counting/mappings.rs"]
mod mappings;

// SAFETY: every call is the system allocator's; what is added is a count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
