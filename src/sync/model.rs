//! The back end of the models: loom's or shuttle's atomics, with scheduling points where they have none of their own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

#[cfg(connmgr_loom)]
use loom as engine;
#[cfg(connmgr_shuttle)]
use shuttle as engine;

pub(crate) use engine::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
pub(crate) use engine::thread::ThreadId;

pub(crate) fn current_thread() -> ThreadId {
    engine::thread::current().id()
}

/// When something came to be: loom fails a use that does not come after it in the happens-before order.
#[cfg(connmgr_loom)]
#[derive(Debug)]
pub(crate) struct Birth(loom::cell::UnsafeCell<()>);

#[cfg(connmgr_loom)]
impl Birth {
    pub(crate) fn now() -> Self {
        let cell = loom::cell::UnsafeCell::new(());
        cell.with_mut(|_| ());
        Self(cell)
    }

    pub(crate) fn precedes_this(&self) {
        self.0.with(|_| ());
    }
}

/// The same in shuttle, where whatever came earlier happened before.
#[cfg(connmgr_shuttle)]
#[derive(Debug)]
pub(crate) struct Birth;

#[cfg(connmgr_shuttle)]
impl Birth {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn precedes_this(&self) {}
}

thread_local! {
    /// All threads of a model run on one OS thread, so this is shared by them and by no other model.
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

/// Lets the model switch threads here: a relaxed read-modify-write of a word that all threads share orders nothing.
pub(crate) fn schedule_point() {
    let point = POINT.with_borrow(Clone::clone).expect("a model runs inside model_begin and model_end");
    point.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn fence(order: Ordering) {
    schedule_point();
    engine::sync::atomic::fence(order);
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
