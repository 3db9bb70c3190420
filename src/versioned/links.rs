//! What a state holds besides tags: a list of links, the newest first, that changes in place.
//!
//! One word of the state leads to the newest link, and each link to the one before it. A link is immutable; a change puts new ones on
//! top of those that stay, which the list before and the list after share. In a dead state the word is no pointer, but an odd number: which
//! death it was, or [`SEALED`].
//!
//! The word may also *mark* its list: what that says of all the links at once, and whether a change keeps it, is the business of whoever makes the
//! changes. To mark a list takes no new link, and other words that lead to the same links are not marked by it.
//!
//! The word is a cell like a tag's. It is changed by a compare-and-swap while it is not frozen and the epoch is the state's; it is frozen
//! before the state is replaced, and then copied.
//!
//! Invariant (links): who takes links off the list, by a change of the word or by replacing the state, retires these and no others, after that.
//! A list is a top of new links on a tail of an older list, so none comes back; and whoever found a link by a word, or by a link, holds a
//! guard that is older than the retirement of all that it leads to.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::{Linked, NewTarget, State, Target};
use crate::reclaim::{self, Guard};
use crate::sync::{AtomicPtr, Ordering, mutant, ordering};

/// Set in a dead state's word, where a pointer has it clear.
const DEAD: usize = 1;
/// Set in a word that is final for its state.
const FROZEN: usize = 2;
/// Set in a word whose list is marked; in a dead state's it is part of the number.
const MARKED: usize = 4;
/// The word of a state that is dead for good: no death's number.
const SEALED: usize = usize::MAX & !FROZEN;

/// One link of a list.
#[derive(Debug)]
// A pointer to it has three bits to spare.
#[repr(align(8))]
pub(crate) struct Link<L: Linked> {
    pub(super) value: L,
    pub(super) target: Option<Arc<Target<L>>>,
    pub(super) older: *mut Link<L>,
}

// SAFETY: the pointer is a shared reference in effect, to what is read from many threads (`L: Sync`) and dropped on any (`L: Send`).
unsafe impl<L: Linked> Send for Link<L> {}
// SAFETY: as above.
unsafe impl<L: Linked> Sync for Link<L> {}

impl<L: Linked> Link<L> {
    /// The one before it.
    #[inline]
    pub(crate) fn older(&self) -> Option<&Self> {
        reclaim::check(self.older);
        // SAFETY: by (links), it lives as long as this one can be reached; nobody has a mutable reference to what has been published.
        unsafe { self.older.as_ref() }
    }

    /// What it leads to.
    #[inline]
    pub(crate) fn target(&self) -> Option<&Arc<Target<L>>> {
        self.target.as_ref()
    }

    /// Whether it lies in the room that its target has.
    fn is_in_room(&self) -> bool {
        self.target.as_ref().is_some_and(|target| ptr::eq(target.room(), self))
    }
}

impl<L: Linked> Deref for Link<L> {
    type Target = L;

    #[inline]
    fn deref(&self) -> &L {
        &self.value
    }
}

/// A state, and what its word of links was when an operation looked.
pub(crate) struct Look<'g, L: Linked> {
    pub(crate) state: &'g State<L>,
    /// Without the frozen bit.
    word: *mut Link<L>,
}

impl<L: Linked> Clone for Look<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Linked> Copy for Look<'_, L> {}

impl<L: Linked> fmt::Debug for Look<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("word", &self.word).finish_non_exhaustive()
    }
}

impl<'g, L: Linked> Look<'g, L> {
    /// Whether the record holds nothing, for now or for good.
    #[inline]
    pub(crate) fn is_dead(self) -> bool {
        is_dead(self.word)
    }

    /// Whether it is dead by the death of that number.
    pub(super) fn is_death(self, number: usize) -> bool {
        self.word == death(number)
    }

    /// The same word, for a copy of the state.
    pub(super) fn into_cell(self) -> LinksCell<L> {
        LinksCell::new(self.word)
    }

