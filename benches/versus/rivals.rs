//! What one would write with locks instead: as good as we can make it, doing the same work.
//!
//! Both keep the same [`Record`] of a peer, tags and two connections in line, so that a call on a peer allocates nothing; count
//! connections and refused events; and read the clock when a connection is added. What they do not have is what they
//! cannot give: a snapshot, or a tagger that never waits.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use ahash::RandomState;
use dashmap::DashMap;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::subject::Subject;
use crate::world::{Conn, HOT, PeerId, World};

/// Shards of either table.
const SHARDS: usize = 256;

/// A word or lock on cache lines of its own.
#[repr(align(128))]
struct Padded<T>(T);

/// A connection that a peer holds.
struct Held {
    conn: Conn,
    #[expect(dead_code, reason = "kept because a manager has to know it")]
    opened: u64,
    closing: bool,
}

/// What is known of a peer.
#[repr(C)]
#[derive(Default)]
struct Record {
    tags: SmallVec<[(u32, i64); 2]>,
    first_seen: u64,
    conns: SmallVec<[Held; 2]>,
    protections: SmallVec<[u32; 2]>,
}

impl Record {
    #[inline]
    fn tag(&self, tag: usize) -> Option<i64> {
        self.tags.iter().find(|(held, _)| *held == tag as u32).map(|&(_, value)| value)
    }

    #[inline]
    fn upsert(&mut self, tag: usize, upsert: impl FnOnce(i64) -> i64) -> i64 {
        if let Some((_, value)) = self.tags.iter_mut().find(|(held, _)| *held == tag as u32) {
            *value = upsert(*value);
            return *value;
        }
        let value = upsert(0);
        self.tags.push((tag as u32, value));
        value
    }

    /// Returns whether the connection was new.
    #[inline]
    fn connect(&mut self, conn: Conn, now: u64) -> bool {
        if self.conns.iter().any(|held| held.conn.id == conn.id) {
            return false;
        }
        if self.conns.is_empty() {
            self.first_seen = now;
        }
        self.conns.push(Held { conn, opened: now, closing: false });
        true
    }

    /// Removes a connection, and with the last one the tags, and returns it, if it was there.
    #[inline]
    fn disconnect(&mut self, conn: u64) -> Option<Held> {
        let at = self.conns.iter().position(|held| held.conn.id == conn)?;
        let held = self.conns.remove(at);
        if self.conns.is_empty() {
            self.tags.clear();
        }
        Some(held)
    }

    fn is_gone(&self) -> bool {
        self.conns.is_empty() && self.tags.is_empty() && self.protections.is_empty()
    }
}

/// Counts and time, as a manager has them.
struct Books {
    origin: Instant,
    connections: Padded<AtomicUsize>,
    closing: AtomicUsize,
    refused: AtomicU64,
}

impl Books {
    fn new() -> Self {
        let connections = Padded(AtomicUsize::new(0));
        let (closing, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { origin: Instant::now(), connections, closing, refused }
    }

    #[inline]
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    #[inline]
    fn connected(&self, new: bool) {
        match new {
            true => self.connections.0.fetch_add(1, Ordering::Relaxed) as u64,
            false => self.refused.fetch_add(1, Ordering::Relaxed),
        };
    }

    #[inline]
    fn disconnected(&self, held: Option<Held>) {
        let Some(held) = held else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.connections.0.fetch_sub(1, Ordering::Relaxed);
        if held.closing {
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn tally(&self) -> (usize, u64) {
        (self.connections.0.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}

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

/// `DashMap`, with as many shards and the same hash.
pub struct Dash {
    map: DashMap<PeerId, Record, RandomState>,
    books: Books,
}

impl Dash {
    #[inline]
    fn with<R>(&self, id: &PeerId, change: impl FnOnce(&mut Record) -> R) -> R {
        match self.map.get_mut(id) {
            Some(mut record) => change(&mut record),
            None => {
                let new = || Record { first_seen: self.books.now(), ..Record::default() };
                change(&mut self.map.entry(*id).or_insert_with(new))
            }
        }
    }
}

impl Subject for Dash {
    const NAME: &'static str = "dashmap";

    type Lane = ();

    fn empty(_: usize) -> Self {
        Self { map: DashMap::with_hasher_and_shard_amount(RandomState::new(), SHARDS), books: Books::new() }
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
        self.map.get(id)?.tag(tag)
    }

    #[inline]
    fn connect(&self, id: &PeerId, conn: Conn) {
        let now = self.books.now();
        self.books.connected(self.with(id, |record| record.connect(conn, now)));
    }

    #[inline]
    fn disconnect(&self, id: &PeerId, conn: u64) {
        let (held, gone) = match self.map.get_mut(id) {
            Some(mut record) => (record.disconnect(conn), record.is_gone()),
            None => (None, false),
        };
        if gone {
            self.map.remove_if(id, |_, record| record.is_gone());
        }
        self.books.disconnected(held);
    }

    fn tally(&self) -> (usize, u64) {
        self.books.tally()
    }
}
