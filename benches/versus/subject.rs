//! What a subject can do, and the subjects of this crate: the manager by peer id, and by handles that are kept.

use std::sync::Arc;

use connmgr::{BasicConnManager, OwnedPeerHandle, Tag};

use crate::world::{Conn, HOT, PeerId, TAGS, World};

/// A table of peers with tags and connections.
pub trait Subject: Sync {
    /// What it is called in the results.
    const NAME: &'static str;

    /// What a thread keeps to itself from round to round.
    type Lane: Send;

    /// An empty table, room for `peers` peers made where there is a way to ask for it.
    fn empty(peers: usize) -> Self;

    /// What a thread starts with.
    fn lane(&self, world: &World) -> Self::Lane;

    /// Adds 1 to the hot tag of a peer, given by its place and its id; returns what it is now.
    fn upsert(&self, lane: &Self::Lane, peer: usize, id: &PeerId) -> i64;

    /// The value of the hot tag of a peer.
    fn read(&self, lane: &Self::Lane, peer: usize, id: &PeerId) -> i64;

    /// Sets a tag of a peer.
    fn set(&self, id: &PeerId, tag: usize, value: i64);

    /// The value of a tag of a peer.
    fn value(&self, id: &PeerId, tag: usize) -> Option<i64>;

    /// Adds a connection, the time noted.
    fn connect(&self, id: &PeerId, conn: Conn);

    /// Removes a connection.
    fn disconnect(&self, id: &PeerId, conn: u64);

    /// What marks the end of the table's youth, before every peer is written once more.
    fn age(&self) {}

    /// Connections held, and events that were refused.
    fn tally(&self) -> (usize, u64);
}

/// The manager, asked by peer id with a resolved tag.
pub struct ById {
    manager: Arc<BasicConnManager<PeerId, Conn>>,
    tags: [Tag; TAGS.len()],
}

impl Subject for ById {
    const NAME: &'static str = "connmgr";

    type Lane = ();

    fn empty(_: usize) -> Self {
        let manager = BasicConnManager::builder().background(false).build().expect("a manager of defaults");
        let tags = TAGS.map(|name| manager.tag(name));
        Self { manager: Arc::new(manager), tags }
    }

    fn lane(&self, _: &World) {}

    #[inline]
    fn upsert(&self, (): &(), _: usize, id: &PeerId) -> i64 {
        self.manager.upsert_tag(id, &self.tags[HOT], |value| value + 1)
    }

    #[inline]
    fn read(&self, (): &(), _: usize, id: &PeerId) -> i64 {
        self.manager.tag_value(id, &self.tags[HOT]).unwrap_or(0)
    }

    fn set(&self, id: &PeerId, tag: usize, value: i64) {
        self.manager.tag_peer(id, &self.tags[tag], value);
    }

    fn value(&self, id: &PeerId, tag: usize) -> Option<i64> {
        self.manager.tag_value(id, &self.tags[tag])
    }

    #[inline]
    fn connect(&self, id: &PeerId, conn: Conn) {
        self.manager.connected(id, conn);
    }

    #[inline]
    fn disconnect(&self, id: &PeerId, conn: u64) {
        self.manager.disconnected(id, &conn);
    }

    fn age(&self) {
        drop(self.manager.snapshot());
    }

    fn tally(&self) -> (usize, u64) {
        let info = self.manager.info();
        (info.connections, info.ignored_events)
    }
}

/// The manager, asked through a handle to each peer, which every thread keeps.
pub struct ByHandle(ById);

impl Subject for ByHandle {
    const NAME: &'static str = "connmgr_handle";

    type Lane = Vec<OwnedPeerHandle<PeerId, Conn>>;

    fn empty(peers: usize) -> Self {
        Self(ById::empty(peers))
    }

    fn lane(&self, world: &World) -> Self::Lane {
        let handles: Self::Lane = world.ids.iter().map(|id| self.0.manager.peer_owned(id)).collect();
        for handle in &handles {
            // The first use finds the peer's record.
            assert!(handle.tag_value(&self.0.tags[HOT]).is_some(), "a handle to a peer that is there");
        }
        handles
    }

    #[inline]
    fn upsert(&self, handles: &Self::Lane, peer: usize, _: &PeerId) -> i64 {
        handles[peer].upsert_tag(&self.0.tags[HOT], |value| value + 1)
    }

    #[inline]
    fn read(&self, handles: &Self::Lane, peer: usize, _: &PeerId) -> i64 {
        handles[peer].tag_value(&self.0.tags[HOT]).unwrap_or(0)
    }

    fn set(&self, id: &PeerId, tag: usize, value: i64) {
        self.0.set(id, tag, value);
    }

    fn value(&self, id: &PeerId, tag: usize) -> Option<i64> {
        self.0.value(id, tag)
    }

    fn connect(&self, id: &PeerId, conn: Conn) {
        self.0.connect(id, conn);
    }

    fn disconnect(&self, id: &PeerId, conn: u64) {
        self.0.disconnect(id, conn);
    }

    fn age(&self) {
        self.0.age();
    }

    fn tally(&self) -> (usize, u64) {
        self.0.tally()
    }
}
