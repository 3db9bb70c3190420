//! P4: a trim never closes what it must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Link, SHIELD, Short, TAG, Table, explore, table, together};
use crate::peer::{Claim, ClaimTerms, ExpiryTerms, Identified, Links, Tagged, tagged};
use crate::snapshot::Cut;
use crate::versioned::{Tags, sum};

const TERMS: ClaimTerms = ClaimTerms { cutoff: 5, seen_by: 0, opened_by: u64::MAX, protected_too: false };

/// What tags are worth in the models: their sum, decaying values at their face.
fn worth(tags: &Tags) -> i64 {
    let value = |tag| match tag {
        Tagged::Plain(_, value) => value,
        Tagged::Decaying(_, stored) => stored.value,
    };
    sum(tagged(tags.iter().copied()).map(value))
}

/// One trim of peer 1: a snapshot and a claim. Returns which connections it closed.
fn trimmed(t: &Table) -> Vec<u8> {
    let cut = Cut::take(t);
    let Some(at) = cut.get(&1) else { return Vec::new() };
    match t.claim(at.node, at.links, TERMS, &worth, cut.guard()) {
        Claim::Closed { conns, value, .. } => {
            assert!(value <= TERMS.cutoff, "closed at {value}, above the cut-off");
            conns.iter().map(|conn| *conn.entry.id()).collect()
        }
        _ => Vec::new(),
    }
}

/// The same. Returns how many they are.
pub(super) fn trim(t: &Table) -> usize {
    trimmed(t).len()
}

/// What `step` does beside a trim on another thread. Returns how many connections that closed.
fn beside_a_trim(t: &Arc<Table>, step: impl FnOnce()) -> usize {
    let closed = Arc::new(AtomicUsize::new(0));
    let (other, count) = (Arc::clone(t), Arc::clone(&closed));
    together([Box::new(move || count.store(trim(&other), Ordering::Relaxed))], step);
    closed.load(Ordering::Relaxed)
}

/// Which connections of a peer are being closed, in the order they came in.
fn closing(links: Links<'_, Link>) -> Vec<u8> {
    links.conns_in_order().filter(|conn| conn.is_closing()).map(|conn| *conn.entry.id()).collect()
}

/// A claim against a protect. Fails if a claim succeeds after `protect` has returned "not closed", or if both report the same.
/// Two threads, bound 3.
#[test]
fn a_claim_and_a_protect_agree() {
    explore("a_claim_and_a_protect_agree", 3, 800, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let mut too_late = false;
        let closed = beside_a_trim(&t, || {
            too_late = t.protect(&1, SHIELD, || 0).closing;
            assert_eq!(trim(&t), 0, "once protect has returned, no claim succeeds");
        });
        assert_eq!(closed == 1, too_late, "exactly one of closed and spared is reported");
    });
}

/// Two trims of one peer at once. Fails if a connection is chosen twice.
/// Two threads, bound 3.
#[test]
fn two_claims_take_a_connection_once() {
    explore("two_claims_take_a_connection_once", 3, 500, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let mut one = 0;
        let other = beside_a_trim(&t, || one = trim(&t));
        assert_eq!(one + other, 1, "claimed by exactly one of the two");
        assert_eq!((t.connections(), t.closing()), (1, 1), "and counted once");
    });
}

/// A claim against an upsert that raises the value above the cut-off. Fails if the claim does not freeze and re-check.
/// Two threads, bound 3.
#[test]
fn a_claim_does_not_take_a_peer_raised_above_the_cutoff() {
    explore("a_claim_does_not_take_a_peer_raised_above_the_cutoff", 3, 800, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 1);
        let mut closing = 0;
        let closed = beside_a_trim(&t, || {
            t.add(1, TAG, 10);
            // Whether the other trim took it is decided by now.
            closing = t.read(&1, |_, links| self::closing(links).len()).expect("held");
            assert_eq!(trim(&t), 0, "nothing is closed once it is worth 11");
        });
        assert_eq!(closed, closing, "claimed before it was raised, or never");
    });
}

/// Two tags raised one after the other, against a claim. Fails if a sum is taken of values that never stood together.
/// Two threads, bound 3.
#[test]
fn a_claim_sums_values_that_stood_together() {
    explore("a_claim_sums_values_that_stood_together", 3, 200, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 9);
        t.add(1, super::OTHER, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                // Worth 10 or more at every instant.
                other.add(1, super::OTHER, 9);
                other.add(1, TAG, -9);
            })],
            || assert_eq!(trim(&t), 0, "at no instant was it worth 5 or less"),
        );
    });
}

/// A claim against the disconnect of the connection it wants. Fails if the counts drift or a connection that is gone is closed.
/// Two threads, bound 3.
#[test]
fn a_claim_and_a_disconnect_keep_the_counts() {
    explore("a_claim_and_a_disconnect_keep_the_counts", 3, 900, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(1, 2);
        let closed = beside_a_trim(&t, || assert!(t.unlink(1, 1), "it was there"));
        assert!(closed == 1 || closed == 2, "what was still held");
        assert_eq!((t.connections(), t.closing()), (1, 1), "counts do not drift");
    });
}

