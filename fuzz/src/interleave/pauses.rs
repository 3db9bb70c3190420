//! Where a thread may stop is shuttle's and the schedule's business; what each has closed is ours.

use std::cell::RefCell;

shuttle::thread_local! {
    /// The connections that this thread closed: peer, serial and when.
    static CLOSED: RefCell<Vec<(usize, u16, u64)>> = RefCell::default();
}

/// Nothing: each access to what threads share is a scheduling point already.
pub fn pause() {}

/// Nothing, likewise.
pub fn dawdle() {}

/// Notes that this thread has closed a connection.
pub fn note_closed(peer: usize, serial: u16, at: u64) {
    CLOSED.with(|closed| closed.borrow_mut().push((peer, serial, at)));
}

/// What this thread has closed since it was asked last.
pub fn take_closed() -> Vec<(usize, u16, u64)> {
    CLOSED.with(RefCell::take)
}
