//! Tests of the back end of real programs.

use std::ptr;

use super::*;

/// Tells when it is dropped.
struct Told(Arc<AtomicIsize>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Other tests may hold the collector back, none of them for long.
fn comes_to(told: &AtomicIsize, count: isize) -> bool {
    (0..1_000_000).any(|_| {
        settle();
        told.load(Ordering::Relaxed) == count
    })
}

fn retire(value: impl Send + 'static) {
    // SAFETY: (1) just allocated, (2) and known to nobody.
    unsafe { pin().retire(alloc(value).as_ptr()) }
}

#[test]
fn a_thread_that_ends_hands_over_less_than_a_lot() {
    let told = Arc::new(AtomicIsize::new(0));
    let of_thread = Arc::clone(&told);
    let retires = move || (0..LOT - 1).for_each(|_| retire(Told(Arc::clone(&of_thread))));
    std::thread::spawn(retires).join().expect("a thread that does not panic");
    assert!(comes_to(&told, LOT as isize - 1), "what an ended thread retired is freed by others");
}

#[test]
fn a_destructor_that_panics_leaves_the_rest_of_its_lot_alone() {
    struct Panics(Told);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(self.0.0.load(Ordering::Relaxed) < 0, "a destructor's fault, to be caught");
        }
    }
    let told = Arc::new(AtomicIsize::new(0));
    retire(Told(Arc::clone(&told)));
    retire(Panics(Told(Arc::clone(&told))));
    retire(Told(Arc::clone(&told)));
    assert!(comes_to(&told, 3), "its own parts and both of the others");
}

/// What pins collect, every so often, was thought to be none of ours: there each job that made a batch full collected, within it, and
/// so on: a call stood still for ten milliseconds.
#[test]
fn what_jobs_retire_is_not_freed_within_them() {
    thread_local! {
        static FREEING: Cell<bool> = const { Cell::new(false) };
    }
    static WITHIN: AtomicIsize = AtomicIsize::new(0);
    struct Generation(usize, Told);
    impl Drop for Generation {
        fn drop(&mut self) {
            if FREEING.replace(true) {
                WITHIN.fetch_add(1, Ordering::Relaxed);
            }
            for _ in 0..BATCH * self.0 {
                retire(Generation(self.0 - 1, Told(Arc::clone(&self.1.0))));
            }
            FREEING.set(false);
        }
    }
    let told = Arc::new(AtomicIsize::new(0));
    (0..4 * BATCH).for_each(|_| retire(Generation(1, Told(Arc::clone(&told)))));
    let all = 4 * BATCH * (1 + BATCH);
    let freed = (0..500_000).any(|_| {
        drop(pin());
        told.load(Ordering::Relaxed) == all as isize
    });
    assert!(freed || comes_to(&told, all as isize), "all are freed");
    assert_eq!(WITHIN.load(Ordering::Relaxed), 0, "none within another");
}

/// Pins come and go, and each asks.
fn comes_to_be_over(cookie: Cookie, asks: usize) -> bool {
    (0..asks).any(|_| {
        let guard = pin();
        guard.found_early();
        guard.is_over(cookie)
    })
}

#[test]
fn cookies_are_over_when_the_guards_of_their_time_are_gone() {
    let guard = pin();
    // SAFETY: nothing lives there.
    let cookie = unsafe { guard.retire_in_place(ptr::null::<u8>()) };
    assert!(!comes_to_be_over(cookie, 10_000), "a guard of the time is alive");
    drop(guard);
    // Guards of other tests may hold it back, none of them for long.
    assert!(comes_to_be_over(cookie, 50_000_000), "no guard of the time is left");
    let _later = pin();
    assert!(is_over(cookie), "once over, it stays so");
}

/// A slot that was used twice in one period had the same cookie, and was used a third time under its readers.
#[test]
fn cookies_of_one_slot_are_different_and_in_order() {
    let (first, later) = (Cookie::from_bits(7), Cookie::from_bits(9));
    assert_eq!(later.after(first), later, "later as it is");
    assert_eq!(first.after(first), Cookie::from_bits(8), "of the same period");
    assert_eq!(first.after(later), Cookie::from_bits(10), "where former ones went ahead of the periods");
    assert_eq!(Cookie::from_bits(0).after(Cookie::from_bits(u32::MAX)), Cookie::from_bits(0), "they wrap");
    assert_eq!(Cookie::from_bits(0).after(Cookie::LONG_OVER), Cookie::from_bits(0), "the first");
    let guard = pin();
    assert!(!is_over(cookie().after(cookie())), "of a period that has not begun");
    drop(guard);
}

#[test]
fn the_end_of_a_long_pin_settles_what_was_used_in_place() {
    let guard = pin();
    // SAFETY: nothing lives there.
    let cookies = [(); BATCH].map(|()| unsafe { guard.retire_in_place(ptr::null::<u8>()) });
    drop(guard);
    // A guard of another test may be in the way, none of them for long.
    let settled = (0..1_000_000).any(|_| {
        settle();
        is_over(cookies[BATCH - 1])
    });
    assert!(settled, "nobody had to ask for it");
}
