//! A trim: gather candidates from a snapshot, choose, claim, then close with nothing held.

mod calls;
mod choose;
mod claim;
mod explain;
mod keys;
mod order;

use std::collections::VecDeque;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Inner;
use super::gate::{Lead, Meanwhile, Turn};
use super::settings::Settings;
use crate::connection::{CloseReason, Connection, Entry};
use crate::peer::{ConnEntry, ExpiryTerms, Identified, Tagged, may_decay, tagged};
use crate::report::{PlannedPeer, TrimOutcome, TrimPlan, TrimReport, TrimTrigger};
use crate::snapshot::{Cut, PeerAt};
use crate::sync::prefetch_ahead;

use choose::{Basis, Facts, TableCut};

/// Cancels a trim between two claims. Clones are the same token.
///
/// # Examples
///
/// ```
/// use connmgr::{BasicConnManager, CancelToken, TrimOutcome, testing::Loopback};
/// use std::time::Duration;
///
/// let manager = BasicConnManager::<u64, Loopback>::builder()
///     .low_water(1).high_water(2).grace_period(Duration::ZERO).background(false)
///     .build()?;
/// (0..3).for_each(|peer| manager.connected(&peer, Loopback::inbound(peer)));
/// let shutting_down = CancelToken::new();
/// shutting_down.cancel();
/// let report = manager.trim_open_conns_with(&shutting_down);
/// assert_eq!((report.outcome, report.closed_connections), (TrimOutcome::Cancelled, 0));
/// # Ok::<(), connmgr::ConfigError>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that has not been cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every trim that was given this token, now or later.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it has been cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// What the background thread does when it is due.
    pub(super) fn check(&self) {
        let settings = self.settings.load_full();
        let open = self.table.connections().saturating_sub(self.table.closing());
        let (low, high) = (settings.low_water, settings.high_water);
        let trigger = match open {
            _ if !settings.enabled() => None,
            open if open >= high || (open > low && self.owed.load(Ordering::Relaxed)) => {
                Some(TrimTrigger::Background)
            }
            open if open > low && settings.steady.is_some() => Some(TrimTrigger::Steady),
            _ => None,
        };
        let Some(trigger) = trigger else {
            let cut = Cut::take_settled(&self.table);
            self.expire_all(&cut, &self.basis(&settings, TrimTrigger::Background));
            return;
        };
        // A trim that is running on another thread is left to it.
        if let Turn::Ours(lead) = self.gate.enter(Meanwhile::Leave) {
            let _ = self.run(lead, &settings, trigger, &CancelToken::new());
        }
    }

    /// Trims, or joins the trim that is running.
    pub(super) fn trim(&self, trigger: TrimTrigger, cancel: &CancelToken) -> TrimReport<P> {
        let meanwhile = if trigger == TrimTrigger::Explicit { Meanwhile::Join } else { Meanwhile::Wait };
        self.trim_or(trigger, meanwhile, cancel)
    }

    /// Trims, or does what it is told to while another thread trims.
    pub(super) fn trim_or(
        &self,
        trigger: TrimTrigger,
        meanwhile: Meanwhile,
        cancel: &CancelToken,
    ) -> TrimReport<P> {
        loop {
            return match self.gate.enter(meanwhile) {
                Turn::Ours(lead) => self.run(lead, &self.settings.load_full(), trigger, cancel),
                // That one was to close a few, or was cancelled by somebody else, and this is to go down to the low watermark.
                Turn::Theirs(report)
                    if report.trigger == TrimTrigger::Steady || report.outcome == TrimOutcome::Cancelled =>
                {
                    continue;
                }
                Turn::Theirs(report) => TrimReport { joined: true, ..TrimReport::clone(&report) },
                Turn::Reentrant => TrimReport::new(trigger, TrimOutcome::Reentrant),
                Turn::Busy => TrimReport::new(trigger, TrimOutcome::Busy),
            };
        }
    }

    /// Trims, having the turn to.
    fn run(
        &self,
        lead: Lead<'_, P>,
        settings: &Arc<Settings>,
        trigger: TrimTrigger,
        cancel: &CancelToken,
    ) -> TrimReport<P> {
        let began = self.time.now();
        let mut report = TrimReport::new(trigger, TrimOutcome::Disabled);
        let claimed = {
            let cut = Cut::take_settled(&self.table);
            let basis = self.basis(settings, trigger);
            if settings.enabled() {
                self.claim(&cut, &basis, &mut report, cancel)
            } else {
                report.expired = self.expire_all(&cut, &basis);
                ToClose::new(trigger)
            }
        };
        self.owe(&report, settings);
        report.callback_panics = claimed.close();
        self.time.trimmed();
        report.elapsed = Duration::from_nanos(self.time.now().saturating_sub(began));
        tracing::debug!(
            target: "connmgr",
            trigger = ?report.trigger,
            outcome = ?report.outcome,
            closed = report.closed_connections,
            wanted = report.target,
            spared = report.spared.len(),
            cutoff = report.cutoff,
            elapsed = ?report.elapsed,
            "trim"
        );
        let report = Arc::new(report);
        self.observers.tell(&report);
        if let Some(heard) = &self.on_trim {
            heard(&report);
        }
        lead.finish(&report);
        Arc::unwrap_or_clone(report)
    }

    /// Keeps in mind whether the next check has to go on where this trim was cut short. (A steady one goes on anyway.)
    fn owe(&self, report: &TrimReport<P>, settings: &Arc<Settings>) {
        match report.outcome {
            _ if report.trigger == TrimTrigger::Steady => {}
            TrimOutcome::RateLimited => self.owed.store(true, Ordering::Relaxed),
            TrimOutcome::Cancelled => {}
            // What its own policy lowered since it began it did not go by.
            _ if !Arc::ptr_eq(settings, &self.settings.load()) => {}
            _ => self.owed.store(false, Ordering::Relaxed),
        }
    }

    /// What a trim would do.
    pub(super) fn plan(&self) -> TrimPlan<P> {
        let mut plan = TrimPlan {
            outcome: TrimOutcome::Disabled,
            victims: Vec::new(),
            candidates: 0,
            target: 0,
            allowed: None,
            cutoff: None,
        };
        let settings = self.settings.load_full();
        if !settings.enabled() {
            return plan;
        }
        let cut = Cut::take(&self.table);
        let basis = self.basis(&settings, TrimTrigger::Explicit);
        let mut choice = self.choose(&cut, &basis, |_, _| ());
        plan.candidates = choice.census.candidates;
        plan.target = choice.target;
        plan.allowed = basis.allowed;
        plan.victims.reserve_exact(choice.expected());
        while let Some(Facts { node, value, connections, .. }) = choice.next_chosen() {
            plan.victims.push(PlannedPeer { peer: node.key().clone(), value, connections });
            // Not before the first: nothing is in order until that is asked for.
            if choice.order.begins_batch() {
                choice.order.coming(2).for_each(|peer| prefetch_ahead(peer.node.key()));
            }
        }
        plan.victims.shrink_to_fit();
        plan.cutoff = choice.cutoff;
        plan.outcome = choice.outcome();
        plan
    }

    /// [Expires](Self::expire) every peer. Returns how many went.
    fn expire_all(&self, cut: &TableCut<'_, P, C>, basis: &Basis<'_>) -> usize {
        let terms = basis.expiry();
        cut.iter().filter(|&at| self.expire(at, cut, basis, terms)).count()
    }

    /// Drops a temporary record whose grace is over, the tags of a peer that left too long ago, and values that have decayed away. Returns
    /// whether the peer was one of the first two.
    fn expire(
        &self,
        at: PeerAt<'_, P, Entry<C>>,
        cut: &TableCut<'_, P, C>,
        basis: &Basis<'_>,
        terms: ExpiryTerms,
    ) -> bool {
        if at.links.is_away(at.state) && self.table.expire(at.node, terms, cut.guard()) {
            return true;
        }
        if !may_decay(at.state) {
            return false;
        }
        for tag in tagged(at.state.tags()) {
            let Tagged::Decaying(id, _) = tag else { continue };
            let gone = |stored| basis.appraiser.value(id, &stored).is_none();
            self.table.drop_decaying_if(at.node, id, gone, cut.guard());
        }
        false
    }
}

