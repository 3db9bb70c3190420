//! The tags of one state with their values: a cell for each.
//!
//! Most states have two tags or fewer, and these lie in the state: the values one after the other, then which tags they are of, in 24 bytes.
//! More have a table of their own.

#![forbid(unsafe_code)]

use std::num::NonZeroU32;

use super::state::saturate;
use crate::sync::{AtomicU64, Ordering, mutant, ordering};

/// A tag's name, interned: at most [`MAX_TAG_ID`].
pub(crate) type TagId = u32;

/// The highest id that a tag may have: cells need two values that no tag has.
pub(crate) const MAX_TAG_ID: TagId = u32::MAX - 2;

/// Tags with their values, in the order they were added in.
pub(crate) type Tags = [(TagId, i64)];

/// Set in a cell's word: the state is being replaced, and the value is final for this state.
pub(super) const FROZEN: u64 = 1;

#[inline]
fn encode(value: i64) -> u64 {
    (value << 1) as u64
}

#[inline]
pub(super) fn decode(word: u64) -> i64 {
    (word as i64) >> 1
}

/// The value of one tag of one state: 63 bits over the frozen bit.
#[derive(Debug)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    fn new(value: i64) -> Self {
        Self(AtomicU64::new(encode(saturate(value))))
    }

    #[inline]
    pub(super) fn load(&self) -> u64 {
        // ORDER: cell-load
        self.0.load(ordering!("cell-load", Acquire))
    }

    /// Sets the value to `to` if the word is still `from`, which is not frozen.
    #[inline]
    pub(super) fn swap(&self, from: u64, to: i64) -> bool {
        // ORDER: cell-update
        let published = ordering!("cell-update", AcqRel);
        self.0.compare_exchange(from, encode(to), published, Ordering::Relaxed).is_ok()
    }

    /// Makes the value final and returns it.
    pub(super) fn freeze(&self) -> i64 {
        let word = self.load();
        if word & FROZEN != 0 || mutant!("freeze-skipped") {
            return decode(word);
        }
        // ORDER: cell-freeze
        decode(self.0.fetch_or(FROZEN, ordering!("cell-freeze", Acquire)))
    }
}

/// Which tag a cell is of, if of any. Never zero, so that [`Cells`] has no word that says which kind it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Of(NonZeroU32);

impl Of {
    /// Of no tag.
    const NONE: Self = Self(NonZeroU32::MIN);

    fn tag(id: TagId) -> Self {
        assert!(id <= MAX_TAG_ID, "an id that no tag has: {id}");
        Self(NonZeroU32::new(!id).expect("the highest id of all is no tag's"))
    }

    #[inline]
    fn id(self) -> TagId {
        !self.0.get()
    }
}

/// Which tags there are never changes; their values do.
#[derive(Debug)]
pub(super) enum Cells {
    /// Two or fewer; a cell that is of no tag is the last.
    Few { values: [Cell; 2], first: Of, second: Of },
    /// More.
    Many(Box<[(TagId, Cell)]>),
}

#[cfg(all(target_pointer_width = "64", not(any(connmgr_loom, connmgr_shuttle))))]
const _: () = assert!(size_of::<Cells>() == 24);

impl Cells {
    /// Cells of these tags, each once; values are [saturated](saturate).
    pub(super) fn new(tags: &Tags) -> Self {
        let few =
            |values: [i64; 2], first, second| Self::Few { values: values.map(Cell::new), first, second };
        match *tags {
            [] => few([0, 0], Of::NONE, Of::NONE),
            [(tag, value)] => few([value, 0], Of::tag(tag), Of::NONE),
            [(one, first), (other, second)] => few([first, second], Of::tag(one), Of::tag(other)),
            _ => Self::Many(tags.iter().map(|&(tag, value)| (tag, Cell::new(value))).collect()),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few { first, second, .. } => {
                usize::from(*first != Of::NONE) + usize::from(*second != Of::NONE)
            }
            Self::Many(cells) => cells.len(),
        }
    }

    /// The cell of `tag`.
    #[inline]
    pub(super) fn get(&self, tag: TagId) -> Option<&Cell> {
        debug_assert!(tag <= MAX_TAG_ID, "an id that no tag has: {tag}");
        match self {
            Self::Few { values: [cell, _], first, .. } if first.id() == tag => Some(cell),
            Self::Few { values: [_, cell], second, .. } => (second.id() == tag).then_some(cell),
            Self::Many(cells) => cells.iter().find(|cell| cell.0 == tag).map(|cell| &cell.1),
        }
    }

    /// What all add up to, if they are two or fewer.
    #[inline]
    pub(super) fn sum_of_few(&self) -> Option<i64> {
        match self {
            // Without overflow, as values are saturated; one that is of no tag is 0.
            Self::Few { values: [one, other], .. } => Some(decode(one.load()) + decode(other.load())),
            Self::Many(_) => None,
        }
    }

    /// Each with its tag, in the order they were added in.
    #[inline]
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (TagId, &Cell)> {
        (0..self.len()).map(|at| match self {
            Self::Few { values: [cell, _], first, .. } if at == 0 => (first.id(), cell),
            Self::Few { values: [_, cell], second, .. } => (second.id(), cell),
            Self::Many(cells) => (cells[at].0, &cells[at].1),
        })
    }
}

#[cfg(all(test, not(any(connmgr_loom, connmgr_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn each_tag_has_its_cell() {
        for count in 0..=4 {
            let ids = [MAX_TAG_ID, 0, 7, 1 << 30];
            let tags: Vec<_> = ids.into_iter().zip([-1, i64::MAX, 0, 3]).take(count).collect();
            let cells = Cells::new(&tags);
            let stored: Vec<_> = cells.iter().map(|(tag, cell)| (tag, decode(cell.load()))).collect();
            let saturated: Vec<_> = tags.iter().map(|&(tag, value)| (tag, saturate(value))).collect();
            assert_eq!(stored, saturated, "in order");
            assert_eq!((cells.len(), cells.iter().len()), (count, count), "as many as were put in");
            for (at, id) in ids.into_iter().enumerate() {
                let found = cells.get(id).map(|cell| decode(cell.load()));
                assert_eq!(found, saturated.get(at).map(|tag| tag.1), "{id} of {count}");
            }
            assert!(cells.get(MAX_TAG_ID - 1).is_none(), "not there");
        }
    }

    #[test]
    fn two_or_fewer_add_up() {
        let sum = |tags: &[_]| Cells::new(tags).sum_of_few();
        assert_eq!((sum(&[]), sum(&[(7, -3)]), sum(&[(7, -3), (1, 5)])), (Some(0), Some(-3), Some(2)));
        assert_eq!(
            sum(&[(7, i64::MIN), (1, i64::MIN)]),
            Some(2 * crate::versioned::MIN_WEIGHT),
            "the least there is"
        );
        assert_eq!(
            sum(&[(7, i64::MAX), (1, i64::MAX)]),
            Some(2 * crate::versioned::MAX_WEIGHT),
            "the most there is"
        );
        assert_eq!(sum(&[(7, 1), (1, 1), (2, 1)]), None, "more");
    }

    #[test]
    fn a_frozen_cell_keeps_its_value() {
        let cell = Cell::new(5);
        let seen = cell.load();
        assert_eq!(cell.freeze(), 5, "the value it had");
        assert!(!cell.swap(seen, 6), "no more changes");
        assert_eq!(cell.freeze(), 5, "as before");
    }
}
