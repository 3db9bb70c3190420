//! What a record is at one time: cells in an immutable structure, and a word that leads to its links.

use smallvec::SmallVec;

use super::Linked;
use super::links::LinksCell;
use crate::sync::{AtomicU64, Ordering, mutant, ordering};

/// A tag's name, interned.
pub(crate) type TagId = u32;

/// Tags with their values, in the order they were added in.
pub(crate) type Tags = [(TagId, i64)];

/// The lowest weight that is stored; lower ones saturate to it.
pub const MIN_WEIGHT: i64 = -(1 << 62);
/// The highest weight that is stored; higher ones saturate to it.
pub const MAX_WEIGHT: i64 = (1 << 62) - 1;

/// Set in a cell's word: the state is being replaced, and the value is final for this state.
pub(super) const FROZEN: u64 = 1;

#[inline]
pub(super) fn encode(value: i64) -> u64 {
    (value << 1) as u64
}

#[inline]
pub(super) fn decode(word: u64) -> i64 {
    (word as i64) >> 1
}

/// A weight as it is stored.
#[inline]
pub(crate) fn saturate(value: i64) -> i64 {
    value.clamp(MIN_WEIGHT, MAX_WEIGHT)
}

/// The exact sum, clamped: it is the same in whatever order the values come.
pub(crate) fn sum(values: impl Iterator<Item = i64>) -> i64 {
    let exact: i128 = values.map(i128::from).sum();
    exact.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// One tag of one state: a 63-bit value over the frozen bit.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) word: AtomicU64,
    pub(super) tag: TagId,
}

impl Cell {
    pub(super) fn new(tag: TagId, value: i64) -> Self {
        Self { word: AtomicU64::new(encode(value)), tag }
    }

    #[inline]
    pub(super) fn load(&self) -> u64 {
        // ORDER: cell-load
        self.word.load(ordering!("cell-load", Acquire))
    }

    /// Sets the value to `to` if the word is still `from`, which is not frozen.
    #[inline]
    pub(super) fn swap(&self, from: u64, to: i64) -> bool {
        // ORDER: cell-update
        let published = ordering!("cell-update", AcqRel);
        self.word.compare_exchange(from, encode(to), published, Ordering::Relaxed).is_ok()
    }

    /// Makes the value final and returns it.
    pub(super) fn freeze(&self) -> i64 {
        let word = self.load();
        if word & FROZEN != 0 || mutant!("freeze-skipped") {
            return decode(word);
        }
        // ORDER: cell-freeze
        decode(self.word.fetch_or(FROZEN, ordering!("cell-freeze", Acquire)))
    }
}

/// What a record is at one time.
#[derive(Debug)]
pub(crate) struct State<L: Linked> {
    pub(super) epoch: u64,
    pub(super) prev: *const State<L>,
    /// Everything but the tags.
    pub(super) links: LinksCell<L>,
    pub(super) cells: SmallVec<[Cell; 2]>,
}

// The first line of a state holds its header and its first two tags' values.
#[cfg(all(target_pointer_width = "64", not(any(connmgr_loom, connmgr_shuttle))))]
const _: () = assert!(size_of::<State<()>>() == 64);

// SAFETY: `prev` is a shared reference in effect, whose target the reclaimer keeps alive; what it leads to is
// read from many threads (`L: Sync`) and dropped on any (`L: Send`).
unsafe impl<L: Linked> Send for State<L> {}
// SAFETY: as above.
unsafe impl<L: Linked> Sync for State<L> {}

impl<L: Linked> State<L> {
    #[inline]
    pub(super) fn cell(&self, tag: TagId) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.tag == tag)
    }

    /// The value of `tag`, read at this instant.
    #[inline]
    pub(crate) fn value(&self, tag: TagId) -> Option<i64> {
        self.cell(tag).map(|cell| decode(cell.load()))
    }

    /// Makes the value of `tag` final and returns it.
    pub(crate) fn freeze(&self, tag: TagId) -> Option<i64> {
        self.cell(tag).map(Cell::freeze)
    }

    /// Each tag with its value, each read at its own instant, in the order they were added in.
    pub(crate) fn tags(&self) -> impl ExactSizeIterator<Item = (TagId, i64)> {
        self.cells.iter().map(|cell| (cell.tag, decode(cell.load())))
    }
}
