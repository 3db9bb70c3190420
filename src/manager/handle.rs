//! Handles to one peer, for whoever updates it again and again.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::mem;
use std::sync::Arc;

use super::BasicConnManager;
use crate::connection::{Connection, Entry};
use crate::index::Held;
use crate::interface::{Protection, TagInfo};
use crate::names::AsTag;
use crate::peer::Peer;
use crate::versioned::{TagId, Upsert};

/// A handle to one peer of a borrowed manager: see [`BasicConnManager::peer`].
///
/// It keeps the peer's record in memory and holds no pin, creates nothing until its first write, and looks the peer up again
/// when its record has been removed. Each thread has handles of its own: clone it.
///
/// It cannot outlive its manager:
///
/// ```compile_fail,E0505
/// # use connmgr::{BasicConnManager, testing::Loopback};
/// let manager = BasicConnManager::<u64, Loopback>::builder().background(false).build().unwrap();
/// let handle = manager.peer(&7);
/// drop(manager);
/// handle.tag_peer("score", 1);
/// ```
pub type PeerHandle<'m, P, C> = Handle<&'m BasicConnManager<P, C>, P, C>;

/// A handle to one peer of a shared manager, which it keeps alive: see [`BasicConnManager::peer_owned`].
pub type OwnedPeerHandle<P, C> = Handle<Arc<BasicConnManager<P, C>>, P, C>;

/// A peer's record, kept.
type Record<P, C> = Held<Peer<P, Entry<C>>>;

/// A handle to one peer, by way of `M`, a reference to its manager.
pub struct Handle<M, P: Send + Sync + 'static, C: Connection> {
    // The record goes before the manager that owns it.
    record: RefCell<Option<Record<P, C>>>,
    peer: P,
    manager: M,
}

impl<M, P, C> Handle<M, P, C>
where
    M: Borrow<BasicConnManager<P, C>>,
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    pub(super) fn new(manager: M, peer: P) -> Self {
        Self { record: RefCell::new(None), peer, manager }
    }

    /// The peer.
    #[must_use]
    pub fn peer(&self) -> &P {
        &self.peer
    }

    #[inline]
    fn manager(&self) -> &BasicConnManager<P, C> {
        self.manager.borrow()
    }

    /// As [`BasicConnManager::tag_peer`].
    #[inline]
    pub fn tag_peer(&self, tag: impl AsTag, value: i64) {
        self.upsert_tag(tag, |_| value);
    }

    /// As [`BasicConnManager::untag_peer`].
    pub fn untag_peer(&self, tag: impl AsTag) {
        self.manager().untag_peer(&self.peer, tag);
    }

    /// As [`BasicConnManager::upsert_tag`], without the look-up of the peer while its record lives.
    #[inline]
    pub fn upsert_tag(&self, tag: impl AsTag, upsert: impl FnMut(i64) -> i64) -> i64 {
        let inner = &self.manager().inner;
        let (tag, mut upsert) = (inner.names.intern(&tag), Upsert::new(upsert));
        // The closure may use this very handle, which shares the record then.
        if let Ok(record) = self.record.try_borrow()
            && let Some(held) = &*record
            && let Some(value) = inner.table.update_held_in_place(held, tag, &mut upsert)
        {
            return value;
        }
        self.upsert_again(tag, upsert)
    }

    /// [`Self::upsert_tag`] when the value was not to be changed in place at once.
    #[cold]
    #[inline(never)]
    fn upsert_again(&self, tag: TagId, mut upsert: Upsert<impl FnMut(i64) -> i64>) -> i64 {
        let inner = &self.manager().inner;
        if let Ok(record) = self.record.try_borrow()
            && let Some(held) = &*record
        {
            match inner.table.upsert_held(held, tag, || inner.time.now(), upsert) {
                Ok(value) => return value,
                Err(again) => upsert = again,
            }
        }
        let value = inner.table.upsert(&self.peer, tag, || inner.time.now(), upsert);
        self.renew();
        value
    }

    /// Keeps the peer's present record, if there is one, for the calls to come; but not while a call of which this is part uses
    /// the former one.
    #[cold]
    #[inline(never)]
    fn renew(&self) {
        let present = self.manager().inner.table.hold(&self.peer);
        // Dropped at the end, when nothing is borrowed: that may run the peer id's destructor.
        let _former = match self.record.try_borrow_mut() {
            Ok(mut record) => mem::replace(&mut *record, present),
            Err(_) => present,
        };
    }

    /// As [`BasicConnManager::tag_value`], without the look-up of the peer while its record lives.
    #[must_use]
    #[inline]
    pub fn tag_value(&self, tag: impl AsTag) -> Option<i64> {
        let inner = &self.manager().inner;
        let tag = inner.names.known(&tag)?;
        if let Ok(record) = self.record.try_borrow()
            && let Some(held) = &*record
            && let Some(value) = inner.table.tag_value_held(held, tag)
        {
            return value;
        }
        self.renew();
        inner.table.tag_value(&self.peer, tag)
    }

    /// As [`BasicConnManager::tag_info`].
    #[must_use]
    pub fn tag_info(&self) -> Option<TagInfo> {
        self.manager().tag_info(&self.peer)
    }

    /// As [`BasicConnManager::protect`].
    pub fn protect(&self, tag: impl AsTag) -> Protection {
        self.manager().protect(&self.peer, tag)
    }

    /// As [`BasicConnManager::unprotect`].
    pub fn unprotect(&self, tag: impl AsTag) -> bool {
        self.manager().unprotect(&self.peer, tag)
    }

    /// As [`BasicConnManager::is_protected`].
    #[must_use]
    pub fn is_protected(&self, tag: Option<&str>) -> bool {
        self.manager().is_protected(&self.peer, tag)
    }
}

impl<M: Clone, P: Clone + Send + Sync + 'static, C: Connection> Clone for Handle<M, P, C> {
    fn clone(&self) -> Self {
        Self { record: RefCell::new(None), peer: self.peer.clone(), manager: self.manager.clone() }
    }
}

impl<M, P: fmt::Debug + Send + Sync + 'static, C: Connection> fmt::Debug for Handle<M, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerHandle").field("peer", &self.peer).finish_non_exhaustive()
    }
}
