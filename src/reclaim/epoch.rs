//! The back end of real programs: the default collector of `crossbeam-epoch`, which is one for the process.

use std::marker::PhantomData;
use std::ptr::NonNull;

/// A pinned thread. Nothing retired while it lives is freed before it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(crossbeam_epoch::Guard, PhantomData<*mut ()>);

/// Pins the current thread. Nested pins are cheap.
#[inline]
pub(crate) fn pin() -> Guard {
    Guard(crossbeam_epoch::pin(), PhantomData)
}

impl Guard {
    /// Frees `pointer` once every guard alive now is gone.
    ///
    /// # Safety
    /// 1. `pointer` comes from [`alloc`], and is retired or freed once.
    /// 2. No guard created after this call can reach it.
    pub(crate) unsafe fn retire<T: Send + 'static>(&self, pointer: *mut T) {
        // SAFETY: (1) makes the box ours, (2) that nobody reads it when the job runs; `T: Send` lets it drop there.
        unsafe { self.0.defer_unchecked(move || drop(Box::from_raw(pointer))) }
    }

    /// Runs `job` once every guard alive now is gone, on whichever thread pins then.
    ///
    /// # Safety
    /// 1. What `job` holds may be used and dropped on any thread, at any later time.
    pub(crate) unsafe fn defer(&self, job: impl FnOnce() + 'static) {
        // SAFETY: (1).
        unsafe { self.0.defer_unchecked(job) }
    }
}

/// Moves `value` to the heap, for [`Guard::retire`] or [`free`] to release.
#[inline]
pub(crate) fn alloc<T>(value: T) -> NonNull<T> {
    NonNull::from(Box::leak(Box::new(value)))
}

/// Frees `pointer` now.
///
/// # Safety
/// 1. `pointer` comes from [`alloc`], and is retired or freed once.
/// 2. Nobody can reach it any more.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    // SAFETY: (1), (2).
    drop(unsafe { Box::from_raw(pointer) });
}

/// Reads through a shared pointer.
///
/// # Safety
/// 1. `pointer` was reachable at some time since `guard` was created, or is kept alive by other means while the result is used.
/// 2. Nobody holds a mutable reference to the target.
#[inline(always)]
pub(crate) unsafe fn deref<T>(pointer: *const T, _guard: &Guard) -> &T {
    // SAFETY: (1) with the reachability invariant of the parent module, (2).
    unsafe { &*pointer }
}

/// Tells a model that a value has been put at `pointer`, in memory that is allocated already.
#[inline(always)]
pub(crate) fn occupy<T>(_pointer: *const T) {}

/// Tells a model that the value at `pointer`, which [`occupy`] told it of, is gone.
#[inline(always)]
pub(crate) fn vacate<T>(_pointer: *const T) {}

/// In a model, asserts that `pointer` lives or is null.
#[inline(always)]
pub(crate) fn check<T>(_pointer: *const T) {}

/// Hands this thread's garbage to all, and collects some.
#[cfg(test)]
pub(crate) fn flush(guard: &Guard) {
    guard.0.flush();
}
