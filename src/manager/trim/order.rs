//! The order of a trim's candidates, sorted only as far as it is asked for.

use super::keys::{Keys, Place};
use crate::policy::Rank;
use crate::sync::{BATCH, prefetch_ahead};

/// What may be put in order by a rank.
pub(super) trait Ranked {
    /// A hash: what decides between equal ranks.
    fn tie(&self) -> u64;
}

/// Candidates that are being gathered.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    candidates: Vec<T>,
    keys: Keys,
}

impl<T: Ranked> Gathered<T> {
    /// With room for as many as are expected.
    pub(super) fn with_capacity(expected: usize) -> Self {
        Self { candidates: Vec::with_capacity(expected), keys: Keys::with_capacity(expected) }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, candidate: T, rank: Rank, protected: bool) {
        self.keys.push(rank, candidate.tie(), protected);
        self.candidates.push(candidate);
    }

    pub(super) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Puts them in order; `expected` is how many will probably be asked for.
    pub(super) fn into_order(self, expected: usize) -> Order<T> {
        let Self { candidates, keys } = self;
        Order { candidates, keys, sorted: 0, taken: 0, step: expected.max(16) }
    }
}

/// Candidates, first to go first.
#[derive(Debug)]
pub(super) struct Order<T> {
    candidates: Vec<T>,
    keys: Keys,
    sorted: usize,
    taken: usize,
    step: usize,
}

impl<T: Ranked> Order<T> {
    /// How many candidates there are, taken or not.
    pub(super) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// The place of the next to go.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Place> {
        if self.taken == self.sorted && !self.sort_on() {
            return None;
        }
        let next = self.keys.places[self.taken];
        if self.begins_batch() {
            self.fetch();
        }
        self.taken += 1;
        Some(next)
    }

    /// Has the candidates of a later batch on their way.
    #[inline(never)]
    fn fetch(&self) {
        for place in self.keys.places.iter().skip(self.taken + 5 * BATCH).take(BATCH) {
            prefetch_ahead(self.at(*place));
        }
    }

    /// The candidate of a place.
    pub(super) fn at(&self, place: Place) -> &T {
        &self.candidates[self.keys.number(place)]
    }

    pub(super) fn rank(&self, place: Place) -> Rank {
        self.keys.rank(place)
    }

    /// Whether the next to go is the first of a batch: it is time to fetch what is [coming](Self::coming).
    pub(super) fn begins_batch(&self) -> bool {
        self.taken.is_multiple_of(BATCH)
    }

    /// The candidates of the batch after so many others, which is 4 at most: those that will be next, or others where no more is sorted.
    pub(super) fn coming(&self, batches: usize) -> impl Iterator<Item = &T> {
        self.keys.places.iter().skip(self.taken + batches * BATCH).take(BATCH).map(|&place| self.at(place))
    }

    /// Sorts a further step, unless all are sorted.
    #[cold]
    fn sort_on(&mut self) -> bool {
        let left = self.len() - self.sorted;
        if left == 0 {
            return false;
        }
        let candidates = &self.candidates;
        self.sorted += self.keys.sort(self.sorted, self.step.min(left), |number| candidates[number].tie());
        self.step *= 2;
        true
    }

    /// How many were taken.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// Begins again with the first.
    pub(super) fn rewind(&mut self) {
        self.taken = 0;
    }

    /// Those that were never taken, in no order.
    pub(super) fn left(&self) -> impl Iterator<Item = &T> {
        self.keys.places[self.taken..].iter().map(|&place| self.at(place))
    }
}

#[cfg(test)]
mod tests {
    use quickcheck::{Gen, QuickCheck};

    use super::*;

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Known(bool, Rank, u64);

    impl Ranked for Known {
        fn tie(&self) -> u64 {
            self.2
        }
    }

    fn order(known: &[Known], room: usize, expected: usize) -> Order<Known> {
        let mut gathered = Gathered::with_capacity(room);
        known.iter().for_each(|known| gathered.push(*known, known.1, known.0));
        gathered.into_order(expected)
    }

    fn next(order: &mut Order<Known>) -> Option<Known> {
        order.next().map(|place| {
            let known = *order.at(place);
            assert_eq!(place.is_protected(), known.0, "a place tells whether it is protected");
            known
        })
    }

