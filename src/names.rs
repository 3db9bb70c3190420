//! Tag names, interned once per manager: states hold small numbers, callers may keep a resolved [`Tag`].
//!
//! Looking a name up is wait-free: it reads a map that is never changed but replaced. A new name copies the map, which is right for
//! names that a program has tens or thousands of, and wrong for names taken from remote input.
//!
//! A name's number never changes, so each thread keeps the last few that it looked up, the short ones: see [`Recent`].

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use arc_swap::ArcSwap;

use crate::peer::PLAIN_IDS;
use crate::versioned::TagId;

/// Which manager a [`Tag`] belongs to. (The standard library's atomic in models, too: those have no statics in common.)
static MANAGERS: AtomicUsize = AtomicUsize::new(0);

/// A tag's name, resolved by [`BasicConnManager::tag`](crate::BasicConnManager::tag): calls that take it skip the
/// look-up of the name.
///
/// Used with another manager than the one that resolved it, it is resolved by name.
#[derive(Clone)]
pub struct Tag {
    manager: usize,
    id: TagId,
    name: Arc<str>,
}

impl Tag {
    /// The name it stands for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tag").field(&self.name).finish()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Tag {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for &String {}
    impl Sealed for &super::Tag {}
}

/// What names a tag in a call: `&str`, `&String` or `&Tag`.
///
/// Any string is a name, the empty one included; names are told apart byte by byte. Each distinct name that is
/// *written* (by tagging or protecting) is kept for the life of the manager, so names should not come from remote
/// input.
pub trait AsTag: sealed::Sealed {
    /// The name.
    #[doc(hidden)]
    fn name(&self) -> &str;
    /// The resolved tag, if it is one.
    #[doc(hidden)]
    #[inline]
    fn resolved(&self) -> Option<&Tag> {
        None
    }
}

impl AsTag for &str {
    #[inline]
    fn name(&self) -> &str {
        self
    }
}

impl AsTag for &String {
    #[inline]
    fn name(&self) -> &str {
        self
    }
}

impl AsTag for &Tag {
    #[inline]
    fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    fn resolved(&self) -> Option<&Tag> {
        Some(self)
    }
}

/// Bytes of a name that a thread keeps; longer ones are looked up each time.
const KEPT_BYTES: usize = 23;
/// Names that a thread keeps, each in a place that its bytes tell.
const KEPT: usize = 16;

/// A name that a thread has looked up, of any manager: nothing of it is shared, so that threads which use one name do not meet.
#[derive(Clone, Copy)]
struct Recent {
    manager: usize,
    id: TagId,
    len: u8,
    bytes: [u8; KEPT_BYTES],
}

impl Recent {
    /// Of a manager that there never is.
    const NONE: Self = Self { manager: usize::MAX, id: 0, len: 0, bytes: [0; KEPT_BYTES] };

    fn of(manager: usize, name: &str, id: TagId) -> Option<Self> {
        let mut bytes = [0; KEPT_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self { manager, id, len: name.len() as u8, bytes })
    }

    /// Its place among those that are kept: names that differ in their ends or in length have different ones, as far as there are any.
    #[inline]
    fn place(name: &str) -> usize {
        let name = name.as_bytes();
        let end = |byte: Option<&u8>| byte.map_or(0, |&byte| usize::from(byte));
        (end(name.first()) * 5 + end(name.last()) * 3 + name.len()) % KEPT
    }

    #[inline]
    fn is(&self, manager: usize, name: &str) -> bool {
        self.manager == manager && self.bytes.get(..usize::from(self.len)) == Some(name.as_bytes())
    }
}

thread_local! {
    static RECENT: [Cell<Recent>; KEPT] = const { [const { Cell::new(Recent::NONE) }; KEPT] };
}

#[derive(Clone, Debug, Default)]
struct Table {
    ids: HashMap<Arc<str>, TagId, RandomState>,
    names: Vec<Arc<str>>,
}

/// A manager's names.
#[derive(Debug)]
pub(crate) struct Names {
    manager: usize,
    table: ArcSwap<Table>,
}

