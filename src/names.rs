//! Tag names, interned once per manager: states hold small numbers, callers may keep a resolved [`Tag`].
//!
//! Looking a name up is wait-free: it reads a map that is never changed but replaced. A new name copies the map, which is right for
//! names that a program has tens or thousands of, and wrong for names taken from remote input.

#![forbid(unsafe_code)]

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

    fn look_up(&self, name: &str) -> Option<TagId> {
        self.table.load().ids.get(name).copied()
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