/// A claim while one of the connections that it wants goes, and another one comes. Fails if one is being closed that was not claimed, or the other way
/// round: so also if it is claimed again, or miscounted.
/// Two threads, bound 3.
#[test]
fn what_was_claimed_is_closing_and_nothing_else() {
    explore("what_was_claimed_is_closing_and_nothing_else", 3, 8_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(1, 2);
        let other = Arc::clone(&t);
        let claimed = Arc::new(AtomicUsize::new(0));
        let bits = |ids: Vec<u8>| ids.into_iter().map(|id| 1 << id).sum::<usize>();
        let first = Arc::clone(&claimed);
        together([Box::new(move || first.store(bits(trimmed(&other)), Ordering::Relaxed))], || {
            assert!(t.unlink(1, 2), "it was there");
            assert!(t.link(1, 3), "it is new");
        });
        // The second is no longer held.
        let claimed = claimed.load(Ordering::Relaxed) & !bits(vec![2]);
        let found = bits(t.read(&1, |_, links| closing(links)).expect("connected"));
        assert_eq!(found, claimed, "what was claimed is being closed, and nothing else");
        assert_eq!((t.connections(), t.closing()), (2, claimed.count_ones() as usize), "counts do not drift");
        assert_eq!(bits(trimmed(&t)), bits(vec![1, 3]) & !claimed, "the next trim takes the others");
        assert_eq!((t.connections(), t.closing()), (2, 2), "and they are counted");
    });
}

/// A claim beside a protection that is lifted again. Fails if a connection is no longer being closed because its peer was protected, or not.
/// Two threads, bound 3.
#[test]
fn a_protection_that_came_too_late_leaves_connections_closing() {
    explore("a_protection_that_came_too_late_leaves_connections_closing", 3, 4_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(1, 2);
        let mut too_late = false;
        let first = beside_a_trim(&t, || {
            too_late = t.protect(&1, SHIELD, || 0).closing;
            assert!(!t.unprotect(&1, SHIELD), "no other protection");
        });
        assert!(first == 2 || first == 0 && !too_late, "claimed before, if it was too late");
        let found = t.read(&1, |_, links| closing(links).len());
        assert_eq!(found, Some(first), "what was claimed is being closed");
        assert_eq!((trim(&t), t.closing()), (2 - first, 2), "each is claimed once");
    });
}

/// Snapshots before and beside a claim of two connections, of which one goes afterwards. Fails if the earlier one has anything of the claim, or if one
/// has a part of it.
/// Two threads, bound 3.
#[test]
fn a_cut_shows_a_claim_whole_or_not_at_all() {
    explore("a_cut_shows_a_claim_whole_or_not_at_all", 3, 300, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(1, 2);
        let before = Cut::take(&t);
        let seen = |cut: &Cut<'_, u64, Link, _>| {
            cut.get(&1).map(|at| (at.links.conns().count(), closing(at.links).len())).expect("connected")
        };
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                assert_eq!(trim(&other), 2, "nothing else claims");
                assert!(other.unlink(1, 2), "it was there");
            })],
            || {
                let beside = seen(&Cut::take(&t));
                assert!([(2, 0), (2, 2), (1, 1)].contains(&beside), "what the peer has been: {beside:?}");
                assert_eq!(seen(&before), (2, 0), "two, and both open");
            },
        );
        assert_eq!(seen(&before), (2, 0), "and so they stay");
        assert_eq!((t.connections(), t.closing()), (1, 1), "one is gone, and the other is being closed");
    });
}

/// A temporary record expires against its first connection. Fails if a connected peer is dropped.
/// Two threads, bound 3.
#[test]
fn a_temporary_record_that_connects_does_not_expire() {
    explore("a_temporary_record_that_connects_does_not_expire", 3, 1_000, || {
        let t = Arc::new(table());
        t.add(1, TAG, 5);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                let cut = Cut::take(&other);
                if let Some(at) = cut.get(&1) {
                    let terms = ExpiryTerms { seen_by: Some(0), left_by: None };
                    other.expire(at.node, terms, cut.guard());
                }
            })],
            || assert!(t.link(1, 1), "a new connection"),
        );
        assert_eq!(t.read(&1, |_, links| links.conns().count()), Some(1), "the connection is held");
        assert_eq!((t.connections(), t.len()), (1, 1), "one record, one connection");
    });
}

/// A claim of a peer that was seen first too recently. Fails without the re-check.
/// Two threads, bound 3.
#[test]
fn a_claim_does_not_take_a_peer_in_its_grace() {
    explore("a_claim_does_not_take_a_peer_in_its_grace", 3, 100, || {
        let t = Arc::new(table());
        t.connect(&1, &mut super::NewConn::new(super::Link(1)), 7, false, || None);
        let other = Arc::clone(&t);
        together([Box::new(move || assert_eq!(trim(&other), 0, "first seen at 7, not by 0"))], || {
            t.add(1, TAG, -1);
        });
        assert_eq!(t.closing(), 0, "nothing was claimed");
    });
}
