//! The system's calls that map memory, by which large tables come, with the count that the module above keeps. (The allocator's own mappings do
//! not come this way.)

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

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