    /// The links, or `None` of a dead state.
    #[inline]
    pub(crate) fn list(self) -> Option<List<'g, L>> {
        if self.is_dead() {
            return None;
        }
        NonNull::new(self.word).map(|word| List { word, links: PhantomData })
    }
}

/// A list of one link at least, and whether it is marked, in one word.
pub(crate) struct List<'g, L: Linked> {
    /// As a state's, without the frozen bit.
    word: NonNull<Link<L>>,
    links: PhantomData<&'g Link<L>>,
}

impl<L: Linked> Clone for List<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Linked> Copy for List<'_, L> {}

impl<L: Linked> fmt::Debug for List<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("word", &self.word).finish()
    }
}

impl<L: Linked> PartialEq for List<'_, L> {
    /// Whether it has the same links, and both are marked or neither.
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word
    }
}

impl<'g, L: Linked> List<'g, L> {
    #[inline]
    pub(crate) fn newest(self) -> &'g Link<L> {
        let newest = self.word.as_ptr().map_addr(|word| word & !MARKED);
        reclaim::check(newest);
        // SAFETY: not null, as no null is marked; and by (links), as the state was reached under a guard. Nobody has a mutable reference to
        // what has been published.
        unsafe { &*newest }
    }

    #[inline]
    pub(crate) fn is_marked(self) -> bool {
        self.word.addr().get() & MARKED != 0
    }
}

/// Links that have not been published, on top of some that may have been. Dropped, it frees the former.
pub(crate) struct Fresh<'g, L: Linked> {
    /// The word that is to lead to them: the newest, marked or not.
    word: *mut Link<L>,
    kept: *mut Link<L>,
    list: PhantomData<&'g Link<L>>,
}

impl<L: Linked> fmt::Debug for Fresh<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").field("word", &self.word).field("kept", &self.kept).finish()
    }
}

impl<'g, L: Linked> Fresh<'g, L> {
    /// On top of all that `look` saw.
    pub(crate) fn over(look: Look<'g, L>) -> Self {
        Self::on(newest(look.word))
    }

    /// On top of what is older than `link`.
    pub(crate) fn in_place_of(link: &'g Link<L>) -> Self {
        Self::on(link.older)
    }

    /// Of a new record.
    pub(crate) fn first() -> Self {
        Self::on(ptr::null_mut())
    }

    fn on(kept: *mut Link<L>) -> Self {
        Self { word: kept, kept, list: PhantomData }
    }

    /// With one link more, the newest.
    pub(crate) fn with(mut self, value: L, target: Option<&Arc<Target<L>>>) -> Self {
        let link = Link { value, target: target.map(Arc::clone), older: newest(self.word) };
        self.word = reclaim::alloc(link).as_ptr();
        self
    }

    /// The same, to a new target.
    pub(crate) fn with_new(mut self, value: L, target: &mut NewTarget<L>) -> Self {
        self.word = target.link(value, newest(self.word));
        self
    }

    /// Whether the newest has a target.
    pub(super) fn lead_to_target(&self) -> bool {
        // SAFETY: what is on top is its own, and what it is kept on was looked at under a guard.
        unsafe { leads_to_target(self.word) }
    }

    /// The same, marked if it is to be; what is put on top of that is not.
    pub(crate) fn marked(mut self, if_so: bool) -> Self {
        if if_so {
            self.word = marked(self.word);
        }
        self
    }
}

impl<L: Linked> Drop for Fresh<'_, L> {
    fn drop(&mut self) {
        // SAFETY: what is on top was never published, so it is ours alone.
        unsafe { free(newest(self.word), self.kept) }
    }
}

/// What becomes of the links in an edit.
#[derive(Debug)]
pub(crate) enum LinkEdit<'g, L: Linked> {
    /// They stay.
    Keep,
    /// They stay, and the list is marked.
    Mark,
    /// They become these.
    Become(Fresh<'g, L>),
    /// The record dies its death of this number, by [`Versioned::next_death`](super::Versioned::next_death).
    Die(usize),
}

