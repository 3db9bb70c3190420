//! The sharded mutex's own handles: each record is a mutex of its own, which whoever updates it again and again keeps.

use std::sync::Arc;

use ahash::RandomState;
use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::{Books, Record, SHARDS};
use crate::common::subject::Subject;
use crate::common::world::{Conn, HOT, Id, World};

type Kept = Arc<Mutex<Record>>;

type Shard<I> = Mutex<HashTable<(I, Kept)>>;

/// As [`ShardedMutex`](super::ShardedMutex), but with records on the heap. Peers are added, not removed.
pub struct ShardedHandles<I> {
    shards: Box<[CachePadded<Shard<I>>]>,
    hasher: RandomState,
    books: Books,
}

impl<I: Id> ShardedHandles<I> {
    fn keep(&self, id: &I) -> Kept {
        let hash = self.hasher.hash_one(id);
        let mut table = self.shards[(hash >> 49) as usize % SHARDS].lock();
        let slot = table.entry(hash, |entry| entry.0 == *id, |entry| self.hasher.hash_one(entry.0));
        Arc::clone(&slot.or_insert_with(|| (*id, Kept::default())).get().1)
    }
}

impl<I: Id> Subject<I> for ShardedHandles<I> {
    const NAME: &'static str = "sharded_handle";

    type Lane = Vec<Kept>;

    fn empty(_: usize) -> Self {
        let shards = (0..SHARDS).map(|_| CachePadded::new(Mutex::new(HashTable::new()))).collect();
        Self { shards, hasher: RandomState::new(), books: Books::new() }
    }

    fn lane(&self, world: &World<I>) -> Self::Lane {
        world.ids.iter().map(|id| self.keep(id)).collect()
    }

    #[inline]
    fn upsert(&self, kept: &Self::Lane, peer: usize, _: &I) -> i64 {
        kept[peer].lock().upsert(HOT, |value| value + 1)
    }

    #[inline]
    fn read(&self, kept: &Self::Lane, peer: usize, _: &I) -> i64 {
        kept[peer].lock().tag(HOT).unwrap_or(0)
    }

    fn set(&self, _: usize, id: &I, tag: usize, value: i64) {
        self.keep(id).lock().upsert(tag, |_| value);
    }

    fn value(&self, _: usize, id: &I, tag: usize) -> Option<i64> {
        self.keep(id).lock().tag(tag)
    }

    fn connect(&self, id: &I, conn: Conn) {
        let now = self.books.now();
        self.books.connected(self.keep(id).lock().connect(conn, now));
    }

    fn disconnect(&self, id: &I, conn: u64) {
        let held = self.keep(id).lock().disconnect(conn);
        self.books.disconnected(held);
    }

    fn tally(&self) -> (usize, u64) {
        self.books.tally()
    }
}
