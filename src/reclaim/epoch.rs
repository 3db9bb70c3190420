//! The back end of real programs: the default collector of `crossbeam-epoch`, which is one for the process.
//!
//! That collector frees some garbage once in 128 pins, which does not keep up with threads that retire several objects a pin,
//! and nothing when there are no pins. So each thread collects for every [`BATCH`] objects that it retires, more than it
//! retired, and [`settle`] collects what a long pin has held back.
//!
//! Objects that wait for their end have mostly gone cold, and a job that frees one is a miss, with nothing to do meanwhile. So a thread gathers what it
//! retires into lots, each of which one job frees: it has all of a lot on their way before it frees the first. That an object is
//! handed to the collector some time after it was retired only makes it wait for more guards than it has to.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU32, Ordering};

#[cfg(not(crossbeam_loom))]
use crossbeam_epoch::LocalHandle;

use super::Cookie;
#[cfg(not(crossbeam_loom))]
use super::period::Periods;
use crate::sync::{Padded, prefetch};

/// Objects that a thread retires between two collections of its own. (In models one, so that they see collections.)
const BATCH: usize = if cfg!(crossbeam_loom) { 1 } else { 64 };
/// Objects that one job frees. It fetches them all first: each would be a miss, and their frees wait for each other.
#[cfg(not(crossbeam_loom))]
const LOT: usize = 16;
/// Cookies that a thread finds not to be over between two attempts to end a period.
const EARLY: usize = 16;
/// Bags of the collector that one collection frees, each with about [`BATCH`] objects at most.
const BAGS: usize = 8;
/// Objects that one collection is counted on to free, as not every bag is full.
const ROUND: usize = 256;

/// What has been retired and not yet freed, as far as threads have told: each does when it collects.
static PENDING: Padded<AtomicIsize> = Padded(AtomicIsize::new(0));

/// The process's periods. (In models over this collector, whose atomics are not made in statics, no cookie is ever over; the periods
/// have a model of their own.)
#[cfg(not(crossbeam_loom))]
static PERIODS: Padded<Periods> = Padded(Periods::new());
/// The latest cookie that came after many others.
static LATEST: AtomicU32 = AtomicU32::new(Cookie::LONG_OVER.to_bits());

/// What a thread knows of its own collecting.
struct Local {
    /// Objects and jobs that it has retired since it last collected.
    retired: Cell<usize>,
    /// What it has retired less what it has freed, as far as it has not told [`PENDING`].
    untold: Cell<isize>,
    /// Objects that it has freed and jobs that it has run, wrapping.
    ran: Cell<usize>,
    /// Cookies that it has given since it told [`LATEST`].
    in_place: Cell<usize>,
    /// Cookies that it has found not to be over since it last saw to that.
    early: Cell<usize>,
    /// Whether it is collecting, or runs a job of the collector's, as it also does in some pins: what jobs retire is left to the round after, or a
    /// job that collected would run jobs that collect.
    collecting: Cell<bool>,
}

#[cfg(not(crossbeam_loom))]
thread_local! {
    /// This thread with the collector: as `crossbeam_epoch::pin` would keep it, but so that a pin is inlined.
    static PARTICIPANT: Participant = Participant::register();
}

#[cfg(not(crossbeam_loom))]
struct Participant {
    handle: LocalHandle,
    /// Objects that the thread has retired and that the collector does not know of yet: less than a [`LOT`].
    lot: Cell<Vec<Doomed>>,
}

#[cfg(not(crossbeam_loom))]
impl Participant {
    fn register() -> Self {
        Self { handle: crossbeam_epoch::default_collector().register(), lot: Cell::default() }
    }

    /// Puts one object into the lot, and hands that over if it is full.
    fn doom(&self, doomed: Doomed, guard: &crossbeam_epoch::Guard) {
        let mut lot = self.lot.take();
        if lot.capacity() == 0 {
            lot.reserve_exact(LOT);
        }
        lot.push(doomed);
        let full = lot.len() == LOT;
        self.lot.set(lot);
        if full {
            self.hand_over(guard);
        }
    }

    /// Leaves a job for what is in the lot.
    fn hand_over(&self, guard: &crossbeam_epoch::Guard) {
        let lot = self.lot.take();
        if !lot.is_empty() {
            // SAFETY: what is in the lot was retired before, so that it may be freed when every guard alive now is gone; on any thread.
            unsafe { guard.defer_unchecked(move || free_all(&lot)) }
        }
    }
}

#[cfg(not(crossbeam_loom))]
impl Drop for Participant {
    /// A thread that ends hands over and tells what it has retired, which others will free.
    fn drop(&mut self) {
        self.hand_over(&self.handle.pin());
        LOCAL.with(Local::tell);
    }
}

