//! The back end of the models: garbage dies at the earliest legal moment, and using the dead is an assertion failure.
//!
//! *Legal* is what `crossbeam-epoch` promises: garbage outlives every guard that was alive when it was retired.
//! The real collector is slower to free; this one is as fast as the promise allows, so a model needs no luck to see
//! a use after free. What died stays allocated (quarantined) until its execution ends: no address is used
//! twice, and a late reader finds a dead entry in the registry and not somebody else's memory.
//!
//! Every use is also checked to come after the birth of what is used, and before its death, in the happens-before order: a pointer
//! that is published without a release, or followed without an acquire, fails the model even if the values happen to be there,
//! and so does memory that is used anew by a thread that has not synchronised with whoever used it last.
//!
//! The orders are those of the real collector: a SeqCst fence after a thread's outermost guard has registered, and a release when that goes (none in a nested
//! one), and a fence before a retirement looks at which guards are alive. Each is also a scheduling point.

use std::alloc::{Layout, dealloc};
use std::any::{Any, type_name};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cookie;
use crate::sync::{
    AtomicUsize, LifeSpan, ThreadId, current_thread, fence, fence_here, model_begin, model_end,
    schedule_point,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Live,
    Retired,
    /// Dead when the guards up to that one are gone.
    RetiredInPlace(u64),
    Dead,
}

struct Allocation {
    life: Life,
    life_span: Rc<LifeSpan>,
    what: &'static str,
    /// Drops the value, when it dies; nothing, of a value in memory that is part of another allocation.
    bury: Option<Box<dyn FnOnce()>>,
    /// Gives the memory back, when the execution ends; likewise.
    release: Option<Box<dyn FnOnce()>>,
}

enum Fate {
    Memory(usize),
    Job(Box<dyn FnOnce()>),
}

struct Garbage {
    waits_for: BTreeSet<u64>,
    fate: Fate,
}

#[derive(Default)]
struct Registry {
    running: bool,
    next_guard: u64,
    guards: BTreeSet<u64>,
    /// Guards by thread: a nested one has no fence.
    depths: HashMap<ThreadId, usize>,
    garbage: Vec<Garbage>,
    /// See [`hand_over`].
    handover: Option<Rc<AtomicUsize>>,
    memory: HashMap<usize, Allocation>,
    /// See [`quarantine`].
    quarantined: Vec<Box<dyn Any>>,
}

thread_local! {
    /// Shared by the threads of one model, which all run on one OS thread. Never borrowed across an operation of the model's,
    /// which may switch threads.
    ///
    /// What an execution that failed leaves here is never dropped: it would call the model, which has ended.
    static REGISTRY: RefCell<ManuallyDrop<Registry>> = RefCell::default();
}

impl Registry {
    /// What has become of what lives, or lived, at `address`.
    fn life(&self, address: usize) -> Option<Life> {
        let life = self.memory.get(&address)?.life;
        Some(match life {
            Life::RetiredInPlace(latest) if self.are_gone(latest) => Life::Dead,
            _ => life,
        })
    }

    /// Whether the guards up to that one are gone.
    fn are_gone(&self, latest: u64) -> bool {
        self.guards.first().is_none_or(|&oldest| oldest > latest)
    }

    /// Takes out what no guard holds back any more.
    fn ripe(&mut self) -> Vec<Fate> {
        let (ripe, held): (Vec<_>, Vec<_>) =
            mem::take(&mut self.garbage).into_iter().partition(|garbage| garbage.waits_for.is_empty());
        self.garbage = held;
        ripe.into_iter().map(|garbage| garbage.fate).collect()
    }

    /// Marks what lives at `address` dead and returns how to drop it, which may use the registry again.
    fn kill(&mut self, address: usize, expected: Life) -> impl FnOnce() + use<> {
        let allocation = self.memory.get_mut(&address).expect("only what `alloc` made is freed");
        assert_eq!(allocation.life, expected, "freed twice: {}", allocation.what);
        allocation.life = Life::Dead;
        let bury = allocation.bury.take().expect("what dies for the first time is still to be dropped");
        let life_span = Rc::clone(&allocation.life_span);
        move || {
            // In an execution that has failed already, a second panic would hide the first.
            if !std::thread::panicking() {
                life_span.turn();
            }
            bury();
        }
    }
}

