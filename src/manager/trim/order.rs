//! The order of a trim's candidates, sorted only as far as it is asked for.
//!
//! What is sorted are keys of 16 bytes, as moving and comparing them is most of the work. A key begins with as much of its candidate's rank and
//! tie as there is room for, told from the least rank there is: mostly all of the rank and some of the tie. Where two keys begin alike, the
//! candidates themselves are compared.

use std::cmp::Ordering;

use crate::policy::Rank;
use crate::sync::prefetch_ahead;

/// Bits of a key that hold the candidate's number.
const NUMBER_BITS: u32 = 32;
/// Bits of a key that hold what its candidate is sorted by, over the number and under the bit that says whether it is protected.
const SORTED_BITS: u32 = u128::BITS - 1 - NUMBER_BITS;
/// Candidates that are fetched at a time. A prefetch waits for the translation of its address: many in a row wait together.
const BATCH: usize = 16;

/// What may be put in order by a rank.
pub(super) trait Ranked {
    /// A hash: what decides between equal ranks.
    fn tie(&self) -> u64;
}

/// A candidate's place in the order: from the top, whether it is protected, as all those come after the others; how its rank and tie begin; its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u128);

impl Place {
    pub(super) fn is_protected(self) -> bool {
        self.0 >> (u128::BITS - 1) != 0
    }

    pub(super) fn protected(self, protected: bool) -> Self {
        Self(self.0 << 1 >> 1 | u128::from(protected) << (u128::BITS - 1))
    }

    fn number(self) -> usize {
        self.0 as u32 as usize
    }

    /// Everything but the number.
    fn beginning(self) -> u128 {
        self.0 >> NUMBER_BITS
    }
}

/// The ranks there are lie between these, each word by itself.
#[derive(Debug)]
struct Span {
    low: Rank,
    high: Rank,
}

impl Span {
    #[inline]
    fn take_in(&mut self, rank: Rank) {
        self.low = Rank(self.low.0.min(rank.0), self.low.1.min(rank.1));
        self.high = Rank(self.high.0.max(rank.0), self.high.1.max(rank.1));
    }

    /// How far each word of `rank` is above the least.
    fn above(&self, rank: Rank) -> (u64, u64) {
        (rank.0.wrapping_sub(self.low.0) as u64, rank.1.wrapping_sub(self.low.1))
    }

    /// The bits that each word takes.
    fn bits(&self) -> (u32, u32) {
        let bits = |most: u64| u64::BITS - most.leading_zeros();
        let (first, second) = self.above(self.high);
        (bits(first), bits(second))
    }

    /// How `rank` and `tie` begin, in [`SORTED_BITS`]. In order: what begins lower is lower.
    fn beginning(&self, (first_bits, second_bits): (u32, u32), rank: Rank, tie: u64) -> u128 {
        let (first, second) = self.above(rank);
        let ranks = u128::from(first) << second_bits | u128::from(second);
        match SORTED_BITS.checked_sub(first_bits + second_bits) {
            Some(0) => ranks,
            Some(room) => ranks << room | u128::from(tie) << u64::BITS >> (u128::BITS - room),
            None => ranks >> (first_bits + second_bits - SORTED_BITS),
        }
    }
}

/// Candidates that are being gathered.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    candidates: Vec<T>,
    ranks: Vec<Rank>,
    /// As yet with the ties alone in place of the beginnings.
    places: Vec<Place>,
    span: Span,
}

impl<T: Ranked> Gathered<T> {
    /// With room for as many as are expected.
    pub(super) fn with_capacity(expected: usize) -> Self {
        let span = Span { low: Rank(i64::MAX, u64::MAX), high: Rank(i64::MIN, u64::MIN) };
        let (candidates, ranks) = (Vec::with_capacity(expected), Vec::with_capacity(expected));
        Self { candidates, ranks, places: Vec::with_capacity(expected), span }
    }

    #[inline]
    pub(super) fn push(&mut self, candidate: T, rank: Rank, protected: bool) {
        let number =
            u32::try_from(self.candidates.len()).expect("fewer peers than 2^32, which no memory holds");
        self.span.take_in(rank);
        let place = Place(u128::from(candidate.tie()) << NUMBER_BITS | u128::from(number));
        self.places.push(place.protected(protected));
        self.ranks.push(rank);
        self.candidates.push(candidate);
    }

