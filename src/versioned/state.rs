//! What a record is at one time: cells of its tags, and a word that leads to its links.

use super::Linked;
use super::cells::{Cell, Cells, TagId, decode};
use super::links::LinksCell;

/// The lowest weight that is stored; lower ones saturate to it.
pub const MIN_WEIGHT: i64 = -(1 << 62);
/// The highest weight that is stored; higher ones saturate to it.
pub const MAX_WEIGHT: i64 = (1 << 62) - 1;

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

/// What a record is at one time.
#[derive(Debug)]
pub(crate) struct State<L: Linked> {
    pub(super) epoch: u64,
    pub(super) prev: *const State<L>,
    /// Everything but the tags.
    pub(super) links: LinksCell<L>,
    pub(super) cells: Cells,
}

// Its header, and two tags with their values.
#[cfg(all(target_pointer_width = "64", not(any(connmgr_loom, connmgr_shuttle))))]
const _: () = assert!(size_of::<State<()>>() == 48);

// SAFETY: `prev` is a shared reference in effect, whose target the reclaimer keeps alive; what it leads to is
// read from many threads (`L: Sync`) and dropped on any (`L: Send`).
unsafe impl<L: Linked> Send for State<L> {}
// SAFETY: as above.
unsafe impl<L: Linked> Sync for State<L> {}

impl<L: Linked> State<L> {
    #[inline]
    pub(super) fn cell(&self, tag: TagId) -> Option<&Cell> {
        self.cells.get(tag)
    }

    /// The value of `tag`, read at this instant.
    #[inline]
    pub(crate) fn value(&self, tag: TagId) -> Option<i64> {
        self.cell(tag).map(|cell| decode(cell.load()))
    }

    /// Makes final which tags there are, to who is to decide from that. In a state without connections it is so anyway.
    pub(crate) fn close(&self) {
        self.cells.close();
    }

    /// Makes the value of `tag` final and returns it.
    pub(crate) fn freeze(&self, tag: TagId) -> Option<i64> {
        self.cell(tag).map(Cell::freeze)
    }

    /// The [sum] of all values, each read at its own instant, if there are two tags or fewer.
    #[inline]
    pub(crate) fn sum_of_few(&self) -> Option<i64> {
        self.cells.sum_of_few()
    }

    /// Each tag with its value, each read at its own instant, in the order they were added in. Until the state is [closed](Self::close), more may come.
    pub(crate) fn tags(&self) -> impl ExactSizeIterator<Item = (TagId, i64)> {
        self.cells.iter().map(|(tag, cell)| (tag, decode(cell.load())))
    }
}
