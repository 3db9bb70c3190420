//! The measure of all: sharded mutexes over flat tables, hashed once a call.

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::Mutex;

use super::{Books, Padded, Record, SHARDS};
use crate::subject::Subject;
use crate::world::{Conn, HOT, PeerId, World};

/// A peer with its record, in the table itself.
struct Entry {
    id: PeerId,
    record: Record,
}

/// Locks on lines of their own, each over a table of its share of the peers; one hash chooses the shard and the place.
pub struct ShardedMutex {
    shards: Box<[Padded<Mutex<HashTable<Entry>>>]>,
    hasher: RandomState,
    books: Books,
}

impl ShardedMutex {
    /// The hash of an id and its shard, by bits that the table uses for neither place nor tag.
    #[inline]
    fn locate(&self, id: &PeerId) -> (u64, &Mutex<HashTable<Entry>>) {
        let hash = self.hasher.hash_one(id);
        (hash, &self.shards[(hash >> 49) as usize % SHARDS].0)
    }

    #[inline]
    fn with<R>(&self, id: &PeerId, change: impl FnOnce(&mut Record) -> R) -> R {
        let (hash, shard) = self.locate(id);
        let mut table = shard.lock();
        match table.find_mut(hash, |entry| entry.id == *id) {
            Some(entry) => change(&mut entry.record),
            None => change(self.add(&mut table, hash, id)),
        }
    }

    #[cold]
    #[inline(never)]
    fn add<'t>(&self, table: &'t mut HashTable<Entry>, hash: u64, id: &PeerId) -> &'t mut Record {
        let slot = table.entry(hash, |entry| entry.id == *id, |entry| self.hasher.hash_one(entry.id));
        let new = || Entry { id: *id, record: Record { first_seen: self.books.now(), ..Record::default() } };
        &mut match slot {
            Slot::Occupied(entry) => entry.into_mut(),
            Slot::Vacant(slot) => slot.insert(new()).into_mut(),
        }
        .record
    }
}

impl Subject for ShardedMutex {
    const NAME: &'static str = "sharded_mutex";

    type Lane = ();

    fn empty(_: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Padded(Mutex::new(HashTable::new()))).collect();
        Self { shards, hasher: RandomState::new(), books: Books::new() }
    }

    fn lane(&self, _: &World) {}

    #[inline]
    fn upsert(&self, (): &(), _: usize, id: &PeerId) -> i64 {
        self.with(id, |record| record.upsert(HOT, |value| value + 1))
    }

    #[inline]
    fn read(&self, (): &(), _: usize, id: &PeerId) -> i64 {
        self.value(id, HOT).unwrap_or(0)
    }

    fn set(&self, id: &PeerId, tag: usize, value: i64) {
        self.with(id, |record| record.upsert(tag, |_| value));
    }

    #[inline]
    fn value(&self, id: &PeerId, tag: usize) -> Option<i64> {
        let (hash, shard) = self.locate(id);
        shard.lock().find(hash, |entry| entry.id == *id)?.record.tag(tag)
    }

    #[inline]
    fn connect(&self, id: &PeerId, conn: Conn) {
        let now = self.books.now();
        self.books.connected(self.with(id, |record| record.connect(conn, now)));
    }

    #[inline]
    fn disconnect(&self, id: &PeerId, conn: u64) {
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