/// Runs one execution of a model: `body`, then the checks that nothing leaked and no guard is left.
pub fn model(body: impl FnOnce()) {
    model_begin();
    let handover = Some(Rc::new(AtomicUsize::new(0)));
    REGISTRY.set(ManuallyDrop::new(Registry { running: true, handover, ..Registry::default() }));
    body();
    let registry = ManuallyDrop::into_inner(REGISTRY.take());
    assert!(registry.guards.is_empty(), "a guard outlives its model");
    assert!(registry.garbage.is_empty(), "garbage outlives every guard");
    for (&address, allocation) in &registry.memory {
        assert_eq!(registry.life(address), Some(Life::Dead), "leaked: {}", allocation.what);
    }
    for release in registry.memory.into_values().filter_map(|allocation| allocation.release) {
        release();
    }
    model_end();
}

/// A pinned thread of a model.
#[derive(Debug)]
pub(crate) struct Guard {
    id: u64,
    not_send: PhantomData<*mut ()>,
}

/// Nothing to do: here garbage is freed as soon as it may be.
pub(crate) fn settle() {}

pub(crate) fn pin() -> Guard {
    // Before the guard is there, so that others also find this thread between two guards.
    schedule_point();
    let thread = current_thread();
    let (id, outermost) = REGISTRY.with_borrow_mut(|registry| {
        assert!(registry.running, "pinned outside a model");
        registry.next_guard += 1;
        let id = registry.next_guard;
        registry.guards.insert(id);
        let depth = registry.depths.entry(thread).or_default();
        *depth += 1;
        (id, *depth == 1)
    });
    if outermost {
        fence_here(Ordering::SeqCst);
    }
    Guard { id, not_send: PhantomData }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let thread = current_thread();
        // A nested one orders nothing, and what it holds back the outer one does, too.
        if REGISTRY.with_borrow(|registry| registry.depths[&thread]) == 1 {
            hand_over(Ordering::Release);
        }
        schedule_point();
        let ripe = REGISTRY.with_borrow_mut(|registry| {
            registry.guards.remove(&self.id);
            *registry.depths.get_mut(&thread).expect("dropped by the thread that pinned") -= 1;
            for garbage in &mut registry.garbage {
                garbage.waits_for.remove(&self.id);
            }
            registry.ripe()
        });
        run(ripe);
    }
}

/// Whoever unpins, and whoever retires, comes before whoever frees, as in the real collector: that releases when a thread's last guard goes, and
/// acquires when it finds all guards gone.
fn hand_over(order: Ordering) {
    let handover = REGISTRY.with_borrow(|registry| registry.handover.clone()).expect("inside a model");
    handover.fetch_add(1, order);
}

fn run(ripe: Vec<Fate>) {
    if !ripe.is_empty() {
        hand_over(Ordering::Acquire);
    }
    for fate in ripe {
        match fate {
            Fate::Memory(address) => {
                REGISTRY.with_borrow_mut(|registry| registry.kill(address, Life::Retired))()
            }
            Fate::Job(job) => job(),
        }
    }
}

impl Guard {
    /// # Safety
    /// As in the real back end.
    pub(crate) unsafe fn retire<T: Send + 'static>(&self, pointer: *mut T) {
        mark_retired(pointer.addr(), Life::Retired);
        self.push(Fate::Memory(pointer.addr()));
    }

    /// # Safety
    /// As in the real back end.
    pub(crate) unsafe fn retire_by<T: Send + 'static>(&self, pointer: *mut T, free: unsafe fn(*mut T)) {
        // SAFETY: the caller's promise.
        self.push(Fate::Job(Box::new(move || unsafe { free(pointer) })));
    }

    /// # Safety
    /// As in the real back end.
    pub(crate) unsafe fn retire_in_place<T>(&self, pointer: *const T) -> Cookie {
        fence(Ordering::SeqCst);
        hand_over(Ordering::Release);
        let latest = REGISTRY.with_borrow(|registry| registry.next_guard);
        mark_retired(pointer.addr(), Life::RetiredInPlace(latest));
        schedule_point();
        Cookie::from_bits(u32::try_from(latest).expect("few guards in a model"))
    }

    /// Nothing to do: cookies are over as soon as they may be.
    pub(crate) fn found_early(&self) {}

    /// Over as soon as it may be, and found so: the real one takes its time.
    pub(crate) fn is_over(&self, cookie: Cookie) -> bool {
        hand_over(Ordering::Acquire);
        REGISTRY.with_borrow(|registry| registry.are_gone(cookie.to_bits().into()))
    }

    /// # Safety
    /// As in the real back end.
    pub(crate) unsafe fn defer(&self, job: impl FnOnce() + 'static) {
        self.push(Fate::Job(Box::new(job)));
    }

    fn push(&self, fate: Fate) {
        fence(Ordering::SeqCst);
        hand_over(Ordering::Release);
        REGISTRY.with_borrow_mut(|registry| {
            let waits_for = registry.guards.clone();
            assert!(waits_for.contains(&self.id), "the retiring guard is alive");
            registry.garbage.push(Garbage { waits_for, fate });
        });
        schedule_point();
    }
}

