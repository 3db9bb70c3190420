//! What a trim does to a peer: claim its connections, or drop a temporary record that has outlived its grace.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Identified, Links, Peer, PeerTable};
use crate::index::Node;
use crate::reclaim::Guard;
use crate::sync::{Ordering, mutant};
use crate::versioned::{LinkEdit, Refused, TagEdit};

/// What must hold, at the claim, of a peer that a trim chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimTerms {
    /// The value must not be above this.
    pub(crate) cutoff: i64,
    /// First seen at this time or before.
    pub(crate) seen_by: u64,
    /// A protected peer may be claimed: an emergency, second pass.
    pub(crate) protected_too: bool,
}

/// What became of a claim.
#[derive(Debug)]
pub(crate) enum Claim<C> {
    /// These connections are the claimer's to close.
    Closed { conns: SmallVec<[Arc<C>; 1]>, value: i64, protected: bool },
    /// None of the chosen connections is still held and open.
    Gone,
    /// The peer has been protected since.
    Protected,
    /// Its value has been raised above the cut-off since.
    Raised,
    /// It was first seen too recently, now.
    InGrace,
}

impl<K, C, S> PeerTable<K, C, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    /// Claims those connections of `chosen` that `node` still holds, if the terms still hold.
    ///
    /// Linearizes, when it closes, at the replacement of the state: between the re-check and that, nothing about the peer
    /// changed, values included, as the cells were frozen before they were summed. Refusals linearize at the load of the state.
    pub(crate) fn claim(
        &self,
        node: &Node<Peer<K, C>>,
        chosen: &Links<C>,
        terms: ClaimTerms,
        guard: &Guard,
    ) -> Claim<C> {
        let most = terms.cutoff;
        loop {
            let state = node.state.load(guard);
            let Some(links) = state.links() else { return Claim::Gone };
            let taken = |conn: &super::Conn<C>| {
                (!conn.is_closing() || mutant!("closing-claimed-again"))
                    && chosen.open().any(|open| Arc::ptr_eq(&open.entry, &conn.entry))
            };
            let conns: SmallVec<[Arc<C>; 1]> =
                links.conns.iter().filter(|conn| taken(conn)).map(|conn| Arc::clone(&conn.entry)).collect();
            if conns.is_empty() {
                return Claim::Gone;
            }
            let protected = links.is_protected();
            if protected && !terms.protected_too && !mutant!("claim-without-protection-check") {
                return Claim::Protected;
            }
            if links.first_seen > terms.seen_by && !mutant!("claim-without-grace-check") {
                return Claim::InGrace;
            }
            // A first look, which freezes nothing; the sum that counts is taken of frozen cells.
            if state.total() > most && !mutant!("claim-without-value-check") {
                return Claim::Raised;
            }
            let edit = LinkEdit::Become(links.with_closing(taken));
            match node.state.replace(state, TagEdit::KeepUpTo(most), edit, &self.epoch, node, guard) {
                Ok(()) => {
                    self.counts.0.closing.fetch_add(conns.len(), Ordering::Relaxed);
                    // The old state is frozen, and this guard keeps it.
                    return Claim::Closed { conns, value: state.total(), protected };
                }
                Err(Refused::Above) => return Claim::Raised,
                Err(Refused::Raced) => {}
            }
        }
    }

    /// Removes `node` if it is temporary, unprotected and was first seen at `seen_by` or before. Returns whether it did.
    pub(crate) fn expire(&self, node: &Node<Peer<K, C>>, seen_by: u64, guard: &Guard) -> bool {
        loop {
            let state = node.state.load(guard);
            let Some(links) = state.links() else { return false };
            let temporary = links.is_temporary(state) || mutant!("expiry-without-connection-check");
            if !temporary || links.is_protected() || links.first_seen > seen_by {
                return false;
            }
            if self.replace(node, state, TagEdit::Clear, LinkEdit::Die(node.state.next_death()), guard) {
                return true;
            }
        }
    }
}
