//! Decaying tags: which there are, what a peer's tags are worth at an instant, and the handle that programs hold.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use super::Inner;
use super::limits::nanos;
use crate::connection::Connection;
use crate::decay::{BumpFn, DecayError, DecayFn, Schedule};
use crate::peer::{DecayId, Open, Stored, Tagged, tagged};
use crate::snapshot::Cut;
use crate::versioned::{TagId, sum};

/// A decaying tag as it was registered.
pub(super) struct Registered {
    pub(super) name: Arc<str>,
    id: DecayId,
    schedule: Schedule,
    decay: DecayFn,
    bump: BumpFn,
    open: Open,
}

impl Registered {
    fn value(&self, stored: &Stored, now: u64) -> Option<i64> {
        self.decay.at(stored, &self.schedule, now)
    }

    /// What a bump by `delta` makes of what is stored.
    fn bumped(&self, from: Option<Stored>, delta: i64, now: u64) -> Stored {
        let current = from.and_then(|stored| Some((self.value(&stored, now)?, stored)));
        let value = self.bump.apply(current.as_ref().map(|(value, stored)| (*value, stored)), delta, now);
        let Some((_, stored)) = current else { return Stored { value, bumped: now, added: now } };
        // Where only the boundaries since the last bump count, a bump between the same two boundaries leaves the times, and so is one
        // swap of a word.
        let reads_times = self.decay.reads_last_bump() || self.bump.reads_last_bump();
        let same = self.schedule.boundaries(now) == self.schedule.boundaries(stored.bumped);
        let bumped = if same && !reads_times { stored.bumped } else { now };
        Stored { value, bumped, added: stored.added }
    }
}

/// All decaying tags that were ever registered, by number: a snapshot may still hold values of a closed one.
#[derive(Default)]
pub(super) struct Registry(ArcSwap<Vec<Arc<Registered>>>);

impl Registry {
    fn register(
        &self,
        name: &str,
        schedule: Schedule,
        decay: DecayFn,
        bump: BumpFn,
    ) -> Result<Arc<Registered>, DecayError> {
        decay.check()?;
        bump.check()?;
        let make = |id| {
            let (decay, bump) = (decay.clone(), bump.clone());
            Arc::new(Registered { name: name.into(), id, schedule, decay, bump, open: Open::new() })
        };
        let mut result = Err(DecayError::TooMany);
        self.0.rcu(|tags| {
            result = if tags.iter().any(|tag| &*tag.name == name && tag.open.is_open()) {
                Err(DecayError::Duplicate(name.to_owned()))
            } else {
                DecayId::new(tags.len()).map(make).ok_or(DecayError::TooMany)
            };
            match &result {
                Ok(registered) => {
                    Arc::new(tags.iter().chain([registered]).map(Arc::clone).collect::<Vec<_>>())
                }
                Err(_) => Arc::clone(tags),
            }
        });
        result
    }
}

/// What tags are worth at an instant.
pub(super) struct Appraiser {
    tags: Guard<Arc<Vec<Arc<Registered>>>>,
    now: u64,
}

impl Appraiser {
    /// The decaying tag of that number. It was registered before it was ever stored, and so before a state that holds it was seen.
    pub(super) fn tag(&self, id: DecayId) -> &Registered {
        &self.tags[id.number()]
    }

    /// What a decaying value has come to; `None` if it has decayed away.
    pub(super) fn value(&self, id: DecayId, stored: &Stored) -> Option<i64> {
        self.tag(id).value(stored, self.now)
    }

    /// The sum of all values, clamped.
    pub(super) fn worth(&self, tags: impl Iterator<Item = (TagId, i64)>) -> i64 {
        sum(tagged(tags).map(|tag| match tag {
            Tagged::Plain(_, value) => value,
            Tagged::Decaying(id, stored) => self.value(id, &stored).unwrap_or(0),
        }))
    }
}

