//! Taking those who were chosen, one atomic step each.

use std::collections::VecDeque;
use std::hash::Hash;

use super::choose::{Basis, Facts, TableCut};
use super::keys::Place;
use super::order::Order;
use super::{CancelToken, Inner, ToClose};
use crate::connection::Connection;
use crate::peer::Claim;
use crate::report::{ClosedPeer, SpareReason, SparedPeer, TrimOutcome, TrimReport};
use crate::versioned::Tags;

/// Who is claimed next: those who were chosen, then the others in their order.
///
/// An emergency comes back to whom it spared, whatever they are worth by then: to those raised since the snapshot before any protected one, and
/// to those protected since at the end.
struct Turns {
    /// A protected one that lets the raised ones go first.
    held: Option<Place>,
    /// The raised ones, and the protected ones.
    put_off: [VecDeque<(Place, SpareReason)>; 2],
}

impl Turns {
    fn new() -> Self {
        Self { held: None, put_off: [VecDeque::new(), VecDeque::new()] }
    }

    /// The next one, and whether it was put off before.
    fn next<P: Send + Sync + 'static, C: Connection>(
        &mut self,
        order: &mut Order<Facts<'_, P, C>>,
    ) -> Option<(Place, bool)> {
        let next = self.held.take().or_else(|| order.next());
        let [raised, protected] = &mut self.put_off;
        if let Some(next) = next.filter(|next| !next.is_protected() || raised.is_empty()) {
            return Some((next, false));
        }
        self.held = next;
        raised.pop_front().or_else(|| protected.pop_front()).map(|(again, _)| (again, true))
    }

    /// What protects a peer now counts, not what did when it was chosen.
    fn put_off(&mut self, spared: Place, reason: SpareReason, protected: bool) {
        self.put_off[usize::from(protected)].push_back((spared.protected(protected), reason));
    }
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// Claims those who were chosen, and for each that is spared the next, until the target is met.
    pub(super) fn claim(
        &self,
        cut: &TableCut<'_, P, C>,
        basis: &Basis<'_>,
        report: &mut TrimReport<P>,
        cancel: &CancelToken,
    ) -> ToClose<C> {
        let emergency = basis.emergency();
        let expiry = basis.expiry();
        let mut choice = self.choose(cut, basis, |at, _| {
            report.expired += usize::from(self.expire(at, cut, basis, expiry));
        });
        let chosen = choice.choose_all();
        report.candidates = choice.census.candidates;
        report.target = choice.target;
        report.allowed = basis.allowed;
        if let Some(rate) = basis.settings.close_rate {
            self.bucket.fill(rate, basis.appraiser.now);
        }
        // After the policy, which may have taken its time.
        let claims_at = self.time.now();
        let mut claimed = ToClose::new(report.trigger);
        claimed.entries.reserve(chosen);
        report.closed.reserve(chosen);
        let mut turns = Turns::new();
        let mut done = 0;
        report.outcome = if choice.target == 0 { choice.outcome() } else { TrimOutcome::Reached };
        while done < choice.target {
            if cancel.is_cancelled() {
                report.outcome = TrimOutcome::Cancelled;
                break;
            }
            if basis.allowed.is_some_and(|allowed| report.closed_connections >= allowed) {
                report.outcome = TrimOutcome::RateLimited;
                break;
            }
            // A claim is a chain of misses, as is a step of the walk; its victims come in no order of memory.
            // (Not again while one of them waits for those who were put off.)
            if turns.held.is_none() && choice.order.begins_batch() {
                choice.order.coming(4).for_each(|peer| peer.node.prefetch());
                choice.order.coming(3).for_each(|peer| self.table.prefetch_state(peer.node, cut.guard()));
                choice.order.coming(2).for_each(|peer| self.table.prefetch_links(peer.node, cut.guard()));
                choice.order.coming(1).for_each(|peer| self.table.prefetch_conn(peer.node, cut.guard()));
            }
            let Some((next, again)) = turns.next(&mut choice.order) else {
                report.outcome = TrimOutcome::Short;
                break;
            };
            let peer = *choice.order.at(next);
            // Cloned before the claim, as it may panic: what is claimed is closed, whatever happens.
            let id = peer.node.key().clone();
            let cutoff = choice.cutoff.map_or(peer.value, |cutoff| cutoff.max(peer.value));
            choice.cutoff = Some(cutoff);
            let cutoff = if again { i64::MAX } else { cutoff };
            let worths = self.reappraiser(basis.appraiser.now);
            let worth = |tags: &Tags| worths.worth(tags);
            let terms = basis.claim_terms(claims_at, cutoff, emergency && next.is_protected());
            let claim = |terms| self.table.claim(peer.node, peer.links, terms, &worth, cut.guard());
            let (reason, protected) = match terms.map_or(Claim::InGrace, claim) {
                Claim::Closed { conns, value, protected } => {
                    let (connections, reason) = (conns.len(), claimed.reason);
                    let inbound = conns.iter().filter(|conn| conn.is_inbound()).count();
                    claimed.entries.extend(conns.into_iter().map(|conn| (conn.entry, value)));
                    choice.cutoff = choice.cutoff.max(Some(value));
                    if basis.allowed.is_some() {
                        self.bucket.take(connections);
                    }
                    done += peer.connections;
                    report.gone += peer.connections - connections;
                    report.closed_connections += connections;
                    let peer = id;
                    report.closed.push(ClosedPeer { peer, value, connections, inbound, reason, protected });
                    continue;
                }
                Claim::Gone => {
                    done += peer.connections;
                    report.gone += peer.connections;
                    continue;
                }
                Claim::Protected => (SpareReason::Protected, true),
                Claim::Raised { protected } => (SpareReason::ValueRaised, protected),
                Claim::InGrace => (SpareReason::InGrace, false),
            };
            if emergency {
                turns.put_off(next, reason, protected);
                continue;
            }
            report.spared.push(SparedPeer { peer: id, value: peer.value, reason });
        }
        report.spared.extend(turns.put_off.iter().flatten().map(|(ranked, reason)| {
            let peer = choice.order.at(*ranked);
            SparedPeer { peer: peer.node.key().clone(), value: peer.value, reason: *reason }
        }));
        report.closed.shrink_to_fit();
        report.cutoff = choice.cutoff;
        let held = turns.held.map(|held| choice.order.at(held));
        report.lowest_kept = held.into_iter().chain(choice.order.left()).map(|kept| kept.value).min();
        claimed
    }
}
