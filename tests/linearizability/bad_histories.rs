//! The checkers can fail: bad histories made by hand, each beside a good one that differs in little.

use connmgr::Protection;

use super::checker::{Step, linearizable, of_peer, outcomes};
use super::cuts::torn;
use super::history::{CutRecord, Event, Held, History, Record, Shape};
use super::judge;
use super::minimise::failing;
use super::model::Peer;

const A: usize = 0;
const B: usize = 1;

/// An operation of a thread on the first peer.
fn record(thread: usize, from: u64, to: u64, event: Event) -> Record {
    Record::new(thread, 0, (from, to), event)
}

fn upsert(thread: usize, from: u64, to: u64, value: i64) -> Record {
    record(thread, from, to, Event::Upsert { tag: A, add: 1, to: value })
}

fn read(thread: usize, from: u64, to: u64, value: Option<i64>) -> Record {
    record(thread, from, to, Event::TagValue { tag: A, value })
}

fn protect(thread: usize, from: u64, to: u64, found: Protection) -> Record {
    record(thread, from, to, Event::Protect { name: 0, found })
}

fn connected(from: u64, to: u64) -> Record {
    record(0, from, to, Event::Connected { id: 0, serial: 7 })
}

fn claim(thread: usize, from: u64, to: u64) -> Record {
    record(thread, from, to, Event::Claim { serials: vec![7], value: 0, protected: false })
}

/// A reading of a snapshot that was begun at `from`, taken at `taken` and read at `to`: one tag, of that value.
fn snapshot(from: u64, taken: u64, to: u64, value: i64) -> Vec<Record> {
    let shape = Shape { tags: 1 << A, protections: Some(0), ..Shape::default() };
    let events = [Event::Structure { shape }, Event::ValueIn { shape, tag: A, value }];
    let records = events.into_iter().map(|event| record(9, from, to, event));
    records.map(|record| Record { taken: Some(taken), ..record }).collect()
}

fn is_good(records: &[Record]) -> bool {
    let records = of_peer(records, 0);
    let steps: Vec<_> = records.iter().map(|record| Step { record, pending: false }).collect();
    linearizable(&steps, Peer::default())
}

#[test]
fn a_lost_update_is_found() {
    assert!(is_good(&[upsert(1, 0, 3, 2), upsert(2, 1, 2, 1)]), "two updates, the later one first");
    assert!(!is_good(&[upsert(1, 0, 3, 1), upsert(2, 1, 2, 1)]), "both found nothing");
    assert!(
        !is_good(&[upsert(1, 0, 1, 2), upsert(2, 2, 3, 1)]),
        "the first saw the second, which had not begun"
    );
}

#[test]
fn a_stale_read_is_found() {
    assert!(is_good(&[upsert(1, 0, 2, 1), read(2, 1, 3, None)]), "the update is under way: not seen yet");
    assert!(is_good(&[upsert(1, 0, 2, 1), read(2, 1, 3, Some(1))]), "or seen");
    assert!(!is_good(&[upsert(1, 0, 1, 1), read(2, 2, 3, None)]), "it had returned");
    let back = [upsert(1, 0, 9, 1), read(2, 1, 2, Some(1)), read(2, 3, 4, None)];
    assert!(!is_good(&back), "what has been seen does not go");
    let across = [upsert(1, 0, 9, 1), read(2, 1, 2, Some(1)), read(3, 3, 4, None)];
    assert!(!is_good(&across), "nor for another thread");
}

#[test]
fn a_close_after_protect_is_found() {
    let protected = Protection::Protected;
    let during = [connected(0, 1), protect(1, 2, 5, Protection::TooLate), claim(2, 3, 4)];
    assert!(is_good(&during), "the claim came first, and protect says so");
    let after = [connected(0, 1), protect(1, 2, 3, protected), claim(2, 4, 5)];
    assert!(!is_good(&after), "the trim began after protect had returned");
    let unseen = [connected(0, 1), protect(1, 2, 5, protected), claim(2, 3, 4)];
    assert!(!is_good(&unseen), "if the claim came first, protect has to say so; if not, it must not succeed");
    let again = [connected(0, 1), claim(2, 2, 3), claim(2, 4, 5)];
    assert!(!is_good(&again), "nothing is closed twice");
    let lifted = record(1, 4, 5, Event::Unprotect { name: 0, still: false });
    assert!(
        is_good(&[connected(0, 1), protect(1, 2, 3, protected), lifted, claim(2, 6, 7)]),
        "no longer protected"
    );
    let disconnected = record(1, 2, 3, Event::Disconnected { id: 0 });
    assert!(!is_good(&[connected(0, 1), disconnected, claim(2, 4, 5)]), "what has gone is not closed");
    let raised = [connected(0, 1), upsert(1, 2, 3, 1), claim(2, 4, 5)];
    assert!(!is_good(&raised), "nor is a peer at a value that it no longer has");
}

