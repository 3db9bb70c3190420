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

/// The system's calls that map memory, by which large tables come, with the same count. (The allocator's own mappings do not come this way.)
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod mappings {
    use std::ffi::{c_int, c_void};

    use super::count;

    // SAFETY: in place of the C library's function of that name, and by the same call of the system.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn mmap64(
        address: *mut c_void,
        len: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void {
        // SAFETY: as the caller promises.
        let mapped = unsafe { libc::syscall(libc::SYS_mmap, address, len, protection, flags, file, offset) }
            as *mut c_void;
        if mapped != libc::MAP_FAILED {
            count(len as i64);
        }
        mapped
    }

    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn munmap(address: *mut c_void, len: usize) -> c_int {
        // SAFETY: as the caller promises.
        let result = unsafe { libc::syscall(libc::SYS_munmap, address, len) } as c_int;
        if result == 0 {
            count(-(len as i64));
        }
        result
    }
}

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
