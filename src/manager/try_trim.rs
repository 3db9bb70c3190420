//! A trim for a thread that must not wait.

use std::hash::Hash;

use super::gate::Meanwhile;
use super::{BasicConnManager, CancelToken};
use crate::connection::Connection;
use crate::report::{TrimOutcome, TrimReport, TrimTrigger};

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// As [`trim_open_conns`](Self::trim_open_conns), but `None`, and nothing done, while a trim is running.
    pub(crate) fn try_trim(&self) -> Option<TrimReport<P>> {
        let report = self.inner.trim_or(TrimTrigger::Explicit, Meanwhile::Leave, &CancelToken::new());
        (!matches!(report.outcome, TrimOutcome::Busy | TrimOutcome::Reentrant)).then_some(report)
    }
}
