//! What candidates are sorted by: a key for each, made while they are gathered.
//!
//! Keys have 16 bytes, as moving and comparing them is most of the work of sorting. A key has all of its candidate's rank, told from the least there is, and as much
//! of the tie as there is room for. How many bits ranks need is found out on the way: a rank that does not fit widens the keys that there are. It at least
//! doubles what fits, so that happens once for each bit at most, and mostly to the first few. Ranks that are too far apart for a key are kept beside the keys, which then have the beginnings of them.

use std::cmp::Ordering;

use crate::policy::Rank;

/// Bits of a key that hold the candidate's number.
const NUMBER_BITS: u32 = 32;
/// Bits of a key that hold what its candidate is sorted by, over the number and under the bit that says whether it is protected.
const SORTED_BITS: u32 = u128::BITS - 1 - NUMBER_BITS;

/// A candidate's place in the order: from the top, whether it is protected, as all those come after the others; how its rank and tie begin; its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u128);

impl Place {
    /// `beginning` has [`SORTED_BITS`].
    #[inline]
    fn new(protected: bool, beginning: u128, number: u32) -> Self {
        let protected = u128::from(protected) << (u128::BITS - 1);
        Self(protected | beginning << NUMBER_BITS | u128::from(number))
    }

    pub(super) fn is_protected(self) -> bool {
        self.0 >> (u128::BITS - 1) != 0
    }

    pub(super) fn protected(self, protected: bool) -> Self {
        Self(self.0 << 1 >> 1 | u128::from(protected) << (u128::BITS - 1))
    }

    #[inline]
    pub(super) fn number(self) -> usize {
        self.0 as u32 as usize
    }

    /// How its rank and tie begin.
    fn beginning(self) -> u128 {
        self.0 << 1 >> (1 + NUMBER_BITS)
    }
}

/// Both words of a rank, in the order of unsigned numbers.
fn words(Rank(first, second): Rank) -> (u64, u64) {
    (first as u64 ^ 1 << (u64::BITS - 1), second)
}

/// The rank of these words.
fn rank((first, second): (u64, u64)) -> Rank {
    Rank((first ^ 1 << (u64::BITS - 1)) as i64, second)
}

/// What one word of the ranks lies between.
#[derive(Clone, Copy, Debug)]
struct Span {
    low: u64,
    /// How far above the lowest a word may be: all ones. Added to the lowest it does not overflow.
    most: u64,
    /// How many ones that is.
    bits: u32,
}

impl Span {
    fn of(word: u64) -> Self {
        Self { low: word, most: 0, bits: 0 }
    }

    /// How far `word` is above the lowest: more than the most if it is outside.
    #[inline]
    fn above(self, word: u64) -> u64 {
        word.wrapping_sub(self.low)
    }

    /// With `word` inside, and what room that leaves on its side.
    fn with(self, word: u64) -> Self {
        if self.above(word) <= self.most {
            return self;
        }
        let (low, high) = (self.low.min(word), (self.low + self.most).max(word));
        let most = u64::MAX >> (high - low).leading_zeros();
        let low = if low < self.low { high.saturating_sub(most) } else { low.min(u64::MAX - most) };
        Self { low, most, bits: most.count_ones() }
    }
}

/// How ranks and ties are put into keys.
#[derive(Clone, Copy, Debug)]
struct Packing {
    first: Span,
    second: Span,
    /// The bits that both words take.
    bits: u32,
}

impl Packing {
    fn of(first: Span, second: Span) -> Self {
        Self { first, second, bits: first.bits + second.bits }
    }

    /// Whether a key has all of a rank.
    #[inline]
    fn is_exact(&self) -> bool {
        self.bits <= SORTED_BITS
    }

    /// Whether a key has all of a rank and of a tie, too.
    fn tells_apart(&self) -> bool {
        self.bits + u64::BITS <= SORTED_BITS
    }

    /// How the rank of these words and `tie` begin; `None` if that rank does not fit.
    #[inline]
    fn beginning(&self, (first, second): (u64, u64), tie: u64) -> Option<u128> {
        let (first, second) = (self.first.above(first), self.second.above(second));
        if first > self.first.most || second > self.second.most {
            return None;
        }
        let ranks = u128::from(first) << self.second.bits | u128::from(second);
        Some(if self.is_exact() {
            // The tie's highest bit comes right below the ranks.
            ranks << (SORTED_BITS - self.bits) | u128::from(tie) << (SORTED_BITS - u64::BITS) >> self.bits
        } else {
            ranks >> (self.bits - SORTED_BITS)
        })
    }

    /// The words of the rank that a key has, if it has all of it, and as much of its tie as it has.
    fn unpacked(&self, place: Place) -> ((u64, u64), u64) {
        let ranks = place.beginning() >> (SORTED_BITS - self.bits);
        let first = (ranks >> self.second.bits) as u64;
        let second = ranks as u64 & self.second.most;
        let tie = place.beginning() << (u128::BITS - SORTED_BITS) << self.bits >> u64::BITS;
        ((self.first.low + first, self.second.low + second), tie as u64)
    }
}

/// The keys of all candidates, by number as long as none is sorted.
#[derive(Debug)]
pub(super) struct Keys {
    packing: Packing,
    pub(super) places: Vec<Place>,
    /// By number, where keys do not have all of them.
    ranks: Vec<Rank>,
}

impl Keys {
    /// With room for as many as are expected.
    pub(super) fn with_capacity(expected: usize) -> Self {
        let none = Packing::of(Span::of(0), Span::of(0));
        Self { packing: none, places: Vec::with_capacity(expected), ranks: Vec::new() }
    }