impl<'g, L: Linked> LinkEdit<'g, L> {
    /// The word that this makes of what `look` saw.
    pub(super) fn word(&self, look: Look<'g, L>) -> *mut Link<L> {
        match self {
            Self::Keep => look.word,
            Self::Mark => marked(look.word),
            Self::Become(fresh) => fresh.word,
            Self::Die(number) => death(*number),
        }
    }

    /// Whether the newest of what this makes of what `look` saw has a target.
    pub(super) fn lead_to_target(&self, look: Look<'g, L>) -> bool {
        // SAFETY: of this edit, or looked at under the guard.
        unsafe { leads_to_target(self.word(look)) }
    }

    /// Hands over what is new, now that it is published, and retires what this took off the list that `look` saw.
    ///
    /// # Safety
    /// 1. Called once, by the thread that published [`Self::word`] in place of what `look` saw.
    pub(super) unsafe fn published(self, look: Look<'g, L>, guard: &Guard) {
        let kept = match self {
            Self::Keep if mutant!("kept-links-retired") => ptr::null_mut(),
            Self::Mark if mutant!("marked-links-retired") => ptr::null_mut(),
            Self::Keep | Self::Mark => newest(look.word),
            Self::Become(fresh) => {
                let kept = if mutant!("shared-links-retired") { ptr::null_mut() } else { fresh.kept };
                mem::forget(fresh);
                kept
            }
            Self::Die(_) => ptr::null_mut(),
        };
        let mut link = if look.is_dead() { kept } else { newest(look.word) };
        while link != kept {
            // SAFETY: it lives as long as `guard` does.
            let older = unsafe { (*link).older };
            // SAFETY: (1): the swap took it off the list that new guards find, and this thread alone made that swap. A link may be dropped on
            // any thread.
            unsafe { guard.retire_by(link, free_one) };
            link = older;
        }
    }
}

/// The word of links of one state.
#[derive(Debug)]
pub(super) struct LinksCell<L: Linked>(AtomicPtr<Link<L>>);

impl<L: Linked> LinksCell<L> {
    pub(super) fn new(word: *mut Link<L>) -> Self {
        Self(AtomicPtr::new(word))
    }

    /// Of a new record.
    pub(super) fn of(links: Fresh<'_, L>) -> Self {
        let word = links.word;
        mem::forget(links);
        Self::new(word)
    }

    /// Of a record that is dead for good.
    pub(super) fn sealed() -> Self {
        Self::new(ptr::without_provenance_mut(SEALED))
    }

    #[inline]
    fn load(&self) -> *mut Link<L> {
        // ORDER: links-load
        self.0.load(ordering!("links-load", Acquire))
    }

    /// Swaps the word for `to` if it is what `look` saw and not frozen.
    pub(super) fn swap(&self, look: Look<'_, L>, to: *mut Link<L>) -> bool {
        // ORDER: links-update
        let published = ordering!("links-update", AcqRel);
        self.0.compare_exchange(look.word, to, published, Ordering::Relaxed).is_ok()
    }

    /// Makes the word final.
    fn freeze(&self) -> *mut Link<L> {
        let mut word = self.load();
        while word.addr() & FROZEN == 0 && !mutant!("links-not-frozen") {
            let frozen = word.map_addr(|word| word | FROZEN);
            // ORDER: links-freeze
            let acquired = ordering!("links-freeze", Acquire);
            match self.0.compare_exchange(word, frozen, acquired, Ordering::Relaxed) {
                Ok(_) => break,
                Err(_) => word = self.load(),
            }
        }
        thawed(word)
    }

    /// The newest link, or null of a dead state.
    pub(super) fn list(&self) -> *mut Link<L> {
        newest(self.0.load(Ordering::Relaxed))
    }
}

