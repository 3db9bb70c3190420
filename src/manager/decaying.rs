//! Decaying tags: which there are, and what a peer's tags are worth at an instant.

use std::cell::RefCell;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use smallvec::SmallVec;

use super::settings::ConfigError;
use super::time::nanos;
use super::{BasicConnManager, Inner};
use crate::connection::{Connection, Entry};
use crate::decay::{BumpFn, DecayError, DecayFn, Schedule};
use crate::decayer::{Decaying, DecayingTag};
use crate::peer::{DecayId, Open, Stored, Tagged, tagged};
use crate::snapshot::{Cut, PeerAt};
use crate::versioned::{Linked, State, TagId, Tags, sum};

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
        // Where the two times make no difference, a bump leaves them, and so is one swap of a word.
        let same = !self.bump.reads_last_bump() && self.decay.same_from(stored.bumped, now, &self.schedule);
        let bumped = if same { stored.bumped } else { now };
        Stored { value, bumped, added: stored.added }
    }
}

/// The decaying tags of a manager.
pub(super) struct Registry {
    /// All that were ever registered, by number: a snapshot may still hold values of a closed one.
    tags: ArcSwap<Vec<Arc<Registered>>>,
    /// How often they are looked at: nanoseconds.
    resolution: u64,
}

impl Registry {
    pub(super) fn new(resolution: Duration) -> Result<Self, ConfigError> {
        if resolution.is_zero() {
            return Err(ConfigError::ZeroResolution);
        }
        ConfigError::check_period("decay resolution", resolution)?;
        Ok(Self { tags: ArcSwap::default(), resolution: nanos(resolution) })
    }

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
        self.tags.rcu(|tags| {
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
    pub(super) now: u64,
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

    /// Whether a peer has something left: all a temporary record had may have decayed away.
    pub(super) fn finds<P: Send + Sync, C: Connection>(&self, at: &PeerAt<'_, P, Entry<C>>) -> bool {
        let stays = |tag| match tag {
            Tagged::Plain(..) => true,
            Tagged::Decaying(id, stored) => self.value(id, &stored).is_some(),
        };
        at.links.is_connected() || at.links.is_protected() || tagged(at.state.tags()).any(stays)
    }

    /// The sum of all values of a state, clamped.
    #[inline]
    pub(super) fn worth<L: Linked>(&self, state: &State<L>) -> i64 {
        // Of two tags or fewer none is decaying: that takes three.
        state.sum_of_few().unwrap_or_else(|| worth(state.tags(), |id, stored| self.value(id, stored)))
    }
}

/// The sum of all values, clamped, where `value` tells what a decaying one has come to.
fn worth(
    tags: impl Iterator<Item = (TagId, i64)>,
    mut value: impl FnMut(DecayId, &Stored) -> Option<i64>,
) -> i64 {
    sum(tagged(tags).map(|tag| match tag {
        Tagged::Plain(_, value) => value,
        Tagged::Decaying(id, stored) => value(id, &stored).unwrap_or(0),
    }))
}

/// What the tags of one peer are worth at an instant, in whatever states it comes to be meanwhile.
///
/// A decay function is asked once for each value: so one that writes to this very peer, which makes whoever asked look again, does not make him
/// look again for ever.
pub(super) struct Reappraiser<'r> {
    registry: &'r Registry,
    now: u64,
    found: RefCell<SmallVec<[Found; 2]>>,
}

/// What a decaying value has come to.
type Found = (DecayId, Stored, Option<i64>);

impl Reappraiser<'_> {
    /// The sum of all values, clamped.
    pub(super) fn worth(&self, tags: &Tags) -> i64 {
        worth(tags.iter().copied(), |id, stored| self.value(id, stored))
    }

    fn value(&self, id: DecayId, stored: &Stored) -> Option<i64> {
        let known = self.found.borrow().iter().find(|(of, at, _)| (of, at) == (&id, stored)).copied();
        if let Some((.., value)) = known {
            return value;
        }
        // The tags of now: this one may have been registered since the trim began. Nothing is borrowed while its function runs.
        let tag = Arc::clone(&self.registry.tags.load()[id.number()]);
        let value = tag.value(stored, self.now);
        self.found.borrow_mut().push((id, *stored, value));
        value
    }
}

