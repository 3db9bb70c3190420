//! The back end of the models: loom's or shuttle's atomics, with scheduling points where they have none of their own.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::Ordering;

#[cfg(connmgr_loom)]
use loom as engine;
#[cfg(connmgr_shuttle)]
use shuttle as engine;

pub(crate) use engine::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
pub(crate) use engine::thread::ThreadId;

pub(crate) fn current_thread() -> ThreadId {
    engine::thread::current().id()
}

/// When something came to be and ceased: loom fails a use that does not come between the two in the happens-before order.
#[cfg(connmgr_loom)]
#[derive(Debug, Default)]
pub(crate) struct LifeSpan(loom::cell::UnsafeCell<()>);

#[cfg(connmgr_loom)]
impl LifeSpan {
    /// It begins or ends here.
    pub(crate) fn turn(&self) {
        self.0.with_mut(|_| ());
    }

    /// What lives is used here.
    pub(crate) fn used(&self) {
        self.0.with(|_| ());
    }
}

/// The same in shuttle, where whatever came earlier happened before.
#[cfg(connmgr_shuttle)]
#[derive(Debug, Default)]
pub(crate) struct LifeSpan {}

#[cfg(connmgr_shuttle)]
impl LifeSpan {
    pub(crate) fn turn(&self) {}

    pub(crate) fn used(&self) {}
}

thread_local! {
    /// All threads of a model run on one OS thread, so this is shared by them and by no other model.
    /// What an execution that has failed leaves behind is not dropped: that would panic again.
    static POINT: RefCell<ManuallyDrop<Option<Rc<AtomicUsize>>>> = RefCell::default();
    /// Whether the update fence orders nothing between threads in this execution. Shared likewise.
    static COMPILER_FENCES: Cell<bool> = const { Cell::new(false) };
}

/// Called first in every execution of a model.
pub(crate) fn model_begin() {
    POINT.set(ManuallyDrop::new(Some(Rc::new(AtomicUsize::new(0)))));
    COMPILER_FENCES.set(false);
}

/// Takes the update fence, for the rest of this execution, for what it is on x86: a fence of the compiler, which orders nothing
/// that the language knows of. So what a value publishes has to be ordered by the operations on it alone. (Cuts need the
/// fence, or that machine: they are not to be modelled so.)
#[cfg(connmgr_loom)]
pub(crate) fn compiler_fences() {
    COMPILER_FENCES.set(true);
}

/// Called last in every execution of a model.
pub(crate) fn model_end() {
    drop(ManuallyDrop::into_inner(POINT.take()));
}

/// Lets the model switch threads here: a relaxed read-modify-write of a word that all threads share orders nothing.
pub(crate) fn schedule_point() {
    let point = POINT
        .with_borrow(|point| point.as_ref().map(Rc::clone))
        .expect("a model runs inside model_begin and model_end");
    point.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn fence(order: Ordering) {
    schedule_point();
    fence_here(order);
}

/// A fence with no scheduling point before it. One comes after it if `CONNMGR_LOOM_FENCES` is set: loom keeps only the last access
/// to each object, and so may not find out by itself that it matters whether another thread runs between a fence and the load that follows.
pub(crate) fn fence_here(order: Ordering) {
    thread_local! {
        static AFTER: bool = std::env::var_os("CONNMGR_LOOM_FENCES").is_some();
    }
    engine::sync::atomic::fence(order);
    if AFTER.with(|after| *after) {
        schedule_point();
    }
}

/// See the native back end. A model takes the real fence, as the weakest machine must, unless it asks for [`compiler_fences`].
pub(crate) fn update_fence() {
    if COMPILER_FENCES.get() || super::mutant!("update-fence-dropped") {
        return;
    }
    fence(Ordering::SeqCst);
}

pub(crate) const GROUP: usize = 2;

/// See the native back end.
#[derive(Debug)]
pub(crate) struct Groups<T>(Box<[[AtomicPtr<T>; GROUP]]>);

impl<T> Groups<T> {
    pub(crate) fn new(len: usize) -> Self {
        let null = |_| AtomicPtr::new(std::ptr::null_mut());
        Self((0..len).map(|_| std::array::from_fn(null)).collect())
    }
}

impl<T> Deref for Groups<T> {
    type Target = [[AtomicPtr<T>; GROUP]];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

pub(crate) fn prefetch<T>(_pointer: *const T) {}

pub(crate) fn prefetch_line_ahead<T>(_pointer: *const T) {}
