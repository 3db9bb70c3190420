//! P2: no update is lost, whatever replaces the state under it.

use std::sync::Arc;

use super::{OTHER, SHIELD, Short, TAG, Table, explore, table, together};
use crate::reclaim;
use crate::snapshot::Cut;
use crate::sync::{AtomicU64, Ordering, compiler_fences};

/// Two threads add to one tag. Fails if a compare-and-swap of a cell overwrites what it did not read.
/// Two threads, bound 3.
#[test]
fn two_upserts_of_one_tag_both_count() {
    explore("two_upserts_of_one_tag_both_count", 3, 30, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 1);
            })],
            || {
                t.add(1, TAG, 1);
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(3), "no update is lost");
    });
}

/// Two threads add to a tag of a peer that neither has seen: one creates the record. Fails if there come to be two records.
/// Two threads, bound 3.
#[test]
fn two_first_upserts_of_one_peer_both_count() {
    explore("two_first_upserts_of_one_peer_both_count", 3, 50, || {
        let t = Arc::new(table());
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 1);
            })],
            || {
                t.add(1, TAG, 1);
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(2), "no update is lost");
        assert_eq!(t.len(), 1, "one record of one id");
    });
}

/// A thread adds to a tag while another adds a tag, which replaces the state. Fails without the freeze: a copy reads
/// the cell, and a late compare-and-swap lands on the old state.
/// Two threads, bound 3.
#[test]
fn an_upsert_is_not_lost_to_a_new_tag() {
    explore("an_upsert_is_not_lost_to_a_new_tag", 3, 400, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, OTHER, 10);
            })],
            || {
                t.add(1, TAG, 1);
                t.add(1, TAG, 1);
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(3), "no update is lost");
        assert_eq!(t.tag_value(&1, OTHER), Some(10), "nor is the new tag");
    });
}

/// Two tags, a thread on each, and a third that adds one more, and so replaces the state. Fails if one cell is left unfrozen.
/// Three threads, bound 2.
#[test]
fn upserts_of_two_tags_are_not_lost_to_a_third() {
    explore("upserts_of_two_tags_are_not_lost_to_a_third", 2, 60_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 1);
        t.add(1, OTHER, 1);
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || {
                    a.add(1, TAG, 1);
                }),
                Box::new(move || {
                    b.add(1, OTHER, 1);
                }),
            ],
            || {
                assert_eq!(t.add(1, SHIELD, 1), 1, "a new tag");
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(2), "no update is lost");
        assert_eq!(t.tag_value(&1, OTHER), Some(2), "no update is lost");
    });
}

/// An upsert in place against one that is the first after a snapshot. Fails without the freeze or the check of the epoch.
/// Three threads, bound 3.
#[test]
fn an_upsert_is_not_lost_to_the_first_write_of_an_epoch() {
    explore("an_upsert_is_not_lost_to_the_first_write_of_an_epoch", 3, 4_000, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || {
                    a.add(1, TAG, 1);
                }),
                Box::new(move || {
                    b.add(1, TAG, 1);
                }),
            ],
            || {
                let cut = Cut::take(&t);
                let seen = Table::value_in(&cut, 1, TAG);
                assert!((1..=3).contains(&seen), "a value that the peer has had");
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(3), "no update is lost");
    });
}

/// A copier that stalls with all cells frozen: the upsert that meets them replaces the state itself. Fails (by never ending) if it waits.
/// Two threads, bound 3.
#[test]
fn an_upsert_passes_a_stalled_copier() {
    explore("an_upsert_passes_a_stalled_copier", 3, 300, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, OTHER, 1);
            })],
            || {
                assert_eq!(t.add(1, TAG, 1), 2, "stored, whatever the copier does");
                assert!(t.tag_value(&1, TAG) == Some(2), "and read back");
            },
        );
        assert_eq!(t.tag_value(&1, OTHER), Some(1), "and the copier is done in the end");
    });
}

/// A tag is removed while it is added to. Fails if the update lands on a state that has been left.
/// Two threads, bound 3.
#[test]
fn untag_and_upsert_are_ordered() {
    explore("untag_and_upsert_are_ordered", 3, 100, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 5);
        let other = Arc::clone(&t);
        let mut stored = 0;
        together([Box::new(move || assert!(other.untag(&1, TAG), "it was there"))], || {
            stored = t.add(1, TAG, 1);
        });
        match stored {
            6 => assert_eq!(t.tag_value(&1, TAG), None, "added, then removed"),
            1 => assert_eq!(t.tag_value(&1, TAG), Some(1), "removed, then added anew"),
            other => panic!("stored {other}: neither order gives that"),
        }
    });
}

/// P6: closures run with nothing held. Each adds a tag to its own peer and reads the other's; both end and both count. Fails
/// (by never ending) if a closure runs under something that its own calls wait for.
/// Two threads, bound 3.
#[test]
fn closures_that_use_the_table_end_and_count() {
    explore("closures_that_use_the_table_end_and_count", 3, 2_000, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let other = Arc::clone(&t);
        let touch = |t: &Table, own: i64| {
            t.update(
                &1,
                TAG,
                || 0,
                |value| {
                    t.update(&1, OTHER, || 0, |seen| seen.max(own));
                    value + own
                },
            );
        };
        together([Box::new(move || touch(&other, 10))], || touch(&t, 100));
        assert_eq!(t.tag_value(&1, TAG), Some(111), "no update is lost");
        assert_eq!(t.tag_value(&1, OTHER), Some(100), "nor is what the closures wrote");
    });
}

/// A writer's closure leaves a mark, and a reader under a pin of its own looks for the mark when it has seen the value. Fails
/// if the swap of the cell does not release, or the load does not acquire. (On x86 no fence helps, so none does here.)
/// Two threads, bound 3.
#[test]
fn a_value_that_is_read_publishes_what_its_writer_did() {
    explore("a_value_that_is_read_publishes_what_its_writer_did", 3, 20, || {
        compiler_fences();
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let done = Arc::new(AtomicU64::new(0));
        let (other, mark) = (Arc::clone(&t), Arc::clone(&done));
        together(
            [Box::new(move || {
                let leave_mark = |value| {
                    mark.store(1, Ordering::Relaxed);
                    value + 1
                };
                other.update(&1, TAG, || 0, leave_mark);
            })],
            || {
                let _pin = reclaim::pin();
                if t.tag_value(&1, TAG) == Some(2) {
                    assert_eq!(done.load(Ordering::Relaxed), 1, "done before the value was stored");
                }
            },
        );
    });
}

/// The same, but a third thread adds a tag, and so copies the value into the state that the reader finds. Fails if the freeze does
/// not acquire what it hands on.
/// Three threads, bound 3.
#[test]
fn a_value_that_is_copied_publishes_what_its_writer_did() {
    explore("a_value_that_is_copied_publishes_what_its_writer_did", 3, 4_000, || {
        compiler_fences();
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let done = Arc::new(AtomicU64::new(0));
        let (a, b, mark) = (Arc::clone(&t), Arc::clone(&t), Arc::clone(&done));
        together(
            [
                Box::new(move || {
                    let leave_mark = |value| {
                        mark.store(1, Ordering::Relaxed);
                        value + 1
                    };
                    a.update(&1, TAG, || 0, leave_mark);
                }),
                Box::new(move || assert_eq!(b.add(1, OTHER, 1), 1, "a new tag")),
            ],
            || {
                let _pin = reclaim::pin();
                if t.tag_value(&1, TAG) == Some(2) {
                    assert_eq!(done.load(Ordering::Relaxed), 1, "done before the value was stored");
                }
            },
        );
    });
}