/// A decaying tag together with its peers: what a program's handle leads to.
struct Tag<P: Send + Sync + 'static, C: Connection> {
    registered: Arc<Registered>,
    inner: Arc<Inner<P, C>>,
}

impl<P, C> Decaying<P> for Tag<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    fn name(&self) -> &str {
        &self.registered.name
    }

    fn interval(&self) -> Duration {
        Duration::from_nanos(self.registered.schedule.interval())
    }

    fn bump(&self, peer: &P, delta: i64) -> Option<i64> {
        let Registered { id, open, .. } = &*self.registered;
        let now = || self.inner.time.now();
        let next = |from| self.registered.bumped(from, delta, now());
        self.inner.table.bump(peer, *id, open, now, next).map(|stored| stored.value)
    }

    fn value(&self, peer: &P) -> Option<i64> {
        // The time first: what is bumped after it has not decayed at it, so the value was that at some instant of this call.
        let now = self.inner.time.now();
        let stored = self.inner.table.decaying(peer, self.registered.id)?;
        self.registered.value(&stored, now)
    }

    fn remove(&self, peer: &P) -> bool {
        self.inner.table.drop_decaying(peer, self.registered.id)
    }

    fn close(&self) {
        self.registered.open.shut();
        let cut = Cut::take(&self.inner.table);
        for at in cut.iter() {
            self.inner.table.drop_decaying_if(at.node, self.registered.id, |_| true, cut.guard());
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
        self.appraiser_at(self.time.now())
    }

    /// What tags are worth at `now`. To be called after the states are seen.
    pub(super) fn appraiser_at(&self, now: u64) -> Appraiser {
        Appraiser { tags: self.decaying.tags.load(), now }
    }

    /// What one peer's tags are worth at `now`, whatever was registered meanwhile.
    pub(super) fn reappraiser(&self, now: u64) -> Reappraiser<'_> {
        Reappraiser { registry: &self.decaying, now, found: RefCell::default() }
    }
}

impl<P, C> BasicConnManager<P, C>
where
    P: Eq + Hash + Clone + Send + Sync + 'static,
    C: Connection,
{
    /// Registers a tag whose values decay: every `interval`, `decay` gives what is left of a value, and [`DecayingTag::bump`] changes it by
    /// `bump`.
    ///
    /// Decay is lazy: a value is a function of the time it is asked for, exactly as if a ticker had visited it at each boundary and had never
    /// missed one. Boundaries count from the registration, by the manager's clock, and come at the ticks of its
    /// [resolution](crate::Builder::decay_resolution): the *k*-th at the first tick that is *k* intervals or more after the registration. An interval below the
    /// resolution is raised to it. A tag that has decayed away is gone; a plain tag of the same name is another tag.
    ///
    /// # Examples
    ///
    /// ```
    /// use connmgr::{BasicConnManager, BumpFn, DecayFn, ManualClock, testing::Loopback};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let manager = BasicConnManager::<u64, Loopback>::builder().clock(clock.clone()).background(false).build()?;
    /// let minute = Duration::from_secs(60);
    /// let useful = manager.register_decaying_tag("useful", minute, DecayFn::fixed(10), BumpFn::sum_unbounded())?;
    /// useful.bump(&7, 25)?;
    /// clock.advance(2 * minute);
    /// assert_eq!(useful.value(&7), Some(5));
    /// clock.advance(minute);
    /// assert_eq!(useful.value(&7), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DecayError::Duplicate`] if a tag of that name is registered and not closed; others if a function's parameter is out of range.
    ///
    /// # Progress
    ///
    /// Lock-free.
    #[doc(alias = "RegisterDecayingTag")]
    pub fn register_decaying_tag(
        &self,
        name: &str,
        interval: Duration,
        decay: DecayFn,
        bump: BumpFn,
    ) -> Result<DecayingTag<P>, DecayError> {
        let inner = &self.inner;
        // Zero is raised to the resolution, as any interval below it.
        DecayError::check_period("interval", interval.max(Duration::from_nanos(1)))?;
        let schedule = Schedule::new(inner.time.now(), inner.decaying.resolution, nanos(interval));
        let registered = inner.decaying.register(name, schedule, decay, bump)?;
        Ok(DecayingTag::new(Tag { registered, inner: Arc::clone(inner) }))
    }
}
