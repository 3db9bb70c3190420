//! The background thread: every silence period it drops temporary records past their grace and, at the high
//! watermark, trims.

#![expect(
    clippy::disallowed_types,
    reason = "whoever closes the manager waits for its thread; no table operation does"
)]

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use super::trim::panics_caught;
use super::{ConfigError, Inner};
use crate::connection::Connection;
use crate::interface::CloseError;

/// A manager's hold on its background thread, if it has one.
pub(super) struct Background(Option<Running>);

struct Running {
    stop: Arc<AtomicBool>,
    thread: Thread,
    /// Taken by whoever joins; the others wait for him here.
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn start<P, C>(inner: Arc<Inner<P, C>>) -> Result<Self, ConfigError>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        C: Connection,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let handle = thread::Builder::new()
            .name("connmgr-trim".into())
            .spawn(move || run(&inner, &stopped))
            .map_err(|error| ConfigError::Thread(error.to_string()))?;
        let thread = handle.thread().clone();
        Ok(Self(Some(Running { stop, thread, handle: Mutex::new(Some(handle)) })))
    }

    /// Stops the thread and, unless this is that thread, waits until it has ended.
    pub(super) fn stop(&self) -> Result<(), CloseError> {
        let Some(running) = &self.0 else { return Ok(()) };
        // ORDER: stop-flag
        running.stop.store(true, Ordering::Relaxed);
        running.thread.unpark();
        if thread::current().id() == running.thread.id() {
            // From one of its own callbacks: it ends when that returns.
            return Ok(());
        }
        let mut handle = running.handle.lock().unwrap_or_else(PoisonError::into_inner);
        handle.take().map_or(Ok(()), |handle| handle.join().map_err(|_| CloseError::Panicked))
    }
}

fn run<P, C>(inner: &Inner<P, C>, stop: &AtomicBool)
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    let stopped = || stop.load(Ordering::Relaxed);
    while !stopped() {
        let due = inner.limits.now().saturating_add(inner.limits.silence);
        while !stopped() && inner.limits.now() < due {
            inner.limits.wait(due);
        }
        if stopped() {
            break;
        }
        // A policy or a callback of the program's may panic; the thread goes on, as the next period may go well.
        if panics_caught(|| inner.check()) {
            tracing::error!(target: "connmgr", "a callback or the policy panicked in a background trim");
        }
    }
}