    /// Every combination of a few of each fact: those that fit a key, and those that fill it or more.
    fn combinations(firsts: &[i64], seconds: &[u64], ties: &[u64]) -> Vec<Known> {
        let each = |first| move |second| (first, second);
        let ranks = firsts.iter().flat_map(|&first| seconds.iter().copied().map(each(first)));
        let mut all = Vec::new();
        for (first, second) in ranks {
            for &tie in ties {
                all.push(Known(tie % 3 == 0, Rank(first, second), tie));
            }
        }
        // Not in the order that they are to come to.
        all.sort_unstable_by_key(|known| {
            (known.1.0 ^ known.1.1 as i64).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) ^ known.2 as i64
        });
        all
    }

    #[test]
    fn the_order_is_that_of_a_sort_however_far_it_is_asked_for_and_however_wide_the_ranks() {
        let narrow = combinations(&[-3, 0, 2, 9], &[0, 1, 5], &[0, 1, 2, u64::MAX]);
        let filling =
            combinations(&[0, 1 << 30, (1 << 31) - 1], &[0, 1, u64::MAX], &[0, 1, 1 << 63, u64::MAX]);
        let widest = combinations(
            &[i64::MIN, -1, 0, i64::MAX],
            &[0, 1, u64::MAX - 1, u64::MAX],
            &[3, 4, 1 << 63, u64::MAX],
        );
        let some_of_the_ties = combinations(&[0, 1 << 30], &[0, 1 << 20], &[0, 1, 2, 1 << 63, u64::MAX]);
        let alike = combinations(&[7], &[7], &[1, 2, 3, 1 << 62, u64::MAX]);
        // Most are within what a key has room for, a few far outside.
        let some_outside =
            combinations(&[i64::MIN, 0, 1, 2, 3, i64::MAX], &[0, 1, 5, 1 << 62], &[0, 1, 2, u64::MAX]);
        for known in [narrow, filling, widest, some_of_the_ties, alike, some_outside] {
            let mut sorted = known.clone();
            sorted.sort_by_key(|known| (known.0, known.1, known.2));
            for (expected, room) in [(0, 0), (1, known.len()), (5, 1 << 20), (20, 0), (100, known.len())] {
                let mut order = order(&known, room, expected);
                order.step = expected.max(1);
                let taken: Vec<_> = std::iter::from_fn(|| next(&mut order)).collect();
                assert_eq!(taken, sorted, "expected {expected}, with room for {room}");
                assert_eq!(order.left().count(), 0, "all were taken");
                order.rewind();
                assert_eq!(next(&mut order), sorted.first().copied(), "from the first again");
            }
        }
        assert_eq!(next(&mut order(&[], 0, 3)), None, "none of nobody");
    }

    /// Ranks and ties of any width, crowded or spread, some far from the others: in the order of a sort.
    #[test]
    fn any_candidates_come_in_order() {
        type Drawn = (bool, (i64, u64), u64, (u8, u8));
        fn property(drawn: Vec<Drawn>, (width, tied): (u8, u8), room: u8, expected: u8) {
            let narrowed =
                |(first, second): (i64, u64), by: u8| Rank(first >> (by % 64), second >> (by / 2 % 64));
            let known: Vec<_> = drawn
                .iter()
                .map(|&(protected, rank, tie, (outside, alone))| {
                    let by = if outside % 16 == 0 { alone } else { width };
                    Known(protected, narrowed(rank, by), tie >> (tied % 64))
                })
                .collect();
            let mut sorted: Vec<_> = known.iter().copied().enumerate().collect();
            sorted.sort_by_key(|(at, known)| (known.0, known.1, known.2, *at));
            let mut order = order(&known, room.into(), expected.into());
            order.step = expected.max(1).into();
            for (at, known) in sorted {
                let place = order.next().expect("as many as there are");
                assert_eq!((order.keys.number(place), order.rank(place)), (at, known.1), "of {drawn:?}");
            }
            assert_eq!(next(&mut order), None, "no more");
        }
        let property = property as fn(Vec<Drawn>, (u8, u8), u8, u8);
        QuickCheck::new().rng(Gen::new(400)).tests(3_000).quickcheck(property);
    }

    #[test]
    fn nobody_comes_after_the_last_however_often_that_is_asked() {
        let mut order = order(&[Known(false, Rank(0, 0), 0)], 1, 1);
        assert!(next(&mut order).is_some(), "the only one");
        assert!((0..200).all(|_| next(&mut order).is_none()), "nobody else");
    }

    #[test]
    fn what_is_left_ranks_behind_what_was_taken() {
        let known: Vec<_> = (0..100).map(|at| Known(false, Rank(at * 37 % 101, 0), 0)).collect();
        let mut order = order(&known, known.len(), 3);
        let taken: Vec<_> = std::iter::from_fn(|| next(&mut order)).take(30).collect();
        let last = taken.last().expect("thirty were taken").1;
        assert!(order.left().all(|left| left.1 > last), "nothing left ranks before what was taken");
        assert_eq!(order.left().count(), 70, "taken or left");
    }
}