    pub(super) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Puts them in order; `expected` is how many will probably be asked for.
    pub(super) fn into_order(mut self, expected: usize) -> Order<T> {
        let bits = self.span.bits();
        for (place, &rank) in self.places.iter_mut().zip(&self.ranks) {
            let beginning = self.span.beginning(bits, rank, place.beginning() as u64);
            *place = Place(beginning << NUMBER_BITS | place.number() as u128).protected(place.is_protected());
        }
        let told_apart = bits.0 + bits.1 + u64::BITS <= SORTED_BITS;
        let Self { candidates, ranks, places, .. } = self;
        Order { candidates, ranks, places, told_apart, sorted: 0, taken: 0, step: expected.max(16) }
    }
}

/// Candidates, first to go first.
#[derive(Debug)]
pub(super) struct Order<T> {
    candidates: Vec<T>,
    ranks: Vec<Rank>,
    places: Vec<Place>,
    /// Whether no two begin alike but those of one rank and tie.
    told_apart: bool,
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
        let next = self.places[self.taken];
        if self.begins_batch() {
            self.fetch();
        }
        self.taken += 1;
        Some(next)
    }

    /// Has the candidates of a later batch on their way.
    #[inline(never)]
    fn fetch(&self) {
        for place in self.places.iter().skip(self.taken + 5 * BATCH).take(BATCH) {
            prefetch_ahead(&raw const self.candidates[place.number()]);
        }
    }

    /// The candidate of a place.
    pub(super) fn at(&self, place: Place) -> &T {
        &self.candidates[place.number()]
    }

    pub(super) fn rank(&self, place: Place) -> Rank {
        self.ranks[place.number()]
    }

    /// Whether the next to go is the first of a batch: it is time to fetch what is [coming](Self::coming).
    pub(super) fn begins_batch(&self) -> bool {
        self.taken.is_multiple_of(BATCH)
    }

    /// The candidates of the batch after so many others, which is 4 at most: those that will be next, or others where no more is sorted.
    pub(super) fn coming(&self, batches: usize) -> impl Iterator<Item = &T> {
        self.places.iter().skip(self.taken + batches * BATCH).take(BATCH).map(|&place| self.at(place))
    }

    /// Sorts a further step, unless all are sorted.
    #[cold]
    fn sort_on(&mut self) -> bool {
        let rest = &mut self.places[self.sorted..];
        let step = self.step.min(rest.len());
        if self.told_apart {
            sort(rest, step, Place::cmp);
        } else {
            let (candidates, ranks) = (&self.candidates, &self.ranks);
            let whole = |place: &Place| {
                let number = place.number();
                (ranks[number], candidates[number].tie(), number)
            };
            sort(
                rest,
                step,
                |a, b| {
                    if a.beginning() == b.beginning() { whole(a).cmp(&whole(b)) } else { a.cmp(b) }
                },
            );
        }
        self.sorted += step;
        self.step *= 2;
        step > 0
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
        self.places[self.taken..].iter().map(|&place| self.at(place))
    }
}

/// Brings the first `step` of `places` to the front, in order.
fn sort(places: &mut [Place], step: usize, compare: impl Fn(&Place, &Place) -> Ordering) {
    if step < places.len() {
        places.select_nth_unstable_by(step - 1, &compare);
    }
    places[..step].sort_unstable_by(compare);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Known(bool, Rank, u64);

    impl Ranked for Known {
        fn tie(&self) -> u64 {
            self.2
        }
    }

    fn order(known: &[Known], expected: usize) -> Order<Known> {
        let mut gathered = Gathered::with_capacity(known.len());
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
        let alike = combinations(&[7], &[7], &[1, 2, 3, 1 << 62, u64::MAX]);
        for known in [narrow, filling, widest, alike] {
            let mut sorted = known.clone();
            sorted.sort_by_key(|known| (known.0, known.1, known.2));
            for expected in [0, 1, 5, 20, 100] {
                let mut order = order(&known, expected);
                order.step = expected.max(1);
                let taken: Vec<_> = std::iter::from_fn(|| next(&mut order)).collect();
                assert_eq!(taken, sorted, "expected {expected}");
                assert_eq!(order.left().count(), 0, "all were taken");
                order.rewind();
                assert_eq!(next(&mut order), sorted.first().copied(), "from the first again");
            }
        }
        assert_eq!(next(&mut order(&[], 3)), None, "none of nobody");
    }

    #[test]
    fn what_is_left_ranks_behind_what_was_taken() {
        let known: Vec<_> = (0..100).map(|at| Known(false, Rank(at * 37 % 101, 0), 0)).collect();
        let mut order = order(&known, 3);
        let taken: Vec<_> = std::iter::from_fn(|| next(&mut order)).take(30).collect();
        let last = taken.last().expect("thirty were taken").1;
        assert!(order.left().all(|left| left.1 > last), "nothing left ranks before what was taken");
        assert_eq!(order.left().count(), 70, "taken or left");
    }
}
