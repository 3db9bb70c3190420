//! What candidates are sorted by: a key of 8 bytes for each, made while they are gathered.
//!
//! Moving and comparing keys is most of the work of sorting, and both are cheapest with a word. A key has all of its candidate's rank, told from the least there is, then
//! as much of the tie as there is room for, then the candidate's number. How many bits ranks need is found out on the way: a rank that does not fit widens the keys that
//! there are, and so does a number. It at least doubles what fits, so that happens once for each bit at most, and mostly to the first few.
//!
//! Where ranks are too far apart for a word, they are kept beside the keys, and those that are outside what keys have room for are given the nearest that is inside; where there is no room for numbers any more, keys have
//! nothing else. So whatever keys have, a lesser one comes first, and what they do not tell apart is sorted by other keys, which are made of the bits that differ there.

use std::array;
use std::ops::Range;

use crate::policy::Rank;

/// A candidate's place in the order: from the top, whether it is protected, as all those come after the others; its rank; how its tie begins; its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u64);

/// Bits of a place under the one that says whether it is protected.
const BITS: u32 = u64::BITS - 1;

impl Place {
    #[inline]
    pub(super) fn is_protected(self) -> bool {
        self.0 >> BITS != 0
    }

    #[inline]
    pub(super) fn protected(self, protected: bool) -> Self {
        Self(self.0 << 1 >> 1 | u64::from(protected) << BITS)
    }
}

/// The parts of a rank, in the order of unsigned numbers. Of the second word the halves by themselves: a policy has flags in the upper one and counts in the lower.
type Parts = [u64; 3];

#[inline]
fn parts(Rank(first, second): Rank) -> Parts {
    [first as u64 ^ 1 << (u64::BITS - 1), second >> 32, second & u64::from(u32::MAX)]
}

/// The rank of these parts.
fn rank([first, upper, lower]: Parts) -> Rank {
    Rank((first ^ 1 << (u64::BITS - 1)) as i64, upper << 32 | lower)
}

/// What one part of the ranks lies between.
#[derive(Clone, Copy, Debug)]
struct Span {
    low: u64,
    /// How far above the lowest a part may be: all ones. Added to the lowest it does not overflow.
    most: u64,
    /// How many ones that is.
    bits: u32,
}

impl Span {
    /// The narrowest that both are inside.
    fn between(low: u64, high: u64) -> Self {
        let most = u64::MAX.checked_shr((high - low).leading_zeros()).unwrap_or(0);
        Self { low: low.min(u64::MAX - most), most, bits: most.count_ones() }
    }

    fn of(part: u64) -> Self {
        Self::between(part, part)
    }

    /// How far `part` is above the lowest: more than the most if it is outside.
    #[inline]
    fn above(self, part: u64) -> u64 {
        part.wrapping_sub(self.low)
    }

    /// With `part` inside, and what room that leaves on its side.
    fn with(self, part: u64) -> Self {
        if self.above(part) <= self.most {
            return self;
        }
        let high = (self.low + self.most).max(part);
        let wider = Self::between(self.low.min(part), high);
        if part < self.low { Self { low: high.saturating_sub(wider.most), ..wider } } else { wider }
    }
}

/// How ranks, ties and numbers are put into keys.
#[derive(Clone, Copy, Debug)]
struct Packing {
    spans: [Span; 3],
    /// The bits that all parts of a rank take.
    bits: u32,
    /// The bits that hold a number, from the lowest on.
    numbers: u64,
}

impl Packing {
    /// Of keys that have ranks in these spans, and numbers up to `last`, if there is room for both.
    fn new(spans: [Span; 3], last: usize) -> Option<Self> {
        let bits = spans.iter().map(|span| span.bits).sum::<u32>();
        let numbers = u64::MAX.checked_shr((last as u64).leading_zeros()).unwrap_or(0);
        (bits + numbers.count_ones() <= BITS).then_some(Self { spans, bits, numbers })
    }

    /// Of keys that have numbers alone.
    fn of_numbers() -> Self {
        Self { spans: [Span::of(0); 3], bits: 0, numbers: u64::MAX >> 1 }
    }

