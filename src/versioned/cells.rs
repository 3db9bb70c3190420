//! The tags of one state with their values: a cell for each.
//!
//! Most states have two tags or fewer, and these lie in the state: the values one after the other, then which tags they are of, in 24 bytes.
//! More have a table of their own.
//!
//! Of a state with fewer than two tags the cells that are left are *vacant*, and as long as they are open a tag may be added in place. Which tag
//! such a cell is of, only goes forward:
//!
//! ```text
//! VACANT ──► CLAIMED ──► the tag
//!    │          │
//!    ▼          ▼
//! CLOSED     CLOSED
//! ```
//!
//! Invariants:
//! - (claimed) Who claimed a vacant cell is the only one to write its value, until it has its tag; before that nobody reads it.
//! - (once) The second cell is claimed only when the first is of another tag: so no tag has two cells.
//! - (closed) When all cells are closed or of a tag, which tags there are is final. Whoever decides from that has to
//!   [close](Cells::close) them first, or to know that somebody did.

use std::fmt;
use std::mem::ManuallyDrop;

use super::state::saturate;
use crate::sync::{AtomicU32, AtomicU64, Ordering, mutant, ordering};

/// A tag's name, interned: at most [`MAX_TAG_ID`].
pub(crate) type TagId = u32;

/// The highest id that a tag may have: what a cell is of has four values besides.
pub(crate) const MAX_TAG_ID: TagId = u32::MAX - 4;

/// Of no tag, and may be claimed for one.
const VACANT: u32 = u32::MAX;
/// Of no tag yet: somebody is about to put one in.
const CLAIMED: u32 = u32::MAX - 1;
/// Of no tag, for good.
const CLOSED: u32 = u32::MAX - 2;
/// The cells are in a table.
const MANY: u32 = u32::MAX - 3;

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

/// The cells of one state.
#[repr(C)]
pub(super) struct Cells {
    room: Room,
    /// What each cell in the state is of; the first tells if they are in a table.
    of: [AtomicU32; 2],
}

union Room {
    /// If they are not [`MANY`].
    few: ManuallyDrop<[Cell; 2]>,
    /// If they are.
    many: ManuallyDrop<Box<[(TagId, Cell)]>>,
}

#[cfg(all(target_pointer_width = "64", not(any(connmgr_loom, connmgr_shuttle))))]
const _: () = assert!(size_of::<Cells>() == 24);

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // SAFETY: each is what `new` put there, and dropped once.
        unsafe {
            if self.of(0) == MANY {
                ManuallyDrop::drop(&mut self.room.many);
            } else {
                ManuallyDrop::drop(&mut self.room.few);
            }
        }
    }
}

impl Cells {
    /// Cells of these tags, each once; values are [saturated](saturate). Vacant ones are open if `open` says so.
    pub(super) fn new(tags: &Tags, open: impl FnOnce() -> bool) -> Self {
        let few = |values: [i64; 2], of: [u32; 2]| {
            let few = ManuallyDrop::new(values.map(Cell::new));
            Self { room: Room { few }, of: of.map(AtomicU32::new) }
        };
        debug_assert!(tags.iter().all(|&(tag, _)| tag <= MAX_TAG_ID), "an id that no tag has: {tags:?}");
        match *tags {
            [(one, first), (other, second)] => few([first, second], [one, other]),
            [] | [_] => {
                let vacant = if open() { VACANT } else { CLOSED };
                tags.first()
                    .map_or_else(|| few([0, 0], [vacant; 2]), |&(tag, value)| few([value, 0], [tag, vacant]))
            }
            _ => {
                let many = tags.iter().map(|&(tag, value)| (tag, Cell::new(value))).collect();
                Self { room: Room { many: ManuallyDrop::new(many) }, of: [MANY, CLOSED].map(AtomicU32::new) }
            }
        }
    }

    /// What a cell of the state is of.
    #[inline(always)]
    fn of(&self, cell: usize) -> u32 {
        // ORDER: tag-load
        self.of[cell].load(ordering!("tag-load", Acquire))
    }

    /// The cells in the state.
    ///
    /// # Safety
    /// 1. The first is of anything but [`MANY`].
    #[inline(always)]
    unsafe fn few(&self) -> &[Cell; 2] {
        // SAFETY: by (1), as that is so from the beginning or never.
        unsafe { &self.room.few }
    }

    /// The cells in the table.
    ///
    /// # Safety
    /// 1. The first is of [`MANY`].
    unsafe fn many(&self) -> &[(TagId, Cell)] {
        // SAFETY: by (1), as that is so from the beginning or never.
        unsafe { &self.room.many }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        match self.of(0) {
            // SAFETY: (1).
            MANY => unsafe { self.many() }.len(),
            of if of > MAX_TAG_ID => 0,
            _ => 1 + usize::from(self.of(1) <= MAX_TAG_ID),
        }
    }

    /// The cell of `tag`.
    #[inline]
    pub(super) fn get(&self, tag: TagId) -> Option<&Cell> {
        debug_assert!(tag <= MAX_TAG_ID, "an id that no tag has: {tag}");
        let first = self.of(0);
        if first == tag {
            // SAFETY: (1).
            return Some(unsafe { &self.few()[0] });
        }
        if first == MANY {
            // SAFETY: (1).
            let many = unsafe { self.many() };
            return many.iter().find(|cell| cell.0 == tag).map(|cell| &cell.1);
        }
        // SAFETY: (1).
        (self.of(1) == tag).then(|| unsafe { &self.few()[1] })
    }

