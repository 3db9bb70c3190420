//! Memory in use: as the allocator and the system were asked for, and as the kernel sees it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes asked for and not given back.
static COUNTED: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, with a count.
pub struct Counting;

fn count(bytes: i64) {
    COUNTED.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: each call is the system allocator's, passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

// (What large tables are.)
mod mappings;

/// Bytes asked for and not given back.
pub fn counted() -> i64 {
    COUNTED.load(Ordering::Relaxed)
}

/// Bytes resident; 0 where the kernel is not Linux.
pub fn resident() -> i64 {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return 0 };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of Linux's");
    let kilobytes = line.trim().strip_suffix(" kB").and_then(|number| number.parse::<i64>().ok());
    kilobytes.expect("a number of kilobytes") * 1024
}