    /// The place of a candidate of that rank, tie and number; `None` if its rank or number is outside.
    #[inline]
    fn place(&self, protected: bool, parts: Parts, tie: u64, number: u64) -> Option<Place> {
        let spans = &self.spans;
        let [first, upper, lower]: Parts = array::from_fn(|at| spans[at].above(parts[at]));
        if first > spans[0].most || upper > spans[1].most || lower > spans[2].most || number > self.numbers {
            return None;
        }
        let rank = (first << spans[1].bits | upper) << spans[2].bits | lower;
        Some(self.joined(protected, rank, tie, number))
    }

    /// The first or last place that the candidate may have among those whose ranks are inside.
    fn nearest(&self, protected: bool, parts: Parts, number: u64) -> Place {
        // All zeros or all ones, from the first part on that is outside.
        let mut outside = None;
        let rank = self.spans.iter().zip(parts).fold(0, |rank, (span, part)| {
            if outside.is_none() && span.above(part) > span.most {
                outside = Some(if part < span.low { 0 } else { u64::MAX });
            }
            rank << span.bits | outside.unwrap_or(span.above(part)) & span.most
        });
        self.joined(protected, rank, outside.unwrap_or(0), number)
    }

    #[inline]
    fn joined(&self, protected: bool, rank: u64, tie: u64, number: u64) -> Place {
        // The tie's highest bit comes right below the rank.
        let sorted = rank << (BITS - self.bits) | tie >> 1 >> self.bits;
        Place(u64::from(protected) << BITS | sorted & !self.numbers | number)
    }

    /// The parts of the rank that a key has, if that was inside.
    fn parts(&self, place: Place) -> Parts {
        let rank = place.0 << 1 >> 1 >> (BITS - self.bits);
        let [_, upper, lower] = self.spans;
        let above = [rank >> lower.bits >> upper.bits, rank >> lower.bits & upper.most, rank & lower.most];
        array::from_fn(|at| self.spans[at].low + above[at])
    }

    /// As much of its tie as a key has, over bits that say nothing.
    fn tie(&self, place: Place) -> u64 {
        place.0 << 1 << self.bits
    }

    #[inline]
    fn number(&self, place: Place) -> usize {
        (place.0 & self.numbers) as usize
    }

    /// What a key has but its number.
    fn beginning(&self, place: Place) -> u64 {
        place.0 & !self.numbers
    }
}

/// The keys of all candidates, by number as long as none is sorted.
#[derive(Debug)]
pub(super) struct Keys {
    packing: Packing,
    pub(super) places: Vec<Place>,
    /// By number; none as long as keys have all of them.
    ranks: Vec<Rank>,
}

impl Keys {
    /// With room for as many as are expected.
    pub(super) fn with_capacity(expected: usize) -> Self {
        let packing = Packing::new([Span::of(0); 3], expected).unwrap_or(Packing::of_numbers());
        Self { packing, places: Vec::with_capacity(expected), ranks: Vec::new() }
    }

    /// Adds that of the next candidate.
    #[inline(always)]
    pub(super) fn push(&mut self, rank: Rank, tie: u64, protected: bool) {
        let (parts, number) = (parts(rank), self.places.len() as u64);
        let place = match self.packing.place(protected, parts, tie, number) {
            Some(place) => place,
            None => self.outside(protected, parts, tie),
        };
        self.places.push(place);
        if !self.ranks.is_empty() {
            self.ranks.push(rank);
        }
    }

    /// The place of the next candidate, which is not inside: packs all keys anew, so that it is, or gives it the nearest place.
    #[cold]
    #[inline(never)]
    fn outside(&mut self, protected: bool, parts: Parts, tie: u64) -> Place {
        let (former, number) = (self.packing, self.places.len());
        if self.ranks.is_empty() {
            let spans = match number {
                0 => parts.map(Span::of),
                _ => array::from_fn(|at| former.spans[at].with(parts[at])),
            };
            if let Some(wider) = Packing::new(spans, number.max(former.numbers as usize)) {
                self.pack(wider, |place| (former.parts(place), former.tie(place)));
                return wider.place(protected, parts, tie, number as u64).expect("inside now");
            }
            self.ranks.reserve_exact(self.places.capacity());
            self.ranks.extend(self.places.iter().map(|&place| rank(former.parts(place))));
        }
        if number as u64 > former.numbers {
            self.pack(Packing::of_numbers(), |_| ([0; 3], 0));
        }
        self.packing.nearest(protected, parts, number as u64)
    }

