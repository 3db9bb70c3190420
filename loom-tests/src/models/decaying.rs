//! Decaying values: bumps against each other, against decay that is written back, claims and closing.

use std::sync::Arc;

use super::claims::trim;
use super::{Short, TAG, Table, explore, table, together};
use crate::peer::{DecayId, Open, Stored};
use crate::reclaim;
use crate::snapshot::Cut;

fn id() -> DecayId {
    DecayId::new(0).expect("the first")
}

/// Adds `delta`, as a bump at `at`: between the same boundaries as the last bump if that was at the same time.
fn bump(t: &Table, open: &Open, delta: i64, at: u64) -> Option<i64> {
    let next = |from: Option<Stored>| {
        let from = from.unwrap_or(Stored { value: 0, bumped: at, added: at });
        Stored { value: from.value + delta, bumped: from.bumped.max(at), ..from }
    };
    t.bump(&1, id(), open, || 0, next).map(|stored| stored.value)
}

fn stored(t: &Table) -> Option<(i64, u64)> {
    t.decaying(&1, id()).map(|stored| (stored.value, stored.bumped))
}

/// A table whose peer 1 is connected and has a decaying value of 1, bumped at 0.
fn bumped() -> (Arc<Table>, Arc<Open>) {
    let (t, open) = (Arc::new(table()), Arc::new(Open::new()));
    t.link(1, 1);
    assert_eq!(bump(&t, &open, 1, 0), Some(1), "open");
    (t, open)
}

/// A bump in place against one that moves the time: two threads, bound 2. Fails if a bump lands on what has been replaced, or on what it did not read.
#[test]
fn a_bump_in_place_and_one_that_moves_the_time_both_count() {
    explore("a_bump_in_place_and_one_that_moves_the_time_both_count", 2, 20_000, || {
        let (t, open) = bumped();
        let (other, opened) = (Arc::clone(&t), Arc::clone(&open));
        together([Box::new(move || assert!(bump(&other, &opened, 10, 0).is_some(), "open"))], || {
            assert!(bump(&t, &open, 100, 5).is_some(), "open");
        });
        assert_eq!(stored(&t), Some((111, 5)), "no bump is lost, and the later time stays");
    });
}

/// Two bumps that move the time, one of which leaves the value as it was: two threads, bound 2. Fails if a bump takes the same value for the same bump.
#[test]
fn a_bump_that_only_moves_the_time_is_not_undone() {
    explore("a_bump_that_only_moves_the_time_is_not_undone", 2, 8_000, || {
        let (t, open) = bumped();
        let (other, opened) = (Arc::clone(&t), Arc::clone(&open));
        together([Box::new(move || assert!(bump(&other, &opened, 0, 5).is_some(), "open"))], || {
            assert!(bump(&t, &open, 100, 3).is_some(), "open");
        });
        assert_eq!(stored(&t), Some((101, 5)), "no bump is lost, and the later time stays");
    });
}

/// A bump in place against a plain tag that is added, which replaces the state: two threads, bound 3. Fails without the freeze.
#[test]
fn a_bump_is_not_lost_to_a_new_tag() {
    explore("a_bump_is_not_lost_to_a_new_tag", 3, 2_200, || {
        let (t, open) = bumped();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                other.add(1, TAG, 1000);
            })],
            || assert!(bump(&t, &open, 10, 0).is_some(), "open"),
        );
        assert_eq!(stored(&t), Some((11, 0)), "the bump is not lost");
        assert_eq!(t.tag_value(&1, TAG), Some(1000), "nor is the plain tag");
    });
}

/// The first two bumps of a peer that nobody has seen: two threads, bound 3. Fails if there come to be two records, or a bump is overwritten.
#[test]
fn two_first_bumps_of_one_peer_both_count() {
    explore("two_first_bumps_of_one_peer_both_count", 3, 300, || {
        let (t, open) = (Arc::new(table()), Arc::new(Open::new()));
        let (other, opened) = (Arc::clone(&t), Arc::clone(&open));
        together([Box::new(move || assert!(bump(&other, &opened, 10, 0).is_some(), "open"))], || {
            assert!(bump(&t, &open, 100, 0).is_some(), "open");
        });
        assert_eq!(stored(&t), Some((110, 0)), "both count");
        assert_eq!(t.len(), 1, "one record");
    });
}

