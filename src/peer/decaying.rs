//! Decaying values: how a peer's state holds them, and how they are bumped, dropped and closed.
//!
//! A decaying value is a number, the time it was last bumped at, and the time it was added at: what it is worth now is a function of
//! these, which this module does not know. It takes three tags of a state, in this order: one for each of the three, told apart
//! by the high bits of their ids. So it is copied, frozen and cut like any tag. The times change by replacement only: they are part of
//! the structure, and in one state the value goes with the times beside it.
//!
//! **Bump** ([`PeerTable::bump`]). Read what is stored; with nothing pinned, compute what is to be stored; store it if what was read is still
//! stored. If the times stay, that is a compare-and-swap of the value in place, as for any tag; else a replacement.
//!
//! **Close** ([`Open::shut`], then [`PeerTable::drop_decaying_if`] over a cut). A bump stores, fences, then looks whether its tag is still open, and
//! takes back what it stored if not; whoever closes shuts, fences, then takes a cut and drops what is there. So either the bump sees
//! that the tag is shut, or its fence comes first, and the cut holds what it stored: nothing of a closed tag stays behind.

use std::hash::{BuildHasher, Hash};

use super::{Identified, Links, Peer, PeerTable, Tie};
use crate::index::Node;
use crate::reclaim::{self, Guard};
use crate::sync::{AtomicBool, Ordering, fence, mutant};
use crate::versioned::{Fresh, LinkEdit, Linked, MAX_TAG_ID, MAX_WEIGHT, State, TagEdit, TagId, saturate};

/// Plain tags' ids are below this, and so are decaying tags' numbers.
pub(crate) const PLAIN_IDS: TagId = (1 << 30) - 4;

/// The high bits of an id: what it stands for.
const ROLE: TagId = 0b11 << 30;
const VALUE: TagId = 0b01 << 30;
const BUMPED: TagId = 0b10 << 30;
const ADDED: TagId = 0b11 << 30;

const _: () = assert!(ADDED | (PLAIN_IDS - 1) <= MAX_TAG_ID);

/// A decaying tag of a manager.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DecayId(TagId);

impl DecayId {
    /// The tag of that number, if there may be so many.
    pub(crate) fn new(number: usize) -> Option<Self> {
        TagId::try_from(number).ok().filter(|&id| id < PLAIN_IDS).map(Self)
    }

    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }

    fn tags(self) -> [TagId; 3] {
        [VALUE | self.0, BUMPED | self.0, ADDED | self.0]
    }
}

/// A decaying value as it is stored. Times are the manager's, and saturate at 146 years.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    /// What it was when it was last bumped.
    pub(crate) value: i64,
    pub(crate) bumped: u64,
    pub(crate) added: u64,
}

impl Stored {
    /// As it comes out again.
    fn saturated(self) -> Self {
        let time = |at: u64| at.min(MAX_WEIGHT as u64);
        Self { value: saturate(self.value), bumped: time(self.bumped), added: time(self.added) }
    }

    fn cells(self, id: DecayId) -> [(TagId, i64); 3] {
        let [value, bumped, added] = id.tags();
        [(value, self.value), (bumped, self.bumped as i64), (added, self.added as i64)]
    }
}

/// What the tags of a state stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tagged {
    Plain(TagId, i64),
    Decaying(DecayId, Stored),
}

/// Reads the tags of one state, in their order.
pub(crate) fn tagged(mut tags: impl Iterator<Item = (TagId, i64)>) -> impl Iterator<Item = Tagged> {
    std::iter::from_fn(move || {
        let (tag, value) = tags.next()?;
        if tag & ROLE == 0 {
            return Some(Tagged::Plain(tag, value));
        }
        debug_assert_eq!(tag & ROLE, VALUE, "a decaying value is three tags in a row, the value first");
        let (bumped, added) = (tags.next()?.1 as u64, tags.next()?.1 as u64);
        Some(Tagged::Decaying(DecayId(tag & !ROLE), Stored { value, bumped, added }))
    })
}

/// Whether a decaying value may be among the tags of `state`: it takes three of them.
pub(crate) fn may_decay<L: Linked>(state: &State<L>) -> bool {
    state.tags().len() >= 3
}

/// Whether a decaying tag still takes bumps.
#[derive(Debug)]
pub(crate) struct Open(AtomicBool);

impl Open {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(true))
    }

    pub(crate) fn is_open(&self) -> bool {
        // ORDER: decay-open
        self.0.load(Ordering::Relaxed)
    }

    /// From here on no bump succeeds; those that have not returned yet take back what they store, if a cut that is taken after this does not hold it.
    pub(crate) fn shut(&self) {
        // ORDER: decay-open
        self.0.store(false, Ordering::Relaxed);
        if !mutant!("close-fence-dropped") {
            // ORDER: close-fence
            fence(Ordering::SeqCst);
        }
    }
}