impl<L: Linked> State<L> {
    /// Its links as they are at this instant.
    #[inline]
    pub(crate) fn look(&self) -> Look<'_, L> {
        Look { state: self, word: thawed(self.links.load()) }
    }

    /// Whether the record is gone for good: nothing is ever added to it again. (A state is made so, or never is.)
    #[inline]
    pub(crate) fn is_sealed(&self) -> bool {
        self.links.load().addr() == SEALED
    }

    /// Makes the links final. Returns them.
    pub(super) fn freeze_links(&self) -> Look<'_, L> {
        Look { state: self, word: self.links.freeze() }
    }
}

impl<L: Linked> PartialEq for Look<'_, L> {
    /// Whether it is the same state with the same links.
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.state, other.state) && self.word == other.word
    }
}

/// The word of a record's death of that number.
fn death<L: Linked>(number: usize) -> *mut Link<L> {
    const { assert!(align_of::<Link<L>>() > (DEAD | FROZEN | MARKED), "a pointer to a link has all three clear") };
    ptr::without_provenance_mut(number << 2 | DEAD)
}

#[inline]
fn is_dead<L: Linked>(word: *mut Link<L>) -> bool {
    word.addr() & DEAD != 0
}

#[inline]
fn thawed<L: Linked>(word: *mut Link<L>) -> *mut Link<L> {
    word.map_addr(|word| word & !FROZEN)
}

/// The newest link of the list that `word` leads to, or null of a dead state.
#[inline]
fn newest<L: Linked>(word: *mut Link<L>) -> *mut Link<L> {
    if is_dead(word) { ptr::null_mut() } else { word.map_addr(|word| word & !(FROZEN | MARKED)) }
}

/// Whether `word` leads to a list whose newest link has a target.
///
/// # Safety
/// 1. What it leads to is alive.
unsafe fn leads_to_target<L: Linked>(word: *mut Link<L>) -> bool {
    let newest = newest(word);
    reclaim::check(newest);
    // SAFETY: (1).
    unsafe { newest.as_ref() }.is_some_and(|link| link.target.is_some())
}

/// The same word, but its list is marked. Where there is no link, nothing is.
#[inline]
fn marked<L: Linked>(word: *mut Link<L>) -> *mut Link<L> {
    if newest(word).is_null() { word } else { word.map_addr(|word| word | MARKED) }
}

/// Frees one link.
///
/// # Safety
/// 1. Nobody else can reach it, and it is freed once.
unsafe fn free_one<L: Linked>(link: *mut Link<L>) {
    // SAFETY: (1): it is alive.
    if unsafe { &*link }.is_in_room() {
        reclaim::vacate(link);
        // SAFETY: (1). Moved out, as it may be the last to keep the room, by (keeps).
        drop(unsafe { link.read() });
    } else {
        // SAFETY: (1); not in a room, so it was allocated.
        unsafe { reclaim::free(link) }
    }
}

/// Frees a list from `link` on up to `end`, which stays. If the destructor of one link panics, the others are freed for all that.
///
/// # Safety
/// 1. Nobody else can reach these links.
pub(super) unsafe fn free<L: Linked>(link: *mut Link<L>, end: *mut Link<L>) {
    let mut rest = Rest { link, end };
    while rest.free_one() {}
}

/// What of a list is still to be freed, by [`free`].
struct Rest<L: Linked> {
    link: *mut Link<L>,
    end: *mut Link<L>,
}

impl<L: Linked> Rest<L> {
    fn free_one(&mut self) -> bool {
        let link = self.link;
        if link == self.end {
            return false;
        }
        // SAFETY: (1) of `free`; each is freed once, after this.
        self.link = unsafe { (*link).older };
        // SAFETY: as above.
        unsafe { free_one(link) };
        true
    }
}

impl<L: Linked> Drop for Rest<L> {
    fn drop(&mut self) {
        while self.free_one() {}
    }
}