/// A value that has decayed away is dropped while it is bumped: two threads, bound 3. Fails if a bumped value is dropped.
#[test]
fn a_bump_beside_the_drop_of_a_decayed_value_is_kept() {
    explore("a_bump_beside_the_drop_of_a_decayed_value_is_kept", 3, 3_500, || {
        let (t, open) = bumped();
        let other = Arc::clone(&t);
        let mut after = None;
        together(
            [Box::new(move || {
                let cut = Cut::take(&other);
                let at = cut.get(&1).expect("connected");
                other.drop_decaying_if(at.node, id(), |stored| stored.value == 1, cut.guard());
            })],
            || after = bump(&t, &open, 10, 0),
        );
        assert!(after == Some(10) || after == Some(11), "after the drop, or before: {after:?}");
        assert_eq!(stored(&t).map(|(value, _)| value), after, "what a bump returned is stored");
    });
}

/// One thread bumps an unknown peer while another closes the tag.
fn close_beside_a_bump(pinned: bool) {
    let (t, open) = (Arc::new(table()), Arc::new(Open::new()));
    let (other, opened) = (Arc::clone(&t), Arc::clone(&open));
    together(
        [Box::new(move || {
            bump(&other, &opened, 10, 0);
        })],
        || {
            let _pin = pinned.then(reclaim::pin);
            open.shut();
            let cut = Cut::take(&t);
            for at in cut.iter() {
                t.drop_decaying_if(at.node, id(), |_| true, cut.guard());
            }
        },
    );
    assert_eq!(stored(&t), None, "no value of a closed tag is left");
    assert_eq!(t.len(), 0, "nor a record with nothing in it");
}

/// A tag is closed while an unknown peer is bumped: two threads, bound 3. Fails if something of the closed tag stays behind.
#[test]
fn nothing_of_a_closed_tag_stays_behind() {
    explore("nothing_of_a_closed_tag_stays_behind", 3, 3_300, || close_beside_a_bump(false));
}

/// The same on a thread that is pinned already, as in a trim's callback or with a snapshot held, so that the cut's pin has no fence: two
/// threads, bound 3. Fails if the close leans on that fence.
#[test]
fn nothing_of_a_tag_closed_under_a_pin_stays_behind() {
    explore("nothing_of_a_tag_closed_under_a_pin_stays_behind", 3, 3_000, || close_beside_a_bump(true));
}

/// A claim against a bump that raises the value above the cut-off: two threads, bound 3. Fails if the claim sums values that are not final.
#[test]
fn a_claim_does_not_take_a_peer_bumped_above_the_cutoff() {
    explore("a_claim_does_not_take_a_peer_bumped_above_the_cutoff", 3, 7_500, || {
        let (t, open) = bumped();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                trim(&other);
            })],
            || {
                assert!(bump(&t, &open, 10, 0).is_some(), "open");
                let closing =
                    t.read(&1, |_, links| links.conns().all(|conn| conn.is_closing())).expect("held");
                assert_eq!(trim(&t), 0, "nothing is closed once it is worth 11");
                let later = t.read(&1, |_, links| links.conns().all(|conn| conn.is_closing())).expect("held");
                assert_eq!(closing, later, "whether it was claimed is decided when the bump has returned");
            },
        );
    });
}

/// A value and its times move together, then the value alone, against a reader: two threads, bound 3. Fails if a value is read with
/// the times of another.
#[test]
fn a_value_goes_with_its_times() {
    explore("a_value_goes_with_its_times", 3, 800, || {
        let (t, open) = bumped();
        let other = Arc::clone(&t);
        together(
            [Box::new(move || {
                let now = stored(&other).expect("it is never dropped");
                assert!([(1, 0), (11, 5), (111, 5)].contains(&now), "never stored: {now:?}");
            })],
            || {
                bump(&t, &open, 10, 5);
                bump(&t, &open, 100, 5);
            },
        );
    });
}
