//! P2 and P3 of tags that are added in place, where a connected peer's state has a vacant cell.

use std::sync::Arc;

use super::{OTHER, SHIELD, Short, TAG, Table, explore, table, together};
use crate::reclaim;
use crate::snapshot::Cut;
use crate::sync::{AtomicBool, AtomicU64, Ordering, compiler_fences};

/// Two threads add to a tag that is new to both. Fails if a replacement leaves open what it copies, or puts its value over that of a tag that came meanwhile.
/// Two threads, bound 3.
#[test]
fn two_first_upserts_of_one_tag_both_count() {
    explore("two_first_upserts_of_one_tag_both_count", 3, 2_500, || {
        let t = Arc::new(table());
        t.link(1, 1);
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
        assert_eq!(t.read(&1, |state, _| state.tags().len()), Some(1), "one cell of one tag");
    });
}

/// Two threads add three tags, one more than there are cells. Fails if one of them is lost.
/// Two threads, bound 3.
#[test]
fn new_tags_beside_each_other_are_all_there() {
    explore("new_tags_beside_each_other_are_all_there", 3, 5_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 1);
            })],
            || {
                t.add(1, OTHER, 2);
                t.add(1, SHIELD, 3);
            },
        );
        let values = [TAG, OTHER, SHIELD].map(|tag| t.tag_value(&1, tag));
        assert_eq!(values, [Some(1), Some(2), Some(3)], "no update is lost");
    });
}

/// A tag is added while the last connection goes, which takes the tags and the peer. Fails if it comes to a state that has been left: the peer is gone and
/// has it, or is there without it.
/// Two threads, bound 3.
#[test]
fn a_new_tag_and_the_last_disconnect_are_ordered() {
    explore("a_new_tag_and_the_last_disconnect_are_ordered", 3, 25_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                assert_eq!(other.add(1, TAG, 5), 5, "it is new");
            })],
            || {
                // Until this is gone the record is there, dead or not.
                let _pin = reclaim::pin();
                assert!(t.unlink(1, 1), "it was there");
                if t.tag_value(&1, TAG).is_some() {
                    assert!(t.read(&1, |_, _| ()).is_some(), "no dead record has a tag");
                }
            },
        );
        let there = t.read(&1, |state, links| (state.value(TAG), links.is_connected()));
        assert!(
            matches!(there, None | Some((Some(5), false))),
            "gone, or there again with its tag: {there:?}"
        );
        assert_eq!(t.tag_value(&1, TAG), there.and_then(|there| there.0), "by a look-up, too");
        assert_eq!(t.len(), usize::from(there.is_some()), "its record is unlinked if it is gone");
    });
}

/// The same where the tags are kept for a while. Fails if a peer that has left, or is gone, gets a tag that nobody takes again.
/// Two threads, bound 3.
#[test]
fn a_new_tag_is_kept_with_the_others_or_makes_the_peer_anew() {
    explore("a_new_tag_is_kept_with_the_others_or_makes_the_peer_anew", 3, 25_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 5);
            })],
            || assert!(t.disconnect(&1, &1, || Some(7)), "it was there"),
        );
        let there = t.read(&1, |state, links| (state.value(TAG), links.has_left()));
        // Added before: it has left with it. Added after: without tags it was gone, and is there anew.
        assert!(matches!(there, Some((Some(5), _))), "the tag is there: {there:?}");
    });
}

/// A tag that is new after a snapshot is not in it; of two that came one after the other beside it, it does not hold the second alone. Fails if tags are added in
/// place whatever the state's epoch.
/// Two threads, bound 2.
#[test]
fn a_cut_holds_no_new_tag_of_the_future() {
    explore("a_cut_holds_no_new_tag_of_the_future", 2, 3_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(2, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 1);
                other.add(2, TAG, 1);
            })],
            || {
                let cut = Cut::take(&t);
                t.add(1, OTHER, 1);
                let (first, second) = (Table::value_in(&cut, 1, TAG), Table::value_in(&cut, 2, TAG));
                assert!(second == 0 || first == 1, "closed under happens-before: {second} without {first}");
                assert_eq!(Table::value_in(&cut, 1, OTHER), 0, "a tag of the future is not in");
            },
        );
    });
}

/// A tag that is read was there with its value and with what its writer did before. Fails if what makes a cell the tag's does not release, or the look at that does
/// not acquire. (On x86 no fence helps, so none does here.)
/// Two threads, bound 3.
#[test]
fn a_new_tag_publishes_what_its_writer_did() {
    explore("a_new_tag_publishes_what_its_writer_did", 3, 60, || {
        compiler_fences();
        let t = Arc::new(table());
        t.link(1, 1);
        let done = Arc::new(AtomicU64::new(0));
        let (other, mark) = (Arc::clone(&t), Arc::clone(&done));
        together(
            [Box::new(move || {
                mark.store(1, Ordering::Relaxed);
                other.add(1, TAG, 1);
            })],
            || {
                let _pin = reclaim::pin();
                let value = t.tag_value(&1, TAG);
                assert!(matches!(value, None | Some(1)), "a value that it has had: {value:?}");
                if value.is_some() {
                    assert_eq!(done.load(Ordering::Relaxed), 1, "done before the tag was added");
                }
            },
        );
    });
}

