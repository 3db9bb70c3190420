//! P3: a snapshot is a consistent cut.
//!
//! Peer 1, which is written first, is read first: what is read later, and synchronises with its writer, could not bring it about
//! afterwards that the earlier write was seen.

use std::sync::Arc;

use super::{OTHER, Short, TAG, Table, explore, table, together};
use crate::reclaim;
use crate::snapshot::Cut;

fn two_peers() -> Arc<Table> {
    let t = Arc::new(table());
    t.add(1, TAG, 1);
    t.add(2, TAG, 1);
    t
}

/// One writer raises peer 1 and then peer 2. Fails if a snapshot holds the second update without the first.
/// Two threads, bound 3.
#[test]
fn a_cut_holds_what_its_writer_did_before() {
    explore("a_cut_holds_what_its_writer_did_before", 3, 100, || {
        let t = two_peers();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 1);
                other.add(2, TAG, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let (first, second) = (Table::value_in(&cut, 1, TAG), Table::value_in(&cut, 2, TAG));
                assert!(first >= second, "closed under happens-before: {second} without {first}");
            },
        );
    });
}

/// The same by a writer that keeps one pin over both updates, so that only the fence of each update is left. Fails
/// if that fence is dropped.
/// Two threads, bound 3.
#[test]
fn a_cut_holds_what_its_writer_did_before_under_one_pin() {
    explore("a_cut_holds_what_its_writer_did_before_under_one_pin", 3, 100, || {
        let t = two_peers();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                let _pin = reclaim::pin();
                other.add(1, TAG, 1);
                other.add(2, TAG, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let (first, second) = (Table::value_in(&cut, 1, TAG), Table::value_in(&cut, 2, TAG));
                assert!(first >= second, "closed under happens-before: {second} without {first}");
            },
        );
    });
}

/// The same of tags that are new, and so replace the states of peers without connections. Fails if the fence of the snapshot is dropped: a state is found before any
/// other fence of the reader's.
/// Two threads, bound 3.
#[test]
fn a_cut_holds_the_states_that_its_writer_replaced_before_under_one_pin() {
    explore("a_cut_holds_the_states_that_its_writer_replaced_before_under_one_pin", 3, 100, || {
        let t = two_peers();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                let _pin = reclaim::pin();
                other.add(1, OTHER, 1);
                other.add(2, OTHER, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let has = |peer| cut.get(&peer).is_some_and(|at| at.state.value(OTHER).is_some());
                let (first, second) = (has(1), has(2));
                assert!(first || !second, "closed under happens-before: the second without the first");
            },
        );
    });
}

/// A third party raises peer 2 only if it has seen peer 1 raised. Fails if a snapshot holds the second update without the first.
/// Three threads, bound 3.
#[test]
fn a_cut_holds_what_another_writer_was_seen_to_do() {
    explore("a_cut_holds_what_another_writer_was_seen_to_do", 3, 1_000, || {
        let t = two_peers();
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || {
                    a.add(1, TAG, 1);
                }),
                Box::new(move || {
                    if b.tag_value(&1, TAG) == Some(2) {
                        b.add(2, TAG, 1);
                    }
                }),
            ],
            || {
                let cut = Cut::take(&t);
                let (first, second) = (Table::value_in(&cut, 1, TAG), Table::value_in(&cut, 2, TAG));
                assert!(second == 1 || first == 2, "closed under happens-before: {second} without {first}");
            },
        );
    });
}

/// The closure of an upsert of peer 2 reads peer 1 and stores what it saw. Fails if the epoch is loaded before the closure.
/// Three threads, bound 3.
#[test]
fn a_cut_holds_what_a_closure_saw() {
    explore("a_cut_holds_what_a_closure_saw", 3, 4_000, || {
        let t = two_peers();
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || {
                    a.add(1, TAG, 1);
                }),
                Box::new(move || {
                    let reader = Arc::clone(&b);
                    b.update(&2, TAG, || 0, |_| reader.tag_value(&1, TAG).expect("there"));
                }),
            ],
            || {
                let cut = Cut::take(&t);
                let (first, second) = (Table::value_in(&cut, 1, TAG), Table::value_in(&cut, 2, TAG));
                assert!(second == 1 || first == 2, "what the closure saw is in: {second} without {first}");
            },
        );
    });
}

/// An update that returned before the snapshot began is in it; one that begins after is not, in place or not.
/// Two threads, bound 3.
#[test]
fn a_cut_holds_the_past_and_none_of_the_future() {
    explore("a_cut_holds_the_past_and_none_of_the_future", 3, 1_000, || {
        let t = two_peers();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(2, TAG, 1);
            })],
            || {
                t.add(1, TAG, 1);
                let cut = Cut::take(&t);
                t.add(1, TAG, 10);
                t.link(1, 1);
                t.add(3, TAG, 5);
                assert_eq!(Table::value_in(&cut, 1, TAG), 2, "the past is in, the future is not");
                assert!(cut.get(&3).is_none(), "a peer of the future is not in");
                let conns = cut.get(&1).map(|at| at.links.conns().count());
                assert_eq!(conns, Some(0), "a connection of the future is not in");
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(12), "no update is lost");
    });
}

/// Two snapshots, one begun after an update returned. Fails if a chain skips the state that the older one needs.
/// Two threads, bound 3.
#[test]
fn two_cuts_each_hold_their_own_past() {
    explore("two_cuts_each_hold_their_own_past", 3, 900, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                let early = Cut::take(&other);
                let before = Table::value_in(&early, 1, TAG);
                other.add(1, TAG, 1);
                let late = Cut::take(&other);
                let after = Table::value_in(&late, 1, TAG);
                assert!(after > before, "the later cut holds the update between: {before}, {after}");
                let again = Table::value_in(&early, 1, TAG);
                assert!(again < after, "the earlier one does not: {again}, {after}");
            })],
            || {
                t.add(1, TAG, 10);
            },
        );
    });
}

/// A peer that dies after a snapshot is in it, and one that is born and dies afterwards is not.
/// Two threads, bound 3.
#[test]
fn a_cut_holds_a_peer_that_left_afterwards() {
    explore("a_cut_holds_a_peer_that_left_afterwards", 3, 6_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.unlink(1, 1);
                other.link(2, 1);
                other.unlink(2, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let one = cut.iter().filter(|at| *at.node.key() == 1).count();
                let two = cut.iter().filter(|at| *at.node.key() == 2).count();
                assert!(one + two <= 1, "peer 2 came after peer 1 had left");
            },
        );
    });
}

/// A peer leaves after a snapshot was taken, while another comes and goes. Fails if its record is unlinked under the snapshot.
/// Two threads, bound 3.
#[test]
fn a_cut_holds_a_peer_that_leaves_under_it() {
    explore("a_cut_holds_a_peer_that_leaves_under_it", 3, 4_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.link(2, 1);
                other.unlink(2, 1);
            })],
            || {
                let cut = Cut::take(&t);
                assert!(t.unlink(1, 1), "it was there");
                let conns = cut.iter().filter(|at| *at.node.key() == 1).map(|at| at.links.conns().count());
                assert_eq!(conns.sum::<usize>(), 1, "it left after the cut");
                assert!(cut.get(&1).is_some(), "and is found by key, too");
            },
        );
        assert_eq!(t.len(), 0, "unlinked in the end");
    });
}