/// What a decaying tag's handle asks of its manager, whatever its connections are.
trait DecayingPeers<P>: Send + Sync {
    fn bump(&self, tag: &Registered, peer: &P, delta: i64) -> Option<i64>;
    fn value(&self, tag: &Registered, peer: &P) -> Option<i64>;
    fn remove(&self, tag: &Registered, peer: &P) -> bool;
    fn close(&self, tag: &Registered);
}

impl<P, C> DecayingPeers<P> for Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    fn bump(&self, tag: &Registered, peer: &P, delta: i64) -> Option<i64> {
        let now = || self.limits.now();
        let stored =
            self.table.bump(peer, tag.id, &tag.open, now, |from| tag.bumped(from, delta, self.limits.now()));
        stored.map(|stored| stored.value)
    }

    fn value(&self, tag: &Registered, peer: &P) -> Option<i64> {
        tag.value(&self.table.decaying(peer, tag.id)?, self.limits.now())
    }

    fn remove(&self, tag: &Registered, peer: &P) -> bool {
        self.table.drop_decaying(peer, tag.id)
    }

    fn close(&self, tag: &Registered) {
        tag.open.shut();
        let cut = Cut::take(&self.table);
        for at in cut.iter() {
            self.table.drop_decaying_if(at.node, tag.id, |_| true, cut.guard());
        }
    }
}

impl<P, C> Inner<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// What tags are worth now. To be called after the states that it is to appraise are seen, or the epoch they are seen at.
    pub(super) fn appraiser(&self) -> Appraiser {
        Appraiser { tags: self.decaying.0.load(), now: self.limits.now() }
    }

    pub(super) fn register_decaying_tag(
        self: &Arc<Self>,
        name: &str,
        interval: Duration,
        decay: DecayFn,
        bump: BumpFn,
    ) -> Result<DecayingTag<P>, DecayError> {
        let schedule = Schedule::new(self.limits.now(), self.limits.resolution, nanos(interval));
        let registered = self.decaying.register(name, schedule, decay, bump)?;
        Ok(DecayingTag { registered, peers: Arc::clone(self) as _ })
    }
}

/// A tag whose values decay: registered by
/// [`BasicConnManager::register_decaying_tag`](crate::BasicConnManager::register_decaying_tag). Clones are the same tag.
///
/// Its values count in a peer's value wherever that is asked for: in [`TagInfo`](crate::TagInfo), in snapshots and in trims. It is not the
/// plain tag of the same name. Dropping the handle leaves the tag as it is; it keeps the manager's table in memory.
pub struct DecayingTag<P> {
    registered: Arc<Registered>,
    peers: Arc<dyn DecayingPeers<P>>,
}

impl<P> Clone for DecayingTag<P> {
    fn clone(&self) -> Self {
        Self { registered: Arc::clone(&self.registered), peers: Arc::clone(&self.peers) }
    }
}

impl<P> fmt::Debug for DecayingTag<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecayingTag")
            .field("name", &self.registered.name)
            .field("interval", &self.interval())
            .finish_non_exhaustive()
    }
}

impl<P> DecayingTag<P> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.registered.name
    }

    /// How often its values decay: as registered, raised to the manager's resolution if it was below.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.registered.schedule.interval())
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
    /// Lock-free. Between two boundaries the second bump of a preset allocates nothing (but for [`DecayFn::expire_when_inactive`]);
    /// the first, and one by a custom function, replaces the peer's state.
    ///
    /// # Consistency
    ///
    /// Linearizable per peer; no bump is lost.
    #[doc(alias = "Bump")]
    pub fn bump(&self, peer: &P, delta: i64) -> Result<i64, DecayError> {
        self.peers.bump(&self.registered, peer, delta).ok_or(DecayError::Closed)
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
        self.peers.value(&self.registered, peer)
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
        self.peers.remove(&self.registered, peer)
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
        self.peers.close(&self.registered);
    }
}