impl Names {
    pub(crate) fn new() -> Self {
        let manager = MANAGERS.fetch_add(1, Ordering::Relaxed);
        Self { manager, table: ArcSwap::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.load().names.len()
    }

    /// The id of a name that has been interned.
    #[inline]
    pub(crate) fn known(&self, tag: &impl AsTag) -> Option<TagId> {
        match self.resolved(tag) {
            Some(id) => Some(id),
            None => self.look_up(tag.name()),
        }
    }

    /// The id of a tag that this manager has resolved.
    #[inline]
    fn resolved(&self, tag: &impl AsTag) -> Option<TagId> {
        tag.resolved().filter(|tag| tag.manager == self.manager).map(|tag| tag.id)
    }

    #[inline]
    fn look_up(&self, name: &str) -> Option<TagId> {
        let kept = RECENT.with(|recent| recent[Recent::place(name)].get());
        if kept.is(self.manager, name) { Some(kept.id) } else { self.look_up_shared(name) }
    }

    #[inline(never)]
    fn look_up_shared(&self, name: &str) -> Option<TagId> {
        let id = self.table.load().ids.get(name).copied()?;
        if let Some(kept) = Recent::of(self.manager, name, id) {
            RECENT.with(|recent| recent[Recent::place(name)].set(kept));
        }
        Some(id)
    }

    /// The id of a name, interned now if need be.
    #[inline]
    pub(crate) fn intern(&self, tag: &impl AsTag) -> TagId {
        match self.resolved(tag) {
            Some(id) => id,
            None => self.intern_name(tag.name()),
        }
    }

    #[inline(never)]
    fn intern_name(&self, name: &str) -> TagId {
        self.look_up(name).unwrap_or_else(|| self.insert(name))
    }

    pub(crate) fn tag(&self, name: &str) -> Tag {
        let id = self.intern(&name);
        Tag { manager: self.manager, id, name: self.name(id) }
    }

    /// The name of an id of this manager.
    pub(crate) fn name(&self, id: TagId) -> Arc<str> {
        Arc::clone(&self.table.load().names[id as usize])
    }

    #[cold]
    fn insert(&self, name: &str) -> TagId {
        let name: Arc<str> = name.into();
        let mut id = 0;
        self.table.rcu(|table| {
            if let Some(known) = table.ids.get(&name) {
                id = *known;
                return Arc::clone(table);
            }
            let mut table = Table::clone(table);
            id = TagId::try_from(table.names.len())
                .ok()
                .filter(|&id| id < PLAIN_IDS)
                .expect("fewer than 2^30 tag names");
            table.ids.insert(Arc::clone(&name), id);
            table.names.push(Arc::clone(&name));
            Arc::new(table)
        });
        id
    }
}

#[cfg(all(test, not(any(connmgr_loom, connmgr_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn names_that_threads_keep_are_told_apart_by_manager_and_by_every_byte() {
        let (one, other) = (Names::new(), Names::new());
        let long = "x".repeat(KEPT_BYTES + 1);
        let names = [
            "",
            "a",
            "aa",
            "aba",
            "aca",
            "\0",
            "\0\0",
            &long[1..],
            &long,
            "blocks",
            "bricks",
            "seventeen or so",
        ];
        // In two orders, so that numbers differ, and each several times, so that what is kept is asked.
        for name in names {
            one.intern(&name);
        }
        for name in names.iter().rev() {
            other.intern(name);
        }
        let same_place = names.iter().filter(|name| Recent::place(name) == Recent::place("aba")).count();
        assert!(same_place > 1, "some put each other out");
        for _ in 0..3 {
            for (id, name) in (0..).zip(names) {
                assert_eq!(one.known(&name), Some(id), "{name:?}");
                assert_eq!(other.known(&name), Some(names.len() as TagId - 1 - id), "{name:?} of another");
                assert_eq!(&*one.name(id), name, "the way back");
            }
        }
        assert_eq!(one.known(&"ab"), None, "a name's beginning is another name, and was never interned");
        assert_eq!((one.len(), other.len()), (names.len(), names.len()), "asking interns nothing");
    }
}
