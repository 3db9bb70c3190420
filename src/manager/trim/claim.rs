//! Taking those who were chosen, one atomic step each.

use std::collections::VecDeque;
use std::hash::Hash;

use super::choose::{Basis, TableCut};
use super::{CancelToken, Inner, ToClose};
use crate::connection::{Connection, Direction};
use crate::peer::Claim;
use crate::policy::Ranked;
use crate::report::{ClosedPeer, SpareReason, SparedPeer, TrimOutcome, TrimReport};
use crate::versioned::Tags;

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
        let mut choice = self.choose(cut, basis, |_| ());
        report.candidates = choice.census.candidates;
        report.target = choice.target;
        report.allowed = basis.allowed;
        if let Some(rate) = basis.settings.close_rate {
            self.bucket.fill(rate, basis.appraiser.now);
        }
        // After the policy, which may have taken its time.
        let claims_at = self.time.now();
        let mut claimed = ToClose::new(report.trigger);
        let mut chosen = std::mem::take(&mut choice.chosen).into_iter();
        // Protected since the snapshot: in an emergency they take their turn with the other protected ones, at the end.
        let mut protected_since = VecDeque::new();
        let mut done = 0;
        report.outcome = if choice.target == 0 { choice.outcome } else { TrimOutcome::Reached };
        while done < choice.target {
            if cancel.is_cancelled() {
                report.outcome = TrimOutcome::Cancelled;
                break;
            }
            if basis.allowed.is_some_and(|allowed| report.closed_connections >= allowed) {
                report.outcome = TrimOutcome::RateLimited;
                break;
            }
            let next = chosen.next().or_else(|| choice.order.next()).or_else(|| protected_since.pop_front());
            let Some(next) = next else {
                report.outcome = TrimOutcome::Short;
                break;
            };
            let peer = &choice.peers[next.index];
            // Cloned before the claim, as it may panic: what is claimed is closed, whatever happens.
            let id = peer.at.node.key().clone();
            let cutoff = choice.cutoff.max(Some(peer.value)).unwrap_or(peer.value);
            choice.cutoff = Some(cutoff);
            let worths = self.reappraiser(basis.appraiser.now);
            let worth = |tags: &Tags| worths.worth(tags);
            let terms = basis.claim_terms(claims_at, cutoff, emergency && next.protected);
            let claim = |terms| self.table.claim(peer.at.node, peer.at.links, terms, &worth, cut.guard());
            let reason = match terms.map_or(Claim::InGrace, claim) {
                Claim::Closed { conns, value, protected } => {
                    let (connections, reason) = (conns.len(), claimed.reason);
                    let inbound = conns.iter().filter(|entry| entry.direction == Direction::Inbound).count();
                    claimed.entries.extend(conns.into_iter().map(|entry| (entry, value)));
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
