//! What one would write with locks instead: as good as we can make it, doing the same work.
//!
//! The rivals keep the same [`Record`] of a peer, tags and two connections in line, so that a call on a peer allocates
//! nothing; count connections and refused events; and read the clock when a connection is added. What they do not have is what
//! they cannot give: a snapshot, or a tagger that never waits. The floor is no rival but what no table can be faster than.

mod choice;
mod dash;
mod floor;
mod handles;
mod sharded;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_utils::CachePadded;
use smallvec::SmallVec;

use crate::common::world::Conn;

pub use dash::Dash;
pub use floor::Floor;
pub use handles::ShardedHandles;
pub use sharded::ShardedMutex;

/// Shards of a table.
pub const SHARDS: usize = 256;

/// A connection that a peer holds.
pub struct Held {
    conn: Conn,
    #[expect(dead_code, reason = "kept because a manager has to know it")]
    opened: u64,
    closing: bool,
}

/// What is known of a peer.
#[repr(C)]
#[derive(Default)]
pub struct Record {
    tags: SmallVec<[(u32, i64); 2]>,
    /// When its first connection was added.
    pub first_seen: u64,
    conns: SmallVec<[Held; 2]>,
    protections: SmallVec<[u32; 2]>,
}

impl Record {
    /// The value of a tag.
    #[inline]
    pub fn tag(&self, tag: usize) -> Option<i64> {
        self.tags.iter().find(|(held, _)| *held == tag as u32).map(|&(_, value)| value)
    }

    /// Sets a tag, new or not, to what `upsert` makes of it.
    #[inline]
    pub fn upsert(&mut self, tag: usize, upsert: impl FnOnce(i64) -> i64) -> i64 {
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
    pub fn connect(&mut self, conn: Conn, now: u64) -> bool {
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
    pub fn disconnect(&mut self, conn: u64) -> Option<Held> {
        let at = self.conns.iter().position(|held| held.conn.id == conn)?;
        let held = self.conns.remove(at);
        if self.conns.is_empty() {
            self.tags.clear();
        }
        Some(held)
    }

    /// The sum of its tags.
    pub fn worth(&self) -> i64 {
        self.tags.iter().map(|&(_, value)| value).sum()
    }

    /// Connections that are not being closed.
    pub fn open(&self) -> usize {
        self.conns.iter().filter(|held| !held.closing).count()
    }

    /// Whether a trim may choose it.
    pub fn is_candidate(&self, seen_by: u64) -> bool {
        self.protections.is_empty() && self.first_seen <= seen_by && self.open() > 0
    }

    /// Marks its connections as being closed and returns them.
    pub fn claim(&mut self) -> SmallVec<[Conn; 2]> {
        let open = self.conns.iter_mut().filter(|held| !held.closing);
        open.map(|held| {
            held.closing = true;
            held.conn
        })
        .collect()
    }

    /// Whether there is nothing to be known.
    pub fn is_gone(&self) -> bool {
        self.conns.is_empty() && self.tags.is_empty() && self.protections.is_empty()
    }
}

/// Counts and time, as a manager has them.
pub struct Books {
    origin: Instant,
    connections: CachePadded<AtomicUsize>,
    closing: AtomicUsize,
    refused: AtomicU64,
}

impl Books {
    /// No connections, from now on.
    pub fn new() -> Self {
        let connections = CachePadded::new(AtomicUsize::new(0));
        let (closing, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { origin: Instant::now(), connections, closing, refused }
    }

    /// Nanoseconds since the beginning.
    #[inline]
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Counts a connection, or a refused event.
    #[inline]
    pub fn connected(&self, new: bool) {
        match new {
            true => self.connections.fetch_add(1, Ordering::Relaxed) as u64,
            false => self.refused.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Counts a connection that went, or a refused event.
    #[inline]
    pub fn disconnected(&self, held: Option<Held>) {
        let Some(held) = held else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if held.closing {
            self.closing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts connections that are being closed.
    pub fn closing(&self, connections: usize) {
        self.closing.fetch_add(connections, Ordering::Relaxed);
    }

    /// Connections held, and events that were refused.
    pub fn tally(&self) -> (usize, u64) {
        (self.connections.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }
}
