//! P5: nothing is freed that somebody may still need, and nothing leaks.
//!
//! The checked reclaimer asserts the first at every dereference and the second at the end of every execution, so these models
//! only have to bring about the situations.

use std::sync::Arc;

use super::{OTHER, SHIELD, Short, TAG, Table, explore, table, tiny_table, together};
use crate::peer::Identified;
use crate::reclaim::{self, period::Periods};
use crate::snapshot::Cut;
use crate::sync::{AtomicBool, Ordering};

/// A reader holds a state while it is replaced and retired.
/// Two threads, bound 3.
#[test]
fn a_pinned_reader_keeps_what_it_reads() {
    explore("a_pinned_reader_keeps_what_it_reads", 3, 100, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        // The next tag replaces the state, as there was no connection at first.
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, OTHER, 1);
                other.add(1, TAG, 1);
            })],
            || {
                let read = t.read(&1, |state, links| {
                    reclaim::pin();
                    (state.value(TAG), state.tags().len(), links.conns().count())
                });
                let read = read.expect("never gone");
                assert!(matches!(read, (Some(1 | 2), 1 | 2, 1)), "a state that the peer has had");
            },
        );
    });
}

/// A snapshot holds states of its epoch while writers replace them twice over and another snapshot comes in between.
/// Three threads, bound 3.
#[test]
fn a_held_snapshot_keeps_its_states() {
    explore("a_held_snapshot_keeps_its_states", 3, 6_000, || {
        let t = Arc::new(table());
        t.add(1, TAG, 1);
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || {
                    a.add(1, TAG, 1);
                    a.link(1, 1);
                }),
                Box::new(move || assert!(Table::value_in(&Cut::take(&b), 1, TAG) >= 1, "a value it has had")),
            ],
            || {
                let cut = Cut::take(&t);
                let first = Table::value_in(&cut, 1, TAG);
                let again = Table::value_in(&cut, 1, TAG);
                assert!(first <= again, "only updates under way come to be seen later");
            },
        );
    });
}

/// A snapshot needs a record that dies, is unlinked and comes back as another, while the table grows.
/// Two threads, bound 3.
#[test]
fn a_held_snapshot_keeps_a_record_that_was_unlinked() {
    explore("a_held_snapshot_keeps_a_record_that_was_unlinked", 3, 3_000, || {
        let t = Arc::new(tiny_table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.unlink(1, 1);
                other.link(1, 2);
                other.link(2, 1);
            })],
            || {
                let cut = Cut::take(&t);
                let seen = cut.get(&1).map(|at| *at.links.conns().next().expect("connected").entry.id());
                let again = cut.get(&1).map(|at| *at.links.conns().next().expect("connected").entry.id());
                // A disconnect or a connect that is under way may come to be seen, but not both: one followed the other.
                let allowed = [(Some(1), None), (None, Some(2))];
                assert!(
                    seen == again || allowed.contains(&(seen, again)),
                    "the cut holds {seen:?}, then {again:?}"
                );
            },
        );
    });
}

/// A record is kept by a handle beyond every guard, while it dies and is unlinked, or revived by the handle's own update.
/// Two threads, bound 3.
#[test]
fn a_kept_record_outlives_its_unlinking() {
    explore("a_kept_record_outlives_its_unlinking", 3, 5_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let held = t.hold(&1).expect("there");
        let other = Arc::clone(&t);
        let mut stored = None;
        together([Box::new(move || assert!(other.unlink(1, 1), "it was there"))], || {
            stored = t.add_held(&held, TAG, 1);
        });
        let value = t.tag_value_held(&held, TAG);
        match stored {
            Some(stored) => assert_eq!(stored, 1, "added before the record died, or to the record revived"),
            None => assert_eq!(value, None, "once sealed, always sealed"),
        }
        assert_eq!(value.flatten(), t.tag_value(&1, TAG), "the handle sees what the table sees");
        t.untag(&1, TAG);
        assert_eq!(t.len(), 0, "and unlinked in the end");
        assert!(t.tag_value_held(&held, TAG).is_none(), "sealed in the end");
    });
}

/// A thread that is about to take a slot of a record stalls; others put a state there meanwhile and retire it, while the present one is on the heap:
/// the slot is free as it was, but not to be used before the stalled thread's own guard is gone.
/// Two threads, bound 2.
#[test]
fn a_slot_that_was_used_meanwhile_is_not_taken() {
    explore("a_slot_that_was_used_meanwhile_is_not_taken", 2, 300, || {
        let t = Arc::new(table());
        // Without a connection each tag that comes replaces the state.
        let _ = t.protect(&1, SHIELD, || 0);
        let pin = reclaim::pin();
        t.add(1, OTHER, 1);
        assert!(t.untag(&1, OTHER), "it was there");
        drop(pin);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                for _ in 0..2 {
                    assert_eq!(other.add(1, OTHER, 1), 1, "a new tag");
                    assert!(other.untag(&1, OTHER), "it was there");
                }
            })],
            || assert_eq!(t.add(1, TAG, 1), 1, "a new tag"),
        );
        let tags = t.read(&1, |state, _| state.tags().collect::<Vec<_>>());
        assert_eq!(tags, Some(vec![(TAG, 1)]), "none is lost");
    });
}

/// The index goes while an unlinking is still to come: the job finds nothing left to do.
/// Two threads, bound 3.
#[test]
fn a_table_may_go_before_its_garbage() {
    explore("a_table_may_go_before_its_garbage", 3, 40, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        let _pin = reclaim::pin();
        together([Box::new(move || assert!(other.unlink(1, 1), "it was there"))], || {
            let value = t.tag_value(&1, TAG);
            assert_eq!(value, None, "never tagged");
        });
        drop(t);
    });
}

/// Memory that is used again by a cookie: one thread makes it unreachable and asks, one reads it under a guard if it can still reach it, two
/// end periods. Fails if the periods pass a guard by.
/// Four threads, bound 2.
#[test]
fn memory_is_used_again_when_its_readers_are_gone() {
    explore("memory_is_used_again_when_its_readers_are_gone", 2, 2_000, || {
        let (periods, reachable) = (Arc::new(Periods::default()), Arc::new(AtomicBool::new(true)));
        let memory = Arc::new(());
        reclaim::occupy(&*memory);
        let (first, second) = (Arc::clone(&periods), Arc::clone(&periods));
        let (reads, read) = (Arc::clone(&reachable), Arc::clone(&memory));
        let mut over = false;
        together(
            [
                Box::new(move || {
                    Periods::end(first, &reclaim::pin());
                }),
                Box::new(move || {
                    Periods::end(second, &reclaim::pin());
                }),
                Box::new(move || {
                    let _guard = reclaim::pin();
                    if reads.load(Ordering::Acquire) {
                        reclaim::check(&*read);
                    }
                }),
            ],
            || {
                let guard = reclaim::pin();
                reachable.swap(false, Ordering::AcqRel);
                let cookie = periods.cookie();
                drop(guard);
                over = periods.is_over(cookie);
                if over {
                    reclaim::vacate(&*memory);
                }
            },
        );
        if !over {
            reclaim::vacate(&*memory);
        }
    });
}
