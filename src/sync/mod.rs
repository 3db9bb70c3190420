//! The one door to atomics and fences.
//!
//! Three back ends stand behind it: [`native`](self) is `std::sync::atomic`; of the models', loom's is chosen by the
//! private `connmgr_loom` cfg and shuttle's by `connmgr_shuttle`. Everything above this module is the same source under all,
//! so what is model-checked is what is shipped.
//!
//! Loom explores every interleaving of a small model, weak orderings included. Shuttle runs one interleaving of a program of any
//! size, as a scheduler of ours decides, and takes every ordering for SeqCst: faults of orderings are loom's to find.
//!
//! Neither schedules at fences, so the models' back end adds an explicit scheduling point to each; without
//! them two real faults of an early prototype were missed at every bound.

#[cfg(any(connmgr_loom, connmgr_shuttle))]
mod model;
#[cfg(not(any(connmgr_loom, connmgr_shuttle)))]
mod native;

#[cfg(any(connmgr_loom, connmgr_shuttle))]
use model as backend;
#[cfg(not(any(connmgr_loom, connmgr_shuttle)))]
use native as backend;

pub(crate) use backend::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, GROUP, Groups, fence, prefetch,
    prefetch_line_ahead, update_fence,
};
pub(crate) use std::sync::atomic::Ordering;

#[cfg(any(connmgr_loom, connmgr_shuttle))]
#[cfg_attr(crossbeam_loom, allow(unused_imports, reason = "for the checked reclaimer"))]
pub(crate) use model::{
    LifeSpan, ThreadId, current_thread, fence_here, model_begin, model_end, schedule_point,
};

#[cfg(connmgr_loom)]
pub(crate) use model::compiler_fences;

/// Whether this is a model, in which structures are as small as can be, so that they grow within few operations.
pub(crate) const MODEL: bool = cfg!(any(connmgr_loom, connmgr_shuttle));

/// Asks the processor for a value of two lines at most, which is read after much else: where it begins and where it ends, as, where allocators
/// place it, it may lie across two.
#[inline(always)]
pub(crate) fn prefetch_ahead<T>(value: *const T) {
    prefetch_line_ahead(value);
    prefetch_line_ahead(value.wrapping_add(1).wrapping_byte_sub(1));
}

/// How many of a kind are fetched ahead at a time. A prefetch waits for the translation of its address, so a few in a row wait together; of too many the
/// last wait until a processor that has so many lines on their way has room for more.
pub(crate) const BATCH: usize = 8;

/// What a thread does that lost a race for a value, before it looks again: it leaves the line to the winner for a while, who may then
/// do some calls' work there, where else the line would go back and forth for each. Bounded, so whoever lost waits for nobody.
#[derive(Debug, Default)]
pub(crate) struct LostRaces(u32);

impl LostRaces {
    /// 32 of the processor's pauses, which are 26 ns each on a Zen 4, and twice as many each time, up to 128. (In models it is nothing: every thread may run there at any time.)
    #[cold]
    pub(crate) fn another(&mut self) {
        if !MODEL {
            (0..32 << self.0).for_each(|_| std::hint::spin_loop());
        }
        self.0 = (self.0 + 1).min(2);
    }
}

/// Keeps a hot word on cache lines of its own.
///
/// 128 bytes: x86-64 prefetches lines in pairs, and some AArch64 cores have 128-byte lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// Whether the fault of that name is to be injected: never but in builds that check the checkers, which have the private
/// `connmgr_mutants` cfg and take the name from the environment.
#[cfg(connmgr_mutants)]
pub(crate) fn injected(name: &str) -> bool {
    thread_local! {
        static INJECTED: Option<&'static str> =
            std::env::var("CONNMGR_MUTANT").ok().map(|name| &*name.leak());
    }
    INJECTED.with(|injected| *injected == Some(name))
}

#[cfg(not(connmgr_mutants))]
#[inline(always)]
pub(crate) const fn injected(_name: &str) -> bool {
    false
}

/// Whether the fault of that name is to be injected.
macro_rules! mutant {
    ($name:literal) => {
        $crate::sync::injected($name)
    };
}

/// An ordering that a mutant of that name weakens to `Relaxed`.
macro_rules! ordering {
    ($name:literal, $ordering:ident) => {
        if $crate::sync::injected($name) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$ordering
        }
    };
}

pub(crate) use {mutant, ordering};
