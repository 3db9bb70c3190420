//! The back end of real programs: the default collector of `crossbeam-epoch`, which is one for the process.
//!
//! That collector frees some garbage once in 128 pins, which does not keep up with threads that retire several objects a pin,
//! and nothing when there are no pins. So each thread collects for every [`BATCH`] objects that it retires, more than it
//! retired, and [`settle`] collects what a long pin has held back.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

#[cfg(not(crossbeam_loom))]
use crossbeam_epoch::LocalHandle;

use crate::sync::Padded;

/// Objects that a thread retires between two collections of its own. (In models one, so that they see collections.)
const BATCH: usize = if cfg!(crossbeam_loom) { 1 } else { 64 };
/// Objects that one collection is counted on to free; it frees up to 512.
const ROUND: usize = 256;
/// Counters of garbage, so that threads seldom share one.
const SHARDS: usize = 16;

/// What has been retired and not yet freed: the sum over the shards, each of which may be negative.
static PENDING: [Padded<AtomicIsize>; SHARDS] = [const { Padded(AtomicIsize::new(0)) }; SHARDS];

#[cfg(not(crossbeam_loom))]
thread_local! {
    /// This thread with the collector: as `crossbeam_epoch::pin` would keep it, but so that a pin is inlined.
    static PARTICIPANT: LocalHandle = crossbeam_epoch::default_collector().register();
}

thread_local! {
    /// What this thread has retired since it last collected.
    static RETIRED: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread is collecting: what is retired by the collector's jobs is left to the round after, as a job that
    /// collected would run jobs that collect.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
    /// Jobs that this thread has run, wrapping.
    static RAN: Cell<usize> = const { Cell::new(0) };
    static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

fn count(change: isize) {
    // A thread that is ending may still free: any shard will do.
    let shard = SHARD.try_with(|shard| *shard).unwrap_or(0);
    // ORDER: garbage-count
    PENDING[shard].0.fetch_add(change, Ordering::Relaxed);
}

/// Objects retired and not yet freed, in the whole process.
fn pending() -> usize {
    let sum: isize = PENDING.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum();
    usize::try_from(sum).unwrap_or(0)
}

/// Collects what may be collected, after a long pin; does nothing while this thread is pinned still.
pub(crate) fn settle() {
    // How much is pending is counted over all executions of a model, which have to be alike.
    if is_pinned() || cfg!(crossbeam_loom) {
        return;
    }
    // The first rounds only advance the collector's epoch. A round that frees nothing is held back by another thread, or
    // there is nothing left. What is freed retires more, so there are generations: three to a record's death.
    let (mut idle, mut rounds) = (0, pending() / ROUND * 4 + 16);
    while idle < 4 && rounds > 0 {
        let before = RAN.with(Cell::get);
        collect(&pin().0);
        idle = if RAN.with(Cell::get) == before { idle + 1 } else { 0 };
        rounds -= 1;
    }
}

/// Hands this thread's garbage to all, and frees some of what may be freed.
#[cold]
fn collect(guard: &crossbeam_epoch::Guard) {
    // A thread that is ending leaves it to others.
    if COLLECTING.try_with(|collecting| collecting.replace(true)) == Ok(false) {
        let _done = Collecting;
        guard.flush();
    }
}

/// This thread's collection, over when dropped.
struct Collecting;

impl Drop for Collecting {
    fn drop(&mut self) {
        COLLECTING.set(false);
    }
}

/// A pinned thread. Nothing retired while it lives is freed before it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(crossbeam_epoch::Guard, PhantomData<*mut ()>);

/// Pins the current thread. Nested pins are cheap.
#[inline]
pub(crate) fn pin() -> Guard {
    #[cfg(not(crossbeam_loom))]
    let guard = PARTICIPANT.try_with(LocalHandle::pin).unwrap_or_else(|_| pin_late());
    // (Its threads are no threads of the operating system.)
    #[cfg(crossbeam_loom)]
    let guard = crossbeam_epoch::pin();
    Guard(guard, PhantomData)
}

/// Pins a thread that is ending.
#[cfg(not(crossbeam_loom))]
#[cold]
fn pin_late() -> crossbeam_epoch::Guard {
    crossbeam_epoch::pin()
}

/// Whether the current thread is pinned.
fn is_pinned() -> bool {
    #[cfg(not(crossbeam_loom))]
    return PARTICIPANT.try_with(LocalHandle::is_pinned).unwrap_or(false);
    #[cfg(crossbeam_loom)]
    crossbeam_epoch::is_pinned()
}

impl Guard {
    /// Frees `pointer` once every guard alive now is gone.
    ///
    /// # Safety
    /// 1. `pointer` comes from [`alloc`], and is retired or freed once.
    /// 2. No guard created after this call can reach it.
    pub(crate) unsafe fn retire<T: Send + 'static>(&self, pointer: *mut T) {
        // SAFETY: (1) makes the box ours, (2) that nobody reads it when the job runs; `T: Send` lets it drop there.
        unsafe { self.defer(move || drop(Box::from_raw(pointer))) }
    }

    /// Runs `job` once every guard alive now is gone, on whichever thread collects then. A panic of `job` ends there.
    ///
    /// # Safety
    /// 1. What `job` holds may be used and dropped on any thread, at any later time.
    pub(crate) unsafe fn defer(&self, job: impl FnOnce() + 'static) {
        count(1);
        let counted = move || {
            quietly(job);
            count(-1);
            RAN.with(|ran| ran.set(ran.get().wrapping_add(1)));
        };
        // SAFETY: (1).
        unsafe { self.0.defer_unchecked(counted) }
        let retired = RETIRED.try_with(|retired| retired.replace(retired.get() + 1)).unwrap_or(0);
        if retired + 1 >= BATCH {
            RETIRED.set(0);
            collect(&self.0);
        }
    }
}

/// Runs a job of the collector. If a destructor of the program's panics here, neither the thread that happens to collect
/// nor the rest of the garbage is to suffer.
fn quietly(job: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
        // Its destructor might panic, too, and so might whoever hears of it.
        mem::forget(payload);
        let told = catch_unwind(|| tracing::error!(target: "connmgr", "a destructor panicked"));
        mem::forget(told);
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

/// Runs one execution of a model: `body`, over this collector.
#[cfg(crossbeam_loom)]
pub fn model(body: impl FnOnce()) {
    crate::sync::model_begin();
    body();
    crate::sync::model_end();
}
