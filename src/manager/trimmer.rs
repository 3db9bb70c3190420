//! What an edge that trims by itself keeps of a manager.

use std::hash::Hash;
use std::sync::{Arc, Weak};

use super::gate::Meanwhile;
use super::{BasicConnManager, CancelToken, Inner};
use crate::connection::Connection;
use crate::report::{TrimReport, TrimTrigger};

/// Trims a manager without keeping it alive and without ever waiting for a trim of another thread: so whoever joins the thread that
/// trims this way may do so from a callback of any trim.
pub(crate) struct Trimmer<P: Send + Sync + 'static, C: Connection> {
    inner: Weak<Inner<P, C>>,
    /// Gone with the manager, which `inner` may outlive.
    manager: Weak<()>,
}

impl<P, C> Trimmer<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// Trims; [`Busy`](crate::TrimOutcome::Busy) if another thread does. `None` once the manager is gone.
    pub(crate) fn trim(&self, trigger: TrimTrigger) -> Option<TrimReport<P>> {
        self.manager.upgrade()?;
        Some(self.inner.upgrade()?.trim_or(trigger, Meanwhile::Leave, &CancelToken::new()))
    }

    pub(crate) fn manager_is_gone(&self) -> bool {
        self.manager.strong_count() == 0
    }
}

impl<P: Send + Sync + 'static, C: Connection> BasicConnManager<P, C> {
    pub(crate) fn trimmer(&self) -> Trimmer<P, C> {
        Trimmer { inner: Arc::downgrade(&self.inner), manager: Arc::downgrade(&self.alive) }
    }
}