    /// Adds that of the next candidate.
    #[inline(always)]
    pub(super) fn push(&mut self, rank: Rank, tie: u64, protected: bool) {
        let number = u32::try_from(self.places.len()).expect("fewer peers than 2^32, which no memory holds");
        let beginning = match self.packing.beginning(words(rank), tie) {
            Some(beginning) => beginning,
            None => self.widened(rank, tie),
        };
        self.places.push(Place::new(protected, beginning, number));
        if !self.packing.is_exact() {
            self.ranks.push(rank);
        }
    }

    /// Packs all keys anew, so that `rank` fits. Returns its beginning.
    #[cold]
    #[inline(never)]
    fn widened(&mut self, rank: Rank, tie: u64) -> u128 {
        let (first, second) = words(rank);
        let former = self.packing;
        self.packing = match self.places.is_empty() {
            true => Packing::of(Span::of(first), Span::of(second)),
            false => Packing::of(former.first.with(first), former.second.with(second)),
        };
        let packing = self.packing;
        let beginning = |words, tie| packing.beginning(words, tie).expect("what fitted fits a wider span");
        if former.is_exact() && !packing.is_exact() {
            self.ranks.reserve_exact(self.places.capacity());
            self.ranks.extend(self.places.iter().map(|&place| self::rank(former.unpacked(place).0)));
        }
        for (place, number) in self.places.iter_mut().zip(0..) {
            let (words, tie) = match former.is_exact() {
                true => former.unpacked(*place),
                // There is no room for ties any more.
                false => (words(self.ranks[number as usize]), 0),
            };
            *place = Place::new(place.is_protected(), beginning(words, tie), number);
        }
        beginning((first, second), tie)
    }

    pub(super) fn rank(&self, place: Place) -> Rank {
        match self.packing.is_exact() {
            true => rank(self.packing.unpacked(place).0),
            false => self.ranks[place.number()],
        }
    }

    /// Brings those that come first among the places from `from` on to the front of these, in order, `count` of them. Ties are what keys have of them,
    /// and beyond that what `tie` says of a candidate's number.
    pub(super) fn sort(&mut self, from: usize, count: usize, tie: impl Fn(usize) -> u64) {
        let Self { packing, places, ranks } = self;
        let places = &mut places[from..];
        if packing.tells_apart() {
            return sort(places, count, Place::cmp);
        }
        let rest = |place: &Place| {
            let number = place.number();
            (if packing.is_exact() { Rank(0, 0) } else { ranks[number] }, tie(number), number)
        };
        let compare = |a: &Place, b: &Place| match (a.0 >> NUMBER_BITS).cmp(&(b.0 >> NUMBER_BITS)) {
            Ordering::Equal => rest(a).cmp(&rest(b)),
            unlike => unlike,
        };
        sort(places, count, compare);
    }
}

/// Brings the first `count` of `places` to the front, in order.
fn sort(places: &mut [Place], count: usize, compare: impl Fn(&Place, &Place) -> Ordering) {
    if count < places.len() {
        places.select_nth_unstable_by(count - 1, &compare);
    }
    places[..count].sort_unstable_by(compare);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes these and finds each in its key, and the keys in order, whatever came first.
    fn check(ranks: &[Rank]) {
        for first in 0..ranks.len() {
            let turned = || ranks[first..].iter().chain(&ranks[..first]);
            let mut keys = Keys::with_capacity(0);
            for (rank, number) in turned().zip(0..) {
                keys.push(*rank, number << 60, number % 2 == 1);
            }
            for (place, (rank, number)) in keys.places.iter().zip(turned().zip(0..)) {
                assert_eq!(keys.rank(*place), *rank, "of {ranks:?} from {first} on");
                assert_eq!((place.number(), place.is_protected()), (number, number % 2 == 1), "as pushed");
            }
            for (one, a) in keys.places.iter().zip(turned()) {
                for (other, b) in keys.places.iter().zip(turned()) {
                    if a < b {
                        assert!(one.beginning() <= other.beginning(), "{a:?} before {b:?} of {ranks:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_key_has_its_rank_however_far_apart_they_are_and_in_whatever_order_they_come() {
        let (low, high) = (i64::MIN, i64::MAX);
        check(&[Rank(0, 0)]);
        check(&[Rank(7, 7), Rank(7, 7), Rank(8, 7), Rank(-1, 9), Rank(1 << 20, 0)]);
        check(&[Rank(0, 0), Rank(-1, 0), Rank(-2, 0), Rank(-4, 0), Rank(-9, 0), Rank(-1 << 40, 0)]);
        check(&[Rank(low, 0), Rank(low + 1, 0), Rank(high, 0), Rank(0, 0)]);
        check(&[Rank(3, u64::MAX), Rank(3, u64::MAX - 1), Rank(2, 1 << 63), Rank(2, 1 << 62)]);
        check(&[Rank(low, u64::MAX), Rank(high, 0), Rank(high, u64::MAX), Rank(low, 0), Rank(0, 1 << 63)]);
        // As wide as a key has room for, and a bit more.
        check(&[Rank(0, 0), Rank((1 << 31) - 1, u64::MAX), Rank(1, 1)]);
        check(&[Rank(0, 0), Rank((1 << 32) - 1, u64::MAX), Rank(1, 1), Rank(high, 5)]);
    }

    #[test]
    fn keys_are_widened_a_few_times_only() {
        // Each further away than all before it, on either side: the worst there is.
        let mut span = Span::of(1 << 63);
        let mut widened = 0;
        for step in 0..100_000_u64 {
            let word = if step % 2 == 0 { (1 << 63) + step } else { (1 << 63) - step };
            if span.above(word) > span.most {
                span = span.with(word);
                widened += 1;
            }
            assert!(span.above(word) <= span.most, "it fits now");
        }
        assert!((10..=20).contains(&widened), "once a bit: {widened}");
    }
}
