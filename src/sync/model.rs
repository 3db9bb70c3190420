//! The back end of the models: loom's atomics, with scheduling points where loom has none of its own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};

thread_local! {
    /// Loom runs all threads of a model on one OS thread, so this is shared by them and by no other model.
    static POINT: RefCell<Option<Rc<AtomicUsize>>> = const { RefCell::new(None) };
}

/// Called first in every execution of a model.
pub(crate) fn model_begin() {
    // An execution that panicked leaves its atomic behind; dropping it outside that execution would panic again.
    std::mem::forget(POINT.replace(Some(Rc::new(AtomicUsize::new(0)))));
}

/// Called last in every execution of a model.
pub(crate) fn model_end() {
    drop(POINT.take());
}

/// Lets loom switch threads here: a relaxed read-modify-write of a word that all threads share orders nothing.
pub(crate) fn schedule_point() {
    let point = POINT.with_borrow(Clone::clone).expect("a model runs inside model_begin and model_end");
    point.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn fence(order: Ordering) {
    schedule_point();
    loom::sync::atomic::fence(order);
}

/// See the native back end. A model always takes the real fence, as the weakest machine must.
pub(crate) fn update_fence() {
    if cfg!(connmgr_mutant = "update-fence-dropped") {
        return;
    }
    fence(Ordering::SeqCst);
}

pub(crate) fn null_pointers<T>(len: usize) -> Box<[AtomicPtr<T>]> {
    (0..len).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect()
}

pub(crate) fn prefetch<T>(_pointer: *const T) {}
