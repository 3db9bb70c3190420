//! The map that one would take from the registry.

use ahash::RandomState;
use dashmap::DashMap;

use super::{Books, Record, SHARDS};
use crate::subject::Subject;
use crate::world::{Conn, HOT, PeerId, World};

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