fn reason(trigger: TrimTrigger) -> CloseReason {
    if trigger == TrimTrigger::Emergency { CloseReason::Emergency } else { CloseReason::Trim }
}

/// How many connections lie between the one that is closed and the one that is fetched.
const AHEAD: usize = 16;

/// What was claimed and is to be closed, in order, come what may: also when the trim unwinds.
struct ToClose<C: Connection> {
    /// Each with its peer's value at the claim.
    entries: VecDeque<(ConnEntry<Entry<C>>, i64)>,
    reason: CloseReason,
}

impl<C: Connection> ToClose<C> {
    fn new(trigger: TrimTrigger) -> Self {
        Self { entries: VecDeque::new(), reason: reason(trigger) }
    }

    /// Closes it, with nothing held. Returns how many callbacks panicked.
    fn close(mut self) -> usize {
        self.close_rest()
    }

    fn close_rest(&mut self) -> usize {
        let mut panics = 0;
        while let Some((entry, value)) = self.entries.pop_front() {
            // Claimed a while ago, so it has gone cold.
            if let Some((coming, _)) = self.entries.get(AHEAD) {
                prefetch_ahead(Arc::as_ptr(coming));
            }
            // One connection that fails to close must not keep the others open.
            if panics_caught(|| entry.conn.close_at(self.reason, value)) {
                panics += 1;
                tracing::error!(target: "connmgr", id = ?entry.id(), "a close callback panicked");
            }
        }
        panics
    }
}

impl<C: Connection> Drop for ToClose<C> {
    fn drop(&mut self) {
        self.close_rest();
    }
}

/// Runs `callback` and returns whether it panicked. What it panicked with is forgotten: its destructor might panic, too.
pub(crate) fn panics_caught(callback: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(callback)).map_err(std::mem::forget).is_err()
}
