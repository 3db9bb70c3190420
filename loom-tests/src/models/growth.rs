//! The index: one record of one id, nobody lost, while it grows, shrinks and unlinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Short, TAG, explore, table, tiny_table, together};
use crate::index::Index;
use crate::peer::Hashed;
use crate::reclaim;
use crate::snapshot::Cut;

fn index_of(capacity: usize) -> Arc<Index<Hashed<u64>>> {
    Arc::new(Index::with_capacity(capacity))
}

fn put(index: &Index<Hashed<u64>>, hash: u64, id: u64) -> bool {
    let guard = reclaim::pin();
    index.find_or_insert(hash, &guard, |entry| entry.key == id, || Hashed { hash, key: id }, |_| {}).1
}

fn note(count: &AtomicUsize, made: bool) {
    count.fetch_add(usize::from(made), Ordering::Relaxed);
}

fn has(index: &Index<Hashed<u64>>, hash: u64, id: u64) -> bool {
    index.find(hash, &reclaim::pin(), |entry| (entry.key == id).then_some(())).is_some()
}

fn take(index: &Index<Hashed<u64>>, hash: u64, id: u64) {
    let guard = reclaim::pin();
    let (node, ()) =
        index.find(hash, &guard, |entry| (entry.key == id).then_some(())).expect("there up to now");
    index.remove(node, &guard, |_, _| true);
}

/// Three inserts of one id, two at once. Fails if the id comes to be there twice.
/// Two threads, bound 3.
#[test]
fn one_id_is_inserted_once() {
    explore("one_id_is_inserted_once", 3, 20, || {
        let index = index_of(4);
        let other = Arc::clone(&index);
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        together([Box::new(move || note(&count, put(&other, 0, 7)))], || note(&made, put(&index, 0, 7)));
        assert_eq!(made.load(Ordering::Relaxed), 1, "exactly one insert made the entry");
        assert!(has(&index, 0, 7) && index.len() == 1, "one record of one id");
    });
}

/// Two ids of one hash and one more, in a table that grows under them. Fails if an insert goes to a slot that has been copied.
/// Two threads, bound 2.
#[test]
fn inserts_during_growth_are_all_found() {
    explore("inserts_during_growth_are_all_found", 2, 4_000, || {
        let index = index_of(2);
        put(&index, 0, 1);
        let other = Arc::clone(&index);
        together(
            [Box::new(move || {
                put(&other, 0, 2);
                assert!(has(&other, 0, 2), "found by who inserted it");
            })],
            || {
                put(&index, 1, 3);
                assert!(has(&index, 1, 3), "found by who inserted it");
                assert!(has(&index, 0, 1), "found while it is copied");
            },
        );
        for (hash, id) in [(0, 1), (0, 2), (1, 3)] {
            assert!(has(&index, hash, id), "nobody is lost in growth");
        }
        assert_eq!(index.len(), 3, "nor counted twice");
    });
}

/// The same id inserted by two threads while the table grows. Fails if old and new table each get one.
/// Two threads, bound 2.
#[test]
fn one_id_is_inserted_once_during_growth() {
    explore("one_id_is_inserted_once_during_growth", 2, 20_000, || {
        let index = index_of(4);
        put(&index, 0, 1);
        put(&index, 1, 2);
        let other = Arc::clone(&index);
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        together([Box::new(move || note(&count, put(&other, 0, 3)))], || {
            put(&index, 2, 4);
            note(&made, put(&index, 0, 3));
        });
        assert_eq!(made.load(Ordering::Relaxed), 1, "exactly one insert made the entry");
        let guard = reclaim::pin();
        let threes = index.walk(&guard).filter(|node| node.key == 3).count();
        assert_eq!(threes, 1, "one record of one id");
        assert_eq!(index.walk(&guard).count(), 4, "nobody lost, nobody twice");
    });
}

/// Two threads copy the same table, chunk by chunk. Fails if an entry is copied twice, or lost.
/// Two threads, bound 3.
#[test]
fn growth_helped_by_two_threads_copies_each_once() {
    explore("growth_helped_by_two_threads_copies_each_once", 3, 6_000, || {
        let index = index_of(4);
        for id in 0..3 {
            put(&index, id, id);
        }
        let other = Arc::clone(&index);
        together(
            [Box::new(move || {
                let guard = reclaim::pin();
                assert_eq!(other.walk(&guard).count(), 3, "a walk during growth sees each once");
            })],
            || {
                let guard = reclaim::pin();
                assert_eq!(index.walk(&guard).count(), 3, "a walk during growth sees each once");
            },
        );
    });
}

/// Two walks, one after an insert that went ahead to the next table while most of the old one is still to be copied. Fails if a walk
/// does not finish the migration first.
/// Two threads, bound 1.
#[test]
fn a_walk_sees_what_went_ahead_to_the_next_table() {
    explore("a_walk_sees_what_went_ahead_to_the_next_table", 1, 800, || {
        let index = index_of(8);
        for id in 0..5 {
            put(&index, id, id);
        }
        let other = Arc::clone(&index);
        together(
            [Box::new(move || {
                let guard = reclaim::pin();
                let old = other.walk(&guard).filter(|node| node.key < 5).count();
                assert_eq!(old, 5, "those that were there before, each once");
            })],
            || {
                put(&index, 5, 5);
                let guard = reclaim::pin();
                assert_eq!(index.walk(&guard).count(), 6, "all, each once");
            },
        );
    });
}

