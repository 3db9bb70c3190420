//! No table at all: what an update costs where the peer's place is known and its tags have a line of their own.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::common::subject::Subject;
use crate::common::world::{Conn, HOT, Id, TAGS, World};

/// A vector of padded atomics, by the peer's place.
pub struct Floor {
    tags: Vec<CachePadded<[AtomicI64; TAGS.len()]>>,
    connections: AtomicUsize,
}

impl<I: Id> Subject<I> for Floor {
    const NAME: &'static str = "floor";

    type Lane = ();

    fn empty(peers: usize) -> Self {
        Self { tags: (0..peers).map(|_| CachePadded::default()).collect(), connections: AtomicUsize::new(0) }
    }

    fn lane(&self, _: &World<I>) {}

    /// By compare-and-swap, as any closure has to be applied.
    #[inline]
    fn upsert(&self, (): &(), peer: usize, _: &I) -> i64 {
        let tag = &self.tags[peer][HOT];
        let mut value = tag.load(Ordering::Acquire);
        loop {
            match tag.compare_exchange_weak(value, value + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return value + 1,
                Err(newer) => value = newer,
            }
        }
    }

    #[inline]
    fn read(&self, (): &(), peer: usize, _: &I) -> i64 {
        self.tags[peer][HOT].load(Ordering::Acquire)
    }

    fn set(&self, peer: usize, _: &I, tag: usize, value: i64) {
        self.tags[peer][tag].store(value, Ordering::Release);
    }

    fn value(&self, peer: usize, _: &I, tag: usize) -> Option<i64> {
        Some(self.tags[peer][tag].load(Ordering::Acquire))
    }

    /// Counts it: there is no place for a connection.
    fn connect(&self, _: &I, _: Conn) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    fn disconnect(&self, _: &I, _: u64) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn tally(&self) -> (usize, u64) {
        (self.connections.load(Ordering::Relaxed), 0)
    }
}
