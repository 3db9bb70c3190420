//! The background thread: every silence period it drops temporary records past their grace and, at the high
//! watermark, in steady mode or where a trim is owed, trims.

use std::hash::Hash;
use std::sync::Arc;

use super::Inner;
use super::settings::ConfigError;
use super::time::nanos;
use super::trim::panics_caught;
use super::worker::{Stop, Worker};
use crate::connection::Connection;
use crate::interface::CloseError;

/// A manager's hold on its background thread, if it has one.
pub(super) struct Background(Option<Worker>);

impl Background {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn start<P, C>(inner: Arc<Inner<P, C>>) -> Result<Self, ConfigError>
    where
        P: Eq + Hash + Clone + Send + Sync + 'static,
        C: Connection,
    {
        let worker = Worker::spawn("connmgr-trim", move |stop| run(&inner, stop))
            .map_err(|error| ConfigError::Thread(error.to_string()))?;
        Ok(Self(Some(worker)))
    }

    /// Has the thread look anew at when it is due.
    pub(super) fn wake(&self) {
        if let Some(worker) = &self.0 {
            worker.wake();
        }
    }

    /// Stops the thread and, unless this is that thread, waits until it has ended.
    pub(super) fn stop(&self) -> Result<(), CloseError> {
        self.0.as_ref().map_or(Ok(()), Worker::stop)
    }
}

fn run<P, C>(inner: &Inner<P, C>, stop: &Stop)
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    while !stop.asked() {
        let rests_since = inner.time.now();
        // Anew each time it is woken: the silence period may have been changed.
        let due = || rests_since.saturating_add(nanos(inner.settings.load().silence_period));
        while !stop.asked() && inner.time.now() < due() {
            inner.time.wait(due());
        }
        if stop.asked() {
            break;
        }
        // A policy or a callback of the program's may panic; the thread goes on, as the next period may go well.
        if panics_caught(|| inner.check()) {
            tracing::error!(target: "connmgr", "a callback or the policy panicked in a background trim");
        }
    }
}