impl Local {
    /// One object more is retired. Returns whether that makes a [`BATCH`].
    fn retire_one(&self) -> bool {
        self.untold.set(self.untold.get() + 1);
        self.retired.set(self.retired.get() + 1);
        self.retired.get() >= BATCH
    }

    /// Does `work`, which runs jobs of the collector's or is one, and does not unwind: what retires in it does not collect.
    fn collect_in(&self, work: impl FnOnce()) {
        let outer = self.collecting.replace(true);
        work();
        self.collecting.set(outer);
    }

    /// So many are freed.
    fn free(&self, count: usize) {
        self.untold.set(self.untold.get() - count as isize);
        self.ran.set(self.ran.get().wrapping_add(count));
        // A thread that never collects runs others' jobs, and these may retire much.
        if self.untold.get().unsigned_abs() >= BATCH {
            self.tell();
        }
    }

    fn tell(&self) {
        // ORDER: garbage-count
        PENDING.0.fetch_add(self.untold.take(), Ordering::Relaxed);
    }
}

/// An object that is retired, and how it is freed.
#[derive(Clone, Copy)]
struct Doomed {
    object: *mut (),
    free: unsafe fn(*mut ()),
}

/// Runs jobs of ours, which free so many objects and do not unwind.
fn run(count: usize, jobs: impl FnOnce()) {
    LOCAL.with(|local| {
        local.collect_in(jobs);
        local.free(count);
    });
}

/// Frees what a thread retired, one after the other.
fn free_all(lot: &[Doomed]) {
    for doomed in lot {
        // With what lies before: the allocator's word, or the counts of whatever the object is a part of.
        prefetch(doomed.object.cast::<u8>().wrapping_sub(16));
        prefetch(doomed.object.cast::<u8>().wrapping_add(40));
    }
    run(lot.len(), || {
        for &Doomed { object, free } in lot {
            // SAFETY: the promise of `retire_by`, and every guard of that time is gone.
            quietly(move || unsafe { free(object) });
        }
    });
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            retired: Cell::new(0),
            untold: Cell::new(0),
            ran: Cell::new(0),
            in_place: Cell::new(0),
            early: Cell::new(0),
            collecting: Cell::new(false),
        }
    };
}

