//! The snapshot epoch: one counter that orders updates against snapshots.
//!
//! (Not the collector's epoch, which `reclaim` keeps to itself.)
//!
//! A snapshot *advances* the epoch and owns the value it found; an update *stamps* what it writes with the value it
//! loads. The rule that makes a snapshot a consistent cut:
//!
//! Invariant (fence rule): a snapshot has a SeqCst fence between advancing the epoch and its first read, and every
//! update has a SeqCst fence between the last thing it could have seen and its load of the epoch.
//!
//! Let an update `u` have loaded an epoch no later than the snapshot's. Its load read a value that the advance
//! replaced, so `u`'s fence precedes the snapshot's in the order of all SeqCst fences; hence whatever was visible to
//! `u` before its fence is visible to the snapshot after its own. An update that began after the advance loads a
//! later epoch, and the snapshot passes over what it wrote.

#![forbid(unsafe_code)]

use crate::sync::{AtomicU64, Ordering, Padded, fence, mutant, update_fence};

/// The counter. It never wraps: 2^64 snapshots take 584 years at one a nanosecond.
#[derive(Debug)]
pub(crate) struct Epoch(Padded<AtomicU64>);

impl Epoch {
    pub(crate) fn new() -> Self {
        Self(Padded(AtomicU64::new(1)))
    }

    /// The epoch for an update to be stamped with: to be called after everything the update looks at.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        update_fence();
        // ORDER: epoch-stamp
        self.0.0.load(Ordering::Relaxed)
    }

    /// Begins a snapshot and returns its epoch: what is stamped later is not part of it.
    ///
    /// The caller is pinned already, so that nothing the snapshot needs is freed under it.
    pub(crate) fn advance(&self) -> u64 {
        // ORDER: epoch-advance
        let epoch = self.0.0.fetch_add(u64::from(!mutant!("epoch-not-advanced")), Ordering::Relaxed);
        if !mutant!("snapshot-fence-dropped") {
            // ORDER: snapshot-fence
            fence(Ordering::SeqCst);
        }
        epoch
    }
}
