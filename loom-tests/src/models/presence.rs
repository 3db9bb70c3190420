//! Peers that come and go: connect, disconnect, death, return and unlinking against updates and look-ups.

use std::sync::Arc;

use super::{SHIELD, Short, TAG, explore, table, together};

/// The last disconnect against an upsert. Either the tag goes with the peer, or it makes a new, temporary record. Fails
/// if an update reaches a dead record.
/// Two threads, bound 3.
#[test]
fn an_upsert_beside_the_last_disconnect_is_kept_or_cleared() {
    explore("an_upsert_beside_the_last_disconnect_is_kept_or_cleared", 3, 600, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 5);
        let other = Arc::clone(&t);
        let mut stored = 0;
        together([Box::new(move || assert!(other.disconnect(&1, &1), "it was there"))], || {
            stored = t.add(1, TAG, 1);
        });
        match stored {
            6 => assert_eq!(t.tag_value(&1, TAG), None, "the tags went with the last connection"),
            1 => assert_eq!(t.tag_value(&1, TAG), Some(1), "a new record"),
            other => panic!("stored {other}: neither order gives that"),
        }
        assert_eq!(t.connections(), 0, "counts do not drift");
    });
}

/// A peer leaves while the same peer connects anew, and a third thread looks it up. Fails if anything is added to a dead record, or if a
/// connection is lost.
/// Three threads, bound 3.
#[test]
fn a_peer_that_returns_while_it_leaves_is_there() {
    explore("a_peer_that_returns_while_it_leaves_is_there", 3, 10_000, || {
        let t = Arc::new(table());
        t.link(1, 1);
        let (a, b) = (Arc::clone(&t), Arc::clone(&t));
        together(
            [
                Box::new(move || assert!(a.disconnect(&1, &1), "it was there")),
                Box::new(move || {
                    let conns = b.read(&1, |_, links| links.conns.len());
                    assert!(matches!(conns, None | Some(1 | 2)), "a state that the peer has had");
                }),
            ],
            || assert!(t.link(1, 2), "a new connection"),
        );
        assert_eq!(t.read(&1, |_, links| links.conns.len()), Some(1), "the new connection is held");
        assert_eq!(t.connections(), 1, "counts do not drift");
    });
}

/// Two threads remove the last two things a temporary, protected peer has. Fails if it dies twice, or stays with nothing.
/// Two threads, bound 3.
#[test]
fn the_last_of_two_removals_removes_the_peer() {
    explore("the_last_of_two_removals_removes_the_peer", 3, 900, || {
        let t = Arc::new(table());
        t.add(1, TAG, 5);
        let _ = t.protect(&1, SHIELD, || 0);
        let other = Arc::clone(&t);
        together([Box::new(move || assert!(other.untag(&1, TAG), "it was there"))], || {
            assert!(!t.unprotect(&1, SHIELD), "no other protection");
        });
        assert!(t.read(&1, |_, _| ()).is_none(), "a peer with nothing left is gone");
        assert_eq!(t.len(), 0, "and its record unlinked");
    });
}

/// One connection id is opened and closed by two threads at once. Fails if the counts drift.
/// Two threads, bound 3.
#[test]
fn connect_and_disconnect_of_one_id_keep_the_count() {
    explore("connect_and_disconnect_of_one_id_keep_the_count", 3, 100, || {
        let t = Arc::new(table());
        t.link(1, 9);
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.link(1, 2);
            })],
            || {
                let there = t.disconnect(&1, &2);
                let left = t.read(&1, |_, links| links.conns.len()).expect("held by connection 9");
                assert!(left == 1 || !there, "what was disconnected is not there");
            },
        );
        let held = t.read(&1, |_, links| links.conns.len()).expect("held by connection 9");
        assert_eq!(t.connections(), held, "counts do not drift");
    });
}