#[test]
fn a_peer_that_loses_its_last_connection_loses_its_tags_and_keeps_its_protections() {
    let rest = |protections| {
        let shape = Shape { protections: Some(protections), ..Shape::default() };
        let gone = record(1, 6, 7, Event::Disconnected { id: 0 });
        let found = record(1, 8, 9, Event::Structure { shape });
        [connected(0, 1), protect(1, 2, 3, Protection::Protected), upsert(1, 4, 5, 1), gone, found]
    };
    assert!(is_good(&rest(1)), "protected still, and nothing else");
    assert!(!is_good(&rest(0)), "the protection was lost");
    let mut ignored = rest(1).to_vec();
    ignored[3].event = Event::Disconnected { id: 1 };
    assert!(!is_good(&ignored), "the tags went, though the connection had not");
}

#[test]
fn a_snapshot_may_show_late_what_was_under_way_and_nothing_that_began_later() {
    let with = |others: &[Record], value| {
        let mut records = vec![upsert(1, 0, 1, 1)];
        records.extend_from_slice(others);
        records.extend(snapshot(10, 12, 20, value));
        is_good(&records)
    };
    assert!(with(&[upsert(2, 2, 3, 2)], 2), "it had returned before");
    assert!(!with(&[upsert(2, 2, 3, 2)], 1), "so it must be in");
    assert!(with(&[upsert(2, 13, 14, 2)], 1), "it began when the snapshot had been taken");
    assert!(!with(&[upsert(2, 13, 14, 2)], 2), "so it must not be in, though the reading goes on");
    for value in [1, 2] {
        assert!(with(&[upsert(2, 11, 16, 2)], value), "it was under way: {value} will do");
    }
    let late = [upsert(2, 11, 19, 2), read(3, 14, 15, Some(1))];
    assert!(with(&late, 2), "it took effect after the snapshot had been taken, and came to be seen");
    let found = record(3, 21, 22, Event::TagValue { tag: A, value: Some(1) });
    assert!(!with(&[upsert(2, 11, 30, 2), found], 2), "but whoever reads after that sees it, too");
}

#[test]
fn values_of_two_structures_in_one_reading_are_found() {
    let both = Shape { tags: 1 << A | 1 << B, ..Shape::default() };
    let events = [
        Event::Structure { shape: both },
        Event::ValueIn { shape: both, tag: A, value: 1 },
        Event::ValueIn { shape: both, tag: B, value: 5 },
    ];
    let mut history: Vec<Record> = events.into_iter().map(|event| record(9, 2, 9, event)).collect();
    history.push(upsert(1, 0, 1, 1));
    history.push(record(1, 3, 4, Event::Set { tag: B, to: 5 }));
    assert!(is_good(&history), "both were there at once");
    history.push(upsert(2, 5, 6, 2));
    assert!(is_good(&history), "and a value that changes meanwhile may be the old one");
    history[4] = record(1, 3, 4, Event::Untag { tag: A });
    history[5] = record(1, 5, 6, Event::Set { tag: B, to: 5 });
    assert!(!is_good(&history), "they never were");
}

/// A history of two counters, the first tags of two peers: an update of each, and a snapshot that was begun at 10, taken at 12.
fn cut(first: (u64, u64), second: (u64, u64), saw: Option<i64>, seen: [i64; 2]) -> History {
    let raised = |peer, interval| Record::new(1, peer, interval, Event::Upsert { tag: A, add: 1, to: 1 });
    let mut records = vec![raised(0, first), raised(1, second)];
    records[1].saw = saw.map(|value| (0, A, value));
    let value = |value| [Some(value).filter(|&value| value > 0), None, None];
    let seen = vec![(0, value(seen[0])), (1, value(seen[1]))];
    History {
        records,
        cuts: vec![CutRecord { thread: 2, from: 10, taken: 12, to: 20, seen }],
        faults: Vec::new(),
    }
}