fn mark_retired(address: usize, retired: Life) {
    REGISTRY.with_borrow_mut(|registry| {
        let allocation = registry.memory.get_mut(&address).expect("only what is registered is retired");
        assert_eq!(allocation.life, Life::Live, "retired twice: {}", allocation.what);
        allocation.life = retired;
    });
}

pub(crate) fn alloc<T: 'static>(value: T) -> NonNull<T> {
    let pointer = NonNull::from(Box::leak(Box::new(value)));
    // SAFETY: run once, when the value dies: nobody uses it any more, as every `deref` checks.
    let bury: Box<dyn FnOnce()> = Box::new(move || unsafe { pointer.as_ptr().drop_in_place() });
    // SAFETY: run once, when the execution has ended; the value was dropped, or has leaked and failed the model.
    let release: Box<dyn FnOnce()> =
        Box::new(move || unsafe { dealloc(pointer.as_ptr().cast(), Layout::new::<T>()) });
    let life_span = Rc::new(LifeSpan::default());
    life_span.turn();
    REGISTRY.with_borrow_mut(|registry| {
        let what = type_name::<T>();
        let allocation =
            Allocation { life: Life::Live, life_span, what, bury: Some(bury), release: Some(release) };
        let before = registry.memory.insert(pointer.as_ptr().addr(), allocation);
        assert!(before.is_none(), "quarantined memory is not handed out again");
    });
    pointer
}

/// # Safety
/// As in the real back end.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    REGISTRY.with_borrow_mut(|registry| registry.kill(pointer.addr(), Life::Live))();
}

/// # Safety
/// As in the real back end; here it is checked.
pub(crate) unsafe fn deref<T>(pointer: *const T, _guard: &Guard) -> &T {
    assert!(!pointer.is_null(), "a shared pointer that is followed is not null");
    check(pointer);
    // SAFETY: registered and not dead; even the dead stay allocated until the execution ends.
    unsafe { &*pointer }
}

/// Registers a value that has been put into memory which is part of another allocation.
pub(crate) fn occupy<T>(pointer: *const T) {
    let what = type_name::<T>();
    let before = REGISTRY.with_borrow(|registry| {
        let before = registry.memory.get(&pointer.addr())?;
        assert_eq!(registry.life(pointer.addr()), Some(Life::Dead), "occupied twice: {what}");
        Some(Rc::clone(&before.life_span))
    });
    // The memory's last use comes before this one.
    let life_span = before.unwrap_or_default();
    life_span.turn();
    REGISTRY.with_borrow_mut(|registry| {
        let allocation = Allocation { life: Life::Live, life_span, what, bury: None, release: None };
        registry.memory.insert(pointer.addr(), allocation);
    });
}

/// Keeps the memory of `shared`, not what is in it, until the execution ends.
pub(crate) fn quarantine<T: 'static>(shared: &Arc<T>) {
    let memory = Arc::downgrade(shared);
    REGISTRY.with_borrow_mut(|registry| registry.quarantined.push(Box::new(memory)));
}

/// Marks what [`occupy`] registered dead.
pub(crate) fn vacate<T>(pointer: *const T) {
    let life_span = REGISTRY.with_borrow_mut(|registry| {
        let allocation = registry.memory.get_mut(&pointer.addr()).expect("only what is occupied is vacated");
        assert_eq!(allocation.life, Life::Live, "vacated twice: {}", allocation.what);
        allocation.life = Life::Dead;
        Rc::clone(&allocation.life_span)
    });
    life_span.turn();
}

/// Asserts that `pointer` lives or is null.
pub(crate) fn check<T>(pointer: *const T) {
    if pointer.is_null() {
        return;
    }
    let life_span = REGISTRY.with_borrow(|registry| {
        let allocation = registry.memory.get(&pointer.addr()).expect("a pointer to registered memory");
        assert_ne!(registry.life(pointer.addr()), Some(Life::Dead), "used after free: {}", allocation.what);
        Rc::clone(&allocation.life_span)
    });
    life_span.used();
}