/// One thread copies the rest of a table, another finds that done and swings the root, a third looks up what the first has copied.
/// Fails if the second does not hand on what the first did.
/// Three threads, bound 2.
#[test]
fn a_root_swung_by_another_leads_to_every_copy() {
    explore("a_root_swung_by_another_leads_to_every_copy", 2, 3_000, || {
        let index = index_of(4);
        for id in [0, 1, 3] {
            put(&index, id, id);
        }
        let (a, b) = (Arc::clone(&index), Arc::clone(&index));
        together(
            [
                Box::new(move || {
                    let guard = reclaim::pin();
                    assert_eq!(a.walk(&guard).filter(|node| node.key == 3).count(), 1, "seen once");
                }),
                Box::new(move || {
                    put(&b, 2, 2);
                }),
            ],
            || {
                let _pin = reclaim::pin();
                assert!(has(&index, 3, 3), "found wherever it is");
            },
        );
    });
}

/// A removal against growth: the entry's slot is copied while it is unlinked. Fails if a late copy brings it back.
/// Three threads, bound 3.
#[test]
fn a_removed_entry_does_not_come_back_by_growth() {
    explore("a_removed_entry_does_not_come_back_by_growth", 3, 50_000, || {
        let index = index_of(4);
        put(&index, 0, 1);
        put(&index, 1, 2);
        let (a, b) = (Arc::clone(&index), Arc::clone(&index));
        together(
            [
                Box::new(move || take(&a, 0, 1)),
                Box::new(move || {
                    put(&b, 3, 3);
                }),
            ],
            || {
                let guard = reclaim::pin();
                assert!(index.walk(&guard).filter(|node| node.key == 2).count() == 1, "seen once");
            },
        );
        assert!(!has(&index, 0, 1), "removed for good");
        assert!(has(&index, 1, 2) && has(&index, 3, 3), "the others stay");
        let guard = reclaim::pin();
        assert_eq!(index.walk(&guard).count(), 2, "nobody lost, nobody twice");
        assert_eq!(index.len(), 2, "and the count is exact");
    });
}

/// A removal while two inserts fill the next table, so that three are linked. Fails if the chain loses or repeats an entry.
/// Three threads, bound 2.
#[test]
fn a_removal_across_three_tables_is_complete() {
    explore("a_removal_across_three_tables_is_complete", 2, 20_000, || {
        let index = index_of(2);
        put(&index, 0, 1);
        put(&index, 0, 2);
        let (a, b) = (Arc::clone(&index), Arc::clone(&index));
        together(
            [
                Box::new(move || take(&a, 0, 1)),
                Box::new(move || {
                    put(&b, 0, 3);
                    put(&b, 1, 4);
                }),
            ],
            || {
                let guard = reclaim::pin();
                assert_eq!(index.walk(&guard).filter(|node| node.key == 2).count(), 1, "seen once");
            },
        );
        assert!(!has(&index, 0, 1), "removed for good");
        for (hash, id) in [(0, 2), (0, 3), (1, 4)] {
            assert!(has(&index, hash, id), "{id} stays");
        }
        let guard = reclaim::pin();
        assert_eq!(index.walk(&guard).count(), 3, "nobody lost, nobody twice");
        assert_eq!(index.len(), 3, "and the count is exact");
    });
}

/// Two removals on one path while two inserts make it longer. Fails if an entry that is there throughout is not found.
/// Three threads, bound 2.
#[test]
fn two_removals_and_growth_lose_nobody() {
    explore("two_removals_and_growth_lose_nobody", 2, 3_000, || {
        let index = index_of(2);
        put(&index, 0, 1);
        put(&index, 1, 2);
        put(&index, 0, 3);
        let (a, b) = (Arc::clone(&index), Arc::clone(&index));
        together([Box::new(move || take(&a, 0, 1)), Box::new(move || take(&b, 0, 3))], || {
            put(&index, 0, 5);
            assert!(has(&index, 1, 2), "present throughout");
            put(&index, 0, 6);
        });
        for (hash, id) in [(1, 2), (0, 5), (0, 6)] {
            assert!(has(&index, hash, id), "{id} stays");
        }
        assert!(!has(&index, 0, 1) && !has(&index, 0, 3), "removed for good");
        let guard = reclaim::pin();
        assert_eq!(index.walk(&guard).count(), 3, "nobody lost, nobody twice");
    });
}

/// A peer leaves and returns while a snapshot walks. Fails if the walk sees two records of it, or loses its neighbour.
/// Two threads, bound 3.
#[test]
fn a_walk_during_unlink_and_reinsert_sees_each_peer_once() {
    explore("a_walk_during_unlink_and_reinsert_sees_each_peer_once", 3, 2_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(2, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.unlink(1, 1);
                other.link(1, 2);
                other.add(1, TAG, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let mut peers: Vec<u64> = cut.iter().map(|at| *at.node.key()).collect();
                peers.sort_unstable();
                assert!(peers == [1, 2] || peers == [2], "each peer once, the neighbour always: {peers:?}");
                assert_eq!(cut.get(&2).map(|at| at.links.conns().count()), Some(1), "found by key, too");
            },
        );
    });
}

/// A snapshot walks while the table grows under two inserts. Fails if the walk misses what was there, or sees it in both tables.
/// Two threads, bound 2.
#[test]
fn a_walk_during_growth_sees_each_peer_once() {
    explore("a_walk_during_growth_sees_each_peer_once", 2, 900, || {
        let t = Arc::new(tiny_table());
        t.add(1, TAG, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(2, TAG, 1);
                other.add(3, TAG, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let mut peers: Vec<u64> = cut.iter().map(|at| *at.node.key()).collect();
                peers.sort_unstable();
                assert!(
                    peers == [1] || peers == [1, 2] || peers == [1, 2, 3],
                    "each peer once, in the order they came: {peers:?}"
                );
            },
        );
        assert_eq!(Cut::take(&t).iter().count(), 3, "all are there in the end");
    });
}
