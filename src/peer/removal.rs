//! What a trim does to a peer: claim its connections, or drop what has outlived its time without one.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use smallvec::SmallVec;

use super::{Conn, ConnEntry, Identified, Links, Peer, PeerTable, Tie};
use crate::index::Node;
use crate::reclaim::Guard;
use crate::sync::{MODEL, Ordering, mutant, prefetch_ahead};
use crate::versioned::{LinkEdit, Refused, State, TagEdit, Tags};

/// What must hold, at the claim, of a peer that a trim chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimTerms {
    /// The value must not be above this.
    pub(crate) cutoff: i64,
    /// First seen at this time or before.
    pub(crate) seen_by: u64,
    /// Of its connections, only those opened at this time or before are taken. (A connection's time never changes.)
    pub(crate) opened_by: u64,
    /// A protected peer may be claimed: an emergency, second pass.
    pub(crate) protected_too: bool,
}

/// Which peers without connections have outlived their time; `None` where no time is long enough ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExpiryTerms {
    /// Temporary records first seen at this time or before.
    pub(crate) seen_by: Option<u64>,
    /// Peers that left at this time or before.
    pub(crate) left_by: Option<u64>,
}

/// What became of a claim.
#[derive(Debug)]
pub(crate) enum Claim<C: Send + Sync + 'static> {
    /// These connections are the claimer's to close.
    Closed { conns: SmallVec<[Conn<ConnEntry<C>>; 1]>, value: i64, protected: bool },
    /// None of the chosen connections is still held and open.
    Gone,
    /// The peer has been protected since.
    Protected,
    /// Its value has been raised above the cut-off since.
    Raised { protected: bool },
    /// It was first seen too recently, now.
    InGrace,
}

impl<K, C, S> PeerTable<K, C, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    /// Claims those connections of `chosen` that `node` still holds, if the terms still hold; `worth` is the value that tags make.
    ///
    /// Linearizes, when it closes, at the replacement of the state: between the re-check and that, nothing about the peer
    /// changed, values included, as the cells were frozen before they were summed. Refusals linearize at the load of the state.
    pub(crate) fn claim(
        &self,
        node: &Node<Peer<K, C>>,
        chosen: Links<'_, C>,
        terms: ClaimTerms,
        worth: &dyn Fn(&Tags) -> i64,
        guard: &Guard,
    ) -> Claim<C> {
        let value = Cell::new(0);
        let fit = |tags: &Tags| {
            value.set(worth(tags));
            value.get() <= terms.cutoff
        };
        let now_worth = |state: &State<Tie<C>>| worth(&state.tags().collect::<SmallVec<[_; 4]>>());
        loop {
            let state = node.state.load(guard);
            let look = state.look();
            let Some(links) = Links::of(look) else { return Claim::Gone };
            // Mostly nothing has changed since the snapshot: then it is not looked for one by one.
            let unchanged = links.is(chosen);
            let taken = |conn: &Conn<&ConnEntry<C>>| {
                (!conn.is_closing() || mutant!("closing-claimed-again"))
                    && conn.opened() <= terms.opened_by
                    && (unchanged || chosen.open().any(|open| open.is(conn)))
            };
            let conns: SmallVec<[_; 1]> = links.conns_in_order().filter(taken).map(Conn::keep).collect();
            if conns.is_empty() {
                return Claim::Gone;
            }
            let protected = links.is_protected();
            if protected && !terms.protected_too && !mutant!("claim-without-protection-check") {
                return Claim::Protected;
            }
            if links.first_seen() > terms.seen_by && !mutant!("claim-without-grace-check") {
                return Claim::InGrace;
            }
            // A first look, which freezes nothing; the sum that counts is taken of frozen cells.
            if now_worth(state) > terms.cutoff && !mutant!("claim-without-value-check") {
                return Claim::Raised { protected };
            }
            let edit = links.with_closing(taken);
            match node.state.edit(look, TagEdit::KeepIf(&fit), edit, &self.epoch, node, guard) {
                Ok(()) => {
                    self.counts.0.closing.fetch_add(conns.len(), Ordering::Relaxed);
                    return Claim::Closed { conns, value: value.get(), protected };
                }
                Err(Refused::Unfit) => return Claim::Raised { protected },
                Err(Refused::Raced) => {}
            }
        }
    }

    /// Has the present state of a record on its way, which is soon to be claimed. (In models nothing is read ahead.)
    pub(crate) fn prefetch_state(&self, node: &Node<Peer<K, C>>, guard: &Guard) {
        if !MODEL {
            prefetch_ahead(node.state.load(guard));
        }
    }

    /// The same of its links, once its state is there.
    pub(crate) fn prefetch_links(&self, node: &Node<Peer<K, C>>, guard: &Guard) {
        if !MODEL && let Some(links) = Links::of(node.state.load(guard).look()) {
            links.prefetch();
        }
    }

    /// The same of its first connection, once its links are there.
    pub(crate) fn prefetch_conn(&self, node: &Node<Peer<K, C>>, guard: &Guard) {
        if !MODEL && let Some(links) = Links::of(node.state.load(guard).look()) {
            links.prefetch_conn();
        }
    }

    /// Takes the tags from `node` if it has no connection and has outlived its time by `terms`, and removes it unless it is
    /// protected. Returns whether it did. A protected temporary record keeps its tags.
    ///
    /// Linearizes at the replacement of the state: a peer that returns meanwhile makes that fail, and is looked at again.
    pub(crate) fn expire(&self, node: &Node<Peer<K, C>>, terms: ExpiryTerms, guard: &Guard) -> bool {
        loop {
            let state = node.state.load(guard);
            let look = state.look();
            let Some(links) = Links::of(look) else { return false };
            let left = links.has_left();
            let by = if left { terms.left_by } else { terms.seen_by };
            let due = by.is_some_and(|by| links.first_seen() <= by);
            let away = links.is_away(state) || mutant!("expiry-without-connection-check");
            if !away || !due || (links.is_protected() && !left) {
                return false;
            }
            let edit = if links.is_protected() {
                LinkEdit::Become(links.seen_first_at(links.first_seen()))
            } else {
                LinkEdit::Die(node.state.next_death())
            };
            if self.edit(node, look, TagEdit::Clear, edit, guard) {
                return true;
            }
        }
    }
}