    /// Packs all keys anew, of these parts and ties.
    fn pack(&mut self, packing: Packing, of: impl Fn(Place) -> (Parts, u64)) {
        for (place, number) in self.places.iter_mut().zip(0..) {
            let (parts, tie) = of(*place);
            *place =
                packing.place(place.is_protected(), parts, tie, number).expect("what was inside stays so");
        }
        self.packing = packing;
    }

    #[inline]
    pub(super) fn number(&self, place: Place) -> usize {
        self.packing.number(place)
    }

    pub(super) fn rank(&self, place: Place) -> Rank {
        let kept = self.ranks.get(self.number(place));
        kept.copied().unwrap_or_else(|| rank(self.packing.parts(place)))
    }

    /// Brings those that come first among the places from `from` on to the front of these, in order, `count` of them or more. Returns how many. `tie` is that of a
    /// candidate's number.
    pub(super) fn sort(&mut self, from: usize, count: usize, tie: impl Fn(usize) -> u64) -> usize {
        let Self { packing, places, ranks } = self;
        let places = &mut places[from..];
        let ranked = |place| ranks.get(packing.number(place)).map_or([0; 3], |&rank| parts(rank));
        let mut sorted = count;
        for run in sort(places, count, |place| packing.beginning(place)) {
            // A quarter of the run at least, as to sort some of it takes further keys for all.
            let first = (run.len() / 4).max(run.len().min(count - run.start));
            sorted = sorted.max(run.start + first);
            sort_by(&mut places[run], first, &ranked, &|place| tie(packing.number(place)));
        }
        sorted
    }
}

/// Brings the first `count` of `items`, or all, to the front, in order, and behind them those that begin like the last. Returns the runs of several that begin alike.
fn sort<T: Copy + Ord>(items: &mut [T], count: usize, beginning: impl Fn(T) -> u64) -> Vec<Range<usize>> {
    let count = count.min(items.len());
    if 0 < count && count < items.len() {
        items.select_nth_unstable(count - 1);
    }
    let (first, others) = items.split_at_mut(count);
    first.sort_unstable();
    let mut alike = 0;
    if let Some(&last) = first.last() {
        for at in 0..others.len() {
            if beginning(others[at]) == beginning(last) {
                others.swap(at, alike);
                alike += 1;
            }
        }
    }
    let runs = first.chunk_by(|&a, &b| beginning(a) == beginning(b)).scan(0, |end, run| {
        *end += run.len();
        Some(*end - run.len()..*end + if *end == count { alike } else { 0 })
    });
    runs.filter(|run| run.len() > 1).collect()
}

/// So many places are sorted by comparing what keys would be made of.
const FEW: usize = 16;

