use std::collections::HashSet;
use std::thread;

use super::*;

/// An id, found by any hash that a test gives it.
#[derive(Clone, Copy)]
struct Named {
    hash: u64,
    id: u64,
}

impl Indexed for Named {
    fn hash(&self) -> u64 {
        self.hash
    }
}

fn put(index: &Index<Named>, hash: u64, id: u64) -> bool {
    let guard = reclaim::pin();
    index.find_or_insert(hash, &guard, |entry| entry.id == id, || Named { hash, id }, |_| {}).1
}

fn has(index: &Index<Named>, hash: u64, id: u64) -> bool {
    index.find(hash, &reclaim::pin(), |entry| (entry.id == id).then_some(())).is_some()
}

fn take(index: &Index<Named>, hash: u64, id: u64) {
    let guard = reclaim::pin();
    let (node, ()) = index.find(hash, &guard, |entry| (entry.id == id).then_some(())).expect("there");
    index.remove(node, &guard, |_, _| true);
}

/// Lets deferred unlinking happen: each pin may collect some.
fn settle(index: &Index<Named>, expected: usize) {
    for _ in 0..1_000_000 {
        if index.len() == expected {
            return;
        }
        reclaim::settle();
    }
    panic!("{} entries are left, {expected} expected", index.len());
}

/// Spreads ids over the table, or over four homes only.
fn hash(id: u64, homes: u64) -> u64 {
    (id % homes).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[test]
fn a_table_grows_with_what_it_holds_and_shrinks_when_that_leaves() {
    let index = Index::with_capacity(0);
    for id in 0..20_000 {
        assert!(put(&index, hash(id, u64::MAX), id), "new");
    }
    for id in 0..20_000 {
        assert!(has(&index, hash(id, u64::MAX), id), "nobody is lost in growth");
    }
    let full = index.capacity(&reclaim::pin());
    assert!(
        (32_000..=80_000).contains(&full),
        "up to four slots an entry, and more than one and a half: {full}"
    );
    for id in 0..20_000 {
        take(&index, hash(id, u64::MAX), id);
    }
    settle(&index, 0);
    // A walk finishes what migration is left.
    assert_eq!(index.walk(&reclaim::pin()).count(), 0, "all are gone");
    let empty = index.capacity(&reclaim::pin());
    assert!(empty <= 1024, "a table shrinks with what it holds: {empty} slots for nothing");
}

/// Addresses are used again soon by the allocator, and a removed slot keeps its address until the next migration: it must
/// not be taken for the new entry's. (Marking such a slot once left the new entry linked for ever.)
#[test]
fn a_removed_slot_is_not_taken_for_a_new_entry_at_its_address() {
    let index = Index::with_capacity(0);
    for round in 0..20_000 {
        assert!(put(&index, hash(round, 4), round), "new");
        take(&index, hash(round, 4), round);
        if round % 64 == 0 {
            settle(&index, 0);
            assert_eq!(index.walk(&reclaim::pin()).count(), 0, "removed for good");
        }
    }
    settle(&index, 0);
    assert!(index.capacity(&reclaim::pin()) <= 1024, "ids that come and go for ever do not grow the table");
}

/// The removed slots of an entry that keeps returning made one path longer and longer, up to half the table.
#[test]
fn an_entry_that_keeps_returning_does_not_wear_out_its_path() {
    let index = Index::with_capacity(0);
    for id in 0..4_000 {
        put(&index, hash(id, u64::MAX), id);
    }
    let mut worst = 0;
    for _ in 0..20_000 {
        put(&index, 42, u64::MAX);
        take(&index, 42, u64::MAX);
        settle(&index, 4_000);
        worst = worst.max(index.worn(42, &reclaim::pin()));
    }
    let capacity = index.capacity(&reclaim::pin());
    assert!(capacity >= 8_000, "the others are still there, in {capacity} slots");
    assert!(worst <= 400, "a path leads over {worst} removed slots, of {capacity}");
}

#[test]
fn threads_that_insert_and_remove_the_same_ids_agree() {
    const IDS: u64 = 512;
    const ROUNDS: u64 = 60;
    let index = Index::with_capacity(0);
    for round in 0..ROUNDS {
        let made: usize = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..IDS).filter(|id| put(&index, hash(*id, 64), *id)).count()))
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(made, IDS as usize, "each id is inserted by exactly one thread, round {round}");
        let guard = reclaim::pin();
        let seen: Vec<u64> = index.walk(&guard).map(|node| node.id).collect();
        let distinct: HashSet<u64> = seen.iter().copied().collect();
        assert_eq!((seen.len(), distinct.len()), (IDS as usize, IDS as usize), "each once, round {round}");
        drop(guard);
        thread::scope(|scope| {
            for worker in 0..4 {
                let index = &index;
                scope.spawn(move || {
                    (0..IDS).filter(|id| id % 4 == worker).for_each(|id| take(index, hash(id, 64), id));
                });
            }
        });
        settle(&index, 0);
    }
}
