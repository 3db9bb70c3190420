//! Peers that come and go: connect, disconnect, death, return and unlinking against updates and look-ups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Link, NewConn, OTHER, SHIELD, Short, TAG, explore, seeded, table, together};
use crate::peer::{ExpiryTerms, PeerTable};
use crate::snapshot::Cut;

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
        together([Box::new(move || assert!(other.unlink(1, 1), "it was there"))], || {
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
                Box::new(move || assert!(a.unlink(1, 1), "it was there")),
                Box::new(move || {
                    let conns = b.read(&1, |_, links| links.conns().count());
                    assert!(matches!(conns, None | Some(1 | 2)), "a state that the peer has had");
                }),
            ],
            || assert!(t.link(1, 2), "a new connection"),
        );
        assert_eq!(t.read(&1, |_, links| links.conns().count()), Some(1), "the new connection is held");
        assert_eq!(t.connections(), 1, "counts do not drift");
    });
}

/// A peer leaves, and its record is sealed and unlinked, while it connects anew and is tagged. Another entry fills its home group, so that a new record stands
/// beyond, and the sealed one is what a first look finds. Fails if that is taken for the peer.
/// Two threads, bound 3.
#[test]
fn a_peer_beside_its_sealed_record_is_found() {
    explore("a_peer_beside_its_sealed_record_is_found", 3, 10_000, || {
        let t = Arc::new(PeerTable::new(8, seeded()));
        // (A group is two slots.)
        let home = |peer| t.hash(&peer) % 4;
        t.link(1, 1);
        t.link((2..).find(|&other| home(other) == home(1)).expect("one in four"), 1);
        let other = Arc::clone(&t);
        together([Box::new(move || assert!(other.unlink(1, 1), "it was there"))], || {
            assert!(t.link(1, 2), "a new connection");
            assert_eq!(t.add(1, TAG, 5), 5, "the first");
            assert_eq!(t.tag_value(&1, TAG), Some(5), "just stored");
            assert_eq!(t.add(1, TAG, 1), 6, "of what was stored");
        });
        assert_eq!(t.tag_value(&1, TAG), Some(6), "the tag stays as long as the connection");
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
                let there = t.unlink(1, 2);
                let left = t.read(&1, |_, links| links.conns().count()).expect("held by connection 9");
                assert!(left == 1 || !there, "what was disconnected is not there");
            },
        );
        let held = t.read(&1, |_, links| links.conns().count()).expect("held by connection 9");
        assert_eq!(t.connections(), held, "counts do not drift");
    });
}

/// A peer whose tags are kept returns in time, by its clock, while the sweep, by a later one, takes them. Fails if it finds a part of
/// them, if both have them, or if the sweep takes from a peer that is back.
#[test]
fn a_peer_that_returns_beside_the_sweep_finds_all_its_tags_or_none() {
    explore("a_peer_that_returns_beside_the_sweep_finds_all_its_tags_or_none", 3, 50, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 5);
        t.add(1, OTHER, 7);
        assert!(t.disconnect(&1, &1, || Some(10)), "it was there");
        let (other, swept) = (Arc::clone(&t), Arc::new(AtomicBool::new(false)));
        let sweeps = Arc::clone(&swept);
        together(
            [Box::new(move || {
                let cut = Cut::take(&other);
                if let Some(at) = cut.get(&1) {
                    let terms = ExpiryTerms { seen_by: None, left_by: Some(10) };
                    sweeps.store(other.expire(at.node, terms, cut.guard()), Ordering::Relaxed);
                }
            })],
            || assert!(t.connect(&1, &mut NewConn::new(Link(2)), 15, false, || Some(5)), "a new connection"),
        );
        let kept = if swept.load(Ordering::Relaxed) { (None, None) } else { (Some(5), Some(7)) };
        assert_eq!((t.tag_value(&1, TAG), t.tag_value(&1, OTHER)), kept, "all, or none if they were swept");
        let links = t.read(&1, |_, links| (links.conns().count(), links.has_left(), links.first_seen()));
        assert_eq!(links, Some((1, false, 15)), "it is back, and seen first now");
        assert_eq!((t.connections(), t.len()), (1, 1), "one record, one connection");
    });
}

/// A peer returns too late for its tags, which have not been swept, while one of them is raised. Fails if the raised value outlives what it
/// was raised from.
#[test]
fn a_late_return_beside_an_upsert_leaves_nothing_of_old_tags() {
    explore("a_late_return_beside_an_upsert_leaves_nothing_of_old_tags", 3, 50, || {
        let t = Arc::new(table());
        t.link(1, 1);
        t.add(1, TAG, 5);
        assert!(t.disconnect(&1, &1, || Some(10)), "it was there");
        let other = Arc::clone(&t);
        let mut stored = 0;
        together(
            [Box::new(move || {
                assert!(
                    other.connect(&1, &mut NewConn::new(Link(2)), 30, false, || Some(20)),
                    "a new connection"
                );
            })],
            || stored = t.add(1, TAG, 1),
        );
        let left = if stored == 6 { None } else { Some(1) };
        assert_eq!(t.tag_value(&1, TAG), left, "raised before the return and gone, or set anew after it");
        assert!(stored == 6 || stored == 1, "stored {stored}: neither order gives that");
    });
}
