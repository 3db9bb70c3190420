//! P2 and P3 of what a peer has besides tags: connections and protections come and go in place.

use std::sync::Arc;

use super::{OTHER, SHIELD, Short, TAG, explore, table, together};
use crate::peer::Identified;
use crate::reclaim;
use crate::snapshot::Cut;
use crate::sync::{AtomicU64, Ordering, compiler_fences};

/// A peer is protected while another thread adds a tag, which replaces the state. Fails if the links are copied unfrozen, or if the copy
/// has links that were changed before they were frozen.
/// Two threads, bound 3.
#[test]
fn a_protection_is_not_lost_to_a_new_tag() {
    explore("a_protection_is_not_lost_to_a_new_tag", 3, 600, || {
        let t = Arc::new(table());
        t.link_closed(1, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 10);
            })],
            || {
                assert!(!t.protect(&1, SHIELD, || 0).before, "protected here only");
            },
        );
        assert_eq!(t.tag_value(&1, TAG), Some(10), "no update is lost");
        assert_eq!(t.read(&1, |_, links| links.is_protected()), Some(true), "nor is the protection");
    });
}

/// Two threads connect, and one of them disconnects another connection. Fails if a compare-and-swap overwrites what it did not read.
/// Two threads, bound 3.
#[test]
fn connections_come_and_go_beside_each_other() {
    explore("connections_come_and_go_beside_each_other", 3, 1_500, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together([Box::new(move || assert!(other.link(1, 2), "it is new"))], || {
            assert!(t.link(1, 3), "it is new");
            assert!(t.unlink(1, 1), "it was there");
        });
        let mut ids = t.read(&1, |_, links| links.conns().map(|conn| *conn.entry.id()).collect::<Vec<_>>());
        ids.as_mut().expect("connected").sort_unstable();
        assert_eq!(ids, Some(vec![2, 3]), "who came is there, who went is not");
        assert_eq!(t.connections(), 2, "counts do not drift");
    });
}

/// A reader goes through a peer's connections while the newest and the oldest go, and one comes that shares the rest. Fails if links are freed
/// under it, or while a list has them.
/// Two threads, bound 3.
#[test]
fn a_pinned_reader_keeps_the_links_it_reads() {
    explore("a_pinned_reader_keeps_the_links_it_reads", 3, 300, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(1, 2);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                assert!(other.link(1, 3), "it is new");
                assert!(other.unlink(1, 3), "it was there");
                assert!(other.unlink(1, 1), "it was there");
            })],
            || {
                let read = t.read(&1, |_, links| {
                    let mut conns = links.conns();
                    let newest = conns.next().map(|conn| *conn.entry.id());
                    reclaim::pin();
                    (newest, conns.count())
                });
                let had = [(Some(2), 1), (Some(3), 2), (Some(2), 0)];
                assert!(
                    had.contains(&read.expect("never gone")),
                    "connections that the peer has had: {read:?}"
                );
            },
        );
        assert_eq!(t.read(&1, |_, links| links.conns().count()), Some(1), "the second stays");
    });
}

/// A connection that is read was there with all it is made of. Fails if the swap of the word does not release, or the load does not acquire. (On
/// x86 no fence helps, so none does here.)
/// Two threads, bound 3.
#[test]
fn a_connection_that_is_read_is_there() {
    explore("a_connection_that_is_read_is_there", 3, 20, || {
        compiler_fences();
        let t = Arc::new(table());
        t.link(1, 1);
        let other = Arc::clone(&t);
        together([Box::new(move || assert!(other.link(1, 2), "it is new"))], || {
            let conns = t.read(&1, |_, links| links.conns().count());
            assert!(matches!(conns, Some(1 | 2)), "a state that the peer has had");
        });
    });
}

