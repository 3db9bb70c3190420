//! The measure of all: sharded mutexes over flat tables, hashed once a call.

use ahash::RandomState;
use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::Mutex;

use super::choice::{Copied, choose, close, worth};
use super::{Books, Record, SHARDS};
use crate::common::subject::{Subject, Trimmed};
use crate::common::world::{Conn, HOT, Id, World};

/// A peer with its record, in the table itself.
struct Entry<I> {
    id: I,
    record: Record,
}

type Shard<I> = Mutex<HashTable<Entry<I>>>;

/// Locks on lines of their own, each over a table of its share of the peers; one hash chooses the shard and the place.
pub struct ShardedMutex<I> {
    shards: Box<[CachePadded<Shard<I>>]>,
    hasher: RandomState,
    books: Books,
}

impl<I: Id> ShardedMutex<I> {
    /// The hash of an id and its shard, by bits that the table uses for neither place nor tag.
    #[inline]
    fn locate(&self, id: &I) -> (u64, &Shard<I>) {
        let hash = self.hasher.hash_one(id);
        (hash, &self.shards[(hash >> 49) as usize % SHARDS])
    }

    #[inline]
    fn with<R>(&self, id: &I, change: impl FnOnce(&mut Record) -> R) -> R {
        let (hash, shard) = self.locate(id);
        let mut table = shard.lock();
        match table.find_mut(hash, |entry| entry.id == *id) {
            Some(entry) => change(&mut entry.record),
            None => change(self.add(&mut table, hash, id)),
        }
    }

    #[cold]
    #[inline(never)]
    fn add<'t>(&self, table: &'t mut HashTable<Entry<I>>, hash: u64, id: &I) -> &'t mut Record {
        let slot = table.entry(hash, |entry| entry.id == *id, |entry| self.hasher.hash_one(entry.id));
        let new = || Entry { id: *id, record: Record { first_seen: self.books.now(), ..Record::default() } };
        &mut match slot {
            Slot::Occupied(entry) => entry.into_mut(),
            Slot::Vacant(slot) => slot.insert(new()).into_mut(),
        }
        .record
    }
}

impl<I: Id> Subject<I> for ShardedMutex<I> {
    const NAME: &'static str = "sharded_mutex";

    type Lane = ();

    fn empty(_: usize) -> Self {
        let shards = (0..SHARDS).map(|_| CachePadded::new(Mutex::new(HashTable::new()))).collect();
        Self { shards, hasher: RandomState::new(), books: Books::new() }
    }

    fn lane(&self, _: &World<I>) {}

    #[inline]
    fn upsert(&self, (): &(), _: usize, id: &I) -> i64 {
        self.with(id, |record| record.upsert(HOT, |value| value + 1))
    }

    #[inline]
    fn read(&self, (): &(), _: usize, id: &I) -> i64 {
        self.value(0, id, HOT).unwrap_or(0)
    }

    fn set(&self, _: usize, id: &I, tag: usize, value: i64) {
        self.with(id, |record| record.upsert(tag, |_| value));
    }

    #[inline]
    fn value(&self, _: usize, id: &I, tag: usize) -> Option<i64> {
        let (hash, shard) = self.locate(id);
        shard.lock().find(hash, |entry| entry.id == *id)?.record.tag(tag)
    }

    #[inline]
    fn connect(&self, id: &I, conn: Conn) {
        let now = self.books.now();
        self.books.connected(self.with(id, |record| record.connect(conn, now)));
    }

    #[inline]
    fn disconnect(&self, id: &I, conn: u64) {
        let (hash, shard) = self.locate(id);
        let mut table = shard.lock();
        let removed = table.find_entry(hash, |entry| entry.id == *id).ok().and_then(|mut entry| {
            let held = entry.get_mut().record.disconnect(conn);
            if entry.get().record.is_gone() {
                entry.remove();
            }
            held
        });
        drop(table);
        self.books.disconnected(removed);
    }

    fn tally(&self) -> (usize, u64) {
        self.books.tally()
    }
}

impl<I: Id> Trimmed<I> for ShardedMutex<I> {
    fn plan(&self) -> (usize, i64) {
        worth(&self.choice())
    }

    fn trim(&self) -> usize {
        close(self.choice(), &self.books, |id| {
            let (hash, shard) = self.locate(id);
            shard.lock().find_mut(hash, |entry| entry.id == *id).map(|entry| entry.record.claim())
        })
    }
}

impl<I: Id> ShardedMutex<I> {
    /// Copies shard by shard, each under its lock, and selects.
    fn choice(&self) -> Vec<Copied<I>> {
        let seen_by = self.books.now();
        let mut copied = Vec::with_capacity(self.books.tally().0);
        for shard in &self.shards {
            copy(&shard.lock(), seen_by, &mut copied);
        }
        choose(copied)
    }

    /// [`Trimmed::plan`] from a consistent cut: no lock is released before all shards are copied.
    pub fn plan_consistent(&self) -> (usize, i64) {
        let seen_by = self.books.now();
        let mut copied = Vec::with_capacity(self.books.tally().0);
        let locked: Vec<_> = self.shards.iter().map(|shard| shard.lock()).collect();
        for table in &locked {
            copy(table, seen_by, &mut copied);
        }
        drop(locked);
        worth(&choose(copied))
    }
}

/// Copies those whom a trim may choose.
fn copy<I: Id>(table: &HashTable<Entry<I>>, seen_by: u64, copied: &mut Vec<Copied<I>>) {
    let candidates = table.iter().filter(|entry| entry.record.is_candidate(seen_by));
    copied.extend(candidates.map(|Entry { id, record }| Copied {
        id: *id,
        value: record.worth(),
        connections: record.open(),
    }));
}
