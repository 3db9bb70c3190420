//! Periods, by which it is known afterwards that the guards of some time are gone.
//!
//! A period *ends* some time after every guard is gone that was alive when its end was deferred, and that is not done before it has begun. So:
//!
//! Invariant (cookie): two ends after a cookie was given, no guard is left that could reach what was made unreachable before. The end of the period
//! that the cookie names may have been deferred already, for guards of an earlier time; with that of the next one,
//!
//! - either its deferral comes after the cookie, in the order of all SeqCst fences (each has one): it waits for the guards of the
//!   time, and whoever pins later finds what was made unreachable, by the fence of the pin;
//! - or it comes before, and so does the beginning of that next period, before the deferral's fence: then the cookie names that one, or a later.
//!
//! A thread that stalls between claiming the end and deferring it holds up the periods, and no operation: slots of records stay taken, and
//! states go to the heap.

use std::ops::Deref;

use super::Guard;
use crate::sync::{AtomicBool, AtomicU32, Ordering, mutant, ordering, update_fence};

/// How many periods have to end after a cookie was given.
const OVER: i32 = 2;

/// A count of periods.
#[derive(Debug, Default)]
pub(crate) struct Periods {
    /// Those that have ended, wrapping: after 2^31 more, a cookie may be taken for a new one, which is safe.
    ended: AtomicU32,
    /// Whether the end of the present one has been deferred, or is about to be.
    ending: AtomicBool,
}

/// The period in which something was made unreachable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cookie(u32);

impl Cookie {
    /// One that is over before any period has ended.
    pub(crate) const LONG_OVER: Self = Self((-OVER) as u32);

    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// This one, or one of a later period if it is not later than `former`: it is over no sooner, and is not the same as any before.
    pub(crate) const fn after(self, former: Self) -> Self {
        if self.0.wrapping_sub(former.0) as i32 > 0 { self } else { Self(former.0.wrapping_add(1)) }
    }
}

impl Periods {
    #[cfg(not(any(connmgr_loom, connmgr_shuttle)))]
    pub(crate) const fn new() -> Self {
        Self { ended: AtomicU32::new(0), ending: AtomicBool::new(false) }
    }

    /// A cookie for what the calling thread has made unreachable by a read-modify-write before.
    pub(crate) fn cookie(&self) -> Cookie {
        update_fence();
        // ORDER: period-load
        Cookie(self.ended.load(Ordering::Relaxed))
    }

    /// Whether every guard is gone that could reach what the cookie was given for.
    pub(crate) fn is_over(&self, cookie: Cookie) -> bool {
        // ORDER: period-over
        let ended = self.ended.load(ordering!("period-over", Acquire));
        // (Of a period that has not begun yet, it is less than 0.)
        ended.wrapping_sub(cookie.0) as i32 >= if mutant!("cookie-over-early") { 1 } else { OVER }
    }

    /// Has the present period end when every guard alive now is gone, unless that is seen to. Returns whether it was left to this call.
    pub(crate) fn end(this: impl Deref<Target = Self> + Send + 'static, guard: &Guard) -> bool {
        // ORDER: period-ending
        if this.ending.load(Ordering::Relaxed) || this.ending.swap(true, ordering!("period-ending", Acquire))
        {
            return false;
        }
        let end = move || {
            // ORDER: period-end
            this.ended.fetch_add(1, ordering!("period-end", Release));
            // ORDER: period-ending
            this.ending.store(false, ordering!("period-ending", Release));
        };
        // SAFETY: (1) what leads to the periods is `Send`.
        unsafe { guard.defer(end) }
        true
    }
}
