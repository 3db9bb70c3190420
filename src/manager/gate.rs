//! One trim at a time: who comes during a trim waits for it and shares its report.

#![expect(
    clippy::disallowed_types,
    reason = "trims wait for each other; no table operation waits for a trim"
)]

use std::mem;
use std::sync::{Arc, PoisonError};
#[cfg(not(connmgr_shuttle))]
use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, ThreadId},
};

// Whoever waited for a trim otherwise would stop every thread of the model.
#[cfg(connmgr_shuttle)]
use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, ThreadId},
};

use crate::report::TrimReport;

#[derive(Debug)]
pub(super) struct TrimGate<P> {
    state: Mutex<State<P>>,
    ended: Condvar,
}

#[derive(Debug)]
struct State<P> {
    running: Option<ThreadId>,
    /// Trims ended so far.
    count: u64,
    /// Threads that wait for a trim to share its report.
    joining: usize,
    /// What the last one reported, unless it panicked; kept while somebody has to be told, as it holds ids.
    last: Option<Arc<TrimReport<P>>>,
}

/// What to do while another thread trims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meanwhile {
    /// Wait for that trim and share its report.
    Join,
    /// Wait for the turn.
    Wait,
    /// Nothing: leave it. (The way of threads of our own: that trim may be in a callback that closes the manager, and so waits
    /// for them.)
    Leave,
}

/// How a trim is entered.
pub(super) enum Turn<'a, P> {
    /// It is ours to run.
    Ours(Lead<'a, P>),
    /// Another thread ran it.
    Theirs(Arc<TrimReport<P>>),
    /// This very thread is running one.
    Reentrant,
    /// Another thread is running one, which is left to it.
    Busy,
}

/// The turn to trim; given up when dropped.
pub(super) struct Lead<'a, P> {
    gate: &'a TrimGate<P>,
    report: Option<Arc<TrimReport<P>>>,
}

impl<P> TrimGate<P> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State { running: None, count: 0, joining: 0, last: None }),
            ended: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn to trim.
    pub(super) fn enter(&self, meanwhile: Meanwhile) -> Turn<'_, P> {
        let me = thread::current().id();
        let mut state = self.state();
        while let Some(running) = state.running {
            if running == me {
                return Turn::Reentrant;
            }
            if meanwhile == Meanwhile::Leave {
                return Turn::Busy;
            }
            let count = state.count;
            let joins = meanwhile == Meanwhile::Join;
            state.joining += usize::from(joins);
            state = self
                .ended
                .wait_while(state, |state| state.count == count)
                .unwrap_or_else(PoisonError::into_inner);
            state.joining -= usize::from(joins);
            let told = if state.joining == 0 { state.last.take() } else { state.last.clone() };
            if let (true, Some(report)) = (joins, told) {
                return Turn::Theirs(report);
            }
        }
        state.running = Some(me);
        Turn::Ours(Lead { gate: self, report: None })
    }
}

impl<P> Lead<'_, P> {
    /// Ends the trim with its report.
    pub(super) fn finish(mut self, report: &Arc<TrimReport<P>>) {
        self.report = Some(Arc::clone(report));
    }
}

impl<P> Drop for Lead<'_, P> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.running = None;
        state.count += 1;
        let report = self.report.take();
        let (kept, unwanted) = if state.joining > 0 { (report, None) } else { (None, report) };
        let before = mem::replace(&mut state.last, kept);
        self.gate.ended.notify_all();
        // Ids are dropped with nothing held: what their destructors do is the program's business.
        drop(state);
        drop((before, unwanted));
    }
}
