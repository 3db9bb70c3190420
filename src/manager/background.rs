//! The background thread: every silence period it drops temporary records past their grace and, at the high
//! watermark, trims.

use std::hash::Hash;
use std::sync::Arc;

use super::trim::panics_caught;
use super::worker::{Stop, Worker};
use super::{ConfigError, Inner};
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
        let due = inner.limits.now().saturating_add(inner.limits.silence);
        while !stop.asked() && inner.limits.now() < due {
            inner.limits.wait(due);
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
