//! The manager as a subject: by peer id with a resolved tag, by peer id with a tag's name, and by handles that are kept.

use std::sync::Arc;
use std::time::Duration;

use connmgr::{BasicConnManager, OwnedPeerHandle, Tag};

use super::subject::{Subject, Trimmed};
use super::world::{Conn, HOT, Id, TAGS, World};

/// The manager that is measured.
pub type Manager<I> = BasicConnManager<I, Conn>;

/// The manager, asked by peer id with a resolved tag.
pub struct ById<I: Id> {
    pub manager: Arc<Manager<I>>,
    tags: [Tag; TAGS.len()],
}

impl<I: Id> Subject<I> for ById<I> {
    const NAME: &'static str = "connmgr";

    type Lane = ();

    fn empty(peers: usize) -> Self {
        let manager = BasicConnManager::builder()
            .low_water(peers / 2)
            .high_water(peers)
            .grace_period(Duration::ZERO)
            .background(false)
            .build()
            .expect("a valid configuration");
        let tags = TAGS.map(|name| manager.tag(name));
        Self { manager: Arc::new(manager), tags }
    }

    fn lane(&self, _: &World<I>) {}

    #[inline]
    fn upsert(&self, (): &(), _: usize, id: &I) -> i64 {
        self.manager.upsert_tag(id, &self.tags[HOT], |value| value + 1)
    }

    #[inline]
    fn read(&self, (): &(), _: usize, id: &I) -> i64 {
        self.manager.tag_value(id, &self.tags[HOT]).unwrap_or(0)
    }

    #[inline]
    fn set(&self, _: usize, id: &I, tag: usize, value: i64) {
        self.manager.tag_peer(id, &self.tags[tag], value);
    }

    fn value(&self, _: usize, id: &I, tag: usize) -> Option<i64> {
        self.manager.tag_value(id, &self.tags[tag])
    }

    #[inline]
    fn connect(&self, id: &I, conn: Conn) {
        self.manager.connected(id, conn);
    }

    #[inline]
    fn disconnect(&self, id: &I, conn: u64) {
        self.manager.disconnected(id, &conn);
    }

    fn snap(&self) {
        drop(self.manager.snapshot());
    }

    fn tally(&self) -> (usize, u64) {
        let info = self.manager.info();
        (info.connections, info.ignored_events)
    }
}

impl<I: Id> Trimmed<I> for ById<I> {
    fn plan(&self) -> (usize, i64) {
        let plan = self.manager.plan_trim();
        (plan.victims.len(), plan.victims.iter().map(|victim| victim.value).sum())
    }

    fn trim(&self) -> usize {
        self.manager.trim_open_conns().closed_connections
    }
}

/// What is the same however the manager is asked.
macro_rules! as_by_id {
    () => {
        fn set(&self, peer: usize, id: &I, tag: usize, value: i64) {
            self.0.set(peer, id, tag, value);
        }

        fn value(&self, peer: usize, id: &I, tag: usize) -> Option<i64> {
            self.0.value(peer, id, tag)
        }

        fn connect(&self, id: &I, conn: Conn) {
            self.0.connect(id, conn);
        }

        fn disconnect(&self, id: &I, conn: u64) {
            self.0.disconnect(id, conn);
        }

        fn snap(&self) {
            self.0.snap();
        }

        fn tally(&self) -> (usize, u64) {
            self.0.tally()
        }
    };
}

/// The manager, asked by peer id with the name of a tag, the same one by all threads.
pub struct ByName<I: Id>(ById<I>);

impl<I: Id> Subject<I> for ByName<I> {
    const NAME: &'static str = "connmgr_str";

    type Lane = ();

    fn empty(peers: usize) -> Self {
        Self(ById::empty(peers))
    }

    fn lane(&self, _: &World<I>) {}

    #[inline]
    fn upsert(&self, (): &(), _: usize, id: &I) -> i64 {
        self.0.manager.upsert_tag(id, TAGS[HOT], |value| value + 1)
    }

    #[inline]
    fn read(&self, (): &(), _: usize, id: &I) -> i64 {
        self.0.manager.tag_value(id, TAGS[HOT]).unwrap_or(0)
    }

    as_by_id!();
}

/// The manager, asked through a handle to each peer, which every thread keeps.
pub struct ByHandle<I: Id>(ById<I>);

impl<I: Id> Subject<I> for ByHandle<I> {
    const NAME: &'static str = "connmgr_handle";

    type Lane = Vec<OwnedPeerHandle<I, Conn>>;

    fn empty(peers: usize) -> Self {
        Self(ById::empty(peers))
    }

    fn lane(&self, world: &World<I>) -> Self::Lane {
        let handles: Self::Lane = world.ids.iter().map(|id| self.0.manager.peer_owned(id)).collect();
        for handle in &handles {
            // The first use finds the peer's record.
            assert!(handle.tag_value(&self.0.tags[HOT]).is_some(), "a handle to a peer that is there");
        }
        handles
    }

    #[inline]
    fn upsert(&self, handles: &Self::Lane, peer: usize, _: &I) -> i64 {
        handles[peer].upsert_tag(&self.0.tags[HOT], |value| value + 1)
    }

    #[inline]
    fn read(&self, handles: &Self::Lane, peer: usize, _: &I) -> i64 {
        handles[peer].tag_value(&self.0.tags[HOT]).unwrap_or(0)
    }

    as_by_id!();
}