/// Objects retired and not yet freed, in the whole process, about.
fn pending() -> usize {
    usize::try_from(PENDING.0.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Collects what may be collected, after a long pin; does nothing while this thread is pinned still.
pub(crate) fn settle() {
    // How much is pending is counted over all executions of a model, which have to be alike.
    if is_pinned() || cfg!(crossbeam_loom) {
        return;
    }
    LOCAL.with(|local| {
        let pending = pending();
        if pending == 0 && local.untold.get() <= 0 && cookies_are_over() {
            return;
        }
        // The first rounds only advance the collector's epoch. A round in which no job ran is held back by another thread, or there
        // is nothing left but the collector's own bags, which it retires, too: each round that ran jobs left a bag of them. Twice the
        // rounds that these take are granted. What is freed retires more, so there are generations: three to a record's death.
        let first = local.ran.get();
        let granted = || 4 + 2 * local.ran.get().wrapping_sub(first) / (BATCH * BAGS) / BAGS;
        let (mut idle, mut rounds) = (0, pending / ROUND * 4 + 16);
        while idle < granted() && rounds > 0 {
            let before = local.ran.get();
            let guard = pin();
            if !cookies_are_over() {
                guard.end_period();
            }
            collect(&guard.0);
            drop(guard);
            idle = if local.ran.get() == before { idle + 1 } else { 0 };
            rounds -= 1;
        }
    });
}

/// Whether nearly all cookies that have been given are over: a few are not worth the rounds.
fn cookies_are_over() -> bool {
    is_over(Cookie::from_bits(LATEST.load(Ordering::Relaxed)))
}

/// Hands this thread's garbage to all, and frees some of what may be freed.
#[cold]
#[inline(never)]
fn collect(guard: &crossbeam_epoch::Guard) {
    LOCAL.with(|local| {
        if !local.collecting.get() {
            local.retired.set(0);
            // A thread that is ending has no lot any more.
            #[cfg(not(crossbeam_loom))]
            let _ = PARTICIPANT.try_with(|participant| participant.hand_over(guard));
            // The collector is the process's: jobs that are not ours may panic.
            local.collect_in(|| quietly(|| guard.flush()));
            local.tell();
        }
    });
}

/// A pinned thread. Nothing retired while it lives is freed before it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(crossbeam_epoch::Guard, PhantomData<*mut ()>);

/// Pins the current thread. Nested pins are cheap.
#[inline]
pub(crate) fn pin() -> Guard {
    #[cfg(not(crossbeam_loom))]
    let guard = PARTICIPANT.try_with(|participant| participant.handle.pin()).unwrap_or_else(|_| pin_late());
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
    return PARTICIPANT.try_with(|participant| participant.handle.is_pinned()).unwrap_or(false);
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
        // SAFETY: (1), (2).
        unsafe { self.retire_by(pointer, free) }
    }

    /// Frees what is at `pointer` by `free` once every guard alive now is gone, on whichever thread collects then. A panic of `free` ends there.
    ///
    /// # Safety
    /// 1. When no guard is left that was created before this call, `free` may be called with `pointer`, once.
    pub(crate) unsafe fn retire_by<T: Send + 'static>(&self, pointer: *mut T, free: unsafe fn(*mut T)) {
        // SAFETY: pointers to sized types are passed alike.
        let free = unsafe { mem::transmute::<unsafe fn(*mut T), unsafe fn(*mut ())>(free) };
        let doomed = Doomed { object: pointer.cast(), free };
        if !self.doom(doomed) {
            // SAFETY: (1).
            unsafe { self.0.defer_unchecked(move || free_all(&[doomed])) }
        }
        if LOCAL.with(Local::retire_one) {
            collect(&self.0);
        }
    }

    /// Puts one object into this thread's lot, if it is to have one. What jobs retire, on threads that may never collect, has no lot to wait for; nor has what a thread
    /// retires at its very end.
    #[cfg(not(crossbeam_loom))]
    fn doom(&self, doomed: Doomed) -> bool {
        !LOCAL.with(|local| local.collecting.get())
            && PARTICIPANT.try_with(|participant| participant.doom(doomed, &self.0)).is_ok()
    }

    /// (The threads of a model are one of the operating system's.)
    #[cfg(crossbeam_loom)]
    fn doom(&self, _: Doomed) -> bool {
        false
    }

    /// Runs `job` once every guard alive now is gone, on whichever thread collects then. A panic of `job` ends there.
    ///
    /// # Safety
    /// 1. What `job` holds may be used and dropped on any thread, at any later time.
    pub(crate) unsafe fn defer(&self, job: impl FnOnce() + 'static) {
        // SAFETY: (1).
        unsafe { self.0.defer_unchecked(move || run(1, || quietly(job))) }
        if LOCAL.with(Local::retire_one) {
            collect(&self.0);
        }
    }

    /// Retires what is at `pointer`, which `occupy` told of and the caller has made unreachable by a read-modify-write; the memory may be used
    /// again when the cookie [is over](Self::is_over).
    ///
    /// # Safety
    /// 1. It is retired once.
    /// 2. No guard created after this call can reach it.
    pub(crate) unsafe fn retire_in_place<T>(&self, _pointer: *const T) -> Cookie {
        let cookie = cookie();
        LOCAL.with(|local| {
            local.in_place.set(local.in_place.get() + 1);
            if local.in_place.get() >= BATCH {
                local.in_place.set(0);
                // ORDER: garbage-count
                LATEST.store(cookie.to_bits(), Ordering::Relaxed);
            }
        });
        cookie
    }

    /// Whether every guard is gone that was alive when the cookie was given. May say no for some time after.
    pub(crate) fn is_over(&self, cookie: Cookie) -> bool {
        is_over(cookie)
    }

    /// Somebody had use for a cookie that was not over: those who say so often see to it that periods end. May run the collector's jobs.
    pub(crate) fn found_early(&self) {
        let early = LOCAL.with(|local| local.early.replace(local.early.get() + 1));
        if early >= EARLY {
            self.end_period();
        }
    }

    /// Has the present period end when every guard alive now is gone.
    #[cold]
    #[inline(never)]
    fn end_period(&self) {
        // A job of the collector's leaves it to others: what it defers stays with its thread for a time.
        let free = LOCAL.with(|local| {
            local.early.set(0);
            !local.collecting.get()
        });
        #[cfg(not(crossbeam_loom))]
        if free && Periods::end(&PERIODS.0, self) {
            // Nobody else could run the job while it is in this thread's bag.
            collect(&self.0);
        }
        #[cfg(crossbeam_loom)]
        let _ = free;
    }
}

#[cfg(not(crossbeam_loom))]
fn cookie() -> Cookie {
    PERIODS.0.cookie()
}

#[cfg(not(crossbeam_loom))]
fn is_over(cookie: Cookie) -> bool {
    PERIODS.0.is_over(cookie)
}

#[cfg(crossbeam_loom)]
fn cookie() -> Cookie {
    Cookie::LONG_OVER
}

#[cfg(crossbeam_loom)]
fn is_over(_: Cookie) -> bool {
    false
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

/// Has a model keep the memory of what is not [`alloc`]'s, so that no address in it is used twice.
#[inline(always)]
pub(crate) fn quarantine<T>(_shared: &Arc<T>) {}

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

#[cfg(all(test, not(crossbeam_loom)))]
mod tests;