/// The same, but a third thread adds a tag, and so copies the word into the state that the reader finds. Fails if the word is copied without what it leads to.
/// Three threads, bound 3.
#[test]
fn a_connection_that_is_copied_is_there() {
    explore("a_connection_that_is_copied_is_there", 3, 7_000, || {
        compiler_fences();
        let t = Arc::new(table());
        t.link_closed(1, 1);
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || assert!(a.link(1, 2), "it is new")),
                Box::new(move || {
                    b.add(1, TAG, 1);
                }),
            ],
            || {
                let conns = t.read(&1, |_, links| links.conns().count());
                assert!(matches!(conns, Some(1 | 2)), "a state that the peer has had");
            },
        );
        assert_eq!(t.read(&1, |_, links| links.conns().count()), Some(2), "none is lost");
    });
}

/// Who finds that a connection is gone sees what its remover did before, though the word has become what it was and has been copied. Fails if the
/// freeze does not acquire what it hands on.
/// Three threads, bound 3.
#[test]
fn a_connection_that_is_gone_publishes_what_its_remover_did() {
    explore("a_connection_that_is_gone_publishes_what_its_remover_did", 3, 100_000, || {
        compiler_fences();
        let t = Arc::new(table());
        t.link_closed(1, 1);
        let record = t.hold(&1).expect("there");
        let done = Arc::new(AtomicU64::new(0));
        let (a, b, mark) = (Arc::clone(&t), Arc::clone(&t), Arc::clone(&done));
        together(
            [
                Box::new(move || {
                    mark.store(1, Ordering::Relaxed);
                    a.unlink(1, 2);
                }),
                Box::new(move || {
                    // (By the record, as a look-up would only make the model larger.)
                    assert_eq!(b.add_new_held(&record, TAG, 1), Some(1), "a new tag");
                }),
            ],
            || {
                let _pin = reclaim::pin();
                assert!(t.link(1, 2), "it is new");
                let held = t.read(&1, |_, links| links.conns().any(|conn| *conn.entry.id() == 2));
                if held == Some(false) {
                    assert_eq!(done.load(Ordering::Relaxed), 1, "done before it was removed");
                }
            },
        );
    });
}

/// Connections and protections that come after a snapshot are not in it; of two that came one after the other beside it, it does not hold the second
/// alone. Fails if links are changed in place whatever the state's epoch.
/// Two threads, bound 2.
#[test]
fn a_cut_holds_no_links_of_the_future() {
    explore("a_cut_holds_no_links_of_the_future", 2, 5_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.link(2, 1);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                assert!(other.link(1, 2), "it is new");
                assert!(other.link(2, 2), "it is new");
            })],
            || {
                let cut = Cut::take(&t);
                assert!(t.link(1, 9), "it is new");
                let _ = t.protect(&2, SHIELD, || 0);
                let seen = |peer| cut.get(&peer).map(|at| at.links.conns().count()).expect("connected");
                let (first, second) = (seen(1), seen(2));
                assert!(second == 1 || first == 2, "closed under happens-before: {second} without {first}");
                let ids = |peer| cut.get(&peer).map(|at| at.links.conns().any(|conn| *conn.entry.id() == 9));
                assert_eq!(ids(1), Some(false), "a connection of the future is not in");
                let protected = cut.get(&2).map(|at| at.links.is_protected());
                assert_eq!(protected, Some(false), "nor is a protection");
            },
        );
    });
}

/// A peer with a state on the heap leaves, which the state is told in place, while a copy of the state comes home. Fails if the job of the
/// death takes the copy for a revival.
/// Two threads, bound 3.
#[test]
fn a_peer_that_leaves_while_its_state_comes_home_is_unlinked() {
    explore("a_peer_that_leaves_while_its_state_comes_home_is_unlinked", 3, 1_500, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let pin = reclaim::pin();
        for _ in 0..2 {
            t.add(1, OTHER, 1);
            t.untag(&1, OTHER);
        }
        let other = Arc::clone(&t);
        together([Box::new(move || assert!(other.unlink(1, 1), "it was there"))], || drop(pin));
        assert!(t.read(&1, |_, _| ()).is_none(), "it has left");
        assert_eq!(t.len(), 0, "and its record is unlinked");
    });
}