#[test]
fn a_torn_snapshot_is_found() {
    let is_torn = |first, second, saw, seen| torn(&cut(first, second, saw, seen)).is_some();
    assert!(!is_torn((0, 1), (2, 3), None, [1, 1]), "both had returned before, and are in");
    assert!(is_torn((0, 1), (2, 3), None, [1, 0]), "the second had returned before");
    assert!(is_torn((0, 1), (13, 14), None, [1, 1]), "the second began after it had been taken");
    assert!(!is_torn((2, 15), (3, 16), None, [0, 1]), "of two that were under way, either may be in");
    assert!(is_torn((2, 9), (10, 16), None, [0, 1]), "but the first had returned when the second began");
    assert!(is_torn((2, 15), (3, 16), Some(1), [0, 1]), "the second had seen the first");
    assert!(!is_torn((2, 15), (3, 16), Some(1), [1, 0]), "which had not seen the second");
}

#[test]
fn a_snapshot_torn_by_what_a_third_thread_had_read_is_found() {
    let mut history = cut((2, 30), (11, 16), None, [0, 1]);
    assert!(torn(&history).is_none(), "either may be in");
    history.records.push(read(3, 3, 10, Some(1)));
    let torn = torn(&history).expect("the first had been read when the second began");
    assert_eq!(torn.lines.len(), 3, "told by the read, the update and the snapshot: {torn:?}");
}

#[test]
fn a_witness_is_short_and_tells_what_came_before() {
    let mut records = vec![connected(0, 1)];
    records.extend((0..10).map(|n| upsert(1, 2 * n + 2, 2 * n + 3, n as i64 + 1)));
    records.extend([read(2, 30, 31, Some(10)), upsert(1, 32, 40, 11), upsert(2, 33, 39, 11)]);
    records.extend([read(2, 34, 35, Some(10)), upsert(3, 50, 51, 12), read(3, 52, 53, Some(12))]);
    assert!(failing(&records[..11], 0).is_none(), "all is well up to there");
    let witness = failing(&records, 0).expect("two updates that gave the same");
    assert_eq!(witness.records.len(), 2, "they alone are left: {witness:?}");
    assert_eq!(witness.first.tags[A], Some(10), "from the value they found");
    assert_eq!(
        witness.first.conns[0],
        Some(Held { serial: 7, closing: false }),
        "of a peer that was connected"
    );
    let told = judge(&History { records, ..History::default() }).expect("it is bad");
    assert_eq!(told.lines().count(), 3, "a line for each, and one before them:\n{told}");
    assert!(told.contains("thread 2     33..39  peer 0  upsert a by +1 = 11"), "readable:\n{told}");
}

#[test]
fn what_was_under_way_at_the_cut_may_have_taken_effect() {
    let records = [upsert(1, 0, u64::MAX, 1), read(2, 1, 2, Some(1)), read(2, 3, 4, Some(1))];
    let steps: Vec<_> =
        records.iter().map(|record| Step { record, pending: record.to == u64::MAX }).collect();
    assert!(linearizable(&steps, Peer::default()), "it took effect before the reads");
    assert!(linearizable(&steps[..1], Peer::default()), "or not yet");
    assert_eq!(outcomes(&steps[..1], Peer::default()).len(), 2, "so there are two ways it may end");
}

#[test]
fn a_trim_may_remove_a_temporary_record_and_no_other() {
    let after = |first: Record, value| {
        is_good(&[first, upsert(1, 2, 3, 1), record(2, 4, 5, Event::MayExpire), read(1, 6, 7, value)])
    };
    let temporary = || read(1, 0, 1, None);
    assert!(after(temporary(), None) && after(temporary(), Some(1)), "it may, or not");
    assert!(after(connected(0, 1), Some(1)) && !after(connected(0, 1), None), "a connected peer stays");
    let protected = || protect(1, 0, 1, Protection::Protected);
    assert!(after(protected(), Some(1)) && !after(protected(), None), "so does a protected one");
}