/// A connection comes, then two tags, and it goes again, which makes the word of links what it was. Who reads links and tags sees them as they were together. Fails if they are
/// not looked at again, or only the links.
/// Two threads, bound 3.
#[test]
fn tags_and_links_are_read_as_they_were_together() {
    explore("tags_and_links_are_read_as_they_were_together", 3, 1_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                assert!(other.link(1, 2), "it is new");
                other.add(1, TAG, 1);
                other.add(1, OTHER, 1);
                assert!(other.unlink(1, 2), "it was there");
            })],
            || {
                let read = t.read(&1, |state, links| (links.conns().count(), state.tags().len()));
                let had = [(1, 0), (2, 0), (2, 1), (2, 2), (1, 2)];
                assert!(had.contains(&read.expect("never gone")), "together: {read:?}");
            },
        );
    });
}

/// A connection comes, then a tag, and it goes again, which makes the word of links what it was. Another tag came to one who saw the connection afterwards, so that the peer never had
/// the first alone without that connection. Fails if a reader does not count the tags again, or nothing orders that after the second look at links.
/// Three threads, bound 3. (The reader holds a pin, as a nested one orders nothing; the third thread comes only when the reader has read, which leaves out most of what could not fail.)
#[test]
fn a_tag_that_came_before_a_connection_went_is_read_with_the_one_after_it() {
    explore("a_tag_that_came_before_a_connection_went_is_read_with_the_one_after_it", 3, 100_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        // (By the record, as look-ups would only make the model larger.)
        let record = t.hold(&1).expect("there");
        let again = t.hold(&1).expect("there");
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        let looked = Arc::new(AtomicBool::new(false));
        let connected = Arc::new(AtomicBool::new(false));
        let (go, told) = (Arc::clone(&looked), Arc::clone(&connected));
        let mut read = None;
        together(
            [
                Box::new(move || {
                    assert!(a.link(1, 2), "it is new");
                    assert_eq!(a.add_new_held(&record, TAG, 1), Some(1), "a new tag");
                    assert!(a.unlink(1, 2), "it was there");
                }),
                Box::new(move || {
                    if go.load(Ordering::Relaxed) {
                        assert_eq!(b.add_new_held(&again, OTHER, 1), Some(1), "a new tag");
                        let connections = b.links(&1, |links| links.conns().count());
                        told.store(connections == Some(2), Ordering::Relaxed);
                    }
                }),
            ],
            || {
                let _pin = reclaim::pin();
                read = t.read(&1, |state, links| {
                    looked.store(true, Ordering::Relaxed);
                    (links.conns().count(), state.value(TAG).is_some(), state.value(OTHER).is_some())
                });
            },
        );
        let torn = read == Some((1, true, false)) && connected.load(Ordering::Relaxed);
        assert!(!torn, "the other tag came while the connection was there");
    });
}

/// One thread protects a peer and finds it without a tag, which another adds in place: it was protected first. `seen` is what a third finds, of protection
/// and tag. Fails if that has the tag without the protection.
fn protected_before_it_was_tagged(name: &str, bound: usize, floor: usize, seen: fn(&Table) -> (bool, usize)) {
    explore(name, bound, floor, move || {
        let t = Arc::new(table());
        t.link(1, 1);
        // (By the record, as look-ups would only make the model larger.)
        let record = t.hold(&1).expect("there");
        let again = t.hold(&1).expect("there");
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        let first = Arc::new(AtomicBool::new(false));
        let torn = Arc::new(AtomicBool::new(false));
        let (told, tore) = (Arc::clone(&first), Arc::clone(&torn));
        together(
            [
                Box::new(move || {
                    let _ = a.protect(&1, SHIELD, || 0);
                    told.store(a.tag_value_held(&record, TAG) == Some(None), Ordering::Relaxed);
                }),
                Box::new(move || tore.store(seen(&b) == (false, 1), Ordering::Relaxed)),
            ],
            || {
                assert_eq!(t.add_held(&again, TAG, 1), Some(1), "a new tag");
            },
        );
        let both = first.load(Ordering::Relaxed) && torn.load(Ordering::Relaxed);
        assert!(!both, "protected before it was tagged, but the tag is there without the protection");
    });
}

/// Three threads, bound 3.
#[test]
fn a_protection_and_a_new_tag_are_read_in_one_order() {
    protected_before_it_was_tagged("a_protection_and_a_new_tag_are_read_in_one_order", 3, 10_000, |t| {
        t.read(&1, |state, links| (links.is_protected(), state.tags().len())).expect("there")
    });
}

/// The same of a snapshot, which both straddle. Three threads, bound 3.
#[test]
fn a_cut_holds_one_structure_of_a_peer() {
    protected_before_it_was_tagged("a_cut_holds_one_structure_of_a_peer", 3, 10_000, |t| {
        let cut = Cut::take(t);
        let at = cut.get(&1).expect("there");
        (at.links.is_protected(), at.state.tags().len())
    });
}