    /// What all add up to, if they are two or fewer.
    #[inline]
    pub(super) fn sum_of_few(&self) -> Option<i64> {
        let first = self.of(0);
        if first == MANY {
            return None;
        }
        if first > MAX_TAG_ID {
            return Some(0);
        }
        // SAFETY: (1).
        let [one, other] = unsafe { self.few() };
        // Without overflow, as values are saturated.
        Some(decode(one.load()) + if self.of(1) <= MAX_TAG_ID { decode(other.load()) } else { 0 })
    }

    /// Each with its tag, in the order they were added in: those that there are at the call.
    #[inline]
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (TagId, &Cell)> {
        (0..self.len()).map(|at| match self.of(0) {
            MANY => {
                // SAFETY: (1).
                let (tag, cell) = unsafe { &self.many()[at] };
                (*tag, cell)
            }
            // SAFETY: (1).
            _ => (self.of(at), unsafe { &self.few()[at] }),
        })
    }

    /// Claims a vacant cell for `tag`, unless there is none that is open, or that tag is there.
    pub(super) fn claim(&self, tag: TagId) -> Option<Vacancy<'_>> {
        let cell = match self.of(0) {
            VACANT => 0,
            // By (once).
            of if of > MAX_TAG_ID || of == tag && !mutant!("tag-claimed-twice") => return None,
            _ => 1,
        };
        let of = &self.of[cell];
        // ORDER: vacancy-claim
        of.compare_exchange(VACANT, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        // SAFETY: (1): a cell that was vacant is in the state.
        Some(Vacancy { of, value: unsafe { &self.few()[cell] } })
    }

    /// Makes final which tags there are.
    pub(super) fn close(&self) {
        for of in &self.of {
            let mut seen = of.load(Ordering::Relaxed);
            while matches!(seen, VACANT | CLAIMED) && !mutant!("vacancy-left-open") {
                // ORDER: vacancy-close
                match of.compare_exchange(seen, CLOSED, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => break,
                    Err(now) => seen = now,
                }
            }
        }
    }

    /// Whether it is final which tags there are.
    pub(super) fn are_closed(&self) -> bool {
        self.of.iter().all(|of| !matches!(of.load(Ordering::Relaxed), VACANT | CLAIMED))
    }
}

/// A cell that was claimed and is of no tag yet.
pub(super) struct Vacancy<'c> {
    of: &'c AtomicU32,
    value: &'c Cell,
}

impl Vacancy<'_> {
    /// Puts `tag` into it, which it was claimed for, if `may` says so once everything is ready, and unless it has been closed.
    pub(super) fn fill(self, tag: TagId, value: i64, may: impl FnOnce() -> bool) -> bool {
        // By (claimed), nobody looks at it.
        self.value.0.store(encode(value), Ordering::Relaxed);
        // ORDER: vacancy-fill
        let published = ordering!("vacancy-fill", Release);
        may() && self.of.compare_exchange(CLAIMED, tag, published, Ordering::Relaxed).is_ok()
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
            let cells = Cells::new(&tags, || false);
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
        let sum = |tags: &[_]| Cells::new(tags, || false).sum_of_few();
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
    fn a_tag_is_added_where_a_cell_is_vacant_and_open() {
        let tags =
            |cells: &Cells| cells.iter().map(|(tag, cell)| (tag, decode(cell.load()))).collect::<Vec<_>>();
        let cells = Cells::new(&[], || true);
        let claimed = cells.claim(7).expect("two are vacant");
        assert!(cells.claim(8).is_none(), "the second waits for the first");
        assert_eq!((cells.len(), cells.sum_of_few()), (0, Some(0)), "nothing is there yet");
        assert!(claimed.fill(7, -3, || cells.get(7).is_none()), "it becomes the tag's");
        assert!(cells.claim(7).is_none(), "it is there");
        assert!(cells.claim(8).expect("one is vacant").fill(8, 5, || true), "the second, too");
        assert!(cells.claim(9).is_none(), "no more");
        assert_eq!((tags(&cells), cells.sum_of_few()), (vec![(7, -3), (8, 5)], Some(2)), "both");

        let cells = Cells::new(&[(7, 1)], || true);
        let claimed = cells.claim(8).expect("one is vacant");
        assert!(!cells.are_closed(), "it may still become of a tag");
        cells.close();
        assert!(cells.are_closed() && !claimed.fill(8, 2, || true), "too late");
        assert_eq!((tags(&cells), cells.sum_of_few()), (vec![(7, 1)], Some(1)), "what was there before");
        assert!(Cells::new(&[], || false).claim(7).is_none(), "closed from the beginning");
        let given_up = Cells::new(&[], || true);
        assert!(!given_up.claim(7).expect("two are vacant").fill(7, 1, || false), "it was not to be");
        assert!(given_up.get(7).is_none() && given_up.claim(7).is_none(), "not there, and not to be had");
        let many: Vec<_> = (0..3).map(|tag| (tag, 1)).collect();
        assert!(Cells::new(&many, || true).claim(7).is_none(), "a table does not grow");
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