impl<K, C, S> PeerTable<K, C, S>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    C: Identified,
    S: BuildHasher,
{
    /// What is stored of `id` for `key`.
    pub(crate) fn decaying(&self, key: &K, id: DecayId) -> Option<Stored> {
        let peer = self.hashed(key);
        let guard = reclaim::pin();
        stored(self.see_alive(peer, &guard)?.1.state, id)
    }

    /// Stores what `next` makes of what is stored, creating a temporary record at `now` for an unknown peer. Returns what it
    /// stored, or `None` if the tag has been closed, and then nothing of this call is left.
    ///
    /// `next` runs with nothing pinned, and again if another thread stored meanwhile.
    pub(crate) fn bump(
        &self,
        key: &K,
        id: DecayId,
        open: &Open,
        now: impl Fn() -> u64,
        mut next: impl FnMut(Option<Stored>) -> Stored,
    ) -> Option<Stored> {
        loop {
            if !open.is_open() {
                return None;
            }
            let from = self.decaying(key, id);
            let to = next(from).saturated();
            if !self.store_decaying(key, id, from, to, &now) {
                continue;
            }
            if !mutant!("bump-fence-dropped") {
                // ORDER: bump-fence
                fence(Ordering::SeqCst);
            }
            if open.is_open() || mutant!("bump-left-behind") {
                return Some(to);
            }
            self.drop_decaying(key, id);
            return None;
        }
    }

    /// Tries once to store `to` where `from` is stored.
    fn store_decaying(
        &self,
        key: &K,
        id: DecayId,
        from: Option<Stored>,
        to: Stored,
        now: &impl Fn() -> u64,
    ) -> bool {
        let (peer, cells) = (self.hashed(key), to.cells(id));
        let guard = reclaim::pin();
        let Some((node, state)) = self.see(peer, &guard) else {
            let make = || Peer::new(peer, Fresh::first().with(Tie::new(now()), None), &cells);
            return from.is_none() && self.insert(peer, make, &guard).1;
        };
        match from {
            _ if stored(state, id) != from && !mutant!("bump-over-another") => false,
            None => {
                let look = state.look();
                self.edit(node, look, TagEdit::Add(&cells), Self::adopted(look, now), &guard)
            }
            Some(from) => {
                let times_stay = (from.bumped, from.added) == (to.bumped, to.added);
                let cells = if times_stay { &cells[..1] } else { &cells[..] };
                node.state.exchange(state, from.value, cells, &self.epoch, node, &guard)
            }
        }
    }

    /// Drops what is stored of `id` for `key`, and with its last tag a peer that has nothing else. Returns whether there was something.
    pub(crate) fn drop_decaying(&self, key: &K, id: DecayId) -> bool {
        let peer = self.hashed(key);
        let guard = reclaim::pin();
        match self.see(peer, &guard) {
            Some((node, _)) => self.drop_decaying_if(node, id, |_| true, &guard),
            None => false,
        }
    }

    /// Drops what is stored of `id` for `node` if `gone` holds of it, and with its last tag a peer that has nothing else.
    ///
    /// Linearizes at the replacement: the value was frozen at what `gone` saw. `gone` is asked once for each value, so that one which
    /// changes this very peer is not asked for ever.
    pub(crate) fn drop_decaying_if(
        &self,
        node: &Node<Peer<K, C>>,
        id: DecayId,
        gone: impl Fn(Stored) -> bool,
        guard: &Guard,
    ) -> bool {
        let mut known_gone = None;
        loop {
            let state = node.state.load(guard);
            let look = state.look();
            let (Some(links), Some(first)) = (Links::of(look), stored(state, id)) else { return false };
            // A first look, which freezes nothing.
            if known_gone != Some(first) {
                if !gone(first) {
                    return false;
                }
                known_gone = Some(first);
            }
            let [value, ..] = id.tags();
            if !mutant!("drop-without-freeze") && state.freeze(value) != Some(first.value) {
                continue;
            }
            let dies = state.tags().len() == 3 && !links.is_connected() && !links.is_protected();
            let edit = if dies { LinkEdit::Die(node.state.next_death()) } else { LinkEdit::Keep };
            if self.edit(node, look, TagEdit::Remove(&id.tags()), edit, guard) {
                return true;
            }
        }
    }
}

/// What `state` holds of `id`.
fn stored<C: Send + Sync + 'static>(state: &State<Tie<C>>, id: DecayId) -> Option<Stored> {
    let [value, bumped, added] = id.tags().map(|tag| state.value(tag));
    Some(Stored { value: value?, bumped: bumped? as u64, added: added? as u64 })
}
