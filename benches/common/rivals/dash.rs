//! The map that one would take from the registry.

use ahash::RandomState;
use dashmap::DashMap;

use super::choice::{Copied, choose, close, worth};
use super::{Books, Record, SHARDS};
use crate::common::subject::{Subject, Trimmed};
use crate::common::world::{Conn, HOT, Id, World};

/// `DashMap`, with as many shards and the same hash.
pub struct Dash<I: Id> {
    map: DashMap<I, Record, RandomState>,
    books: Books,
}

impl<I: Id> Dash<I> {
    #[inline]
    fn with<R>(&self, id: &I, change: impl FnOnce(&mut Record) -> R) -> R {
        match self.map.get_mut(id) {
            Some(mut record) => change(&mut record),
            None => {
                let new = || Record { first_seen: self.books.now(), ..Record::default() };
                change(&mut self.map.entry(*id).or_insert_with(new))
            }
        }
    }
}

impl<I: Id> Subject<I> for Dash<I> {
    const NAME: &'static str = "dashmap";

    type Lane = ();

    fn empty(_: usize) -> Self {
        Self { map: DashMap::with_hasher_and_shard_amount(RandomState::new(), SHARDS), books: Books::new() }
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
        self.map.get(id)?.tag(tag)
    }

    #[inline]
    fn connect(&self, id: &I, conn: Conn) {
        let now = self.books.now();
        self.books.connected(self.with(id, |record| record.connect(conn, now)));
    }

    #[inline]
    fn disconnect(&self, id: &I, conn: u64) {
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

impl<I: Id> Trimmed<I> for Dash<I> {
    fn plan(&self) -> (usize, i64) {
        worth(&self.choice())
    }

    fn trim(&self) -> usize {
        close(self.choice(), &self.books, |id| self.map.get_mut(id).map(|mut record| record.claim()))
    }
}

impl<I: Id> Dash<I> {
    /// Copies shard by shard, as its iterator locks them, and selects.
    fn choice(&self) -> Vec<Copied<I>> {
        let seen_by = self.books.now();
        let mut copied = Vec::with_capacity(self.map.len());
        copied.extend(self.map.iter().filter(|entry| entry.is_candidate(seen_by)).map(|entry| Copied {
            id: *entry.key(),
            value: entry.worth(),
            connections: entry.open(),
        }));
        choose(copied)
    }
}
