//! A thread of ours that others stop and join.

#![expect(
    clippy::disallowed_types,
    reason = "whoever stops a thread waits for its end; no table operation does"
)]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use crate::interface::CloseError;

/// The hold on a running thread. Dropping it neither stops nor joins: that is its owner's business.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Arc<AtomicBool>,
    thread: Thread,
    /// Taken by whoever joins; the others wait for him here.
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// Tells the thread that it is to end.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Worker {
    /// Starts a thread that runs `work`, which is to return soon after it is asked to stop: it is unparked then.
    pub(crate) fn spawn(name: &str, work: impl FnOnce(&Stop) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Stop(Arc::clone(&stop));
        let handle = thread::Builder::new().name(name.into()).spawn(move || work(&asked))?;
        let thread = handle.thread().clone();
        Ok(Self { stop, thread, handle: Mutex::new(Some(handle)) })
    }

    /// Wakes the thread if it is parked.
    pub(crate) fn wake(&self) {
        self.thread.unpark();
    }

    /// Stops the thread and, unless this is that thread, waits until it has ended.
    pub(crate) fn stop(&self) -> Result<(), CloseError> {
        // ORDER: stop-flag
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
        if thread::current().id() == self.thread.id() {
            // From one of its own callbacks: it ends when that returns.
            return Ok(());
        }
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.take().map_or(Ok(()), |handle| handle.join().map_err(|_| CloseError::Panicked))
    }
}
