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

/// Names that a thread keeps, each in one of two places that its bytes tell.
const KEPT: usize = 64;

/// A name of 16 bytes at most, whole: its first and its last bytes, which may overlap, and how many there are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short {
    head: u64,
    tail: u64,
    len: usize,
}

impl Short {
    #[inline]
    fn of(name: &str) -> Option<Self> {
        let (name, len) = (name.as_bytes(), name.len());
        let (head, tail) = match len {
            0..4 => {
                let byte = |at: usize| name.get(at).copied().unwrap_or(0);
                (u32::from_le_bytes([byte(0), byte(1), byte(2), 0]).into(), 0)
            }
            4..8 => {
                let half =
                    |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes).into());
                (half(name.first_chunk()), half(name.last_chunk()))
            }
            8..=16 => {
                let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
                (word(name.first_chunk()), word(name.last_chunk()))
            }
            _ => return None,
        };
        Some(Self { head, tail, len })
    }

    /// The first of its two places; the other is beside it.
    #[inline]
    fn place(self) -> usize {
        const { assert!(KEPT.is_power_of_two()) };
        let mixed = (self.head ^ self.tail.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - KEPT.ilog2())) as usize
    }
}

/// A name that a thread has looked up, of any manager: nothing of it is shared, so that threads which use one name do not meet.
#[derive(Clone, Copy)]
struct Recent {
    manager: usize,
    name: Short,
    id: TagId,
}

thread_local! {
    static RECENT: [Cell<Recent>; KEPT] = const { [const { Cell::new(Recent::NONE) }; KEPT] };
}

impl Recent {
    /// Of a manager that there never is.
    const NONE: Self = Self { manager: usize::MAX, name: Short { head: 0, tail: 0, len: 0 }, id: 0 };

    #[inline]
    fn find(manager: usize, name: Short) -> Option<TagId> {
        RECENT.with(|recent| {
            let at = |place: usize| {
                let kept = recent[place].get();
                (kept.manager == manager && kept.name == name).then_some(kept.id)
            };
            at(name.place()).or_else(|| at(name.place() ^ 1))
        })
    }

    /// What was in a name's first place moves to the second, and what was there goes.
    fn keep(manager: usize, name: Short, id: TagId) {
        RECENT.with(|recent| {
            let first = name.place();
            recent[first ^ 1].set(recent[first].get());
            recent[first].set(Self { manager, name, id });
        });
    }
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
            None => self.known_name(tag.name()),
        }
    }

    /// By itself, as it would spread over callers that have a resolved tag.
    #[inline(never)]
    fn known_name(&self, name: &str) -> Option<TagId> {
        self.look_up(name)
    }

    /// The id of a tag that this manager has resolved.
    #[inline]
    fn resolved(&self, tag: &impl AsTag) -> Option<TagId> {
        tag.resolved().filter(|tag| tag.manager == self.manager).map(|tag| tag.id)
    }

    #[inline]
    fn look_up(&self, name: &str) -> Option<TagId> {
        let short = Short::of(name);
        short.and_then(|short| Recent::find(self.manager, short)).or_else(|| self.look_up_shared(name, short))
    }

    #[inline(never)]
    fn look_up_shared(&self, name: &str, short: Option<Short>) -> Option<TagId> {
        let id = self.table.load().ids.get(name).copied()?;
        if let Some(short) = short {
            Recent::keep(self.manager, short, id);
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
                .expect("no more than 2^30 - 4 tag names");
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
        let long = "x".repeat(17);
        let mut names: Vec<String> =
            ["", "\0", "\0\0", "ab", "abc", "abcd", "dcba", &long[1..], &long].map(String::from).into();
        // So many that some put others out, of every length that is told apart.
        names.extend((0..4 * KEPT).map(|number| format!("{number:0width$}", width = 3 + number % 24)));
        names.sort_unstable();
        names.dedup();
        // In two orders, so that numbers differ.
        for name in &names {
            one.intern(&name.as_str());
        }
        for name in names.iter().rev() {
            other.intern(&name.as_str());
        }
        for _ in 0..3 {
            for (id, name) in (0..).zip(&names) {
                // The second of each is kept from the first.
                for _ in 0..2 {
                    assert_eq!(one.known(&name.as_str()), Some(id), "{name:?}");
                    assert_eq!(
                        other.known(&name.as_str()),
                        Some(names.len() as TagId - 1 - id),
                        "{name:?} of another"
                    );
                }
                assert_eq!(*one.name(id), **name, "the way back");
            }
        }
        assert_eq!(one.known(&"a"), None, "a name's beginning is another name, and was never interned");
        assert_eq!((one.len(), other.len()), (names.len(), names.len()), "asking interns nothing");
    }
}