/// Brings the first `count` of `places`, or all, to the front, in order of what is `ranked` of them, the tie, and the place itself.
///
/// By keys of a word, which have what all these differ by from the first bit on. Places that keys do not tell apart differ by some forty bits less, so that a few rounds
/// do, whatever the ranks are.
fn sort_by(
    places: &mut [Place],
    count: usize,
    ranked: &impl Fn(Place) -> Parts,
    tie: &impl Fn(Place) -> u64,
) {
    if places.len() <= FEW {
        return places.sort_by_cached_key(|&place| (ranked(place), tie(place), place));
    }
    let ranks = spans(places, ranked);
    let ties = match ranks.iter().all(|span| span.bits == 0) {
        true => spans(places, &|place| [tie(place)])[0],
        false => Span::between(0, u64::MAX),
    };
    if ties.bits == 0 {
        return places.sort_unstable();
    }
    let numbers = usize::BITS - places.len().leading_zeros();
    let key = |(&place, number): (&Place, u64)| {
        let (mut key, mut room) = (0_u64, u64::BITS - numbers);
        // Adds the highest bits of a part; returns whether there is room for the next.
        let mut add = |span: Span, part: u64| {
            let bits = span.bits.min(room);
            key = key << bits | span.above(part) >> (span.bits - bits);
            room -= bits;
            room > 0
        };
        if ranks.into_iter().zip(ranked(place)).all(|(span, part)| add(span, part)) {
            add(ties, tie(place));
        }
        key << numbers | number
    };
    let mut keys: Vec<u64> = places.iter().zip(0..).map(key).collect();
    let runs = sort(&mut keys, count, |key| key >> numbers);
    {
        let former = places.to_vec();
        for (place, key) in places.iter_mut().zip(keys) {
            *place = former[(key & !(u64::MAX << numbers)) as usize];
        }
    }
    for run in runs {
        let first = count - run.start;
        sort_by(&mut places[run], first, ranked, tie);
    }
}

/// What each part of the places lies between.
fn spans<const N: usize>(places: &[Place], parts: &impl Fn(Place) -> [u64; N]) -> [Span; N] {
    let (mut low, mut high) = ([u64::MAX; N], [0; N]);
    for parts in places.iter().map(|&place| parts(place)) {
        low = array::from_fn(|at| parts[at].min(low[at]));
        high = array::from_fn(|at| parts[at].max(high[at]));
    }
    array::from_fn(|at| Span::between(low[at], high[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes these and finds each by its key, and the keys in order, whatever came first, and however many were expected.
    fn check(ranks: &[Rank]) {
        for (first, expected) in
            (0..ranks.len()).flat_map(|first| [0, ranks.len(), 1 << 20].map(|expected| (first, expected)))
        {
            let turned = || ranks[first..].iter().chain(&ranks[..first]);
            let mut keys = Keys::with_capacity(expected);
            for (rank, number) in turned().zip(0..) {
                keys.push(*rank, number << 60, number % 2 == 1);
            }
            for (place, (rank, number)) in keys.places.iter().zip(turned().zip(0..)) {
                assert_eq!(
                    keys.rank(*place),
                    *rank,
                    "of {ranks:?} from {first} on, where {expected} were expected"
                );
                assert_eq!(
                    (keys.number(*place), place.is_protected()),
                    (number, number % 2 == 1),
                    "as pushed"
                );
            }
            let beginning = |place: &Place| keys.packing.beginning(place.protected(false));
            for (one, a) in keys.places.iter().zip(turned()) {
                for (other, b) in keys.places.iter().zip(turned()) {
                    if a < b {
                        assert!(
                            beginning(one) <= beginning(other),
                            "{a:?} before {b:?} of {ranks:?}, {expected} expected"
                        );
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
        check(&[Rank(0, 0), Rank((1 << 28) - 1, (1 << 32) - 1), Rank(1, 1), Rank(1, 2)]);
        check(&[Rank(0, 0), Rank((1 << 31) - 1, (1 << 32) - 1), Rank(1, 1), Rank(1, 1 << 32)]);
        check(&[Rank(0, 0), Rank((1 << 31) - 1, u64::MAX), Rank(1, 1)]);
        check(&[Rank(0, 0), Rank((1 << 32) - 1, u64::MAX), Rank(1, 1), Rank(high, 5)]);
        // Some outside, by each of the parts, on either side, and by several at once.
        check(&[
            Rank(7, 7),
            Rank(9, 7),
            Rank(high, 0),
            Rank(high, 1),
            Rank(low, 9),
            Rank(low, 8),
            Rank(8, 0),
        ]);
        check(&[
            Rank(1 << 40, 5 << 32),
            Rank(0, 5 << 32),
            Rank(3, 0),
            Rank(3, u64::MAX),
            Rank(3, 5 << 32 | 3),
        ]);
        check(&[
            Rank(1 << 60, 9),
            Rank(0, 9),
            Rank(0, 8),
            Rank(0, u64::MAX),
            Rank(low, u64::MAX),
            Rank(high, 0),
        ]);
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
