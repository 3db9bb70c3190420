//! What a subject can do.

use super::world::{Conn, World};

/// A table of peers with tags and connections. A peer is given by its place in the world and by its id.
pub trait Subject<I>: Sync + Sized {
    /// What it is called in the results.
    const NAME: &'static str;

    /// What a thread keeps to itself from round to round.
    type Lane: Send;

    /// An empty table, which is to hold `peers` peers and whose trims leave half of them.
    fn empty(peers: usize) -> Self;

    /// What a thread starts with, once the table is filled.
    fn lane(&self, world: &World<I>) -> Self::Lane;

    /// Adds 1 to the hot tag of a peer; returns what it is now.
    fn upsert(&self, lane: &Self::Lane, peer: usize, id: &I) -> i64;

    /// The value of the hot tag of a peer, or 0.
    fn read(&self, lane: &Self::Lane, peer: usize, id: &I) -> i64;

    /// Sets a tag of a peer.
    fn set(&self, peer: usize, id: &I, tag: usize, value: i64);

    /// The value of a tag of a peer.
    fn value(&self, peer: usize, id: &I, tag: usize) -> Option<i64>;

    /// Adds a connection, the time noted.
    fn connect(&self, id: &I, conn: Conn);

    /// Removes a connection, and with the last one the peer.
    fn disconnect(&self, id: &I, conn: u64);

    /// Takes a snapshot and drops it, where there is such a thing.
    fn snap(&self) {}

    /// Connections held, and events that were refused.
    fn tally(&self) -> (usize, u64);
}

/// A table that can be trimmed.
pub trait Trimmed<I>: Subject<I> {
    /// Decides from a copy or a snapshot which half of the peers to close, those of the least value; returns how many
    /// they are and what they are worth together.
    fn plan(&self) -> (usize, i64);

    /// Does so and closes their connections; returns how many were closed.
    fn trim(&self) -> usize;
}
