//! Trimming as programs ask for it.

use std::hash::Hash;

use super::CancelToken;
use crate::connection::Connection;
use crate::manager::BasicConnManager;
use crate::report::{TrimPlan, TrimReport, TrimTrigger};

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// Closes connections down to the low watermark, as the policy has it, and removes temporary records past their
    /// grace. Ignores the high watermark.
    ///
    /// A call during a running trim waits for that one and returns its report, [`joined`](TrimReport::joined); if that was a
    /// [steady](TrimTrigger::Steady) one, which closes a few, it runs its own. A call from a
    /// callback of a trim on the same thread returns at once with [`Reentrant`](crate::TrimOutcome::Reentrant).
    ///
    /// # Panics
    ///
    /// If the policy or the `on_trim` callback does. A panic of a close callback is counted in the report.
    ///
    /// # Progress
    ///
    /// Blocking among trims; no other call waits for it, and it for none.
    ///
    /// # Consistency
    ///
    /// Decides from one snapshot; each victim is re-checked and claimed in one atomic step of its own.
    #[doc(alias = "TrimOpenConns")]
    pub fn trim_open_conns(&self) -> TrimReport<P> {
        self.trim_open_conns_with(&CancelToken::new())
    }

    /// [`trim_open_conns`](Self::trim_open_conns) that stops between two claims once `cancel` is cancelled. What it had claimed
    /// by then is closed, and reported. A call that joins a running trim does not cancel that one; a call that waited for one which somebody else
    /// cancelled runs its own. See [`CancelToken`] for an example.
    ///
    /// # Panics
    ///
    /// As [`trim_open_conns`](Self::trim_open_conns).
    ///
    /// # Progress
    ///
    /// As [`trim_open_conns`](Self::trim_open_conns).
    ///
    /// # Consistency
    ///
    /// As [`trim_open_conns`](Self::trim_open_conns).
    pub fn trim_open_conns_with(&self, cancel: &CancelToken) -> TrimReport<P> {
        self.inner.trim(TrimTrigger::Explicit, cancel)
    }

    /// Closes connections down to the low watermark in an emergency: without regard to grace and silence, unprotected peers
    /// first and protected ones (those protected meanwhile included) only if that is not enough; in the order of
    /// [`ByValue`](crate::ByValue), but for more streams first. Peers raised meanwhile above the cut-off go last of the unprotected
    /// ones, in the order they had; who was unprotected meanwhile goes in its turn among the protected ones.
    ///
    /// It waits for a running trim and then runs its own. Otherwise as [`trim_open_conns`](Self::trim_open_conns).
    ///
    /// # Examples
    ///
    /// ```
    /// # use connmgr::{BasicConnManager, testing::Loopback};
    /// let manager = BasicConnManager::<&str, Loopback>::builder().low_water(1).high_water(2).background(false).build()?;
    /// for (id, peer) in ["alice", "bob", "carol"].into_iter().enumerate() {
    ///     manager.connected(&peer, Loopback::inbound(id as u64));
    /// }
    /// manager.protect(&"alice", "friend");
    /// manager.protect(&"bob", "friend");
    /// assert_eq!(manager.trim_open_conns().closed_connections, 0, "protected, or in grace");
    /// let report = manager.force_trim();
    /// let closed: Vec<_> = report.closed.iter().map(|closed| closed.protected).collect();
    /// assert_eq!(closed, [false, true], "carol first, then one of the protected");
    /// # Ok::<(), connmgr::ConfigError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the `on_trim` callback does.
    ///
    /// # Progress
    ///
    /// Blocking among trims; no other call waits for it, and it for none.
    ///
    /// # Consistency
    ///
    /// As [`trim_open_conns`](Self::trim_open_conns). This alone may close a protected peer; the report marks each.
    #[doc(alias = "ForceTrim")]
    pub fn force_trim(&self) -> TrimReport<P> {
        self.inner.trim(TrimTrigger::Emergency, &CancelToken::new())
    }

    /// What [`trim_open_conns`](Self::trim_open_conns) would do now: the same code, without the claims.
    ///
    /// # Panics
    ///
    /// If the policy does.
    ///
    /// # Progress
    ///
    /// Waits for nobody.
    ///
    /// # Consistency
    ///
    /// Decides from one snapshot.
    pub fn plan_trim(&self) -> TrimPlan<P> {
        self.inner.plan()
    }
}
