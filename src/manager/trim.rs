//! A trim: gather candidates from a snapshot, choose, claim, then close with nothing held.

use std::collections::VecDeque;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ahash::RandomState;

use super::Inner;
use super::gate::{Meanwhile, Turn};
use crate::connection::{CloseReason, Connection, Direction, Entry};
use crate::peer::{Claim, ClaimTerms, Identified};
use crate::policy::{Candidate, Census, InEmergency, Order, Ranked, TrimPolicy};
use crate::report::{
    ClosedPeer, PlannedPeer, SpareReason, SparedPeer, TrimOutcome, TrimPlan, TrimReport, TrimTrigger,
};
use crate::snapshot::{Cut, PeerAt};

/// Cancels a trim between two claims. Clones are the same token.
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

type TableCut<'t, P, C> = Cut<'t, P, Entry<C>, RandomState>;

/// A peer that may be chosen.
struct Facts<'c, P, C: Connection> {
    at: PeerAt<'c, P, Entry<C>>,
    value: i64,
    connections: usize,
}

/// What was decided from a snapshot.
struct Choice<'c, P, C: Connection> {
    peers: Vec<Facts<'c, P, C>>,
    order: Order,
    /// The first to go: together they hold as many connections as are to be closed, or they are all there are.
    chosen: Vec<Ranked>,
    census: Census,
    target: usize,
    cutoff: Option<i64>,
    /// Set where nothing is to be closed.
    nothing: Option<TrimOutcome>,
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// What the background thread does when it is due.
    pub(super) fn check(&self) {
        let open = self.table.connections().saturating_sub(self.table.closing());
        if self.limits.enabled() && open >= self.limits.high {
            let _ = self.trim(TrimTrigger::Background, &CancelToken::new());
        } else {
            self.expire(&Cut::take(&self.table));
        }
    }

    /// Trims, or joins the trim that is running.
    pub(super) fn trim(&self, trigger: TrimTrigger, cancel: &CancelToken) -> TrimReport<P> {
        let meanwhile = match trigger {
            TrimTrigger::Explicit => Meanwhile::Join,
            TrimTrigger::Emergency => Meanwhile::Wait,
            TrimTrigger::Background => Meanwhile::Leave,
        };
        let lead = match self.gate.enter(meanwhile) {
            Turn::Ours(lead) => lead,
            Turn::Theirs(report) => return TrimReport { joined: true, ..TrimReport::clone(&report) },
            Turn::Reentrant => return TrimReport::new(trigger, TrimOutcome::Reentrant),
            Turn::Busy => return TrimReport::new(trigger, TrimOutcome::Busy),
        };
        let began = self.limits.now();
        let mut report = TrimReport::new(trigger, TrimOutcome::Disabled);
        let claimed = {
            let cut = Cut::take(&self.table);
            report.expired = self.expire(&cut);
            if self.limits.enabled() { self.claim(&cut, &mut report, cancel) } else { ToClose::new(trigger) }
        };
        report.callback_panics = claimed.close();
        self.limits.trimmed();
        report.elapsed = Duration::from_nanos(self.limits.now().saturating_sub(began));
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

    /// What a trim would do.
    pub(super) fn plan(&self) -> TrimPlan<P> {
        let mut plan = TrimPlan {
            outcome: TrimOutcome::Disabled,
            victims: Vec::new(),
            candidates: 0,
            target: 0,
            cutoff: None,
        };
        if !self.limits.enabled() {
            return plan;
        }
        let cut = Cut::take(&self.table);
        let choice = self.choose(&cut, TrimTrigger::Explicit);
        plan.candidates = choice.census.candidates;
        plan.target = choice.target;
        plan.cutoff = choice.cutoff;
        plan.victims = choice
            .chosen
            .iter()
            .map(|ranked| {
                let peer = &choice.peers[ranked.index];
                PlannedPeer {
                    peer: peer.at.node.key().clone(),
                    value: peer.value,
                    connections: peer.connections,
                }
            })
            .collect();
        let connections: usize = plan.victims.iter().map(|victim| victim.connections).sum();
        let enough = if connections >= choice.target { TrimOutcome::Reached } else { TrimOutcome::Short };
        plan.outcome = choice.nothing.unwrap_or(enough);
        plan
    }

    /// Drops temporary records whose grace is over.
    fn expire(&self, cut: &TableCut<'_, P, C>) -> usize {
        let Some(seen_by) = self.limits.past_grace() else { return 0 };
        cut.iter()
            .filter(|at| at.links.is_temporary(at.state))
            .filter(|at| self.table.expire(at.node, seen_by, cut.guard()))
            .count()
    }

    /// Decides from `cut` whom to close.
    fn choose<'c>(&self, cut: &'c TableCut<'_, P, C>, trigger: TrimTrigger) -> Choice<'c, P, C> {
        let emergency = trigger == TrimTrigger::Emergency;
        let policy: &dyn TrimPolicy = if emergency { &InEmergency } else { &*self.limits.policy };
        let past_grace = self.limits.past_grace();
        let (mut open, mut candidates) = (0, 0);
        let (mut peers, mut entries) = (Vec::new(), Vec::new());
        for at in cut.iter() {
            let connections = at.links.open().count();
            open += connections;
            let protected = at.links.is_protected();
            let in_grace = past_grace.is_none_or(|seen_by| at.links.first_seen > seen_by);
            if connections == 0 || (!emergency && (protected || in_grace)) {
                continue;
            }
            candidates += connections;
            let candidate = candidate(&at, connections, protected);
            let index = peers.len();
            entries.push(Ranked { protected, rank: policy.rank(&candidate), tie: at.node.hash(), index });
            peers.push(Facts { at, value: candidate.value, connections });
        }
        let census = Census { low_water: self.limits.low, high_water: self.limits.high, open, candidates };
        let target = if open > self.limits.low { policy.target(&census) } else { 0 };
        let nothing = match target {
            0 if open <= self.limits.low => Some(TrimOutcome::NothingToDo),
            0 => Some(TrimOutcome::TooFewCandidates),
            _ => None,
        };
        let mut order = Order::new(entries, target.min(peers.len()));
        let (mut chosen, mut cutoff, mut connections) = (Vec::new(), None, 0);
        while connections < target {
            let Some(next) = order.next() else { break };
            connections += peers[next.index].connections;
            cutoff = cutoff.max(Some(peers[next.index].value));
            chosen.push(next);
        }
        Choice { peers, order, chosen, census, target, cutoff, nothing }
    }

    /// Claims those who were chosen, and for each that is spared the next, until the target is met.
    fn claim(
        &self,
        cut: &TableCut<'_, P, C>,
        report: &mut TrimReport<P>,
        cancel: &CancelToken,
    ) -> ToClose<C> {
        let emergency = report.trigger == TrimTrigger::Emergency;
        let mut choice = self.choose(cut, report.trigger);
        report.candidates = choice.census.candidates;
        report.target = choice.target;
        // In an emergency everybody has been seen early enough.
        let seen_by = if emergency { Some(u64::MAX) } else { self.limits.past_grace() };
        let mut claimed = ToClose::new(report.trigger);
        let mut chosen = std::mem::take(&mut choice.chosen).into_iter();
        // Protected since the snapshot: in an emergency they take their turn with the other protected ones, at the end.
        let mut protected_since = VecDeque::new();
        let mut done = 0;
        report.outcome = choice.nothing.unwrap_or(TrimOutcome::Reached);
        while done < choice.target {
            if cancel.is_cancelled() {
                report.outcome = TrimOutcome::Cancelled;
                break;
            }
            let next = chosen.next().or_else(|| choice.order.next()).or_else(|| protected_since.pop_front());
            let (Some(next), Some(seen_by)) = (next, seen_by) else {
                report.outcome = TrimOutcome::Short;
                break;
            };
            let peer = &choice.peers[next.index];
            // Cloned before the claim, as it may panic: what is claimed is closed, whatever happens.
            let id = peer.at.node.key().clone();
            let cutoff = choice.cutoff.max(Some(peer.value)).unwrap_or(peer.value);
            choice.cutoff = Some(cutoff);
            let terms = ClaimTerms { cutoff, seen_by, protected_too: emergency && next.protected };
            let reason = match self.table.claim(peer.at.node, peer.at.links, terms, cut.guard()) {
                Claim::Closed { conns, value, protected } => {
                    let (connections, reason) = (conns.len(), claimed.reason);
                    let inbound = conns.iter().filter(|entry| entry.direction == Direction::Inbound).count();
                    claimed.entries.extend(conns.into_iter().map(|entry| (entry, value)));
                    done += peer.connections;
                    report.gone += peer.connections - connections;
                    report.closed_connections += connections;
                    report.closed.push(ClosedPeer {
                        peer: id,
                        value,
                        connections,
                        inbound,
                        reason,
                        protected,
                    });
                    continue;
                }
                Claim::Gone => {
                    done += peer.connections;
                    report.gone += peer.connections;
                    continue;
                }
                Claim::Protected if emergency => {
                    protected_since.push_back(Ranked { protected: true, ..next });
                    continue;
                }
                Claim::Protected => SpareReason::Protected,
                Claim::Raised => SpareReason::ValueRaised,
                Claim::InGrace => SpareReason::InGrace,
            };
            report.spared.push(SparedPeer { peer: id, value: peer.value, reason });
        }
        report.spared.extend(protected_since.into_iter().map(|ranked| {
            let peer = &choice.peers[ranked.index];
            let (id, value) = (peer.at.node.key().clone(), peer.value);
            SparedPeer { peer: id, value, reason: SpareReason::Protected }
        }));
        report.cutoff = choice.cutoff;
        let kept = chosen.as_slice().iter().chain(choice.order.left());
        report.lowest_kept = kept.map(|ranked| choice.peers[ranked.index].value).min();
        claimed
    }
}

fn reason(trigger: TrimTrigger) -> CloseReason {
    match trigger {
        TrimTrigger::Emergency => CloseReason::Emergency,
        TrimTrigger::Explicit | TrimTrigger::Background => CloseReason::Trim,
    }
}

/// What a policy is shown of a peer.
fn candidate<P, C: Connection>(
    at: &PeerAt<'_, P, Entry<C>>,
    connections: usize,
    protected: bool,
) -> Candidate {
    let mut streams = Some(0_usize);
    let mut inbound = false;
    for conn in at.links.open() {
        let more = conn.entry.conn.stream_count();
        streams = streams.zip(more).map(|(sum, more)| sum.saturating_add(more));
        inbound |= conn.entry.direction == Direction::Inbound;
    }
    Candidate { value: at.state.total(), connections, streams, inbound, protected }
}

/// What was claimed and is to be closed, in order, come what may: also when the trim unwinds.
struct ToClose<C: Connection> {
    /// Each with its peer's value at the claim.
    entries: VecDeque<(Arc<Entry<C>>, i64)>,
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
pub(super) fn panics_caught(callback: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(callback)).map_err(std::mem::forget).is_err()
}
