//! Decaying tags as programs see them.

#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::decay::{BumpFn, DecayError, DecayFn};

/// A connection manager whose tags may decay: what
/// [`ConnManager::decayer`](crate::ConnManager::decayer) gives of a manager that has such.
pub trait Decayer<P>: Send + Sync {
    /// Registers a decaying tag: see
    /// [`BasicConnManager::register_decaying_tag`](crate::BasicConnManager::register_decaying_tag).
    ///
    /// # Errors
    ///
    /// [`DecayError`] if the name is taken or a function's parameter is out of range.
    #[doc(alias = "RegisterDecayingTag")]
    fn register_decaying_tag(
        &self,
        name: &str,
        interval: Duration,
        decay: DecayFn,
        bump: BumpFn,
    ) -> Result<DecayingTag<P>, DecayError>;
}

/// A tag whose values decay: registered by
/// [`BasicConnManager::register_decaying_tag`](crate::BasicConnManager::register_decaying_tag). Clones are the same tag.
///
/// Its values count in a peer's value wherever that is asked for: in [`TagInfo`](crate::TagInfo), in snapshots and in trims. It is not the
/// plain tag of the same name. Dropping the handle leaves the tag as it is; it keeps the manager's table in memory.
pub struct DecayingTag<P>(Arc<dyn Decaying<P>>);

/// What such a handle leads to.
pub(crate) trait Decaying<P>: Send + Sync {
    fn name(&self) -> &str;
    fn interval(&self) -> Duration;
    /// `None` if the tag is closed.
    fn bump(&self, peer: &P, delta: i64) -> Option<i64>;
    fn value(&self, peer: &P) -> Option<i64>;
    fn remove(&self, peer: &P) -> bool;
    fn close(&self);
}

impl<P> Clone for DecayingTag<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> fmt::Debug for DecayingTag<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecayingTag")
            .field("name", &self.name())
            .field("interval", &self.interval())
            .finish_non_exhaustive()
    }
}

impl<P> DecayingTag<P> {
    pub(crate) fn new(tag: impl Decaying<P> + 'static) -> Self {
        Self(Arc::new(tag))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// How often its values decay: as registered, raised to the manager's resolution if it was below.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.0.interval()
    }

    /// Bumps the value of `peer` by the bump function and returns the value stored, which is saturated to
    /// [`MIN_WEIGHT`](crate::MIN_WEIGHT)`..=`[`MAX_WEIGHT`](crate::MAX_WEIGHT). It is applied when the call returns.
    ///
    /// The bump function sees the value as it has decayed by now, and may run more than once: again when another thread changed the value
    /// meanwhile. It and the decay function run with nothing held, and may call the manager. An unknown peer gets a temporary record.
    ///
    /// # Errors
    ///
    /// [`DecayError::Closed`] if the tag has been closed; then nothing is changed.
    ///
    /// # Panics
    ///
    /// If the bump function does; then nothing is changed.
    ///
    /// # Progress
    ///
    /// Lock-free. Between two boundaries the second bump of a preset allocates nothing (of [`DecayFn::expire_when_inactive`], the
    /// third); those before it, and one that a custom function decays or makes, replace the peer's state.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer; no bump is lost.
    #[doc(alias = "Bump")]
    pub fn bump(&self, peer: &P, delta: i64) -> Result<i64, DecayError> {
        self.0.bump(peer, delta).ok_or(DecayError::Closed)
    }

    /// The value of `peer` as it has decayed by now; `None` if it has none, or has decayed away.
    ///
    /// # Progress
    ///
    /// Lock-free; writes no shared memory but for the reclamation pin.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[must_use]
    pub fn value(&self, peer: &P) -> Option<i64> {
        self.0.value(peer)
    }

    /// Drops the value of `peer`, and with its last tag a peer that has neither connection nor protection. Creates nothing.
    /// Returns whether there was one (which may have decayed away).
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer.
    #[doc(alias = "Remove")]
    pub fn remove(&self, peer: &P) -> bool {
        self.0.remove(peer)
    }

    /// Closes the tag: drops its value from every peer, and frees its name to be registered anew. Idempotent.
    ///
    /// When it has returned no peer has a value of it. What was registered stays in memory as long as the manager: a program should
    /// not register and close for ever.
    ///
    /// # Progress
    ///
    /// Lock-free; O(peers).
    ///
    /// # Consistency
    ///
    /// Each peer's value goes by an atomic step of its own. A bump either fails or is dropped as well.
    #[doc(alias = "Close")]
    pub fn close(&self) {
        self.0.close();
    }
}
